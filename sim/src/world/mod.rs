//! A world: everything that a plan names, and the event loop that runs it. No async, one thread, no clock but its own.

mod clients;
pub(crate) mod describe;
pub(crate) mod disks;
mod executors;
mod faults;
mod guard;
mod inputs;
mod latency;
mod masters;
pub(crate) mod members;
mod processes;
mod programs;
pub mod recoverable;
mod recovery;
mod requests;
mod room;
mod settle;
mod states;
pub(crate) mod steps;
mod ticks;
mod troubles;

use crate::{
    client::Client,
    cost::Cost,
    executor::Executor,
    latency::Latency,
    marks::SimCounts,
    master::Master,
    network::{Endpoint, Network},
    oracle::{Ledger, Oracles, Register, Rule, log},
    plan::{Atlas, CorePlan, Plan},
    queue::Queue,
    record::{Actor, Shared},
    run::{Outcome, Sink},
    tapes::Tapes,
};
use bytes::Bytes;
use core::hash::Hasher;
use quorate_core::{
    Input,
    agent::ProcessEvent,
    contract::LogPosition,
    raft::membership::Membership,
    types::{CallKey, Index, NodeId, RequestKey, Term, WriteId},
};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};

/// One millisecond in nanoseconds.
pub const MILLISECOND: u64 = 1_000_000;
/// One microsecond in nanoseconds.
const MICROSECOND: u64 = 1_000;
/// Events in one simulated millisecond; more are a message storm.
const EVENTS_PER_MILLISECOND: u64 = 50_000;

/// Who asked a master for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client, with the number of its attempt.
    Client {
        /// Its place.
        client: u8,
        /// Its attempt.
        attempt: u64,
    },
    /// An agent, with its run and its key.
    Agent {
        /// Its place.
        executor: u8,
        /// Its run.
        run: u64,
        /// Its key.
        key: RequestKey,
    },
}

impl Origin {
    /// From where.
    #[must_use]
    pub const fn endpoint(self) -> Endpoint {
        match self {
            Self::Client { client, .. } => Endpoint::Client(client),
            Self::Agent { executor, .. } => Endpoint::Executor(executor),
        }
    }
}

/// What a disk has done.
#[derive(Clone, Debug)]
pub enum DiskEvent {
    /// Writes up to this one.
    Written(WriteId),
    /// The snapshot that is handed on with this event.
    Saved(Box<quorate_core::contract::Snapshot>),
    /// A chunk of a peer's snapshot.
    ChunkStored(LogPosition, u64, bool),
    /// A chunk for a peer.
    ChunkRead(NodeId, LogPosition, u64),
    /// The state of the snapshot.
    Loaded(LogPosition),
}

/// What happens.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are places, runs and keys")]
pub enum Event {
    /// A message arrives at a master.
    Envelope { to: u8, from: u8, bytes: Bytes },
    /// A connection to a peer came up, or was reset.
    Link { at: u8, peer: u8, up: bool },
    /// A request arrives at a master.
    Request { to: u8, origin: Origin, bytes: Bytes },
    /// The client of a request has left.
    RequestGone { to: u8, origin: Origin },
    /// An answer arrives. `None`: the connection was reset, or refused.
    Answer { origin: Origin, from: u8, era: u32, reply: Option<Bytes> },
    /// A master's deadline.
    Wake { master: u8 },
    /// A master's disk has done something.
    Disk { master: u8, run: u64, done: DiskEvent },
    /// A call arrives at an executor.
    Call { to: u8, from: u8, run: u64, key: CallKey, bytes: Bytes },
    /// The answer to a call arrives, or its time is over.
    CallAnswer { to: u8, run: u64, key: CallKey, reply: Option<Bytes> },
    /// An agent's deadline.
    AgentWake { executor: u8 },
    /// An agent waits no longer for an answer.
    AgentTimeout { executor: u8, run: u64, key: RequestKey },
    /// A process runs.
    ProcessUp { executor: u8, serial: u64 },
    /// A process has ended.
    ProcessEnd { executor: u8, serial: u64, event: ProcessEvent },
    /// A guard looks at its deadline.
    Guard { executor: u8, serial: u64 },
    /// A client looks for something to do.
    ClientNext { client: u8 },
    /// A client waits no longer for an answer.
    ClientTimeout { client: u8, attempt: u64 },
    /// A client tries again.
    ClientRetry { client: u8, attempt: u64 },
    /// A fault begins.
    FaultBegin { fault: usize },
    /// A fault ends.
    FaultEnd { fault: usize },
    /// One step of a fault that does something again and again.
    Tick { fault: usize, number: u32 },
    /// A slow processor has come to an input.
    Step { master: u8, run: u64, input: Box<Input> },
    /// The time of a batch of inputs is over.
    BatchEnd { master: u8, run: u64, number: u64 },
    /// A master starts, if this run of it has ended.
    StartMaster { master: u8, run: u64 },
    /// An agent starts, if this run of it has ended.
    StartAgent { executor: u8, run: u64 },
    /// The operator looks whether a change is made.
    Operator,
    /// The faults are over.
    Settle,
    /// Is everything whole?
    SettleCheck,
}

