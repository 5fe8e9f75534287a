//! Jobs.

use super::{Api, BoxStream, logs, unary, watch};
use quorate_proto::v1::{self as pb, jobs_server::Jobs};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Jobs for Api {
    type WatchStream = BoxStream<pb::JobStatus>;
    type LogsStream = BoxStream<pb::LogChunk>;

    unary!(submit, pb::SubmitJobRequest, SubmitJob, pb::JobStatus, Job);
    unary!(get, pb::GetJobRequest, GetJob, pb::JobStatus, Job);
    unary!(list, pb::ListJobsRequest, ListJobs, pb::ListJobsReply, ListJobs);
    unary!(cancel, pb::CancelJobRequest, CancelJob, pb::JobStatus, Job);
    unary!(delete, pb::DeleteJobRequest, DeleteJob, pb::DeleteJobReply, DeleteJob);

    async fn watch(
        &self,
        request: Request<pb::WatchJobRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        watch::start(self.clone(), request.into_inner().id).await.map(Response::new)
    }

    async fn logs(&self, request: Request<pb::JobLogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        logs::fetch(self, request.into_inner()).await.map(Response::new)
    }
}
