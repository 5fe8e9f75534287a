//! One test at a time: two cores do not carry two clusters with deadlines.

use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE: Mutex<()> = Mutex::new(());

/// Held by the one test that may run.
#[derive(Debug)]
pub struct Serial(#[expect(dead_code, reason = "held until it is dropped")] MutexGuard<'static, ()>);

impl Serial {
    /// Waits for all others in this process. A test that failed does not stop the next one.
    #[must_use]
    pub fn take() -> Self {
        Self(ONE.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
