//! The replicated state machine. [`State::apply`] is the only code that changes it.

mod alarms;
mod check;
mod fleet;
mod hash;
mod inherit;
mod jobs;
mod lease;
mod level;
mod members;
mod query;
mod records;
mod refuse;
mod requests;
mod snapshot;
mod store;
mod survivor;
#[cfg(test)]
mod tests;

pub(crate) use refuse::{invalid, precondition};
pub(crate) use store::keyvalue::FRAME_PREFIX;

pub use inherit::{InheritError, Inheritance, Unfit};
pub use members::Members;
pub use records::RecordKey;
pub use survivor::{Heir, Survivor};

use crate::{
    bug::{self, Bug},
    command::{Command, Proposal},
    level::FIRST_LEVEL,
    trace::TraceEvent,
    types::{ClusterTime, ExecutorId, Index, JobId, LeaseId, NodeId, Revision, SessionId, TaskKey},
};
use bytes::Bytes;
use hash::{Kind, Sum, digest};
use jobs::{desired, job, placement, report, task};
use pb::client_reply::Body;
use quorate_proto::v1 as pb;
use records::Records;
use requests::{Admission, Requests};
use std::collections::BTreeSet;
use store::{Space, Store, keyvalue};

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub struct ApplyContext {
    /// The entry's index.
    pub index: Index,
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

/// The last ids that were given. None is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Of executors.
    pub(crate) executors: u64,
    /// Of leases.
    pub(crate) leases: u64,
    /// Commands that were carried out at the level of the next format.
    #[cfg(feature = "next-format")]
    pub(crate) next: u64,
}

/// Everything that is replicated. Cloning it takes constant time.
#[derive(Clone, Debug)]
pub struct State {
    index: Index,
    time: ClusterTime,
    feature_level: u32,
    counters: Counters,
    business: Store,
    records: Records,
    requests: Requests,
}

/// How a command ended: the body of its reply, or why it was refused.
pub(crate) type Outcome = Result<Body, pb::Refusal>;

/// What the commands on records may change, and what they leave behind, while one entry is applied.
pub(crate) struct Turn<'a> {
    /// The entry's index.
    pub(crate) index: Index,
    /// Cluster time.
    pub(crate) time: ClusterTime,
    /// A label for people.
    pub(crate) wall_ms: u64,
    /// The feature level.
    pub(crate) level: &'a mut u32,
    /// Gives ids.
    pub(crate) counters: &'a mut Counters,
    /// All records; changed by the methods below.
    pub(crate) records: &'a mut Records,
    /// What there is to tell.
    pub(crate) trace: Vec<TraceEvent>,
    touched: BTreeSet<RecordKey>,
}

impl Turn<'_> {
    fn put_lease(&mut self, id: LeaseId, lease: pb::Lease) {
        self.records.put_lease(id, lease);
        self.touched.insert(RecordKey::Lease(id));
    }

    fn put_executor(&mut self, id: ExecutorId, executor: pb::Executor) {
        self.records.put_executor(id, executor);
        self.touched.insert(RecordKey::Executor(id));
    }

    fn put_job(&mut self, id: &JobId, job: pb::Job) {
        self.records.put_job(id, job);
        self.touched.insert(RecordKey::Job(id.clone()));
    }

    fn put_task(&mut self, key: &TaskKey, task: pb::Task) {
        self.records.put_task(key, task);
        self.touched.insert(RecordKey::Task(key.clone()));
    }

    fn put_membership(&mut self, members: Members) {
        self.records.put_membership(members);
        self.touched.insert(RecordKey::Membership);
    }

    fn put_level(&mut self, level: pb::FeatureLevel) {
        self.records.put_level(level);
        self.touched.insert(RecordKey::Level);
    }

    fn put_alarm(&mut self, node: NodeId, alarm: pb::Alarm) {
        self.records.put_alarm(node, alarm);
        self.touched.insert(RecordKey::Alarm(node));
    }

    fn delete(&mut self, key: &RecordKey) {
        self.records.delete(key);
        self.touched.insert(key.clone());
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            index: Index(0),
            time: ClusterTime(0),
            feature_level: FIRST_LEVEL,
            counters: Counters::default(),
            business: Store::new(Space::Business),
            records: Records::default(),
            requests: Requests::default(),
        }
    }
}

