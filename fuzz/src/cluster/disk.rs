//! A master's disk: what is durable, what is on its way, and what no node may ever ask of it.

use bytes::Bytes;
use quorate_core::{
    contract::{Entry, HardState, LogPosition, Recovered, Snapshot, Voters, Write},
    state::State,
    types::{Index, NodeId, Term},
};
use std::collections::VecDeque;

/// Snapshots kept, as on a real disk.
const SNAPSHOTS: usize = quorate_core::limits::SNAPSHOTS_KEPT;
/// Snapshots are cut into pieces of this many bytes, so that small states travel in several.
const PIECE: usize = 400;

type Pieces = Vec<Bytes>;

/// One data directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    voters: Voters,
    start: LogPosition,
    entries: VecDeque<Entry>,
    snapshots: Vec<(LogPosition, Pieces)>,
    receiving: Option<(LogPosition, Pieces)>,
    /// Asked for, and not durable yet.
    pub(crate) pending: VecDeque<Write>,
}

impl Disk {
    /// The last durable place.
    pub(crate) fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.start, Entry::position)
    }

    /// The durable term at an index; of those before the start it is not known any more.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        let offset = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.term)
    }

    /// Whether it holds this entry, in its log or in a snapshot.
    pub(crate) fn holds(&self, at: LogPosition) -> bool {
        at.index <= self.start.index || self.term_at(at.index) == Some(at.term)
    }

    /// Makes the oldest write durable, and gives it back.
    ///
    /// # Errors
    /// What real storage would refuse.
    pub(crate) fn complete(&mut self) -> Result<Option<Write>, String> {
        let Some(write) = self.pending.pop_front() else { return Ok(None) };
        self.start_at(write.start)?;
        self.add(&write.entries)?;
        if let Some(hard_state) = write.hard_state {
            if hard_state.term < self.hard_state.term {
                return Err(format!("the term goes back: {:?} after {:?}", hard_state, self.hard_state));
            }
            let other_vote = self.hard_state.vote.is_some() && hard_state.vote != self.hard_state.vote;
            if hard_state.term == self.hard_state.term && other_vote {
                return Err(format!("two votes in one term: {hard_state:?} after {:?}", self.hard_state));
            }
            if hard_state.commit > self.last().index {
                return Err(format!("{hard_state:?}, but the log ends at {:?}", self.last()));
            }
            self.hard_state = hard_state;
        }
        if let Some(voters) = &write.voters {
            self.voters.clone_from(voters);
        }
        Ok(Some(write))
    }

    fn start_at(&mut self, start: Option<LogPosition>) -> Result<(), String> {
        let Some(at) = start else { return Ok(()) };
        if at.index < self.start.index {
            return Err(format!("the log's start goes back from {:?} to {at:?}", self.start));
        }
        if self.newest().map_or(Index(0), |newest| newest.index) < at.index {
            return Err(format!("the log begins behind {at:?}, and no snapshot covers it"));
        }
        if self.term_at(at.index) == Some(at.term) {
            while self.entries.front().is_some_and(|entry| entry.index <= at.index) {
                self.entries.pop_front();
            }
        } else {
            self.entries.clear();
        }
        self.start = at;
        Ok(())
    }

    fn add(&mut self, entries: &[Entry]) -> Result<(), String> {
        let Some(first) = entries.first() else { return Ok(()) };
        let (start, last) = (self.start.index, self.last().index);
        if first.index <= start || first.index > last.next() {
            return Err(format!("entry {} in a log from {start} to {last}", first.index));
        }
        while self.entries.back().is_some_and(|entry| entry.index >= first.index) {
            self.entries.pop_back();
        }
        for entry in entries {
            let last = self.last();
            if entry.index != last.index.next() || entry.term < last.term {
                return Err(format!("entry {:?} behind {last:?}", entry.position()));
            }
            self.entries.push_back(entry.clone());
        }
        Ok(())
    }

    fn newest(&self) -> Option<LogPosition> {
        self.snapshots.last().map(|(at, _)| *at)
    }

    fn publish(&mut self, at: LogPosition, pieces: Pieces) {
        self.snapshots.retain(|(known, _)| *known != at);
        self.snapshots.push((at, pieces));
        self.snapshots.sort_by_key(|(at, _)| (at.index, at.term));
        let old = self.snapshots.len().saturating_sub(SNAPSHOTS);
        self.snapshots.drain(..old);
    }

    /// Writes a state aside, and gives it its name.
    pub(crate) fn save(&mut self, snapshot: &Snapshot) {
        let pieces = snapshot.state.encode().flat_map(|chunk| {
            let count = chunk.len().div_ceil(PIECE);
            (0..count).map(move |piece| chunk.slice(piece * PIECE..((piece + 1) * PIECE).min(chunk.len())))
        });
        self.publish(snapshot.at, pieces.collect());
    }

    /// Takes a piece of a peer's snapshot.
    ///
    /// # Errors
    /// It is not the next one.
    pub(crate) fn store(
        &mut self,
        at: LogPosition,
        number: u64,
        data: Bytes,
        last: bool,
    ) -> Result<(), String> {
        if number == 0 {
            self.receiving = Some((at, Pieces::new()));
        }
        let receiving =
            self.receiving.as_mut().filter(|(of, pieces)| *of == at && pieces.len() as u64 == number);
        let Some((_, pieces)) = receiving else {
            return Err(format!("chunk {number} of {at:?} is out of order"));
        };
        pieces.push(data);
        if last && let Some((at, pieces)) = self.receiving.take() {
            self.publish(at, pieces);
        }
        Ok(())
    }

    /// A piece of a snapshot, and whether it is the last.
    pub(crate) fn piece(&self, at: LogPosition, number: u64) -> Option<(Bytes, bool)> {
        let (_, pieces) = self.snapshots.iter().find(|(known, _)| *known == at)?;
        let number = usize::try_from(number).ok()?;
        pieces.get(number).map(|piece| (piece.clone(), number + 1 == pieces.len()))
    }

    /// The state in a snapshot.
    pub(crate) fn load(&self, at: LogPosition) -> Option<State> {
        let (_, pieces) = self.snapshots.iter().find(|(known, _)| *known == at)?;
        State::decode(pieces.iter().cloned()).ok()
    }

    /// The process is gone: what was on its way is lost.
    pub(crate) fn crash(&mut self) {
        self.pending.clear();
        self.receiving = None;
    }

    /// What a node starts from.
    pub(crate) fn recovered(&self) -> Recovered {
        let snapshot = self.newest().and_then(|at| Some(Snapshot { at, state: self.load(at)? }));
        Recovered {
            hard_state: self.hard_state,
            voters: self.voters.clone(),
            start: self.start,
            entries: self.entries.iter().cloned().collect(),
            snapshot,
        }
    }

    /// Whether a vote is on the disk.
    pub(crate) fn voted(&self, term: Term, candidate: NodeId) -> bool {
        let HardState { term: durable, vote, .. } = self.hard_state;
        durable > term || (durable == term && vote == Some(candidate))
    }
}
