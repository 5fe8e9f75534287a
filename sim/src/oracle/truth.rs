//! What really runs: rules over the processes of all machines, whatever masters and agents believe.

use super::{Ledger, Rule};
use quorate_core::types::{AttemptId, ExecutorId, Index, TaskKey, Time};
use std::collections::{BTreeMap, BTreeSet};

/// One process that runs.
#[derive(Clone, Debug)]
struct Runs {
    attempt: AttemptId,
    machine: u8,
    executor: Option<ExecutorId>,
    /// The entry that created its job.
    created: Index,
}

/// A process as its machine knows it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Unlike every other.
    pub serial: u64,
    /// Where.
    pub machine: u8,
    /// What its agent was registered as.
    pub executor: Option<ExecutorId>,
}

/// The rules' memory.
#[derive(Default)]
pub struct Truth {
    started: BTreeSet<AttemptId>,
    runs: BTreeMap<u64, Runs>,
    by_task: BTreeMap<(TaskKey, Index), BTreeSet<u64>>,
    frozen: BTreeSet<u8>,
}

impl Truth {
    /// An agent asks for an attempt to be started, with a deadline for its guard.
    pub fn start(&mut self, ledger: &mut Ledger, machine: u8, attempt: &AttemptId) {
        ledger.hold(Rule::StartedOnce, self.started.insert(attempt.clone()), || {
            format!("machine {machine} starts attempt {attempt}, which was started before")
        });
    }

    /// An agent tells its guards a deadline. `acknowledged`: until when its lease lasts by its own clock.
    #[allow(clippy::unused_self, reason = "it belongs to the rules of ground truth")]
    pub fn deadline(&self, ledger: &mut Ledger, machine: u8, deadline: Time, acknowledged: Time) {
        ledger.hold(Rule::DeadlineKept, deadline <= acknowledged, || {
            format!("machine {machine} lets its work run until {deadline:?}; its lease lasts until {acknowledged:?}")
        });
    }

    /// A process runs. `created`: the entry that created its job.
    pub fn up(&mut self, ledger: &mut Ledger, seen: Seen, attempt: &AttemptId, created: Index) {
        let Seen { serial, machine, executor } = seen;
        self.runs.insert(serial, Runs { attempt: attempt.clone(), machine, executor, created });
        let task = (attempt.task.clone(), created);
        self.by_task.entry(task.clone()).or_default().insert(serial);
        self.one(ledger, &task);
    }

    /// A process has ended, with all below it.
    pub fn down(&mut self, serial: u64) {
        if let Some(runs) = self.runs.remove(&serial)
            && let Some(all) = self.by_task.get_mut(&(runs.attempt.task, runs.created))
        {
            all.remove(&serial);
        }
    }

    fn one(&self, ledger: &mut Ledger, task: &(TaskKey, Index)) {
        let awake =
            |serial: &&u64| self.runs.get(serial).is_some_and(|runs| !self.frozen.contains(&runs.machine));
        let live: Vec<&u64> = self.by_task.get(task).into_iter().flatten().filter(awake).collect();
        ledger.hold(Rule::OneAttemptRuns, live.len() <= 1, || {
            let runs: Vec<String> = live
                .iter()
                .filter_map(|serial| self.runs.get(serial))
                .map(|runs| format!("{} on machine {}", runs.attempt, runs.machine))
                .collect();
            format!("task {} runs as {}", task.0, runs.join(" and as "))
        });
    }

    /// A machine stands still: its processes do not run.
    pub fn freeze(&mut self, machine: u8) {
        self.frozen.insert(machine);
    }

    /// A machine goes on; what its guards kill at once is no longer among its processes.
    pub fn thaw(&mut self, ledger: &mut Ledger, machine: u8) {
        self.frozen.remove(&machine);
        let here = self.runs.values().filter(|runs| runs.machine == machine);
        let tasks: BTreeSet<_> = here.map(|runs| (runs.attempt.task.clone(), runs.created)).collect();
        for task in tasks {
            self.one(ledger, &task);
        }
    }

    /// The cluster gave an executor up: nothing of it may run.
    pub fn departed(&self, ledger: &mut Ledger, executor: ExecutorId) {
        let left = self
            .runs
            .values()
            .find(|runs| runs.executor == Some(executor) && !self.frozen.contains(&runs.machine));
        ledger.hold(Rule::DeathLast, left.is_none(), || {
            format!(
                "executor {executor} is taken out of the cluster; it still runs {:?}",
                left.map(|runs| runs.attempt.to_string())
            )
        });
    }

    /// Processes that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::types::{Epoch, JobId};

    fn seen(serial: u64, machine: u8, executor: u64) -> Seen {
        Seen { serial, machine, executor: Some(ExecutorId(executor)) }
    }

    fn attempt(epoch: u64) -> AttemptId {
        AttemptId { task: TaskKey { job: JobId::parse("a").unwrap(), number: 0 }, epoch: Epoch(epoch) }
    }

    #[test]
    fn two_running_attempts_are_seen_and_frozen_ones_do_not_count() {
        let (mut truth, mut ledger) = (Truth::default(), Ledger::default());
        truth.up(&mut ledger, seen(1, 0, 1), &attempt(1), Index(1));
        truth.freeze(0);
        truth.departed(&mut ledger, ExecutorId(1));
        truth.up(&mut ledger, seen(2, 1, 2), &attempt(2), Index(1));
        assert_eq!(ledger.violation, None);
        truth.thaw(&mut ledger, 0);
        assert_eq!(ledger.violation.unwrap().rule, Rule::OneAttemptRuns);
    }

    #[test]
    fn work_that_outlives_its_executor_is_seen() {
        let (mut truth, mut ledger) = (Truth::default(), Ledger::default());
        truth.up(&mut ledger, seen(1, 0, 1), &attempt(1), Index(1));
        truth.departed(&mut ledger, ExecutorId(1));
        assert_eq!(ledger.violation.take().unwrap().rule, Rule::DeathLast);
        truth.down(1);
        truth.departed(&mut ledger, ExecutorId(1));
        truth.deadline(&mut ledger, 0, Time(5), Time(5));
        truth.start(&mut ledger, 0, &attempt(1));
        assert_eq!(ledger.violation, None);
        truth.start(&mut ledger, 1, &attempt(1));
        assert_eq!(ledger.violation.unwrap().rule, Rule::StartedOnce);
    }
}
