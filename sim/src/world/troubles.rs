//! What faults do to messages on their way: some are lost, late, repeated or held, and links are cut and mended.

use super::World;
use crate::{
    marks::SimMark,
    network::{Endpoint, Scope, Trouble},
    plan::{Around, FaultKind, Link, MessageKind, between, both_ways, to_masters},
};

/// One millisecond in microseconds.
const MILLISECOND_US: u64 = 1_000;

impl World {
    /// What a fault does to messages, if it does something to them.
    pub(super) fn trouble_of(&self, kind: &FaultKind, ends: u64) -> Option<Trouble> {
        let all: Vec<u8> = (0..self.masters.len() as u8).collect();
        Some(match kind {
            FaultKind::Delay { ppm, most_ms } => Trouble {
                tail_ppm: *ppm,
                tail_us: most_ms * MILLISECOND_US,
                mark: Some(SimMark::DelayLate),
                ..Trouble::default()
            },
            FaultKind::Loss { ppm } => {
                Trouble { loss_ppm: *ppm, mark: Some(SimMark::LossLost), ..Trouble::default() }
            }
            FaultKind::Duplicate { ppm, most_ms } => Trouble {
                scope: Scope::Some(between(&all, &all)),
                duplicate_ppm: *ppm,
                duplicate_us: most_ms * MILLISECOND_US,
                mark: Some(SimMark::DuplicateTwice),
                ..Trouble::default()
            },
            FaultKind::Reorder { ppm, most_ms } => Trouble {
                reorder_ppm: *ppm,
                reorder_us: most_ms * MILLISECOND_US,
                mark: Some(SimMark::ReorderOvertaken),
                ..Trouble::default()
            },
            FaultKind::Clog { from, to } => Trouble {
                scope: Scope::Some(between(from, to)),
                held_until: ends,
                mark: Some(SimMark::ClogHeld),
                ..Trouble::default()
            },
            FaultKind::SlowLink { from, to, by_ms } => Trouble {
                scope: Scope::Some(between(&[*from], &[*to])),
                slow_us: by_ms * MILLISECOND_US,
                mark: Some(SimMark::SlowLinkLate),
                ..Trouble::default()
            },
            FaultKind::Filter { from, to, what } => Trouble {
                scope: Scope::Some(between(from, if to.is_empty() { &all } else { to })),
                only: Some(*what),
                loss_ppm: crate::draw::MILLION,
                mark: Some(SimMark::FilterDropped),
                ..Trouble::default()
            },
            FaultKind::LateKind { from, what, ppm, most_ms } => Trouble {
                scope: Scope::Some(between(from, &all)),
                only: Some(*what),
                reorder_ppm: *ppm,
                reorder_us: most_ms * MILLISECOND_US,
                mark: Some(SimMark::KindLate),
                ..Trouble::default()
            },
            kind => return self.trouble_of_others(kind),
        })
    }

    /// The same for messages of executors and clients.
    fn trouble_of_others(&self, kind: &FaultKind) -> Option<Trouble> {
        let masters = 0..self.masters.len() as u8;
        let of = |executor: u8| to_masters(Endpoint::Executor(executor), masters.clone());
        let beats = |executor: u8, mark| Trouble {
            scope: Scope::Some(of(executor)),
            only: Some(MessageKind::AgentHeartbeat),
            mark: Some(mark),
            ..Trouble::default()
        };
        Some(match kind {
            FaultKind::LateOrders { executor, ppm, most_ms } => Trouble {
                scope: Scope::Some(both_ways(&of(*executor))),
                only: Some(MessageKind::Other),
                reorder_ppm: *ppm,
                reorder_us: most_ms * MILLISECOND_US,
                mark: Some(SimMark::OrderLate),
                ..Trouble::default()
            },
            FaultKind::HeartbeatLoss { executor, ppm } => {
                Trouble { loss_ppm: *ppm, ..beats(*executor, SimMark::HeartbeatLost) }
            }
            FaultKind::RepeatReports { executor, ppm, most_ms } => Trouble {
                duplicate_ppm: *ppm,
                duplicate_us: most_ms * MILLISECOND_US,
                ..beats(*executor, SimMark::ReportRepeated)
            },
            FaultKind::LateReports { executor, ppm, most_ms } => Trouble {
                reorder_ppm: *ppm,
                reorder_us: most_ms * MILLISECOND_US,
                ..beats(*executor, SimMark::ReportLate)
            },
            FaultKind::LateAnswers { client, by_ms } => {
                let asked = to_masters(Endpoint::Client(*client), masters);
                Trouble {
                    scope: Scope::Some(asked.into_iter().map(|(client, master)| (master, client)).collect()),
                    slow_us: by_ms * MILLISECOND_US,
                    mark: Some(SimMark::AnswerLate),
                    ..Trouble::default()
                }
            }
            _ => return None,
        })
    }

    pub(super) fn cut_for(&mut self, fault: usize, kind: &FaultKind) -> bool {
        let leader = self.leader();
        let around = Around { masters: self.masters.len() as u8, clients: self.clients.len() as u8, leader };
        let Some(links) = kind.cuts(around) else { return false };
        if let FaultKind::IsolateLeader { deaf, .. } = kind {
            self.marks.hit(if *deaf { SimMark::LeaderDeaf } else { SimMark::LeaderIsolated });
        }
        self.cut(fault, links);
        true
    }

    pub(super) fn cut(&mut self, fault: usize, links: Vec<Link>) {
        for &(from, to) in &links {
            self.network.cut(from, to);
        }
        self.cuts.entry(fault).or_default().extend(links);
    }

    /// Cuts what a flapping fault cuts.
    pub(super) fn cut_again(&mut self, fault: usize) {
        let kind = self.plan.faults[fault].kind.clone();
        self.cut_for(fault, &kind);
    }

    pub(super) fn uncut(&mut self, fault: usize) {
        for (from, to) in self.cuts.remove(&fault).unwrap_or_default() {
            let open = self.network.mend(from, to);
            if let (Endpoint::Master(one), Endpoint::Master(other), true) = (from, to, open)
                && one < other
            {
                self.marks.hit(SimMark::CutReconnected);
                self.connect(one, other);
            }
        }
    }
}
