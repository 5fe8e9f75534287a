//! When leases run out, by the leader's clock. Keep-alives are not replicated: only the end of a lease is.

use crate::{
    bug::{self, Bug},
    fingerprint::Fingerprint,
    limits,
    mark::{self, Mark},
    types::{LeaseId, Time},
};
use core::time::Duration;
use quorate_proto::v1 as pb;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
struct Running {
    /// Time to live and grace.
    span: Duration,
    ends: Time,
    /// Its end is proposed: whoever is heard of too late stays lost, or two would do its work.
    ending: bool,
}

/// The leases of a reign.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    running: BTreeMap<LeaseId, Running>,
    by_end: BTreeSet<(Time, LeaseId)>,
}

impl Leases {
    /// A lease begins its full time, unless it is known.
    pub fn grant(&mut self, now: Time, lease: &pb::Lease) {
        let id = LeaseId(lease.id);
        if self.running.contains_key(&id) {
            return;
        }
        let mut span = Duration::from_millis(lease.ttl_ms.saturating_add(lease.grace_ms));
        if bug::planted(Bug::LeaseGraceIgnored) {
            span = Duration::from_millis(lease.ttl_ms);
        }
        if bug::planted(Bug::LeaseEndsEarly) {
            span /= 2;
        }
        self.running.insert(id, Running { span, ends: now + span, ending: false });
        self.by_end.insert((now + span, id));
    }

    /// A lease is gone.
    pub fn forget(&mut self, id: LeaseId) {
        if let Some(lease) = self.running.remove(&id) {
            self.by_end.remove(&(lease.ends, id));
        }
    }

    /// Its holder was heard of at `heard`. False: there is no such lease, or its end is proposed.
    pub fn renew(&mut self, id: LeaseId, heard: Time) -> bool {
        let Some(lease) =
            self.running.get_mut(&id).filter(|lease| !lease.ending || bug::planted(Bug::LeaseRevived))
        else {
            return false;
        };
        let ends = heard + lease.span;
        mark::hit_if(ends < lease.ends, Mark::RenewedLate);
        if ends > lease.ends {
            self.by_end.remove(&(lease.ends, id));
            self.by_end.insert((ends, id));
            lease.ends = ends;
        }
        true
    }

    /// Every lease ends later by so much.
    pub fn extend_all(&mut self, by: Duration) {
        mark::hit_if(!self.running.is_empty(), Mark::LeasesForgiven);
        self.by_end.clear();
        for (&id, lease) in &mut self.running {
            lease.ends = lease.ends + by;
            if !lease.ending {
                self.by_end.insert((lease.ends, id));
            }
        }
    }

    /// All that have run out, up to the limit of one entry.
    #[must_use]
    pub fn expired(&self, now: Time) -> Vec<LeaseId> {
        self.by_end
            .iter()
            .take_while(|(ends, _)| *ends <= now && !bug::planted(Bug::LeaseNeverEnds))
            .take(limits::EXPIRIES)
            .map(|(_, id)| *id)
            .collect()
    }

    /// The end of these is proposed.
    pub fn end_proposed(&mut self, ids: &[LeaseId]) {
        for id in ids {
            if let Some(lease) = self.running.get_mut(id) {
                lease.ending = true;
                self.by_end.remove(&(lease.ends, *id));
            }
        }
    }

    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        for (id, lease) in &self.running {
            print.add((id, lease.span, lease.ending)).add_time(lease.ends);
        }
    }

    /// When the next one runs out.
    #[must_use]
    pub fn next_end(&self) -> Option<Time> {
        self.by_end.first().map(|(ends, _)| *ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn leases() -> Leases {
        let mut leases = Leases::default();
        for id in 1..=3 {
            leases.grant(at(0), &pb::Lease { id, ttl_ms: 5_000, grace_ms: 2_000, holder: None });
        }
        leases
    }

    #[test]
    fn all_that_ran_out_come_at_once_and_what_was_renewed_does_not() {
        let mut leases = leases();
        assert!(leases.renew(LeaseId(2), at(1)));
        assert_eq!(leases.expired(at(6)), []);
        assert_eq!(leases.expired(at(7)), [LeaseId(1), LeaseId(3)]);
        assert_eq!(leases.next_end(), Some(at(7)));
    }

    #[test]
    fn a_keep_alive_after_the_proposal_of_the_end_is_refused() {
        let mut leases = leases();
        leases.end_proposed(&[LeaseId(1)]);
        assert!(!leases.renew(LeaseId(1), at(7)));
        assert!(leases.renew(LeaseId(2), at(7)));
        assert!(!leases.renew(LeaseId(9), at(7)));
    }

    #[test]
    fn a_late_keep_alive_never_shortens_a_lease() {
        let mut leases = leases();
        assert!(leases.renew(LeaseId(1), at(3)));
        assert!(leases.renew(LeaseId(1), at(2)));
        assert_eq!(leases.expired(at(9)), [LeaseId(2), LeaseId(3)]);
    }

    #[test]
    fn a_gap_is_given_back_to_all() {
        let mut leases = leases();
        leases.extend_all(Duration::from_secs(4));
        assert_eq!(leases.expired(at(10)), []);
        assert_eq!(leases.expired(at(11)).len(), 3);
    }
}
