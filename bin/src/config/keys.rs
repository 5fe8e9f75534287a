//! The settings by name. One table for a role gives the keys of its file, its environment variables, its flags and its help.

use super::layer::{Layer, Origin};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use std::marker::PhantomData;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Dotted name in the file; also the name in errors.
    pub(crate) name: &'static str,
    /// The flag, without its dashes.
    pub(crate) flag: &'static str,
    /// The environment variable.
    pub(crate) variable: &'static str,
    /// What the value is, in help. Empty: the flag takes no value.
    pub(crate) value: &'static str,
    /// One sentence, with the default.
    pub(crate) help: &'static str,
}

/// A setting whose flag every command has: it is no flag of a role's own.
pub(crate) const SHARED: &str = "endpoints";

/// The settings of a role.
pub(crate) trait Role {
    /// Each key once.
    const KEYS: &'static [Key];
    /// The command that `--help` of is named in errors.
    const COMMAND: &'static str;
}

/// The flags of a role as clap parses them, made from its keys.
#[derive(Clone, Debug)]
pub(crate) struct Flags<R> {
    /// What was given.
    pub(crate) layer: Layer,
    role: PhantomData<R>,
}

impl<R: Role> FromArgMatches for Flags<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut layer = Layer::default();
        for key in own::<R>() {
            let origin = Origin::Flag(key.flag);
            if key.value.is_empty() {
                if matches.get_flag(key.name) {
                    layer.set(key.name, "true".to_owned(), origin);
                }
            } else if let Some(values) = matches.get_many::<String>(key.name) {
                let values: Vec<&str> = values.map(String::as_str).collect();
                layer.set(key.name, values.join(","), origin);
            }
        }
        Ok(Self { layer, role: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<R: Role> Args for Flags<R> {
    fn augment_args(mut command: Command) -> Command {
        for key in own::<R>() {
            let arg = Arg::new(key.name).long(key.flag).help(key.help).help_heading("Settings");
            command = command.arg(if key.value.is_empty() {
                arg.action(ArgAction::SetTrue)
            } else {
                arg.value_name(key.value).action(ArgAction::Append).allow_hyphen_values(false)
            });
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn own<R: Role>() -> impl Iterator<Item = &'static Key> {
    R::KEYS.iter().filter(|key| key.name != SHARED)
}

/// The key of that name.
pub(crate) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// The candidate that a wrong name most likely meant: few letters apart, also when its table was left out.
pub(crate) fn nearest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_ascii_lowercase();
    let near = (wrong.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| {
            let known = candidate.to_ascii_lowercase();
            let last = known.rsplit('.').next().unwrap_or(&known);
            (distance(&wrong, &known).min(distance(&wrong, last)), candidate)
        })
        .filter(|(distance, _)| *distance <= near)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, drop or change to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, against) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *against);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{agent::AgentRole, server::ServerRole};

    #[test]
    fn flag_and_variable_follow_from_the_name() {
        for key in ServerRole::KEYS.iter().chain(AgentRole::KEYS) {
            assert_eq!(key.flag, key.name.replace(['.', '_'], "-"), "{}", key.name);
            assert_eq!(
                key.variable,
                format!("QUORATE_{}", key.name.replace('.', "_").to_uppercase()),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let names = || ["timing.heartbeat", "timing.election_min", "data_dir", "node"].into_iter();
        assert_eq!(nearest("timing.hartbeat", names()), Some("timing.heartbeat"));
        assert_eq!(nearest("heartbeat", names()), Some("timing.heartbeat"));
        assert_eq!(nearest("data-dir", names()), Some("data_dir"));
        assert_eq!(nearest("colour", names()), None);
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
