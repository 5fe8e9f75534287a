//! How large the masters' logs may grow, and how fast snapshots leave.

use super::is_zero;
use quorate_core::{contract::LogBytes, limits};
use serde::{Deserialize, Serialize};

/// The same for all masters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogPlan {
    /// Applied between two snapshots, bytes.
    pub snapshot_bytes: u64,
    /// Kept behind a snapshot, bytes.
    pub trailing_bytes: u64,
    /// In all, while a leader keeps it for followers, bytes; 0 = it keeps nothing for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held_bytes: u64,
    /// Snapshots in a second, bytes; 0 = as fast as followers take them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub snapshot_rate: u64,
}

impl Default for LogPlan {
    fn default() -> Self {
        Self {
            snapshot_bytes: limits::SNAPSHOT_LOG_BYTES,
            trailing_bytes: limits::TRAILING_BYTES,
            held_bytes: 0,
            snapshot_rate: 0,
        }
    }
}

impl LogPlan {
    /// As the core takes it.
    #[must_use]
    pub const fn bytes(&self) -> LogBytes {
        LogBytes { snapshot: self.snapshot_bytes, trailing: self.trailing_bytes, held: self.held_bytes }
    }

    /// Whether a plan need not say it.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
