//! The life of jobs, as the command line shows it.

use quorate_tests::{Cluster, Options, wait_until};
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(30);

fn start(agents: u64) -> Cluster {
    Cluster::start(Options { masters: 1, agents, ..Options::default() })
}

fn words<'a>(before: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["job", "submit"], before, &["--", "sh", "-c", script]].concat()
}

/// Waits until a file that tasks write has so many lines.
fn wait_lines(file: &Path, count: usize) -> Vec<String> {
    wait_until(SOON, &format!("{count} lines in {}", file.display()), || {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count { Ok(lines) } else { Err(text) }
    })
}

/// Waits until a process is gone.
fn wait_gone(pid: &str, within: Duration) {
    let process = Path::new("/proc").join(pid);
    wait_until(within, &format!("the end of process {pid}"), || {
        if process.exists() { Err("it lives".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn a_job_is_submitted_watched_read_listed_and_deleted() {
    let cluster = start(2);
    let cli = cluster.cli();
    let script = "echo \"task $QUORATE_TASK of $QUORATE_JOB says $WORD\"; echo wrong >&2";
    let output = cli.run(&words(&["--id", "hello", "--tasks", "3", "--env", "WORD=hi", "--watch"], script));
    let shown = output.ok();
    assert!(shown.lines().next_back().is_some_and(|line| line.contains("finished: 3 finished")), "{shown}");
    let job = cli.json(&["job", "show", "hello"]);
    assert_eq!((&job["state"], &job["counts"]["finished"]), (&"finished".into(), &3.into()), "{job}");
    for task in 0..3 {
        let text = cli.run(&["job", "logs", "hello", "--task", &task.to_string()]).ok();
        assert!(
            text.contains(&format!("task {task} of hello says hi\n")) && text.contains("wrong\n"),
            "{text}"
        );
    }
    cli.run(&["job", "logs", "hello", "--task", "3"]).refused(1, &["3"]);

    let generated =
        cli.json(&words(&[], "exit 0"))["id"].as_str().expect("the cluster makes an id").to_owned();
    let _done = cluster.wait_job(&generated, "finished", SOON);
    cluster.submit("running", 1, &[]);
    cluster.truth().wait_started("running", 1, &BTreeMap::new(), SOON);
    let list = |flags: &[&str]| -> Vec<Value> {
        let reply = cli.json(&[&["job", "list"], flags].concat());
        reply["jobs"].as_array().into_iter().flatten().map(|job| job["id"].clone()).collect()
    };
    assert_eq!(list(&[]).len(), 3);
    assert_eq!(list(&["--state", "running"]), ["running"]);
    assert_eq!(list(&["--type", "service"]), [""; 0]);
    assert_eq!(list(&["--limit", "2"]).len(), 2);
    cluster.finish("running", SOON);

    cli.run(&["job", "delete", "hello"]).ok();
    cli.run(&["job", "show", "hello"]).refused(1, &["hello"]);
}

#[test]
fn more_tasks_than_slots_all_run_once() {
    let cluster = start(2);
    cluster.submit("many", 40, &[]);
    cluster.truth().wait_started("many", 16, &BTreeMap::new(), SOON);
    assert_eq!(cluster.wait_online("many", 16, SOON)["counts"]["pending"], 24);
    cluster.finish("many", Duration::from_secs(60));
}

#[test]
fn a_task_that_fails_is_tried_again_and_then_ends_its_job() {
    let cluster = start(1);
    let cli = cluster.cli();
    let file = cluster.directory().path().join("tries");
    let path = format!("FILE={}", file.display());
    let script = "echo $QUORATE_EPOCH >> $FILE; test $(wc -l < $FILE) -ge 3";
    let good = cli.run(&words(
        &["--id", "third", "--retries", "3", "--backoff", "100ms", "--env", &path, "--watch"],
        script,
    ));
    good.ok();
    let epochs: Vec<u64> = wait_lines(&file, 3).iter().filter_map(|line| line.parse().ok()).collect();
    assert!(
        epochs.len() == 3 && epochs.is_sorted() && epochs[0] < epochs[1] && epochs[1] < epochs[2],
        "{epochs:?}"
    );
    assert_eq!(cli.json(&["job", "show", "third"])["task_list"][0]["failures"], 2);

    let bad = cli.run(&words(
        &["--id", "bad", "--retries", "2", "--backoff", "100ms", "--watch"],
        "echo broken; exit 7",
    ));
    bad.refused(1, &["bad", "failed", "7"]);
    let job = cli.json(&["job", "show", "bad"]);
    assert_eq!((&job["state"], &job["task_list"][0]["failures"]), (&"failed".into(), &2.into()), "{job}");
    assert_eq!(job["task_list"][0]["last_code"], 7, "{job}");
    assert_eq!(cli.run(&["job", "logs", "bad"]).ok(), "broken\n");
    cli.run(&["job", "watch", "bad"]).refused(1, &["failed"]);

    let none = ["job", "submit", "--id", "none", "--retries", "1", "--watch", "--", "/no/such/program"];
    cli.run(&none).refused(1, &["none", "/no/such/program"]);
}

#[test]
fn a_canceled_job_stops_whatever_its_tasks_do() {
    let cluster = start(1);
    let cli = cluster.cli();
    let file = cluster.directory().path().join("pids");
    let path = format!("FILE={}", file.display());
    // It ignores SIGTERM, and so does what it started in a session of its own.
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >> $FILE; while :; do sleep 0.1; done' & \
                  echo $$ >> $FILE; while :; do sleep 0.1; done";
    cli.run(&words(&["--id", "stubborn", "--env", &path, "--stop-timeout", "700ms"], script)).ok();
    let pids = wait_lines(&file, 2);
    let _online = cluster.wait_online("stubborn", 1, SOON);
    cli.run(&["job", "cancel", "stubborn", "--watch"]).ok();
    assert_eq!(cluster.job("stubborn").expect("it is known")["state"], "canceled");
    pids.iter().for_each(|pid| wait_gone(pid, Duration::from_secs(5)));

    // One that listens ends by itself, in its own time, and says its last word.
    let script = "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    cli.run(&words(&["--id", "polite", "--type", "service"], script)).ok();
    let _online = cluster.wait_online("polite", 1, SOON);
    wait_until(SOON, "the task listens", || {
        let text = cli.run(&["job", "logs", "polite"]);
        if text.stdout == "ready\n" { Ok(()) } else { Err(text.to_string()) }
    });
    cli.run(&["job", "cancel", "polite", "--watch"]).ok();
    assert_eq!(cli.run(&["job", "logs", "polite"]).ok(), "ready\ngoodbye\n");
    // Asked again, it is as it is.
    assert_eq!(cli.json(&["job", "cancel", "polite"])["state"], "canceled");

    // One that never ran.
    cli.run(&words(&["--id", "never", "--slots", "1000"], "exit 0")).ok();
    cli.run(&["job", "cancel", "never", "--watch"]).ok();
    assert_eq!(cluster.job("never").expect("it is known")["state"], "canceled");
}

#[test]
fn what_a_task_leaves_behind_is_killed_when_it_ends() {
    let cluster = start(1);
    let file = cluster.directory().path().join("pids");
    let path = format!("FILE={}", file.display());
    let script =
        "setsid sh -c 'echo $$ >> $FILE; exec sleep 1000' & while [ ! -s $FILE ]; do sleep 0.02; done";
    cluster.cli().run(&words(&["--id", "parent", "--env", &path, "--watch"], script)).ok();
    wait_lines(&file, 1).iter().for_each(|pid| wait_gone(pid, Duration::from_secs(5)));
}

#[test]
fn a_service_is_started_again_with_growing_waits() {
    let cluster = start(1);
    let file = cluster.directory().path().join("starts");
    let path = format!("FILE={}", file.display());
    let script = "read -r up _ < /proc/uptime; echo $up >> $FILE; exit 1";
    let flags = ["--id", "service", "--type", "service", "--backoff", "300ms", "--env", &path];
    cluster.cli().run(&words(&flags, script)).ok();
    let starts: Vec<f64> = wait_lines(&file, 4).iter().filter_map(|line| line.parse().ok()).collect();
    let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The clock of the tasks has steps of 10 ms.
    for (gap, least) in gaps.iter().zip([0.28, 0.58, 1.18]) {
        assert!(*gap >= least, "the waits must double from 0.3 s on: {gaps:?}");
    }
    let job = cluster.job("service").expect("it is known");
    assert_eq!(job["state"], "running", "{job}");
    cluster.cli().run(&["job", "cancel", "service", "--watch"]).ok();
}

#[test]
fn the_newest_output_is_kept() {
    let cluster = start(1);
    let script = "i=0; while [ $i -lt 30000 ]; do echo \"line $i ........................................................\"; i=$((i+1)); done";
    let cli = cluster.cli();
    cli.run(&words(&["--id", "loud", "--watch"], script)).ok();
    let output = cli.run(&["job", "logs", "loud"]);
    assert!(output.stderr.contains("dropped"), "{}", output.stderr);
    let text = output.ok();
    assert!(text.len() <= 1024 * 1024 && text.len() > 512 * 1024, "{} bytes", text.len());
    assert!(text.lines().next_back().is_some_and(|line| line.starts_with("line 29999 ")), "the end is kept");
}
