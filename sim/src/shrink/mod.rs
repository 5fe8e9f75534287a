//! Makes a failing plan small: delta debugging over its paired faults, then its operations, machines, times, magnitudes
//! and knobs, again and again until nothing more can be taken out. A smaller plan counts only if the same rule breaks.
//!
//! Candidates run in parallel; the first in their order that fails is taken, so that the number of threads changes
//! nothing. Draws are counted by purpose, so that what is taken out leaves the draws of all else as they were.

mod benign;
mod bugs;
mod machines;
mod reduce;
mod search;
mod times;

pub use bugs::{Row, table};

use crate::{oracle::Violation, plan::Plan, run::Level};
use quorate_core::bug::Bug;
use search::Search;
pub(crate) use search::events_bound;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Seeds that a smaller plan is tried with, once its own gives nothing any more: another seed has other latencies.
const OTHER_SEEDS: u64 = 4;

/// How to shrink.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// On which level plans run.
    pub level: Level,
    /// No candidate is begun after this time.
    pub budget: Duration,
    /// Candidates at once.
    pub threads: usize,
    /// Is told from time to time.
    pub progress: &'a (dyn Fn(&Progress) + Sync),
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being taken out.
    pub stage: &'static str,
    /// Faults left.
    pub faults: usize,
    /// Operations of clients left.
    pub operations: usize,
    /// Runs so far.
    pub runs: u64,
    /// Time so far.
    pub wall: Duration,
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, faults, operations, runs, wall } = self;
        let wall = wall.as_secs_f64();
        write!(
            formatter,
            "{wall:5.1} s  {faults:3} faults  {operations:4} operations  {runs:5} runs  {stage}"
        )
    }
}

/// A plan that was made small.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan.
    pub plan: Plan,
    /// What its run breaks.
    pub violation: Violation,
    /// The hash of its run.
    pub hash: u64,
    /// Events of its run.
    pub events: u64,
    /// Faults of the plan that was given.
    pub faults_before: usize,
    /// Faults that are left.
    pub faults: usize,
    /// Operations of clients in the plan that was given.
    pub operations_before: usize,
    /// Operations that are left.
    pub operations: usize,
    /// How many plans were run.
    pub runs: u64,
    /// How long it took.
    pub wall: Duration,
    /// Nothing more can be taken out; else the time was over.
    pub finished: bool,
}

/// Operations of all clients of a plan.
#[must_use]
pub fn operations(plan: &Plan) -> usize {
    plan.clients.iter().map(|client| client.operations.len()).sum()
}

/// The bug that is planted in the runs of this thread.
#[must_use]
pub fn planted() -> Option<Bug> {
    #[cfg(feature = "planted-bugs")]
    return Bug::ALL.iter().copied().find(|bug| quorate_core::bug::planted(*bug));
    #[cfg(not(feature = "planted-bugs"))]
    None
}

/// Plants a bug in the runs of this thread: none without the feature `planted-bugs`.
#[cfg(feature = "planted-bugs")]
pub(crate) fn plant(bug: Option<Bug>) {
    quorate_core::bug::plant(bug);
}

/// Plants a bug in the runs of this thread: none without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn plant(_: Option<Bug>) {}

/// The name of the bug that is planted in the runs of this thread.
#[must_use]
pub fn planted_key() -> Option<&'static str> {
    #[cfg(feature = "planted-bugs")]
    return planted().map(Bug::key);
    #[cfg(not(feature = "planted-bugs"))]
    None
}

/// Makes a failing plan small. `None`: it does not fail.
#[must_use]
pub fn shrink(plan: &Plan, options: Options<'_>) -> Option<Shrunk> {
    let start = Instant::now();
    let outcome = options.level.run(plan, true, None);
    let violation = outcome.violation.clone()?;
    let mut search = Search::new(plan.clone(), violation.clone(), outcome.events, options, start);
    let mut finished = false;
    for others in [0, OTHER_SEEDS] {
        search.others = others;
        // Each round takes something out, so that the rounds come to an end.
        while !search.over() {
            if !round(&mut search) {
                finished = true;
                break;
            }
        }
    }
    search.stage = "round numbers";
    if times::round(&mut search) {
        times::truncate(&mut search);
    }
    let (best, runs, cut) = (search.best, search.runs, search.cut);
    let outcome = options.level.run(&best, true, None);
    let shrunk = Shrunk {
        violation: outcome.violation.unwrap_or(violation),
        hash: outcome.hash,
        events: outcome.events,
        faults_before: plan.faults.len(),
        faults: best.faults.len(),
        operations_before: operations(plan),
        operations: operations(&best),
        runs: runs + 2,
        wall: start.elapsed(),
        finished: finished && !cut,
        plan: best,
    };
    Some(shrunk)
}

/// Whether anything was taken out.
fn round(search: &mut Search<'_>) -> bool {
    let mut changed = false;
    for (stage, pass) in STAGES {
        search.stage = stage;
        changed |= pass(search);
    }
    changed
}

type Pass = fn(&mut Search<'_>) -> bool;

/// The most telling first: what is gone early need not be run again and again.
const STAGES: [(&str, Pass); 9] = [
    ("what comes after the violation", times::truncate),
    ("faults", reduce::faults),
    ("clients", reduce::clients),
    ("operations", reduce::operations),
    ("masters", machines::masters),
    ("executors", machines::executors),
    ("knobs and magnitudes", benign::knobs),
    ("strength of faults", benign::faults),
    ("time", times::shorten),
];

#[cfg(test)]
mod tests;
