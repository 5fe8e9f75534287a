//! Executors: they register, and keep their leases over a stream of heartbeats.

use super::{Api, BoxStream, take, unary};
use crate::limits::HEARTBEATS_PER_STREAM;
use futures::{StreamExt, future};
use quorate_proto::v1::{self as pb, client_request::Body, fleet_server::Fleet};
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl Fleet for Api {
    type HeartbeatStream = BoxStream<pb::HeartbeatReply>;

    unary!(
        register,
        pb::RegisterExecutorRequest,
        RegisterExecutor,
        pb::RegisterExecutorReply,
        RegisterExecutor
    );
    unary!(
        deregister,
        pb::DeregisterExecutorRequest,
        DeregisterExecutor,
        pb::DeregisterExecutorReply,
        DeregisterExecutor
    );
    unary!(list, pb::ListExecutorsRequest, ListExecutors, pb::ListExecutorsReply, ListExecutors);
    unary!(get, pb::GetExecutorRequest, GetExecutor, pb::ExecutorStatus, GetExecutor);
    unary!(remove, pb::RemoveExecutorRequest, RemoveExecutor, pb::RemoveExecutorReply, RemoveExecutor);

    async fn heartbeat(
        &self,
        request: Request<Streaming<pb::HeartbeatRequest>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let api = self.clone();
        let replies = request
            .into_inner()
            .map(move |heartbeat| {
                let api = api.clone();
                async move {
                    let body = Body::Heartbeat(heartbeat?);
                    api.ask(body, take!(Heartbeat)).await.map(|(_, reply)| reply)
                }
            })
            .buffer_unordered(HEARTBEATS_PER_STREAM);
        Ok(Response::new(up_to_first_error(replies).boxed()))
    }
}

/// A refusal ends its stream.
fn up_to_first_error<T: Send + 'static>(
    replies: impl futures::Stream<Item = Result<T, Status>> + Send + 'static,
) -> impl futures::Stream<Item = Result<T, Status>> + Send + 'static {
    replies.scan(false, |ended, reply| {
        let was_ended = std::mem::replace(ended, reply.is_err());
        future::ready((!was_ended).then_some(reply))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, stream};

    #[test]
    fn a_refusal_is_the_last_answer() {
        let replies = stream::iter([Ok(1), Ok(2), Err(Status::aborted("stale")), Ok(3)]);
        let seen: Vec<_> = up_to_first_error(replies).collect().now_or_never().expect("nothing to wait for");
        assert_eq!(seen.len(), 3);
        assert!(seen[2].is_err());
    }
}
