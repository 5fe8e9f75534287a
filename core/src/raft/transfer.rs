//! A leader hands over to a follower that holds all of its log (Ongaro's dissertation, section 3.10).
//!
//! From the begin of a transfer on the leader takes no proposals, so that its log stands still; as soon as its successor holds
//! it, that is told to stand for election at once, without asking first. Whoever votes for it knows that the leader wants it
//! so. If nobody leads after an election timeout, the leader goes on as before, and does not begin another one by itself for a while.

use super::{Raft, Role, message::Message, progress::Progress};
use crate::{
    bug::{self, Bug},
    mark::{self, Mark},
    trace::TraceEvent,
    types::{NodeId, Time},
};

/// A transfer that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    to: NodeId,
    /// Then it is given up.
    pub(crate) until: Time,
    /// The successor was told, in this period.
    told: bool,
}

/// Why a leader does not hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Ask the leader.
    #[error("this node does not lead")]
    NotLeader,
    /// Choose a voter.
    #[error("node {0} has no vote: only a voter can lead")]
    NoVote(NodeId),
    /// Choose one that is to lead, or give this one another priority.
    #[error("node {0} is not to lead: its priority is below 0")]
    NotEligible(NodeId),
    /// Choose one that takes part.
    #[error("the state of node {0} differs from the majority's: it takes no part")]
    Differs(NodeId),
    /// Choose one that answers, or wait until this one does.
    #[error("node {0} does not answer its leader")]
    Silent(NodeId),
    /// Add another voter.
    #[error("there is no other voter")]
    Alone,
    /// Wait until another voter answers.
    #[error("no other voter answers")]
    Nobody,
    /// Wait until it is over.
    #[error("leadership is being handed to node {0} already")]
    UnderWay(NodeId),
}

impl Transfer {
    pub(crate) const fn to(self) -> NodeId {
        self.to
    }
}

impl Raft {
    /// Hands over to this voter, or to the one that holds most of the log. Answers to whom: to this node, if it is the one.
    /// That it leads is seen by its heartbeats; that it does not, by [`TraceEvent::TransferGivenUp`].
    ///
    /// # Errors
    /// See [`TransferError`]. Ask again when its reason is gone.
    pub fn transfer(&mut self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let Some(leading) = &self.leading else { return Err(TransferError::NotLeader) };
        if to == Some(self.id) {
            return Ok(self.id);
        }
        if let Some(transfer) = &leading.transfer {
            let same = to.is_none_or(|to| to == transfer.to);
            return if same { Ok(transfer.to) } else { Err(TransferError::UnderWay(transfer.to)) };
        }
        let to = match to {
            Some(to) if !self.membership.is_voter(to) => return Err(TransferError::NoVote(to)),
            Some(to) if !self.is_eligible(to) => return Err(TransferError::NotEligible(to)),
            Some(to) if self.is_differing(to) => return Err(TransferError::Differs(to)),
            Some(to) if !self.answers(leading.progress.get(&to)) => return Err(TransferError::Silent(to)),
            Some(to) => to,
            None if self.membership.all_voters().all(|voter| voter == self.id) => {
                return Err(TransferError::Alone);
            }
            None => self.successor().ok_or(TransferError::Nobody)?,
        };
        mark::hit(Mark::TransferBegins);
        let until = self.now + self.timing.election_max;
        if let Some(leading) = &mut self.leading {
            leading.transfer = Some(Transfer { to, until, told: false });
        }
        self.trace(TraceEvent::TransferBegun { to });
        self.hand_over();
        Ok(to)
    }

    /// To whom it is handing over.
    #[must_use]
    pub fn transferring(&self) -> Option<NodeId> {
        self.leading.as_ref()?.transfer.as_ref().map(|transfer| transfer.to)
    }

    /// The voter that answers and is to lead, holds the whole log, was sent all of it, is not the one that a hand-over was given
    /// up to, has the highest priority and holds most of the log, in this order; of several, the one with the lowest id.
    pub(crate) fn successor(&self) -> Option<NodeId> {
        let leading = self.leading.as_ref()?;
        let others = leading
            .progress
            .iter()
            .filter(|(_, progress)| progress.answered && self.answers(Some(progress)))
            .filter(|(peer, _)| self.membership.is_voter(**peer) && !self.is_differing(**peer));
        let last = self.log.last().index;
        let rank = |(peer, progress): &(&NodeId, &Progress)| {
            let (peer, close) = (**peer, progress.is_close(last) || bug::planted(Bug::SuccessorLags));
            let holds = (progress.matched >= last, close);
            let again = leading.given_up_on == Some(peer);
            (self.is_eligible(peer), holds, !again, self.priority_of(peer), progress.matched)
        };
        others.rev().max_by_key(rank).map(|(peer, _)| *peer)
    }

    pub(crate) fn answers(&self, peer: Option<&Progress>) -> bool {
        peer.is_some_and(|peer| self.now.since(peer.active_at) <= self.timing.election_max)
    }

    /// Tells the successor to stand as soon as it holds everything. Call it when it acknowledged something.
    pub(crate) fn hand_over(&mut self) {
        let last = self.log.last().index;
        let Some(leading) = &mut self.leading else { return };
        let Some(transfer) = &mut leading.transfer else { return };
        // Behind a change that is not over, another entry is to come.
        if leading.changes_until > self.applied || leading.confirms.is_some() {
            return;
        }
        let holds = leading.progress.get(&transfer.to).is_some_and(|peer| peer.matched >= last);
        if (holds || bug::planted(Bug::TransferEarly)) && !transfer.told {
            transfer.told = true;
            leading.told_to_lead = true;
            let to = transfer.to;
            self.send(to, Message::TimeoutNow);
        }
    }

    /// A leader's period: what was lost is said again, and what takes too long is given up.
    pub(crate) fn transfer_due(&mut self) {
        let now = self.now;
        let Some(leading) = &mut self.leading else { return };
        let Some(transfer) = &mut leading.transfer else { return };
        if now >= transfer.until && !bug::planted(Bug::TransferForEver) {
            let to = transfer.to;
            mark::hit(Mark::TransferGivenUp);
            (leading.transfer, leading.given_up_on) = (None, Some(to));
            self.hand_over_failed();
            self.trace(TraceEvent::TransferGivenUp { to });
            return;
        }
        transfer.told = false;
        self.hand_over();
    }

    /// Its leader wants this node to lead.
    pub(crate) fn told_to_lead(&mut self, from: NodeId) {
        if self.leader == Some(from) && self.role == Role::Follower {
            // Whom it was promised to wants it otherwise.
            self.no_vote_until = self.now;
        }
        if self.leader != Some(from) || self.role != Role::Follower || !self.may_campaign() {
            mark::hit(Mark::TransferRefused);
            return;
        }
        mark::hit(Mark::TransferTaken);
        self.stand(true);
    }
}
