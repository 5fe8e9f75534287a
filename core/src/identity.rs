//! Whether a node's data directory is the one that the cluster knows under its id.
//!
//! A voter that lost its directory, or was given an old copy of it, has forgotten votes and acknowledgements: if it took
//! part, two leaders could be elected, or a committed entry lost. So each directory has a random storage id, and
//!
//! * the storage ids of all voters are kept durably by each of them, from before its first vote;
//! * an empty directory takes its vote up only after every initial member has said that it is empty too, or after one
//!   that is not has named this very storage id;
//! * whoever speaks with another storage id than the one that is kept is told so, and is heard no further;
//! * a node that comes up says nothing else until a majority has answered what it acknowledged to them, and that is no
//!   more than it still holds;
//! * a directory that joins a cluster takes part when a member names its storage id, which the leader has had written down
//!   when it first heard of it;
//! * a node that was away while others came hears them, though it does not know them: like any server of Raft, it answers
//!   whoever is of its cluster. One that has not been greeted yet asks them, and learns from their answers who the members
//!   are whose greetings count.

mod denials;

use crate::{
    bug::{self, Bug},
    contract::Voters,
    mark::{self, Mark},
    raft::{membership::Membership, quorum::Decision},
    state::Members,
    types::{Index, NodeId, StorageId, Term},
};
use core::hash::{Hash, Hasher};
use denials::{given_up, lost, other_storage};
use prost::Message;
use quorate_proto::v1::{self as pb, envelope::Body};
use std::collections::{BTreeMap, BTreeSet};

/// How far a node has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Its directory is empty: it waits for all initial members, or until the cluster that it joins knows it.
    Fresh,
    /// It knows the voters, and waits for a majority to confirm that it has lost nothing.
    Greeting,
    /// It takes part.
    Member,
    /// It takes no part, for good.
    Denied(String),
}

/// What is to be done after a handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// Keep these voters durably, then take part.
    Bootstrap(Voters),
    /// Take part.
    Join,
    /// Take no part, for good.
    Deny,
}

/// Members as they are told to peers.
#[derive(Clone, Debug)]
struct Record(pb::Membership);

impl Hash for Record {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.encode_to_vec().hash(hasher);
    }
}

/// A node's place in its cluster.
#[derive(Clone, Debug, Hash)]
pub struct Identity {
    node: NodeId,
    storage: StorageId,
    /// It joins a cluster that there is, and founds none.
    joins: bool,
    /// Whom it talks to.
    members: BTreeSet<NodeId>,
    /// Whose greetings count.
    membership: Membership,
    /// The entry that made that membership, as it was carried out here or told by a peer.
    members_at: u64,
    /// The directories that it knows.
    voters: Voters,
    /// Those of the members that were carried out here last.
    carried: Voters,
    /// Directories that were given up.
    given_up: BTreeSet<(NodeId, StorageId)>,
    /// Whether all that the directory knew to be committed is carried out.
    caught_up: bool,
    /// Its log holds an entry, or did.
    holds_entries: bool,
    standing: Standing,
    /// Members that said that they are empty, with their storage ids: since the last round of questions, and in the one
    /// before. Whoever is silent for longer may have begun since, and may be all that holds what was acknowledged.
    empty: [Voters; 2],
    /// Members that confirmed that nothing was lost.
    greeted: BTreeSet<NodeId>,
    /// What each peer acknowledged to this node since it came up: a term, and the highest index in that term.
    seen: BTreeMap<NodeId, (Term, Index)>,
    feature_level: u32,
    /// Members that do not hear this directory: the entry that made the members as they know them, and what they said.
    denials: BTreeMap<NodeId, (u64, String)>,
    /// The newest members that it carried out or was told of.
    record: Option<Record>,
    /// What a directory that joins was last told instead of being let in.
    told: Option<String>,
}

impl Identity {
    /// `voters` as they were kept; empty for an empty directory.
    #[must_use]
    pub fn new(
        (node, storage): (NodeId, StorageId),
        members: BTreeSet<NodeId>,
        joins: bool,
        voters: Voters,
        feature_level: u32,
    ) -> Self {
        let standing = match voters.get(&node) {
            None if voters.is_empty() => Standing::Fresh,
            Some(&kept) if kept == storage => Standing::Greeting,
            Some(_) | None => Standing::Denied("the data directory holds the log of another one".to_owned()),
        };
        // Of a cluster that it joined, it knows who votes when it has carried out its log.
        let founders = if joins { voters.keys().copied().collect() } else { members.clone() };
        Self {
            node,
            storage,
            joins,
            members,
            membership: Membership::of(founders),
            members_at: 0,
            carried: voters.clone(),
            given_up: BTreeSet::new(),
            caught_up: false,
            holds_entries: false,
            voters,
            standing,
            empty: [Voters::new(), Voters::new()],
            greeted: BTreeSet::new(),
            seen: BTreeMap::new(),
            feature_level,
            denials: BTreeMap::new(),
            record: None,
            told: None,
        }
    }

