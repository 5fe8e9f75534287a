//! Writing the log.

use super::{
    batch::BatchWriter,
    choice::begin,
    disk::{Disk, remove_if_there},
    error::{DiskError, OpenError, StorageError},
    identity::{self, Identity},
    record::Place,
    recovery::{KeptSegment, LogContent, Recovery},
    recycle::{Chores, Helper, Ready, Recycler},
    scan,
    segment::{Checkpoint, Footer, Point, SEGMENT_HEADER_BYTES, SegmentHeader, file_name, parse_file_name},
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
use std::{fmt, io, sync::Arc};

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// A segment this large, in bytes, is followed by the next. So much room is taken for each when it is made.
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
    snapshots: SnapshotStore,
    options: StorageOptions,
    shape: Shape,
    hard_state: HardState,
    voters: Voters,
    /// The last one is being written.
    segments: Vec<KeptSegment>,
    /// The end of the last batch. Everything up to it is durable.
    end: Point,
    /// What the segment that is being written holds.
    seen: Footer,
    /// That segment has its footer: the next write begins another.
    sealed: bool,
    /// The next segment was asked for.
    asked: bool,
    chores: Chores,
    /// The bytes of a batch: kept, so that its room is.
    buffer: Vec<u8>,
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
        load: impl FnMut(&SnapshotStore, LogPosition) -> Result<Option<State>, StorageError>,
    ) -> Result<(Self, Recovered), OpenError> {
        let Some(found) = Identity::load(&*disk)? else {
            let storage = Self::create(disk, identity, options)?;
            return Ok((storage, Recovered::default()));
        };
        identity.check(&*disk, identity::FILE, &found)?;
        let snapshots = SnapshotStore::new(disk, found);
        let (recovery, choice) = begin(&snapshots, load)?;
        let recovery = if choice.longer { recovery.anew() } else { recovery };
        let (storage, content) = Self::resume(&snapshots, options, recovery)?;
        snapshots.clean()?;
        choice.tell();
        let snapshot = choice.snapshot.map(|(at, state)| Snapshot { at, state });
        let LogContent { hard_state, voters, shape, entries, .. } = content;
        Ok((storage, Recovered { hard_state, voters, start: shape.start, entries: entries.into(), snapshot }))
    }

    /// Who does what no write needs to wait for: makes the next segment ready, and takes old ones back. Run it on a thread
    /// of its own; until then, and without it, a write does that too. `None`: it was given away already.
    pub fn helper(&mut self) -> Option<Helper> {
        self.chores.give_away()
    }

    /// Whose directory it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        self.identity
    }

    /// The snapshots beside this log: always the same store. May be used from another thread.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotStore {
        self.snapshots.clone()
    }

    /// The first use of a directory: first the log, then the identity. So a directory with an identity has a log.
    fn create(disk: Arc<dyn Disk>, identity: Identity, options: StorageOptions) -> Result<Self, OpenError> {
        let first = file_name(1);
        for name in disk.list()? {
            let data = parse_file_name(&name).is_some() || SnapshotStore::is_snapshot(&name);
            if data && !(name == first && is_beginning(&*disk, identity)?) {
                return Err(OpenError::NoIdentity { directory: disk.location(), file: name });
            }
        }
        remove_if_there(&*disk, &first)?;
        let mut storage = Self::blank(&SnapshotStore::new(disk, identity), options)?;
        storage.begin_segment(1, Point::default(), &[])?;
        identity.store(&*storage.disk)?;
        Ok(storage)
    }

    fn blank(snapshots: &SnapshotStore, options: StorageOptions) -> Result<Self, DiskError> {
        let recycler = Recycler::new(snapshots.clone(), options.segment_bytes)?;
        let (disk, identity) = snapshots.directory();
        Ok(Self {
            disk,
            identity,
            snapshots: snapshots.clone(),
            options,
            shape: Shape::default(),
            hard_state: HardState::default(),
            voters: Voters::new(),
            segments: Vec::new(),
            end: Point::default(),
            seen: Footer::default(),
            sealed: false,
            asked: false,
            chores: Chores::Here(recycler),
            buffer: Vec::new(),
            failed: None,
        })
    }

    /// Goes on in a new segment, which repeats what no sync vouches for.
    fn resume(
        snapshots: &SnapshotStore,
        options: StorageOptions,
        recovery: Recovery,
    ) -> Result<(Self, LogContent), OpenError> {
        let Recovery { mut content, mut segments, mut dead, end, durable, unsure, highest, .. } = recovery;
        let counts = |kept: &KeptSegment| kept.sequence <= durable.sequence;
        dead.extend(segments.iter().filter(|kept| !counts(kept)).map(|kept| kept.sequence));
        segments.retain(counts);
        // The files `identity` and spare ones may have their names only since a run that did not end its first opening.
        snapshots.directory().0.sync_dir()?;
        let mut storage = Self::blank(snapshots, options)?;
        storage.shape = content.shape.clone();
        storage.hard_state = content.hard_state;
        storage.voters = content.voters.clone();
        storage.segments = segments;
        let from = unsure.unwrap_or(Index(u64::MAX));
        let certain = content.entries.partition_point(|entry| entry.index < from);
        storage.begin_segment(highest + 1, durable, &content.entries.make_contiguous()[certain..])?;
        // Nothing is written to it any more: the room that was set aside for it would be held until the log begins behind it,
        // and once more by each start.
        let kept = storage.segments.iter().any(|kept| kept.sequence == end.sequence);
        if kept && !bug::planted(Bug::NetStartKeepsRoom) {
            storage.cut(end)?;
        }
        for sequence in dead {
            storage.chores.retire(sequence)?;
        }
        storage.trim()?;
        Ok((storage, content))
    }

    /// Gives back the room behind the last batch of a segment that is not written to any more.
    fn cut(&self, end: Point) -> Result<(), DiskError> {
        let file = file_name(end.sequence);
        match self.disk.truncate(&file, end.offset) {
            // A start does not fail for want of what it would give back.
            Err(error) if error.may_pass() => Ok(()),
            cut => cut.and_then(|()| self.disk.sync(&file)),
        }
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
        if bug::planted(Bug::NetFullDone) && result.as_ref().is_err_and(StorageError::may_pass) {
            return Ok(());
        }
        self.failed = result.as_ref().err().cloned();
        result
    }

    fn write_batch(&mut self, writes: &[Write]) -> Result<(), StorageError> {
        self.chores.check()?;
        let sequence = self.end.sequence + 1;
        if self.sealed {
            self.begin_segment(sequence, self.end, &[])?;
            self.trim()?;
        }
        let mut batch = BatchWriter::new(self.place(), self.end.offset, std::mem::take(&mut self.buffer));
        for write in writes {
            self.encode(&mut batch, write)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let sequence = self.end.sequence + 1;
        if !self.asked && batch.end() >= self.options.segment_bytes / 2 {
            self.asked = true;
            self.chores.ask(sequence);
        }
        // A segment that is full goes on until the next one is ready, but not for ever for want of room.
        if batch.end() > self.options.segment_bytes.saturating_mul(limits::WAL_SEGMENT_STRETCH)
            && !self.chores.has(sequence)
            && let Some(error) = self.chores.full()
        {
            return Err(error.into());
        }
        self.sealed = batch.end() >= self.options.segment_bytes && self.chores.has(sequence);
        let (seen, records) = (self.seen, batch.records());
        let footer = (self.sealed && !bug::planted(Bug::NetFooterLeftOut)).then_some(seen);
        let (bytes, checksum) = batch.finish(self.end.checksum, footer);
        let file = file_name(self.end.sequence);
        self.disk.write_at(&file, self.end.offset, &bytes)?;
        let unsynced =
            bug::planted(Bug::NetAckUnsynced) || (bug::planted(Bug::NetBatchUnsynced) && writes.len() > 1);
        if !unsynced {
            let synced = self.disk.sync(&file);
            if !bug::planted(Bug::NetSyncErrorIgnored) {
                synced?;
            }
        }
        self.end.offset += bytes.len() as u64;
        self.end.checksum = checksum;
        self.seen.records += records;
        self.keep_buffer(bytes);
        if writes.iter().any(|write| write.start.is_some()) {
            self.trim()?;
        }
        Ok(())
    }

    const fn place(&self) -> Place {
        Place { storage: self.identity.storage, sequence: self.end.sequence }
    }

    /// Keeps the room of a batch for the next one, unless it is very large.
    fn keep_buffer(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= limits::WAL_READ_BYTES {
            self.buffer = buffer;
        }
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
        note(&mut self.seen, entries);
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
    fn begin_segment(&mut self, sequence: u64, previous: Point, repeat: &[Entry]) -> Result<(), DiskError> {
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
        let missing = || io::Error::other("no file was made ready for this segment");
        let ready = self.chores.take(sequence)?;
        let Ready { recycled, .. } =
            ready.ok_or_else(|| DiskError::new("begin", &file_name(sequence), &missing()))?;
        let first = end.index.next();
        let header = SegmentHeader { identity: self.identity, sequence, first, previous, recycled };
        let (bytes, records, checksum) = segment_bytes(&header, &checkpoint, repeat);
        let file = file_name(sequence);
        self.disk.write_at(&file, 0, &bytes)?;
        self.disk.sync(&file)?;
        self.end = Point { sequence, offset: bytes.len() as u64, checksum };
        (self.sealed, self.asked) = (false, false);
        self.seen = Footer { records, ..Footer::default() };
        note(&mut self.seen, repeat);
        let mut kept = KeptSegment { sequence, lowest: None };
        kept.note(repeat);
        self.segments.push(kept);
        Ok(())
    }

    /// Removes segments that hold no entry of the log. If a loss of power brings any of them back, nobody minds: what
    /// they say is read again and overruled, or, behind a gap, not read.
    fn trim(&mut self) -> Result<(), DiskError> {
        let first = self.shape.start.index.next();
        let empty = self.shape.last().index < first;
        let holds_first = |kept: &KeptSegment| kept.lowest.is_some_and(|lowest| lowest <= first);
        let current = self.segments.len() - 1;
        let needed = if empty { current } else { self.segments.iter().rposition(holds_first).unwrap_or(0) };
        let needed = if bug::planted(Bug::NetRecyclesNeeded) { current.min(needed + 1) } else { needed };
        for kept in self.segments.drain(..needed) {
            self.chores.retire(kept.sequence)?;
        }
        Ok(())
    }
}

fn note(seen: &mut Footer, entries: &[Entry]) {
    if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
        seen.note(first.index, last.index);
    }
}

