//! Looks whether there is room left, and raises the cluster's alarm when there is none.

use super::scrub;
use crate::{
    driver::NodeHandle,
    limits::SPACE_PERIOD,
    rt,
    storage::{Disk, SpaceLimits},
};
use prost::Message as _;
use quorate_core::state::RecordKey;
use quorate_proto::v1::{self as pb, client_reply::Body as Reply, client_request::Body as Ask};
use std::sync::Arc;

/// Until the node has stopped.
pub(super) async fn watch(disk: Arc<dyn Disk>, limits: SpaceLimits, node: NodeHandle) {
    while scrub::wait(&node, SPACE_PERIOD).await {
        let looked = Arc::clone(&disk);
        let found = rt::blocking(move || limits.shortage(&*looked)).await;
        match found {
            Some(Ok(Some(message))) => raise(&node, message).await,
            Some(Ok(None)) => {}
            Some(Err(error)) => tracing::warn!(%error, "it is not known how much room is left"),
            None => return,
        }
    }
}

/// Raises the alarm, unless the state has it.
async fn raise(node: &NodeHandle, message: String) {
    let id = node.identity().node;
    let key = RecordKey::Alarm(id).public_key();
    let get = pb::GetRequest { key, stale: true };
    let known = node.request(pb::ClientRequest { body: Some(Ask::Get(get)) }).await;
    let raised = match known.map(|reply| reply.body) {
        Ok(Some(Reply::Get(reply))) => reply.item.and_then(|item| pb::Alarm::decode(item.value).ok()),
        _ => None,
    };
    if raised.is_some_and(|alarm| alarm.kind() == pb::AlarmKind::Space) {
        return;
    }
    tracing::warn!(%message, "there is no more room: the cluster takes no more data until `quorate alarm disarm`");
    let kind = pb::AlarmKind::Space.into();
    let alarm = pb::Alarm { node: id.0, kind, message, ..Default::default() };
    let ask = Ask::RaiseAlarm(pb::RaiseAlarmRequest { alarm: Some(alarm) });
    if let Err(refusal) = node.request(pb::ClientRequest { body: Some(ask) }).await {
        tracing::warn!(refusal = %refusal.message, "the alarm is not raised yet");
    }
}
