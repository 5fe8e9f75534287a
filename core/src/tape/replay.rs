//! Runs a tape on this program's node, and compares.

use super::{Step, Tape, chain::Chain};
use crate::{
    Node,
    contract::{Input, Output},
    types::Now,
};

/// The first input after which the outputs are not those that were recorded.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The input's number; 0 = the start itself.
    pub step: u64,
    /// Where its record begins; 0 for the start.
    pub offset: u64,
    /// The clocks.
    pub now: Now,
    /// The input; `None` for the start.
    pub input: Option<Input>,
    /// The recorded chain.
    pub expected: u64,
    /// The chain here.
    pub found: u64,
    /// The outputs here.
    pub outputs: Vec<Output>,
}

/// A node that goes through a tape.
#[derive(Clone, Debug)]
pub struct Replay {
    node: Node,
    chain: Chain,
    /// The chain after the last step.
    value: u64,
}

impl Replay {
    /// Starts the node as the recorded one was started.
    ///
    /// # Errors
    /// Its first outputs differ.
    pub fn begin(tape: &Tape) -> Result<Self, Box<Difference>> {
        let (head, expected) = tape.begun();
        let start = tape.start();
        let now = start.now;
        let node = Node::new(start.config.clone(), start.recovered.clone(), start.seed, now);
        let mut replay = Self { node, chain: Chain::new(head), value: 0 };
        let outputs = replay.drain();
        let found = replay.value;
        if found == expected {
            return Ok(replay);
        }
        Err(Box::new(Difference { step: 0, offset: 0, now, input: None, expected, found, outputs }))
    }

    /// Takes the next step. The recorded node may not have finished the last one: then there is nothing to compare.
    ///
    /// # Errors
    /// The outputs differ.
    pub fn take(&mut self, step: &Step) -> Result<(), Box<Difference>> {
        self.chain.begin(&step.bytes);
        if step.fed {
            self.node.feed(step.now, step.input.clone());
        } else {
            self.node.step(step.now, step.input.clone());
        }
        let outputs = self.drain();
        match step.chain {
            Some(expected) if expected != self.value => Err(Box::new(Difference {
                step: step.number,
                offset: step.offset,
                now: step.now,
                input: Some(step.input.clone()),
                expected,
                found: self.value,
                outputs,
            })),
            Some(_) | None => Ok(()),
        }
    }

    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.node.poll_output() {
            self.chain.output(&output);
            outputs.push(output);
        }
        self.value = self.chain.end();
        outputs
    }

    /// The node, as it is after the last step.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The chain after the last step.
    #[must_use]
    pub const fn chain(&self) -> u64 {
        self.value
    }
}
