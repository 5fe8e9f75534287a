//! Requests to one master over one stream: what waits goes as one batch, and answers come back in any order.

use super::{Inner, retry::Failure};
use crate::{
    driver::Channels,
    limits::{CLIENT_CONNECT, REPLY_BYTES, STREAM_BATCH, STREAM_BATCH_BYTES, STREAM_SILENCE},
    rt::{self, Instant, JoinHandle, Notify, lock, oneshot, select, timeout},
};
use futures::stream;
use prost::Message;
use quorate_proto::v1::{self as pb, requests_client::RequestsClient};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, Weak},
};
use tonic::{Request, Status, Streaming, transport::Channel};

/// The streams that are open, by the address of their master.
#[derive(Debug, Default)]
pub(super) struct Talks(Mutex<BTreeMap<String, Open>>);

#[derive(Debug)]
struct Open {
    talk: Arc<Talk>,
    task: JoinHandle<()>,
}

impl Drop for Talks {
    fn drop(&mut self) {
        for open in lock(&self.0).values() {
            open.task.abort();
        }
    }
}

impl Talks {
    /// The stream to a master, opened if there is none. The error says why that is no address.
    pub(super) fn get(
        &self,
        endpoint: &str,
        channels: &Channels,
        client: &Weak<Inner>,
    ) -> Result<Arc<Talk>, String> {
        let mut open = lock(&self.0);
        if let Some(open) = open.get(endpoint)
            && !open.talk.has_ended()
        {
            return Ok(Arc::clone(&open.talk));
        }
        let channel = channels.get(endpoint)?;
        let talk = Arc::new(Talk::default());
        let task = rt::spawn(carry(Arc::clone(&talk), endpoint.to_owned(), channel, Weak::clone(client)));
        open.insert(endpoint.to_owned(), Open { talk: Arc::clone(&talk), task });
        Ok(talk)
    }

    /// Drops a stream that does not answer, so that the next request opens another. What still waits on it may.
    pub(super) fn forget(&self, endpoint: &str) {
        if let Some(open) = lock(&self.0).remove(endpoint) {
            lock(&open.talk.said).retired = true;
            open.talk.idle.notify_one();
        }
    }
}

/// One stream, as those who ask see it.
#[derive(Debug, Default)]
pub(super) struct Talk {
    said: Mutex<Said>,
    /// There is something to send, or nothing will be any more.
    filled: Notify,
    /// Nobody waits on a stream that is not used any more.
    idle: Notify,
}

#[derive(Debug, Default)]
struct Said {
    next: u64,
    to_send: VecDeque<pb::NumberedRequest>,
    open: BTreeMap<u64, oneshot::Sender<Result<pb::ClientReply, Failure>>>,
    retired: bool,
    /// The next batch may be empty.
    asks: bool,
    ended: Option<Status>,
}

/// Takes a request back that nobody waits for any more.
struct Asked<'a> {
    talk: &'a Talk,
    number: u64,
    answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut said = lock(&self.talk.said);
            said.open.remove(&self.number);
            if said.retired && said.open.is_empty() {
                self.talk.idle.notify_one();
            }
        }
    }
}

impl Talk {
    fn has_ended(&self) -> bool {
        lock(&self.said).ended.is_some()
    }

    /// Sends a request and waits for its answer. The error is the stream's: a request that had left may have been applied.
    pub(super) async fn send(&self, request: pb::ClientRequest) -> Result<pb::ClientReply, Failure> {
        let (reply, answer) = oneshot::channel();
        let number = {
            let mut said = lock(&self.said);
            if let Some(status) = &said.ended {
                return Err(Failure::NotSent(status.clone()));
            }
            said.next += 1;
            let number = said.next;
            said.to_send.push_back(pb::NumberedRequest { number, request: Some(request) });
            said.open.insert(number, reply);
            number
        };
        self.filled.notify_one();
        let mut asked = Asked { talk: self, number, answered: false };
        let answer = answer.await;
        asked.answered = true;
        answer.unwrap_or_else(|_| Err(Failure::Status(Status::unavailable("the client was closed"))))
    }

    /// Waits for requests, and takes as many as one batch holds. `None`: the stream has ended.
    async fn next_batch(&self) -> Option<pb::RequestBatch> {
        loop {
            {
                let mut said = lock(&self.said);
                if said.ended.is_some() {
                    return None;
                }
                let batch = said.take_batch();
                if std::mem::take(&mut said.asks) || !batch.requests.is_empty() {
                    return Some(batch);
                }
            }
            self.filled.notified().await;
        }
    }

    fn answer(&self, replies: Vec<pb::NumberedReply>) {
        let mut said = lock(&self.said);
        for answer in replies {
            if let Some(waiting) = said.open.remove(&answer.number) {
                let _ = waiting.send(Ok(answer.reply.unwrap_or_default()));
            }
        }
    }

