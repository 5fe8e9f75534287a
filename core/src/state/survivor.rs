//! A directory that outlived the majority of its cluster, and what goes on alone with what it holds.

use super::{InheritError, Inheritance, State, Unfit};
use crate::{
    bug::{self, Bug},
    codec::CodecError,
    contract::{Entry, HardState, LogPosition, Recovered, Voters},
    types::{ClusterId, Index, NodeId, StorageId, Term},
};
use quorate_proto::v1 as pb;

/// What a directory holds, with its whole log carried out.
#[derive(Clone, Debug)]
pub struct Survivor {
    /// Whose it is.
    pub node: NodeId,
    /// Its own id.
    pub storage: StorageId,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// The newest hard state. Up to its `commit` entries are known to be committed; what is behind may be.
    pub hard_state: HardState,
    /// The last entry.
    pub last: LogPosition,
    /// The state behind it.
    pub state: State,
}

/// What a cluster begins with that goes on with another one's state.
#[derive(Clone, Debug)]
pub struct Heir {
    /// Another one than that it comes from: whoever is left of that is not heard.
    pub cluster: ClusterId,
    /// Behind which entry its log begins. Where it goes on with a log, its term is higher than any that the survivor has seen.
    pub at: LogPosition,
    /// The directories that decide. None: its founders have yet to find each other.
    pub voters: Voters,
    /// The state there.
    pub state: State,
}

impl Heir {
    /// What the founders of a new cluster begin with out of a snapshot that was saved: all keys and records, and no client's
    /// session. `from`: whose it was; `configured`: the id that the founders would have by their settings; `term`: the
    /// snapshot's; `revisions`: added to the keys' newest revision.
    ///
    /// # Errors
    /// A number that cannot grow any more.
    pub fn of_snapshot(
        (from, configured): (ClusterId, ClusterId),
        term: Term,
        state: State,
        revisions: u64,
    ) -> Result<Self, InheritError> {
        let state = state.inherited(&Inheritance { revisions, sessions: false, alone: None })?;
        let (cluster, at) = (state.heir(from, configured, 0), LogPosition { term, index: state.index() });
        Ok(Self { cluster, at, voters: Voters::new(), state })
    }

    /// What its directory says of terms and of what is committed.
    #[must_use]
    pub const fn hard_state(&self) -> HardState {
        HardState { term: self.at.term, vote: None, commit: self.at.index }
    }
}

impl Survivor {
    /// Carries out the whole log of what a directory held: also what may not be committed. Nobody is left to say that it is not,
    /// and what was acknowledged may be in it.
    ///
    /// # Errors
    /// An entry that cannot be read, with its place.
    pub fn of(
        (cluster, node, storage): (ClusterId, NodeId, StorageId),
        recovered: Recovered,
    ) -> Result<Self, (Index, CodecError)> {
        let Recovered { hard_state, start, entries, snapshot, .. } = recovered;
        let last = entries.last().map_or(start, |entry| entry.position());
        let of_log = |at: LogPosition| {
            let place =
                at.index.0.checked_sub(start.index.0 + 1).and_then(|place| usize::try_from(place).ok());
            place.and_then(|place| entries.get(place)).is_some_and(|entry| entry.position() == at)
        };
        // A peer's snapshot that came just before a crash stands in place of a log that does not lead to it.
        let follows = snapshot.as_ref().is_none_or(|it| it.at.index <= start.index || of_log(it.at));
        let at = snapshot.as_ref().map(|snapshot| snapshot.at);
        let mut state = snapshot.map(|snapshot| snapshot.state).unwrap_or_default();
        if follows {
            let certain =
                |entry: &&Entry| !bug::planted(Bug::HeirTailDropped) || entry.index <= hard_state.commit;
            state.replay(entries.iter().filter(certain))?;
        }
        let last = if follows { last } else { at.unwrap_or(last) };
        Ok(Self { node, storage, cluster, hard_state, last, state })
    }

    /// Whether a cluster may go on with it.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Unfit> {
        self.state.check_survivor(self.node, self.storage)
    }

    /// What a new cluster begins with, whose only member it is, and which holds all that is in its log. `configured`: the id that
    /// its masters would have by their settings; `storage`: a new id for the directory, at random.
    ///
    /// # Errors
    /// A number that cannot grow any more.
    pub fn alone(self, configured: ClusterId, storage: StorageId) -> Result<Heir, InheritError> {
        let Self { node, cluster: old, hard_state, last, state, .. } = self;
        let known = state.members().and_then(|members| members.get(node)).cloned();
        let alone = pb::MemberRecord {
            id: node.0,
            storage: storage.0,
            replaced: false,
            given_up: Vec::new(),
            ..known.unwrap_or_default()
        };
        let state = state.inherited(&Inheritance { revisions: 0, sessions: true, alone: Some(alone) })?;
        // The storage id is in it: two that are recovered alone are two clusters, though they may hold the same.
        let cluster = state.heir(old, configured, storage.0);
        let term = Term(hard_state.term.max(last.term).0.saturating_add(1));
        let at = LogPosition { term, index: state.index() };
        Ok(Heir { cluster, at, voters: [(node, storage)].into(), state })
    }
}
