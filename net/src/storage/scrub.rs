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
    record::ReadError,
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

/// What is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Where, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// It is a snapshot.
    pub snapshot: Option<LogPosition>,
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

enum Reading {
    Segment(Scan<Read>, Point),
    Snapshot(FrameReader<Read>, LogPosition, u64),
}

/// One round over a data directory.
pub struct Scrub {
    disk: Arc<dyn Disk>,
    identity: Identity,
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

/// Whatever is gone meanwhile needs no look any more.
fn there<T>(result: Result<T, ReadError>) -> Option<Result<T, ReadError>> {
    match result {
        Err(ReadError::Disk(error)) if error.is_missing() => None,
        result => Some(result),
    }
}

impl Scrub {
    /// Begins a round over the snapshots and the segments that are complete.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(store: &SnapshotStore) -> Result<Self, DiskError> {
        let (disk, identity) = store.directory();
        let mut ends = BTreeMap::new();
        for sequence in disk.list()?.iter().filter_map(|name| parse_file_name(name)) {
            let bytes = match disk.read(&file_name(sequence), 0, SEGMENT_HEADER_BYTES) {
                Ok(bytes) => bytes,
                Err(error) if error.is_missing() => continue,
                Err(error) => return Err(error),
            };
            if let Some((header, _)) = SegmentHeader::decode(&bytes) {
                ends.insert(header.previous.sequence, header.previous);
            }
        }
        let reads = !bug::planted(Bug::NetScrubReadsNothing);
        let segments = ends.into_values().filter(|end| end.sequence > 0 && reads).rev().collect();
        let snapshots = if reads { store.list()? } else { Vec::new() };
        Ok(Self { disk, identity, segments, snapshots, reading: None })
    }

    fn source(&self, file: String) -> Read {
        let disk = Arc::clone(&self.disk);
        Box::new(move |offset, length| disk.read(&file, offset, length))
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// The disk's.
    pub fn step(&mut self) -> Result<Step, DiskError> {
        loop {
            let Some(reading) = self.reading.take() else {
                match self.begin() {
                    None => return Ok(Step::Done),
                    Some(begun) => match begun? {
                        Some(step) => return Ok(step),
                        None => continue,
                    },
                }
            };
            let (file, snapshot) = match &reading {
                Reading::Segment(_, end) => (file_name(end.sequence), None),
                Reading::Snapshot(_, at, _) => (snapshots::file_name(*at), Some(*at)),
            };
            match there(self.go_on(reading)) {
                None | Some(Ok(None)) => {}
                Some(Ok(Some(bytes))) => return Ok(Step::Read(bytes)),
                Some(Err(ReadError::Disk(error))) => return Err(error),
                Some(Err(ReadError::Flaw(flaw))) => {
                    return Ok(Step::Found(Finding { file, offset: flaw.offset, what: flaw.what, snapshot }));
                }
            }
        }
    }

    /// Opens the next file. `None`: there is none.
    fn begin(&mut self) -> Option<Result<Option<Step>, DiskError>> {
        let (file, snapshot, begun) = if let Some(end) = self.segments.pop() {
            let file = file_name(end.sequence);
            let scan = Scan::begin(self.source(file.clone()), end.offset);
            (file, None, scan.map(|scan| Reading::Segment(scan, end)))
        } else {
            let at = self.snapshots.pop()?;
            let file = snapshots::file_name(at);
            let header = SnapshotHeader { identity: self.identity, at };
            let begun = FrameReader::begin(self.source(file.clone())).and_then(|(found, reader)| {
                let wrong = || super::record::Flaw::wrong(0, "it is another snapshot than its name says");
                if found == header { Ok(Reading::Snapshot(reader, at, 0)) } else { Err(wrong().into()) }
            });
            (file, Some(at), begun)
        };
        Some(match there(begun) {
            None => Ok(None),
            Some(Ok(reading)) => {
                self.disk.forget_read(&file);
                self.reading = Some(reading);
                Ok(None)
            }
            Some(Err(ReadError::Disk(error))) => Err(error),
            Some(Err(ReadError::Flaw(flaw))) => {
                Ok(Some(Step::Found(Finding { file, offset: flaw.offset, what: flaw.what, snapshot })))
            }
        })
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
                Err(super::record::Flaw::wrong(scan.end().offset, what).into())
            }
            Reading::Snapshot(mut reader, at, bytes) => {
                let Some(chunk) = reader.chunk()? else { return Ok(None) };
                let size = chunk.len() as u64;
                self.reading = Some(Reading::Snapshot(reader, at, bytes + size));
                Ok(Some(size))
            }
        }
    }
}
