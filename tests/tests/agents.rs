//! Executors are killed, frozen and removed while tasks run on them.

use quorate_tests::{Cluster, Kind, LEASE_MS, Options, holders, wait_until};
use std::{collections::BTreeMap, time::Duration};

const SOON: Duration = Duration::from_secs(30);
const TASKS: u32 = 4;

/// The tasks of job `j` that an executor holds, with their epochs; all tasks run.
fn run_tasks(cluster: &Cluster, number: u64) -> (u64, BTreeMap<u32, u64>) {
    cluster.submit("j", TASKS, &[]);
    cluster.truth().wait_started("j", TASKS, &BTreeMap::new(), SOON);
    let job = cluster.wait_online("j", u64::from(TASKS), SOON);
    let executor = cluster.executor(number).expect("the executor is registered");
    let (newest, holders) = (cluster.truth().newest("j"), holders(&job));
    let held: BTreeMap<u32, u64> =
        newest.into_iter().filter(|(task, _)| holders.get(task) == Some(&executor)).collect();
    assert_eq!(held.len(), 2, "tasks are spread: {job}");
    (executor, held)
}

/// Seconds that the tasks of an executor lived after `since`; all must have been seen.
fn lived(cluster: &Cluster, held: &BTreeMap<u32, u64>, since: f64) -> f64 {
    let last =
        |(&task, &epoch): (&u32, &u64)| cluster.truth().last_sign("j", task, epoch).expect("it ran") - since;
    held.iter().map(last).fold(0.0, f64::max)
}

