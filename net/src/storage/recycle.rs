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
};
use crate::rt::{lock, mpsc};
use quorate_core::{
    bug::{self, Bug},
    limits,
};
use std::{
    collections::VecDeque,
    fmt, io,
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
    pub fn new(disk: Arc<dyn Disk>, segment_bytes: u64) -> Result<Self, DiskError> {
        let mut recycler = Self { disk, segment_bytes, spares: VecDeque::new(), renamed: false };
        for name in recycler.disk.list()?.into_iter().filter(|name| is_spare(name)) {
            recycler.keep(name)?;
        }
        Ok(recycler)
    }

    /// Keeps a file, if it has the right size and there are not too many.
    fn keep(&mut self, name: String) -> Result<(), DiskError> {
        let size = self.disk.size(&name)?;
        let fits = (self.segment_bytes..=self.segment_bytes.saturating_mul(2)).contains(&size);
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
        self.disk.rename(&from, &to)?;
        self.renamed = true;
        self.keep(to)
    }

    /// Makes a file ready for a segment that is to follow.
    ///
    /// # Errors
    /// The disk's. What was begun is of no harm.
    pub fn prepare(&mut self, sequence: u64) -> Result<Ready, DiskError> {
        let file = file_name(sequence);
        if self.renamed && !self.spares.is_empty() {
            self.disk.sync_dir()?;
            self.renamed = false;
        }
        let spare = self.spares.pop_front();
        let recycled = spare.is_some();
        match spare {
            Some(spare) => {
                self.disk.write_at(&spare, 0, &[0; SEGMENT_HEADER_BYTES])?;
                self.disk.sync(&spare)?;
                self.disk.rename(&spare, &file)?;
            }
            None => {
                self.disk.create(&file)?;
                match self.disk.allocate(&file, self.segment_bytes) {
                    // It grows as far as it can.
                    Err(error) if error.kind == io::ErrorKind::StorageFull => {}
                    allocated => allocated?,
                }
                self.disk.sync(&file)?;
            }
        }
        if !bug::planted(Bug::NetSegmentName) {
            self.disk.sync_dir()?;
        }
        Ok(Ready { sequence, recycled })
    }

    /// Removes what is left of a file that was to be made ready.
    ///
    /// # Errors
    /// The disk's.
    pub fn discard(&self, sequence: u64) -> Result<(), DiskError> {
        remove_if_there(&*self.disk, &file_name(sequence)).map(drop)
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

    /// Gives the work away.
    pub(super) fn give_away(&mut self) -> Option<Helper> {
        let Self::Here(_) = self else { return None };
        let (queue, chores) = mpsc::unbounded_channel();
        let done = Arc::<Mutex<Done>>::default();
        let Self::Here(recycler) = std::mem::replace(self, Self::There { queue, done: Arc::clone(&done) })
        else {
            return None;
        };
        Some(Helper { recycler, chores, done })
    }
}

/// Does a log's chores beside it, on a thread of its own.
#[derive(Debug)]
pub struct Helper {
    recycler: Recycler,
    chores: mpsc::UnboundedReceiver<Chore>,
    done: Arc<Mutex<Done>>,
}

impl Helper {
    /// Until its log is gone, or the disk fails. It blocks while it works.
    pub async fn run(mut self) {
        while let Some(chore) = self.chores.recv().await {
            if !self.work(chore) {
                return;
            }
        }
    }

    /// Does what waits. For who has no thread to give.
    pub fn run_waiting(&mut self) {
        while let Ok(chore) = self.chores.try_recv() {
            if !self.work(chore) {
                return;
            }
        }
    }

    fn work(&mut self, chore: Chore) -> bool {
        let result = match chore {
            Chore::Retire(sequence) => self.recycler.retire(sequence).map(|()| None),
            Chore::Prepare(sequence) => self.recycler.prepare(sequence).map(Some),
        };
        let mut done = lock(&self.done);
        match result {
            Ok(ready) => done.ready = ready.or(done.ready.take()),
            Err(error) => {
                tracing::error!(%error, "the next segment of the log cannot be made ready");
                done.failed = Some(error);
            }
        }
        done.failed.is_none()
    }
}
