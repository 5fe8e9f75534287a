//! Faults: the machines that they name, and how strong they are.

use super::{
    CLOCK_MOST_MS, DELAY_MOST_MS, Sizes, TIME_MOST_MS,
    checks::{Checked, place, places, range, range_signed, wrong},
};
use crate::{
    draw::MILLION,
    plan::{Fault, FaultKind, Plan},
};
use quorate_core::point::Point;

/// Crashes of one restart loop.
const RESTARTS: u64 = 1_000;

impl Plan {
    pub(super) fn fault(&self, field: &str, fault: &Fault, sizes: Sizes) -> Checked {
        range(format!("{field}.at_ms"), fault.at_ms, 0, TIME_MOST_MS)?;
        range(format!("{field}.for_ms"), fault.for_ms, 0, TIME_MOST_MS)?;
        lists(field, &fault.kind, sizes)?;
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
                if !Point::named(point).is_some_and(Point::is_permitted) {
                    let permitted = Point::ALL.iter().filter(|point| point.is_permitted());
                    let names: Vec<&str> = permitted.map(|point| point.key()).collect();
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

/// Every machine that a fault names must be there; `lists` looks at those that are named together.
fn names(field: &str, kind: &FaultKind, sizes: Sizes) -> Checked {
    let at = |name: &str| format!("{field}.{name}");
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
        | FaultKind::ResetPeers { master }
        | FaultKind::NewProgram { master, .. }
        | FaultKind::Suspend { master }
        | FaultKind::Restore { master }
        | FaultKind::LyingSync { master }
        | FaultKind::ReadError { master }
        | FaultKind::Rot { master, .. }
        | FaultKind::Misdirect { master }
        | FaultKind::Scrub { master }
        | FaultKind::FullDisk { master }
        | FaultKind::StallDisk { master }
        | FaultKind::WallResync { master, .. }
        | FaultKind::Point { master, .. }
        | FaultKind::WrongState { master }
        | FaultKind::MasterDrift { master, .. } => place(at("master"), *master, sizes.masters, "master"),
        FaultKind::CutExecutor { executor }
        | FaultKind::CutExecutorFrom { executor, .. }
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
        FaultKind::Cut { .. }
        | FaultKind::CutOneWay { .. }
        | FaultKind::Flap { .. }
        | FaultKind::Clog { .. }
        | FaultKind::SwizzleClog { .. }
        | FaultKind::SlowLink { .. }
        | FaultKind::Filter { .. }
        | FaultKind::LateKind { .. }
        | FaultKind::PowerLossAll {}
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

/// Every master of a list must be there, and both ends of a link.
fn lists(field: &str, kind: &FaultKind, sizes: Sizes) -> Checked {
    let at = |name: &str| format!("{field}.{name}");
    let some = |name: &str, list: &[u8]| places(&at(name), list, sizes.masters, "master", 1);
    match kind {
        FaultKind::CutExecutorFrom { masters, .. } => some("masters", masters),
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
        FaultKind::Filter { from, to, .. } => {
            some("from", from)?;
            places(&at("to"), to, sizes.masters, "master", 0)
        }
        FaultKind::LateKind { from, .. } => some("from", from),
        _ => Ok(()),
    }
}
