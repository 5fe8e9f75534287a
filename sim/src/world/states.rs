//! Replicas that are compared: whose state seems to be another than everybody else's, who takes no part therefore, and the
//! operator who starts those again.
//!
//! What is wrong is only the hash that a master takes of its state at an agreed index (the fault point `hash-wrong`). So what it
//! answers stays right, and after a restart it has, from its log, what everybody has: it is the rules of who goes on and who
//! does not that are looked at here.

use super::{Event, MILLISECOND, World};
use crate::{
    marks::SimMark,
    master::Master,
    network::Endpoint,
    oracle::{Rule, answers::is_stale_read, quorum::is_quorum},
};
use quorate_core::{
    Input, Node, codec,
    command::{Command, Proposal},
    point::Point,
    raft::Role,
    types::{Index, NodeId, Term},
};
use quorate_proto::v1::{self as pb, client_reply::Body, envelope::Body as Peer};
use std::collections::BTreeMap;

/// What a leader was told: its run, its term and the index that it asks about, and who has which hash there.
pub(super) type Told = ((u64, u64, u64), BTreeMap<u64, Vec<u8>>);

/// Since when a leader of a term knows that a member differs, and says so nowhere.
pub(super) type Untold = (u64, (Term, NodeId));

/// How long it takes until a master that takes no part is started again.
const AGAIN_AFTER: u64 = 100 * MILLISECOND;

impl World {
    pub(super) fn wrong_state(&mut self, fault: usize, at: usize) -> bool {
        self.masters[at].points.push((fault, Point::HashWrong, 1));
        self.switch_point(at, Point::HashWrong);
        self.wronged.insert(at);
        true
    }

    /// Whether this master takes no part because replicas were compared; it just found out. There must be a reason for it.
    pub(super) fn doubts(&mut self, at: usize) -> bool {
        let master = &self.masters[at];
        let Some((node, doubt)) = master.node.as_ref().and_then(|node| Some((node, node.doubt()?))) else {
            return false;
        };
        let mark = match (doubt.decided, master.led) {
            (false, _) => SimMark::StateUndecided,
            (true, true) => SimMark::StateLeaderDiffered,
            (true, false) => SimMark::StateDiffered,
        };
        self.marks.hit(mark);
        self.marks.hit_if(self.settling, SimMark::StateFoundLate);
        let own = node.raft().checkpoint_at(doubt.index).map(|(_, hash)| hash);
        let right = self.oracles.as_ref().and_then(|it| it.reference.hash_at(doubt.index));
        let differs = own.is_some() && right.is_some() && own != right;
        let reason = match doubt.decided {
            true => differs || !self.can_know() || self.oracles.is_none(),
            false => !self.wronged.is_empty(),
        };
        self.ledger.hold(Rule::StateJudged, reason, || {
            format!(
                "node {} takes no part: {doubt:?}; it has {own:x?}, the log gives {right:x?}; wrong: {:?}",
                at + 1,
                self.wronged
            )
        });
        true
    }

    /// Whether those that are wrong are the fewer: else nobody can know who is right.
    fn can_know(&self) -> bool {
        let fewer = |voters: usize| 2 * self.wronged.len() < voters;
        self.in_force().into_iter().all(|it| fewer(it.all_voters().count()))
    }

    /// A leader is about to take what a member has at an agreed index.
    pub(super) fn takes_state(&mut self, at: usize, input: &Input) {
        let Input::Peer(envelope) = input else { return };
        let Some(Peer::HeartbeatAnswer(answer)) = &envelope.body else { return };
        let master = &self.masters[at];
        let Some(raft) = master.node.as_ref().map(Node::raft) else { return };
        let leads = raft.role() == Role::Leader && raft.term().0 == envelope.term;
        let asked = raft.asked_index().is_some_and(|index| index.0 == answer.hash_index);
        // Whom the leader does not follow as a member is not counted, and who has another directory than it knows is not heard.
        let heard = self.masters.iter().find(|it| it.id.0 == envelope.from).is_some_and(|it| {
            it.intact()
                && self.is_member(usize::from(it.place))
                && raft.membership().members().any(|node| node == it.id)
        });
        if !leads || !asked || !heard || answer.hash.is_empty() {
            return;
        }
        let question = (master.run, envelope.term, answer.hash_index);
        let told = self.told_states.entry(at).or_default();
        if told.0 != question {
            *told = (question, BTreeMap::new());
        }
        // Who says once more what it said brings nothing to judge by: where the members changed since, the leader's next period
        // does.
        let hash = answer.hash.to_vec();
        if told.1.insert(envelope.from, hash.clone()).is_none_or(|before| before != hash) {
            self.takes_answer = Some(raft.membership().clone());
        }
    }

