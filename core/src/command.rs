//! What the log holds: commands, each with the facts that its proposer knew.

use crate::{
    bug::{self, Bug},
    contract::LeaseTimes,
    types::{AttemptId, ClusterTime, ExecutorId, Incarnation, JobId, LeaseId, NodeId, SessionId, StorageId},
};
use bytes::Bytes;
use quorate_proto::v1 as pb;

mod alarms;
mod members;
mod specification;
mod validate;

/// Names one change that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The client's session.
    pub session: SessionId,
    /// Its number in the session.
    pub sequence: u64,
    /// The lowest number that the client still waits for.
    pub lowest_open: u64,
}

/// A command with what its leader said about the time, and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The leader's cluster time when it proposed. Apply takes the greater of it and its own.
    pub time: ClusterTime,
    /// The leader's wall clock, Unix milliseconds: a label.
    pub wall_ms: u64,
    /// Of commands that a client asked for.
    pub request: Option<RequestId>,
    /// What to do.
    pub command: Command,
}

/// What a compare-and-set expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No such key.
    Absent,
    /// This value.
    Value(Bytes),
    /// Last changed at this revision.
    ModRevision(u64),
}

/// Everything that can be done to the replicated state. Each variant has its tag in [`codec`](crate::codec).
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the requests")]
pub enum Command {
    OpenSession {
        ttl_ms: u64,
    },
    CloseSession {
        session: SessionId,
    },
    Put {
        key: Bytes,
        value: Bytes,
    },
    Delete {
        key: Bytes,
    },
    CompareAndSet {
        key: Bytes,
        expected: Expected,
        value: Bytes,
    },
    RegisterExecutor {
        request: pb::RegisterExecutorRequest,
        ttl_ms: u64,
        grace_ms: u64,
    },
    DeregisterExecutor {
        executor: ExecutorId,
        incarnation: Incarnation,
    },
    RemoveExecutor {
        executor: ExecutorId,
    },
    SubmitJob {
        id: Option<JobId>,
        specification: pb::JobSpecification,
    },
    CancelJob {
        id: JobId,
        timeout_ms: u64,
    },
    DeleteJob {
        id: JobId,
    },
    /// A leader saw these leases run out. All that expired, in one entry.
    ExpireLeases {
        leases: Vec<LeaseId>,
    },
    /// An executor said this of its attempts.
    ReportAttempts {
        executor: ExecutorId,
        incarnation: Incarnation,
        reports: Vec<pb::AttemptReport>,
    },
    /// An executor said for good that it never started this attempt and never will.
    AttemptRefused {
        executor: ExecutorId,
        attempt: AttemptId,
    },
    /// There is time, and perhaps room: place what can be placed.
    Place,
    /// The deadlines of these jobs' cancels have passed.
    ForceCancel {
        jobs: Vec<JobId>,
    },
    ChangeMembers {
        changes: Vec<pb::MemberChange>,
    },
    /// Its leader has seen why a change of the members cannot be made. Said in the log, so that the request has one answer: if
    /// the change was made after all, that one.
    RefuseChange {
        reason: String,
    },
    /// A cluster's first leader says who its voters are.
    FoundMembers {
        members: Vec<pb::MemberRecord>,
    },
    /// The data directory of a member was seen for the first time.
    KnowMember {
        node: NodeId,
        storage: StorageId,
    },
    /// The joint configuration was carried out by its leader.
    LeaveJoint,
    /// A master has no more room.
    RaiseAlarm {
        alarm: pb::Alarm,
    },
    /// An operator bounds the feature level. 0 = it may rise.
    HoldLevel {
        most: u32,
    },
    /// A leader has heard that all members' programs know this level, or that the cluster is to be at no higher one.
    SetLevel {
        level: u32,
    },
    /// An operator says that there is room again. `None`: everywhere.
    DisarmAlarm {
        node: Option<NodeId>,
    },
}

impl Command {
    /// Makes a command of a request that changes something, after checking every field against its limits.
    /// `None` for requests that only read.
    ///
    /// # Errors
    /// A refusal that names the field, its value, and what would be right.
    pub fn from_request(
        request: &pb::ClientRequest,
        lease: &LeaseTimes,
    ) -> Result<Option<(Option<RequestId>, Self)>, pb::Refusal> {
        validate::request(request, lease)
    }

    /// Whether it is a change that a client asks for within a session, so that a retry of it must be known as one.
    #[must_use]
    pub const fn needs_request(&self) -> bool {
        match self {
            Self::Put { .. }
            | Self::Delete { .. }
            | Self::CompareAndSet { .. }
            | Self::RegisterExecutor { .. }
            | Self::DeregisterExecutor { .. }
            | Self::RemoveExecutor { .. }
            | Self::SubmitJob { .. }
            | Self::CancelJob { .. }
            | Self::DeleteJob { .. }
            | Self::ChangeMembers { .. }
            | Self::RefuseChange { .. }
            | Self::HoldLevel { .. }
            | Self::DisarmAlarm { .. } => true,
            Self::OpenSession { .. }
            | Self::CloseSession { .. }
            | Self::ExpireLeases { .. }
            | Self::ReportAttempts { .. }
            | Self::AttemptRefused { .. }
            | Self::Place
            | Self::ForceCancel { .. }
            | Self::FoundMembers { .. }
            | Self::KnowMember { .. }
            | Self::LeaveJoint
            | Self::SetLevel { .. }
            | Self::RaiseAlarm { .. } => false,
        }
    }

    /// Whether it is a client's and makes the state larger: refused while a master has no more room.
    #[must_use]
    pub fn takes_room(&self) -> bool {
        let job = matches!(self, Self::SubmitJob { .. }) && !bug::planted(Bug::AlarmJobsTaken);
        job || matches!(self, Self::Put { .. } | Self::CompareAndSet { .. })
    }

    /// Whether it may change who votes: one at a time is on its way.
    #[must_use]
    pub const fn changes_membership(&self) -> bool {
        matches!(
            self,
            Self::ChangeMembers { .. }
                | Self::FoundMembers { .. }
                | Self::KnowMember { .. }
                | Self::LeaveJoint
        )
    }
}

#[cfg(test)]
mod tests;
