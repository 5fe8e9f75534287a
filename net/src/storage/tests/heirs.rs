//! Directories of a new cluster, out of a snapshot file or of what outlived an old one, and a crash at each step of making them.

use super::*;
use crate::storage::{
    Disk, DiskError, heir,
    lineage::{self, Lineage},
    restore::{RestoreError, RestoreOptions, restore},
    saved::{Saved, SavedError, read_saved},
    survivor::{SurvivorError, examine},
    verify,
};
use quorate_core::{
    codec,
    command::{Command, Proposal, RequestId},
    contract::Snapshot,
    random::Draws,
    state::{ApplyContext, Unfit},
    types::{ClusterTime, SessionId},
};
use quorate_proto::v1 as pb;

const NEW: StorageId = StorageId(0x00E1);

fn proposal(command: Command, request: u64) -> Proposal {
    let id = || RequestId { session: session(), sequence: request, lowest_open: 1 };
    let request = (request > 0).then(id);
    Proposal { time: ClusterTime(5), wall_ms: 0, request, command }
}

/// The one that the second entry opens.
fn session() -> SessionId {
    let open = proposal(Command::OpenSession { ttl_ms: 5_000 }, 0);
    let reply = State::default().apply(&ApplyContext { index: Index(2) }, open).reply.body;
    let Some(pb::client_reply::Body::OpenSession(reply)) = reply else { panic!("{reply:?}") };
    SessionId(reply.session)
}

fn member(id: u64) -> pb::MemberRecord {
    let storage = if id == IDENTITY.node.0 { IDENTITY.storage.0 } else { 100 + id };
    pb::MemberRecord {
        id,
        peer_address: format!("m{id}:1"),
        client_address: format!("m{id}:2"),
        storage,
        part: pb::MemberPart::Voter.into(),
        ..Default::default()
    }
}

/// The founding, a session, and a key for each index from 3 on.
fn command(index: u64) -> Bytes {
    let proposal = match index {
        1 => proposal(Command::FoundMembers { members: (1..=3).map(member).collect() }, 0),
        2 => proposal(Command::OpenSession { ttl_ms: 5_000 }, 0),
        _ => {
            let key = Bytes::from(format!("key/{index}"));
            proposal(Command::Put { key, value: vec![7; 300].into() }, index)
        }
    };
    codec::encode(&proposal)
}

fn real(term: u64, from: u64, to: u64, commit: u64) -> Write {
    let entry = |index| Entry { term: Term(term), index: Index(index), data: command(index) };
    let hard_state = Some(HardState { term: Term(term), vote: None, commit: Index(commit) });
    Write { entries: (from..=to).map(entry).collect(), hard_state, ..nothing() }
}

fn state(to: u64) -> State {
    let mut state = State::default();
    for index in 1..=to {
        state.apply(&ApplyContext { index: Index(index) }, codec::decode(&command(index)).unwrap());
    }
    state
}

fn open_real(disk: &Arc<MemoryDisk>, identity: Identity) -> Result<(Storage, Recovered), OpenError> {
    Storage::open(Arc::<MemoryDisk>::clone(disk), identity, StorageOptions { segment_bytes: 2_000 })
}

/// A directory with a snapshot, segments in front of it and behind it, and an end that is not known to be committed.
fn directory() -> Arc<MemoryDisk> {
    let disk = Arc::new(MemoryDisk::new());
    let (mut storage, _) = open_real(&disk, IDENTITY).unwrap();
    for index in 1..=12 {
        storage.write(&[real(4, index, index, index.saturating_sub(1))]).unwrap();
    }
    let at = position(4, 9);
    storage.snapshots().save(&Snapshot { at, state: state(9) }).unwrap();
    storage.write(&[Write { start: Some(position(4, 6)), ..nothing() }]).unwrap();
    storage.write(&[real(5, 13, 20, 12)]).unwrap();
    disk
}

/// The bytes of a snapshot file.
fn file(state: &State, at: LogPosition) -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new());
    let (storage, _) = open_real(&disk, IDENTITY).unwrap();
    storage.snapshots().save(&Snapshot { at, state: state.clone() }).unwrap();
    let name = disk.list().unwrap().into_iter().find(|name| SnapshotStore::is_snapshot(name)).unwrap();
    disk.read(&name, 0, usize::MAX).unwrap()
}

