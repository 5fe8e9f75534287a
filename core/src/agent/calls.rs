//! Calls of a leader: they make sooner what the desired set says anyway.
//!
//! A refusal with STALE is final, and lets the master move the task at once. So it is given only when nothing of the
//! attempt runs and nothing ever will: the attempt is older than what is known of its task, or it was decided before the
//! last desired set, which does not name it, or its incarnation is one whose work this very process has ended.
//! Any other doubt (another process's incarnation, an older term, no lease) is PRECONDITION, which decides nothing.

use super::{Agent, Stage, desired::attempt_id};
use crate::{
    bug::{self, Bug},
    limits,
    mark::{self, Mark},
    types::{AttemptId, ClusterId, ExecutorId, Incarnation, Index, Term, Time},
};
use core::time::Duration;
use quorate_proto::v1::{self as pb, RefusalCode, executor_call, executor_call_reply};

fn refusal(code: RefusalCode, message: String) -> pb::Refusal {
    pb::Refusal { code: code.into(), message, leader: 0 }
}

type Outcome = Result<executor_call_reply::Body, pb::Refusal>;

impl Agent {
    pub(super) fn on_call(&mut self, now: Time, call: pb::ExecutorCall) -> pb::ExecutorCallReply {
        let outcome = match call.body {
            Some(executor_call::Body::PreDispatch(request)) => self
                .admit(now, request.header.as_ref(), request.attempt.as_ref())
                .and_then(|(id, index)| self.pre_dispatch(now, id, index, request.specification)),
            Some(executor_call::Body::Confirm(request)) => self
                .admit(now, request.header.as_ref(), request.attempt.as_ref())
                .and_then(|(id, index)| self.confirm(&id, index)),
            Some(executor_call::Body::Stop(request)) => self
                .admit(now, request.header.as_ref(), request.attempt.as_ref())
                .map(|(id, index)| self.stop_call(now, id, index)),
            None => Err(refusal(RefusalCode::Invalid, "body is missing: it must be one of the calls".into())),
        };
        let body = outcome.unwrap_or_else(executor_call_reply::Body::Refusal);
        pb::ExecutorCallReply { body: Some(body) }
    }

    /// Checks for whom a call is, and whether it is of this time.
    fn admit(
        &mut self,
        now: Time,
        header: Option<&pb::CallHeader>,
        attempt: Option<&pb::AttemptKey>,
    ) -> Result<(AttemptId, Index), pb::Refusal> {
        let header = header.ok_or_else(|| refusal(RefusalCode::Invalid, "header is missing".into()))?;
        let id = attempt_id(attempt).ok_or_else(|| {
            let given = attempt.map(|key| format!("{}/{}@{}", key.job, key.number, key.epoch));
            let given = given.unwrap_or_else(|| "missing".into());
            refusal(
                RefusalCode::Invalid,
                format!("attempt is {given}: it must name a job, a task and an epoch"),
            )
        })?;
        self.check_receiver(now, header)?;
        self.check_term(header)?;
        let index = Index(header.index);
        self.check_index(&id, index)?;
        Ok((id, index))
    }

    fn check_receiver(&self, now: Time, header: &pb::CallHeader) -> Result<(), pb::Refusal> {
        let precondition = |message: String| Err(refusal(RefusalCode::Precondition, message));
        if self.cluster != ClusterId(0) && header.cluster != self.cluster.0 {
            return precondition(format!(
                "cluster is {}: this executor works for {}",
                header.cluster, self.cluster
            ));
        }
        let called = (ExecutorId(header.executor), Incarnation(header.incarnation));
        let here = match &self.stage {
            Stage::Serving(serving) => {
                format!("incarnation {} of executor {}", serving.incarnation, serving.executor)
            }
            Stage::Joining(_) | Stage::Fenced { .. } => "not registered".to_owned(),
            Stage::Leaving(_) | Stage::Stopped => "leaving the cluster".to_owned(),
        };
        if self.past.contains(&called) && !bug::planted(Bug::AgentOtherIncarnation) {
            mark::hit(Mark::CallToFormer);
            return Err(refusal(
                RefusalCode::Stale,
                format!("this is {here}, and incarnation {} ended its work", called.1),
            ));
        }
        if let Stage::Serving(serving) = &self.stage
            && ((serving.executor, serving.incarnation) == called || bug::planted(Bug::AgentOtherIncarnation))
        {
            mark::hit_if(now >= serving.deadline, Mark::CallWithoutLease);
            return if now < serving.deadline {
                Ok(())
            } else {
                precondition("this executor has no lease".into())
            };
        }
        mark::hit(Mark::CallToOther);
        precondition(format!(
            "the call is for incarnation {} of executor {}: this is {here}",
            called.1, called.0
        ))
    }