    /// The cluster's members are these from now on. Whose directories are others than before: what was known of the old
    /// ones holds no more, and the new ones are to be kept durably. `None`: they are not those that this directory is of.
    /// It joined later, or was removed or replaced; then the others tell.
    #[must_use]
    pub fn follow(&mut self, members: &Members) -> Option<BTreeSet<NodeId>> {
        if members.get(self.node).is_none_or(|own| own.storage != self.storage.0) {
            mark::hit(Mark::IdentityOlder);
            return None;
        }
        let storages = members.storages();
        let changed = differ(&self.carried, &storages);
        self.carried = storages;
        // A peer may have told of newer ones.
        mark::hit_if(members.index() < self.members_at, Mark::IdentityToldNewer);
        if members.index() >= self.members_at {
            self.count_on(members);
        }
        Some(changed)
    }

    /// A peer tells who the members are. Only newer ones than it knows count, and only if this directory is of them. It
    /// needs them to be greeted, and to hear who came in place of somebody that it knows.
    fn told(&mut self, record: &pb::Membership) {
        let listens = matches!(self.standing, Standing::Greeting | Standing::Member);
        if !listens || record.index <= self.members_at || bug::planted(Bug::IdentityNotTold) {
            return;
        }
        let Ok(members) = Members::from_record(record) else { return };
        if members.get(self.node).is_some_and(|own| own.storage == self.storage.0) {
            mark::hit(Mark::IdentityTold);
            self.count_on(&members);
        }
    }

    fn count_on(&mut self, members: &Members) {
        self.members_at = members.index();
        self.record = Some(Record(members.record()));
        self.membership.clone_from(members.membership());
        self.members = members.iter().map(|(node, _)| node).collect();
        self.given_up = members.given_up();
        let known = core::mem::replace(&mut self.voters, members.storages());
        let changed = differ(&known, &self.voters);
        self.seen.retain(|node, _| !changed.contains(node));
        self.greeted.retain(|node| !changed.contains(node));
    }

    /// The log is carried out as far as the directory knows it to be committed: what it says of the members holds.
    pub fn caught_up(&mut self) -> Verdict {
        if self.caught_up {
            return Verdict::Nothing;
        }
        self.caught_up = true;
        self.decide()
    }

    /// The newest members that it carried out or was told of; `None`: no members yet of which its directory is one.
    #[must_use]
    pub fn newest_members(&self) -> Option<&pb::Membership> {
        self.record.as_ref().map(|record| &record.0)
    }

    /// The directories that it knows.
    #[must_use]
    pub const fn known(&self) -> &Voters {
        &self.voters
    }

    /// The directories of the members that were carried out here last: those that decide with them.
    #[must_use]
    pub const fn carried(&self) -> &Voters {
        &self.carried
    }

    /// Whether what a directory grants or acknowledges may count. Another one may have come in its place that holds nothing
    /// of what the members that this node decides with have decided; it is heard, but has no vote among them.
    #[must_use]
    pub fn counts(&self, from: NodeId, storage: StorageId) -> bool {
        let known = self.carried.get(&from).is_none_or(|kept| *kept == storage);
        mark::hit_if(!known, Mark::IdentityDoesNotCount);
        known || bug::planted(Bug::IdentityAnyCounts)
    }

    /// Whether this directory is none that it knows to be another one.
    #[must_use]
    pub fn hears(&self, from: NodeId, storage: StorageId) -> bool {
        let known = |voters: &Voters| voters.get(&from).is_none_or(|kept| *kept == storage);
        let decides = self.carried.get(&from) == Some(&storage);
        decides || (known(&self.voters) && known(&self.carried) && !self.given_up.contains(&(from, storage)))
    }

    /// How far the node has come.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What a node decides at its start, and after each answer.
    #[must_use]
    pub fn decide(&mut self) -> Verdict {
        match self.standing {
            Standing::Fresh if !self.joins && self.has_heard_all() => {
                mark::hit(Mark::IdentityBegins);
                let [newer, older] = &self.empty;
                let mut voters: Voters = older.iter().chain(newer).map(|(node, id)| (*node, *id)).collect();
                voters.insert(self.node, self.storage);
                self.adopt(voters)
            }
            Standing::Greeting
                if (self.caught_up && self.is_greeted()) || bug::planted(Bug::IdentityNoGreeting) =>
            {
                mark::hit(Mark::IdentityReturns);
                self.standing = Standing::Member;
                Verdict::Join
            }
            Standing::Fresh | Standing::Greeting | Standing::Member | Standing::Denied(_) => Verdict::Nothing,
        }
    }

