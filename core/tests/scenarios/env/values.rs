//! Arguments as values, and what is told of those that are none.

use super::Usage;
use crate::grammar::{Argument, Command};
use quorate_core::types::NodeId;
use std::collections::BTreeSet;

pub(super) fn parse<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Usage> {
    text.parse().map_err(|_| format!("`{text}` where {what} is wanted: it must be a number"))
}

/// A word at a place.
pub(super) fn word(command: &Command, place: usize, what: &str) -> Result<String, Usage> {
    match command.arguments.get(place) {
        Some(Argument { key, values: None }) => Ok(key.clone()),
        Some(Argument { key, values: Some(values) }) => Ok(format!("{key}={}", values.join(","))),
        None => Err(format!("`{}` lacks {what}", command.name)),
    }
}

pub(super) fn number(command: &Command, place: usize, what: &str) -> Result<u64, Usage> {
    parse(&word(command, place, what)?, what)
}

/// The value of an argument that must be there.
pub(super) fn option<T: std::str::FromStr>(command: &Command, key: &str) -> Result<T, Usage> {
    let argument = command.arguments.iter().find(|argument| argument.key == key);
    value(argument.ok_or_else(|| format!("`{}` lacks `{key}=`", command.name))?)
}

/// The only value of an argument.
pub(super) fn only(argument: &Argument) -> Result<&str, Usage> {
    match argument.values.as_deref() {
        Some([value]) => Ok(value),
        Some(_) | None => Err(format!("`{0}` must have one value: `{0}=value`", argument.key)),
    }
}

pub(super) fn value<T: std::str::FromStr>(argument: &Argument) -> Result<T, Usage> {
    let text = only(argument)?;
    text.parse().map_err(|_| format!("`{}={text}`: it must be a number", argument.key))
}

pub(super) fn flag(argument: &Argument) -> Result<bool, Usage> {
    let text = only(argument)?;
    text.parse().map_err(|_| format!("`{}={text}`: it must be `true` or `false`", argument.key))
}

pub(super) fn nodes(argument: &Argument) -> Result<BTreeSet<NodeId>, Usage> {
    let values = argument.values.as_deref().unwrap_or_default();
    values.iter().map(|id| Ok(NodeId(parse(id, "a node")?))).collect()
}
