//! The few things that storage asks of a disk.

#[cfg(not(madsim))]
pub mod file;
pub mod memory;

use super::error::DiskError;

/// The room of the file system that a directory is on, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total: u64,
    /// What is left for this process.
    pub free: u64,
}

/// One data directory: files with flat names. A file is either appended to or written at offsets.
///
/// Bytes are durable after `sync` of their file; that a name was made, moved or removed is durable after `sync_dir`.
/// All calls block. Whoever holds a `Disk` is the only one to change the directory.
pub trait Disk: Send + Sync + 'static {
    /// The directory, for messages.
    fn location(&self) -> String;

    /// The names of all files, in order.
    ///
    /// # Errors
    /// What the system said, as in all that follow.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// A file's size, in bytes.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn size(&self, name: &str) -> Result<u64, DiskError>;

    /// Up to `length` bytes from `offset` on; fewer only where the file ends.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `InvalidData` if the disk does not give back what was written there.
    fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, DiskError>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken.
    fn create(&self, name: &str) -> Result<(), DiskError>;

    /// Adds bytes at the end of a file. After an error any part of them may be there.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError>;

    /// Writes bytes at an offset, over what is there, and beyond the end: what lies between reads as zeros. After an
    /// error any part of them may be there. In a loss of power any of the sectors that were not synced may be as before.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes a file at least so many bytes long, and its room its own, so that there is room for what is written there.
    /// What is new reads as zeros. Where the file system cannot do that, the file stays as it is.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `StorageFull` if there is no room.
    fn allocate(&self, name: &str, bytes: u64) -> Result<(), DiskError>;

    /// Cuts a file to so many bytes, if it has more.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn truncate(&self, name: &str, bytes: u64) -> Result<(), DiskError>;

    /// The file will be read soon, from its beginning: the system may begin with it.
    fn will_read(&self, _name: &str) {}

    /// What the system keeps of the file in memory may go, so that the next reading shows what is on the disk.
    fn forget_read(&self, _name: &str) {}

    /// The room of the file system. `None`: it has no bound.
    ///
    /// # Errors
    /// What the system said.
    fn space(&self) -> Result<Option<Space>, DiskError>;

    /// Makes a file's bytes durable. An error is final: a second call proves nothing.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn sync(&self, name: &str) -> Result<(), DiskError>;

    /// Moves a file, in one step, over whatever had the new name.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Makes durable which names there are.
    ///
    /// # Errors
    /// As `sync`.
    fn sync_dir(&self) -> Result<(), DiskError>;
}

/// Reads a whole file.
///
/// # Errors
/// As [`Disk::read`].
pub fn read_all(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, DiskError> {
    let size = usize::try_from(disk.size(name)?).unwrap_or(usize::MAX);
    disk.read(name, 0, size)
}

/// Removes a file if it is there. Says whether it was.
///
/// # Errors
/// As [`Disk::remove`].
pub fn remove_if_there(disk: &dyn Disk, name: &str) -> Result<bool, DiskError> {
    match disk.remove(name) {
        Ok(()) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}
