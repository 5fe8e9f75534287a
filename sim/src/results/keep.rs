//! Lines of results from what came of a search.

use super::{
    commit::Commit,
    moment::Moment,
    record::{Failing, MESSAGE_MAX, Origin, Record, Search, VERSION},
};
use crate::{
    oracle::Rule,
    plan::GENERATOR,
    run::Job,
    shrink::planted_key,
    summary::{CHECK_DETERMINISM, CHECK_TAPES, DIVERGED, EXCUSED, Summary, TAPES_DIFFER},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// A search that has ended.
pub struct Searched<'a> {
    /// What was asked for.
    pub job: &'a Job,
    /// What came of it.
    pub summary: &'a Summary,
    /// The code that was searched.
    pub commit: &'a Commit,
    /// When it ended.
    pub at: Moment,
    /// Shrunk plans, by rule.
    pub plans: &'a BTreeMap<Rule, PathBuf>,
    /// The command that runs one seed again.
    pub replay: &'a dyn Fn(u64) -> String,
    /// The same with a check that it is to make: an option of `run`.
    pub check_again: &'a dyn Fn(u64, &str) -> String,
}

impl Searched<'_> {
    fn origin(&self) -> Origin {
        Origin {
            version: VERSION,
            at: self.at,
            commit: self.commit.id.clone(),
            dirty: self.commit.dirty,
            generator: GENERATOR,
            level: self.job.level.name().to_owned(),
            bug: planted_key().map(str::to_owned),
        }
    }

    fn search(&self, failures: &[Failing]) -> Search {
        let Self { job, summary, .. } = self;
        let wall = summary.wall.as_secs_f64();
        let ran = || summary.marks.ran.iter();
        let failed = failures.iter().map(|failing| (failing.signature.clone(), failing.seeds));
        let all: BTreeSet<u64> = (summary.failures.keys())
            .chain(summary.diverged.keys())
            .chain(summary.tapes_differ.keys())
            .chain(summary.excused.keys())
            .copied()
            .collect();
        let missing = summary.marks.rarest().into_iter().take_while(|(_, reached)| reached.hits == 0);
        Search {
            origin: self.origin(),
            first: ran().next().unwrap_or(job.seeds.start),
            end: ran().last().map_or(job.seeds.start, |last| last.saturating_add(1)),
            duration_ms: (job.limits.duration_min_ms, job.limits.duration_max_ms),
            faults: job.limits.faults,
            threads: job.threads as u64,
            seeds: summary.seeds,
            simulated_seconds: rounded(summary.simulated_seconds()),
            wall_seconds: rounded(wall),
            seeds_per_second: rounded(summary.seeds as f64 / wall.max(1e-9)),
            failed: all.len() as u64,
            failures: failed.collect(),
            marks_missing: missing.map(|(mark, _)| mark.to_owned()).collect(),
        }
    }

    /// Groups of seeds that broke a rule.
    fn groups(&self) -> impl Iterator<Item = Failing> {
        self.summary.groups().into_iter().map(|group| Failing {
            origin: self.origin(),
            signature: group.rule.signature(),
            rule: group.rule.name().to_owned(),
            seed: group.fastest,
            events: group.failure.events,
            seconds: rounded(group.failure.violation.time as f64 / 1e9),
            seeds: group.seeds.len() as u64,
            message: bounded(&group.failure.violation.message),
            replay: (self.replay)(group.fastest),
            plan: self.plans.get(&group.rule).map(|path| path.display().to_string()),
        })
    }

    /// Seeds that broke no rule, and failed in another way.
    fn other(
        &self,
        name: &str,
        check: Option<&str>,
        seeds: usize,
        first: Option<(u64, String)>,
    ) -> Option<Failing> {
        let (seed, message) = first?;
        let replay = check.map_or_else(|| (self.replay)(seed), |check| (self.check_again)(seed, check));
        Some(Failing {
            origin: self.origin(),
            signature: crate::oracle::signature(name),
            rule: name.to_owned(),
            seed,
            events: 0,
            seconds: 0.0,
            seeds: seeds as u64,
            message: bounded(&message),
            replay,
            plan: None,
        })
    }
}

