//! What a new cluster takes over of an old one, and what it does not.

use super::*;
use crate::{
    codec,
    contract::Entry,
    level::FEATURE_LEVEL,
    limits::{INHERITED_IDS, INHERITED_INDEXES},
    state::{InheritError, Inheritance, Unfit},
    types::{NodeId, StorageId, Term},
};
use pb::{MemberPart, member_change::Change};

fn member(id: u64) -> pb::MemberRecord {
    let address = |port| format!("m{id}:{port}");
    pb::MemberRecord {
        id,
        peer_address: address(1),
        client_address: address(2),
        storage: 100 + id,
        part: MemberPart::Voter.into(),
        ..Default::default()
    }
}

fn filled() -> World {
    let mut world = World::new();
    world.internal(Command::FoundMembers { members: (1..=3).map(member).collect() });
    world.executor(3);
    world.submit("job", |it| it.tasks = 5);
    world.online("job", 0);
    world.client(put("a", "1"));
    world.client(put("a", "2"));
    world
}

impl World {
    fn inherit(&mut self, what: &Inheritance) {
        self.state = self.state.clone().inherited(what).unwrap();
        self.state.check().unwrap();
        self.index = self.state.index().0;
    }
}

#[test]
fn keys_and_jobs_stay_and_executors_are_lost() {
    let mut world = filled();
    let revision = world.state.revision();
    world.inherit(&Inheritance { revisions: 50, ..Inheritance::default() });
    assert_eq!(world.state.revision().0, revision.0 + 50);
    assert_eq!(world.state.executors().count(), 0);
    assert_eq!(world.task_states("job"), [TaskState::Pending; 5]);
    assert!(world.state.members().is_none(), "the new masters say who they are");
    world.open(9_000);
    let reply = world.client(put("a", "3")).reply;
    assert!(
        matches!(reply.body, Some(Body::Put(pb::PutReply { revision: next })) if next == revision.0 + 51)
    );
}

#[test]
fn no_name_is_given_twice() {
    let mut world = filled();
    let mut old = world.clone();
    world.inherit(&Inheritance { sessions: true, ..Inheritance::default() });
    // The old cluster went on.
    let lost = old.executor(1);
    let epoch = old.task("job", 3).epoch;
    assert!(world.index > old.index + INHERITED_INDEXES / 2);
    world.time += 60_000;
    let executor = world.executor(3);
    assert_eq!(executor.0, 1 + INHERITED_IDS + 1);
    assert!(executor > lost);
    assert!(world.task("job", 0).epoch > epoch, "the epoch is a fencing token");
}

#[test]
fn what_the_old_cluster_placed_has_ended_before_anything_is_placed() {
    let mut world = filled();
    let start = world.time;
    world.inherit(&Inheritance { sessions: true, ..Inheritance::default() });
    world.executor(9);
    assert_eq!(world.task_states("job"), [TaskState::Pending; 5]);
    world.time = start + 6_999;
    world.internal(Command::Place);
    assert_eq!(world.task_states("job"), [TaskState::Pending; 5]);
    world.time = start + 7_000;
    world.internal(Command::Place);
    assert_eq!(world.task_states("job"), [TaskState::Assigned; 5]);
}

#[test]
fn a_request_that_was_answered_is_answered_again_only_if_sessions_stay() {
    let request = |world: &World| RequestId {
        session: world.session,
        sequence: world.sequence,
        lowest_open: world.sequence,
    };
    for sessions in [true, false] {
        let mut world = filled();
        let first = world.client(put("b", "1")).reply;
        let id = request(&world);
        world.inherit(&Inheritance { sessions, ..Inheritance::default() });
        let again = world.apply(Some(id), put("b", "1"));
        if sessions {
            assert_eq!(again.reply, first);
        } else {
            assert_eq!(code(&again), Some(RefusalCode::SessionExpired));
        }
    }
}

