//! Whether two nodes would behave alike: a hash of all that they hold, with times relative to now.
//!
//! A search over all orders of events uses it to know a state again. Draws that are still to come are left out: such a
//! search lets timers run out in every order anyway.

use crate::types::Time;
use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher13;

/// Collects what a node holds.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    now: Option<Time>,
    hasher: SipHasher13,
}

impl Fingerprint {
    /// Times are taken relative to `now`.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self { now: Some(now), hasher: SipHasher13::new() }
    }

    /// Times are left out: for a search in which every timer may run out at any moment.
    #[must_use]
    pub fn timeless() -> Self {
        Self { now: None, hasher: SipHasher13::new() }
    }

    /// Adds a value. It must hold no time.
    pub fn add(&mut self, value: impl Hash) -> &mut Self {
        value.hash(&mut self.hasher);
        self
    }

    /// Adds a point in time, as far as it lies before or after now.
    pub fn add_time(&mut self, time: Time) -> &mut Self {
        let Some(now) = self.now else { return self };
        let relative = if time == Time::FAR { i128::MAX } else { i128::from(time.0) - i128::from(now.0) };
        self.add(relative)
    }

    /// The hash.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.hasher.finish()
    }
}
