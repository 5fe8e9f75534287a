//! Files for segments that are not begun yet: made before they are needed, if possible of segments that are not needed any
//! more.
//!
//! What is taken out of the log gets another name. Only when that is durable it may be used again: its header is wiped,
//! then it gets the name of the next segment, and only when that is durable anything is written to it. So whatever
//! bears a segment's name is that segment, or one that was not begun; and what is left in it from before never verifies.

use super::{
    disk::{Disk, remove_if_there},
    error::DiskError,
    segment::{SEGMENT_HEADER_BYTES, file_name, parse_file_name},
    snapshots::SnapshotStore,
};
use crate::{
    limits::PREPARE_RETRY,
    rt::{lock, mpsc, timeout},
};
use quorate_core::{
    bug::{self, Bug},
    limits,
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex},
};

const PREFIX: &str = "spare-";

/// The name of a file that was a segment.
#[must_use]
pub fn spare_name(sequence: u64) -> String {
    format!("{PREFIX}{sequence:016x}")
}

/// Whether a file of this name is one that was a segment.
#[must_use]
pub fn is_spare(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|digits| parse_file_name(&format!("wal-{digits}")).is_some())
}

/// A file that a segment can be written to: it has its name for sure, and nothing in it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The segment's number.
    pub sequence: u64,
    /// It was another segment before.
    pub recycled: bool,
}

/// Makes files ready, and takes them back.
pub struct Recycler {
    disk: Arc<dyn Disk>,
    /// It knows which segments are damaged.
    snapshots: SnapshotStore,
    /// How large a file is made, in bytes.
    segment_bytes: u64,
    /// Files that may be used again once their names are durable.
    spares: VecDeque<String>,
    /// A name changed since the directory was synced.
    renamed: bool,
}

impl fmt::Debug for Recycler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Recycler")
            .field("segment_bytes", &self.segment_bytes)
            .field("spares", &self.spares)
            .finish_non_exhaustive()
    }
}

impl Recycler {
    /// Takes what spares a directory has. Their names must be durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(snapshots: SnapshotStore, segment_bytes: u64) -> Result<Self, DiskError> {
        let (disk, _) = snapshots.directory();
        let mut recycler = Self { disk, snapshots, segment_bytes, spares: VecDeque::new(), renamed: false };
        for name in recycler.disk.list()?.into_iter().filter(|name| is_spare(name)) {
            recycler.keep(name)?;
        }
        Ok(recycler)
    }

    /// Keeps a file, if it has the right size and there are not too many.
    fn keep(&mut self, name: String) -> Result<(), DiskError> {
        let size = self.disk.size(&name)?;
        let fits = (self.segment_bytes..=self.segment_bytes.saturating_mul(limits::WAL_SEGMENT_STRETCH))
            .contains(&size);
        if fits && self.spares.len() < limits::WAL_SPARE_SEGMENTS {
            self.spares.push_back(name);
            return Ok(());
        }
        self.disk.remove(&name)
    }

    /// Takes a segment out of the log. If a loss of power brings it back, nobody minds: what it says is read again and
    /// overruled, or, behind a gap, not read.
    ///
    /// # Errors
    /// The disk's.
    pub fn retire(&mut self, sequence: u64) -> Result<(), DiskError> {
        let (from, to) = (file_name(sequence), spare_name(sequence));
        if self.snapshots.is_shunned(sequence) {
            return self.disk.remove(&from);
        }
        self.disk.rename(&from, &to)?;
        self.renamed = true;
        self.keep(to)
    }

    /// Makes a file ready for a segment that is begun at once: one that has no room of its own yet grows as far as it can.
    ///
    /// # Errors
    /// The disk's. What was begun is of no harm.
    pub fn prepare(&mut self, sequence: u64) -> Result<Ready, DiskError> {
        self.make(sequence, false)
    }

    /// Makes a file ready, with all its room, for a segment that is to follow and was not begun.
    ///
    /// # Errors
    /// The disk's. What was begun is of no harm; and if there was no room, it may be tried again.
    pub fn prepare_whole(&mut self, sequence: u64) -> Result<Ready, DiskError> {
        // What a try left for which there was no room, not even to take it back.
        remove_if_there(&*self.disk, &file_name(sequence))?;
        let made = self.make(sequence, true);
        if made.as_ref().is_err_and(DiskError::may_pass) {
            // It may hold room, and the segment before it may need that.
            remove_if_there(&*self.disk, &file_name(sequence))?;
        }
        made
    }

    /// Writes zeros everywhere: a file system that has only set room aside notes at each sync which of it was written for the
    /// first time, which takes as long as the sync itself.
    fn fill(&self, file: &str) -> Result<(), DiskError> {
        let zeros = vec![0; limits::WAL_READ_BYTES];
        let mut at = 0;
        while at < self.segment_bytes {
            let left = usize::try_from(self.segment_bytes - at).unwrap_or(usize::MAX);
            let piece = &zeros[..left.min(zeros.len())];
            self.disk.write_at(file, at, piece)?;
            // Piece by piece: what the log syncs meanwhile must not wait for all of it.
            self.disk.sync(file)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn make(&mut self, sequence: u64, whole: bool) -> Result<Ready, DiskError> {
        let file = file_name(sequence);
        if self.renamed && !self.spares.is_empty() {
            self.disk.sync_dir()?;
            self.renamed = false;
        }
        let recycled = !self.spares.is_empty();
        match self.spares.front() {
            Some(spare) => {
                self.disk.write_at(spare, 0, &[0; SEGMENT_HEADER_BYTES])?;
                self.disk.sync(spare)?;
                self.disk.rename(spare, &file)?;
                self.spares.pop_front();
            }
            None => {
                self.disk.create(&file)?;
                match self.disk.allocate(&file, self.segment_bytes) {
                    Err(error) if error.is_full() && !whole => {}
                    allocated => allocated?,
                }
                if whole {
                    self.fill(&file)?;
                }
                self.disk.sync(&file)?;
            }
        }
        if !bug::planted(Bug::NetSegmentName) {
            self.disk.sync_dir()?;
        }
        Ok(Ready { sequence, recycled })
    }
}

/// Work that no write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    Retire(u64),
    Prepare(u64),
}

