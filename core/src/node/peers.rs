//! Messages of peers, in and out.

use super::Node;
use crate::{
    contract::{Lane, Output},
    identity::Standing,
    mark::{self, Mark},
    raft::{message::Message, wire},
    types::{Index, NodeId, StorageId, Term, Time},
};
use quorate_proto::v1::{self as pb, envelope::Body};

impl Node {
    /// A message from the network: nothing about it is trusted.
    pub(super) fn peer(&mut self, envelope: pb::Envelope) {
        let (from, term, storage) = (NodeId(envelope.from), Term(envelope.term), StorageId(envelope.storage));
        let mine = envelope.to == self.config.node.0
            && envelope.cluster == self.config.cluster.0
            && from != self.config.node;
        let level = envelope.level;
        let Some(body) = envelope.body.filter(|_| mine) else { return };
        let newest = self.newest_members();
        if let Body::Hello(hello) = &body {
            self.identity.learn(hello);
            self.tell_newer_members(newest);
        }
        let handshake = matches!(body, Body::Hello(_) | Body::Denied(_));
        if let Err(answer) = self.identity.admit(from, storage, handshake) {
            // Nobody waits for an answer to an answer.
            let answers = matches!(body, Body::Denied(_) | Body::Hello(pb::Hello { ask: false, .. }));
            if let Some(answer) = answer.filter(|_| !answers) {
                self.send(from, Lane::Control, *answer);
            }
            return;
        }
        if self.lead.is_some() {
            self.stranger_heard(from, storage);
        }
        let body = match body {
            Body::Hello(hello) => {
                self.identity.heard(from);
                let held = (self.raft.term(), self.raft.held_index());
                let newest = self.newest_members();
                let (answer, verdict) = self.identity.hello_heard(from, storage, &hello, held);
                self.tell_newer_members(newest);
                self.obey(verdict);
                if let Some(answer) = answer {
                    self.send(from, Lane::Control, answer);
                }
                return;
            }
            Body::Denied(denial) => {
                if let Some(correction) = self.identity.correction(from, &denial) {
                    return self.send(from, Lane::Control, correction);
                }
                let verdict = self.identity.denied_heard(from, &denial);
                self.obey(verdict);
                return;
            }
            other => other,
        };
        // Until a majority has confirmed that this node lost nothing, whatever it says could break a promise.
        if *self.identity.standing() != Standing::Member {
            mark::hit(Mark::IdentityDeaf);
            return;
        }
        self.identity.heard(from);
        // What the program of a machine knows that is no member says nothing of the one that comes in its place.
        if self.identity.carried().get(&from) == Some(&storage) {
            self.spoken.insert(from, level);
        }
        match body {
            Body::Forward(forward) => self.forward_asked(from, forward),
            Body::ForwardReply(reply) => self.forward_answered(from, reply),
            body => {
                let message = wire::decode(term, body);
                let heard = |it: &Message| !it.is_answer() || self.identity.counts(from, storage);
                if let Some(message) = message.filter(heard) {
                    self.witness((from, storage), term, &message);
                    self.raft.receive(from, term, message);
                }
            }
        }
    }

    /// Remembers what a peer promised, in case it comes back without it.
    fn witness(&mut self, from: (NodeId, StorageId), term: Term, message: &Message) {
        match message {
            Message::Appended { index } => self.identity.saw(from, term, *index),
            Message::VoteReply { granted: true, .. } => self.identity.saw(from, term, Index(0)),
            // It vouches for what is on its disk only in a term that is there as well.
            Message::HeartbeatReply { verified, .. } if *verified > Index(0) => {
                self.identity.saw(from, term, *verified);
            }
            Message::TimeoutNow
            | Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { granted: false, .. }
            | Message::Append { .. }
            | Message::AppendRefused { .. }
            // Its term may be in memory only.
            | Message::HeartbeatReply { .. }
            | Message::Heartbeat { .. }
            | Message::SnapshotChunk { .. }
            | Message::SnapshotReply { .. } => {}
        }
    }

    pub(super) fn send_raft(&mut self, to: NodeId, message: Message) {
        let lane = match &message {
            Message::Append { .. } | Message::Appended { .. } | Message::AppendRefused { .. } => Lane::Data,
            Message::SnapshotChunk { .. } => Lane::Bulk,
            Message::TimeoutNow
            | Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::Heartbeat { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. } => Lane::Control,
        };
        self.send(to, lane, wire::encode(message));
    }

    pub(super) fn send(&mut self, to: NodeId, lane: Lane, body: Body) {
        let envelope = Box::new(pb::Envelope {
            cluster: self.config.cluster.0,
            from: self.config.node.0,
            to: to.0,
            storage: self.config.storage.0,
            term: self.raft.term().0,
            level: self.config.level,
            body: Some(body),
        });
        self.outputs.push_back(Output::Send { to, lane, envelope });
    }

    /// Asks those who may know what this node waits for.
    pub(super) fn hello_due(&mut self) {
        if self.now.time < self.hello_at {
            return;
        }
        let questions = self.identity.questions();
        self.hello_at =
            if questions.is_empty() { Time::FAR } else { self.now.time + self.config.timing.heartbeat * 2 };
        for (peer, hello) in questions {
            self.send(peer, Lane::Control, hello);
        }
    }
}
