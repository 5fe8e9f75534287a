//! Who heard whom and when, by each node's own clock: what a node owes to what it has heard, and for how long it may wait.

mod elects;
mod leader;
mod speech;
mod waits;

use super::{Ledger, Rule, flow::Flow};
use crate::master::Master;
use core::time::Duration;
use quorate_core::{
    Input,
    contract::{Flow as Limits, LogPosition, Timing},
    point::Point,
    raft::{Raft, Role, membership::Membership},
    types::{Index, NodeId, RequestKey, StorageId, Term, Time, WriteId},
};
use quorate_proto::v1::{self as pb, envelope::Body};
use speech::Said;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use waits::Waits;

/// Heartbeats that a node may be late with what is due by time.
pub const LATE_HEARTBEATS: u32 = 5;

/// Reads of one chunk for one peer that nothing calls for.
const CHUNK_READS: u64 = 4;
/// Shortest time after which a chunk whose answer was lost may be read again.
const CHUNK_PAUSE: Duration = Duration::from_millis(500);

/// A node after a step.
#[derive(Clone, Copy)]
struct Stepped<'a> {
    master: &'a Master,
    raft: &'a Raft,
    /// By its own clock.
    now: Time,
    timing: &'a Timing,
    /// How late it may be with what is due by time.
    late: Duration,
}

/// What one run of a node has heard.
#[derive(Default)]
struct Place {
    run: u64,
    /// When it last did anything.
    stepped: Time,
    /// It did not run just before this: nothing is held against others for that time.
    awake_since: Time,
    /// Since when it leads, in which term.
    leads: Option<(Term, Time)>,
    /// The newest word of a leader: its term, and when.
    led: Option<(Term, Time)>,
    /// When it carried out who its members are.
    members_since: Time,
    /// When a leader had heard a majority, when that was looked at last.
    heard_last: Time,
    /// The same of the members before a change, for as long as it may not have looked since.
    heard_before: Time,
    /// Whose word that was.
    led_by: Option<NodeId>,
    /// When each peer was last heard in each term: who restarts may come back in an older one.
    heard: BTreeMap<(Term, NodeId), Time>,
    /// The most that each peer acknowledged in each term.
    acknowledged: BTreeMap<(NodeId, Term), Index>,
    /// What it took each peer to hold, when that was looked at last.
    counted: BTreeMap<NodeId, Index>,
    /// When each peer was sent anything of the log, or lacked nothing; and whether that was a part of a snapshot.
    fed: BTreeMap<NodeId, (Time, bool)>,
    /// Since when each peer has answered heartbeats without being sent anything of the log.
    beats: BTreeMap<NodeId, Time>,
    /// Appends without entries to each peer, and since when they are counted.
    idle: BTreeMap<NodeId, (Time, u32)>,
    /// To whom it is handing over, and since when.
    hands: Option<(NodeId, Time)>,
    /// Peers whose handshake it heard.
    greeted: BTreeSet<NodeId>,
    /// It has been greeted, and speaks.
    speaking: bool,
    /// The chunk that was last read for each peer.
    chunks: BTreeMap<NodeId, Chunk>,
    /// Writes that are not done.
    writes: VecDeque<(WriteId, Time)>,
    /// When each request came that is not answered.
    asked: BTreeMap<RequestKey, Time>,
    /// What it sends of its log.
    flow: Flow,
    /// The leader that speaks in this step, and its term.
    speaks: Option<(NodeId, Term)>,
    /// Who votes for it, in which term.
    votes: (Term, BTreeSet<NodeId>),
    /// Before this step: what it was, in which term, and what it had not carried out of what it knew to be committed.
    before: (Option<Role>, Term, Option<Index>),
    /// More is committed than it can carry out with one input.
    carries_slowly: bool,
    /// The leader that tells it to lead in this step.
    handed: Option<NodeId>,
    /// The vote that it is being asked for in this step.
    vote_asked: Option<(NodeId, Term)>,
    /// How long it waits before it stands, and before it hands over.
    waits: Waits,
}

/// How often one chunk was read in a reign, and how often that was called for.
struct Chunk {
    term: Term,
    at: LogPosition,
    number: u64,
    since: Time,
    reads: u64,
    /// What its peer said about snapshots and appends meanwhile.
    answers: u64,
}

/// The rules' memory.
#[derive(Default)]
pub struct Contact {
    places: Vec<Place>,
    /// How much each master may have on its way at a time.
    pub limits: Vec<Limits>,
}

impl Contact {
    /// Nothing that was heard counts any more; how much each master may send stays.
    #[must_use]
    pub fn anew(&mut self) -> Self {
        Self { limits: core::mem::take(&mut self.limits), ..Self::default() }
    }

    fn place(&mut self, place: usize, run: u64, now: Time) -> &mut Place {
        if self.places.len() <= place {
            self.places.resize_with(place + 1, Place::default);
        }
        let place = &mut self.places[place];
        if place.run != run {
            *place = Place { run, stepped: now, awake_since: now, ..Place::default() };
        }
        place
    }

