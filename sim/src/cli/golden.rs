//! Tables that are committed, and compared word for word.

use super::Ended;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct GoldenArgs {
    /// Compare the table with this file: a difference ends with code 1.
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    check: Option<PathBuf>,
    /// Write the table to this file.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl GoldenArgs {
    /// Prints a table, and writes or compares it, as asked. `command` is what made it.
    pub(super) fn compare(&self, table: &str, command: &str) -> anyhow::Result<Ended> {
        print!("{table}");
        if let Some(path) = &self.write {
            std::fs::write(path, table).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let Some(path) = &self.check else { return Ok(Ended::Clean) };
        let before =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if before == table {
            return Ok(Ended::Clean);
        }
        eprintln!("\nFAILED  {} differs:", path.display());
        eprint!("{}", differences(&before, table));
        eprintln!("  if that is meant: {command} --write {}", path.display());
        Ok(Ended::Violation)
    }
}

/// The lines that differ, at the same place in both; where one text is longer, the rest of it.
fn differences(before: &str, after: &str) -> String {
    let (mut old, mut new) = (before.lines(), after.lines());
    let mut text = String::new();
    loop {
        let pair = (old.next(), new.next());
        if pair == (None, None) {
            break;
        }
        if pair.0 == pair.1 {
            continue;
        }
        for (sign, line) in [('-', pair.0), ('+', pair.1)] {
            if let Some(line) = line {
                text += &format!("  {sign} {line}\n");
            }
        }
    }
    if text.is_empty() {
        // Lines are the same with either end.
        text = "  the ends of lines differ\n".to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn lines_that_are_missing_are_shown_as_well() {
        assert_eq!(differences("a\nb\n", "a\nc\n"), "  - b\n  + c\n");
        assert_eq!(differences("a\nb\n\n", "a\n"), "  - b\n  - \n");
        assert_eq!(differences("", "a\nb\n"), "  + a\n  + b\n");
        assert_eq!(differences("a\r\n", "a\n"), "  the ends of lines differ\n");
    }
}
