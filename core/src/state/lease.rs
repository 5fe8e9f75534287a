//! Leases: everything that can die holds one. Keep-alives are the leader's business; here is what is replicated.

use super::{Turn, fleet, records::RecordKey, requests::Requests};
use crate::{
    bug::{self, Bug},
    limits::EXPIRIES,
    mark::{self, Mark},
    types::{ExecutorId, LeaseId, SessionId},
};
use imbl::OrdMap;
use pb::lease::Holder;
use quorate_proto::v1 as pb;
use std::sync::Arc;

/// Leases by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    leases: OrdMap<LeaseId, Arc<pb::Lease>>,
}

impl Table {
    /// A record was put or deleted.
    pub(crate) fn changed(&mut self, id: LeaseId, new: Option<Arc<pb::Lease>>) {
        match new {
            Some(lease) => self.leases.insert(id, lease),
            None => self.leases.remove(&id),
        };
    }

    /// One lease.
    pub(crate) fn get(&self, id: LeaseId) -> Option<&pb::Lease> {
        self.leases.get(&id).map(Arc::as_ref)
    }

    /// All, in order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &pb::Lease> {
        self.leases.values().map(Arc::as_ref)
    }
}

/// Gives a lease.
pub(crate) fn grant(turn: &mut Turn<'_>, ttl_ms: u64, grace_ms: u64, holder: Holder) -> LeaseId {
    let id = LeaseId(turn.counters.leases.saturating_add(1));
    turn.counters.leases = id.0;
    turn.put_lease(id, pb::Lease { id: id.0, ttl_ms, grace_ms, holder: Some(holder) });
    id
}

/// These leases ran out by the leader's clock. Those that are gone already are passed over.
pub(crate) fn expire(turn: &mut Turn<'_>, requests: &mut Requests, leases: &[LeaseId]) {
    for &id in leases.iter().take(EXPIRIES) {
        let Some(holder) = turn.records.tables().leases.get(id).map(|lease| lease.holder) else {
            mark::hit(Mark::LeaseGone);
            continue;
        };
        match holder {
            Some(Holder::Executor(executor)) => fleet::gone(turn, ExecutorId(executor), true),
            Some(Holder::Session(_)) if bug::planted(Bug::SessionOutlivesLease) => {}
            Some(Holder::Session(session)) => {
                mark::hit(Mark::SessionExpired);
                requests.close(SessionId(session));
            }
            None => {}
        }
        turn.delete(&RecordKey::Lease(id));
    }
}
