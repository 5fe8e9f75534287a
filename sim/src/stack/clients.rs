//! The workload, over the client library as it is shipped.

use super::{
    history::Ended,
    stage::{MILLISECOND, Stage},
};
use crate::{
    draw::{Purpose, draw},
    oracle::{Rule, answers::brief},
    plan::{ClientPlan, Expectation, Operation},
};
use prost::bytes::Bytes;
use quorate_net::{Client, ClientOptions, client::Expected, rt::Duration};
use quorate_proto::v1::{
    self as pb, client_reply::Body, client_request::Body as Ask, compare_and_set_request,
};
use std::collections::BTreeMap;

/// One client.
pub(super) struct Person {
    stage: Stage,
    place: usize,
    client: Client,
    values: u64,
    /// What it knows of each key: value and revision.
    seen: BTreeMap<String, (Bytes, u64)>,
}

impl Person {
    /// A client that has done nothing yet.
    pub(super) fn new(stage: &Stage, place: usize, plan: &ClientPlan) -> Option<Self> {
        let mut world = stage.world();
        let endpoints = world.endpoints();
        let session_ttl = match plan.session_ttl_ms {
            0 => ClientOptions::default().session_ttl,
            milliseconds => Duration::from_millis(milliseconds),
        };
        let options = ClientOptions {
            request_timeout: Duration::from_millis(plan.timeout_ms),
            deadline: Duration::from_millis(plan.give_up_ms),
            session_ttl,
            seed: Some(draw(world.plan.seed, Purpose::Client, &[place as u64])),
        };
        match Client::new(&endpoints, options) {
            Ok(client) => {
                Some(Self { stage: stage.clone(), place, client, values: 0, seen: BTreeMap::new() })
            }
            Err(error) => {
                world.fail(Rule::Contract, format!("client {place}: {error}"));
                None
            }
        }
    }

    /// Does what is planned, one after the other, until the faults are over.
    pub(super) async fn work(mut self, plan: ClientPlan) {
        for planned in plan.operations {
            self.stage.until(planned.at_ms * MILLISECOND).await;
            if self.stage.world().settling {
                break;
            }
            self.operate(planned.operation).await;
        }
        self.stage.world().clients_busy -= 1;
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        Bytes::from(format!("c{}v{}", self.place + 1, self.values))
    }

    async fn operate(&mut self, operation: Operation) {
        let ask = match operation {
            Operation::Put { key } => {
                Ask::Put(pb::PutRequest { key: key.into(), value: self.value(), request_id: None })
            }
            Operation::Get { key, stale } => Ask::Get(pb::GetRequest { key: key.into(), stale }),
            Operation::Delete { key } => Ask::Delete(pb::DeleteRequest { key: key.into(), request_id: None }),
            Operation::CompareAndSet { key, expect } => self.compare(key, expect),
            Operation::List { stale } => {
                Ask::List(pb::ListRequest { stale, limit: 1_000, ..Default::default() })
            }
            Operation::Submit { job } => Ask::SubmitJob(pb::SubmitJobRequest {
                id: job.id.clone(),
                specification: Some(job.specification()),
                request_id: None,
            }),
            Operation::Cancel { id, timeout_ms } => {
                Ask::CancelJob(pb::CancelJobRequest { id, timeout_ms, request_id: None })
            }
            Operation::GetJob { id } => {
                Ask::GetJob(pb::GetJobRequest { id, tasks: true, ..Default::default() })
            }
            Operation::ListJobs {} => Ask::ListJobs(pb::ListJobsRequest::default()),
            Operation::DeleteJob { id } => Ask::DeleteJob(pb::DeleteJobRequest { id, request_id: None }),
            Operation::RemoveExecutor { which } => {
                let Ok(list) = self.client.list_executors(pb::ListExecutorsRequest::default()).await else {
                    return;
                };
                let ids: Vec<u64> =
                    list.executors.iter().filter_map(|status| Some(status.executor.as_ref()?.id)).collect();
                let Some(place) = usize::from(which).checked_rem(ids.len()) else { return };
                Ask::RemoveExecutor(pb::RemoveExecutorRequest { executor: ids[place], request_id: None })
            }
            Operation::PutLarge { key, kib } => {
                let mut value = self.value().to_vec();
                value.resize(kib as usize * 1_024, b'.');
                Ask::Put(pb::PutRequest { key: key.into(), value: value.into(), request_id: None })
            }
            Operation::ListPage { prefix, limit } => {
                Ask::List(pb::ListRequest { prefix: prefix.into(), limit, ..Default::default() })
            }
            Operation::ChangeMembers { steps } => {
                let Some(ask) = self.stage.world().asks_for(&steps) else { return };
                let ended = self.asked(Ask::ChangeMembers(ask)).await;
                return self.stage.members_changed(&steps, &ended).await;
            }
            // The library shows no index, and asks for nothing that is not valid.
            Operation::SubmitAhead { .. } | Operation::Look { .. } | Operation::Invalid { .. } => return,
            // A master says so itself, as its own disk is.
            Operation::RaiseAlarm { .. } | Operation::DisarmAlarm { .. } => return,
            Operation::HoldLevel { most } => Ask::HoldLevel(pb::HoldLevelRequest { request_id: None, most }),
            Operation::TransferLeader { to } => {
                let to = to.map_or(0, |place| u64::from(place) + 1);
                let ask = pb::TransferLeaderRequest { to, from: 0 };
                if self.asked(Ask::TransferLeader(ask)).await.is_ok() {
                    self.stage.world().count("a leader handed over");
                }
                return;
            }
            // The library does it by itself.
            Operation::KeepSession {} => return,
            Operation::CloseSession {} => return self.client.close().await,
        };
        self.ask(ask).await;
    }

