//! When what breaks. A seed has some kinds of faults in its mix, and not the others (swarm): what many faults together
//! hide, few of them show.

use super::{PART_FAULTS, kinds, percent, pick};
use crate::plan::{Atlas, Fault, FaultKind, Plan};
use quorate_core::random::Draws;

pub(super) fn faults(plan: &Plan, atlas: &Atlas) -> (Vec<Fault>, Vec<u8>) {
    let mut draws = Draws::new(plan.seed, PART_FAULTS);
    if percent(&mut draws, 8) {
        return (Vec::new(), Vec::new());
    }
    let mut faults = Vec::new();
    let share = *pick(&mut draws, &[6, 15, 30, 60]);
    let mix: Vec<&kinds::Make> = kinds::ALL.iter().filter(|_| percent(&mut draws, share)).collect();
    if !mix.is_empty() {
        let shape = kinds::Shape::of(plan, atlas);
        let gap = *pick(&mut draws, &[400, 1_200, 3_000, 6_000]);
        let mut at_ms = draws.range(300, 3_000);
        while at_ms < plan.duration_ms {
            if let Some((for_ms, kind)) = pick(&mut draws, &mix)(&mut draws, &shape) {
                // A lie comes out only when the power goes.
                if let (FaultKind::LyingSync { master }, true) = (&kind, percent(&mut draws, 70)) {
                    let kind = FaultKind::PowerLoss { master: *master };
                    let (begins_ms, for_down_ms) = (at_ms + draws.range(1, for_ms), draws.range(5, 600));
                    faults.push(Fault { at_ms: begins_ms, for_ms: for_down_ms, kind });
                }
                faults.push(Fault { at_ms, for_ms, kind });
            }
            at_ms += draws.range(1, 2 * gap);
        }
        standing(&mut draws, plan, &mix, &shape, &mut faults);
    }
    let left_out = gone_for_good(&mut draws, plan.duration_ms, atlas, &mut faults);
    faults.sort_by_key(|fault| fault.at_ms);
    (faults, left_out)
}

/// Faults that are on when the last phase begins, and stay on for ever outside of the core.
fn standing(
    draws: &mut Draws,
    plan: &Plan,
    mix: &[&kinds::Make],
    shape: &kinds::Shape,
    faults: &mut Vec<Fault>,
) {
    const BEFORE_MS: u64 = 1_500;
    for _ in 0..*pick(draws, &[0, 1, 2, 4]) {
        if let Some((_, kind)) = pick(draws, mix)(draws, shape) {
            let at_ms = plan.duration_ms.saturating_sub(draws.range(1, BEFORE_MS));
            faults.push(Fault { at_ms, for_ms: BEFORE_MS + draws.range(1, BEFORE_MS), kind });
        }
    }
}

/// Masters that the atlas allows to be hit are wiped, break for good, or are left out at the end.
fn gone_for_good(draws: &mut Draws, duration_ms: u64, atlas: &Atlas, faults: &mut Vec<Fault>) -> Vec<u8> {
    let mut left_out = Vec::new();
    for &master in &atlas.fragile {
        let at_ms = draws.range(duration_ms.min(3_000), duration_ms);
        let kind = match draws.range(0, 11) {
            0 => FaultKind::Wipe { master },
            1 => FaultKind::SyncError { master, restart: false },
            2..=3 => {
                left_out.push(master);
                continue;
            }
            _ => continue,
        };
        faults.push(Fault { at_ms, for_ms: draws.range(10, 3_000), kind });
    }
    left_out
}
