//! Quorate's own records, and the tables that are an index over them. The only way to change either.

use super::{
    alarms, fleet, jobs, lease, members,
    store::{Item, Space, Store},
};
use crate::{
    bug::{self, Bug},
    codec::CodecError,
    types::{ExecutorId, JobId, LeaseId, NodeId, Revision, TaskKey},
};
use bytes::Bytes;
use prost::Message;
use quorate_proto::v1 as pb;
use std::sync::Arc;

const MEMBERSHIP: &str = "membership";
const LEVEL: &str = "level";

/// Names one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKey {
    /// `alarms/<node>`
    Alarm(NodeId),
    /// `executors/<id>`
    Executor(ExecutorId),
    /// `jobs/<id>`
    Job(JobId),
    /// `leases/<id>`
    Lease(LeaseId),
    /// `level`
    Level,
    /// `membership`
    Membership,
    /// `tasks/<job>/<number>`
    Task(TaskKey),
}

impl RecordKey {
    /// The key in the records' space. Numbers are padded, so that keys sort as numbers do.
    pub(crate) fn bytes(&self) -> Bytes {
        Bytes::from(match self {
            Self::Alarm(id) => format!("alarms/{:020}", id.0),
            Self::Executor(id) => format!("executors/{:020}", id.0),
            Self::Job(id) => format!("jobs/{id}"),
            Self::Lease(id) => format!("leases/{:020}", id.0),
            Self::Level => LEVEL.to_owned(),
            Self::Membership => MEMBERSHIP.to_owned(),
            Self::Task(key) => format!("tasks/{}/{:010}", key.job, key.number),
        })
    }

    /// The key under which anybody reads the record.
    #[must_use]
    pub fn public_key(&self) -> Bytes {
        [super::FRAME_PREFIX, &self.bytes()].concat().into()
    }

    /// The record that a key names.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?;
        match text {
            LEVEL => return Some(Self::Level),
            MEMBERSHIP => return Some(Self::Membership),
            _ => {}
        }
        let (kind, rest) = text.split_once('/')?;
        let key = match kind {
            "alarms" => Self::Alarm(NodeId(rest.parse().ok()?)),
            "executors" => Self::Executor(ExecutorId(rest.parse().ok()?)),
            "jobs" => Self::Job(JobId::parse(rest)?),
            "leases" => Self::Lease(LeaseId(rest.parse().ok()?)),
            "tasks" => {
                let (job, number) = rest.split_once('/')?;
                Self::Task(TaskKey { job: JobId::parse(job)?, number: number.parse().ok()? })
            }
            _ => return None,
        };
        (key.bytes() == bytes).then_some(key)
    }
}

/// What is looked up in, kept by [`Records`] and made of nothing but the records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tables {
    /// Leases by id.
    pub(crate) leases: lease::Table,
    /// Executors by id.
    pub(crate) fleet: fleet::Table,
    /// Jobs, tasks, and what follows from both.
    pub(crate) jobs: jobs::Table,
    /// The masters of the cluster.
    pub(crate) members: members::Table,
    /// What keeps the cluster from taking more data.
    pub(crate) alarms: alarms::Table,
    /// How far the feature level may go, and how it went.
    pub(crate) level: pb::FeatureLevel,
}

impl Tables {
    fn lease_changed(&mut self, id: LeaseId, new: Option<Arc<pb::Lease>>) {
        self.leases.changed(id, new);
    }

    fn executor_changed(&mut self, id: ExecutorId, new: Option<Arc<pb::Executor>>) {
        self.jobs.placement.executor_changed(id, new.as_deref());
        self.fleet.changed(id, new);
    }

    fn job_changed(&mut self, id: &JobId, new: Option<Arc<pb::Job>>) {
        self.jobs.job_changed(id, new);
    }

    fn task_changed(&mut self, key: &TaskKey, new: Option<Arc<pb::Task>>) {
        self.jobs.task_changed(key, new);
    }
}

/// The records and their tables.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    frame: Store,
    tables: Tables,
}

impl Default for Records {
    fn default() -> Self {
        Self { frame: Store::new(Space::Frame), tables: Tables::default() }
    }
}

impl Records {
    /// None at all, at a revision; to be filled with [`restore`](Self::restore).
    pub(crate) fn at(revision: Revision) -> Self {
        Self { frame: Store::at(Space::Frame, revision), tables: Tables::default() }
    }

