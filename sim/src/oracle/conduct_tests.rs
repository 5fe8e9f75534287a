//! Each rule of an agent's conduct, kept and broken. An agent that breaks one is made of a good one: it is not handed what
//! the rules are told that it was handed, or another agent is shown in its place.

use super::*;
use pb::client_request::Body as Ask;
use quorate_core::{
    agent::{AgentConfig, AgentOutput, ProcessEvent},
    types::{CallKey, Now, Time},
};

/// Where and which run the agent is.
const WHO: (u8, u64) = (3, 1);
const EXECUTOR: u64 = 9;
/// Longer than any of these stories.
const TTL_MS: u64 = 60_000;

/// An agent, the rules that watch it, and its masters.
struct Watched {
    agent: Agent,
    conduct: Conduct,
    ledger: Ledger,
    now: Time,
    requests: Vec<(RequestKey, pb::ClientRequest)>,
    replies: Vec<pb::ExecutorCallReply>,
    calls: u64,
}

fn id(number: u32, epoch: u64) -> AttemptId {
    AttemptId { task: TaskKey { job: JobId::parse("job").unwrap(), number }, epoch: Epoch(epoch) }
}

fn key_of(id: &AttemptId) -> Option<pb::AttemptKey> {
    Some(pb::AttemptKey { job: id.task.job.to_string(), number: id.task.number, epoch: id.epoch.0 })
}

fn reply(body: Body) -> Option<Box<pb::ClientReply>> {
    Some(Box::new(pb::ClientReply { index: 0, body: Some(body) }))
}

/// An answer to a heartbeat. `stop`: whether an attempt is to end.
fn set(index: u64, wanted: &[(&AttemptId, bool)]) -> Option<Box<pb::ClientReply>> {
    let specification = pb::JobSpecification { argv: vec!["true".to_owned()], ..Default::default() };
    let desired = wanted.iter().map(|&(id, stop)| pb::DesiredAttempt {
        attempt: key_of(id),
        stop,
        specification: (!stop).then(|| specification.clone()),
    });
    let desired = desired.collect();
    reply(Body::Heartbeat(pb::HeartbeatReply { sequence: 0, index, desired, ttl_ms: TTL_MS }))
}

