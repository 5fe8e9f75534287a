//! Reads that are current though nothing is written.
//!
//! A leader numbers reads with positions that only grow in its term. It sends the highest position with its heartbeats
//! and keeps the highest that each voter has sent back; what a majority has reached is confirmed. An answer that is
//! repeated or late carries a position that is already covered, so it cannot confirm anything that came after it.

use super::{Effect, ProposeError, Raft, quorum};
use crate::{
    bug::{self, Bug},
    limits,
    mark::{self, Mark},
    point::Point,
    types::{Index, NodeId},
};
use std::collections::VecDeque;

/// The reads of a reign.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Reads {
    /// The highest position given to a read.
    given: u64,
    /// The highest position sent.
    sent: u64,
    /// The highest position confirmed.
    confirmed: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Debug, Hash)]
struct Waiting {
    position: u64,
    token: u64,
    index: Index,
}

impl Reads {
    /// The position for a round of heartbeats: it covers the reads so far, unless some of them want a round of their own.
    pub(crate) const fn send_round(&mut self) -> u64 {
        if self.sent < self.given {
            self.sent += 1;
        }
        self.sent
    }

    /// Whether reads wait.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether reads wait and no round that covers an earlier one is on its way.
    const fn wants_round(&self) -> bool {
        self.given > self.sent && self.confirmed == self.sent
    }
}

impl Raft {
    /// Asks for a confirmation that this node led after the call. `ReadConfirmed` with this token follows, or `Deposed`.
    ///
    /// # Errors
    /// `NotLeader`, or `Full` while too many wait.
    pub fn read(&mut self, token: u64) -> Result<(), ProposeError> {
        let commit = self.hard_state.commit;
        let Some(leading) = &mut self.leading else { return Err(ProposeError::NotLeader) };
        if leading.reads.waiting.len() >= limits::PENDING_READS {
            return Err(ProposeError::Full);
        }
        // Before its first entry is committed, a leader's commit index may be behind what was answered before.
        let index =
            if bug::planted(Bug::ReadBeforeFirst) { commit } else { commit.max(leading.first_of_term) };
        mark::hit_if(commit < leading.first_of_term, Mark::ReadEarly);
        if self.lease_holds() {
            mark::hit(Mark::LeaseRead);
            self.effects.push_back(Effect::ReadConfirmed { token, index });
            return Ok(());
        }
        let Some(leading) = &mut self.leading else { return Err(ProposeError::NotLeader) };
        if bug::planted(Bug::ReadUnconfirmed) {
            self.effects.push_back(Effect::ReadConfirmed { token, index });
            return Ok(());
        }
        let reads = &mut leading.reads;
        let reused = bug::planted(Bug::ReadPositionReused) && reads.given > 0;
        mark::hit_if(reads.given > reads.sent, Mark::ReadShares);
        mark::hit_if(reads.confirmed < reads.sent, Mark::ReadWaitsForRound);
        // Reads between two rounds share the next one.
        let shared = reads.given > reads.sent;
        let alone = shared && (self.points.fires(Point::ReadAlone) || bug::planted(Bug::ReadNotShared));
        if (!shared && !reused) || alone {
            reads.given += 1;
        }
        reads.waiting.push_back(Waiting { position: reads.given, token, index });
        Ok(())
    }

    /// Sends a round for the reads of this step. One round is on its way at a time; a lost one is repeated with the
    /// next heartbeat. Call it when the step's changes are complete.
    pub fn start_read_round(&mut self) {
        if self.leading.as_ref().is_some_and(|leading| leading.reads.wants_round()) {
            self.send_heartbeats();
            self.confirm_reads();
        }
    }

    pub(crate) fn confirm_reads(&mut self) {
        let Some(leading) = &mut self.leading else { return };
        let sent = leading.reads.sent;
        let position = |node: NodeId| match leading.progress.get(&node) {
            Some(progress) => progress.position,
            None if node == self.id => sent,
            None => 0,
        };
        let reached = match bug::planted(Bug::ReadOneShort) {
            true => quorum::reached_by_one_less(self.membership.all_voters().map(position)),
            false => self.membership.reached(position),
        };
        let reached = reached.min(leading.reads.sent);
        leading.reads.confirmed = leading.reads.confirmed.max(reached);
        while let Some(read) = leading.reads.waiting.front()
            && read.position <= leading.reads.confirmed
        {
            self.effects.push_back(Effect::ReadConfirmed { token: read.token, index: read.index });
            leading.reads.waiting.pop_front();
        }
    }
}
