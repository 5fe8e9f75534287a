//! `quorate snapshot`: a copy of the state outside of the cluster, and a new cluster out of it.

use super::Shared;
use crate::{
    cluster::{
        Cluster,
        storage::{
            FileDisk,
            restore::{RestoreError, RestoreOptions, restore},
            saved::{Saved, SavedError, read_saved_file},
        },
    },
    config::{
        self, identity,
        layer::{Layer, Origin},
        server::ServerRole,
        values::{parse_members, parse_number},
    },
    failure::Failure,
    output::{self, Format, records},
};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use quorate_core::{
    limits,
    types::{NodeId, StorageId},
};
use quorate_proto::v1 as pb;
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const EXAMPLES: &str = "\
Examples:
  Keep a copy of everything that is committed by now:
    quorate snapshot save backup.snapshot
  See what is in it, and whether it is whole; a master's own snapshot files can be looked at, too:
    quorate snapshot status backup.snapshot
  Make a new cluster of it, of one master or of any number; each master does that with its own --node and directory:
    quorate snapshot restore backup.snapshot --node 1 --members 1=127.0.0.1:7702/127.0.0.1:7701 --data-dir ./new-1
    quorate server --node 1 --members 1=127.0.0.1:7702/127.0.0.1:7701 --data-dir ./new-1";

/// How often it is said how far a copy has come.
const PROGRESS: Duration = Duration::from_secs(1);

/// What can be done with snapshots.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum SnapshotCommand {
    /// Write everything that is committed by now into a file
    #[command(after_help = EXAMPLES)]
    Save(SaveArgs),
    /// Check a file, and say what is in it
    #[command(after_help = EXAMPLES)]
    Status(StatusArgs),
    /// Make the data directory of one master of a new cluster that begins with what is in a file
    #[command(after_help = EXAMPLES)]
    Restore(RestoreArgs),
}

/// Where to.
#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
}

/// Which file.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// A file of `quorate snapshot save`, or a file `snapshot-...` of a data directory
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What the new master is. All masters of the new cluster name the same file, members, token and revision.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// A file of `quorate snapshot save`, or a file `snapshot-...` of a data directory
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Read node, members, token and data directory from this TOML file, as `quorate server` does [env: QUORATE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Id of this master; one of the members
    #[arg(long, visible_alias = "id", value_name = "ID")]
    node: Option<String>,
    /// All masters of the new cluster, as `quorate server` is told: 1=host:peerport/host:clientport,2=...
    #[arg(long, value_name = "LIST")]
    members: Option<String>,
    /// The token that `quorate server` is told; another one for each cluster made of one file for the same members
    #[arg(long, value_name = "TEXT")]
    cluster_token: Option<String>,
    /// Where to make it: empty, or not there
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Added to the revision, so that no revision is given again that the old cluster gave after the snapshot
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    bump_revision: u64,
}

impl SnapshotCommand {
    pub(super) fn run(self, shared: &Shared) -> Result<(), Failure> {
        match self {
            Self::Save(args) => super::block(args.run(shared), true),
            Self::Status(args) => args.run(shared.output),
            Self::Restore(args) => args.run(shared.output),
        }
    }
}

impl From<SavedError> for Failure {
    fn from(error: SavedError) -> Self {
        Self::refused(error.to_string())
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::refused(format!("{what} {}: {error}", path.display()))
}

impl SaveArgs {
    async fn run(self, shared: &Shared) -> Result<(), Failure> {
        let Self { file, overwrite } = self;
        if !overwrite && file.exists() {
            return Err(Failure::refused(format!("{} is there already", file.display()))
                .with_next("choose another name, or give --overwrite"));
        }
        let name = file.file_name().ok_or_else(|| {
            Failure::usage(format!("`{}` names no file: give the file to write", file.display()))
        })?;
        let mut part = name.to_os_string();
        part.push(".part");
        let part = file.with_file_name(part);
        let saved = match write(&shared.cluster()?, &part).await {
            // What came is believed only when it was read back.
            Ok(()) => read_saved_file(&part).map_err(|error| {
                Failure::refused(format!("the snapshot did not come whole: {error}"))
                    .with_next("try again, or ask another master with --endpoints")
            }),
            Err(failure) => Err(failure),
        };
        let saved = saved.inspect_err(|_| {
            // What is left of it is worth nothing, and the error has been told.
            let _gone = fs::remove_file(&part);
        })?;
        if !overwrite && file.exists() {
            return Err(Failure::refused(format!(
                "{} came to be while the snapshot was taken",
                file.display()
            ))
            .with_next(format!("the snapshot is in {}", part.display())));
        }
        fs::rename(&part, &file).map_err(|error| failed("rename", &part, &error))?;
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| failed("sync", directory, &error))?;
        describe(&file, &saved, shared.output)
    }
}

/// Writes what a master streams, and makes it durable.
async fn write(cluster: &Cluster, part: &Path) -> Result<(), Failure> {
    let mut parts = cluster.save_snapshot().await?;
    let failed = |what| move |error: std::io::Error| failed(what, part, &error);
    let mut out = File::create(part).map_err(failed("create"))?;
    let (mut bytes, mut told) = (0, Instant::now());
    while let Some(next) = parts.next().await {
        let data = next?.data;
        out.write_all(&data).map_err(failed("write"))?;
        bytes += data.len();
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            // Nobody is left to be told if stderr is gone.
            let _gone = writeln!(std::io::stderr().lock(), "{} MiB", bytes >> 20);
        }
    }
    out.sync_all().map_err(failed("sync"))
}

impl StatusArgs {
    fn run(self, format: Format) -> Result<(), Failure> {
        describe(&self.file, &read_saved_file(&self.file)?, format)
    }
}

