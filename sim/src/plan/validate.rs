//! A plan that was read from a file may have been edited by hand: whatever it says, it is refused with what would be
//! right, or it runs.

use super::{ClockPlan, Fault, FaultKind, JobPlan, Look, Operation, Plan, operation::BACKOFF_INITIAL_MS};
use crate::{draw::MILLION, master::Master, network::PLACES};
use core::fmt::{self, Display};
use quorate_core::{limits, point::Point};

/// Longest phase, and latest time of anything, milliseconds.
pub(super) const TIME_MOST_MS: u64 = 3_600_000;
/// Longest single delay, milliseconds.
const DELAY_MOST_MS: u64 = 60_000;
/// Farthest that a clock may be from the true time, milliseconds.
const CLOCK_MOST_MS: u64 = 1_000_000_000_000;
/// Operations of one client.
const OPERATIONS: usize = 100_000;
/// Faults of a plan.
const FAULTS: usize = 100_000;
/// Message of one process, bytes.
const MESSAGE_BYTES: u64 = 64 * 1_024;
/// Entries that a made id is ahead of the last one that its client heard of.
const ENTRIES_AHEAD: u64 = 1_000_000;
/// Crashes of one restart loop.
const RESTARTS: u64 = 1_000;

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

type Checked = Result<(), PlanError>;

fn wrong(field: impl Display, value: impl Display, right: impl Display) -> PlanError {
    PlanError { field: field.to_string(), value: value.to_string(), right: right.to_string() }
}

fn range(field: impl Display, value: u64, least: u64, most: u64) -> Checked {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(field, value, format!("{least} to {most}")))
}

/// A number that stands for a default if it is 0.
fn range_or_default(field: impl Display, value: u64, least: u64, most: u64) -> Checked {
    if value == 0 || (least..=most).contains(&value) {
        return Ok(());
    }
    let right = if least <= 1 { format!("0 to {most}") } else { format!("0 or {least} to {most}") };
    Err(wrong(field, value, right))
}

/// What is asked for a session.
fn session(field: impl Display, millis: u64) -> Checked {
    let (least, most, _) = limits::SESSION_TTL_MS;
    range_or_default(field, millis, least, most)
}

fn range_signed(field: impl Display, value: i64, most: u64) -> Checked {
    if value.unsigned_abs() <= most {
        return Ok(());
    }
    Err(wrong(field, value, format!("-{most} to {most}")))
}

/// The numbers of machines.
#[derive(Clone, Copy)]
struct Sizes {
    masters: usize,
    executors: usize,
    clients: usize,
}

fn place(field: impl Display, value: u8, count: usize, what: &str) -> Checked {
    if usize::from(value) < count {
        return Ok(());
    }
    let right = match count {
        0 => format!("left out: the plan has no {what}"),
        count => format!("0 to {}, the place of a {what}", count - 1),
    };
    Err(wrong(field, value, right))
}

