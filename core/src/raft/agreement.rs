//! Whether replicas agree: the hashes of their states at agreed indexes, compared by the leader and judged by the majority.
//!
//! A leader names an index with its heartbeats, and everybody answers with the hash of its own state there, if it has it. What a
//! majority of the voters has is right: whoever has another takes no part any more, the leader like everybody else. If no hash
//! can have a majority, or none has it for a while although some differ, nobody knows what is right, and nobody goes on.

use super::{Effect, Raft, message::Message};
use crate::{
    bug::{self, Bug},
    limits::{AGREEMENT_ROUNDS, CHECKPOINTS_KEPT},
    mark::{self, Mark},
    state::StateHash,
    types::{Index, NodeId, Time},
};
use std::collections::{BTreeMap, BTreeSet};

/// What a leader says of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judged {
    /// The index.
    pub index: Index,
    /// What a majority of the voters has there; `None`: they differ, and no majority agrees.
    pub hash: Option<StateHash>,
}

/// What a leader was told of states.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Agreement {
    question: Option<Question>,
    judged: Option<Judged>,
    /// Who was found to differ, and where.
    differing: BTreeMap<NodeId, Index>,
}

#[derive(Clone, Debug, Hash)]
struct Question {
    index: Index,
    /// Heartbeats since it was first asked.
    rounds: u32,
    hashes: BTreeMap<NodeId, StateHash>,
}

impl Agreement {
    pub(crate) fn asked(&self, own: NodeId) -> Option<(Index, StateHash)> {
        let question = self.question.as_ref()?;
        question.hashes.get(&own).map(|hash| (question.index, *hash))
    }

    pub(crate) const fn judged(&self) -> Option<Judged> {
        self.judged
    }
}

impl Raft {
    /// The hash of the state at an agreed index; they grow.
    pub fn set_checkpoint(&mut self, index: Index, hash: StateHash) {
        self.checkpoints.push_back((index, hash));
        if self.checkpoints.len() > CHECKPOINTS_KEPT {
            self.checkpoints.pop_front();
        }
    }

    /// Another state takes the place of the one that they are of.
    pub fn forget_checkpoints(&mut self) {
        self.checkpoints.clear();
    }

    /// The hash of this node's state at an agreed index, if it is still known.
    #[must_use]
    pub fn checkpoint_at(&self, index: Index) -> Option<(Index, StateHash)> {
        self.checkpoints.iter().rev().find(|(at, _)| *at == index).copied()
    }

    /// The newest agreed index of which this node knows the hash of its state, and that.
    #[must_use]
    pub fn newest_checkpoint(&self) -> Option<(Index, StateHash)> {
        self.checkpoints.back().copied()
    }

    /// What a leader says of the last index that it could judge.
    #[must_use]
    pub fn judged(&self) -> Option<Judged> {
        self.leading.as_ref()?.agreement.judged
    }

    /// The index that a leader asks about.
    #[must_use]
    pub fn asked_index(&self) -> Option<Index> {
        Some(self.leading.as_ref()?.agreement.question.as_ref()?.index)
    }

    /// Whose state a leader has found to differ from the majority's, and at which index.
    pub fn differing(&self) -> impl Iterator<Item = (NodeId, Index)> {
        let differing = self.leading.as_ref().map(|leading| &leading.agreement.differing);
        differing.into_iter().flatten().map(|(node, index)| (*node, *index))
    }

    /// Whether a leader has found this member's state to differ: it takes no part, although it answers.
    pub(crate) fn is_differing(&self, node: NodeId) -> bool {
        self.differing().any(|(other, _)| other == node) && !bug::planted(Bug::SuccessorDiffers)
    }

    /// A member whose state differed is mended, or has another directory: what it says from now on counts, and nothing before.
    pub fn forget_differing(&mut self, node: NodeId) {
        let own = self.id;
        let Some(leading) = &mut self.leading else { return };
        leading.agreement.differing.remove(&node);
        if let Some(question) = leading.agreement.question.as_mut().filter(|_| node != own) {
            question.hashes.remove(&node);
        }
    }

