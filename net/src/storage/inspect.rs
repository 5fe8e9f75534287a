//! Looking into a data directory that no server uses: what is in its log, whether it is whole, and cutting off what a crash
//! left.

use super::{
    batch::Record,
    choice::begin,
    disk::Disk,
    error::{DiskError, OpenError},
    heir,
    identity::{FILE, FORMAT, Identity},
    record::{Flaw, ReadError},
    recovery::{Recovery, Torn, checked, recover},
    scan::Scan,
    segment::{SEGMENT_HEADER_BYTES, SegmentHeader, file_name, parse_file_name, segment_other_format},
    snapshots::SnapshotStore,
};
use bytes::Bytes;
use quorate_core::{
    contract::{HardState, LogPosition},
    types::{Index, Term},
};
use std::{collections::BTreeMap, io, ops::RangeInclusive, sync::Arc};

/// One line of a dump: a record, or an entry of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The file.
    pub file: String,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its size in the file, in bytes; of an entry, the size of its data.
    pub size: u64,
    /// What it is.
    pub kind: &'static str,
    /// Its index: of an entry, or where the log begins or ends by it.
    pub index: Option<Index>,
    /// Its term.
    pub term: Option<Term>,
    /// The rest, in words.
    pub text: String,
    /// The data of an entry.
    pub data: Option<Bytes>,
}

impl Line {
    fn new(file: &str, offset: u64, size: u64, kind: &'static str, text: String) -> Self {
        Self { file: file.to_owned(), offset, size, kind, index: None, term: None, text, data: None }
    }

    fn at(self, at: LogPosition) -> Self {
        Self { index: Some(at.index), term: Some(at.term), ..self }
    }
}

fn missing(directory: String) -> OpenError {
    let error = io::Error::new(
        io::ErrorKind::NotFound,
        "there is no such file: this is no data directory of a master",
    );
    OpenError::Disk(DiskError::new("read", &format!("{directory}/{FILE}"), &error))
}

/// Whose directory it is, if it is a master's.
pub(super) fn identity(disk: &dyn Disk) -> Result<Identity, OpenError> {
    if heir::is_pending(disk)? {
        return Err(OpenError::Unfinished { directory: disk.location() });
    }
    Identity::load(disk)?.ok_or_else(|| missing(disk.location()))
}

/// Hands every record of every segment to `each`, in the order of the files, also of those that do not count any more.
/// Damage ends a file, not the dump. With `only`, just the entries of these indexes.
///
/// # Errors
/// The directory is no master's, or the disk's errors, or what `each` says.
pub fn dump<E: From<OpenError>>(
    disk: &dyn Disk,
    only: Option<RangeInclusive<Index>>,
    mut each: impl FnMut(Line) -> Result<(), E>,
) -> Result<(), E> {
    identity(disk)?;
    let failed = |error: DiskError| E::from(OpenError::Disk(error));
    for name in disk.list().map_err(failed)? {
        let Some(sequence) = parse_file_name(&name) else { continue };
        let read = |offset, length| disk.read(&name, offset, length);
        let begin = read(0, SEGMENT_HEADER_BYTES).map_err(failed)?;
        if let Some(found) = segment_other_format(&begin) {
            let (directory, file) = (disk.location(), file_name(sequence));
            return Err(OpenError::OtherFormat { directory, file, found, known: FORMAT }.into());
        }
        let mut lines = Lines { file: &name, only: only.as_ref(), each: &mut each };
        let scan = Scan::begin(read, disk.size(&name).map_err(failed)?);
        let ended = match scan {
            Ok(scan) => lines.segment(scan)?,
            Err(_) if begin.iter().all(|&byte| byte == 0) => {
                let text = "made ready, and not begun".to_owned();
                lines.tell(Line::new(&name, 0, SEGMENT_HEADER_BYTES as u64, "ready", text))?;
                continue;
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {}
            Err(ReadError::Disk(error)) => return Err(failed(error)),
            Err(ReadError::Flaw(Flaw { offset, what, .. })) => {
                lines.tell(Line::new(
                    &name,
                    offset,
                    0,
                    "end",
                    format!("nothing whole from here on: {what}"),
                ))?;
            }
        }
    }
    Ok(())
}

struct Lines<'dump, F> {
    file: &'dump str,
    only: Option<&'dump RangeInclusive<Index>>,
    each: &'dump mut F,
}

