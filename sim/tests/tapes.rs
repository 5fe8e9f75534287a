//! Tapes of the core level: each replays to the same chain, recording changes nothing, and a difference is noticed.

use quorate_sim::{
    plan::{Limits, generate},
    run::{Job, run, run_plan, run_taped},
    tapes::{self, Tapes},
};
use std::process::Command;

fn limits() -> Limits {
    Limits { duration_min_ms: 5_000, duration_max_ms: 12_000, faults: true }
}

#[test]
fn tapes_of_two_hundred_seeds_give_the_same_outputs() {
    let job = Job { check_tapes: true, limits: limits(), ..Job::new(0..200, 2) };
    let summary = run(&job, |_| ());
    assert!(summary.clean(), "{:?} {:?}", summary.tapes_differ, summary.failures);
    let (tapes, inputs) = summary.tapes;
    assert!(tapes > 800 && inputs > 200_000, "only {tapes} tapes with {inputs} inputs");
}

#[test]
fn recording_changes_nothing() {
    for seed in 0..12 {
        let plan = generate(seed, &limits());
        let taped = run_taped(&plan, true, None, Some(Tapes::default()));
        assert_eq!(taped.hash, run_plan(&plan, true, None).hash, "seed {seed}");
    }
}

fn taped(seed: u64) -> tapes::TapeBytes {
    let tapes = Tapes::default();
    let outcome = run_taped(&generate(seed, &limits()), true, None, Some(tapes.clone()));
    assert_eq!(outcome.violation, None);
    tapes.take()
}

#[test]
fn the_command_says_what_came_of_a_tape() {
    let directory = std::env::temp_dir().join(format!("quorate-tapes-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("a.tape");
    let run = |more: &[&str]| {
        let command = env!("CARGO_BIN_EXE_quorate-sim");
        let output = Command::new(command).arg("tape").arg(&file).args(more).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (_, bytes) = taped(3).pop_first().unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let (code, out, _) = run(&["--print", "--from", "5"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("same: ") && out.lines().next().unwrap().trim().starts_with("5 "), "{out}");
    let (code, out, error) = run(&["--from", "5"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.contains("--print"), "{error}");
    let (code, out, _) = run(&["-o", "json"]);
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["same"]), (Some(0), &serde_json::Value::Bool(true)), "{out}");
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 4;
    std::fs::write(&file, &damaged).unwrap();
    let (code, _, error) = run(&[]);
    assert!(code == Some(2) && error.contains("is damaged at byte"), "{error}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_torn_tape_replays_up_to_its_last_whole_input() {
    let bytes = taped(5).pop_last().map(|(_, bytes)| bytes).unwrap();
    let whole = tapes::check(bytes.clone().into(), |_| ()).unwrap();
    let torn = tapes::check(bytes[..bytes.len() - 3].to_vec().into(), |_| ()).unwrap();
    assert_eq!((torn.steps, whole.torn_bytes), (whole.steps - 1, 0));
    assert!(torn.torn_bytes > 0);
}

/// The comparison can fail: a node that forgets votes is not the one that was recorded.
#[cfg(feature = "planted-bugs")]
#[test]
fn the_tape_of_a_healthy_run_differs_under_a_bug_and_the_first_input_is_shown() {
    use quorate_core::{Input, bug};
    use quorate_sim::tapes::CheckError;
    let healthy = taped(3);
    bug::plant(Some(bug::Bug::VoteNotPersisted));
    let found: Vec<_> = healthy.into_values().map(|bytes| tapes::check(bytes.into(), |_| ())).collect();
    bug::plant(None);
    let differ = |found: &Result<_, CheckError>| match found {
        Err(CheckError::Different(difference)) => Some(difference.clone()),
        _ => None,
    };
    let first = found.iter().find_map(differ).expect("some node votes");
    // It writes its vote when it is asked for it, or when the batch ends in which it was.
    let votes = matches!(first.input, Some(Input::Peer(_) | Input::Deadline));
    assert!(votes && first.step > 0, "{first:?}");
    assert_ne!(first.expected, first.found);
}

/// A node that panicked ends its tape with an open input, and panics in it once more: the search goes on, and the seed fails
/// with its panic alone. Where the recorded node did not panic, a panic is a difference.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_seed_that_panics_ends_no_search_that_checks_tapes() {
    use quorate_core::bug::{Bug, plant};
    use quorate_sim::oracle::Rule;
    plant(Some(Bug::CommitPastLog));
    let job = Job { check_tapes: true, ..Job::new(0..20, 2) };
    let summary = run(&job, |_| ());
    let panicked = summary.failures.values().filter(|failure| failure.violation.rule == Rule::Panic);
    assert!(panicked.count() > 0, "{:?}", summary.failures);
    assert_eq!((summary.seeds, &summary.tapes_differ), (20, &Default::default()));

    plant(None);
    let tapes = Tapes::default();
    let healthy = (0..20).find_map(|seed| {
        let _ = run_taped(&generate(seed, &limits()), true, None, Some(tapes.clone()));
        plant(Some(Bug::CommitPastLog));
        let checked = tapes.check();
        plant(None);
        checked.err().filter(|why| why.contains("a panic in input"))
    });
    assert!(healthy.is_some(), "no tape of a healthy run panics under the bug");
}
