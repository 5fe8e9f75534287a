//! How messages travel: late, lost, twice, out of order, or not at all while a link is cut.

use crate::{
    draw::{Purpose, again, chance, draw, within},
    marks::{SimCounts, SimMark},
    plan::{MessageKind, NetworkPlan},
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
pub const PLACES: usize = 16;
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
    /// Nothing is wrong with it ever after.
    healed: bool,
}

/// The links that a fault is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// These.
    Some(Vec<(Endpoint, Endpoint)>),
}

/// What a fault adds to its links. Chances in parts of a million, times in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Which links.
    pub scope: Scope,
    /// Only messages of this kind; `None`: all.
    pub only: Option<MessageKind>,
    /// Chance that a message is late.
    pub tail_ppm: u64,
    /// At most by so much.
    pub tail_us: u64,
    /// Chance that it is lost.
    pub loss_ppm: u64,
    /// Chance that it comes twice.
    pub duplicate_ppm: u64,
    /// The second at most so much later.
    pub duplicate_us: u64,
    /// Chance that those behind it overtake it.
    pub reorder_ppm: u64,
    /// It comes at most so much later.
    pub reorder_us: u64,
    /// Each comes so much later.
    pub slow_us: u64,
    /// Nothing comes before this true time, in nanoseconds.
    pub held_until: u64,
    /// What it means if it does something to a message.
    pub mark: Option<SimMark>,
}

impl Trouble {
    fn touches(&self, from: Endpoint, to: Endpoint, kind: MessageKind) -> bool {
        let link = match &self.scope {
            Scope::All => true,
            Scope::Some(links) => links.contains(&(from, to)),
        };
        link && self.only.is_none_or(|only| only == kind)
    }
}

/// All links.
#[derive(Clone, Debug)]
pub struct Network {
    seed: u64,
    plan: NetworkPlan,
    links: Vec<Link>,
    /// What faults add, by the number of the fault.
    troubles: Vec<(usize, Trouble)>,
    /// What happened to messages.
    pub marks: SimCounts,
}

impl Network {
    /// As planned.
    #[must_use]
    pub fn new(seed: u64, plan: NetworkPlan) -> Self {
        let links = vec![Link::default(); ENDPOINTS * ENDPOINTS];
        Self { seed, plan, links, troubles: Vec::new(), marks: SimCounts::default() }
    }

    const fn number(from: Endpoint, to: Endpoint) -> usize {
        from.place() * ENDPOINTS + to.place()
    }

