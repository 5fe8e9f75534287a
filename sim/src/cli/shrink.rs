//! `cargo sim shrink`: makes a failing plan small.

use super::{
    Ended, LimitArgs,
    level::LevelArg,
    lines,
    replay::Which,
    report::Format,
    run::{RunArgs, threads},
};
use crate::{
    arguments::{length_of_time, seeds},
    oracle::Rule,
    plan::generate,
    repro,
    run::{Level, keep_panics},
    shrink::{Options, Progress, Row, Shrunk, table},
    summary::Summary,
};
use clap::Args;
use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    ops::Range,
    path::PathBuf,
    time::Duration,
};

#[derive(Args)]
pub(super) struct ShrinkArgs {
    /// The failing seed, or the file of a failing plan.
    #[arg(value_name = "SEED|PLAN.json", value_parser = Which::parse, required_unless_present = "bugs")]
    plan: Option<Which>,
    /// Begin no more runs after this time, such as 60s, 500ms or 2m.
    #[arg(long, default_value = "60s", value_parser = length_of_time)]
    budget: Duration,
    /// On how many threads; default: one a core.
    #[arg(long, short = 'j')]
    jobs: Option<usize>,
    /// Where the directory with the shrunk plan is made.
    #[arg(long, value_name = "DIR", default_value = repro::ROOT)]
    out: PathBuf,
    /// Shrink one failing seed of each planted bug, and print a table.
    #[arg(long, conflicts_with = "plan")]
    bugs: bool,
    /// Which seeds are looked at for each planted bug.
    #[arg(long, default_value = "0..2000", value_parser = seeds, requires = "bugs")]
    seeds: Range<u64>,
    /// Print text, or a line of JSON for each plan and, of a table, one for the whole.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    bug: BugArgs,
    #[command(flatten)]
    level: LevelArg,
    #[command(flatten)]
    limits: LimitArgs,
}

/// A bug that is planted on purpose.
#[derive(Args)]
pub(crate) struct BugArgs {
    /// Plant this bug: one of those that `cargo sim bugs` lists.
    #[arg(long, value_name = "BUG")]
    bug: Option<String>,
}

impl BugArgs {
    /// Plants it in the runs of this thread.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn plant(&self) -> anyhow::Result<()> {
        use quorate_core::bug::{Bug, plant};
        let Some(key) = &self.bug else { return Ok(()) };
        let bug = Bug::ALL.iter().find(|bug| bug.key() == key);
        let keys: Vec<&str> = Bug::ALL.iter().map(|bug| bug.key()).collect();
        let bug = bug.ok_or_else(|| {
            anyhow::anyhow!("--bug {key}: there is no such planted bug; there are: {}", keys.join(", "))
        })?;
        plant(Some(*bug));
        Ok(())
    }

    /// Plants it: none is in this build.
    #[cfg(not(feature = "planted-bugs"))]
    pub(crate) fn plant(&self) -> anyhow::Result<()> {
        match &self.bug {
            Some(key) => anyhow::bail!("--bug {key}: this build has no planted bugs; use `cargo sim`"),
            None => Ok(()),
        }
    }
}

/// Prints progress in place, or line by line where there is no terminal.
pub(crate) fn show(progress: &Progress) {
    if std::io::stderr().is_terminal() {
        eprint!("\r{progress}\x1b[K");
        let _ = std::io::stderr().flush();
    }
}

pub(crate) fn clear() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

pub(super) fn shrink(args: &ShrinkArgs) -> anyhow::Result<Ended> {
    let level = match args.level.here()? {
        Ok(level) => level,
        Err(ended) => return Ok(ended),
    };
    let options = Options { level, budget: args.budget, threads: threads(args.jobs), progress: &show };
    if args.bugs {
        anyhow::ensure!(level == Level::Core, "--bugs: the table is of the core level; give --level core");
        return bugs(args, options);
    }
    let Some(which) = &args.plan else { anyhow::bail!("give a seed, or the file of a plan") };
    args.bug.plant()?;
    let plan = which.read(&args.limits)?;
    keep_panics();
    let made = repro::make(&plan, options, &args.out);
    let _ = std::panic::take_hook();
    clear();
    let made = made?;
    match (args.output, &made) {
        (Format::Text, None) => println!("no rule is broken: there is nothing to shrink"),
        (Format::Text, Some(made)) => println!("{made}"),
        (Format::Json, None) => println!("{}", lines::nothing_to_shrink(level, plan.seed)),
        (Format::Json, Some(made)) => println!("{}", lines::made(plan.seed, made)),
    }
    Ok(made.map_or(Ended::Clean, |made| Ended::of(made.violation.rule)))
}

