//! What needs a session of its own: to register, and to leave.

use super::{Agent, AgentTrace, Stage, heartbeat::Serving};
use crate::{
    bug::{self, Bug},
    contract::LeaseTimes,
    limits,
    mark::{self, Mark},
    random::Draws,
    types::{ExecutorId, Incarnation, RequestKey, SessionId, Term, Time},
};
use core::time::Duration;
use quorate_proto::v1::{self as pb, client_reply, client_request};

/// One change asked for through a session of its own: open the session, ask, ask again until there is an answer.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    session: Option<SessionId>,
    /// When the change was asked for first: the cluster may have carried it out from then on.
    first_sent: Option<Time>,
    pending: Option<RequestKey>,
    retry_at: Time,
    failures: u32,
}

/// What an answer means for an errand.
enum Answer {
    /// Not for this errand, or it will be asked again.
    Nothing,
    Refused(pb::Refusal),
    Body(Box<client_reply::Body>),
}

impl Errand {
    const fn new(now: Time) -> Self {
        Self { session: None, first_sent: None, pending: None, retry_at: now, failures: 0 }
    }

    pub(super) const fn due(&self) -> Option<Time> {
        if self.pending.is_some() { None } else { Some(self.retry_at) }
    }

    fn is_due(&self, now: Time) -> bool {
        self.due().is_some_and(|due| due <= now)
    }

    const fn request_id(session: SessionId) -> Option<pb::RequestId> {
        Some(pb::RequestId { session: session.0, sequence: 1, lowest_open: 1 })
    }

    fn sent(&mut self, now: Time, key: RequestKey) {
        self.pending = Some(key);
        if self.session.is_some() {
            self.first_sent.get_or_insert(now);
        }
    }

    fn later(&mut self, now: Time, jitter: &mut Draws) {
        let (least, most) = (limits::AGENT_RETRY_MIN_MS, limits::AGENT_RETRY_MAX_MS);
        let wait = least.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now + Duration::from_millis(jitter.range(wait / 2, wait));
        if bug::planted(Bug::AgentAsksOnce) {
            self.retry_at = Time::FAR;
        }
    }

    /// Begins again with a new session: the answer to the old request would stay the same.
    fn restart(&mut self, now: Time, jitter: &mut Draws) {
        self.session = None;
        self.first_sent = None;
        self.pending = None;
        self.later(now, jitter);
    }

    fn take(
        &mut self,
        now: Time,
        key: RequestKey,
        reply: Option<pb::ClientReply>,
        jitter: &mut Draws,
    ) -> Answer {
        if self.pending != Some(key) {
            mark::hit(Mark::AgentAnswerLate);
            return Answer::Nothing;
        }
        self.pending = None;
        let body = reply.and_then(|reply| reply.body);
        match body {
            Some(client_reply::Body::Refusal(refusal))
                if refusal.code() != pb::RefusalCode::Unavailable
                    && refusal.code() != pb::RefusalCode::Unspecified =>
            {
                Answer::Refused(refusal)
            }
            Some(client_reply::Body::OpenSession(reply)) if self.session.is_none() && reply.session != 0 => {
                self.session = Some(SessionId(reply.session));
                self.failures = 0;
                self.retry_at = now;
                Answer::Nothing
            }
            Some(body) if self.session.is_some() && !matches!(body, client_reply::Body::Refusal(_)) => {
                Answer::Body(Box::new(body))
            }
            Some(_) | None => {
                mark::hit(Mark::AgentAsksAgain);
                self.later(now, jitter);
                Answer::Nothing
            }
        }
    }
}

/// An agent that registers.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) errand: Errand,
    pub(super) incarnation: Incarnation,
}

impl Joining {
    pub(super) fn new(incarnations: &mut Draws, now: Time) -> Self {
        Self { errand: Errand::new(now), incarnation: Incarnation(incarnations.any().max(1)) }
    }
}

/// An agent that takes itself out of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) errand: Errand,
    pub(super) executor: ExecutorId,
    pub(super) incarnation: Incarnation,
    /// When it stops in any case.
    pub(super) until: Time,
}

const fn timeout() -> Duration {
    Duration::from_millis(limits::AGENT_REQUEST_MS)
}

const fn open_session(ttl_ms: u64) -> client_request::Body {
    client_request::Body::OpenSession(pb::OpenSessionRequest { ttl_ms })
}

impl Agent {
    /// Asks for the next thing that registering needs, if it is time.
    pub(super) fn join(&mut self, now: Time) {
        let Stage::Joining(joining) = &self.stage else { return };
        if !joining.errand.is_due(now) {
            return;
        }
        let body = match joining.errand.session {
            None => open_session(self.config.session_ms),
            Some(session) => client_request::Body::RegisterExecutor(pb::RegisterExecutorRequest {
                request_id: Errand::request_id(session),
                name: self.config.name.clone(),
                address: self.config.address.clone(),
                slots: self.config.slots,
                incarnation: joining.incarnation.0,
                labels: self.config.labels.clone(),
                ended_executor: self.past.back().map_or(0, |(executor, _)| executor.0),
                ended_incarnation: self.past.back().map_or(0, |(_, incarnation)| incarnation.0),
            }),
        };
        let key = self.ask(body, timeout());
        if let Stage::Joining(joining) = &mut self.stage {
            joining.errand.sent(now, key);
        }
    }