/// The lines of a search: the whole first, then each group of failures.
#[must_use]
pub fn records(searched: &Searched<'_>) -> Vec<Record> {
    let summary = searched.summary;
    let diverged = summary.diverged.iter().next();
    let diverged = diverged.map(|(seed, (one, other))| {
        (*seed, format!("seed {seed} has hash {one:016x}, and then {other:016x}"))
    });
    let tapes = summary.tapes_differ.iter().next();
    let tapes = tapes.map(|(seed, why)| (*seed, format!("seed {seed}: {why}")));
    let excused = summary.excused.iter().next();
    let excused = excused.map(|(seed, why)| (*seed, format!("seed {seed}: {why}")));
    let failures: Vec<Failing> = searched
        .groups()
        .chain(searched.other(DIVERGED, Some(CHECK_DETERMINISM), summary.diverged.len(), diverged))
        .chain(searched.other(TAPES_DIFFER, Some(CHECK_TAPES), summary.tapes_differ.len(), tapes))
        .chain(searched.other(EXCUSED, None, summary.excused.len(), excused))
        .collect();
    let search = Record::Search(searched.search(&failures));
    std::iter::once(search).chain(failures.into_iter().map(Record::Failure)).collect()
}

/// To thousandths: more is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn bounded(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        oracle::Violation,
        run::{Level, Outcome},
    };

    #[test]
    fn a_search_and_its_failures_become_lines() {
        let mut summary = Summary { wall: std::time::Duration::from_secs(2), ..Summary::default() };
        for (seed, events) in [(5, 70), (6, 50), (7, 90)] {
            let message = "x".repeat(2 * MESSAGE_MAX);
            let violation = Violation { rule: Rule::OneVote, message, time: 1_500_000_000, step: 1 };
            let outcome =
                Outcome { violation: Some(violation), events, time: 3_000_000_000, ..Outcome::default() };
            summary.add(seed, outcome, None);
        }
        summary.add(8, Outcome { hash: 1, ..Outcome::default() }, Some(2));
        summary.add(9, Outcome::default(), None);
        let job = Job { level: Level::Core, ..Job::new(5..1_000, 3) };
        let commit = Commit { id: "abc".to_owned(), dirty: true };
        let plans = BTreeMap::from([(Rule::OneVote, PathBuf::from("repro/g1-one-vote-a-term/plan.json"))]);
        let searched = Searched {
            job: &job,
            summary: &summary,
            commit: &commit,
            at: Moment(77),
            plans: &plans,
            replay: &|seed| format!("replay {seed}"),
            check_again: &|seed, check| format!("run {seed} {check}"),
        };
        let lines = records(&searched);
        let [Record::Search(search), Record::Failure(vote), Record::Failure(diverged)] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!((search.first, search.end, search.seeds, search.failed), (5, 10, 5, 4));
        assert_eq!((search.seeds_per_second, search.simulated_seconds, search.threads), (2.5, 9.0, 3));
        let failures =
            BTreeMap::from([("g1-one-vote-a-term".to_owned(), 3), ("same-seed-same-run".to_owned(), 1)]);
        assert_eq!(search.failures, failures);
        assert!(search.marks_missing.len() > 100 && search.origin.dirty && search.origin.bug.is_none());
        assert_eq!((vote.seed, vote.events, vote.seeds, vote.seconds), (6, 50, 3, 1.5));
        assert_eq!((vote.replay.as_str(), vote.message.len()), ("replay 6", MESSAGE_MAX + 3));
        assert_eq!(vote.plan.as_deref(), Some("repro/g1-one-vote-a-term/plan.json"));
        assert_eq!((diverged.seed, diverged.plan.as_ref()), (8, None));
        assert_eq!(diverged.replay, "run 8 --check-determinism");
        for line in &lines {
            assert_eq!(Record::read(&serde_json::to_vec(line).unwrap()).as_ref(), Ok(line));
        }
    }
}
