//! The only place that names `quorate-net`: what the commands need of it.

use crate::{
    config::{agent::AgentSettings, server::ServerSettings},
    failure::Failure,
};
use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use quorate_core::agent::AgentConfig;
use quorate_net::{
    Client, ClientError, ClientOptions, ServerConfig, ServerError,
    agent::{AgentError, AgentRuntimeConfig, GuardCommand, MasterLink},
    client::ClientStream,
    tape::TapeOptions,
};
pub(crate) use quorate_net::{
    SCRUB_PAUSE, SCRUB_RATE, ScrubOptions,
    client::Expected,
    limits::TAPE_BYTES,
    storage::{
        self, SpaceLimits,
        space::{QUOTA_BYTES_MIN, RESERVE_BYTES},
    },
};
use quorate_proto::v1 as pb;
use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    process::ExitCode,
    time::Duration,
};

/// Answers, one by one.
pub(crate) type Answers<T> = BoxStream<'static, Result<T, Failure>>;

/// A client of one cluster. Cloning shares the connections and the session.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    client: Client,
}

impl Cluster {
    /// A client that gives each request so long, all tries together. Connects when it is used.
    ///
    /// # Errors
    /// Wrong use: an endpoint is no address.
    pub(crate) fn new(endpoints: &[String], timeout: Duration) -> Result<Self, Failure> {
        let default = ClientOptions::default();
        let request_timeout = default.request_timeout.min(timeout);
        let options = ClientOptions { request_timeout, deadline: timeout, ..default };
        Ok(Self { client: Client::new(endpoints, options).map_err(Failure::from)? })
    }