    /// A leader that heard what a majority has judges by it at once.
    fn judges(&mut self, at: usize) {
        let Some(membership) = self.takes_answer.take() else { return };
        let master = &self.masters[at];
        let Some(raft) = master.node.as_ref().map(Node::raft) else { return };
        let Some(((run, term, index), hashes)) = self.told_states.get(&at) else { return };
        let same = (*run, *term) == (master.run, raft.term().0) && raft.role() == Role::Leader;
        let judged = raft.judged().is_some_and(|judged| judged.index.0 >= *index);
        let Some((_, own)) = raft.checkpoint_at(Index(*index)).filter(|_| same && !judged) else { return };
        let own = own.0.to_le_bytes().to_vec();
        let has = |hash: &[u8], place: usize| match hashes.get(&(place as u64 + 1)) {
            Some(told) => told == hash,
            None => place == at && own == hash,
        };
        let majority =
            hashes.values().chain([&own]).any(|hash| is_quorum(&membership, |place| has(hash, place)));
        self.ledger.hold(Rule::StateJudged, !majority, || {
            format!("node {} leads, and says nothing of what a majority has at {index}", at + 1)
        });
    }

    /// A master was stepped: what it leads with is what it says to be right.
    pub(super) fn leads_rightly(&mut self, at: usize) {
        self.judges(at);
        self.tells_who_differs(at);
        let Some(raft) = self.masters[at].node.as_ref().map(Node::raft) else { return };
        let Some(judged) = raft.judged().filter(|_| raft.role() == Role::Leader) else { return };
        let own = raft.checkpoint_at(judged.index).map(|(_, hash)| hash);
        let term = raft.term();
        self.ledger.hold(Rule::StateJudged, own.is_none() || own == judged.hash, || {
            format!("node {} leads on with {own:x?}, and says {judged:x?}", at + 1)
        });
        let right = self.oracles.as_ref().and_then(|it| it.reference.hash_at(judged.index));
        if right.is_some() && judged.hash.is_some() && judged.hash != right && !self.can_know() {
            self.misjudged.insert((at, term, judged.index));
        }
    }

    /// A leader that has found out that a member differs says so in its log, unless it hands over, or cannot take anything.
    fn tells_who_differs(&mut self, at: usize) {
        let told = |node: &Node, other: NodeId| {
            let raft = node.raft();
            let about = |index| {
                let entry = raft.entry(Index(index)).filter(|entry| !entry.data.is_empty());
                let proposal = entry.and_then(|entry| codec::decode(&entry.data).ok());
                matches!(proposal, Some(Proposal { command: Command::RaiseAlarm { alarm }, .. }) if alarm.node == other.0)
            };
            node.state().alarms().any(|alarm| alarm.node == other.0)
                || (node.state().index().0 + 1..=raft.last_index().0).any(about)
        };
        let untold = self.masters[at].node.as_ref().filter(|node| node.raft().role() == Role::Leader);
        let untold = untold.and_then(|node| {
            let member =
                |other: NodeId| node.state().members().is_some_and(|members| members.get(other).is_some());
            let first = node.raft().first_of_term().is_some_and(|first| first <= node.state().index());
            let raft = node.raft();
            let free = first && raft.transferring().is_none() && raft.commit() == raft.last_index();
            let found =
                node.raft().differing().find(|(other, _)| free && member(*other) && !told(node, *other));
            found.map(|(other, _)| (node.raft().term(), other))
        });
        let Some(found) = untold else {
            self.untold.remove(&at);
            return;
        };
        let time = self.time;
        let (since, before) = *self.untold.entry(at).or_insert((time, found));
        if before != found {
            self.untold.insert(at, (time, found));
            return;
        }
        let patience = self.plan.masters.timing().election_max.as_nanos() as u64;
        self.ledger.hold(Rule::StateJudged, time - since <= patience, || {
            format!("node {} leads, knows that node {} differs, and raises no alarm", at + 1, found.1)
        });
    }

