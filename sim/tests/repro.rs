//! What a failure leaves behind is enough to see it again, in another process.

#![cfg(feature = "planted-bugs")]

use quorate_core::bug::{Bug, plant};
use quorate_sim::{
    plan::{Limits, Plan, generate},
    repro::{self, LOG, PLAN, TIMELINE},
    run::{Level, run_plan},
    shrink::Options,
};
use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

fn directory(name: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    std::env::temp_dir().join(format!("quorate-{name}-{}-{now}", std::process::id()))
}

fn options() -> Options<'static> {
    Options { level: Level::Core, budget: Duration::from_secs(600), threads: 2, progress: &|_| () }
}

#[test]
fn a_shrunk_plan_fails_in_the_same_way_in_another_process() {
    plant(Some(Bug::CommitsOldTerm));
    let limits = Limits { duration_min_ms: 5_000, duration_max_ms: 10_000, faults: true };
    let mut plans = (0..500).map(|seed| generate(seed, &limits));
    let plan = plans.find(|plan| run_plan(plan, true, None).violation.is_some()).unwrap();
    let root = directory("repro");
    let made = repro::make(&plan, options(), &root).unwrap().unwrap();
    assert_eq!(made.directory, root.join(made.violation.rule.signature()));
    let path = made.directory.join(PLAN);
    assert!(made.command.contains(&path.display().to_string()) && made.command.contains("--bug"));

    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["replay", "--quiet", "--bug", Bug::CommitsOldTerm.key()])
        .arg(&path)
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{out}{error}");
    assert!(out.contains(&format!("hash {:016x}", made.hash)), "{out}");
    assert!(error.contains(made.violation.rule.name()) && error.contains(&made.violation.message), "{error}");

    let log = fs::read_to_string(made.directory.join(LOG)).unwrap();
    assert!(log.starts_with(&format!("# {}\n", made.violation.rule.name())));
    assert!(log.contains(&format!("{:016x}", made.hash)) && log.contains(&made.command));
    assert!(log.lines().last().unwrap().contains("violation"));
    let page = fs::read_to_string(made.directory.join(TIMELINE)).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains(&format!("{:016x}", made.hash)));

    // A larger plan of the same rule does not take its place.
    let before = fs::read_to_string(&path).unwrap();
    let larger = repro::make(&plan, Options { budget: Duration::ZERO, ..options() }, &root).unwrap().unwrap();
    assert!(larger.kept && larger.hash == made.hash);
    assert_eq!(before, fs::read_to_string(&path).unwrap());
    // One that nobody could replay does not stay, though it is smaller and would break the rule.
    let mut wrong = Plan::read(&before).unwrap();
    wrong.settle_ms = 1_000_000_000_000;
    fs::write(&path, serde_json::to_string(&wrong).unwrap()).unwrap();
    let again = repro::make(&plan, Options { budget: Duration::ZERO, ..options() }, &root).unwrap().unwrap();
    assert!(!again.kept);
    Plan::read(&fs::read_to_string(&path).unwrap()).unwrap();
    plant(None);
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn the_command_leaves_a_directory_and_says_how_to_replay_it() {
    let root = directory("run");
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["shrink", "0", "--bug", Bug::VoteNotPersisted.key(), "--out"])
        .arg(&root)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let made: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains(&format!("cargo sim replay {}", made[0].join(PLAN).display())), "{out}");
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_wrong_bug_is_refused_with_those_that_there_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["shrink", "0", "--bug", "no-such-bug"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no-such-bug") && error.contains(Bug::VoteNotPersisted.key()), "{error}");
}
