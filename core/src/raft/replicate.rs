//! A leader's side of the log (Raft, sections 5.3 and 5.4).

use super::{
    Effect, Leading, Raft,
    message::Message,
    progress::{Mode, Progress},
};
use crate::{
    bug::{self, Bug},
    contract::{Entry, LogPosition},
    mark::{self, Mark},
    point::Point,
    trace::StepDown,
    types::{Index, NodeId},
};
use core::ops::Bound;

impl Raft {
    /// A leader's period: does it still lead, is something lost on its way, are they told that it is there?
    pub(crate) fn heartbeat_due(&mut self) {
        if self.is_stalled() && !bug::planted(Bug::StallIgnored) {
            mark::hit(Mark::DeposedStall);
            self.become_follower(self.hard_state.term, None, StepDown::DiskStall);
            return;
        }
        if !self.hears_quorum() && !bug::planted(Bug::CheckQuorumOff) {
            mark::hit(Mark::DeposedNoQuorum);
            self.become_follower(self.hard_state.term, None, StepDown::NoQuorum);
            return;
        }
        if self.points.fires(Point::LeaderStepsDown) {
            self.become_follower(self.hard_state.term, None, StepDown::NoQuorum);
            return;
        }
        let (now, heartbeat) = (self.now, self.timing.heartbeat);
        let Some(leading) = &mut self.leading else { return };
        leading.heartbeat_at = now + heartbeat;
        for progress in leading.progress.values_mut() {
            match &mut progress.mode {
                Mode::Probe { .. } if bug::planted(Bug::ProbeNotRepeated) => {}
                // Whoever answers the heartbeat is probed by its answer; who does not may still hear.
                Mode::Probe { waiting } if now.since(progress.active_at) >= heartbeat * 2 => {
                    mark::hit_if(waiting.is_some(), Mark::ProbeRepeated);
                    *waiting = None;
                }
                Mode::Replicate if bug::planted(Bug::AppendNotRepeated) => {}
                Mode::Replicate => {
                    let late =
                        now.since(progress.moved_at) > heartbeat * 3 || bug::planted(Bug::AppendAgainEarly);
                    let lost = progress.is_waiting() && late;
                    mark::hit_if(lost, Mark::AppendsLost);
                    if lost || self.points.fires(Point::ProgressForgotten) {
                        progress.probe(progress.matched.next());
                    }
                }
                Mode::Probe { .. } | Mode::Snapshot { .. } => {}
            }
        }
        self.ask_agreement();
        if !self.points.fires(Point::HeartbeatSkipped) {
            self.send_heartbeats();
        }
        self.transfer_due();
        self.prefer_another();
        self.resume_snapshots();
        self.replicate();
        self.advance_commit();
        self.confirm_reads();
    }

    /// Whether a majority answered within an election timeout (check-quorum).
    fn hears_quorum(&self) -> bool {
        let Some(leading) = &self.leading else { return false };
        let patience = self.timing.election_max;
        let heard = |node: NodeId| match leading.progress.get(&node) {
            Some(peer) => self.now.since(peer.active_at) <= patience,
            None => node == self.id,
        };
        self.membership.reached(|node| u64::from(heard(node))) == 1
    }

    pub(crate) fn send_heartbeats(&mut self) {
        let lease = self.lease_asked();
        let Some(leading) = &mut self.leading else { return };
        let position = leading.reads.send_round();
        let commit = self.hard_state.commit;
        let (checkpoint, judged) = (leading.agreement.asked(self.id), leading.agreement.judged());
        for (&peer, progress) in &leading.progress {
            let commit =
                if bug::planted(Bug::LastCommitUntold) { Index(0) } else { commit.min(progress.matched) };
            let heartbeat = Message::Heartbeat { commit, position, checkpoint, judged, lease };
            self.effects.push_back(Effect::Send(peer, heartbeat));
        }
    }

