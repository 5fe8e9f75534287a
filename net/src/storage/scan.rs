//! Reading one segment from its beginning to its end, with a bounded piece of it in memory.

use super::{
    batch::{
        BATCH_BYTES, BatchHead, CONTENT, FOOTER_BYTES, Record, RecordAt, check_head, check_records,
        entry_range, read_batch_head, read_footer, records,
    },
    error::DiskError,
    record::{self, Flaw, HEADER_BYTES, Kind, Place, ReadError, Window},
    segment::{Footer, Point, SEGMENT_HEADER_BYTES, SegmentHeader},
};
use bytes::Bytes;
use quorate_core::{
    bug::{self, Bug},
    contract::Entry,
    limits,
    types::Index,
};

/// Reads up to so many bytes of a file from an offset on, fewer only at its end.
pub trait Source: FnMut(u64, usize) -> Result<Vec<u8>, DiskError> {}

impl<F: FnMut(u64, usize) -> Result<Vec<u8>, DiskError>> Source for F {}

/// A batch that may be one that no later one vouches for.
#[derive(Clone, Copy, Debug)]
struct Recent {
    head: BatchHead,
    lowest: Option<Index>,
}

/// A segment that is being read.
#[derive(Debug)]
pub struct Scan<R> {
    source: R,
    header: SegmentHeader,
    window: Bytes,
    base: u64,
    at: usize,
    /// Nothing is read from here on.
    limit: u64,
    checksum: u32,
    /// The batches from the newest watermark on, and the one that ends there.
    recent: Vec<Recent>,
    seen: Footer,
    sealed: bool,
}

impl<R: Source> Scan<R> {
    /// Reads the header of a file of which `limit` bytes count.
    ///
    /// # Errors
    /// It is not whole.
    pub fn begin(mut source: R, limit: u64) -> Result<Self, ReadError> {
        let bytes = source(0, SEGMENT_HEADER_BYTES)?;
        let found = SegmentHeader::decode(&bytes).filter(|_| limit >= SEGMENT_HEADER_BYTES as u64);
        let (header, checksum) = found.ok_or_else(|| Flaw::torn(0, "the segment's header is not whole"))?;
        Ok(Self {
            source,
            header,
            window: Bytes::new(),
            base: SEGMENT_HEADER_BYTES as u64,
            at: 0,
            limit,
            checksum,
            recent: Vec::new(),
            seen: Footer::default(),
            sealed: false,
        })
    }

    /// Its header.
    pub const fn header(&self) -> &SegmentHeader {
        &self.header
    }

    const fn place(&self) -> Place {
        self.header.place()
    }

    /// The end of what was read.
    pub const fn end(&self) -> Point {
        let offset = self.base + self.at as u64;
        Point { sequence: self.header.sequence, offset, checksum: self.checksum }
    }

    /// Whether its footer was read.
    pub const fn sealed(&self) -> bool {
        self.sealed
    }

    /// What its footer says, or would say if it ended here.
    pub const fn seen(&self) -> Footer {
        Footer { checksum: self.checksum, ..self.seen }
    }

