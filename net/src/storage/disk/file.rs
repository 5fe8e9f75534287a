//! A data directory of real files.

use super::{super::error::OpenError, Disk, DiskError, Space};
use rustix::{
    buffer::spare_capacity,
    fs::{Advice, FallocateFlags, FlockOperation},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The file that is locked as long as the directory is in use.
const LOCK: &str = "lock";

/// A file that is written, and where it ends.
#[derive(Debug)]
struct Written {
    file: File,
    end: AtomicU64,
}

/// Makes a directory, and those above it that are missing. The names of all of them are on the disk then.
///
/// # Errors
/// The file system's; some may have been made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    make_directory(parent)?;
    match fs::create_dir(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

/// A data directory of real files, locked against other processes until it is dropped.
#[derive(Debug)]
pub struct FileDisk {
    directory: PathBuf,
    _lock: Option<File>,
    /// Files that are written.
    open: Mutex<BTreeMap<String, Arc<Written>>>,
}

impl FileDisk {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// `Locked` if another process, or another `FileDisk`, has it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let name = directory.display().to_string();
        let failed = |operation, error: &io::Error| DiskError::new(operation, &name, error);
        make_directory(directory).map_err(|error| failed("create directory", &error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK))
            .map_err(|error| failed("open the lock of", &error))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { directory: directory.to_owned(), _lock: Some(lock), open: Mutex::default() }),
            Err(Errno::WOULDBLOCK) => Err(OpenError::Locked { directory: name }),
            Err(error) => Err(failed("lock", &error.into()).into()),
        }
    }

    /// Takes a directory that is there, and changes nothing in it; locked as well.
    ///
    /// # Errors
    /// `NotFound` if it is not there, `Locked` if a process has it.
    pub fn existing(directory: &Path) -> Result<Self, OpenError> {
        let name = directory.display().to_string();
        let failed = |operation, error: &io::Error| DiskError::new(operation, &name, error);
        fs::read_dir(directory).map_err(|error| failed("open directory", &error))?;
        let lock = match File::open(directory.join(LOCK)) {
            Ok(lock) => Some(lock),
            // A copy may be without.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("open the lock of", &error).into()),
        };
        match lock.as_ref().map(|lock| rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive)) {
            None | Some(Ok(())) => {}
            Some(Err(Errno::WOULDBLOCK)) => return Err(OpenError::Locked { directory: name }),
            Some(Err(error)) => return Err(failed("lock", &error.into()).into()),
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock, open: Mutex::default() })
    }

    /// The handle through which a file is written and synced: one and the same, so that an error of an earlier write
    /// shows at its sync.
    fn handle(&self, name: &str) -> io::Result<Arc<Written>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(name) {
            return Ok(Arc::clone(file));
        }
        let file = OpenOptions::new().write(true).open(self.directory.join(name))?;
        let end = AtomicU64::new(file.metadata()?.len());
        let written = Arc::new(Written { file, end });
        open.insert(name.to_owned(), Arc::clone(&written));
        Ok(written)
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

/// What the disk, or a file system that checks what it reads, says of bytes that it cannot give back.
fn unreadable(error: io::Error, offset: u64) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN) => {
            io::Error::new(io::ErrorKind::InvalidData, format!("{error} from byte {offset} on"))
        }
        _ => error,
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
        let read = || {
            let file = File::open(self.directory.join(name))?;
            let left = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
            let length = length.min(left);
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            while bytes.len() < length {
                let at = offset + bytes.len() as u64;
                match rustix::io::pread(&file, spare_capacity(&mut bytes), at) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // The system may have given more room, and so read more, than was asked for.
            bytes.truncate(length);
            Ok(bytes)
        };
        Self::run("read", name, || read().map_err(|error| unreadable(error, offset)))
    }

    fn create(&self, name: &str) -> Result<(), DiskError> {
        Self::run("create", name, || {
            let file = OpenOptions::new().create_new(true).write(true).open(self.directory.join(name))?;
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.insert(name.to_owned(), Arc::new(Written { file, end: AtomicU64::new(0) }));
            Ok(())
        })
    }

    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        Self::run("append to", name, || {
            let written = self.handle(name)?;
            let end = written.end.load(Ordering::Relaxed);
            written.file.write_all_at(bytes, end)?;
            written.end.store(end + bytes.len() as u64, Ordering::Relaxed);
            Ok(())
        })
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        Self::run("write to", name, || {
            let written = self.handle(name)?;
            written.file.write_all_at(bytes, offset)?;
            written.end.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
            Ok(())
        })
    }

    fn allocate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        Self::run("allocate", name, || {
            let written = self.handle(name)?;
            match rustix::fs::fallocate(&written.file, FallocateFlags::empty(), 0, bytes) {
                Ok(()) => {
                    written.end.fetch_max(bytes, Ordering::Relaxed);
                    Ok(())
                }
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn truncate(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        Self::run("cut", name, || {
            let written = self.handle(name)?;
            if written.file.metadata()?.len() > bytes {
                written.file.set_len(bytes)?;
                written.end.store(bytes, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    fn will_read(&self, name: &str) {
        if let Ok(file) = File::open(self.directory.join(name)) {
            // Only a hint.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::WillNeed);
        }
    }

    fn forget_read(&self, name: &str) {
        if let Ok(file) = File::open(self.directory.join(name)) {
            // Only a hint.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        }
    }

    fn space(&self) -> Result<Option<Space>, DiskError> {
        Self::run("space of", &self.location(), || {
            let found = rustix::fs::statvfs(&self.directory)?;
            let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
            Ok(Some(Space { total: bytes(found.f_blocks), free: bytes(found.f_bavail) }))
        })
    }

    fn sync(&self, name: &str) -> Result<(), DiskError> {
        Self::run("sync", name, || Ok(rustix::fs::fdatasync(&self.handle(name)?.file)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_disk_cannot_give_back_is_told_from_what_passes() {
        let kind = |error: Errno| unreadable(error.into(), 7).kind();
        for error in [Errno::IO, Errno::BADMSG, Errno::UCLEAN] {
            assert_eq!(kind(error), io::ErrorKind::InvalidData);
        }
        for error in [Errno::NOENT, Errno::MFILE, Errno::NOMEM, Errno::ACCESS] {
            assert_ne!(kind(error), io::ErrorKind::InvalidData, "{error}");
        }
        assert!(unreadable(Errno::IO.into(), 7).to_string().ends_with("from byte 7 on"));
    }
}
