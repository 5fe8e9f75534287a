//! The tapes of a run, and what it means to check one.

use crate::run::panic_text;
use anyhow::Context;
use bytes::Bytes;
use quorate_core::tape::{Difference, Replay, Step, Tape, TapeError};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where a tape's bytes go.
pub type TapeSink = Box<dyn FnMut(&[u8]) + Send>;

/// Tapes by master (from 0 on) and run of that master.
pub type TapeBytes = BTreeMap<(u8, u64), Vec<u8>>;

/// The tapes of one run. A clone is the same collection.
#[derive(Clone, Debug, Default)]
pub struct Tapes(Arc<Mutex<TapeBytes>>);

impl Tapes {
    fn lock(&self) -> MutexGuard<'_, TapeBytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the tape of one run of a master.
    #[must_use]
    pub fn sink(&self, place: u8, run: u64) -> TapeSink {
        let tapes = self.clone();
        Box::new(move |bytes| tapes.lock().entry((place, run)).or_default().extend_from_slice(bytes))
    }

    /// All of them, as they are now.
    #[must_use]
    pub fn take(&self) -> TapeBytes {
        core::mem::take(&mut *self.lock())
    }

    /// Replays all of them on the core: how many there are, and how many inputs are on them. A node that panicked while it
    /// was recorded left its last input open, and may panic in it here as well.
    ///
    /// # Errors
    /// The first that does not give the same outputs, panics elsewhere, or is not whole.
    pub fn check(&self) -> Result<(u64, u64), String> {
        let (mut count, mut steps) = (0, 0);
        for ((place, run), bytes) in self.take() {
            let of = |why: String| format!("node {} run {run}: {why}", place + 1);
            (count, steps) = (count + 1, steps + inputs_of(bytes.into()).map_err(of)?);
        }
        Ok((count, steps))
    }

    /// Writes each into a file of a directory, which is made if it is not there: `master-1.run-2.tape`. How many there are.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn write(&self, directory: &Path) -> anyhow::Result<usize> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        let tapes = self.lock();
        for ((place, run), bytes) in &*tapes {
            let path = directory.join(format!("master-{}.run-{run}.tape", place + 1));
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(tapes.len())
    }
}

/// How many inputs are on a tape that gives the same outputs, and else why it does not.
fn inputs_of(bytes: Bytes) -> Result<u64, String> {
    let mut last = None;
    let seen = |step: &Step| last = Some((step.number, step.chain.is_none()));
    match catch_unwind(AssertUnwindSafe(|| check(bytes, seen))) {
        Ok(Ok(checked)) if checked.torn_bytes > 0 => Err(format!("{} torn bytes", checked.torn_bytes)),
        Ok(Ok(checked)) => Ok(checked.steps),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => match (panic_text(panic), last) {
            (_, Some((number, true))) => Ok(number),
            (text, Some((number, false))) => Err(format!("a panic in input {number}: {text}")),
            (text, None) => Err(format!("a panic in the start: {text}")),
        },
    }
}

/// A tape that was replayed to its end.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The version of the program that recorded it.
    pub version: String,
    /// Inputs.
    pub steps: u64,
    /// From the start to the last input, nanoseconds of the node's clock.
    pub span: u64,
    /// The chain after the last input.
    pub chain: u64,
    /// Bytes of a record whose writer was killed.
    pub torn_bytes: u64,
    /// The recorded node did not finish its last input.
    pub unfinished: bool,
    /// The node as it is at the end.
    pub replay: Replay,
}

/// Why a tape was not replayed to its end with the same outputs.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// The outputs differ.
    #[error("after input {}: expected {:016x}, found {:016x}", .0.step, .0.expected, .0.found)]
    Different(Box<Difference>),
}

/// Replays a tape, and compares the chain after each input. `seen` is told of each before it is taken.
///
/// # Errors
/// What cannot be read, or the first difference.
pub fn check(bytes: Bytes, mut seen: impl FnMut(&Step)) -> Result<Checked, CheckError> {
    let mut tape = Tape::open(bytes)?;
    let begin = tape.start().now.time;
    let mut replay = Replay::begin(&tape).map_err(CheckError::Different)?;
    let (mut steps, mut span, mut unfinished) = (0, 0, false);
    while let Some(step) = tape.next_step()? {
        seen(&step);
        replay.take(&step).map_err(CheckError::Different)?;
        (steps, unfinished) = (step.number, step.chain.is_none());
        span = step.now.time.0.saturating_sub(begin.0);
    }
    Ok(Checked {
        version: tape.start().version.clone(),
        steps,
        span,
        chain: replay.chain(),
        torn_bytes: tape.torn_bytes(),
        unfinished,
        replay,
    })
}
