//! What happens at masters: they start, write, send, answer and crash. (How they step: `steps`.)

use super::{DiskEvent, Event, MILLISECOND, World, describe};
use crate::{
    disk::StoredSnapshot,
    draw::{Purpose, again, draw, within},
    marks::SimMark,
    network::Endpoint,
    oracle::{Rule, answers, raft::quorum_term},
};
use bytes::Bytes;
use prost::Message;
use quorate_core::{
    Input, Node, Output,
    contract::{Lane, LogPosition, StopReason},
    point::Point,
    raft::Role,
    tape::{StartRef, TapeWriter},
    trace::TraceEvent,
    types::{Index, NodeId, Term},
};
use quorate_proto::v1::{self as pb, client_reply::Body, envelope::Body as Peer};

fn lane_number(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Data => 1,
        Lane::Bulk => 2,
    }
}

impl World {
    pub(super) fn start_master(&mut self, place: u8, run: u64) {
        let at = usize::from(place);
        let master = &mut self.masters[at];
        if master.node.is_some() || master.run != run || master.gone || master.outside {
            return;
        }
        // A spare one waits until somebody adds it.
        if at >= self.plan.masters.founding() && master.joins.is_none() {
            return;
        }
        if !self.storage_opens(at) {
            return;
        }
        let known = self.is_member(at);
        self.fit_program(at);
        let master = &mut self.masters[at];
        // It was written down before somebody told it that it joins.
        if master.wiped && master.joins.is_some() && known {
            master.known_again();
        }
        let new = master.joins.is_some() || master.intact();
        if new && master.disk.image.voters.is_empty() {
            master.joined_in = Some(master.run + 1);
        }
        let recovered = match master.disk.image.recover() {
            Ok(recovered) => recovered,
            Err(error) => return self.ledger.fail(Rule::Contract, format!("node {}: {error}", master.id)),
        };
        master.run += 1;
        let seed = draw(self.plan.seed, Purpose::NodeSeed, &[u64::from(place), master.run]);
        let config = master.config(&self.plan);
        if let Err(error) = config.validate() {
            return self.ledger.fail(Rule::Contract, format!("the plan's configuration is refused: {error}"));
        }
        let now = master.clock.now(self.time);
        let run = master.run;
        let start = StartRef { config: &config, recovered: &recovered, seed, now };
        master.tape = self.tapes.as_ref().map(|tapes| TapeWriter::begin(tapes.sink(place, run), &start));
        master.node = Some(Node::new(config, recovered, seed, now));
        self.mark(1, place, run, &[]);
        self.line(Endpoint::Master(place), "start", || format!("run {run}"));
        self.stepped(at);
        self.started_from_older(at);
        for (_, point, _) in self.masters[at].points.clone() {
            self.switch_point(at, point);
        }
        for peer in (0..self.masters.len() as u8).filter(|&peer| peer != place) {
            if self.masters[usize::from(peer)].node.is_some() {
                self.connect(place, peer);
            }
        }
    }

    /// Tells a node how often one of its fault points is to fire.
    pub(super) fn switch_point(&mut self, at: usize, point: Point) {
        let one_in = self.masters[at].fires(point);
        self.step_master(at, Input::FaultPoint { point, one_in });
    }

    /// Both ends hear that they are connected, if they are.
    pub(super) fn connect(&mut self, one: u8, other: u8) {
        let (a, b) = (Endpoint::Master(one), Endpoint::Master(other));
        if self.network.open(a, b) && self.network.open(b, a) {
            let at = self.time + 2 * MILLISECOND;
            self.queue.push(at, Event::Link { at: one, peer: other, up: true });
            self.queue.push(at, Event::Link { at: other, peer: one, up: true });
        }
    }

    /// Both ends of each connection hear that it is gone, and connect again.
    pub(super) fn reset_peers(&mut self, master: u8) -> bool {
        self.marks.hit(SimMark::PeersReset);
        for other in (0..self.masters.len() as u8).filter(|other| *other != master) {
            self.queue.push(self.time, Event::Link { at: master, peer: other, up: false });
            self.queue.push(self.time, Event::Link { at: other, peer: master, up: false });
            self.connect(master, other);
        }
        true
    }

