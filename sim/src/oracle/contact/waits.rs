//! How long a node waits: not at all when its leader is gone for sure, and longer when leaders change too often.

use super::{Ledger, Place, Rule, Stepped, speech::Said};
use core::time::Duration;
use quorate_core::{
    Input, Node,
    limits::{FLAPPING_REIGNS, FLAPPING_WITHIN, HAND_OVER_BACKOFF, PREFERRED_AFTER},
    raft::{Raft, Role},
    types::{NodeId, Term, Time},
};
use std::collections::VecDeque;

/// Heartbeats within which a node stands when the connection to its leader is reset.
const SOON_HEARTBEATS: u32 = 2;
/// By so much a step may be late: the time for which a batch is open, and more.
const LATE: Duration = Duration::from_millis(20);

/// What one run of a node waits for.
#[derive(Default)]
pub(super) struct Waits {
    /// When it took its first input.
    begun: Option<Time>,
    /// When it was elected, the newest last.
    reigns: VecDeque<Time>,
    /// When it last led or heard its leader; nothing, if it waits shorter than usual for another reason.
    quiet_since: Option<Time>,
    /// When the connection to its leader was reset, and the term.
    reset: Option<(Time, Term)>,
    /// What it had to do next, when its last step was over.
    due: Option<Time>,
    /// Nothing but time has passed before this step.
    on_time: bool,
    /// The last time that it handed over of its own accord, and how often it did so soon after another.
    handed: Option<(Time, u32)>,
    /// To whom it was handing over after the last step.
    to: Option<NodeId>,
    /// Whose states it had found to differ by then.
    differing: Vec<NodeId>,
}

impl Waits {
    /// A node takes an input.
    pub(super) fn takes(&mut self, raft: &Raft, now: Time, input: &Input) {
        self.begun.get_or_insert(now);
        self.on_time = matches!(input, Input::Deadline);
        if let Input::PeerLost(peer) = input {
            self.quiet_since = None;
            if raft.role() == Role::Follower && raft.leader() == Some(*peer) {
                self.reset = Some((now, raft.term()));
            }
        }
    }

    /// It asks whether it could win, of its own accord.
    pub(super) fn stands(&mut self, ledger: &mut Ledger, Said { master, now, timing, .. }: Said<'_>) {
        let Some(since) = self.quiet_since.take() else { return };
        let lately = |at: &Time| now.since(*at) < timing.election_max * FLAPPING_WITHIN;
        if self.reigns.len() < FLAPPING_REIGNS || !self.reigns.front().is_some_and(lately) {
            return;
        }
        let (waited, least) = (now.since(since), timing.election_min + timing.election_max);
        ledger.hold(Rule::FlappingWaits, waited >= least, || {
            format!(
                "node {} was elected {FLAPPING_REIGNS} times in {:?}, and stands {waited:?} after it led or heard a leader; \
                 {least:?} is the least",
                master.id,
                self.reigns.front().map(|at| now.since(*at))
            )
        });
    }

    /// It asks for votes: whoever does not get them stands again soon.
    pub(super) const fn stood(&mut self) {
        self.quiet_since = None;
    }

    /// It is elected.
    fn reigns(&mut self, now: Time) {
        self.reigns.push_back(now);
        if self.reigns.len() > FLAPPING_REIGNS {
            self.reigns.pop_front();
        }
    }

    /// Whether a node could not stand at this moment, however long nobody leads it.
    fn is_hindered(ledger: &Ledger, Stepped { master, raft, .. }: Stepped<'_>, node: &Node) -> bool {
        let record = node.state().members().and_then(|it| it.get(master.id));
        let priority = record.map_or(0, |it| it.priority);
        // What it has carried out may speak of the directory that it had before.
        let another = record.is_some_and(|it| it.storage != master.storage.0);
        let slow = !master.steps.is_empty() || master.pauses > 0 || master.busy_until > ledger.time;
        !raft.has_vote()
            || !raft.membership().is_voter(master.id)
            || raft.is_stalled()
            || raft.commit() > node.state().index()
            || priority < 0
            || another
            || slow
    }

