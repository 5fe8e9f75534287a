//! One client: a session, and one operation after the other, retried with the same request id at any master.

use crate::{
    oracle::register::Recorded,
    plan::{ClientPlan, Expectation, JobPlan, Look, Operation, Wrong},
    world::{Event, members},
    wrong,
};
use bytes::Bytes;
use quorate_core::types::Index;
use quorate_proto::v1::{
    self as pb, client_reply::Body, client_request::Body as Ask, compare_and_set_request::Expected,
};
use std::collections::{BTreeMap, VecDeque};

/// Whose page is kept under this name; no prefix of keys begins so.
const PAGE_OF_EXECUTORS: &str = "\0executors";
const PAGE_OF_JOBS: &str = "\0jobs";

/// What a client is waiting for.
#[derive(Clone, Debug)]
pub struct Busy {
    /// What it asks, the same at each attempt.
    pub request: Box<pb::ClientRequest>,
    /// What had been answered before it was asked first.
    pub floor: Index,
    /// When it was asked first, nanoseconds.
    pub call: u64,
    /// When it gives up, nanoseconds.
    pub until: u64,
    /// How often it was asked.
    pub attempts: u32,
}

/// One client.
pub struct Client {
    /// From 0 on.
    pub place: u8,
    /// What it is to do.
    pub plan: ClientPlan,
    /// The next planned operation.
    pub next: usize,
    /// Operations that come before the planned ones.
    pub urgent: VecDeque<Operation>,
    /// What it waits for.
    pub busy: Option<Busy>,
    /// Attempts so far: an answer to an earlier one is ignored.
    pub attempt: u64,
    /// The master that it asks.
    pub target: u8,
    /// Everything that it did to keys.
    pub history: Vec<Recorded>,
    /// Times that it stands still.
    pub stalls: u32,
    /// What it does as soon as it goes on.
    pub stood: Vec<Event>,
    /// Chance that a request goes to two masters, parts in a million, by fault.
    pub doubles: Vec<(usize, u64)>,
    /// What is wrong with what it asks.
    pub wrong: Option<Wrong>,
    /// Operations by what came of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    session: Option<u64>,
    sequence: u64,
    values: u64,
    seen: BTreeMap<String, (Bytes, u64)>,
    executors: Vec<u64>,
    /// Those that it saw last, also when it has chosen one.
    known: Vec<u64>,
    /// The last key of the last page of each prefix; gone at its end.
    pages: BTreeMap<String, Bytes>,
    /// The highest index that an answer was as of.
    index: u64,
}

impl Client {
    /// A client that has done nothing yet.
    #[must_use]
    pub fn new(place: u8, plan: &ClientPlan, masters: u8) -> Self {
        Self {
            place,
            plan: plan.clone(),
            next: 0,
            urgent: VecDeque::new(),
            busy: None,
            attempt: 0,
            target: place % masters.max(1),
            history: Vec::new(),
            stalls: 0,
            stood: Vec::new(),
            doubles: Vec::new(),
            wrong: None,
            outcomes: BTreeMap::new(),
            session: None,
            sequence: 0,
            values: 0,
            seen: BTreeMap::new(),
            executors: Vec::new(),
            known: Vec::new(),
            pages: BTreeMap::new(),
            index: 0,
        }
    }

    /// What is planned next, if its time has come.
    #[must_use]
    pub fn coming(&self, now_ms: u64) -> Option<&Operation> {
        let planned = self.plan.operations.get(self.next).filter(|planned| planned.at_ms <= now_ms)?;
        self.urgent.is_empty().then_some(&planned.operation)
    }

    /// Leaves out what is planned next.
    pub const fn skip(&mut self) {
        self.next += 1;
    }

