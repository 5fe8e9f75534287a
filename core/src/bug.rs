//! Planted bugs: each breaks one rule on purpose, so that it can be measured whether the simulator notices.
//!
//! They are there only with the feature `planted-bugs`, which no shipped build has: without it, [`planted`] is `false`
//! at compile time, and the branches behind it are gone.

/// Declares the bugs: a name, the name it is selected by (its layer first), in words what is broken, and the rule or the
/// known defect of others that it stands for.
macro_rules! bugs {
    ($($name:ident = $key:literal, $text:literal, $reference:literal;)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the text that is printed says it")]
        pub enum Bug { $($name,)* }

        /// What a program that bugs can be planted in says of itself: every name. A test looks for it in shipped programs.
        #[cfg(feature = "planted-bugs")]
        pub static BUILT_IN: &str = concat!("planted bugs are built in:", $(" ", $key),*);

        #[cfg(feature = "planted-bugs")]
        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name it is selected by.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// The bug of this name.
            #[must_use]
            pub fn named(key: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|bug| bug.key() == key)
            }

            /// What is broken.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The rule that it breaks, or the known defect of others that it repeats.
            #[must_use]
            pub const fn reference(self) -> &'static str {
                match self { $(Self::$name => $reference,)* }
            }

            /// Where it is: the first word of its name.
            #[must_use]
            pub fn layer(self) -> &'static str {
                self.key().split('-').next().unwrap_or_default()
            }
        }
    };
}

