//! The log as it is on disks. What is committed follows from it alone: an entry that a quorum made durable in the entry's
//! own term (Raft, section 5.4.2), a quorum of those who decide by what was committed before. So this knows it no later than
//! any master, and can judge what masters say.

use super::roll::{Era, Roll};
use crate::oracle::{Ledger, Reference, Rule};
use core::hash::Hasher;
use prost::bytes::Bytes;
use quorate_core::{
    codec,
    command::Command,
    contract::{Entry, HardState, LogPosition, Recovered, Write},
    limits::PROMOTED_PERCENT,
    types::{Index, NodeId, StorageId, Term},
};
use quorate_proto::v1::{self as pb, client_reply::Body, member_change::Change};
use std::collections::{BTreeMap, BTreeSet};

/// One master's log on its disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) hard_state: HardState,
    start: LogPosition,
    entries: BTreeMap<Index, Entry>,
    /// It says who the voters are.
    voters: bool,
}

impl Image {
    pub(super) fn last(&self) -> LogPosition {
        self.entries.values().next_back().map_or(self.start, Entry::position)
    }

    /// In a few words.
    pub(super) fn brief(&self) -> String {
        let HardState { term, vote, commit } = self.hard_state;
        let vote = vote.map_or_else(|| "nobody".to_owned(), |vote| vote.to_string());
        format!("term {term} vote {vote} commit {commit} log {:?} to {:?}", self.start, self.last())
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index { Some(self.start.term) } else { Some(self.entries.get(&index)?.term) }
    }

    fn carry_out(&mut self, write: &Write) {
        if let Some(start) = write.start {
            if self.term_at(start.index) == Some(start.term) {
                self.entries = self.entries.split_off(&start.index.next());
            } else {
                self.entries.clear();
            }
            self.start = start;
        }
        if let Some(first) = write.entries.first() {
            self.entries.split_off(&first.index);
            self.entries.extend(write.entries.iter().map(|entry| (entry.index, entry.clone())));
        }
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        self.voters |= write.voters.is_some();
    }

    /// Whether its master takes part in the cluster: its directory says who the voters are.
    pub(super) const fn has_joined(&self) -> bool {
        self.voters
    }

    /// How far it knows the log to be committed.
    pub(super) fn knows(&self) -> Index {
        self.hard_state.commit.max(self.start.index)
    }

    /// Whether it holds a change of the members behind this index.
    pub(super) fn changes_members_behind(&self, index: Index) -> bool {
        let changes = |entry: &Entry| {
            codec::decode(&entry.data).is_ok_and(|proposal| proposal.command.changes_membership())
        };
        self.entries.range(index.next()..).any(|(_, entry)| changes(entry))
    }
}

/// The rules' memory.
pub(super) struct Commits {
    images: Vec<Image>,
    /// What each disk will hold once the write under way is done.
    begun: Vec<Option<Image>>,
    /// The directories that masters have now.
    directories: Vec<StorageId>,
    /// Who the members are.
    pub(super) roll: Roll,
    written: BTreeMap<(Index, Term), (u64, Term)>,
    /// How far each directory made the entries of a term durable in that term.
    durable: BTreeMap<Term, BTreeMap<StorageId, Index>>,
    votes: BTreeMap<(Term, NodeId), BTreeSet<StorageId>>,
    given: BTreeMap<(StorageId, Term), NodeId>,
    /// How often the members had changed when the first vote of a term came onto a disk.
    voted: BTreeMap<Term, usize>,
    leaders: BTreeMap<Term, usize>,
    committed: Vec<Entry>,
    hashes: Vec<u128>,
    /// The first index at which the keys had a revision.
    revisions: BTreeMap<u64, Index>,
    /// Puts and compare-and-sets that took effect, by their values, which are never used twice.
    pub(super) values: BTreeMap<Bytes, Vec<Index>>,
    /// The committed log, carried out once more.
    pub(super) reference: Reference,
}

