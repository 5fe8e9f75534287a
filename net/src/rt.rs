//! The runtime, real or simulated. The only module that names its primitives.

use futures::{Stream, stream};
use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

pub use tokio::{
    select, spawn,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, broadcast, mpsc, oneshot},
    task::{JoinHandle, yield_now},
    time::{Duration, Instant, Sleep, sleep, sleep_until},
};

/// A mutex that waits without blocking its thread.
pub type AsyncMutex<T> = tokio::sync::Mutex<T>;

/// Runs a future for so long; `None`: it was not done.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Tasks that end with their owner.
#[derive(Debug, Default)]
pub struct Tasks(Vec<JoinHandle<()>>);

impl Tasks {
    /// Starts one more.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.push(spawn(future));
    }

    /// Waits until all have ended.
    pub async fn join(&mut self) {
        for task in &mut self.0 {
            // A task that panicked has ended, too.
            let _ = task.await;
        }
        self.0.clear();
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Resolves once the future of [`dedicated`] or [`notified`] has ended, and holds nothing any more.
pub type Finished = oneshot::Receiver<()>;

/// Runs a future as a task that ends by itself.
pub fn notified(future: impl Future<Output = ()> + Send + 'static) -> Finished {
    let (done, finished) = oneshot::channel();
    spawn(async move {
        future.await;
        let _ = done.send(());
    });
    finished
}

/// Runs a future that blocks its thread: on a thread of its own, or, simulated, as a task.
///
/// # Errors
/// The system has no thread left.
pub fn dedicated(name: &str, future: impl Future<Output = ()> + Send + 'static) -> io::Result<Finished> {
    let (done, finished) = oneshot::channel();
    let work = async move {
        future.await;
        let _ = done.send(());
    };
    #[cfg(not(madsim))]
    {
        let handle = tokio::runtime::Handle::current();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || handle.block_on(work))?;
    }
    #[cfg(madsim)]
    {
        let _ = name;
        spawn(work);
    }
    Ok(finished)
}

/// Runs something that blocks away from the tasks, or, simulated, in place. `None`: it panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    #[cfg(not(madsim))]
    {
        tokio::task::spawn_blocking(work).await.ok()
    }
    #[cfg(madsim)]
    {
        std::future::ready(Some(work())).await
    }
}

/// Locks, whether or not a holder panicked: what is guarded here is whole at any time.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a channel receives, as a stream.
pub fn stream_of<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

/// Unix milliseconds.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The processor time of this process; zero where time is simulated.
#[must_use]
pub fn processor_time() -> Duration {
    #[cfg(not(madsim))]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    }
    #[cfg(madsim)]
    {
        Duration::ZERO
    }
}

/// A number that differs from process to process, for jitter and seeds. No secret.
#[must_use]
pub fn random() -> u64 {
    #[cfg(not(madsim))]
    {
        use std::hash::{BuildHasher, Hasher, RandomState};
        RandomState::new().build_hasher().finish()
    }
    #[cfg(madsim)]
    {
        madsim::rand::random()
    }
}

/// A socket that is bound, and not served yet.
#[cfg(not(madsim))]
#[derive(Debug)]
pub struct Listener(pub(crate) tokio::net::TcpListener);

#[cfg(not(madsim))]
impl Listener {
    /// Binds `host:port`; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(address: &str) -> io::Result<Self> {
        tokio::net::TcpListener::bind(address).await.map(Self)
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// An address that will be served. The simulated server binds by itself.
#[cfg(madsim)]
#[derive(Debug)]
pub struct Listener(pub(crate) SocketAddr);

#[cfg(madsim)]
impl Listener {
    /// Takes `host:port`.
    ///
    /// # Errors
    /// The address cannot be resolved.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let mut found = tokio::net::lookup_host(address).await?;
        found.next().map(Self).ok_or_else(|| io::Error::other(format!("{address} has no address")))
    }

    /// Where it will be bound.
    ///
    /// # Errors
    /// None.
    pub fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }
}