/// A run.
pub struct World {
    plan: Plan,
    time: u64,
    queue: Queue<Event>,
    network: Network,
    masters: Vec<Master>,
    executors: Vec<Executor>,
    clients: Vec<Client>,
    oracles: Option<Box<Oracles>>,
    ledger: Ledger,
    chain: SipHasher13,
    log: Option<Sink>,
    tapes: Option<Tapes>,
    recorder: Option<Shared>,
    counts: BTreeMap<&'static str, u64>,
    latency: Latency,
    cost: Option<Box<Cost>>,
    events: u64,
    storm: (u64, u64),
    serial: u64,
    /// Cuts that are on, by fault.
    cuts: BTreeMap<usize, Vec<(Endpoint, Endpoint)>>,
    /// Faults that have begun and not ended.
    active: BTreeSet<usize>,
    /// How far a resynced wall clock is off, milliseconds, by fault.
    stepped: BTreeMap<usize, i64>,
    atlas: Atlas,
    marks: SimCounts,
    /// What each master was promised by each fragile one since it came up: its run, a term, the highest index in it.
    promised: BTreeMap<(u8, u8), (u64, Term, Index)>,
    excused: Option<String>,
    /// Its time was over, and what it still waited for comes only when more is written, or less.
    let_off: bool,
    /// Who takes part, as it was carried out first anywhere.
    roll: members::Roll,
    levels: programs::Levels,
    /// Who takes part until the cluster has begun.
    founders: Membership,
    /// The run of each master, and the entry that made the members that it follows.
    follows: Vec<(u64, Index)>,
    /// Whose hashes were made wrong.
    wronged: BTreeSet<usize>,
    /// Leaders that took a wrong hash for that of the majority, because it was: in which term, at which index.
    misjudged: BTreeSet<(usize, Term, Index)>,
    /// What each master was told of states while it led.
    told_states: BTreeMap<usize, states::Told>,
    untold: BTreeMap<usize, states::Untold>,
    /// The members of a leader that is told of a state in the step under way.
    takes_answer: Option<Membership>,
    /// Who is healed in the end, once that is decided.
    core: Option<CorePlan>,
    settling: bool,
    /// So many clusters were given up.
    era: u32,
    /// When the newest replica of the core was last looked at while settling, and what it held.
    looked_back: Option<(u64, Index)>,
    /// The same one look before.
    held_before: Option<Index>,
    finished: bool,
}

