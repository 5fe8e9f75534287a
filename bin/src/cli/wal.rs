//! `quorate wal`: looking into the data directory of a master that does not run.

use crate::{
    cluster::storage::{
        Disk, FileDisk, OpenError, Report,
        inspect::{self, Line},
        recovery::Torn,
    },
    failure::Failure,
    output::{self, Format, records::hex},
};
use clap::{Args, Subcommand};
use quorate_core::{codec, types::Index};
use serde_json::{Value, json};
use std::{path::PathBuf, sync::Arc};

const EXAMPLES: &str = "\
The master must not run: its directory is locked as long as it does.

Examples:
  Is everything in this directory as it was written?
    quorate wal verify --data-dir ./master-1
  Print the entries 100 to 120 of its log:
    quorate wal dump --data-dir ./master-1 --from 100 --to 120
  See what a crash left behind the log, and cut it off:
    quorate wal repair --data-dir ./master-1 --dry-run
    quorate wal repair --data-dir ./master-1

Exit codes of verify and repair:
  0  whole, or with a torn tail: a start passes over it
  1  damaged, in use, or no data directory of a master";

/// What can be asked about a data directory.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum WalCommand {
    /// Print each record of the log on a line
    #[command(after_help = EXAMPLES)]
    Dump(DumpArgs),
    /// Read everything, and say whether it is whole, torn at its end, or damaged
    #[command(after_help = EXAMPLES)]
    Verify(Place),
    /// Cut off what a crash left behind the log; damage is refused
    #[command(after_help = EXAMPLES)]
    Repair(RepairArgs),
}

/// Which directory.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Data directory of a master that does not run
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// What is printed.
#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    place: Place,
    /// Only entries from this index on
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Only entries up to this index
    #[arg(long, value_name = "INDEX")]
    to: Option<u64>,
}

/// What is mended.
#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    #[command(flatten)]
    place: Place,
    /// Only say what would be cut off
    #[arg(long)]
    dry_run: bool,
}

impl WalCommand {
    pub(super) fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Self::Dump(args) => args.run(format),
            Self::Verify(place) => place.verify(format),
            Self::Repair(args) => args.run(format),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let next = match &error {
            OpenError::Corrupt { .. } => {
                "nothing here mends it: move the directory away, then `quorate member replace ID`, and start \
                 the master with --join and an empty directory; it gets everything from the others"
            }
            OpenError::Locked { .. } => "stop the master that uses it, or look at a copy of it",
            _ => return Self::refused(error.to_string()),
        };
        Self::refused(error.to_string()).with_next(next)
    }
}

impl Place {
    fn open(&self) -> Result<Arc<dyn Disk>, Failure> {
        Ok(Arc::new(FileDisk::existing(&self.data_dir)?))
    }

    fn verify(&self, format: Format) -> Result<(), Failure> {
        let report = inspect::verify(self.open()?)?;
        print_report(&report, format)?;
        match report.damage() {
            None => Ok(()),
            Some(damage) => Err(Failure::refused(format!("a snapshot is damaged: {damage}")).with_next(
                "start the master: it begins with one that is whole, and with its log, and writes another one in the \
                     place of this one",
            )),
        }
    }
}

impl DumpArgs {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let (from, to) = (self.from.unwrap_or(0), self.to.unwrap_or(u64::MAX));
        if from > to {
            return Err(Failure::usage(format!(
                "--from is {from}, and --to is {to}: the first must not be the greater"
            )));
        }
        let all = self.from.is_none() && self.to.is_none();
        let only = (!all).then_some(Index(from)..=Index(to));
        let disk = self.place.open()?;
        inspect::dump(&*disk, only, |line| match format {
            Format::Json => output::line(&as_json(&line).to_string()),
            Format::Table => output::line(&as_text(&line)),
        })
    }
}