/// Seconds until the first of these tasks ran again.
fn again(cluster: &Cluster, held: &BTreeMap<u32, u64>, since: f64) -> f64 {
    let lines = cluster.truth().lines();
    let started = lines
        .iter()
        .filter(|line| line.kind == Kind::Start && held.get(&line.task).is_some_and(|old| line.epoch > *old));
    started.map(|line| line.time - since).fold(f64::MAX, f64::min)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[test]
fn the_tasks_of_a_killed_agent_end_at_once_and_run_elsewhere_after_the_lease() {
    let mut cluster = Cluster::start(Options { agents: 2, ..Options::default() });
    let (lost, held) = run_tasks(&cluster, 1);
    let killed = cluster.truth().now();
    cluster.agent(1).kill();
    let epochs = cluster.truth().wait_started("j", 2, &old(&cluster, &held), SOON);
    // The guard sees its agent go; the tasks do not wait for any lease.
    let (lived, again) = (lived(&cluster, &held, killed), again(&cluster, &held, killed));
    assert!(lived < seconds(LEASE_MS[0]), "tasks lived on for {lived} s after their agent was killed");
    // The lease was renewed at most one heartbeat before the kill.
    let least = seconds(LEASE_MS[0] + LEASE_MS[1]) - 1.0;
    assert!(again > least, "tasks ran elsewhere {again} s after the kill: before lease and grace were over");
    assert_eq!(epochs.keys().collect::<Vec<_>>(), held.keys().collect::<Vec<_>>());

    let job = cluster.wait_online("j", u64::from(TASKS), SOON);
    assert!(holders(&job).values().all(|&executor| executor != lost), "{job}");
    for task in job["task_list"].as_array().into_iter().flatten() {
        let moved = held.contains_key(&(task["number"].as_u64().unwrap_or(99) as u32));
        assert_eq!(task["moves"], u64::from(moved), "{task}");
        assert_eq!(task["failures"], 0, "the loss of an executor is no failure of a task: {task}");
    }
    assert!(cluster.executor(1).is_none(), "a lost executor is not listed");

    // It comes back as a new executor, and is used.
    cluster.agent(1).start();
    cluster.wait_ready();
    assert_ne!(cluster.executor(1), Some(lost));
    cluster.submit("k", 8, &[]);
    cluster.truth().wait_started("k", 8, &BTreeMap::new(), SOON);
    let job = cluster.wait_online("k", 8, SOON);
    assert!(holders(&job).values().any(|&executor| Some(executor) == cluster.executor(1)), "{job}");
    cluster.finish("k", SOON);
    cluster.finish("j", SOON);
}

/// The epochs that must be passed: those held, and for all other tasks more than any.
fn old(cluster: &Cluster, held: &BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
    let mut old = cluster.truth().newest("j");
    old.iter_mut().filter(|(task, _)| !held.contains_key(task)).for_each(|(_, epoch)| *epoch = u64::MAX);
    old
}

#[test]
fn the_tasks_of_a_frozen_agent_end_in_time_and_it_is_useful_when_it_wakes() {
    let mut cluster = Cluster::start(Options { agents: 2, ..Options::default() });
    let (lost, held) = run_tasks(&cluster, 1);
    let frozen = cluster.truth().now();
    // The agent alone: its guards and its tasks run on.
    cluster.agent(1).freeze();
    cluster.truth().wait_started("j", 2, &old(&cluster, &held), SOON);
    let (lived, again) = (lived(&cluster, &held, frozen), again(&cluster, &held, frozen));
    assert!(
        lived > 0.05,
        "the freeze of an agent does not end its tasks at once, but with the lease: {lived} s"
    );
    let most = seconds(LEASE_MS[0] + LEASE_MS[1]);
    assert!(lived < most, "tasks of a frozen agent lived on for {lived} s: lease and grace are {most} s");
    assert!(again > lived, "tasks ran elsewhere after {again} s, and the old attempts ended after {lived} s");
    cluster.truth().assert_apart();

    cluster.agent(1).thaw();
    let executor = wait_until(SOON, "the agent is registered again", || match cluster.executor(1) {
        Some(executor) if executor != lost => Ok(executor),
        other => Err(format!("{other:?}")),
    });
    cluster.submit("k", 8, &[]);
    cluster.truth().wait_started("k", 8, &BTreeMap::new(), SOON);
    let job = cluster.wait_online("k", 8, SOON);
    assert!(holders(&job).values().any(|&holder| holder == executor), "the agent is used again: {job}");
    cluster.finish("k", SOON);
    cluster.finish("j", SOON);
}

#[test]
fn a_short_freeze_costs_nothing() {
    let mut cluster = Cluster::start(Options { agents: 1, ..Options::default() });
    cluster.submit("j", 2, &[]);
    let before = cluster.truth().wait_started("j", 2, &BTreeMap::new(), SOON);
    let _online = cluster.wait_online("j", 2, SOON);
    let executor = cluster.executor(1);
    let frozen = cluster.truth().now();
    cluster.agent(1).freeze();
    wait_until(SOON, "time passes", || {
        if cluster.truth().now() - frozen > 0.5 { Ok(()) } else { Err("not yet".to_owned()) }
    });
    cluster.agent(1).thaw();
    cluster.finish("j", SOON);
    assert_eq!(cluster.truth().newest("j"), before, "the same attempts went on");
    assert_eq!(cluster.executor(1), executor);
}

#[test]
fn an_executor_that_is_interrupted_leaves_no_process_behind() {
    let mut cluster = Cluster::start(Options { agents: 2, ..Options::default() });
    let (lost, held) = run_tasks(&cluster, 1);
    let pids: Vec<u32> = cluster
        .truth()
        .lines()
        .iter()
        .filter(|line| line.kind == Kind::Start && held.contains_key(&line.task))
        .map(|line| line.pid)
        .collect();
    assert!(cluster.agent(1).interrupt().success(), "an agent that was asked to end ends well");
    for pid in pids {
        let process = format!("/proc/{pid}");
        assert!(!std::path::Path::new(&process).exists(), "task process {pid} outlived its agent");
    }
    cluster.truth().wait_started("j", 2, &old(&cluster, &held), SOON);
    assert!(cluster.executor(1) != Some(lost));
    cluster.finish("j", SOON);
}

#[test]
fn executors_are_listed_shown_and_removed() {
    let cluster = Cluster::start(Options { agents: 2, ..Options::default() });
    let cli = cluster.cli();
    let (removed, held) = run_tasks(&cluster, 1);
    let list = cli.json(&["executor", "list"]);
    let names: Vec<_> =
        list["executors"].as_array().into_iter().flatten().map(|one| one["name"].clone()).collect();
    assert_eq!(names.len(), 2, "{list}");
    let shown = cli.json(&["executor", "show", &removed.to_string()]);
    assert_eq!((&shown["slots"], &shown["slots_used"]), (&8.into(), &2.into()), "{shown}");
    let attempts: BTreeMap<u32, u64> = shown["attempts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| Some((one["task"].as_u64()? as u32, one["epoch"].as_u64()?)))
        .collect();
    assert_eq!(attempts, held, "{shown}");
    assert!(cli.run(&["executor", "list"]).ok().contains("agent1"));

    cli.run(&["executor", "remove", &removed.to_string()]).ok();
    cluster.truth().wait_started("j", 2, &old(&cluster, &held), SOON);
    cluster.truth().assert_apart();
    wait_until(SOON, "the removed executor is gone", || {
        let output = cli.run(&["executor", "show", &removed.to_string()]);
        if output.code == 1 { Ok(()) } else { Err(output.to_string()) }
    });
    cluster.finish("j", SOON);
}
