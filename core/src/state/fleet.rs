//! Registered executors.

use super::{
    Outcome, Turn,
    jobs::task,
    lease,
    records::RecordKey,
    refuse::{exhausted, not_found, stale},
};
use crate::{
    bug::{self, Bug},
    limits::EXECUTORS,
    mark::{self, Mark},
    trace::TraceEvent,
    types::{ExecutorId, Incarnation, LeaseId},
};
use imbl::OrdMap;
use pb::{client_reply::Body, lease::Holder};
use quorate_proto::v1 as pb;
use std::sync::Arc;

/// Executors by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    executors: OrdMap<ExecutorId, Arc<pb::Executor>>,
}

impl Table {
    /// A record was put or deleted.
    pub(crate) fn changed(&mut self, id: ExecutorId, new: Option<Arc<pb::Executor>>) {
        match new {
            Some(executor) => self.executors.insert(id, executor),
            None => self.executors.remove(&id),
        };
    }

    /// One executor.
    pub(crate) fn get(&self, id: ExecutorId) -> Option<&pb::Executor> {
        self.executors.get(&id).map(Arc::as_ref)
    }

    /// All, in order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &pb::Executor> {
        self.executors.values().map(Arc::as_ref)
    }

    /// Those with an id above this one, in order.
    pub(crate) fn after(&self, id: ExecutorId) -> impl Iterator<Item = &pb::Executor> {
        self.executors.range(id.next()..).map(|(_, executor)| executor.as_ref())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.executors.len()
    }
}

/// Makes an executor known, under an id that was never given before.
pub(crate) fn register(
    turn: &mut Turn<'_>,
    request: pb::RegisterExecutorRequest,
    ttl_ms: u64,
    grace_ms: u64,
) -> Outcome {
    let ended = (ExecutorId(request.ended_executor), Incarnation(request.ended_incarnation));
    if let Some(former) = turn.records.tables().fleet.get(ended.0)
        && former.incarnation == ended.1.0
        && !bug::planted(Bug::JobFormerStays)
    {
        mark::hit(Mark::RegisterReplaces);
        let lease = LeaseId(former.lease);
        gone(turn, ended.0, false);
        turn.delete(&RecordKey::Lease(lease));
    }
    mark::hit_when(
        || ended.0.0 != 0 && turn.records.tables().fleet.get(ended.0).is_none(),
        Mark::RegisterAfterExpiry,
    );
    if turn.records.tables().fleet.len() >= EXECUTORS {
        return Err(exhausted(format!(
            "{EXECUTORS} executors are registered: that is the limit; remove some"
        )));
    }
    let id = ExecutorId(turn.counters.executors.saturating_add(1));
    let mut id = id;
    if bug::planted(Bug::JobExecutorIdReused) {
        let newest = turn.records.tables().fleet.executors.keys().next_back().copied();
        id = newest.unwrap_or_default().next();
    }
    turn.counters.executors = id.0;
    let lease = lease::grant(turn, ttl_ms, grace_ms, Holder::Executor(id.0));
    let executor = pb::Executor {
        id: id.0,
        name: request.name,
        address: request.address,
        slots: request.slots,
        incarnation: request.incarnation,
        lease: lease.0,
        registered_wall_ms: turn.wall_ms,
        labels: request.labels,
        removing: false,
    };
    turn.put_executor(id, executor);
    turn.trace.push(TraceEvent::ExecutorRegistered { executor: id });
    Ok(Body::RegisterExecutor(pb::RegisterExecutorReply { executor: id.0, ttl_ms, grace_ms }))
}

/// An executor that has stopped its work leaves at once.
pub(crate) fn deregister(turn: &mut Turn<'_>, id: ExecutorId, incarnation: Incarnation) -> Outcome {
    let executor = find(turn, id)?;
    if executor.incarnation != incarnation.0 {
        let newest = executor.incarnation;
        return Err(stale(format!("incarnation is {incarnation}: executor {id} is at incarnation {newest}")));
    }
    let lease = LeaseId(executor.lease);
    mark::hit(Mark::Deregistered);
    gone(turn, id, false);
    turn.delete(&RecordKey::Lease(lease));
    Ok(Body::DeregisterExecutor(pb::DeregisterExecutorReply {}))
}

/// Asks for an executor to go: nothing is placed on it any more, and it goes when its lease has run out.
pub(crate) fn remove(turn: &mut Turn<'_>, id: ExecutorId) -> Outcome {
    let executor = find(turn, id)?;
    mark::hit_if(executor.removing, Mark::RemovedTwice);
    if !executor.removing && !bug::planted(Bug::JobRemoveForgotten) {
        turn.put_executor(id, pb::Executor { removing: true, ..executor.as_ref().clone() });
    }
    Ok(Body::RemoveExecutor(pb::RemoveExecutorReply {}))
}

/// An executor is no more. In the same entry its tasks are free to run elsewhere. Its lease is the caller's to delete.
pub(crate) fn gone(turn: &mut Turn<'_>, id: ExecutorId, lost: bool) {
    let mut held: Vec<_> = turn.records.tables().jobs.placement.held(id).cloned().collect();
    if bug::planted(Bug::JobLostWithExecutor) {
        held.clear();
    }
    mark::hit_if(lost && !held.is_empty(), Mark::ExecutorLostHolding);
    mark::hit_if(!lost && !held.is_empty(), Mark::ExecutorLeftHolding);
    for key in &held {
        task::executor_gone(turn, key, lost);
    }
    turn.delete(&RecordKey::Executor(id));
    turn.trace.push(TraceEvent::ExecutorGone { executor: id, lost });
}

fn find(turn: &Turn<'_>, id: ExecutorId) -> Result<Arc<pb::Executor>, pb::Refusal> {
    let executor = turn.records.tables().fleet.executors.get(&id);
    mark::hit_if(executor.is_none(), Mark::ExecutorUnknown);
    executor
        .cloned()
        .ok_or_else(|| not_found(format!("executor {id}: there is none; ids are never used again")))
}
