//! The same random schedules for this core's Raft and for the `raft` crate: whatever is lost, reordered, repeated or crashed,
//! each has one leader a term, logs that match, and a committed prefix that never changes; and when all is well again, both
//! have committed the same commands in the same order.
//!
//! What is compared: a client submits the commands 1, 2, 3, .. one after the other, to whoever leads, and again until one is
//! committed. A command may therefore be in a log twice. Without repetitions, both logs must hold exactly those commands, in
//! that order; and every command that the client was told of as committed while things went wrong must be there.

mod ours;
mod theirs;
mod world;

use ours::Ours;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestCaseError};
use theirs::Theirs;
use world::{Member, Step, World};

/// Commands that the client submits in all.
const COMMANDS: u64 = 40;
/// Schedules that are tried of each size.
const SCHEDULES: u32 = 100;

fn step() -> impl Strategy<Value = Step> {
    let place = any::<u16>();
    prop_oneof![
        12 => any::<u8>().prop_map(Step::Tick),
        30 => place.prop_map(Step::Deliver),
        5 => place.prop_map(Step::Lose),
        2 => place.prop_map(Step::Repeat),
        10 => any::<u8>().prop_map(Step::Sync),
        3 => Just(Step::Submit),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(node, torn)| Step::Crash(node, torn)),
        12 => any::<u8>().prop_map(Step::Calm),
        1 => any::<u8>().prop_map(Step::Cut),
    ]
}

/// Runs a schedule, heals, and gives what was committed without repetitions.
fn run<M: Member>(nodes: u64, seed: u64, steps: &[Step]) -> Result<Vec<u64>, TestCaseError> {
    let mut world = World::<M>::new(nodes, seed, COMMANDS);
    for (number, step) in steps.iter().enumerate() {
        world
            .step(*step)
            .map_err(|why| TestCaseError::fail(format!("{}: step {number}, {step:?}: {why}", M::NAME)))?;
    }
    world.heal().map_err(|why| TestCaseError::fail(format!("{}: after healing: {why}", M::NAME)))
}

fn both(nodes: u64, seed: u64, steps: &[Step]) -> Result<(), TestCaseError> {
    let (ours, theirs) = (run::<Ours>(nodes, seed, steps)?, run::<Theirs>(nodes, seed, steps)?);
    prop_assert_eq!(&ours, &(1..=COMMANDS).collect::<Vec<_>>());
    prop_assert_eq!(ours, theirs);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SCHEDULES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn three_nodes_commit_the_same(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..600)) {
        both(3, seed, &steps)?;
    }

    #[test]
    fn five_nodes_commit_the_same(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..600)) {
        both(5, seed, &steps)?;
    }
}

/// What the schedules are worth: in enough of them, leaders change and commands are committed while things go wrong.
#[test]
fn schedules_reach_what_they_are_for() {
    let (mut terms, mut early) = (0, 0);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let schedules = prop::collection::vec(step(), 600..601);
    for seed in 0..40 {
        let steps = schedules.new_tree(&mut runner).expect("a schedule").current();
        let mut world = World::<Ours>::new(3, seed, COMMANDS);
        steps.iter().for_each(|step| world.step(*step).expect("nothing is wrong"));
        terms += u64::from(world.leaders() > 1);
        early += u64::from(world.submitted() > 2);
    }
    assert!(terms >= 10, "of 40 schedules, {terms} had two leaders");
    assert!(early >= 10, "of 40 schedules, {early} committed two commands");
}