impl State {
    /// Carries out one entry. A command that is not true any more is refused, or does nothing; it is never an error.
    pub fn apply(&mut self, context: &ApplyContext, proposal: Proposal) -> Applied {
        debug_assert!(context.index > self.index, "entries are applied once, and in order");
        self.index = context.index;
        self.time = self.time.max(proposal.time);
        let Proposal { wall_ms, request, command, .. } = proposal;
        let request = request.filter(|_| command.needs_request());
        let admission = match &request {
            Some(request) => self.requests.admit(request),
            None if command.needs_request() => Admission::Refused(invalid(
                "request_id is missing: every change names a session and a number of it".to_owned(),
            )),
            None => Admission::Fresh,
        };
        let mut applied =
            Applied { reply: pb::ClientReply::default(), touched: Vec::new(), trace: Vec::new() };
        match admission {
            Admission::Answered(reply) => applied.reply = *reply,
            Admission::Refused(refusal) => applied.reply = self.reply(Err(refusal)),
            Admission::Fresh => {
                applied = self.carry_out(wall_ms, command);
                if let Some(request) = &request {
                    self.requests.answered(request, &applied.reply);
                }
            }
        }
        applied
    }

    /// Moves the applied index over an entry that holds no command.
    pub const fn skip(&mut self, index: Index) {
        self.index = index;
    }

    fn carry_out(&mut self, wall_ms: u64, command: Command) -> Applied {
        #[cfg(feature = "next-format")]
        level::count(self.feature_level, &mut self.counters);
        let mut turn = Turn {
            index: self.index,
            time: self.time,
            wall_ms,
            level: &mut self.feature_level,
            counters: &mut self.counters,
            records: &mut self.records,
            trace: Vec::new(),
            touched: BTreeSet::new(),
        };
        let outcome = dispatch(&mut turn, &mut self.business, &mut self.requests, command);
        let Turn { trace, touched, .. } = turn;
        let reply = match outcome {
            Some(outcome) => self.reply(outcome),
            None => pb::ClientReply { index: self.index.0, body: None },
        };
        Applied { reply, touched: touched.into_iter().collect(), trace }
    }

    fn reply(&self, outcome: Outcome) -> pb::ClientReply {
        let body = outcome.unwrap_or_else(Body::Refusal);
        pb::ClientReply { index: self.index.0, body: Some(body) }
    }

