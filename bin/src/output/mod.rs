//! What commands print: tables for people, JSON for machines.

pub(crate) mod records;

use crate::failure::Failure;
use clap::ValueEnum;
use serde_json::Value;
use std::io::{ErrorKind, Write as _};

/// What `-o` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns and sentences for people.
    #[default]
    Table,
    /// JSON for machines; errors too.
    Json,
}

/// Rows under a header, each column as wide as its widest cell.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with this header.
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { rows: vec![header.map(str::to_owned).to_vec()] }
    }

    /// Adds a row of as many cells as the header has.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The table as lines, without blanks at their ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }

    /// Prints it.
    ///
    /// # Errors
    /// See [`raw`].
    pub(crate) fn print(&self) -> Result<(), Failure> {
        line(&self.lines().join("\n"))
    }
}

/// Prints a line to stdout.
///
/// # Errors
/// See [`raw`].
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    raw(format!("{text}\n").as_bytes())
}

/// Prints indented JSON to stdout.
///
/// # Errors
/// See [`raw`].
pub(crate) fn json(value: &Value) -> Result<(), Failure> {
    line(&format!("{value:#}"))
}

/// Writes bytes to stdout as they are. A reader that has left ends the process, as it would end any filter.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::refused(format!("stdout cannot be written: {error}"))),
    }
}

/// The text on one line, cut to so many letters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let cut: String = text.chars().take(most).collect();
    format!("{}{}", cut.escape_debug(), if cut.len() < text.len() { "..." } else { "" })
}

/// The format that raw arguments ask for: needed to say that the arguments are wrong.
pub(crate) fn wanted(arguments: impl Iterator<Item = String>, default: Format) -> Format {
    let mut before = String::new();
    for argument in arguments.take_while(|argument| argument != "--") {
        let joined = ["-ojson", "-o=json", "--output=json"].contains(&argument.as_str());
        if joined || (argument == "json" && ["-o", "--output"].contains(&before.as_str())) {
            return Format::Json;
        }
        before = argument;
    }
    default
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(["ID", "STATE"]);
        table.row(["long-name".to_owned(), "up".to_owned()]);
        assert_eq!(table.lines(), ["ID         STATE", "long-name  up"]);
    }

    #[test]
    fn a_long_or_strange_text_is_cut_and_escaped() {
        assert_eq!(short("abc", 3), "abc");
        assert_eq!(short("abcd", 3), "abc...");
        assert_eq!(short("a\nb", 3), "a\\nb");
    }

    #[test]
    fn the_wanted_format_is_found_in_raw_arguments() {
        let wanted = |text: &str| wanted(text.split(' ').map(str::to_owned), Format::Table);
        assert_eq!(wanted("quorate -o json job"), Format::Json);
        assert_eq!(wanted("quorate job --output=json"), Format::Json);
        assert_eq!(wanted("quorate job -o table"), Format::Table);
        assert_eq!(wanted("quorate job submit -- echo -o json"), Format::Table);
    }
}
