//! Where the demo tells its story: lines with their times, and on a terminal a panel below them.

use super::{panel, scene::View};
use crate::output::Format;
use std::{
    io::{IsTerminal as _, Write as _},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Width taken when the terminal does not tell its own.
const WIDTH: usize = 100;

/// Prints to stdout, or to stderr when stdout is for machines.
#[derive(Debug)]
pub(super) struct Stage {
    started: Instant,
    errors: bool,
    live: bool,
    /// The panel that is on the terminal.
    panel: Mutex<Vec<String>>,
}

impl Stage {
    /// For this format of the summary.
    pub(super) fn new(format: Format) -> Self {
        let errors = format == Format::Json;
        let live = if errors { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        Self { started: Instant::now(), errors, live, panel: Mutex::new(Vec::new()) }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Adds a line to the story.
    pub(super) fn say(&self, text: &str) {
        let panel = self.panel.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = self.clear(&panel);
        let line = format!("{:7.3}s  {text}\n", self.seconds());
        self.write(&format!("{clear}{line}{}", joined(&panel)));
    }

    /// Draws the panel again.
    pub(super) fn draw(&self, view: &View) {
        if !self.live {
            return;
        }
        let mut panel = self.panel.lock().unwrap_or_else(PoisonError::into_inner);
        let width = self.width();
        let lines: Vec<String> =
            panel::lines(view).into_iter().map(|line| line.chars().take(width).collect()).collect();
        if lines != *panel {
            let clear = self.clear(&panel);
            *panel = lines;
            self.write(&format!("{clear}{}", joined(&panel)));
        }
    }

    /// Takes the panel away.
    pub(super) fn close(&self) {
        let mut panel = self.panel.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = self.clear(&panel);
        panel.clear();
        self.write(&clear);
    }

    /// Moves to the panel's first line and clears from there on.
    fn clear(&self, panel: &[String]) -> String {
        if self.live && !panel.is_empty() { format!("\x1b[{}A\r\x1b[J", panel.len()) } else { String::new() }
    }

    fn width(&self) -> usize {
        let size = if self.errors {
            rustix::termios::tcgetwinsize(std::io::stderr())
        } else {
            rustix::termios::tcgetwinsize(std::io::stdout())
        };
        // Some terminals say 0.
        let columns = size.map_or(0, |size| usize::from(size.ws_col));
        if columns == 0 { WIDTH } else { columns.saturating_sub(1) }
    }

    fn write(&self, text: &str) {
        // The story goes on without its audience: the checks decide how it ends.
        let _gone = if self.errors {
            std::io::stderr().lock().write_all(text.as_bytes())
        } else {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
    }
}

fn joined(panel: &[String]) -> String {
    panel.iter().map(|line| format!("{line}\n")).collect()
}
