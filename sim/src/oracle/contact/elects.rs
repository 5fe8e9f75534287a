//! Who may lead does: a majority that votes is enough, and so is the word of a leader that hands over.

use super::{Ledger, Place, Rule, Stepped};
use crate::oracle::quorum::is_quorum;
use quorate_core::{
    Node,
    identity::Standing,
    limits::APPLY_ENTRIES,
    point::Point,
    raft::Role,
    types::{NodeId, StorageId, Term},
};
use quorate_proto::v1::{self as pb, envelope::Body};

impl Place {
    /// A node takes a message, which it hears.
    pub(super) fn asked_to_lead(&mut self, node: &Node, envelope: &pb::Envelope) {
        let (raft, from, term) = (node.raft(), NodeId(envelope.from), Term(envelope.term));
        let identity = node.identity();
        if *identity.standing() != Standing::Member || term != raft.term() {
            return;
        }
        match &envelope.body {
            Some(Body::VoteReply(reply))
                if raft.role() == Role::Candidate && identity.counts(from, StorageId(envelope.storage)) =>
            {
                if self.votes.0 != term {
                    self.votes = (term, Default::default());
                }
                // The last word of each counts.
                if reply.granted {
                    self.votes.1.insert(from)
                } else {
                    self.votes.1.remove(&from)
                };
            }
            Some(Body::TimeoutNow(_)) => {
                let follows = raft.role() == Role::Follower && raft.leader() == Some(from);
                self.handed = follows.then_some(from);
            }
            _ => {}
        }
    }

    /// Whoever has begun to stand in this step: with members that are older than those that it knows to be committed, its
    /// majority might not meet theirs.
    fn carried_first(&self, ledger: &mut Ledger, Stepped { master, raft, .. }: Stepped<'_>, node: &Node) {
        let (role, term, owed) = self.before;
        let stands = matches!(raft.role(), Role::PreCandidate | Role::Candidate | Role::Leader);
        if !stands || (role, term) == (Some(raft.role()), raft.term()) {
            return;
        }
        let applied = node.state().index();
        ledger.hold(Rule::CarriedFirst, owed.is_none_or(|owed| applied >= owed), || {
            format!(
                "node {} becomes {:?} in term {}; it knew {owed:?} to be committed, and has carried out {applied}",
                master.id,
                raft.role(),
                raft.term()
            )
        });
    }

    /// After a step of a node.
    pub(super) fn leads_when_it_may(&mut self, ledger: &mut Ledger, step: Stepped<'_>) {
        let Stepped { master, raft, .. } = step;
        let handed = self.handed.take();
        let Some(node) = &master.node else { return };
        self.carried_first(ledger, step, node);
        let able = raft.has_vote() && raft.membership().is_voter(master.id) && !raft.is_stalled();
        let (applied, commit) = (node.state().index(), raft.commit());
        // What is committed is carried out first, as much of it as one input allows.
        let owed = commit.0.saturating_sub(applied.0);
        let slowly = master.fires(Point::ApplyOne) > 0 || owed >= APPLY_ENTRIES as u64;
        // It was told before this step carried out the last of it.
        let carried_slowly = self.carries_slowly;
        self.carries_slowly = slowly || (self.carries_slowly && owed > 0);
        if let Some(from) = handed {
            let stands = raft.role() != Role::Follower;
            let busy = carried_slowly || self.carries_slowly;
            ledger.hold(Rule::HandedStands, stands || !able || busy, || {
                format!(
                    "leader {from} tells node {} to lead, which does not stand; {commit} is committed, {applied} carried out",
                    master.id
                )
            });
        }
        if raft.role() != Role::Candidate || self.votes.0 != raft.term() {
            return;
        }
        // Nobody is asked before the own vote is on the disk.
        let votes = |place: usize| {
            let node = NodeId(place as u64 + 1);
            node == master.id || self.votes.1.contains(&node)
        };
        let won = is_quorum(raft.membership(), votes) && applied >= commit;
        ledger.hold(Rule::VotesElect, !won || !able, || {
            format!(
                "node {} has the votes of {:?} in term {}, and does not lead; {commit} is committed, {applied} carried out",
                master.id,
                self.votes.1,
                raft.term()
            )
        });
    }
}
