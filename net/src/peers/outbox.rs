//! What waits for one peer: three lanes, bounded, the oldest dropped first.

use crate::{
    limits::{BATCH_BYTES, BATCH_MESSAGES, OUTBOX_BYTES, OUTBOX_MESSAGES},
    rt::{Notify, lock},
};
use prost::Message;
use quorate_core::{contract::Lane, limits::PEER_MESSAGE_BYTES};
use quorate_proto::v1 as pb;
use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// What one envelope takes in a batch besides its own bytes: its tag and its length.
const FRAME: usize = 8;

/// What waits for one peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    lanes: Mutex<[Queue; 3]>,
    filled: Notify,
    kicked: Notify,
    /// What is pushed goes out at once: there is a stream.
    flows: AtomicBool,
    messages: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(pb::Envelope, usize)>,
    bytes: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::with_limits(OUTBOX_MESSAGES, OUTBOX_BYTES)
    }
}

impl Outbox {
    fn with_limits(messages: usize, bytes: usize) -> Self {
        let (filled, kicked, flows) = (Notify::new(), Notify::new(), AtomicBool::new(false));
        Self { lanes: Mutex::default(), filled, kicked, flows, messages, bytes }
    }

    /// Takes a message in; the oldest of its lane go when there is no room.
    pub(crate) fn push(&self, lane: Lane, envelope: pb::Envelope) {
        let size = envelope.encoded_len();
        if size > PEER_MESSAGE_BYTES {
            tracing::error!(
                size,
                limit = PEER_MESSAGE_BYTES,
                "a message over PEER_MESSAGE_BYTES is not sent"
            );
            return;
        }
        {
            let mut lanes = lock(&self.lanes);
            let queue = &mut lanes[index(lane)];
            while queue.waiting.len() >= self.messages || queue.bytes + size > self.bytes {
                let Some((_, dropped)) = queue.waiting.pop_front() else { break };
                queue.bytes -= dropped;
            }
            queue.bytes += size;
            queue.waiting.push_back((envelope, size));
        }
        self.filled.notify_one();
    }

    /// Waits for messages, and takes as many as one batch holds: control before data before bulk.
    pub(crate) async fn next_batch(&self) -> pb::PeerBatch {
        loop {
            let batch = self.take_batch();
            if !batch.envelopes.is_empty() {
                return batch;
            }
            self.filled.notified().await;
        }
    }

    fn take_batch(&self) -> pb::PeerBatch {
        let mut lanes = lock(&self.lanes);
        let mut batch = pb::PeerBatch::default();
        let mut total = 0;
        for queue in lanes.iter_mut() {
            while let Some((_, size)) = queue.waiting.front() {
                let size = *size;
                let full = batch.envelopes.len() >= BATCH_MESSAGES || total + size + FRAME > BATCH_BYTES;
                if full && !batch.envelopes.is_empty() {
                    return batch;
                }
                total += size + FRAME;
                queue.bytes -= size;
                batch.envelopes.extend(queue.waiting.pop_front().map(|(envelope, _)| envelope));
            }
        }
        batch
    }

    /// Drops everything: what waited for a connection that never came is old.
    pub(crate) fn clear(&self) {
        for queue in lock(&self.lanes).iter_mut() {
            *queue = Queue::default();
        }
    }

    /// There is a stream now, or none.
    pub(crate) fn set_flows(&self, flows: bool) {
        self.flows.store(flows, Ordering::Relaxed);
    }

    /// Whether there is a stream.
    pub(crate) fn flows(&self) -> bool {
        self.flows.load(Ordering::Relaxed)
    }

    /// The peer is there: a connection is worth trying at once.
    pub(crate) fn kick(&self) {
        self.kicked.notify_one();
    }

    /// Waits for a kick.
    pub(crate) async fn kicked(&self) {
        self.kicked.notified().await;
    }
}

const fn index(lane: Lane) -> usize {
    match lane {
        Lane::Control => 0,
        Lane::Data => 1,
        Lane::Bulk => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use pb::envelope::Body;

    fn vote(term: u64) -> pb::Envelope {
        pb::Envelope { term, body: Some(Body::Vote(pb::VoteRequest::default())), ..Default::default() }
    }

    fn append(term: u64, bytes: usize) -> pb::Envelope {
        let entry = pb::LogEntry { data: Bytes::from(vec![1; bytes]), ..Default::default() };
        let append = pb::AppendRequest { entries: vec![entry], ..Default::default() };
        pb::Envelope { term, body: Some(Body::Append(append)), ..Default::default() }
    }

    fn terms(batch: &pb::PeerBatch) -> Vec<u64> {
        batch.envelopes.iter().map(|envelope| envelope.term).collect()
    }

    #[test]
    fn control_goes_before_data_before_bulk() {
        let outbox = Outbox::default();
        outbox.push(Lane::Bulk, append(1, 10));
        outbox.push(Lane::Data, append(2, 10));
        outbox.push(Lane::Control, vote(3));
        outbox.push(Lane::Data, append(4, 10));
        outbox.push(Lane::Control, vote(5));
        assert_eq!(terms(&outbox.take_batch()), [3, 5, 2, 4, 1]);
        assert!(outbox.take_batch().envelopes.is_empty());
    }

    #[test]
    fn a_vote_does_not_queue_behind_a_pile_of_appends() {
        let outbox = Outbox::default();
        for term in 0..8 {
            outbox.push(Lane::Data, append(term, 1024 * 1024));
        }
        let first = outbox.take_batch();
        outbox.push(Lane::Control, vote(100));
        assert_eq!(terms(&outbox.take_batch())[0], 100);
        assert!(first.encoded_len() <= BATCH_BYTES);
    }

    #[test]
    fn a_full_lane_drops_its_oldest_and_leaves_the_others() {
        let outbox = Outbox::with_limits(2, 1_000_000);
        outbox.push(Lane::Control, vote(1));
        for term in 2..6 {
            outbox.push(Lane::Data, append(term, 10));
        }
        assert_eq!(terms(&outbox.take_batch()), [1, 4, 5]);
        let outbox = Outbox::with_limits(100, 250);
        for term in 1..5 {
            outbox.push(Lane::Data, append(term, 100));
        }
        assert_eq!(terms(&outbox.take_batch()), [3, 4]);
    }

    #[test]
    fn a_batch_is_never_larger_than_its_receiver_decodes() {
        let outbox = Outbox::default();
        for term in 0..3 {
            outbox.push(Lane::Data, append(term, PEER_MESSAGE_BYTES - 64));
            outbox.push(Lane::Control, vote(term));
        }
        outbox.push(Lane::Data, append(9, PEER_MESSAGE_BYTES));
        let mut seen = Vec::new();
        loop {
            let batch = outbox.take_batch();
            if batch.envelopes.is_empty() {
                break;
            }
            assert!(batch.encoded_len() <= BATCH_BYTES, "{}", batch.encoded_len());
            seen.extend(terms(&batch));
        }
        assert_eq!(seen, [0, 1, 2, 0, 1, 2], "what is over the limit is not sent");
    }

    #[test]
    fn a_cleared_outbox_is_empty_and_usable() {
        let outbox = Outbox::default();
        outbox.push(Lane::Data, append(1, 10));
        outbox.clear();
        outbox.push(Lane::Data, append(2, 10));
        assert_eq!(terms(&outbox.take_batch()), [2]);
    }
}
