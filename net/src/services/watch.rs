//! A job, again and again until it has ended. Level-triggered: a change says only that it is worth reading.

use super::{Api, BoxStream, is_not_found, refuse, take};
use crate::{
    driver::Change,
    limits::{STREAM_QUEUE, WATCH_PERIOD, WATCH_REFRESH},
    rt::{self, Instant, broadcast, mpsc, select},
};
use futures::StreamExt;
use quorate_core::{limits::PAGE_ITEMS, types::JobId};
use quorate_proto::v1::{self as pb, client_request::Body};
use tonic::Status;

type Sender = mpsc::Sender<Result<pb::JobStatus, Status>>;

/// Reads the job, so that an unknown one is refused at once, and goes on in the background.
pub(super) async fn start(api: Api, id: String) -> Result<BoxStream<pb::JobStatus>, Status> {
    // Before the first read: no change after it is missed.
    let changes = api.node.changes();
    let first = read(&api, &id, false).await?;
    let (sender, stream) = mpsc::channel(STREAM_QUEUE);
    rt::spawn(async move {
        let watch = Watch { job: JobId::parse(&id), id, api, last: None, sender };
        watch.run(first, changes).await;
    });
    Ok(rt::stream_of(stream).boxed())
}

struct Watch {
    id: String,
    job: Option<JobId>,
    api: Api,
    last: Option<pb::JobStatus>,
    sender: Sender,
}

impl Watch {
    async fn run(mut self, first: pb::JobStatus, mut changes: broadcast::Receiver<Change>) {
        let mut next = Ok(Some(first));
        let mut refresh = Instant::now() + WATCH_REFRESH;
        loop {
            match next {
                Ok(Some(status)) if is_namesake(self.last.as_ref(), &status) => {
                    let message = format!("job {} was deleted, and there is another of its name", self.id);
                    let _ = self.sender.send(Err(refuse(pb::RefusalCode::NotFound, message))).await;
                    return;
                }
                Ok(Some(status)) => {
                    if self.send(status).await {
                        return;
                    }
                }
                Ok(None) => {}
                Err(status) => {
                    let _ = self.sender.send(Err(status)).await;
                    return;
                }
            }
            let changed = select! {
                biased;
                () = self.sender.closed() => return,
                () = self.api.node.stopped() => {
                    let _ = self.sender.send(Err(Status::unavailable("this node has stopped"))).await;
                    return;
                }
                () = changed(self.job.as_ref(), &mut changes) => true,
                () = rt::sleep_until(refresh) => false,
            };
            if changed {
                next = self.read_local().await;
            } else {
                refresh = Instant::now() + WATCH_REFRESH;
                next = read(&self.api, &self.id, false).await.map(Some);
            }
        }
    }

    /// What this node's own state says, unless it is behind what was sent.
    async fn read_local(&self) -> Result<Option<pb::JobStatus>, Status> {
        match read(&self.api, &self.id, true).await {
            Ok(status) if is_older(self.last.as_ref(), &status) => Ok(None),
            Ok(status) => Ok(Some(status)),
            // Deleted, or not here yet: the leader knows.
            Err(status) if is_not_found(&status) => read(&self.api, &self.id, false).await.map(Some),
            Err(status) => Err(status),
        }
    }

    /// Sends what is new. True: that was the end.
    async fn send(&mut self, status: pb::JobStatus) -> bool {
        let ended = status.job.as_ref().is_some_and(|job| is_terminal(job.state()));
        if self.last.as_ref().is_none_or(|last| differs(last, &status)) {
            if self.sender.send(Ok(status.clone())).await.is_err() {
                return true;
            }
            self.last = Some(status);
        }
        ended
    }
}

async fn read(api: &Api, id: &str, stale: bool) -> Result<pb::JobStatus, Status> {
    let limit = u32::try_from(PAGE_ITEMS).unwrap_or(u32::MAX);
    let request = pb::GetJobRequest { id: id.to_owned(), tasks: true, from_task: 0, limit, stale };
    api.ask(Body::GetJob(request), take!(Job)).await.map(|(_, status)| status)
}

/// Whether a job will not change any more.
pub(crate) const fn is_terminal(state: pb::JobState) -> bool {
    matches!(state, pb::JobState::Finished | pb::JobState::Failed | pb::JobState::Canceled)
}

/// Waits for a change of the job, and then for those that come with it.
async fn changed(job: Option<&JobId>, changes: &mut broadcast::Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(change) if change.jobs.iter().any(|changed| Some(changed) == job) => break,
            Ok(_) => {}
            // What was missed may have been of the job.
            Err(broadcast::error::RecvError::Lagged(_)) => break,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
    rt::sleep(WATCH_PERIOD).await;
}

/// Whether a master that is behind says it: what was sent came from one that knows more.
fn is_older(last: Option<&pb::JobStatus>, next: &pb::JobStatus) -> bool {
    last.is_some_and(|last| next.index < last.index)
}

/// Whether it is of another job than what was sent: that one was deleted, and its name is free again.
fn is_namesake(last: Option<&pb::JobStatus>, next: &pb::JobStatus) -> bool {
    let created = |status: &pb::JobStatus| status.job.as_ref().map(|job| job.created_index);
    last.is_some_and(|last| created(last) != created(next))
}

/// Whether there is something to tell: the index alone is nothing.
fn differs(last: &pb::JobStatus, next: &pb::JobStatus) -> bool {
    last.job != next.job || last.counts != next.counts || last.tasks != next.tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::types::Index;

    #[test]
    fn a_watch_ends_with_the_last_states_only() {
        use pb::JobState::{Canceled, Canceling, Created, Failed, Finished, Running};
        assert!([Finished, Failed, Canceled].into_iter().all(is_terminal));
        assert!(![Created, Running, Canceling].into_iter().any(is_terminal));
    }

    #[test]
    fn a_higher_index_alone_is_no_news() {
        let last = pb::JobStatus { index: 4, ..Default::default() };
        assert!(!differs(&last, &pb::JobStatus { index: 9, ..last.clone() }));
        let task = pb::Task { epoch: 1, ..Default::default() };
        assert!(differs(&last, &pb::JobStatus { tasks: vec![task], ..last.clone() }));
    }

    #[test]
    fn a_watch_never_goes_back_in_time_at_a_master_that_is_behind() {
        let status = |index, state: pb::JobState| pb::JobStatus {
            index,
            job: Some(pb::Job { state: state.into(), ..Default::default() }),
            ..Default::default()
        };
        let running = status(9, pb::JobState::Running);
        assert!(!is_older(None, &running));
        assert!(is_older(Some(&running), &status(8, pb::JobState::Created)));
        assert!(!is_older(Some(&running), &status(9, pb::JobState::Running)));
        assert!(!is_older(Some(&running), &status(10, pb::JobState::Finished)));
    }

    #[tokio::test]
    async fn a_watch_that_was_too_slow_to_hear_of_its_change_looks_anyway() {
        let of = |job: &str| Change { index: Index(1), jobs: [JobId::parse(job).unwrap()].into() };
        let (sender, mut changes) = broadcast::channel(2);
        let own = JobId::parse("own");
        assert!(sender.send(of("other")).is_ok());
        let soon = WATCH_PERIOD * 20;
        assert!(rt::timeout(soon, changed(own.as_ref(), &mut changes)).await.is_none(), "nothing of its own");
        for job in ["own", "other", "other", "other"] {
            assert!(sender.send(of(job)).is_ok());
        }
        assert!(
            rt::timeout(soon, changed(own.as_ref(), &mut changes)).await.is_some(),
            "its own was dropped"
        );
    }
}