    /// Makes sure that so many bytes are in the window, as far as the file has them. Says whether they are.
    fn fill(&mut self, need: usize) -> Result<bool, DiskError> {
        if self.window.len() - self.at < need {
            let offset = self.base + self.at as u64;
            let left = usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX);
            let want = need.max(limits::WAL_READ_BYTES).min(left);
            self.window = Bytes::from((self.source)(offset, want)?);
            (self.base, self.at) = (offset, 0);
        }
        Ok(self.window.len() - self.at >= need)
    }

    fn view(&self) -> Window<'_> {
        Window { base: self.base, bytes: &self.window }
    }

    /// The next batch. `None`: the file ends there, or its footer was right.
    ///
    /// # Errors
    /// A flaw; after one the scan is where it was.
    pub fn next_batch(&mut self) -> Result<Option<BatchHead>, ReadError> {
        let offset = self.base + self.at as u64;
        if self.sealed || offset >= self.limit {
            return Ok(None);
        }
        self.fill(HEADER_BYTES)?;
        match record::read_head(&self.window, self.at) {
            Ok((_, Kind::Footer)) => return self.footer().map(|()| None),
            Ok((BATCH_BYTES, Kind::Batch)) => {}
            Ok(_) => {
                self.fill(limits::WAL_RECORD_BYTES + HEADER_BYTES)?;
                record::read(self.place(), self.view(), self.at)?;
                return Err(Flaw::wrong(offset, "there is no batch where one must begin").into());
            }
            Err(what) => return Err(Flaw::torn(offset, what).into()),
        }
        // Its length counts only if its checksum is right.
        self.fill(HEADER_BYTES + BATCH_BYTES)?;
        let mut head = check_head(self.place(), self.view(), self.at, self.checksum)?;
        self.fill(usize::try_from(head.end - head.offset).unwrap_or(usize::MAX))?;
        self.admit(&mut head)?;
        Ok(Some(head))
    }

    fn footer(&mut self) -> Result<(), ReadError> {
        let offset = self.base + self.at as u64;
        self.fill(FOOTER_BYTES)?;
        let raw = record::read(self.place(), self.view(), self.at)?;
        if raw.previous != self.checksum {
            return Err(Flaw::torn(offset, "the footer does not belong behind the record before").into());
        }
        let (said, end, checksum) = (read_footer(&raw), raw.end, raw.checksum);
        if said != Some(self.seen()) && !bug::planted(Bug::NetFooterUnchecked) {
            let what = format!("the footer says {said:?}, and the segment holds {:?}", self.seen());
            return Err(Flaw::wrong(offset, what).into());
        }
        (self.at, self.checksum, self.sealed) = (end, checksum, true);
        Ok(())
    }

    /// Verifies a batch, whose watermark must be the end of an earlier one.
    fn admit(&mut self, head: &mut BatchHead) -> Result<(), Flaw> {
        let first = head.offset == SEGMENT_HEADER_BYTES as u64;
        let (mut seen, mut lowest, mut checkpoint) = (self.seen, None::<Index>, false);
        let view = Window { base: self.base, bytes: &self.window };
        check_records(self.header.place(), view, head, |offset, raw| {
            checkpoint |= raw.kind == Kind::Checkpoint;
            if raw.kind == Kind::Entries {
                let (from, to) = entry_range(raw).ok_or_else(|| Flaw::wrong(offset, CONTENT))?;
                seen.note(from, to);
                lowest = Some(lowest.map_or(from, |before| before.min(from)));
            }
            Ok(())
        })?;
        if first != checkpoint {
            return Err(Flaw::wrong(head.offset, "the segment does not begin with a checkpoint"));
        }
        let known = self.recent.iter().any(|earlier| earlier.head.end == head.watermark);
        if first != (head.watermark == 0) || !(first || known) {
            return Err(Flaw::wrong(head.offset, "a batch with an impossible watermark"));
        }
        self.recent.retain(|earlier| earlier.head.end >= head.watermark);
        self.recent.push(Recent { head: *head, lowest });
        seen.records += head.records;
        self.seen = seen;
        self.at = usize::try_from(head.end - self.base).unwrap_or(usize::MAX);
        self.checksum = head.checksum;
        Ok(())
    }

    /// The records of the batch that [`next_batch`](Self::next_batch) just gave.
    pub fn records(&self, batch: &BatchHead) -> impl Iterator<Item = Result<RecordAt<'_>, Flaw>> {
        records(&self.window, self.base, batch)
    }

    /// Up to where a completed sync vouches for what was read, and the lowest index of the entries behind.
    pub fn vouched(&self) -> (Point, Option<Index>) {
        let watermark = self.recent.last().map_or(0, |recent| recent.head.watermark);
        let behind = self.recent.iter().filter(|recent| recent.head.offset >= watermark);
        let unsure = behind.filter_map(|recent| recent.lowest).min();
        let vouched = self.recent.iter().find(|recent| recent.head.end == watermark);
        let sequence = self.header.sequence;
        let point = vouched.map_or(self.header.previous, |recent| Point {
            sequence,
            offset: watermark,
            checksum: recent.head.checksum,
        });
        (point, unsure)
    }

    /// Looks at what is behind a flaw: what it proves.
    ///
    /// # Errors
    /// The disk's.
    pub fn behind(&mut self, place: Place, from: u64) -> Result<Behind, DiskError> {
        behind(place, &mut self.source, from, self.limit)
    }
}

/// What is behind a place where no batch is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// A batch that says that the file was durable beyond that place: what is there is damaged.
    pub proof: Option<u64>,
    /// There are bytes that are not zero.
    pub written: bool,
    /// A batch begins at that place.
    pub begun: bool,
}

