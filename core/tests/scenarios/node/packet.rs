//! What nodes say, and what one of them has to do.

use crate::{disk::Snapshot, text};
use bytes::Bytes;
use quorate_core::{
    contract::{Entry, HardState, LogPosition, Write},
    raft::{Role, message::Message},
    types::{NodeId, Term, WriteId},
};

/// A message between two nodes.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) message: Message,
}

/// What is on its way.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Peer(Envelope),
    /// A proposal for the leader.
    Forward {
        from: NodeId,
        to: NodeId,
        data: Bytes,
    },
    /// A leader's own write is on its disk.
    Stored {
        to: NodeId,
        io: WriteId,
        last: LogPosition,
    },
    /// Entries were applied.
    Applied {
        to: NodeId,
        entries: Vec<Entry>,
    },
}

impl Packet {
    pub(crate) const fn to(&self) -> NodeId {
        match self {
            Self::Peer(Envelope { to, .. })
            | Self::Forward { to, .. }
            | Self::Stored { to, .. }
            | Self::Applied { to, .. } => *to,
        }
    }

    /// Whether it stays in its node, so that no network can lose it.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self, Self::Stored { .. } | Self::Applied { .. })
    }

    /// Its type's name.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Peer(envelope) => text::message_type(&envelope.message),
            Self::Forward { .. } => "MsgProp",
            Self::Stored { .. } => "MsgStorageAppendResp",
            Self::Applied { .. } => "MsgStorageApplyResp",
        }
    }
}

/// What a node has to do: to write, to apply, to send.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) must_sync: bool,
    pub(crate) soft: Option<(Option<NodeId>, Role)>,
    pub(crate) hard: Option<HardState>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) write: Option<Write>,
    pub(crate) apply: Vec<Entry>,
    pub(crate) messages: Vec<Packet>,
}

impl Ready {
    /// Entries to write.
    pub(crate) fn entries(&self) -> &[Entry] {
        self.write.as_ref().map_or(&[], |write| &write.entries)
    }

    /// Whether there is nothing worth a line.
    pub(crate) fn is_empty(&self) -> bool {
        let written = !self.entries().is_empty() || self.snapshot.is_some() || self.hard.is_some();
        !written && self.soft.is_none() && self.apply.is_empty() && self.messages.is_empty()
    }
}