    /// The next request, if there is one at this time; else the time of the next one, in milliseconds.
    ///
    /// # Errors
    /// When to ask again; `None` = never.
    pub fn take(&mut self, now_ms: u64) -> Result<pb::ClientRequest, Option<u64>> {
        loop {
            let operation = if let Some(operation) = self.urgent.front() {
                operation.clone()
            } else {
                let planned = self.plan.operations.get(self.next).ok_or(None)?;
                if planned.at_ms > now_ms {
                    return Err(Some(planned.at_ms));
                }
                planned.operation.clone()
            };
            if self.session.is_none() && changes(&operation) {
                let ttl_ms = self.plan.session_ttl_ms;
                self.wrong = None;
                return Ok(wrap(Ask::OpenSession(pb::OpenSessionRequest { ttl_ms })));
            }
            if self.urgent.pop_front().is_none() {
                self.next += 1;
            }
            self.wrong = None;
            if let Operation::Invalid { which } = operation
                && let Some(id) = self.id()
            {
                self.wrong = Some(which);
                return Ok(wrong::request(which, id));
            }
            if let Some(ask) = self.request(&operation) {
                return Ok(wrap(ask));
            }
        }
    }

    /// Forgets what it had planned and is too late for, and shows once more that it is served.
    pub fn last_wishes(&mut self) {
        self.next = self.plan.operations.len();
        let key = || format!("last-{}", self.place);
        self.urgent.push_back(Operation::Put { key: key() });
        self.urgent.push_back(Operation::Get { key: key(), stale: false });
    }

    fn id(&mut self) -> Option<pb::RequestId> {
        self.sequence += 1;
        let session = self.session?;
        let lowest_open = if self.plan.hoards { 1 } else { self.sequence };
        Some(pb::RequestId { session, sequence: self.sequence, lowest_open })
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        Bytes::from(format!("c{}v{}", self.place, self.values))
    }

