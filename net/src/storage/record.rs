//! One record of the log: 16 bytes of header, the payload, zeros up to a multiple of 8.
//!
//! Header: payload length (u32), kind (u8), three zeros, checksum (u32), checksum of the record before (u32); all
//! numbers little-endian. The checksum (CRC-32C) covers the directory's storage id, the segment's number, the record's
//! offset and everything in the record: bytes that are stale, or at another place, never verify, also in a file that was
//! another segment before. Each record can be verified alone, and those of a segment form a chain.

use quorate_core::{
    bug::{self, Bug},
    types::StorageId,
};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 16;
/// Records begin at multiples of this, in bytes.
pub const ALIGNMENT: usize = 8;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first of a batch.
    Batch = 1,
    /// Entries of the log.
    Entries = 2,
    /// The hard state.
    HardState = 3,
    /// The voters.
    Voters = 4,
    /// Where the log begins.
    LogStart = 5,
    /// Everything but entries, at the beginning of a segment.
    Checkpoint = 6,
    /// The last one of a full segment: what is in it.
    Footer = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Batch,
            2 => Self::Entries,
            3 => Self::HardState,
            4 => Self::Voters,
            5 => Self::LogStart,
            6 => Self::Checkpoint,
            7 => Self::Footer,
            _ => return None,
        })
    }
}

/// Which file a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The data directory.
    pub storage: StorageId,
    /// The segment's number.
    pub sequence: u64,
}

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {what}")]
pub struct Flaw {
    /// Where, in bytes from the beginning of the file.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Whether a write that was cut off can leave this. If not, its checksum is right and its content is not.
    pub torn: bool,
}

impl Flaw {
    /// Something that a write that was cut off can leave.
    #[must_use]
    pub fn torn(offset: u64, what: &str) -> Self {
        Self { offset, what: what.to_owned(), torn: true }
    }

    /// Something that was written like this.
    #[must_use]
    pub fn wrong(offset: u64, what: impl Into<String>) -> Self {
        Self { offset, what: what.into(), torn: false }
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] super::error::DiskError),
    /// The bytes are wrong.
    #[error(transparent)]
    Flaw(#[from] Flaw),
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'bytes> {
    /// What it holds.
    pub kind: Kind,
    /// Its payload, without the zeros behind it.
    pub payload: &'bytes [u8],
    /// The checksum of the record before.
    pub previous: u32,
    /// Its own.
    pub checksum: u32,
    /// Where its payload begins in the bytes that it was read from.
    pub begin: usize,
    /// Where the next one begins there.
    pub end: usize,
}

/// Reads numbers off the front of bytes. `None` where they are too short.
#[derive(Clone, Debug)]
pub struct Cursor<'bytes> {
    rest: &'bytes [u8],
}

impl<'bytes> Cursor<'bytes> {
    /// From the beginning.
    #[must_use]
    pub const fn new(bytes: &'bytes [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next bytes.
    pub fn take(&mut self, count: usize) -> Option<&'bytes [u8]> {
        let (front, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(front)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// A length up to the next multiple of 8.
#[must_use]
pub const fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

/// Bytes of a file from somewhere on.
#[derive(Clone, Copy, Debug)]
pub struct Window<'bytes> {
    /// Where in the file the first one is.
    pub base: u64,
    /// The bytes.
    pub bytes: &'bytes [u8],
}

fn checksum(place: Place, offset: u64, head: &[u8], previous: u32, body: &[u8]) -> u32 {
    let mut front = [0; 36];
    front[..8].copy_from_slice(&place.storage.0.to_le_bytes());
    if !bug::planted(Bug::NetStaleCounts) {
        front[8..16].copy_from_slice(&place.sequence.to_le_bytes());
    }
    front[16..24].copy_from_slice(&offset.to_le_bytes());
    front[24..32].copy_from_slice(head);
    front[32..].copy_from_slice(&previous.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&front), body)
}

/// The length and the kind in a record's header, as far as they can be: nothing is verified.
///
/// # Errors
/// A text for a header that no record has.
pub fn read_head(bytes: &[u8], at: usize) -> Result<(usize, Kind), &'static str> {
    let short = "the file ends inside a record's header";
    let header = bytes.get(at..).and_then(|rest| rest.get(..HEADER_BYTES)).ok_or(short)?;
    let mut cursor = Cursor::new(header);
    let (length, kind) = (cursor.u32().ok_or(short)?, cursor.u32().ok_or(short)?);
    let kind = u8::try_from(kind).ok().and_then(Kind::from_byte);
    let kind = kind.ok_or("there is no such kind of record")?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > quorate_core::limits::WAL_RECORD_BYTES {
        return Err("a record's length is over the limit");
    }
    Ok((length, kind))
}

