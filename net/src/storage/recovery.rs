//! Reading the log. Changes nothing.
//!
//! The newest segment whose first batch is whole is the last one. Its header leads to the one before, and so on. In
//! front of the place that a successor names everything must be perfect. In the last segment, what is behind the last
//! whole batch was cut off while it was written, or never written, unless a batch further on says that it was durable.
//! Sectors of one unsynced batch may be written in any order, so only the watermark of a later batch proves anything.
//!
//! Segments are read in pieces of [`WAL_READ_BYTES`](quorate_core::limits::WAL_READ_BYTES); an entry's data stays where it
//! was read.

use super::{
    batch::{EntriesIn, Record},
    disk::Disk,
    error::{DiskError, OpenError},
    identity::{FORMAT, Identity},
    record::{Flaw, Place, ReadError},
    scan::{self, Behind, Scan, Source},
    segment::{
        self, Checkpoint, Footer, Point, SEGMENT_HEADER_BYTES, SegmentHeader, file_name, parse_file_name,
    },
    shape::Shape,
    snapshots::SnapshotStore,
};
use quorate_core::{
    bug::{self, Bug},
    contract::{Entry, HardState, LogPosition, Voters},
    types::Index,
};
use std::collections::{BTreeSet, VecDeque};

/// A segment that the log needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptSegment {
    /// Its number.
    pub sequence: u64,
    /// The lowest index of the entries in it.
    pub lowest: Option<Index>,
}

impl KeptSegment {
    /// A segment, and what is in it.
    #[must_use]
    pub fn new(sequence: u64, seen: &Footer) -> Self {
        Self { sequence, lowest: (seen.lowest.0 > 0).then_some(seen.lowest) }
    }

    /// Takes note of entries that are in it.
    pub fn note(&mut self, entries: &[Entry]) {
        let first = entries.first().map(|entry| entry.index);
        self.lowest = [self.lowest, first].into_iter().flatten().min();
    }
}

/// What the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogContent {
    /// The newest hard state.
    pub hard_state: HardState,
    /// The newest voters.
    pub voters: Voters,
    /// Where it begins and ends.
    pub shape: Shape,
    /// Its entries.
    pub entries: VecDeque<Entry>,
    /// What is behind this index stays, if it is there, though the log begins further on.
    keep: Option<Index>,
}

impl LogContent {
    /// The log begins behind `at`, or as far in front of it as is wanted and there.
    fn begin(&mut self, at: LogPosition) -> Result<(), String> {
        let shape = &mut self.shape;
        let wanted = self.keep.map(|keep| keep.max(shape.before.index)).filter(|keep| *keep < at.index);
        // In front of the first entry there is no term, and elsewhere 0 says that it is not known.
        let known = |kept: &LogPosition| kept.term.0 > 0 || kept.index.0 == 0;
        let Some(kept) = wanted.and_then(|keep| shape.position(keep)).filter(known) else {
            return shape.begin(at, false);
        };
        if kept.index > shape.start.index { shape.begin(kept, false) } else { Ok(()) }
    }

    fn fit(&mut self, from: Index) {
        while self.entries.back().is_some_and(|entry| entry.index >= from) {
            self.entries.pop_back();
        }
        while self.entries.front().is_some_and(|entry| entry.index <= self.shape.before.index) {
            self.entries.pop_front();
        }
    }

    /// Carries out one record. `opening`: nothing was read before it.
    fn apply(&mut self, record: Record<EntriesIn<'_>>, opening: bool) -> Result<(), String> {
        match record {
            Record::Entries(mut entries) => {
                if let Some(first) = entries.first() {
                    self.shape.cut_for(first)?;
                    self.fit(first);
                }
                entries.try_for_each(|entry| {
                    let entry = entry?;
                    self.shape.push(entry.position())?;
                    self.entries.push_back(entry);
                    Ok::<(), String>(())
                })?;
            }
            Record::HardState(hard_state) => self.set_hard_state(hard_state)?,
            Record::Voters(voters) => self.voters = voters,
            Record::LogStart { at, dropped } => {
                if dropped {
                    self.shape.begin(at, true)?;
                } else {
                    self.begin(at)?;
                }
                self.fit(self.shape.last().index.next());
            }
            Record::Checkpoint(checkpoint) => self.checkpoint(checkpoint, opening)?,
        }
        Ok(())
    }

