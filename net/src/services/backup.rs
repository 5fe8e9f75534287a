//! A copy of the state for whoever keeps it outside of the cluster: the bytes of a snapshot file, as they are made.

use super::{Api, BoxStream, refuse, take};
use crate::{
    errors::status_of,
    limits::{BACKUP_POLL, BACKUP_STALL, BACKUP_WAIT, BACKUPS, STREAM_QUEUE},
    rt::{self, Instant, OwnedSemaphorePermit, mpsc, select, timeout},
    storage::{
        Identity,
        frames::{FrameWriter, SnapshotHeader},
    },
};
use futures::StreamExt;
use quorate_core::{contract::Snapshot, types::Index};
use quorate_proto::v1::{self as pb, RefusalCode, client_request::Body};
use std::sync::Arc;
use tonic::Status;

/// Takes the state with all that is committed by now, and streams it. The node goes on: its state is shared, not locked.
pub(super) async fn start(api: &Api) -> Result<BoxStream<pb::SnapshotPart>, Status> {
    let place = Arc::clone(&api.backups).try_acquire_owned().map_err(|_| {
        let message =
            format!("BACKUPS: this master streams {BACKUPS} snapshots already; try later, or another one");
        refuse(RefusalCode::Exhausted, message)
    })?;
    // A linearizable read: whatever was acknowledged before it is at or below this index.
    let read = Body::ListMembers(pb::ListMembersRequest { stale: false });
    let (index, _) = api.ask(read, take!(ListMembers)).await?;
    let snapshot = caught_up(api, Index(index)).await?;
    let me = api.node.identity();
    let identity = Identity::new(me.cluster, me.node, me.storage);
    let (sender, stream) = mpsc::channel(STREAM_QUEUE);
    let out = Out { api: api.clone(), sender, _place: place };
    rt::spawn(out.run(SnapshotHeader { identity, at: snapshot.at }, snapshot));
    Ok(rt::stream_of(stream).boxed())
}

/// The node's own state once it holds everything up to an index. A follower may need a moment.
async fn caught_up(api: &Api, index: Index) -> Result<Snapshot, Status> {
    let until = Instant::now() + BACKUP_WAIT;
    loop {
        let snapshot = api.node.snapshot().await.map_err(|refused| status_of(&refused))?;
        if snapshot.at.index >= index {
            return Ok(snapshot);
        }
        if Instant::now() >= until {
            let at = snapshot.at.index;
            let message =
                format!("{index} is committed, and this master has only applied {at}: ask another one");
            return Err(refuse(RefusalCode::Unavailable, message));
        }
        rt::sleep(BACKUP_POLL).await;
    }
}

struct Out {
    api: Api,
    sender: mpsc::Sender<Result<pb::SnapshotPart, Status>>,
    _place: OwnedSemaphorePermit,
}

impl Out {
    /// Until the trailer. A client that takes nothing any more, or a node that stops, ends it without one.
    async fn run(self, header: SnapshotHeader, snapshot: Snapshot) {
        let (mut writer, bytes) = FrameWriter::begin(&header);
        if !self.send(bytes).await {
            return;
        }
        for chunk in snapshot.state.encode() {
            let Some(bytes) = writer.chunk(&chunk) else { return };
            if !self.send(bytes).await {
                return;
            }
        }
        self.send(writer.finish()).await;
    }

    async fn send(&self, bytes: Vec<u8>) -> bool {
        let part = self.sender.send(Ok(pb::SnapshotPart { data: bytes.into() }));
        let sent = select! {
            biased;
            () = self.api.node.stopped() => None,
            sent = timeout(BACKUP_STALL, part) => sent,
        };
        matches!(sent, Some(Ok(())))
    }
}
