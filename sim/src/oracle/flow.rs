//! What a leader sends of its log: what is on its way is not sent once more before its time, and is no more than it may be.

use super::{Ledger, Rule};
use quorate_core::{
    contract::{Flow as Limits, Timing},
    types::{Index, NodeId, Term, Time},
};
use quorate_proto::v1::{self as pb, envelope::Body};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Heartbeats after which what was not acknowledged is sent again.
pub(super) const REPEAT_HEARTBEATS: u32 = 3;

/// So often, what a leader sends again is put down to an answer that it takes otherwise than this rule does: on a slow
/// processor, answers and deadlines meet in either order.
const FORGIVEN: u32 = 2;

/// What one leader has sent one peer.
#[derive(Clone, Debug)]
struct Sent {
    term: Term,
    /// One append at a time, until one is acknowledged.
    probing: bool,
    /// The highest entry that was sent since it had to begin anew.
    high: Index,
    /// The highest entry that was ever sent.
    top: Index,
    /// It is known what is on its way. A refusal may be an old one, which the leader passes over.
    sure: bool,
    /// The most that was acknowledged.
    acknowledged: Index,
    /// How often it sent what was on its way.
    again: u32,
    /// When the peer last acknowledged more, or the first of what is on its way was sent.
    since: Time,
    /// What is on its way at least: the last entry of each append, and its bytes.
    way: VecDeque<(Index, usize)>,
}

impl Sent {
    const fn new(term: Term, now: Time) -> Self {
        let (high, top, acknowledged) = (Index(0), Index(0), Index(0));
        let way = VecDeque::new();
        Self { term, probing: true, high, top, sure: true, acknowledged, again: 0, since: now, way }
    }

    fn begin_anew(&mut self) {
        (self.probing, self.sure, self.high) = (true, false, Index(0));
        self.way.clear();
    }

    /// An append with entries leaves, and is the last that the limits allow, or not even that.
    fn on_its_way(&mut self, append: &pb::AppendRequest, limits: &Limits) -> Result<(), String> {
        let Some(last) = append.entries.last() else { return Ok(()) };
        let (messages, bytes) = (self.way.len(), self.way.iter().map(|(_, bytes)| bytes).sum::<usize>());
        let own = append.entries.iter().map(|entry| entry.data.len()).sum();
        self.way.push_back((Index(last.index), own));
        let Limits { inflight_messages, inflight_bytes, .. } = *limits;
        if messages < inflight_messages && bytes < inflight_bytes {
            return Ok(());
        }
        Err(format!(
            "{messages} appends with {bytes} bytes are on their way already; {inflight_messages} appends may be, and others \
             follow up to {inflight_bytes} bytes"
        ))
    }

    /// The peer holds everything up to this.
    fn acknowledge(&mut self, index: Index, now: Time) {
        if self.probing {
            // It goes on right behind what is acknowledged, whatever was tried before.
            (self.probing, self.high) = (false, Index(0));
            self.way.clear();
        }
        while self.way.front().is_some_and(|(last, _)| *last <= index) {
            self.way.pop_front();
        }
        if index > self.acknowledged {
            (self.acknowledged, self.since) = (index, now);
        }
        // Nothing is on its way.
        self.sure |= self.acknowledged >= self.top;
    }
}

/// What one run of a node has sent.
#[derive(Default)]
pub(super) struct Flow {
    peers: BTreeMap<NodeId, Sent>,
    /// The chunk that each peer wanted last, of which snapshot, in which term.
    wanted: BTreeMap<NodeId, (Term, Index, u64)>,
    /// Peers of which everything was forgotten, and that were sent no chunk since: what they answer is about an older one.
    anew: BTreeSet<NodeId>,
    /// Its peers have changed in this step or batch: what it sent before is forgotten, and what it sends is of before or of
    /// after that.
    changes: bool,
    /// More inputs follow in this batch.
    fed: bool,
}

impl Flow {
    /// The node takes an input; `fed`: others follow in the same batch.
    pub(super) const fn takes(&mut self, fed: bool) {
        self.changes &= self.fed;
        self.fed = fed;
    }

