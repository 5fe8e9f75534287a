//! How everything else talks to a node.

use super::lanes::{Lanes, stopped};
use crate::{
    errors::refusal,
    peers::Directory,
    rt::{broadcast, oneshot},
};
use prost::Message;
use quorate_core::{
    contract::MemberAddress,
    limits::REQUEST_BYTES,
    types::{ClusterId, Index, JobId, NodeId, RequestKey},
};
use quorate_proto::v1::{self as pb, client_reply};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
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
    directory: Directory,
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
    ) -> Self {
        Self(Arc::new(Shared { lanes, keys: AtomicU64::new(1), changes, identity, directory }))
    }

    /// Asks the node. Dropping the future gives the answer up; the request may still be applied.
    ///
    /// # Errors
    /// Whatever the node refuses; `Exhausted` for a request over `REQUEST_BYTES` or a full queue, `Unavailable` once the
    /// node has stopped.
    pub async fn request(&self, request: pb::ClientRequest) -> Result<pb::ClientReply, pb::Refusal> {
        let size = request.encoded_len();
        if size > REQUEST_BYTES {
            let message = format!("the request has {size} bytes: REQUEST_BYTES allows {REQUEST_BYTES}");
            return Err(refusal(pb::RefusalCode::Exhausted, message));
        }
        let key = RequestKey(self.0.keys.fetch_add(1, Ordering::Relaxed));
        let (reply, answer) = oneshot::channel();
        self.0.lanes.request(key, request, reply)?;
        let mut waiting = Waiting { lanes: &self.0.lanes, key, answered: false };
        let answer = answer.await;
        waiting.answered = true;
        let reply = answer.map_err(|_| stopped())?;
        match reply.body {
            Some(client_reply::Body::Refusal(refused)) => Err(refused),
            _ => Ok(reply),
        }
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
