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
        for (old, new) in before.lines().zip(table.lines()).filter(|(old, new)| old != new) {
            eprintln!("  - {old}\n  + {new}");
        }
        eprintln!("  if that is meant: {command} --write {}", path.display());
        Ok(Ended::Violation)
    }
}
