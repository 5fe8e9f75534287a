//! Segments that are made before they are needed, and made of old ones.

use super::*;
use crate::storage::{
    Disk,
    recycle::is_spare,
    scan::decode_segment,
    segment::{file_name, parse_file_name},
};
use proptest::prelude::*;
use quorate_core::{limits, random::Draws};

const SEGMENT: u64 = 2_000;

fn names(disk: &MemoryDisk, which: fn(&str) -> bool) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| which(name)).collect()
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    names(disk, |name| parse_file_name(name).is_some())
}

/// A log of so many entries of equal size, of which only the last one is needed.
fn trimmed(disk: &Arc<MemoryDisk>, count: u64) -> Storage {
    let (mut storage, _) = open_sized(disk, SEGMENT).unwrap();
    for index in 1..=count {
        storage.write(&[entries(1, index, index, 100)]).unwrap();
    }
    let at = position(1, count - 1);
    storage.snapshots().save_chunks(at, chunks(at).into_iter()).unwrap();
    storage.write(&[Write { start: Some(at), ..nothing() }]).unwrap();
    storage
}

#[test]
fn a_write_takes_one_write_and_one_sync_and_waits_for_no_file() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, SEGMENT).unwrap();
    let mut helper = storage.helper().unwrap();
    assert!(storage.helper().is_none(), "one is enough");
    for index in 1..=200 {
        let before = disk.operations();
        let files = segments(&disk).len();
        storage.write(&[entries(1, index, index, 100), entries(1, index + 1, index + 1, 9)]).unwrap();
        // Or, where it begins a file that was ready, two of each.
        assert!([2, 4].contains(&(disk.operations() - before)), "entry {index}");
        assert_eq!(segments(&disk).len(), files, "entry {index}: a write made a file");
        if index % 7 == 0 {
            helper.run_waiting();
        }
    }
    assert!(segments(&disk).len() > 10);
    assert_eq!(open(&disk).unwrap().1.entries.len(), 201);
}

#[test]
pub(super) fn a_segment_goes_on_until_the_next_one_is_ready() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, SEGMENT).unwrap();
    let helper = storage.helper();
    for index in 1..=60 {
        storage.write(&[entries(1, index, index, 100)]).unwrap();
    }
    assert_eq!(segments(&disk).len(), 1, "a write waited for a segment");
    assert!(disk.size(&file_name(1)).unwrap() > 3 * SEGMENT);
    helper.unwrap().run_waiting();
    assert_eq!(segments(&disk).len(), 2);
    for index in 61..=63 {
        storage.write(&[entries(1, index, index, 100)]).unwrap();
    }
    let read = |sequence| decode_segment(&disk.read(&file_name(sequence), 0, 1 << 20).unwrap()).unwrap();
    assert!(read(1).sealed && !read(2).sealed);
    assert_eq!(read(2).header.previous.offset, read(1).end);
    assert_eq!(open(&disk).unwrap().1.entries.len(), 63);
}

#[test]
fn old_segments_are_kept_and_written_again() {
    let disk = Arc::new(MemoryDisk::new());
    let mut storage = trimmed(&disk, 200);
    assert_eq!(names(&disk, is_spare).len(), limits::WAL_SPARE_SEGMENTS);
    let before: Vec<String> = disk.list().unwrap();
    for index in 201..=240 {
        storage.write(&[entries(1, index, index, 100)]).unwrap();
    }
    let of = |sequence: &String| decode_segment(&disk.read(sequence, 0, 1 << 20).unwrap()).unwrap().header;
    let new: Vec<_> = segments(&disk).into_iter().filter(|name| !before.contains(name)).collect();
    assert!(new.len() > limits::WAL_SPARE_SEGMENTS, "{new:?}");
    assert_eq!(new.iter().filter(|name| of(name).recycled).count(), limits::WAL_SPARE_SEGMENTS);
    assert!(names(&disk, is_spare).is_empty());
    assert_eq!(open(&disk).unwrap().1.entries.len(), 41);
}

#[test]
fn a_helper_that_meets_a_failed_sync_ends_the_log() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, SEGMENT).unwrap();
    let mut helper = storage.helper().unwrap();
    storage.write(&[entries(1, 1, 1, 1500)]).unwrap();
    disk.fail_next_sync();
    helper.run_waiting();
    let error = storage.write(&[entries(1, 2, 2, 10)]).unwrap_err();
    assert!(error.to_string().contains("sync wal-0000000000000002"), "{error}");
    assert_eq!(open(&disk).unwrap().1.entries.len(), 1);
}

/// A log whose first segment is more than half full, and whose next one there is no room for.
fn without_room_for_the_next(disk: &Arc<MemoryDisk>) -> (Storage, crate::storage::recycle::Helper) {
    let (mut storage, _) = open_sized(disk, SEGMENT).unwrap();
    let mut helper = storage.helper().unwrap();
    storage.write(&[entries(1, 1, 1, 1_000)]).unwrap();
    disk.set_capacity(Some(used(disk) + SEGMENT - 1));
    helper.run_waiting();
    assert_eq!(segments(disk).len(), 1, "what was begun of the next one is taken back");
    (storage, helper)
}

fn used(disk: &MemoryDisk) -> u64 {
    disk.list().unwrap().iter().map(|name| disk.size(name).unwrap()).sum()
}

#[test]
fn a_segment_goes_on_while_there_is_no_room_for_the_next_one() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, mut helper) = without_room_for_the_next(&disk);
    for index in 2..=12 {
        storage.write(&[entries(1, index, index, 100)]).unwrap();
        helper.run_waiting();
    }
    assert_eq!(segments(&disk).len(), 1);
    assert!(disk.size(&file_name(1)).unwrap() > SEGMENT, "it is over its size");
    disk.set_capacity(None);
    helper.run_waiting();
    for index in 13..=14 {
        storage.write(&[entries(1, index, index, 100)]).unwrap();
    }
    let read = |sequence| decode_segment(&disk.read(&file_name(sequence), 0, 1 << 20).unwrap()).unwrap();
    assert!(read(1).sealed && !read(2).sealed);
    assert_eq!(open(&disk).unwrap().1.entries.len(), 14);
}

