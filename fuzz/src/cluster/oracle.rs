//! What must never happen, whatever happened.

use super::disk::Disk;
use bytes::Bytes;
use quorate_core::{
    Node,
    contract::LogPosition,
    raft::Role,
    state::StateHash,
    types::{Index, NodeId, Term},
};
use quorate_proto::v1::{self as pb, client_reply::Body as Reply, envelope::Body};
use std::collections::BTreeMap;

/// How far a node was when it was last looked at, in this run of it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    term: Term,
    commit: Index,
    leads: Option<Term>,
}

/// Everything that was ever true of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    leaders: BTreeMap<Term, NodeId>,
    /// Whom a node voted for in a term.
    votes: BTreeMap<(NodeId, Term), NodeId>,
    /// The committed entries, from index 1 on.
    committed: Vec<(Term, Bytes)>,
    hashes: BTreeMap<Index, StateHash>,
    seen: BTreeMap<NodeId, Seen>,
    /// The highest revision of the key-value space that a client was told of.
    pub(crate) told_revision: u64,
    /// The answers to requests with an id.
    answers: BTreeMap<(u64, u64), Reply>,
}

impl Oracle {
    /// A node begins a new run.
    pub(crate) fn restarted(&mut self, id: NodeId) {
        self.seen.remove(&id);
    }

    /// Looks at a node after a step.
    pub(crate) fn observe(&mut self, id: NodeId, node: &Node, disks: &[&Disk], own: &Disk) {
        let raft = node.raft();
        let before = self.seen.get(&id).copied().unwrap_or_default();
        let (term, commit) = (raft.term(), raft.commit());
        assert!(term >= before.term, "node {id}: its term went back from {} to {term}", before.term);
        assert!(commit >= before.commit, "node {id}: commit went back from {} to {commit}", before.commit);
        for index in before.commit.0 + 1..=commit.0 {
            self.commit(id, node, Index(index), disks);
        }
        let mut leads = None;
        if raft.role() == Role::Leader {
            leads = Some(term);
            let first = *self.leaders.entry(term).or_insert(id);
            assert!(first == id, "nodes {first} and {id} both lead in term {term}");
            assert!(own.voted(term, id), "node {id} leads in term {term}: its own vote is not on its disk");
            if before.leads != leads {
                self.leader_holds_all(id, node);
            }
        }
        let (at, hash) = (node.state().index(), node.state().hash());
        assert!(at <= commit, "node {id} applied {at}, and {commit} is committed");
        let known = *self.hashes.entry(at).or_insert(hash);
        assert!(known == hash, "node {id}: its state at {at} differs");
        // Who founds the cluster says for whom it waits.
        let alarms: Vec<_> =
            node.alarms().into_iter().filter(|it| !it.starts_with("waits until all who")).collect();
        assert!(alarms.is_empty(), "node {id}: {alarms:?}");
        self.seen.insert(id, Seen { term, commit, leads });
    }

    fn commit(&mut self, id: NodeId, node: &Node, index: Index, disks: &[&Disk]) {
        let place = usize::try_from(index.0 - 1).expect("an index fits");
        let entry = node.raft().entry(index);
        match (self.committed.get(place), entry) {
            (Some((term, data)), Some(entry)) => {
                let same = *term == entry.term && *data == entry.data;
                assert!(
                    same,
                    "node {id}: its committed entry {:?} is not the one of term {term}",
                    entry.position()
                );
            }
            (Some(_), None) => {}
            (None, Some(entry)) => {
                assert!(
                    place == self.committed.len(),
                    "node {id} committed {index} before the entry before it"
                );
                let at = LogPosition { term: entry.term, index };
                let copies = disks.iter().filter(|disk| disk.holds(at)).count();
                assert!(copies * 2 > disks.len(), "node {id} committed {at:?}: it is on {copies} disks");
                self.committed.push((entry.term, entry.data.clone()));
            }
            (None, None) => panic!("node {id} says that {index} is committed, and nobody ever had it"),
        }
    }

    // Raft, section 5.4: a leader holds every entry that is committed.
    fn leader_holds_all(&self, id: NodeId, node: &Node) {
        let raft = node.raft();
        for index in raft.first_index().0..=self.committed.len() as u64 {
            let place = usize::try_from(index - 1).expect("an index fits");
            let wanted = self.committed[place].0;
            let found = raft.term_at(Index(index));
            assert!(found == Some(wanted), "leader {id} holds {found:?} at {index}: {wanted} is committed");
        }
    }

    /// Looks at what a node says to a peer: no promise before it is durable.
    pub(crate) fn sent(&mut self, from: NodeId, to: NodeId, envelope: &pb::Envelope, own: &Disk) {
        let term = Term(envelope.term);
        match &envelope.body {
            Some(Body::VoteReply(reply)) if reply.granted => {
                let first = *self.votes.entry((from, term)).or_insert(to);
                assert!(first == to, "node {from} voted for {first} and {to} in term {term}");
                assert!(own.voted(term, to), "node {from}'s vote for {to} in {term} is not on its disk");
            }
            Some(Body::AppendReply(reply)) if reply.accepted && own.hard_state.term <= term => {
                let last = own.last().index;
                assert!(
                    last.0 >= reply.index,
                    "node {from} acknowledged {}, its disk ends at {last}",
                    reply.index
                );
            }
            Some(Body::HeartbeatAnswer(answer)) if own.hard_state.term <= term => {
                let (last, verified) = (own.last().index, answer.verified_index);
                assert!(last.0 >= verified, "node {from} acknowledged {verified}, its disk ends at {last}");
            }
            _ => {}
        }
    }

    /// Looks at an answer to a client: `least` is the revision that anybody was told of before it asked.
    pub(crate) fn answered(
        &mut self,
        id: Option<(u64, u64)>,
        fresh: bool,
        least: u64,
        reply: &pb::ClientReply,
    ) {
        let Some(body) = &reply.body else { return };
        if matches!(body, Reply::Refusal(_)) {
            return;
        }
        assert!(
            reply.index <= self.committed.len() as u64,
            "answered from {}: it is not committed",
            reply.index
        );
        if let Some(id) = id {
            let first = self.answers.entry(id).or_insert_with(|| body.clone());
            assert!(first == body, "request {id:?} was answered {first:?} and {body:?}");
        }
        let revision = match body {
            Reply::Put(reply) => reply.revision,
            Reply::Delete(reply) => reply.revision,
            Reply::CompareAndSet(reply) => reply.revision,
            Reply::Get(reply) if fresh => {
                assert!(reply.revision >= least, "a read of revision {}: {least} was there", reply.revision);
                reply.revision
            }
            _ => return,
        };
        self.told_revision = self.told_revision.max(revision);
    }
}
