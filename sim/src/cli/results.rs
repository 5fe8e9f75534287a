//! `cargo sim results`: what was kept of searches, merged, queried and drawn.

use super::Ended;
use crate::results::{
    Bounds, CommitRow, FAILURES_MAX, GroupRow, Merged, Moment, Query, SEARCHES_MAX, View, merge, page, read,
    write,
};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How the results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for people.
    Table,
    /// For scripts: one object.
    Json,
}

/// A level, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// The core level.
    Core,
    /// The stack level.
    Stack,
}

#[derive(Args)]
pub(super) struct ResultArgs {
    /// Files that `run --keep` wrote, of any number of machines.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only commits that begin with this.
    #[arg(long)]
    commit: Option<String>,
    /// Only groups of failures whose rule holds this text.
    #[arg(long)]
    rule: Option<String>,
    /// Only this level.
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// Nothing before this: a date such as 2026-03-01, or a length of time such as 7d or 12h.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| Moment::since(text, Moment::now()))]
    since: Option<Moment>,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Also draw them: one HTML file that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write all that is in the files into one, within the bounds below. It may be one of the files.
    #[arg(long, value_name = "FILE")]
    merge: Option<PathBuf>,
    /// Failing seeds that are kept of one signature and commit: the fastest, then the oldest.
    #[arg(long, value_name = "COUNT", default_value_t = FAILURES_MAX, value_parser = count)]
    keep_failures: usize,
    /// Searches that are kept of one commit and level: those that failed, then the newest.
    #[arg(long, value_name = "COUNT", default_value_t = SEARCHES_MAX, value_parser = count)]
    keep_searches: usize,
}

fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number: &usize| number > 0);
    number.ok_or_else(|| format!("{text:?} is not a number from 1 on"))
}

pub(super) fn results(args: &ResultArgs) -> anyhow::Result<Ended> {
    let mut records = Vec::new();
    for path in &args.files {
        records.extend(read(path)?);
    }
    let bounds = Bounds { failures: args.keep_failures, searches: args.keep_searches };
    let Merged { records, twice, over } = merge(records, bounds);
    if let Some(path) = &args.merge {
        write(path, &records)?;
        eprintln!(
            "{} lines in {}; {twice} were there twice, {over} are over a bound",
            records.len(),
            path.display()
        );
    }
    let query = Query {
        commit: args.commit.clone(),
        rule: args.rule.clone(),
        level: args.level.and_then(|level| Some(level.to_possible_value()?.get_name().to_owned())),
        since: args.since,
    };
    let view = View::new(&records, &query);
    match args.output {
        Format::Table => table(&view),
        Format::Json => println!("{}", serde_json::to_string(&view)?),
    }
    if let Some(path) = &args.html {
        let page = page(&view, Moment::now());
        std::fs::write(path, page).with_context(|| format!("--html: cannot write {}", path.display()))?;
    }
    Ok(Ended::Clean)
}

fn table(view: &View) {
    if view.commits.is_empty() && view.groups.is_empty() {
        println!("no search matches");
        return;
    }
    println!(
        "{:<12} {:<7} {:<10} {:<10} {:>8} {:>10} {:>12} {:>9} {:>7} {:>7}",
        "commit", "level", "first", "last", "searches", "seeds", "simulated s", "seeds/s", "failed", "marks-"
    );
    for row in &view.commits {
        println!("{}", commit(row));
    }
    for row in &view.groups {
        group(row);
    }
}

fn commit(row: &CommitRow) -> String {
    let bug = row.kind.bug.as_ref().map_or_else(String::new, |bug| format!("  {bug}"));
    format!(
        "{:<12} {:<7} {:<10} {:<10} {:>8} {:>10} {:>12.0} {:>9.1} {:>7} {:>7}{bug}",
        row.code.short(),
        row.kind.level,
        row.first.date(),
        row.last.date(),
        row.searches,
        row.seeds,
        row.simulated_seconds,
        row.seeds_per_second,
        row.failed,
        row.marks_missing.len()
    )
}

fn group(row: &GroupRow) {
    println!("\nFAILED  {} ({})", row.rule, row.kind.text());
    println!("  first:   {}, {}", row.first.short(), row.first_at);
    println!("  last:    {}, {}; {} seeds were clean since", row.last.short(), row.last_at, row.clean_since);
    println!("  seeds:   {} failed, on {} commits", row.seeds, row.commits);
    println!("  fastest: seed {}, {} events: {}", row.fastest.seed, row.fastest.events, row.fastest.message);
    for command in row.commands() {
        println!("  replay:  {command}");
    }
}
