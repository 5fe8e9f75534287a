//! What was recorded replays to the same chain; what was not written like this is refused at its place.

use super::*;
use crate::{
    Node,
    contract::{
        Config, Entry, Flow, Input, LeaseTimes, LogPosition, MemberAddress, Output, Recovered, Snapshot,
        Timing,
    },
    types::{CallKey, ClusterId, Index, NodeId, Now, RequestKey, StorageId, Term, Time},
};
use bytes::Bytes;
use core::time::Duration;
use proptest::prelude::*;
use quorate_proto::v1 as pb;
use std::{cell::RefCell, rc::Rc};

type Written = Rc<RefCell<Vec<u8>>>;

/// No two numbers are equal.
const fn flow() -> Flow {
    Flow {
        uncommitted_bytes: 90_001,
        append_bytes: 80_002,
        append_entries: 103,
        inflight_messages: 54,
        inflight_bytes: 70_005,
        snapshot_chunk_bytes: 60_006,
    }
}

fn config() -> Config {
    let address = MemberAddress { peer: "a:1".into(), client: "a:2".into() };
    Config {
        cluster: ClusterId(7),
        node: NodeId(1),
        storage: StorageId(3),
        members: [(NodeId(1), address)].into(),
        joins: false,
        timing: Timing::default(),
        executor_lease: LeaseTimes::default(),
        snapshot_entries: 8,
        trailing_entries: 2,
        log_bytes: crate::contract::LogBytes::default(),
        snapshot_rate: 0,
        flow: flow(),
        level: crate::level::FIRST_LEVEL,
    }
}

/// A node under a driver that records.
struct Recorded<S: FnMut(&[u8])> {
    node: Node,
    tape: TapeWriter<S>,
    now: Now,
    todo: Vec<Input>,
    saved: Option<Snapshot>,
}

impl<S: FnMut(&[u8])> Recorded<S> {
    fn start(sink: S, recovered: Recovered) -> Self {
        let now = Now { time: Time(77), wall_ms: 1_000 };
        let config = config();
        let tape =
            TapeWriter::begin(sink, &StartRef { config: &config, recovered: &recovered, seed: 5, now });
        let node = Node::new(config, recovered, 5, now);
        let mut recorded = Self { node, tape, now, todo: Vec::new(), saved: None };
        recorded.drain();
        recorded
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.tape.output(&output);
            match output {
                Output::Write(write) => self.todo.push(Input::WriteDone { io: write.io }),
                Output::SaveSnapshot(snapshot) => {
                    self.todo.push(Input::SnapshotSaved { at: snapshot.at });
                    self.saved = Some(*snapshot);
                }
                _ => {}
            }
        }
        self.tape.end();
    }

    fn step(&mut self, input: Input) {
        self.now.time = self.now.time + Duration::from_micros(10);
        self.now.wall_ms += 1;
        self.tape.input(self.now, &input);
        self.node.step(self.now, input);
        self.drain();
        while let Some(input) = self.todo.pop() {
            self.step(input);
        }
    }

    fn run(&mut self, deadlines: usize) {
        for _ in 0..deadlines {
            let (at, _) = self.node.next_deadline().unwrap();
            self.now.time = self.now.time.max(at);
            self.step(Input::Deadline);
        }
    }

    fn put(&mut self, key: u64) {
        let session = pb::OpenSessionRequest { ttl_ms: 60_000 };
        let request = pb::ClientRequest { body: Some(pb::client_request::Body::OpenSession(session)) };
        self.step(Input::Request { key: RequestKey(key), request: Box::new(request) });
        self.run(2);
    }
}

fn sink(written: &Written) -> impl FnMut(&[u8]) + use<> {
    let written = Rc::clone(written);
    move |bytes| written.borrow_mut().extend_from_slice(bytes)
}

fn bytes(written: &Written) -> Bytes {
    written.borrow().clone().into()
}

