//! The table of planted bugs: for a terminal, for the docs, and for programs.

use super::trial::{Found, Influence, Trial};
use std::fmt::Write;

/// One bug with its trial.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub key: &'static str,
    /// What is broken.
    pub text: &'static str,
    /// The rule or the known defect that it stands for.
    pub reference: &'static str,
    /// What came of it.
    pub trial: Trial,
}

/// For people at a terminal.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<32} {:>10} {:>17} {:>13} {:>15} {:>17}  first noticed by\n",
        "bug", "found", "share, 95 %", "seeds 50/95", "seconds 50/95", "events 50/95"
    );
    for row in rows {
        let share = row.trial.share();
        let _ = writeln!(
            out,
            "{:<32} {:>10} {:>17} {:>13} {:>15} {:>17}  {}",
            row.key,
            format!("{}/{}", share.hits, share.tries),
            percents(&row.trial),
            both(row.trial.seeds_needed(), 0),
            both(row.trial.seconds_needed(), 2),
            both(row.trial.events_needed(), 0),
            oracles(&row.trial, 2)
        );
        let (triggers, suppressors) = row.trial.influences();
        for (name, influences) in [("triggered by", triggers), ("suppressed by", suppressors)] {
            if !influences.is_empty() {
                let _ = writeln!(out, "{:>45}: {}", name, brief(&influences));
            }
        }
    }
    out + &summary(rows)
}

/// For the docs.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut out = "| bug | what is broken | stands for | found | seeds p50 / p95 | seconds p50 / p95 | events p50 / p95 | first noticed by | triggered by | suppressed by |\n\
                   |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let share = row.trial.share();
        let (triggers, suppressors) = row.trial.influences();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} of {}: {} | {} | {} | {} | {} | {} | {} |",
            row.key,
            row.text,
            row.reference,
            share.hits,
            share.tries,
            percents(&row.trial),
            both(row.trial.seeds_needed(), 0),
            both(row.trial.seconds_needed(), 2),
            both(row.trial.events_needed(), 0),
            oracles(&row.trial, 3),
            brief(&triggers),
            brief(&suppressors)
        );
    }
    out + "\n" + &summary(rows)
}

/// For programs: one line of JSON a bug.
#[must_use]
pub fn json(rows: &[Row]) -> String {
    let pair = |found: Found| serde_json::json!({ "p50": finite(found.median), "p95": finite(found.late) });
    let fault = |influence: &Influence| {
        serde_json::json!({
            "fault": influence.fault,
            "with": [influence.with.hits, influence.with.tries],
            "without": [influence.without.hits, influence.without.tries],
        })
    };
    let line = |row: &Row| {
        let (share, interval) = (row.trial.share(), row.trial.interval());
        let (triggers, suppressors) = row.trial.influences();
        let oracles: serde_json::Map<String, serde_json::Value> = row
            .trial
            .oracles()
            .iter()
            .map(|(rule, count)| (rule.name().to_owned(), (*count).into()))
            .collect();
        serde_json::json!({
            "bug": row.key,
            "text": row.text,
            "reference": row.reference,
            "seeds": share.tries,
            "found": share.hits,
            "first_seed": row.trial.first(),
            "interval95": [interval.0, interval.1],
            "seeds_needed": pair(row.trial.seeds_needed()),
            "seconds_needed": pair(row.trial.seconds_needed()),
            "events_needed": pair(row.trial.events_needed()),
            "oracles": oracles,
            "triggers": triggers.iter().map(fault).collect::<Vec<_>>(),
            "suppressors": suppressors.iter().map(fault).collect::<Vec<_>>(),
        })
        .to_string()
    };
    rows.iter().map(|row| line(row) + "\n").collect()
}

