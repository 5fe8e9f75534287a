//! `quorate dev` and `quorate demo`: whole clusters behind one command.

use quorate_tests::{Cli, Directory, Process, Serial, binary, wait_until};
use serde_json::Value;
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(40);

/// Starts `quorate dev` with its data there, and waits until it says that it is ready.
fn start_dev(directory: &Directory, data: Option<&str>) -> (Process, Value) {
    let mut words = vec![binary().to_string_lossy().into_owned()];
    words.extend(["-o", "json", "dev"].map(str::to_owned));
    words.extend(data.into_iter().flat_map(|data| ["--data-dir".to_owned(), data.to_owned()]));
    let mut process = Process::new(directory.path(), "dev", words);
    // It makes its own directory there.
    process.set("TMPDIR", &directory.path().to_string_lossy());
    let before = process.log().len();
    process.start();
    let ready = wait_until(SOON, "a cluster that is ready", || {
        let log = process.log().split_off(before);
        let line = log.lines().find(|line| line.starts_with("{\"")).map(serde_json::from_str::<Value>);
        line.and_then(Result::ok).ok_or(log)
    });
    (process, ready)
}

/// Command lines of all processes that name this directory.
fn processes(directory: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let lines = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(directory)).collect()
}

fn wait_nothing_left(directory: &str) {
    wait_until(SOON, "the end of all processes", || {
        let left = processes(directory);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    });
}

fn endpoints(ready: &Value) -> String {
    let all: Vec<&str> =
        ready["endpoints"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!((all.len(), &ready["ready"]), (3, &Value::Bool(true)), "{ready}");
    all.join(",")
}

#[test]
fn dev_runs_a_cluster_until_it_is_interrupted_and_leaves_nothing() {
    let _serial = Serial::take();
    let directory = Directory::new();
    let (mut process, ready) = start_dev(&directory, None);
    let data = ready["data_dir"].as_str().expect("it says where its data is").to_owned();
    let cli = Cli::to(&endpoints(&ready));
    cli.run(&["job", "submit", "--id", "j", "--watch", "--", "echo", "hello"]).ok();
    assert_eq!(cli.run(&["job", "logs", "j"]).ok(), "hello\n");
    let file = directory.path().join("pid");
    let script = format!("echo $$ > {}; while :; do sleep 0.1; done", file.display());
    cli.run(&["job", "submit", "--id", "endless", "--", "sh", "-c", &script]).ok();
    let pid = wait_until(SOON, "a task that runs", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if text.ends_with('\n') { Ok(text.trim().to_owned()) } else { Err("none".to_owned()) }
    });
    assert!(processes(&data).len() >= 5, "{:?}", processes(&data));
    let status = process.interrupt();
    assert!(status.success(), "{status}: {}", process.log());
    assert_eq!(processes(&data), [""; 0], "processes are left");
    assert!(!std::path::Path::new("/proc").join(&pid).exists(), "task {pid} is left");
    assert!(!std::path::Path::new(&data).exists(), "{data} is left");
}

#[test]
fn dev_keeps_its_data_if_it_is_told_where_and_starts_again_what_was_killed() {
    let _serial = Serial::take();
    let directory = Directory::new();
    let data = directory.path().join("kept").to_string_lossy().into_owned();
    let (mut process, ready) = start_dev(&directory, Some(&data));
    let cli = Cli::to(&endpoints(&ready));
    cli.run(&["kv", "put", "key", "value"]).ok();
    // Killed with SIGKILL, it still leaves no process behind.
    process.kill();
    wait_nothing_left(&data);
    let (mut process, again) = start_dev(&directory, Some(&data));
    assert_eq!(endpoints(&again), endpoints(&ready), "it has the same ports again");
    assert_eq!(cli.run(&["kv", "get", "key"]).ok(), "value\n");
    assert!(process.interrupt().success(), "{}", process.log());
    wait_nothing_left(&data);
    assert!(std::path::Path::new(&data).is_dir());
}

#[test]
fn the_demo_keeps_its_promises() {
    let _serial = Serial::take();
    let directory = Directory::new();
    let cli = Cli::alone().with("TMPDIR", &directory.path().to_string_lossy());
    let summary = cli.json(&["demo"]);
    assert_eq!(summary["ok"], true, "{summary:#}");
    let checks = summary["checks"].as_array().expect("it names its checks");
    assert!(checks.len() >= 5 && checks.iter().all(|check| check["ok"] == true), "{summary:#}");
    assert!(summary["figures"]["leader_outage_ms"].as_u64().is_some_and(|ms| ms > 0), "{summary:#}");
    let left: Vec<_> = fs::read_dir(directory.path()).expect("it can be read").flatten().collect();
    assert!(left.is_empty(), "the demo leaves {left:?}");
    wait_nothing_left(&directory.path().to_string_lossy());
}
