//! One outgoing stream to each peer: batches, lanes, and a new connection when the old one breaks.

mod links;
mod outbox;

pub(crate) use links::{Directory, Known, Links, Visit};
pub(crate) use outbox::Outbox;

use crate::{
    driver::{Lanes, WorkDone, endpoint},
    errors::describe,
    limits::{BATCH_BYTES, PEER_BACKOFF_MAX, PEER_BACKOFF_MIN, PEER_CONNECT, PEER_SILENCE, PEER_STABLE},
    rt::{self, Instant, select, timeout},
};
use futures::stream;
use quorate_core::{Input, types::NodeId};
use quorate_proto::v1::{self as pb, peer_client::PeerClient};
use std::sync::Arc;
use tonic::{Request, Status, Streaming};

/// One peer, seen from this node.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    pub(crate) address: String,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) lanes: Lanes,
    pub(crate) work: Arc<WorkDone>,
}

impl Link {
    /// Keeps a stream open until the driver ends.
    pub(crate) async fn run(self) {
        let mut backoff = PEER_BACKOFF_MIN;
        let mut said = String::new();
        loop {
            let opened = Instant::now();
            let why = match self.open().await {
                Ok(answers) => {
                    tracing::debug!(peer = %self.peer, address = %self.address, "a stream to a peer is open");
                    if !self.lanes.control(Input::PeerConnected(self.peer)).await {
                        return;
                    }
                    self.outbox.set_flows(true);
                    let why = self.listen(answers).await;
                    self.outbox.set_flows(false);
                    if !self.lanes.control(Input::PeerLost(self.peer)).await {
                        return;
                    }
                    why
                }
                Err(status) => status,
            };
            self.tell(&why, &mut said);
            if why.code() == tonic::Code::FailedPrecondition {
                let refused = Input::PeerRefused { peer: self.peer, message: describe(&why) };
                if !self.lanes.control(refused).await {
                    return;
                }
            }
            if opened.elapsed() >= PEER_STABLE {
                backoff = PEER_BACKOFF_MIN;
            }
            self.outbox.clear();
            // Even a kicked link waits a little: two nodes that refuse each other must not spin.
            rt::sleep(PEER_BACKOFF_MIN).await;
            select! {
                biased;
                () = self.lanes.closed() => return,
                () = self.outbox.kicked() => backoff = PEER_BACKOFF_MIN,
                () = rt::sleep(backoff - PEER_BACKOFF_MIN) => backoff = (backoff * 2).min(PEER_BACKOFF_MAX),
            }
        }
    }

    async fn open(&self) -> Result<Streaming<pb::PeerBatch>, Status> {
        let endpoint = endpoint(&self.address, PEER_CONNECT).map_err(Status::invalid_argument)?;
        let opening = async {
            let channel = endpoint.connect().await.map_err(|error| Status::from_error(Box::new(error)))?;
            let way = (Arc::clone(&self.outbox), Arc::clone(&self.work));
            let batches = stream::unfold(way, |(outbox, work)| async move {
                let batch = outbox.next_batch().await;
                work.peer_batch(batch.envelopes.len());
                Some((batch, (outbox, work)))
            });
            let mut client = PeerClient::new(channel).max_decoding_message_size(BATCH_BYTES);
            client.exchange(Request::new(batches)).await.map(tonic::Response::into_inner)
        };
        timeout(PEER_CONNECT, opening)
            .await
            .unwrap_or_else(|| Err(Status::unavailable("connecting took too long")))
    }

    /// Until the peer ends the stream, or is silent for too long. A peer that does not know this node answers here.
    async fn listen(&self, mut answers: Streaming<pb::PeerBatch>) -> Status {
        loop {
            let batch = match timeout(PEER_SILENCE, answers.message()).await {
                Some(Ok(Some(batch))) => batch,
                Some(Ok(None)) => return Status::unavailable("the peer ended the stream"),
                Some(Err(status)) => return status,
                None => return Status::unavailable("the peer is silent"),
            };
            for envelope in batch.envelopes.into_iter().filter(|it| it.from == self.peer.0) {
                if !self.lanes.peer(envelope).await {
                    return Status::unavailable("this node has stopped");
                }
            }
        }
    }

    /// What an operator has to correct is said once, until it changes; a peer that is away is no news.
    fn tell(&self, why: &Status, said: &mut String) {
        let text = describe(why);
        let wrong = matches!(why.code(), tonic::Code::FailedPrecondition | tonic::Code::InvalidArgument);
        if wrong && *said != text {
            tracing::warn!(peer = %self.peer, address = %self.address, %text, "a peer refuses this node");
        } else {
            tracing::debug!(peer = %self.peer, address = %self.address, %text, "no stream to a peer");
        }
        *said = text;
    }
}
