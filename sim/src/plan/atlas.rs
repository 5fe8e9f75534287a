//! Which masters may lose or damage what they keep. At any time, a majority of disks must be intact: what a majority
//! has lost, nobody can bring back.
//!
//! The masters that may be hit are chosen once a run, never more than a minority, and every fault that damages a
//! directory names one of them. So it does not matter when these faults come, how they overlap, or which of them take
//! effect: whatever subset of them a shrinker leaves in the plan, the damaged directories are a subset of the chosen ones.
//! Faults that a directory survives (a crash, a full disk, a disk that hangs) may hit anybody.
//!
//! A directory that goes back in time without its master's knowledge (an old copy, a sync that lied) is another matter: a
//! single one can break Raft's promise, if what it forgot counted. That cannot be seen from the plan; see
//! `world::guard`, which looks at the moment when it would happen.

use super::Plan;
use quorate_core::random::Draws;
use std::collections::BTreeSet;

/// The masters whose directories may be damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Atlas {
    /// Their places.
    pub fragile: BTreeSet<u8>,
}

impl Atlas {
    /// Most directories that may be damaged in a cluster of this size.
    #[must_use]
    pub const fn most(masters: usize) -> usize {
        masters.saturating_sub(1) / 2
    }

    /// Chooses at random.
    #[must_use]
    pub fn choose(draws: &mut Draws, masters: usize) -> Self {
        let first = draws.range(0, masters as u64 - 1) as usize;
        let count = draws.range(0, Self::most(masters) as u64) as usize;
        let count = count.max(draws.range(0, Self::most(masters) as u64) as usize);
        Self { fragile: (0..count).map(|number| ((first + number) % masters) as u8).collect() }
    }

    /// The masters that a plan damages, or leaves out for good.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let damaged = plan.faults.iter().filter_map(|fault| fault.kind.damages());
        Self { fragile: damaged.chain(plan.left_out.iter().copied()).collect() }
    }

    /// One of them.
    #[must_use]
    pub fn one(&self, draws: &mut Draws) -> Option<u8> {
        let last = self.fragile.len().checked_sub(1)?;
        self.fragile.iter().nth(draws.range(0, last as u64) as usize).copied()
    }

    /// Whether a majority of directories stays intact.
    #[must_use]
    pub fn recoverable(&self, masters: usize) -> bool {
        self.fragile.len() <= Self::most(masters)
    }
}

impl Plan {
    /// Whether a correct cluster survives it: a majority of directories stays intact, and a majority of those is healed in
    /// the end, with an executor. Where masters come and go, it is looked at when something is to be damaged.
    #[must_use]
    pub fn survivable(&self) -> bool {
        let masters = self.masters.founding();
        let atlas = Atlas::of(self);
        let Some(core) = &self.core else { return atlas.recoverable(masters) };
        let intact = core.masters.iter().filter(|place| !atlas.fragile.contains(place)).count();
        intact > masters / 2 && (!core.executors.is_empty() || self.executors.clocks.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Limits, generate};

    #[test]
    fn every_plan_and_every_part_of_it_leaves_a_majority_of_disks_intact() {
        let mut hit = 0;
        for seed in 0..5_000 {
            let mut plan = generate(seed, &Limits::default());
            let masters = plan.masters.founding();
            let all = Atlas::of(&plan);
            assert!(all.recoverable(masters), "seed {seed}: {all:?} of {masters}");
            let core = plan.core.clone().unwrap();
            let intact = core.masters.iter().filter(|place| !all.fragile.contains(place)).count();
            assert!(intact > masters / 2, "seed {seed}: {intact} intact masters in {core:?} of {masters}");
            assert!(!core.executors.is_empty() && plan.survivable(), "seed {seed}");
            hit += usize::from(!all.fragile.is_empty());
            // What a shrinker leaves.
            let mut draws = Draws::new(seed, 99);
            plan.faults.retain(|_| draws.range(0, 1) == 0);
            let some = Atlas::of(&plan);
            assert!(some.fragile.is_subset(&all.fragile), "seed {seed}");
        }
        assert!(hit > 1_000, "only {hit} of 5,000 plans damage a disk");
    }

    #[test]
    fn a_minority_is_less_than_half() {
        assert_eq!([1, 2, 3, 4, 5, 7, 9].map(Atlas::most), [0, 0, 1, 1, 2, 3, 4]);
    }
}
