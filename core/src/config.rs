//! What a node is told when it starts, and what is refused because it would not be safe, or would not work.

use crate::{
    level::{FEATURE_LEVEL, FIRST_LEVEL},
    limits,
    types::{ClusterId, NodeId, StorageId},
};
use core::time::Duration;
use std::collections::BTreeMap;

/// Where a member is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// `host:port` for peers.
    pub peer: String,
    /// `host:port` for clients.
    pub client: String,
}

/// What a node is told when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster that the node is of.
    pub cluster: ClusterId,
    /// The node's own id; one of `members`.
    pub node: NodeId,
    /// The id of its data directory.
    pub storage: StorageId,
    /// The cluster's first voters, the node among them; of a node that [joins](Self::joins), whom it asks.
    pub members: BTreeMap<NodeId, MemberAddress>,
    /// The node was added to a cluster that there is. False: it is one of those that found it.
    pub joins: bool,
    /// Elections and heartbeats.
    pub timing: Timing,
    /// Leases of executors.
    pub executor_lease: LeaseTimes,
    /// Applied entries between two snapshots.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot; at most [`TRAILING_ENTRIES`](crate::limits::TRAILING_ENTRIES).
    pub trailing_entries: u64,
    /// How large the log may grow, in bytes.
    pub log_bytes: LogBytes,
    /// How much is on its way at a time.
    pub flow: Flow,
    /// What the node sends of snapshots in a second, in bytes, to all followers together; 0 = as fast as they take it.
    pub snapshot_rate: u64,
    /// The newest feature level that this program takes part in: [`FEATURE_LEVEL`](crate::level::FEATURE_LEVEL), or less, to
    /// be what an older program is.
    pub level: u32,
}

/// How large a node's log may grow, in bytes: an entry counts its payload, and
/// [`ENTRY_HEADER_BYTES`](crate::limits::ENTRY_HEADER_BYTES) more. Each node has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBytes {
    /// So much was applied since the last snapshot: the next is due, however few entries that was. At least 1.
    pub snapshot: u64,
    /// So much stays behind a snapshot at most, so that a slow peer needs none; less if that is more entries than
    /// [`trailing_entries`](Config::trailing_entries).
    pub trailing: u64,
    /// A log that is no larger is not cut, by a leader, while a follower that answers lacks what would go; nor is another
    /// snapshot taken while such a follower is sent one that would go for it. 0 = followers are not waited for.
    pub held: u64,
}

impl Default for LogBytes {
    fn default() -> Self {
        Self {
            snapshot: limits::SNAPSHOT_LOG_BYTES,
            trailing: limits::TRAILING_BYTES,
            held: limits::HELD_BYTES,
        }
    }
}

/// How much a node has on its way at a time. Each node has its own: it bounds what that node sends, and no other node, nor
/// the replicated state, depends on it. The defaults are the most that is allowed, because they are what others take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Proposals of a leader that are not committed yet, in bytes; a single larger one goes alone.
    pub uncommitted_bytes: usize,
    /// The entries of one append message, in bytes; a single larger entry goes alone.
    pub append_bytes: usize,
    /// The entries of one append message.
    pub append_entries: usize,
    /// Append messages to one peer that are not answered yet.
    pub inflight_messages: usize,
    /// Bytes in append messages to one peer that are not answered yet; the message that goes over is the last.
    pub inflight_bytes: usize,
    /// One chunk of a snapshot that this node writes, in bytes. For its driver, which writes it.
    pub snapshot_chunk_bytes: usize,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            uncommitted_bytes: limits::UNCOMMITTED_BYTES,
            append_bytes: limits::APPEND_BYTES,
            append_entries: limits::APPEND_ENTRIES,
            inflight_messages: limits::INFLIGHT_MESSAGES,
            inflight_bytes: limits::INFLIGHT_BYTES,
            snapshot_chunk_bytes: limits::SNAPSHOT_CHUNK_BYTES,
        }
    }
}

