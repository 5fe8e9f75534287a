//! A plan: everything that a run is made of. The seed only makes the plan; the plan is what runs, is saved and is replayed.

mod atlas;
mod fault;
mod generate;
mod kinds;
mod links;
mod log;
mod operation;
pub mod places;
#[cfg(test)]
mod tests;
mod validate;

pub use atlas::Atlas;
pub use fault::{Fault, FaultKind, MessageKind, Way};
pub use generate::{GENERATOR, Limits, generate};
pub use links::{Around, Link, between, both_ways, others, to_masters};
pub use log::LogPlan;
pub use operation::{
    Behaviour, Expectation, JobPlan, Look, MemberStep, MemberWhat, Operation, PlannedOperation, SeldomPlan,
    Wrong,
};
pub use validate::PlanError;

use quorate_core::{
    contract::{Flow, LeaseTimes, Timing},
    level::FIRST_LEVEL,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A whole run. Readable JSON on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Which generator made it. A plan of any generator runs for ever; a bare seed only means the same with the same one.
    pub generator: u32,
    /// Feeds every draw of the run.
    pub seed: u64,
    /// Length of the safety phase, milliseconds: workload and faults.
    pub duration_ms: u64,
    /// How long the cluster may take to become whole after that, milliseconds.
    pub settle_ms: u64,
    /// The masters.
    pub masters: MastersPlan,
    /// The executors.
    pub executors: ExecutorsPlan,
    /// The network, when no fault is on.
    pub network: NetworkPlan,
    /// The disks, when no fault is on.
    pub disk: DiskPlan,
    /// One list of operations a client.
    pub clients: Vec<ClientPlan>,
    /// What breaks, in order of time.
    pub faults: Vec<Fault>,
    /// Masters that are stopped for good when the settle phase begins: what is broken stays broken.
    pub left_out: Vec<u8>,
    /// Who is healed when the settle phase begins. What is broken outside stays as it is, for ever. Without it (plans of
    /// the first generator) all are healed but those that are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<CorePlan>,
    /// All masters are lost when the settle phase begins, and an operator goes on with what a directory holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryPlan>,
}

/// How an operator goes on who has lost the majority of the masters. Of the core level alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryPlan {
    /// Whose directory is wanted; if no cluster should go on with it, the newest one that is fit is taken.
    pub master: u8,
    /// The founders begin with the newest snapshot in it, as with one that was saved then. Else that master goes on alone with
    /// all that it has.
    pub snapshot: bool,
}

/// Who has to become whole in the end: a quorum of masters with intact disks, and enough executors. All clients are with
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorePlan {
    /// Places of masters.
    pub masters: Vec<u8>,
    /// Places of executors.
    pub executors: Vec<u8>,
}

/// A machine's clock. Monotonic clocks run at 1 + drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockPlan {
    /// What its monotonic clock shows at the start, milliseconds.
    pub offset_ms: u64,
    /// Parts in a billion that it runs fast (or slow, if negative).
    pub drift_ppb: i64,
    /// Its wall clock's error, milliseconds.
    pub wall_error_ms: i64,
}

/// The masters and their knobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MastersPlan {
    /// One a master.
    pub clocks: Vec<ClockPlan>,
    /// So many of them found the cluster, and the others may join it later; 0 = all of them, and none comes or goes.
    #[serde(default, skip_serializing_if = "no_founders")]
    pub founders: u8,
    /// Milliseconds: heartbeat, least and most election timeout, disk stall, request timeout.
    pub timing_ms: [u64; 5],
    /// Applied entries between two snapshots.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot.
    pub trailing_entries: u64,
    /// How large their logs may grow, in bytes.
    #[serde(default, skip_serializing_if = "LogPlan::is_default")]
    pub log: LogPlan,
    /// They read by lease, with clocks that run apart by so much, parts in a million; 0 = they do not.
    #[serde(default, skip_serializing_if = "is_zero_ppm")]
    pub read_lease_drift_ppm: u32,
    /// How much each has on its way at a time; who is not listed has as much as is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flow: Vec<FlowPlan>,
    /// The newest feature level that the program of each knows in the beginning; who is not listed has the oldest program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<u32>,
    /// For how long each takes inputs into one batch at most, microseconds. Who is not listed, or has 0, takes each input in a
    /// step of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batch_us: Vec<u64>,
}

impl MastersPlan {
    /// As the core takes them.
    #[must_use]
    pub fn timing(&self) -> Timing {
        let [heartbeat, election_min, election_max, disk_stall, request_timeout] =
            self.timing_ms.map(Duration::from_millis);
        let read_lease_drift_ppm = Some(self.read_lease_drift_ppm).filter(|drift| *drift > 0);
        Timing { heartbeat, election_min, election_max, disk_stall, request_timeout, read_lease_drift_ppm }
    }

