//! One master and what its driver does.

use super::{Disk, Event, MASTERS, World, event::DiskWork, request::Asker};
use prost::Message as _;
use quorate_core::{
    Config, Input, Node, Output,
    contract::{Flow, LeaseTimes, MemberAddress, Timing},
    raft::Role,
    types::{ClusterId, NodeId, StorageId},
};
use std::time::Duration;

pub(crate) const CLUSTER: ClusterId = ClusterId(77);

/// One place for a master: its process may be down, its disk stays.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    pub(crate) node: Option<Node>,
    pub(crate) disk: Disk,
    /// Which run of the process it is: what was asked for by an earlier one is lost.
    pub(crate) run: u64,
    /// It was told that a write failed: it must stop.
    pub(crate) must_stop: bool,
    id: NodeId,
}

/// The id of the master in this place.
pub(crate) const fn id_of(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

/// Leases as short as is safe.
pub(crate) const fn lease_times() -> LeaseTimes {
    LeaseTimes {
        ttl: Duration::from_millis(1_000),
        grace: Duration::from_millis(160),
        check: Duration::from_millis(50),
        kill: Duration::from_millis(100),
        drift_ppm: 1_000,
    }
}

fn config(node: NodeId) -> Config {
    let address = |id: NodeId| MemberAddress { peer: format!("p{id}:1"), client: format!("c{id}:1") };
    let config = Config {
        cluster: CLUSTER,
        node,
        storage: StorageId(node.0 * 11),
        members: (0..MASTERS).map(|index| (id_of(index), address(id_of(index)))).collect(),
        joins: false,
        timing: Timing { request_timeout: Duration::from_secs(2), ..Timing::default() },
        executor_lease: lease_times(),
        snapshot_entries: 8,
        trailing_entries: 2,
        log_bytes: quorate_core::contract::LogBytes::default(),
        snapshot_rate: 0,
        flow: Flow::default(),
        level: quorate_core::level::FEATURE_LEVEL,
    };
    config.validate().expect("it is valid");
    config
}

impl Master {
    pub(crate) fn new(index: usize) -> Self {
        Self { node: None, disk: Disk::default(), run: 0, must_stop: false, id: id_of(index) }
    }

    pub(crate) fn leads(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.raft().role() == Role::Leader)
    }
}

impl World {
    /// Starts the process of a master, if it is down.
    pub(crate) fn start_master(&mut self, index: usize) {
        if self.masters[index].node.is_some() {
            return;
        }
        let seed = self.next_serial();
        let now = self.now;
        let master = &mut self.masters[index];
        master.run += 1;
        master.must_stop = false;
        let durable = master.disk.hard_state.term;
        let node = Node::new(config(master.id), master.disk.recovered(), seed, now);
        assert!(self.hostile || node.raft().term() >= durable, "a node came up without its term");
        master.node = Some(node);
        self.oracle.restarted(id_of(index));
        self.drain_master(index);
    }

    /// The process is gone. Of the writes on their way so many are on the disk.
    pub(crate) fn crash(&mut self, index: usize, kept: u64) {
        if self.masters[index].node.is_none() {
            return;
        }
        for _ in 0..kept % (self.masters[index].disk.pending.len() as u64 + 1) {
            self.complete(index);
        }
        self.masters[index].node = None;
        self.masters[index].disk.crash();
        let lost: Vec<_> = self.askers.keys().filter(|(master, _)| *master == index).copied().collect();
        for key in lost {
            if let Some(Asker::Executor { executor, run, key }) = self.askers.remove(&key) {
                self.events.push_back(Event::Answer { executor, run, key, reply: None });
            }
        }
    }

    fn complete(&mut self, index: usize) -> Option<quorate_core::contract::Write> {
        match self.masters[index].disk.complete() {
            Ok(write) => write,
            // A liar can talk a node into a log that storage refuses.
            Err(_) if self.hostile => None,
            Err(why) => panic!("node {} asked its disk for what it must not: {why}", id_of(index)),
        }
    }

    /// The oldest write of a master is done.
    pub(crate) fn write_done(&mut self, index: usize) {
        if let Some(write) = self.complete(index) {
            self.step_master(index, Input::WriteDone { io: write.io });
        }
    }

    pub(crate) fn write_failed(&mut self, choices: &mut crate::choices::Choices<'_>) {
        let (index, often) = (choices.pick(MASTERS), choices.byte());
        if self.masters[index].disk.pending.is_empty() || !often.is_multiple_of(4) {
            return;
        }
        self.masters[index].must_stop = true;
        self.step_master(index, Input::WriteFailed { message: "told to".to_owned() });
        assert!(self.masters[index].node.is_none(), "a node goes on after a write failed");
    }

    pub(crate) fn request_gone(&mut self, index: usize) {
        let client = self.askers.iter().find(|((master, _), asker)| *master == index && asker.is_client());
        if let Some((&(_, key), _)) = client {
            self.askers.remove(&(index, key));
            self.step_master(index, Input::RequestGone { key });
        }
    }

    /// The one mutation of a master.
    pub(crate) fn step_master(&mut self, index: usize, input: Input) {
        let now = self.now;
        let Some(node) = &mut self.masters[index].node else { return };
        node.step(now, input);
        self.drain_master(index);
    }

    fn drain_master(&mut self, index: usize) {
        if let Some(node) = self.masters[index].node.as_ref().filter(|_| !self.hostile) {
            let disks: Vec<_> = self.masters.iter().map(|master| &master.disk).collect();
            self.oracle.observe(id_of(index), node, &disks, &self.masters[index].disk);
        }
        while let Some(output) = self.masters[index].node.as_mut().and_then(Node::poll_output) {
            self.carry_out(index, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let run = self.masters[index].run;
        let work = |work| Event::Disk { master: index, run, work: Box::new(work) };
        let event = match output {
            Output::Send { to, envelope, .. } => {
                if !self.hostile {
                    self.oracle.sent(id_of(index), to, &envelope, &self.masters[index].disk);
                }
                let to = usize::try_from(to.0 - 1).unwrap_or(usize::MAX);
                // Whoever made a message up may be answered.
                if self.hostile && (to == index || to >= MASTERS) {
                    return;
                }
                assert!(to < MASTERS && to != index, "a message to nobody: {envelope:?}");
                Event::Peer { from: index, to, bytes: envelope.encode_to_vec().into() }
            }
            Output::Write(write) => {
                self.masters[index].disk.pending.push_back(write);
                return;
            }
            Output::SaveSnapshot(snapshot) => work(DiskWork::Save(snapshot)),
            Output::StoreSnapshotChunk { at, number, data, last } => {
                work(DiskWork::Store { at, number, data, last })
            }
            Output::ReadSnapshotChunk { peer, at, number } => work(DiskWork::Read { peer, at, number }),
            Output::LoadSnapshot { at } => work(DiskWork::Load { at }),
            Output::Reply { key, reply } => {
                self.replied(index, key, reply);
                return;
            }
            Output::Call { key, address, call } => Event::Call { master: index, run, key, address, call },
            Output::Stop(reason) => {
                let expected = self.masters[index].must_stop || self.hostile;
                assert!(expected, "node {} stopped: {reason}", id_of(index));
                self.crash(index, 0);
                return;
            }
            Output::DropState(_) | Output::Changed { .. } | Output::Members(_) | Output::Trace(_) => return,
        };
        self.events.push_back(event);
    }
}
