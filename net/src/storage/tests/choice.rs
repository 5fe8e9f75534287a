//! A newest snapshot that is damaged: an older one and the log stand in for it, until a whole one is durable.

use super::*;
use crate::storage::{Disk, StorageError, inspect::verify};
use quorate_core::random::Draws;

const OLDER: &str = "snapshot-0000000000000001-0000000000000003";
const NEWEST: &str = "snapshot-0000000000000001-0000000000000005";

/// Twelve entries, snapshots of the third and the fifth; the log begins behind `start`.
fn directory(start: u64) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 1000).unwrap();
    for index in 1..=12 {
        storage.write(&[entries(1, index, index, 150)]).unwrap();
    }
    for at in [position(1, 3), position(1, 5)] {
        save(&storage.snapshots(), at).unwrap();
    }
    let hard_state = Some(HardState { term: Term(4), vote: Some(NodeId(1)), commit: Index(9) });
    let start = (start > 0).then(|| position(1, start));
    storage.write(&[Write { start, hard_state, ..nothing() }]).unwrap();
    disk
}

fn save(store: &SnapshotStore, at: LogPosition) -> Result<(), StorageError> {
    store.save_chunks(at, chunks(at).into_iter())
}

fn copy(disk: &Arc<MemoryDisk>) -> Arc<MemoryDisk> {
    Arc::new(MemoryDisk::clone(disk))
}

fn at(recovered: &Recovered) -> Option<LogPosition> {
    recovered.snapshot.as_ref().map(|snapshot| snapshot.at)
}

fn snapshots(disk: &MemoryDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| SnapshotStore::is_snapshot(name)).collect()
}

#[test]
fn the_older_one_and_the_log_stand_in_for_it_wherever_it_is_damaged() {
    let disk = directory(3);
    let (_, whole) = open(&copy(&disk)).unwrap();
    assert_eq!(at(&whole), Some(position(1, 5)));
    // But for the bytes that say its format.
    for byte in (0..disk.size(NEWEST).unwrap()).step_by(7).filter(|byte| !(8..12).contains(byte)) {
        let copy = copy(&disk);
        copy.flip_bit(NEWEST, byte * 8 + byte % 8);
        for _ in 0..2 {
            let (storage, recovered) = open(&copy).unwrap();
            assert_eq!(at(&recovered), Some(position(1, 3)), "byte {byte}");
            assert_eq!(recovered.entries, whole.entries);
            assert_eq!((recovered.start, recovered.hard_state), (whole.start, whole.hard_state));
            let store = storage.snapshots();
            assert_eq!(
                (store.damaged(), store.newest().unwrap()),
                (vec![position(1, 5)], Some(position(1, 3)))
            );
            assert_eq!(snapshots(&copy), [OLDER, NEWEST], "nothing is removed");
        }
    }
}

#[test]
fn one_that_the_disk_does_not_read_is_as_good_as_damaged() {
    let disk = directory(3);
    assert!(disk.fail_reads(NEWEST));
    let (storage, recovered) = open(&disk).unwrap();
    assert_eq!(at(&recovered), Some(position(1, 3)));
    let store = storage.snapshots();
    assert_eq!(store.damaged(), [position(1, 5)]);
    save(&store, position(1, 7)).unwrap();
    assert_eq!(store.list().unwrap(), [position(1, 3), position(1, 7)]);
    // One that stops being readable while it is sent.
    assert!(disk.fail_reads("snapshot-0000000000000001-0000000000000007"));
    let read = store.read_chunk(position(1, 7), 0);
    assert!(matches!(read, Err(StorageError::Damaged { .. })), "{read:?}");
    assert_eq!(store.read_chunk(position(1, 7), 0).unwrap(), None);
}

#[test]
fn it_is_sent_to_nobody_and_goes_when_a_whole_one_is_durable() {
    // Behind it, and in its place.
    for new in [position(1, 7), position(1, 5)] {
        let disk = directory(3);
        disk.flip_bit(NEWEST, 8 * 900);
        let (storage, _) = open(&disk).unwrap();
        let store = storage.snapshots();
        for number in 0..3 {
            assert_eq!(store.read_chunk(position(1, 5), number).unwrap(), None);
        }
        assert!(store.read_chunk(position(1, 3), 0).unwrap().is_some());
        save(&store, new).unwrap();
        assert_eq!(store.list().unwrap(), [position(1, 3), new], "the damaged one is none of the two");
        assert!(store.damaged().is_empty());
        assert!(store.read_chunk(new, 0).unwrap().is_some());
        assert_eq!(at(&open(&disk).unwrap().1), Some(new));
    }
}

