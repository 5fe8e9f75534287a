//! The state machine of one task: pending, assigned, online, and its ends.

use super::{backoff, is_ended, is_held, job};
use crate::{
    bug::{self, Bug},
    limits::{MESSAGE_BYTES, REFUSED_WAIT_MS},
    mark::{self, Mark},
    state::Turn,
    trace::TraceEvent,
    types::{AttemptId, ClusterTime, Epoch, ExecutorId, TaskKey},
};
use pb::{AttemptEnd, JobState, JobType, TaskState};
use quorate_proto::v1 as pb;

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// In which way.
    pub(crate) end: AttemptEnd,
    /// Exit code or signal.
    pub(crate) code: i32,
    /// What there is to say.
    pub(crate) message: String,
}

/// A new task, that may run from this time on.
pub(crate) fn create(turn: &mut Turn<'_>, key: &TaskKey) {
    let task = pb::Task {
        job: key.job.as_str().to_owned(),
        number: key.number,
        state: TaskState::Pending as i32,
        // So that tasks stand in the order in which they came, those that failed and waited among them.
        not_before_ms: turn.time.0,
        ..Default::default()
    };
    turn.put_task(key, task);
}

/// Gives a pending task to an executor, as a new attempt.
pub(crate) fn assign(turn: &mut Turn<'_>, key: &TaskKey, executor: ExecutorId) {
    let Some(mut task) = find(turn, key) else { return };
    mark::hit_if(task.failures > 0, Mark::BackoffWaited);
    mark::hit_if(task.moves > 0 && task.last_executor != executor.0, Mark::MovedPlaced);
    task.set_state(TaskState::Assigned);
    // The entry's index: so it grows even over the jobs that had this id before, and aliases none of their attempts.
    task.epoch = if bug::planted(Bug::JobEpochRepeats) { task.epoch + 1 } else { turn.index.0 };
    task.executor = executor.0;
    task.not_before_ms = 0;
    task.online_since_ms = 0;
    turn.trace.push(TraceEvent::TaskPlaced { attempt: attempt(key, &task), executor });
    turn.put_task(key, task);
}

/// An executor says that the attempt it holds runs.
pub(crate) fn online(turn: &mut Turn<'_>, key: &TaskKey) {
    let Some(mut task) = find(turn, key).filter(|task| task.state() == TaskState::Assigned) else { return };
    task.set_state(TaskState::Online);
    // 0 means that it has not been online.
    task.online_since_ms = turn.time.0.max(1);
    turn.trace.push(TraceEvent::TaskOnline { attempt: attempt(key, &task) });
    turn.put_task(key, task);
    job::running(turn, &key.job);
}

