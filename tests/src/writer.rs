//! A client that writes all the time, and remembers what was acknowledged.

use crate::{cluster::Cluster, network::Network, wait::wait_until};
use quorate_net::client::{Client, ClientError, ClientOptions};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long a put is tried.
const PUT_WITHIN: Duration = Duration::from_secs(30);
/// How long one try of it may take: short, so that a frozen master costs little.
const TRY_WITHIN: Duration = Duration::from_millis(1_500);
/// Between two puts: what is tested is not the throughput.
const PAUSE: Duration = Duration::from_millis(3);

/// Puts one key after the other until it is stopped.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Acknowledged>>,
    thread: Option<JoinHandle<()>>,
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    prefix: String,
    /// Keys with their values.
    pub keys: BTreeMap<String, String>,
    /// The longest time between two acknowledgements.
    pub longest_gap: Duration,
    /// Puts that were not acknowledged, with their errors.
    pub failed: Vec<String>,
}

impl Writer {
    /// Starts writing keys that begin with `prefix` and `/`, through all masters.
    #[must_use]
    pub fn start(cluster: &Cluster, prefix: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written =
            Arc::new(Mutex::new(Acknowledged { prefix: prefix.to_owned(), ..Acknowledged::default() }));
        let work = Work {
            endpoints: cluster.endpoints(),
            space: cluster.client_space(),
            prefix: prefix.to_owned(),
            stop: Arc::clone(&stop),
            written: Arc::clone(&written),
        };
        Self { stop, written, thread: Some(thread::spawn(move || work.run())) }
    }

    /// How many puts were acknowledged so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).keys.len()
    }

    /// What was acknowledged so far.
    #[must_use]
    pub fn so_far(&self) -> Acknowledged {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more puts are acknowledged.
    pub fn wait_more(&self, puts: usize, within: Duration) {
        let goal = self.count() + puts;
        wait_until(within, &format!("{puts} more acknowledged puts"), || match self.count() {
            count if count >= goal => Ok(()),
            count => Err(format!("{count} of {goal}")),
        });
    }

    /// Stops, and returns what was acknowledged.
    ///
    /// # Panics
    /// If the writer did.
    #[must_use]
    pub fn stop(mut self) -> Acknowledged {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join).transpose().expect("the writer does not panic");
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Acknowledged {
    /// Everything that was acknowledged is there, as a linearizable read shows it.
    ///
    /// # Panics
    /// If a key is not, or has another value.
    #[track_caller]
    pub fn assert_all_there(&self, cluster: &Cluster) {
        let there = cluster.keys(&format!("{}/", self.prefix));
        let missing: Vec<_> =
            self.keys.iter().filter(|(key, value)| there.get(*key) != Some(value)).collect();
        let (lost, all) = (missing.len(), self.keys.len());
        assert!(
            missing.is_empty(),
            "{lost} of {all} acknowledged puts are lost: {:?}",
            &missing[..lost.min(10)]
        );
    }
}

struct Work {
    endpoints: Vec<String>,
    space: Option<PathBuf>,
    prefix: String,
    stop: Arc<AtomicBool>,
    written: Arc<Mutex<Acknowledged>>,
}

impl Work {
    fn run(&self) {
        if let Some(space) = &self.space {
            Network::enter(space);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be built").block_on(self.write());
    }

    async fn write(&self) {
        let options =
            ClientOptions { deadline: PUT_WITHIN, request_timeout: TRY_WITHIN, ..ClientOptions::default() };
        let client = Client::new(&self.endpoints, options).expect("the endpoints are well formed");
        let mut last = Instant::now();
        for number in 0_u64.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let (key, value) = (format!("{}/{number:06}", self.prefix), format!("value {number}"));
            let result = client.put(key.clone(), value.clone()).await;
            last = self.note(key, value, result.map(drop), last);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns when the newest acknowledgement came.
    fn note(&self, key: String, value: String, result: Result<(), ClientError>, last: Instant) -> Instant {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = result {
            written.failed.push(format!("{key}: {error}"));
            return last;
        }
        written.keys.insert(key, value);
        written.longest_gap = written.longest_gap.max(last.elapsed());
        Instant::now()
    }
}
