//! Requests that only read.

use super::{
    State,
    jobs::job,
    refuse::{invalid, not_found},
    store::{
        Store,
        keyvalue::{FRAME_PREFIX, key_value},
    },
};
use crate::{
    bug::{self, Bug},
    limits::{JOBS_SCANNED, KEY_BYTES, PAGE_BYTES, PAGE_ITEMS, PAGE_ITEMS_DEFAULT},
    mark::{self, Mark},
    types::{ExecutorId, JobId},
};
use bytes::Bytes;
use core::ops::Bound;
use pb::{JobState, JobType, client_reply::Body as Reply, client_request::Body as Request};
use prost::Message;
use quorate_proto::v1 as pb;

/// What a page has still room for.
struct Page {
    items: usize,
    bytes: usize,
    empty: bool,
}

impl Page {
    fn new(limit: u32) -> Result<Self, pb::Refusal> {
        let items = if limit == 0 { PAGE_ITEMS_DEFAULT } else { limit as usize };
        if items > PAGE_ITEMS {
            return Err(invalid(format!("limit is {limit}: it must be at most {PAGE_ITEMS}, or 0")));
        }
        Ok(Self { items, bytes: PAGE_BYTES, empty: true })
    }

    // Whether one more goes in. The first does, whatever its size, so that every page gets on.
    fn takes(&mut self, item: &impl Message) -> bool {
        let size = item.encoded_len();
        if self.items == 0 || (size > self.bytes && !self.empty) {
            mark::hit(Mark::PageFull);
            return false;
        }
        self.items -= 1;
        self.bytes = self.bytes.saturating_sub(size);
        self.empty = false;
        true
    }
}

impl State {
    /// Answers a request that only reads: get, list, list_executors, get_executor, get_job, list_jobs. `index` of the
    /// reply is the applied index.
    #[must_use]
    pub fn query(&self, request: &pb::ClientRequest) -> pb::ClientReply {
        let outcome = match &request.body {
            Some(Request::Get(request)) => self.get(request),
            Some(Request::List(request)) => self.list(request),
            Some(Request::ListExecutors(request)) => self.list_executors(request),
            Some(Request::GetExecutor(request)) => self.get_executor(request),
            Some(Request::GetJob(request)) => self.get_job(request),
            Some(Request::ListJobs(request)) => self.list_jobs(request),
            _ => Err(invalid("body is of no request that only reads".to_owned())),
        };
        self.reply(outcome)
    }

