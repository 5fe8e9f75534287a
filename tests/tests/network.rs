//! Networks are cut, each master and each executor on a machine of its own.

use quorate_tests::{Cluster, LEASE_MS, Options, Writer, holders, wait_until};
use std::{collections::BTreeMap, time::Duration};

const SOON: Duration = Duration::from_secs(40);

fn start(agents: u64) -> Cluster {
    Cluster::start(Options { agents, network: true, ..Options::default() })
}

fn name(id: u64) -> String {
    format!("master{id}")
}

/// Waits until a master no longer says that it leads. Its own network may be cut: it is asked from its own machine.
fn wait_steps_down(cluster: &Cluster, id: u64) {
    wait_until(SOON, &format!("master {id} steps down"), || {
        let status = cluster.status_there(id)?;
        if status["role"] == "leader" { Err(status.to_string()) } else { Ok(()) }
    });
}

/// What every cut ends with: nothing that was acknowledged is lost, and all masters are one cluster again.
fn check(cluster: &Cluster, writer: Writer) {
    cluster.ids().into_iter().for_each(|id| cluster.wait_caught_up(id));
    writer.wait_more(20, SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(cluster);
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_its_followers_go_on() {
    let cluster = start(0);
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(30, SOON);
    let old = cluster.leader();
    cluster.network().unplug(&name(old));
    let _new = cluster.leader_among(&cluster.others(old));
    writer.wait_more(30, SOON);
    wait_steps_down(&cluster, old);
    cluster.network().plug(&name(old));
    check(&cluster, writer);
}

#[test]
fn a_leader_cut_off_from_its_followers_only_takes_no_more_writes() {
    let cluster = start(0);
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(30, SOON);
    let old = cluster.leader();
    let followers = cluster.others(old);
    // Clients still reach the old leader.
    for &follower in &followers {
        cluster.network().cut(&name(old), &name(follower));
        cluster.network().cut(&name(follower), &name(old));
    }
    let _new = cluster.leader_among(&followers);
    cluster.cli_to(&followers).run(&["kv", "put", "since", "the cut"]).ok();
    wait_steps_down(&cluster, old);
    let alone = cluster.cli_to(&[old]).within("1s");
    alone.run(&["kv", "put", "lost", "x"]).refused(3, &[]);
    alone.run(&["kv", "get", "since"]).refused(3, &[]);
    writer.wait_more(30, SOON);
    for &follower in &followers {
        cluster.network().heal(&name(old), &name(follower));
        cluster.network().heal(&name(follower), &name(old));
    }
    check(&cluster, writer);
    assert_eq!(cluster.cli_to(&[old]).run(&["kv", "get", "since"]).ok(), "the cut\n");
}

#[test]
fn a_leader_that_reads_by_lease_and_is_cut_off_answers_nothing_old() {
    let mut cluster = Cluster::prepare(Options { network: true, ..Options::default() });
    // The old leader believes for longer that it leads than others wait: only the end of its lease keeps it from answering.
    cluster.start_with(&["--timing-read-lease-drift-ppm", "1000", "--timing-election-max", "3s"]);
    let writer = Writer::start(&cluster, "w");
    for round in 0..5 {
        writer.wait_more(30, SOON);
        let old = cluster.leader();
        let followers = cluster.others(old);
        let value = format!("round {round}");
        for &follower in &followers {
            cluster.network().cut(&name(old), &name(follower));
            cluster.network().cut(&name(follower), &name(old));
        }
        // Acknowledged as soon as another one leads: the lease of the old one must be over by then.
        cluster.cli_to(&followers).run(&["kv", "put", "newest", &value]).ok();
        let read = cluster.cli_to(&[old]).within("1s").run(&["kv", "get", "newest"]);
        assert!(read.code == 3, "master {old} does not know of a newer leader, and answers: {read}");
        for &follower in &followers {
            cluster.network().heal(&name(old), &name(follower));
            cluster.network().heal(&name(follower), &name(old));
        }
        cluster.wait_caught_up(old);
        assert_eq!(cluster.cli_to(&[old]).run(&["kv", "get", "newest"]).ok(), format!("{value}\n"));
    }
    check(&cluster, writer);
}

#[test]
fn a_leader_that_hears_but_is_not_heard_is_replaced() {
    let cluster = start(0);
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(30, SOON);
    let old = cluster.leader();
    for follower in cluster.others(old) {
        cluster.network().cut(&name(old), &name(follower));
    }
    let _new = cluster.leader_among(&cluster.others(old));
    wait_steps_down(&cluster, old);
    writer.wait_more(30, SOON);
    for follower in cluster.others(old) {
        cluster.network().heal(&name(old), &name(follower));
    }
    check(&cluster, writer);
}

#[test]
fn a_leader_that_is_heard_but_hears_nothing_steps_down() {
    let cluster = start(0);
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(30, SOON);
    let old = cluster.leader();
    for follower in cluster.others(old) {
        cluster.network().cut(&name(follower), &name(old));
    }
    wait_steps_down(&cluster, old);
    let _new = cluster.leader_among(&cluster.others(old));
    writer.wait_more(30, SOON);
    for follower in cluster.others(old) {
        cluster.network().heal(&name(follower), &name(old));
    }
    check(&cluster, writer);
}

/// Cuts executor 1 off by `cut`, and checks that its tasks end in time and run elsewhere; then undoes it.
fn cut_off(cut: impl Fn(&Cluster), heal: impl Fn(&Cluster)) {
    let cluster = start(2);
    let writer = Writer::start(&cluster, "w");
    cluster.submit("j", 4, &[]);
    cluster.truth().wait_started("j", 4, &BTreeMap::new(), SOON);
    let job = cluster.wait_online("j", 4, SOON);
    let lost = cluster.executor(1).expect("the executor is registered");
    let newest = cluster.truth().newest("j");
    let held: Vec<u32> =
        holders(&job).into_iter().filter(|(_, executor)| *executor == lost).map(|(task, _)| task).collect();
    assert_eq!(held.len(), 2, "{job}");
    let cut_at = cluster.truth().now();
    cut(&cluster);
    let mut old = newest.clone();
    old.iter_mut().filter(|(task, _)| !held.contains(task)).for_each(|(_, epoch)| *epoch = u64::MAX);
    cluster.truth().wait_started("j", 2, &old, SOON);
    cluster.truth().assert_apart();
    let most = Duration::from_millis(LEASE_MS[0] + LEASE_MS[1]).as_secs_f64();
    for task in held {
        let lived = cluster.truth().last_sign("j", task, newest[&task]).expect("it ran") - cut_at;
        assert!(lived < most, "task {task} lived on for {lived} s on an executor that is cut off");
    }
    heal(&cluster);
    wait_until(SOON, "the executor is back", || match cluster.executor(1) {
        Some(executor) if executor != lost => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.submit("k", 10, &[]);
    cluster.truth().wait_started("k", 10, &BTreeMap::new(), SOON);
    cluster.finish("k", SOON);
    cluster.finish("j", SOON);
    check(&cluster, writer);
}

#[test]
fn an_executor_that_is_cut_off_ends_its_tasks_before_they_run_elsewhere() {
    cut_off(|cluster| cluster.network().unplug("agent1"), |cluster| cluster.network().plug("agent1"));
}

#[test]
fn an_executor_that_hears_no_master_ends_its_tasks_before_they_run_elsewhere() {
    let all = |cluster: &Cluster, act: &dyn Fn(&str)| cluster.ids().into_iter().for_each(|id| act(&name(id)));
    cut_off(
        |cluster| all(cluster, &|master| cluster.network().cut(master, "agent1")),
        |cluster| all(cluster, &|master| cluster.network().heal(master, "agent1")),
    );
}
