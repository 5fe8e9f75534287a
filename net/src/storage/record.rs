//! One record of the log: 16 bytes of header, the payload, zeros up to a multiple of 8.
//!
//! Header: payload length (u32), kind (u8), three zeros, checksum (u32), checksum of the record before (u32); all
//! numbers little-endian. The checksum covers the directory's storage id, the segment's number, the record's offset
//! and everything in the record: bytes that are stale, or at another place, never verify. Each record can be verified
//! alone, and those of a segment form a chain.

use quorate_core::types::StorageId;

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
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let all =
            [Self::Batch, Self::Entries, Self::HardState, Self::Voters, Self::LogStart, Self::Checkpoint];
        all.into_iter().find(|&kind| kind as u8 == byte)
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
    pub fn torn(offset: usize, what: &str) -> Self {
        Self { offset: offset as u64, what: what.to_owned(), torn: true }
    }

    /// Something that was written like this.
    #[must_use]
    pub fn wrong(offset: usize, what: impl Into<String>) -> Self {
        Self { offset: offset as u64, what: what.into(), torn: false }
    }
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
    /// Where the next one begins.
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

fn checksum(place: Place, offset: usize, head: &[u8], previous: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.storage.0.to_le_bytes());
    hasher.update(&place.sequence.to_le_bytes());
    hasher.update(&(offset as u64).to_le_bytes());
    hasher.update(head);
    hasher.update(&previous.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The record that begins at `offset` of a segment's bytes. Allocates nothing.
///
/// # Errors
/// Always torn: an impossible header, a length over [`WAL_RECORD_BYTES`](quorate_core::limits::WAL_RECORD_BYTES) or the
/// end of the file, a wrong checksum.
pub fn read(place: Place, bytes: &[u8], offset: usize) -> Result<RawRecord<'_>, Flaw> {
    let torn = |what| Flaw::torn(offset, what);
    let header = bytes.get(offset..).and_then(|rest| rest.get(..HEADER_BYTES));
    let header = header.ok_or_else(|| torn("the file ends inside a record's header"))?;
    let mut cursor = Cursor::new(header);
    let numbers = (cursor.u32(), cursor.u32(), cursor.u32(), cursor.u32());
    let (Some(length), Some(kind), Some(found), Some(previous)) = numbers else {
        return Err(torn("the file ends inside a record's header"));
    };
    let kind = u8::try_from(kind).ok().and_then(Kind::from_byte);
    let kind = kind.ok_or_else(|| torn("there is no such kind of record"))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > quorate_core::limits::WAL_RECORD_BYTES {
        return Err(torn("a record's length is over the limit"));
    }
    let begin = offset + HEADER_BYTES;
    let body = bytes.get(begin..begin + padded(length));
    let body = body.ok_or_else(|| torn("the file ends inside a record"))?;
    if checksum(place, offset, &header[..8], previous, body) != found {
        return Err(torn("a record's checksum is wrong"));
    }
    let zeros = body[length..].iter().all(|&byte| byte == 0);
    if !zeros {
        return Err(Flaw::wrong(offset, "there is something behind a record's payload"));
    }
    Ok(RawRecord { kind, payload: &body[..length], previous, checksum: found, end: begin + body.len() })
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
pub fn seal(place: Place, buffer: &mut [u8], offset: usize, mut previous: u32) -> u32 {
    let mut at = 0;
    while let Some(length) = buffer.get(at..).and_then(|rest| Cursor::new(rest).u32()) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let end = at.saturating_add(HEADER_BYTES).saturating_add(padded(length.min(usize::MAX / 2)));
        let Some(record) = buffer.get_mut(at..end) else { break };
        let (header, body) = record.split_at_mut(HEADER_BYTES);
        let sum = checksum(place, offset + at, &header[..8], previous, body);
        header[8..12].copy_from_slice(&sum.to_le_bytes());
        header[12..].copy_from_slice(&previous.to_le_bytes());
        previous = sum;
        at = end;
    }
    previous
}
