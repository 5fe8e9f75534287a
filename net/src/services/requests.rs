//! Many requests over one stream: what comes in a batch goes to the driver at once, and what is answered goes back together.

use super::{Api, BoxStream};
use crate::{
    driver::{Answer, NodeHandle, ReplyTo},
    errors::refusal,
    limits::{STREAM_BATCH, STREAM_BATCH_BYTES, STREAM_REQUESTS},
    rt::{self, Semaphore, lock, mpsc, select},
};
use futures::{StreamExt, stream};
use prost::Message;
use quorate_core::types::RequestKey;
use quorate_proto::v1::{
    self as pb, client_reply::Body as Reply, client_request::Body as Ask, requests_server::Requests,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl Requests for Api {
    type ExchangeStream = BoxStream<pb::ReplyBatch>;

    async fn exchange(
        &self,
        request: Request<Streaming<pb::RequestBatch>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (answers, queue) = mpsc::unbounded_channel();
        let open = Arc::new(Open {
            node: self.node.clone(),
            keys: Mutex::default(),
            places: Semaphore::new(STREAM_REQUESTS),
            here: AtomicBool::new(false),
        });
        let (failed, failure) = mpsc::channel(1);
        rt::spawn(receive(Arc::clone(&open), request.into_inner(), answers, failed));
        let going = Going { open, queue, failure, leader: None, told: false };
        let replies = stream::unfold(Some(going), |going| async move {
            let mut going = going?;
            match going.next_batch().await? {
                Ok(batch) => Some((Ok(batch), Some(going))),
                Err(status) => Some((Err(status), None)),
            }
        });
        Ok(Response::new(replies.boxed()))
    }
}

/// What of a stream is not answered.
#[derive(Debug)]
struct Open {
    node: NodeHandle,
    keys: Mutex<BTreeSet<RequestKey>>,
    places: Semaphore,
    /// The client asked whether anybody is here, and was not answered yet.
    here: AtomicBool,
}

/// Hands batches on to the driver. Ends with the stream, with its other half, or with the node.
async fn receive(
    open: Arc<Open>,
    mut batches: Streaming<pb::RequestBatch>,
    answers: mpsc::UnboundedSender<Answer>,
    failed: mpsc::Sender<Status>,
) {
    let ended = loop {
        let batch = select! {
            biased;
            () = answers.closed() => return,
            () = open.node.stopped() => break Status::unavailable("this node has stopped"),
            batch = batches.message() => batch,
        };
        let requests = match batch {
            Ok(Some(batch)) => batch.requests,
            Ok(None) => return,
            Err(status) => break status,
        };
        // One answer is enough for all that ask meanwhile.
        if requests.is_empty() && !open.here.swap(true, Ordering::AcqRel) {
            let _ = answers.send(Answer::Here);
        }
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        if requests.len() > STREAM_BATCH {
            break Status::invalid_argument(format!(
                "a batch of {count} requests: STREAM_BATCH allows {STREAM_BATCH}"
            ));
        }
        select! {
            biased;
            () = answers.closed() => return,
            places = open.places.acquire_many(count) => match places {
                Ok(places) => places.forget(),
                Err(_) => return,
            },
        }
        for request in requests {
            open.take(request, &answers);
        }
    };
    // Without a reader nobody is to be told.
    let _ = failed.send(ended).await;
}

impl Open {
    /// One request; refused at once if it cannot wait here.
    fn take(&self, asked: pb::NumberedRequest, answers: &mpsc::UnboundedSender<Answer>) {
        let (number, request) = (asked.number, asked.request.unwrap_or_default());
        let key = self.node.next_key();
        let refused = if let Some(Ask::RaiseAlarm(_)) = request.body {
            let message = "a master raises its alarms by itself";
            refusal(pb::RefusalCode::Invalid, message)
        } else {
            lock(&self.keys).insert(key);
            let reply = ReplyTo::Stream { number, answers: answers.clone() };
            match self.node.lanes().request(key, request, reply) {
                Ok(()) => return,
                Err(refused) => refused,
            }
        };
        let reply = pb::ClientReply { index: 0, body: Some(Reply::Refusal(refused)) };
        let _ = answers.send(Answer::Reply { key, number, reply: Box::new(reply) });
    }
}

/// The half of a stream that goes to the client.
struct Going {
    open: Arc<Open>,
    queue: mpsc::UnboundedReceiver<Answer>,
    failure: mpsc::Receiver<Status>,
    /// The leader as the client was told.
    leader: Option<String>,
    told: bool,
}

impl Going {
    /// Everything that is answered, up to the size of a batch. `None`: the client asks no more, and all is answered.
    async fn next_batch(&mut self) -> Option<Result<pb::ReplyBatch, Status>> {
        let mut batch = pb::ReplyBatch::default();
        if !self.told {
            self.told = true;
            if self.tell_leader(&mut batch) {
                return Some(Ok(batch));
            }
        }
        let first = select! {
            biased;
            answer = self.queue.recv() => answer,
            Some(status) = self.failure.recv() => return Some(Err(status)),
        };
        let mut next = Some(first?);
        batch.replies.reserve((self.queue.len() + 1).min(STREAM_BATCH));
        let mut bytes = 0;
        {
            let mut keys = lock(&self.open.keys);
            while let Some(answer) = next.take() {
                let Answer::Reply { key, number, mut reply } = answer else {
                    self.open.here.store(false, Ordering::Release);
                    break;
                };
                keys.remove(&key);
                if let Some(Reply::Status(status)) = &mut reply.body {
                    self.open.node.complete(status);
                }
                bytes += reply.encoded_len();
                batch.replies.push(pb::NumberedReply { number, reply: Some(*reply) });
                if batch.replies.len() < STREAM_BATCH && bytes < STREAM_BATCH_BYTES {
                    next = self.queue.try_recv().ok();
                }
            }
        }
        self.open.places.add_permits(batch.replies.len());
        self.tell_leader(&mut batch);
        Some(Ok(batch))
    }

    /// Whether there is something new to tell.
    fn tell_leader(&mut self, batch: &mut pb::ReplyBatch) -> bool {
        let leader = self.open.node.leader_elsewhere();
        if leader == self.leader {
            return false;
        }
        self.leader = leader;
        batch.leader = self.leader.clone().unwrap_or_default();
        !batch.leader.is_empty()
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        for key in std::mem::take(&mut *lock(&self.open.keys)) {
            self.open.node.lanes().gone(key);
        }
    }
}
