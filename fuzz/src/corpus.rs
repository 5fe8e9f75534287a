//! The seeds: real encodings, and runs that go somewhere. The same bytes each time.

use crate::{command, snapshot, tape, wal};
use bytes::Bytes;
use prost::Message as _;
use quorate_core::{
    codec,
    command::{Command, Expected, Proposal, RequestId},
    contract::{Entry, HardState, Snapshot, Write},
    state::{ApplyContext, State},
    types::{
        AttemptId, ClusterTime, Epoch, ExecutorId, Incarnation, Index, JobId, LeaseId, NodeId, SessionId,
        StorageId, TaskKey, Term, WriteId,
    },
};
use quorate_net::storage::{
    Disk, MemoryDisk, SnapshotStore, Storage, StorageOptions, disk::read_all, scan, segment,
};
use quorate_proto::v1::{self as pb, envelope::Body};
use std::sync::Arc;

/// A file of a corpus.
pub type Seed = (String, Vec<u8>);

/// All seeds, by target.
///
/// # Panics
/// When something that is real does not encode.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![
        ("cluster", cluster()),
        ("command", commands()),
        ("peer_message", messages()),
        ("snapshot", snapshots()),
        ("tape", tapes()),
        ("wal", logs()),
    ]
}

/// A short tape, as its bytes and as records.
fn tapes() -> Vec<Seed> {
    let (bytes, records) = tape::recorded();
    vec![seed("whole", tape::form::RAW, &bytes), seed("records", tape::form::SEALED, &records)]
}

fn seed(name: &str, first: u8, rest: &[u8]) -> Seed {
    let mut bytes = vec![first];
    bytes.extend_from_slice(rest);
    (name.to_owned(), bytes)
}

fn specification(tasks: u32) -> pb::JobSpecification {
    pb::JobSpecification {
        r#type: pb::JobType::Batch.into(),
        argv: vec!["echo".to_owned(), "hello".to_owned()],
        environment: vec![pb::Pair { name: "A".to_owned(), value: "b".to_owned() }],
        tasks,
        slots_per_task: 1,
        retry: Some(pb::RetryPolicy {
            max_failures: 2,
            backoff_initial_ms: 100,
            backoff_max_ms: 1_000,
            backoff_growth_percent: 200,
            reset_after_ms: 60_000,
        }),
        stop_timeout_ms: 5_000,
        output_limit_bytes: 1_024,
        ..Default::default()
    }
}

fn job() -> JobId {
    JobId::parse("job-1").expect("it is an id")
}

fn attempt(number: u32) -> AttemptId {
    AttemptId { task: TaskKey { job: job(), number }, epoch: Epoch(1) }
}

fn report(number: u32, phase: pb::AttemptPhase, code: i32) -> pb::AttemptReport {
    let attempt = pb::AttemptKey { job: "job-1".to_owned(), number, epoch: 1 };
    let end = pb::AttemptEnd::Exited.into();
    pb::AttemptReport { attempt: Some(attempt), phase: phase.into(), end, code, message: String::new() }
}

/// A short history in which everything happens once.
fn history() -> Vec<(&'static str, Command)> {
    let key = || Bytes::from_static(b"key");
    let value = || Bytes::from_static(b"value");
    let register = pb::RegisterExecutorRequest {
        name: "e1".to_owned(),
        address: "e1:1".to_owned(),
        slots: 2,
        incarnation: 5,
        ..Default::default()
    };
    let reports = |phase, codes: [i32; 2]| Command::ReportAttempts {
        executor: ExecutorId(1),
        incarnation: Incarnation(5),
        reports: (0..).zip(codes).map(|(number, code)| report(number, phase, code)).collect(),
    };
    vec![
        ("open-session", Command::OpenSession { ttl_ms: 60_000 }),
        ("put", Command::Put { key: key(), value: value() }),
        ("cas-absent", Command::CompareAndSet { key: key(), expected: Expected::Absent, value: value() }),
        (
            "cas-value",
            Command::CompareAndSet { key: key(), expected: Expected::Value(value()), value: key() },
        ),
        (
            "cas-revision",
            Command::CompareAndSet { key: key(), expected: Expected::ModRevision(2), value: key() },
        ),
        ("register", Command::RegisterExecutor { request: register, ttl_ms: 5_000, grace_ms: 2_000 }),
        ("submit", Command::SubmitJob { id: Some(job()), specification: specification(3) }),
        ("submit-unnamed", Command::SubmitJob { id: None, specification: specification(1) }),
        ("running", reports(pb::AttemptPhase::Running, [0, 0])),
        ("refused", Command::AttemptRefused { executor: ExecutorId(1), attempt: attempt(2) }),
        ("ended", reports(pb::AttemptPhase::Ended, [0, 1])),
        ("place", Command::Place),
        ("cancel", Command::CancelJob { id: job(), timeout_ms: 10 }),
        ("force", Command::ForceCancel { jobs: vec![job()] }),
        ("expire", Command::ExpireLeases { leases: vec![LeaseId(1), LeaseId(2)] }),
        ("remove", Command::RemoveExecutor { executor: ExecutorId(1) }),
        ("deregister", Command::DeregisterExecutor { executor: ExecutorId(1), incarnation: Incarnation(5) }),
        ("delete-job", Command::DeleteJob { id: job() }),
        ("delete", Command::Delete { key: key() }),
        ("close-session", Command::CloseSession { session: session() }),
    ]
}

