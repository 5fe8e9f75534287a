//! The three queues in front of a node, in the order in which they are served.

use crate::{
    errors::refusal,
    limits::{CONTROL_QUEUE, KEEP_ALIVE_QUEUE, QUEUE_BYTES, REQUEST_QUEUE},
    rt::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, select},
};
use prost::Message;
use quorate_core::{Input, contract::Snapshot, limits::REQUEST_BYTES, types::RequestKey};
use quorate_proto::v1::{self as pb, client_reply, client_request, envelope};
use std::sync::Arc;

/// Where an input waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InputLane {
    /// Finished writes and what keeps the cluster together.
    Control,
    /// What keeps leases.
    KeepAlive,
    /// Everything else.
    Request,
}

/// One thing for the driver to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// For the node, as it is.
    Input(Input),
    /// A client's request, with the way back.
    Request { key: RequestKey, request: Box<pb::ClientRequest>, reply: ReplyTo },
    /// Nobody waits for this request any more.
    Gone(RequestKey),
    /// Somebody wants a copy of the state.
    Snapshot(oneshot::Sender<Result<Snapshot, pb::Refusal>>),
}

/// The way back to a client.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// It waits for this answer alone.
    Call(oneshot::Sender<pb::ClientReply>),
    /// It takes the answers of many requests from a queue.
    Stream { number: u64, answers: mpsc::UnboundedSender<Answer> },
}

/// What is on its way to a client's stream.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The answer to one request.
    Reply { key: RequestKey, number: u64, reply: Box<pb::ClientReply> },
    /// The client asked whether anybody is there.
    Here,
}

impl ReplyTo {
    /// Whether nobody waits any more.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Call(reply) => reply.is_closed(),
            Self::Stream { answers, .. } => answers.is_closed(),
        }
    }

    /// Answers, if somebody still waits.
    pub(crate) fn send(self, key: RequestKey, reply: Box<pb::ClientReply>) {
        match self {
            Self::Call(waiting) => drop(waiting.send(*reply)),
            Self::Stream { number, answers } => drop(answers.send(Answer::Reply { key, number, reply })),
        }
    }
}

/// Work, and the room that it takes until it is done.
#[derive(Debug)]
struct Queued {
    work: Work,
    _room: Option<OwnedSemaphorePermit>,
}

/// The entrances. A clone is an entrance to the same queues.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    control: mpsc::Sender<Queued>,
    keep_alive: mpsc::Sender<Queued>,
    requests: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

/// The exit.
#[derive(Debug)]
pub(crate) struct LaneReader {
    control: mpsc::Receiver<Queued>,
    keep_alive: mpsc::Receiver<Queued>,
    requests: mpsc::Receiver<Queued>,
}

/// Queues of their full size.
pub(crate) fn lanes() -> (Lanes, LaneReader) {
    lanes_of(CONTROL_QUEUE, KEEP_ALIVE_QUEUE, REQUEST_QUEUE, QUEUE_BYTES)
}

fn lanes_of(control: usize, keep_alive: usize, requests: usize, bytes: usize) -> (Lanes, LaneReader) {
    let (control, control_reader) = mpsc::channel(control);
    let (keep_alive, keep_alive_reader) = mpsc::channel(keep_alive);
    let (requests, requests_reader) = mpsc::channel(requests);
    let room = Arc::new(Semaphore::new(bytes));
    let reader =
        LaneReader { control: control_reader, keep_alive: keep_alive_reader, requests: requests_reader };
    (Lanes { control, keep_alive, requests, room }, reader)
}

impl Lanes {
    /// Waits for a place: for what must not be lost. False: the driver has ended.
    pub(crate) async fn control(&self, input: Input) -> bool {
        self.control.send(Queued { work: Work::Input(input), _room: None }).await.is_ok()
    }

    /// Says that nobody waits for a request. Lost if there is no place: the node forgets the request by itself.
    pub(crate) fn gone(&self, key: RequestKey) {
        let _ = self.control.try_send(Queued { work: Work::Gone(key), _room: None });
    }

    /// Asks for the state. Nothing comes back once the driver has ended.
    pub(crate) async fn snapshot(&self, reply: oneshot::Sender<Result<Snapshot, pb::Refusal>>) {
        let _ = self.control.send(Queued { work: Work::Snapshot(reply), _room: None }).await;
    }

