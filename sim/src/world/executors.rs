//! What happens at executors: agents step, guards look at their deadlines, processes run and end.

use super::{Event, Origin, World, describe, processes::SIGKILL};
use crate::{
    draw::{Purpose, draw},
    executor::{Asked, Executor, Process},
    marks::SimMark,
    network::Endpoint,
    oracle::{Rule, answers},
    plan::MessageKind,
};
use bytes::Bytes;
use prost::Message;
use quorate_core::{
    agent::{Agent, AgentInput, AgentOutput},
    types::{AttemptId, CallKey, ExecutorId, Index, LeaseId, RequestKey, Time},
};
use quorate_proto::v1::{self as pb, client_reply::Body, client_request::Body as Ask};
use std::time::Duration;

const HELD_INPUTS: usize = 20_000;

impl World {
    pub(super) fn start_agent(&mut self, place: u8, run: u64) {
        let executor = &mut self.executors[usize::from(place)];
        if executor.agent.is_some() || executor.run != run || executor.outside {
            return;
        }
        executor.run += 1;
        let seed = draw(self.plan.seed, Purpose::AgentSeed, &[u64::from(place), executor.run]);
        executor.target = (seed % self.plan.masters.clocks.len() as u64) as u8;
        let now = executor.clock.now(self.time);
        executor.agent = Some(Agent::new(executor.config(&self.plan.executors), seed, now));
        let run = executor.run;
        self.mark(20, place, run, &[]);
        self.line(Endpoint::Executor(place), "start", || format!("run {run}"));
        self.agent_stepped(usize::from(place));
    }

    /// The agent's process ends: its guards see the pipe close, and kill.
    pub(super) fn stop_agent(&mut self, place: u8) -> bool {
        let executor = &mut self.executors[usize::from(place)];
        if executor.agent.is_none() {
            return false;
        }
        executor.stop();
        let serials: Vec<u64> = executor.processes.keys().copied().collect();
        self.mark(21, place, 0, &[]);
        self.line(Endpoint::Executor(place), "stop", || format!("{} processes die with it", serials.len()));
        for serial in serials {
            self.kill(place, serial, SIGKILL);
        }
        true
    }

    pub(super) fn step_agent(&mut self, at: usize, input: AgentInput) {
        let executor = &mut self.executors[at];
        let Some(agent) = &mut executor.agent else { return };
        if executor.pauses > 0 {
            if executor.held.len() < HELD_INPUTS {
                executor.held.push(input);
            }
            return;
        }
        if let Some(oracles) = &mut self.oracles {
            oracles.conduct.takes((at as u8, executor.run), agent, &input);
        }
        agent.step(executor.clock.now(self.time), input);
        self.agent_stepped(at);
    }

    fn agent_stepped(&mut self, at: usize) {
        self.ledger.step += 1;
        while let Some(output) = self.executors[at].agent.as_mut().and_then(Agent::poll_output) {
            self.agent_output(at, output);
        }
        let executor = &self.executors[at];
        if let (Some(oracles), Some(agent)) = (&mut self.oracles, &executor.agent) {
            oracles.conduct.stepped(&mut self.ledger, (at as u8, executor.run), agent);
        }
        self.own_lease(at);
        self.arm_agent(at);
    }

    /// An agent whose lease is over holds nothing that runs.
    fn own_lease(&mut self, at: usize) {
        let executor = &self.executors[at];
        let local = executor.clock.local(self.time);
        let serving = executor.agent.as_ref().filter(|agent| agent.deadline().is_some());
        let Some(agent) = serving.filter(|_| executor.lease_until <= local) else { return };
        let runs = agent.attempts().find(|(_, phase)| *phase == pb::AttemptPhase::Running);
        let until = executor.lease_until;
        self.ledger.hold(Rule::OwnLease, runs.is_none(), || {
            format!("machine {at} keeps {runs:?} at {local:?}; its lease lasted until {until:?}")
        });
    }

    pub(super) fn arm_agent(&mut self, at: usize) {
        self.caused_by_input();
        let executor = &mut self.executors[at];
        let Some(deadline) = executor.agent.as_ref().and_then(Agent::next_deadline) else { return };
        let wake = executor.clock.true_time(deadline).max(self.time);
        if wake < executor.wake {
            executor.wake = wake;
            self.queue.push(wake, Event::AgentWake { executor: at as u8 });
        }
    }

    pub(super) fn agent_wakes(&mut self, place: u8) {
        let at = usize::from(place);
        let executor = &mut self.executors[at];
        if executor.wake > self.time {
            return;
        }
        executor.wake = u64::MAX;
        let Some(agent) = executor.agent.as_ref().filter(|_| executor.pauses == 0) else { return };
        if agent.next_deadline().is_some_and(|time| time <= executor.clock.local(self.time)) {
            self.mark(22, place, 0, &[]);
            self.line(Endpoint::Executor(place), "deadline", String::new);
            self.step_agent(at, AgentInput::Deadline);
        } else {
            self.arm_agent(at);
        }
    }

