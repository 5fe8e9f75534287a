//! One tokio task for each attempt: starts its guard, passes orders on, and says what happened.

use super::{
    guard::{Order, Report},
    logs::LogStore,
    runtime::{Event, GuardCommand},
};
use quorate_core::{
    agent::{AgentInput, ProcessEvent},
    limits,
    types::{AttemptId, ExecutorId, Time},
};
use quorate_proto::v1 as pb;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{io, path::PathBuf, process::Stdio, time::Duration};
use tokio::{
    fs,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

/// How long the last output of an ended task is waited for. It is over at once, unless a stranger holds the pipe.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What an attempt is started with.
pub(super) struct Launch {
    pub(super) attempt: AttemptId,
    pub(super) specification: pb::JobSpecification,
    pub(super) executor: ExecutorId,
    /// Where it works if its specification names no directory.
    pub(super) directory: PathBuf,
    pub(super) guard: GuardCommand,
    /// Until when the agent may work.
    pub(super) deadline: watch::Receiver<Time>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) logs: LogStore,
}

/// Runs an attempt to its end. Dropping the future closes the guard's stdin, which kills the attempt.
pub(super) async fn supervise(mut launch: Launch) {
    launch.logs.open(&launch.attempt, launch.specification.output_limit_bytes);
    let event = match launch.start().await {
        Ok(running) => launch.watch(running).await,
        Err(error) => ProcessEvent::NotStarted { message: error.to_string() },
    };
    launch.logs.ended(&launch.attempt);
    launch.say(event).await;
}

/// A guard that runs.
struct Running {
    child: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
    output: JoinHandle<()>,
}

impl Launch {
    async fn say(&self, event: ProcessEvent) {
        let input = AgentInput::Process { attempt: self.attempt.clone(), event };
        // If the loop has ended, so has the agent.
        let _ = self.events.send(Event::Input(input)).await;
    }

    async fn start(&mut self) -> io::Result<Running> {
        let directory = self.prepare_directory().await?;
        let mut child = self.command(directory).spawn().map_err(|error| named("its guard", &error))?;
        let missing = || io::Error::other("a pipe to its guard is missing");
        let orders = child.stdin.take().ok_or_else(missing)?;
        let reports = BufReader::new(child.stdout.take().ok_or_else(missing)?).lines();
        let output = child.stderr.take().ok_or_else(missing)?;
        let output = tokio::spawn(keep(output, self.logs.clone(), self.attempt.clone()));
        Ok(Running { child, orders, reports, output })
    }

    async fn prepare_directory(&self) -> io::Result<PathBuf> {
        let stated = &self.specification.working_directory;
        if stated.is_empty() {
            // What an earlier life of this executor left there.
            let _ = fs::remove_dir_all(&self.directory).await;
            let what = format!("working directory {}", self.directory.display());
            fs::create_dir_all(&self.directory).await.map_err(|error| named(&what, &error))?;
            return Ok(self.directory.clone());
        }
        let what = format!("working directory {stated}");
        match fs::metadata(stated).await {
            Ok(found) if found.is_dir() => Ok(stated.into()),
            Ok(_) => Err(io::Error::other(format!("{what} is no directory"))),
            Err(error) => Err(named(&what, &error)),
        }
    }

    fn command(&mut self, directory: PathBuf) -> Command {
        let deadline = self.deadline.borrow_and_update().0.to_string();
        let task = &self.attempt.task;
        let mut command = Command::new(&self.guard.program);
        command.args(&self.guard.arguments).arg(deadline).args(&self.specification.argv);
        command.envs(self.specification.environment.iter().map(|pair| (&pair.name, &pair.value)));
        command
            .env("QUORATE_JOB", task.job.as_str())
            .env("QUORATE_TASK", task.number.to_string())
            .env("QUORATE_EPOCH", self.attempt.epoch.to_string())
            .env("QUORATE_EXECUTOR", self.executor.to_string())
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Passes orders on until the guard has said how the attempt ended, or is dead itself.
    async fn watch(&mut self, mut running: Running) -> ProcessEvent {
        let mut process = None;
        let event = loop {
            tokio::select! {
                Some(order) = self.orders.recv() => running.order(order).await,
                Ok(()) = self.deadline.changed() => {
                    let deadline = *self.deadline.borrow_and_update();
                    running.order(Order::Deadline(deadline)).await;
                }
                line = running.reports.next_line() => {
                    let report = line.ok().flatten().and_then(|line| Report::parse(&line));
                    match report {
                        Some(Report::Started { process: started }) => {
                            process = Some(started);
                            self.say(ProcessEvent::Started).await;
                        }
                        Some(end) => break ended(end),
                        None => break orphaned(process),
                    }
                }
            }
        };
        drop(running.orders);
        let _ = running.child.wait().await;
        if timeout(LAST_OUTPUT, &mut running.output).await.is_err() {
            running.output.abort();
        }
        event
    }
}

impl Running {
    /// A guard that is dead reads nothing: its reports end, too, and say so.
    async fn order(&mut self, order: Order) {
        let _ = self.orders.write_all(&order.encode()).await;
    }
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn ended(report: Report) -> ProcessEvent {
    match report {
        Report::Exited { code } => {
            ProcessEvent::Ended { end: pb::AttemptEnd::Exited, code, message: String::new() }
        }
        Report::Signaled { signal } => {
            let message = format!("ended by signal {signal}");
            ProcessEvent::Ended { end: pb::AttemptEnd::Signaled, code: signal, message }
        }
        Report::NotStarted { message } => ProcessEvent::NotStarted { message },
        Report::Started { process } => {
            ProcessEvent::NotStarted { message: format!("its guard reported process {process} twice") }
        }
    }
}

/// The guard is dead, and said nothing of an end: kills what it can name, the task's process group.
fn orphaned(process: Option<i32>) -> ProcessEvent {
    let Some(process) = process.and_then(Pid::from_raw) else {
        return ProcessEvent::NotStarted { message: "its guard ended before it started anything".into() };
    };
    let _ = kill_process_group(process, Signal::KILL);
    let message = "its guard was killed".to_owned();
    ProcessEvent::Ended { end: pb::AttemptEnd::Signaled, code: Signal::KILL.as_raw(), message }
}

/// Keeps what the task writes until it has closed both its outputs.
async fn keep(mut output: ChildStderr, logs: LogStore, attempt: AttemptId) {
    let mut buffer = vec![0; limits::OUTPUT_CHUNK_BYTES];
    while let Ok(length) = output.read(&mut buffer).await {
        if length == 0 {
            return;
        }
        logs.append(&attempt, &buffer[..length]);
    }
}
