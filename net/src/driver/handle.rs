//! How everything else talks to a node.

use super::{
    lanes::{Lanes, ReplyTo, stopped},
    work::Work,
};
use crate::{
    peers::Directory,
    rt::{broadcast, oneshot},
};
use quorate_core::{
    contract::{MemberAddress, Snapshot},
    types::{ClusterId, Index, JobId, NodeId, RequestKey, StorageId},
};
use quorate_proto::v1::{self as pb, client_reply};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Jobs that are not what they were.
#[derive(Clone, Debug)]
pub struct Change {
    /// The state that they changed in.
    pub index: Index,
    /// Each once.
    pub jobs: Arc<[JobId]>,
}

/// Who a node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster that it is of.
    pub cluster: ClusterId,
    /// Its own id.
    pub node: NodeId,
    /// Its data directory.
    pub storage: StorageId,
}

/// The way to a running node. Cloning it costs nothing.
#[derive(Clone, Debug)]
pub struct NodeHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lanes: Lanes,
    keys: AtomicU64,
    changes: broadcast::Sender<Change>,
    identity: Identity,
    /// The cluster whose state this one took over, if it did.
    former: OnceLock<ClusterId>,
    directory: Directory,
    /// The leader's id, as the node knows it; 0 = none.
    leader: Arc<AtomicU64>,
    work: Arc<Work>,
}

/// Tells the node that nobody waits, unless the answer came.
struct Waiting<'a> {
    lanes: &'a Lanes,
    key: RequestKey,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.lanes.gone(self.key);
        }
    }
}

impl NodeHandle {
    pub(crate) fn new(
        lanes: Lanes,
        changes: broadcast::Sender<Change>,
        identity: Identity,
        directory: Directory,
        leader: Arc<AtomicU64>,
        work: Arc<Work>,
    ) -> Self {
        let (keys, former) = (AtomicU64::new(1), OnceLock::new());
        Self(Arc::new(Shared { lanes, keys, changes, identity, former, directory, leader, work }))
    }

    /// Asks the node. Dropping the future gives the answer up; the request may still be applied.
    ///
    /// # Errors
    /// Whatever the node refuses; `Exhausted` for a request over `REQUEST_BYTES` or a full queue, `Unavailable` once the
    /// node has stopped.
    pub async fn request(&self, request: pb::ClientRequest) -> Result<pb::ClientReply, pb::Refusal> {
        let key = self.next_key();
        let (reply, answer) = oneshot::channel();
        self.0.lanes.request(key, request, ReplyTo::Call(reply))?;
        let mut waiting = Waiting { lanes: &self.0.lanes, key, answered: false };
        let answer = answer.await;
        waiting.answered = true;
        let reply = answer.map_err(|_| stopped())?;
        match reply.body {
            Some(client_reply::Body::Refusal(refused)) => Err(refused),
            _ => Ok(reply),
        }
    }

    /// A name for a request that no other has had.
    pub(crate) fn next_key(&self) -> RequestKey {
        RequestKey(self.0.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds what the node itself does not know to what it says of itself.
    pub(crate) fn complete(&self, status: &mut pb::StatusReply) {
        if status.version.is_empty() {
            env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
        }
        status.work = Some(self.0.work.told());
    }

    /// Where clients reach the leader, if another node leads.
    pub(crate) fn leader_elsewhere(&self) -> Option<String> {
        let leader = NodeId(self.0.leader.load(Ordering::Relaxed));
        let known = self.0.directory.known();
        known.members.get(&leader).filter(|_| leader != self.0.identity.node).map(|it| it.client.clone())
    }

    /// The node's state as of its last applied entry. It may be behind what is committed.
    ///
    /// # Errors
    /// `Unavailable` while the node serves nothing, or once it has stopped.
    pub async fn snapshot(&self) -> Result<Snapshot, pb::Refusal> {
        let (reply, answer) = oneshot::channel();
        self.0.lanes.snapshot(reply).await;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// From now on a fault point of the node fires one in so many times; 0 = never. False: the node has stopped.
    #[cfg(feature = "fault-points")]
    pub async fn fault_point(&self, point: quorate_core::point::Point, one_in: u32) -> bool {
        self.0.lanes.control(quorate_core::Input::FaultPoint { point, one_in }).await
    }

    /// Tells of every change of a job from now on. Whoever is slow is told that it missed some.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// Who the node is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The node's cluster went on with the state of this one, whose members are told so. Said once.
    #[cfg(not(madsim))]
    pub(crate) fn comes_from(&self, cluster: ClusterId) {
        // A second word would say the same.
        let _said = self.0.former.set(cluster);
    }

    /// The cluster whose state the node's cluster took over.
    pub(crate) fn former(&self) -> Option<ClusterId> {
        self.0.former.get().copied()
    }

    /// Where the members are, as far as the node knows.
    #[must_use]
    pub fn members(&self) -> BTreeMap<NodeId, MemberAddress> {
        self.0.directory.known().members.clone()
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.0.directory
    }

    /// Resolves when the node has stopped.
    pub async fn stopped(&self) {
        self.0.lanes.closed().await;
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }
}
