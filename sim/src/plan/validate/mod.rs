//! A plan that was read from a file may have been edited by hand: whatever it says, it is refused with what would be
//! right, or it runs.

mod checks;
mod faults;
mod operations;

use super::{ClockPlan, Fault, FaultKind, Plan};
use crate::{draw::MILLION, master::Master, network::PLACES};
use checks::{Checked, places, range, range_signed, session, wrong};
use core::fmt::{self, Display};
use operations::operation;
use quorate_core::limits;

/// Longest phase, and latest time of anything, milliseconds.
pub(super) const TIME_MOST_MS: u64 = 3_600_000;
/// Longest single delay, milliseconds.
const DELAY_MOST_MS: u64 = 60_000;
/// Farthest that a clock may be from the true time, milliseconds.
const CLOCK_MOST_MS: u64 = 1_000_000_000_000;
/// Longest time of a batch of inputs, microseconds.
const BATCH_MOST_US: u64 = 10_000;
/// Operations of one client.
const OPERATIONS: usize = 100_000;
/// Faults of a plan.
const FAULTS: usize = 100_000;

/// What is wrong with a plan: the field, its value, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// Its path in the plan.
    pub field: String,
    /// What it says.
    pub value: String,
    /// What would be right.
    pub right: String,
}

impl Display for PlanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is {}: it must be {}", self.field, self.value, self.right)
    }
}

impl std::error::Error for PlanError {}

/// The numbers of machines.
#[derive(Clone, Copy)]
struct Sizes {
    masters: usize,
    executors: usize,
    clients: usize,
}

impl Plan {
    /// Reads a plan of any generator.
    ///
    /// # Errors
    /// It is not JSON, has a field that is not known, or one with a value that it cannot have.
    pub fn read(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let plan: Self = serde_json::from_str(text)?;
        plan.validate()?;
        Ok(plan)
    }

    /// Whether it can be run.
    ///
    /// # Errors
    /// The first field that is wrong, with what would be right.
    pub fn validate(&self) -> Checked {
        let sizes = Sizes {
            masters: self.masters.clocks.len(),
            executors: self.executors.clocks.len(),
            clients: self.clients.len(),
        };
        range("number of masters.clocks", sizes.masters as u64, 1, limits::VOTERS as u64)?;
        range("masters.founders", self.masters.founders.into(), 0, sizes.masters as u64)?;
        range("number of executors.clocks", sizes.executors as u64, 0, PLACES as u64)?;
        range("number of clients", sizes.clients as u64, 0, PLACES as u64)?;
        range("duration_ms", self.duration_ms, 1, TIME_MOST_MS)?;
        range("settle_ms", self.settle_ms, 1, TIME_MOST_MS)?;
        self.machines()?;
        self.roads()?;
        places("left_out", &self.left_out, sizes.masters, "master", 0)?;
        if let Some(core) = &self.core {
            places("core.masters", &core.masters, sizes.masters, "master", 1)?;
            places("core.executors", &core.executors, sizes.executors, "executor", 0)?;
        }
        if let Some(recovery) = self.recovery {
            range("recovery.master", recovery.master.into(), 0, sizes.masters as u64 - 1)?;
        }
        for (number, client) in self.clients.iter().enumerate() {
            let field = format!("clients[{number}]");
            session(format!("{field}.session_ttl_ms"), client.session_ttl_ms)?;
            range(format!("{field}.timeout_ms"), client.timeout_ms, 1, TIME_MOST_MS)?;
            range(format!("{field}.give_up_ms"), client.give_up_ms, 1, TIME_MOST_MS)?;
            range(
                format!("number of {field}.operations"),
                client.operations.len() as u64,
                0,
                OPERATIONS as u64,
            )?;
            for (number, planned) in client.operations.iter().enumerate() {
                let field = format!("{field}.operations[{number}]");
                range(format!("{field}.at_ms"), planned.at_ms, 0, TIME_MOST_MS)?;
                operation(&field, &planned.operation, sizes.masters)?;
            }
        }
        range("number of faults", self.faults.len() as u64, 0, FAULTS as u64)?;
        for (number, fault) in self.faults.iter().enumerate() {
            self.fault(&format!("faults[{number}]"), fault, sizes)?;
        }
        Ok(())
    }

