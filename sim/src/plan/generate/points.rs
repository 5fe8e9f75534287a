//! Which fault points are on. Two coins: a part of the seeds has some of them, and then each fires one in so many times.

use super::{PART_POINTS, percent, pick};
use crate::plan::{Fault, FaultKind, Plan, validate::TIME_MOST_MS};
use quorate_core::{point::Point, random::Draws};

/// Seeds of a hundred that have any.
const SEEDS: u64 = 25;

pub(super) fn points(plan: &Plan) -> Vec<Fault> {
    let mut draws = Draws::new(plan.seed, PART_POINTS);
    if !percent(&mut draws, SEEDS) {
        return Vec::new();
    }
    let share = *pick(&mut draws, &[5, 15, 40]);
    let masters = plan.masters.clocks.len() as u8;
    let mut faults = Vec::new();
    for (number, point) in (1..).zip(Point::ALL.iter().filter(|point| point.is_permitted())) {
        let mut own = Draws::new(draws.any(), number);
        if !percent(&mut own, share) {
            continue;
        }
        let one_in = *pick(&mut own, &[2, 3, 10, 40, 200]);
        // On all masters for all of the time, or here and there for some of it.
        let always = percent(&mut own, 50);
        for master in 0..masters {
            let at_ms = if always { 0 } else { own.range(0, plan.duration_ms) };
            let for_ms =
                if always { plan.duration_ms + 1 } else { own.range(200, plan.duration_ms.max(200)) };
            let for_ms = for_ms.min(TIME_MOST_MS);
            if always || percent(&mut own, 60) {
                let kind = FaultKind::Point { master, point: point.key().to_owned(), one_in };
                faults.push(Fault { at_ms, for_ms, kind });
            }
        }
    }
    faults
}