impl World {
    /// A world as planned, before anything has happened.
    #[must_use]
    pub fn new(plan: Plan, oracles: bool, log: Option<Sink>) -> Self {
        let count = |length: usize| 0..u8::try_from(length).unwrap_or(u8::MAX);
        let masters_count = plan.masters.clocks.len() as u8;
        let masters =
            count(plan.masters.clocks.len()).map(|place| Master::new(place, &plan.masters)).collect();
        let executors =
            count(plan.executors.clocks.len()).map(|place| Executor::new(place, &plan.executors)).collect();
        let clients = plan
            .clients
            .iter()
            .zip(0..)
            .map(|(client, place)| Client::new(place, client, masters_count))
            .collect();
        Self {
            network: Network::new(plan.seed, plan.network),
            time: 0,
            queue: Queue::default(),
            masters,
            executors,
            clients,
            oracles: oracles.then(|| Box::new(Oracles::of(&plan))),
            ledger: Ledger::default(),
            chain: SipHasher13::new(),
            log,
            tapes: None,
            recorder: None,
            counts: BTreeMap::new(),
            latency: Latency::default(),
            cost: None,
            events: 0,
            storm: (0, 0),
            serial: 0,
            cuts: BTreeMap::new(),
            active: BTreeSet::new(),
            stepped: BTreeMap::new(),
            atlas: Atlas::of(&plan),
            marks: SimCounts::default(),
            promised: BTreeMap::new(),
            excused: None,
            let_off: false,
            roll: members::Roll::default(),
            levels: programs::Levels::default(),
            founders: Membership::of((1..=plan.masters.founding() as u64).map(NodeId)),
            follows: vec![(0, Index(0)); plan.masters.clocks.len()],
            wronged: BTreeSet::new(),
            misjudged: BTreeSet::new(),
            told_states: BTreeMap::new(),
            untold: BTreeMap::new(),
            takes_answer: None,
            core: None,
            settling: false,
            era: 0,
            looked_back: None,
            held_before: None,
            finished: false,
            plan,
        }
    }

    /// Records a tape of each run of each master; that changes nothing of the run.
    #[must_use]
    pub fn taped(mut self, tapes: Option<Tapes>) -> Self {
        self.tapes = tapes;
        self
    }

    /// A recorder writes down what happens; that changes nothing of the run.
    #[must_use]
    pub fn recorded(mut self, recorder: Shared) -> Self {
        recorder.borrow_mut().begin(&self.plan);
        self.recorder = Some(recorder);
        self
    }

