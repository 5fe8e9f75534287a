//! Cluster time: what was last applied, and the leader's monotonic time since then.

use crate::types::{ClusterTime, Time};
use core::time::Duration;

/// Where a leader's clock and cluster time met.
#[derive(Clone, Debug)]
pub struct ClusterClock {
    since: Time,
    base: ClusterTime,
}

impl ClusterClock {
    /// They meet now.
    #[must_use]
    pub const fn new(now: Time, base: ClusterTime) -> Self {
        Self { since: now, base }
    }

    /// They meet again, perhaps later than was known.
    pub fn rebase(&mut self, now: Time, applied: ClusterTime) {
        *self = Self::new(now, self.at(now).max(applied));
    }

    /// Cluster time at a moment.
    #[must_use]
    pub fn at(&self, now: Time) -> ClusterTime {
        let passed = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        self.base.plus_ms(passed)
    }

    /// The moment at which cluster time is `time`; the start if it has passed.
    #[must_use]
    pub fn when(&self, time: ClusterTime) -> Time {
        self.since + Duration::from_millis(time.0.saturating_sub(self.base.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_time_goes_on_from_what_was_applied_and_never_back() {
        let second = |seconds: u64| Time(seconds * 1_000_000_000);
        let mut clock = ClusterClock::new(second(10), ClusterTime(5_000));
        assert_eq!(clock.at(second(12)), ClusterTime(7_000));
        assert_eq!(clock.when(ClusterTime(7_000)), second(12));
        clock.rebase(second(13), ClusterTime(6_000));
        assert_eq!(clock.at(second(13)), ClusterTime(8_000));
        clock.rebase(second(14), ClusterTime(20_000));
        assert_eq!(clock.at(second(15)), ClusterTime(21_000));
    }
}