impl Flow {
    /// Refuses what would let nothing pass, and what others do not take.
    ///
    /// # Errors
    /// `OutOfRange` for the first field that is below 1 (a chunk: below
    /// [`SNAPSHOT_CHUNK_BYTES_MIN`](crate::limits::SNAPSHOT_CHUNK_BYTES_MIN)), or above its default.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let most = Self::default();
        for (field, value, least, most) in [
            ("flow.uncommitted_bytes", self.uncommitted_bytes, 1, most.uncommitted_bytes),
            ("flow.append_bytes", self.append_bytes, 1, most.append_bytes),
            ("flow.append_entries", self.append_entries, 1, most.append_entries),
            ("flow.inflight_messages", self.inflight_messages, 1, most.inflight_messages),
            ("flow.inflight_bytes", self.inflight_bytes, 1, most.inflight_bytes),
            (
                "flow.snapshot_chunk_bytes",
                self.snapshot_chunk_bytes,
                limits::SNAPSHOT_CHUNK_BYTES_MIN,
                most.snapshot_chunk_bytes,
            ),
        ] {
            if !(least..=most).contains(&value) {
                let [value, least, most] = [value, least, most].map(|number| number as u64);
                return Err(ConfigError::OutOfRange { field, value, least, most });
            }
        }
        Ok(())
    }
}

/// Raft's periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// A follower that hears nothing so long asks for votes; the least of the random range.
    pub election_min: Duration,
    /// The most of the random range.
    pub election_max: Duration,
    /// A leader whose oldest write is not done so long steps down.
    pub disk_stall: Duration,
    /// How long a request may wait for a leader, or for its entry, before it is answered `Unavailable`.
    pub request_timeout: Duration,
    /// Reads by lease: how far the clocks of two masters may run apart while they run, in parts of a million. `None` = every
    /// read is confirmed by a majority. It and `election_min` must be the same on all masters, also while they are restarted
    /// one by one: a promise lasts as long as its giver's. A machine that is suspended while it leads may answer a read with
    /// what was so before: only for masters to which that does not happen.
    pub read_lease_drift_ppm: Option<u32>,
}

/// With clocks that run apart by more, a lease is not worth having.
pub const READ_LEASE_DRIFT_PPM_MAX: u32 = 500_000;

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(450),
            disk_stall: Duration::from_millis(400),
            request_timeout: Duration::from_secs(5),
            read_lease_drift_ppm: None,
        }
    }
}

/// How long an executor may be silent, and what the master waits in addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// An executor that got no acknowledgement so long after sending has stopped its work.
    pub ttl: Duration,
    /// What the master waits in addition before it gives the work to others.
    pub grace: Duration,
    /// How often the executor looks at its deadline.
    pub check: Duration,
    /// How long killing all processes of an attempt takes at most.
    pub kill: Duration,
    /// How far two clocks may run apart, in parts of a million.
    pub drift_ppm: u32,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(5),
            grace: Duration::from_secs(2),
            check: Duration::from_millis(200),
            kill: Duration::from_millis(500),
            drift_ppm: 1_000,
        }
    }
}

impl LeaseTimes {
    /// The least grace with which no task can run twice: check + kill + 2 x drift x (ttl + grace).
    #[must_use]
    pub fn grace_min(&self) -> Duration {
        let both = self.ttl + self.grace;
        let drift = Duration::from_nanos(
            u64::try_from(both.as_nanos() * 2 * u128::from(self.drift_ppm) / 1_000_000).unwrap_or(u64::MAX),
        );
        self.check + self.kill + drift
    }
}