impl Watched {
    /// Registered, with a heartbeat under way.
    fn new() -> Self {
        let config = AgentConfig {
            name: "a".to_owned(),
            address: "h:1".to_owned(),
            slots: 4,
            ..AgentConfig::default()
        };
        let now = Time(1_000_000_000);
        let agent = Agent::new(config, 7, Now { time: now, wall_ms: 0 });
        let mut watched = Self {
            agent,
            conduct: Conduct::default(),
            ledger: Ledger::default(),
            now,
            requests: Vec::new(),
            replies: Vec::new(),
            calls: 0,
        };
        watched.drain();
        let session = pb::OpenSessionReply { session: 3, ttl_ms: TTL_MS };
        watched.answered(reply(Body::OpenSession(session)));
        let registered = pb::RegisterExecutorReply { executor: EXECUTOR, ttl_ms: TTL_MS, grace_ms: 2_000 };
        watched.answered(reply(Body::RegisterExecutor(registered)));
        watched
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                AgentOutput::Request { key, request, .. } => {
                    if let Some(Ask::Heartbeat(beat)) = &request.body {
                        self.conduct.asks(WHO, key, beat.executor);
                    }
                    if !matches!(request.body, Some(Ask::CloseSession(_))) {
                        self.requests.push((key, *request));
                    }
                }
                AgentOutput::CallReply { reply, .. } => {
                    self.conduct.answers(&mut self.ledger, WHO, &reply);
                    self.replies.push(*reply);
                }
                _ => {}
            }
        }
    }

    /// The agent takes an input, and the rules look.
    fn step(&mut self, input: AgentInput) {
        self.conduct.takes(WHO, &self.agent, &input);
        self.agent.step(Now { time: self.now, wall_ms: 0 }, input);
        self.drain();
        self.conduct.stepped(&mut self.ledger, WHO, &self.agent);
    }

    /// The rules are told of an input that the agent never sees: it does nothing about it.
    fn ignore(&mut self, input: &AgentInput) {
        self.conduct.takes(WHO, &self.agent, input);
        self.conduct.stepped(&mut self.ledger, WHO, &self.agent);
    }

    /// The same, and then another agent is shown in its place.
    fn becomes(&mut self, input: &AgentInput, other: &Agent) {
        self.conduct.takes(WHO, &self.agent, input);
        self.conduct.stepped(&mut self.ledger, WHO, other);
    }

    /// The answer to what was asked last.
    fn answer(&mut self, mut answer: Option<Box<pb::ClientReply>>) -> AgentInput {
        let (key, request) = self.requests.pop().expect("it asks for something");
        if let Some(Ask::Heartbeat(asked)) = request.body
            && let Some(Body::Heartbeat(beat)) = answer.as_mut().and_then(|answer| answer.body.as_mut())
        {
            beat.sequence = asked.sequence;
        }
        AgentInput::Reply { key, reply: answer }
    }

    fn answered(&mut self, answer: Option<Box<pb::ClientReply>>) {
        let input = self.answer(answer);
        self.step(input);
    }

    /// A heartbeat is sent, if none is under way.
    fn beat(&mut self) {
        while self.requests.is_empty() {
            self.now = self.now.max(self.agent.next_deadline().expect("it serves"));
            self.step(AgentInput::Deadline);
        }
    }

    /// The answer to a heartbeat, which the agent is not handed yet.
    fn set(&mut self, index: u64, wanted: &[(&AttemptId, bool)]) -> AgentInput {
        self.beat();
        self.answer(set(index, wanted))
    }

    /// The agent is handed a set.
    fn told(&mut self, index: u64, wanted: &[(&AttemptId, bool)]) {
        let input = self.set(index, wanted);
        self.step(input);
    }

    fn started(&mut self, id: &AttemptId) {
        self.step(AgentInput::Process { attempt: id.clone(), event: ProcessEvent::Started });
    }

    fn header(&self, executor: u64, index: u64) -> Option<pb::CallHeader> {
        let incarnation = self.agent.incarnation().map_or(0, |incarnation| incarnation.0);
        Some(pb::CallHeader { cluster: 1, term: 1, index, executor, incarnation })
    }

    fn pre_dispatch(&mut self, executor: u64, index: u64, id: &AttemptId) -> AgentInput {
        let header = self.header(executor, index);
        let specification = pb::JobSpecification { argv: vec!["true".to_owned()], ..Default::default() };
        self.call(Call::PreDispatch(pb::PreDispatchRequest {
            header,
            attempt: key_of(id),
            specification: Some(specification),
        }))
    }

    fn stop(&mut self, index: u64, id: &AttemptId) -> AgentInput {
        let header = self.header(EXECUTOR, index);
        self.call(Call::Stop(pb::StopRequest { header, attempt: key_of(id) }))
    }

    fn call(&mut self, body: Call) -> AgentInput {
        self.calls += 1;
        let call = Box::new(pb::ExecutorCall { body: Some(body) });
        AgentInput::Call { key: CallKey(self.calls), call }
    }

    /// The rules are told of a call, and that it was taken. The agent never sees it.
    fn takes(&mut self, call: &AgentInput) {
        self.conduct.takes(WHO, &self.agent, call);
        let taken = pb::ExecutorCallReply { body: Some(Answer::PreDispatch(pb::PreDispatchReply {})) };
        self.conduct.answers(&mut self.ledger, WHO, &taken);
        self.conduct.stepped(&mut self.ledger, WHO, &self.agent);
    }

    fn clean(&self) {
        assert_eq!(self.ledger.violation, None);
    }

    /// This rule is broken, and the message names these.
    fn broken(&self, rule: Rule, words: &[&str]) {
        let violation = self.ledger.violation.as_ref().expect("a rule is broken");
        assert_eq!(violation.rule, rule, "{}", violation.message);
        for word in words {
            assert!(violation.message.contains(word), "{word:?} is not in {:?}", violation.message);
        }
    }

    /// How often a rule was looked at.
    fn looked(&self, rule: Rule) -> u64 {
        self.ledger.looked()[rule.name()]
    }

    fn phase(&self, id: &AttemptId) -> Option<AttemptPhase> {
        self.agent.attempts().find(|(held, _)| held == id).map(|(_, phase)| phase)
    }
}

