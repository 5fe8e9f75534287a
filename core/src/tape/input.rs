//! The bytes of a step's input, and back: the time, the wall clock, the input's number, its numbers and texts, its blob.

use super::output::pair;
use crate::{
    codec::{CodecError, pack, unpack_front},
    contract::{Input, LogPosition},
    limits::SNAPSHOT_CHUNK_BYTES,
    state::State,
    types::{CallKey, Index, NodeId, Now, RequestKey, Term, Time, WriteId},
};
use bytes::{BufMut, Bytes};
use prost::Message;

/// Numbers of inputs. Append only.
mod tag {
    pub(super) const DEADLINE: u8 = 1;
    pub(super) const PEER: u8 = 2;
    pub(super) const PEER_CONNECTED: u8 = 3;
    pub(super) const PEER_LOST: u8 = 4;
    pub(super) const PEER_REFUSED: u8 = 5;
    pub(super) const REQUEST: u8 = 6;
    pub(super) const REQUEST_GONE: u8 = 7;
    pub(super) const WRITE_DONE: u8 = 8;
    pub(super) const WRITE_FAILED: u8 = 9;
    pub(super) const SNAPSHOT_SAVED: u8 = 10;
    pub(super) const CHUNK_STORED: u8 = 11;
    pub(super) const CHUNK_READ: u8 = 12;
    pub(super) const SNAPSHOT_LOADED: u8 = 13;
    pub(super) const CALL_DONE: u8 = 14;
    pub(super) const FAULT_POINT: u8 = 15;
    pub(super) const DISK_DAMAGED: u8 = 16;
    pub(super) const SNAPSHOT_TOO_NEW: u8 = 17;
    pub(super) const CHUNK_REFUSED: u8 = 18;
}

/// Time, wall clock, number.
const FIXED_BYTES: usize = 17;

/// A place from numbers.
pub(super) const fn place((term, index): (u64, u64)) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

/// Adds a step's bytes. The state of a loaded snapshot is not among them: only how many `chunks` it has.
pub(super) fn push(into: &mut Vec<u8>, now: Now, input: &Input, chunks: u64) {
    into.put_u64_le(now.time.0);
    into.put_u64_le(now.wall_ms);
    match input {
        Input::Deadline => into.put_u8(tag::DEADLINE),
        Input::DiskDamaged => into.put_u8(tag::DISK_DAMAGED),
        Input::Peer(envelope) => {
            into.put_u8(tag::PEER);
            push_message(into, &**envelope);
        }
        Input::PeerConnected(peer) => push_head(into, tag::PEER_CONNECTED, peer),
        Input::PeerLost(peer) => push_head(into, tag::PEER_LOST, peer),
        Input::PeerRefused { peer, message } => push_head(into, tag::PEER_REFUSED, &(peer, message)),
        Input::Request { key, request } => {
            push_head(into, tag::REQUEST, key);
            push_message(into, &**request);
        }
        Input::RequestGone { key } => push_head(into, tag::REQUEST_GONE, key),
        Input::WriteDone { io } => push_head(into, tag::WRITE_DONE, io),
        Input::WriteFailed { message } => push_head(into, tag::WRITE_FAILED, message),
        Input::SnapshotSaved { at } => push_head(into, tag::SNAPSHOT_SAVED, &pair(*at)),
        Input::SnapshotChunkStored { at, number, last } => {
            push_head(into, tag::CHUNK_STORED, &(pair(*at), number, last));
        }
        Input::SnapshotChunkRefused { at, number } => {
            push_head(into, tag::CHUNK_REFUSED, &(pair(*at), number));
        }
        Input::SnapshotChunkRead { peer, at, number, chunk } => {
            let last = chunk.as_ref().map(|(_, last)| *last);
            push_head(into, tag::CHUNK_READ, &(peer, pair(*at), number, last));
            if let Some((data, _)) = chunk {
                into.put_slice(data);
            }
        }
        Input::SnapshotLoaded { at, state } => {
            push_head(into, tag::SNAPSHOT_LOADED, &(pair(*at), state.as_ref().map(|_| chunks)));
        }
        Input::SnapshotTooNew { level } => push_head(into, tag::SNAPSHOT_TOO_NEW, level),
        #[cfg(feature = "fault-points")]
        Input::FaultPoint { point, one_in } => {
            push_head(into, tag::FAULT_POINT, &(point.key().to_owned(), one_in));
        }
        Input::CallDone { key, reply } => {
            push_head(into, tag::CALL_DONE, &(key, reply.is_some()));
            if let Some(reply) = reply {
                push_message(into, &**reply);
            }
        }
    }
}

fn push_head(into: &mut Vec<u8>, tag: u8, head: &impl serde::Serialize) {
    into.put_u8(tag);
    into.put_slice(&pack(head));
}

fn push_message(into: &mut Vec<u8>, message: &impl Message) {
    message.encode(into).expect("a vector takes everything");
}

