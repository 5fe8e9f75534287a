//! The committed log, carried out once more beside the nodes: what the state must be at each index, what each entry was
//! answered, and, independently of the state's own code, what the keys hold.

use super::{Jobs, Ledger, Rule, room::Alarms};
use crate::master::Master;
use bytes::Bytes;
use prost::Message;
use quorate_core::{
    codec,
    command::{Command, Expected, Proposal, RequestId},
    contract::Entry,
    level,
    limits::{SESSION_REPLIES, SESSION_REPLY_BYTES},
    state::{Applied, ApplyContext, RecordKey, State, StateHash},
    trace::TraceEvent,
    types::{Index, LeaseId, SessionId},
};
use quorate_proto::v1::{self as pb, client_reply::Body};
use std::collections::BTreeMap;

/// Every so many entries everything is checked, and not only what was touched.
const WHOLE_CHECK_ENTRIES: u64 = 512;

/// A value and the revision that it came with.
pub type Item = (Bytes, u64);

/// What a client's request did.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Its entry.
    pub index: Index,
    /// Its answer.
    pub reply: pb::ClientReply,
}

/// An open session.
struct Open {
    session: u64,
    /// The lowest number that it keeps.
    lowest: u64,
    /// The answers that it keeps, by number, in bytes.
    kept: BTreeMap<u64, usize>,
}

impl Open {
    /// Forgets what its client waits for no more.
    fn keep_from(&mut self, lowest: u64) {
        self.lowest = self.lowest.max(lowest);
        self.kept = self.kept.split_off(&self.lowest);
    }

    /// One more answer; the oldest go when they are too many.
    fn keep(&mut self, sequence: u64, bytes: usize) {
        self.kept.insert(sequence, bytes);
        while self.kept.len() > SESSION_REPLIES || self.kept.values().sum::<usize>() > SESSION_REPLY_BYTES {
            let Some((oldest, _)) = self.kept.pop_first() else { return };
            self.lowest = oldest + 1;
        }
    }
}

/// The state at the end of the committed log, and what led to it.
pub struct Reference {
    /// As of the last committed entry.
    pub state: State,
    /// Of the state at `base`, and behind each entry from there on.
    hashes: Vec<StateHash>,
    base: u64,
    /// By session and sequence: the first time that it was applied.
    pub requests: BTreeMap<(u64, u64), Effect>,
    /// By index: the request that the entry carries.
    pub asked: BTreeMap<Index, (u64, u64)>,
    /// What each key held from each index on.
    pub keys: BTreeMap<Bytes, Vec<(Index, Option<Item>)>>,
    /// Jobs, tasks, executors.
    pub jobs: Jobs,
    /// What entries have done since this was last taken.
    pub news: Vec<TraceEvent>,
    /// Who has no more room.
    pub alarms: Alarms,
    /// Open sessions, by their leases.
    sessions: BTreeMap<LeaseId, Open>,
    /// The keys' newest revision.
    revision: u64,
}

impl Default for Reference {
    fn default() -> Self {
        let state = State::default();
        let hashes = vec![state.hash()];
        let (requests, asked, keys, jobs) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), Jobs::default());
        let (news, alarms, sessions, revision) = (Vec::new(), Alarms::default(), BTreeMap::new(), 0);
        Self { state, hashes, base: 0, requests, asked, keys, jobs, news, alarms, sessions, revision }
    }
}

/// Whether a reply is a refusal.
#[must_use]
pub const fn refusal(reply: &pb::ClientReply) -> Option<&pb::Refusal> {
    if let Some(Body::Refusal(refusal)) = &reply.body { Some(refusal) } else { None }
}

/// The revision that an answer to a change names.
const fn revision_of(reply: &pb::ClientReply) -> Option<u64> {
    match &reply.body {
        Some(Body::Put(put)) => Some(put.revision),
        Some(Body::Delete(delete)) => Some(delete.revision),
        Some(Body::CompareAndSet(set)) => Some(set.revision),
        _ => None,
    }
}

impl Reference {
    /// What a whole log makes, from its first entry on. Nothing is judged.
    #[must_use]
    pub fn of(log: &[Entry]) -> Self {
        let (mut reference, mut ledger) = (Self::default(), Ledger::default());
        for entry in log {
            reference.apply(&mut ledger, entry, None);
        }
        reference
    }

    /// A new cluster goes on with what was carried out so far, which became this state. `sessions`: they stay.
    pub fn inherits(&mut self, state: State, sessions: bool) {
        if !sessions {
            self.sessions.clear();
        }
        self.jobs.inherit(&state);
        (self.alarms, self.base, self.hashes) =
            (Alarms::inherited(&state), state.index().0, vec![state.hash()]);
        self.news.clear();
        self.state = state;
    }

