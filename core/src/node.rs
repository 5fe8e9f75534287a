//! Puts the parts together; holds no rule of its own.

use crate::{
    contract::{Config, Input, Output, Reason, Recovered},
    raft::Raft,
    state::State,
    types::{Now, Time},
};

/// One master.
#[derive(Clone, Debug)]
pub struct Node {}

#[allow(clippy::unused_self, unused_variables, clippy::must_use_candidate, clippy::needless_pass_by_value)]
impl Node {
    /// A node as it comes up. `config` must be valid.
    pub fn new(config: Config, recovered: Recovered, seed: u64, now: Now) -> Self {
        unimplemented!()
    }

    /// Takes one input. Drain [`poll_output`](Self::poll_output) before the next.
    pub fn step(&mut self, now: Now, input: Input) {
        unimplemented!()
    }

    /// The next output, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        unimplemented!()
    }

    /// When to step with `Input::Deadline`, and why. Ask again after each step.
    pub fn next_deadline(&self) -> Option<(Time, Reason)> {
        unimplemented!()
    }

    /// Its consensus state.
    pub fn raft(&self) -> &Raft {
        unimplemented!()
    }

    /// Its replicated state, as of the last applied entry.
    pub fn state(&self) -> &State {
        unimplemented!()
    }

    /// What is wrong; empty = healthy.
    pub fn alarms(&self) -> Vec<String> {
        unimplemented!()
    }

    /// What the node knows of itself.
    pub fn status(&self) -> quorate_proto::v1::StatusReply {
        unimplemented!()
    }
}
