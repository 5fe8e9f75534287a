//! Arguments that the commands of both levels take.

use std::{ops::Range, time::Duration};

/// `FIRST..END`, or one seed.
///
/// # Errors
/// What is no number, or holds no seed.
pub fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
    let range = match text.split_once("..") {
        Some((first, end)) => number(first)?..number(end)?,
        None => number(text)?..number(text)?.saturating_add(1),
    };
    if range.is_empty() {
        return Err(format!("{text:?} holds no seed: give FIRST..END, such as 0..1000"));
    }
    Ok(range)
}

/// `LEAST..MOST` simulated seconds, or one number of them, in milliseconds.
///
/// # Errors
/// What is not from 1 to 3600.
pub fn seconds(text: &str) -> Result<(u64, u64), String> {
    let range = match text.split_once("..") {
        Some((least, most)) => (least.parse::<u64>(), most.parse::<u64>()),
        None => (text.parse(), text.parse()),
    };
    match range {
        (Ok(least), Ok(most)) if 1 <= least && least <= most && most <= 3_600 => {
            Ok((least * 1_000, most * 1_000))
        }
        _ => Err(format!("{text:?} is not a number of seconds from 1 to 3600, nor LEAST..MOST")),
    }
}

/// A length of time, such as `500ms`, `60s`, `5m` or `2h`.
///
/// # Errors
/// What is no number with one of these units, or 0.
pub fn length_of_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a length of time: give a number with ms, s, m or h, such as 60s");
    // `ms` before `s`, which it ends with.
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let split = units.iter().find_map(|&(unit, of)| Some((text.strip_suffix(unit)?, of)));
    let (number, of) = split.ok_or_else(wrong)?;
    let milliseconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(of));
    milliseconds.filter(|&time| time > 0).map(Duration::from_millis).ok_or_else(wrong)
}

/// A part of a range of seeds: one of several machines that search together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 1 on.
    pub part: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// Its seeds. Parts follow one another, and their sizes differ by at most one.
    #[must_use]
    pub fn of_seeds(self, seeds: &Range<u64>) -> Range<u64> {
        let count = u128::from(seeds.end - seeds.start);
        // Both are at most the count, which is a number of 64 bits.
        let end = |part: u64| seeds.start + (count * u128::from(part) / u128::from(self.of)) as u64;
        end(self.part - 1)..end(self.part)
    }
}

/// `PART/OF`, such as `2/8`.
///
/// # Errors
/// What is not two numbers, or a part that is not from 1 to the number of parts.
pub fn shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((part, of)) if 1 <= part && part <= of => Ok(Shard { part, of }),
        _ => Err(format!("{text:?} is no part of the seeds: give PART/OF, from 1/8 to 8/8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_all_seeds_once() {
        let parts = |of: u64, seeds: Range<u64>| -> Vec<Range<u64>> {
            (1..=of).map(|part| Shard { part, of }.of_seeds(&seeds)).collect()
        };
        assert_eq!(parts(3, 10..20), [10..13, 13..16, 16..20]);
        assert_eq!(parts(2, 0..u64::MAX), [0..u64::MAX / 2, u64::MAX / 2..u64::MAX]);
        assert_eq!(Shard { part: 1, of: 1 }.of_seeds(&(4..5)), 4..5);
        assert!(parts(3, 0..2).iter().any(Range::is_empty));
        assert_eq!(shard("2/8"), Ok(Shard { part: 2, of: 8 }));
        for wrong in ["", "0/8", "9/8", "1", "a/b", "1/0", "-1/2", "1/2/3"] {
            assert!(shard(wrong).is_err_and(|why| why.contains(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn ranges_and_single_numbers_are_taken_and_nonsense_is_named() {
        assert_eq!((seeds("3..7"), seeds("9")), (Ok(3..7), Ok(9..10)));
        assert_eq!((seconds("10..30"), seconds("5")), (Ok((10_000, 30_000)), Ok((5_000, 5_000))));
        for wrong in ["7..3", "x", "1..", ""] {
            assert!(seeds(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(length_of_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(length_of_time("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(length_of_time("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "s", "ms", "0ms", "60", "0s", "5d", "-1s", "18446744073709551615h", "5é"] {
            assert!(length_of_time(wrong).is_err(), "{wrong:?}");
        }
        assert!(seconds("0").unwrap_err().contains("1 to 3600"));
        assert!(seconds("30..10").is_err());
    }
}
