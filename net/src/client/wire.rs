//! One request over one connection, by the call that it belongs to.

use crate::{limits::REPLY_BYTES, services::index_of};
use quorate_proto::v1::{
    self as pb, client_reply::Body as Reply, client_request::Body as Ask, cluster_client::ClusterClient,
    fleet_client::FleetClient, jobs_client::JobsClient, key_value_store_client::KeyValueStoreClient,
    sessions_client::SessionsClient,
};
use tonic::{Status, transport::Channel};

macro_rules! send {
    ($client:ident, $channel:ident, $method:ident, $request:ident, $answer:ident) => {{
        let mut client = $client::new($channel).max_decoding_message_size(REPLY_BYTES);
        let response = client.$method($request).await?;
        let index = index_of(response.metadata());
        Ok(pb::ClientReply { index, body: Some(Reply::$answer(response.into_inner())) })
    }};
}

/// Sends a request and waits for its answer.
pub(super) async fn send(channel: Channel, request: pb::ClientRequest) -> Result<pb::ClientReply, Status> {
    match request.body {
        Some(Ask::OpenSession(ask)) => send!(SessionsClient, channel, open, ask, OpenSession),
        Some(Ask::KeepSession(ask)) => send!(SessionsClient, channel, keep, ask, KeepSession),
        Some(Ask::CloseSession(ask)) => send!(SessionsClient, channel, close, ask, CloseSession),
        Some(Ask::Put(ask)) => send!(KeyValueStoreClient, channel, put, ask, Put),
        Some(Ask::Get(ask)) => send!(KeyValueStoreClient, channel, get, ask, Get),
        Some(Ask::Delete(ask)) => send!(KeyValueStoreClient, channel, delete, ask, Delete),
        Some(Ask::CompareAndSet(ask)) => {
            send!(KeyValueStoreClient, channel, compare_and_set, ask, CompareAndSet)
        }
        Some(Ask::List(ask)) => send!(KeyValueStoreClient, channel, list, ask, List),
        Some(Ask::RegisterExecutor(ask)) => send!(FleetClient, channel, register, ask, RegisterExecutor),
        Some(Ask::DeregisterExecutor(ask)) => {
            send!(FleetClient, channel, deregister, ask, DeregisterExecutor)
        }
        Some(Ask::ListExecutors(ask)) => send!(FleetClient, channel, list, ask, ListExecutors),
        Some(Ask::GetExecutor(ask)) => send!(FleetClient, channel, get, ask, GetExecutor),
        Some(Ask::RemoveExecutor(ask)) => send!(FleetClient, channel, remove, ask, RemoveExecutor),
        Some(Ask::SubmitJob(ask)) => send!(JobsClient, channel, submit, ask, Job),
        Some(Ask::GetJob(ask)) => send!(JobsClient, channel, get, ask, Job),
        Some(Ask::ListJobs(ask)) => send!(JobsClient, channel, list, ask, ListJobs),
        Some(Ask::CancelJob(ask)) => send!(JobsClient, channel, cancel, ask, Job),
        Some(Ask::DeleteJob(ask)) => send!(JobsClient, channel, delete, ask, DeleteJob),
        Some(Ask::Status(ask)) => send!(ClusterClient, channel, status, ask, Status),
        Some(Ask::GetLeader(ask)) => send!(ClusterClient, channel, leader, ask, GetLeader),
        Some(Ask::ChangeMembers(ask)) => {
            send!(ClusterClient, channel, change_members, ask, ChangeMembers)
        }
        Some(Ask::DisarmAlarm(ask)) => send!(ClusterClient, channel, disarm_alarm, ask, DisarmAlarm),
        Some(Ask::RaiseAlarm(_)) => Err(Status::unimplemented("a master raises its alarms by itself")),
        Some(Ask::ListMembers(ask)) => send!(ClusterClient, channel, members, ask, ListMembers),
        Some(Ask::Heartbeat(_)) => Err(Status::unimplemented("heartbeats go over their own stream")),
        None => Err(Status::invalid_argument("the request asks for nothing")),
    }
}
