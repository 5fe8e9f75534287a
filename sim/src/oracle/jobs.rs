//! Jobs, tasks and executors as they move along the committed log: the ES rules that need no ground truth.

use super::{Ledger, Rule, reference::refusal};
use quorate_core::{
    command::{Command, Proposal},
    contract::LogPosition,
    limits::REFUSED_WAIT_MS,
    state::{Applied, RecordKey, State},
    types::{AttemptId, Epoch, ExecutorId, Index, JobId, SessionId, TaskKey, Term},
};
use quorate_proto::v1::{self as pb, AttemptEnd, JobState, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// Within so much of a leader's time, milliseconds, it forces a cancel whose time is over: while it has too much uncommitted, it
/// puts it off until something is applied, or for a heartbeat.
const FORCED_WITHIN_MS: u64 = 3_000;

/// From when to when an executor was registered.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The run of its agent.
    pub incarnation: u64,
    /// The entry that registered it.
    pub from: Index,
    /// The entry that took it out.
    pub to: Option<Index>,
}

/// What the log says of the world, to be compared with it.
#[derive(Clone, Debug)]
pub enum Claim {
    /// An attempt ran, and ended well by itself.
    Finished(Index, AttemptId),
    /// An executor refused an attempt for good.
    Refused(Index, AttemptId),
    /// No process of a job runs any more. The entry that created the job tells it from others of its id.
    Quiet(Index, JobId, Index),
}

/// A leader that proposed nothing for so long, milliseconds, may not have run: it is given its time anew.
const SILENT_MS: u64 = 1_000;

/// Bounds of uncommitted bytes from the first to the second let a client's small entry in where that of several cancels does
/// not fit. Below, one entry at a time is on its way, and errands come first.
pub const CROWDED_BYTES: core::ops::Range<usize> = 2..10_000;

/// A cancel that is under way.
#[derive(Clone, Copy, Debug)]
struct Cancel {
    /// Until when it may take.
    due: u64,
    /// Up to here the log was there before its leader knew of the cancel.
    known_at: Index,
    /// Since when its leader could have forced it.
    since: u64,
}

/// The newest reign.
#[derive(Clone, Copy, Debug, Default)]
struct Reign {
    term: Term,
    /// Up to here the log was there before its leader did what is due, or while it waited for what it had proposed before.
    busy_until: Index,
}

/// The rules' memory.
#[derive(Default)]
pub struct Jobs {
    /// What was claimed since this was last taken.
    pub claims: Vec<Claim>,
    /// The state of each job from each index on; `None`: deleted.
    pub history: BTreeMap<String, Vec<(Index, Option<JobState>)>>,
    /// Every executor that ever was.
    pub executors: BTreeMap<ExecutorId, Registered>,
    /// Executors that have gone since this was last taken.
    pub departed: Vec<ExecutorId>,
    tasks: BTreeMap<TaskKey, pb::Task>,
    /// Requests that were refused because of the job that there was.
    told: BTreeSet<(SessionId, u64)>,
    cancels: BTreeMap<JobId, Cancel>,
    reign: Reign,
    /// The time of the newest entry.
    time: u64,
    /// Where the log ended of the node that committed the newest entry first. `None`: it is not known, or leaders may be
    /// [crowded](CROWDED_BYTES); then what they do in time is not judged.
    pub ends_at: Option<Index>,
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

    /// A new cluster goes on with this state: its executors count as lost, and what they had waits.
    pub fn inherit(&mut self, state: &State) {
        let index = state.index();
        for (id, life) in &mut self.executors {
            if life.to.is_none() && state.executor(*id).is_none() {
                life.to = Some(index);
            }
        }
        self.tasks.retain(|key, task| state.task(key).map(|now| task.clone_from(now)).is_some());
        let now = |id: &str| JobId::parse(id).and_then(|id| state.job(&id)).map(pb::Job::state);
        for (id, history) in &mut self.history {
            let now = now(id);
            if history.last().is_some_and(|(_, last)| *last != now) {
                history.push((index, now));
            }
        }
        // A cancel that waited only for what was lost is over.
        let canceling = |id: &JobId| state.job(id).is_some_and(|job| job.state() == JobState::Canceling);
        self.cancels.retain(|id, cancel| {
            cancel.since = state.time().0;
            canceling(id)
        });
        (self.reign, self.ends_at, self.time) = (Reign::default(), None, state.time().0);
        self.claims.clear();
        self.departed.clear();
    }

