//! Consensus over opaque bytes (Ongaro and Ousterhout, "In search of an understandable consensus algorithm", 2014).
//!
//! This room knows no command. It decides who leads, what is in the log, what of it is committed, and whether a read is
//! current. One file a rule: [`election`], [`append`](mod@append), [`replicate`], [`read`], [`snapshot`], [`durable`].
//!
//! A write may take long, and several may be on their way. Whatever promises something that must survive a crash (a
//! granted vote, an acknowledged append, a node's own vote and its own copy of an entry) waits for its write.

pub mod agreement;
pub mod append;
pub mod change;
pub mod durable;
pub mod election;
mod leading;
mod lease;
pub mod log;
pub mod membership;
pub mod message;
mod preference;
pub mod progress;
pub mod quorum;
pub mod read;
pub mod replicate;
mod sending;
pub mod snapshot;
pub mod transfer;
pub mod wire;

#[cfg(test)]
mod tests;

use crate::{
    bug::{self, Bug},
    contract::{Entry, Flow, HardState, LogPosition, Timing},
    fingerprint::Fingerprint,
    mark::{self, Mark},
    point::{Point, Points},
    random::Draws,
    state::StateHash,
    trace::{StepDown, TraceEvent},
    types::{Index, NodeId, Term, Time},
};
use bytes::Bytes;
use durable::Durability;
use leading::Leading;
use log::Log;
use membership::Membership;
use message::Message;
use progress::Progress;
use snapshot::Receiving;
use std::collections::{BTreeMap, VecDeque};

/// What a node is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Follows, or waits.
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// What Raft asks of the node around it, besides messages and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this, in this node's term.
    Send(NodeId, Message),
    /// A read is confirmed: answer it from a state that holds everything up to the index.
    ReadConfirmed {
        /// As given to [`Raft::read`].
        token: u64,
        /// What the state must have applied.
        index: Index,
    },
    /// The node leads no more: reads and proposals that wait will not be confirmed here.
    Deposed,
    /// A majority of the members knows that they are: see [`Raft::confirm_membership`].
    MembershipConfirmed,
    /// Read a chunk of the newest snapshot for a peer.
    ReadSnapshotChunk {
        /// For whom.
        peer: NodeId,
        /// The snapshot.
        at: LogPosition,
        /// The chunk.
        number: u64,
    },
    /// Store a chunk of the leader's snapshot.
    StoreSnapshotChunk {
        /// The snapshot.
        at: LogPosition,
        /// The chunk.
        number: u64,
        /// Its bytes.
        data: Bytes,
        /// Whether it is the last.
        last: bool,
    },
    /// Load the snapshot that was stored.
    LoadSnapshot {
        /// The snapshot.
        at: LogPosition,
    },
    /// This node's state is not what it should be: take no part.
    Disagrees {
        /// The agreed index at which states differ.
        index: Index,
        /// Those who are right, as far as this node knows; `None`: no majority agrees, and nobody is known to be right.
        with: Option<Vec<NodeId>>,
    },
    /// Something to tell.
    Trace(TraceEvent),
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// The node does not lead.
    NotLeader,
    /// Too much is uncommitted.
    Full,
    /// The change of the membership before this one is not carried out yet.
    ChangePending,
    /// Another node is to lead at once.
    HandingOver(NodeId),
}

/// One node's consensus state.
#[derive(Clone, Debug)]
pub struct Raft {
    id: NodeId,
    membership: Membership,
    /// The entry that made it.
    membership_at: Index,
    /// It speaks of this node's data directory.
    known: bool,
    /// The membership is that of the log up to here.
    applied: Index,
    timing: Timing,
    flow: Flow,
    snapshot_rate: u64,
    draws: Draws,
    hard_state: HardState,
    log: Log,
    durability: Durability,
    role: Role,
    leader: Option<NodeId>,
    /// False until the node knows that its directory is the one that the cluster knows; false for ever if it is not.
    has_vote: bool,
    election_at: Time,
    /// When a leader of this term last spoke. Whoever heard one lately refuses pre-votes.
    leader_heard_at: Option<Time>,
    /// It has promised to vote for nobody before, unless its leader wants it so.
    no_vote_until: Time,
    /// Equal to the log of this term's leader up to here. Only in memory: a new term starts anew.
    verified: Index,
    /// Answers to the current pre-vote or vote.
    votes: BTreeMap<NodeId, bool>,
    leading: Option<Leading>,
    preference: preference::Preference,
    /// The newest snapshot on this node's disk.
    snapshot: Option<LogPosition>,
    receiving: Option<Receiving>,
    /// The state's hash at the newest agreed indexes.
    checkpoints: VecDeque<(Index, StateHash)>,
    effects: VecDeque<Effect>,
    pub(crate) points: Points,
    /// The clock at the step under way.
    now: Time,
}

