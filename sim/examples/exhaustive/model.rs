//! Three cores, their disks and what is on its way between them: every order of events within a scope.
//!
//! The cores are the real ones ([`Raft`], with its durability). Timers run out whenever the search wants: a node that does
//! not lead is always just before its deadline, so that no state depends on a clock, and no clock is in a state's hash.

use crate::scope::{Scope, Start};
use bytes::Bytes;
use core::{
    fmt,
    hash::{Hash, Hasher},
    time::Duration,
};
use quorate_core::{
    contract::{Entry, Flow, HardState, LogPosition, Timing, Write},
    fingerprint::Fingerprint,
    raft::{Effect, Raft, RaftStart, Role, membership::Membership, message::Message},
    types::{NodeId, Term, Time, WriteId},
};
use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// Nodes; their places are 0 to 2, and their ids 1 to 3.
pub(crate) const NODES: usize = 3;
/// Terms that are kept apart.
pub(crate) const TERMS: usize = 4;

/// A message on its way.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Packet {
    /// Its sender's place.
    pub(crate) from: usize,
    /// Its receiver's place.
    pub(crate) to: usize,
    /// Its sender's term.
    pub(crate) term: Term,
    /// What it says.
    pub(crate) message: Message,
    print: u64,
}

impl fmt::Debug for Packet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} -> {} term {} {:?}", self.from + 1, self.to + 1, self.term, self.message)
    }
}

/// What a crash leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    /// The newest.
    pub(crate) hard_state: HardState,
    /// From index 1 on.
    pub(crate) entries: Vec<Entry>,
}

impl Disk {
    fn take(&mut self, write: &Write) {
        if let Some(first) = write.entries.first() {
            self.entries.truncate(usize::try_from(first.index.0 - 1).unwrap_or(usize::MAX));
            self.entries.extend(write.entries.iter().cloned());
        }
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
    }
}

/// One node with its disk.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// The core.
    pub(crate) raft: Raft,
    id: NodeId,
    /// What is durable.
    pub(crate) disk: Disk,
    /// What is not yet.
    pub(crate) waiting: VecDeque<Write>,
    time: Time,
    print: u64,
}

impl Local {
    fn new(id: NodeId, disk: Disk) -> Self {
        let start = RaftStart {
            no_vote_until: Time(0),
            id,
            membership: Membership::of((1..=NODES as u64).map(NodeId)),
            timing: timing(),
            flow: Flow::default(),
            snapshot_rate: 0,
            seed: 0,
            hard_state: disk.hard_state,
            start: LogPosition::default(),
            entries: disk.entries.clone(),
            snapshot: None,
        };
        let mut raft = Raft::new(start, Time(0));
        raft.grant_vote_right();
        Self { raft, id, disk, waiting: VecDeque::new(), time: Time(0), print: 0 }
    }

    fn fingerprint(&self) -> u64 {
        let mut print = Fingerprint::timeless();
        print.add(self.id);
        self.raft.fingerprint(&mut print);
        print.add(&self.disk);
        for write in &self.waiting {
            print.add((write.io, &write.entries, write.hard_state));
        }
        print.finish()
    }
}

/// No disk is ever slow, and a leader always hears its quorum: how often its timer runs out has a bound.
fn timing() -> Timing {
    let ages = Duration::from_secs(1 << 32);
    Timing {
        read_lease_drift_ppm: None,
        heartbeat: Duration::from_millis(1),
        election_min: Duration::from_secs(10),
        election_max: Duration::from_secs(20),
        disk_stall: ages,
        request_timeout: ages,
    }
}

/// What the search remembers of the way to a state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Past {
    /// Who has led each term, a bit a node.
    pub(crate) leaders: [u8; TERMS],
    /// Whom each node has granted its vote of each term, a bit a node.
    pub(crate) votes: [[u8; TERMS]; NODES],
    /// Everything that a node knew to be committed, from index 1 on, and the term in which it was.
    pub(crate) committed: Vec<(Entry, Term)>,
    /// A crash has lost something.
    pub(crate) lost: bool,
    /// The core panicked.
    pub(crate) panic: Option<String>,
}

/// What is left of the scope's budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    commands: u8,
    crashes: u8,
    duplicates: u8,
    drops: u8,
    heartbeats: u8,
    timeouts: u8,
}

/// Everything at one moment.
#[derive(Clone)]
pub(crate) struct State {
    /// By place.
    pub(crate) nodes: [Arc<Local>; NODES],
    /// A multiset, in the order of prints.
    pub(crate) network: Vec<Arc<Packet>>,
    /// What was.
    pub(crate) past: Arc<Past>,
    left: Budget,
}