/// Every kind of input once, some of which mean nothing to this node.
fn all_kinds(snapshot: &Snapshot) -> Vec<Input> {
    let at = LogPosition { term: Term(1), index: Index(2) };
    let envelope = pb::Envelope { from: 2, to: 1, term: 9, ..Default::default() };
    let state = Some(Box::new(snapshot.state.clone()));
    vec![
        Input::Peer(Box::new(envelope)),
        Input::PeerConnected(NodeId(2)),
        Input::PeerLost(NodeId(2)),
        Input::DiskDamaged,
        Input::PeerRefused { peer: NodeId(2), message: "no".into() },
        Input::RequestGone { key: RequestKey(1) },
        Input::SnapshotChunkStored { at, number: 1, last: true },
        Input::SnapshotChunkRefused { at, number: 1 },
        Input::SnapshotChunkRead { peer: NodeId(2), at, number: 0, chunk: None },
        Input::SnapshotChunkRead {
            peer: NodeId(2),
            at,
            number: 0,
            chunk: Some((Bytes::from_static(b"ab"), true)),
        },
        #[cfg(feature = "fault-points")]
        Input::FaultPoint { point: crate::point::Point::ApplyOne, one_in: 3 },
        Input::SnapshotLoaded { at, state: None },
        Input::SnapshotTooNew { level: 1 },
        Input::SnapshotLoaded { at, state },
        Input::CallDone { key: CallKey(3), reply: None },
        Input::CallDone { key: CallKey(3), reply: Some(Box::default()) },
        Input::WriteFailed { message: "disk".into() },
        Input::Deadline,
    ]
}

/// A tape with everything on it: a recovered log and snapshot, and every kind of input.
fn tape() -> (Bytes, u64) {
    let written = Written::default();
    let mut first = Recorded::start(sink(&written), Recovered::default());
    first.run(3);
    (0..12).for_each(|key| first.put(key));
    let snapshot = first.saved.clone().expect("8 entries make a snapshot");
    let after = snapshot.at.index.next();
    let entries = (after.0..).map_while(|at| first.node.raft().entry(Index(at)).cloned()).collect();
    let recovered = Recovered {
        hard_state: first.node.raft().hard_state(),
        voters: [(NodeId(1), StorageId(3))].into(),
        start: snapshot.at,
        entries,
        snapshot: Some(snapshot.clone()),
    };
    written.borrow_mut().clear();
    let mut second = Recorded::start(sink(&written), recovered);
    second.run(3);
    (20..24).for_each(|key| second.put(key));
    all_kinds(&snapshot).into_iter().for_each(|input| second.step(input));
    drop(second);
    let bytes = bytes(&written);
    let steps = replay(bytes.clone()).unwrap();
    (bytes, steps)
}

fn replay(bytes: Bytes) -> Result<u64, String> {
    let mut tape = Tape::open(bytes).map_err(|error| error.to_string())?;
    let mut replay = Replay::begin(&tape).map_err(|difference| format!("{difference:?}"))?;
    let mut steps = 0;
    while let Some(step) = tape.next_step().map_err(|error| error.to_string())? {
        replay.take(&step).map_err(|difference| format!("different at {}", difference.step))?;
        steps = step.number;
    }
    Ok(steps)
}

#[test]
fn every_input_and_every_start_replays_to_the_same_chain() {
    let (bytes, steps) = tape();
    assert!(steps > 30, "{steps} inputs");
    let tape = Tape::open(bytes).unwrap();
    let start = tape.start();
    assert_eq!(
        (start.seed, start.now, start.config.snapshot_entries),
        (5, Now { time: Time(77), wall_ms: 1_000 }, 8)
    );
    assert_eq!(start.config.flow, flow());
    assert!(start.recovered.snapshot.is_some() && !start.recovered.entries.is_empty());
}

#[test]
fn another_seed_is_a_difference_and_is_shown_where_it_begins() {
    let (bytes, _) = tape();
    let tape = Tape::open(bytes).unwrap();
    let mut other = tape.clone();
    other.set_seed(6);
    let mut replay = Replay::begin(&other).unwrap();
    let mut steps = tape;
    let difference = loop {
        let step = steps.next_step().unwrap().expect("draws differ, so that something must");
        if let Err(difference) = replay.take(&step) {
            assert_eq!((difference.step, difference.offset), (step.number, step.offset));
            break difference;
        }
    };
    assert_ne!(difference.expected, difference.found);
}

#[test]
fn a_killed_writer_leaves_a_tape_that_is_whole_up_to_there() {
    let (bytes, steps) = tape();
    let mut last = 0;
    for end in 0..=bytes.len() {
        match replay(bytes.slice(..end)) {
            Ok(found) => {
                assert!(found >= last, "byte {end}: {found} inputs, and {last} with fewer bytes");
                last = found;
            }
            Err(why) => assert!(last == 0 && why.contains("before its node began"), "byte {end}: {why}"),
        }
    }
    assert_eq!(last, steps);
    // A machine that loses its power may leave zeros.
    let zeros = [&bytes[..], &[0; 100]].concat();
    assert_eq!(replay(zeros.into()), Ok(steps));
}

