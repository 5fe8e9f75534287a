//! Whether a directory may go back in time at this moment.
//!
//! A master that forgets what it acknowledged, or whom it voted for, can break Raft's promise all by itself: with it, a
//! majority may elect a leader that lacks a committed entry. The core refuses such a directory its vote as soon as a peer
//! that knows better says so, but the peer that knows may be down. So an old copy is put back, and a lying sync loses
//! something, only while the others hold everything that would be forgotten: then nothing is lost even if nobody
//! notices. It is looked at on the disks themselves, so it holds whatever other faults are in the plan.

use super::World;
use crate::{
    disk::Image,
    master::Master,
    network::Endpoint,
    oracle::{Rule, quorum::is_quorum},
};
use quorate_core::{
    Input,
    raft::Role,
    types::{Index, NodeId, StorageId, Term},
};
use quorate_proto::v1::{self as pb, envelope::Body};
use std::collections::BTreeSet;

impl World {
    /// Whether every directory says who the voters are: the cluster has begun everywhere.
    pub(super) fn known_to_all(&self) -> bool {
        let known = |place: usize, master: &Master| {
            master.wiped || !master.disk.image.voters.is_empty() || !self.is_member(place)
        };
        let founders = self.masters.iter().enumerate().take(self.plan.masters.founding());
        founders.into_iter().all(|(place, master)| known(place, master))
    }

    /// Whether this master may start from `older` without a promise being broken.
    pub(super) fn may_forget(&self, at: usize, older: &Image) -> bool {
        let master = &self.masters[at];
        let now = &master.disk.image;
        let promised = now.hard_state;
        if !self.known_to_all() || older.voters.is_empty() || master.wiped || master.gone {
            return false;
        }
        // It would lead, or run, a second time in a term in which others have voted for it.
        if promised.vote == Some(master.id) {
            return false;
        }
        if self.changes_members() && self.change_pending() {
            return false;
        }
        let mut holders = BTreeSet::new();
        for (place, other) in self.masters.iter().enumerate() {
            if place == at || other.wiped || other.gone || !self.is_member(place) {
                continue;
            }
            let hard_state = other.disk.image.hard_state;
            if hard_state.term < promised.term {
                return false;
            }
            // Somebody may still ask for the vote that it would give a second time.
            let asks = other.node.as_ref().is_some_and(|node| {
                node.raft().term() == promised.term && node.raft().role() == Role::Candidate
            });
            let rival = asks || (hard_state.term == promised.term && hard_state.vote == Some(other.id));
            if rival && promised.vote.is_some_and(|vote| vote != other.id) {
                return false;
            }
            let reliable = other.intact() && !self.atlas.fragile.contains(&(place as u8));
            if reliable && other.disk.image.holds(now.last()) {
                holders.insert(place);
            }
        }
        self.in_force().into_iter().all(|voters| is_quorum(voters, |place| holders.contains(&place)))
    }

    /// Remembers what a fragile master promises to a peer, and looks whether that peer tells it what it was promised.
    pub(super) fn promises(&mut self, at: usize, envelope: &pb::Envelope) {
        let Some(Body::Hello(hello)) = &envelope.body else { return };
        let run = self.masters[at].run;
        let Some(place) = envelope.to.checked_sub(1).and_then(|place| u8::try_from(place).ok()) else {
            return;
        };
        let Some(&(known, term, index)) = self.promised.get(&(at as u8, place)) else { return };
        let told = (Term(hello.seen_term), Index(hello.seen_index));
        self.ledger.hold(Rule::NoVoteWiped, known != run || told >= (term, index), || {
            format!(
                "node {} tells {} that it promised {told:?}; it was ({term}, {index})",
                at + 1,
                envelope.to
            )
        });
    }

    /// A run that was told that its directory went back in time takes no part from then on.
    pub(super) fn caught_is_quiet(&mut self, at: usize) {
        let master = &self.masters[at];
        let votes = master.node.as_ref().is_some_and(|node| node.raft().has_vote());
        self.ledger.hold(Rule::NoVoteWiped, !votes || master.caught != master.run, || {
            format!("node {} was told that it went back in time, and takes part", at + 1)
        });
    }

    /// A message for a master, which must not take part once it hears that it promised more than it holds.
    pub(super) fn hears(&mut self, at: usize, envelope: pb::Envelope) {
        let from = envelope.from.saturating_sub(1) as u8;
        let master = &self.masters[at];
        let steps_now = master.pauses == 0 && master.steps.is_empty() && master.busy_until <= self.time;
        let votes = |world: &Self| world.masters[at].node.as_ref().is_some_and(|node| node.raft().has_vote());
        let term = Term(envelope.term);
        let promise = match &envelope.body {
            Some(Body::AppendReply(reply)) if reply.accepted => Some((term, Index(reply.index))),
            Some(Body::VoteReply(reply)) if reply.granted => Some((term, Index(0))),
            Some(Body::HeartbeatAnswer(answer)) if answer.verified_index > 0 => {
                Some((term, Index(answer.verified_index)))
            }
            _ => None,
        };
        let told = match &envelope.body {
            Some(Body::Hello(hello)) if master.rolled && !hello.empty && steps_now => {
                Some((Term(hello.seen_term), Index(hello.seen_index)))
            }
            _ => None,
        };
        let held = master.node.as_ref().map(|node| (node.raft().term(), node.raft().held_index()));
        // What an older directory said may still come, and counts for nothing.
        let said = (NodeId(envelope.from), StorageId(envelope.storage));
        let knows = master.node.as_ref().and_then(|node| node.identity().known().get(&said.0).copied());
        let current = knows == Some(said.1)
            && self.masters.get(usize::from(from)).is_some_and(|it| it.storage == said.1);
        let fragile = current && self.atlas.fragile.contains(&from);
        let counts = promise.filter(|_| steps_now && fragile && votes(self));
        let run = master.run;
        let follows = self.follows[at];
        self.step_master(at, Input::Peer(Box::new(envelope)));
        // What it was promised by a directory that this very message has replaced is forgotten.
        if let Some(promise) = counts.filter(|_| self.follows[at] == follows) {
            let known = self.promised.entry((at as u8, from)).or_insert((run, Term(0), Index(0)));
            let before = if known.0 == run { (known.1, known.2) } else { (Term(0), Index(0)) };
            let (term, index) = before.max(promise);
            *known = (run, term, index);
        }
        if let (Some(told), Some(held)) = (told, held) {
            let forgot = told.0 > held.0 || (told.0 == held.0 && told.1 > held.1);
            self.ledger.hold(Rule::NoVoteWiped, !forgot || !votes(self), || {
                format!("node {} holds {held:?}, hears that it promised {told:?}, and takes part", at + 1)
            });
            if forgot {
                self.masters[at].caught = run;
                self.line(Endpoint::Master(at as u8), "forgot", || format!("{told:?}, holds {held:?}"));
            }
        }
    }
}
