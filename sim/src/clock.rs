//! A machine's clocks: a monotonic one that starts somewhere and drifts, and a wall clock that is wrong and may jump.

use crate::plan::ClockPlan;
use quorate_core::types::{Now, Time};

const MILLISECOND: u64 = 1_000_000;
/// Wall clock of the true time 0, Unix milliseconds.
const WALL_START_MS: i64 = 1_767_225_600_000;

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub struct Clock {
    offset: u64,
    drift_ppb: i64,
    wall_error_ms: i64,
}

impl Clock {
    /// As planned.
    #[must_use]
    pub const fn new(plan: &ClockPlan) -> Self {
        Self {
            offset: plan.offset_ms * MILLISECOND,
            drift_ppb: plan.drift_ppb,
            wall_error_ms: plan.wall_error_ms,
        }
    }

    /// Sets the wall clock forward, or back.
    pub const fn step_wall(&mut self, by_ms: i64) {
        self.wall_error_ms += by_ms;
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
        let drift = i128::from(true_time) * i128::from(self.drift_ppb) / 1_000_000_000;
        Time(self.offset + (i128::from(true_time) + drift) as u64)
    }

    /// The first true time at which the monotonic clock shows this or more.
    #[must_use]
    pub fn true_time(&self, local: Time) -> u64 {
        let wanted = local.0.saturating_sub(self.offset);
        if self.drift_ppb == 0 || wanted == 0 || local == Time::FAR {
            return wanted;
        }
        let rate = i128::from(1_000_000_000 + self.drift_ppb);
        let mut guess = (i128::from(wanted) * 1_000_000_000 / rate) as u64;
        while guess > 0 && self.local(guess - 1) >= local {
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
}
