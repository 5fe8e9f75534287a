//! The key-value store. There are two of it: the users' space, and the one of Quorate's own records.
//!
//! It holds one version of each key. Revisions are given as a store of many versions gives them, so that ranges at a
//! revision, transactions and watches can be added without a change of what is written.

pub(crate) mod keyvalue;

use crate::{
    bug::{self, Bug},
    state::hash::{Kind, Sum, digest},
    types::Revision,
};
use bytes::Bytes;
use core::ops::Bound;
use imbl::OrdMap;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The value.
    pub(crate) value: Bytes,
    /// When the key came into being.
    pub(crate) create_revision: Revision,
    /// When it was last changed.
    pub(crate) mod_revision: Revision,
    /// Changes since it came into being; 1 = new.
    pub(crate) version: u64,
}

/// Which of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// The users' keys.
    Business,
    /// Quorate's own records.
    Frame,
}

/// One space: keys in order, a revision that grows by one with each change, and the sum of all digests.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    space: Space,
    items: OrdMap<Bytes, Item>,
    revision: Revision,
    sum: Sum,
}

impl Store {
    /// An empty one.
    pub(crate) fn new(space: Space) -> Self {
        Self { space, items: OrdMap::new(), revision: Revision(0), sum: Sum::default() }
    }

    /// An empty one at a revision, to be filled with [`restore`](Self::restore).
    pub(crate) fn at(space: Space, revision: Revision) -> Self {
        Self { revision, ..Self::new(space) }
    }

    /// The revision of the last change.
    pub(crate) const fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision of the last change is this one from now on; it never goes back.
    pub(crate) fn raise(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The sum of the digests of all items.
    pub(crate) const fn sum(&self) -> Sum {
        self.sum
    }

    /// What a key holds.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Item> {
        self.items.get(key)
    }

    /// Keys from a bound on, in order.
    pub(crate) fn from(&self, start: Bound<&[u8]>) -> impl Iterator<Item = (&Bytes, &Item)> {
        self.items.range::<_, [u8]>((start, Bound::Unbounded))
    }

    /// All keys, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Item)> {
        self.items.iter()
    }

    /// Sets a key.
    pub(crate) fn put(&mut self, key: Bytes, value: Bytes) {
        if !(bug::planted(Bug::StateRevisionKept) && self.items.contains_key(&key)) {
            self.revision = self.revision.next();
        }
        let mut item =
            Item { value, create_revision: self.revision, mod_revision: self.revision, version: 1 };
        if let Some(old) = self.items.get(&key) {
            item.create_revision = old.create_revision;
            item.version = old.version.saturating_add(1);
            self.sum.take(self.digest(&key, old));
        }
        self.sum.add(self.digest(&key, &item));
        self.items.insert(key, item);
    }

    /// Takes a key out. False: there was none, and the revision stays.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        let Some(old) = self.items.remove(key) else { return false };
        self.revision = self.revision.next();
        self.sum.take(self.digest(key, &old));
        true
    }

    /// Puts an item back as it was, out of a snapshot. False: the key is there already, or the item cannot be.
    pub(crate) fn restore(&mut self, key: Bytes, item: Item) -> bool {
        let plausible = item.create_revision.0 >= 1
            && item.create_revision <= item.mod_revision
            && item.mod_revision <= self.revision
            && item.version >= 1;
        if !plausible || self.items.contains_key(&key) {
            return false;
        }
        self.sum.add(self.digest(&key, &item));
        self.items.insert(key, item);
        true
    }

    /// The sum of all digests, from the beginning. Takes time.
    pub(crate) fn sum_again(&self) -> Sum {
        let mut sum = Sum::default();
        for (key, item) in &self.items {
            sum.add(self.digest(key, item));
        }
        sum
    }

    // The history of the records' space is compacted by itself, so its revisions are no part of what replicas agree on.
    fn digest(&self, key: &[u8], item: &Item) -> u128 {
        match self.space {
            Space::Business => {
                let numbers = [item.create_revision.0, item.mod_revision.0, item.version];
                digest(Kind::Business, &numbers, &[key, &item.value])
            }
            Space::Frame => digest(Kind::Frame, &[], &[key, &item.value]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_beginning_and_counts_its_changes() {
        let mut store = Store::new(Space::Business);
        store.put(Bytes::from("a"), Bytes::from("1"));
        store.put(Bytes::from("b"), Bytes::from("1"));
        store.put(Bytes::from("a"), Bytes::from("2"));
        let item = store.get(b"a").expect("is there");
        assert_eq!((item.create_revision, item.mod_revision, item.version), (Revision(1), Revision(3), 2));
        assert!(store.delete(b"a"));
        assert!(!store.delete(b"a"));
        assert_eq!(store.revision(), Revision(4));
        store.put(Bytes::from("a"), Bytes::from("3"));
        assert_eq!(store.get(b"a").expect("is there").version, 1);
    }

    #[test]
    fn what_cannot_be_or_is_there_already_is_not_restored() {
        let mut store = Store::at(Space::Business, Revision(5));
        let item = |create, modified, version| Item {
            value: Bytes::from("1"),
            create_revision: Revision(create),
            mod_revision: Revision(modified),
            version,
        };
        for wrong in [item(0, 5, 1), item(4, 3, 1), item(3, 6, 1), item(3, 4, 0)] {
            assert!(!store.restore(Bytes::from("a"), wrong));
        }
        assert!(store.restore(Bytes::from("a"), item(3, 5, 2)));
        assert!(!store.restore(Bytes::from("a"), item(3, 5, 2)));
        assert_eq!((store.len(), store.sum()), (1, store.sum_again()));
    }

    #[test]
    fn the_sum_is_kept_by_every_change() {
        let mut store = Store::new(Space::Business);
        for number in 0..50_u8 {
            store.put(Bytes::from(vec![number % 7]), Bytes::from(vec![number]));
            store.delete(&[number % 3]);
            assert_eq!(store.sum(), store.sum_again());
        }
    }
}
