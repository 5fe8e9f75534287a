//! What happened, as values: drivers make log lines and metrics of them, tests assert them.

use crate::types::{AttemptId, ExecutorId, Index, JobId, LeaseId, NodeId, Term};

/// One thing worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceEvent {
    /// The node asks whether it could win an election.
    PreVoteStarted {
        /// The term that it would start.
        term: Term,
    },
    /// The node asks for votes.
    ElectionStarted {
        /// The new term.
        term: Term,
    },
    /// The node leads.
    LeaderElected {
        /// Its term.
        term: Term,
    },
    /// The node follows.
    Following {
        /// The term.
        term: Term,
        /// Its leader, if it is known.
        leader: Option<NodeId>,
    },
    /// The leader hands over to this node, and takes no proposals meanwhile.
    TransferBegun {
        /// To whom.
        to: NodeId,
    },
    /// The other node did not lead within an election timeout: the leader goes on.
    TransferGivenUp {
        /// To whom it was to hand over.
        to: NodeId,
    },
    /// The node stopped leading.
    SteppedDown {
        /// The term that it led.
        term: Term,
        /// Why.
        reason: StepDown,
    },
    /// Who takes part has changed.
    MembershipChanged {
        /// The entry that changed it.
        index: Index,
        /// Who takes part from there on, as operators read it.
        membership: String,
    },
    /// The node takes no part in votes.
    NoVote {
        /// What an operator has to know.
        message: String,
    },
    /// The node took its vote up: the cluster began.
    Bootstrapped,
    /// A snapshot of a peer replaced the state.
    SnapshotInstalled {
        /// Its last entry.
        index: Index,
    },
    /// The log was shortened.
    Compacted {
        /// The last entry that is gone.
        index: Index,
    },
    /// An executor registered.
    ExecutorRegistered {
        /// Its id.
        executor: ExecutorId,
    },
    /// An executor's lease ran out, or it left.
    ExecutorGone {
        /// Its id.
        executor: ExecutorId,
        /// It missed its lease.
        lost: bool,
    },
    /// A lease ran out by this leader's clock; the proposal is on its way.
    LeaseMissed {
        /// The lease.
        lease: LeaseId,
    },
    /// A task was given to an executor.
    TaskPlaced {
        /// The new attempt.
        attempt: AttemptId,
        /// Where it is to run.
        executor: ExecutorId,
    },
    /// A task's executor was lost, and the task will run elsewhere.
    TaskMoved {
        /// The attempt that was lost.
        attempt: AttemptId,
        /// The executor that was lost.
        executor: ExecutorId,
    },
    /// An attempt came online.
    TaskOnline {
        /// The attempt.
        attempt: AttemptId,
    },
    /// An attempt ended, and its end was recorded.
    TaskEnded {
        /// The attempt.
        attempt: AttemptId,
        /// It finished.
        finished: bool,
    },
    /// A job is new.
    JobSubmitted {
        /// Its id.
        job: JobId,
    },
    /// A job ended, and will not change any more.
    JobEnded {
        /// Its id.
        job: JobId,
        /// Its last state.
        state: quorate_proto::v1::JobState,
    },
}

/// Why a leader stopped leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepDown {
    /// A higher term was seen.
    HigherTerm,
    /// No quorum answered within an election timeout.
    NoQuorum,
    /// Its disk did not finish a write in time.
    DiskStall,
    /// It lost its vote.
    NoVote,
    /// It votes no more: it was removed, or is a learner.
    Removed,
}
