//! Checks of one value: each says which field is wrong, and what would be right.

use super::PlanError;
use core::fmt::Display;
use quorate_core::limits;

pub(super) type Checked = Result<(), PlanError>;

pub(super) fn wrong(field: impl Display, value: impl Display, right: impl Display) -> PlanError {
    PlanError { field: field.to_string(), value: value.to_string(), right: right.to_string() }
}

pub(super) fn range(field: impl Display, value: u64, least: u64, most: u64) -> Checked {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(wrong(field, value, format!("{least} to {most}")))
}

/// A number that stands for a default if it is 0.
pub(super) fn range_or_default(field: impl Display, value: u64, least: u64, most: u64) -> Checked {
    if value == 0 || (least..=most).contains(&value) {
        return Ok(());
    }
    let right = if least <= 1 { format!("0 to {most}") } else { format!("0 or {least} to {most}") };
    Err(wrong(field, value, right))
}

/// What is asked for a session.
pub(super) fn session(field: impl Display, millis: u64) -> Checked {
    let (least, most, _) = limits::SESSION_TTL_MS;
    range_or_default(field, millis, least, most)
}

pub(super) fn range_signed(field: impl Display, value: i64, most: u64) -> Checked {
    if value.unsigned_abs() <= most {
        return Ok(());
    }
    Err(wrong(field, value, format!("-{most} to {most}")))
}

pub(super) fn place(field: impl Display, value: u8, count: usize, what: &str) -> Checked {
    if usize::from(value) < count {
        return Ok(());
    }
    let right = match count {
        0 => format!("left out: the plan has no {what}"),
        count => format!("0 to {}, the place of a {what}", count - 1),
    };
    Err(wrong(field, value, right))
}

pub(super) fn places(field: &str, values: &[u8], count: usize, what: &str, least: usize) -> Checked {
    if values.len() < least {
        return Err(wrong(field, format!("{values:?}"), format!("a list of at least {least}")));
    }
    for (number, value) in values.iter().enumerate() {
        place(format!("{field}[{number}]"), *value, count, what)?;
        if values[..number].contains(value) {
            return Err(wrong(format!("{field}[{number}]"), value, "named only once"));
        }
    }
    Ok(())
}