    fn end(&self, status: &Status) {
        let (open, waited) = {
            let mut said = lock(&self.said);
            said.ended = Some(status.clone());
            (std::mem::take(&mut said.open), std::mem::take(&mut said.to_send))
        };
        self.filled.notify_one();
        // They go in the order of their numbers.
        let first_waited = waited.front().map_or(u64::MAX, |request| request.number);
        for (number, waiting) in open {
            let failure = if number < first_waited { Failure::Status } else { Failure::NotSent };
            let _ = waiting.send(Err(failure(status.clone())));
        }
    }

    fn waits(&self) -> bool {
        !lock(&self.said).open.is_empty()
    }

    fn ask_whether_there(&self) {
        lock(&self.said).asks = true;
        self.filled.notify_one();
    }

    fn is_done(&self) -> bool {
        let said = lock(&self.said);
        said.retired && said.open.is_empty()
    }
}

impl Said {
    fn take_batch(&mut self) -> pb::RequestBatch {
        let mut batch = pb::RequestBatch::default();
        let mut bytes = 0;
        while batch.requests.len() < STREAM_BATCH
            && bytes < STREAM_BATCH_BYTES
            && let Some(request) = self.to_send.pop_front()
        {
            // Whoever asked may have left.
            if self.open.contains_key(&request.number) {
                bytes += request.encoded_len();
                batch.requests.push(request);
            }
        }
        batch
    }
}

/// Until the stream breaks, or nobody wants anything of it any more.
async fn carry(talk: Arc<Talk>, endpoint: String, channel: Channel, client: Weak<Inner>) {
    let status = match open(&talk, channel).await {
        Ok(answers) => listen(&talk, answers, &client).await,
        Err(status) => status,
    };
    // A connection that broke opens itself again. One that is silent does not know that it is of no use.
    if let Some(client) = client.upgrade() {
        client.channels.forget(&endpoint);
    }
    talk.end(&status);
}

async fn open(talk: &Arc<Talk>, channel: Channel) -> Result<Streaming<pb::ReplyBatch>, Status> {
    let batches = stream::unfold(Arc::clone(talk), |talk| async move {
        let batch = talk.next_batch().await?;
        Some((batch, talk))
    });
    let mut client = RequestsClient::new(channel).max_decoding_message_size(REPLY_BYTES + STREAM_BATCH_BYTES);
    let opened = timeout(CLIENT_CONNECT, client.exchange(Request::new(batches))).await;
    let opened = opened.unwrap_or_else(|| Err(Status::unavailable("connecting took too long")));
    opened.map(tonic::Response::into_inner)
}

async fn listen(talk: &Talk, mut answers: Streaming<pb::ReplyBatch>, client: &Weak<Inner>) -> Status {
    let mut silence = Silence::default();
    // Looks now and then, instead of being set anew with each answer.
    let look = rt::sleep(STREAM_SILENCE / 2);
    futures::pin_mut!(look);
    loop {
        if talk.is_done() {
            return Status::unavailable("nobody waits on this stream");
        }
        let batch = select! {
            biased;
            batch = answers.message() => batch,
            () = talk.idle.notified() => continue,
            () = look.as_mut() => {
                look.as_mut().reset(Instant::now() + STREAM_SILENCE / 2);
                match silence.look(talk.waits(), Instant::now()) {
                    Silent::No => {}
                    Silent::Ask => talk.ask_whether_there(),
                    Silent::GiveUp => return Status::unavailable("the master is silent"),
                }
                continue;
            }
        };
        silence.heard(Instant::now());
        match batch {
            Ok(Some(batch)) => {
                if !batch.leader.is_empty()
                    && let Some(client) = client.upgrade()
                {
                    lock(&client.endpoints).leads(&batch.leader);
                }
                talk.answer(batch.replies);
            }
            Ok(None) => return Status::unavailable("the master ended the stream"),
            Err(status) => return status,
        }
    }
}

/// Whether the master at the other end is still there. Somebody who waits for a master that is gone without a word would
/// otherwise wait as long as a request may take.
#[derive(Debug, Default)]
struct Silence {
    /// When something came, or since when somebody waits.
    since: Option<Instant>,
    asked: bool,
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
enum Silent {
    No,
    Ask,
    GiveUp,
}

impl Silence {
    fn heard(&mut self, now: Instant) {
        (self.since, self.asked) = (Some(now), false);
    }

