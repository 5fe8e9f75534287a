//! Requests become commands here, once each of their fields is what it may be.

use super::{Command, Expected, RequestId, alarms, members, specification};
use crate::{
    contract::LeaseTimes,
    level::{FEATURE_LEVEL, FIRST_LEVEL},
    limits::{
        CANCEL_TIMEOUT_MS, EXECUTOR_NAME_CHARACTERS, EXECUTOR_SLOTS, KEY_BYTES, NAME_BYTES, PAIR_VALUE_BYTES,
        PATH_BYTES, REQUEST_BYTES, SESSION_TTL_MS, VALUE_BYTES,
    },
    mark::{self, Mark},
    state::{FRAME_PREFIX, invalid},
    types::{ExecutorId, Incarnation, JobId, SessionId},
};
use bytes::Bytes;
use core::{fmt::Display, time::Duration};
use pb::{client_request::Body, compare_and_set_request::Expected as WireExpected};
use prost::Message;
use quorate_proto::v1 as pb;

pub(super) type Checked<T> = Result<T, pb::Refusal>;

/// See [`Command::from_request`].
pub(super) fn request(
    request: &pb::ClientRequest,
    lease: &LeaseTimes,
) -> Checked<Option<(Option<RequestId>, Command)>> {
    let Some(body) = &request.body else {
        mark::hit(Mark::InvalidBody);
        return Err(invalid("body is missing: there is nothing asked".to_owned()));
    };
    let size = request.encoded_len();
    if size > REQUEST_BYTES {
        return Err(invalid(format!("request has {size} bytes: {REQUEST_BYTES} is the limit")));
    }
    let (id, command) = match body {
        Body::OpenSession(it) => {
            let (least, most, default) = SESSION_TTL_MS;
            return Ok(Some((
                None,
                Command::OpenSession { ttl_ms: number("ttl_ms", it.ttl_ms, least, most, default)? },
            )));
        }
        Body::CloseSession(it) => {
            return Ok(Some((None, Command::CloseSession { session: SessionId(it.session) })));
        }
        Body::Put(it) => {
            let (key, value) = (own_key(&it.key)?, value("value", &it.value)?);
            (&it.request_id, Command::Put { key, value })
        }
        Body::Delete(it) => (&it.request_id, Command::Delete { key: own_key(&it.key)? }),
        Body::CompareAndSet(it) => (&it.request_id, compare_and_set(it)?),
        Body::RegisterExecutor(it) => (&it.request_id, register(it, lease)?),
        Body::DeregisterExecutor(it) => {
            let executor = ExecutorId(above_zero("executor", it.executor)?);
            (
                &it.request_id,
                Command::DeregisterExecutor { executor, incarnation: Incarnation(it.incarnation) },
            )
        }
        Body::RemoveExecutor(it) => (
            &it.request_id,
            Command::RemoveExecutor { executor: ExecutorId(above_zero("executor", it.executor)?) },
        ),
        Body::SubmitJob(it) => {
            let id = if it.id.is_empty() { None } else { Some(job_id(&it.id)?) };
            let specification = specification::normalised(it.specification.as_ref());
            mark::hit_if(specification.is_err(), Mark::InvalidSpecification);
            let specification = specification?;
            (&it.request_id, Command::SubmitJob { id, specification })
        }
        Body::CancelJob(it) => {
            let (most, default) = CANCEL_TIMEOUT_MS;
            let timeout_ms = number("timeout_ms", it.timeout_ms, 1, most, default)?;
            (&it.request_id, Command::CancelJob { id: job_id(&it.id)?, timeout_ms })
        }
        Body::DeleteJob(it) => (&it.request_id, Command::DeleteJob { id: job_id(&it.id)? }),
        Body::ChangeMembers(it) => (&it.request_id, members::change(it)?),
        Body::HoldLevel(it) => (&it.request_id, level(it.most)?),
        Body::RaiseAlarm(it) => return Ok(Some((None, alarms::raise(it)?))),
        Body::DisarmAlarm(it) => (&it.request_id, alarms::disarm(it)),
        Body::KeepSession(_)
        | Body::Get(_)
        | Body::List(_)
        | Body::Heartbeat(_)
        | Body::ListExecutors(_)
        | Body::GetExecutor(_)
        | Body::GetJob(_)
        | Body::ListJobs(_)
        | Body::Status(_)
        | Body::GetLeader(_)
        | Body::ListMembers(_)
        | Body::TransferLeader(_) => return Ok(None),
    };
    Ok(Some((Some(request_id(id.as_ref())?), command)))
}

fn level(most: u32) -> Checked<Command> {
    if most > FEATURE_LEVEL {
        return Err(invalid(format!(
            "most is {most}: this master's program knows the levels {FIRST_LEVEL} to {FEATURE_LEVEL}; 0 lets the level rise"
        )));
    }
    Ok(Command::HoldLevel { most })
}

fn request_id(id: Option<&pb::RequestId>) -> Checked<RequestId> {
    let Some(&pb::RequestId { session, sequence, lowest_open }) = id else {
        return Err(invalid(
            "request_id is missing: every change names a session and a number of it".to_owned(),
        ));
    };
    if session == 0 {
        mark::hit(Mark::InvalidSession);
        return Err(invalid("request_id.session is 0: it must be an open session".to_owned()));
    }
    if sequence == 0 {
        return Err(invalid("request_id.sequence is 0: the first request of a session has 1".to_owned()));
    }
    if lowest_open > sequence {
        mark::hit(Mark::InvalidLowestOpen);
        let message =
            format!("request_id.lowest_open is {lowest_open}: it must be at most the sequence, {sequence}");
        return Err(invalid(message));
    }
    Ok(RequestId { session: SessionId(session), sequence, lowest_open })
}

