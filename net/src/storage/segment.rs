//! One file of the log: a header, then batches. A batch is what one sync makes durable: it counts whole or not at all.
//!
//! The header names the segment before, up to which byte that one counts, and the checksum of its last record there.
//! So a segment's header is the seal of the one before: what is in front of that byte must be perfect, what is
//! behind it is nothing. The first batch begins with a checkpoint: the log can be read from any segment on.

use super::{
    disk::Disk,
    error::OpenError,
    identity::{FORMAT, Identity, newer_format},
    record::{self, Cursor, Flaw, HEADER_BYTES, Kind, Place, RawRecord},
};
use bytes::Bytes;
use quorate_core::{
    contract::{Entry, HardState, LogPosition, Voters},
    limits,
    types::{ClusterId, Index, NodeId, StorageId, Term},
};

const MAGIC: &[u8; 8] = b"QRATEWAL";
/// Bytes of a segment's header; the first batch is behind it.
pub const SEGMENT_HEADER_BYTES: usize = 80;
/// Payload of a batch record, in bytes.
const BATCH_BYTES: usize = 16;
const PREFIX: &str = "wal-";

/// The name of a segment's file.
#[must_use]
pub fn file_name(sequence: u64) -> String {
    format!("{PREFIX}{sequence:016x}")
}

/// The segment that a file name stands for.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    (file_name(sequence) == name).then_some(sequence)
}

/// A place between two batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The segment; 0: there is none.
    pub sequence: u64,
    /// The offset in it, in bytes.
    pub offset: u64,
    /// The checksum of the record before.
    pub checksum: u32,
}

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose it is.
    pub identity: Identity,
    /// Its number: the one in the file's name. From 1 on.
    pub sequence: u64,
    /// The index that comes first in it, if the log just grows.
    pub first: Index,
    /// Up to where the segment before counts.
    pub previous: Point,
}

impl SegmentHeader {
    /// Which file the records behind it are of.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { storage: self.identity.storage, sequence: self.sequence }
    }

    /// The header's bytes, and its checksum.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.identity.format.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let Identity { cluster, node, storage, .. } = self.identity;
        let Point { sequence, offset, checksum } = self.previous;
        for number in [cluster.0, node.0, storage.0, self.sequence, self.first.0, sequence, offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// The header in a file's first bytes, and its checksum.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let mut cursor = Cursor::new(bytes);
        let magic = cursor.take(MAGIC.len())?;
        let (format, zero) = (cursor.u32()?, cursor.u32()?);
        let (cluster, node, storage) =
            (ClusterId(cursor.u64()?), NodeId(cursor.u64()?), StorageId(cursor.u64()?));
        let (sequence, first) = (cursor.u64()?, Index(cursor.u64()?));
        let previous = Point { sequence: cursor.u64()?, offset: cursor.u64()?, checksum: cursor.u32()? };
        let checksum = cursor.u32()?;
        let right = crc32fast::hash(bytes.get(..SEGMENT_HEADER_BYTES - 4)?) == checksum;
        let whole = magic == MAGIC && format == FORMAT && zero == 0 && right && previous.sequence < sequence;
        let identity = Identity { cluster, node, storage, format };
        whole.then_some((Self { identity, sequence, first, previous }, checksum))
    }

    /// Refuses a segment of another directory, node or cluster, or under another's name.
    ///
    /// # Errors
    /// `Foreign` or `Corrupt`.
    pub fn check(&self, disk: &dyn Disk, identity: &Identity, sequence: u64) -> Result<(), OpenError> {
        let file = file_name(sequence);
        identity.check(disk, &file, &self.identity)?;
        let directory = disk.location();
        let (found, expected) = (self.identity.storage.0, identity.storage.0);
        if found != expected {
            return Err(OpenError::Foreign { directory, file, field: "storage", found, expected });
        }
        if self.sequence != sequence {
            let what = format!("it is segment {:016x} under another name", self.sequence);
            return Err(OpenError::Corrupt { directory, file, offset: 0, what });
        }
        Ok(())
    }
}

