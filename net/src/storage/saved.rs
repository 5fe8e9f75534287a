//! A snapshot file anywhere: one that was streamed out of a cluster, or copied out of a data directory.

use super::{
    error::DiskError,
    frames::{FrameReader, SNAPSHOT_HEADER_BYTES, SnapshotHeader, begins_as_snapshot, snapshot_other_format},
    identity::FORMAT,
    record::ReadError,
};
use quorate_core::state::State;

/// A snapshot file that was read whole: every checksum in it is right, and so is the state's hash.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Of which cluster, written by whom, and up to which entry.
    pub header: SnapshotHeader,
    /// The state.
    pub state: State,
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// The disk failed, or there is no such file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is something else.
    #[error("{file} is no snapshot of a quorate cluster: it does not begin as one")]
    Foreign {
        /// The file.
        file: String,
    },
    /// Another version wrote it.
    #[error("{file} has format {found}, this version reads format {FORMAT}: use the version that wrote it")]
    OtherFormat {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// It is not as it was written.
    #[error("{file} is damaged at byte {offset} ({what}): use another copy, or another snapshot")]
    Damaged {
        /// The file.
        file: String,
        /// Where, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// It is as it was written, and no state.
    #[error(
        "{file} cannot be read though all its checksums are right ({what}): a newer version may have written it"
    )]
    State {
        /// The file.
        file: String,
        /// What does not decode.
        what: String,
    },
}

/// Reads a whole snapshot file, and believes nothing of it. `read` gives up to so many bytes from an offset on, fewer only at
/// the end. Holds the state, and one chunk at a time.
///
/// # Errors
/// What is wrong, and where.
pub fn read_saved(
    file: &str,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>, DiskError>,
) -> Result<Saved, SavedError> {
    let begin = read(0, SNAPSHOT_HEADER_BYTES)?;
    let file = file.to_owned();
    if !begins_as_snapshot(&begin) {
        return Err(SavedError::Foreign { file });
    }
    if let Some(found) = snapshot_other_format(&begin) {
        return Err(SavedError::OtherFormat { file, found });
    }
    let damaged = |error: ReadError| match error {
        ReadError::Disk(error) => SavedError::Disk(error),
        ReadError::Flaw(flaw) => {
            SavedError::Damaged { file: file.clone(), offset: flaw.offset, what: flaw.what }
        }
    };
    let (header, reader) = FrameReader::begin(read).map_err(damaged)?;
    let decoded = reader.take(|chunks| State::decode(chunks)).map_err(damaged)?;
    let state = decoded.map_err(|error| SavedError::State { file: file.clone(), what: error.to_string() })?;
    if state.index() != header.at.index {
        let what = format!("its header says entry {}, its state {}", header.at.index, state.index());
        return Err(SavedError::State { file, what });
    }
    Ok(Saved { header, state })
}

/// The same, of a file of the system.
///
/// # Errors
/// As [`read_saved`].
#[cfg(not(madsim))]
pub fn read_saved_file(path: &std::path::Path) -> Result<Saved, SavedError> {
    use std::{fs::File, os::unix::fs::FileExt as _};
    let name = path.display().to_string();
    let failed = |error: &std::io::Error| DiskError::new("read", &name, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let size = file.metadata().map_err(|error| failed(&error))?.len();
    read_saved(&name, |offset, length| {
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        file.read_exact_at(&mut bytes, offset).map_err(|error| failed(&error))?;
        Ok(bytes)
    })
}
