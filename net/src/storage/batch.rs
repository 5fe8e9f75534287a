//! What one sync makes durable: a head that says up to where the file was durable before, then records. It counts whole or
//! not at all.

use super::{
    record::{self, Cursor, Flaw, HEADER_BYTES, Kind, Place, RawRecord, Window},
    segment::{Checkpoint, Footer, SEGMENT_HEADER_BYTES},
};
use bytes::Bytes;
use quorate_core::{
    contract::{Entry, HardState, LogPosition, Voters},
    limits,
    types::{Index, NodeId, StorageId, Term},
};

/// Payload of a batch's head, in bytes.
pub const BATCH_BYTES: usize = 16;
/// A footer with its header, in bytes.
pub const FOOTER_BYTES: usize = HEADER_BYTES + 32;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<E = Vec<Entry>> {
    /// Drop what is from the first one's index on, then add these.
    Entries(E),
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
    records: u64,
    place: Place,
    offset: u64,
}

impl BatchWriter {
    /// An empty batch at this offset, up to which the file is durable. `buffer` is used again; what is in it goes.
    #[must_use]
    pub fn new(place: Place, offset: u64, mut buffer: Vec<u8>) -> Self {
        let watermark = if offset == SEGMENT_HEADER_BYTES as u64 { 0 } else { offset };
        buffer.clear();
        record::push(&mut buffer, Kind::Batch, |payload| push_numbers(payload, &[watermark, 0]));
        Self { buffer, records: 1, place, offset }
    }

    fn push(&mut self, kind: Kind, payload: impl FnOnce(&mut Vec<u8>)) {
        record::push(&mut self.buffer, kind, payload);
        self.records += 1;
    }

    /// Where it will end.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Records in it, its head included.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
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
            self.push(Kind::Entries, |payload| {
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
        self.push(Kind::HardState, |payload| push_hard_state(payload, hard_state));
    }

    /// Adds voters.
    pub fn voters(&mut self, voters: &Voters) {
        self.push(Kind::Voters, |payload| push_voters(payload, voters));
    }

    /// Adds a log start.
    pub fn log_start(&mut self, at: LogPosition, dropped: bool) {
        self.push(Kind::LogStart, |payload| {
            push_numbers(payload, &[at.term.0, at.index.0, u64::from(dropped)]);
        });
    }

    /// Adds a checkpoint.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        self.push(Kind::Checkpoint, |payload| {
            push_hard_state(payload, &checkpoint.hard_state);
            let Checkpoint { start, end, .. } = checkpoint;
            push_numbers(payload, &[start.term.0, start.index.0, end.term.0, end.index.0]);
            push_voters(payload, &checkpoint.voters);
        });
    }

    /// The batch's bytes, behind a record with the checksum `previous`, and its own checksum. With a footer, that follows:
    /// what it says of the entries, and how many records are in front of this batch.
    #[must_use]
    pub fn finish(mut self, previous: u32, footer: Option<Footer>) -> (Vec<u8>, u32) {
        let head = HEADER_BYTES + BATCH_BYTES;
        let length = (self.buffer.len() - head) as u64;
        self.buffer[head - 8..head].copy_from_slice(&length.to_le_bytes());
        let mut checksum = record::seal(self.place, &mut self.buffer, self.offset, previous);
        if let Some(footer) = footer {
            let begin = self.buffer.len();
            let records = footer.records + self.records;
            self.push(Kind::Footer, |payload| {
                push_numbers(payload, &[footer.lowest.0, footer.highest.0, records, u64::from(checksum)]);
            });
            let at = self.offset + begin as u64;
            checksum = record::seal(self.place, &mut self.buffer[begin..], at, checksum);
        }
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

/// The entries of one record, still in the bytes that were read.
#[derive(Clone, Debug)]
pub struct EntriesIn<'bytes> {
    window: &'bytes Bytes,
    at: usize,
    end: usize,
    left: u64,
    next: Option<Index>,
}