/// The first bytes of a segment, the number of its records, and the checksum of the last one.
fn segment_bytes(header: &SegmentHeader, checkpoint: &Checkpoint, repeat: &[Entry]) -> (Vec<u8>, u64, u32) {
    let (mut bytes, checksum) = header.encode();
    let mut batch = BatchWriter::new(header.place(), SEGMENT_HEADER_BYTES as u64, Vec::new());
    batch.checkpoint(checkpoint);
    batch.entries(repeat);
    let records = batch.records();
    let (batch, checksum) = batch.finish(checksum, None);
    bytes.extend_from_slice(&batch);
    (bytes, records, checksum)
}

/// Whether the first segment is as it is before anything was written to it, or not even that.
fn is_beginning(disk: &dyn Disk, identity: Identity) -> Result<bool, DiskError> {
    let file = file_name(1);
    let bytes = disk.read(&file, 0, SEGMENT_HEADER_BYTES)?;
    let previous = Point::default();
    let header = match SegmentHeader::decode(&bytes) {
        Some((header, _)) => header,
        None => SegmentHeader { identity, sequence: 1, first: Index(1), previous, recycled: false },
    };
    let (empty, ..) = segment_bytes(&header, &Checkpoint::default(), &[]);
    let behind = scan::behind(
        header.place(),
        &mut |offset, length| disk.read(&file, offset, length),
        empty.len() as u64,
        disk.size(&file)?,
    )?;
    Ok(!behind.written)
}
