//! Which voter leads rather than another: an operator gives each a priority, so that for example one zone leads.
//!
//! * Whoever is not to lead (a priority below 0) stands for election only when nobody has led for long: a cluster that is led
//!   from the wrong place serves, and one that is not led does not. A successor is chosen from those that are to lead, if one
//!   of them answers.
//! * A leader hands over to a voter of higher priority that has answered for a while, and was sent all of the log: nothing is
//!   proposed until it holds it.
//! * It does so less and less often, as long as that does not last; and whoever has led several times within a short while
//!   waits longer before it stands again. A machine that comes and goes does not take the leadership with it each time.

use super::{
    Raft,
    progress::{Mode, Progress},
};
use crate::{
    bug::{self, Bug},
    limits::{FLAPPING_REIGNS, FLAPPING_WITHIN, HAND_OVER_BACKOFF, LAST_RESORT, PREFERRED_AFTER},
    mark::{self, Mark},
    types::{NodeId, Time},
};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// What a node knows of who is to lead, and of how often that changed.
#[derive(Clone, Debug)]
pub(crate) struct Preference {
    /// Of members whose priority is not 0.
    priorities: BTreeMap<NodeId, i32>,
    /// Election timeouts since a leader was heard.
    missed: u32,
    /// When this node was elected, the newest last.
    reigns: VecDeque<Time>,
    /// The last hand-over to a voter that is preferred, or that was given up, and how often one came soon after another.
    handed: Option<(Time, u32)>,
}

impl Preference {
    pub(crate) const fn new() -> Self {
        Self { priorities: BTreeMap::new(), missed: 0, reigns: VecDeque::new(), handed: None }
    }

    fn of(&self, node: NodeId) -> i32 {
        self.priorities.get(&node).copied().unwrap_or(0)
    }

    pub(crate) fn fingerprint(&self, print: &mut crate::fingerprint::Fingerprint) {
        print.add((&self.priorities, self.missed, self.handed.map(|(_, times)| times)));
        for at in self.reigns.iter().chain(self.handed.iter().map(|(at, _)| at)) {
            print.add_time(*at);
        }
    }
}

impl Raft {
    /// The members' priorities, as they were carried out. Who is not named has 0.
    pub fn set_priorities(&mut self, priorities: BTreeMap<NodeId, i32>) {
        self.preference.priorities = priorities;
    }

    /// Whether a voter is to lead rather than not at all.
    pub(crate) fn is_eligible(&self, node: NodeId) -> bool {
        self.preference.of(node) >= 0
    }

    /// A voter's priority.
    pub(crate) fn priority_of(&self, node: NodeId) -> i32 {
        self.preference.of(node)
    }

    /// An election timeout has passed. Whether this node may stand: one that is not to lead waits for others first.
    pub(crate) fn should_campaign(&mut self) -> bool {
        self.preference.missed += 1;
        let last_resort = self.preference.missed > LAST_RESORT;
        let stands = self.is_eligible(self.id) || last_resort || bug::planted(Bug::AvoidedStands);
        mark::hit_if(!stands, Mark::CampaignAvoided);
        mark::hit_if(!self.is_eligible(self.id) && last_resort, Mark::CampaignLastResort);
        stands
    }

    /// A leader was heard.
    pub(crate) const fn leader_is_there(&mut self) {
        self.preference.missed = 0;
    }

    /// This node was elected.
    pub(crate) fn reign_begins(&mut self) {
        let reigns = &mut self.preference.reigns;
        reigns.push_back(self.now);
        if reigns.len() > FLAPPING_REIGNS {
            reigns.pop_front();
        }
    }

    /// Whether it has led so often lately that others should be first: what it waits in addition.
    pub(crate) fn flapping_wait(&self) -> Duration {
        let reigns = &self.preference.reigns;
        let since = |at: &Time| self.now.since(*at) < self.timing.election_max * FLAPPING_WITHIN;
        let flaps = reigns.len() == FLAPPING_REIGNS
            && reigns.front().is_some_and(since)
            && !bug::planted(Bug::FlappingIgnored);
        mark::hit_if(flaps, Mark::Flapping);
        if flaps { self.timing.election_max } else { Duration::ZERO }
    }

    /// A hand-over was given up, whoever wanted it: clients are served before the next one that nobody asked for.
    pub(crate) fn hand_over_failed(&mut self) {
        let times = self.preference.handed.map_or(0, |(_, times)| times);
        self.preference.handed = Some((self.now, times));
    }

    /// A leader's period: does a voter answer that is to lead rather than this node?
    pub(crate) fn prefer_another(&mut self) {
        let Some(leading) = &self.leading else { return };
        let settle = self.timing.election_max * PREFERRED_AFTER;
        if leading.transfer.is_some() || self.now.since(leading.since) < settle {
            return;
        }
        let (own, last) = (self.preference.of(self.id), self.log.last().index);
        let steady = |peer: &Progress| {
            self.answers(Some(peer))
                && self.now.since(peer.answers_since) >= settle
                && (peer.is_close(last) || (bug::planted(Bug::SuccessorLags) && peer.mode == Mode::Replicate))
        };
        let preferred = leading.progress.iter().filter(|(node, peer)| {
            let rather = self.preference.of(**node) > own && self.is_eligible(**node);
            rather && self.membership.is_voter(**node) && !self.is_differing(**node) && steady(peer)
        });
        let best = preferred.rev().max_by_key(|(node, peer)| (self.preference.of(**node), peer.matched));
        let Some(to) = best.map(|(node, _)| *node) else { return };
        let again = match self.preference.handed {
            None => 0,
            Some((at, times)) => {
                let wait = settle * (1 << times.min(HAND_OVER_BACKOFF));
                if self.now.since(at) < wait && !bug::planted(Bug::HandOverNotPutOff) {
                    mark::hit(Mark::PreferredWaits);
                    return;
                }
                if self.now.since(at) < wait * 4 { times.saturating_add(1) } else { 0 }
            }
        };
        if !bug::planted(Bug::PreferredIgnored) && self.transfer(Some(to)).is_ok() {
            mark::hit(Mark::PreferredLeads);
            self.preference.handed = Some((self.now, again));
        }
    }
}
