//! A master's disk at the level of records: what is durable, and the writes that are not yet. A crash leaves a prefix of
//! those; a power loss may tear one of them.

use bytes::Bytes;
use quorate_core::{
    contract::{Entry, HardState, LogPosition, Recovered, Snapshot, Voters, Write},
    state::State,
    types::{Index, Term, WriteId},
};
use std::collections::{BTreeSet, VecDeque};

/// A snapshot is cut into about so many chunks here, so that small states take more than one.
const CHUNKS: usize = 12;
/// No chunk is cut smaller.
const CHUNK_BYTES: usize = 256;

/// A snapshot as it is on the disk.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// The last entry that it covers.
    pub at: LogPosition,
    /// Its chunks.
    pub chunks: Vec<Bytes>,
}

/// What is durable.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// The newest.
    pub hard_state: HardState,
    /// The newest.
    pub voters: Voters,
    /// The place before the first entry.
    pub start: LogPosition,
    /// Without gaps.
    pub entries: VecDeque<Entry>,
    /// The newest whole one.
    pub snapshot: Option<StoredSnapshot>,
    /// One that is older than it: a peer may still be reading it.
    pub older: Option<StoredSnapshot>,
    /// Entries that are not what was written, until the log begins behind them.
    pub damaged: BTreeSet<Index>,
    /// The snapshot that is not what was written.
    pub damaged_snapshot: Option<LogPosition>,
}

