//! How long the cluster takes, in simulated time: to serve again after its leader was lost, to end a job, to run a lost
//! task elsewhere.

use quorate_core::{
    trace::TraceEvent,
    types::{ExecutorId, JobId, TaskKey, Term},
};
use quorate_proto::v1::JobState;
use std::collections::BTreeMap;

macro_rules! measures {
    ($($name:ident = $text:literal,)*) => {
        /// What is measured.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the text that is printed says it")]
        pub enum Measure { $($name,)* }

        impl Measure {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// From when to when.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

measures! {
    Failover = "leader lost, another serves",
    JobFinished = "job accepted, job finished",
    TaskMoved = "executor last heard, its task decided to move",
    TaskRunsAgain = "executor last heard, its task runs elsewhere",
}

/// The samples of one run or of many, nanoseconds of simulated time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    of: [Vec<u64>; Measure::ALL.len()],
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, measure: Measure, nanoseconds: u64) {
        self.of[measure as usize].push(nanoseconds);
    }

    /// Adds those of another run.
    pub fn extend(&mut self, other: Self) {
        for (all, more) in self.of.iter_mut().zip(other.of) {
            all.extend(more);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self, measure: Measure) -> usize {
        self.of[measure as usize].len()
    }

    /// The values below which these parts of a thousand lie (nearest rank), in their order; none without samples.
    #[must_use]
    pub fn permille(&self, measure: Measure, parts: &[usize]) -> Vec<u64> {
        let mut sorted = self.of[measure as usize].clone();
        sorted.sort_unstable();
        let rank = |&part: &usize| (sorted.len() * part).div_ceil(1_000).max(1) - 1;
        if sorted.is_empty() { Vec::new() } else { parts.iter().map(|part| sorted[rank(part)]).collect() }
    }
}

/// What a run waits for.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// What has come.
    pub samples: Samples,
    /// When the leader was lost, and its term.
    leader_lost: Option<(u64, Term)>,
    accepted: BTreeMap<JobId, u64>,
    /// When a leader last acknowledged a heartbeat.
    heard: BTreeMap<ExecutorId, u64>,
    /// When the lost executor of a task was last heard.
    moving: BTreeMap<TaskKey, u64>,
}

impl Latency {
    /// The leader of this term was lost. Ignored while one is being replaced.
    pub const fn leader_lost(&mut self, time: u64, term: Term) {
        if self.leader_lost.is_none() {
            self.leader_lost = Some((time, term));
        }
    }

    /// Whether a leader is being replaced.
    #[must_use]
    pub const fn is_failing_over(&self) -> bool {
        self.leader_lost.is_some()
    }

    /// A leader serves. The lost one itself may be back: then nothing was replaced.
    pub fn leader_serves(&mut self, time: u64, term: Term) {
        if let Some((lost, before)) = self.leader_lost.take()
            && term > before
        {
            self.samples.add(Measure::Failover, time - lost);
        }
    }

    /// No majority is there to replace it: how long that takes says nothing.
    pub const fn no_majority(&mut self) {
        self.leader_lost = None;
    }

    /// A heartbeat of this executor was acknowledged.
    pub fn heard(&mut self, executor: ExecutorId, time: u64) {
        self.heard.insert(executor, time);
    }

    /// A committed entry did this.
    pub fn happened(&mut self, event: &TraceEvent, time: u64) {
        match event {
            TraceEvent::JobSubmitted { job } => _ = self.accepted.insert(job.clone(), time),
            TraceEvent::JobEnded { job, state } => {
                if let (Some(from), JobState::Finished) = (self.accepted.remove(job), state) {
                    self.samples.add(Measure::JobFinished, time - from);
                }
            }
            TraceEvent::TaskMoved { attempt, executor } => {
                if let Some(&heard) = self.heard.get(executor) {
                    self.samples.add(Measure::TaskMoved, time - heard);
                    self.moving.insert(attempt.task.clone(), heard);
                }
            }
            TraceEvent::TaskOnline { attempt } => {
                if let Some(heard) = self.moving.remove(&attempt.task) {
                    self.samples.add(Measure::TaskRunsAgain, time - heard);
                }
            }
            TraceEvent::TaskEnded { attempt, .. } => _ = self.moving.remove(&attempt.task),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_nearest_and_none_is_none() {
        let mut samples = Samples::default();
        assert!(samples.permille(Measure::Failover, &[500]).is_empty());
        for value in (1..=1_000).rev() {
            samples.add(Measure::Failover, value);
        }
        assert_eq!(
            samples.permille(Measure::Failover, &[0, 500, 990, 999, 1_000]),
            [1, 500, 990, 999, 1_000]
        );
        let mut one = Samples::default();
        one.add(Measure::Failover, 7);
        assert_eq!(one.permille(Measure::Failover, &[1, 500, 999]), [7, 7, 7]);
    }

    #[test]
    fn a_second_loss_does_not_shorten_the_first() {
        let mut latency = Latency::default();
        latency.leader_lost(10, Term(1));
        latency.leader_lost(50, Term(2));
        latency.leader_serves(60, Term(2));
        latency.leader_serves(90, Term(3));
        assert_eq!(latency.samples.permille(Measure::Failover, &[1, 1_000]), [50, 50]);
        latency.leader_lost(100, Term(3));
        latency.no_majority();
        latency.leader_serves(200, Term(4));
        latency.leader_lost(300, Term(4));
        latency.leader_serves(310, Term(4));
        assert_eq!(latency.samples.count(Measure::Failover), 1);
    }
}
