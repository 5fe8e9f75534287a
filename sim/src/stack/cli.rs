//! `cargo sim-stack`: runs seeds, and runs one again.

use super::{
    run::{Job, Outcome, Summary, keep_panics, run, run_taped},
    stage::Sink,
};
use crate::{
    arguments::{seconds, seeds},
    plan::Limits,
    tapes::Tapes,
};
use clap::{Args, Parser, Subcommand};
use std::{
    io::{IsTerminal, Write},
    ops::Range,
    path::PathBuf,
    process::ExitCode,
};

/// The stack level: the real driver, storage, services and client library on a simulated network and simulated disks.
#[derive(Parser)]
#[command(name = "quorate-sim-stack", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  cargo sim-stack run --seeds 0..200              run two hundred seeds on all cores
  cargo sim-stack run --seeds 0..20 --seconds 5   with five seconds of faults each
  cargo sim-stack replay 42                       run seed 42 again and print what happened
  cargo sim-stack replay 42 --from 3.5 -v         from 3.5 simulated seconds on, with the product's own log

Exit codes: 0 all seeds are clean, 1 a rule did not hold, 2 wrong use.";

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds.
    Run(RunArgs),
    /// Runs one seed and prints its events, its hash, and what failed.
    Replay(ReplayArgs),
}

#[derive(Args)]
struct LimitArgs {
    /// Length of the phase with faults, in simulated seconds: one number, or a range such as 10..30.
    #[arg(long, default_value = "10..30", value_parser = seconds)]
    seconds: (u64, u64),
    /// No faults, and a network that loses nothing.
    #[arg(long)]
    no_faults: bool,
}

impl LimitArgs {
    const fn limits(&self) -> Limits {
        let (duration_min_ms, duration_max_ms) = self.seconds;
        Limits { duration_min_ms, duration_max_ms, faults: !self.no_faults }
    }

