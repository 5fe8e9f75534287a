//! The state machine of a job: created, running, and its ends.

use super::{is_ended, is_terminal, placement, task};
use crate::{
    bug::{self, Bug},
    limits::{EXPIRIES, JOB_ID_TRIES, JOBS, TASKS},
    mark::{self, Mark},
    state::{
        Outcome, Turn,
        records::{RecordKey, Tables},
        refuse::{already_exists, exhausted, not_found, precondition},
    },
    trace::TraceEvent,
    types::{ClusterTime, Index, JobId, TaskKey},
};
use pb::{JobState, client_reply::Body};
use quorate_proto::v1 as pb;

/// Makes a job and its tasks, and places what fits.
pub(crate) fn submit(turn: &mut Turn<'_>, id: Option<JobId>, specification: pb::JobSpecification) -> Outcome {
    let (jobs, tasks) = turn.records.tables().jobs.sizes();
    if jobs >= JOBS {
        return Err(exhausted(format!("{JOBS} jobs are kept: that is the limit; delete ended ones")));
    }
    if tasks.saturating_add(specification.tasks as usize) > TASKS {
        return Err(exhausted(format!(
            "{tasks} tasks are kept, and {TASKS} is the limit; delete ended jobs"
        )));
    }
    let id = match id {
        Some(id) if turn.records.tables().jobs.job(&id).is_some() && !bug::planted(Bug::JobCreatedTwice) => {
            mark::hit(Mark::JobExists);
            return Err(already_exists(format!(
                "job {id}: there is one of this id; choose another, or delete it"
            )));
        }
        Some(id) => id,
        None => free_id(turn)?,
    };
    let count = specification.tasks;
    let job = pb::Job {
        id: id.as_str().to_owned(),
        specification: Some(specification),
        state: JobState::Created as i32,
        created_wall_ms: turn.wall_ms,
        created_index: turn.index.0,
        ..Default::default()
    };
    turn.put_job(&id, job);
    for number in 0..count {
        task::create(turn, &TaskKey { job: id.clone(), number });
    }
    turn.trace.push(TraceEvent::JobSubmitted { job: id.clone() });
    placement::run(turn);
    reply(turn, &id)
}

/// Asks for a job to be stopped. Of a job that has ended, the answer is the job as it is.
pub(crate) fn cancel(turn: &mut Turn<'_>, id: &JobId, timeout_ms: u64) -> Outcome {
    let mut job = find(turn, id)?;
    if is_terminal(job.state()) && !bug::planted(Bug::JobCancelRevives) {
        mark::hit_if(job.state() == JobState::Finished, Mark::CancelMeetsFinished);
        mark::hit_if(job.state() == JobState::Failed, Mark::CancelMeetsFailed);
        return reply(turn, id);
    }
    let deadline = turn.time.plus_ms(timeout_ms).0.max(1);
    if job.state() == JobState::Canceling {
        mark::hit_if(deadline >= job.cancel_deadline_ms, Mark::CancelLater);
        if deadline < job.cancel_deadline_ms {
            mark::hit(Mark::CancelSooner);
            job.cancel_deadline_ms = deadline;
            turn.put_job(id, job);
        }
        return reply(turn, id);
    }
    job.set_state(JobState::Canceling);
    job.cancel_deadline_ms = deadline;
    turn.put_job(id, job);
    cancel_tasks(turn, id, |task| task.executor == 0 || bug::planted(Bug::JobCancelAtOnce));
    settle(turn, id);
    placement::run(turn);
    reply(turn, id)
}

/// Ends those of these jobs whose cancel has taken too long, with whatever still runs of them.
pub(crate) fn force(turn: &mut Turn<'_>, ids: &[JobId]) {
    for id in ids.iter().take(EXPIRIES) {
        let Ok(job) = find(turn, id) else { continue };
        let due = ClusterTime(job.cancel_deadline_ms) <= turn.time || bug::planted(Bug::JobForcedEarly);
        mark::hit_if(job.state() != JobState::Canceling || !due, Mark::ForceLate);
        if job.state() == JobState::Canceling && due {
            cancel_tasks(turn, id, |_| true);
            settle(turn, id);
        }
    }
    placement::run(turn);
}

/// Takes an ended job out, with its tasks.
pub(crate) fn delete(turn: &mut Turn<'_>, id: &JobId) -> Outcome {
    let job = find(turn, id)?;
    let ended = is_terminal(job.state()) && !bug::planted(Bug::JobNeverDeleted);
    if !ended && !bug::planted(Bug::JobDeletedRunning) {
        mark::hit(Mark::DeleteTooSoon);
        let state = job.state().as_str_name();
        return Err(precondition(format!(
            "job {id} is in state {state}: only an ended job can be deleted; cancel it"
        )));
    }
    let tasks: Vec<_> = turn.records.tables().jobs.tasks(id, 0).map(|(key, _)| key.clone()).collect();
    for key in tasks {
        if !bug::planted(Bug::JobTasksLeft) {
            turn.delete(&RecordKey::Task(key));
        }
    }
    turn.delete(&RecordKey::Job(id.clone()));
    Ok(Body::DeleteJob(pb::DeleteJobReply {}))
}

