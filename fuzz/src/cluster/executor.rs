//! One executor: its agent, and what really runs.

use super::{Event, World, master};
use crate::choices::Choices;
use prost::Message as _;
use quorate_core::{
    agent::{Agent, AgentConfig, AgentInput, AgentOutput, ProcessEvent},
    types::{AttemptId, CallKey, Incarnation, Now, RequestKey, TaskKey, Time},
};
use quorate_proto::v1 as pb;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// The variable in whose value each submission of a job has a number of its own.
pub(crate) const SERIAL: &str = "SERIAL";

/// A group of processes under its guard.
#[derive(Clone, Debug)]
struct Process {
    /// Which submission of the job it is of.
    serial: String,
    /// When its guard begins to kill it.
    guard: Time,
    /// It was killed, and is gone by then.
    killed: Option<Time>,
    started: bool,
    asked_to_end: bool,
}

impl Process {
    /// By when it is gone, whatever its agent does.
    fn dies_at(&self) -> Time {
        let lease = master::lease_times();
        let at_guard = self.guard + lease.check + lease.kill;
        self.killed.map_or(at_guard, |killed| killed.min(at_guard))
    }
}

/// A machine with an agent.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    index: usize,
    agent: Option<Agent>,
    run: u64,
    /// By the run of the agent that started them.
    processes: BTreeMap<(u64, AttemptId), Process>,
    /// What the agent has not heard yet.
    unheard: VecDeque<(AttemptId, ProcessEvent)>,
    /// Requests that wait, and until when.
    asked: BTreeMap<RequestKey, Time>,
    /// Calls that wait for an answer: whose they are.
    calls: BTreeMap<CallKey, (usize, u64, CallKey)>,
    last_call: u64,
    started: BTreeSet<(Incarnation, AttemptId)>,
}

/// Where an executor is called.
pub(crate) fn address_of(index: usize) -> String {
    format!("e{index}:1")
}

fn agent_of(index: usize, run: u64, now: Now) -> Agent {
    let config = AgentConfig {
        cluster: master::CLUSTER,
        name: format!("e{index}"),
        address: address_of(index),
        slots: 2,
        heartbeat: Duration::from_millis(100),
        lease: master::lease_times(),
        ..AgentConfig::default()
    };
    Agent::new(config, 1_000 * (index as u64 + 1) + run, now)
}

impl Executor {
    pub(crate) fn new(index: usize, now: Now) -> Self {
        Self {
            index,
            agent: Some(agent_of(index, 1, now)),
            run: 1,
            processes: BTreeMap::new(),
            unheard: VecDeque::new(),
            asked: BTreeMap::new(),
            calls: BTreeMap::new(),
            last_call: 0,
            started: BTreeSet::new(),
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    pub(crate) fn waits(&self, run: u64, key: RequestKey) -> bool {
        self.run == run && self.asked.contains_key(&key)
    }

    /// When it wants to be stepped, when a process of it is gone, or when a request of it has waited long enough.
    pub(crate) fn next_time(&self) -> Option<Time> {
        let agent = self.agent.as_ref().and_then(Agent::next_deadline);
        let deaths = self.processes.values().map(Process::dies_at);
        agent.into_iter().chain(deaths).chain(self.asked.values().copied()).min()
    }

    /// Requests that have waited long enough.
    pub(crate) fn overdue(&self, now: Time) -> Vec<RequestKey> {
        self.asked.iter().filter(|(_, due)| **due <= now).map(|(key, _)| *key).collect()
    }

    pub(crate) const fn run(&self) -> u64 {
        self.run
    }

    /// The agent's process is gone: every guard sees its pipe close.
    fn crash(&mut self, now: Time) {
        self.agent = None;
        let by = now + master::lease_times().kill;
        for process in self.processes.values_mut() {
            process.killed = Some(process.killed.map_or(by, |killed| killed.min(by)));
        }
        self.unheard.clear();
        self.asked.clear();
        self.calls.clear();
    }

    /// What has died by now.
    pub(crate) fn bury(&mut self, now: Time) {
        let dead = self.processes.iter().filter(|(_, process)| process.dies_at() <= now);
        for key in dead.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.end(&key, stopped());
        }
    }

    fn end(&mut self, key: &(u64, AttemptId), event: ProcessEvent) {
        if self.processes.remove(key).is_some() && key.0 == self.run && self.agent.is_some() {
            self.unheard.push_back((key.1.clone(), event));
        }
    }

    /// A process that goes on as processes do: it starts, and ends when it is asked to.
    fn go_on(&mut self) -> bool {
        let run = self.run;
        for ((of, attempt), process) in &mut self.processes {
            if *of == run && !process.started {
                process.started = true;
                self.unheard.push_back((attempt.clone(), ProcessEvent::Started));
                return true;
            }
        }
        let ending = self.processes.iter().find(|((of, _), process)| *of == run && process.asked_to_end);
        let Some(key) = ending.map(|(key, _)| key.clone()) else { return false };
        self.end(&key, stopped());
        true
    }
}

fn stopped() -> ProcessEvent {
    ProcessEvent::Ended { end: pb::AttemptEnd::Stopped, code: 0, message: String::new() }
}

fn exited(code: i32) -> ProcessEvent {
    ProcessEvent::Ended { end: pb::AttemptEnd::Exited, code, message: String::new() }
}

impl World {
    /// The one mutation of an agent.
    pub(crate) fn step_executor(&mut self, index: usize, input: AgentInput) {
        let now = self.now;
        let Some(agent) = &mut self.executors[index].agent else { return };
        agent.step(now, input);
        self.drain_executor(index);
    }

