//! `quorate bench`: how many durable changes a cluster takes, and how long each waits.

use super::Shared;
use crate::{
    failure::Failure,
    output::{self, Format, Table},
};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures::future::join_all;
use quorate_proto::v1 as pb;
use serde_json::json;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  How many keys a second can one client set?
    quorate bench put
  And 64 of them, for half a minute?
    quorate bench put --clients 64 --for 30s
  How many jobs a second can be submitted? They are canceled and deleted afterwards.
    quorate bench submit --clients 64";

/// Clients at most: each has a session of its own.
const CLIENTS_MAX: u32 = 1_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Set keys, one after the other
    Put,
    /// Read keys, linearizable
    Get,
    /// Submit jobs that no executor has room for
    Submit,
}

/// Measure a cluster: each client asks, waits for the answer, and asks again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    kind: Kind,
    /// How many clients ask at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u32,
    /// For how long
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = crate::config::values::parse_duration)]
    duration: Duration,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value: usize,
}

impl BenchArgs {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        eprintln!("{} client(s), {} s ...", self.clients, self.duration.as_secs_f64());
        let run = std::process::id();
        let started = Instant::now();
        let clients = (0..self.clients).map(|client| self.client(shared, run, client));
        let mut all = Vec::new();
        let mut jobs = Vec::new();
        for result in join_all(clients).await {
            let (latencies, submitted) = result?;
            all.extend(latencies);
            jobs.extend(submitted);
        }
        let elapsed = started.elapsed();
        self.report(shared.output, all, elapsed)?;
        clean_up(shared, jobs).await
    }

    /// One client's answers' times, and the jobs that it left behind.
    async fn client(
        &self,
        shared: &Shared,
        run: u32,
        client: u32,
    ) -> Result<(Vec<Duration>, Vec<String>), Failure> {
        let cluster = shared.cluster()?;
        let key = Bytes::from(format!("bench/{run}/{client}"));
        let value = Bytes::from(vec![b'x'; self.value]);
        // The session is opened before the clock starts.
        cluster.put(key.clone(), value.clone()).await?;
        let (mut latencies, mut jobs) = (Vec::new(), Vec::new());
        let end = Instant::now() + self.duration;
        loop {
            let asked = Instant::now();
            if asked >= end {
                break;
            }
            match self.kind {
                Kind::Put => _ = cluster.put(key.clone(), value.clone()).await?,
                Kind::Get => _ = cluster.get(key.clone(), false).await?,
                Kind::Submit => {
                    let id = format!("bench-{run}-{client}-{}", jobs.len());
                    cluster.submit_job(&id, specification()).await?;
                    jobs.push(id);
                }
            }
            latencies.push(asked.elapsed());
        }
        cluster.delete(key).await?;
        Ok((latencies, jobs))
    }

    fn report(&self, format: Format, mut latencies: Vec<Duration>, elapsed: Duration) -> Result<(), Failure> {
        latencies.sort_unstable();
        let quantile = |per_mille: usize| {
            let place = (latencies.len().saturating_sub(1)) * per_mille / 1_000;
            latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1_000.0)
        };
        let rate = latencies.len() as f64 / self.duration.as_secs_f64();
        let columns = [
            ("clients", f64::from(self.clients)),
            ("answers", latencies.len() as f64),
            ("per_second", rate),
            ("p50_ms", quantile(500)),
            ("p99_ms", quantile(990)),
            ("worst_ms", quantile(1_000)),
        ];
        if format == Format::Json {
            let mut figures = serde_json::Map::new();
            for (name, value) in columns {
                figures.insert(name.to_owned(), json!(value));
            }
            figures.insert("elapsed_s".to_owned(), json!(elapsed.as_secs_f64()));
            return output::json(&serde_json::Value::Object(figures));
        }
        let mut table = Table::new(columns.map(|(name, _)| name));
        table.row(columns.map(|(name, value)| {
            if name.ends_with("_ms") { format!("{value:.2}") } else { format!("{value:.0}") }
        }));
        table.print()
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

async fn clean_up(shared: &Shared, jobs: Vec<String>) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    eprintln!("deleting {} jobs ...", jobs.len());
    let cluster = shared.cluster()?;
    for batch in jobs.chunks(64) {
        let deleted = join_all(batch.iter().map(|id| async {
            cluster.cancel_job(id, Duration::from_secs(1)).await?;
            cluster.delete_job(id).await
        }));
        deleted.await.into_iter().collect::<Result<Vec<()>, Failure>>()?;
    }
    Ok(())
}
