//! A data directory of a new cluster, out of a snapshot file.

use super::{
    disk::Disk,
    error::{OpenError, StorageError},
    heir::{self, Heir},
    identity::Identity,
    lineage::Lineage,
    saved::Saved,
};
use quorate_core::{
    bug::{self, Bug},
    state::{self, InheritError},
    types::{ClusterId, NodeId, StorageId},
};

/// What a directory is made of besides the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Whose it is.
    pub node: NodeId,
    /// The id that the members and the token of the new cluster stand for.
    pub configured: ClusterId,
    /// The directory's own id, at random.
    pub storage: StorageId,
    /// Added to the revision of the last change.
    pub revisions: u64,
}

/// Why nothing was restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Something is there.
    #[error(
        "data directory {directory} is not empty: {file} is in it; give a directory that is empty or not there"
    )]
    NotEmpty {
        /// The directory.
        directory: String,
        /// A file in it.
        file: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk failed. The directory is as it was, or the new one.
    #[error(transparent)]
    Write(#[from] StorageError),
    /// The state cannot be taken over.
    #[error(transparent)]
    Inherit(#[from] InheritError),
}

/// Makes an empty directory one of a new cluster that begins with the state in `saved`. All its masters make theirs of the
/// same file with the same options, but for node and storage; it begins when all of them are up. A call that a crash cut off
/// is made again. Gives the new directory's identity.
///
/// # Errors
/// `NotEmpty`, numbers that cannot grow, or the disk's.
pub fn restore(disk: &dyn Disk, saved: Saved, options: RestoreOptions) -> Result<Identity, RestoreError> {
    let RestoreOptions { node, configured, storage, revisions } = options;
    let Saved { header, state } = saved;
    let from = header.identity.cluster;
    let made = state::Heir::of_snapshot((from, configured), header.at.term, state, revisions)?;
    let cluster = if bug::planted(Bug::NetRestoreKeepsCluster) { from } else { made.cluster };
    let identity = Identity::new(cluster, node, storage);
    if heir::finish(disk)? && is_same(disk, identity)? {
        return Ok(Identity {
            storage: Identity::load(disk)?.map_or(storage, |found| found.storage),
            ..identity
        });
    }
    let names = disk.list().map_err(OpenError::from)?;
    if let Some(file) = names.into_iter().find(|name| !heir::is_aside(name)) {
        return Err(RestoreError::NotEmpty { directory: disk.location(), file });
    }
    let state::Heir { at, voters, state, .. } = made;
    heir::install(disk, &Heir { identity, lineage: Lineage { configured, from }, at, state, voters })?;
    Ok(identity)
}

/// Whether the directory is what a call before this one, of the same file for the same members, was about to make.
fn is_same(disk: &dyn Disk, wanted: Identity) -> Result<bool, OpenError> {
    let found = Identity::load(disk)?;
    Ok(found.is_some_and(|found| (found.cluster, found.node) == (wanted.cluster, wanted.node)))
}
