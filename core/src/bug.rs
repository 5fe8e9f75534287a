//! Planted bugs: each breaks one rule on purpose, so that it can be measured whether the simulator notices.
//!
//! They are there only with the feature `planted-bugs`, which no shipped build has: without it, [`planted`] is `false`
//! at compile time, and the branches behind it are gone.

/// Declares the bugs: a name, the name it is selected by, and in words what is broken.
macro_rules! bugs {
    ($($name:ident = $key:literal, $text:literal;)*) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "the text that is printed says it")]
        pub enum Bug { $($name,)* }

        #[cfg(feature = "planted-bugs")]
        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name it is selected by.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// What is broken.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

bugs! {
    VoteNotPersisted = "raft-vote-not-persisted", "a vote is given without being written";
}

#[cfg(feature = "planted-bugs")]
mod selection {
    use super::Bug;
    use core::cell::Cell;

    // A run of the simulator stays on one thread, so that its bug is its own.
    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted in the runs of this thread.
    #[must_use]
    #[inline]
    pub fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug in the runs of this thread; `None` takes it out.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}

#[cfg(feature = "planted-bugs")]
pub use selection::{plant, planted};

/// Whether this bug is planted: never, without the feature `planted-bugs`.
#[cfg(not(feature = "planted-bugs"))]
#[must_use]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}