impl State {
    fn prints(&self) -> impl Iterator<Item = u64> {
        self.nodes.iter().map(|node| node.print).chain(self.network.iter().map(|packet| packet.print))
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.prints().eq(other.prints()) && self.past == other.past && self.left == other.left
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.prints().for_each(|print| state.write_u64(print));
        (&self.past, &self.left).hash(state);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, node) in self.nodes.iter().enumerate() {
            let raft = &node.raft;
            let log: Vec<String> = node.disk.entries.iter().map(|entry| entry.term.to_string()).collect();
            writeln!(
                formatter,
                "    node {}: {:?} term {} vote {:?} commit {} last {}; on its disk: term {} vote {:?} log [{}], {} waiting",
                place + 1,
                raft.role(),
                raft.term(),
                raft.hard_state().vote,
                raft.commit(),
                raft.last_index(),
                node.disk.hard_state.term,
                node.disk.hard_state.vote,
                log.join(" "),
                node.waiting.len()
            )?;
        }
        Ok(())
    }
}

/// One thing that happens.
#[derive(Clone, PartialEq)]
pub(crate) enum Action {
    /// A node's election timer runs out.
    Timeout(usize),
    /// A leader's heartbeat is due.
    Heartbeat(usize),
    /// A message arrives.
    Deliver(Arc<Packet>),
    /// A message arrives, and will again.
    Duplicate(Arc<Packet>),
    /// A message is lost.
    Drop(Arc<Packet>),
    /// A node's oldest write becomes durable.
    Synced(usize),
    /// A node crashes and comes up again; so many of its waiting writes were durable.
    Crash(usize, usize),
    /// A leader is asked for a command.
    Propose(usize),
}

impl fmt::Debug for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(at) => write!(formatter, "timeout    node {}", at + 1),
            Self::Heartbeat(at) => write!(formatter, "heartbeat  node {}", at + 1),
            Self::Deliver(packet) => write!(formatter, "deliver    {packet:?}"),
            Self::Duplicate(packet) => write!(formatter, "duplicate  {packet:?}"),
            Self::Drop(packet) => write!(formatter, "drop       {packet:?}"),
            Self::Synced(at) => write!(formatter, "synced     node {}", at + 1),
            Self::Crash(at, kept) => {
                write!(formatter, "crash      node {}, {kept} of its waiting writes were durable", at + 1)
            }
            Self::Propose(at) => write!(formatter, "propose    node {}", at + 1),
        }
    }
}

/// The cluster.
pub(crate) struct Cluster {
    /// How much is searched.
    pub(crate) scope: Scope,
    /// This bug is planted.
    #[cfg(feature = "planted-bugs")]
    pub(crate) bug: Option<quorate_core::bug::Bug>,
    /// Equal nodes and equal messages are kept once: most states share theirs with many others.
    /// Properties that were found, a bit each: the first way to one is the shortest, and must not be overwritten.
    found: AtomicU32,
    locals: Mutex<HashMap<u64, Arc<Local>>>,
    packets: Mutex<HashMap<u64, Arc<Packet>>>,
}

fn kept<T>(table: &Mutex<HashMap<u64, Arc<T>>>, print: u64, make: impl FnOnce() -> T) -> Arc<T> {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(table.entry(print).or_insert_with(|| Arc::new(make())))
}

