//! What Raft nodes say to each other. [`wire`](super::wire) makes envelopes of it.

use super::agreement::Judged;
use crate::{
    contract::{Entry, LogPosition},
    state::StateHash,
    types::{Index, Term, Time},
};
use bytes::Bytes;

/// One message, without its sender and term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Would you vote for me? Changes nothing at the receiver (Raft dissertation, section 9.6).
    PreVote {
        /// The term that the candidate would start.
        next_term: Term,
        /// The end of its log.
        last: LogPosition,
    },
    /// Answer to `PreVote`.
    PreVoteReply {
        /// As asked.
        next_term: Term,
        /// Whether it would.
        granted: bool,
        /// What the sender knows to be committed.
        commit: LogPosition,
    },
    /// Vote for me (Raft, section 5.2).
    Vote {
        /// The end of the candidate's log.
        last: LogPosition,
        /// The leader itself wants it to lead: nobody waits until that one is silent.
        handed: bool,
    },
    /// The leader wants the receiver to lead: stand at once (Raft dissertation, section 3.10).
    TimeoutNow,
    /// Answer to `Vote`. A granted one leaves after the vote is durable.
    VoteReply {
        /// Whether it did.
        granted: bool,
        /// What the sender knows to be committed.
        commit: LogPosition,
    },
    /// Entries behind a place (Raft, section 5.3).
    Append {
        /// The place just before the first entry.
        previous: LogPosition,
        /// Without gaps, possibly none.
        entries: Vec<Entry>,
        /// The leader's commit index.
        commit: Index,
    },
    /// Everything up to `index` is durable at the sender, and equal to the leader's log.
    Appended {
        /// The last entry of the append.
        index: Index,
    },
    /// The sender's log does not hold the place before the entries.
    AppendRefused {
        /// The index of that place.
        previous: Index,
        /// Where the logs may still agree.
        hint: LogPosition,
    },
    /// The leader is there.
    Heartbeat {
        /// At most what the receiver has acknowledged.
        commit: Index,
        /// To be confirmed (`read`).
        position: u64,
        /// The leader's state at an agreed index: what was the receiver's?
        checkpoint: Option<(Index, StateHash)>,
        /// What is right at an index.
        judged: Option<Judged>,
        /// The sender's clock. Who sends it back has promised to vote for nobody for the shortest election timeout.
        lease: Option<Time>,
    },
    /// Answer to `Heartbeat`: at this moment the sender has seen no higher term.
    HeartbeatReply {
        /// As in the heartbeat.
        position: u64,
        /// Durable, and equal to the leader's log.
        verified: Index,
        /// The sender's state at the index that it was asked for.
        state: Option<(Index, StateHash)>,
        /// As in the heartbeat: the sender gives its promise.
        lease: Option<Time>,
    },
    /// One chunk of a snapshot (Raft, section 7).
    SnapshotChunk {
        /// The last entry that the snapshot covers.
        at: LogPosition,
        /// From 0 on.
        number: u64,
        /// The bytes.
        data: Bytes,
        /// Whether it is the last.
        last: bool,
    },
    /// Answer to `SnapshotChunk`.
    SnapshotReply {
        /// The snapshot's last entry.
        index: Index,
        /// The chunk that is wanted next.
        next: u64,
        /// The sender's log begins behind the snapshot, durably.
        installed: bool,
    },
}

impl Message {
    /// Whether it grants or acknowledges something, or refuses to.
    #[must_use]
    pub const fn is_answer(&self) -> bool {
        match self {
            Self::PreVoteReply { .. }
            | Self::VoteReply { .. }
            | Self::Appended { .. }
            | Self::AppendRefused { .. }
            | Self::HeartbeatReply { .. }
            | Self::SnapshotReply { .. } => true,
            Self::TimeoutNow
            | Self::PreVote { .. }
            | Self::Vote { .. }
            | Self::Append { .. }
            | Self::Heartbeat { .. }
            | Self::SnapshotChunk { .. } => false,
        }
    }
}
