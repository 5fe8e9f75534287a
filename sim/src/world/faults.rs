//! How each fault begins and ends. Whatever one begins, its end takes back.

use super::{Event, MICROSECOND, MILLISECOND, World};
use crate::{marks::SimMark, plan::FaultKind};
use quorate_core::{agent::AgentInput, point::Point, raft::Role};

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
            self.active.insert(fault);
            self.count(planned.kind.name());
            self.queue.push(ends, Event::FaultEnd { fault });
        }
    }

    /// Whether it took effect.
    fn begin_fault(&mut self, fault: usize, kind: &FaultKind, ends: u64) -> bool {
        if let Some(trouble) = self.trouble_of(kind, ends) {
            self.network.trouble(fault, trouble);
            return true;
        }
        match kind {
            FaultKind::Flap { .. }
            | FaultKind::FlapExecutor { .. }
            | FaultKind::SwizzleClog { .. }
            | FaultKind::RestartLoop { .. }
            | FaultKind::WallResync { .. }
            | FaultKind::Zombie { .. }
            | FaultKind::AgentFlap { .. }
            | FaultKind::Disconnect { .. } => self.begin_ticks(fault, kind),
            FaultKind::Crash { .. }
            | FaultKind::NewProgram { .. }
            | FaultKind::PowerLoss { .. }
            | FaultKind::PowerLossAll {}
            | FaultKind::CrashAll {}
            | FaultKind::Pause { .. }
            | FaultKind::Suspend { .. }
            | FaultKind::SlowProcessor { .. }
            | FaultKind::ResetPeers { .. }
            | FaultKind::WallStep { .. }
            | FaultKind::MasterDrift { .. } => self.begin_process(fault, kind, ends),
            FaultKind::Wipe { .. }
            | FaultKind::Restore { .. }
            | FaultKind::SyncError { .. }
            | FaultKind::LyingSync { .. }
            | FaultKind::ReadError { .. }
            | FaultKind::Rot { .. }
            | FaultKind::Misdirect { .. }
            | FaultKind::Scrub { .. }
            | FaultKind::FullDisk { .. }
            | FaultKind::StallDisk { .. }
            | FaultKind::SlowDisk { .. } => self.begin_disk(fault, kind, ends),
            FaultKind::Point { master, point, one_in } => {
                let Some(point) = Point::named(point) else { return false };
                self.masters[usize::from(*master)].points.push((fault, point, *one_in));
                self.switch_point(usize::from(*master), point);
                true
            }
            FaultKind::WrongState { master } => self.wrong_state(fault, usize::from(*master)),
            FaultKind::DoubleRequests { client, ppm } => {
                self.clients[usize::from(*client)].doubles.push((fault, *ppm));
                true
            }
            FaultKind::ClientStall { client } => {
                self.clients[usize::from(*client)].stalls += 1;
                true
            }
            FaultKind::AgentCrash { .. }
            | FaultKind::AgentPause { .. }
            | FaultKind::AgentShutdown { .. }
            | FaultKind::MachineFreeze { .. }
            | FaultKind::SlowDrain { .. }
            | FaultKind::LastWord { .. }
            | FaultKind::ExecutorDrift { .. }
            | FaultKind::ExecutorWallStep { .. } => self.begin_executor(fault, kind, ends),
            kind => self.cut_for(fault, kind),
        }
    }

    fn begin_process(&mut self, fault: usize, kind: &FaultKind, ends: u64) -> bool {
        let all = 0..self.masters.len() as u8;
        match *kind {
            FaultKind::Crash { master } => self.down(master, false, ends),
            FaultKind::NewProgram { master, level } => self.replace_program(master, level, ends),
            FaultKind::PowerLoss { master } => self.down(master, true, ends),
            // Every one of them, also behind one that is down already.
            FaultKind::PowerLossAll {} => all.fold(false, |any, master| self.down(master, true, ends) | any),
            FaultKind::CrashAll {} => all.fold(false, |any, master| self.down(master, false, ends) | any),
            FaultKind::Pause { master } => {
                self.masters[usize::from(master)].pauses += 1;
                true
            }
            FaultKind::Suspend { master } => {
                let machine = &mut self.masters[usize::from(master)];
                if machine.clock.is_frozen() {
                    return false;
                }
                machine.clock.freeze(self.time, true);
                (machine.pauses, machine.stalls) = (machine.pauses + 1, machine.stalls + 1);
                true
            }
            FaultKind::SlowProcessor { master, step_us } => {
                self.masters[usize::from(master)].steps.push((fault, step_us));
                true
            }
            FaultKind::ResetPeers { master } => self.reset_peers(master),
            FaultKind::WallStep { master, by_ms } => {
                self.marks.hit(SimMark::WallStepped);
                self.masters[usize::from(master)].clock.step_wall(by_ms);
                true
            }
            FaultKind::MasterDrift { master, ppb } => {
                self.marks.hit(SimMark::DriftChanged);
                self.drift_master(usize::from(master), Some(ppb));
                true
            }
            _ => false,
        }
    }

    fn begin_disk(&mut self, fault: usize, kind: &FaultKind, ends: u64) -> bool {
        match *kind {
            FaultKind::Wipe { master } => self.wipe(master, ends),
            FaultKind::SyncError { master, restart } => self.fail_sync(master, restart),
            FaultKind::Restore { master } => {
                let machine = &mut self.masters[usize::from(master)];
                let image = machine.disk.image.clone();
                machine.copies.insert(fault, image);
                true
            }
            FaultKind::LyingSync { master } => {
                let begun = self.known_to_all() && self.may_lose(master);
                if begun {
                    self.masters[usize::from(master)].disk.begin_lie();
                }
                begun
            }
            FaultKind::ReadError { master } => {
                self.masters[usize::from(master)].unreadable += 1;
                true
            }
            FaultKind::FullDisk { master } => {
                self.masters[usize::from(master)].full += 1;
                true
            }
            FaultKind::Rot { master, snapshot } => self.rot(fault, usize::from(master), snapshot, false),
            FaultKind::Misdirect { master } => self.rot(fault, usize::from(master), false, true),
            FaultKind::Scrub { master } => self.scrub(usize::from(master)),
            FaultKind::StallDisk { master } => {
                self.masters[usize::from(master)].stalls += 1;
                true
            }
            FaultKind::SlowDisk { master, sync_ms } => {
                self.masters[usize::from(master)].slow.push((fault, sync_ms * MICROSECOND));
                true
            }
            _ => false,
        }
    }

    fn begin_executor(&mut self, fault: usize, kind: &FaultKind, ends: u64) -> bool {
        match *kind {
            FaultKind::AgentCrash { executor } => {
                let run = self.executors[usize::from(executor)].run;
                self.queue.push(ends, Event::StartAgent { executor, run });
                let awake = self.executors[usize::from(executor)].freezes == 0;
                let killed = awake && self.stop_agent(executor);
                self.marks.hit_if(killed, SimMark::AgentKilled);
                killed
            }
            FaultKind::AgentPause { executor } => {
                self.executors[usize::from(executor)].pauses += 1;
                true
            }
            FaultKind::AgentShutdown { executor } => {
                let machine = &self.executors[usize::from(executor)];
                let up = machine.agent.is_some() && machine.freezes == 0;
                if up {
                    self.step_agent(usize::from(executor), AgentInput::Shutdown);
                }
                up
            }
            FaultKind::MachineFreeze { executor } => {
                self.freeze(executor);
                true
            }
            FaultKind::SlowDrain { executor, by_ms } => {
                self.executors[usize::from(executor)].drains.push((fault, by_ms));
                true
            }
            FaultKind::LastWord { executor } => {
                self.executors[usize::from(executor)].last_words += 1;
                true
            }
            FaultKind::ExecutorDrift { executor, ppb } => {
                self.marks.hit(SimMark::DriftChanged);
                self.drift_executor(usize::from(executor), Some(ppb));
                true
            }
            FaultKind::ExecutorWallStep { executor, by_ms } => {
                self.marks.hit(SimMark::WallStepped);
                self.executors[usize::from(executor)].clock.step_wall(by_ms);
                true
            }
            _ => false,
        }
    }

    pub(super) fn fault_ends(&mut self, fault: usize) {
        // Some end before their time.
        if self.settling || !self.active.remove(&fault) {
            return;
        }
        self.mark(51, fault as u8, 0, &[]);
        self.note("fault end", || fault.to_string());
        self.uncut(fault);
        self.network.calm(fault);
        match self.plan.faults[fault].kind.clone() {
            FaultKind::AgentPause { executor } => self.unpause_agent(usize::from(executor)),
            FaultKind::AgentShutdown { executor } | FaultKind::AgentFlap { executor, .. } => {
                let run = self.executors[usize::from(executor)].run;
                // Whatever is left of it is killed before it starts again.
                self.stop_agent(executor);
                self.start_agent(executor, run);
            }
            FaultKind::MachineFreeze { executor } => self.thaw(executor),
            FaultKind::Zombie { executor, machine } => self.zombie_wakes(executor, machine),
            FaultKind::SlowDrain { executor, .. } => {
                self.executors[usize::from(executor)].drains.retain(|(number, _)| *number != fault);
            }
            FaultKind::LastWord { executor } => self.executors[usize::from(executor)].hold_no_words(),
            FaultKind::ExecutorDrift { executor, .. } => self.drift_executor(usize::from(executor), None),
            FaultKind::ExecutorWallStep { executor, by_ms } => {
                self.executors[usize::from(executor)].clock.step_wall(-by_ms);
            }
            FaultKind::DoubleRequests { client, .. } => {
                self.clients[usize::from(client)].doubles.retain(|(number, _)| *number != fault);
            }
            FaultKind::ClientStall { client } => self.client_goes_on(client),
            kind => self.end_at_master(fault, &kind),
        }
    }

    fn end_at_master(&mut self, fault: usize, kind: &FaultKind) {
        match *kind {
            FaultKind::Pause { master } => self.unpause_master(usize::from(master)),
            FaultKind::Suspend { master } => self.unsuspend(usize::from(master)),
            FaultKind::SlowProcessor { master, .. } => {
                self.masters[usize::from(master)].steps.retain(|(number, _)| *number != fault);
            }
            FaultKind::Point { master, ref point, .. } => {
                let at = usize::from(master);
                self.masters[at].points.retain(|(number, ..)| *number != fault);
                if let Some(point) = Point::named(point) {
                    self.switch_point(at, point);
                }
            }
            FaultKind::WrongState { master } => {
                let at = usize::from(master);
                self.masters[at].points.retain(|(number, ..)| *number != fault);
                self.switch_point(at, Point::HashWrong);
                self.doubters_start_again();
            }
            FaultKind::SlowDisk { master, .. } => {
                self.masters[usize::from(master)].slow.retain(|(number, _)| *number != fault);
            }
            FaultKind::StallDisk { master } => self.unstall(usize::from(master)),
            FaultKind::SyncError { master, restart: true } => {
                // It has stopped by itself, or no write came: then the disk is well again.
                self.masters[usize::from(master)].disk.failing = false;
                self.restart(master);
            }
            FaultKind::FullDisk { master } => {
                let machine = &mut self.masters[usize::from(master)];
                machine.full = machine.full.saturating_sub(1);
                self.restart(master);
            }
            FaultKind::ReadError { master } => {
                let machine = &mut self.masters[usize::from(master)];
                machine.unreadable = machine.unreadable.saturating_sub(1);
                self.restart(master);
            }
            FaultKind::LyingSync { master } => self.masters[usize::from(master)].disk.lie = None,
            FaultKind::Restore { .. } => self.tick(fault, 0),
            FaultKind::RestartLoop { master, .. } => self.restart(master),
            FaultKind::WallStep { master, by_ms } => {
                self.masters[usize::from(master)].clock.step_wall(-by_ms);
            }
            FaultKind::WallResync { master, .. } => {
                let off_ms = self.stepped.remove(&fault).unwrap_or(0);
                self.masters[usize::from(master)].clock.step_wall(-off_ms);
            }
            FaultKind::MasterDrift { master, .. } => self.drift_master(usize::from(master), None),
            _ => {}
        }
    }

    pub(super) fn down(&mut self, master: u8, power: bool, ends: u64) -> bool {
        let run = self.masters[usize::from(master)].run;
        let down = self.stop_master(master, power);
        if down {
            self.queue.push(ends, Event::StartMaster { master, run });
        }
        down
    }

    pub(super) fn restart(&mut self, master: u8) {
        let run = self.masters[usize::from(master)].run;
        self.start_master(master, run);
    }

    /// Only once the cluster has begun: before that, an empty directory is as good as any.
    fn wipe(&mut self, master: u8, ends: u64) -> bool {
        if !self.begun() || !self.may_lose(master) {
            return false;
        }
        self.stop_master(master, true);
        let lost = &mut self.masters[usize::from(master)];
        lost.empty();
        let run = lost.run;
        self.queue.push(ends, Event::StartMaster { master, run });
        true
    }

    fn fail_sync(&mut self, master: u8, restart: bool) -> bool {
        if !(restart || (self.begun() && self.may_lose(master))) {
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

    pub(super) fn leader(&self) -> Option<u8> {
        let leads = |at: &usize| {
            let raft = self.masters[*at].node.as_ref()?.raft();
            (raft.role() == Role::Leader).then_some((raft.term(), *at))
        };
        (0..self.masters.len()).filter_map(|at| leads(&at)).max().map(|(_, at)| at as u8)
    }

    pub(super) fn unpause_master(&mut self, at: usize) {
        let master = &mut self.masters[at];
        master.pauses = master.pauses.saturating_sub(1);
        if master.pauses == 0 {
            self.resume_master(at);
        }
    }

    /// A suspended machine goes on. Its clock does not know that it stood still.
    pub(super) fn unsuspend(&mut self, at: usize) {
        let master = &mut self.masters[at];
        self.marks.hit_if(master.node.is_some() && !master.held.is_empty(), SimMark::SuspendHeld);
        master.clock.freeze(self.time, false);
        self.unstall(at);
        self.unpause_master(at);
    }

    fn drift_master(&mut self, at: usize, ppb: Option<i64>) {
        let master = &mut self.masters[at];
        master.clock.set_drift(self.time, ppb);
        master.wake = u64::MAX;
        if master.pauses == 0 {
            self.arm_master(at);
        }
    }

    fn drift_executor(&mut self, at: usize, ppb: Option<i64>) {
        let executor = &mut self.executors[at];
        executor.clock.set_drift(self.time, ppb);
        executor.wake = u64::MAX;
        // Guards look at the same clock.
        for (&serial, process) in &executor.processes {
            let looks = executor.clock.true_time(process.deadline).max(self.time);
            self.queue.push(looks, Event::Guard { executor: at as u8, serial });
        }
        if executor.pauses == 0 {
            self.arm_agent(at);
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
