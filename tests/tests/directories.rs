//! Data directories that are lost, damaged, or of somebody else, and disks that refuse to sync.

use quorate_tests::{Cli, Cluster, Options, Output, SyncFailure, Writer, need_root, wait_until};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(30);

/// A cluster in which a follower was killed after it had taken part in many writes, and that follower.
fn with_a_killed_follower() -> (Cluster, Writer, u64) {
    let mut cluster = Cluster::start(Options::default());
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(100, SOON);
    let leader = cluster.leader();
    let follower = cluster.others(leader)[0];
    cluster.wait_caught_up(follower);
    cluster.master(follower).kill();
    (cluster, writer, follower)
}

/// The others go on, and nothing is lost.
fn check(cluster: &Cluster, writer: Writer) {
    writer.wait_more(30, SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(cluster);
}

/// A master that was started must end by itself, with an error that names these; returns what it wrote.
#[track_caller]
fn refuses_to_start(cluster: &mut Cluster, id: u64, parts: &[&str]) -> String {
    let before = cluster.master(id).log().len();
    cluster.master(id).start();
    let status = cluster.master(id).ended(SOON);
    let said = cluster.master(id).log().split_off(before);
    assert_eq!(status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    said
}

/// The batches of a master's log, as `quorate wal dump` prints them: file, offset, size.
fn batches(data: &Path) -> Vec<(String, u64, u64)> {
    let words = ["-o", "json", "wal", "dump", "--data-dir", &data.to_string_lossy()];
    let text = Cli::alone().run(&words).ok();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    let batches = lines.filter(|line| line["kind"] == "batch").map(|line| {
        let number = |field: &str| line[field].as_u64().expect("it is a number");
        (line["file"].as_str().expect("it is a text").to_owned(), number("offset"), number("size"))
    });
    batches.collect()
}

/// A command about a master's data directory.
fn wal(data: &Path, words: &[&str]) -> Output {
    let data = data.to_string_lossy();
    Cli::alone().run(&[&["wal"], words, &["--data-dir", &data]].concat())
}

#[test]
fn a_wiped_directory_does_not_vote() {
    let (mut cluster, writer, wiped) = with_a_killed_follower();
    fs::remove_dir_all(cluster.data(wiped)).expect("it can be removed");
    cluster.master(wiped).start();
    let status = cluster.wait_alarm(wiped, &["directory", "replaced"]);
    assert_eq!(status["role"], "no-vote");
    check(&cluster, writer);

    // One voter and the wiped one are no quorum: its vote would make a second history possible.
    let leader = cluster.leader();
    let rest = cluster.others(leader);
    cluster.master(leader).kill();
    cluster.cli_to(&rest).within("3s").run(&["kv", "put", "w/no", "quorum"]).refused(3, &[]);
    cluster.master(leader).start();
    let _leads = cluster.leader_among(&[leader, rest[0], rest[1]]);
    cluster.cli().run(&["kv", "put", "a", "quorum"]).ok();
    assert_eq!(cluster.status(wiped).expect("it answers")["role"], "no-vote");
}

/// Copies the files of a directory.
fn copy(from: &Path, to: &Path) {
    let _nothing_there = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("it can be made");
    for file in fs::read_dir(from).expect("it is there").flatten() {
        fs::copy(file.path(), to.join(file.file_name())).expect("it can be copied");
    }
}

#[test]
fn an_old_copy_of_a_directory_is_found_out_and_a_new_one_takes_its_place() {
    let (mut cluster, writer, id) = with_a_killed_follower();
    let (data, old) = (cluster.data(id), cluster.directory().path().join("old-copy"));
    copy(&data, &old);
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    writer.wait_more(50, SOON);
    cluster.wait_caught_up(id);
    cluster.master(id).kill();
    // What it acknowledged since is gone.
    copy(&old, &data);
    cluster.master(id).start();
    let status = cluster.wait_alarm(id, &["went back in time", "replace the member"]);
    assert_eq!(status["role"], "no-vote", "{status}");
    check(&cluster, writer);

    let rest = cluster.others(id);
    cluster.cli_to(&rest).run(&["member", "replace", &id.to_string()]).ok();
    cluster.master(id).kill();
    fs::remove_dir_all(&data).expect("it can be removed");
    cluster.joiner(id, &rest);
    cluster.master(id).start();
    cluster.promote(id, &rest);
    cluster.wait_caught_up(id);
}

#[test]
fn wal_commands_name_what_is_wrong_with_their_arguments() {
    let none = Path::new("/nonexistent/quorate");
    for command in ["dump", "verify", "repair"] {
        wal(none, &[command]).refused(1, &["/nonexistent/quorate", "No such file"]);
        Cli::alone().run(&["wal", command]).refused(2, &["--data-dir"]);
    }
    let empty = quorate_tests::Directory::new();
    wal(empty.path(), &["verify"]).refused(1, &["identity", "no data directory of a master"]);
    wal(empty.path(), &["dump", "--from", "9", "--to", "3"]).refused(2, &["--from is 9", "--to is 3"]);
    assert_eq!(fs::read_dir(empty.path()).expect("it is there").count(), 0, "nothing is made");
}

#[test]
fn a_damaged_byte_in_the_middle_of_the_log_is_refused_by_file_and_offset() {
    let (mut cluster, writer, damaged) = with_a_killed_follower();
    let data = cluster.data(damaged);
    let all = batches(&data);
    let (name, offset, size) = all[all.len() / 2].clone();
    let path = data.join(&name);
    let mut bytes = fs::read(&path).expect("the log can be read");
    let middle = usize::try_from(offset + size / 2).expect("a file fits into memory");
    bytes[middle] ^= 0x10;
    fs::write(&path, &bytes).expect("the log can be written");
    let said = refuses_to_start(&mut cluster, damaged, &[&name, "damaged at byte"]);
    let offset = said.split("damaged at byte ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let offset: usize = offset.unwrap_or_else(|| panic!("no offset: {said}"));
    // The offset is that of the record in which the byte is.
    assert!(
        offset <= middle && middle - offset < 4096,
        "byte {middle} was changed, and byte {offset} is named"
    );
    // It says so each time, and changes nothing.
    refuses_to_start(&mut cluster, damaged, &[&name, "damaged at byte"]);
    assert!(fs::read(&path).expect("the log can be read") == bytes, "the damaged file is left as it is");
    for command in ["verify", "repair"] {
        wal(&data, &[command]).refused(1, &[&name, "damaged at byte", "quorate member replace"]);
    }
    assert!(fs::read(&path).expect("the log can be read") == bytes, "a repair leaves what is damaged");
    check(&cluster, writer);

    bytes[middle] ^= 0x10;
    fs::write(&path, &bytes).expect("the log can be written");
    assert!(wal(&data, &["verify"]).ok().ends_with("whole\n"));
    cluster.master(damaged).start();
    cluster.wait_caught_up(damaged);
    wal(&data, &["verify"]).refused(1, &["in use by another process", "stop the master"]);
}

#[test]
fn bytes_that_a_crash_left_behind_the_log_are_no_damage() {
    let (mut cluster, writer, torn) = with_a_killed_follower();
    let data = cluster.data(torn);
    let (name, offset, size) = batches(&data).pop().expect("there are batches");
    let path = data.join(&name);
    let whole = fs::read(&path).expect("the log can be read");
    let mut bytes = whole;
    let end = usize::try_from(offset + size).expect("a file fits into memory");
    let garbage = (0..777_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]);
    bytes.splice(end..end + 777, garbage);
    fs::write(&path, &bytes).expect("the log can be written");
    let place = format!("{name} from byte {end} on");
    let said = wal(&data, &["verify"]).ok();
    assert!(said.contains(&place) && said.ends_with("torn\n"), "{said}");
    let said = wal(&data, &["repair", "--dry-run"]).ok();
    assert!(said.contains("would cut") && said.contains(&place), "{said}");
    assert!(fs::read(&path).expect("the log can be read") == bytes, "a dry run changes nothing");
    let said = wal(&data, &["repair"]).ok();
    assert!(said.contains("cut off") && said.contains(&place), "{said}");
    assert!(wal(&data, &["verify"]).ok().ends_with("whole\n"));
    assert!(wal(&data, &["repair"]).ok().contains("nothing to cut off"));
    // And as it was without a repair.
    fs::write(&path, &bytes).expect("the log can be written");
    cluster.master(torn).start();
    cluster.wait_caught_up(torn);
    // It counts again: with it, and without another one, the cluster works.
    let leader = cluster.leader();
    let other = cluster.ids().into_iter().find(|&id| id != torn && id != leader).expect("there are three");
    cluster.master(other).kill();
    check(&cluster, writer);
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let mut cluster = Cluster::start(Options::default());
    cluster.cli().run(&["kv", "put", "key", "value"]).ok();
    let leader = cluster.leader();
    let (one, other) = (cluster.others(leader)[0], cluster.others(leader)[1]);
    cluster.ids().into_iter().for_each(|id| cluster.master(id).kill());

    // Of another node.
    let (first, second) = (cluster.data(one), cluster.data(other));
    let aside = cluster.directory().path().join("aside");
    let swap = || {
        for (from, to) in [(&first, &aside), (&second, &first), (&aside, &second)] {
            fs::rename(from, to).expect("a directory can be renamed");
        }
    };
    swap();
    let (found, expected) = (format!("node is {other}"), format!("expected {one}"));
    refuses_to_start(&mut cluster, one, &["data directory", &found, &expected]);
    swap();

    // Of a newer format.
    let identity = cluster.data(one).join("identity");
    let mut bytes = fs::read(&identity).expect("a directory says whose it is");
    bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
    let good = fs::read(&identity).expect("a directory says whose it is");
    fs::write(&identity, &bytes).expect("it can be written");
    refuses_to_start(&mut cluster, one, &["identity", "format 9", "reads format 2"]);
    fs::write(&identity, &good).expect("it can be written");

    // With all as it was, it starts.
    cluster.start_all();
    cluster.wait_ready();
    assert_eq!(cluster.cli().run(&["kv", "get", "key"]).ok(), "value\n");
}

#[test]
fn a_peer_of_another_cluster_is_kept_out() {
    let (mut cluster, writer, stranger) = with_a_killed_follower();
    cluster.master(stranger).argument("--cluster-token");
    cluster.master(stranger).argument("another");
    // With the directory of the old cluster it does not start.
    refuses_to_start(&mut cluster, stranger, &["data directory", "cluster is"]);
    // With an empty one it is alone.
    fs::remove_dir_all(cluster.data(stranger)).expect("it can be removed");
    cluster.master(stranger).start();
    let others = cluster.others(stranger);
    let cluster_of = |id: u64| cluster.status(id).map(|status| status["cluster"].clone());
    let theirs = cluster_of(others[0]).expect("it answers");
    let own = wait_until(SOON, "the stranger answers", || cluster_of(stranger));
    assert_ne!(own, theirs);
    wait_until(SOON, "both sides say that the clusters differ", || {
        let says = |id: u64, other: u64| {
            let log = cluster.master_log(id);
            log.lines().any(|line| {
                ["is of cluster", "token", &format!("node {other}")].iter().all(|part| line.contains(part))
            })
        };
        // Whoever has nothing to say to it, such as a follower, does not meet it; the leader does.
        let (own, theirs) = (says(stranger, others[0]), others.iter().any(|&id| says(id, stranger)));
        if own && theirs { Ok(()) } else { Err(format!("the stranger does: {own}, the others do: {theirs}")) }
    });
    cluster.cli_to(&[stranger]).within("2s").run(&["kv", "get", "w/000001"]).refused(3, &[]);
    let status = cluster.status(stranger).expect("it answers");
    assert!(status["role"] != "leader" && status["keys"] == 0, "{status}");
    writer.wait_more(30, SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    let there = cluster.keys_from(&others, "w/");
    assert!(
        written.keys.iter().all(|(key, value)| there.get(key) == Some(value)),
        "an acknowledged put is lost"
    );
}

#[test]
fn damage_in_cold_files_is_mended_by_a_running_master() {
    let mut cluster = Cluster::prepare(Options::default());
    for id in cluster.ids() {
        for word in ["--scrub-pause", "300ms", "--snapshot-entries", "100"] {
            cluster.master(id).argument(word);
        }
    }
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(250, SOON);
    let written = writer.stop();
    // Each start begins a file of its own: the one before is cold from then on.
    let id = cluster.others(cluster.leader())[0];
    cluster.wait_caught_up(id);
    cluster.master(id).kill();
    let data = cluster.data(id);
    let all = batches(&data);
    let (name, offset, _) = all[all.len() - 3].clone();
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    let snapshot = || {
        let files = fs::read_dir(&data).expect("it is there").flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("snapshot-") && !name.contains('.')).max().expect("there is one")
    };
    let flip = |name: &str, byte: u64| {
        let path = data.join(name);
        let mut bytes = fs::read(&path).expect("it is there");
        bytes[usize::try_from(byte).expect("a file fits into memory")] ^= 4;
        // In place: it is the file that the master has open.
        let file = fs::OpenOptions::new().write(true).open(path).expect("it can be written");
        file.write_all_at(&bytes, 0).expect("it can be written");
        bytes
    };
    for (name, byte) in [(name, offset + 20), (snapshot(), 100)] {
        let damaged = flip(&name, byte);
        wait_until(SOON, "the damage is found", || {
            let log = cluster.master_log(id);
            let found = log.lines().any(|line| line.contains(&name) && line.contains("is damaged"));
            if found { Ok(()) } else { Err(format!("{name} at {byte}")) }
        });
        // What is written anew may get its name.
        wait_until(SOON, "the damaged file is gone", || {
            if fs::read(data.join(&name)).is_ok_and(|bytes| bytes == damaged) {
                Err(name.clone())
            } else {
                Ok(())
            }
        });
    }
    cluster.wait_caught_up(id);
    cluster.master(id).kill();
    assert!(wal(&data, &["verify"]).ok().ends_with("whole\n"));
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(&cluster);
}

#[test]
fn a_master_whose_newest_snapshot_is_damaged_starts_from_the_older_one_and_its_log() {
    let mut cluster = Cluster::prepare(Options::default());
    for id in cluster.ids() {
        for word in ["--snapshot-entries", "100"] {
            cluster.master(id).argument(word);
        }
    }
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(350, SOON);
    let written = writer.stop();
    let id = cluster.others(cluster.leader())[0];
    cluster.wait_caught_up(id);
    cluster.master(id).kill();
    let data = cluster.data(id);
    let names = fs::read_dir(&data).expect("it is there").flatten().map(|file| file.path());
    let is_snapshot = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("snapshot-") && !name.contains('.')
    };
    let newest = names.filter(is_snapshot).max().expect("there is one");
    let mut damaged = fs::read(&newest).expect("it can be read");
    damaged[100] ^= 1;
    fs::write(&newest, &damaged).expect("it can be written");
    let verified = wal(&data, &["verify"]);
    verified.refused(1, &["a snapshot is damaged", "start the master"]);
    assert_eq!(verified.stdout.lines().last(), Some("damaged"), "{}", verified.stdout);
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    wait_until(SOON, "it says so", || {
        let said = cluster.master_log(id).contains("this start goes on from an older state");
        if said { Ok(()) } else { Err(cluster.master_log(id)) }
    });
    wait_until(SOON, "the damaged file is gone", || {
        if fs::read(&newest).is_ok_and(|bytes| bytes == damaged) {
            Err("it is there".to_owned())
        } else {
            Ok(())
        }
    });
    cluster.master(id).kill();
    assert!(wal(&data, &["verify"]).ok().ends_with("whole\n"));
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    written.assert_all_there(&cluster);
}

#[test]
fn a_master_without_room_keeps_the_cluster_from_taking_data_until_it_is_disarmed() {
    let mut cluster = Cluster::start(Options::default());
    cluster.cli().run(&["kv", "put", "a", "1"]).ok();
    let id = cluster.others(cluster.leader())[0];
    cluster.master(id).kill();
    // More than there is.
    cluster.master(id).set("QUORATE_DISK_RESERVE", "1000000GiB");
    cluster.master(id).start();
    let node = format!("node {id}");
    wait_until(SOON, "puts are refused", || {
        let output = cluster.cli().run(&["kv", "put", "b", "2"]);
        let refused = output.code == 1 && output.stderr.contains("has no more room");
        if refused { Ok(()) } else { Err(output.to_string()) }
    });
    let text = [&node[..], "disk.reserve is", "quorate alarm disarm"];
    cluster.cli().run(&["kv", "put", "a", "2"]).refused(1, &text);
    cluster.cli().run(&["job", "submit", "--", "true"]).refused(1, &text);
    let alarms = cluster.cli().json(&["alarm", "list"]);
    assert_eq!((&alarms["alarms"][0]["node"], &alarms["alarms"][0]["kind"]), (&id.into(), &"space".into()));
    for other in cluster.ids() {
        let status = cluster.status(other).expect("it answers");
        assert!(status["alarms"].to_string().contains("has no more room"), "{status}");
    }
    // Reads and deletes go on.
    assert_eq!(cluster.cli().run(&["kv", "get", "a"]).ok(), "1\n");
    cluster.cli().run(&["kv", "delete", "a"]).ok();
    // As long as there is no room, it comes back.
    cluster.cli().run(&["alarm", "disarm"]).ok();
    wait_until(SOON, "the alarm is raised again", || {
        let alarms = cluster.cli().try_json(&["alarm", "list"])?;
        if alarms["alarms"][0]["node"] == id { Ok(()) } else { Err(alarms.to_string()) }
    });
    cluster.master(id).kill();
    cluster.master(id).set("QUORATE_DISK_RESERVE", "0");
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    cluster.cli().run(&["alarm", "disarm", &id.to_string()]).ok();
    cluster.cli().run(&["kv", "put", "a", "3"]).ok();
    assert_eq!(cluster.cli().json(&["alarm", "list"])["alarms"], serde_json::json!([]));
}

/// A file system in memory over a directory, of so many MiB, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: &Path, mib: u32) -> Self {
        need_root("mounts a small file system");
        fs::create_dir_all(place).expect("a directory can be made");
        let disk = Self(place.to_owned());
        disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "quorate-e2e"]);
        disk
    }

    fn grow(&self, mib: u32) {
        self.run("mount", &["-o", &format!("remount,size={mib}m")]);
    }

    fn run(&self, program: &str, words: &[&str]) {
        let output = Command::new(program).args(words).arg(&self.0).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a master may still be ending.
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_ends_a_master_and_loses_nothing() {
    let mut cluster = Cluster::prepare(Options::default());
    let id = cluster.ids()[0];
    let data = cluster.data(id);
    let disk = SmallDisk::mount(&data, 80);
    for id in cluster.ids() {
        // What keeps a disk from getting full is off.
        cluster.master(id).set("QUORATE_DISK_RESERVE", "0");
    }
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    let value = "v".repeat(900 * 1024);
    let rest = cluster.others(id);
    let mut acknowledged = 0;
    while cluster.master(id).is_running() {
        let key = format!("large/{acknowledged}");
        assert!(acknowledged < 200, "the disk does not get full");
        // Until it ends it may lead, and then the put goes to the next leader.
        cluster.cli_to(&rest).run_with(&["kv", "put", &key, "-"], value.as_bytes()).ok();
        acknowledged += 1;
    }
    let status = cluster.master(id).ended(SOON);
    let log = cluster.master(id).log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("No space left on device") && log.contains("make room"), "{log}");
    writer.wait_more(20, SOON);
    // It says the same as long as there is no room, or starts; and with room it has everything.
    disk.grow(600);
    wal(&data, &["verify"]).ok();
    cluster.master(id).start();
    cluster.wait_caught_up(id);
    let other = rest[0];
    cluster.master(other).kill();
    let rest = cluster.cli_to(&[id, rest[1]]);
    for number in 0..acknowledged {
        let found = rest.run(&["kv", "get", &format!("large/{number}")]).ok();
        assert!(found.trim_end() == value, "large/{number} has {} bytes", found.len());
    }
    cluster.master(other).start();
    check(&cluster, writer);
}

