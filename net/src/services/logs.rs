//! The output of an attempt, fetched from the executor that keeps it.

use super::{Api, BoxStream, is_not_found, refuse, take};
use crate::{driver::executor, errors::describe, limits::CALL_TIMEOUT, rt::timeout};
use futures::StreamExt;
use quorate_proto::v1::{self as pb, RefusalCode, client_request::Body};
use tonic::Status;

/// Finds the executor and passes its answer on.
pub(super) async fn fetch(api: &Api, request: pb::JobLogsRequest) -> Result<BoxStream<pb::LogChunk>, Status> {
    let (id, number) = (request.id, request.task);
    let get = pb::GetJobRequest { id: id.clone(), tasks: true, from_task: number, limit: 1, stale: false };
    let (_, status) = api.ask(Body::GetJob(get), take!(Job)).await?;
    let Some(task) = status.tasks.first().filter(|task| task.number == number) else {
        let tasks = status
            .job
            .and_then(|job| job.specification)
            .map_or(0, |specification| specification.tasks.max(1));
        let message = format!("job {id} has no task {number}: its {tasks} tasks are numbered from 0");
        return Err(refuse(RefusalCode::NotFound, message));
    };
    let (holder, epoch) = attempt(task, request.epoch)?;
    let address = address_of(api, holder).await?;
    let channel = api.channels.get(&address).map_err(|why| refuse(RefusalCode::Precondition, why))?;
    let key = pb::AttemptKey { job: id, number, epoch };
    let mut client = executor(channel);
    let opened = client.logs(pb::AttemptLogsRequest { executor: holder, attempt: Some(key) });
    let away = |why: String| {
        let message =
            format!("executor {holder} at {address}, which keeps the output, cannot be reached: {why}");
        refuse(RefusalCode::Unavailable, message)
    };
    match timeout(CALL_TIMEOUT, opened).await {
        Some(Ok(response)) => Ok(response.into_inner().boxed()),
        Some(Err(status)) if status.details().is_empty() => Err(away(describe(&status))),
        Some(Err(status)) => Err(status),
        None => {
            api.channels.forget(&address);
            Err(away("no answer in time".into()))
        }
    }
}

/// Which executor keeps the output of an attempt, and the attempt's number.
fn attempt(task: &pb::Task, wanted: u64) -> Result<(u64, u64), Status> {
    let name = format!("task {}/{}", task.job, task.number);
    let epoch = if wanted == 0 { task.epoch } else { wanted };
    if epoch == 0 {
        let message = format!("{name} has not been given to an executor yet: there is no output");
        return Err(refuse(RefusalCode::Precondition, message));
    }
    if epoch > task.epoch {
        let message = format!("{name} has no attempt {epoch}: its newest is {}", task.epoch);
        return Err(refuse(RefusalCode::NotFound, message));
    }
    let holder = if epoch == task.epoch && task.executor != 0 { task.executor } else { task.last_executor };
    if holder == 0 {
        let message = format!("it is not known any more which executor ran attempt {epoch} of {name}");
        return Err(refuse(RefusalCode::NotFound, message));
    }
    Ok((holder, epoch))
}

async fn address_of(api: &Api, holder: u64) -> Result<String, Status> {
    let body = Body::GetExecutor(pb::GetExecutorRequest { executor: holder });
    let found = api.ask(body, take!(GetExecutor)).await;
    let (_, status) = found.map_err(|status| {
        if is_not_found(&status) {
            let message = format!("executor {holder}, which kept the output, is gone");
            refuse(RefusalCode::NotFound, message)
        } else {
            status
        }
    })?;
    Ok(status.executor.map(|executor| executor.address).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(epoch: u64, executor: u64, last_executor: u64) -> pb::Task {
        pb::Task { job: "j".into(), epoch, executor, last_executor, ..Default::default() }
    }

    #[test]
    fn the_newest_attempt_is_where_it_runs_or_ran() {
        assert_eq!(attempt(&task(3, 7, 6), 0).unwrap(), (7, 3));
        assert_eq!(attempt(&task(3, 0, 6), 0).unwrap(), (6, 3));
        assert_eq!(attempt(&task(3, 7, 6), 2).unwrap(), (6, 2));
    }

    #[test]
    fn what_never_ran_or_is_forgotten_is_said() {
        for (task, wanted, words) in [
            (task(0, 0, 0), 0, "not been given"),
            (task(2, 7, 0), 3, "its newest is 2"),
            (task(2, 7, 0), 1, "not known any more"),
        ] {
            let status = attempt(&task, wanted).unwrap_err();
            assert!(status.message().contains(words), "{status}");
        }
    }
}
