//! What an executor is to hold.

use crate::{
    bug::{self, Bug},
    limits::{HEARTBEAT_SPECIFICATIONS, REQUEST_BYTES},
    mark::{self, Mark},
    state::records::Tables,
    types::ExecutorId,
};
use pb::{AttemptPhase, JobState};
use prost::Message;
use quorate_proto::v1 as pb;
use std::collections::BTreeSet;

/// The whole desired set of an executor. Specifications come with what its reports do not show as started, up to a limit.
pub(crate) fn set(
    tables: &Tables,
    executor: ExecutorId,
    reports: &[pb::AttemptReport],
) -> Vec<pb::DesiredAttempt> {
    let started = started(reports);
    let (mut specifications, mut bytes) = (0, 0);
    let mut desired = Vec::new();
    for key in tables.jobs.placement.held(executor).skip(usize::from(bug::planted(Bug::JobDesiredIncomplete)))
    {
        let (Some(task), Some(job)) = (tables.jobs.task(key), tables.jobs.job(&key.job)) else { continue };
        let known = started.contains(&(key.job.as_str(), key.number, task.epoch));
        let most = HEARTBEAT_SPECIFICATIONS + usize::from(bug::planted(Bug::JobSetOverLimit));
        let tell = !known && specifications < most && bytes < REQUEST_BYTES;
        mark::hit_if(!known && !tell, Mark::SpecificationWaits);
        if tell {
            specifications += 1;
            bytes += job.specification.as_ref().map_or(0, Message::encoded_len);
        }
        desired.push(pb::DesiredAttempt {
            attempt: Some(pb::AttemptKey { job: task.job.clone(), number: task.number, epoch: task.epoch }),
            stop: job.state() == JobState::Canceling,
            specification: if tell { job.specification.clone() } else { None },
        });
    }
    desired
}

fn started(reports: &[pb::AttemptReport]) -> BTreeSet<(&str, u32, u64)> {
    let phases = [AttemptPhase::Running, AttemptPhase::Stopping, AttemptPhase::Ended];
    let started = reports.iter().filter(|report| phases.contains(&report.phase()));
    started
        .filter_map(|report| report.attempt.as_ref())
        .map(|attempt| (attempt.job.as_str(), attempt.number, attempt.epoch))
        .collect()
}
