//! The bytes of an entry: version byte, command tag (16 bits), length (32 bits), bincode payload.

use crate::command::Proposal;
use bytes::Bytes;

/// Why bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// The bytes of a proposal.
#[must_use]
pub fn encode(_proposal: &Proposal) -> Bytes {
    unimplemented!()
}

/// The proposal in these bytes.
///
/// # Errors
/// An unknown version or tag, a wrong length, a payload that does not decode.
pub fn decode(_bytes: &Bytes) -> Result<Proposal, CodecError> {
    unimplemented!()
}
