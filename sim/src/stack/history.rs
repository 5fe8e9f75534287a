//! What clients and executors were told, against the committed log: the log as witness when an answer comes, and a search
//! for an order of all operations of a key at the end.

use super::commits::Commits;
use crate::{
    oracle::{
        Ledger, Rule,
        answers::{brief, of_records},
        jobs::job_ended,
    },
    wgl::{Action, Operation, Verdict, check},
};
use prost::bytes::Bytes;
use quorate_core::types::{ExecutorId, Index};
use quorate_net::ClientError;
use quorate_proto::v1::{
    self as pb, RefusalCode, client_reply::Body, client_request::Body as Ask,
    compare_and_set_request::Expected,
};
use std::collections::BTreeMap;

/// Steps of the search for one key.
const BUDGET: u64 = 2_000_000;

/// A client asks for something.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) request: pb::ClientRequest,
    /// When, nanoseconds.
    pub(super) call: u64,
    /// The highest index that any answer was as of by then.
    floor: Index,
}

/// How it ended.
pub(super) type Ended = Result<Body, ClientError>;

struct Recorded {
    asked: Asked,
    /// When it was answered, and what. `None`: nobody knows what became of it.
    answer: Option<(u64, Body)>,
}

/// The rules' memory.
#[derive(Default)]
pub(super) struct History {
    floor: Index,
    keys: BTreeMap<Bytes, Vec<Recorded>>,
}

/// One answer with what it is judged by.
struct Judge<'a> {
    ledger: &'a mut Ledger,
    commits: &'a Commits,
    asked: &'a Asked,
    /// What the answer is as of.
    as_of: Index,
}

impl History {
    /// A client begins to ask.
    pub(super) const fn asks(&self, call: u64, ask: Ask) -> Asked {
        Asked { request: pb::ClientRequest { body: Some(ask) }, call, floor: self.floor }
    }

    /// A client is done with asking.
    pub(super) fn ended(&mut self, ledger: &mut Ledger, commits: &Commits, asked: Asked, ended: &Ended) {
        let time = ledger.time;
        let mut judge = Judge { ledger, commits, asked: &asked, as_of: Index(0) };
        judge.ended(ended);
        if !is_stale(&asked.request) {
            self.floor = self.floor.max(judge.as_of);
        }
        let Some(key) = key_of(&asked.request) else { return };
        let answer = match ended {
            Ok(body) => Some((time, body.clone())),
            // Refused for good: it never took effect.
            Err(ClientError::Refused { code, .. }) if *code != RefusalCode::Unavailable => return,
            Err(_) => None,
        };
        self.keys.entry(key).or_default().push(Recorded { asked, answer });
    }

    /// An executor got an answer.
    pub(super) fn executor(
        &self,
        ledger: &mut Ledger,
        commits: &Commits,
        request: &pb::ClientRequest,
        reply: &pb::ClientReply,
    ) {
        let index = match &reply.body {
            Some(Body::Heartbeat(beat)) => Index(beat.index),
            _ => Index(reply.index),
        };
        ledger.hold(Rule::AnswerCommitted, index <= commits.frontier(), || {
            format!("{} is answered as of {index}; committed is {}", brief(request), commits.frontier())
        });
        if let (Some(Ask::Heartbeat(ask)), Some(Body::Heartbeat(_))) = (&request.body, &reply.body) {
            let known = commits.reference.jobs.executor_at(ExecutorId(ask.executor), index);
            ledger.hold(Rule::ExecutorFresh, known, || {
                format!(
                    "a heartbeat of executor {} is acknowledged as of {index}, where it is not",
                    ask.executor
                )
            });
        }
    }

    /// Searches every key's history.
    pub(super) fn linearizable(&self, ledger: &mut Ledger, commits: &Commits) {
        let mut numbers = Numbers::new(commits);
        for (key, records) in &self.keys {
            let operations: Vec<Operation> =
                records.iter().filter_map(|recorded| numbers.operation(commits, recorded)).collect();
            let verdict = check(&operations, BUDGET);
            ledger.hold(Rule::Linearizable, verdict == Verdict::Linearizable, || {
                format!("key {key:?} with {} operations: {verdict:?}", operations.len())
            });
        }
    }
}

fn is_stale(request: &pb::ClientRequest) -> bool {
    match &request.body {
        Some(Ask::Get(ask)) => ask.stale,
        Some(Ask::List(ask)) => ask.stale,
        _ => false,
    }
}

fn key_of(request: &pb::ClientRequest) -> Option<Bytes> {
    if of_records(request) {
        return None;
    }
    match request.body.as_ref()? {
        Ask::Put(ask) => Some(ask.key.clone()),
        Ask::Get(ask) if !ask.stale => Some(ask.key.clone()),
        Ask::Delete(ask) => Some(ask.key.clone()),
        Ask::CompareAndSet(ask) => Some(ask.key.clone()),
        _ => None,
    }
}

