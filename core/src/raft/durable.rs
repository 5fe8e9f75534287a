//! What is on the disk, and what waits for it.

use super::{Effect, Raft, Role, message::Message, quorum};
use crate::{
    bug::{self, Bug},
    contract::{Entry, HardState, LogPosition, Voters, Write},
    fingerprint::Fingerprint,
    mark::{self, Mark},
    types::{Index, NodeId, Term, Time, WriteId},
};
use core::time::Duration;
use std::collections::VecDeque;

/// A write on its way.
#[derive(Clone, Debug)]
struct Pending {
    io: WriteId,
    /// The end of the log as this write leaves it, as far as it still is part of the log.
    last: Index,
    /// The term as this write leaves it.
    term: Term,
    /// The node's clock when it was handed out.
    since: Time,
}

/// A message that must not leave before a write is done.
#[derive(Clone, Debug, Hash)]
struct Held {
    io: WriteId,
    to: NodeId,
    term: Term,
    message: Message,
}

/// The bookkeeping of writes.
#[derive(Clone, Debug)]
pub(crate) struct Durability {
    /// The last write handed out.
    issued: WriteId,
    pending: VecDeque<Pending>,
    held: VecDeque<Held>,
    /// Promises made in the step under way, which `take_write` gives their write.
    promised: Vec<(NodeId, Term, Message)>,
    /// As handed out.
    hard_state: HardState,
    /// Entries up to here were handed out.
    handed: Index,
    durable: Index,
    durable_term: Term,
    start: Option<LogPosition>,
    voters: Option<Voters>,
    /// The write that makes a candidate's own vote durable.
    own_vote: OwnVote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum OwnVote {
    None,
    /// Not handed out yet.
    Wanted,
    /// In this write.
    In(WriteId),
}

impl Durability {
    pub(crate) const fn new(hard_state: HardState, last: Index) -> Self {
        Self {
            issued: WriteId(0),
            pending: VecDeque::new(),
            held: VecDeque::new(),
            promised: Vec::new(),
            hard_state,
            handed: last,
            durable: last,
            durable_term: hard_state.term,
            start: None,
            voters: None,
            own_vote: OwnVote::None,
        }
    }

    /// The node did not run for so long: its disk is not to blame.
    pub(crate) fn forgive(&mut self, late: Duration) {
        for write in &mut self.pending {
            write.since = write.since + late;
        }
    }

    /// Whether writes are on their way.
    pub(crate) fn is_writing(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) const fn durable(&self) -> Index {
        self.durable
    }

    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        print.add((&self.held, self.hard_state, self.handed, self.durable, self.durable_term));
        print.add((self.start, &self.voters, self.own_vote, self.issued));
        for write in &self.pending {
            print.add((write.io, write.last, write.term)).add_time(write.since);
        }
    }

    /// The log was cut: nothing from `index` on is in it any more, whatever is on its way.
    pub(crate) fn cut_from(&mut self, index: Index) {
        let last = Index(index.0.saturating_sub(1));
        self.handed = self.handed.min(last);
        self.durable = self.durable.min(last);
        for write in &mut self.pending {
            write.last = write.last.min(last);
        }
    }

    /// The log begins at a place that it holds.
    pub(crate) const fn release(&mut self, at: LogPosition) {
        self.start = Some(at);
    }

    /// The log begins at a new place that it did not hold.
    pub(crate) fn restart(&mut self, at: LogPosition) {
        self.cut_from(Index(0));
        self.start = Some(at);
        self.handed = at.index;
    }
}

impl Raft {
    /// Sends a message once everything that this node holds now is durable.
    pub(crate) fn promise(&mut self, to: NodeId, message: Message) {
        let term = self.hard_state.term;
        // Of several acknowledgements in one batch the highest says all.
        if let (Message::Appended { index }, Some((peer, of, Message::Appended { index: before }))) =
            (&message, self.durability.promised.last_mut())
            && (*peer, *of) == (to, term)
        {
            *before = (*before).max(*index);
            return;
        }
        self.durability.promised.push((to, term, message));
    }

    /// Votes that wait for the disk do not leave any more.
    pub(crate) fn withdraw_votes(&mut self) {
        let vote = |message: &Message| matches!(message, Message::VoteReply { granted: true, .. });
        self.durability.promised.retain(|(.., message)| !vote(message));
        self.durability.held.retain(|held| !vote(&held.message));
    }

    pub(crate) fn want_own_vote(&mut self) {
        self.durability.own_vote = OwnVote::Wanted;
    }

    /// Keeps the voters' storage ids durably.
    pub fn keep_voters(&mut self, voters: Voters) {
        self.durability.voters = Some(voters);
    }

    /// The log begins at a snapshot's end, and holds nothing else.
    pub(crate) fn restart_log(&mut self, at: LogPosition) {
        self.log.start_at(at);
        self.durability.restart(at);
        self.hard_state.commit = self.hard_state.commit.max(at.index);
    }

    /// The newest entries up to `last` that count no more than so many bytes are those behind this index.
    #[must_use]
    pub fn trailing(&self, last: Index, bytes: u64) -> Index {
        self.log.trailing(last, bytes)
    }

    /// Releases the log up to `index`, which must be committed and covered by a snapshot, as far as it is durable: a crash could
    /// lose the rest. Gives the last index that went with this call; call it again when more is durable.
    pub fn compact(&mut self, index: Index) -> Option<Index> {
        let last = index.min(self.durable_index());
        mark::hit_if(last < index, Mark::CompactTooSoon);
        if last <= self.log.start().index || (last < index && bug::planted(Bug::LogCutWhole)) {
            return None;
        }
        let at = LogPosition { term: self.log.term_at(last)?, index: last };
        self.log.start_at(at);
        self.durability.start = Some(at);
        Some(last)
    }

