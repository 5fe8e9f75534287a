//! The bytes of every command are pinned; whatever else comes is an error, never a panic.

use super::*;
use crate::types::{NodeId, StorageId};
use pb::member_change::Change;
use proptest::prelude::*;

fn job(id: &str) -> JobId {
    JobId::parse(id).unwrap()
}

fn report(epoch: u64, message: &str) -> pb::AttemptReport {
    pb::AttemptReport {
        attempt: Some(pb::AttemptKey { job: "j".into(), number: 1, epoch }),
        phase: 4,
        end: 1,
        code: -1,
        message: message.into(),
    }
}

fn specification() -> pb::JobSpecification {
    pb::JobSpecification { r#type: 1, argv: vec!["true".into()], tasks: 1, ..Default::default() }
}

fn attempt() -> AttemptId {
    AttemptId { task: TaskKey { job: job("j"), number: 1 }, epoch: Epoch(2) }
}

// One of each, in the order of their tags, with a request id where there is one in life.
fn all() -> Vec<Command> {
    let request = pb::RegisterExecutorRequest {
        name: "n".into(),
        address: "h:1".into(),
        slots: 2,
        incarnation: 3,
        ..Default::default()
    };
    let (key, value) = (Bytes::from("k"), Bytes::from("v"));
    let cas = |expected| Command::CompareAndSet { key: Bytes::from("k"), expected, value: Bytes::from("v") };
    let (executor, incarnation) = (ExecutorId(1), Incarnation(2));
    let change = |change| pb::MemberChange { change: Some(change) };
    let member = pb::AddMember { id: 5, peer_address: "p:1".into(), client_address: "c:2".into() };
    vec![
        Command::OpenSession { ttl_ms: 1 },
        Command::CloseSession { session: SessionId(1) },
        Command::ExpireLeases { leases: vec![LeaseId(1), LeaseId(2)] },
        Command::Put { key: key.clone(), value },
        Command::Delete { key },
        cas(Expected::Absent),
        cas(Expected::Value(Bytes::from("w"))),
        cas(Expected::ModRevision(3)),
        Command::RegisterExecutor { request, ttl_ms: 4, grace_ms: 5 },
        Command::DeregisterExecutor { executor, incarnation },
        Command::RemoveExecutor { executor },
        Command::ReportAttempts { executor, incarnation, reports: vec![report(2, "m")] },
        Command::AttemptRefused { executor, attempt: attempt() },
        Command::SubmitJob { id: Some(job("j")), specification: specification() },
        Command::SubmitJob { id: None, specification: specification() },
        Command::CancelJob { id: job("j"), timeout_ms: 1 },
        Command::DeleteJob { id: job("j") },
        Command::Place,
        Command::ForceCancel { jobs: vec![job("j"), job("k")] },
        Command::ChangeMembers { changes: vec![change(Change::Promote(4)), change(Change::Add(member))] },
        Command::FoundMembers { members: vec![pb::MemberRecord { id: 1, storage: 2, ..Default::default() }] },
        Command::KnowMember { node: NodeId(1), storage: StorageId(2) },
        Command::LeaveJoint,
        Command::RefuseChange { reason: "no".into() },
        Command::HoldLevel { most: 1 },
        Command::SetLevel { level: 2 },
        Command::RaiseAlarm {
            alarm: pb::Alarm {
                node: 2,
                kind: 1,
                message: "m".into(),
                raised_wall_ms: 3,
                index: 0,
                storage: 0,
            },
        },
        Command::DisarmAlarm { node: None },
        Command::DisarmAlarm { node: Some(NodeId(2)) },
    ]
}

fn proposal(command: Command) -> Proposal {
    let id = RequestId { session: SessionId(7), sequence: 8, lowest_open: 9 };
    let request = command.needs_request().then_some(id);
    Proposal { time: ClusterTime(5), wall_ms: 6, request, command }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// A log that was written once is read for ever: no line of this may change, lines are only added.
const GOLDEN: [&str; 29] = [
    "0101001900000005000000000000000600000000000000000100000000000000",
    "0102001900000005000000000000000600000000000000000100000000000000",
    "010300290000000500000000000000060000000000000000020000000000000001000000000000000200000000000000",
    "0110003b000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000006b010000000000000076",
    "01110032000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000006b",
    "0112003f000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000006b00000000010000000000000076",
    "01120048000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000006b01000000010000000000000077010000000000000076",
    "01120047000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000006b020000000300000000000000010000000000000076",
    "0120004d00000005000000000000000600000000000000010700000000000000080000000000000009000000000000000c0000000000000012016e1a03683a312002280304000000000000000500000000000000",
    "01210039000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000000200000000000000",
    "0122003100000005000000000000000600000000000000010700000000000000080000000000000009000000000000000100000000000000",
    "0123004c00000005000000000000000600000000000000000100000000000000020000000000000001000000000000001b000000000000000a070a016a100118021004180120ffffffffffffffffff012a016d",
    "0124002e0000000500000000000000060000000000000000010000000000000001000000000000006a010000000200000000000000",
    "0130004500000005000000000000000600000000000000010700000000000000080000000000000009000000000000000101000000000000006a0a0000000000000008011204747275652801",
    "0130003c0000000500000000000000060000000000000001070000000000000008000000000000000900000000000000000a0000000000000008011204747275652801",
    "0131003a000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000006a0100000000000000",
    "01320032000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000000000006a",
    "013300110000000500000000000000060000000000000000",
    "0134002b0000000500000000000000060000000000000000020000000000000001000000000000006a01000000000000006b",
    "0140005100000005000000000000000600000000000000010700000000000000080000000000000009000000000000000200000000000000020000000000000010040e000000000000000a0c08051203703a311a03633a32",
    "0141002500000005000000000000000600000000000000000100000000000000040000000000000008012002",
    "01420021000000050000000000000006000000000000000001000000000000000200000000000000",
    "014300110000000500000000000000060000000000000000",
    "01440033000000050000000000000006000000000000000107000000000000000800000000000000090000000000000002000000000000006e6f",
    "0148002d000000050000000000000006000000000000000107000000000000000800000000000000090000000000000001000000",
    "01490015000000050000000000000006000000000000000002000000",
    "0150002200000005000000000000000600000000000000000900000000000000080210011a016d2003",
    "0151002a000000050000000000000006000000000000000107000000000000000800000000000000090000000000000000",
    "015100320000000500000000000000060000000000000001070000000000000008000000000000000900000000000000010200000000000000",
];

#[test]
fn the_bytes_of_every_command_are_pinned() {
    let all = all();
    assert_eq!(all.len(), GOLDEN.len());
    for (command, golden) in all.into_iter().zip(GOLDEN) {
        let proposal = proposal(command);
        let bytes = encode(&proposal);
        assert_eq!(hex(&bytes), golden, "{proposal:?}");
        assert_eq!(decode(&bytes).unwrap(), proposal);
    }
}

#[test]
fn what_is_cut_short_or_longer_is_refused() {
    for command in all() {
        let bytes = encode(&proposal(command));
        for size in 0..bytes.len() {
            decode(&bytes.slice(..size)).unwrap_err();
        }
        let longer: Bytes = [&bytes[..], b"x"].concat().into();
        decode(&longer).unwrap_err();
        // Also where the length says so.
        let mut longer = longer.to_vec();
        longer[3] += 1;
        assert!(decode(&longer.into()).unwrap_err().0.contains("payload"));
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    for command in all() {
        let bytes = encode(&proposal(command));
        for place in 0..bytes.len() * 8 {
            let mut changed = bytes.to_vec();
            changed[place / 8] ^= 1 << (place % 8);
            // What still decodes is an entry, and comes back as it is.
            if let Ok(proposal) = decode(&changed.into()) {
                assert_eq!(decode(&encode(&proposal)), Ok(proposal));
            }
        }
    }
}

#[test]
fn versions_and_tags_of_the_future_are_named() {
    let bytes = encode(&proposal(Command::Place));
    let with = |place: usize, byte: u8| {
        let mut changed = bytes.to_vec();
        changed[place] = byte;
        decode_known(&changed.into(), FIRST_LEVEL).unwrap_err().0
    };
    assert_eq!(with(0, 2), "entry of version 2: this program knows up to version 1");
    assert_eq!(with(2, 3), "command tag 819: this program does not know it");
    assert_eq!(with(1, 53), "command tag 53: this program does not know it");
    assert_eq!(decode(&Bytes::new()).unwrap_err().0, "entry of 0 bytes: it must have 7 at least");
}

#[test]
fn an_entry_over_its_limit_and_a_job_id_that_is_none_are_refused() {
    let value = Bytes::from(vec![0; ENTRY_BYTES]);
    let large = encode(&proposal(Command::Put { key: Bytes::from("k"), value }));
    assert!(decode(&large).unwrap_err().0.contains("is the limit"));
    let bytes = encode(&proposal(Command::DeleteJob { id: job("j") }));
    let mut changed = bytes.to_vec();
    *changed.last_mut().unwrap() = b'/';
    assert_eq!(decode(&changed.into()).unwrap_err().0, "job id \"/\": it is none");
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn any_job() -> impl Strategy<Value = JobId> {
    "[a-z0-9_]([a-z0-9_.-]{0,20}[a-z0-9_])?".prop_map(|id| job(&id))
}

fn any_command() -> impl Strategy<Value = Command> {
    let expected = prop_oneof![
        Just(Expected::Absent),
        any_bytes().prop_map(Expected::Value),
        any::<u64>().prop_map(Expected::ModRevision),
    ];
    prop_oneof![
        any::<u64>().prop_map(|ttl_ms| Command::OpenSession { ttl_ms }),
        (any_bytes(), any_bytes()).prop_map(|(key, value)| Command::Put { key, value }),
        (any_bytes(), expected, any_bytes()).prop_map(|(key, expected, value)| Command::CompareAndSet {
            key,
            expected,
            value
        }),
        proptest::collection::vec(any::<u64>().prop_map(LeaseId), 0..50)
            .prop_map(|leases| Command::ExpireLeases { leases }),
        (any::<u64>(), any::<u64>(), proptest::collection::vec((any::<u64>(), ".*"), 0..10)).prop_map(
            |(executor, incarnation, reports)| Command::ReportAttempts {
                executor: ExecutorId(executor),
                incarnation: Incarnation(incarnation),
                reports: reports.iter().map(|(epoch, text)| report(*epoch, text)).collect(),
            }
        ),
        (proptest::option::of(any_job()), proptest::collection::vec(".*", 0..5)).prop_map(|(id, argv)| {
            Command::SubmitJob { id, specification: pb::JobSpecification { argv, ..specification() } }
        }),
        proptest::collection::vec(any_job(), 0..10).prop_map(|jobs| Command::ForceCancel { jobs }),
    ]
}

proptest! {
    #[test]
    fn every_proposal_comes_back(
        command in any_command(),
        time in any::<u64>(),
        wall_ms in any::<u64>(),
        request in proptest::option::of((any::<u64>(), any::<u64>(), any::<u64>())),
    ) {
        let request = request.map(|(session, sequence, lowest_open)| RequestId {
            session: SessionId(session),
            sequence,
            lowest_open,
        });
        let proposal = Proposal { time: ClusterTime(time), wall_ms, request, command };
        prop_assert_eq!(decode(&encode(&proposal)), Ok(proposal));
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(tag in 0_u16..64, payload in any_bytes()) {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&payload);
        let _ = decode(&bytes.into());
    }
}
