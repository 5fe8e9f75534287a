//! The part of the log that is in memory: everything behind its start.

use crate::{
    contract::{Entry, LogPosition},
    limits,
    types::{Index, Term},
};
use std::collections::VecDeque;

/// Entries without gaps, and the place just before the first of them.
#[derive(Clone, Debug, Default, Hash)]
pub struct Log {
    start: LogPosition,
    entries: VecDeque<Entry>,
    /// What they count.
    bytes: u64,
}

/// What an entry counts for the size of the log.
pub(crate) const fn entry_bytes(entry: &Entry) -> u64 {
    entry.data.len() as u64 + limits::ENTRY_HEADER_BYTES
}

impl Log {
    /// A log as it was recovered. Entries must follow `start` without gaps.
    #[must_use]
    pub fn new(start: LogPosition, entries: Vec<Entry>) -> Self {
        let bytes = entries.iter().map(entry_bytes).sum();
        let log = Self { start, entries: entries.into(), bytes };
        debug_assert!(
            log.entries.iter().zip(start.index.0 + 1..).all(|(entry, index)| entry.index.0 == index)
        );
        log
    }

    /// The place just before the first entry.
    #[must_use]
    pub const fn start(&self) -> LogPosition {
        self.start
    }

    /// The last entry's place; `start` if there is none.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.entries.back().map_or(self.start, Entry::position)
    }

    /// What its entries count, in bytes; see [`LogBytes`](crate::contract::LogBytes).
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The newest entries up to `last` that count no more than so many bytes are those behind this index.
    #[must_use]
    pub fn trailing(&self, last: Index, bytes: u64) -> Index {
        let (mut index, mut rest) = (last, bytes);
        while let Some(entry) = self.entry(index)
            && let Some(less) = rest.checked_sub(entry_bytes(entry))
        {
            (index, rest) = (Index(index.0 - 1), less);
        }
        index
    }

    /// One entry, if it is there.
    #[must_use]
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.start.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// The term at an index, if it is known. That of `start` is.
    #[must_use]
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    /// Whether the log holds this place.
    #[must_use]
    pub fn holds(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// Entries from `first` on, as many as fit. At least one if there is one.
    #[must_use]
    pub fn slice(&self, first: Index, entries_max: usize, bytes_max: usize) -> Vec<Entry> {
        let offset = first.0.saturating_sub(self.start.index.0 + 1);
        let Ok(offset) = usize::try_from(offset) else { return Vec::new() };
        let mut bytes = 0_usize;
        let there = self.entries.len().saturating_sub(offset);
        let mut slice = Vec::with_capacity(there.min(entries_max).min(limits::APPEND_ENTRIES));
        for entry in self.entries.iter().skip(offset).take(entries_max) {
            bytes = bytes.saturating_add(entry.data.len());
            if !slice.is_empty() && bytes > bytes_max {
                break;
            }
            slice.push(entry.clone());
        }
        slice
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last().index.next(), "entries follow each other without gaps");
        self.bytes += entry_bytes(&entry);
        self.entries.push_back(entry);
    }

    /// Drops the entry at `index` and all behind it.
    pub fn truncate_from(&mut self, index: Index) {
        assert!(index > self.start.index, "what was released cannot be taken back");
        let keep = usize::try_from(index.0 - self.start.index.0 - 1).unwrap_or(usize::MAX);
        let cut: u64 = self.entries.iter().skip(keep).map(entry_bytes).sum();
        self.bytes -= cut;
        self.entries.truncate(keep);
    }

    /// See [`Write::start`](crate::contract::Write::start).
    pub fn start_at(&mut self, position: LogPosition) {
        if position.index <= self.start.index {
            return;
        }
        if self.holds(position) {
            let release = usize::try_from(position.index.0 - self.start.index.0).unwrap_or(usize::MAX);
            let released: u64 =
                self.entries.drain(..release.min(self.entries.len())).map(|entry| entry_bytes(&entry)).sum();
            self.bytes -= released;
        } else {
            self.entries.clear();
            self.bytes = 0;
        }
        self.start = position;
    }

    /// The largest index, at most `index`, whose term is at most `term`. Both sides of a refused append use it to skip
    /// a whole term at a time (Raft, section 5.3).
    #[must_use]
    pub fn last_not_above(&self, index: Index, term: Term) -> LogPosition {
        let mut at = index.min(self.last().index);
        while at > self.start.index {
            match self.term_at(at) {
                Some(found) if found > term => at = Index(at.0 - 1),
                Some(found) => return LogPosition { term: found, index: at },
                None => break,
            }
        }
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn log(terms: &[u64]) -> Log {
        let entries = terms
            .iter()
            .zip(1..)
            .map(|(&term, index)| Entry {
                term: Term(term),
                index: Index(index),
                data: Bytes::from_static(b"abcd"),
            })
            .collect();
        Log::new(LogPosition::default(), entries)
    }

    fn place(term: u64, index: u64) -> LogPosition {
        LogPosition { term: Term(term), index: Index(index) }
    }

    #[test]
    fn a_held_start_releases_what_is_before_and_keeps_the_rest() {
        let mut log = log(&[1, 1, 2, 2]);
        log.start_at(place(1, 2));
        assert_eq!((log.start(), log.last()), (place(1, 2), place(2, 4)));
        assert_eq!(log.entry(Index(2)), None);
        assert_eq!(log.term_at(Index(2)), Some(Term(1)));
    }

    #[test]
    fn a_start_that_is_not_held_drops_everything() {
        let mut log = log(&[1, 1, 2, 2]);
        log.start_at(place(3, 3));
        assert_eq!((log.start(), log.last()), (place(3, 3), place(3, 3)));
        let mut behind = self::log(&[1]);
        behind.start_at(place(4, 9));
        assert_eq!(behind.last(), place(4, 9));
    }

    #[test]
    fn the_bytes_are_those_of_the_entries_that_are_there() {
        const EACH: u64 = 4 + limits::ENTRY_HEADER_BYTES;
        let mut log = log(&[1, 1, 2, 2, 2]);
        assert_eq!(log.bytes(), 5 * EACH);
        assert_eq!(log.trailing(Index(4), 2 * EACH), Index(2));
        assert_eq!(log.trailing(Index(4), 2 * EACH - 1), Index(3));
        assert_eq!(log.trailing(Index(4), u64::MAX), Index(0));
        log.truncate_from(Index(5));
        log.start_at(place(1, 1));
        assert_eq!(log.bytes(), 3 * EACH);
        log.push(Entry { term: Term(3), index: Index(5), data: Bytes::new() });
        assert_eq!(log.bytes(), 3 * EACH + limits::ENTRY_HEADER_BYTES);
        log.start_at(place(9, 9));
        assert_eq!(log.bytes(), 0);
    }

    #[test]
    fn a_slice_holds_at_least_one_entry_and_respects_both_bounds() {
        let log = log(&[1, 1, 1, 1]);
        assert_eq!(log.slice(Index(2), 10, 0).len(), 1);
        assert_eq!(log.slice(Index(2), 10, 8).len(), 2);
        assert_eq!(log.slice(Index(1), 3, 1000).len(), 3);
        assert_eq!(log.slice(Index(5), 3, 1000).len(), 0);
    }

    #[test]
    fn hints_skip_whole_terms() {
        let log = log(&[1, 1, 4, 4, 5, 5, 6]);
        assert_eq!(log.last_not_above(Index(7), Term(4)), place(4, 4));
        assert_eq!(log.last_not_above(Index(7), Term(3)), place(1, 2));
        assert_eq!(log.last_not_above(Index(99), Term(9)), place(6, 7));
        assert_eq!(log.last_not_above(Index(2), Term(0)), place(0, 0));
    }
}