    /// A node follows other members: it begins anew with whoever has another directory.
    pub fn follows(&mut self, (place, run): (usize, u64), now: Time) {
        let place = self.place(place, run, now);
        place.flow.begin_anew();
        place.members_since = now;
    }

    /// A node takes an input.
    pub fn takes(&mut self, master: &Master, now: Time, input: &Input) {
        let Some(node) = &master.node else { return };
        let place = self.place(usize::from(master.place), master.run, now);
        (place.vote_asked, place.speaks) = (None, None);
        let raft = node.raft();
        let owed = Some(raft.commit()).filter(|commit| *commit > node.state().index());
        place.before = (Some(raft.role()), raft.term(), owed);
        place.waits.takes(raft, now, input);
        place.flow.takes(master.batch.is_some());
        match input {
            // Nobody hears who is of the cluster that it was before.
            Input::Peer(envelope) if envelope.cluster != master.cluster.0 => {}
            // One that came in place of another is heard when that is known, and the other one no more.
            Input::Peer(envelope)
                if !matches!(envelope.body, Some(Body::Hello(_)))
                    && !node.identity().hears(NodeId(envelope.from), StorageId(envelope.storage)) => {}
            Input::Peer(envelope) => {
                place.asked_to_lead(node, envelope);
                place.flow.hears(envelope, now);
                place.peer(envelope, now);
            }
            Input::PeerLost(peer) => {
                // What was on its way is lost with the connection.
                place.flow.lost(*peer);
                if place.led_by == Some(*peer) {
                    place.led = None;
                }
            }
            Input::WriteDone { io } => {
                while place.writes.front().is_some_and(|(issued, _)| issued <= io) {
                    place.writes.pop_front();
                }
            }
            Input::Request { key, .. } => _ = place.asked.insert(*key, now),
            _ => {}
        }
    }

    /// A node gives a write out.
    pub fn writes(&mut self, master: &Master, now: Time, io: WriteId) {
        self.place(usize::from(master.place), master.run, now).writes.push_back((io, now));
    }

    /// A node reads a part of a snapshot for a peer: it sends nothing else before it has it.
    pub fn reads(
        &mut self,
        ledger: &mut Ledger,
        master: &Master,
        now: Time,
        (peer, at, number): (NodeId, LogPosition, u64),
        timing: &Timing,
    ) {
        let place = self.place(usize::from(master.place), master.run, now);
        place.fed.insert(peer, (now, true));
        // What it lacks is gone from the log.
        place.flow.lost(peer);
        let Some(term) = master.node.as_ref().map(|node| node.raft().term()) else { return };
        let new = Chunk { term, at, number, since: now, reads: 0, answers: 0 };
        let chunk = place.chunks.entry(peer).or_insert_with(|| Chunk { ..new });
        if (chunk.term, chunk.at, chunk.number) != (term, at, number) {
            *chunk = new;
        }
        chunk.reads += 1;
        let pause = timing.election_max.max(CHUNK_PAUSE);
        let pauses = (now.since(chunk.since).as_nanos() / pause.as_nanos().max(1)) as u64;
        let most = CHUNK_READS + chunk.answers + pauses;
        ledger.hold(Rule::ChunkPaused, chunk.reads <= most, || {
            format!(
                "leader {} reads chunk {number} of {at:?} for {peer} {} times in {:?}; {most} are called for",
                master.id,
                chunk.reads,
                now.since(chunk.since)
            )
        });
    }

    /// A node sends a message. `past`: all memberships that were carried out anywhere.
    pub fn sends(
        &mut self,
        ledger: &mut Ledger,
        master: &Master,
        now: Time,
        envelope: &pb::Envelope,
        timing: &Timing,
        past: &[Membership],
    ) {
        let limits = self.limits.get(usize::from(master.place)).copied().unwrap_or_default();
        let place = self.place(usize::from(master.place), master.run, now);
        let Some(body) = &envelope.body else { return };
        let said = Said { master, now, timing, to: NodeId(envelope.to) };
        place.greets_first(ledger, said, body, past);
        if master.fires(Point::ProgressForgotten) > 0 {
            place.flow.forget();
        }
        place.flow.sends(ledger, master.id, now, envelope, (timing, &limits));
        let Some(raft) = master.node.as_ref().map(|node| node.raft()) else { return };
        if let Body::Append(_) | Body::SnapshotChunk(_) = body {
            place.fed.insert(NodeId(envelope.to), (now, matches!(body, Body::SnapshotChunk(_))));
            place.beats.remove(&NodeId(envelope.to));
        }
        match body {
            Body::Append(append) if append.entries.is_empty() => place.sends_nothing(ledger, said),
            Body::PreVote(_) => {
                place.stands(ledger, said);
                place.waits.stands(ledger, said);
            }
            Body::Vote(_) => place.waits.stood(),
            Body::PreVoteReply(reply) if reply.granted => place.grants_pre_vote(ledger, said, raft),
            Body::VoteReply(reply) if !reply.granted => place.refuses_vote(ledger, said, raft),
            _ => {}
        }
    }

