//! A small cluster, driven by bytes: three masters, one or two executors, their disks, the network and the clients.
//!
//! Each byte chooses what happens next: a message arrives, is lost or repeated, a write is done, time passes, a client
//! asks, a process ends, somebody crashes. After each step the [`oracle`] looks at what must never happen.

mod disk;
mod event;
mod executor;
mod master;
mod oracle;
mod request;
mod time;

use crate::{choices::Choices, mutate};
use disk::Disk;
use event::Event;
use executor::Executor;
pub(crate) use master::CLUSTER;
use master::Master;
use oracle::Oracle;
use prost::Message as _;
use quorate_core::{
    Input, Node,
    agent::AgentInput,
    types::{NodeId, Now, RequestKey, Time},
};
use quorate_proto::v1::{self as pb, client_request::Body as Request};
use request::{Asker, Clients};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::OnceLock,
};

/// Masters of the cluster.
pub(crate) const MASTERS: usize = 3;
/// Most choices of one run: what is behind them is not read.
const STEPS: usize = 2_000;

/// How a run is made: the first byte of an input.
mod mode {
    /// Garbage and altered messages arrive. Nothing is asserted then but that nobody panics.
    pub(super) const HOSTILE: u8 = 1;
    /// A second executor.
    pub(super) const TWO_EXECUTORS: u8 = 2;
    /// Begins with empty directories, not with a cluster that has a leader.
    pub(super) const FROM_NOTHING: u8 = 4;
    /// At the end everything is healed, and the cluster must become whole.
    pub(super) const HEAL: u8 = 8;
}

/// Directed links that are cut: from a master to a master, and from an executor to any master.
#[derive(Clone, Copy, Debug, Default)]
struct Cuts {
    links: [[bool; MASTERS]; MASTERS],
    executors: [bool; 2],
}

/// Everything there is.
#[derive(Clone, Debug)]
pub(crate) struct World {
    hostile: bool,
    now: Now,
    masters: Vec<Master>,
    executors: Vec<Executor>,
    /// What is on its way, in the order in which it was sent.
    events: VecDeque<Event>,
    cuts: Cuts,
    clients: Clients,
    /// Who waits for the answer to a request, by master and key.
    askers: BTreeMap<(usize, RequestKey), Asker>,
    oracle: Oracle,
    /// Numbers that are never used twice: seeds, keys.
    serial: u64,
}

/// Drives a small cluster by bytes. See [the targets](crate).
///
/// # Panics
/// When something happened that must never happen.
pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mode = choices.byte();
    let mut world = World::start(mode);
    for _ in 0..STEPS {
        if choices.is_empty() {
            break;
        }
        world.act(&mut choices);
    }
    if mode & mode::HEAL != 0 && !world.hostile {
        world.heal();
    }
    world.check_states();
}

/// One that has a leader and its executors registered.
fn settled(mode: u8) -> &'static World {
    static WORLDS: [OnceLock<World>; 2] = [OnceLock::new(), OnceLock::new()];
    let two = usize::from(mode & mode::TWO_EXECUTORS != 0);
    WORLDS[two].get_or_init(|| {
        let mut world = World::new(two + 1);
        for _ in 0..60 {
            world.pass();
        }
        let leader = world.leader().expect("somebody leads in a cluster without faults");
        world.ask_for(leader, Request::OpenSession(pb::OpenSessionRequest { ttl_ms: 0 }));
        world.settle();
        world
    })
}

/// A master of a cluster with a leader: the leader, a follower, or one that has just begun.
pub(crate) fn example_master(kind: usize) -> Node {
    let fresh = World::new(0);
    let (world, leads) = match kind % MASTERS {
        0 => (&fresh, None),
        kind => (settled(0), Some(kind == 1)),
    };
    let fits = |master: &&Master| leads.is_none() || leads == Some(master.leads());
    let found = world.masters.iter().filter_map(|master| Some(master).filter(fits)?.node.clone());
    found.into_iter().next().expect("there is one of each kind")
}

impl World {
    fn start(mode: u8) -> Self {
        let mut world = if mode & mode::FROM_NOTHING != 0 {
            Self::new(1 + usize::from(mode & mode::TWO_EXECUTORS != 0))
        } else {
            settled(mode).clone()
        };
        world.hostile = mode & mode::HOSTILE != 0;
        world
    }

    fn new(executors: usize) -> Self {
        let now = Now { time: Time(1_000_000_000), wall_ms: 1_000 };
        let mut world = Self {
            hostile: false,
            now,
            masters: (0..MASTERS).map(Master::new).collect(),
            executors: Vec::new(),
            events: VecDeque::new(),
            cuts: Cuts::default(),
            clients: Clients::default(),
            askers: BTreeMap::new(),
            oracle: Oracle::default(),
            serial: 0,
        };
        for master in 0..MASTERS {
            world.start_master(master);
        }
        for index in 0..executors {
            world.executors.push(Executor::new(index, now));
            world.drain_executor(index);
        }
        world
    }

    const fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn leader(&self) -> Option<usize> {
        let leads = |index: &usize| self.masters[*index].leads();
        let term = |index: &usize| self.masters[*index].node.as_ref().map(|node| node.raft().term());
        (0..self.masters.len()).filter(leads).max_by_key(term)
    }

