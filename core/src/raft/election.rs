//! Who leads (Raft, section 5.2; pre-vote and check-quorum: Raft dissertation, sections 9.6 and 6.2).

use super::{
    Effect, Leading, Raft, Role,
    agreement::Agreement,
    message::Message,
    progress::Progress,
    quorum::{self, Decision},
    read::Reads,
};
use crate::{
    bug::{self, Bug},
    contract::{Entry, LogPosition},
    mark::{self, Mark},
    point::Point,
    trace::{StepDown, TraceEvent},
    types::{Index, NodeId, Term, Time},
};
use bytes::Bytes;
use core::time::Duration;
use std::collections::BTreeMap;

impl Raft {
    /// Nobody has led for an election timeout.
    pub(crate) fn election_due(&mut self) {
        if !self.is_voter() {
            self.election_at = Time::FAR;
            return self.forget_leader();
        }
        self.reset_election_timer();
        if !self.may_campaign() || !self.should_campaign() {
            return self.forget_leader();
        }
        mark::hit_if(self.role == Role::PreCandidate, Mark::PreVoteRepeated);
        mark::hit_if(self.role == Role::Candidate, Mark::ElectionUndecided);
        self.role = Role::PreCandidate;
        self.leader = None;
        self.leader_heard_at = None;
        self.votes = BTreeMap::from([(self.id, true)]);
        // A refusal costs nobody a term, so it is soon asked again.
        self.election_at = self.now + self.draw(self.timing.heartbeat, self.timing.heartbeat * 3);
        if bug::planted(Bug::TimerNotRearmed) {
            self.election_at = Time::FAR;
        }
        mark::hit(Mark::ElectionPreVote);
        let (next_term, last) = (self.hard_state.term.next(), self.log.last());
        self.trace(TraceEvent::PreVoteStarted { term: next_term });
        for peer in self.rivals() {
            self.send(peer, Message::PreVote { next_term, last });
        }
        self.count_votes();
    }

    /// Stands for election though no timeout has passed; `asks` first whether it could win. Nothing, if it leads or may not.
    pub fn campaign(&mut self, asks: bool) {
        if self.role == Role::Leader || !self.may_campaign() {
            return;
        }
        if asks {
            self.election_due();
        } else {
            self.stand(false);
        }
    }

    /// Stands without having asked whether it could win. `handed`: its leader wants it so.
    pub(crate) fn stand(&mut self, handed: bool) {
        self.leader = None;
        self.leader_heard_at = None;
        self.become_candidate(handed);
    }

    /// Who does not stand waits for whoever is elected, and names nobody meanwhile: clients that it sent to a leader that is
    /// gone would come back.
    fn forget_leader(&mut self) {
        self.leader_heard_at = None;
        if self.leader.take().is_some() {
            mark::hit(Mark::LearnerForgets);
            self.trace(TraceEvent::Following { term: self.hard_state.term, leader: None });
        }
    }

    /// Who has not carried out all that it knows to be committed may have a membership that is older than the one before
    /// the last: two majorities might not meet.
    pub(crate) fn may_campaign(&self) -> bool {
        let votes = self.has_vote && !self.is_stalled();
        mark::hit_if(!votes, Mark::ElectionStalled);
        let applied = self.applied >= self.hard_state.commit || bug::planted(Bug::CampaignUnapplied);
        mark::hit_if(votes && !applied, Mark::ElectionUnapplied);
        votes && applied && self.is_voter() && !self.is_promised()
    }

    /// Whether there is a leader as far as this node sees: it has heard it lately, or leads itself and was answered lately.
    pub(crate) fn is_led(&self) -> bool {
        if self.is_promised() {
            return true;
        }
        let lately = |at: Time| self.now.since(at) < self.timing.election_min;
        let Some(leading) = &self.leading else { return self.leader_heard_at.is_some_and(lately) };
        let answers = |node: NodeId| match leading.progress.get(&node) {
            Some(peer) => lately(peer.active_at),
            None => node == self.id,
        };
        self.membership.reached(|node| u64::from(answers(node))) == 1
    }

    /// Whoever is led does not answer: a node that is cut off cannot disturb those that are not.
    pub(crate) fn pre_vote_asked(&mut self, from: NodeId, next_term: Term, last: LogPosition) {
        let leads = self.role == Role::Leader;
        let led = self.is_led() && (leads || !bug::planted(Bug::PreVoteWhileLed));
        if bug::planted(Bug::PreVoteRaisesTerm) && next_term > self.hard_state.term {
            self.become_follower(next_term, None, StepDown::HigherTerm);
        }
        mark::hit_if(led && !leads, Mark::PreVoteRefusedHeard);
        mark::hit_if(led && leads, Mark::PreVoteRefusedLeader);
        // Who has a leader has no say in who might be the next.
        if led {
            return;
        }
        let granted = self.has_vote
            && next_term > self.hard_state.term
            && (last >= self.log.last() || bug::planted(Bug::NoUpToDateCheck));
        let granted = granted && !self.points.fires(Point::PreVoteRefused);
        mark::hit_if(last < self.log.last(), Mark::PreVoteRefusedLog);
        let commit = self.committed();
        self.send(from, Message::PreVoteReply { next_term, granted, commit });
    }