fn compare_and_set(request: &pb::CompareAndSetRequest) -> Checked<Command> {
    let expected = match &request.expected {
        Some(WireExpected::Absent(true)) => Expected::Absent,
        Some(WireExpected::Absent(false)) | None => {
            return Err(invalid(
                "expected is missing: it must be absent, a value or a mod_revision".to_owned(),
            ));
        }
        Some(WireExpected::Value(bytes)) => Expected::Value(value("expected.value", bytes)?),
        Some(WireExpected::ModRevision(revision)) => {
            Expected::ModRevision(above_zero("mod_revision", *revision)?)
        }
    };
    let (key, value) = (own_key(&request.key)?, value("new_value", &request.new_value)?);
    Ok(Command::CompareAndSet { key, expected, value })
}

fn register(request: &pb::RegisterExecutorRequest, lease: &LeaseTimes) -> Checked<Command> {
    let characters = request.name.chars().count();
    if characters == 0 || characters > EXECUTOR_NAME_CHARACTERS {
        let message =
            format!("name has {characters} characters: it must have 1 to {EXECUTOR_NAME_CHARACTERS}");
        return Err(invalid(message));
    }
    address("address", &request.address)?;
    if request.slots == 0 || request.slots > EXECUTOR_SLOTS {
        return Err(invalid(format!("slots is {}: it must be 1 to {EXECUTOR_SLOTS}", request.slots)));
    }
    above_zero("incarnation", request.incarnation)?;
    let labels = pairs("labels", &request.labels)?;
    let request = pb::RegisterExecutorRequest { request_id: None, labels, ..request.clone() };
    Ok(Command::RegisterExecutor {
        request,
        ttl_ms: milliseconds(lease.ttl),
        grace_ms: milliseconds(lease.grace),
    })
}

pub(super) fn address(field: &str, address: &str) -> Checked<()> {
    let good =
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if good && address.len() <= PATH_BYTES {
        return Ok(());
    }
    let shown: String = address.chars().take(80).collect();
    Err(invalid(format!("{field} is {shown:?}: it must be host:port, with a port from 0 to 65535")))
}

/// Names and values, sorted by name, each name once.
pub(super) fn pairs(field: &str, pairs: &[pb::Pair]) -> Checked<Vec<pb::Pair>> {
    let most = crate::limits::ARGUMENTS;
    if pairs.len() > most {
        return Err(invalid(format!("{field} has {} pairs: {most} is the limit", pairs.len())));
    }
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|left, right| left.name.cmp(&right.name));
    for pair in &sorted {
        if pair.name.is_empty() || pair.name.len() > NAME_BYTES || pair.name.contains(['=', '\0']) {
            let shown: String = pair.name.chars().take(80).collect();
            let message = format!(
                "{field}: a name is {shown:?}: it must have 1 to {NAME_BYTES} bytes, without = and NUL"
            );
            return Err(invalid(message));
        }
        if pair.value.len() > PAIR_VALUE_BYTES || pair.value.contains('\0') {
            let (name, size) = (&pair.name, pair.value.len());
            let message =
                format!("{field}: {name} has {size} bytes: {PAIR_VALUE_BYTES} is the limit, without NUL");
            return Err(invalid(message));
        }
    }
    match sorted.windows(2).find(|two| two[0].name == two[1].name) {
        Some(two) => {
            Err(invalid(format!("{field}: {} is there twice: each name may be there once", two[0].name)))
        }
        None => Ok(sorted),
    }
}

/// A number in its range, with what 0 stands for.
pub(super) fn number<T: Copy + Display + Ord + Default>(
    field: &str,
    value: T,
    least: T,
    most: T,
    default: T,
) -> Checked<T> {
    if value == T::default() {
        return Ok(default);
    }
    if value < least || value > most {
        mark::hit(Mark::InvalidNumber);
        return Err(invalid(format!("{field} is {value}: it must be {least} to {most}, or 0 for {default}")));
    }
    Ok(value)
}

pub(super) fn above_zero(field: &str, value: u64) -> Checked<u64> {
    if value == 0 { Err(invalid(format!("{field} is 0: it must be above 0"))) } else { Ok(value) }
}

fn own_key(key: &Bytes) -> Checked<Bytes> {
    if key.is_empty() || key.len() > KEY_BYTES {
        mark::hit(Mark::InvalidKey);
        return Err(invalid(format!("key has {} bytes: it must have 1 to {KEY_BYTES}", key.len())));
    }
    if key.starts_with(FRAME_PREFIX) {
        mark::hit(Mark::InvalidOwner);
        let message = "key begins with /_frame/: those are Quorate's own records, which only it writes";
        return Err(invalid(message.to_owned()));
    }
    Ok(key.clone())
}

fn value(field: &str, value: &Bytes) -> Checked<Bytes> {
    if value.len() > VALUE_BYTES {
        mark::hit(Mark::InvalidValue);
        return Err(invalid(format!("{field} has {} bytes: {VALUE_BYTES} is the limit", value.len())));
    }
    Ok(value.clone())
}

fn job_id(id: &str) -> Checked<JobId> {
    JobId::parse(id).ok_or_else(|| {
        mark::hit(Mark::InvalidJobId);
        let shown: String = id.chars().take(80).collect();
        invalid(format!(
            "id is {shown:?}: it must have 1 to {} letters, digits, \"_\", \"-\" or \".\", and begin and end with a letter, \
             a digit or \"_\"",
            JobId::LENGTH_MAX
        ))
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
