//! `cargo sim bugs`: how soon each planted bug is noticed.

use super::{Ended, LimitArgs, level::LevelArg, run::threads};
use crate::{
    arguments::length_of_time,
    bugs::{
        STACK_LAYER, Seed, Stop, Trial, gate, measure,
        table::{self, Row},
    },
    plan::generate,
    run::{Level, keep_panics},
};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use quorate_core::bug::{self, Bug};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::BTreeSet,
    io::{IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Markdown,
    Json,
}

#[derive(Args)]
pub(super) struct BugArgs {
    /// The bugs, by their names or the first words of them; default: on the core level those of the gate, on the stack
    /// level every bug below the core.
    #[arg(value_name = "BUG")]
    keys: Vec<String>,
    /// Every bug: on the core level, those of the core; on the stack level, those below it.
    #[arg(long, conflicts_with_all = ["keys", "gate"])]
    all: bool,
    /// Print the bugs, and run nothing.
    #[arg(long)]
    list: bool,
    /// Run the gate of the level: each bug of its list must be noticed within its number of seeds.
    #[arg(long, conflicts_with = "keys")]
    gate: bool,
    /// At most so many seeds a bug.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// Seeds a bug even when enough of them have noticed it, so that the influence of faults is seen.
    #[arg(long, default_value_t = 100)]
    least: u64,
    /// Enough seeds have noticed a bug.
    #[arg(long, default_value_t = 30)]
    detections: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Time of one core a bug, such as 30s or 2m.
    #[arg(long, default_value = "60s", value_parser = length_of_time)]
    budget: Duration,
    /// Bugs at the same time, on the core level [default: one a core].
    #[arg(long, short)]
    jobs: Option<usize>,
    #[command(flatten)]
    level: LevelArg,
    /// How to print the table.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Runs the command.
///
/// # Errors
/// Wrong use: a bug that there is not.
pub(super) fn bugs(args: &BugArgs) -> anyhow::Result<Ended> {
    if args.list {
        return Ok(list(args));
    }
    let level = match args.level.here()? {
        Ok(level) => level,
        Err(ended) => return Ok(ended),
    };
    let list = if level == Level::Core { gate::LIST } else { gate::STACK_LIST };
    let gate = gate::parse(list).map_err(anyhow::Error::msg)?;
    let chosen = chosen(args, level, &gate)?;
    // Bugs may well panic, and each panic is counted.
    keep_panics();
    let rows = run_all(args, level, &chosen);
    let _ = std::panic::take_hook();
    print!(
        "{}",
        match args.output {
            Format::Text => table::text(&rows),
            Format::Markdown => table::markdown(&rows),
            Format::Json => table::json(&rows),
        }
    );
    let missed: Vec<&str> =
        rows.iter().filter(|row| row.trial.share().hits == 0).map(|row| row.key).collect();
    if missed.is_empty() {
        return Ok(Ended::Clean);
    }
    eprintln!("NOT NOTICED  {}", missed.join(" "));
    Ok(Ended::Violation)
}

fn list(args: &BugArgs) -> Ended {
    for bug in Bug::ALL {
        if args.output == Format::Json {
            let line = serde_json::json!({
                "bug": bug.key(), "text": bug.text(), "reference": bug.reference(), "level": level_of(*bug),
            });
            println!("{line}");
        } else {
            println!("{:<32} {:<6} {:<24} {}", bug.key(), level_of(*bug), bug.reference(), bug.text());
        }
    }
    Ended::Clean
}

fn level_of(bug: Bug) -> &'static str {
    if bug.layer() == STACK_LAYER { "stack" } else { "core" }
}

/// The bugs to run, each with its bounds.
fn chosen(args: &BugArgs, level: Level, gate: &[gate::Entry]) -> anyhow::Result<Vec<(Bug, Stop)>> {
    let stop = Stop {
        seeds_max: args.seeds.max(1),
        seeds_min: args.least,
        detections: args.detections.max(1),
        budget: args.budget,
    };
    let own = |bug: &&Bug| (bug.layer() == STACK_LAYER) == (level != Level::Core);
    if args.all || (args.keys.is_empty() && !args.gate && level != Level::Core) {
        return Ok(Bug::ALL.iter().filter(own).map(|bug| (*bug, stop)).collect());
    }
    if args.keys.is_empty() {
        let entry = |entry: &gate::Entry| {
            let bug = Bug::named(&entry.key)
                .with_context(|| format!("the gate names {}, and there is no such bug", entry.key))?;
            let counted = Stop { seeds_max: entry.seeds, seeds_min: 0, detections: 1, budget: Duration::MAX };
            Ok((bug, if args.gate { counted } else { stop }))
        };
        return gate.iter().map(entry).collect();
    }
    let mut bugs = BTreeSet::new();
    for key in &args.keys {
        let named: Vec<Bug> = match Bug::named(key) {
            Some(bug) => vec![bug],
            None => Bug::ALL.iter().copied().filter(|bug| bug.key().starts_with(key.as_str())).collect(),
        };
        if named.is_empty() {
            bail!("there is no bug {key:?}: `cargo sim bugs --list` prints all");
        }
        let below = named.iter().find(|bug| bug.layer() == STACK_LAYER && level == Level::Core);
        if let Some(bug) = below.map(|bug| bug.key()) {
            bail!("{bug} is below the core: `cargo sim bugs --level stack {bug}` runs it");
        }
        bugs.extend(named);
    }
    Ok(bugs.into_iter().map(|bug| (bug, stop)).collect())
}

fn run_all(args: &BugArgs, level: Level, chosen: &[(Bug, Stop)]) -> Vec<Row> {
    // A seed of the stack has a thread of its own, and what it costs is seen only if nothing runs beside it.
    let jobs = if level == Level::Core { threads(args.jobs) } else { 1 };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let live = std::io::stderr().is_terminal();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, chosen.len().max(1)) {
            scope.spawn(|| {
                while let Some(&(bug, stop)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let trial = try_bug(bug, args, level, &stop);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((bug, trial));
                    if live {
                        eprint!("\r{} of {} bugs, {}\x1b[K", done.len(), chosen.len(), bug.key());
                        let _ = std::io::stderr().flush();
                    }
                }
            });
        }
    });
    if live {
        eprint!("\r\x1b[K");
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(bug, _)| *bug);
    let row = |(bug, trial): (Bug, Trial)| Row {
        key: bug.key(),
        text: bug.text(),
        reference: bug.reference(),
        trial,
    };
    done.into_iter().map(row).collect()
}

fn try_bug(bug: Bug, args: &BugArgs, level: Level, stop: &Stop) -> Trial {
    let limits = args.limits.limits();
    let trial = measure(args.first, stop, |seed| {
        let begun = core_time(level);
        let plan = generate(seed, &limits);
        bug::plant(Some(bug));
        let outcome = level.run(&plan, true, None);
        bug::plant(None);
        Seed {
            seed,
            rule: outcome.violation.map(|violation| violation.rule),
            events: outcome.events,
            cost: core_time(level).saturating_sub(begun),
            faults: plan.faults.iter().map(|fault| fault.kind.name()).collect(),
        }
    });
    bug::plant(None);
    trial
}

/// What this thread, or the program, has used of a core: what else the machine does changes nothing.
fn core_time(level: Level) -> Duration {
    let own = if level == Level::Core { ClockId::ThreadCPUTime } else { ClockId::ProcessCPUTime };
    let time = clock_gettime(own);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
