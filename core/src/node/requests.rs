//! Who answers a request: this node from its own state, this node as the leader, or the leader in its place.

use super::Node;
use crate::{
    bug::{self, Bug},
    codec,
    command::{Command, Proposal, RequestId},
    contract::{Lane, Output},
    fingerprint::Fingerprint,
    lead::Errand,
    limits,
    mark::{self, Mark},
    point::Point,
    raft::{ProposeError, Role},
    random,
    types::{ExecutorId, Incarnation, Index, LeaseId, NodeId, RequestKey, SessionId, Term, Time},
};
use prost::Message as _;
use quorate_proto::v1::{self as pb, client_reply, client_request::Body, envelope};
use std::collections::{BTreeMap, VecDeque};

/// Who gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client of this node.
    Client(RequestKey),
    /// A follower that forwarded its client's request.
    Peer { node: NodeId, id: u64 },
}

/// Where a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Proposal(Index),
    Read(u64),
    Forwarded(u64),
    Transfer(u64),
}

/// What is answered once this node knows that it leads.
#[derive(Clone, Debug)]
pub(super) enum Question {
    /// A read, or a keep-alive.
    Request(Body),
    /// Whether there is no room for the change that this names. The change itself is not kept: it may be large.
    Room(Option<RequestId>),
}

/// A question that waits.
#[derive(Clone, Debug)]
pub(super) struct Read {
    asker: Asker,
    question: Question,
    /// When it arrived.
    heard: Time,
}

/// All requests that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    proposals: BTreeMap<Index, (Term, Asker)>,
    /// Changes of the members that are carried out, until a majority of the new ones knows.
    changes: BTreeMap<Index, (Asker, pb::ClientReply)>,
    reads: BTreeMap<u64, Read>,
    /// Confirmed; each waits for the state to hold its index.
    confirmed: BTreeMap<(Index, u64), Read>,
    forwarded: BTreeMap<u64, (NodeId, RequestKey)>,
    /// Until this node leads.
    pub(super) transfers: BTreeMap<u64, (NodeId, Asker)>,
    /// In the order of their deadlines: every request has the same time.
    deadlines: VecDeque<(Time, Place)>,
    clients: BTreeMap<RequestKey, Place>,
    next: u64,
}

impl Waiting {
    /// Ids of another run are never this run's: an answer that is late by a restart finds nothing.
    pub(super) fn new(seed: u64) -> Self {
        Self { next: random::mix(seed) & !u64::from(u32::MAX), ..Self::default() }
    }

    fn count(&self) -> usize {
        self.proposals.len()
            + self.changes.len()
            + self.reads.len()
            + self.confirmed.len()
            + self.forwarded.len()
            + self.transfers.len()
    }

    /// Requests are told apart by who asked, not by the keys that they were given.
    pub(super) fn fingerprint(&self, print: &mut Fingerprint) {
        for (index, (term, asker)) in &self.proposals {
            print.add((index, term, matches!(asker, Asker::Client(_))));
        }
        for (index, (asker, _)) in &self.changes {
            print.add((index, matches!(asker, Asker::Client(_))));
        }
        print.add((self.reads.len(), self.confirmed.len(), self.forwarded.len(), self.transfers.len()));
        for (deadline, _) in &self.deadlines {
            print.add_time(*deadline);
        }
    }

    fn add(&mut self, deadline: Time, place: Place, asker: Asker) {
        self.deadlines.push_back((deadline, place));
        if let Asker::Client(key) = asker {
            self.clients.insert(key, place);
        }
    }

    pub(super) const fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn read_confirmed(&mut self, token: u64, index: Index) {
        if let Some(read) = self.reads.remove(&token) {
            self.confirmed.insert((index, token), read);
        }
    }

