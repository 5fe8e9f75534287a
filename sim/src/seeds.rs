//! A set of seeds, small enough to keep one for each mark over a million of them.

use std::collections::BTreeMap;

const BITS: u64 = 64;

/// A set of seeds: one bit each, in words of 64 that are there only if a bit of them is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeds {
    words: BTreeMap<u64, u64>,
}

impl Seeds {
    /// Adds a seed.
    pub fn insert(&mut self, seed: u64) {
        *self.words.entry(seed / BITS).or_default() |= 1 << (seed % BITS);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.words.values().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// How many are in both sets.
    #[must_use]
    pub fn shared(&self, other: &Self) -> u64 {
        let in_other = |place| other.words.get(place).copied().unwrap_or_default();
        self.words.iter().map(|(place, word)| u64::from((word & in_other(place)).count_ones())).sum()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.words.iter().flat_map(|(place, word)| {
            (0..BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * BITS + bit)
        })
    }
}

impl FromIterator<u64> for Seeds {
    fn from_iter<I: IntoIterator<Item = u64>>(seeds: I) -> Self {
        let mut set = Self::default();
        for seed in seeds {
            set.insert(seed);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_kept_once_and_in_order() {
        let numbers = [u64::MAX, 5, 63, 64, 5, 1_000_000];
        let set: Seeds = numbers.into_iter().collect();
        assert_eq!(set.len(), 5);
        assert_eq!(set.iter().collect::<Vec<_>>(), [5, 63, 64, 1_000_000, u64::MAX]);
        assert!(Seeds::default().is_empty() && !set.is_empty());
    }

    #[test]
    fn two_sets_share_what_is_in_both() {
        let (left, right): (Seeds, Seeds) = ((0..100).collect(), (90..300).collect());
        assert_eq!((left.shared(&right), right.shared(&left)), (10, 10));
    }
}