/// The command that an entry holds, by its name.
fn command(line: &Line) -> Option<String> {
    let data = line.data.as_ref()?;
    if data.is_empty() {
        return Some("(first of a term)".to_owned());
    }
    let Ok(proposal) = codec::decode(data) else { return Some("(not known)".to_owned()) };
    let text = format!("{:?}", proposal.command);
    Some(text.chars().take_while(char::is_ascii_alphanumeric).collect())
}

fn as_text(line: &Line) -> String {
    let Line { file, offset, size, kind, .. } = line;
    let index = line.index.map_or_else(|| "-".to_owned(), |index| index.to_string());
    let term = line.term.map_or_else(|| "-".to_owned(), |term| term.to_string());
    let rest = command(line).unwrap_or_else(|| line.text.clone());
    format!("{file}  offset {offset}  size {size}  {kind}  index {index}  term {term}  {rest}")
        .trim_end()
        .to_owned()
}

fn as_json(line: &Line) -> Value {
    json!({
        "file": line.file, "offset": line.offset, "size": line.size, "kind": line.kind,
        "index": line.index.map(|index| index.0), "term": line.term.map(|term| term.0),
        "command": command(line), "text": line.text,
    })
}

fn torn_json(torn: &[Torn]) -> Vec<Value> {
    torn.iter().map(|torn| json!({ "file": torn.file, "offset": torn.offset })).collect()
}

fn print_report(report: &Report, format: Format) -> Result<(), Failure> {
    let Report { identity, hard_state, log, segments, torn, snapshots } = report;
    let state = match report.damage() {
        Some(_) => "damaged",
        None if torn.is_empty() => "whole",
        None => "torn",
    };
    if format == Format::Json {
        let snapshots: Vec<Value> = snapshots
            .iter()
            .map(|snapshot| {
                json!({
                    "index": snapshot.at.index.0, "term": snapshot.at.term.0,
                    "hash": snapshot.hash.map(|hash| format!("{hash:032x}")), "damage": snapshot.damage,
                })
            })
            .collect();
        return output::json(&json!({
            "state": state, "cluster": hex(identity.cluster.0), "node": identity.node.0,
            "storage": hex(identity.storage.0), "format": identity.format, "term": hard_state.term.0,
            "vote": hard_state.vote.map(|node| node.0), "commit": hard_state.commit.0,
            "first": log.0.index.0 + 1, "last": log.1.index.0, "segments": segments,
            "torn": torn_json(torn), "snapshots": snapshots,
        }));
    }
    let mut lines = vec![
        format!("cluster {}, node {}, format {}", hex(identity.cluster.0), identity.node, identity.format),
        format!(
            "log: entries {} to {} in {} segments, term {}, committed {}",
            log.0.index.next(),
            log.1.index,
            segments.len(),
            hard_state.term,
            hard_state.commit
        ),
    ];
    for snapshot in snapshots {
        let hash = snapshot.hash.map_or_else(|| "none".to_owned(), |hash| format!("{hash:032x}"));
        let state = snapshot.damage.as_ref().map_or("whole", |_| "DAMAGED");
        lines.push(format!(
            "snapshot up to entry {} of term {}: {state}, state hash {hash}",
            snapshot.at.index, snapshot.at.term
        ));
    }
    lines.extend(torn.iter().map(|torn| {
        format!("torn tail: {} from byte {} on; a start passes over it", torn.file, torn.offset)
    }));
    lines.push(state.to_owned());
    output::line(&lines.join("\n"))
}

impl RepairArgs {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let disk = self.place.open()?;
        let torn = inspect::repair(&disk, self.dry_run)?;
        if format == Format::Json {
            return output::json(&json!({ "dry_run": self.dry_run, "cut": torn_json(&torn) }));
        }
        if torn.is_empty() {
            return output::line("there is nothing to cut off");
        }
        let what = if self.dry_run { "would cut" } else { "cut" };
        let text: Vec<String> = torn
            .iter()
            .map(|torn| match torn.offset {
                0 => format!("{what} off all of {}: it was not begun", torn.file),
                offset => format!("{what} off {} from byte {offset} on", torn.file),
            })
            .collect();
        output::line(&text.join("\n"))
    }
}
