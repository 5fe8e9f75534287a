//! Where a cluster comes from that goes on with the state of another. Its id is its own, and follows from no list of members;
//! this file says which id the settings of its masters stand for.

use super::{
    disk::{Disk, read_all},
    error::OpenError,
    heir,
    identity::{FORMAT, Identity, other_format},
    record::Cursor,
};
use quorate_core::types::ClusterId;

/// The file's name.
pub const FILE: &str = "lineage";
const MAGIC: &[u8; 8] = b"QRATELIN";
const BYTES: usize = 40;

/// Where a cluster comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The id that its masters would have by their settings.
    pub configured: ClusterId,
    /// The cluster whose state it took over.
    pub from: ClusterId,
}

impl Lineage {
    /// What the directory says. `None`: its cluster was founded as its settings say.
    ///
    /// # Errors
    /// `Corrupt`, `OtherFormat`, or the disk's error.
    pub fn load(disk: &dyn Disk) -> Result<Option<Self>, OpenError> {
        let bytes = match read_all(disk, FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (directory, file) = (disk.location(), FILE.to_owned());
        if let Some(found) = other_format(&bytes, MAGIC) {
            return Err(OpenError::OtherFormat { directory, file, found, known: FORMAT });
        }
        let what = "magic, length or checksum are wrong".to_owned();
        Self::decode(&bytes).map(Some).ok_or(OpenError::Corrupt { directory, file, offset: 0, what })
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.configured.0.to_le_bytes());
        bytes.extend_from_slice(&self.from.0.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let body = bytes.get(..BYTES - 4).filter(|_| bytes.len() == BYTES)?;
        let mut cursor = Cursor::new(bytes);
        let magic = cursor.take(MAGIC.len())?;
        let (format, zero) = (cursor.u32()?, cursor.u32()?);
        let (configured, from) = (ClusterId(cursor.u64()?), ClusterId(cursor.u64()?));
        let zero = zero | cursor.u32()?;
        let whole = magic == MAGIC && zero == 0 && format == FORMAT && cursor.u32()? == crc32c::crc32c(body);
        whole.then_some(Self { configured, from })
    }
}

/// Brings a restore or a recovery to its end that a crash cut off, and says of which cluster this directory's master is:
/// `configured`, unless the directory comes from a cluster of that id, and is of another.
///
/// # Errors
/// Damage, or the disk's.
pub fn adopt(disk: &dyn Disk, configured: Identity) -> Result<Identity, OpenError> {
    heir::finish(disk)?;
    let lineage = Lineage::load(disk)?.filter(|lineage| lineage.configured == configured.cluster);
    let own = lineage.map(|_| Identity::load(disk)).transpose()?.flatten();
    Ok(own.map_or(configured, |own| Identity { cluster: own.cluster, ..configured }))
}
