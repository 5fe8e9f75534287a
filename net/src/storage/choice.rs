//! Which snapshot a start begins with.
//!
//! The newest one, unless it is damaged: then an older one does just as well, if the log holds every entry behind it. Nothing
//! that was promised is undone by that, because votes, terms and entries are in the log alone. So does no snapshot at all,
//! if the log goes back to its very first entry.
//!
//! A log begins a little in front of the newest snapshot, but its files begin earlier: one goes when nothing in it is needed.
//! What is left in them of what is behind an older snapshot is as good as the rest; it was committed, and every byte is
//! checked. Then the whole log is written anew, with one sync, so that from there on it is a log like any other.

use super::{
    error::{DiskError, OpenError, StorageError},
    frames::{SNAPSHOT_HEADER_BYTES, SnapshotHeader, snapshot_other_format},
    identity::FORMAT,
    recovery::{Recovery, checked, recover, recover_from},
    shape::Shape,
    snapshots::{PREFIX, SnapshotStore, file_name},
};
use quorate_core::{contract::LogPosition, limits, types::Index};

/// What a start begins with.
#[derive(Debug)]
pub struct Choice<T> {
    /// The snapshot, and what was made of it. `None`: there is none, and the log holds everything.
    pub snapshot: Option<(LogPosition, T)>,
    /// Newer ones, which are damaged, and why. The store knows them as such.
    pub damaged: Vec<StorageError>,
    /// The log holds more than it would otherwise: it must be written anew.
    pub longer: bool,
}

/// Reads the log, and chooses a snapshot for it. Nothing is changed on the disk.
///
/// # Errors
/// As [`recover`], [`checked`] and [`choose`].
pub fn begin<T>(
    snapshots: &SnapshotStore,
    mut load: impl FnMut(&SnapshotStore, LogPosition) -> Result<Option<T>, StorageError>,
) -> Result<(Recovery, Choice<T>), OpenError> {
    let (disk, identity) = snapshots.directory();
    let recovery = checked(snapshots, recover(&*disk, identity)?)?;
    let refused = match choose(snapshots, &recovery.content.shape, &mut load) {
        Ok(choice) => return Ok((recovery, choice)),
        Err(error) => error,
    };
    let start = recovery.content.shape.start.index;
    drop(recovery);
    if !matches!(refused, OpenError::Corrupt { .. }) {
        return Err(refused);
    }
    // In a young cluster the files go back to the first entry.
    let oldest = snapshots.list()?.first().map(|at| at.index);
    for keep in oldest.into_iter().chain([Index(0)]).filter(|keep| *keep < start) {
        let Ok(Some(longer)) = recover_from(&*disk, identity, Some(keep)) else { break };
        let bytes: usize = longer.content.entries.iter().map(|entry| entry.data.len()).sum();
        if bytes as u64 > limits::WAL_SEGMENT_BYTES {
            break;
        }
        if let Ok(choice) = choose(snapshots, &longer.content.shape, &mut load) {
            return Ok((longer, Choice { longer: true, ..choice }));
        }
    }
    Err(refused)
}

/// Tries one snapshot after the other, the newest first. Nothing is changed on the disk.
///
/// # Errors
/// The newest one is damaged, and nothing stands in for it; or it is another's, or of a format or a level that is not known;
/// or the disk's.
pub fn choose<T>(
    snapshots: &SnapshotStore,
    shape: &Shape,
    mut load: impl FnMut(&SnapshotStore, LogPosition) -> Result<Option<T>, StorageError>,
) -> Result<Choice<T>, OpenError> {
    let (mut damaged, mut refused) = (Vec::new(), None);
    for (older, at) in snapshots.list()?.into_iter().rev().enumerate() {
        if older > 0 && !shape.holds(at) {
            continue;
        }
        let error = match load(snapshots, at) {
            Ok(Some(loaded)) => return Ok(Choice { snapshot: Some((at, loaded)), damaged, longer: false }),
            Ok(None) => continue,
            Err(error) => error,
        };
        let open_error = snapshots.open_error(error.clone());
        if !matches!(open_error, OpenError::Corrupt { .. }) || snapshots.is_anothers(at)? {
            return Err(refused.unwrap_or(open_error));
        }
        snapshots.set_aside(at);
        damaged.push(error);
        refused.get_or_insert(open_error);
    }
    match refused {
        Some(error) if shape.start != LogPosition::default() => Err(error),
        _ => Ok(Choice { snapshot: None, damaged, longer: false }),
    }
}

impl<T> Choice<T> {
    /// Tells the operator of what is damaged: the master runs, but its disk does not keep what is written to it.
    pub(super) fn tell(&self) {
        let begins = match &self.snapshot {
            Some((at, _)) => format!("the snapshot of entry {}", at.index),
            None => "the first entry of the log".to_owned(),
        };
        for error in &self.damaged {
            tracing::error!(
                %error, %begins,
                "a snapshot is damaged: this start goes on from an older state and the log, which holds all that came behind it; \
                 the state is written anew, and then the file goes; look at the disk, and if this happens again replace it: \
                 `quorate member replace`"
            );
        }
    }
}

impl SnapshotStore {
    /// Whether a file is as it was written, and is not the snapshot that its name says, or not of this directory.
    ///
    /// # Errors
    /// The disk's.
    fn is_anothers(&self, at: LogPosition) -> Result<bool, DiskError> {
        let (disk, identity) = self.directory();
        let begin = match disk.read(&file_name(at), 0, SNAPSHOT_HEADER_BYTES) {
            Err(error) if error.is_unreadable() => return Ok(false),
            begin => begin?,
        };
        let own = SnapshotHeader { identity, at };
        Ok(SnapshotHeader::decode(&begin).is_some_and(|(header, _)| header != own))
    }

    /// What a failure to read a snapshot means when a directory is opened.
    #[must_use]
    pub fn open_error(&self, error: StorageError) -> OpenError {
        let directory = self.location();
        match error {
            StorageError::Disk(error) => OpenError::Disk(error),
            StorageError::TooNew { file, level } => OpenError::TooNew { directory, file, level },
            StorageError::Damaged { file, offset, what } => {
                let begin = self.directory().0.read(&file, 0, SNAPSHOT_HEADER_BYTES).unwrap_or_default();
                match snapshot_other_format(&begin) {
                    Some(found) => OpenError::OtherFormat { directory, file, found, known: FORMAT },
                    None => OpenError::Corrupt { directory, file, offset, what },
                }
            }
            StorageError::Refused(_)
            | StorageError::ChunkOutOfOrder { .. }
            | StorageError::TooLarge { .. } => {
                let what = error.to_string();
                OpenError::Corrupt { directory, file: PREFIX.to_owned(), offset: 0, what }
            }
        }
    }
}
