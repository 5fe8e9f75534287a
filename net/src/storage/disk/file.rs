//! A data directory of real files.

use super::{super::error::OpenError, Disk, DiskError};
use rustix::fs::FlockOperation;
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The file that is locked as long as the directory is in use.
const LOCK: &str = "lock";

/// A data directory of real files, locked against other processes until it is dropped.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    _lock: File,
    /// Files that are appended to.
    open: Mutex<BTreeMap<String, Arc<File>>>,
}

impl FileDisk {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// `Locked` if another process, or another `FileDisk`, has it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let name = directory.display().to_string();
        let failed = |operation, error: &io::Error| DiskError::new(operation, &name, error);
        if !directory.is_dir() {
            fs::create_dir_all(directory).map_err(|error| failed("create directory", &error))?;
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or_else(|| Path::new("."));
            File::open(parent)
                .and_then(|file| file.sync_all())
                .map_err(|error| failed("sync parent of", &error))?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK))
            .map_err(|error| failed("open the lock of", &error))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: lock, open: Mutex::default() }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { directory: name }),
            Err(error) => Err(failed("lock", &error.into()).into()),
        }
    }

    /// The handle through which a file is appended to and synced: one and the same, so that an error of an earlier
    /// write shows at its sync.
    fn handle(&self, name: &str) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(name) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(OpenOptions::new().append(true).open(self.directory.join(name))?);
        open.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn forget(&self, name: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn run<T>(
        operation: &'static str,
        name: &str,
        action: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, DiskError> {
        action().map_err(|error| DiskError::new(operation, name, &error))
    }
}

impl Disk for FileDisk {
    fn location(&self) -> String {
        self.directory.display().to_string()
    }

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Self::run("list", &self.location(), || {
            let mut names = Vec::new();
            for item in fs::read_dir(&self.directory)? {
                let item = item?;
                if item.file_type()?.is_file() && item.file_name() != LOCK {
                    names.push(item.file_name().to_string_lossy().into_owned());
                }
            }
            names.sort();
            Ok(names)
        })
    }

    fn size(&self, name: &str) -> Result<u64, DiskError> {
        Self::run("size of", name, || Ok(fs::metadata(self.directory.join(name))?.len()))
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        Self::run("read", name, || {
            let file = File::open(self.directory.join(name))?;
            let left = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.min(left)];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        })
    }

    fn create(&self, name: &str) -> Result<(), DiskError> {
        Self::run("create", name, || {
            let file = OpenOptions::new().create_new(true).append(true).open(self.directory.join(name))?;
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.insert(name.to_owned(), Arc::new(file));
            Ok(())
        })
    }

    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        Self::run("append to", name, || (&*self.handle(name)?).write_all(bytes))
    }

    fn sync(&self, name: &str) -> Result<(), DiskError> {
        Self::run("sync", name, || Ok(rustix::fs::fdatasync(&*self.handle(name)?)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.forget(from);
        self.forget(to);
        Self::run("rename", from, || fs::rename(self.directory.join(from), self.directory.join(to)))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.forget(name);
        Self::run("remove", name, || fs::remove_file(self.directory.join(name)))
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        Self::run("sync", &self.location(), || File::open(&self.directory)?.sync_all())
    }
}
