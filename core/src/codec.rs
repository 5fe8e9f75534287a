//! The bytes of an entry: version byte, command tag (16 bits), length (32 bits), bincode payload.
//!
//! All numbers are little-endian. Tags and the fields of payloads are append-only. Messages of the API travel as protobuf
//! bytes inside the payload, so that they can grow. The only file that names bincode.

use crate::{
    command::{Command, Expected, Proposal, RequestId},
    level::{self, FEATURE_LEVEL, FIRST_LEVEL, VERSION},
    limits::ENTRY_BYTES,
    types::{AttemptId, ClusterTime, Epoch, ExecutorId, Incarnation, JobId, LeaseId, SessionId, TaskKey},
};
use bincode::{
    config::{Configuration, Fixint, Limit, LittleEndian},
    enc::write::{SizeWriter, Writer},
    error::EncodeError,
};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_proto::v1 as pb;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

/// Why bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

const HEADER_BYTES: usize = 7;

/// Names commands in entries. A number is never used again.
mod tag {
    pub(super) const OPEN_SESSION: u16 = 1;
    pub(super) const CLOSE_SESSION: u16 = 2;
    pub(super) const EXPIRE_LEASES: u16 = 3;
    pub(super) const PUT: u16 = 16;
    pub(super) const DELETE: u16 = 17;
    pub(super) const COMPARE_AND_SET: u16 = 18;
    pub(super) const REGISTER_EXECUTOR: u16 = 32;
    pub(super) const DEREGISTER_EXECUTOR: u16 = 33;
    pub(super) const REMOVE_EXECUTOR: u16 = 34;
    pub(super) const REPORT_ATTEMPTS: u16 = 35;
    pub(super) const ATTEMPT_REFUSED: u16 = 36;
    pub(super) const SUBMIT_JOB: u16 = 48;
    pub(super) const CANCEL_JOB: u16 = 49;
    pub(super) const DELETE_JOB: u16 = 50;
    pub(super) const PLACE: u16 = 51;
    pub(super) const FORCE_CANCEL: u16 = 52;
    pub(super) const CHANGE_MEMBERS: u16 = 64;
    pub(super) const FOUND_MEMBERS: u16 = 65;
    pub(super) const KNOW_MEMBER: u16 = 66;
    pub(super) const LEAVE_JOINT: u16 = 67;
    pub(super) const REFUSE_CHANGE: u16 = 68;
    pub(super) const HOLD_LEVEL: u16 = 72;
    pub(super) const SET_LEVEL: u16 = 73;
    pub(super) const RAISE_ALARM: u16 = 80;
    pub(super) const DISARM_ALARM: u16 = 81;
}

/// What every payload begins with.
#[derive(Serialize, Deserialize)]
struct Header {
    time: ClusterTime,
    wall_ms: u64,
    request: Option<(SessionId, u64, u64)>,
}

/// Bytes that are copied at once, not one by one.
struct Blob(Bytes);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// What a compare-and-set expects. The variants' order is their number: append only.
#[derive(Serialize, Deserialize)]
enum WireExpected {
    Absent,
    Value(Blob),
    ModRevision(u64),
}

const fn configuration() -> Configuration<LittleEndian, Fixint, Limit<ENTRY_BYTES>> {
    bincode::config::standard().with_fixed_int_encoding().with_limit::<ENTRY_BYTES>()
}

/// The bytes of some fields.
pub(crate) fn pack(value: &impl Serialize) -> Vec<u8> {
    // Counted first: a vector that grows with each field is moved with each field.
    let mut size = SizeWriter::default();
    let counted = bincode::serde::encode_into_writer(value, &mut size, configuration());
    let mut bytes = Appended(Vec::with_capacity(size.bytes_written));
    let written =
        counted.and_then(|()| bincode::serde::encode_into_writer(value, &mut bytes, configuration()));
    written.expect("numbers, strings and bytes always encode");
    bytes.0
}

struct Appended(Vec<u8>);

impl Writer for Appended {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The fields at the front of these bytes, and how many bytes they take.
pub(crate) fn unpack_front<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, configuration())
        .map_err(|error| CodecError(format!("payload of {} bytes: {error}", bytes.len())))
}

/// The fields in these bytes; all of the bytes.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = unpack_front(bytes)?;
    if used != bytes.len() {
        return Err(CodecError(format!(
            "payload of {} bytes: only {used} of them have a meaning",
            bytes.len()
        )));
    }
    Ok(value)
}

