//! What happens between masters and those who ask them: requests, answers, and calls to executors.

use super::{Event, MILLISECOND, Origin, World, describe, masters::fingerprint};
use crate::{
    draw::{Purpose, again, chance, draw, within},
    executor::place_of,
    marks::SimMark,
    master::Waiting,
    network::Endpoint,
    oracle::{Rule, answers},
    plan::MessageKind,
};
use bytes::Bytes;
use prost::Message;
use quorate_core::{
    Input, codec,
    command::Command,
    raft::Role,
    types::{CallKey, ExecutorId, Index, JobId, LeaseId, SessionId, TaskKey, Term},
};
use quorate_proto::v1::{
    self as pb, client_reply::Body, client_request::Body as Ask, executor_call::Body as Call,
};

/// A call that is not answered so long has no answer.
const CALL_TIMEOUT: u64 = 1_000 * MILLISECOND;

impl World {
    pub(super) fn request_arrives(&mut self, to: u8, origin: Origin, bytes: &Bytes) {
        let at = usize::from(to);
        if self.masters[at].node.is_none() {
            return self.answer(to, origin, None);
        }
        let Ok(request) = pb::ClientRequest::decode(bytes.clone()) else {
            return self.ledger.fail(Rule::Contract, "a request does not decode".to_owned());
        };
        self.mark(9, to, 0, bytes);
        self.line(Endpoint::Master(to), "asked", || format!("{} by {origin:?}", answers::brief(&request)));
        let quorum_term = if self.oracles.is_some() { self.quorum_term() } else { Term(0) };
        let master = &mut self.masters[at];
        let key = master.request_key();
        let request = Box::new(request);
        *master.direct.entry(fingerprint(bytes)).or_default() += 1;
        master.requests.insert(key, Waiting { origin, request: request.clone(), quorum_term });
        self.step_master(at, Input::Request { key, request });
    }

    pub(super) fn request_gone(&mut self, to: u8, origin: Origin) {
        let at = usize::from(to);
        let master = &mut self.masters[at];
        let waiting = &mut master.requests;
        let found = waiting.iter().find(|(_, waiting)| waiting.origin == origin).map(|(key, _)| *key);
        if let Some(key) = found {
            waiting.remove(&key);
            master.left.insert(key);
            self.mark(10, to, key.0, &[]);
            self.step_master(at, Input::RequestGone { key });
        }
    }

    pub(super) fn reply(&mut self, at: usize, waiting: &Waiting, reply: &pb::ClientReply) {
        if answers::confirmed(&waiting.request) {
            self.deposed(at, waiting.quorum_term, reply);
        }
        self.lost_leases_stay_lost(at, &waiting.request, reply);
        self.doubter_answers(at, &waiting.request, reply);
        if let (Some(Ask::Heartbeat(beat)), Some(Body::Heartbeat(_))) = (&waiting.request.body, &reply.body) {
            self.latency.heard(ExecutorId(beat.executor), self.time);
        }
        self.line(Endpoint::Master(at as u8), "answer", || {
            format!(
                "{} to {:?}: {}",
                answers::brief(&waiting.request),
                waiting.origin,
                describe::reply(reply)
            )
        });
        self.answer(at as u8, waiting.origin, Some(Bytes::from(reply.encode_to_vec())));
    }

    /// A keep-alive is acknowledged: the end of its lease must not be in the leader's log, unless it came behind the
    /// acknowledgement, in the same step.
    fn lost_leases_stay_lost(&mut self, at: usize, request: &pb::ClientRequest, reply: &pb::ClientReply) {
        let Some(node) = self.masters[at].node.as_ref().filter(|_| self.oracles.is_some()) else { return };
        let state = node.state();
        let lease = match (&request.body, &reply.body) {
            (Some(Ask::Heartbeat(beat)), Some(Body::Heartbeat(_))) => {
                state.executor(ExecutorId(beat.executor)).map(|executor| LeaseId(executor.lease))
            }
            (Some(Ask::KeepSession(ask)), Some(Body::KeepSession(_))) => {
                state.session_lease(SessionId(ask.session))
            }
            _ => return,
        };
        let (Some(lease), raft) = (lease, node.raft()) else { return };
        if raft.role() != Role::Leader {
            return;
        }
        let ends = |index: &u64| {
            let entry = raft.entry(Index(*index)).and_then(|entry| codec::decode(&entry.data).ok());
            entry.is_some_and(
                |entry| matches!(&entry.command, Command::ExpireLeases { leases } if leases.contains(&lease)),
            )
        };
        let ended = (state.index().0 + 1..=self.masters[at].ended_at.0).find(ends);
        self.ledger.hold(Rule::LeaseStaysLost, ended.is_none(), || {
            format!(
                "leader {} acknowledges {}, whose lease {lease} entry {ended:?} ends",
                at + 1,
                answers::brief(request)
            )
        });
    }

