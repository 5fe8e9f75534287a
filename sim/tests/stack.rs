//! Some seeds of the stack level. The many are for `cargo sim-stack run`.
#![cfg(madsim)]

use quorate_sim::{
    oracle::Rule,
    plan::{CorePlan, Fault, FaultKind, Limits, Plan, generate},
    run::{Job, Level, run},
    stack::run::MEMORY_LEFT,
};
use std::{collections::BTreeSet, process::Command};

fn job(seeds: core::ops::Range<u64>, faults: bool) -> Job {
    let limits = Limits { duration_min_ms: 5_000, duration_max_ms: 12_000, faults };
    Job { level: Level::Stack, limits, ..Job::new(seeds, 2) }
}

/// Kinds that some of these seeds plan, and that nothing can keep from taking effect.
fn planned_kinds(seeds: core::ops::Range<u64>) -> BTreeSet<&'static str> {
    let limits = job(seeds.clone(), true).limits;
    let faults = seeds.flat_map(|seed| generate(seed, &limits).faults);
    let sure = |kind: &FaultKind| {
        matches!(kind, FaultKind::Loss { .. } | FaultKind::Delay { .. } | FaultKind::Cut { .. })
    };
    faults.filter(|fault| sure(&fault.kind)).map(|fault| fault.kind.name()).collect()
}

#[test]
fn seeds_are_clean_and_what_they_plan_happens() {
    let summary = run(&job(0..80, true), |_| ());
    assert!(summary.clean(), "{:#?}", summary.failures);
    // A stall that nobody could prevent is rare.
    assert!(summary.excused.len() <= 8, "{:#?}", summary.excused);
    assert_eq!(summary.counts.get(MEMORY_LEFT), None);
    let planned = planned_kinds(0..80);
    assert!(!planned.is_empty());
    // One in eight seeds has the rarest of these, or more: that none of eighty has it is out of the question.
    let usual =
        ["executor fenced", "killed by its guard", "snapshot received", "snapshot saved", "process started"];
    let faults = ["crash", "pause", "power_loss", "isolate_leader", "full_disk", "stall_disk"];
    let members = [
        "members: one is added",
        "members: a new one is known",
        "members: one is promoted",
        "members: one is demoted",
        "members: a directory is given up",
        "members: a replaced one is known",
        "members: one is removed",
        "members: several voters change at once",
        "a leader handed over",
    ];
    let ends = ["a master stays broken for ever", "a link stays cut for ever"];
    for what in usual.into_iter().chain(faults).chain(members).chain(ends).chain(planned) {
        assert!(summary.counts.get(what).is_some_and(|count| *count > 0), "{what} never happened");
    }
    for rule in ["G1 one leader a term", "G5 keys are linearizable", "G6 equal state at equal index"] {
        assert!(summary.looked[rule] > 0, "{rule} was never looked at");
    }
}

#[test]
fn a_run_whose_time_stands_still_is_a_storm_and_ends() {
    let limits = Limits { duration_min_ms: 4_000, duration_max_ms: 4_000, faults: false };
    let mut plan = generate(1, &limits);
    let harmless = Fault { at_ms: 1_000, for_ms: 100, kind: FaultKind::Loss { ppm: 0 } };
    plan.faults = vec![harmless.clone(); 500];
    let calm = Level::Stack.run(&plan, true, None);
    assert_eq!(calm.violation, None);
    plan.faults = vec![harmless; 50_000];
    let outcome = Level::Stack.run(&plan, true, None);
    let violation = outcome.violation.expect("it is a storm");
    assert_eq!(violation.rule, Rule::Storm, "{violation:?}");
    assert!((1_000..1_100).contains(&(violation.time / 1_000_000)), "{violation:?}");
    assert!(outcome.events < calm.events + 3_000, "{} events, {} in a calm run", outcome.events, calm.events);
}

