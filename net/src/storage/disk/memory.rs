//! A data directory in memory that loses what was not synced, for tests and simulators.

use super::{Disk, DiskError, Space};
use quorate_core::random::Draws;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// This many of them are durable, but for those below.
    synced: usize,
    /// What is durable in sectors among them that were written over since.
    old: BTreeMap<usize, Vec<u8>>,
    /// What is durable in sectors whose sync failed: what was to be there was thrown away, though reads still show it, and
    /// later syncs say nothing about it. Until they are written over.
    lost: BTreeMap<usize, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
}

type Names = BTreeMap<String, u64>;

fn unbind(names: &mut Names, name: &str, file: u64) {
    if names.get(name) == Some(&file) {
        names.remove(name);
    }
}

fn change(names: &mut Names, change: &NameChange) {
    match change {
        NameChange::Create(name, file) => {
            names.insert(name.clone(), *file);
        }
        NameChange::Rename(from, to, file) => {
            unbind(names, from, *file);
            names.insert(to.clone(), *file);
        }
        NameChange::Remove(name, file) => {
            unbind(names, name, *file);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inner {
    files: BTreeMap<u64, File>,
    names: Names,
    /// The names as they are for sure after a loss of power, and what was done since.
    durable_names: Names,
    unsynced_names: Vec<NameChange>,
    next_file: u64,
    /// Operations until the disk halts.
    left: Option<u64>,
    fail_sync: bool,
    fail_append: bool,
    /// Files that cannot be read.
    unreadable: BTreeSet<u64>,
    /// All files together have at most so many bytes.
    capacity: Option<u64>,
    /// Operations that change something, so far.
    operations: u64,
}

/// A directory in memory. Deterministic. `Clone` copies everything.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    inner: Mutex<Inner>,
}

impl Clone for MemoryDisk {
    fn clone(&self) -> Self {
        Self { inner: Mutex::new(self.inner().clone()) }
    }
}

impl MemoryDisk {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next sync fails; the bytes it was to make durable will be lost with the power, whatever later syncs say.
    pub fn fail_next_sync(&self) {
        self.inner().fail_sync = true;
    }

    /// The next append fails, half-way.
    pub fn fail_next_append(&self) {
        self.inner().fail_append = true;
    }

    /// What is in this file cannot be read any more, whatever its name becomes. False if there is no such file.
    pub fn fail_reads(&self, name: &str) -> bool {
        let mut inner = self.inner();
        let id = inner.names.get(name).copied();
        id.is_some_and(|id| inner.unreadable.insert(id))
    }

    /// All files together have at most so many bytes; `None`: as many as they like. What is there stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner().capacity = bytes;
    }

    /// Lets this many operations that change something pass; all later ones fail, an append half-way.
    pub fn halt_after(&self, operations: u64) {
        self.inner().left = Some(operations);
    }

    /// How many operations that change something there were, failed ones included.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.inner().operations
    }

    /// The process that used the disk is gone: everything written is still there, and ordered faults are forgotten.
    pub fn crash(&self) {
        let mut inner = self.inner();
        inner.left = None;
        inner.fail_sync = false;
        inner.fail_append = false;
    }

    /// The power is gone: what was not synced is lost, kept, or kept in part. Ordered faults are forgotten.
    pub fn power_loss(&self, draws: &mut Draws) {
        self.crash();
        let mut inner = self.inner();
        let changes = std::mem::take(&mut inner.unsynced_names);
        let mut names = std::mem::take(&mut inner.durable_names);
        // In order up to some point, as a journal does, or any of them.
        let in_order = draws.any().is_multiple_of(2);
        let kept = draws.range(0, changes.len() as u64);
        for (number, item) in changes.iter().enumerate() {
            let keep = if in_order { (number as u64) < kept } else { draws.any().is_multiple_of(2) };
            if keep {
                change(&mut names, item);
            }
        }
        inner.files.retain(|id, _| names.values().any(|file| file == id));
        for file in inner.files.values_mut() {
            lose(file, draws);
        }
        inner.durable_names = names.clone();
        inner.names = names;
    }

    /// Turns over one bit, durably. False if there is no such byte.
    pub fn flip_bit(&self, name: &str, bit: u64) -> bool {
        let mut inner = self.inner();
        let Some(&id) = inner.names.get(name) else { return false };
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let byte = inner.files.get_mut(&id).and_then(|file| file.bytes.get_mut(byte));
        byte.map(|byte| *byte ^= 1 << (bit % 8)).is_some()
    }

    fn act<T>(
        &self,
        operation: &'static str,
        name: &str,
        action: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let inner = &mut *self.inner();
        inner.operations += 1;
        let halted = inner.left == Some(0);
        inner.left = inner.left.map(|left| left.saturating_sub(1));
        let result = if halted { Err(io::Error::other("the disk was halted")) } else { action(inner) };
        result.map_err(|error| DiskError::new(operation, name, &error))
    }
}