    /// The endpoints as they were given.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.client.endpoints()
    }

    /// Sets a key.
    pub(crate) async fn put(&self, key: Bytes, value: Bytes) -> Result<pb::PutReply, Failure> {
        self.client.put(key, value).await.map_err(Failure::from)
    }

    /// Reads a key.
    pub(crate) async fn get(&self, key: Bytes, stale: bool) -> Result<pb::GetReply, Failure> {
        self.client.get_with(pb::GetRequest { key, stale }).await.map_err(Failure::from)
    }

    /// Removes a key.
    pub(crate) async fn delete(&self, key: Bytes) -> Result<pb::DeleteReply, Failure> {
        self.client.delete(key).await.map_err(Failure::from)
    }

    /// Sets a key if it is as expected.
    pub(crate) async fn compare_and_set(
        &self,
        key: Bytes,
        expected: Expected,
        value: Bytes,
    ) -> Result<pb::CompareAndSetReply, Failure> {
        self.client.compare_and_set(key, expected, value).await.map_err(Failure::from)
    }

    /// A page of keys.
    pub(crate) async fn list(&self, request: pb::ListRequest) -> Result<pb::ListReply, Failure> {
        self.client.list(request).await.map_err(Failure::from)
    }

    /// Submits a job; the cluster makes an id for an empty one.
    pub(crate) async fn submit_job(
        &self,
        id: &str,
        specification: pb::JobSpecification,
    ) -> Result<pb::JobStatus, Failure> {
        self.client.submit_job(id, specification).await.map_err(Failure::from)
    }

    /// A job with a page of its tasks.
    pub(crate) async fn get_job(&self, request: pb::GetJobRequest) -> Result<pb::JobStatus, Failure> {
        self.client.get_job(request).await.map_err(Failure::from)
    }

    /// A page of jobs.
    pub(crate) async fn list_jobs(&self, request: pb::ListJobsRequest) -> Result<pb::ListJobsReply, Failure> {
        self.client.list_jobs(request).await.map_err(Failure::from)
    }

    /// A job, and again whenever it changes.
    pub(crate) fn watch_job(&self, id: &str) -> Answers<pb::JobStatus> {
        answers(self.client.watch_job(id))
    }

    /// Asks for a job to be stopped.
    pub(crate) async fn cancel_job(&self, id: &str, force_after: Duration) -> Result<pb::JobStatus, Failure> {
        self.client.cancel_job(id, Some(force_after)).await.map_err(Failure::from)
    }

    /// Removes an ended job.
    pub(crate) async fn delete_job(&self, id: &str) -> Result<(), Failure> {
        self.client.delete_job(id).await.map_err(Failure::from)
    }

    /// What an attempt has written; epoch 0 is the newest.
    pub(crate) async fn job_logs(
        &self,
        id: &str,
        task: u32,
        epoch: u64,
    ) -> Result<Answers<pb::LogChunk>, Failure> {
        self.client.job_logs(id, task, epoch).await.map(answers).map_err(Failure::from)
    }

    /// A page of executors with ids above `after`.
    pub(crate) async fn list_executors(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<pb::ListExecutorsReply, Failure> {
        self.client.list_executors(pb::ListExecutorsRequest { after, limit }).await.map_err(Failure::from)
    }

    /// An executor with its attempts.
    pub(crate) async fn get_executor(&self, executor: u64) -> Result<pb::ExecutorStatus, Failure> {
        self.client.get_executor(executor).await.map_err(Failure::from)
    }

    /// Takes an executor out.
    pub(crate) async fn remove_executor(&self, executor: u64) -> Result<(), Failure> {
        self.client.remove_executor(executor).await.map_err(Failure::from)
    }

    /// Changes who takes part.
    pub(crate) async fn change_members(
        &self,
        changes: Vec<pb::MemberChange>,
    ) -> Result<pb::Membership, Failure> {
        self.client.change_members(changes).await.map_err(Failure::from)
    }

    /// Lets another master lead; says who leads.
    pub(crate) async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, Failure> {
        self.client.transfer_leader(to).await.map_err(Failure::from)
    }

    /// What keeps the cluster from taking more data.
    pub(crate) async fn alarms(&self) -> Result<Vec<pb::Alarm>, Failure> {
        self.client.alarms().await.map_err(Failure::from)
    }

    /// Takes the alarm of a master back, or all of them.
    pub(crate) async fn disarm_alarm(&self, node: Option<u64>) -> Result<Vec<pb::Alarm>, Failure> {
        self.client.disarm_alarm(node).await.map_err(Failure::from)
    }

    /// Keeps the feature level at or below this one, or lets it rise.
    pub(crate) async fn hold_level(&self, most: Option<u32>) -> Result<pb::HoldLevelReply, Failure> {
        self.client.hold_level(most).await.map_err(Failure::from)
    }

    /// How far the feature level may go.
    pub(crate) async fn level(&self) -> Result<pb::FeatureLevel, Failure> {
        self.client.level().await.map_err(Failure::from)
    }

    /// The masters.
    pub(crate) async fn members(&self) -> Result<pb::ListMembersReply, Failure> {
        self.client.members().await.map_err(Failure::from)
    }

    /// The masters, as far as the one that is asked knows.
    pub(crate) async fn known_members(&self) -> Result<pb::ListMembersReply, Failure> {
        self.client.known_members().await.map_err(Failure::from)
    }

    /// The state with everything that is committed by now, as the bytes of a snapshot file.
    pub(crate) async fn save_snapshot(&self) -> Result<Answers<pb::SnapshotPart>, Failure> {
        self.client.save_snapshot().await.map(answers).map_err(Failure::from)
    }

    /// What one master says of itself; one try.
    pub(crate) async fn status(&self, endpoint: &str) -> Result<pb::StatusReply, Failure> {
        self.client.status(endpoint).await.map_err(Failure::from)
    }
}

fn answers<T: 'static>(stream: ClientStream<T>) -> Answers<T> {
    stream.map(|item| item.map_err(Failure::from)).boxed()
}

impl From<ClientError> for Failure {
    /// The exit code and the next step follow from the kind of error.
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        if let ClientError::Deadline { .. } = error {
            return Self::unreachable(message)
                .with_next("look whether it was done before you ask again; and check that most masters run");
        }
        if error.is_unreachable() {
            return Self::unreachable(message)
                .with_next("check that most masters run, and that --endpoints names their client addresses");
        }
        match error {
            ClientError::BadEndpoint { .. } => Self::usage(message),
            ClientError::Refused { code: pb::RefusalCode::Exhausted, .. } => {
                Self::refused(message).with_next("try again later, or ask for less")
            }
            ClientError::Refused { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Deadline { .. }
            | ClientError::SessionExpired => Self::refused(message),
        }
    }
}

