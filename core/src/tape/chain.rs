//! The chain of hashes over inputs and outputs.

use super::output;
use crate::contract::Output;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

// Fixed for ever: a tape that another version recorded has the same chain, unless the outputs differ.
const KEY: u64 = 0x6368_6169_6e21_2121;

/// `H(before, input, outputs)`, one step after the other.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    value: u64,
    hasher: SipHasher13,
    scratch: Vec<u8>,
    stopped: bool,
}

impl Chain {
    /// Before the first step: of the start's bytes.
    pub(super) fn new(start: &[u8]) -> Self {
        let hasher = SipHasher13::new_with_keys(KEY, 0);
        let mut chain = Self { value: 0, hasher, scratch: Vec::new(), stopped: false };
        chain.begin(start);
        chain
    }

    /// A step begins.
    pub(super) fn begin(&mut self, input: &[u8]) {
        self.hasher = SipHasher13::new_with_keys(KEY, self.value);
        self.hasher.write(&(input.len() as u64).to_le_bytes());
        self.hasher.write(input);
    }

    /// An output of the step. What comes behind a stop is not carried out by all drivers, and does not count.
    pub(super) fn output(&mut self, output: &Output) {
        if self.stopped {
            return;
        }
        self.stopped = matches!(output, Output::Stop(_));
        self.scratch.clear();
        output::push(&mut self.scratch, output);
        self.hasher.write(&(self.scratch.len() as u64).to_le_bytes());
        self.hasher.write(&self.scratch);
    }

    /// The step is over.
    pub(super) fn end(&mut self) -> u64 {
        self.value = self.hasher.finish();
        self.value
    }
}