    /// The records as they are stored.
    pub(crate) const fn frame(&self) -> &Store {
        &self.frame
    }

    /// The index over them.
    pub(crate) const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Sets a lease.
    pub(crate) fn put_lease(&mut self, id: LeaseId, lease: pb::Lease) {
        self.frame.put(RecordKey::Lease(id).bytes(), lease.encode_to_vec().into());
        self.tables.lease_changed(id, Some(Arc::new(lease)));
    }

    /// Sets an executor.
    pub(crate) fn put_executor(&mut self, id: ExecutorId, executor: pb::Executor) {
        self.frame.put(RecordKey::Executor(id).bytes(), executor.encode_to_vec().into());
        self.tables.executor_changed(id, Some(Arc::new(executor)));
    }

    /// Sets a job.
    pub(crate) fn put_job(&mut self, id: &JobId, job: pb::Job) {
        self.frame.put(RecordKey::Job(id.clone()).bytes(), job.encode_to_vec().into());
        if bug::planted(Bug::StateRecordSkipsTable) && self.tables.jobs.job(id).is_some() {
            return;
        }
        self.tables.job_changed(id, Some(Arc::new(job)));
    }

    /// Sets a task. Its job must be there.
    pub(crate) fn put_task(&mut self, key: &TaskKey, task: pb::Task) {
        self.frame.put(RecordKey::Task(key.clone()).bytes(), task.encode_to_vec().into());
        self.tables.task_changed(key, Some(Arc::new(task)));
    }

    /// Sets who takes part.
    pub(crate) fn put_membership(&mut self, members: members::Members) {
        self.frame.put(RecordKey::Membership.bytes(), members.record().encode_to_vec().into());
        self.tables.members.changed(Some(members));
    }

    /// Sets how far the feature level may go.
    pub(crate) fn put_level(&mut self, level: pb::FeatureLevel) {
        self.frame.put(RecordKey::Level.bytes(), level.encode_to_vec().into());
        self.tables.level = level;
    }

    /// Sets an alarm.
    pub(crate) fn put_alarm(&mut self, node: NodeId, alarm: pb::Alarm) {
        self.frame.put(RecordKey::Alarm(node).bytes(), alarm.encode_to_vec().into());
        self.tables.alarms.changed(node, Some(alarm));
    }

    /// Takes a record out. A job goes after its tasks.
    pub(crate) fn delete(&mut self, key: &RecordKey) {
        self.frame.delete(&key.bytes());
        match key {
            RecordKey::Alarm(id) => self.tables.alarms.changed(*id, None),
            RecordKey::Executor(id) => self.tables.executor_changed(*id, None),
            RecordKey::Job(id) => self.tables.job_changed(id, None),
            RecordKey::Lease(id) => self.tables.lease_changed(*id, None),
            RecordKey::Level => self.tables.level = pb::FeatureLevel::default(),
            RecordKey::Membership => self.tables.members.changed(None),
            RecordKey::Task(key) => self.tables.task_changed(key, None),
        }
    }

    /// Puts a record back as it was, out of a snapshot. Records come in the order of their keys.
    pub(crate) fn restore(&mut self, key: Bytes, item: Item) -> Result<(), CodecError> {
        fold(&mut self.tables, &key, &item.value)?;
        let text = String::from_utf8_lossy(&key).into_owned();
        if self.frame.restore(key, item) {
            Ok(())
        } else {
            Err(CodecError(format!("record {text} cannot be there")))
        }
    }

    /// The revision of the last change is this one from now on; it never goes back.
    pub(crate) fn raise(&mut self, revision: Revision) {
        self.frame.raise(revision);
    }

    /// The tables, made again of all records. Takes time.
    pub(crate) fn rebuild(&self) -> Result<Tables, CodecError> {
        let mut tables = Tables::default();
        for (key, item) in self.frame.iter() {
            fold(&mut tables, key, &item.value)?;
        }
        Ok(tables)
    }

