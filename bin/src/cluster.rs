//! The only place that names `quorate-net`: what the commands need of it.

use crate::{
    config::{agent::AgentSettings, server::ServerSettings},
    failure::Failure,
};
use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use quorate_proto::v1 as pb;
use std::{process::ExitCode, time::Duration};

/// Answers, one by one.
pub(crate) type Answers<T> = BoxStream<'static, Result<T, Failure>>;
/// What a key must be for a change to happen.
pub(crate) type Expected = pb::compare_and_set_request::Expected;

/// A client of one cluster. Cloning shares the connections and the session.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    endpoints: Vec<String>,
}

fn pending<T>() -> Result<T, Failure> {
    Err(Failure::unreachable("no master answered"))
}

#[allow(unused)]
impl Cluster {
    pub(crate) fn new(endpoints: Vec<String>, timeout: Duration) -> Self {
        Self { endpoints }
    }
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }
    pub(crate) async fn put(&self, key: Bytes, value: Bytes) -> Result<pb::PutReply, Failure> {
        pending()
    }
    pub(crate) async fn get(&self, key: Bytes, stale: bool) -> Result<pb::GetReply, Failure> {
        pending()
    }
    pub(crate) async fn delete(&self, key: Bytes) -> Result<pb::DeleteReply, Failure> {
        pending()
    }
    pub(crate) async fn compare_and_set(
        &self,
        key: Bytes,
        expected: Expected,
        value: Bytes,
    ) -> Result<pb::CompareAndSetReply, Failure> {
        pending()
    }
    pub(crate) async fn list(&self, request: pb::ListRequest) -> Result<pb::ListReply, Failure> {
        pending()
    }
    pub(crate) async fn submit_job(
        &self,
        id: String,
        specification: pb::JobSpecification,
    ) -> Result<pb::JobStatus, Failure> {
        pending()
    }
    pub(crate) async fn get_job(&self, request: pb::GetJobRequest) -> Result<pb::JobStatus, Failure> {
        pending()
    }
    pub(crate) async fn list_jobs(&self, request: pb::ListJobsRequest) -> Result<pb::ListJobsReply, Failure> {
        pending()
    }
    pub(crate) async fn watch_job(&self, id: String) -> Result<Answers<pb::JobStatus>, Failure> {
        pending()
    }
    pub(crate) async fn cancel_job(&self, id: String, timeout_ms: u64) -> Result<pb::JobStatus, Failure> {
        pending()
    }
    pub(crate) async fn delete_job(&self, id: String) -> Result<(), Failure> {
        pending()
    }
    pub(crate) async fn job_logs(
        &self,
        request: pb::JobLogsRequest,
    ) -> Result<Answers<pb::LogChunk>, Failure> {
        pending()
    }
    pub(crate) async fn list_executors(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<pb::ListExecutorsReply, Failure> {
        pending()
    }
    pub(crate) async fn get_executor(&self, executor: u64) -> Result<pb::ExecutorStatus, Failure> {
        pending()
    }
    pub(crate) async fn remove_executor(&self, executor: u64) -> Result<(), Failure> {
        pending()
    }
    pub(crate) async fn members(&self) -> Result<pb::ListMembersReply, Failure> {
        pending()
    }
    pub(crate) async fn status(&self, endpoint: &str) -> Result<pb::StatusReply, Failure> {
        pending()
    }
}

/// Runs a master until `stop` ends, or until it cannot go on.
#[allow(unused)]
pub(crate) async fn run_master(
    settings: &ServerSettings,
    stop: BoxFuture<'static, ()>,
) -> Result<(), Failure> {
    stop.await;
    pending()
}

/// Runs an executor until `stop` ends, or until it cannot go on.
#[allow(unused)]
pub(crate) async fn run_executor(
    settings: &AgentSettings,
    stop: BoxFuture<'static, ()>,
) -> Result<(), Failure> {
    stop.await;
    pending()
}

/// Runs the guard of one attempt; the agent speaks to it over stdin and stdout.
pub(crate) fn run_guard(arguments: &[String]) -> ExitCode {
    let _ = arguments;
    ExitCode::from(1)
}
