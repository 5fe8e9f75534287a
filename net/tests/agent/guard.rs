//! A guard and what is below it, without an agent.

use quorate_net::agent::time;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("guard_reports_the_exit_code", reports_the_exit_code),
    ("guard_reports_the_signal", reports_the_signal),
    ("guard_says_what_it_could_not_start", says_what_it_could_not_start),
    ("guard_starts_nothing_after_its_deadline", starts_nothing_after_its_deadline),
    ("guard_kills_all_when_its_pipe_closes", kills_all_when_its_pipe_closes),
    ("guard_kills_all_when_its_agent_is_killed", kills_all_when_its_agent_is_killed),
    ("guard_kills_all_at_its_deadline", kills_all_at_its_deadline),
    ("guard_lets_live_until_the_extended_deadline", lets_live_until_the_extended_deadline),
    ("guard_kills_what_is_left_before_it_reports_the_end", kills_what_is_left_before_it_reports_the_end),
    ("guard_terminates_then_kills", terminates_then_kills),
    ("guard_refuses_wrong_arguments", refuses_wrong_arguments),
];

/// A deadline that no test reaches.
const LATE: Duration = Duration::from_secs(600);

/// Three processes that ignore SIGTERM: the first, one in its group, and one in a session of its own whose parent is
/// gone. Each writes its id to `<name>.pid`.
const STUBBORN: &str = r#"
trap '' TERM
sh -c 'trap "" TERM; echo $$ > group.pid; while :; do sleep 1; done' &
(setsid sh -c 'trap "" TERM; echo $$ > session.pid; while :; do sleep 1; done' &)
echo $$ > first.pid
while :; do sleep 1; done
"#;

/// Where this run keeps its files.
pub(crate) fn own_directory() -> PathBuf {
    std::env::temp_dir().join(format!("quorate-agent-test-{}", std::process::id()))
}

pub(crate) fn directory(name: &str) -> PathBuf {
    let path = own_directory().join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Waits until something is so; panics when it takes too long.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that wrote their ids, once all three have.
fn stubborn(directory: &Path) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default().trim().to_owned();
    let all = || ["first.pid", "group.pid", "session.pid"].map(read).to_vec();
    eventually("all processes run", || all().iter().all(|pid| !pid.is_empty()));
    assert!(all().iter().all(|pid| lives(pid)));
    all()
}

