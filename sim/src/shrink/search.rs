//! The best plan so far, and the search for a better one among candidates.

use super::{Options, Progress, operations, plant, planted};
use crate::{
    oracle::{Rule, Violation},
    plan::Plan,
};
use core::hash::Hasher;
use quorate_core::random::mix;
use siphasher::sip::SipHasher13;
use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// A candidate may need so many times the events of the best plan.
const EVENTS_TIMES: u64 = 2;
/// And so many more.
const EVENTS_MORE: u64 = 10_000;

/// Most events of a plan that is to take the place of one that fails after so many.
pub(crate) const fn events_bound(events: u64) -> u64 {
    events.saturating_mul(EVENTS_TIMES).saturating_add(EVENTS_MORE)
}

/// Progress is told at most so often.
const TELL: Duration = Duration::from_millis(100);

/// The search.
pub(super) struct Search<'a> {
    /// The smallest plan that fails.
    pub(super) best: Plan,
    /// What it breaks, and when.
    pub(super) violation: Violation,
    /// Plans that were run.
    pub(super) runs: u64,
    /// Other seeds that each candidate is tried with.
    pub(super) others: u64,
    /// What is being taken out.
    pub(super) stage: &'static str,
    /// The time was over before something was tried.
    pub(super) cut: bool,
    events: u64,
    options: Options<'a>,
    start: Instant,
    told: Instant,
    /// Fingerprints of plans that do not fail.
    failed: BTreeSet<u64>,
}

struct Found {
    place: usize,
    plan: Plan,
    violation: Violation,
    events: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        best: Plan,
        violation: Violation,
        events: u64,
        options: Options<'a>,
        start: Instant,
    ) -> Self {
        Self {
            best,
            violation,
            runs: 0,
            others: 0,
            stage: "",
            cut: false,
            events,
            options,
            start,
            told: start,
            failed: BTreeSet::new(),
        }
    }

    /// Whether the time is over.
    pub(super) fn over(&mut self) -> bool {
        let over = self.start.elapsed() >= self.options.budget;
        self.cut |= over;
        over
    }

    /// Takes the first of `count` candidates that fails as the best plan does. Gives back which.
    pub(super) fn first(
        &mut self,
        count: usize,
        candidate: impl Fn(&Plan, usize) -> Option<Plan> + Sync,
    ) -> Option<usize> {
        if count == 0 || self.over() {
            return None;
        }
        // A fresh run has its own seed first.
        let seeds = 1 + self.others as usize;
        let next = AtomicUsize::new(0);
        let least = AtomicUsize::new(usize::MAX);
        let late = AtomicBool::new(false);
        let runs = AtomicU64::new(0);
        let found: Mutex<(Option<Found>, Vec<u64>)> = Mutex::new((None, Vec::new()));
        let bug = planted();
        let bound = events_bound(self.events);
        let search = &*self;
        let work = || {
            plant(bug);
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= count * seeds || place > least.load(Ordering::Relaxed) {
                    return;
                }
                if search.start.elapsed() >= search.options.budget {
                    late.store(true, Ordering::Relaxed);
                    return;
                }
                let Some(plan) = candidate(&search.best, place / seeds) else { continue };
                let plan = reseed(plan, (place % seeds) as u64);
                let mark = fingerprint(&plan);
                if search.failed.contains(&mark) || plan == search.best || !valid(&plan) {
                    continue;
                }
                runs.fetch_add(1, Ordering::Relaxed);
                let outcome = search.options.level.run_within(&plan, bound);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Some(outcome) if search.same(outcome.violation.as_ref()) => {
                        least.fetch_min(place, Ordering::Relaxed);
                        if let Some(violation) = outcome.violation
                            && found.0.as_ref().is_none_or(|found| place < found.place)
                        {
                            found.0 = Some(Found { place, plan, violation, events: outcome.events });
                        }
                    }
                    _ => found.1.push(mark),
                }
            }
        };
        let threads = self.options.threads.clamp(1, count * seeds);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let (found, failed) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.runs += runs.into_inner();
        self.cut |= late.into_inner();
        self.failed.extend(failed);
        self.tell();
        let found = found?;
        (self.best, self.violation, self.events) = (found.plan, found.violation, found.events);
        Some(found.place / seeds)
    }

    /// One candidate alone.
    pub(super) fn one(&mut self, candidate: impl Fn(&Plan) -> Option<Plan> + Sync) -> bool {
        self.first(1, |plan, _| candidate(plan)).is_some()
    }

    /// The same bug: the same rule does not hold.
    fn same(&self, violation: Option<&Violation>) -> bool {
        violation.is_some_and(|violation| violation.rule == self.violation.rule)
    }

    fn tell(&mut self) {
        if self.told.elapsed() < TELL {
            return;
        }
        self.told = Instant::now();
        (self.options.progress)(&Progress {
            stage: self.stage,
            faults: self.best.faults.len(),
            operations: operations(&self.best),
            runs: self.runs,
            wall: self.start.elapsed(),
        });
    }

    /// Whether the violation came while there still were faults. A panic has no time.
    pub(super) fn before_settling(&self) -> bool {
        self.violation.rule != Rule::Panic && self.violation.time < self.best.duration_ms * 1_000_000
    }
}

fn reseed(mut plan: Plan, number: u64) -> Plan {
    if number > 0 {
        plan.seed = mix(plan.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32;
    }
    plan
}

fn fingerprint(plan: &Plan) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(&serde_json::to_vec(plan).unwrap_or_default());
    hasher.finish()
}

/// Whether a plan can be run, and is one that a correct cluster survives.
pub(super) fn valid(plan: &Plan) -> bool {
    plan.validate().is_ok() && plan.survivable()
}
