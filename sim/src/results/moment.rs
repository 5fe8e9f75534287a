//! A time of the calendar, to the second, in UTC. Written as `2026-03-01T12:30:00Z`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DAY: u64 = 24 * 3_600;
/// Days from the first of March of the year 0 to the first of January 1970, in the calendar of today.
const EPOCH_DAYS: u64 = 719_468;
/// Days of 400 years: after them the calendar repeats itself.
const ERA_DAYS: u64 = 146_097;
/// The last year that has four digits.
const YEAR_MAX: u64 = 9_999;

/// Seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// What the clock of this machine shows.
    #[must_use]
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// Days since 1970.
    #[must_use]
    pub const fn day(self) -> u64 {
        self.0 / DAY
    }

    /// The begin of a day, by its number since 1970.
    #[must_use]
    pub const fn of_day(day: u64) -> Self {
        Self(day * DAY)
    }

    /// The date alone, such as `2026-03-01`.
    #[must_use]
    pub fn date(self) -> String {
        let (year, month, day) = civil(self.day());
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// A date, a full time, or a length of time before `now` such as `7d`, `12h` or `30m`.
    ///
    /// # Errors
    /// What is none of these.
    pub fn since(text: &str, now: Self) -> Result<Self, String> {
        if let Some(moment) = Self::parse(text) {
            return Ok(moment);
        }
        let length = match text.strip_suffix('d') {
            Some(days) => days.parse::<u64>().ok().and_then(|days| days.checked_mul(DAY)),
            None => crate::arguments::length_of_time(text).ok().map(|length: Duration| length.as_secs()),
        };
        let length = length.ok_or_else(|| {
            format!(
                "{text:?} is no time: give a date such as 2026-03-01, or a length of time such as 7d or 12h"
            )
        })?;
        Ok(Self(now.0.saturating_sub(length)))
    }

    /// A date, or a date and a time of the day in UTC.
    fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hours, minutes, seconds] = numbers(time.strip_suffix('Z')?, ':', [2, 2, 2])?;
        if hours > 23 || minutes > 59 || seconds > 59 || year < 1_970 {
            return None;
        }
        let number = days(year, month, day);
        // A day that the month does not have comes out as another one.
        (civil(number) == (year, month, day))
            .then_some(Self(number * DAY + hours * 3_600 + minutes * 60 + seconds))
    }
}

/// Three numbers of fixed widths.
fn numbers(text: &str, between: char, widths: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Year, month and day of a day since 1970. Years begin in March here, so that the leap day is their last.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + EPOCH_DAYS;
    let (era, of_era) = (day / ERA_DAYS, day % ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// The day since 1970 of a date from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let shifted_year = year - u64::from(month <= 2);
    let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day.max(1) - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - EPOCH_DAYS
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_day = self.0 % DAY;
        let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
        write!(formatter, "{}T{hours:02}:{minutes:02}:{seconds:02}Z", self.date())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = Self::parse(&text).filter(|moment| civil(moment.day()).0 <= YEAR_MAX);
        moment.ok_or_else(|| {
            de::Error::custom(format!("{text:?} is no time in UTC, such as 2026-03-01T12:30:00Z"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_772_368_200, "2026-03-01T12:30:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Moment(seconds).to_string(), text);
            assert_eq!(Moment::parse(text), Some(Moment(seconds)), "{text}");
        }
        for day in 0..60_000 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "2026",
            "2026-13-01",
            "2026-00-10",
            "2026-02-30",
            "2026-02-00",
            "2026-1-1",
            "2026-01-01T",
            "2026-01-01T25:00:00Z",
            "2026-01-01T10:00:00",
            "2026-01-01T10:00:00+01:00",
            "1969-12-31",
            "+026-01-01",
            "2026-01-01-01",
        ] {
            assert_eq!(Moment::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn since_takes_dates_and_lengths_of_time() {
        let now = Moment(1_772_368_200);
        assert_eq!(Moment::since("2026-03-01", now), Ok(Moment(1_772_323_200)));
        assert_eq!(Moment::since("7d", now), Ok(Moment(now.0 - 7 * DAY)));
        assert_eq!(Moment::since("12h", now), Ok(Moment(now.0 - 12 * 3_600)));
        assert_eq!(Moment::since("99999999999d", now), Ok(Moment(0)));
        for wrong in ["yesterday", "d", "-1d", "99999999999999999999d"] {
            assert!(Moment::since(wrong, now).is_err_and(|why| why.contains(wrong)), "{wrong}");
        }
    }
}
