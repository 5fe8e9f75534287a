//! How each fault begins and ends. One task a fault.

use super::stage::{MILLISECOND, Stage};
use crate::{
    draw::{Purpose, chance, within},
    plan::{Around, Fault, FaultKind, Link},
};
use madsim::runtime::Handle;
use quorate_core::point::Point;
use quorate_proto::v1 as pb;

/// The longest time that a delayed message takes: connecting takes two of them.
const DELAY_MOST_MS: u64 = 400;

impl Stage {
    /// Carries one fault of the plan out, unless the faults are over by then.
    pub(super) async fn fault(self, number: usize, fault: Fault) {
        self.until(fault.at_ms * MILLISECOND).await;
        if self.world().settling {
            return;
        }
        self.world().event("", "fault", || format!("{number} for {} ms: {:?}", fault.for_ms, fault.kind));
        let took_effect = self.begin(number, &fault).await;
        if !took_effect {
            return;
        }
        self.world().count(fault.kind.name());
        self.until((fault.at_ms + fault.for_ms) * MILLISECOND).await;
        if !self.world().settling {
            self.world().event("", "fault", || format!("{number} ends"));
            self.end(number, &fault.kind).await;
        }
    }

    async fn begin(&self, number: usize, fault: &Fault) -> bool {
        if !fault.kind.on_stack() {
            return false;
        }
        let masters = self.world().masters.len();
        match &fault.kind {
            FaultKind::Crash { master } => self.take_down(usize::from(*master), false).await,
            FaultKind::PowerLoss { master } => self.take_down(usize::from(*master), true).await,
            FaultKind::PowerLossAll {} | FaultKind::CrashAll {} => {
                for place in 0..masters {
                    self.take_down(place, matches!(fault.kind, FaultKind::PowerLossAll {})).await;
                }
                true
            }
            FaultKind::Pause { master } => self.pause_master(usize::from(*master)),
            FaultKind::Wipe { master } => self.wipe(usize::from(*master)).await,
            FaultKind::SyncError { master, restart } => self.fail_sync(usize::from(*master), *restart),
            FaultKind::FullDisk { master } => self.world().fill(number, usize::from(*master)),
            FaultKind::StallDisk { master } => {
                self.world().masters[usize::from(*master)].troubles.hangs.insert(number)
            }
            FaultKind::ReadError { master } => {
                let mut world = self.world();
                let master = &mut world.masters[usize::from(*master)];
                master.troubles.unreadable.insert(number)
            }
            FaultKind::Rot { master, snapshot } => self.world().rot(number, usize::from(*master), *snapshot),
            FaultKind::Scrub { master } => self.scrub(usize::from(*master)).await,
            FaultKind::SlowDisk { master, sync_ms } => {
                self.world().masters[usize::from(*master)].slow.insert(number, sync_ms * 1_000);
                true
            }
            FaultKind::Point { master, point, one_in } => {
                let Some(point) = Point::named(point) else { return false };
                let place = usize::from(*master);
                self.world().masters[place].points.insert(number, (point, *one_in));
                self.switch_point(place, point).await;
                true
            }
            FaultKind::Flap { period_ms, .. } => {
                self.flap(number, fault, *period_ms).await;
                true
            }
            FaultKind::Delay { ppm, most_ms } => {
                // The network of madsim has one range of latencies: the chance decides how much of it is used.
                let most = (*most_ms).min(DELAY_MOST_MS) * (ppm / 1_000).clamp(30, 300) / 300;
                self.trouble(number, 0, most * 1_000)
            }
            FaultKind::Loss { ppm } => self.trouble(number, *ppm, 0),
            FaultKind::AgentCrash { executor } => self.crash_agent(usize::from(*executor)),
            FaultKind::AgentShutdown { executor } => self.shut_agent_down(usize::from(*executor)),
            FaultKind::AgentPause { executor } => self.pause_agent(usize::from(*executor), false),
            FaultKind::MachineFreeze { executor } => self.pause_agent(usize::from(*executor), true),
            kind => match self.links_of(kind) {
                Some(links) => self.cut(number, links),
                None => false,
            },
        }
    }