    /// A leader's period: the next question, if this one has had its time.
    pub(crate) fn ask_agreement(&mut self) {
        let newest = self.newest_checkpoint();
        let Some(leading) = &mut self.leading else { return };
        let everybody = leading.progress.len() + 1;
        if let Some(question) = &mut leading.agreement.question {
            question.rounds = question.rounds.saturating_add(1);
        }
        self.judge();
        let Some(leading) = &mut self.leading else { return };
        let progress = &leading.progress;
        leading.agreement.differing.retain(|node, _| progress.contains_key(node));
        if let Some(question) = &mut leading.agreement.question {
            question.hashes.retain(|node, _| *node == self.id || progress.contains_key(node));
        }
        let asked = leading.agreement.question.as_ref();
        let over = asked.is_none_or(|it| it.hashes.len() >= everybody || it.rounds >= AGREEMENT_ROUNDS);
        if let Some((index, hash)) = newest
            && over
            && asked.is_none_or(|question| question.index < index)
        {
            let hashes = BTreeMap::from([(self.id, hash)]);
            leading.agreement.question = Some(Question { index, rounds: 0, hashes });
        }
    }

    /// A member says what its state was.
    pub(crate) fn agreement_answered(&mut self, from: NodeId, (index, hash): (Index, StateHash)) {
        let Some(leading) = &mut self.leading else { return };
        if !leading.progress.contains_key(&from) {
            return;
        }
        let Some(question) = &mut leading.agreement.question else { return };
        if question.index == index && question.hashes.insert(from, hash) != Some(hash) {
            mark::hit(Mark::CheckpointCompared);
            self.judge();
        }
    }

    fn judge(&mut self) {
        if bug::planted(Bug::AgreementSkipped) {
            return;
        }
        let Some(leading) = &mut self.leading else { return };
        let Some(Question { index, rounds, hashes }) = leading.agreement.question.clone() else { return };
        let has = |hash: &StateHash, silent: bool| {
            let counts = |node: NodeId| u64::from(hashes.get(&node).map_or(silent, |its| its == hash));
            self.membership.reached(counts) == 1
        };
        let distinct: BTreeSet<u128> = hashes.values().map(|hash| hash.0).collect();
        let mut each = distinct.iter().map(|hash| StateHash(*hash));
        let Some(right) = each.find(|hash| has(hash, false)) else {
            // What a majority had stays right, whoever votes by now.
            if leading.agreement.judged.is_some_and(|judged| judged.index == index && judged.hash.is_some()) {
                return;
            }
            let of_voters =
                |(node, hash): (&NodeId, &StateHash)| self.membership.is_voter(*node).then_some(hash.0);
            let distinct: BTreeSet<u128> = hashes.iter().filter_map(of_voters).collect();
            let decided = !distinct.iter().any(|hash| has(&StateHash(*hash), true));
            // A voter that answers, and has no state there any more, will have one at the next index.
            let lately = |at: Time| self.now.since(at) < self.timing.election_max;
            let answers = |node: NodeId| {
                !hashes.contains_key(&node)
                    && leading.progress.get(&node).is_some_and(|peer| lately(peer.active_at))
            };
            let over = rounds >= AGREEMENT_ROUNDS && !self.membership.all_voters().any(answers);
            if distinct.len() > 1 && (decided || over) {
                leading.agreement.judged = Some(Judged { index, hash: None });
                // Once more, so that all hear of it: then nobody leads.
                self.send_heartbeats();
                self.effects.push_back(Effect::Disagrees { index, with: None });
            }
            return;
        };
        leading.agreement.judged = Some(Judged { index, hash: Some(right) });
        for (node, hash) in &hashes {
            match *hash == right {
                true => _ = leading.agreement.differing.remove(node),
                false => _ = leading.agreement.differing.insert(*node, index),
            }
        }
        if hashes.get(&self.id) != Some(&right) && !bug::planted(Bug::AgreementLeaderStays) {
            let with: Vec<NodeId> =
                hashes.iter().filter(|(_, hash)| **hash == right).map(|(node, _)| *node).collect();
            self.make_way(&with);
            self.effects.push_back(Effect::Disagrees { index, with: Some(with) });
        }
    }

    /// One of those who are right stands at once, if it holds all that is in the log.
    fn make_way(&mut self, right: &[NodeId]) {
        let last = self.log.last().index;
        let holds = |node: &NodeId| self.progress(*node).is_some_and(|progress| progress.matched >= last);
        let voter = |node: &NodeId| self.membership.is_voter(*node) && self.is_eligible(*node);
        if let Some(to) = right.iter().copied().find(|node| voter(node) && holds(node)) {
            self.send(to, Message::TimeoutNow);
        }
    }

    /// The leader says what is right at an index.
    pub(crate) fn judgement_heard(&mut self, judged: Judged) {
        let Some((index, own)) = self.checkpoint_at(judged.index) else { return };
        match judged.hash {
            Some(right) if right == own => {}
            Some(_) => self.effects.push_back(Effect::Disagrees { index, with: Some(Vec::new()) }),
            None => self.effects.push_back(Effect::Disagrees { index, with: None }),
        }
    }
}