#[test]
fn the_command_refuses_to_ask_for_all_marks_and_lists_what_is_not_reached() {
    let sim = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim-stack")).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let few = ["--seeds", "0..2", "--duration", "2..3", "--jobs", "1"];
    let (code, out, error) = sim(&[&["run", "--all-marks"], &few[..]].concat());
    assert_eq!((code, out.as_str()), (Some(2), ""), "{error}");
    assert!(error.contains("--all-marks") && error.contains("core level"), "{error}");
    let (code, out, error) = sim(&[&["marks"], &few[..]].concat());
    assert!(code == Some(0) && out.contains("no seed reached:"), "{out}{error}");
    let (code, out, error) = sim(&[&["run", "--level", "core", "--all-marks"], &few[..]].concat());
    assert!(code == Some(1) && error.contains("were reached by no seed"), "{out}{error}");
}

#[test]
fn a_run_is_over_within_its_bound_or_gives_nothing() {
    let limits = Limits { duration_min_ms: 4_000, duration_max_ms: 4_000, faults: false };
    let mut plan = generate(1, &limits);
    let whole = Level::Stack.run(&plan, true, None);
    assert_eq!((whole.violation.clone(), whole.events > 500), (None, true), "{} events", whole.events);
    let within = Level::Stack.run_within(&plan, whole.events).expect("it needs no more events than it has");
    assert_eq!((within.hash, within.events, within.violation), (whole.hash, whole.events, None));
    assert!(Level::Stack.run_within(&plan, whole.events - 1).is_none());
    assert!(Level::Stack.run_within(&plan, 0).is_none());
    // Too slow for a storm of one millisecond, and for ever.
    let harmless = |at_ms| Fault { at_ms, for_ms: 100, kind: FaultKind::Loss { ppm: 0 } };
    plan.faults = (0..80_000).map(|number| harmless(500 + number / 100)).collect();
    assert!(Level::Stack.run_within(&plan, 2 * whole.events + 10_000).is_none());
}

#[test]
fn tapes_of_fifty_seeds_give_the_same_outputs_on_the_core() {
    let summary = run(&Job { check_tapes: true, ..job(0..50, true) }, |_| ());
    assert!(summary.clean(), "{:#?}", (summary.tapes_differ, summary.failures));
    let (tapes, inputs) = summary.tapes;
    // At least one of each of at least fifty masters, and every second some heartbeats and writes.
    assert!(tapes >= 50 && inputs >= 50 * 1_000, "only {tapes} tapes with {inputs} inputs");
    let without = run(&job(0..8, true), |_| ());
    let with = run(&Job { check_tapes: true, ..job(0..8, true) }, |_| ());
    assert_eq!((with.hash, with.events), (without.hash, without.events), "recording changes a run");
}

#[test]
fn without_faults_no_leader_falls_and_no_answer_is_lost() {
    for seed in 0..15 {
        let mut plan = generate(seed, &job(0..15, false).limits);
        // A leader that takes one proposal at a time keeps clients waiting, some for longer than they care to wait.
        plan.masters.flow.clear();
        for client in &mut plan.clients {
            (client.timeout_ms, client.give_up_ms) = (6_000, 8_000);
        }
        let outcome = Level::Stack.run(&plan, true, None);
        assert_eq!((outcome.violation, outcome.excused), (None, None), "seed {seed}");
        assert_eq!(outcome.counts.get("unknown"), None, "seed {seed}: {:?}", outcome.counts);
        assert_eq!(outcome.counts.get("leader elected"), Some(&1), "seed {seed}: {:?}", outcome.counts);
    }
}

#[test]
fn a_seed_is_the_same_twice_and_on_any_number_of_threads() {
    let twice = run(&Job { twice: true, ..job(0..8, true) }, |_| ());
    assert!(twice.diverged.is_empty(), "{:x?}", twice.diverged);
    let alone = run(&Job { threads: 1, ..job(0..8, true) }, |_| ());
    assert_eq!((twice.hash, twice.events, twice.counts), (alone.hash, alone.events, alone.counts));
}