    /// A stopped agent goes on.
    pub(super) fn resume_agent(&mut self, at: usize) {
        for input in core::mem::take(&mut self.executors[at].held) {
            self.step_agent(at, input);
        }
        self.step_agent(at, AgentInput::Deadline);
    }

    fn agent_output(&mut self, at: usize, output: AgentOutput) {
        let place = at as u8;
        match output {
            AgentOutput::Request { key, request, timeout } => self.agent_asks(at, key, request, timeout),
            AgentOutput::CallReply { key: own, reply } => {
                let Some((to, run, key)) = self.executors[at].calls.remove(&own) else {
                    return self
                        .ledger
                        .fail(Rule::Contract, format!("machine {at}: call {own} is answered twice"));
                };
                if let Some(oracles) = &mut self.oracles {
                    let who = (place, self.executors[at].run);
                    oracles.truth.call_answered(&mut self.ledger, who, own, &reply);
                    oracles.conduct.answers(&mut self.ledger, who, &reply);
                }
                let bytes = Bytes::from(reply.encode_to_vec());
                self.mark(23, place, key.0, &bytes);
                self.line(Endpoint::Executor(place), "reply", || {
                    format!("-> {} {}", to + 1, describe::call_reply(&reply))
                });
                let times = self.network.send(
                    self.time,
                    Endpoint::Executor(place),
                    Endpoint::Master(to),
                    1,
                    MessageKind::Other,
                );
                if let Some(time) = times[0] {
                    self.queue.push(time, Event::CallAnswer { to, run, key, reply: Some(bytes) });
                }
            }
            AgentOutput::Start { attempt, specification, deadline } => {
                self.start_process(at, attempt, &specification, deadline);
            }
            AgentOutput::Terminate { attempt } => {
                self.line(Endpoint::Executor(place), "terminate", || attempt.to_string());
                for serial in self.serials_of(at, &attempt) {
                    self.terminate(place, serial);
                }
            }
            AgentOutput::Kill { attempt } => {
                self.line(Endpoint::Executor(place), "kill", || attempt.to_string());
                for serial in self.serials_of(at, &attempt) {
                    self.kill(place, serial, SIGKILL);
                }
            }
            AgentOutput::Forget { attempt } => {
                let left = self.serials_of(at, &attempt);
                self.ledger.hold(Rule::Contract, left.is_empty(), || {
                    format!("machine {at} forgets {attempt}, which still runs")
                });
            }
            AgentOutput::Extend { deadline } => self.extend(at, deadline),
            AgentOutput::Trace(event) => {
                self.line(Endpoint::Executor(place), "trace", || format!("{event:?}"));
            }
            AgentOutput::Stop => {
                self.stop_agent(place);
            }
        }
    }

    fn serials_of(&self, at: usize, attempt: &AttemptId) -> Vec<u64> {
        let executor = &self.executors[at];
        let own = |process: &Process| process.run == executor.run && process.attempt == *attempt;
        executor.processes.iter().filter(|(_, process)| own(process)).map(|(serial, _)| *serial).collect()
    }

    fn agent_asks(&mut self, at: usize, key: RequestKey, request: Box<pb::ClientRequest>, timeout: Duration) {
        let place = at as u8;
        let executor = &mut self.executors[at];
        let (run, to) = (executor.run, executor.target);
        let bytes = Bytes::from(request.encode_to_vec());
        let sent = executor.clock.local(self.time);
        let limit = executor.clock.true_time(sent + timeout).max(self.time + 1);
        self.mark(24, place, key.0, &bytes);
        self.line(Endpoint::Executor(place), "ask", || format!("-> {} {}", to + 1, answers::brief(&request)));
        let kind = match &request.body {
            Some(Ask::Heartbeat(_)) => MessageKind::AgentHeartbeat,
            _ => MessageKind::Other,
        };
        self.watch_asking(at, key, &request);
        self.executors[at].asked.insert(key, Asked { request, sent });
        let origin = Origin::Agent { executor: place, run, key };
        self.queue.push(limit, Event::AgentTimeout { executor: place, run, key });
        if kind == MessageKind::AgentHeartbeat && self.executors[at].last_words > 0 {
            return self.executors[at].words.push((origin, bytes));
        }
        let (from, to_end) = (Endpoint::Executor(place), Endpoint::Master(to));
        for time in self.network.send(self.time, from, to_end, 1, kind).into_iter().flatten() {
            self.queue.push(time, Event::Request { to, origin, bytes: bytes.clone() });
        }
    }

