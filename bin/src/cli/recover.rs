//! `quorate recover`: a cluster of one out of a master that outlived the others.

use crate::{
    cluster::storage::{
        Disk, FileDisk, Identity, OpenError, differs, heir,
        survivor::{Survivor, SurvivorError, examine},
    },
    config::identity::random_id,
    failure::Failure,
    output::{self, Format, records},
};
use clap::Args;
use quorate_core::{state, types::StorageId};
use quorate_proto::v1 as pb;
use serde_json::{Value, json};
use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

const EXAMPLES: &str = "\
Only when a majority of the masters is lost for good. As long as one of them can come back, mend that one instead: what only \
the lost masters held is lost for ever with this.

Examples:
  See what a master holds, and compare it with other survivors: take the highest term, and of those the highest index:
    quorate recover --data-dir ./master-1 --node 1 --dry-run
  Make it a cluster of one, whose members can be added anew:
    quorate recover --data-dir ./master-1 --node 1 --force-new-cluster
  Then start it as before, and let it grow:
    quorate member add 2 --peer 127.0.0.1:7712 --client 127.0.0.1:7711
    quorate server --node 2 --join 127.0.0.1:7701 --data-dir ./new-2
    quorate member promote 2";

/// Makes a master whose cluster has lost its majority for good a cluster of one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RecoverArgs {
    /// Data directory of a master that does not run
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: PathBuf,
    /// Id of the master whose directory it is
    #[arg(long, visible_alias = "id", value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    node: u64,
    /// Go on without the others, for good
    #[arg(long)]
    force_new_cluster: bool,
    /// Only say what is there, and what would be lost
    #[arg(long, visible_alias = "show")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Take it although it does not vote, was removed, or was given up: when no other directory is left
    #[arg(long)]
    not_a_voter: bool,
}

impl From<SurvivorError> for Failure {
    fn from(error: SurvivorError) -> Self {
        let next = match &error {
            SurvivorError::Open(OpenError::Corrupt { .. }) => {
                "`quorate wal verify` names all that is wrong; take another survivor, or restore a snapshot: a log that is damaged \
                 does not say what it lacks"
            }
            SurvivorError::Open(OpenError::Locked { .. }) => {
                "stop the master first; if it runs and others answer, nothing is lost yet"
            }
            SurvivorError::Open(OpenError::Differs { .. }) => {
                "take another survivor; if none is left, remove that file, and know that what it holds may be wrong"
            }
            SurvivorError::Unfit(unfit) if unfit.may_insist() => {
                "take the directory of a voter; if none is left, give --not-a-voter"
            }
            _ => return Self::refused(error.to_string()),
        };
        Self::refused(error.to_string()).with_next(next)
    }
}

impl RecoverArgs {
    pub(super) fn run(self, format: Format) -> Result<(), Failure> {
        if !self.force_new_cluster && !self.dry_run {
            let message = "--force-new-cluster is missing: without it, a cluster is never given up";
            return Err(Failure::usage(message).with_next("give --dry-run to see what would be lost"));
        }
        let disk: Arc<dyn Disk> = Arc::new(FileDisk::existing(&self.data_dir).map_err(SurvivorError::from)?);
        if !self.dry_run && heir::finish(&*disk).map_err(SurvivorError::from)? {
            return self.finished(&*disk, format);
        }
        let survivor = examine(&disk)?;
        let found = survivor.identity.node.0;
        if found != self.node {
            return Err(Failure::refused(format!(
                "--node is {}, but {} is the directory of node {found}",
                self.node,
                self.data_dir.display()
            ))
            .with_next("correct one of both"));
        }
        if self.dry_run {
            return self.report(&survivor, None, format);
        }
        if let Err(unfit) = survivor.check()
            && !(self.not_a_voter && unfit.may_insist())
        {
            return Err(SurvivorError::Unfit(unfit).into());
        }
        differs::check(&*disk).map_err(SurvivorError::from)?;
        self.confirm(&survivor, format)?;
        let storage = StorageId(random_id()?);
        let made = survivor.clone().recover(&*disk, storage, self.not_a_voter)?;
        self.report(&survivor, Some(made), format)
    }

    /// A call before this one was cut off when all was decided.
    fn finished(&self, disk: &dyn Disk, format: Format) -> Result<(), Failure> {
        let made = Identity::load(disk)?.ok_or_else(|| Failure::refused("the directory is of nobody"))?;
        let (cluster, node) = (records::hex(made.cluster.0), made.node);
        match format {
            Format::Json => output::json(
                &json!({ "node": node.0, "recovered": { "cluster": cluster, "finished": true } }),
            ),
            Format::Table => output::line(&format!(
                "{}: what was cut off is done: node {node} is of the new cluster {cluster}",
                self.data_dir.display()
            )),
        }
    }