    /// How many found the cluster.
    #[must_use]
    pub fn founding(&self) -> usize {
        if self.founders == 0 { self.clocks.len() } else { usize::from(self.founders) }
    }

    /// The newest feature level that a master's program knows in the beginning.
    #[must_use]
    pub fn program(&self, master: usize) -> u32 {
        self.programs.get(master).copied().unwrap_or(FIRST_LEVEL)
    }

    /// As the core of one master takes it.
    #[must_use]
    pub fn flow(&self, master: usize) -> Flow {
        self.flow.get(master).map_or_else(Flow::default, FlowPlan::flow)
    }

    /// For how long one master takes inputs into one batch at most, microseconds; 0 = it takes one at a time.
    #[must_use]
    pub fn batch_most_us(&self, master: usize) -> u64 {
        self.batch_us.get(master).copied().unwrap_or(0)
    }
}

/// How much a master has on its way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowPlan {
    /// Proposals that are not committed, bytes.
    pub uncommitted_bytes: u64,
    /// Entries of one append, bytes.
    pub append_bytes: u64,
    /// Entries of one append.
    pub append_entries: u64,
    /// Appends to one peer that are not answered.
    pub inflight_messages: u64,
    /// Bytes in them.
    pub inflight_bytes: u64,
    /// One chunk of a snapshot, bytes.
    pub snapshot_chunk_bytes: u64,
}

impl Default for FlowPlan {
    fn default() -> Self {
        let most = Flow::default();
        Self {
            uncommitted_bytes: most.uncommitted_bytes as u64,
            append_bytes: most.append_bytes as u64,
            append_entries: most.append_entries as u64,
            inflight_messages: most.inflight_messages as u64,
            inflight_bytes: most.inflight_bytes as u64,
            snapshot_chunk_bytes: most.snapshot_chunk_bytes as u64,
        }
    }
}

impl FlowPlan {
    /// As the core takes it.
    #[must_use]
    pub fn flow(&self) -> Flow {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Flow {
            uncommitted_bytes: size(self.uncommitted_bytes),
            append_bytes: size(self.append_bytes),
            append_entries: size(self.append_entries),
            inflight_messages: size(self.inflight_messages),
            inflight_bytes: size(self.inflight_bytes),
            snapshot_chunk_bytes: size(self.snapshot_chunk_bytes),
        }
    }
}

/// The executors and their knobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorsPlan {
    /// One an executor.
    pub clocks: Vec<ClockPlan>,
    /// Tasks at once, of each.
    pub slots: u32,
    /// Between two heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// Milliseconds: ttl, grace, check, kill.
    pub lease_ms: [u64; 4],
    /// How far a clock may drift, parts in a million.
    pub drift_ppm: u32,
    /// What an agent asks for the session in which it registers or leaves, milliseconds; 0 = the cluster's default.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session_ms: u64,
}

impl ExecutorsPlan {
    /// As the core takes them.
    #[must_use]
    pub fn lease(&self) -> LeaseTimes {
        let [ttl, grace, check, kill] = self.lease_ms.map(Duration::from_millis);
        LeaseTimes { ttl, grace, check, kill, drift_ppm: self.drift_ppm }
    }
}

/// How messages travel. Chances in parts of a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPlan {
    /// Least latency, microseconds.
    pub latency_min_us: u64,
    /// Most latency without the tail, microseconds.
    pub latency_max_us: u64,
    /// Chance that a message is in the tail.
    pub tail_ppm: u64,
    /// Most that the tail adds, microseconds.
    pub tail_us: u64,
    /// Chance that a message is lost.
    pub loss_ppm: u64,
    /// Chance that it comes twice.
    pub duplicate_ppm: u64,
    /// Chance that it does not wait for those before it.
    pub reorder_ppm: u64,
    /// Chance that a call to an executor is late.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub call_ppm: u64,
    /// How late it is at most, milliseconds. It may come when its caller leads no more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub call_late_ms: u64,
}

/// Whether no leases are read by.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero_ppm(value: &u32) -> bool {
    *value == 0
}

/// Whether all masters found the cluster.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn no_founders(value: &u8) -> bool {
    *value == 0
}

/// Whether a knob is not there.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// How long a write with its sync takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskPlan {
    /// Least, microseconds.
    pub sync_min_us: u64,
    /// Most, microseconds.
    pub sync_max_us: u64,
    /// What it takes in addition to load a snapshot that came, microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub load_us: u64,
}

/// One client: its operations, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientPlan {
    /// What it asks for its session, milliseconds.
    pub session_ttl_ms: u64,
    /// How long it waits for one answer, milliseconds.
    pub timeout_ms: u64,
    /// How long it tries one operation, milliseconds; then the outcome is unknown to it.
    pub give_up_ms: u64,
    /// It never says that it waits for an answer no more.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub hoards: bool,
    /// In order of time.
    pub operations: Vec<PlannedOperation>,
}