fn places(field: &str, values: &[u8], count: usize, what: &str, least: usize) -> Checked {
    if values.len() < least {
        return Err(wrong(field, format!("{values:?}"), format!("a list of at least {least}")));
    }
    for (number, value) in values.iter().enumerate() {
        place(format!("{field}[{number}]"), *value, count, what)?;
        if values[..number].contains(value) {
            return Err(wrong(format!("{field}[{number}]"), value, "named only once"));
        }
    }
    Ok(())
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
                operation(&field, &planned.operation)?;
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

    fn fault(&self, field: &str, fault: &Fault, sizes: Sizes) -> Checked {
        range(format!("{field}.at_ms"), fault.at_ms, 0, TIME_MOST_MS)?;
        range(format!("{field}.for_ms"), fault.for_ms, 0, TIME_MOST_MS)?;
        names(field, &fault.kind, sizes)?;
        self.magnitudes(field, &fault.kind)
    }

    fn magnitudes(&self, field: &str, kind: &FaultKind) -> Checked {
        let at = |name: &str| format!("{field}.{name}");
        let delay = |name: &str, millis| range(at(name), millis, 0, DELAY_MOST_MS);
        let period = |millis| range(at("period_ms"), millis, 1, TIME_MOST_MS);
        let chance = |parts| range(at("ppm"), parts, 0, MILLION);
        match kind {
            FaultKind::SlowDisk { sync_ms, .. } => delay("sync_ms", *sync_ms),
            FaultKind::Flap { period_ms, .. }
            | FaultKind::FlapExecutor { period_ms, .. }
            | FaultKind::AgentFlap { period_ms, .. }
            | FaultKind::Disconnect { period_ms, .. } => period(*period_ms),
            FaultKind::Delay { ppm, most_ms }
            | FaultKind::Duplicate { ppm, most_ms }
            | FaultKind::Reorder { ppm, most_ms }
            | FaultKind::RepeatReports { ppm, most_ms, .. }
            | FaultKind::LateReports { ppm, most_ms, .. }
            | FaultKind::LateOrders { ppm, most_ms, .. }
            | FaultKind::LateKind { ppm, most_ms, .. } => {
                chance(*ppm)?;
                delay("most_ms", *most_ms)
            }
            FaultKind::Loss { ppm }
            | FaultKind::HeartbeatLoss { ppm, .. }
            | FaultKind::DoubleRequests { ppm, .. } => chance(*ppm),
            FaultKind::WallStep { by_ms, .. } | FaultKind::ExecutorWallStep { by_ms, .. } => {
                range_signed(at("by_ms"), *by_ms, CLOCK_MOST_MS)
            }
            FaultKind::WallResync { by_ms, period_ms, .. } => {
                range_signed(at("by_ms"), *by_ms, CLOCK_MOST_MS)?;
                period(*period_ms)
            }
            FaultKind::MasterDrift { ppb, .. } | FaultKind::ExecutorDrift { ppb, .. } => {
                self.drift(at("ppb"), *ppb)
            }
            FaultKind::SwizzleClog { step_ms, .. } => range(at("step_ms"), *step_ms, 1, TIME_MOST_MS),
            FaultKind::SlowLink { by_ms, .. }
            | FaultKind::SlowDrain { by_ms, .. }
            | FaultKind::LateAnswers { by_ms, .. } => delay("by_ms", *by_ms),
            FaultKind::RestartLoop { times, up_ms, .. } => {
                range(at("times"), u64::from(*times), 1, RESTARTS)?;
                range(at("up_ms"), *up_ms, 1, TIME_MOST_MS)
            }
            FaultKind::Point { point, one_in, .. } => {
                if Point::named(point).is_none() {
                    let names: Vec<&str> = Point::ALL.iter().map(|point| point.key()).collect();
                    return Err(wrong(
                        at("point"),
                        format!("{point:?}"),
                        format!("one of {}", names.join(", ")),
                    ));
                }
                range(at("one_in"), u64::from(*one_in), 1, MILLION)
            }
            FaultKind::SlowProcessor { step_us, .. } => {
                range(at("step_us"), *step_us, 1, DELAY_MOST_MS * 1_000)
            }
            _ => Ok(()),
        }
    }
}

/// Every machine that a fault names must be there.
fn names(field: &str, kind: &FaultKind, sizes: Sizes) -> Checked {
    let at = |name: &str| format!("{field}.{name}");
    let some = |name: &str, list: &[u8]| places(&at(name), list, sizes.masters, "master", 1);
    match kind {
        FaultKind::Crash { master }
        | FaultKind::PowerLoss { master }
        | FaultKind::Pause { master }
        | FaultKind::Wipe { master }
        | FaultKind::SyncError { master, .. }
        | FaultKind::SlowDisk { master, .. }
        | FaultKind::CutClients { master }
        | FaultKind::WallStep { master, .. }
        | FaultKind::Isolate { master, .. }
        | FaultKind::Bridge { master }
        | FaultKind::RestartLoop { master, .. }
        | FaultKind::SlowProcessor { master, .. }
        | FaultKind::Suspend { master }
        | FaultKind::Restore { master }
        | FaultKind::LyingSync { master }
        | FaultKind::ReadError { master }
        | FaultKind::Rot { master, .. }
        | FaultKind::Misdirect { master }
        | FaultKind::FullDisk { master }
        | FaultKind::StallDisk { master }
        | FaultKind::WallResync { master, .. }
        | FaultKind::Point { master, .. }
        | FaultKind::MasterDrift { master, .. } => place(at("master"), *master, sizes.masters, "master"),
        FaultKind::CutExecutorFrom { executor, masters } => {
            some("masters", masters)?;
            place(at("executor"), *executor, sizes.executors, "executor")
        }
        FaultKind::CutExecutor { executor }
        | FaultKind::AgentCrash { executor }
        | FaultKind::AgentPause { executor }
        | FaultKind::AgentShutdown { executor }
        | FaultKind::MachineFreeze { executor }
        | FaultKind::ExecutorDrift { executor, .. }
        | FaultKind::ExecutorWallStep { executor, .. }
        | FaultKind::CutExecutorOneWay { executor, .. }
        | FaultKind::FlapExecutor { executor, .. }
        | FaultKind::HeartbeatLoss { executor, .. }
        | FaultKind::RepeatReports { executor, .. }
        | FaultKind::LateReports { executor, .. }
        | FaultKind::LateOrders { executor, .. }
        | FaultKind::LastWord { executor }
        | FaultKind::Zombie { executor, .. }
        | FaultKind::AgentFlap { executor, .. }
        | FaultKind::SlowDrain { executor, .. } => {
            place(at("executor"), *executor, sizes.executors, "executor")
        }
        FaultKind::CutClientOneWay { client, .. }
        | FaultKind::LateAnswers { client, .. }
        | FaultKind::DoubleRequests { client, .. }
        | FaultKind::Disconnect { client, .. }
        | FaultKind::ClientStall { client } => place(at("client"), *client, sizes.clients, "client"),
        FaultKind::Cut { side } | FaultKind::CutOneWay { side } | FaultKind::Flap { side, .. } => {
            some("side", side)
        }
        FaultKind::Clog { from, to } => {
            some("from", from)?;
            some("to", to)
        }
        FaultKind::SwizzleClog { order, back, .. } => {
            some("order", order)?;
            some("back", back)
        }
        FaultKind::SlowLink { from, to, .. } => {
            place(at("from"), *from, sizes.masters, "master")?;
            place(at("to"), *to, sizes.masters, "master")
        }
        FaultKind::Filter { from, .. } | FaultKind::LateKind { from, .. } => some("from", from),
        FaultKind::PowerLossAll {}
        | FaultKind::CrashAll {}
        | FaultKind::Ring {}
        | FaultKind::RingMajorities {}
        | FaultKind::IsolateLeader { .. }
        | FaultKind::Delay { .. }
        | FaultKind::Loss { .. }
        | FaultKind::Duplicate { .. }
        | FaultKind::Reorder { .. } => Ok(()),
    }
}