    fn compare(&mut self, key: String, expect: Expectation) -> Ask {
        let expected = match (expect, self.seen.get(&key)) {
            (Expectation::LastValue, Some((value, _))) => {
                compare_and_set_request::Expected::Value(value.clone())
            }
            (Expectation::LastRevision, Some((_, revision))) => {
                compare_and_set_request::Expected::ModRevision(*revision)
            }
            _ => compare_and_set_request::Expected::Absent(true),
        };
        let (new_value, expected) = (self.value(), Some(expected));
        Ask::CompareAndSet(pb::CompareAndSetRequest {
            key: key.into(),
            new_value,
            expected,
            request_id: None,
        })
    }

    /// Asks, and lets the oracles look at the answer.
    pub(super) async fn ask(&mut self, ask: Ask) {
        // Whoever wants to know more asks for it.
        let _ = self.asked(ask).await;
    }

    /// Asks, lets the oracles look at the answer, and gives it.
    async fn asked(&mut self, ask: Ask) -> Ended {
        let name = format!("c{}", self.place + 1);
        let asked = {
            let mut world = self.stage.world();
            let asked = world.history.asks(world.time(), ask.clone());
            world.event(&name, "asks", || brief(&asked.request));
            asked
        };
        let ended = self.send(ask).await;
        self.learn(&asked.request, &ended);
        let mut world = self.stage.world();
        let world = &mut *world;
        let outcome = match &ended {
            Ok(_) => "done",
            Err(quorate_net::ClientError::Refused { code, .. }) => code.as_str_name(),
            Err(quorate_net::ClientError::SessionExpired) => "session expired",
            Err(_) => "unknown",
        };
        world.count(outcome);
        world.event(&name, "answered", || match &ended {
            Ok(body) => format!("{}: {body:?}", brief(&asked.request)),
            Err(error) => format!("{}: {error}", brief(&asked.request)),
        });
        world.history.ended(&mut world.ledger, &world.commits, asked, &ended);
        ended
    }

    async fn send(&self, ask: Ask) -> Ended {
        let client = &self.client;
        match ask {
            Ask::Put(ask) => client.put(ask.key, ask.value).await.map(Body::Put),
            Ask::Get(ask) => client.get_with(ask).await.map(Body::Get),
            Ask::Delete(ask) => client.delete(ask.key).await.map(Body::Delete),
            Ask::CompareAndSet(ask) => {
                let expected = match ask.expected {
                    Some(compare_and_set_request::Expected::Value(value)) => Expected::Value(value),
                    Some(compare_and_set_request::Expected::ModRevision(revision)) => {
                        Expected::Revision(revision)
                    }
                    _ => Expected::Absent,
                };
                client.compare_and_set(ask.key, expected, ask.new_value).await.map(Body::CompareAndSet)
            }
            Ask::List(ask) => client.list(ask).await.map(Body::List),
            Ask::SubmitJob(ask) => {
                client.submit_job(&ask.id, ask.specification.unwrap_or_default()).await.map(Body::Job)
            }
            Ask::CancelJob(ask) => {
                client.cancel_job(&ask.id, Some(Duration::from_millis(ask.timeout_ms))).await.map(Body::Job)
            }
            Ask::GetJob(ask) => client.get_job(ask).await.map(Body::Job),
            Ask::ListJobs(ask) => client.list_jobs(ask).await.map(Body::ListJobs),
            Ask::DeleteJob(ask) => {
                client.delete_job(&ask.id).await.map(|()| Body::DeleteJob(pb::DeleteJobReply {}))
            }
            Ask::RemoveExecutor(ask) => {
                let removed = client.remove_executor(ask.executor).await;
                removed.map(|()| Body::RemoveExecutor(pb::RemoveExecutorReply {}))
            }
            Ask::ChangeMembers(ask) => {
                let changed = client.change_members(ask.changes).await;
                changed.map(|membership| {
                    Body::ChangeMembers(pb::ChangeMembersReply { membership: Some(membership) })
                })
            }
            Ask::TransferLeader(ask) => {
                let led = client.transfer_leader(Some(ask.to).filter(|to| *to != 0)).await;
                led.map(|leader| Body::TransferLeader(pb::TransferLeaderReply { leader }))
            }
            Ask::HoldLevel(ask) => {
                client.hold_level(Some(ask.most).filter(|most| *most != 0)).await.map(Body::HoldLevel)
            }
            other => {
                let message = format!("no client asks for {other:?}");
                Err(quorate_net::ClientError::Refused { code: pb::RefusalCode::Invalid, message })
            }
        }
    }

    fn learn(&mut self, request: &pb::ClientRequest, ended: &Ended) {
        let text = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        match (&request.body, ended) {
            (Some(Ask::Put(put)), Ok(Body::Put(reply))) => {
                self.seen.insert(text(&put.key), (put.value.clone(), reply.revision));
            }
            (Some(Ask::Get(get)), Ok(Body::Get(reply))) => match &reply.item {
                Some(item) => {
                    self.seen.insert(text(&get.key), (item.value.clone(), item.mod_revision));
                }
                None => {
                    self.seen.remove(&text(&get.key));
                }
            },
            (Some(Ask::CompareAndSet(set)), Ok(Body::CompareAndSet(reply))) => {
                if let Some(item) = &reply.current {
                    self.seen.insert(text(&set.key), (item.value.clone(), item.mod_revision));
                }
            }
            _ => {}
        }
    }
}