    pub(crate) fn pre_vote_answered(&mut self, from: NodeId, next_term: Term, granted: bool) {
        if self.role == Role::PreCandidate && next_term == self.hard_state.term.next() {
            self.votes.insert(from, granted);
            self.count_votes();
        } else {
            mark::hit(Mark::PreVoteAnswerLate);
        }
    }

    /// One vote a term; durable before it leaves. The candidate's log must hold all that may be committed (section 5.4.1).
    pub(crate) fn vote_asked(&mut self, from: NodeId, last: LogPosition) {
        let free = match self.hard_state.vote {
            Some(vote) if vote == from => !bug::planted(Bug::VoteNotRepeated),
            Some(_) => bug::planted(Bug::VotesTwice),
            None => true,
        };
        // A candidate and a leader have voted for themselves.
        let granted =
            self.has_vote && free && (last >= self.log.last() || bug::planted(Bug::NoUpToDateCheck));
        // A vote that was given is given again.
        let first = granted && self.hard_state.vote.is_none();
        if !granted || (first && self.points.fires(Point::VoteRefused)) {
            mark::hit_if(!free && self.role == Role::Follower, Mark::VoteRefusedTaken);
            mark::hit_if(self.role == Role::Candidate, Mark::VoteRefusedRival);
            mark::hit_if(free && last < self.log.last(), Mark::VoteRefusedLog);
            let commit = self.committed();
            self.send(from, Message::VoteReply { granted: false, commit });
            return;
        }
        mark::hit_if(self.hard_state.vote == Some(from), Mark::VoteRepeated);
        if !bug::planted(Bug::VoteNotPersisted) {
            self.hard_state.vote = Some(from);
        }
        self.role = Role::Follower;
        self.reset_election_timer();
        let commit = self.committed();
        if bug::planted(Bug::VoteBeforeSync) {
            return self.send(from, Message::VoteReply { granted, commit });
        }
        self.promise(from, Message::VoteReply { granted, commit });
    }

    pub(crate) fn vote_answered(&mut self, from: NodeId, granted: bool) {
        if self.role == Role::Candidate {
            self.votes.insert(from, granted);
            self.count_votes();
        } else {
            mark::hit(Mark::VoteAnswerLate);
        }
    }

    /// Votes count as they come: nobody waits for a node that is down.
    pub(crate) fn count_votes(&mut self) {
        let voters = self.membership.all_voters().count();
        if bug::planted(Bug::AllVotesAwaited) && self.votes.len() < voters {
            return;
        }
        let granted = self.votes.values().filter(|&&granted| granted).count();
        let one_short = bug::planted(Bug::ElectionOneShort) && granted + 1 >= quorum::majority(voters);
        let decision = if one_short { Decision::Won } else { self.membership.decide(&self.votes) };
        // An answer may just have told it of more than it has carried out.
        if decision == Decision::Won && !self.may_campaign() {
            return;
        }
        match (self.role, decision) {
            (Role::PreCandidate, Decision::Won) => self.become_candidate(false),
            (Role::Candidate, Decision::Won) => self.become_leader(),
            (Role::Candidate, Decision::Lost) => {
                mark::hit(Mark::ElectionLost);
                // Lost: another round soon, at a time of its own, finds the votes free again.
                let soon = self.now + self.draw(Duration::from_millis(1), self.timing.heartbeat * 3);
                self.election_at = self.election_at.min(soon);
                self.role = Role::Follower;
            }
            (Role::PreCandidate, Decision::Lost) => self.role = Role::Follower,
            _ => {}
        }
    }

    fn become_candidate(&mut self, handed: bool) {
        if !bug::planted(Bug::TermNotRaised) {
            self.hard_state.term = self.hard_state.term.next();
        }
        self.hard_state.vote = Some(self.id);
        if !bug::planted(Bug::VerifiedOutlivesTerm) {
            self.verified = Index(0);
        }
        self.receiving = None;
        self.role = Role::Candidate;
        self.votes = BTreeMap::new();
        self.reset_election_timer();
        self.want_own_vote();
        let last = self.log.last();
        self.trace(TraceEvent::ElectionStarted { term: self.hard_state.term });
        if bug::planted(Bug::CandidateBeforeSync) {
            self.votes.insert(self.id, true);
            return self
                .rivals()
                .into_iter()
                .for_each(|peer| self.send(peer, Message::Vote { last, handed }));
        }
        for peer in self.rivals() {
            // Not before the term is durable: a restart must not lead a second candidacy in the same term.
            self.promise(peer, Message::Vote { last, handed });
        }
    }

