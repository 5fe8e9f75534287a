//! What files of results say: by commit, and by group of failures.

use super::{
    commit::UNKNOWN,
    moment::Moment,
    record::{Failing, Record, Search},
};
use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// Which results are looked at.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Commits that begin with this.
    pub commit: Option<String>,
    /// Groups whose rule or signature holds this, in whatever case.
    pub rule: Option<String>,
    /// `core` or `stack`.
    pub level: Option<String>,
    /// Nothing before this.
    pub since: Option<Moment>,
}

impl Query {
    fn takes(&self, record: &Record) -> bool {
        let origin = record.origin();
        self.since.is_none_or(|since| origin.at >= since)
            && self.commit.as_ref().is_none_or(|commit| origin.commit.starts_with(commit.as_str()))
            && self.level.as_ref().is_none_or(|level| origin.level == *level)
    }

    fn takes_rule(&self, failing: &Failing) -> bool {
        let Some(rule) = self.rule.as_ref().map(|rule| rule.to_lowercase()) else { return true };
        failing.rule.to_lowercase().contains(&rule) || failing.signature.contains(&rule)
    }
}

/// Which code: a commit, and whether it was changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Code {
    /// Its id, or `unknown`.
    pub commit: String,
    /// The work tree was not the commit's.
    pub dirty: bool,
}

impl Code {
    fn of(record: &Record) -> Self {
        let origin = record.origin();
        Self { commit: origin.commit.clone(), dirty: origin.dirty }
    }

    /// As people know it: the first letters of its id, and a plus if it was changed.
    #[must_use]
    pub fn short(&self) -> String {
        const SHORT: usize = 10;
        // An id is plain letters: any place is between two of them.
        let end = self.commit.len().min(SHORT);
        format!("{}{}", &self.commit[..end], if self.dirty { "+" } else { "" })
    }
}

/// What was searched together: results of different levels are not compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kind {
    /// `core` or `stack`.
    pub level: String,
    /// The bug that was planted on purpose.
    pub bug: Option<String>,
}

impl Kind {
    fn of(record: &Record) -> Self {
        let origin = record.origin();
        Self { level: origin.level.clone(), bug: origin.bug.clone() }
    }

    /// In a few words.
    #[must_use]
    pub fn text(&self) -> String {
        self.bug.as_ref().map_or_else(|| self.level.clone(), |bug| format!("{}, {bug}", self.level))
    }
}

/// All searches of one kind on one commit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CommitRow {
    /// The code.
    #[serde(flatten)]
    pub code: Code,
    /// The kind.
    #[serde(flatten)]
    pub kind: Kind,
    /// When the first search ended.
    pub first: Moment,
    /// When the last one did.
    pub last: Moment,
    /// How many there were.
    pub searches: u64,
    /// Seeds that they ran.
    pub seeds: u64,
    /// Simulated seconds.
    pub simulated_seconds: f64,
    /// Seeds by second of wall time.
    pub seeds_per_second: f64,
    /// Simulated seconds by second of wall time and thread.
    pub speed: f64,
    /// Seeds that failed.
    pub failed: u64,
    /// Marks that no search reached.
    pub marks_missing: BTreeSet<String>,
}

/// A group of failures over all commits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupRow {
    /// Names it.
    pub signature: String,
    /// The rule that did not hold.
    pub rule: String,
    /// What was searched.
    #[serde(flatten)]
    pub kind: Kind,
    /// The first code that failed.
    pub first: Code,
    /// When.
    pub first_at: Moment,
    /// The last code that failed.
    pub last: Code,
    /// When.
    pub last_at: Moment,
    /// Commits on which seeds failed.
    pub commits: u64,
    /// Seeds that failed, of all searches that are kept.
    pub seeds: u64,
    /// Seeds of later searches, in which nothing like it was found.
    pub clean_since: u64,
    /// The fastest failing seed of the last code.
    pub fastest: Failing,
}

impl GroupRow {
    /// What runs its fastest seed again: on its commit, and, from the plan that was kept, on any.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        let replay = &self.fastest.replay;
        let own = if self.last.commit == UNKNOWN {
            format!("{replay}  # on a commit that is not known")
        } else if self.last.dirty {
            format!("git checkout {} && {replay}  # on a changed work tree", self.last.commit)
        } else {
            format!("git checkout {} && {replay}", self.last.commit)
        };
        std::iter::once(own).chain(self.fastest.replay_plan()).collect()
    }
}