    /// Whose leader is gone for sure does not wait for it.
    fn heeds_reset(&mut self, ledger: &mut Ledger, step: Stepped<'_>, node: &Node, heard: bool) {
        let Stepped { master, raft, now, timing, .. } = step;
        let Some((at, term)) = self.reset else { return };
        let slept = self.due.is_some_and(|due| now.since(due) > timing.heartbeat);
        if heard || slept || raft.term() != term || Self::is_hindered(ledger, step, node) {
            return self.reset = None;
        }
        let soon = timing.heartbeat * SOON_HEARTBEATS;
        // Who has promised its leader to vote for nobody keeps that, and who came up just before may have promised so.
        let came_up = self.begun.is_some_and(|begun| at.since(begun) < timing.election_min);
        let promised = timing.read_lease_drift_ppm.is_some() || came_up;
        let most = if promised { soon.max(timing.election_min) } else { soon };
        let waited = now.since(at);
        ledger.hold(Rule::ResetStands, waited <= most + timing.heartbeat + LATE, || {
            format!(
                "node {} is {:?} in term {term} {waited:?} after the connection to its leader was reset; {most:?} is the most",
                master.id,
                raft.role()
            )
        });
        if raft.role() != Role::Follower {
            self.reset = None;
        }
    }

    /// A hand-over that nobody asked for.
    fn hands_over(
        &mut self,
        ledger: &mut Ledger,
        Stepped { master, raft, now, timing, .. }: Stepped<'_>,
        to: NodeId,
    ) {
        let last = raft.last_index();
        // The step may have gone on, and have changed the members.
        let close = raft.progress(to).is_none_or(|peer| peer.is_close(last)) || raft.is_confirming();
        ledger.hold(Rule::HandsOverClose, close, || {
            format!("leader {} with {last} entries hands over to {:?}", master.id, raft.progress(to))
        });
        let settle = timing.election_max * PREFERRED_AFTER;
        let mut again = 0;
        if let Some((at, times)) = self.handed {
            let (waited, least) = (now.since(at), settle * (1 << times.min(HAND_OVER_BACKOFF)));
            ledger.hold(Rule::HandsOverRarely, waited >= least, || {
                format!(
                    "leader {} hands over to {to} {waited:?} after it did so last, and {times} times soon after another; \
                     {least:?} is the least",
                    master.id
                )
            });
            again = if waited < least * 4 { times.saturating_add(1) } else { 0 };
        }
        self.handed = Some((now, again));
    }
}

impl Place {
    /// After a step of a node.
    pub(super) fn waits_rightly(&mut self, ledger: &mut Ledger, step: Stepped<'_>) {
        let Stepped { master, raft, now, .. } = step;
        let Some(node) = &master.node else { return };
        let (leads, waits) = (raft.role() == Role::Leader, &mut self.waits);
        if leads && self.leads.is_none_or(|(term, _)| term != raft.term()) {
            waits.reigns(now);
        }
        let spoken = self.speaks.filter(|(_, term)| *term == raft.term());
        let follows =
            raft.role() == Role::Follower && spoken.is_some_and(|(by, _)| raft.leader() == Some(by));
        if leads || follows {
            waits.quiet_since = Some(now);
        }
        // Who was just asked for a vote may have given it, and waits anew.
        let heard = self.speaks.is_some() || self.vote_asked.is_some();
        waits.heeds_reset(ledger, step, node, heard);
        let to = raft.transferring();
        let begun = to.filter(|_| waits.to != to);
        ledger.hold(Rule::HandsOverToPart, begun.is_none_or(|to| !waits.differing.contains(&to)), || {
            format!("leader {} hands over to {begun:?}, whose state differs", master.id)
        });
        waits.differing.clear();
        waits.differing.extend(raft.differing().map(|(node, _)| node));
        if let Some(to) = to.filter(|_| waits.to != to && waits.on_time) {
            waits.hands_over(ledger, step, to);
        }
        // Whoever wanted it: the next one that nobody asks for waits.
        if leads && waits.to.is_some() && to.is_none() {
            waits.handed = Some((now, waits.handed.map_or(0, |(_, times)| times)));
        }
        waits.to = to;
        waits.due = node.next_deadline().map(|(at, _)| at);
    }
}
