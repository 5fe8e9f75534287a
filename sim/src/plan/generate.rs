//! From a seed to a plan. Each part has draws of its own, so that a change of one leaves the others.

use super::{
    ClientPlan, ClockPlan, DiskPlan, ExecutorsPlan, Expectation, Fault, FaultKind, JobPlan, MastersPlan,
    NetworkPlan, Operation, Plan, PlannedOperation,
};
use quorate_core::random::Draws;
use std::time::Duration;

/// Grows with every change of what a seed means.
pub const GENERATOR: u32 = 1;

/// What generated plans stay within.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Least length of the safety phase, milliseconds.
    pub duration_min_ms: u64,
    /// Most, milliseconds.
    pub duration_max_ms: u64,
    /// Whether there are faults.
    pub faults: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { duration_min_ms: 10_000, duration_max_ms: 30_000, faults: true }
    }
}

const PART_SHAPE: u64 = 1;
const PART_CLOCKS: u64 = 2;
const PART_NETWORK: u64 = 3;
const PART_CLIENTS: u64 = 4;
const PART_FAULTS: u64 = 5;
const PART_LEASE: u64 = 6;

/// One of two knob settings in a number of cases of a hundred.
fn percent(draws: &mut Draws, cases: u64) -> bool {
    draws.range(0, 99) < cases
}

/// The plan of a seed.
#[must_use]
pub fn generate(seed: u64, limits: &Limits) -> Plan {
    let mut draws = Draws::new(seed, PART_SHAPE);
    let masters = if percent(&mut draws, 70) { 3 } else { 5 };
    let executors = draws.range(2, 6) as usize;
    let duration_ms = draws.range(limits.duration_min_ms, limits.duration_max_ms);
    let timing_ms = timing(&mut draws);
    let snapshot_entries = *pick(&mut draws, &[20, 50, 200, 1_000, 100_000]);
    let trailing_entries = *pick(&mut draws, &[0, 5, 50, 1_000]);
    let disk = *pick(
        &mut draws,
        &[
            DiskPlan { sync_min_us: 50, sync_max_us: 400 },
            DiskPlan { sync_min_us: 200, sync_max_us: 5_000 },
            DiskPlan { sync_min_us: 2_000, sync_max_us: 40_000 },
        ],
    );
    let slots = draws.range(1, 4) as u32;
    let executors_plan = lease(seed, executors, slots);
    let drift = executors_plan.drift_ppm;
    let mut clocks = Draws::new(seed, PART_CLOCKS);
    let masters_plan = MastersPlan {
        clocks: (0..masters).map(|_| clock(&mut clocks, drift)).collect(),
        timing_ms,
        snapshot_entries,
        trailing_entries,
    };
    let (faults, left_out) =
        if limits.faults { faults(seed, masters, executors, duration_ms) } else { (Vec::new(), Vec::new()) };
    Plan {
        generator: GENERATOR,
        seed,
        duration_ms,
        settle_ms: 120_000,
        masters: masters_plan,
        executors: executors_plan,
        network: network(seed, limits.faults),
        disk,
        clients: clients(seed, duration_ms, slots),
        faults,
        left_out,
    }
}

fn pick<'a, T>(draws: &mut Draws, from: &'a [T]) -> &'a T {
    &from[draws.range(0, from.len() as u64 - 1) as usize]
}

/// Mostly the defaults: heartbeat 50, election 250 to 450, stall 400, request 5,000.
fn timing(draws: &mut Draws) -> [u64; 5] {
    match draws.range(0, 5) {
        0 => [20, 100, 160, 200, 2_000],
        1 => [100, 300, 1_000, 1_000, 3_000],
        2 => [50, 150, 200, 100, 1_000],
        _ => [50, 250, 450, 400, 5_000],
    }
}

fn clock(draws: &mut Draws, drift_ppm: u32) -> ClockPlan {
    let most = u64::from(drift_ppm) * 1_000;
    let drift_ppb = match draws.range(0, 3) {
        0 => 0,
        1 => most as i64,
        2 => -(most as i64),
        _ => draws.range(0, 2 * most) as i64 - most as i64,
    };
    ClockPlan {
        offset_ms: draws.range(1_000, 10_000_000),
        drift_ppb,
        wall_error_ms: draws.range(0, 600_000) as i64 - 300_000,
    }
}

fn lease(seed: u64, executors: usize, slots: u32) -> ExecutorsPlan {
    let mut draws = Draws::new(seed, PART_LEASE);
    let drift_ppm = *pick(&mut draws, &[100, 1_000, 20_000]);
    let ttl = draws.range(800, 4_000);
    let check = draws.range(20, 200);
    let kill = draws.range(50, 500);
    let mut plan = ExecutorsPlan {
        clocks: (0..executors).map(|_| clock(&mut draws, drift_ppm)).collect(),
        slots,
        heartbeat_ms: (ttl / draws.range(4, 12)).max(50),
        lease_ms: [ttl, 0, check, kill],
        drift_ppm,
    };
    // The least grace that is safe, which is itself part of what it must cover: it settles after a few rounds.
    for _ in 0..6 {
        let least = plan.lease().grace_min() + Duration::from_micros(999);
        plan.lease_ms[1] = u64::try_from(least.as_millis()).unwrap_or(u64::MAX) + 1;
    }
    plan.lease_ms[1] += if percent(&mut draws, 50) { 0 } else { draws.range(0, 1_000) };
    plan
}

