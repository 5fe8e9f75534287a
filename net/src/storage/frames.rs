//! The bytes of a snapshot file: a header, a frame for each chunk, a trailer with their number.
//!
//! A frame is a length (u32), a checksum (u32) and the chunk; the trailer is a frame with the length `u32::MAX` and the
//! number of chunks (u64). Each checksum covers the frame's number and the checksum before it, the first one that of
//! the header: a frame of another file, or at another place, never verifies.

use super::{
    error::DiskError,
    identity::{FORMAT, Identity, other_format},
    record::{Cursor, Flaw, ReadError},
};
use bytes::Bytes;
use quorate_core::{
    bug::{self, Bug},
    contract::LogPosition,
    limits,
    types::{ClusterId, Index, NodeId, StorageId, Term},
};

const MAGIC: &[u8; 8] = b"QRATSNAP";
/// Bytes of a snapshot file's header.
pub const SNAPSHOT_HEADER_BYTES: usize = 64;
const FRAME_HEADER_BYTES: usize = 8;
const TRAILER: u32 = u32::MAX;

/// The beginning of a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// In whose directory it was written.
    pub identity: Identity,
    /// The last entry that it covers.
    pub at: LogPosition,
}

impl SnapshotHeader {
    /// The header's bytes, and its checksum.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, u32) {
        let mut bytes = Vec::with_capacity(SNAPSHOT_HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.identity.format.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let Identity { cluster, node, storage, .. } = self.identity;
        for number in [cluster.0, node.0, storage.0, self.at.term.0, self.at.index.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 4]);
        let checksum = crc32c::crc32c(&bytes);
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
        let at = LogPosition { term: Term(cursor.u64()?), index: Index(cursor.u64()?) };
        let zero = zero | cursor.u32()?;
        let checksum = cursor.u32()?;
        let right = crc32c::crc32c(bytes.get(..SNAPSHOT_HEADER_BYTES - 4)?) == checksum;
        let identity = Identity { cluster, node, storage, format };
        (magic == MAGIC && format == FORMAT && zero == 0 && right)
            .then_some((Self { identity, at }, checksum))
    }
}

/// The format of a snapshot that this version does not know.
#[must_use]
pub fn snapshot_other_format(bytes: &[u8]) -> Option<u32> {
    other_format(bytes, MAGIC)
}

/// Whether a file begins as a snapshot of any format does.
#[must_use]
pub fn begins_as_snapshot(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

fn frame_checksum(number: u64, previous: u32, length: u32, body: &[u8]) -> u32 {
    let mut head = [0; 16];
    head[..8].copy_from_slice(&number.to_le_bytes());
    head[8..12].copy_from_slice(&previous.to_le_bytes());
    head[12..].copy_from_slice(&length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), body)
}

/// Builds a snapshot file, piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct FrameWriter {
    number: u64,
    previous: u32,
}

impl FrameWriter {
    /// Begins a file. Gives its first bytes.
    #[must_use]
    pub fn begin(header: &SnapshotHeader) -> (Self, Vec<u8>) {
        let (bytes, previous) = header.encode();
        (Self { number: 0, previous }, bytes)
    }

    /// The number of the chunk that comes next.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.number
    }

    fn frame(&mut self, length: u32, body: &[u8]) -> Vec<u8> {
        self.previous = frame_checksum(self.number, self.previous, length, body);
        self.number += 1;
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// The bytes of the next chunk. `None`: it is over [`SNAPSHOT_CHUNK_BYTES`](limits::SNAPSHOT_CHUNK_BYTES).
    pub fn chunk(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let length = u32::try_from(chunk.len()).ok()?;
        (chunk.len() <= limits::SNAPSHOT_CHUNK_BYTES).then(|| self.frame(length, chunk))
    }

    /// The file's last bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let count = self.number;
        self.frame(TRAILER, &count.to_le_bytes())
    }
}

/// Where a chunk is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// The frame's first byte.
    pub offset: u64,
    number: u64,
    length: u32,
    checksum: u32,
    previous: u32,
}

/// Reads a file frame by frame: headers alone, or with their chunks. `read` gives up to so many bytes from an offset
/// on, fewer only at the end.
#[derive(Debug)]
pub struct FrameReader<R> {
    read: R,
    offset: u64,
    number: u64,
    previous: u32,
    done: bool,
}

