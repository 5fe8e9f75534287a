//! Jobs, tasks and executors as they move along the committed log: the ES rules that need no ground truth.

use super::{Ledger, Rule, reference::refusal};
use quorate_core::{
    command::{Command, Proposal},
    state::{Applied, RecordKey, State},
    types::{ExecutorId, Index, JobId, TaskKey},
};
use quorate_proto::v1::{self as pb, JobState, TaskState};
use std::collections::BTreeMap;

/// From when to when an executor was registered.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The entry that registered it.
    pub from: Index,
    /// The entry that took it out.
    pub to: Option<Index>,
}

/// The rules' memory.
#[derive(Default)]
pub struct Jobs {
    /// The state of each job from each index on; `None`: deleted.
    pub history: BTreeMap<String, Vec<(Index, Option<JobState>)>>,
    /// Every executor that ever was.
    pub executors: BTreeMap<ExecutorId, Registered>,
    /// Executors that have gone since this was last taken.
    pub departed: Vec<ExecutorId>,
    tasks: BTreeMap<TaskKey, pb::Task>,
}

/// Whether a job in this state has ended.
#[must_use]
pub const fn job_ended(state: JobState) -> bool {
    matches!(state, JobState::Finished | JobState::Failed | JobState::Canceled)
}

const fn task_ended(state: TaskState) -> bool {
    matches!(state, TaskState::Finished | TaskState::Failed | TaskState::Canceled)
}

const fn job_edge(from: JobState, to: JobState) -> bool {
    use JobState::{Canceling, Created, Running};
    match (from, to) {
        (Created, Running | Canceling) | (Running, Canceling) => true,
        (Created | Running | Canceling, to) if job_ended(to) => true,
        (from, to) => from as i32 == to as i32,
    }
}

impl Jobs {
    /// A job's state at an index.
    #[must_use]
    pub fn job_at(&self, id: &str, index: Index) -> Option<JobState> {
        let history = self.history.get(id)?;
        let place = history.partition_point(|(from, _)| *from <= index);
        history.get(place.checked_sub(1)?)?.1
    }

    /// The entry that created the job of this id that was there at an index: tells jobs of one id apart.
    #[must_use]
    pub fn created(&self, id: &str, index: Index) -> Index {
        let history = self.history.get(id).map_or(&[][..], Vec::as_slice);
        let before = &history[..history.partition_point(|(from, _)| *from <= index)];
        let gone = before.iter().rposition(|(_, state)| state.is_none()).map_or(0, |place| place + 1);
        before.get(gone).map_or(Index(0), |(from, _)| *from)
    }

    fn job_now(&self, id: &str) -> Option<JobState> {
        self.history.get(id)?.last()?.1
    }

    /// Whether an executor was registered at an index.
    #[must_use]
    pub fn executor_at(&self, id: ExecutorId, index: Index) -> bool {
        let within = |life: &Registered| life.from <= index && life.to.is_none_or(|to| index < to);
        self.executors.get(&id).is_some_and(within)
    }

    /// An entry was carried out. `took_effect`: it was not refused, and no repetition.
    pub fn applied(
        &mut self,
        ledger: &mut Ledger,
        state: &State,
        index: Index,
        proposal: &Proposal,
        applied: &Applied,
        took_effect: bool,
    ) {
        if took_effect && let Command::SubmitJob { id: Some(id), .. } = &proposal.command {
            let before = self.job_now(id.as_str());
            ledger.hold(Rule::OneCreate, before.is_none(), || {
                format!("entry {index} creates job {id}, which is there and {before:?}")
            });
        }
        // Jobs after their tasks: an ended job must have no task left.
        for key in &applied.touched {
            match key {
                RecordKey::Executor(id) => self.executor(ledger, state, index, *id),
                RecordKey::Task(key) => self.task(ledger, state, index, key),
                RecordKey::Job(_) | RecordKey::Lease(_) => {}
            }
        }
        for key in &applied.touched {
            if let RecordKey::Job(id) = key {
                self.job(ledger, state, index, proposal, id);
            }
        }
        if took_effect
            && refusal(&applied.reply).is_none()
            && let Command::CancelJob { id, .. } = &proposal.command
        {
            let after = self.job_now(id.as_str());
            let holds = after.is_some_and(|after| after == JobState::Canceling || job_ended(after));
            ledger.hold(Rule::CancelKept, holds, || {
                format!("entry {index} cancels job {id}, which is then {after:?}")
            });
        }
    }

