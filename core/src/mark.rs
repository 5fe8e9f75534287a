//! Marks: places that a good simulation must reach. Each is named once, here; a place that no seed reached is a gap of
//! the simulator, and `cargo sim marks` lists it.
//!
//! They count only with the feature `marks`, which no shipped build has: without it, [`hit`] is nothing at all.

/// Declares the marks: a name, and in words what was reached.
macro_rules! marks {
    ($($name:ident = $text:literal,)*) => {
        /// A place that a good simulation must reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the text that is printed says it")]
        pub enum Mark { $($name,)* }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What was reached.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

marks! {
    ElectionPreVote = "raft: a node asks whether it could win",
    ElectionWon = "raft: a node wins an election",
}

/// How often each mark was hit, in the order of [`Mark::ALL`].
#[cfg(feature = "marks")]
pub type Counts = [u64; Mark::ALL.len()];

#[cfg(feature = "marks")]
mod counting {
    use super::{Counts, Mark};
    use core::cell::Cell;

    // A run of the simulator stays on one thread, so that its counts are its own.
    thread_local! {
        static COUNTS: [Cell<u64>; Mark::ALL.len()] = const { [const { Cell::new(0) }; Mark::ALL.len()] };
    }

    /// The place of a mark was reached.
    #[inline]
    pub fn hit(mark: Mark) {
        COUNTS.with(|counts| {
            let count = &counts[mark as usize];
            count.set(count.get() + 1);
        });
    }

    /// What was hit on this thread since this was last called.
    #[must_use]
    pub fn take() -> Counts {
        COUNTS.with(|counts| core::array::from_fn(|place| counts[place].take()))
    }
}

#[cfg(feature = "marks")]
pub use counting::{hit, take};

/// The place of a mark was reached: nothing, without the feature `marks`.
#[cfg(not(feature = "marks"))]
#[inline(always)]
pub const fn hit(_: Mark) {}

/// The place of a mark was reached, if the condition holds.
#[inline(always)]
pub fn hit_if(condition: bool, mark: Mark) {
    if condition {
        hit(mark);
    }
}
