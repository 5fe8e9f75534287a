//! The masters of the cluster: who votes, who learns, where each is reached, and which data directory is theirs.

use super::{
    Outcome, Turn, alarms,
    refuse::{already_exists, invalid, not_found, precondition},
};
use crate::{
    bug::{self, Bug},
    limits::{FORMER_MEMBERS, GIVEN_UP_DIRECTORIES},
    mark::{self, Mark},
    raft::membership::{Change, Membership},
    types::{Index, NodeId, StorageId},
};
use pb::{MemberPart, client_reply::Body, member_change};
use quorate_proto::v1 as pb;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Who takes part, and what is known of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Members {
    membership: Membership,
    /// Their parts are those of `membership`.
    records: BTreeMap<NodeId, pb::MemberRecord>,
    /// The entry that made it.
    index: u64,
    /// How often it was changed since the cluster was founded.
    changes: u64,
    /// The directories of those who were removed, who was removed last behind the others.
    former: Vec<pb::FormerMember>,
}

impl Members {
    /// Who votes and who learns.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The entry that made it.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// How often it was changed since the cluster was founded.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// One master, and nobody else: a cluster was recovered. `changes`: how often it was changed before.
    pub(crate) fn alone(record: pb::MemberRecord, index: Index, changes: u64) -> Self {
        let node = NodeId(record.id);
        let membership = Membership::of([node]);
        let records = BTreeMap::from([(node, record)]);
        let (index, changes) = (index.0, changes.saturating_add(1));
        // Nobody else was of this cluster.
        Self { membership, records, index, changes, former: Vec::new() }.with_parts()
    }

