//! The tape of a node: its start, then each input with its time, and after each the hash of what came out.
//!
//! A node is its inputs: whoever has them has the run. A tape that was recorded anywhere (by the simulator, or by a server in
//! production) gives the same outputs when it is replayed, and the first input after which it does not is a difference
//! between what ran there and what runs here.
//!
//! # The format
//!
//! `quorate-tape`, the version (32 bits), then records. A record is 16 bytes of header and a body. The header: the body's
//! length (32 bits), the record's kind (8 bits), a zero, a checksum of the header (16 bits), a checksum of everything (64
//! bits) that covers the one of the record before, so that records can neither move nor be left out. All numbers are
//! little-endian. In their order:
//!
//! | kind | body |
//! |---|---|
//! | 1 start | the program's version, the configuration, hard state, voters, where the log begins, the seed, the time |
//! | 2 entry | one entry of the recovered log, each |
//! | 3 chunk | a chunk of the recovered snapshot, or of the one that the next input has loaded, each |
//! | 4 begun | how many entries and chunks there were; the chain |
//! | 5 step | the chain, the time, the input |
//! | 6 open | a step that was not finished, only at the end: the node panicked in it, or was dropped |
//! | 7 fed | as a step, of an input that others follow at once ([`Node::feed`](crate::Node::feed)) |
//!
//! A tape on which fault points are switched replays only on a program that has them (`cargo sim tape`).
//!
//! The chain is `H(chain before, input, outputs)`. Kinds, and the numbers of inputs and outputs, are append-only.
//!
//! A file that ends inside a record, or in zeros, is one whose writer was killed: it is whole up to there.

mod chain;
mod input;
mod output;
mod read;
mod record;
mod replay;
mod start;
mod write;

#[cfg(test)]
mod tests;

pub use read::{Step, Tape};
pub use replay::{Difference, Replay};
pub use start::{Start, StartRef};
pub use write::TapeWriter;

/// A tape of records with right checksums, whatever they hold: for fuzzers, whose bytes would never get past a checksum.
#[must_use]
pub fn sealed<'a>(records: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let mut bytes = record::preamble().to_vec();
    let mut framer = record::Framer::new();
    for (kind, body) in records {
        if let Some(header) = framer.header(kind, body) {
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(body);
        }
    }
    bytes
}

/// The format's version.
pub const VERSION: u32 = 6;

/// Why bytes are not a tape that can be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TapeError {
    /// Something else.
    #[error("this is no tape: it does not begin with `quorate-tape`")]
    NoTape,
    /// Another version's.
    #[error("the tape has version {found}: this program reads version {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// Its writer was killed before the node began.
    #[error("the tape ends at byte {offset}, before its node began: there is nothing to replay")]
    Short {
        /// Where it ends.
        offset: u64,
    },
    /// Bytes are not as they were written.
    #[error("the tape is damaged at byte {offset}: {what}; what is before that byte can be replayed")]
    Damaged {
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}
