//! Calls to executors. A task's executor and epoch are committed before any call leaves; what a call does not reach, the
//! desired set of the next heartbeat does. So calls are made once, in bounded number, and an unknown outcome changes nothing.

use crate::{
    bug::{self, Bug},
    command::Command,
    limits,
    mark::{self, Mark},
    state::State,
    types::{AttemptId, CallKey, ClusterId, Epoch, ExecutorId, JobId, TaskKey, Term},
};
use quorate_proto::v1::{self as pb, executor_call::Body, executor_call_reply};
use std::collections::{BTreeMap, BTreeSet};

/// A call to be made.
#[derive(Clone, Debug)]
pub struct OutgoingCall {
    /// Comes back with the answer.
    pub key: CallKey,
    /// `host:port`.
    pub address: String,
    /// What to ask.
    pub call: pb::ExecutorCall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    PreDispatch,
    Confirm,
    Stop,
}

/// The calls of a reign.
#[derive(Clone, Debug, Hash)]
pub struct Dispatch {
    cluster: ClusterId,
    term: Term,
    next: CallKey,
    wanted: BTreeSet<(Step, AttemptId, ExecutorId)>,
    /// On their way.
    open: BTreeMap<CallKey, (Step, AttemptId, ExecutorId)>,
}

impl Dispatch {
    pub(crate) const fn new(cluster: ClusterId, term: Term, next: CallKey) -> Self {
        Self { cluster, term, next, wanted: BTreeSet::new(), open: BTreeMap::new() }
    }

    pub(crate) const fn next_key(&self) -> CallKey {
        self.next
    }

    /// A task changed: perhaps it was given to an executor.
    pub(crate) fn task_changed(&mut self, state: &State, key: &TaskKey) {
        if let Some(task) = state.task(key)
            && task.state() == pb::TaskState::Assigned
        {
            self.want(Step::PreDispatch, key, task);
        }
    }

    /// A job changed: perhaps it is to be stopped.
    pub(crate) fn job_changed(&mut self, state: &State, id: &JobId) {
        let Some(job) = state.job(id).filter(|job| job.state() == pb::JobState::Canceling) else { return };
        let tasks = job.specification.as_ref().map_or(0, |specification| specification.tasks);
        let room = limits::CALLS_INFLIGHT.saturating_sub(self.wanted.len());
        let keys = (0..tasks).map(|number| TaskKey { job: id.clone(), number });
        for key in keys.take(room) {
            if let Some(task) = state.task(&key)
                && matches!(task.state(), pb::TaskState::Assigned | pb::TaskState::Online)
            {
                self.want(Step::Stop, &key, task);
            }
        }
    }

    fn want(&mut self, step: Step, key: &TaskKey, task: &pb::Task) {
        mark::hit_if(self.wanted.len() >= limits::CALLS_INFLIGHT, Mark::CallsFull);
        // What is over the limit, heartbeats bring.
        if self.wanted.len() < limits::CALLS_INFLIGHT {
            let attempt = AttemptId { task: key.clone(), epoch: Epoch(task.epoch) };
            self.wanted.insert((step, attempt, ExecutorId(task.executor)));
        }
    }

    pub(crate) fn next_call(&mut self, state: &State) -> Option<OutgoingCall> {
        while self.open.len() < limits::CALLS_INFLIGHT {
            let (step, attempt, executor) = self.wanted.pop_first()?;
            let Some((address, call)) = self.compose(state, step, &attempt, executor) else {
                mark::hit(Mark::CallOutdated);
                continue;
            };
            let key = self.next;
            self.next = key.next();
            self.open.insert(key, (step, attempt, executor));
            return Some(OutgoingCall { key, address, call });
        }
        None
    }

    /// `None` if the attempt is not the task's any more.
    fn compose(
        &self,
        state: &State,
        step: Step,
        attempt: &AttemptId,
        executor: ExecutorId,
    ) -> Option<(String, pb::ExecutorCall)> {
        let record = state.executor(executor)?;
        let task = state.task(&attempt.task)?;
        let outdated = task.epoch != attempt.epoch.0 || task.executor != executor.0;
        if outdated && !bug::planted(Bug::JobCallsOutdated) {
            return None;
        }
        let header = Some(pb::CallHeader {
            cluster: self.cluster.0,
            term: self.term.0,
            executor: executor.0,
            incarnation: record.incarnation,
            index: state.index().0,
        });
        let key = Some(pb::AttemptKey {
            job: attempt.task.job.as_str().to_owned(),
            number: attempt.task.number,
            epoch: attempt.epoch.0,
        });
        let body = match step {
            Step::PreDispatch => {
                let specification = state.job(&attempt.task.job)?.specification.clone();
                Body::PreDispatch(pb::PreDispatchRequest { header, attempt: key, specification })
            }
            Step::Confirm => Body::Confirm(pb::ConfirmRequest { header, attempt: key }),
            Step::Stop => Body::Stop(pb::StopRequest { header, attempt: key }),
        };
        Some((record.address.clone(), pb::ExecutorCall { body: Some(body) }))
    }

    pub(crate) fn done(&mut self, key: CallKey, reply: Option<&pb::ExecutorCallReply>) -> Option<Command> {
        let Some((step, attempt, executor)) = self.open.remove(&key) else {
            mark::hit(Mark::CallOfEarlierReign);
            return None;
        };
        mark::hit_if(reply.is_none(), Mark::CallUnanswered);
        if bug::planted(Bug::JobMovedOnUnknown) && reply.is_none() && step != Step::Stop {
            return Some(Command::AttemptRefused { executor, attempt });
        }
        let any = bug::planted(Bug::JobMovedOnRefusal);
        match reply?.body.as_ref()? {
            executor_call_reply::Body::PreDispatch(_) if step == Step::PreDispatch => {
                self.wanted.insert((Step::Confirm, attempt, executor));
                None
            }
            // "Never started, never will": the one answer after which a task may move at once.
            executor_call_reply::Body::Refusal(refusal)
                if (refusal.code() == pb::RefusalCode::Stale || any) && step != Step::Stop =>
            {
                mark::hit(Mark::CallRefusedForGood);
                Some(Command::AttemptRefused { executor, attempt })
            }
            executor_call_reply::Body::Refusal(_) => {
                mark::hit(Mark::CallRefused);
                None
            }
            executor_call_reply::Body::PreDispatch(_)
            | executor_call_reply::Body::Confirm(_)
            | executor_call_reply::Body::Stop(_) => None,
        }
    }
}
