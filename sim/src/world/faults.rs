//! How each fault begins and ends.

use super::{Event, MILLISECOND, World};
use crate::{
    network::{Endpoint, Trouble},
    plan::FaultKind,
};
use quorate_core::{agent::AgentInput, raft::Role, types::StorageId};

const MICROSECONDS: u64 = 1_000;

impl World {
    pub(super) fn fault_begins(&mut self, fault: usize) {
        if self.settling {
            return;
        }
        let planned = self.plan.faults[fault].clone();
        let ends = self.time + planned.for_ms * MILLISECOND;
        self.mark(50, fault as u8, 0, &[]);
        self.note("fault", || format!("{fault} for {} ms: {:?}", planned.for_ms, planned.kind));
        if self.begin_fault(fault, &planned.kind, ends) {
            self.count(planned.kind.name());
            self.queue.push(ends, Event::FaultEnd { fault });
        }
    }

    /// Whether it took effect.
    fn begin_fault(&mut self, fault: usize, kind: &FaultKind, ends: u64) -> bool {
        let masters = self.masters.len() as u8;
        let others =
            |side: &[u8]| -> Vec<u8> { (0..masters).filter(|master| !side.contains(master)).collect() };
        match kind {
            FaultKind::Crash { master } => self.down(*master, false, ends),
            FaultKind::PowerLoss { master } => self.down(*master, true, ends),
            FaultKind::PowerLossAll {} => {
                // Every one of them, also behind one that is down already.
                (0..masters).map(|master| self.down(master, true, ends)).fold(false, |any, down| any | down)
            }
            FaultKind::Pause { master } => {
                self.masters[usize::from(*master)].pauses += 1;
                true
            }
            FaultKind::Wipe { master } => self.wipe(*master, ends),
            FaultKind::SyncError { master, restart } => self.fail_sync(*master, *restart),
            FaultKind::SlowDisk { master, sync_ms } => {
                self.masters[usize::from(*master)].slow.push((fault, sync_ms * MICROSECONDS));
                true
            }
            FaultKind::Cut { side } => {
                let far = others(side);
                let mut links = between(side, &far);
                links.extend(between(&far, side));
                self.cut(fault, links)
            }
            FaultKind::CutOneWay { side } => self.cut(fault, between(side, &others(side))),
            FaultKind::Ring {} => {
                let far = |a: u8, b: u8| masters > 3 && a.abs_diff(b) != 1 && a.abs_diff(b) != masters - 1;
                // Of three, each is a neighbour of each: one link is taken out, so that they form a line.
                let line = |a: u8, b: u8| masters == 3 && a.abs_diff(b) == 2;
                let all = (0..masters).flat_map(|a| (0..masters).map(move |b| (a, b)));
                let links = all.filter(|&(a, b)| far(a, b) || line(a, b));
                self.cut(fault, links.map(|(a, b)| (Endpoint::Master(a), Endpoint::Master(b))).collect())
            }
            FaultKind::IsolateLeader { one_way } => {
                let Some(leader) = self.leader() else { return false };
                let far = others(&[leader]);
                let mut links = between(&[leader], &far);
                if !one_way {
                    links.extend(between(&far, &[leader]));
                }
                self.cut(fault, links)
            }
            FaultKind::Flap { period_ms, .. } => {
                self.queue.push(self.time, Event::Flap { fault, cut: true });
                *period_ms > 0
            }
            FaultKind::CutExecutor { executor } => {
                let executor = Endpoint::Executor(*executor);
                let both =
                    |master: u8| [(executor, Endpoint::Master(master)), (Endpoint::Master(master), executor)];
                self.cut(fault, (0..masters).flat_map(both).collect())
            }
            FaultKind::CutClients { master } => {
                let clients = 0..self.clients.len() as u8;
                let far = others(&[*master]);
                let links = clients.flat_map(|client| far.iter().map(move |&master| (client, master)));
                let both = |(client, master)| {
                    let (client, master) = (Endpoint::Client(client), Endpoint::Master(master));
                    [(client, master), (master, client)]
                };
                let links = links.flat_map(both).collect();
                self.cut(fault, links)
            }
            FaultKind::Delay { ppm, most_ms } => {
                let trouble = Trouble { tail_ppm: *ppm, tail_us: most_ms * MICROSECONDS, loss_ppm: 0 };
                self.network.trouble(fault, trouble);
                true
            }
            FaultKind::Loss { ppm } => {
                self.network.trouble(fault, Trouble { loss_ppm: *ppm, ..Trouble::default() });
                true
            }
            FaultKind::WallStep { master, by_ms } => {
                self.masters[usize::from(*master)].clock.step_wall(*by_ms);
                true
            }
            FaultKind::AgentCrash { executor } => {
                let run = self.executors[usize::from(*executor)].run;
                self.queue.push(ends, Event::StartAgent { executor: *executor, run });
                self.executors[usize::from(*executor)].freezes == 0 && self.stop_agent(*executor)
            }
            FaultKind::AgentPause { executor } => {
                self.executors[usize::from(*executor)].pauses += 1;
                true
            }
            FaultKind::AgentShutdown { executor } => {
                let machine = &self.executors[usize::from(*executor)];
                let up = machine.agent.is_some() && machine.freezes == 0;
                if up {
                    self.step_agent(usize::from(*executor), AgentInput::Shutdown);
                }
                up
            }
            FaultKind::MachineFreeze { executor } => {
                self.freeze(*executor);
                true
            }
        }
    }

