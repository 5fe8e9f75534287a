//! Whose directory it is, errors that are final, and real files.

use super::*;
use crate::storage::{Disk, StorageError};

#[test]
fn an_empty_directory_becomes_this_nodes() {
    let disk = Arc::new(MemoryDisk::new());
    let (storage, recovered) = open(&disk).unwrap();
    assert_eq!(storage.identity(), IDENTITY);
    assert!(recovered.entries.is_empty() && recovered.snapshot.is_none());
    let other = Identity { storage: StorageId(9), ..IDENTITY };
    let (storage, _) = Storage::open(disk, other, StorageOptions::default()).unwrap();
    assert_eq!(storage.identity().storage, IDENTITY.storage, "a directory keeps its storage id");
}

#[test]
fn the_first_two_openings_may_be_cut_off_anywhere() {
    for (first, second) in (0..12).flat_map(|first| (0..12).map(move |second| (first, second))) {
        for seed in 0..24 {
            let disk = Arc::new(MemoryDisk::new());
            for steps in [first, second] {
                disk.halt_after(steps);
                let _ = open(&disk);
                disk.crash();
            }
            disk.power_loss(&mut quorate_core::random::Draws::new(seed, first * 12 + second));
            let (mut storage, _) = open(&disk).unwrap();
            storage.write(&[entries(1, 1, 1, 10)]).unwrap();
        }
    }
}

#[test]
pub(super) fn another_nodes_directory_is_refused() {
    let disk = Arc::new(MemoryDisk::new());
    open(&disk).unwrap();
    let others = [
        ("node is 3, expected 4", Identity { node: NodeId(4), ..IDENTITY }),
        ("cluster is 77, expected 78", Identity { cluster: ClusterId(78), ..IDENTITY }),
    ];
    for (text, identity) in others {
        let before = disk.operations();
        let error =
            Storage::open(Arc::<MemoryDisk>::clone(&disk), identity, StorageOptions::default()).unwrap_err();
        assert!(error.to_string().contains(text) && error.to_string().contains("(memory)"), "{error}");
        assert_eq!(disk.operations(), before, "nothing was changed");
    }
}

#[test]
fn a_segment_of_another_directory_is_refused() {
    let (ours, theirs) = (Arc::new(MemoryDisk::new()), Arc::new(MemoryDisk::new()));
    open(&ours).unwrap();
    let other = Identity { storage: StorageId(9), ..IDENTITY };
    Storage::open(Arc::<MemoryDisk>::clone(&theirs), other, StorageOptions::default()).unwrap();
    let file = "wal-0000000000000001";
    ours.remove(file).unwrap();
    ours.create(file).unwrap();
    ours.append(file, &theirs.read(file, 0, 1 << 20).unwrap()).unwrap();
    let error = open(&ours).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { field: "storage", found: 9, .. }), "{error}");
}

#[test]
fn another_format_is_refused() {
    for (file, bits, format, hint) in [
        ("identity", 0b01, 3, "or a newer one"),
        ("wal-0000000000000001", 0b01, 3, "or a newer one"),
        ("identity", 0b11, 1, "replace the member"),
        ("wal-0000000000000001", 0b11, 1, "replace the member"),
    ] {
        let disk = Arc::new(MemoryDisk::new());
        open(&disk).unwrap();
        (0..2).filter(|bit| bits >> bit & 1 == 1).for_each(|bit| assert!(disk.flip_bit(file, 8 * 8 + bit)));
        let error = open(&disk).unwrap_err();
        assert!(
            matches!(error, OpenError::OtherFormat { found, known: 2, .. } if found == format),
            "{error}"
        );
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
pub(super) fn a_failed_sync_is_final() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open(&disk).unwrap();
    storage.write(&[entries(1, 1, 2, 10)]).unwrap();
    disk.fail_next_sync();
    let first = storage.write(&[entries(1, 3, 3, 10)]).unwrap_err();
    assert!(first.to_string().contains("sync wal-"), "{first}");
    let before = disk.operations();
    assert_eq!(storage.write(&[entries(1, 4, 4, 10)]).unwrap_err(), first);
    assert_eq!(disk.operations(), before, "nothing more is tried");
}

#[test]
fn what_a_restart_reads_after_a_failed_sync_survives_the_loss_of_power() {
    for seed in 0..64 {
        let disk = Arc::new(MemoryDisk::new());
        let (mut storage, _) = open(&disk).unwrap();
        storage.write(&[entries(1, 1, 2, 10)]).unwrap();
        disk.fail_next_sync();
        storage.write(&[entries(1, 3, 4, 10)]).unwrap_err();
        disk.crash();
        let (_, read) = open(&disk).unwrap();
        assert_eq!(read.entries.len(), 4, "the system still shows them");
        disk.power_loss(&mut quorate_core::random::Draws::new(seed, 0));
        assert_eq!(open(&disk).unwrap().1.entries, read.entries, "seed {seed}");
    }
}

#[test]
fn writes_that_would_break_the_log_are_refused() {
    let large = Write { entries: vec![entry(2, 4, 3 << 20)], ..nothing() };
    let start = |at| Write { start: Some(at), ..nothing() };
    let commit = |index| {
        let hard_state = Some(HardState { term: Term(2), vote: None, commit: Index(index) });
        Write { hard_state, ..nothing() }
    };
    let shorter = Write { entries: vec![entry(2, 2, 1)], ..nothing() };
    let cases = [
        (vec![commit(4)], "commit is 4, but the log ends at 3"),
        (vec![commit(3), shorter], "commit is 3, but the log ends at 2"),
        (vec![entries(2, 5, 5, 1)], "entry 5 does not follow the log's last entry 3"),
        (vec![entries(1, 4, 4, 1)], "of term 1 follows one of term 2"),
        (vec![start(position(2, 2)), entries(2, 2, 2, 1)], "below the log's start 2"),
        (vec![start(position(2, 2)), start(position(2, 1))], "goes back"),
        (vec![large], "an entry has 3145728 bytes: at most 2097152"),
        (vec![entries(3, 4, 4, 1), entries(2, 4, 4, 1)], "the term goes back from 3 to 2"),
    ];
    for (batch, text) in cases {
        let disk = Arc::new(MemoryDisk::new());
        let (mut storage, _) = open(&disk).unwrap();
        storage.write(&[entries(2, 1, 3, 10)]).unwrap();
        let error = storage.write(&batch).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(open(&disk).unwrap().1.entries.len(), 3, "nothing of it was written");
        assert!(!matches!(error, StorageError::Disk(_)));
    }
}

#[test]
fn segments_below_the_start_are_removed() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 1000).unwrap();
    for index in 1..=100 {
        storage.write(&[entries(1, index, index, 200)]).unwrap();
    }
    let count = || disk.list().unwrap().iter().filter(|name| name.starts_with("wal-")).count();
    assert!(count() > 20);
    let at = position(1, 98);
    storage.snapshots().save_chunks(at, chunks(at).into_iter()).unwrap();
    storage.write(&[Write { start: Some(at), ..nothing() }]).unwrap();
    assert!(count() <= 2, "{:?}", disk.list());
    for _ in 0..20 {
        let (_, recovered) = open(&disk).unwrap();
        assert_eq!(recovered.entries.len(), 2);
    }
    assert!(count() <= 4, "opening again and again piles nothing up: {:?}", disk.list());
}

