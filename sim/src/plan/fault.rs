//! What can break. A fault is a pair: it begins, and it ends. A new kind is a variant here, a line in the generator and
//! an arm in `world::faults`.

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

/// The kinds. Masters and executors are named by their place, from 0 on.
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
}

impl FaultKind {
    /// The master that has no vote, or no process, ever after.
    #[must_use]
    pub const fn gone_for_good(&self) -> Option<u8> {
        match *self {
            Self::Wipe { master } | Self::SyncError { master, restart: false } => Some(master),
            _ => None,
        }
    }

    /// The names of all kinds.
    pub const NAMES: &'static [&'static str] = &[
        "crash",
        "power_loss",
        "power_loss_all",
        "pause",
        "wipe",
        "sync_error",
        "slow_disk",
        "cut",
        "cut_one_way",
        "ring",
        "isolate_leader",
        "flap",
        "cut_executor",
        "cut_clients",
        "delay",
        "loss",
        "wall_step",
        "agent_crash",
        "agent_pause",
        "agent_shutdown",
        "machine_freeze",
    ];

    /// Its name in logs and reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::PowerLoss { .. } => "power_loss",
            Self::PowerLossAll {} => "power_loss_all",
            Self::Pause { .. } => "pause",
            Self::Wipe { .. } => "wipe",
            Self::SyncError { .. } => "sync_error",
            Self::SlowDisk { .. } => "slow_disk",
            Self::Cut { .. } => "cut",
            Self::CutOneWay { .. } => "cut_one_way",
            Self::Ring {} => "ring",
            Self::IsolateLeader { .. } => "isolate_leader",
            Self::Flap { .. } => "flap",
            Self::CutExecutor { .. } => "cut_executor",
            Self::CutClients { .. } => "cut_clients",
            Self::Delay { .. } => "delay",
            Self::Loss { .. } => "loss",
            Self::WallStep { .. } => "wall_step",
            Self::AgentCrash { .. } => "agent_crash",
            Self::AgentPause { .. } => "agent_pause",
            Self::AgentShutdown { .. } => "agent_shutdown",
            Self::MachineFreeze { .. } => "machine_freeze",
        }
    }
}
