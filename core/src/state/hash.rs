//! The hash of the state: a multiset hash, so that it is kept by adding what comes and taking away what goes.

use core::hash::Hasher;
use siphasher::sip128::{Hasher128, SipHasher13};

/// What a digest is of. Part of what is hashed, so that equal bytes of two kinds differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An item of the users' space.
    Business = 1,
    /// A record.
    Frame = 2,
    /// A session without its answers.
    Session = 3,
    /// An answer of a session.
    Reply = 4,
    /// Index, time, counters, revisions.
    Header = 5,
    /// No part of the state: a cluster that begins with it.
    Heir = 6,
    /// No part of the state: what a session is called.
    SessionId = 8,
    /// What only the next format has.
    #[cfg(feature = "next-format")]
    Next = 7,
}

// Fixed for ever: replicas of different versions compare their hashes.
const KEYS: (u64, u64) = (0x5175_6f72_6174_6521, 0x7374_6174_6568_6173);

/// The digest of some parts. Each goes in with its length, so that no two lists of parts collide by shifting bytes.
pub(crate) fn digest(kind: Kind, numbers: &[u64], parts: &[&[u8]]) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(KEYS.0, KEYS.1);
    hasher.write(&[kind as u8]);
    for number in numbers {
        hasher.write(&number.to_le_bytes());
    }
    for part in parts {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    hasher.finish128().as_u128()
}

/// A sum of digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(pub(crate) u128);

impl Sum {
    /// Something came.
    pub(crate) const fn add(&mut self, digest: u128) {
        self.0 = self.0.wrapping_add(digest);
    }

    /// Something went.
    pub(crate) const fn take(&mut self, digest: u128) {
        self.0 = self.0.wrapping_sub(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_pinned() {
        // Replicas of two versions compare hashes: this number must never change.
        assert_eq!(digest(Kind::Business, &[1, 2], &[b"key", b"value"]), PINNED);
    }

    const PINNED: u128 = 297_243_569_054_751_094_665_636_059_113_771_569_937;

    #[test]
    fn parts_do_not_shift_into_each_other() {
        let left = digest(Kind::Frame, &[], &[b"ab", b"c"]);
        let right = digest(Kind::Frame, &[], &[b"a", b"bc"]);
        assert_ne!(left, right);
        assert_ne!(left, digest(Kind::Business, &[], &[b"ab", b"c"]));
    }

    #[test]
    fn order_does_not_matter_and_taking_undoes_adding() {
        let (one, two) = (digest(Kind::Frame, &[1], &[]), digest(Kind::Frame, &[2], &[]));
        let (mut left, mut right) = (Sum::default(), Sum::default());
        left.add(one);
        left.add(two);
        right.add(two);
        right.add(one);
        assert_eq!(left, right);
        left.take(one);
        left.take(two);
        assert_eq!(left, Sum::default());
    }
}