    /// The last applied index.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.index
    }

    /// Cluster time as of the last applied entry.
    #[must_use]
    pub const fn time(&self) -> ClusterTime {
        self.time
    }

    /// What every member's program knows, and so what the cluster uses. See [`level`](crate::level).
    #[must_use]
    pub const fn feature_level(&self) -> u32 {
        self.feature_level
    }

    /// Whether [`Command::SetLevel`] would raise or lower the level.
    #[must_use]
    pub const fn takes_level(&self, level: u32) -> bool {
        level::is_taken(self.feature_level, self.level_record().most, level)
    }

    /// How far the feature level may go, and how it went.
    #[must_use]
    pub const fn level_record(&self) -> pb::FeatureLevel {
        self.records.tables().level
    }

    /// See [`StateHash`]. Takes constant time.
    #[must_use]
    pub fn hash(&self) -> StateHash {
        self.hash_of([self.business.sum(), self.records.frame().sum(), self.requests.sum()])
    }

    fn hash_of(&self, sums: [Sum; 3]) -> StateHash {
        let numbers = [
            self.index.0,
            self.time.0,
            u64::from(self.feature_level),
            self.counters.executors,
            self.counters.leases,
            self.business.revision().0,
            self.records.frame().revision().0,
        ];
        let mut all = Sum::default();
        if bug::planted(Bug::StateHashKept) {
            return StateHash(all.0);
        }
        all.add(digest(Kind::Header, &numbers, &[]));
        // Programs that do not know the number agree with those that do as long as it is not used.
        #[cfg(feature = "next-format")]
        if self.feature_level >= 2 || bug::planted(Bug::LevelKeepsNews) {
            all.add(digest(Kind::Next, &[self.counters.next], &[]));
        }
        for sum in sums {
            all.add(sum.0);
        }
        StateHash(all.0)
    }

    /// One lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<&pb::Lease> {
        self.records.tables().leases.get(id)
    }

    /// All leases (executors' and sessions'), in order of their ids.
    pub fn leases(&self) -> impl Iterator<Item = &pb::Lease> {
        self.records.tables().leases.iter()
    }

    /// The lease of a session.
    #[must_use]
    pub fn session_lease(&self, session: SessionId) -> Option<LeaseId> {
        self.requests.lease(session)
    }

    /// Whether a request was carried out, and its answer is kept.
    #[must_use]
    pub fn has_answered(&self, request: &crate::command::RequestId) -> bool {
        self.requests.has_answered(request)
    }

    /// The answer to a request that was carried out, as long as it is kept.
    #[must_use]
    pub fn answer_to(&self, request: &crate::command::RequestId) -> Option<pb::ClientReply> {
        self.requests.answer_to(request)
    }

    /// The masters of the cluster; `None` until its first leader has said who they are.
    #[must_use]
    pub fn members(&self) -> Option<&Members> {
        self.records.tables().members.get()
    }

    /// What keeps the cluster from taking more data, in order of the nodes.
    pub fn alarms(&self) -> impl Iterator<Item = &pb::Alarm> {
        self.records.tables().alarms.iter()
    }

    /// Why a command that [takes room](Command::takes_room) is refused, if it is: a member has no more.
    #[must_use]
    pub fn no_room(&self) -> Option<pb::Refusal> {
        alarms::refusal(self.records.tables())
    }

    /// One executor.
    #[must_use]
    pub fn executor(&self, id: ExecutorId) -> Option<&pb::Executor> {
        self.records.tables().fleet.get(id)
    }

    /// All executors, in order of their ids.
    pub fn executors(&self) -> impl Iterator<Item = &pb::Executor> {
        self.records.tables().fleet.iter()
    }

    /// One job.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&pb::Job> {
        self.records.tables().jobs.job(id)
    }

    /// All jobs, in order of their ids.
    pub fn jobs(&self) -> impl Iterator<Item = (&JobId, &pb::Job)> {
        self.records.tables().jobs.jobs()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, key: &TaskKey) -> Option<&pb::Task> {
        self.records.tables().jobs.task(key)
    }

    /// The tasks of a job, in order of their numbers.
    pub fn tasks(&self, job: &JobId) -> impl Iterator<Item = (&TaskKey, &pb::Task)> {
        self.records.tables().jobs.tasks(job, 0)
    }

    /// The tasks whose attempts an executor holds (assigned or online), in order.
    pub fn held(&self, executor: ExecutorId) -> impl Iterator<Item = &TaskKey> {
        self.records.tables().jobs.placement.held(executor)
    }

    /// The whole desired set of an executor. Specifications come with attempts that `reports` does not show as known,
    /// up to a limit.
    #[must_use]
    pub fn desired(&self, executor: ExecutorId, reports: &[pb::AttemptReport]) -> Vec<pb::DesiredAttempt> {
        desired::set(self.records.tables(), executor, reports)
    }

    /// Of an executor's reports, those that would change the state: what is worth an entry.
    #[must_use]
    pub fn news(&self, executor: ExecutorId, reports: &[pb::AttemptReport]) -> Vec<pb::AttemptReport> {
        report::news(self.records.tables(), executor, reports)
    }

    /// Whether `Place` would place a task at this time.
    #[must_use]
    pub fn can_place(&self, time: ClusterTime) -> bool {
        self.records.tables().jobs.placement.next(time.max(self.time)).is_some()
    }

    /// When the next backoff passes of a task that there is room for. Tasks without room wait for room, not for a time.
    #[must_use]
    pub fn next_backoff(&self) -> Option<ClusterTime> {
        self.records.tables().jobs.placement.next_due(self.time)
    }

    /// Jobs whose cancel is to be forced at this time: as many as one entry takes, the most overdue first.
    #[must_use]
    pub fn overdue_cancels(&self, time: ClusterTime) -> Vec<JobId> {
        let early = bug::planted(Bug::JobForcedEarly);
        let due = |(deadline, _): &&(ClusterTime, JobId)| *deadline <= time || early;
        let overdue = self.records.tables().jobs.deadlines().take_while(due);
        overdue.take(crate::limits::EXPIRIES).map(|(_, job)| job.clone()).collect()
    }

    /// When the next cancel is to be forced.
    #[must_use]
    pub fn next_cancel_deadline(&self) -> Option<ClusterTime> {
        self.records.tables().jobs.deadlines().next().map(|(deadline, _)| *deadline)
    }

    /// The revision of the last change of the users' keys.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.business.revision()
    }

    /// Number of sessions and tasks.
    #[must_use]
    pub fn sessions_and_tasks(&self) -> (usize, usize) {
        (self.requests.iter().count(), self.records.tables().jobs.sizes().1)
    }

    /// Number of executors, jobs and keys.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        let tables = self.records.tables();
        (tables.fleet.len(), tables.jobs.sizes().0, self.business.len())
    }

    /// The state as chunks of at most [`SNAPSHOT_CHUNK_BYTES`](crate::limits::SNAPSHOT_CHUNK_BYTES); at least one.
    pub fn encode(&self) -> impl Iterator<Item = Bytes> {
        self.encode_in(crate::limits::SNAPSHOT_CHUNK_BYTES)
    }

    /// The same in smaller chunks: see [`Flow::snapshot_chunk_bytes`](crate::contract::Flow::snapshot_chunk_bytes).
    pub fn encode_in(&self, chunk_bytes: usize) -> impl Iterator<Item = Bytes> {
        snapshot::encode(self, chunk_bytes)
    }

    /// The feature level that a program must know to read the snapshot that begins with this chunk, if this program does not
    /// know it; of a version that it does not know, what is known for sure.
    #[must_use]
    pub fn newer(first_chunk: &[u8]) -> Option<u32> {
        snapshot::newer(first_chunk)
    }

    /// The state in these chunks.
    ///
    /// # Errors
    /// What does not decode, and where.
    pub fn decode(chunks: impl Iterator<Item = Bytes>) -> Result<Self, crate::codec::CodecError> {
        snapshot::decode(chunks)
    }
}

