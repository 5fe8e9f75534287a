//! Reading the log. Changes nothing.
//!
//! The newest segment whose first batch is whole is the last one. Its header leads to the one before, and so on. In
//! front of the place that a successor names everything must be perfect. In the last segment, what is behind the last
//! whole batch was cut off while it was written, unless a batch further on says that it was durable. Sectors of one
//! unsynced batch may be written in any order, so only the watermark of a later batch proves anything.

use super::{
    disk::{Disk, read_all},
    error::{DiskError, OpenError},
    identity::{FORMAT, Identity},
    record::{Flaw, Place},
    segment::{
        self, Batch, Checkpoint, Point, Record, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, decode_segment,
        file_name, parse_file_name, proof_of_damage,
    },
    shape::Shape,
    snapshots::SnapshotStore,
};
use quorate_core::{
    contract::{Entry, HardState, LogPosition, Voters},
    types::Index,
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// A segment that the log needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptSegment {
    /// Its number.
    pub sequence: u64,
    /// The lowest index of the entries in it.
    pub lowest: Option<Index>,
}

impl KeptSegment {
    /// Takes note of entries that are in it.
    pub fn note(&mut self, entries: &[Entry]) {
        let first = entries.first().map(|entry| entry.index);
        self.lowest = [self.lowest, first].into_iter().flatten().min();
    }
}

/// What the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogContent {
    /// The newest hard state.
    pub hard_state: HardState,
    /// The newest voters.
    pub voters: Voters,
    /// Where it begins and ends.
    pub shape: Shape,
    /// Its entries.
    pub entries: VecDeque<Entry>,
}

impl LogContent {
    fn fit(&mut self, from: Index) {
        while self.entries.back().is_some_and(|entry| entry.index >= from) {
            self.entries.pop_back();
        }
        while self.entries.front().is_some_and(|entry| entry.index <= self.shape.before.index) {
            self.entries.pop_front();
        }
    }

    /// Carries out one record. `opening`: nothing was read before it.
    fn apply(&mut self, record: Record, opening: bool) -> Result<(), String> {
        match record {
            Record::Entries(entries) => {
                self.shape.add(&entries)?;
                self.fit(entries.first().map_or(Index(u64::MAX), |entry| entry.index));
                self.entries.extend(entries);
            }
            Record::HardState(hard_state) => self.set_hard_state(hard_state)?,
            Record::Voters(voters) => self.voters = voters,
            Record::LogStart { at, dropped } => {
                self.shape.begin(at, dropped)?;
                self.fit(self.shape.last().index.next());
            }
            Record::Checkpoint(checkpoint) => self.checkpoint(checkpoint, opening)?,
        }
        Ok(())
    }

    fn set_hard_state(&mut self, hard_state: HardState) -> Result<(), String> {
        if hard_state.term < self.hard_state.term {
            return Err(format!("the term goes back from {} to {}", self.hard_state.term, hard_state.term));
        }
        self.hard_state = hard_state;
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint, opening: bool) -> Result<(), String> {
        let Checkpoint { hard_state, start, end, voters } = checkpoint;
        self.set_hard_state(hard_state)?;
        self.voters = voters;
        if end.index < start.index || end.term < start.term || (end.index == start.index && end != start) {
            return Err(format!("the log ends at {end:?}, which cannot follow its start {start:?}"));
        }
        if opening {
            self.shape = Shape::new(start, end);
        } else if end == start {
            self.shape.begin(start, true)?;
        } else {
            let known = self.shape.position(end.index);
            if end.index > self.shape.last().index || known.is_some_and(|at| at.term.0 != 0 && at != end) {
                return Err(format!("the log should hold {end:?}, but ends at {:?}", self.shape.last()));
            }
            self.shape.cut(end.index);
            if self.shape.before.index == end.index {
                self.shape.before = end;
            }
            self.shape.begin(start, false)?;
        }
        self.fit(self.shape.last().index.next());
        Ok(())
    }
}

/// A write that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: String,
    /// From where on its bytes are worth nothing.
    pub offset: u64,
}

/// What the directory holds, and how to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What the log says.
    pub content: LogContent,
    /// The segments that were read, in order.
    pub segments: Vec<KeptSegment>,
    /// Segments that do not count: their first batch was cut off, or a later one names another before it.
    pub dead: Vec<u64>,
    /// The last place that a completed sync vouches for.
    pub durable: Point,
    /// Entries from here on are not known to be durable.
    pub unsure: Option<Index>,
    /// The highest number of a segment.
    pub highest: u64,
    /// Writes that were cut off.
    pub torn: Vec<Torn>,
}

struct Reader<'disk> {
    disk: &'disk dyn Disk,
    identity: Identity,
}

