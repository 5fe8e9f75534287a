//! What the masters want: the whole desired set, as it comes with each acknowledgement.

use super::{Agent, AgentTrace, Stage, attempts};
use crate::{
    bug::{self, Bug},
    limits,
    mark::{self, Mark},
    types::{AttemptId, Epoch, Index, JobId, TaskKey, Time},
};
use quorate_proto::v1 as pb;
use std::collections::BTreeMap;

/// The id in a message. `None` if there can be no such attempt.
pub(super) fn attempt_id(key: Option<&pb::AttemptKey>) -> Option<AttemptId> {
    let key = key?;
    let task = TaskKey { job: JobId::parse(&key.job)?, number: key.number };
    Some(AttemptId { task, epoch: Epoch(key.epoch) })
}

impl Agent {
    /// Makes what is here what is desired. Ignores a set that is older than one seen before.
    pub(super) fn obey(&mut self, now: Time, index: Index, desired: Vec<pb::DesiredAttempt>) {
        let Stage::Serving(serving) = &mut self.stage else { return };
        if index < serving.seen && !bug::planted(Bug::AgentOlderSet) {
            mark::hit(Mark::SetOld);
            return;
        }
        if desired.len() > limits::HEARTBEAT_REPORTS {
            let (count, most) = (desired.len(), limits::HEARTBEAT_REPORTS);
            return self.trace(AgentTrace::BadSet { message: format!("{count} attempts: at most {most}") });
        }
        serving.seen = index;
        let wanted: BTreeMap<AttemptId, pb::DesiredAttempt> =
            desired.into_iter().filter_map(|one| Some((attempt_id(one.attempt.as_ref())?, one))).collect();
        serving.named = wanted.keys().cloned().collect();
        self.drop_unnamed(index, &wanted);
        for (id, one) in wanted {
            self.obey_one(now, id, index, one);
        }
    }

    fn drop_unnamed(&mut self, index: Index, wanted: &BTreeMap<AttemptId, pb::DesiredAttempt>) {
        mark::hit_when(
            || self.attempts.iter().any(|(id, attempt)| attempt.index > index && !wanted.contains_key(id)),
            Mark::SetOlderThanCall,
        );
        let stale: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.index <= index || bug::planted(Bug::AgentSetOverCall))
            .filter(|(id, _)| !wanted.contains_key(id) && !bug::planted(Bug::AgentUndesiredRuns))
            .map(|(id, _)| id.clone())
            .collect();
        for id in stale {
            self.attempts.drop(&id, &mut self.outputs);
        }
    }

    fn obey_one(&mut self, now: Time, id: AttemptId, index: Index, one: pb::DesiredAttempt) {
        self.attempts.desired_at(&id, index);
        if one.stop {
            return self.stop_attempt(now, id, index);
        }
        if self.attempts.knows(&id) {
            return self.attempts.confirm(&id);
        }
        let superseded = self.attempts.newest(&id.task).is_some_and(|newest| newest > id.epoch);
        let Some(specification) = one.specification else { return };
        mark::hit_if(superseded, Mark::SetSuperseded);
        mark::hit_when(|| !superseded && self.no_room(&specification).is_some(), Mark::SetNoRoom);
        mark::hit_if(self.leaving, Mark::SetWhileLeaving);
        // What does not fit waits for a later set: each names it until it is reported.
        if superseded || self.leaving || self.no_room(&specification).is_some() {
            return;
        }
        self.attempts.park(id.clone(), Box::new(specification), index, Time::FAR, &mut self.outputs);
        self.attempts.confirm(&id);
    }

    /// Asks an attempt to end, or sees to it that it never starts.
    pub(super) fn stop_attempt(&mut self, now: Time, id: AttemptId, index: Index) {
        let news = if self.attempts.knows(&id) {
            self.attempts.stop(&id, now, &mut self.outputs)
        } else if self.attempts.is_full() {
            false
        } else {
            mark::hit(Mark::StoppedUnknown);
            self.attempts.bury(id, index);
            true
        };
        if let Stage::Serving(serving) = &mut self.stage {
            serving.changed |= news;
        }
    }

    /// Why one more attempt does not fit.
    pub(super) fn no_room(&self, specification: &pb::JobSpecification) -> Option<String> {
        let (needed, used) = (attempts::slots_of(specification), self.attempts.slots_used());
        if self.attempts.is_full() {
            return Some(format!("{} attempts are held: that is the limit", limits::HEARTBEAT_REPORTS));
        }
        let over = used + u64::from(needed) > u64::from(self.config.slots);
        (over && !bug::planted(Bug::AgentOverbooked))
            .then(|| format!("{needed} slots are needed, and {used} of {} are taken", self.config.slots))
    }
}