/// The format of a segment that this version does not know.
#[must_use]
pub fn segment_newer_format(bytes: &[u8]) -> Option<u32> {
    newer_format(bytes, MAGIC)
}

/// Everything but entries, at the beginning of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest hard state.
    pub hard_state: HardState,
    /// Where the log begins.
    pub start: LogPosition,
    /// Where it ends: what was behind it is dropped.
    pub end: LogPosition,
    /// The voters.
    pub voters: Voters,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Drop what is from the first one's index on, then add these.
    Entries(Vec<Entry>),
    /// Replaces the one before.
    HardState(HardState),
    /// Replaces the ones before.
    Voters(Voters),
    /// The log begins behind `at`.
    LogStart {
        /// The place before its first entry.
        at: LogPosition,
        /// The log did not hold that place: all its entries are dropped.
        dropped: bool,
    },
    /// See [`Checkpoint`].
    Checkpoint(Checkpoint),
}

/// What one sync makes durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where it begins.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
    /// The checksum of the record before it.
    pub previous: u32,
    /// The checksum of its last record.
    pub checksum: u32,
    /// The file was durable up to here when it was written. 0 for the first batch.
    pub watermark: u64,
    /// What it says, in this order.
    pub records: Vec<Record>,
}

fn push_numbers(buffer: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        buffer.extend_from_slice(&number.to_le_bytes());
    }
}

fn push_hard_state(buffer: &mut Vec<u8>, hard_state: &HardState) {
    let vote = hard_state.vote.map_or(0, |node| node.0);
    push_numbers(buffer, &[hard_state.term.0, vote, hard_state.commit.0]);
}

fn push_voters(buffer: &mut Vec<u8>, voters: &Voters) {
    push_numbers(buffer, &[voters.len() as u64]);
    for (node, storage) in voters {
        push_numbers(buffer, &[node.0, storage.0]);
    }
}

/// Builds the bytes of a batch.
#[derive(Debug)]
pub struct BatchWriter {
    buffer: Vec<u8>,
}

impl BatchWriter {
    /// An empty batch.
    #[must_use]
    pub fn new(watermark: u64) -> Self {
        let mut buffer = Vec::new();
        record::push(&mut buffer, Kind::Batch, |payload| push_numbers(payload, &[watermark, 0]));
        Self { buffer }
    }

    /// Whether nothing was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.buffer.len() <= HEADER_BYTES + BATCH_BYTES
    }

    /// Adds entries, in records of about [`APPEND_BYTES`](limits::APPEND_BYTES). Each entry must fit a record.
    pub fn entries(&mut self, mut entries: &[Entry]) {
        while !entries.is_empty() {
            let mut bytes = 0;
            let over = entries.iter().position(|entry| {
                bytes += entry.data.len();
                bytes > limits::APPEND_BYTES
            });
            let (front, rest) = entries.split_at(over.unwrap_or(entries.len()).max(1));
            record::push(&mut self.buffer, Kind::Entries, |payload| {
                push_numbers(payload, &[front.len() as u64]);
                for entry in front {
                    push_numbers(payload, &[entry.term.0, entry.index.0, entry.data.len() as u64]);
                    payload.extend_from_slice(&entry.data);
                }
            });
            entries = rest;
        }
    }

    /// Adds a hard state.
    pub fn hard_state(&mut self, hard_state: &HardState) {
        record::push(&mut self.buffer, Kind::HardState, |payload| push_hard_state(payload, hard_state));
    }

    /// Adds voters.
    pub fn voters(&mut self, voters: &Voters) {
        record::push(&mut self.buffer, Kind::Voters, |payload| push_voters(payload, voters));
    }

    /// Adds a log start.
    pub fn log_start(&mut self, at: LogPosition, dropped: bool) {
        record::push(&mut self.buffer, Kind::LogStart, |payload| {
            push_numbers(payload, &[at.term.0, at.index.0, u64::from(dropped)]);
        });
    }

    /// Adds a checkpoint.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        record::push(&mut self.buffer, Kind::Checkpoint, |payload| {
            push_hard_state(payload, &checkpoint.hard_state);
            let Checkpoint { start, end, .. } = checkpoint;
            push_numbers(payload, &[start.term.0, start.index.0, end.term.0, end.index.0]);
            push_voters(payload, &checkpoint.voters);
        });
    }

    /// The batch's bytes for this offset, behind a record with the checksum `previous`; and its own checksum.
    #[must_use]
    pub fn finish(mut self, place: Place, offset: u64, previous: u32) -> (Vec<u8>, u32) {
        let head = HEADER_BYTES + BATCH_BYTES;
        let length = (self.buffer.len() - head) as u64;
        self.buffer[head - 8..head].copy_from_slice(&length.to_le_bytes());
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let checksum = record::seal(place, &mut self.buffer, offset, previous);
        (self.buffer, checksum)
    }
}

