//! Sessions, and the answers that they were given: a retry gets the first answer again, and changes nothing.

use super::{
    Outcome, Turn,
    hash::{Kind, Sum, digest},
    lease,
    records::RecordKey,
    refuse::{exhausted, session_expired},
};
use crate::{
    bug::{self, Bug},
    command::RequestId,
    limits::{SESSION_ID_BITS, SESSION_REPLIES, SESSION_REPLY_BYTES, SESSIONS},
    mark::{self, Mark},
    types::{LeaseId, SessionId},
};
use bytes::Bytes;
use imbl::OrdMap;
use pb::{client_reply::Body, lease::Holder};
use prost::Message;
use quorate_proto::v1 as pb;

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// What keeps it.
    pub(crate) lease: LeaseId,
    /// Requests below this number are forgotten.
    pub(crate) trim: u64,
    /// The answers in all, in bytes.
    bytes: usize,
    replies: OrdMap<u64, Bytes>,
}

impl Session {
    /// The answers that are kept, by sequence number.
    pub(crate) fn replies(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.replies.iter().map(|(&sequence, reply)| (sequence, reply))
    }
}

/// All sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    sessions: OrdMap<SessionId, Session>,
    sum: Sum,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Carry it out.
    Fresh,
    /// It was carried out, and this was the answer.
    Answered(Box<pb::ClientReply>),
    /// Do not carry it out.
    Refused(pb::Refusal),
}

/// What a session is called: by its entry, and by when that was proposed. Clusters that begin with the same state, or at the
/// same addresses, have the same indexes; a client of one must not be taken for one of the other.
fn new_id(turn: &Turn<'_>, requests: &Requests) -> SessionId {
    let digest = digest(Kind::SessionId, &[turn.index.0, turn.wall_ms], &[]);
    let named = (digest as u64) >> (u64::BITS - SESSION_ID_BITS);
    let free = |id: &SessionId| id.0 > 0 && !requests.sessions.contains_key(id);
    // Fewer sessions than numbers: one is free.
    (0..).map(|step| SessionId(named.wrapping_add(step))).find(free).unwrap_or_default()
}

/// Opens a session.
pub(crate) fn open(turn: &mut Turn<'_>, requests: &mut Requests, ttl_ms: u64) -> Outcome {
    if requests.sessions.len() >= SESSIONS {
        return Err(exhausted(format!(
            "{SESSIONS} sessions are open: that is the limit; close some, or try later"
        )));
    }
    let id = new_id(turn, requests);
    let lease = lease::grant(turn, ttl_ms, 0, Holder::Session(id.0));
    requests.insert(id, Session { lease, trim: 1, bytes: 0, replies: OrdMap::new() });
    Ok(Body::OpenSession(pb::OpenSessionReply { session: id.0, ttl_ms }))
}

/// Closes a session. No error if there is none.
pub(crate) fn close(turn: &mut Turn<'_>, requests: &mut Requests, id: SessionId) -> Outcome {
    if let Some(lease) = requests.lease(id) {
        requests.close(id);
        turn.delete(&RecordKey::Lease(lease));
    } else {
        mark::hit(Mark::SessionGone);
    }
    Ok(Body::CloseSession(pb::CloseSessionReply {}))
}

impl Requests {
    /// Looks at a request before it is carried out, and forgets what its client waits for no more.
    pub(crate) fn admit(&mut self, request: &RequestId) -> Admission {
        let RequestId { session: id, sequence, lowest_open } = *request;
        let Some(session) = self.sessions.get(&id) else {
            if bug::planted(Bug::SessionUnknownApplied) {
                return Admission::Fresh;
            }
            mark::hit(Mark::RequestOfNoSession);
            return Admission::Refused(session_expired(format!(
                "session {id}: it is not known; open another"
            )));
        };
        if let Some(reply) = session.replies.get(&sequence)
            && !bug::planted(Bug::SessionAppliesAgain)
        {
            mark::hit(Mark::RequestAnswered);
            // What was stored was encoded here, or came whole out of a snapshot that was checked.
            return Admission::Answered(Box::new(pb::ClientReply::decode(reply.clone()).unwrap_or_default()));
        }
        if sequence < session.trim && !bug::planted(Bug::SessionTrimmedApplied) {
            mark::hit(Mark::RequestForgotten);
            let trim = session.trim;
            let message =
                format!("request {sequence} of session {id}: the session keeps only {trim} and above");
            return Admission::Refused(session_expired(message));
        }
        self.trim(id, lowest_open.min(sequence));
        Admission::Fresh
    }

    /// Whether the answer to a request is kept.
    pub(crate) fn has_answered(&self, request: &RequestId) -> bool {
        let session = self.sessions.get(&request.session);
        session.is_some_and(|session| session.replies.contains_key(&request.sequence))
    }

