//! How a node is set up, and what that means for the core.

use quorate_core::contract::{Flow, Timing};
use std::time::Duration;

/// One tick.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// Every step takes a nanosecond, so that what comes later is told from what came before. No period may end late by that.
pub(super) const STEP: Duration = Duration::from_nanos(1);
const SLACK: Duration = Duration::from_millis(1);
/// What never comes.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// How a node is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) pre_vote: bool,
    pub(crate) check_quorum: bool,
    /// Reads by lease: who answers a heartbeat promises to elect nobody else for an election timeout.
    pub(crate) leases: bool,
    /// Writes and applying are commands of their own.
    pub(crate) asynchronous: bool,
    /// Append messages to one peer that are not answered yet.
    pub(crate) inflight: usize,
    /// Bytes of entries that one `Ready` applies.
    pub(crate) apply_bytes: usize,
    /// Changes of the membership are refused while another is under way.
    pub(crate) validates: bool,
    pub(crate) heartbeat_ticks: u32,
    pub(crate) election_ticks: u32,
    /// A leader steps down when a write takes so many ticks. `None`: never.
    pub(crate) stall_ticks: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pre_vote: false,
            check_quorum: false,
            leases: false,
            asynchronous: false,
            inflight: usize::MAX,
            apply_bytes: usize::MAX,
            validates: true,
            heartbeat_ticks: 1,
            election_ticks: 3,
            stall_ticks: None,
        }
    }
}

impl Options {
    pub(super) fn timing(&self) -> Timing {
        let ticks = |count: u32| TICK * count - SLACK;
        let (election_min, election_max) = match self.check_quorum {
            true => (ticks(self.election_ticks), ticks(self.election_ticks * 2)),
            // Nobody counts on having heard a leader, and no leader on being heard. The ticks are counted here.
            false => (Duration::ZERO, NEVER),
        };
        Timing {
            heartbeat: ticks(self.heartbeat_ticks),
            election_min,
            election_max,
            disk_stall: self.stall_ticks.map_or(NEVER, ticks),
            read_lease_drift_ppm: self.leases.then_some(0),
            ..Timing::default()
        }
    }

    pub(super) fn flow(&self) -> Flow {
        Flow {
            uncommitted_bytes: usize::MAX,
            append_bytes: usize::MAX,
            append_entries: usize::MAX,
            inflight_messages: self.inflight,
            inflight_bytes: usize::MAX,
            ..Flow::default()
        }
    }
}
