//! The bytes of snapshots: as they come from a peer, and as they lie on the disk.

use crate::{choices::Choices, wal};
use bytes::Bytes;
use quorate_core::{
    contract::LogPosition,
    state::State,
    types::{Index, Term},
};
use quorate_net::storage::{
    Disk, MemoryDisk, SnapshotStore, StorageError,
    frames::{FrameWriter, SnapshotHeader, decode_snapshot},
};
use std::sync::Arc;

/// Which bytes an input has: its first byte.
pub(crate) mod form {
    /// A state's.
    pub(crate) const STATE: u8 = 0;
    /// A file's.
    pub(crate) const FILE: u8 = 1;
    /// A state's, in pieces that get right checksums.
    pub(crate) const FRAMED: u8 = 2;
}

/// The place of the snapshot whose file an input is. The seeds are of it too.
pub(crate) const fn place() -> LogPosition {
    LogPosition { term: Term(2), index: Index(9) }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    match choices.byte() % 3 {
        form::STATE => state(choices.rest()),
        form::FILE => file(choices.rest()),
        _ => framed(&mut choices),
    }
}

fn state(bytes: &[u8]) {
    let pieces = |size: usize| bytes.chunks(size).map(Bytes::copy_from_slice);
    let whole = State::decode(pieces(bytes.len().max(1)));
    let cut = State::decode(pieces(7));
    let same = whole.as_ref().map(State::hash) == cut.as_ref().map(State::hash);
    assert!(same, "in pieces it is {cut:?}, and whole {whole:?}");
    let Ok(found) = whole else { return };
    let again = State::decode(found.encode());
    assert!(again.as_ref().map(State::hash) == Ok(found.hash()), "written again it is {again:?}");
}

fn file(bytes: &[u8]) {
    let decoded = decode_snapshot(bytes);
    let disk = Arc::new(MemoryDisk::new());
    let at = place();
    let name = format!("snapshot-{:016x}-{:016x}", at.term.0, at.index.0);
    disk.create(&name).and_then(|()| disk.append(&name, bytes)).expect("memory takes everything");
    let store = SnapshotStore::new(disk, wal::identity());
    let checked = store.check(at);
    let own = SnapshotHeader { identity: wal::identity(), at };
    let whole = decoded.as_ref().is_ok_and(|(header, _)| *header == own);
    assert!(checked.is_ok() == whole, "{checked:?}, and its bytes are {decoded:?}");
    let chunks = decoded.ok().filter(|_| whole).map(|(_, chunks)| chunks).unwrap_or_default();
    for (number, chunk) in chunks.iter().enumerate() {
        let read = store.read_chunk(at, number as u64);
        let wanted = Some((chunk.clone(), number + 1 == chunks.len()));
        assert!(read.as_ref().ok() == Some(&wanted), "chunk {number}: {read:?}");
    }
    let loaded = store.load(at);
    assert!(whole || loaded.is_err(), "a damaged snapshot was loaded");
    // Whole chunks may hold no state: then nobody is sent them any more.
    let sent = store.read_chunk(at, 0);
    let damaged = matches!(loaded, Err(StorageError::Damaged { .. }));
    assert!(!damaged || matches!(sent, Ok(None)), "{loaded:?}, and its first chunk is {sent:?}");
}

fn framed(choices: &mut Choices<'_>) {
    let (mut writer, mut bytes) =
        FrameWriter::begin(&SnapshotHeader { identity: wal::identity(), at: place() });
    let size = choices.pick(200) + 1;
    for piece in choices.rest().chunks(size) {
        bytes.extend_from_slice(&writer.chunk(piece).expect("a piece is small"));
    }
    let chunks = writer.next_number();
    bytes.extend_from_slice(&writer.finish());
    let decoded = decode_snapshot(&bytes);
    let right = decoded.as_ref().map_or(0, |(_, found)| found.len() as u64) == chunks;
    assert!(right && decoded.is_ok() == (chunks > 0), "{chunks} pieces are {decoded:?}");
    file(&bytes);
}
