//! After the faults: a quorum of masters, some executors and all clients are healed. Whatever else is broken stays so for
//! ever: cuts, clogs, processes that are down or stand still, disks that are slow or full. Faults that come and go heal
//! by luck; only what never ends shows that nobody waits for it. Within a bound every accepted job must have ended, all
//! replicas of the core must agree, and clients must be served.

use super::{Event, MILLISECOND, World, recoverable::recoverable};
use crate::{
    executor::Executor,
    marks::SimMark,
    master::Master,
    network::Endpoint,
    oracle::{Rule, jobs::job_ended},
    plan::{CorePlan, FaultKind, Operation, between, both_ways},
};
use quorate_core::{Node, types::Index};
use quorate_proto::v1::{self as pb, client_reply::Body, client_request::Body as Ask};
use std::collections::BTreeSet;

/// Between two looks.
const LOOK: u64 = 100 * MILLISECOND;
/// How far back replicas that still get something new are compared.
const LOOK_BACK: u64 = 30_000 * MILLISECOND;
/// Services are canceled from so long after the faults on.
const CANCEL_EVERY: u64 = 1_500 * MILLISECOND;

impl World {
    /// Who is healed. A cluster that has not begun everywhere needs everybody.
    pub(super) fn core(&self) -> CorePlan {
        if let Some(core) = &self.core {
            return core.clone();
        }
        match &self.plan.core {
            Some(core) if self.known_to_all() && self.changes_members() => self.core_of_members(core.clone()),
            Some(core) if self.known_to_all() => core.clone(),
            _ => CorePlan {
                masters: (0..self.masters.len() as u8).collect(),
                executors: (0..self.executors.len() as u8).collect(),
            },
        }
    }

    pub(super) fn settle(&mut self) {
        self.give_up_cluster();
        let core = self.core();
        self.core = Some(core.clone());
        let leader = self.leader();
        self.settling = true;
        if let Some(cost) = &mut self.cost {
            cost.stop();
        }
        self.note("settle", || format!("the faults are over for {core:?}"));
        self.mark(60, 0, 0, &[]);
        self.marks
            .hit_if(leader.is_some_and(|leader| !core.masters.contains(&leader)), SimMark::SettleOutsideLed);
        self.heal_links(&core);
        let mut left_out = if self.begun() { self.plan.left_out.clone() } else { Vec::new() };
        left_out.retain(|place| !core.masters.contains(place) && self.may_lose(*place));
        for place in left_out {
            self.masters[usize::from(place)].gone = true;
            self.stop_master(place, true);
        }
        for at in 0..self.masters.len() {
            let outside = !core.masters.contains(&(at as u8));
            self.masters[at].outside = outside;
            if !outside {
                self.heal_master(at);
            }
        }
        for one in 0..self.masters.len() as u8 {
            for other in 0..one {
                self.connect(other, one);
            }
        }
        for at in 0..self.executors.len() {
            let outside = !core.executors.contains(&(at as u8));
            self.executors[at].outside = outside;
            if !outside {
                self.heal_executor(at);
            }
        }
        for place in 0..self.clients.len() {
            let client = &mut self.clients[place];
            client.doubles.clear();
            client.stalls = client.stalls.min(1);
            if self.plan.core.is_some() {
                client.last_wishes();
            }
            self.client_goes_on(place as u8);
            self.queue.push(self.time, Event::ClientNext { client: place as u8 });
        }
        self.still_broken();
        self.queue.push(self.time + LOOK, Event::SettleCheck);
    }

    /// Whether anything outside of the core is broken, of which nobody may notice anything.
    fn still_broken(&mut self) {
        let dead = |master: &Master| master.outside && (master.node.is_none() || master.pauses > 0);
        let lost = |executor: &Executor| {
            executor.outside && (executor.agent.is_none() || executor.pauses > 0 || executor.freezes > 0)
        };
        let (masters, executors) = (self.masters.iter().any(dead), self.executors.iter().any(lost));
        self.marks.hit_if(masters || executors, SimMark::SettleCrippled);
        self.marks.hit_if(executors, SimMark::SettleExecutorLost);
    }

    /// Among themselves, the masters and executors of the core hear each other, and clients hear everybody; all other links
    /// stay as they are.
    fn heal_links(&mut self, core: &CorePlan) {
        if self.plan.core.is_none() {
            self.cuts.clear();
            return self.network.heal();
        }
        self.network.hold_for_ever();
        for &fault in &self.active {
            // Whoever is heard, and whose appends alone never come, leads for ever without committing: no network does that.
            if matches!(self.plan.faults[fault].kind, FaultKind::Filter { .. }) {
                self.network.calm(fault);
            }
        }
        let masters = core.masters.iter().map(|&place| Endpoint::Master(place));
        let executors = core.executors.iter().map(|&place| Endpoint::Executor(place));
        let clients = (0..self.clients.len() as u8).map(Endpoint::Client);
        let all: Vec<Endpoint> = masters.chain(executors).chain(clients).collect();
        for &from in &all {
            for &to in &all {
                self.network.heal_link(from, to);
            }
        }
        for client in (0..self.clients.len() as u8).map(Endpoint::Client) {
            for master in (0..self.masters.len() as u8).map(Endpoint::Master) {
                self.network.heal_link(client, master);
                self.network.heal_link(master, client);
            }
        }
    }

