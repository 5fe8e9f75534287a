//! What a node keeps: a write-ahead log in segments, and snapshots, in one directory on a [`Disk`].
//!
//! * [`disk`]: the few operations that are needed, on real files and in memory.
//! * [`identity`]: whose directory it is.
//! * [`record`], [`batch`], [`segment`]: the bytes of the log. [`shape`]: its rules.
//! * [`scan`], [`recovery`]: reading the log; what tells a torn tail from damage. [`wal`]: writing it.
//! * [`recycle`]: files for segments, made ready before they are needed.
//! * [`frames`], [`snapshots`]: snapshot files. [`choice`]: which of them a start begins with. [`inspect`]: looking into a directory that no server uses.
//! * [`saved`], [`restore`], [`survivor`]: directories of a new cluster, out of a snapshot file, or of what outlived an old
//!   one. [`heir`]: making them in one step. [`lineage`]: where a cluster comes from.
//! * [`differs`]: a directory whose state is not the majority's. [`scrub`]: reading what is not written any more. [`space`]: whether there is room left.
//!
//! # What is promised
//! What [`Storage::write`] said `Ok` to is there after any crash or loss of power; a batch is there whole or not at all.
//! Damage to it is found and refused, unless it hit the very last batch: that cannot be told from a write that was cut
//! off. No byte that counts is written over and no segment is written by two runs: each run begins a segment of its own,
//! and repeats in it what no completed sync vouches for. So a sync that failed (after which a system may show bytes
//! that are not on the disk) is harmless across a restart too.

pub mod batch;
pub mod choice;
pub mod differs;
pub mod disk;
pub mod error;
pub mod frames;
pub mod heir;
pub mod identity;
pub mod inspect;
pub mod lineage;
pub mod record;
pub mod recovery;
pub mod recycle;
pub mod restore;
pub mod saved;
pub mod scan;
pub mod scrub;
pub mod segment;
pub mod shape;
pub mod snapshots;
pub mod space;
pub mod survivor;
pub mod wal;

#[cfg(test)]
mod tests;

#[cfg(not(madsim))]
pub use disk::file::{FileDisk, make_directory};
pub use disk::{Disk, memory::MemoryDisk};
pub use error::{DiskError, OpenError, StorageError};
pub use identity::Identity;
pub use inspect::{Report, verify};
pub use recycle::Helper;
pub use snapshots::SnapshotStore;
pub use space::SpaceLimits;
pub use wal::{Storage, StorageOptions};
