//! `cargo sim run`: many seeds.

use super::{
    Ended, LimitArgs,
    level::LevelArg,
    report::{self, Format},
    shrink::{self, BugArgs},
};
use crate::{
    arguments::{Shard, length_of_time, seeds, shard},
    repro,
    results::{Commit, Keeper, Moment, Searched, parse_commit, records},
    run::{Job, Level, keep_panics, run},
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
pub(crate) struct RunArgs {
    /// Which seeds: FIRST..END, the end not included, or one number [default: 0..1000; with --budget: without an end].
    #[arg(long, value_parser = seeds)]
    pub(super) seeds: Option<Range<u64>>,
    /// Only this part of the seeds, such as 2/8: several machines search together.
    #[arg(long, value_name = "PART/OF", value_parser = shard)]
    pub(super) shard: Option<Shard>,
    /// Begin no seed after this time, such as 60s or 5m.
    #[arg(long, value_parser = length_of_time)]
    pub(super) budget: Option<Duration>,
    /// On how many threads [default: one a core].
    #[arg(long, short)]
    pub(super) jobs: Option<usize>,
    #[command(flatten)]
    pub(super) level: LevelArg,
    /// Let no oracle look (to measure what they cost).
    #[arg(long)]
    pub(super) no_oracles: bool,
    /// Run each seed twice: both runs must be the same, event by event.
    #[arg(long)]
    pub(super) check_determinism: bool,
    /// Record a tape of each run of each master, and replay it on the core: the outputs must be the same.
    #[arg(long)]
    pub(super) check_tapes: bool,
    /// Fail also if there is a mark that no seed reached (core level: the other cannot reach them all).
    #[arg(long)]
    pub(super) all_marks: bool,
    /// Begin no more seeds after so many have failed.
    #[arg(long, default_value_t = 20)]
    pub(super) max_failures: usize,
    /// Print text, or one line of JSON for each failure and one for the whole.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    pub(super) output: Format,
    /// Also write a JUnit report: one test case a rule.
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Also append what came of it to this file: lines of JSON for `results`.
    #[arg(long, value_name = "FILE")]
    pub(super) keep: Option<PathBuf>,
    /// The commit that is kept [default: that of the work tree].
    #[arg(long, value_name = "ID", requires = "keep", value_parser = parse_commit)]
    pub(super) commit: Option<String>,
    /// Do not shrink what fails.
    #[arg(long)]
    pub(super) no_shrink: bool,
    /// Shrink one failing seed of each broken rule for so long.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = length_of_time)]
    pub(super) shrink_budget: Duration,
    /// Where the shrunk plans, their logs and their timelines are written.
    #[arg(long, value_name = "DIR", default_value = repro::ROOT)]
    pub(super) repro: PathBuf,
    /// Also print how often each oracle looked, and what happened how often.
    #[arg(long, short)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) bug: BugArgs,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

impl RunArgs {
    fn job(&self, level: Level) -> anyhow::Result<Job> {
        let all = match (&self.seeds, self.budget) {
            (Some(seeds), _) => seeds.clone(),
            (None, Some(_)) => 0..u64::MAX,
            (None, None) => 0..1_000,
        };
        let seeds = self.shard.map_or_else(|| all.clone(), |shard| shard.of_seeds(&all));
        if seeds.is_empty() {
            anyhow::bail!("--shard: seeds {}..{} are fewer than the parts", all.start, all.end);
        }
        Ok(Job {
            level,
            oracles: !self.no_oracles,
            limits: self.limits.limits(),
            twice: self.check_determinism,
            check_tapes: self.check_tapes,
            budget: self.budget,
            failures_max: self.max_failures.max(1),
            ..Job::new(seeds, threads(self.jobs))
        })
    }

    /// The code that is searched.
    fn commit(&self) -> Commit {
        let named = self.commit.clone().map(|id| Commit { id, dirty: false });
        named.unwrap_or_else(Commit::here)
    }
}

/// As many threads as are asked for, or one a core.
pub(super) fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

pub(super) fn run_seeds(args: &RunArgs) -> anyhow::Result<Ended> {
    anyhow::ensure!(
        !(args.all_marks && args.level.is_stack()),
        "--all-marks: the stack level cannot reach every mark, because its client library sends nothing that is not \
         valid, and its network and disks have fewer faults: ask the core level with `cargo sim run --all-marks`, or \
         list what the stack level reaches with `cargo sim-stack marks`"
    );
    let level = match args.level.here()? {
        Ok(level) => level,
        Err(ended) => return Ok(ended),
    };
    args.bug.plant()?;
    let job = args.job(level)?;
    if let Some(path) = &args.junit {
        report::open_junit(path)?;
    }
    // A file that cannot be written is told before the search; so is the commit, which may be another one after it.
    let keeper = args.keep.as_deref().map(Keeper::open).transpose()?.map(|keeper| (keeper, args.commit()));
    let summary = with_progress(&job);
    match args.output {
        Format::Text => report::text(&summary, args.verbose),
        Format::Json => report::json(&summary)?,
    }
    report::failures(&summary, level, &args.limits);
    // What one of these cannot write keeps nothing from the others.
    let report = args.junit.as_ref().map_or(Ok(()), |path| report::junit(&summary, level, path));
    let plans = if args.no_shrink { BTreeMap::new() } else { shrink::failures(&summary, level, args) };
    let kept = keeper.map_or(Ok(()), |(mut keeper, commit)| {
        let replay = |seed| report::replay(level, seed, &args.limits);
        let check_again = |seed, check: &str| report::check_again(level, seed, check, &args.limits);
        let (job, summary, commit, plans) = (&job, &summary, &commit, &plans);
        let (at, replay, check_again) = (Moment::now(), &replay, &check_again);
        keeper.append(&records(&Searched { job, summary, commit, at, plans, replay, check_again }))
    });
    let gaps = args.all_marks && !report::all_reached(&summary, args.output);
    let ended = match Ended::of_all(&summary) {
        Ended::Clean if gaps => Ended::Violation,
        ended => ended,
    };
    ended_with(ended, [report, kept])
}

/// How a search ended that could not write all that it was asked for: what it found counts more.
fn ended_with(ended: Ended, written: [anyhow::Result<()>; 2]) -> anyhow::Result<Ended> {
    let mut errors = written.into_iter().filter_map(Result::err);
    if ended == Ended::Clean {
        return errors.next().map_or(Ok(ended), Err);
    }
    for error in errors {
        eprintln!("error: {error:#}");
    }
    Ok(ended)
}

/// Runs a job, and tells a terminal how far it is.
pub(super) fn with_progress(job: &Job) -> Summary {
    keep_panics();
    let live = std::io::stderr().is_terminal();
    let summary = run(job, |summary| {
        if live {
            eprint!("\r{}\x1b[K", progress(summary, job));
            let _ = std::io::stderr().flush();
        }
    });
    let _ = std::panic::take_hook();
    if live {
        eprint!("\r\x1b[K");
    }
    summary
}

fn progress(summary: &Summary, job: &Job) -> String {
    let wall = summary.wall.as_secs_f64().max(1e-9);
    let rate = summary.seeds as f64 / wall;
    let total = job.seeds.end - job.seeds.start;
    let by_seeds = (total - summary.seeds) as f64 / rate.max(1e-9);
    let left = job.budget.map_or(by_seeds, |budget| by_seeds.min(budget.as_secs_f64() - wall)).max(0.0);
    let (reached, marks) = summary.marks.reached();
    let of = if total > u64::MAX / 2 { String::new() } else { format!(" of {total}") };
    format!(
        "{}{of} seeds, {rate:.0} seeds/s, {:.0} simulated s/s, {} faults, {reached} of {marks} marks, {} failed, {left:.0} s left",
        summary.seeds,
        summary.simulated_seconds() / wall,
        summary.faults(),
        summary.failing(),
    )
}
