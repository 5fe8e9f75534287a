//! `cargo sim replay`: one seed or plan, with everything that happened.

use super::{Ended, LimitArgs, level::LevelArg, lines, print_failure, report::Format, shrink::BugArgs};
use crate::{
    plan::{Plan, generate},
    record::run_recorded,
    run::{Level, Outcome, Sink, keep_panics, run_taped},
    shrink::planted_key,
    tapes::Tapes,
    timeline,
};
use anyhow::Context;
use clap::Args;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// A seed, or the file of a plan.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Seed(u64),
    File(PathBuf),
}

impl Which {
    #[allow(clippy::unnecessary_wraps, reason = "clap asks for it")]
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(text.parse().map_or_else(|_| Self::File(PathBuf::from(text)), Self::Seed))
    }

    /// As it has to be given again.
    fn text(&self) -> String {
        match self {
            Self::Seed(seed) => seed.to_string(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The plan that it names.
    pub(crate) fn read(&self, limits: &LimitArgs) -> anyhow::Result<Plan> {
        match self {
            Self::Seed(seed) => Ok(generate(*seed, &limits.limits())),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!("cannot read {}: give a seed, or the file of a plan", path.display())
                })?;
                Plan::read(&text).map_err(|error| {
                    anyhow::anyhow!("{} is no plan that can be run: {error}", path.display())
                })
            }
        }
    }
}

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// The seed, or the file of a plan.
    #[arg(value_name = "SEED|PLAN.json", value_parser = Which::parse)]
    plan: Which,
    /// Print events from this simulated second on.
    #[arg(long, default_value_t = 0.0)]
    from: f64,
    /// Also draw the run: one HTML file that needs nothing else (core level).
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Print no events, only what came of it.
    #[arg(long, short)]
    quiet: bool,
    /// Print messages between masters, writes and heartbeats as well.
    #[arg(long, short)]
    verbose: bool,
    /// Print text, or one line of JSON about what came of it and no events.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Write a tape of each run of each master into this directory.
    #[arg(long, value_name = "DIR")]
    tape: Option<PathBuf>,
    #[command(flatten)]
    bug: BugArgs,
    #[command(flatten)]
    level: LevelArg,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Lines that are left out unless all are asked for.
fn is_noise(level: Level, line: &str) -> bool {
    match level {
        Level::Core => {
            let kind = line.get(10..19).unwrap_or_default().trim_end();
            matches!(kind, "send" | "receive" | "write" | "disk" | "deadline" | "reply")
                || line.contains(" heartbeat ")
        }
        #[cfg(madsim)]
        Level::Stack => {
            let kind = line.get(5..).unwrap_or_default();
            kind.starts_with("write ") || kind.starts_with("answered   heartbeat")
        }
    }
}

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<Ended> {
    let level = match args.level.here()? {
        Ok(level) => level,
        Err(ended) => return Ok(ended),
    };
    let json = args.output == Format::Json;
    anyhow::ensure!(
        !json || (!args.verbose && args.from == 0.0),
        "--output json: it prints no events; leave out --verbose and --from"
    );
    args.bug.plant()?;
    let plan = args.plan.read(&args.limits)?;
    keep_panics();
    let tapes = args.tape.as_ref().map(|_| Tapes::default());
    let sink = (!args.quiet && !json).then(|| printer(args, level));
    let outcome = run_one(level, &plan, sink, args.verbose, tapes.clone());
    let tapes = match (&args.tape, tapes) {
        (Some(directory), Some(tapes)) => Some(tapes.write(directory)?),
        _ => None,
    };
    if let Some(path) = &args.timeline {
        draw(args, level, &plan, path)?;
    }
    if json {
        println!("{}", lines::replayed(level, &plan, &outcome, tapes));
    } else {
        text(args, &outcome, tapes);
    }
    print_failure(plan.seed, &outcome);
    let excused = outcome.excused.is_some();
    if let Some(why) = outcome.excused {
        eprintln!("  seed {} did not become whole, and could not: {why}", plan.seed);
    }
    Ok(match outcome.violation {
        Some(violation) => Ended::of(violation.rule),
        // A plan of one's own may ask for what nobody could survive; a generated one does not.
        None if excused && matches!(args.plan, Which::Seed(_)) => Ended::Stall,
        None => Ended::Clean,
    })
}

fn text(args: &ReplayArgs, outcome: &Outcome, tapes: Option<usize>) {
    if let (Some(directory), Some(tapes)) = (&args.tape, tapes) {
        println!("{tapes} tapes in {}", directory.display());
    }
    for machine in &outcome.machines {
        println!("{machine}");
    }
    println!(
        "hash {:016x}, {} events, {:.3} simulated s",
        outcome.hash,
        outcome.events,
        outcome.time as f64 / 1e9
    );
}

fn draw(args: &ReplayArgs, level: Level, plan: &Plan, path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(level == Level::Core, "--timeline: only the core level records what it draws");
    let (outcome, recording) = run_recorded(plan);
    let bug = planted_key().map_or_else(String::new, |bug| format!(" --bug {bug}"));
    let command = format!("cargo sim replay {}{}{bug}", args.plan.text(), args.limits.text());
    let page = timeline::page(plan, &outcome, &recording, &command)?;
    std::fs::write(path, page).with_context(|| format!("--timeline: cannot write {}", path.display()))
}

/// Prints event lines as they come.
fn printer(args: &ReplayArgs, level: Level) -> Sink {
    let (from, verbose) = ((args.from * 1e9) as u64, args.verbose);
    let mut out = std::io::BufWriter::new(std::io::stdout());
    // The product's own log comes in between, on the stack level.
    let flush = verbose && level != Level::Core;
    Box::new(move |time: u64, line: &str| {
        if time >= from && (verbose || !is_noise(level, line)) {
            let _ = writeln!(out, "{:>13.6}  {line}", time as f64 / 1e9);
            if flush {
                let _ = out.flush();
            }
        }
    })
}

#[cfg_attr(not(madsim), allow(unused_variables, reason = "the core logs nothing of its own"))]
fn run_one(level: Level, plan: &Plan, sink: Option<Sink>, verbose: bool, tapes: Option<Tapes>) -> Outcome {
    match level {
        Level::Core => run_taped(plan, true, sink, tapes),
        #[cfg(madsim)]
        Level::Stack => crate::stack::run::run_plan(plan, sink, verbose, tapes),
    }
}
