//! Linearizability of each key by search: the second opinion. Unknown results are resolved from the committed log.

use super::{Ledger, Reference, Rule};
use crate::wgl::{Action, Operation, Verdict, check};
use bytes::Bytes;
use quorate_proto::v1::{
    self as pb, client_reply::Body, client_request::Body as Ask, compare_and_set_request::Expected,
};
use std::collections::BTreeMap;

/// Steps of the search for one key.
const BUDGET: u64 = 2_000_000;

/// One operation of a client, from its first attempt to its answer.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What was asked.
    pub request: pb::ClientRequest,
    /// When.
    pub call: u64,
    /// When it was answered, and what; `None`: never.
    pub answer: Option<(u64, pb::ClientReply)>,
}

/// The history of all keys.
#[derive(Default)]
pub struct Register {
    numbers: BTreeMap<Bytes, u64>,
    /// The value that came with each revision of a key.
    revisions: BTreeMap<u64, u64>,
}

impl Register {
    fn number(&mut self, value: &Bytes) -> u64 {
        let next = self.numbers.len() as u64 + 1;
        *self.numbers.entry(value.clone()).or_insert(next)
    }

    fn action(&mut self, recorded: &Recorded, reference: &Reference) -> Option<(Bytes, Operation)> {
        if super::answers::of_records(&recorded.request) {
            return None;
        }
        let id = super::answers::request_id(&recorded.request);
        let answered =
            recorded.answer.as_ref().filter(|(_, reply)| super::reference::refusal(reply).is_none());
        let answer = answered.map_or(u64::MAX, |(time, _)| *time);
        let reply = answered.and_then(|(_, reply)| reply.body.clone()).or_else(|| {
            // Not answered: if the committed log has it, it took effect, else it never did.
            let id = id?;
            reference.requests.get(&(id.session, id.sequence))?.reply.body.clone()
        })?;
        let (key, action) = match (recorded.request.body.as_ref()?, reply) {
            (Ask::Put(ask), Body::Put(put)) => {
                let number = self.number(&ask.value);
                self.revisions.insert(put.revision, number);
                (&ask.key, Action::Write(number))
            }
            (Ask::Get(ask), Body::Get(got)) if !ask.stale => {
                let seen = got.item.as_ref().map(|item| self.number(&item.value));
                (&ask.key, Action::Read(seen))
            }
            (Ask::Delete(ask), Body::Delete(delete)) => {
                (&ask.key, Action::Delete { was: Some(delete.deleted) })
            }
            (Ask::CompareAndSet(ask), Body::CompareAndSet(set)) => {
                let new = self.number(&ask.new_value);
                if set.succeeded {
                    self.revisions.insert(set.revision, new);
                }
                let expected = match ask.expected.as_ref()? {
                    Expected::Absent(_) => None,
                    Expected::Value(value) => Some(self.number(value)),
                    // Seen by the client in an answer, so the write that made it was recorded.
                    Expected::ModRevision(revision) => Some(*self.revisions.get(revision)?),
                };
                (&ask.key, Action::CompareAndSet { expected, new, done: Some(set.succeeded) })
            }
            _ => return None,
        };
        Some((key.clone(), Operation { call: recorded.call, answer, action }))
    }

    /// Searches every key's history.
    pub fn check(&mut self, ledger: &mut Ledger, reference: &Reference, history: &[Recorded]) {
        let mut keys: BTreeMap<Bytes, Vec<Operation>> = BTreeMap::new();
        // Revisions first: a compare-and-set may name one whose write is recorded behind it.
        for recorded in history {
            let _ = self.action(recorded, reference);
        }
        for recorded in history {
            if let Some((key, operation)) = self.action(recorded, reference) {
                keys.entry(key).or_default().push(operation);
            }
        }
        for (key, operations) in &keys {
            let verdict = check(operations, BUDGET);
            ledger.hold(Rule::SearchEnds, verdict != Verdict::Unknown, || {
                format!("key {key:?} with {} operations: no verdict in {BUDGET} steps", operations.len())
            });
            ledger.hold(Rule::Linearizable, !matches!(verdict, Verdict::Violation(_)), || {
                format!("key {key:?} with {} operations: {verdict:?}", operations.len())
            });
        }
    }
}
