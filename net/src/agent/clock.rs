//! The clock of agents and guards. It runs on while the machine is suspended, so that no lease outlives a long sleep.

use quorate_core::types::{Now, Time};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// `CLOCK_BOOTTIME`: the same in every process of one machine.
#[must_use]
pub fn time() -> Time {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(tv_sec).unwrap_or(0);
    Time(seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(tv_nsec).unwrap_or(0)))
}

/// What a step of an agent needs to know.
#[must_use]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { time: time(), wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
}