#[test]
fn an_agent_that_does_as_it_is_told_breaks_nothing_and_every_rule_looks() {
    let (one, two, three) = (id(0, 1), id(1, 1), id(2, 1));
    let mut agent = Watched::new();
    agent.told(5, &[(&one, false), (&two, false)]);
    agent.started(&one);
    agent.started(&two);
    // A call of later brings a third one, which a set from before it does not name.
    let call = agent.pre_dispatch(EXECUTOR, 8, &three);
    agent.step(call);
    agent.told(6, &[(&one, false), (&two, true)]);
    assert!(agent.phase(&three).is_some(), "the newer call's attempt is kept");
    let call = agent.stop(9, &one);
    agent.step(call);
    // An older set changes nothing, and a newer one without any of them ends all.
    agent.told(4, &[]);
    agent.told(10, &[]);
    agent.step(AgentInput::Shutdown);
    agent.clean();
    for rule in [Rule::CallOfOther, Rule::OldCall, Rule::OlderSet, Rule::Undesired, Rule::StopObeyed] {
        assert!(agent.looked(rule) > 0, "{} was never looked at", rule.name());
    }
}

#[test]
fn a_call_for_another_registration_is_not_taken() {
    let mut agent = Watched::new();
    let call = agent.pre_dispatch(EXECUTOR + 1, 8, &id(0, 1));
    agent.step(call.clone());
    agent.clean();
    assert!(matches!(agent.replies[0].body, Some(Answer::Refusal(_))), "{:?}", agent.replies);
    agent.takes(&call);
    agent.broken(Rule::CallOfOther, &["machine 3", "another registration"]);
}

#[test]
fn a_call_of_another_incarnation_is_not_taken() {
    let mut agent = Watched::new();
    let mut call = agent.pre_dispatch(EXECUTOR, 8, &id(0, 1));
    if let AgentInput::Call { call, .. } = &mut call
        && let Some(Call::PreDispatch(ask)) = &mut call.body
        && let Some(header) = &mut ask.header
    {
        header.incarnation ^= 1;
    }
    agent.takes(&call);
    agent.broken(Rule::CallOfOther, &["machine 3"]);
}

#[test]
fn a_call_starts_nothing_that_a_newer_set_no_longer_names() {
    let (one, two) = (id(0, 1), id(1, 1));
    let mut agent = Watched::new();
    agent.told(8, &[(&one, false)]);
    // What the set names, and what comes after it, may be brought by a call.
    for (index, id) in [(7, &one), (9, &two)] {
        let call = agent.pre_dispatch(EXECUTOR, index, id);
        agent.takes(&call);
        agent.clean();
    }
    let call = agent.pre_dispatch(EXECUTOR, 8, &two);
    agent.takes(&call);
    agent.broken(Rule::OldCall, &["job/1", "index 8", "a set of 8"]);
}

#[test]
fn a_refused_call_breaks_nothing() {
    let mut agent = Watched::new();
    agent.told(8, &[]);
    let call = agent.pre_dispatch(EXECUTOR, 3, &id(0, 1));
    agent.step(call);
    assert!(matches!(agent.replies[0].body, Some(Answer::Refusal(_))), "{:?}", agent.replies);
    agent.clean();
    assert_eq!(agent.looked(Rule::OldCall), 0);
}

#[test]
fn a_set_that_is_older_brings_nothing() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    let mut other = Watched::new();
    other.told(8, &[(&one, false)]);
    agent.told(8, &[]);
    let older = agent.set(7, &[(&one, false)]);
    agent.becomes(&older, &other.agent);
    agent.broken(Rule::OlderSet, &["set of 8", "that of 7", "job/0"]);
}