#[test]
pub(super) fn starts_that_write_a_little_each_pile_up_no_room() {
    const SEGMENT: u64 = 100_000;
    let disk = Arc::new(MemoryDisk::new());
    let room = || {
        let names = disk.list().unwrap();
        let files = names.iter().filter(|name| name.starts_with("wal-") || name.starts_with("spare-"));
        files.map(|name| disk.size(name).unwrap()).sum::<u64>()
    };
    for run in 1..=30 {
        let (mut storage, recovered) = open_sized(&disk, SEGMENT).unwrap();
        assert_eq!(recovered.entries.len() as u64, 2 * (run - 1));
        // The second write vouches for the first.
        storage.write(&[entries(1, 2 * run - 1, 2 * run - 1, 10)]).unwrap();
        storage.write(&[entries(1, 2 * run, 2 * run, 10)]).unwrap();
        assert!(room() < 3 * SEGMENT, "after {run} runs the log takes {} bytes", room());
    }
}

#[cfg(not(madsim))]
pub(super) mod files {
    use super::*;
    use crate::storage::FileDisk;
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("quorate-storage-{}-{name}", std::process::id()));
            Self(path.join("data"))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    #[test]
    fn a_second_opener_is_refused() {
        let directory = Directory::new("lock");
        let first = FileDisk::open(&directory.0).unwrap();
        let error = FileDisk::open(&directory.0).unwrap_err();
        assert!(matches!(&error, OpenError::Locked { directory: name } if name.contains("lock")), "{error}");
        drop(first);
        FileDisk::open(&directory.0).unwrap();
    }

    #[test]
    pub(in crate::storage::tests) fn real_files_hold_what_was_written() {
        let directory = Directory::new("files");
        let options = StorageOptions { segment_bytes: 1000 };
        for run in 0..4 {
            let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(&directory.0).unwrap());
            let (mut storage, recovered) = Storage::open(disk, IDENTITY, options).unwrap();
            assert_eq!(recovered.entries.len(), run * 10);
            for index in 1..=10 {
                let index = run as u64 * 10 + index;
                storage.write(&[entries(1, index, index, 150)]).unwrap();
            }
            let store = storage.snapshots();
            for index in 1..=3 {
                store.save_chunks(position(1, index), chunks(position(1, index)).into_iter()).unwrap();
                assert_eq!(store.newest().unwrap(), Some(position(1, index)));
            }
            for index in 1..=3 {
                let file = format!("snapshot-{:016x}-{index:016x}", 1);
                store.check(position(1, index)).unwrap();
                assert_eq!(std::fs::exists(directory.0.join(&file)).unwrap(), index > 1);
                let _ = std::fs::remove_file(directory.0.join(file));
            }
        }
        let names = FileDisk::open(&directory.0).unwrap().list().unwrap();
        assert!(names.len() > 8 && !names.contains(&"lock".to_owned()), "{names:?}");
    }
}
