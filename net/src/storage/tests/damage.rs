//! Damage to what was durable is refused; what a write that was cut off can leave is not.

use super::*;
use crate::storage::{
    Disk,
    batch::BatchWriter,
    inspect::{Line, dump, repair, verify},
    record::{self, Place},
    scan::decode_segment,
    segment::parse_file_name,
};
use quorate_core::random::Draws;

/// Three runs, several segments, a snapshot, a trimmed beginning. The last run wrote `batches` batches.
fn directory(batches: u64) -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 1000).unwrap();
    for index in 1..=12 {
        storage.write(&[entries(1, index, index, 150)]).unwrap();
    }
    let store = storage.snapshots();
    store.save_chunks(position(1, 3), chunks(position(1, 3)).into_iter()).unwrap();
    store.save_chunks(position(1, 5), chunks(position(1, 5)).into_iter()).unwrap();
    storage.write(&[Write { start: Some(position(1, 3)), ..nothing() }]).unwrap();
    let (mut storage, _) = open_sized(&disk, 1000).unwrap();
    storage.write(&[entries(2, 11, 14, 90)]).unwrap();
    let (mut storage, _) = open_sized(&disk, 2000).unwrap();
    for number in 0..batches {
        storage.write(&[entries(3, 15 + number, 15 + number, 90)]).unwrap();
    }
    disk
}

fn segments(disk: &MemoryDisk) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| parse_file_name(name).is_some()).collect()
}

fn last_index(recovered: &Recovered) -> u64 {
    recovered.entries.last().unwrap().index.0
}

#[test]
pub(super) fn a_bit_that_changed_is_refused_everywhere_but_in_the_last_batch() {
    let disk = directory(3);
    let files = segments(&disk);
    assert!(files.len() >= 4, "{files:?}");
    let mut draws = Draws::new(7, 7);
    for file in disk.list().unwrap().iter().filter(|name| name.starts_with("wal-")) {
        let bytes = disk.read(file, 0, 1 << 20).unwrap();
        let last = Some(file) == files.last();
        let last_batch = decode_segment(&bytes).unwrap().batches.pop().unwrap().head.offset;
        for byte in 0..bytes.len() as u64 {
            let copy = Arc::new(MemoryDisk::clone(&disk));
            assert!(copy.flip_bit(file, byte * 8 + draws.range(0, 7)));
            match open(&copy) {
                Ok((_, recovered)) => {
                    let beyond = last && byte >= last_batch || is_unread(&disk, file, byte);
                    assert!(beyond, "{file} byte {byte} was not noticed");
                    assert!(last_index(&recovered) >= 16, "{file} byte {byte}");
                }
                Err(error) => {
                    assert!(!(last && byte >= last_batch), "{file} byte {byte}: {error}");
                    assert!(error.to_string().contains(file.as_str()), "{error}");
                    assert!(
                        matches!(error, OpenError::Corrupt { .. } | OpenError::OtherFormat { .. }),
                        "{error}"
                    );
                }
            }
        }
    }
}

/// Whether a successor says that this byte does not count: a later run repeated it.
fn is_unread(disk: &MemoryDisk, file: &str, byte: u64) -> bool {
    let sequence = parse_file_name(file);
    segments(disk).iter().any(|name| {
        let previous = decode_segment(&disk.read(name, 0, 1 << 20).unwrap()).unwrap().header.previous;
        Some(previous.sequence) == sequence && byte >= previous.offset
    })
}

#[test]
fn a_bit_that_changed_in_the_only_batch_of_a_run_loses_nothing() {
    let disk = directory(0);
    let file = segments(&disk).pop().unwrap();
    for byte in 0..disk.size(&file).unwrap() {
        let copy = Arc::new(MemoryDisk::clone(&disk));
        copy.flip_bit(&file, byte * 8 + 1);
        match open(&copy) {
            Ok((_, recovered)) => assert_eq!(last_index(&recovered), 14, "byte {byte}"),
            Err(error) => assert!(matches!(error, OpenError::OtherFormat { .. }), "{error}"),
        }
    }
}

