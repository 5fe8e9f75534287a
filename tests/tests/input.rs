//! Wrong use of the command line: exit code 2, the wrong thing by its name, and what would be right. No cluster is needed.

use quorate_tests::{Cli, Directory};
use std::fs;

/// The least that a master needs, with its data in this directory; `more` goes over it.
fn server<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["server"];
    for pair in [["--node", "1"], ["--members", "1=127.0.0.1:9/127.0.0.1:8"], ["--data-dir", data]] {
        if !more.contains(&pair[0]) {
            words.extend(pair);
        }
    }
    words.extend(more);
    words
}

/// Runs a master that must refuse its settings, and must not have touched its directory.
fn refuse(more: &[&str], parts: &[&str]) {
    let directory = Directory::new();
    let data = directory.path().join("data").to_string_lossy().into_owned();
    Cli::alone().run(&server(&data, more)).refused(2, parts);
    assert!(!directory.path().join("data").exists(), "{more:?}: a refused start leaves nothing behind");
}

#[test]
fn a_wrong_flag_or_command_is_named() {
    Cli::alone().run(&["server", "--no-such-flag"]).refused(2, &["--no-such-flag", "--help"]);
    Cli::alone().run(&["jobb"]).refused(2, &["jobb"]);
    Cli::alone().run(&["job", "submit", "--tasks", "x", "--", "true"]).refused(2, &["--tasks", "x"]);
    Cli::alone().run(&["kv", "cas", "key", "value"]).refused(2, &["--if-absent"]);
    let output = Cli::alone().run(&["-o", "json", "server", "--no-such-flag"]);
    output.refused(2, &["--no-such-flag"]);
    let error: serde_json::Value =
        serde_json::from_str(&output.stderr).expect("an error for machines is JSON");
    assert_eq!(error["error"]["kind"], "usage", "{error}");
}