    pub(crate) fn drain_executor(&mut self, index: usize) {
        while let Some(output) = self.executors[index].agent.as_mut().and_then(Agent::poll_output) {
            self.obey(index, output);
        }
    }

    fn obey(&mut self, index: usize, output: AgentOutput) {
        let (now, hostile) = (self.now.time, self.hostile);
        let executor = &mut self.executors[index];
        let run = executor.run;
        match output {
            AgentOutput::Request { key, request, timeout } => {
                executor.asked.insert(key, now + timeout);
                self.events.push_back(Event::Ask { executor: index, run, key, request });
            }
            AgentOutput::CallReply { key, reply } => {
                if let Some((master, run, key)) = executor.calls.remove(&key) {
                    self.events.push_back(Event::Called { master, run, key, reply: Some(reply) });
                }
            }
            AgentOutput::Start { attempt, specification, deadline } => {
                self.start_attempt(index, attempt, &specification, deadline);
            }
            AgentOutput::Terminate { attempt } => {
                if let Some(process) = executor.processes.get_mut(&(run, attempt)) {
                    process.asked_to_end = true;
                }
            }
            AgentOutput::Kill { attempt } => {
                let by = now + master::lease_times().kill;
                if let Some(process) = executor.processes.get_mut(&(run, attempt)) {
                    process.killed.get_or_insert(by);
                }
            }
            AgentOutput::Forget { attempt } => {
                let lives = executor.processes.contains_key(&(run, attempt.clone()));
                assert!(hostile || !lives, "{attempt} was forgotten, and runs");
            }
            AgentOutput::Extend { deadline } => {
                let own = executor.agent.as_ref().and_then(Agent::deadline);
                assert!(
                    hostile || own.is_none_or(|own| own == deadline),
                    "guards are told {deadline:?}: it is {own:?}"
                );
                for ((of, _), process) in &mut executor.processes {
                    if *of == run {
                        process.guard = deadline;
                    }
                }
            }
            AgentOutput::Trace(_) => {}
            AgentOutput::Stop => {
                let idle = executor.processes.keys().all(|(of, _)| *of != run);
                assert!(hostile || idle, "an agent stopped, and work of it runs");
                executor.crash(now);
            }
        }
    }

    fn start_attempt(
        &mut self,
        index: usize,
        attempt: AttemptId,
        spec: &pb::JobSpecification,
        deadline: Time,
    ) {
        let now = self.now.time;
        let serial = spec.environment.iter().find(|pair| pair.name == SERIAL);
        let serial = serial.map(|pair| pair.value.clone()).unwrap_or_default();
        if !self.hostile {
            let agent = self.executors[index].agent.as_ref();
            let own = agent.and_then(Agent::deadline);
            assert!(
                own == Some(deadline) && now < deadline,
                "{attempt} starts at {now:?}: the lease ends {own:?}"
            );
            let incarnation = agent.and_then(Agent::incarnation).unwrap_or_default();
            let first = self.executors[index].started.insert((incarnation, attempt.clone()));
            assert!(first, "{attempt} starts a second time in one incarnation");
            self.nothing_runs_of(&attempt.task, &serial);
        }
        let executor = &mut self.executors[index];
        let process = Process { serial, guard: deadline, killed: None, started: false, asked_to_end: false };
        executor.processes.insert((executor.run, attempt), process);
    }

