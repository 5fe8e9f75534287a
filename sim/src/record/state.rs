//! What machines look like from outside, as far as a timeline shows it.

use crate::{client::Client, executor::Executor, master::Master, oracle::answers};
use quorate_core::{Node, agent::Agent, raft::Role};

/// A master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MasterState {
    /// It has a process.
    pub up: bool,
    /// Its process stands still.
    pub paused: bool,
    /// It never starts again.
    pub gone: bool,
    /// `follower`, `candidate`, `leader`, or nothing.
    pub role: &'static str,
    /// Its term.
    pub term: u64,
    /// The node that it takes for the leader; 0 = none.
    pub leader: u64,
    /// Its commit index.
    pub commit: u64,
    /// The last entry that it applied.
    pub applied: u64,
    /// The last entry that its disk holds for sure.
    pub durable: u64,
    /// The last entry of its log.
    pub last: u64,
}

impl MasterState {
    /// As it is.
    #[must_use]
    pub fn of(master: &Master) -> Self {
        let (paused, gone) = (master.pauses > 0, master.gone);
        let Some(node) = &master.node else { return Self { paused, gone, ..Self::default() } };
        let raft = node.raft();
        Self {
            up: true,
            paused,
            gone,
            role: role(node),
            term: raft.term().0,
            leader: raft.leader().map_or(0, |leader| leader.0),
            commit: raft.commit().0,
            applied: node.state().index().0,
            durable: raft.durable_index().0,
            last: raft.last_index().0,
        }
    }
}

fn role(node: &Node) -> &'static str {
    match node.raft().role() {
        Role::Leader => "leader",
        Role::PreCandidate | Role::Candidate => "candidate",
        Role::Follower => "follower",
    }
}

/// An executor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutorState {
    /// Its agent has a process.
    pub up: bool,
    /// The agent, or the whole machine, stands still.
    pub paused: bool,
    /// It lost its lease and has not registered again.
    pub fenced: bool,
    /// Its id; 0 = not registered.
    pub id: u64,
    /// Until when its lease lasts, true time in nanoseconds; 0 = it has none.
    pub lease: u64,
    /// The attempts that run.
    pub runs: Vec<String>,
}

impl ExecutorState {
    /// As it is.
    #[must_use]
    pub fn of(executor: &Executor) -> Self {
        let agent = executor.agent.as_ref();
        let lease = agent.and_then(Agent::deadline);
        Self {
            up: agent.is_some(),
            paused: executor.pauses > 0 || executor.freezes > 0,
            fenced: agent.is_some_and(Agent::fenced),
            id: agent.and_then(Agent::executor).map_or(0, |id| id.0),
            lease: lease.map_or(0, |lease| executor.clock.true_time(lease)),
            runs: executor
                .processes
                .values()
                .filter(|process| process.up)
                .map(|process| process.attempt.to_string())
                .collect(),
        }
    }
}

/// What a client asked for, from its first attempt on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Asked first, nanoseconds.
    pub from: u64,
    /// Answered or given up, nanoseconds; `None`: it still waits.
    pub to: Option<u64>,
    /// What it asks for.
    pub request: String,
    /// What came of it; empty while it waits.
    pub answer: String,
    /// The client gave up: it does not know what came of it.
    pub unknown: bool,
}

impl Operation {
    /// What a client waits for.
    #[must_use]
    pub fn of(client: &Client) -> Option<Self> {
        let busy = client.busy.as_ref()?;
        Some(Self { from: busy.call, request: answers::brief(&busy.request), ..Self::default() })
    }
}