#[test]
fn help_and_version_are_no_error() {
    for words in [&["--help"][..], &["job", "submit", "--help"], &["server", "--help"], &["--version"]] {
        let output = Cli::alone().run(words);
        assert!(output.stderr.is_empty(), "{output}");
        assert!(output.ok().contains("quorate"), "{words:?}");
    }
    for words in [
        &["server"][..],
        &["agent"],
        &["job"],
        &["job", "submit"],
        &["executor"],
        &["kv"],
        &["dev"],
        &["demo"],
    ] {
        let help = Cli::alone().run(&[words, &["--help"]].concat()).ok();
        assert!(help.contains("Examples:"), "the help of {words:?} has no examples");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let directory = Directory::new();
    let file = directory.path().join("master.toml");
    fs::write(&file, "node = 1\n\n[timing]\nhartbeat = \"50ms\"\n").unwrap();
    let path = file.to_string_lossy().into_owned();
    let output = Cli::alone().run(&["server", "--config", &path]);
    output.refused(2, &["timing.hartbeat", "line 4", &path, "timing.heartbeat"]);

    fs::write(&file, "node = \n").unwrap();
    Cli::alone().run(&["server", "--config", &path]).refused(2, &[&path, "line 1"]);
    Cli::alone().run(&["server", "--config", "/no/such/file"]).refused(2, &["/no/such/file"]);
    let cli = Cli::alone().with("QUORATE_NOD", "1");
    cli.run(&server("/nowhere", &[])).refused(2, &["QUORATE_NOD", "QUORATE_NODE"]);
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file() {
    let directory = Directory::new();
    let file = directory.path().join("master.toml");
    let text = "node = 1\ndata_dir = \"/d\"\n[members]\n1 = { peer = \"127.0.0.1:9\", client = \"127.0.0.1:8\" }\n\
                [timing]\nheartbeat = \"11ms\"\nelection_min = \"310ms\"\nelection_max = \"510ms\"\n";
    fs::write(&file, text).unwrap();
    let cli = Cli::alone()
        .with("QUORATE_CONFIG", &file.to_string_lossy())
        .with("QUORATE_TIMING_HEARTBEAT", "22ms")
        .with("QUORATE_TIMING_ELECTION_MIN", "320ms");
    let shown = cli.run(&["server", "--print-config", "--timing-heartbeat", "33ms"]).ok();
    for line in ["heartbeat = \"33ms\"", "election_min = \"320ms\"", "election_max = \"510ms\""] {
        assert!(shown.contains(line), "`{line}` is not in:\n{shown}");
    }
}

#[test]
fn a_grace_with_which_a_task_could_run_twice_is_refused() {
    refuse(&["--executor-grace", "600ms"], &["executor.grace", "600ms", "at least", "twice"]);
    refuse(&["--executor-kill", "2s"], &["executor.grace", "2s"]);
    refuse(&["--executor-check", "3s", "--executor-grace", "9s"], &["executor.ttl"]);
}

#[test]
fn a_hung_disk_that_outlasts_an_election_is_refused() {
    refuse(&["--timing-disk-stall", "1s"], &["timing.disk_stall", "1s", "at most 400ms", "election_max"]);
}

#[test]
fn an_address_that_others_can_reach_needs_insecure() {
    for address in ["0.0.0.0:7701", "10.0.0.1:7701", "[::]:7701"] {
        refuse(&["--listen-client", address], &["listen.client", address, "loopback", "--insecure"]);
        refuse(&["--listen-peer", address], &["listen.peer", address, "loopback", "--insecure"]);
    }
    let directory = Directory::new();
    let data = directory.path().join("agent").to_string_lossy().into_owned();
    let agent = ["agent", "--data-dir", &data, "--listen", "0.0.0.0:0"];
    Cli::alone().run(&agent).refused(2, &["listen", "0.0.0.0:0", "--insecure"]);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    refuse(&["--node", "7"], &["node", "7", "members"]);
    refuse(&["--members", "1=127.0.0.1:9"], &["members", "1=127.0.0.1:9"]);
    refuse(&["--timing-heartbeat", "0ms"], &["timing.heartbeat"]);
    refuse(&["--timing-heartbeat", "fast"], &["timing.heartbeat", "fast", "500ms"]);
    refuse(&["--timing-heartbeat", "1s"], &["timing.election_min"]);
    refuse(&["--log-format", "xml"], &["log.format", "xml", "human"]);
}

#[test]
fn what_a_job_cannot_be_is_refused_before_anybody_is_asked() {
    let cli = Cli::to("127.0.0.1:1");
    cli.run(&["job", "submit", "--id", "a"]).refused(2, &["COMMAND"]);
    cli.run(&["job", "submit", "--id", "a b", "--", "true"]).refused(2, &["a b", "1 to 63"]);
    cli.run(&["job", "submit", "--tasks", "10001", "--", "true"]).refused(2, &["10001", "10000"]);
    cli.run(&["job", "submit", "--tasks", "0", "--", "true"]).refused(2, &["0"]);
    cli.run(&["job", "submit", "--env", "NOVALUE", "--", "true"]).refused(2, &["NOVALUE", "NAME=VALUE"]);
    cli.run(&["job", "submit", "--backoff", "soon", "--", "true"]).refused(2, &["soon", "500ms"]);
    cli.run(&["job", "show", "../x"]).refused(2, &["../x"]);
    cli.run(&["executor", "show", "first"]).refused(2, &["first"]);
}

#[test]
fn a_cluster_that_is_not_there_has_an_exit_code_of_its_own() {
    let cli = Cli::to("127.0.0.1:1").within("1s");
    for words in
        [&["kv", "get", "key"][..], &["job", "list"], &["executor", "list"], &["status"], &["member", "list"]]
    {
        cli.run(words).refused(3, &["127.0.0.1:1"]);
    }
    Cli::to("nowhere").run(&["job", "list"]).refused(2, &["nowhere", "--endpoints"]);
}
