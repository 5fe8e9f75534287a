//! Some seeds, with everything that oracles look at. The many are for `cargo sim run`.

use quorate_sim::{
    oracle::Rule,
    plan::{CorePlan, Fault, FaultKind, Limits, Plan, generate},
    run::{Job, run, run_plan},
};

#[test]
fn seeds_are_clean_and_every_oracle_looks() {
    let job = Job::new(0..300, 2);
    let summary = run(&job, |_| ());
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    // The first two have nothing to look at; in the third it is the storage that the stack level runs; that a full disk meets a
    // snapshot takes more seeds.
    let excused = ["no panic", "no message storm", Rule::DamageFound.name(), Rule::RefusedHeard.name()];
    let idle: Vec<_> =
        summary.looked.iter().filter(|(name, count)| **count == 0 && !excused.contains(name)).collect();
    assert!(idle.is_empty(), "these looked at nothing: {idle:?}");
    for what in
        ["leader elected", "task moved", "killed by its guard", "snapshot installed", "power_loss_all"]
    {
        assert!(summary.counts.get(what).is_some_and(|count| *count > 0), "{what} never happened");
    }
    assert!(summary.excused.is_empty(), "{:#?}", summary.excused);
    let (reached, marks) = summary.marks.reached();
    assert!(reached * 4 > marks * 3, "{reached} of {marks} marks: {:#?}", summary.marks.rarest());
}

#[test]
fn a_search_ends_with_the_last_seed_that_there_is() {
    let limits = Limits { duration_min_ms: 1_000, duration_max_ms: 1_000, faults: true };
    // More threads than seeds: one asks for the seed after the last.
    let summary = run(&Job { limits, ..Job::new(u64::MAX - 2..u64::MAX, 4) }, |_| ());
    assert_eq!(summary.marks.ran.iter().collect::<Vec<_>>(), [u64::MAX - 2, u64::MAX - 1]);
}

#[test]
fn a_plan_of_the_first_generator_still_runs() {
    // Its hash is not kept here: every message of the core is in it, and the core may change.
    let plan = Plan::read(include_str!("plans/generator-1.json")).unwrap();
    let outcome = run_plan(&plan, true, None);
    assert_eq!((outcome.violation, outcome.excused), (None, None));
    assert!(outcome.events > 1_000, "{} events", outcome.events);
    for what in plan.faults.iter().map(|fault| fault.kind.name()) {
        assert!(outcome.counts.contains_key(what), "{what} never happened");
    }
}

#[test]
fn a_stall_that_nobody_could_prevent_is_excused_and_says_why() {
    let limits = Limits { duration_min_ms: 4_000, duration_max_ms: 4_000, faults: true };
    let of_three = |plan: &Plan| plan.masters.clocks.len() == 3;
    let mut plan = (0..).map(|seed| generate(seed, &limits)).find(of_three).unwrap();
    plan.settle_ms = 5_000;
    let cut = |master, at_ms| Fault { at_ms, for_ms: 60_000, kind: FaultKind::Crash { master } };
    // One of three is healed, and the others stay down.
    plan.faults = vec![cut(1, 3_000), cut(2, 3_000)];
    plan.left_out = vec![];
    plan.core = Some(CorePlan { masters: vec![0], executors: vec![0] });
    let outcome = run_plan(&plan, true, None);
    assert_eq!(outcome.violation, None);
    assert!(outcome.excused.unwrap().contains("2 are needed"));
    // With a second one, there is nothing to excuse.
    plan.settle_ms = 200_000;
    plan.core = Some(CorePlan { masters: vec![0, 1], executors: vec![0] });
    let outcome = run_plan(&plan, true, None);
    assert_eq!((outcome.violation, outcome.excused), (None, None));
}

#[test]
fn without_faults_no_leader_falls_and_no_answer_is_lost() {
    let limits = Limits { duration_min_ms: 5_000, duration_max_ms: 8_000, faults: false };
    let job = Job { limits, ..Job::new(0..20, 2) };
    let summary = run(&job, |_| ());
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    assert_eq!(summary.counts.get("unknown"), None, "{:?}", summary.counts);
    assert_eq!(summary.counts.get("stepped down"), None, "{:?}", summary.counts);
}
