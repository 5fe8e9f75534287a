//! What an executor answers to masters' calls, over the simulated gRPC.

use super::executors::Happens;
use quorate_net::{
    errors::{refusal, status_of},
    rt::{mpsc, oneshot},
};
use quorate_proto::v1::{
    self as pb, RefusalCode, executor_call::Body as Call, executor_call_reply::Body as Answer,
    executor_service_server::ExecutorService,
};
use tonic::{Request, Response, Status};

/// `ExecutorService`: the calls go to the loop that owns the agent.
pub(super) struct Service(pub(super) mpsc::UnboundedSender<Happens>);

impl Service {
    async fn call(&self, body: Call) -> Result<Answer, Status> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(pb::ExecutorCall { body: Some(body) });
        let ending = |why: &str| status_of(&refusal(RefusalCode::Unavailable, why));
        self.0.send(Happens::Call { call, reply }).map_err(|_| ending("this executor has ended"))?;
        match answer.await.ok().and_then(|reply| reply.body) {
            Some(Answer::Refusal(refused)) => Err(status_of(&refused)),
            Some(answer) => Ok(answer),
            None => Err(ending("this executor is ending")),
        }
    }
}

#[tonic::async_trait]
impl ExecutorService for Service {
    type LogsStream = futures::stream::Empty<Result<pb::LogChunk, Status>>;

    async fn pre_dispatch(
        &self,
        request: Request<pb::PreDispatchRequest>,
    ) -> Result<Response<pb::PreDispatchReply>, Status> {
        self.call(Call::PreDispatch(request.into_inner())).await?;
        Ok(Response::new(pb::PreDispatchReply {}))
    }

    async fn confirm(
        &self,
        request: Request<pb::ConfirmRequest>,
    ) -> Result<Response<pb::ConfirmReply>, Status> {
        self.call(Call::Confirm(request.into_inner())).await?;
        Ok(Response::new(pb::ConfirmReply {}))
    }

    async fn stop(&self, request: Request<pb::StopRequest>) -> Result<Response<pb::StopReply>, Status> {
        self.call(Call::Stop(request.into_inner())).await?;
        Ok(Response::new(pb::StopReply {}))
    }

    async fn logs(&self, _: Request<pb::AttemptLogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        Err(status_of(&refusal(RefusalCode::NotFound, "simulated processes write nothing")))
    }
}
