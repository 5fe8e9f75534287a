//! Records a tape.

use super::{
    chain::Chain,
    input,
    output::pair,
    record::{Framer, kind, preamble},
    start::{self, StartRef},
};
use crate::{
    codec::pack,
    contract::{Input, Output},
    state::State,
    types::Now,
};
use bytes::BufMut;

/// Makes a tape of what a node is given and what it gives. For each step: [`input`](Self::input), each
/// [`output`](Self::output), [`end`](Self::end). The outputs before the first step belong to the start, and are ended too.
///
/// The sink gets whole records, in order. A step that is dropped unfinished is recorded as such.
pub struct TapeWriter<S: FnMut(&[u8])> {
    sink: S,
    framer: Framer,
    chain: Chain,
    /// The body of the step under way: room for the chain, then the input.
    body: Vec<u8>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The start's outputs are awaited.
    Starting { entries: u64, snapshot: Option<((u64, u64), u64)> },
    /// Between two steps.
    Idle,
    /// Within one; `fed`: others follow at once.
    Stepping { fed: bool },
    /// Something was over the limit: nothing more is recorded.
    Over,
}

const CHAIN_BYTES: usize = 8;

impl<S: FnMut(&[u8])> TapeWriter<S> {
    /// Begins a tape: call it just before [`Node::new`](crate::Node::new).
    pub fn begin(sink: S, start: &StartRef<'_>) -> Self {
        let head = start::encode(start);
        let mut tape = Self {
            sink,
            framer: Framer::new(),
            chain: Chain::new(&head),
            body: Vec::new(),
            phase: Phase::Idle,
        };
        (tape.sink)(&preamble());
        tape.put(kind::START, &head);
        for entry in &start.recovered.entries {
            let mut body = pack(&(entry.term, entry.index));
            body.extend_from_slice(&entry.data);
            tape.put(kind::ENTRY, &body);
        }
        let snapshot = start.recovered.snapshot.as_ref();
        let snapshot = snapshot.map(|snapshot| (pair(snapshot.at), tape.put_state(&snapshot.state)));
        if tape.phase != Phase::Over {
            tape.phase = Phase::Starting { entries: start.recovered.entries.len() as u64, snapshot };
        }
        tape
    }

    /// A step begins.
    pub fn input(&mut self, now: Now, input: &Input) {
        self.begin_step(now, input, false);
    }

    /// The node is fed with an input that others follow at once.
    pub fn fed(&mut self, now: Now, input: &Input) {
        self.begin_step(now, input, true);
    }

    fn begin_step(&mut self, now: Now, input: &Input, fed: bool) {
        if self.phase != Phase::Idle {
            return;
        }
        let chunks = match input {
            Input::SnapshotLoaded { state: Some(state), .. } => self.put_state(state),
            _ => 0,
        };
        self.body.clear();
        self.body.put_u64_le(0);
        input::push(&mut self.body, now, input, chunks);
        self.chain.begin(&self.body[CHAIN_BYTES..]);
        if self.phase != Phase::Over {
            self.phase = Phase::Stepping { fed };
        }
    }

    /// An output of the step, or of the start.
    pub fn output(&mut self, output: &Output) {
        self.chain.output(output);
    }

    /// All outputs are drained.
    pub fn end(&mut self) {
        let chain = self.chain.end();
        match self.phase {
            Phase::Starting { entries, snapshot } => {
                self.phase = Phase::Idle;
                self.put(kind::BEGUN, &pack(&(entries, snapshot, chain)));
            }
            Phase::Stepping { fed } => {
                self.phase = Phase::Idle;
                let mut body = core::mem::take(&mut self.body);
                body[..CHAIN_BYTES].copy_from_slice(&chain.to_le_bytes());
                self.put(if fed { kind::FED } else { kind::STEP }, &body);
                self.body = body;
            }
            Phase::Idle | Phase::Over => {}
        }
    }

    /// Something was over [`TAPE_RECORD_BYTES`](crate::limits::TAPE_RECORD_BYTES): the tape ends before it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn put_state(&mut self, state: &State) -> u64 {
        let mut count = 0;
        for chunk in state.encode() {
            self.put(kind::CHUNK, &chunk);
            count += 1;
        }
        count
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        if self.phase == Phase::Over {
            return;
        }
        match self.framer.header(kind, body) {
            Some(header) => {
                (self.sink)(&header);
                (self.sink)(body);
            }
            None => self.phase = Phase::Over,
        }
    }
}

impl<S: FnMut(&[u8])> Drop for TapeWriter<S> {
    fn drop(&mut self) {
        if matches!(self.phase, Phase::Stepping { .. }) {
            self.phase = Phase::Idle;
            let body = core::mem::take(&mut self.body);
            self.put(kind::OPEN, &body);
        }
    }
}

impl<S: FnMut(&[u8])> core::fmt::Debug for TapeWriter<S> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("TapeWriter").field("framer", &self.framer).finish_non_exhaustive()
    }
}