    pub(super) fn link_changes(&mut self, at: u8, peer: u8, up: bool) {
        if !self.network.open(Endpoint::Master(peer), Endpoint::Master(at)) {
            return;
        }
        let node = NodeId(u64::from(peer) + 1);
        self.mark(2, at, u64::from(peer) << 1 | u64::from(up), &[]);
        self.line(Endpoint::Master(at), if up { "connected" } else { "reset" }, || format!("node {node}"));
        self.step_master(
            usize::from(at),
            if up { Input::PeerConnected(node) } else { Input::PeerLost(node) },
        );
    }

    /// The process ends. `power`: with its machine.
    pub(super) fn stop_master(&mut self, place: u8, power: bool) -> bool {
        let at = usize::from(place);
        if self.masters[at].node.is_none() {
            return false;
        }
        let master = &mut self.masters[at];
        self.marks.hit_if(master.batch.is_some_and(|batch| batch.inputs > 0), SimMark::BatchLost);
        let waiting = master.stop();
        let luck = draw(self.plan.seed, Purpose::Survivors, &[u64::from(place), master.run]);
        let writes = master.disk.waiting.len();
        let mut survivors = within(again(luck, 1), 0, writes as u64) as usize;
        let mut parts =
            if power { within(again(luck, 2), 0, master.disk.parts(survivors) as u64) as usize } else { 0 };
        if power && self.lie_comes_out(at, luck) {
            (survivors, parts) = (0, 0);
        }
        self.marks.hit(SimMark::CrashKilled);
        self.marks.hit_if(survivors < writes, SimMark::CrashUnsyncedLost);
        self.marks.hit_if(parts > 0, SimMark::PowerTorn);
        let master = &mut self.masters[at];
        let oracles = &mut self.oracles;
        let result = master.disk.crash(survivors, parts, |write| {
            if let Some(oracles) = oracles {
                oracles.consensus.durable(at, write);
            }
        });
        if let Err(error) = result {
            self.ledger.fail(Rule::DiskContract, format!("node {}: {error}", self.masters[at].id));
        }
        if power && self.masters[at].disk.lie.take().is_some() {
            self.masters[at].disk.begin_lie();
        }
        self.mark(3, place, survivors as u64, &[parts as u8]);
        self.line(Endpoint::Master(place), if power { "power" } else { "crash" }, || {
            format!("{survivors} of {writes} waiting writes are on the disk, and {parts} parts of the next")
        });
        if power {
            return true;
        }
        // The system resets its connections.
        for peer in (0..self.masters.len() as u8).filter(|&peer| peer != place) {
            self.queue.push(self.time + MILLISECOND, Event::Link { at: peer, peer: place, up: false });
        }
        for waiting in waiting.into_values() {
            self.answer(place, waiting.origin, None);
        }
        true
    }

    pub(super) fn output(&mut self, at: usize, output: Output) {
        let place = at as u8;
        match output {
            Output::Send { to, lane, envelope } => self.send_envelope(at, to, lane, &envelope),
            Output::Write(write) => self.write(at, write),
            Output::SaveSnapshot(snapshot) => {
                let master = &self.masters[at];
                if let Some(oracles) = &mut self.oracles {
                    let (now, patience) =
                        (master.clock.local(self.time), self.plan.masters.timing().election_max);
                    oracles.held.saves(&mut self.ledger, master, (now, patience), &self.plan.masters.log);
                }
                self.masters[at].saves = snapshot.at.index;
                self.disk_later(at, 20, DiskEvent::Saved(snapshot));
            }
            Output::StoreSnapshotChunk { at: position, number, data, last } => {
                let commit = self.masters[at].node.as_ref().map_or(Index(0), |node| node.raft().commit());
                self.ledger.hold(Rule::SnapshotAhead, position.index > commit, || {
                    format!("node {} stores a snapshot of {position:?}; {commit} is committed", at + 1)
                });
                let disk = &mut self.masters[at].disk;
                let behind =
                    |aside: &StoredSnapshot| aside.at == position && aside.chunks.len() as u64 == number;
                let follows = number == 0 || disk.aside.as_ref().is_some_and(behind);
                self.ledger.hold(Rule::SnapshotOrder, follows, || {
                    format!("node {} stores chunk {number} of {position:?} behind others", at + 1)
                });
                if number == 0 {
                    disk.aside = Some(StoredSnapshot { at: position, chunks: Vec::new() });
                }
                if let Some(aside) = disk.aside.as_mut().filter(|aside| aside.chunks.len() as u64 == number) {
                    aside.chunks.push(data);
                }
                self.disk_later(at, 10, DiskEvent::ChunkStored(position, number, last));
            }
            Output::ReadSnapshotChunk { peer, at: position, number } => {
                let master = &self.masters[at];
                if let Some(oracles) = &mut self.oracles {
                    let (now, timing) = (master.clock.local(self.time), self.plan.masters.timing());
                    let chunk = (peer, position, number);
                    oracles.contact.reads(&mut self.ledger, master, now, chunk, &timing);
                    oracles.held.reads(&mut self.ledger, master, now, &self.plan.masters.log);
                }
                self.disk_later(at, 5, DiskEvent::ChunkRead(peer, position, number));
            }
            Output::LoadSnapshot { at: position } => self.disk_later(at, 20, DiskEvent::Loaded(position)),
            Output::Reply { key, reply } => match self.masters[at].requests.remove(&key) {
                Some(waiting) => self.reply(at, &waiting, &reply),
                None => {
                    let left = self.masters[at].left.remove(&key);
                    self.ledger.hold(Rule::Contract, left, || {
                        format!("node {}: request {key} is answered twice", at + 1)
                    });
                }
            },
            Output::Call { key, address, call } => self.call(at, key, &address, &call),
            Output::DropState(_) | Output::Changed { .. } | Output::Members(_) => {}
            Output::Trace(event) => self.trace(place, &event),
            Output::Stop(reason) => self.stop_output(place, &reason),
        }
    }