impl Cluster {
    /// A cluster without a bug.
    #[must_use]
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            #[cfg(feature = "planted-bugs")]
            bug: None,
            found: AtomicU32::new(0),
            locals: Mutex::default(),
            packets: Mutex::default(),
        }
    }

    /// Distinct nodes and messages that were met.
    #[must_use]
    pub(crate) fn parts(&self) -> (usize, usize) {
        let count = |length: Result<usize, usize>| length.unwrap_or_else(|length| length);
        let locals = self.locals.lock().map(|it| it.len()).map_err(|it| it.into_inner().len());
        let packets = self.packets.lock().map(|it| it.len()).map_err(|it| it.into_inner().len());
        (count(locals), count(packets))
    }

    /// True for the first state in which a property is found, and no other.
    pub(crate) fn first(&self, property: u32, found: impl FnOnce() -> bool) -> bool {
        let bit = 1 << property;
        self.found.load(Ordering::Relaxed) & bit == 0
            && found()
            && self.found.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    fn plant(&self) {
        #[cfg(feature = "planted-bugs")]
        quorate_core::bug::plant(self.bug);
    }

    fn local(&self, mut local: Local) -> Arc<Local> {
        local.print = local.fingerprint();
        kept(&self.locals, local.print, || local)
    }

    fn packet(&self, from: usize, to: usize, term: Term, message: Message) -> Arc<Packet> {
        let mut print = Fingerprint::timeless();
        print.add((from, to, term, &message));
        let print = print.finish();
        kept(&self.packets, print, || Packet { from, to, term, message, print })
    }

    /// One step of a node, as its driver takes it.
    fn step(&self, state: &mut State, at: usize, input: impl FnOnce(&mut Raft)) {
        let mut instant = VecDeque::new();
        self.step_one(state, at, input, &mut instant);
        while let Some((to, from, term, message)) = instant.pop_front() {
            let sender = NodeId(from as u64 + 1);
            self.step_one(state, to, |raft| raft.receive(sender, term, message), &mut instant);
        }
    }

    fn step_one(
        &self,
        state: &mut State,
        at: usize,
        input: impl FnOnce(&mut Raft),
        instant: &mut VecDeque<(usize, usize, Term, Message)>,
    ) {
        let mut local = Local::clone(&state.nodes[at]);
        let raft = &mut local.raft;
        if raft.role() != Role::Leader {
            local.time = local.time.max(raft.next_deadline());
        }
        raft.begin_step(local.time);
        input(raft);
        let mut sent = Vec::new();
        drain(raft, &mut sent);
        // Whatever is committed is carried out at once.
        raft.applied(raft.commit());
        raft.replicate();
        local.waiting.extend(raft.take_write());
        drain(raft, &mut sent);
        remember(state, at, &local);
        for (to, message) in sent {
            self.send(state, at, to, raft_term(&local), message, instant);
        }
        state.nodes[at] = self.local(local);
    }

    fn send(
        &self,
        state: &mut State,
        from: usize,
        to: usize,
        term: Term,
        message: Message,
        instant: &mut VecDeque<(usize, usize, Term, Message)>,
    ) {
        match message {
            // Lost: a refusal that comes before the other answer would keep a rival from its candidacy.
            Message::PreVoteReply { granted: false, .. } if !self.scope.pre_votes => return,
            Message::PreVote { .. } | Message::PreVoteReply { .. } if !self.scope.pre_votes => {
                instant.push_back((to, from, term, message));
                return;
            }
            Message::Heartbeat { .. } if self.scope.heartbeats == 0 => return,
            Message::VoteReply { granted: true, .. } => {
                let past = Arc::make_mut(&mut state.past);
                past.votes[from][place_of(term)] |= 1 << to;
            }
            _ => {}
        }
        let packet = self.packet(from, to, term, message);
        let place = state.network.partition_point(|other| other.print < packet.print);
        state.network.insert(place, packet);
    }

    fn perform(&self, state: &mut State, action: &Action) {
        match action {
            Action::Timeout(at) => {
                state.left.timeouts -= 1;
                self.step(state, *at, Raft::deadline);
            }
            Action::Heartbeat(at) => {
                state.left.heartbeats -= 1;
                let mut local = Local::clone(&state.nodes[*at]);
                local.time = local.time.max(local.raft.next_deadline());
                // Only its clock differs, so it must not be looked up.
                state.nodes[*at] = Arc::new(local);
                self.step(state, *at, Raft::deadline);
            }
            Action::Deliver(packet) => {
                take_packet(state, packet);
                self.deliver(state, packet);
            }
            Action::Duplicate(packet) => {
                state.left.duplicates -= 1;
                self.deliver(state, packet);
            }
            Action::Drop(packet) => {
                state.left.drops -= 1;
                take_packet(state, packet);
            }
            Action::Synced(at) => {
                let mut local = Local::clone(&state.nodes[*at]);
                let Some(write) = local.waiting.pop_front() else { return };
                local.disk.take(&write);
                let io: WriteId = write.io;
                state.nodes[*at] = Arc::new(local);
                self.step(state, *at, |raft| raft.write_done(io));
            }
            Action::Crash(at, kept) => {
                state.left.crashes -= 1;
                let local = &state.nodes[*at];
                let mut disk = local.disk.clone();
                local.waiting.iter().take(*kept).for_each(|write| disk.take(write));
                if *kept < local.waiting.len() {
                    Arc::make_mut(&mut state.past).lost = true;
                }
                state.nodes[*at] = self.local(Local::new(NodeId(*at as u64 + 1), disk));
            }
            Action::Propose(at) => {
                state.left.commands -= 1;
                let data = Bytes::copy_from_slice(&[state.left.commands + 1]);
                self.step(state, *at, |raft| _ = raft.propose(data));
            }
        }
    }

    fn deliver(&self, state: &mut State, packet: &Packet) {
        let (from, term, message) = (NodeId(packet.from as u64 + 1), packet.term, packet.message.clone());
        self.step(state, packet.to, |raft| raft.receive(from, term, message));
    }

    /// Node 1 wins term 1, and its first entry becomes durable and known to be committed everywhere.
    fn lead(&self, state: &mut State) {
        self.step(state, 0, Raft::deadline);
        let settle = |state: &mut State| {
            for _ in 0..100 {
                if let Some(at) = (0..NODES).find(|&at| !state.nodes[at].waiting.is_empty()) {
                    self.perform(state, &Action::Synced(at));
                } else if let Some(packet) = state.network.first().cloned() {
                    self.perform(state, &Action::Deliver(packet));
                }
            }
        };
        settle(state);
        // An empty append says what is committed, since heartbeats may be left out.
        for to in 1..NODES {
            let (first, term) = (state.nodes[0].raft.last_index(), state.nodes[0].raft.term());
            let previous = LogPosition { term, index: first };
            let append = Message::Append { previous, entries: Vec::new(), commit: first };
            let packet = self.packet(0, to, term, append);
            self.deliver(state, &packet);
        }
        settle(state);
    }
}