fn network(seed: u64, faults: bool) -> NetworkPlan {
    let mut draws = Draws::new(seed, PART_NETWORK);
    let latency_min_us = draws.range(50, 500);
    let latency_max_us = latency_min_us + *pick(&mut draws, &[100, 1_000, 5_000, 20_000]);
    let mut some =
        |chance: u64, most: u64| if percent(&mut draws, chance) { draws.range(1, most) } else { 0 };
    let (tail_ppm, tail_us) = (some(40, 20_000), some(100, 150_000));
    let (loss_ppm, duplicate_ppm, reorder_ppm) = (some(40, 30_000), some(50, 50_000), some(50, 100_000));
    if !faults {
        return NetworkPlan {
            latency_min_us,
            latency_max_us,
            tail_ppm: 0,
            tail_us: 0,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
        };
    }
    NetworkPlan { latency_min_us, latency_max_us, tail_ppm, tail_us, loss_ppm, duplicate_ppm, reorder_ppm }
}

fn clients(seed: u64, duration_ms: u64, slots: u32) -> Vec<ClientPlan> {
    let mut draws = Draws::new(seed, PART_CLIENTS);
    let count = draws.range(1, 4);
    let keys = draws.range(1, 5);
    let pause = *pick(&mut draws, &[80, 200, 500, 1_500]);
    // What share of the operations is about jobs, in percent.
    let jobs_share = *pick(&mut draws, &[5, 20, 50]);
    let mut jobs = 0;
    (0..count)
        .map(|client| {
            let mut operations = Vec::new();
            let mut at_ms = draws.range(200, 1_500);
            let mut own = Vec::new();
            while at_ms < duration_ms {
                let operation = if percent(&mut draws, jobs_share) {
                    job_operation(&mut draws, client, slots, &mut jobs, &mut own)
                } else {
                    key_operation(&mut draws, keys)
                };
                operations.push(PlannedOperation { at_ms, operation });
                at_ms += draws.range(1, 2 * pause);
            }
            ClientPlan {
                session_ttl_ms: *pick(&mut draws, &[0, 1_500, 5_000]),
                timeout_ms: *pick(&mut draws, &[150, 1_000, 6_000]),
                give_up_ms: *pick(&mut draws, &[1_000, 8_000]),
                operations,
            }
        })
        .collect()
}

fn key_operation(draws: &mut Draws, keys: u64) -> Operation {
    let key = format!("k{}", draws.range(1, keys));
    match draws.range(0, 19) {
        0..=5 => Operation::Put { key },
        6..=11 => Operation::Get { key, stale: percent(draws, 10) },
        12..=13 => Operation::Delete { key },
        14 => Operation::List { stale: percent(draws, 20) },
        15 => {
            if percent(draws, 80) {
                Operation::KeepSession {}
            } else {
                Operation::CloseSession {}
            }
        }
        _ => {
            let expect =
                *pick(draws, &[Expectation::Absent, Expectation::LastValue, Expectation::LastRevision]);
            Operation::CompareAndSet { key, expect }
        }
    }
}

fn job_operation(
    draws: &mut Draws,
    client: u64,
    slots: u32,
    jobs: &mut u64,
    own: &mut Vec<String>,
) -> Operation {
    const JOBS_MOST: u64 = 24;
    let some_job = |draws: &mut Draws| format!("job-{}", draws.range(0, JOBS_MOST / 2));
    match draws.range(0, 11) {
        0..=3 if *jobs < JOBS_MOST => {
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
            Operation::Submit { job: job(draws, id, slots) }
        }
        4 if own.is_empty() || percent(draws, 40) => Operation::DeleteJob { id: some_job(draws) },
        4 => Operation::DeleteJob { id: own.remove(0) },
        5..=6 => Operation::Cancel { id: some_job(draws), timeout_ms: draws.range(200, 4_000) },
        7 if !own.is_empty() => {
            Operation::Cancel { id: pick(draws, own).clone(), timeout_ms: draws.range(200, 4_000) }
        }
        8 => Operation::ListJobs {},
        9 if percent(draws, 20) => Operation::RemoveExecutor { which: draws.range(0, 5) as u8 },
        _ if own.is_empty() || percent(draws, 50) => Operation::GetJob { id: some_job(draws) },
        _ => Operation::GetJob { id: pick(draws, own).clone() },
    }
}

