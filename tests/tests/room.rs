//! Data directories without room: what the operations page says about them, done by hand.

use quorate_tests::{Cli, Cluster, Options, wait_until};
use serde_json::Value;
use std::{collections::BTreeMap, path::Path, thread, time::Duration};

const SOON: Duration = Duration::from_secs(30);
/// Masters look once a second whether there is room.
const LOOKED: Duration = Duration::from_millis(2_500);
/// The most that a value may have, in bytes.
const VALUE_BYTES: usize = 1024 * 1024;

fn alarms(cluster: &Cluster) -> Value {
    cluster.cli().json(&["alarm", "list"])["alarms"].take()
}

/// Puts large values until one is refused. How many were taken.
fn fill(cluster: &Cluster, prefix: &str, value: &[u8], most: usize) -> usize {
    for taken in 0..most {
        let output = cluster.cli().run_with(&["kv", "put", &format!("{prefix}/{taken}"), "-"], value);
        if output.code != 0 {
            output.refused(1, &["has no more room", "disk.quota is 268435456", "quorate alarm disarm"]);
            return taken;
        }
    }
    panic!("{most} values of {} bytes are taken", value.len());
}

#[test]
fn a_quota_that_large_values_used_up_has_room_again_when_they_are_deleted() {
    let mut cluster = Cluster::prepare(Options::default());
    for id in cluster.ids() {
        cluster.master(id).set("QUORATE_DISK_QUOTA", "256MiB");
        cluster.master(id).set("QUORATE_DISK_RESERVE", "0");
    }
    cluster.start_all();
    cluster.wait_ready();
    let value = vec![b'v'; VALUE_BYTES];
    let taken = fill(&cluster, "large", &value, 400);
    assert!(taken > 20, "{taken} values are little");
    // What is refused goes to no disk.
    for number in 0..5 {
        let key = format!("refused/{number}");
        cluster.cli().run_with(&["kv", "put", &key, "-"], &value).refused(1, &["has no more room"]);
    }
    let before = alarms(&cluster);
    assert!(before[0]["message"].to_string().contains("disk.quota"), "{before}");

    // As the operations page says: delete, then take the alarm back, and once more if it comes back.
    for number in 0..taken {
        cluster.cli().run(&["kv", "delete", &format!("large/{number}")]).ok();
    }
    let mut rounds = 0;
    while alarms(&cluster) != serde_json::json!([]) {
        rounds += 1;
        assert!(rounds <= 2, "there is still no room: {}", alarms(&cluster));
        cluster.cli().run(&["alarm", "disarm"]).ok();
        thread::sleep(LOOKED);
    }
    for number in 0..10 {
        cluster.cli().run_with(&["kv", "put", &format!("again/{number}"), "-"], &value).ok();
    }
    thread::sleep(LOOKED);
    assert_eq!(alarms(&cluster), serde_json::json!([]), "after {rounds} rounds");

    let id = cluster.others(cluster.leader())[0];
    wait_until(SOON, "a follower has the last value", || {
        let stale = cluster.cli_to(&[id]).run(&["kv", "get", "--stale", "again/9"]);
        if stale.code == 0 { Ok(()) } else { Err(stale.to_string()) }
    });
    cluster.master(id).kill();
    let commands = commands(&cluster.data(id));
    let place = |name: &str| commands.iter().position(|command| command == name).expect("it is in the log");
    let alarmed = &commands[place("RaiseAlarm")..place("DisarmAlarm")];
    // One may have been on its way when the alarm was raised.
    let puts = alarmed.iter().filter(|command| *command == "Put").count();
    assert!(alarmed.len() > taken && puts <= 1, "{puts} of {} entries are puts: {alarmed:?}", alarmed.len());
}

/// The commands in a master's log, in order.
fn commands(data: &Path) -> Vec<String> {
    let text = Cli::alone().run(&["-o", "json", "wal", "dump", "--data-dir", &data.to_string_lossy()]).ok();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    let command = |line: Value| Some((line["index"].as_u64()?, line["command"].as_str()?.to_owned()));
    lines.filter_map(command).collect::<BTreeMap<_, _>>().into_values().collect()
}
