//! Snapshots outside of a cluster, new clusters made of them, and a cluster that lost its majority for good.

use quorate_tests::{Acknowledged, Cli, Cluster, Directory, Options, Output, Writer, relay_that_breaks};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(30);

/// Everything that was acknowledged is among these keys.
#[track_caller]
fn assert_holds(there: &BTreeMap<String, String>, written: &Acknowledged) {
    let missing: Vec<_> = written.keys.iter().filter(|(key, value)| there.get(*key) != Some(value)).collect();
    assert!(missing.is_empty(), "{} of {}: {:?}", missing.len(), written.keys.len(), missing.first());
}

fn status(file: &Path) -> Output {
    Cli::alone().run(&["-o", "json", "snapshot", "status", &file.to_string_lossy()])
}

fn restore(cluster: &Cluster, id: u64, file: &Path, flags: &[&str]) -> Output {
    let (file, data, node) = (file.to_string_lossy(), cluster.data(id), id.to_string());
    let words = ["-o", "json", "snapshot", "restore", &file, "--node", &node, "--members", cluster.members()];
    Cli::alone().run(&[&words[..], &["--data-dir", &data.to_string_lossy()], flags].concat())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_snapshot_of_a_cluster_under_load_becomes_clusters_of_one_three_and_five() {
    let place = Directory::new();
    let file = place.path().join("backup.snapshot");
    let (before, written) = save_under_load(&file);
    let own = made_of(&place.path().join("own.snapshot"));
    assert!(
        !own.is_empty() && own.iter().all(|(key, value)| written.keys.get(key) == Some(value)),
        "{own:?}"
    );
    let saved = parsed(&status(&file).ok());
    assert!(saved["keys"].as_u64() >= Some(before.keys.len() as u64), "{saved}");
    for masters in [1, 3, 5] {
        let mut cluster = Cluster::prepare(Options { masters, agents: 1, ..Options::default() });
        let made: Vec<Value> = cluster
            .ids()
            .iter()
            .map(|&id| parsed(&restore(&cluster, id, &file, &["--bump-revision", "1000"]).ok()))
            .collect();
        assert!(made.iter().all(|one| one["cluster"] == made[0]["cluster"]), "{made:?}");
        assert_ne!(made[0]["cluster"], saved["cluster"]);
        assert_eq!(made[0]["from"], saved["cluster"]);
        cluster.start_all();
        cluster.wait_ready();
        assert_holds(&cluster.keys("w/"), &before);
        let item = cluster.cli().json(&["kv", "put", "w/new", "1"]);
        let revision = saved["revision"].as_u64().expect("it is a number");
        assert_eq!(item["revision"], revision + 1_001, "revisions go on, behind those of the old cluster");
        assert_eq!(cluster.job("j").expect("jobs are kept")["state"], "running");
        end_what_ran(&cluster, "j");
        // Whoever restores again is told that it is done.
        restore(&cluster, 1, &file, &[]).refused(1, &["in use"]);
        cluster.master(1).kill();
        restore(&cluster, 1, &file, &[]).refused(1, &["not empty"]);
    }
}

/// A cluster whose client writes while it is saved; what was acknowledged before, and in the end.
fn save_under_load(file: &Path) -> (Acknowledged, Acknowledged) {
    let mut cluster = Cluster::prepare(Options { agents: 1, ..Options::default() });
    for id in cluster.ids() {
        for word in ["--snapshot-entries", "100"] {
            cluster.master(id).argument(word);
        }
    }
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    cluster.submit("j", 2, &[]);
    cluster.truth().wait_started("j", 2, &BTreeMap::new(), SOON);
    let _online = cluster.wait_online("j", 2, SOON);
    writer.wait_more(300, SOON);
    let before = writer.so_far();
    let name = file.to_string_lossy().into_owned();
    // Asked of a follower, which may be behind: the same.
    let follower = cluster.others(cluster.leader())[0];
    let cli = cluster.cli_to(&[follower]);
    cli.run(&["snapshot", "save", &name]).ok();
    cli.run(&["snapshot", "save", &name]).refused(1, &[&name, "is there already", "--overwrite"]);
    writer.wait_more(50, SOON);
    cli.run(&["snapshot", "save", &name, "--overwrite"]).ok();
    assert!(!file.with_file_name("backup.snapshot.part").exists(), "nothing is left beside it");
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    own_file(&cluster, follower, &written, &file.with_file_name("own.snapshot"));
    damaged_files(file);
    (before, written)
}

/// What a master keeps itself can be looked at too.
fn own_file(cluster: &Cluster, id: u64, written: &Acknowledged, copy: &Path) {
    let files = fs::read_dir(cluster.data(id)).expect("it is there").flatten().map(|file| file.path());
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let newest =
        files.filter(|path| name(path).starts_with("snapshot-") && !name(path).ends_with(".tmp")).max();
    let newest = newest.expect("there is one after some hundred entries");
    fs::copy(newest, copy).expect("it can be copied");
    let found = parsed(&status(copy).ok());
    let keys = found["keys"].as_u64().expect("it is a number");
    assert!(keys > 0 && keys <= written.keys.len() as u64, "{found}");
    assert_eq!((&found["node"], &found["members"][2]["part"]), (&json!(id), &json!("voter")));
}

/// A cluster of one out of a file, and what it holds.
fn made_of(file: &Path) -> BTreeMap<String, String> {
    let mut cluster = Cluster::prepare(Options { masters: 1, ..Options::default() });
    restore(&cluster, 1, file, &[]).ok();
    cluster.start_all();
    cluster.wait_ready();
    cluster.keys("w/")
}

#[test]
fn a_save_that_is_cut_off_leaves_nothing_behind_and_spoils_nothing() {
    let cluster = Cluster::start(Options { masters: 1, ..Options::default() });
    let value = "v".repeat(64 * 1024);
    for number in 0..40 {
        cluster.cli().run(&["kv", "put", &format!("w/{number}"), &value]).ok();
    }
    let place = Directory::new();
    let (file, part) = (place.path().join("backup.snapshot"), place.path().join("backup.snapshot.part"));
    let name = file.to_string_lossy().into_owned();
    let half = Cli::to(&relay_that_breaks(cluster.endpoint(1), 1024 * 1024));
    let cut_off = half.within("3s").run(&["snapshot", "save", &name]);
    assert_ne!(cut_off.code, 0, "{}", cut_off.stdout);
    assert!(!file.exists() && !part.exists(), "half a snapshot is none: {}", cut_off.stderr);

    cluster.cli().run(&["snapshot", "save", &name]).ok();
    let whole = fs::read(&file).expect("it is there");
    cluster.cli().run(&["kv", "put", "w/late", "1"]).ok();
    let half = Cli::to(&relay_that_breaks(cluster.endpoint(1), 1024 * 1024));
    assert_ne!(half.within("3s").run(&["snapshot", "save", &name, "--overwrite"]).code, 0);
    assert!(fs::read(&file).expect("it is there") == whole, "the one before is as it was");
    assert!(!part.exists());
    drop(cluster);
    let there = made_of(&file);
    assert_eq!(there.len(), 40);
    assert!(there.values().all(|it| *it == value));
}

#[test]
fn a_removed_member_may_be_taken_when_nothing_else_is_left() {
    let mut cluster = Cluster::start(Options::default());
    cluster.cli().run(&["kv", "put", "a", "1"]).ok();
    // A leader has carried out its own removal; whoever only follows may never hear of it.
    let id = cluster.leader();
    let rest = cluster.others(id);
    cluster.cli().run(&["member", "remove", &id.to_string()]).ok();
    cluster.wait_voters(&rest, &rest);
    cluster.ids().into_iter().for_each(|id| cluster.master(id).kill());
    let (data, node) = (cluster.data(id), id.to_string());
    recover(&data, id, &["--force-new-cluster", "--yes"]).refused(1, &["it was removed", "--not-a-voter"]);
    let data = data.to_string_lossy();
    let words =
        ["recover", "--data-dir", &data, "--node", &node, "--force-new-cluster", "--yes", "--not-a-voter"];
    let said = Cli::alone().run(&words).ok();
    assert!(said.contains(&format!("quorate member update {id}")), "{said}");
    cluster.master(id).start();
    assert_eq!(cluster.leader_among(&[id]), id);
    let (peer, client) = (cluster.peer(id).to_owned(), cluster.endpoint(id).to_owned());
    cluster.cli_to(&[id]).run(&["member", "update", &node, "--peer", &peer, "--client", &client]).ok();
    assert_eq!(cluster.cli_to(&[id]).run(&["kv", "get", "a"]).ok(), "1\n");
    cluster.grow(rest[0], &[id]);
    cluster.wait_caught_up(rest[0]);
}

#[test]
fn what_a_restore_is_told_is_checked_before_anything_is_made() {
    let place = Directory::new();
    let (none, data) = (place.path().join("none"), place.path().join("new"));
    let (none, data) = (none.to_string_lossy(), data.to_string_lossy());
    let run = |flags: &[&str]| Cli::alone().run(&[&["snapshot", "restore", &none], flags].concat());
    let members = "1=127.0.0.1:2/127.0.0.1:1";
    run(&[]).refused(2, &["node is missing", "--node"]);
    run(&["--node", "1", "--data-dir", &data]).refused(2, &["members is missing", "--members"]);
    run(&["--node", "1", "--members", members]).refused(2, &["data_dir is missing", "--data-dir"]);
    let whole = ["--data-dir", &data, "--members", members, "--id"];
    run(&[&whole[..], &["2"]].concat()).refused(2, &["node is 2", "the members are 1"]);
    run(&[&whole[..], &["1"]].concat()).refused(1, &[&none, "No such file"]);
    let many: Vec<String> = (1..=10).map(|id| format!("{id}=a{id}:2/a{id}:1")).collect();
    let many = many.join(",");
    let words = ["--node", "1", "--data-dir", &data, "--members", &many];
    run(&words).refused(2, &["10 members", "1 to 9"]);
    assert!(!place.path().join("new").exists(), "nothing is made");
}

/// What is no whole snapshot is refused by name and place, by both commands.
fn damaged_files(file: &Path) {
    let whole = fs::read(file).expect("it is there");
    let bad = file.with_file_name("bad");
    let refused = |bytes: &[u8], parts: &[&str]| {
        fs::write(&bad, bytes).expect("it can be written");
        status(&bad).refused(1, &[&[&*bad.to_string_lossy()], parts].concat());
    };
    for place in [70, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        refused(&bytes, &["is damaged at byte"]);
    }
    refused(&whole[..whole.len() / 2], &["is damaged at byte"]);
    refused(b"", &["is no snapshot"]);
    refused(b"something else, and long enough to be the header of a snapshot......", &["is no snapshot"]);
    let mut newer = whole;
    newer[8] = 9;
    refused(&newer, &["format 9", "format 2"]);
    status(Path::new("/nonexistent/quorate")).refused(1, &["/nonexistent/quorate", "No such file"]);
    fs::remove_file(bad).expect("it can be removed");
}

/// What ran in the old cluster is known, and can be ended. Its tasks write into the old test's directory, which is gone.
fn end_what_ran(cluster: &Cluster, job: &str) {
    cluster.cli().run(&["job", "cancel", job]).ok();
    let _ended = cluster.wait_job(job, "canceled", SOON);
}

fn recover(data: &Path, id: u64, flags: &[&str]) -> Output {
    let (data, node) = (data.to_string_lossy(), id.to_string());
    Cli::alone().run(&[&["-o", "json", "recover", "--data-dir", &data, "--node", &node], flags].concat())
}

/// The survivor goes on alone; the others are refused when they come back, and grows to three with them.
fn goes_on(cluster: &mut Cluster, survivor: u64, written: &Acknowledged) {
    let lost = cluster.others(survivor);
    let data = cluster.data(survivor);
    let found = parsed(&recover(&data, survivor, &["--dry-run"]).ok());
    assert_eq!((&found["unfit"], &found["recovered"]), (&Value::Null, &Value::Null), "{found}");
    assert_eq!(found["forgets"].as_array().map(Vec::len), Some(2), "{found}");
    recover(&data, survivor, &[]).refused(2, &["--force-new-cluster"]);
    recover(&data, survivor, &["--force-new-cluster"]).refused(1, &["nobody said yes", "--yes"]);
    recover(&data, lost[0], &["--dry-run"]).refused(1, &[&format!("directory of node {survivor}")]);
    let made = parsed(&recover(&data, survivor, &["--force-new-cluster", "--yes"]).ok());
    assert_ne!(made["recovered"]["cluster"], found["cluster"]);
    recover(&data, survivor, &["--force-new-cluster", "--yes"]).refused(1, &["only member already"]);

    cluster.master(survivor).start();
    assert_eq!(cluster.leader_among(&[survivor]), survivor);
    assert_holds(&cluster.keys_from(&[survivor], "w/"), written);
    recover(&data, survivor, &["--dry-run"]).refused(1, &["in use", "stop the master"]);

    // A zombie.
    cluster.master(lost[0]).start();
    let status = cluster.wait_alarm(lost[0], &["was given up", "--join"]);
    assert_ne!(status["role"], "leader");
    assert_eq!(cluster.parts(&[survivor]), Ok([(survivor, "voter".to_owned())].into()));
    cluster.cli_to(&[lost[0]]).within("2s").run(&["kv", "get", "w/000001"]).refused(3, &[]);
    cluster.master(lost[0]).kill();

    let writer = Writer::start(cluster, "again");
    writer.wait_more(30, SOON);
    for (number, &id) in lost.iter().enumerate() {
        let there = [&[survivor][..], &lost[..number]].concat();
        cluster.grow(id, &there);
    }
    cluster.wait_voters(&lost, &[1, 2, 3]);
    lost.iter().for_each(|&id| cluster.wait_caught_up(id));
    // It is no longer needed.
    cluster.master(survivor).kill();
    writer.wait_more(30, SOON);
    let again = writer.stop();
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    assert_holds(&cluster.keys_from(&lost, "w/"), written);
    assert_holds(&cluster.keys_from(&lost, "again/"), &again);
    cluster.master(survivor).start();
    cluster.wait_caught_up(survivor);
}

#[test]
fn a_leader_that_outlives_the_others_loses_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start(Options { agents: 1, ..Options::default() });
    let writer = Writer::start(&cluster, "w");
    cluster.submit("j", 2, &[]);
    let before = cluster.truth().wait_started("j", 2, &BTreeMap::new(), SOON);
    writer.wait_more(200, SOON);
    let survivor = cluster.leader();
    for id in cluster.others(survivor) {
        cluster.master(id).kill();
    }
    let written = writer.so_far();
    drop(writer);
    cluster.master(survivor).kill();
    goes_on(&mut cluster, survivor, &written);
    // What ran starts anew, under epochs that the old cluster never gave, and never twice at once.
    let after = cluster.truth().wait_started("j", 2, &before, SOON);
    assert!(after.iter().all(|(task, epoch)| epoch > &before[task]), "{after:?}");
    cluster.finish("j", SOON);
}