/// What a query gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct View {
    /// The newest first.
    pub commits: Vec<CommitRow>,
    /// Those that failed last come first.
    pub groups: Vec<GroupRow>,
    /// Seeds and failing seeds a day, by kind and by the number of the day since 1970.
    #[serde(skip)]
    pub days: BTreeMap<Kind, BTreeMap<u64, (u64, u64)>>,
}

impl View {
    /// Looks at results.
    #[must_use]
    pub fn new(records: &[Record], query: &Query) -> Self {
        let records: Vec<&Record> = records.iter().filter(|record| query.takes(record)).collect();
        let mut view = Self::default();
        for record in &records {
            if let Record::Search(search) = record {
                let days = view.days.entry(Kind::of(record)).or_default();
                let day = days.entry(search.origin.at.day()).or_default();
                *day = (day.0.saturating_add(search.seeds), day.1.saturating_add(search.failed));
            }
        }
        view.commits = commits(&records);
        view.groups = groups(&records, query);
        view
    }
}

fn commits(records: &[&Record]) -> Vec<CommitRow> {
    let mut all: BTreeMap<(Code, Kind), Vec<&Search>> = BTreeMap::new();
    for record in records {
        if let Record::Search(search) = record {
            all.entry((Code::of(record), Kind::of(record))).or_default().push(search);
        }
    }
    let mut rows: Vec<CommitRow> =
        all.into_iter().filter_map(|((code, kind), searches)| row(code, kind, &searches)).collect();
    rows.sort_by_key(|row| (Reverse(row.first), row.code.clone(), row.kind.clone()));
    rows
}

fn row(code: Code, kind: Kind, searches: &[&Search]) -> Option<CommitRow> {
    let total =
        |of: fn(&Search) -> u64| searches.iter().map(|search| of(search)).fold(0, u64::saturating_add);
    let sum = |of: fn(&Search) -> f64| searches.iter().map(|search| of(search)).sum::<f64>();
    let missing = |search: &&Search| search.marks_missing.iter().cloned().collect::<BTreeSet<_>>();
    let (seeds, simulated) = (total(|search| search.seeds), sum(|search| search.simulated_seconds));
    let wall = sum(|search| search.wall_seconds).max(1e-9);
    let of_threads = sum(|search| search.wall_seconds * search.threads as f64).max(1e-9);
    Some(CommitRow {
        first: searches.iter().map(|search| search.origin.at).min()?,
        last: searches.iter().map(|search| search.origin.at).max()?,
        searches: searches.len() as u64,
        seeds,
        simulated_seconds: simulated,
        seeds_per_second: seeds as f64 / wall,
        speed: simulated / of_threads,
        failed: total(|search| search.failed),
        marks_missing: searches.iter().map(missing).reduce(|one, other| &one & &other)?,
        code,
        kind,
    })
}

fn groups(records: &[&Record], query: &Query) -> Vec<GroupRow> {
    let mut all: BTreeMap<(String, Kind), Vec<(Code, &Failing)>> = BTreeMap::new();
    for record in records {
        if let Record::Failure(failing) = record
            && query.takes_rule(failing)
        {
            let key = (failing.signature.clone(), Kind::of(record));
            all.entry(key).or_default().push((Code::of(record), failing));
        }
    }
    let mut rows: Vec<GroupRow> =
        all.into_iter().filter_map(|((_, kind), failures)| group(kind, &failures, records)).collect();
    rows.sort_by_key(|row| (Reverse(row.last_at), row.signature.clone(), row.kind.clone()));
    rows
}