impl Judge<'_> {
    fn ended(&mut self, ended: &Ended) {
        // Their revisions are those of the log and not of the keys; the core level compares what they say.
        if of_records(&self.asked.request) {
            return;
        }
        let request = self.asked.request.body.clone();
        match (request, ended) {
            (Some(Ask::Put(ask)), Ok(Body::Put(put))) => {
                self.changed(put.revision, &ask.key, Some((&ask.value, put.revision)));
            }
            (Some(Ask::Delete(ask)), Ok(Body::Delete(delete))) => {
                if delete.deleted {
                    self.changed(delete.revision, &ask.key, None);
                } else {
                    self.saw(delete.revision, &ask.key, None);
                }
            }
            (Some(Ask::CompareAndSet(ask)), Ok(Body::CompareAndSet(set))) => {
                if set.succeeded {
                    self.changed(set.revision, &ask.key, Some((&ask.new_value, set.revision)));
                } else {
                    let current = set.current.as_ref().map(|item| (&item.value, item.mod_revision));
                    self.saw(set.revision, &ask.key, current);
                }
            }
            (Some(Ask::Get(ask)), Ok(Body::Get(got))) => {
                let item = got.item.as_ref().map(|item| (&item.value, item.mod_revision));
                self.saw(got.revision, &ask.key, item);
            }
            (Some(Ask::List(ask)), Ok(Body::List(list))) => self.listed(&ask, list),
            (Some(Ask::SubmitJob(_) | Ask::CancelJob(_)), Ok(Body::Job(status))) => self.job(status, true),
            (Some(Ask::GetJob(_)), Ok(Body::Job(status))) => self.job(status, false),
            (Some(Ask::ListJobs(_)), Ok(Body::ListJobs(list))) => {
                list.jobs.iter().for_each(|status| self.job(status, false));
            }
            (Some(Ask::GetJob(ask)), Err(ClientError::Refused { code: RefusalCode::NotFound, .. })) => {
                self.missing(&ask.id);
            }
            _ => {}
        }
    }

    fn told(&self) -> String {
        brief(&self.asked.request)
    }

    /// From when to when the keys had a revision that somebody was told.
    fn revision(&mut self, revision: u64) -> Option<(Index, Index)> {
        let known = self.commits.at_revision(revision);
        let told = self.told();
        self.ledger.hold(Rule::AnswerCommitted, known.is_some(), || {
            format!("{told} is answered as of revision {revision}, which no committed entry made")
        });
        self.as_of = known.map_or(self.as_of, |(first, _)| self.as_of.max(first));
        known
    }

    fn value(&mut self, key: &Bytes, at: Index, said: Option<(&Bytes, u64)>) {
        let known = self.commits.reference.key_at(key, at).map(|(value, revision)| (value, *revision));
        let told = self.told();
        self.ledger.hold(Rule::AnswerValue, said == known, || {
            format!("{told} is answered {said:?} as of {at}; the log says {known:?}")
        });
    }

    /// A change took effect, and left this behind.
    fn changed(&mut self, revision: u64, key: &Bytes, now: Option<(&Bytes, u64)>) {
        let Some((first, _)) = self.revision(revision) else { return };
        let (told, floor) = (self.told(), self.asked.floor);
        self.ledger.hold(Rule::RealTime, first > floor, || {
            format!("{told} took effect at {first}; when it was asked, {floor} had been answered")
        });
        self.value(key, first, now);
    }

    /// Somebody was told what a key holds.
    fn saw(&mut self, revision: u64, key: &Bytes, said: Option<(&Bytes, u64)>) {
        let Some((first, last)) = self.revision(revision) else { return };
        self.not_older(last);
        self.value(key, first, said);
    }

    fn not_older(&mut self, last: Index) {
        let (told, floor) = (self.told(), self.asked.floor);
        let fresh = is_stale(&self.asked.request) || last >= floor;
        self.ledger.hold(Rule::RealTime, fresh, || {
            format!("{told} is answered as of at most {last}; when it was asked, {floor} had been answered")
        });
    }

    fn listed(&mut self, ask: &pb::ListRequest, list: &pb::ListReply) {
        let Some((first, last)) = self.revision(list.revision) else { return };
        self.not_older(last);
        let said: Vec<(&Bytes, &Bytes)> = list.items.iter().map(|item| (&item.key, &item.value)).collect();
        let reference = &self.commits.reference;
        let keys = reference.keys.keys().filter(|key| key.starts_with(&ask.prefix) && **key > ask.after);
        let mut known: Vec<(&Bytes, &Bytes)> =
            keys.filter_map(|key| Some((key, &reference.key_at(key, first)?.0))).collect();
        let ends = list.more == (known.len() > said.len());
        if list.more {
            known.truncate(said.len().max(1));
        }
        self.ledger.hold(Rule::AnswerValue, said == known && ends, || {
            format!("list is answered {said:?} as of {first}; the log says {known:?}")
        });
    }

    fn job(&mut self, status: &pb::JobStatus, change: bool) {
        let Some(job) = &status.job else { return };
        let (index, floor, told) = (Index(status.index), self.asked.floor, self.told());
        let frontier = self.commits.frontier();
        self.ledger.hold(Rule::AnswerCommitted, index <= frontier, || {
            format!("{told} is answered as of {index}; committed is {frontier}")
        });
        self.ledger.hold(Rule::RealTime, index > floor || (index == floor && !change), || {
            format!("{told} is answered as of {index}; when it was asked, {floor} had been answered")
        });
        let known = self.commits.reference.jobs.job_at(&job.id, index);
        self.ledger.hold(Rule::AnswerValue, known == Some(job.state()), || {
            format!("{told} is answered {:?} as of {index}; the log says {known:?}", job.state())
        });
        self.as_of = self.as_of.max(index);
    }

    /// There is no such job, says a master: then it was not there at some time since it was asked.
    fn missing(&mut self, id: &str) {
        let (floor, told) = (self.asked.floor, self.told());
        let jobs = &self.commits.reference.jobs;
        let history = jobs.history.get(id).map_or(&[][..], Vec::as_slice);
        let deleted = history.iter().any(|(index, state)| *index > floor && state.is_none());
        self.ledger.hold(Rule::JobKept, jobs.job_at(id, floor).is_none() || deleted, || {
            format!(
                "{told} is answered that there is none; the log says {history:?}, {floor} had been answered"
            )
        });
    }
}