#[test]
fn a_follower_that_was_away_keeps_what_it_had() {
    let mut cluster = Cluster::start(Options::default());
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(200, SOON);
    let survivor = cluster.others(cluster.leader())[0];
    let written = writer.so_far();
    cluster.wait_caught_up(survivor);
    cluster.master(survivor).kill();
    writer.wait_more(50, SOON);
    for id in cluster.others(survivor) {
        cluster.master(id).kill();
    }
    drop(writer);
    goes_on(&mut cluster, survivor, &written);
}

#[test]
fn a_master_that_joined_may_be_the_one_that_is_left_twice() {
    let mut cluster = Cluster::start(Options::default());
    cluster.grow(4, &[1, 2, 3]);
    cluster.cli().run(&["kv", "put", "a", "1"]).ok();
    cluster.wait_caught_up(4);
    let lost = [vec![1, 2, 3], vec![5]];
    for lost in lost {
        cluster.ids().into_iter().for_each(|id| cluster.master(id).kill());
        lost.into_iter().for_each(|id| cluster.forget(id));
        recover(&cluster.data(4), 4, &["--force-new-cluster", "--yes"]).ok();
        // Whom it joined over is gone for good; it knows what it was told.
        cluster.master(4).start();
        assert_eq!(cluster.leader_among(&[4]), 4);
        assert_eq!(cluster.cli().run(&["kv", "get", "a"]).ok(), "1\n");
        if !cluster.ids().contains(&5) {
            cluster.grow(5, &[4]);
        }
    }
}