    /// Runs the plan to its end, or to the first violation.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        self.go(u64::MAX);
        self.end()
    }

    /// The same, and what the safety phase cost.
    #[must_use]
    pub fn metered(mut self, cost: Cost) -> (Outcome, Cost) {
        self.cost = Some(Box::new(cost));
        self.go(u64::MAX);
        let cost = self.cost.take().map_or_else(Cost::default, |cost| *cost);
        (self.end(), cost)
    }

    /// The same, unless it is not over after so many events.
    #[must_use]
    pub fn run_within(mut self, events_max: u64) -> Option<Outcome> {
        self.go(events_max).then(|| self.end())
    }

    /// Whether it came to its end.
    fn go(&mut self, events_max: u64) -> bool {
        self.begin();
        while let Some((time, cause, event)) = self.queue.pop_caused() {
            self.time = time;
            self.events += 1;
            self.ledger.time = time;
            if self.stormy() {
                break;
            }
            if self.events > events_max {
                return false;
            }
            if let Some(recorder) = &self.recorder {
                recorder.borrow_mut().popped(time, cause, &event);
            }
            self.handle(event);
            if let Some(recorder) = &self.recorder {
                recorder.borrow_mut().look(time, &self.masters, &self.executors, &self.clients);
            }
            if self.finished || self.ledger.violation.is_some() {
                break;
            }
        }
        if let Some(recorder) = &self.recorder {
            recorder.borrow_mut().finish(&mut self.queue);
        }
        true
    }

    fn begin(&mut self) {
        inputs::planned(&self.plan, &mut self.marks);
        use crate::draw::{Purpose, draw, within};
        for master in 0..self.masters.len() {
            let at = within(draw(self.plan.seed, Purpose::Start, &[0, master as u64]), 0, 50 * MILLISECOND);
            self.queue.push(at, Event::StartMaster { master: master as u8, run: 0 });
        }
        self.spares_begin();
        for executor in 0..self.executors.len() {
            let at =
                within(draw(self.plan.seed, Purpose::Start, &[1, executor as u64]), 0, 500 * MILLISECOND);
            self.queue.push(at, Event::StartAgent { executor: executor as u8, run: 0 });
        }
        for client in 0..self.clients.len() {
            self.queue.push(100 * MILLISECOND, Event::ClientNext { client: client as u8 });
        }
        for (fault, planned) in self.plan.faults.iter().enumerate() {
            self.queue.push(planned.at_ms * MILLISECOND, Event::FaultBegin { fault });
        }
        self.queue.push(self.plan.duration_ms * MILLISECOND, Event::Settle);
    }

    fn stormy(&mut self) -> bool {
        let millisecond = self.time / MILLISECOND;
        self.storm =
            if self.storm.0 == millisecond { (millisecond, self.storm.1 + 1) } else { (millisecond, 1) };
        let calm = self.storm.1 <= EVENTS_PER_MILLISECOND;
        if !calm {
            self.ledger.fail(Rule::Storm, format!("over {EVENTS_PER_MILLISECOND} events in one millisecond"));
        }
        !calm
    }

    fn handle(&mut self, event: Event) {
        if let Some(executor) = self.frozen_machine(&event) {
            self.executors[executor].frozen.push(event);
            return;
        }
        match event {
            Event::Envelope { to, from, bytes } => self.envelope_arrives(to, from, bytes),
            Event::Link { at, peer, up } => self.link_changes(at, peer, up),
            Event::Request { to, origin, bytes } => self.request_arrives(to, origin, &bytes),
            Event::RequestGone { to, origin } => self.request_gone(to, origin),
            Event::Answer { origin, from, era, reply } => {
                // What a cluster said that was given up is not waited for.
                self.answer_arrives(origin, from, reply.filter(|_| era == self.era));
            }
            Event::Wake { master } => self.master_wakes(master),
            Event::Disk { master, run, done } => self.disk_did(master, run, done),
            Event::Call { to, from, run, key, bytes } => self.call_arrives(to, from, run, key, &bytes),
            Event::CallAnswer { to, run, key, reply } => self.call_answered(to, run, key, reply.as_ref()),
            Event::AgentWake { executor } => self.agent_wakes(executor),
            Event::AgentTimeout { executor, run, key } => self.agent_answered(executor, run, key, None),
            Event::ProcessUp { executor, serial } => self.process_up(executor, serial),
            Event::ProcessEnd { executor, serial, event } => self.process_end(executor, serial, event),
            Event::Guard { executor, serial } => self.guard_looks(executor, serial),
            Event::ClientNext { client } => self.client_next(client),
            Event::ClientTimeout { client, attempt } => self.client_timeout(client, attempt),
            Event::ClientRetry { client, attempt } => self.client_retry(client, attempt),
            Event::FaultBegin { fault } => self.watching_the_leader(|world| world.fault_begins(fault)),
            Event::FaultEnd { fault } => self.watching_the_leader(|world| world.fault_ends(fault)),
            Event::Tick { fault, number } => self.watching_the_leader(|world| world.tick(fault, number)),
            Event::Step { master, run, input } => self.slow_step(master, run, *input),
            Event::BatchEnd { master, run, number } => self.batch_ends(master, run, number),
            Event::StartMaster { master, run } => self.start_master(master, run),
            Event::StartAgent { executor, run } => self.start_agent(executor, run),
            Event::Operator => self.operator_looks(),
            Event::Settle => self.settle(),
            Event::SettleCheck => self.settle_check(),
        }
    }

    /// What happens on a frozen machine happens when it goes on.
    fn frozen_machine(&self, event: &Event) -> Option<usize> {
        let executor = match event {
            Event::Call { to, .. } => *to,
            Event::AgentWake { executor }
            | Event::AgentTimeout { executor, .. }
            | Event::ProcessUp { executor, .. }
            | Event::ProcessEnd { executor, .. }
            | Event::Guard { executor, .. }
            | Event::StartAgent { executor, .. }
            | Event::Answer { origin: Origin::Agent { executor, .. }, .. } => *executor,
            _ => return None,
        };
        let place = usize::from(executor);
        (self.executors[place].freezes > 0).then_some(place)
    }

    /// Adds a step to the run's hash.
    fn mark(&mut self, kind: u8, place: u8, number: u64, bytes: &[u8]) {
        let mut head = [0; 24];
        head[..8].copy_from_slice(&self.time.to_le_bytes());
        head[8..16].copy_from_slice(&number.to_le_bytes());
        head[16..].copy_from_slice(&[kind, place, 0, 0, 0, 0, 0, 0]);
        self.chain.write(&head);
        self.chain.write(bytes);
    }

    /// Whether somebody reads the event log.
    fn watched(&self) -> bool {
        self.log.is_some() || self.recorder.is_some()
    }

    /// A line of the event log, made only if somebody reads it.
    fn line(&mut self, who: Endpoint, kind: &'static str, text: impl FnOnce() -> String) {
        if self.watched() {
            self.tell(who.into(), kind, text());
        }
    }

    /// The same for what happens to the whole cluster.
    fn note(&mut self, kind: &'static str, text: impl FnOnce() -> String) {
        if self.watched() {
            self.tell(Actor::Cluster, kind, text());
        }
    }

    fn tell(&mut self, who: Actor, kind: &'static str, text: String) {
        if let Some(log) = &mut self.log {
            log(self.time, &format!("{:<9} {kind:<9} {text}", who.to_string()));
        }
        if let Some(recorder) = &self.recorder {
            let id = recorder.borrow_mut().line(who, kind, text, &self.masters);
            self.queue.set_cause(id);
        }
    }

    /// What is put into the queue from here on comes from the input of this step, not from its last output.
    fn caused_by_input(&mut self) {
        if let Some(recorder) = &self.recorder {
            self.queue.set_cause(recorder.borrow().input());
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn end(mut self) -> Outcome {
        if self.ledger.violation.is_none() && !self.finished {
            self.ledger.fail(Rule::Liveness, "nothing is left to happen".to_owned());
        }
        if self.ledger.violation.is_none() {
            self.final_checks();
        }
        for client in &self.clients {
            for (outcome, count) in &client.outcomes {
                *self.counts.entry(outcome).or_default() += count;
            }
        }
        self.marks.add(&self.network.marks);
        let machines = self.masters.iter().map(Master::line).chain(self.executors.iter().map(Executor::line));
        Outcome {
            machines: machines.collect(),
            hash: self.chain.finish(),
            time: self.time,
            events: self.events,
            steps: self.ledger.step,
            looked: self.ledger.looked(),
            counts: self.counts,
            marks: self.marks.reached().collect(),
            excused: self.excused,
            samples: self.latency.samples,
            violation: self.ledger.violation,
        }
    }

    fn final_checks(&mut self) {
        self.damage_is_mended();
        for master in &self.masters {
            let Some(node) = &master.node else { continue };
            let checked = node.state().check();
            self.ledger.hold(Rule::Tables, checked.is_ok(), || format!("node {}: {checked:?}", master.id));
            // What is not on the disk yet is released when it is.
            let late = !master.disk.waiting.is_empty() || master.learns_late_of_snapshot(self.time);
            if !late {
                log::is_bounded(&mut self.ledger, node, master.id, &self.plan.masters);
            }
            let (alarms, tolerated) = (node.alarms(), self.tolerated(master, node));
            // One that joins may still be waiting outside of the core.
            let waits = master.joins.is_some() && master.outside;
            let starves = self.let_off && self.starves(node);
            let counts = !master.wiped && !master.rolled && !waits && !starves;
            let counts = counts && self.is_member(usize::from(master.place));
            self.ledger.hold(Rule::Contract, !counts || alarms.len() == tolerated, || {
                format!("node {} kept its disk, and raises {alarms:?}", master.id)
            });
        }
        let Some(oracles) = &self.oracles else { return };
        let history: Vec<_> = self.clients.iter().flat_map(|client| client.history.iter().cloned()).collect();
        Register::default().check(&mut self.ledger, &oracles.reference, &history);
    }
}