    /// When a message that is sent now arrives: not at all, once, or twice. Between masters, the network itself may repeat
    /// it; elsewhere only a fault does.
    pub fn send(
        &mut self,
        now: u64,
        from: Endpoint,
        to: Endpoint,
        lane: u8,
        kind: MessageKind,
    ) -> [Option<u64>; 2] {
        let number = Self::number(from, to);
        let link = &mut self.links[number];
        link.sent += 1;
        if link.cuts > 0 {
            self.marks.hit(SimMark::CutLost);
            return [None, None];
        }
        let luck = draw(self.seed, Purpose::Message, &[number as u64, link.sent]);
        let plan = &self.plan;
        let mut lost = !link.healed && chance(again(luck, 1), plan.loss_ppm);
        self.marks.hit_if(lost, SimMark::BaseLost);
        let mut delay = within(again(luck, 2), plan.latency_min_us, plan.latency_max_us);
        if !link.healed && chance(again(luck, 3), plan.tail_ppm) {
            self.marks.hit(SimMark::BaseTail);
            delay += within(again(luck, 4), 0, plan.tail_us);
        }
        let (mut held, mut overtaken, mut twice) = (0, None, None);
        for (fault, trouble) in &self.troubles {
            if link.healed || !trouble.touches(from, to, kind) {
                continue;
            }
            let which = 100 + 10 * *fault as u64;
            let (before, late) = (lost, delay);
            lost |= chance(again(luck, which), trouble.loss_ppm);
            if chance(again(luck, which + 1), trouble.tail_ppm) {
                delay += within(again(luck, which + 2), 0, trouble.tail_us);
            }
            delay += trouble.slow_us;
            if chance(again(luck, which + 3), trouble.duplicate_ppm) {
                twice = Some(within(again(luck, which + 4), 1, trouble.duplicate_us));
            }
            if chance(again(luck, which + 5), trouble.reorder_ppm) {
                overtaken = Some(within(again(luck, which + 6), 0, trouble.reorder_us));
            }
            held = held.max(trouble.held_until);
            let done = lost != before || delay != late || twice.is_some() || overtaken.is_some();
            if let Some(mark) = trouble.mark.filter(|_| done || trouble.held_until > now) {
                self.marks.hit(mark);
            }
        }
        if lost {
            return [None, None];
        }
        let mut arrives = now.max(held) + delay * MICROSECOND;
        let last = &mut link.last[lane as usize % LANES];
        if let Some(late) = overtaken {
            arrives += late * MICROSECOND;
        } else if !chance(again(luck, 5), plan.reorder_ppm) {
            arrives = arrives.max(*last);
            *last = arrives;
        } else {
            self.marks.hit_if(arrives < *last, SimMark::BaseReordered);
        }
        let masters = matches!((from, to), (Endpoint::Master(_), Endpoint::Master(_)));
        let second = (masters && chance(again(luck, 6), plan.duplicate_ppm))
            .then(|| within(again(luck, 7), 1, 4 * plan.latency_max_us + 1_000));
        self.marks.hit_if(second.is_some(), SimMark::BaseDuplicated);
        [Some(arrives), twice.or(second).map(|later| arrives + later * MICROSECOND)]
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

    /// Whether a fault of this very link is on, in this direction.
    #[must_use]
    pub fn impaired(&self, from: Endpoint, to: Endpoint) -> bool {
        let link = &self.links[Self::number(from, to)];
        let named = |(_, trouble): &(usize, Trouble)| match &trouble.scope {
            Scope::All => false,
            Scope::Some(links) => links.contains(&(from, to)),
        };
        link.cuts > 0 || (!link.healed && self.troubles.iter().any(named))
    }

    /// A fault begins.
    pub fn trouble(&mut self, fault: usize, trouble: Trouble) {
        self.troubles.push((fault, trouble));
    }

    /// A fault ends.
    pub fn calm(&mut self, fault: usize) {
        self.troubles.retain(|(number, _)| *number != fault);
    }

    /// What is held is held for ever: as good as cut.
    pub fn hold_for_ever(&mut self) {
        let troubles = core::mem::take(&mut self.troubles);
        for (_, trouble) in troubles.iter().filter(|(_, trouble)| trouble.held_until > 0) {
            if let Scope::Some(links) = &trouble.scope {
                links.iter().for_each(|&(from, to)| self.cut(from, to));
            }
        }
        self.troubles = troubles.into_iter().filter(|(_, trouble)| trouble.held_until == 0).collect();
    }

    /// Nothing is wrong with this link ever after.
    pub fn heal_link(&mut self, from: Endpoint, to: Endpoint) {
        let link = &mut self.links[Self::number(from, to)];
        (link.cuts, link.healed) = (0, true);
    }

    /// No cut, no trouble, no loss, on any link.
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
    const KIND: MessageKind = MessageKind::Append;

    fn plan() -> NetworkPlan {
        NetworkPlan {
            latency_min_us: 100,
            latency_max_us: 5_000,
            tail_ppm: 0,
            tail_us: 0,
            loss_ppm: 100_000,
            duplicate_ppm: 100_000,
            reorder_ppm: 0,
            call_ppm: 0,
            call_late_ms: 0,
        }
    }

    #[test]
    fn one_lane_keeps_its_order_unless_reordering_is_on() {
        let mut network = Network::new(3, NetworkPlan { loss_ppm: 0, duplicate_ppm: 0, ..plan() });
        let times: Vec<u64> = (0..200).filter_map(|n| network.send(n * 1_000, A, B, 0, KIND)[0]).collect();
        assert!(times.is_sorted() && times.len() == 200);
        let mut network =
            Network::new(3, NetworkPlan { loss_ppm: 0, duplicate_ppm: 0, reorder_ppm: 500_000, ..plan() });
        let times: Vec<u64> = (0..200).filter_map(|n| network.send(n * 1_000, A, B, 0, KIND)[0]).collect();
        assert!(!times.is_sorted());
    }

    #[test]
    fn messages_are_lost_and_repeated_in_their_share() {
        let mut network = Network::new(3, plan());
        let all: Vec<_> = (0..10_000).map(|n| network.send(n, A, B, 0, KIND)).collect();
        let lost = all.iter().filter(|times| times[0].is_none()).count();
        let twice = all.iter().filter(|times| times[1].is_some()).count();
        assert!((900..1_100).contains(&lost) && (800..1_000).contains(&twice), "{lost} {twice}");
    }

    #[test]
    fn cuts_have_a_direction_and_are_counted() {
        let mut network = Network::new(3, NetworkPlan { loss_ppm: 0, ..plan() });
        network.cut(A, B);
        network.cut(A, B);
        assert!(network.send(0, A, B, 0, KIND)[0].is_none() && network.send(0, B, A, 0, KIND)[0].is_some());
        assert!(!network.mend(A, B) && !network.open(A, B) && network.mend(A, B) && network.open(A, B));
    }

    #[test]
    fn a_fault_leaves_the_draws_of_others_as_they_were() {
        let base = NetworkPlan { loss_ppm: 0, duplicate_ppm: 0, ..plan() };
        let (mut calm, mut troubled) = (Network::new(3, base), Network::new(3, base));
        troubled.trouble(0, Trouble { loss_ppm: 300_000, ..Trouble::default() });
        for n in 0..500 {
            let (one, other) = (
                calm.send(n * 10_000_000, A, B, 0, KIND)[0],
                troubled.send(n * 10_000_000, A, B, 0, KIND)[0],
            );
            assert!(other.is_none() || one == other);
        }
    }

    #[test]
    fn a_clogged_link_delivers_all_at_its_end_and_a_filter_loses_one_kind() {
        let mut network = Network::new(3, NetworkPlan { loss_ppm: 0, duplicate_ppm: 0, ..plan() });
        let clog = Trouble {
            scope: Scope::Some(vec![(A, B)]),
            held_until: 70_000_000,
            mark: Some(SimMark::ClogHeld),
            ..Trouble::default()
        };
        network.trouble(0, clog);
        let times: Vec<u64> = (0..20).filter_map(|n| network.send(n, A, B, 0, KIND)[0]).collect();
        assert!(times.len() == 20 && times.is_sorted() && times[0] > 70_000_000, "{times:?}");
        assert!(network.send(0, B, A, 0, KIND)[0].is_some_and(|time| time < 10_000_000));
        assert_eq!(network.marks.of(SimMark::ClogHeld), 20);
        network.calm(0);
        let only = Some(MessageKind::VoteReply);
        network.trouble(1, Trouble { only, loss_ppm: 1_000_000, ..Trouble::default() });
        assert!(network.send(0, A, B, 0, MessageKind::VoteReply)[0].is_none());
        assert!(network.send(0, A, B, 0, KIND)[0].is_some());
        network.heal_link(A, B);
        assert!(network.send(0, A, B, 0, MessageKind::VoteReply)[0].is_some());
    }

    #[test]
    fn what_is_held_for_ever_never_comes() {
        let mut network = Network::new(3, NetworkPlan { loss_ppm: 0, ..plan() });
        let scope = Scope::Some(vec![(A, B)]);
        network.trouble(0, Trouble { scope, held_until: 70_000_000, ..Trouble::default() });
        network.hold_for_ever();
        assert!(!network.open(A, B) && network.open(B, A));
    }
}