    /// Takes a request out of its place; nobody answers it any more.
    fn take(&mut self, place: Place) -> Option<Asker> {
        match place {
            Place::Proposal(index) => {
                let proposed = self.proposals.remove(&index).map(|(_, asker)| asker);
                proposed.or_else(|| self.changes.remove(&index).map(|(asker, _)| asker))
            }
            Place::Read(token) => match self.reads.remove(&token) {
                Some(read) => Some(read.asker),
                None => {
                    let key = *self.confirmed.keys().find(|(_, confirmed)| *confirmed == token)?;
                    self.confirmed.remove(&key).map(|read| read.asker)
                }
            },
            Place::Forwarded(id) => self.forwarded.remove(&id).map(|(_, key)| Asker::Client(key)),
            Place::Transfer(id) => self.transfers.remove(&id).map(|(_, asker)| asker),
        }
    }

    /// The client of a request has left.
    pub(super) fn client_left(&mut self, key: RequestKey) {
        if let Some(place) = self.clients.remove(&key) {
            mark::hit(Mark::ClientLeft);
            self.take(place);
        }
    }

    pub(super) fn next_deadline(&self) -> Time {
        self.deadlines.front().map_or(Time::FAR, |(deadline, _)| *deadline)
    }
}

pub(super) fn refusal(code: pb::RefusalCode, message: impl Into<String>) -> pb::Refusal {
    pb::Refusal { code: code.into(), message: message.into(), leader: 0 }
}

fn refused(refusal: pb::Refusal) -> pb::ClientReply {
    pb::ClientReply { index: 0, body: Some(client_reply::Body::Refusal(refusal)) }
}

impl Node {
    pub(super) fn client_asked(&mut self, key: RequestKey, request: pb::ClientRequest) {
        self.asked(Asker::Client(key), request);
    }

    pub(super) fn forward_asked(&mut self, from: NodeId, forward: pb::ForwardRequest) {
        let asker = Asker::Peer { node: from, id: forward.id };
        self.asked(asker, forward.request.unwrap_or_default());
    }

    fn asked(&mut self, asker: Asker, request: pb::ClientRequest) {
        if let Err(refusal) = self.route(asker, request) {
            self.answer(asker, refused(refusal));
        }
    }

    /// Sends a request where it is answered.
    fn route(&mut self, asker: Asker, request: pb::ClientRequest) -> Result<(), pb::Refusal> {
        let bytes = request.encoded_len();
        if bytes > limits::REQUEST_BYTES {
            mark::hit(Mark::RequestTooLarge);
            let message =
                format!("the request has {bytes} bytes; at most {} are taken", limits::REQUEST_BYTES);
            return Err(refusal(pb::RefusalCode::Exhausted, message));
        }
        if let Some(reply) = self.answer_locally(&request)? {
            self.answer(asker, reply);
            return Ok(());
        }
        let command = Command::from_request(&request, &self.config.executor_lease)?;
        if self.raft.points.fires(Point::RequestRefused) {
            return Err(self.unavailable("this node takes no request at the moment"));
        }
        if self.waiting.count() >= limits::PENDING_REQUESTS {
            let message = format!("{} requests wait here already; try again later", limits::PENDING_REQUESTS);
            return Err(refusal(pb::RefusalCode::Exhausted, message));
        }
        if self.raft.role() != Role::Leader {
            return self.forward(asker, request);
        }
        match (command, request.body) {
            (Some((request_id, command)), _) => match self.doubts_room(request_id, &command) {
                Some(question) => self.read_for(asker, question),
                None => self.propose_for(asker, request_id, command),
            },
            (None, Some(Body::TransferLeader(ask))) => self.transfer_for(asker, ask),
            (None, Some(body)) => self.read_for(asker, Question::Request(body)),
            (None, None) => {
                Err(refusal(pb::RefusalCode::Invalid, "the request is empty: its body must be set"))
            }
        }
    }

