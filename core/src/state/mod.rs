//! The replicated state machine. [`State::apply`] is the only code that changes it.

use crate::{
    command::Proposal,
    trace::TraceEvent,
    types::{ClusterTime, ExecutorId, Index, JobId, LeaseId, TaskKey},
};
use bytes::Bytes;
use quorate_proto::v1 as pb;

/// The newest level of commands and records that this version knows.
pub const FEATURE_LEVEL: u32 = 1;

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub struct ApplyContext {
    /// The entry's index.
    pub index: Index,
}

/// Names one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// `executors/<id>`
    Executor(ExecutorId),
    /// `jobs/<id>`
    Job(JobId),
    /// `leases/<id>`
    Lease(LeaseId),
    /// `tasks/<job>/<number>`
    Task(TaskKey),
}

/// What an entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// For whoever asked for it.
    pub reply: pb::ClientReply,
    /// The records that were put or deleted, each once, in order.
    pub touched: Vec<RecordKey>,
    /// What there is to tell.
    pub trace: Vec<TraceEvent>,
}

/// A hash of everything that is logically in the state, whatever the order in which it came there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateHash(pub u128);

/// Everything that is replicated. Cloning it takes constant time.
#[derive(Clone, Debug, Default)]
pub struct State {}

#[allow(clippy::unused_self, unused_variables)]
impl State {
    /// Carries out one entry.
    pub fn apply(&mut self, context: &ApplyContext, proposal: Proposal) -> Applied {
        unimplemented!()
    }

    /// Moves the applied index over an entry that holds no command.
    pub fn skip(&mut self, index: Index) {
        unimplemented!()
    }

    /// Answers a request that only reads: get, list, list_executors, get_executor, get_job, list_jobs. `index` of the reply is the applied index.
    #[must_use]
    pub fn query(&self, request: &pb::ClientRequest) -> pb::ClientReply {
        unimplemented!()
    }

    /// The last applied index.
    #[must_use]
    pub fn index(&self) -> Index {
        unimplemented!()
    }

    /// Cluster time as of the last applied entry.
    #[must_use]
    pub fn time(&self) -> ClusterTime {
        unimplemented!()
    }

    /// See [`StateHash`].
    #[must_use]
    pub fn hash(&self) -> StateHash {
        unimplemented!()
    }

    /// One lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<&pb::Lease> {
        unimplemented!()
    }

    /// All leases (executors' and sessions'), in order of their ids.
    pub fn leases(&self) -> impl Iterator<Item = &pb::Lease> {
        std::iter::empty()
    }

    /// The lease of a session.
    #[must_use]
    pub fn session_lease(&self, session: crate::types::SessionId) -> Option<LeaseId> {
        unimplemented!()
    }

    /// One executor.
    #[must_use]
    pub fn executor(&self, id: ExecutorId) -> Option<&pb::Executor> {
        unimplemented!()
    }

    /// All executors, in order of their ids.
    pub fn executors(&self) -> impl Iterator<Item = &pb::Executor> {
        std::iter::empty()
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&pb::Job> {
        unimplemented!()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, key: &TaskKey) -> Option<&pb::Task> {
        unimplemented!()
    }

    /// The tasks whose attempts an executor holds (assigned or online), in order.
    pub fn held(&self, executor: ExecutorId) -> impl Iterator<Item = &TaskKey> {
        std::iter::empty()
    }

    /// The whole desired set of an executor. Specifications come with attempts that `reports` does not show as known,
    /// up to a limit.
    #[must_use]
    pub fn desired(&self, executor: ExecutorId, reports: &[pb::AttemptReport]) -> Vec<pb::DesiredAttempt> {
        unimplemented!()
    }

    /// Of an executor's reports, those that would change the state: what is worth an entry.
    #[must_use]
    pub fn news(&self, executor: ExecutorId, reports: &[pb::AttemptReport]) -> Vec<pb::AttemptReport> {
        unimplemented!()
    }

    /// Whether `Place` would place a task at this time.
    #[must_use]
    pub fn can_place(&self, time: ClusterTime) -> bool {
        unimplemented!()
    }

    /// When the next backoff passes.
    #[must_use]
    pub fn next_backoff(&self) -> Option<ClusterTime> {
        unimplemented!()
    }

    /// Jobs whose cancel is to be forced at this time.
    #[must_use]
    pub fn overdue_cancels(&self, time: ClusterTime) -> Vec<JobId> {
        unimplemented!()
    }

    /// When the next cancel is to be forced.
    #[must_use]
    pub fn next_cancel_deadline(&self) -> Option<ClusterTime> {
        unimplemented!()
    }

    /// Number of executors, jobs and keys.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        unimplemented!()
    }

    /// Whether the tables are what the touched records say. For oracles.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_touched(&self, touched: &[RecordKey]) -> Result<(), String> {
        unimplemented!()
    }

    /// Whether the tables, counts and the hash are what all records say. For oracles: takes time.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self) -> Result<(), String> {
        unimplemented!()
    }

    /// The state as chunks of at most [`SNAPSHOT_CHUNK_BYTES`](crate::limits::SNAPSHOT_CHUNK_BYTES); at least one.
    pub fn encode(&self) -> impl Iterator<Item = Bytes> {
        std::iter::empty()
    }

    /// The state in these chunks.
    ///
    /// # Errors
    /// What does not decode, and where.
    pub fn decode(chunks: impl Iterator<Item = Bytes>) -> Result<Self, crate::codec::CodecError> {
        unimplemented!()
    }
}