    /// A peer's message, as the node takes it.
    pub(super) fn hears(&mut self, envelope: &pb::Envelope, now: Time) {
        self.hears_of_snapshot(envelope);
        let Some(sent) = self.peers.get_mut(&NodeId(envelope.from)) else { return };
        if sent.term != Term(envelope.term) {
            return;
        }
        match &envelope.body {
            Some(Body::AppendReply(reply)) if reply.accepted => sent.acknowledge(Index(reply.index), now),
            Some(Body::HeartbeatAnswer(answer)) => {
                let verified = Index(answer.verified_index);
                if verified > sent.acknowledged {
                    sent.acknowledge(verified, now);
                } else if verified < sent.acknowledged && sent.acknowledged >= sent.high {
                    sent.begin_anew();
                }
            }
            Some(Body::AppendReply(reply)) if Index(reply.index) <= sent.acknowledged => {}
            Some(Body::SnapshotReply(reply)) => {
                if reply.installed {
                    sent.acknowledged = sent.acknowledged.max(Index(reply.index));
                }
                sent.begin_anew();
            }
            Some(Body::AppendReply(_)) => sent.begin_anew(),
            _ => {}
        }
    }

    fn hears_of_snapshot(&mut self, envelope: &pb::Envelope) {
        let (from, term) = (NodeId(envelope.from), Term(envelope.term));
        match &envelope.body {
            Some(Body::SnapshotReply(_)) if self.anew.contains(&from) => {}
            Some(Body::SnapshotReply(reply)) if !reply.installed => {
                self.wanted.insert(from, (term, Index(reply.index), reply.next_number));
            }
            // Whatever it acknowledges, the next transfer may be another one, from its begin.
            Some(Body::SnapshotReply(_) | Body::AppendReply(_)) => _ = self.wanted.remove(&from),
            Some(Body::HeartbeatAnswer(answer)) => {
                self.wanted.retain(|peer, (_, at, _)| *peer != from || answer.verified_index < at.0);
            }
            _ => {}
        }
    }

    /// A leader sends a part of a snapshot.
    fn sends_chunk(
        &mut self,
        ledger: &mut Ledger,
        from: NodeId,
        to: NodeId,
        term: Term,
        chunk: &pb::SnapshotChunk,
    ) {
        self.anew.remove(&to);
        let wanted = self.wanted.get(&to).filter(|(of, at, _)| (*of, at.0) == (term, chunk.index));
        ledger.hold(Rule::ChunkWanted, wanted.is_none_or(|(.., number)| *number == chunk.number), || {
            format!(
                "leader {from} of term {term} sends {to} chunk {} of snapshot {}; {to} wants {wanted:?}",
                chunk.number, chunk.index
            )
        });
    }

    /// Some peers have other directories, or are new: whatever was heard of snapshots, and what the old ones held, holds no more.
    pub(super) fn begin_anew(&mut self) {
        self.forget();
        self.peers.values_mut().for_each(|sent| sent.acknowledged = Index(0));
        self.changes = true;
        self.anew.extend(core::mem::take(&mut self.wanted).into_keys().chain(self.peers.keys().copied()));
    }

    /// It is not known any more what is on its way to anybody: a fault makes the leader forget it.
    pub(super) fn forget(&mut self) {
        self.peers.values_mut().for_each(Sent::begin_anew);
    }

    /// What is on its way to the peer does not reach it, or is of no use to it: it begins anew.
    pub(super) fn lost(&mut self, peer: NodeId) {
        if let Some(sent) = self.peers.get_mut(&peer) {
            sent.begin_anew();
        }
    }