#[test]
fn a_crash_at_any_step_of_replacing_it_leaves_a_directory_that_starts() {
    let base = directory(3);
    base.flip_bit(NEWEST, 8 * 900);
    for new in [position(1, 7), position(1, 5)] {
        for steps in 0.. {
            let mut finished = false;
            for seed in 0..12 {
                let disk = copy(&base);
                let (storage, _) = open(&disk).unwrap();
                disk.halt_after(steps);
                finished = save(&storage.snapshots(), new).is_ok();
                match seed {
                    0 => disk.crash(),
                    _ => disk.power_loss(&mut Draws::new(seed, steps)),
                }
                let (_, recovered) = open(&disk).unwrap();
                let found = at(&recovered).unwrap();
                assert!(found == new || (!finished && found == position(1, 3)), "step {steps}: {found:?}");
                assert_eq!(recovered.entries.len(), 9);
            }
            if finished {
                assert!(steps > 6);
                break;
            }
        }
    }
}

#[test]
fn a_log_that_begins_further_on_is_read_from_where_its_files_begin_and_written_anew() {
    for start in [4, 5] {
        let base = directory(start);
        let (_, whole) = open(&copy(&base)).unwrap();
        assert_eq!(whole.entries.len() as u64, 12 - start);
        base.flip_bit(NEWEST, 8 * 900);
        for steps in 0.. {
            let mut finished = false;
            for seed in 0..12 {
                let disk = copy(&base);
                disk.halt_after(steps);
                finished = open_sized(&disk, 1000).is_ok();
                match seed {
                    0 => disk.crash(),
                    _ => disk.power_loss(&mut Draws::new(seed, steps)),
                }
                let (mut storage, recovered) = open_sized(&disk, 1000).unwrap();
                assert_eq!((recovered.start, at(&recovered)), (position(1, 3), Some(position(1, 3))));
                assert_eq!((recovered.hard_state, recovered.entries.len()), (whole.hard_state, 9));
                assert_eq!(recovered.entries[start as usize - 3..], whole.entries);
                assert_eq!(snapshots(&disk), [OLDER, NEWEST], "nothing is removed");
                // From here on it is a log like any other.
                storage.write(&[entries(4, 13, 14, 150)]).unwrap();
                save(&storage.snapshots(), position(1, 4)).unwrap();
                storage.write(&[Write { start: Some(position(1, 4)), ..nothing() }]).unwrap();
                let (_, again) = open_sized(&disk, 1000).unwrap();
                assert_eq!((again.start, again.entries.len()), (position(1, 4), 10));
                assert!(verify(disk).unwrap().damage().is_none());
            }
            if finished {
                assert!(steps > 6);
                break;
            }
        }
    }
}

#[test]
fn a_log_whose_files_begin_behind_the_older_one_is_refused() {
    let disk = directory(3);
    let (mut storage, _) = open_sized(&disk, 300).unwrap();
    for index in 13..=20 {
        storage.write(&[entries(4, index, index, 150)]).unwrap();
    }
    let newest = position(4, 18);
    save(&storage.snapshots(), newest).unwrap();
    storage.write(&[Write { start: Some(position(4, 16)), ..nothing() }]).unwrap();
    drop(storage);
    disk.flip_bit("snapshot-0000000000000004-0000000000000012", 8 * 900);
    let before = disk.operations();
    let error = open(&disk).unwrap_err().to_string();
    assert!(error.contains("-0000000000000012") && error.contains("replace the member"), "{error}");
    assert_eq!(disk.operations(), before, "nothing was changed");
    assert!(verify(disk).unwrap_err().to_string().contains("-0000000000000012"));
}

#[test]
fn if_the_older_one_is_damaged_too_or_not_there_files_from_the_first_entry_on_stand_in() {
    for (start, only) in [(0, false), (1, false), (1, true), (2, true)] {
        let disk = directory(start);
        if only {
            disk.remove(OLDER).unwrap();
        } else {
            disk.flip_bit(OLDER, 8 * 900);
        }
        disk.flip_bit(NEWEST, 8 * 900);
        for _ in 0..2 {
            let (_, recovered) = open(&disk).unwrap();
            assert!(at(&recovered).is_none());
            assert_eq!((recovered.start, recovered.entries.len()), (position(0, 0), 12), "behind {start}");
        }
        let (storage, _) = open(&disk).unwrap();
        save(&storage.snapshots(), position(1, 9)).unwrap();
        assert_eq!(storage.snapshots().list().unwrap(), [position(1, 9)]);
    }
}

