//! What a command costs: messages by kind, bytes, syncs, steps, allocations. Counted, so it is exact, and the same on
//! every machine; a change that makes a command dearer shows as a difference and not as noise.

mod scenario;

pub use scenario::{SCENARIOS, Scenario, steady_plan};

use core::fmt::Write as _;
use quorate_core::contract::Write;
use quorate_proto::v1::{Envelope, envelope::Body};

/// The kinds of messages between masters.
pub const KINDS: [&str; 15] = [
    "hello",
    "denied",
    "pre-vote",
    "pre-vote reply",
    "vote",
    "vote reply",
    "append",
    "append reply",
    "heartbeat",
    "heartbeat answer",
    "snapshot chunk",
    "snapshot reply",
    "forward",
    "forward reply",
    "timeout now",
];

const fn kind_of(body: &Body) -> usize {
    match body {
        Body::Hello(_) => 0,
        Body::Denied(_) => 1,
        Body::PreVote(_) => 2,
        Body::PreVoteReply(_) => 3,
        Body::Vote(_) => 4,
        Body::VoteReply(_) => 5,
        Body::Append(_) => 6,
        Body::AppendReply(_) => 7,
        Body::Heartbeat(_) => 8,
        Body::HeartbeatAnswer(_) => 9,
        Body::SnapshotChunk(_) => 10,
        Body::SnapshotReply(_) => 11,
        Body::Forward(_) => 12,
        Body::ForwardReply(_) => 13,
        Body::TimeoutNow(_) => 14,
    }
}

/// Runs something, and says how many allocations it made.
pub type Meter = fn(&mut dyn FnMut()) -> u64;

/// What was spent in a stretch of simulated time.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// How allocations are counted.
    meter: Option<Meter>,
    /// Nothing is counted before.
    from: u64,
    messages: [u64; KINDS.len()],
    message_bytes: u64,
    writes: u64,
    log_bytes: u64,
    steps: u64,
    allocations: u64,
}

impl Cost {
    /// Counts from a true time on.
    #[must_use]
    pub fn new(meter: Meter, from: u64) -> Self {
        Self { meter: Some(meter), from, ..Self::default() }
    }

    /// Counts nothing any more.
    pub const fn stop(&mut self) {
        self.from = u64::MAX;
    }

    /// A message between masters is sent.
    pub const fn message(&mut self, time: u64, envelope: &Envelope, bytes: usize) {
        if time >= self.from
            && let Some(body) = &envelope.body
        {
            self.messages[kind_of(body)] += 1;
            self.message_bytes += bytes as u64;
        }
    }

    /// A write with its sync is asked for.
    pub fn write(&mut self, time: u64, write: &Write) {
        if time >= self.from {
            self.writes += 1;
            self.log_bytes += write.entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        }
    }

    /// A master's core is stepped.
    pub fn step(&mut self, time: u64, mut step: impl FnMut()) {
        let Some(meter) = self.meter.filter(|_| time >= self.from) else { return step() };
        self.steps += 1;
        self.allocations += meter(&mut step);
    }

    /// A table of what one of `operations` costs, and of all.
    #[must_use]
    pub fn table(&self, operations: u64) -> String {
        let mut text = String::new();
        let mut line = |name: &str, total: u64| {
            // Hundredths in whole numbers: the same on every machine.
            let each = (total * 100).checked_div(operations).unwrap_or(0);
            let _ =
                writeln!(text, "  {name:<22}{total:>10}{:>12}", format!("{}.{:02}", each / 100, each % 100));
        };
        for (kind, &count) in KINDS.iter().zip(&self.messages).filter(|(_, count)| **count > 0) {
            line(kind, count);
        }
        line("messages", self.messages.iter().sum());
        line("message bytes", self.message_bytes);
        line("syncs", self.writes);
        line("log bytes", self.log_bytes);
        line("steps of the core", self.steps);
        line("allocations", self.allocations);
        text
    }
}
