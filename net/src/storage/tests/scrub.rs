//! Damage in what is not written any more is found without a restart.

use super::*;
use crate::storage::{
    Disk, StorageError,
    recycle::spare_name,
    scan::decode_segment,
    scrub::{Cold, Finding, Scrub, Step},
    segment::{file_name, parse_file_name},
};

/// A log of several segments that is being written, and two snapshots.
fn running() -> (Arc<MemoryDisk>, Storage) {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 1_000).unwrap();
    for at in [position(1, 1), position(1, 2)] {
        storage.snapshots().save_chunks(at, chunks(at).into_iter()).unwrap();
    }
    for index in 1..=20 {
        storage.write(&[entries(1, index, index, 150)]).unwrap();
    }
    (disk, storage)
}

fn findings(storage: &Storage) -> (Vec<Finding>, u64) {
    let mut scrub = Scrub::new(&storage.snapshots()).unwrap();
    let (mut found, mut read) = (Vec::new(), 0);
    loop {
        match scrub.step().unwrap() {
            Step::Done => return (found, read),
            Step::Read(bytes) => read += bytes,
            Step::Found(finding) => found.push(finding),
        }
    }
}

#[test]
pub(super) fn every_byte_of_what_is_cold_is_looked_at_and_none_of_what_is_written() {
    let (disk, storage) = running();
    let (found, read) = findings(&storage);
    assert!(found.is_empty() && read > 5_000, "{read}: {found:?}");
    let operations = disk.operations();
    let files = disk.list().unwrap();
    let last = files.iter().rfind(|name| parse_file_name(name).is_some()).unwrap().clone();
    for file in files.iter().filter(|name| *name != "identity") {
        let bytes = disk.read(file, 0, 1 << 20).unwrap();
        let end = decode_segment(&bytes).map_or(bytes.len() as u64, |found| found.end);
        for byte in (0..end).step_by(7) {
            disk.flip_bit(file, byte * 8 + byte % 8);
            let (found, _) = findings(&storage);
            // The header of the segment that is written says where the one before ends.
            if *file == last && byte >= 80 {
                assert!(found.is_empty(), "{file} byte {byte}: {found:?}");
            } else if *file != last {
                assert!(found.iter().any(|finding| finding.file == *file), "{file} byte {byte}: {found:?}");
                assert!(
                    found
                        .iter()
                        .all(|it| matches!(it.cold, Cold::Snapshot(_)) == it.file.starts_with("snapshot-"))
                );
            }
            disk.flip_bit(file, byte * 8 + byte % 8);
        }
    }
    assert_eq!(disk.operations(), operations, "nothing is changed");
}

#[test]
fn what_is_written_anew_covers_what_is_damaged_and_the_log_forgets_it() {
    let (disk, mut storage) = running();
    let victim = "wal-0000000000000002";
    assert!(disk.flip_bit(victim, 8 * 300));
    assert_eq!(findings(&storage).0[0].file, victim);
    assert!(open_sized(&Arc::new(MemoryDisk::clone(&disk)), 1_000).is_err(), "a restart would refuse");
    // What the node does when it is told.
    let at = position(1, 20);
    storage.snapshots().save_chunks(at, chunks(at).into_iter()).unwrap();
    storage.write(&[Write { start: Some(at), ..nothing() }]).unwrap();
    assert!(findings(&storage).0.is_empty());
    assert!(!disk.list().unwrap().iter().any(|name| name == victim));
    storage.write(&[entries(1, 21, 22, 10)]).unwrap();
    let (_, recovered) = open_sized(&disk, 1_000).unwrap();
    assert_eq!((recovered.start, recovered.entries.len()), (at, 2));
}

