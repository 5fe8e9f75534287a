//! Making a data directory of a new cluster, in an empty directory or in place of what is there, in one step.
//!
//! Everything is written aside and synced. Then a file `heir` gets its name: from there on the directory is the new one, and
//! whoever opens it gives the files their names, removes those of the old one, and `heir` last. A crash before leaves what was
//! there; a crash after is made up for by the next start.

use super::{
    batch::BatchWriter,
    disk::{Disk, read_all, remove_if_there},
    error::{DiskError, OpenError, StorageError},
    frames::{FrameWriter, SnapshotHeader},
    identity::{self, FORMAT, Identity},
    lineage::{self, Lineage},
    record::Cursor,
    recycle,
    segment::{self, Checkpoint, Point, SegmentHeader},
    snapshots,
};
use quorate_core::{
    bug::{self, Bug},
    contract::{HardState, LogPosition, Voters},
    limits,
    state::State,
    types::{Index, Term},
};

/// The file that says that the directory is the new one.
pub const FILE: &str = "heir";
const FILE_ASIDE: &str = "heir.tmp";
const SNAPSHOT: &str = "heir-snapshot.tmp";
const SEGMENT: &str = "heir-wal.tmp";
const LINEAGE: &str = "heir-lineage.tmp";
const IDENTITY: &str = "heir-identity.tmp";
const MAGIC: &[u8; 8] = b"QRATHEIR";
const BYTES: usize = 40;
/// The number of the new log's first segment.
const FIRST: u64 = 1;

/// What a new directory holds.
#[derive(Clone, Debug)]
pub struct Heir {
    /// Whose it is. Another cluster and another storage id than those of what was there.
    pub identity: Identity,
    /// Where its cluster comes from.
    pub lineage: Lineage,
    /// Behind which entry its log begins.
    pub at: LogPosition,
    /// The state there.
    pub state: State,
    /// The directories that decide; empty if the cluster has yet to begin.
    pub voters: Voters,
}

/// Whether a file is something that an unfinished [`install`] left before it counted.
#[must_use]
pub fn is_aside(name: &str) -> bool {
    [FILE_ASIDE, SNAPSHOT, SEGMENT, LINEAGE, IDENTITY].contains(&name)
}

/// Whether the directory is a new one whose files do not have their names yet.
///
/// # Errors
/// The disk's.
pub fn is_pending(disk: &dyn Disk) -> Result<bool, DiskError> {
    match disk.size(FILE) {
        Ok(_) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the directory the new one. What was in it of a master is gone then.
///
/// # Errors
/// The disk's. The directory is the old one, or, if [`is_pending`], the new one.
pub fn install(disk: &dyn Disk, heir: &Heir) -> Result<(), StorageError> {
    for name in disk.list()?.iter().filter(|name| is_aside(name)) {
        disk.remove(name)?;
    }
    write_snapshot(disk, heir)?;
    write(disk, SEGMENT, &first_segment(heir))?;
    write(disk, LINEAGE, &heir.lineage.encode())?;
    write(disk, IDENTITY, &heir.identity.encode())?;
    write(disk, FILE_ASIDE, &encode(heir.at))?;
    // The names of what was written aside must be there for sure before it counts.
    if !bug::planted(Bug::NetHeirEarly) {
        disk.sync_dir()?;
    }
    disk.rename(FILE_ASIDE, FILE)?;
    disk.sync_dir()?;
    give_names(disk, heir.at)?;
    Ok(())
}

/// Brings an [`install`] to its end that counts already. False: there is none.
///
/// # Errors
/// `Corrupt`, or the disk's.
pub fn finish(disk: &dyn Disk) -> Result<bool, OpenError> {
    if !is_pending(disk)? {
        return Ok(false);
    }
    let bytes = read_all(disk, FILE)?;
    let (directory, file) = (disk.location(), FILE.to_owned());
    if let Some(found) = identity::other_format(&bytes, MAGIC) {
        return Err(OpenError::OtherFormat { directory, file, found, known: FORMAT });
    }
    let what = "magic, length or checksum are wrong".to_owned();
    let at = decode(&bytes).ok_or(OpenError::Corrupt { directory, file, offset: 0, what })?;
    give_names(disk, at)?;
    Ok(true)
}

/// Can be cut off and done again at any place.
fn give_names(disk: &dyn Disk, at: LogPosition) -> Result<(), DiskError> {
    let (snapshot, segment) = (snapshots::file_name(at), segment::file_name(FIRST));
    let names =
        [(SNAPSHOT, &*snapshot), (SEGMENT, &*segment), (LINEAGE, lineage::FILE), (IDENTITY, identity::FILE)];
    for (from, to) in names {
        match disk.rename(from, to) {
            Err(error) if !error.is_missing() => return Err(error),
            // It has its name already.
            Ok(()) | Err(_) => {}
        }
    }
    for name in disk.list()? {
        let old = segment::parse_file_name(&name).is_some()
            || snapshots::SnapshotStore::is_snapshot(&name)
            || recycle::is_spare(&name);
        if old && name != snapshot && name != segment {
            remove_if_there(disk, &name)?;
        }
    }
    disk.sync_dir()?;
    disk.remove(FILE)?;
    disk.sync_dir()
}

fn write(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    disk.create(name)?;
    disk.append(name, bytes)?;
    disk.sync(name)
}

fn write_snapshot(disk: &dyn Disk, heir: &Heir) -> Result<(), StorageError> {
    let (mut writer, bytes) = FrameWriter::begin(&SnapshotHeader { identity: heir.identity, at: heir.at });
    disk.create(SNAPSHOT)?;
    disk.append(SNAPSHOT, &bytes)?;
    for chunk in heir.state.encode() {
        let (size, limit) = (chunk.len(), limits::SNAPSHOT_CHUNK_BYTES);
        let too_large = StorageError::TooLarge { what: "a chunk of a snapshot", size, limit };
        disk.append(SNAPSHOT, &writer.chunk(&chunk).ok_or(too_large)?)?;
    }
    disk.append(SNAPSHOT, &writer.finish())?;
    Ok(disk.sync(SNAPSHOT)?)
}

/// A log that holds nothing, and begins behind the snapshot.
fn first_segment(heir: &Heir) -> Vec<u8> {
    let LogPosition { term, index } = heir.at;
    let header = SegmentHeader {
        identity: heir.identity,
        sequence: FIRST,
        first: index.next(),
        previous: Point::default(),
        recycled: false,
    };
    let checkpoint = Checkpoint {
        hard_state: HardState { term, vote: None, commit: index },
        start: heir.at,
        end: heir.at,
        voters: heir.voters.clone(),
    };
    let (mut bytes, checksum) = header.encode();
    let mut batch = BatchWriter::new(header.place(), bytes.len() as u64, Vec::new());
    batch.checkpoint(&checkpoint);
    let (batch, _) = batch.finish(checksum, None);
    bytes.extend_from_slice(&batch);
    bytes
}

fn encode(at: LogPosition) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&at.term.0.to_le_bytes());
    bytes.extend_from_slice(&at.index.0.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<LogPosition> {
    let body = bytes.get(..BYTES - 4).filter(|_| bytes.len() == BYTES)?;
    let mut cursor = Cursor::new(bytes);
    let magic = cursor.take(MAGIC.len())?;
    let (format, zero) = (cursor.u32()?, cursor.u32()?);
    let at = LogPosition { term: Term(cursor.u64()?), index: Index(cursor.u64()?) };
    let zero = zero | cursor.u32()?;
    let whole = magic == MAGIC && zero == 0 && format == FORMAT && cursor.u32()? == crc32c::crc32c(body);
    whole.then_some(at)
}