    /// What any node answers by itself: about itself, and reads that may be stale.
    fn answer_locally(&self, request: &pb::ClientRequest) -> Result<Option<pb::ClientReply>, pb::Refusal> {
        let body = match &request.body {
            Some(Body::Status(_)) => client_reply::Body::Status(self.status()),
            Some(Body::GetLeader(_)) => {
                let leader = self.raft.leader();
                let address = leader.and_then(|leader| self.addresses().remove(&leader));
                client_reply::Body::GetLeader(pb::GetLeaderReply {
                    leader: leader.map_or(0, |leader| leader.0),
                    client_address: address.map_or_else(String::new, |address| address.client),
                    term: self.raft.term().0,
                })
            }
            Some(Body::ListMembers(pb::ListMembersRequest { stale: true })) => {
                client_reply::Body::ListMembers(self.list_members())
            }
            Some(
                Body::Get(pb::GetRequest { stale: true, .. })
                | Body::List(pb::ListRequest { stale: true, .. }),
            )
            | Some(Body::GetJob(pb::GetJobRequest { stale: true, .. })) => {
                mark::hit_if(self.alarm.is_some(), Mark::ReadAlarmed);
                return match &self.alarm {
                    None => Ok(Some(self.state.query(request))),
                    Some(alarm) => Err(refusal(pb::RefusalCode::Unavailable, alarm.clone())),
                };
            }
            _ => return Ok(None),
        };
        Ok(Some(pb::ClientReply { index: self.state.index().0, body: Some(body) }))
    }

    fn forward(&mut self, asker: Asker, request: pb::ClientRequest) -> Result<(), pb::Refusal> {
        let leader = self.raft.leader();
        if bug::planted(Bug::NodeForwardsAgain)
            && let (Asker::Peer { .. }, Some(leader)) = (asker, leader)
        {
            let id = self.waiting.token();
            self.send(
                leader,
                Lane::Data,
                envelope::Body::Forward(pb::ForwardRequest { id, request: Some(request) }),
            );
            return Ok(());
        }
        let (Asker::Client(key), Some(leader)) = (asker, leader) else {
            mark::hit_if(matches!(asker, Asker::Peer { .. }), Mark::ForwardedTwice);
            mark::hit_if(matches!(asker, Asker::Client(_)), Mark::LeaderUnknown);
            // Forwarded once already, or nobody to forward to.
            return Err(self.unavailable("this node does not lead, and knows no leader that it could ask"));
        };
        let id = self.waiting.token();
        self.waiting.forwarded.insert(id, (leader, key));
        self.wait(Place::Forwarded(id), asker);
        let body = envelope::Body::Forward(pb::ForwardRequest { id, request: Some(request) });
        self.send(leader, Lane::Data, body);
        Ok(())
    }

    pub(super) fn forward_answered(&mut self, from: NodeId, answer: pb::ForwardReply) {
        let Some(&(leader, key)) = self.waiting.forwarded.get(&answer.id) else {
            mark::hit(Mark::ForwardAnswerLate);
            return;
        };
        if leader == from {
            mark::hit_if(self.raft.leader() != Some(leader), Mark::ForwardAnswerOfFallen);
            self.waiting.forwarded.remove(&answer.id);
            self.answer(Asker::Client(key), answer.reply.unwrap_or_default());
        }
    }

    /// The leader's process is gone, and with it what was forwarded to it.
    pub(super) fn forwarding_lost(&mut self, peer: NodeId) {
        mark::hit_when(
            || self.waiting.forwarded.values().any(|(leader, _)| *leader == peer),
            Mark::ForwardLost,
        );
        self.fail_forwarded(|leader| leader == peer, "the connection to the leader was lost");
    }

    /// Another node leads, or none: whoever was forwarded to an earlier leader asks again sooner than that one is missed.
    pub(super) fn leader_changed(&mut self) {
        let leads = self.raft.leader();
        mark::hit_when(
            || self.waiting.forwarded.values().any(|(leader, _)| Some(*leader) != leads),
            Mark::ForwardOutlived,
        );
        self.fail_forwarded(
            |leader| Some(leader) != leads,
            "the leader changed; the request may have been applied",
        );
        if let Some(leader) = leads {
            self.transferred(leader);
        }
    }

