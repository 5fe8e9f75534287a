//! The cluster's records as JSON, and the words for their states.

use quorate_proto::v1 as pb;
use serde_json::{Map, Value, json};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The word for a job's type.
pub(crate) fn job_type(value: i32) -> &'static str {
    match pb::JobType::try_from(value).unwrap_or_default() {
        pb::JobType::Unspecified => "unknown",
        pb::JobType::Batch => "batch",
        pb::JobType::Service => "service",
    }
}

/// The word for a job's state.
pub(crate) fn job_state(value: i32) -> &'static str {
    match pb::JobState::try_from(value).unwrap_or_default() {
        pb::JobState::Unspecified => "unknown",
        pb::JobState::Created => "created",
        pb::JobState::Running => "running",
        pb::JobState::Finished => "finished",
        pb::JobState::Failed => "failed",
        pb::JobState::Canceling => "canceling",
        pb::JobState::Canceled => "canceled",
    }
}

/// The word for a task's state.
pub(crate) fn task_state(value: i32) -> &'static str {
    match pb::TaskState::try_from(value).unwrap_or_default() {
        pb::TaskState::Unspecified => "unknown",
        pb::TaskState::Pending => "pending",
        pb::TaskState::Assigned => "assigned",
        pb::TaskState::Online => "online",
        pb::TaskState::Finished => "finished",
        pb::TaskState::Failed => "failed",
        pb::TaskState::Canceled => "canceled",
    }
}

/// The word for how an attempt ended; empty if none has.
pub(crate) fn attempt_end(value: i32) -> &'static str {
    match pb::AttemptEnd::try_from(value).unwrap_or_default() {
        pb::AttemptEnd::Unspecified => "",
        pb::AttemptEnd::Exited => "exited",
        pb::AttemptEnd::Signaled => "signaled",
        pb::AttemptEnd::NotStarted => "not-started",
        pb::AttemptEnd::Stopped => "stopped",
        pb::AttemptEnd::Lost => "lost",
    }
}

/// The word for a master's role.
pub(crate) fn role(value: i32) -> &'static str {
    match pb::Role::try_from(value).unwrap_or_default() {
        pb::Role::Unspecified => "unknown",
        pb::Role::Follower => "follower",
        pb::Role::PreCandidate => "pre-candidate",
        pb::Role::Candidate => "candidate",
        pb::Role::Leader => "leader",
        pb::Role::NoVote => "no-vote",
    }
}

/// Whether a job has ended for good.
pub(crate) fn is_terminal(state: i32) -> bool {
    use pb::JobState::{Canceled, Failed, Finished};
    matches!(pb::JobState::try_from(state), Ok(Finished | Failed | Canceled))
}

/// Whether a task has ended for good.
pub(crate) fn is_task_terminal(state: i32) -> bool {
    use pb::TaskState::{Canceled, Failed, Finished};
    matches!(pb::TaskState::try_from(state), Ok(Finished | Failed | Canceled))
}