fn summary(rows: &[Row]) -> String {
    let found = rows.iter().filter(|row| row.trial.share().hits > 0).count();
    let late = |row: &Row| row.trial.seconds_needed().late;
    let slow: Vec<&str> = rows.iter().filter(|row| late(row) > SECONDS_MOST).map(|row| row.key).collect();
    let slowest = rows.iter().max_by(|one, other| late(one).total_cmp(&late(other)));
    let slowest = slowest.map_or_else(String::new, |row| format!("; the slowest is {}", row.key));
    let mut out = format!(
        "{found} of {} bugs are found, {} of them with a 95th percentile of at most {SECONDS_MOST} s of one core{slowest}.\n",
        rows.len(),
        rows.len() - slow.len()
    );
    if !slow.is_empty() {
        let _ = writeln!(out, "Not found in that time: {}.", slow.join(", "));
    }
    out
}

/// The 95th percentile of the time to a detection that is aimed at, in seconds of one core.
pub const SECONDS_MOST: f64 = 60.0;

const fn finite(value: f64) -> Option<f64> {
    if value.is_finite() { Some(value) } else { None }
}

fn both(found: Found, places: usize) -> String {
    let one = |value: f64| {
        if value.is_finite() { format!("{value:.places$}") } else { "never".to_owned() }
    };
    format!("{} / {}", one(found.median), one(found.late))
}

fn percents(trial: &Trial) -> String {
    let (low, high) = trial.interval();
    let places = if high < 0.02 { 2 } else { 1 };
    format!("{:.places$} to {:.places$} %", low * 100.0, high * 100.0)
}

fn oracles(trial: &Trial, most: usize) -> String {
    let oracles = trial.oracles();
    let all: u64 = oracles.iter().map(|(_, count)| count).sum();
    let shown = oracles.iter().take(most);
    let mut names: Vec<String> = shown
        .map(|(rule, count)| {
            if *count == all {
                rule.name().to_owned()
            } else {
                format!("{} {} %", rule.name(), count * 100 / all)
            }
        })
        .collect();
    if oracles.len() > most {
        names.push(format!("{} more", oracles.len() - most));
    }
    names.join(", ")
}

fn brief(influences: &[Influence]) -> String {
    let one = |influence: &Influence| {
        format!(
            "{} ({:.1} % with, {:.1} % without)",
            influence.fault,
            influence.with.value() * 100.0,
            influence.without.value() * 100.0
        )
    };
    influences.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bugs::trial::{Seed, Stop, measure},
        oracle::Rule,
    };
    use std::{collections::BTreeSet, time::Duration};

    fn row(hits: bool) -> Row {
        let stop = Stop { seeds_max: 20, seeds_min: 0, detections: 100, budget: Duration::from_secs(1_000) };
        let trial = measure(0, &stop, |seed| Seed {
            seed,
            rule: (hits && seed % 4 == 3).then_some(Rule::OneVote),
            events: 1_000,
            cost: Duration::from_secs(1),
            faults: BTreeSet::new(),
        });
        Row { key: "raft-votes-twice", text: "a second vote", reference: "G1", trial }
    }

    #[test]
    fn every_format_names_the_bug_its_share_and_its_oracle() {
        for out in [text(&[row(true)]), markdown(&[row(true)])] {
            for part in ["raft-votes-twice", "11.2 to 46.9 %", "G1 one vote a term", "1 of 1 bugs are found"]
            {
                assert!(out.contains(part), "{part}: {out}");
            }
        }
        let line: serde_json::Value = serde_json::from_str(json(&[row(true)]).trim()).unwrap();
        assert_eq!((&line["found"], &line["seeds"], &line["first_seed"]), (&5.into(), &20.into(), &3.into()));
        assert_eq!(line["oracles"]["G1 one vote a term"], 5);
    }

    #[test]
    fn a_bug_that_nothing_noticed_is_said_to_be_so() {
        let out = text(&[row(false)]);
        assert!(
            out.contains("0 of 1 bugs are found") && out.contains("Not found in that time: raft-votes-twice")
        );
        assert!(out.contains("never / never"), "{out}");
        let line: serde_json::Value = serde_json::from_str(json(&[row(false)]).trim()).unwrap();
        assert!(line["seeds_needed"]["p95"].is_null());
    }
}
