//! What can break. A fault is a pair: it begins, and it ends, so that any of them may be taken out of a plan. A new kind
//! is a variant here, a line in `kinds` and in the generator, its limits in `validate`, and an arm in `world::faults`.

use serde::{Deserialize, Serialize};

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins, milliseconds.
    pub at_ms: u64,
    /// How long it lasts, milliseconds.
    pub for_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What travels between machines, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Entries for a follower.
    Append,
    /// What a follower says to them.
    AppendReply,
    /// A candidate's question, also the one before the election.
    Vote,
    /// The answer to it.
    VoteReply,
    /// A leader's heartbeat.
    Heartbeat,
    /// The answer to it.
    HeartbeatAnswer,
    /// A chunk of a snapshot.
    Snapshot,
    /// The answer to it.
    SnapshotReply,
    /// A client's request for the leader, and its answer.
    Forward,
    /// The handshake of a master that comes up.
    Hello,
    /// An agent's heartbeat, with its reports.
    AgentHeartbeat,
    /// Anything else between machines.
    Other,
}

/// Which direction of a machine's links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It neither hears nor is heard.
    Both,
    /// It is not heard.
    Out,
    /// It does not hear.
    In,
}

/// The kinds. Masters, executors and clients are named by their place, from 0 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The process is killed: what it gave to the system survives up to some write. Then it starts again.
    Crash {
        /// Which.
        master: u8,
    },
    /// As a crash, but the machine goes: unsynced writes are lost from some point on, one may be torn; no connection is reset.
    PowerLoss {
        /// Which.
        master: u8,
    },
    /// Every master loses power at once.
    PowerLossAll {},
    /// The process is stopped and goes on later.
    Pause {
        /// Which.
        master: u8,
    },
    /// A crash; when it starts again, its directory is empty and has another storage id.
    Wipe {
        /// Which.
        master: u8,
    },
    /// The next sync fails: the node must stop. It starts again from what was durable, or never.
    SyncError {
        /// Which.
        master: u8,
        /// Whether it starts again.
        restart: bool,
    },
    /// Each sync takes so long.
    SlowDisk {
        /// Which.
        master: u8,
        /// Milliseconds.
        sync_ms: u64,
    },
    /// The masters of one side and those of the other do not hear each other.
    Cut {
        /// One side.
        side: Vec<u8>,
    },
    /// Nothing gets from this side to the other masters; the other way it does.
    CutOneWay {
        /// The side that is not heard.
        side: Vec<u8>,
    },
    /// Each master hears only its two neighbours on a ring.
    Ring {},
    /// Whoever leads when it begins is cut from the other masters, and is still heard by clients.
    IsolateLeader {
        /// Only what it sends is lost.
        one_way: bool,
        /// Only what it should hear is lost.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        deaf: bool,
    },
    /// The leader and the others come apart and together again and again, with this period.
    Flap {
        /// One side.
        side: Vec<u8>,
        /// Milliseconds.
        period_ms: u64,
    },
    /// An executor hears no master, and none hears it.
    CutExecutor {
        /// Which.
        executor: u8,
    },
    /// Clients reach only this master.
    CutClients {
        /// Which they still reach.
        master: u8,
    },
    /// More messages are late.
    Delay {
        /// Chance, parts in a million.
        ppm: u64,
        /// At most by so much, milliseconds.
        most_ms: u64,
    },
    /// More messages are lost.
    Loss {
        /// Chance, parts in a million.
        ppm: u64,
    },
    /// A wall clock jumps, and jumps back at the end.
    WallStep {
        /// Which.
        master: u8,
        /// Milliseconds.
        by_ms: i64,
    },
    /// The agent is killed; its processes die with it, by their guards.
    AgentCrash {
        /// Which.
        executor: u8,
    },
    /// The agent is stopped (`SIGSTOP`); its processes and guards run on.
    AgentPause {
        /// Which.
        executor: u8,
    },
    /// The agent is asked to end, and starts again afterwards.
    AgentShutdown {
        /// Which.
        executor: u8,
    },
    /// The whole machine stands still: agent, guards and processes.
    MachineFreeze {
        /// Which.
        executor: u8,
    },
    /// More messages come twice.
    Duplicate {
        /// Chance, parts in a million.
        ppm: u64,
        /// The second comes at most so much later, milliseconds.
        most_ms: u64,
    },
    /// More messages are overtaken by those behind them.
    Reorder {
        /// Chance, parts in a million.
        ppm: u64,
        /// At most by so much, milliseconds.
        most_ms: u64,
    },
    /// One master is cut from the other masters, and is still heard by clients.
    Isolate {
        /// Which.
        master: u8,
        /// In which direction.
        way: Way,
    },
    /// Each master hears a majority, and no two the same one.
    RingMajorities {},
    /// Two halves that hear each other only through one master.
    Bridge {
        /// Which.
        master: u8,
    },
    /// Links hold what is sent on them, and deliver it when the fault ends.
    Clog {
        /// Masters that send.
        from: Vec<u8>,
        /// Masters that should hear.
        to: Vec<u8>,
    },
    /// Masters are clogged one by one, and let go one by one in another order.
    SwizzleClog {
        /// In this order they are clogged.
        order: Vec<u8>,
        /// In this order they are let go.
        back: Vec<u8>,
        /// Between two of them, milliseconds.
        step_ms: u64,
    },
    /// One direction of one link is slow.
    SlowLink {
        /// The master that sends.
        from: u8,
        /// The master that hears.
        to: u8,
        /// By so much, milliseconds.
        by_ms: u64,
    },
    /// One kind of message from these masters to others is lost.
    Filter {
        /// The masters that send.
        from: Vec<u8>,
        /// The masters that should hear; all, if it is left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        to: Vec<u8>,
        /// What is lost.
        what: MessageKind,
    },
    /// Messages of one kind from these masters to others come late, and behind later ones.
    LateKind {
        /// The masters that send.
        from: Vec<u8>,
        /// What is late.
        what: MessageKind,
        /// Chance, parts in a million.
        ppm: u64,
        /// At most by so much, milliseconds.
        most_ms: u64,
    },
    /// A crash; when it starts again, its program knows this feature level. Nothing, where no operator would do that.
    NewProgram {
        /// Which.
        master: u8,
        /// The newest level that the program knows.
        level: u32,
    },
    /// All masters are killed at once.
    CrashAll {},
    /// A process that is killed again and again, each time shortly after it started.
    RestartLoop {
        /// Which.
        master: u8,
        /// How often.
        times: u32,
        /// How long it runs each time, milliseconds.
        up_ms: u64,
    },
    /// All connections of a master with other masters are reset, and come up again where nothing is cut.
    ResetPeers {
        /// Which.
        master: u8,
    },
    /// Each step of a master takes long: what comes meanwhile waits.
    SlowProcessor {
        /// Which.
        master: u8,
        /// Microseconds a step.
        step_us: u64,
    },
    /// A master's machine is suspended: its process, its disk and its monotonic clock stand still.
    Suspend {
        /// Which.
        master: u8,
    },
    /// A copy of the directory is taken when it begins; when it ends, the machine loses power and starts from the copy.
    Restore {
        /// Which.
        master: u8,
    },
    /// The disk says that it has synced, and has not: a loss of power before the end loses what was written.
    LyingSync {
        /// Which.
        master: u8,
    },
    /// Nothing can be read: a start fails, and no snapshot can be sent or loaded.
    ReadError {
        /// Which.
        master: u8,
    },
    /// A bit of what is stored flips.
    Rot {
        /// Which.
        master: u8,
        /// In the snapshot, not in the log.
        snapshot: bool,
    },
    /// Everything that a master has stored is read in the background, and it is told if anything is damaged.
    Scrub {
        /// Which.
        master: u8,
    },
    /// A write lands in another place of the log than it should: both places are wrong then.
    Misdirect {
        /// Which.
        master: u8,
    },
    /// No space is left: the next write fails, and so does each start.
    FullDisk {
        /// Which.
        master: u8,
    },
    /// Nothing that the disk is asked for is done before the end.
    StallDisk {
        /// Which.
        master: u8,
    },
    /// A wall clock is set forth and back again and again, with this period.
    WallResync {
        /// Which.
        master: u8,
        /// Milliseconds.
        by_ms: i64,
        /// Milliseconds.
        period_ms: u64,
    },
    /// A master's monotonic clock runs with another drift, within what is allowed.
    MasterDrift {
        /// Which.
        master: u8,
        /// Parts in a billion.
        ppb: i64,
    },
    /// An executor's monotonic clock runs with another drift, within what is allowed.
    ExecutorDrift {
        /// Which.
        executor: u8,
        /// Parts in a billion.
        ppb: i64,
    },
    /// An executor's wall clock jumps, and jumps back at the end.
    ExecutorWallStep {
        /// Which.
        executor: u8,
        /// Milliseconds.
        by_ms: i64,
    },
    /// An executor is heard and does not hear, or the other way.
    CutExecutorOneWay {
        /// Which.
        executor: u8,
        /// It does not hear; else it is not heard.
        deaf: bool,
    },
    /// An executor and some masters do not hear each other.
    CutExecutorFrom {
        /// Which.
        executor: u8,
        /// From these.
        masters: Vec<u8>,
    },
    /// An executor and the masters come apart and together again and again.
    FlapExecutor {
        /// Which.
        executor: u8,
        /// Milliseconds.
        period_ms: u64,
    },
    /// An executor's heartbeats are lost, and nothing else of it.
    HeartbeatLoss {
        /// Which.
        executor: u8,
        /// Chance, parts in a million.
        ppm: u64,
    },
    /// An executor's heartbeats, with their reports, come twice.
    RepeatReports {
        /// Which.
        executor: u8,
        /// Chance, parts in a million.
        ppm: u64,
        /// The second comes at most so much later, milliseconds.
        most_ms: u64,
    },
    /// An executor's heartbeats, with their reports, come late.
    LateReports {
        /// Which.
        executor: u8,
        /// Chance, parts in a million.
        ppm: u64,
        /// At most by so much, milliseconds.
        most_ms: u64,
    },
    /// Calls, and answers with desired sets, come late to an executor, and behind later ones; so do its answers.
    LateOrders {
        /// Which.
        executor: u8,
        /// Chance, parts in a million.
        ppm: u64,
        /// At most by so much, milliseconds.
        most_ms: u64,
    },
    /// An executor's heartbeats are held until the end of its lease is proposed, and come just then.
    LastWord {
        /// Which.
        executor: u8,
    },
    /// An agent, or its whole machine, stands still until the cluster has given it up, and then comes back.
    Zombie {
        /// Which.
        executor: u8,
        /// The whole machine.
        machine: bool,
    },
    /// An agent that is killed and started again and again.
    AgentFlap {
        /// Which.
        executor: u8,
        /// Milliseconds.
        period_ms: u64,
    },
    /// Processes that are asked to end take longer, and those that are killed take as long as is promised.
    SlowDrain {
        /// Which.
        executor: u8,
        /// By so much, milliseconds.
        by_ms: u64,
    },
    /// A client is heard and does not hear, or the other way.
    CutClientOneWay {
        /// Which.
        client: u8,
        /// It does not hear; else it is not heard.
        deaf: bool,
    },
    /// Answers come to a client late; after its timeout, if that is shorter.
    LateAnswers {
        /// Which.
        client: u8,
        /// By so much, milliseconds.
        by_ms: u64,
    },
    /// A client's requests go to two masters at once.
    DoubleRequests {
        /// Which.
        client: u8,
        /// Chance, parts in a million.
        ppm: u64,
    },
    /// A client's connection is reset again and again.
    Disconnect {
        /// Which.
        client: u8,
        /// Milliseconds.
        period_ms: u64,
    },
    /// A fault point of a master fires: it takes a rare branch that is permitted.
    Point {
        /// Which master.
        master: u8,
        /// The name of the point.
        point: String,
        /// One in how many times.
        one_in: u32,
    },
    /// A master takes another hash of its state than it has at each agreed index: it seems to differ from the others.
    WrongState {
        /// Which.
        master: u8,
    },
    /// A client stands still: its session may expire, and it does not know.
    ClientStall {
        /// Which.
        client: u8,
    },
}
