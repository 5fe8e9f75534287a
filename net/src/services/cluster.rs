//! The masters themselves.

use super::{Api, BoxStream, backup, take, unary};
use quorate_proto::v1::{self as pb, client_request::Body, cluster_server::Cluster};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cluster for Api {
    unary!(change_members, pb::ChangeMembersRequest, ChangeMembers, pb::ChangeMembersReply, ChangeMembers);
    unary!(disarm_alarm, pb::DisarmAlarmRequest, DisarmAlarm, pb::DisarmAlarmReply, DisarmAlarm);
    unary!(hold_level, pb::HoldLevelRequest, HoldLevel, pb::HoldLevelReply, HoldLevel);
    unary!(members, pb::ListMembersRequest, ListMembers, pb::ListMembersReply, ListMembers);
    unary!(
        transfer_leader,
        pb::TransferLeaderRequest,
        TransferLeader,
        pb::TransferLeaderReply,
        TransferLeader
    );
    unary!(leader, pb::GetLeaderRequest, GetLeader, pb::GetLeaderReply, GetLeader);

    type SaveSnapshotStream = BoxStream<pb::SnapshotPart>;

    async fn save_snapshot(
        &self,
        _: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        Ok(Response::new(backup::start(self).await?))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        let mut response = self.answer(Body::Status(request.into_inner()), take!(Status)).await?;
        self.node.complete(response.get_mut());
        Ok(response)
    }
}
