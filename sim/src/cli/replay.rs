//! `cargo sim replay`: one seed or plan, with everything that happened.

use super::{Ended, LimitArgs, print_failure};
use crate::{
    plan::{Plan, generate},
    run::run_plan,
    world::Sink,
};
use anyhow::Context;
use clap::Args;
use std::{io::Write, path::PathBuf};

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
    /// Print no events, only what came of it.
    #[arg(long, short)]
    quiet: bool,
    /// Print messages between masters, writes and heartbeats as well.
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Lines that are left out unless all are asked for.
fn is_noise(line: &str) -> bool {
    let kind = line.get(10..19).unwrap_or_default().trim_end();
    matches!(kind, "send" | "receive" | "write" | "disk") || line.contains(" heartbeat ")
}

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<Ended> {
    let plan = args.plan.read(&args.limits)?;
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
    Ok(outcome.violation.map_or(Ended::Clean, |violation| Ended::of(violation.rule)))
}