/// What the history says in its place `number`.
fn proposal(number: u64, command: Command) -> Proposal {
    let id = || RequestId { session: session(), sequence: number, lowest_open: number };
    let request = command.needs_request().then(id);
    Proposal { time: ClusterTime(number * 100), wall_ms: number, request, command }
}

/// The session that the history begins with.
fn session() -> SessionId {
    let open = proposal(1, Command::OpenSession { ttl_ms: 60_000 });
    match State::default().apply(&ApplyContext { index: Index(1) }, open).reply.body {
        Some(pb::client_reply::Body::OpenSession(reply)) => SessionId(reply.session),
        other => unreachable!("a session is opened: {other:?}"),
    }
}

fn entries() -> Vec<(&'static str, Bytes)> {
    let with_facts = |(number, (name, command)): (u64, (&'static str, Command))| {
        (name, codec::encode(&proposal(number, command)))
    };
    (1..).zip(history()).map(with_facts).collect()
}

fn commands() -> Vec<Seed> {
    let entries = entries();
    let mut seeds: Vec<Seed> =
        entries.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
    seeds.push(seed("history", command::MANY, &blocks(entries.iter().map(|(_, bytes)| &bytes[..]))));
    let lives =
        ["open-session", "submit", "register", "running", "cancel", "force", "delete-job", "submit", "place"];
    let named = |name: &&str| entries.iter().find(|(known, _)| known == name).map(|(_, bytes)| &bytes[..]);
    seeds.push(seed("forced", command::MANY, &blocks(lives.iter().filter_map(named))));
    seeds
}

fn blocks<'bytes>(parts: impl Iterator<Item = &'bytes [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The state after some entries of the history.
fn state(count: usize) -> State {
    let mut state = State::default();
    for (_, bytes) in entries().into_iter().take(count) {
        let index = state.index().next();
        state.apply(&ApplyContext { index }, codec::decode(&bytes).expect("it was just encoded"));
    }
    state
}

fn snapshots() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for count in [0, 2, 6, 9, 20] {
        let bytes: Vec<u8> = state(count).encode().flatten().collect();
        seeds.push(seed(&format!("state-{count}"), snapshot::form::STATE, &bytes));
        seeds.push(seed(&format!("framed-{count}"), snapshot::form::FRAMED, &[&[63], &bytes[..]].concat()));
        let disk = Arc::new(MemoryDisk::new());
        let store = SnapshotStore::new(Arc::<MemoryDisk>::clone(&disk), wal::identity());
        store
            .save(&Snapshot { at: snapshot::place(), state: state(count) })
            .expect("memory takes everything");
        let name = disk.list().expect("memory can be read").pop().expect("a snapshot was saved");
        let file = read_all(&*disk, &name).expect("memory can be read");
        seeds.push(seed(&format!("file-{count}"), snapshot::form::FILE, &file));
    }
    seeds
}

fn entry(term: u64, index: u64) -> Entry {
    let data = entries()[usize::try_from(index).unwrap_or(0) % 5].1.clone();
    Entry { term: Term(term), index: Index(index), data }
}

fn writes() -> Vec<Write> {
    let hard_state =
        |term, commit| HardState { term: Term(term), vote: Some(NodeId(2)), commit: Index(commit) };
    let write = |io, entries, hard_state| Write {
        io: WriteId(io),
        start: None,
        entries,
        hard_state: Some(hard_state),
        voters: None,
    };
    let voters = [(NodeId(1), StorageId(3)), (NodeId(2), StorageId(4))].into();
    vec![
        Write { voters: Some(voters), ..write(1, Vec::new(), hard_state(1, 0)) },
        write(2, vec![entry(1, 1), entry(1, 2), entry(1, 3)], hard_state(1, 1)),
        write(3, vec![entry(2, 3), entry(2, 4)], hard_state(2, 2)),
        write(4, vec![entry(2, 5)], hard_state(2, 5)),
    ]
}

fn files(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let names = disk.list().expect("memory can be read");
    let logs = names.iter().filter(|name| segment::parse_file_name(name).is_some());
    logs.map(|name| read_all(disk, name).expect("memory can be read")).collect()
}

fn logs() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, segment_bytes) in [("one", 2_000), ("small", 300)] {
        let disk = Arc::new(MemoryDisk::new());
        let options = StorageOptions { segment_bytes };
        let open = || Storage::open(Arc::<MemoryDisk>::clone(&disk), wal::identity(), options);
        let (mut storage, _) = open().expect("a new directory");
        for (number, write) in writes().iter().enumerate() {
            storage.write(core::slice::from_ref(write)).expect("memory takes everything");
            let files = files(&disk);
            let parts = blocks(files.iter().map(|file| &file[..]));
            seeds.push(seed(&format!("{name}-{number}"), wal::form::FILES, &parts));
            if files.len() == 1 {
                seeds.push(seed(&format!("{name}-{number}-raw"), wal::form::RAW, &files[0]));
            }
        }
        drop(storage);
        drop(open().expect("it was just written"));
        let files = files(&disk);
        seeds.push(seed(
            &format!("{name}-again"),
            wal::form::FILES,
            &blocks(files.iter().map(|file| &file[..])),
        ));
        let end = |file: &Vec<u8>| scan::decode_segment(file).map_or(0, |found| found.end);
        let cut = |file: &Vec<u8>| usize::try_from(end(file)).unwrap_or(0).saturating_sub(20);
        let torn = files.last().map_or(&[][..], |file| &file[..cut(file)]);
        seeds.push(seed(&format!("{name}-torn"), wal::form::RAW, torn));
    }
    seeds.extend(sealed());
    seeds
}

