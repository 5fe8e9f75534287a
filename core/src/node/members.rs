//! Who takes part, as the log says: Raft, the identity and the driver follow it.

use super::Node;
use crate::{
    bug::{self, Bug},
    command::{Command, RequestId},
    contract::{MemberAddress, Output},
    lead::Errand,
    mark::{self, Mark},
    state::{Members, precondition},
    types::{Index, NodeId, StorageId},
};
use quorate_proto::v1 as pb;
use std::collections::BTreeMap;

impl Node {
    /// The entry at `index` changed who takes part, or a snapshot up to it did.
    pub(super) fn follow_members(&mut self, index: Index) {
        let Some(members) = self.state.members() else { return };
        let changed = self.identity.follow(members);
        if let Some(others) = changed.as_ref().filter(|others| !others.is_empty()) {
            self.raft.forget_peers(others);
            self.raft.keep_voters(self.identity.carried().clone());
            self.spoken.retain(|node, _| !others.contains(node));
        }
        self.raft.follow(index, members.membership().clone(), changed.is_some());
        self.raft.set_priorities(members.priorities());
        // The entry that leaves a joint configuration comes by itself.
        if !members.membership().leaves_itself() {
            self.raft.confirm_membership();
        }
        let verdict = self.identity.decide();
        self.obey(verdict);
        // What was before this directory came may lack who brings it up to date.
        if changed.is_some() {
            self.tell_members();
        }
    }

    /// Tells the driver where everybody is.
    pub(super) fn tell_members(&mut self) {
        self.outputs.push_back(Output::Members(self.addresses()));
    }

    /// The members as this node knows them.
    pub(super) fn list_members(&self) -> pb::ListMembersReply {
        let records = match self.state.members() {
            Some(members) => members.record().members,
            None => self.founders(),
        };
        let leader = self.raft.leader().map_or(0, |leader| leader.0);
        let member = |record: pb::MemberRecord| pb::Member {
            is_leader: record.id == leader,
            part: record.part,
            id: record.id,
            peer_address: record.peer_address,
            client_address: record.client_address,
            storage: record.storage,
            priority: record.priority,
        };
        pb::ListMembersReply {
            members: records.into_iter().map(member).collect(),
            cluster: self.config.cluster.0,
            index: self.state.members().map_or(0, Members::index),
        }
    }

    /// Where everybody is. A node that comes up may need the greetings of members that it was told of, and has not carried out.
    pub(super) fn addresses(&self) -> BTreeMap<NodeId, MemberAddress> {
        let address = |record: &pb::MemberRecord| {
            let (peer, client) = (record.peer_address.clone(), record.client_address.clone());
            (NodeId(record.id), MemberAddress { peer, client })
        };
        let own = self.state.members();
        let newer = |it: &&pb::Membership| own.is_none_or(|own| own.index() < it.index);
        match (self.identity.newest_members().filter(newer), own) {
            (Some(told), _) => told.members.iter().map(address).collect(),
            (None, Some(own)) => own.iter().map(|(_, record)| address(record)).collect(),
            (None, None) => self.config.members.clone(),
        }
    }

    /// A peer may have told who the members are: then the driver is told where they are.
    pub(super) fn tell_newer_members(&mut self, before: u64) {
        if self.newest_members() > before && !bug::planted(Bug::NetToldNowhere) {
            self.tell_members();
        }
    }

    /// The entry that made the newest members that this node knows of.
    pub(super) fn newest_members(&self) -> u64 {
        self.identity.newest_members().map_or(0, |it| it.index)
    }

    /// The voters that found the cluster, if this node is one of them and knows them all.
    pub(super) fn founders(&self) -> Vec<pb::MemberRecord> {
        let known = self.identity.known();
        let founders = self.config.members.iter().filter(|_| !self.config.joins);
        let record = |(node, address): (&NodeId, &MemberAddress)| pb::MemberRecord {
            id: node.0,
            peer_address: address.peer.clone(),
            client_address: address.client.clone(),
            storage: known.get(node).map_or(0, |storage| storage.0),
            part: pb::MemberPart::Voter.into(),
            replaced: false,
            given_up: Vec::new(),
            priority: 0,
        };
        founders.map(record).collect()
    }

    /// What is proposed for a change that a client asks for. A change of the members that would leave the cluster without a
    /// majority that answers, or that would let somebody vote who lacks much of the log, is not: only its leader knows who
    /// answers. But the same request may be on its way, in this log or from a follower: so the refusal goes through the log
    /// as well, and what comes first there is the answer.
    ///
    /// # Errors
    /// A leader that was just elected does not know yet.
    pub(super) fn considered(
        &self,
        request: Option<RequestId>,
        command: Command,
    ) -> Result<Command, pb::Refusal> {
        let Command::ChangeMembers { changes } = &command else { return Ok(command) };
        let answered = request.is_some_and(|request| self.state.has_answered(&request));
        let reason = if answered { Some("it was answered".to_owned()) } else { self.objection(changes) };
        match (reason, request) {
            (None, _) => Ok(command),
            (Some(reason), _) if !answered && self.raft.is_new_leader() => {
                mark::hit(Mark::ChangeTooSoon);
                Err(self.unavailable(&format!("this node was just elected ({reason})")))
            }
            (Some(reason), Some(_)) if !bug::planted(Bug::RefusalNotKept) => {
                mark::hit_if(answered, Mark::ChangeAskedAgain);
                Ok(Command::RefuseChange { reason })
            }
            (Some(reason), _) => Err(precondition(reason)),
        }
    }

    pub(super) fn objection(&self, changes: &[pb::MemberChange]) -> Option<String> {
        if self.raft.has_change_pending() {
            return Some("another change of the members is under way; try again when it is done".to_owned());
        }
        // What is wrong with the change itself, it is told when it is carried out.
        let next = self.state.members()?.changed(changes).ok()?;
        self.raft.check_change(next.membership(), &self.named_differing()).err()
    }

    /// A member speaks whose directory is not known yet: its leader has it written down.
    pub(super) fn stranger_heard(&mut self, node: NodeId, storage: StorageId) {
        let asks = |lead: &crate::lead::Lead| lead.is_active() && lead.is_free(Errand::Know(node));
        let awaited = self.state.members().is_some_and(|members| members.awaits(node, storage));
        let stranger = awaited && !bug::planted(Bug::MemberNotKnown);
        if stranger && self.lead.as_ref().is_some_and(asks) {
            self.propose_errand(Errand::Know(node), Command::KnowMember { node, storage });
        }
    }
}
