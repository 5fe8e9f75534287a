//! Who is healed in the end.

use super::{PART_CORE, percent};
use crate::plan::{Atlas, CorePlan};
use quorate_core::random::Draws;

/// Places in a random order.
pub(super) fn shuffled(draws: &mut Draws, count: usize) -> Vec<u8> {
    let mut places: Vec<u8> = (0..count as u8).collect();
    for last in (1..places.len()).rev() {
        places.swap(last, draws.range(0, last as u64) as usize);
    }
    places
}

/// A quorum of masters whose directories nothing damages, perhaps more of them, and some executors.
pub(super) fn core(seed: u64, (masters, executors): (usize, usize), atlas: &Atlas) -> CorePlan {
    let mut draws = Draws::new(seed, PART_CORE);
    let mut core = CorePlan::default();
    for place in shuffled(&mut draws, masters) {
        let needed = core.masters.len() <= masters / 2;
        if !atlas.fragile.contains(&place) && (needed || percent(&mut draws, 40)) {
            core.masters.push(place);
        }
    }
    let least = draws.range(1, executors as u64) as usize;
    core.executors = shuffled(&mut draws, executors);
    core.executors.truncate(least);
    core.masters.sort_unstable();
    core.executors.sort_unstable();
    core
}
