//! Masters come, go and are replaced while a client writes.

use quorate_tests::{Cli, Cluster, Options, Writer, wait_until};
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(30);

/// The end of each test: nothing failed, and what was acknowledged is there.
fn check(cluster: &Cluster, writer: Writer) {
    writer.wait_more(30, SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(cluster);
}

#[test]
fn a_master_is_added_and_the_leader_is_removed() {
    let mut cluster = Cluster::start(Options::default());
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(100, SOON);
    cluster.grow(4, &[1, 2, 3]);
    cluster.wait_voters(&[4], &[1, 2, 3, 4]);
    writer.wait_more(50, SOON);

    let leader = cluster.leader();
    let rest = cluster.others(leader);
    cluster.cli().run(&["member", "remove", &leader.to_string()]).ok();
    let next = cluster.leader_among(&rest);
    assert_ne!(next, leader);
    cluster.wait_voters(&rest, &rest);
    writer.wait_more(50, SOON);
    // It was asked last what it led, and leads nothing any more, also when it comes again.
    cluster.master(leader).kill();
    cluster.master(leader).start();
    wait_until(SOON, "the removed master answers", || cluster.status(leader));
    writer.wait_more(50, SOON);
    assert_ne!(cluster.status(leader).expect("it answers")["role"], "leader");
    cluster.forget(leader);

    // The one that came counts: with it, and without another, there is a majority.
    let other = rest.iter().copied().find(|&id| id != 4).expect("there are three");
    cluster.master(other).kill();
    writer.wait_more(50, SOON);
    cluster.master(other).start();
    cluster.wait_caught_up(other);
    check(&cluster, writer);
}

#[test]
fn a_master_is_removed_and_added_again_with_an_empty_directory() {
    let mut cluster = Cluster::start(Options::default());
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(100, SOON);
    let leader = cluster.leader();
    let id = cluster.others(leader)[0];
    let rest = cluster.others(id);
    cluster.cli().run(&["member", "remove", &id.to_string()]).ok();
    cluster.wait_voters(&rest, &rest);
    cluster.master(id).kill();
    writer.wait_more(50, SOON);
    cluster.grow(id, &rest);
    cluster.wait_voters(&[id], &[1, 2, 3]);
    // It votes: without another one, there is a majority.
    cluster.wait_caught_up(id);
    let other = rest.into_iter().find(|&other| other != cluster.leader()).expect("there are two");
    cluster.master(other).kill();
    writer.wait_more(50, SOON);
    check(&cluster, writer);
}

#[test]
fn several_voters_change_at_once_the_leader_among_them() {
    let mut cluster = Cluster::start(Options::default());
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(100, SOON);
    let old = cluster.leader();
    let rest = cluster.others(old);
    cluster.learn(4, &rest);
    cluster.promote_with(4, &rest, &["--instead-of", &old.to_string()]);
    let voters = cluster.others(old);
    let _new = cluster.leader_among(&voters);
    cluster.wait_voters(&voters, &voters);
    writer.wait_more(50, SOON);
    cluster.forget(old);

    // Who came votes: with it, and without another one, there is a majority.
    cluster.master(rest[0]).kill();
    writer.wait_more(50, SOON);
    // For a while two majorities were needed. Nobody had to end that.
    let log = Cli::alone().run(&["wal", "dump", "--data-dir", &cluster.data(rest[0]).to_string_lossy()]).ok();
    assert_eq!(log.matches("LeaveJoint").count(), 1, "{log}");
    cluster.master(rest[0]).start();
    cluster.wait_caught_up(rest[0]);

    cluster.grow(5, &voters);
    cluster.cli().run(&["member", "remove", "4", "5"]).ok();
    cluster.wait_voters(&rest, &rest);
    [4, 5].into_iter().for_each(|id| cluster.forget(id));
    check(&cluster, writer);
}

#[test]
fn a_lost_disk_is_replaced_and_the_old_one_is_never_heard_again() {
    let mut cluster = Cluster::start(Options::default());
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(100, SOON);
    let id = cluster.others(cluster.leader())[0];
    let rest = cluster.others(id);
    cluster.master(id).kill();
    let (data, aside) = (cluster.data(id), cluster.directory().path().join("aside"));
    fs::rename(&data, &aside).expect("a directory can be renamed");

    // As it was, with an empty directory, it has no part.
    cluster.master(id).start();
    let status = cluster.wait_alarm(id, &["directory", "replaced"]);
    assert_eq!(status["role"], "no-vote");
    cluster.master(id).kill();
    fs::remove_dir_all(&data).expect("it can be removed");

    cluster.cli_to(&rest).run(&["member", "replace", &id.to_string()]).ok();
    cluster.joiner(id, &rest);
    cluster.master(id).start();
    cluster.promote(id, &rest);
    cluster.wait_caught_up(id);
    let other = rest.iter().copied().find(|&other| other != cluster.leader()).expect("there are two");
    cluster.master(other).kill();
    writer.wait_more(50, SOON);
    cluster.master(other).start();
    cluster.wait_caught_up(other);

    // The disk that was lost is found again.
    cluster.master(id).kill();
    let new = cluster.directory().path().join("new");
    fs::rename(&data, &new).expect("a directory can be renamed");
    fs::rename(&aside, &data).expect("a directory can be renamed");
    cluster.master(id).start();
    let status = cluster.wait_alarm(id, &["does not hear this directory"]);
    assert_ne!(status["role"], "leader");
    writer.wait_more(50, SOON);
    cluster.master(id).kill();
    fs::rename(&data, &aside).expect("a directory can be renamed");
    fs::rename(&new, &data).expect("a directory can be renamed");
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    check(&cluster, writer);
}