#[test]
fn files_that_lack_the_first_entry_do_not() {
    let disk = directory(5);
    let (mut storage, _) = open_sized(&disk, 300).unwrap();
    for index in 13..=20 {
        storage.write(&[entries(4, index, index, 150)]).unwrap();
    }
    drop(storage);
    disk.flip_bit(OLDER, 8 * 900);
    disk.flip_bit(NEWEST, 8 * 900);
    let before = disk.operations();
    assert!(open(&disk).unwrap_err().to_string().contains(NEWEST));
    assert_eq!(disk.operations(), before, "nothing was changed");
}

#[test]
fn an_older_one_that_the_log_contradicts_does_not_stand_in() {
    let disk = directory(0);
    let store = SnapshotStore::new(Arc::<MemoryDisk>::clone(&disk), IDENTITY);
    // Of another term than the entry at its place.
    save(&store, position(2, 4)).unwrap();
    disk.flip_bit(NEWEST, 8 * 900);
    assert_eq!(snapshots(&disk).len(), 2);
    assert_eq!(at(&open(&disk).unwrap().1), None, "the log begins with its first entry");
}

#[test]
fn another_nodes_snapshot_and_a_later_programs_are_no_damage() {
    let disk = directory(3);
    let other = Identity { node: NodeId(2), ..IDENTITY };
    save(&SnapshotStore::new(Arc::<MemoryDisk>::clone(&disk), other), position(1, 8)).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");

    let disk = directory(3);
    let mut later = chunks(position(1, 8))[0].to_vec();
    later[0] = 200;
    let store = SnapshotStore::new(Arc::<MemoryDisk>::clone(&disk), IDENTITY);
    store.save_chunks(position(1, 8), [later.into()].into_iter()).unwrap();
    let error = Storage::open(disk, IDENTITY, StorageOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::TooNew { level: 200, .. }), "{error}");

    let disk = directory(3);
    disk.flip_bit(NEWEST, 8 * 8);
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, OpenError::OtherFormat { .. }), "{error}");
}

#[test]
fn a_look_into_the_directory_names_it_and_changes_nothing() {
    let disk = directory(3);
    disk.flip_bit(NEWEST, 8 * 900);
    let before = disk.operations();
    let report = verify(Arc::<MemoryDisk>::clone(&disk)).unwrap();
    assert!(report.damage().unwrap().contains(NEWEST));
    assert_eq!(report.snapshots.iter().map(|it| it.damage.is_some()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(disk.operations(), before);
}

#[test]
fn one_that_is_found_damaged_while_the_node_runs_stays_until_another_is_durable() {
    let disk = directory(3);
    let (storage, _) = open(&disk).unwrap();
    let (store, same) = (storage.snapshots(), storage.snapshots());
    store.set_aside(position(1, 5));
    assert_eq!(snapshots(&disk), [OLDER, NEWEST]);
    assert_eq!(same.newest().unwrap(), Some(position(1, 3)), "all who use it know");
    assert_eq!(same.read_chunk(position(1, 5), 0).unwrap(), None);
    // A peer's that is older than what is whole stands in for nothing.
    for (number, chunk) in chunks(position(1, 2)).iter().enumerate() {
        same.store_chunk(position(1, 2), number as u64, chunk, number == 2).unwrap();
    }
    assert_eq!(store.list().unwrap(), [position(1, 2), position(1, 3), position(1, 5)]);
    save(&same, position(1, 9)).unwrap();
    assert_eq!(store.list().unwrap(), [position(1, 2), position(1, 9)], "a peer's waits to be loaded");
}

#[test]
fn whoever_reads_a_damaged_one_for_a_peer_sets_it_aside() {
    let disk = directory(3);
    let (storage, _) = open(&disk).unwrap();
    let store = storage.snapshots();
    disk.flip_bit(NEWEST, 8 * 900);
    let read: Vec<_> = (0..3).map(|number| store.read_chunk(position(1, 5), number)).collect();
    assert!(read.iter().any(|it| matches!(it, Err(StorageError::Damaged { .. }))), "{read:?}");
    assert_eq!((store.damaged(), store.read_chunk(position(1, 5), 0).unwrap()), (vec![position(1, 5)], None));
}
