//! What is on its way, and what becomes of it.

use super::{World, executor::address_of, master::id_of, request::Asker};
use bytes::Bytes;
use prost::Message as _;
use quorate_core::{
    Input,
    contract::{LogPosition, Snapshot},
    types::{CallKey, NodeId, RequestKey},
};
use quorate_proto::v1 as pb;

/// Most events on their way: the oldest message goes first.
const EVENTS: usize = 512;
/// Most events that happen at one moment before somebody must be spinning.
const MOMENT: usize = 20_000;

/// What a master asked of its disk, besides writes to the log.
#[derive(Clone, Debug)]
pub(crate) enum DiskWork {
    Save(Box<Snapshot>),
    Store { at: LogPosition, number: u64, data: Bytes, last: bool },
    Read { peer: NodeId, at: LogPosition, number: u64 },
    Load { at: LogPosition },
}

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// From a master to a master.
    Peer { from: usize, to: usize, bytes: Bytes },
    /// Between a master and its disk.
    Disk { master: usize, run: u64, work: Box<DiskWork> },
    /// From an executor to any master.
    Ask { executor: usize, run: u64, key: RequestKey, request: Box<pb::ClientRequest> },
    /// The answer to that. `None`: there will be none.
    Answer { executor: usize, run: u64, key: RequestKey, reply: Option<Box<pb::ClientReply>> },
    /// From a master to an executor.
    Call { master: usize, run: u64, key: CallKey, address: String, call: Box<pb::ExecutorCall> },
    /// How that ended.
    Called { master: usize, run: u64, key: CallKey, reply: Option<Box<pb::ExecutorCallReply>> },
}

impl Event {
    /// A second one, of what a network may repeat.
    pub(crate) fn copy(&self) -> Option<Self> {
        match self {
            Self::Peer { .. } | Self::Ask { .. } | Self::Call { .. } => Some(self.clone()),
            Self::Disk { .. } | Self::Answer { .. } | Self::Called { .. } => None,
        }
    }
}

impl World {
    /// It arrives. `to`: which master an executor asks; the leader, if it is not said.
    pub(crate) fn deliver(&mut self, event: Event, to: Option<usize>) {
        match event {
            Event::Peer { from, to, bytes } => {
                if !self.cuts.links[from][to] {
                    let envelope = pb::Envelope::decode(bytes).expect("a node sends what it can read");
                    self.step_master(to, Input::Peer(Box::new(envelope)));
                }
            }
            Event::Disk { master, run, work } => {
                if self.runs(master, run) {
                    self.work(master, *work);
                }
            }
            Event::Ask { executor, run, key, request } => {
                let to = to.or_else(|| self.leader()).unwrap_or(0);
                let cut = self.cuts.executors[executor] || self.masters[to].node.is_none();
                if !self.executors[executor].waits(run, key) {
                    return;
                }
                if cut {
                    self.answer_executor(executor, run, key, None);
                } else {
                    self.request(to, request, Asker::Executor { executor, run, key });
                }
            }
            Event::Answer { executor, run, key, reply } => {
                let reply = reply.filter(|_| !self.cuts.executors[executor]);
                self.answer_executor(executor, run, key, reply);
            }
            Event::Call { master, run, key, address, call } => {
                let to = (0..self.executors.len()).find(|index| address_of(*index) == address);
                let to = to.filter(|index| !self.cuts.executors[*index] && self.executors[*index].is_up());
                match to {
                    Some(executor) => self.call(executor, (master, run, key), call),
                    None => self.called(master, run, key, None),
                }
            }
            Event::Called { master, run, key, reply } => self.called(master, run, key, reply),
        }
    }

    /// It does not arrive. A disk loses nothing while its process runs.
    pub(crate) fn lose(&mut self, event: Event) {
        match event {
            Event::Peer { .. } => {}
            Event::Disk { .. } => self.deliver(event, None),
            Event::Ask { executor, run, key, .. } | Event::Answer { executor, run, key, .. } => {
                self.answer_executor(executor, run, key, None);
            }
            Event::Call { master, run, key, .. } | Event::Called { master, run, key, .. } => {
                self.called(master, run, key, None);
            }
        }
    }

    fn runs(&self, master: usize, run: u64) -> bool {
        self.masters[master].node.is_some() && self.masters[master].run == run
    }

    fn work(&mut self, master: usize, work: DiskWork) {
        let disk = &mut self.masters[master].disk;
        let input = match work {
            DiskWork::Save(snapshot) => {
                disk.save(&snapshot);
                Input::SnapshotSaved { at: snapshot.at }
            }
            DiskWork::Store { at, number, data, last } => match disk.store(at, number, data, last) {
                Ok(()) => Input::SnapshotChunkStored { at, number, last },
                Err(why) => {
                    assert!(self.hostile, "node {}: {why}", id_of(master));
                    Input::SnapshotChunkRefused { at, number }
                }
            },
            DiskWork::Read { peer, at, number } => {
                Input::SnapshotChunkRead { peer, at, number, chunk: disk.piece(at, number) }
            }
            DiskWork::Load { at } => {
                let state = disk.load(at);
                assert!(self.hostile || state.is_some(), "the snapshot at {at:?} does not load");
                Input::SnapshotLoaded { at, state: state.map(Box::new) }
            }
        };
        self.step_master(master, input);
    }

    fn called(&mut self, master: usize, run: u64, key: CallKey, reply: Option<Box<pb::ExecutorCallReply>>) {
        if self.runs(master, run) {
            self.step_master(master, Input::CallDone { key, reply });
        }
    }

    /// Everything on its way arrives, and all writes are done.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MOMENT {
            if let Some(writer) = (0..self.masters.len()).find(|index| {
                self.masters[*index].node.is_some() && !self.masters[*index].disk.pending.is_empty()
            }) {
                self.write_done(writer);
            } else if let Some(event) = self.events.pop_front() {
                self.deliver(event, None);
            } else if !self.hear_processes() {
                return;
            }
        }
        assert!(self.hostile, "after {MOMENT} events at one moment there are still more");
    }

    /// Keeps what is on its way bounded: messages may be lost.
    pub(crate) fn bound_events(&mut self) {
        while self.events.len() > EVENTS {
            let Some(event) = self.events.pop_front() else { return };
            self.lose(event);
        }
    }
}
