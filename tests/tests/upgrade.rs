//! Masters get another program, one after the other, while clients write and tasks run; and go back.

use quorate_tests::{Cluster, Options, Writer, binary, next_binary, wait_until};
use serde_json::Value;
use std::{path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(30);

/// Ends a master as its service manager does, or kills it, and starts it with another program.
fn replace(cluster: &mut Cluster, id: u64, program: &Path, kill: bool) {
    let master = cluster.master(id);
    if kill {
        master.kill();
    } else {
        assert!(master.interrupt().success(), "{}", master.log());
    }
    let master = cluster.master(id);
    master.replace_program(&[binary(), next_binary()], program);
    master.start();
    cluster.wait_caught_up(id);
}

/// `[level, what its program knows, what its data needs]` of each master.
fn levels(cluster: &Cluster) -> Vec<[u64; 3]> {
    let shown = cluster.cli().json(&["level", "show"]);
    let masters = shown["masters"].as_array().expect("a list").clone();
    let number = |master: &Value, field: &str| master[field].as_u64().unwrap_or(0);
    let fields = |master: &Value| ["level", "program_level", "data_level"].map(|field| number(master, field));
    masters.iter().map(fields).collect()
}

fn wait_levels(cluster: &Cluster, expected: [u64; 3]) {
    wait_until(SOON, &format!("every master is at {expected:?}"), || {
        let found = levels(cluster);
        if found == [expected; 3] { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

#[test]
fn a_cluster_is_upgraded_master_by_master_and_goes_back_while_clients_write_and_tasks_run() {
    let mut cluster = Cluster::start(Options { agents: 1, ..Options::default() });
    let writer = Writer::start(&cluster, "w");
    cluster.submit("j", 2, &[]);
    writer.wait_more(100, SOON);
    wait_levels(&cluster, [1, 1, 1]);

    // Up. The leader last, so that it leads as long as it can; one of them is killed.
    let leader = cluster.leader();
    let order = [cluster.others(leader), vec![leader]].concat();
    for (place, &id) in order.iter().enumerate() {
        let all = levels(&cluster);
        assert!(all.iter().all(|[level, _, data]| *level == 1 && *data == 1), "{all:?}");
        replace(&mut cluster, id, next_binary(), place == 1);
        writer.wait_more(50, SOON);
    }
    wait_levels(&cluster, [2, 2, 2]);
    writer.wait_more(50, SOON);

    // An old program is too old, and says what to do; its directory stays as it is.
    let follower = cluster.others(cluster.leader())[0];
    let master = cluster.master(follower);
    assert!(master.interrupt().success());
    let master = cluster.master(follower);
    master.replace_program(&[next_binary()], binary());
    master.start();
    let ended = master.ended(SOON);
    let log = cluster.master_log(follower);
    assert!(
        !ended.success() && log.contains("feature level 2") && log.contains("this program knows up to"),
        "{log}"
    );
    replace(&mut cluster, follower, next_binary(), true);

    // Back.
    let held = cluster.cli().json(&["level", "hold", "1"]);
    assert_eq!((&held["level"], &held["held_at"]), (&Value::from(1), &Value::from(1)));
    wait_levels(&cluster, [1, 2, 1]);
    for (place, &id) in order.iter().enumerate() {
        replace(&mut cluster, id, binary(), place == 1);
        writer.wait_more(50, SOON);
    }
    wait_levels(&cluster, [1, 1, 1]);
    // And no further than an operator allows.
    replace(&mut cluster, order[0], next_binary(), false);
    cluster.cli().run(&["level", "release"]).ok();
    writer.wait_more(50, SOON);
    assert!(levels(&cluster).iter().all(|[level, _, data]| *level == 1 && *data == 1));

    cluster.finish("j", SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(&cluster);
    let hash = |id: u64| cluster.status(id).map(|it| (it["applied_index"].clone(), it["state_hash"].clone()));
    wait_until(SOON, "all states are the same", || {
        let all: Vec<_> = cluster.ids().into_iter().map(hash).collect::<Result<_, _>>()?;
        if all.iter().all(|one| *one == all[0]) { Ok(()) } else { Err(format!("{all:?}")) }
    });
}

#[test]
fn a_level_that_the_program_does_not_know_is_refused_by_its_number() {
    let cluster = Cluster::start(Options { masters: 1, ..Options::default() });
    cluster.cli().run(&["level", "hold", "9"]).refused(1, &["most is 9", "knows the levels 1 to 1"]);
    cluster.cli().run(&["level", "hold", "0"]).refused(2, &["0"]);
    let shown = cluster.cli().run(&["level", "show"]).ok();
    assert!(shown.contains("feature level 1; it may rise") && shown.contains("DATA NEEDS"), "{shown}");
}
