//! The log on stderr: how much, and for whom.

use super::{keys::Key, layer::Layer};
use crate::failure::Failure;
use tracing_subscriber::{EnvFilter, fmt::time::SystemTime};

/// Key of [`Logs::format`].
pub(crate) const FORMAT: Key = Key {
    name: "log.format",
    flag: "log-format",
    variable: "QUORATE_LOG_FORMAT",
    value: "human|json",
    help: "How log lines on stderr look [default: human]",
};
/// Key of [`Logs::level`].
pub(crate) const LEVEL: Key = Key {
    name: "log.level",
    flag: "log-level",
    variable: "QUORATE_LOG_LEVEL",
    value: "LEVEL",
    help: "The least important level that is logged: error, warn, info, debug, trace; or a filter such as \
           info,quorate_net=debug [default: info]",
};

/// What the log looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    /// One JSON object a line.
    pub(crate) json: bool,
    /// A level, or a filter by module.
    pub(crate) level: String,
}

impl Logs {
    /// Reads the two settings.
    ///
    /// # Errors
    /// Wrong use: no such format, no such level.
    pub(crate) fn resolve(layer: &Layer) -> Result<Self, Failure> {
        let json = layer.read(FORMAT.name, false, |text| match text {
            "human" => Ok(false),
            "json" => Ok(true),
            _ => Err(format!("`{text}` is no format: it must be human or json")),
        })?;
        let level = layer.read(LEVEL.name, "info".to_owned(), |text| {
            // A filter takes any word for the name of a module.
            let levels = ["off", "error", "warn", "info", "debug", "trace"];
            let plain = text.contains(['=', ',']) || levels.contains(&text);
            match EnvFilter::try_new(text) {
                Ok(_) if plain => Ok(text.to_owned()),
                _ => Err(format!(
                    "`{text}` is no level: it must be error, warn, info, debug, trace, or a filter"
                )),
            }
        })?;
        Ok(Self { json, level })
    }

    /// Starts logging to stderr. The first call in a process counts.
    pub(crate) fn start(&self) {
        let Ok(filter) = EnvFilter::try_new(&self.level) else { return };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_timer(SystemTime)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
        // The only way to fail is that another one was started before.
        let _started = if self.json { builder.json().try_init() } else { builder.try_init() };
    }

    /// The two settings as the word after `format =`, and the level.
    pub(crate) fn names(&self) -> (&'static str, &str) {
        (if self.json { "json" } else { "human" }, &self.level)
    }
}
