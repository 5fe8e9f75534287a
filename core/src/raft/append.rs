//! A follower's side of the log (Raft, section 5.3).

use super::{Raft, agreement::Judged, message::Message};
use crate::{
    bug::{self, Bug},
    contract::{Entry, LogPosition},
    mark::{self, Mark},
    point::Point,
    state::StateHash,
    types::{Index, NodeId, Time},
};

impl Raft {
    pub(crate) fn append_asked(
        &mut self,
        from: NodeId,
        previous: LogPosition,
        mut entries: Vec<Entry>,
        leader_commit: Index,
    ) {
        self.hear_leader(from);
        if self.points.fires(Point::AppendPassedOver) {
            return;
        }
        let last = entries.last().map_or(previous.index, |entry| entry.index);
        let mut previous = previous;
        // What is committed is equal in every log of this term's leader, and may be gone from this one.
        let commit = self.hard_state.commit;
        if previous.index < commit {
            if last <= commit {
                mark::hit(Mark::AppendBehindCommit);
                self.promise(from, Message::Appended { index: last });
                return;
            }
            mark::hit(Mark::AppendAcrossCommit);
            entries.retain(|entry| entry.index > commit);
            previous = LogPosition { term: self.log.term_at(commit).unwrap_or(previous.term), index: commit };
        }
        let unchecked = bug::planted(Bug::PreviousNotChecked) && self.log.term_at(previous.index).is_some();
        if !self.log.holds(previous) && !unchecked {
            mark::hit_if(previous.index > self.log.last().index, Mark::AppendRefusedShort);
            mark::hit_if(previous.index <= self.log.last().index, Mark::AppendRefusedTerm);
            let mut hint = self.log.last_not_above(previous.index, previous.term);
            if self.points.fires(Point::RefusalFromStart) {
                hint = LogPosition::default();
            }
            self.send(from, Message::AppendRefused { previous: previous.index, hint });
            return;
        }
        for entry in entries {
            match self.log.term_at(entry.index) {
                Some(term) if term == entry.term => mark::hit(Mark::AppendRepeated),
                Some(_) if bug::planted(Bug::ConflictKept) => {}
                Some(_) => {
                    assert!(entry.index > commit, "what is committed is never overwritten");
                    mark::hit(Mark::AppendCuts);
                    mark::hit_if(entry.index <= self.durable_index(), Mark::AppendCutsDurable);
                    mark::hit_if(self.durability.is_writing(), Mark::AppendCutsUnwritten);
                    self.log.truncate_from(entry.index);
                    if !bug::planted(Bug::CutNotWritten) {
                        self.durability.cut_from(entry.index);
                    }
                    self.verified = self.verified.min(Index(entry.index.0 - 1));
                    self.log.push(entry);
                }
                None => self.log.push(entry),
            }
        }
        if bug::planted(Bug::TailAlwaysCut) && last >= commit && last < self.log.last().index {
            self.log.truncate_from(last.next());
            self.durability.cut_from(last.next());
            self.verified = self.verified.min(last);
        }
        self.verified = self.verified.max(last);
        self.follow_commit(leader_commit);
        let last = if bug::planted(Bug::AckOfLast) { self.log.last().index } else { last };
        if bug::planted(Bug::AckBeforeSync) {
            return self.send(from, Message::Appended { index: last });
        }
        self.promise(from, Message::Appended { index: last });
    }

    pub(crate) fn heartbeat_heard(
        &mut self,
        from: NodeId,
        commit: Index,
        position: u64,
        (checkpoint, judged): (Option<(Index, StateHash)>, Option<Judged>),
        lease: Option<Time>,
    ) {
        self.hear_leader(from);
        if lease.is_some() {
            self.promise_no_vote();
        }
        self.follow_commit(commit);
        if let Some(judged) = judged {
            self.judgement_heard(judged);
        }
        let state = checkpoint.and_then(|(index, _)| self.checkpoint_at(index));
        if bug::planted(Bug::AgreementHealthyStops)
            && let Some((index, hash)) = checkpoint
        {
            self.judgement_heard(Judged { index, hash: Some(hash) });
        }
        mark::hit_if(!self.is_term_durable(), Mark::HeartbeatVouchesNothing);
        // A follower that forgot this term could follow an older leader again, and cut what it has acknowledged here.
        let verified = if bug::planted(Bug::HeartbeatVouchesUnsynced) {
            self.verified
        } else if self.is_term_durable() || bug::planted(Bug::HeartbeatVouchesTerm) {
            self.verified.min(self.durable_index())
        } else {
            Index(0)
        };
        // A restart would not wait for what was promised in a term that it does not know.
        let lease = lease.filter(|_| self.is_term_durable());
        let silent = verified > Index(0) && self.points.fires(Point::HeartbeatVouchesNothing);
        let verified = if silent { Index(0) } else { verified };
        self.send(from, Message::HeartbeatReply { position, verified, state, lease });
    }

    /// Only what is known to be equal to the leader's log follows its commit index.
    fn follow_commit(&mut self, leader_commit: Index) {
        let commit = if bug::planted(Bug::HeartbeatCommits) {
            leader_commit.min(self.log.last().index)
        } else if bug::planted(Bug::CommitPastLog) {
            leader_commit
        } else {
            leader_commit.min(self.verified)
        };
        mark::hit_if(leader_commit > self.verified, Mark::CommitHeldBack);
        if commit > self.hard_state.commit {
            self.set_commit(commit);
        }
    }
}
