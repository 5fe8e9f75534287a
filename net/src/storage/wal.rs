//! Writing the log.

use super::{
    disk::{Disk, remove_if_there},
    error::{OpenError, StorageError},
    identity::{self, Identity},
    recovery::{KeptSegment, LogContent, Recovery, checked, recover},
    segment::{
        BatchWriter, Checkpoint, Point, SEGMENT_HEADER_BYTES, SegmentHeader, file_name, parse_file_name,
    },
    shape::Shape,
    snapshots::SnapshotStore,
};
use quorate_core::{
    bug::{self, Bug},
    contract::{Entry, HardState, LogPosition, Recovered, Snapshot, Voters, Write},
    limits,
    state::State,
    types::Index,
};
use std::{fmt, sync::Arc};

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// A segment this large, in bytes, is followed by the next.
    pub segment_bytes: u64,
}

impl Default for StorageOptions {
    fn default() -> Self {
        Self { segment_bytes: limits::WAL_SEGMENT_BYTES }
    }
}

/// The log of one node. One owner, one thread; it blocks.
pub struct Storage {
    disk: Arc<dyn Disk>,
    identity: Identity,
    options: StorageOptions,
    shape: Shape,
    hard_state: HardState,
    voters: Voters,
    /// The last one is being written.
    segments: Vec<KeptSegment>,
    /// The end of the last batch. Everything up to it is durable.
    end: Point,
    failed: Option<StorageError>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Storage")
            .field("directory", &self.disk.location())
            .field("segments", &self.segments)
            .field("end", &self.end)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Opens a data directory, or makes one of an empty directory. The storage id in `identity` is for a new one; an
    /// old one keeps its own, see [`identity`](Self::identity).
    ///
    /// # Errors
    /// Another's directory, a newer format, damage, the disk's errors. Nothing is changed then, unless it is the disk's.
    pub fn open(
        disk: Arc<dyn Disk>,
        identity: Identity,
        options: StorageOptions,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_with(disk, identity, options, SnapshotStore::load)
    }

    /// As [`open`](Self::open), with another way to read a snapshot.
    pub(crate) fn open_with(
        disk: Arc<dyn Disk>,
        identity: Identity,
        options: StorageOptions,
        load: impl FnOnce(&SnapshotStore, LogPosition) -> Result<Option<State>, StorageError>,
    ) -> Result<(Self, Recovered), OpenError> {
        let Some(found) = Identity::load(&*disk)? else {
            let storage = Self::create(disk, identity, options)?;
            return Ok((storage, Recovered::default()));
        };
        identity.check(&*disk, identity::FILE, &found)?;
        let recovery = recover(&*disk, found)?;
        let snapshots = SnapshotStore::new(Arc::clone(&disk), found);
        let recovery = checked(&snapshots, recovery)?;
        let mut snapshot = None;
        if let Some(at) = snapshots.newest()? {
            let state = load(&snapshots, at).map_err(|error| snapshots.open_error(error))?;
            snapshot = state.map(|state| Snapshot { at, state });
        }
        let (storage, content) = Self::resume(disk, found, options, recovery)?;
        snapshots.clean()?;
        let LogContent { hard_state, voters, shape, entries } = content;
        Ok((storage, Recovered { hard_state, voters, start: shape.start, entries: entries.into(), snapshot }))
    }