bugs! {
    VoteNotPersisted = "raft-vote-not-persisted", "a vote is given without being written", "G1";
    VoteForgottenAtStart = "raft-vote-forgotten-at-start", "a restart forgets for whom it voted", "G1, R2";
    VotesTwice = "raft-votes-twice", "a second vote in one term", "G1";
    VoteBeforeSync = "raft-vote-before-sync", "a vote leaves before it is on the disk", "G1, DESIGN 2.1";
    NoUpToDateCheck = "raft-no-up-to-date-check", "a candidate with an older log gets votes", "G2, Raft 5.4.1";
    ElectionOneShort = "raft-election-one-short", "one vote less than a majority elects", "G1";
    CandidateBeforeSync = "raft-candidate-before-sync", "a candidate asks and counts itself before its term is on the disk", "G1";
    TermNotRaised = "raft-term-not-raised", "a candidate stays in its old term", "G1, G4";
    PreVoteRaisesTerm = "raft-pre-vote-raises-term", "a pre-vote raises the term of who is asked", "G4, R8";
    PreVoteWhileLed = "raft-pre-vote-while-led", "a pre-vote is granted although a leader was just heard", "R8, R9";
    VoteNotRepeated = "raft-vote-not-repeated", "a vote that is asked for again is refused", "R10";
    AllVotesAwaited = "raft-all-votes-awaited", "an election is decided only when all have answered", "R11";
    VotesNotRecounted = "raft-votes-not-recounted", "votes that came before what is committed was carried out are not counted again", "R11";
    NoFirstEntry = "raft-no-first-entry", "a leader adds no entry at the start of its term", "R6";
    CheckQuorumOff = "raft-check-quorum-off", "a leader that no majority answers stays", "L6, R8";
    StallIgnored = "raft-stall-ignored", "a leader whose disk hangs stays", "DESIGN 2.4";
    TimerNotRearmed = "raft-timer-not-rearmed", "after an election that was not won there is no other", "L6";
    CommitOneShort = "raft-commit-one-short", "one copy less than a majority commits", "G3";
    CommitAwaitsAll = "raft-commit-awaits-all", "an entry is committed only when all hold it", "G7";
    CommitsOldTerm = "raft-commits-old-term", "entries of older terms are committed by count (figure 8)", "G3";
    OwnCopyBeforeSync = "raft-own-copy-before-sync", "a leader counts its own copy before it is on the disk", "G3, DESIGN 2.1";
    AppendAfterSync = "raft-append-after-sync", "a leader sends an entry only when it is on its own disk", "DESIGN 2.1";
    AckBeforeSync = "raft-ack-before-sync", "an append is acknowledged before it is on the disk", "G1, R3";
    AckOfLast = "raft-ack-of-last", "a follower acknowledges all it has, not what the append covers", "G2, R13";
    PreviousNotChecked = "raft-previous-not-checked", "the entry before an append is not compared", "G2, R1";
    ConflictKept = "raft-conflict-kept", "an entry that contradicts the leader's stays", "G2";
    TailAlwaysCut = "raft-tail-always-cut", "an append cuts what is behind it, though it fits", "G2";
    CutNotWritten = "raft-cut-not-written", "what takes the place of a cut is not written again", "G1";
    StaleAppendTaken = "raft-stale-append-taken", "an append of an older term is taken", "G2, R14";
    StaleAckTaken = "raft-stale-ack-taken", "an acknowledgement of an older term counts", "G3, R13";
    StaleVoteTaken = "raft-stale-vote-taken", "a vote of an older term counts", "G1";
    HeartbeatCommits = "raft-heartbeat-commits", "a follower commits what the leader names, checked or not", "G3, R4";
    CommitPastLog = "raft-commit-past-log", "a follower commits beyond its log", "G3";
    HeartbeatVouchesUnsynced = "raft-heartbeat-vouches-unsynced", "a heartbeat's answer vouches for what is not on the disk", "G1";
    HeartbeatVouchesTerm = "raft-heartbeat-vouches-term", "a heartbeat's answer counts while its term is only in memory", "G1, G3";
    VerifiedOutlivesTerm = "raft-verified-outlives-term", "what was compared with an older leader's log is taken as compared", "G3";
    LastCommitUntold = "raft-last-commit-untold", "heartbeats do not tell what is committed", "R5";
    ProbeNotRepeated = "raft-probe-not-repeated", "a lost probe is not sent again", "G7, R5";
    AppendNotRepeated = "raft-append-not-repeated", "a lost append is not sent again", "G7";
    InheritedUncounted = "raft-inherited-uncounted", "a leader does not count what others left uncommitted", "G7";
    PingPong = "raft-ping-pong", "every acknowledgement is answered by another append", "storm";
    InflightMessagesIgnored = "raft-inflight-messages-ignored", "a leader sends a follower more appends at a time than may be on their way", "G7";
    InflightBytesIgnored = "raft-inflight-bytes-ignored", "a leader sends a follower more bytes at a time than may be on their way", "G7";
    UncommittedIgnored = "raft-uncommitted-ignored", "a leader takes more than it may have uncommitted", "G7";
    ResetNotHeeded = "raft-reset-not-heeded", "who loses the connection to its leader waits as if it still heard it", "L6";
    FlappingIgnored = "raft-flapping-ignored", "who was elected again and again stands as soon as every other", "R13";
    HandOverNotPutOff = "raft-hand-over-not-put-off", "a hand-over to a voter of higher priority that did not last is tried again as soon as it can be", "R13";
    ReadUnconfirmed = "raft-read-unconfirmed", "a read is confirmed without asking anybody", "G5, R7";
    ReadOneShort = "raft-read-one-short", "one answer less than a majority confirms a read", "G5, R7";
    ReadBeforeFirst = "raft-read-before-first", "a new leader reads before its first entry is committed", "G5, R6";
    ReadPositionReused = "raft-read-position-reused", "an answer to an earlier round confirms a later read", "G5, DESIGN 2.4";
    ReadNotShared = "raft-read-not-shared", "each read has a round of heartbeats of its own", "DESIGN 2.4";
    NodeAppliesUncommitted = "node-applies-uncommitted", "entries are applied before they are committed", "G2";
    NodeOwnClock = "node-own-clock", "apply looks at its own wall clock", "G6, DESIGN 2.3";
    LeaseTooLong = "raft-lease-too-long", "a leader reads by a lease for longer than others wait", "G5";
    LeaseOutlivesTransfer = "raft-lease-outlives-transfer", "a leader that has told another to lead reads by its lease", "G5";
    LeaseEndsAtReset = "raft-lease-ends-at-reset", "a reset connection ends what a follower has promised its leader", "G5";
    LeaseForgotten = "raft-lease-forgotten", "a restart ends what a follower has promised its leader", "G5";
    NodeReadBehind = "node-read-behind", "a confirmed read does not wait for its index", "G5";
    NodeRequestForgotten = "node-request-forgotten", "a request that nobody answers in time is not failed", "D4";
    ErrandNotPutOff = "node-errand-not-put-off", "a leader's errand that was not taken is due again at once, without a pause", "storm";
    NodeFedUnapplied = "node-fed-unapplied", "what an input of a batch commits is carried out only when the batch ends", "R12";
    NodeSnapshotOnce = "node-snapshot-once", "the state is written aside once, and never again", "G6";
    NodeOtherEntry = "node-other-entry", "who waits for a lost entry gets the answer of the one in its place", "G5";
    NodeForwardsAgain = "node-forwards-again", "a forwarded request is forwarded again", "G8, R22";
    SnapshotOlder = "snapshot-older", "a snapshot that is older than the log is installed", "G6";
    SnapshotMixed = "snapshot-mixed", "chunks of two snapshots are taken for one", "G6, R15";
    SnapshotOutOfOrder = "snapshot-out-of-order", "a chunk is taken whatever its number", "G6, R15";
    SnapshotLogFirst = "snapshot-log-first", "the log is replaced before the snapshot is there", "G6, R15";
    SnapshotNotSwapped = "snapshot-not-swapped", "the state of an installed snapshot is not taken over", "G6";
    SnapshotDedupLost = "snapshot-dedup-lost", "a snapshot leaves the answers of sessions out", "G5, G6";
    SnapshotTermWrong = "snapshot-term-wrong", "a snapshot names the term of the node, not of its entry", "G2, G6";
    SnapshotCompactsEarly = "snapshot-compacts-early", "the log is cut before the snapshot is on the disk", "G6";
    SnapshotCompactsPast = "snapshot-compacts-past", "the log is cut behind the snapshot", "G6";
    SnapshotNotResumed = "snapshot-not-resumed", "a lost chunk is not sent again", "G7, R14";
    SnapshotAckUnsynced = "snapshot-ack-unsynced", "a snapshot that was overtaken while it was loaded is acknowledged before the entries are on the disk", "G3";
    SnapshotDamageIgnored = "snapshot-damage-ignored", "a node that is told of damage writes nothing anew", "G6";
    SnapshotDamageKept = "snapshot-damage-kept", "a node that is told of damage writes its state anew, and keeps the log that is damaged", "G6";
    SnapshotAskedAtOnce = "snapshot-asked-at-once", "a snapshot that cannot be read is asked for again without a pause", "storm";
    SnapshotBytesIgnored = "snapshot-bytes-ignored", "snapshots are due, and the log is kept, by the number of entries alone", "G6";
    SnapshotInTheWay = "snapshot-in-the-way", "a snapshot takes the place of one that a follower is being sent", "G7";
    SnapshotRefusalUnheard = "snapshot-refusal-unheard", "a follower waits for ever for a chunk that there was no room for", "G7";
    SnapshotUnthrottled = "snapshot-unthrottled", "a snapshot is sent as fast as the follower takes it", "DESIGN 3";
    LogCutWhole = "raft-log-cut-whole", "a log of which not all that is to go is durable is not cut at all", "G6";
    LogNotHeld = "raft-log-not-held", "a leader cuts its log though a follower that answers lacks what goes", "G7";
    IdentityWipedJoins = "identity-wiped-joins", "a directory that was emptied votes again", "G1, DESIGN 2.4";
    IdentityEarlyStart = "identity-early-start", "a new cluster begins before all members have answered", "G1, DESIGN 2.4";
    IdentityNoGreeting = "identity-no-greeting", "a node that comes up takes part at once", "DESIGN 2.4";
    IdentityStrangersUnheard = "identity-strangers-unheard", "a node does not hear members that came while it was away", "liveness";
    IdentityFounderAgain = "identity-founder-again", "a new directory takes the founders for the members of a cluster that has changed", "G1";
    IdentityOldDenial = "identity-old-denial", "a directory believes a single peer that does not know it", "liveness";
    IdentityAskedOnce = "identity-asked-once", "a directory that comes up asks nobody again who has greeted it", "liveness";
    ReplacedTooEarly = "identity-replaced-too-early", "a replaced directory has no vote any more while the old members still decide", "liveness";
    IdentityNotTold = "identity-not-told", "a node does not learn from its peers who the members are", "liveness";
    TransferEarly = "raft-transfer-early", "a leader hands over to who does not hold all of its log", "R12";
    TransferForEver = "raft-transfer-for-ever", "a leader waits for its successor for ever", "liveness";
    TransferTakes = "raft-transfer-takes", "a leader that hands over takes proposals", "R12";
    ChangeAtOnce = "raft-change-at-once", "a leader adds a change of the members before it has carried out the one before", "G1";
    ChangeBeforeFirst = "raft-change-before-first", "a leader adds a change before an entry of its own term is committed", "G1";
    JointOneSide = "raft-joint-one-side", "only the new voters of a joint configuration count", "G1, G3";
    LearnerCampaigns = "raft-learner-campaigns", "a learner stands for election", "G1";
    AvoidedStands = "raft-avoided-stands", "a node that is not to lead stands like every other", "R13";
    PreferredIgnored = "raft-preferred-ignored", "a leader does not hand over to a voter of higher priority", "R13";
    ChangeUnconfirmed = "raft-change-unconfirmed", "a change is answered before a majority of the new members knows of it", "G1";
    RemovedLeads = "raft-removed-leads", "a leader that is removed leads on", "G1";
    CampaignUnapplied = "raft-campaign-unapplied", "a node stands for election before it has carried out what it knows to be committed", "G1";
    VoteTellsNothing = "raft-vote-tells-nothing", "who answers a candidate does not tell it what is committed", "G1";
    ReplacedCounts = "raft-replaced-counts", "what a replaced directory acknowledged counts for the new one", "G3";
    PromotedEarly = "raft-promoted-early", "a learner is promoted before it has most of the log", "G1";
    ChangeUnhealthy = "raft-change-unhealthy", "a change is made that leaves too few who answer", "liveness";
    JointNotLeft = "raft-joint-not-left", "nobody leaves a joint configuration", "liveness";
    AgreementSkipped = "raft-agreement-skipped", "a leader does not compare what states members have", "G6";
    AgreementLeaderStays = "raft-agreement-leader-stays", "a leader whose state differs from the majority's leads on", "G6";
    AgreementHealthyStops = "raft-agreement-healthy-stops", "whoever differs from its leader stops, whatever the majority has", "G6";
    MemberNotKnown = "identity-member-not-known", "the directory of a new member is never written down", "liveness";
    IdentityAnyCounts = "identity-any-counts", "the vote of a new directory counts for the one that it replaced", "G1";
    IdentityJoinerFounds = "identity-joiner-founds", "one that joins a cluster is taken for one that founds it", "G1, DESIGN 2.4";
    IdentityRollback = "identity-rollback", "a directory that went back in time is not noticed", "DESIGN 2.4";
    SessionAppliesAgain = "session-applies-again", "a repeated request is applied again", "G5, R19";
    SessionForgetsEarly = "session-forgets-early", "an answer is forgotten while its client may ask again", "G5";
    SessionUnknownApplied = "session-unknown-applied", "a request of a session that is over is applied", "DESIGN 2.3";
    SessionTrimmedApplied = "session-trimmed-applied", "a late copy of a request that was answered long ago is applied", "DESIGN 2.3";
    SessionOutlivesLease = "session-outlives-lease", "a session stays when its lease has run out", "DESIGN 2.3";
    LeaseUnconfirmed = "lease-unconfirmed", "a keep-alive is acknowledged without asking a majority", "DESIGN 2.4, L1";
    LeaseNoWait = "lease-no-wait", "a new leader does not wait a whole ttl", "DESIGN 2.4, ES12";
    LeaseGraceIgnored = "lease-grace-ignored", "a lease ends without its grace", "ES12, C1";
    LeaseRevived = "lease-revived", "a keep-alive is acknowledged after the end was proposed", "DESIGN 2.4";
    LeaseEndsEarly = "lease-ends-early", "a lease ends after half its time", "ES12";
    LeaseNeverEnds = "lease-never-ends", "leases do not run out", "EL2";
    LeaseEndsOnce = "lease-ends-once", "only the first end of a lease in a reign is proposed", "EL2";
    JobMovedOnUnknown = "job-moved-on-unknown", "a call without an answer moves its task", "DESIGN 2.4, ES2";
    JobMovedOnRefusal = "job-moved-on-refusal", "any refusal moves a task, final or not", "DESIGN 2.4, ES2";
    JobCallsOutdated = "job-calls-outdated", "a call leaves for an attempt that is no more", "DESIGN 2.4, ES3";
    JobReportEpoch = "job-report-epoch", "a report's epoch is not compared", "ES3";
    JobEpochRepeats = "job-epoch-repeats", "a job that takes an old id uses its epochs again", "ES3, ES13";
    JobCancelRevives = "job-cancel-revives", "a cancel takes an ended job back", "ES5";
    JobCancelAtOnce = "job-cancel-at-once", "a canceled job does not wait for what runs", "ES8";
    JobCanceledMoves = "job-canceled-moves", "a task of a canceled job waits for another executor", "ES8";
    JobRetryLost = "job-retry-lost", "a task that failed never runs again", "ES17, EL6";
    JobBackoffIgnored = "job-backoff-ignored", "a failed task does not wait", "ES17";
    JobBackoffNone = "job-backoff-none", "a failed task is to wait no time", "ES17";
    JobFailuresUncounted = "job-failures-uncounted", "a task fails for ever", "ES17, EL6";
    JobResetLost = "job-reset-lost", "a task that ran long keeps its failures", "ES17";
    JobFailsEarly = "job-fails-early", "a task fails for good one failure too early", "ES17";
    JobSignalFinishes = "job-signal-finishes", "a task that was killed counts as finished", "ES5";
    JobPlacedOnGone = "job-placed-on-gone", "a task is given to an executor that is gone", "ES12";
    JobPlacedOnFull = "job-placed-on-full", "slots that are taken count as free", "engine 4.3.9";
    JobPlacedOnRemoving = "job-placed-on-removing", "a task is given to an executor that is to leave", "ES11";
    JobSlotsLeak = "job-slots-leak", "slots stay taken when a task ends", "engine 4.3.9";
    JobPlacedOnce = "job-placed-once", "only the first placement in a reign is proposed", "EL3";
    JobLostWithExecutor = "job-lost-with-executor", "the tasks of a lost executor stay with it", "EL3";
    AppendAgainEarly = "raft-append-again-early", "whatever is on its way is sent again with each heartbeat", "G7";
    LeaderNotKept = "raft-leader-not-kept", "a follower does not keep who leads it", "G8";
    JobRemoveForgotten = "job-remove-forgotten", "an executor that is to leave is not marked", "ES11";
    JobFormerStays = "job-former-stays", "a registration leaves the one that has ended as it is", "ES11";
    LevelKeepsNews = "level-keeps-news", "a cluster that goes back to a level keeps what only a higher one knows", "G6";
    LevelEarly = "level-early", "the feature level rises before every member's program knows it", "G6";
    LevelWritesHigher = "level-writes-higher", "a leader goes on to write entries of a higher level behind the entry that lowers it", "G6";
    LevelLogKept = "level-log-kept", "a master keeps entries of a higher level in its log when the level is lowered", "G6";
    StateHashKept = "state-hash-kept", "the hash of every state is the same", "G6";
    AlarmJobsTaken = "state-alarm-jobs-taken", "jobs are taken although a member has no more room", "G5";
    SuccessorDiffers = "raft-successor-differs", "a leader hands over to a voter that takes no part, because its state differs", "R13";
    SuccessorLags = "raft-successor-lags", "a leader hands over to a voter that lacks much of its log", "G7";
    FormerForgotten = "state-former-forgotten", "who is added under the id of a member that was removed may have its directory", "G1";
    DifferingUntold = "node-differing-untold", "a leader raises no alarm about a member whose state differs", "G6";
    AlarmOfFormer = "state-alarm-of-former", "an alarm about a directory whose state differed stays when another one takes its place", "G6";
    RefusalNotKept = "node-refusal-not-kept", "a leader refuses a change of the members that may be in the log already", "G5";
    AlarmProposed = "node-alarm-proposed", "a leader takes into its log what there is no room for", "G5";
    AlarmStrangersCount = "state-alarm-strangers-count", "the alarm of a node that is no member counts", "G5";
    AlarmOneDisarmed = "state-alarm-one-disarmed", "who disarms all alarms disarms one", "G5";
    SnapshotNextIgnored = "snapshot-next-ignored", "a leader that went back in a snapshot does not follow what its follower wants", "G6, EL";
    JobSetOverLimit = "job-set-over-limit", "a desired set brings one specification more than it may", "ES13";
    ListEndsEarly = "state-list-ends-early", "a list of jobs that is longer than a page says that it ends there", "G5";
    LongestKeyRefused = "state-longest-key-refused", "a read of the longest key is refused", "G5";
    JobDesiredIncomplete = "job-desired-incomplete", "the desired set leaves one attempt out", "DESIGN 2.4";
    JobNeverDeleted = "job-never-deleted", "a job that has ended is not deleted", "ES9";
    JobDeletedRunning = "job-deleted-running", "a job that runs can be deleted", "ES9";
    JobTasksLeft = "job-tasks-left", "a deleted job leaves its tasks", "ES9, D1";
    JobCreatedTwice = "job-created-twice", "a second job takes the id of one that is there", "ES10";
    JobExecutorIdReused = "job-executor-id-reused", "an executor gets the id of one that left", "ES11";
    JobForcedNever = "job-forced-never", "a cancel that takes too long is not forced", "ES8";
    JobForcedEarly = "job-forced-early", "a cancel is forced before its time", "ES8";
    StateCasAlways = "state-cas-always", "a compare-and-set sets whatever is there", "G5";
    StateDeleteKeeps = "state-delete-keeps", "a delete says so, and keeps the key", "G5, R16";
    StateRevisionKept = "state-revision-kept", "a change keeps the revision", "G5";
    StateRecordSkipsTable = "state-record-skips-table", "a job's record changes without its table", "D1";
    AgentNoFence = "agent-no-fence", "an agent does not look at its lease", "ES12";
    AgentCountsFromAnswer = "agent-counts-from-answer", "an agent counts its lease from the answer", "ES12, C1";
    AgentGuardForgotten = "agent-guard-forgotten", "guards are not told that the lease was renewed", "DESIGN 2.4";
    AgentForgetsEarly = "agent-forgets-early", "an attempt that ended is forgotten before the masters know", "ES13";
    AgentOlderSet = "agent-older-set", "a desired set that is older than one seen before is obeyed", "ES13";
    AgentSetOverCall = "agent-set-over-call", "a desired set drops what a newer call brought", "ES13";
    AgentUndesiredRuns = "agent-undesired-runs", "what is not in the desired set runs on", "DESIGN 2.4";
    AgentRejoinsEarly = "agent-rejoins-early", "an agent registers anew while its old work runs", "ES12";
    AgentLeavesEarly = "agent-leaves-early", "an agent leaves the cluster while its work runs", "ES12";
    AgentTwoAtOnce = "agent-two-at-once", "a new attempt starts beside the one that it replaces", "ES2";
    AgentOtherIncarnation = "agent-other-incarnation", "a call to another incarnation is taken", "DESIGN 2.4, C14";
    AgentStaleTerm = "agent-stale-term", "a call of an older term is taken", "ES3";
    AgentOldCall = "agent-old-call", "a call starts what a newer set no longer names", "ES13";
    AgentOverbooked = "agent-overbooked", "an agent takes more than it has slots for", "engine 4.3.9";
    AgentStaysOut = "agent-stays-out", "an agent that lost its lease does not come back", "EL9";
    AgentAsksOnce = "agent-asks-once", "a registration that got no answer is not repeated", "EL9";
    AgentStopIgnored = "agent-stop-ignored", "a request to stop is ignored", "EL5";
    AgentResultAfterStop = "agent-result-after-stop", "what a task says after it was asked to stop counts as its result", "ES5";
    HeirTailDropped = "state-heir-tail-dropped", "who goes on alone leaves out what it does not know to be committed", "G6";
    HeirPlacesAtOnce = "state-heir-places-at-once", "who goes on alone places tasks before what the old cluster placed has ended", "ES2";
    HeirNumbersAgain = "state-heir-numbers-again", "who goes on alone gives numbers that the old cluster may have given", "ES11, ES13";
    HeirSessionsLost = "state-heir-sessions-lost", "who goes on alone forgets the sessions", "G5";
    HeirExecutorsStay = "state-heir-executors-stay", "who goes on alone counts on executors that it gave no lease", "EL";
    NetAckUnsynced = "net-done-before-sync", "a write is reported as done before its sync", "R3, stack";
    NetBatchUnsynced = "net-batch-unsynced", "a batch of more than one write is not synced", "R3, stack";
    NetDoneEarly = "net-done-before-write", "the core is told of a write as done when it begins", "R3, DESIGN 2.1, stack";
    NetSegmentName = "net-segment-name-unsynced", "the name of a new segment of the log is not synced", "R3, stack";
    NetSnapshotUnsynced = "net-snapshot-unsynced", "a snapshot gets its name before its bytes are synced", "G6, stack";
    NetIdentityUnsynced = "net-identity-unsynced", "the file that says whose directory it is is not synced", "DESIGN 2.4, stack";
    NetVotersLost = "net-voters-lost", "a new segment of the log leaves the voters out", "G1, DESIGN 2.4, stack";
    NetRecyclesNeeded = "net-recycles-needed", "a segment that the log still needs is taken to be written again", "R3, stack";
    NetFreshIds = "net-fresh-ids", "each try of a request gets a number of its own", "R19, stack";
    NetFullDone = "net-full-done", "a write that there was no room for is reported as done", "R3, stack";
    NetFullSaved = "net-full-saved", "a snapshot that there was no room for is said to be saved", "G6, stack";
    NetDamageUntold = "net-damage-untold", "a node is not told that its disk is damaged", "G6, stack";
    NetSyncErrorIgnored = "net-sync-error-ignored", "a sync of the log that failed is taken for one that did not", "R3, stack";
    NetDamageTorn = "net-damage-taken-for-torn", "damage in the newest file of the log is taken for a write that was cut off", "G1, stack";
    NetStaleCounts = "net-stale-counts", "what a file of the log held before it was written again counts", "G2, stack";
    NetFooterLeftOut = "net-footer-left-out", "a file of the log that is full gets no footer", "G6, stack";
    NetFooterUnchecked = "net-footer-unchecked", "what a footer says is not compared with what is in front of it", "G6, stack";
    NetScrubReadsNothing = "net-scrub-reads-nothing", "nobody looks at what is stored and not written any more", "G6, stack";
    NetReserveIgnored = "net-reserve-ignored", "a file system that is nearly full is not noticed", "G5, stack";
    NetQuotaIgnored = "net-quota-ignored", "a data directory that has reached its quota is not noticed", "G5, stack";
    NetRestoreKeepsCluster = "net-restore-keeps-cluster", "a cluster that begins with a snapshot has the id of the one that it is of", "G8, stack";
    NetForeignTaken = "net-foreign-taken", "a data directory of another node or cluster is taken", "G1, DESIGN 2.4, stack";
    NetChunkUnchecked = "net-chunk-unchecked", "a chunk of a snapshot is taken whatever its checksum", "G6, stack";
    NetOneSnapshot = "net-one-snapshot", "the snapshot before the newest one is not kept", "G6, stack";
    NetHeirEarly = "net-heir-early", "a recovered directory counts before the names of its files are synced", "G8, stack";
    NetStartKeepsRoom = "net-start-keeps-room", "each start keeps the room of the segment before it", "liveness, stack";
    NetDiffersForgotten = "net-differs-forgotten", "a directory whose state differed is used again", "G6, stack";
    NetToldNowhere = "net-told-nowhere", "a node that is told of newer members is not told where they are", "liveness, stack";
    NetEndsAsLeader = "net-ends-as-leader", "a master that is asked to end hands over to nobody", "liveness, stack";
    NetSegmentInPlace = "net-segment-in-place", "the next segment of the log is made while a write waits", "DESIGN 3, stack";
    NetSnapshotOnLoop = "net-snapshot-on-loop", "a snapshot is written where the node runs", "DESIGN 3, stack";
    NetOwnStreamOnly = "net-own-stream-only", "a master answers only where it was told that a peer is", "liveness, stack";
}

#[cfg(feature = "planted-bugs")]
mod selection {
    use super::Bug;
    use core::cell::Cell;

    // A run of the simulator stays on one thread, so that its bug is its own.
    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted in the runs of this thread.
    #[must_use]
    #[inline]
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug in the runs of this thread; `None` takes it out.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// The bug that is planted in the runs of this thread.
    #[must_use]
    pub fn current() -> Option<Bug> {
        PLANTED.get()
    }

    /// Keeps [`BUILT_IN`](super::BUILT_IN) in the program.
    pub fn confess() {
        core::hint::black_box(super::BUILT_IN);
    }
}

#[cfg(feature = "planted-bugs")]
pub use selection::{confess, current, plant, planted};

/// Whether this bug is planted: never, without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

/// Nothing, without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn confess() {}

/// That a test notices what it is for: for bugs that no seed of the simulator shows, or hardly any.
///
/// # Panics
/// If nobody notices.
#[cfg(all(test, feature = "planted-bugs"))]
pub(crate) fn notices(bug: Bug, test: fn()) {
    plant(Some(bug));
    let noticed = std::panic::catch_unwind(test).is_err();
    plant(None);
    assert!(noticed, "nobody notices {}", bug.key());
    test();
}