    fn machines(&self) -> Checked {
        for (number, millis) in self.masters.timing_ms.iter().enumerate() {
            range(format!("masters.timing_ms[{number}]"), *millis, 1, TIME_MOST_MS)?;
        }
        for (number, millis) in self.executors.lease_ms.iter().enumerate() {
            range(format!("executors.lease_ms[{number}]"), *millis, 1, TIME_MOST_MS)?;
        }
        session("executors.session_ms", self.executors.session_ms)?;
        range("executors.heartbeat_ms", self.executors.heartbeat_ms, 1, TIME_MOST_MS)?;
        range("executors.slots", self.executors.slots.into(), 1, limits::EXECUTOR_SLOTS.into())?;
        range("executors.drift_ppm", self.executors.drift_ppm.into(), 0, MILLION / 10)?;
        self.clocks("masters", &self.masters.clocks)?;
        self.clocks("executors", &self.executors.clocks)?;
        if self.masters.flow.len() > self.masters.clocks.len() {
            let right = format!("at most {}, one a master", self.masters.clocks.len());
            return Err(wrong("number of masters.flow", self.masters.flow.len(), right));
        }
        for (number, flow) in self.masters.flow.iter().enumerate() {
            let field = format!("masters.flow[{number}]");
            flow.flow().validate().map_err(|error| wrong(field, error, "within what others take"))?;
        }
        if self.masters.batch_us.len() > self.masters.clocks.len() {
            let right = format!("at most {}, one a master", self.masters.clocks.len());
            return Err(wrong("number of masters.batch_us", self.masters.batch_us.len(), right));
        }
        for (number, micros) in self.masters.batch_us.iter().enumerate() {
            range(format!("masters.batch_us[{number}]"), *micros, 0, BATCH_MOST_US)?;
        }
        let lease = self.masters.read_lease_drift_ppm;
        if lease > 0 && lease < 2 * self.executors.drift_ppm {
            let right =
                format!("0, or at least {}: each clock drifts either way", 2 * self.executors.drift_ppm);
            return Err(wrong("masters.read_lease_drift_ppm", lease, right));
        }
        let suspended = |fault: &Fault| matches!(fault.kind, FaultKind::Suspend { .. });
        if let Some(number) = self.faults.iter().position(suspended).filter(|_| lease > 0) {
            let right = "another kind: no lease is right where a clock may stand still";
            return Err(wrong(format!("faults[{number}]"), "suspend", right));
        }
        // What the core refuses is refused here, with its own words.
        let config = Master::new(0, &self.masters).config(self);
        config
            .validate()
            .map_err(|error| wrong("masters or executors", error, "a configuration that is safe"))
    }

    fn drift(&self, field: impl Display, ppb: i64) -> Checked {
        range_signed(field, ppb, u64::from(self.executors.drift_ppm) * 1_000)
    }

    fn clocks(&self, of: &str, clocks: &[ClockPlan]) -> Checked {
        for (number, clock) in clocks.iter().enumerate() {
            let field = format!("{of}.clocks[{number}]");
            range(format!("{field}.offset_ms"), clock.offset_ms, 0, CLOCK_MOST_MS)?;
            range_signed(format!("{field}.wall_error_ms"), clock.wall_error_ms, CLOCK_MOST_MS)?;
            self.drift(format!("{field}.drift_ppb"), clock.drift_ppb)?;
        }
        Ok(())
    }

    fn roads(&self) -> Checked {
        let (network, disk) = (&self.network, &self.disk);
        let most = DELAY_MOST_MS * 1_000;
        range("network.latency_max_us", network.latency_max_us, 0, most)?;
        range("network.latency_min_us", network.latency_min_us, 0, network.latency_max_us)?;
        range("network.tail_us", network.tail_us, 0, most)?;
        for (field, chance) in [
            ("network.tail_ppm", network.tail_ppm),
            ("network.loss_ppm", network.loss_ppm),
            ("network.duplicate_ppm", network.duplicate_ppm),
            ("network.reorder_ppm", network.reorder_ppm),
            ("network.call_ppm", network.call_ppm),
        ] {
            range(field, chance, 0, MILLION)?;
        }
        range("network.call_late_ms", network.call_late_ms, 0, DELAY_MOST_MS)?;
        range("disk.sync_max_us", disk.sync_max_us, 0, most)?;
        range("disk.load_us", disk.load_us, 0, most)?;
        range("disk.sync_min_us", disk.sync_min_us, 0, disk.sync_max_us)
    }
}