fn group(kind: Kind, failures: &[(Code, &Failing)], records: &[&Record]) -> Option<GroupRow> {
    let (first, earliest) =
        failures.iter().min_by_key(|(code, failing)| (failing.origin.at, code.clone()))?;
    let (last, latest) = failures.iter().max_by_key(|(code, failing)| (failing.origin.at, code.clone()))?;
    let of_last = failures.iter().filter(|(code, _)| code == last).map(|(_, failing)| *failing);
    let fastest = of_last.min_by(|one, other| one.better(other))?;
    let signature = &fastest.signature;
    let searches = || {
        records.iter().filter_map(|record| match record {
            Record::Search(search) if Kind::of(record) == kind => Some(search),
            _ => None,
        })
    };
    let failed = searches().filter_map(|search| search.failures.get(signature));
    let seeds = failed.copied().fold(0, u64::saturating_add);
    let later = searches()
        .filter(|search| search.origin.at > latest.origin.at && !search.failures.contains_key(signature));
    let codes: BTreeSet<&Code> = failures.iter().map(|(code, _)| code).collect();
    Some(GroupRow {
        signature: signature.clone(),
        rule: fastest.rule.clone(),
        first: first.clone(),
        first_at: earliest.origin.at,
        last: last.clone(),
        last_at: latest.origin.at,
        commits: codes.len() as u64,
        // Of searches that are over a bound only the failures are left.
        seeds: seeds.max(failures.len() as u64),
        clean_since: later.map(|search| search.seeds).fold(0, u64::saturating_add),
        fastest: fastest.clone(),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::record::tests::{failing, search};

    const DAY: u64 = 24 * 3_600;

    fn results() -> Vec<Record> {
        let mut slow = search(2 * DAY, "bbb", &[]);
        slow.wall_seconds = 6.0;
        slow.marks_missing = vec!["one".to_owned(), "two".to_owned()];
        let mut slower = slow.clone();
        slower.origin.at = Moment(2 * DAY + 9);
        slower.marks_missing = vec!["two".to_owned()];
        let mut stack = search(3 * DAY, "bbb", &[]);
        stack.origin.level = "stack".to_owned();
        vec![
            Record::Search(slow),
            Record::Search(slower),
            Record::Search(stack),
            Record::Search(search(DAY, "aaa", &[("g1", 7), ("g2", 1)])),
            Record::Search(search(DAY + 5, "aab", &[("g1", 3)])),
            Record::Failure(failing(DAY, "aaa", "g1", 1, 50)),
            Record::Failure(failing(DAY, "aaa", "g2", 2, 50)),
            Record::Failure(failing(DAY + 5, "aab", "g1", 3, 90)),
            Record::Failure(failing(DAY + 5, "aab", "g1", 4, 70)),
        ]
    }

    #[test]
    fn searches_are_summed_by_commit_and_level() {
        let view = View::new(&results(), &Query::default());
        let rows: Vec<_> = view
            .commits
            .iter()
            .map(|row| {
                (row.code.commit.as_str(), row.kind.level.as_str(), row.searches, row.seeds, row.failed)
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("bbb", "stack", 1, 100, 0),
                ("bbb", "core", 2, 200, 0),
                ("aab", "core", 1, 100, 3),
                ("aaa", "core", 1, 100, 8)
            ]
        );
        assert_eq!(view.commits[1].marks_missing, BTreeSet::from(["two".to_owned()]));
        assert!((view.commits[1].speed - 8_000.0 / 24.0).abs() < 1e-9);
        assert!((view.commits[1].seeds_per_second - 200.0 / 12.0).abs() < 1e-9);
        let days: Vec<_> = view.days.values().map(|days| days.iter().collect::<Vec<_>>()).collect();
        assert_eq!(days, [vec![(&1, &(200, 11)), (&2, &(200, 0))], vec![(&3, &(100, 0))]]);
    }

    #[test]
    fn groups_say_when_they_were_seen_first_and_last_and_how_much_was_clean_since() {
        let view = View::new(&results(), &Query::default());
        let rows: Vec<_> = view
            .groups
            .iter()
            .map(|row| {
                let (first, last) = (row.first.short(), row.last.short());
                (row.signature.as_str(), first, last, row.seeds, row.clean_since, row.fastest.seed)
            })
            .collect();
        let code = str::to_owned;
        assert_eq!(
            rows,
            [
                ("g1", code("aaa"), code("aab"), 10, 200, 4),
                // The search after it, on the other commit, failed in another way.
                ("g2", code("aaa"), code("aaa"), 1, 300, 2)
            ]
        );
        assert_eq!((view.groups[0].commits, view.groups[1].commits), (2, 1));
    }

    #[test]
    fn a_query_takes_what_it_names() {
        let count = |query: Query| {
            let view = View::new(&results(), &query);
            (view.commits.len(), view.groups.len())
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(count(Query { commit: text("aa"), ..Query::default() }), (2, 2));
        assert_eq!(count(Query { commit: text("aab"), ..Query::default() }), (1, 1));
        assert_eq!(count(Query { rule: text("G2"), ..Query::default() }), (4, 1));
        assert_eq!(count(Query { level: text("stack"), ..Query::default() }), (1, 0));
        assert_eq!(count(Query { since: Some(Moment(DAY + 1)), ..Query::default() }), (3, 1));
        assert_eq!(count(Query { commit: text("zzz"), ..Query::default() }), (0, 0));
    }
}
