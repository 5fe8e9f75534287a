//! Three nodes in memory: what consensus costs, without disk and network, here and in the `raft` crate, in the same run.
//!
//! A leader takes a batch of commands of 256 bytes, each newly made; messages go from queue to queue, writes are done at once, and everybody
//! applies what it knows to be committed. An iteration ends when nothing is on its way and the leader has committed all.
//!
//! `cargo bench -p quorate-core --bench raft`

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quorate_core::{
    contract::{Flow, HardState, LogPosition, Timing},
    raft::{Effect, Raft, RaftStart, Role, membership::Membership, message::Message},
    types::{Index, NodeId, Term, Time},
};
use raft::{
    Config, RawNode, StateRole,
    eraftpb::{self, ConfState, MessageType},
    storage::MemStorage,
};
use std::{collections::VecDeque, hint::black_box, time::Duration};

const COMMAND_BYTES: usize = 256;
/// The log is shortened when it is so long, to half of it.
const LOG_ENTRIES: u64 = 4096;
const NODES: u64 = 3;

/// Three nodes of one implementation, the first of which leads.
trait Cluster {
    /// Takes a batch, and runs until it is committed and nothing is on its way.
    fn commit(&mut self, batch: usize);
    /// What the leader has committed.
    fn committed(&self) -> u64;
}

struct Ours {
    nodes: Vec<Raft>,
    queue: VecDeque<(usize, NodeId, Term, Message)>,
    command: Vec<u8>,
}

impl Ours {
    fn new() -> Self {
        let node = |id| {
            let start = RaftStart {
                no_vote_until: Time(0),
                id: NodeId(id),
                membership: Membership::of((1..=NODES).map(NodeId)),
                timing: Timing { election_max: Duration::from_secs(1_000), ..Timing::default() },
                flow: Flow::default(),
                snapshot_rate: 0,
                seed: id,
                hard_state: HardState::default(),
                start: LogPosition::default(),
                entries: Vec::new(),
                snapshot: None,
            };
            let mut raft = Raft::new(start, Time(0));
            raft.grant_vote_right();
            raft
        };
        let command = vec![7; COMMAND_BYTES];
        let mut cluster = Self { nodes: (1..=NODES).map(node).collect(), queue: VecDeque::new(), command };
        cluster.nodes[0].campaign(false);
        cluster.settle(0);
        cluster.run();
        assert_eq!(cluster.nodes[0].role(), Role::Leader);
        cluster
    }

    /// What a driver does at the end of a step.
    fn settle(&mut self, place: usize) {
        let raft = &mut self.nodes[place];
        loop {
            // The state machine: it looks at every entry.
            let (mut applied, commit) = (raft.applied_index(), raft.commit());
            while applied < commit {
                applied = applied.next();
                black_box(raft.entry(applied));
            }
            raft.applied(applied);
            raft.start_read_round();
            raft.replicate();
            let write = raft.take_write();
            let term = raft.term();
            while let Some(effect) = raft.poll_effect() {
                if let Effect::Send(to, message) = effect {
                    let to = usize::try_from(to.0 - 1).expect("three nodes");
                    self.queue.push_back((to, NodeId(place as u64 + 1), term, message));
                }
            }
            let Some(write) = write else { break };
            raft.write_done(black_box(write).io);
        }
        let raft = &mut self.nodes[place];
        if raft.last_index().0.saturating_sub(raft.first_index().0) > LOG_ENTRIES {
            let index = Index(raft.applied_index().0 - LOG_ENTRIES / 2);
            let at = LogPosition { term: raft.term_at(index).unwrap_or_default(), index };
            raft.snapshot_saved(at);
            raft.compact(at.index);
        }
    }

    fn run(&mut self) {
        while let Some((to, from, term, message)) = self.queue.pop_front() {
            self.nodes[to].begin_step(Time(0));
            self.nodes[to].receive(from, term, message);
            self.settle(to);
        }
    }
}

impl Cluster for Ours {
    fn commit(&mut self, batch: usize) {
        for _ in 0..batch {
            self.nodes[0].propose(Bytes::from(self.command.clone())).expect("it leads, and its log has room");
        }
        self.settle(0);
        self.run();
        assert_eq!(self.nodes[0].commit(), self.nodes[0].last_index());
    }

    fn committed(&self) -> u64 {
        self.nodes[0].commit().0
    }
}

