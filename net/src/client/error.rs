//! What a request of a client can end with, besides its answer.

use quorate_proto::v1::RefusalCode;

/// Why a request got no answer that says it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The cluster refused. The message names the field, the value and what would be right.
    #[error("{message}")]
    Refused {
        /// What kind of refusal.
        code: RefusalCode,
        /// The text of the node that refused.
        message: String,
    },
    /// No endpoint could be reached: check the addresses, and whether the masters run.
    #[error("no master can be reached at {}: {last}", endpoints.join(", "))]
    Unreachable {
        /// Those that were tried.
        endpoints: Vec<String>,
        /// How the last try failed.
        last: String,
    },
    /// No answer before the deadline; a change may have been applied, or may still be. Read before asking again.
    #[error("no answer in time, and what was asked may have been done: {last}")]
    Deadline {
        /// How the last try failed.
        last: String,
    },
    /// The session ended while the outcome was not known: the change may have been applied once. Read before asking again.
    #[error(
        "the session expired before an answer came: the change may have been applied, read before asking again"
    )]
    SessionExpired,
    /// An endpoint that is no `host:port`.
    #[error("endpoint {endpoint:?} {why}")]
    BadEndpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong, and what would be right.
        why: String,
    },
}

impl ClientError {
    /// Whether the same may succeed later. A change that may have been applied already is not to be repeated blindly.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(code, RefusalCode::Exhausted | RefusalCode::Unavailable),
            Self::Unreachable { .. } | Self::Deadline { .. } => true,
            Self::SessionExpired | Self::BadEndpoint { .. } => false,
        }
    }

    /// Whether there was no cluster to answer: no node, or none that knows a leader.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(code, RefusalCode::Unavailable),
            Self::Unreachable { .. } | Self::Deadline { .. } => true,
            Self::SessionExpired | Self::BadEndpoint { .. } => false,
        }
    }
}