/// Records of the first batches of a log, as kinds and payloads.
fn sealed() -> Vec<Seed> {
    let numbers =
        |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let checkpoint = numbers(&[1, 2, 0, 0, 0, 0, 0, 1, 1, 3]);
    let entries = [numbers(&[1, 1, 1, 1]), vec![b'x']].concat();
    let hard_state = numbers(&[2, 1, 1]);
    let padded = |bytes: &[u8]| 16 + bytes.len().next_multiple_of(8) as u64;
    let record = |kind: u8, payload: &[u8]| {
        let mut bytes = vec![kind];
        bytes.extend(blocks([payload].into_iter()));
        bytes
    };
    let first = [record(0, &numbers(&[0, padded(&checkpoint)])), record(5, &checkpoint)].concat();
    let end = 80 + 32 + padded(&checkpoint);
    let length = padded(&entries) + padded(&hard_state);
    let second = [record(0, &numbers(&[end, length])), record(1, &entries), record(2, &hard_state)].concat();
    let start = numbers(&[1, 1, 0]);
    let third = [record(0, &numbers(&[end, padded(&start)])), record(4, &start)].concat();
    vec![
        seed("sealed-first", wal::form::SEALED, &first),
        seed("sealed-second", wal::form::SEALED, &[&first[..], &second].concat()),
        seed("sealed-start", wal::form::SEALED, &[&first[..], &third].concat()),
    ]
}

