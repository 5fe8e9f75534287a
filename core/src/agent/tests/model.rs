//! Any inputs in any order, against a model that watches what must never happen.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SLOTS: u32 = 3;
const TASKS: u32 = 4;
const TTL: u64 = 5_000;

/// What the masters want of each task at one log index.
type Wanted = BTreeMap<u32, (u64, bool)>;

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Assign(u32),
    Unassign(u32),
    StopTask(u32),
    /// Answers a request that is out, as of an index since it was sent; perhaps keeps a copy for later.
    Answer {
        pick: usize,
        index: usize,
        copy: bool,
    },
    /// Delivers a kept copy.
    Repeat(usize),
    Lose(usize),
    Refuse {
        pick: usize,
        code: usize,
    },
    /// Calls about a task as of any index, for the newest incarnation or for one before.
    Call {
        kind: u8,
        task: u32,
        index: usize,
        back: usize,
    },
    Process {
        pick: usize,
        kind: u8,
    },
    /// Only 0 does it: most runs are to go on.
    Shutdown(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let pick = || prop_oneof![3 => Just(0_usize), 1 => 0..1_000_usize];
    prop_oneof![
        8 => prop_oneof![10 => 0..30_u64, 10 => 0..600_u64, 1 => 4_000..6_000_u64].prop_map(Op::Pass),
        6 => (0..TASKS).prop_map(Op::Assign),
        2 => (0..TASKS).prop_map(Op::Unassign),
        2 => (0..TASKS).prop_map(Op::StopTask),
        24 => (pick(), pick(), any::<bool>()).prop_map(|(pick, index, copy)| Op::Answer { pick, index, copy }),
        3 => pick().prop_map(Op::Repeat),
        3 => pick().prop_map(Op::Lose),
        1 => (pick(), 0..5_usize).prop_map(|(pick, code)| Op::Refuse { pick, code }),
        12 => (0..3_u8, 0..TASKS, pick(), prop_oneof![9 => Just(0), 1 => pick()])
            .prop_map(|(kind, task, index, back)| Op::Call { kind, task, index, back }),
        8 => (pick(), 0..4_u8).prop_map(|(pick, kind)| Op::Process { pick, kind }),
        1 => (0..5_u8).prop_map(Op::Shutdown),
    ]
}

struct Out {
    request: pb::ClientRequest,
    sent: Time,
    index: usize,
}

struct Model {
    agent: Agent,
    now: Time,
    /// The state at each log index.
    history: Vec<Wanted>,
    epochs: BTreeMap<u32, u64>,
    out: BTreeMap<RequestKey, Out>,
    copies: Vec<(RequestKey, pb::ClientReply)>,
    /// Executor, incarnation and the index of each registration.
    registered: Vec<(u64, u64, usize)>,
    first_sent: BTreeMap<u64, Time>,
    deadline: Time,
    fence_at: Time,
    live: BTreeMap<AttemptId, bool>,
    started: BTreeSet<(u64, AttemptId)>,
    /// What a call was told will never start.
    never: BTreeSet<(u64, AttemptId)>,
    calls: BTreeMap<CallKey, (u64, AttemptId)>,
    stopped: bool,
}

impl Model {
    fn new(seed: u64) -> Self {
        let config = AgentConfig { slots: SLOTS, ..AgentConfig::default() };
        let mut model = Self {
            agent: Agent::new(config, seed, Now::default()),
            now: Time(0),
            history: vec![Wanted::new()],
            epochs: BTreeMap::new(),
            out: BTreeMap::new(),
            copies: Vec::new(),
            registered: Vec::new(),
            first_sent: BTreeMap::new(),
            deadline: Time(0),
            fence_at: Time(0),
            live: BTreeMap::new(),
            started: BTreeSet::new(),
            never: BTreeSet::new(),
            calls: BTreeMap::new(),
            stopped: false,
        };
        model.drain();
        model
    }

    fn incarnation(&self) -> u64 {
        self.agent.incarnation().map_or(0, |incarnation| incarnation.0)
    }

