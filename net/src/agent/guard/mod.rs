//! The guard of one attempt: a process with one thread between the agent and the task.

mod descendants;
mod protocol;

pub(crate) use protocol::{Order, Report};

use super::clock;
use quorate_core::types::Time;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitStatus, getpid, kill_process_group, pidfd_open, set_child_subreaper,
        setsid,
    },
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};
use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, ExitCode, Stdio},
};

/// How long a guard waits at most before it reaps orphans, in seconds.
const REAP_SECONDS: i64 = 1;

/// The body of `quorate task-guard DEADLINE COMMAND [ARGUMENT]...`; `arguments` begin with the deadline.
///
/// The deadline is in nanoseconds of `CLOCK_BOOTTIME`. Orders come over stdin, reports go to stdout, and the task
/// writes both its outputs to the guard's stderr. Everything below the guard is killed when stdin closes, when the
/// deadline passes, when it is asked to, and when the task's first process has ended; the last report comes when nothing
/// is left. Environment and working directory are the guard's own.
///
/// Must run in a process of its own with one thread: it reaps every child that it has. Exit code 0 if the task was
/// started, 1 if not, 2 if the arguments are wrong.
#[must_use]
pub fn run_guard(arguments: &[String]) -> ExitCode {
    let Some((deadline, argv)) = arguments.split_first() else { return ExitCode::from(2) };
    let (Ok(deadline), Some((program, rest))) = (deadline.parse(), argv.split_first()) else {
        return ExitCode::from(2);
    };
    // A terminal's signals, and those for the agent's process group, are not for the guard. Fails if it leads already.
    let _ = setsid();
    let mut command = Command::new(program);
    command.args(rest);
    match Guard::start(Time(deadline), command) {
        Ok(mut guard) => {
            report(&Report::Started { process: guard.first.as_raw_nonzero().get() });
            guard.watch();
            guard.finish();
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&Report::NotStarted { message: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

/// Says one line to the agent. If that is gone, nobody needs it.
fn report(report: &Report) {
    let mut out = io::stdout();
    let _ = out.write_all(report.line().as_bytes()).and_then(|()| out.flush());
}

struct Guard {
    /// The task's first process; it leads a process group of its own.
    first: Pid,
    /// How it ended.
    status: Option<WaitStatus>,
    /// Readable when the first process has ended.
    ended: OwnedFd,
    /// Readable when the deadline has passed.
    timer: OwnedFd,
    deadline: Time,
    /// The beginning of an order whose end has not come.
    partial: Vec<u8>,
}

impl Guard {
    fn start(deadline: Time, mut command: Command) -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)?;
        set_timer(&timer, deadline)?;
        if clock::time() >= deadline {
            return Err(io::Error::other("its deadline had passed before it could start"));
        }
        let output = || io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
        command.process_group(0).stdin(Stdio::null()).stdout(output()?).stderr(output()?);
        let child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", command.get_program().to_string_lossy()))
        })?;
        let first = Pid::from_child(&child);
        match pidfd_open(first, PidfdFlags::empty()) {
            Ok(ended) => Ok(Self { first, status: None, ended, timer, deadline, partial: Vec::new() }),
            Err(error) => {
                descendants::kill_all(&mut |_, _| {});
                Err(error.into())
            }
        }
    }

    /// Returns when everything is to be killed.
    fn watch(&mut self) {
        loop {
            self.reap();
            if self.status.is_some() || clock::time() >= self.deadline {
                return;
            }
            let stdin = io::stdin();
            let mut ready = [
                PollFd::new(&stdin, PollFlags::IN),
                PollFd::new(&self.ended, PollFlags::IN),
                PollFd::new(&self.timer, PollFlags::IN),
            ];
            match poll(&mut ready, Some(&Timespec { tv_sec: REAP_SECONDS, tv_nsec: 0 })) {
                Ok(_) | Err(Errno::INTR) => {}
                // Without its orders it cannot know how long it may run.
                Err(_) => return,
            }
            if !ready[0].revents().is_empty() && !self.obey() {
                return;
            }
        }
    }

    /// Takes orders. False: everything is to be killed.
    fn obey(&mut self) -> bool {
        let mut buffer = [0; 64 * Order::BYTES];
        match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(0) => return false,
            Ok(length) => self.partial.extend_from_slice(&buffer[..length]),
            Err(Errno::INTR | Errno::AGAIN) => return true,
            Err(_) => return false,
        }
        let whole = self.partial.len() / Order::BYTES * Order::BYTES;
        let orders: Vec<u8> = self.partial.drain(..whole).collect();
        let (orders, _) = orders.as_chunks::<{ Order::BYTES }>();
        orders.iter().all(|order| match Order::decode(*order) {
            Some(Order::Deadline(deadline)) => {
                self.deadline = deadline;
                set_timer(&self.timer, deadline).is_ok()
            }
            Some(Order::Terminate) => {
                // The first process is not reaped yet, so the group is still its own.
                let _ = kill_process_group(self.first, Signal::TERM);
                true
            }
            Some(Order::Kill) | None => false,
        })
    }

    fn reap(&mut self) -> bool {
        let (first, status) = (self.first, &mut self.status);
        descendants::reap(&mut |process, how| {
            if process == first {
                *status = Some(how);
            }
        })
    }

    /// Kills all that is left, and reports how the first process ended.
    fn finish(&mut self) {
        let (first, status) = (self.first, &mut self.status);
        descendants::kill_all(&mut |process, how| {
            if process == first {
                *status = Some(how);
            }
        });
        let killed = Signal::KILL.as_raw();
        let ended =
            self.status.map_or(Report::Signaled { signal: killed }, |status| match status.exit_status() {
                Some(code) => Report::Exited { code },
                None => Report::Signaled { signal: status.terminating_signal().unwrap_or(killed) },
            });
        report(&ended);
    }
}

fn set_timer(timer: &OwnedFd, deadline: Time) -> io::Result<()> {
    let seconds = i64::try_from(deadline.0 / 1_000_000_000).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(deadline.0 % 1_000_000_000).unwrap_or(0);
    // Zero would turn the timer off.
    let at = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.max(1) };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &once)?;
    Ok(())
}
