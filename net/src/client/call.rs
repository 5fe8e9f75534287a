//! Requests with their retries, and the session under them.

use super::{
    Client, ClientError, Inner,
    retry::{Failure, Retry, Verdict},
    session::Session,
};
use crate::{
    errors::{refusal, status_of},
    limits::CLIENT_CONNECT,
    rt::{self, Duration, Instant, lock, timeout},
};
use prost::Message;
use quorate_core::limits::REQUEST_BYTES;
use quorate_proto::v1::{
    self as pb, client_reply::Body as Reply, client_request::Body as Ask, cluster_client::ClusterClient,
};
use std::sync::{Arc, Weak};
use tonic::{Status, transport::Channel};

/// Sessions that one change may go through.
const SESSIONS_PER_CHANGE: u32 = 3;

/// Why a request with all its tries was not answered.
#[derive(Debug)]
pub(super) enum Failed {
    /// For the caller.
    Error(ClientError),
    /// Its session is gone, and it was not applied.
    NewSession,
}

impl From<Failed> for ClientError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Error(error) => error,
            Failed::NewSession => Self::SessionExpired,
        }
    }
}

impl Client {
    /// One try, for callers with a state machine of their own. `None`: no answer; it may have been applied. Heartbeats go
    /// over one stream that is kept open.
    pub async fn request(&self, request: pb::ClientRequest, limit: Duration) -> Option<pb::ClientReply> {
        if let Some(Ask::Heartbeat(heartbeat)) = request.body {
            return timeout(limit, self.inner.heartbeats.send(&self.inner, heartbeat)).await.flatten();
        }
        let endpoint = self.inner.pick();
        let Some(answer) = timeout(limit, self.inner.send(&endpoint, request)).await else {
            self.inner.forget_endpoint(&endpoint);
            self.inner.move_on(&endpoint, 0).await;
            return None;
        };
        match answer {
            Ok(reply) => {
                if let Some(Reply::Refusal(refused)) = &reply.body
                    && refused.code() == pb::RefusalCode::Unavailable
                {
                    self.inner.move_on(&endpoint, refused.leader).await;
                }
                Some(reply)
            }
            Err(_) => {
                self.inner.move_on(&endpoint, 0).await;
                None
            }
        }
    }

    /// Ends the session, so that the cluster need not keep it. Best effort: it runs out by itself.
    pub async fn close(&self) {
        let Some(session) = self.inner.session.lock().await.take() else { return };
        if let Some(keeper) = lock(&self.inner.keeper).take() {
            keeper.abort();
        }
        let ask = Ask::CloseSession(pb::CloseSessionRequest { session: session.id });
        self.request(pb::ClientRequest { body: Some(ask) }, CLIENT_CONNECT).await;
    }
}