/// A step's time and input. `chunks`: the snapshot's that came before it; all of them belong to it.
pub(super) fn parse(bytes: &Bytes, chunks: &mut Vec<Bytes>) -> Result<(Now, Input), CodecError> {
    let Some(([fixed @ .., tag], _)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Err(CodecError(format!("a step of {} bytes: it is too short", bytes.len())));
    };
    let number = |at: usize| fixed[at..at + 8].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let now = Now { time: Time(number(0)), wall_ms: number(8) };
    let rest = bytes.slice(FIXED_BYTES..);
    let input = match *tag {
        tag::CHUNK_READ
        | tag::SNAPSHOT_LOADED
        | tag::SNAPSHOT_SAVED
        | tag::CHUNK_STORED
        | tag::CHUNK_REFUSED => parse_snapshot(*tag, rest, chunks)?,
        tag => parse_other(tag, rest)?,
    };
    if !chunks.is_empty() {
        return Err(CodecError(format!("{} chunks of a snapshot that nobody loads", chunks.len())));
    }
    Ok((now, input))
}

fn parse_other(tag: u8, rest: Bytes) -> Result<Input, CodecError> {
    Ok(match tag {
        tag::DEADLINE => {
            whole::<()>(&rest)?;
            Input::Deadline
        }
        tag::DISK_DAMAGED => {
            whole::<()>(&rest)?;
            Input::DiskDamaged
        }
        tag::PEER => Input::Peer(message(rest)?),
        tag::PEER_CONNECTED => Input::PeerConnected(whole(&rest)?),
        tag::PEER_LOST => Input::PeerLost(whole(&rest)?),
        tag::PEER_REFUSED => {
            let (peer, message) = whole(&rest)?;
            Input::PeerRefused { peer, message }
        }
        tag::REQUEST => {
            let (key, tail): (RequestKey, _) = front(&rest)?;
            Input::Request { key, request: message(tail)? }
        }
        tag::REQUEST_GONE => Input::RequestGone { key: whole(&rest)? },
        tag::WRITE_DONE => Input::WriteDone { io: whole::<WriteId>(&rest)? },
        tag::SNAPSHOT_TOO_NEW => Input::SnapshotTooNew { level: whole(&rest)? },
        tag::WRITE_FAILED => Input::WriteFailed { message: whole(&rest)? },
        tag::CALL_DONE => {
            let ((key, answered), tail): ((CallKey, bool), _) = front(&rest)?;
            let reply = if answered { Some(message(tail)?) } else { whole::<()>(&tail).map(|()| None)? };
            Input::CallDone { key, reply }
        }
        tag::FAULT_POINT => fault_point(&rest)?,
        _ => return Err(CodecError(format!("input number {tag}: this program does not know it"))),
    })
}

fn fault_point(bytes: &[u8]) -> Result<Input, CodecError> {
    let (key, one_in): (String, u32) = whole(bytes)?;
    #[cfg(feature = "fault-points")]
    return match crate::point::Point::named(&key) {
        Some(point) => Ok(Input::FaultPoint { point, one_in }),
        None => Err(CodecError(format!("the fault point {key:?}: this program does not know it"))),
    };
    #[cfg(not(feature = "fault-points"))]
    Err(CodecError(format!(
        "the fault point {key:?} fires one in {one_in} times: this program has none, use `cargo sim tape`"
    )))
}

fn parse_snapshot(tag: u8, rest: Bytes, chunks: &mut Vec<Bytes>) -> Result<Input, CodecError> {
    Ok(match tag {
        tag::SNAPSHOT_SAVED => Input::SnapshotSaved { at: place(whole(&rest)?) },
        tag::CHUNK_STORED => {
            let (at, number, last) = whole(&rest)?;
            Input::SnapshotChunkStored { at: place(at), number, last }
        }
        tag::CHUNK_REFUSED => {
            let (at, number) = whole(&rest)?;
            Input::SnapshotChunkRefused { at: place(at), number }
        }
        tag::CHUNK_READ => {
            let ((peer, at, number, last), tail): ((NodeId, _, u64, Option<bool>), _) = front(&rest)?;
            if tail.len() > SNAPSHOT_CHUNK_BYTES || (last.is_none() && !tail.is_empty()) {
                return Err(CodecError(format!("a chunk of {} bytes that cannot be", tail.len())));
            }
            Input::SnapshotChunkRead { peer, at: place(at), number, chunk: last.map(|last| (tail, last)) }
        }
        _ => {
            let (at, count): (_, Option<u64>) = whole(&rest)?;
            let state = match count {
                Some(count) if count == chunks.len() as u64 => {
                    Some(Box::new(State::decode(core::mem::take(chunks).into_iter())?))
                }
                None => None,
                Some(count) => {
                    let there = chunks.len();
                    return Err(CodecError(format!("a snapshot of {count} chunks, and {there} are there")));
                }
            };
            Input::SnapshotLoaded { at: place(at), state }
        }
    })
}

fn whole<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    crate::codec::unpack(bytes)
}

fn front<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<(T, Bytes), CodecError> {
    let (head, used) = unpack_front(bytes)?;
    Ok((head, bytes.slice(used..)))
}

fn message<M: Message + Default>(bytes: Bytes) -> Result<Box<M>, CodecError> {
    M::decode(bytes).map(Box::new).map_err(|error| CodecError(format!("a message: {error}")))
}