    pub(super) fn on_join_reply(&mut self, now: Time, key: RequestKey, reply: Option<pb::ClientReply>) {
        let Stage::Joining(joining) = &mut self.stage else { return };
        match joining.errand.take(now, key, reply, &mut self.jitter) {
            Answer::Nothing => {}
            Answer::Refused(refusal) => {
                mark::hit(Mark::AgentRefused);
                joining.errand.restart(now, &mut self.jitter);
                // The old request may still be carried out by a late copy: it must not be taken for the next one.
                joining.incarnation = Incarnation(self.incarnations.any().max(1));
                let code = refusal.code();
                if code != pb::RefusalCode::SessionExpired {
                    self.trace(AgentTrace::Refused { code, message: refusal.message });
                }
            }
            Answer::Body(body) => {
                if let client_reply::Body::RegisterExecutor(reply) = *body
                    && reply.executor != 0
                    && reply.ttl_ms != 0
                {
                    return self.registered(now, &reply);
                }
                joining.errand.later(now, &mut self.jitter);
            }
        }
    }

    fn registered(&mut self, now: Time, reply: &pb::RegisterExecutorReply) {
        let Stage::Joining(Joining { errand, incarnation }) = &self.stage else { return };
        let sent = errand.first_sent.unwrap_or_default();
        let executor = ExecutorId(reply.executor);
        let (ttl, grace) = (Duration::from_millis(reply.ttl_ms), Duration::from_millis(reply.grace_ms));
        // What the masters wait must cover what this executor needs, or a task could run twice.
        if let Err(error) = (LeaseTimes { ttl, grace, ..self.config.lease }).validate() {
            let message = format!("{error}: the masters' lease does not fit this executor's settings");
            self.trace(AgentTrace::Refused { code: pb::RefusalCode::Invalid, message });
            return self.stop();
        }
        mark::hit_if(now >= sent + ttl, Mark::AgentRegisteredLate);
        let session = errand.session.map_or(0, |session| session.0);
        // It may be another cluster, which goes on with the state of the one before, in terms of its own.
        (self.cluster, self.term) = (self.config.cluster, Term(0));
        self.stage = Stage::Serving(Serving::new(executor, *incarnation, ttl, sent, now));
        self.trace(AgentTrace::Registered { executor });
        // Nobody waits for the answer: a session that stays is closed by its lease.
        self.ask(client_request::Body::CloseSession(pb::CloseSessionRequest { session }), timeout());
    }

    /// An agent that ends, and whose last process has ended: has the cluster heard how they did?
    pub(super) fn report_then_leave(&mut self, now: Time) {
        let Stage::Serving(serving) = &mut self.stage else { return };
        let whole = Duration::from_millis(limits::AGENT_LEAVE_MS);
        let report_by = *serving.report_by.get_or_insert(now + whole / 2);
        let at_once = bug::planted(Bug::AgentLeavesEarly);
        if !self.attempts.is_empty() && now < report_by && !at_once {
            return self.heartbeat(now);
        }
        mark::hit_if(!self.attempts.is_empty(), Mark::AgentLeavesUnheard);
        let (executor, incarnation) = (serving.executor, serving.incarnation);
        self.stage =
            Stage::Leaving(Leaving { errand: Errand::new(now), executor, incarnation, until: now + whole });
        self.leave(now);
    }

    pub(super) fn report_until(&self) -> Option<Time> {
        match &self.stage {
            Stage::Serving(serving) => serving.report_by,
            Stage::Joining(_) | Stage::Fenced { .. } | Stage::Leaving(_) | Stage::Stopped => None,
        }
    }

    /// Asks for the next thing that leaving needs, if it is time.
    pub(super) fn leave(&mut self, now: Time) {
        let Stage::Leaving(leaving) = &self.stage else { return };
        if now >= leaving.until {
            mark::hit(Mark::AgentGivesUp);
            return self.stop();
        }
        if !leaving.errand.is_due(now) {
            return;
        }
        let body = match leaving.errand.session {
            None => open_session(self.config.session_ms),
            Some(session) => client_request::Body::DeregisterExecutor(pb::DeregisterExecutorRequest {
                request_id: Errand::request_id(session),
                executor: leaving.executor.0,
                incarnation: leaving.incarnation.0,
            }),
        };
        let key = self.ask(body, timeout());
        if let Stage::Leaving(leaving) = &mut self.stage {
            leaving.errand.sent(now, key);
        }
    }

    pub(super) fn on_leave_reply(&mut self, now: Time, key: RequestKey, reply: Option<pb::ClientReply>) {
        let Stage::Leaving(leaving) = &mut self.stage else { return };
        match leaving.errand.take(now, key, reply, &mut self.jitter) {
            Answer::Nothing => {}
            Answer::Body(body) if matches!(*body, client_reply::Body::DeregisterExecutor(_)) => self.stop(),
            Answer::Body(_) => leaving.errand.later(now, &mut self.jitter),
            Answer::Refused(refusal) => {
                let code = refusal.code();
                // The cluster does not know it: it is out.
                if matches!(code, pb::RefusalCode::NotFound | pb::RefusalCode::Stale) {
                    mark::hit(Mark::AgentOutAlready);
                    return self.stop();
                }
                leaving.errand.restart(now, &mut self.jitter);
                if code != pb::RefusalCode::SessionExpired {
                    self.trace(AgentTrace::Refused { code, message: refusal.message });
                }
            }
        }
    }
}
