//! Heartbeats over one stream to one master; when it breaks, or an answer does not come, over another to the next.

use super::Inner;
use crate::{
    errors::refusal_of,
    limits::{CLIENT_CONNECT, HEARTBEAT_QUEUE, REPLY_BYTES},
    rt::{self, Duration, mpsc, oneshot, select, timeout},
};
use quorate_proto::v1::{self as pb, client_reply::Body as Reply, fleet_client::FleetClient};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
};
use tonic::{Request, Status, Streaming};

/// The wait after a stream that could not be opened.
const REOPEN: Duration = Duration::from_millis(50);

/// The way to the stream. Its task begins with the first heartbeat, and ends with this.
#[derive(Debug, Default)]
pub(super) struct Heartbeats(OnceLock<mpsc::Sender<Beat>>);

#[derive(Debug)]
struct Beat {
    request: pb::HeartbeatRequest,
    reply: oneshot::Sender<pb::ClientReply>,
}

/// Heartbeats on the stream, by their sequence numbers.
type Waiting = BTreeMap<u64, oneshot::Sender<pb::ClientReply>>;

impl Heartbeats {
    /// Sends one and waits for its answer. `None`: none came. Dropping the future gives the stream up.
    pub(super) async fn send(
        &self,
        inner: &Arc<Inner>,
        request: pb::HeartbeatRequest,
    ) -> Option<pb::ClientReply> {
        let queue = self.0.get_or_init(|| {
            let (queue, beats) = mpsc::channel(HEARTBEAT_QUEUE);
            rt::spawn(run(Arc::downgrade(inner), beats));
            queue
        });
        let (reply, answer) = oneshot::channel();
        queue.try_send(Beat { request, reply }).ok()?;
        answer.await.ok()
    }
}

async fn run(client: Weak<Inner>, mut beats: mpsc::Receiver<Beat>) {
    let mut held = None;
    loop {
        let next = if held.is_some() { held.take() } else { beats.recv().await };
        let (Some(beat), Some(inner)) = (next, client.upgrade()) else { return };
        if beat.reply.is_closed() {
            continue;
        }
        let endpoint = inner.pick();
        let (requests, stream) = mpsc::channel(HEARTBEAT_QUEUE);
        let opened = open(&inner, &endpoint, stream).await;
        // Only a weak one while the stream is open: the task must not keep its client alive.
        drop(inner);
        let mut waiting = Waiting::new();
        held = Some(beat);
        let ended = match opened {
            Ok(answers) => carry(&mut held, &mut beats, &requests, answers, &mut waiting).await,
            Err(status) => {
                rt::sleep(REOPEN).await;
                Some(status)
            }
        };
        let (Some(status), Some(inner)) = (ended, client.upgrade()) else { return };
        tracing::debug!(%endpoint, %status, "a stream of heartbeats ended");
        let refused = refusal_of(&status);
        if refused.as_ref().is_none_or(|refused| refused.code() == pb::RefusalCode::Unavailable) {
            inner.move_on(&endpoint, refused.as_ref().map_or(0, |refused| refused.leader)).await;
        }
        if let Some(refused) = refused {
            refuse_all(waiting, &refused);
        }
    }
}

async fn open(
    inner: &Inner,
    endpoint: &str,
    requests: mpsc::Receiver<pb::HeartbeatRequest>,
) -> Result<Streaming<pb::HeartbeatReply>, Status> {
    let channel = inner.channels.get(endpoint).map_err(Status::invalid_argument)?;
    let mut client = FleetClient::new(channel).max_decoding_message_size(REPLY_BYTES);
    let opening = client.heartbeat(Request::new(rt::stream_of(requests)));
    let opened = timeout(CLIENT_CONNECT, opening).await;
    let opened = opened.unwrap_or_else(|| Err(Status::unavailable("connecting took too long")));
    opened.map(tonic::Response::into_inner)
}

/// Until the stream ends, or a caller gave up waiting. `None`: the client is gone. `held` is sent first, and holds in the
/// end what was not sent.
async fn carry(
    held: &mut Option<Beat>,
    beats: &mut mpsc::Receiver<Beat>,
    requests: &mpsc::Sender<pb::HeartbeatRequest>,
    mut answers: Streaming<pb::HeartbeatReply>,
    waiting: &mut Waiting,
) -> Option<Status> {
    loop {
        if let Some(beat) = held.take() {
            let sequence = beat.request.sequence;
            waiting.insert(sequence, beat.reply);
            if requests.try_send(beat.request).is_err() {
                return Some(Status::unavailable("the stream takes no more heartbeats"));
            }
        }
        select! {
            biased;
            answer = answers.message() => match answer {
                Ok(Some(reply)) => {
                    if let Some(caller) = waiting.remove(&reply.sequence) {
                        let _ = caller.send(pb::ClientReply { index: reply.index, body: Some(Reply::Heartbeat(reply)) });
                    }
                }
                Ok(None) => return Some(Status::unavailable("the master ended the stream")),
                Err(status) => return Some(status),
            },
            () = given_up(waiting) => {
                return Some(Status::unavailable("a heartbeat was not answered in time"));
            }
            beat = beats.recv() => *held = Some(beat?),
        }
    }
}

/// Until the caller of the oldest waits no more.
async fn given_up(waiting: &mut Waiting) {
    match waiting.values_mut().next() {
        Some(oldest) => oldest.closed().await,
        None => std::future::pending().await,
    }
}

/// A refusal is an answer to all that wait.
fn refuse_all(waiting: Waiting, refused: &pb::Refusal) {
    for caller in waiting.into_values() {
        let _ = caller.send(pb::ClientReply { index: 0, body: Some(Reply::Refusal(refused.clone())) });
    }
}
