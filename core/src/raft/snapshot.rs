//! What a follower does with a leader's snapshot (Raft, section 7), and what a node knows of its own.

use super::{Effect, Raft, message::Message};
use crate::{
    bug::{self, Bug},
    contract::LogPosition,
    mark::{self, Mark},
    point::Point,
    trace::TraceEvent,
    types::NodeId,
};
use bytes::Bytes;

/// A snapshot on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Receiving {
    from: NodeId,
    at: LogPosition,
    /// The chunk that is wanted next.
    next: u64,
    /// It is being stored, or loaded: what comes meanwhile is a repetition.
    busy: bool,
}

impl Raft {
    /// A chunk of the leader's snapshot. Chunks come one after the other; each is asked for by the answer to the one before.
    pub(crate) fn chunk_heard(
        &mut self,
        from: NodeId,
        at: LogPosition,
        number: u64,
        data: Bytes,
        last: bool,
    ) {
        self.hear_leader(from);
        if at.index <= self.hard_state.commit && !bug::planted(Bug::SnapshotOlder) {
            mark::hit(Mark::ChunkNotNeeded);
            self.receiving = None;
            self.promise(from, Message::SnapshotReply { index: at.index, next: 0, installed: true });
            return;
        }
        let same =
            self.receiving.as_ref().is_some_and(|receiving| receiving.at == at && receiving.from == from);
        if number == 0 && !same {
            mark::hit_if(self.receiving.is_some(), Mark::ChunkOfAnother);
            self.receiving = Some(Receiving { from, at, next: 0, busy: false });
        }
        if bug::planted(Bug::SnapshotLogFirst) && number == 0 && !same {
            self.restart_log(at);
        }
        if bug::planted(Bug::SnapshotMixed)
            && let Some(receiving) = &mut self.receiving
        {
            receiving.at = at;
        }
        if bug::planted(Bug::SnapshotOutOfOrder)
            && let Some(receiving) = &mut self.receiving
        {
            receiving.next = number;
        }
        match &mut self.receiving {
            Some(receiving) if receiving.at == at && receiving.next == number && !receiving.busy => {
                receiving.busy = true;
                self.effects.push_back(Effect::StoreSnapshotChunk { at, number, data, last });
            }
            Some(receiving) if receiving.at == at && receiving.busy => mark::hit(Mark::ChunkRepeated),
            Some(Receiving { at: other, next, .. }) if *other == at => {
                mark::hit(Mark::ChunkOutOfOrder);
                let next = *next;
                self.send(from, Message::SnapshotReply { index: at.index, next, installed: false });
            }
            Some(_) | None => {
                mark::hit(Mark::ChunkWithoutBegin);
                self.send(from, Message::SnapshotReply { index: at.index, next: 0, installed: false });
            }
        }
    }

    /// The chunk is stored. `last`: the snapshot is whole, and is loaded.
    pub fn chunk_stored(&mut self, at: LogPosition, number: u64, last: bool) {
        let Some(receiving) =
            self.receiving.as_mut().filter(|receiving| receiving.at == at && receiving.next == number)
        else {
            mark::hit(Mark::ChunkStoredLate);
            return;
        };
        if last {
            self.effects.push_back(Effect::LoadSnapshot { at });
            return;
        }
        mark::hit(Mark::ChunkFollows);
        receiving.busy = false;
        receiving.next = if self.points.fires(Point::SnapshotAnew) { 0 } else { number + 1 };
        let (from, next) = (receiving.from, receiving.next);
        self.send(from, Message::SnapshotReply { index: at.index, next, installed: false });
    }

    /// The chunk could not be stored, and what was is gone. The leader, to whom nobody answers, sends it again after its pause,
    /// and is told to begin anew.
    pub fn chunk_refused(&mut self, at: LogPosition, number: u64) {
        // One that came twice took with it what was stored behind it.
        let again = |receiving: &Receiving| !receiving.busy && number < receiving.next;
        let refused =
            |receiving: &mut Receiving| receiving.at == at && (receiving.next == number || again(receiving));
        if bug::planted(Bug::SnapshotRefusalUnheard) || self.receiving.take_if(refused).is_none() {
            return;
        }
        mark::hit(Mark::ChunkRefused);
    }

    /// The snapshot is loaded. True: the log begins behind it, and the caller swaps its state.
    pub fn snapshot_loaded(&mut self, at: LogPosition, whole: bool) -> bool {
        let Some(receiving) = self.receiving.take_if(|receiving| receiving.at == at) else {
            mark::hit(Mark::SnapshotLoadedLate);
            return false;
        };
        mark::hit_if(!whole, Mark::SnapshotDamaged);
        if !whole || (at.index <= self.hard_state.commit && !bug::planted(Bug::SnapshotOlder)) {
            let installed = at.index <= self.hard_state.commit;
            let answer = Message::SnapshotReply { index: at.index, next: 0, installed };
            mark::hit_if(installed && whole, Mark::SnapshotOvertakenLoading);
            if installed && !bug::planted(Bug::SnapshotAckUnsynced) {
                // By entries that came meanwhile, whose writes may be on their way.
                self.promise(receiving.from, answer);
            } else {
                self.send(receiving.from, answer);
            }
            return false;
        }
        if self.log.holds(at) {
            mark::hit(Mark::SnapshotKeepsLog);
            self.log.start_at(at);
            self.durability.release(at);
            self.hard_state.commit = at.index;
            self.verified = self.verified.max(at.index);
        } else {
            mark::hit(Mark::SnapshotDropsLog);
            // Whatever was verified behind it is gone with the log.
            self.restart_log(at);
            self.verified = at.index;
        }
        self.snapshot = Some(at);
        self.trace(TraceEvent::SnapshotInstalled { index: at.index });
        self.promise(receiving.from, Message::SnapshotReply { index: at.index, next: 0, installed: true });
        true
    }

    /// This node's own snapshot is on the disk.
    pub fn snapshot_saved(&mut self, at: LogPosition) {
        mark::hit_if(self.snapshot.is_some_and(|newest| newest.index > at.index), Mark::SnapshotOvertaken);
        if self.snapshot.is_none_or(|newest| newest.index < at.index) {
            self.snapshot = Some(at);
        }
    }

    /// The chunk of a leader's snapshot that is being stored, or, if it is the last, loaded: others are not taken meanwhile.
    #[must_use]
    pub fn storing(&self) -> Option<(LogPosition, u64)> {
        let busy = self.receiving.as_ref().filter(|receiving| receiving.busy);
        busy.map(|receiving| (receiving.at, receiving.next))
    }

    /// The newest snapshot on this node's disk.
    #[must_use]
    pub const fn snapshot(&self) -> Option<LogPosition> {
        self.snapshot
    }
}