/// A task of it has been online.
pub(crate) fn running(turn: &mut Turn<'_>, id: &JobId) {
    if let Ok(mut job) = find(turn, id)
        && job.state() == JobState::Created
    {
        job.set_state(JobState::Running);
        turn.put_job(id, job);
    }
}

/// A task failed as often as it may: the job has failed, and what else runs of it has no use.
pub(crate) fn fail(turn: &mut Turn<'_>, id: &JobId, message: String) {
    mark::hit_when(
        || turn.records.tables().jobs.tasks(id, 0).any(|(_, task)| super::is_held(task.state())),
        Mark::JobFailsWhole,
    );
    cancel_tasks(turn, id, |_| true);
    end(turn, id, JobState::Failed, message);
}

/// A task changed: perhaps it was the last one.
pub(crate) fn settle(turn: &mut Turn<'_>, id: &JobId) {
    let Some(job) = turn.records.tables().jobs.job(id) else { return };
    let counts = turn.records.tables().jobs.counts(id);
    if counts.pending + counts.assigned + counts.online > 0 {
        return;
    }
    match job.state() {
        JobState::Canceling => {
            mark::hit_if(counts.finished > 0, Mark::CancelWhole);
            end(turn, id, JobState::Canceled, String::new());
        }
        JobState::Created | JobState::Running if counts.failed + counts.canceled == 0 => {
            end(turn, id, JobState::Finished, String::new());
        }
        JobState::Unspecified
        | JobState::Created
        | JobState::Running
        | JobState::Finished
        | JobState::Failed
        | JobState::Canceled => {}
    }
}

/// A job as clients see it, without its tasks.
pub(crate) fn status(tables: &Tables, id: &JobId, index: Index) -> Option<pb::JobStatus> {
    let job = tables.jobs.job(id)?.clone();
    let counts = Some(tables.jobs.counts(id));
    Some(pb::JobStatus { job: Some(job), counts, index: index.0, ..Default::default() })
}

/// There is no such job.
pub(crate) fn missing(id: impl core::fmt::Display) -> pb::Refusal {
    mark::hit(Mark::JobUnknown);
    not_found(format!("job {id}: there is none of this id"))
}

fn reply(turn: &Turn<'_>, id: &JobId) -> Outcome {
    status(turn.records.tables(), id, turn.index).map(Body::Job).ok_or_else(|| missing(id))
}

fn find(turn: &Turn<'_>, id: &JobId) -> Result<pb::Job, pb::Refusal> {
    turn.records.tables().jobs.job(id).cloned().ok_or_else(|| missing(id))
}

fn end(turn: &mut Turn<'_>, id: &JobId, state: JobState, message: String) {
    let Ok(mut job) = find(turn, id) else { return };
    job.set_state(state);
    job.ended_wall_ms = turn.wall_ms;
    job.cancel_deadline_ms = 0;
    job.message = message;
    turn.put_job(id, job);
    turn.trace.push(TraceEvent::JobEnded { job: id.clone(), state });
}

fn cancel_tasks(turn: &mut Turn<'_>, id: &JobId, which: impl Fn(&pb::Task) -> bool) {
    let open = |task: &pb::Task| !is_ended(task.state()) && which(task);
    let tasks = turn.records.tables().jobs.tasks(id, 0).filter(|(_, task)| open(task));
    let keys: Vec<_> = tasks.map(|(key, _)| key.clone()).collect();
    for key in keys {
        task::cancel(turn, &key);
    }
}

// Made of the entry's index, so that every replica makes the same.
fn free_id(turn: &Turn<'_>) -> Result<JobId, pb::Refusal> {
    let index = turn.index;
    let names = core::iter::once(format!("job-{index}"))
        .chain((2..=JOB_ID_TRIES).map(|n| format!("job-{index}-{n}")));
    let mut ids = names.filter_map(|name| JobId::parse(&name));
    mark::hit_when(
        || {
            JobId::parse(&format!("job-{index}"))
                .is_some_and(|id| turn.records.tables().jobs.job(&id).is_some())
        },
        Mark::JobIdTaken,
    );
    ids.find(|id| turn.records.tables().jobs.job(id).is_none()).ok_or_else(|| {
        exhausted(format!("every id like job-{index}-2 is taken: give the job an id, or try again"))
    })
}
