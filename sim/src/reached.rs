//! Which marks the seeds reached. A mark in a report is its text and two numbers, whoever declared it: the core (`quorate_core::mark`) or
//! the simulator.

use crate::{marks::SimMark, seeds::Seeds};
use quorate_core::mark::{self, Mark};
use std::collections::BTreeMap;

/// How often one run hit each mark that it reached, by the mark's text.
pub type Hits = BTreeMap<&'static str, u64>;

/// Every mark there is.
pub fn all() -> impl Iterator<Item = &'static str> {
    of_core().chain(of_simulator())
}

fn of_core() -> impl Iterator<Item = &'static str> {
    Mark::ALL.iter().map(|mark| mark.text())
}

fn of_simulator() -> impl Iterator<Item = &'static str> {
    SimMark::ALL.iter().map(|mark| mark.text())
}

/// Forgets what this thread has hit: a run begins.
pub fn clear() {
    let _ = mark::take();
}

/// What the core hit on this thread since [`clear`].
#[must_use]
pub fn take() -> Hits {
    let counts = Mark::ALL.iter().zip(mark::take());
    counts.filter(|(_, count)| *count > 0).map(|(mark, count)| (mark.text(), count)).collect()
}

/// One mark over many seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// How often it was hit in all.
    pub hits: u64,
    /// The seeds that hit it.
    pub seeds: Seeds,
}

/// All marks over many seeds. Those of the simulator are of its core level, where every run reaches some of them: they are
/// among them from the first run on that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The seeds that were run.
    pub ran: Seeds,
    marks: BTreeMap<&'static str, Reached>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { ran: Seeds::default(), marks: of_core().map(|text| (text, Reached::default())).collect() }
    }
}

impl Marks {
    /// Adds a run.
    pub fn add(&mut self, seed: u64, hits: &Hits) {
        self.ran.insert(seed);
        for (text, count) in hits {
            if !self.marks.contains_key(text) {
                self.marks.extend(of_simulator().map(|text| (text, Reached::default())));
            }
            let reached = self.marks.entry(text).or_default();
            reached.hits += count;
            reached.seeds.insert(seed);
        }
    }

    /// How many marks some seed reached, and how many there are.
    #[must_use]
    pub fn reached(&self) -> (usize, usize) {
        let reached = self.marks.values().filter(|reached| reached.hits > 0).count();
        (reached, self.marks.len())
    }

    /// The rarest first, those that no seed reached before all others.
    #[must_use]
    pub fn rarest(&self) -> Vec<(&'static str, &Reached)> {
        let mut marks: Vec<_> = self.marks.iter().map(|(text, reached)| (*text, reached)).collect();
        marks.sort_by_key(|(text, reached)| (reached.seeds.len(), reached.hits, *text));
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_mark_has_a_text_of_its_own_that_begins_with_its_area() {
        let areas = [
            "agent",
            "command",
            "fleet",
            "identity",
            "job",
            "key",
            "lead",
            "lease",
            "level",
            "node",
            "query",
            "raft",
            "session",
            "task",
            "network",
            "process",
            "programs",
            "disk",
            "clock",
            "executor",
            "client",
            "operation",
            "operator",
            "members",
            "states",
            "refused",
            "knob",
            "settle",
            "recovery",
            "point",
        ];
        let mut texts = BTreeSet::new();
        for text in all() {
            assert!(texts.insert(text), "{text:?} is there twice");
            let (area, reached) = text.split_once(": ").unwrap_or_default();
            assert!(areas.contains(&area), "{text:?} begins with none of {areas:?}");
            assert!(!reached.is_empty() && !reached.ends_with('.'), "{text:?}");
        }
        assert!(texts.len() >= 150, "{}", texts.len());
    }

    #[test]
    fn hits_are_taken_once_and_counted_by_seed() {
        clear();
        mark::hit(Mark::ElectionWon);
        mark::hit(Mark::ElectionWon);
        mark::hit_if(false, Mark::ElectionLost);
        let hits = take();
        assert_eq!(hits, Hits::from([(Mark::ElectionWon.text(), 2)]));
        assert_eq!(take(), Hits::new());
        let mut marks = Marks::default();
        marks.add(7, &hits);
        marks.add(9, &hits);
        marks.add(10, &Hits::new());
        assert_eq!((marks.reached().0, marks.ran.len()), (1, 3));
        let (text, reached) = marks.rarest().pop().unwrap();
        assert_eq!((text, reached.hits, reached.seeds.len()), (Mark::ElectionWon.text(), 4, 2));
        assert_eq!(marks.rarest()[0].1.hits, 0);
    }

    #[test]
    fn marks_of_the_simulator_are_asked_for_only_where_runs_reach_them() {
        let mut marks = Marks::default();
        marks.add(1, &Hits::from([(Mark::ElectionWon.text(), 2)]));
        assert_eq!(marks.reached(), (1, Mark::ALL.len()));
        marks.add(2, &Hits::from([(SimMark::ThreeMasters.text(), 1)]));
        assert_eq!(marks.reached(), (2, Mark::ALL.len() + SimMark::ALL.len()));
        marks.add(3, &Hits::from([(SimMark::ThreeMasters.text(), 1), (SimMark::CutLost.text(), 1)]));
        assert_eq!(marks.reached(), (3, all().count()));
        assert_eq!(
            marks.rarest().pop().map(|(text, reached)| (text, reached.hits)),
            Some((SimMark::ThreeMasters.text(), 2))
        );
    }
}
