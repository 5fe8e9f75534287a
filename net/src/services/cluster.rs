//! The masters themselves.

use super::{Api, take};
use quorate_proto::v1::{self as pb, client_request::Body, cluster_server::Cluster};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cluster for Api {
    async fn members(
        &self,
        _: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersReply>, Status> {
        let body = Body::GetLeader(pb::GetLeaderRequest {});
        let (_, leader) = self.ask(body, take!(GetLeader)).await?;
        let identity = self.node.identity();
        let members = identity.members.iter().map(|(id, address)| pb::Member {
            id: id.0,
            peer_address: address.peer.clone(),
            client_address: address.client.clone(),
            is_leader: id.0 == leader.leader,
        });
        Ok(Response::new(pb::ListMembersReply { members: members.collect(), cluster: identity.cluster.0 }))
    }

    async fn leader(
        &self,
        request: Request<pb::GetLeaderRequest>,
    ) -> Result<Response<pb::GetLeaderReply>, Status> {
        self.answer(Body::GetLeader(request.into_inner()), take!(GetLeader)).await
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusReply>, Status> {
        let mut response = self.answer(Body::Status(request.into_inner()), take!(Status)).await?;
        if response.get_ref().version.is_empty() {
            response.get_mut().version = env!("CARGO_PKG_VERSION").to_owned();
        }
        Ok(response)
    }
}