impl Image {
    /// What checksums find when the directory is opened, and nothing stands in for: its start is refused then, as the real
    /// storage refuses it.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        if let Some(index) = self.damaged.first() {
            return Some(format!("the log is damaged at entry {index}"));
        }
        let snapshot = self.damaged_snapshot?;
        let held = match self.whole() {
            Some(older) => self.start.index <= older.at.index && self.holds(older.at),
            None => self.start == LogPosition::default(),
        };
        (!held).then(|| format!("snapshot {snapshot:?} is damaged"))
    }

    /// The newest snapshot that is not damaged.
    #[must_use]
    pub fn whole(&self) -> Option<&StoredSnapshot> {
        let mut all = self.snapshot.iter().chain(&self.older);
        all.find(|stored| self.damaged_snapshot != Some(stored.at))
    }

    /// Whether anything in it is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.damaged.is_empty() || self.damaged_snapshot.is_some()
    }

    /// Flips a bit of a stored entry that is not among the last ones written: damage to the last batch cannot be told
    /// from a write that was cut off. Whether there was one.
    pub fn rot_entry(&mut self, luck: u64) -> Option<Index> {
        let old = self.entries.len().checked_sub(Self::LAST_BATCH)?;
        let place = usize::try_from(luck % old.max(1) as u64).ok().filter(|_| old > 0)?;
        let entry = self.entries.get_mut(place)?;
        entry.data = flipped(&entry.data, luck);
        self.damaged.insert(entry.index);
        Some(entry.index)
    }

    /// Flips a bit of the stored snapshot. Whether there was one.
    pub fn rot_snapshot(&mut self, luck: u64) -> Option<LogPosition> {
        let stored = self.snapshot.as_mut()?;
        let place = usize::try_from(luck % stored.chunks.len().max(1) as u64).ok()?;
        let chunk = stored.chunks.get_mut(place)?;
        *chunk = flipped(chunk, luck >> 8);
        self.damaged_snapshot = Some(stored.at);
        Some(stored.at)
    }

    /// Entries that may be in the last batch.
    const LAST_BATCH: usize = 32;

    /// The last entry, or the place before the first.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.start, Entry::position)
    }

    /// The term of an entry, or of the place before the first.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        let place = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?).map(|entry| entry.term)
    }

    /// Whether this entry is in the log, or was covered by what the log begins with.
    #[must_use]
    pub fn holds(&self, at: LogPosition) -> bool {
        at.index <= self.start.index || self.term_at(at.index) == Some(at.term)
    }

    /// Carries out a write.
    ///
    /// # Errors
    /// Entries that do not follow on the log.
    pub fn apply(&mut self, write: &Write) -> Result<(), String> {
        self.apply_parts(write, usize::MAX)
    }

    /// Carries out the first parts of a write: all but its entries, which drops those they replace, and then these one by one.
    ///
    /// # Errors
    /// Entries that do not follow on the log.
    pub fn apply_parts(&mut self, write: &Write, parts: usize) -> Result<(), String> {
        let Some(most) = parts.checked_sub(1) else { return Ok(()) };
        if let Some(start) = write.start {
            self.begin_at(start);
        }
        if let Some(first) = write.entries.first() {
            self.drop_from(first.index).map_err(|error| format!("write {}: {error}", write.io))?;
        }
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(voters) = &write.voters {
            self.voters.clone_from(voters);
        }
        for entry in write.entries.iter().take(most) {
            let last = self.last().index;
            if entry.index != last.next() {
                return Err(format!("write {}: entry {} follows {last}", write.io, entry.index));
            }
            self.entries.push_back(entry.clone());
        }
        Ok(())
    }

    fn drop_from(&mut self, first: Index) -> Result<(), String> {
        let keep = first.0.checked_sub(self.start.index.0 + 1).and_then(|keep| usize::try_from(keep).ok());
        let Some(keep) = keep.filter(|&keep| keep <= self.entries.len()) else {
            let (start, last) = (self.start.index.next(), self.last().index);
            return Err(format!("it begins with entry {first}, but the log holds {start} to {last}"));
        };
        self.entries.truncate(keep);
        Ok(())
    }

    fn begin_at(&mut self, start: LogPosition) {
        if start.index < self.start.index {
            return;
        }
        if self.term_at(start.index) == Some(start.term) {
            let gone = usize::try_from(start.index.0 - self.start.index.0).unwrap_or(usize::MAX);
            self.entries.drain(..gone.min(self.entries.len()));
        } else {
            self.entries.clear();
        }
        self.start = start;
        self.damaged = self.damaged.split_off(&start.index.next());
    }

    /// What a node finds when it starts: the newest snapshot that is whole, and the log.
    ///
    /// # Errors
    /// A snapshot that does not decode.
    pub fn recover(&self) -> Result<Recovered, String> {
        let snapshot = match self.whole() {
            Some(stored) => Some(Snapshot { at: stored.at, state: decode(&stored.chunks)? }),
            None => None,
        };
        Ok(Recovered {
            hard_state: self.hard_state,
            voters: self.voters.clone(),
            start: self.start,
            entries: self.entries.iter().cloned().collect(),
            snapshot,
        })
    }

    /// Takes a whole snapshot, and keeps as many as the real storage does: the newest, and one that is older.
    pub fn store(&mut self, mut snapshot: StoredSnapshot) {
        let size = snapshot.chunks.iter().map(Bytes::len).sum::<usize>().div_ceil(CHUNKS).max(CHUNK_BYTES);
        let pieces = |chunk: &Bytes| {
            let starts = (0..chunk.len()).step_by(size);
            starts.map(|from| chunk.slice(from..chunk.len().min(from + size))).collect::<Vec<_>>()
        };
        snapshot.chunks = snapshot.chunks.iter().flat_map(pieces).collect();
        let whole = self.whole().cloned();
        match whole {
            Some(newest) if newest.at.index > snapshot.at.index => {
                // Beside a damaged one there is room for no third here; nobody waits for one that is overtaken.
                if self.damaged_snapshot.is_none() {
                    self.older = Some(snapshot);
                }
            }
            newest => {
                self.older = newest.filter(|old| old.at != snapshot.at);
                self.damaged_snapshot = None;
                self.snapshot = Some(snapshot);
            }
        }
    }

    /// The snapshot at this place, if it can be read.
    #[must_use]
    pub fn readable(&self, at: LogPosition) -> Option<&StoredSnapshot> {
        let all = self.snapshot.iter().chain(&self.older);
        all.into_iter().find(|stored| stored.at == at && self.damaged_snapshot != Some(at))
    }

    /// The state of the snapshot at this place.
    ///
    /// # Errors
    /// It is not there, or does not decode.
    pub fn load(&self, at: LogPosition) -> Result<State, String> {
        let stored = self.readable(at).ok_or_else(|| format!("the disk holds no snapshot at {at:?}"))?;
        decode(&stored.chunks)
    }
}

fn decode(chunks: &[Bytes]) -> Result<State, String> {
    State::decode(chunks.iter().cloned()).map_err(|error| error.to_string())
}

