//! Which kinds of faults lead to a mark, and which keep seeds from it: the share of seeds that reach it, among those whose plan has the
//! kind and among those whose plan has not (swarm testing).

use crate::{
    bugs::statistics::{Share, Z95, Z999, difference, wilson},
    plan::{FaultKind, Limits, generate},
    reached::{Marks, Reached},
    seeds::Seeds,
};
use std::collections::BTreeMap;

/// Marks that are looked at.
const RAREST: usize = 20;

/// A kind of fault that makes a difference to a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Influence {
    pub(super) mark: &'static str,
    pub(super) kind: &'static str,
    /// Seeds whose plan has a fault of the kind.
    pub(super) with: Share,
    /// The others.
    pub(super) without: Share,
}

impl Influence {
    /// Whether the kind leads to the mark; if not, it keeps seeds from it.
    pub(super) fn triggers(&self) -> bool {
        self.with.value() > self.without.value()
    }

    pub(super) fn sign(&self) -> char {
        if self.triggers() { '+' } else { '-' }
    }

    // Many comparisons are made at once, so that 95 % would let chance in.
    fn is_significant(&self) -> bool {
        let (low, high) = difference(self.with, self.without, Z999);
        low > 0.0 || high < 0.0
    }
}

/// A share for scripts, with its interval of 95 %.
pub(super) fn json(share: Share) -> serde_json::Value {
    let (low, high) = wilson(share.hits, share.tries, Z95);
    serde_json::json!({ "reached": share.hits, "seeds": share.tries, "low": low, "high": high })
}

/// For the rarest marks that were reached, the kinds that make a difference that is not by chance.
pub(super) fn influences(marks: &Marks, limits: &Limits) -> Vec<Influence> {
    of_kinds(marks, &kinds(&marks.ran, limits))
}

fn kinds(seeds: &Seeds, limits: &Limits) -> BTreeMap<&'static str, Seeds> {
    let mut kinds: BTreeMap<&'static str, Seeds> =
        FaultKind::NAMES.iter().map(|name| (*name, Seeds::default())).collect();
    for seed in seeds.iter() {
        for fault in generate(seed, limits).faults {
            kinds.entry(fault.kind.name()).or_default().insert(seed);
        }
    }
    kinds
}

fn of_kinds(marks: &Marks, kinds: &BTreeMap<&'static str, Seeds>) -> Vec<Influence> {
    let rarest = marks.rarest().into_iter().filter(|(_, reached)| reached.hits > 0).take(RAREST);
    let of_mark = |(mark, reached): (&'static str, &Reached)| {
        let (all, hit) = (marks.ran.len(), reached.seeds.len());
        let influence = |(kind, seeds): (&&'static str, &Seeds)| {
            let with = Share { hits: seeds.shared(&reached.seeds), tries: seeds.len() };
            let without = Share { hits: hit - with.hits, tries: all - with.tries };
            Influence { mark, kind, with, without }
        };
        kinds.iter().map(influence).filter(Influence::is_significant).collect::<Vec<_>>()
    };
    rarest.flat_map(of_mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reached::Hits;

    #[test]
    fn a_kind_that_leads_to_a_mark_is_told_from_one_that_keeps_from_it_and_from_chance() {
        let mut marks = Marks::default();
        for seed in 0..400 {
            let even = seed % 2 == 0;
            marks.add(
                seed,
                &if even && seed % 8 != 0 { Hits::from([("test: even", 1)]) } else { Hits::new() },
            );
        }
        let kinds = BTreeMap::from([
            ("all", (0..400).collect()),
            ("even", (0..400).filter(|seed| seed % 2 == 0).collect()),
            ("odd", (0..400).filter(|seed| seed % 2 == 1).collect()),
            ("half", (0..200).collect::<Seeds>()),
        ]);
        let found = of_kinds(&marks, &kinds);
        let told: Vec<_> = found.iter().map(|it| (it.kind, it.sign(), it.with.hits)).collect();
        assert_eq!(told, [("even", '+', 150), ("odd", '-', 0)]);
    }
}