    fn trace(&mut self, place: u8, event: &TraceEvent) {
        self.line(Endpoint::Master(place), "trace", || format!("{event:?}"));
        match event {
            TraceEvent::LeaderElected { .. } => self.count("leader elected"),
            TraceEvent::SteppedDown { .. } => self.count("stepped down"),
            TraceEvent::SnapshotInstalled { .. } => self.count("snapshot installed"),
            TraceEvent::Compacted { index } => {
                self.count("log compacted");
                let master = &self.masters[usize::from(place)];
                if let Some(oracles) = &mut self.oracles {
                    let (now, patience) =
                        (master.clock.local(self.time), self.plan.masters.timing().election_max);
                    let log = &self.plan.masters.log;
                    oracles.held.cuts(&mut self.ledger, master, (now, patience), *index, log);
                }
            }
            TraceEvent::LeaseMissed { lease } => self.last_words(place, *lease),
            TraceEvent::TaskMoved { .. } => self.count("task moved"),
            TraceEvent::NoVote { message } => {
                let doubts = self.doubts(usize::from(place));
                let master = &self.masters[usize::from(place)];
                let (wiped, rolled) = (master.wiped, master.rolled);
                let stranger = !self.is_member(usize::from(place));
                self.marks.hit_if(wiped, SimMark::WipeDenied);
                self.marks.hit_if(rolled, SimMark::RestoreDenied);
                self.ledger.hold(Rule::Contract, wiped || rolled || stranger || doubts, || {
                    format!("node {} kept its disk, and takes no part: {message}", place + 1)
                });
            }
            _ => {}
        }
    }

    fn stop_output(&mut self, place: u8, reason: &StopReason) {
        self.line(Endpoint::Master(place), "stop", || reason.to_string());
        let old = matches!(reason, StopReason::TooOld { .. });
        let expected = old || matches!(reason, StopReason::WriteFailed { .. });
        self.ledger.hold(Rule::Stopped, expected, || format!("node {} stops: {reason}", place + 1));
        self.stop_master(place, false);
        if old {
            self.too_old(place);
        }
    }

    fn send_envelope(&mut self, at: usize, to: NodeId, lane: Lane, envelope: &pb::Envelope) {
        let place = at as u8;
        if let Some(oracles) = &mut self.oracles {
            let master = &self.masters[at];
            let (now, timing) = (master.clock.local(self.time), self.plan.masters.timing());
            oracles.consensus.send(&mut self.ledger, master, envelope);
            oracles.contact.sends(&mut self.ledger, master, now, envelope, &timing, &self.roll.past);
        }
        match &envelope.body {
            Some(Peer::Forward(forward)) => self.forwarded_out(at, forward),
            Some(Peer::ForwardReply(forward)) => {
                let from = self.masters[at].forwarded.remove(&(envelope.to, forward.id));
                if let (Some((true, quorum)), Some(reply)) = (from, &forward.reply) {
                    self.deposed(at, quorum, reply);
                }
            }
            _ => {}
        }
        if let Some(Peer::TimeoutNow(_)) = &envelope.body {
            self.handed_whole(at, to);
        }
        self.promises(at, envelope);
        self.doubter_says(at, envelope);
        let bytes = Bytes::from(envelope.encode_to_vec());
        if let Some(cost) = &mut self.cost {
            cost.message(self.time, envelope, bytes.len());
        }
        self.mark(5, place, to.0, &bytes);
        self.line(Endpoint::Master(place), "send", || format!("-> {to} {}", describe::envelope(envelope)));
        let Some(to) = u8::try_from(to.0).ok().and_then(|to| to.checked_sub(1)) else {
            return self.ledger.fail(Rule::Contract, format!("node {} sends to {to}", at + 1));
        };
        let (from, kind) = (Endpoint::Master(place), describe::kind(envelope));
        let times = self.network.send(self.time, from, Endpoint::Master(to), lane_number(lane), kind);
        if let Some(time) = times[1] {
            self.queue.push(time, Event::Envelope { to, from: place, bytes: bytes.clone() });
        }
        if let Some(time) = times[0] {
            self.queue.push(time, Event::Envelope { to, from: place, bytes });
        }
    }

