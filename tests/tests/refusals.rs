//! What a cluster refuses, with its gRPC code and with the exit code of the command line.

use quorate_proto::v1 as pb;
use quorate_tests::{Api, Cluster, Options};
use std::time::Duration;
use tonic::{Code, Status};

fn specification() -> pb::JobSpecification {
    pb::JobSpecification {
        r#type: pb::JobType::Batch.into(),
        argv: vec!["true".to_owned()],
        ..Default::default()
    }
}

/// The answer must be this code, name these parts, and carry the refusal for clients that know it.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, parts: &[&str]) -> pb::Refusal {
    let status = answer.expect_err("this is to be refused");
    assert_eq!(status.code(), code, "{status:?}");
    for part in parts {
        assert!(status.message().contains(part), "`{part}` is not in {:?}", status.message());
    }
    Api::refusal(&status).expect("the details hold the refusal")
}

#[test]
fn bad_requests_get_the_right_codes() {
    let cluster = Cluster::start(Options { masters: 1, ..Options::default() });
    let cli = cluster.cli();
    let mut api = Api::connect(cluster.endpoint(1));
    api.open().expect("a cluster that works opens sessions");

    // An id that is taken.
    api.submit("taken", specification()).expect("a good job is accepted");
    refused(api.submit("taken", specification()), Code::AlreadyExists, &["taken"]);
    cli.run(&["job", "submit", "--id", "taken", "--", "true"]).refused(1, &["taken"]);

    // What no job can be.
    for id in ["a b", "-a", "a/b", &"x".repeat(64)] {
        refused(api.submit(id, specification()), Code::InvalidArgument, &["id"]);
    }
    let no_command = pb::JobSpecification { argv: Vec::new(), ..specification() };
    refused(api.submit("j", no_command), Code::InvalidArgument, &["argv"]);
    let many = pb::JobSpecification { tasks: 10_001, ..specification() };
    refused(api.submit("j", many), Code::InvalidArgument, &["tasks", "10001", "10000"]);
    let no_type = pb::JobSpecification { r#type: 0, ..specification() };
    refused(api.submit("j", no_type), Code::InvalidArgument, &["type"]);
    refused(api.job("j"), Code::NotFound, &["j"]);

    // What is not there.
    refused(api.job("unknown"), Code::NotFound, &["unknown"]);
    refused(api.cancel("unknown"), Code::NotFound, &["unknown"]);
    refused(api.executor(77), Code::NotFound, &["77"]);
    for words in [
        ["job", "show", "unknown"],
        ["job", "cancel", "unknown"],
        ["job", "watch", "unknown"],
        ["job", "logs", "unknown"],
    ] {
        cli.run(&words).refused(1, &["unknown"]);
    }
    cli.run(&["executor", "show", "77"]).refused(1, &["77"]);
    cli.run(&["executor", "remove", "77"]).refused(1, &["77"]);
    cli.run(&["kv", "get", "no/such/key"]).refused(1, &["no/such/key"]);
    cli.run(&["kv", "delete", "no/such/key"]).refused(1, &["no/such/key"]);

    // A job that still runs cannot be removed.
    cli.run(&["job", "delete", "taken"]).refused(1, &["taken"]);
}

#[test]
fn messages_over_their_limits_are_refused_and_the_connection_lives() {
    let cluster = Cluster::start(Options { masters: 1, ..Options::default() });
    let mut api = Api::connect(cluster.endpoint(1));
    api.open().expect("a cluster that works opens sessions");
    let megabyte = 1024 * 1024;
    api.put(b"largest", vec![b'x'; megabyte]).expect("a value of the largest size is accepted");
    refused(api.put(b"value", vec![b'x'; megabyte + 1]), Code::InvalidArgument, &["value", "1048576"]);
    refused(api.put(&[b'k'; 4097], b"x".to_vec()), Code::InvalidArgument, &["key", "4096"]);
    refused(api.put(b"", b"x".to_vec()), Code::InvalidArgument, &["key"]);
    refused(api.put(b"message", vec![b'x'; 1_700_000]), Code::ResourceExhausted, &["1572864"]);
    let beyond =
        api.put(b"beyond", vec![b'x'; 8 * megabyte]).expect_err("the transport has a limit of its own");
    assert!(matches!(beyond.code(), Code::OutOfRange | Code::ResourceExhausted), "{beyond:?}");
    api.open().expect("the connection lives on");
    api.put(b"small", b"x".to_vec()).expect("the connection lives on");
    for key in [&b"value"[..], b"message", b"beyond"] {
        assert_eq!(api.get(key, false).expect("it reads").item, None, "what was refused is not there");
    }
    let cli = cluster.cli();
    cli.run_with(&["kv", "put", "stdin", "-"], &vec![b'x'; megabyte + 1]).refused(1, &["1048576"]);
    cli.run_with(&["kv", "put", "stdin", "-"], b"from stdin").ok();
    assert_eq!(cli.run(&["kv", "get", "stdin"]).ok(), "from stdin\n");
}

#[test]
fn keys_are_read_listed_compared_and_deleted() {
    let cluster = Cluster::start(Options { masters: 1, ..Options::default() });
    let cli = cluster.cli();
    cli.run(&["kv", "cas", "lock", "me", "--if-absent"]).ok();
    cli.run(&["kv", "cas", "lock", "you", "--if-absent"]).refused(1, &["lock", "me"]);
    cli.run(&["kv", "cas", "lock", "you", "--if-value", "me"]).ok();
    let revision = cli.json(&["kv", "get", "lock"])["mod_revision"].to_string();
    cli.run(&["kv", "put", "other", "--", "-value"]).ok();
    cli.run(&["kv", "cas", "lock", "he", "--if-revision", &revision]).ok();
    cli.run(&["kv", "cas", "lock", "she", "--if-revision", &revision]).refused(1, &["lock", "he"]);
    assert_eq!(cli.run(&["kv", "list", "--keys-only"]).ok(), "lock\nother\n");
    assert_eq!(cli.run(&["kv", "get", "lock", "--stale"]).ok(), "he\n");
    cli.run(&["kv", "delete", "lock"]).ok();
    assert_eq!(cluster.keys("").into_keys().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn a_master_without_a_leader_says_so_and_that_a_retry_may_help() {
    let mut cluster = Cluster::start(Options::default());
    let leader = cluster.leader();
    cluster.cli().run(&["kv", "put", "key", "value"]).ok();
    let rest = cluster.others(leader);
    let alone = rest[0];
    cluster.wait_caught_up(alone);
    cluster.master(leader).kill();
    cluster.master(rest[1]).kill();

    let mut api = Api::connect(cluster.endpoint(alone));
    let refusal = refused(api.open(), Code::Unavailable, &["leader"]);
    assert_eq!(refusal.code(), pb::RefusalCode::Unavailable);
    let known = api.leader().expect("what a master knows of the leader is its own");
    assert_eq!(known.leader, refusal.leader, "the refusal names the leader that is known");
    refused(api.get(b"key", false), Code::Unavailable, &["leader"]);
    assert!(api.get(b"key", true).expect("a stale read needs no leader").item.is_some());
    let cli = cluster.cli_to(&[alone]).within("1s");
    cli.run(&["kv", "put", "key", "lost"]).refused(3, &["leader"]);
    cli.run(&["job", "list"]).refused(3, &["leader"]);
    let status = cluster.status(alone).expect("its status is its own");
    assert_ne!(status["role"], "leader", "{status}");

    cluster.master(leader).start();
    let working = cluster.leader_among(&[leader, alone]);
    assert_eq!(cluster.cli_to(&[alone]).run(&["kv", "get", "key"]).ok(), "value\n", "led by {working}");
    cluster.cli_to(&[alone]).within("10s").run(&["kv", "put", "key", "again"]).ok();
}

#[test]
fn any_master_takes_any_request() {
    let cluster = Cluster::start(Options::default());
    for id in cluster.ids() {
        let cli = cluster.cli_to(&[id]);
        cli.run(&["kv", "put", &format!("by/{id}"), "x"]).ok();
        let members = cli.json(&["member", "list"]);
        assert_eq!(members["members"].as_array().map(Vec::len), Some(3), "{members}");
        let leaders =
            members["members"].as_array().into_iter().flatten().filter(|one| one["is_leader"] == true);
        assert_eq!(leaders.count(), 1, "{members}");
        assert_eq!(cli.json(&["status"])["masters"].as_array().map(Vec::len), Some(3));
    }
    assert_eq!(cluster.keys("by/").len(), 3);
    cluster.ids().into_iter().for_each(|id| cluster.wait_caught_up(id));
    quorate_tests::wait_until(Duration::from_secs(10), "equal states at equal indexes", || {
        let all: Vec<_> = cluster.ids().into_iter().filter_map(|id| cluster.status(id).ok()).collect();
        let one =
            |status: &serde_json::Value| (status["applied_index"].clone(), status["state_hash"].clone());
        let first = all.first().map(one);
        if all.len() == 3 && all.iter().all(|status| Some(one(status)) == first) {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    });
}
