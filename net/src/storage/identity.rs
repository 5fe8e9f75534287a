//! Whose data directory it is: a small file, written when the directory is first used, and never changed.

use super::{
    disk::{Disk, read_all, remove_if_there},
    error::{DiskError, OpenError},
    record::Cursor,
};
use quorate_core::{
    bug::{self, Bug},
    types::{ClusterId, NodeId, StorageId},
};

/// The file's name.
pub const FILE: &str = "identity";
const FILE_ASIDE: &str = "identity.tmp";
const MAGIC: &[u8; 8] = b"QRATE-ID";
/// The format of a data directory that this version reads and writes.
pub const FORMAT: u32 = 2;
const BYTES: usize = 48;

/// Whose data directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// This very directory.
    pub storage: StorageId,
    /// The format of everything in it.
    pub format: u32,
}

impl Identity {
    /// An identity for a new directory, in the format that this version writes.
    #[must_use]
    pub const fn new(cluster: ClusterId, node: NodeId, storage: StorageId) -> Self {
        Self { cluster, node, storage, format: FORMAT }
    }

    /// What the directory says. `None`: it was never used, or not up to the end of its first opening.
    ///
    /// # Errors
    /// `Corrupt`, `OtherFormat`, or the disk's error.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let bytes = match read_all(disk, FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let directory = disk.location();
        let file = FILE.to_owned();
        if let Some(found) = other_format(&bytes, MAGIC) {
            return Err(OpenError::OtherFormat { directory, file, found, known: FORMAT });
        }
        let what = "magic, length or checksum are wrong".to_owned();
        Self::decode(&bytes).map(Some).ok_or(OpenError::Corrupt { directory, file, offset: 0, what })
    }

    /// Writes it aside, syncs, renames, syncs the directory.
    ///
    /// # Errors
    /// The disk's.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), DiskError> {
        remove_if_there(disk, FILE_ASIDE)?;
        disk.create(FILE_ASIDE)?;
        disk.append(FILE_ASIDE, &self.encode())?;
        if !bug::planted(Bug::NetIdentityUnsynced) {
            disk.sync(FILE_ASIDE)?;
        }
        disk.rename(FILE_ASIDE, FILE)?;
        disk.sync_dir()
    }

    /// Refuses a directory of another node or cluster. `self` is what the configuration says; the storage id is the
    /// directory's own.
    ///
    /// # Errors
    /// `Foreign` with the field that differs.
    pub fn check(&self, disk: &dyn Disk, file: &str, found: &Self) -> Result<(), OpenError> {
        let fields = [("cluster", found.cluster.0, self.cluster.0), ("node", found.node.0, self.node.0)];
        for (field, found, expected) in fields {
            if found != expected && !bug::planted(Bug::NetForeignTaken) {
                let directory = disk.location();
                return Err(OpenError::Foreign { directory, file: file.to_owned(), field, found, expected });
            }
        }
        Ok(())
    }

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for number in [self.cluster.0, self.node.0, self.storage.0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// What these bytes say, if they are whole.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(..BYTES - 4).filter(|_| bytes.len() == BYTES)?;
        let mut cursor = Cursor::new(bytes);
        let magic = cursor.take(MAGIC.len())?;
        let format = cursor.u32()?;
        let zero = cursor.u32()?;
        let (cluster, node, storage) =
            (ClusterId(cursor.u64()?), NodeId(cursor.u64()?), StorageId(cursor.u64()?));
        let zero = zero | cursor.u32()?;
        let whole = magic == MAGIC && zero == 0 && format == FORMAT && cursor.u32()? == crc32c::crc32c(body);
        whole.then_some(Self { cluster, node, storage, format })
    }
}

/// The format in a file's first bytes, if it is not the one that is known. Every kind of file begins with its magic and
/// its format, so that this can be said whatever follows.
#[must_use]
pub fn other_format(bytes: &[u8], magic: &[u8; 8]) -> Option<u32> {
    let mut cursor = Cursor::new(bytes);
    let known = cursor.take(magic.len())? == magic;
    cursor.u32().filter(|&format| known && format != FORMAT && format > 0)
}