impl<R: FnMut(u64, usize) -> Result<Vec<u8>, DiskError>> FrameReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is not whole.
    pub fn begin(mut read: R) -> Result<(SnapshotHeader, Self), ReadError> {
        let bytes = read(0, SNAPSHOT_HEADER_BYTES)?;
        let (header, previous) = SnapshotHeader::decode(&bytes)
            .ok_or_else(|| Flaw::wrong(0, "the snapshot's header is not whole"))?;
        let offset = SNAPSHOT_HEADER_BYTES as u64;
        Ok((header, Self { read, offset, number: 0, previous, done: false }))
    }

    fn flaw(&self, what: &str) -> ReadError {
        Flaw { offset: self.offset, what: what.to_owned(), torn: false }.into()
    }

    /// Where the next chunk is, without reading it. `None`: there was a right trailer, and nothing behind it.
    ///
    /// # Errors
    /// A length over the limit, a wrong trailer, the end of the file before one.
    pub fn skip(&mut self) -> Result<Option<FramePlace>, ReadError> {
        if self.done {
            return Ok(None);
        }
        let header = (self.read)(self.offset, FRAME_HEADER_BYTES)?;
        let mut cursor = Cursor::new(&header);
        let (Some(length), Some(checksum)) = (cursor.u32(), cursor.u32()) else {
            return Err(self.flaw("the file ends before its trailer"));
        };
        let Self { offset, number, previous, .. } = *self;
        let place = FramePlace { offset, number, length, checksum, previous };
        if length == TRAILER {
            let count = (self.read)(offset + FRAME_HEADER_BYTES as u64, 9)?;
            let right = count == number.to_le_bytes()
                && frame_checksum(number, previous, length, &count) == checksum
                && number > 0;
            self.done = right;
            return if right { Ok(None) } else { Err(self.flaw("the trailer is wrong")) };
        }
        if usize::try_from(length).unwrap_or(usize::MAX) > limits::SNAPSHOT_CHUNK_BYTES {
            return Err(self.flaw("a chunk's length is over the limit"));
        }
        self.offset += FRAME_HEADER_BYTES as u64 + u64::from(length);
        self.number += 1;
        self.previous = checksum;
        Ok(Some(place))
    }

    /// The next chunk. `None` as in [`skip`](Self::skip).
    ///
    /// # Errors
    /// As there, and a wrong checksum.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        let Some(place) = self.skip()? else { return Ok(None) };
        read_chunk(&mut self.read, &place).map(Some)
    }

    /// Hands all chunks to `take`, one by one, and reads to the trailer, whatever it leaves.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk): what was made of the chunks before is worth nothing then.
    pub fn take<T>(
        mut self,
        take: impl FnOnce(&mut dyn Iterator<Item = Bytes>) -> T,
    ) -> Result<T, ReadError> {
        let mut failed = None;
        let mut chunks = std::iter::from_fn(|| match self.chunk() {
            Ok(chunk) => chunk,
            Err(error) => {
                failed.get_or_insert(error);
                None
            }
        })
        .fuse();
        let taken = take(&mut chunks);
        chunks.by_ref().for_each(drop);
        drop(chunks);
        failed.map_or(Ok(taken), Err)
    }
}

/// The chunk at this place.
///
/// # Errors
/// A wrong checksum, or the disk's.
pub fn read_chunk(
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, DiskError>,
    place: &FramePlace,
) -> Result<Bytes, ReadError> {
    let length = usize::try_from(place.length).unwrap_or(usize::MAX);
    let body = read(place.offset + FRAME_HEADER_BYTES as u64, length)?;
    let right = body.len() == length
        && frame_checksum(place.number, place.previous, place.length, &body) == place.checksum;
    if right || bug::planted(Bug::NetChunkUnchecked) {
        return Ok(body.into());
    }
    let what = "a chunk's checksum is wrong".to_owned();
    Err(Flaw { offset: place.offset, what, torn: false }.into())
}

/// All chunks of a snapshot file. Never panics, whatever the bytes.
///
/// # Errors
/// What is wrong, and where.
pub fn decode_snapshot(bytes: &[u8]) -> Result<(SnapshotHeader, Vec<Bytes>), ReadError> {
    let read = |offset: u64, length: usize| {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes[from..from.saturating_add(length).min(bytes.len())].to_vec())
    };
    let (header, mut reader) = FrameReader::begin(read)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.chunk()? {
        chunks.push(chunk);
    }
    Ok((header, chunks))
}
