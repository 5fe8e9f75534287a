//! One method for each thing that can be asked.

use super::{Client, ClientError};
use crate::{
    limits::CLIENT_CONNECT,
    rt::{Duration, timeout},
};
use bytes::Bytes;
use prost::Message as _;
use quorate_core::state::RecordKey;
use quorate_proto::v1::{
    self as pb, client_reply::Body as Reply, client_request::Body as Ask, cluster_client::ClusterClient,
    compare_and_set_request,
};

/// Where the records of alarms are.
const ALARMS: &[u8] = b"/_frame/alarms/";

/// What must be so for a compare-and-set to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key does not exist.
    Absent,
    /// The key has this value.
    Value(Bytes),
    /// The key was last changed at this revision.
    Revision(u64),
}

/// Takes the kind of answer out that belongs to the request.
macro_rules! answer {
    ($reply:expr, $kind:ident) => {
        match $reply.body {
            Some(Reply::$kind(answer)) => Ok(answer),
            _ => Err(strange()),
        }
    };
}

fn strange() -> ClientError {
    let message = "a master answered something else than was asked: is its version older?".to_owned();
    ClientError::Refused { code: pb::RefusalCode::Unspecified, message }
}

/// Each method tries until the deadline of the options, and returns what [`ClientError`] lists. Changes are applied once.
impl Client {
    /// Sets a key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<pb::PutReply, ClientError> {
        let (key, value) = (key.into(), value.into());
        let make =
            |id| Ask::Put(pb::PutRequest { request_id: Some(id), key: key.clone(), value: value.clone() });
        answer!(self.inner.change(make).await?, Put)
    }

    /// Reads a key, linearizable.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<pb::GetReply, ClientError> {
        self.get_with(pb::GetRequest { key: key.into(), stale: false }).await
    }

    /// Reads a key as the request says.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_with(&self, request: pb::GetRequest) -> Result<pb::GetReply, ClientError> {
        answer!(self.inner.read(Ask::Get(request)).await?, Get)
    }

    /// Deletes a key. Not an error if there is none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<pb::DeleteReply, ClientError> {
        let key = key.into();
        let make = |id| Ask::Delete(pb::DeleteRequest { request_id: Some(id), key: key.clone() });
        answer!(self.inner.change(make).await?, Delete)
    }

    /// Sets a key if it is as expected. Not an error if it is not: the answer says so.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn compare_and_set(
        &self,
        key: impl Into<Bytes>,
        expected: Expected,
        new_value: impl Into<Bytes>,
    ) -> Result<pb::CompareAndSetReply, ClientError> {
        let expected = match expected {
            Expected::Absent => compare_and_set_request::Expected::Absent(true),
            Expected::Value(value) => compare_and_set_request::Expected::Value(value),
            Expected::Revision(revision) => compare_and_set_request::Expected::ModRevision(revision),
        };
        let (key, new_value) = (key.into(), new_value.into());
        let make = |id| {
            let (key, new_value, expected) = (key.clone(), new_value.clone(), Some(expected.clone()));
            Ask::CompareAndSet(pb::CompareAndSetRequest { request_id: Some(id), key, new_value, expected })
        };
        answer!(self.inner.change(make).await?, CompareAndSet)
    }

    /// One page of keys.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self, request: pb::ListRequest) -> Result<pb::ListReply, ClientError> {
        answer!(self.inner.read(Ask::List(request)).await?, List)
    }

    /// Submits a job. An empty id: the cluster makes one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn submit_job(
        &self,
        id: &str,
        specification: pb::JobSpecification,
    ) -> Result<pb::JobStatus, ClientError> {
        let make = |request_id| {
            let (request_id, specification) = (Some(request_id), Some(specification.clone()));
            Ask::SubmitJob(pb::SubmitJobRequest { request_id, id: id.to_owned(), specification })
        };
        answer!(self.inner.change(make).await?, Job)
    }

    /// One job, with a page of its tasks if the request asks for them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_job(&self, request: pb::GetJobRequest) -> Result<pb::JobStatus, ClientError> {
        answer!(self.inner.read(Ask::GetJob(request)).await?, Job)
    }

    /// One page of jobs.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_jobs(&self, request: pb::ListJobsRequest) -> Result<pb::ListJobsReply, ClientError> {
        answer!(self.inner.read(Ask::ListJobs(request)).await?, ListJobs)
    }

    /// Asks for a job to be stopped; after `timeout` it is forced. `None`: the cluster's default.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cancel_job(
        &self,
        id: &str,
        timeout: Option<Duration>,
    ) -> Result<pb::JobStatus, ClientError> {
        let timeout_ms =
            timeout.map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1));
        let make = |request_id| {
            Ask::CancelJob(pb::CancelJobRequest {
                request_id: Some(request_id),
                id: id.to_owned(),
                timeout_ms,
            })
        };
        answer!(self.inner.change(make).await?, Job)
    }

    /// Removes an ended job.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete_job(&self, id: &str) -> Result<(), ClientError> {
        let make = |request_id| {
            Ask::DeleteJob(pb::DeleteJobRequest { request_id: Some(request_id), id: id.to_owned() })
        };
        answer!(self.inner.change(make).await?, DeleteJob).map(|_| ())
    }

    /// One page of executors.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list_executors(
        &self,
        request: pb::ListExecutorsRequest,
    ) -> Result<pb::ListExecutorsReply, ClientError> {
        answer!(self.inner.read(Ask::ListExecutors(request)).await?, ListExecutors)
    }

    /// One executor, with the attempts that it holds.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_executor(&self, executor: u64) -> Result<pb::ExecutorStatus, ClientError> {
        answer!(self.inner.read(Ask::GetExecutor(pb::GetExecutorRequest { executor })).await?, GetExecutor)
    }

    /// Drains and removes an executor.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn remove_executor(&self, executor: u64) -> Result<(), ClientError> {
        let make = |request_id| {
            Ask::RemoveExecutor(pb::RemoveExecutorRequest { request_id: Some(request_id), executor })
        };
        answer!(self.inner.change(make).await?, RemoveExecutor).map(|_| ())
    }

    /// Changes who takes part in the cluster: all of these steps, or none.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change_members(
        &self,
        changes: Vec<pb::MemberChange>,
    ) -> Result<pb::Membership, ClientError> {
        let make = |request_id| {
            let changes = changes.clone();
            Ask::ChangeMembers(pb::ChangeMembersRequest { request_id: Some(request_id), changes })
        };
        answer!(self.inner.change(make).await?, ChangeMembers).map(|it| it.membership.unwrap_or_default())
    }

    /// What keeps the cluster from taking more data.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn alarms(&self) -> Result<Vec<pb::Alarm>, ClientError> {
        let prefix = Bytes::from_static(ALARMS);
        let found = self.list(pb::ListRequest { prefix, ..pb::ListRequest::default() }).await?;
        // Of a record that does not decode, that it is there is told all the same.
        Ok(found.items.into_iter().map(|item| pb::Alarm::decode(item.value).unwrap_or_default()).collect())
    }

    /// Takes the alarm of a master back, or all of them, so that changes that take room are taken again. Gives those that
    /// were there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn disarm_alarm(&self, node: Option<u64>) -> Result<Vec<pb::Alarm>, ClientError> {
        let node = node.unwrap_or(0);
        let make =
            |request_id| Ask::DisarmAlarm(pb::DisarmAlarmRequest { request_id: Some(request_id), node });
        answer!(self.inner.change(make).await?, DisarmAlarm).map(|it| it.alarms)
    }

    /// Keeps the feature level at or below this one, or lets it rise. Gives what it was when that was decided.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hold_level(&self, most: Option<u32>) -> Result<pb::HoldLevelReply, ClientError> {
        let most = most.unwrap_or(0);
        let make = |request_id| Ask::HoldLevel(pb::HoldLevelRequest { request_id: Some(request_id), most });
        answer!(self.inner.change(make).await?, HoldLevel)
    }

    /// How far the feature level may go.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn level(&self) -> Result<pb::FeatureLevel, ClientError> {
        let key = RecordKey::Level.public_key();
        let found = self.get(key).await?.item;
        Ok(found.map(|item| pb::FeatureLevel::decode(item.value).unwrap_or_default()).unwrap_or_default())
    }

    /// The masters, and who of them leads.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn members(&self) -> Result<pb::ListMembersReply, ClientError> {
        let ask = Ask::ListMembers(pb::ListMembersRequest { stale: false });
        answer!(self.inner.read(ask).await?, ListMembers)
    }

    /// Who the members are as far as the master that is asked knows: also where nobody leads.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn known_members(&self) -> Result<pb::ListMembersReply, ClientError> {
        let ask = Ask::ListMembers(pb::ListMembersRequest { stale: true });
        answer!(self.inner.read(ask).await?, ListMembers)
    }

    /// Lets another voter lead: this one, or whoever holds most of the log. Answers who leads.
    ///
    /// # Errors
    /// See [`ClientError`]. That it is retried does no harm.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, ClientError> {
        // An answer that is lost must not move it once more.
        let from = if to.is_some() { 0 } else { self.leader().await?.leader };
        let ask = Ask::TransferLeader(pb::TransferLeaderRequest { to: to.unwrap_or(0), from });
        answer!(self.inner.read(ask).await?, TransferLeader).map(|it| it.leader)
    }

    /// The leader, as far as the master that is asked knows.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn leader(&self) -> Result<pb::GetLeaderReply, ClientError> {
        answer!(self.inner.read(Ask::GetLeader(pb::GetLeaderRequest {})).await?, GetLeader)
    }

    /// What one master knows of itself. One try: it may be down.
    ///
    /// # Errors
    /// `BadEndpoint`, `Unreachable`, or what that master refuses.
    pub async fn status(&self, endpoint: &str) -> Result<pb::StatusReply, ClientError> {
        let address = super::endpoints::parse(endpoint)?;
        let unreachable = |last| ClientError::Unreachable { endpoints: vec![address.clone()], last };
        let channel = self.inner.channels.get(&address).map_err(unreachable)?;
        let limit = self.inner.options.request_timeout.min(CLIENT_CONNECT * 2);
        let asked = async move { ClusterClient::new(channel).status(pb::StatusRequest {}).await };
        match timeout(limit, asked).await {
            Some(Ok(reply)) => Ok(reply.into_inner()),
            Some(Err(status)) => Err(match crate::errors::refusal_of(&status) {
                Some(refused) => ClientError::Refused { code: refused.code(), message: refused.message },
                None => unreachable(crate::errors::describe(&status)),
            }),
            None => {
                self.inner.channels.forget(&address);
                Err(unreachable("no answer in time".to_owned()))
            }
        }
    }
}
