//! What a node keeps while it leads, and no longer.

use super::{agreement::Agreement, progress::Progress, read::Reads, sending::Chunks, transfer::Transfer};
use crate::types::{Index, NodeId, Time};
use std::collections::BTreeMap;

/// What only a leader keeps.
#[derive(Clone, Debug)]
pub(crate) struct Leading {
    /// Everybody else who takes part.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// The first entry of the term: until it is committed, nothing of older terms is known to be.
    pub(crate) first_of_term: Index,
    pub(crate) reads: Reads,
    pub(crate) heartbeat_at: Time,
    /// Of all entries that are not committed, those of earlier terms among them.
    pub(crate) uncommitted_bytes: usize,
    /// Behind every change of the membership that the log may hold.
    pub(crate) changes_until: Index,
    /// Once it is committed, a majority of the newest members knows who they are.
    pub(crate) confirms: Option<Index>,
    pub(crate) transfer: Option<Transfer>,
    /// To whom the last transfer was, if it was given up.
    pub(crate) given_up_on: Option<NodeId>,
    /// Somebody was told to stand at once, in this term.
    pub(crate) told_to_lead: bool,
    pub(crate) agreement: Agreement,
    pub(crate) chunks: Chunks,
    /// When it was elected.
    pub(crate) since: Time,
}
