//! File systems whose power goes while masters write to them.

use quorate_tests::{Cluster, Options, Volume, Writer};
use std::{collections::BTreeMap, time::Duration};

const SOON: Duration = Duration::from_secs(40);

/// The power of a master's disk goes; it ends by itself, because no sync after it can be trusted.
fn fail(cluster: &mut Cluster, volumes: &BTreeMap<u64, Volume>, id: u64) {
    volumes[&id].shut_down();
    let ended = cluster.master(id).ended(SOON);
    let log = cluster.master_log(id);
    assert!(!ended.success() && log.contains("nothing after it can be trusted"), "master {id}: {log}");
}

fn repair(cluster: &mut Cluster, volumes: &BTreeMap<u64, Volume>, ids: &[u64]) {
    for id in ids {
        volumes[id].restore();
        cluster.master(*id).start();
    }
    ids.iter().for_each(|id| cluster.wait_caught_up(*id));
}

#[test]
fn what_was_acknowledged_is_there_when_the_file_systems_of_one_and_of_all_masters_were_shut_down() {
    let mut cluster = Cluster::prepare(Options::default());
    let volumes: BTreeMap<u64, Volume> =
        cluster.ids().into_iter().map(|id| (id, Volume::new(&cluster.data(id)))).collect();
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(200, SOON);

    let leader = cluster.leader();
    fail(&mut cluster, &volumes, leader);
    let _next = cluster.leader_among(&cluster.others(leader));
    writer.wait_more(100, SOON);
    repair(&mut cluster, &volumes, &[leader]);
    writer.wait_more(100, SOON);

    let all = cluster.ids();
    // All at once, and their machines with them.
    volumes.values().for_each(Volume::shut_down);
    all.iter().for_each(|&id| cluster.master(id).kill());
    repair(&mut cluster, &volumes, &all);
    writer.wait_more(50, SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(&cluster);
    for id in all {
        cluster.master(id).kill();
        let data = cluster.data(id).to_string_lossy().into_owned();
        cluster.cli().run(&["wal", "verify", "--data-dir", &data]).ok();
    }
    // Whoever uses them ends first.
    drop(cluster);
    drop(volumes);
}
