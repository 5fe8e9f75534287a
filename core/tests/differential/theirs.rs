//! The `raft` crate, with its storage in memory. Its writes are done at once.

use crate::world::{Entry, Member};
use raft::{
    Config, GetEntriesContext, RawNode, StateRole,
    eraftpb::{ConfState, Message},
    storage::MemStorage,
};

pub(crate) struct Theirs {
    node: RawNode<MemStorage>,
    storage: MemStorage,
    id: u64,
    sent: Vec<(u64, Message)>,
}

impl Theirs {
    fn start(id: u64, storage: &MemStorage) -> RawNode<MemStorage> {
        let config = Config {
            id,
            election_tick: 5,
            heartbeat_tick: 1,
            pre_vote: true,
            check_quorum: true,
            max_inflight_msgs: 4,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        RawNode::new(&config, storage.clone(), &logger).expect("the configuration is right")
    }

    fn settle(&mut self) {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let mut messages = ready.take_messages();
            let mut storage = self.storage.wl();
            storage.append(ready.entries()).expect("entries follow each other");
            if let Some(state) = ready.hs() {
                storage.set_hardstate(state.clone());
            }
            drop(storage);
            messages.extend(ready.take_persisted_messages());
            let mut light = self.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.storage.wl().mut_hard_state().commit = commit;
            }
            messages.extend(light.take_messages());
            self.node.advance_apply();
            self.sent.extend(messages.into_iter().map(|message| (message.to, message)));
        }
    }
}

impl Member for Theirs {
    const NAME: &'static str = "raft";
    type Message = Message;

    fn new(id: u64, nodes: u64, _seed: u64) -> Self {
        let state = ConfState { voters: (1..=nodes).collect(), ..ConfState::default() };
        let storage = MemStorage::new_with_conf_state(state);
        Self { node: Self::start(id, &storage), storage, id, sent: Vec::new() }
    }

    fn tick(&mut self) {
        self.node.tick();
        self.settle();
    }

    fn receive(&mut self, _from: u64, message: Message) {
        // It refuses answers of who it does not know, and those that are its own.
        let _ = self.node.step(message);
        self.settle();
    }

    fn propose(&mut self, command: u64) -> bool {
        let taken = self.node.propose(Vec::new(), command.to_le_bytes().to_vec()).is_ok();
        self.settle();
        taken
    }

    fn sync(&mut self) {}

    fn crash(&mut self, _torn: bool) {
        self.node = Self::start(self.id, &self.storage);
    }

    fn take_messages(&mut self) -> Vec<(u64, Message)> {
        std::mem::take(&mut self.sent)
    }

    fn leads(&self) -> Option<u64> {
        (self.node.raft.state == StateRole::Leader).then_some(self.node.raft.term)
    }

    fn commit(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    fn entry(&self, index: u64) -> Option<Entry> {
        let log = &self.node.raft.raft_log;
        if index < log.first_index() || index > log.last_index() {
            return None;
        }
        let entries = log.slice(index, index + 1, None, GetEntriesContext::empty(false)).ok()?;
        let entry = entries.first()?;
        Some((entry.term, entry.data.as_ref().try_into().map_or(0, u64::from_le_bytes)))
    }

    fn last(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }
}