    fn request(&mut self, operation: &Operation) -> Option<Ask> {
        Some(match operation {
            Operation::Put { key } => Ask::Put(pb::PutRequest {
                request_id: self.id(),
                key: key.clone().into(),
                value: self.value(),
            }),
            Operation::Get { key, stale } => {
                Ask::Get(pb::GetRequest { key: key.clone().into(), stale: *stale })
            }
            Operation::Delete { key } => {
                Ask::Delete(pb::DeleteRequest { request_id: self.id(), key: key.clone().into() })
            }
            Operation::CompareAndSet { key, expect } => {
                let seen = self.seen.get(key);
                let expected = match (expect, seen) {
                    (Expectation::LastValue, Some((value, _))) => Expected::Value(value.clone()),
                    (Expectation::LastRevision, Some((_, revision))) => Expected::ModRevision(*revision),
                    _ => Expected::Absent(true),
                };
                Ask::CompareAndSet(pb::CompareAndSetRequest {
                    request_id: self.id(),
                    key: key.clone().into(),
                    new_value: self.value(),
                    expected: Some(expected),
                })
            }
            Operation::List { stale } => {
                Ask::List(pb::ListRequest { stale: *stale, ..pb::ListRequest::default() })
            }
            Operation::Submit { job } => self.submit(job.id.clone(), job),
            Operation::SubmitAhead { entries, job } => {
                self.submit(format!("job-{}", self.index.saturating_add(*entries)), job)
            }
            Operation::PutLarge { key, kib } => {
                let mut value = self.value().to_vec();
                value.resize(*kib as usize * 1_024, b'.');
                let value = value.into();
                Ask::Put(pb::PutRequest { request_id: self.id(), key: key.clone().into(), value })
            }
            Operation::ListPage { prefix, limit } => Ask::List(pb::ListRequest {
                prefix: prefix.clone().into(),
                after: self.pages.get(prefix).cloned().unwrap_or_default(),
                limit: *limit,
                ..pb::ListRequest::default()
            }),
            Operation::Look { at } => self.look(at),
            Operation::ChangeMembers { steps } => Ask::ChangeMembers(pb::ChangeMembersRequest {
                request_id: self.id(),
                changes: members::request(steps),
            }),
            Operation::TransferLeader { to } => Ask::TransferLeader(pb::TransferLeaderRequest {
                to: to.map_or(0, |place| u64::from(place) + 1),
                // Some clients want it only while the first master leads.
                from: u64::from(to.is_none() && self.place % 2 == 1),
            }),
            Operation::HoldLevel { most } => {
                Ask::HoldLevel(pb::HoldLevelRequest { request_id: self.id(), most: *most })
            }
            Operation::RaiseAlarm { master } => {
                let alarm = pb::Alarm {
                    node: u64::from(*master) + 1,
                    kind: pb::AlarmKind::Space.into(),
                    message: format!("c{}", self.place),
                    ..Default::default()
                };
                Ask::RaiseAlarm(pb::RaiseAlarmRequest { alarm: Some(alarm) })
            }
            Operation::DisarmAlarm { master } => Ask::DisarmAlarm(pb::DisarmAlarmRequest {
                request_id: self.id(),
                node: master.map_or(0, |master| u64::from(master) + 1),
            }),
            Operation::Invalid { .. } => return None,
            Operation::Cancel { id, timeout_ms } => Ask::CancelJob(pb::CancelJobRequest {
                request_id: self.id(),
                id: id.clone(),
                timeout_ms: *timeout_ms,
            }),
            Operation::GetJob { id } => {
                Ask::GetJob(pb::GetJobRequest { id: id.clone(), tasks: true, ..pb::GetJobRequest::default() })
            }
            Operation::ListJobs {} => Ask::ListJobs(pb::ListJobsRequest::default()),
            Operation::DeleteJob { id } => {
                Ask::DeleteJob(pb::DeleteJobRequest { request_id: self.id(), id: id.clone() })
            }
            Operation::RemoveExecutor { which } => {
                if self.executors.is_empty() {
                    self.urgent.push_front(Operation::RemoveExecutor { which: *which });
                    return Some(Ask::ListExecutors(pb::ListExecutorsRequest::default()));
                }
                let executor = self.executors[usize::from(*which) % self.executors.len()];
                self.executors.clear();
                Ask::RemoveExecutor(pb::RemoveExecutorRequest { request_id: self.id(), executor })
            }
            Operation::KeepSession {} => Ask::KeepSession(pb::KeepSessionRequest { session: self.session? }),
            Operation::CloseSession {} => {
                Ask::CloseSession(pb::CloseSessionRequest { session: self.session.take()? })
            }
        })
    }

    fn look(&self, at: &Look) -> Ask {
        let behind = |kind: &str| self.pages.get(kind).cloned().unwrap_or_default();
        let text = |kind: &str| String::from_utf8_lossy(&behind(kind)).into_owned();
        match at {
            Look::Executor { which } => {
                let executor = self.known.get(usize::from(*which)).copied().unwrap_or(u64::MAX);
                Ask::GetExecutor(pb::GetExecutorRequest { executor })
            }
            Look::Executors { limit } => {
                let after = text(PAGE_OF_EXECUTORS).parse().unwrap_or(0);
                Ask::ListExecutors(pb::ListExecutorsRequest { after, limit: *limit })
            }
            Look::Jobs { state, kind, limit } => Ask::ListJobs(pb::ListJobsRequest {
                after: text(PAGE_OF_JOBS),
                limit: *limit,
                state: *state,
                r#type: *kind,
            }),
            Look::Tasks { id, from, limit } => Ask::GetJob(pb::GetJobRequest {
                id: id.clone(),
                tasks: true,
                from_task: *from,
                limit: *limit,
                stale: false,
            }),
            Look::Members {} => Ask::ListMembers(pb::ListMembersRequest::default()),
            Look::Keys { prefix, limit } => Ask::List(pb::ListRequest {
                prefix: prefix.clone().into(),
                after: behind(prefix),
                limit: *limit,
                keys_only: true,
                stale: false,
            }),
        }
    }

    fn submit(&mut self, id: String, job: &JobPlan) -> Ask {
        let specification = Some(job.specification());
        Ask::SubmitJob(pb::SubmitJobRequest { request_id: self.id(), id, specification })
    }