    async fn end(&self, number: usize, kind: &FaultKind) {
        let masters = self.world().masters.len();
        {
            let mut world = self.world();
            world.links.mend(number);
            world.apply_links();
        }
        match *kind {
            FaultKind::Crash { master } | FaultKind::PowerLoss { master } | FaultKind::Wipe { master } => {
                self.bring_up(usize::from(master));
            }
            FaultKind::PowerLossAll {} | FaultKind::CrashAll {} => {
                (0..masters).for_each(|place| self.bring_up(place));
            }
            FaultKind::Pause { master } => self.resume_master(usize::from(master)),
            FaultKind::SyncError { master, restart: true } => self.mend_disk(usize::from(master)).await,
            FaultKind::FullDisk { master }
            | FaultKind::StallDisk { master }
            | FaultKind::ReadError { master } => {
                let place = usize::from(master);
                let stopped = self.world().relieve(number, place);
                if stopped {
                    self.mend_disk(place).await;
                }
            }
            FaultKind::SlowDisk { master, .. } => {
                self.world().masters[usize::from(master)].slow.remove(&number);
            }
            FaultKind::Point { master, ref point, .. } => {
                let place = usize::from(master);
                self.world().masters[place].points.remove(&number);
                if let Some(point) = Point::named(point) {
                    self.switch_point(place, point).await;
                }
            }
            FaultKind::AgentCrash { executor } | FaultKind::AgentShutdown { executor } => {
                self.restart_agent(usize::from(executor));
            }
            FaultKind::AgentPause { executor } => self.resume_agent(usize::from(executor), false),
            FaultKind::MachineFreeze { executor } => self.resume_agent(usize::from(executor), true),
            _ => {}
        }
    }

    fn links_of(&self, kind: &FaultKind) -> Option<Vec<Link>> {
        let world = self.world();
        let leader = world.leader().map(|leader| leader as u8);
        let (masters, clients) = (world.masters.len() as u8, world.plan.clients.len() as u8);
        kind.cuts(Around { masters, clients, leader })
    }

    fn cut(&self, number: usize, links: Vec<Link>) -> bool {
        let mut world = self.world();
        world.links.cut(number, links);
        world.apply_links();
        true
    }

    fn trouble(&self, number: usize, loss_ppm: u64, most_us: u64) -> bool {
        let mut world = self.world();
        world.links.trouble(number, loss_ppm, most_us);
        world.apply_links();
        true
    }

    async fn flap(&self, number: usize, fault: &Fault, period_ms: u64) {
        let end = (fault.at_ms + fault.for_ms) * MILLISECOND;
        let mut is_cut = false;
        while self.now() + period_ms.max(1) * MILLISECOND < end && !self.world().settling {
            is_cut = !is_cut;
            let links = self.links_of(&fault.kind).filter(|_| is_cut).unwrap_or_default();
            self.cut(number, links);
            self.wait_ms(period_ms.max(1)).await;
        }
    }

    fn pause_master(&self, place: usize) -> bool {
        let mut world = self.world();
        let master = &mut world.masters[place];
        let Some(machine) = master.machine.clone().filter(|_| master.up) else { return false };
        master.pauses += 1;
        Handle::current().pause(machine.id());
        true
    }

    pub(super) fn resume_master(&self, place: usize) {
        let mut world = self.world();
        let master = &mut world.masters[place];
        // A process that was killed meanwhile has no pauses left.
        let Some(pauses) = master.pauses.checked_sub(1) else { return };
        master.pauses = pauses;
        if let Some(machine) = master.machine.clone().filter(|_| pauses == 0) {
            Handle::current().resume(machine.id());
        }
    }

    /// Only once the cluster has begun: before that, an empty directory is as good as any.
    async fn wipe(&self, place: usize) -> bool {
        let may = {
            let mut world = self.world();
            let may = world.begun() && world.may_lose(place);
            world.masters[place].doomed |= may;
            may
        };
        let lost = may && self.take_directory(place).await;
        self.world().masters[place].doomed &= !may;
        lost
    }

    fn fail_sync(&self, place: usize, restart: bool) -> bool {
        let mut world = self.world();
        let may = restart || (world.begun() && world.may_lose(place));
        if !may || !world.masters[place].up || world.masters[place].gone {
            return false;
        }
        let master = &mut world.masters[place];
        master.disk.fail_next_sync();
        (master.may_stop, master.gone) = (true, !restart);
        true
    }

    /// The disk is well again, and the node starts again: after its process was killed, or after the power was gone.
    async fn mend_disk(&self, place: usize) {
        let (power, wait) = {
            let world = self.world();
            let luck = world.draw(Purpose::Survivors, &[place as u64, world.masters[place].run, 2]);
            (chance(luck, 300_000), within(luck, 1, 100))
        };
        if self.take_down(place, power).await {
            self.wait_ms(wait).await;
        }
        self.bring_up(place);
    }
}

impl super::stage::World {
    /// Whether something was committed.
    pub(super) fn begun(&self) -> bool {
        self.commits.frontier().0 > 0
    }

    /// The master that leads in the highest term, as far as masters said.
    pub(super) fn leader(&self) -> Option<usize> {
        let said = self.masters.iter().enumerate().filter(|(_, master)| master.up);
        let said = said.filter_map(|(place, master)| Some((place, &master.status.as_ref()?.1)));
        let leads = said.filter(|(_, status)| status.role() == pb::Role::Leader);
        leads.max_by_key(|(_, status)| status.term).map(|(place, _)| place)
    }
}