    /// Whose directory it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The snapshots beside this log. May be used from another thread, by any number of users of one store.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        SnapshotStore::new(Arc::clone(&self.disk), self.identity)
    }

    /// The first use of a directory: first the log, then the identity. So a directory with an identity has a log.
    fn create(disk: Arc<dyn Disk>, identity: Identity, options: StorageOptions) -> Result<Self, OpenError> {
        let first = file_name(1);
        for name in disk.list()? {
            let data = parse_file_name(&name).is_some() || SnapshotStore::is_snapshot(&name);
            let beginning = name == first && disk.size(&name)? <= empty_segment(identity).len() as u64;
            if data && !beginning {
                return Err(OpenError::NoIdentity { directory: disk.location(), file: name });
            }
        }
        remove_if_there(&*disk, &first)?;
        let mut storage = Self::blank(disk, identity, options);
        storage.begin_segment(1, Point::default(), &[])?;
        identity.store(&*storage.disk)?;
        Ok(storage)
    }

    fn blank(disk: Arc<dyn Disk>, identity: Identity, options: StorageOptions) -> Self {
        Self {
            disk,
            identity,
            options,
            shape: Shape::default(),
            hard_state: HardState::default(),
            voters: Voters::new(),
            segments: Vec::new(),
            end: Point::default(),
            failed: None,
        }
    }

    /// Goes on in a new segment, which repeats what no sync vouches for.
    fn resume(
        disk: Arc<dyn Disk>,
        identity: Identity,
        options: StorageOptions,
        recovery: Recovery,
    ) -> Result<(Self, LogContent), OpenError> {
        let Recovery { mut content, mut segments, mut dead, durable, unsure, highest, .. } = recovery;
        let counts = |kept: &KeptSegment| kept.sequence <= durable.sequence;
        dead.extend(segments.iter().filter(|kept| !counts(kept)).map(|kept| kept.sequence));
        segments.retain(counts);
        let mut storage = Self::blank(disk, identity, options);
        storage.shape = content.shape.clone();
        storage.hard_state = content.hard_state;
        storage.voters = content.voters.clone();
        storage.segments = segments;
        // The file `identity` may have its name only since a run that did not end its first opening.
        storage.disk.sync_dir()?;
        let from = unsure.unwrap_or(Index(u64::MAX));
        let certain = content.entries.partition_point(|entry| entry.index < from);
        storage.begin_segment(highest + 1, durable, &content.entries.make_contiguous()[certain..])?;
        for sequence in dead {
            storage.disk.remove(&file_name(sequence))?;
        }
        storage.trim()?;
        Ok((storage, content))
    }

    /// Writes all parts of all writes, in order, as one batch with one sync. When it says `Ok`, all of it is durable;
    /// after a crash before that, all of it is there or none.
    ///
    /// # Errors
    /// Final: every later call gives the first error.
    pub fn write(&mut self, batch: &[Write]) -> Result<(), StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.write_batch(batch);
        self.failed = result.as_ref().err().cloned();
        result
    }

    fn write_batch(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        if self.end.offset >= self.options.segment_bytes {
            let sequence = self.end.sequence + 1;
            self.begin_segment(sequence, self.end, &[])?;
            self.trim()?;
        }
        let mut batch = BatchWriter::new(self.end.offset);
        for write in writes {
            self.encode(&mut batch, write)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let place = super::record::Place { storage: self.identity.storage, sequence: self.end.sequence };
        let (bytes, checksum) = batch.finish(place, self.end.offset, self.end.checksum);
        let file = file_name(self.end.sequence);
        self.disk.append(&file, &bytes)?;
        let unsynced =
            bug::planted(Bug::NetAckUnsynced) || (bug::planted(Bug::NetBatchUnsynced) && writes.len() > 1);
        if !unsynced {
            self.disk.sync(&file)?;
        }
        self.end.offset += bytes.len() as u64;
        self.end.checksum = checksum;
        if writes.iter().any(|write| write.start.is_some()) {
            self.trim()?;
        }
        Ok(())
    }

    /// Adds one write to a batch, and carries it out on what is known of the log. Refuses what recovery would refuse.
    fn encode(&mut self, batch: &mut BatchWriter, write: &Write) -> Result<(), StorageError> {
        let Write { start, entries, hard_state, voters, .. } = write;
        if let Some(at) = *start {
            let dropped = !self.shape.holds(at);
            self.shape.begin(at, dropped).map_err(StorageError::Refused)?;
            batch.log_start(at, dropped);
        }
        if let Some(entry) = entries.iter().find(|entry| entry.data.len() > limits::ENTRY_BYTES) {
            let (size, limit) = (entry.data.len(), limits::ENTRY_BYTES);
            return Err(StorageError::TooLarge { what: "an entry", size, limit });
        }
        self.shape.add(entries).map_err(StorageError::Refused)?;
        batch.entries(entries);
        if let Some(current) = self.segments.last_mut() {
            current.note(entries);
        }
        if let Some(hard_state) = hard_state {
            let (before, now) = (self.hard_state.term, hard_state.term);
            if now < before {
                return Err(StorageError::Refused(format!("the term goes back from {before} to {now}")));
            }
            self.hard_state = *hard_state;
            batch.hard_state(hard_state);
        }
        let (commit, last) = (self.hard_state.commit, self.shape.last().index);
        if commit > last {
            return Err(StorageError::Refused(format!("commit is {commit}, but the log ends at {last}")));
        }
        if let Some(voters) = voters {
            self.voters.clone_from(voters);
            batch.voters(voters);
        }
        Ok(())
    }

    /// Makes a segment durable with everything that is known, and the entries in `repeat`: the log's last ones.
    fn begin_segment(
        &mut self,
        sequence: u64,
        previous: Point,
        repeat: &[Entry],
    ) -> Result<(), super::error::DiskError> {
        let end = match repeat.first() {
            Some(first) => self.shape.position(Index(first.index.0 - 1)).unwrap_or_default(),
            None => self.shape.last(),
        };
        let checkpoint = Checkpoint {
            hard_state: self.hard_state,
            start: self.shape.start,
            end,
            voters: if bug::planted(Bug::NetVotersLost) { Voters::new() } else { self.voters.clone() },
        };
        let first = end.index.next();
        let header = SegmentHeader { identity: self.identity, sequence, first, previous };
        let (bytes, checksum) = segment_bytes(&header, &checkpoint, repeat);
        let file = file_name(sequence);
        self.disk.create(&file)?;
        self.disk.append(&file, &bytes)?;
        self.disk.sync(&file)?;
        if !bug::planted(Bug::NetSegmentName) {
            self.disk.sync_dir()?;
        }
        self.end = Point { sequence, offset: bytes.len() as u64, checksum };
        let mut kept = KeptSegment { sequence, lowest: None };
        kept.note(repeat);
        self.segments.push(kept);
        Ok(())
    }

    /// Removes segments that hold no entry of the log. If a loss of power brings any of them back, nobody minds: what
    /// they say is read again and overruled, or, behind a gap, not read.
    fn trim(&mut self) -> Result<(), super::error::DiskError> {
        let first = self.shape.start.index.next();
        let empty = self.shape.last().index < first;
        let holds_first = |kept: &KeptSegment| kept.lowest.is_some_and(|lowest| lowest <= first);
        let current = self.segments.len() - 1;
        let needed = if empty { current } else { self.segments.iter().rposition(holds_first).unwrap_or(0) };
        for kept in self.segments.drain(..needed) {
            self.disk.remove(&file_name(kept.sequence))?;
        }
        Ok(())
    }
}

fn segment_bytes(header: &SegmentHeader, checkpoint: &Checkpoint, repeat: &[Entry]) -> (Vec<u8>, u32) {
    let (mut bytes, checksum) = header.encode();
    let mut batch = BatchWriter::new(0);
    batch.checkpoint(checkpoint);
    batch.entries(repeat);
    let (batch, checksum) = batch.finish(header.place(), SEGMENT_HEADER_BYTES as u64, checksum);
    bytes.extend_from_slice(&batch);
    (bytes, checksum)
}

/// The first segment as it is before anything is written to it.
fn empty_segment(identity: Identity) -> Vec<u8> {
    let header = SegmentHeader { identity, sequence: 1, first: Index(1), previous: Point::default() };
    segment_bytes(&header, &Checkpoint::default(), &[]).0
}