    /// Sends every follower what it lacks, as far as the limits allow. Call it when the step's changes are complete.
    pub fn replicate(&mut self) {
        let last = self.sendable();
        let wants = |leading: &Leading| leading.progress.values().any(|progress| progress.wants_append(last));
        // Mostly there is nothing to send, and this is asked after every step.
        if self.leading.as_ref().is_some_and(wants) {
            let mut next = self.follower_behind(None);
            while let Some(peer) = next {
                self.replicate_to(peer);
                next = self.follower_behind(Some(peer));
            }
        }
    }

    /// What may leave: all, while this node's own disk still writes it (Raft thesis, section 10.2.1).
    fn sendable(&self) -> Index {
        let last = self.log.last().index;
        if bug::planted(Bug::AppendAfterSync) { last.min(self.durable_index()) } else { last }
    }

    /// The next follower, in the order of ids. Asked with every command, so without a list.
    fn follower_behind(&self, peer: Option<NodeId>) -> Option<NodeId> {
        let from = peer.map_or(Bound::Unbounded, Bound::Excluded);
        let followers = &self.leading.as_ref()?.progress;
        followers.range((from, Bound::Unbounded)).next().map(|(peer, _)| *peer)
    }

    fn replicate_to(&mut self, peer: NodeId) {
        let (now, last, commit) = (self.now, self.sendable(), self.hard_state.commit);
        let flow = self.flow;
        loop {
            let Some(leading) = &mut self.leading else { return };
            let Some(progress) = leading.progress.get_mut(&peer) else { return };
            mark::hit_if(
                progress.mode == Mode::Replicate && progress.next <= last && !progress.has_room(&flow),
                Mark::InflightFull,
            );
            let probing = match progress.mode {
                Mode::Probe { .. } if progress.wants_append(last) => true,
                Mode::Replicate if progress.next <= last && progress.has_room(&flow) => false,
                Mode::Probe { .. } | Mode::Replicate | Mode::Snapshot { .. } => return,
            };
            let silent = now.since(progress.active_at) > self.timing.heartbeat * 3;
            let before = Index(progress.next.0 - 1);
            let Some(term) = self.log.term_at(before) else {
                // A snapshot is much, and in vain for a follower that does not answer.
                if progress.answered && !silent {
                    self.start_snapshot(peer);
                } else {
                    progress.lost(last);
                    progress.mode = Mode::Probe { waiting: Some(last) };
                }
                return;
            };
            // A follower that does not answer is probed with empty hands.
            let count = if probing && silent { 0 } else { flow.append_entries };
            mark::hit_if(probing && silent && progress.next <= last, Mark::ProbeEmpty);
            let several = count > 1 && progress.next < last;
            let count = if several && self.points.fires(Point::AppendOne) { 1 } else { count };
            let entries = self.log.slice(progress.next, count, flow.append_bytes);
            mark::hit_if(
                count > 0 && entries.last().is_some_and(|entry| entry.index < last),
                Mark::AppendSplit,
            );
            if probing {
                progress.mode = Mode::Probe { waiting: Some(last) };
                progress.moved_at = now;
            } else {
                let bytes = entries.iter().map(|entry| entry.data.len()).sum();
                let sent = entries.last().map_or(before, |entry: &Entry| entry.index);
                progress.sent(now, sent, bytes);
            }
            let previous = LogPosition { term, index: before };
            // What made the membership, everybody who hears of the next one must know to be committed.
            let commit = if self.points.fires(Point::AppendNoCommit) { self.membership_at } else { commit };
            self.send(peer, Message::Append { previous, entries, commit });
        }
    }

    pub(crate) fn append_answered(&mut self, from: NodeId, index: Index) {
        let now = self.now;
        let last = self.log.last().index;
        let Some(progress) = self.active(from) else { return };
        // A follower cannot hold what the leader does not.
        if index > last {
            return;
        }
        progress.acknowledged(now, index);
        self.replicate_to(from);
        if bug::planted(Bug::PingPong) {
            let (previous, commit) = (self.log.last(), self.hard_state.commit);
            self.send(from, Message::Append { previous, entries: Vec::new(), commit });
        }
        self.advance_commit();
        self.hand_over();
    }