    /// As they have to be given again.
    fn text(&self) -> String {
        let (least, most) = self.seconds;
        let mut text = String::new();
        if (least, most) != (10_000, 30_000) {
            text += &format!(" --seconds {}..{}", least / 1_000, most / 1_000);
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
    #[arg(long, default_value = "0..200", value_parser = seeds)]
    seeds: Range<u64>,
    /// On how many threads; default: one a core.
    #[arg(long)]
    threads: Option<usize>,
    /// Run each seed twice: both runs must be the same, event by event.
    #[arg(long)]
    check_determinism: bool,
    /// Record a tape of each run of each master, and replay it on the core: the outputs must be the same.
    #[arg(long)]
    check_tapes: bool,
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
    seed: u64,
    /// Print events from this simulated second on.
    #[arg(long, default_value_t = 0.0)]
    from: f64,
    /// Print no events, only what came of it.
    #[arg(long, short)]
    quiet: bool,
    /// Print also writes and heartbeats, and what the product logs.
    #[arg(long, short)]
    verbose: bool,
    /// Write a tape of each run of each master into this directory.
    #[arg(long, value_name = "DIR")]
    tape: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// The command.
#[must_use]
pub fn main() -> ExitCode {
    keep_panics();
    let clean = match Cli::parse().command {
        Command::Run(args) => run_seeds(&args),
        Command::Replay(args) => replay(&args),
    };
    ExitCode::from(u8::from(!clean))
}

fn run_seeds(args: &RunArgs) -> bool {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let job = Job {
        seeds: args.seeds.clone(),
        threads,
        limits: args.limits.limits(),
        twice: args.check_determinism,
        check_tapes: args.check_tapes,
        failures_max: args.max_failures.max(1),
    };
    let total = args.seeds.end - args.seeds.start;
    let live = std::io::stderr().is_terminal();
    let summary = run(&job, |summary| {
        if live {
            eprint!("\r{}\x1b[K", progress(summary, total));
            let _ = std::io::stderr().flush();
        }
    });
    if live {
        eprint!("\r\x1b[K");
    }
    if args.json {
        print_json(&summary);
    } else {
        print_summary(&summary, args);
    }
    for (seed, outcome) in &summary.failures {
        print_failure(*seed, outcome);
        eprintln!("  replay:  cargo sim-stack replay {seed}{}", args.limits.text());
    }
    for (seed, (first, second)) in &summary.diverged {
        eprintln!(
            "\nFAILED  same seed, same run\n  seed {seed} has hash {first:016x}, and then {second:016x}"
        );
        eprintln!("  replay:  cargo sim-stack run --seeds {seed} --check-determinism{}", args.limits.text());
    }
    for (seed, why) in &summary.tapes_differ {
        eprintln!("\nFAILED  a tape gives the same outputs on the core\n  seed {seed}: {why}");
        eprintln!("  replay:  cargo sim-stack replay {seed}{} --tape DIR", args.limits.text());
    }
    summary.clean()
}

fn progress(summary: &Summary, total: u64) -> String {
    let wall = summary.wall.as_secs_f64().max(1e-9);
    let rate = summary.seeds as f64 / wall;
    format!(
        "{} of {total} seeds, {rate:.1} seeds/s, {:.0} simulated s/s, {} failed, {:.0} s left",
        summary.seeds,
        summary.simulated_seconds() / wall,
        summary.failures.len(),
        (total - summary.seeds) as f64 / rate.max(1e-9)
    )
}

fn print_summary(summary: &Summary, args: &RunArgs) {
    let wall = summary.wall.as_secs_f64().max(1e-9);
    println!(
        "{} seeds, {:.0} simulated s, {} events, in {wall:.1} s: {:.2} seeds/s, {:.0} simulated s/s, {} failed, hash {:016x}",
        summary.seeds,
        summary.simulated_seconds(),
        summary.events,
        summary.seeds as f64 / wall,
        summary.simulated_seconds() / wall,
        summary.failures.len() + summary.diverged.len(),
        summary.hash
    );
    if args.check_tapes {
        let (tapes, inputs) = summary.tapes;
        println!("{tapes} tapes with {inputs} inputs gave the same outputs on the core");
    }
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

fn print_json(summary: &Summary) {
    let failure = |(seed, outcome): (&u64, &Outcome)| {
        let violation = outcome.violation.as_ref();
        let rule = violation.map_or("", |violation| violation.rule.name());
        serde_json::json!({ "seed": seed, "rule": rule, "message": violation.map(|violation| &violation.message) })
    };
    let diverged = summary.diverged.keys().collect::<Vec<_>>();
    let value = serde_json::json!({
        "seeds": summary.seeds,
        "simulated_seconds": summary.simulated_seconds(),
        "wall_seconds": summary.wall.as_secs_f64(),
        "events": summary.events,
        "hash": format!("{:016x}", summary.hash),
        "failures": summary.failures.iter().map(failure).collect::<Vec<_>>(),
        "diverged": diverged,
        "tapes": summary.tapes.0,
        "tapes_differ": summary.tapes_differ,
        "oracles": summary.looked,
        "counts": summary.counts,
    });
    println!("{value}");
}

fn print_failure(seed: u64, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    eprintln!("\nFAILED  {}", violation.rule.name());
    eprintln!("  seed {seed} at {:.6} s: {}", violation.time as f64 / 1e9, violation.message);
    for machine in &outcome.machines {
        eprintln!("    {machine}");
    }
}

/// Lines that are left out unless all are asked for.
fn is_noise(line: &str) -> bool {
    let kind = line.get(5..).unwrap_or_default();
    kind.starts_with("write ") || kind.starts_with("answered   heartbeat")
}

fn replay(args: &ReplayArgs) -> bool {
    let (from, verbose) = ((args.from * 1e9) as u64, args.verbose);
    let sink: Option<Sink> = (!args.quiet).then(|| {
        let mut out = std::io::BufWriter::new(std::io::stdout());
        Box::new(move |time: u64, line: &str| {
            if time >= from && (verbose || !is_noise(line)) {
                let _ = writeln!(out, "{:>13.6}  {line}", time as f64 / 1e9);
                if verbose {
                    let _ = out.flush();
                }
            }
        }) as Sink
    });
    let tapes = args.tape.as_ref().map(|_| Tapes::default());
    let outcome = run_taped(args.seed, &args.limits.limits(), sink, verbose, tapes.clone());
    if let (Some(directory), Some(tapes)) = (&args.tape, tapes) {
        match tapes.write(directory) {
            Ok(count) => println!("{count} tapes in {}", directory.display()),
            Err(error) => {
                eprintln!("error: {error:#}");
                return false;
            }
        }
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
    print_failure(args.seed, &outcome);
    outcome.violation.is_none()
}