impl Reader<'_> {
    fn corrupt(&self, sequence: u64, offset: u64, what: impl Into<String>) -> OpenError {
        OpenError::Corrupt {
            directory: self.disk.location(),
            file: file_name(sequence),
            offset,
            what: what.into(),
        }
    }

    fn flawed(&self, sequence: u64, flaw: Flaw) -> OpenError {
        self.corrupt(sequence, flaw.offset, flaw.what)
    }

    fn known_format(&self, sequence: u64, bytes: &[u8]) -> Result<(), OpenError> {
        let Some(found) = segment::segment_newer_format(bytes) else { return Ok(()) };
        let (directory, file) = (self.disk.location(), file_name(sequence));
        Err(OpenError::NewerFormat { directory, file, found, known: FORMAT })
    }

    /// A segment that has no successor. `None`: its first batch was cut off.
    fn last(&self, sequence: u64, torn: &mut Vec<Torn>) -> Result<Option<Segment>, OpenError> {
        let bytes = read_all(self.disk, &file_name(sequence))?;
        self.known_format(sequence, &bytes)?;
        let mut place = Place { storage: self.identity.storage, sequence };
        if let Some((header, _)) = SegmentHeader::decode(&bytes) {
            header.check(self.disk, &self.identity, sequence)?;
            place = header.place();
        }
        let (segment, flaw) = match decode_segment(&bytes) {
            Ok(mut segment) => {
                let flaw = segment.tail.take();
                (Some(segment), flaw)
            }
            Err(flaw) => (None, Some(flaw)),
        };
        let Some(flaw) = flaw else { return Ok(segment) };
        let from = usize::try_from(flaw.offset).unwrap_or(usize::MAX);
        if !flaw.torn {
            return Err(self.flawed(sequence, flaw));
        }
        if let Some(proof) = proof_of_damage(place, &bytes, from) {
            let what = format!("{}; the batch at byte {proof} shows that it was durable", flaw.what);
            return Err(self.corrupt(sequence, flaw.offset, what));
        }
        let whole = segment.as_ref().and_then(|segment| segment.batches.last()).map_or(0, |batch| batch.end);
        torn.push(Torn { file: file_name(sequence), offset: whole });
        Ok(segment)
    }

    /// A segment's header.
    fn header(&self, sequence: u64) -> Result<SegmentHeader, OpenError> {
        let bytes = self.disk.read(&file_name(sequence), 0, SEGMENT_HEADER_BYTES)?;
        self.known_format(sequence, &bytes)?;
        let (header, _) = SegmentHeader::decode(&bytes)
            .ok_or_else(|| self.corrupt(sequence, 0, "the segment's header is not whole"))?;
        header.check(self.disk, &self.identity, sequence)?;
        Ok(header)
    }

    /// A segment that has a successor, which says where it ends.
    fn sealed(&self, end: Point) -> Result<Segment, OpenError> {
        let sequence = end.sequence;
        let length = usize::try_from(end.offset).unwrap_or(usize::MAX);
        let bytes = self.disk.read(&file_name(sequence), 0, length)?;
        let mut segment = decode_segment(&bytes).map_err(|flaw| self.flawed(sequence, flaw))?;
        if let Some(flaw) = segment.tail.take() {
            return Err(self.flawed(sequence, flaw));
        }
        let last = segment.batches.last().map(|batch| (batch.end, batch.checksum));
        if last != Some((end.offset, end.checksum)) {
            let what = "the file does not end as the next segment says";
            return Err(self.corrupt(sequence, last.map_or(0, |last| last.0), what));
        }
        Ok(segment)
    }
}

fn lowest_entry(batch: &Batch) -> Option<Index> {
    let first = |record: &Record| match record {
        Record::Entries(entries) => entries.first().map(|entry| entry.index),
        Record::HardState(_) | Record::Voters(_) | Record::LogStart { .. } | Record::Checkpoint(_) => None,
    };
    batch.records.iter().filter_map(first).min()
}

/// Up to where a completed sync vouches for the log, and the lowest index of the entries behind.
fn vouched(last: &Segment) -> (Point, Option<Index>) {
    let watermark = last.batches.last().map_or(0, |batch| batch.watermark);
    let unsure = last.batches.iter().filter(|batch| batch.offset >= watermark).filter_map(lowest_entry).min();
    let checksum = last.batches.iter().find(|batch| batch.end == watermark).map(|batch| batch.checksum);
    let point = checksum
        .map(|checksum| Point { sequence: last.header.sequence, offset: watermark, checksum })
        .unwrap_or(last.header.previous);
    (point, unsure)
}

fn replay(reader: &Reader<'_>, recovery: &mut Recovery, segment: Segment) -> Result<(), OpenError> {
    let sequence = segment.header.sequence;
    let opening = recovery.segments.is_empty();
    let mut kept = KeptSegment { sequence, lowest: None };
    for batch in segment.batches {
        for record in batch.records {
            if let Record::Entries(entries) = &record {
                kept.note(entries);
            }
            recovery
                .content
                .apply(record, opening)
                .map_err(|what| reader.corrupt(sequence, batch.offset, what))?;
        }
    }
    recovery.segments.push(kept);
    Ok(())
}

