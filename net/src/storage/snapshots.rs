//! Snapshot files beside the log.
//!
//! A snapshot is written aside, synced, renamed, and its name synced; only then older ones go. So what bears a
//! snapshot's name is whole, or damaged.

use super::{
    disk::{Disk, remove_if_there},
    error::{DiskError, StorageError},
    frames::{FramePlace, FrameReader, FrameWriter, SNAPSHOT_HEADER_BYTES, SnapshotHeader, read_chunk},
    identity::Identity,
    record::ReadError,
};
use bytes::Bytes;
use quorate_core::{
    bug::{self, Bug},
    contract::{LogPosition, Snapshot},
    limits,
    state::State,
    types::{Index, Term},
};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) const PREFIX: &str = "snapshot-";
const ASIDE: &str = ".tmp";

pub(super) fn file_name(at: LogPosition) -> String {
    format!("{PREFIX}{:016x}-{:016x}", at.term.0, at.index.0)
}

fn parse_file_name(name: &str) -> Option<LogPosition> {
    let (term, index) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let at = LogPosition { term: Term(number(term)?), index: Index(number(index)?) };
    (file_name(at) == name).then_some(at)
}

/// A snapshot that comes in chunk by chunk.
struct Receiving {
    at: LogPosition,
    writer: FrameWriter,
}

#[derive(Default)]
struct Inner {
    receiving: Option<Receiving>,
    /// A peer's snapshot that is whole and was not loaded yet: it stays, though newer ones are there.
    received: Option<LogPosition>,
    /// Where the chunks of the snapshot that was read last are.
    places: Option<(LogPosition, Arc<Vec<FramePlace>>)>,
    /// Those that were found damaged and are still there.
    damaged: BTreeSet<LogPosition>,
    /// Segments of the log that were found damaged.
    shunned: BTreeSet<u64>,
}

/// The snapshots of one data directory. Make one and share it: a clone is of the same, and may be used from another thread,
/// beside [`Storage`](super::Storage). It blocks.
#[derive(Clone)]
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    identity: Identity,
    /// One is saved at a time.
    saving: Arc<Mutex<()>>,
    inner: Arc<Mutex<Inner>>,
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SnapshotStore")
            .field("directory", &self.disk.location())
            .finish_non_exhaustive()
    }
}

impl SnapshotStore {
    /// The snapshots in this directory.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, identity: Identity) -> Self {
        Self { disk, identity, saving: Arc::default(), inner: Arc::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn directory(&self) -> (Arc<dyn Disk>, Identity) {
        (Arc::clone(&self.disk), self.identity)
    }

    /// The directory, for messages.
    #[must_use]
    pub fn location(&self) -> String {
        self.disk.location()
    }

    /// Whether a file of this name is a snapshot.
    #[must_use]
    pub fn is_snapshot(name: &str) -> bool {
        parse_file_name(name).is_some()
    }

    /// The snapshots that are there, the newest last; also those that are damaged.
    ///
    /// # Errors
    /// The disk's.
    pub fn list(&self) -> Result<Vec<LogPosition>, DiskError> {
        let mut found: Vec<_> = self.disk.list()?.iter().filter_map(|name| parse_file_name(name)).collect();
        found.sort_by_key(|at| (at.index, at.term));
        Ok(found)
    }

    /// The newest snapshot that was not found damaged.
    ///
    /// # Errors
    /// The disk's.
    pub fn newest(&self) -> Result<Option<LogPosition>, DiskError> {
        let mut found = self.list()?;
        let inner = self.inner();
        found.retain(|at| !inner.damaged.contains(at));
        Ok(found.last().copied())
    }

    /// A snapshot was found damaged: nobody is sent it, and it counts for nothing. It stays until a whole one is durable.
    pub fn set_aside(&self, at: LogPosition) {
        let mut inner = self.inner();
        inner.damaged.insert(at);
        inner.places.take_if(|places| places.0 == at);
    }

    /// A segment of the log was found damaged: when the log leaves it, nothing is written to that place of the disk again.
    pub fn shun(&self, sequence: u64) {
        self.inner().shunned.insert(sequence);
    }

    /// Whether a segment that the log leaves was found damaged. Asked once.
    pub(super) fn is_shunned(&self, sequence: u64) -> bool {
        self.inner().shunned.remove(&sequence)
    }

    /// The snapshots that were found damaged and are still there.
    #[must_use]
    pub fn damaged(&self) -> Vec<LogPosition> {
        self.inner().damaged.iter().copied().collect()
    }

    /// Makes a state durable. Takes as long as the state is large.
    ///
    /// # Errors
    /// The disk's. There is no new snapshot then, and the older ones are as they were.
    pub fn save(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.save_chunks(snapshot.at, snapshot.state.encode())
    }

    /// The same in chunks of at most so many bytes.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_in(&self, snapshot: &Snapshot, chunk_bytes: usize) -> Result<(), StorageError> {
        self.save_chunks(snapshot.at, snapshot.state.encode_in(chunk_bytes))
    }

