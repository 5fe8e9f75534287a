//! Masters whose programs are replaced by newer ones, and by older ones again, while all else goes on.

use super::{
    percent, pick,
    scenes::{client, planned, sometime},
};
use crate::plan::{Fault, FaultKind, Operation, Plan};
use quorate_core::{
    level::{FEATURE_LEVEL, FIRST_LEVEL},
    random::Draws,
};

/// All masters run the next program from the beginning: everything else happens in its formats.
pub(super) fn next_format(_: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    plan.masters.programs = vec![FEATURE_LEVEL; plan.masters.clocks.len()];
    Vec::new()
}

/// Master by master, up; perhaps held, back and up again.
pub(super) fn upgrades(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let masters = plan.masters.clocks.len();
    let begins = draws.range(0, 9);
    let mut first = |_| match begins {
        0..=5 => FIRST_LEVEL,
        6 | 7 => FEATURE_LEVEL,
        _ => *pick(draws, &[FIRST_LEVEL, FEATURE_LEVEL]),
    };
    plan.masters.programs = (0..masters).map(&mut first).collect();
    let mut faults = Vec::new();
    let mut at_ms = draws.range(300, 2_000.max(plan.duration_ms / 4));
    at_ms = each(draws, plan, &mut faults, FEATURE_LEVEL, at_ms);
    if percent(draws, 70) {
        // Sometimes before the last of them is there.
        let held_at = if percent(draws, 30) { sometime(draws, plan) } else { at_ms };
        at_ms = at_ms.max(held_at);
        let place = draws.range(0, plan.clients.len() as u64 - 1) as usize;
        let hold = Operation::HoldLevel { most: FIRST_LEVEL };
        plan.clients[place].operations.push(planned(held_at, hold));
        at_ms += draws.range(50, 1_500);
        at_ms = each(draws, plan, &mut faults, FIRST_LEVEL, at_ms);
        if percent(draws, 60) {
            at_ms = each(draws, plan, &mut faults, FEATURE_LEVEL, at_ms);
            let release = Operation::HoldLevel { most: 0 };
            plan.clients[place].operations.push(planned(at_ms + draws.range(0, 500), release));
        }
    }
    // What is written meanwhile is written at one level or at the other.
    for number in 0..draws.range(0, 30) {
        let (time, put) = (sometime(draws, plan), Operation::Put { key: format!("level-{}", number % 3) });
        client(draws, plan).operations.push(planned(time, put));
    }
    faults
}

/// Each master gets a program of this level, most of them in an order of its own. Answers when the last one has it.
fn each(draws: &mut Draws, plan: &Plan, faults: &mut Vec<Fault>, level: u32, from_ms: u64) -> u64 {
    let masters = plan.masters.clocks.len() as u64;
    let (begin, gap) = (draws.range(0, masters - 1), *pick(draws, &[100, 300, 800, 1_500]));
    let mut at_ms = from_ms;
    for step in 0..masters {
        if percent(draws, 8) {
            continue;
        }
        let master = ((begin + step) % masters) as u8;
        let for_ms = draws.range(5, 600);
        faults.push(Fault { at_ms, for_ms, kind: FaultKind::NewProgram { master, level } });
        at_ms += for_ms + draws.range(0, gap);
    }
    at_ms
}
