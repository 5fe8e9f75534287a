//! What lists of executors, jobs and tasks must hold, found anew in the records themselves, page by page.

use super::{Ledger, Rule, answers::brief};
use bytes::Bytes;
use core::fmt::Debug;
use pb::{JobState, JobType, TaskState, client_reply::Body, client_request::Body as Ask};
use prost::Message;
use quorate_core::{
    limits::{PAGE_BYTES, PAGE_ITEMS, PAGE_ITEMS_DEFAULT},
    state::State,
};
use quorate_proto::v1 as pb;
use std::collections::BTreeMap;

const EXECUTORS: &[u8] = b"/_frame/executors/";
const JOBS: &[u8] = b"/_frame/jobs/";
const TASKS: &[u8] = b"/_frame/tasks/";

/// The records of one kind, in the order of their keys.
fn records<T: Message + Default>(state: &State, prefix: &'static [u8]) -> Vec<T> {
    let (mut found, mut after) = (Vec::new(), Bytes::new());
    loop {
        let ask = pb::ListRequest {
            prefix: Bytes::from_static(prefix),
            after,
            limit: PAGE_ITEMS as u32,
            ..pb::ListRequest::default()
        };
        let reply = state.query(&pb::ClientRequest { body: Some(Ask::List(ask)) });
        let Some(Body::List(list)) = reply.body else { return found };
        found.extend(list.items.iter().filter_map(|item| T::decode(item.value.clone()).ok()));
        match list.items.last().filter(|_| list.more) {
            Some(last) => after = last.key.clone(),
            None => return found,
        }
    }
}

/// The first page of these, and whether there are more.
pub(super) fn page<T: Message>(all: Vec<T>, limit: u32) -> (Vec<T>, bool) {
    let most = if limit == 0 { PAGE_ITEMS_DEFAULT } else { limit as usize };
    let count = all.len();
    let (mut items, mut bytes) = (Vec::new(), 0);
    for item in all {
        bytes += item.encoded_len();
        if items.len() == most || (bytes > PAGE_BYTES && !items.is_empty()) {
            break;
        }
        items.push(item);
    }
    let more = items.len() < count;
    (items, more)
}

const fn holds_slots(task: &pb::Task) -> bool {
    task.executor != 0
}

/// The records of a state.
struct Known {
    executors: Vec<pb::Executor>,
    jobs: BTreeMap<String, pb::Job>,
    tasks: Vec<pb::Task>,
    index: u64,
}

impl Known {
    fn of(state: &State) -> Self {
        let jobs: Vec<pb::Job> = records(state, JOBS);
        // The keys put `a-2/0` before `a/0`; lists go by the jobs' names.
        let mut tasks: Vec<pb::Task> = records(state, TASKS);
        tasks.sort_by(|one, other| (&one.job, one.number).cmp(&(&other.job, other.number)));
        Self {
            executors: records(state, EXECUTORS),
            jobs: jobs.into_iter().map(|job| (job.id.clone(), job)).collect(),
            tasks,
            index: state.index().0,
        }
    }

    fn executor(&self, executor: &pb::Executor, attempts: bool) -> pb::ExecutorStatus {
        let held = || self.tasks.iter().filter(|task| holds_slots(task) && task.executor == executor.id);
        let slots = |task: &pb::Task| {
            self.jobs.get(&task.job)?.specification.as_ref().map(|it| it.slots_per_task.max(1))
        };
        let attempt = |task: &pb::Task| pb::AttemptKey {
            job: task.job.clone(),
            number: task.number,
            epoch: task.epoch,
        };
        pb::ExecutorStatus {
            executor: Some(executor.clone()),
            slots_used: held().filter_map(slots).sum(),
            attempts: held().filter(|_| attempts).map(attempt).collect(),
        }
    }

    fn job(&self, job: &pb::Job) -> pb::JobStatus {
        let in_state = |state: TaskState| {
            let is = |task: &&pb::Task| task.job == job.id && task.state() == state;
            self.tasks.iter().filter(is).count() as u32
        };
        let counts = pb::TaskCounts {
            pending: in_state(TaskState::Pending),
            assigned: in_state(TaskState::Assigned),
            online: in_state(TaskState::Online),
            finished: in_state(TaskState::Finished),
            failed: in_state(TaskState::Failed),
            canceled: in_state(TaskState::Canceled),
        };
        pb::JobStatus {
            job: Some(job.clone()),
            counts: Some(counts),
            index: self.index,
            ..pb::JobStatus::default()
        }
    }

    fn executors(&self, ask: &pb::ListExecutorsRequest) -> pb::ListExecutorsReply {
        let behind = self.executors.iter().filter(|executor| executor.id > ask.after);
        let (executors, more) = page(behind.map(|it| self.executor(it, false)).collect(), ask.limit);
        pb::ListExecutorsReply { executors, more }
    }

    fn job_with_tasks(&self, ask: &pb::GetJobRequest) -> Option<pb::JobStatus> {
        let mut status = self.job(self.jobs.get(&ask.id)?);
        if ask.tasks {
            let wanted = |task: &&pb::Task| task.job == ask.id && task.number >= ask.from_task;
            (status.tasks, status.more_tasks) =
                page(self.tasks.iter().filter(wanted).cloned().collect(), ask.limit);
        }
        Some(status)
    }