    /// Goes on only with a yes.
    fn confirm(&self, survivor: &Survivor, format: Format) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let refused = |why: &str| {
            Err(Failure::refused(format!("{why}: nothing was changed"))
                .with_next("`--dry-run` shows what would be lost; --yes goes on without a question"))
        };
        if format == Format::Json || !std::io::stdin().is_terminal() {
            return refused("this cannot be undone, and nobody said yes");
        }
        let text = describe(&self.data_dir, survivor).join("\n");
        // Nobody answers if stderr is gone.
        let _gone = write!(std::io::stderr().lock(), "{text}\n\nThis cannot be undone. Type yes to go on: ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() == "yes" { Ok(()) } else { refused("the answer was not yes") }
    }

    fn report(&self, survivor: &Survivor, made: Option<Identity>, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            return output::json(&as_json(survivor, made));
        }
        let mut lines = describe(&self.data_dir, survivor);
        match made {
            Some(made) => {
                let (node, cluster) = (made.node, records::hex(made.cluster.0));
                lines.push(format!("done: node {node} is the only member of the new cluster {cluster}"));
                lines.push(
                    "next: start it as before, with the settings that it had; what belongs to the old cluster is refused \
                     from now on"
                        .to_owned(),
                );
                if !survivor.knows_own_address() {
                    lines.push(format!(
                        "then say where it is: quorate member update {node} --peer HOST:PORT --client HOST:PORT"
                    ));
                }
            }
            None => lines.push("nothing was changed".to_owned()),
        }
        output::line(&lines.join("\n"))
    }
}

fn member(record: &pb::MemberRecord) -> String {
    format!("{} ({}, {})", record.id, records::part(record.part()), record.peer_address)
}

/// What a survivor holds, and what may be lost, line by line.
fn describe(directory: &Path, survivor: &Survivor) -> Vec<String> {
    let Survivor { identity, held, snapshot, torn, .. } = survivor;
    let state::Survivor { hard_state, last, state, .. } = held;
    let (executors, jobs, keys) = state.sizes();
    let commit = hard_state.commit;
    let open = last.index.0.saturating_sub(commit.0);
    let forgotten: Vec<String> = survivor.forgotten().iter().map(member).collect();
    let snapshot =
        snapshot.map_or_else(|| "none".to_owned(), |at| format!("index {}, term {}", at.index, at.term));
    let mut lines = vec![
        format!(
            "{}: node {} of cluster {}",
            directory.display(),
            identity.node,
            records::hex(identity.cluster.0)
        ),
        format!("last entry: term {}, index {}; it has seen term {}", last.term, last.index, hard_state.term),
        format!(
            "known to be committed: index {commit}; the {open} entries behind it may have been acknowledged, and are kept"
        ),
        format!("newest snapshot: {snapshot}"),
        format!("holds: revision {}, {keys} keys, {jobs} jobs, {executors} executors", state.revision().0),
        format!(
            "forgets: members {}",
            if forgotten.is_empty() { "none".to_owned() } else { forgotten.join(", ") }
        ),
        format!(
            "lost: whatever other members acknowledged behind index {}, and what executors run: it starts anew",
            last.index
        ),
    ];
    lines.extend(
        torn.iter().map(|torn| {
            format!("torn: {} from byte {} on, which a start passes over", torn.file, torn.offset)
        }),
    );
    lines.extend(survivor.check().err().map(|unfit| format!("unfit: {unfit}")));
    lines.extend(survivor.differs.as_ref().map(|said| format!("unfit: its file `differs` says: {said}")));
    lines
}

fn as_json(survivor: &Survivor, made: Option<Identity>) -> Value {
    let Survivor { identity, held, snapshot, torn, .. } = survivor;
    let state::Survivor { hard_state, last, state, .. } = held;
    let (executors, jobs, keys) = state.sizes();
    let member = |it: &pb::MemberRecord| {
        json!({
            "id": it.id, "part": records::part(it.part()), "peer_address": it.peer_address,
            "client_address": it.client_address,
        })
    };
    let forgotten: Vec<Value> = survivor.forgotten().iter().map(member).collect();
    json!({
        "node": identity.node.0, "cluster": records::hex(identity.cluster.0), "term": hard_state.term.0,
        "last_term": last.term.0, "last_index": last.index.0, "commit": hard_state.commit.0,
        "snapshot": snapshot.map(|at| json!({ "index": at.index.0, "term": at.term.0 })),
        "revision": state.revision().0, "keys": keys, "jobs": jobs, "executors": executors, "forgets": forgotten,
        "torn": torn.len(), "unfit": survivor.check().err().map(|unfit| unfit.to_string()), "differs": survivor.differs,
        "recovered": made.map(|made| json!({
            "cluster": records::hex(made.cluster.0), "storage": records::hex(made.storage.0),
        })),
    })
}