    fn set_hard_state(&mut self, hard_state: HardState) -> Result<(), String> {
        if hard_state.term < self.hard_state.term {
            return Err(format!("the term goes back from {} to {}", self.hard_state.term, hard_state.term));
        }
        self.hard_state = hard_state;
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint, opening: bool) -> Result<(), String> {
        let Checkpoint { hard_state, start, end, voters } = checkpoint;
        self.set_hard_state(hard_state)?;
        self.voters = voters;
        if end.index < start.index || end.term < start.term || (end.index == start.index && end != start) {
            return Err(format!("the log ends at {end:?}, which cannot follow its start {start:?}"));
        }
        if opening {
            self.shape = Shape::new(start, end);
        } else if end == start {
            self.shape.begin(start, true)?;
        } else {
            let known = self.shape.position(end.index);
            if end.index > self.shape.last().index || known.is_some_and(|at| at.term.0 != 0 && at != end) {
                return Err(format!("the log should hold {end:?}, but ends at {:?}", self.shape.last()));
            }
            self.shape.cut(end.index);
            if self.shape.before.index == end.index {
                self.shape.before = end;
            }
            self.begin(start)?;
        }
        self.fit(self.shape.last().index.next());
        Ok(())
    }
}

/// A write that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub file: String,
    /// From where on its bytes are worth nothing.
    pub offset: u64,
}

/// What the directory holds, and how to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What the log says.
    pub content: LogContent,
    /// The segments that were read, in order.
    pub segments: Vec<KeptSegment>,
    /// Segments that do not count: their first batch was cut off, or a later one names another before it.
    pub dead: Vec<u64>,
    /// The end of the last batch that is whole.
    pub end: Point,
    /// The last place that a completed sync vouches for.
    pub durable: Point,
    /// Entries from here on are not known to be durable.
    pub unsure: Option<Index>,
    /// The highest number of a segment.
    pub highest: u64,
    /// Writes that were cut off.
    pub torn: Vec<Torn>,
}

impl Recovery {
    /// The same, with a log that goes on in files of its own: all that it holds is written once more, at once.
    #[must_use]
    pub fn anew(mut self) -> Self {
        self.dead.extend(self.segments.drain(..).map(|kept| kept.sequence));
        Self { durable: Point::default(), unsure: Some(Index(0)), ..self }
    }
}

struct Reader<'disk> {
    disk: &'disk dyn Disk,
    identity: Identity,
}

/// What the last segment holds.
struct Last {
    end: Point,
    header: SegmentHeader,
    durable: Point,
    unsure: Option<Index>,
}

impl<'disk> Reader<'disk> {
    fn corrupt(&self, sequence: u64, offset: u64, what: impl Into<String>) -> OpenError {
        OpenError::Corrupt {
            directory: self.disk.location(),
            file: file_name(sequence),
            offset,
            what: what.into(),
        }
    }

    fn flawed(&self, sequence: u64, flaw: Flaw) -> OpenError {
        self.corrupt(sequence, flaw.offset, flaw.what)
    }

    fn failed(&self, sequence: u64, error: ReadError) -> OpenError {
        match error {
            ReadError::Disk(error) => error.into(),
            ReadError::Flaw(flaw) => self.flawed(sequence, flaw),
        }
    }