    /// Whoever leads outside of the core is cut off from it, however well it leads: the core must find a leader of its own.
    fn cut_outside_leader(&mut self) {
        let Some(leader) = self.leader().filter(|&leader| self.masters[usize::from(leader)].outside) else {
            return;
        };
        let inside: Vec<u8> =
            self.masters.iter().filter(|master| !master.outside).map(|master| master.place).collect();
        let own = Endpoint::Master(leader);
        if inside.iter().any(|&place| self.network.open(own, Endpoint::Master(place))) {
            self.note("cut off", || format!("node {} leads outside of the core", leader + 1));
            self.mark(62, leader, 0, &[]);
            for (from, to) in both_ways(&between(&[leader], &inside)) {
                self.network.cut(from, to);
            }
        }
    }

    fn heal_master(&mut self, at: usize) {
        let master = &mut self.masters[at];
        master.slow.clear();
        master.steps.clear();
        (master.full, master.unreadable) = (0, 0);
        master.disk.lie = None;
        master.disk.failing &= master.gone;
        if master.clock.is_frozen() {
            master.clock.freeze(self.time, false);
        }
        master.stalls = master.stalls.min(1);
        self.unstall(at);
        if self.masters[at].pauses > 0 {
            self.masters[at].pauses = 0;
            self.resume_master(at);
        }
        for (_, point, _) in core::mem::take(&mut self.masters[at].points) {
            self.switch_point(at, point);
        }
        let run = self.masters[at].run;
        self.start_master(at as u8, run);
    }

    fn heal_executor(&mut self, at: usize) {
        self.executors[at].drains.clear();
        self.executors[at].last_words = 0;
        self.executors[at].words.clear();
        if self.executors[at].freezes > 0 {
            self.executors[at].freezes = 1;
            self.thaw(at as u8);
        }
        if self.executors[at].pauses > 0 {
            self.executors[at].pauses = 0;
            self.resume_agent(at);
        }
    }

    pub(super) fn settle_check(&mut self) {
        self.mark(61, 0, 0, &[]);
        for place in 0..self.executors.len() {
            // One that was asked to end may only now have ended.
            let run = self.executors[place].run;
            self.start_agent(place as u8, run);
        }
        self.cut_outside_leader();
        self.operator_tidies();
        self.doubters_start_again();
        let open = self.open_jobs();
        let since = self.time - self.plan.duration_ms * MILLISECOND;
        if since % CANCEL_EVERY < LOOK {
            self.cancel_services(&open);
            self.disarm_alarms();
        }
        let apart = self.apart();
        let busy = self.clients.iter().any(|client| client.busy.is_some() || !client.urgent.is_empty());
        for at in 0..self.masters.len() {
            // One that stopped only when the faults were over, such as a slow one that was behind with a failed write.
            if !self.masters[at].outside && self.masters[at].node.is_none() {
                self.start_master(at as u8, self.masters[at].run);
            }
        }
        for at in 0..self.executors.len() {
            // One that was still leaving when the faults were over.
            if !self.executors[at].outside && self.executors[at].agent.is_none() {
                self.start_agent(at as u8, self.executors[at].run);
            }
        }
        let idle = self.executors_apart();
        let changing = self.changing().or_else(|| self.level_due());
        let unsure =
            self.states_differ().or_else(|| self.short_of_room()).or_else(|| self.differing_untold());
        let still = apart.is_none() && !busy && idle.is_none() && changing.is_none() && unsure.is_none();
        if open.is_empty() && still && self.begun() {
            self.finished = true;
            self.ledger.hold(Rule::Liveness, true, String::new);
            self.note("whole", || "every job has ended, all replicas agree".to_owned());
            return;
        }
        if since > self.plan.settle_ms * MILLISECOND {
            let rest = !busy && idle.is_none() && changing.is_none() && self.unsure_as_heard().is_none();
            if open.is_empty() && rest && self.begun() && self.apart_but_for_who_starves().is_none() {
                self.count("let off, because more would have to be written, or less");
                (self.finished, self.let_off) = (true, true);
                return;
            }
            if let Err(reason) = recoverable(&self.means()) {
                self.excused = Some(reason);
                self.count("stall excused");
                self.finished = true;
                return;
            }
            let open: Vec<String> =
                open.iter().map(|(id, state, _)| format!("{id} {state:?} [{}]", self.tasks(id))).collect();
            let message = format!(
                "{} ms after the faults: open jobs: {}; apart: {apart:?}, clients busy: {busy}, executors: {idle:?}, members: {changing:?}, {unsure:?}",
                since / MILLISECOND,
                open.join(", ")
            );
            self.ledger.fail(Rule::Liveness, message);
            return;
        }
        self.queue.push(self.time + LOOK, Event::SettleCheck);
    }

