//! Puts a node together: its driver, its threads, its links to peers and its two ports.

#[cfg(not(madsim))]
mod differing;
mod disk;
#[cfg(not(madsim))]
mod incoming;
#[cfg(not(madsim))]
mod run;
mod scrub;
#[cfg(not(madsim))]
mod space;

#[cfg(not(madsim))]
pub(crate) use incoming::incoming;
#[cfg(not(madsim))]
pub use run::{ServerConfig, run_server, start_server};
pub use scrub::round as scrub_round;
#[cfg(not(madsim))]
pub use scrub::{SCRUB_PAUSE, SCRUB_RATE, ScrubOptions};

use crate::{
    driver::{
        Channels, Clock, Driver, Identity, LogWriter, NodeHandle, Outlets, SnapshotFiles, WorkDone,
        keep_snapshots, lanes, write_all,
    },
    limits::{
        BATCH_BYTES, CALL_TIMEOUT, CONNECTION_ALIVE, DECODE_BYTES, SAVE_RETRY, SERVER_DRAIN,
        STREAM_DECODE_BYTES, STREAMS_PER_CONNECTION, TAPE_FLUSH, WATCH_BEHIND,
    },
    peers::{Directory, Links},
    rt::{self, Finished, JoinHandle, Listener, Tasks, broadcast, mpsc, oneshot, timeout},
    services::{Api, PeerService},
    storage::{Helper, OpenError},
    tape::TapeSource,
};
use quorate_core::{
    Config, Node,
    bug::{self, Bug},
    contract::{ConfigError, Recovered, StopReason},
    tape::StartRef,
};
use quorate_proto::v1::{
    cluster_server::ClusterServer, fleet_server::FleetServer, jobs_server::JobsServer,
    key_value_store_server::KeyValueStoreServer, peer_server::PeerServer, requests_server::RequestsServer,
    sessions_server::SessionsServer,
};
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};
use tonic::transport::{self, Server};