fn digest(data: &[u8]) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(data);
    hasher.finish()
}

const fn id(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

impl Commits {
    /// Of these directories, by place, of which so many found the cluster.
    pub(super) fn new(directories: Vec<StorageId>, founding: usize) -> Self {
        let (reference, masters) = (Reference::default(), directories.len());
        Self {
            images: vec![Image::default(); masters],
            begun: vec![None; masters],
            roll: Roll::founded(&directories[..founding]),
            directories,
            written: BTreeMap::new(),
            durable: BTreeMap::new(),
            votes: BTreeMap::new(),
            given: BTreeMap::new(),
            voted: BTreeMap::new(),
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            hashes: vec![reference.state.hash().0],
            revisions: BTreeMap::from([(0, Index(0))]),
            values: BTreeMap::new(),
            reference,
        }
    }

    /// The last committed entry.
    pub(super) fn frontier(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// The first and the last index at which the keys had this revision. `None`: they never had.
    pub(super) fn at_revision(&self, revision: u64) -> Option<(Index, Index)> {
        let first = *self.revisions.get(&revision)?;
        let next = self.revisions.range(revision + 1..).next();
        Some((first, next.map_or(Index(u64::MAX), |(_, index)| Index(index.0 - 1))))
    }

    /// What a master's disk holds.
    pub(super) fn image(&self, place: usize) -> &Image {
        &self.images[place]
    }

    /// These writes are on their way to a disk.
    pub(super) fn begins(&mut self, place: usize, batch: &[Write]) {
        let mut image = self.images[place].clone();
        for write in batch {
            image.carry_out(write);
        }
        self.begun[place] = Some(image);
    }

    /// These writes came onto a disk, all or none.
    pub(super) fn durable(&mut self, ledger: &mut Ledger, place: usize, batch: &[Write]) {
        self.begun[place] = None;
        for write in batch {
            self.caught_up(ledger, write);
            self.log_matching(ledger, place, write);
            let before = self.images[place].hard_state.term;
            self.images[place].carry_out(write);
            let hard_state = self.images[place].hard_state;
            ledger.hold(Rule::TermGrows, hard_state.term >= before, || {
                format!("node {} goes from term {before} to {} on its disk", id(place), hard_state.term)
            });
            self.vote(ledger, place, hard_state);
            self.acknowledges(place);
        }
        self.advance(ledger);
        self.agrees(ledger, place);
    }

    fn log_matching(&mut self, ledger: &mut Ledger, place: usize, write: &Write) {
        let Some(first) = write.entries.first() else { return };
        let image = &self.images[place];
        let begins = write.start.filter(|start| start.index.next() == first.index);
        let before = begins.map(|start| start.term);
        let before = before.or_else(|| image.term_at(Index(first.index.0.saturating_sub(1))));
        let Some(mut previous) = before else {
            let last = image.last();
            ledger.fail(
                Rule::DiskContract,
                format!("node {} writes {:?} behind {last:?}", id(place), first.position()),
            );
            return;
        };
        for entry in &write.entries {
            let this = (digest(&entry.data), previous);
            let known = *self.written.entry((entry.index, entry.term)).or_insert(this);
            ledger.hold(Rule::LogMatching, known == this, || {
                format!(
                    "node {}: entry {:?} has data {:x} behind term {}, elsewhere {:x} behind term {}",
                    id(place),
                    entry.position(),
                    this.0,
                    this.1,
                    known.0,
                    known.1
                )
            });
            previous = entry.term;
        }
    }

    /// Somebody is to vote by an entry that is new: it must hold most of the log before that.
    fn caught_up(&self, ledger: &mut Ledger, write: &Write) {
        let Some(members) = self.roll.members() else { return };
        // Who led before knows other members, and a later leader may have cut what it counted on.
        let newest = self.voted.last_key_value().map_or(Term(0), |(term, _)| *term);
        let new =
            |entry: &&Entry| entry.term == newest && !self.written.contains_key(&(entry.index, entry.term));
        for entry in write.entries.iter().filter(new) {
            let Ok(proposal) = codec::decode(&entry.data) else { continue };
            // A repeated request gets the answer that it got, and changes nothing.
            let asked = proposal.request.map(|request| (request.session.0, request.sequence));
            let Command::ChangeMembers { changes } = proposal.command else { continue };
            let again = asked.is_some_and(|asked| self.reference.requests.contains_key(&asked));
            if again || members.changed(&changes).is_err() {
                continue;
            }
            for change in changes {
                let Some(Change::Promote(id)) = change.change else { continue };
                let named = members.get(NodeId(id)).map(|it| StorageId(it.storage));
                let learns = !members.membership().is_voter(NodeId(id));
                // Nobody can know that a directory was lost since.
                let place = self.directories.iter().position(|it| Some(*it) == named).filter(|_| learns);
                let Some(place) = place else { continue };
                let held = self.images[place].last().index;
                let most = (held.0 + 1) * 100 >= entry.index.0 * PROMOTED_PERCENT;
                ledger.hold(Rule::CaughtUp, most, || {
                    format!("node {id} is to vote by {}, and holds {held}", entry.index)
                });
            }
        }
    }

    fn vote(&mut self, ledger: &mut Ledger, place: usize, hard_state: HardState) {
        let Some(vote) = hard_state.vote else { return };
        let (own, term) = (self.directories[place], hard_state.term);
        self.votes.entry((term, vote)).or_default().insert(own);
        self.voted.entry(term).or_insert_with(|| self.roll.changes());
        let first = *self.given.entry((own, term)).or_insert(vote);
        ledger.hold(Rule::OneVote, first == vote, || {
            format!("node {} votes in term {term} for {first} and for {vote}", id(place))
        });
        ledger.hold(Rule::NoVoteWiped, self.roll.knows(own), || {
            format!(
                "node {} votes in term {term} for {vote}, and nobody knows its directory {own}",
                id(place)
            )
        });
    }

    fn acknowledges(&mut self, place: usize) {
        let image = &self.images[place];
        let (term, last) = (image.hard_state.term, image.last());
        if last.term == term && !image.entries.is_empty() {
            let own = self.directories[place];
            let known = self.durable.entry(term).or_default().entry(own).or_default();
            *known = last.index.max(*known);
        }
    }

    fn advance(&mut self, ledger: &mut Ledger) {
        while let Some((end, term)) = self.decided() {
            let holds =
                |image: &&Image| image.term_at(end) == Some(term) && image.start.index <= self.frontier();
            let Some(image) = self.images.iter().find(holds) else { return };
            let from = self.frontier().next();
            let entries: Vec<Entry> =
                image.entries.range(from..=end).map(|(_, entry)| entry.clone()).collect();
            for entry in entries {
                self.commit(ledger, entry);
            }
        }
    }

    /// The last entry behind what is committed that those who decide have made durable in its own term.
    fn decided(&self) -> Option<(Index, Term)> {
        let frontier = self.frontier();
        let end = |era: &Era, ends: &BTreeMap<StorageId, Index>| {
            era.reached(&self.directories, |storage| ends.get(&storage).copied().unwrap_or_default())
        };
        let of_term = |(&term, ends)| {
            let ends = self.roll.deciding().iter().map(|era| end(era, ends)).filter(|end| *end > frontier);
            Some((ends.max()?, term))
        };
        self.durable.iter().filter_map(of_term).max()
    }

    fn commit(&mut self, ledger: &mut Ledger, entry: Entry) {
        self.reference.apply(ledger, &entry, None);
        self.hashes.push(self.reference.state.hash().0);
        self.roll.follow(&self.reference.state);
        let index = entry.index;
        let effect = self.reference.asked.get(&index).and_then(|asked| self.reference.requests.get(asked));
        if let Some(effect) = effect.filter(|effect| effect.index == index) {
            let revision = match &effect.reply.body {
                Some(Body::Put(put)) => put.revision,
                Some(Body::Delete(delete)) => delete.revision,
                Some(Body::CompareAndSet(set)) => set.revision,
                _ => 0,
            };
            self.revisions.entry(revision).or_insert(index);
            self.value(ledger, &entry);
        }
        self.committed.push(entry);
    }

    /// Clients use no value twice: one that takes effect twice was applied twice.
    fn value(&mut self, ledger: &mut Ledger, entry: &Entry) {
        let Ok(proposal) = codec::decode(&entry.data) else { return };
        let (Command::Put { value, .. } | Command::CompareAndSet { value, .. }) = proposal.command else {
            return;
        };
        let places = self.values.entry(value.clone()).or_default();
        places.push(entry.index);
        ledger.hold(Rule::AppliedOnce, places.len() == 1, || {
            format!("the change to {value:?} took effect at {places:?}")
        });
    }

    /// What a disk says is committed must be what is committed.
    fn agrees(&self, ledger: &mut Ledger, place: usize) {
        let image = &self.images[place];
        let commit = image.hard_state.commit;
        ledger.hold(Rule::CommitDurable, commit <= self.frontier(), || {
            format!(
                "the disk of node {} says {commit} is committed; committed is {}",
                id(place),
                self.frontier()
            )
        });
        // What is below was looked at before.
        for (index, entry) in image.entries.range(..=commit).rev().take(64) {
            let Some(known) = (index.0 as usize).checked_sub(1).and_then(|at| self.committed.get(at)) else {
                continue;
            };
            ledger.hold(Rule::StateMachineSafety, known == entry, || {
                format!(
                    "node {} has {:?} as committed; {:?} is committed there",
                    id(place),
                    entry.position(),
                    known.position()
                )
            });
        }
    }

    /// A directory was opened: it must hold everything that was durable, and may hold what was being written.
    ///
    /// Answers what became of a write that was under way.
    pub(super) fn recovered(
        &mut self,
        ledger: &mut Ledger,
        place: usize,
        recovered: &Recovered,
    ) -> Option<&'static str> {
        let old = &self.images[place];
        let snapshot = recovered.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.at.index);
        ledger.hold(Rule::CompactionCovered, recovered.start.index <= snapshot, || {
            format!(
                "node {}: its log begins behind {:?}, its snapshot covers {snapshot}",
                id(place),
                recovered.start
            )
        });
        let has = recovered.hard_state;
        let entries = recovered.entries.iter().map(|entry| (entry.index, entry.clone())).collect();
        let voters = !recovered.voters.is_empty();
        let image = Image { hard_state: has, start: recovered.start, entries, voters };
        let begun = self.begun[place].take();
        // In front of its start there may be more, which a damaged snapshot makes it need.
        let held = |known: &Image| image.entries.range(known.start.index.next()..);
        let starts = |known: &Image| known.start == image.start || image.start.index < known.start.index;
        let same =
            |known: &Image| known.hard_state == has && starts(known) && known.entries.iter().eq(held(known));
        ledger.hold(Rule::AckDurable, same(old) || begun.as_ref().is_some_and(same), || {
            let begun = begun.as_ref().map_or_else(|| "nothing".to_owned(), Image::brief);
            format!(
                "node {} starts with {}; durable was {}, being written {begun}",
                id(place),
                image.brief(),
                old.brief()
            )
        });
        let kept = if same(old) { "a cut-off write was lost" } else { "a cut-off write was kept" };
        let fate = begun.is_some().then_some(kept);
        self.images[place] = image;
        self.vote(ledger, place, has);
        self.acknowledges(place);
        self.advance(ledger);
        self.agrees(ledger, place);
        fate
    }

    /// A directory was emptied, and this one is in its place.
    pub(super) fn wipe(&mut self, place: usize, storage: StorageId) {
        self.images[place] = Image::default();
        self.begun[place] = None;
        self.directories[place] = storage;
    }

    /// Whether a majority of the newest members will know of the change at `at` when they come up again. What a directory
    /// lost, nobody can have kept for it.
    pub(super) fn is_known(&self, at: Index) -> bool {
        self.roll.newest().is_quorum(&self.directories, |storage| {
            let place = self.directories.iter().position(|it| *it == storage);
            place.is_none_or(|place| self.images[place].knows() >= at)
        })
    }

    /// Whether a change of the members is in somebody's log, or about to be, and not committed.
    pub(super) fn holds_changes(&self) -> bool {
        let frontier = self.frontier();
        let mut all = self.images.iter().chain(self.begun.iter().flatten());
        all.any(|image| image.changes_members_behind(frontier))
    }

    /// A master says that it leads. True: in a term that nobody led before.
    pub(super) fn leads(&mut self, ledger: &mut Ledger, place: usize, term: Term) -> bool {
        let new = !self.leaders.contains_key(&term);
        let first = *self.leaders.entry(term).or_insert(place);
        ledger.hold(Rule::OneLeader, first == place, || {
            format!("nodes {} and {} lead in term {term}", id(first), id(place))
        });
        let votes = self.votes.get(&(term, id(place))).cloned().unwrap_or_default();
        let voted = self.voted.get(&term).copied().unwrap_or_else(|| self.roll.changes());
        let eras = self.roll.since(voted);
        let won = |era: &Era| {
            let voter = era.membership().is_voter(id(place));
            voter && era.is_quorum(&self.directories, |storage| votes.contains(&storage))
        };
        ledger.hold(Rule::LeaderQuorum, eras.iter().any(won), || {
            let eras: Vec<String> = eras.iter().map(|era| era.membership().to_string()).collect();
            format!(
                "node {} leads in term {term} with the durable votes of directories {votes:?}; who decides: {}",
                id(place),
                eras.join(", or ")
            )
        });
        new
    }

    /// What a master says of itself must fit the log.
    pub(super) fn status(&self, ledger: &mut Ledger, place: usize, status: &pb::StatusReply) {
        let (commit, applied) = (Index(status.commit_index), Index(status.applied_index));
        ledger.hold(Rule::CommitDurable, commit <= self.frontier(), || {
            format!(
                "node {} says {commit} is committed; on the disks of a quorum is {}",
                id(place),
                self.frontier()
            )
        });
        ledger.hold(Rule::CommitGrows, applied <= commit, || {
            format!("node {} applied {applied}; it says that {commit} is committed", id(place))
        });
        let known = usize::try_from(applied.0).ok().and_then(|at| self.hashes.get(at));
        let said = <[u8; 16]>::try_from(&status.state_hash[..]).map(u128::from_le_bytes).ok();
        ledger.hold(Rule::SameState, known.is_some() && known.copied() == said, || {
            format!("node {} at {applied} has state {said:x?}; the committed log gives {known:x?}", id(place))
        });
    }

    /// What a master says of itself must fit what it said before in the same run.
    #[allow(clippy::unused_self, reason = "it belongs to the rules of the log")]
    pub(super) fn grows(
        &self,
        ledger: &mut Ledger,
        place: usize,
        before: &pb::StatusReply,
        now: &pb::StatusReply,
    ) {
        ledger.hold(Rule::TermGrows, now.term >= before.term, || {
            format!("node {} goes from term {} to {}", id(place), before.term, now.term)
        });
        let grows = now.commit_index >= before.commit_index && now.applied_index >= before.applied_index;
        ledger.hold(Rule::CommitGrows, grows, || {
            format!(
                "node {} had committed {} and applied {}, and then {} and {}",
                id(place),
                before.commit_index,
                before.applied_index,
                now.commit_index,
                now.applied_index
            )
        });
    }
}