/// Values as numbers.
struct Numbers {
    values: BTreeMap<Bytes, u64>,
    revisions: BTreeMap<u64, Bytes>,
}

impl Numbers {
    fn new(commits: &Commits) -> Self {
        let items = commits.reference.keys.values().flatten().filter_map(|(_, item)| item.as_ref());
        let revisions = items.map(|(value, revision)| (*revision, value.clone())).collect();
        Self { values: BTreeMap::new(), revisions }
    }

    fn number(&mut self, value: &Bytes) -> u64 {
        let next = self.values.len() as u64 + 1;
        *self.values.entry(value.clone()).or_insert(next)
    }

    /// As the search takes it. `None`: it never took effect.
    fn operation(&mut self, commits: &Commits, recorded: &Recorded) -> Option<Operation> {
        let answer = recorded.answer.as_ref();
        let happened = |value: &Bytes| answer.is_some() || commits.values.contains_key(value);
        let action = match (recorded.asked.request.body.as_ref()?, answer.map(|(_, body)| body)) {
            (Ask::Put(ask), _) if happened(&ask.value) => Action::Write(self.number(&ask.value)),
            (Ask::Get(_), Some(Body::Get(got))) => {
                Action::Read(got.item.as_ref().map(|item| self.number(&item.value)))
            }
            (Ask::Delete(_), Some(Body::Delete(delete))) => Action::Delete { was: Some(delete.deleted) },
            // It may never have taken effect: that is the same as at the very end.
            (Ask::Delete(_), None) => Action::Delete { was: None },
            (Ask::CompareAndSet(ask), body) if happened(&ask.new_value) => {
                let done = if let Some(Body::CompareAndSet(set)) = body { set.succeeded } else { true };
                let expected = match ask.expected.as_ref()? {
                    Expected::Absent(_) => None,
                    Expected::Value(value) => Some(value.clone()),
                    Expected::ModRevision(revision) => Some(self.revisions.get(revision)?.clone()),
                };
                let expected = expected.map(|value| self.number(&value));
                Action::CompareAndSet { expected, new: self.number(&ask.new_value), done: Some(done) }
            }
            _ => return None,
        };
        Some(Operation {
            call: recorded.asked.call,
            answer: answer.map_or(u64::MAX, |(time, _)| *time),
            action,
        })
    }
}

/// Jobs that have not ended, as the committed log says, and whether each is a service that nobody canceled.
pub(super) fn open_jobs(commits: &Commits) -> Vec<(String, pb::JobState, bool)> {
    let jobs = commits.reference.state.jobs();
    let open = jobs.filter(|(_, job)| !job_ended(job.state()));
    let service = |job: &pb::Job| {
        let kind = job.specification.as_ref().map(pb::JobSpecification::r#type);
        kind == Some(pb::JobType::Service) && job.state() != pb::JobState::Canceling
    };
    open.map(|(id, job)| (id.as_str().to_owned(), job.state(), service(job))).collect()
}
