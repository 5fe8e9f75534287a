//! What the suite is told: its own arguments, and those that `cargo test` and other runners give to every test.

/// What of an output is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Compared {
    /// All of it.
    #[default]
    Exactly,
    /// Only that of commands that tell a state, a log or a status, and of pure functions.
    State,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) compared: Compared,
    pub(crate) rewrites: bool,
    pub(crate) lists: bool,
    pub(crate) quiet: bool,
    names: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    /// Only what is ignored is wanted, and nothing is.
    ignored: bool,
}

const USAGE: &str = "\
Runs scenarios of Raft.

Usage: cargo test -p quorate-core --test scenarios -- [OPTION]... [NAME]...

  NAME           only scenarios whose name holds this
  --level LEVEL  `exact` compares all output; `state` only that of raft-state, raft-log, status, compact and pure functions
  --rewrite      writes what comes into the files as what is expected: read it before you commit it
  --skip NAME    not those whose name holds this
  --exact        names are whole
  --list         only print the names
  -q, --quiet    one line for each that fails

QUORATE_SCENARIOS=DIR runs the scenarios below another directory.";

impl Arguments {
    /// From the command line.
    ///
    /// # Errors
    /// An argument that nobody knows, and those that there are.
    pub(crate) fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut given = given;
        while let Some(word) = given.next() {
            let (key, inline) = match word.split_once('=') {
                Some((key, value)) if key.starts_with('-') => (key.to_owned(), Some(value.to_owned())),
                _ => (word, None),
            };
            let mut value =
                || inline.clone().or_else(|| given.next()).ok_or_else(|| format!("`{key}` lacks its value"));
            match key.as_str() {
                "--level" => {
                    arguments.compared = match value()?.as_str() {
                        "exact" => Compared::Exactly,
                        "state" => Compared::State,
                        other => return Err(format!("`--level {other}`: it must be `exact` or `state`")),
                    };
                }
                "--rewrite" => arguments.rewrites = true,
                "--list" => arguments.lists = true,
                "-q" | "--quiet" => arguments.quiet = true,
                "--skip" => arguments.skipped.push(value()?),
                "--exact" => arguments.exact = true,
                "--ignored" => arguments.ignored = true,
                // Of every test harness; they mean nothing here.
                "--nocapture"
                | "--no-capture"
                | "--show-output"
                | "--include-ignored"
                | "--test"
                | "--bench"
                | "--report-time"
                | "--ensure-time"
                | "--shuffle"
                | "--force-run-in-process"
                | "--exclude-should-panic" => {}
                "--color" | "--format" | "--test-threads" | "--logfile" | "-Z" | "--shuffle-seed" => {
                    drop(value()?);
                }
                "-h" | "--help" => return Err(USAGE.to_owned()),
                name if !name.starts_with('-') => arguments.names.push(key),
                other => return Err(format!("there is no argument `{other}`\n\n{USAGE}")),
            }
        }
        if arguments.rewrites && arguments.compared == Compared::State {
            return Err("`--rewrite` writes all output: it cannot be limited by `--level state`".to_owned());
        }
        Ok(arguments)
    }

    /// Whether a scenario is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let fits =
            |pattern: &String| if self.exact { name == pattern } else { name.contains(pattern.as_str()) };
        !self.ignored
            && (self.names.is_empty() || self.names.iter().any(fits))
            && !self.skipped.iter().any(fits)
    }
}
