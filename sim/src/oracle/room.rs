//! Who has no more room, kept from the committed log beside the state's own table: what takes room is refused while a member
//! has none.

use super::{Ledger, Rule, answers::brief, directories::Directories, reference::refusal};
use crate::master::Master;
use quorate_core::{
    codec,
    command::Command,
    raft::Role,
    state::State,
    types::{Index, NodeId, StorageId},
};
use quorate_proto::v1::{self as pb, client_reply::Body};
use std::collections::{BTreeMap, BTreeSet};

/// What a refusal for want of room says.
const SAYS: &str = "has no more room";

/// So much of a command is in a message, characters.
const SHOWN: usize = 120;

/// The alarms.
#[derive(Debug, Default)]
pub struct Alarms {
    raised: BTreeSet<NodeId>,
    /// Those whose states differ; at most one of both a node.
    differing: BTreeMap<NodeId, StorageId>,
    directories: Directories,
    /// A member has no room.
    short: bool,
    /// With this entry all members had room again.
    ended: Index,
}

impl Alarms {
    /// What is known when a cluster goes on with the state of another. Answers of the old one may still be on their way.
    #[must_use]
    pub fn inherited(state: &State) -> Self {
        Self { ended: state.index(), ..Self::default() }
    }

    /// A member without room; `None`: there is room everywhere.
    #[must_use]
    pub fn room(&self, state: &State) -> Option<NodeId> {
        self.raised.iter().copied().find(|node| is_member(state, *node))
    }

    /// An entry was carried out that is not the repetition of another. `state`: behind it.
    pub fn applied(
        &mut self,
        ledger: &mut Ledger,
        state: &State,
        command: &Command,
        reply: &pb::ClientReply,
    ) {
        match command {
            Command::RaiseAlarm { alarm } => self.raised(state, alarm),
            command if command.changes_membership() => {
                self.directories.follow(ledger, state.members());
                self.differing.retain(|node, storage| storage_of(state, *node) == Some(*storage));
            }
            Command::DisarmAlarm { node } => self.disarmed(ledger, *node, reply),
            _ => {}
        }
        // Jobs are refused for other bounds as well.
        let refused =
            refusal(reply).filter(|it| it.code() == pb::RefusalCode::Exhausted && it.message.contains(SAYS));
        let short = self.room(state).filter(|_| takes_room(command));
        ledger.hold(Rule::RoomShort, refused.is_some() == short.is_some(), || {
            let asked: String = format!("{command:?}").chars().take(SHOWN).collect();
            format!("{asked} is answered {:?}; without room: {:?}", reply.body, self.raised)
        });
        let short = self.room(state).is_some();
        if self.short && !short {
            self.ended = state.index();
        }
        self.short = short;
    }

    /// A client was answered without an entry. `floor`: what had been answered when it asked first.
    pub fn answered(
        &self,
        ledger: &mut Ledger,
        request: &pb::ClientRequest,
        floor: Index,
        reply: &pb::ClientReply,
    ) {
        if refusal(reply).is_some_and(|it| it.message.contains(SAYS)) {
            ledger.hold(Rule::RoomShort, self.short || self.ended > floor, || {
                format!(
                    "{} is refused; there is room since {}, and {floor} was answered",
                    brief(request),
                    self.ended
                )
            });
        }
    }

    fn raised(&mut self, state: &State, alarm: &pb::Alarm) {
        let node = NodeId(alarm.node);
        let storage = StorageId(alarm.storage);
        match alarm.kind() {
            _ if !is_member(state, node) => {}
            pb::AlarmKind::Differs
                if !self.raised.contains(&node) && storage_of(state, node) == Some(storage) =>
            {
                self.differing.insert(node, storage);
            }
            pb::AlarmKind::Space => {
                self.differing.remove(&node);
                self.raised.insert(node);
            }
            _ => {}
        }
    }

    fn disarmed(&mut self, ledger: &mut Ledger, node: Option<NodeId>, reply: &pb::ClientReply) {
        let wanted = |raised: &NodeId| node.is_none_or(|node| node == *raised);
        let all: BTreeSet<NodeId> = self.raised.iter().chain(self.differing.keys()).copied().collect();
        let taken: Vec<u64> = all.iter().filter(|raised| wanted(raised)).map(|node| node.0).collect();
        self.raised.retain(|raised| !wanted(raised));
        self.differing.retain(|raised, _| !wanted(raised));
        let Some(Body::DisarmAlarm(told)) = &reply.body else { return };
        let told: Vec<u64> = told.alarms.iter().map(|alarm| alarm.node).collect();
        ledger.hold(Rule::RoomShort, told == taken, || {
            format!("alarms of {told:?} are disarmed; raised were, of those that are meant, {taken:?}")
        });
    }
}

/// The directory of a member; none has the number 0.
fn storage_of(state: &State, node: NodeId) -> Option<StorageId> {
    state.members().map(|members| members.get(node).map_or(StorageId(0), |record| StorageId(record.storage)))
}

/// A member that has no more room, as far as this state knows.
pub fn without_room(state: &State) -> impl Iterator<Item = NodeId> {
    let space = state.alarms().filter(|alarm| alarm.kind() == pb::AlarmKind::Space);
    space.map(|alarm| NodeId(alarm.node)).filter(|node| is_member(state, *node))
}

/// After each step of a node: a leader that knew of a member without room before, and still does, has taken in nothing that
/// takes room.
pub fn stepped(ledger: &mut Ledger, master: &Master) {
    let Some(node) = master.node.as_ref().filter(|_| master.led && master.short) else { return };
    let Some(short) = without_room(node.state()).next() else { return };
    let raft = node.raft();
    if raft.role() != Role::Leader {
        return;
    }
    for index in master.ended_at.0 + 1..=raft.last_index().0 {
        let entry = raft.entry(Index(index)).filter(|entry| !entry.data.is_empty());
        let Some(proposal) = entry.and_then(|entry| codec::decode(&entry.data).ok()) else { continue };
        ledger.hold(Rule::RoomKept, !takes_room(&proposal.command), || {
            let taken: String = format!("{:?}", proposal.command).chars().take(SHOWN).collect();
            format!("leader {} takes entry {index}, {taken}, while node {short} has no more room", master.id)
        });
    }
}

fn is_member(state: &State, node: NodeId) -> bool {
    state.members().is_some_and(|members| members.get(node).is_some())
}

/// Counted here, and not by the code that is looked at.
const fn takes_room(command: &Command) -> bool {
    matches!(command, Command::Put { .. } | Command::CompareAndSet { .. } | Command::SubmitJob { .. })
}