impl Inner {
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.options.deadline
    }

    /// A request that changes nothing.
    pub(super) async fn read(&self, body: Ask) -> Result<pb::ClientReply, ClientError> {
        Ok(self.run(self.deadline(), self.retry(), || body.clone()).await?)
    }

    /// A request that changes something: `make` puts the request id in.
    pub(super) async fn change(
        self: &Arc<Self>,
        make: impl Fn(pb::RequestId) -> Ask + Send + Sync,
    ) -> Result<pb::ClientReply, ClientError> {
        let deadline = self.deadline();
        for _ in 0..SESSIONS_PER_CHANGE {
            let session = self.session(deadline).await?;
            let ticket = session.ticket().await;
            let sent = Instant::now();
            match self.run(deadline, self.retry().of_a_change(), || make(ticket.request_id())).await {
                Ok(reply) => {
                    session.renewed(sent);
                    return Ok(reply);
                }
                Err(Failed::NewSession) => self.forget(&session).await,
                Err(Failed::Error(error)) => {
                    if error == ClientError::SessionExpired {
                        self.forget(&session).await;
                    }
                    return Err(error);
                }
            }
        }
        Err(ClientError::SessionExpired)
    }

    /// Tries until there is an answer, a final refusal, or the deadline.
    async fn run(
        &self,
        deadline: Instant,
        retry: Retry,
        make: impl Fn() -> Ask + Send + Sync,
    ) -> Result<pb::ClientReply, Failed> {
        let request = || pb::ClientRequest { body: Some(make()) };
        let size = request().encoded_len();
        if size > REQUEST_BYTES {
            let message = format!("the request has {size} bytes: REQUEST_BYTES allows {REQUEST_BYTES}");
            return Err(Failed::Error(ClientError::Refused { code: pb::RefusalCode::Exhausted, message }));
        }
        let request = &request;
        let attempt = |endpoint: String| async move {
            let reply = self.send(&endpoint, request()).await?;
            match &reply.body {
                Some(Reply::Refusal(refused)) => Err(Failure::Status(status_of(refused))),
                _ => Ok(reply),
            }
        };
        self.with_retries_at(deadline, retry, attempt).await
    }

    fn retry(&self) -> Retry {
        Retry::new(lock(&self.endpoints).len(), self.draw_seed())
    }

    /// One request to one master.
    async fn send(&self, endpoint: &str, request: pb::ClientRequest) -> Result<pb::ClientReply, Failure> {
        let bad = |why| Failure::NotSent(status_of(&refusal(pb::RefusalCode::Invalid, why)));
        let talk = self.talks.get(endpoint, &self.channels, &self.me).map_err(bad)?;
        talk.send(request).await
    }

    /// The next request opens a new connection to it.
    fn forget_endpoint(&self, endpoint: &str) {
        self.channels.forget(endpoint);
        self.talks.forget(endpoint);
    }

    /// As [`run`](Self::run), for anything that is done over a connection.
    pub(super) async fn with_retries<T, F: Future<Output = Result<T, Status>> + Send>(
        &self,
        deadline: Instant,
        attempt: impl Fn(Channel) -> F + Send + Sync,
    ) -> Result<T, Failed> {
        let attempt = &attempt;
        let connected = |endpoint: String| async move {
            let bad = |why| Failure::NotSent(status_of(&refusal(pb::RefusalCode::Invalid, why)));
            attempt(self.channels.get(&endpoint).map_err(bad)?).await.map_err(Failure::Status)
        };
        self.with_retries_at(deadline, self.retry(), connected).await
    }

    async fn with_retries_at<T, F: Future<Output = Result<T, Failure>> + Send>(
        &self,
        deadline: Instant,
        mut retry: Retry,
        attempt: impl Fn(String) -> F + Send + Sync,
    ) -> Result<T, Failed> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failed::Error(retry.give_up()));
            }
            let endpoint = self.pick();
            let failure =
                match timeout(left.min(self.options.request_timeout), attempt(endpoint.clone())).await {
                    Some(Ok(done)) => return Ok(done),
                    Some(Err(failure)) => failure,
                    None => {
                        self.forget_endpoint(&endpoint);
                        Failure::NoAnswer
                    }
                };
            let after = match retry.judge(&endpoint, &failure) {
                Verdict::Fail(error) => return Err(Failed::Error(error)),
                Verdict::NewSession => return Err(Failed::NewSession),
                Verdict::Again { after } => after,
                Verdict::Rotate { after } => {
                    self.move_on(&endpoint, 0).await;
                    after
                }
                Verdict::Leader { leader, after } => {
                    self.move_on(&endpoint, leader).await;
                    after
                }
            };
            let left = deadline.saturating_duration_since(Instant::now());
            rt::sleep(after.min(left)).await;
        }
    }

    /// Goes on to the leader that was named, if its address is known or can be asked for, else to the next endpoint.
    pub(super) async fn move_on(&self, endpoint: &str, leader: u64) {
        if leader != 0 {
            if lock(&self.endpoints).hint(leader) {
                return;
            }
            if let Ok(channel) = self.channels.get(endpoint) {
                let asking = async move {
                    ClusterClient::new(channel).members(pb::ListMembersRequest { stale: true }).await
                };
                if let Some(Ok(reply)) = timeout(CLIENT_CONNECT, asking).await {
                    let members = reply.into_inner().members.into_iter();
                    let mut endpoints = lock(&self.endpoints);
                    endpoints.learn(members.map(|member| (member.id, member.client_address)));
                    if endpoints.hint(leader) {
                        return;
                    }
                }
            }
        }
        lock(&self.endpoints).failed(endpoint);
    }

    /// The session, opened if there is none.
    async fn session(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Session>, ClientError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = slot.as_ref() {
            return Ok(Arc::clone(session));
        }
        let sent = Instant::now();
        let ttl_ms = u64::try_from(self.options.session_ttl.as_millis()).unwrap_or(u64::MAX);
        let ask = Ask::OpenSession(pb::OpenSessionRequest { ttl_ms });
        let reply = self.run(deadline, self.retry(), || ask.clone()).await?;
        let Some(Reply::OpenSession(opened)) = reply.body else {
            let message = "a master answered something else than a session".to_owned();
            return Err(ClientError::Refused { code: pb::RefusalCode::Unspecified, message });
        };
        let session =
            Arc::new(Session::new(opened.session, Duration::from_millis(opened.ttl_ms.max(1)), sent));
        *slot = Some(Arc::clone(&session));
        let keeper = rt::spawn(keep(Arc::downgrade(self), Arc::clone(&session)));
        if let Some(old) = lock(&self.keeper).replace(keeper) {
            old.abort();
        }
        Ok(session)
    }

    async fn forget(&self, session: &Session) {
        let mut slot = self.session.lock().await;
        if slot.as_ref().is_some_and(|current| current.id == session.id) {
            *slot = None;
        }
    }
}

/// Renews a session whenever it was idle for a third of its time to live.
async fn keep(client: Weak<Inner>, session: Arc<Session>) {
    let period = session.ttl / 3;
    loop {
        let due = session.last_renewal() + period;
        let now = Instant::now();
        if due > now {
            rt::sleep_until(due).await;
            continue;
        }
        let Some(inner) = client.upgrade() else { return };
        let ask = Ask::KeepSession(pb::KeepSessionRequest { session: session.id });
        match inner.run(now + period, inner.retry(), || ask.clone()).await {
            Ok(_) => session.renewed(now),
            // The next change opens another.
            Err(Failed::NewSession | Failed::Error(ClientError::SessionExpired)) => {
                inner.forget(&session).await;
                return;
            }
            Err(Failed::Error(error)) => {
                tracing::debug!(%error, "a session was not renewed");
                drop(inner);
                rt::sleep(period / 4).await;
            }
        }
    }
}