fn read_hard_state(cursor: &mut Cursor<'_>) -> Option<HardState> {
    let (term, vote, commit) = (Term(cursor.u64()?), cursor.u64()?, Index(cursor.u64()?));
    Some(HardState { term, vote: (vote != 0).then_some(NodeId(vote)), commit })
}

fn read_position(cursor: &mut Cursor<'_>) -> Option<LogPosition> {
    Some(LogPosition { term: Term(cursor.u64()?), index: Index(cursor.u64()?) })
}

fn read_voters(cursor: &mut Cursor<'_>) -> Option<Voters> {
    let count = cursor.u64()?;
    let mut voters = Voters::new();
    for _ in 0..count {
        voters.insert(NodeId(cursor.u64()?), StorageId(cursor.u64()?));
    }
    (voters.len() as u64 == count).then_some(voters)
}

fn read_entries(cursor: &mut Cursor<'_>) -> Option<Vec<Entry>> {
    let count = cursor.u64()?;
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..count {
        let LogPosition { term, index } = read_position(cursor)?;
        let length = usize::try_from(cursor.u64()?).ok()?;
        let data = Bytes::copy_from_slice(cursor.take(length)?);
        let follows = entries.last().is_none_or(|last| last.index.0.checked_add(1) == Some(index.0));
        if !follows || index.0 == 0 {
            return None;
        }
        entries.push(Entry { term, index, data });
    }
    (!entries.is_empty()).then_some(entries)
}

fn read_record(raw: &RawRecord<'_>) -> Option<Record> {
    let cursor = &mut Cursor::new(raw.payload);
    let record = match raw.kind {
        Kind::Batch => return None,
        Kind::Entries => Record::Entries(read_entries(cursor)?),
        Kind::HardState => Record::HardState(read_hard_state(cursor)?),
        Kind::Voters => Record::Voters(read_voters(cursor)?),
        Kind::LogStart => {
            let at = read_position(cursor)?;
            let dropped = cursor.u64().filter(|&flag| flag <= 1)? == 1;
            Record::LogStart { at, dropped }
        }
        Kind::Checkpoint => Record::Checkpoint(Checkpoint {
            hard_state: read_hard_state(cursor)?,
            start: read_position(cursor)?,
            end: read_position(cursor)?,
            voters: read_voters(cursor)?,
        }),
    };
    cursor.is_empty().then_some(record)
}

/// Watermark and length of what follows, if this is a batch record.
fn read_batch_head(raw: &RawRecord<'_>) -> Option<(u64, u64)> {
    let mut cursor = Cursor::new(raw.payload);
    let head = (cursor.u64()?, cursor.u64()?);
    (raw.kind == Kind::Batch && cursor.is_empty()).then_some(head)
}

