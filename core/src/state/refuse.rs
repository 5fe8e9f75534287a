//! Refusals by name.

use pb::RefusalCode;
use quorate_proto::v1 as pb;

const fn refusal(code: RefusalCode, message: String) -> pb::Refusal {
    pb::Refusal { code: code as i32, message, leader: 0 }
}

/// A field has a value that it cannot have.
pub(crate) const fn invalid(message: String) -> pb::Refusal {
    refusal(RefusalCode::Invalid, message)
}

/// There is no such thing.
pub(crate) const fn not_found(message: String) -> pb::Refusal {
    refusal(RefusalCode::NotFound, message)
}

/// There is one of that name.
pub(crate) const fn already_exists(message: String) -> pb::Refusal {
    refusal(RefusalCode::AlreadyExists, message)
}

/// The thing is in no state for it.
pub(crate) const fn precondition(message: String) -> pb::Refusal {
    refusal(RefusalCode::Precondition, message)
}

/// A limit is reached.
pub(crate) const fn exhausted(message: String) -> pb::Refusal {
    refusal(RefusalCode::Exhausted, message)
}

/// The session is not known, or has forgotten so old a request.
pub(crate) const fn session_expired(message: String) -> pb::Refusal {
    refusal(RefusalCode::SessionExpired, message)
}

/// Something newer took its place.
pub(crate) const fn stale(message: String) -> pb::Refusal {
    refusal(RefusalCode::Stale, message)
}
