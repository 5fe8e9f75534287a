//! How reigns begin and end: what is read first in one, what was promised in the one before, and who may begin one.

use super::{
    percent, pick,
    scenes::{client, planned, quick},
};
use crate::plan::{ClientPlan, DiskPlan, Fault, FaultKind, MemberStep, MemberWhat, Operation, Plan, Way};
use quorate_core::random::Draws;

/// Heartbeat, least and most election timeout, disk stall, request timeout, in milliseconds.
pub(super) const USUAL: [u64; 5] = [50, 250, 450, 400, 5_000];
const SLOW: [u64; 5] = [50, 1_200, 2_000, 1_500, 5_000];
/// So often a scene happens in one plan, however long that is.
const ROUNDS: u64 = 16;

pub(super) fn some_place(draws: &mut Draws, plan: &Plan) -> u8 {
    draws.range(0, plan.masters.clocks.len() as u64 - 1) as u8
}

/// At least so many clients.
pub(super) fn some_clients(plan: &mut Plan, least: usize) {
    while plan.clients.len() < least {
        plan.clients.push(ClientPlan { operations: Vec::new(), ..plan.clients[0].clone() });
    }
}

pub(super) fn add(plan: &mut Plan, client: usize, at_ms: u64, operation: Operation) {
    plan.clients[client].operations.push(planned(at_ms, operation));
}

fn put(key: &str) -> Operation {
    Operation::Put { key: key.to_owned() }
}

fn get(key: &str) -> Operation {
    Operation::Get { key: key.to_owned(), stale: false }
}

/// Leaders that hand over, to somebody or to anybody, while others write; some of them are stopped right after that.
pub(super) fn handovers(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let (mut faults, mut at_ms) = (Vec::new(), draws.range(800, 2_000));
    for _ in 0..draws.range(1, 12) {
        let to = if percent(draws, 50) { None } else { Some(some_place(draws, plan)) };
        client(draws, plan).operations.push(planned(at_ms, Operation::TransferLeader { to }));
        for number in 0..draws.range(0, 6) {
            let put = put(&format!("hand-{}", number % 2));
            client(draws, plan).operations.push(planned(at_ms + number, put));
        }
        if percent(draws, 30) {
            let (master, after, for_ms) = (some_place(draws, plan), draws.range(0, 60), draws.range(5, 900));
            faults.push(Fault { at_ms: at_ms + after, for_ms, kind: FaultKind::Crash { master } });
        }
        at_ms += draws.range(100, 2_500);
        if at_ms >= plan.duration_ms {
            break;
        }
    }
    faults
}

/// A leader that reads by its lease is cut off, and whoever has promised it not to vote loses its connection, or goes down for
/// a moment, just then.
pub(super) fn read_leases(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    quick(plan);
    plan.masters.timing_ms = *pick(draws, &[USUAL, SLOW]);
    plan.masters.read_lease_drift_ppm = 2 * plan.executors.drift_ppm + 1;
    let masters = plan.masters.clocks.len() as u8;
    let (mut faults, mut at_ms) = (Vec::new(), draws.range(800, 2_500));
    for _ in 0..draws.range(4, 16) {
        if at_ms >= plan.duration_ms {
            break;
        }
        let cut = FaultKind::IsolateLeader { one_way: false, deaf: percent(draws, 20) };
        faults.push(Fault { at_ms, for_ms: draws.range(800, 3_000), kind: cut });
        let crashes = percent(draws, 50);
        let hit: Vec<u8> = (0..masters).filter(|_| percent(draws, 60)).collect();
        for master in hit {
            let (kind, before) = if crashes {
                (FaultKind::Crash { master }, 0)
            } else {
                (FaultKind::ResetPeers { master }, 1)
            };
            faults.push(Fault { at_ms: at_ms - before, for_ms: draws.range(1, 15), kind });
        }
        for step in 0..draws.range(20, 120) {
            let operation = if percent(draws, 35) { put("lease") } else { get("lease") };
            client(draws, plan).operations.push(planned(at_ms + step * 10, operation));
        }
        at_ms += draws.range(1_500, 5_000);
    }
    faults
}