/// An id that is a hash or a random number: as text, since readers of JSON cut numbers above 2^53.
pub(crate) fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// A job with its counts, and its tasks if it came with them.
pub(crate) fn job(status: &pb::JobStatus) -> Value {
    let job = status.job.clone().unwrap_or_default();
    let specification = job.specification.clone().unwrap_or_default();
    let mut value = json!({
        "id": job.id,
        "type": job_type(specification.r#type),
        "state": job_state(job.state),
        "message": job.message,
        "argv": specification.argv,
        "environment": pairs(&specification.environment),
        "tasks": specification.tasks.max(1),
        "slots_per_task": specification.slots_per_task.max(1),
        "created_wall_ms": job.created_wall_ms,
        "ended_wall_ms": job.ended_wall_ms,
        "counts": counts(&status.counts.unwrap_or_default()),
    });
    if let (false, Some(fields)) = (status.tasks.is_empty(), value.as_object_mut()) {
        fields.insert("task_list".to_owned(), status.tasks.iter().map(task).collect());
        fields.insert("more_tasks".to_owned(), json!(status.more_tasks));
    }
    value
}

fn counts(counts: &pb::TaskCounts) -> Value {
    json!({
        "pending": counts.pending,
        "assigned": counts.assigned,
        "online": counts.online,
        "finished": counts.finished,
        "failed": counts.failed,
        "canceled": counts.canceled,
    })
}

/// One task.
pub(crate) fn task(task: &pb::Task) -> Value {
    json!({
        "number": task.number,
        "state": task_state(task.state),
        "epoch": task.epoch,
        "executor": task.executor,
        "failures": task.failures_total,
        "moves": task.moves,
        "last_end": attempt_end(task.last_end),
        "last_code": task.last_code,
        "last_message": task.last_message,
        "last_executor": task.last_executor,
    })
}

/// An executor, and its attempts if it came with them.
pub(crate) fn executor(status: &pb::ExecutorStatus) -> Value {
    let executor = status.executor.clone().unwrap_or_default();
    let attempts: Vec<Value> = status
        .attempts
        .iter()
        .map(|key| json!({ "job": key.job, "task": key.number, "epoch": key.epoch }))
        .collect();
    json!({
        "id": executor.id,
        "name": executor.name,
        "address": executor.address,
        "slots": executor.slots,
        "slots_used": status.slots_used,
        "labels": pairs(&executor.labels),
        "incarnation": hex(executor.incarnation),
        "registered_wall_ms": executor.registered_wall_ms,
        "attempts": attempts,
    })
}

/// A master.
pub(crate) fn member(member: &pb::Member) -> Value {
    json!({
        "id": member.id,
        "part": part(member.part()),
        "peer_address": member.peer_address,
        "client_address": member.client_address,
        "is_leader": member.is_leader,
        "priority": member.priority,
        "storage": hex(member.storage),
    })
}

/// What a master does in its cluster.
pub(crate) const fn part(part: pb::MemberPart) -> &'static str {
    match part {
        pb::MemberPart::Unspecified => "unknown",
        pb::MemberPart::Voter => "voter",
        pb::MemberPart::Learner => "learner",
        pb::MemberPart::Leaving => "leaving",
    }
}

/// What a master says of itself.
pub(crate) fn status(endpoint: &str, status: &pb::StatusReply) -> Value {
    json!({
        "endpoint": endpoint,
        "cluster": hex(status.cluster),
        "node": status.node,
        "storage": hex(status.storage),
        "role": role(status.role),
        "term": status.term,
        "leader": status.leader,
        "commit_index": status.commit_index,
        "applied_index": status.applied_index,
        "durable_index": status.durable_index,
        "first_index": status.first_index,
        "feature_level": status.feature_level,
        "program_level": status.program_level,
        "data_level": status.data_level,
        "executors": status.executors,
        "jobs": status.jobs,
        "keys": status.keys,
        "alarms": status.alarms,
        "version": status.version,
        "state_hash": status.state_hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    })
}

/// A key with its value, lossless.
pub(crate) fn key_value(item: &pb::KeyValue, keys_only: bool) -> Value {
    let mut fields = Map::new();
    insert_bytes(&mut fields, "key", &item.key);
    if !keys_only {
        insert_bytes(&mut fields, "value", &item.value);
    }
    fields.insert("create_revision".to_owned(), json!(item.create_revision));
    fields.insert("mod_revision".to_owned(), json!(item.mod_revision));
    fields.insert("version".to_owned(), json!(item.version));
    Value::Object(fields)
}

/// Bytes as text under `name`; what is not UTF-8 in base64 under `name_base64`.
fn insert_bytes(fields: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => fields.insert(name.to_owned(), json!(text)),
        Err(_) => fields.insert(format!("{name}_base64"), json!(base64(bytes))),
    };
}

fn pairs(pairs: &[pb::Pair]) -> Value {
    pairs.iter().map(|pair| (pair.name.clone(), json!(pair.value))).collect::<Map<String, Value>>().into()
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (group >> (18 - 6 * place) & 63) as usize;
            text.push(if place <= chunk.len() { char::from(BASE64[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standard_one() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF]), "+/8=");
    }

    #[test]
    fn values_are_lossless_in_json() {
        let item = |value: &'static [u8]| pb::KeyValue {
            key: "k".into(),
            value: value.into(),
            ..Default::default()
        };
        assert_eq!(key_value(&item(b"line\n\0"), false)["value"], "line\n\0");
        let binary = key_value(&item(&[0xFF]), false);
        assert_eq!(binary["value_base64"], "/w==");
        assert!(binary.get("value").is_none());
        assert!(key_value(&item(b"x"), true).get("value").is_none());
    }
}
