//! What goes into a [`Node`](crate::Node) and what comes out of it.

pub use crate::config::{Config, ConfigError, Flow, LeaseTimes, LogBytes, MemberAddress, Timing};

use crate::{
    state::State,
    trace::TraceEvent,
    types::{CallKey, Index, JobId, NodeId, RequestKey, StorageId, Term, WriteId},
};
use bytes::Bytes;
use core::fmt;
use quorate_proto::v1 as pb;
use std::collections::BTreeMap;

/// A place in the log: an entry's term and index. (0, 0) is before the first entry.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// First, so that positions order as Raft compares logs (Raft, section 5.4.1).
    pub term: Term,
    /// The entry's index.
    pub index: Index,
}

impl fmt::Debug for LogPosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.term, self.index)
    }
}

/// One entry of the log. Raft does not look into `data`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
    /// Empty for the first entry of a term; else see [`codec`](crate::codec).
    pub data: Bytes,
}

impl Entry {
    /// Term and index.
    #[must_use]
    pub const fn position(&self) -> LogPosition {
        LogPosition { term: self.term, index: self.index }
    }
}

/// What Raft must not forget, besides its log (Raft, figure 2). `commit` is kept only to come up sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// The newest term that the node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Known to be committed. May lag behind.
    pub commit: Index,
}

/// The storage id of each member whose directory is known. Empty before the cluster began.
pub type Voters = BTreeMap<NodeId, StorageId>;

/// One write to the log on disk. Writes are carried out in the order of their ids; the parts in the order of the fields, but what
/// `entries` replaces is dropped before `hard_state` counts: a commit is never that of an entry that another takes the place of.
/// A power loss keeps all of it, nothing, or all but the last of its entries: what is in front of these is kept together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Only grows. `WriteDone` with this id says that this write and all before it are on the disk.
    pub io: WriteId,
    /// Where the log begins from now on. If it holds an entry at this place, what is up to it may be forgotten;
    /// if not, the whole log is dropped, and begins behind it.
    pub start: Option<LogPosition>,
    /// Replaces the one before. Its commit may be that of entries of this write: of those that never come, nothing counts.
    pub hard_state: Option<HardState>,
    /// Replaces the ones before.
    pub voters: Option<Voters>,
    /// Without gaps. Whatever the log holds from the first one's index on is dropped before they are added. Who vouches for one
    /// after a restart knows of what was committed when it was written.
    pub entries: Vec<Entry>,
}

/// A state and the entry up to which it holds everything.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The last entry that went into it.
    pub at: LogPosition,
    /// A handle: cloning it takes constant time.
    pub state: State,
}

/// What a data directory held when the node started. Default: an empty directory.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest one written.
    pub hard_state: HardState,
    /// The newest ones written.
    pub voters: Voters,
    /// Where the log begins: the place just before the first of `entries`.
    pub start: LogPosition,
    /// Without gaps, from `start.index + 1` on.
    pub entries: Vec<Entry>,
    /// The newest whole one.
    pub snapshot: Option<Snapshot>,
}

/// What a driver hands to [`Node::step`](crate::Node::step).
#[derive(Clone, Debug)]
pub enum Input {
    /// The time of [`next_deadline`](crate::Node::next_deadline) has come. Harmless if it has not.
    Deadline,
    /// A peer's message, decoded.
    Peer(Box<pb::Envelope>),
    /// A connection to a peer came up.
    PeerConnected(NodeId),
    /// A connection to a peer was reset: its process is likely gone. A hint, never needed.
    PeerLost(NodeId),
    /// A peer does not take this node's messages at all: another cluster, another address. An operator has to look.
    PeerRefused {
        /// The peer.
        peer: NodeId,
        /// What it said.
        message: String,
    },
    /// A client asks for something.
    Request {
        /// Comes back with the reply.
        key: RequestKey,
        /// What it asks.
        request: Box<pb::ClientRequest>,
    },
    /// The client of a request has left: its reply is no longer wanted. The request may still be applied.
    RequestGone {
        /// The request.
        key: RequestKey,
    },
    /// This write and all before it are on the disk.
    WriteDone {
        /// The write.
        io: WriteId,
    },
    /// A write or a sync failed. Final: the node stops.
    WriteFailed {
        /// For the operator.
        message: String,
    },
    /// What is on the disk is not what was written, somewhere in what is not written any more: in the log, or a snapshot,
    /// which nobody is given any more. The node holds all of it in memory: it writes its state aside anew, and lets the log
    /// begin behind that.
    DiskDamaged,
    /// The state handed out in `SaveSnapshot` is on the disk, whole.
    SnapshotSaved {
        /// As in the output.
        at: LogPosition,
    },
    /// The chunk handed out in `StoreSnapshotChunk` was taken; if it was the last, the snapshot is on the disk, whole.
    SnapshotChunkStored {
        /// As in the output.
        at: LogPosition,
        /// As in the output.
        number: u64,
        /// As in the output.
        last: bool,
    },
    /// The chunk handed out in `StoreSnapshotChunk` was not taken, nor is anything kept of those before it: there is no room, for
    /// now. The node goes on without; whoever sends that snapshot begins anew with it.
    SnapshotChunkRefused {
        /// As in the output.
        at: LogPosition,
        /// As in the output.
        number: u64,
    },
    /// A chunk asked for by `ReadSnapshotChunk`. `None`: that snapshot is not there any more.
    SnapshotChunkRead {
        /// For whom it was read.
        peer: NodeId,
        /// As in the output.
        at: LogPosition,
        /// As in the output.
        number: u64,
        /// The bytes, and whether they are the last.
        chunk: Option<(Bytes, bool)>,
    },
    /// The state asked for by `LoadSnapshot`. `None`: what was received does not decode.
    SnapshotLoaded {
        /// As in the output.
        at: LogPosition,
        /// The decoded state.
        state: Option<Box<State>>,
    },
    /// The same: what was received is of a feature level that this program does not know. The node stops.
    SnapshotTooNew {
        /// The level, or one below it.
        level: u32,
    },
    /// From now on a [fault point](crate::point) fires one in so many times; 0 = never.
    #[cfg(feature = "fault-points")]
    FaultPoint {
        /// Which.
        point: crate::point::Point,
        /// One in how many times.
        one_in: u32,
    },
    /// How a call to an executor ended. `None`: no answer; the executor may or may not have carried it out.
    CallDone {
        /// As in the output.
        key: CallKey,
        /// The executor's answer.
        reply: Option<Box<pb::ExecutorCallReply>>,
    },
}

