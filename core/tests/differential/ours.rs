//! This core's Raft, with a disk that takes its time.

use crate::world::{Entry, Member};
use bytes::Bytes;
use quorate_core::{
    contract::{self, Flow, HardState, LogPosition, Timing, Write},
    raft::{Effect, Raft, RaftStart, Role, membership::Membership, message::Message},
    types::{Index, NodeId, Term, Time},
};
use std::{collections::VecDeque, time::Duration};

/// One tick, which is one heartbeat.
const TICK: Duration = Duration::from_millis(10);
/// So that nothing is due at the very moment of a tick and is missed.
const SLACK: Duration = Duration::from_micros(1);

pub(crate) struct Ours {
    raft: Raft,
    id: u64,
    nodes: u64,
    seed: u64,
    now: Time,
    hard_state: HardState,
    entries: Vec<contract::Entry>,
    writes: VecDeque<Write>,
    sent: Vec<(u64, (Term, Message))>,
}

impl Ours {
    fn start(
        id: u64,
        nodes: u64,
        seed: u64,
        now: Time,
        hard_state: HardState,
        entries: Vec<contract::Entry>,
    ) -> Raft {
        let timing = Timing {
            heartbeat: TICK - SLACK,
            election_min: TICK * 5,
            election_max: TICK * 10,
            disk_stall: Duration::from_secs(1_000),
            ..Timing::default()
        };
        let start = RaftStart {
            no_vote_until: Time(0),
            id: NodeId(id),
            membership: Membership::of((1..=nodes).map(NodeId)),
            timing,
            // Small, so that limits are reached.
            flow: Flow { append_entries: 3, inflight_messages: 4, ..Flow::default() },
            snapshot_rate: 0,
            seed,
            hard_state,
            start: LogPosition::default(),
            entries,
            snapshot: None,
        };
        let mut raft = Raft::new(start, now);
        raft.grant_vote_right();
        raft
    }

    fn step<R>(&mut self, act: impl FnOnce(&mut Raft) -> R) -> R {
        self.raft.begin_step(self.now);
        let result = act(&mut self.raft);
        self.raft.applied(self.raft.commit());
        self.raft.start_read_round();
        self.raft.replicate();
        self.writes.extend(self.raft.take_write());
        let term = self.raft.term();
        while let Some(effect) = self.raft.poll_effect() {
            if let Effect::Send(to, message) = effect {
                self.sent.push((to.0, (term, message)));
            }
        }
        result
    }

    fn write(&mut self, write: &Write) {
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
    }
}

impl Member for Ours {
    const NAME: &'static str = "quorate-core";
    type Message = (Term, Message);

    fn new(id: u64, nodes: u64, seed: u64) -> Self {
        let (now, hard_state) = (Time(0), HardState::default());
        Self {
            raft: Self::start(id, nodes, seed, now, hard_state, Vec::new()),
            id,
            nodes,
            seed,
            now,
            hard_state,
            entries: Vec::new(),
            writes: VecDeque::new(),
            sent: Vec::new(),
        }
    }

    fn tick(&mut self) {
        self.now = self.now + TICK;
        self.step(Raft::deadline);
    }

    fn receive(&mut self, from: u64, (term, message): Self::Message) {
        self.step(|raft| raft.receive(NodeId(from), term, message));
    }

    fn propose(&mut self, command: u64) -> bool {
        self.step(|raft| raft.propose(Bytes::copy_from_slice(&command.to_le_bytes()))).is_ok()
    }

    fn sync(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            self.write(&write);
            self.step(|raft| raft.write_done(write.io));
        }
    }

    fn crash(&mut self, torn: bool) {
        if torn && let Some(write) = self.writes.pop_front() {
            self.write(&write);
        }
        self.writes.clear();
        self.seed = self.seed.wrapping_add(1);
        self.raft =
            Self::start(self.id, self.nodes, self.seed, self.now, self.hard_state, self.entries.clone());
    }

    fn take_messages(&mut self) -> Vec<(u64, Self::Message)> {
        std::mem::take(&mut self.sent)
    }

    fn leads(&self) -> Option<u64> {
        (self.raft.role() == Role::Leader).then(|| self.raft.term().0)
    }

    fn commit(&self) -> u64 {
        self.raft.commit().0
    }

    fn entry(&self, index: u64) -> Option<Entry> {
        let entry = self.raft.entry(Index(index))?;
        let command = entry.data.as_ref().try_into().map_or(0, u64::from_le_bytes);
        Some((entry.term.0, command))
    }

    fn last(&self) -> u64 {
        self.raft.last_index().0
    }
}
