//! Answers that come in parts: a job as it changes, the output of an attempt, a copy of the state.

use super::{
    Client, ClientError, Inner,
    retry::{Failure, Retry, Verdict},
};
use crate::{
    limits::{REPLY_BYTES, WATCH_REFRESH},
    rt::{self, lock, timeout},
    services::is_terminal,
};
use futures::{Stream, StreamExt, stream};
use quorate_proto::v1::{self as pb, cluster_client::ClusterClient, jobs_client::JobsClient};
use std::{pin::Pin, sync::Arc};
use tonic::{Status, Streaming};

/// The parts of an answer. It ends after its first error.
pub type ClientStream<T> = Pin<Box<dyn Stream<Item = Result<T, ClientError>> + Send + 'static>>;

/// A watch that says nothing for so many refreshes of its master is opened again.
const SILENT_REFRESHES: u32 = 3;

impl Client {
    /// A job as it is, and again whenever it changes; ends after its last state. Goes on at another master when the one
    /// that it watches at fails. An error comes when none can be reached for the whole deadline of the options.
    #[must_use]
    pub fn watch_job(&self, id: &str) -> ClientStream<pb::JobStatus> {
        let watch =
            Watch { inner: Arc::clone(&self.inner), id: id.to_owned(), open: None, last: None, ended: false };
        stream::unfold(watch, |mut watch| async move { watch.next().await.map(|item| (item, watch)) }).boxed()
    }

    /// What an attempt of a task has written. `epoch` 0: the newest attempt.
    ///
    /// # Errors
    /// See [`ClientError`]; `NotFound` if the attempt, or the executor that kept its output, is gone.
    pub async fn job_logs(
        &self,
        id: &str,
        task: u32,
        epoch: u64,
    ) -> Result<ClientStream<pb::LogChunk>, ClientError> {
        let request = pb::JobLogsRequest { id: id.to_owned(), task, epoch };
        let open = |channel| {
            let request = request.clone();
            async move { JobsClient::new(channel).max_decoding_message_size(REPLY_BYTES).logs(request).await }
        };
        let chunks = self.inner.with_retries(self.inner.deadline(), open).await?.into_inner();
        Ok(parts(chunks, self.inner.pick()).boxed())
    }

    /// The state of the cluster with everything that is committed by now, as the bytes of a snapshot file. Only a file with
    /// its trailer is whole: a stream that ends before it was cut off.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn save_snapshot(&self) -> Result<ClientStream<pb::SnapshotPart>, ClientError> {
        let open = |channel| async move {
            let mut client = ClusterClient::new(channel).max_decoding_message_size(REPLY_BYTES);
            client.save_snapshot(pb::SaveSnapshotRequest {}).await
        };
        let stream = self.inner.with_retries(self.inner.deadline(), open).await?.into_inner();
        Ok(parts(stream, self.inner.pick()).boxed())
    }
}

/// The parts of an answer of this master, as they come.
fn parts<T>(stream: Streaming<T>, endpoint: String) -> impl Stream<Item = Result<T, ClientError>> {
    stream.map(move |part| {
        part.map_err(|status| {
            let mut retry = Retry::new(1, 0);
            match retry.judge(&endpoint, &Failure::Status(status)) {
                Verdict::Fail(error) => error,
                _ => retry.give_up(),
            }
        })
    })
}

struct Watch {
    inner: Arc<Inner>,
    id: String,
    open: Option<(String, Streaming<pb::JobStatus>)>,
    last: Option<pb::JobStatus>,
    ended: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<pb::JobStatus, ClientError>> {
        if self.ended {
            return None;
        }
        let mut failures = Retry::new(lock(&self.inner.endpoints).len(), self.inner.draw_seed());
        loop {
            let (endpoint, ended) = match self.receive().await {
                Ok(Received::Status(status)) => return Some(Ok(*status)),
                Ok(Received::Nothing) => continue,
                Ok(Received::Broken { endpoint, status }) => (endpoint, status),
                Err(error) => return self.fail(error),
            };
            self.open = None;
            match failures.judge(&endpoint, &Failure::Status(ended)) {
                Verdict::Fail(error) => return self.fail(error),
                Verdict::Leader { leader, after } => {
                    self.inner.move_on(&endpoint, leader).await;
                    rt::sleep(after).await;
                }
                Verdict::Rotate { after } | Verdict::Again { after } => {
                    self.inner.move_on(&endpoint, 0).await;
                    rt::sleep(after).await;
                }
                Verdict::NewSession => return self.fail(ClientError::SessionExpired),
            }
        }
    }

    fn fail(&mut self, error: ClientError) -> Option<Result<pb::JobStatus, ClientError>> {
        self.ended = true;
        Some(Err(error))
    }

    /// The next message of the open stream, or of one that is opened.
    async fn receive(&mut self) -> Result<Received, ClientError> {
        if self.open.is_none() {
            let id = self.id.clone();
            let open = |channel| {
                let request = pb::WatchJobRequest { id: id.clone() };
                async move { JobsClient::new(channel).max_decoding_message_size(REPLY_BYTES).watch(request).await }
            };
            let stream = self.inner.with_retries(self.inner.deadline(), open).await?.into_inner();
            self.open = Some((self.inner.pick(), stream));
        }
        let Some((endpoint, stream)) = self.open.as_mut() else { return Ok(Received::Nothing) };
        match timeout(WATCH_REFRESH * SILENT_REFRESHES, stream.message()).await {
            Some(Ok(Some(status))) => {
                Ok(self.take(status).map_or(Received::Nothing, |status| Received::Status(Box::new(status))))
            }
            Some(Err(status)) => Ok(Received::Broken { endpoint: endpoint.clone(), status }),
            Some(Ok(None)) => {
                let status = Status::unavailable("the master ended the watch");
                Ok(Received::Broken { endpoint: endpoint.clone(), status })
            }
            None => {
                self.open = None;
                Ok(Received::Nothing)
            }
        }
    }

    /// What is not older than what was seen, and not the same.
    fn take(&mut self, status: pb::JobStatus) -> Option<pb::JobStatus> {
        if let Some(last) = &self.last {
            let same = last.job == status.job && last.counts == status.counts && last.tasks == status.tasks;
            if status.index < last.index || same {
                return None;
            }
        }
        self.ended = status.job.as_ref().is_some_and(|job| is_terminal(job.state()));
        self.last = Some(status.clone());
        Some(status)
    }
}

enum Received {
    Status(Box<pb::JobStatus>),
    Nothing,
    Broken { endpoint: String, status: Status },
}
