//! The state as a stream of bytes, in chunks, and back.
//!
//! The first byte is the format's version. Then come parts, each with a kind (8 bits), a length (32 bits) and a body: one
//! header, the users' items, the records, the sessions each followed by its answers, and an end with the state's hash. A
//! part may begin in one chunk and end in another. All numbers are little-endian.

use super::{
    Counters, State,
    records::Records,
    requests::Requests,
    store::{Item, Space, Store},
};
use crate::{
    bug::{self, Bug},
    codec::{CodecError, pack, unpack},
    level::{self, FEATURE_LEVEL, VERSION},
    limits::{ENTRY_BYTES, SNAPSHOT_CHUNK_BYTES},
    types::{ClusterTime, Index, LeaseId, Revision, SessionId},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

const PART_HEADER_BYTES: usize = 5;

/// Kinds of parts. A number is never used again.
mod kind {
    pub(super) const HEADER: u8 = 1;
    pub(super) const BUSINESS: u8 = 2;
    pub(super) const FRAME: u8 = 3;
    pub(super) const SESSION: u8 = 4;
    pub(super) const REPLY: u8 = 5;
    pub(super) const END: u8 = 6;
}

#[derive(Serialize, Deserialize)]
struct Header {
    index: Index,
    time: ClusterTime,
    feature_level: u32,
    executors: u64,
    leases: u64,
    business_revision: Revision,
    frame_revision: Revision,
}

// In front of an item's key and value.
type ItemHead = (Revision, Revision, u64, u32);
const ITEM_HEAD_BYTES: usize = 28;

/// The state as chunks of at most so many bytes. Made one by one, as they are asked for.
pub(super) fn encode(state: &State, chunk_bytes: usize) -> impl Iterator<Item = Bytes> {
    let chunk_bytes = chunk_bytes.clamp(1, SNAPSHOT_CHUNK_BYTES);
    let mut parts = parts(state);
    let mut pending = BytesMut::from(&[level::version(state.feature_level)][..]);
    let mut ended = false;
    core::iter::from_fn(move || {
        while pending.len() < chunk_bytes && !ended {
            match parts.next() {
                Some((kind, body)) => {
                    pending.put_u8(kind);
                    pending.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
                    pending.put_slice(&body);
                }
                None => ended = true,
            }
        }
        let size = pending.len().min(chunk_bytes);
        (size > 0).then(|| pending.split_to(size).freeze())
    })
}

fn parts(state: &State) -> impl Iterator<Item = (u8, Vec<u8>)> {
    let header = Header {
        index: state.index,
        time: state.time,
        feature_level: state.feature_level,
        executors: state.counters.executors,
        leases: state.counters.leases,
        business_revision: state.business.revision(),
        frame_revision: state.records.frame().revision(),
    };
    let business = state.business.iter().map(|(key, item)| (kind::BUSINESS, item_bytes(key, item)));
    let frame = state.records.frame().iter().map(|(key, item)| (kind::FRAME, item_bytes(key, item)));
    let sessions = state.requests.iter().flat_map(|(id, session)| {
        let replies = session.replies().map(|(sequence, reply)| {
            let mut body = sequence.to_le_bytes().to_vec();
            body.extend_from_slice(reply);
            (kind::REPLY, body)
        });
        let replies = replies.filter(|_| !bug::planted(Bug::SnapshotDedupLost));
        core::iter::once((kind::SESSION, pack(&(id, session.lease, session.trim)))).chain(replies)
    });
    let hash = state.hash().0.to_le_bytes().to_vec();
    core::iter::once((kind::HEADER, pack_header(state, &header)))
        .chain(business)
        .chain(frame)
        .chain(sessions)
        .chain(core::iter::once((kind::END, hash)))
}

#[cfg(feature = "next-format")]
fn pack_header(state: &State, header: &Header) -> Vec<u8> {
    match level::version(state.feature_level) {
        VERSION => pack(header),
        _ => pack(&(header, state.counters.next)),
    }
}

#[cfg(not(feature = "next-format"))]
fn pack_header(_: &State, header: &Header) -> Vec<u8> {
    pack(header)
}

#[cfg(feature = "next-format")]
fn unpack_header(version: u8, body: &[u8]) -> Result<(Header, Counters), CodecError> {
    let (header, next): (Header, u64) = if version == VERSION { (unpack(body)?, 0) } else { unpack(body)? };
    let counters = Counters { executors: header.executors, leases: header.leases, next };
    Ok((header, counters))
}

#[cfg(not(feature = "next-format"))]
fn unpack_header(_: u8, body: &[u8]) -> Result<(Header, Counters), CodecError> {
    let header: Header = unpack(body)?;
    let counters = Counters { executors: header.executors, leases: header.leases };
    Ok((header, counters))
}

fn item_bytes(key: &Bytes, item: &Item) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let head: ItemHead = (item.create_revision, item.mod_revision, item.version, length);
    let mut body = pack(&head);
    body.extend_from_slice(key);
    body.extend_from_slice(&item.value);
    body
}