fn bodies() -> Vec<(&'static str, Body)> {
    let log_entry = |term, index| {
        let Entry { term, index, data } = entry(term, index);
        pb::LogEntry { term: term.0, index: index.0, data }
    };
    let put = pb::PutRequest {
        request_id: Some(pb::RequestId { session: session().0, sequence: 1, lowest_open: 1 }),
        key: "k".into(),
        value: "v".into(),
    };
    let request = pb::ClientRequest { body: Some(pb::client_request::Body::Put(put)) };
    let reply =
        pb::ClientReply { index: 3, body: Some(pb::client_reply::Body::Put(pb::PutReply { revision: 2 })) };
    let voters = vec![pb::VoterStorage { node: 1, storage: 11 }, pb::VoterStorage { node: 2, storage: 22 }];
    let member =
        pb::MemberRecord { id: 1, storage: 11, part: pb::MemberPart::Voter.into(), ..Default::default() };
    let membership = Some(pb::Membership { members: vec![member], index: 2, ..Default::default() });
    let hello = pb::Hello {
        empty: true,
        feature_level: 1,
        ask: true,
        voters,
        seen_term: 1,
        seen_index: 2,
        membership,
        joins: true,
        no_entries: true,
    };
    let entries = vec![log_entry(1, 5), log_entry(2, 6)];
    let chunk = state(9).encode().next().expect("a state has a chunk");
    let denied = pb::Denied {
        reason: pb::denied::Reason::WentBack.into(),
        message: "m".into(),
        storage: 11,
        members_index: 2,
    };
    vec![
        ("hello", Body::Hello(hello)),
        ("denied", Body::Denied(denied)),
        ("pre-vote", Body::PreVote(pb::PreVoteRequest { last_index: 5, last_term: 1, next_term: 2 })),
        (
            "pre-vote-reply",
            Body::PreVoteReply(pb::PreVoteReply { next_term: 2, granted: true, ..Default::default() }),
        ),
        ("vote", Body::Vote(pb::VoteRequest { last_index: 5, last_term: 1, handed: false })),
        ("vote-handed", Body::Vote(pb::VoteRequest { last_index: 5, last_term: 1, handed: true })),
        ("timeout-now", Body::TimeoutNow(pb::TimeoutNow {})),
        ("vote-reply", Body::VoteReply(pb::VoteReply { granted: true, ..Default::default() })),
        ("append", Body::Append(pb::AppendRequest { prev_index: 4, prev_term: 1, entries, commit: 4 })),
        (
            "append-reply",
            Body::AppendReply(pb::AppendReply { accepted: true, index: 5, ..Default::default() }),
        ),
        (
            "refused",
            Body::AppendReply(pb::AppendReply {
                index: 5,
                hint_index: 2,
                hint_term: 1,
                ..Default::default()
            }),
        ),
        (
            "heartbeat",
            Body::Heartbeat(pb::HeartbeatMessage { commit: 4, position: 3, lease: 7, ..Default::default() }),
        ),
        (
            "heartbeat-answer",
            Body::HeartbeatAnswer(pb::HeartbeatAnswer {
                position: 3,
                verified_index: 5,
                lease: 7,
                ..Default::default()
            }),
        ),
        (
            "chunk",
            Body::SnapshotChunk(pb::SnapshotChunk {
                index: 9,
                entry_term: 1,
                number: 0,
                data: chunk,
                last: true,
            }),
        ),
        (
            "chunk-reply",
            Body::SnapshotReply(pb::SnapshotReply { index: 9, next_number: 1, installed: false }),
        ),
        ("forward", Body::Forward(pb::ForwardRequest { id: 1, request: Some(request) })),
        ("forward-reply", Body::ForwardReply(pb::ForwardReply { id: 1, reply: Some(reply) })),
    ]
}

fn messages() -> Vec<Seed> {
    let envelope =
        |body| pb::Envelope { cluster: 77, from: 2, to: 1, storage: 22, term: 1, level: 1, body: Some(body) };
    let mut seeds = Vec::new();
    for (number, (name, body)) in (0..).zip(bodies()) {
        seeds.push(seed(name, number % 3, &envelope(body).encode_to_vec()));
    }
    for master in 0..3 {
        let envelopes = bodies().into_iter().map(|(_, body)| envelope(body)).collect();
        let batch = pb::PeerBatch { envelopes };
        seeds.push(seed(&format!("batch-{master}"), master, &batch.encode_to_vec()));
    }
    let install = bodies().into_iter().filter(|(name, _)| ["chunk", "append", "heartbeat"].contains(name));
    let envelopes = install.map(|(_, body)| envelope(body)).collect();
    seeds.push(seed("install", 2, &pb::PeerBatch { envelopes }.encode_to_vec()));
    seeds
}

