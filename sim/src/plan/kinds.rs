//! What is said of each kind of fault: its name, whether it damages what a master keeps, and whether the stack level has it.

use super::FaultKind;

impl FaultKind {
    /// The master whose directory is lost or damaged by it, or may be: [`atlas`](super::Atlas) says which may.
    #[must_use]
    pub const fn damages(&self) -> Option<u8> {
        match *self {
            Self::Wipe { master }
            | Self::SyncError { master, restart: false }
            | Self::Restore { master }
            | Self::LyingSync { master }
            | Self::Rot { master, .. }
            | Self::Misdirect { master } => Some(master),
            _ => None,
        }
    }

    /// The names of all kinds.
    pub const NAMES: &'static [&'static str] = &[
        "crash",
        "power_loss",
        "power_loss_all",
        "crash_all",
        "restart_loop",
        "new_program",
        "pause",
        "slow_processor",
        "suspend",
        "reset_peers",
        "wipe",
        "restore",
        "sync_error",
        "lying_sync",
        "read_error",
        "rot",
        "misdirect",
        "scrub",
        "full_disk",
        "stall_disk",
        "slow_disk",
        "cut",
        "cut_one_way",
        "ring",
        "ring_majorities",
        "bridge",
        "isolate",
        "isolate_leader",
        "flap",
        "clog",
        "swizzle_clog",
        "slow_link",
        "filter",
        "late_kind",
        "delay",
        "loss",
        "duplicate",
        "reorder",
        "wall_step",
        "wall_resync",
        "master_drift",
        "executor_drift",
        "executor_wall_step",
        "cut_executor",
        "cut_executor_one_way",
        "cut_executor_from",
        "flap_executor",
        "heartbeat_loss",
        "repeat_reports",
        "late_reports",
        "late_orders",
        "last_word",
        "zombie",
        "agent_crash",
        "agent_pause",
        "agent_shutdown",
        "agent_flap",
        "machine_freeze",
        "slow_drain",
        "cut_clients",
        "cut_client_one_way",
        "late_answers",
        "double_requests",
        "disconnect",
        "client_stall",
        "point",
        "wrong_state",
    ];

    /// Its name in logs and reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::PowerLoss { .. } => "power_loss",
            Self::PowerLossAll {} => "power_loss_all",
            Self::CrashAll {} => "crash_all",
            Self::RestartLoop { .. } => "restart_loop",
            Self::NewProgram { .. } => "new_program",
            Self::Pause { .. } => "pause",
            Self::SlowProcessor { .. } => "slow_processor",
            Self::ResetPeers { .. } => "reset_peers",
            Self::Suspend { .. } => "suspend",
            Self::Wipe { .. } => "wipe",
            Self::Restore { .. } => "restore",
            Self::SyncError { .. } => "sync_error",
            Self::LyingSync { .. } => "lying_sync",
            Self::ReadError { .. } => "read_error",
            Self::Rot { .. } => "rot",
            Self::Misdirect { .. } => "misdirect",
            Self::Scrub { .. } => "scrub",
            Self::FullDisk { .. } => "full_disk",
            Self::StallDisk { .. } => "stall_disk",
            Self::SlowDisk { .. } => "slow_disk",
            Self::Cut { .. } => "cut",
            Self::CutOneWay { .. } => "cut_one_way",
            Self::Ring {} => "ring",
            Self::RingMajorities {} => "ring_majorities",
            Self::Bridge { .. } => "bridge",
            Self::Isolate { .. } => "isolate",
            Self::IsolateLeader { .. } => "isolate_leader",
            Self::Flap { .. } => "flap",
            Self::Clog { .. } => "clog",
            Self::SwizzleClog { .. } => "swizzle_clog",
            Self::SlowLink { .. } => "slow_link",
            Self::Filter { .. } => "filter",
            Self::LateKind { .. } => "late_kind",
            Self::Delay { .. } => "delay",
            Self::Loss { .. } => "loss",
            Self::Duplicate { .. } => "duplicate",
            Self::Reorder { .. } => "reorder",
            Self::WallStep { .. } => "wall_step",
            Self::WallResync { .. } => "wall_resync",
            Self::MasterDrift { .. } => "master_drift",
            Self::ExecutorDrift { .. } => "executor_drift",
            Self::ExecutorWallStep { .. } => "executor_wall_step",
            Self::CutExecutor { .. } => "cut_executor",
            Self::CutExecutorOneWay { .. } => "cut_executor_one_way",
            Self::CutExecutorFrom { .. } => "cut_executor_from",
            Self::FlapExecutor { .. } => "flap_executor",
            Self::HeartbeatLoss { .. } => "heartbeat_loss",
            Self::RepeatReports { .. } => "repeat_reports",
            Self::LateReports { .. } => "late_reports",
            Self::LateOrders { .. } => "late_orders",
            Self::LastWord { .. } => "last_word",
            Self::Zombie { .. } => "zombie",
            Self::AgentCrash { .. } => "agent_crash",
            Self::AgentPause { .. } => "agent_pause",
            Self::AgentShutdown { .. } => "agent_shutdown",
            Self::AgentFlap { .. } => "agent_flap",
            Self::MachineFreeze { .. } => "machine_freeze",
            Self::SlowDrain { .. } => "slow_drain",
            Self::CutClients { .. } => "cut_clients",
            Self::CutClientOneWay { .. } => "cut_client_one_way",
            Self::LateAnswers { .. } => "late_answers",
            Self::DoubleRequests { .. } => "double_requests",
            Self::Disconnect { .. } => "disconnect",
            Self::ClientStall { .. } => "client_stall",
            Self::Point { .. } => "point",
            Self::WrongState { .. } => "wrong_state",
        }
    }

    /// Whether the stack level carries it out. What it leaves out, and why:
    ///
    /// * one clock for all machines: no step, no drift, no suspended clock;
    /// * streams that neither lose, repeat nor reorder inside, and messages that are not told apart on a link: no clog that
    ///   delivers late, no filter, nothing twice or overtaken, no slow single link;
    /// * its disk is the one of the storage's own tests, which also lose what a failed sync was to keep: no lie, no old copy, no
    ///   misdirected write here;
    /// * real clients and agents retry by themselves: nothing of theirs is repeated or delayed from outside;
    /// * what is committed is judged by the disks alone, so that nobody knows which hash of a state is right: none is wrong there.
    #[must_use]
    pub const fn on_stack(&self) -> bool {
        matches!(
            self,
            Self::Crash { .. }
                | Self::PowerLoss { .. }
                | Self::PowerLossAll {}
                | Self::CrashAll {}
                | Self::Pause { .. }
                | Self::Wipe { .. }
                | Self::SyncError { .. }
                | Self::SlowDisk { .. }
                | Self::FullDisk { .. }
                | Self::StallDisk { .. }
                | Self::ReadError { .. }
                | Self::Rot { .. }
                | Self::Scrub { .. }
                | Self::Cut { .. }
                | Self::CutOneWay { .. }
                | Self::Ring {}
                | Self::RingMajorities {}
                | Self::Bridge { .. }
                | Self::Isolate { .. }
                | Self::IsolateLeader { .. }
                | Self::Flap { .. }
                | Self::Delay { .. }
                | Self::Loss { .. }
                | Self::CutExecutor { .. }
                | Self::CutExecutorOneWay { .. }
                | Self::CutExecutorFrom { .. }
                | Self::AgentCrash { .. }
                | Self::AgentPause { .. }
                | Self::AgentShutdown { .. }
                | Self::MachineFreeze { .. }
                | Self::CutClients { .. }
                | Self::CutClientOneWay { .. }
                | Self::Point { .. }
        )
    }
}
