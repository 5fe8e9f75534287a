//! Which code was searched: the commit of the work tree.

use std::process::Command;

/// What stands for a commit that nobody knows: no git, or no work tree of it.
pub const UNKNOWN: &str = "unknown";
/// The longest name of a commit.
pub(super) const COMMIT_MAX: usize = 64;

/// A commit, and whether the work tree differs from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id, or [`UNKNOWN`].
    pub id: String,
    /// A tracked file was changed.
    pub dirty: bool,
}

impl Commit {
    /// Of the directory that the program runs in.
    #[must_use]
    pub fn here() -> Self {
        let Some(id) = git(&["rev-parse", "--verify", "HEAD"]).filter(|id| parse(id).is_ok()) else {
            return Self { id: UNKNOWN.to_owned(), dirty: false };
        };
        // Files that git does not know, such as the kept results themselves, do not count.
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
        Self { id, dirty: changed.is_none_or(|changed| !changed.is_empty()) }
    }
}

/// What git answers, without the space around it. `None`: there is no git, or it refuses.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The name of a commit, as it is given by hand.
///
/// # Errors
/// What is empty, too long, or holds anything but letters, digits and `._-/`.
pub fn parse(text: &str) -> Result<String, String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/".contains(letter);
    if text.is_empty() || text.len() > COMMIT_MAX || !text.chars().all(plain) {
        return Err(format!(
            "{text:?} is no commit: give 1 to {COMMIT_MAX} letters, digits or any of . _ - /"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_one_plain_word() {
        assert_eq!(parse("67121dac1a7b"), Ok("67121dac1a7b".to_owned()));
        assert_eq!(parse("release/0.1"), Ok("release/0.1".to_owned()));
        for wrong in ["", "a b", "a\n", "<b>", "é", &"a".repeat(COMMIT_MAX + 1)] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
