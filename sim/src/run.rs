//! Many seeds on a number of threads. Results come in the order of the seeds, whatever thread was faster.

use crate::{
    marks::SimCounts,
    oracle::{Rule, Violation},
    plan::{Limits, Plan, generate},
    world::{Outcome, Sink, World},
};
use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Runs a plan. A panic is a violation like any other.
#[must_use]
pub fn run_plan(plan: &Plan, oracles: bool, log: Option<Sink>) -> Outcome {
    let plan = plan.clone();
    let run = AssertUnwindSafe(|| World::new(plan, oracles, log).run());
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        let message = text.unwrap_or_else(|| "a panic without a text".to_owned());
        Outcome {
            violation: Some(Violation { rule: Rule::Panic, message, time: 0, step: 0 }),
            hash: 0,
            time: 0,
            events: 0,
            steps: 0,
            machines: Vec::new(),
            looked: BTreeMap::new(),
            counts: BTreeMap::new(),
            marks: SimCounts::default(),
            excused: None,
        }
    })
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The seeds.
    pub seeds: Range<u64>,
    /// On so many threads.
    pub threads: usize,
    /// Whether oracles look.
    pub oracles: bool,
    /// What plans stay within.
    pub limits: Limits,
    /// After so many failing seeds no new ones are begun.
    pub failures_max: usize,
}

/// What came of it.
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
    /// The violation of each failing seed.
    pub failures: BTreeMap<u64, Violation>,
    /// How many states each oracle looked at.
    pub looked: BTreeMap<&'static str, u64>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
    /// How often each mark of the simulator was reached.
    pub marks: SimCounts,
    /// Seeds that did not become whole and could not, with the reason.
    pub excused: BTreeMap<u64, String>,
    /// Of the hashes of all seeds.
    pub hash: u64,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.simulated += u128::from(outcome.time);
        self.events += outcome.events;
        self.hash = self.hash.wrapping_add(quorate_core::random::mix(outcome.hash ^ seed));
        for (name, count) in outcome.looked {
            *self.looked.entry(name).or_default() += count;
        }
        for (name, count) in outcome.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self.marks.add(&outcome.marks);
        if let Some(reason) = outcome.excused {
            self.excused.insert(seed, reason);
        }
        if let Some(violation) = outcome.violation {
            self.failures.insert(seed, violation);
        }
    }

    /// Simulated seconds.
    #[must_use]
    pub fn simulated_seconds(&self) -> f64 {
        self.simulated as f64 / 1e9
    }
}

/// Runs all seeds; `progress` is told from time to time.
pub fn run(job: &Job, progress: impl Fn(&Summary) + Sync) -> Summary {
    let start = Instant::now();
    let next = AtomicU64::new(job.seeds.start);
    let stop = AtomicBool::new(false);
    let shared = Mutex::new((Summary::default(), start));
    std::thread::scope(|scope| {
        for _ in 0..job.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= job.seeds.end || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run_plan(&generate(seed, &job.limits), job.oracles, None);
                    let mut shared = match shared.lock() {
                        Ok(shared) => shared,
                        Err(poisoned) => poisoned.into_inner(),
                    };
                    let (summary, last) = &mut *shared;
                    summary.add(seed, outcome);
                    summary.wall = start.elapsed();
                    if summary.failures.len() >= job.failures_max {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if last.elapsed() > Duration::from_millis(200) {
                        *last = Instant::now();
                        progress(summary);
                    }
                }
            });
        }
    });
    let mut summary = match shared.into_inner() {
        Ok((summary, _)) => summary,
        Err(poisoned) => poisoned.into_inner().0,
    };
    summary.wall = start.elapsed();
    summary
}