#[test]
fn alone_means_alone_and_counts_as_a_change() {
    let mut world = filled();
    let alone = pb::MemberRecord { storage: 777, ..member(2) };
    world.inherit(&Inheritance { alone: Some(alone), sessions: true, revisions: 0 });
    let members = world.state.members().unwrap();
    assert_eq!(members.membership().to_string(), "voters=(2)");
    assert_eq!(members.storages(), [(NodeId(2), StorageId(777))].into());
    assert_eq!((members.index(), members.changes()), (world.index, 1));
}

#[test]
fn numbers_that_cannot_grow_are_named() {
    let world = filled();
    let what = Inheritance { revisions: u64::MAX, ..Inheritance::default() };
    let error = world.state.clone().inherited(&what).unwrap_err();
    assert_eq!(error, InheritError { what: "the revision", found: 2, by: u64::MAX });
}

#[test]
fn only_a_voter_that_is_not_alone_survives() {
    let mut world = filled();
    let check = |world: &World, node, storage| world.state.check_survivor(NodeId(node), StorageId(storage));
    assert_eq!(State::default().check_survivor(NodeId(1), StorageId(1)), Err(Unfit::NotBegun));
    assert_eq!(check(&world, 2, 102), Ok(()));
    assert_eq!(check(&world, 2, 109), Err(Unfit::GivenUp(NodeId(2))));
    assert_eq!(check(&world, 4, 104), Err(Unfit::NoMember(NodeId(4))));
    let change = |change| Command::ChangeMembers { changes: vec![pb::MemberChange { change: Some(change) }] };
    world.client(change(Change::Replace(3)));
    assert_eq!(check(&world, 3, 103), Err(Unfit::GivenUp(NodeId(3))));
    world.client(change(Change::Demote(2)));
    assert_eq!(check(&world, 2, 102), Err(Unfit::Learner(NodeId(2))));
    world.client(change(Change::Remove(2)));
    world.client(change(Change::Remove(3)));
    assert_eq!(check(&world, 1, 101), Err(Unfit::Alone(NodeId(1))));
    assert!(Unfit::Learner(NodeId(1)).may_insist() && !Unfit::Alone(NodeId(1)).may_insist());
}

#[test]
fn a_log_is_replayed_behind_what_the_state_holds() {
    let entry = |index, data| Entry { term: Term(1), index: Index(index), data };
    let proposal = |command| {
        let (time, wall_ms, request) = (ClusterTime(9), 0, None);
        codec::encode(&Proposal { time, wall_ms, request, command })
    };
    let session = proposal(Command::OpenSession { ttl_ms: 5_000 });
    let mut log = vec![entry(1, Bytes::new()), entry(2, session.clone()), entry(3, session)];
    log.push(entry(4, Bytes::new()));
    let mut state = State::default();
    state.replay(&log[..2]).unwrap();
    state.replay(&log).unwrap();
    assert_eq!((state.index(), state.sessions_and_tasks().0), (Index(4), 2));
    // A program that is too old must not make a state that nobody reads.
    let raised = entry(5, proposal(Command::SetLevel { level: FEATURE_LEVEL + 1 }));
    let (at, why) = state.replay(&[raised]).unwrap_err();
    assert!(at == Index(5) && why.0.starts_with("feature level"), "{why}");
    log.push(entry(5, Bytes::from("?")));
    assert_eq!(state.replay(&log).unwrap_err().0, Index(5));
    assert_eq!(state.index(), Index(4));
    state.check().unwrap();
    // Where the level is held, nothing is raised: a master would pass over it, too.
    let mut world = World::new();
    world.client(Command::HoldLevel { most: FEATURE_LEVEL });
    let raised = entry(world.index + 1, proposal(Command::SetLevel { level: FEATURE_LEVEL + 1 }));
    world.state.replay(&[raised]).unwrap();
    assert_eq!(world.state.index(), Index(world.index + 1));
}