impl<'bytes> EntriesIn<'bytes> {
    fn new(window: &'bytes Bytes, begin: usize, end: usize) -> Option<Self> {
        let left = Cursor::new(window.get(begin..end)?).u64()?;
        (left > 0).then_some(Self { window, at: begin + 8, end, left, next: None })
    }

    /// The index of the first one.
    #[must_use]
    pub fn first(&self) -> Option<Index> {
        read_position(&mut Cursor::new(self.window.get(self.at..self.end)?)).map(|at| at.index)
    }

    /// The next one; its data is a part of the bytes that were read. `Some(None)`: this is not what was written.
    #[expect(clippy::option_option, reason = "the end, and what is wrong")]
    fn step(&mut self) -> Option<Option<Entry>> {
        if self.left == 0 {
            return (self.at != self.end).then(|| {
                self.at = self.end;
                None
            });
        }
        let entry = self.parse();
        self.left = if entry.is_some() { self.left - 1 } else { 0 };
        if entry.is_none() {
            self.at = self.end;
        }
        Some(entry)
    }

    fn parse(&mut self) -> Option<Entry> {
        let mut cursor = Cursor::new(self.window.get(self.at..self.end)?);
        let LogPosition { term, index } = read_position(&mut cursor)?;
        let length = usize::try_from(cursor.u64()?).ok()?;
        cursor.take(length)?;
        if index.0 == 0 || self.next.is_some_and(|next| next != index) {
            return None;
        }
        self.next = Some(Index(index.0.checked_add(1)?));
        let begin = self.at + 24;
        self.at = begin + length;
        Some(Entry { term, index, data: self.window.slice(begin..begin + length) })
    }
}

impl Iterator for EntriesIn<'_> {
    type Item = Result<Entry, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().map(|entry| entry.ok_or_else(|| CONTENT.to_owned()))
    }
}

/// What is said of a record whose checksum is right, and whose content is not.
pub const CONTENT: &str = "a record's content is wrong";