    fn fail_forwarded(&mut self, lost: impl Fn(NodeId) -> bool, why: &str) {
        let lost: Vec<u64> = self
            .waiting
            .forwarded
            .iter()
            .filter(|(_, (leader, _))| lost(*leader))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.fail(Place::Forwarded(id), why);
        }
    }

    fn propose_for(
        &mut self,
        asker: Asker,
        request: Option<RequestId>,
        command: Command,
    ) -> Result<(), pb::Refusal> {
        let command = self.considered(request, command)?;
        let index = self.propose(request, command).map_err(|error| self.not_taken(error))?;
        self.waiting.proposals.insert(index, (self.raft.term(), asker));
        self.wait(Place::Proposal(index), asker);
        Ok(())
    }

    fn propose(&mut self, request: Option<RequestId>, command: Command) -> Result<Index, ProposeError> {
        let time = self.lead.as_ref().map_or_else(|| self.state.time(), |lead| lead.time(self.now.time));
        let changes = command.changes_membership();
        let data = codec::encode_at(
            &Proposal { time, wall_ms: self.now.wall_ms, request, command },
            self.write_level(),
        );
        if changes { self.raft.propose_change(data) } else { self.raft.propose(data) }
    }

    /// A proposal of the leader's own. If it is not taken, it comes due again.
    pub(super) fn propose_internal(&mut self, command: Command) {
        let _ = self.propose(None, command);
    }

    pub(super) fn propose_errand(&mut self, errand: Errand, command: Command) {
        let proposed = self.propose(None, command.clone());
        mark::hit_if(matches!(proposed, Err(ProposeError::Full)), Mark::ErrandNotTaken);
        let Ok(index) = proposed else {
            if let Some(lead) = &mut self.lead
                && !bug::planted(Bug::ErrandNotPutOff)
            {
                lead.not_taken(self.now.time);
            }
            return;
        };
        let events =
            self.lead.as_mut().map(|lead| lead.proposed(errand, &command, index)).unwrap_or_default();
        for event in events {
            self.trace(event);
        }
    }

    fn read_for(&mut self, asker: Asker, question: Question) -> Result<(), pb::Refusal> {
        let token = self.waiting.token();
        let keeps = matches!(&question, Question::Request(Body::Heartbeat(_) | Body::KeepSession(_)));
        if keeps && bug::planted(Bug::LeaseUnconfirmed) {
            let index = self.state.index();
            self.waiting.confirmed.insert((index, token), Read { asker, question, heard: self.now.time });
            self.wait(Place::Read(token), asker);
            return Ok(());
        }
        self.raft.read(token).map_err(|error| self.not_taken(error))?;
        self.waiting.reads.insert(token, Read { asker, question, heard: self.now.time });
        self.wait(Place::Read(token), asker);
        Ok(())
    }

    /// Answers the confirmed reads that the state has caught up with.
    pub(super) fn serve_confirmed(&mut self) {
        while let Some(entry) = self.waiting.confirmed.first_entry()
            && (entry.key().0 <= self.state.index() || bug::planted(Bug::NodeReadBehind))
        {
            let read = entry.remove();
            let reply = match read.question {
                Question::Room(request) => self.answer_on_room(request.as_ref()),
                Question::Request(Body::Heartbeat(request)) => self.heartbeat(&request, read.heard),
                Question::Request(Body::KeepSession(request)) => self.keep_session(&request, read.heard),
                Question::Request(Body::ListMembers(_)) => {
                    let body = Some(client_reply::Body::ListMembers(self.list_members()));
                    Ok(pb::ClientReply { index: self.state.index().0, body })
                }
                Question::Request(body) => Ok(self.state.query(&pb::ClientRequest { body: Some(body) })),
            };
            self.answer(read.asker, reply.unwrap_or_else(refused));
        }
    }

    /// An executor's keep-alive. Its lease is renewed as of the moment it was heard.
    fn heartbeat(
        &mut self,
        request: &pb::HeartbeatRequest,
        heard: Time,
    ) -> Result<pb::ClientReply, pb::Refusal> {
        let (id, incarnation) = (ExecutorId(request.executor), Incarnation(request.incarnation));
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.is_active()) else {
            return Err(self.unavailable("this node has just been deposed"));
        };
        let Some(executor) = self.state.executor(id) else {
            mark::hit(Mark::HeartbeatUnknown);
            let message =
                format!("executor {id} is not known: it was removed, or its lease ran out; register anew");
            return Err(refusal(pb::RefusalCode::NotFound, message));
        };
        if executor.incarnation != incarnation.0 {
            let message = format!(
                "executor {id} is incarnation {}, not {incarnation}: another process took its place",
                executor.incarnation
            );
            return Err(refusal(pb::RefusalCode::Stale, message));
        }
        if executor.removing || !lead.renew(LeaseId(executor.lease), heard) {
            mark::hit_if(executor.removing, Mark::HeartbeatRemoving);
            mark::hit_if(!executor.removing, Mark::HeartbeatBehindExpiry);
            let message = format!("executor {id} is being removed: stop its work, then register anew");
            return Err(refusal(pb::RefusalCode::Stale, message));
        }
        let ttl_ms = self.state.lease(LeaseId(executor.lease)).map_or(0, |lease| lease.ttl_ms);
        if let Some((errand, command)) = lead.report(&self.state, request) {
            self.propose_errand(errand, command);
        }
        let index = self.state.index();
        let reply = pb::HeartbeatReply {
            sequence: request.sequence,
            index: index.0,
            desired: self.state.desired(id, &request.reports),
            ttl_ms,
        };
        Ok(pb::ClientReply { index: index.0, body: Some(client_reply::Body::Heartbeat(reply)) })
    }

    fn keep_session(
        &mut self,
        request: &pb::KeepSessionRequest,
        heard: Time,
    ) -> Result<pb::ClientReply, pb::Refusal> {
        let lease = self.state.session_lease(SessionId(request.session));
        let Some(lead) = self.lead.as_mut().filter(|lead| lead.is_active()) else {
            return Err(self.unavailable("this node has just been deposed"));
        };
        if !lease.is_some_and(|lease| lead.renew(lease, heard)) {
            mark::hit_if(lease.is_none(), Mark::SessionEnded);
            mark::hit_if(lease.is_some(), Mark::SessionBehindExpiry);
            let message = format!("session {} has ended: open a new one", request.session);
            return Err(refusal(pb::RefusalCode::SessionExpired, message));
        }
        let body = client_reply::Body::KeepSession(pb::KeepSessionReply {});
        Ok(pb::ClientReply { index: self.state.index().0, body: Some(body) })
    }

    /// An entry was applied: whoever waits for it here gets its answer. An entry of another term took the place of a
    /// proposal that was lost.
    pub(super) fn entry_applied(&mut self, index: Index, term: Term, reply: Option<pb::ClientReply>) {
        let Some((proposed_in, asker)) = self.waiting.proposals.remove(&index) else { return };
        match reply {
            Some(reply) if proposed_in == term || bug::planted(Bug::NodeOtherEntry) => {
                let changed = matches!(reply.body, Some(client_reply::Body::ChangeMembers(_)));
                if changed && !self.members_are_settled() {
                    self.waiting.changes.insert(index, (asker, reply));
                } else {
                    self.answer(asker, reply);
                }
            }
            Some(_) | None => {
                let refusal = self.unavailable("another leader took over before the request was committed");
                self.answer(asker, refused(refusal));
            }
        }
    }

    /// Whether the newest change of the members is over.
    fn members_are_settled(&self) -> bool {
        let leaves = self.state.members().is_some_and(|members| members.membership().leaves_itself());
        (!leaves || bug::planted(Bug::ChangeUnconfirmed)) && !self.raft.is_confirming()
    }

    /// A majority of the new members knows that they are: whoever changed them is told.
    pub(super) fn changes_confirmed(&mut self) {
        if self.members_are_settled() {
            for (asker, reply) in core::mem::take(&mut self.waiting.changes).into_values() {
                self.answer(asker, reply);
            }
        }
    }

    /// This node leads no more.
    pub(super) fn fail_leader_waits(&mut self) {
        mark::hit_if(!self.waiting.proposals.is_empty(), Mark::DeposedWithProposals);
        mark::hit_if(!self.waiting.reads.is_empty(), Mark::DeposedWithReads);
        mark::hit_if(!self.waiting.confirmed.is_empty(), Mark::DeposedWithConfirmed);
        let proposals = self.waiting.proposals.keys().chain(self.waiting.changes.keys());
        let proposals = proposals.map(|&index| Place::Proposal(index));
        let reads = self.waiting.reads.keys().map(|&token| Place::Read(token));
        // A confirmed read was current when it was confirmed, and stays so; a keep-alive needs a leader.
        let confirmed = self.waiting.confirmed.keys().map(|&(_, token)| Place::Read(token));
        for place in proposals.chain(reads).chain(confirmed).collect::<Vec<_>>() {
            self.fail(place, "this node was deposed; the request may have been applied");
        }
    }

    pub(super) fn waiting_due(&mut self) {
        while let Some(&(deadline, place)) = self.waiting.deadlines.front()
            && deadline <= self.now.time
        {
            self.waiting.deadlines.pop_front();
            if bug::planted(Bug::NodeRequestForgotten) {
                continue;
            }
            let waited = self.waiting.count();
            self.fail(place, "no majority or no leader answered in time; the request may have been applied");
            mark::hit_if(self.waiting.count() < waited, Mark::RequestTimedOut);
        }
    }

    pub(super) fn fail(&mut self, place: Place, why: &str) {
        if let Some(asker) = self.waiting.take(place) {
            let refusal = self.unavailable(why);
            self.answer(asker, refused(refusal));
        }
    }

    pub(super) fn wait(&mut self, place: Place, asker: Asker) {
        let deadline = self.now.time + self.config.timing.request_timeout;
        self.waiting.add(deadline, place, asker);
    }

    pub(super) fn answer(&mut self, asker: Asker, reply: pb::ClientReply) {
        match asker {
            Asker::Client(key) => {
                self.waiting.clients.remove(&key);
                self.outputs.push_back(Output::Reply { key, reply: Box::new(reply) });
            }
            Asker::Peer { node, id } => {
                let body = envelope::Body::ForwardReply(pb::ForwardReply { id, reply: Some(reply) });
                self.send(node, Lane::Data, body);
            }
        }
    }

    pub(super) fn unavailable(&self, why: &str) -> pb::Refusal {
        let leader = self.raft.leader().filter(|&leader| leader != self.config.node);
        let hint = match (leader, &self.alarm) {
            (_, Some(alarm)) => format!("{why}: {alarm}"),
            (Some(leader), None) => format!("{why}; node {leader} leads in term {}", self.raft.term()),
            (None, None) => format!("{why}; no leader is known in term {}", self.raft.term()),
        };
        pb::Refusal {
            code: pb::RefusalCode::Unavailable.into(),
            message: hint,
            leader: leader.map_or(0, |leader| leader.0),
        }
    }

    fn not_taken(&self, error: ProposeError) -> pb::Refusal {
        match error {
            ProposeError::NotLeader => self.unavailable("this node does not lead"),
            ProposeError::Full => {
                mark::hit(Mark::ProposalNotTaken);
                refusal(pb::RefusalCode::Exhausted, "too much waits to be committed; try again later")
            }
            ProposeError::HandingOver(to) => {
                self.unavailable(&format!("leadership is being handed to node {to}"))
            }
            ProposeError::ChangePending => self.unavailable("another change of the members is under way"),
        }
    }
}
