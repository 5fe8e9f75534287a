//! A node's disk, and its snapshots.

use bytes::Bytes;
use quorate_core::{
    contract::{Entry, LogPosition, Write},
    raft::membership::{Membership, MembershipError},
    types::{Index, NodeId, Term},
};
use std::collections::BTreeSet;

/// The log on the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    start: LogPosition,
    entries: Vec<Entry>,
}

impl Disk {
    /// An empty log behind a place.
    pub(crate) const fn new(start: LogPosition) -> Self {
        Self { start, entries: Vec::new() }
    }

    /// The place just before the first entry.
    pub(crate) const fn start(&self) -> LogPosition {
        self.start
    }

    /// All entries.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The last entry's index; that of the start, if there is none.
    pub(crate) fn last(&self) -> Index {
        self.entries.last().map_or(self.start.index, |entry| entry.index)
    }

    /// Carries a write out.
    pub(crate) fn write(&mut self, write: &Write) {
        if let Some(start) = write.start {
            self.start_at(start);
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
    }

    /// The log begins behind a place from now on.
    pub(crate) fn start_at(&mut self, start: LogPosition) {
        if start.index <= self.start.index {
            return;
        }
        let held = self.entries.iter().any(|entry| entry.position() == start);
        self.entries.retain(|entry| held && entry.index > start.index);
        self.start = start;
    }
}

/// A state and its place: the texts of all entries, one behind the other, and who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) at: LogPosition,
    pub(crate) membership: Membership,
    pub(crate) text: String,
}

impl Snapshot {
    /// As bytes, for a follower.
    pub(crate) fn encode(&self) -> Bytes {
        let membership = &self.membership;
        let parts =
            [membership.voters(), membership.outgoing(), membership.learners(), membership.learners_next()];
        let lists: Vec<String> = parts.iter().map(|part| list(part, ",")).collect();
        let leaves = if membership.leaves_itself() { "leaves" } else { "" };
        format!("{};{leaves};{}", lists.join(";"), self.text).into()
    }

    /// The other way. `None`: this suite has not made it.
    pub(crate) fn decode(at: LogPosition, bytes: &Bytes) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let fields: Vec<&str> = text.splitn(6, ';').collect();
        let [voters, outgoing, learners, learners_next, leaves, text] = fields[..] else { return None };
        let part = |list: &str| -> Option<BTreeSet<NodeId>> {
            list.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().ok().map(NodeId)).collect()
        };
        let parts = [part(voters)?, part(outgoing)?, part(learners)?, part(learners_next)?];
        let membership = members(parts, leaves == "leaves").ok()?;
        Some(Self { at, membership, text: text.to_owned() })
    }

    /// The state after an entry.
    pub(crate) fn followed_by(&self, term: Term, index: Index, membership: &Membership, text: &str) -> Self {
        let at = LogPosition { term, index };
        Self { at, membership: membership.clone(), text: self.text.clone() + text }
    }
}

/// A membership of parts; of nobody, if there are no voters at all.
pub(crate) fn members(parts: [BTreeSet<NodeId>; 4], leaves: bool) -> Result<Membership, MembershipError> {
    if parts.iter().all(BTreeSet::is_empty) {
        return Ok(Membership::default());
    }
    Membership::from_parts(parts, leaves)
}

/// Ids with something between them.
pub(crate) fn list(nodes: &BTreeSet<NodeId>, between: &str) -> String {
    let ids: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    ids.join(between)
}
