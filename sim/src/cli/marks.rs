//! `cargo sim marks`: which of the places that a good simulation must reach were reached.

use super::{
    Ended, LimitArgs,
    level::LevelArg,
    report,
    run::{threads, with_progress},
    swarm,
};
use crate::{
    arguments::seeds,
    bugs::statistics::{Z95, wilson},
    reached::{Marks, Reached},
    run::{Job, Level},
};
use clap::{Args, ValueEnum};
use std::ops::Range;

/// How the table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For scripts: one line.
    Json,
    /// For a page.
    Markdown,
}

#[derive(Args)]
pub(crate) struct MarksArgs {
    /// Which seeds: FIRST..END, the end not included, or one number.
    #[arg(long, default_value = "0..5000", value_parser = seeds)]
    seeds: Range<u64>,
    /// On how many threads [default: one a core].
    #[arg(long, short)]
    jobs: Option<usize>,
    #[command(flatten)]
    level: LevelArg,
    /// How to print the table.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Also print, for the rarest marks, which kinds of faults lead to them and which keep seeds from them.
    #[arg(long)]
    swarm: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(super) fn marks(args: &MarksArgs) -> anyhow::Result<Ended> {
    let level = match args.level.here()? {
        Ok(level) => level,
        Err(ended) => return Ok(ended),
    };
    let limits = args.limits.limits();
    let job = Job { level, limits, ..Job::new(args.seeds.clone(), threads(args.jobs)) };
    let summary = with_progress(&job);
    let influences = args.swarm.then(|| swarm::influences(&summary.marks, &limits));
    match args.output {
        Format::Text => text(&summary.marks, influences.as_deref()),
        Format::Markdown => markdown(&summary.marks, influences.as_deref()),
        Format::Json => json(&summary.marks, influences.as_deref())?,
    }
    report::failures(&summary, level, &args.limits);
    let (reached, of) = summary.marks.reached();
    // Not every mark can be reached on the stack level: there, what no seed reached is told, and is no failure.
    let gap = reached < of && level == Level::Core;
    Ok(match Ended::of_all(&summary) {
        Ended::Clean if gap => Ended::Violation,
        failed => failed,
    })
}

/// The share of seeds that reached a mark, in percent, with the bounds that it has with 95 % confidence.
fn percent(reached: &Reached, marks: &Marks) -> (f64, f64, f64) {
    let (hit, ran) = (reached.seeds.len(), marks.ran.len());
    let (low, high) = wilson(hit, ran, Z95);
    (100.0 * hit as f64 / ran.max(1) as f64, 100.0 * low, 100.0 * high)
}

fn headline(marks: &Marks) -> String {
    let (reached, of) = marks.reached();
    format!("{reached} of {of} marks were reached by {} seeds", marks.ran.len())
}

fn text(marks: &Marks, influences: Option<&[swarm::Influence]>) {
    let (missed, hit): (Vec<_>, Vec<_>) =
        marks.rarest().into_iter().partition(|(_, reached)| reached.hits == 0);
    println!("{}", headline(marks));
    if !missed.is_empty() {
        println!("\nno seed reached:");
        for (mark, _) in missed {
            println!("  {mark}");
        }
    }
    println!("\n{:>12} {:>8} {:>8}  {:<17} {:>10}  mark", "hits", "seeds", "share", "95 %", "seed");
    for (mark, reached) in hit {
        let (share, low, high) = percent(reached, marks);
        let interval = format!("{low:.2} .. {high:.2}");
        let seed = reached.seeds.iter().next().unwrap_or_default();
        println!(
            "{:>12} {:>8} {share:>7.2}%  {interval:<17} {seed:>10}  {mark}",
            reached.hits,
            reached.seeds.len()
        );
    }
    let Some(influences) = influences else { return };
    println!(
        "\nkinds of faults that lead to the rarest marks (+) or keep seeds from them (-), beyond chance:"
    );
    println!("\n{:<2} {:<16} {:>9} {:>9}  mark", "", "kind", "with it", "without");
    for found in influences {
        let (with, without) = (100.0 * found.with.value(), 100.0 * found.without.value());
        println!("{:<2} {:<16} {with:>8.2}% {without:>8.2}%  {}", found.sign(), found.kind, found.mark);
    }
    if influences.is_empty() {
        println!("none");
    }
}

fn markdown(marks: &Marks, influences: Option<&[swarm::Influence]>) {
    println!("{}.\n", headline(marks));
    println!("| Mark | Hits | Seeds | Share of seeds | 95 % | A seed |\n|---|---:|---:|---:|---|---:|");
    for (mark, reached) in marks.rarest() {
        let (share, low, high) = percent(reached, marks);
        let seed = reached.seeds.iter().next().map_or_else(|| "none".to_owned(), |seed| seed.to_string());
        let (hits, seeds) = (reached.hits, reached.seeds.len());
        println!("| {mark} | {hits} | {seeds} | {share:.2} % | {low:.2} to {high:.2} % | {seed} |");
    }
    let Some(influences) = influences else { return };
    println!("\n| | Kind of fault | With it | Without | Mark |\n|---|---|---:|---:|---|");
    for found in influences {
        let (with, without) = (100.0 * found.with.value(), 100.0 * found.without.value());
        println!("| {} | {} | {with:.2} % | {without:.2} % | {} |", found.sign(), found.kind, found.mark);
    }
}

fn json(marks: &Marks, influences: Option<&[swarm::Influence]>) -> anyhow::Result<()> {
    let (reached, of) = marks.reached();
    let mark = |(mark, reached): (&str, &Reached)| {
        let (low, high) = wilson(reached.seeds.len(), marks.ran.len(), Z95);
        serde_json::json!({
            "mark": mark,
            "hits": reached.hits,
            "seeds": reached.seeds.len(),
            "share": reached.seeds.len() as f64 / marks.ran.len().max(1) as f64,
            "low": low,
            "high": high,
            "seed": reached.seeds.iter().next(),
        })
    };
    let influence = |found: &swarm::Influence| {
        serde_json::json!({
            "mark": found.mark,
            "kind": found.kind,
            "triggers": found.triggers(),
            "with": swarm::json(found.with),
            "without": swarm::json(found.without),
        })
    };
    let mut table = serde_json::json!({
        "seeds": marks.ran.len(),
        "reached": reached,
        "of": of,
        "marks": marks.rarest().into_iter().map(mark).collect::<Vec<_>>(),
    });
    if let Some(influences) = influences {
        table["swarm"] = influences.iter().map(influence).collect();
    }
    println!("{}", serde_json::to_string(&table)?);
    Ok(())
}