fn read(bytes: &[u8]) -> Result<Saved, SavedError> {
    read_saved("f", |offset, length| {
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        Ok::<_, DiskError>(bytes[from..from.saturating_add(length).min(bytes.len())].to_vec())
    })
}

fn dynamic(disk: &Arc<MemoryDisk>) -> Arc<dyn Disk> {
    Arc::<MemoryDisk>::clone(disk)
}

fn recover(disk: &Arc<MemoryDisk>) -> Result<Identity, SurvivorError> {
    heir::finish(&**disk)?;
    examine(&dynamic(disk))?.recover(&**disk, NEW, false)
}

/// Starts a server's storage in this directory, as one of the cluster that its settings stand for.
fn start(disk: &Arc<MemoryDisk>) -> Result<(Identity, Recovered), OpenError> {
    let identity = lineage::adopt(&**disk, IDENTITY)?;
    open_real(disk, identity).map(|(storage, recovered)| (storage.identity(), recovered))
}

#[test]
fn a_survivor_holds_its_whole_log_and_knows_what_is_certain() {
    let disk = directory();
    let before = disk.operations();
    let survivor = examine(&dynamic(&disk)).unwrap();
    assert_eq!(disk.operations(), before, "nothing was changed");
    assert_eq!((survivor.held.last, survivor.held.hard_state.commit), (position(5, 20), Index(12)));
    assert_eq!(survivor.snapshot, Some(position(4, 9)));
    assert_eq!(survivor.held.state.hash(), state(20).hash());
    assert_eq!(survivor.forgotten().iter().map(|member| member.id).collect::<Vec<_>>(), [1, 2]);
    survivor.check().unwrap();
}

#[test]
fn a_recovered_directory_is_of_another_cluster_and_has_lost_nothing() {
    let disk = directory();
    let identity = recover(&disk).unwrap();
    assert!(identity.cluster != IDENTITY.cluster && identity.storage == NEW);
    let (found, recovered) = start(&disk).unwrap();
    assert_eq!(found, identity);
    let snapshot = recovered.snapshot.unwrap();
    assert_eq!(snapshot.at.term, Term(6), "above every term of the old cluster that it knows");
    assert_eq!(snapshot.state.revision().0, 18);
    assert_eq!(snapshot.state.members().unwrap().storages(), [(NodeId(3), NEW)].into());
    assert_eq!((recovered.start, recovered.hard_state.commit), (snapshot.at, snapshot.at.index));
    assert_eq!(recovered.voters, [(NodeId(3), NEW)].into());
    assert!(recovered.entries.is_empty());
    // It is alone by now; and whoever comes with other settings is refused.
    assert_eq!(recover(&disk), Err(SurvivorError::Unfit(Unfit::Alone(NodeId(3)))));
    let other = Identity { cluster: ClusterId(1), ..IDENTITY };
    assert_eq!(lineage::adopt(&*disk, other).unwrap(), other);
    assert!(matches!(open_real(&disk, other), Err(OpenError::Foreign { field: "cluster", .. })));
}

#[test]
fn a_recovery_after_a_recovery_is_of_the_same_settings() {
    let disk = directory();
    let first = recover(&disk).unwrap();
    let (mut storage, _) = open_real(&disk, first).unwrap();
    let at = storage.snapshots().newest().unwrap().unwrap();
    let add = pb::AddMember { id: 9, peer_address: "m9:1".into(), client_address: "m9:2".into() };
    let change = pb::MemberChange { change: Some(pb::member_change::Change::Add(add)) };
    let session = codec::encode(&proposal(Command::ChangeMembers { changes: vec![change] }, 900));
    let entry = Entry { term: Term(7), index: at.index.next(), data: session };
    storage.write(&[Write { entries: vec![entry], ..nothing() }]).unwrap();
    drop(storage);
    let next = StorageId(0x00E2);
    let second = examine(&dynamic(&disk)).unwrap().recover(&*disk, next, false).unwrap();
    assert!(second.cluster != first.cluster);
    let lineage = Lineage { configured: IDENTITY.cluster, from: first.cluster };
    assert_eq!(Lineage::load(&*disk).unwrap(), Some(lineage));
    assert_eq!(start(&disk).unwrap().0, second);
}

