//! Tapes: their very bytes, and records of every kind with right checksums.

use crate::choices::Choices;
use bytes::Bytes;
use quorate_core::{
    Config, Input, Node,
    contract::{Flow, LeaseTimes, MemberAddress, Recovered, Timing},
    tape::{StartRef, Tape, TapeError, TapeWriter, sealed},
    types::{ClusterId, NodeId, Now, StorageId, Time},
};

/// Which bytes an input has: its first byte.
pub(crate) mod form {
    /// A tape's.
    pub(crate) const RAW: u8 = 0;
    /// Kinds and bodies of records.
    pub(crate) const SEALED: u8 = 1;
}

/// Most records of one input.
const RECORDS: usize = 64;
/// Bytes in front of a record's body, and of the first record.
const HEADER_BYTES: usize = 16;

pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    if choices.byte() % 2 == form::RAW {
        return read(choices.rest().to_vec());
    }
    let mut records = Vec::new();
    for _ in 0..RECORDS {
        if choices.is_empty() {
            break;
        }
        let kind = choices.byte();
        records.push((kind, choices.block()));
    }
    read(sealed(records));
}

fn read(bytes: Vec<u8>) {
    let length = bytes.len() as u64;
    let inside = |error: &TapeError| match error {
        TapeError::Damaged { offset, .. } | TapeError::Short { offset } => *offset <= length,
        TapeError::NoTape | TapeError::Version { .. } => true,
    };
    let mut tape = match Tape::open(Bytes::from(bytes)) {
        Ok(tape) => tape,
        Err(error) => return assert!(inside(&error), "{error} in {length} bytes"),
    };
    let (mut number, mut end) = (0, 0);
    loop {
        match tape.next_step() {
            Ok(Some(step)) => {
                assert!(step.number == number + 1 && step.offset > end, "{step:?} after {number}, {end}");
                (number, end) = (step.number, step.offset);
            }
            Ok(None) => return assert!(tape.torn_bytes() <= length, "more is torn than is there"),
            Err(error) => return assert!(inside(&error), "{error} in {length} bytes"),
        }
    }
}

/// A tape of a node that starts and takes some inputs, and its records as choices.
pub(crate) fn recorded() -> (Vec<u8>, Vec<u8>) {
    let address = MemberAddress { peer: "a:1".to_owned(), client: "a:2".to_owned() };
    let config = Config {
        cluster: ClusterId(7),
        node: NodeId(1),
        storage: StorageId(3),
        members: [(NodeId(1), address)].into(),
        joins: false,
        timing: Timing::default(),
        executor_lease: LeaseTimes::default(),
        snapshot_entries: 10,
        trailing_entries: 1,
        log_bytes: quorate_core::contract::LogBytes::default(),
        snapshot_rate: 0,
        flow: Flow::default(),
        level: quorate_core::level::FEATURE_LEVEL,
    };
    let (recovered, mut now) = (Recovered::default(), Now { time: Time(5), wall_ms: 6 });
    let mut bytes = Vec::new();
    {
        let start = StartRef { config: &config, recovered: &recovered, seed: 1, now };
        let mut writer = TapeWriter::begin(|part: &[u8]| bytes.extend_from_slice(part), &start);
        let mut node = Node::new(config.clone(), recovered.clone(), 1, now);
        let inputs = [
            Input::Deadline,
            Input::PeerRefused { peer: NodeId(2), message: "no".to_owned() },
            Input::Peer(Box::default()),
            Input::WriteFailed { message: "disk".to_owned() },
        ];
        let mut inputs = inputs.into_iter();
        loop {
            while let Some(output) = node.poll_output() {
                writer.output(&output);
            }
            writer.end();
            let Some(input) = inputs.next() else { break };
            now.time = node.next_deadline().map_or(now.time, |(at, _)| at.max(now.time));
            writer.input(now, &input);
            node.step(now, input);
        }
    }
    let records = as_choices(&bytes);
    (bytes, records)
}

fn as_choices(tape: &[u8]) -> Vec<u8> {
    let mut choices = Vec::new();
    let mut rest = tape.get(HEADER_BYTES..).unwrap_or_default();
    while let Some((header, behind)) = rest.split_at_checked(HEADER_BYTES) {
        let length = header.iter().take(4).rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        let Some((body, next)) = behind.split_at_checked(length) else { break };
        choices.push(header[4]);
        choices.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        choices.extend_from_slice(body);
        rest = next;
    }
    choices
}