/// Shrinks the fastest failing seed of each broken rule. Gives back where the plans are; what cannot be written is told.
pub(super) fn failures(summary: &Summary, level: Level, args: &RunArgs) -> BTreeMap<Rule, PathBuf> {
    let mut plans = BTreeMap::new();
    let threads = threads(args.jobs);
    let options = Options { level, budget: args.shrink_budget, threads, progress: &show };
    for group in summary.groups() {
        let plan = generate(group.fastest, &args.limits.limits());
        keep_panics();
        let made = repro::make(&plan, options, &args.repro);
        let _ = std::panic::take_hook();
        clear();
        match made {
            Ok(Some(made)) => {
                eprintln!("\nSHRUNK  {}, from seed {}\n{made}", group.rule.name(), group.fastest);
                plans.insert(group.rule, made.directory.join(repro::PLAN));
            }
            // What fails only without oracles, or only once, has nothing to shrink.
            Ok(None) => eprintln!("\nseed {} does not fail again: nothing was shrunk", group.fastest),
            Err(error) => eprintln!("\nerror: {error:#}"),
        }
    }
    plans
}

fn bugs(args: &ShrinkArgs, options: Options<'_>) -> anyhow::Result<Ended> {
    if !cfg!(feature = "planted-bugs") {
        anyhow::bail!("--bugs: this build has no planted bugs; use `cargo sim`");
    }
    if args.output == Format::Text {
        println!(
            "{:<34} {:>6}  {:>7}  {:>10}  {:>5}  {:>6}  {:>7}  {:>5}  broken rule",
            "bug", "seed", "faults", "operations", "nodes", "sim s", "seconds", "runs"
        );
    }
    keep_panics();
    let rows = table(&args.seeds, &args.limits.limits(), options, |row| {
        clear();
        match args.output {
            Format::Text => println!("{}", line(row)),
            Format::Json => println!("{}", lines::row(row)),
        }
    });
    let _ = std::panic::take_hook();
    let medians = medians(&rows);
    if args.output == Format::Json {
        println!("{}", lines::rows(&args.seeds, &rows, medians));
        return Ok(Ended::Clean);
    }
    let [faults, operations, milliseconds] = medians;
    println!(
        "{} of {} bugs found in seeds {}..{}; median: {faults} faults, {operations} operations, {:.1} s",
        rows.iter().filter(|row| row.found.is_some()).count(),
        rows.len(),
        args.seeds.start,
        args.seeds.end,
        milliseconds as f64 / 1e3
    );
    Ok(Ended::Clean)
}

/// Of the bugs that were found: faults, operations, and milliseconds.
fn medians(rows: &[Row]) -> [u64; 3] {
    let shrunk: Vec<&Shrunk> = rows.iter().filter_map(|row| Some(&row.found.as_ref()?.1)).collect();
    let median = |of: fn(&Shrunk) -> u64| {
        let mut all: Vec<u64> = shrunk.iter().map(|shrunk| of(shrunk)).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    };
    [
        median(|shrunk| shrunk.faults as u64),
        median(|shrunk| shrunk.operations as u64),
        median(|shrunk| shrunk.wall.as_millis() as u64),
    ]
}

fn line(row: &Row) -> String {
    let Some((seed, shrunk)) = &row.found else { return format!("{:<34}  not found", row.bug) };
    format!(
        "{:<34} {seed:>6}  {:>3}→{:<3}  {:>5}→{:<4}  {:>1}+{:<3}  {:>6.2}  {:>6.1}{}  {:>5}  {}",
        row.bug,
        shrunk.faults_before,
        shrunk.faults,
        shrunk.operations_before,
        shrunk.operations,
        shrunk.plan.masters.clocks.len(),
        shrunk.plan.executors.clocks.len(),
        shrunk.violation.time as f64 / 1e9,
        shrunk.wall.as_secs_f64(),
        if shrunk.finished { " " } else { "+" },
        shrunk.runs,
        shrunk.violation.rule.name()
    )
}
