//! What really runs: rules over the processes of all machines, whatever masters and agents believe.

use super::{Ledger, Rule, jobs::Claim};
use pb::{executor_call::Body, executor_call_reply::Body as Answer};
use quorate_core::types::{AttemptId, CallKey, Epoch, ExecutorId, Index, TaskKey, Term, Time};
use quorate_proto::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};

/// One process that runs.
#[derive(Clone, Debug)]
struct Runs {
    attempt: AttemptId,
    machine: u8,
    executor: Option<ExecutorId>,
    /// The entry that created its job.
    created: Index,
    slots: u32,
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
    /// How many slots that has.
    pub slots: u32,
}

/// Job, number and epoch.
type Attempt = (String, u32, u64);

/// The rules' memory.
#[derive(Default)]
pub struct Truth {
    /// With their slots.
    started: BTreeMap<AttemptId, u32>,
    /// How attempts ended that ended by themselves.
    exits: BTreeMap<AttemptId, i32>,
    /// Calls that are not answered: their terms, and the registrations that they are for.
    calls: BTreeMap<(u8, CallKey), (Term, u64, Attempt)>,
    /// Attempts that an agent refused for good.
    refused: BTreeSet<Attempt>,
    /// The highest term of a call that each run of an agent took for each registration: another cluster has terms of its own.
    terms: BTreeMap<(u8, u64, u64), Term>,
    runs: BTreeMap<u64, Runs>,
    by_task: BTreeMap<(TaskKey, Index), BTreeSet<u64>>,
    frozen: BTreeSet<u8>,
    /// Attempts up to this epoch are of a cluster that was given up: its heir waits for them by time alone.
    orphans: Epoch,
}

impl Truth {
    /// An agent asks for an attempt to be started, with a deadline for its guard.
    pub fn start(&mut self, ledger: &mut Ledger, machine: u8, attempt: &AttemptId, slots: u32) {
        let fresh = self.started.insert(attempt.clone(), slots).is_none();
        ledger.hold(Rule::StartedOnce, fresh, || {
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
        let Seen { serial, machine, executor, slots: most } = seen;
        let slots = self.started.get(attempt).copied().unwrap_or(1);
        self.runs.insert(serial, Runs { attempt: attempt.clone(), machine, executor, created, slots });
        let here = self.runs.values().filter(|runs| executor.is_some() && runs.executor == executor);
        let taken: u32 = here.map(|runs| runs.slots).sum();
        ledger.hold(Rule::SlotsKept, taken <= most, || {
            format!("machine {machine} runs {attempt} and others of executor {executor:?} on {taken} slots of {most}")
        });
        let task = (attempt.task.clone(), created);
        self.by_task.entry(task.clone()).or_default().insert(serial);
        self.one(ledger, &task);
    }

    /// The command of an attempt ended by itself.
    pub fn exited(&mut self, attempt: &AttemptId, code: i32) {
        self.exits.insert(attempt.clone(), code);
    }

    /// A call arrived at an agent.
    pub fn called(&mut self, machine: u8, key: CallKey, call: &pb::ExecutorCall) {
        let (header, attempt) = match &call.body {
            Some(Body::PreDispatch(call)) => (call.header, call.attempt.clone()),
            Some(Body::Confirm(call)) => (call.header, call.attempt.clone()),
            Some(Body::Stop(call)) => (call.header, call.attempt.clone()),
            None => (None, None),
        };
        let attempt = attempt.unwrap_or_default();
        let term = Term(header.map_or(0, |header| header.term));
        let executor = header.map_or(0, |header| header.executor);
        self.calls.insert((machine, key), (term, executor, (attempt.job, attempt.number, attempt.epoch)));
    }

    /// An agent answered a call.
    pub fn call_answered(
        &mut self,
        ledger: &mut Ledger,
        (machine, run): (u8, u64),
        key: CallKey,
        reply: &pb::ExecutorCallReply,
    ) {
        let Some((term, executor, attempt)) = self.calls.remove(&(machine, key)) else { return };
        if let Some(Answer::Refusal(refusal)) = &reply.body {
            if refusal.code() == pb::RefusalCode::Stale {
                self.refused.insert(attempt);
            }
            return;
        }
        let newest = self.terms.entry((machine, run, executor)).or_insert(term);
        ledger.hold(Rule::StaleCall, *newest <= term, || {
            format!("machine {machine} takes a call of term {term}, and took one of term {newest} before")
        });
        *newest = term.max(*newest);
    }

    /// The log claims something of what really ran.
    pub fn claimed(&self, ledger: &mut Ledger, claim: &Claim) {
        match claim {
            Claim::Finished(index, attempt) => {
                let exit = self.exits.get(attempt).copied();
                ledger.hold(Rule::ResultTrue, exit == Some(0), || {
                    format!("entry {index} says that {attempt} finished; its exit code is {exit:?}")
                });
            }
            Claim::Refused(index, attempt) => {
                let key = (attempt.task.job.as_str().to_owned(), attempt.task.number, attempt.epoch.0);
                ledger.hold(Rule::RefusalTrue, self.refused.contains(&key), || {
                    format!("entry {index} says that {attempt} was refused for good, which no executor did")
                });
            }
            Claim::Quiet(index, job, created) => {
                let mut own = self.runs.values().filter(|runs| runs.attempt.epoch > self.orphans);
                let left = own.find(|runs| {
                    runs.attempt.task.job == *job
                        && runs.created == *created
                        && !self.frozen.contains(&runs.machine)
                });
                ledger.hold(Rule::CancelWaits, left.is_none(), || {
                    let (attempt, machine) = left.map_or((None, 0), |runs| (Some(&runs.attempt), runs.machine));
                    format!("entry {index} ends the canceled job {job}; {attempt:?} still runs on machine {machine}")
                });
            }
        }
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

    /// The cluster is given up that gave epochs up to this index; what it started may still come up.
    pub const fn orphan_all(&mut self, last: Index) {
        self.orphans = Epoch(last.0);
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
    use quorate_core::types::JobId;

    fn seen(serial: u64, machine: u8, executor: u64) -> Seen {
        Seen { serial, machine, executor: Some(ExecutorId(executor)), slots: 9 }
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
        truth.start(&mut ledger, 0, &attempt(1), 1);
        assert_eq!(ledger.violation, None);
        truth.start(&mut ledger, 1, &attempt(1), 1);
        assert_eq!(ledger.violation.unwrap().rule, Rule::StartedOnce);
    }
}
