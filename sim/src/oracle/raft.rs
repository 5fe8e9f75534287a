//! Elections, logs and commits: rules G1 to G4, after Raft (Ongaro and Ousterhout), figure 3, with durability.

use super::{
    Ledger, Reference, Rule,
    quorum::{is_quorum, place_of, reached},
};
use crate::master::Master;
use quorate_core::{
    Node, codec,
    contract::{Entry, LogPosition, Write},
    raft::{Role, membership::Membership},
    state::Members,
    types::{Index, NodeId, Term},
};
use quorate_proto::v1::{self as pb, envelope::Body};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of a node last.
#[derive(Clone, Debug, Default)]
struct Seen {
    run: u64,
    term: Term,
    leads: bool,
    commit: Index,
    applied: Index,
    /// Who decided when its last step was over, and the entry that made them.
    voters: (Index, Membership),
}

/// An entry that is committed.
#[derive(Clone, Debug)]
struct Committed {
    entry: Entry,
    /// The highest term in which it is known to have been committed when it was first seen.
    in_term: Term,
}

/// The rules' memory.
#[derive(Default)]
pub struct Consensus {
    seen: Vec<Seen>,
    leaders: BTreeMap<Term, NodeId>,
    votes_given: BTreeMap<(u64, u64), u64>,
    votes_durable: BTreeMap<(Term, NodeId), BTreeSet<usize>>,
    written: BTreeMap<(Index, Term), (u64, Term)>,
    /// What came before the first of `committed`, in a cluster that was given up.
    base: Index,
    committed: Vec<Committed>,
    /// The entries that made each membership that anybody carried out.
    memberships: Vec<Index>,
    term_max: Term,
    /// A leader may be [crowded](super::jobs::CROWDED_BYTES).
    pub crowded: bool,
}

fn digest(data: &[u8]) -> u64 {
    use core::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(data);
    hasher.finish()
}

impl Consensus {
    /// What is known of a cluster that begins behind this place with what another one held.
    #[must_use]
    pub fn heir(&self, at: LogPosition) -> Self {
        Self { base: at.index, term_max: at.term, crowded: self.crowded, ..Self::default() }
    }

    /// Up to here all is of a cluster that was given up; 0 = there was none.
    #[must_use]
    pub const fn inherited(&self) -> Index {
        self.base
    }

    /// The last entry known to be committed.
    #[must_use]
    pub fn frontier(&self) -> Index {
        Index(self.base.0 + self.committed.len() as u64)
    }