    fn executor(&mut self, ledger: &mut Ledger, state: &State, index: Index, id: ExecutorId) {
        let there = state.executor(id).is_some();
        match self.executors.get_mut(&id) {
            None => {
                let last = self.executors.keys().next_back().copied();
                ledger.hold(Rule::ExecutorFresh, there && last.is_none_or(|last| last < id), || {
                    format!("entry {index} registers executor {id}; the last one was {last:?}")
                });
                self.executors.insert(id, Registered { from: index, to: None });
            }
            Some(life) => {
                ledger.hold(Rule::ExecutorFresh, !there || life.to.is_none(), || {
                    format!("entry {index} brings executor {id} back, which went at {:?}", life.to)
                });
                if !there && life.to.is_none() {
                    life.to = Some(index);
                    self.departed.push(id);
                }
            }
        }
    }

    fn task(&mut self, ledger: &mut Ledger, state: &State, index: Index, key: &TaskKey) {
        let Some(new) = state.task(key) else {
            self.tasks.remove(key);
            return;
        };
        let Some(old) = self.tasks.insert(key.clone(), new.clone()) else {
            let fresh = new.epoch == 0 || new.state() == TaskState::Assigned;
            ledger.hold(Rule::TaskEdges, fresh, || format!("entry {index} makes task {key}: {new:?}"));
            return;
        };
        let told = || format!("entry {index} moves task {key} from {} to {}", brief(&old), brief(new));
        let (from, to) = (old.state(), new.state());
        let same_epoch = new.epoch == old.epoch;
        if task_ended(from) {
            ledger.hold(Rule::TerminalStays, from == to && same_epoch, told);
            return;
        }
        let edge = match to {
            TaskState::Assigned => {
                (same_epoch && from == to && old.executor == new.executor) || new.epoch > old.epoch
            }
            TaskState::Online => {
                same_epoch
                    && matches!(from, TaskState::Assigned | TaskState::Online)
                    && old.executor == new.executor
            }
            TaskState::Pending | TaskState::Failed | TaskState::Canceled => same_epoch,
            TaskState::Finished => same_epoch && from != TaskState::Pending,
            TaskState::Unspecified => false,
        };
        ledger.hold(Rule::TaskEdges, edge, told);
        if new.epoch != old.epoch {
            let job = self.job_now(&new.job);
            let open = matches!(job, Some(JobState::Created | JobState::Running));
            ledger.hold(Rule::TerminalStays, open, || format!("{}; its job is {job:?}", told()));
            let there = state.executor(ExecutorId(new.executor)).is_some();
            ledger.hold(Rule::TaskEdges, there, || format!("{}; there is no such executor", told()));
            if from == TaskState::Pending {
                ledger.hold(Rule::Backoff, state.time().0 >= old.not_before_ms, || {
                    format!(
                        "{} at cluster time {}, and was to wait until {}",
                        told(),
                        state.time(),
                        old.not_before_ms
                    )
                });
            }
        }
    }

    fn job(&mut self, ledger: &mut Ledger, state: &State, index: Index, proposal: &Proposal, id: &JobId) {
        let old = self.job_now(id.as_str());
        let record = state.job(id);
        let new = record.map(pb::Job::state);
        if let (Some(old), Some(new)) = (old, new) {
            let rule = if job_ended(old) { Rule::TerminalStays } else { Rule::JobForward };
            ledger.hold(rule, job_edge(old, new), || {
                format!("entry {index} moves job {id} from {old:?} to {new:?}")
            });
        }
        if let (Some(old), None) = (old, new) {
            let asked = matches!(&proposal.command, Command::DeleteJob { id: asked } if asked == id);
            ledger.hold(Rule::DeleteTerminal, asked && job_ended(old), || {
                format!("entry {index}, {:?}, removes job {id}, which was {old:?}", proposal.command)
            });
        }
        if old.is_none() && new.is_some() {
            let asked = matches!(proposal.command, Command::SubmitJob { .. });
            ledger.hold(Rule::OneCreate, asked, || {
                format!("entry {index}, {:?}, makes job {id}", proposal.command)
            });
        }
        if let Some(record) = record.filter(|record| job_ended(record.state())) {
            let tasks = record.specification.as_ref().map_or(0, |specification| specification.tasks.max(1));
            for number in 0..tasks {
                let task = state.task(&TaskKey { job: id.clone(), number });
                let holds = task.is_some_and(|task| task_ended(task.state()));
                ledger.hold(Rule::TaskEdges, holds, || {
                    format!("entry {index}: job {id} is {:?}, its task {number} is {task:?}", record.state())
                });
            }
        }
        if old != new {
            self.history.entry(id.as_str().to_owned()).or_default().push((index, new));
        }
    }
}

fn brief(task: &pb::Task) -> String {
    format!("{:?}@{} on {}", task.state(), task.epoch, task.executor)
}