    fn source(&self, sequence: u64) -> impl Source + use<'disk> {
        let (disk, file) = (self.disk, file_name(sequence));
        move |offset, length| disk.read(&file, offset, length)
    }

    /// The first bytes of a file, if they are of a format that is known.
    fn beginning(&self, sequence: u64) -> Result<Vec<u8>, OpenError> {
        let bytes = self.disk.read(&file_name(sequence), 0, SEGMENT_HEADER_BYTES)?;
        let Some(found) = segment::segment_other_format(&bytes) else { return Ok(bytes) };
        let (directory, file) = (self.disk.location(), file_name(sequence));
        Err(OpenError::OtherFormat { directory, file, found, known: FORMAT })
    }

    /// A segment that has no successor. `None`: its first batch was cut off, or it was never begun.
    fn last(&self, sequence: u64, torn: &mut Vec<Torn>) -> Result<Option<Last>, OpenError> {
        let bytes = self.beginning(sequence)?;
        let size = self.disk.size(&file_name(sequence))?;
        let mut place = Place { storage: self.identity.storage, sequence };
        let mut recycled = bytes.iter().all(|&byte| byte == 0);
        if let Some((header, _)) = SegmentHeader::decode(&bytes) {
            header.check(self.disk, &self.identity, sequence)?;
            (place, recycled) = (header.place(), header.recycled);
        }
        let (mut scan, flaw) = match Scan::begin(self.source(sequence), size) {
            Ok(mut scan) => {
                let flaw = exhaust(&mut scan)?;
                (Some(scan), flaw)
            }
            Err(ReadError::Flaw(flaw)) => (None, Some(flaw)),
            Err(ReadError::Disk(error)) => return Err(error.into()),
        };
        if let Some(flaw) = flaw {
            if !flaw.torn {
                return Err(self.flawed(sequence, flaw));
            }
            let behind = match &mut scan {
                Some(scan) => scan.behind(place, flaw.offset)?,
                None => scan::behind(place, &mut self.source(sequence), flaw.offset, size)?,
            };
            let Behind { proof, written, begun } = behind;
            if let Some(proof) = proof.filter(|_| !bug::planted(Bug::NetDamageTorn)) {
                let what = format!("{}; the batch at byte {proof} shows that it was durable", flaw.what);
                return Err(self.corrupt(sequence, flaw.offset, what));
            }
            // In a file that was another segment, what that one left is no sign of a write.
            let whole = scan.as_ref().map_or(0, |scan| scan.end().offset);
            if begun || (written && !recycled) {
                torn.push(Torn { file: file_name(sequence), offset: whole });
            }
        }
        let scan = scan.filter(|scan| scan.end().offset > SEGMENT_HEADER_BYTES as u64);
        Ok(scan.map(|scan| {
            let (durable, unsure) = scan.vouched();
            Last { end: scan.end(), header: *scan.header(), durable, unsure }
        }))
    }

    /// A segment's header.
    fn header(&self, sequence: u64) -> Result<SegmentHeader, OpenError> {
        let bytes = self.beginning(sequence)?;
        let (header, _) = SegmentHeader::decode(&bytes)
            .ok_or_else(|| self.corrupt(sequence, 0, "the segment's header is not whole"))?;
        header.check(self.disk, &self.identity, sequence)?;
        Ok(header)
    }

    /// Carries out what a segment says, up to a place where it must end.
    fn replay(&self, end: Point, recovery: &mut Recovery) -> Result<(), OpenError> {
        let sequence = end.sequence;
        let opening = recovery.segments.is_empty();
        let mut scan =
            Scan::begin(self.source(sequence), end.offset).map_err(|error| self.failed(sequence, error))?;
        while let Some(batch) = scan.next_batch().map_err(|error| self.failed(sequence, error))? {
            for found in scan.records(&batch) {
                let found = found.map_err(|flaw| self.flawed(sequence, flaw))?;
                recovery
                    .content
                    .apply(found.record, opening)
                    .map_err(|what| self.corrupt(sequence, found.offset, what))?;
            }
        }
        if scan.end() != end {
            let what = "the file does not end as the next segment says";
            return Err(self.corrupt(sequence, scan.end().offset, what));
        }
        recovery.segments.push(KeptSegment::new(sequence, &scan.seen()));
        Ok(())
    }
}