    /// The next committed entry. `last`: where the log ends of the node that committed it first; `None`: that is not known,
    /// and what leaders do in time is not judged.
    pub fn apply(&mut self, ledger: &mut Ledger, entry: &Entry, last: Option<Index>) {
        self.jobs.ends_at = last;
        if entry.data.is_empty() {
            self.jobs.reign_begins(entry.term);
            self.state.skip(entry.index);
            self.hashes.push(self.state.hash());
            return;
        }
        let (version, level) = (entry.data[0], self.state.feature_level());
        ledger.hold(Rule::LevelWritten, version <= level::version(level), || {
            format!("entry {} of version {version} is committed at feature level {level}", entry.index)
        });
        let proposal = match codec::decode(&entry.data) {
            Ok(proposal) => proposal,
            Err(error) => {
                return ledger.fail(
                    Rule::Contract,
                    format!("committed entry {} does not decode: {error}", entry.index),
                );
            }
        };
        let applied = self.state.apply(&ApplyContext { index: entry.index }, proposal.clone());
        self.hashes.push(self.state.hash());
        if let Err(error) = self.state.check_touched(&applied.touched) {
            ledger.fail(Rule::Tables, format!("after entry {}: {error}", entry.index));
        }
        let whole = entry.index.0.is_multiple_of(WHOLE_CHECK_ENTRIES);
        let checked = if whole { self.state.check() } else { Ok(()) };
        ledger.hold(Rule::Tables, checked.is_ok(), || format!("after entry {}: {checked:?}", entry.index));
        self.session(ledger, entry.index, &proposal, &applied);
        if self.is_asked_anew(&proposal, &applied.reply) {
            self.alarms.applied(ledger, &self.state, &proposal.command, &applied.reply);
        }
        let first = self.request(ledger, entry.index, &proposal, &applied.reply);
        if first {
            self.key(ledger, entry.index, &proposal, &applied.reply);
        }
        self.jobs.applied(ledger, &self.state, entry.position(), &proposal, &applied, first);
        self.news.extend(applied.trace);
    }

    /// Sessions, as they open, ask and end.
    fn session(&mut self, ledger: &mut Ledger, index: Index, proposal: &Proposal, applied: &Applied) {
        if let Some(id) = proposal.request {
            let session = id.session.0;
            let open = self.sessions.values_mut().find(|open| open.session == session);
            let expired = refusal(&applied.reply)
                .is_some_and(|refusal| refusal.code == i32::from(pb::RefusalCode::SessionExpired));
            let kept = open.as_ref().map(|open| open.lowest);
            ledger.hold(Rule::SessionKept, !expired || kept.is_none_or(|lowest| id.sequence < lowest), || {
                format!("request {session}/{} at {index} is refused as expired; the session is open from {kept:?} on", id.sequence)
            });
            ledger.hold(Rule::SessionOver, expired || kept.is_some(), || {
                format!(
                    "request {session}/{} at {index} is answered {:?}; the session is over",
                    id.sequence, applied.reply.body
                )
            });
            if let Some(open) = open.filter(|_| !expired)
                && !open.kept.contains_key(&id.sequence)
            {
                open.keep_from(id.lowest_open.min(id.sequence));
                open.keep(id.sequence, applied.reply.encoded_len());
            }
        }
        if let Some(Body::OpenSession(open)) = &applied.reply.body
            && let Some(lease) = self.state.session_lease(SessionId(open.session))
        {
            let open = Open { session: open.session, lowest: 1, kept: BTreeMap::new() };
            self.sessions.insert(lease, open);
        }
        for key in &applied.touched {
            if let RecordKey::Lease(lease) = key
                && self.state.lease(*lease).is_none()
            {
                self.sessions.remove(lease);
            }
        }
    }

    /// Whether the entry is carried out, and is not the repetition of a request, nor one of a session that is over.
    fn is_asked_anew(&self, proposal: &Proposal, reply: &pb::ClientReply) -> bool {
        let expired =
            refusal(reply).is_some_and(|refusal| refusal.code == i32::from(pb::RefusalCode::SessionExpired));
        let known = |id: RequestId| self.requests.contains_key(&(id.session.0, id.sequence));
        !expired && !proposal.request.is_some_and(known)
    }

    /// Whether the entry's request takes effect here: it is not refused, and not a repetition.
    fn request(
        &mut self,
        ledger: &mut Ledger,
        index: Index,
        proposal: &Proposal,
        reply: &pb::ClientReply,
    ) -> bool {
        let Some(id) = proposal.request else { return refusal(reply).is_none() };
        let key = (id.session.0, id.sequence);
        self.asked.insert(index, key);
        let expired =
            refusal(reply).is_some_and(|refusal| refusal.code == i32::from(pb::RefusalCode::SessionExpired));
        if expired {
            return false;
        }
        if let Some(before) = self.requests.get(&key) {
            ledger.hold(Rule::AppliedOnce, before.reply.body == reply.body, || {
                format!(
                    "request {}/{} at {index} is answered {reply:?}; at {} it was answered {:?}",
                    key.0, key.1, before.index, before.reply
                )
            });
            return false;
        }
        self.requests.insert(key, Effect { index, reply: reply.clone() });
        refusal(reply).is_none()
    }

