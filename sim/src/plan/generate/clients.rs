//! What clients do: few keys and few names, so that they meet.

use super::{PART_CLIENTS, knobs::Pace, percent, pick};
use crate::plan::{ClientPlan, Expectation, JobPlan, Operation, PlannedOperation};
use quorate_core::random::Draws;

/// Jobs of one run.
const JOBS_MOST: u64 = 24;

/// What clients of one seed do at all: each kind is in it or not (swarm).
struct Habits {
    keys: u64,
    slots: u32,
    /// What share of the operations is about jobs, in percent.
    jobs_share: u64,
    key_kinds: Vec<u64>,
    job_kinds: Vec<u64>,
}

/// Each kind of operation as often as its weight says, or never.
fn some_kinds(draws: &mut Draws, weights: &[u64]) -> Vec<u64> {
    let mut kinds = Vec::new();
    for (kind, weight) in (0..).zip(weights) {
        if percent(draws, 80) {
            kinds.extend((0..*weight).map(|_| kind));
        }
    }
    if kinds.is_empty() { vec![0] } else { kinds }
}

pub(super) fn clients(seed: u64, duration_ms: u64, slots: u32, pace: &Pace) -> Vec<ClientPlan> {
    let mut draws = Draws::new(seed, PART_CLIENTS);
    let busy = percent(&mut draws, 6);
    let count = if busy { draws.range(4, 10) } else { draws.range(1, 4) };
    let pause = if busy { 50 * count } else { *pick(&mut draws, &[80, 200, 500, 1_500]) };
    let pause = if busy { pause / 2 } else { pause };
    let habits = Habits {
        keys: draws.range(1, 5),
        slots,
        jobs_share: *pick(&mut draws, &[5, 20, 50]),
        key_kinds: some_kinds(&mut draws, &[6, 6, 2, 1, 1, 4]),
        job_kinds: some_kinds(&mut draws, &[4, 1, 3, 1, 1, 2]),
    };
    let mut jobs = 0;
    (0..count)
        .map(|client| {
            let operations = operations(&mut draws, &habits, (client, duration_ms, pause), &mut jobs);
            let timeout_ms = (*pick(&mut draws, &[150, 1_000, 6_000])).max(4 * pace.round_ms);
            ClientPlan {
                session_ttl_ms: *pick(&mut draws, &[0, 1_000, 1_500, 5_000, 3_600_000]),
                timeout_ms,
                give_up_ms: (*pick(&mut draws, &[1_000, 8_000])).max(timeout_ms),
                hoards: false,
                operations,
            }
        })
        .collect()
}

fn operations(
    draws: &mut Draws,
    habits: &Habits,
    (client, duration_ms, pause): (u64, u64, u64),
    jobs: &mut u64,
) -> Vec<PlannedOperation> {
    let mut operations = Vec::new();
    let mut at_ms = draws.range(200, 1_500);
    let mut own = Vec::new();
    while at_ms < duration_ms {
        // Some come in bursts: one right behind the other.
        let burst = if percent(draws, 2) { draws.range(5, 20) } else { 1 };
        for _ in 0..burst {
            let operation = if percent(draws, habits.jobs_share) {
                job_operation(draws, habits, client, jobs, &mut own)
            } else {
                key_operation(draws, habits)
            };
            operations.push(PlannedOperation { at_ms, operation });
        }
        at_ms += draws.range(1, 2 * pause);
    }
    operations
}

fn key_operation(draws: &mut Draws, habits: &Habits) -> Operation {
    // No key at all is refused.
    let key = if percent(draws, 1) { String::new() } else { format!("k{}", draws.range(1, habits.keys)) };
    match *pick(draws, &habits.key_kinds) {
        0 => Operation::Put { key },
        1 => Operation::Get { key, stale: percent(draws, 10) },
        2 => Operation::Delete { key },
        3 => Operation::List { stale: percent(draws, 20) },
        4 if percent(draws, 80) => Operation::KeepSession {},
        4 => Operation::CloseSession {},
        _ => {
            let expect =
                *pick(draws, &[Expectation::Absent, Expectation::LastValue, Expectation::LastRevision]);
            Operation::CompareAndSet { key, expect }
        }
    }
}

fn job_operation(
    draws: &mut Draws,
    habits: &Habits,
    client: u64,
    jobs: &mut u64,
    own: &mut Vec<String>,
) -> Operation {
    let some_job = |draws: &mut Draws| format!("job-{}", draws.range(0, JOBS_MOST / 2));
    let of_own = |draws: &mut Draws, own: &[String], chance: u64| {
        if own.is_empty() || percent(draws, 100 - chance) {
            some_job(draws)
        } else {
            pick(draws, own).clone()
        }
    };
    match *pick(draws, &habits.job_kinds) {
        0 if *jobs < JOBS_MOST => {
            *jobs += 1;
            // Few numbers, so that two clients ask for one id.
            let id = match draws.range(0, 9) {
                0 => String::new(),
                1..=4 => some_job(draws),
                _ => {
                    let id = format!("own-{client}-{jobs}");
                    own.push(id.clone());
                    id
                }
            };
            Operation::Submit { job: job(draws, id, habits.slots) }
        }
        1 if own.is_empty() || percent(draws, 40) => Operation::DeleteJob { id: some_job(draws) },
        1 => Operation::DeleteJob { id: own.remove(0) },
        2 => Operation::Cancel { id: of_own(draws, own, 33), timeout_ms: draws.range(200, 4_000) },
        3 => Operation::ListJobs {},
        4 if percent(draws, 20) => Operation::RemoveExecutor { which: draws.range(0, 5) as u8 },
        _ => Operation::GetJob { id: of_own(draws, own, 50) },
    }
}

fn job(draws: &mut Draws, id: String, slots: u32) -> JobPlan {
    let service = percent(draws, 30);
    let least = draws.range(5, 500);
    JobPlan {
        id,
        service,
        tasks: if percent(draws, 95) { draws.range(1, 4) as u32 } else { 20 },
        slots: if percent(draws, 80) { 1 } else { draws.range(1, u64::from(slots)) as u32 },
        run_ms: if service { [20_000, 200_000] } else { [least, least + draws.range(0, 4_000)] },
        fail_ppm: *pick(draws, &[0, 0, 100_000, 500_000]),
        stubborn_ppm: *pick(draws, &[0, 200_000]),
        max_failures: *pick(draws, &[0, 1, 2, 5]),
        stop_timeout_ms: draws.range(100, 2_000),
        ..JobPlan::default()
    }
}
