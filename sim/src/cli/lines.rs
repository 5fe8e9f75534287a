//! Lines of JSON about one plan. A field means the same in every command.

use crate::{
    oracle::Violation,
    plan::Plan,
    repro::{PLAN, Repro},
    run::{Level, Outcome},
    shrink::{Row, Shrunk},
    summary::faults,
};
use serde_json::{Value, json};
use std::ops::Range;

/// Adds the fields of one line to another.
fn with(mut line: Value, more: Value) -> Value {
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    line
}

/// A line about something that did not hold: what, and when.
pub(super) fn failing(line: Value, violation: &Violation) -> Value {
    let what = json!({
        "signature": violation.rule.signature(),
        "rule": violation.rule.name(),
        "message": violation.message,
        "at_seconds": violation.time as f64 / 1e9,
        "step": violation.step,
    });
    with(line, what)
}

/// What came of a run. `tapes`: how many were written, if that was asked for.
pub(super) fn replayed(level: Level, plan: &Plan, outcome: &Outcome, tapes: Option<usize>) -> Value {
    let line = json!({
        "event": "replay",
        "level": level.name(),
        "seed": plan.seed,
        "hash": format!("{:016x}", outcome.hash),
        "events": outcome.events,
        "simulated_seconds": outcome.time as f64 / 1e9,
        "faults": faults(&outcome.counts),
        "machines": outcome.machines,
        "excused": outcome.excused,
        "oracles": outcome.looked,
        "counts": outcome.counts,
        "tapes": tapes,
    });
    match &outcome.violation {
        Some(violation) => failing(line, violation),
        None => line,
    }
}

/// How small a plan became.
fn sizes(shrunk: &Shrunk) -> Value {
    json!({
        "faults_before": shrunk.faults_before,
        "faults_after": shrunk.faults,
        "operations_before": shrunk.operations_before,
        "operations_after": shrunk.operations,
        "masters": shrunk.plan.masters.clocks.len(),
        "executors": shrunk.plan.executors.clocks.len(),
        "runs": shrunk.runs,
        "wall_seconds": shrunk.wall.as_secs_f64(),
        "finished": shrunk.finished,
    })
}

/// What was made of the failing plan of a seed. The hash and what did not hold are of the plan that lies in the directory; the
/// sizes are those of this search, which may have lost to an older plan.
pub(super) fn made(seed: u64, made: &Repro) -> Value {
    let line = json!({
        "event": "shrunk",
        "level": made.level.name(),
        "seed": seed,
        "hash": format!("{:016x}", made.hash),
        "directory": made.directory.display().to_string(),
        "plan": made.directory.join(PLAN).display().to_string(),
        "older_kept": made.kept,
        "replay": made.command,
    });
    failing(with(line, sizes(&made.shrunk)), &made.violation)
}

/// No rule is broken.
pub(super) fn nothing_to_shrink(level: Level, seed: u64) -> Value {
    json!({ "event": "clean", "level": level.name(), "seed": seed })
}

/// What was made of the plan that finds a planted bug.
pub(super) fn row(row: &Row) -> Value {
    let Some((seed, shrunk)) = &row.found else { return json!({ "event": "not found", "bug": row.bug }) };
    let line = json!({
        "event": "shrunk",
        "level": Level::Core.name(),
        "bug": row.bug,
        "seed": seed,
        "hash": format!("{:016x}", shrunk.hash),
    });
    failing(with(line, sizes(shrunk)), &shrunk.violation)
}

/// The table of all planted bugs as a whole: medians of those that were found.
pub(super) fn rows(seeds: &Range<u64>, rows: &[Row], medians: [u64; 3]) -> Value {
    let [faults, operations, milliseconds] = medians;
    json!({
        "event": "summary",
        "bugs": rows.len(),
        "found": rows.iter().filter(|row| row.found.is_some()).count(),
        "first": seeds.start,
        "end": seeds.end,
        "median_faults_after": faults,
        "median_operations_after": operations,
        "median_wall_seconds": milliseconds as f64 / 1e3,
    })
}