    /// At most one attempt of a task is live, by what really runs.
    fn nothing_runs_of(&self, task: &TaskKey, serial: &str) {
        for executor in &self.executors {
            for ((_, other), process) in &executor.processes {
                let same = other.task == *task && process.serial == serial;
                assert!(!same, "{task} starts, and {other} runs on executor {}: {process:?}", executor.index);
            }
        }
    }

    pub(crate) fn answer_executor(
        &mut self,
        index: usize,
        run: u64,
        key: RequestKey,
        reply: Option<Box<pb::ClientReply>>,
    ) {
        if self.executors[index].waits(run, key) {
            self.executors[index].asked.remove(&key);
            self.step_executor(index, AgentInput::Reply { key, reply });
        }
    }

    pub(crate) fn call(&mut self, index: usize, from: (usize, u64, CallKey), call: Box<pb::ExecutorCall>) {
        let executor = &mut self.executors[index];
        executor.last_call += 1;
        let key = CallKey(executor.last_call);
        executor.calls.insert(key, from);
        self.step_executor(index, AgentInput::Call { key, call });
    }

    /// One thing happens to a process, or an agent hears of one. False: there is nothing more.
    pub(crate) fn hear_processes(&mut self) -> bool {
        for index in 0..self.executors.len() {
            if let Some((attempt, event)) = self.executors[index].unheard.pop_front() {
                self.step_executor(index, AgentInput::Process { attempt, event });
                return true;
            }
            if self.executors[index].go_on() {
                return true;
            }
        }
        false
    }

    /// Something happens to a process, as the bytes say.
    pub(crate) fn process(&mut self, choices: &mut Choices<'_>) {
        let index = choices.pick(self.executors.len());
        let kind = choices.pick(6);
        let executor = &mut self.executors[index];
        if kind == 0 {
            if let Some((attempt, event)) = executor.unheard.pop_front() {
                self.step_executor(index, AgentInput::Process { attempt, event });
            }
            return;
        }
        let chosen = choices.pick(executor.processes.len());
        let Some((key, process)) = executor.processes.iter_mut().nth(chosen) else { return };
        let (key, was_started) = (key.clone(), std::mem::replace(&mut process.started, true));
        let own = key.0 == executor.run;
        if !was_started && own && kind != 2 {
            executor.unheard.push_back((key.1.clone(), ProcessEvent::Started));
        }
        match kind {
            1 => {}
            2 if was_started => executor.end(&key, exited(2)),
            2 => executor.end(&key, ProcessEvent::NotStarted { message: "told to".to_owned() }),
            3 => executor.end(&key, exited(1)),
            _ => executor.end(&key, exited(0)),
        }
    }

    pub(crate) fn restart_executor(&mut self, choices: &mut Choices<'_>) {
        let (index, kind) = (choices.pick(self.executors.len()), choices.pick(4));
        if kind == 0 {
            return self.step_executor(index, AgentInput::Shutdown);
        }
        let now = self.now;
        let executor = &mut self.executors[index];
        let was_up = executor.is_up();
        executor.crash(now.time);
        if kind != 1 || !was_up {
            executor.run += 1;
            executor.agent = Some(agent_of(index, executor.run, now));
            self.drain_executor(index);
        }
    }

    /// An executor hears what no honest master sends.
    pub(crate) fn attack_executor(&mut self, choices: &mut Choices<'_>) {
        let index = choices.pick(self.executors.len());
        let kind = choices.pick(2);
        let length = choices.pick(128);
        let bytes = choices.take(length);
        if kind == 0 {
            let Ok(call) = pb::ExecutorCall::decode(bytes) else { return };
            self.call(index, (0, 0, CallKey(0)), Box::new(call));
        } else if let Some(key) = self.executors[index].asked.keys().next_back().copied() {
            let Ok(reply) = pb::ClientReply::decode(bytes) else { return };
            let run = self.executors[index].run;
            self.answer_executor(index, run, key, Some(Box::new(reply)));
        }
    }
}