    /// An entry was carried out. `took_effect`: it was not refused, and no repetition.
    pub fn applied(
        &mut self,
        ledger: &mut Ledger,
        state: &State,
        at: LogPosition,
        proposal: &Proposal,
        applied: &Applied,
        took_effect: bool,
    ) {
        let index = at.index;
        if took_effect && let Command::SubmitJob { id: Some(id), .. } = &proposal.command {
            let before = self.job_now(id.as_str());
            ledger.hold(Rule::OneCreate, before.is_none(), || {
                format!("entry {index} creates job {id}, which is there and {before:?}")
            });
        }
        if let Command::SubmitJob { id: Some(id), .. } = &proposal.command
            && let Some(refusal) = refusal(&applied.reply)
            && refusal.code() == pb::RefusalCode::AlreadyExists
            // A repetition is told what the first one was told.
            && proposal.request.is_some_and(|id| self.told.insert((id.session, id.sequence)))
        {
            let before = self.job_now(id.as_str());
            ledger.hold(Rule::OneCreate, before.is_some(), || {
                format!("entry {index} refuses to create job {id}: {refusal:?}; it is not there")
            });
        }
        if let Command::DeleteJob { id } = &proposal.command
            && let Some(refusal) = refusal(&applied.reply)
            && proposal.request.is_some_and(|id| self.told.insert((id.session, id.sequence)))
        {
            let before = self.job_now(id.as_str());
            let holds = match refusal.code() {
                pb::RefusalCode::NotFound => before.is_none(),
                pb::RefusalCode::Precondition => before.is_some_and(|state| !job_ended(state)),
                _ => true,
            };
            ledger.hold(Rule::DeleteTaken, holds, || {
                format!("entry {index} refuses to delete job {id}: {refusal:?}; it is {before:?}")
            });
        }
        if let Command::AttemptRefused { attempt, .. } = &proposal.command
            && !applied.touched.is_empty()
        {
            self.claims.push(Claim::Refused(index, attempt.clone()));
        }
        // Jobs after their tasks: an ended job must have no task left.
        for key in &applied.touched {
            match key {
                RecordKey::Executor(id) => self.executor(ledger, state, index, *id),
                RecordKey::Task(key) => self.task(ledger, state, index, key),
                RecordKey::Job(_)
                | RecordKey::Lease(_)
                | RecordKey::Level
                | RecordKey::Membership
                | RecordKey::Alarm(_) => {}
            }
        }
        for key in &applied.touched {
            if let RecordKey::Job(id) = key {
                self.job(ledger, state, index, proposal, id);
            }
        }
        if took_effect && refusal(&applied.reply).is_none() {
            self.accepted(ledger, state, index, &proposal.command);
        }
        self.overdue(ledger, state.time().0, at, &proposal.command);
    }

    /// The first entry of a term is committed: its leader does what is due from now on.
    pub const fn reign_begins(&mut self, term: Term) {
        let Some(busy_until) = self.ends_at else { return };
        self.reign = Reign { term, busy_until };
    }

    /// An entry was carried out: what its leader should have forced by then.
    fn overdue(&mut self, ledger: &mut Ledger, now: u64, at: LogPosition, command: &Command) {
        let Some(ends_at) = self.ends_at else { return };
        let reign = &mut self.reign;
        if matches!(command, Command::ForceCancel { .. }) {
            // One at a time is on its way.
            reign.busy_until = reign.busy_until.max(ends_at);
        }
        let silent = now.saturating_sub(core::mem::replace(&mut self.time, now)) > SILENT_MS;
        for (id, cancel) in &mut self.cancels {
            if silent || at.term != reign.term || at.index <= reign.busy_until.max(cancel.known_at) {
                cancel.since = now;
            }
            let until = cancel.since.max(cancel.due).saturating_add(FORCED_WITHIN_MS);
            ledger.hold(Rule::CancelForced, now <= until, || {
                let (index, due) = (at.index, cancel.due);
                format!("at entry {index}, the cancel of job {id} has had time until {due}; it is {now}")
            });
        }
    }