    pub(super) fn fault_ends(&mut self, fault: usize) {
        if self.settling {
            return;
        }
        self.mark(51, fault as u8, 0, &[]);
        self.note("fault end", || fault.to_string());
        self.uncut(fault);
        self.network.calm(fault);
        match self.plan.faults[fault].kind.clone() {
            FaultKind::Pause { master } => self.unpause_master(usize::from(master)),
            FaultKind::SlowDisk { master, .. } => {
                self.masters[usize::from(master)].slow.retain(|(number, _)| *number != fault);
            }
            FaultKind::SyncError { master, restart: true } => {
                // It has stopped by itself, or no write came: then the disk is well again.
                self.masters[usize::from(master)].disk.failing = false;
                self.restart(master);
            }
            FaultKind::WallStep { master, by_ms } => {
                self.masters[usize::from(master)].clock.step_wall(-by_ms);
            }
            FaultKind::AgentPause { executor } => self.unpause_agent(usize::from(executor)),
            FaultKind::AgentShutdown { executor } => {
                let run = self.executors[usize::from(executor)].run;
                // Whatever is left of it is killed before it starts again.
                self.stop_agent(executor);
                self.start_agent(executor, run);
            }
            FaultKind::MachineFreeze { executor } => self.thaw(executor),
            _ => {}
        }
    }

    fn down(&mut self, master: u8, power: bool, ends: u64) -> bool {
        let run = self.masters[usize::from(master)].run;
        let down = self.stop_master(master, power);
        if down {
            self.queue.push(ends, Event::StartMaster { master, run });
        }
        down
    }

    fn restart(&mut self, master: u8) {
        let run = self.masters[usize::from(master)].run;
        self.start_master(master, run);
    }

    /// Only once the cluster has begun: before that, an empty directory is as good as any.
    fn wipe(&mut self, master: u8, ends: u64) -> bool {
        if !self.begun() {
            return false;
        }
        self.stop_master(master, true);
        let lost = &mut self.masters[usize::from(master)];
        lost.term_lost = lost.term_floor();
        lost.disk = crate::disk::Disk::default();
        lost.storage = StorageId(lost.storage.0 + crate::master::WIPED_STORAGE);
        lost.wiped = true;
        let run = lost.run;
        self.queue.push(ends, Event::StartMaster { master, run });
        true
    }

    fn fail_sync(&mut self, master: u8, restart: bool) -> bool {
        if !restart && !self.begun() {
            return false;
        }
        let broken = &mut self.masters[usize::from(master)];
        broken.disk.failing = true;
        broken.gone |= !restart;
        broken.node.is_some()
    }

    /// Whether something was committed.
    pub(super) fn begun(&self) -> bool {
        let newest = self.masters.iter().filter_map(|master| master.node.as_ref());
        newest.map(|node| node.raft().commit().0).max().unwrap_or(0) > 0
    }

    fn leader(&self) -> Option<u8> {
        let leads = |at: &usize| {
            let raft = self.masters[*at].node.as_ref()?.raft();
            (raft.role() == Role::Leader).then_some((raft.term(), *at))
        };
        (0..self.masters.len()).filter_map(|at| leads(&at)).max().map(|(_, at)| at as u8)
    }

    fn cut(&mut self, fault: usize, links: Vec<(Endpoint, Endpoint)>) -> bool {
        for &(from, to) in &links {
            self.network.cut(from, to);
        }
        self.cuts.insert(fault, links);
        true
    }

    fn uncut(&mut self, fault: usize) {
        for (from, to) in self.cuts.remove(&fault).unwrap_or_default() {
            let open = self.network.mend(from, to);
            if let (Endpoint::Master(one), Endpoint::Master(other), true) = (from, to, open)
                && one < other
            {
                self.connect(one, other);
            }
        }
    }

    pub(super) fn flap(&mut self, fault: usize, cut: bool) {
        let planned = self.plan.faults[fault].clone();
        let FaultKind::Flap { side, period_ms } = planned.kind else { return };
        let ended = self.time >= (planned.at_ms + planned.for_ms) * MILLISECOND;
        self.uncut(fault);
        if ended || self.settling {
            return;
        }
        if cut {
            let far: Vec<u8> =
                (0..self.masters.len() as u8).filter(|master| !side.contains(master)).collect();
            let mut links = between(&side, &far);
            links.extend(between(&far, &side));
            self.cut(fault, links);
        }
        self.queue.push(self.time + period_ms * MILLISECOND, Event::Flap { fault, cut: !cut });
    }

    pub(super) fn unpause_master(&mut self, at: usize) {
        let master = &mut self.masters[at];
        master.pauses = master.pauses.saturating_sub(1);
        if master.pauses == 0 {
            self.resume_master(at);
        }
    }

    pub(super) fn unpause_agent(&mut self, at: usize) {
        let executor = &mut self.executors[at];
        executor.pauses = executor.pauses.saturating_sub(1);
        if executor.pauses == 0 && executor.freezes == 0 {
            self.resume_agent(at);
        }
    }
}

fn between(from: &[u8], to: &[u8]) -> Vec<(Endpoint, Endpoint)> {
    let pairs = from.iter().flat_map(|&a| to.iter().map(move |&b| (a, b)));
    pairs.map(|(a, b)| (Endpoint::Master(a), Endpoint::Master(b))).collect()
}
