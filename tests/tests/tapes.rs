//! What masters recorded while they were killed and cut off gives the same outputs on the core.

use quorate_tests::{Cluster, Directory, Options, Writer, binary, simulator, wait_until};
use serde_json::Value;
use std::{net::TcpListener, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

const SOON: Duration = Duration::from_secs(40);

/// Replays a tape with `cargo sim tape`'s own program.
fn replay(file: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(simulator()).arg("tape").arg(file).args(["-o", "json"]).args(more).output();
    let output = output.expect("the simulator can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{}: {text}{}", file.display(), String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), said)
}

/// The recording is on its way to the disk: waits until the tape of a master that runs has so many inputs.
fn wait_inputs(cluster: &Cluster, id: u64, least: u64) {
    wait_until(SOON, &format!("{least} inputs on the tape of master {id}"), || {
        let file = cluster.tapes(id).pop().ok_or("no tape")?;
        let (_, said) = replay(&file, &[]);
        if said["inputs"].as_u64() >= Some(least) { Ok(()) } else { Err(said.to_string()) }
    });
}

/// All tapes of all masters give the same outputs. How many there are.
fn check(cluster: &Cluster) -> usize {
    let tapes: Vec<_> = cluster.ids().into_iter().flat_map(|id| cluster.tapes(id)).collect();
    for file in &tapes {
        let (code, said) = replay(file, &[]);
        assert!(code == Some(0) && said["same"] == true, "{}: {said}", file.display());
        assert!(said["inputs"].as_u64() > Some(10), "{}: {said}", file.display());
        let mode = file.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may not read what clients stored");
    }
    tapes.len()
}

#[test]
fn tapes_of_masters_that_were_killed_and_cut_off_replay_to_the_same_chain() {
    let options = Options { agents: 1, network: true, tapes: true, ..Options::default() };
    let mut cluster = Cluster::start(options);
    let writer = Writer::start(&cluster, "w");
    cluster.submit("j", 2, &[]);
    writer.wait_more(50, SOON);
    for round in 0..2 {
        let leader = cluster.leader();
        let name = format!("master{leader}");
        if round == 0 {
            cluster.network().unplug(&name);
        }
        // Killed, in one round while it was cut off: what it was about to write is lost.
        let _next = cluster.leader_among(&if round == 0 { cluster.others(leader) } else { cluster.ids() });
        writer.wait_more(30, SOON);
        cluster.master(leader).kill();
        cluster.network().plug(&name);
        writer.wait_more(30, SOON);
        cluster.master(leader).start();
        cluster.wait_caught_up(leader);
    }
    // And cut off, without being killed.
    let leader = cluster.leader();
    cluster.network().unplug(&format!("master{leader}"));
    writer.wait_more(30, SOON);
    cluster.network().plug(&format!("master{leader}"));
    cluster.wait_caught_up(leader);
    cluster.finish("j", SOON);
    let written = writer.stop();
    assert!(written.failed.is_empty(), "{:?}", written.failed);
    written.assert_all_there(&cluster);
    cluster.ids().into_iter().for_each(|id| wait_inputs(&cluster, id, 30));
    assert_eq!(check(&cluster), 5, "each start has a tape of its own");
    // The comparison can fail: a healthy run is none of a node that forgets its votes.
    let differs = |id| replay(&cluster.tapes(id)[0], &["--bug", "raft-vote-not-persisted"]);
    let found = cluster.ids().into_iter().map(differs).find(|(code, _)| *code == Some(1));
    let (_, said) = found.expect("some master has voted");
    assert!(said["same"] == false && said["input"].as_u64() > Some(0), "{said}");
}

#[test]
fn a_tape_that_cannot_be_made_is_refused_with_its_path() {
    let directory = Directory::new();
    let file = directory.path().join("not there").join("a.tape");
    let port = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("there is one");
    let members = format!("1={}/{}", port(), port());
    let output = Command::new(binary())
        .env_clear()
        .args(["server", "--node", "1", "--members", &members, "--data-dir"])
        .arg(directory.path().join("data"))
        .arg("--record-tape")
        .arg(&file)
        .output()
        .expect("it can be started");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("cannot make the tape") && error.contains("not there"), "{error}");
}

#[test]
fn a_tape_that_reaches_its_limit_ends_and_the_server_goes_on() {
    let mut cluster = Cluster::prepare(Options { masters: 1, tapes: true, ..Options::default() });
    let limit = 64 * 1024;
    cluster.master(1).argument("--record-tape-limit=64KiB");
    cluster.start_all();
    cluster.wait_ready();
    let writer = Writer::start(&cluster, "w");
    wait_until(SOON, "the end of the recording", || {
        let log = cluster.master_log(1);
        if log.contains("the recording ends") { Ok(()) } else { Err("not yet".to_owned()) }
    });
    writer.wait_more(50, SOON);
    writer.stop().assert_all_there(&cluster);
    let tapes = cluster.tapes(1);
    assert!(tapes[0].metadata().expect("it is there").len() <= limit);
    assert_eq!(check(&cluster), 1);
}