/// Drops unsynced bytes: all, all behind some point, or any sectors. Sectors that are new then read as zeros, others as
/// they were.
fn lose(file: &mut File, draws: &mut Draws) {
    for (sector, bytes) in std::mem::take(&mut file.lost) {
        file.put_back(sector, &bytes);
    }
    let old = std::mem::take(&mut file.old);
    let unsynced = file.bytes.len() - file.synced;
    match draws.range(0, 3) {
        0 => {
            file.bytes.truncate(file.synced);
            old.iter().for_each(|(&sector, bytes)| file.put_back(sector, bytes));
        }
        1 => {
            let kept = usize::try_from(draws.range(0, (unsynced + old.len()) as u64)).unwrap_or(0);
            old.iter().skip(kept).for_each(|(&sector, bytes)| file.put_back(sector, bytes));
            file.bytes.truncate(file.synced + kept.saturating_sub(old.len()));
        }
        2 => {
            for (&sector, bytes) in &old {
                if draws.any().is_multiple_of(2) {
                    file.put_back(sector, bytes);
                }
            }
            let mut at = file.synced;
            while at < file.bytes.len() {
                let end = ((at / SECTOR + 1) * SECTOR).min(file.bytes.len());
                if draws.any().is_multiple_of(2) {
                    file.bytes[at..end].fill(0);
                }
                at = end;
            }
        }
        _ => {}
    }
    file.synced = file.bytes.len();
}

impl File {
    fn put_back(&mut self, sector: usize, bytes: &[u8]) {
        let begin = sector * SECTOR;
        self.bytes[begin..begin + bytes.len()].copy_from_slice(bytes);
    }

    fn synced(&mut self) {
        self.synced = self.bytes.len();
        self.old.clear();
    }

    /// What was not synced is not on the disk, and never will be.
    fn sync_failed(&mut self) {
        let (synced, length) = (self.synced, self.bytes.len());
        for sector in synced / SECTOR..length.div_ceil(SECTOR) {
            let (begin, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(length));
            let old = self.old.remove(&sector).or_else(|| self.lost.remove(&sector));
            let mut durable = old.unwrap_or_else(|| self.bytes[begin..synced.max(begin)].to_vec());
            durable.resize(end - begin, 0);
            self.lost.insert(sector, durable);
        }
        self.lost.append(&mut self.old);
        self.synced = length;
    }

    /// Writes, and keeps what was durable there.
    fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let durable = sector * SECTOR..((sector + 1) * SECTOR).min(self.synced);
            if let Some(lost) = self.lost.remove(&sector) {
                self.old.insert(sector, lost);
            } else if !durable.is_empty() && !self.old.contains_key(&sector) {
                self.old.insert(sector, self.bytes[durable].to_vec());
            }
        }
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file was told not to be readable")
}

