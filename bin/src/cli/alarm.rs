//! `quorate alarm`: what keeps the cluster from taking more data, or a master from serving.

use super::Shared;
use crate::{
    failure::Failure,
    output::{self, Format, Table},
};
use clap::{Args, Subcommand};
use quorate_proto::v1 as pb;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
While there is an alarm of the kind `space`, the cluster takes no put, no compare-and-set and no job. Reads, deletes and all
that runs go on. One of the kind `differs` names a master that serves nothing: replace it (`quorate member replace`).

Examples:
  See what is wrong, and where:
    quorate alarm list
  There is room again, everywhere:
    quorate alarm disarm
  There is room again on master 2:
    quorate alarm disarm 2";

/// What can be asked about alarms.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum AlarmCommand {
    /// List the alarms
    #[command(after_help = EXAMPLES)]
    List,
    /// Take alarms back, once what they say is mended; a master that still has no room raises its own again
    #[command(after_help = EXAMPLES)]
    Disarm(Which),
}

/// Whose alarm.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Id of the master; without it, all of them
    #[arg(value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: Option<u64>,
}

impl AlarmCommand {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let cluster = shared.cluster()?;
        let alarms = match self {
            Self::List => cluster.alarms().await?,
            Self::Disarm(which) => cluster.disarm_alarm(which.id).await?,
        };
        print(&alarms, shared.output)
    }
}

const fn kind(alarm: &pb::Alarm) -> &'static str {
    match alarm.kind {
        1 => "space",
        2 => "differs",
        _ => "unknown",
    }
}

fn print(alarms: &[pb::Alarm], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        let json = |alarm: &pb::Alarm| {
            json!({
                "node": alarm.node, "kind": kind(alarm), "message": alarm.message,
                "raised_wall_ms": alarm.raised_wall_ms, "index": alarm.index,
            })
        };
        let alarms: Vec<Value> = alarms.iter().map(json).collect();
        return output::json(&json!({ "alarms": alarms }));
    }
    let mut table = Table::new(["NODE", "KIND", "MESSAGE"]);
    for alarm in alarms {
        table.row([alarm.node.to_string(), kind(alarm).to_owned(), alarm.message.clone()]);
    }
    table.print()
}