    /// A call must be for what its task is given to.
    fn call_current(&mut self, at: usize, call: &pb::ExecutorCall) {
        let Some(state) = self.masters[at].node.as_ref().map(|node| node.state()) else { return };
        let (header, key) = match &call.body {
            Some(Call::PreDispatch(call)) => (call.header, &call.attempt),
            Some(Call::Confirm(call)) => (call.header, &call.attempt),
            Some(Call::Stop(call)) => (call.header, &call.attempt),
            None => return,
        };
        let (Some(header), Some(key)) = (header, key) else { return };
        let Some(job) = JobId::parse(&key.job).filter(|_| header.index == state.index().0) else { return };
        let task = state.task(&TaskKey { job, number: key.number });
        let holds = task.is_some_and(|task| task.epoch == key.epoch && task.executor == header.executor);
        self.ledger.hold(Rule::CallCurrent, holds, || {
            format!("node {} sends {}; the task is {task:?}", at + 1, describe::call(call))
        });
    }

    /// An answer goes to whoever asked; `None`: the connection is refused or reset.
    pub(super) fn answer(&mut self, from: u8, origin: Origin, reply: Option<Bytes>) {
        self.mark(11, from, 0, reply.as_ref().map_or(&[], |reply| &reply[..]));
        let times =
            self.network.send(self.time, Endpoint::Master(from), origin.endpoint(), 1, MessageKind::Other);
        if let Some(time) = times[0] {
            self.queue.push(time, Event::Answer { origin, from, era: self.era, reply });
        }
    }

    pub(super) fn call(&mut self, at: usize, key: CallKey, address: &str, call: &pb::ExecutorCall) {
        let place = at as u8;
        self.call_current(at, call);
        let master = &mut self.masters[at];
        let run = master.run;
        let fresh = master.calls.insert(key);
        self.ledger.hold(Rule::Contract, fresh, || format!("node {}: call key {key} is used twice", at + 1));
        let bytes = Bytes::from(call.encode_to_vec());
        self.mark(12, place, key.0, &bytes);
        self.line(Endpoint::Master(place), "call", || format!("{address} {}", describe::call(call)));
        if let Some(to) = place_of(address).filter(|to| usize::from(*to) < self.executors.len()) {
            let (from, to_end) = (Endpoint::Master(place), Endpoint::Executor(to));
            let times = self.network.send(self.time, from, to_end, 1, MessageKind::Other);
            let late = self.call_late(place, run, key);
            for time in times.into_iter().flatten().map(|time| time + late) {
                self.queue.push(time, Event::Call { to, from: place, run, key, bytes: bytes.clone() });
            }
        }
        self.queue.push(self.time + CALL_TIMEOUT, Event::CallAnswer { to: place, run, key, reply: None });
    }

    /// How much later than others a call is. Nothing says that calls come in order.
    fn call_late(&mut self, place: u8, run: u64, key: CallKey) -> u64 {
        let network = &self.plan.network;
        let luck = draw(self.plan.seed, Purpose::Call, &[u64::from(place), run, key.0]);
        if !chance(luck, network.call_ppm) {
            return 0;
        }
        self.marks.hit(SimMark::CallLate);
        within(again(luck, 1), 0, network.call_late_ms) * MILLISECOND
    }

    pub(super) fn call_answered(&mut self, to: u8, run: u64, key: CallKey, reply: Option<&Bytes>) {
        let at = usize::from(to);
        let master = &mut self.masters[at];
        if master.node.is_none() || master.run != run || !master.calls.remove(&key) {
            return;
        }
        let reply = match reply.map(|reply| pb::ExecutorCallReply::decode(reply.clone())).transpose() {
            Ok(reply) => reply.map(Box::new),
            Err(error) => {
                return self.ledger.fail(Rule::Contract, format!("a call's answer does not decode: {error}"));
            }
        };
        self.mark(13, to, key.0, &[u8::from(reply.is_some())]);
        self.line(Endpoint::Master(to), "call done", || format!("{key}: {reply:?}"));
        self.step_master(at, Input::CallDone { key, reply });
    }
}
