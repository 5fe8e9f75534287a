//! Some seeds of the stack level. The many are for `cargo sim-stack run`.
#![cfg(madsim)]

use quorate_sim::{
    plan::Limits,
    run::{Job, Level, keep_panics, run},
};

fn job(seeds: core::ops::Range<u64>, faults: bool) -> Job {
    let limits = Limits { duration_min_ms: 5_000, duration_max_ms: 12_000, faults };
    Job { level: Level::Stack, limits, ..Job::new(seeds, 2) }
}

#[test]
fn seeds_are_clean_and_every_fault_happens() {
    keep_panics();
    let summary = run(&job(0..40, true), |_| ());
    assert!(summary.clean(), "{:#?}", summary.failures);
    for what in [
        "a cut-off write was lost",
        "a cut-off write was kept",
        "stopped by itself",
        "killed by its guard",
        "executor fenced",
        "snapshot received",
        "session expired",
        "power_loss_all",
        "isolate_leader",
        "machine_freeze",
        "pause",
        "loss",
        "wipe",
    ] {
        assert!(summary.counts.get(what).is_some_and(|count| *count > 0), "{what} never happened");
    }
    for rule in ["G1 one leader a term", "G5 keys are linearizable", "G6 equal state at equal index"] {
        assert!(summary.looked[rule] > 0, "{rule} was never looked at");
    }
}

#[test]
fn tapes_of_fifty_seeds_give_the_same_outputs_on_the_core() {
    keep_panics();
    let summary = run(&Job { check_tapes: true, ..job(0..50, true) }, |_| ());
    assert!(summary.clean(), "{:#?}", (summary.tapes_differ, summary.failures));
    let (tapes, inputs) = summary.tapes;
    assert!(tapes > 250 && inputs > 100_000, "only {tapes} tapes with {inputs} inputs");
    let without = run(&job(0..8, true), |_| ());
    let with = run(&Job { check_tapes: true, ..job(0..8, true) }, |_| ());
    assert_eq!((with.hash, with.events), (without.hash, without.events), "recording changes a run");
}

#[test]
fn without_faults_no_leader_falls_and_no_answer_is_lost() {
    keep_panics();
    let summary = run(&job(0..15, false), |_| ());
    assert!(summary.clean(), "{:#?}", summary.failures);
    assert_eq!(summary.counts.get("unknown"), None, "{:?}", summary.counts);
    assert_eq!(summary.counts.get("leader elected"), Some(&15), "{:?}", summary.counts);
}

#[test]
fn a_seed_is_the_same_twice_and_on_any_number_of_threads() {
    keep_panics();
    let twice = run(&Job { twice: true, ..job(0..8, true) }, |_| ());
    assert!(twice.diverged.is_empty(), "{:x?}", twice.diverged);
    let alone = run(&Job { threads: 1, ..job(0..8, true) }, |_| ());
    assert_eq!((twice.hash, twice.events, twice.counts), (alone.hash, alone.events, alone.counts));
}
