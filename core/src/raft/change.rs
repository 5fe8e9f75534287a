//! How a node's membership follows the log (Ongaro's dissertation, chapter 4).
//!
//! A change is an entry like any other, and takes effect at a node when that carries it out. Four rules keep the majorities
//! of any two nodes that could decide something neighbours:
//!
//! * A leader adds a change only when it has carried out every change before it, and an entry of its own term.
//! * Whoever hears of a change knows that the one before is committed: the append that brings it says so, and a voter that
//!   answers a candidate says what it knows to be committed. A crash may keep the entry and lose that knowledge, so the
//!   answer counts.
//! * A change is over when an entry behind it is held by a majority of the new members: not before is it answered, and not
//!   before is anybody free to go who was needed until then.
//! * Nobody stands for election before it has carried out all that it knows to be committed.

use super::{Effect, ProposeError, Raft, Role, membership::Membership, message::Message, progress::Progress};
use crate::{
    bug::{self, Bug},
    contract::{Entry, LogPosition},
    limits::{INHERITED_INDEXES, PROMOTED_PERCENT},
    mark::{self, Mark},
    trace::{StepDown, TraceEvent},
    types::{Index, NodeId, Time},
};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Whether who holds the log up to `matched` has most of one that ends at `last`. What a cluster that took over another one's
/// state passed over counts nothing.
pub(super) fn has_most(matched: Index, last: Index) -> bool {
    let all = last.0 % INHERITED_INDEXES;
    let has = matched.0.saturating_sub(last.0 - all);
    u128::from(has) * 100 >= u128::from(all) * u128::from(PROMOTED_PERCENT)
}

impl Raft {
    /// A leader adds an entry that may change the membership. As [`propose`](Self::propose).
    ///
    /// # Errors
    /// Also `ChangePending` while the change before is not carried out here.
    pub fn propose_change(&mut self, data: Bytes) -> Result<Index, ProposeError> {
        if self.leading.is_none() {
            return Err(ProposeError::NotLeader);
        }
        if self.has_change_pending() {
            return Err(ProposeError::ChangePending);
        }
        let index = self.propose(data)?;
        if let Some(leading) = &mut self.leading {
            leading.changes_until = index;
        }
        Ok(index)
    }

    /// Whether this leader has not carried out the change before, and so takes no other one.
    #[must_use]
    pub fn has_change_pending(&self) -> bool {
        let pending = self.is_changing() && !bug::planted(Bug::ChangeAtOnce);
        mark::hit_if(pending, Mark::ChangeWaits);
        pending
    }