    pub(super) fn envelope_arrives(&mut self, to: u8, from: u8, bytes: Bytes) {
        let at = usize::from(to);
        if self.masters[at].node.is_none() || !self.network.open(Endpoint::Master(from), Endpoint::Master(to))
        {
            return;
        }
        let envelope = match pb::Envelope::decode(bytes) {
            Ok(envelope) => envelope,
            Err(error) => {
                return self.ledger.fail(Rule::Contract, format!("an envelope does not decode: {error}"));
            }
        };
        // Its bytes are in the chain since they were sent.
        self.mark(6, to, u64::from(from), &[]);
        self.line(Endpoint::Master(to), "receive", || {
            format!("<- {} {}", from + 1, describe::envelope(&envelope))
        });
        if let (Some(Peer::Forward(forward)), Some(_)) = (&envelope.body, &self.oracles) {
            let confirmed = forward.request.as_ref().is_some_and(answers::confirmed);
            let quorum = self.quorum_term();
            self.masters[at].forwarded.entry((envelope.from, forward.id)).or_insert((confirmed, quorum));
        }
        self.hears(at, envelope);
    }

    /// A leader tells a follower to lead: that must hold all of its log, unless it lost it since.
    fn handed_whole(&mut self, at: usize, to: NodeId) {
        let Some(raft) = self.masters[at].node.as_ref().map(Node::raft) else { return };
        let last = raft.last_index();
        let Some(term) = raft.term_at(last) else { return };
        let place = to.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        let Some(successor) = place.and_then(|place| self.masters.get(place)) else { return };
        // A leader that was cut off may not know that its directory was replaced.
        let node = self.masters[at].node.as_ref().map(Node::identity);
        let another = node.is_some_and(|identity| !identity.counts(to, successor.storage));
        let lost = another || successor.wiped || successor.rolled || successor.term_floor() > raft.term();
        let holds = successor.disk.image.holds(LogPosition { term, index: last });
        self.ledger.hold(Rule::HandedWhole, lost || holds, || {
            format!("leader {} tells {to} to lead, which does not hold {last}", at + 1)
        });
    }

    /// What a node forwards must be what somebody asked of it directly, and it forwards that once.
    fn forwarded_out(&mut self, at: usize, forward: &pb::ForwardRequest) {
        let Some(request) = &forward.request else { return };
        let left = self.masters[at].direct.get_mut(&fingerprint(&request.encode_to_vec()));
        let direct = left.is_some_and(|left| {
            *left -= 1;
            *left >= 0
        });
        self.ledger.hold(Rule::ForwardedOnce, direct, || {
            format!("node {} forwards {:?} more often than clients asked it", at + 1, answers::brief(request))
        });
    }

    /// What is confirmed in a lower term from now on is void.
    pub(super) fn quorum_term(&self) -> Term {
        quorum_term(&self.masters, self.membership(), self.plan.masters.read_lease_drift_ppm > 0)
    }

    pub(super) fn deposed(&mut self, at: usize, quorum: Term, reply: &pb::ClientReply) {
        let Some(node) = &self.masters[at].node else { return };
        let raft = node.raft();
        if raft.role() != Role::Leader || matches!(reply.body, Some(Body::Refusal(_)) | None) {
            return;
        }
        self.ledger.hold(Rule::Deposed, raft.term() >= quorum, || {
            format!(
                "leader {} of term {} confirms {:?}; when it was asked, a quorum was in term {quorum}",
                at + 1,
                raft.term(),
                reply.body
            )
        });
    }
}

pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    use core::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}