    /// One master.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&pb::MemberRecord> {
        self.records.get(&node)
    }

    /// All, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &pb::MemberRecord)> {
        self.records.iter().map(|(node, record)| (*node, record))
    }

    /// The data directories that were seen.
    #[must_use]
    pub fn storages(&self) -> BTreeMap<NodeId, StorageId> {
        let known = self.records.iter().filter(|(_, record)| record.storage != 0);
        known.map(|(node, record)| (*node, StorageId(record.storage))).collect()
    }

    /// The directories that were given up: [`GIVEN_UP_DIRECTORIES`] of each member.
    #[must_use]
    pub fn given_up(&self) -> BTreeSet<(NodeId, StorageId)> {
        let each = |(node, record): (&NodeId, &pb::MemberRecord)| {
            record.given_up.iter().map(|storage| (*node, StorageId(*storage))).collect::<Vec<_>>()
        };
        self.records.iter().flat_map(each).collect()
    }

    /// The members' priorities, where they are not 0.
    #[must_use]
    pub fn priorities(&self) -> BTreeMap<NodeId, i32> {
        let set = self.records.iter().filter(|(_, record)| record.priority != 0);
        set.map(|(node, record)| (*node, record.priority)).collect()
    }

    /// Whether this may become the directory of a member that has none.
    #[must_use]
    pub fn awaits(&self, node: NodeId, storage: StorageId) -> bool {
        self.get(node).is_some_and(|record| is_awaited(record, storage))
    }

    /// As it is kept.
    #[must_use]
    pub fn record(&self) -> pb::Membership {
        let ids = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
        pb::Membership {
            members: self.records.values().cloned().collect(),
            outgoing: ids(self.membership.outgoing()),
            learners_next: ids(self.membership.learners_next()),
            auto_leave: self.membership.leaves_itself(),
            index: self.index,
            changes: self.changes,
            former: self.former.clone(),
        }
    }

    /// Out of what was kept.
    ///
    /// # Errors
    /// What cannot have come about.
    pub(crate) fn from_record(record: &pb::Membership) -> Result<Self, String> {
        let nodes = |ids: &[u64]| ids.iter().map(|&id| NodeId(id)).collect::<BTreeSet<_>>();
        let of = |part: MemberPart| {
            record.members.iter().filter(|it| it.part() == part).map(|it| NodeId(it.id)).collect()
        };
        let parts = [
            of(MemberPart::Voter),
            nodes(&record.outgoing),
            of(MemberPart::Learner),
            nodes(&record.learners_next),
        ];
        let membership =
            Membership::from_parts(parts, record.auto_leave).map_err(|error| error.to_string())?;
        let records: BTreeMap<_, _> = record.members.iter().map(|it| (NodeId(it.id), it.clone())).collect();
        let former = record.former.clone();
        let members = Self { membership, records, index: record.index, changes: record.changes, former };
        let all = members.membership.members().eq(members.records.keys().copied());
        // Made again: parts and order must be what they would be.
        let same = members.clone().with_parts().record() == *record;
        if all && same && !members.records.contains_key(&NodeId(0)) {
            Ok(members)
        } else {
            Err("its members and their parts do not fit each other".to_owned())
        }
    }

    /// Each record says the part that its node has; who has none goes.
    fn with_parts(mut self) -> Self {
        let members: BTreeSet<NodeId> = self.membership.members().collect();
        for (node, record) in self.records.extract_if(.., |node, _| !members.contains(node)) {
            let given_up = directories(record);
            if !given_up.is_empty() && !bug::planted(Bug::FormerForgotten) {
                self.former.push(pb::FormerMember { id: node.0, given_up });
            }
        }
        let oldest = self.former.len().saturating_sub(FORMER_MEMBERS);
        self.former.drain(..oldest);
        for (node, record) in &mut self.records {
            let part = if self.membership.voters().contains(node) {
                MemberPart::Voter
            } else if self.membership.learners().contains(node) {
                MemberPart::Learner
            } else {
                MemberPart::Leaving
            };
            record.set_part(part);
        }
        self
    }

    /// What these changes make of it. Several voters are changed through a joint configuration.
    ///
    /// # Errors
    /// Why not, for whoever asked.
    pub fn changed(&self, changes: &[pb::MemberChange]) -> Result<Self, pb::Refusal> {
        if self.membership.is_joint() {
            return Err(precondition(format!(
                "another change is under way ({}): try again when it is done",
                self.membership
            )));
        }
        let mut next = self.clone();
        let mut steps = Vec::new();
        for change in changes {
            let Some(change) = &change.change else {
                return Err(invalid("changes: one of them says nothing".to_owned()));
            };
            steps.extend(next.take(change)?);
        }
        next.membership =
            self.membership.changed(&steps, false).map_err(|error| precondition(refused(&steps, &error)))?;
        next.give_up_directories();
        Ok(next.with_parts())
    }

    /// What was replaced is given up, unless it still has a vote: whatever is decided until the joint configuration is left
    /// may need it.
    fn give_up_directories(&mut self) {
        for (node, record) in &mut self.records {
            let votes = self.membership.outgoing().contains(node) && !bug::planted(Bug::ReplacedTooEarly);
            if record.replaced && !votes {
                record.replaced = false;
                record.given_up = directories(record.clone());
                record.storage = 0;
            }
        }
    }

    /// Takes one change into the records, and says what it means for the membership.
    fn take(&mut self, change: &member_change::Change) -> Result<Option<Change>, pb::Refusal> {
        use member_change::Change as Asked;
        Ok(Some(match change {
            Asked::Add(add) => {
                let node = NodeId(add.id);
                if self.records.contains_key(&node) {
                    return Err(already_exists(format!("node {node} is a member already")));
                }
                self.check_addresses(add)?;
                let given_up =
                    self.former.extract_if(.., |former| former.id == add.id).flat_map(|it| it.given_up);
                let given_up = given_up.collect();
                self.records.insert(node, pb::MemberRecord { given_up, ..record(add) });
                Change::AddLearner(node)
            }
            Asked::Update(update) => {
                let pb::MemberRecord { storage, given_up, priority, .. } = self.find(update.id)?.clone();
                self.check_addresses(update)?;
                let moved = pb::MemberRecord { storage, given_up, priority, ..record(update) };
                self.records.insert(NodeId(update.id), moved);
                return Ok(None);
            }
            Asked::Priority(wanted) => {
                self.find(wanted.id)?.priority = wanted.priority;
                return Ok(None);
            }
            Asked::Promote(id) => {
                let member = self.find(*id)?;
                if member.storage == 0 {
                    return Err(precondition(format!("node {id} has not been heard of yet: start it first")));
                }
                Change::AddVoter(NodeId(*id))
            }
            Asked::Demote(id) => {
                self.find(*id)?;
                Change::AddLearner(NodeId(*id))
            }
            Asked::Replace(id) => {
                self.find(*id)?.replaced = true;
                Change::AddLearner(NodeId(*id))
            }
            Asked::Remove(id) => {
                self.find(*id)?;
                Change::Remove(NodeId(*id))
            }
        }))
    }

    fn find(&mut self, id: u64) -> Result<&mut pb::MemberRecord, pb::Refusal> {
        self.records.get_mut(&NodeId(id)).ok_or_else(|| not_found(format!("node {id} is no member")))
    }

    /// Two members at one address would each get the other's messages.
    fn check_addresses(&self, new: &pb::AddMember) -> Result<(), pb::Refusal> {
        let others = self.records.values().filter(|other| other.id != new.id);
        for other in others {
            for (field, own, its) in [
                ("peer_address", &new.peer_address, &other.peer_address),
                ("client_address", &new.client_address, &other.client_address),
            ] {
                if own == its {
                    let id = other.id;
                    return Err(already_exists(format!(
                        "{field} is {own}: that is where node {id} is reached"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The directories that a member is to have no more, if it has none of those that it had.
fn directories(record: pb::MemberRecord) -> Vec<u64> {
    let pb::MemberRecord { storage, mut given_up, .. } = record;
    // 0: nobody has heard of another one since the last was given up.
    given_up.extend(Some(storage).filter(|storage| *storage != 0));
    let oldest = given_up.len().saturating_sub(GIVEN_UP_DIRECTORIES);
    given_up.drain(..oldest);
    given_up
}

fn is_awaited(record: &pb::MemberRecord, storage: StorageId) -> bool {
    record.storage == 0 && !record.given_up.contains(&storage.0)
}

fn record(add: &pb::AddMember) -> pb::MemberRecord {
    pb::MemberRecord {
        id: add.id,
        peer_address: add.peer_address.clone(),
        client_address: add.client_address.clone(),
        storage: 0,
        part: MemberPart::Unspecified.into(),
        replaced: false,
        given_up: Vec::new(),
        priority: 0,
    }
}

fn refused(steps: &[Change], error: &crate::raft::membership::MembershipError) -> String {
    format!("{steps:?}: {error}")
}

/// The members, kept by [`Records`](super::records::Records).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table(Option<Arc<Members>>);

impl Table {
    /// The record was put or deleted.
    pub(crate) fn changed(&mut self, new: Option<Members>) {
        self.0 = new.map(Arc::new);
    }

    /// The members.
    pub(crate) fn get(&self) -> Option<&Members> {
        self.0.as_deref()
    }
}

/// A cluster's first leader says who its voters are. Nothing, if that was said before.
pub(crate) fn found(turn: &mut Turn<'_>, members: &[pb::MemberRecord]) {
    if turn.records.tables().members.get().is_some() {
        return;
    }
    let records: BTreeMap<_, _> = members.iter().map(|it| (NodeId(it.id), it.clone())).collect();
    let membership = Membership::of(records.keys().copied());
    let index = turn.index.0;
    turn.put_membership(Members { membership, records, index, changes: 0, former: Vec::new() }.with_parts());
}

/// Changes who takes part, if it is what somebody may want in the state as it is.
pub(crate) fn change(turn: &mut Turn<'_>, changes: &[pb::MemberChange]) -> Outcome {
    let Some(members) = turn.records.tables().members.get() else {
        return Err(precondition("the cluster has not begun: it has no members yet".to_owned()));
    };
    let next = Members { index: turn.index.0, changes: members.changes + 1, ..members.changed(changes)? };
    let membership = Some(next.record());
    mark::hit_if(next.membership.is_joint(), Mark::JointEntered);
    turn.put_membership(next);
    alarms::follow(turn);
    Ok(Body::ChangeMembers(pb::ChangeMembersReply { membership }))
}

/// Out of a joint configuration. Nothing, if it is left already.
pub(crate) fn leave_joint(turn: &mut Turn<'_>) {
    let left = turn.records.tables().members.get().and_then(|members| {
        let membership = members.membership.leave_joint().ok()?;
        let mut next = Members { membership, index: turn.index.0, ..members.clone() };
        next.give_up_directories();
        Some(next.with_parts())
    });
    if let Some(left) = left {
        turn.put_membership(left);
        alarms::follow(turn);
    }
}

/// The data directory of a member was seen for the first time.
pub(crate) fn know(turn: &mut Turn<'_>, node: NodeId, storage: StorageId) {
    let known = turn.records.tables().members.get().and_then(|members| {
        let record = members.records.get(&node).filter(|record| is_awaited(record, storage))?;
        let mut next = members.clone();
        next.records.insert(node, pb::MemberRecord { storage: storage.0, ..record.clone() });
        Some(next)
    });
    if let Some(known) = known {
        turn.put_membership(known);
        alarms::follow(turn);
    }
}
