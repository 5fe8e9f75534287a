//! `quorate dev` as a person uses it: a cluster comes up, takes work, and leaves nothing behind.

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Generous: the machine may be busy. Nothing waits for it if all goes well.
const SOON: Duration = Duration::from_secs(15);

struct Dev {
    child: Child,
    endpoints: String,
    directory: String,
}

impl Dev {
    fn start() -> Self {
        let mut child = quorate(&["dev", "-o", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built with this test");
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is a pipe");
        BufReader::new(out).read_line(&mut line).expect("dev says when it is ready");
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true);
        let endpoints: Vec<&str> =
            ready["endpoints"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert_eq!(endpoints.len(), 3);
        let directory = ready["data_dir"].as_str().expect("a path").to_owned();
        Self { child, endpoints: endpoints.join(","), directory }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        quorate(arguments).env("QUORATE_ENDPOINTS", &self.endpoints).output().expect("it was started before")
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.expect("there is a `kill`").success());
    }

    /// The processes that name this cluster's directory.
    fn processes(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/proc").expect("there is /proc").flatten();
        let lines = entries.filter_map(|entry| {
            let mut line = Vec::new();
            std::fs::File::open(entry.path().join("cmdline")).ok()?.read_to_end(&mut line).ok()?;
            Some(String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|line| line.contains(&self.directory)).collect()
    }
}

impl Dev {
    fn until(&self, what: &str, condition: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + SOON;
        while !condition(&self.processes()) {
            assert!(Instant::now() < deadline, "waited in vain until {what}: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Ended already if the test passed.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_cluster_takes_work_and_leaves_nothing_behind() {
    let mut dev = Dev::start();
    assert_eq!(dev.processes().len(), 5, "three masters and two executors");

    let script = "echo hello $QUORATE_TASK $A; echo $0 \"$@\" >&2";
    let words =
        ["job", "submit", "--id", "hi", "--tasks", "2", "--env", "A=b", "--watch", "--", "sh", "-c", script];
    let output = dev.run(&[&words[..], &["x", "-o", "--", "--help"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with("job hi is finished: 2 finished\n"), "{}", text(&output.stdout));
    let output = dev.run(&["job", "logs", "hi", "--task", "1"]);
    assert_eq!(text(&output.stdout), "hello 1 b\nx -o -- --help\n", "arguments reach the task as they are");

    let output =
        dev.run(&["job", "submit", "--id", "bad", "--retries", "1", "--watch", "--", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("exit code 7"), "{}", text(&output.stderr));
    let output = dev.run(&["job", "submit", "--id", "hi", "--", "true"]);
    assert_eq!(output.status.code(), Some(1), "the id is taken");
    let output = dev.run(&["-o", "json", "executor", "list"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["executors"].as_array().map(Vec::len), Some(2));

    dev.signal("-INT");
    let status = dev.child.wait().unwrap();
    assert_eq!(status.code(), Some(0), "Ctrl-C is how it is meant to end");
    assert_eq!(dev.processes(), Vec::<String>::new());
    assert!(!Path::new(&dev.directory).exists(), "a temporary directory is removed");
}

#[test]
fn nothing_survives_a_parent_that_is_killed() {
    let mut dev = Dev::start();
    // The directory as an argument makes the task's processes count as the cluster's.
    let words = ["job", "submit", "--type", "service", "--", "sh", "-c", "sleep 1000; true", "x"];
    let output = dev.run(&[&words[..], &[&dev.directory]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    dev.until("the guard and its task run", |processes| processes.len() == 7);
    dev.signal("-KILL");
    dev.child.wait().unwrap();
    dev.until("nothing is left", <[String]>::is_empty);
    std::fs::remove_dir_all(&dev.directory).unwrap();
}