#[test]
fn a_log_that_was_cut_needs_a_snapshot() {
    let disk = directory(1);
    for gone in ["snapshot-0000000000000001-0000000000000003", "snapshot-0000000000000001-0000000000000005"] {
        disk.remove(gone).unwrap();
    }
    let error = open(&disk).unwrap_err().to_string();
    assert!(error.contains("newest snapshot") && error.contains("replace the member"), "{error}");
}

#[test]
fn a_file_that_is_gone_is_noticed() {
    let disk = directory(2);
    let files = segments(&disk);
    for file in &files[..files.len() - 1] {
        let copy = Arc::new(MemoryDisk::clone(&disk));
        copy.remove(file).unwrap();
        assert!(matches!(open(&copy), Err(OpenError::Corrupt { .. })), "{file}");
    }
    let copy = Arc::new(MemoryDisk::clone(&disk));
    for file in &files {
        copy.remove(file).unwrap();
    }
    assert!(open(&copy).unwrap_err().to_string().contains("the log is gone"));
    copy.remove("identity").unwrap();
    assert!(matches!(open(&copy), Err(OpenError::NoIdentity { .. })));
}

#[test]
fn a_sealed_segment_that_lost_whole_batches_is_refused() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 500).unwrap();
    storage.write(&[entries(1, 1, 1, 100)]).unwrap();
    for term in 2..20 {
        let hard_state = Some(HardState { term: Term(term), vote: None, commit: Index(0) });
        storage.write(&[Write { hard_state, ..nothing() }]).unwrap();
    }
    let (_, recovered) = open(&disk).unwrap();
    assert_eq!(recovered.hard_state.term, Term(19));
    let sealed = segments(&disk).swap_remove(0);
    let bytes = disk.read(&sealed, 0, 1 << 20).unwrap();
    for batch in decode_segment(&bytes).unwrap().batches {
        let copy = Arc::new(MemoryDisk::clone(&disk));
        copy.remove(&sealed).unwrap();
        copy.create(&sealed).unwrap();
        copy.append(&sealed, &bytes[..usize::try_from(batch.head.end).unwrap()]).unwrap();
        let counts = !is_unread(&disk, &sealed, batch.head.end);
        assert_eq!(open(&copy).is_err(), counts, "cut at {}", batch.head.end);
    }
}

#[test]
fn nonsense_with_a_right_checksum_at_the_end_is_refused() {
    let disk = Arc::new(MemoryDisk::new());
    open(&disk).unwrap();
    let file = "wal-0000000000000001";
    let last = decode_segment(&disk.read(file, 0, 1 << 20).unwrap()).unwrap().batches.remove(0);
    let place = Place { storage: IDENTITY.storage, sequence: 1 };
    let end = last.head.end;
    for (moved, index) in [(0, 9), (8, 1)] {
        let mut batch = BatchWriter::new(place, end, Vec::new());
        batch.entries(&[entry(1, index, 3)]);
        let (mut bytes, _) = batch.finish(last.head.checksum, None);
        bytes[16..24].copy_from_slice(&(end - moved).to_le_bytes());
        record::seal(place, &mut bytes, end, last.head.checksum);
        let copy = Arc::new(MemoryDisk::clone(&disk));
        copy.write_at(file, end, &bytes).unwrap();
        let error = open(&copy).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    }
}

#[test]
fn any_sectors_of_the_batch_that_was_being_written_may_be_lost() {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_sized(&disk, 8 << 10).unwrap();
    storage.write(&[entries(1, 1, 3, 200)]).unwrap();
    let file = segments(&disk).pop().unwrap();
    let before = disk.read(&file, 0, 1 << 20).unwrap();
    let durable = decode_segment(&before).unwrap().end;
    storage.write(&[entries(1, 4, 6, 900)]).unwrap();
    let bytes = disk.read(&file, 0, 1 << 20).unwrap();
    let sectors = decode_segment(&bytes).unwrap().end.div_ceil(512) - durable / 512;
    assert!((5..10).contains(&sectors));
    for lost in 0_u64..1 << sectors {
        let mut left = bytes.clone();
        for (at, byte) in left.iter_mut().enumerate().skip(usize::try_from(durable).unwrap()) {
            let sector = at as u64 / 512 - durable / 512;
            *byte *= u8::from(lost.checked_shr(u32::try_from(sector).unwrap()).unwrap_or(0) & 1 == 0);
        }
        let copy = Arc::new(MemoryDisk::clone(&disk));
        copy.write_at(&file, 0, &left).unwrap();
        let report = verify(Arc::<MemoryDisk>::clone(&copy)).unwrap();
        let all = (1_u64 << sectors) - 1;
        let torn = lost != 0
            && lost != all
            && left[usize::try_from(durable).unwrap()..] != before[usize::try_from(durable).unwrap()..];
        assert_eq!(report.torn.len(), usize::from(torn), "lost {lost:b}: {:?}", report.torn);
        let (_, recovered) = open(&copy).unwrap();
        assert_eq!(last_index(&recovered), if lost == 0 { 6 } else { 3 }, "lost {lost:b}");
    }
}