    /// Takes a client's request in, or refuses it at once.
    pub(crate) fn request(
        &self,
        key: RequestKey,
        request: pb::ClientRequest,
        reply: ReplyTo,
    ) -> Result<(), pb::Refusal> {
        let size = request.encoded_len();
        if size > REQUEST_BYTES {
            let message = format!("the request has {size} bytes: REQUEST_BYTES allows {REQUEST_BYTES}");
            return Err(refusal(pb::RefusalCode::Exhausted, message));
        }
        let room = self.take_room(size).ok_or_else(|| exhausted("QUEUE_BYTES", QUEUE_BYTES))?;
        let (queue, name, limit) = match request_lane(&request) {
            InputLane::KeepAlive => (&self.keep_alive, "KEEP_ALIVE_QUEUE", KEEP_ALIVE_QUEUE),
            InputLane::Control | InputLane::Request => (&self.requests, "REQUEST_QUEUE", REQUEST_QUEUE),
        };
        let work = Work::Request { key, request: Box::new(request), reply };
        queue.try_send(Queued { work, _room: Some(room) }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => exhausted(name, limit),
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })
    }

    /// Takes a peer's message in. What finds no place is lost, except for control messages, which wait.
    /// False: the driver has ended.
    pub(crate) async fn peer(&self, envelope: pb::Envelope) -> bool {
        let (lane, size) = (peer_lane(&envelope), envelope.encoded_len());
        let input = Input::Peer(Box::new(envelope));
        let queue = match lane {
            InputLane::Control => return self.control(input).await,
            InputLane::KeepAlive => &self.keep_alive,
            InputLane::Request => &self.requests,
        };
        let Some(room) = self.take_room(size) else {
            tracing::debug!(limit = "QUEUE_BYTES", "a peer's message is dropped");
            return true;
        };
        match queue.try_send(Queued { work: Work::Input(input), _room: Some(room) }) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::debug!(?lane, "a peer's message is dropped: its queue is full");
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Resolves when the driver has ended.
    pub(crate) async fn closed(&self) {
        self.control.closed().await;
    }

    fn take_room(&self, size: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(size.max(1)).ok()?;
        Arc::clone(&self.room).try_acquire_many_owned(permits).ok()
    }
}

impl LaneReader {
    /// The next work in the order of the lanes, if there is some.
    pub(crate) fn try_next(&mut self) -> Option<Work> {
        let queued = self.control.try_recv();
        let queued = queued.or_else(|_| self.keep_alive.try_recv());
        queued.or_else(|_| self.requests.try_recv()).ok().map(|queued| queued.work)
    }

    /// Waits for work. `None`: all entrances are gone.
    pub(crate) async fn next(&mut self) -> Option<Work> {
        let queued = select! {
            biased;
            queued = self.control.recv() => queued,
            queued = self.keep_alive.recv() => queued,
            queued = self.requests.recv() => queued,
        };
        queued.map(|queued| queued.work)
    }

    /// What waits in the first two lanes.
    pub(crate) fn urgent(&self) -> usize {
        self.control.len() + self.keep_alive.len()
    }
}

/// What is answered once the driver has ended.
pub(crate) fn stopped() -> pb::Refusal {
    refusal(pb::RefusalCode::Unavailable, "this node has stopped: ask another one")
}

fn exhausted(name: &str, limit: usize) -> pb::Refusal {
    refusal(pb::RefusalCode::Exhausted, format!("too much waits for this node: {name} is {limit}; try later"))
}

/// Keep-alives go before other requests.
fn request_lane(request: &pb::ClientRequest) -> InputLane {
    use client_request::Body;
    match &request.body {
        Some(Body::Heartbeat(_) | Body::KeepSession(_)) => InputLane::KeepAlive,
        _ => InputLane::Request,
    }
}