    /// What came of the operation that it waits for: an answer, or `None` when it gave up.
    pub fn finish(&mut self, now: u64, reply: Option<&pb::ClientReply>) {
        let Some(busy) = self.busy.take() else { return };
        self.attempt += 1;
        self.index = self.index.max(reply.map_or(0, |reply| reply.index));
        let outcome = match reply.and_then(|reply| reply.body.as_ref()) {
            None => "unknown",
            Some(Body::Refusal(refusal)) => {
                if refusal.code() == pb::RefusalCode::SessionExpired {
                    self.session = None;
                }
                refusal.code().as_str_name()
            }
            Some(body) => {
                self.learn(&busy.request, body);
                "done"
            }
        };
        // A removal that found no executor is dropped.
        let removal = matches!(self.urgent.front(), Some(Operation::RemoveExecutor { .. }));
        if removal && self.executors.is_empty() && matches!(busy.request.body, Some(Ask::ListExecutors(_))) {
            self.urgent.pop_front();
        }
        *self.outcomes.entry(outcome).or_default() += 1;
        let answer = reply.map(|reply| (now, reply.clone()));
        self.history.push(Recorded { request: *busy.request, call: busy.call, answer });
    }

    fn turn_page(&mut self, kind: &str, last: Option<Bytes>) {
        match last {
            Some(last) => _ = self.pages.insert(kind.to_owned(), last),
            None => _ = self.pages.remove(kind),
        }
    }

    fn learn(&mut self, request: &pb::ClientRequest, body: &Body) {
        let key = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        match (&request.body, body) {
            (_, Body::OpenSession(open)) => {
                self.session = Some(open.session);
                self.sequence = 0;
            }
            (_, Body::ListExecutors(list)) => {
                let id = |status: &pb::ExecutorStatus| status.executor.as_ref().map(|it| it.id);
                self.executors = list.executors.iter().filter_map(id).collect();
                self.known.clone_from(&self.executors);
                let last = self.executors.last().filter(|_| list.more);
                self.turn_page(PAGE_OF_EXECUTORS, last.map(|last| Bytes::from(last.to_string())));
            }
            (_, Body::ListJobs(list)) => {
                let next = Some(Bytes::from(list.next.clone())).filter(|_| list.more);
                self.turn_page(PAGE_OF_JOBS, next);
            }
            (Some(Ask::List(list)), Body::List(reply)) if list.limit > 0 => {
                let last = reply.items.last().filter(|_| reply.more);
                self.turn_page(&key(&list.prefix), last.map(|last| last.key.clone()));
            }
            (Some(Ask::Put(put)), Body::Put(reply)) => {
                self.seen.insert(key(&put.key), (put.value.clone(), reply.revision));
            }
            (Some(Ask::Get(get)), Body::Get(reply)) => match &reply.item {
                Some(item) => {
                    self.seen.insert(key(&get.key), (item.value.clone(), item.mod_revision));
                }
                None => {
                    self.seen.remove(&key(&get.key));
                }
            },
            (Some(Ask::CompareAndSet(set)), Body::CompareAndSet(reply)) => {
                if let Some(item) = &reply.current {
                    self.seen.insert(key(&set.key), (item.value.clone(), item.mod_revision));
                }
            }
            _ => {}
        }
    }
}

const fn changes(operation: &Operation) -> bool {
    !matches!(
        operation,
        Operation::Get { .. }
            | Operation::List { .. }
            | Operation::ListPage { .. }
            | Operation::GetJob { .. }
            | Operation::ListJobs {}
            | Operation::Look { .. }
            | Operation::TransferLeader { .. }
            | Operation::RaiseAlarm { .. }
            | Operation::KeepSession {}
            | Operation::CloseSession {}
    )
}

const fn wrap(ask: Ask) -> pb::ClientRequest {
    pb::ClientRequest { body: Some(ask) }
}