/// One bit is not what it was.
fn flipped(bytes: &Bytes, luck: u64) -> Bytes {
    let mut changed = bytes.to_vec();
    let length = changed.len().max(1) as u64;
    if let Some(byte) = usize::try_from(luck % length).ok().and_then(|place| changed.get_mut(place)) {
        *byte ^= 1 << (luck / length % 8);
    }
    Bytes::from(changed)
}

/// What came onto a disk.
#[derive(Clone, Debug)]
pub enum Stored {
    /// A write.
    Write(Write),
    /// A whole snapshot.
    Snapshot(StoredSnapshot),
}

/// A disk that says that it has synced, and has not.
#[derive(Clone, Debug)]
pub struct Lie {
    /// What is really durable.
    pub durable: Image,
    /// What it only says it has, in order.
    pub said: Vec<Stored>,
}

/// A disk: what is durable, what waits, what is written aside.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What is durable.
    pub image: Image,
    /// In order.
    pub waiting: VecDeque<Write>,
    /// When the last write that waits is done.
    pub busy_until: u64,
    /// Chunks of a peer's snapshot that is not whole yet.
    pub aside: Option<StoredSnapshot>,
    /// The next sync fails.
    pub failing: bool,
    /// It lies.
    pub lie: Option<Lie>,
    /// Writes so far: the counter of its draws.
    pub writes: u64,
}

impl Disk {
    /// The writes up to this one are on the disk. Gives each to `each` before it is carried out.
    ///
    /// # Errors
    /// See [`Image::apply`].
    pub fn done(&mut self, io: WriteId, mut each: impl FnMut(&Write)) -> Result<(), String> {
        while self.waiting.front().is_some_and(|write| write.io <= io) {
            let Some(write) = self.waiting.pop_front() else { break };
            each(&write);
            self.image.apply(&write)?;
            if let Some(lie) = &mut self.lie {
                lie.said.push(Stored::Write(write));
            }
        }
        Ok(())
    }

    /// Takes a whole snapshot, unless a newer one is there.
    pub fn store(&mut self, snapshot: StoredSnapshot) {
        if let Some(lie) = &mut self.lie {
            lie.said.push(Stored::Snapshot(snapshot.clone()));
        }
        self.image.store(snapshot);
    }

    /// From now on it only says that it has synced.
    pub fn begin_lie(&mut self) {
        if self.lie.is_none() {
            self.lie = Some(Lie { durable: self.image.clone(), said: Vec::new() });
        }
    }

    /// What is left if the power goes: what was durable before it lied, and the first `kept` of what it said since.
    ///
    /// # Errors
    /// See [`Image::apply`].
    pub fn after_lie(&self, kept: usize) -> Result<Option<Image>, String> {
        let Some(lie) = &self.lie else { return Ok(None) };
        let mut image = lie.durable.clone();
        for stored in lie.said.iter().take(kept) {
            match stored {
                Stored::Write(write) => image.apply(write)?,
                Stored::Snapshot(snapshot) => image.store(snapshot.clone()),
            }
        }
        Ok(Some(image))
    }

    /// The process ends. `survivors` writes are on the disk, and `parts` parts of the next.
    ///
    /// # Errors
    /// See [`Image::apply`].
    pub fn crash(
        &mut self,
        survivors: usize,
        parts: usize,
        mut each: impl FnMut(&Write),
    ) -> Result<(), String> {
        self.aside = None;
        self.busy_until = 0;
        self.failing = false;
        for (number, write) in core::mem::take(&mut self.waiting).iter().enumerate() {
            if number < survivors {
                each(write);
                self.image.apply(write)?;
                if let Some(lie) = &mut self.lie {
                    lie.said.push(Stored::Write(write.clone()));
                }
            } else {
                if parts > 0 {
                    each(write);
                }
                self.image.apply_parts(write, parts)?;
                break;
            }
        }
        Ok(())
    }

    /// The number of parts of the write that would be torn.
    #[must_use]
    pub fn parts(&self, survivors: usize) -> usize {
        self.waiting.get(survivors).map_or(0, |write| write.entries.len() + 1)
    }
}

#[cfg(test)]
mod tests;
