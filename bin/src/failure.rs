//! How a command ends when it does not end well: what was wrong, what would be right, and the exit code.

use crate::output::Format;
use serde_json::json;
use std::{fmt, io::Write as _, process::ExitCode};

/// The exit codes other than 0. Scripts depend on them: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The cluster refused, or what was asked for failed.
    Refused,
    /// Wrong flags, a wrong key or a wrong value: the same call can never work.
    Usage,
    /// No master answered in time: the same call may work later.
    Unreachable,
}

impl Kind {
    /// The process's exit code.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
        }
    }

    /// The word that JSON errors use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// Names the thing, its value, and what would be right.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) next: Option<String>,
}

impl Failure {
    /// The cluster said no, or the thing failed.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, message: message.into(), next: None }
    }

    /// The call itself is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into(), next: None }
    }

    /// Nobody answered.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { kind: Kind::Unreachable, message: message.into(), next: None }
    }

    /// Adds the next step.
    #[must_use]
    pub(crate) fn with_next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Prints it to stderr, for people or for machines.
    pub(crate) fn print(&self, format: Format) {
        let text = match format {
            Format::Table => {
                let next = self.next.as_deref().map(|next| format!("\nnext: {next}")).unwrap_or_default();
                format!("error: {}{next}", self.message)
            }
            Format::Json => {
                let mut error = json!({ "kind": self.kind.name(), "message": self.message });
                if let (Some(next), Some(fields)) = (&self.next, error.as_object_mut()) {
                    fields.insert("next".to_owned(), json!(next));
                }
                json!({ "error": error }).to_string()
            }
        };
        // Nobody is left to be told if stderr is gone.
        let _gone = writeln!(std::io::stderr().lock(), "{text}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::refused(error.to_string())
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        Self::from(failure.kind.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_exit_code() {
        assert_eq!(Failure::refused("x").kind.exit_code(), 1);
        assert_eq!(Failure::usage("x").kind.exit_code(), 2);
        assert_eq!(Failure::unreachable("x").kind.exit_code(), 3);
    }
}