#[test]
fn what_is_outside_of_the_core_stays_broken_and_a_stall_that_nobody_could_prevent_is_excused() {
    let limits = Limits { duration_min_ms: 4_000, duration_max_ms: 4_000, faults: true };
    let of_three = |plan: &Plan| plan.masters.clocks.len() == 3 && plan.executors.clocks.len() > 1;
    let mut plan = (0..).map(|seed| generate(seed, &limits)).find(of_three).unwrap();
    let down = |master, at_ms| Fault { at_ms, for_ms: 60_000, kind: FaultKind::Crash { master } };
    let paused = Fault { at_ms: 3_000, for_ms: 60_000, kind: FaultKind::MachineFreeze { executor: 1 } };
    plan.left_out = vec![];
    // Two of three, and a frozen executor that nobody waits for.
    plan.faults = vec![down(2, 3_000), paused];
    plan.core = Some(CorePlan { masters: vec![0, 1], executors: vec![0] });
    let outcome = Level::Stack.run(&plan, true, None);
    assert_eq!((outcome.violation, outcome.excused), (None, None));
    for what in ["a master stays broken for ever", "an executor stays broken for ever"] {
        assert_eq!(outcome.counts.get(what), Some(&1), "{:?}", outcome.counts);
    }
    assert!(outcome.machines[2].contains("node 3 run 1 down"), "{:?}", outcome.machines);
    assert!(outcome.machines[4].contains("frozen"), "{:?}", outcome.machines);
    // One of three is healed, and the others stay down.
    plan.settle_ms = 5_000;
    plan.faults = vec![down(1, 3_000), down(2, 3_000)];
    plan.core = Some(CorePlan { masters: vec![0], executors: vec![0] });
    let outcome = Level::Stack.run(&plan, true, None);
    assert_eq!(outcome.violation, None);
    assert!(outcome.excused.unwrap().contains("2 are needed"));
}

#[cfg(feature = "planted-bugs")]
mod planted {
    use super::*;
    use quorate_core::bug::{Bug, plant};
    use quorate_sim::{
        repro::{self, LOG, PLAN, TIMELINE},
        shrink::{Options, operations},
    };
    use std::{fs, time::Duration};

    #[test]
    fn what_breaks_only_when_masters_come_and_go_is_noticed() {
        for (bug, rule) in [
            ("raft-change-unconfirmed", Rule::ChangeKnown),
            ("raft-joint-not-left", Rule::Liveness),
            ("identity-member-not-known", Rule::Liveness),
        ] {
            plant(Some(Bug::named(bug).unwrap()));
            let limits = Limits { duration_min_ms: 10_000, duration_max_ms: 15_000, faults: true };
            let mut rules = (0..40).filter_map(|seed| {
                Some(Level::Stack.run(&generate(seed, &limits), true, None).violation?.rule)
            });
            assert!(rules.any(|broken| broken == rule), "{bug}");
        }
        plant(None);
    }

    #[test]
    fn a_failing_plan_is_made_small_and_leaves_its_plan_and_its_log() {
        plant(Some(Bug::named("net-done-before-write").unwrap()));
        let limits = Limits { duration_min_ms: 3_000, duration_max_ms: 5_000, faults: true };
        let mut plans = (0..200).map(|seed| generate(seed, &limits));
        let plan = plans.find(|plan| Level::Stack.run(plan, true, None).violation.is_some()).unwrap();
        let root = std::env::temp_dir().join(format!("quorate-stack-{}", std::process::id()));
        let options =
            Options { level: Level::Stack, budget: Duration::from_secs(20), threads: 1, progress: &|_| () };
        let made = repro::make(&plan, options, &root).unwrap().unwrap();
        let before = (plan.faults.len(), operations(&plan));
        assert!((made.shrunk.faults, made.shrunk.operations) < before, "{made}");
        let name = made.directory.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(name, format!("{}-on-stack", made.violation.rule.signature()));
        assert!(made.command.starts_with("cargo sim-stack replay ") && made.command.contains("--bug net-"));
        let kept = Plan::read(&fs::read_to_string(made.directory.join(PLAN)).unwrap()).unwrap();
        let again = Level::Stack.run(&kept, true, None);
        assert_eq!((again.hash, again.violation), (made.hash, Some(made.violation.clone())));
        let log = fs::read_to_string(made.directory.join(LOG)).unwrap();
        assert!(log.starts_with(&format!("# {}\n", made.violation.rule.name())), "{log}");
        assert!(log.contains(&format!("hash {:016x}", made.hash)));
        assert!(log.lines().count() as u64 > again.events, "{} events", again.events);
        assert!(!made.directory.join(TIMELINE).exists() && made.to_string().contains("core level only"));
        plant(None);
        fs::remove_dir_all(&root).unwrap();
    }
}
