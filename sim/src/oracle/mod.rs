//! Rules that must hold after every step, each under its name in the reference documents. An oracle looks at ground truth:
//! at what is on disks, in messages, in the committed log, and at what really runs; not at what a master believes.
//!
//! A new rule is a line in [`Rule`] and a call of [`Ledger::hold`].

pub mod answers;
pub mod conduct;
pub mod contact;
mod directories;
mod flow;
pub mod held;
pub mod jobs;
pub mod log;
pub mod pages;
pub mod quorum;
pub mod raft;
pub mod reference;
pub mod register;
pub mod room;
pub mod truth;

pub use answers::Answers;
pub use conduct::Conduct;
pub use contact::Contact;
pub use held::Held;
pub use jobs::Jobs;
pub use log::Logs;
pub use raft::Consensus;
pub use reference::Reference;
pub use register::Register;
pub use truth::Truth;

use crate::plan::Plan;
use std::collections::BTreeMap;

macro_rules! rules {
    ($($name:ident = $text:literal,)*) => {
        /// What must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the name that is printed says it")]
        pub enum Rule { $($name,)* }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in reports: the rule of the reference documents, and what it says.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

rules! {
    OneLeader = "G1 one leader a term",
    OneVote = "G1 one vote a term",
    DirectoryGivenUp = "G1 a directory that was given up is not heard again under its id",
    VoteRemembered = "G1 a restart remembers term and vote",
    VoteDurable = "G1 a vote is durable before it is given",
    LeaderQuorum = "G1 a leader has a quorum of durable votes",
    CaughtUp = "G3 who is promoted has most of the log",
    HandedWhole = "R12 a leader hands over only to who holds all of its log",
    HandsOverStill = "R12 a leader that hands over takes nothing",
    HandsOverSoon = "R12 a leader that hands over goes on after an election timeout",
    HandedStands = "R12 who is told by its leader to lead stands",
    AvoidedStands = "R13 who is not to lead stands only when nobody has led for long",
    HandsOverClose = "R13 who hands over to a preferred voter has sent it all of the log",
    HandsOverToPart = "R13 nobody hands over to who is known to take no part",
    HandsOverRarely = "R13 who hands over to a preferred voter again and again does so less and less often",
    FlappingWaits = "R13 who was elected several times within a short while lets others stand first",
    LeaderVotes = "G1 a leader is one of the voters, or removed just now",
    LevelKnown = "G6 the feature level rises only when the program of every member knows it",
    LevelWritten = "G6 an entry needs no higher level than the cluster is at",
    ChangeKnown = "G1 a change that was answered is on the disks of a majority of the new members",
    ChangeHealthy = "L6 a leader adds a change only if a majority of the members after it has answered lately",
    ChangeInTurn = "G1 a leader adds a change only when the one before is carried out, and an entry of its term is committed",
    CarriedFirst = "G1 who stands for election has carried out all that it knew to be committed",
    NewestVoters = "G1 who decides has the newest members, or those before",
    AckDurable = "G1 what is acknowledged is durable",
    NoVoteWiped = "G1 a wiped node takes no part in votes",
    LogMatching = "G2 log matching",
    StateMachineSafety = "G2 state machine safety",
    LeaderCompleteness = "G2 leader completeness",
    CommitGrows = "G3 commit only grows and is in the log",
    CommitOwnTerm = "G3 commit by count only for the own term",
    AckCounts = "G3 a leader counts only what a follower holds",
    AckOwnTerm = "G3 a leader counts only acknowledgements of its own term",
    CommitDurable = "G3 what is committed is durable on a quorum",
    TermGrows = "G4 terms only grow",
    TermObserved = "G4 a term is taken over or begun",
    FirstEntry = "R6 a leader begins its term with an entry of it",
    PreVoteQuiet = "R8 who hears a leader grants no pre-vote",
    StepsDown = "R8 a leader that no majority answers steps down",
    VoteRepeated = "R10 a vote that is asked for again is given again",
    VotesElect = "R11 a candidate leads as soon as a majority has voted for it",
    ResetStands = "L6 who loses the connection to its leader stands soon",
    StallGivesUp = "L6 a leader whose disk hangs steps down",
    GreetsFirst = "L7 a node that comes up speaks only when a majority has greeted it",
    Answered = "D4 a request is answered within its time",
    RealTime = "G5 an answer is no older than what was answered before it was asked",
    AnswerValue = "G5 an answer is what the committed log says",
    ListTrue = "G5 a list is what the records say",
    AnswerCommitted = "G5 what is answered is committed",
    AppliedOnce = "G5 a request is applied once",
    WrongRefused = "G5 a request that is not valid is refused and never applied",
    ValidTaken = "G5 a request that is valid is not refused as invalid",
    SessionKept = "G5 a request of an open session is not refused as expired",
    SessionOver = "G5 a request of a session that is over is not applied",
    RoomShort = "G5 what takes room is refused while a member has none, and nothing else is",
    RoomKept = "G5 a leader that knows of a member without room takes nothing into its log that takes room",
    RevisionGrows = "G5 a change raises the revision",
    Linearizable = "G5 keys are linearizable",
    SearchEnds = "G5 the search for an order ends",
    HeirWhole = "G6 what goes on holds all that its log held",
    HeirComplete = "G2 who has the newest log of a majority goes on with all that was committed",
    SameState = "G6 equal state at equal index",
    StateJudged = "G6 who differs from a majority takes no part, and nobody else",
    DoubterQuiet = "G6 who takes no part because states differ elects and serves nobody",
    LogBounded = "G6 the log is cut from time to time",
    LogReleased = "G6 what a snapshot covers leaves the log as soon as it is durable",
    LogHeld = "G7 a leader keeps what a follower that answers lacks, as long as its log is within its bound",
    SnapshotNotOvertaken = "G7 a snapshot that is being sent is there until it is sent",
    SnapshotThrottled = "G7 snapshots leave no faster than they may",
    UncommittedBounded = "G7 a leader takes no more than it may have uncommitted",
    InflightBounded = "G7 a leader has no more on its way to a follower than it may",
    DamageFound = "G6 what is damaged and not written any more is found when it is read",
    DamageMended = "G6 what a running node is told to be damaged is written anew",
    CompactionCovered = "G6 the log is cut only up to a durable snapshot",
    AppendRepeated = "G7 what a follower lacks is sent until it says that it has it",
    SentOnce = "G7 what is on its way is not sent again before its time",
    SnapshotAhead = "G6 a snapshot is stored only ahead of what is committed",
    HashTells = "G6 a change of the state changes its hash",
    RefusedHeard = "G7 who had no room for a chunk of a snapshot waits for it no more",
    SnapshotOrder = "G6 the chunks of a snapshot are stored one after the other",
    LeaderKnown = "G8 who hears its leader knows it",
    ForwardedOnce = "G8 a request is forwarded at most once",
    Deposed = "L2 no confirmed answer from a deposed leader",
    OneAttemptRuns = "ES2 at most one attempt of a task runs",
    OldEndsFirst = "ES2 an attempt starts only when the older ones of its task have ended",
    CallCurrent = "ES3 a call leaves only for what the task is given to",
    CallOfOther = "ES3 a call to another registration is refused",
    StaleCall = "ES3 a call of an older term is refused",
    RefusalTrue = "ES2 a task moves on a refusal only if its executor refused for good",
    ResultTrue = "ES3 a task ends as its own attempt did",
    TaskEdges = "ES4 a task moves only along its edges",
    TerminalStays = "ES5 terminal states stay",
    JobForward = "ES6 a job moves only forward",
    JobKept = "ES7 an accepted job is kept until it is deleted",
    CancelKept = "ES8 a canceled job only ends",
    CancelWaits = "ES8 a cancel waits for what runs, until its time is over",
    CancelForced = "ES8 a cancel is forced soon after its time is over",
    DeleteTaken = "ES9 a delete is refused only of what is not there or has not ended",
    DeleteTerminal = "ES9 only ended jobs are deleted",
    OneCreate = "ES10 one of two creates succeeds",
    ExecutorFresh = "ES11 executor ids are never used again",
    Replaced = "ES11 a registration ends the one that it says has ended, and no other",
    GivenBack = "ES16 a task that one executor gave back twice waits",
    Removing = "ES11 nothing is given to an executor that is to leave",
    LeaseStaysLost = "ES12 a keep-alive is refused once the end of its lease is proposed",
    SetBounded = "ES13 a set brings no more specifications than it may",
    LeavesIdle = "ES12 an agent leaves the cluster only when its work has ended",
    OwnLease = "ES12 an agent past its deadline gives its work up",
    GuardFed = "ES12 a guard kills only what has no lease",
    DeadlineKept = "ES12 nothing runs past its executor's deadline",
    DeathLast = "ES12 an executor is declared dead after its work has ended",
    StartedOnce = "ES13 an attempt starts at most once",
    OlderSet = "ES13 a set that is older than one before it changes nothing",
    OldCall = "ES13 a call starts nothing that a newer set no longer names",
    Undesired = "ES13 what is not desired is ended",
    StopObeyed = "EL5 what is to stop is stopped",
    SlotsKept = "ES14 an executor runs no more than it has slots for",
    Backoff = "ES17 a failed task waits its backoff",
    Tries = "ES17 a task fails for good with its last try",
    Tables = "D1 rebuild(records) == tables",
    Liveness = "EL every accepted job ends and all replicas agree once faults stop",
    ChunkWanted = "R14 what is sent of a snapshot is what its follower wants",
    ChunkPaused = "R14 a chunk of a snapshot is read again for an answer, or after a pause",
    Storm = "no message storm",
    DiskContract = "contract: writes follow on each other",
    Contract = "contract: what comes out fits what went in",
    Stopped = "a node stops only when its disk failed",
    Panic = "no panic",
}

impl Rule {
    /// Its name for files and groups: failures with one signature are taken for one bug.
    #[must_use]
    pub fn signature(self) -> String {
        signature(self.name())
    }
}

/// The name of a rule for files and groups.
#[must_use]
pub fn signature(rule: &str) -> String {
    let words = rule.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

/// A rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// The entities and both values.
    pub message: String,
    /// True time, nanoseconds.
    pub time: u64,
    /// Steps of masters and agents before it.
    pub step: u64,
}

/// What the oracles found, and how often each looked.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// The first violation.
    pub violation: Option<Violation>,
    /// True time, nanoseconds.
    pub time: u64,
    /// Steps so far.
    pub step: u64,
    counts: Vec<u64>,
}

impl Ledger {
    /// A rule was looked at. The message is made only if it does not hold.
    pub fn hold(&mut self, rule: Rule, holds: bool, message: impl FnOnce() -> String) -> bool {
        let place = rule as usize;
        if self.counts.len() <= place {
            self.counts.resize(Rule::ALL.len(), 0);
        }
        self.counts[place] += 1;
        if !holds && self.violation.is_none() {
            self.violation = Some(Violation { rule, message: message(), time: self.time, step: self.step });
        }
        holds
    }

    /// A rule does not hold.
    pub fn fail(&mut self, rule: Rule, message: String) {
        self.hold(rule, false, || message);
    }

    /// How many states each rule looked at, by name.
    #[must_use]
    pub fn looked(&self) -> BTreeMap<&'static str, u64> {
        let count = |rule: &Rule| self.counts.get(*rule as usize).copied().unwrap_or(0);
        Rule::ALL.iter().map(|rule| (rule.name(), count(rule))).collect()
    }
}

/// All oracles of a run.
#[derive(Default)]
pub struct Oracles {
    /// Elections, logs, commits.
    pub consensus: Consensus,
    /// Who heard whom.
    pub contact: Contact,
    /// How much of its log each node keeps.
    pub logs: Logs,
    /// What leaders keep for followers.
    pub held: Held,
    /// The committed log, carried out once more.
    pub reference: Reference,
    /// What masters and clients were told.
    pub answers: Answers,
    /// What really runs.
    pub truth: Truth,
    /// What agents do with what they are told.
    pub conduct: Conduct,
}

impl Oracles {
    /// Those of a run of this plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut oracles = Self::default();
        oracles.consensus.crowded =
            plan.masters.flow.iter().any(|flow| jobs::CROWDED_BYTES.contains(&flow.flow().uncommitted_bytes));
        oracles.contact.limits = (0..plan.masters.clocks.len()).map(|at| plan.masters.flow(at)).collect();
        oracles
    }
}
