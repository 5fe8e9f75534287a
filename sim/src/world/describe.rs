//! One line for each thing that happens: the event log.

use crate::plan::MessageKind;
use quorate_core::{Input, contract::Write};
use quorate_proto::v1::{self as pb, client_reply, envelope::Body, executor_call};

/// A message between masters.
pub(crate) fn envelope(envelope: &pb::Envelope) -> String {
    let what = match &envelope.body {
        Some(Body::Append(append)) => {
            let last = append.entries.last().map(|entry| format!(" ..{}.{}", entry.term, entry.index));
            format!(
                "append {} behind {}.{}{} commit {}",
                append.entries.len(),
                append.prev_term,
                append.prev_index,
                last.unwrap_or_default(),
                append.commit
            )
        }
        Some(Body::SnapshotChunk(chunk)) => {
            format!(
                "snapshot {}.{} chunk {} last {}",
                chunk.entry_term, chunk.index, chunk.number, chunk.last
            )
        }
        Some(Body::Forward(forward)) => {
            let request = forward.request.as_ref().map(crate::oracle::answers::brief);
            format!("forward {}: {}", forward.id, request.unwrap_or_default())
        }
        Some(Body::ForwardReply(forward)) => {
            format!(
                "forward reply {}: {}",
                forward.id,
                forward.reply.as_ref().map_or_else(String::new, reply)
            )
        }
        Some(other) => format!("{other:?}"),
        None => "nothing".to_owned(),
    };
    format!("term {} {what}", envelope.term)
}

/// What a message is for.
pub(super) const fn kind(envelope: &pb::Envelope) -> MessageKind {
    match &envelope.body {
        Some(Body::Append(_)) => MessageKind::Append,
        Some(Body::AppendReply(_)) => MessageKind::AppendReply,
        Some(Body::PreVote(_) | Body::Vote(_)) => MessageKind::Vote,
        Some(Body::PreVoteReply(_) | Body::VoteReply(_)) => MessageKind::VoteReply,
        Some(Body::Heartbeat(_)) => MessageKind::Heartbeat,
        Some(Body::HeartbeatAnswer(_)) => MessageKind::HeartbeatAnswer,
        Some(Body::SnapshotChunk(_)) => MessageKind::Snapshot,
        Some(Body::SnapshotReply(_)) => MessageKind::SnapshotReply,
        Some(Body::Forward(_) | Body::ForwardReply(_)) => MessageKind::Forward,
        Some(Body::Hello(_)) => MessageKind::Hello,
        Some(Body::Denied(_) | Body::TimeoutNow(_)) | None => MessageKind::Other,
    }
}

/// A write.
pub(crate) fn write(write: &Write) -> String {
    let mut text = format!("{}", write.io);
    if let Some(start) = write.start {
        text += &format!(" start {start:?}");
    }
    if let (Some(first), Some(last)) = (write.entries.first(), write.entries.last()) {
        text += &format!(" entries {:?} to {:?}", first.position(), last.position());
    }
    if let Some(hard_state) = write.hard_state {
        text += &format!(" {hard_state:?}");
    }
    if let Some(voters) = &write.voters {
        text += &format!(" voters {voters:?}");
    }
    text
}

/// What a master is given.
pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Deadline => "deadline".to_owned(),
        Input::Peer(message) => format!("<- {} {}", message.from, envelope(message)),
        Input::Request { key, request } => {
            format!("request {key}: {}", crate::oracle::answers::brief(request))
        }
        Input::WriteDone { io } => format!("write {io} done"),
        Input::SnapshotLoaded { at, state } => format!("snapshot {at:?} loaded: {}", state.is_some()),
        Input::SnapshotChunkRead { peer, at, number, chunk } => {
            format!("snapshot {at:?} chunk {number} for {peer}: {}", chunk.is_some())
        }
        other => format!("{other:?}"),
    }
}

/// An answer.
pub(crate) fn reply(reply: &pb::ClientReply) -> String {
    let what = match &reply.body {
        Some(client_reply::Body::Refusal(refusal)) => {
            format!("{} {} (leader {})", refusal.code().as_str_name(), refusal.message, refusal.leader)
        }
        Some(client_reply::Body::Heartbeat(beat)) => {
            let name = |desired: &pb::DesiredAttempt| {
                let attempt = desired.attempt.clone().unwrap_or_default();
                let stop = if desired.stop { " stop" } else { "" };
                format!("{}/{}@{}{stop}", attempt.job, attempt.number, attempt.epoch)
            };
            let desired: Vec<String> = beat.desired.iter().map(name).collect();
            format!("heartbeat {} index {} desired [{}]", beat.sequence, beat.index, desired.join(", "))
        }
        Some(client_reply::Body::Job(status)) => job(status),
        Some(client_reply::Body::ListJobs(list)) => list.jobs.iter().map(job).collect::<Vec<_>>().join("; "),
        Some(other) => format!("{other:?}"),
        None => "nothing".to_owned(),
    };
    format!("@{} {what}", reply.index)
}

fn job(status: &pb::JobStatus) -> String {
    let Some(job) = &status.job else { return "no job".to_owned() };
    let task =
        |task: &pb::Task| format!("{}:{:?}@{} on {}", task.number, task.state(), task.epoch, task.executor);
    let tasks: Vec<String> = status.tasks.iter().map(task).collect();
    format!("{} {:?} {}", job.id, job.state(), tasks.join(" "))
}

/// The answer to a call.
pub(super) fn call_reply(reply: &pb::ExecutorCallReply) -> String {
    reply.body.as_ref().map_or_else(|| "nothing".to_owned(), |body| format!("{body:?}"))
}

/// A call to an executor.
pub(crate) fn call(call: &pb::ExecutorCall) -> String {
    let (name, header, attempt) = match &call.body {
        Some(executor_call::Body::PreDispatch(call)) => ("pre-dispatch", &call.header, &call.attempt),
        Some(executor_call::Body::Confirm(call)) => ("confirm", &call.header, &call.attempt),
        Some(executor_call::Body::Stop(call)) => ("stop", &call.header, &call.attempt),
        None => return "nothing".to_owned(),
    };
    let attempt = attempt.clone().unwrap_or_default();
    let header = header.unwrap_or_default();
    format!(
        "{name} {}/{}@{} term {} index {}",
        attempt.job, attempt.number, attempt.epoch, header.term, header.index
    )
}