/// An executor says that the attempt it holds has ended.
pub(crate) fn ended(turn: &mut Turn<'_>, key: &TaskKey, end: End) {
    if matches!(end.end, AttemptEnd::Exited | AttemptEnd::Signaled) {
        mark::hit_when(
            || find(turn, key).is_some_and(|task| task.state() == TaskState::Assigned),
            Mark::EndedUnseen,
        );
        // It ran, even if it ended before its executor could say so.
        online(turn, key);
    }
    let Some(mut task) = find(turn, key).filter(|task| is_held(task.state())) else { return };
    let Some(job) = turn.records.tables().jobs.job(&key.job) else { return };
    let specification = job.specification.as_ref();
    let batch = specification.is_some_and(|it| it.r#type() == JobType::Batch);
    let retry = specification.and_then(|it| it.retry).unwrap_or_default();
    let state = if bug::planted(Bug::JobCanceledMoves) { JobState::Running } else { job.state() };
    let attempt = attempt(key, &task);
    let (way, code) = (end.end, end.code);
    let again_and_again = way == AttemptEnd::Stopped && gave_back_before(&task);
    let online_ms =
        if task.online_since_ms == 0 { 0 } else { turn.time.0.saturating_sub(task.online_since_ms) };
    release(&mut task, end);
    if state == JobState::Canceling {
        mark::hit_if(way == AttemptEnd::Exited && code == 0, Mark::CancelMeetsSuccess);
        task.set_state(TaskState::Canceled);
    } else if way == AttemptEnd::Exited && (code == 0 || bug::planted(Bug::JobSignalFinishes)) && batch {
        task.set_state(TaskState::Finished);
    } else if way == AttemptEnd::Stopped {
        mark::hit(Mark::GivenBack);
        // A task that was given back twice by one executor waits, so that the two do not play ball with it.
        let wait = if again_and_again { turn.time.plus_ms(REFUSED_WAIT_MS) } else { ClusterTime(0) };
        moved(&mut task, wait);
    } else {
        mark::hit_if(way == AttemptEnd::NotStarted, Mark::NotStarted);
        mark::hit_if(way == AttemptEnd::Signaled, Mark::EndedBySignal);
        mark::hit_if(way == AttemptEnd::Exited && code == 0, Mark::ServiceEndedWell);
        failed(&mut task, &retry, way == AttemptEnd::Exited && code == 0, online_ms, turn.time);
    }
    turn.trace.push(TraceEvent::TaskEnded { attempt, finished: task.state() == TaskState::Finished });
    let failed = (task.state() == TaskState::Failed).then(|| task.last_message.clone());
    turn.put_task(key, task);
    match failed {
        Some(message) => job::fail(turn, &key.job, format!("task {} failed: {message}", key.number)),
        None => job::settle(turn, &key.job),
    }
}

/// An executor says for good that it never started this attempt and never will.
pub(crate) fn refused(turn: &mut Turn<'_>, executor: ExecutorId, attempt_: &AttemptId) {
    let key = &attempt_.task;
    let Some(mut task) = find(turn, key) else { return };
    let holds = task.state() == TaskState::Assigned && task.executor == executor.0;
    if !holds || task.epoch != attempt_.epoch.0 {
        mark::hit(Mark::RefusedLate);
        return;
    }
    let canceling =
        turn.records.tables().jobs.job(&key.job).is_some_and(|job| job.state() == JobState::Canceling);
    mark::hit_if(!canceling, Mark::RefusedMoves);
    release(
        &mut task,
        End { end: AttemptEnd::NotStarted, code: 0, message: "its executor refused it".to_owned() },
    );
    if canceling {
        task.set_state(TaskState::Canceled);
    } else {
        moved(&mut task, turn.time.plus_ms(REFUSED_WAIT_MS));
    }
    turn.trace.push(TraceEvent::TaskEnded { attempt: attempt_.clone(), finished: false });
    turn.put_task(key, task);
    job::settle(turn, &key.job);
}

/// The executor that held this task is no more.
pub(crate) fn executor_gone(turn: &mut Turn<'_>, key: &TaskKey, lost: bool) {
    let Some(mut task) = find(turn, key).filter(|task| is_held(task.state())) else { return };
    let canceling =
        turn.records.tables().jobs.job(&key.job).is_some_and(|job| job.state() == JobState::Canceling);
    let (attempt, executor) = (attempt(key, &task), ExecutorId(task.executor));
    let message = if lost { "its executor was lost" } else { "its executor left" };
    release(&mut task, End { end: AttemptEnd::Lost, code: 0, message: message.to_owned() });
    if canceling {
        mark::hit(Mark::GoneCanceling);
        task.set_state(TaskState::Canceled);
        turn.trace.push(TraceEvent::TaskEnded { attempt, finished: false });
    } else {
        mark::hit_if(lost, Mark::MovedAfterLease);
        moved(&mut task, ClusterTime(0));
        turn.trace.push(TraceEvent::TaskMoved { attempt, executor });
    }
    turn.put_task(key, task);
    job::settle(turn, &key.job);
}

/// Ends a task whose job has no use for it any more. Its executor, if it has one, learns so from its desired set.
pub(crate) fn cancel(turn: &mut Turn<'_>, key: &TaskKey) {
    let Some(mut task) = find(turn, key).filter(|task| !is_ended(task.state())) else { return };
    if is_held(task.state()) {
        mark::hit(Mark::CanceledHeld);
        turn.trace.push(TraceEvent::TaskEnded { attempt: attempt(key, &task), finished: false });
        release(&mut task, End { end: AttemptEnd::Stopped, code: 0, message: "its job ended".to_owned() });
    }
    task.set_state(TaskState::Canceled);
    task.not_before_ms = 0;
    turn.put_task(key, task);
}

fn find(turn: &Turn<'_>, key: &TaskKey) -> Option<pb::Task> {
    turn.records.tables().jobs.task(key).cloned()
}

fn attempt(key: &TaskKey, task: &pb::Task) -> AttemptId {
    AttemptId { task: key.clone(), epoch: Epoch(task.epoch) }
}

// The executor holds the task no more; what is to become of the task is the caller's to say.
fn release(task: &mut pb::Task, end: End) {
    task.last_executor = task.executor;
    task.executor = 0;
    task.online_since_ms = 0;
    task.set_last_end(end.end);
    task.last_code = end.code;
    task.last_message = shortened(end.message);
}

fn moved(task: &mut pb::Task, not_before: ClusterTime) {
    task.set_state(TaskState::Pending);
    task.not_before_ms = not_before.0;
    task.moves = task.moves.saturating_add(1);
}

fn failed(task: &mut pb::Task, retry: &pb::RetryPolicy, well: bool, online_ms: u64, time: ClusterTime) {
    if online_ms != 0 && online_ms >= retry.reset_after_ms && !bug::planted(Bug::JobResetLost) {
        mark::hit_if(task.failures > 0, Mark::BackoffReset);
        task.failures = 0;
    }
    task.failures = task.failures.saturating_add(1);
    // A service's command that ends well is started again as often as it takes.
    if !well {
        task.failures_total = task.failures_total.saturating_add(1);
    }
    let most = retry.max_failures.saturating_sub(u32::from(bug::planted(Bug::JobFailsEarly)));
    let endless = most == 0 || bug::planted(Bug::JobFailuresUncounted);
    if !well && !endless && task.failures >= most {
        mark::hit(Mark::FailedForGood);
        task.set_state(TaskState::Failed);
        if task.last_message.is_empty() {
            task.last_message = describe(task.last_end(), task.last_code);
        }
    } else {
        mark::hit_when(
            || task.failures > 1 && backoff::wait_ms(retry, task.failures) == retry.backoff_max_ms,
            Mark::BackoffLongest,
        );
        task.set_state(TaskState::Pending);
        task.not_before_ms = time.plus_ms(backoff::wait_ms(retry, task.failures)).0;
        if bug::planted(Bug::JobBackoffNone) {
            task.not_before_ms = time.0;
        }
        if bug::planted(Bug::JobRetryLost) {
            task.not_before_ms = u64::MAX;
        }
    }
}

fn gave_back_before(task: &pb::Task) -> bool {
    task.last_end() == AttemptEnd::Stopped && task.last_executor == task.executor
}

fn describe(end: AttemptEnd, code: i32) -> String {
    match end {
        AttemptEnd::Exited => format!("exit code {code}"),
        AttemptEnd::Signaled => format!("signal {code}"),
        AttemptEnd::NotStarted => "it could not be started".to_owned(),
        AttemptEnd::Stopped => "it was stopped".to_owned(),
        AttemptEnd::Lost | AttemptEnd::Unspecified => "how it ended is not known".to_owned(),
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES {
        let mut end = MESSAGE_BYTES;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    message
}