/// A configuration that would not be safe, or would not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Zero where an id is needed.
    #[error("{field} is 0: it must be a number above 0")]
    Zero {
        /// The field's name.
        field: &'static str,
    },
    /// The node is not in its own list of members.
    #[error("node {node} is not among the members: add it to the list, or correct the id")]
    NotAMember {
        /// The node's id.
        node: NodeId,
    },
    /// Too few or too many voters.
    #[error("{count} members: there must be 1 to {max}, and an odd number serves best", max = limits::VOTERS)]
    MemberCount {
        /// How many there are.
        count: usize,
    },
    /// Two periods that contradict each other.
    #[error("{field} is {value:?}: it must be at least {least:?}, because {why}")]
    TooShort {
        /// The field's name.
        field: &'static str,
        /// What was given.
        value: Duration,
        /// What would be right.
        least: Duration,
        /// The reason.
        why: &'static str,
    },
    /// A time that is too long.
    #[error("{field} is {value:?}: it must be at most {most:?}, because {why}")]
    TooLong {
        /// The field's name.
        field: &'static str,
        /// What was given.
        value: Duration,
        /// What would be right.
        most: Duration,
        /// The reason.
        why: &'static str,
    },
    /// A number out of its range.
    #[error("{field} is {value}: it must be {least} to {most}")]
    OutOfRange {
        /// The field's name.
        field: &'static str,
        /// What was given.
        value: u64,
        /// The least that would be right.
        least: u64,
        /// The most that would be right.
        most: u64,
    },
}

impl LeaseTimes {
    /// Refuses times with which a task could run twice.
    ///
    /// # Errors
    /// `TooShort` for a grace below [`grace_min`](Self::grace_min), or a ttl below four checks.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let least = self.grace_min();
        if self.grace < least {
            let why = "a task could run twice: check + kill + 2 x drift x (ttl + grace) must fit";
            return Err(ConfigError::TooShort { field: "executor.grace", value: self.grace, least, why });
        }
        if self.ttl < self.check * 4 {
            let why = "an executor looks at its deadline only every check period";
            return Err(ConfigError::TooShort {
                field: "executor.ttl",
                value: self.ttl,
                least: self.check * 4,
                why,
            });
        }
        Ok(())
    }
}

