//! Who the masters are and who of them decides, as the committed log says. A master decides with the members that it has
//! carried out: the newest, or those before, because a leader adds a change only when it has carried out the last one.

use crate::oracle::quorum::{is_quorum, place_of, reached};
use quorate_core::{
    raft::membership::{Membership, Part},
    state::{Members, State},
    types::{Index, NodeId, StorageId},
};
use std::collections::BTreeSet;

/// Members, from the entry on that made them.
#[derive(Clone, Debug)]
pub(super) struct Era {
    /// As they were carried out; `None`: they found the cluster.
    members: Option<Members>,
    founders: Membership,
}

impl Era {
    /// Who votes and who learns.
    pub(super) fn membership(&self) -> &Membership {
        self.members.as_ref().map_or(&self.founders, Members::membership)
    }

    /// The directory that counts for a member; `None`: any that it has.
    fn directory(&self, node: NodeId) -> Option<StorageId> {
        let record = self.members.as_ref()?.get(node)?;
        (record.storage != 0).then_some(StorageId(record.storage))
    }

    /// Whether the directories that fulfil this are a majority of everybody who may decide. `now`: those that places have.
    pub(super) fn is_quorum(&self, now: &[StorageId], holds: impl Fn(StorageId) -> bool) -> bool {
        let own = |place: usize| self.directory(NodeId(place as u64 + 1)).or_else(|| now.get(place).copied());
        is_quorum(self.membership(), |place| own(place).is_some_and(&holds))
    }

    /// What a majority of everybody who may decide has at least.
    pub(super) fn reached(&self, now: &[StorageId], value: impl Fn(StorageId) -> Index) -> Index {
        let own = |node: NodeId| {
            let kept = place_of(node).and_then(|place| now.get(place).copied());
            self.directory(node).or(kept)
        };
        Index(reached(self.membership(), |node| own(node).map_or(0, |storage| value(storage).0)))
    }
}

/// All members that there were.
pub(super) struct Roll {
    /// The oldest first, and at least one.
    eras: Vec<Era>,
    /// Directories that may vote: those that founded the cluster, and those that a committed entry names.
    known: BTreeSet<StorageId>,
    /// What was carried out since this was last taken.
    pub(super) news: Vec<&'static str>,
}

impl Roll {
    /// These directories found the cluster, by place.
    pub(super) fn founded(storages: &[StorageId]) -> Self {
        let founders = Membership::of((1..=storages.len() as u64).map(NodeId));
        let era = Era { members: None, founders };
        Self { eras: vec![era], known: storages.iter().copied().collect(), news: Vec::new() }
    }

    /// The newest members.
    pub(super) fn newest(&self) -> &Era {
        &self.eras[self.eras.len() - 1]
    }

    /// The newest members as they are kept, once the cluster has begun.
    pub(super) fn members(&self) -> Option<&Members> {
        self.newest().members.as_ref()
    }

    /// How often the members have changed.
    pub(super) fn changes(&self) -> usize {
        self.eras.len() - 1
    }

    /// Who may decide something at this moment.
    pub(super) fn deciding(&self) -> &[Era] {
        self.since(self.changes())
    }

    /// Who may have decided something since there had been so many changes.
    pub(super) fn since(&self, changes: usize) -> &[Era] {
        &self.eras[changes.saturating_sub(1).min(self.changes())..]
    }

    /// The members that were the newest at an index.
    pub(super) fn at(&self, index: Index) -> &Membership {
        let carried = |era: &&Era| era.members.as_ref().is_none_or(|it| it.index() <= index.0);
        self.eras.iter().rev().find(carried).unwrap_or(&self.eras[0]).membership()
    }

    /// Whether the cluster was ever told of this directory: before that, it takes no part in votes.
    pub(super) fn knows(&self, storage: StorageId) -> bool {
        self.known.contains(&storage)
    }

    /// One more entry is committed.
    pub(super) fn follow(&mut self, state: &State) {
        let Some(now) = state.members() else { return };
        let Era { members: before, founders } = self.newest().clone();
        if before.as_ref() == Some(now) {
            return;
        }
        if let Some(before) = &before {
            self.news.extend(differences(before, now));
        }
        self.known.extend(now.storages().into_values());
        let same = before.is_some_and(|it| it.index() == now.index());
        let era = Era { members: Some(now.clone()), founders };
        if same {
            self.eras.pop();
        }
        self.eras.push(era);
    }
}

/// What became of members, in words.
fn differences(before: &Members, now: &Members) -> Vec<&'static str> {
    let mut news = Vec::new();
    for (node, record) in now.iter() {
        let Some(old) = before.get(node) else {
            news.push("members: one is added");
            continue;
        };
        let part = |members: &Members| members.membership().part(node);
        match (part(before), part(now)) {
            (Part::Learner, Part::Voter) => news.push("members: one is promoted"),
            (Part::Voter, Part::Learner) => news.push("members: one is demoted"),
            _ => {}
        }
        if record.given_up != old.given_up && !record.given_up.is_empty() {
            news.push("members: a directory is given up");
        }
        if old.storage == 0 && record.storage != 0 {
            let again = !record.given_up.is_empty() || !old.given_up.is_empty();
            news.push(if again { "members: a replaced one is known" } else { "members: a new one is known" });
        }
        if old.peer_address != record.peer_address {
            news.push("members: one has moved");
        }
        if old.priority != record.priority {
            news.push("members: a priority is set");
        }
    }
    let gone = before.iter().filter(|(node, _)| now.get(*node).is_none());
    news.extend(gone.map(|_| "members: one is removed"));
    if now.membership().is_joint() {
        news.push("members: several voters change at once");
    }
    news
}
