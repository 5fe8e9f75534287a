//! Faults that do something again and again while they are on.

use super::{Event, MILLISECOND, World};
use crate::{
    marks::SimMark,
    network::{Scope, Trouble},
    plan::{FaultKind, between, both_ways},
};
use quorate_core::types::ExecutorId;

/// Between two looks whether an executor was given up, or an old copy may be put back.
const LOOK_MS: u64 = 20;
/// Looks for a moment at which an old copy may be put back.
const RESTORE_LOOKS: u32 = 100;

impl World {
    pub(super) fn begin_ticks(&mut self, fault: usize, kind: &FaultKind) -> bool {
        if let FaultKind::Zombie { executor, machine } = *kind {
            let at = usize::from(executor);
            if self.executors[at].id.is_none() {
                return false;
            }
            if machine {
                self.freeze(executor);
            } else {
                self.executors[at].pauses += 1;
            }
        }
        self.queue.push(self.time, Event::Tick { fault, number: 0 });
        true
    }

    /// One step of a fault. The steps of one that has ended are over, but for an old copy, which is put back then.
    pub(super) fn tick(&mut self, fault: usize, number: u32) {
        let kind = self.plan.faults[fault].kind.clone();
        let on = self.active.contains(&fault) || matches!(kind, FaultKind::Restore { .. });
        if self.settling || !on {
            return;
        }
        let Some(next_ms) = self.tick_now(fault, number, &kind) else { return };
        let number = number.saturating_add(1);
        self.queue.push(self.time + next_ms.max(1) * MILLISECOND, Event::Tick { fault, number });
    }

    /// Does it. In how many milliseconds the next one comes.
    fn tick_now(&mut self, fault: usize, number: u32, kind: &FaultKind) -> Option<u64> {
        match kind {
            FaultKind::Flap { period_ms, .. } | FaultKind::FlapExecutor { period_ms, .. } => {
                self.uncut(fault);
                if number.is_multiple_of(2) {
                    self.cut_again(fault);
                }
                Some(*period_ms)
            }
            FaultKind::SwizzleClog { order, back, step_ms } => {
                self.swizzle(fault, number, order, back);
                Some(*step_ms)
            }
            FaultKind::RestartLoop { master, times, up_ms } => {
                if number % 2 == 1 {
                    self.restart(*master);
                } else if number / 2 < *times && self.stop_master(*master, false) {
                    self.marks.hit_if(number > 0, SimMark::RestartLoopKilled);
                }
                (number / 2 < *times).then_some(*up_ms)
            }
            FaultKind::WallResync { master, by_ms, period_ms } => {
                self.marks.hit(SimMark::WallResynced);
                let by_ms = if number.is_multiple_of(2) { *by_ms } else { -by_ms };
                *self.stepped.entry(fault).or_default() += by_ms;
                self.masters[usize::from(*master)].clock.step_wall(by_ms);
                Some(*period_ms)
            }
            FaultKind::AgentFlap { executor, period_ms } => {
                if self.executors[usize::from(*executor)].freezes == 0 {
                    if number.is_multiple_of(2) {
                        let killed = self.stop_agent(*executor);
                        self.marks.hit_if(killed, SimMark::AgentKilled);
                    } else {
                        let run = self.executors[usize::from(*executor)].run;
                        self.start_agent(*executor, run);
                    }
                }
                Some(*period_ms)
            }
            FaultKind::Disconnect { client, period_ms } => {
                let busy = &self.clients[usize::from(*client)];
                if number > 0 && busy.busy.is_some() {
                    self.marks.hit(SimMark::Disconnected);
                    self.client_timeout(*client, busy.attempt);
                }
                Some(*period_ms)
            }
            FaultKind::Zombie { executor, machine } => self.zombie(fault, *executor, *machine),
            FaultKind::Restore { master } => self.restore(fault, number, *master),
            _ => None,
        }
    }

    /// One more master is clogged; once all are, one more is let go.
    fn swizzle(&mut self, fault: usize, number: u32, order: &[u8], back: &[u8]) {
        let number = number as usize;
        let free = number.saturating_sub(order.len());
        let free = back.get(..free.min(back.len())).unwrap_or_default();
        let clogged: Vec<u8> =
            order.iter().take(number + 1).copied().filter(|place| !free.contains(place)).collect();
        self.network.calm(fault);
        let all: Vec<u8> = (0..self.masters.len() as u8).collect();
        let ends = self.plan.faults[fault].at_ms + self.plan.faults[fault].for_ms;
        let step = match self.plan.faults[fault].kind {
            FaultKind::SwizzleClog { step_ms, .. } => step_ms * MILLISECOND,
            _ => return,
        };
        // A master is free when its turn comes, or when the fault ends.
        for place in clogged {
            let turn = back.iter().position(|&free| free == place).unwrap_or(back.len());
            let begun = self.plan.faults[fault].at_ms * MILLISECOND;
            let turn = begun + (order.len() + turn + 1) as u64 * step;
            let trouble = Trouble {
                scope: Scope::Some(both_ways(&between(&[place], &all))),
                held_until: turn.min(ends * MILLISECOND).max(self.time),
                mark: Some(SimMark::SwizzleHeld),
                ..Trouble::default()
            };
            self.network.trouble(fault, trouble);
        }
    }

    /// It comes back as soon as the cluster has given it up.
    fn zombie(&mut self, fault: usize, executor: u8, machine: bool) -> Option<u64> {
        let at = usize::from(executor);
        let registered = |id: ExecutorId| {
            let newest = self.masters.iter().filter_map(|master| master.node.as_ref());
            let newest = newest.max_by_key(|node| node.state().index());
            newest.is_none_or(|node| node.state().executor(id).is_some())
        };
        if self.executors[at].id.is_some_and(registered) {
            return Some(LOOK_MS);
        }
        self.marks.hit(SimMark::ZombieBack);
        self.active.remove(&fault);
        self.zombie_wakes(executor, machine);
        None
    }

    pub(super) fn zombie_wakes(&mut self, executor: u8, machine: bool) {
        if machine {
            self.thaw(executor);
        } else {
            self.unpause_agent(usize::from(executor));
        }
    }

    /// The machine loses power, and starts from an old copy of its directory; at a moment when nothing that it forgets
    /// counts.
    fn restore(&mut self, fault: usize, number: u32, master: u8) -> Option<u64> {
        let at = usize::from(master);
        let copy = self.masters[at].copies.get(&fault)?.clone();
        let older = copy.last() != self.masters[at].disk.image.last()
            || copy.hard_state != self.masters[at].disk.image.hard_state;
        if !self.may_forget(at, &copy) {
            self.marks.hit_if(number == RESTORE_LOOKS, SimMark::RestoreUnsafe);
            return (number < RESTORE_LOOKS).then_some(LOOK_MS);
        }
        self.masters[at].copies.remove(&fault);
        self.stop_master(master, true);
        self.marks.hit_if(older, SimMark::RestoreForgot);
        self.mark(52, master, fault as u64, &[]);
        let machine = &mut self.masters[at];
        machine.forget(copy);
        machine.disk.lie = None;
        self.restart(master);
        None
    }
}