impl Config {
    /// Refuses what would not be safe, or would not work.
    ///
    /// # Errors
    /// The first field that is wrong, with what would be right.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (field, value) in [
            ("cluster", self.cluster.0),
            ("node", self.node.0),
            ("storage", self.storage.0),
            ("snapshot_entries", self.snapshot_entries),
            ("log_bytes.snapshot", self.log_bytes.snapshot),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { field });
            }
        }
        if !self.joins && !self.members.contains_key(&self.node) {
            return Err(ConfigError::NotAMember { node: self.node });
        }
        if self.members.len() > limits::VOTERS {
            return Err(ConfigError::MemberCount { count: self.members.len() });
        }
        if self.trailing_entries > limits::TRAILING_ENTRIES {
            let most = limits::TRAILING_ENTRIES;
            return Err(ConfigError::OutOfRange {
                field: "trailing_entries",
                value: self.trailing_entries,
                least: 0,
                most,
            });
        }
        let Timing { heartbeat, election_min, election_max, disk_stall, request_timeout, .. } = self.timing;
        let why = "a follower must not miss its leader because of one late heartbeat";
        let pairs = [
            ("timing.heartbeat", heartbeat, Duration::from_millis(1), "it is a period"),
            ("timing.election_min", election_min, heartbeat * 3, why),
            ("timing.election_max", election_max, election_min + heartbeat, "candidates must not collide"),
            ("timing.disk_stall", disk_stall, heartbeat, "one slow sync is no stall"),
            ("timing.request_timeout", request_timeout, heartbeat, "a request waits for a majority"),
        ];
        for (field, value, least, why) in pairs {
            if value < least {
                return Err(ConfigError::TooShort { field, value, least, why });
            }
        }
        if request_timeout > limits::REQUEST_TIMEOUT {
            return Err(ConfigError::TooLong {
                field: "timing.request_timeout",
                value: request_timeout,
                most: limits::REQUEST_TIMEOUT,
                why: "a node remembers for so long what it was asked",
            });
        }
        let drift = self.timing.read_lease_drift_ppm.unwrap_or(0);
        if drift > READ_LEASE_DRIFT_PPM_MAX {
            return Err(ConfigError::OutOfRange {
                field: "timing.read_lease_drift_ppm",
                value: drift.into(),
                least: 0,
                most: READ_LEASE_DRIFT_PPM_MAX.into(),
            });
        }
        if !(FIRST_LEVEL..=FEATURE_LEVEL).contains(&self.level) {
            return Err(ConfigError::OutOfRange {
                field: "level",
                value: self.level.into(),
                least: FIRST_LEVEL.into(),
                most: FEATURE_LEVEL.into(),
            });
        }
        self.flow.validate()?;
        self.executor_lease.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let address = MemberAddress { peer: "a:1".into(), client: "a:2".into() };
        Config {
            cluster: ClusterId(7),
            node: NodeId(1),
            storage: StorageId(3),
            members: (1..=3).map(|id| (NodeId(id), address.clone())).collect(),
            joins: false,
            timing: Timing::default(),
            executor_lease: LeaseTimes::default(),
            snapshot_entries: 10_000,
            trailing_entries: 5_000,
            log_bytes: LogBytes::default(),
            flow: Flow::default(),
            snapshot_rate: limits::SNAPSHOT_RATE,
            level: FEATURE_LEVEL,
        }
    }

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_safe() {
        assert_eq!(config().validate(), Ok(()));
        assert!(LeaseTimes::default().grace > LeaseTimes::default().grace_min());
    }

    #[test]
    fn what_is_refused_is_named_with_what_would_be_right() {
        let message = refused(|config| config.executor_lease.grace = Duration::from_millis(500));
        assert!(
            message.contains("executor.grace is 500ms") && message.contains("at least 711ms"),
            "{message}"
        );
        let message = refused(|config| config.node = NodeId(9));
        assert!(message.contains("node 9 is not among the members"), "{message}");
        let message = refused(|config| config.timing.election_min = Duration::from_millis(100));
        assert!(message.contains("timing.election_min is 100ms") && message.contains("150ms"), "{message}");
        let message = refused(|config| config.timing.request_timeout = Duration::ZERO);
        assert!(
            message.contains("timing.request_timeout is 0ns") && message.contains("at least 50ms"),
            "{message}"
        );
        let message = refused(|config| config.timing.request_timeout = Duration::from_secs(3600));
        assert!(message.contains("request_timeout is 3600s: it must be at most 60s"), "{message}");
        let message = refused(|config| config.cluster = ClusterId(0));
        assert!(message.contains("cluster is 0"), "{message}");
        let message = refused(|config| config.trailing_entries = u64::MAX);
        assert!(message.contains("it must be 0 to 5000"), "{message}");
        let message = refused(|config| {
            let address = config.members[&NodeId(1)].clone();
            config.members.extend((4..=12).map(|id| (NodeId(id), address.clone())));
        });
        assert!(message.contains("12 members"), "{message}");
    }

    #[test]
    fn each_bound_of_the_flow_is_held_at_both_ends() {
        type Field = fn(&mut Flow) -> &mut usize;
        let fields: [(&str, usize, Field); 6] = [
            ("uncommitted_bytes", 1, |flow| &mut flow.uncommitted_bytes),
            ("append_bytes", 1, |flow| &mut flow.append_bytes),
            ("append_entries", 1, |flow| &mut flow.append_entries),
            ("inflight_messages", 1, |flow| &mut flow.inflight_messages),
            ("inflight_bytes", 1, |flow| &mut flow.inflight_bytes),
            ("snapshot_chunk_bytes", limits::SNAPSHOT_CHUNK_BYTES_MIN, |flow| &mut flow.snapshot_chunk_bytes),
        ];
        for (name, least, field) in fields {
            let most = *field(&mut Flow::default());
            for wrong in [least - 1, most + 1] {
                let message = refused(|config| *field(&mut config.flow) = wrong);
                assert_eq!(message, format!("flow.{name} is {wrong}: it must be {least} to {most}"));
            }
            let mut config = config();
            *field(&mut config.flow) = least;
            assert_eq!(config.validate(), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_grace_covers_the_check_the_kill_and_the_drift_of_both_clocks() {
        let lease = LeaseTimes { drift_ppm: 10_000, ..LeaseTimes::default() };
        assert_eq!(lease.grace_min(), Duration::from_millis(200 + 500 + 140));
    }
}
