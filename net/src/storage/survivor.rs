//! What a master that outlived the majority of its cluster holds, and making a cluster of it alone.

use super::{
    disk::Disk,
    error::{OpenError, StorageError},
    heir::{self, Heir},
    identity::Identity,
    inspect,
    lineage::Lineage,
    recovery::Torn,
    snapshots::SnapshotStore,
};
use quorate_core::{
    contract::{HardState, LogPosition},
    state::{InheritError, Inheritance, State, Unfit},
    types::{Index, StorageId, Term},
};
use quorate_proto::v1 as pb;
use std::sync::Arc;

/// What a directory holds, with its whole log carried out.
#[derive(Clone, Debug)]
pub struct Survivor {
    /// Whose it is.
    pub identity: Identity,
    /// The newest hard state. Up to its `commit` entries are known to be committed; what is behind may be.
    pub hard_state: HardState,
    /// The last entry.
    pub last: LogPosition,
    /// The newest snapshot.
    pub snapshot: Option<LogPosition>,
    /// Writes that were cut off, and of which nobody was told.
    pub torn: Vec<Torn>,
    /// The state behind the last entry.
    pub state: State,
    lineage: Option<Lineage>,
}

/// Why a directory was not examined or recovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurvivorError {
    /// It cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be written. It is as it was, or the new one.
    #[error(transparent)]
    Write(#[from] StorageError),
    /// An entry of a version that is not known.
    #[error("the entry at {index} cannot be read ({what}): run a version that knows it")]
    Entry {
        /// Its place.
        index: Index,
        /// What does not decode.
        what: String,
    },
    /// A cluster should not go on with it.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The state cannot be taken over.
    #[error(transparent)]
    Inherit(#[from] InheritError),
}

/// Reads everything in a directory, as a start does, carries out its whole log, and changes nothing.
///
/// # Errors
/// As [`Storage::open`](super::Storage::open); or an entry that cannot be read.
pub fn examine(disk: &Arc<dyn Disk>) -> Result<Survivor, SurvivorError> {
    let (identity, recovery) = inspect::read(disk)?;
    let store = SnapshotStore::new(Arc::clone(disk), identity);
    let snapshot = store.newest().map_err(OpenError::from)?;
    let loaded = snapshot.map(|at| store.load(at)).transpose();
    let mut state = loaded.map_err(|error| store.open_error(error))?.flatten().unwrap_or_default();
    let content = recovery.content;
    // A peer's snapshot that came just before a crash stands in place of a log that does not lead to it.
    let follows = snapshot.is_none_or(|at| at.index <= content.shape.start.index || content.shape.holds(at));
    let mut last = content.shape.last();
    if follows {
        let entries = content.entries.iter();
        state
            .replay(entries)
            .map_err(|(index, error)| SurvivorError::Entry { index, what: error.to_string() })?;
    } else {
        last = snapshot.unwrap_or(last);
    }
    let lineage = Lineage::load(&**disk)?;
    let (hard_state, torn) = (content.hard_state, recovery.torn);
    Ok(Survivor { identity, hard_state, last, snapshot, torn, state, lineage })
}

impl Survivor {
    /// Whether a cluster may go on with it.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Unfit> {
        self.state.check_survivor(self.identity.node, self.identity.storage)
    }

    /// Whether its log says where it is reached. Not if it was removed: then an operator has to.
    #[must_use]
    pub fn knows_own_address(&self) -> bool {
        self.state.members().is_some_and(|members| members.get(self.identity.node).is_some())
    }

    /// The members that are forgotten when it goes on alone.
    #[must_use]
    pub fn forgotten(&self) -> Vec<pb::MemberRecord> {
        let members = self.state.members().map(|members| members.record().members).unwrap_or_default();
        members.into_iter().filter(|record| record.id != self.identity.node.0).collect()
    }

    /// The directory becomes that of a new cluster, whose only member it is, and which holds all that is in its log.
    /// `storage`: a new id for it, at random. `insist`: though a cluster should not go on with it.
    ///
    /// # Errors
    /// As [`check`](Self::check), unless an operator may insist; the disk's: then it is as it was, or the new one.
    pub fn recover(
        self,
        disk: &dyn Disk,
        storage: StorageId,
        insist: bool,
    ) -> Result<Identity, SurvivorError> {
        if let Err(unfit) = self.check()
            && !(insist && unfit.may_insist())
        {
            return Err(unfit.into());
        }
        let heir = self.heir(storage)?;
        heir::install(disk, &heir)?;
        Ok(heir.identity)
    }

    fn heir(self, storage: StorageId) -> Result<Heir, InheritError> {
        let Self { identity: old, hard_state, last, state, lineage, .. } = self;
        let known = state.members().and_then(|members| members.get(old.node)).cloned();
        let alone = pb::MemberRecord {
            id: old.node.0,
            storage: storage.0,
            replaced: false,
            given_up: 0,
            ..known.unwrap_or_default()
        };
        let state = state.inherited(&Inheritance { revisions: 0, sessions: true, alone: Some(alone) })?;
        let configured = lineage.map_or(old.cluster, |lineage| lineage.configured);
        // The storage id is in it: two that are recovered alone are two clusters, though they may hold the same.
        let cluster = state.heir(old.cluster, configured, storage.0);
        let term = Term(hard_state.term.max(last.term).0.saturating_add(1));
        Ok(Heir {
            identity: Identity::new(cluster, old.node, storage),
            lineage: Lineage { configured, from: old.cluster },
            at: LogPosition { term, index: state.index() },
            voters: [(old.node, storage)].into(),
            state,
        })
    }
}
