//! A data directory in memory that loses what was not synced, for tests and simulators.

use super::{Disk, DiskError};
use quorate_core::random::Draws;
use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// This many of them are durable.
    synced: usize,
    /// A sync failed: its bytes were thrown away, though reads still show them, and later syncs say nothing about it.
    lying: bool,
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

/// Drops unsynced bytes: all behind some point, or any sectors; those read as zeros.
fn lose(file: &mut File, draws: &mut Draws) {
    file.lying = false;
    let unsynced = file.bytes.len() - file.synced;
    match draws.range(0, 3) {
        0 => file.bytes.truncate(file.synced),
        1 => {
            let kept = draws.range(0, unsynced as u64);
            file.bytes.truncate(file.synced + usize::try_from(kept).unwrap_or(0));
        }
        2 => {
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

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no such file")
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
        let file = inner.file(name).map_err(|error| DiskError::new("read", name, &error))?;
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
            inner.file_mut(name)?.bytes.extend_from_slice(if fails { half } else { bytes });
            if fails { Err(io::Error::other("the append was told to fail")) } else { Ok(()) }
        });
        let mut inner = self.inner();
        if result.is_err()
            && inner.left == Some(0)
            && let Ok(file) = inner.file_mut(name)
        {
            file.bytes.extend_from_slice(half);
        }
        result
    }

    fn sync(&self, name: &str) -> Result<(), DiskError> {
        self.act("sync", name, |inner| {
            let fails = std::mem::take(&mut inner.fail_sync);
            let file = inner.file_mut(name)?;
            file.lying |= fails;
            if !file.lying {
                file.synced = file.bytes.len();
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
