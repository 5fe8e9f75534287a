//! Snapshots, and a crash at each step of saving and installing one.

use super::*;
use crate::storage::{Disk, StorageError};
use quorate_core::{limits, random::Draws};

fn directory() -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 500).unwrap();
    for index in 1..=9 {
        storage.write(&[entries(1, index, index, 200)]).unwrap();
    }
    storage.snapshots().save_chunks(position(1, 2), chunks(position(1, 2)).into_iter()).unwrap();
    storage.snapshots().save_chunks(position(1, 4), chunks(position(1, 4)).into_iter()).unwrap();
    disk
}

/// Runs `action` with a crash after each number of operations, in several ways; `check` looks at what is left. Both
/// are told, or tell, whether the action came to its end.
fn crash_at_each_step(
    action: impl Fn(&Arc<MemoryDisk>) -> Result<(), StorageError>,
    check: impl Fn(&Recovered, bool),
) {
    let base = directory();
    for steps in 0..200 {
        let mut finished = false;
        for seed in 0..12 {
            let disk = Arc::new(MemoryDisk::clone(&base));
            disk.halt_after(steps);
            finished = action(&disk).is_ok();
            if seed == 0 {
                disk.crash();
            } else {
                disk.power_loss(&mut Draws::new(seed, steps));
            }
            let (_, recovered) = open(&disk).unwrap();
            check(&recovered, finished);
            let names = disk.list().unwrap();
            assert!(!names.iter().any(|name| name.ends_with(".tmp")), "step {steps}: {names:?}");
            let count = names.iter().filter(|name| name.starts_with("snapshot-")).count();
            assert!((1..=limits::SNAPSHOTS_KEPT + 1).contains(&count), "step {steps}: {names:?}");
        }
        if finished {
            assert!(steps > 8);
            return;
        }
    }
    panic!("the action never ended");
}

fn newest(recovered: &Recovered) -> LogPosition {
    recovered.snapshot.as_ref().unwrap().at
}

#[test]
fn a_crash_at_any_step_of_saving_leaves_the_old_one_or_the_new_one() {
    let new = position(1, 7);
    let save = |disk: &Arc<MemoryDisk>| {
        SnapshotStore::new(Arc::<MemoryDisk>::clone(disk), IDENTITY).save_chunks(new, chunks(new).into_iter())
    };
    crash_at_each_step(save, |recovered, finished| {
        let at = newest(recovered);
        assert!(at == new || (!finished && at == position(1, 4)), "{at:?}");
        assert_eq!(recovered.entries.len(), 9);
    });
}

#[test]
fn a_crash_at_any_step_of_installing_leaves_a_log_that_fits() {
    let new = position(3, 50);
    let install = |disk: &Arc<MemoryDisk>| {
        let Ok((mut storage, _)) = open(disk) else {
            return Err(StorageError::Refused("not opened".to_owned()));
        };
        let store = storage.snapshots();
        for (number, chunk) in chunks(new).iter().enumerate() {
            store.store_chunk(new, number as u64, chunk, number == 2)?;
        }
        let hard_state = Some(HardState { term: Term(3), vote: None, commit: Index(50) });
        storage.write(&[Write { start: Some(new), hard_state, ..nothing() }])
    };
    crash_at_each_step(install, |recovered, finished| {
        let installed = recovered.start == new;
        assert!(installed || !finished);
        assert_eq!(recovered.entries.len(), if installed { 0 } else { 9 });
        assert!(!installed || newest(recovered) == new, "no log without its snapshot");
    });
}

#[test]
fn chunks_come_back_as_they_were_stored() {
    let disk = directory();
    let store = SnapshotStore::new(disk, IDENTITY);
    let at = position(1, 4);
    for (number, chunk) in chunks(at).into_iter().enumerate() {
        assert_eq!(store.read_chunk(at, number as u64).unwrap(), Some((chunk, number == 2)));
    }
    assert_eq!(store.read_chunk(at, 3).unwrap(), None);
    assert_eq!(store.read_chunk(position(1, 5), 0).unwrap(), None);
    let new = position(2, 8);
    store.save_chunks(new, chunks(new).into_iter()).unwrap();
    assert_eq!(store.read_chunk(new, 1).unwrap().unwrap().0, chunks(new)[1]);
    assert_eq!(store.list().unwrap(), [at, new], "the newest and the one before are kept");
}