// `None`: nobody asked for it, so there is nobody to answer.
fn dispatch(
    turn: &mut Turn<'_>,
    business: &mut Store,
    requests: &mut Requests,
    command: Command,
) -> Option<Outcome> {
    // Its leader knew of no alarm when it proposed it.
    if command.takes_room()
        && let Some(refusal) = alarms::refusal(turn.records.tables())
    {
        return Some(Err(refusal));
    }
    let outcome = match command {
        Command::OpenSession { ttl_ms } => requests::open(turn, requests, ttl_ms),
        Command::CloseSession { session } => requests::close(turn, requests, session),
        Command::Put { key, value } => keyvalue::put(business, key, value),
        Command::Delete { key } => keyvalue::delete(business, &key),
        Command::CompareAndSet { key, expected, value } => {
            keyvalue::compare_and_set(business, &key, &expected, value)
        }
        Command::RegisterExecutor { request, ttl_ms, grace_ms } => {
            let outcome = fleet::register(turn, request, ttl_ms, grace_ms);
            placement::run(turn);
            outcome
        }
        Command::DeregisterExecutor { executor, incarnation } => {
            let outcome = fleet::deregister(turn, executor, incarnation);
            placement::run(turn);
            outcome
        }
        Command::RemoveExecutor { executor } => fleet::remove(turn, executor),
        Command::SubmitJob { id, specification } => job::submit(turn, id, specification),
        Command::CancelJob { id, timeout_ms } => job::cancel(turn, &id, timeout_ms),
        Command::DeleteJob { id } => job::delete(turn, &id),
        Command::ExpireLeases { leases } => {
            lease::expire(turn, requests, &leases);
            placement::run(turn);
            return None;
        }
        Command::ReportAttempts { executor, incarnation, reports } => {
            report::apply(turn, executor, incarnation, reports);
            return None;
        }
        Command::AttemptRefused { executor, attempt } => {
            task::refused(turn, executor, &attempt);
            placement::run(turn);
            return None;
        }
        Command::Place => {
            placement::run(turn);
            return None;
        }
        Command::ForceCancel { jobs } => {
            job::force(turn, &jobs);
            return None;
        }
        Command::ChangeMembers { changes } => members::change(turn, &changes),
        Command::RefuseChange { reason } => Err(precondition(reason)),
        Command::FoundMembers { members } => {
            members::found(turn, &members);
            return None;
        }
        Command::KnowMember { node, storage } => {
            members::know(turn, node, storage);
            return None;
        }
        Command::LeaveJoint => {
            members::leave_joint(turn);
            return None;
        }
        Command::HoldLevel { most } => level::hold(turn, most),
        Command::SetLevel { level } => {
            level::set(turn, level);
            return None;
        }
        Command::RaiseAlarm { alarm } => alarms::raise(turn, alarm),
        Command::DisarmAlarm { node } => alarms::disarm(turn, node),
    };
    Some(outcome)
}
