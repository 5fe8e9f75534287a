//! `quorate executor`: the fleet.

use super::Shared;
use crate::{
    cluster::Cluster,
    failure::Failure,
    output::{self, Format, Table, records},
};
use clap::Subcommand;
use quorate_proto::v1 as pb;
use serde_json::{Value, json};

/// Executors asked for at a time.
const PAGE: u32 = 1_000;
const EXAMPLES: &str = "\
Examples:
  See which executors are registered, and how busy they are:
    quorate executor list
  See what executor 2 runs:
    quorate executor show 2
  Take executor 2 out; its tasks move once it has certainly stopped them:
    quorate executor remove 2";

/// What can be asked about executors.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum ExecutorCommand {
    /// List the executors and how busy they are
    #[command(after_help = EXAMPLES)]
    List,
    /// Show one executor and the attempts that it holds
    #[command(after_help = EXAMPLES)]
    Show {
        /// Id of the executor
        #[arg(value_name = "ID")]
        executor: u64,
    },
    /// Take an executor out: it stops its work, and its tasks move after lease and grace
    #[command(after_help = EXAMPLES)]
    Remove {
        /// Id of the executor
        #[arg(value_name = "ID")]
        executor: u64,
    },
}

impl ExecutorCommand {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let cluster = shared.cluster()?;
        match self {
            Self::List => list(&cluster, shared.output).await,
            Self::Show { executor } => show(&cluster.get_executor(executor).await?, shared.output),
            Self::Remove { executor } => {
                cluster.remove_executor(executor).await?;
                match shared.output {
                    Format::Table => output::line(&format!("executor {executor} is being removed")),
                    Format::Json => output::json(&json!({ "executor": executor, "removed": true })),
                }
            }
        }
    }
}

/// Every executor, page by page.
///
/// # Errors
/// As the cluster answers.
pub(crate) async fn all(cluster: &Cluster) -> Result<Vec<pb::ExecutorStatus>, Failure> {
    let mut executors: Vec<pb::ExecutorStatus> = Vec::new();
    loop {
        let last =
            executors.last().and_then(|status| status.executor.as_ref()).map_or(0, |executor| executor.id);
        let reply = cluster.list_executors(last, PAGE).await?;
        let empty = reply.executors.is_empty();
        executors.extend(reply.executors);
        if empty || !reply.more {
            return Ok(executors);
        }
    }
}

async fn list(cluster: &Cluster, format: Format) -> Result<(), Failure> {
    let executors = all(cluster).await?;
    if format == Format::Json {
        return output::json(
            &json!({ "executors": executors.iter().map(records::executor).collect::<Vec<Value>>() }),
        );
    }
    let mut table = Table::new(["ID", "NAME", "ADDRESS", "SLOTS", "USED", "LABELS"]);
    for status in executors {
        let executor = status.executor.unwrap_or_default();
        let labels: Vec<String> =
            executor.labels.iter().map(|pair| format!("{}={}", pair.name, pair.value)).collect();
        table.row([
            executor.id.to_string(),
            executor.name,
            executor.address,
            executor.slots.to_string(),
            status.slots_used.to_string(),
            labels.join(","),
        ]);
    }
    table.print()
}

fn show(status: &pb::ExecutorStatus, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::json(&records::executor(status));
    }
    let executor = status.executor.clone().unwrap_or_default();
    output::line(&format!(
        "executor {} ({}) at {}: {} of {} slots used",
        executor.id, executor.name, executor.address, status.slots_used, executor.slots
    ))?;
    if status.attempts.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["JOB", "TASK", "EPOCH"]);
    for key in &status.attempts {
        table.row([key.job.clone(), key.number.to_string(), key.epoch.to_string()]);
    }
    table.print()
}