#[test]
fn verify_reports_and_changes_nothing() {
    let disk = directory(2);
    let before = disk.operations();
    let report = verify(Arc::<MemoryDisk>::clone(&disk)).unwrap();
    assert_eq!((report.log.0, report.log.1), (position(1, 3), position(3, 16)));
    assert_eq!(report.segments, segments(&disk));
    let snapshots: Vec<_> = report.snapshots.iter().map(|snapshot| snapshot.at).collect();
    assert_eq!(snapshots, [position(1, 3), position(1, 5)]);
    assert_eq!(report.damage(), None);
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_damaged_older_snapshot_is_reported() {
    let disk = directory(2);
    assert!(disk.flip_bit("snapshot-0000000000000001-0000000000000003", 8 * 100));
    let report = verify(Arc::<MemoryDisk>::clone(&disk)).unwrap();
    assert!(report.damage().unwrap().contains("snapshot-0000000000000001-0000000000000003"));
    open(&disk).unwrap();
}

fn lines(disk: &MemoryDisk, only: Option<(u64, u64)>) -> Vec<Line> {
    let mut lines = Vec::new();
    let only = only.map(|(from, to)| Index(from)..=Index(to));
    dump(disk, only, |line| {
        lines.push(line);
        Ok::<(), OpenError>(())
    })
    .unwrap();
    lines
}

#[test]
fn a_dump_names_every_record_and_changes_nothing() {
    let disk = directory(2);
    let before = disk.operations();
    let all = lines(&disk, None);
    let count = |kind| all.iter().filter(|line| line.kind == kind).count();
    assert_eq!(count("segment"), segments(&disk).len());
    assert!(count("footer") > 0 && count("checkpoint") == segments(&disk).len() && count("log-start") == 1);
    assert!(all.iter().all(|line| line.file.starts_with("wal-")));
    let some = lines(&disk, Some((13, 15)));
    let found: Vec<_> =
        some.iter().map(|line| (line.index.unwrap().0, line.term.unwrap().0, line.size)).collect();
    // What a run repeats of the one before is there twice.
    assert_eq!(found.first(), Some(&(13, 2, 90)));
    assert_eq!(found.last(), Some(&(15, 3, 90)));
    assert!(found.iter().all(|(index, ..)| (13..=15).contains(index)));
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_repair_cuts_what_was_cut_off_and_refuses_damage() {
    let disk = directory(3);
    let file = segments(&disk).pop().unwrap();
    let end = decode_segment(&disk.read(&file, 0, 1 << 20).unwrap()).unwrap().end;
    disk.write_at(&file, end, &[0xAB; 77]).unwrap();
    let shared: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&disk);
    let before = disk.operations();
    let found = repair(&shared, true).unwrap();
    assert_eq!((found.len(), found[0].offset, disk.operations()), (1, end, before));
    assert_eq!(repair(&shared, false).unwrap(), found);
    assert_eq!(disk.size(&file).unwrap(), end);
    assert!(verify(Arc::clone(&shared)).unwrap().torn.is_empty());
    assert_eq!(last_index(&open(&disk).unwrap().1), 17);

    let damaged = directory(3);
    assert!(damaged.flip_bit(&segments(&damaged)[0], 8 * 200));
    let shared: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&damaged);
    let before = damaged.operations();
    assert!(matches!(repair(&shared, false), Err(OpenError::Corrupt { .. })));
    assert_eq!(damaged.operations(), before);
    let empty: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    assert!(repair(&empty, false).unwrap_err().to_string().contains("no data directory of a master"));
}
