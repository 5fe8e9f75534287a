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

/// A span of time: `90s`, `2m`, `1h`, or a number of seconds.
///
/// # Errors
/// What is none, or is over a day.
pub fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.as_bytes()[text.len() - 1]),
        None => (text, b's'),
    };
    let scale = match unit {
        b'm' => 60,
        b'h' => 3_600,
        _ => 1,
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)) {
        Some(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is not a time from 1s to 24h: give a number with s, m or h, such as 60s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_are_taken_and_nonsense_is_named() {
        assert_eq!((seeds("3..7"), seeds("9")), (Ok(3..7), Ok(9..10)));
        assert_eq!((seconds("10..30"), seconds("5")), (Ok((10_000, 30_000)), Ok((5_000, 5_000))));
        for wrong in ["7..3", "x", "1..", ""] {
            assert!(seeds(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!((span("90s"), span("2m")), (Ok(Duration::from_secs(90)), Ok(Duration::from_secs(120))));
        for wrong in ["", "s", "0s", "25h", "1d", "-1s"] {
            assert!(span(wrong).unwrap_err().contains("1s to 24h"), "{wrong:?}");
        }
        assert!(seconds("0").unwrap_err().contains("1 to 3600"));
        assert!(seconds("30..10").is_err());
    }
}