/// Which queue a message to a peer goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Votes, heartbeats, handshakes: before everything else.
    Control,
    /// Appends and forwarded requests.
    Data,
    /// Chunks of snapshots: after everything else.
    Bulk,
}

/// What a driver takes from [`Node::poll_output`](crate::Node::poll_output), in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// To a peer. May be lost, delayed, repeated and reordered.
    Send {
        /// The peer.
        to: NodeId,
        /// Its queue.
        lane: Lane,
        /// The message.
        envelope: Box<pb::Envelope>,
    },
    /// Make durable, then say `WriteDone`.
    Write(Write),
    /// Write this state aside, sync, rename, then say `SnapshotSaved`. Off the loop.
    SaveSnapshot(Box<Snapshot>),
    /// Write this chunk of a peer's snapshot aside; with the last one sync and rename. Then say `SnapshotChunkStored`, or
    /// `SnapshotChunkRefused`.
    StoreSnapshotChunk {
        /// The last entry that the snapshot covers.
        at: LogPosition,
        /// From 0 on. 0 drops what was written aside before.
        number: u64,
        /// The bytes.
        data: Bytes,
        /// Whether the snapshot is whole with this one.
        last: bool,
    },
    /// Read a chunk of the snapshot on the disk, then say `SnapshotChunkRead`. Off the loop.
    ReadSnapshotChunk {
        /// For whom.
        peer: NodeId,
        /// The last entry that the snapshot covers.
        at: LogPosition,
        /// From 0 on.
        number: u64,
    },
    /// Read and decode the snapshot on the disk, then say `SnapshotLoaded`. Off the loop.
    LoadSnapshot {
        /// The last entry that the snapshot covers.
        at: LogPosition,
    },
    /// This state is of no use any more. Drop it off the loop: that takes as long as it is large.
    DropState(Box<State>),
    /// To the client of a request.
    Reply {
        /// The request.
        key: RequestKey,
        /// Its answer.
        reply: Box<pb::ClientReply>,
    },
    /// Call an executor, then say `CallDone`. May be lost.
    Call {
        /// Comes back with the answer.
        key: CallKey,
        /// `host:port`.
        address: String,
        /// What to ask.
        call: Box<pb::ExecutorCall>,
    },
    /// These jobs are not what they were. Whoever watches one reads it again.
    Changed {
        /// The state that they changed in.
        index: Index,
        /// Each once.
        jobs: Vec<JobId>,
    },
    /// Where the members are from now on; of a node that starts, as its configuration says. Whoever is not named is not
    /// connected to any more.
    Members(BTreeMap<NodeId, MemberAddress>),
    /// Something worth a line in the log.
    Trace(TraceEvent),
    /// The node cannot go on. Its driver ends the process; whatever was not answered stays so.
    Stop(StopReason),
}

/// Why a node stopped for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// What is on the disk is not known any more.
    #[error(
        "a write to the log failed ({message}): nothing after it can be trusted; replace the disk, then start again"
    )]
    WriteFailed {
        /// What the disk said.
        message: String,
    },
    /// The cluster's other members know more.
    #[error(
        "the cluster is at feature level {level}, and this program knows up to level {known}: run the version that the other masters run"
    )]
    TooOld {
        /// Of the cluster.
        level: u32,
        /// Of this program.
        known: u32,
    },
    /// A newer version wrote it.
    #[error("the entry at {index} cannot be read ({message}): run a version that knows it")]
    UnknownEntry {
        /// Its place.
        index: Index,
        /// What is not known.
        message: String,
    },
}

/// Why a node wants to be stepped at [`next_deadline`](crate::Node::next_deadline).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A follower has not heard from a leader, or a candidate tries again.
    Election,
    /// A leader's heartbeat, with all that is done at its pace.
    Heartbeat,
    /// A lease runs out, a backoff passes, a cancel is forced.
    Lead,
    /// Committed entries wait to be applied.
    Apply,
    /// A request has waited too long.
    Request,
    /// A node without a vote asks its peers again.
    Hello,
}