    /// What a key holds at an index.
    #[must_use]
    pub fn key_at(&self, key: &[u8], index: Index) -> Option<&Item> {
        let history = self.keys.get(key)?;
        let place = history.partition_point(|(from, _)| *from <= index);
        history.get(place.checked_sub(1)?)?.1.as_ref()
    }

    /// The same as an answer shows it, with how it came about since it was last absent.
    #[must_use]
    pub fn item_at(&self, key: &Bytes, index: Index) -> Option<pb::KeyValue> {
        let history = self.keys.get(key)?;
        let place = history.partition_point(|(from, _)| *from <= index);
        let life: Vec<&Item> = history[..place].iter().rev().map_while(|(_, item)| item.as_ref()).collect();
        let (newest, first) = (life.first()?, life.last()?);
        Some(pb::KeyValue {
            key: key.clone(),
            value: newest.0.clone(),
            create_revision: first.1,
            mod_revision: newest.1,
            version: life.len() as u64,
        })
    }

    /// The newest revision of the keys.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    fn key(&mut self, ledger: &mut Ledger, index: Index, proposal: &Proposal, reply: &pb::ClientReply) {
        let (key, change, fits) = match (&proposal.command, &reply.body) {
            (Command::Put { key, value }, Some(Body::Put(put))) => {
                (key, Some(Some((value.clone(), put.revision))), true)
            }
            (Command::Delete { key }, Some(Body::Delete(delete))) => {
                let there = self.key_at(key, index).is_some();
                (key, there.then_some(None), delete.deleted == there)
            }
            (Command::CompareAndSet { key, expected, value }, Some(Body::CompareAndSet(set))) => {
                let now = self.key_at(key, index);
                let matches = match expected {
                    Expected::Absent => now.is_none(),
                    Expected::Value(value) => now.is_some_and(|item| item.0 == *value),
                    Expected::ModRevision(revision) => now.is_some_and(|item| item.1 == *revision),
                };
                let after = if matches { Some((value.clone(), set.revision)) } else { now.cloned() };
                let said = set.current.as_ref().map(|item| (item.value.clone(), item.mod_revision));
                let fits = set.succeeded == matches && said == after;
                (key, matches.then_some(after), fits)
            }
            _ => return,
        };
        ledger.hold(Rule::AnswerValue, fits, || {
            format!(
                "entry {index}, {:?}, is answered {:?}; the key held {:?}",
                proposal.command,
                reply.body,
                self.key_at(key, index)
            )
        });
        if let Some(change) = change {
            let (before, after) = (self.revision, revision_of(reply).unwrap_or(0));
            ledger.hold(Rule::RevisionGrows, after > before, || {
                format!("entry {index}, {:?}, changes revision {before} to {after}", proposal.command)
            });
            self.revision = self.revision.max(after);
            self.keys.entry(key.clone()).or_default().push((index, change));
            let [.., one, other] = self.hashes[..] else { return };
            ledger.hold(Rule::HashTells, one != other, || {
                format!("entry {index}, {:?}, leaves the state's hash at {one:x?}", proposal.command)
            });
        }
    }

    /// The hash of the state at an index, if that was carried out.
    #[must_use]
    pub fn hash_at(&self, index: Index) -> Option<StateHash> {
        self.hashes.get(usize::try_from(index.0.checked_sub(self.base)?).ok()?).copied()
    }

    /// The last index that was carried out.
    #[must_use]
    pub fn index(&self) -> Index {
        Index(self.base + self.hashes.len() as u64 - 1)
    }

    /// The node's state must be that of the log up to its index.
    pub fn same_state(&self, ledger: &mut Ledger, master: &Master) {
        let Some(node) = &master.node else { return };
        let (index, hash) = (node.state().index(), node.state().hash());
        let known = self.hash_at(index);
        ledger.hold(Rule::SameState, known == Some(hash), || {
            format!("node {} at {index} has state {hash:x?}; the committed log gives {known:x?}", master.id)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_keeps_what_its_client_waits_for_within_its_limits() {
        let mut open = Open { session: 7, lowest: 1, kept: BTreeMap::new() };
        for sequence in 1..=SESSION_REPLIES as u64 {
            open.keep_from(1);
            open.keep(sequence, 10);
        }
        assert_eq!((open.lowest, open.kept.len()), (1, SESSION_REPLIES));
        open.keep(1_000, 10);
        assert_eq!((open.lowest, open.kept.len()), (2, SESSION_REPLIES));
        open.keep(1_001, SESSION_REPLY_BYTES);
        assert_eq!((open.lowest, open.kept.len()), (1_001, 1));
        open.keep_from(2_000);
        assert_eq!((open.lowest, open.kept.len()), (2_000, 0));
    }
}
