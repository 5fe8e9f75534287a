//! How long a log of 1 GiB takes to read, from files that the system has in memory.
//!
//! `cargo bench --package quorate-net --bench recovery`; `QUORATE_BENCH_DIR` names where the log is made.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use quorate_core::{
    contract::{Entry, Write},
    types::{ClusterId, Index, NodeId, StorageId, Term, WriteId},
};
use quorate_net::storage::{
    Disk, DiskError, FileDisk, Identity, Storage, StorageOptions, disk::Space, recovery::recover,
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Bytes of the log's files.
const LOG_BYTES: u64 = 1 << 30;
const ENTRY_BYTES: usize = 256;
const IDENTITY: Identity = Identity::new(ClusterId(1), NodeId(1), StorageId(1));

/// Files whose syncs do nothing, so that a log is made soon; and how much was written to them.
struct Hasty {
    files: FileDisk,
    written: AtomicU64,
}

impl Hasty {
    fn count(&self, bytes: &[u8]) {
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

impl Disk for Hasty {
    fn location(&self) -> String {
        self.files.location()
    }
    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.files.list()
    }
    fn size(&self, name: &str) -> Result<u64, DiskError> {
        self.files.size(name)
    }
    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.files.read(name, offset, length)
    }
    fn create(&self, name: &str) -> Result<(), DiskError> {
        self.files.create(name)
    }
    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.count(bytes);
        self.files.append(name, bytes)
    }
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.count(bytes);
        self.files.write_at(name, offset, bytes)
    }
    fn allocate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.files.allocate(name, bytes)
    }
    fn truncate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.files.truncate(name, bytes)
    }
    fn will_read(&self, name: &str) {
        self.files.will_read(name);
    }
    fn space(&self) -> Result<Option<Space>, DiskError> {
        self.files.space()
    }
    fn sync(&self, _name: &str) -> Result<(), DiskError> {
        Ok(())
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.files.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.files.remove(name)
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn directory(batch: usize) -> Directory {
    let place = std::env::var_os("QUORATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    Directory(place.join(format!("quorate-recovery-{}-{batch}", std::process::id())))
}

/// Makes the log, and has the system write it out: it must not do that while the reading is measured. Gives its number of
/// entries.
fn fill(disk: Arc<Hasty>, batch: usize) -> u64 {
    let opened = Storage::open(Arc::<Hasty>::clone(&disk), IDENTITY, StorageOptions::default());
    let (mut storage, _) = opened.expect("a new directory");
    let data = bytes::Bytes::from(vec![7; ENTRY_BYTES]);
    let mut next = 1;
    while disk.written.load(Ordering::Relaxed) < LOG_BYTES {
        let behind = next + batch as u64;
        let entry = |index| Entry { term: Term(1), index: Index(index), data: data.clone() };
        let entries = (next..behind).map(entry).collect();
        let write = Write { io: WriteId(next), start: None, entries, hard_state: None, voters: None };
        storage.write(&[write]).expect("there is room");
        next = behind;
    }
    drop(storage);
    for name in disk.files.list().expect("a directory") {
        disk.files.sync(&name).expect("there is room");
    }
    next - 1
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery of 1 GiB");
    group.sample_size(10).measurement_time(Duration::from_secs(20)).throughput(Throughput::Bytes(LOG_BYTES));
    for batch in [1, 64] {
        let directory = directory(batch);
        let files = FileDisk::open(&directory.0).expect("a new directory");
        let disk = Arc::new(Hasty { files, written: AtomicU64::default() });
        let count = fill(Arc::clone(&disk), batch);
        group.bench_function(BenchmarkId::new("256-byte entries, batch", batch), |bencher| {
            bencher.iter_with_large_drop(|| {
                let found = recover(&*disk, IDENTITY).expect("it is whole").expect("it is there");
                assert_eq!(found.content.entries.len() as u64, count);
                found
            });
        });
        eprintln!("{count} entries, {} MiB of them", (count * ENTRY_BYTES as u64) >> 20);
        eprintln!("highest resident memory so far: {} MiB", peak_kib() / 1024);
    }
    group.finish();
}

criterion_group!(benches, recovery);