    fn watch_asking(&mut self, at: usize, key: RequestKey, request: &pb::ClientRequest) {
        let (executor, Some(oracles)) = (&self.executors[at], &mut self.oracles) else { return };
        match &request.body {
            Some(Ask::Heartbeat(beat)) => {
                oracles.conduct.asks((at as u8, executor.run), key, beat.executor);
            }
            Some(Ask::DeregisterExecutor(_)) => {
                let own = |process: &&Process| process.run == executor.run;
                let left = executor.processes.values().find(own);
                self.ledger.hold(Rule::LeavesIdle, left.is_none(), || {
                    format!("machine {at} leaves the cluster, and runs {:?}", left.map(|left| &left.attempt))
                });
            }
            _ => {}
        }
    }

    /// The end of an executor's lease is proposed: heartbeats that were held reach that very leader just then.
    pub(super) fn last_words(&mut self, place: u8, lease: LeaseId) {
        let Some(node) = &self.masters[usize::from(place)].node else { return };
        let lost = |id: Option<ExecutorId>| {
            id.and_then(|id| node.state().executor(id)).is_some_and(|executor| executor.lease == lease.0)
        };
        let executor =
            self.executors.iter_mut().find(|executor| !executor.words.is_empty() && lost(executor.id));
        let Some(executor) = executor else { return };
        for (origin, bytes) in core::mem::take(&mut executor.words) {
            self.marks.hit(SimMark::LastWordHeard);
            self.queue.push(self.time, Event::Request { to: place, origin, bytes });
        }
    }

    /// An answer, or none: then the next request goes to another master.
    pub(super) fn agent_answered(&mut self, place: u8, run: u64, key: RequestKey, reply: Option<Bytes>) {
        let at = usize::from(place);
        let executor = &mut self.executors[at];
        if executor.run != run {
            return;
        }
        let Some(asked) = executor.asked.remove(&key) else { return };
        let Ok(reply) = reply.map(pb::ClientReply::decode).transpose() else {
            return self.ledger.fail(Rule::Contract, "an answer does not decode".to_owned());
        };
        let masters = self.plan.masters.clocks.len() as u64;
        match reply.as_ref().map(|reply| &reply.body) {
            None => executor.target = (u64::from(executor.target) + 1).wrapping_rem(masters) as u8,
            Some(Some(Body::Refusal(refusal))) if refusal.code() == pb::RefusalCode::Unavailable => {
                let next =
                    if refusal.leader > 0 { refusal.leader - 1 } else { u64::from(executor.target) + 1 };
                executor.target = (next % masters) as u8;
            }
            Some(_) => {}
        }
        if let Some(reply) = &reply {
            executor.learn(&asked, reply);
        }
        self.mark(25, place, key.0, &[u8::from(reply.is_some())]);
        if let (Some(oracles), Some(reply)) = (&mut self.oracles, &reply) {
            // Agents keep no floor: their requests overlap.
            oracles.answers.answered(
                &mut self.ledger,
                &oracles.consensus,
                &oracles.reference,
                &asked.request,
                Index(0),
                reply,
            );
        }
        self.line(Endpoint::Executor(place), "answered", || {
            reply.as_ref().map_or_else(|| "nothing".to_owned(), describe::reply)
        });
        self.step_agent(at, AgentInput::Reply { key, reply: reply.map(Box::new) });
    }

    pub(super) fn call_arrives(&mut self, to: u8, from: u8, run: u64, key: CallKey, bytes: &Bytes) {
        let at = usize::from(to);
        let executor = &mut self.executors[at];
        if executor.agent.is_none() {
            let times = self.network.send(
                self.time,
                Endpoint::Executor(to),
                Endpoint::Master(from),
                1,
                MessageKind::Other,
            );
            if let Some(time) = times[0] {
                self.queue.push(time, Event::CallAnswer { to: from, run, key, reply: None });
            }
            return;
        }
        let Ok(call) = pb::ExecutorCall::decode(bytes.clone()) else {
            return self.ledger.fail(Rule::Contract, "a call does not decode".to_owned());
        };
        let own = executor.call_key();
        executor.calls.insert(own, (from, run, key));
        if let Some(oracles) = &mut self.oracles {
            oracles.truth.called(to, own, &call);
        }
        self.mark(26, to, own.0, bytes);
        self.line(Endpoint::Executor(to), "called", || describe::call(&call));
        self.step_agent(at, AgentInput::Call { key: own, call: Box::new(call) });
    }
}

impl Executor {
    /// Follows the lease as the masters' answers give it.
    fn learn(&mut self, asked: &Asked, reply: &pb::ClientReply) {
        let ttl = match (&asked.request.body, &reply.body) {
            (Some(Ask::RegisterExecutor(_)), Some(Body::RegisterExecutor(registered))) => {
                self.id = Some(ExecutorId(registered.executor));
                self.lease_until = Time(0);
                registered.ttl_ms
            }
            (Some(Ask::Heartbeat(beat)), Some(Body::Heartbeat(answer)))
                if Some(ExecutorId(beat.executor)) == self.id =>
            {
                answer.ttl_ms
            }
            _ => return,
        };
        self.lease_until = self.lease_until.max(asked.sent + Duration::from_millis(ttl));
    }
}
