//! The command line as a person meets it: the real process, its output and its exit code.

use quorate_net::ports::ReservedPort;
use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn quorate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    quorate(arguments).output().expect("the binary was built with this test")
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("errors are text")
}

/// The arguments are wrong use, and the error names this.
fn assert_wrong_use(arguments: &[&str], part: &str) {
    let output = run(arguments);
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    assert!(text.contains(part), "{arguments:?}: `{part}` is not in: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?}: errors belong to stderr");
}

const MEMBERS: &str = "1=127.0.0.1:7702/127.0.0.1:7701";
const SERVER: [&str; 7] =
    ["server", "--node", "1", "--members", MEMBERS, "--data-dir", "/nonexistent/quorate"];

fn server<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SERVER.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn wrong_flags_are_wrong_use() {
    assert_wrong_use(&["--no-such-flag"], "--no-such-flag");
    assert_wrong_use(&["no-such-command"], "no-such-command");
    assert_wrong_use(&["job", "submit"], "COMMAND");
    assert_wrong_use(&["job", "submit", "--tasks", "0", "--", "true"], "0");
    assert_wrong_use(&["job", "submit", "--tasks", "10001", "--", "true"], "10000");
    assert_wrong_use(&["job", "submit", "--backoff", "5", "--", "true"], "500ms");
    assert_wrong_use(&["job", "submit", "--env", "X", "--", "true"], "NAME=VALUE");
    assert_wrong_use(
        &["job", "submit", "--env", "X=1", "--env", "X=2", "--", "true"],
        "--env X is given twice",
    );
    assert_wrong_use(&["job", "submit", "--id", "a/b", "--", "true"], "`a/b` is no job id");
    assert_wrong_use(&["job", "show", "-x"], "-x");
    assert_wrong_use(&["kv", "cas", "k", "v"], "--if-absent");
    assert_wrong_use(&["kv", "cas", "k", "v", "--if-absent", "--if-revision", "3"], "--if-revision");
    assert_wrong_use(&["status", "--endpoints", "nowhere"], "flag --endpoints: `nowhere` is no address");
    assert_wrong_use(&["status", "--timeout", "soon"], "`soon` is no duration");
    assert_wrong_use(&["status", "-o", "xml"], "xml");
}

#[test]
fn wrong_settings_of_a_master_are_wrong_use() {
    assert_wrong_use(&["server"], "members is missing");
    assert_wrong_use(&["server", "--members", MEMBERS], "node is missing");
    assert_wrong_use(&["server", "--members", MEMBERS, "--node", "1"], "data_dir is missing");
    assert_wrong_use(
        &server(&["--executor-grace", "100ms"]),
        "flag --executor-grace: executor.grace is 100ms",
    );
    assert_wrong_use(&server(&["--listen-client", "0.0.0.0:7701"]), "--insecure");
    assert_wrong_use(
        &server(&["--timing-heartbeat", "fast"]),
        "flag --timing-heartbeat: timing.heartbeat: `fast`",
    );
    assert_wrong_use(
        &server(&["--disk-quota", "5MiB"]),
        "flag --disk-quota: disk.quota: `5MiB` is too small",
    );
    assert_wrong_use(&server(&["--disk-reserve", "much"]), "disk.reserve: `much` is wrong");
    assert_wrong_use(&server(&["--scrub-rate", "fast"]), "scrub.rate: `fast` is wrong");
    assert_wrong_use(&["alarm", "disarm", "0"], "0");
    assert_wrong_use(&["wal", "dump", "--data-dir", "/nonexistent", "--from", "x"], "--from");
    assert_wrong_use(&server(&["--log-level", "loud"]), "`loud` is no level");
    assert_wrong_use(&server(&["--config", "/nonexistent.toml"]), "/nonexistent.toml cannot be read");
    let node = ["server", "--node", "7", "--members", MEMBERS, "--data-dir", "/nonexistent"];
    assert_wrong_use(&node, "flag --node: node is 7, but the members are 1");
}

#[test]
fn wrong_settings_of_an_executor_are_wrong_use() {
    assert_wrong_use(&["agent"], "data_dir is missing");
    assert_wrong_use(&["agent", "--data-dir", "/nonexistent", "--slots", "0"], "slots: `0` is wrong");
    assert_wrong_use(
        &["agent", "--data-dir", "/nonexistent", "--endpoints", "x"],
        "flag --endpoints: endpoints: `x`",
    );
}

