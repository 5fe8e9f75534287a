//! What clients ask, and what they are told.

use super::{Event, MASTERS, World, executor::SERIAL};
use crate::choices::Choices;
use prost::Message as _;
use quorate_core::{Input, types::RequestKey};
use quorate_proto::v1::{self as pb, client_reply::Body as Reply, client_request::Body as Request};

/// Most sessions of the clients.
const SESSIONS: usize = 4;
const KEYS: [&str; 3] = ["a", "b", "c/d"];
const JOBS: [&str; 3] = ["j", "k", ""];
/// Whether a job's id is used again after the job was deleted.
const REUSE_JOB_IDS: bool = true;

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    Executor { executor: usize, run: u64, key: RequestKey },
    Client { id: Option<(u64, u64)>, fresh: bool, least: u64 },
}

impl Asker {
    pub(crate) const fn is_client(&self) -> bool {
        matches!(self, Self::Client { .. })
    }
}

#[derive(Clone, Debug)]
struct Session {
    id: u64,
    sequence: u64,
    /// The last change that it asked for.
    last: Option<Request>,
}

/// All clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    sessions: Vec<Session>,
    /// How often each job was to be deleted and submitted anew, and whether it is to be deleted.
    jobs: [(u64, bool); JOBS.len()],
}

impl Clients {
    /// The id of a job, for a request that deletes it, submits it, or asks for something else.
    fn job_id(&mut self, job: usize, deletes: bool, submits: bool) -> String {
        let (generation, deleted) = &mut self.jobs[job];
        if submits && *deleted && !REUSE_JOB_IDS {
            *generation += 1;
            *deleted = false;
        }
        *deleted |= deletes;
        let name = JOBS[job];
        if name.is_empty() { String::new() } else { format!("{name}{generation}") }
    }
}

fn id_in(request: &Request) -> Option<pb::RequestId> {
    match request {
        Request::Put(request) => request.request_id,
        Request::Delete(request) => request.request_id,
        Request::CompareAndSet(request) => request.request_id,
        Request::RegisterExecutor(request) => request.request_id,
        Request::DeregisterExecutor(request) => request.request_id,
        Request::RemoveExecutor(request) => request.request_id,
        Request::SubmitJob(request) => request.request_id,
        Request::CancelJob(request) => request.request_id,
        Request::DeleteJob(request) => request.request_id,
        _ => None,
    }
}

fn bytes_of(text: &'static str) -> bytes::Bytes {
    bytes::Bytes::from_static(text.as_bytes())
}

impl World {
    /// A request arrives at a master.
    pub(crate) fn request(&mut self, master: usize, request: Box<pb::ClientRequest>, asker: Asker) {
        if self.masters[master].node.is_some() {
            let key = RequestKey(self.next_serial());
            self.askers.insert((master, key), asker);
            self.step_master(master, Input::Request { key, request });
        }
    }

    /// A master answers.
    pub(crate) fn replied(&mut self, master: usize, key: RequestKey, reply: Box<pb::ClientReply>) {
        match self.askers.remove(&(master, key)) {
            Some(Asker::Executor { executor, run, key }) => {
                self.events.push_back(Event::Answer { executor, run, key, reply: Some(reply) });
            }
            Some(Asker::Client { id, fresh, least }) => {
                if !self.hostile {
                    self.oracle.answered(id, fresh, least, &reply);
                }
                if let Some(Reply::OpenSession(opened)) = reply.body {
                    self.clients.sessions.push(Session { id: opened.session, sequence: 0, last: None });
                    let old = self.clients.sessions.len().saturating_sub(SESSIONS);
                    self.clients.sessions.drain(..old);
                }
            }
            None => {}
        }
    }

    /// A client asks for something.
    pub(crate) fn ask(&mut self, choices: &mut Choices<'_>) {
        let (master, kind) = (choices.pick(MASTERS), choices.byte() % 32);
        let known = self.clients.sessions.len();
        let body = match kind {
            0 | 1 => None,
            2..=5 => self.read(choices),
            6 => self
                .clients
                .sessions
                .get(choices.pick(known))
                .map(|session| Request::KeepSession(pb::KeepSessionRequest { session: session.id })),
            7 if known > 1 => {
                let session = self.clients.sessions.remove(choices.pick(known)).id;
                Some(Request::CloseSession(pb::CloseSessionRequest { session }))
            }
            8 | 9 => self.clients.sessions.get(choices.pick(known)).and_then(|session| session.last.clone()),
            10 => {
                let length = choices.pick(96);
                garbage(choices.take(length))
            }
            11..=13 => {
                Some(Request::Get(pb::GetRequest { key: bytes_of(KEYS[choices.pick(3)]), stale: false }))
            }
            _ => self.change(kind, choices),
        };
        let body = body.unwrap_or(Request::OpenSession(pb::OpenSessionRequest { ttl_ms: 0 }));
        self.ask_for(master, body);
    }