    /// What is to be written of what changed in this step. Call it when the step's changes are complete.
    pub fn take_write(&mut self) -> Option<Write> {
        let last = self.log.last().index;
        let term_or_vote = {
            let (newest, handed) = (self.hard_state, self.durability.hard_state);
            newest.term != handed.term || newest.vote != handed.vote
        };
        let state = &mut self.durability;
        let dirty = last > state.handed || term_or_vote || state.start.is_some() || state.voters.is_some();
        let write = dirty.then(|| {
            mark::hit_if(!state.pending.is_empty(), Mark::WritesOverlap);
            state.issued = state.issued.next();
            let entries = entries_behind(&self.log, state.handed);
            state.handed = last;
            let term = self.hard_state.term;
            state.pending.push_back(Pending { io: state.issued, last, term, since: self.now });
            let changed = self.hard_state != state.hard_state;
            state.hard_state = self.hard_state;
            Write {
                io: state.issued,
                start: state.start.take(),
                entries,
                hard_state: changed.then_some(self.hard_state),
                voters: state.voters.take(),
            }
        });
        if state.own_vote == OwnVote::Wanted {
            state.own_vote = OwnVote::In(state.issued);
        }
        let io = state.issued;
        for (to, term, message) in core::mem::take(&mut state.promised) {
            if state.pending.is_empty() {
                self.effects.push_back(Effect::Send(to, message));
            } else {
                state.held.push_back(Held { io, to, term, message });
            }
        }
        write
    }

    /// A write and all before it are on the disk.
    pub fn write_done(&mut self, io: WriteId) {
        let state = &mut self.durability;
        while let Some(write) = state.pending.front()
            && write.io <= io
        {
            state.durable = state.durable.max(write.last);
            state.durable_term = write.term;
            state.pending.pop_front();
        }
        while let Some(held) = state.held.front()
            && held.io <= io
        {
            let held = state.held.pop_front().expect("the front was just seen");
            mark::hit_if(held.term != self.hard_state.term, Mark::PromiseOutdated);
            // A promise of an older term concerns nobody any more.
            if held.term == self.hard_state.term {
                self.effects.push_back(Effect::Send(held.to, held.message));
            }
        }
        if let OwnVote::In(needed) = self.durability.own_vote
            && needed <= io
        {
            self.durability.own_vote = OwnVote::None;
            mark::hit_if(self.role != Role::Candidate, Mark::OwnVoteLate);
            if self.role == Role::Candidate {
                self.votes.insert(self.id, true);
                self.count_votes();
            }
        }
        self.advance_commit();
    }

    /// Whether a restart would come up in this term.
    pub(crate) fn is_term_durable(&self) -> bool {
        self.durability.durable_term == self.hard_state.term
    }

    /// Whether the oldest write is not done for longer than a disk may take.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.oldest_write() > self.timing.disk_stall
    }

    /// How long the oldest write has been on its way.
    #[must_use]
    pub fn oldest_write(&self) -> Duration {
        self.durability.pending.front().map_or(Duration::ZERO, |write| self.now.since(write.since))
    }

    /// Commits what a majority holds durably. Only entries of the own term are counted; those before them follow
    /// (Raft, section 5.4.2). A leader counts itself when its own write is done.
    pub(crate) fn advance_commit(&mut self) {
        let Some(leading) = &self.leading else { return };
        let own = match bug::planted(Bug::OwnCopyBeforeSync) {
            true => self.log.last().index.0,
            false => self.durability.durable.0,
        };
        let matched = |node: NodeId| match leading.progress.get(&node) {
            Some(progress) => progress.matched.0,
            None if node == self.id => own,
            None => 0,
        };
        let reached = Index(if bug::planted(Bug::CommitOneShort) {
            quorum::reached_by_one_less(self.membership.all_voters().map(matched))
        } else if bug::planted(Bug::CommitAwaitsAll) {
            self.membership.all_voters().map(matched).min().unwrap_or(0)
        } else {
            self.membership.reached(matched)
        });
        let counts =
            self.log.term_at(reached) == Some(self.hard_state.term) || bug::planted(Bug::CommitsOldTerm);
        let commit = self.hard_state.commit;
        if reached > commit {
            let of_term = |index| self.log.term_at(index) == Some(self.hard_state.term);
            mark::hit_when(|| !of_term(reached), Mark::CommitNotByCount);
            mark::hit_when(|| of_term(reached) && !of_term(commit.next()), Mark::CommitOldTerm);
            mark::hit_when(
                || of_term(reached) && reached > self.durability.durable,
                Mark::CommitWithoutLeader,
            );
        }
        if reached > commit && counts {
            self.set_commit(reached);
            self.membership_confirmed(reached);
        }
    }

    pub(crate) fn set_commit(&mut self, index: Index) {
        assert!(index <= self.log.last().index, "an entry that is not there cannot be committed");
        if let Some(leading) = &mut self.leading {
            let committed = (self.hard_state.commit.0 + 1..=index.0)
                .filter_map(|at| self.log.entry(Index(at)))
                .map(|entry| entry.data.len())
                .sum::<usize>();
            leading.uncommitted_bytes = leading.uncommitted_bytes.saturating_sub(committed);
        }
        self.hard_state.commit = self.hard_state.commit.max(index);
    }
}

fn entries_behind(log: &super::log::Log, handed: Index) -> Vec<Entry> {
    log.slice(handed.next(), usize::MAX, usize::MAX)
}