/// Reads to the end or the first flaw.
fn exhaust(scan: &mut Scan<impl Source>) -> Result<Option<Flaw>, DiskError> {
    loop {
        match scan.next_batch() {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(ReadError::Flaw(flaw)) => return Ok(Some(flaw)),
            Err(ReadError::Disk(error)) => return Err(error),
        }
    }
}

/// Reads the log. `None`: no segment has a whole first batch.
///
/// # Errors
/// Damage, another node's files, a newer format, the disk's errors.
pub fn recover(disk: &dyn Disk, identity: Identity) -> Result<Option<Recovery>, OpenError> {
    recover_from(disk, identity, None)
}

/// The same with a log that holds what is behind `keep`, though it begins further on; as far as that is still in its files.
///
/// # Errors
/// As [`recover`].
pub fn recover_from(
    disk: &dyn Disk,
    identity: Identity,
    keep: Option<Index>,
) -> Result<Option<Recovery>, OpenError> {
    let reader = Reader { disk, identity };
    let present: BTreeSet<u64> = disk.list()?.iter().filter_map(|name| parse_file_name(name)).collect();
    let mut torn = Vec::new();
    let mut found = None;
    for &sequence in present.iter().rev() {
        found = reader.last(sequence, &mut torn)?;
        if found.is_some() {
            break;
        }
    }
    let Some(last) = found else { return Ok(None) };
    let mut chain = vec![last.end];
    let mut previous = last.header.previous;
    while present.contains(&previous.sequence) {
        chain.push(previous);
        previous = reader.header(previous.sequence)?.previous;
    }
    let counts = |sequence| chain.iter().any(|at| at.sequence == sequence);
    let mut recovery = Recovery {
        content: LogContent { keep, ..LogContent::default() },
        segments: Vec::new(),
        dead: present.iter().copied().filter(|&sequence| !counts(sequence)).collect(),
        end: last.end,
        durable: last.durable,
        unsure: last.unsure,
        highest: present.last().copied().unwrap_or(0),
        torn,
    };
    for (number, &end) in chain.iter().enumerate().rev() {
        if let Some(next) = number.checked_sub(1).and_then(|next| chain.get(next)) {
            disk.will_read(&file_name(next.sequence));
        }
        reader.replay(end, &mut recovery)?;
    }
    check(&reader, &recovery.content, last.end.sequence)?;
    Ok(Some(recovery))
}

fn check(reader: &Reader<'_>, content: &LogContent, sequence: u64) -> Result<(), OpenError> {
    let LogContent { shape, hard_state, .. } = content;
    if shape.before.index != shape.start.index {
        let (from, to) = (shape.start.index.next(), shape.before.index);
        let what = format!("entries {from} to {to} are in an older segment, which is not there");
        return Err(reader.corrupt(sequence, 0, what));
    }
    if hard_state.commit > shape.last().index {
        let (commit, last) = (hard_state.commit, shape.last().index);
        let what = format!("entries up to {commit} were committed, but the log ends at {last}");
        return Err(reader.corrupt(sequence, 0, what));
    }
    Ok(())
}

/// Refuses a log that is gone, or whose beginning is gone without a snapshot in its place.
///
/// # Errors
/// `Corrupt`.
pub fn checked(snapshots: &SnapshotStore, recovery: Option<Recovery>) -> Result<Recovery, OpenError> {
    let corrupt = |sequence, what: String| OpenError::Corrupt {
        directory: snapshots.location(),
        file: file_name(sequence),
        offset: 0,
        what,
    };
    let recovery = recovery.ok_or_else(|| corrupt(1, "the log is gone".to_owned()))?;
    let start = recovery.content.shape.start.index;
    let newest = snapshots.newest()?.map_or(Index(0), |at| at.index);
    if newest < start {
        let what =
            format!("the log begins behind {start}, but the newest snapshot holds entries up to {newest}");
        return Err(corrupt(recovery.durable.sequence, what));
    }
    Ok(recovery)
}
