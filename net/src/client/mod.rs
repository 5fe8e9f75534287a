//! The client library: finds a master that answers, retries with the same request id, and keeps one session.
//!
//! A change is applied at most once. If its outcome cannot be known any more, the error says so:
//! [`ClientError::SessionExpired`] and [`ClientError::Deadline`].

mod call;
mod endpoints;
mod error;
mod heartbeats;
mod methods;
mod retry;
mod session;
mod streams;
mod talk;

pub use error::ClientError;
pub use methods::Expected;
pub use streams::ClientStream;

use crate::{
    driver::Channels,
    limits::CLIENT_CONNECT,
    rt::{self, AsyncMutex, Duration, JoinHandle, lock},
};
use endpoints::Endpoints;
use heartbeats::Heartbeats;
use session::Session;
use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU64, Ordering},
};
use talk::Talks;

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long one try may take.
    pub request_timeout: Duration,
    /// How long a request may take with all its tries.
    pub deadline: Duration,
    /// How long the cluster keeps the session of a client that is silent.
    pub session_ttl: Duration,
    /// For the order of the endpoints and for jitter; `None`: drawn.
    pub seed: Option<u64>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            session_ttl: Duration::from_secs(60),
            seed: None,
        }
    }
}

/// A client of a cluster. Cloning it costs nothing; the clones share connections and session.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// For tasks that must not keep their client alive.
    me: Weak<Self>,
    options: ClientOptions,
    seed: u64,
    /// Requests made: each has jitter of its own.
    requests: AtomicU64,
    endpoints: Mutex<Endpoints>,
    channels: Channels,
    session: AsyncMutex<Option<Arc<Session>>>,
    /// Keeps the newest session.
    keeper: Mutex<Option<JoinHandle<()>>>,
    heartbeats: Heartbeats,
    talks: Talks,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(keeper) = lock(&self.keeper).take() {
            keeper.abort();
        }
    }
}

impl Client {
    /// Takes `host:port` of one or more masters; connects when it is used.
    ///
    /// # Errors
    /// `BadEndpoint` for an empty list, or an endpoint that is no `host:port`.
    pub fn new(endpoints: &[String], options: ClientOptions) -> Result<Self, ClientError> {
        let seed = options.seed.unwrap_or_else(rt::random);
        let endpoints = Mutex::new(Endpoints::new(endpoints, seed)?);
        let inner = Arc::new_cyclic(|me| Inner {
            me: Weak::clone(me),
            options,
            seed,
            requests: AtomicU64::new(0),
            endpoints,
            channels: Channels::new(CLIENT_CONNECT),
            session: AsyncMutex::default(),
            keeper: Mutex::default(),
            heartbeats: Heartbeats::default(),
            talks: Talks::default(),
        });
        Ok(Self { inner })
    }

    /// The endpoints as they were given.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        lock(&self.inner.endpoints).list().to_vec()
    }
}

impl Inner {
    fn pick(&self) -> String {
        lock(&self.endpoints).pick()
    }

    fn draw_seed(&self) -> u64 {
        self.seed.wrapping_add(self.requests.fetch_add(1, Ordering::Relaxed))
    }
}
