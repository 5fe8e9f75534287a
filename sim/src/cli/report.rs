//! How the outcome of many seeds is told: to people, to scripts, and to CI.

use super::{LimitArgs, lines::failing};
use crate::{
    oracle::Rule,
    run::Level,
    shrink::planted_key,
    summary::{CHECK_DETERMINISM, CHECK_TAPES, DIVERGED, EXCUSED, Group, Summary, TAPES_DIFFER},
};
use anyhow::Context;
use clap::ValueEnum;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::{fs::OpenOptions, path::Path};

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// Seeds that are named of one group.
const SEEDS_NAMED: usize = 12;

/// Two lines, or all that was counted.
pub(super) fn text(summary: &Summary, verbose: bool) {
    let wall = summary.wall.as_secs_f64().max(1e-9);
    println!(
        "{} seeds, {:.0} simulated s, {} events, {} faults, in {wall:.1} s: {:.1} seeds/s, {:.0} simulated s/s, {} failed, hash {:016x}",
        summary.seeds,
        summary.simulated_seconds(),
        summary.events,
        summary.faults(),
        summary.seeds as f64 / wall,
        summary.simulated_seconds() / wall,
        summary.failing(),
        summary.hash
    );
    let (tapes, inputs) = summary.tapes;
    if tapes > 0 {
        println!("{tapes} tapes with {inputs} inputs gave the same outputs on the core");
    }
    if verbose {
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

/// A line for each failing seed, and one for the whole.
pub(super) fn json(summary: &Summary) -> anyhow::Result<()> {
    for (seed, failure) in &summary.failures {
        let line = serde_json::json!({ "event": "failure", "seed": seed });
        let line = failing(line, &failure.violation);
        println!("{}", serde_json::to_string(&line)?);
    }
    for (seed, (first, second)) in &summary.diverged {
        let hashes = [format!("{first:016x}"), format!("{second:016x}")];
        let line = serde_json::json!({ "event": "diverged", "seed": seed, "hashes": hashes });
        println!("{}", serde_json::to_string(&line)?);
    }
    for (seed, why) in &summary.tapes_differ {
        let line = serde_json::json!({ "event": "tape differs", "seed": seed, "message": why });
        println!("{}", serde_json::to_string(&line)?);
    }
    for (seed, why) in &summary.excused {
        let line = serde_json::json!({ "event": "excused", "seed": seed, "message": why });
        println!("{}", serde_json::to_string(&line)?);
    }
    let group = |group: &Group<'_>| {
        serde_json::json!({
            "signature": group.rule.signature(),
            "seeds": group.seeds,
            "fastest": group.fastest,
        })
    };
    let line = serde_json::json!({
        "event": "summary",
        "seeds": summary.seeds,
        "simulated_seconds": summary.simulated_seconds(),
        "wall_seconds": summary.wall.as_secs_f64(),
        "events": summary.events,
        "faults": summary.faults(),
        "hash": format!("{:016x}", summary.hash),
        "failed": summary.failing(),
        "groups": summary.groups().iter().map(group).collect::<Vec<_>>(),
        "oracles": summary.looked,
        "counts": summary.counts,
    });
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

/// The command that runs a seed again.
pub(super) fn replay(level: Level, seed: u64, limits: &LimitArgs) -> String {
    let bug = planted_key().map_or_else(String::new, |bug| format!(" --bug {bug}"));
    format!("{} replay {seed}{}{bug}", level.command(), limits.text())
}

/// The command that runs a seed again with a check that `replay` does not make, such as `--check-tapes`.
pub(super) fn check_again(level: Level, seed: u64, check: &str, limits: &LimitArgs) -> String {
    let bug = planted_key().map_or_else(String::new, |bug| format!(" --bug {bug}"));
    format!("{} run --seeds {seed} {check}{}{bug}", level.command(), limits.text())
}

/// Each group of failures, with the command that runs its fastest seed again. To the error output.
pub(super) fn failures(summary: &Summary, level: Level, limits: &LimitArgs) {
    for group in summary.groups() {
        let named: Vec<String> = group.seeds.iter().take(SEEDS_NAMED).map(u64::to_string).collect();
        let more = if group.seeds.len() > SEEDS_NAMED { " ..." } else { "" };
        eprintln!("\nFAILED  {}", group.rule.name());
        eprintln!("  {} seeds: {}{more}", group.seeds.len(), named.join(" "));
        let violation = &group.failure.violation;
        eprintln!(
            "  seed {} at {:.6} s, step {}: {}",
            group.fastest,
            violation.time as f64 / 1e9,
            violation.step,
            violation.message
        );
        for machine in &group.failure.machines {
            eprintln!("    {machine}");
        }
        eprintln!("  replay:  {}", replay(level, group.fastest, limits));
    }
    for (seed, (first, second)) in &summary.diverged {
        eprintln!("\nFAILED  {DIVERGED}");
        eprintln!("  seed {seed} has hash {first:016x}, and then {second:016x}");
        eprintln!("  replay:  {}", check_again(level, *seed, CHECK_DETERMINISM, limits));
    }
    for (seed, why) in &summary.tapes_differ {
        eprintln!("\nFAILED  {TAPES_DIFFER}\n  seed {seed}: {why}");
        eprintln!("  replay:  {}", check_again(level, *seed, CHECK_TAPES, limits));
    }
    for (seed, why) in &summary.excused {
        eprintln!("\nFAILED  {EXCUSED}\n  seed {seed} did not become whole, and could not: {why}");
        eprintln!("  replay:  {}", replay(level, *seed, limits));
    }
}

/// Whether every mark was reached. Those that were not are listed, to the error output.
pub(super) fn all_reached(summary: &Summary, format: Format) -> bool {
    let (reached, marks) = summary.marks.reached();
    let rarest = summary.marks.rarest();
    let missed: Vec<_> = rarest.iter().take(marks - reached).map(|(mark, _)| mark).collect();
    match format {
        Format::Json => {
            let line =
                serde_json::json!({ "event": "marks", "marks": marks, "reached": reached, "missed": missed });
            println!("{line}");
        }
        Format::Text if missed.is_empty() => println!("all {marks} marks were reached"),
        Format::Text => {}
    }
    if !missed.is_empty() {
        eprintln!("\nFAILED  {} of {marks} marks were reached by no seed:", missed.len());
        for mark in &missed {
            eprintln!("  {mark}");
        }
    }
    missed.is_empty()
}

/// Makes the file of a JUnit report, or leaves the one that is there: a wrong path is seen before a long search.
pub(super) fn open_junit(path: &Path) -> anyhow::Result<()> {
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(path);
    file.map(|_| ()).with_context(|| format!("--junit: cannot write {}", path.display()))
}

/// A JUnit report: one test case a rule, and one for determinism.
pub(super) fn junit(summary: &Summary, level: Level, path: &Path) -> anyhow::Result<()> {
    let mut report = Report::new("quorate-sim");
    report.set_time(summary.wall);
    let mut suite = TestSuite::new(format!("{} level, {} seeds", level.name(), summary.seeds));
    let groups = summary.groups();
    for &rule in Rule::ALL {
        let mut status = TestCaseStatus::success();
        if let Some(group) = groups.iter().find(|group| group.rule == rule) {
            status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let violation = &group.failure.violation;
            status.set_message(format!("seed {}: {}", group.fastest, violation.message));
            status.set_description(format!("{} seeds: {:?}", group.seeds.len(), group.seeds));
        }
        suite.add_test_case(TestCase::new(rule.name(), status));
    }
    if !summary.diverged.is_empty() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("seeds {:?}", summary.diverged.keys().collect::<Vec<_>>()));
        suite.add_test_case(TestCase::new(DIVERGED, status));
    }
    if !summary.tapes_differ.is_empty() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("{:?}", summary.tapes_differ));
        suite.add_test_case(TestCase::new(TAPES_DIFFER, status));
    }
    if !summary.excused.is_empty() {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(format!("{:?}", summary.excused));
        suite.add_test_case(TestCase::new(EXCUSED, status));
    }
    report.add_test_suite(suite);
    let text = report.to_string().context("the JUnit report")?;
    std::fs::write(path, text).with_context(|| format!("--junit: cannot write {}", path.display()))
}