/// The record that begins at `at` of a window. Allocates nothing.
///
/// # Errors
/// Torn: an impossible header, a length over [`WAL_RECORD_BYTES`](quorate_core::limits::WAL_RECORD_BYTES) or the end of
/// the window, a wrong checksum.
pub fn read(place: Place, window: Window<'_>, at: usize) -> Result<RawRecord<'_>, Flaw> {
    let Window { base, bytes } = window;
    let offset = base + at as u64;
    let torn = |what| Flaw::torn(offset, what);
    let (length, kind) = read_head(bytes, at).map_err(torn)?;
    let begin = at + HEADER_BYTES;
    let body = bytes.get(begin..begin + padded(length));
    let body = body.ok_or_else(|| torn("the file ends inside a record"))?;
    let mut sums = Cursor::new(&bytes[at + 8..begin]);
    let (Some(found), Some(previous)) = (sums.u32(), sums.u32()) else {
        return Err(torn("the file ends inside a record's header"));
    };
    if checksum(place, offset, &bytes[at..at + 8], previous, body) != found {
        return Err(torn("a record's checksum is wrong"));
    }
    let zeros = body[length..].iter().all(|&byte| byte == 0);
    if !zeros {
        return Err(Flaw::wrong(offset, "there is something behind a record's payload"));
    }
    let payload = &body[..length];
    Ok(RawRecord { kind, payload, previous, checksum: found, begin, end: begin + body.len() })
}

/// The record at `at` of bytes that [`read`] took already: it is not verified again.
#[must_use]
pub fn trusted(bytes: &[u8], at: usize) -> Option<RawRecord<'_>> {
    let (length, kind) = read_head(bytes, at).ok()?;
    let begin = at + HEADER_BYTES;
    let mut sums = Cursor::new(bytes.get(at + 8..begin)?);
    let (checksum, previous) = (sums.u32()?, sums.u32()?);
    let payload = bytes.get(begin..begin + length)?;
    Some(RawRecord { kind, payload, previous, checksum, begin, end: begin + padded(length) })
}

/// Adds a record without its checksums: see [`seal`].
pub fn push(buffer: &mut Vec<u8>, kind: Kind, payload: impl FnOnce(&mut Vec<u8>)) {
    let begin = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    buffer[begin + 4] = kind as u8;
    payload(buffer);
    let length = buffer.len() - begin - HEADER_BYTES;
    // A payload over 4 GiB becomes a length that `seal` and `read` refuse.
    let number = u32::try_from(length).unwrap_or(u32::MAX);
    buffer[begin..begin + 4].copy_from_slice(&number.to_le_bytes());
    buffer.resize(begin + HEADER_BYTES + padded(length), 0);
}

/// Fills in the checksums of all records in `buffer`, which will be at `offset` of the file, behind a record with the
/// checksum `previous`. Gives the last one's.
pub fn seal(place: Place, buffer: &mut [u8], offset: u64, mut previous: u32) -> u32 {
    let mut at = 0;
    while let Some(length) = buffer.get(at..).and_then(|rest| Cursor::new(rest).u32()) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let end = at.saturating_add(HEADER_BYTES).saturating_add(padded(length.min(usize::MAX / 2)));
        let Some(record) = buffer.get_mut(at..end) else { break };
        let (header, body) = record.split_at_mut(HEADER_BYTES);
        let sum = checksum(place, offset + at as u64, &header[..8], previous, body);
        header[8..12].copy_from_slice(&sum.to_le_bytes());
        header[12..].copy_from_slice(&previous.to_le_bytes());
        previous = sum;
        at = end;
    }
    previous
}