/// The state in these chunks. Nothing of it is believed: tables and hash are made again and compared.
pub(super) fn decode(chunks: impl Iterator<Item = Bytes>) -> Result<State, CodecError> {
    let mut reader = Reader { chunks, buffer: BytesMut::new(), offset: 0 };
    let version = reader.take(1)?[0];
    let newest = level::version(FEATURE_LEVEL);
    if !(VERSION..=newest).contains(&version) {
        return Err(CodecError(format!(
            "snapshot of version {version}: this program knows up to version {newest}"
        )));
    }
    let mut building = match reader.part()? {
        (kind::HEADER, body) => Building::new(version, &body)?,
        (kind, _) => {
            return Err(reader.bad(&format!("part of kind {kind}: a snapshot begins with its header")));
        }
    };
    loop {
        let (kind, body) = reader.part()?;
        if kind == kind::END {
            let state = building.state;
            if state.hash().0.to_le_bytes() != *body {
                return Err(reader.bad("the state has another hash than the snapshot says"));
            }
            reader.end()?;
            return Ok(state);
        }
        building.take(kind, &body).map_err(|error| reader.bad(&error.0))?;
    }
}

/// The feature level that a program must know to read the snapshot that begins with this chunk, if this program does not
/// know it; of a version that it does not know, what is known for sure.
pub(super) fn newer(chunk: &[u8]) -> Option<u32> {
    let (&version, rest) = chunk.split_first()?;
    if version > level::version(FEATURE_LEVEL) {
        return Some(u32::from(version).max(FEATURE_LEVEL + 1));
    }
    let body = rest.get(PART_HEADER_BYTES..)?;
    let (header, _) = crate::codec::unpack_front::<Header>(body).ok()?;
    (header.feature_level > FEATURE_LEVEL).then_some(header.feature_level)
}

/// A state that is being filled. Parts come in the order of their kinds.
struct Building {
    state: State,
    kind: u8,
    session: SessionId,
}

impl Building {
    fn new(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        let (header, counters) = unpack_header(version, body)?;
        if level::version(header.feature_level) != version {
            let level = header.feature_level;
            return Err(CodecError(format!("snapshot of version {version}: it says feature level {level}")));
        }
        if header.feature_level > FEATURE_LEVEL {
            let level = header.feature_level;
            return Err(CodecError(format!(
                "feature level {level}: this program goes up to {FEATURE_LEVEL}"
            )));
        }
        let state = State {
            index: header.index,
            time: header.time,
            feature_level: header.feature_level,
            counters,
            business: Store::at(Space::Business, header.business_revision),
            records: Records::at(header.frame_revision),
            requests: Requests::default(),
        };
        Ok(Self { state, kind: kind::HEADER, session: SessionId(0) })
    }

