//! The rules of the log: where it begins and ends, and the term of each entry. Knows no data.

use quorate_core::{
    contract::{Entry, LogPosition},
    types::{Index, Term},
};

/// Where the log begins and ends, and its terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The place before the first entry.
    pub start: LogPosition,
    /// The place before the first entry that is known. Behind `start` as long as a reading began in the middle of
    /// the log; its term may not be known then, and is 0.
    pub before: LogPosition,
    /// Where each run of entries of one term begins.
    runs: Vec<LogPosition>,
    last: Index,
}

impl Shape {
    /// An empty log that begins behind `start`, and of which only what is behind `before` is known.
    #[must_use]
    pub const fn new(start: LogPosition, before: LogPosition) -> Self {
        Self { start, before, runs: Vec::new(), last: before.index }
    }

    /// The last entry's place; `before`, if there is none.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        let term = self.runs.last().map_or(self.before.term, |run| run.term);
        LogPosition { term, index: self.last }
    }

    /// The place at an index, as far as it is known.
    #[must_use]
    pub fn position(&self, index: Index) -> Option<LogPosition> {
        if index == self.before.index {
            return Some(self.before);
        }
        let run = self.runs.iter().rev().find(|run| run.index <= index);
        run.filter(|_| index <= self.last).map(|run| LogPosition { term: run.term, index })
    }

    /// Drops what is behind an index.
    pub fn cut(&mut self, index: Index) {
        if index < self.before.index {
            let at = LogPosition { term: Term(0), index };
            self.before = if index == self.start.index { self.start } else { at };
        }
        self.last = self.last.min(index).max(self.before.index);
        let last = self.last;
        self.runs.retain(|run| run.index <= last);
    }

    /// Adds entries, after dropping what is from the first one's index on.
    ///
    /// # Errors
    /// What the entries contradict. The shape is worth nothing then.
    pub fn add(&mut self, entries: &[Entry]) -> Result<(), String> {
        let Some(first) = entries.first() else { return Ok(()) };
        self.cut_for(first.index)?;
        entries.iter().try_for_each(|entry| self.push(entry.position()))
    }

    /// Drops what is from an index on, where entries are to be added.
    ///
    /// # Errors
    /// There is a gap in front of it, or it is not behind the start.
    pub fn cut_for(&mut self, first: Index) -> Result<(), String> {
        if first <= self.start.index {
            return Err(format!("entry {first} is below the log's start {}", self.start.index));
        }
        if first > self.last.next() {
            return Err(format!("entry {first} does not follow the log's last entry {}", self.last));
        }
        self.cut(Index(first.0 - 1));
        Ok(())
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// It does not follow the last one.
    pub fn push(&mut self, entry: LogPosition) -> Result<(), String> {
        let last = self.last();
        if entry.index.0 != last.index.0 + 1 {
            return Err(format!("entry {} follows entry {}", entry.index, last.index));
        }
        if entry.term < last.term {
            return Err(format!(
                "entry {} of term {} follows one of term {}",
                entry.index, entry.term, last.term
            ));
        }
        if entry.term > last.term || self.runs.is_empty() {
            self.runs.push(entry);
        }
        self.last = entry.index;
        Ok(())
    }

    /// Whether the log holds this place, its start included.
    #[must_use]
    pub fn holds(&self, at: LogPosition) -> bool {
        at == self.start || self.position(at.index) == Some(at)
    }

    /// Lets the log begin behind `at`.
    ///
    /// # Errors
    /// `at` contradicts the log.
    pub fn begin(&mut self, at: LogPosition, dropped: bool) -> Result<(), String> {
        if at.index < self.start.index {
            return Err(format!("the log's start goes back from {:?} to {at:?}", self.start));
        }
        if dropped {
            *self = Self::new(at, at);
            return Ok(());
        }
        let unknown =
            at.index < self.before.index || (at.index == self.before.index && self.before.term.0 == 0);
        if !unknown && !self.holds(at) {
            return Err(format!("the log's start {at:?} is not in the log, which ends at {:?}", self.last()));
        }
        self.start = at;
        if at.index >= self.before.index {
            self.before = at;
            let at_run = self.runs.iter().rposition(|run| run.index <= at.index);
            let gone = at_run.unwrap_or(0);
            self.runs.drain(..gone);
            if let Some(run) = self.runs.first_mut().filter(|run| run.index <= at.index) {
                run.index = at.index.next();
            }
            let last = self.last;
            self.runs.retain(|run| run.index <= last);
        }
        Ok(())
    }
}