    /// Whether a majority has confirmed that it lost nothing.
    fn is_greeted(&self) -> bool {
        if self.is_unknown() {
            return false;
        }
        let all = self.greeted.iter().copied().chain([self.node]);
        self.membership.decide(&all.map(|node| (node, true)).collect()) == Decision::Won
    }

    /// Whether it joined, and has not learned yet that it is one of the members.
    const fn is_unknown(&self) -> bool {
        self.joins && self.record.is_none()
    }

    fn has_heard_all(&self) -> bool {
        let missing = self.not_heard().count();
        missing == 0 || (bug::planted(Bug::IdentityEarlyStart) && missing < self.members.len().div_ceil(2))
    }

    /// Members that have not said lately that they are empty.
    fn not_heard(&self) -> impl Iterator<Item = NodeId> {
        let heard = |node: &NodeId| self.empty.iter().any(|it| it.contains_key(node));
        self.members.iter().copied().filter(move |node| *node != self.node && !heard(node))
    }

    fn adopt(&mut self, voters: Voters) -> Verdict {
        self.voters.clone_from(&voters);
        self.standing = Standing::Member;
        Verdict::Bootstrap(voters)
    }

    /// Why an empty directory does not take part yet; `None` once it does.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        if self.standing != Standing::Fresh {
            return None;
        }
        if self.joins {
            let told = self.told.as_deref().unwrap_or("no member has answered");
            return Some(format!(
                "waits until the cluster knows this directory as node {}'s: {told}",
                self.node
            ));
        }
        let missing: Vec<_> = self.not_heard().map(|node| node.to_string()).collect();
        let told = self.told.as_ref().map(|told| format!("; {told}")).unwrap_or_default();
        (!missing.is_empty()).then(|| {
            format!(
                "waits until all who found the cluster are there; not heard of: nodes {}{told}",
                missing.join(", ")
            )
        })
    }

    fn deny(&mut self, message: String) -> Verdict {
        // Whoever says so may not have heard yet that it was added, or put in place of another.
        if self.joins && self.standing == Standing::Fresh {
            mark::hit(Mark::IdentityWaits);
            self.told = Some(message);
            return Verdict::Nothing;
        }
        self.standing = Standing::Denied(message);
        Verdict::Deny
    }

    /// A round of questions: the members to ask, and what.
    pub fn questions(&mut self) -> Vec<(NodeId, Body)> {
        let [newer, older] = &mut self.empty;
        *older = core::mem::take(newer);
        let asked = |peer: &&NodeId| match self.standing {
            // Also who was empty: it may have begun, and knows then that this directory is of the cluster.
            Standing::Fresh => true,
            // Also who has greeted it: members that it waits for may be removed meanwhile, or it may be added again, and
            // whoever leads tells it so.
            Standing::Greeting => !self.greeted.contains(peer) || !bug::planted(Bug::IdentityAskedOnce),
            Standing::Member | Standing::Denied(_) => false,
        };
        let others = self.members.iter().filter(|&&peer| peer != self.node);
        others.filter(asked).map(|&peer| (peer, self.hello(peer, true))).collect()
    }

    fn hello(&self, to: NodeId, ask: bool) -> Body {
        let voters = self
            .voters
            .iter()
            .map(|(node, storage)| pb::VoterStorage { node: node.0, storage: storage.0 })
            .collect();
        let (term, index) = self.seen.get(&to).copied().unwrap_or_default();
        Body::Hello(pb::Hello {
            empty: self.voters.is_empty(),
            feature_level: self.feature_level,
            ask,
            voters,
            seen_term: term.0,
            seen_index: index.0,
            membership: self.record.as_ref().map(|record| record.0.clone()),
            joins: self.joins,
            no_entries: !self.holds_entries,
        })
    }

    /// Its log holds an entry, or did.
    pub const fn holds_entries(&mut self) {
        self.holds_entries = true;
    }

    /// A peer's handshake comes: it may know newer members, and be one of them with another directory than is known here.
    pub fn learn(&mut self, hello: &pb::Hello) {
        if let Some(members) = &hello.membership {
            self.told(members);
        }
    }

    /// A peer denies this directory, or would be denied by it, because it knows only older members: what to tell it.
    #[must_use]
    pub fn correction(&self, from: NodeId, denial: &pb::Denied) -> Option<Body> {
        let current = self.standing == Standing::Member && denial.storage == self.storage.0;
        let corrects = current && denial.members_index < self.members_at;
        mark::hit_if(corrects, Mark::IdentityCorrects);
        corrects.then(|| self.hello(from, false))
    }

    /// Whether a peer's message may be heard. If not, perhaps what to tell it.
    ///
    /// # Errors
    /// The answer, if there is one.
    pub fn admit(
        &self,
        from: NodeId,
        storage: StorageId,
        is_handshake: bool,
    ) -> Result<(), Option<Box<Body>>> {
        match self.voters.get(&from) {
            Some(&kept) if kept == storage => Ok(()),
            // Peers may have told of newer members; as long as this node decides with the old ones, it needs them.
            _ if self.standing == Standing::Member && self.carried.get(&from) == Some(&storage) => Ok(()),
            Some(_) if other_directories_pass() => Ok(()),
            Some(&kept) => {
                mark::hit(Mark::IdentityOtherStorage);
                Err(Some(Box::new(other_storage(from, storage, kept, self.members_at))))
            }
            None if self.given_up.contains(&(from, storage)) => {
                mark::hit(Mark::IdentityGivenUp);
                Err(Some(Box::new(given_up(from, storage, self.members_at))))
            }
            None if self.voters.is_empty() && self.members.contains(&from) => Ok(()),
            // Its directory is about to become known.
            None if is_handshake && self.members.contains(&from) => Ok(()),
            None => self.admit_unknown(from, is_handshake),
        }
    }

    /// Somebody of this cluster whom, or whose directory, this node does not know: it may have missed that others came.
    fn admit_unknown(&self, from: NodeId, is_handshake: bool) -> Result<(), Option<Box<Body>>> {
        let asks = match self.standing {
            Standing::Member if bug::planted(Bug::IdentityStrangersUnheard) => return Err(None),
            Standing::Member => {
                mark::hit(Mark::IdentityUnknownHeard);
                return Ok(());
            }
            Standing::Greeting => true,
            Standing::Fresh => self.joins,
            Standing::Denied(_) => false,
        };
        match (asks, is_handshake) {
            (false, _) => Err(None),
            (true, true) => Ok(()),
            (true, false) => {
                mark::hit(Mark::IdentityUnknownAsked);
                Err(Some(Box::new(self.hello(from, true))))
            }
        }
    }

    /// A peer acknowledged everything up to `index` in `term`, or, with index 0, voted in it.
    pub fn saw(&mut self, (from, storage): (NodeId, StorageId), term: Term, index: Index) {
        // What a directory said that came before it, or after it, is none of its own.
        if self.voters.get(&from) != Some(&storage) {
            return;
        }
        let seen = self.seen.entry(from).or_default();
        *seen = (*seen).max((term, index));
    }

    /// A handshake of an admitted peer. `held` is this node's term and the last index that it holds durably.
    pub fn hello_heard(
        &mut self,
        from: NodeId,
        storage: StorageId,
        hello: &pb::Hello,
        held: (Term, Index),
    ) -> (Option<Body>, Verdict) {
        let answer = hello.ask.then(|| self.hello(from, false));
        let verdict = match self.standing {
            Standing::Fresh if hello.empty && hello.joins && !bug::planted(Bug::IdentityJoinerFounds) => {
                mark::hit(Mark::IdentityJoinerEmpty);
                Verdict::Nothing
            }
            Standing::Fresh if hello.empty => {
                self.empty[0].insert(from, storage);
                self.decide()
            }
            Standing::Fresh => self.heard_of_cluster(from, hello),
            // Also when a majority has greeted it already: who knows what it lost may answer last.
            Standing::Greeting | Standing::Member if !hello.empty => self.heard_seen(from, hello, held),
            Standing::Greeting | Standing::Member | Standing::Denied(_) => {
                mark::hit_if(hello.empty, Mark::IdentityEmptyPeer);
                Verdict::Nothing
            }
        };
        (answer, verdict)
    }

    /// The cluster has begun: this directory is of it only if the cluster knows it.
    fn heard_of_cluster(&mut self, from: NodeId, hello: &pb::Hello) -> Verdict {
        self.empty.iter_mut().for_each(|said| said.retain(|node, _| *node != from));
        let voters: Voters =
            hello.voters.iter().map(|voter| (NodeId(voter.node), StorageId(voter.storage))).collect();
        match voters.get(&self.node) {
            None if self.joins => self.deny(format!("node {from} does not know node {}: add it", self.node)),
            Some(&kept) if kept == self.storage && (self.joins || self.is_founder(&voters, hello)) => {
                mark::hit(Mark::IdentityLate);
                let verdict = self.adopt(voters);
                self.learn(hello);
                verdict
            }
            Some(_) if other_directories_pass() => self.adopt(voters),
            Some(&kept) if kept != self.storage => {
                mark::hit(Mark::IdentityLost);
                self.deny(lost(self.node, from, kept, self.storage))
            }
            // Somebody who has just come up cannot say yet what happened since the cluster was founded.
            Some(_)
                if !self.joins
                    && hello.membership.as_ref().is_none_or(|it| it.changes == 0)
                    && voters.keys().eq(self.members.iter()) =>
            {
                self.told = Some(format!(
                    "node {from} has begun, and cannot say yet who founded the cluster: if it never can, start this node \
                     so that it joins"
                ));
                Verdict::Nothing
            }
            Some(_) if !self.joins && hello.membership.as_ref().is_some_and(|it| it.changes > 0) => {
                mark::hit(Mark::IdentityMustJoin);
                self.deny(format!(
                    "node {from} is of a cluster whose members have changed: start this node so that it joins"
                ))
            }
            Some(_) | None => self.deny(format!("node {from} is of a cluster with other members")),
        }
    }

    /// Whether the members are those that founded the cluster, and were never changed: only then does a directory that
    /// does not join know from its configuration who votes. A peer that has just come up keeps directories that came later
    /// than the members that it has carried out so far.
    fn is_founder(&self, voters: &Voters, hello: &pb::Hello) -> bool {
        let storages = |it: &pb::Membership| {
            it.members.iter().map(|member| (NodeId(member.id), StorageId(member.storage))).collect::<Voters>()
        };
        let founding = match &hello.membership {
            Some(members) => members.changes == 0 && storages(members) == *voters,
            None => hello.no_entries && !hello.joins,
        };
        voters.keys().eq(self.members.iter()) && (founding || bug::planted(Bug::IdentityFounderAgain))
    }

    fn heard_seen(&mut self, from: NodeId, hello: &pb::Hello, (term, index): (Term, Index)) -> Verdict {
        let (seen_term, seen_index) = (Term(hello.seen_term), Index(hello.seen_index));
        // A word that was long on its way may be of the directory that was here before.
        let own = hello.voters.iter().any(|it| (it.node, it.storage) == (self.node.0, self.storage.0));
        let lost = own && (seen_term, seen_index) > (term, index);
        if lost && !bug::planted(Bug::IdentityRollback) {
            mark::hit(Mark::IdentityWentBack);
            return self.deny(format!(
                "the data directory went back in time: node {from} has seen it acknowledge index {seen_index} in \
                 term {seen_term}, and it holds index {index} in term {term}; replace the member"
            ));
        }
        if self.members.contains(&from) {
            self.greeted.insert(from);
        }
        self.decide()
    }

    /// A peer does not hear this directory, because it knows another one. It may be behind: an empty directory takes no part,
    /// and any other tells its operator.
    pub fn denied_heard(&mut self, from: NodeId, denial: &pb::Denied) -> Verdict {
        if matches!(self.standing, Standing::Denied(_)) || denial.storage != self.storage.0 {
            mark::hit(Mark::IdentityDeniedAgain);
            return Verdict::Nothing;
        }
        mark::hit(Mark::IdentityDenied);
        if self.standing == Standing::Fresh || bug::planted(Bug::IdentityOldDenial) {
            return self.deny(denial.message.clone());
        }
        if self.members.contains(&from) {
            self.denials.insert(from, (denial.members_index, denial.message.clone()));
        }
        Verdict::Nothing
    }

    /// A peer was heard, and hears this node.
    pub fn heard(&mut self, from: NodeId) {
        self.denials.remove(&from);
    }

    /// Who does not hear this directory, as far as they know no less than this node does.
    pub fn denials(&self) -> impl Iterator<Item = (NodeId, &str)> {
        let current = self.denials.iter().filter(|(_, (index, _))| *index >= self.members_at);
        current.map(|(node, (_, message))| (*node, message.as_str()))
    }
}

/// Whose directory is another one, or known to only one of both.
fn differ(one: &Voters, other: &Voters) -> BTreeSet<NodeId> {
    one.keys().chain(other.keys()).copied().filter(|node| one.get(node) != other.get(node)).collect()
}

fn other_directories_pass() -> bool {
    bug::planted(Bug::IdentityWipedJoins)
}

#[cfg(test)]
mod tests;
