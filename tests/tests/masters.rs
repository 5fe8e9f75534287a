//! Masters are killed and frozen while a client writes and tasks run.

use quorate_tests::{Cluster, LEASE_MS, Options, Process, Writer, holders, wait_until};
use std::{collections::BTreeMap, time::Duration};

/// Far above what a test needs, so that a busy machine does not fail it.
const SOON: Duration = Duration::from_secs(30);
const TASKS: u32 = 4;
/// A leader that is gone costs a client at most so long. The aim on an idle machine is 1 s; here others use the machine too.
const GAP_MAX: Duration = Duration::from_secs(10);

fn start() -> Cluster {
    Cluster::start(Options { agents: 2, ..Options::default() })
}

/// A job whose tasks all run.
fn run_tasks(cluster: &Cluster, job: &str) {
    cluster.submit(job, TASKS, &[]);
    cluster.truth().wait_started(job, TASKS, &BTreeMap::new(), SOON);
    let found = cluster.wait_online(job, u64::from(TASKS), SOON);
    let held: BTreeMap<u64, u32> =
        holders(&found).into_values().fold(BTreeMap::new(), |mut counts, executor| {
            *counts.entry(executor).or_insert(0) += 1;
            counts
        });
    assert_eq!(
        held.into_values().collect::<Vec<_>>(),
        [TASKS / 2; 2],
        "tasks are spread over both executors"
    );
}

/// The end of each test: what was acknowledged is there, and the job ends with each task done once.
fn check(cluster: &Cluster, writer: Writer, job: &str) {
    writer.wait_more(20, SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "puts failed within their long deadline: {:?}", written.failed);
    assert!(written.longest_gap < GAP_MAX, "no put was acknowledged for {:?}", written.longest_gap);
    written.assert_all_there(cluster);
    cluster.finish(job, SOON);
}

#[test]
fn a_killed_leader_costs_nothing_that_was_acknowledged() {
    let mut cluster = start();
    let writer = Writer::start(&cluster, "w");
    run_tasks(&cluster, "j");
    let mut epochs = cluster.truth().newest("j");
    for _ in 0..3 {
        writer.wait_more(30, SOON);
        let leader = cluster.leader();
        cluster.master(leader).kill();
        let next = cluster.leader_among(&cluster.others(leader));
        assert_ne!(next, leader);
        writer.wait_more(30, SOON);
        cluster.master(leader).start();
        cluster.wait_caught_up(leader);
    }
    let after = cluster.truth().newest("j");
    assert_eq!(after, epochs, "tasks run on through a change of the leader");
    epochs.clear();
    check(&cluster, writer, "j");
}

#[test]
fn a_frozen_leader_is_replaced_and_follows_when_it_wakes() {
    let mut cluster = start();
    let writer = Writer::start(&cluster, "w");
    run_tasks(&cluster, "j");
    writer.wait_more(30, SOON);
    let old = cluster.leader();
    cluster.master(old).freeze();
    let new = cluster.leader_among(&cluster.others(old));
    writer.wait_more(30, SOON);
    let value = "written while the old leader was frozen";
    cluster.cli_to(&cluster.others(old)).run(&["kv", "put", "since", value]).ok();
    cluster.master(old).thaw();
    // The old leader may believe for a moment that it leads. It must never answer with what was so before.
    for _ in 0..20 {
        let read = cluster.cli_to(&[old]).run(&["kv", "get", "since"]);
        assert!(read.code == 3 || read.stdout == format!("{value}\n"), "{read}");
    }
    cluster.wait_caught_up(old);
    let term = |id| cluster.status(id).ok().and_then(|status| status["term"].as_u64());
    assert!(term(old) >= term(new) || cluster.leader() != new, "the old leader knows the new term");
    check(&cluster, writer, "j");
}

#[test]
fn a_follower_that_is_killed_or_frozen_is_not_missed() {
    let mut cluster = start();
    let writer = Writer::start(&cluster, "w");
    run_tasks(&cluster, "j");
    let leader = cluster.leader();
    let follower = cluster.others(leader)[0];
    cluster.master(follower).kill();
    writer.wait_more(50, SOON);
    cluster.master(follower).start();
    cluster.wait_caught_up(follower);

    cluster.master(follower).freeze();
    writer.wait_more(50, SOON);
    cluster.master(follower).thaw();
    cluster.wait_caught_up(follower);
    check(&cluster, writer, "j");
}

#[test]
fn all_masters_killed_at_once_come_back_with_everything() {
    let mut cluster = start();
    let writer = Writer::start(&cluster, "w");
    run_tasks(&cluster, "j");
    cluster.submit("waiting", 2, &["--slots", "1000"]);
    writer.wait_more(50, SOON);
    let before = cluster.truth().newest("j");
    let ids = cluster.ids();
    ids.iter().for_each(|&id| cluster.master(id).kill());
    // Away for longer than the lease: the executors must have ended their tasks by themselves.
    let lease = Duration::from_millis(LEASE_MS[0] + LEASE_MS[1]);
    let killed = cluster.truth().now();
    wait_until(lease * 3, "time passes", || {
        let passed = cluster.truth().now() - killed;
        if passed > lease.as_secs_f64() { Ok(()) } else { Err(format!("{passed} s")) }
    });
    for (&task, &epoch) in &before {
        let last = cluster.truth().last_sign("j", task, epoch).unwrap_or_default() - killed;
        assert!(last < lease.as_secs_f64(), "task {task} lived on for {last} s without a master");
    }
    ids.iter().for_each(|&id| cluster.master(id).start());
    cluster.wait_ready();
    cluster.truth().wait_started("j", TASKS, &before, SOON);
    let waiting = cluster.job("waiting").expect("a job survives");
    assert_eq!(
        (&waiting["state"], &waiting["counts"]["pending"]),
        (&"created".into(), &2.into()),
        "{waiting}"
    );
    check(&cluster, writer, "j");
}

