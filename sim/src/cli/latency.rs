//! `cargo sim latency`: how long failover, jobs and moved tasks take, as a table that is the same everywhere.

use super::{Ended, LimitArgs, golden::GoldenArgs, report, run};
use crate::{
    arguments::seeds,
    latency::Measure,
    run::{Job, Level},
    summary::Summary,
};
use clap::Args;
use std::{fmt::Write, ops::Range};

#[derive(Args)]
pub(super) struct LatencyArgs {
    /// Which seeds: FIRST..END, the end not included, or one number.
    #[arg(long, default_value = "0..2000", value_parser = seeds)]
    seeds: Range<u64>,
    /// On how many threads [default: one a core].
    #[arg(long, short)]
    jobs: Option<usize>,
    #[command(flatten)]
    golden: GoldenArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(super) fn latency(args: &LatencyArgs) -> anyhow::Result<Ended> {
    let job = Job { limits: args.limits.limits(), ..Job::new(args.seeds.clone(), run::threads(args.jobs)) };
    let summary = run::with_progress(&job);
    report::failures(&summary, Level::Core, &args.limits);
    if !summary.clean() {
        return Ok(Ended::of_all(&summary));
    }
    args.golden.compare(&table(&args.seeds, &summary), "cargo sim latency")
}

/// Parts of a thousand that are shown.
const PERMILLE: [usize; 5] = [500, 900, 990, 999, 1_000];

fn table(seeds: &Range<u64>, summary: &Summary) -> String {
    let mut text = format!(
        "Simulated milliseconds, seeds {}..{}, faults and all; hash {:016x}\n\n{:<50}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        seeds.start, seeds.end, summary.hash, "", "samples", "median", "90 %", "99 %", "99.9 %", "most"
    );
    for &measure in Measure::ALL {
        let _ = write!(text, "{:<50}{:>9}", measure.text(), summary.samples.count(measure));
        for nanoseconds in summary.samples.permille(measure, &PERMILLE) {
            // Tenths of milliseconds, in whole numbers: the same on every machine.
            let tenths = nanoseconds / 100_000;
            let _ = write!(text, "{:>9}", format!("{}.{}", tenths / 10, tenths % 10));
        }
        text.push('\n');
    }
    text
}