/// The bytes of a proposal that everybody reads.
#[must_use]
pub fn encode(proposal: &Proposal) -> Bytes {
    encode_at(proposal, FIRST_LEVEL)
}

/// The bytes of a proposal, as a cluster at this feature level writes them. Whoever knows the level reads them.
#[must_use]
pub fn encode_at(proposal: &Proposal, level: u32) -> Bytes {
    let header = Header {
        time: proposal.time,
        wall_ms: proposal.wall_ms,
        request: proposal.request.map(|it| (it.session, it.sequence, it.lowest_open)),
    };
    let (tag, payload) = encode_command(&header, &proposal.command);
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    bytes.put_u8(level::version(level));
    bytes.put_u16_le(tag);
    bytes.put_u32_le(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    bytes.put_slice(&payload);
    bytes.freeze()
}

fn encode_command(header: &Header, command: &Command) -> (u16, Vec<u8>) {
    let blob = |bytes: &Bytes| Blob(bytes.clone());
    match command {
        Command::OpenSession { ttl_ms } => (tag::OPEN_SESSION, pack(&(header, ttl_ms))),
        Command::CloseSession { session } => (tag::CLOSE_SESSION, pack(&(header, session))),
        Command::ExpireLeases { leases } => (tag::EXPIRE_LEASES, pack(&(header, leases))),
        Command::Put { key, value } => (tag::PUT, pack(&(header, blob(key), blob(value)))),
        Command::Delete { key } => (tag::DELETE, pack(&(header, blob(key)))),
        Command::CompareAndSet { key, expected, value } => {
            let expected = match expected {
                Expected::Absent => WireExpected::Absent,
                Expected::Value(value) => WireExpected::Value(blob(value)),
                Expected::ModRevision(revision) => WireExpected::ModRevision(*revision),
            };
            (tag::COMPARE_AND_SET, pack(&(header, blob(key), expected, blob(value))))
        }
        Command::RegisterExecutor { request, ttl_ms, grace_ms } => {
            (tag::REGISTER_EXECUTOR, pack(&(header, message(request), ttl_ms, grace_ms)))
        }
        Command::DeregisterExecutor { executor, incarnation } => {
            (tag::DEREGISTER_EXECUTOR, pack(&(header, executor, incarnation)))
        }
        Command::RemoveExecutor { executor } => (tag::REMOVE_EXECUTOR, pack(&(header, executor))),
        Command::ReportAttempts { executor, incarnation, reports } => {
            let reports: Vec<_> = reports.iter().map(message).collect();
            (tag::REPORT_ATTEMPTS, pack(&(header, executor, incarnation, reports)))
        }
        Command::AttemptRefused { executor, attempt } => {
            let AttemptId { task: TaskKey { job, number }, epoch } = attempt;
            (tag::ATTEMPT_REFUSED, pack(&(header, executor, job.as_str(), number, epoch)))
        }
        Command::SubmitJob { id, specification } => {
            (tag::SUBMIT_JOB, pack(&(header, id.as_ref().map(JobId::as_str), message(specification))))
        }
        Command::CancelJob { id, timeout_ms } => (tag::CANCEL_JOB, pack(&(header, id.as_str(), timeout_ms))),
        Command::DeleteJob { id } => (tag::DELETE_JOB, pack(&(header, id.as_str()))),
        Command::Place => (tag::PLACE, pack(&(header,))),
        Command::ForceCancel { jobs } => {
            let jobs: Vec<_> = jobs.iter().map(JobId::as_str).collect();
            (tag::FORCE_CANCEL, pack(&(header, jobs)))
        }
        Command::ChangeMembers { changes } => {
            let changes: Vec<_> = changes.iter().map(message).collect();
            (tag::CHANGE_MEMBERS, pack(&(header, changes)))
        }
        Command::FoundMembers { members } => {
            let members: Vec<_> = members.iter().map(message).collect();
            (tag::FOUND_MEMBERS, pack(&(header, members)))
        }
        Command::KnowMember { node, storage } => (tag::KNOW_MEMBER, pack(&(header, node, storage))),
        Command::LeaveJoint => (tag::LEAVE_JOINT, pack(&(header,))),
        Command::RefuseChange { reason } => (tag::REFUSE_CHANGE, pack(&(header, reason.as_str()))),
        Command::HoldLevel { most } => (tag::HOLD_LEVEL, pack(&(header, most))),
        Command::SetLevel { level } => (tag::SET_LEVEL, pack(&(header, level))),
        Command::RaiseAlarm { alarm } => (tag::RAISE_ALARM, pack(&(header, message(alarm)))),
        Command::DisarmAlarm { node } => (tag::DISARM_ALARM, pack(&(header, node))),
    }
}

/// The proposal in these bytes, if this program can know them.
///
/// # Errors
/// An unknown version or tag, a wrong length, a payload that does not decode.
pub fn decode(bytes: &Bytes) -> Result<Proposal, CodecError> {
    decode_known(bytes, FEATURE_LEVEL)
}

/// The proposal in these bytes, as a program that knows the levels up to this one reads them.
///
/// # Errors
/// As [`decode`].
pub fn decode_known(bytes: &Bytes, known: u32) -> Result<Proposal, CodecError> {
    let Some((&[version, tag_low, tag_high, ref length @ ..], payload)) =
        bytes.split_first_chunk::<HEADER_BYTES>()
    else {
        return Err(CodecError(format!(
            "entry of {} bytes: it must have {HEADER_BYTES} at least",
            bytes.len()
        )));
    };
    if !(VERSION..=level::version(known)).contains(&version) {
        let newest = level::version(known);
        return Err(CodecError(format!(
            "entry of version {version}: this program knows up to version {newest}"
        )));
    }
    let length = u32::from_le_bytes(*length) as usize;
    if length != payload.len() || bytes.len() > ENTRY_BYTES {
        let there = payload.len();
        return Err(CodecError(format!(
            "payload of {there} bytes: it says {length}, and {ENTRY_BYTES} is the limit"
        )));
    }
    let (header, command) = decode_command(u16::from_le_bytes([tag_low, tag_high]), payload)?;
    let request =
        header.request.map(|(session, sequence, lowest_open)| RequestId { session, sequence, lowest_open });
    Ok(Proposal { time: header.time, wall_ms: header.wall_ms, request, command })
}

fn decode_command(tag: u16, payload: &[u8]) -> Result<(Header, Command), CodecError> {
    Ok(match tag {
        tag::OPEN_SESSION => {
            let (header, ttl_ms) = unpack(payload)?;
            (header, Command::OpenSession { ttl_ms })
        }
        tag::CLOSE_SESSION => {
            let (header, session) = unpack(payload)?;
            (header, Command::CloseSession { session })
        }
        tag::EXPIRE_LEASES => {
            let (header, leases): (_, Vec<LeaseId>) = unpack(payload)?;
            (header, Command::ExpireLeases { leases })
        }
        tag::PUT..=tag::COMPARE_AND_SET => decode_keyvalue(tag, payload)?,
        tag::REGISTER_EXECUTOR..=tag::ATTEMPT_REFUSED => decode_fleet(tag, payload)?,
        tag::SUBMIT_JOB..=tag::FORCE_CANCEL => decode_jobs(tag, payload)?,
        tag::CHANGE_MEMBERS..=tag::REFUSE_CHANGE => decode_members(tag, payload)?,
        tag::HOLD_LEVEL => {
            let (header, most) = unpack(payload)?;
            (header, Command::HoldLevel { most })
        }
        tag::SET_LEVEL => {
            let (header, level) = unpack(payload)?;
            (header, Command::SetLevel { level })
        }
        tag::RAISE_ALARM => {
            let (header, alarm) = unpack(payload)?;
            (header, Command::RaiseAlarm { alarm: parse_message(alarm)? })
        }
        tag::DISARM_ALARM => {
            let (header, node) = unpack(payload)?;
            (header, Command::DisarmAlarm { node })
        }
        _ => return Err(CodecError(format!("command tag {tag}: this program does not know it"))),
    })
}

fn decode_keyvalue(tag: u16, payload: &[u8]) -> Result<(Header, Command), CodecError> {
    Ok(match tag {
        tag::PUT => {
            let (header, Blob(key), Blob(value)) = unpack(payload)?;
            (header, Command::Put { key, value })
        }
        tag::DELETE => {
            let (header, Blob(key)) = unpack(payload)?;
            (header, Command::Delete { key })
        }
        _ => {
            let (header, Blob(key), expected, Blob(value)) = unpack(payload)?;
            let expected = match expected {
                WireExpected::Absent => Expected::Absent,
                WireExpected::Value(Blob(value)) => Expected::Value(value),
                WireExpected::ModRevision(revision) => Expected::ModRevision(revision),
            };
            (header, Command::CompareAndSet { key, expected, value })
        }
    })
}

fn decode_fleet(tag: u16, payload: &[u8]) -> Result<(Header, Command), CodecError> {
    Ok(match tag {
        tag::REGISTER_EXECUTOR => {
            let (header, request, ttl_ms, grace_ms) = unpack(payload)?;
            (header, Command::RegisterExecutor { request: parse_message(request)?, ttl_ms, grace_ms })
        }
        tag::DEREGISTER_EXECUTOR => {
            let (header, executor, incarnation) = unpack(payload)?;
            (header, Command::DeregisterExecutor { executor, incarnation })
        }
        tag::REMOVE_EXECUTOR => {
            let (header, executor) = unpack(payload)?;
            (header, Command::RemoveExecutor { executor })
        }
        tag::REPORT_ATTEMPTS => {
            let (header, executor, incarnation, reports): (_, ExecutorId, Incarnation, Vec<Blob>) =
                unpack(payload)?;
            let reports: Result<Vec<pb::AttemptReport>, _> = reports.into_iter().map(parse_message).collect();
            (header, Command::ReportAttempts { executor, incarnation, reports: reports? })
        }
        _ => {
            let (header, executor, job, number, epoch): (_, _, String, _, Epoch) = unpack(payload)?;
            let attempt = AttemptId { task: TaskKey { job: parse_job(&job)?, number }, epoch };
            (header, Command::AttemptRefused { executor, attempt })
        }
    })
}

fn decode_jobs(tag: u16, payload: &[u8]) -> Result<(Header, Command), CodecError> {
    Ok(match tag {
        tag::SUBMIT_JOB => {
            let (header, id, specification): (_, Option<String>, _) = unpack(payload)?;
            let id = id.as_deref().map(parse_job).transpose()?;
            (header, Command::SubmitJob { id, specification: parse_message(specification)? })
        }
        tag::CANCEL_JOB => {
            let (header, id, timeout_ms): (_, String, _) = unpack(payload)?;
            (header, Command::CancelJob { id: parse_job(&id)?, timeout_ms })
        }
        tag::DELETE_JOB => {
            let (header, id): (_, String) = unpack(payload)?;
            (header, Command::DeleteJob { id: parse_job(&id)? })
        }
        tag::PLACE => {
            let (header,) = unpack(payload)?;
            (header, Command::Place)
        }
        _ => {
            let (header, jobs): (_, Vec<String>) = unpack(payload)?;
            let jobs: Result<Vec<_>, _> = jobs.iter().map(|id| parse_job(id)).collect();
            (header, Command::ForceCancel { jobs: jobs? })
        }
    })
}

fn decode_members(tag: u16, payload: &[u8]) -> Result<(Header, Command), CodecError> {
    Ok(match tag {
        tag::CHANGE_MEMBERS => {
            let (header, changes): (_, Vec<Blob>) = unpack(payload)?;
            let changes: Result<_, _> = changes.into_iter().map(parse_message).collect();
            (header, Command::ChangeMembers { changes: changes? })
        }
        tag::FOUND_MEMBERS => {
            let (header, members): (_, Vec<Blob>) = unpack(payload)?;
            let members: Result<_, _> = members.into_iter().map(parse_message).collect();
            (header, Command::FoundMembers { members: members? })
        }
        tag::KNOW_MEMBER => {
            let (header, node, storage) = unpack(payload)?;
            (header, Command::KnowMember { node, storage })
        }
        tag::REFUSE_CHANGE => {
            let (header, reason) = unpack(payload)?;
            (header, Command::RefuseChange { reason })
        }
        _ => {
            let (header,) = unpack(payload)?;
            (header, Command::LeaveJoint)
        }
    })
}

fn message(message: &impl Message) -> Blob {
    Blob(message.encode_to_vec().into())
}

fn parse_message<M: Message + Default>(Blob(bytes): Blob) -> Result<M, CodecError> {
    M::decode(bytes).map_err(|error| CodecError(format!("a message inside the payload: {error}")))
}

fn parse_job(id: &str) -> Result<JobId, CodecError> {
    JobId::parse(id).ok_or_else(|| CodecError(format!("job id {id:?}: it is none")))
}

#[cfg(test)]
mod tests;