    // The space that a key is in, what the store's own keys lack, and the key without it.
    fn space<'a>(&self, key: &'a [u8]) -> (&Store, &'static [u8], &'a [u8]) {
        match key.strip_prefix(FRAME_PREFIX) {
            Some(rest) => {
                mark::hit(Mark::RecordsRead);
                (self.records.frame(), FRAME_PREFIX, rest)
            }
            None => (&self.business, b"", key),
        }
    }

    fn get(&self, request: &pb::GetRequest) -> Result<Reply, pb::Refusal> {
        let (store, _, key) = self.space(&request.key);
        let longest = KEY_BYTES + FRAME_PREFIX.len() - usize::from(bug::planted(Bug::LongestKeyRefused)) * 16;
        if request.key.is_empty() || request.key.len() > longest {
            return Err(invalid(format!(
                "key has {} bytes: it must have 1 to {KEY_BYTES}",
                request.key.len()
            )));
        }
        let item = store.get(key).map(|item| key_value(request.key.clone(), item, false));
        Ok(Reply::Get(pb::GetReply { revision: store.revision().0, item }))
    }

    fn list(&self, request: &pb::ListRequest) -> Result<Reply, pb::Refusal> {
        let mut page = Page::new(request.limit)?;
        let (store, lacks, prefix) = self.space(&request.prefix);
        let mut reply = pb::ListReply { revision: store.revision().0, items: Vec::new(), more: false };
        let after = match request.after.strip_prefix(lacks) {
            _ if request.after.is_empty() || request.after < request.prefix => None,
            Some(after) => Some(after),
            // Behind every key of the records.
            None => return Ok(Reply::List(reply)),
        };
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        for (key, item) in store.from(start).take_while(|(key, _)| key.starts_with(prefix)) {
            let whole = if lacks.is_empty() { key.clone() } else { Bytes::from([lacks, key].concat()) };
            let item = key_value(whole, item, request.keys_only);
            if !page.takes(&item) {
                reply.more = true;
                break;
            }
            reply.items.push(item);
        }
        Ok(Reply::List(reply))
    }

    fn list_executors(&self, request: &pb::ListExecutorsRequest) -> Result<Reply, pb::Refusal> {
        let mut page = Page::new(request.limit)?;
        let mut reply = pb::ListExecutorsReply::default();
        for executor in self.records.tables().fleet.after(ExecutorId(request.after)) {
            let status = self.status_of(executor, false);
            if !page.takes(&status) {
                reply.more = true;
                break;
            }
            reply.executors.push(status);
        }
        Ok(Reply::ListExecutors(reply))
    }

    fn get_executor(&self, request: &pb::GetExecutorRequest) -> Result<Reply, pb::Refusal> {
        let id = request.executor;
        let executor = self.executor(ExecutorId(id)).ok_or_else(|| {
            not_found(format!("executor {id}: there is none of this id; it never was, or it is gone"))
        })?;
        Ok(Reply::GetExecutor(self.status_of(executor, true)))
    }

    fn status_of(&self, executor: &pb::Executor, attempts: bool) -> pb::ExecutorStatus {
        let id = ExecutorId(executor.id);
        let tables = self.records.tables();
        let attempt = |task: &pb::Task| pb::AttemptKey {
            job: task.job.clone(),
            number: task.number,
            epoch: task.epoch,
        };
        let held = self.held(id).filter(|_| attempts).filter_map(|key| tables.jobs.task(key));
        pb::ExecutorStatus {
            executor: Some(executor.clone()),
            slots_used: tables.jobs.placement.used(id),
            attempts: held.map(attempt).collect(),
        }
    }

    fn get_job(&self, request: &pb::GetJobRequest) -> Result<Reply, pb::Refusal> {
        let mut page = Page::new(request.limit)?;
        let tables = self.records.tables();
        let id = JobId::parse(&request.id).ok_or_else(|| job::missing(format_args!("{:?}", request.id)))?;
        let mut status = job::status(tables, &id, self.index()).ok_or_else(|| job::missing(&id))?;
        if request.tasks {
            for (_, task) in tables.jobs.tasks(&id, request.from_task) {
                if !page.takes(task) {
                    status.more_tasks = true;
                    break;
                }
                status.tasks.push(task.clone());
            }
        }
        Ok(Reply::Job(status))
    }

    fn list_jobs(&self, request: &pb::ListJobsRequest) -> Result<Reply, pb::Refusal> {
        let mut page = Page::new(request.limit)?;
        let wanted = Filter::new(request)?;
        let after = match request.after.as_str() {
            "" => None,
            after => Some(JobId::parse(after).ok_or_else(|| {
                invalid(format!("after is {after:?}: it must be a job's id, as `next` of the page before"))
            })?),
        };
        let tables = self.records.tables();
        let mut reply = pb::ListJobsReply::default();
        for (scanned, (id, job)) in tables.jobs.jobs_after(after).enumerate() {
            if scanned == JOBS_SCANNED {
                reply.more = true;
                break;
            }
            if wanted.takes(job)
                && let Some(status) = job::status(tables, id, self.index())
            {
                if !page.takes(&status) {
                    reply.more = !bug::planted(Bug::ListEndsEarly);
                    break;
                }
                reply.jobs.push(status);
            }
            id.as_str().clone_into(&mut reply.next);
        }
        if !reply.more {
            reply.next.clear();
        }
        Ok(Reply::ListJobs(reply))
    }
}

/// Which jobs a list is to hold.
struct Filter {
    state: JobState,
    kind: JobType,
}

impl Filter {
    fn new(request: &pb::ListJobsRequest) -> Result<Self, pb::Refusal> {
        let state = JobState::try_from(request.state)
            .map_err(|_| invalid(format!("state is {}: it must be a state of jobs, or 0", request.state)))?;
        let kind = JobType::try_from(request.r#type)
            .map_err(|_| invalid(format!("type is {}: it must be a type of jobs, or 0", request.r#type)))?;
        Ok(Self { state, kind })
    }

    fn takes(&self, job: &pb::Job) -> bool {
        let kind = job.specification.as_ref().map_or(JobType::Unspecified, |it| it.r#type());
        (self.state == JobState::Unspecified || self.state == job.state())
            && (self.kind == JobType::Unspecified || self.kind == kind)
    }
}
