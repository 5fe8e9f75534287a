//! Tests of the whole of storage, on a disk in memory that breaks.

mod bytes;
mod choice;
mod damage;
mod directory;
mod heirs;
mod model;
mod peers;
#[cfg(feature = "planted-bugs")]
pub(super) mod planted;
mod recycle;
mod scrub;
mod snapshots;

use super::{Identity, MemoryDisk, OpenError, SnapshotStore, Storage, StorageOptions};
use ::bytes::Bytes;
use quorate_core::{
    contract::{Entry, HardState, LogPosition, Recovered, Write},
    state::State,
    types::{ClusterId, Index, NodeId, StorageId, Term, WriteId},
};
use std::sync::Arc;

const IDENTITY: Identity = Identity::new(ClusterId(77), NodeId(3), StorageId(0x5707_AA6E));

fn position(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

fn entry(term: u64, index: u64, size: usize) -> Entry {
    let byte = u8::try_from((term * 31 + index) % 251).unwrap();
    Entry { term: Term(term), index: Index(index), data: vec![byte; size].into() }
}

fn nothing() -> Write {
    Write { io: WriteId(1), start: None, entries: Vec::new(), hard_state: None, voters: None }
}

fn entries(term: u64, from: u64, to: u64, size: usize) -> Write {
    let entries = (from..=to).map(|index| entry(term, index, size)).collect();
    let hard_state = Some(HardState { term: Term(term), vote: Some(NodeId(2)), commit: Index(0) });
    Write { entries, hard_state, ..nothing() }
}

/// The chunks of a snapshot that is made up from its place. It begins like a state that every program knows.
fn chunks(at: LogPosition) -> Vec<Bytes> {
    let filled = |number| vec![u8::try_from((at.index.0 + number) % 256).unwrap(); 700];
    let mut chunks: Vec<_> = (0..3).map(filled).collect();
    chunks[0][..100].fill(0);
    chunks.into_iter().map(Bytes::from).collect()
}

/// Opens with snapshots of [`chunks`].
fn open_sized(disk: &Arc<MemoryDisk>, segment_bytes: u64) -> Result<(Storage, Recovered), OpenError> {
    let disk: Arc<MemoryDisk> = Arc::clone(disk);
    Storage::open_with(disk, IDENTITY, StorageOptions { segment_bytes }, |store: &SnapshotStore, at| {
        let right = store.load_chunks(at, |found| found.collect::<Vec<_>>() == chunks(at))?;
        assert!(right.unwrap(), "snapshot {at:?} has other content than was saved");
        Ok(Some(State::default()))
    })
}

fn open(disk: &Arc<MemoryDisk>) -> Result<(Storage, Recovered), OpenError> {
    open_sized(disk, 1 << 20)
}
