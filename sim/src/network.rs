//! How messages travel: late, lost, twice, out of order, or not at all while a link is cut.

use crate::{
    draw::{Purpose, again, chance, draw, within},
    plan::NetworkPlan,
};

const MICROSECOND: u64 = 1_000;

/// Whoever sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A master, by its place.
    Master(u8),
    /// An executor, by its place.
    Executor(u8),
    /// A client, by its place.
    Client(u8),
}

/// Endpoints of one kind at most.
const PLACES: usize = 16;
const ENDPOINTS: usize = 3 * PLACES;
const LANES: usize = 4;

impl Endpoint {
    const fn place(self) -> usize {
        match self {
            Self::Master(place) => place as usize % PLACES,
            Self::Executor(place) => PLACES + place as usize % PLACES,
            Self::Client(place) => 2 * PLACES + place as usize % PLACES,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// Messages sent so far: the counter of its draws.
    sent: u64,
    /// Cuts that are on.
    cuts: u32,
    /// When the last message of each lane arrives.
    last: [u64; LANES],
}

/// What a fault adds to every link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Chance that a message is late, parts in a million.
    pub tail_ppm: u64,
    /// At most by so much, microseconds.
    pub tail_us: u64,
    /// Chance that it is lost, parts in a million.
    pub loss_ppm: u64,
}

/// All links.
#[derive(Clone, Debug)]
pub struct Network {
    seed: u64,
    plan: NetworkPlan,
    links: Vec<Link>,
    /// What faults add, by the number of the fault.
    troubles: Vec<(usize, Trouble)>,
}

impl Network {
    /// As planned.
    #[must_use]
    pub fn new(seed: u64, plan: NetworkPlan) -> Self {
        Self { seed, plan, links: vec![Link::default(); ENDPOINTS * ENDPOINTS], troubles: Vec::new() }
    }

    const fn number(from: Endpoint, to: Endpoint) -> usize {
        from.place() * ENDPOINTS + to.place()
    }

    /// When a message that is sent now arrives: not at all, once, or twice.
    pub fn send(&mut self, now: u64, from: Endpoint, to: Endpoint, lane: u8) -> [Option<u64>; 2] {
        let number = Self::number(from, to);
        let link = &mut self.links[number];
        link.sent += 1;
        if link.cuts > 0 {
            return [None, None];
        }
        let luck = draw(self.seed, Purpose::Message, &[number as u64, link.sent]);
        let plan = &self.plan;
        let mut lost = chance(again(luck, 1), plan.loss_ppm);
        let mut delay = within(again(luck, 2), plan.latency_min_us, plan.latency_max_us);
        if chance(again(luck, 3), plan.tail_ppm) {
            delay += within(again(luck, 4), 0, plan.tail_us);
        }
        for (fault, trouble) in &self.troubles {
            let which = 100 + 10 * *fault as u64;
            lost |= chance(again(luck, which), trouble.loss_ppm);
            if chance(again(luck, which + 1), trouble.tail_ppm) {
                delay += within(again(luck, which + 2), 0, trouble.tail_us);
            }
        }
        if lost {
            return [None, None];
        }
        let mut arrives = now + delay * MICROSECOND;
        let last = &mut link.last[lane as usize % LANES];
        if !chance(again(luck, 5), plan.reorder_ppm) {
            arrives = arrives.max(*last);
            *last = arrives;
        }
        let second = chance(again(luck, 6), plan.duplicate_ppm)
            .then(|| arrives + within(again(luck, 7), 1, 4 * plan.latency_max_us + 1_000) * MICROSECOND);
        [Some(arrives), second]
    }

    /// Cuts one direction; `mend` as often as it was cut opens it.
    pub fn cut(&mut self, from: Endpoint, to: Endpoint) {
        self.links[Self::number(from, to)].cuts += 1;
    }

    /// Takes one cut back. Whether the link is open.
    pub fn mend(&mut self, from: Endpoint, to: Endpoint) -> bool {
        let link = &mut self.links[Self::number(from, to)];
        link.cuts = link.cuts.saturating_sub(1);
        link.cuts == 0
    }

    /// Whether a message gets through in this direction.
    #[must_use]
    pub fn open(&self, from: Endpoint, to: Endpoint) -> bool {
        self.links[Self::number(from, to)].cuts == 0
    }

    /// A fault begins.
    pub fn trouble(&mut self, fault: usize, trouble: Trouble) {
        self.troubles.push((fault, trouble));
    }

    /// A fault ends.
    pub fn calm(&mut self, fault: usize) {
        self.troubles.retain(|(number, _)| *number != fault);
    }

    /// No cut, no trouble, no loss, nothing twice: the settle phase.
    pub fn heal(&mut self) {
        self.troubles.clear();
        for link in &mut self.links {
            link.cuts = 0;
        }
        self.plan.loss_ppm = 0;
        self.plan.tail_ppm = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Endpoint = Endpoint::Master(0);
    const B: Endpoint = Endpoint::Master(1);

    fn plan() -> NetworkPlan {
        NetworkPlan {
            latency_min_us: 100,
            latency_max_us: 5_000,
            tail_ppm: 0,
            tail_us: 0,
            loss_ppm: 100_000,
            duplicate_ppm: 100_000,
            reorder_ppm: 0,
        }
    }

    #[test]
    fn one_lane_keeps_its_order_unless_reordering_is_on() {
        let mut network = Network::new(3, NetworkPlan { loss_ppm: 0, duplicate_ppm: 0, ..plan() });
        let times: Vec<u64> = (0..200).filter_map(|n| network.send(n * 1_000, A, B, 0)[0]).collect();
        assert!(times.is_sorted() && times.len() == 200);
        let mut network =
            Network::new(3, NetworkPlan { loss_ppm: 0, duplicate_ppm: 0, reorder_ppm: 500_000, ..plan() });
        let times: Vec<u64> = (0..200).filter_map(|n| network.send(n * 1_000, A, B, 0)[0]).collect();
        assert!(!times.is_sorted());
    }

    #[test]
    fn messages_are_lost_and_repeated_in_their_share() {
        let mut network = Network::new(3, plan());
        let all: Vec<_> = (0..10_000).map(|n| network.send(n, A, B, 0)).collect();
        let lost = all.iter().filter(|times| times[0].is_none()).count();
        let twice = all.iter().filter(|times| times[1].is_some()).count();
        assert!((900..1_100).contains(&lost) && (800..1_000).contains(&twice), "{lost} {twice}");
    }

    #[test]
    fn cuts_have_a_direction_and_are_counted() {
        let mut network = Network::new(3, NetworkPlan { loss_ppm: 0, ..plan() });
        network.cut(A, B);
        network.cut(A, B);
        assert!(network.send(0, A, B, 0)[0].is_none() && network.send(0, B, A, 0)[0].is_some());
        assert!(!network.mend(A, B) && !network.open(A, B) && network.mend(A, B) && network.open(A, B));
    }

    #[test]
    fn a_fault_leaves_the_draws_of_others_as_they_were() {
        let base = NetworkPlan { loss_ppm: 0, duplicate_ppm: 0, ..plan() };
        let (mut calm, mut troubled) = (Network::new(3, base), Network::new(3, base));
        troubled.trouble(0, Trouble { loss_ppm: 300_000, ..Trouble::default() });
        for n in 0..500 {
            let (one, other) =
                (calm.send(n * 10_000_000, A, B, 0)[0], troubled.send(n * 10_000_000, A, B, 0)[0]);
            assert!(other.is_none() || one == other);
        }
    }
}
