//! `quorate level`: what the cluster uses of the formats that its masters' programs know.

use super::{
    Shared,
    status::{Answer, ask_everybody},
};
use crate::{
    cluster::Cluster,
    failure::Failure,
    output::{self, Format, Table},
};
use clap::{Args, Subcommand};
use quorate_proto::v1 as pb;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const EXAMPLES: &str = "\
A cluster is at the newest feature level that the programs of all its masters know. Upgrade the masters one by one, in any order; when the last \
one runs the newer version, the level rises by itself. Until then each of them may go back.

Examples:
  See the level, and what each master's program knows and its data needs:
    quorate level show
  Keep it, before an upgrade that is to be tried first:
    quorate level hold 1
  Go back, after it has risen; then replace the programs one by one:
    quorate level hold 1
  Let it rise again:
    quorate level release";

/// Between two looks at whether the masters have followed.
const LOOK: Duration = Duration::from_millis(200);

/// What can be asked about the feature level.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum LevelCommand {
    /// Show the level, and what each master's program knows and its data needs
    #[command(after_help = EXAMPLES)]
    Show,
    /// Keep the cluster at this level or below, and wait, up to --timeout, until every master's data needs no more
    #[command(after_help = EXAMPLES)]
    Hold(Level),
    /// Let the level rise as far as the programs of all masters can
    #[command(after_help = EXAMPLES)]
    Release,
}

/// A level.
#[derive(Debug, Args)]
pub(super) struct Level {
    /// The feature level
    #[arg(value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..))]
    level: u32,
}

impl LevelCommand {
    pub(super) async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let cluster = shared.cluster()?;
        match self {
            Self::Show => {}
            Self::Hold(Level { level }) => {
                cluster.hold_level(Some(level)).await?;
                return followed(&cluster, shared, level).await;
            }
            Self::Release => _ = cluster.hold_level(None).await?,
        }
        let most = cluster.level().await?.most;
        print(most, &ask_everybody(&cluster).await, shared.output)
    }
}

/// Waits until every master's data can be read at a level.
async fn followed(cluster: &Cluster, shared: &Shared, level: u32) -> Result<(), Failure> {
    let until = Instant::now() + shared.timeout;
    let mut held_by = None;
    loop {
        let behind = match cluster.members().await {
            Ok(reply) => {
                let answers = ask_everybody(cluster).await;
                match behind(&reply.members, &answers, level, &mut held_by) {
                    None => return print(level, &answers, shared.output),
                    Some(behind) => behind,
                }
            }
            Err(failure) => format!("nobody says who the masters are ({})", failure.message),
        };
        if Instant::now() >= until {
            return Err(Failure::refused(format!("the cluster is held at level {level}, but {behind}"))
                .with_next(
                    "give it time or mend it, and run the same command again, before any program is replaced",
                ));
        }
        sleep(LOOK).await;
    }
}

/// Who of the members has not followed yet. `held_by`: an entry behind the one that holds the level; who has not carried that out
/// may have entries of a higher level before it.
fn behind(
    members: &[pb::Member],
    answers: &[Answer],
    level: u32,
    held_by: &mut Option<u64>,
) -> Option<String> {
    let status = |id: u64| {
        answers.iter().find_map(|answer| answer.status.as_ref().ok().filter(|status| status.node == id))
    };
    if let Some(silent) = members.iter().find(|member| status(member.id).is_none()) {
        return Some(format!("master {} at {} does not answer", silent.id, silent.client_address));
    }
    let all = || members.iter().filter_map(|member| status(member.id));
    let held_by = *held_by.get_or_insert_with(|| all().map(|it| it.applied_index).max().unwrap_or(0));
    let late =
        all().find(|it| it.applied_index < held_by || it.feature_level > level || it.data_level > level)?;
    Some(format!(
        "master {} is at level {}, its data needs level {}, and it has applied {} of {held_by}",
        late.node,
        late.feature_level,
        late.data_level.max(late.feature_level),
        late.applied_index
    ))
}

fn print(most: u32, answers: &[Answer], format: Format) -> Result<(), Failure> {
    let statuses = || answers.iter().filter_map(|answer| answer.status.as_ref().ok());
    let level = statuses().map(|status| status.feature_level).max().unwrap_or(0);
    if format == Format::Json {
        let masters: Vec<Value> = answers.iter().map(to_json).collect();
        return output::json(
            &json!({ "level": level, "held_at": (most > 0).then_some(most), "masters": masters }),
        );
    }
    let may = if most == 0 { "it may rise".to_owned() } else { format!("held at {most}") };
    output::line(&format!("The cluster is at feature level {level}; {may}."))?;
    let mut table = Table::new(["NODE", "ENDPOINT", "VERSION", "LEVEL", "PROGRAM KNOWS", "DATA NEEDS"]);
    for answer in answers {
        table.row(match &answer.status {
            Ok(status) => row(&answer.endpoint, status),
            Err(failure) => {
                let dash = || "-".to_owned();
                [dash(), answer.endpoint.clone(), failure.message.clone(), dash(), dash(), dash()]
            }
        });
    }
    table.print()
}

fn row(endpoint: &str, status: &pb::StatusReply) -> [String; 6] {
    [
        status.node.to_string(),
        endpoint.to_owned(),
        status.version.clone(),
        status.feature_level.to_string(),
        status.program_level.to_string(),
        status.data_level.to_string(),
    ]
}

fn to_json(answer: &Answer) -> Value {
    match &answer.status {
        Ok(status) => json!({
            "node": status.node, "endpoint": answer.endpoint, "version": status.version,
            "level": status.feature_level, "program_level": status.program_level,
            "data_level": status.data_level,
        }),
        Err(failure) => json!({ "endpoint": answer.endpoint, "error": failure.message }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64) -> pb::Member {
        pb::Member { id, client_address: format!("h{id}:1"), ..pb::Member::default() }
    }

    fn answer(node: u64, applied_index: u64, feature_level: u32, data_level: u32) -> Answer {
        let status = pb::StatusReply { node, applied_index, feature_level, data_level, ..Default::default() };
        Answer { endpoint: format!("h{node}:1"), status: Ok(status) }
    }

    #[test]
    fn a_level_is_held_when_every_member_has_carried_it_out_and_needs_no_more() {
        let members = [member(1), member(2)];
        let mut held_by = None;
        // The second has not heard yet that the level rose, and says what was before.
        let lags = [answer(1, 30, 1, 1), answer(2, 8, 1, 1)];
        let said = behind(&members, &lags, 1, &mut held_by).unwrap_or_default();
        assert!(said.contains("master 2") && said.contains("applied 8 of 30"), "{said}");
        let needs = [answer(1, 31, 1, 1), answer(2, 31, 1, 2)];
        assert!(behind(&members, &needs, 1, &mut held_by).is_some_and(|said| said.contains("needs level 2")));
        let silent = [answer(1, 31, 1, 1)];
        assert!(behind(&members, &silent, 1, &mut held_by).is_some_and(|said| said.contains("h2:1")));
        // Whoever is no member does not matter.
        let all = [answer(1, 31, 1, 1), answer(2, 30, 1, 1), answer(9, 3, 2, 2)];
        assert_eq!((behind(&members, &all, 1, &mut held_by), held_by), (None, Some(30)));
    }
}
