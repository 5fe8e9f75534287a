//! `cargo sim speed`: how fast the core level is on one thread, with and without oracles.

use super::Ended;
use crate::{cost::steady_plan, run::run_plan};
use clap::Args;
use std::time::Instant;

#[derive(Args)]
pub(super) struct SpeedArgs {
    /// Masters of the cluster.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=9))]
    masters: u8,
    /// Operations a second of all clients together, half of them changes.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rate: u16,
    /// Simulated seconds of each run.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(5..=600))]
    seconds: u16,
    /// Runs; the middle one is printed.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
}

pub(super) fn speed(args: &SpeedArgs) -> Ended {
    let plan = steady_plan(args.masters, args.rate, args.seconds);
    println!(
        "{} masters, {} operations a second, no faults, {} simulated s, one thread; the middle of {} runs",
        args.masters, args.rate, args.seconds, args.runs
    );
    for (name, oracles) in [("oracles off", false), ("oracles on", true)] {
        let mut rates: Vec<(f64, f64)> = (0..args.runs)
            .map(|_| {
                let start = Instant::now();
                let outcome = run_plan(&plan, oracles, None);
                let wall = start.elapsed().as_secs_f64().max(1e-9);
                (outcome.time as f64 / 1e9 / wall, outcome.events as f64 / wall)
            })
            .collect();
        rates.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (simulated, events) = rates[rates.len() / 2];
        println!("  {name:<12} {simulated:>8.0} simulated s/s  {events:>10.0} events/s");
    }
    Ended::Clean
}
