//! What the rules promise, tried through [`State::apply`] alone.

mod alarms;
mod fleet;
mod golden;
mod inherit;
mod jobs;
mod keyvalue;
mod members;
mod queries;
mod random;
mod sessions;
mod snapshot;

use super::{Applied, ApplyContext, State};
use crate::{
    command::{Command, Proposal, RequestId},
    contract::LeaseTimes,
    limits::EXECUTOR_SLOTS,
    types::{ClusterTime, Epoch, ExecutorId, Incarnation, Index, JobId, SessionId, TaskKey},
};
use bytes::Bytes;
use pb::{AttemptEnd, AttemptPhase, JobState, JobType, RefusalCode, TaskState, client_reply::Body};
use quorate_proto::v1 as pb;

/// A state, and a client with a session that asks it for things.
#[derive(Clone)]
struct World {
    state: State,
    index: u64,
    time: u64,
    session: SessionId,
    sequence: u64,
    /// All sessions that were opened, in their order.
    opened: Vec<SessionId>,
}

impl World {
    fn new() -> Self {
        let (state, session, opened) = (State::default(), SessionId(0), Vec::new());
        let mut world = Self { state, index: 0, time: 1_000, session, sequence: 0, opened };
        world.open(60_000);
        world
    }

    /// Goes on with a new session.
    fn open(&mut self, ttl_ms: u64) {
        self.internal(Command::OpenSession { ttl_ms });
        (self.session, self.sequence) = (*self.opened.last().unwrap(), 0);
    }

    fn apply(&mut self, request: Option<RequestId>, command: Command) -> Applied {
        self.index += 1;
        let proposal =
            Proposal { time: ClusterTime(self.time), wall_ms: 1_700_000_000_000, request, command };
        let applied = self.state.apply(&ApplyContext { index: Index(self.index) }, proposal);
        self.state.check_touched(&applied.touched).unwrap();
        if let Some(Body::OpenSession(reply)) = &applied.reply.body {
            self.opened.push(SessionId(reply.session));
        }
        applied
    }

    fn internal(&mut self, command: Command) -> Applied {
        self.apply(None, command)
    }

    fn client(&mut self, command: Command) -> Applied {
        self.sequence += 1;
        let request =
            RequestId { session: self.session, sequence: self.sequence, lowest_open: self.sequence };
        self.apply(Some(request), command)
    }

    fn executor(&mut self, slots: u32) -> ExecutorId {
        let request = pb::RegisterExecutorRequest {
            name: "box".into(),
            address: "127.0.0.1:9".into(),
            slots,
            incarnation: 7,
            ..Default::default()
        };
        let command = Command::RegisterExecutor { request, ttl_ms: 5_000, grace_ms: 2_000 };
        match self.client(command).reply.body {
            Some(Body::RegisterExecutor(reply)) => ExecutorId(reply.executor),
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, id: &str, change: impl FnOnce(&mut pb::JobSpecification)) -> Applied {
        let mut specification = pb::JobSpecification {
            r#type: JobType::Batch as i32,
            argv: vec!["true".into()],
            ..Default::default()
        };
        change(&mut specification);
        let request = pb::SubmitJobRequest {
            request_id: Some(any_id()),
            id: id.into(),
            specification: Some(specification),
        };
        let body = pb::client_request::Body::SubmitJob(request);
        let request = pb::ClientRequest { body: Some(body) };
        let (_, command) = Command::from_request(&request, &LeaseTimes::default()).unwrap().unwrap();
        self.client(command)
    }

    fn report(&mut self, job: &str, number: u32, phase: AttemptPhase, end: AttemptEnd, code: i32) -> Applied {
        let task = self.task(job, number);
        let attempt = pb::AttemptKey { job: job.into(), number, epoch: task.epoch };
        let (phase, end) = (phase as i32, end as i32);
        let report = pb::AttemptReport { attempt: Some(attempt), phase, end, code, message: String::new() };
        self.internal(Command::ReportAttempts {
            executor: ExecutorId(task.executor),
            incarnation: Incarnation(7),
            reports: vec![report],
        })
    }

    fn online(&mut self, job: &str, number: u32) -> Applied {
        self.report(job, number, AttemptPhase::Running, AttemptEnd::Unspecified, 0)
    }

    fn exits(&mut self, job: &str, number: u32, code: i32) -> Applied {
        self.report(job, number, AttemptPhase::Ended, AttemptEnd::Exited, code)
    }

    fn cancel(&mut self, job: &str, timeout_ms: u64) -> Applied {
        self.client(Command::CancelJob { id: id(job), timeout_ms })
    }

    fn expire(&mut self, executor: ExecutorId) -> Applied {
        let lease = self.state.executor(executor).unwrap().lease;
        self.internal(Command::ExpireLeases { leases: vec![crate::types::LeaseId(lease)] })
    }

    fn task(&self, job: &str, number: u32) -> pb::Task {
        self.state.task(&key(job, number)).unwrap().clone()
    }

    fn job(&self, job: &str) -> pb::Job {
        self.state.job(&id(job)).unwrap().clone()
    }

    fn job_state(&self, job: &str) -> JobState {
        self.job(job).state()
    }

    fn task_states(&self, job: &str) -> Vec<TaskState> {
        self.state.tasks(&id(job)).map(|(_, task)| task.state()).collect()
    }

    fn executors_of(&self, job: &str) -> Vec<u64> {
        self.state.tasks(&id(job)).map(|(_, task)| task.executor).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.state.check().unwrap();
        }
    }
}

fn id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

fn key(job: &str, number: u32) -> TaskKey {
    TaskKey { job: id(job), number }
}

const fn any_id() -> pb::RequestId {
    pb::RequestId { session: 1, sequence: 1, lowest_open: 1 }
}

fn code(applied: &Applied) -> Option<RefusalCode> {
    match &applied.reply.body {
        Some(Body::Refusal(refusal)) => Some(refusal.code()),
        _ => None,
    }
}

fn put(key: &str, value: &str) -> Command {
    Command::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}
