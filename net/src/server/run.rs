//! A master in production: its data directory, its ports, until it is told to end.

use super::{
    NodeParts, RunningNode, ServerError, differing,
    incoming::raise_descriptors,
    scrub::{self, ScrubOptions},
    space, start_node,
};
use crate::{
    limits::{HAND_OVER, HAND_OVER_PAUSE},
    rt::{self, Instant, Listener, select},
    storage::{
        Disk, FileDisk, Identity, OpenError, SpaceLimits, Storage, StorageOptions, differs,
        lineage::{self, Lineage},
    },
    tape::{FileTape, TapeOptions, TapeSource},
};
use quorate_core::{
    Config,
    bug::{self, Bug},
    contract::Recovered,
    types::StorageId,
};
use quorate_proto::v1::{self as pb, RefusalCode, client_reply::Body as Reply, client_request::Body as Ask};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a master is told when it starts.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Who it is. The storage id is the data directory's own, whatever is given here; so is the cluster's id, if the directory
    /// comes from a cluster of this id.
    pub core: Config,
    /// Where its log and its snapshots are; made if it is not there.
    pub data_dir: PathBuf,
    /// `host:port` to listen at for peers; port 0 takes a free one.
    pub peer_listen: String,
    /// `host:port` to listen at for clients; port 0 takes a free one.
    pub client_listen: String,
    /// Listen at addresses that are not loopback, although connections are not protected.
    pub insecure: bool,
    /// When its data directory has no more room.
    pub space: SpaceLimits,
    /// How the cold part of it is read.
    pub scrub: ScrubOptions,
    /// Where it records what its node is given, if it does.
    pub tape: Option<TapeOptions>,
}

/// Runs a master until `shutdown` resolves, or it stops for good.
///
/// # Errors
/// Whatever keeps it from starting, before anything is changed; or why it stopped.
pub async fn run_server(
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServerError> {
    let mut node = start_server(config).await?;
    select! {
        biased;
        () = shutdown => {
            tracing::info!("ends as asked");
            node.hand_over().await;
            node.shutdown().await;
            Ok(())
        }
        stopped = node.stopped() => Err(stopped.map_or(ServerError::Panicked, ServerError::Stopped)),
    }
}

impl RunningNode {
    /// Lets another master lead, if this one does, so that nobody waits for an election when it ends. If one does not lead in time,
    /// another one may. Returns when somebody else leads, when nobody can, or after [`HAND_OVER`].
    pub async fn hand_over(&self) {
        let node = &self.handle();
        if bug::planted(Bug::NetEndsAsLeader) {
            return;
        }
        let ask = |body| node.request(pb::ClientRequest { body: Some(body) });
        let leads = async || match ask(Ask::GetLeader(pb::GetLeaderRequest {})).await.map(|reply| reply.body)
        {
            Ok(Some(Reply::GetLeader(it))) => it.leader == node.identity().node.0,
            _ => false,
        };
        let until = Instant::now() + HAND_OVER;
        let request = pb::TransferLeaderRequest { to: 0, from: node.identity().node.0 };
        while leads().await {
            let left = until.saturating_duration_since(Instant::now());
            let asked = rt::timeout(left, ask(Ask::TransferLeader(request))).await;
            match asked.map(|it| it.map(|reply| reply.body)) {
                Some(Ok(Some(Reply::TransferLeader(it)))) => {
                    return tracing::info!(leader = it.leader, "another master leads");
                }
                Some(Err(refusal)) if refusal.code() == RefusalCode::Unavailable => {
                    tracing::debug!(why = refusal.message, "nobody leads in its place yet");
                }
                Some(Err(refusal)) => {
                    return tracing::info!(why = refusal.message, "it hands over to nobody");
                }
                Some(Ok(_)) | None => return tracing::warn!("nobody leads in its place"),
            }
            rt::sleep(HAND_OVER_PAUSE).await;
        }
    }
}

/// Starts a master on files.
///
/// # Errors
/// Whatever keeps it from starting, before anything is changed.
pub async fn start_server(config: ServerConfig) -> Result<RunningNode, ServerError> {
    let ServerConfig { mut core, data_dir, peer_listen, client_listen, insecure, space, scrub, tape } =
        config;
    // The one of the directory is not known yet, and is never 0.
    core.storage = StorageId(1);
    core.validate()?;
    raise_descriptors();
    let peer_listener = listen("listen.peer", &peer_listen, insecure).await?;
    let client_listener = listen("listen.client", &client_listen, insecure).await?;
    let identity = Identity::new(core.cluster, core.node, StorageId(rt::random().max(1)));
    let opened = rt::blocking(move || open(&data_dir, identity)).await;
    let (disk, lineage, mut log, recovered) = opened.ok_or(ServerError::Panicked)??;
    (core.cluster, core.storage) = (log.identity().cluster, log.identity().storage);
    tracing::info!(
        node = %core.node, cluster = %core.cluster, storage = %core.storage, peer = %peer_listen, client = %client_listen,
        entries = recovered.entries.len(), term = %recovered.hard_state.term, "starts"
    );
    let tape = tape.map(make_tape).transpose()?.flatten();
    let (snapshots, helper, seed) = (log.snapshots(), log.helper(), rt::random());
    let config = core;
    let cold = log.snapshots();
    let mut node = start_node(NodeParts {
        config,
        recovered,
        seed,
        log,
        helper,
        snapshots,
        peer_listener,
        client_listener,
        tape,
    })?;
    if let Some(lineage) = lineage {
        node.handle().comes_from(lineage.from);
    }
    if let Some(found) = node.differs() {
        node.spawn(differing::remember(Arc::clone(&disk), found));
    }
    node.spawn(space::watch(disk, space, node.handle()));
    node.run_beside("quorate-scrub", scrub::scrub(cold, scrub, node.handle()))?;
    Ok(node)
}

fn make_tape(options: TapeOptions) -> Result<Option<Box<dyn TapeSource>>, ServerError> {
    let made = FileTape::create(&options);
    let made = made.map_err(|source| ServerError::Tape { path: options.file, source })?;
    Ok(made.map(|tape| Box::new(tape) as Box<dyn TapeSource>))
}

type Opened = (Arc<dyn Disk>, Option<Lineage>, Storage, Recovered);

fn open(data_dir: &Path, identity: Identity) -> Result<Opened, OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(data_dir)?);
    let identity = lineage::adopt(&*disk, identity)?;
    differs::check(&*disk)?;
    let (log, recovered) = Storage::open(Arc::clone(&disk), identity, StorageOptions::default())?;
    let lineage = Lineage::load(&*disk)?;
    Ok((disk, lineage, log, recovered))
}

async fn listen(field: &'static str, address: &str, insecure: bool) -> Result<Listener, ServerError> {
    let failed = |source| ServerError::Listen { field, address: address.to_owned(), source };
    let listener = Listener::bind(address).await.map_err(failed)?;
    let bound = listener.address().map_err(failed)?;
    if !insecure && !bound.ip().is_loopback() {
        return Err(ServerError::NotLoopback { field, address: bound });
    }
    Ok(listener)
}
