//! From a seed to a plan. Each part has draws of its own, so that a change of one leaves the others.

mod clients;
mod core_of;
mod directories;
mod faults;
mod kinds;
mod knobs;
mod members;
mod points;
mod reigns;
mod scenes;
mod states;
mod upgrades;

use super::{Atlas, ClientPlan, FaultKind, Operation, Plan, RecoveryPlan, validate::TIME_MOST_MS};
use quorate_core::random::Draws;

/// Grows with every change of what a seed means.
pub const GENERATOR: u32 = 10;

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
const PART_DISK: u64 = 7;
const PART_TIMING: u64 = 8;
const PART_ATLAS: u64 = 9;
const PART_CORE: u64 = 10;
const PART_SCENES: u64 = 11;
const PART_FLOW: u64 = 12;
const PART_POINTS: u64 = 13;
const PART_BATCH: u64 = 14;
const PART_STATES: u64 = 15;
const PART_RECOVERY: u64 = 16;
const PART_LOG: u64 = 17;

/// Seeds of a hundred whose cluster is given up in the end.
const RECOVERIES: u64 = 6;

/// Time in which a cluster settles, without the work that is left, milliseconds.
const SETTLE_MS: u64 = 120_000;

/// Something that happens in a number of cases of a hundred.
fn percent(draws: &mut Draws, cases: u64) -> bool {
    draws.range(0, 99) < cases
}

fn pick<'a, T>(draws: &mut Draws, from: &'a [T]) -> &'a T {
    &from[draws.range(0, from.len() as u64 - 1) as usize]
}

/// The plan of a seed.
#[must_use]
pub fn generate(seed: u64, limits: &Limits) -> Plan {
    let mut draws = Draws::new(seed, PART_SHAPE);
    let masters = *pick(&mut draws, &[3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 1, 7]);
    let executors = if percent(&mut draws, 95) { draws.range(2, 6) } else { *pick(&mut draws, &[1, 10]) };
    let duration_ms = draws.range(limits.duration_min_ms, limits.duration_max_ms);
    let slots = *pick(&mut draws, &[1, 1, 2, 3, 4, 8]);
    let network = knobs::network(seed, limits.faults);
    let disk = knobs::disk(seed);
    let batch_us = knobs::batches(seed, masters);
    let pace = knobs::Pace::of(&network, &disk, &batch_us);
    let mut executors = knobs::executors(seed, executors as usize, slots, &pace);
    let mut masters = knobs::masters(seed, batch_us, executors.drift_ppm, &pace);
    knobs::lease_for(&masters.flow, &mut executors, &pace);
    if !limits.faults {
        masters.timing_ms = knobs::calm_timing(&pace);
        // Nobody is put off until it gives up.
        masters.flow.clear();
    }
    let clients = clients::clients(seed, duration_ms, slots, &pace);
    let sizes = (masters.clocks.len(), executors.clocks.len());
    let atlas = Atlas::choose(&mut Draws::new(seed, PART_ATLAS), sizes.0);
    let core = core_of::core(seed, sizes, &atlas);
    let usable = core.executors.len() as u64 * u64::from(slots);
    let core = limits.faults.then_some(core);
    let mut plan = Plan {
        generator: GENERATOR,
        seed,
        duration_ms,
        settle_ms: SETTLE_MS,
        masters,
        executors,
        network,
        disk,
        clients,
        faults: Vec::new(),
        left_out: Vec::new(),
        core,
        recovery: None,
    };
    // Scenes may ask for more than a small cluster can give, which is a fault of its own.
    let (more, alone) = if limits.faults { scenes::add(&mut plan) } else { (Vec::new(), false) };
    plan.settle_ms = (plan.settle_ms + work_ms(&plan.clients) / usable.max(1)).min(TIME_MOST_MS);
    if limits.faults {
        if !alone {
            (plan.faults, plan.left_out) = faults::faults(&plan, &atlas);
        }
        if !alone {
            plan.faults.extend(points::points(&plan));
        }
        plan.faults.extend(more);
        for fault in &mut plan.faults {
            fault.at_ms = fault.at_ms.min(TIME_MOST_MS);
            // No lease is right where a clock may stand still.
            if let (FaultKind::Suspend { master }, 1..) = (&fault.kind, plan.masters.read_lease_drift_ppm) {
                fault.kind = FaultKind::Pause { master: *master };
            }
        }
        plan.faults.sort_by_key(|fault| fault.at_ms);
        states::states(&mut plan);
        plan.recovery = recovery(&plan);
    }
    plan
}

/// How the cluster is given up in the end, in some plans.
fn recovery(plan: &Plan) -> Option<RecoveryPlan> {
    let mut draws = Draws::new(plan.seed, PART_RECOVERY);
    let master = draws.range(0, plan.masters.clocks.len() as u64 - 1) as u8;
    let (given_up, snapshot) = (percent(&mut draws, RECOVERIES), percent(&mut draws, 35));
    given_up.then_some(RecoveryPlan { master, snapshot })
}

/// Slots times milliseconds that all jobs may take, when all goes wrong that may.
fn work_ms(clients: &[ClientPlan]) -> u64 {
    let operations = clients.iter().flat_map(|client| &client.operations);
    let jobs = operations.filter_map(|planned| match &planned.operation {
        Operation::Submit { job } | Operation::SubmitAhead { job, .. } if !job.service => Some(job),
        _ => None,
    });
    jobs.map(|job| {
        let attempts = u64::from(job.max_failures).max(u64::from(quorate_core::limits::RETRY_FAILURES.1));
        u64::from(job.tasks) * u64::from(job.slots) * job.run_ms[1] * attempts
    })
    .sum()
}
