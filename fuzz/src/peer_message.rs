//! What comes from the network, decoded, at a master that is in the middle of something.

use crate::{choices::Choices, cluster, mutate};
use prost::Message as _;
use quorate_core::{
    Input, Node, Output,
    types::{Now, Time, WriteId},
};
use quorate_proto::v1 as pb;
use std::sync::OnceLock;

/// Most messages of one input.
const MESSAGES: usize = 64;

/// A driver whose disk is quick and that sends nothing.
struct Driver {
    node: Node,
    now: Now,
}

impl Driver {
    fn step(&mut self, input: Input) {
        self.node.step(self.now, input);
        // A node asks for no more than one write a step, so this ends.
        while let Some(io) = self.carry_out() {
            self.node.step(self.now, Input::WriteDone { io });
        }
    }

    fn carry_out(&mut self) -> Option<WriteId> {
        let mut written = None;
        let mut done = Vec::new();
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Write(write) => written = Some(write.io),
                Output::SaveSnapshot(snapshot) => done.push(Input::SnapshotSaved { at: snapshot.at }),
                Output::StoreSnapshotChunk { at, number, last, .. } => {
                    done.push(Input::SnapshotChunkStored { at, number, last });
                }
                Output::LoadSnapshot { at } => done.push(Input::SnapshotLoaded { at, state: None }),
                Output::ReadSnapshotChunk { peer, at, number } => {
                    done.push(Input::SnapshotChunkRead { peer, at, number, chunk: None });
                }
                _ => {}
            }
        }
        for input in done {
            self.node.step(self.now, input);
        }
        written
    }
}

fn masters() -> &'static [Node; 3] {
    static MASTERS: OnceLock<[Node; 3]> = OnceLock::new();
    MASTERS.get_or_init(|| [0, 1, 2].map(cluster::example_master))
}

fn messages(bytes: &[u8]) -> Vec<pb::Envelope> {
    let mut found = Vec::new();
    found.extend(pb::Envelope::decode(bytes));
    if let Ok(batch) = pb::PeerBatch::decode(bytes) {
        found.extend(batch.envelopes);
    }
    found.truncate(MESSAGES);
    found
}

pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let kind = choices.byte();
    let node = masters()[usize::from(kind) % 3].clone();
    let status = node.status();
    let now = Now { time: Time(60_000_000_000), wall_ms: 60_000 };
    let mut driver = Driver { node, now };
    for mut envelope in messages(choices.rest()) {
        // As it came, from one peer to this node, and in this node's term.
        driver.step(Input::Peer(Box::new(envelope.clone())));
        let from = (status.node + envelope.from % 2) % 3 + 1;
        mutate::address(&mut envelope, from, status.node);
        driver.step(Input::Peer(Box::new(envelope.clone())));
        envelope.term = driver.node.raft().term().0;
        driver.step(Input::Peer(Box::new(envelope)));
        driver.now.time = driver.now.time + core::time::Duration::from_millis(20);
        driver.step(Input::Deadline);
    }
}