    /// What a command that was accepted must have done.
    fn accepted(&mut self, ledger: &mut Ledger, state: &State, index: Index, command: &Command) {
        if let Command::RemoveExecutor { executor } = command {
            let leaves = state.executor(*executor).is_none_or(|executor| executor.removing);
            ledger
                .hold(Rule::Removing, leaves, || format!("entry {index} does not mark executor {executor}"));
        }
        if let Command::RegisterExecutor { request, .. } = command {
            let ended = ExecutorId(request.ended_executor);
            let former = self.executors.get(&ended);
            let goes = former.is_some_and(|life| life.to == Some(index));
            let named = former.is_some_and(|life| life.incarnation == request.ended_incarnation);
            let holds = if named { state.executor(ended).is_none() } else { !goes };
            ledger.hold(Rule::Replaced, holds, || {
                format!(
                    "entry {index} registers in place of executor {ended} of incarnation {}; it is {:?}",
                    request.ended_incarnation,
                    state.executor(ended)
                )
            });
        }
        if let Command::CancelJob { id, .. } = command {
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
                let incarnation = state.executor(id).map_or(0, |executor| executor.incarnation);
                self.executors.insert(id, Registered { incarnation, from: index, to: None });
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
        if to == TaskState::Finished && from != to {
            let attempt = AttemptId { task: key.clone(), epoch: Epoch(new.epoch) };
            self.claims.push(Claim::Finished(index, attempt));
        }
        Self::tries(ledger, state, index, key, (&old, new));
        let given_back = |task: &pb::Task| task.last_end() == AttemptEnd::Stopped;
        if old.executor != 0 && to == TaskState::Pending {
            let twice = given_back(new) && given_back(&old) && old.last_executor == old.executor;
            let waits = new.not_before_ms >= state.time().plus_ms(REFUSED_WAIT_MS).0;
            ledger.hold(Rule::GivenBack, waits || !twice, || {
                format!("{}; it waits until {}, at {}", told(), new.not_before_ms, state.time())
            });
        }
        if new.epoch != old.epoch {
            let job = self.job_now(&new.job);
            let open = matches!(job, Some(JobState::Created | JobState::Running));
            ledger.hold(Rule::TerminalStays, open, || format!("{}; its job is {job:?}", told()));
            let executor = state.executor(ExecutorId(new.executor));
            ledger.hold(Rule::TaskEdges, executor.is_some(), || {
                format!("{}; there is no such executor", told())
            });
            let leaves = executor.is_some_and(|executor| executor.removing);
            ledger.hold(Rule::Removing, !leaves, || format!("{}; that executor is to leave", told()));
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

    /// A task that failed waits as its job says, or has failed for good.
    fn tries(
        ledger: &mut Ledger,
        state: &State,
        index: Index,
        key: &TaskKey,
        (old, new): (&pb::Task, &pb::Task),
    ) {
        if new.failures_total <= old.failures_total {
            return;
        }
        let job = state.job(&key.job).and_then(|job| job.specification.as_ref());
        let retry = job.and_then(|job| job.retry).unwrap_or_default();
        let online_ms = match old.online_since_ms {
            0 => 0,
            since => state.time().0.saturating_sub(since),
        };
        // Who ran long begins anew.
        let before = if online_ms != 0 && online_ms >= retry.reset_after_ms { 0 } else { old.failures };
        ledger.hold(Rule::Tries, new.failures == before + 1, || {
            let counted = new.failures;
            format!("entry {index}: task {key} failed after {online_ms} ms and counts {counted} failures; before, {before}")
        });
        let most = retry.max_failures;
        let last = most != 0 && new.failures >= most;
        ledger.hold(Rule::Tries, last == (new.state() == TaskState::Failed), || {
            format!("entry {index}: task {key} is {}, with {} of {most} failures", brief(new), new.failures)
        });
        if new.state() == TaskState::Pending {
            let mut wait = retry.backoff_initial_ms;
            for _ in 1..new.failures {
                wait =
                    (wait * u64::from(retry.backoff_growth_percent.max(100)) / 100).min(retry.backoff_max_ms);
            }
            let least = state.time().0.saturating_add(wait.min(retry.backoff_max_ms));
            ledger.hold(Rule::Backoff, new.not_before_ms >= least, || {
                format!(
                    "entry {index}: task {key} failed {} times and waits until {}; it is to wait until {least}",
                    new.failures, new.not_before_ms
                )
            });
        }
    }

    /// A canceled job has ended, before its time was over or not.
    fn canceled(
        &mut self,
        ledger: &mut Ledger,
        state: &State,
        index: Index,
        proposal: &Proposal,
        id: &JobId,
    ) {
        if !matches!(proposal.command, Command::ForceCancel { .. }) {
            let created = state.job(id).map_or(0, |job| job.created_index);
            return self.claims.push(Claim::Quiet(index, id.clone(), Index(created)));
        }
        let due = self.cancels.get(id).map_or(0, |cancel| cancel.due);
        ledger.hold(Rule::CancelWaits, state.time().0 >= due, || {
            format!(
                "entry {index} forces the cancel of job {id} at {}; it has time until {due}",
                state.time()
            )
        });
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
        if old != new && new == Some(JobState::Canceled) {
            self.canceled(ledger, state, index, proposal, id);
        }
        match record {
            Some(job) if job.state() == JobState::Canceling => {
                let (due, known_at) = (job.cancel_deadline_ms, self.ends_at.unwrap_or_default());
                let new = Cancel { due, known_at, since: state.time().0 };
                if self.cancels.get(id).is_none_or(|cancel| cancel.due != due) {
                    self.cancels.insert(id.clone(), new);
                }
            }
            _ => _ = self.cancels.remove(id),
        }
        if old != new {
            self.history.entry(id.as_str().to_owned()).or_default().push((index, new));
        }
    }
}

fn brief(task: &pb::Task) -> String {
    format!("{:?}@{} on {}", task.state(), task.epoch, task.executor)
}
