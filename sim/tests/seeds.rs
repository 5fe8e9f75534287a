//! Some seeds, with everything that oracles look at. The many are for `cargo sim run`.

use quorate_sim::{
    plan::Limits,
    run::{Job, run},
};

#[test]
fn seeds_are_clean_and_every_oracle_looks() {
    let job = Job::new(0..60, 2);
    let summary = run(&job, |_| ());
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    let idle: Vec<_> = summary
        .looked
        .iter()
        .filter(|(name, count)| **count == 0 && !["no panic", "no message storm"].contains(name))
        .collect();
    assert!(idle.is_empty(), "these looked at nothing: {idle:?}");
    for what in
        ["leader elected", "task moved", "killed by its guard", "snapshot installed", "power_loss_all"]
    {
        assert!(summary.counts.get(what).is_some_and(|count| *count > 0), "{what} never happened");
    }
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
