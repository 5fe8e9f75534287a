//! Reads of a leader that asks nobody, for as long as nobody else can lead (Ongaro's dissertation, section 6.4.1).
//!
//! With each heartbeat a leader may ask for a promise: whoever answers gives no vote for the shortest election timeout, by
//! its own clock, neither to another node nor to itself. From when a majority was asked on, the leader may so long take it
//! that nobody else leads, less by how far two clocks may run apart. Four things would break the promise, and do not:
//!
//! * A higher term that is heard, or a connection that is reset, does not end it.
//! * Who comes up again keeps what it may have promised before it went down.
//! * Who is told by its leader to stand at once is free, and whoever votes for it knows that it was told. A leader that has
//!   told somebody so reads by no lease for the rest of its term: the word may arrive late.
//! * A directory in place of another has promised nothing, and the leader knows (`forget_peers`).

use super::Raft;
use crate::{
    bug::{self, Bug},
    mark::{self, Mark},
    types::{NodeId, Time},
};
use core::time::Duration;

const MILLION: u32 = 1_000_000;

impl Raft {
    /// Whether this leader reads without asking anybody at this moment.
    pub(crate) fn lease_holds(&self) -> bool {
        let (Some(leading), Some(drift)) = (&self.leading, self.timing.read_lease_drift_ppm) else {
            return false;
        };
        let told = leading.told_to_lead && !bug::planted(Bug::LeaseOutlivesTransfer);
        if told || self.hard_state.commit < leading.first_of_term {
            return false;
        }
        let asked = |node: NodeId| match leading.progress.get(&node) {
            Some(peer) => peer.promised_at.map_or(0, |at| at.0),
            None if node == self.id => self.now.0,
            None => 0,
        };
        let asked = self.membership.reached(asked);
        let holds = asked > 0 && self.now.since(Time(asked)) < self.lease(drift);
        mark::hit_if(asked > 0 && !holds, Mark::LeaseOver);
        holds
    }

    /// How long a lease is by the clock of a leader that may be slower than every other.
    fn lease(&self, drift_ppm: u32) -> Duration {
        match bug::planted(Bug::LeaseTooLong) {
            true => self.timing.election_max * 2,
            false => self.timing.election_min / MILLION * MILLION.saturating_sub(drift_ppm),
        }
    }

    /// What a heartbeat asks for: its sender's clock, to be sent back by who promises; nothing if there are no leases.
    pub(crate) fn lease_asked(&self) -> Option<Time> {
        self.timing.read_lease_drift_ppm.map(|_| self.now)
    }

    /// The leader of this term asks for the promise.
    pub(crate) fn promise_no_vote(&mut self) {
        mark::hit(Mark::LeasePromised);
        self.no_vote_until = self.no_vote_until.max(self.now + self.timing.election_min);
    }

    /// Whether this node has promised to vote for nobody.
    pub(crate) fn is_promised(&self) -> bool {
        self.now < self.no_vote_until
    }

    /// A voter promised, when it was asked at this time of this node's clock.
    pub(crate) fn lease_promised(&mut self, from: NodeId, asked: Time) {
        let now = self.now;
        if let Some(progress) = self.leading.as_mut().and_then(|leading| leading.progress.get_mut(&from)) {
            progress.promised_at = progress.promised_at.max(Some(asked.min(now)));
        }
    }
}