#[derive(Debug, Default)]
pub(super) struct Done {
    ready: Option<Ready>,
    /// There is no room for the next segment, for now.
    full: Option<DiskError>,
    failed: Option<DiskError>,
}

/// Where a log's chores are done: in place, or by a [`Helper`].
#[derive(Debug)]
pub(super) enum Chores {
    Here(Recycler),
    There { queue: mpsc::UnboundedSender<Chore>, done: Arc<Mutex<Done>> },
}

impl Chores {
    /// Takes a segment out of the log, at some time.
    pub(super) fn retire(&mut self, sequence: u64) -> Result<(), DiskError> {
        match self {
            Self::Here(recycler) => recycler.retire(sequence),
            Self::There { queue, .. } => {
                // Without its helper, at the next start.
                let _ = queue.send(Chore::Retire(sequence));
                Ok(())
            }
        }
    }

    /// Asks for a file for this segment.
    pub(super) fn ask(&self, sequence: u64) {
        if let Self::There { queue, .. } = self {
            let _ = queue.send(Chore::Prepare(sequence));
        }
    }

    /// Whether a file for this segment can be had at once.
    pub(super) fn has(&self, sequence: u64) -> bool {
        match self {
            Self::Here(_) => true,
            Self::There { done, .. } => lock(done).ready.is_some_and(|ready| ready.sequence == sequence),
        }
    }

    /// The file for this segment: the one that was asked for, or one made in place.
    pub(super) fn take(&mut self, sequence: u64) -> Result<Option<Ready>, DiskError> {
        match self {
            Self::Here(recycler) => recycler.prepare(sequence).map(Some),
            Self::There { done, .. } => Ok(lock(done).ready.take_if(|ready| ready.sequence == sequence)),
        }
    }

    /// An error of the helper, which is as final as one of a write: a sync that failed says something of the whole disk.
    pub(super) fn check(&self) -> Result<(), DiskError> {
        match self {
            Self::Here(_) => Ok(()),
            Self::There { done, .. } => lock(done).failed.clone().map_or(Ok(()), Err),
        }
    }

