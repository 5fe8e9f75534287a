//! Between messages and envelopes. What does not decode is refused, never trusted.

use super::{agreement::Judged, message::Message};
use crate::{
    contract::{Entry, LogPosition},
    limits,
    state::StateHash,
    types::{Index, Term, Time},
};
use quorate_proto::v1::{self as pb, envelope::Body};

const fn place(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

/// The body of an envelope.
#[must_use]
pub fn encode(message: Message) -> Body {
    match message {
        Message::PreVote { next_term, last } => Body::PreVote(pb::PreVoteRequest {
            last_index: last.index.0,
            last_term: last.term.0,
            next_term: next_term.0,
        }),
        Message::PreVoteReply { next_term, granted, commit } => Body::PreVoteReply(pb::PreVoteReply {
            next_term: next_term.0,
            granted,
            commit_index: commit.index.0,
            commit_term: commit.term.0,
        }),
        Message::Vote { last, handed } => {
            Body::Vote(pb::VoteRequest { last_index: last.index.0, last_term: last.term.0, handed })
        }
        Message::TimeoutNow => Body::TimeoutNow(pb::TimeoutNow {}),
        Message::VoteReply { granted, commit } => Body::VoteReply(pb::VoteReply {
            granted,
            commit_index: commit.index.0,
            commit_term: commit.term.0,
        }),
        Message::Append { previous, entries, commit } => Body::Append(pb::AppendRequest {
            prev_index: previous.index.0,
            prev_term: previous.term.0,
            entries: entries.into_iter().map(encode_entry).collect(),
            commit: commit.0,
        }),
        Message::Appended { index } => {
            Body::AppendReply(pb::AppendReply { accepted: true, index: index.0, hint_index: 0, hint_term: 0 })
        }
        Message::AppendRefused { previous, hint } => Body::AppendReply(pb::AppendReply {
            accepted: false,
            index: previous.0,
            hint_index: hint.index.0,
            hint_term: hint.term.0,
        }),
        Message::Heartbeat { commit, position, checkpoint, judged, lease } => {
            Body::Heartbeat(pb::HeartbeatMessage {
                lease: lease.map_or(0, |at| at.0),
                commit: commit.0,
                position,
                hash_index: checkpoint.map_or(0, |(index, _)| index.0),
                hash: encode_hash(checkpoint.map(|(_, hash)| hash)),
                judged_index: judged.map_or(0, |judged| judged.index.0),
                judged_hash: encode_hash(judged.and_then(|judged| judged.hash)),
            })
        }
        Message::HeartbeatReply { position, verified, state, lease } => {
            let lease = lease.map_or(0, |at| at.0);
            Body::HeartbeatAnswer(pb::HeartbeatAnswer {
                position,
                verified_index: verified.0,
                lease,
                hash_index: state.map_or(0, |(index, _)| index.0),
                hash: encode_hash(state.map(|(_, hash)| hash)),
            })
        }
        Message::SnapshotChunk { at, number, data, last } => Body::SnapshotChunk(pb::SnapshotChunk {
            index: at.index.0,
            entry_term: at.term.0,
            number,
            data,
            last,
        }),
        Message::SnapshotReply { index, next, installed } => {
            Body::SnapshotReply(pb::SnapshotReply { index: index.0, next_number: next, installed })
        }
    }
}

fn encode_hash(hash: Option<StateHash>) -> bytes::Bytes {
    hash.map_or_else(Default::default, |hash| hash.0.to_le_bytes().to_vec().into())
}

fn decode_hash(hash: &[u8]) -> Option<StateHash> {
    Some(StateHash(u128::from_le_bytes(hash.try_into().ok()?)))
}

/// `Some(None)`: none is told. `None`: a hash without its length.
fn decode_state(index: u64, hash: &[u8]) -> Option<Option<(Index, StateHash)>> {
    match index {
        0 => Some(None),
        index => Some(Some((Index(index), decode_hash(hash)?))),
    }
}

/// A clock of who leads; 0 = none.
const fn clock(nanoseconds: u64) -> Option<Time> {
    if nanoseconds == 0 { None } else { Some(Time(nanoseconds)) }
}

fn encode_entry(entry: Entry) -> pb::LogEntry {
    pb::LogEntry { term: entry.term.0, index: entry.index.0, data: entry.data }
}

/// The message in a body; `None` if it is none of Raft's, or breaks a rule that every honest sender keeps.
#[must_use]
pub fn decode(term: Term, body: Body) -> Option<Message> {
    Some(match body {
        Body::PreVote(m) => {
            Message::PreVote { next_term: Term(m.next_term), last: place(m.last_term, m.last_index) }
        }
        Body::PreVoteReply(m) => Message::PreVoteReply {
            next_term: Term(m.next_term),
            granted: m.granted,
            commit: place(m.commit_term, m.commit_index),
        },
        Body::Vote(m) => Message::Vote { last: place(m.last_term, m.last_index), handed: m.handed },
        Body::TimeoutNow(pb::TimeoutNow {}) => Message::TimeoutNow,
        Body::VoteReply(m) => {
            Message::VoteReply { granted: m.granted, commit: place(m.commit_term, m.commit_index) }
        }
        Body::Append(m) => decode_append(term, m)?,
        Body::AppendReply(m) if m.accepted => Message::Appended { index: Index(m.index) },
        Body::AppendReply(m) => {
            Message::AppendRefused { previous: Index(m.index), hint: place(m.hint_term, m.hint_index) }
        }
        Body::Heartbeat(m) => {
            let checkpoint = decode_state(m.hash_index, &m.hash)?;
            let judged = match (m.judged_index, m.judged_hash.as_ref()) {
                (0, _) => None,
                (index, []) => Some(Judged { index: Index(index), hash: None }),
                (index, hash) => Some(Judged { index: Index(index), hash: Some(decode_hash(hash)?) }),
            };
            let lease = clock(m.lease);
            Message::Heartbeat { commit: Index(m.commit), position: m.position, checkpoint, judged, lease }
        }
        Body::HeartbeatAnswer(m) => {
            let lease = clock(m.lease);
            let state = decode_state(m.hash_index, &m.hash)?;
            Message::HeartbeatReply { position: m.position, verified: Index(m.verified_index), state, lease }
        }
        Body::SnapshotChunk(m) => {
            if m.data.len() > limits::SNAPSHOT_CHUNK_BYTES || m.index == 0 || m.entry_term > term.0 {
                return None;
            }
            let at = place(m.entry_term, m.index);
            Message::SnapshotChunk { at, number: m.number, data: m.data, last: m.last }
        }
        Body::SnapshotReply(m) => {
            Message::SnapshotReply { index: Index(m.index), next: m.next_number, installed: m.installed }
        }
        Body::Hello(_) | Body::Denied(_) | Body::Forward(_) | Body::ForwardReply(_) => return None,
    })
}

/// Entries must follow the place before them without gaps, with terms that do not fall and are not above the sender's.
fn decode_append(term: Term, message: pb::AppendRequest) -> Option<Message> {
    let previous = place(message.prev_term, message.prev_index);
    let mut before = previous;
    let mut entries = Vec::with_capacity(message.entries.len().min(limits::APPEND_ENTRIES));
    for entry in message.entries {
        let at = place(entry.term, entry.index);
        let follows = Some(at.index.0) == before.index.0.checked_add(1) && at.term >= before.term;
        if !follows || at.term > term || entry.data.len() > limits::ENTRY_BYTES {
            return None;
        }
        entries.push(Entry { term: at.term, index: at.index, data: entry.data });
        before = at;
    }
    (previous.term <= term).then_some(Message::Append { previous, entries, commit: Index(message.commit) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const SENDER: Term = Term(5);

    fn append(entries: &[(u64, u64, usize)]) -> Option<Message> {
        let entry = |&(term, index, bytes): &(u64, u64, usize)| pb::LogEntry {
            term,
            index,
            data: Bytes::from(vec![1; bytes]),
        };
        let entries = entries.iter().map(entry).collect();
        decode(SENDER, Body::Append(pb::AppendRequest { prev_term: 3, prev_index: 7, entries, commit: 9 }))
    }

    fn chunk(entry_term: u64, index: u64, bytes: usize) -> Option<Message> {
        let data = Bytes::from(vec![1; bytes]);
        decode(
            SENDER,
            Body::SnapshotChunk(pb::SnapshotChunk { entry_term, index, data, ..Default::default() }),
        )
    }

    #[test]
    fn what_no_honest_sender_sends_is_no_message() {
        let most = limits::ENTRY_BYTES;
        for fits in [&[][..], &[(3, 8, most)], &[(3, 8, 1), (3, 9, 1), (5, 10, 1)]] {
            assert!(append(fits).is_some(), "{fits:?}");
        }
        let wrong: [&[(u64, u64, usize)]; 6] = [
            &[(3, 8, most + 1)],
            &[(3, 7, 1)],
            &[(3, 9, 1)],
            &[(2, 8, 1)],
            &[(4, 8, 1), (3, 9, 1)],
            &[(5, 8, 1), (6, 9, 1)],
        ];
        for wrong in wrong {
            assert!(append(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_chunk_is_of_a_known_place_and_no_larger_than_it_may_be() {
        assert!(chunk(5, 1, limits::SNAPSHOT_CHUNK_BYTES).is_some());
        assert!(chunk(5, 1, 0).is_some());
        assert!(chunk(5, 1, limits::SNAPSHOT_CHUNK_BYTES + 1).is_none());
        assert!(chunk(5, 0, 1).is_none());
        assert!(chunk(6, 1, 1).is_none());
    }

    #[test]
    fn a_hash_has_its_length() {
        let heartbeat = |hash_index, bytes: usize| {
            let hash = Bytes::from(vec![7; bytes]);
            decode(SENDER, Body::Heartbeat(pb::HeartbeatMessage { hash_index, hash, ..Default::default() }))
        };
        assert!(heartbeat(0, 0).is_some() && heartbeat(4, 16).is_some());
        assert!(heartbeat(4, 15).is_none() && heartbeat(4, 0).is_none());
    }
}