fn job(draws: &mut Draws, id: String, slots: u32) -> JobPlan {
    let service = percent(draws, 30);
    let least = draws.range(5, 500);
    JobPlan {
        id,
        service,
        tasks: draws.range(1, 4) as u32,
        slots: if percent(draws, 80) { 1 } else { draws.range(1, u64::from(slots)) as u32 },
        run_ms: if service { [20_000, 200_000] } else { [least, least + draws.range(0, 4_000)] },
        fail_ppm: *pick(draws, &[0, 0, 100_000, 500_000]),
        stubborn_ppm: *pick(draws, &[0, 200_000]),
        max_failures: *pick(draws, &[0, 1, 2, 5]),
        stop_timeout_ms: draws.range(100, 2_000),
    }
}

/// The kinds that a seed may have in its mix; each is in it or not (swarm).
const MIX: usize = 16;

fn faults(seed: u64, masters: usize, executors: usize, duration_ms: u64) -> (Vec<Fault>, Vec<u8>) {
    let mut draws = Draws::new(seed, PART_FAULTS);
    let mut faults = Vec::new();
    if percent(&mut draws, 8) {
        return (faults, Vec::new());
    }
    let mix: Vec<usize> = (0..MIX).filter(|_| percent(&mut draws, 45)).collect();
    let gap = *pick(&mut draws, &[400, 1_200, 3_000, 6_000]);
    let mut at_ms = draws.range(300, 3_000);
    while at_ms < duration_ms && !mix.is_empty() {
        let which = *pick(&mut draws, &mix);
        let (for_ms, kind) = fault(&mut draws, which, masters, executors);
        faults.push(Fault { at_ms, for_ms, kind });
        at_ms += draws.range(1, 2 * gap);
    }
    let mut left_out = gone_for_good(&mut draws, masters, duration_ms, &mut faults);
    left_out.sort_unstable();
    faults.sort_by_key(|fault| fault.at_ms);
    (faults, left_out)
}

/// At most a minority is wiped, breaks for good, or is left out at the end: never more, whatever else happens.
fn gone_for_good(draws: &mut Draws, masters: usize, duration_ms: u64, faults: &mut Vec<Fault>) -> Vec<u8> {
    let mut left_out = Vec::new();
    let first = draws.range(0, masters as u64 - 1) as usize;
    for number in 0..(masters - 1) / 2 {
        let master = ((first + number) % masters) as u8;
        let at_ms = draws.range(3_000, duration_ms);
        let kind = match draws.range(0, 9) {
            0 => FaultKind::Wipe { master },
            1 => FaultKind::SyncError { master, restart: false },
            2..=4 => {
                left_out.push(master);
                continue;
            }
            _ => continue,
        };
        faults.push(Fault { at_ms, for_ms: draws.range(10, 3_000), kind });
    }
    left_out
}

fn fault(draws: &mut Draws, which: usize, masters: usize, executors: usize) -> (u64, FaultKind) {
    let master = draws.range(0, masters as u64 - 1) as u8;
    let executor = draws.range(0, executors as u64 - 1) as u8;
    let short = draws.range(5, 600);
    let long = draws.range(100, 6_000);
    let most = draws.range(1, (masters as u64 - 1) / 2);
    let side: Vec<u8> = (0..most).map(|next| ((u64::from(master) + next) % masters as u64) as u8).collect();
    let any = if percent(draws, 50) { short } else { long };
    match which {
        0 => (any, FaultKind::Crash { master }),
        1 => (any, FaultKind::PowerLoss { master }),
        2 => (short, FaultKind::PowerLossAll {}),
        3 => (any, FaultKind::Pause { master }),
        4 => (any, FaultKind::SyncError { master, restart: true }),
        5 => (long, FaultKind::SlowDisk { master, sync_ms: draws.range(20, 1_500) }),
        6 => (long, FaultKind::Cut { side }),
        7 => (long, FaultKind::CutOneWay { side }),
        8 => (long, FaultKind::Ring {}),
        9 => (long, FaultKind::IsolateLeader { one_way: percent(draws, 40) }),
        10 => (long, FaultKind::Flap { side, period_ms: draws.range(20, 900) }),
        11 => {
            if percent(draws, 70) {
                (long, FaultKind::CutExecutor { executor })
            } else {
                (long, FaultKind::CutClients { master })
            }
        }
        12 => {
            if percent(draws, 50) {
                (long, FaultKind::Delay { ppm: draws.range(1_000, 300_000), most_ms: draws.range(10, 1_000) })
            } else {
                (long, FaultKind::Loss { ppm: draws.range(10_000, 400_000) })
            }
        }
        13 => (long, FaultKind::WallStep { master, by_ms: draws.range(0, 20_000_000) as i64 - 10_000_000 }),
        14 => {
            if percent(draws, 75) {
                (any, FaultKind::AgentCrash { executor })
            } else {
                (any, FaultKind::AgentShutdown { executor })
            }
        }
        _ => {
            if percent(draws, 50) {
                (long, FaultKind::AgentPause { executor })
            } else {
                (long, FaultKind::MachineFreeze { executor })
            }
        }
    }
}