    /// The one thing that the next bytes say.
    fn act(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 64 {
            0..=7 => (0..=choices.pick(16)).for_each(|_| self.pass()),
            8..=11 => self.settle(),
            12..=21 => self.deliver_one(choices),
            22..=24 => self.lose_one(choices),
            25..=27 => self.repeat_one(choices),
            28..=31 => self.write_done(choices.pick(MASTERS)),
            32..=34 => self.wait(choices),
            35..=36 => self.deadline(choices),
            37..=46 => self.ask(choices),
            47 => self.crash(choices.pick(MASTERS), choices.number()),
            48..=49 => self.start_master(choices.pick(MASTERS)),
            50 => self.connection(choices),
            51..=52 => self.cut(choices),
            53..=56 => self.process(choices),
            57 => self.restart_executor(choices),
            58 => self.write_failed(choices),
            59 => self.request_gone(choices.pick(MASTERS)),
            _ if self.hostile => self.attack(choices),
            _ => self.pass(),
        }
        self.bound_events();
    }

    fn choose_event(&mut self, choices: &mut Choices<'_>) -> Option<Event> {
        let chosen = choices.pick(self.events.len());
        self.events.remove(chosen)
    }

    fn deliver_one(&mut self, choices: &mut Choices<'_>) {
        if let Some(event) = self.choose_event(choices) {
            let to = choices.pick(MASTERS);
            self.deliver(event, Some(to));
        }
    }

    fn lose_one(&mut self, choices: &mut Choices<'_>) {
        if let Some(event) = self.choose_event(choices) {
            self.lose(event);
        }
    }

    fn repeat_one(&mut self, choices: &mut Choices<'_>) {
        if let Some(event) = self.choose_event(choices) {
            if let Some(copy) = event.copy() {
                self.events.push_back(copy);
            }
            let to = choices.pick(MASTERS);
            self.deliver(event, Some(to));
        }
    }

    fn wait(&mut self, choices: &mut Choices<'_>) {
        let (count, scale) = (choices.number(), choices.byte());
        let scale = if scale.is_multiple_of(8) { 10 } else { 1 };
        self.advance(self.now.time + core::time::Duration::from_millis(count * scale));
    }

    fn deadline(&mut self, choices: &mut Choices<'_>) {
        let chosen = choices.pick(MASTERS + self.executors.len());
        match chosen.checked_sub(MASTERS) {
            None => self.step_master(chosen, Input::Deadline),
            Some(executor) => self.step_executor(executor, AgentInput::Deadline),
        }
    }

    fn connection(&mut self, choices: &mut Choices<'_>) {
        let (master, kind) = (choices.pick(MASTERS), choices.pick(2 * MASTERS));
        let peer = master::id_of(kind % MASTERS);
        let lost = kind < MASTERS;
        self.step_master(master, if lost { Input::PeerLost(peer) } else { Input::PeerConnected(peer) });
    }

    fn cut(&mut self, choices: &mut Choices<'_>) {
        let bits = choices.byte();
        let mut links = (0..6).map(|bit| bits & (1 << bit) != 0);
        for (from, row) in self.cuts.links.iter_mut().enumerate() {
            for (to, cut) in row.iter_mut().enumerate() {
                *cut = from != to && links.next().unwrap_or(false);
            }
        }
        self.cuts.executors = [bits & 64 != 0, bits & 128 != 0];
    }

    /// Something arrives that no honest process sent.
    fn attack(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.pick(4);
        let master = choices.pick(MASTERS);
        let sent = self.events.iter().find_map(|event| match event {
            Event::Peer { bytes, to, .. } if *to == master => Some(bytes.clone()),
            _ => None,
        });
        match kind {
            0 => self.attack_executor(choices),
            1 => {
                let length = choices.pick(64);
                if let Ok(envelope) = pb::Envelope::decode(choices.take(length)) {
                    self.step_master(master, Input::Peer(Box::new(envelope)));
                }
            }
            _ => {
                let Some(mut envelope) = sent.and_then(|bytes| pb::Envelope::decode(bytes).ok()) else {
                    return;
                };
                mutate::envelope(&mut envelope, choices);
                self.step_master(master, Input::Peer(Box::new(envelope)));
            }
        }
    }

    /// Ends all faults; then there must be one leader, and all must have the same in the end.
    fn heal(&mut self) {
        self.cuts = Cuts::default();
        for master in 0..MASTERS {
            self.start_master(master);
        }
        let end = self.now.time + core::time::Duration::from_secs(20);
        let mut rounds = 0;
        while self.now.time < end && !self.is_whole() {
            self.pass();
            rounds += 1;
            assert!(rounds < 20_000, "somebody spins: at {:?} after {rounds} rounds", self.now.time);
        }
        assert!(self.is_whole(), "20 s without a fault, and the cluster is not whole: {}", self.describe());
    }

    fn is_whole(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let held = |master: &Master| {
            let node = master.node.as_ref()?;
            Some((node.raft().term(), node.raft().leader(), node.state().index(), node.raft().last_index()))
        };
        let of_leader = held(&self.masters[leader]);
        let agreed = of_leader.is_some_and(|(_, _, applied, last)| applied == last);
        agreed && self.masters.iter().all(|master| held(master) == of_leader)
    }

    fn describe(&self) -> String {
        let one = |master: &Master| match &master.node {
            None => "down".to_owned(),
            Some(node) => format!(
                "node {}: {:?} in term {}, vote {}, log {} to {}, commit {}, applied {}",
                node.identity_number(),
                node.raft().role(),
                node.raft().term(),
                node.raft().has_vote(),
                node.raft().first_index(),
                node.raft().last_index(),
                node.raft().commit(),
                node.state().index()
            ),
        };
        self.masters.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn check_states(&self) {
        if self.hostile {
            return;
        }
        for master in &self.masters {
            if let Some(node) = &master.node {
                let checked = node.state().check();
                assert!(checked.is_ok(), "{checked:?}");
            }
        }
    }
}

/// A node's id, for messages.
trait Numbered {
    fn identity_number(&self) -> NodeId;
}

impl Numbered for Node {
    fn identity_number(&self) -> NodeId {
        NodeId(self.status().node)
    }
}
