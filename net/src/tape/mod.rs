//! Recording what a node is given, as a [tape](quorate_core::tape).

#[cfg(not(madsim))]
mod file;

#[cfg(not(madsim))]
pub use file::{FileTape, TapeOptions};

use crate::rt::Finished;
use core::fmt::Debug;
use quorate_core::{
    Input, Output,
    tape::{StartRef, TapeWriter},
    types::Now,
};
use std::io;

/// Takes down what a driver gives its node, and what comes out. Called on the driver's loop: it must not block.
pub trait Recorder: Send {
    /// A step begins; `fed`: others follow at once.
    fn input(&mut self, now: Now, input: &Input, fed: bool);
    /// An output of the step, or of the start.
    fn output(&mut self, output: &Output);
    /// All outputs are drained.
    fn end(&mut self);
}

/// A recorder, and what resolves once it has written everything after it was dropped.
pub type Recording = (Box<dyn Recorder>, Option<Finished>);

/// What makes a recorder when a node starts.
pub trait TapeSource: Send + Debug {
    /// Begins a tape, just before the node is made.
    ///
    /// # Errors
    /// The system has no thread left.
    fn begin(self: Box<Self>, start: &StartRef<'_>) -> io::Result<Recording>;
}

impl<S: FnMut(&[u8]) + Send> Recorder for TapeWriter<S> {
    fn input(&mut self, now: Now, input: &Input, fed: bool) {
        if fed { Self::fed(self, now, input) } else { Self::input(self, now, input) }
    }

    fn output(&mut self, output: &Output) {
        Self::output(self, output);
    }

    fn end(&mut self) {
        Self::end(self);
    }
}