/// Runs a master until `stop` ends, or until it cannot go on.
///
/// # Errors
/// Wrong use for settings that cannot work; refused for everything that keeps it from running.
pub(crate) async fn run_master(
    settings: &ServerSettings,
    stop: BoxFuture<'static, ()>,
) -> Result<(), Failure> {
    let config = ServerConfig {
        core: settings.core(),
        data_dir: settings.data_dir.clone(),
        peer_listen: settings.listen_peer.clone(),
        client_listen: settings.listen_client.clone(),
        insecure: settings.insecure,
        space: settings.space,
        scrub: settings.scrub,
        tape: settings.tape.clone().map(|file| TapeOptions { file, limit: settings.tape_limit }),
    };
    quorate_net::run_server(config, stop).await.map_err(Failure::from)
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let message = error.to_string();
        match error {
            ServerError::Config(_) | ServerError::NotLoopback { .. } => Self::usage(message),
            ServerError::Tape { .. } => {
                Self::usage(message).with_next("name a file in a directory that is there and can be written")
            }
            ServerError::Listen { field, .. } => Self::refused(message).with_next(format!(
                "end the process that listens there, or choose another address with {field}"
            )),
            ServerError::Open(_)
            | ServerError::Thread(_)
            | ServerError::Stopped(_)
            | ServerError::Panicked => Self::refused(message),
        }
    }
}

/// Runs an executor until `stop` ends, or until it cannot go on.
///
/// # Errors
/// Wrong use for an address that does not resolve; refused for everything else that keeps it from running.
pub(crate) async fn run_executor(
    settings: &AgentSettings,
    stop: BoxFuture<'static, ()>,
) -> Result<(), Failure> {
    let client = Client::new(&settings.endpoints, ClientOptions::default())?;
    let label = |(name, value): &(String, String)| pb::Pair { name: name.clone(), value: value.clone() };
    let config = AgentRuntimeConfig {
        agent: AgentConfig {
            name: settings.name.clone(),
            address: settings.advertise.clone().unwrap_or_default(),
            slots: settings.slots,
            labels: settings.labels.iter().map(label).collect(),
            heartbeat: settings.heartbeat,
            lease: settings.lease,
            ..AgentConfig::default()
        },
        listen: resolve(&settings.listen)?,
        data: settings.data_dir.clone(),
        guard: GuardCommand::current()?,
    };
    quorate_net::agent::run_agent(config, Masters(client), stop).await.map_err(Failure::from)
}

fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let mut found =
        address.to_socket_addrs().map_err(|error| Failure::usage(format!("listen is {address}: {error}")))?;
    found.next().ok_or_else(|| Failure::usage(format!("listen is {address}: the name has no address")))
}

/// How an executor speaks to the masters.
#[derive(Debug)]
struct Masters(Client);

impl MasterLink for Masters {
    async fn request(&self, request: pb::ClientRequest, timeout: Duration) -> Option<pb::ClientReply> {
        self.0.request(request, timeout).await
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let message = error.to_string();
        match error {
            AgentError::Listen { .. } => Self::refused(message)
                .with_next("end the process that listens there, or choose another address with listen"),
            AgentError::Data { .. } | AgentError::Locked { .. } => {
                Self::refused(message).with_next("correct that, or choose another directory with data_dir")
            }
            AgentError::Refused { .. } => Self::refused(message),
        }
    }
}

/// Runs the guard of one attempt; its agent speaks to it over pipes.
pub(crate) fn run_guard(arguments: &[String]) -> ExitCode {
    quorate_net::agent::run_guard(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_client_has_its_exit_code() {
        let refused = |code| ClientError::Refused { code, message: "m".to_owned() };
        let cases = [
            (refused(pb::RefusalCode::Invalid), 1),
            (refused(pb::RefusalCode::NotFound), 1),
            (refused(pb::RefusalCode::AlreadyExists), 1),
            (refused(pb::RefusalCode::Exhausted), 1),
            (refused(pb::RefusalCode::Unavailable), 3),
            (ClientError::SessionExpired, 1),
            (ClientError::Deadline { last: "x".to_owned() }, 3),
            (ClientError::Unreachable { endpoints: Vec::new(), last: "x".to_owned() }, 3),
            (ClientError::BadEndpoint { endpoint: "x".to_owned(), why: "is wrong".to_owned() }, 2),
        ];
        for (error, code) in cases {
            assert_eq!(Failure::from(error.clone()).kind.exit_code(), code, "{error:?}");
        }
    }
}
