//! `cargo sim run`: many seeds.

use super::{Ended, LimitArgs, print_failure};
use crate::{
    arguments::seeds,
    plan::generate,
    run::{Job, Summary, run, run_plan},
};
use clap::Args;
use std::{
    io::{IsTerminal, Write},
    ops::Range,
};

#[derive(Args)]
pub(super) struct RunArgs {
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

pub(super) fn run_seeds(args: &RunArgs) -> anyhow::Result<Ended> {
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
    let worst = summary.failures.values().map(|violation| Ended::of(violation.rule));
    Ok(worst
        .min_by_key(|ended| if *ended == Ended::Violation { 0 } else { *ended as u8 })
        .unwrap_or(Ended::Clean))
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
