//! Masters that come and go while everything else happens.

use super::{
    knobs::clock,
    percent, pick,
    scenes::{client, planned, sometime},
};
use crate::plan::{Fault, FlowPlan, Look, MemberStep, MemberWhat, Operation, Plan};
use quorate_core::{limits, random::Draws};

/// What may happen to a master, and how often beside the others.
const STEPS: &[(u64, MemberWhat)] = &[
    (5, MemberWhat::Add),
    (6, MemberWhat::Promote),
    (2, MemberWhat::Demote),
    (4, MemberWhat::Remove),
    (4, MemberWhat::Replace),
    (1, MemberWhat::Update),
];

/// Some masters wait beside the cluster. They are added, and others are removed, replaced, promoted and demoted; some
/// changes are of several masters at once.
pub(super) fn come_and_go(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let founders = plan.masters.clocks.len();
    let room = limits::VOTERS - founders;
    let spares = (draws.range(1, 3) as usize).min(room);
    plan.masters.founders = founders as u8;
    for _ in 0..spares {
        plan.masters.clocks.push(clock(draws, plan.executors.drift_ppm));
        if !plan.masters.flow.is_empty() {
            plan.masters.flow.push(FlowPlan::default());
        }
    }
    for spare in founders..founders + spares {
        journey(draws, plan, spare as u8);
    }
    for _ in 0..draws.range(0, 10) {
        let (at_ms, steps) = (sometime(draws, plan), some_steps(draws, founders + spares));
        change(draws, plan, at_ms, steps);
    }
    // Who lost its directory may come back with another one.
    for master in 0..founders as u8 {
        if percent(draws, 30) {
            replacement(draws, plan, master);
        }
    }
    for _ in 0..draws.range(0, 4) {
        let at_ms = sometime(draws, plan);
        client(draws, plan).operations.push(planned(at_ms, Operation::Look { at: Look::Members {} }));
    }
    Vec::new()
}

fn change(draws: &mut Draws, plan: &mut Plan, at_ms: u64, steps: Vec<MemberStep>) {
    client(draws, plan).operations.push(planned(at_ms, Operation::ChangeMembers { steps }));
}

/// A promotion is refused until most of the log has come, so it is asked for again and again.
fn promotions(draws: &mut Draws, plan: &mut Plan, mut at_ms: u64, master: u8) {
    for _ in 0..draws.range(1, 4) {
        at_ms += draws.range(50, 1_500);
        change(draws, plan, at_ms, vec![MemberStep { what: MemberWhat::Promote, master }]);
    }
}

/// A new master, in place of another one at once, or beside all.
fn journey(draws: &mut Draws, plan: &mut Plan, master: u8) {
    let at_ms = draws.range(500, plan.duration_ms.max(2_000) * 2 / 3);
    change(draws, plan, at_ms, vec![MemberStep { what: MemberWhat::Add, master }]);
    if percent(draws, 30) {
        let old = draws.range(0, u64::from(master) - 1) as u8;
        let steps = vec![
            MemberStep { what: MemberWhat::Promote, master },
            MemberStep { what: MemberWhat::Remove, master: old },
        ];
        let later = draws.range(100, 2_000);
        change(draws, plan, at_ms + later, steps.clone());
        change(draws, plan, at_ms + 2 * later, steps);
    }
    promotions(draws, plan, at_ms, master);
}

fn replacement(draws: &mut Draws, plan: &mut Plan, master: u8) {
    let at_ms = sometime(draws, plan);
    change(draws, plan, at_ms, vec![MemberStep { what: MemberWhat::Replace, master }]);
    promotions(draws, plan, at_ms, master);
}

/// Up to four steps of as many masters.
fn some_steps(draws: &mut Draws, masters: usize) -> Vec<MemberStep> {
    let weights: Vec<MemberWhat> =
        STEPS.iter().flat_map(|(weight, what)| (0..*weight).map(|_| *what)).collect();
    let mut steps: Vec<MemberStep> = Vec::new();
    for _ in 0..*pick(draws, &[1, 1, 1, 2, 3, 4]) {
        let (what, master) = (*pick(draws, &weights), draws.range(0, masters as u64 - 1) as u8);
        if steps.iter().all(|step| step.master != master) {
            steps.push(MemberStep { what, master });
        }
    }
    steps
}
