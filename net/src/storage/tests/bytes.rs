//! Records, batches, segments and snapshot frames as bytes.

use super::*;
use crate::storage::{
    batch::{BatchHead, BatchWriter, Record, check_head, check_records},
    frames::{FrameWriter, SnapshotHeader, decode_snapshot},
    record::{self, Flaw, Kind, Place, Window},
    scan::decode_segment,
    segment::{Checkpoint, Footer, Point, SEGMENT_HEADER_BYTES, SegmentHeader},
};
use proptest::prelude::*;

const PLACE: Place = Place { storage: IDENTITY.storage, sequence: 9 };

fn window(bytes: &[u8]) -> Window<'_> {
    Window { base: 0, bytes }
}

fn batch_at_0(bytes: &[u8], previous: u32) -> Result<BatchHead, Flaw> {
    let mut head = check_head(PLACE, window(bytes), 0, previous)?;
    check_records(PLACE, window(bytes), &mut head, |_, _| Ok(()))?;
    Ok(head)
}

fn segment() -> (SegmentHeader, Vec<u8>) {
    let previous = Point { sequence: 8, offset: 4096, checksum: 7 };
    let header =
        SegmentHeader { identity: IDENTITY, sequence: 9, first: Index(5), previous, recycled: false };
    let (mut bytes, checksum) = header.encode();
    let mut first = BatchWriter::new(header.place(), bytes.len() as u64, Vec::new());
    let voters = [(NodeId(1), StorageId(11)), (NodeId(2), StorageId(12))].into();
    first.checkpoint(&Checkpoint {
        start: position(1, 2),
        end: position(2, 4),
        voters,
        ..Default::default()
    });
    let records = first.records();
    let (batch, checksum) = first.finish(checksum, None);
    bytes.extend(batch);
    let mut second = BatchWriter::new(header.place(), bytes.len() as u64, Vec::new());
    second.log_start(position(2, 3), false);
    second.entries(&[entry(2, 5, 0), entry(2, 6, 13), entry(3, 7, 600)]);
    second.hard_state(&HardState { term: Term(3), vote: None, commit: Index(6) });
    second.voters(&[(NodeId(1), StorageId(11))].into());
    let footer = Footer { lowest: Index(5), highest: Index(7), records, checksum: 0 };
    let (batch, _) = second.finish(checksum, Some(footer));
    bytes.extend(batch);
    (header, bytes)
}

#[test]
fn a_segment_says_what_was_written() {
    let (header, bytes) = segment();
    let segment = decode_segment(&bytes).unwrap();
    assert_eq!(segment.header, header);
    assert_eq!(segment.tail, None);
    let records = &segment.batches[1].records;
    assert_eq!(records[0], Record::LogStart { at: position(2, 3), dropped: false });
    assert_eq!(records[1], Record::Entries(vec![entry(2, 5, 0), entry(2, 6, 13), entry(3, 7, 600)]));
    assert_eq!(records.len(), 4);
    assert!(segment.sealed && segment.end == bytes.len() as u64);
    assert!(segment.batches.iter().all(|batch| batch.head.offset % 8 == 0));
}

#[test]
fn no_bit_of_a_segment_can_change_unseen() {
    let (_, bytes) = segment();
    let whole = decode_segment(&bytes).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = decode_segment(&damaged) {
            let count = read.batches.len();
            assert!(read.tail.is_some() && !read.sealed && count <= whole.batches.len(), "bit {bit}");
            assert_eq!(read.batches, whole.batches[..count], "bit {bit}");
            assert!(bit as u64 / 8 >= read.end, "bit {bit} is in front of {}", read.end);
        }
    }
}

#[test]
pub(super) fn a_record_at_another_place_does_not_verify() {
    let mut bytes = vec![0; 64];
    let mut payload = Vec::new();
    record::push(&mut payload, Kind::HardState, |buffer| buffer.extend_from_slice(&[5; 24]));
    record::seal(PLACE, &mut payload, 64, 1234);
    bytes.extend_from_slice(&payload);
    assert_eq!(record::read(PLACE, window(&bytes), 64).unwrap().previous, 1234);
    for place in [Place { sequence: 10, ..PLACE }, Place { storage: StorageId(1), ..PLACE }] {
        assert!(record::read(place, window(&bytes), 64).is_err(), "{place:?}");
    }
    assert!(record::read(PLACE, window(&bytes[8..]), 56).is_err(), "moved by 8 bytes");
    assert!(record::read(PLACE, window(&[0; 4096]), 0).is_err(), "zeros");
}

#[test]
fn a_batch_behind_another_record_is_refused() {
    let batch = |previous| {
        let mut writer = BatchWriter::new(PLACE, 0, Vec::new());
        writer.hard_state(&HardState::default());
        writer.finish(previous, None).0
    };
    assert!(batch_at_0(&batch(5), 5).is_ok());
    assert!(batch_at_0(&batch(5), 6).unwrap_err().torn);
}