pub(crate) fn lives(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

fn guard_command(deadline: Duration, argv: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let deadline = (time() + deadline).0.to_string();
    command.arg("task-guard").arg(deadline).args(argv).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

struct Guard {
    child: Child,
    orders: ChildStdin,
    reports: BufReader<ChildStdout>,
}

impl Guard {
    fn new(deadline: Duration, argv: &[&str], directory: &Path) -> Self {
        let mut child = guard_command(deadline, argv, directory).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let reports = BufReader::new(child.stdout.take().unwrap());
        Self { child, orders, reports }
    }

    fn shell(deadline: Duration, script: &str, directory: &Path) -> Self {
        let mut guard = Self::new(deadline, &["sh", "-c", script], directory);
        assert!(guard.report().starts_with("started "));
        guard
    }

    fn report(&mut self) -> String {
        let mut line = String::new();
        self.reports.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn order(&mut self, tag: u8, value: u64) {
        let mut bytes = vec![tag];
        bytes.extend(value.to_le_bytes());
        self.orders.write_all(&bytes).unwrap();
    }
}

fn reports_the_exit_code() {
    let mut guard = Guard::shell(LATE, "exit 3", &directory("exit"));
    assert_eq!(guard.report(), "exited 3");
    assert_eq!(guard.child.wait().unwrap().code(), Some(0));
}

fn reports_the_signal() {
    let mut guard = Guard::shell(LATE, "kill -USR1 $$", &directory("signal"));
    assert_eq!(guard.report(), "signaled 10");
}

fn says_what_it_could_not_start() {
    let mut guard = Guard::new(LATE, &["/nothing/here"], &directory("missing"));
    let report = guard.report();
    assert!(report.starts_with("not-started /nothing/here: "), "{report}");
    assert_eq!(guard.child.wait().unwrap().code(), Some(1));
}

fn starts_nothing_after_its_deadline() {
    let directory = directory("late");
    let mut guard = Guard::new(Duration::ZERO, &["touch", "started"], &directory);
    assert!(guard.report().starts_with("not-started its deadline"));
    guard.child.wait().unwrap();
    assert!(!directory.join("started").exists());
}

fn kills_all_when_its_pipe_closes() {
    let directory = directory("pipe");
    let guard = Guard::shell(LATE, STUBBORN, &directory);
    let all = stubborn(&directory);
    let Guard { mut child, orders, mut reports } = guard;
    drop(orders);
    let mut line = String::new();
    reports.read_line(&mut line).unwrap();
    assert_eq!(line, "signaled 9\n");
    assert!(!all.iter().any(|pid| lives(pid)), "reported an end while {all:?} live");
    child.wait().unwrap();
}

/// The body of a process that starts a guard and then does nothing, as a frozen or busy agent.
#[allow(clippy::zombie_processes, reason = "it is killed while it waits")]
pub(crate) fn hold(arguments: &[String]) -> ExitCode {
    let argv: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let child = guard_command(LATE, &argv, Path::new(".")).spawn().unwrap();
    loop {
        std::thread::park();
        // Keeps the pipe open.
        assert!(child.stdin.is_some());
    }
}

fn kills_all_when_its_agent_is_killed() {
    let directory = directory("agent-killed");
    let mut agent = Command::new(std::env::current_exe().unwrap());
    let mut agent =
        agent.args(["hold-a-guard", "sh", "-c", STUBBORN]).current_dir(&directory).spawn().unwrap();
    let all = stubborn(&directory);
    agent.kill().unwrap();
    agent.wait().unwrap();
    eventually("everything is killed", || !all.iter().any(|pid| lives(pid)));
}

fn kills_all_at_its_deadline() {
    let directory = directory("deadline");
    let begin = time();
    let deadline = Duration::from_secs(1);
    let mut guard = Guard::shell(deadline, STUBBORN, &directory);
    let all = stubborn(&directory);
    assert_eq!(guard.report(), "signaled 9");
    assert!(time().since(begin) >= deadline);
    assert!(!all.iter().any(|pid| lives(pid)));
}

fn lets_live_until_the_extended_deadline() {
    let directory = directory("extended");
    let begin = time();
    let mut guard = Guard::shell(Duration::from_millis(500), "sleep 1000", &directory);
    let later = begin + Duration::from_millis(1_500);
    guard.order(b'D', later.0);
    assert_eq!(guard.report(), "signaled 9");
    assert!(time() >= later);
}

fn kills_what_is_left_before_it_reports_the_end() {
    let directory = directory("left");
    let script = "setsid sleep 1000 & echo $! > left.pid; exit 5";
    let mut guard = Guard::shell(LATE, script, &directory);
    assert_eq!(guard.report(), "exited 5");
    let left = fs::read_to_string(directory.join("left.pid")).unwrap();
    assert!(!lives(left.trim()));
}

fn terminates_then_kills() {
    let directory = directory("terminate");
    let script = "trap 'exit 7' TERM; touch ready; while :; do sleep 0.01; done";
    let mut guard = Guard::shell(LATE, script, &directory);
    eventually("the trap is set", || directory.join("ready").exists());
    guard.order(b'T', 0);
    assert_eq!(guard.report(), "exited 7");
    let mut guard = Guard::shell(LATE, STUBBORN, &directory);
    let all = stubborn(&directory);
    guard.order(b'T', 0);
    guard.order(b'K', 0);
    assert_eq!(guard.report(), "signaled 9");
    assert!(!all.iter().any(|pid| lives(pid)));
}

fn refuses_wrong_arguments() {
    for arguments in [&["task-guard"][..], &["task-guard", "5"], &["task-guard", "soon", "true"]] {
        let status = Command::new(std::env::current_exe().unwrap()).args(arguments).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}