    fn take(&mut self, kind: u8, body: &Bytes) -> Result<(), CodecError> {
        // Answers stand among the sessions.
        let rank = if kind == kind::REPLY { kind::SESSION } else { kind };
        if rank < self.kind || rank == kind::HEADER || (kind == kind::REPLY && self.kind != kind::SESSION) {
            return Err(CodecError(format!("part of kind {kind}: it is out of order")));
        }
        self.kind = rank;
        let twice = || CodecError(format!("part of kind {kind}: it is there already, or it cannot be"));
        match kind {
            kind::BUSINESS => {
                let (key, item) = item(body)?;
                if self.state.business.restore(key, item) { Ok(()) } else { Err(twice()) }
            }
            kind::FRAME => {
                let (key, item) = item(body)?;
                self.state.records.restore(key, item)
            }
            kind::SESSION => {
                let (id, lease, trim): (SessionId, LeaseId, u64) = unpack(body)?;
                self.session = id;
                if self.state.requests.restore(id, lease, trim) { Ok(()) } else { Err(twice()) }
            }
            kind::REPLY => {
                let sequence = body.first_chunk().ok_or_else(twice)?;
                let (sequence, reply) = (u64::from_le_bytes(*sequence), body.slice(8..));
                if self.state.requests.restore_reply(self.session, sequence, reply) {
                    Ok(())
                } else {
                    Err(twice())
                }
            }
            _ => Err(CodecError(format!("part of kind {kind}: this program does not know it"))),
        }
    }
}

fn item(body: &Bytes) -> Result<(Bytes, Item), CodecError> {
    let short = || CodecError(format!("item of {} bytes: it is cut short", body.len()));
    let head = body.get(..ITEM_HEAD_BYTES).ok_or_else(short)?;
    let (create_revision, mod_revision, version, length): ItemHead = unpack(head)?;
    let end = ITEM_HEAD_BYTES.saturating_add(length as usize);
    if end > body.len() {
        return Err(short());
    }
    let (key, value) = (body.slice(ITEM_HEAD_BYTES..end), body.slice(end..));
    Ok((key, Item { value, create_revision, mod_revision, version }))
}

/// Takes parts out of chunks.
struct Reader<I> {
    chunks: I,
    buffer: BytesMut,
    offset: usize,
}

impl<I: Iterator<Item = Bytes>> Reader<I> {
    fn bad(&self, why: &str) -> CodecError {
        CodecError(format!("snapshot at byte {}: {why}", self.offset))
    }

    fn take(&mut self, size: usize) -> Result<Bytes, CodecError> {
        while self.buffer.len() < size {
            let Some(chunk) = self.chunks.next() else { return Err(self.bad("it is cut short")) };
            if chunk.len() > SNAPSHOT_CHUNK_BYTES {
                let size = chunk.len();
                return Err(
                    self.bad(&format!("chunk of {size} bytes: at most {SNAPSHOT_CHUNK_BYTES} are allowed"))
                );
            }
            self.buffer.extend_from_slice(&chunk);
        }
        self.offset += size;
        // A copy of its own, so that a small value does not keep a whole chunk alive.
        let taken = Bytes::copy_from_slice(&self.buffer[..size]);
        self.buffer.advance(size);
        Ok(taken)
    }

    fn part(&mut self) -> Result<(u8, Bytes), CodecError> {
        let head = self.take(PART_HEADER_BYTES)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > ENTRY_BYTES {
            return Err(self.bad(&format!("part of {length} bytes: {ENTRY_BYTES} is the limit")));
        }
        Ok((head[0], self.take(length)?))
    }

    fn end(&mut self) -> Result<(), CodecError> {
        let left = self.buffer.len() + self.chunks.by_ref().map(|chunk| chunk.len()).sum::<usize>();
        if left == 0 { Ok(()) } else { Err(self.bad(&format!("{left} bytes after its end"))) }
    }
}
