//! Reads a tape. Nothing in it is believed.

use super::{
    TapeError,
    input::{self, place},
    record::{Record, Records, check_preamble, kind},
    start::{self, Start},
};
use crate::{
    codec::{CodecError, unpack, unpack_front},
    contract::{Entry, Input, Snapshot},
    limits::ENTRY_BYTES,
    state::State,
    types::{Index, Now, Term},
};
use bytes::Bytes;

const CHAIN_BYTES: usize = 8;

/// One input, as it was recorded.
#[derive(Clone, Debug)]
pub struct Step {
    /// From 1 on.
    pub number: u64,
    /// Where its record begins, in bytes.
    pub offset: u64,
    /// The clocks.
    pub now: Now,
    /// What the node was given.
    pub input: Input,
    /// Others follow at once: the node was fed with it.
    pub fed: bool,
    /// The chain after it. `None`: the recorded node did not finish it.
    pub chain: Option<u64>,
    /// What goes into the chain.
    pub(super) bytes: Bytes,
}

/// A tape whose start is whole; its steps are read one by one.
#[derive(Clone, Debug)]
pub struct Tape {
    start: Start,
    start_bytes: Bytes,
    chain: u64,
    records: Records,
    steps: u64,
    ended: bool,
}

impl Tape {
    /// Reads a tape's start.
    ///
    /// # Errors
    /// The bytes are no tape, of another version, or damaged; or its writer was killed before the node began.
    pub fn open(bytes: Bytes) -> Result<Self, TapeError> {
        check_preamble(&bytes)?;
        let mut records = Records::new(bytes);
        let first = records.next()?.ok_or(TapeError::Short { offset: records.offset() })?;
        if first.kind != kind::START {
            return Err(damaged(&first, "a tape begins with its start"));
        }
        let mut start = start::decode(&first.body).map_err(|error| damaged(&first, &error.0))?;
        let mut chunks = Vec::new();
        loop {
            let record = records.next()?.ok_or(TapeError::Short { offset: records.offset() })?;
            match record.kind {
                kind::ENTRY => {
                    let entry = entry(&record.body).map_err(|error| damaged(&record, &error.0))?;
                    let recovered = &mut start.recovered;
                    let last = recovered.entries.last().map_or(recovered.start, Entry::position);
                    if Some(entry.index.0) != last.index.0.checked_add(1) || entry.term < last.term {
                        return Err(damaged(&record, &format!("{entry:?} does not follow {last:?}")));
                    }
                    recovered.entries.push(entry);
                }
                kind::CHUNK => chunks.push(record.body),
                kind::BEGUN => {
                    let begun = begun(&mut start, &record.body, chunks);
                    let chain = begun.map_err(|error| damaged(&record, &error.0))?;
                    let start_bytes = first.body;
                    return Ok(Self { start, start_bytes, chain, records, steps: 0, ended: false });
                }
                _ => return Err(damaged(&record, "a step before the node began")),
            }
        }
    }

    /// What the recorded node was given when it started.
    #[must_use]
    pub const fn start(&self) -> &Start {
        &self.start
    }

    #[cfg(test)]
    pub(super) const fn set_seed(&mut self, seed: u64) {
        self.start.seed = seed;
    }

    /// What the chain begins with, and the chain after the start's own outputs.
    pub(super) fn begun(&self) -> (&[u8], u64) {
        (&self.start_bytes, self.chain)
    }

    /// Bytes at the end that belong to no whole record: the writer was killed there. Ask when the steps are read.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.records.torn_bytes()
    }

    /// The next step. `None`: the tape is over.
    ///
    /// # Errors
    /// The next record is damaged.
    pub fn next_step(&mut self) -> Result<Option<Step>, TapeError> {
        let mut chunks = Vec::new();
        loop {
            let before = self.records.clone();
            let Some(record) = self.records.next()? else {
                return Ok(None);
            };
            if self.ended {
                return Err(damaged(&record, "something follows a step that was not finished"));
            }
            match record.kind {
                kind::CHUNK => chunks.push(record.body),
                kind::STEP | kind::FED | kind::OPEN => {
                    let step = self.step(&record, &mut chunks);
                    return step.map(Some).inspect_err(|_| self.records = before);
                }
                _ => return Err(damaged(&record, "only steps follow the start")),
            }
        }
    }

    fn step(&mut self, record: &Record, chunks: &mut Vec<Bytes>) -> Result<Step, TapeError> {
        let Some((chain, _)) = record.body.split_first_chunk::<CHAIN_BYTES>() else {
            return Err(damaged(record, "a step without its chain"));
        };
        let chain = (record.kind != kind::OPEN).then_some(u64::from_le_bytes(*chain));
        let fed = record.kind == kind::FED;
        let bytes = record.body.slice(CHAIN_BYTES..);
        let (now, input) = input::parse(&bytes, chunks).map_err(|error| damaged(record, &error.0))?;
        self.steps += 1;
        self.ended = chain.is_none();
        Ok(Step { number: self.steps, offset: record.offset, now, input, fed, chain, bytes })
    }
}

fn damaged(record: &Record, what: &str) -> TapeError {
    TapeError::Damaged { offset: record.offset, what: what.to_owned() }
}

fn entry(body: &Bytes) -> Result<Entry, CodecError> {
    let ((term, index), used): ((Term, Index), _) = unpack_front(body)?;
    let data = body.slice(used..);
    if data.len() > ENTRY_BYTES {
        return Err(CodecError(format!("an entry of {} bytes: {ENTRY_BYTES} is the limit", data.len())));
    }
    Ok(Entry { term, index, data })
}

/// The start with its snapshot, and the chain.
fn begun(start: &mut Start, body: &[u8], chunks: Vec<Bytes>) -> Result<u64, CodecError> {
    type Begun = (u64, Option<((u64, u64), u64)>, u64);
    let (entries, snapshot, chain): Begun = unpack(body)?;
    let there = (start.recovered.entries.len() as u64, chunks.len() as u64);
    let expected = (entries, snapshot.map_or(0, |(_, chunks)| chunks));
    if there != expected {
        return Err(CodecError(format!("{expected:?} entries and chunks, and {there:?} are there")));
    }
    if let Some((at, _)) = snapshot {
        let state = State::decode(chunks.into_iter())?;
        let at = place(at);
        if state.index() != at.index {
            return Err(CodecError(format!("a snapshot at {at:?} that holds a state at {}", state.index())));
        }
        start.recovered.snapshot = Some(Snapshot { at, state });
    }
    Ok(chain)
}