/// Votes, heartbeats and acknowledgements go before everything that is large or comes in numbers.
fn peer_lane(envelope: &pb::Envelope) -> InputLane {
    use envelope::Body;
    match &envelope.body {
        Some(Body::Append(_) | Body::SnapshotChunk(_)) => InputLane::Request,
        Some(Body::Forward(forward)) => forward.request.as_ref().map_or(InputLane::Request, request_lane),
        Some(Body::ForwardReply(forward)) => {
            use client_reply::Body as Reply;
            match forward.reply.as_ref().and_then(|reply| reply.body.as_ref()) {
                Some(Reply::Heartbeat(_) | Reply::KeepSession(_)) => InputLane::KeepAlive,
                _ => InputLane::Request,
            }
        }
        _ => InputLane::Control,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::types::WriteId;

    fn put(bytes: usize) -> pb::ClientRequest {
        let put = pb::PutRequest { value: vec![7; bytes].into(), ..Default::default() };
        pb::ClientRequest { body: Some(client_request::Body::Put(put)) }
    }

    fn heartbeat() -> pb::ClientRequest {
        pb::ClientRequest { body: Some(client_request::Body::Heartbeat(pb::HeartbeatRequest::default())) }
    }

    fn envelope(body: envelope::Body) -> pb::Envelope {
        pb::Envelope { body: Some(body), ..Default::default() }
    }

    fn name(work: &Work) -> &'static str {
        match work {
            Work::Input(Input::WriteDone { .. }) => "write done",
            Work::Input(Input::Peer(envelope)) => match envelope.body {
                Some(envelope::Body::Vote(_)) => "vote",
                Some(envelope::Body::Append(_)) => "append",
                _ => "other message",
            },
            Work::Request { request, .. } if request_lane(request) == InputLane::KeepAlive => "keep-alive",
            Work::Request { .. } => "request",
            _ => "other",
        }
    }

    #[test]
    fn lanes_are_served_in_their_order() {
        futures_block(async {
            let (lanes, mut reader) = lanes();
            let (reply, _answer) = oneshot::channel();
            lanes.request(RequestKey(1), put(10), ReplyTo::Call(reply)).unwrap();
            assert!(lanes.peer(envelope(envelope::Body::Append(pb::AppendRequest::default()))).await);
            let (reply, _answer) = oneshot::channel();
            lanes.request(RequestKey(2), heartbeat(), ReplyTo::Call(reply)).unwrap();
            assert!(lanes.peer(envelope(envelope::Body::Vote(pb::VoteRequest::default()))).await);
            assert!(lanes.control(Input::WriteDone { io: WriteId(1) }).await);
            assert_eq!(reader.urgent(), 3);
            let mut order = Vec::new();
            while let Some(work) = reader.try_next() {
                order.push(name(&work));
            }
            assert_eq!(order, ["vote", "write done", "keep-alive", "request", "append"]);
        });
    }

    #[test]
    fn a_full_queue_refuses_clients_and_drops_peers_data_but_no_finished_write() {
        futures_block(async {
            let (lanes, mut reader) = lanes_of(8, 1, 1, 1_000);
            let (reply, _first) = oneshot::channel();
            lanes.request(RequestKey(1), put(10), ReplyTo::Call(reply)).unwrap();
            let (reply, _second) = oneshot::channel();
            let refused = lanes.request(RequestKey(2), put(10), ReplyTo::Call(reply)).unwrap_err();
            assert_eq!(refused.code(), pb::RefusalCode::Exhausted);
            assert!(refused.message.contains("REQUEST_QUEUE"), "{}", refused.message);
            assert!(lanes.peer(envelope(envelope::Body::Append(pb::AppendRequest::default()))).await);
            assert!(lanes.control(Input::WriteDone { io: WriteId(1) }).await);
            let order: Vec<_> = std::iter::from_fn(|| reader.try_next()).map(|work| name(&work)).collect();
            assert_eq!(order, ["write done", "request"]);
        });
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_and_come_back() {
        let (lanes, mut reader) = lanes_of(8, 8, 8, 1_000);
        let (reply, _first) = oneshot::channel();
        lanes.request(RequestKey(1), put(900), ReplyTo::Call(reply)).unwrap();
        let (reply, _second) = oneshot::channel();
        let refused = lanes.request(RequestKey(2), put(900), ReplyTo::Call(reply)).unwrap_err();
        assert!(refused.message.contains("QUEUE_BYTES"), "{}", refused.message);
        drop(reader.try_next());
        let (reply, _third) = oneshot::channel();
        lanes.request(RequestKey(3), put(900), ReplyTo::Call(reply)).unwrap();
    }

    #[test]
    fn without_a_driver_requests_are_unavailable() {
        let (lanes, reader) = lanes();
        drop(reader);
        let (reply, _answer) = oneshot::channel();
        let refused = lanes.request(RequestKey(1), put(1), ReplyTo::Call(reply)).unwrap_err();
        assert_eq!(refused.code(), pb::RefusalCode::Unavailable);
    }

    #[test]
    fn forwarded_keep_alives_stay_keep_alives() {
        let forward = pb::ForwardRequest { id: 1, request: Some(heartbeat()) };
        assert_eq!(peer_lane(&envelope(envelope::Body::Forward(forward))), InputLane::KeepAlive);
        let forward = pb::ForwardRequest { id: 1, request: Some(put(1)) };
        assert_eq!(peer_lane(&envelope(envelope::Body::Forward(forward))), InputLane::Request);
    }

    /// These futures never wait: their first poll is their last.
    fn futures_block(future: impl Future<Output = ()>) {
        use futures::FutureExt;
        future.now_or_never().expect("waits for nothing");
    }
}
