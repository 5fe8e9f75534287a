//! One executor's machine: the agent, its guards and processes, and its clock. What runs here is the ground truth.

use crate::{
    clock::Clock,
    plan::{Behaviour, ExecutorsPlan},
    world::{Event, Origin},
};
use bytes::Bytes;
use quorate_core::{
    agent::{Agent, AgentConfig, AgentInput},
    types::{AttemptId, CallKey, ClusterId, ExecutorId, RequestKey, Time},
};
use quorate_proto::v1 as pb;
use std::{collections::BTreeMap, time::Duration};

/// The processes of one attempt under their guard.
#[derive(Clone, Debug)]
pub struct Process {
    /// The attempt.
    pub attempt: AttemptId,
    /// The run of the agent that started it.
    pub run: u64,
    /// It runs; before that, it is being started.
    pub up: bool,
    /// It is being killed.
    pub killed: bool,
    /// It was asked to end.
    pub asked: bool,
    /// When its guard kills it, by the machine's clock.
    pub deadline: Time,
    /// What it does by itself.
    pub behaviour: Behaviour,
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What was asked.
    pub request: Box<pb::ClientRequest>,
    /// When, by the machine's clock.
    pub sent: Time,
}

/// One executor.
pub struct Executor {
    /// From 0 on.
    pub place: u8,
    /// `None`: no agent.
    pub agent: Option<Agent>,
    /// How often it was started.
    pub run: u64,
    /// Its clock.
    pub clock: Clock,
    /// Times that the agent was stopped and has not gone on.
    pub pauses: u32,
    /// Times that the machine was frozen and has not gone on.
    pub freezes: u32,
    /// How much longer processes take to end, milliseconds, by fault.
    pub drains: Vec<(usize, u64)>,
    /// Faults that hold its heartbeats until the end of its lease is proposed.
    pub last_words: u32,
    /// The heartbeats that are held.
    pub words: Vec<(Origin, Bytes)>,
    /// It is outside of the core that is healed: it stays as it is.
    pub outside: bool,
    /// What came while the agent was paused.
    pub held: Vec<AgentInput>,
    /// What was to happen while the machine was frozen.
    pub frozen: Vec<Event>,
    /// The true time of the next planned deadline event; `u64::MAX` = none.
    pub wake: u64,
    /// The master that it asks.
    pub target: u8,
    /// Requests that wait for their answers.
    pub asked: BTreeMap<RequestKey, Asked>,
    /// Calls of masters: the master, its run and its key.
    pub calls: BTreeMap<CallKey, (u8, u64, CallKey)>,
    /// By serial number.
    pub processes: BTreeMap<u64, Process>,
    /// Until when its lease lasts, by its own clock and the masters' answers.
    pub lease_until: Time,
    /// Its id, as the last registration's answer said.
    pub id: Option<ExecutorId>,
    next_call: u64,
}

impl Executor {
    /// A machine, switched off.
    #[must_use]
    pub fn new(place: u8, plan: &ExecutorsPlan) -> Self {
        Self {
            place,
            agent: None,
            run: 0,
            clock: Clock::new(&plan.clocks[usize::from(place)]),
            pauses: 0,
            freezes: 0,
            drains: Vec::new(),
            last_words: 0,
            words: Vec::new(),
            outside: false,
            held: Vec::new(),
            frozen: Vec::new(),
            wake: u64::MAX,
            target: 0,
            asked: BTreeMap::new(),
            calls: BTreeMap::new(),
            processes: BTreeMap::new(),
            lease_until: Time(0),
            id: None,
            next_call: 0,
        }
    }

    /// What the agent is told when it starts.
    #[must_use]
    pub fn config(&self, plan: &ExecutorsPlan) -> AgentConfig {
        AgentConfig {
            // Any: it may be given up, and another one go on in its place.
            cluster: ClusterId(0),
            name: format!("executor-{}", self.place),
            address: address(self.place),
            slots: plan.slots,
            labels: Vec::new(),
            heartbeat: Duration::from_millis(plan.heartbeat_ms),
            lease: plan.lease(),
            session_ms: plan.session_ms,
        }
    }

    /// A key for a master's call.
    pub fn call_key(&mut self) -> CallKey {
        self.next_call += 1;
        CallKey(self.next_call)
    }

    /// The agent ends: forgets everything that was only in its memory.
    pub fn stop(&mut self) {
        self.agent = None;
        self.held.clear();
        self.wake = u64::MAX;
        self.asked.clear();
        self.words.clear();
        self.calls.clear();
        self.id = None;
        self.lease_until = Time(0);
    }

    /// A fault that held its heartbeats ends: those that are held are lost.
    pub fn hold_no_words(&mut self) {
        self.last_words = self.last_words.saturating_sub(1);
        self.words.clear();
    }

    /// One line for reports.
    #[must_use]
    pub fn line(&self) -> String {
        let runs: Vec<String> = self
            .processes
            .values()
            .filter(|process| process.up)
            .map(|process| process.attempt.to_string())
            .collect();
        let id = self.agent.as_ref().and_then(Agent::executor);
        format!(
            "machine {}: executor {id:?} run {}{}{}{} runs [{}]",
            self.place,
            self.run,
            if self.agent.is_none() { " down" } else { "" },
            if self.pauses > 0 { " paused" } else { "" },
            if self.freezes > 0 { " frozen" } else { "" },
            runs.join(", ")
        )
    }
}

/// Where the executor at a place answers calls.
#[must_use]
pub fn address(place: u8) -> String {
    format!("e{place}:1")
}

/// The place of the executor that answers at an address.
#[must_use]
pub fn place_of(address: &str) -> Option<u8> {
    address.strip_prefix('e')?.strip_suffix(":1")?.parse().ok()
}
