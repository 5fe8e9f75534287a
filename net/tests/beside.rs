//! What may take long is done beside the node.
#![cfg(not(madsim))]
#![allow(missing_docs, clippy::unwrap_used)]

use bytes::Bytes;
use quorate_core::{
    Config,
    contract::{Flow, LeaseTimes, LogBytes, LogPosition, MemberAddress, Recovered, Snapshot, Timing, Write},
    state::State,
    types::{ClusterId, NodeId, StorageId},
};
use quorate_net::{
    Client, ClientOptions, LoadError, LogWriter, NodeParts, RunningNode, SnapshotFiles,
    rt::{Listener, mpsc},
    start_node,
};
use std::{
    sync::mpsc as blocking,
    thread::{self, ThreadId},
};

/// A disk on which nothing takes time.
struct Quick;

impl LogWriter for Quick {
    async fn write(&mut self, _: &[Write]) -> Result<(), String> {
        Ok(())
    }
}

/// A disk that is busy with a snapshot until it is told to go on.
struct Slow {
    node: ThreadId,
    /// Whether it has a thread of its own.
    begun: mpsc::UnboundedSender<bool>,
    go_on: blocking::Receiver<()>,
}

impl SnapshotFiles for Slow {
    fn are_damaged(&self) -> bool {
        false
    }

    async fn save(&mut self, _: &Snapshot, _: usize) -> Result<bool, String> {
        let beside = thread::current().id() != self.node;
        self.begun.send(beside).unwrap();
        if beside {
            let _ = self.go_on.recv();
        }
        Ok(true)
    }

    async fn store_chunk(&mut self, _: LogPosition, _: u64, _: Bytes, _: bool) -> Result<bool, LoadError> {
        Ok(false)
    }

    async fn read_chunk(&mut self, _: LogPosition, _: u64) -> Result<Option<(Bytes, bool)>, String> {
        Ok(None)
    }

    async fn load(&mut self, _: LogPosition) -> Result<Option<State>, LoadError> {
        Ok(None)
    }
}

/// A cluster of one, which runs on this thread.
async fn alone(snapshots: Slow) -> (RunningNode, Client) {
    let listeners =
        [Listener::bind("127.0.0.1:0").await.unwrap(), Listener::bind("127.0.0.1:0").await.unwrap()];
    let [peer, client] = listeners.each_ref().map(|listener| listener.address().unwrap().to_string());
    let [peer_listener, client_listener] = listeners;
    let puts = Client::new(std::slice::from_ref(&client), ClientOptions::default()).unwrap();
    let config = Config {
        cluster: ClusterId(77),
        node: NodeId(1),
        storage: StorageId(1),
        members: [(NodeId(1), MemberAddress { peer, client })].into(),
        joins: false,
        timing: Timing::default(),
        executor_lease: LeaseTimes::default(),
        snapshot_entries: 5,
        trailing_entries: 5,
        log_bytes: LogBytes::default(),
        snapshot_rate: 0,
        flow: Flow::default(),
        level: quorate_core::level::FEATURE_LEVEL,
    };
    let (recovered, seed, tape, helper) = (Recovered::default(), 7, None, None);
    let parts = NodeParts {
        config,
        recovered,
        seed,
        log: Quick,
        helper,
        snapshots,
        peer_listener,
        client_listener,
        tape,
    };
    (start_node(parts).unwrap(), puts)
}

#[test]
fn a_node_answers_while_its_snapshot_is_written() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let (done, go_on) = blocking::channel();
        let (node, client) = alone(Slow { node: thread::current().id(), begun, go_on }).await;
        for _ in 0..10 {
            client.put("k", "v").await.unwrap();
        }
        assert!(begins.recv().await.unwrap(), "a snapshot is written where the node runs");
        client.put("k", "v").await.unwrap();
        drop(done);
        node.shutdown().await;
    });
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_snapshot_that_is_written_where_the_node_runs_is_noticed() {
    use quorate_core::bug::{Bug, plant};
    plant(Some(Bug::NetSnapshotOnLoop));
    let noticed = std::panic::catch_unwind(a_node_answers_while_its_snapshot_is_written).is_err();
    plant(None);
    assert!(noticed);
    a_node_answers_while_its_snapshot_is_written();
}