#[test]
fn two_survivors_that_hold_the_same_become_two_clusters() {
    let (one, other) = (directory(), directory());
    let first = examine(&dynamic(&one)).unwrap().recover(&*one, StorageId(1), false).unwrap();
    let second = examine(&dynamic(&other)).unwrap().recover(&*other, StorageId(2), false).unwrap();
    assert_ne!(first.cluster, second.cluster);
}

#[test]
fn a_survivor_whose_newest_snapshot_is_damaged_holds_what_its_log_says() {
    let disk = directory();
    let (storage, _) = open_real(&disk, IDENTITY).unwrap();
    let (newest, at) = ("snapshot-0000000000000004-0000000000000009", position(4, 7));
    storage.snapshots().save(&Snapshot { at, state: state(7) }).unwrap();
    drop(storage);
    assert!(disk.flip_bit(newest, 8 * 90));
    let survivor = examine(&dynamic(&disk)).unwrap();
    assert_eq!((survivor.snapshot, survivor.held.last), (Some(at), position(5, 20)));
    assert_eq!(survivor.held.state.hash(), state(20).hash());
}

#[test]
fn a_damaged_log_is_no_survivor() {
    let disk = directory();
    let wal = disk.list().unwrap().into_iter().rfind(|name| name.starts_with("wal-")).unwrap();
    // The first batch of the newest segment is durable for sure, as a later one says.
    assert!(disk.flip_bit(&wal, 90 * 8));
    let before = disk.operations();
    assert!(matches!(recover(&disk), Err(SurvivorError::Open(OpenError::Corrupt { .. }))));
    assert_eq!(disk.operations(), before, "nothing was changed");
}

#[test]
fn a_received_snapshot_stands_in_place_of_a_log_that_does_not_lead_to_it() {
    let disk = directory();
    let store = SnapshotStore::new(dynamic(&disk), IDENTITY);
    // Of another term than the entry at its place.
    let other = State::clone(&state(15));
    store.save(&Snapshot { at: position(7, 15), state: other.clone() }).unwrap();
    let survivor = examine(&dynamic(&disk)).unwrap();
    assert_eq!((survivor.held.last, survivor.held.state.hash()), (position(7, 15), other.hash()));
}

/// Makes a directory with a crash after each number of operations, in several ways, and looks at what is left; then makes
/// it again.
fn crash_at_each_step(
    base: impl Fn() -> Arc<MemoryDisk>,
    make: impl Fn(&Arc<MemoryDisk>) -> bool,
    check: impl Fn(&Arc<MemoryDisk>, bool),
) {
    let base = base();
    for steps in 0..300 {
        let mut finished = false;
        for seed in 0..16 {
            let disk = Arc::new(MemoryDisk::clone(&base));
            disk.halt_after(steps);
            finished = make(&disk);
            if seed == 0 {
                disk.crash();
            } else {
                disk.power_loss(&mut Draws::new(seed, steps));
            }
            check(&disk, finished);
        }
        if finished {
            assert!(steps > 12, "{steps}");
            return;
        }
    }
    panic!("it never ended");
}

#[test]
pub(super) fn a_crash_at_any_step_of_a_recovery_leaves_the_old_directory_or_the_new_one() {
    let whole = state(20);
    crash_at_each_step(
        directory,
        |disk| recover(disk).is_ok(),
        |disk, finished| {
            // What a server finds, on a copy; perhaps cut off again.
            for steps in [3, 9, u64::MAX] {
                let copy = Arc::new(MemoryDisk::clone(disk));
                copy.halt_after(steps);
                let _ = start(&copy);
                copy.power_loss(&mut Draws::new(steps, 5));
                let (identity, recovered) = start(&copy).unwrap();
                let new = identity.storage == NEW;
                assert!(new || !finished);
                let state = if new {
                    recovered.snapshot.unwrap().state
                } else {
                    assert_eq!(identity, IDENTITY);
                    let mut state = recovered.snapshot.unwrap().state;
                    state.replay(&recovered.entries).unwrap();
                    state
                };
                assert_eq!(state.revision(), whole.revision(), "every key is there");
                let names = copy.list().unwrap();
                assert!(!names.iter().any(|name| heir::is_aside(name) || name == heir::FILE), "{names:?}");
            }
            let cut_off = matches!(verify(dynamic(disk)), Err(OpenError::Unfinished { .. }));
            assert_eq!(cut_off, heir::is_pending(&**disk).unwrap());
            // And what a second call makes of it.
            let again = recover(disk);
            let done = matches!(again, Ok(_) | Err(SurvivorError::Unfit(Unfit::Alone(_))));
            assert!(done, "{again:?}");
            let (identity, recovered) = start(disk).unwrap();
            assert_eq!(identity.storage, NEW);
            assert_eq!(recovered.snapshot.unwrap().state.revision(), whole.revision());
        },
    );
}

