//! What comes in from peers.

use super::BoxStream;
use crate::{
    driver::{Identity, NodeHandle},
    limits::{PEER_ALIVE, STREAM_QUEUE, VISITORS},
    peers::{Directory, Known, Visit},
    rt::{self, Instant, mpsc, select},
};
use futures::StreamExt;
use prost::Message;
use quorate_core::{
    limits::PEER_MESSAGE_BYTES,
    types::{ClusterId, NodeId},
};
use quorate_proto::v1::{self as pb, peer_server::Peer};
use std::future::pending;
use tonic::{Request, Response, Status, Streaming};

/// The service on the peer port.
#[derive(Clone, Debug)]
pub(crate) struct PeerService {
    node: NodeHandle,
}

impl PeerService {
    pub(crate) const fn new(node: NodeHandle) -> Self {
        Self { node }
    }

    /// Hands everything on to the driver, and says now and then that it is there. Ends with the stream or the driver.
    async fn receive(
        self,
        mut batches: Streaming<pb::PeerBatch>,
        answers: mpsc::Sender<Result<pb::PeerBatch, Status>>,
    ) {
        let mut speaker = Speaker::default();
        let alive = rt::sleep_until(Instant::now());
        futures::pin_mut!(alive);
        let ended = loop {
            let batch = select! {
                biased;
                () = self.node.stopped() => break Err(Status::unavailable("this node has stopped")),
                () = answers.closed() => break Ok(()),
                batch = batches.message() => batch,
                batch = speaker.answers() => {
                    let _ = answers.send(Ok(batch)).await;
                    continue;
                }
                () = alive.as_mut() => {
                    alive.as_mut().reset(Instant::now() + PEER_ALIVE);
                    // A full queue already holds such an answer.
                    let _ = answers.try_send(Ok(pb::PeerBatch::default()));
                    continue;
                }
            };
            let envelopes = match batch {
                Ok(Some(batch)) => as_decoded(batch).envelopes,
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            };
            if let Err(status) = self.take(envelopes, &mut speaker).await {
                break Err(status);
            }
        };
        if let Err(status) = ended {
            let _ = answers.send(Err(status)).await;
        }
    }

    async fn take(&self, envelopes: Vec<pb::Envelope>, speaker: &mut Speaker) -> Result<(), Status> {
        let others = self.node.directory().known();
        for envelope in envelopes {
            let from = check(&envelope, self.node.identity(), self.node.former()).inspect_err(|status| {
                // It is told so, and it says so to its operator, once.
                tracing::debug!(node = %self.node.identity().node, why = status.message(), "a peer is refused");
            })?;
            speaker.is(from, &others, self.node.directory())?;
            if !self.node.lanes().peer(envelope).await {
                return Err(Status::unavailable("this node has stopped"));
            }
        }
        Ok(())
    }
}

/// Who speaks on a stream.
#[derive(Debug, Default)]
struct Speaker {
    from: Option<NodeId>,
    /// Where it is answered on its own stream.
    visit: Option<Visit>,
}

impl Speaker {
    /// This one. A stream to it, if it is a member, is worth opening at once.
    fn is(&mut self, from: NodeId, others: &Known, directory: &Directory) -> Result<(), Status> {
        if self.from != Some(from) {
            (self.from, self.visit) = (Some(from), None);
            others.kick(from);
        }
        if self.visit.is_none() {
            let visit = directory.visit(from);
            self.visit = Some(visit.ok_or_else(|| {
                Status::resource_exhausted(format!(
                    "VISITORS: {VISITORS} masters that are no members are connected already"
                ))
            })?);
        }
        Ok(())
    }