impl<E, F: FnMut(Line) -> Result<(), E>> Lines<'_, F> {
    fn tell(&mut self, line: Line) -> Result<(), E> {
        match (self.only, line.index) {
            (None, _) => (self.each)(line),
            (Some(only), Some(index)) if line.kind == "entry" && only.contains(&index) => (self.each)(line),
            _ => Ok(()),
        }
    }

    fn segment(&mut self, mut scan: Scan<impl super::scan::Source>) -> Result<Result<(), ReadError>, E> {
        let SegmentHeader { sequence, first, previous, recycled, .. } = *scan.header();
        let text = format!(
            "segment {sequence} from entry {first}, behind segment {} byte {}{}",
            previous.sequence,
            previous.offset,
            if recycled { ", in a file that was another one" } else { "" }
        );
        self.tell(Line::new(self.file, 0, SEGMENT_HEADER_BYTES as u64, "segment", text))?;
        loop {
            let batch = match scan.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            let text = format!("{} records, durable before: {}", batch.records, batch.watermark);
            self.tell(Line::new(self.file, batch.offset, batch.end - batch.offset, "batch", text))?;
            for found in scan.records(&batch) {
                match found {
                    Ok(found) => self.record(found.offset, found.length as u64, found.record)?,
                    Err(flaw) => return Ok(Err(flaw.into())),
                }
            }
        }
        if scan.sealed() {
            let seen = scan.seen();
            let text = format!("entries {} to {}, {} records", seen.lowest, seen.highest, seen.records);
            let size = super::batch::FOOTER_BYTES as u64;
            self.tell(Line::new(self.file, scan.end().offset - size, size, "footer", text))?;
        }
        Ok(Ok(()))
    }

    fn record(
        &mut self,
        offset: u64,
        size: u64,
        record: Record<super::batch::EntriesIn<'_>>,
    ) -> Result<(), E> {
        let line = |kind, text| Line::new(self.file, offset, size, kind, text);
        let hard = |hard: HardState| {
            let vote = hard.vote.map_or_else(|| "nobody".to_owned(), |node| node.to_string());
            format!("term {}, vote for {vote}, committed {}", hard.term, hard.commit)
        };
        let line = match record {
            Record::Entries(entries) => {
                for entry in entries.flatten() {
                    let bytes = entry.data.len() as u64;
                    let line =
                        Line::new(self.file, offset, bytes, "entry", String::new()).at(entry.position());
                    self.tell(Line { data: Some(entry.data), ..line })?;
                }
                return Ok(());
            }
            Record::HardState(state) => Line { term: Some(state.term), ..line("hard-state", hard(state)) },
            Record::Voters(voters) => {
                let text: Vec<_> = voters.iter().map(|(node, storage)| format!("{node}={storage}")).collect();
                line("voters", text.join(" "))
            }
            Record::LogStart { at, dropped } => {
                let text = if dropped {
                    "the log begins behind it, and holds nothing"
                } else {
                    "the log begins behind it"
                };
                line("log-start", text.to_owned()).at(at)
            }
            Record::Checkpoint(checkpoint) => {
                let (start, state) = (checkpoint.start.index, hard(checkpoint.hard_state));
                let text = format!("{state}, log begins behind {start}, {} voters", checkpoint.voters.len());
                line("checkpoint", text).at(checkpoint.end)
            }
        };
        self.tell(line)
    }
}

/// A snapshot that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// The last entry that it covers.
    pub at: LogPosition,
    /// The hash of the state in it, as it says itself.
    pub hash: Option<u128>,
    /// Why it cannot be used.
    pub damage: Option<String>,
}

/// What a data directory holds, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose it is.
    pub identity: Identity,
    /// The newest hard state.
    pub hard_state: HardState,
    /// The place before the log's first entry, and that of its last one.
    pub log: (LogPosition, LogPosition),
    /// Names of the files that the log is read from.
    pub segments: Vec<String>,
    /// Writes that were cut off. Harmless.
    pub torn: Vec<Torn>,
    /// The snapshots, oldest first, each read whole.
    pub snapshots: Vec<SnapshotReport>,
}

impl Report {
    /// A snapshot that is damaged.
    #[must_use]
    pub fn damage(&self) -> Option<&str> {
        self.snapshots.iter().find_map(|snapshot| snapshot.damage.as_deref())
    }
}

fn read(disk: &Arc<dyn Disk>) -> Result<(Identity, Recovery), OpenError> {
    let identity = identity(&**disk)?;
    let recovery = recover(&**disk, identity)?;
    Ok((identity, checked(&SnapshotStore::new(Arc::clone(disk), identity), recovery)?))
}

/// Reads everything in a data directory, as [`Storage::open`](super::Storage::open) does, and changes nothing. A snapshot
/// that is damaged is no error where a server would start without it.
///
/// # Errors
/// As there. `NotFound` for a directory without a file `identity`.
pub fn verify(disk: Arc<dyn Disk>) -> Result<Report, OpenError> {
    let identity = identity(&*disk)?;
    let store = SnapshotStore::new(disk, identity);
    let mut checked = BTreeMap::new();
    let (recovery, _) = begin(&store, |store, at| {
        let hash = store.check(at);
        checked.insert(at, hash.clone());
        hash.map(Some)
    })?;
    let mut snapshots = Vec::new();
    for at in store.list()? {
        let (hash, damage) = match checked.remove(&at).unwrap_or_else(|| store.check(at)) {
            Ok(hash) => (hash, None),
            Err(error) => (None, Some(error.to_string())),
        };
        snapshots.push(SnapshotReport { at, hash, damage });
    }
    let shape = &recovery.content.shape;
    Ok(Report {
        identity,
        hard_state: recovery.content.hard_state,
        log: (shape.start, shape.last()),
        segments: recovery.segments.iter().map(|kept| file_name(kept.sequence)).collect(),
        torn: recovery.torn,
        snapshots,
    })
}

/// Cuts off what writes that did not end left: what a start of the server would pass over. With `dry_run`, only says where.
///
/// # Errors
/// Damage, which nothing here mends; or the disk's.
pub fn repair(disk: &Arc<dyn Disk>, dry_run: bool) -> Result<Vec<Torn>, OpenError> {
    let (_, recovery) = read(disk)?;
    if dry_run {
        return Ok(recovery.torn);
    }
    for Torn { file, offset } in &recovery.torn {
        if *offset == 0 {
            disk.remove(file)?;
        } else {
            disk.truncate(file, *offset)?;
            disk.sync(file)?;
        }
    }
    disk.sync_dir()?;
    Ok(recovery.torn)
}