#[test]
fn a_leader_whose_disk_hangs_is_replaced_and_comes_back() {
    let mut cluster = Cluster::prepare(Options::default());
    let ids = cluster.ids();
    let mut disks = Vec::new();
    for &id in &ids {
        let place = cluster.directory().path().join(format!("disk{id}"));
        fs::create_dir(&place).expect("a directory can be made");
        let disk = SyncFailure::new(&place);
        disk.watch(cluster.master(id));
        disks.push(disk);
    }
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    writer.wait_more(50, SOON);
    let id = cluster.leader();
    let place = ids.iter().position(|&other| other == id).expect("it is one of them");
    disks[place].slow(5_000);
    let _next = cluster.leader_among(&cluster.others(id));
    writer.wait_more(50, SOON);
    disks[place].end();
    cluster.wait_caught_up(id);
    assert!(cluster.master(id).is_running(), "a disk that is slow is no failed one");
    check(&cluster, writer);
}

#[test]
fn a_master_whose_disk_refuses_to_sync_stops_and_the_cluster_goes_on() {
    let mut cluster = Cluster::prepare(Options { agents: 1, ..Options::default() });
    let ids = cluster.ids();
    let mut failures = Vec::new();
    for &id in &ids {
        let place = cluster.directory().path().join(format!("disk{id}"));
        fs::create_dir(&place).expect("a directory can be made");
        let failure = SyncFailure::new(&place);
        failure.watch(cluster.master(id));
        failures.push(failure);
    }
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    cluster.submit("j", 2, &[]);
    cluster.truth().wait_started("j", 2, &std::collections::BTreeMap::new(), SOON);
    // First a leader, then a follower.
    for leads in [true, false] {
        writer.wait_more(50, SOON);
        let leader = cluster.leader();
        let id = if leads { leader } else { cluster.others(leader)[0] };
        let place = ids.iter().position(|&other| other == id).expect("it is one of them");
        failures[place].begin();
        let status = cluster.master(id).ended(SOON);
        let log = cluster.master(id).log();
        assert!(status.code().is_some_and(|code| code != 0), "master {id} ended with {status}");
        assert!(log.contains("sync") && log.contains("Input/output error"), "{log}");
        let _next = cluster.leader_among(&cluster.others(id));
        writer.wait_more(50, SOON);
        failures[place].end();
        cluster.master(id).start();
        cluster.wait_caught_up(id);
    }
    check(&cluster, writer);
    cluster.finish("j", SOON);
}
