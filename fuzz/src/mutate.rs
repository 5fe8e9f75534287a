//! Envelopes that no honest node sends.

use crate::choices::Choices;
use quorate_proto::v1::{self as pb, envelope::Body};

/// A number near another, or one at an end of its range.
fn number(value: &mut u64, choices: &mut Choices<'_>) {
    *value = match choices.byte() % 8 {
        0..=2 => *value,
        3 => value.wrapping_add(1),
        4 => value.wrapping_sub(1),
        5 => choices.number(),
        6 => u64::MAX - choices.number() % 2,
        _ => value.wrapping_add(choices.number()),
    };
}

/// Addresses it from one member to another, so that it gets past the first checks.
pub(crate) fn address(envelope: &mut pb::Envelope, from: u64, to: u64) {
    envelope.cluster = crate::cluster::CLUSTER.0;
    envelope.from = from;
    envelope.to = to;
    envelope.storage = from * 11;
}

/// Alters some of its fields.
pub(crate) fn envelope(envelope: &mut pb::Envelope, choices: &mut Choices<'_>) {
    match choices.byte() % 16 {
        0 => number(&mut envelope.cluster, choices),
        1 => number(&mut envelope.from, choices),
        2 => number(&mut envelope.storage, choices),
        3..=7 => number(&mut envelope.term, choices),
        _ => {}
    }
    if let Some(body) = &mut envelope.body {
        alter(body, choices);
    }
}

fn alter(body: &mut Body, choices: &mut Choices<'_>) {
    match body {
        Body::Hello(hello) => {
            hello.empty = choices.byte() & 1 == 1;
            number(&mut hello.seen_index, choices);
            number(&mut hello.seen_term, choices);
        }
        Body::Denied(denied) => number(&mut denied.storage, choices),
        Body::PreVote(request) => {
            number(&mut request.last_index, choices);
            number(&mut request.last_term, choices);
            number(&mut request.next_term, choices);
        }
        Body::PreVoteReply(reply) => {
            number(&mut reply.next_term, choices);
            reply.granted = choices.byte() & 1 == 1;
        }
        Body::Vote(request) => {
            number(&mut request.last_index, choices);
            number(&mut request.last_term, choices);
            request.handed = choices.byte() & 1 == 1;
        }
        Body::TimeoutNow(_) => {}
        Body::VoteReply(reply) => reply.granted = choices.byte() & 1 == 1,
        Body::Append(append) => alter_append(append, choices),
        Body::AppendReply(reply) => {
            reply.accepted = choices.byte() & 1 == 1;
            number(&mut reply.index, choices);
            number(&mut reply.hint_index, choices);
            number(&mut reply.hint_term, choices);
        }
        Body::Heartbeat(heartbeat) => {
            number(&mut heartbeat.commit, choices);
            number(&mut heartbeat.position, choices);
            number(&mut heartbeat.hash_index, choices);
            number(&mut heartbeat.lease, choices);
        }
        Body::HeartbeatAnswer(answer) => {
            number(&mut answer.position, choices);
            number(&mut answer.verified_index, choices);
            number(&mut answer.lease, choices);
        }
        Body::SnapshotChunk(chunk) => {
            number(&mut chunk.index, choices);
            number(&mut chunk.entry_term, choices);
            number(&mut chunk.number, choices);
            chunk.last = choices.byte() & 1 == 1;
        }
        Body::SnapshotReply(reply) => {
            number(&mut reply.index, choices);
            number(&mut reply.next_number, choices);
            reply.installed = choices.byte() & 1 == 1;
        }
        Body::Forward(forward) => number(&mut forward.id, choices),
        Body::ForwardReply(reply) => number(&mut reply.id, choices),
    }
}

fn alter_append(append: &mut pb::AppendRequest, choices: &mut Choices<'_>) {
    number(&mut append.prev_index, choices);
    number(&mut append.prev_term, choices);
    number(&mut append.commit, choices);
    let chosen = choices.pick(append.entries.len() + 1);
    if let Some(entry) = append.entries.get_mut(chosen) {
        number(&mut entry.term, choices);
        number(&mut entry.index, choices);
        if choices.byte() & 3 == 3 {
            entry.data = bytes::Bytes::copy_from_slice(choices.take(24));
        }
    }
}