#[test]
fn a_damaged_snapshot_is_found_in_each_round_until_it_is_gone() {
    let (disk, storage) = running();
    let store = storage.snapshots();
    disk.flip_bit("snapshot-0000000000000001-0000000000000002", 8 * 500);
    for _ in 0..2 {
        assert_eq!(findings(&storage).0[0].cold, Cold::Snapshot(position(1, 2)));
        store.set_aside(position(1, 2));
    }
    let at = position(1, 20);
    store.save_chunks(at, chunks(at).into_iter()).unwrap();
    assert_eq!(store.list().unwrap(), [position(1, 1), at]);
    assert!(findings(&storage).0.is_empty());
}

#[test]
fn a_file_that_cannot_be_read_is_found_and_what_is_behind_it_as_well() {
    let (disk, storage) = running();
    let log = disk.list().unwrap().into_iter().filter(|name| parse_file_name(name).is_some());
    let cold: Vec<_> = log.take(2).chain(["snapshot-0000000000000001-0000000000000001".to_owned()]).collect();
    for file in &cold {
        assert!(disk.fail_reads(file));
    }
    for _ in 0..2 {
        let (found, read) = findings(&storage);
        let mut files: Vec<_> = found.iter().map(|finding| finding.file.clone()).collect();
        files.sort();
        assert!(read > 1_000, "the rest is read: {read}");
        let mut wanted = cold.clone();
        wanted.sort();
        assert_eq!(files, wanted, "{found:?}");
    }
}

#[test]
fn a_segment_that_was_damaged_is_not_written_to_again() {
    let (disk, mut storage) = running();
    let victim = 2;
    storage.snapshots().shun(victim);
    let at = position(1, 20);
    storage.snapshots().save_chunks(at, chunks(at).into_iter()).unwrap();
    storage.write(&[Write { start: Some(at), ..nothing() }]).unwrap();
    let names = disk.list().unwrap();
    assert!(names.contains(&spare_name(1)), "another one is kept: {names:?}");
    assert!(!names.contains(&spare_name(victim)) && !names.contains(&file_name(victim)), "{names:?}");
}

#[test]
fn a_snapshot_on_a_full_disk_leaves_nothing_behind_and_can_be_tried_again() {
    let (disk, storage) = running();
    let used: u64 = disk.list().unwrap().iter().map(|name| disk.size(name).unwrap()).sum();
    let before = disk.list().unwrap();
    let at = position(1, 20);
    let store = storage.snapshots();
    for room in [0, 100, 800, 1_500] {
        disk.set_capacity(Some(used + room));
        let error = store.save_chunks(at, chunks(at).into_iter()).unwrap_err();
        assert!(error.may_pass() && error.to_string().contains("make room"), "{error}");
        for (number, chunk) in chunks(at).iter().enumerate() {
            match store.store_chunk(at, number as u64, chunk, number == 2) {
                Ok(()) => {}
                Err(error) => {
                    assert!(error.may_pass(), "{error}");
                    break;
                }
            }
        }
        assert_eq!(disk.list().unwrap(), before, "room {room}");
        assert!(matches!(
            store.store_chunk(at, 1, &[], false),
            Err(StorageError::ChunkOutOfOrder { expected: 0, .. })
        ));
    }
    disk.set_capacity(None);
    store.save_chunks(at, chunks(at).into_iter()).unwrap();
    assert_eq!(store.newest().unwrap(), Some(at));
}

#[test]
pub(super) fn room_is_short_by_name_and_number() {
    use crate::storage::SpaceLimits;
    let (disk, _storage) = running();
    let used: u64 = disk.list().unwrap().iter().map(|name| disk.size(name).unwrap()).sum();
    let short = |quota, reserve| SpaceLimits { quota, reserve }.shortage(&*disk).unwrap();
    assert_eq!(short(None, u64::MAX), None, "memory has no bound");
    assert_eq!(short(Some(used + 1), 0), None);
    assert!(short(Some(used), 0).unwrap().contains(&format!("disk.quota is {used} bytes")));
    disk.set_capacity(Some(used + 500));
    assert_eq!(short(None, 500), None);
    let text = short(None, 501).unwrap();
    assert!(text.contains("disk.reserve is 501 bytes") && text.contains("500 left"), "{text}");
}
