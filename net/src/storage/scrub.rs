//! Reads what is on the disk and not written any more, piece by piece: damage is found while there is still a process that
//! holds the same in memory.
//!
//! A segment counts as far as the header of the next one says; what is behind, or has no successor, is still written. So
//! the log's cold part is judged as a start would judge it.

use super::{
    disk::Disk,
    error::DiskError,
    frames::{FrameReader, SnapshotHeader},
    identity::Identity,
    record::{Flaw, ReadError},
    scan::Scan,
    segment::{Point, SEGMENT_HEADER_BYTES, SegmentHeader, file_name, parse_file_name},
    snapshots::{self, SnapshotStore},
};
use quorate_core::{
    bug::{self, Bug},
    contract::LogPosition,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

type Read = Box<dyn FnMut(u64, usize) -> Result<Vec<u8>, DiskError> + Send>;

/// A file that is not written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cold {
    /// A segment of the log, by its number.
    Segment(u64),
    /// A snapshot.
    Snapshot(LogPosition),
}

impl Cold {
    fn file(self) -> String {
        match self {
            Self::Segment(sequence) => file_name(sequence),
            Self::Snapshot(at) => snapshots::file_name(at),
        }
    }
}

/// What is damaged, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which one.
    pub cold: Cold,
    /// Its name.
    pub file: String,
    /// Where, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

impl Finding {
    /// What an error says of the file. `None`: it is gone, and needs no look any more.
    ///
    /// # Errors
    /// The disk's, if it says nothing of this file.
    fn new(cold: Cold, error: ReadError) -> Result<Option<Self>, DiskError> {
        let (offset, what) = match error {
            ReadError::Flaw(flaw) => (flaw.offset, flaw.what),
            ReadError::Disk(error) if error.is_missing() => return Ok(None),
            ReadError::Disk(error) if error.is_unreadable() => (0, error.message),
            ReadError::Disk(error) => return Err(error),
        };
        Ok(Some(Self { cold, file: cold.file(), offset, what }))
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes were right.
    Read(u64),
    /// Something is not.
    Found(Finding),
    /// Everything was read.
    Done,
}

/// What is read next: a segment up to its end, or a snapshot.
enum Next {
    Segment(Point),
    Snapshot(LogPosition),
}

impl Next {
    const fn of(&self) -> Cold {
        match self {
            Self::Segment(end) => Cold::Segment(end.sequence),
            Self::Snapshot(at) => Cold::Snapshot(*at),
        }
    }
}

enum Reading {
    Segment(Scan<Read>, Point),
    Snapshot(FrameReader<Read>, LogPosition),
}

impl Reading {
    const fn cold(&self) -> Cold {
        match self {
            Self::Segment(_, end) => Cold::Segment(end.sequence),
            Self::Snapshot(_, at) => Cold::Snapshot(*at),
        }
    }
}

/// One round over a data directory.
pub struct Scrub {
    disk: Arc<dyn Disk>,
    identity: Identity,
    /// What was found and not told yet.
    found: Vec<Finding>,
    segments: Vec<Point>,
    snapshots: Vec<LogPosition>,
    reading: Option<Reading>,
}

impl fmt::Debug for Scrub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scrub")
            .field("segments", &self.segments)
            .field("snapshots", &self.snapshots)
            .finish_non_exhaustive()
    }
}

impl Scrub {
    /// Begins a round over the snapshots and the segments that are complete.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(store: &SnapshotStore) -> Result<Self, DiskError> {
        let (disk, identity) = store.directory();
        let (mut ends, mut found) = (BTreeMap::new(), Vec::new());
        for sequence in disk.list()?.iter().filter_map(|name| parse_file_name(name)) {
            match disk.read(&file_name(sequence), 0, SEGMENT_HEADER_BYTES) {
                Ok(bytes) => {
                    if let Some((header, _)) = SegmentHeader::decode(&bytes) {
                        ends.insert(header.previous.sequence, header.previous);
                    }
                }
                Err(error) => found.extend(Finding::new(Cold::Segment(sequence), error.into())?),
            }
        }
        let reads = !bug::planted(Bug::NetScrubReadsNothing);
        let known = |end: &Point| found.iter().any(|finding| finding.cold == Cold::Segment(end.sequence));
        let segments =
            ends.into_values().filter(|end| end.sequence > 0 && reads && !known(end)).rev().collect();
        let snapshots = if reads { store.list()? } else { Vec::new() };
        found.retain(|_| reads);
        Ok(Self { disk, identity, found, segments, snapshots, reading: None })
    }

    fn source(&self, file: String) -> Read {
        let disk = Arc::clone(&self.disk);
        Box::new(move |offset, length| disk.read(&file, offset, length))
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// The disk's, if it says nothing of what is there.
    pub fn step(&mut self) -> Result<Step, DiskError> {
        loop {
            if let Some(finding) = self.found.pop() {
                return Ok(Step::Found(finding));
            }
            let (cold, result) = match self.reading.take() {
                Some(reading) => (reading.cold(), self.go_on(reading)),
                None => match self.next() {
                    Some(next) => (next.of(), self.begin(next).map(|()| None)),
                    None => return Ok(Step::Done),
                },
            };
            match result {
                Ok(None) => {}
                Ok(Some(bytes)) => return Ok(Step::Read(bytes)),
                Err(error) => self.found.extend(Finding::new(cold, error)?),
            }
        }
    }

    fn next(&mut self) -> Option<Next> {
        let segment = self.segments.pop().map(Next::Segment);
        segment.or_else(|| self.snapshots.pop().map(Next::Snapshot))
    }

    /// Opens a file.
    fn begin(&mut self, next: Next) -> Result<(), ReadError> {
        let file = next.of().file();
        let source = self.source(file.clone());
        let reading = match next {
            Next::Segment(end) => Reading::Segment(Scan::begin(source, end.offset)?, end),
            Next::Snapshot(at) => {
                let (found, reader) = FrameReader::begin(source)?;
                if found != (SnapshotHeader { identity: self.identity, at }) {
                    return Err(Flaw::wrong(0, "it is another snapshot than its name says").into());
                }
                Reading::Snapshot(reader, at)
            }
        };
        self.disk.forget_read(&file);
        self.reading = Some(reading);
        Ok(())
    }

    /// The bytes of the next batch or chunk. `None`: the file was right to its end.
    fn go_on(&mut self, reading: Reading) -> Result<Option<u64>, ReadError> {
        match reading {
            Reading::Segment(mut scan, end) => {
                let batch = scan.next_batch()?;
                if let Some(batch) = batch {
                    self.reading = Some(Reading::Segment(scan, end));
                    return Ok(Some(batch.end - batch.offset));
                }
                if scan.end() == end {
                    return Ok(None);
                }
                let what = "the file does not end as the next segment says";
                Err(Flaw::wrong(scan.end().offset, what).into())
            }
            Reading::Snapshot(mut reader, at) => {
                let Some(chunk) = reader.chunk()? else { return Ok(None) };
                self.reading = Some(Reading::Snapshot(reader, at));
                Ok(Some(chunk.len() as u64))
            }
        }
    }
}
