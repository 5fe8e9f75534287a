//! Brings the results of several machines together, and keeps them bounded. What is kept does not depend on the order of
//! the files, and merging once more changes nothing.

use super::record::{Origin, Record};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Failing seeds that are kept of one signature and commit.
pub const FAILURES_MAX: usize = 4;
/// Searches that are kept of one commit and level.
pub const SEARCHES_MAX: usize = 256;

/// What is kept of each commit.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of one signature: the fastest failing seeds, then the oldest.
    pub failures: usize,
    /// Of one level: those with failures, then the newest.
    pub searches: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { failures: FAILURES_MAX, searches: SEARCHES_MAX }
    }
}

/// What came of merging.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// What is kept, the oldest first.
    pub records: Vec<Record>,
    /// Lines that were there twice.
    pub twice: usize,
    /// Lines that are over a bound.
    pub over: usize,
}

/// What is bounded together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    commit: String,
    dirty: bool,
    level: String,
    bug: Option<String>,
    /// Of a failure.
    signature: Option<String>,
}

impl Place {
    fn of(record: &Record) -> Self {
        let Origin { commit, dirty, level, bug, .. } = record.origin().clone();
        let signature = match record {
            Record::Search(_) => None,
            Record::Failure(failing) => Some(failing.signature.clone()),
        };
        Self { commit, dirty, level, bug, signature }
    }
}

/// Merges the lines of any number of files.
#[must_use]
pub fn merge(records: impl IntoIterator<Item = Record>, bounds: Bounds) -> Merged {
    let mut merged = Merged::default();
    // As text they have an order and can be compared, also where they hold fractions.
    let mut places: BTreeMap<Place, BTreeMap<String, Record>> = BTreeMap::new();
    for record in records {
        let text = serde_json::to_string(&record).unwrap_or_default();
        let before = places.entry(Place::of(&record)).or_default().insert(text, record);
        merged.twice += usize::from(before.is_some());
    }
    let mut kept = Vec::new();
    for (place, lines) in places {
        let all = lines.len();
        let before = kept.len();
        if place.signature.is_some() {
            kept.extend(failures(lines, bounds.failures));
        } else {
            kept.extend(searches(lines, bounds.searches));
        }
        merged.over += all - (kept.len() - before);
    }
    kept.sort_by(|(text, record), (other_text, other)| {
        (record.origin(), text).cmp(&(other.origin(), other_text))
    });
    merged.records = kept.into_iter().map(|(_, record)| record).collect();
    merged
}

/// The fastest failing seeds, each once.
fn failures(lines: BTreeMap<String, Record>, most: usize) -> impl Iterator<Item = (String, Record)> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by(|(_, one), (_, other)| match (one, other) {
        (Record::Failure(one), Record::Failure(other)) => one.better(other),
        _ => std::cmp::Ordering::Equal,
    });
    let mut seeds = BTreeSet::new();
    lines.retain(|(_, record)| matches!(record, Record::Failure(failing) if seeds.insert(failing.seed)));
    lines.into_iter().take(most)
}

/// Those with failures, then the newest.
fn searches(lines: BTreeMap<String, Record>, most: usize) -> impl Iterator<Item = (String, Record)> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by_key(|(_, record)| {
        let failed = matches!(record, Record::Search(search) if search.failed > 0);
        (Reverse(failed), Reverse(record.origin().at))
    });
    lines.into_iter().take(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::record::tests::{failing, search};

    fn kept(merged: &Merged) -> Vec<(u64, u64)> {
        let of = |record: &Record| match record {
            Record::Search(search) => (search.origin.at.0, search.failed),
            Record::Failure(failing) => (failing.seed, failing.events),
        };
        merged.records.iter().map(of).collect()
    }

    #[test]
    fn the_fastest_failing_seeds_of_a_commit_are_kept_then_the_oldest() {
        let bounds = Bounds { failures: 3, searches: 9 };
        let lines = [
            failing(10, "abc", "g1", 1, 500),
            failing(11, "abc", "g1", 2, 20),
            failing(14, "abc", "g1", 3, 90),
            failing(13, "abc", "g1", 4, 90),
            failing(12, "abc", "g1", 5, 90),
            // The same seed in a later search.
            failing(15, "abc", "g1", 2, 20),
            // Other groups do not take from it.
            failing(16, "abc", "g2", 6, 9_999),
            failing(17, "def", "g1", 7, 9_999),
        ];
        let mut lines: Vec<Record> = lines.into_iter().map(Record::Failure).collect();
        let merged = merge(lines.clone(), bounds);
        assert_eq!(kept(&merged), [(2, 20), (5, 90), (4, 90), (6, 9_999), (7, 9_999)]);
        assert_eq!((merged.twice, merged.over), (0, 3));
        lines.reverse();
        assert_eq!(merge(lines.clone(), bounds).records, merged.records, "the order of files matters");
        let again = merge(merged.records.iter().cloned().chain(lines), bounds);
        assert_eq!(again.records, merged.records, "merging once more changes it");
        assert_eq!(again.twice, 5);
    }

    #[test]
    fn searches_that_failed_are_kept_then_the_newest() {
        let bounds = Bounds { failures: 1, searches: 2 };
        let lines = [
            search(1, "abc", &[("g1", 4)]),
            search(2, "abc", &[]),
            search(3, "abc", &[]),
            search(4, "def", &[]),
        ];
        let merged = merge(lines.clone().into_iter().map(Record::Search), bounds);
        assert_eq!(kept(&merged), [(1, 4), (3, 0), (4, 0)]);
        assert_eq!(merged.over, 1);
        let again = merge(merged.records.iter().cloned().chain(lines.map(Record::Search)), bounds);
        assert_eq!(again.records, merged.records, "merging once more changes it");
    }

    #[test]
    fn planted_bugs_and_changed_work_trees_are_apart() {
        let plain = failing(1, "abc", "g1", 1, 5);
        let mut planted = plain.clone();
        planted.origin.bug = Some("raft-votes-twice".to_owned());
        let mut dirty = plain.clone();
        dirty.origin.dirty = true;
        let lines = [plain, planted, dirty].map(Record::Failure);
        assert_eq!(merge(lines, Bounds { failures: 1, searches: 1 }).records.len(), 3);
    }
}
