//! Stories of one agent in virtual time: the test is its masters, its guards and its clock.

mod calls;
mod lease;
mod model;
mod work;

use super::*;
use crate::types::{Epoch, JobId, TaskKey};
use pb::{client_reply, executor_call, executor_call_reply};

/// An agent with everything that it put out and nobody took yet.
struct World {
    agent: Agent,
    now: Time,
    outputs: Vec<AgentOutput>,
    calls: u64,
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn attempt(number: u32, epoch: u64) -> AttemptId {
    AttemptId { task: TaskKey { job: JobId::parse("job").unwrap(), number }, epoch: Epoch(epoch) }
}

fn key_of(id: &AttemptId) -> pb::AttemptKey {
    pb::AttemptKey { job: id.task.job.to_string(), number: id.task.number, epoch: id.epoch.0 }
}

fn specification() -> pb::JobSpecification {
    pb::JobSpecification { argv: vec!["true".into()], stop_timeout_ms: 1_000, ..Default::default() }
}

fn wanted(id: &AttemptId) -> pb::DesiredAttempt {
    pb::DesiredAttempt { attempt: Some(key_of(id)), stop: false, specification: Some(specification()) }
}

fn unwanted(id: &AttemptId) -> pb::DesiredAttempt {
    pb::DesiredAttempt { attempt: Some(key_of(id)), stop: true, specification: None }
}

fn reply(body: client_reply::Body) -> pb::ClientReply {
    pb::ClientReply { index: 0, body: Some(body) }
}

fn refused(code: pb::RefusalCode) -> pb::ClientReply {
    let refusal = pb::Refusal { code: code.into(), message: "because".into(), leader: 0 };
    reply(client_reply::Body::Refusal(refusal))
}

fn ended(code: i32) -> ProcessEvent {
    ProcessEvent::Ended { end: pb::AttemptEnd::Exited, code, message: String::new() }
}

fn heartbeat_of(request: &pb::ClientRequest) -> Option<&pb::HeartbeatRequest> {
    if let Some(client_request::Body::Heartbeat(heartbeat)) = &request.body { Some(heartbeat) } else { None }
}

impl World {
    fn new() -> Self {
        Self::with_slots(4)
    }

    fn with_slots(slots: u32) -> Self {
        let config = AgentConfig { name: "a".into(), address: "h:1".into(), slots, ..AgentConfig::default() };
        let start = Time(1_000_000_000);
        let agent = Agent::new(config, 7, Now { time: start, wall_ms: 0 });
        let mut world = Self { agent, now: start, outputs: Vec::new(), calls: 0 };
        world.drain();
        world
    }

    /// Registered as executor 9 with a ttl of 5 s; the registering request went out at the world's start.
    fn serving() -> Self {
        Self::serving_with(4)
    }

    fn serving_with(slots: u32) -> Self {
        let mut world = Self::with_slots(slots);
        world.register(9);
        world
    }

    fn register(&mut self, executor: u64) {
        let (key, request) = self.request();
        assert!(matches!(request.body, Some(client_request::Body::OpenSession(_))), "{request:?}");
        self.answer(
            key,
            Some(reply(client_reply::Body::OpenSession(pb::OpenSessionReply { session: 3, ttl_ms: 1 }))),
        );
        let (key, request) = self.request();
        assert!(matches!(request.body, Some(client_request::Body::RegisterExecutor(_))), "{request:?}");
        self.registered(key, executor);
    }

    fn registered(&mut self, key: RequestKey, executor: u64) {
        let body = pb::RegisterExecutorReply { executor, ttl_ms: 5_000, grace_ms: 2_000 };
        self.answer(key, Some(reply(client_reply::Body::RegisterExecutor(body))));
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            self.outputs.push(output);
        }
    }

    fn step(&mut self, input: AgentInput) {
        self.agent.step(Now { time: self.now, wall_ms: 0 }, input);
        self.drain();
    }

    fn answer(&mut self, key: RequestKey, reply: Option<pb::ClientReply>) {
        self.step(AgentInput::Reply { key, reply: reply.map(Box::new) });
    }

    fn process(&mut self, attempt: &AttemptId, event: ProcessEvent) {
        self.step(AgentInput::Process { attempt: attempt.clone(), event });
    }

