//! Counted randomness: a draw is a hash of the seed, what it is for, and counters. No draw depends on how many others
//! were made, so taking one fault out of a plan leaves every other draw as it was.

use quorate_core::random::mix;

/// Parts in a million: how chances are written in plans.
pub const MILLION: u64 = 1_000_000;

/// What a draw is for. Two purposes share nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Purpose {
    Message = 1,
    DiskLatency,
    Survivors,
    NodeSeed,
    AgentSeed,
    Process,
    Client,
    Start,
    KillTime,
    Guard,
    Fault,
    Double,
    Call,
    Operator,
    Batch,
}

/// One draw.
#[must_use]
pub fn draw(seed: u64, purpose: Purpose, counters: &[u64]) -> u64 {
    let first = mix(seed ^ mix(purpose as u64 ^ 0x5151_AD5E_ED00_0001));
    counters.iter().fold(first, |hash, &counter| mix(hash.rotate_left(7) ^ mix(counter.wrapping_add(1))))
}

/// Another draw made of one: for the next decision about the same thing.
#[must_use]
pub const fn again(draw: u64, which: u64) -> u64 {
    mix(draw ^ which.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// A number from `least` to `most`, both included; `least` if they cross.
#[must_use]
pub const fn within(draw: u64, least: u64, most: u64) -> u64 {
    if most <= least { least } else { least + draw % (most - least + 1) }
}

/// Whether something with this chance happens.
#[must_use]
pub const fn chance(draw: u64, parts_per_million: u64) -> bool {
    draw % MILLION < parts_per_million
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_every_part() {
        let base = draw(1, Purpose::Message, &[1, 2]);
        assert_eq!(base, draw(1, Purpose::Message, &[1, 2]));
        for other in [
            draw(2, Purpose::Message, &[1, 2]),
            draw(1, Purpose::Client, &[1, 2]),
            draw(1, Purpose::Message, &[2, 1]),
            draw(1, Purpose::Message, &[1, 3]),
            draw(1, Purpose::Message, &[1]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn ranges_hold_their_ends() {
        let seen: std::collections::BTreeSet<u64> = (0..200).map(|n| within(again(7, n), 3, 6)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(within(9, 5, 5), 5);
        assert!(chance(0, 1) && !chance(999_999, 999_999));
    }
}
