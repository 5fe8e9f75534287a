//! The services as any gRPC client sees them: no retries, and the codes as they come.

use quorate_proto::v1::{
    self as pb, cluster_client::ClusterClient, fleet_client::FleetClient, jobs_client::JobsClient,
    key_value_store_client::KeyValueStoreClient, sessions_client::SessionsClient,
};
use std::time::Duration;
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

/// No call takes longer.
const CALL_WITHIN: Duration = Duration::from_secs(20);

/// A connection to one master, with a session.
#[derive(Debug)]
pub struct Api {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    session: u64,
    sequence: u64,
}

impl Api {
    /// Connects to a master. Changes need a session: see [`open`](Self::open).
    ///
    /// # Panics
    /// If the master does not listen.
    #[must_use]
    pub fn connect(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let address =
            Endpoint::from_shared(format!("http://{endpoint}")).expect("an endpoint is well formed");
        let channel = runtime.block_on(address.timeout(CALL_WITHIN).connect());
        Self { runtime, channel: channel.expect("the master listens"), session: 0, sequence: 0 }
    }

    /// Opens a session.
    ///
    /// # Errors
    /// As the master answers.
    pub fn open(&mut self) -> Result<(), Status> {
        let mut client = SessionsClient::new(self.channel.clone());
        let opened = self.runtime.block_on(client.open(pb::OpenSessionRequest::default()))?;
        (self.session, self.sequence) = (opened.into_inner().session, 0);
        Ok(())
    }

    fn next_id(&mut self) -> Option<pb::RequestId> {
        self.sequence += 1;
        Some(pb::RequestId { session: self.session, sequence: self.sequence, lowest_open: self.sequence })
    }

    fn done<T>(reply: Result<Response<T>, Status>) -> Result<T, Status> {
        reply.map(Response::into_inner)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// As the master answers.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>) -> Result<pb::PutReply, Status> {
        let request =
            pb::PutRequest { request_id: self.next_id(), key: key.to_vec().into(), value: value.into() };
        let mut client = KeyValueStoreClient::new(self.channel.clone());
        Self::done(self.runtime.block_on(client.put(request)))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// As the master answers.
    pub fn get(&mut self, key: &[u8], stale: bool) -> Result<pb::GetReply, Status> {
        let mut client = KeyValueStoreClient::new(self.channel.clone());
        Self::done(self.runtime.block_on(client.get(pb::GetRequest { key: key.to_vec().into(), stale })))
    }

    /// Submits a job.
    ///
    /// # Errors
    /// As the master answers.
    pub fn submit(&mut self, id: &str, specification: pb::JobSpecification) -> Result<pb::JobStatus, Status> {
        let specification = Some(specification);
        let request = pb::SubmitJobRequest { request_id: self.next_id(), id: id.to_owned(), specification };
        let mut client = JobsClient::new(self.channel.clone());
        Self::done(self.runtime.block_on(client.submit(request)))
    }

    /// Reads a job.
    ///
    /// # Errors
    /// As the master answers.
    pub fn job(&mut self, id: &str) -> Result<pb::JobStatus, Status> {
        let request = pb::GetJobRequest { id: id.to_owned(), ..Default::default() };
        Self::done(self.runtime.block_on(JobsClient::new(self.channel.clone()).get(request)))
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// As the master answers.
    pub fn cancel(&mut self, id: &str) -> Result<pb::JobStatus, Status> {
        let request = pb::CancelJobRequest { request_id: self.next_id(), id: id.to_owned(), timeout_ms: 0 };
        Self::done(self.runtime.block_on(JobsClient::new(self.channel.clone()).cancel(request)))
    }

    /// Reads an executor.
    ///
    /// # Errors
    /// As the master answers.
    pub fn executor(&mut self, executor: u64) -> Result<pb::ExecutorStatus, Status> {
        let mut client = FleetClient::new(self.channel.clone());
        Self::done(self.runtime.block_on(client.get(pb::GetExecutorRequest { executor })))
    }

    /// The leader, as far as this master knows.
    ///
    /// # Errors
    /// As the master answers.
    pub fn leader(&mut self) -> Result<pb::GetLeaderReply, Status> {
        let mut client = ClusterClient::new(self.channel.clone());
        Self::done(self.runtime.block_on(client.leader(pb::GetLeaderRequest {})))
    }

    /// What is behind a refusal, if a Quorate process made it.
    #[must_use]
    pub fn refusal(status: &Status) -> Option<pb::Refusal> {
        prost::Message::decode(status.details()).ok()
    }
}