fn raft_term(local: &Local) -> Term {
    local.raft.term()
}

/// The place of a term in what is remembered.
#[must_use]
pub(crate) fn place_of(term: Term) -> usize {
    usize::try_from(term.0).unwrap_or(usize::MAX).min(TERMS - 1)
}

fn drain(raft: &mut Raft, sent: &mut Vec<(usize, Message)>) {
    while let Some(effect) = raft.poll_effect() {
        if let Effect::Send(to, message) = effect {
            sent.push((usize::try_from(to.0 - 1).unwrap_or(0), message));
        }
    }
}

fn take_packet(state: &mut State, packet: &Packet) {
    if let Some(place) = state.network.iter().position(|other| other.print == packet.print) {
        state.network.remove(place);
    }
}

/// Who leads, and what is committed.
fn remember(state: &mut State, at: usize, local: &Local) {
    let raft = &local.raft;
    let (bit, term) = (1 << at, place_of(raft.term()));
    if raft.role() == Role::Leader && state.past.leaders[term] & bit == 0 {
        Arc::make_mut(&mut state.past).leaders[term] |= bit;
    }
    let known = state.past.committed.len() as u64;
    if raft.commit().0 > known {
        let past = Arc::make_mut(&mut state.past);
        let new = (known + 1..=raft.commit().0).filter_map(|index| raft.entry(index_of(index)).cloned());
        past.committed.extend(new.map(|entry| (entry, raft.term())));
    }
}

/// An index.
#[must_use]
pub(crate) const fn index_of(index: u64) -> quorate_core::types::Index {
    quorate_core::types::Index(index)
}

impl stateright::Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.plant();
        let Scope { commands, crashes, duplicates, drops, heartbeats, timeouts, .. } = self.scope;
        let node = |place: usize| self.local(Local::new(NodeId(place as u64 + 1), Disk::default()));
        let mut state = State {
            nodes: core::array::from_fn(node),
            network: Vec::new(),
            past: Arc::default(),
            left: Budget { commands, crashes, duplicates, drops, heartbeats, timeouts },
        };
        if self.scope.start == Start::Led {
            self.lead(&mut state);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.past.panic.is_some() {
            return;
        }
        let left = &state.left;
        // From empty disks all nodes are alike: it does not matter which is the first.
        let alike = self.scope.start == Start::Empty && left.timeouts == self.scope.timeouts;
        for (at, node) in state.nodes.iter().enumerate() {
            let leads = node.raft.role() == Role::Leader;
            if leads && left.heartbeats > 0 {
                actions.push(Action::Heartbeat(at));
            }
            if leads && left.commands > 0 {
                actions.push(Action::Propose(at));
            }
            if !leads && left.timeouts > 0 && node.raft.term().0 < self.scope.terms && (at == 0 || !alike) {
                actions.push(Action::Timeout(at));
            }
            if !node.waiting.is_empty() {
                actions.push(Action::Synced(at));
            }
            if left.crashes > 0 {
                actions.extend((0..=node.waiting.len()).map(|kept| Action::Crash(at, kept)));
            }
        }
        let mut before = None;
        for packet in state.network.iter().filter(|packet| before.replace(packet.print) != Some(packet.print))
        {
            actions.push(Action::Deliver(Arc::clone(packet)));
            if left.duplicates > 0 {
                actions.push(Action::Duplicate(Arc::clone(packet)));
            }
            if left.drops > 0 {
                actions.push(Action::Drop(Arc::clone(packet)));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        self.plant();
        let mut state = last.clone();
        let done = catch_unwind(AssertUnwindSafe(|| self.perform(&mut state, &action)));
        if let Err(panic) = done {
            state = last.clone();
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Arc::make_mut(&mut state.past).panic = Some(text.unwrap_or_default());
        }
        Some(state)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        crate::rules::all(&self.scope)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.nodes.iter().all(|node| node.raft.term().0 <= self.scope.terms)
    }
}
