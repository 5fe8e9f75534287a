//! Which links are cut, and what else troubles the network.

use super::stage::World;
use crate::{draw::MILLION, network::Endpoint};
use madsim::{net::NetSim, task::NodeId as MachineId};
use quorate_net::rt::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// From one machine to another.
pub(super) type Link = (Endpoint, Endpoint);

/// The links.
#[derive(Default)]
pub(super) struct Links {
    machines: BTreeMap<Endpoint, MachineId>,
    cuts: BTreeMap<usize, Vec<Link>>,
    off: BTreeSet<usize>,
    clogged: BTreeSet<Link>,
    /// By fault: the chance of a loss in parts of a million, and the most that a message is late, microseconds.
    troubles: BTreeMap<usize, (u64, u64)>,
}

impl Links {
    /// A machine is there.
    pub(super) fn add(&mut self, endpoint: Endpoint, machine: MachineId) {
        self.machines.insert(endpoint, machine);
    }

    /// A fault cuts these links, and no others.
    pub(super) fn cut(&mut self, fault: usize, links: Vec<Link>) {
        self.cuts.insert(fault, links);
    }

    /// A fault troubles the network.
    pub(super) fn trouble(&mut self, fault: usize, loss_ppm: u64, most_us: u64) {
        self.troubles.insert(fault, (loss_ppm, most_us));
    }

    /// A fault is over.
    pub(super) fn mend(&mut self, fault: usize) {
        self.cuts.remove(&fault);
        self.troubles.remove(&fault);
    }

    /// All faults are over; machines without power stay as they are.
    pub(super) fn heal(&mut self) {
        self.cuts.clear();
        self.troubles.clear();
    }

    /// Heals these links, and all that troubles the network as a whole; what else is cut stays so.
    pub(super) fn heal_where(&mut self, healed: impl Fn(&Link) -> bool) {
        self.troubles.clear();
        for links in self.cuts.values_mut() {
            links.retain(|link| !healed(link));
        }
    }

    /// Whether a fault of this number cuts something.
    pub(super) fn has_cut(&self, fault: usize) -> bool {
        self.cuts.contains_key(&fault)
    }

    /// Whether any link is cut by a fault.
    pub(super) fn any_cut(&self) -> bool {
        self.cuts.values().any(|links| !links.is_empty())
    }

    /// A master's machine has no power, or has it again.
    pub(super) fn power_off(&mut self, place: usize, off: bool) {
        if off {
            self.off.insert(place);
        } else {
            self.off.remove(&place);
        }
    }

    fn wanted(&self) -> BTreeSet<Link> {
        let mut wanted: BTreeSet<Link> = self.cuts.values().flatten().copied().collect();
        for &place in &self.off {
            let dead = Endpoint::Master(place as u8);
            for &other in self.machines.keys().filter(|&&other| other != dead) {
                wanted.extend([(dead, other), (other, dead)]);
            }
        }
        wanted
    }
}

impl World {
    /// Makes the network what the faults say.
    pub(super) fn apply_links(&mut self) {
        let network = NetSim::current();
        let wanted = self.links.wanted();
        let machine = |endpoint| self.links.machines.get(endpoint).copied();
        for (from, to) in wanted.symmetric_difference(&self.links.clogged) {
            let (Some(source), Some(target)) = (machine(from), machine(to)) else { continue };
            if wanted.contains(&(*from, *to)) {
                network.clog_link(source, target);
            } else {
                network.unclog_link(source, target);
            }
        }
        let changed = wanted.symmetric_difference(&self.links.clogged).count();
        self.links.clogged = wanted;
        let plan = &self.plan.network;
        let troubles = self.links.troubles.values();
        let (loss, late) =
            troubles.fold((plan.loss_ppm, 0), |most, &(loss, late)| (most.0.max(loss), most.1.max(late)));
        let latency = Duration::from_micros(plan.latency_min_us)
            ..Duration::from_micros(plan.latency_max_us.max(late).max(plan.latency_min_us + 1));
        network.update_config(|config| {
            config.packet_loss_rate = loss as f64 / MILLION as f64;
            config.send_latency = latency.clone();
        });
        let count = self.links.clogged.len();
        self.event("net", "links", || {
            format!("{changed} changed, {count} cut, loss {loss} ppm, latency {latency:?}")
        });
    }
}
