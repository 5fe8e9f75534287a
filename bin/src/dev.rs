//! `quorate dev`: a cluster to play with.

use crate::{
    cluster::Cluster,
    failure::Failure,
    local::{Directory, LocalCluster, Process},
    output::{self, Format},
    process,
};
use clap::Args;
use serde_json::json;
use std::{io::Write as _, path::PathBuf, time::Duration};
use tokio::time::{Instant, sleep};

/// A child that ended is started again after so long, so that there is something to see.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// A child that ends within so long after its start ...
const QUICK: Duration = Duration::from_secs(5);
/// ... so many times in a row is not started again.
const QUICK_ENDS: u32 = 3;
const POLL: Duration = Duration::from_millis(200);
const MASTERS: u64 = 3;
const EXAMPLES: &str = "\
Examples:
  Start a cluster that is gone after Ctrl-C:
    quorate dev
  Start one that keeps its data, and its ports, for the next time:
    quorate dev --data-dir ./dev
  Use it from another terminal, with the line that dev prints:
    export QUORATE_ENDPOINTS=...
    quorate status";

/// Runs three masters and some executors on loopback until Ctrl-C. A process that is killed is started again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DevArgs {
    /// Keep the data here; without it, in a temporary directory that is removed at the end
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Number of executors
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=20))]
    agents: u64,
    /// Slots of each executor
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    slots: u32,
}

/// Runs the cluster until SIGINT or SIGTERM.
///
/// # Errors
/// If the cluster does not come up.
pub(crate) async fn run(args: DevArgs, format: Format) -> Result<(), Failure> {
    let directory = Directory::new(args.data_dir.clone(), "quorate-dev", false)?;
    let mut local = LocalCluster::start(directory.path(), MASTERS, args.agents, args.slots)?;
    let result = tokio::select! {
        () = process::interrupt() => Ok(()),
        result = serve(&mut local, &directory, &args, format) => result,
    };
    local.stop().await;
    result
}

async fn serve(
    local: &mut LocalCluster,
    directory: &Directory,
    args: &DevArgs,
    format: Format,
) -> Result<(), Failure> {
    let cluster = Cluster::new(&local.endpoints, QUICK)?;
    local.ready(&cluster).await?;
    announce(local, directory, args, format)?;
    let mut nurses: Vec<Nurse> = local.processes().map(|_| Nurse::default()).collect();
    loop {
        sleep(POLL).await;
        for (process, nurse) in local.processes().zip(&mut nurses) {
            nurse.look(process)?;
        }
    }
}

fn announce(
    local: &LocalCluster,
    directory: &Directory,
    args: &DevArgs,
    format: Format,
) -> Result<(), Failure> {
    let endpoints = local.endpoints.join(",");
    if format == Format::Json {
        let path = directory.path().to_string_lossy();
        let value = json!({ "ready": true, "endpoints": local.endpoints, "executors": args.agents, "data_dir": path });
        return output::line(&value.to_string());
    }
    let fate = if directory.is_kept() { "kept" } else { "removed at the end" };
    output::line(&format!("masters:   {}", local.endpoints.join("  ")))?;
    output::line(&format!("executors: {} with {} slots each", args.agents, args.slots))?;
    output::line(&format!("data:      {} ({fate}), with a log of each process", directory.path().display()))?;
    output::line(&format!("ready; in another terminal: export QUORATE_ENDPOINTS={endpoints}"))?;
    output::line("Ctrl-C ends it")
}

/// Starts one process again when it has ended.
#[derive(Debug)]
struct Nurse {
    started: Instant,
    restart_at: Option<Instant>,
    quick_ends: u32,
}

impl Default for Nurse {
    fn default() -> Self {
        Self { started: Instant::now(), restart_at: None, quick_ends: 0 }
    }
}

impl Nurse {
    fn look(&mut self, process: &mut Process) -> Result<(), Failure> {
        if let Some(end) = process.ended() {
            self.quick_ends = if self.started.elapsed() < QUICK { self.quick_ends + 1 } else { 0 };
            let fate =
                if self.quick_ends < QUICK_ENDS { "it is started again" } else { "it is not started again" };
            // Only a note: the cluster goes on without stderr.
            let _gone = writeln!(std::io::stderr(), "{end}\n{fate}");
            self.restart_at = (self.quick_ends < QUICK_ENDS).then(|| Instant::now() + RESTART_AFTER);
        }
        if self.restart_at.is_some_and(|at| Instant::now() >= at) {
            process.start()?;
            *self = Self { quick_ends: self.quick_ends, ..Self::default() };
        }
        Ok(())
    }
}