#[test]
fn chunks_out_of_order_are_refused_until_it_starts_over() {
    let disk = directory();
    let store = SnapshotStore::new(disk, IDENTITY);
    let (at, other) = (position(2, 20), position(2, 21));
    let parts = chunks(at);
    let expect = |result: Result<(), StorageError>, due: u64| {
        assert!(
            matches!(&result, Err(StorageError::ChunkOutOfOrder { expected, .. }) if *expected == due),
            "{result:?}"
        );
    };
    expect(store.store_chunk(at, 1, &parts[1], false), 0);
    store.store_chunk(at, 0, &parts[0], false).unwrap();
    expect(store.store_chunk(at, 2, &parts[2], true), 1);
    expect(store.store_chunk(other, 1, &parts[1], false), 0);
    store.store_chunk(at, 1, &parts[1], false).unwrap();
    store.store_chunk(at, 0, &parts[0], false).unwrap();
    store.store_chunk(at, 1, &parts[1], false).unwrap();
    store.store_chunk(at, 2, &parts[2], true).unwrap();
    assert_eq!(store.load_chunks(at, |found| found.collect::<Vec<_>>()).unwrap(), Some(parts));
    let large = vec![0; limits::SNAPSHOT_CHUNK_BYTES + 1];
    assert!(matches!(store.store_chunk(at, 0, &large, true), Err(StorageError::TooLarge { .. })));
}

#[test]
fn a_snapshot_that_a_later_program_made_is_not_kept() {
    let disk = directory();
    let store = SnapshotStore::new(Arc::<MemoryDisk>::clone(&disk), IDENTITY);
    let (at, before) = (position(2, 20), disk.list().unwrap());
    let mut later = chunks(at)[0].to_vec();
    later[0] = 200;
    let result = store.store_chunk(at, 0, &later, true);
    assert!(matches!(result, Err(StorageError::TooNew { level: 200, .. })), "{result:?}");
    assert_eq!(disk.list().unwrap(), before);
    // One that is on the disk already is named as such, not as damaged.
    store.save_chunks(at, [later.into()].into_iter()).unwrap();
    let error = store.open_error(store.load(at).unwrap_err());
    assert!(matches!(error, OpenError::TooNew { level: 200, .. }), "{error}");
}

#[test]
pub(super) fn a_state_that_reads_only_a_part_still_needs_all_chunks_right() {
    let disk = directory();
    let file = "snapshot-0000000000000001-0000000000000004";
    assert!(disk.flip_bit(file, (disk.size(file).unwrap() - 40) * 8));
    let store = SnapshotStore::new(disk, IDENTITY);
    let result = store.load_chunks(position(1, 4), |chunks| chunks.next().is_some());
    assert!(matches!(result, Err(StorageError::Damaged { .. })), "{result:?}");
}

#[test]
fn a_peers_snapshot_stays_until_it_is_loaded_though_newer_ones_are_there() {
    let disk = directory();
    let store = SnapshotStore::new(Arc::<MemoryDisk>::clone(&disk), IDENTITY);
    let (older, newer) = (position(1, 3), position(1, 9));
    for (number, chunk) in chunks(older).iter().enumerate() {
        store.store_chunk(older, number as u64, chunk, number == 2).unwrap();
    }
    assert_eq!(store.list().unwrap(), [older, position(1, 4)]);
    assert_eq!(store.read_chunk(older, 0).unwrap().unwrap().0, chunks(older)[0]);
    // A snapshot of the node's own does not drive it out either.
    store.save_chunks(newer, chunks(newer).into_iter()).unwrap();
    assert_eq!(store.list().unwrap(), [older, newer]);
    // It is no state, but it was asked for.
    store.load(older).unwrap_err();
    let newest = position(1, 11);
    store.save_chunks(newest, chunks(newest).into_iter()).unwrap();
    assert_eq!(store.list().unwrap(), [newer, newest], "two are kept");
}

#[test]
fn a_snapshot_says_whose_it_is_and_the_hash_of_its_state() {
    let disk = Arc::new(MemoryDisk::new());
    let identity = Identity::new(ClusterId(0), NodeId(1), StorageId(5));
    let (storage, _) =
        Storage::open(Arc::<MemoryDisk>::clone(&disk), identity, StorageOptions::default()).unwrap();
    let store = storage.snapshots();
    let (at, state) = (position(0, 0), State::default());
    store.save(&quorate_core::contract::Snapshot { at, state: state.clone() }).unwrap();
    assert_eq!(store.check(at).unwrap(), Some(state.hash().0));
    let name = disk.list().unwrap().into_iter().find(|name| SnapshotStore::is_snapshot(name)).unwrap();
    // Another cluster's, another node's, another directory's.
    for other in [
        Identity { cluster: ClusterId(9), ..identity },
        Identity { node: NodeId(2), ..identity },
        Identity { storage: StorageId(6), ..identity },
    ] {
        let store = SnapshotStore::new(Arc::<MemoryDisk>::clone(&disk), other);
        let error = store.check(at).unwrap_err();
        assert!(matches!(&error, StorageError::Damaged { file, .. } if *file == name), "{error}");
    }
}
