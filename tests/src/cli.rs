//! The command line, as a person or a script uses it.

use crate::{binary::binary, process::clean};
use serde_json::Value;
use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// No command takes longer than this, whatever its own time limit.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// A way to run commands against some endpoints.
#[derive(Clone, Debug, Default)]
pub struct Cli {
    /// What comes before the program: how to get to where it runs.
    prefix: Vec<String>,
    endpoints: String,
    timeout: String,
    environment: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    command: String,
}

impl Cli {
    /// Commands without a cluster.
    #[must_use]
    pub fn alone() -> Self {
        Self::default()
    }

    /// Commands for the masters at these endpoints, by commas.
    #[must_use]
    pub fn to(endpoints: &str) -> Self {
        Self { endpoints: endpoints.to_owned(), timeout: "10s".to_owned(), ..Self::default() }
    }

    /// The same, giving up after so long, such as `2s`.
    #[must_use]
    pub fn within(mut self, timeout: &str) -> Self {
        timeout.clone_into(&mut self.timeout);
        self
    }

    /// The same, from another place: `ip netns exec NAME`.
    #[must_use]
    pub(crate) fn from(mut self, prefix: Vec<String>) -> Self {
        self.prefix = prefix;
        self
    }

    /// The same, with one more variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// If it cannot be started, or hangs.
    #[must_use]
    pub fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Output {
        self.run_with(arguments, &[])
    }

    /// As [`run`](Self::run), with something on its stdin.
    #[must_use]
    pub fn run_with<S: AsRef<str>>(&self, arguments: &[S], stdin: &[u8]) -> Output {
        let words: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let shown = format!("quorate {}", words.join(" "));
        let mut child = self.command(&words).spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        if let Some(mut pipe) = child.stdin.take() {
            // A command that refuses early does not read all of it.
            let _refused = pipe.write_all(stdin);
        }
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let output = receiver.recv_timeout(HANGS_AFTER);
        let output = output.unwrap_or_else(|_| panic!("{shown} hangs: no end within {HANGS_AFTER:?}"));
        let output = output.expect("a child can be waited for");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: shown,
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let binary = binary().to_string_lossy().into_owned();
        let mut all = self.prefix.iter().cloned().chain([binary]);
        let mut command = Command::new(all.next().expect("there is always the binary"));
        clean(&mut command).args(all);
        // Before the words: some end with a command line of their own.
        if !self.endpoints.is_empty() {
            command.args(["--endpoints", &self.endpoints, "--timeout", &self.timeout]);
        }
        command.args(words).envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that must succeed, and reads the JSON that it prints.
    ///
    /// # Panics
    /// If it fails, or prints something else.
    #[must_use]
    pub fn json<S: AsRef<str>>(&self, arguments: &[S]) -> Value {
        self.try_json(arguments).unwrap_or_else(|why| panic!("{why}"))
    }

    /// As [`json`](Self::json).
    ///
    /// # Errors
    /// How it failed.
    pub fn try_json<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Value, String> {
        let words: Vec<&str> =
            ["-o", "json"].into_iter().chain(arguments.iter().map(AsRef::as_ref)).collect();
        let output = self.run(&words);
        if output.code != 0 {
            return Err(output.to_string());
        }
        serde_json::from_str(&output.stdout).map_err(|error| format!("{output}: no JSON: {error}"))
    }
}

impl Output {
    /// What it printed; it must have succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self}");
        self.stdout
    }

    /// It must have ended with this code, and its error must name all of these.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn refused(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self}");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in: {self}");
        }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, command } = self;
        write!(formatter, "`{command}` ended with {code}, stdout {stdout:?}, stderr {stderr:?}")
    }
}