/// Why a server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is not safe, or would not work: correct it.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// An address cannot be listened at: free it, or choose another.
    #[error("cannot listen at {address} ({field}): {source}")]
    Listen {
        /// Which of the addresses.
        field: &'static str,
        /// As it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Anybody could talk to the cluster: listen at a loopback address, or accept that.
    #[error(
        "{field} is {address}, which is not loopback, and connections are not protected: choose a loopback address, or pass --insecure"
    )]
    NotLoopback {
        /// Which of the addresses.
        field: &'static str,
        /// Where it would listen.
        address: SocketAddr,
    },
    /// The data directory cannot be used: the text says what to do.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A tape cannot be made at this path: correct it.
    #[error("cannot make the tape {} (record_tape): {source}", path.display())]
    Tape {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The node stopped for good.
    #[error("the node stopped: {0}")]
    Stopped(#[from] StopReason),
    /// A bug: the log says where.
    #[error("a task of the server panicked: this is a bug, the log above says where")]
    Panicked,
}

/// What a node is made of. The same in production and in a simulation.
#[derive(Debug)]
pub struct NodeParts<L, S> {
    /// Who it is.
    pub config: Config,
    /// What its data directory held.
    pub recovered: Recovered,
    /// For everything random in it.
    pub seed: u64,
    /// Where its log goes.
    pub log: L,
    /// Makes the log's next segment ready beside it.
    pub helper: Option<Helper>,
    /// Where its snapshots are.
    pub snapshots: S,
    /// Where its peers reach it.
    pub peer_listener: Listener,
    /// Where clients reach it.
    pub client_listener: Listener,
    /// Where it records what it is given, if it does.
    pub tape: Option<Box<dyn TapeSource>>,
}

/// A node that runs. Dropping it ends it.
#[derive(Debug)]
pub struct RunningNode {
    handle: NodeHandle,
    driver: JoinHandle<StopReason>,
    /// Says so if its state is found to differ.
    #[cfg_attr(madsim, allow(dead_code, reason = "simulated disks keep no such file"))]
    differs: Option<oneshot::Receiver<String>>,
    /// All that uses the data directory.
    users: Vec<Finished>,
    tape: Option<Finished>,
    servers: Tasks,
}

/// Starts a node.
///
/// # Errors
/// A configuration that is not valid, or no thread left.
pub fn start_node<L: LogWriter, S: SnapshotFiles>(
    parts: NodeParts<L, S>,
) -> Result<RunningNode, ServerError> {
    let NodeParts { config, recovered, seed, log, helper, snapshots, peer_listener, client_listener, tape } =
        parts;
    config.validate()?;
    let identity = Identity { cluster: config.cluster, node: config.node, storage: config.storage };
    let heartbeat = config.timing.heartbeat;
    let (lanes, reader) = lanes();
    let (changes, _) = broadcast::channel(WATCH_BEHIND);
    let channels = Arc::new(Channels::new(CALL_TIMEOUT));
    let directory = Directory::new(config.members.clone());
    let (leader, work) = (Arc::new(AtomicU64::new(0)), Arc::new(WorkDone::default()));
    let handle = NodeHandle::new(
        lanes.clone(),
        changes.clone(),
        identity.clone(),
        directory.clone(),
        Arc::clone(&leader),
        Arc::clone(&work),
    );

    let (writes, writes_queue) = mpsc::unbounded_channel();
    let writer = rt::dedicated("quorate-log", write_all(log, writes_queue, lanes.clone(), Arc::clone(&work)));
    let (snapshot_work, snapshot_queue) = mpsc::unbounded_channel();
    let chunk_bytes = config.flow.snapshot_chunk_bytes;
    let keeper = keep_snapshots(snapshots, snapshot_queue, lanes.clone(), chunk_bytes, SAVE_RETRY);
    let keeper = match bug::planted(Bug::NetSnapshotOnLoop) {
        true => Ok(rt::notified(keeper)),
        false => rt::dedicated("quorate-snapshot", keeper),
    };
    let mut users = vec![writer.map_err(ServerError::Thread)?, keeper.map_err(ServerError::Thread)?];
    if let Some(helper) = helper {
        users.push(rt::dedicated("quorate-segments", helper.run()).map_err(ServerError::Thread)?);
    }

    let peers = Links::new(identity.node, lanes.clone(), directory, Arc::clone(&work));
    let mut servers = Tasks::default();
    servers.spawn(serve_peers(peer_listener, PeerService::new(handle.clone()), handle.clone()));
    servers.spawn(serve_clients(
        client_listener,
        Api::new(handle.clone(), Arc::clone(&channels)),
        handle.clone(),
    ));

    let clock = Clock::start();
    let (tell, differs) = oneshot::channel();
    let (differing, differs, snapshots) = (Some(tell), Some(differs), snapshot_work);
    let outlets = Outlets { writes, snapshots, peers, changes, channels, lanes, leader, work, differing };
    let now = clock.now();
    let start = StartRef { config: &config, recovered: &recovered, seed, now };
    let tape = tape.map(|tape| tape.begin(&start)).transpose().map_err(ServerError::Thread)?;
    let (recorder, tape) = tape.map_or((None, None), |(recorder, tape)| (Some(recorder), tape));
    let node = Node::new(config, recovered, seed, now);
    let mut driver = Driver::new(identity.node, node, clock, heartbeat, reader, outlets);
    driver.record(recorder);
    Ok(RunningNode { handle, driver: rt::spawn(driver.run()), differs, users, tape, servers })
}

impl RunningNode {
    /// The way to the node.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// Hears what is wrong, once, if the node's state is found to differ from the majority's.
    #[cfg(not(madsim))]
    const fn differs(&mut self) -> Option<oneshot::Receiver<String>> {
        self.differs.take()
    }

    /// Runs something beside the node, until it ends: after the node has stopped it must.
    #[cfg(not(madsim))]
    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.users.push(rt::notified(work));
    }

    /// The same for what blocks, on a thread of its own.
    #[cfg(not(madsim))]
    fn run_beside(
        &mut self,
        name: &str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServerError> {
        self.users.push(rt::dedicated(name, work).map_err(ServerError::Thread)?);
        Ok(())
    }

    /// Waits until the node stops by itself. `None`: its driver panicked, or was ended.
    pub async fn stopped(&mut self) -> Option<StopReason> {
        let reason = (&mut self.driver).await.ok();
        self.finish_tape().await;
        reason
    }

    /// What was recorded is in the file; unless its disk hangs.
    async fn finish_tape(&mut self) {
        if let Some(tape) = self.tape.take() {
            let _ = timeout(TAPE_FLUSH, tape).await;
        }
    }

    /// Ends the node, and waits until its disk is no longer used. What was not answered stays so.
    pub async fn shutdown(mut self) {
        self.driver.abort();
        for user in self.users.drain(..) {
            // What panicked has ended, too.
            let _ = user.await;
        }
        self.finish_tape().await;
        // Streams end by themselves once the driver has ended; what does not is cut off.
        let _ = timeout(SERVER_DRAIN, self.servers.join()).await;
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A server that gives up connections which do not answer, and bounds what one of them may ask at a time.
pub(crate) fn server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(CONNECTION_ALIVE))
        .http2_keepalive_timeout(Some(CONNECTION_ALIVE))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION))
}

async fn serve_peers(listener: Listener, service: PeerService, node: NodeHandle) {
    let router = server().add_service(PeerServer::new(service).max_decoding_message_size(BATCH_BYTES));
    tell("peers", serve(router, listener, node).await);
}

async fn serve_clients(listener: Listener, api: Api, node: NodeHandle) {
    let router = server()
        .add_service(RequestsServer::new(api.clone()).max_decoding_message_size(STREAM_DECODE_BYTES))
        .add_service(KeyValueStoreServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(SessionsServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(FleetServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(JobsServer::new(api.clone()).max_decoding_message_size(DECODE_BYTES))
        .add_service(ClusterServer::new(api).max_decoding_message_size(DECODE_BYTES));
    tell("clients", serve(router, listener, node).await);
}

fn tell(whom: &str, ended: Result<(), transport::Error>) {
    if let Err(error) = ended {
        tracing::error!(whom, %error, "a port is served no more");
    }
}

#[cfg(not(madsim))]
async fn serve(
    router: transport::server::Router,
    listener: Listener,
    node: NodeHandle,
) -> Result<(), transport::Error> {
    router.serve_with_incoming_shutdown(incoming(listener.0), async move { node.stopped().await }).await
}

#[cfg(madsim)]
async fn serve(
    router: transport::server::Router,
    listener: Listener,
    node: NodeHandle,
) -> Result<(), transport::Error> {
    router.serve_with_shutdown(listener.0, async move { node.stopped().await }).await
}