    /// Why the next segment cannot be had for now, if that is for want of room.
    pub(super) fn full(&self) -> Option<DiskError> {
        match self {
            Self::Here(_) => None,
            Self::There { done, .. } => lock(done).full.clone(),
        }
    }

    /// Gives the work away.
    pub(super) fn give_away(&mut self) -> Option<Helper> {
        let Self::Here(_) = self else { return None };
        if bug::planted(Bug::NetSegmentInPlace) {
            return None;
        }
        let (queue, chores) = mpsc::unbounded_channel();
        let done = Arc::<Mutex<Done>>::default();
        let Self::Here(recycler) = std::mem::replace(self, Self::There { queue, done: Arc::clone(&done) })
        else {
            return None;
        };
        Some(Helper { recycler, chores, later: None, done })
    }
}

/// Does a log's chores beside it, on a thread of its own.
#[derive(Debug)]
pub struct Helper {
    recycler: Recycler,
    chores: mpsc::UnboundedReceiver<Chore>,
    /// The segment that there was no room for.
    later: Option<u64>,
    done: Arc<Mutex<Done>>,
}

impl Helper {
    /// Until its log is gone, or the disk fails. It blocks while it works. What there is no room for is tried again when a segment
    /// is taken out of the log, and after a while.
    pub async fn run(mut self) {
        while let Some(chore) = self.next().await {
            if !self.work(chore) || !self.try_again(chore) {
                return;
            }
        }
    }

    /// Does what waits. For who has no thread to give.
    pub fn run_waiting(&mut self) {
        if let Some(sequence) = self.later
            && !self.work(Chore::Prepare(sequence))
        {
            return;
        }
        while let Ok(chore) = self.chores.try_recv() {
            if !self.work(chore) || !self.try_again(chore) {
                return;
            }
        }
    }

    async fn next(&mut self) -> Option<Chore> {
        let Some(later) = self.later else { return self.chores.recv().await };
        let found = timeout(PREPARE_RETRY, self.chores.recv()).await;
        found.unwrap_or(Some(Chore::Prepare(later)))
    }

    /// There may be room behind another chore.
    fn try_again(&mut self, done: Chore) -> bool {
        match (self.later, done) {
            (Some(sequence), Chore::Retire(_)) => self.work(Chore::Prepare(sequence)),
            _ => true,
        }
    }

    fn work(&mut self, chore: Chore) -> bool {
        let result = match chore {
            Chore::Retire(sequence) => self.recycler.retire(sequence).map(|()| None),
            Chore::Prepare(sequence) => self.recycler.prepare_whole(sequence).map(Some),
        };
        let mut done = lock(&self.done);
        match (chore, result) {
            (Chore::Retire(_), Ok(_)) => {}
            (Chore::Prepare(_), Ok(ready)) => {
                (done.ready, done.full, self.later) = (ready, None, None);
            }
            // Its segment is taken out at the next start.
            (Chore::Retire(_), Err(error)) if error.may_pass() => {
                tracing::warn!(%error, "there is no room to take a segment out of the log");
            }
            (Chore::Prepare(sequence), Err(error)) if error.may_pass() => {
                if done.full.is_none() {
                    tracing::warn!(%error, "there is no room for the next segment of the log; the last one goes on");
                }
                (done.full, self.later) = (Some(error), Some(sequence));
            }
            (_, Err(error)) => {
                tracing::error!(%error, "the next segment of the log cannot be made ready");
                done.failed = Some(error);
            }
        }
        done.failed.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn only_want_of_room_may_pass_and_not_if_a_sync_failed_for_it() {
        use io::ErrorKind::{Other, PermissionDenied, QuotaExceeded, StorageFull};
        let passes = |operation, kind: io::ErrorKind| DiskError::new(operation, "f", &kind.into()).may_pass();
        for operation in ["create", "allocate", "write to", "rename", "remove"] {
            assert!(passes(operation, StorageFull) && passes(operation, QuotaExceeded), "{operation}");
            assert!(!passes(operation, Other) && !passes(operation, PermissionDenied), "{operation}");
        }
        assert!(!passes("sync", StorageFull) && !passes("sync", QuotaExceeded));
    }
}
