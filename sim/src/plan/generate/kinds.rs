//! One function a kind of fault: how long, and how much.

use super::{core_of::shuffled, knobs::drift, percent, pick};
use crate::plan::{Atlas, FaultKind, MessageKind, Plan, Way};
use quorate_core::random::Draws;

/// What a plan is made of, as far as faults ask.
pub(super) struct Shape<'plan> {
    masters: usize,
    executors: usize,
    clients: usize,
    drift_ppm: u32,
    /// After so long without a heartbeat an executor is given up, milliseconds.
    given_up_ms: u64,
    stall_ms: u64,
    atlas: &'plan Atlas,
}

impl<'plan> Shape<'plan> {
    pub(super) fn of(plan: &Plan, atlas: &'plan Atlas) -> Self {
        Self {
            masters: plan.masters.clocks.len(),
            executors: plan.executors.clocks.len(),
            clients: plan.clients.len(),
            drift_ppm: plan.executors.drift_ppm,
            given_up_ms: plan.executors.lease_ms[0] + plan.executors.lease_ms[1],
            stall_ms: plan.masters.timing_ms[3],
            atlas,
        }
    }

    fn master(&self, draws: &mut Draws) -> u8 {
        draws.range(0, self.masters as u64 - 1) as u8
    }

    fn executor(&self, draws: &mut Draws) -> u8 {
        draws.range(0, self.executors as u64 - 1) as u8
    }

    fn client(&self, draws: &mut Draws) -> u8 {
        draws.range(0, self.clients as u64 - 1) as u8
    }

    fn some_masters(&self, draws: &mut Draws, most: usize) -> Vec<u8> {
        let count = draws.range(1, most.max(1) as u64) as usize;
        let mut some = shuffled(draws, self.masters);
        some.truncate(count);
        some
    }

    /// A minority; the only master, if there is one.
    fn side(&self, draws: &mut Draws) -> Vec<u8> {
        self.some_masters(draws, self.masters.saturating_sub(1) / 2)
    }
}

