//! Masters that come and go while everything else happens.

use super::{
    knobs::clock,
    percent, pick,
    scenes::{client, planned, quick, sometime},
};
use crate::plan::{
    ClientPlan, DiskPlan, Fault, FaultKind, FlowPlan, Look, MemberStep, MemberWhat, Operation, Plan,
};
use quorate_core::{limits, random::Draws};

/// What may happen to a master, and how often beside the others.
const STEPS: &[(u64, MemberWhat)] = &[
    (5, MemberWhat::Add),
    (6, MemberWhat::Promote),
    (2, MemberWhat::Demote),
    (4, MemberWhat::Remove),
    (4, MemberWhat::Replace),
    (1, MemberWhat::Update),
    (2, MemberWhat::Prefer),
    (1, MemberWhat::Avoid),
    (1, MemberWhat::Neither),
];

/// Some masters wait beside the cluster. They are added, and others are removed, replaced, promoted and demoted; some
/// changes are of several masters at once.
pub(super) fn come_and_go(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let founders = plan.masters.clocks.len();
    let spares = draws.range(1, 3) as usize;
    let spares = add_spares(draws, plan, spares);
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

/// Machines that may be added later. How many there was room for.
pub(super) fn add_spares(draws: &mut Draws, plan: &mut Plan, spares: usize) -> usize {
    let founders = plan.masters.clocks.len();
    let spares = spares.min(limits::VOTERS - founders);
    plan.masters.founders = founders as u8;
    for _ in 0..spares {
        plan.masters.clocks.push(clock(draws, plan.executors.drift_ppm));
        if !plan.masters.batch_us.is_empty() {
            plan.masters.batch_us.push(plan.masters.batch_most_us(0));
        }
        if !plan.masters.flow.is_empty() {
            plan.masters.flow.push(FlowPlan::default());
        }
    }
    spares
}

/// One change right behind the other, two of them at a time, while masters are cut off, lose power and elect leaders: who
/// decides with older members than others must not be able to.
pub(super) fn churn(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    if plan.masters.founders > 0 || plan.masters.clocks.len() > 5 {
        return Vec::new();
    }
    quick(plan);
    plan.masters.timing_ms = [50, 250, 450, 400, 5_000];
    // Slow enough that much is cut off in the middle.
    plan.disk = DiskPlan { sync_min_us: 500, sync_max_us: *pick(draws, &[800, 8_000, 20_000]), load_us: 0 };
    add_spares(draws, plan, 2);
    let masters = plan.masters.clocks.len() as u8;
    while plan.clients.len() < 3 {
        plan.clients.push(ClientPlan { operations: Vec::new(), ..plan.clients[0].clone() });
    }
    let founders = plan.masters.founders;
    for spare in founders..masters {
        let steps = vec![MemberStep { what: MemberWhat::Add, master: spare }];
        plan.clients[0].operations.push(planned(1_000, Operation::ChangeMembers { steps }));
    }
    let (mut faults, mut at_ms) = (Vec::new(), draws.range(1_500, 2_500));
    while at_ms < plan.duration_ms {
        together(draws, plan, at_ms);
        let after = at_ms + draws.range(0, 8);
        match draws.range(0, 7) {
            0..=2 => {
                let side = some_places(draws, masters);
                faults.push(Fault {
                    at_ms: after,
                    for_ms: draws.range(400, 1_500),
                    kind: FaultKind::Cut { side },
                });
            }
            3 => {
                let kind = FaultKind::IsolateLeader { one_way: percent(draws, 30), deaf: false };
                faults.push(Fault { at_ms: after, for_ms: draws.range(400, 1_500), kind });
            }
            4 => {
                let master = draws.range(0, u64::from(masters) - 1) as u8;
                faults.push(Fault {
                    at_ms: after,
                    for_ms: draws.range(5, 900),
                    kind: FaultKind::PowerLoss { master },
                });
            }
            5 => faults.push(Fault {
                at_ms: after,
                for_ms: draws.range(5, 200),
                kind: FaultKind::PowerLossAll {},
            }),
            _ => {}
        }
        at_ms += draws.range(200, 1_800);
    }
    for master in 0..masters {
        if percent(draws, 15) {
            let kind = FaultKind::SlowProcessor { master, step_us: *pick(draws, &[2_000, 10_000]) };
            faults.push(Fault { at_ms: draws.range(0, plan.duration_ms), for_ms: 2_000, kind });
        }
        if percent(draws, 25) {
            let kind = FaultKind::Point { master, point: "apply-one".to_owned(), one_in: 1 };
            faults.push(Fault { at_ms: draws.range(0, plan.duration_ms), for_ms: plan.duration_ms, kind });
        }
    }
    faults
}

/// Some masters, but not all.
fn some_places(draws: &mut Draws, masters: u8) -> Vec<u8> {
    let bits = draws.range(1, (1 << masters) - 2);
    (0..masters).filter(|place| bits >> place & 1 == 1).collect()
}

/// Two clients change something at the same moment, and again soon.
fn together(draws: &mut Draws, plan: &mut Plan, at_ms: u64) {
    let masters = plan.masters.clocks.len();
    for client in 0..2 {
        let mut at_ms = at_ms;
        for _ in 0..draws.range(1, 3) {
            let what = *pick(draws, &[MemberWhat::Promote, MemberWhat::Promote, MemberWhat::Demote]);
            let master = draws.range(0, masters as u64 - 1) as u8;
            let single = vec![MemberStep { what, master }];
            let steps = if percent(draws, 70) { single } else { some_steps(draws, masters) };
            plan.clients[client].operations.push(planned(at_ms, Operation::ChangeMembers { steps }));
            at_ms += draws.range(0, 60);
        }
    }
    plan.clients[2].operations.push(planned(at_ms + 1, Operation::Put { key: "churn".to_owned() }));
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