    fn become_leader(&mut self) {
        let term = self.hard_state.term;
        mark::hit(Mark::ElectionWon);
        self.reign_begins();
        self.role = Role::Leader;
        self.leader = Some(self.id);
        let next = self.log.last().index.next();
        let inherited = (self.hard_state.commit.0 + 1..next.0).filter_map(|at| self.log.entry(Index(at)));
        let inherited = inherited.map(|entry| entry.data.len()).sum();
        let uncommitted_bytes = if bug::planted(Bug::InheritedUncounted) { 0 } else { inherited };
        let progress = self.peers().into_iter().map(|peer| (peer, Progress::new(next, self.now))).collect();
        self.leading = Some(Leading {
            progress,
            first_of_term: next,
            reads: Reads::default(),
            heartbeat_at: self.now,
            uncommitted_bytes,
            // Not before an entry of the own term is committed: another leader's change may be in the log, or may be
            // committed without being here (Ongaro, correction of 2015 to section 4.1).
            changes_until: if bug::planted(Bug::ChangeBeforeFirst) { Index(0) } else { next },
            confirms: None,
            transfer: None,
            given_up_on: None,
            told_to_lead: false,
            agreement: Agreement::default(),
            chunks: super::sending::Chunks::new(self.now),
            since: self.now,
        });
        // Until an entry of the own term is committed, a leader does not know what is (section 8).
        if !bug::planted(Bug::NoFirstEntry) {
            self.log.push(Entry { term, index: next, data: Bytes::new() });
        }
        self.trace(TraceEvent::LeaderElected { term });
        self.heartbeat_due();
    }

    /// Follows in `term`. The one place where a reign ends.
    pub(crate) fn become_follower(&mut self, term: Term, leader: Option<NodeId>, why: StepDown) {
        if let Some(leading) = &self.leading {
            mark::hit_if(why == StepDown::HigherTerm, Mark::DeposedHigherTerm);
            mark::hit_if(self.log.last().index > self.hard_state.commit, Mark::DeposedUncommitted);
            mark::hit_if(leading.reads.is_waiting(), Mark::DeposedReading);
        }
        if self.leading.take().is_some() {
            self.trace(TraceEvent::SteppedDown { term: self.hard_state.term, reason: why });
            self.effects.push_back(Effect::Deposed);
            self.reset_election_timer();
        }
        if term > self.hard_state.term {
            self.hard_state.term = term;
            self.hard_state.vote = None;
            if !bug::planted(Bug::VerifiedOutlivesTerm) {
                self.verified = Index(0);
            }
            self.receiving = None;
            self.leader_heard_at = None;
        }
        let changed = self.leader != leader || self.role != Role::Follower;
        self.role = Role::Follower;
        self.leader = leader.filter(|_| !bug::planted(Bug::LeaderNotKept));
        self.votes.clear();
        if changed && leader.is_some() {
            self.trace(TraceEvent::Following { term, leader });
        }
    }

    /// The leader of this term has spoken.
    pub(crate) fn hear_leader(&mut self, from: NodeId) {
        if self.leader != Some(from) || self.role != Role::Follower {
            mark::hit_if(self.role == Role::Candidate, Mark::CandidateYields);
            self.become_follower(self.hard_state.term, Some(from), StepDown::HigherTerm);
        }
        self.leader_heard_at = Some(self.now);
        self.leader_is_there();
        self.reset_election_timer();
    }

    /// A peer's connection was reset. If it led, an election need not wait for the timeout. If it follows, what is on its
    /// way to it is lost.
    pub fn peer_lost(&mut self, peer: NodeId) {
        if self.leader == Some(peer) && self.has_vote && !bug::planted(Bug::ResetNotHeeded) {
            mark::hit(Mark::ElectionHastened);
            self.leader_heard_at = None;
            let soon = self.now + self.draw(Duration::from_millis(1), self.timing.heartbeat * 2);
            if bug::planted(Bug::LeaseEndsAtReset) {
                self.no_vote_until = self.now;
            }
            self.election_at = self.election_at.min(soon.max(self.no_vote_until));
        }
        let last = self.log.last().index;
        if let Some(progress) = self.leading.as_mut().and_then(|leading| leading.progress.get_mut(&peer)) {
            progress.lost(last);
        }
    }

    pub(crate) fn reset_election_timer(&mut self) {
        self.election_at = if self.has_vote {
            let early = self.points.fires(Point::ElectionEarly);
            let most = if early { self.timing.election_min } else { self.timing.election_max };
            self.now + self.draw(self.timing.election_min, most) + self.flapping_wait()
        } else {
            Time::FAR
        };
    }

    fn draw(&mut self, least: Duration, most: Duration) -> Duration {
        let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.draws.range(nanoseconds(least), nanoseconds(most)))
    }
}
