//! What a node has done since it started, for whoever asks it for its status.

use crate::rt::{self, Duration, Instant};
use quorate_proto::v1 as pb;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts. They only grow; each is right by itself.
#[derive(Debug)]
pub(crate) struct Work {
    start: Instant,
    syncs: AtomicU64,
    sync_us: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    turns: AtomicU64,
    inputs: AtomicU64,
    peer_batches: AtomicU64,
    peer_messages: AtomicU64,
    answers: AtomicU64,
}

impl Default for Work {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            start: Instant::now(),
            syncs: zero(),
            sync_us: zero(),
            entries: zero(),
            bytes: zero(),
            turns: zero(),
            inputs: zero(),
            peer_batches: zero(),
            peer_messages: zero(),
            answers: zero(),
        }
    }
}

impl Work {
    /// The log wrote and synced one batch.
    pub(crate) fn synced(&self, took: Duration, entries: usize, bytes: usize) {
        self.syncs.fetch_add(1, Relaxed);
        self.sync_us.fetch_add(micros(took), Relaxed);
        self.entries.fetch_add(entries as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The loop took so many inputs in one turn.
    pub(crate) fn turn(&self, inputs: u64) {
        self.turns.fetch_add(1, Relaxed);
        self.inputs.fetch_add(inputs, Relaxed);
    }

    /// A batch of so many messages left for a peer.
    pub(crate) fn peer_batch(&self, messages: usize) {
        self.peer_batches.fetch_add(1, Relaxed);
        self.peer_messages.fetch_add(messages as u64, Relaxed);
    }

    /// A client was answered.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Relaxed);
    }

    /// All of it, as a message.
    pub(crate) fn told(&self) -> pb::Work {
        pb::Work {
            syncs: self.syncs.load(Relaxed),
            sync_us: self.sync_us.load(Relaxed),
            entries: self.entries.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            turns: self.turns.load(Relaxed),
            inputs: self.inputs.load(Relaxed),
            peer_batches: self.peer_batches.load(Relaxed),
            peer_messages: self.peer_messages.load(Relaxed),
            answers: self.answers.load(Relaxed),
            cpu_us: micros(rt::processor_time()),
            uptime_us: micros(self.start.elapsed()),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