    pub(crate) fn ask_for(&mut self, master: usize, body: Request) {
        let fresh = matches!(&body, Request::Get(get) if !get.stale);
        let id = id_in(&body).map(|id| (id.session, id.sequence));
        let asker = Asker::Client { id, fresh, least: self.oracle.told_revision };
        self.request(master, Box::new(pb::ClientRequest { body: Some(body) }), asker);
    }

    fn change(&mut self, kind: u8, choices: &mut Choices<'_>) -> Option<Request> {
        let known = self.clients.sessions.len();
        let serial = self.next_serial();
        let chosen = choices.pick(JOBS.len());
        let id = self.clients.job_id(chosen, (29..=30).contains(&kind), (21..=26).contains(&kind));
        let session = self.clients.sessions.get_mut(choices.pick(known))?;
        session.sequence += 1;
        let open = session.sequence.saturating_sub(choices.number() % 4).max(1);
        let request_id =
            Some(pb::RequestId { session: session.id, sequence: session.sequence, lowest_open: open });
        let key = bytes_of(KEYS[choices.pick(3)]);
        let value = bytes::Bytes::from(format!("v{serial}"));
        let request = match kind {
            14..=17 => Request::Put(pb::PutRequest { request_id, key, value }),
            18 => Request::Delete(pb::DeleteRequest { request_id, key }),
            19..=20 => {
                use pb::compare_and_set_request::Expected;
                let expected = match choices.pick(3) {
                    0 => Expected::Absent(true),
                    1 => Expected::ModRevision(choices.number()),
                    _ => Expected::Value(bytes_of("v")),
                };
                let expected = Some(expected);
                Request::CompareAndSet(pb::CompareAndSetRequest {
                    request_id,
                    key,
                    expected,
                    new_value: value,
                })
            }
            21..=26 => Request::SubmitJob(pb::SubmitJobRequest {
                request_id,
                id,
                specification: Some(specification(serial, choices)),
            }),
            27..=28 => {
                let timeout_ms = choices.number() * 10;
                Request::CancelJob(pb::CancelJobRequest { request_id, id, timeout_ms })
            }
            29..=30 => Request::DeleteJob(pb::DeleteJobRequest { request_id, id }),
            _ => {
                let executor = choices.number() % 8;
                Request::RemoveExecutor(pb::RemoveExecutorRequest { request_id, executor })
            }
        };
        session.last = Some(request.clone());
        Some(request)
    }

    fn read(&mut self, choices: &mut Choices<'_>) -> Option<Request> {
        let id = self.clients.job_id(choices.pick(2), false, false);
        let limit = u32::from(choices.byte() % 4);
        Some(match choices.pick(8) {
            0 => Request::Get(pb::GetRequest { key: bytes_of(KEYS[choices.pick(3)]), stale: true }),
            1 => Request::List(pb::ListRequest { limit, ..Default::default() }),
            2 => Request::ListExecutors(pb::ListExecutorsRequest { after: 0, limit }),
            3 => Request::GetExecutor(pb::GetExecutorRequest { executor: choices.number() % 8 }),
            4 => Request::GetJob(pb::GetJobRequest { id, tasks: true, limit, ..Default::default() }),
            5 => Request::ListJobs(pb::ListJobsRequest { limit, ..Default::default() }),
            6 => Request::Status(pb::StatusRequest {}),
            _ => Request::GetLeader(pb::GetLeaderRequest {}),
        })
    }
}

/// Any request, but none in an executor's name, and no job that nobody could tell from another.
fn garbage(bytes: &[u8]) -> Option<Request> {
    let body = pb::ClientRequest::decode(bytes).ok()?.body?;
    let forged =
        matches!(body, Request::Heartbeat(_) | Request::DeregisterExecutor(_) | Request::SubmitJob(_));
    (!forged && id_in(&body).is_none()).then_some(body)
}

fn specification(serial: u64, choices: &mut Choices<'_>) -> pb::JobSpecification {
    let shape = choices.byte();
    let kind = if shape & 1 == 0 { pb::JobType::Batch } else { pb::JobType::Service };
    pb::JobSpecification {
        r#type: kind.into(),
        argv: vec!["true".to_owned()],
        environment: vec![pb::Pair { name: SERIAL.to_owned(), value: serial.to_string() }],
        tasks: u32::from(shape >> 1 & 3) + 1,
        slots_per_task: u32::from(shape >> 3 & 1) + 1,
        retry: Some(pb::RetryPolicy {
            max_failures: u32::from(shape >> 4 & 3),
            backoff_initial_ms: 50,
            backoff_max_ms: 200,
            ..Default::default()
        }),
        stop_timeout_ms: 100,
        ..Default::default()
    }
}
