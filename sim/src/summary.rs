//! What came of many seeds.

use crate::{
    latency::Samples,
    oracle::{Rule, Violation},
    plan::FaultKind,
    reached::Marks,
    run::Outcome,
};
use quorate_core::random::mix;
use std::{collections::BTreeMap, time::Duration};

/// What does not hold when a seed is not the same twice.
pub const DIVERGED: &str = "same seed, same run";
/// The option of `run` that looks for it.
pub const CHECK_DETERMINISM: &str = "--check-determinism";
/// What does not hold when a tape gives other outputs on the core.
pub const TAPES_DIFFER: &str = "same tape, same outputs";
/// The option of `run` that looks for it.
pub const CHECK_TAPES: &str = "--check-tapes";
/// What does not hold when the plan of a seed leaves a cluster that nothing could make whole.
pub const EXCUSED: &str = "a generated plan can be survived";

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What did not hold.
    pub violation: Violation,
    /// Events until then: how fast the seed fails.
    pub events: u64,
    /// One line a machine.
    pub machines: Vec<String>,
}

/// Failures with one signature.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The rule that did not hold.
    pub rule: Rule,
    /// All of its seeds, in their order.
    pub seeds: Vec<u64>,
    /// The one that fails after the fewest events.
    pub fastest: u64,
    /// That one's failure.
    pub failure: &'a Failure,
}

/// Faults that took effect, of what happened how often.
#[must_use]
pub fn faults(counts: &BTreeMap<&'static str, u64>) -> u64 {
    FaultKind::NAMES.iter().filter_map(|name| counts.get(name)).sum()
}

/// What came of many seeds. The same, whatever thread was faster.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    /// Simulated time, nanoseconds.
    pub simulated: u128,
    /// Events.
    pub events: u64,
    /// Wall time.
    pub wall: Duration,
    /// The failing seeds.
    pub failures: BTreeMap<u64, Failure>,
    /// Seeds that were not the same twice, with both hashes.
    pub diverged: BTreeMap<u64, (u64, u64)>,
    /// Tapes that were replayed on the core, and the inputs on them.
    pub tapes: (u64, u64),
    /// Seeds with a tape that did not give the same outputs there, and why.
    pub tapes_differ: BTreeMap<u64, String>,
    /// How many states each oracle looked at.
    pub looked: BTreeMap<&'static str, u64>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// Seeds that did not become whole, and could not: why. Generated plans leave a majority, so that there should be none.
    pub excused: BTreeMap<u64, String>,
    /// How long things took.
    pub samples: Samples,
    /// Marks: how often each was hit, and by which seeds.
    pub marks: Marks,
    /// Of the hashes of all seeds.
    pub hash: u64,
}

impl Summary {
    /// Adds a run. `second`: the hash of the same run once more.
    pub fn add(&mut self, seed: u64, outcome: Outcome, second: Option<u64>) {
        self.seeds += 1;
        self.simulated += u128::from(outcome.time);
        self.events += outcome.events;
        self.marks.add(seed, &outcome.marks);
        self.hash = self.hash.wrapping_add(mix(outcome.hash ^ seed));
        for (name, count) in outcome.looked {
            *self.looked.entry(name).or_default() += count;
        }
        for (name, count) in outcome.counts {
            *self.counts.entry(name).or_default() += count;
        }
        if let Some(reason) = outcome.excused {
            self.excused.insert(seed, reason);
        }
        self.samples.extend(outcome.samples);
        if let Some(second) = second.filter(|&second| second != outcome.hash) {
            self.diverged.insert(seed, (outcome.hash, second));
        }
        if let Some(violation) = outcome.violation {
            let (events, machines) = (outcome.events, outcome.machines);
            self.failures.insert(seed, Failure { violation, events, machines });
        }
    }

    /// What came of replaying the tapes of a seed.
    pub fn add_tapes(&mut self, seed: u64, checked: Result<(u64, u64), String>) {
        match checked {
            Ok((tapes, inputs)) => self.tapes = (self.tapes.0 + tapes, self.tapes.1 + inputs),
            Err(why) => _ = self.tapes_differ.insert(seed, why),
        }
    }

    /// Simulated seconds.
    #[must_use]
    pub fn simulated_seconds(&self) -> f64 {
        self.simulated as f64 / 1e9
    }

    /// Faults that took effect.
    #[must_use]
    pub fn faults(&self) -> u64 {
        faults(&self.counts)
    }

    /// How many seeds failed.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.failures.len() + self.diverged.len() + self.tapes_differ.len() + self.excused.len()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.failing() == 0
    }

    /// The failures by signature, in the order of the rules.
    #[must_use]
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<Rule, Group<'_>> = BTreeMap::new();
        for (&seed, failure) in &self.failures {
            let rule = failure.violation.rule;
            let group =
                groups.entry(rule).or_insert(Group { rule, seeds: Vec::new(), fastest: seed, failure });
            group.seeds.push(seed);
            if failure.events < group.failure.events {
                (group.fastest, group.failure) = (seed, failure);
            }
        }
        groups.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Ended;

    fn failing(rule: Rule, events: u64) -> Outcome {
        let violation = Violation { rule, message: String::new(), time: 1, step: 1 };
        Outcome { violation: Some(violation), events, ..Outcome::default() }
    }

    #[test]
    fn failures_are_grouped_and_the_fastest_is_named() {
        let mut summary = Summary::default();
        for (seed, rule, events) in [
            (4, Rule::LogMatching, 50),
            (9, Rule::LogMatching, 20),
            (2, Rule::Panic, 7),
            (5, Rule::LogMatching, 20),
        ] {
            summary.add(seed, failing(rule, events), None);
        }
        summary.add(1, Outcome { hash: 3, ..Outcome::default() }, Some(3));
        let groups: Vec<_> =
            summary.groups().iter().map(|group| (group.rule, group.seeds.clone(), group.fastest)).collect();
        assert_eq!(groups, [(Rule::LogMatching, vec![4, 5, 9], 5), (Rule::Panic, vec![2], 2)]);
        assert!(summary.diverged.is_empty() && summary.failing() == 4);
    }

    #[test]
    fn a_tape_that_differs_is_a_failure() {
        let mut summary = Summary::default();
        summary.add_tapes(1, Ok((3, 70)));
        summary.add_tapes(2, Ok((1, 5)));
        assert!(summary.clean() && summary.tapes == (4, 75));
        summary.add_tapes(3, Err("node 1".to_owned()));
        assert!(!summary.clean() && summary.failing() == 1);
    }

    #[test]
    fn a_seed_that_could_not_become_whole_is_a_stall() {
        let mut summary = Summary::default();
        summary.add(
            4,
            Outcome { excused: Some("one of three is left".to_owned()), ..Outcome::default() },
            None,
        );
        assert_eq!((summary.failing(), Ended::of_all(&summary)), (1, Ended::Stall));
        summary.add(5, failing(Rule::LogMatching, 9), None);
        assert_eq!((summary.failing(), Ended::of_all(&summary)), (2, Ended::Violation));
    }

    #[test]
    fn a_second_run_that_differs_is_kept() {
        let mut summary = Summary::default();
        summary.add(8, Outcome { hash: 3, ..Outcome::default() }, Some(4));
        assert_eq!(summary.diverged, BTreeMap::from([(8, (3, 4))]));
        assert!(!summary.clean());
    }
}
