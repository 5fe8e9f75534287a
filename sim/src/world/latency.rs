//! Looks at who serves, for the measures of [`Latency`](crate::latency::Latency). Changes nothing of the run.

use super::World;
use crate::{network::Endpoint, oracle::quorum::is_quorum};
use quorate_core::{raft::Role, types::Term};

impl World {
    /// The leader that serves: its first entry is committed, and it hears a majority.
    fn serving(&self) -> Option<(usize, Term)> {
        (0..self.masters.len()).find_map(|at| Some((at, self.serves(at)?)))
    }

    /// The term in which this node leads and serves.
    fn serves(&self, at: usize) -> Option<Term> {
        let raft = self.masters[at].node.as_ref()?.raft();
        let ready = raft.role() == Role::Leader
            && raft.first_of_term().is_some_and(|first| raft.commit() >= first)
            && self.has_majority(at);
        ready.then(|| raft.term())
    }

    fn runs(&self, at: usize) -> bool {
        self.masters[at].node.as_ref().is_some_and(|node| node.raft().has_vote())
            && self.masters[at].pauses == 0
    }

    /// Whether this node runs, and with it a majority that it hears and that hears it.
    fn has_majority(&self, at: usize) -> bool {
        let hears = |one: usize, other: usize| {
            self.network.open(Endpoint::Master(one as u8), Endpoint::Master(other as u8))
        };
        let with = |other: usize| other == at || (self.runs(other) && hears(at, other) && hears(other, at));
        self.runs(at) && is_quorum(self.membership(), with)
    }

    /// A fault begins or ends: `change` makes it so.
    pub(super) fn watching_the_leader<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.serving();
        let done = change(self);
        if let Some((at, term)) = before
            && self.serves(at).is_none()
        {
            self.latency.leader_lost(self.time, term);
        }
        if self.latency.is_failing_over() && !(0..self.masters.len()).any(|at| self.has_majority(at)) {
            self.latency.no_majority();
        }
        done
    }

    /// A node was stepped: maybe it serves now.
    pub(super) fn watch_new_leader(&mut self, at: usize) {
        if self.latency.is_failing_over()
            && let Some(term) = self.serves(at)
        {
            self.latency.leader_serves(self.time, term);
        }
    }
}
