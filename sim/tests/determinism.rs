//! The same seed gives the same run: twice in one process, on any number of threads, and in another process.

use quorate_sim::{
    plan::{Limits, Plan, generate},
    run::{Job, run, run_plan},
};
use std::process::Command;

const SEEDS: u64 = 12;

fn limits() -> Limits {
    Limits { duration_min_ms: 3_000, duration_max_ms: 6_000, faults: true }
}

#[test]
fn a_seed_gives_the_same_hash_twice_and_through_a_saved_plan() {
    for seed in 0..SEEDS {
        let plan = generate(seed, &limits());
        let first = run_plan(&plan, true, None);
        assert!(first.events > 1_000, "seed {seed} did next to nothing: {} events", first.events);
        assert_eq!(first.hash, run_plan(&plan, true, None).hash, "seed {seed}");
        let text = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&text).unwrap();
        assert_eq!(first.hash, run_plan(&read, true, None).hash, "seed {seed}");
    }
}

#[test]
fn neither_the_log_nor_the_oracles_change_a_run() {
    for seed in 0..SEEDS {
        let plan = generate(seed, &limits());
        let with = run_plan(&plan, true, Some(Box::new(|_, _| ())));
        let without = run_plan(&plan, false, None);
        assert!(with.violation.is_none(), "seed {seed}: {:?}", with.violation);
        assert_eq!(with.hash, without.hash, "seed {seed}");
    }
}

#[test]
fn threads_change_nothing() {
    let job = |threads| Job { limits: limits(), ..Job::new(0..SEEDS, threads) };
    let (one, three) = (run(&job(1), |_| ()), run(&job(3), |_| ()));
    assert_eq!((one.hash, one.events, one.counts), (three.hash, three.events, three.counts));
    assert_eq!(one.marks, three.marks);
}

#[test]
fn another_process_gives_the_same_hash() {
    for seed in 0..4 {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
            .args(["hash", &seed.to_string(), "--duration", "3..6"])
            .output()
            .unwrap();
        let here = run_plan(&generate(seed, &limits()), true, None);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            format!("{:016x}", here.hash),
            "seed {seed}"
        );
    }
}

#[test]
fn wrong_use_is_said_and_ends_with_2() {
    for (args, says) in [
        (&["run", "--seeds", "9..3"][..], "holds no seed"),
        (&["run", "--seeds", "x"], "is not a number"),
        (&["run", "--duration", "0"], "is not a number of seconds"),
        (&["replay", "/does/not/exist"], "cannot read"),
        (&["replay"], "required"),
        (&["run", "--budget", "5d"], "is not a length of time"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim")).args(args).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[test]
fn scripts_and_ci_get_their_reports() {
    let directory = std::env::temp_dir().join(format!("quorate-sim-report-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("junit.xml");
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["run", "--seeds", "0..3", "--duration", "3..4", "-o", "json", "--junit"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["event"], &lines[0]["seeds"]), (&"summary".into(), &3.into()));
    let report = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(report.contains("G2 log matching") && report.contains(r#"failures="0""#), "{report}");
}
