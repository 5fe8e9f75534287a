//! `quorate bench`: how many requests a cluster answers, how long each waits, and what that costs its masters.

mod failover;
mod load;
mod masters;
mod measure;
mod report;

use super::Shared;
use crate::{cluster::Cluster, config::values::parse_duration, failure::Failure};
use clap::{Args, Subcommand};
use failover::FailoverArgs;
use load::{Load, Pace};
use measure::Measure;
use report::Report;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  How many keys a second can one client set, one after the other?
    quorate bench put
  And 256 of them, over 16 connections, for half a minute?
    quorate bench put --clients 256 --duration 30s
  How long do reads wait at 5,000 a second?
    quorate bench get --clients 64 --rate 5000
  How many jobs a second can be submitted? They are canceled and deleted afterwards.
    quorate bench submit --clients 64 --count 5000
  How long do writes wait when a leader is killed?
    quorate bench failover";

/// Clients at most.
const CLIENTS_MAX: u32 = 10_000;
/// Connections when none are given, unless there are fewer clients.
const CONNECTIONS: u32 = 16;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Get,
    Submit,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Submit => "submit",
        }
    }
}

/// Measure a cluster.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum BenchCommand {
    /// Set keys: each client asks, waits for the answer, and asks again
    Put(LoadArgs),
    /// Read keys, linearizable
    Get(LoadArgs),
    /// Submit jobs that no executor has room for
    Submit(LoadArgs),
    /// Start three masters here, and measure how long writes wait when the leader goes
    Failover(FailoverArgs),
}

impl BenchCommand {
    /// How many threads it needs.
    pub(super) const fn threads(&self) -> u16 {
        match self {
            Self::Put(load) | Self::Get(load) | Self::Submit(load) => load.threads,
            Self::Failover(_) => 1,
        }
    }

    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Put(load) => load.run(Kind::Put, shared).await,
            Self::Get(load) => load.run(Kind::Get, shared).await,
            Self::Submit(load) => load.run(Kind::Submit, shared).await,
            Self::Failover(failover) => failover.run(shared.output).await,
        }
    }
}

/// How a cluster is asked.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// How many clients ask at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u32,
    /// Connections, each with a session, that the clients share [default: one for each client, 16 at most]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    connections: Option<u32>,
    /// For how long
    #[arg(long, visible_alias = "for", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// Until so many were answered; the duration does not count then
    #[arg(long, value_name = "NUMBER", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Asked for so long before anything is measured
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    warm_up: Duration,
    /// Requests a second of all clients together, whether or not answers come; how long one waits is counted from when it
    /// was due [default: as many as are answered]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// Bytes of a value
    #[arg(long, visible_alias = "value", value_name = "BYTES", default_value_t = 256, value_parser = value_size)]
    value_size: usize,
    /// Different keys
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    key_space: u64,
    /// Read whatever the asked master has
    #[arg(long)]
    stale: bool,
    /// Threads; with more than one, the connections are carried by others than the clients
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

fn value_size(text: &str) -> Result<usize, String> {
    let most = quorate_core::limits::VALUE_BYTES;
    let wrong = || format!("`{text}` is no size of a value: 0 to {most} bytes");
    text.parse().ok().filter(|&size| size <= most).ok_or_else(wrong)
}

impl LoadArgs {
    async fn run(self, kind: Kind, shared: &Shared) -> Result<(), Failure> {
        let connections = self.connections.unwrap_or(CONNECTIONS).min(self.clients);
        let clusters: Vec<Cluster> =
            (0..connections).map(|_| shared.cluster()).collect::<Result<_, Failure>>()?;
        let load = Load::new(kind, clusters, self.value_size, self.key_space, self.stale);
        eprintln!(
            "{}: {} client(s) on {connections} connection(s), at {}",
            kind.name(),
            self.clients,
            load.cluster(0).endpoints().join(",")
        );
        load.prepare().await?;
        let pace = Pace::new(self.rate, self.count);
        let measure = Measure::new(self.warm_up, self.count.is_none().then_some(self.duration));
        let measured = measure.run(&load, &pace, self.clients).await;
        let cleaned = load.clean_up().await;
        let measured = measured?;
        let report = Report {
            kind,
            clients: self.clients,
            connections,
            value_size: self.value_size,
            key_space: self.key_space,
            rate: self.rate,
            measured: &measured,
        };
        report.print(shared.output)?;
        cleaned
    }
}
