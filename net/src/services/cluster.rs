//! The masters themselves.

use super::{Api, take, unary};
use quorate_proto::v1::{self as pb, client_request::Body, cluster_server::Cluster};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cluster for Api {
    unary!(change_members, pb::ChangeMembersRequest, ChangeMembers, pb::ChangeMembersReply, ChangeMembers);
    unary!(disarm_alarm, pb::DisarmAlarmRequest, DisarmAlarm, pb::DisarmAlarmReply, DisarmAlarm);
    unary!(members, pb::ListMembersRequest, ListMembers, pb::ListMembersReply, ListMembers);
    unary!(leader, pb::GetLeaderRequest, GetLeader, pb::GetLeaderReply, GetLeader);

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        let mut response = self.answer(Body::Status(request.into_inner()), take!(Status)).await?;
        if response.get_ref().version.is_empty() {
            response.get_mut().version = env!("CARGO_PKG_VERSION").to_owned();
        }
        Ok(response)
    }
}
