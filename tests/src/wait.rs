//! Waiting for something that must happen within a bound.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(30);

/// Looks until `condition` holds, and returns what it found.
///
/// # Panics
/// If it does not hold within the bound: names what was waited for, and what the last look found.
pub fn wait_until<T>(within: Duration, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match condition() {
            Ok(found) => return found,
            Err(found) if Instant::now() >= deadline => {
                panic!("{what}: not within {within:?}; at last: {found}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_what_was_found() {
        let mut looks = 0;
        let found = wait_until(Duration::from_secs(5), "three looks", || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("{looks} looks")) }
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "the moon: not within 50ms; at last: cheese")]
    fn it_says_what_was_missing() {
        wait_until(Duration::from_millis(50), "the moon", || Err::<(), _>("cheese".to_owned()));
    }
}
