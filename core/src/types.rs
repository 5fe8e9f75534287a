//! Ids and quantities. Each has a type of its own, so that none is taken for another.

use core::{fmt, ops, time::Duration};
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => { number!($(#[$doc])* $name, "{}"); };
    ($(#[$doc:meta])* $name:ident, $form:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one; saturates at the top of the range.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, $form, self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, $form, self.0)
            }
        }
    };
}

number!(
    /// A cluster: a hash of its first members and a token. Never 0. Written in hexadecimal.
    ClusterId,
    "{:016x}"
);
number!(
    /// A master of the cluster. Never 0.
    NodeId
);
number!(
    /// One data directory, drawn at random when it is made. Never 0. Written in hexadecimal.
    StorageId,
    "{:016x}"
);
number!(
    /// A Raft term; 0 is before the first election.
    Term
);
number!(
    /// A position in the Raft log; the first entry has 1.
    Index
);
number!(
    /// Names a write. Write ids only grow within one run of a node, and are compared, never counted.
    WriteId
);
number!(
    /// Names a client's request between a node and its driver. Chosen by the driver, never used twice in one run.
    RequestKey
);
number!(
    /// Names a call of a leader to an executor between a node and its driver.
    CallKey
);
number!(
    /// A registered executor. Given by the cluster, never used again.
    ExecutorId
);
number!(
    /// One run of an executor's process.
    Incarnation
);
number!(
    /// A lease. Given by the cluster, never used again.
    LeaseId
);
number!(
    /// A client's session: 48 bits of a hash of the index of the entry that opened it, and of when. Another cluster gives others.
    SessionId
);
number!(
    /// Names a task's attempt: the log index of the entry that placed it. Only grows.
    Epoch
);
number!(
    /// A revision of one space of the store. Each has its own.
    Revision
);
number!(
    /// Cluster time in milliseconds: replicated, grows only while there is a leader. Every backoff, deadline and age uses it.
    ClusterTime
);

impl ClusterTime {
    /// This time and so many milliseconds; saturates.
    #[must_use]
    pub const fn plus_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}

/// A point on a monotonic clock, in nanoseconds since a start that only its driver knows.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// A point that never comes.
    pub const FAR: Self = Self(u64::MAX);

    /// The time that passed since `earlier`; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// What the driver's clocks say at a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic. Never goes back from one step to the next of the same node.
    pub time: Time,
    /// Unix milliseconds. May jump. A label for people: nothing decides on it.
    pub wall_ms: u64,
}

/// A job's id: 1 to 63 characters, see [`JobId::parse`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(std::sync::Arc<str>);

impl JobId {
    /// Longest id, in bytes.
    pub const LENGTH_MAX: usize = 63;

    /// Takes letters, digits, `_`, `-` and `.`; the first and the last must be a letter, a digit or `_`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let bytes = text.as_bytes();
        let (first, last) = (*bytes.first()?, *bytes.last()?);
        let inside = bytes.iter().all(|&byte| word(byte) || byte == b'-' || byte == b'.');
        (bytes.len() <= Self::LENGTH_MAX && word(first) && word(last) && inside).then(|| Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One task of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// The job.
    pub job: JobId,
    /// 0 to the number of tasks - 1.
    pub number: u32,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.job, self.number)
    }
}

/// One attempt of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The task.
    pub task: TaskKey,
    /// The attempt's number.
    pub epoch: Epoch,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.task, self.epoch)
    }
}