    pub(crate) fn append_refused(&mut self, from: NodeId, previous: Index, hint: LogPosition) {
        // What is before the log's start nobody can compare: the follower needs a snapshot.
        let known = hint.index >= self.log.start().index;
        let agree = if known { self.log.last_not_above(hint.index, hint.term) } else { hint };
        let Some(progress) = self.active(from) else { return };
        // An answer to an append that is long settled says nothing.
        let stale = previous <= progress.matched
            || match progress.mode {
                Mode::Probe { .. } => previous.next() != progress.next,
                Mode::Replicate => previous >= progress.next,
                Mode::Snapshot { .. } => true,
            };
        mark::hit_if(stale, Mark::RefusalStale);
        if !stale {
            mark::hit_if(agree.index.next() < previous, Mark::RefusalSkips);
            progress.refused(agree.index.next().min(previous));
            self.replicate_to(from);
        }
    }

    pub(crate) fn heartbeat_answered(&mut self, from: NodeId, position: u64, verified: Index) {
        let (now, last) = (self.now, self.log.last().index);
        let Some(progress) = self.active(from) else { return };
        progress.position = progress.position.max(position);
        if verified <= last && verified > progress.matched {
            mark::hit(Mark::HeartbeatAcknowledges);
            progress.acknowledged(now, verified);
            self.advance_commit();
        } else if verified < progress.matched && progress.is_idle(last) {
            mark::hit(Mark::FollowerForgot);
            // It restarted in this term, and does not know any more that its log is equal to this one.
            progress.probe(progress.matched.next());
        }
        self.find_gap(from);
        self.replicate_to(from);
        self.confirm_reads();
    }

    /// A follower answers, but not the append that is on its way to it for longer than a heartbeat: a probe is sent again, and
    /// behind others an empty one, that is refused if they were lost. What it lacks may be gone from the log meanwhile.
    fn find_gap(&mut self, peer: NodeId) {
        let (now, last, heartbeat) = (self.now, self.log.last().index, self.timing.heartbeat);
        let Some(progress) = self.leading.as_mut().and_then(|leading| leading.progress.get_mut(&peer)) else {
            return;
        };
        let known = self.log.term_at(Index(progress.next.0 - 1)).is_some();
        let late = now.since(progress.moved_at) > heartbeat;
        match progress.mode {
            Mode::Probe { .. } if bug::planted(Bug::ProbeNotRepeated) => {}
            Mode::Replicate if bug::planted(Bug::AppendNotRepeated) => {}
            Mode::Probe { waiting: Some(_) } if late || !known => {
                mark::hit(Mark::ProbeRepeated);
                progress.mode = Mode::Probe { waiting: None };
            }
            Mode::Replicate if late && progress.is_waiting() => {
                let stuck = progress.next > last || !progress.has_room(&self.flow);
                if stuck && known {
                    self.tell_commit(peer);
                } else if stuck {
                    self.start_snapshot(peer);
                }
            }
            Mode::Probe { .. } | Mode::Replicate | Mode::Snapshot { .. } => {}
        }
    }

    /// A leader tells a follower what is committed by an append without entries, though no heartbeat is due. Nothing, unless
    /// appends to it follow each other.
    pub fn tell_commit(&mut self, peer: NodeId) {
        let commit = self.hard_state.commit;
        let Some(progress) = self.progress(peer).filter(|progress| progress.mode == Mode::Replicate) else {
            return;
        };
        let before = Index(progress.next.0 - 1);
        if let Some(term) = self.log.term_at(before) {
            let previous = LogPosition { term, index: before };
            self.send(peer, Message::Append { previous, entries: Vec::new(), commit });
        }
    }

    /// A follower that answered in this term.
    pub(crate) fn active(&mut self, peer: NodeId) -> Option<&mut Progress> {
        let (now, patience) = (self.now, self.timing.election_max);
        let progress = self.leading.as_mut()?.progress.get_mut(&peer)?;
        if !progress.answered || now.since(progress.active_at) > patience {
            progress.answers_since = now;
        }
        progress.active_at = now;
        progress.answered = true;
        Some(progress)
    }
}