    /// A committed entry.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let place = usize::try_from(index.0.checked_sub(self.base.0 + 1)?).ok()?;
        self.committed.get(place).map(|committed| &committed.entry)
    }

    fn seen(&mut self, place: usize) -> &mut Seen {
        if self.seen.len() <= place {
            self.seen.resize_with(place + 1, Seen::default);
        }
        &mut self.seen[place]
    }

    /// A write came onto a disk.
    pub fn durable(&mut self, place: usize, write: &Write) {
        if let Some(hard_state) = write.hard_state
            && let Some(vote) = hard_state.vote
        {
            self.votes_durable.entry((hard_state.term, vote)).or_default().insert(place);
        }
    }

    /// A node gave a write out: its entries must be those that others have at their places.
    pub fn write(&mut self, ledger: &mut Ledger, master: &Master, write: &Write) {
        let Some(first) = write.entries.first() else { return self.compaction(ledger, master, write) };
        let before = Index(first.index.0.saturating_sub(1));
        let node = master.node.as_ref();
        let mut previous = node.and_then(|node| node.raft().term_at(before)).unwrap_or(Term(0));
        for entry in &write.entries {
            let known = *self
                .written
                .entry((entry.index, entry.term))
                .or_insert_with(|| (digest(&entry.data), previous));
            let this = (digest(&entry.data), previous);
            ledger.hold(Rule::LogMatching, known == this, || {
                format!(
                    "node {}: entry {:?} has data {:x} behind term {}, elsewhere {:x} behind term {}",
                    master.id,
                    entry.position(),
                    this.0,
                    this.1,
                    known.0,
                    known.1
                )
            });
            previous = entry.term;
        }
        if let Some(node) = node.filter(|node| node.raft().role() == Role::Leader) {
            changes_in_turn(ledger, node, master.id, &write.entries);
        }
        self.compaction(ledger, master, write);
    }

    #[allow(clippy::unused_self, reason = "it belongs to the rules of the log")]
    fn compaction(&self, ledger: &mut Ledger, master: &Master, write: &Write) {
        let Some(start) = write.start else { return };
        let covered = master.disk.image.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.at.index);
        ledger.hold(Rule::CompactionCovered, start.index <= covered, || {
            format!("node {} cuts its log at {}, its snapshot covers {covered}", master.id, start.index)
        });
    }

    /// A node sends a message: what it acknowledges must be on its disk.
    pub fn send(&mut self, ledger: &mut Ledger, master: &Master, envelope: &pb::Envelope) {
        let image = &master.disk.image;
        let term = Term(envelope.term);
        let Some(body) = &envelope.body else { return };
        if let Body::VoteReply(reply) = body
            && reply.granted
        {
            let hard_state = image.hard_state;
            let durable = hard_state.term > term
                || (hard_state.term == term && hard_state.vote == Some(NodeId(envelope.to)));
            ledger.hold(Rule::VoteDurable, durable, || {
                format!(
                    "node {} grants term {term} to {}; on its disk: {hard_state:?}",
                    master.id, envelope.to
                )
            });
            let first = *self.votes_given.entry((master.id.0, envelope.term)).or_insert(envelope.to);
            // What a directory forgot counts for nothing; whether it may forget is looked at when it does.
            ledger.hold(Rule::OneVote, first == envelope.to || term <= master.forgot, || {
                format!("node {} votes in term {term} for {first} and for {}", master.id, envelope.to)
            });
            ledger.hold(Rule::NoVoteWiped, !master.wiped, || {
                format!("node {} was wiped and grants term {term} to {}", master.id, envelope.to)
            });
        }
        let acknowledged = match body {
            Body::AppendReply(reply) if reply.accepted => Some(reply.index),
            Body::HeartbeatAnswer(answer) => Some(answer.verified_index),
            _ => None,
        };
        if let Some(index) = acknowledged.map(Index) {
            let own = master.node.as_ref().and_then(|node| node.raft().term_at(index));
            let on_disk = image.term_at(index);
            let holds =
                index <= image.start.index || (on_disk.is_some() && (own.is_none() || own == on_disk));
            ledger.hold(Rule::AckDurable, holds, || {
                format!(
                    "node {} acknowledges {index} (term {own:?}) to {}; on its disk: {:?} to {:?}, there {on_disk:?}",
                    master.id,
                    envelope.to,
                    image.start,
                    image.last()
                )
            });
            // Who forgot this term could follow an older leader again, and cut what it acknowledges here.
            ledger.hold(Rule::AckDurable, index.0 == 0 || image.hard_state.term >= term, || {
                format!(
                    "node {} acknowledges {index} of term {term}; on its disk: {:?}",
                    master.id, image.hard_state
                )
            });
        }
    }

    /// After each step of a node.
    pub fn stepped(
        &mut self,
        ledger: &mut Ledger,
        reference: &mut Reference,
        masters: &[Master],
        place: usize,
    ) {
        let master = &masters[place];
        let Some(node) = &master.node else { return };
        let raft = node.raft();
        let (term, commit, applied) = (raft.term(), raft.commit(), node.state().index());
        let leads = raft.role() == Role::Leader;
        let mut before = core::mem::take(self.seen(place));
        if before.run != master.run {
            let voters = (members_of(node), raft.membership().clone());
            before =
                Seen { run: master.run, term: before.term, commit: self.base, voters, ..Seen::default() };
            let durable = master.disk.image.hard_state.term;
            ledger.hold(Rule::TermGrows, term >= durable, || {
                format!("node {} starts in term {term}, its disk says {durable}", master.id)
            });
            let (own, on_disk) = (raft.hard_state().vote, master.disk.image.hard_state.vote);
            ledger.hold(Rule::VoteRemembered, term != durable || on_disk.is_none() || own == on_disk, || {
                format!(
                    "node {} starts in term {term} with vote {own:?}, its disk says {on_disk:?}",
                    master.id
                )
            });
        } else {
            ledger.hold(Rule::TermGrows, term >= before.term, || {
                format!("node {} goes from term {} to {term}", master.id, before.term)
            });
        }
        if term > self.term_max {
            let begun = raft.role() == Role::Candidate || leads;
            let most = if begun { self.term_max.next() } else { self.term_max };
            ledger.hold(Rule::TermObserved, term <= most, || {
                format!(
                    "node {} is {:?} in term {term}; the highest so far is {}",
                    master.id,
                    raft.role(),
                    self.term_max
                )
            });
            self.term_max = term;
        }
        if master.wiped {
            ledger.hold(Rule::NoVoteWiped, !raft.has_vote() && raft.role() == Role::Follower, || {
                format!(
                    "node {} was wiped, and is {:?} with a vote: {}",
                    master.id,
                    raft.role(),
                    raft.has_vote()
                )
            });
        }
        let members_at = members_of(node);
        if self.memberships.last().is_none_or(|last| *last < members_at) {
            self.memberships.push(members_at);
        }
        let voters = &before.voters.1;
        // Who was removed leads until those that are left know.
        let may_lead = raft.membership().is_voter(master.id) || raft.is_confirming();
        ledger.hold(Rule::LeaderVotes, !leads || may_lead, || {
            format!("node {} leads in term {term}; the voters are {}", master.id, raft.membership())
        });
        if leads && !(before.leads && before.term == term) {
            self.elected(ledger, masters, place, voters);
        }
        if commit != before.commit {
            let led = leads && before.leads && before.term == term;
            self.committed(ledger, reference, masters, place, (before.commit, commit, led), voters);
        }
        if leads {
            Self::acks(ledger, masters, master, term);
        }
        if applied != before.applied {
            ledger.hold(Rule::CommitGrows, applied >= before.applied && applied <= commit, || {
                format!(
                    "node {} applied {} and then {applied}; committed is {commit}",
                    master.id, before.applied
                )
            });
            reference.same_state(ledger, master);
        }
        let mut voters = before.voters;
        if voters.0 != members_at {
            voters = (members_at, raft.membership().clone());
        }
        *self.seen(place) = Seen { run: master.run, term, leads, commit, applied, voters };
    }

    /// What a leader believes to be on the disks of others is there, unless another leader came meanwhile.
    fn acks(ledger: &mut Ledger, masters: &[Master], leader: &Master, term: Term) {
        let Some(node) = &leader.node else { return };
        let raft = node.raft();
        // Another directory has come in place of the one that it counts on, and it does not know.
        let same = |peer: &Master| node.identity().hears(peer.id, peer.storage);
        let others = masters.iter().filter(|peer| peer.id != leader.id && !peer.wiped && !peer.rolled);
        for peer in others.filter(|peer| same(peer)) {
            let image = &peer.disk.image;
            let newer = image.hard_state.term > term
                || image.last().term > term
                || peer.node.as_ref().is_some_and(|node| node.raft().term() > term);
            let Some(index) = raft.matched(peer.id).filter(|index| index.0 > 0 && !newer) else { continue };
            let Some(own) = raft.term_at(index) else { continue };
            ledger.hold(Rule::AckCounts, image.holds(LogPosition { term: own, index }), || {
                format!(
                    "leader {} of term {term} takes {index} (term {own}) to be on the disk of node {}; it holds {:?} to {:?}, there {:?}",
                    leader.id, peer.id, image.start, image.last(), image.term_at(index)
                )
            });
        }
    }

    /// `voters`: as it knew them before the step in which it was elected, which may have changed them.
    fn elected(&mut self, ledger: &mut Ledger, masters: &[Master], place: usize, voters: &Membership) {
        let master = &masters[place];
        let Some(node) = &master.node else { return };
        let term = node.raft().term();
        let first = *self.leaders.entry(term).or_insert(master.id);
        ledger.hold(Rule::OneLeader, first == master.id, || {
            format!("nodes {first} and {} lead in term {term}", master.id)
        });
        let votes = self.votes_durable.get(&(term, master.id)).cloned().unwrap_or_default();
        let won = |voters| is_quorum(voters, |place| votes.contains(&place));
        ledger.hold(Rule::LeaderQuorum, won(voters) || won(node.raft().membership()), || {
            format!(
                "node {} leads in term {term} with durable votes of places {votes:?}; the voters are {voters}",
                master.id
            )
        });
        // Votes that wait at a slow processor may elect somebody of whose term nobody hears any more.
        if self.leaders.last_key_value().is_none_or(|(newest, _)| *newest <= term) {
            self.is_neighbour(ledger, master, node);
        }
        let (index, there) = (node.raft().last_index(), node.raft().term_at(node.raft().last_index()));
        ledger.hold(Rule::FirstEntry, there == Some(term), || {
            format!("node {} leads in term {term}; its last entry {index} is of term {there:?}", master.id)
        });
        // By log matching, the last entry that was committed in a lower term stands for all before it.
        let last = self.committed.iter().rposition(|committed| committed.in_term < term);
        if let Some(entry) = last.map(|at| self.committed[at].entry.position()) {
            let raft = node.raft();
            let has = raft.term_at(entry.index);
            ledger.hold(
                Rule::LeaderCompleteness,
                has == Some(entry.term) || entry.index < raft.first_index(),
                || {
                    format!(
                        "node {} leads in term {term}; it lacks {entry:?}, there it has {has:?}",
                        master.id
                    )
                },
            );
        }
    }

    fn committed(
        &mut self,
        ledger: &mut Ledger,
        reference: &mut Reference,
        masters: &[Master],
        place: usize,
        (from, to, by_count): (Index, Index, bool),
        voters: &Membership,
    ) {
        let master = &masters[place];
        let Some(node) = &master.node else { return };
        let raft = node.raft();
        ledger.hold(Rule::CommitGrows, to >= from && to <= raft.last_index(), || {
            format!(
                "node {} had committed {from}, and then {to}; its log ends at {}",
                master.id,
                raft.last_index()
            )
        });
        if by_count {
            let there = raft.term_at(to);
            ledger.hold(Rule::CommitOwnTerm, there == Some(raft.term()), || {
                format!("leader {} of term {} commits {to} of term {there:?}", master.id, raft.term())
            });
        }
        for index in (from.0 + 1..=to.0).map(Index) {
            let Some(entry) = raft.entry(index) else {
                ledger.hold(Rule::StateMachineSafety, index <= self.frontier(), || {
                    format!("node {} has {index} in a snapshot; committed is {}", master.id, self.frontier())
                });
                continue;
            };
            if let Some(known) = self.entry(index) {
                ledger.hold(Rule::StateMachineSafety, known == entry, || {
                    format!(
                        "node {} commits {:?} (data {:x}); before, {:?} (data {:x}) was committed there",
                        master.id,
                        entry.position(),
                        digest(&entry.data),
                        known.position(),
                        digest(&known.data)
                    )
                });
                continue;
            }
            let entry = entry.clone();
            self.on_a_quorum(ledger, masters, master, voters, entry.position());
            reference.apply(ledger, &entry, Some(raft.last_index()).filter(|_| !self.crowded));
            self.committed.push(Committed { entry, in_term: raft.term() });
        }
    }

    fn on_a_quorum(
        &self,
        ledger: &mut Ledger,
        masters: &[Master],
        master: &Master,
        voters: &Membership,
        at: LogPosition,
    ) {
        let Some(node) = &master.node else { return };
        let now = node.raft().membership();
        let holds = |place: usize| {
            masters.get(place).is_some_and(|master| master.wiped || master.disk.image.holds(at))
        };
        ledger.hold(Rule::CommitDurable, is_quorum(voters, holds) || is_quorum(now, holds), || {
            let holders: Vec<usize> = (0..masters.len()).filter(|place| holds(*place)).collect();
            format!(
                "node {} commits {at:?}; it is on the disks of places {holders:?}; the voters are {voters}",
                master.id
            )
        });
        self.is_neighbour(ledger, master, node);
    }

    /// Who decides something has the newest membership that anybody carried out, or the one before it.
    fn is_neighbour(&self, ledger: &mut Ledger, master: &Master, node: &Node) {
        let [.., before, _] = self.memberships[..] else { return };
        ledger.hold(Rule::NewestVoters, members_of(node) >= before, || {
            format!(
                "node {} decides with the members of entry {}; those of {before} and of a later one were carried out",
                master.id,
                members_of(node)
            )
        });
    }
}