/// Reads the log. `None`: no segment has a whole first batch.
///
/// # Errors
/// Damage, another node's files, a newer format, the disk's errors.
pub fn recover(disk: &dyn Disk, identity: Identity) -> Result<Option<Recovery>, OpenError> {
    let reader = Reader { disk, identity };
    let present: BTreeSet<u64> = disk.list()?.iter().filter_map(|name| parse_file_name(name)).collect();
    let mut torn = Vec::new();
    let mut found = None;
    for &sequence in present.iter().rev() {
        found = reader.last(sequence, &mut torn)?;
        if found.is_some() {
            break;
        }
    }
    let Some(last) = found else { return Ok(None) };
    let (durable, unsure) = vouched(&last);
    let mut chain = Vec::new();
    let mut previous = last.header.previous;
    while present.contains(&previous.sequence) {
        chain.push(previous);
        previous = reader.header(previous.sequence)?.previous;
    }
    let counts =
        |sequence| sequence == last.header.sequence || chain.iter().any(|at| at.sequence == sequence);
    let mut recovery = Recovery {
        content: LogContent::default(),
        segments: Vec::new(),
        dead: present.iter().copied().filter(|&sequence| !counts(sequence)).collect(),
        durable,
        unsure,
        highest: present.last().copied().unwrap_or(0),
        torn,
    };
    for &end in chain.iter().rev() {
        let segment = reader.sealed(end)?;
        replay(&reader, &mut recovery, segment)?;
    }
    let sequence = last.header.sequence;
    replay(&reader, &mut recovery, last)?;
    check(&reader, &recovery.content, sequence)?;
    Ok(Some(recovery))
}

fn check(reader: &Reader<'_>, content: &LogContent, sequence: u64) -> Result<(), OpenError> {
    let LogContent { shape, hard_state, .. } = content;
    if shape.before.index != shape.start.index {
        let (from, to) = (shape.start.index.next(), shape.before.index);
        let what = format!("entries {from} to {to} are in an older segment, which is not there");
        return Err(reader.corrupt(sequence, 0, what));
    }
    if hard_state.commit > shape.last().index {
        let (commit, last) = (hard_state.commit, shape.last().index);
        let what = format!("entries up to {commit} were committed, but the log ends at {last}");
        return Err(reader.corrupt(sequence, 0, what));
    }
    Ok(())
}

/// What a data directory holds, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose it is.
    pub identity: Identity,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The place before the log's first entry, and that of its last one.
    pub log: (LogPosition, LogPosition),
    /// Names of the files that the log is read from.
    pub segments: Vec<String>,
    /// Writes that were cut off. Harmless.
    pub torn: Vec<Torn>,
    /// The snapshots, oldest first. The newest was read whole.
    pub snapshots: Vec<LogPosition>,
}

/// Reads everything in a data directory, as [`Storage::open`](super::Storage::open) does, and changes nothing.
///
/// # Errors
/// As there. `NotFound` for a directory without a file `identity`.
pub fn verify(disk: Arc<dyn Disk>) -> Result<Report, OpenError> {
    let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "the directory was never used");
    let identity = Identity::load(&*disk)?
        .ok_or_else(|| OpenError::Disk(DiskError::new("read", super::identity::FILE, &missing)))?;
    let recovery = recover(&*disk, identity)?;
    let snapshots = SnapshotStore::new(disk, identity);
    let recovery = checked(&snapshots, recovery)?;
    if let Some(at) = snapshots.newest()? {
        snapshots.check(at).map_err(|error| snapshots.open_error(error))?;
    }
    let shape = &recovery.content.shape;
    Ok(Report {
        identity,
        hard_state: recovery.content.hard_state,
        log: (shape.start, shape.last()),
        segments: recovery.segments.iter().map(|kept| file_name(kept.sequence)).collect(),
        torn: recovery.torn,
        snapshots: snapshots.list()?,
    })
}

/// Refuses a log that is gone, or whose beginning is gone without a snapshot in its place.
///
/// # Errors
/// `Corrupt`.
pub fn checked(snapshots: &SnapshotStore, recovery: Option<Recovery>) -> Result<Recovery, OpenError> {
    let corrupt = |sequence, what: String| OpenError::Corrupt {
        directory: snapshots.location(),
        file: file_name(sequence),
        offset: 0,
        what,
    };
    let recovery = recovery.ok_or_else(|| corrupt(1, "the log is gone".to_owned()))?;
    let start = recovery.content.shape.start.index;
    let newest = snapshots.newest()?.map_or(Index(0), |at| at.index);
    if newest < start {
        let what =
            format!("the log begins behind {start}, but the newest snapshot holds entries up to {newest}");
        return Err(corrupt(recovery.durable.sequence, what));
    }
    Ok(recovery)
}
