//! Calls to executors, and the connections that they go over.

use crate::{
    errors::refusal_of,
    limits::{CALL_TIMEOUT, CHANNELS, CONNECTION_ALIVE, REPLY_BYTES},
    rt::{Duration, lock, timeout},
};
use quorate_proto::v1::{
    self as pb, executor_call::Body as Call, executor_call_reply::Body as Reply,
    executor_service_client::ExecutorServiceClient,
};
use std::{collections::BTreeMap, fmt, sync::Mutex};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// Connections by address, opened when they are used first. The one used longest ago goes when there are too many.
pub(crate) struct Channels {
    connect: Duration,
    cached: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    uses: u64,
    by_address: BTreeMap<String, (Channel, u64)>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Channels").field("connect", &self.connect).finish_non_exhaustive()
    }
}

impl Channels {
    /// `connect`: how long opening a connection may take.
    pub(crate) fn new(connect: Duration) -> Self {
        Self { connect, cached: Mutex::default() }
    }

    /// The connection to `host:port`. The error says why that is no address.
    pub(crate) fn get(&self, address: &str) -> Result<Channel, String> {
        let mut cached = lock(&self.cached);
        cached.uses += 1;
        let uses = cached.uses;
        if let Some((channel, used)) = cached.by_address.get_mut(address) {
            *used = uses;
            return Ok(channel.clone());
        }
        let channel = endpoint(address, self.connect)?.connect_lazy();
        if cached.by_address.len() >= CHANNELS {
            let oldest = cached.by_address.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(address, _)| address.clone()) {
                cached.by_address.remove(&oldest);
            }
        }
        cached.by_address.insert(address.to_owned(), (channel.clone(), uses));
        Ok(channel)
    }

    /// Drops a connection that does not answer, so that the next use opens another.
    pub(crate) fn forget(&self, address: &str) {
        lock(&self.cached).by_address.remove(address);
    }
}

/// How to connect to `host:port`.
pub(crate) fn endpoint(address: &str, connect: Duration) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("{address} is no host:port: {error}"))?;
    Ok(endpoint
        .connect_timeout(connect)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(CONNECTION_ALIVE)
        .keep_alive_timeout(CONNECTION_ALIVE)
        .keep_alive_while_idle(true))
}

/// The executor behind a connection.
pub(crate) fn executor(channel: Channel) -> ExecutorServiceClient<Channel> {
    ExecutorServiceClient::new(channel).max_decoding_message_size(REPLY_BYTES)
}

/// Carries one call out. `None`: nobody knows whether the executor did it.
pub(crate) async fn call(
    channels: &Channels,
    address: &str,
    call: pb::ExecutorCall,
) -> Option<pb::ExecutorCallReply> {
    let channel =
        channels.get(address).inspect_err(|why| tracing::warn!(%why, "an executor's address")).ok()?;
    match timeout(CALL_TIMEOUT, send(channel, call)).await {
        Some(Ok(body)) => Some(pb::ExecutorCallReply { body: Some(body) }),
        Some(Err(status)) => {
            let refused = refusal_of(&status);
            if refused.is_none() {
                tracing::debug!(address, error = %status, "a call to an executor failed");
            }
            refused.map(|refused| pb::ExecutorCallReply { body: Some(Reply::Refusal(refused)) })
        }
        None => {
            tracing::debug!(address, "a call to an executor was not answered in time");
            channels.forget(address);
            None
        }
    }
}

async fn send(channel: Channel, call: pb::ExecutorCall) -> Result<Reply, Status> {
    let mut client = executor(channel);
    match call.body {
        Some(Call::PreDispatch(request)) => {
            client.pre_dispatch(request).await.map(|reply| Reply::PreDispatch(reply.into_inner()))
        }
        Some(Call::Confirm(request)) => {
            client.confirm(request).await.map(|reply| Reply::Confirm(reply.into_inner()))
        }
        Some(Call::Stop(request)) => client.stop(request).await.map(|reply| Reply::Stop(reply.into_inner())),
        None => Err(Status::invalid_argument("the call names nothing to do")),
    }
}