    pub(crate) fn save_chunks(
        &self,
        at: LogPosition,
        chunks: impl Iterator<Item = Bytes>,
    ) -> Result<(), StorageError> {
        let _one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let aside = format!("{}.save{ASIDE}", file_name(at));
        let result = self.begin(at, &aside).map_err(StorageError::from).and_then(|mut writer| {
            for chunk in chunks {
                self.append(&aside, &mut writer, &chunk)?;
            }
            self.publish(at, &aside, writer)
        });
        self.give_room(result, &aside)
    }

    /// A disk that is full gets back what was written aside.
    fn give_room(&self, result: Result<(), StorageError>, aside: &str) -> Result<(), StorageError> {
        if result.as_ref().is_err_and(StorageError::may_pass) {
            remove_if_there(&*self.disk, aside)?;
        }
        result
    }

    /// Takes a chunk of a peer's snapshot. Number 0 starts over; with the last one the snapshot is durable.
    ///
    /// # Errors
    /// `ChunkOutOfOrder`, `TooLarge`, `TooNew`, or the disk's.
    pub fn store_chunk(
        &self,
        at: LogPosition,
        number: u64,
        data: &[u8],
        last: bool,
    ) -> Result<(), StorageError> {
        // Kept, it would be what this program cannot start with.
        if let Some(level) = State::newer(data).filter(|_| number == 0) {
            return Err(StorageError::TooNew { file: file_name(at), level });
        }
        let mut receiving = self.inner().receiving.take();
        if number == 0 {
            if let Some(old) = receiving.take() {
                remove_if_there(&*self.disk, &Self::received_name(old.at))?;
            }
            let aside = Self::received_name(at);
            match self.begin(at, &aside) {
                Ok(writer) => receiving = Some(Receiving { at, writer }),
                Err(error) => return self.give_room(Err(error.into()), &aside),
            }
        }
        let expected = receiving.as_ref().filter(|it| it.at == at).map_or(0, |it| it.writer.next_number());
        let Some(mut current) = receiving.take_if(|it| it.at == at && number == expected) else {
            self.inner().receiving = receiving;
            return Err(StorageError::ChunkOutOfOrder { snapshot: format!("{at:?}"), number, expected });
        };
        let aside = Self::received_name(at);
        let appended = self.append(&aside, &mut current.writer, data);
        if last && appended.is_ok() {
            self.inner().received = Some(at);
            let published = self.publish(at, &aside, current.writer);
            return self.give_room(published, &aside);
        }
        if appended.is_ok() {
            self.inner().receiving = Some(current);
        }
        self.give_room(appended, &aside)
    }

    fn received_name(at: LogPosition) -> String {
        format!("{}.received{ASIDE}", file_name(at))
    }

    fn begin(&self, at: LogPosition, aside: &str) -> Result<FrameWriter, DiskError> {
        let (writer, bytes) = FrameWriter::begin(&SnapshotHeader { identity: self.identity, at });
        remove_if_there(&*self.disk, aside)?;
        self.disk.create(aside)?;
        self.disk.append(aside, &bytes)?;
        Ok(writer)
    }