#[test]
fn a_length_over_the_limit_is_refused_before_anything_is_allocated() {
    let mut bytes = segment().1;
    bytes[SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let flaw = decode_segment(&bytes).unwrap_err();
    assert!(flaw.what.contains("over the limit"), "{flaw}");
}

#[test]
fn many_entries_are_split_into_records_that_fit() {
    let all: Vec<_> = (1..=9).map(|index| entry(1, index, 500_000)).collect();
    let (header, _) = segment();
    let (mut bytes, checksum) = header.encode();
    let mut writer = BatchWriter::new(header.place(), bytes.len() as u64, Vec::new());
    writer.checkpoint(&Checkpoint::default());
    writer.entries(&all);
    bytes.extend(writer.finish(checksum, None).0);
    let batch = decode_segment(&bytes).unwrap().batches.remove(0);
    assert!(batch.records.len() > 2);
    let read: Vec<_> = batch
        .records
        .into_iter()
        .flat_map(|record| if let Record::Entries(entries) = record { entries } else { vec![] })
        .collect();
    assert_eq!(read, all);
}

#[test]
pub(super) fn a_footer_that_says_something_else_than_the_segment_is_refused() {
    let (header, whole) = segment();
    let found = decode_segment(&whole).unwrap();
    let last = &found.batches[1].head;
    let end = usize::try_from(last.end).unwrap();
    let right = [5, 7, found.batches.iter().map(|batch| batch.head.records).sum(), u64::from(last.checksum)];
    let with = |numbers: [u64; 4], previous: u32| {
        let mut footer = Vec::new();
        record::push(&mut footer, Kind::Footer, |payload| {
            numbers.iter().for_each(|number| payload.extend_from_slice(&number.to_le_bytes()));
        });
        record::seal(header.place(), &mut footer, last.end, previous);
        decode_segment(&[&whole[..end], &footer].concat()).unwrap()
    };
    assert!(with(right, last.checksum).sealed);
    for (place, what) in ["lowest", "highest", "records", "checksum"].into_iter().enumerate() {
        let mut wrong = right;
        wrong[place] += 1;
        let read = with(wrong, last.checksum);
        let flaw = read.tail.unwrap();
        assert!(!read.sealed && !flaw.torn && flaw.what.contains("the footer says"), "{what}: {flaw}");
    }
    let read = with(right, last.checksum ^ 1);
    assert!(!read.sealed && read.tail.unwrap().torn, "it stands behind another record");
}

#[test]
fn a_segment_is_read_in_pieces_of_a_bounded_size() {
    use crate::storage::scan::{Scan, slice};
    let (header, _) = segment();
    let (mut bytes, mut checksum) = header.encode();
    for index in 0..4_000 {
        let mut writer = BatchWriter::new(header.place(), bytes.len() as u64, Vec::new());
        if index == 0 {
            writer.checkpoint(&Checkpoint::default());
        } else {
            writer.entries(&[entry(1, index, 2_000)]);
        }
        let (batch, sum) = writer.finish(checksum, None);
        (checksum, _) = (sum, bytes.extend(batch));
    }
    let (mut source, mut largest, mut reads) = (slice(&bytes), 0, 0);
    let mut count = 0;
    {
        let counted = |offset: u64, length: usize| {
            (largest, reads) = (largest.max(length), reads + 1);
            source(offset, length)
        };
        let mut scan = Scan::begin(counted, bytes.len() as u64).unwrap();
        while scan.next_batch().unwrap().is_some() {
            count += 1;
        }
    }
    assert_eq!(count, 4_000);
    assert_eq!(largest, quorate_core::limits::WAL_READ_BYTES);
    assert!(reads < 20, "{reads} reads of {} bytes", bytes.len());
}

fn snapshot() -> Vec<u8> {
    let at = position(4, 5);
    let (mut writer, mut bytes) = FrameWriter::begin(&SnapshotHeader { identity: IDENTITY, at });
    for chunk in chunks(at) {
        bytes.extend(writer.chunk(&chunk).unwrap());
    }
    bytes.extend(writer.finish());
    bytes
}

#[test]
fn no_bit_of_a_snapshot_can_change_unseen() {
    let bytes = snapshot();
    assert_eq!(decode_snapshot(&bytes).unwrap().1, chunks(position(4, 5)));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_snapshot(&damaged).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(decode_snapshot(&bytes[..length]).is_err(), "cut at {length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(decode_snapshot(&longer).is_err(), "one byte more");
}

proptest! {
    #[test]
    fn decoders_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode_segment(&bytes);
        let _ = decode_snapshot(&bytes);
        let _ = Identity::decode(&bytes);
        let _ = check_head(PLACE, window(&bytes), 8, 0);
    }

    #[test]
    fn contents_with_right_checksums_never_panic(
        kind in 0_u32..9,
        payload in proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 0..80),
    ) {
        let (header, _) = segment();
        let (mut bytes, checksum) = header.encode();
        let begin = bytes.len();
        let mut batch = Vec::new();
        record::push(&mut batch, Kind::Batch, |buffer| buffer.extend_from_slice(&[0; 16]));
        record::push(&mut batch, Kind::Checkpoint, |buffer| buffer.extend_from_slice(&[0; 64]));
        let last = batch.len();
        record::push(&mut batch, Kind::Entries, |buffer| buffer.extend_from_slice(&payload));
        batch[last + 4] = u8::try_from(kind).unwrap();
        let length = (batch.len() - 32) as u64;
        batch[24..32].copy_from_slice(&length.to_le_bytes());
        record::seal(header.place(), &mut batch, begin as u64, checksum);
        bytes.extend_from_slice(&batch);
        let _ = decode_segment(&bytes);
    }
}
