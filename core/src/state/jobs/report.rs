//! What executors say of the attempts that they hold.

use super::{
    placement,
    task::{self, End},
};
use crate::{
    bug::{self, Bug},
    limits::REQUEST_BYTES,
    mark::{self, Mark},
    state::{Turn, records::Tables},
    types::{ExecutorId, Incarnation, JobId, TaskKey},
};
use pb::{AttemptPhase, TaskState};
use prost::Message;
use quorate_proto::v1 as pb;

/// Takes an executor's reports. Void if it is not that run of the executor.
pub(crate) fn apply(
    turn: &mut Turn<'_>,
    id: ExecutorId,
    incarnation: Incarnation,
    reports: Vec<pb::AttemptReport>,
) {
    let executor = turn.records.tables().fleet.get(id);
    if executor.is_none_or(|executor| executor.incarnation != incarnation.0) {
        mark::hit(Mark::ReportOfGone);
        return;
    }
    for report in reports {
        let Some(key) = changes(turn.records.tables(), id, &report) else {
            mark::hit(Mark::ReportOutdated);
            continue;
        };
        if report.phase() == AttemptPhase::Ended {
            let end = End { end: report.end(), code: report.code, message: report.message };
            task::ended(turn, &key, end);
        } else {
            task::online(turn, &key);
        }
    }
    placement::run(turn);
}

/// Of an executor's reports, those that would change something, as many as fit one entry.
pub(crate) fn news(tables: &Tables, id: ExecutorId, reports: &[pb::AttemptReport]) -> Vec<pb::AttemptReport> {
    let mut bytes = 0;
    let fits = |report: &&pb::AttemptReport| {
        // Beside its bytes each takes its length.
        bytes += report.encoded_len() + 16;
        bytes <= REQUEST_BYTES
    };
    let new = reports.iter().filter(|report| changes(tables, id, report).is_some());
    new.take_while(fits).cloned().collect()
}

// The task that a report would change: one whose attempt of that epoch this executor holds.
fn changes(tables: &Tables, id: ExecutorId, report: &pb::AttemptReport) -> Option<TaskKey> {
    let attempt = report.attempt.as_ref()?;
    let key = TaskKey { job: JobId::parse(&attempt.job)?, number: attempt.number };
    let task = tables.jobs.task(&key)?;
    let other = task.epoch != attempt.epoch && !bug::planted(Bug::JobReportEpoch);
    if !super::is_held(task.state()) || task.executor != id.0 || other {
        mark::hit_if(task.executor != id.0, Mark::ReportNotHeld);
        mark::hit_if(task.executor == id.0 && task.epoch != attempt.epoch, Mark::ReportOldAttempt);
        return None;
    }
    let new = match report.phase() {
        AttemptPhase::Running => task.state() == TaskState::Assigned,
        AttemptPhase::Ended => true,
        AttemptPhase::Unspecified | AttemptPhase::Parked | AttemptPhase::Stopping => false,
    };
    new.then_some(key)
}