    fn append(&self, aside: &str, writer: &mut FrameWriter, chunk: &[u8]) -> Result<(), StorageError> {
        let (size, limit) = (chunk.len(), limits::SNAPSHOT_CHUNK_BYTES);
        let too_large = StorageError::TooLarge { what: "a chunk of a snapshot", size, limit };
        let bytes = writer.chunk(chunk).ok_or(too_large)?;
        Ok(self.disk.append(aside, &bytes)?)
    }

    /// Gives a snapshot that was written aside its name, then removes older ones, and those that it stands in for.
    fn publish(&self, at: LogPosition, aside: &str, writer: FrameWriter) -> Result<(), StorageError> {
        self.disk.append(aside, &writer.finish())?;
        if !bug::planted(Bug::NetSnapshotUnsynced) {
            self.disk.sync(aside)?;
        }
        self.disk.rename(aside, &file_name(at))?;
        self.disk.sync_dir()?;
        for gone in self.outlived(at)? {
            remove_if_there(&*self.disk, &file_name(gone))?;
            self.inner().damaged.remove(&gone);
        }
        Ok(self.disk.sync_dir()?)
    }

    /// The snapshots that nobody needs, with a whole one at this place.
    fn outlived(&self, at: LogPosition) -> Result<Vec<LogPosition>, DiskError> {
        let found = self.list()?;
        let mut inner = self.inner();
        inner.places = None;
        inner.damaged.retain(|known| *known != at && found.contains(known));
        let (mut damaged, mut whole): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|at| inner.damaged.contains(at));
        // Of those that stay, the newest is what a restart begins with.
        let newest = whole.pop();
        if newest != Some(at) {
            damaged.clear();
        }
        whole.sort_by_key(|&at| (Some(at) == inner.received, at.index, at.term));
        let kept = if bug::planted(Bug::NetOneSnapshot) { 1 } else { limits::SNAPSHOTS_KEPT };
        let stay = kept - usize::from(newest.is_some());
        whole.truncate(whole.len().saturating_sub(stay));
        whole.append(&mut damaged);
        Ok(whole)
    }

    /// A chunk, and whether it is the last. `None`: that snapshot is not there any more, is damaged, or has no such chunk.
    ///
    /// # Errors
    /// `Damaged`, the first time; or the disk's.
    pub fn read_chunk(&self, at: LogPosition, number: u64) -> Result<Option<(Bytes, bool)>, StorageError> {
        if self.inner().damaged.contains(&at) {
            return Ok(None);
        }
        let read = self.read_known(at, number);
        if let Err(StorageError::Damaged { .. }) = &read {
            self.set_aside(at);
        }
        read
    }

    fn read_known(&self, at: LogPosition, number: u64) -> Result<Option<(Bytes, bool)>, StorageError> {
        let file = file_name(at);
        let read = |offset, length| self.disk.read(&file, offset, length);
        let known =
            self.inner().places.as_ref().filter(|known| known.0 == at).map(|known| Arc::clone(&known.1));
        let places = match known {
            Some(places) => places,
            None => {
                let mut places = Vec::new();
                let Some(mut reader) = self.present(at, self.reader(at, &file, read))? else {
                    return Ok(None);
                };
                while let Some(place) = reader.skip().map_err(|error| damaged(at, error))? {
                    places.push(place);
                }
                let places = Arc::new(places);
                self.inner().places = Some((at, Arc::clone(&places)));
                places
            }
        };
        let wanted = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(place) = places.get(wanted) else { return Ok(None) };
        let chunk = self.present(at, read_chunk(read, place))?;
        Ok(chunk.map(|chunk| (chunk, wanted + 1 == places.len())))
    }

    /// Begins to read a file, and makes sure that it is the one it should be.
    fn reader<R>(&self, at: LogPosition, file: &str, read: R) -> Result<FrameReader<R>, ReadError>
    where
        R: FnMut(u64, usize) -> Result<Vec<u8>, DiskError>,
    {
        let (header, reader) = FrameReader::begin(read)?;
        if header == (SnapshotHeader { identity: self.identity, at }) {
            return Ok(reader);
        }
        let what = format!("it is snapshot {:?} of {:?}, not {file}", header.at, header.identity);
        Err(super::record::Flaw::wrong(0, what).into())
    }

    /// `None` for a snapshot that is not there.
    fn present<T>(&self, at: LogPosition, result: Result<T, ReadError>) -> Result<Option<T>, StorageError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Disk(error)) if error.is_missing() => Ok(None),
            Err(error) => Err(damaged(at, error)),
        }
    }

    /// The state in a snapshot. `None`: that snapshot is not there any more.
    ///
    /// # Errors
    /// `TooNew`, `Damaged`, or the disk's.
    pub fn load(&self, at: LogPosition) -> Result<Option<State>, StorageError> {
        self.inner().received.take_if(|received| *received == at);
        let loaded = self.decode(at);
        if let Err(StorageError::Damaged { .. }) = &loaded {
            self.set_aside(at);
        }
        loaded
    }

    fn decode(&self, at: LogPosition) -> Result<Option<State>, StorageError> {
        let (mut first, mut newer) = (true, None);
        let decoded = self.load_chunks(at, |chunks| {
            State::decode(chunks.inspect(|chunk| {
                if core::mem::take(&mut first) {
                    newer = State::newer(chunk);
                }
            }))
        })?;
        if let (Some(Err(_)), Some(level)) = (&decoded, newer) {
            return Err(StorageError::TooNew { file: file_name(at), level });
        }
        decoded.transpose().map_err(|error| StorageError::Damaged {
            file: file_name(at),
            offset: SNAPSHOT_HEADER_BYTES as u64,
            what: format!("the state does not decode: {error}"),
        })
    }

    /// Hands the chunks to `take`, one by one. What it makes of them counts only if all of them were right.
    pub(crate) fn load_chunks<T>(
        &self,
        at: LogPosition,
        take: impl FnOnce(&mut dyn Iterator<Item = Bytes>) -> T,
    ) -> Result<Option<T>, StorageError> {
        let file = file_name(at);
        let read = |offset, length| self.disk.read(&file, offset, length);
        let Some(reader) = self.present(at, self.reader(at, &file, read))? else { return Ok(None) };
        self.present(at, reader.take(take))
    }

    /// Reads a whole snapshot and keeps nothing but the state's hash, with which every state ends. `None`: that snapshot is
    /// not there any more, or too short to have one.
    ///
    /// # Errors
    /// `Damaged`, or the disk's.
    pub fn check(&self, at: LogPosition) -> Result<Option<u128>, StorageError> {
        const HASH: usize = size_of::<u128>();
        let mut end = Vec::new();
        let found = self.load_chunks(at, |chunks| {
            for chunk in chunks {
                end.extend_from_slice(&chunk[chunk.len().saturating_sub(HASH)..]);
                end.drain(..end.len().saturating_sub(HASH));
            }
        })?;
        let hash = end.as_slice().try_into().ok().map(u128::from_le_bytes);
        Ok(found.and(hash))
    }

    /// Removes what was being written aside when the process ended.
    ///
    /// # Errors
    /// The disk's.
    pub fn clean(&self) -> Result<(), DiskError> {
        for name in self.disk.list()?.iter().filter(|name| name.ends_with(ASIDE)) {
            remove_if_there(&*self.disk, name)?;
        }
        Ok(())
    }
}

fn damaged(at: LogPosition, error: ReadError) -> StorageError {
    match error {
        ReadError::Disk(error) if error.is_unreadable() => {
            StorageError::Damaged { file: file_name(at), offset: 0, what: error.message }
        }
        ReadError::Disk(error) => StorageError::Disk(error),
        ReadError::Flaw(flaw) => {
            StorageError::Damaged { file: file_name(at), offset: flaw.offset, what: flaw.what }
        }
    }
}