struct Theirs {
    nodes: Vec<(RawNode<MemStorage>, MemStorage)>,
    queue: VecDeque<eraftpb::Message>,
    command: Vec<u8>,
    /// One message brings the whole batch.
    together: bool,
}

impl Theirs {
    fn new(together: bool) -> Self {
        let node = |id| {
            let state = ConfState { voters: (1..=NODES).collect(), ..ConfState::default() };
            let storage = MemStorage::new_with_conf_state(state);
            let config = Config {
                id,
                election_tick: 1_000_000,
                heartbeat_tick: 1,
                max_inflight_msgs: 256,
                max_size_per_msg: 1 << 20,
                batch_append: together,
                ..Config::default()
            };
            let logger = slog::Logger::root(slog::Discard, slog::o!());
            (RawNode::new(&config, storage.clone(), &logger).expect("the configuration is right"), storage)
        };
        let mut cluster = Self {
            nodes: (1..=NODES).map(node).collect(),
            queue: VecDeque::new(),
            command: vec![7; COMMAND_BYTES],
            together,
        };
        cluster.nodes[0].0.campaign().expect("it may");
        cluster.settle(0);
        cluster.run();
        assert_eq!(cluster.nodes[0].0.raft.state, StateRole::Leader);
        cluster
    }

    fn settle(&mut self, place: usize) {
        let (node, storage) = &mut self.nodes[place];
        while node.has_ready() {
            let mut ready = node.ready();
            self.queue.extend(ready.take_messages());
            black_box(ready.take_committed_entries());
            {
                let mut storage = storage.wl();
                let entries = ready.take_entries();
                if !entries.is_empty() {
                    storage.append(&entries).expect("entries follow each other");
                }
                if let Some(state) = ready.hs() {
                    storage.set_hardstate(state.clone());
                }
            }
            self.queue.extend(ready.take_persisted_messages());
            let mut light = node.advance(ready);
            if let Some(commit) = light.commit_index() {
                storage.wl().mut_hard_state().commit = commit;
            }
            self.queue.extend(light.take_messages());
            black_box(light.take_committed_entries());
            node.advance_apply();
        }
        let log = &node.raft.raft_log;
        if log.last_index().saturating_sub(log.first_index()) > LOG_ENTRIES {
            let index = log.applied() - LOG_ENTRIES / 2;
            storage.wl().compact(index).expect("it is there");
        }
    }

    fn run(&mut self) {
        while let Some(message) = self.queue.pop_front() {
            let to = usize::try_from(message.to - 1).expect("three nodes");
            self.nodes[to].0.step(message).expect("it knows the sender");
            self.settle(to);
        }
    }
}

impl Cluster for Theirs {
    fn commit(&mut self, batch: usize) {
        let leader = &mut self.nodes[0].0;
        if self.together {
            let entry = || eraftpb::Entry { data: self.command.clone().into(), ..eraftpb::Entry::default() };
            let mut message = eraftpb::Message { from: 1, to: 1, ..eraftpb::Message::default() };
            message.set_msg_type(MessageType::MsgPropose);
            message.entries = (0..batch).map(|_| entry()).collect::<Vec<_>>().into();
            leader.step(message).expect("it leads");
        } else {
            for _ in 0..batch {
                leader.propose(Vec::new(), self.command.clone()).expect("it leads");
            }
        }
        self.settle(0);
        self.run();
        let log = &self.nodes[0].0.raft.raft_log;
        assert_eq!(log.committed, log.last_index());
    }

    fn committed(&self) -> u64 {
        self.nodes[0].0.raft.raft_log.committed
    }
}

fn three_nodes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("three nodes");
    for batch in [1_usize, 64] {
        group.throughput(Throughput::Elements(batch as u64));
        let clusters: [(&str, Box<dyn Cluster>); 3] = [
            ("quorate", Box::new(Ours::new())),
            ("raft 0.7, one by one", Box::new(Theirs::new(false))),
            ("raft 0.7, together", Box::new(Theirs::new(true))),
        ];
        for (name, mut cluster) in clusters {
            let before = cluster.committed();
            group.bench_function(format!("{name}, batch {batch}"), |bencher| {
                bencher.iter(|| cluster.commit(batch));
            });
            assert!(cluster.committed() > before);
        }
    }
    group.finish();
}

criterion_group!(benches, three_nodes);
criterion_main!(benches);
