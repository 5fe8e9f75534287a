//! A machine's clocks: a monotonic one that starts somewhere and drifts, and a wall clock that is wrong and may jump.

use crate::plan::ClockPlan;
use quorate_core::types::{Now, Time};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
/// Wall clock of the true time 0, Unix milliseconds.
const WALL_START_MS: i64 = 1_767_225_600_000;

/// The clocks of one machine. The monotonic one runs evenly from one change of its drift to the next.
#[derive(Clone, Debug)]
pub struct Clock {
    /// True time since which it runs with this drift.
    since: u64,
    /// What it showed then.
    shown: u64,
    drift_ppb: i64,
    planned_ppb: i64,
    frozen: bool,
    wall_error_ms: i64,
}

impl Clock {
    /// As planned.
    #[must_use]
    pub const fn new(plan: &ClockPlan) -> Self {
        Self {
            since: 0,
            shown: plan.offset_ms * MILLISECOND,
            drift_ppb: plan.drift_ppb,
            planned_ppb: plan.drift_ppb,
            frozen: false,
            wall_error_ms: plan.wall_error_ms,
        }
    }

    /// Sets the wall clock forward, or back.
    pub const fn step_wall(&mut self, by_ms: i64) {
        self.wall_error_ms += by_ms;
    }

    /// Runs with another drift from this true time on; `None`: with the planned one.
    pub fn set_drift(&mut self, true_time: u64, ppb: Option<i64>) {
        self.begin(true_time);
        self.drift_ppb = ppb.unwrap_or(self.planned_ppb);
    }

    /// Stands still from this true time on, or goes on.
    pub fn freeze(&mut self, true_time: u64, frozen: bool) {
        self.begin(true_time);
        self.frozen = frozen;
    }

    /// Whether it stands still.
    #[must_use]
    pub const fn is_frozen(&self) -> bool {
        self.frozen
    }

    fn begin(&mut self, true_time: u64) {
        (self.shown, self.since) = (self.local(true_time).0, true_time);
    }

    /// What the clocks show at a true time, in nanoseconds.
    #[must_use]
    pub fn now(&self, true_time: u64) -> Now {
        let wall = WALL_START_MS + (true_time / MILLISECOND) as i64 + self.wall_error_ms;
        Now { time: self.local(true_time), wall_ms: u64::try_from(wall).unwrap_or(0) }
    }

    /// What the monotonic clock shows at a true time.
    #[must_use]
    pub fn local(&self, true_time: u64) -> Time {
        if self.frozen {
            return Time(self.shown);
        }
        let passed = true_time.saturating_sub(self.since);
        if self.drift_ppb == 0 {
            return Time(self.shown + passed);
        }
        // Whole seconds apart from the rest: all of it fits 64 bits, and rounds as one division would.
        let (seconds, rest) = ((passed / SECOND) as i64, (passed % SECOND) as i64);
        let drift = seconds * self.drift_ppb + rest * self.drift_ppb / SECOND as i64;
        Time(self.shown.wrapping_add(passed).wrapping_add_signed(drift))
    }

    /// The first true time at which the monotonic clock shows this or more.
    #[must_use]
    pub fn true_time(&self, local: Time) -> u64 {
        let wanted = local.0.saturating_sub(self.shown);
        if wanted == 0 {
            return self.since;
        }
        if self.frozen || local == Time::FAR {
            return u64::MAX - 1;
        }
        if self.drift_ppb == 0 {
            return self.since.saturating_add(wanted);
        }
        let rate = i128::from(1_000_000_000 + self.drift_ppb);
        let guess = (i128::from(wanted) * 1_000_000_000 / rate) as u64;
        let mut guess = self.since.saturating_add(guess);
        while guess > self.since && self.local(guess - 1) >= local {
            guess -= 1;
        }
        while self.local(guess) < local {
            guess += 1;
        }
        guess
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_met_at_the_first_instant_that_shows_them() {
        for drift_ppb in [0, 1, 20_000_000, -20_000_000, 333_333] {
            let clock = Clock::new(&ClockPlan { offset_ms: 17, drift_ppb, wall_error_ms: -5 });
            for local in [0, 17_000_001, 17_500_000, 999_999_999, 60_000_000_001] {
                let time = clock.true_time(Time(local));
                assert!(clock.local(time) >= Time(local), "{drift_ppb} {local}");
                assert!(time == 0 || clock.local(time - 1) < Time(local), "{drift_ppb} {local}");
            }
        }
    }

    #[test]
    fn a_fast_clock_gains() {
        let clock = Clock::new(&ClockPlan { offset_ms: 0, drift_ppb: 1_000_000, wall_error_ms: 0 });
        assert_eq!(clock.local(1_000_000_000), Time(1_001_000_000));
    }

    #[test]
    fn a_clock_never_goes_back_when_its_drift_changes_or_it_stands_still() {
        let mut clock = Clock::new(&ClockPlan { offset_ms: 5, drift_ppb: -20_000_000, wall_error_ms: 0 });
        clock.set_drift(1_000_000_000, Some(20_000_000));
        assert_eq!(clock.local(1_000_000_000), Time(985_000_000));
        assert_eq!(clock.local(2_000_000_000), Time(2_005_000_000));
        clock.freeze(2_000_000_000, true);
        assert_eq!(clock.local(9_000_000_000), Time(2_005_000_000));
        assert_eq!(clock.true_time(Time(2_005_000_001)), u64::MAX - 1);
        clock.freeze(9_000_000_000, false);
        clock.set_drift(9_000_000_000, None);
        assert_eq!(clock.local(10_000_000_000), Time(2_985_000_000));
        let met = clock.true_time(Time(2_985_000_000));
        assert!(clock.local(met).0 >= 2_985_000_000 && clock.local(met - 1).0 < 2_985_000_000, "{met}");
        assert_eq!(clock.true_time(Time(1)), 9_000_000_000);
    }
}
