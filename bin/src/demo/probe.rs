//! Writes, again and again, to find out how long none is accepted, and whether an accepted one is ever lost.

use crate::{cluster::Cluster, failure::Failure};
use quorate_core::limits;
use quorate_proto::v1 as pb;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};

const PERIOD: Duration = Duration::from_millis(5);
/// Writes that wait for their answer at one time; beyond that, none is added.
const OPEN: usize = 64;
const PREFIX: &str = "demo/probe/";

/// One accepted write.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    number: u64,
    sent: Instant,
    at: Instant,
}

/// Writes in the background until it is stopped.
#[derive(Debug)]
pub(super) struct Probe {
    accepted: Arc<Mutex<Vec<Accepted>>>,
    writer: JoinHandle<()>,
}

impl Probe {
    /// Starts to write every few milliseconds.
    pub(super) fn start(cluster: Cluster) -> Self {
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let writer = tokio::spawn(write(cluster, Arc::clone(&accepted)));
        Self { accepted, writer }
    }

    /// When the first of the writes sent at or after `moment` was accepted. One sent before it may have been committed before it.
    pub(super) fn accepted_after(&self, moment: Instant) -> Option<Instant> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.iter().filter(|write| write.sent >= moment).map(|write| write.at).min()
    }

    /// How many writes were accepted.
    pub(super) fn count(&self) -> usize {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Stops writing. What is open then is never looked at.
    pub(super) fn stop(&self) {
        self.writer.abort();
    }

    /// The accepted writes that cannot be read.
    ///
    /// # Errors
    /// As the cluster answers.
    pub(super) async fn lost(&self, cluster: &Cluster) -> Result<Vec<String>, Failure> {
        let mut found = BTreeSet::new();
        let mut after = bytes::Bytes::new();
        loop {
            let limit = limits::PAGE_ITEMS as u32;
            let request =
                pb::ListRequest { prefix: PREFIX.into(), after, limit, keys_only: true, stale: false };
            let reply = cluster.list(request).await?;
            after = reply.items.last().map(|item| item.key.clone()).unwrap_or_default();
            found.extend(reply.items.into_iter().map(|item| item.key));
            if !reply.more || after.is_empty() {
                break;
            }
        }
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = accepted.iter().map(|write| key(write.number));
        Ok(keys.filter(|key| !found.contains(key.as_bytes())).collect())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop();
    }
}

fn key(number: u64) -> String {
    format!("{PREFIX}{number:08}")
}

async fn write(cluster: Cluster, accepted: Arc<Mutex<Vec<Accepted>>>) {
    let open = Arc::new(Semaphore::new(OPEN));
    let mut writes = JoinSet::new();
    let mut ticks = tokio::time::interval(PERIOD);
    for number in 0.. {
        ticks.tick().await;
        while writes.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
        let (cluster, accepted, sent) = (cluster.clone(), Arc::clone(&accepted), Instant::now());
        writes.spawn(async move {
            // A write that is refused or not answered says nothing about what is kept.
            if cluster.put(key(number).into(), sent.elapsed().as_nanos().to_string().into()).await.is_ok() {
                let write = Accepted { number, sent, at: Instant::now() };
                accepted.lock().unwrap_or_else(PoisonError::into_inner).push(write);
            }
            drop(permit);
        });
    }
}
