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
use std::{path::PathBuf, sync::Arc, time::Duration};

const LOG_BYTES: u64 = 1 << 30;
const ENTRY_BYTES: usize = 256;
const IDENTITY: Identity = Identity::new(ClusterId(1), NodeId(1), StorageId(1));

/// Files whose syncs do nothing, so that a log is made soon.
struct Hasty(FileDisk);

impl Disk for Hasty {
    fn location(&self) -> String {
        self.0.location()
    }
    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.0.list()
    }
    fn size(&self, name: &str) -> Result<u64, DiskError> {
        self.0.size(name)
    }
    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.0.read(name, offset, length)
    }
    fn create(&self, name: &str) -> Result<(), DiskError> {
        self.0.create(name)
    }
    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.append(name, bytes)
    }
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.write_at(name, offset, bytes)
    }
    fn allocate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.0.allocate(name, bytes)
    }
    fn truncate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.0.truncate(name, bytes)
    }
    fn will_read(&self, name: &str) {
        self.0.will_read(name);
    }
    fn space(&self) -> Result<Option<Space>, DiskError> {
        self.0.space()
    }
    fn sync(&self, _name: &str) -> Result<(), DiskError> {
        Ok(())
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.0.remove(name)
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

/// Makes the log. Gives its number of entries.
fn fill(disk: Arc<dyn Disk>, batch: usize) -> u64 {
    let opened = Storage::open(disk, IDENTITY, StorageOptions::default());
    let (mut storage, _) = opened.expect("a new directory");
    let data = bytes::Bytes::from(vec![7; ENTRY_BYTES]);
    let count = LOG_BYTES / ENTRY_BYTES as u64;
    let mut next = 1;
    while next <= count {
        let last = count.min(next + batch as u64 - 1);
        let entry = |index| Entry { term: Term(1), index: Index(index), data: data.clone() };
        let entries = (next..=last).map(entry).collect();
        let write = Write { io: WriteId(next), start: None, entries, hard_state: None, voters: None };
        storage.write(&[write]).expect("there is room");
        next = last + 1;
    }
    count
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
        let disk: Arc<dyn Disk> = Arc::new(Hasty(FileDisk::open(&directory.0).expect("a new directory")));
        let count = fill(Arc::clone(&disk), batch);
        group.bench_function(BenchmarkId::new("256-byte entries, batch", batch), |bencher| {
            bencher.iter_with_large_drop(|| {
                let found = recover(&*disk, IDENTITY).expect("it is whole").expect("it is there");
                assert_eq!(found.content.entries.len() as u64, count);
                found
            });
        });
        eprintln!("highest resident memory so far: {} MiB", peak_kib() / 1024);
    }
    group.finish();
}

criterion_group!(benches, recovery);
