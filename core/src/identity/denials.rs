//! What a directory is told that is not the one that is known.

use crate::types::{NodeId, StorageId};
use quorate_proto::v1::{self as pb, denied, envelope::Body};

pub(super) fn other_storage(node: NodeId, found: StorageId, kept: StorageId, members_index: u64) -> Body {
    Body::Denied(pb::Denied {
        reason: denied::Reason::OtherStorage.into(),
        message: format!(
            "node {node} is known with data directory {kept:?}, not {found:?}: its directory was lost or replaced; \
             it takes no part until the member is replaced"
        ),
        storage: found.0,
        members_index,
    })
}

pub(super) fn given_up(node: NodeId, found: StorageId, members_index: u64) -> Body {
    Body::Denied(pb::Denied {
        reason: denied::Reason::OtherStorage.into(),
        message: format!(
            "data directory {found:?} of node {node} was given up: start the node with an empty directory, so that it joins"
        ),
        storage: found.0,
        members_index,
    })
}

pub(super) fn lost(node: NodeId, from: NodeId, kept: StorageId, found: StorageId) -> String {
    format!(
        "node {from} knows node {node} with data directory {kept:?}, not {found:?}: this directory is new or was \
         replaced; it takes no part until the member is replaced"
    )
}