#[test]
fn an_unknown_variable_is_named() {
    let output = quorate(&server(&["--print-config"])).env("QUORATE_DATADIR", "/x").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        errors(&output)
            .contains("unknown environment variable QUORATE_DATADIR; did you mean QUORATE_DATA_DIR?")
    );
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file() {
    let path = std::env::temp_dir().join(format!("quorate-cli-{}.toml", std::process::id()));
    std::fs::write(
        &path,
        "timing.heartbeat = \"41ms\"\ntiming.disk_stall = \"401ms\"\nsnapshot_entries = 7\n",
    )
    .unwrap();
    let file = path.to_str().unwrap();
    let output = quorate(&server(&["--config", file, "--print-config", "--timing-heartbeat", "43ms"]))
        .env("QUORATE_TIMING_HEARTBEAT", "42ms")
        .env("QUORATE_TIMING_DISK_STALL", "402ms")
        .output()
        .unwrap();
    std::fs::write(&path, "node = 1\n[timing]\nhartbeat = \"1s\"\n").unwrap();
    let unknown = run(&["server", "--config", file]);
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    for line in
        ["heartbeat = \"43ms\"", "disk_stall = \"402ms\"", "snapshot_entries = 7", "election_min = \"250ms\""]
    {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert_eq!(unknown.status.code(), Some(2));
    let meant = format!("{file}, line 3: unknown key `timing.hartbeat`; did you mean `timing.heartbeat`?");
    assert!(errors(&unknown).contains(&meant), "{}", errors(&unknown));
}

#[test]
fn errors_are_json_when_asked_for() {
    for arguments in
        [&["job", "submit", "-o", "json"][..], &["server", "-o", "json"], &["kv", "-o=json", "cas", "k", "v"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2));
        let error: serde_json::Value = serde_json::from_str(&errors(&output)).unwrap();
        assert_eq!(error["error"]["kind"], "usage", "{error}");
        assert!(error["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert!(error["error"]["next"].as_str().is_some_and(|next| !next.is_empty()));
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let commands = [
        "",
        "demo",
        "dev",
        "server",
        "agent",
        "status",
        "job",
        "job submit",
        "job list",
        "job show",
        "job watch",
        "job cancel",
        "job delete",
        "job logs",
        "executor",
        "executor list",
        "executor show",
        "executor remove",
        "kv",
        "kv put",
        "kv get",
        "kv delete",
        "kv cas",
        "kv list",
        "member",
        "member list",
    ];
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let text = String::from_utf8(output.stdout).unwrap();
        let examples =
            text.split("Examples:").nth(1).unwrap_or_else(|| panic!("`{command}` has no examples:\n{text}"));
        assert!(examples.contains("    quorate "), "`{command}` has no example to copy:\n{text}");
        assert!(!text.contains("task-guard"), "the guard is not for people");
    }
}

#[test]
fn an_unreachable_cluster_is_said_so_within_the_timeout() {
    // Nothing listens at the one address; the other takes connections and never says a word.
    let free = ReservedPort::new().unwrap();
    let closed = free.address().to_string();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = mute.local_addr().map(|address| (address.to_string(), mute)).unwrap();
    for endpoint in [closed, mute.0] {
        for command in [
            "kv get x",
            "kv put x y",
            "job list",
            "job watch x",
            "job logs x",
            "executor list",
            "member list",
            "status",
        ] {
            let arguments: Vec<&str> = command
                .split(' ')
                .chain(["--endpoints", &endpoint, "--timeout", "1s", "-o", "json"])
                .collect();
            let started = Instant::now();
            let output = run(&arguments);
            let text = errors(&output);
            assert_eq!(output.status.code(), Some(3), "{arguments:?}: {text}");
            assert!(started.elapsed() < Duration::from_secs(4), "{arguments:?} took {:?}", started.elapsed());
            let error: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
            assert_eq!(error["error"]["kind"], "unreachable");
            assert!(text.contains(&endpoint), "{arguments:?} does not name where it tried: {text}");
        }
    }
}
