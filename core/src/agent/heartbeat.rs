//! A registered agent: its heartbeats, and the lease that their acknowledgements renew.

use super::{Agent, AgentConfig, AgentOutput, AgentTrace, Stage};
use crate::{
    bug::{self, Bug},
    limits,
    mark::{self, Mark},
    types::{AttemptId, ExecutorId, Incarnation, Index, RequestKey, Time},
};
use core::time::Duration;
use quorate_proto::v1::{self as pb, client_reply, client_request};
use std::collections::{BTreeMap, BTreeSet};

/// So many masters that hang, one after the other, cost an agent its lease: no heartbeat waits longer than this part of it.
const HEARTBEAT_TRIES: u32 = 4;

/// What an agent knows while it is registered.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    pub(super) executor: ExecutorId,
    pub(super) incarnation: Incarnation,
    ttl: Duration,
    /// Nothing may start or run from this time on.
    pub(super) deadline: Time,
    /// When the registration is given up. The deadline; but a registration that took longer than its lease, so that
    /// nothing could start yet, has one ttl more for its first acknowledgement.
    fence_at: Time,
    sequence: u64,
    inflight: BTreeMap<RequestKey, Sent>,
    last_sent: Option<Time>,
    /// There is news that the masters have not been sent.
    pub(super) changed: bool,
    /// No master took one of the last heartbeats: the next goes sooner, and elsewhere.
    unheard: bool,
    /// The log index of the newest desired set.
    pub(super) seen: Index,
    /// What that set names.
    pub(super) named: BTreeSet<AttemptId>,
    /// Of an agent that ends: until when it tries to report the last ends.
    pub(super) report_by: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    at: Time,
}

impl Serving {
    /// `sent`: when the registration was asked for first.
    pub(super) fn new(
        executor: ExecutorId,
        incarnation: Incarnation,
        ttl: Duration,
        sent: Time,
        now: Time,
    ) -> Self {
        let deadline = sent + ttl;
        Self {
            executor,
            incarnation,
            ttl,
            deadline,
            fence_at: if now < deadline { deadline } else { now + ttl },
            sequence: 0,
            inflight: BTreeMap::new(),
            last_sent: None,
            changed: false,
            unheard: false,
            seen: Index(0),
            named: BTreeSet::new(),
            report_by: None,
        }
    }

    /// When it has something to do.
    pub(super) fn due(&self, config: &AgentConfig) -> Time {
        self.fence_at.min(self.heartbeat_due(config))
    }

    fn heartbeat_due(&self, config: &AgentConfig) -> Time {
        if self.inflight.len() >= limits::HEARTBEATS_INFLIGHT {
            mark::hit(Mark::HeartbeatsFull);
            return Time::FAR;
        }
        let gap = Duration::from_millis(limits::HEARTBEAT_GAP_MS);
        let wait = match (self.changed, self.unheard) {
            (true, _) => gap.min(config.heartbeat),
            (false, true) => config.heartbeat / 2,
            (false, false) => config.heartbeat,
        };
        self.last_sent.map_or(Time(0), |last| last + wait)
    }

    /// Takes an acknowledgement. Answers the new deadline, if it grew.
    fn acknowledged(&mut self, sent: Time) -> Option<Time> {
        let deadline = sent + self.ttl;
        if deadline <= self.deadline {
            mark::hit(Mark::AcknowledgedLate);
            return None;
        }
        self.deadline = deadline;
        self.fence_at = deadline;
        Some(deadline)
    }
}

impl Agent {
    /// Fences the agent if its time is over.
    pub(super) fn check_lease(&mut self, now: Time) {
        if let Stage::Serving(serving) = &self.stage
            && now >= serving.fence_at
            && !bug::planted(Bug::AgentNoFence)
        {
            mark::hit(Mark::FencedByTime);
            let reason = format!("no heartbeat was acknowledged within {:?}", serving.ttl);
            self.fence(reason);
        }
    }

    /// Gives all work up. The agent registers anew once every process has ended.
    fn fence(&mut self, reason: String) {
        let Stage::Serving(serving) = &self.stage else { return };
        self.stage = Stage::Fenced { executor: serving.executor, incarnation: serving.incarnation };
        self.trace(AgentTrace::Fenced { reason });
        mark::hit_if(self.attempts.any_live(), Mark::FencedWorking);
        self.attempts.kill_all(&mut self.outputs);
    }

    /// Sends a heartbeat, if it is time for one.
    pub(super) fn heartbeat(&mut self, now: Time) {
        let Stage::Serving(serving) = &mut self.stage else { return };
        if serving.heartbeat_due(&self.config) > now {
            return;
        }
        serving.sequence += 1;
        serving.last_sent = Some(now);
        (serving.changed, serving.unheard) = (false, false);
        let sent = Sent { sequence: serving.sequence, at: now };
        let timeout = serving.ttl / HEARTBEAT_TRIES;
        let body = client_request::Body::Heartbeat(pb::HeartbeatRequest {
            executor: serving.executor.0,
            incarnation: serving.incarnation.0,
            sequence: sent.sequence,
            reports: self.attempts.reports(),
        });
        let key = self.ask(body, timeout);
        if let Stage::Serving(serving) = &mut self.stage {
            serving.inflight.insert(key, sent);
        }
    }

    pub(super) fn on_heartbeat_reply(&mut self, now: Time, key: RequestKey, reply: Option<pb::ClientReply>) {
        let Stage::Serving(serving) = &mut self.stage else { return };
        let Some(sent) = serving.inflight.remove(&key) else { return };
        match reply.and_then(|reply| reply.body) {
            Some(client_reply::Body::Heartbeat(reply)) if reply.sequence == sent.sequence => {
                let from = if bug::planted(Bug::AgentCountsFromAnswer) { now } else { sent.at };
                if let Some(deadline) = serving.acknowledged(from)
                    && !bug::planted(Bug::AgentGuardForgotten)
                {
                    self.outputs.push_back(AgentOutput::Extend { deadline });
                }
                self.check_lease(now);
                self.obey(now, Index(reply.index), reply.desired);
            }
            Some(client_reply::Body::Refusal(refusal))
                if matches!(refusal.code(), pb::RefusalCode::NotFound | pb::RefusalCode::Stale) =>
            {
                mark::hit(Mark::FencedByRefusal);
                self.fence(format!("the cluster refused a heartbeat: {}", refusal.message));
            }
            Some(client_reply::Body::Refusal(refusal)) if refusal.code() != pb::RefusalCode::Unavailable => {}
            // The next heartbeat says it all again.
            Some(_) | None => serving.unheard = true,
        }
    }
}