fn read_record<'bytes>(window: &'bytes Bytes, raw: &RawRecord<'_>) -> Option<Record<EntriesIn<'bytes>>> {
    let cursor = &mut Cursor::new(raw.payload);
    let record = match raw.kind {
        Kind::Batch | Kind::Footer => return None,
        Kind::Entries => {
            let end = raw.begin + raw.payload.len();
            return EntriesIn::new(window, raw.begin, end).map(Record::Entries);
        }
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

/// What a footer says.
#[must_use]
pub fn read_footer(raw: &RawRecord<'_>) -> Option<Footer> {
    let mut cursor = Cursor::new(raw.payload);
    let (lowest, highest, records) = (Index(cursor.u64()?), Index(cursor.u64()?), cursor.u64()?);
    let checksum = u32::try_from(cursor.u64()?).ok()?;
    let footer = Footer { lowest, highest, records, checksum };
    (raw.kind == Kind::Footer && cursor.is_empty()).then_some(footer)
}

/// Watermark and length of what follows, if this is a batch's head.
#[must_use]
pub fn read_batch_head(raw: &RawRecord<'_>) -> Option<(u64, u64)> {
    let mut cursor = Cursor::new(raw.payload);
    let head = (cursor.u64()?, cursor.u64()?);
    (raw.kind == Kind::Batch && cursor.is_empty()).then_some(head)
}

/// A batch whose checksums are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Where it begins in the file.
    pub offset: u64,
    /// Where it ends in the file.
    pub end: u64,
    /// The checksum of the record before it.
    pub previous: u32,
    /// The checksum of its last record.
    pub checksum: u32,
    /// The file was durable up to here when it was written. 0 for the first batch.
    pub watermark: u64,
    /// Its records, the head included.
    pub records: u64,
}

/// The head of the batch that begins at `at` of a window, behind a record with the checksum `previous`. Where the batch
/// ends is where its head says: the window need not hold that much.
///
/// # Errors
/// A [`Flaw`]; torn where a write that was cut off could have left it.
pub fn check_head(place: Place, window: Window<'_>, at: usize, previous: u32) -> Result<BatchHead, Flaw> {
    let offset = window.base + at as u64;
    let raw = chained(place, window, at, previous)?;
    let (watermark, length) =
        read_batch_head(&raw).ok_or_else(|| Flaw::wrong(offset, "there is no batch where one must begin"))?;
    let end = (window.base + raw.end as u64).checked_add(length);
    let end = end.ok_or_else(|| Flaw::torn(offset, "the file ends inside a batch"))?;
    Ok(BatchHead { offset, end, previous, checksum: raw.checksum, watermark, records: 1 })
}

fn chained(place: Place, window: Window<'_>, at: usize, previous: u32) -> Result<RawRecord<'_>, Flaw> {
    let raw = record::read(place, window, at)?;
    if raw.previous == previous {
        return Ok(raw);
    }
    Err(Flaw::torn(window.base + at as u64, "a record does not belong behind the one before"))
}

/// Verifies the records behind a head, and hands each to `each`. The window must hold the batch, unless the file ends
/// inside it.
///
/// # Errors
/// As [`check_head`].
pub fn check_records(
    place: Place,
    window: Window<'_>,
    batch: &mut BatchHead,
    mut each: impl FnMut(u64, &RawRecord<'_>) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    let offset = batch.offset;
    let position = |offset: u64| usize::try_from(offset - window.base).unwrap_or(usize::MAX);
    let (begin, end) = (position(offset) + HEADER_BYTES + BATCH_BYTES, position(batch.end));
    if end > window.bytes.len() {
        return Err(Flaw::torn(offset, "the file ends inside a batch"));
    }
    let mut next = begin;
    while next < end {
        let raw = chained(place, window, next, batch.checksum)?;
        let first = next == begin && offset == SEGMENT_HEADER_BYTES as u64;
        if raw.kind == Kind::Checkpoint && !first {
            let what = "a checkpoint that is not at the beginning";
            return Err(Flaw::wrong(window.base + next as u64, what));
        }
        each(window.base + next as u64, &raw)?;
        (next, batch.checksum, batch.records) = (raw.end, raw.checksum, batch.records + 1);
    }
    if next != end {
        return Err(Flaw::wrong(offset, "a batch ends inside a record"));
    }
    Ok(())
}

/// The first and the last index that a record of entries claims to hold. `None`: its content is wrong.
#[must_use]
pub fn entry_range(raw: &RawRecord<'_>) -> Option<(Index, Index)> {
    let mut cursor = Cursor::new(raw.payload);
    let more = cursor.u64()?.checked_sub(1)?;
    let first = read_position(&mut cursor)?.index;
    Some((first, Index(first.0.checked_add(more)?)))
}

/// One record of a batch, and where it is in the file.
#[derive(Clone, Debug)]
pub struct RecordAt<'bytes> {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length with its header, in bytes.
    pub length: usize,
    /// What it says.
    pub record: Record<EntriesIn<'bytes>>,
}

/// The records of a batch that [`check_records`] verified in this window.
pub fn records<'bytes>(
    bytes: &'bytes Bytes,
    base: u64,
    batch: &BatchHead,
) -> impl Iterator<Item = Result<RecordAt<'bytes>, Flaw>> + use<'bytes> {
    let position = move |offset: u64| usize::try_from(offset - base).unwrap_or(usize::MAX);
    let mut at = position(batch.offset) + HEADER_BYTES + BATCH_BYTES;
    let end = position(batch.end);
    core::iter::from_fn(move || {
        let begin = at;
        if begin >= end {
            return None;
        }
        let offset = base + begin as u64;
        let wrong = || Flaw::wrong(offset, CONTENT);
        let raw = record::trusted(bytes, begin);
        at = raw.as_ref().map_or(end, |raw| raw.end);
        let record = raw.as_ref().and_then(|raw| read_record(bytes, raw)).ok_or_else(wrong);
        Some(record.map(|record| RecordAt { offset, length: at - begin, record }))
    })
}
