//! Whether there is room left for a data directory.

use super::{disk::Disk, error::DiskError, recycle::is_spare};
use quorate_core::{
    bug::{self, Bug},
    limits::WAL_SEGMENT_BYTES,
};

/// Room that must stay free on the file system when nothing else is said, in bytes: for the log, until somebody looks.
pub const RESERVE_BYTES: u64 = 4 * WAL_SEGMENT_BYTES;
/// The least quota of a data directory, in bytes: files of the log are made ahead.
pub const QUOTA_BYTES_MIN: u64 = 4 * WAL_SEGMENT_BYTES;

/// When a data directory has no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceLimits {
    /// It has so many bytes; `None`: it may have any number.
    pub quota: Option<u64>,
    /// Its file system has fewer bytes left than this.
    pub reserve: u64,
}

impl Default for SpaceLimits {
    fn default() -> Self {
        Self { quota: None, reserve: RESERVE_BYTES }
    }
}

impl SpaceLimits {
    /// What is short, in words: the setting, its value, and what was found. `None`: there is room.
    ///
    /// # Errors
    /// The disk's.
    pub fn shortage(&self, disk: &dyn Disk) -> Result<Option<String>, DiskError> {
        let short = |free| free < self.reserve && !bug::planted(Bug::NetReserveIgnored);
        if let Some(space) = disk.space()?.filter(|space| short(space.free)) {
            let (reserve, free) = (self.reserve, space.free);
            return Ok(Some(format!("disk.reserve is {reserve} bytes, and its file system has {free} left")));
        }
        let Some(quota) = self.quota else { return Ok(None) };
        let mut used = 0;
        // Spare files will be the log's next ones: they take no more room.
        for name in disk.list()?.iter().filter(|name| !is_spare(name)) {
            used += match disk.size(name) {
                Ok(size) => size,
                // Gone since it was listed.
                Err(error) if error.is_missing() => 0,
                Err(error) => return Err(error),
            };
        }
        let short = used >= quota && !bug::planted(Bug::NetQuotaIgnored);
        Ok(short.then(|| format!("disk.quota is {quota} bytes, and its data directory has {used}")))
    }
}