    /// Runs every deadline up to a time from now.
    fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        for turn in 0.. {
            let Some(next) = self.agent.next_deadline().filter(|next| *next <= until) else { break };
            assert!(turn < 10_000, "it spins");
            self.now = self.now.max(next);
            self.step(AgentInput::Deadline);
        }
        self.now = until;
    }

    fn take<T>(&mut self, pick: impl Fn(&AgentOutput) -> Option<T>) -> Vec<T> {
        let taken = self.outputs.iter().filter_map(&pick).collect();
        self.outputs.retain(|output| pick(output).is_none());
        taken
    }

    /// Every request that was not taken yet, but those to close a session.
    fn requests(&mut self) -> Vec<(RequestKey, pb::ClientRequest)> {
        let all = self.take(|output| {
            if let AgentOutput::Request { key, request, .. } = output {
                Some((*key, (**request).clone()))
            } else {
                None
            }
        });
        all.into_iter()
            .filter(|(_, request)| !matches!(request.body, Some(client_request::Body::CloseSession(_))))
            .collect()
    }

    fn request(&mut self) -> (RequestKey, pb::ClientRequest) {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// The one heartbeat that was not taken yet.
    fn heartbeat(&mut self) -> (RequestKey, pb::HeartbeatRequest) {
        let (key, request) = self.request();
        (key, heartbeat_of(&request).expect("a heartbeat").clone())
    }

    fn acknowledge(&mut self, key: RequestKey, sequence: u64, index: u64, desired: Vec<pb::DesiredAttempt>) {
        let body = pb::HeartbeatReply { sequence, index, desired, ttl_ms: 5_000 };
        self.answer(key, Some(reply(client_reply::Body::Heartbeat(body))));
    }

    /// Waits for the next heartbeat, and acknowledges it with this set. Answers its reports.
    fn set(&mut self, index: u64, desired: Vec<pb::DesiredAttempt>) -> Vec<pb::AttemptReport> {
        for _ in 0..100 {
            let mut sent: Vec<_> =
                self.requests().into_iter().filter(|(_, request)| heartbeat_of(request).is_some()).collect();
            if let Some((key, request)) = sent.pop() {
                let heartbeat = heartbeat_of(&request).unwrap().clone();
                self.acknowledge(key, heartbeat.sequence, index, desired);
                return heartbeat.reports;
            }
            let next = self.agent.next_deadline().expect("a heartbeat is due");
            self.pass(next.since(self.now));
        }
        panic!("no heartbeat");
    }

    fn header(&self, index: u64) -> Option<pb::CallHeader> {
        let incarnation = self.agent.incarnation().map_or(0, |incarnation| incarnation.0);
        let executor = self.agent.executor().map_or(9, |executor| executor.0);
        Some(pb::CallHeader { cluster: 5, term: 2, executor, incarnation, index })
    }

    fn call(&mut self, body: executor_call::Body) -> Result<(), pb::RefusalCode> {
        self.calls += 1;
        let key = CallKey(self.calls);
        self.step(AgentInput::Call { key, call: Box::new(pb::ExecutorCall { body: Some(body) }) });
        let replies = self.take(|output| {
            if let AgentOutput::CallReply { key, reply } = output {
                Some((*key, (**reply).clone()))
            } else {
                None
            }
        });
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].0, key);
        match replies[0].1.body.as_ref().expect("an answer") {
            executor_call_reply::Body::Refusal(refusal) => Err(refusal.code()),
            _ => Ok(()),
        }
    }

    fn pre_dispatch(&mut self, id: &AttemptId, index: u64) -> Result<(), pb::RefusalCode> {
        let (header, attempt) = (self.header(index), Some(key_of(id)));
        let specification = Some(specification());
        self.call(executor_call::Body::PreDispatch(pb::PreDispatchRequest { header, attempt, specification }))
    }

    fn confirm(&mut self, id: &AttemptId, index: u64) -> Result<(), pb::RefusalCode> {
        let (header, attempt) = (self.header(index), Some(key_of(id)));
        self.call(executor_call::Body::Confirm(pb::ConfirmRequest { header, attempt }))
    }

    fn stop(&mut self, id: &AttemptId, index: u64) -> Result<(), pb::RefusalCode> {
        let (header, attempt) = (self.header(index), Some(key_of(id)));
        self.call(executor_call::Body::Stop(pb::StopRequest { header, attempt }))
    }

    fn starts(&mut self) -> Vec<AttemptId> {
        self.take(
            |output| {
                if let AgentOutput::Start { attempt, .. } = output { Some(attempt.clone()) } else { None }
            },
        )
    }

    fn kills(&mut self) -> Vec<AttemptId> {
        self.take(
            |output| if let AgentOutput::Kill { attempt } = output { Some(attempt.clone()) } else { None },
        )
    }

    fn terminates(&mut self) -> Vec<AttemptId> {
        self.take(
            |output| {
                if let AgentOutput::Terminate { attempt } = output { Some(attempt.clone()) } else { None }
            },
        )
    }

    fn forgets(&mut self) -> Vec<AttemptId> {
        self.take(
            |output| if let AgentOutput::Forget { attempt } = output { Some(attempt.clone()) } else { None },
        )
    }

    fn fenced(&mut self) -> bool {
        let pick = |output: &AgentOutput| {
            matches!(output, AgentOutput::Trace(AgentTrace::Fenced { .. })).then_some(())
        };
        !self.take(pick).is_empty()
    }

    fn stopped(&mut self) -> bool {
        !self.take(|output| matches!(output, AgentOutput::Stop).then_some(())).is_empty()
    }

    fn phases(&self) -> Vec<(AttemptId, pb::AttemptPhase)> {
        self.agent.attempts().collect()
    }
}