    fn check_term(&mut self, header: &pb::CallHeader) -> Result<(), pb::Refusal> {
        let term = Term(header.term);
        if term < self.term && !bug::planted(Bug::AgentStaleTerm) {
            mark::hit(Mark::CallOldTerm);
            let message = format!("term is {term}: a leader of term {} has called", self.term);
            return Err(refusal(RefusalCode::Precondition, message));
        }
        self.term = term;
        self.cluster = ClusterId(header.cluster);
        Ok(())
    }

    fn check_index(&self, id: &AttemptId, index: Index) -> Result<(), pb::Refusal> {
        if let Some(newest) = self.attempts.newest(&id.task)
            && newest > id.epoch
        {
            mark::hit(Mark::CallOldEpoch);
            return Err(refusal(
                RefusalCode::Stale,
                format!("epoch is {}: epoch {newest} replaced it", id.epoch),
            ));
        }
        let Stage::Serving(serving) = &self.stage else { return Ok(()) };
        let outdated = index <= serving.seen && !serving.named.contains(id);
        if !self.attempts.knows(id) && outdated && !bug::planted(Bug::AgentOldCall) {
            mark::hit(Mark::CallUndesired);
            let message =
                format!("{id} is of index {index}: it was not desired any more at {}", serving.seen);
            return Err(refusal(RefusalCode::Stale, message));
        }
        Ok(())
    }

    fn pre_dispatch(
        &mut self,
        now: Time,
        id: AttemptId,
        index: Index,
        specification: Option<pb::JobSpecification>,
    ) -> Outcome {
        let done = Ok(executor_call_reply::Body::PreDispatch(pb::PreDispatchReply {}));
        if self.attempts.knows(&id) {
            mark::hit(Mark::CallKnown);
            self.attempts.desired_at(&id, index);
            return done;
        }
        if self.leaving {
            mark::hit(Mark::CallWhileLeaving);
            return Err(refusal(RefusalCode::Precondition, "this executor is leaving".into()));
        }
        let Some(specification) = specification else {
            return Err(refusal(RefusalCode::Invalid, "specification is missing".into()));
        };
        if let Some(message) = self.no_room(&specification) {
            mark::hit(Mark::CallNoRoom);
            return Err(refusal(RefusalCode::Exhausted, message));
        }
        let until = now + Duration::from_millis(limits::PARKED_MS);
        self.attempts.park(id, Box::new(specification), index, until, &mut self.outputs);
        done
    }

    fn confirm(&mut self, id: &AttemptId, index: Index) -> Outcome {
        if !self.attempts.knows(id) {
            return Err(refusal(RefusalCode::Precondition, format!("{id} is not parked here")));
        }
        if self.leaving {
            return Err(refusal(RefusalCode::Precondition, "this executor is leaving".into()));
        }
        self.attempts.desired_at(id, index);
        self.attempts.confirm(id);
        Ok(executor_call_reply::Body::Confirm(pb::ConfirmReply {}))
    }

    fn stop_call(&mut self, now: Time, id: AttemptId, index: Index) -> executor_call_reply::Body {
        self.attempts.desired_at(&id, index);
        self.stop_attempt(now, id, index);
        executor_call_reply::Body::Stop(pb::StopReply {})
    }
}
