//! `quorate bench failover`: how long nobody's writes are acknowledged when the leader goes.

use crate::{
    cluster::Cluster,
    failure::Failure,
    local::{Directory, LocalCluster},
    output::{self, Format},
    process,
};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use quorate_proto::v1 as pb;
use rustix::process::Signal;
use serde_json::json;
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

const EXAMPLES: &str = "\
Examples:
  Kill the leader of three masters on this machine, 20 times:
    quorate bench failover
  And when it is asked to end?
    quorate bench failover --how terminate
  And when it is cut off, so that nobody hears of it and nothing is reset?
    quorate bench failover --how freeze";

const MASTERS: u64 = 3;
/// How long one request may take with all its tries.
const PATIENCE: Duration = Duration::from_secs(30);
/// Undisturbed writes before and after.
const CALM: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
/// Entries that a master may be behind and still count as there.
const BEHIND: u64 = 50;

/// How the leader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum How {
    /// SIGKILL: its connections are reset
    Kill,
    /// SIGTERM: it is asked to end
    Terminate,
    /// SIGSTOP: it is silent, and its connections stay, as when a cable is cut
    Freeze,
}

impl How {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::Freeze => "freeze",
        }
    }
}

/// Start three masters on this machine, and measure how long writes wait when the leader goes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct FailoverArgs {
    /// How the leader goes
    #[arg(long, value_enum, default_value_t = How::Kill)]
    how: How,
    /// How often
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Keep data and logs here [default: a temporary directory that is removed at the end]
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
}

/// When the writes of one client were acknowledged.
#[derive(Debug, Default)]
struct Writes(Mutex<Vec<Instant>>);

impl Writes {
    /// Writes one key after the other, for ever. An error is final: the client has tried for long.
    async fn go_on(&self, cluster: &Cluster) -> Failure {
        let value = Bytes::from(vec![b'x'; 256]);
        loop {
            if let Err(failure) = cluster.put(Bytes::from_static(b"bench/failover"), value.clone()).await {
                return failure;
            }
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
    }

    /// The longest time without an acknowledgement since then. `None`: there was none yet that ended.
    fn longest_pause(&self, since: Instant) -> Option<Duration> {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = times.partition_point(|&at| at < since).saturating_sub(1);
        times[first..].windows(2).map(|pair| pair[1] - pair[0]).max()
    }
}

impl FailoverArgs {
    pub(super) async fn run(self, format: Format) -> Result<(), Failure> {
        let directory = Directory::new(self.data_dir.clone(), "quorate-failover", false)?;
        let mut local = LocalCluster::start(directory.path(), MASTERS, 0, 1)?;
        let result = tokio::select! {
            () = process::interrupt() => Err(Failure::refused("interrupted")),
            result = self.measure(&mut local) => result,
        };
        local.stop().await;
        self.report(format, &result?)
    }

    async fn measure(&self, local: &mut LocalCluster) -> Result<Vec<Duration>, Failure> {
        let cluster = Cluster::new(&local.endpoints, PATIENCE)?;
        local.ready(&cluster).await?;
        let writes = Writes::default();
        tokio::select! {
            failure = writes.go_on(&cluster) => Err(failure),
            pauses = self.rounds(local, &cluster, &writes) => pauses,
        }
    }

    async fn rounds(
        &self,
        local: &mut LocalCluster,
        cluster: &Cluster,
        writes: &Writes,
    ) -> Result<Vec<Duration>, Failure> {
        let mut pauses = Vec::new();
        for round in 1..=self.rounds {
            let leader = all_there(local, cluster).await?;
            sleep(CALM).await;
            let gone = Instant::now();
            self.take_away(local, leader).await;
            // Long enough for the pause to end, whatever it is.
            let pause = loop {
                sleep(CALM).await;
                match writes.longest_pause(gone) {
                    Some(pause) if gone.elapsed() > pause + CALM => break pause,
                    _ => {}
                }
            };
            self.bring_back(local, leader).await?;
            eprintln!("{round:4}: node {leader} goes ({}), {:.0} ms", self.how.name(), ms(pause));
            pauses.push(pause);
        }
        Ok(pauses)
    }

    async fn take_away(&self, local: &mut LocalCluster, leader: usize) {
        let Some(master) = local.masters.get_mut(leader - 1) else { return };
        match self.how {
            How::Kill => master.kill().await,
            How::Terminate => master.signal(Signal::TERM),
            How::Freeze => master.signal(Signal::STOP),
        }
    }

    async fn bring_back(&self, local: &mut LocalCluster, leader: usize) -> Result<(), Failure> {
        let Some(master) = local.masters.get_mut(leader - 1) else { return Ok(()) };
        if self.how == How::Freeze {
            master.signal(Signal::CONT);
            return Ok(());
        }
        while self.how == How::Terminate && master.ended().is_none() {
            sleep(POLL).await;
        }
        master.start()
    }

    fn report(&self, format: Format, pauses: &[Duration]) -> Result<(), Failure> {
        let mut sorted: Vec<f64> = pauses.iter().map(|pause| ms(*pause)).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let (least, worst) =
            (sorted.first().copied().unwrap_or_default(), sorted.last().copied().unwrap_or_default());
        if format == Format::Json {
            return output::json(&json!({
                "how": self.how.name(),
                "rounds": pauses.len(),
                "median_ms": median,
                "least_ms": least,
                "worst_ms": worst,
                "pauses_ms": pauses.iter().map(|pause| ms(*pause)).collect::<Vec<_>>(),
            }));
        }
        output::line(&format!(
            "{}: no write was acknowledged for {median:.0} ms (median of {}), {least:.0} ms at least and {worst:.0} ms at most",
            self.how.name(),
            pauses.len()
        ))
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Waits until all masters are there and know the same leader, and says which it is.
async fn all_there(local: &LocalCluster, cluster: &Cluster) -> Result<usize, Failure> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut told = Vec::new();
        for endpoint in &local.endpoints {
            told.extend(cluster.status(endpoint).await.ok());
        }
        let leader = told.iter().find(|status| status.role == i32::from(pb::Role::Leader));
        if let Some(leader) = leader {
            let there = |it: &pb::StatusReply| {
                it.leader == leader.node && it.applied_index + BEHIND >= leader.commit_index
            };
            if told.len() == local.endpoints.len() && told.iter().all(there) {
                return Ok(usize::try_from(leader.node).unwrap_or(1));
            }
        }
        sleep(POLL).await;
    }
    Err(Failure::refused(format!("not all masters came back within {PATIENCE:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_begins_with_the_last_write_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let writes = Writes(Mutex::new([0, 500, 501, 502, 700, 701].map(at).to_vec()));
        assert_eq!(writes.longest_pause(at(501)), Some(Duration::from_millis(198)));
        assert_eq!(writes.longest_pause(at(600)), Some(Duration::from_millis(198)));
        assert_eq!(writes.longest_pause(at(900)), None);
    }
}
