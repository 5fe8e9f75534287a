//! What comes into a plan at last, so that all else that a seed means stays as it is: replicas that seem to differ, and
//! masters without room.

use super::{
    PART_STATES, percent, pick,
    reigns::{USUAL, add, some_place},
    scenes::quick,
};
use crate::{
    network::PLACES,
    plan::{
        ClientPlan, Expectation, Fault, FaultKind, JobPlan, MemberStep, MemberWhat, Operation, Plan, Way,
    },
};
use quorate_core::random::Draws;

/// Seeds of a thousand in which masters seem to differ, and in which one has no more room.
const DIFFERING: u64 = 40;
const SHORT_OF_ROOM: u64 = 50;
/// So often each happens in one plan, however long that is.
const ROUNDS: usize = 8;

/// Adds them to the plan of a seed.
pub(super) fn states(plan: &mut Plan) {
    let mut draws = Draws::new(plan.seed, PART_STATES);
    for (number, (cases, scene)) in
        (1..).zip([(DIFFERING, differing as fn(&mut Draws, &mut Plan)), (SHORT_OF_ROOM, short_of_room)])
    {
        let mut own = Draws::new(draws.any(), number);
        if own.range(0, 999) < cases {
            scene(&mut own, plan);
        }
    }
    for client in &mut plan.clients {
        client.operations.sort_by_key(|planned| planned.at_ms);
    }
    plan.faults.sort_by_key(|fault| fault.at_ms);
}

/// In most of these plans nothing else is broken: what must come just so seldom does among many faults.
fn alone(draws: &mut Draws, plan: &mut Plan, cases: u64) {
    if percent(draws, cases) {
        plan.faults.clear();
        plan.left_out.clear();
    }
}

/// The first of so many clients that have nothing else to do, as far as there may be more.
fn more_clients(plan: &mut Plan, count: usize) -> usize {
    let first = plan.clients.len().min(PLACES - count);
    let idle = ClientPlan { operations: Vec::new(), hoards: false, ..plan.clients[0].clone() };
    plan.clients.resize(plan.clients.len().max(first + count), idle);
    first
}

/// Times of the rounds, some time from each other.
fn rounds(draws: &mut Draws, plan: &Plan, gap_ms: (u64, u64)) -> Vec<u64> {
    let (mut times, mut at_ms) = (Vec::new(), draws.range(600, 2_000));
    while at_ms < plan.duration_ms && times.len() < ROUNDS {
        times.push(at_ms);
        at_ms += draws.range(gap_ms.0, gap_ms.1);
    }
    times
}

/// Much is written in a short time, so that states are compared, and some masters take another hash than they have: often the
/// one that leads. Now and then others are away just then, or it leads no longer.
fn differing(draws: &mut Draws, plan: &mut Plan) {
    const WRITERS: usize = 6;
    let masters = plan.masters.clocks.len() as u64;
    if masters < 2 {
        return;
    }
    alone(draws, plan, 60);
    quick(plan);
    plan.masters.timing_ms = USUAL;
    plan.masters.flow.clear();
    let first = more_clients(plan, WRITERS);
    let mut times = rounds(draws, plan, (600, 2_500));
    if percent(draws, 40) {
        // What is found only when the faults are over.
        times.push(plan.duration_ms.saturating_sub(draws.range(50, 500)).max(600));
    }
    for at_ms in times {
        for number in 0..draws.range(100, 360) {
            let key = format!("state-{}", number % 3);
            add(plan, first + number as usize % WRITERS, at_ms, Operation::Put { key });
        }
        if !percent(draws, 70) {
            continue;
        }
        let most = *pick(draws, &[1, 1, 1, 1, 2, masters]);
        let wrong: Vec<u8> = (0..most).map(|_| some_place(draws, plan)).collect();
        if percent(draws, 50) {
            // Who leads is wrong.
            let to = wrong.first().copied();
            add(plan, first, at_ms - draws.range(250, 500), Operation::TransferLeader { to });
        }
        for master in wrong {
            let (before, for_ms) = (draws.range(0, 200), draws.range(300, 3_000));
            let kind = FaultKind::WrongState { master };
            plan.faults.push(Fault { at_ms: at_ms - before, for_ms, kind });
            if percent(draws, 20) {
                let (after, for_ms) = (draws.range(50, 600), draws.range(300, 2_500));
                let kind = FaultKind::Isolate { master, way: Way::Both };
                plan.faults.push(Fault { at_ms: at_ms + after, for_ms, kind });
            }
        }
        let (after, for_ms) = (draws.range(0, 600), draws.range(20, 1_500));
        let master = some_place(draws, plan);
        let kind = match draws.range(0, 7) {
            0 => FaultKind::Crash { master },
            1 => FaultKind::Pause { master },
            2 => FaultKind::IsolateLeader { one_way: false, deaf: false },
            3 => {
                add(plan, first, at_ms + after, Operation::TransferLeader { to: Some(master) });
                continue;
            }
            _ => continue,
        };
        plan.faults.push(Fault { at_ms: at_ms + after, for_ms, kind });
    }
}

/// Masters have no more room, some of them are no members or are removed then, and it is said that there is room again.
fn short_of_room(draws: &mut Draws, plan: &mut Plan) {
    const ASKING: usize = 3;
    let masters = plan.masters.clocks.len() as u8;
    alone(draws, plan, 50);
    if plan.masters.founders == 0 && masters >= 3 && percent(draws, 60) {
        plan.masters.founders = masters;
    }
    let first = more_clients(plan, ASKING + 1);
    let operator = first + ASKING;
    for at_ms in rounds(draws, plan, (1_200, 3_500)) {
        let room_ms = draws.range(200, 1_500);
        let master = some_place(draws, plan);
        add(plan, operator, at_ms, Operation::RaiseAlarm { master });
        if percent(draws, 40) {
            let master = some_place(draws, plan);
            add(plan, operator, at_ms, Operation::RaiseAlarm { master });
        }
        if plan.masters.founders > 0 && percent(draws, 50) {
            for (later, what) in
                [(50, MemberWhat::Remove), (room_ms, MemberWhat::Add), (room_ms, MemberWhat::Promote)]
            {
                let steps = vec![MemberStep { what, master }];
                add(plan, operator, at_ms + later, Operation::ChangeMembers { steps });
            }
        }
        for number in 0..draws.range(8, 24) {
            let operation = asked(draws, plan, at_ms + number);
            let later = draws.range(0, room_ms + 600);
            add(plan, first + number as usize % ASKING, at_ms + later, operation);
        }
        let all = percent(draws, 70);
        if all || percent(draws, 50) {
            let master = Some(master).filter(|_| !all);
            add(plan, operator, at_ms + room_ms, Operation::DisarmAlarm { master });
        }
    }
}

/// What takes room, and some that takes none. `number` is of nobody else.
fn asked(draws: &mut Draws, plan: &Plan, number: u64) -> Operation {
    let key = format!("room-{}", draws.range(0, 2));
    match draws.range(0, 9) {
        0..=3 => Operation::Put { key },
        4 | 5 => Operation::CompareAndSet {
            key,
            expect: *pick(draws, &[Expectation::Absent, Expectation::LastValue]),
        },
        6 | 7 => {
            let id = format!("room-{number}");
            let run_ms = [5, draws.range(20, 300)];
            let slots = draws.range(1, u64::from(plan.executors.slots)) as u32;
            Operation::Submit { job: JobPlan { id, tasks: 1, slots, run_ms, ..JobPlan::default() } }
        }
        8 => Operation::Delete { key },
        _ => Operation::Get { key, stale: false },
    }
}
