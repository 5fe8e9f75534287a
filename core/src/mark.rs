//! Marks: places that a good simulation must reach. Each is named once, here; a place that no seed reached is a gap of
//! the simulator, and `cargo sim marks` lists it.
//!
//! They count only with the feature `marks`, which no shipped build has: without it, [`hit`] is nothing at all.

/// Declares the marks: a name, and in words what was reached.
macro_rules! marks {
    ($($name:ident = $text:literal,)*) => {
        /// A place that a good simulation must reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the text that is printed says it")]
        pub enum Mark { $($name,)* }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What was reached.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

marks! {
    ElectionPreVote = "raft: a node asks whether it could win",
    ElectionWon = "raft: a node wins an election",
    StartBehindSnapshot = "raft: a node starts behind a snapshot that is ahead of its log",
    StartInSnapshotTerm = "raft: a node starts in the term of a snapshot that is ahead of its own",
    GapForgiven = "raft: a node did not run for longer than a heartbeat",
    GapForgivenLeader = "raft: a leader did not run for longer than a heartbeat",
    StalePreVote = "raft: a pre-vote of an older term is refused",
    StaleVote = "raft: a candidate of an older term is refused",
    StaleAppend = "raft: an append of a deposed leader is refused",
    StaleHeartbeat = "raft: a heartbeat of a deposed leader is answered with the newer term",
    StaleAnswer = "raft: an answer of an older term is passed over",
    JointEntered = "members: a joint configuration is entered",
    LearnerForgets = "raft: a node without a vote hears its leader no more",
    CampaignAvoided = "raft: a node that is not to lead does not stand",
    CampaignLastResort = "raft: a node that is not to lead stands, because nobody else does",
    Flapping = "raft: a node that led several times lately waits longer",
    PreferredLeads = "raft: a leader hands over to a voter of higher priority",
    PreferredWaits = "raft: a leader does not hand over so soon again",
    TransferOver = "node: a transfer is asked for that was made already",
    TransferBegins = "raft: a leader hands over",
    TransferGivenUp = "raft: a transfer of leadership is given up",
    TransferTaken = "raft: a node stands because its leader wants it to lead",
    TransferRefused = "raft: a node is told to lead by who does not lead it, or when it may not stand",
    ChangeUnhealthy = "raft: a change of the membership is refused that would leave too few who answer",
    ChangeTooSoon = "node: a leader that was just elected does not know yet whether a change can be made",
    ChangeAskedAgain = "node: a change of the members is asked for that was answered",
    ChangeTooEarly = "raft: a learner is to vote that lacks much of the log",
    ProgressOfAnother = "raft: the directory of a peer is another one from now on",
    ChangeWaits = "raft: a change of the membership waits for the one before",
    MembershipConfirmed = "raft: a majority of the new members knows that they are",
    DeposedRemoved = "raft: a leader that votes no more steps down",
    CommitByVote = "raft: a candidate learns from a voter what is committed",
    ElectionUnapplied = "raft: a node that has not carried out all that is committed waits",
    ElectionStalled = "raft: a node whose disk stalls does not stand for election",
    PreVoteRepeated = "raft: a pre-vote that nobody decided is asked again",
    ElectionUndecided = "raft: a candidacy ends without a winner",
    PreVoteRefusedHeard = "raft: a pre-vote is refused because a leader was heard lately",
    PreVoteRefusedLeader = "raft: a leader refuses a pre-vote",
    PreVoteRefusedLog = "raft: a pre-vote is refused because the log is behind",
    PreVoteAnswerLate = "raft: an answer to a pre-vote comes when it is decided",
    VoteRefusedTaken = "raft: a vote is refused because another has it",
    VoteRefusedRival = "raft: two candidates meet in one term",
    VoteRefusedLog = "raft: a vote is refused because the log is behind",
    VoteRepeated = "raft: a vote is given again to the same candidate",
    VoteAnswerLate = "raft: an answer to a candidacy comes when it is decided",
    ElectionLost = "raft: a candidacy is lost to refusals",
    DeposedHigherTerm = "raft: a leader steps down because of a higher term",
    DeposedUncommitted = "raft: a leader steps down while proposals wait to be committed",
    DeposedReading = "raft: a leader steps down while reads wait to be confirmed",
    CandidateYields = "raft: a candidate hears that another has won its term",
    ElectionHastened = "raft: an election begins sooner because the connection to the leader was reset",
    AppendBehindCommit = "raft: an append holds nothing that is not committed already",
    AppendAcrossCommit = "raft: an append begins before what is committed and ends behind it",
    AppendRefusedShort = "raft: an append is refused because entries before it are missing",
    AppendRefusedTerm = "raft: an append is refused because the entry before it is of another term",
    AppendRepeated = "raft: an append holds an entry that is there already",
    AppendCuts = "raft: an append cuts entries of a deposed leader",
    AppendCutsDurable = "raft: an append cuts entries that were durable",
    AppendCutsUnwritten = "raft: an append cuts entries whose write is on its way",
    HeartbeatVouchesNothing = "raft: a follower vouches for nothing before its term is durable",
    CommitHeldBack = "raft: a follower follows a commit index only as far as its log is verified",
    DeposedStall = "raft: a leader steps down because its disk stalls",
    DeposedNoQuorum = "raft: a leader steps down because no majority answers",
    ProbeRepeated = "raft: a probe that nobody answered is sent again",
    AppendsLost = "raft: appends that nobody acknowledged are sent again",
    InflightFull = "raft: an append waits because too much is on its way",
    ProbeEmpty = "raft: a follower that does not answer is probed with empty hands",
    AppendSplit = "raft: what a follower lacks is more than one append takes",
    RefusalStale = "raft: a refusal of an append that is long settled is passed over",
    RefusalSkips = "raft: a refused append goes back by more than one entry",
    HeartbeatAcknowledges = "raft: a heartbeat's answer acknowledges what a lost answer did not",
    FollowerForgot = "raft: a follower that restarted in the term is probed again",
    SnapshotNeeded = "raft: a follower lacks entries that are gone, and gets a snapshot",
    ChunkThrottled = "raft: a chunk of a snapshot waits because others left just before",
    SnapshotResumed = "raft: a chunk of a snapshot that nobody answered is sent again",
    ChunkNotNeeded = "raft: a chunk of a snapshot comes that is not needed any more",
    ChunkOfAnother = "raft: a snapshot takes the place of another on its way in",
    ChunkRepeated = "raft: a chunk comes again while it is being stored",
    ChunkOutOfOrder = "raft: a chunk comes that is not the one wanted next",
    ChunkWithoutBegin = "raft: a chunk comes of a snapshot whose begin never came",
    ChunkRefused = "raft: a chunk could not be stored, for want of room",
    ChunkStoredLate = "raft: a chunk is stored that nobody wants any more",
    ChunkFollows = "raft: a snapshot comes in more than one chunk",
    SnapshotLoadedLate = "raft: a snapshot is loaded that nobody wants any more",
    SnapshotDamaged = "raft: a snapshot that came is not whole",
    SnapshotOvertakenLoading = "raft: entries overtake a snapshot while it is loaded",
    SnapshotUnreadable = "raft: the newest snapshot cannot be read, and another is written",
    SnapshotKeepsLog = "raft: a snapshot is installed and the log behind it stays",
    SnapshotDropsLog = "raft: a snapshot is installed and the log begins anew behind it",
    SnapshotAnswerOld = "raft: an answer speaks of another snapshot than the one on its way",
    SnapshotAgain = "raft: a follower wants a part of a snapshot again",
    SnapshotCatchesUp = "raft: a follower holds more of a snapshot than an old answer made its leader believe",
    SnapshotGone = "raft: a snapshot is gone while it is being sent",
    ChunkReadLate = "raft: a chunk is read for a follower that needs it no more",
    SnapshotOvertaken = "raft: a node's own snapshot is saved when it has installed a newer one",
    LeasePromised = "raft: a follower promises its leader to vote for nobody",
    LeaseKept = "raft: a vote is not given because of that promise",
    LeaseRead = "raft: a leader reads by its lease",
    LeaseOver = "raft: a leader's lease is over when it reads",
    ReadEarly = "raft: a read comes before the term's first entry is committed",
    ReadShares = "raft: a read shares the round of another",
    ReadWaitsForRound = "raft: a read waits behind a round that is on its way",
    CompactTooSoon = "raft: the log is not cut because its own write is not done",
    WritesOverlap = "raft: a write begins before the one before it is done",
    PromiseOutdated = "raft: a promise is dropped because its term passed while it was written",
    OwnVoteLate = "raft: a candidacy is over before its own vote is durable",
    CommitNotByCount = "raft: a majority holds an entry of an old term, and it is not committed by count",
    CommitOldTerm = "raft: an entry of an old term is committed with one of the own term",
    CommitWithoutLeader = "raft: a majority without the leader's own disk commits",
    LevelRaised = "level: the feature level rises",
    LevelLowered = "level: the feature level is lowered",
    LevelWaits = "level: the feature level waits for a member's program",
    LevelLogCut = "level: the log is cut up to where the feature level was lowered",
    LevelTooOld = "level: a program is too old for its cluster",
    IdentityBegins = "identity: all members are empty, and the cluster begins",
    IdentityReturns = "identity: a majority has confirmed that a node lost nothing",
    IdentityOtherStorage = "identity: a peer with another directory is told so",
    IdentityEmptyPeer = "identity: a node that knows the voters hears one that is still empty",
    IdentityLate = "identity: an empty directory learns that the cluster counts on it",
    IdentityLost = "identity: a node learns that its directory was lost",
    IdentityWentBack = "identity: a directory that went back in time is found out",
    IdentityDeniedAgain = "identity: a denial comes to a node that is denied already",
    IdentityDenied = "identity: a peer denies a node its part",
    IdentityUnknownHeard = "identity: a node hears one that it does not know",
    IdentityUnknownAsked = "identity: a node that was away asks one that it does not know",
    IdentityMustJoin = "identity: an empty directory is of a cluster whose members have changed",
    IdentityCorrects = "identity: a node tells a peer that denies it of newer members",
    IdentityDoesNotCount = "identity: what a directory says counts for nothing, because it came in place of another",
    IdentityGivenUp = "identity: a directory that was given up speaks",
    IdentityJoinerEmpty = "identity: an empty directory that joins speaks to one that founds",
    IdentityTold = "identity: a peer tells who the members are",
    IdentityToldNewer = "identity: a node was told of newer members than it carries out",
    IdentityOlder = "identity: a directory carries out who took part before it did",
    IdentityWaits = "identity: a directory that joins is not known yet",
    IdentityDeaf = "identity: a node that is not confirmed yet passes over a message",
    ClientLeft = "node: a client leaves while its request waits",
    ErrandNotTaken = "node: too much is uncommitted for an errand of the leader, which is put off",
    ProposalNotTaken = "node: too much is uncommitted for a client's proposal",
    RequestTooLarge = "node: a request is over its size",
    RoomRefused = "node: what takes room is not proposed while a member has none",
    RoomAnswered = "node: a request that was carried out is answered again while there is no room for it",
    RoomAgain = "node: there is room again before a change is refused",
    ReadAlarmed = "node: a stale read is refused by a node that takes no part",
    ForwardedTwice = "node: a forwarded request meets a node that does not lead",
    LeaderUnknown = "node: a request comes while no leader is known",
    ForwardAnswerLate = "node: a forwarded request is answered when nobody waits for it",
    ForwardAnswerOfFallen = "node: a forwarded request is answered after its leader fell",
    ForwardLost = "node: the connection to a leader is lost while it is to answer forwarded requests",
    ForwardOutlived = "node: another node leads while forwarded requests wait",
    HeartbeatUnknown = "node: a keep-alive comes from an executor that is gone",
    HeartbeatRemoving = "node: a keep-alive comes from an executor that is being removed",
    HeartbeatBehindExpiry = "node: a keep-alive waits behind the proposal that ends its lease",
    SessionEnded = "node: a session is renewed that has ended",
    SessionBehindExpiry = "node: a session is renewed behind the proposal that ends it",
    DeposedWithProposals = "node: a leader is deposed while clients wait for proposals",
    DeposedWithReads = "node: a leader is deposed while clients wait for reads",
    DeposedWithConfirmed = "node: a leader is deposed while confirmed reads wait for the state",
    RequestTimedOut = "node: a request is answered that nobody answered in time",
    ApplyGoesOn = "node: more is committed than one step applies",
    CheckpointCompared = "node: a leader compares a member's state with the others'",
    SaveWaits = "node: a snapshot is due while one is being saved",
    SaveForBytes = "node: a snapshot is due because few entries are large",
    SaveInTheWay = "node: a snapshot is not taken because an older one is being sent",
    LogHeld = "node: a leader keeps its log for a follower that lacks it",
    LogOverBound = "node: a log is cut though a follower lacks it, because it is over its bound",
    InstalledWhileSaving = "node: a snapshot is installed while one is being saved",
    ClockCatchesUp = "lead: cluster time that was applied is ahead of the new leader's",
    LeasesInherited = "lead: a new leader gives every lease its full time",
    ExpiryWaits = "lead: a lease runs out while the expiry of others is on its way",
    ExpirySeveral = "lead: several leases run out at once",
    CancelOverdue = "lead: a cancel has taken too long and is forced",
    PlaceProposed = "lead: a task may run because time has passed",
    ReportWaits = "lead: reports wait behind those of the same executor that are on their way",
    RenewedLate = "lead: a keep-alive that is overtaken shortens no lease",
    LeasesForgiven = "lead: the time that a leader did not run is given back to leases",
    CallsFull = "lead: a call is left to heartbeats because too many wait",
    CallOutdated = "lead: a call is not made because its attempt is not the task's any more",
    CallOfEarlierReign = "lead: a call of an earlier reign ends",
    CallUnanswered = "lead: a call ends without an answer",
    CallRefusedForGood = "lead: an executor refuses an attempt for good",
    CallRefused = "lead: an executor refuses a call and decides nothing by it",
    RequestOfNoSession = "session: a change comes of a session that is gone",
    RequestAnswered = "session: a repeated request is answered from the table",
    RequestForgotten = "session: a request comes whose answer is forgotten",
    RepliesOverLimit = "session: an answer is forgotten because too many are kept",
    SessionGone = "session: a session is closed that is gone already",
    LeaseGone = "lease: the end of a lease comes that is gone already",
    SessionExpired = "session: a session ends with its lease",
    RegisterReplaces = "fleet: an executor registers anew and ends its former registration",
    RegisterAfterExpiry = "fleet: an executor registers anew after its former registration ran out",
    Deregistered = "fleet: an executor leaves by itself",
    RemovedTwice = "fleet: an executor is removed that is being removed",
    ExecutorLostHolding = "fleet: an executor is lost while it holds tasks",
    ExecutorLeftHolding = "fleet: an executor leaves while it holds tasks",
    ExecutorUnknown = "fleet: a change names an executor that is gone",
    DeleteNothing = "key: a key is deleted that is not there",
    CompareFailed = "key: a compare-and-set finds something else",
    CompareRevision = "key: a compare-and-set succeeds by a revision",
    PageFull = "query: a page is full and another follows",
    RecordsRead = "query: Quorate's own records are read",
    JobExists = "job: a job is submitted whose id is taken",
    CancelMeetsFinished = "job: a cancel meets a finished job",
    CancelMeetsFailed = "job: a cancel meets a failed job",
    CancelLater = "job: a second cancel would end later than the first",
    CancelSooner = "job: a second cancel shortens the first",
    ForceLate = "job: a cancel is to be forced that is over or has more time",
    DeleteTooSoon = "job: a job is to be deleted that has not ended",
    JobFailsWhole = "job: a job fails while other tasks of it run",
    CancelWhole = "job: a job is canceled whose other tasks had finished",
    JobUnknown = "job: a job is asked for that is not there",
    JobIdTaken = "job: a made id is taken and the next is tried",
    BackoffWaited = "task: a task that failed has waited and runs again",
    MovedPlaced = "task: a task that moved runs elsewhere",
    EndedUnseen = "task: an attempt has ended before its executor could say that it runs",
    CancelMeetsSuccess = "task: an attempt ends well while its job is being canceled",
    GivenBack = "task: an executor gives a task back",
    NotStarted = "task: an attempt could not be started",
    EndedBySignal = "task: an attempt is ended by a signal",
    ServiceEndedWell = "task: a service's command ends well and is started again",
    RefusedLate = "task: a refusal comes of an attempt that is settled",
    RefusedMoves = "task: a task moves because its executor refused it",
    GoneCanceling = "task: an executor is gone while it stops a task",
    MovedAfterLease = "task: a task moves after lease and grace",
    CanceledHeld = "task: a task is ended while its executor still holds it",
    BackoffReset = "task: a task that ran for long begins with the first wait again",
    FailedForGood = "task: a task has failed as often as it may",
    BackoffLongest = "task: a task waits as long as it may after a failure",
    ReportOfGone = "task: reports come of an executor that is gone",
    ReportOutdated = "task: a report is settled when its entry is applied",
    ReportNotHeld = "task: an executor reports an attempt that it holds no more",
    ReportOldAttempt = "task: an executor reports an older attempt of a task that it holds anew",
    PlacedBack = "task: a task goes back to the executor that gave it back",
    SmallPassesLarge = "task: a small task passes a large one that there is no room for",
    SpecificationWaits = "task: a specification waits for the next heartbeat",
    PointAppendOne = "point: an append carries one entry",
    PointAppendNoCommit = "point: an append does not tell what is committed",
    PointAppendPassedOver = "point: a follower passes over an append that it could take",
    PointRefusalFromStart = "point: a follower that refuses an append asks for all of the log",
    PointHeartbeatSkipped = "point: a leader leaves a round of heartbeats out",
    PointHeartbeatVouchesNothing = "point: the answer to a heartbeat vouches for nothing",
    PointProgressForgotten = "point: a leader forgets what it has sent, and probes again",
    PointLeaderStepsDown = "point: a leader steps down for no reason",
    PointVoteRefused = "point: a vote is refused that could be given",
    PointPreVoteRefused = "point: a pre-vote is refused that could be given",
    PointElectionEarly = "point: an election timer is as short as may be",
    PointReadAlone = "point: a read does not share the round of another",
    PointSnapshotAnew = "point: a follower wants a snapshot from its begin again",
    PointSnapshotAtOnce = "point: the state is written aside though that is not due",
    PointApplyOne = "point: a step applies one entry of several",
    PointProposalRefused = "point: a leader takes a proposal for too much",
    PointRequestRefused = "point: a request is answered with unavailable at once",
    PointCallUnmade = "point: a call is left to heartbeats",
    PointHashWrong = "point: a node takes another hash of its state than it has",
    InvalidBody = "command: a request without a body is refused",
    InvalidSpecification = "command: a specification is refused",
    InvalidSession = "command: a change without a session is refused",
    InvalidLowestOpen = "command: a change that waits for a later one is refused",
    InvalidNumber = "command: a number out of its range is refused",
    InvalidKey = "command: a key over its size is refused",
    InvalidOwner = "command: a change of Quorate's own records is refused",
    InvalidValue = "command: a value over its size is refused",
    InvalidJobId = "command: a job id with a wrong letter or size is refused",
    AgentEndsFenced = "agent: an agent that ends loses its lease before its work has stopped",
    AgentEndsUnregistered = "agent: an agent ends before it is registered",
    AgentAnswerLate = "agent: an answer comes to a question that was asked again",
    AgentAsksAgain = "agent: an agent asks again because it got no answer",
    AgentRefused = "agent: a registration is refused and begins anew",
    AgentRegisteredLate = "agent: a registration took longer than its lease",
    AgentLeavesUnheard = "agent: an agent leaves though the cluster has not heard how its tasks ended",
    AgentGivesUp = "agent: an agent ends though the cluster did not let it go",
    AgentOutAlready = "agent: an agent that leaves is out already",
    HeartbeatsFull = "agent: a heartbeat waits because too many are not answered",
    AcknowledgedLate = "agent: an overtaken acknowledgement renews nothing",
    FencedByTime = "agent: a lease runs out and all work is killed",
    FencedByRefusal = "agent: the cluster refuses a heartbeat and all work is killed",
    FencedWorking = "agent: a lease is lost while processes run",
    CallToFormer = "agent: a call for a former registration is refused for good",
    CallWithoutLease = "agent: a call comes while there is no lease",
    CallToOther = "agent: a call for another incarnation is refused",
    CallOldTerm = "agent: a call of a deposed leader is refused",
    CallOldEpoch = "agent: a call for a replaced attempt is refused for good",
    CallUndesired = "agent: a call for an attempt that is not desired any more is refused for good",
    CallKnown = "agent: a call comes for an attempt that a desired set has brought already",
    CallWhileLeaving = "agent: a call comes to an agent that ends",
    CallNoRoom = "agent: a call comes for an attempt that there is no room for",
    SetOld = "agent: a desired set that is older than one seen before is ignored",
    SetOlderThanCall = "agent: a desired set is older than the call that brought an attempt",
    SetSuperseded = "agent: a desired set names an older attempt than is known",
    SetNoRoom = "agent: a desired attempt waits for room",
    SetWhileLeaving = "agent: a desired set brings an attempt to an agent that ends",
    StoppedUnknown = "agent: an attempt is stopped before it was known",
    MessageCut = "agent: a message is cut to its limit",
    OlderKilled = "agent: a newer attempt kills an older one that runs",
    OlderUnparked = "agent: a newer attempt takes the place of one that was parked",
    StartWaits = "agent: an attempt waits until an older one has ended",
    StartWithoutLease = "agent: nothing starts before the first acknowledgement of a late registration",
    StoppedParked = "agent: an attempt is stopped before it is started",
    StoppedStarting = "agent: an attempt is stopped while it is being started",
    ParkedTooLong = "agent: a parked attempt that nobody confirmed is forgotten",
    StopTooLong = "agent: an attempt does not end in time and is killed",
    StartedLate = "agent: a process runs that is being ended already",
    EndedUnnamed = "agent: an attempt that is not desired any more has ended",
}

/// How often each mark was hit, in the order of [`Mark::ALL`].
#[cfg(feature = "marks")]
pub type Counts = [u64; Mark::ALL.len()];

#[cfg(feature = "marks")]
mod counting {
    use super::{Counts, Mark};
    use core::cell::Cell;

    // A run of the simulator stays on one thread, so that its counts are its own.
    thread_local! {
        static COUNTS: [Cell<u64>; Mark::ALL.len()] = const { [const { Cell::new(0) }; Mark::ALL.len()] };
    }

    /// The place of a mark was reached.
    #[inline]
    pub fn hit(mark: Mark) {
        COUNTS.with(|counts| {
            let count = &counts[mark as usize];
            count.set(count.get() + 1);
        });
    }

    /// What was hit on this thread since this was last called.
    #[must_use]
    pub fn take() -> Counts {
        COUNTS.with(|counts| core::array::from_fn(|place| counts[place].take()))
    }
}

#[cfg(feature = "marks")]
pub use counting::{hit, take};

/// The place of a mark was reached: nothing, without the feature `marks`.
#[cfg(not(feature = "marks"))]
#[inline(always)]
pub const fn hit(_: Mark) {}

/// The place of a mark was reached, if the condition holds.
#[inline(always)]
pub fn hit_if(condition: bool, mark: Mark) {
    if condition {
        hit(mark);
    }
}

/// The place of a mark was reached, if the condition holds, which takes work to find out: none without the feature `marks`.
#[inline(always)]
pub fn hit_when(condition: impl FnOnce() -> bool, mark: Mark) {
    #[cfg(feature = "marks")]
    hit_if(condition(), mark);
    #[cfg(not(feature = "marks"))]
    let _ = (condition, mark);
}