#[test]
fn all_masters_restarted_quickly_leave_the_tasks_running() {
    let mut cluster = start();
    let writer = Writer::start(&cluster, "w");
    run_tasks(&cluster, "j");
    writer.wait_more(50, SOON);
    let ids = cluster.ids();
    ids.iter().for_each(|&id| cluster.master(id).kill());
    ids.iter().for_each(|&id| cluster.master(id).start());
    cluster.wait_ready();
    // The tasks run on, or again: `finish` sees to it that none ran twice at once, and each ends once.
    check(&cluster, writer, "j");
}

#[test]
fn a_leader_that_is_asked_to_end_hands_over_first() {
    let mut cluster = start();
    let writer = Writer::start(&cluster, "w");
    run_tasks(&cluster, "j");
    let epochs = cluster.truth().newest("j");
    for ask in [Process::interrupt, Process::terminate, Process::terminate] {
        writer.wait_more(30, SOON);
        let leader = cluster.leader();
        assert!(ask(cluster.master(leader)).success());
        let log = cluster.master_log(leader);
        assert!(log.contains("another master leads"), "it ended without a successor:\n{log}");
        assert_ne!(cluster.leader_among(&cluster.others(leader)), leader);
        writer.wait_more(30, SOON);
        cluster.master(leader).start();
        cluster.wait_caught_up(leader);
    }
    assert_eq!(cluster.truth().newest("j"), epochs, "tasks run on");
    check(&cluster, writer, "j");
}

#[test]
fn an_operator_says_who_leads() {
    let cluster = start();
    let writer = Writer::start(&cluster, "w");
    run_tasks(&cluster, "j");
    writer.wait_more(30, SOON);
    let old = cluster.leader();
    let next = cluster.others(old)[0];
    let leads = |arguments: &[&str]| {
        let members = cluster.cli().json(arguments)["members"].clone();
        let leader = members.as_array().unwrap().iter().find(|it| it["is_leader"] == true).cloned();
        leader.and_then(|leader| leader["id"].as_u64())
    };
    assert_eq!(leads(&["member", "transfer-leader", &next.to_string()]), Some(next));
    let any = leads(&["member", "transfer-leader"]);
    assert!(any.is_some() && any != Some(next), "anybody else: {any:?}");
    let _told = leads(&["member", "set-priority", &next.to_string(), "7"]);
    wait_until(SOON, "the master of the highest priority leads", || {
        let leader = leads(&["member", "list"]);
        if leader == Some(next) { Ok(()) } else { Err(format!("{leader:?} leads")) }
    });
    let avoided = cluster.cli().run(&["member", "set-priority", &old.to_string(), "101"]);
    avoided.refused(2, &["101 is not in -100..=100"]);
    let unknown = cluster.cli().run(&["member", "transfer-leader", "9"]);
    unknown.refused(1, &["node 9 has no vote", "only a voter can lead"]);
    check(&cluster, writer, "j");
}

/// A state that takes seconds to send, a snapshot after every few puts, and a follower that was away for longer than the log is.
#[test]
fn a_follower_far_behind_catches_up_while_clients_write() {
    const LARGE: usize = 8;
    let mut cluster = Cluster::prepare(Options::default());
    for id in cluster.ids() {
        for word in ["--snapshot-entries", "20", "--snapshot-rate", "2MiB"] {
            cluster.master(id).argument(word);
        }
    }
    cluster.start_all();
    cluster.wait_ready();
    let id = cluster.others(cluster.leader())[0];
    cluster.master(id).kill();
    let value = "v".repeat(1024 * 1024);
    for number in 0..LARGE {
        cluster.cli().run_with(&["kv", "put", &format!("large/{number}"), "-"], value.as_bytes()).ok();
    }
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(100, SOON);
    let begun = writer.count();
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    let meanwhile = writer.count() - begun;
    // Each forty of them would have taken away the snapshot that it was being sent.
    assert!(meanwhile > 200, "only {meanwhile} puts while it caught up");
    let log = cluster.master_log(id);
    assert_eq!(log.matches("took a peer's snapshot in").count(), 1, "{log}");
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(&cluster);
    let own = cluster.cli_to(&[id]);
    for number in 0..LARGE {
        assert!(own.run(&["kv", "get", "--stale", &format!("large/{number}")]).ok().trim_end() == value);
    }
}

#[test]
fn who_reads_by_lease_asks_nobody_as_long_as_nobody_else_can_lead() {
    let mut cluster = Cluster::prepare(Options::default());
    let timing = ["--timing-read-lease-drift-ppm", "1000", "--timing-election-min", "5s"];
    cluster.start_with(&[&timing[..], &["--timing-election-max", "20s"]].concat());
    cluster.cli().run(&["kv", "put", "k", "1"]).ok();
    let leader = cluster.leader();
    let followers = cluster.others(leader);
    followers.iter().for_each(|&id| cluster.master(id).freeze());
    let alone = cluster.cli_to(&[leader]).within("1s");
    assert_eq!(alone.run(&["kv", "get", "k"]).ok(), "1\n");
    wait_until(SOON, "the lease is over", || match alone.run(&["kv", "get", "k"]) {
        refused if refused.code == 3 => Ok(()),
        answered => Err(answered.to_string()),
    });
    assert_eq!(cluster.status(leader).expect("it answers")["role"], "leader", "only its lease is over");
    followers.iter().for_each(|&id| cluster.master(id).thaw());
    assert_eq!(cluster.cli().within("30s").run(&["kv", "get", "k"]).ok(), "1\n");
}
