//! One process of a cluster, and what can be done to it.

use crate::wait::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// What a process that was told to end may take.
const END_WITHIN: Duration = Duration::from_secs(10);
/// Lines of its log that are shown when a test fails.
const LOG_LINES: usize = 40;

/// One process, running or not. Killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A process that is not started yet, with its log in this directory.
    #[must_use]
    pub fn new(directory: &Path, name: &str, command: Vec<String>) -> Self {
        let mut words = command.into_iter();
        let program = words.next().map(PathBuf::from).expect("a command has a program");
        let log = directory.join(format!("{name}.log"));
        let (arguments, environment) = (words.collect(), Vec::new());
        Self { name: name.to_owned(), program, arguments, environment, log, child: None }
    }

    /// Adds a variable to the environment of its next starts.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Adds an argument for its next starts.
    pub fn argument(&mut self, argument: &str) {
        self.arguments.push(argument.to_owned());
    }

    /// Is started with another program from now on: `new` in place of one of these.
    ///
    /// # Panics
    /// If it is started with none of them.
    pub fn replace_program(&mut self, old: &[&Path], new: &Path) {
        if old.contains(&self.program.as_path()) {
            return self.program = new.to_owned();
        }
        let word = self.arguments.iter_mut().find(|word| old.contains(&Path::new(word)));
        *word.expect("it is started with the program") = new.to_string_lossy().into_owned();
    }

    /// Starts it; its output is appended to its log.
    ///
    /// # Panics
    /// If it runs already, or cannot be started.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log can be made");
        let mut command = Command::new(&self.program);
        clean(&mut command).args(&self.arguments).stdin(Stdio::null());
        command.envs(self.environment.iter().cloned());
        command.stdout(log.try_clone().expect("a log has a second handle")).stderr(log);
        let child = command.spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.name)));
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process has an id");
        // Fails only if it has ended.
        let _ended = kill_process(pid, signal);
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            // A child that was killed ends.
            let _ended = child.wait();
        }
    }

    /// Freezes it with SIGSTOP.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end, with SIGINT as Ctrl-C does, and waits until it has.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.ended(END_WITHIN)
    }

    /// Asks it to end, with SIGTERM as a service manager does, and waits until it has.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(END_WITHIN)
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not within the bound.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let name = self.name.clone();
        let child = self.child.as_mut().unwrap_or_else(|| panic!("{name} does not run"));
        let status = wait_until(within, &format!("the end of {name}"), || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        self.child = None;
        status
    }

    /// Everything that it has written, of all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Prints the end of its log, for a test that fails.
    pub(crate) fn show_log(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("---- end of the log of {} ({} lines)", self.name, lines.len());
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            eprintln!("{line}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Keeps settings of whoever runs the tests away from what is tested.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("QUORATE_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;
    use std::os::unix::process::ExitStatusExt as _;

    fn shell(directory: &Directory, script: &str) -> Process {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Process::new(directory.path(), "shell", command)
    }

    #[test]
    fn its_end_and_its_output_are_seen() {
        let directory = Directory::new();
        let mut process = shell(&directory, "echo \"$WORD\"; echo wrong >&2; exit 3");
        process.set("WORD", "hello");
        process.start();
        assert_eq!(process.ended(END_WITHIN).code(), Some(3));
        assert_eq!(process.log(), "hello\nwrong\n");
    }

    #[test]
    fn it_can_be_frozen_and_killed_and_started_again() {
        let directory = Directory::new();
        let mut process = shell(&directory, "while :; do echo tick; sleep 0.02; done");
        process.start();
        let ticks = |process: &Process| process.log().lines().count();
        wait_until(END_WITHIN, "a tick", || if ticks(&process) > 0 { Ok(()) } else { Err("none".into()) });
        process.freeze();
        let state = format!("/proc/{}/stat", process.pid());
        wait_until(END_WITHIN, "the freeze", || {
            let stat = fs::read_to_string(&state).unwrap_or_default();
            if stat.contains(") T ") { Ok(()) } else { Err(stat) }
        });
        let before = ticks(&process);
        process.thaw();
        wait_until(END_WITHIN, "more ticks", || {
            if ticks(&process) > before { Ok(()) } else { Err(format!("{before}")) }
        });
        process.kill();
        assert!(!process.is_running());
        process.start();
        assert!(process.is_running());
        assert_eq!(process.interrupt().signal(), Some(2));
    }
}
