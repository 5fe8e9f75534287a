//! Consensus over opaque bytes.

use crate::{
    contract::{Entry, HardState},
    types::{Index, NodeId, Term},
};

/// What a node is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Follows, or waits.
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// One node's consensus state.
#[derive(Clone, Debug)]
pub struct Raft {}

#[allow(clippy::unused_self, unused_variables, clippy::must_use_candidate)]
impl Raft {
    /// Its term, vote and commit index.
    pub fn hard_state(&self) -> HardState {
        unimplemented!()
    }
    /// Its term.
    pub fn term(&self) -> Term {
        unimplemented!()
    }
    /// Its role.
    pub fn role(&self) -> Role {
        unimplemented!()
    }
    /// The leader of its term, as far as it knows.
    pub fn leader(&self) -> Option<NodeId> {
        unimplemented!()
    }
    /// Everything up to it is committed.
    pub fn commit(&self) -> Index {
        unimplemented!()
    }
    /// The first entry that is still in the log (may be last + 1).
    pub fn first_index(&self) -> Index {
        unimplemented!()
    }
    /// The last entry.
    pub fn last_index(&self) -> Index {
        unimplemented!()
    }
    /// Everything up to it is on the disk.
    pub fn durable_index(&self) -> Index {
        unimplemented!()
    }
    /// One entry, unless it was compacted.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        unimplemented!()
    }
    /// The term of an entry, or of the place just before the first.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        unimplemented!()
    }
    /// Whether the node takes part in votes.
    pub fn has_vote(&self) -> bool {
        unimplemented!()
    }
}