/// A leader that reads by its lease, of whom one follower hears nothing: that one asks for votes again and again. When the
/// leader is cut off, those that have promised it their silence go down for a moment, and are asked as soon as they are back.
/// Nothing else is written, so that whoever hears nothing may have the votes.
pub(super) fn promises(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    /// From a transfer until nothing of it is on its way.
    const LEADS_MS: u64 = 300;
    let masters = plan.masters.clocks.len() as u8;
    if masters < 3 {
        return Vec::new();
    }
    quick(plan);
    plan.masters.timing_ms = *pick(draws, &[USUAL, SLOW]);
    plan.masters.read_lease_drift_ppm = 2 * plan.executors.drift_ppm + 1;
    some_clients(plan, 6);
    plan.clients.iter_mut().for_each(|client| client.operations.clear());
    let waits_ms = plan.masters.timing_ms[2] + 150;
    let (mut faults, mut at_ms) = (Vec::new(), draws.range(800, 1_500));
    for _ in 0..ROUNDS {
        if at_ms >= plan.duration_ms {
            break;
        }
        let leader = some_place(draws, plan);
        let deaf = (leader + draws.range(1, u64::from(masters) - 1) as u8) % masters;
        add(plan, 0, at_ms, Operation::TransferLeader { to: Some(leader) });
        let clogged = at_ms + LEADS_MS;
        let cut = clogged + waits_ms + draws.range(0, 300);
        let clog = FaultKind::Clog { from: vec![leader], to: vec![deaf] };
        faults.push(Fault { at_ms: clogged, for_ms: cut - clogged + 1_000, kind: clog });
        let isolate = FaultKind::Isolate { master: leader, way: Way::Both };
        faults.push(Fault { at_ms: cut, for_ms: 1_000, kind: isolate });
        for master in (0..masters).filter(|place| ![leader, deaf].contains(place)) {
            let (at_ms, for_ms) = (cut + draws.range(0, 5), draws.range(1, 10));
            faults.push(Fault { at_ms, for_ms, kind: FaultKind::Crash { master } });
        }
        for number in 0..40 {
            add(plan, 1 + number % 2, cut + 10 * number as u64, put("promise"));
            for client in 3..6 {
                add(plan, client, cut + 6 * number as u64, get("promise"));
            }
        }
        at_ms = cut + draws.range(1_500, 2_500);
    }
    faults
}

/// Writes are answered, and another leads at once whose own first entry takes long to come onto disks: what it is asked
/// meanwhile.
pub(super) fn first_reads(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    quick(plan);
    plan.masters.timing_ms = USUAL;
    let sync_max_us = *pick(draws, &[8_000, 20_000, 40_000]);
    plan.disk = DiskPlan { sync_min_us: 3_000, sync_max_us, load_us: 0 };
    some_clients(plan, 6);
    let (mut faults, mut at_ms) = (Vec::new(), draws.range(1_000, 2_000));
    for _ in 0..ROUNDS {
        if at_ms >= plan.duration_ms {
            break;
        }
        for number in 0..12 {
            add(plan, 1, (at_ms + 5 * number).saturating_sub(60), put("first"));
        }
        let (first, step) = match draws.range(0, 3) {
            0 => {
                let kind = FaultKind::IsolateLeader { one_way: percent(draws, 30), deaf: false };
                faults.push(Fault { at_ms, for_ms: draws.range(600, 1_500), kind });
                (200, 6)
            }
            1 => {
                let master = some_place(draws, plan);
                faults.push(Fault { at_ms, for_ms: draws.range(5, 900), kind: FaultKind::Crash { master } });
                (200, 6)
            }
            _ => {
                add(plan, 0, at_ms, Operation::TransferLeader { to: None });
                (0, 2)
            }
        };
        for number in 0..50 {
            for client in 2..6 {
                add(plan, client, at_ms + first + step * number, get("first"));
            }
        }
        at_ms += draws.range(800, 2_500);
    }
    faults
}

/// Somebody who was away learns of many entries at once, and of changes of the members at their end. It carries them out
/// slowly, and is to lead as soon as it holds them.
pub(super) fn behind(draws: &mut Draws, plan: &mut Plan) -> Vec<Fault> {
    let masters = plan.masters.clocks.len() as u8;
    if plan.masters.founders > 0 || masters < 3 {
        return Vec::new();
    }
    quick(plan);
    plan.masters.founders = masters;
    plan.masters.timing_ms = USUAL;
    plan.masters.snapshot_entries = plan.masters.snapshot_entries.max(1_000);
    plan.masters.trailing_entries = plan.masters.trailing_entries.max(1_000);
    some_clients(plan, 5);
    let (mut faults, mut at_ms) = (Vec::new(), draws.range(1_000, 2_000));
    for _ in 0..ROUNDS {
        if at_ms >= plan.duration_ms {
            break;
        }
        let master = some_place(draws, plan);
        let away_ms = draws.range(500, 900);
        let one = FaultKind::Point { master, point: "apply-one".to_owned(), one_in: 1 };
        faults.push(Fault { at_ms, for_ms: 3_000, kind: one });
        let slow = FaultKind::SlowProcessor { master, step_us: *pick(draws, &[1_000, 3_000, 8_000]) };
        faults.push(Fault { at_ms: at_ms + away_ms - 50, for_ms: 2_000, kind: slow });
        faults.push(Fault { at_ms, for_ms: away_ms, kind: FaultKind::Isolate { master, way: Way::Both } });
        for number in 0..draws.range(20, 80) {
            add(plan, 2 + number as usize % 2, at_ms + 2 * number, put("behind"));
        }
        let other = (master + draws.range(1, u64::from(masters) - 1) as u8) % masters;
        let some = [MemberWhat::Update, MemberWhat::Neither, MemberWhat::Demote, MemberWhat::Promote];
        for number in 0..draws.range(2, 4) {
            let steps = vec![MemberStep { what: *pick(draws, &some), master: other }];
            let at_ms = at_ms + away_ms - 300 + 60 * number;
            add(plan, 4, at_ms, Operation::ChangeMembers { steps });
        }
        for number in 0..12 {
            let at_ms = at_ms + away_ms + 40 + 60 * number;
            add(plan, number as usize % 2, at_ms, Operation::TransferLeader { to: Some(master) });
        }
        at_ms += draws.range(3_000, 4_000);
    }
    faults
}