#[test]
fn a_segment_that_leaves_the_log_makes_room_for_the_next_one() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, SEGMENT).unwrap();
    let mut helper = storage.helper().unwrap();
    for index in 1..=20 {
        storage.write(&[entries(1, index, index, 100)]).unwrap();
        if segments(&disk).len() == 1 {
            helper.run_waiting();
        }
    }
    // There is none for the third.
    assert_eq!(segments(&disk).len(), 2);
    assert!(disk.size(&file_name(2)).unwrap() > SEGMENT);
    let at = position(1, 20);
    storage.snapshots().save_chunks(at, chunks(at).into_iter()).unwrap();
    disk.set_capacity(Some(used(&disk) + SEGMENT - 1));
    helper.run_waiting();
    assert_eq!(segments(&disk).len(), 2);
    storage.write(&[Write { start: Some(at), ..nothing() }]).unwrap();
    helper.run_waiting();
    assert_eq!(segments(&disk), [file_name(2), file_name(3)], "the first is the third");
    storage.write(&[entries(1, 21, 21, 10)]).unwrap();
    storage.write(&[entries(1, 22, 22, 10)]).unwrap();
    disk.set_capacity(None);
    assert_eq!(open(&disk).unwrap().1.entries.len(), 2);
}

#[test]
fn a_segment_does_not_go_on_for_ever_for_want_of_room() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _helper) = without_room_for_the_next(&disk);
    // Nobody looks again whether there is room.
    disk.set_capacity(None);
    let mut written = 1;
    let error = loop {
        assert!(written < 100, "it goes on for ever");
        match storage.write(&[entries(1, written + 1, written + 1, 100)]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.may_pass() && error.to_string().contains("allocate wal-0000000000000002"), "{error}");
    let size = disk.size(&file_name(1)).unwrap();
    let most = SEGMENT * limits::WAL_SEGMENT_STRETCH;
    assert!((most - 200..=most).contains(&size), "{size}");
    assert_eq!(storage.write(&[]).unwrap_err(), error, "it is final");
    assert_eq!(open(&disk).unwrap().1.entries.len() as u64, written);
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    for room in (0..6_000).step_by(200) {
        let disk = Arc::new(MemoryDisk::new());
        let (mut storage, _) = open_sized(&disk, SEGMENT).unwrap();
        disk.set_capacity(Some(3_000 + room));
        let mut written = 0;
        let error = loop {
            match storage.write(&[entries(1, written + 1, written + 1, 100)]) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&error, crate::storage::StorageError::Disk(disk) if disk.kind == std::io::ErrorKind::StorageFull),
            "{error}"
        );
        assert!(written >= 10, "room {room}");
        disk.crash();
        // On a disk that is still full it may not start, and then it changes nothing that counts.
        let _ = open_sized(&disk, SEGMENT);
        disk.set_capacity(None);
        let (_, recovered) = open_sized(&disk, SEGMENT).unwrap();
        let found = recovered.entries.len() as u64;
        assert!(found == written || found == written + 1, "room {room}: {found} of {written}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_left_of_an_old_segment_never_counts(seed in any::<u64>(), count in 30_u64..120, written in 0_u64..40, cut in 0_u64..2) {
        let disk = Arc::new(MemoryDisk::new());
        let mut storage = trimmed(&disk, count);
        // The files are full of whole batches of the same sizes, at the same places, and of the same directory.
        prop_assert!(!names(&disk, is_spare).is_empty());
        let mut draws = Draws::new(seed, 5);
        for index in count + 1..=count + written {
            storage.write(&[entries(1, index, index, 100)]).unwrap();
        }
        if cut == 1 {
            disk.fail_next_append();
            storage.write(&[entries(1, count + written + 1, count + written + 1, 100)]).unwrap_err();
        }
        disk.power_loss(&mut draws);
        let (_, recovered) = open_sized(&disk, SEGMENT).unwrap();
        let found: Vec<u64> = recovered.entries.iter().map(|entry| entry.index.0).collect();
        let expected: Vec<u64> = (count..=count + written).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn records_of_another_segment_never_verify_at_their_own_place(seed in any::<u64>()) {
        let disk = Arc::new(MemoryDisk::new());
        let (mut storage, _) = open_sized(&disk, SEGMENT).unwrap();
        let mut draws = Draws::new(seed, 6);
        for index in 1..=100 {
            storage.write(&[entries(1, index, index, 100)]).unwrap();
        }
        let last = segments(&disk).pop().unwrap();
        let bytes = disk.read(&last, 0, 1 << 20).unwrap();
        let whole = decode_segment(&bytes).unwrap();
        let files = segments(&disk);
        let other = &files[usize::try_from(draws.range(1, files.len() as u64 - 2)).unwrap()];
        let stale = disk.read(other, 0, 1 << 20).unwrap();
        let end = usize::try_from(whole.end).unwrap();
        let mut spliced = bytes[..end].to_vec();
        spliced.extend_from_slice(&stale[end.min(stale.len())..]);
        let read = decode_segment(&spliced).unwrap();
        prop_assert_eq!(read.batches, whole.batches);
        let copy = Arc::new(MemoryDisk::clone(&disk));
        copy.write_at(&last, 0, &spliced).unwrap();
        prop_assert_eq!(open(&copy).unwrap().1.entries.len(), 100);
    }
}
