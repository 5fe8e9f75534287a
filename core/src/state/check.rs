//! What must be so in every state. For oracles.

use super::{
    RecordKey, State,
    jobs::{is_ended, is_held, is_terminal},
    records::Tables,
};
use crate::types::{ExecutorId, JobId, LeaseId, SessionId, TaskKey};
use pb::{JobState, TaskState, lease::Holder};
use quorate_proto::v1 as pb;

impl State {
    /// Whether the tables are what the touched records say. For oracles.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_touched(&self, touched: &[RecordKey]) -> Result<(), String> {
        for key in touched {
            if !self.records.agree(key).map_err(|error| error.0)? {
                return Err(format!("{key:?}: the table holds another record than the store"));
            }
            self.check_record(key)?;
        }
        Ok(())
    }

    /// Whether the tables, counts and the hash are what all records say. For oracles: takes time.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self) -> Result<(), String> {
        let tables = self.records.tables();
        if self.records.rebuild().map_err(|error| error.0)? != *tables {
            return Err("the tables are not what the records say".to_owned());
        }
        let requests = self.requests.rebuild();
        if requests != self.requests {
            return Err("the sessions' sizes or digests are not what their answers say".to_owned());
        }
        let sums = [self.business.sum_again(), self.records.frame().sum_again(), requests.sum()];
        if self.hash_of(sums) != self.hash() {
            return Err(format!("the hash is {:x}, counted again {:x}", self.hash().0, self.hash_of(sums).0));
        }
        let (mut executors, mut sizes) = (0, (0, 0));
        for (key, _) in self.records.frame().iter() {
            let key = RecordKey::parse(key).ok_or_else(|| format!("record {key:?}: no such kind of key"))?;
            executors += usize::from(matches!(key, RecordKey::Executor(_)));
            sizes.0 += usize::from(matches!(key, RecordKey::Job(_)));
            sizes.1 += usize::from(matches!(key, RecordKey::Task(_)));
            self.check_record(&key)?;
        }
        if tables.jobs.sizes() != sizes {
            return Err(format!("{:?} jobs and tasks are counted: there are {sizes:?}", tables.jobs.sizes()));
        }
        let all = (executors, sizes.0, self.business.iter().count());
        if self.sizes() != all {
            return Err(format!(
                "{:?} executors, jobs and keys are counted: there are {all:?}",
                self.sizes()
            ));
        }
        for (session, held) in self.requests.iter() {
            if self.lease(held.lease).and_then(|lease| lease.holder) != Some(Holder::Session(session.0)) {
                return Err(format!("session {session}: its lease {} is not there", held.lease));
            }
        }
        match tables.jobs.placement.holders().find(|id| tables.fleet.get(*id).is_none()) {
            Some(executor) => Err(format!("executor {executor} holds tasks, and is not registered")),
            None => Ok(()),
        }
    }

    fn check_record(&self, key: &RecordKey) -> Result<(), String> {
        let tables = self.records.tables();
        match key {
            RecordKey::Executor(id) => check_executor(tables, *id),
            RecordKey::Job(id) => check_job(tables, id),
            RecordKey::Lease(id) => self.check_lease(*id),
            RecordKey::Level | RecordKey::Membership | RecordKey::Alarm(_) => Ok(()),
            RecordKey::Task(key) => check_task(tables, key),
        }
    }

    fn check_lease(&self, id: LeaseId) -> Result<(), String> {
        let Some(lease) = self.lease(id) else { return Ok(()) };
        let kept = match lease.holder {
            Some(Holder::Executor(executor)) => {
                self.executor(ExecutorId(executor)).is_some_and(|it| it.lease == id.0)
            }
            Some(Holder::Session(session)) => self.requests.lease(SessionId(session)) == Some(id),
            None => false,
        };
        if kept { Ok(()) } else { Err(format!("lease {id}: its holder {:?} does not know it", lease.holder)) }
    }
}

fn check_executor(tables: &Tables, id: ExecutorId) -> Result<(), String> {
    let placement = &tables.jobs.placement;
    let Some(executor) = tables.fleet.get(id) else {
        let holds = placement.held(id).next().is_some();
        return if holds { Err(format!("executor {id} is gone, and holds tasks")) } else { Ok(()) };
    };
    let used = placement.held(id).map(|key| tables.jobs.need(&key.job).slots).sum();
    if !placement.room_agrees(executor, used) {
        return Err(format!(
            "executor {id}: {used} of {} slots are used, and its room is not known so",
            executor.slots
        ));
    }
    match tables.leases.get(LeaseId(executor.lease)) {
        Some(lease) if lease.holder == Some(Holder::Executor(id.0)) => Ok(()),
        _ => Err(format!("executor {id}: its lease {} is not there", executor.lease)),
    }
}

fn check_job(tables: &Tables, id: &JobId) -> Result<(), String> {
    let counts = tables.jobs.counts(id);
    let open = counts.pending + counts.assigned + counts.online;
    let all = open + counts.finished + counts.failed + counts.canceled;
    let Some(job) = tables.jobs.job(id) else {
        return if all == 0 {
            Ok(())
        } else {
            Err(format!("job {id} is gone, and {all} tasks of it are left"))
        };
    };
    let tasks = job.specification.as_ref().map_or(0, |it| it.tasks);
    if all != tasks {
        return Err(format!("job {id} has {all} tasks: its specification says {tasks}"));
    }
    if is_terminal(job.state()) != (open == 0) {
        return Err(format!("job {id} is {:?}, and {open} tasks of it are open", job.state()));
    }
    let canceling = job.state() == JobState::Canceling;
    if canceling != (job.cancel_deadline_ms != 0) || !tables.jobs.deadline_agrees(id, job) {
        return Err(format!(
            "job {id} is {:?}, with a cancel due at {}",
            job.state(),
            job.cancel_deadline_ms
        ));
    }
    if canceling && counts.pending != 0 {
        return Err(format!("job {id} is being canceled, and {} tasks of it wait", counts.pending));
    }
    Ok(())
}

fn check_task(tables: &Tables, key: &TaskKey) -> Result<(), String> {
    let Some(task) = tables.jobs.task(key) else { return Ok(()) };
    let Some(job) = tables.jobs.job(&key.job) else {
        return Err(format!("task {key}: its job is not there"));
    };
    if !tables.jobs.placement.agrees(key, tables.jobs.need(&key.job), task) {
        return Err(format!("task {key} is {:?}, and stands in another queue or set", task.state()));
    }
    if is_held(task.state()) != (task.executor != 0) {
        return Err(format!("task {key} is {:?}, with executor {}", task.state(), task.executor));
    }
    if task.executor != 0 && tables.fleet.get(ExecutorId(task.executor)).is_none() {
        return Err(format!("task {key} is held by executor {}, which is not there", task.executor));
    }
    if (task.state() == TaskState::Online) != (task.online_since_ms != 0) {
        return Err(format!("task {key} is {:?}, online since {}", task.state(), task.online_since_ms));
    }
    if is_terminal(job.state()) && !is_ended(task.state()) {
        return Err(format!("task {key} is {:?}, and its job has ended", task.state()));
    }
    Ok(())
}