/// The batch at `offset`, behind a record with the checksum `previous`.
///
/// # Errors
/// A [`Flaw`]; torn where a write that was cut off could have left it.
pub fn read_batch(place: Place, bytes: &[u8], offset: usize, previous: u32) -> Result<Batch, Flaw> {
    let chained = |at: usize, previous: u32| {
        let raw = record::read(place, bytes, at)?;
        let follows = raw.previous == previous;
        if follows { Ok(raw) } else { Err(Flaw::torn(at, "a record does not belong behind the one before")) }
    };
    let head = chained(offset, previous)?;
    let (watermark, length) = read_batch_head(&head)
        .ok_or_else(|| Flaw::wrong(offset, "there is no batch where one must begin"))?;
    let end = usize::try_from(length).ok().and_then(|length| head.end.checked_add(length));
    let end = end.filter(|&end| end <= bytes.len());
    let end = end.ok_or_else(|| Flaw::torn(offset, "the file ends inside a batch"))?;
    let (mut at, mut checksum, mut records) = (head.end, head.checksum, Vec::new());
    while at < end {
        let raw = chained(at, checksum)?;
        let record = read_record(&raw).ok_or_else(|| Flaw::wrong(at, "a record's content is wrong"))?;
        let first = at == head.end;
        if matches!(record, Record::Checkpoint(_)) && !(first && offset == SEGMENT_HEADER_BYTES) {
            return Err(Flaw::wrong(at, "a checkpoint that is not at the beginning"));
        }
        records.push(record);
        (at, checksum) = (raw.end, raw.checksum);
    }
    if at != end {
        return Err(Flaw::wrong(offset, "a batch ends inside a record"));
    }
    Ok(Batch { offset: offset as u64, end: end as u64, previous, checksum, watermark, records })
}

/// A segment, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its header.
    pub header: SegmentHeader,
    /// The whole batches, in order. The first has the checkpoint.
    pub batches: Vec<Batch>,
    /// What is wrong behind them. `None`: the file ends there.
    pub tail: Option<Flaw>,
}

/// Reads a segment up to its end or the first flaw. Never panics, whatever the bytes.
///
/// # Errors
/// The header or the first batch cannot be read.
pub fn decode_segment(bytes: &[u8]) -> Result<Segment, Flaw> {
    let (header, checksum) =
        SegmentHeader::decode(bytes).ok_or_else(|| Flaw::torn(0, "the segment's header is not whole"))?;
    let place = header.place();
    let first = read_batch(place, bytes, SEGMENT_HEADER_BYTES, checksum)?;
    if first.watermark != 0 || !matches!(first.records.first(), Some(Record::Checkpoint(_))) {
        return Err(Flaw::wrong(SEGMENT_HEADER_BYTES, "the segment does not begin with a checkpoint"));
    }
    let mut segment = Segment { header, batches: vec![first], tail: None };
    while let Some(last) = segment.batches.last() {
        let at = usize::try_from(last.end).unwrap_or(usize::MAX);
        if at >= bytes.len() {
            break;
        }
        match read_batch(place, bytes, at, last.checksum) {
            Ok(batch) if segment.batches.iter().rev().all(|earlier| earlier.end != batch.watermark) => {
                segment.tail = Some(Flaw::wrong(at, "a batch with an impossible watermark"));
                break;
            }
            Ok(batch) => segment.batches.push(batch),
            Err(flaw) => {
                segment.tail = Some(flaw);
                break;
            }
        }
    }
    Ok(segment)
}

/// The first batch record at or behind `from` that proves that the file was durable beyond `from`: a flaw there is
/// damage, not a write that was cut off.
#[must_use]
pub fn proof_of_damage(place: Place, bytes: &[u8], from: usize) -> Option<u64> {
    let mut at = record::padded(from);
    while let Some(header) = bytes.get(at..).and_then(|rest| rest.get(..HEADER_BYTES)) {
        let likely = header[0] == BATCH_BYTES as u8 && header[4] == Kind::Batch as u8;
        if likely
            && let Ok(raw) = record::read(place, bytes, at)
            && let Some((watermark, _)) = read_batch_head(&raw)
            && watermark > from as u64
        {
            return Some(at as u64);
        }
        at += record::ALIGNMENT;
    }
    None
}
