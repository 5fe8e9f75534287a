//! What an agent and a guard say to each other. Both are the same binary: there are no versions.

use quorate_core::{limits, types::Time};

/// An order of an agent, as it goes over the guard's stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Kill everything at this time, and not before.
    Deadline(Time),
    /// Ask the task to end: SIGTERM to its process group.
    Terminate,
    /// Kill everything.
    Kill,
}

impl Order {
    /// Every order has this size, so that a pipe never tears one.
    pub(crate) const BYTES: usize = 9;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let (tag, value) = match self {
            Self::Deadline(time) => (b'D', time.0),
            Self::Terminate => (b'T', 0),
            Self::Kill => (b'K', 0),
        };
        let mut bytes = [tag; Self::BYTES];
        bytes[1..].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    /// `None`: no agent says that.
    pub(crate) fn decode(bytes: [u8; Self::BYTES]) -> Option<Self> {
        let [tag, value @ ..] = bytes;
        match tag {
            b'D' => Some(Self::Deadline(Time(u64::from_le_bytes(value)))),
            b'T' => Some(Self::Terminate),
            b'K' => Some(Self::Kill),
            _ => None,
        }
    }
}

/// What a guard reports, one line each on its stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The task runs: its first process, which leads a process group of its own.
    Started { process: i32 },
    /// It could not be started.
    NotStarted { message: String },
    /// The first process ended by itself, and nothing of the task is left.
    Exited { code: i32 },
    /// A signal ended the first process, and nothing of the task is left.
    Signaled { signal: i32 },
}

impl Report {
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Started { process } => format!("started {process}\n"),
            Self::NotStarted { message } => {
                let mut line = format!("not-started {}", message.replace('\n', " "));
                while line.len() >= limits::GUARD_REPORT_BYTES {
                    line.pop();
                }
                line + "\n"
            }
            Self::Exited { code } => format!("exited {code}\n"),
            Self::Signaled { signal } => format!("signaled {signal}\n"),
        }
    }

    /// `None`: no guard says that.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.trim_end_matches('\n').split_once(' ')?;
        let number = || rest.parse().ok();
        match word {
            "started" => Some(Self::Started { process: number()? }),
            "not-started" => Some(Self::NotStarted { message: rest.to_owned() }),
            "exited" => Some(Self::Exited { code: number()? }),
            "signaled" => Some(Self::Signaled { signal: number()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_reports_come_back_as_they_went() {
        for order in [Order::Deadline(Time(u64::MAX - 3)), Order::Terminate, Order::Kill] {
            assert_eq!(Order::decode(order.encode()), Some(order));
        }
        assert_eq!(Order::decode([0; Order::BYTES]), None);
        let reports = [
            Report::Started { process: 7 },
            Report::NotStarted { message: "no such file".into() },
            Report::Exited { code: 3 },
            Report::Signaled { signal: 9 },
        ];
        for report in reports {
            assert_eq!(Report::parse(&report.line()), Some(report));
        }
        for line in ["", "exited", "exited x", "gone 3"] {
            assert_eq!(Report::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_report_is_one_short_line() {
        let line = Report::NotStarted { message: "é\n".repeat(limits::GUARD_REPORT_BYTES) }.line();
        assert!(line.len() <= limits::GUARD_REPORT_BYTES);
        assert_eq!(line.matches('\n').count(), 1);
    }
}
