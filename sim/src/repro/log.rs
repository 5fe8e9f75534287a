//! The log of a run as text: one line an event, in columns.

use crate::{oracle::Violation, record::Recording};
use core::fmt::Write;

/// What the log begins with.
pub(super) struct Head<'a> {
    pub(super) violation: Option<&'a Violation>,
    pub(super) hash: u64,
    pub(super) command: &'a str,
}

fn beginning(head: &Head<'_>) -> String {
    let mut text = String::new();
    if let Some(violation) = head.violation {
        let (time, step) = (violation.time as f64 / 1e9, violation.step);
        let _ = writeln!(text, "# {}\n# {}", violation.rule.name(), flat(&violation.message));
        let _ = writeln!(text, "# at {time:.6} s, step {step}, hash {:016x}", head.hash);
    }
    let _ = writeln!(text, "# {}\n#", head.command);
    text
}

/// The events of the stack level: true time in nanoseconds, and who, what and the rest in columns.
#[cfg(madsim)]
pub(super) fn stack_lines(plan: &crate::plan::Plan) -> (crate::run::Outcome, Vec<(u64, String)>) {
    use std::sync::{Arc, Mutex, PoisonError};
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    let sink = Box::new(move |time: u64, line: &str| {
        into.lock().unwrap_or_else(PoisonError::into_inner).push((time, line.to_owned()));
    });
    let outcome = crate::stack::run::run_plan(plan, Some(sink), false, None);
    let lines = core::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    (outcome, lines)
}

/// The log of the stack level.
#[cfg(madsim)]
pub(super) fn stack_text(head: &Head<'_>, lines: &[(u64, String)]) -> String {
    let mut text = beginning(head);
    let _ = writeln!(text, "# {:>13}  {:<4} {:<10} more", "seconds", "who", "what");
    for (time, line) in lines {
        let line = format!("{:>15.9}  {}", *time as f64 / 1e9, flat(line));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The whole log. Numbers of events are those of the timeline.
pub(super) fn text(head: &Head<'_>, recording: &Recording) -> String {
    let mut text = beginning(head);
    let kind = recording.events.iter().map(|event| event.kind.len()).max().unwrap_or(0).max(4);
    let _ = writeln!(
        text,
        "# {:>13}  {:>7}  {:>7}  {:<9}  {:>4}  {:>6}  {:<kind$}  what",
        "seconds", "event", "cause", "who", "term", "commit", "kind"
    );
    for (id, event) in recording.events.iter().enumerate() {
        let cause = event.cause.map_or_else(String::new, |cause| cause.to_string());
        let (term, commit) =
            event.raft.map_or_else(Default::default, |(term, commit)| (term.to_string(), commit.to_string()));
        let line = format!(
            "{:>15.9}  {id:>7}  {cause:>7}  {:<9}  {term:>4}  {commit:>6}  {:<kind$}  {}",
            event.time as f64 / 1e9,
            event.actor.to_string(),
            event.kind,
            flat(&event.text)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// One event, one line.
fn flat(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Limits, generate},
        record::run_recorded,
    };

    #[test]
    fn every_event_has_one_line_and_the_columns_are_straight() {
        let plan = generate(3, &Limits { duration_min_ms: 2_000, duration_max_ms: 2_000, faults: true });
        let (outcome, recording) = run_recorded(&plan);
        let head = Head { violation: None, hash: outcome.hash, command: "cargo sim replay plan.json" };
        let text = text(&head, &recording);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), recording.events.len());
        assert!(lines.len() > 500);
        for (id, line) in lines.iter().enumerate() {
            assert_eq!(line[17..24].trim(), id.to_string(), "{line}");
            assert_eq!(line[35..44].trim_end(), recording.events[id].actor.to_string(), "{line}");
        }
    }
}
