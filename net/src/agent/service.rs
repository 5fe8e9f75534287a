//! What an executor answers to masters: their calls go to the loop that owns the agent, outputs come from the store.

use super::{logs::LogStore, runtime::Event};
use crate::errors::{refusal, status_of};
use quorate_core::{
    limits,
    types::{AttemptId, Epoch, ExecutorId, JobId, TaskKey},
};
use quorate_proto::v1::{
    self as pb, RefusalCode, executor_call::Body as Call, executor_call_reply::Body as Answer,
    executor_service_server::ExecutorService,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

/// The ids that this process was registered as, the newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<VecDeque<ExecutorId>>>);

impl Names {
    pub(super) fn add(&self, executor: ExecutorId) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= limits::OUTPUT_ATTEMPTS {
            names.pop_front();
        }
        names.push_back(executor);
    }

    fn contain(&self, executor: ExecutorId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&executor)
    }
}

/// `ExecutorService`.
pub(super) struct Service {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) logs: LogStore,
    pub(super) names: Names,
}

fn refuse(code: RefusalCode, message: impl Into<String>) -> Status {
    status_of(&refusal(code, message))
}

impl Service {
    async fn call(&self, body: Call) -> Result<Answer, Status> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(pb::ExecutorCall { body: Some(body) });
        // A queue that is full is a loop that is late: the desired set will say it again.
        let full = |_| refuse(RefusalCode::Exhausted, "this executor has too many calls waiting");
        self.events.try_send(Event::Call { call, reply }).map_err(full)?;
        match answer.await.ok().and_then(|reply| reply.body) {
            Some(Answer::Refusal(refused)) => Err(status_of(&refused)),
            Some(answer) => Ok(answer),
            None => Err(refuse(RefusalCode::Unavailable, "this executor is ending")),
        }
    }
}

#[tonic::async_trait]
impl ExecutorService for Service {
    type LogsStream = futures::stream::Iter<std::vec::IntoIter<Result<pb::LogChunk, Status>>>;

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

    async fn logs(
        &self,
        request: Request<pb::AttemptLogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        if !self.names.contain(ExecutorId(request.executor)) {
            let message = format!("executor is {}: this is another one", request.executor);
            return Err(refuse(RefusalCode::Precondition, message));
        }
        let key = request.attempt.unwrap_or_default();
        let Some(job) = JobId::parse(&key.job) else {
            return Err(refuse(
                RefusalCode::Invalid,
                format!("attempt.job is {:?}: it must be a job's id", key.job),
            ));
        };
        let attempt = AttemptId { task: TaskKey { job, number: key.number }, epoch: Epoch(key.epoch) };
        let Some((dropped, chunks)) = self.logs.read(&attempt) else {
            return Err(refuse(RefusalCode::NotFound, format!("no output of {attempt} is kept here")));
        };
        let mut answers: Vec<_> =
            chunks.into_iter().map(|data| Ok(pb::LogChunk { data, dropped_bytes: 0 })).collect();
        if answers.is_empty() {
            answers.push(Ok(pb::LogChunk::default()));
        }
        if let Some(Ok(first)) = answers.first_mut() {
            first.dropped_bytes = dropped;
        }
        Ok(Response::new(futures::stream::iter(answers)))
    }
}
