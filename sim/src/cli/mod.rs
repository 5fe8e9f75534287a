//! `cargo sim`: runs seeds, and replays what failed. One file a command.

// Before all others: its macros are for them.
#[macro_use]
mod output;

#[cfg(feature = "planted-bugs")]
mod bugs;
mod golden;
mod latency;
mod level;
mod lines;
mod marks;
mod replay;
mod report;
mod results;
mod run;
pub(crate) mod shrink;
mod speed;
mod swarm;
mod tape;

use crate::{
    arguments::seconds,
    oracle::Rule,
    plan::{Limits, generate},
    run::{Outcome, run_plan},
    summary::Summary,
};
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// Breaks a simulated cluster on purpose, and checks that nothing that it promised was lost.
///
/// A seed makes a plan, and the plan is what runs: the same seed gives the same run, event by event.
#[derive(Parser)]
#[command(name = "quorate-sim", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  quorate-sim run --seeds 0..1000       run a thousand seeds on all cores
  quorate-sim replay 42                 run seed 42 again and print what happened
  quorate-sim replay 42 --from 3.5      only from 3.5 simulated seconds on
  quorate-sim shrink 42                 make the failing seed 42 small, and draw its timeline
  quorate-sim plan 42 > plan.json       the plan of seed 42
  quorate-sim replay plan.json          run a plan from a file
  quorate-sim replay 42 -o json         what came of it as one line of JSON; also of shrink, tape, run and others
  quorate-sim replay 42 --tape DIR      also record a tape of each run of each master
  quorate-sim tape master-1.tape        run a tape on the core, and compare
  quorate-sim marks --swarm             which places seeds reached, and which faults lead there
  quorate-sim run --keep kept.jsonl     also keep what came of it, with the commit
  quorate-sim results kept.jsonl        what was kept: by commit, and by group of failures
  quorate-sim bugs raft                 plant the bugs of one layer, and see how soon each is noticed

The stack level (the real driver, storage, services and client library on a simulated runtime):
  quorate-sim run --level stack --seeds 0..200

Exit codes: 0 clean, 1 a rule did not hold or a mark was not reached, 2 wrong use, 3 a stall, 4 a crash.";

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds.
    Run(run::RunArgs),
    /// Runs one seed or plan and prints its event log, its hash, and what failed.
    Replay(replay::ReplayArgs),
    /// Runs a node's tape on the core and compares what comes out with what came out when it was recorded.
    Tape(tape::TapeArgs),
    /// Runs seeds, and prints how long failover, jobs and moved tasks took.
    Latency(latency::LatencyArgs),
    /// Makes a failing plan small, and writes it with its log and, on the core level, a timeline into a directory.
    Shrink(shrink::ShrinkArgs),
    /// Plants bugs one at a time, and says how soon each is noticed, by what, and under which faults.
    #[cfg(feature = "planted-bugs")]
    Bugs(bugs::BugArgs),
    /// Runs many seeds, and lists the places in the product that they reached, the rarest first.
    Marks(marks::MarksArgs),
    /// Merges, lists and draws what `run --keep` has kept: searches and groups of failures, by commit.
    Results(results::ResultArgs),
    /// Says how fast the core level is on one thread, with and without oracles.
    Speed(speed::SpeedArgs),
    /// Prints the plan of a seed as JSON.
    Plan {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Runs one seed and prints the hash of everything that happened.
    Hash {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        limits: LimitArgs,
    },
}

/// What generated plans stay within.
#[derive(Args)]
pub(crate) struct LimitArgs {
    /// Length of the phase with faults, in simulated seconds: one number, or a range such as 10..30.
    #[arg(long, default_value = "10..30", value_parser = seconds)]
    pub(crate) duration: (u64, u64),
    /// No faults, and a network that loses nothing.
    #[arg(long)]
    pub(crate) no_faults: bool,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> Limits {
        let (duration_min_ms, duration_max_ms) = self.duration;
        Limits { duration_min_ms, duration_max_ms, faults: !self.no_faults }
    }

    /// As they have to be given again.
    pub(crate) fn text(&self) -> String {
        let (least, most) = self.duration;
        let mut text = String::new();
        if (least, most) != (10_000, 30_000) {
            text += &format!(" --duration {}..{}", least / 1_000, most / 1_000);
        }
        if self.no_faults {
            text += " --no-faults";
        }
        text
    }
}

/// How a command ended, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// All was clean.
    Clean = 0,
    /// A rule did not hold.
    Violation = 1,
    /// The command was used in a wrong way.
    Misuse = 2,
    /// The cluster did not become whole.
    Stall = 3,
    /// Something panicked.
    Crash = 4,
}

impl Ended {
    /// The way that this exit code stands for.
    #[must_use]
    pub const fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => Self::Clean,
            1 => Self::Violation,
            2 => Self::Misuse,
            3 => Self::Stall,
            4 => Self::Crash,
            _ => return None,
        })
    }

    /// The worst of all failures: a rule that did not hold before a crash, and that before a stall.
    #[must_use]
    pub fn of_all(summary: &Summary) -> Self {
        let excused = summary.excused.values().map(|_| Self::Stall);
        let failed = summary.failures.values().map(|failure| Self::of(failure.violation.rule));
        let ends: Vec<Self> = failed.chain(excused).collect();
        let worst = [Self::Violation, Self::Crash, Self::Stall].into_iter().find(|end| ends.contains(end));
        let diverged =
            (!summary.diverged.is_empty() || !summary.tapes_differ.is_empty()).then_some(Self::Violation);
        diverged.or(worst).unwrap_or(Self::Clean)
    }

    /// What a violation of this rule ends with.
    #[must_use]
    pub const fn of(rule: Rule) -> Self {
        match rule {
            Rule::Liveness | Rule::Storm => Self::Stall,
            Rule::Panic => Self::Crash,
            _ => Self::Violation,
        }
    }
}

/// The command.
#[must_use]
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(args) => run::run_seeds(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Tape(args) => tape::tape(&args),
        Command::Latency(args) => latency::latency(&args),
        Command::Shrink(args) => shrink::shrink(&args),
        #[cfg(feature = "planted-bugs")]
        Command::Bugs(args) => bugs::bugs(&args),
        Command::Marks(args) => marks::marks(&args),
        Command::Results(args) => results::results(&args),
        Command::Speed(args) => Ok(speed::speed(&args)),
        Command::Plan { seed, limits } => print_plan(seed, &limits),
        Command::Hash { seed, limits } => {
            println!("{:016x}", run_plan(&generate(seed, &limits.limits()), true, None).hash);
            Ok(Ended::Clean)
        }
    };
    let ended = ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Ended::Misuse
    });
    let ended = match output::lost() {
        None => ended,
        Some(why) => {
            eprintln!("error: cannot write to the standard output: {why}");
            Ended::Misuse
        }
    };
    ExitCode::from(ended as u8)
}

fn print_plan(seed: u64, limits: &LimitArgs) -> anyhow::Result<Ended> {
    println!("{}", serde_json::to_string_pretty(&generate(seed, &limits.limits()))?);
    Ok(Ended::Clean)
}

pub(crate) fn print_failure(seed: u64, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    eprintln!(
        "  seed {seed} at {:.6} s, step {}: {}",
        violation.time as f64 / 1e9,
        violation.step,
        violation.rule.name()
    );
    eprintln!("  {}", violation.message);
    for machine in &outcome.machines {
        eprintln!("    {machine}");
    }
}
