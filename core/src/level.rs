//! Which formats there are. A cluster is at the newest feature level that the programs of all its members know, and writes
//! nothing that only a higher one can read; so its masters are upgraded one by one, and go back one by one.
//!
//! A level is a version of everything that is replicated: commands, entries, records, snapshots. What comes with a level is
//! proposed at that level, and is taken out of the state when the cluster goes below it. A new field of a replicated message counts as
//! well: a program that does not know it drops it, and its state differs. So do the texts of refusals that entries are answered with:
//! answers are kept in the state. `core/src/state/tests/golden.rs` notices.

/// The level at which every cluster begins.
pub const FIRST_LEVEL: u32 = 1;

/// The newest level that this program knows.
#[cfg(not(feature = "next-format"))]
pub const FEATURE_LEVEL: u32 = 1;
/// The newest level that this program knows: one with a format of entries and of snapshots that others do not read.
#[cfg(feature = "next-format")]
pub const FEATURE_LEVEL: u32 = 2;

/// The oldest version of entries and of snapshots.
pub const VERSION: u8 = 1;

/// The version of entries and of snapshots that a cluster at this level writes.
#[must_use]
pub const fn version(level: u32) -> u8 {
    if cfg!(feature = "next-format") && level >= 2 { 2 } else { VERSION }
}
