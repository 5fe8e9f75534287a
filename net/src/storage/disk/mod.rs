//! The few things that storage asks of a disk.

#[cfg(not(madsim))]
pub mod file;
pub mod memory;

use super::error::DiskError;

/// One data directory: files with flat names, appended to and never overwritten.
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
    /// `NotFound` if there is no such file.
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
