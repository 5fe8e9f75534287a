//! How long a task waits after it failed.

use quorate_proto::v1 as pb;

// Binary places behind the point, so that a growth of one percent grows even from one millisecond.
const PLACES: u32 = 16;

/// The wait after so many failures, in milliseconds: the first wait, grown with each further failure, up to the longest.
pub(crate) fn wait_ms(retry: &pb::RetryPolicy, failures: u32) -> u64 {
    let longest = u128::from(retry.backoff_max_ms) << PLACES;
    let mut wait = u128::from(retry.backoff_initial_ms) << PLACES;
    let growth = u128::from(retry.backoff_growth_percent.max(100));
    // With a growth of at least one percent the longest wait is reached after some thousand rounds at most.
    let rounds = if growth == 100 { 0 } else { failures.saturating_sub(1) };
    for _ in 0..rounds {
        if wait >= longest || wait == 0 {
            break;
        }
        wait = wait * growth / 100;
    }
    u64::try_from(wait.min(longest) >> PLACES).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(initial: u64, max: u64, growth: u32) -> pb::RetryPolicy {
        pb::RetryPolicy {
            backoff_initial_ms: initial,
            backoff_max_ms: max,
            backoff_growth_percent: growth,
            ..Default::default()
        }
    }

    #[test]
    fn waits_grow_up_to_the_longest() {
        let waits: Vec<_> = (1..=8).map(|failures| wait_ms(&policy(1_000, 60_000, 200), failures)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn waits_are_bounded_at_the_ends_of_every_range() {
        assert_eq!(wait_ms(&policy(1, 86_400_000, 101), u32::MAX), 86_400_000);
        assert_eq!(wait_ms(&policy(500, 86_400_000, 100), u32::MAX), 500);
        assert_eq!(wait_ms(&policy(3_600_000, 1_000, 1_000), 1), 1_000);
        assert_eq!(wait_ms(&policy(u64::MAX, u64::MAX, 1_000), u32::MAX), u64::MAX);
    }

    #[test]
    fn one_percent_grows_from_one_millisecond() {
        assert!(wait_ms(&policy(1, 1_000, 101), 200) > 1);
    }
}