    /// All that a list would hold behind a job, if pages had no end.
    fn jobs_behind(&self, ask: &pb::ListJobsRequest, after: &str) -> Vec<pb::JobStatus> {
        let wanted = |job: &&pb::Job| {
            let kind = job.specification.as_ref().map_or(JobType::Unspecified, |it| it.r#type());
            job.id.as_str() > after
                && (ask.state() == JobState::Unspecified || job.state() == ask.state())
                && (ask.r#type() == JobType::Unspecified || kind == ask.r#type())
        };
        self.jobs.values().filter(wanted).map(|job| self.job(job)).collect()
    }

    /// Whether a list of jobs is right: its page, and that it goes on behind it.
    fn jobs_are(&self, ask: &pb::ListJobsRequest, said: &pb::ListJobsReply) -> bool {
        let all = self.jobs_behind(ask, &ask.after);
        let rest = all.get(said.jobs.len()..).unwrap_or_default().to_vec();
        let (jobs, more) = page(all, ask.limit);
        let goes_on = if more { self.jobs_behind(ask, &said.next) == rest } else { said.next.is_empty() };
        said.jobs == jobs && said.more == more && goes_on
    }
}

/// A list was answered from this state.
pub(super) fn check(
    ledger: &mut Ledger,
    state: &State,
    request: &pb::ClientRequest,
    reply: &pb::ClientReply,
) {
    let told =
        |holds: bool, known: &dyn Debug| (holds, if holds { String::new() } else { format!("{known:?}") });
    let (holds, known) = match (&request.body, &reply.body) {
        (Some(Ask::ListExecutors(ask)), Some(Body::ListExecutors(said))) => {
            let known = Known::of(state).executors(ask);
            told(*said == known, &known)
        }
        (Some(Ask::GetExecutor(ask)), Some(said)) => {
            let known = Known::of(state);
            let found = known.executors.iter().find(|executor| executor.id == ask.executor);
            let found = found.map(|executor| known.executor(executor, true));
            let holds = match said {
                Body::GetExecutor(said) => Some(said) == found.as_ref(),
                Body::Refusal(refusal) => refusal.code() == pb::RefusalCode::NotFound && found.is_none(),
                _ => false,
            };
            told(holds, &found)
        }
        (Some(Ask::GetJob(ask)), Some(Body::Job(said))) => {
            let known = Known::of(state).job_with_tasks(ask);
            told(Some(said) == known.as_ref(), &known)
        }
        (Some(Ask::ListJobs(ask)), Some(Body::ListJobs(said))) => {
            let known = Known::of(state);
            told(known.jobs_are(ask, said), &known.jobs)
        }
        _ => return,
    };
    ledger.hold(Rule::ListTrue, holds, || {
        format!("{} is answered {reply:?}; the records say {known}", brief(request))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> pb::Job {
        let mut job = pb::Job { id: id.to_owned(), ..pb::Job::default() };
        job.set_state(if id == "b" { JobState::Finished } else { JobState::Running });
        job
    }

    fn known() -> Known {
        let jobs = ["a", "b", "c"].map(|id| (id.to_owned(), job(id))).into();
        let task = |number| {
            let mut task = pb::Task { job: "c".to_owned(), number, ..pb::Task::default() };
            task.set_state(TaskState::Online);
            task.executor = u64::from(number % 2) + 1;
            task
        };
        let executors = [1, 2].map(|id| pb::Executor { id, ..pb::Executor::default() }).into();
        Known { executors, jobs, tasks: (0..3).map(task).collect(), index: 9 }
    }

    #[test]
    fn a_page_ends_at_its_limit_and_goes_on_behind_it() {
        let known = known();
        let ask = pb::ListJobsRequest { limit: 1, state: JobState::Running.into(), ..Default::default() };
        let first = known.job(&known.jobs["a"]);
        let said = pb::ListJobsReply { jobs: vec![first.clone()], more: true, next: "b".to_owned() };
        assert!(known.jobs_are(&ask, &said));
        for wrong in [
            pb::ListJobsReply { next: "c".to_owned(), ..said.clone() },
            pb::ListJobsReply { more: false, ..said.clone() },
            pb::ListJobsReply { jobs: Vec::new(), ..said.clone() },
            pb::ListJobsReply { jobs: vec![pb::JobStatus { index: 8, ..first }], ..said },
        ] {
            assert!(!known.jobs_are(&ask, &wrong), "{wrong:?}");
        }
    }

    #[test]
    fn an_executor_uses_the_slots_of_what_it_holds() {
        let mut known = known();
        let specification = pb::JobSpecification { slots_per_task: 3, ..pb::JobSpecification::default() };
        known.jobs.get_mut("c").expect("it is there").specification = Some(specification);
        let status = known.executor(&known.executors[0], true);
        assert_eq!((status.slots_used, status.attempts.len()), (6, 2));
        let tasks = pb::GetJobRequest { id: "c".into(), tasks: true, from_task: 1, limit: 1, stale: false };
        let status = known.job_with_tasks(&tasks).expect("it is there");
        assert_eq!((status.tasks.len(), status.tasks[0].number, status.more_tasks), (1, 1, true));
        assert_eq!(status.counts.map(|counts| counts.online), Some(3));
    }
}