    /// The answer to a request, if it is kept.
    pub(crate) fn answer_to(&self, request: &RequestId) -> Option<pb::ClientReply> {
        let reply = self.sessions.get(&request.session)?.replies.get(&request.sequence)?;
        // As for who is admitted.
        Some(pb::ClientReply::decode(reply.clone()).unwrap_or_default())
    }

    /// Keeps an answer.
    pub(crate) fn answered(&mut self, request: &RequestId, reply: &pb::ClientReply) {
        let RequestId { session: id, sequence, .. } = *request;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let bytes = Bytes::from(reply.encode_to_vec());
        self.sum.add(reply_digest(id, sequence, &bytes));
        session.bytes += bytes.len();
        session.replies.insert(sequence, bytes);
        if bug::planted(Bug::SessionForgetsEarly) {
            self.trim(id, sequence.saturating_add(1));
        }
        while let Some(oldest) = self.sessions.get(&id).and_then(Session::over_limit) {
            mark::hit(Mark::RepliesOverLimit);
            self.trim(id, oldest.saturating_add(1));
        }
    }

    /// A session is no more.
    pub(crate) fn close(&mut self, id: SessionId) {
        self.trim(id, u64::MAX);
        if let Some(session) = self.sessions.remove(&id) {
            self.sum.take(session_digest(id, &session));
            for (sequence, reply) in session.replies() {
                self.sum.take(reply_digest(id, sequence, reply));
            }
        }
    }

    /// The lease of a session.
    pub(crate) fn lease(&self, id: SessionId) -> Option<LeaseId> {
        self.sessions.get(&id).map(|session| session.lease)
    }

    /// All sessions, in order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(&id, session)| (id, session))
    }

    /// The sum of all digests.
    pub(crate) const fn sum(&self) -> Sum {
        self.sum
    }

    /// Puts a session back, out of a snapshot. False: it is there already.
    pub(crate) fn restore(&mut self, id: SessionId, lease: LeaseId, trim: u64) -> bool {
        let fresh = !self.sessions.contains_key(&id);
        if fresh {
            self.insert(id, Session { lease, trim, bytes: 0, replies: OrdMap::new() });
        }
        fresh
    }

    /// Puts an answer back, out of a snapshot. False: it cannot be there.
    pub(crate) fn restore_reply(&mut self, id: SessionId, sequence: u64, reply: Bytes) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let fits = sequence >= session.trim
            && !session.replies.contains_key(&sequence)
            && pb::ClientReply::decode(reply.clone()).is_ok();
        if fits {
            self.sum.add(reply_digest(id, sequence, &reply));
            session.bytes += reply.len();
            session.replies.insert(sequence, reply);
        }
        fits
    }

    /// The same sessions with sizes and digests counted again. Takes time.
    pub(crate) fn rebuild(&self) -> Self {
        let mut again = Self::default();
        for (id, session) in self.iter() {
            again.restore(id, session.lease, session.trim);
            for (sequence, reply) in session.replies() {
                again.restore_reply(id, sequence, reply.clone());
            }
        }
        again
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.sum.add(session_digest(id, &session));
        self.sessions.insert(id, session);
    }

    // Raises the trim point, never lowers it, and drops the answers below.
    fn trim(&mut self, id: SessionId, lowest: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if lowest <= session.trim {
            return;
        }
        self.sum.take(session_digest(id, session));
        session.trim = lowest;
        self.sum.add(session_digest(id, session));
        while let Some((sequence, reply)) =
            session.replies.get_min().filter(|(sequence, _)| *sequence < lowest).cloned()
        {
            self.sum.take(reply_digest(id, sequence, &reply));
            session.bytes = session.bytes.saturating_sub(reply.len());
            session.replies.remove(&sequence);
        }
    }
}

impl Session {
    // The oldest answer, if there are more than may be kept.
    fn over_limit(&self) -> Option<u64> {
        let over = self.replies.len() > SESSION_REPLIES || self.bytes > SESSION_REPLY_BYTES;
        self.replies.get_min().filter(|_| over).map(|(sequence, _)| *sequence)
    }
}

fn session_digest(id: SessionId, session: &Session) -> u128 {
    digest(Kind::Session, &[id.0, session.lease.0, session.trim], &[])
}

fn reply_digest(id: SessionId, sequence: u64, reply: &[u8]) -> u128 {
    digest(Kind::Reply, &[id.0, sequence], &[reply])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_an_answer_tells_whose_it_is_and_what_it_says() {
        let digests = [(1, 1, "a"), (1, 1, "b"), (1, 2, "a"), (2, 1, "a")]
            .map(|(session, sequence, reply)| reply_digest(SessionId(session), sequence, reply.as_bytes()));
        let different: std::collections::BTreeSet<_> = digests.into_iter().collect();
        assert_eq!(different.len(), 4);
    }
}
