//! `quorate-sim`: runs seeds, and replays what failed.

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use quorate_sim::{
    arguments::{seconds, seeds},
    plan::{Limits, Plan, generate},
    run::{Job, Summary, run, run_plan},
    world::{Outcome, Sink},
};
use std::{
    io::{IsTerminal, Write},
    ops::Range,
    path::PathBuf,
    process::ExitCode,
};

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
  quorate-sim plan 42 > plan.json       the plan of seed 42
  quorate-sim replay --plan plan.json   run a plan from a file

Exit codes: 0 all seeds are clean, 1 a rule did not hold, 2 wrong use.";

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds.
    Run(RunArgs),
    /// Runs one seed or plan and prints its event log, its hash, and what failed.
    Replay(ReplayArgs),
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

#[derive(Args)]
struct LimitArgs {
    /// Length of the phase with faults, in simulated seconds: one number, or a range such as 10..30.
    #[arg(long, default_value = "10..30", value_parser = seconds)]
    duration: (u64, u64),
    /// No faults, and a network that loses nothing.
    #[arg(long)]
    no_faults: bool,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        let (duration_min_ms, duration_max_ms) = self.duration;
        Limits { duration_min_ms, duration_max_ms, faults: !self.no_faults }
    }

    /// As they have to be given again.
    fn text(&self) -> String {
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

#[derive(Args)]
struct RunArgs {
    /// Which seeds: FIRST..END, the end not included, or one number.
    #[arg(long, default_value = "0..1000", value_parser = seeds)]
    seeds: Range<u64>,
    /// On how many threads; default: one a core.
    #[arg(long)]
    threads: Option<usize>,
    /// Let no oracle look (to measure what they cost).
    #[arg(long)]
    no_oracles: bool,
    /// Begin no more seeds after so many have failed.
    #[arg(long, default_value_t = 20)]
    max_failures: usize,
    /// Print the summary as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Also print how often each oracle looked, and what happened how often.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Args)]
struct ReplayArgs {
    /// The seed.
    #[arg(required_unless_present = "plan", conflicts_with = "plan")]
    seed: Option<u64>,
    /// A plan's file.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// Print events from this simulated second on.
    #[arg(long, default_value_t = 0.0)]
    from: f64,
    /// Print no events, only what came of it.
    #[arg(long, short)]
    quiet: bool,
    /// Print messages between masters, writes and heartbeats as well.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run_seeds(&args),
        Command::Replay(args) => replay(&args),
        Command::Plan { seed, limits } => print_plan(seed, &limits),
        Command::Hash { seed, limits } => {
            println!("{:016x}", run_plan(&generate(seed, &limits.limits()), true, None).hash);
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn print_plan(seed: u64, limits: &LimitArgs) -> anyhow::Result<bool> {
    println!("{}", serde_json::to_string_pretty(&generate(seed, &limits.limits()))?);
    Ok(true)
}

fn run_seeds(args: &RunArgs) -> anyhow::Result<bool> {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let job = Job {
        seeds: args.seeds.clone(),
        threads,
        oracles: !args.no_oracles,
        limits: args.limits.limits(),
        failures_max: args.max_failures.max(1),
    };
    // A panic is reported with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let total = args.seeds.end - args.seeds.start;
    let live = std::io::stderr().is_terminal();
    let summary = run(&job, |summary| {
        if live {
            eprint!("\r{}\x1b[K", progress(summary, total));
            let _ = std::io::stderr().flush();
        }
    });
    let _ = std::panic::take_hook();
    if live {
        eprint!("\r\x1b[K");
    }
    if args.json {
        print_json(&summary)?;
    } else {
        print_summary(&summary, args);
    }
    let mut grouped = std::collections::BTreeMap::new();
    for (seed, violation) in &summary.failures {
        grouped.entry(violation.rule).or_insert_with(Vec::new).push(*seed);
    }
    for (rule, seeds) in grouped {
        let others: Vec<String> = seeds.iter().take(12).map(u64::to_string).collect();
        eprintln!("\nFAILED  {}  in {} seeds: {}", rule.name(), seeds.len(), others.join(" "));
        let plan = generate(seeds[0], &args.limits.limits());
        print_failure(seeds[0], &run_plan(&plan, true, None));
        eprintln!("  replay:  cargo sim replay {}{}", seeds[0], args.limits.text());
    }
    Ok(summary.failures.is_empty())
}

fn progress(summary: &Summary, total: u64) -> String {
    let wall = summary.wall.as_secs_f64().max(1e-9);
    let rate = summary.seeds as f64 / wall;
    format!(
        "{} of {total} seeds, {rate:.0} seeds/s, {:.0} simulated s/s, {} failed, {:.0} s left",
        summary.seeds,
        summary.simulated_seconds() / wall,
        summary.failures.len(),
        (total - summary.seeds) as f64 / rate.max(1e-9)
    )
}

fn print_summary(summary: &Summary, args: &RunArgs) {
    let wall = summary.wall.as_secs_f64().max(1e-9);
    println!(
        "{} seeds, {:.0} simulated s, {} events, in {wall:.1} s: {:.1} seeds/s, {:.0} simulated s/s, {} failed, hash {:016x}",
        summary.seeds,
        summary.simulated_seconds(),
        summary.events,
        summary.seeds as f64 / wall,
        summary.simulated_seconds() / wall,
        summary.failures.len(),
        summary.hash
    );
    if args.verbose {
        println!("\noracles, and how many states each looked at:");
        for (name, count) in &summary.looked {
            println!("  {count:>12}  {name}");
        }
        println!("\nwhat happened:");
        for (name, count) in &summary.counts {
            println!("  {count:>12}  {name}");
        }
    }
}

fn print_json(summary: &Summary) -> anyhow::Result<()> {
    let failures: Vec<_> = summary
        .failures
        .iter()
        .map(|(seed, violation)| {
            serde_json::json!({ "seed": seed, "rule": violation.rule.name(), "message": violation.message })
        })
        .collect();
    let value = serde_json::json!({
        "seeds": summary.seeds,
        "simulated_seconds": summary.simulated_seconds(),
        "wall_seconds": summary.wall.as_secs_f64(),
        "events": summary.events,
        "hash": format!("{:016x}", summary.hash),
        "failures": failures,
        "oracles": summary.looked,
        "counts": summary.counts,
    });
    println!("{}", serde_json::to_string(&value)?);
    Ok(())
}

fn print_failure(seed: u64, outcome: &Outcome) {
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

/// Lines that are left out unless all are asked for.
fn is_noise(line: &str) -> bool {
    let kind = line.get(10..19).unwrap_or_default().trim_end();
    matches!(kind, "send" | "receive" | "write" | "disk") || line.contains(" heartbeat ")
}

fn replay(args: &ReplayArgs) -> anyhow::Result<bool> {
    let plan: Plan = match (&args.plan, args.seed) {
        (Some(path), _) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("{} is not a plan", path.display()))?
        }
        (None, Some(seed)) => generate(seed, &args.limits.limits()),
        (None, None) => bail!("give a seed, or --plan FILE"),
    };
    let (from, verbose) = ((args.from * 1e9) as u64, args.verbose);
    let sink: Option<Sink> = (!args.quiet).then(|| {
        let mut out = std::io::BufWriter::new(std::io::stdout());
        Box::new(move |time: u64, line: &str| {
            if time >= from && (verbose || !is_noise(line)) {
                let _ = writeln!(out, "{:>13.6}  {line}", time as f64 / 1e9);
            }
        }) as Sink
    });
    let outcome = run_plan(&plan, true, sink);
    for machine in &outcome.machines {
        println!("{machine}");
    }
    println!(
        "hash {:016x}, {} events, {:.3} simulated s",
        outcome.hash,
        outcome.events,
        outcome.time as f64 / 1e9
    );
    print_failure(plan.seed, &outcome);
    Ok(outcome.violation.is_none())
}
