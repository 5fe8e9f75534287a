//! Jobs and their tasks.

pub(crate) mod backoff;
pub(crate) mod desired;
pub(crate) mod job;
pub(crate) mod placement;
pub(crate) mod report;
pub(crate) mod task;

use crate::types::{ClusterTime, JobId, TaskKey};
use imbl::{OrdMap, OrdSet};
use pb::{JobState, TaskState};
use placement::{Need, Placement};
use quorate_proto::v1 as pb;
use std::sync::Arc;

/// Jobs and tasks by id, and what follows from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    jobs: OrdMap<JobId, Arc<pb::Job>>,
    tasks: OrdMap<TaskKey, Arc<pb::Task>>,
    counts: OrdMap<JobId, pb::TaskCounts>,
    deadlines: OrdSet<(ClusterTime, JobId)>,
    /// Who holds what, who waits, and where there is room.
    pub(crate) placement: Placement,
}

impl Table {
    /// A job's record was put or deleted.
    pub(crate) fn job_changed(&mut self, id: &JobId, new: Option<Arc<pb::Job>>) {
        let deadline = |job: &Arc<pb::Job>| {
            (job.cancel_deadline_ms != 0).then(|| (ClusterTime(job.cancel_deadline_ms), id.clone()))
        };
        if let Some(gone) = self.jobs.get(id).and_then(deadline) {
            self.deadlines.remove(&gone);
        }
        if let Some(come) = new.as_ref().and_then(deadline) {
            self.deadlines.insert(come);
        }
        match new {
            Some(job) => self.jobs.insert(id.clone(), job),
            None => self.jobs.remove(id),
        };
    }

    /// A task's record was put or deleted.
    pub(crate) fn task_changed(&mut self, key: &TaskKey, new: Option<Arc<pb::Task>>) {
        let need = self.need(&key.job);
        let old = self.tasks.get(key).cloned();
        self.placement.task_changed(key, need, old.as_deref(), new.as_deref());
        let mut counts = self.counts.get(&key.job).copied().unwrap_or_default();
        if let Some(old) = &old {
            let count = counter(&mut counts, old.state());
            *count = count.saturating_sub(1);
        }
        if let Some(new) = &new {
            *counter(&mut counts, new.state()) += 1;
        }
        if counts == pb::TaskCounts::default() {
            self.counts.remove(&key.job);
        } else {
            self.counts.insert(key.job.clone(), counts);
        }
        match new {
            Some(task) => self.tasks.insert(key.clone(), task),
            None => self.tasks.remove(key),
        };
    }

    /// One job.
    pub(crate) fn job(&self, id: &JobId) -> Option<&pb::Job> {
        self.jobs.get(id).map(Arc::as_ref)
    }

    /// Jobs, in order of their ids.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = (&JobId, &pb::Job)> {
        self.jobs.iter().map(|(id, job)| (id, job.as_ref()))
    }

    /// Jobs after an id, in order; all without one.
    pub(crate) fn jobs_after(&self, id: Option<JobId>) -> impl Iterator<Item = (&JobId, &pb::Job)> {
        let from = id.map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
        self.jobs.range((from, core::ops::Bound::Unbounded)).map(|(id, job)| (id, job.as_ref()))
    }

    /// One task.
    pub(crate) fn task(&self, key: &TaskKey) -> Option<&pb::Task> {
        self.tasks.get(key).map(Arc::as_ref)
    }

    /// A job's tasks from a number on, in order.
    pub(crate) fn tasks(&self, job: &JobId, from: u32) -> impl Iterator<Item = (&TaskKey, &pb::Task)> {
        let key = |number| TaskKey { job: job.clone(), number };
        self.tasks.range(key(from)..=key(u32::MAX)).map(|(key, task)| (key, task.as_ref()))
    }

    /// How many of a job's tasks are in each state.
    pub(crate) fn counts(&self, job: &JobId) -> pb::TaskCounts {
        self.counts.get(job).copied().unwrap_or_default()
    }

    /// How many jobs and tasks there are.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.jobs.len(), self.tasks.len())
    }

    /// Deadlines of cancels, the soonest first.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = &(ClusterTime, JobId)> {
        self.deadlines.iter()
    }

    /// Whether a cancel's deadline is known as the record says.
    pub(crate) fn deadline_agrees(&self, id: &JobId, job: &pb::Job) -> bool {
        job.cancel_deadline_ms == 0
            || self.deadlines.contains(&(ClusterTime(job.cancel_deadline_ms), id.clone()))
    }

    /// What each task of a job takes, and its place in the queue.
    pub(crate) fn need(&self, job: &JobId) -> Need {
        let job = self.jobs.get(job);
        let specification = job.and_then(|job| job.specification.as_ref());
        Need {
            slots: specification.map_or(1, |it| it.slots_per_task.max(1)),
            created: job.map_or(0, |job| job.created_index),
        }
    }
}

/// Whether a job has ended for good.
pub(crate) const fn is_terminal(state: JobState) -> bool {
    matches!(state, JobState::Finished | JobState::Failed | JobState::Canceled)
}

/// Whether an executor holds a task that is in this state.
pub(crate) const fn is_held(state: TaskState) -> bool {
    matches!(state, TaskState::Assigned | TaskState::Online)
}

/// Whether a task in this state has ended for good.
pub(crate) const fn is_ended(state: TaskState) -> bool {
    matches!(state, TaskState::Finished | TaskState::Failed | TaskState::Canceled)
}

const fn counter(counts: &mut pb::TaskCounts, state: TaskState) -> &mut u32 {
    match state {
        TaskState::Unspecified | TaskState::Pending => &mut counts.pending,
        TaskState::Assigned => &mut counts.assigned,
        TaskState::Online => &mut counts.online,
        TaskState::Finished => &mut counts.finished,
        TaskState::Failed => &mut counts.failed,
        TaskState::Canceled => &mut counts.canceled,
    }
}