/// What a node starts from.
#[derive(Clone, Debug)]
pub struct RaftStart {
    /// Its id.
    pub id: NodeId,
    /// Who takes part, as of the newest durable snapshot.
    pub membership: Membership,
    /// Periods.
    pub timing: Timing,
    /// How much is on its way at a time.
    pub flow: Flow,
    /// See [`Config::snapshot_rate`](crate::contract::Config::snapshot_rate).
    pub snapshot_rate: u64,
    /// For its draws.
    pub seed: u64,
    /// What was durable.
    pub hard_state: HardState,
    /// Where the durable log begins.
    pub start: LogPosition,
    /// The durable log.
    pub entries: Vec<Entry>,
    /// The newest durable snapshot.
    pub snapshot: Option<LogPosition>,
    /// It votes for nobody before: it may have promised so before it went down.
    pub no_vote_until: Time,
}

impl Raft {
    /// A follower without a vote; see [`grant_vote_right`](Self::grant_vote_right).
    #[must_use]
    pub fn new(start: RaftStart, now: Time) -> Self {
        let mut hard_state = start.hard_state;
        let log = Log::new(start.start, start.entries);
        let covered = start.snapshot.map_or(Index(0), |at| at.index).max(log.start().index);
        hard_state.commit = hard_state.commit.clamp(covered, log.last().index.max(covered));
        if bug::planted(Bug::VoteForgottenAtStart) {
            hard_state.vote = None;
        }
        let mut raft = Self {
            id: start.id,
            membership: start.membership,
            membership_at: Index(0),
            known: true,
            applied: start.snapshot.map_or(Index(0), |at| at.index),
            timing: start.timing,
            flow: start.flow,
            snapshot_rate: start.snapshot_rate,
            points: Points::new(start.seed),
            draws: Draws::new(start.seed, start.id.0),
            durability: Durability::new(hard_state, log.last().index),
            hard_state,
            log,
            role: Role::Follower,
            leader: None,
            has_vote: false,
            election_at: Time::FAR,
            leader_heard_at: None,
            no_vote_until: start.no_vote_until,
            verified: Index(0),
            votes: BTreeMap::new(),
            leading: None,
            preference: preference::Preference::new(),
            snapshot: start.snapshot,
            receiving: None,
            checkpoints: VecDeque::new(),
            effects: VecDeque::new(),
            now,
        };
        // A snapshot that reached the disk just before a crash may be ahead of the log's own record of where it begins.
        if let Some(at) = start.snapshot
            && !raft.log.holds(at)
            && at.index > raft.log.start().index
        {
            mark::hit(Mark::StartBehindSnapshot);
            raft.restart_log(at);
            // Or ahead of its term: what it covers is committed, so that this term has begun; and nothing was promised in it, or
            // it would be durable.
            if at.term > raft.hard_state.term {
                mark::hit(Mark::StartInSnapshotTerm);
                (raft.hard_state.term, raft.hard_state.vote) = (at.term, None);
            }
        }
        raft
    }

    /// The next effect, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Tells the time of the step that begins. A gap in which this node did not run is not held against others.
    pub fn begin_step(&mut self, now: Time) {
        let late = now.since(self.next_deadline().max(self.now));
        self.now = now.max(self.now);
        if late <= self.timing.heartbeat {
            return;
        }
        mark::hit(Mark::GapForgiven);
        self.durability.forgive(late);
        if let Some(leading) = &mut self.leading {
            mark::hit(Mark::GapForgivenLeader);
            for progress in leading.progress.values_mut() {
                progress.active_at = progress.active_at + late;
            }
        }
        // What waits in the queues is older than the deadline: it may be the leader's word.
        self.election_at = self.election_at.max(now + self.timing.heartbeat);
    }