    fn step(&mut self, input: AgentInput) {
        assert!(!self.stopped || self.live.is_empty());
        self.agent.step(Now { time: self.now, wall_ms: 0 }, input);
        self.drain();
        self.check();
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            let refusal = matches!(output, AgentOutput::CallReply { .. });
            assert!(!self.stopped || refusal, "{output:?} after the stop");
            match output {
                AgentOutput::Request { key, request, .. } => self.sent(key, *request),
                AgentOutput::CallReply { key, reply } => self.replied(key, &reply),
                AgentOutput::Start { attempt, specification, deadline } => {
                    self.start(attempt, &specification, deadline);
                }
                AgentOutput::Kill { attempt } => {
                    *self.live.get_mut(&attempt).expect("what is killed must live") = true;
                }
                AgentOutput::Terminate { attempt } => assert!(self.live.contains_key(&attempt)),
                AgentOutput::Forget { attempt } => assert!(!self.live.contains_key(&attempt)),
                AgentOutput::Extend { deadline } => assert_eq!(deadline, self.deadline),
                AgentOutput::Trace(_) => {}
                AgentOutput::Stop => {
                    assert!(self.live.is_empty());
                    self.stopped = true;
                }
            }
        }
    }

    fn sent(&mut self, key: RequestKey, request: pb::ClientRequest) {
        match &request.body {
            Some(client_request::Body::RegisterExecutor(request)) => {
                self.first_sent.entry(request.incarnation).or_insert(self.now);
            }
            Some(client_request::Body::Heartbeat(heartbeat)) => {
                assert!(heartbeat.reports.len() <= limits::HEARTBEAT_REPORTS);
                let of = |out: &&Out| {
                    heartbeat_of(&out.request).is_some_and(|one| one.incarnation == heartbeat.incarnation)
                };
                assert!(self.out.values().filter(of).count() < limits::HEARTBEATS_INFLIGHT);
            }
            _ => {}
        }
        if matches!(request.body, Some(client_request::Body::CloseSession(_))) {
            return;
        }
        let index = self.history.len() - 1;
        assert!(self.out.insert(key, Out { request, sent: self.now, index }).is_none());
    }

    fn replied(&mut self, key: CallKey, reply: &pb::ExecutorCallReply) {
        let called = self.calls.remove(&key).expect("a call is answered once");
        if let Some(executor_call_reply::Body::Refusal(refusal)) = &reply.body
            && refusal.code() == pb::RefusalCode::Stale
        {
            self.never.insert(called);
        }
    }

    fn start(&mut self, attempt: AttemptId, specification: &pb::JobSpecification, deadline: Time) {
        let named = (self.incarnation(), attempt.clone());
        assert!(self.now < self.deadline && deadline == self.deadline, "started after the deadline");
        assert!(!self.never.contains(&named), "{attempt} was refused for good, and started");
        assert!(self.started.insert(named), "{attempt} started twice");
        assert!(self.live.keys().all(|live| live.task != attempt.task), "two attempts of one task at once");
        self.live.insert(attempt, false);
        assert!(
            self.live.len() * specification.slots_per_task.max(1) as usize <= SLOTS as usize,
            "too many slots"
        );
    }

    fn check(&self) {
        assert!(self.calls.is_empty(), "every call is answered at once");
        if self.now >= self.deadline {
            assert!(self.live.values().all(|killed| *killed), "{:?} outlives the lease", self.live);
        }
        if let Some(deadline) = self.agent.deadline() {
            assert_eq!(deadline, self.deadline);
        }
        assert!(self.agent.next_deadline().is_none_or(|next| next > self.now), "it would spin");
    }

    /// The `pick`th of the requests that are out, from the newest.
    fn pick(&mut self, pick: usize) -> Option<(RequestKey, Out)> {
        let key = *self.out.keys().rev().nth(pick % self.out.len().max(1))?;
        Some((key, self.out.remove(&key).unwrap()))
    }

    fn desired(&self, index: usize, reports: &[pb::AttemptReport]) -> Vec<pb::DesiredAttempt> {
        let one = |(number, (epoch, stop)): (&u32, &(u64, bool))| {
            let id = attempt(*number, *epoch);
            let known = reports.iter().any(|report| report.attempt == Some(key_of(&id)));
            pb::DesiredAttempt { stop: *stop, specification: (!known).then(specification), ..wanted(&id) }
        };
        self.history[index].iter().map(one).collect()
    }

    fn body(&mut self, out: &Out, index: usize) -> Option<client_reply::Body> {
        Some(match out.request.body.as_ref()? {
            client_request::Body::OpenSession(_) => client_reply::Body::OpenSession(pb::OpenSessionReply {
                session: self.out.len() as u64 + 1,
                ttl_ms: 1,
            }),
            client_request::Body::RegisterExecutor(request) => {
                let executor = self.registered.len() as u64 + 1;
                // What another registration held is not this one's.
                self.history.push(Wanted::new());
                self.registered.push((executor, request.incarnation, self.history.len() - 1));
                client_reply::Body::RegisterExecutor(pb::RegisterExecutorReply {
                    executor,
                    ttl_ms: TTL,
                    grace_ms: 2_000,
                })
            }
            client_request::Body::Heartbeat(request) => {
                let index = out.index + index % (self.history.len() - out.index);
                let desired = self.desired(index, &request.reports);
                let body = pb::HeartbeatReply {
                    sequence: request.sequence,
                    index: index as u64,
                    desired,
                    ttl_ms: TTL,
                };
                client_reply::Body::Heartbeat(body)
            }
            client_request::Body::DeregisterExecutor(_) => {
                client_reply::Body::DeregisterExecutor(pb::DeregisterExecutorReply {})
            }
            _ => return None,
        })
    }

    fn answer(&mut self, pick: usize, index: usize, copy: bool) {
        let Some((key, out)) = self.pick(pick) else { return };
        let body = self.body(&out, index);
        let grown = out.sent + ms(TTL);
        match &out.request.body {
            // An acknowledgement counts only while the agent has not given up.
            Some(client_request::Body::Heartbeat(request))
                if request.incarnation == self.incarnation()
                    && self.agent.deadline().is_some()
                    && self.now < self.fence_at
                    && grown > self.deadline =>
            {
                (self.deadline, self.fence_at) = (grown, grown);
            }
            Some(client_request::Body::RegisterExecutor(request))
                if request.incarnation == self.incarnation() =>
            {
                self.deadline = self.first_sent[&request.incarnation] + ms(TTL);
                self.fence_at = if self.now < self.deadline { self.deadline } else { self.now + ms(TTL) };
            }
            _ => {}
        }
        let reply = pb::ClientReply { index: 0, body };
        if copy {
            self.copies.push((key, reply.clone()));
        }
        self.step(AgentInput::Reply { key, reply: Some(Box::new(reply)) });
    }

    fn call(&mut self, kind: u8, task: u32, index: usize, back: usize) {
        let Some((executor, incarnation, first)) =
            self.registered.iter().rev().nth(back % self.registered.len().max(1))
        else {
            return;
        };
        let index = first + index % (self.history.len() - first);
        let Some((epoch, _)) = self.history[index].get(&task) else { return };
        let id = attempt(task, *epoch);
        let (executor, incarnation) = (*executor, *incarnation);
        let header = Some(pb::CallHeader { cluster: 5, term: 1, executor, incarnation, index: index as u64 });
        let attempt = Some(key_of(&id));
        let body = match kind {
            0 => executor_call::Body::PreDispatch(pb::PreDispatchRequest {
                header,
                attempt,
                specification: Some(specification()),
            }),
            1 => executor_call::Body::Confirm(pb::ConfirmRequest { header, attempt }),
            _ => executor_call::Body::Stop(pb::StopRequest { header, attempt }),
        };
        let key = CallKey(index as u64);
        self.calls.insert(key, (incarnation, id));
        self.step(AgentInput::Call { key, call: Box::new(pb::ExecutorCall { body: Some(body) }) });
    }

    fn process(&mut self, pick: usize, kind: u8) {
        let Some(id) = self.live.keys().nth(pick % self.live.len().max(1)).cloned() else { return };
        let event = match kind {
            0 => ProcessEvent::NotStarted { message: String::new() },
            1 | 2 => ProcessEvent::Started,
            _ => ended(0),
        };
        if event != ProcessEvent::Started {
            self.live.remove(&id);
        }
        self.step(AgentInput::Process { attempt: id, event });
    }

    fn change(&mut self, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = self.history.last().unwrap().clone();
        change(&mut wanted);
        self.history.push(wanted);
    }

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

    fn run(&mut self, op: Op) {
        match op {
            Op::Pass(milliseconds) => self.pass(ms(milliseconds)),
            Op::Assign(task) => {
                let epoch = self.epochs.entry(task).or_default();
                *epoch += 1;
                let epoch = *epoch;
                self.change(|wanted| wanted.extend([(task, (epoch, false))]));
            }
            Op::Unassign(task) => self.change(|wanted| wanted.retain(|number, _| *number != task)),
            Op::StopTask(task) => self.change(|wanted| {
                wanted.entry(task).and_modify(|one| one.1 = true);
            }),
            Op::Answer { pick, index, copy } => self.answer(pick, index, copy),
            Op::Repeat(pick) => {
                if let Some((key, reply)) = self.copies.get(pick % self.copies.len().max(1)).cloned() {
                    self.step(AgentInput::Reply { key, reply: Some(Box::new(reply)) });
                }
            }
            Op::Lose(pick) => {
                if let Some((key, _)) = self.pick(pick) {
                    self.step(AgentInput::Reply { key, reply: None });
                }
            }
            Op::Refuse { pick, code } => {
                use pb::RefusalCode::{Exhausted, Invalid, NotFound, SessionExpired, Unavailable};
                let code = [Exhausted, Invalid, NotFound, SessionExpired, Unavailable][code];
                if let Some((key, _)) = self.pick(pick) {
                    self.step(AgentInput::Reply { key, reply: Some(Box::new(refused(code))) });
                }
            }
            Op::Call { kind, task, index, back } => self.call(kind, task, index, back),
            Op::Process { pick, kind } => self.process(pick, kind),
            Op::Shutdown(0) => self.step(AgentInput::Shutdown),
            Op::Shutdown(_) => {}
        }
    }
}

/// Runs in which something happened, so that the property says something.
fn started_in(seed: u64, ops: Vec<Op>) -> usize {
    let mut model = Model::new(seed);
    for op in ops {
        model.run(op);
    }
    model.started.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_starts_late_twice_or_too_much(seed: u64, ops in proptest::collection::vec(op(), 1..200)) {
        started_in(seed, ops);
    }
}

#[test]
fn the_model_lets_work_start() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::collection::vec(op(), 199);
    let started = |seed| {
        let ops = strategy.new_tree(&mut runner).expect("no filters").current();
        started_in(seed, ops)
    };
    let counts: Vec<usize> = (0..100).map(started).collect();
    assert!(counts.iter().sum::<usize>() > 300, "{counts:?}");
}