const OPTIONS: RestoreOptions =
    RestoreOptions { node: NodeId(3), configured: IDENTITY.cluster, storage: NEW, revisions: 100 };

#[test]
fn a_crash_at_any_step_of_a_restore_is_made_up_for_by_the_next() {
    let bytes = file(&state(20), position(5, 20));
    crash_at_each_step(
        || Arc::new(MemoryDisk::new()),
        |disk| restore(&**disk, read(&bytes).unwrap(), OPTIONS).is_ok(),
        |disk, finished| {
            let made = restore(&**disk, read(&bytes).unwrap(), OPTIONS);
            // The last thing that can be cut off is the sync of a directory that is complete.
            let complete = matches!(&made, Err(RestoreError::NotEmpty { file, .. }) if file == "identity");
            assert!(complete || (made.is_ok() && !finished), "{made:?}");
            let (identity, recovered) = start(disk).unwrap();
            assert!(identity.cluster != IDENTITY.cluster && identity.storage == NEW);
            let snapshot = recovered.snapshot.unwrap();
            assert_eq!((snapshot.at.term, snapshot.state.revision().0), (Term(5), 118));
            assert!(recovered.voters.is_empty(), "it has yet to begin");
        },
    );
}

#[test]
pub(super) fn all_members_of_a_restore_are_of_one_cluster_and_no_other() {
    let saved = read(&file(&state(20), position(5, 20))).unwrap();
    let later = read(&file(&state(19), position(5, 19))).unwrap();
    let made = |saved: &Saved, options| restore(&MemoryDisk::new(), saved.clone(), options).unwrap();
    let one = made(&saved, OPTIONS);
    let other = made(&saved, RestoreOptions { node: NodeId(4), storage: StorageId(8), ..OPTIONS });
    assert_eq!((one.cluster, other.node, other.storage), (other.cluster, NodeId(4), StorageId(8)));
    let others = [
        made(&later, OPTIONS),
        made(&saved, RestoreOptions { configured: ClusterId(5), ..OPTIONS }),
        made(&saved, RestoreOptions { revisions: 0, ..OPTIONS }),
    ];
    assert!(others.iter().all(|other| other.cluster != one.cluster));
}

#[test]
fn whatever_is_in_a_directory_keeps_it_from_being_restored_into() {
    let saved = read(&file(&state(20), position(5, 20))).unwrap();
    for name in ["identity", "wal-0000000000000001", "joined", "notes"] {
        let disk = MemoryDisk::new();
        disk.create(name).unwrap();
        let error = restore(&disk, saved.clone(), OPTIONS).unwrap_err();
        assert!(matches!(&error, RestoreError::NotEmpty { file, .. } if file == name), "{error}");
        assert!(error.to_string().contains("(memory)") && error.to_string().contains(name));
    }
}

#[test]
fn a_file_is_read_as_it_was_written_and_refused_when_it_is_cut_or_changed_anywhere() {
    let (state, at) = (state(6), position(5, 6));
    let bytes = file(&state, at);
    let saved = read(&bytes).unwrap();
    assert_eq!((saved.header.at, saved.header.identity, saved.state.hash()), (at, IDENTITY, state.hash()));
    for size in 0..bytes.len() {
        let error = read(&bytes[..size]).unwrap_err();
        assert!(matches!(error, SavedError::Foreign { .. } | SavedError::Damaged { .. }), "{size}: {error}");
    }
    for place in 0..bytes.len() {
        for bit in [place % 8, (place + 3) % 8] {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << bit;
            let error = read(&changed).unwrap_err();
            assert!(!matches!(error, SavedError::State { .. } | SavedError::Disk(_)), "{place}: {error}");
        }
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(matches!(read(&longer), Err(SavedError::Damaged { .. })));
    assert!(matches!(read(&[]), Err(SavedError::Foreign { .. })));
}
