//! After the faults, when the core is mended: within a bound every accepted job must have ended, the executors of the core
//! must serve, and its masters must agree. Before a stall is called a bug, it is asked whether the cluster could have become
//! whole at all.

use super::{
    clients::Person,
    damage::findings,
    history::open_jobs,
    stage::{MILLISECOND, Stage, World},
};
use crate::{
    master::CLUSTER,
    oracle::{Rule, jobs::job_ended},
    plan::{ClientPlan, CorePlan},
    world::recoverable::{CoreMaster, Means, recoverable},
};
use quorate_core::types::NodeId;
use quorate_net::storage::{Identity, Storage, StorageOptions};
use quorate_proto::v1::{self as pb, client_request::Body as Ask};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// Between two looks, milliseconds.
const LOOK_MS: u64 = 100;
/// While an executor outside of the core comes and goes, masters need to hold what was committed so long ago, milliseconds.
const LOOK_BACK_MS: u64 = 1_000;
/// Services are canceled so often.
const CANCEL_EVERY_MS: u64 = 1_500;

impl Stage {
    /// Waits until the cluster is whole.
    pub(super) async fn settle(&self, person: &mut Person) {
        let begun = self.now();
        let most = self.world().plan.settle_ms * MILLISECOND;
        let (mut canceled, core) = (0, self.world().core());
        // What was committed at each look, the oldest first.
        let mut looks: VecDeque<(u64, u64)> = VecDeque::new();
        loop {
            self.wait_ms(LOOK_MS).await;
            for &place in &core.executors {
                // An agent that was asked to end has ended.
                self.start_agent(usize::from(place));
            }
            self.cut_outside_leader();
            self.operator_tidies(&core).await;
            let (open, apart, busy, idle, changing) = {
                let world = self.world();
                if world.ledger.violation.is_some() {
                    return;
                }
                looks.push_back((world.time(), world.commits.frontier().0));
                while looks.len() > (LOOK_BACK_MS / LOOK_MS) as usize {
                    looks.pop_front();
                }
                let apart = world.apart(&core, begun, looks.front().copied());
                let (open, changing) = (open_jobs(&world.commits), world.changing(&core));
                (open, apart, world.clients_busy, world.idle(&core), changing)
            };
            let still = apart.is_none() && busy == 0 && idle.is_none() && changing.is_none();
            if open.is_empty() && still && self.world().begun() {
                let mut world = self.world();
                world.ledger.hold(Rule::Liveness, true, String::new);
                world.event("", "whole", || "every job has ended, all masters agree".to_owned());
                return;
            }
            let since = self.now() - begun;
            if since > most {
                let mut world = self.world();
                if let Err(reason) = recoverable(&world.means(&core)) {
                    world.event("", "excused", || reason.clone());
                    world.count("stall excused");
                    world.excused = Some(reason);
                    return;
                }
                let message = format!(
                    "{} ms after the faults, for {core:?}: open jobs: {open:?}; apart: {apart:?}; busy clients: {busy}; \
                     executors: {idle:?}; members: {changing:?}",
                    since / MILLISECOND
                );
                return world.fail(Rule::Liveness, message);
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
                let mut world = self.world();
                world.relieve_all(place);
                (Arc::clone(&world.masters[place].disk), world.masters[place].storage)
            };
            let identity = Identity::new(CLUSTER, NodeId(place as u64 + 1), storage);
            let opened = Storage::open(disk, identity, StorageOptions { segment_bytes: 64 << 10 });
            let mut world = self.world();
            let world = &mut *world;
            match opened {
                Ok((log, recovered)) => {
                    world.commits.recovered(&mut world.ledger, place, &recovered);
                    let rotten = world.masters[place].troubles.rotten;
                    let found = findings(&log.snapshots());
                    let well = found.as_ref().is_ok_and(Vec::is_empty);
                    world.ledger.hold(Rule::DiskContract, rotten || well, || {
                        format!("node {}: a scrub finds {found:?}", place + 1)
                    });
                }
                Err(_) if world.masters[place].troubles.rotten => {}
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
    /// Masters of the core that differ from the committed log, or are behind. While something still happens, it is enough
    /// to hold what was committed at a look a while `ago`.
    fn apart(&self, core: &CorePlan, since: u64, ago: Option<(u64, u64)>) -> Option<String> {
        let frontier = self.commits.frontier().0;
        let inside = core.masters.iter().map(|&place| usize::from(place));
        let said: Vec<Option<(u64, u64)>> = inside
            .filter(|place| self.is_member(*place))
            .map(|place| &self.masters[place])
            .filter(|master| !master.wiped && !master.gone)
            .map(|master| {
                let (asked, status) = master.status.as_ref()?;
                (*asked > since).then_some((*asked, status.applied_index))
            })
            .collect();
        let goes_on = ago.filter(|(_, before)| *before < frontier);
        let holds = |said: &Option<(u64, u64)>| match (said, goes_on) {
            (None, _) => false,
            (Some((_, applied)), None) => *applied == frontier,
            (Some((asked, applied)), Some((looked, before))) => *asked > looked && *applied >= before,
        };
        (said.is_empty() || !said.iter().all(holds)).then(|| format!("applied {said:?} of {frontier}"))
    }

    /// An executor of the core that has no lease, or runs something although every job has ended.
    fn idle(&self, core: &CorePlan) -> Option<String> {
        let apart = |at: usize| {
            let executor = &self.executors[at];
            let serves = executor.up && executor.lease_until > executor.clock.local(self.time());
            !serves || self.processes.values().any(|process| process.machine == at && process.process.up)
        };
        let mut inside = core.executors.iter().map(|&place| usize::from(place));
        inside.find(|&at| apart(at)).map(|at| self.executor_line(at))
    }

    /// What is really there to become whole with.
    fn means(&self, core: &CorePlan) -> Means {
        let intact = |&place: &u8| {
            let master = &self.masters[usize::from(place)];
            CoreMaster { intact: !master.wiped && !master.gone }
        };
        let jobs = self.commits.reference.state.jobs().map(|(_, job)| job);
        let open = jobs.filter(|job| !job_ended(job.state()));
        let members = self.membership();
        let votes = |place: &&u8| members.is_voter(NodeId(u64::from(**place) + 1));
        Means {
            voters: members.all_voters().collect::<BTreeSet<_>>().len(),
            masters: core.masters.iter().filter(votes).map(intact).collect(),
            begun: self.joined_by_all(),
            executors: core.executors.len(),
            slots: self.plan.executors.slots,
            open: open.map(|job| job.specification.as_ref().map_or(1, |what| what.slots_per_task)).collect(),
        }
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
