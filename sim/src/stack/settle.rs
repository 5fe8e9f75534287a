//! After the faults: what can be mended is mended, and within a bound every accepted job must have ended, and all masters
//! must agree. What is broken for good stays broken.

use super::{
    clients::Person,
    history::open_jobs,
    stage::{MILLISECOND, Stage, World},
};
use crate::{master::CLUSTER, oracle::Rule, plan::ClientPlan};
use quorate_core::types::NodeId;
use quorate_net::storage::{Identity, Storage, StorageOptions};
use quorate_proto::v1::{self as pb, client_request::Body as Ask};
use std::{collections::BTreeSet, sync::Arc};

/// Between two looks, milliseconds.
const LOOK_MS: u64 = 100;
/// Services are canceled so often.
const CANCEL_EVERY_MS: u64 = 1_500;

impl Stage {
    /// Mends everything.
    pub(super) async fn mend(&self) {
        let (masters, executors) = {
            let mut world = self.world();
            world.settling = true;
            world.event("", "settle", || "the faults are over".to_owned());
            world.links.heal();
            world.apply_links();
            let left_out = if world.begun() { world.plan.left_out.clone() } else { Vec::new() };
            for place in left_out {
                world.masters[usize::from(place)].gone = true;
            }
            (world.masters.len(), world.executors.len())
        };
        // Whoever is being killed is dead by then.
        self.wait_ms(50).await;
        for place in 0..masters {
            while self.world().masters[place].pauses > 0 {
                self.resume_master(place);
            }
            let (gone, stopped) = {
                let mut world = self.world();
                let master = &mut world.masters[place];
                master.slow.clear();
                if !master.gone && !master.stopped {
                    // A fault that was ordered and did not come.
                    master.disk.crash();
                }
                (master.gone, master.stopped)
            };
            if gone || stopped {
                self.take_down(place, gone).await;
            }
            let points = core::mem::take(&mut self.world().masters[place].points);
            for (point, _) in points.into_values() {
                self.switch_point(place, point).await;
            }
            self.bring_up(place);
        }
        for place in 0..executors {
            self.mend_executor(place);
        }
    }

    /// Waits until the cluster is whole.
    pub(super) async fn settle(&self, person: &mut Person) {
        let begun = self.now();
        let most = self.world().plan.settle_ms * MILLISECOND;
        let (mut canceled, executors) = (0, self.world().executors.len());
        loop {
            self.wait_ms(LOOK_MS).await;
            for place in 0..executors {
                // An agent that was asked to end has ended.
                self.start_agent(place);
            }
            let (open, apart, busy) = {
                let world = self.world();
                if world.ledger.violation.is_some() {
                    return;
                }
                (open_jobs(&world.commits), world.apart(begun), world.clients_busy)
            };
            if open.is_empty() && apart.is_none() && busy == 0 && self.world().begun() {
                let mut world = self.world();
                world.ledger.hold(Rule::Liveness, true, String::new);
                world.event("", "whole", || "every job has ended, all masters agree".to_owned());
                return;
            }
            let since = self.now() - begun;
            if since > most {
                let message = format!(
                    "{} ms after the faults: open jobs: {open:?}; apart: {apart:?}; busy clients: {busy}",
                    since / MILLISECOND
                );
                return self.world().fail(Rule::Liveness, message);
            }
            if since / MILLISECOND >= canceled {
                canceled += CANCEL_EVERY_MS;
                for (id, ..) in open.into_iter().filter(|(.., service)| *service) {
                    let ask = pb::CancelJobRequest { id, timeout_ms: 2_000, request_id: None };
                    person.ask(Ask::CancelJob(ask)).await;
                }
            }
        }
    }

    /// Reads every key once more: what was acknowledged must be there.
    pub(super) async fn read_all(&self, person: &mut Person) {
        let keys: Vec<_> = self.world().commits.reference.keys.keys().cloned().collect();
        for key in keys {
            person.ask(Ask::Get(pb::GetRequest { key, stale: false })).await;
        }
        person.ask(Ask::List(pb::ListRequest { limit: 1_000, ..Default::default() })).await;
        person.ask(Ask::ListJobs(pb::ListJobsRequest { limit: 1_000, ..Default::default() })).await;
    }

    /// Opens every directory once more, as the next run of its master would.
    pub(super) async fn open_all(&self) {
        let masters = self.world().masters.len();
        for place in 0..masters {
            self.take_down(place, false).await;
            let (disk, storage) = {
                let world = self.world();
                (Arc::clone(&world.masters[place].disk), world.masters[place].storage)
            };
            let identity = Identity::new(CLUSTER, NodeId(place as u64 + 1), storage);
            let opened = Storage::open(disk, identity, StorageOptions::default());
            let mut world = self.world();
            let world = &mut *world;
            match opened {
                Ok((_, recovered)) => {
                    world.commits.recovered(&mut world.ledger, place, &recovered);
                }
                Err(error) => {
                    world.fail(Rule::DiskContract, format!("node {} cannot start: {error}", place + 1));
                }
            }
        }
        let mut world = self.world();
        let world = &mut *world;
        world.history.linearizable(&mut world.ledger, &world.commits);
    }
}

impl World {
    /// Masters that differ from the committed log, or are behind.
    fn apart(&self, since: u64) -> Option<String> {
        let frontier = self.commits.frontier().0;
        let live = self.masters.iter().filter(|master| !master.wiped && !master.gone);
        let said: BTreeSet<Option<u64>> = live
            .map(|master| {
                let (asked, status) = master.status.as_ref()?;
                (*asked > since).then_some(status.applied_index)
            })
            .collect();
        (said != BTreeSet::from([Some(frontier)])).then(|| format!("applied {said:?} of {frontier}"))
    }
}

/// The client that mends and looks when the faults are over.
pub(super) const fn inspector() -> ClientPlan {
    ClientPlan {
        session_ttl_ms: 0,
        timeout_ms: 1_000,
        give_up_ms: 10_000,
        hoards: false,
        operations: Vec::new(),
    }
}
