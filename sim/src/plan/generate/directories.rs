//! Directories that come in place of others: what they must not be taken for.

use super::{
    knobs::clock,
    members::add_spares,
    pick,
    reigns::{add, some_clients},
    scenes::quick,
};
use crate::plan::{Fault, FaultKind, FlowPlan, MemberStep, MemberWhat, MessageKind, Operation, Plan};
use quorate_core::random::Draws;

fn change(plan: &mut Plan, client: usize, at_ms: u64, steps: &[(MemberWhat, u8)]) {
    let steps = steps.iter().map(|&(what, master)| MemberStep { what, master }).collect();
    add(plan, client, at_ms, Operation::ChangeMembers { steps });
}

fn calm(plan: &mut Plan) {
    quick(plan);
    plan.masters.timing_ms = [50, 250, 450, 400, 5_000];
    plan.masters.flow.clear();
}

/// The founders stay who they are, but for the directory of one, which an operator may start as if it founded the cluster.
pub(super) fn founder_replaced(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    if plan.masters.founders > 0 || plan.masters.clocks.len() < 3 {
        return Vec::new();
    }
    plan.masters.founders = plan.masters.clocks.len() as u8;
    let mut at_ms = draws.range(1_000, 3_000);
    for _ in 0..draws.range(1, 4) {
        change(plan, 0, at_ms, &[(MemberWhat::Replace, 0)]);
        at_ms += draws.range(500, 3_000);
    }
    Vec::new()
}

/// Of three founders two were removed, and come back with empty directories at the moment at which the third one's is replaced;
/// those that know whom the cluster is made of do not hear any of them.
pub(super) fn founders_gone(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    if plan.masters.founders > 0 || plan.masters.clocks.len() != 3 {
        return Vec::new();
    }
    calm(plan);
    add_spares(draws, plan, 2);
    some_clients(plan, 2);
    for (at_ms, what, master) in [
        (1_000, MemberWhat::Add, 3),
        (1_100, MemberWhat::Add, 4),
        (1_800, MemberWhat::Promote, 3),
        (2_000, MemberWhat::Promote, 4),
        (2_300, MemberWhat::Promote, 3),
        (2_500, MemberWhat::Promote, 4),
        (2_900, MemberWhat::Remove, 1),
        (3_200, MemberWhat::Remove, 2),
    ] {
        change(plan, 0, at_ms, &[(what, master)]);
    }
    add(plan, 1, 3_500, Operation::TransferLeader { to: Some(*pick(draws, &[3, 4])) });
    let at_ms = 4_000 + draws.range(0, 500);
    for (later, what, master) in
        [(0, MemberWhat::Add, 1), (300, MemberWhat::Add, 2), (600, MemberWhat::Replace, 0)]
    {
        change(plan, 0, at_ms + later, &[(what, master)]);
    }
    vec![Fault {
        at_ms: at_ms - 100,
        for_ms: draws.range(1_500, 3_000),
        kind: FaultKind::Cut { side: vec![0, 1, 2] },
    }]
}

/// Two of five directories are given up in one change of which one member does not hear. The new ones become known, get
/// nothing of the log, and hear only that member, for which both are still what they were.
pub(super) fn two_replaced(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    if plan.masters.founders > 0 || plan.masters.clocks.len() > 5 {
        return Vec::new();
    }
    calm(plan);
    while plan.masters.clocks.len() < 5 {
        if let Some(core) = &mut plan.core {
            core.masters.push(plan.masters.clocks.len() as u8);
        }
        plan.masters.clocks.push(clock(draws, plan.executors.drift_ppm));
        if !plan.masters.batch_us.is_empty() {
            plan.masters.batch_us.push(plan.masters.batch_most_us(0));
        }
        if !plan.masters.flow.is_empty() {
            plan.masters.flow.push(FlowPlan::default());
        }
    }
    plan.masters.founders = 5;
    some_clients(plan, 2);
    let mut places = [0, 1, 2, 3, 4];
    for place in (1..places.len()).rev() {
        places.swap(place, draws.range(0, place as u64) as usize);
    }
    let [deaf, first, second, leader, other] = places;
    let at_ms = draws.range(1_500, 2_500);
    add(plan, 1, at_ms - 400, Operation::TransferLeader { to: Some(leader) });
    change(plan, 0, at_ms, &[(MemberWhat::Replace, first), (MemberWhat::Replace, second)]);
    let knows = vec![leader, other];
    let mut faults = Vec::new();
    for from in [leader, other] {
        let for_ms = 4_000;
        let cut = FaultKind::Clog { from: vec![from], to: vec![deaf] };
        faults.push(Fault { at_ms: at_ms - draws.range(0, 20), for_ms, kind: cut });
    }
    let to = vec![first, second];
    let from = draws.range(5, 80);
    for what in [MessageKind::Append, MessageKind::Snapshot] {
        let kind = FaultKind::Filter { from: knows.clone(), to: to.clone(), what };
        faults.push(Fault { at_ms: at_ms + from, for_ms: 3_000, kind });
    }
    let kind = FaultKind::Filter { from: knows, to, what: MessageKind::Heartbeat };
    faults.push(Fault { at_ms: at_ms + from + draws.range(0, 100), for_ms: 3_000, kind });
    faults
}