    pub(super) fn newest(&self) -> Option<&Node> {
        self.masters
            .iter()
            .filter(|master| !master.outside)
            .filter_map(|master| master.node.as_ref())
            .max_by_key(|node| node.state().index())
    }

    /// Id, state, and whether it is a service.
    pub(super) fn open_jobs(&self) -> Vec<(String, pb::JobState, bool)> {
        let Some(node) = self.newest() else { return Vec::new() };
        node.state()
            .jobs()
            .filter(|(_, job)| !job_ended(job.state()))
            .map(|(id, job)| {
                let kind = job.specification.as_ref().map(pb::JobSpecification::r#type);
                (id.as_str().to_owned(), job.state(), kind == Some(pb::JobType::Service))
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

    /// An executor that is not registered, or runs something although every job has ended.
    fn executors_apart(&self) -> Option<String> {
        let apart = |executor: &&Executor| {
            let serves = executor.agent.as_ref().is_some_and(|agent| agent.deadline().is_some());
            !serves || !executor.processes.is_empty()
        };
        self.executors.iter().filter(|executor| !executor.outside).find(apart).map(Executor::line)
    }

    /// Unless one leads outside of the core whom this one cannot hear, or who does not hear it, or cannot read what it lacks.
    pub(super) fn hears_its_leader(&self, master: &Master) -> bool {
        let Some(leader) = self.leader().filter(|&leader| self.masters[usize::from(leader)].outside) else {
            return true;
        };
        let readable = self.masters[usize::from(leader)].unreadable == 0;
        let (leader, own) = (Endpoint::Master(leader), Endpoint::Master(master.place));
        readable && !self.network.impaired(leader, own) && !self.network.impaired(own, leader)
    }

    /// Replicas that differ, or are behind. Nodes without a vote count only among those that agree. A leader outside of
    /// the core that has a quorum is as good as another; who cannot hear it, or not be heard by it, or needs a snapshot that
    /// it cannot read, stays behind. While something still happens, such as an executor outside of the core that comes and
    /// goes, it is enough to hold what was there a while ago.
    fn apart(&mut self) -> Option<String> {
        let positions = self.positions(|_| true);
        let newest = positions.last().map_or(Index(0), |(index, _)| *index);
        if self.looked_back.is_none_or(|(since, _)| self.time >= since + LOOK_BACK) {
            self.held_before = self.looked_back.map(|(_, index)| index);
            self.looked_back = Some((self.time, newest));
        }
        let oldest = positions.first().map_or(Index(0), |(index, _)| *index);
        let goes_on = self.looked_back.is_some_and(|(_, index)| newest > index);
        if goes_on && self.held_before.is_some_and(|held| held > Index(0) && oldest >= held) {
            return None;
        }
        (positions.len() != 1).then(|| format!("{positions:x?}"))
    }

    /// Where the replicas are that count, of those that `which` is true of.
    fn positions(&self, which: impl Fn(&Node) -> bool) -> BTreeSet<(Index, u128)> {
        let inside = |master: &&Master| {
            let counts = self.is_member(usize::from(master.place));
            counts && !master.wiped && !master.rolled && !master.outside && self.hears_its_leader(master)
        };
        let live = self.masters.iter().filter(inside).filter_map(|master| master.node.as_ref());
        live.filter(|node| which(node)).map(|node| (node.state().index(), node.state().hash().0)).collect()
    }

    fn unsure_as_heard(&self) -> Option<String> {
        let differ = self.states_differ_as_heard();
        differ.or_else(|| self.short_of_room()).or_else(|| self.differing_untold())
    }

    /// Somebody starves only while something is written.
    fn apart_but_for_who_starves(&self) -> Option<String> {
        let all = self.positions(|_| true);
        let before = self.held_before.or(self.looked_back.map(|(_, index)| index));
        let goes_on = before.is_some_and(|before| all.last().is_some_and(|(newest, _)| *newest > before));
        let positions = if goes_on { self.positions(|node| !self.starves(node)) } else { all };
        (positions.len() != 1).then(|| format!("{positions:x?}"))
    }

    /// Whether each entry begins a snapshot anew that a node needs: this cluster takes one for every few bytes, sends them slowly,
    /// and keeps nothing for who is behind. Operators are told to set it otherwise.
    pub(super) fn starves(&self, node: &Node) -> bool {
        /// One for every few entries.
        const FEW_BYTES: u64 = 3_000;
        let log = &self.plan.masters.log;
        let set = log.snapshot_bytes <= FEW_BYTES && log.held_bytes == 0 && log.snapshot_rate > 0;
        let leader = self.leader().and_then(|place| self.masters[usize::from(place)].node.as_ref());
        set && leader.is_some_and(|leader| leader.raft().first_index() > node.raft().last_index().next())
    }
}