    /// When something is to be done though nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        match &self.leading {
            Some(leading) => leading.heartbeat_at.min(leading.chunks.due()),
            None => self.election_at,
        }
    }

    /// Does what is due.
    pub fn deadline(&mut self) {
        match &self.leading {
            Some(leading) if self.now >= leading.heartbeat_at => self.heartbeat_due(),
            Some(leading) if self.now >= leading.chunks.due() => self.read_chunks(),
            None if self.now >= self.election_at => self.election_due(),
            Some(_) | None => {}
        }
    }

    /// Takes a message of another node, whether it takes part as far as this one knows or not: either may know of a newer
    /// membership. `term` is the sender's.
    pub fn receive(&mut self, from: NodeId, term: Term, message: Message) {
        if from == self.id {
            return;
        }
        if term > self.hard_state.term {
            // Nor is a request for votes taken that comes without having asked first: what a leader was confirmed to be within
            // an election timeout, it is until that is over.
            if is_unasked(&message) && self.is_led() && !bug::planted(Bug::PreVoteWhileLed) {
                return;
            }
            self.become_follower(term, None, StepDown::HigherTerm);
        } else if term < self.hard_state.term && !stale_is_taken(&message) {
            self.answer_stale(from, message);
            return;
        }
        if is_unasked(&message) && self.is_promised() && self.hard_state.vote != Some(from) {
            mark::hit(Mark::LeaseKept);
            return;
        }
        // Only the leader of this term sends these, so a node that leads it never hears them from an honest one.
        let of_leader = matches!(
            message,
            Message::Append { .. } | Message::Heartbeat { .. } | Message::SnapshotChunk { .. }
        );
        if of_leader && self.role == Role::Leader {
            return;
        }
        match message {
            Message::PreVote { next_term, last } => self.pre_vote_asked(from, next_term, last),
            Message::PreVoteReply { next_term, granted, commit } => {
                self.hear_commit(commit);
                self.pre_vote_answered(from, next_term, granted);
            }
            Message::Vote { last, .. } => self.vote_asked(from, last),
            Message::TimeoutNow => self.told_to_lead(from),
            Message::VoteReply { granted, commit } => {
                self.hear_commit(commit);
                self.vote_answered(from, granted);
            }
            Message::Append { previous, entries, commit } => {
                self.append_asked(from, previous, entries, commit);
            }
            Message::Appended { index } => self.append_answered(from, index),
            Message::AppendRefused { previous, hint } => self.append_refused(from, previous, hint),
            Message::Heartbeat { commit, position, checkpoint, judged, lease } => {
                self.heartbeat_heard(from, commit, position, (checkpoint, judged), lease);
            }
            Message::HeartbeatReply { position, verified, state, lease } => {
                if let Some(asked) = lease {
                    self.lease_promised(from, asked);
                }
                self.heartbeat_answered(from, position, verified);
                if let Some(state) = state {
                    self.agreement_answered(from, state);
                }
            }
            Message::SnapshotChunk { at, number, data, last } => {
                self.chunk_heard(from, at, number, data, last);
            }
            Message::SnapshotReply { index, next, installed } => {
                self.chunk_answered(from, index, next, installed);
            }
        }
    }

    /// A sender of an older term learns of the newer one by an answer in it. Answers need none.
    fn answer_stale(&mut self, from: NodeId, message: Message) {
        match message {
            Message::PreVote { next_term, .. } => {
                mark::hit(Mark::StalePreVote);
                let commit = self.committed();
                self.send(from, Message::PreVoteReply { next_term, granted: false, commit });
            }
            Message::Vote { .. } => {
                mark::hit(Mark::StaleVote);
                let commit = self.committed();
                self.send(from, Message::VoteReply { granted: false, commit });
            }
            Message::Append { previous, .. } => {
                mark::hit(Mark::StaleAppend);
                let hint = LogPosition::default();
                self.send(from, Message::AppendRefused { previous: previous.index, hint });
            }
            Message::Heartbeat { .. } | Message::SnapshotChunk { .. } => {
                mark::hit(Mark::StaleHeartbeat);
                let verified = Index(0);
                self.send(from, Message::HeartbeatReply { position: 0, verified, state: None, lease: None });
            }
            Message::TimeoutNow
            | Message::PreVoteReply { .. }
            | Message::VoteReply { .. }
            | Message::Appended { .. }
            | Message::AppendRefused { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. } => mark::hit(Mark::StaleAnswer),
        }
    }

    /// A leader adds an entry. It is committed when a majority holds it durably.
    ///
    /// # Errors
    /// `NotLeader`, or `Full` while too much is uncommitted.
    pub fn propose(&mut self, data: Bytes) -> Result<Index, ProposeError> {
        let term = self.hard_state.term;
        let Some(leading) = &mut self.leading else { return Err(ProposeError::NotLeader) };
        if let Some(to) =
            leading.transfer.map(|transfer| transfer.to()).filter(|_| !bug::planted(Bug::TransferTakes))
        {
            return Err(ProposeError::HandingOver(to));
        }
        let bytes = leading.uncommitted_bytes;
        let full = bytes > 0
            && bytes.saturating_add(data.len()) > self.flow.uncommitted_bytes
            && !bug::planted(Bug::UncommittedIgnored);
        if full || self.points.fires(Point::ProposalRefused) {
            return Err(ProposeError::Full);
        }
        leading.uncommitted_bytes += data.len();
        let index = self.log.last().index.next();
        self.log.push(Entry { term, index, data });
        Ok(index)
    }

    /// The node may vote and be voted for from now on.
    pub fn grant_vote_right(&mut self) {
        if !self.has_vote {
            self.has_vote = true;
            self.reset_election_timer();
        }
    }

    /// The node takes no part in votes from now on.
    pub fn withdraw_vote_right(&mut self) {
        let term = self.hard_state.term;
        self.has_vote = false;
        self.withdraw_votes();
        self.become_follower(term, None, StepDown::NoVote);
        self.election_at = Time::FAR;
    }

    /// See [`Fingerprint`].
    pub fn fingerprint(&self, print: &mut Fingerprint) {
        print.add((self.hard_state, &self.log, self.role, self.leader, self.has_vote, self.verified));
        print.add((&self.votes, self.snapshot, &self.receiving, &self.checkpoints));
        print.add((&self.membership, self.membership_at, self.known, self.applied));
        print.add_time(self.election_at).add_time(self.leader_heard_at.unwrap_or(Time::FAR));
        print.add_time(self.no_vote_until.max(self.now));
        self.durability.fingerprint(print);
        self.preference.fingerprint(print);
        self.points.fingerprint(print);
        if let Some(leading) = &self.leading {
            print.add((leading.first_of_term, leading.changes_until, leading.confirms, &leading.reads));
            print.add((leading.told_to_lead, leading.given_up_on, &leading.agreement));
            print.add_time(leading.heartbeat_at);
            leading.chunks.fingerprint(self.now, print);
            for (peer, progress) in &leading.progress {
                print.add(peer);
                progress.fingerprint(print);
            }
        }
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.effects.push_back(Effect::Send(to, message));
    }

    fn trace(&mut self, event: TraceEvent) {
        self.effects.push_back(Effect::Trace(event));
    }

    /// All other voters.
    fn rivals(&self) -> Vec<NodeId> {
        self.membership.all_voters().filter(|&voter| voter != self.id).collect()
    }

    /// Everybody else who takes part.
    fn peers(&self) -> Vec<NodeId> {
        self.membership.members().filter(|&member| member != self.id).collect()
    }

    /// What survives a crash, in its newest form (it may not be on the disk yet).
    #[must_use]
    pub const fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Its term.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Its role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The leader of its term, as far as it knows.
    #[must_use]
    pub const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Everything up to it is committed.
    #[must_use]
    pub const fn commit(&self) -> Index {
        self.hard_state.commit
    }

    /// The first entry that is still in the log (may be last + 1).
    #[must_use]
    pub const fn first_index(&self) -> Index {
        self.log.start().index.next()
    }

    /// The last entry.
    #[must_use]
    pub fn last_index(&self) -> Index {
        self.log.last().index
    }

    /// Everything up to it is on the disk.
    #[must_use]
    pub const fn durable_index(&self) -> Index {
        self.durability.durable()
    }

    /// Everything up to it is on the disk, in the log or in a snapshot.
    #[must_use]
    pub fn held_index(&self) -> Index {
        self.snapshot.map_or(self.durable_index(), |at| at.index.max(self.durable_index()))
    }

    /// What the entries of the log count, in bytes; see [`LogBytes`](crate::contract::LogBytes).
    #[must_use]
    pub const fn log_bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// One entry, unless it was compacted.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.entry(index)
    }

    /// The term of an entry, or of the place just before the first.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Whether the node takes part in votes.
    #[must_use]
    pub const fn has_vote(&self) -> bool {
        self.has_vote
    }

    /// The first entry of the term that it leads.
    #[must_use]
    pub fn first_of_term(&self) -> Option<Index> {
        self.leading.as_ref().map(|leading| leading.first_of_term)
    }

    /// What a leader believes that a follower has durably.
    #[must_use]
    pub fn matched(&self, peer: NodeId) -> Option<Index> {
        self.leading.as_ref()?.progress.get(&peer).map(|progress| progress.matched)
    }

    /// What a leader knows of a follower.
    #[must_use]
    pub fn progress(&self, peer: NodeId) -> Option<&Progress> {
        self.leading.as_ref()?.progress.get(&peer)
    }
}

/// A request for votes that no leader wants.
const fn is_unasked(message: &Message) -> bool {
    matches!(message, Message::Vote { handed: false, .. })
}

/// The planted bugs that take a message of an older term for one of this.
fn stale_is_taken(message: &Message) -> bool {
    match message {
        Message::Append { .. } => bug::planted(Bug::StaleAppendTaken),
        Message::Appended { .. } => bug::planted(Bug::StaleAckTaken),
        Message::VoteReply { .. } => bug::planted(Bug::StaleVoteTaken),
        _ => false,
    }
}