    /// After each step of a node.
    pub fn stepped(&mut self, ledger: &mut Ledger, master: &Master, now: Time, timing: &Timing) {
        let place = self.place(usize::from(master.place), master.run, now);
        // A node forgives others what it missed itself, from a heartbeat on.
        let slow = !master.steps.is_empty() || master.busy_until > ledger.time;
        if slow || now.since(place.stepped) > timing.heartbeat * 9 / 8 {
            place.awake_since = now;
        }
        place.stepped = now;
        let Some(raft) = master.node.as_ref().map(|node| node.raft()) else { return };
        let step = Stepped { master, raft, now, timing, late: timing.heartbeat * LATE_HEARTBEATS };
        place.knows_its_leader(ledger, step);
        place.waits_rightly(ledger, step);
        place.hands_over(ledger, step);
        place.leads_when_it_may(ledger, step);
        place.answers_in_time(ledger, step);
        if raft.role() == Role::Leader {
            place.leads_on(ledger, step);
        } else {
            place.leads = None;
        }
    }
}

impl Place {
    fn hands_over(&mut self, ledger: &mut Ledger, Stepped { master, raft, now, timing, late }: Stepped<'_>) {
        let Some(to) = raft.transferring() else {
            self.hands = None;
            return;
        };
        let since = match self.hands {
            Some((before, since)) if before == to => since,
            _ => now,
        };
        self.hands = Some((to, since));
        let takes = now.since(since.max(self.awake_since));
        ledger.hold(Rule::HandsOverSoon, takes <= timing.election_max + late, || {
            format!("leader {} has been handing over to {to} for {takes:?}", master.id)
        });
    }

    fn knows_its_leader(&self, ledger: &mut Ledger, Stepped { master, raft, .. }: Stepped<'_>) {
        let Some((leader, term)) = self.speaks else { return };
        if term != raft.term() || !raft.has_vote() {
            return;
        }
        let knows = raft.role() == Role::Leader || raft.leader() == Some(leader);
        ledger.hold(Rule::LeaderKnown, knows, || {
            format!("node {} hears leader {leader} of term {term}, and knows {:?}", master.id, raft.leader())
        });
    }

    fn answers_in_time(&mut self, ledger: &mut Ledger, step: Stepped<'_>) {
        let Stepped { master, now, timing, late, .. } = step;
        self.asked.retain(|key, _| master.requests.contains_key(key) || master.left.contains(key));
        let Some((key, at)) = self.asked.iter().find(|(key, _)| master.requests.contains_key(key)) else {
            return;
        };
        let waited = now.since((*at).max(self.awake_since));
        ledger.hold(Rule::Answered, waited <= timing.request_timeout + late, || {
            format!(
                "node {}: request {key} waits {waited:?}; {:?} is the most",
                master.id, timing.request_timeout
            )
        });
    }

    fn peer(&mut self, envelope: &pb::Envelope, now: Time) {
        let (from, term) = (NodeId(envelope.from), Term(envelope.term));
        match &envelope.body {
            Some(Body::Hello(_)) => _ = self.greeted.insert(from),
            Some(Body::Append(_) | Body::Heartbeat(_) | Body::SnapshotChunk(_))
                if self.led.is_none_or(|(led, _)| led <= term) =>
            {
                (self.led, self.led_by) = (Some((term, now)), Some(from));
                self.speaks = Some((from, term));
            }
            Some(Body::HeartbeatAnswer(_)) => _ = self.beats.entry(from).or_insert(now),
            Some(Body::Vote(_)) => self.vote_asked = Some((from, term)),
            Some(Body::AppendReply(_) | Body::SnapshotReply(_)) => {
                if let Some(chunk) = self.chunks.get_mut(&from) {
                    chunk.answers += 1;
                }
                // A slow one that is still at appends of before has not come to the last.
                if matches!(&envelope.body, Some(Body::AppendReply(reply)) if !reply.accepted) {
                    self.beats.remove(&from);
                }
            }
            _ => {}
        }
        let acknowledged = match &envelope.body {
            Some(Body::AppendReply(reply)) if reply.accepted => Some(reply.index),
            Some(Body::HeartbeatAnswer(answer)) => Some(answer.verified_index),
            Some(Body::SnapshotReply(reply)) if reply.installed => Some(reply.index),
            _ => None,
        };
        if let Some(index) = acknowledged.map(Index) {
            let most = self.acknowledged.entry((from, term)).or_default();
            *most = index.max(*most);
        }
        self.heard.insert((term, from), now);
    }
}
