//! Settings as they were given, with where each was given. A later layer goes over an earlier one.

use crate::failure::Failure;
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a file, at this line.
    File(PathBuf, usize),
    /// In this environment variable.
    Variable(String),
    /// By this flag, without its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(formatter, "{}, line {line}", path.display()),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(flag) => write!(formatter, "flag --{flag}"),
        }
    }
}

/// One setting's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The value, unread.
    pub(crate) text: String,
    /// Where it was given.
    pub(crate) origin: Origin,
}

/// Settings by the names of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layer(BTreeMap<&'static str, Setting>);

impl Layer {
    /// Gives a setting; replaces the one before.
    pub(crate) fn set(&mut self, name: &'static str, text: String, origin: Origin) {
        self.0.insert(name, Setting { text, origin });
    }

    /// The setting, if it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// These settings, and those of `over` in place of their own.
    #[must_use]
    pub(crate) fn under(mut self, over: Self) -> Self {
        self.0.extend(over.0);
        self
    }

    /// Reads a setting by `parse`; the default if it was not given.
    ///
    /// # Errors
    /// Wrong use, with the key and where it was given.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        match self.get(name) {
            None => Ok(default),
            Some(setting) => parse(&setting.text)
                .map_err(|why| Failure::usage(format!("{}: {name}: {why}", setting.origin))),
        }
    }

    /// Where a setting was given, as the start of an error; empty if it was not.
    pub(crate) fn blame(&self, name: &str) -> String {
        self.get(name).map(|setting| format!("{}: ", setting.origin)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(text: &str, origin: Origin) -> Layer {
        let mut layer = Layer::default();
        layer.set("node", text.to_owned(), origin);
        layer
    }

    #[test]
    fn flags_go_over_the_environment_and_that_over_the_file() {
        let file = layer("1", Origin::File("q.toml".into(), 3));
        let variable = layer("2", Origin::Variable("QUORATE_NODE".to_owned()));
        let flag = layer("3", Origin::Flag("node"));
        let read = |layer: &Layer| layer.read("node", 0, |text| text.parse().map_err(|_| "wrong".to_owned()));
        assert_eq!(read(&file), Ok(1));
        assert_eq!(read(&file.clone().under(variable.clone())), Ok(2));
        assert_eq!(read(&file.under(variable).under(flag)), Ok(3));
        assert_eq!(read(&Layer::default()), Ok(0));
    }

    #[test]
    fn a_wrong_value_says_where_it_was_given() {
        let file = layer("x", Origin::File("q.toml".into(), 3));
        let failure = file.read("node", 0, |_| Err::<i32, _>("`x` is no number".to_owned())).unwrap_err();
        assert_eq!(failure, Failure::usage("q.toml, line 3: node: `x` is no number"));
    }
}