#[test]
fn what_a_node_was_fed_with_is_replayed_as_that() {
    let written = Written::default();
    let mut recorded = Recorded::start(sink(&written), Recovered::default());
    recorded.run(3);
    for key in 0..3 {
        let session = pb::OpenSessionRequest { ttl_ms: 60_000 };
        let request = pb::ClientRequest { body: Some(pb::client_request::Body::OpenSession(session)) };
        let input = Input::Request { key: RequestKey(key), request: Box::new(request) };
        recorded.tape.fed(recorded.now, &input);
        recorded.node.feed(recorded.now, input);
        recorded.drain();
    }
    recorded.step(Input::Deadline);
    drop(recorded);
    let bytes = bytes(&written);
    replay(bytes.clone()).unwrap();
    let mut tape = Tape::open(bytes).unwrap();
    let steps: Vec<_> = std::iter::from_fn(|| tape.next_step().unwrap()).map(|step| step.fed).collect();
    assert_eq!(steps.iter().filter(|fed| **fed).count(), 3);
}

#[test]
fn a_step_that_is_not_finished_is_on_the_tape() {
    let written = Written::default();
    let mut recorded = Recorded::start(sink(&written), Recovered::default());
    recorded.run(1);
    let whole = replay(bytes(&written)).unwrap();
    recorded.tape.input(recorded.now, &Input::Deadline);
    drop(recorded);
    let mut tape = Tape::open(bytes(&written)).unwrap();
    let mut steps = Vec::new();
    while let Some(step) = tape.next_step().unwrap() {
        steps.push(step.chain.is_some());
    }
    assert_eq!((steps.len() as u64, steps.last()), (whole + 1, Some(&false)));
}

#[test]
fn what_is_no_tape_or_a_newer_one_is_refused() {
    assert_eq!(Tape::open(Bytes::from_static(b"[package]\nname")).unwrap_err(), TapeError::NoTape);
    assert_eq!(Tape::open(Bytes::new()).unwrap_err(), TapeError::Short { offset: 0 });
    let mut newer = tape().0.to_vec();
    newer[12] = 9;
    assert_eq!(Tape::open(newer.into()).unwrap_err(), TapeError::Version { found: 9 });
}

#[test]
fn an_input_over_the_limit_ends_the_tape_before_it() {
    let written = Written::default();
    let mut recorded = Recorded::start(sink(&written), Recovered::default());
    recorded.run(1);
    let before = replay(bytes(&written)).unwrap();
    let key = Bytes::from(vec![7; crate::limits::TAPE_RECORD_BYTES]);
    let get = pb::GetRequest { key, ..Default::default() };
    let request = Box::new(pb::ClientRequest { body: Some(pb::client_request::Body::Get(get)) });
    recorded.step(Input::Request { key: RequestKey(1), request });
    recorded.run(2);
    assert!(recorded.tape.is_over());
    assert_eq!(replay(bytes(&written)), Ok(before));
}

#[test]
fn entries_that_do_not_follow_are_refused() {
    let entry = |index| Entry { term: Term(1), index: Index(index), data: Bytes::new() };
    let written = Written::default();
    let recovered = Recovered { entries: vec![entry(1), entry(3)], ..Recovered::default() };
    let config = config();
    let start = StartRef { config: &config, recovered: &recovered, seed: 1, now: Now::default() };
    TapeWriter::begin(sink(&written), &start).end();
    let error = Tape::open(bytes(&written)).unwrap_err().to_string();
    assert!(error.contains("does not follow"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_is_refused_with_the_place_of_its_record(at in any::<prop::sample::Index>(), by in 1..=255_u8) {
        let (bytes, _) = TAPE.get_or_init(tape).clone();
        let at = at.index(bytes.len());
        let mut changed = bytes.to_vec();
        changed[at] ^= by;
        let error = Tape::open(changed.into()).and_then(|mut tape| {
            while tape.next_step()?.is_some() {}
            Ok(())
        });
        match error {
            Err(TapeError::NoTape) => prop_assert!(at < 12),
            Err(TapeError::Version { .. }) => prop_assert!((12..16).contains(&at)),
            Err(TapeError::Damaged { offset, .. }) => prop_assert!(offset as usize <= at, "{offset} > {at}"),
            other => prop_assert!(false, "byte {at}: {other:?}"),
        }
    }
}

static TAPE: std::sync::OnceLock<(Bytes, u64)> = std::sync::OnceLock::new();
