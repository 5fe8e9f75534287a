//! One bug: seeds are run with it until enough of them have noticed it, or until there is no more time for it.

use super::statistics::{Share, Z95, Z999, difference, quantile, tries_until, wilson};
use crate::oracle::Rule;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Detections from which on quantiles are those of what was seen, not those of the geometric distribution.
pub const DETECTIONS_MANY: u64 = 40;
/// Seeds with and without a fault that a comparison needs.
const GROUP_LEAST: u64 = 10;

/// When a trial ends.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// No more than so many seeds.
    pub seeds_max: u64,
    /// No fewer than so many, if there is time.
    pub seeds_min: u64,
    /// Enough seeds have noticed it.
    pub detections: u64,
    /// Time of one core.
    pub budget: Duration,
}

/// What one seed did.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which.
    pub seed: u64,
    /// The rule that noticed the bug; `None`: none did.
    pub rule: Option<Rule>,
    /// Events up to then.
    pub events: u64,
    /// Time of one core.
    pub cost: Duration,
    /// The kinds of faults that its plan holds.
    pub faults: BTreeSet<&'static str>,
}

/// How long it took to notice a bug: half of the time at most `median`, nearly always at most `late`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The middle.
    pub median: f64,
    /// The 95th percentile.
    pub late: f64,
}

/// A fault that makes a difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Influence {
    /// Its kind.
    pub fault: &'static str,
    /// The share of seeds with it that noticed the bug.
    pub with: Share,
    /// The share of those without.
    pub without: Share,
}

/// All seeds that were run with one bug.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    seeds: Vec<Seed>,
}

impl Trial {
    /// Takes a seed in.
    pub fn add(&mut self, seed: Seed) {
        self.seeds.push(seed);
    }

    /// How many seeds noticed it, of how many.
    #[must_use]
    pub fn share(&self) -> Share {
        let hits = self.seeds.iter().filter(|seed| seed.rule.is_some()).count();
        Share { hits: hits as u64, tries: self.seeds.len() as u64 }
    }

    /// The share's interval of 95 %.
    #[must_use]
    pub fn interval(&self) -> (f64, f64) {
        let Share { hits, tries } = self.share();
        wilson(hits, tries, Z95)
    }

    /// Time of one core in all.
    #[must_use]
    pub fn cost(&self) -> Duration {
        self.seeds.iter().map(|seed| seed.cost).sum()
    }

    /// The first seed that noticed it.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.seeds.iter().find(|seed| seed.rule.is_some()).map(|seed| seed.seed)
    }

    /// Which rule noticed it how often, the most frequent first.
    #[must_use]
    pub fn oracles(&self) -> Vec<(Rule, u64)> {
        let mut counts: BTreeMap<Rule, u64> = BTreeMap::new();
        for rule in self.seeds.iter().filter_map(|seed| seed.rule) {
            *counts.entry(rule).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        counts
    }

    /// Seeds until it is noticed.
    #[must_use]
    pub fn seeds_needed(&self) -> Found {
        self.found(|_| 1.0)
    }

    /// Seconds of one core until it is noticed.
    #[must_use]
    pub fn seconds_needed(&self) -> Found {
        self.found(|seed| seed.cost.as_secs_f64())
    }

    /// Events until it is noticed: a cost that is the same on every machine.
    #[must_use]
    pub fn events_needed(&self) -> Found {
        self.found(|seed| seed.events as f64)
    }

    // By what was seen between two detections; where those are few, by the hit rate.
    fn found(&self, cost: impl Fn(&Seed) -> f64) -> Found {
        let share = self.share();
        let mean = self.seeds.iter().map(&cost).sum::<f64>() / share.tries.max(1) as f64;
        if share.hits < DETECTIONS_MANY {
            let needed = |probability| mean * tries_until(share.value(), probability);
            return Found { median: needed(0.5), late: needed(0.95) };
        }
        let (mut gaps, mut since) = (Vec::new(), 0.0);
        for seed in &self.seeds {
            since += cost(seed);
            if seed.rule.is_some() {
                gaps.push(core::mem::take(&mut since));
            }
        }
        let part = |gaps: &mut [f64], part| quantile(gaps, part).unwrap_or(f64::INFINITY);
        Found { median: part(&mut gaps, 0.5), late: part(&mut gaps, 0.95) }
    }

    /// The faults that trigger it, and those that suppress it: with and without them the shares differ, beyond chance.
    /// The strongest first.
    #[must_use]
    pub fn influences(&self) -> (Vec<Influence>, Vec<Influence>) {
        let kinds: BTreeSet<&'static str> =
            self.seeds.iter().flat_map(|seed| seed.faults.iter().copied()).collect();
        let (mut triggers, mut suppressors) = (Vec::new(), Vec::new());
        for fault in kinds {
            let (mut with, mut without) = (Share::default(), Share::default());
            for seed in &self.seeds {
                let group = if seed.faults.contains(fault) { &mut with } else { &mut without };
                group.add(seed.rule.is_some());
            }
            if with.tries < GROUP_LEAST || without.tries < GROUP_LEAST {
                continue;
            }
            let (low, high) = difference(with, without, Z999);
            let influence = Influence { fault, with, without };
            if low > 0.0 {
                triggers.push(influence);
            } else if high < 0.0 {
                suppressors.push(influence);
            }
        }
        let strength = |one: &Influence| (one.with.value() - one.without.value()).abs();
        triggers.sort_by(|one, other| strength(other).total_cmp(&strength(one)));
        suppressors.sort_by(|one, other| strength(other).total_cmp(&strength(one)));
        (triggers, suppressors)
    }

    fn over(&self, stop: &Stop) -> bool {
        let Share { hits, tries } = self.share();
        let enough = hits >= stop.detections && tries >= stop.seeds_min;
        enough || tries >= stop.seeds_max || self.cost() >= stop.budget
    }
}