/// Choices of the `cluster` target, by name.
mod choice {
    pub(super) const PASS: [u8; 2] = [0, 15];
    pub(super) const SETTLE: [u8; 1] = [8];
    pub(super) const WAIT: [u8; 3] = [32, 200, 0];
    pub(super) const RESTART: [u8; 6] = [48, 0, 48, 1, 48, 2];
    pub(super) const CRASH_ALL: [u8; 9] = [47, 0, 1, 47, 1, 0, 47, 2, 3];
    pub(super) const CUT_FIRST: [u8; 2] = [51, 0b00_0111];
    pub(super) const CUT_EXECUTOR: [u8; 2] = [51, 0b100_0000];
    pub(super) const HEAL: [u8; 2] = [51, 0];
    pub(super) const PUT: [u8; 6] = [37, 0, 14, 0, 0, 0];
    pub(super) const GET: [u8; 4] = [37, 1, 11, 0];
    pub(super) const SUBMIT: [u8; 8] = [37, 0, 21, 0, 0, 0, 0, 0b0010];
    pub(super) const CANCEL: [u8; 8] = [37, 0, 27, 0, 0, 0, 0, 5];
    pub(super) const DELETE: [u8; 7] = [37, 0, 29, 0, 0, 0, 0];
    pub(super) const END: [u8; 4] = [53, 0, 4, 0];
    pub(super) const FAIL: [u8; 4] = [53, 0, 3, 0];
    pub(super) const KILL_AGENT: [u8; 3] = [57, 0, 2];
    pub(super) const ATTACK: [u8; 8] = [60, 2, 0, 3, 5, 3, 6, 5];
}

fn cluster() -> Vec<Seed> {
    use choice::*;
    let many = |part: &[u8], count: usize| part.repeat(count);
    let work = [&SUBMIT[..], &PASS, &END, &PASS, &FAIL, &PASS, &PASS].concat();
    let runs: Vec<(&str, u8, Vec<u8>)> = vec![
        ("begin", 4 | 8, many(&PASS, 8)),
        ("keys", 8, [many(&[&PUT[..], &SETTLE, &GET, &SETTLE].concat(), 12), PASS.to_vec()].concat()),
        ("jobs", 2 | 8, many(&work, 4)),
        ("crash-all", 8, [&PUT[..], &PASS, &CRASH_ALL, &RESTART, &many(&PASS, 4), &GET, &SETTLE].concat()),
        ("cut", 8, [&CUT_FIRST[..], &many(&PASS, 4), &PUT, &many(&PASS, 4), &HEAL, &many(&PASS, 4)].concat()),
        (
            "lost-executor",
            2,
            [&SUBMIT[..], &PASS, &CUT_EXECUTOR, &many(&WAIT, 9), &many(&PASS, 9), &HEAL, &PASS].concat(),
        ),
        ("agent-killed", 0, [&SUBMIT[..], &PASS, &KILL_AGENT, &many(&PASS, 9)].concat()),
        ("cancel", 2, [&SUBMIT[..], &PASS, &CANCEL, &PASS, &WAIT, &PASS, &DELETE, &PASS].concat()),
        (
            "snapshot",
            8,
            [&[47, 1, 0][..], &many(&[&PUT[..], &SETTLE].concat(), 30), &RESTART, &many(&PASS, 6)].concat(),
        ),
        (
            "again",
            2,
            [&many(&[&SUBMIT[..], &PASS, &CANCEL, &PASS, &DELETE, &PASS].concat(), 4)[..], &PASS].concat(),
        ),
        ("hostile", 1, [many(&ATTACK, 8), PASS.to_vec(), many(&ATTACK, 8)].concat()),
    ];
    let random = (0..16).map(|number| (format!("random-{number}"), crate::explore::input(number * 4 + 1)));
    runs.into_iter().map(|(name, mode, bytes)| seed(name, mode, &bytes)).chain(random).collect()
}

/// Where the files of a target's corpus are.
#[must_use]
pub fn folder(target: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}
