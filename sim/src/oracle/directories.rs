//! The data directories that members had: none comes back.

use super::{Ledger, Rule};
use quorate_core::{
    state::Members,
    types::{NodeId, StorageId},
};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of all members' directories.
#[derive(Debug, Default)]
pub(super) struct Directories {
    now: BTreeMap<NodeId, StorageId>,
    before: BTreeSet<(NodeId, StorageId)>,
}

impl Directories {
    /// The members were changed, or one of them was heard of.
    pub(super) fn follow(&mut self, ledger: &mut Ledger, members: Option<&Members>) {
        let now = members.map(Members::storages).unwrap_or_default();
        for (node, storage) in core::mem::take(&mut self.now) {
            if now.get(&node) != Some(&storage) {
                self.before.insert((node, storage));
            }
        }
        for (&node, &storage) in &now {
            ledger.hold(Rule::DirectoryGivenUp, !self.before.contains(&(node, storage)), || {
                format!("node {node} has directory {storage}, which it had before and has lost")
            });
        }
        self.now = now;
    }
}