    /// Whether a record and what its table holds of it are the same.
    pub(crate) fn agree(&self, key: &RecordKey) -> Result<bool, CodecError> {
        let bytes = self.frame.get(&key.bytes()).map(|item| &item.value);
        Ok(match key {
            RecordKey::Alarm(id) => message(key, bytes)? == self.tables.alarms.get(*id).cloned(),
            RecordKey::Executor(id) => message(key, bytes)? == self.tables.fleet.get(*id).cloned(),
            RecordKey::Job(id) => message(key, bytes)? == self.tables.jobs.job(id).cloned(),
            RecordKey::Lease(id) => message(key, bytes)? == self.tables.leases.get(*id).copied(),
            RecordKey::Level => {
                message::<pb::FeatureLevel>(key, bytes)?.unwrap_or_default() == self.tables.level
            }
            RecordKey::Membership => {
                message(key, bytes)? == self.tables.members.get().map(members::Members::record)
            }
            RecordKey::Task(key_) => message(key, bytes)? == self.tables.jobs.task(key_).cloned(),
        })
    }
}

fn message<M: Message + Default>(key: &RecordKey, bytes: Option<&Bytes>) -> Result<Option<M>, CodecError> {
    bytes
        .map(|bytes| M::decode(bytes.clone()))
        .transpose()
        .map_err(|error| CodecError(format!("record {key:?}: {error}")))
}

// Takes one record into the tables.
fn fold(tables: &mut Tables, key: &Bytes, value: &Bytes) -> Result<(), CodecError> {
    let bad = |why: &str| CodecError(format!("record {}: {why}", String::from_utf8_lossy(key)));
    let parsed = RecordKey::parse(key).ok_or_else(|| bad("no such kind of key"))?;
    let value = Some(value);
    let missing = || bad("another id is inside");
    match &parsed {
        RecordKey::Alarm(id) => {
            let alarm =
                message::<pb::Alarm>(&parsed, value)?.filter(|it| it.node == id.0).ok_or_else(missing)?;
            tables.alarms.changed(*id, Some(alarm));
        }
        RecordKey::Executor(id) => {
            let executor =
                message::<pb::Executor>(&parsed, value)?.filter(|it| it.id == id.0).ok_or_else(missing)?;
            tables.executor_changed(*id, Some(Arc::new(executor)));
        }
        RecordKey::Job(id) => {
            let job =
                message::<pb::Job>(&parsed, value)?.filter(|it| it.id == id.as_str()).ok_or_else(missing)?;
            if job.specification.is_none() {
                return Err(bad("it has no specification"));
            }
            tables.job_changed(id, Some(Arc::new(job)));
        }
        RecordKey::Lease(id) => {
            let lease =
                message::<pb::Lease>(&parsed, value)?.filter(|it| it.id == id.0).ok_or_else(missing)?;
            tables.lease_changed(*id, Some(Arc::new(lease)));
        }
        RecordKey::Level => tables.level = message(&parsed, value)?.unwrap_or_default(),
        RecordKey::Membership => {
            let record = message::<pb::Membership>(&parsed, value)?.ok_or_else(missing)?;
            let members = members::Members::from_record(&record).map_err(|why| bad(&why))?;
            tables.members.changed(Some(members));
        }
        RecordKey::Task(key) => {
            let own = |it: &pb::Task| it.job == key.job.as_str() && it.number == key.number;
            let task = message::<pb::Task>(&parsed, value)?.filter(own).ok_or_else(missing)?;
            if tables.jobs.job(&key.job).is_none() {
                return Err(bad("there is no such job"));
            }
            tables.task_changed(key, Some(Arc::new(task)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_names_another_than_its_key_is_not_restored() {
        let mut records = Records::at(Revision(9));
        let mut restore = |key: &str, value: Vec<u8>| {
            let (create_revision, mod_revision) = (Revision(1), Revision(1));
            let item = Item { value: value.into(), create_revision, mod_revision, version: 1 };
            records.restore(Bytes::copy_from_slice(key.as_bytes()), item)
        };
        let job = |id: &str| {
            let specification = Some(pb::JobSpecification::default());
            pb::Job { id: id.into(), specification, ..Default::default() }.encode_to_vec()
        };
        let task =
            |job: &str, number| pb::Task { job: job.into(), number, ..Default::default() }.encode_to_vec();
        restore("jobs/a", job("b")).unwrap_err();
        restore("jobs/a", job("a")).unwrap();
        restore("tasks/a/0000000001", task("a", 2)).unwrap_err();
        restore("tasks/a/0000000001", task("b", 1)).unwrap_err();
        restore("tasks/b/0000000001", task("b", 1)).unwrap_err();
        restore("tasks/a/0000000001", task("a", 1)).unwrap();
    }
}
