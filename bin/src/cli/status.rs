//! `quorate status`: what each master says of itself.

use super::Shared;
use crate::{
    cluster::Cluster,
    failure::{Failure, Kind},
    output::{self, Format, Table, records},
};
use clap::Args;
use futures::future::join_all;
use quorate_proto::v1 as pb;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  See who leads, how far each master is, and what is wrong:
    quorate status
  Ask one master only, for a script:
    quorate status --only -o json --endpoints 127.0.0.1:7701";

/// Shows what each master says of itself, from its own state.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Ask the named endpoints only, not every master that they know
    #[arg(long)]
    only: bool,
}

/// What one endpoint says.
pub(super) struct Answer {
    pub(super) endpoint: String,
    pub(super) status: Result<pb::StatusReply, Failure>,
}

/// What the named endpoints say, and the other masters that they know; in the order of their ids.
pub(super) async fn ask_everybody(cluster: &Cluster) -> Vec<Answer> {
    let named = cluster.endpoints();
    let mut answers = ask(cluster, named.clone()).await;
    if answers.iter().all(|answer| answer.status.is_err()) {
        return answers;
    }
    let others = cluster.members().await.map(|reply| reply.members).unwrap_or_default();
    let known =
        |id| answers.iter().any(|answer| answer.status.as_ref().is_ok_and(|status| status.node == id));
    let others = others.into_iter().filter(|member| !known(member.id)).map(|member| member.client_address);
    let others = others.filter(|address| !named.contains(address)).collect();
    answers.extend(ask(cluster, others).await);
    answers.sort_by_key(|answer| answer.status.as_ref().map_or(u64::MAX, |status| status.node));
    answers
}

impl StatusArgs {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let cluster = shared.cluster()?;
        let answers = if self.only {
            let mut answers = ask(&cluster, cluster.endpoints()).await;
            answers.sort_by_key(|answer| answer.status.as_ref().map_or(u64::MAX, |status| status.node));
            answers
        } else {
            ask_everybody(&cluster).await
        };
        let reached = answers.iter().any(|answer| answer.status.is_ok());
        if shared.output == Format::Json {
            output::json(&json!({ "masters": answers.iter().map(to_json).collect::<Vec<Value>>() }))?;
        } else {
            to_table(&answers)?;
        }
        match answers.into_iter().find_map(|answer| answer.status.err()).filter(|_| !reached) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

async fn ask(cluster: &Cluster, endpoints: Vec<String>) -> Vec<Answer> {
    join_all(endpoints.into_iter().map(async |endpoint| {
        let status = cluster.status(&endpoint).await;
        Answer { endpoint, status }
    }))
    .await
}

fn to_json(answer: &Answer) -> Value {
    match &answer.status {
        Ok(status) => records::status(&answer.endpoint, status),
        Err(failure) => {
            json!({ "endpoint": answer.endpoint, "error": failure.message, "kind": failure.kind.name() })
        }
    }
}

fn to_table(answers: &[Answer]) -> Result<(), Failure> {
    let mut table = Table::new([
        "NODE",
        "ENDPOINT",
        "ROLE",
        "TERM",
        "LEADER",
        "COMMIT",
        "APPLIED",
        "EXECUTORS",
        "JOBS",
        "KEYS",
        "ALARMS",
    ]);
    for answer in answers {
        let endpoint = answer.endpoint.clone();
        match &answer.status {
            Ok(status) => table.row([
                status.node.to_string(),
                endpoint,
                records::role(status.role).to_owned(),
                status.term.to_string(),
                if status.leader == 0 { "none".to_owned() } else { status.leader.to_string() },
                status.commit_index.to_string(),
                status.applied_index.to_string(),
                status.executors.to_string(),
                status.jobs.to_string(),
                status.keys.to_string(),
                status.alarms.join("; "),
            ]),
            Err(failure) => {
                let word = if failure.kind == Kind::Unreachable { "unreachable" } else { "failed" };
                let dash = || "-".to_owned();
                let (node, role, message) = (dash(), word.to_owned(), failure.message.clone());
                table.row([
                    node,
                    endpoint,
                    role,
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    dash(),
                    message,
                ]);
            }
        }
    }
    table.print()
}