    /// What a master says to another one.
    pub(super) fn doubter_says(&mut self, at: usize, envelope: &pb::Envelope) {
        let Some(doubt) = self.masters[at].doubted else { return };
        let elects = match &envelope.body {
            Some(Peer::Vote(_) | Peer::PreVote(_) | Peer::Append(_) | Peer::Heartbeat(_)) => true,
            Some(Peer::VoteReply(reply)) => reply.granted,
            _ => false,
        };
        self.ledger.hold(Rule::DoubterQuiet, !elects, || {
            format!("node {} takes no part ({doubt:?}), and says {:?}", at + 1, envelope.body)
        });
    }

    /// What a master answers from its own state.
    pub(super) fn doubter_answers(
        &mut self,
        at: usize,
        request: &pb::ClientRequest,
        reply: &pb::ClientReply,
    ) {
        let Some(doubt) = self.masters[at].doubted else { return };
        let serves = is_stale_read(request) && !matches!(reply.body, Some(Body::Refusal(_)) | None);
        self.ledger.hold(Rule::DoubterQuiet, !serves, || {
            format!("node {} takes no part ({doubt:?}), and answers {request:?}", at + 1)
        });
    }

    /// Whoever takes no part is started again, as soon as nothing is wrong with its hashes.
    pub(super) fn doubters_start_again(&mut self) {
        let again = |master: &&Master| {
            let wrong = master.points.iter().any(|(_, point, _)| *point == Point::HashWrong);
            let doubts = master.node.as_ref().is_some_and(|node| node.doubt().is_some());
            doubts && !wrong && !master.outside && master.pauses == 0
        };
        let places: Vec<u8> = self.masters.iter().filter(again).map(|master| master.place).collect();
        for place in places {
            self.line(Endpoint::Master(place), "operator", || "starts it again".to_owned());
            self.stop_master(place, false);
            let run = self.masters[usize::from(place)].run;
            self.queue.push(self.time + AGAIN_AFTER, Event::StartMaster { master: place, run });
        }
    }

    /// A master whose hash is another than its leader's at the index that the leader asks about: somebody must say so.
    pub(super) fn states_differ(&self) -> Option<String> {
        self.differ_unjudged(|_| true)
    }

    /// The same, if the leader can know it by those whom it hears. If others would make a majority, and a voter has lost what it
    /// had, it waits for the next agreed index, and that comes only when something is written.
    pub(super) fn states_differ_as_heard(&self) -> Option<String> {
        let leader = self.masters.get(usize::from(self.leader()?))?;
        self.differ_unjudged(|master| master.id == leader.id || follows(master, leader.id))
    }

    fn differ_unjudged(&self, is_heard: impl Fn(&Master) -> bool) -> Option<String> {
        let leader = self.masters.get(usize::from(self.leader()?)).filter(|leader| !leader.outside)?;
        let (index, hash) = leader.node.as_ref()?.raft().newest_checkpoint()?;
        let differs = |master: &&Master| {
            let own = master.node.as_ref().and_then(|node| node.raft().checkpoint_at(index));
            let counts = !master.outside && master.intact() && self.is_member(usize::from(master.place));
            counts && follows(master, leader.id) && own.is_some_and(|(_, own)| own != hash)
        };
        let other = self.masters.iter().find(differs)?;
        if !self.can_judge(leader, index, is_heard) {
            return None;
        }
        Some(format!("the states of nodes {} and {} differ at {index}", leader.id, other.id))
    }

    /// Whether a leader can know what is right at an index: a majority has the same there, or no voter that answers has lost what
    /// it had (it will have something at the next agreed index, for which a leader waits).
    fn can_judge(&self, leader: &Master, index: Index, is_heard: impl Fn(&Master) -> bool) -> bool {
        let Some(membership) = leader.node.as_ref().map(|node| node.raft().membership()) else {
            return false;
        };
        let hash = |master: &Master| {
            let node = master.node.as_ref()?;
            node.raft().checkpoint_at(index).map(|(_, hash)| hash)
        };
        let heard = |place: usize| self.masters.get(place).filter(|master| is_heard(master)).and_then(hash);
        let same = |right| is_quorum(membership, |place| heard(place) == Some(right));
        // Who is outside may answer all the same.
        let runs = |master: &&Master| membership.is_voter(master.id) && master.node.is_some();
        let mut voters = self.masters.iter().filter(runs);
        self.masters.iter().filter_map(hash).any(same) || voters.all(|master| hash(master).is_some())
    }
}

fn follows(master: &Master, leader: NodeId) -> bool {
    master.node.as_ref().is_some_and(|node| {
        let raft = node.raft();
        raft.role() == Role::Follower && raft.leader() == Some(leader)
    })
}
