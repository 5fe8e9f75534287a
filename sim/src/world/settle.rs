//! After the faults: what can be mended is mended, and within a bound every accepted job must have ended, and all
//! replicas must agree. What is broken for good stays broken.

use super::{Event, MILLISECOND, World};
use crate::{
    oracle::{Rule, jobs::job_ended},
    plan::Operation,
};
use quorate_core::{Node, types::Index};
use quorate_proto::v1::{self as pb, client_reply::Body, client_request::Body as Ask};
use std::collections::BTreeSet;

/// Between two looks.
const LOOK: u64 = 100 * MILLISECOND;
/// Services are canceled from so long after the faults on.
const CANCEL_EVERY: u64 = 1_500 * MILLISECOND;

impl World {
    pub(super) fn settle(&mut self) {
        self.settling = true;
        if let Some(cost) = &mut self.cost {
            cost.stop();
        }
        self.note("settle", || "the faults are over".to_owned());
        self.mark(60, 0, 0, &[]);
        self.cuts.clear();
        self.network.heal();
        let left_out = if self.begun() { self.plan.left_out.clone() } else { Vec::new() };
        for place in left_out {
            self.masters[usize::from(place)].gone = true;
            self.stop_master(place, true);
        }
        for at in 0..self.masters.len() {
            let master = &mut self.masters[at];
            master.slow.clear();
            master.disk.failing &= master.gone;
            if master.pauses > 0 {
                master.pauses = 0;
                self.resume_master(at);
            }
            let run = self.masters[at].run;
            self.start_master(at as u8, run);
        }
        for one in 0..self.masters.len() as u8 {
            for other in 0..one {
                self.connect(other, one);
            }
        }
        for at in 0..self.executors.len() {
            if self.executors[at].freezes > 0 {
                self.executors[at].freezes = 1;
                self.thaw(at as u8);
            }
            if self.executors[at].pauses > 0 {
                self.executors[at].pauses = 0;
                self.resume_agent(at);
            }
            let run = self.executors[at].run;
            self.queue.push(self.time + LOOK, Event::StartAgent { executor: at as u8, run });
        }
        self.queue.push(self.time + LOOK, Event::SettleCheck);
    }

    pub(super) fn settle_check(&mut self) {
        self.mark(61, 0, 0, &[]);
        let open = self.open_jobs();
        let since = self.time - self.plan.duration_ms * MILLISECOND;
        if since % CANCEL_EVERY < LOOK {
            self.cancel_services(&open);
        }
        let apart = self.apart();
        let busy = self.clients.iter().any(|client| client.busy.is_some() || !client.urgent.is_empty());
        if open.is_empty() && apart.is_none() && !busy && self.begun() {
            self.finished = true;
            self.ledger.hold(Rule::Liveness, true, String::new);
            self.note("whole", || "every job has ended, all replicas agree".to_owned());
            return;
        }
        if since > self.plan.settle_ms * MILLISECOND {
            let open: Vec<String> =
                open.iter().map(|(id, state, _)| format!("{id} {state:?} [{}]", self.tasks(id))).collect();
            let message = format!(
                "{} ms after the faults: open jobs: {}; apart: {apart:?}, clients busy: {busy}",
                since / MILLISECOND,
                open.join(", ")
            );
            self.ledger.fail(Rule::Liveness, message);
            return;
        }
        self.queue.push(self.time + LOOK, Event::SettleCheck);
    }

    fn newest(&self) -> Option<&Node> {
        self.masters.iter().filter_map(|master| master.node.as_ref()).max_by_key(|node| node.state().index())
    }

    /// Id, state, and whether it is a service.
    fn open_jobs(&self) -> Vec<(String, pb::JobState, bool)> {
        let Some(node) = self.newest() else { return Vec::new() };
        let ask = pb::ListJobsRequest { limit: 1_000, ..pb::ListJobsRequest::default() };
        let reply = node.state().query(&pb::ClientRequest { body: Some(Ask::ListJobs(ask)) });
        let Some(Body::ListJobs(list)) = reply.body else { return Vec::new() };
        let jobs = list.jobs.into_iter().filter_map(|status| status.job);
        jobs.filter(|job| !job_ended(job.state()))
            .map(|job| {
                let state = job.state();
                let service = job.specification.is_some_and(|what| what.r#type() == pb::JobType::Service);
                (job.id, state, service)
            })
            .collect()
    }

    fn tasks(&self, id: &str) -> String {
        let ask = pb::GetJobRequest { id: id.to_owned(), tasks: true, ..pb::GetJobRequest::default() };
        let Some(node) = self.newest() else { return String::new() };
        let reply = node.state().query(&pb::ClientRequest { body: Some(Ask::GetJob(ask)) });
        let Some(Body::Job(status)) = reply.body else { return String::new() };
        let tasks = status.tasks.iter().map(|task| {
            let (state, executor, wait) = (task.state(), task.executor, task.not_before_ms);
            format!("{}: {state:?} epoch {} executor {executor} not before {wait}", task.number, task.epoch)
        });
        let slots = status.job.and_then(|job| job.specification).map_or(0, |what| what.slots_per_task);
        format!("slots {slots}; {}", tasks.collect::<Vec<_>>().join(", "))
    }

    /// Somebody who is not busy cancels the services that nobody has canceled.
    fn cancel_services(&mut self, open: &[(String, pb::JobState, bool)]) {
        let idle = |client: &crate::client::Client| client.busy.is_none() && client.urgent.is_empty();
        let Some(place) = self.clients.iter().position(idle) else { return };
        for (id, state, service) in open {
            if *service && *state != pb::JobState::Canceling {
                self.clients[place].urgent.push_back(Operation::Cancel { id: id.clone(), timeout_ms: 2_000 });
            }
        }
        self.queue.push(self.time, Event::ClientNext { client: place as u8 });
    }

    /// Replicas that differ, or are behind. Nodes without a vote count only among those that agree.
    fn apart(&self) -> Option<String> {
        let live =
            self.masters.iter().filter(|master| !master.wiped).filter_map(|master| master.node.as_ref());
        let positions: BTreeSet<(Index, u128)> =
            live.map(|node| (node.state().index(), node.state().hash().0)).collect();
        (positions.len() != 1).then(|| format!("{positions:x?}"))
    }
}
