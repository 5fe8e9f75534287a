//! The links that a fault cuts: one list for both levels.

use super::{FaultKind, Way};
use crate::network::Endpoint;

/// One direction between two machines.
pub type Link = (Endpoint, Endpoint);

/// How many machines there are, and who leads.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// Masters.
    pub masters: u8,
    /// Clients.
    pub clients: u8,
    /// The master that leads, if one does.
    pub leader: Option<u8>,
}

impl FaultKind {
    /// The links that are cut while it is on. `None`: it cuts nothing, or nobody leads.
    #[must_use]
    pub fn cuts(&self, around: Around) -> Option<Vec<Link>> {
        let masters = around.masters;
        Some(match self {
            Self::Cut { side } | Self::Flap { side, .. } => both_ways(&between(side, &others(side, masters))),
            Self::CutOneWay { side } => between(side, &others(side, masters)),
            Self::Ring {} => {
                let far = |a: u8, b: u8| masters > 3 && a.abs_diff(b) != 1 && a.abs_diff(b) != masters - 1;
                // Of three, each is a neighbour of each: one link is taken out, so that they form a line.
                let line = |a: u8, b: u8| masters == 3 && a.abs_diff(b) == 2;
                pairs(masters, |a, b| far(a, b) || line(a, b))
            }
            Self::RingMajorities {} => {
                // Each hears itself and the next ones, up to a majority.
                let heard = masters / 2;
                pairs(masters, |from, to| (from + masters - to) % masters > heard)
            }
            Self::Bridge { master } => {
                let rank = |place: u8| (place + masters - master) % masters;
                let low = |place: u8| rank(place) <= (masters - 1) / 2;
                pairs(masters, |a, b| rank(a) != 0 && rank(b) != 0 && low(a) != low(b))
            }
            Self::Isolate { master, way } => apart(*master, *way, masters),
            Self::IsolateLeader { one_way, deaf } => {
                let way = match (one_way, deaf) {
                    (true, _) => Way::Out,
                    (_, true) => Way::In,
                    _ => Way::Both,
                };
                apart(around.leader?, way, masters)
            }
            Self::CutExecutor { executor } | Self::FlapExecutor { executor, .. } => {
                both_ways(&to_masters(Endpoint::Executor(*executor), 0..masters))
            }
            Self::CutExecutorOneWay { executor, deaf } => {
                one_way(to_masters(Endpoint::Executor(*executor), 0..masters), *deaf)
            }
            Self::CutExecutorFrom { executor, masters } => {
                both_ways(&to_masters(Endpoint::Executor(*executor), masters.iter().copied()))
            }
            Self::CutClients { master } => {
                let far = others(&[*master], masters);
                let clients = (0..around.clients).map(Endpoint::Client);
                let links: Vec<Link> =
                    clients.flat_map(|client| to_masters(client, far.iter().copied())).collect();
                both_ways(&links)
            }
            Self::CutClientOneWay { client, deaf } => {
                one_way(to_masters(Endpoint::Client(*client), 0..masters), *deaf)
            }
            _ => return None,
        })
    }
}

/// The masters that are not on this side.
#[must_use]
pub fn others(side: &[u8], masters: u8) -> Vec<u8> {
    (0..masters).filter(|master| !side.contains(master)).collect()
}

/// From each of these masters to each of those, but not to itself.
#[must_use]
pub fn between(from: &[u8], to: &[u8]) -> Vec<Link> {
    let pairs = from.iter().flat_map(|&a| to.iter().map(move |&b| (a, b)));
    pairs.filter(|(a, b)| a != b).map(|(a, b)| (Endpoint::Master(a), Endpoint::Master(b))).collect()
}

/// Each link in both directions.
#[must_use]
pub fn both_ways(links: &[Link]) -> Vec<Link> {
    links.iter().flat_map(|&(from, to)| [(from, to), (to, from)]).collect()
}

/// From a machine to these masters.
#[must_use]
pub fn to_masters(from: Endpoint, masters: impl IntoIterator<Item = u8>) -> Vec<Link> {
    masters.into_iter().map(|master| (from, Endpoint::Master(master))).collect()
}

fn one_way(links: Vec<Link>, back: bool) -> Vec<Link> {
    if back { links.into_iter().map(|(from, to)| (to, from)).collect() } else { links }
}

fn apart(master: u8, way: Way, masters: u8) -> Vec<Link> {
    let out = between(&[master], &others(&[master], masters));
    match way {
        Way::Both => both_ways(&out),
        Way::Out => out,
        Way::In => one_way(out, true),
    }
}

fn pairs(masters: u8, cut: impl Fn(u8, u8) -> bool) -> Vec<Link> {
    let all = (0..masters).flat_map(|a| (0..masters).map(move |b| (a, b)));
    all.filter(|&(a, b)| a != b && cut(a, b))
        .map(|(a, b)| (Endpoint::Master(a), Endpoint::Master(b)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(kind: &FaultKind, masters: u8) -> Vec<(u8, u8)> {
        let around = Around { masters, clients: 2, leader: Some(1) };
        let links = kind.cuts(around).unwrap_or_default();
        let place = |end| match end {
            Endpoint::Master(place) | Endpoint::Executor(place) | Endpoint::Client(place) => place,
        };
        links.into_iter().map(|(from, to)| (place(from), place(to))).collect()
    }

    #[test]
    fn on_a_ring_of_majorities_each_hears_another_majority() {
        for masters in [3, 5, 7] {
            let cut = cut(&FaultKind::RingMajorities {}, masters);
            let heard: std::collections::BTreeSet<Vec<u8>> = (0..masters)
                .map(|to| (0..masters).filter(|&from| !cut.contains(&(from, to))).collect())
                .collect();
            assert_eq!(heard.len(), usize::from(masters));
            assert!(heard.iter().all(|hears| hears.len() == usize::from(masters / 2 + 1)), "{heard:?}");
        }
    }

    #[test]
    fn a_bridge_is_the_only_way_between_two_halves() {
        let cut = cut(&FaultKind::Bridge { master: 3 }, 5);
        assert!(cut.iter().all(|&(from, to)| from != 3 && to != 3));
        assert_eq!(cut.len(), 8, "{cut:?}");
    }

    #[test]
    fn a_way_is_the_direction_that_is_lost() {
        let isolate = |way| cut(&FaultKind::Isolate { master: 0, way }, 3);
        assert_eq!(isolate(Way::Out), [(0, 1), (0, 2)]);
        assert_eq!(isolate(Way::In), [(1, 0), (2, 0)]);
        assert_eq!(isolate(Way::Both).len(), 4);
        assert_eq!(cut(&FaultKind::IsolateLeader { one_way: false, deaf: true }, 3), [(0, 1), (2, 1)]);
        assert_eq!(
            cut(&FaultKind::CutExecutorOneWay { executor: 2, deaf: true }, 3),
            [(0, 2), (1, 2), (2, 2)]
        );
        assert_eq!(cut(&FaultKind::CutExecutorFrom { executor: 2, masters: vec![1] }, 3), [(2, 1), (1, 2)]);
    }
}