/// A leader writes entries: each change of the members must find the one before it carried out, and an entry of the leader's
/// term committed. It may have got so far only in the step that ends with this write.
fn changes_in_turn(ledger: &mut Ledger, node: &Node, leader: NodeId, entries: &[Entry]) {
    let raft = node.raft();
    let changes = |entry: &Entry| {
        codec::decode(&entry.data).is_ok_and(|proposal| proposal.command.changes_membership())
    };
    for entry in entries.iter().filter(|entry| entry.term == raft.term() && changes(entry)) {
        let waits = (node.state().index().0 + 1..entry.index.0)
            .map(Index)
            .find(|index| raft.entry(*index).is_some_and(changes));
        let own = raft.term_at(raft.commit()).is_none_or(|term| term == raft.term());
        ledger.hold(Rule::ChangeInTurn, waits.is_none() && own, || {
            format!(
                "leader {leader} of term {} adds the change {}; the one of {waits:?} is not carried out, {} is committed",
                raft.term(),
                entry.index,
                raft.commit()
            )
        });
    }
}

/// The entry that made the members that a node follows.
fn members_of(node: &Node) -> Index {
    Index(node.state().members().map_or(0, Members::index))
}

/// The highest term that a quorum has on its disks: what was confirmed in a lower one is void. `leases`: who has promised its
/// leader to vote for nobody may follow it in a higher term; only with a vote in it does a quorum have another leader.
#[must_use]
pub fn quorum_term(masters: &[Master], voters: &Membership, leases: bool) -> Term {
    let master = |node| place_of(node).and_then(|place| masters.get(place));
    let floor = |master: &Master| {
        let voted = master.disk.image.hard_state.vote.is_some();
        if leases && !voted { Term(0) } else { master.term_floor() }
    };
    Term(reached(voters, |node| master(node).map_or(0, |it| floor(it).0)))
}