fn operation(field: &str, operation: &Operation) -> Checked {
    match operation {
        Operation::Submit { job: submitted } => job(field, submitted),
        Operation::SubmitAhead { entries, job: submitted } => {
            range(format!("{field}.entries"), *entries, 0, ENTRIES_AHEAD)?;
            job(field, submitted)
        }
        Operation::PutLarge { kib, .. } => {
            range(format!("{field}.kib"), *kib, 1, limits::VALUE_BYTES as u64 / 1_024)
        }
        Operation::Look {
            at:
                Look::Executors { limit }
                | Look::Jobs { limit, .. }
                | Look::Tasks { limit, .. }
                | Look::Keys { limit, .. },
        } => range(format!("{field}.limit"), u64::from(*limit), 0, limits::PAGE_ITEMS as u64),
        Operation::ListPage { limit, .. } => {
            range(format!("{field}.limit"), u64::from(*limit), 1, limits::PAGE_ITEMS as u64)
        }
        Operation::Cancel { timeout_ms, .. } => {
            range(format!("{field}.timeout_ms"), *timeout_ms, 0, limits::CANCEL_TIMEOUT_MS.0)
        }
        _ => Ok(()),
    }
}

/// What the core refuses would look like a violation: what was asked by plan is never invalid.
fn job(field: &str, job: &JobPlan) -> Checked {
    let at = |name: &str| format!("{field}.job.{name}");
    range(at("run_ms[0]"), job.run_ms[0], 0, TIME_MOST_MS)?;
    range(at("run_ms[1]"), job.run_ms[1], job.run_ms[0], TIME_MOST_MS)?;
    range_or_default(at("tasks"), job.tasks.into(), 1, limits::JOB_TASKS.into())?;
    range_or_default(at("slots"), job.slots.into(), 1, limits::EXECUTOR_SLOTS.into())?;
    range_or_default(at("max_failures"), job.max_failures.into(), 1, limits::RETRY_FAILURES.0.into())?;
    range_or_default(at("stop_timeout_ms"), job.stop_timeout_ms, 1, limits::STOP_TIMEOUT_MS.0)?;
    range(at("fail_ppm"), job.fail_ppm, 0, MILLION)?;
    range(at("stubborn_ppm"), job.stubborn_ppm, 0, MILLION)?;
    let at = |name: &str| format!("{field}.job.seldom.{name}");
    let seldom = &job.seldom;
    let most = limits::BACKOFF_MAX_MS.0;
    range_or_default(at("backoff_max_ms"), seldom.backoff_max_ms, BACKOFF_INITIAL_MS, most)?;
    range_or_default(at("reset_after_ms"), seldom.reset_after_ms, 1, limits::BACKOFF_RESET_MS.0)?;
    range(at("unstartable_ppm"), seldom.unstartable_ppm, 0, MILLION)?;
    range(at("signal_ppm"), seldom.signal_ppm, 0, MILLION)?;
    range(at("message_bytes"), seldom.message_bytes, 0, MESSAGE_BYTES)
}