    /// Whether this node has led for so short a time that it does not know yet which change came before, or who answers.
    #[must_use]
    pub fn is_new_leader(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| {
            leading.first_of_term > self.applied || self.now.since(leading.since) < self.timing.election_max
        })
    }

    /// Whether the membership may become this one as far as a leader sees: a majority of it must answer, and be able to elect a
    /// leader if one of now is; and whoever votes from then on must have nearly all of the log, so that commits do not wait for
    /// it, and no other state than the majority. `named`: whose state differs as an alarm says, though this leader has compared
    /// nothing yet.
    ///
    /// # Errors
    /// Why not, and what would be right. Nothing, if this node does not lead.
    pub fn check_change(&self, next: &Membership, named: &[NodeId]) -> Result<(), String> {
        let Some(leading) = &self.leading else { return Ok(()) };
        let answers = |node: NodeId| match leading.progress.get(&node) {
            // Who has not answered since the election may have been gone before.
            Some(peer) => peer.answered && self.now.since(peer.active_at) <= self.timing.election_max,
            None => node == self.id,
        };
        let enough = next.reached(|node| u64::from(answers(node))) > 0;
        if !enough && !bug::planted(Bug::ChangeUnhealthy) {
            mark::hit(Mark::ChangeUnhealthy);
            let silent: Vec<_> = next.all_voters().filter(|node| !answers(*node)).collect();
            return Err(format!(
                "of the voters after this change ({next}), {silent:?} do not answer: too few would be left to decide anything"
            ));
        }
        // Whose state differs keeps the log, and elects nobody.
        let differs =
            |node: NodeId| named.contains(&node) || self.differing().any(|(other, _)| other == node);
        let heard = |node: NodeId| answers(node) || bug::planted(Bug::ChangeUnhealthy);
        let elects = |node: NodeId| u64::from(heard(node) && !differs(node));
        if next.reached(elects) == 0 && self.membership.reached(elects) > 0 {
            let differing: Vec<_> = next.all_voters().filter(|node| differs(*node)).collect();
            return Err(format!(
                "of the voters after this change ({next}), the states of {differing:?} differ from the majority's: too few would be \
                 left to elect a leader; replace those first, or take the alarm back if they are mended"
            ));
        }
        let last = self.log.last().index;
        for node in next.voters().difference(self.membership.voters()).filter(|node| **node != self.id) {
            if differs(*node) {
                return Err(format!(
                    "the state of node {node} differs from the majority's: replace it first, or take the alarm back if it is mended"
                ));
            }
            let matched = leading.progress.get(node).map_or(Index(0), |peer| peer.matched);
            if !has_most(matched, last) && !bug::planted(Bug::PromotedEarly) {
                mark::hit(Mark::ChangeTooEarly);
                return Err(format!(
                    "node {node} has {matched} of {last} entries: it must have {PROMOTED_PERCENT} % to vote; try again later"
                ));
            }
        }
        Ok(())
    }

    /// Everything up to the entry at `index` was carried out.
    pub fn applied(&mut self, index: Index) {
        self.applied = self.applied.max(index);
        self.recount_votes();
    }

    /// All votes may have come before what an answer told of was carried out.
    fn recount_votes(&mut self) {
        let stands = matches!(self.role, Role::Candidate | Role::PreCandidate);
        let recounts = !bug::planted(Bug::VotesNotRecounted);
        if stands && recounts && self.applied >= self.hard_state.commit {
            self.count_votes();
        }
    }

    /// The same; and the membership is this one from there on. `known`: it is of this node's data directory that it speaks,
    /// if it speaks of this node.
    pub fn follow(&mut self, index: Index, membership: Membership, known: bool) {
        self.applied = self.applied.max(index);
        (self.membership_at, self.membership, self.known) = (index, membership, known);
        self.trace(TraceEvent::MembershipChanged { index, membership: self.membership.to_string() });
        let votes = self.is_voter();
        if self.leading.is_some() {
            self.follow_members();
            // Fewer may be needed.
            self.advance_commit();
            self.confirm_reads();
        } else if !votes && self.role != Role::Follower {
            self.become_follower(self.hard_state.term, None, StepDown::Removed);
        }
        if self.leading.is_none() && self.election_at == Time::FAR {
            self.reset_election_timer();
        }
        self.recount_votes();
    }

    /// A leader adds an empty entry behind the change that it has just carried out. When a majority of the new members holds
    /// that, they know that the change is committed, whatever happens to anybody else: then [`Effect::MembershipConfirmed`]
    /// follows, and a leader that was removed steps down. Nothing, if this node does not lead.
    pub fn confirm_membership(&mut self) {
        let (term, index) = (self.hard_state.term, self.log.last().index.next());
        let Some(leading) = &mut self.leading else { return };
        (leading.changes_until, leading.confirms) = (index, Some(index));
        self.log.push(Entry { term, index, data: Bytes::new() });
        if bug::planted(Bug::ChangeUnconfirmed) {
            self.membership_confirmed(index);
        }
    }

    /// Whether a leader's log may hold a change that it has not carried out, so that others may be members any time.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.changes_until > self.applied)
    }

    /// Whether a leader does not know yet that a majority of the newest members knows that they are.
    #[must_use]
    pub fn is_confirming(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.confirms.is_some())
    }

    /// Everything up to `commit` is held by a majority of the members.
    pub(crate) fn membership_confirmed(&mut self, commit: Index) {
        let Some(leading) = &mut self.leading else { return };
        if leading.confirms.take_if(|index| *index <= commit).is_some() {
            mark::hit(Mark::MembershipConfirmed);
            self.effects.push_back(Effect::MembershipConfirmed);
            self.hand_over();
            self.resign_if_removed();
        }
    }

    /// A leader without a vote steps down, and tells a voter that holds everything to stand at once. To be called by whoever
    /// does not confirm memberships.
    pub fn resign_if_removed(&mut self) {
        if self.leading.is_none() || self.is_voter() || bug::planted(Bug::RemovedLeads) {
            return;
        }
        mark::hit(Mark::DeposedRemoved);
        // That it is committed nobody else may know.
        self.send_heartbeats();
        // Who holds everything need not wait for a timeout.
        let last = self.log.last().index;
        let successor = self.successor().filter(|to| self.matched(*to) >= Some(last));
        if let Some(to) = successor {
            self.send(to, Message::TimeoutNow);
        }
        self.become_follower(self.hard_state.term, None, StepDown::Removed);
    }

    /// Whether this node votes, as far as it knows: with this directory, not with one that it had before.
    pub(crate) fn is_voter(&self) -> bool {
        let learns = bug::planted(Bug::LearnerCampaigns) && self.membership.learners().contains(&self.id);
        self.known && (self.membership.is_voter(self.id) || learns)
    }

    /// A leader sends to whoever takes part, and to nobody else.
    fn follow_members(&mut self) {
        // The first probe of a new member brings it the last entry.
        let (now, next) = (self.now, self.log.last().index.max(Index(1)));
        let members = self.peers();
        let Some(leading) = &mut self.leading else { return };
        leading.progress.retain(|peer, _| members.contains(peer));
        for peer in members {
            leading.progress.entry(peer).or_insert_with(|| Progress::of_new_member(next, now));
        }
    }

    /// The data directories of these peers are others from now on: what the old ones had acknowledged counts no more.
    pub fn forget_peers(&mut self, peers: &BTreeSet<NodeId>) {
        for peer in peers {
            self.forget_differing(*peer);
        }
        let (now, next) = (self.now, self.log.last().index.next());
        let Some(leading) = &mut self.leading else { return };
        for (peer, progress) in &mut leading.progress {
            if peers.contains(peer) && !bug::planted(Bug::ReplacedCounts) {
                mark::hit(Mark::ProgressOfAnother);
                *progress = Progress::new(next, now);
            }
        }
    }

    /// A voter says what it knows to be committed. What this node holds there is the same entry, so it and all before it
    /// are committed here too (log matching; Raft, section 5.3). A leader counts for itself.
    pub(crate) fn hear_commit(&mut self, commit: LogPosition) {
        let told = !bug::planted(Bug::VoteTellsNothing);
        if told && self.leading.is_none() && commit.index > self.hard_state.commit && self.log.holds(commit) {
            mark::hit(Mark::CommitByVote);
            self.set_commit(commit.index);
        }
    }

    /// What this node knows to be committed.
    pub(crate) fn committed(&self) -> LogPosition {
        let index = self.hard_state.commit;
        LogPosition { term: self.log.term_at(index).unwrap_or_default(), index }
    }

    /// Who takes part, as far as this node has carried the log out.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The entry that made the membership; 0 = none.
    #[must_use]
    pub const fn membership_index(&self) -> Index {
        self.membership_at
    }

    /// Everything up to it was carried out here.
    #[must_use]
    pub const fn applied_index(&self) -> Index {
        self.applied
    }
}
