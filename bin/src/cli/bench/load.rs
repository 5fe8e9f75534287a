//! What the clients ask, and when.

use super::Kind;
use crate::{cluster::Cluster, failure::Failure};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use quorate_core::random::mix;
use quorate_proto::v1 as pb;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Requests at a time while keys are prepared and cleaned up.
const AT_ONCE: usize = 256;

/// The requests of one run.
#[derive(Debug)]
pub(super) struct Load {
    kind: Kind,
    clusters: Vec<Cluster>,
    value: Bytes,
    key_space: u64,
    stale: bool,
    /// Tells the keys and jobs of two runs apart.
    run: u32,
    jobs: Mutex<Vec<String>>,
    used: Mutex<Vec<bool>>,
    asked: AtomicU64,
}

impl Load {
    pub(super) fn new(
        kind: Kind,
        clusters: Vec<Cluster>,
        value_size: usize,
        key_space: u64,
        stale: bool,
    ) -> Self {
        // Not all alike, so that nothing on the way can make it short.
        let value: Vec<u8> = (0..value_size as u64).map(|at| mix(at) as u8).collect();
        let keys = usize::try_from(key_space).unwrap_or(usize::MAX);
        let used = if kind == Kind::Submit { Vec::new() } else { vec![false; keys] };
        Self {
            kind,
            clusters,
            value: value.into(),
            key_space,
            stale,
            run: std::process::id(),
            jobs: Mutex::default(),
            used: Mutex::new(used),
            asked: AtomicU64::new(0),
        }
    }

    /// The connection of a client.
    pub(super) fn cluster(&self, client: u32) -> &Cluster {
        let place = usize::try_from(client).unwrap_or_default() % self.clusters.len().max(1);
        &self.clusters[place]
    }

    fn key(&self, number: u64) -> Bytes {
        Bytes::from(format!("bench/{}/{number:08}", self.run))
    }

    /// Opens the sessions, and makes what is to be read.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        let opened = self.clusters.iter().map(|cluster| cluster.put(self.key(0), self.value.clone()));
        try_join_all(opened).await?;
        self.use_key(0);
        if self.kind == Kind::Get {
            self.for_all((0..self.key_space).collect(), async |cluster, number| {
                cluster.put(self.key(number), self.value.clone()).await?;
                self.use_key(number);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    fn use_key(&self, number: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = usize::try_from(number).ok().and_then(|number| used.get_mut(number)) {
            *place = true;
        }
    }

    async fn for_all<T: Clone>(
        &self,
        things: Vec<T>,
        each: impl AsyncFn(&Cluster, T) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for batch in things.chunks(AT_ONCE) {
            let done = batch.iter().zip(0..).map(|(thing, client)| each(self.cluster(client), thing.clone()));
            join_all(done).await.into_iter().collect::<Result<Vec<()>, Failure>>()?;
        }
        Ok(())
    }

    /// One request of one client.
    pub(super) async fn ask(&self, client: u32) -> Result<(), Failure> {
        let cluster = self.cluster(client);
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let key = mix(number) % self.key_space;
        match self.kind {
            Kind::Put => {
                self.use_key(key);
                cluster.put(self.key(key), self.value.clone()).await?;
            }
            Kind::Get => _ = cluster.get(self.key(key), self.stale).await?,
            Kind::Submit => {
                let id = format!("bench-{}-{number}", self.run);
                self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
                cluster.submit_job(&id, specification()).await?;
            }
        }
        Ok(())
    }

    /// Deletes what was made.
    pub(super) async fn clean_up(&self) -> Result<(), Failure> {
        let jobs = std::mem::take(&mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        let keys: Vec<u64> = (0..).zip(used).filter_map(|(number, used)| used.then_some(number)).collect();
        eprintln!("deleting {} key(s) and {} job(s)", keys.len(), jobs.len());
        self.for_all(keys, async |cluster, number| cluster.delete(self.key(number)).await.map(drop)).await?;
        self.for_all(jobs, async |cluster, id| {
            cluster.cancel_job(&id, Duration::from_secs(1)).await?;
            cluster.delete_job(&id).await
        })
        .await?;
        // A key that only opened the sessions.
        self.cluster(0).delete(self.key(0)).await.map(drop)
    }
}

/// A job that asks for as many slots as can be, so that it waits.
fn specification() -> pb::JobSpecification {
    pb::JobSpecification {
        r#type: pb::JobType::Batch.into(),
        argv: vec!["true".to_owned()],
        slots_per_task: quorate_core::limits::EXECUTOR_SLOTS,
        ..Default::default()
    }
}

/// When the next request is due.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time between two requests of all clients together.
    gap: Option<Duration>,
    count: Option<u64>,
    given: Mutex<Given>,
}

/// Requests that were given out.
#[derive(Debug)]
struct Given {
    number: u64,
    since: Instant,
    /// What is measured has begun: now they are counted.
    counts: bool,
}

impl Pace {
    /// So many a second, and so many in all; `None`: no limit.
    pub(super) fn new(rate: Option<u64>, count: Option<u64>) -> Self {
        let gap = rate.map(|rate| Duration::from_nanos(1_000_000_000 / rate.max(1)));
        Self { gap, count, given: Mutex::new(Given { number: 0, since: Instant::now(), counts: false }) }
    }

    /// What is measured begins: numbers and times start anew.
    pub(super) fn begin(&self) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        *given = Given { number: 0, since: Instant::now(), counts: true };
    }

    /// Waits until a request is due, and says since when it is. `None`: no more are.
    pub(super) async fn next(&self) -> Option<Instant> {
        let (number, since) = {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            if given.counts && self.count.is_some_and(|count| given.number >= count) {
                return None;
            }
            given.number += 1;
            (given.number - 1, given.since)
        };
        let Some(gap) = self.gap else { return Some(Instant::now()) };
        let nanos = u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX).saturating_mul(number);
        let due = since + Duration::from_nanos(nanos);
        sleep_until(due).await;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rate_gives_times_that_do_not_wait_for_answers() {
        let pace = Pace::new(Some(1_000), Some(3));
        for _ in 0..5 {
            assert!(pace.next().await.is_some(), "it warms up");
        }
        let start = Instant::now();
        pace.begin();
        let mut due = Vec::new();
        while let Some(at) = pace.next().await {
            due.push((at - start).as_millis());
        }
        assert_eq!(due, [0, 1, 2]);
    }
}
