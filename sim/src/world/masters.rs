//! What happens at masters: they start, step, write, send, answer and crash.

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
    contract::{Lane, StopReason},
    point::Point,
    raft::Role,
    tape::{StartRef, TapeWriter},
    trace::TraceEvent,
    types::{Index, NodeId, Term},
};
use quorate_proto::v1::{self as pb, client_reply::Body, envelope::Body as Peer};

/// Inputs that a paused process finds when it goes on; what is over was dropped by the system.
const HELD_INPUTS: usize = 20_000;
const MICROSECOND: u64 = 1_000;

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
        let master = &mut self.masters[at];
        if master.joins.is_some() && master.disk.image.voters.is_empty() {
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

    pub(super) fn step_master(&mut self, at: usize, input: Input) {
        let master = &mut self.masters[at];
        if master.node.is_none() {
            return;
        }
        if master.pauses > 0 {
            if master.held.len() < HELD_INPUTS {
                self.marks.hit(SimMark::PauseHeld);
                master.held.push(input);
            }
            return;
        }
        let slow = master.steps.iter().map(|(_, time)| *time).max().unwrap_or(0);
        if slow > 0 || master.busy_until > self.time {
            self.marks.hit_if(master.busy_until > self.time, SimMark::SlowProcessorQueued);
            master.busy_until = master.busy_until.max(self.time) + slow.max(1) * MICROSECOND;
            let event = Event::Step { master: at as u8, run: master.run, input: Box::new(input) };
            return self.queue.push(master.busy_until, event);
        }
        self.give(at, input);
    }

    /// The one mutation of a node.
    fn give(&mut self, at: usize, input: Input) {
        let master = &mut self.masters[at];
        let Some(node) = &mut master.node else { return };
        let now = master.clock.now(self.time);
        master.ended_at = node.raft().last_index();
        if let Some(oracles) = &mut self.oracles {
            oracles.contact.takes((at, master.run), node.identity(), now.time, &input);
            oracles.logs.takes((at, master.run), &input);
        }
        if let Some(tape) = &mut master.tape {
            tape.input(now, &input);
        }
        match &mut self.cost {
            Some(cost) => {
                let mut input = Some(input);
                cost.step(self.time, || {
                    if let Some(input) = input.take() {
                        node.step(now, input);
                    }
                });
            }
            None => node.step(now, input),
        }
        self.stepped(at);
    }

    /// A slow processor has come to an input.
    pub(super) fn slow_step(&mut self, place: u8, run: u64, input: Input) {
        let at = usize::from(place);
        let master = &mut self.masters[at];
        if master.node.is_none() || master.run != run {
            return;
        }
        if master.pauses > 0 {
            return master.held.push(input);
        }
        self.mark(14, place, run, &[]);
        self.give(at, input);
    }

    /// A paused process goes on: what came is taken as drivers do, writes and control messages first.
    pub(super) fn resume_master(&mut self, at: usize) {
        let mut held = core::mem::take(&mut self.masters[at].held);
        held.sort_by_key(lane_of);
        for input in held {
            self.step_master(at, input);
        }
        self.step_master(at, Input::Deadline);
    }

    pub(super) fn master_wakes(&mut self, place: u8) {
        let at = usize::from(place);
        let master = &mut self.masters[at];
        if master.wake > self.time {
            return;
        }
        master.wake = u64::MAX;
        let Some(node) = master.node.as_ref().filter(|_| master.pauses == 0) else { return };
        // Deadlines move while their event waits.
        let due = node.next_deadline().filter(|(time, _)| *time <= master.clock.local(self.time));
        if let Some((_, why)) = due {
            self.mark(4, place, 0, &[]);
            self.line(Endpoint::Master(place), "deadline", || format!("{why:?}").to_lowercase());
            self.step_master(at, Input::Deadline);
        } else {
            self.arm_master(at);
        }
    }

    pub(super) fn arm_master(&mut self, at: usize) {
        self.caused_by_input();
        let master = &mut self.masters[at];
        let Some((deadline, _)) = master.node.as_ref().and_then(Node::next_deadline) else { return };
        let wake = master.clock.true_time(deadline).max(self.time);
        if wake < master.wake {
            master.wake = wake;
            self.queue.push(wake, Event::Wake { master: at as u8 });
        }
    }

    /// Takes a node's outputs, and lets the oracles look.
    fn stepped(&mut self, at: usize) {
        self.ledger.step += 1;
        self.follow_members(at);
        // Taken out: a node that stops ends its run while its outputs are carried out.
        let mut tape = self.masters[at].tape.take();
        while let Some(output) = self.masters[at].node.as_mut().and_then(Node::poll_output) {
            if let Some(tape) = &mut tape {
                tape.output(&output);
            }
            self.output(at, output);
        }
        if let Some(mut tape) = tape {
            tape.end();
            let master = &mut self.masters[at];
            master.tape = master.node.is_some().then_some(tape);
        }
        self.caught_is_quiet(at);
        if let Some(oracles) = &mut self.oracles {
            oracles.consensus.stepped(&mut self.ledger, &mut oracles.reference, &self.masters, at);
            let master = &self.masters[at];
            let now = master.clock.local(self.time);
            oracles.contact.stepped(&mut self.ledger, master, now, &self.plan.masters.timing());
            let plan = &self.plan.masters;
            let uncommitted = plan.flow(at).uncommitted_bytes;
            oracles.logs.stepped(&mut self.ledger, master, plan.trailing_entries, uncommitted);
            for claim in core::mem::take(&mut oracles.reference.jobs.claims) {
                oracles.truth.claimed(&mut self.ledger, &claim);
            }
            for executor in core::mem::take(&mut oracles.reference.jobs.departed) {
                oracles.truth.departed(&mut self.ledger, executor);
            }
            for event in oracles.reference.news.drain(..) {
                self.latency.happened(&event, self.time);
            }
        }
        self.watch_new_leader(at);
        self.arm_master(at);
    }

    fn output(&mut self, at: usize, output: Output) {
        let place = at as u8;
        match output {
            Output::Send { to, lane, envelope } => self.send_envelope(at, to, lane, &envelope),
            Output::Write(write) => self.write(at, write),
            Output::SaveSnapshot(snapshot) => self.disk_later(at, 20, DiskEvent::Saved(snapshot)),
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
            Output::Changed { .. } | Output::Members(_) => {}
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
            TraceEvent::Compacted { .. } => self.count("log compacted"),
            TraceEvent::LeaseMissed { lease } => self.last_words(place, *lease),
            TraceEvent::TaskMoved { .. } => self.count("task moved"),
            TraceEvent::NoVote { message } => {
                let master = &self.masters[usize::from(place)];
                let (wiped, rolled) = (master.wiped, master.rolled);
                let stranger = !self.is_member(usize::from(place));
                self.marks.hit_if(wiped, SimMark::WipeDenied);
                self.marks.hit_if(rolled, SimMark::RestoreDenied);
                self.ledger.hold(Rule::Contract, wiped || rolled || stranger, || {
                    format!("node {} kept its disk, and takes no part: {message}", place + 1)
                });
            }
            _ => {}
        }
    }

    fn stop_output(&mut self, place: u8, reason: &StopReason) {
        self.line(Endpoint::Master(place), "stop", || reason.to_string());
        let expected = matches!(reason, StopReason::WriteFailed { .. });
        self.ledger.hold(Rule::Stopped, expected, || format!("node {} stops: {reason}", place + 1));
        self.stop_master(place, false);
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
        self.promises(at, envelope);
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
            let quorum = quorum_term(&self.masters, self.membership());
            self.masters[at].forwarded.entry((envelope.from, forward.id)).or_insert((confirmed, quorum));
        }
        self.hears(at, envelope);
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

/// Finished writes and control messages, keep-alives, clients.
fn lane_of(input: &Input) -> u8 {
    match input {
        Input::Request { request, .. } => {
            let keeps = matches!(
                request.body,
                Some(pb::client_request::Body::Heartbeat(_) | pb::client_request::Body::KeepSession(_))
            );
            if keeps { 1 } else { 2 }
        }
        _ => 0,
    }
}