#[test]
fn a_set_that_is_older_ends_nothing() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    agent.told(8, &[(&one, false)]);
    agent.started(&one);
    assert_eq!(agent.phase(&one), Some(AttemptPhase::Running));
    let mut other = Watched::new();
    other.told(8, &[(&one, false)]);
    other.started(&one);
    other.told(9, &[]);
    assert_ne!(other.phase(&one), Some(AttemptPhase::Running));
    let older = agent.set(7, &[]);
    agent.becomes(&older, &other.agent);
    agent.broken(Rule::OlderSet, &["brings nothing and ends job/0"]);
}

#[test]
fn what_a_set_does_not_name_is_ended() {
    let (one, two) = (id(0, 1), id(1, 1));
    let mut agent = Watched::new();
    agent.told(5, &[(&one, false), (&two, false)]);
    agent.started(&one);
    agent.started(&two);
    let newer = agent.set(6, &[(&two, false)]);
    agent.ignore(&newer);
    agent.broken(Rule::Undesired, &["job/0", "set of 6"]);
}

#[test]
fn what_a_later_call_brought_outlives_a_set_but_not_for_ever() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    agent.told(5, &[]);
    let call = agent.pre_dispatch(EXECUTOR, 7, &one);
    agent.step(call);
    let before_the_call = agent.set(6, &[]);
    agent.ignore(&before_the_call);
    agent.clean();
    let after_the_call = agent.set(7, &[]);
    agent.ignore(&after_the_call);
    agent.broken(Rule::Undesired, &["job/0", "set of 7"]);
}

#[test]
fn a_set_that_stops_an_attempt_is_obeyed() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    agent.told(5, &[(&one, false)]);
    agent.started(&one);
    let stop = agent.set(6, &[(&one, true)]);
    agent.ignore(&stop);
    agent.broken(Rule::StopObeyed, &["job/0", "Running"]);
}

#[test]
fn a_call_that_stops_an_attempt_is_obeyed() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    agent.told(5, &[(&one, false)]);
    agent.started(&one);
    // What is not held has nothing to stop.
    let of_nothing = agent.stop(6, &id(7, 1));
    agent.ignore(&of_nothing);
    agent.clean();
    let call = agent.stop(6, &one);
    agent.ignore(&call);
    agent.broken(Rule::StopObeyed, &["is to stop job/0", "Running"]);
}

#[test]
fn a_shutdown_stops_everything() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    agent.told(5, &[(&one, false)]);
    agent.started(&one);
    agent.ignore(&AgentInput::Shutdown);
    agent.broken(Rule::StopObeyed, &["job/0", "Running"]);
}

#[test]
fn another_run_of_a_machine_owes_nothing_to_the_one_before() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    agent.told(9, &[(&one, false)]);
    agent.started(&one);
    let fresh = Watched::new();
    let again = (WHO.0, WHO.1 + 1);
    let conduct = &mut agent.conduct;
    conduct.asks(again, RequestKey(77), EXECUTOR);
    // An index that would be older than the set of the run before.
    let input = AgentInput::Reply { key: RequestKey(77), reply: set(2, &[]) };
    conduct.takes(again, &fresh.agent, &input);
    conduct.stepped(&mut agent.ledger, again, &fresh.agent);
    agent.clean();
    assert_eq!((agent.looked(Rule::OlderSet), agent.looked(Rule::Undesired)), (0, 2));
}

#[test]
fn an_answer_that_came_for_another_registration_says_nothing() {
    let one = id(0, 1);
    let mut agent = Watched::new();
    agent.told(5, &[(&one, false)]);
    agent.started(&one);
    agent.conduct.asks(WHO, RequestKey(500), EXECUTOR + 1);
    agent.ignore(&AgentInput::Reply { key: RequestKey(500), reply: set(9, &[]) });
    agent.clean();
}
