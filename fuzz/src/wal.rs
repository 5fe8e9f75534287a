//! The files of the log, as a disk may give them back.

use crate::choices::Choices;
use quorate_core::{
    contract::Recovered,
    types::{ClusterId, Index, NodeId, StorageId},
};
use quorate_net::storage::{
    Disk, Identity, MemoryDisk, OpenError, Storage, StorageOptions, inspect,
    record::{self, Kind, Place, Window},
    scan,
    segment::{self, Point, SegmentHeader},
    verify,
};
use std::sync::Arc;

/// What the files of an input are: its first byte.
pub(crate) mod form {
    /// One segment, its very bytes.
    pub(crate) const RAW: u8 = 0;
    /// Segments, each behind its length.
    pub(crate) const FILES: u8 = 1;
    /// Kinds and payloads of records, which get a right header and right checksums.
    pub(crate) const SEALED: u8 = 2;
}

/// Small files: each start makes one.
const OPTIONS: StorageOptions = StorageOptions { segment_bytes: 4096 };
/// Most files, and most records, of one input.
const PARTS: usize = 32;

/// Whose directory it is. The seeds are of it too.
pub(crate) const fn identity() -> Identity {
    Identity::new(ClusterId(7), NodeId(1), StorageId(3))
}

pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let form = choices.byte();
    let files = match form % 3 {
        form::RAW => vec![choices.rest().to_vec()],
        form::FILES => blocks(&mut choices).map(<[u8]>::to_vec).collect(),
        _ => vec![sealed(&mut choices)],
    };
    for (number, bytes) in files.iter().enumerate() {
        decode(bytes, number as u64 + 1);
    }
    open(&files);
}

fn blocks<'bytes>(choices: &mut Choices<'bytes>) -> impl Iterator<Item = &'bytes [u8]> {
    core::iter::from_fn(|| (!choices.is_empty()).then(|| choices.block())).take(PARTS)
}

/// A segment whose checksums are right, whatever its records say.
fn sealed(choices: &mut Choices<'_>) -> Vec<u8> {
    let header = SegmentHeader {
        identity: identity(),
        sequence: 1,
        first: Index(1),
        previous: Point::default(),
        recycled: false,
    };
    let (mut bytes, checksum) = header.encode();
    let mut records = Vec::new();
    let kinds = [
        Kind::Batch,
        Kind::Entries,
        Kind::HardState,
        Kind::Voters,
        Kind::LogStart,
        Kind::Checkpoint,
        Kind::Footer,
    ];
    for _ in 0..PARTS {
        if choices.is_empty() {
            break;
        }
        let kind = kinds[choices.pick(kinds.len())];
        let payload = choices.block();
        record::push(&mut records, kind, |into| into.extend_from_slice(payload));
    }
    record::seal(header.place(), &mut records, bytes.len() as u64, checksum);
    bytes.extend_from_slice(&records);
    bytes
}

fn decode(bytes: &[u8], sequence: u64) {
    let place = Place { storage: identity().storage, sequence };
    let aligned = choices_offset(bytes);
    if let Ok(raw) = record::read(place, Window { base: 0, bytes }, aligned) {
        assert!(raw.end <= bytes.len(), "a record that ends behind its file");
    }
    let (whole, newer) = (Identity::decode(bytes).is_some(), segment::segment_other_format(bytes).is_some());
    assert!(!(whole && newer), "an identity and a segment in one file");
    let behind = scan::behind(place, &mut scan::slice(bytes), aligned as u64, bytes.len() as u64);
    let proof = behind.expect("memory can be read").proof;
    assert!(proof.is_none_or(|proof| proof >= aligned as u64), "a proof before the flaw");
    let Ok(found) = scan::decode_segment(bytes) else { return };
    let mut end = segment::SEGMENT_HEADER_BYTES as u64;
    for batch in &found.batches {
        assert!(batch.head.offset == end && batch.head.end > end, "batches with a gap between them");
        end = batch.head.end;
    }
    assert!(end <= found.end && found.end <= bytes.len() as u64, "a batch that ends behind its file");
    let all = found.tail.is_some() || found.sealed || end == bytes.len() as u64;
    assert!(all, "bytes that nobody read");
}

/// Any offset in a file.
fn choices_offset(bytes: &[u8]) -> usize {
    bytes.last().map_or(0, |last| usize::from(*last) * record::ALIGNMENT % (bytes.len() + 1))
}

fn open(files: &[Vec<u8>]) {
    let disk = Arc::new(MemoryDisk::new());
    identity().store(&*disk).expect("memory takes everything");
    for (number, bytes) in files.iter().enumerate() {
        let name = segment::file_name(number as u64 + 1);
        disk.create(&name).and_then(|()| disk.append(&name, bytes)).expect("memory takes everything");
    }
    let disk: Arc<dyn Disk> = disk;
    let verified = verify(Arc::clone(&disk));
    let _ = inspect::dump(&*disk, None, |_| Ok::<(), OpenError>(()));
    let opened = Storage::open(Arc::clone(&disk), identity(), OPTIONS);
    let Ok((storage, recovered)) = opened else {
        assert!(verified.is_err(), "{verified:?}, but it does not open: {:?}", opened.err());
        return;
    };
    assert!(verified.is_ok(), "it opens, and does not verify: {:?}", verified.err());
    check(&recovered);
    drop(storage);
    let again = Storage::open(disk, identity(), OPTIONS);
    let Ok((_, again)) = again else { panic!("it opened once, and not again: {:?}", again.err()) };
    let same = again.entries == recovered.entries
        && again.hard_state == recovered.hard_state
        && again.voters == recovered.voters
        && again.start == recovered.start;
    assert!(same, "opened again it holds {again:?}, before {recovered:?}");
}

/// An accepted log has no gap, its terms do not go back, and it reaches what was committed.
fn check(recovered: &Recovered) {
    let mut last = recovered.start;
    for entry in &recovered.entries {
        let follows = entry.index == last.index.next() && entry.term >= last.term;
        assert!(follows, "{:?} stands behind {last:?}", entry.position());
        last = entry.position();
    }
    let commit = recovered.hard_state.commit;
    assert!(commit <= last.index, "{commit} is committed, and the log ends at {last:?}");
    let covered = recovered.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.at.index);
    assert!(recovered.start.index <= covered, "nothing covers the log up to {:?}", recovered.start);
}