/// Draws one fault: how long, in milliseconds, and what. `None`: this plan has no room for it.
pub(super) type Make = fn(&mut Draws, &Shape<'_>) -> Option<(u64, FaultKind)>;

fn long(draws: &mut Draws) -> u64 {
    draws.range(100, 6_000)
}

fn short(draws: &mut Draws) -> u64 {
    draws.range(5, 600)
}

fn any(draws: &mut Draws) -> u64 {
    if percent(draws, 50) { short(draws) } else { long(draws) }
}

fn period(draws: &mut Draws) -> u64 {
    draws.range(20, 900)
}

fn wall(draws: &mut Draws) -> i64 {
    draws.range(0, 20_000_000) as i64 - 10_000_000
}

/// What masters send each other.
const KINDS: &[MessageKind] = &[
    MessageKind::Append,
    MessageKind::AppendReply,
    MessageKind::Vote,
    MessageKind::VoteReply,
    MessageKind::Heartbeat,
    MessageKind::HeartbeatAnswer,
    MessageKind::Snapshot,
    MessageKind::SnapshotReply,
    MessageKind::Forward,
    MessageKind::Hello,
];

/// All kinds, each on its own.
pub(super) const ALL: &[Make] = &[
    // Processes.
    |d, s| Some((any(d), FaultKind::Crash { master: s.master(d) })),
    |d, s| Some((any(d), FaultKind::PowerLoss { master: s.master(d) })),
    |d, _| Some((short(d), FaultKind::PowerLossAll {})),
    |d, _| Some((short(d), FaultKind::CrashAll {})),
    |d, s| {
        let (times, up_ms) = (d.range(2, 8) as u32, d.range(5, 800));
        Some((u64::from(times) * 2 * up_ms, FaultKind::RestartLoop { master: s.master(d), times, up_ms }))
    },
    |d, s| Some((any(d), FaultKind::Pause { master: s.master(d) })),
    |d, s| Some((any(d), FaultKind::Suspend { master: s.master(d) })),
    |d, s| Some((short(d), FaultKind::ResetPeers { master: s.master(d) })),
    |d, s| {
        let step_us = *pick(d, &[50, 500, 5_000, 20_000]);
        Some((long(d), FaultKind::SlowProcessor { master: s.master(d), step_us }))
    },
    // Disks.
    |d, s| Some((any(d), FaultKind::SyncError { master: s.master(d), restart: true })),
    |d, s| {
        let sync_ms = if percent(d, 70) { d.range(20, 1_500) } else { s.stall_ms };
        Some((long(d), FaultKind::SlowDisk { master: s.master(d), sync_ms }))
    },
    |d, s| Some((any(d), FaultKind::StallDisk { master: s.master(d) })),
    |d, s| Some((any(d), FaultKind::FullDisk { master: s.master(d) })),
    |d, s| Some((long(d), FaultKind::ReadError { master: s.master(d) })),
    |d, s| Some((short(d), FaultKind::Rot { master: s.atlas.one(d)?, snapshot: percent(d, 40) })),
    |d, s| Some((short(d), FaultKind::Misdirect { master: s.atlas.one(d)? })),
    |d, s| Some((short(d), FaultKind::Scrub { master: s.master(d) })),
    |d, s| Some((any(d), FaultKind::Restore { master: s.atlas.one(d)? })),
    |d, s| Some((long(d), FaultKind::LyingSync { master: s.atlas.one(d)? })),
    // The network.
    |d, s| Some((long(d), FaultKind::Cut { side: s.side(d) })),
    |d, s| Some((long(d), FaultKind::CutOneWay { side: s.side(d) })),
    |d, _| Some((long(d), FaultKind::Ring {})),
    |d, _| Some((long(d), FaultKind::RingMajorities {})),
    |d, s| Some((long(d), FaultKind::Bridge { master: s.master(d) })),
    |d, s| {
        let way = *pick(d, &[Way::Both, Way::Out, Way::In]);
        Some((long(d), FaultKind::Isolate { master: s.master(d), way }))
    },
    |d, _| {
        let way = d.range(0, 3);
        Some((long(d), FaultKind::IsolateLeader { one_way: way == 1, deaf: way == 2 }))
    },
    |d, s| Some((long(d), FaultKind::Flap { side: s.side(d), period_ms: period(d) })),
    |d, s| {
        let (from, to) = (s.some_masters(d, s.masters), s.some_masters(d, s.masters));
        Some((any(d), FaultKind::Clog { from, to }))
    },
    |d, s| {
        let order = s.some_masters(d, s.masters);
        let back = shuffled(d, s.masters).into_iter().filter(|place| order.contains(place)).collect();
        let step_ms = d.range(10, 500);
        let for_ms = 2 * step_ms * order.len() as u64 + short(d);
        Some((for_ms, FaultKind::SwizzleClog { order, back, step_ms }))
    },
    |d, s| {
        let (from, to, by_ms) = (s.master(d), s.master(d), *pick(d, &[5, 50, 300, 2_000]));
        Some((long(d), FaultKind::SlowLink { from, to, by_ms }))
    },
    |d, s| {
        let what = *pick(d, KINDS);
        Some((long(d), FaultKind::Filter { from: s.some_masters(d, s.masters), to: Vec::new(), what }))
    },
    |d, s| {
        let (from, what) = (s.some_masters(d, s.masters), *pick(d, KINDS));
        let (ppm, most_ms) = (d.range(100_000, 1_000_000), *pick(d, &[50, 500, 3_000]));
        Some((long(d), FaultKind::LateKind { from, what, ppm, most_ms }))
    },
    |d, _| Some((long(d), FaultKind::Delay { ppm: d.range(1_000, 300_000), most_ms: d.range(10, 1_000) })),
    |d, _| Some((long(d), FaultKind::Loss { ppm: d.range(10_000, 400_000) })),
    |d, _| {
        Some((long(d), FaultKind::Duplicate { ppm: d.range(10_000, 500_000), most_ms: d.range(1, 3_000) }))
    },
    |d, _| Some((long(d), FaultKind::Reorder { ppm: d.range(10_000, 500_000), most_ms: d.range(1, 300) })),
    // Clocks.
    |d, s| Some((long(d), FaultKind::WallStep { master: s.master(d), by_ms: wall(d) })),
    |d, s| {
        let by_ms = d.range(0, 4_000) as i64 - 2_000;
        Some((long(d), FaultKind::WallResync { master: s.master(d), by_ms, period_ms: period(d) }))
    },
    |d, s| Some((long(d), FaultKind::MasterDrift { master: s.master(d), ppb: drift(d, s.drift_ppm) })),
    |d, s| Some((long(d), FaultKind::ExecutorDrift { executor: s.executor(d), ppb: drift(d, s.drift_ppm) })),
    |d, s| Some((long(d), FaultKind::ExecutorWallStep { executor: s.executor(d), by_ms: wall(d) })),
    // Executors.
    |d, s| Some((long(d), FaultKind::CutExecutor { executor: s.executor(d) })),
    |d, s| Some((long(d), FaultKind::CutExecutorOneWay { executor: s.executor(d), deaf: percent(d, 50) })),
    |d, s| {
        let masters = s.some_masters(d, s.masters);
        Some((long(d), FaultKind::CutExecutorFrom { executor: s.executor(d), masters }))
    },
    |d, s| Some((long(d), FaultKind::FlapExecutor { executor: s.executor(d), period_ms: period(d) })),
    |d, s| {
        let ppm = *pick(d, &[200_000, 700_000, 1_000_000]);
        Some((long(d), FaultKind::HeartbeatLoss { executor: s.executor(d), ppm }))
    },
    |d, s| {
        let (ppm, most_ms) = (d.range(50_000, 900_000), d.range(1, 2 * s.given_up_ms));
        Some((long(d), FaultKind::RepeatReports { executor: s.executor(d), ppm, most_ms }))
    },
    |d, s| {
        let (ppm, most_ms) = (d.range(50_000, 900_000), d.range(1, 2 * s.given_up_ms));
        Some((long(d), FaultKind::LateReports { executor: s.executor(d), ppm, most_ms }))
    },
    |d, s| {
        let (ppm, most_ms) = (d.range(50_000, 900_000), *pick(d, &[30, 300, 1_000, s.given_up_ms]));
        Some((long(d), FaultKind::LateOrders { executor: s.executor(d), ppm, most_ms }))
    },
    |d, s| Some((s.given_up_ms + draws_more(d), FaultKind::LastWord { executor: s.executor(d) })),
    |d, s| {
        let for_ms = s.given_up_ms + draws_more(d);
        Some((for_ms, FaultKind::Zombie { executor: s.executor(d), machine: percent(d, 50) }))
    },
    |d, s| Some((any(d), FaultKind::AgentCrash { executor: s.executor(d) })),
    |d, s| Some((any(d), FaultKind::AgentShutdown { executor: s.executor(d) })),
    |d, s| Some((long(d), FaultKind::AgentPause { executor: s.executor(d) })),
    |d, s| Some((long(d), FaultKind::MachineFreeze { executor: s.executor(d) })),
    |d, s| Some((long(d), FaultKind::AgentFlap { executor: s.executor(d), period_ms: period(d) })),
    |d, s| Some((long(d), FaultKind::SlowDrain { executor: s.executor(d), by_ms: d.range(100, 5_000) })),
    // Clients.
    |d, s| Some((long(d), FaultKind::CutClients { master: s.master(d) })),
    |d, s| Some((long(d), FaultKind::CutClientOneWay { client: s.client(d), deaf: percent(d, 50) })),
    |d, s| {
        Some((long(d), FaultKind::LateAnswers { client: s.client(d), by_ms: *pick(d, &[100, 1_000, 7_000]) }))
    },
    |d, s| {
        Some((long(d), FaultKind::DoubleRequests { client: s.client(d), ppm: d.range(100_000, 1_000_000) }))
    },
    |d, s| Some((long(d), FaultKind::Disconnect { client: s.client(d), period_ms: period(d) })),
    |d, s| Some((long(d), FaultKind::ClientStall { client: s.client(d) })),
];

/// Beyond the time at which an executor is given up.
fn draws_more(draws: &mut Draws) -> u64 {
    draws.range(500, 4_000)
}
