//! Printing that survives a reader who has had enough (`cargo sim run | head -1`): these take the place of std's macros,
//! which panic then. Whatever else goes wrong with the output is told at the end of the command.

use std::{
    fmt::Arguments,
    io::{ErrorKind, Result, Write, stderr, stdout},
    sync::{Mutex, PoisonError},
};

/// Why something could not be printed.
static LOST: Mutex<Option<String>> = Mutex::new(None);

/// Prints to the standard output.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::to_out(format_args!($($text)*), "") };
}

/// Prints a line to the standard output.
macro_rules! println {
    () => { $crate::cli::output::to_out(format_args!(""), "\n") };
    ($($text:tt)*) => { $crate::cli::output::to_out(format_args!($($text)*), "\n") };
}

/// Prints to the error output.
macro_rules! eprint {
    ($($text:tt)*) => { $crate::cli::output::to_error(format_args!($($text)*), "") };
}

/// Prints a line to the error output.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::output::to_error(format_args!($($text)*), "\n") };
}

pub(super) fn to_out(text: Arguments<'_>, end: &str) {
    kept(put(&mut stdout().lock(), text, end));
}

// Who does not read errors is told nothing.
pub(super) fn to_error(text: Arguments<'_>, end: &str) {
    let _ = put(&mut stderr().lock(), text, end);
}

fn put(out: &mut impl Write, text: Arguments<'_>, end: &str) -> Result<()> {
    out.write_fmt(text)?;
    out.write_all(end.as_bytes())
}

/// Remembers the first failure that is not a reader's wish.
pub(super) fn kept(written: Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.get_or_insert(error.to_string());
    }
}

/// Flushes the output. Why some of it was lost, if it was.
pub(super) fn lost() -> Option<String> {
    kept(stdout().flush());
    LOST.lock().unwrap_or_else(PoisonError::into_inner).take()
}
