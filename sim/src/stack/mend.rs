//! The end of the faults: a quorum of masters, some executors and all clients are mended. Whatever else is broken stays so for
//! ever: links that are cut, machines that are down, without power, or stand still, disks that are slow.
//!
//! The network of madsim has one loss rate and one range of latencies, so that these are mended for all.

use super::stage::{Stage, World};
use crate::{
    network::Endpoint,
    plan::{CorePlan, between, both_ways},
};
use std::collections::BTreeSet;

/// Cuts of this number on are those between the core and who leads outside of it.
const OUTSIDE_CUTS: usize = 1 << 32;
/// Whoever is being killed when the faults are over is dead after this time, milliseconds.
const DYING_MS: u64 = 50;

impl World {
    /// Whether the directory of everybody who founded the cluster says who the voters are: it has begun everywhere.
    pub(super) fn joined_by_all(&self) -> bool {
        let joined = |place: usize| {
            self.masters[place].wiped || self.commits.image(place).has_joined() || !self.is_member(place)
        };
        (0..self.plan.masters.founding()).all(joined)
    }

    /// Who is mended. A cluster that had not begun everywhere when the faults were over needs everybody.
    pub(super) fn core(&self) -> CorePlan {
        self.core.clone().unwrap_or_else(|| match &self.plan.core {
            Some(core) if self.joined_by_all() && self.changes_members() => {
                self.core_of_members(core.clone())
            }
            Some(core) if self.joined_by_all() => core.clone(),
            _ => CorePlan {
                masters: (0..self.masters.len() as u8).collect(),
                executors: (0..self.executors.len() as u8).collect(),
            },
        })
    }

    /// The masters and executors of the core and all clients hear each other, and clients hear every master; all other
    /// links stay as they are.
    fn mend_links(&mut self, core: &CorePlan) {
        if self.plan.core.is_none() {
            self.links.heal();
        } else {
            let masters = core.masters.iter().map(|&place| Endpoint::Master(place));
            let executors = core.executors.iter().map(|&place| Endpoint::Executor(place));
            let inside: BTreeSet<Endpoint> = masters.chain(executors).collect();
            let client = |end: &Endpoint| matches!(end, Endpoint::Client(_));
            let served =
                |end: &Endpoint| client(end) || matches!(end, Endpoint::Master(_)) || inside.contains(end);
            self.links.heal_where(|(from, to)| {
                (inside.contains(from) && inside.contains(to))
                    || (client(from) && served(to))
                    || (client(to) && served(from))
            });
        }
        self.apply_links();
    }
}

impl Stage {
    /// Mends the core.
    pub(super) async fn mend(&self) {
        let (core, masters) = {
            let mut world = self.world();
            let core = world.core();
            (world.settling, world.core) = (true, Some(core.clone()));
            world.event("", "settle", || format!("the faults are over for {core:?}"));
            world.mend_links(&core);
            let mut left_out = if world.begun() { world.plan.left_out.clone() } else { Vec::new() };
            left_out.retain(|place| !core.masters.contains(place) && world.may_lose(usize::from(*place)));
            for place in left_out {
                world.masters[usize::from(place)].gone = true;
            }
            (core, world.masters.len())
        };
        self.wait_ms(DYING_MS).await;
        for place in 0..masters {
            if core.masters.contains(&(place as u8)) || self.world().plan.core.is_none() {
                self.mend_master(place).await;
            } else if self.world().masters[place].gone {
                self.take_down(place, true).await;
            }
        }
        for &place in &core.executors {
            self.mend_executor(usize::from(place));
        }
        self.still_broken(&core);
    }

    async fn mend_master(&self, place: usize) {
        while self.world().masters[place].pauses > 0 {
            self.resume_master(place);
        }
        let (gone, stopped) = {
            let mut world = self.world();
            world.relieve_all(place);
            let master = &mut world.masters[place];
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

    /// Counts runs in which something outside of the core stays broken.
    fn still_broken(&self, core: &CorePlan) {
        let mut world = self.world();
        let outside = |places: &[u8], at: usize| !places.contains(&(at as u8));
        let masters = world.masters.iter().enumerate().any(|(at, master)| {
            outside(&core.masters, at) && (!master.up || master.stopped || master.pauses > 0)
        });
        let executors =
            world.executors.iter().enumerate().any(|(at, executor)| {
                outside(&core.executors, at) && (!executor.up || executor.stands_still())
            });
        let links = world.links.any_cut();
        for (broken, what) in [
            (masters, "a master stays broken for ever"),
            (executors, "an executor stays broken for ever"),
            (links, "a link stays cut for ever"),
        ] {
            if broken {
                world.count(what);
            }
        }
    }

    /// Whoever leads outside of the core is cut off from it, however well it leads: the core must find a leader of its own.
    pub(super) fn cut_outside_leader(&self) {
        let mut world = self.world();
        let core = world.core();
        let Some(leader) = world.leader().filter(|leader| !core.masters.contains(&(*leader as u8))) else {
            return;
        };
        let number = OUTSIDE_CUTS + leader;
        if world.links.has_cut(number) {
            return;
        }
        world.tell_master(leader, "cut off", || "it leads outside of the core".to_owned());
        world.count("a leader outside of the core is cut off");
        let links = both_ways(&between(&[leader as u8], &core.masters));
        world.links.cut(number, links);
        world.apply_links();
    }
}
