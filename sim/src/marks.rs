//! Marks of the simulator itself: that a fault did something, and that clients, jobs and knobs were as different as they
//! should be. A mark that no seed reaches is a gap of the generator. (Places inside the core have marks of their own:
//! `quorate_core::mark`.)

/// Declares the marks: a name, and in words what was reached.
macro_rules! sim_marks {
    ($($name:ident = $text:literal,)*) => {
        /// Something that a good simulation does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the text that is printed says it")]
        pub enum SimMark { $($name,)* }

        impl SimMark {
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

sim_marks! {
    CutLost = "network: a cut link lost a message",
    BaseLost = "network: a message was lost without a fault",
    BaseTail = "network: a message was in the tail",
    BaseDuplicated = "network: a message came twice without a fault",
    BaseReordered = "network: a message was overtaken without a fault",
    LossLost = "network: a fault lost a message",
    DelayLate = "network: a fault made a message late",
    DuplicateTwice = "network: a fault repeated a message",
    ReorderOvertaken = "network: a fault let a message be overtaken",
    ClogHeld = "network: a clogged link held a message",
    SwizzleHeld = "network: a swizzled link held a message",
    SlowLinkLate = "network: a slow link made a message late",
    FilterDropped = "network: a filter dropped a message",
    KindLate = "network: a message of one kind came late",
    LeaderIsolated = "network: the leader was cut off",
    LeaderDeaf = "network: the leader could speak, and heard nothing",
    CutReconnected = "network: a cut ended and both ends were told",
    CrashKilled = "process: a crash killed a node",
    CrashUnsyncedLost = "process: a crash lost a write that was not done",
    PowerTorn = "process: a loss of power left a part of a write",
    RestartLoopKilled = "process: a restart loop killed a node again",
    PauseHeld = "process: input waited for a paused node",
    ProgramNewer = "programs: a master gets a newer program",
    ProgramOlder = "programs: a master gets its older program back",
    ProgramKept = "programs: no operator goes back now",
    ProgramFitted = "programs: a machine that comes up gets the program that its cluster needs",
    ProgramTooOld = "programs: a program says that it is too old",
    LevelRaised = "programs: the feature level rises",
    LevelLowered = "programs: the feature level is lowered",
    ReleaseSkipped = "programs: a release is put off because a program is old",
    PauseBatch = "process: a paused node found more than one input, and took them together",
    BatchOfMany = "process: a node took more than one input as a batch",
    BatchFull = "process: a batch had as many inputs as a turn of a driver",
    BatchLost = "process: a node ended in the middle of a batch",
    PeersReset = "network: the connections of a master are reset",
    SlowProcessorQueued = "process: input waited for a slow processor",
    SuspendHeld = "process: a suspended machine went on with a clock that stood still",
    WipeDenied = "disk: a wiped directory was refused its vote",
    RestoreForgot = "disk: an old copy of a directory was started",
    RestoreDenied = "disk: a directory that went back in time was refused its vote",
    RestoreUnsafe = "disk: an old copy was not put back, because what it lacks still counted",
    LieLost = "disk: a sync that lied lost what it had acknowledged",
    LieKept = "disk: a sync that lied lost nothing, because what it lacked still counted",
    LieHarmless = "disk: a loss of power under a lying sync lost nothing",
    SyncFailed = "disk: a sync failed and the node stopped",
    FullStopped = "disk: a full disk stopped a node",
    FullRefusedChunk = "disk: a full disk refused a chunk of a snapshot",
    FullRefused = "disk: a node could not start on a full disk",
    ReadRefused = "disk: a node could not start, because nothing could be read",
    ReadSnapshotFailed = "disk: a snapshot could not be read",
    RotFoundAtStart = "disk: a checksum found damage when a node started",
    RotPassedAtStart = "disk: a node started from an older state, because its newest snapshot was damaged",
    RotFoundInSnapshot = "disk: a checksum found damage in a snapshot that was read",
    RotForgotten = "disk: what was damaged was dropped before anybody read it",
    ScrubFound = "disk: a running node was told that its disk is damaged",
    MisdirectDone = "disk: a write landed in another place",
    StallHeld = "disk: a hung disk kept a write waiting",
    SlowWrite = "disk: a write took longer than any without a fault",
    WallStepped = "clock: a wall clock jumped",
    WallResynced = "clock: a wall clock was set back and forth",
    DriftChanged = "clock: a monotonic clock changed its drift",
    HeartbeatLost = "executor: a heartbeat was lost on its own",
    ReportRepeated = "executor: a report came twice",
    ReportLate = "executor: a report came late",
    OrderLate = "executor: a call or an answer came late",
    LastWordHeard = "executor: a heartbeat came when the end of its lease was proposed",
    ProcessPolite = "executor: a process answered the request to end with exit code 0",
    ZombieBack = "executor: it came back after it had been given up",
    CallLate = "executor: a call came late without a fault",
    ProcessUnstartable = "executor: a process could not be started",
    ProcessSignaled = "executor: a process ended by a signal",
    AgentKilled = "executor: an agent was killed with its processes",
    DrainSlow = "executor: a process took long to end",
    GuardKilled = "executor: a guard killed a process whose lease had ended",
    FrozenOutlived = "executor: a machine went on after the leases of its processes",
    ProcessStubborn = "executor: a process did not end when it was asked to",
    ProcessFailed = "executor: a process failed",
    AnswerLate = "client: a fault made an answer late",
    AnswerAfterTimeout = "client: an answer came after its client's timeout",
    RequestDoubled = "client: a request went to two masters at once",
    Disconnected = "client: a connection was reset in the middle of a request",
    ClientStood = "client: a client stood still with something to do",
    RetriedDone = "client: a request was done at a later attempt",
    RetriedElsewhere = "client: a request was tried again at another master",
    GaveUp = "client: a client gave up",
    SameKey = "client: two clients were busy with one key at once",
    SessionExpired = "client: a session had expired",
    ChangeDone = "operator: a change of the members was made",
    ChangeRefused = "operator: a change of the members was refused",
    ChangeSkipped = "operator: a change of the members was not asked for, because it would not have been safe",
    MemberBack = "operator: a master came back with an empty directory and is known again",
    RemovedOff = "operator: a master that was removed was switched off",
    RemovedOn = "operator: a master that was removed ran on",
    JoinForgotten = "operator: an empty directory was started as if it founded the cluster",
    SpareEarly = "operator: a master ran before it was added",
    StateDiffered = "states: a master that differed from the majority took no part",
    StateLeaderDiffered = "states: a leader that differed from the majority made way",
    StateUndecided = "states: no majority agreed, and a master took no part",
    StateFoundLate = "states: a difference was found only when the faults were over",
    PutDone = "operation: put, done",
    PutRefused = "operation: put, refused",
    PutUnknown = "operation: put, unknown",
    GetDone = "operation: get, done",
    GetRefused = "operation: get, refused",
    GetUnknown = "operation: get, unknown",
    DeleteDone = "operation: delete, done",
    DeleteRefused = "operation: delete, refused",
    DeleteUnknown = "operation: delete, unknown",
    SwapDone = "operation: compare and set, done",
    SwapMissed = "operation: compare and set, another value was there",
    SwapRefused = "operation: compare and set, refused",
    SwapUnknown = "operation: compare and set, unknown",
    ListDone = "operation: list, done",
    ListUnknown = "operation: list, unknown",
    SubmitDone = "operation: submit a job, done",
    SubmitRefused = "operation: submit a job, refused",
    SubmitUnknown = "operation: submit a job, unknown",
    CancelDone = "operation: cancel a job, done",
    CancelRefused = "operation: cancel a job, refused",
    CancelUnknown = "operation: cancel a job, unknown",
    GetJobDone = "operation: read a job, done",
    GetJobRefused = "operation: read a job, refused",
    ListJobsDone = "operation: list jobs, done",
    DeleteJobDone = "operation: delete a job, done",
    DeleteJobRefused = "operation: delete a job, refused",
    RemoveExecutorDone = "operation: remove an executor, done",
    RemoveExecutorRefused = "operation: remove an executor, refused",
    KeepSessionDone = "operation: keep a session, done",
    KeepSessionRefused = "operation: keep a session, refused",
    RaiseAlarmDone = "operation: raise an alarm, done",
    DisarmAlarmDone = "operation: disarm alarms, done",
    CloseSessionDone = "operation: close a session, done",
    RefusedInvalid = "refused: invalid",
    RefusedNotFound = "refused: not found",
    RefusedAlreadyExists = "refused: already exists",
    RefusedPrecondition = "refused: precondition",
    RefusedUnavailable = "refused: unavailable",
    RefusedExhausted = "refused: exhausted",
    RefusedRoom = "refused: a member has no more room",
    RefusedSessionExpired = "refused: session expired",
    JobBatch = "job: a batch job was submitted",
    JobService = "job: a service was submitted",
    JobWide = "job: one of many tasks was submitted",
    JobManySlots = "job: one with several slots a task was submitted",
    OneMaster = "knob: one master",
    ThreeMasters = "knob: three masters",
    FiveMasters = "knob: five masters",
    SevenMasters = "knob: seven masters",
    OneExecutor = "knob: one executor",
    ManyExecutors = "knob: ten executors",
    ManyClients = "knob: eight clients or more",
    FastHeartbeat = "knob: a heartbeat each 10 ms or less",
    SlowHeartbeat = "knob: a heartbeat each 250 ms or more",
    SnapshotEach = "knob: a snapshot after each entry",
    SnapshotNever = "knob: no snapshot in the whole run",
    TrailingNone = "knob: no entry kept behind a snapshot",
    TrailingMost = "knob: as many entries kept behind a snapshot as may be",
    FlowUncommitted = "knob: a leader takes one proposal at a time",
    FlowAppendOne = "knob: an append carries one entry",
    FlowInflightOne = "knob: one append at a time is on its way to a peer",
    FlowChunkSmall = "knob: a chunk of a snapshot is as small as may be",
    FlowDiffers = "knob: masters have different amounts on their way",
    BatchesAll = "knob: all masters take inputs in batches",
    BatchesSome = "knob: some masters take inputs in batches, and others one by one",
    LeaseShort = "knob: a lease of 400 ms or less",
    LeaseLong = "knob: a lease of 8 s or more",
    DiskFast = "knob: a sync takes microseconds",
    DiskSlow = "knob: a sync takes 200 ms",
    NetworkSlow = "knob: a message takes 60 ms or more",
    SettleCrippled = "settle: something outside of the core stayed broken",
    SettleOutsideLed = "settle: a master outside of the core led when the faults were over",
    RecoveredAlone = "recovery: a master went on alone with what it had",
    RecoveredSnapshot = "recovery: the founders began with a snapshot",
    RecoveryLoses = "recovery: something that was committed was lost",
    RecoveryTail = "recovery: something that was not known to be committed was kept",
    RecoveryUnfit = "recovery: the directory that was wanted was not fit",
    RecoveryOrphans = "recovery: processes of the cluster that was given up ran on",
    SettleExecutorLost = "settle: an executor outside of the core was gone for good",
}

/// How often each was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimCounts([u64; SimMark::ALL.len()]);

impl Default for SimCounts {
    fn default() -> Self {
        Self([0; SimMark::ALL.len()])
    }
}

impl SimCounts {
    /// It was reached.
    pub const fn hit(&mut self, mark: SimMark) {
        self.0[mark as usize] += 1;
    }

    /// It was reached, if the condition holds.
    pub const fn hit_if(&mut self, condition: bool, mark: SimMark) {
        if condition {
            self.hit(mark);
        }
    }

    /// How often.
    #[must_use]
    pub const fn of(&self, mark: SimMark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Those that were reached, and how often.
    pub fn reached(self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = SimMark::ALL.iter().map(|mark| mark.text()).zip(self.0);
        counts.filter(|(_, count)| *count > 0)
    }
}