    /// What it is to be told on its own stream.
    async fn answers(&self) -> pb::PeerBatch {
        match &self.visit {
            Some(visit) => visit.outbox.next_batch().await,
            None => pending().await,
        }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type ExchangeStream = BoxStream<pb::PeerBatch>;

    async fn exchange(
        &self,
        request: Request<Streaming<pb::PeerBatch>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (answers, stream) = mpsc::channel(STREAM_QUEUE);
        rt::spawn(self.clone().receive(request.into_inner(), answers));
        Ok(Response::new(rt::stream_of(stream).boxed()))
    }
}

/// A simulated transport hands messages over as they are: there, what a real one does to them is done here.
fn as_decoded(batch: pb::PeerBatch) -> pb::PeerBatch {
    if cfg!(madsim) {
        pb::PeerBatch::decode(batch.encode_to_vec().as_slice()).unwrap_or_default()
    } else {
        batch
    }
}

/// Whether a message is of this cluster, for this node, from another one, and of a size that is allowed. Who sends it may
/// have come while this node was away.
fn check(envelope: &pb::Envelope, me: &Identity, former: Option<ClusterId>) -> Result<NodeId, Status> {
    let wrong = |message: String| Err(Status::failed_precondition(message));
    if envelope.cluster != me.cluster.0 {
        let (theirs, from) = (envelope.cluster, envelope.from);
        if former == Some(ClusterId(theirs)) {
            return wrong(format!(
                "cluster {theirs:016x} was given up: node {} goes on with its state as cluster {}, without the directory of node \
                 {from}; stop node {from}, add it to the new cluster, and start it with an empty directory and --join",
                me.node, me.cluster
            ));
        }
        return wrong(format!(
            "node {} is of cluster {}, but node {from} is of cluster {theirs:016x}: correct the members or the token of one of them",
            me.node, me.cluster
        ));
    }
    if envelope.to != me.node.0 {
        return wrong(format!(
            "a message for node {} came to node {}: correct its address in the list of members of node {}",
            envelope.to, me.node, envelope.from
        ));
    }
    let from = NodeId(envelope.from);
    if from == me.node || from == NodeId(0) {
        return wrong(format!(
            "node {from} is no peer of node {}: each master has an id of its own",
            me.node
        ));
    }
    let size = envelope.encoded_len();
    if size > PEER_MESSAGE_BYTES {
        let message = format!("a message has {size} bytes: PEER_MESSAGE_BYTES allows {PEER_MESSAGE_BYTES}");
        return Err(Status::resource_exhausted(message));
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::types::StorageId;

    fn checked(envelope: &pb::Envelope) -> Result<NodeId, Status> {
        let me = Identity { cluster: ClusterId(7), node: NodeId(1), storage: StorageId(3) };
        check(envelope, &me, Some(ClusterId(6)))
    }

    fn envelope() -> pb::Envelope {
        pb::Envelope { cluster: 7, from: 2, to: 1, storage: 9, ..Default::default() }
    }

    #[test]
    fn a_members_message_is_taken() {
        assert_eq!(checked(&envelope()).unwrap(), NodeId(2));
    }

    #[test]
    fn another_cluster_is_refused_by_both_names() {
        let status = checked(&pb::Envelope { cluster: 8, ..envelope() }).unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains("0007") && status.message().contains("0008"), "{status}");
    }

    #[test]
    fn a_member_of_the_cluster_before_is_told_what_became_of_it() {
        let status = checked(&pb::Envelope { cluster: 6, ..envelope() }).unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert!(status.message().contains("given up") && status.message().contains("--join"), "{status}");
    }

    #[test]
    fn strangers_and_strays_are_refused() {
        for wrong in [
            pb::Envelope { to: 2, ..envelope() },
            pb::Envelope { from: 1, ..envelope() },
            pb::Envelope { from: 0, ..envelope() },
        ] {
            let status = checked(&wrong).unwrap_err();
            assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
        }
    }

    #[test]
    fn a_message_over_its_limit_is_refused_by_name() {
        let entry = pb::LogEntry { data: vec![0; PEER_MESSAGE_BYTES].into(), ..Default::default() };
        let append = pb::AppendRequest { entries: vec![entry], ..Default::default() };
        let large = pb::Envelope { body: Some(pb::envelope::Body::Append(append)), ..envelope() };
        let status = checked(&large).unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("PEER_MESSAGE_BYTES"), "{status}");
    }
}
