//! What a master that outlived the majority of its cluster holds, and making a cluster of it alone.

use super::{
    choice::begin,
    differs,
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
    contract::{LogPosition, Recovered, Snapshot},
    state::{self, InheritError, Unfit},
    types::{Index, StorageId},
};
use quorate_proto::v1 as pb;
use std::sync::Arc;

/// What a directory holds, with its whole log carried out.
#[derive(Clone, Debug)]
pub struct Survivor {
    /// Whose it is.
    pub identity: Identity,
    /// What it holds, with its whole log carried out.
    pub held: state::Survivor,
    /// The newest snapshot that is whole.
    pub snapshot: Option<LogPosition>,
    /// Writes that were cut off, and of which nobody was told.
    pub torn: Vec<Torn>,
    /// What was said when its state was found to differ from the majority's. Not to be taken then.
    pub differs: Option<String>,
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
    let identity = inspect::identity(&**disk)?;
    let store = SnapshotStore::new(Arc::clone(disk), identity);
    let (recovery, choice) = begin(&store, SnapshotStore::load)?;
    let (content, snapshot) = (recovery.content, choice.snapshot);
    let at = snapshot.as_ref().map(|(at, _)| *at);
    let recovered = Recovered {
        hard_state: content.hard_state,
        voters: content.voters,
        start: content.shape.start,
        entries: content.entries.into(),
        snapshot: snapshot.map(|(at, state)| Snapshot { at, state }),
    };
    let held = state::Survivor::of((identity.cluster, identity.node, identity.storage), recovered)
        .map_err(|(index, error)| SurvivorError::Entry { index, what: error.to_string() })?;
    let lineage = Lineage::load(&**disk)?;
    let differs = differs::said(&**disk).map_err(OpenError::from)?;
    Ok(Survivor { identity, held, snapshot: at, torn: recovery.torn, differs, lineage })
}

impl Survivor {
    /// Whether a cluster may go on with it.
    ///
    /// # Errors
    /// Why not. What the log says, that is: see also [`differs`](Self::differs).
    pub fn check(&self) -> Result<(), Unfit> {
        self.held.check()
    }

    /// Whether its log says where it is reached. Not if it was removed: then an operator has to.
    #[must_use]
    pub fn knows_own_address(&self) -> bool {
        self.held.state.members().is_some_and(|members| members.get(self.identity.node).is_some())
    }

    /// The members that are forgotten when it goes on alone.
    #[must_use]
    pub fn forgotten(&self) -> Vec<pb::MemberRecord> {
        let members = self.held.state.members().map(|members| members.record().members).unwrap_or_default();
        members.into_iter().filter(|record| record.id != self.identity.node.0).collect()
    }

    /// The directory becomes that of a new cluster, whose only member it is, and which holds all that is in its log.
    /// `storage`: a new id for it, at random. `insist`: though a cluster should not go on with it.
    ///
    /// # Errors
    /// As [`check`](Self::check), unless an operator may insist; its state differs; the disk's: then it is as it was, or the new
    /// one.
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
        differs::check(disk)?;
        let heir = self.heir(storage)?;
        heir::install(disk, &heir)?;
        Ok(heir.identity)
    }

    fn heir(self, storage: StorageId) -> Result<Heir, InheritError> {
        let Self { identity: old, held, lineage, .. } = self;
        let configured = lineage.map_or(old.cluster, |lineage| lineage.configured);
        let state::Heir { cluster, at, voters, state } = held.alone(configured, storage)?;
        Ok(Heir {
            identity: Identity::new(cluster, old.node, storage),
            lineage: Lineage { configured, from: old.cluster },
            at,
            voters,
            state,
        })
    }
}
