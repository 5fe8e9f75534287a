use super::*;
use crate::plan::{Limits, generate};

#[test]
fn a_plan_that_does_not_fail_is_not_shrunk() {
    let plan = generate(1, &Limits { duration_min_ms: 1_000, duration_max_ms: 1_000, faults: false });
    let options =
        Options { level: Level::Core, budget: Duration::from_secs(10), threads: 1, progress: &|_| () };
    assert!(shrink(&plan, options).is_none());
}

#[cfg(feature = "planted-bugs")]
mod planted_bugs {
    use super::*;
    use crate::{plan::Plan, run::run_plan};
    use quorate_core::bug::{Bug, plant};

    /// The first failing plan of a bug, which stays planted.
    fn failing(bug: Bug) -> Plan {
        plant(Some(bug));
        let limits = Limits { duration_min_ms: 5_000, duration_max_ms: 10_000, faults: true };
        let mut plans = (0..500).map(|seed| generate(seed, &limits));
        plans.find(|plan| run_plan(plan, true, None).violation.is_some()).unwrap()
    }

    fn options(threads: usize) -> Options<'static> {
        // So long that it does not matter.
        Options { level: Level::Core, budget: Duration::from_secs(600), threads, progress: &|_| () }
    }

    #[test]
    fn the_same_rule_breaks_in_a_smaller_plan_on_any_number_of_threads() {
        let plan = failing(Bug::CommitsOldTerm);
        let rule = run_plan(&plan, true, None).violation.unwrap().rule;
        let one = shrink(&plan, options(1)).unwrap();
        assert_eq!(one.violation.rule, rule);
        assert!(one.finished && one.faults <= 3 && one.faults < one.faults_before, "{one:?}");
        assert!(one.operations < one.operations_before, "{one:?}");
        let again = run_plan(&one.plan, true, None);
        assert_eq!((again.hash, again.violation), (one.hash, Some(one.violation.clone())));
        assert_eq!(planted(), Some(Bug::CommitsOldTerm));
        let three = shrink(&plan, options(3)).unwrap();
        assert_eq!((one.plan, one.hash), (three.plan, three.hash));
        plant(None);
    }

    #[test]
    fn what_is_not_needed_is_brought_to_what_is_benign() {
        let plan = failing(Bug::VoteNotPersisted);
        let shrunk = shrink(&plan, options(2)).unwrap();
        plant(None);
        assert_eq!((shrunk.faults, shrunk.operations, shrunk.plan.executors.clocks.len()), (0, 0, 1));
        assert_eq!(shrunk.plan.masters.clocks.len(), 3);
        assert_eq!(shrunk.plan.masters.timing_ms, [50, 250, 450, 400, 5_000]);
        assert_eq!((shrunk.plan.network.loss_ppm, shrunk.plan.network.tail_ppm), (0, 0));
        assert!(shrunk.plan.masters.clocks.iter().all(|clock| clock.drift_ppb == 0));
        assert!(run_plan(&shrunk.plan, true, None).violation.is_none(), "it fails without the bug as well");
    }

    #[test]
    fn a_budget_is_kept() {
        let plan = failing(Bug::CommitsOldTerm);
        let none = Options { budget: Duration::ZERO, ..options(1) };
        let shrunk = shrink(&plan, none).unwrap();
        plant(None);
        assert!(!shrunk.finished && shrunk.plan == plan, "{shrunk:?}");
    }
}