    /// A leader sends a message.
    pub(super) fn sends(
        &mut self,
        ledger: &mut Ledger,
        from: NodeId,
        now: Time,
        envelope: &pb::Envelope,
        (timing, limits): (&Timing, &Limits),
    ) {
        let (to, term) = (NodeId(envelope.to), Term(envelope.term));
        if let Some(Body::SnapshotChunk(chunk)) = &envelope.body {
            self.sends_chunk(ledger, from, to, term, chunk);
        }
        let Some(Body::Append(append)) = &envelope.body else { return };
        let sent = self.peers.entry(to).or_insert_with(|| Sent::new(term, now));
        if sent.term != term {
            *sent = Sent::new(term, now);
        }
        // One without entries asks where the logs agree: it stands for what comes behind.
        let before = Index(append.prev_index);
        let (first, last) = (before.next(), append.entries.last().map_or(before, |entry| Index(entry.index)));
        let waited = now.since(sent.since);
        let late = sent.probing || waited > timing.heartbeat * REPEAT_HEARTBEATS;
        let again = first <= sent.high;
        sent.again += u32::from(sent.sure && again && !late);
        ledger.hold(Rule::SentOnce, sent.again <= FORGIVEN, || {
            format!(
                "leader {from} of term {term} sends {to} entries {first} to {last}; it sent them up to {} already, and heard \
                 of {} {waited:?} ago",
                sent.high, sent.acknowledged
            )
        });
        if again || sent.acknowledged >= sent.high {
            sent.since = now;
        }
        if again || self.changes {
            sent.way.clear();
        }
        let room = sent.on_its_way(append, limits);
        ledger.hold(Rule::InflightBounded, room.is_ok(), || {
            let why = room.err().unwrap_or_default();
            format!("leader {from} of term {term} sends {to} entries {first} to {last}; {why}")
        });
        // What timed out begins anew with one at a time.
        sent.probing |= again;
        sent.high = last;
        sent.top = sent.top.max(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const MILLISECOND: u64 = 1_000_000;

    fn envelope(from: u64, to: u64, body: Body) -> pb::Envelope {
        pb::Envelope { from, to, term: 2, body: Some(body), ..pb::Envelope::default() }
    }

    fn append(first: u64, last: u64) -> pb::Envelope {
        let entries = (first..=last).map(|index| pb::LogEntry { index, ..pb::LogEntry::default() }).collect();
        let prev_index = first - 1;
        envelope(
            1,
            2,
            Body::Append(pb::AppendRequest { prev_index, entries, ..pb::AppendRequest::default() }),
        )
    }

    fn accepted(index: u64) -> pb::Envelope {
        envelope(2, 1, Body::AppendReply(pb::AppendReply { accepted: true, index, ..Default::default() }))
    }

    fn verified(verified_index: u64) -> pb::Envelope {
        envelope(2, 1, Body::HeartbeatAnswer(pb::HeartbeatAnswer { verified_index, ..Default::default() }))
    }

    struct World {
        flow: Flow,
        ledger: Ledger,
        timing: Timing,
        limits: Limits,
    }

    impl World {
        /// A leader whose first append was acknowledged.
        fn new() -> Self {
            let timing = Timing { heartbeat: Duration::from_millis(50), ..Timing::default() };
            let limits = Limits { inflight_messages: 3, inflight_bytes: 100, ..Limits::default() };
            let mut world = Self { flow: Flow::default(), ledger: Ledger::default(), timing, limits };
            world.sends(0, &append(5, 5)).sends(50, &append(5, 5)).hears(60, &accepted(5));
            world
        }

        fn sends(&mut self, ms: u64, message: &pb::Envelope) -> &mut Self {
            let now = Time(ms * MILLISECOND);
            self.flow.sends(&mut self.ledger, NodeId(1), now, message, (&self.timing, &self.limits));
            self
        }

        fn hears(&mut self, ms: u64, message: &pb::Envelope) -> &mut Self {
            self.flow.hears(message, Time(ms * MILLISECOND));
            self
        }

        /// How often it sent what was on its way.
        fn again(&self) -> u32 {
            self.flow.peers[&NodeId(2)].again
        }

        fn is_clean(&self) -> bool {
            self.ledger.violation.is_none()
        }
    }

    #[test]
    fn what_is_on_its_way_is_sent_again_only_after_its_time() {
        assert_eq!(World::new().sends(70, &append(6, 7)).sends(80, &append(8, 8)).again(), 0);
        assert_eq!(World::new().sends(70, &append(6, 7)).sends(80, &append(7, 8)).again(), 1);
        assert_eq!(World::new().sends(70, &append(6, 7)).sends(220, &append(6, 7)).again(), 1);
        assert_eq!(World::new().sends(70, &append(6, 7)).sends(221, &append(6, 7)).again(), 0);
        let mut moved = World::new();
        moved.sends(70, &append(6, 7)).hears(200, &accepted(6)).sends(221, &append(7, 7));
        assert_eq!(moved.again(), 1);
    }

    #[test]
    fn who_sends_it_again_and_again_is_not_forgiven() {
        let mut world = World::new();
        for number in 0..=u64::from(FORGIVEN) {
            assert!(world.is_clean());
            let (ms, index) = (100 + 100 * number, 6 + number);
            world.sends(ms, &append(index, index)).sends(ms + 50, &append(index, index));
            world.hears(ms + 60, &accepted(index));
        }
        assert!(!world.is_clean());
    }

    #[test]
    fn no_more_is_on_its_way_than_may_be() {
        let mut full = World::new();
        full.sends(70, &append(6, 6)).sends(71, &append(7, 8)).sends(72, &append(9, 9));
        assert!(full.is_clean());
        let one_more = |world: &mut World| world.sends(74, &append(10, 10)).is_clean();
        full.hears(73, &accepted(8));
        assert!(one_more(&mut full) && full.sends(75, &append(11, 11)).is_clean());
        assert!(!full.sends(76, &append(12, 12)).is_clean());
        let mut large = append(6, 6);
        if let Some(Body::Append(append)) = &mut large.body {
            append.entries[0].data = vec![0; 100].into();
        }
        assert!(World::new().sends(70, &append(6, 6)).sends(71, &append(7, 7)).is_clean());
        assert!(!World::new().sends(70, &large).sends(71, &append(7, 7)).is_clean());
        // An append without entries is none of them.
        assert!(World::new().sends(70, &large).sends(71, &append(7, 6)).is_clean());
    }

    #[test]
    fn what_a_directory_held_says_nothing_of_the_one_in_its_place() {
        let mut world = World::new();
        world.sends(70, &append(6, 9)).hears(75, &accepted(9));
        world.flow.begin_anew();
        world.flow.takes(false);
        world.sends(80, &append(1, 1)).hears(85, &accepted(1));
        world
            .sends(90, &append(2, 2))
            .sends(91, &append(3, 3))
            .sends(92, &append(4, 4))
            .hears(95, &verified(3));
        assert!(world.sends(96, &append(5, 5)).sends(97, &append(6, 6)).is_clean());
        assert!(!world.sends(98, &append(7, 7)).is_clean());
    }

    #[test]
    fn a_chunk_is_the_one_that_was_wanted_last() {
        let reply = |next_number| {
            let reply = pb::SnapshotReply { index: 9, next_number, installed: false };
            envelope(2, 1, Body::SnapshotReply(reply))
        };
        let chunk = |number| {
            let chunk = pb::SnapshotChunk { index: 9, number, ..pb::SnapshotChunk::default() };
            envelope(1, 2, Body::SnapshotChunk(chunk))
        };
        assert!(World::new().sends(70, &chunk(0)).hears(80, &reply(1)).sends(90, &chunk(1)).is_clean());
        assert!(!World::new().hears(80, &reply(0)).hears(85, &reply(3)).sends(90, &chunk(0)).is_clean());
        assert!(World::new().hears(80, &reply(3)).hears(85, &verified(9)).sends(90, &chunk(0)).is_clean());
    }

    #[test]
    fn a_refusal_and_a_peer_that_forgot_begin_anew() {
        let refused = envelope(2, 1, Body::AppendReply(pb::AppendReply { index: 7, ..Default::default() }));
        let sent = |answer: &pb::Envelope, message: &pb::Envelope| {
            World::new().sends(70, &append(6, 7)).hears(75, answer).sends(80, message).again()
        };
        assert_eq!(sent(&refused, &append(4, 7)), 0);
        assert_eq!(World::new().hears(75, &verified(0)).sends(80, &append(3, 5)).again(), 0);
        // Its answer to what is on its way will tell.
        assert_eq!(sent(&verified(0), &append(6, 7)), 1);
    }
}