fn describe(file: &Path, saved: &Saved, format: Format) -> Result<(), Failure> {
    let Saved { header, state } = saved;
    let size = fs::metadata(file).map_err(|error| failed("size of", file, &error))?.len();
    let members = state.members().map(|members| members.record().members).unwrap_or_default();
    let (executors, jobs, keys) = state.sizes();
    let (sessions, tasks) = state.sessions_and_tasks();
    let (leases, alarms) = (state.leases().count(), state.alarms().count());
    let (identity, at, revision) = (header.identity, header.at, state.revision().0);
    let hash = format!("{:032x}", state.hash().0);
    if format == Format::Json {
        let member = |it: &pb::MemberRecord| {
            json!({
                "id": it.id, "part": records::part(it.part()), "peer_address": it.peer_address,
                "client_address": it.client_address,
            })
        };
        let members: Vec<Value> = members.iter().map(member).collect();
        return output::json(&json!({
            "file": file.display().to_string(), "whole": true, "format": identity.format,
            "cluster": records::hex(identity.cluster.0), "node": identity.node.0, "index": at.index.0,
            "term": at.term.0, "revision": revision, "hash": hash, "bytes": size, "members": members,
            "keys": keys, "jobs": jobs, "tasks": tasks, "executors": executors, "leases": leases,
            "sessions": sessions, "alarms": alarms,
        }));
    }
    let member = |it: &pb::MemberRecord| {
        format!("{} ({}, {}/{})", it.id, records::part(it.part()), it.peer_address, it.client_address)
    };
    let members: Vec<String> = members.iter().map(member).collect();
    let lines = [
        format!("{}: {size} bytes, format {}, state hash {hash}", file.display(), identity.format),
        format!("cluster {}, written by node {}", records::hex(identity.cluster.0), identity.node),
        format!("index {}, term {}, revision {revision}", at.index, at.term),
        format!("{keys} keys, {jobs} jobs with {tasks} tasks, {executors} executors"),
        format!("{sessions} sessions, {leases} leases, {alarms} alarms"),
        format!("members: {}", if members.is_empty() { "none".to_owned() } else { members.join(", ") }),
        "whole".to_owned(),
    ];
    output::line(&lines.join("\n"))
}

impl RestoreArgs {
    fn layer(&self) -> Result<Layer, Failure> {
        let mut flags = Layer::default();
        let given = [
            ("node", "node", &self.node),
            ("members", "members", &self.members),
            ("cluster_token", "cluster-token", &self.cluster_token),
            ("data_dir", "data-dir", &self.data_dir),
        ];
        for (name, flag, text) in given {
            if let Some(text) = text {
                flags.set(name, text.clone(), Origin::Flag(flag));
            }
        }
        let layer = config::gather::<ServerRole>(self.config.as_deref(), flags)?;
        for (name, flag, _) in given.into_iter().filter(|(name, ..)| *name != "cluster_token") {
            if layer.get(name).is_none_or(|setting| setting.text.is_empty()) {
                return Err(Failure::usage(format!("{name} is missing: it says what the new master is"))
                    .with_next(format!("give --{flag}, as `quorate server` will be told")));
            }
        }
        Ok(layer)
    }

    fn run(self, format: Format) -> Result<(), Failure> {
        let layer = self.layer()?;
        let members = layer.read("members", Default::default(), parse_members)?;
        let node = NodeId(layer.read("node", 0, |text| parse_number(text, 1, u64::MAX))?);
        if !members.contains_key(&node) {
            let known: Vec<String> = members.keys().map(ToString::to_string).collect();
            let blame = layer.blame("node");
            return Err(Failure::usage(format!(
                "{blame}node is {node}, but the members are {}",
                known.join(", ")
            )));
        }
        if members.len() > limits::VOTERS {
            let (blame, count, most) = (layer.blame("members"), members.len(), limits::VOTERS);
            return Err(Failure::usage(format!("{blame}{count} members: there must be 1 to {most}"))
                .with_next("begin with fewer, and add learners later"));
        }
        let token = layer.read("cluster_token", String::new(), |text| Ok(text.to_owned()))?;
        let directory = layer.read("data_dir", PathBuf::new(), |text| Ok(PathBuf::from(text)))?;
        let saved = read_saved_file(&self.file)?;
        let (keys, from) = (saved.state.sizes().2, saved.header.identity.cluster);
        let options = RestoreOptions {
            node,
            configured: identity::cluster_id(&members, &token),
            storage: StorageId(identity::random_id()?),
            revisions: self.bump_revision,
        };
        let disk = FileDisk::open(&directory)?;
        let made = restore(&disk, saved, options)?;
        let revision = self.bump_revision;
        if format == Format::Json {
            return output::json(&json!({
                "data_dir": directory.display().to_string(), "cluster": records::hex(made.cluster.0), "node": node.0,
                "storage": records::hex(made.storage.0), "from": records::hex(from.0), "keys": keys,
                "bump_revision": revision,
            }));
        }
        let others = members.len() - 1;
        let rest = match others {
            0 => "start it with the same --members and --cluster-token".to_owned(),
            _ => format!(
                "do the same for the {others} other members, then start all with the same --members and --cluster-token"
            ),
        };
        output::line(&format!(
            "{}: node {node} of the new cluster {}, made of cluster {} with {keys} keys\nnext: {rest}",
            directory.display(),
            records::hex(made.cluster.0),
            records::hex(from.0),
        ))
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Open(error) => error.into(),
            RestoreError::NotEmpty { .. } | RestoreError::Write(_) | RestoreError::Inherit(_) => {
                Self::refused(error.to_string())
            }
        }
    }
}
