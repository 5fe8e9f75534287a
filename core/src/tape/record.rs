//! Records: a header with two checksums, and a body.

use super::{TapeError, VERSION};
use crate::limits::TAPE_RECORD_BYTES;
use bytes::Bytes;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

const MAGIC: &[u8; 12] = b"quorate-tape";
/// In front of the first record.
pub(super) const PREAMBLE_BYTES: usize = 16;
const HEADER_BYTES: usize = 16;
// Fixed for ever: tapes are read by later versions.
const KEYS: (u64, u64) = (0x7175_6f72_6174_6521, 0x7265_636f_7264_7321);

/// What a record holds. A number is never used again.
pub(super) mod kind {
    pub(in crate::tape) const START: u8 = 1;
    pub(in crate::tape) const ENTRY: u8 = 2;
    pub(in crate::tape) const CHUNK: u8 = 3;
    pub(in crate::tape) const BEGUN: u8 = 4;
    pub(in crate::tape) const STEP: u8 = 5;
    pub(in crate::tape) const OPEN: u8 = 6;
    pub(in crate::tape) const FED: u8 = 7;
}

/// The magic and the version.
pub(super) fn preamble() -> [u8; PREAMBLE_BYTES] {
    let mut bytes = [0; PREAMBLE_BYTES];
    bytes[..12].copy_from_slice(MAGIC);
    bytes[12..].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// Refuses what does not begin with the preamble.
pub(super) fn check_preamble(bytes: &[u8]) -> Result<(), TapeError> {
    let front = bytes.len().min(MAGIC.len());
    if bytes[..front] != MAGIC[..front] {
        return Err(TapeError::NoTape);
    }
    let Some(version) = bytes.get(12..PREAMBLE_BYTES).and_then(|version| version.try_into().ok()) else {
        return Err(TapeError::Short { offset: bytes.len() as u64 });
    };
    match u32::from_le_bytes(version) {
        VERSION => Ok(()),
        found => Err(TapeError::Version { found }),
    }
}

fn head_sum(offset: u64, head: &[u8]) -> u16 {
    let mut hasher = SipHasher13::new_with_keys(KEYS.0, offset);
    hasher.write(head);
    hasher.finish() as u16
}

fn sum(before: u64, head: &[u8], body: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(KEYS.1, before);
    hasher.write(head);
    hasher.write(body);
    hasher.finish()
}

/// Makes headers for bodies.
#[derive(Clone, Debug)]
pub(super) struct Framer {
    offset: u64,
    before: u64,
}

impl Framer {
    /// For the record behind the preamble.
    pub(super) const fn new() -> Self {
        Self { offset: PREAMBLE_BYTES as u64, before: 0 }
    }

    /// The header of the next record. `None`: the body is over the limit.
    pub(super) fn header(&mut self, kind: u8, body: &[u8]) -> Option<[u8; HEADER_BYTES]> {
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= TAPE_RECORD_BYTES)?;
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&length.to_le_bytes());
        header[4] = kind;
        let check = head_sum(self.offset, &header[..6]);
        header[6..8].copy_from_slice(&check.to_le_bytes());
        self.before = sum(self.before, &header[..6], body);
        header[8..].copy_from_slice(&self.before.to_le_bytes());
        self.offset += (HEADER_BYTES + body.len()) as u64;
        Some(header)
    }
}

/// A record that was read.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) kind: u8,
    pub(super) body: Bytes,
}

/// Takes records off the front of a tape.
#[derive(Clone, Debug)]
pub(super) struct Records {
    bytes: Bytes,
    offset: usize,
    before: u64,
}

impl Records {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self { bytes, offset: PREAMBLE_BYTES, before: 0 }
    }

    /// Where the next record begins, or would.
    pub(super) const fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// Bytes behind the last whole record.
    pub(super) fn torn_bytes(&self) -> u64 {
        self.bytes.len().saturating_sub(self.offset) as u64
    }

    /// The next record. `None`: the tape ends, or its writer was killed in the middle of this record.
    pub(super) fn next(&mut self) -> Result<Option<Record>, TapeError> {
        let offset = self.offset as u64;
        let damaged = |what: &str| TapeError::Damaged { offset, what: what.to_owned() };
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if rest.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [l0, l1, l2, l3, kind, zero, c0, c1, sum_bytes @ ..] = header;
        if u16::from_le_bytes([*c0, *c1]) != head_sum(offset, &header[..6]) || *zero != 0 {
            return Err(damaged("a record's header does not fit its checksum"));
        }
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        if length > TAPE_RECORD_BYTES {
            return Err(damaged(&format!("a record of {length} bytes: {TAPE_RECORD_BYTES} is the limit")));
        }
        let Some(body) = behind.get(..length) else { return Ok(None) };
        let found = sum(self.before, &header[..6], body);
        if found.to_le_bytes() != *sum_bytes {
            return Err(damaged("a record does not fit its checksum"));
        }
        let start = self.offset + HEADER_BYTES;
        let body = self.bytes.slice(start..start + length);
        (self.offset, self.before) = (start + length, found);
        Ok(Some(Record { offset, kind: *kind, body }))
    }
}
