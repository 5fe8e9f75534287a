//! Fuzz targets over the core of Quorate and over each of its decoders.
//!
//! Each target is a function of bytes that panics when something is wrong. `cargo +nightly fuzz run NAME` hands it to
//! libFuzzer; `cargo test` on stable replays the corpus and tries some random inputs; `cargo run --release --bin NAME`
//! tries random inputs for a while, also on stable.

pub mod choices;
pub mod corpus;
pub mod explore;

mod cluster;
mod command;
mod mutate;
mod peer_message;
mod snapshot;
mod tape;
mod wal;

/// Drives three masters and one or two executors, and checks after each step what must never happen. The first byte says how
/// (hostile peers, two executors, from empty directories, healed at the end), the others what happens.
///
/// # Panics
/// When a rule is broken.
pub fn cluster(bytes: &[u8]) {
    cluster::run(bytes);
}

/// Decodes the bytes behind the first as a message of a peer, and as a batch of them. A master takes each as it is, then as if
/// a member had sent it to that master, then in its own term. The first byte says which master: a new one, a leader, a follower.
///
/// # Panics
/// When the master does.
pub fn peer_message(bytes: &[u8]) {
    peer_message::run(bytes);
}

/// Reads files of the log, and opens a directory that holds them. The first byte says how the files are made of the others.
///
/// # Panics
/// When a decoder does, or when a log is accepted that cannot be.
pub fn wal(bytes: &[u8]) {
    wal::run(bytes);
}

/// Decodes a state, or a snapshot file. The first byte says which.
///
/// # Panics
/// When a decoder does, or when two ways of reading the same bytes differ.
pub fn snapshot(bytes: &[u8]) {
    snapshot::run(bytes);
}

/// Reads a tape: its very bytes, or records that get right checksums. The first byte says which.
///
/// # Panics
/// When the reader does, or when a tape is read beyond its end.
pub fn tape(bytes: &[u8]) {
    tape::run(bytes);
}

/// Decodes an entry, or several if the first byte is 255, and applies what they say.
///
/// # Panics
/// When decoding or applying does, or when the state is not sound afterwards.
pub fn command(bytes: &[u8]) {
    command::run(bytes);
}
