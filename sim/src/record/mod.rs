//! A recording of a run: events with their causes, messages, faults, and the states of all machines over time.
//!
//! A recorder only reads. It sees each event of the world before it is handled, each line of the log, and all machines
//! afterwards; which event led to which is carried by the queue. Nothing of it goes into the hash of the run.

mod recorder;
mod state;

pub use recorder::{Recorder, Shared};
pub use state::{ExecutorState, MasterState, Operation};

use crate::{network::Endpoint, oracle::Violation, plan::Plan, run, run::Outcome, world::World};
use std::{
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

/// Who does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Nobody in particular: faults, and what the simulator does itself.
    Cluster,
    /// A master, by its place.
    Master(u8),
    /// An executor, by its place.
    Executor(u8),
    /// A client, by its place.
    Client(u8),
}

impl From<Endpoint> for Actor {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Master(place) => Self::Master(place),
            Endpoint::Executor(place) => Self::Executor(place),
            Endpoint::Client(place) => Self::Client(place),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => write!(formatter, "---"),
            Self::Master(place) => write!(formatter, "node {}", place + 1),
            Self::Executor(place) => write!(formatter, "exec {place}"),
            Self::Client(place) => write!(formatter, "client {place}"),
        }
    }
}

/// One event. Its id is its place in the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// True time, nanoseconds.
    pub time: u64,
    /// Who.
    pub actor: Actor,
    /// What kind.
    pub kind: &'static str,
    /// In words.
    pub text: String,
    /// The event that led to it.
    pub cause: Option<u32>,
    /// Term and commit index of the master at that time; `None` for others, and without a process.
    pub raft: Option<(u64, u64)>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was taken, by this event.
    Received(u32),
    /// It arrived where nobody took it.
    Dropped,
    /// It was still on its way at the end.
    Travels,
    /// It never arrives.
    Lost,
}

/// A message: an arrow. One that comes twice has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The event that sent it.
    pub from: u32,
    /// To whom, if it is known: a lost message names nobody.
    pub to: Option<Actor>,
    /// When it arrives, nanoseconds; that of its sending, if never.
    pub arrives: u64,
    /// What became of it.
    pub fate: Fate,
}

/// A fault: a band.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Its place in the plan.
    pub fault: usize,
    /// From, nanoseconds.
    pub from: u64,
    /// To, nanoseconds; the end of the recording, if it was still on.
    pub to: u64,
    /// Its name.
    pub name: &'static str,
    /// As in the plan.
    pub text: String,
    /// Whom it touches.
    pub touches: Vec<Actor>,
    /// Whether it did anything.
    pub effective: bool,
}

/// Everything of one run.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// All actors in the order of their lanes.
    pub actors: Vec<Actor>,
    /// In order of time.
    pub events: Vec<Recorded>,
    /// In order of their sending.
    pub messages: Vec<Message>,
    /// In order of time.
    pub bands: Vec<Band>,
    /// Of each master, each new state and its time.
    pub masters: Vec<Vec<(u64, MasterState)>>,
    /// Of each executor.
    pub executors: Vec<Vec<(u64, ExecutorState)>>,
    /// Of each client.
    pub clients: Vec<Vec<Operation>>,
    /// The time of the last event, nanoseconds.
    pub end: u64,
}

/// Runs a plan and records it. A panic is a violation like any other.
#[must_use]
pub fn run_recorded(plan: &Plan) -> (Outcome, Recording) {
    let recorder = Rc::new(RefCell::new(Recorder::default()));
    let (plan, shared) = (plan.clone(), recorder.clone());
    let run = AssertUnwindSafe(|| World::new(plan, true, None).recorded(shared).run());
    let outcome = catch_unwind(run).unwrap_or_else(run::crashed);
    let mut recording = core::mem::take(&mut *recorder.borrow_mut()).into_recording();
    if let Some(violation) = &outcome.violation {
        pin(&mut recording, violation);
    }
    (outcome, recording)
}

/// The last event of a failing run is what failed: its cause is the last that happened before.
fn pin(recording: &mut Recording, violation: &Violation) {
    let last = recording.events.iter().rposition(|event| event.actor != Actor::Cluster);
    recording.events.push(Recorded {
        time: recording.end,
        actor: Actor::Cluster,
        kind: "violation",
        text: format!("{}: {}", violation.rule.name(), violation.message),
        cause: last.and_then(|last| u32::try_from(last).ok()),
        raft: None,
    });
}

#[cfg(test)]
mod tests;