/// Runs seeds, from `first` on, until the trial is over.
pub fn measure(first: u64, stop: &Stop, mut run: impl FnMut(u64) -> Seed) -> Trial {
    let mut trial = Trial::default();
    let mut seed = first;
    while !trial.over(stop) {
        trial.add(run(seed));
        seed += 1;
    }
    trial
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(count: u64, hit: impl Fn(u64) -> bool, fault: impl Fn(u64) -> bool) -> Trial {
        let stop = Stop {
            seeds_max: count,
            seeds_min: 0,
            detections: u64::MAX,
            budget: Duration::from_secs(1_000_000),
        };
        measure(0, &stop, |seed| Seed {
            seed,
            rule: hit(seed).then_some(Rule::OneVote),
            events: 100,
            cost: Duration::from_millis(10),
            faults: if fault(seed) { BTreeSet::from(["crash"]) } else { BTreeSet::new() },
        })
    }

    #[test]
    fn a_trial_ends_with_enough_detections_or_at_its_bounds() {
        let mut stop =
            Stop { seeds_max: 50, seeds_min: 0, detections: 3, budget: Duration::from_secs(1_000) };
        let run = |seed: u64| Seed {
            seed,
            rule: seed.is_multiple_of(4).then_some(Rule::OneVote),
            events: 1,
            cost: Duration::from_secs(1),
            faults: BTreeSet::new(),
        };
        assert_eq!(measure(0, &stop, run).share(), Share { hits: 3, tries: 9 });
        stop.seeds_min = 20;
        assert_eq!(measure(0, &stop, run).share().tries, 20);
        stop.budget = Duration::from_secs(5);
        assert_eq!(measure(0, &stop, run).share().tries, 5);
    }

    #[test]
    fn few_detections_are_read_as_a_rate_and_many_as_they_came() {
        let few = trial(100, |seed| seed == 50, |_| false).seeds_needed();
        assert!((few.median - 68.97).abs() < 0.1 && (few.late - 298.07).abs() < 0.1, "{few:?}");
        let many = trial(1_000, |seed| seed % 10 == 9, |_| false);
        assert_eq!(many.seeds_needed(), Found { median: 10.0, late: 10.0 });
        assert_eq!(many.events_needed(), Found { median: 1_000.0, late: 1_000.0 });
    }

    #[test]
    fn a_fault_that_matters_is_named_and_one_that_does_not_is_not() {
        let (triggers, suppressors) = trial(400, |seed| seed % 2 == 0, |seed| seed % 2 == 0).influences();
        assert_eq!((triggers.len(), suppressors.len()), (1, 0));
        let (triggers, suppressors) = trial(400, |seed| seed % 2 == 0, |seed| seed % 2 == 1).influences();
        assert_eq!((triggers.len(), suppressors.len()), (0, 1));
        let (triggers, suppressors) = trial(400, |seed| seed % 2 == 0, |seed| seed % 3 == 0).influences();
        assert_eq!((triggers.len(), suppressors.len()), (0, 0));
    }
}
