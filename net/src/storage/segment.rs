//! One file of the log: a header, then batches, and, if it is full, a footer. What is behind is not looked at: the file is
//! made before it is written, and may have been another segment.
//!
//! The header names the segment before, up to which byte that one counts, and the checksum of its last record there.
//! So a segment's header is the seal of the one before: what is in front of that byte must be perfect, what is
//! behind it is nothing. The first batch begins with a checkpoint: the log can be read from any segment on.

use super::{
    disk::Disk,
    error::OpenError,
    identity::{FORMAT, Identity, other_format},
    record::{Cursor, Place},
};
use quorate_core::{
    contract::{HardState, LogPosition, Voters},
    types::{ClusterId, Index, NodeId, StorageId},
};

const MAGIC: &[u8; 8] = b"QRATEWAL";
/// Bytes of a segment's header; the first batch is behind it.
pub const SEGMENT_HEADER_BYTES: usize = 80;
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
    /// The file was another segment before: what is behind the last batch may be left from that one.
    pub recycled: bool,
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
        bytes.extend_from_slice(&u32::from(self.recycled).to_le_bytes());
        let Identity { cluster, node, storage, .. } = self.identity;
        let Point { sequence, offset, checksum } = self.previous;
        for number in [cluster.0, node.0, storage.0, self.sequence, self.first.0, sequence, offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }

    /// The header in a file's first bytes, and its checksum.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let mut cursor = Cursor::new(bytes);
        let magic = cursor.take(MAGIC.len())?;
        let (format, recycled) = (cursor.u32()?, cursor.u32()?);
        let (cluster, node, storage) =
            (ClusterId(cursor.u64()?), NodeId(cursor.u64()?), StorageId(cursor.u64()?));
        let (sequence, first) = (cursor.u64()?, Index(cursor.u64()?));
        let previous = Point { sequence: cursor.u64()?, offset: cursor.u64()?, checksum: cursor.u32()? };
        let checksum = cursor.u32()?;
        let right = crc32c::crc32c(bytes.get(..SEGMENT_HEADER_BYTES - 4)?) == checksum;
        let whole =
            magic == MAGIC && format == FORMAT && recycled <= 1 && right && previous.sequence < sequence;
        let identity = Identity { cluster, node, storage, format };
        let recycled = recycled == 1;
        whole.then_some((Self { identity, sequence, first, previous, recycled }, checksum))
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
pub fn segment_other_format(bytes: &[u8]) -> Option<u32> {
    other_format(bytes, MAGIC)
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

/// What a full segment says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// The lowest index of its entries. 0: it has none.
    pub lowest: Index,
    /// The highest index of its entries. 0: it has none.
    pub highest: Index,
    /// Records in front of the footer, batch heads included.
    pub records: u64,
    /// The checksum of the last one, which covers all of them.
    pub checksum: u32,
}

impl Footer {
    /// Takes note of entries.
    pub fn note(&mut self, first: Index, last: Index) {
        self.lowest = if self.lowest.0 == 0 { first } else { self.lowest.min(first) };
        self.highest = self.highest.max(last);
    }
}