/// Looks at a file from a place on that no whole batch begins at.
///
/// # Errors
/// The disk's.
pub fn behind(place: Place, source: &mut impl Source, from: u64, limit: u64) -> Result<Behind, DiskError> {
    const HEAD: usize = HEADER_BYTES + BATCH_BYTES;
    let mut found = Behind::default();
    let mut base = from.next_multiple_of(record::ALIGNMENT as u64);
    while base < limit {
        let left = usize::try_from(limit - base).unwrap_or(usize::MAX);
        let bytes = source(base, left.min(limits::WAL_READ_BYTES + HEAD))?;
        const ZEROS: [u8; 4096] = [0; 4096];
        found.written |= bytes.chunks(ZEROS.len()).any(|piece| piece != &ZEROS[..piece.len()]);
        // A head at any of these places is whole in what was read.
        let places = (bytes.len() + record::ALIGNMENT).saturating_sub(HEAD);
        let mut at = 0;
        while at < places {
            if bytes[at..].starts_with(&ZEROS) {
                at += ZEROS.len();
                continue;
            }
            let likely = bytes[at] == BATCH_BYTES as u8 && bytes.get(at + 4) == Some(&(Kind::Batch as u8));
            if likely
                && let Ok(raw) = record::read(place, Window { base, bytes: &bytes }, at)
                && let Some((watermark, _)) = read_batch_head(&raw)
            {
                found.begun |= base + at as u64 == from;
                if watermark > from {
                    found.proof = Some(base + at as u64);
                    return Ok(found);
                }
            }
            at += record::ALIGNMENT;
        }
        if bytes.len() >= left || places == 0 {
            break;
        }
        base += (places / record::ALIGNMENT * record::ALIGNMENT) as u64;
    }
    Ok(found)
}

/// What one sync made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where it is.
    pub head: BatchHead,
    /// What it says, in this order.
    pub records: Vec<Record>,
}

/// A segment, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its header.
    pub header: SegmentHeader,
    /// The whole batches, in order. The first has the checkpoint.
    pub batches: Vec<Batch>,
    /// What is wrong behind them. `None`: the file ends there, or its footer is there.
    pub tail: Option<Flaw>,
    /// Where what was read ends.
    pub end: u64,
    /// The footer is there.
    pub sealed: bool,
}

/// Reads a segment up to its end or the first flaw. Never panics, whatever the bytes.
///
/// # Errors
/// The header or the first batch cannot be read.
pub fn decode_segment(bytes: &[u8]) -> Result<Segment, Flaw> {
    let flaw = |error| match error {
        ReadError::Flaw(flaw) => flaw,
        // Memory does not fail.
        ReadError::Disk(error) => Flaw::wrong(0, error.to_string()),
    };
    let mut scan = Scan::begin(slice(bytes), bytes.len() as u64).map_err(flaw)?;
    let (mut batches, mut tail) = (Vec::new(), None);
    loop {
        match scan.next_batch().map_err(flaw) {
            Ok(None) => break,
            Ok(Some(head)) => match scan.records(&head).map(owned).collect() {
                Ok(records) => batches.push(Batch { head, records }),
                Err(flaw) => return Err(flaw),
            },
            Err(flaw) => {
                tail = Some(flaw);
                break;
            }
        }
    }
    match tail {
        Some(flaw) if batches.is_empty() => Err(flaw),
        None if batches.is_empty() => {
            Err(Flaw::torn(SEGMENT_HEADER_BYTES as u64, "the file ends behind its header"))
        }
        tail => Ok(Segment {
            header: *scan.header(),
            batches,
            tail,
            end: scan.end().offset,
            sealed: scan.sealed(),
        }),
    }
}

/// A source of bytes in memory.
pub fn slice(bytes: &[u8]) -> impl Source {
    move |offset: u64, length: usize| {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[from..from.saturating_add(length).min(bytes.len())].to_vec())
    }
}

fn owned(found: Result<RecordAt<'_>, Flaw>) -> Result<Record, Flaw> {
    let RecordAt { offset, record, .. } = found?;
    Ok(match record {
        Record::Entries(entries) => {
            let entries: Result<Vec<Entry>, String> = entries.collect();
            Record::Entries(entries.map_err(|what| Flaw::wrong(offset, what))?)
        }
        Record::HardState(hard_state) => Record::HardState(hard_state),
        Record::Voters(voters) => Record::Voters(voters),
        Record::LogStart { at, dropped } => Record::LogStart { at, dropped },
        Record::Checkpoint(checkpoint) => Record::Checkpoint(checkpoint),
    })
}