impl Inner {
    fn id(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn file(&self, name: &str) -> io::Result<&File> {
        self.files.get(&self.id(name)?).ok_or_else(missing)
    }

    fn file_mut(&mut self, name: &str) -> io::Result<&mut File> {
        self.names.get(name).and_then(|id| self.files.get_mut(id)).ok_or_else(missing)
    }

    /// An error if there is no room for a file of this length.
    fn room(&self, name: &str, length: u64) -> io::Result<()> {
        let now = self.file(name)?.bytes.len() as u64;
        let more = length.saturating_sub(now);
        let free = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        if more > free { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        let named = self.names.values().filter_map(|id| self.files.get(id));
        named.map(|file| file.bytes.len() as u64).sum()
    }

    fn rearrange(&mut self, item: NameChange) {
        change(&mut self.names, &item);
        self.unsynced_names.push(item);
    }
}

impl Disk for MemoryDisk {
    fn location(&self) -> String {
        "(memory)".to_owned()
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.inner().names.keys().cloned().collect())
    }

    fn size(&self, name: &str) -> Result<u64, DiskError> {
        let inner = self.inner();
        let file = inner.file(name).map_err(|error| DiskError::new("size of", name, &error))?;
        Ok(file.bytes.len() as u64)
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let inner = self.inner();
        let bad = inner.id(name).is_ok_and(|id| inner.unreadable.contains(&id));
        let found = if bad { Err(unreadable()) } else { inner.file(name) };
        let file = found.map_err(|error| DiskError::new("read", name, &error))?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(file.bytes.len());
        let to = from.saturating_add(length).min(file.bytes.len());
        Ok(file.bytes[from..to].to_vec())
    }

    fn create(&self, name: &str) -> Result<(), DiskError> {
        self.act("create", name, |inner| {
            if inner.names.contains_key(name) {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the name is taken"));
            }
            inner.next_file += 1;
            let id = inner.next_file;
            inner.files.insert(id, File::default());
            inner.rearrange(NameChange::Create(name.to_owned(), id));
            Ok(())
        })
    }

    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let half = &bytes[..bytes.len() / 2];
        let result = self.act("append to", name, |inner| {
            let fails = std::mem::take(&mut inner.fail_append);
            let length = (inner.file(name)?.bytes.len() + bytes.len()) as u64;
            let full = inner.room(name, length);
            let part = if fails || full.is_err() { half } else { bytes };
            let file = inner.file_mut(name)?;
            file.write_at(file.bytes.len(), part);
            full?;
            if fails { Err(io::Error::other("the append was told to fail")) } else { Ok(()) }
        });
        let mut inner = self.inner();
        if result.is_err()
            && inner.left == Some(0)
            && let Ok(file) = inner.file_mut(name)
        {
            file.write_at(file.bytes.len(), half);
        }
        result
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let half = &bytes[..bytes.len() / 2];
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let result = self.act("write to", name, |inner| {
            let fails = std::mem::take(&mut inner.fail_append);
            let full = inner.room(name, offset + bytes.len() as u64);
            let part = if fails || full.is_err() { half } else { bytes };
            inner.file_mut(name)?.write_at(at, part);
            full?;
            if fails { Err(io::Error::other("the write was told to fail")) } else { Ok(()) }
        });
        let mut inner = self.inner();
        if result.is_err()
            && inner.left == Some(0)
            && let Ok(file) = inner.file_mut(name)
        {
            file.write_at(at, half);
        }
        result
    }

    fn allocate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.act("allocate", name, |inner| {
            inner.room(name, bytes)?;
            let file = inner.file_mut(name)?;
            let length = usize::try_from(bytes).unwrap_or(usize::MAX).max(file.bytes.len());
            file.bytes.resize(length, 0);
            Ok(())
        })
    }

    fn truncate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.act("cut", name, |inner| {
            let file = inner.file_mut(name)?;
            let length = usize::try_from(bytes).unwrap_or(usize::MAX);
            file.bytes.truncate(length);
            file.synced = file.synced.min(length);
            // At once and for sure: nobody who cuts goes on before it is synced.
            file.old.retain(|sector, _| (sector + 1) * SECTOR <= length);
            file.lost.retain(|sector, _| (sector + 1) * SECTOR <= length);
            Ok(())
        })
    }

    fn space(&self) -> Result<Option<Space>, DiskError> {
        let inner = self.inner();
        let space = |total| Space { total, free: total.saturating_sub(inner.used()) };
        Ok(inner.capacity.map(space))
    }

    fn sync(&self, name: &str) -> Result<(), DiskError> {
        self.act("sync", name, |inner| {
            let fails = std::mem::take(&mut inner.fail_sync);
            let file = inner.file_mut(name)?;
            if fails {
                file.sync_failed();
            } else {
                file.synced();
            }
            if fails { Err(io::Error::other("the sync was told to fail")) } else { Ok(()) }
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.act("rename", from, |inner| {
            let file = inner.id(from)?;
            inner.rearrange(NameChange::Rename(from.to_owned(), to.to_owned(), file));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.act("remove", name, |inner| {
            let file = inner.id(name)?;
            inner.rearrange(NameChange::Remove(name.to_owned(), file));
            Ok(())
        })
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        self.act("sync", "(memory)", |inner| {
            if std::mem::take(&mut inner.fail_sync) {
                return Err(io::Error::other("the sync was told to fail"));
            }
            inner.unsynced_names.clear();
            inner.durable_names = inner.names.clone();
            let kept = &inner.durable_names;
            inner.files.retain(|id, _| kept.values().any(|file| file == id));
            Ok(())
        })
    }
}
