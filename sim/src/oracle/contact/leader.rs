//! What a leader owes: its followers get what they lack, count for what they said, and without a majority it steps down.

use super::{
    super::{flow::REPEAT_HEARTBEATS, quorum::reached},
    Contact, Ledger, Place, Rule, Stepped,
};
use crate::master::Master;
use quorate_core::{
    raft::membership::Membership,
    types::{Index, NodeId, Time},
};
use std::time::Duration;

impl Contact {
    /// For how long a leader has heard no majority of these members: for ever, of those that it has not heard in its term. Nothing
    /// is held against the others for the time before it led, ran, or carried out who its members are. `None`: it does not lead.
    #[must_use]
    pub fn silence_of(&self, leader: &Master, now: Time, members: &Membership) -> Option<Duration> {
        let place = self.places.get(usize::from(leader.place)).filter(|place| place.run == leader.run)?;
        let (term, since) = place.leads?;
        let from = since.max(place.awake_since).max(place.members_since);
        let heard = |node: NodeId| match place.heard.get(&(term, node)) {
            _ if node == leader.id => now.0,
            Some(at) => (*at).max(from).0,
            None => 0,
        };
        Some(now.since(Time(reached(members, heard))))
    }
}

impl Place {
    /// After a step of a leader.
    pub(super) fn leads_on(&mut self, ledger: &mut Ledger, step: Stepped<'_>) {
        let Stepped { raft, now, .. } = step;
        let term = raft.term();
        let since = match self.leads {
            Some((led, since)) if led == term => since,
            _ => now,
        };
        if self.leads.is_none_or(|(led, _)| led != term) {
            self.counted.clear();
            self.fed.clear();
            self.beats.clear();
        }
        self.leads = Some((term, since));
        // Whoever is removed and comes back begins anew, and is sent something when the batch ends that brings it back.
        let takes_part = |peer: &NodeId| raft.matched(*peer).is_some();
        self.counted.retain(|peer, _| takes_part(peer));
        self.fed.retain(|peer, _| takes_part(peer));
        self.beats.retain(|peer, _| takes_part(peer));
        for peer in raft.membership().members() {
            let Some(counted) = raft.matched(peer) else { continue };
            self.feeds(ledger, step, peer, counted);
            self.counts(ledger, step, peer, counted);
        }
        self.is_heard(ledger, step, since.max(self.awake_since));
        self.writes_in_time(ledger, step);
    }

    fn feeds(&mut self, ledger: &mut Ledger, step: Stepped<'_>, peer: NodeId, counted: Index) {
        let Stepped { master, raft, now, timing, late, .. } = step;
        let fed = self.fed.entry(peer).or_insert((now, false));
        let moved = self.counted.get(&peer).is_some_and(|before| *before != counted);
        if counted >= raft.last_index() {
            *fed = (now, false);
        } else if moved || counted.next() < raft.first_index() {
            fed.0 = now;
        }
        // Who does not answer gets nothing.
        let answers = self.beats.get(&peer).copied().unwrap_or(now);
        let waits = now.since(fed.0.max(self.awake_since).max(answers));
        let patience = timing.heartbeat * REPEAT_HEARTBEATS + late;
        ledger.hold(Rule::AppendRepeated, fed.1 || waits <= patience, || {
            format!(
                "leader {} has sent nothing to {peer} for {waits:?}; it holds {counted}, the log ends at {}",
                master.id,
                raft.last_index()
            )
        });
    }

    fn counts(&mut self, ledger: &mut Ledger, step: Stepped<'_>, peer: NodeId, counted: Index) {
        if counted == Index(0) || self.counted.insert(peer, counted) == Some(counted) {
            return;
        }
        let (id, term) = (step.master.id, step.raft.term());
        let said = self.acknowledged.get(&(peer, term)).copied();
        ledger.hold(Rule::AckOwnTerm, said.is_some_and(|said| counted <= said), || {
            format!(
                "leader {id} takes {counted} to be on the disk of node {peer}, which said {said:?} in term {term}"
            )
        });
    }

    /// `from`: nothing is held against its peers for the time before.
    fn is_heard(&mut self, ledger: &mut Ledger, step: Stepped<'_>, from: Time) {
        let Stepped { master, raft, now, timing, late } = step;
        let term = raft.term();
        let heard = |node: NodeId| match self.heard.get(&(term, node)) {
            _ if node == master.id => now.0,
            Some(at) => (*at).max(from).0,
            None => from.0,
        };
        let at = Time(reached(raft.membership(), heard));
        // Of whom a majority must answer has just changed: until it looks, it may go by those before.
        if now.since(self.members_since) > late {
            self.heard_before = Time(0);
        } else if self.members_since == now {
            self.heard_before = self.heard_before.max(self.heard_last);
        }
        self.heard_last = at;
        let silent = now.since(at.max(self.heard_before));
        ledger.hold(Rule::StepsDown, silent <= timing.election_max + late, || {
            format!(
                "node {} leads in term {term}; no majority has answered for {silent:?}, and {:?} is the most",
                master.id, timing.election_max
            )
        });
    }

    fn writes_in_time(&self, ledger: &mut Ledger, step: Stepped<'_>) {
        let Stepped { master, raft, now, timing, late, .. } = step;
        let hangs = self.writes.front().map_or(Time(0), |(_, at)| *at);
        let hung =
            if self.writes.is_empty() { timing.heartbeat } else { now.since(hangs.max(self.awake_since)) };
        ledger.hold(Rule::StallGivesUp, hung <= timing.disk_stall + late, || {
            format!(
                "node {} leads in term {}; a write has taken {hung:?}, and {:?} is the most",
                master.id,
                raft.term(),
                timing.disk_stall
            )
        });
    }
}