    fn look(&mut self, waits: bool, now: Instant) -> Silent {
        if !waits {
            (self.since, self.asked) = (None, false);
            return Silent::No;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < STREAM_SILENCE {
            return Silent::No;
        }
        self.since = Some(now);
        if std::mem::replace(&mut self.asked, true) { Silent::GiveUp } else { Silent::Ask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn put(bytes: usize) -> pb::ClientRequest {
        let put = pb::PutRequest { value: vec![7; bytes].into(), ..Default::default() };
        pb::ClientRequest { body: Some(pb::client_request::Body::Put(put)) }
    }

    fn numbers(talk: &Talk) -> Vec<u64> {
        let batch = talk.next_batch().now_or_never().flatten().unwrap_or_default();
        batch.requests.iter().map(|request| request.number).collect()
    }

    #[test]
    fn what_waits_goes_together_and_answers_find_their_requests() {
        let talk = Talk::default();
        let (mut first, mut second) = (Box::pin(talk.send(put(1))), Box::pin(talk.send(put(1))));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert_eq!(numbers(&talk), [1, 2]);
        let answer = |number| pb::NumberedReply {
            number,
            reply: Some(pb::ClientReply { index: number * 10, body: None }),
        };
        talk.answer(vec![answer(2), answer(9), answer(1)]);
        let index = |reply: Option<Result<pb::ClientReply, Failure>>| reply.map(|it| it.unwrap().index);
        assert_eq!(index(first.now_or_never()), Some(10));
        assert_eq!(index(second.now_or_never()), Some(20));
    }

    #[test]
    fn a_batch_ends_with_the_request_that_fills_it() {
        let talk = Talk::default();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(talk.send(put(STREAM_BATCH_BYTES)))).collect();
        waiting.iter_mut().for_each(|it| assert!(it.as_mut().now_or_never().is_none()));
        assert_eq!((numbers(&talk), numbers(&talk)), (vec![1], vec![2]));
    }

    #[test]
    fn who_left_before_the_request_did_sends_nothing() {
        let talk = Talk::default();
        assert!(talk.send(put(1)).now_or_never().is_none());
        assert!(numbers(&talk).is_empty() && lock(&talk.said).open.is_empty());
    }

    #[test]
    fn an_ended_stream_fails_all_that_wait_and_all_that_come() {
        let talk = Talk::default();
        let mut waits = Box::pin(talk.send(put(1)));
        assert!(waits.as_mut().now_or_never().is_none());
        talk.end(&Status::unavailable("broken"));
        assert!(matches!(waits.now_or_never().unwrap(), Err(Failure::NotSent(_))));
        assert!(matches!(talk.send(put(1)).now_or_never().unwrap(), Err(Failure::NotSent(_))));
        assert!(talk.next_batch().now_or_never().unwrap().is_none());
    }

    #[test]
    fn of_what_a_broken_stream_held_only_what_had_left_is_in_doubt() {
        let talk = Talk::default();
        let mut left = Box::pin(talk.send(put(1)));
        assert!(left.as_mut().now_or_never().is_none());
        assert_eq!(numbers(&talk), [1]);
        let mut waits = Box::pin(talk.send(put(1)));
        assert!(waits.as_mut().now_or_never().is_none());
        talk.end(&Status::unavailable("broken"));
        assert!(matches!(left.now_or_never().unwrap(), Err(Failure::Status(_))));
        assert!(matches!(waits.now_or_never().unwrap(), Err(Failure::NotSent(_))));
    }

    #[test]
    fn a_master_that_is_silent_is_asked_and_then_given_up() {
        let (mut silence, start) = (Silence::default(), Instant::now());
        let look =
            |silence: &mut Silence, waits, periods| silence.look(waits, start + STREAM_SILENCE * periods);
        assert_eq!(look(&mut silence, true, 0), Silent::No);
        assert_eq!(look(&mut silence, true, 1), Silent::Ask);
        silence.heard(start + STREAM_SILENCE);
        assert_eq!(look(&mut silence, true, 2), Silent::Ask);
        assert_eq!(look(&mut silence, true, 3), Silent::GiveUp);
        assert_eq!(look(&mut silence, false, 9), Silent::No, "nobody waits");
        assert_eq!(look(&mut silence, true, 10), Silent::No, "somebody begins to");
    }

    #[test]
    fn who_asks_whether_a_master_is_there_sends_a_batch_of_nothing() {
        let talk = Talk::default();
        talk.ask_whether_there();
        let batch = talk.next_batch().now_or_never().flatten();
        assert!(batch.is_some_and(|batch| batch.requests.is_empty()));
        assert!(talk.next_batch().now_or_never().is_none());
    }

    #[test]
    fn a_retired_stream_is_done_when_the_last_one_leaves() {
        let talk = Talk::default();
        let mut waits = Box::pin(talk.send(put(1)));
        assert!(waits.as_mut().now_or_never().is_none());
        lock(&talk.said).retired = true;
        assert!(!talk.is_done());
        drop(waits);
        assert!(talk.is_done() && talk.idle.notified().now_or_never().is_some());
    }
}