#[test]
fn a_directory_that_should_not_decide_is_refused() {
    let mut cluster = Cluster::start(Options::default());
    cluster.cli().run(&["kv", "put", "a", "1"]).ok();
    let leader = cluster.leader();
    let id = cluster.others(leader)[0];
    cluster.cli().run(&["member", "demote", &id.to_string()]).ok();
    cluster.wait_caught_up(id);
    cluster.ids().into_iter().for_each(|id| cluster.master(id).kill());
    let data = cluster.data(id);
    let force = ["--force-new-cluster", "--yes"];
    recover(&data, id, &force).refused(1, &["is a learner", "--not-a-voter"]);
    let found = parsed(&recover(&data, id, &["--show"]).ok());
    assert!(found["unfit"].as_str().is_some_and(|why| why.contains("learner")), "{found}");

    // Damage is no survivor.
    let wal = fs::read_dir(cluster.data(leader)).expect("it is there").flatten().map(|file| file.path());
    let wal = wal.filter(|path| path.to_string_lossy().contains("wal-")).min().expect("there is one");
    let mut bytes = fs::read(&wal).expect("it can be read");
    bytes[100] ^= 1;
    fs::write(&wal, &bytes).expect("it can be written");
    recover(&cluster.data(leader), leader, &force).refused(1, &["damaged at byte", "quorate wal verify"]);

    // Nothing else is left.
    recover(&data, id, &["--force-new-cluster", "--yes", "--not-a-voter"]).ok();
    cluster.master(id).start();
    assert_eq!(cluster.leader_among(&[id]), id);
    assert_eq!(cluster.cli_to(&[id]).run(&["kv", "get", "a"]).ok(), "1\n");
    let none = Path::new("/nonexistent/quorate");
    recover(none, 1, &["--dry-run"]).refused(1, &["/nonexistent/quorate", "No such file"]);
    let empty = Directory::new();
    recover(empty.path(), 1, &["--dry-run"]).refused(1, &["identity", "no data directory of a master"]);
}
