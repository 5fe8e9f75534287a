//! Alarms, and what they keep from being done.

use super::*;
use crate::types::{NodeId, StorageId};

fn founded() -> World {
    let mut world = World::new();
    let member = |id| pb::MemberRecord {
        id,
        peer_address: format!("m{id}:1"),
        client_address: format!("m{id}:2"),
        ..Default::default()
    };
    world.internal(Command::FoundMembers { members: (1..=3).map(member).collect() });
    world.internal(Command::KnowMember { node: NodeId(1), storage: StorageId(5) });
    world
}

fn alarm(node: u64) -> pb::Alarm {
    pb::Alarm {
        node,
        kind: pb::AlarmKind::Space.into(),
        message: format!("disk.quota of {node}"),
        ..Default::default()
    }
}

fn differs(node: u64, storage: u64) -> Command {
    let kind = pb::AlarmKind::Differs.into();
    Command::RaiseAlarm { alarm: pb::Alarm { node, kind, index: 256, storage, ..alarm(node) } }
}

impl World {
    fn raise(&mut self, node: u64) -> Applied {
        self.internal(Command::RaiseAlarm { alarm: alarm(node) })
    }

    fn put(&mut self) -> Result<(), pb::Refusal> {
        let applied = self.client(Command::Put { key: "k".into(), value: "v".into() });
        match applied.reply.body {
            Some(Body::Put(_)) => Ok(()),
            Some(Body::Refusal(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn disarm(&mut self, node: Option<u64>) -> Vec<u64> {
        match self.client(Command::DisarmAlarm { node: node.map(NodeId) }).reply.body {
            Some(Body::DisarmAlarm(reply)) => reply.alarms.iter().map(|alarm| alarm.node).collect(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn while_there_is_an_alarm_what_takes_room_is_refused_and_what_gives_room_is_not() {
    let mut world = founded();
    world.put().unwrap();
    world.submit("before", |_| ());
    assert_eq!(world.raise(2).touched.len(), 1);
    let refusal = world.put().unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::Exhausted);
    for part in ["node 2", "disk.quota of 2", "quorate alarm disarm"] {
        assert!(refusal.message.contains(part), "{}", refusal.message);
    }
    let swap = Command::CompareAndSet {
        key: "k".into(),
        expected: crate::command::Expected::Value("v".into()),
        value: "w".into(),
    };
    for command in [swap, Command::SubmitJob { id: None, specification: pb::JobSpecification::default() }] {
        assert!(matches!(world.client(command).reply.body, Some(Body::Refusal(_))));
    }
    for command in [
        Command::Delete { key: "k".into() },
        Command::CancelJob { id: JobId::parse("before").unwrap(), timeout_ms: 1 },
        Command::OpenSession { ttl_ms: 1_000 },
    ] {
        let body = world.client(command).reply.body;
        assert!(!matches!(body, Some(Body::Refusal(_))), "{body:?}");
    }
    world.executor(1);
    assert_eq!(world.disarm(None), [2]);
    world.put().unwrap();
    world.state.check().unwrap();
}

#[test]
fn an_alarm_is_raised_once_and_only_by_members_and_taken_back_one_by_one() {
    let mut world = founded();
    assert!(world.raise(9).touched.is_empty(), "it is no member");
    world.put().unwrap();
    world.raise(3);
    assert!(world.raise(3).touched.is_empty(), "it is known");
    world.raise(1);
    let nodes: Vec<u64> = world.state.alarms().map(|alarm| alarm.node).collect();
    assert_eq!(nodes, [1, 3]);
    assert!(world.disarm(Some(2)).is_empty());
    assert_eq!(world.disarm(Some(1)), [1]);
    assert!(world.put().is_err());
    let change = pb::MemberChange { change: Some(pb::member_change::Change::Remove(3)) };
    world.client(Command::ChangeMembers { changes: vec![change] });
    world.put().expect("who is no member any more keeps nobody from writing");
    world.state.check().unwrap();
}

#[test]
fn an_alarm_about_a_state_keeps_nobody_from_writing_and_ends_with_the_directory() {
    let mut world = founded();
    assert!(world.internal(differs(1, 4)).touched.is_empty(), "of another directory");
    assert_eq!(world.internal(differs(1, 5)).touched.len(), 1);
    assert!(world.internal(differs(1, 5)).touched.is_empty(), "it is known");
    world.put().expect("the others have room");
    let change = |change| Command::ChangeMembers { changes: vec![pb::MemberChange { change: Some(change) }] };
    world.client(change(pb::member_change::Change::Replace(1)));
    assert_eq!(world.state.alarms().count(), 0);
    world.internal(Command::KnowMember { node: NodeId(1), storage: StorageId(6) });
    assert!(world.internal(differs(1, 5)).touched.is_empty(), "it is gone");
    world.internal(differs(1, 6));
    world.client(change(pb::member_change::Change::Remove(1)));
    assert_eq!(world.state.alarms().count(), 0);
    world.state.check().unwrap();
}

#[test]
fn want_of_room_weighs_more_than_a_state_that_differs() {
    let mut world = founded();
    world.internal(differs(1, 5));
    world.raise(1);
    assert!(world.put().is_err(), "there is no room");
    assert!(world.internal(differs(1, 5)).touched.is_empty());
    let change = pb::MemberChange { change: Some(pb::member_change::Change::Replace(1)) };
    world.client(Command::ChangeMembers { changes: vec![change] });
    assert!(world.put().is_err(), "room is no question of the directory");
    assert_eq!(world.disarm(None), [1]);
    world.put().unwrap();
    world.state.check().unwrap();
}

#[test]
fn alarms_are_in_snapshots_and_in_the_hash() {
    let mut world = founded();
    let before = world.state.hash();
    world.raise(2);
    assert_ne!(world.state.hash(), before);
    let again = State::decode(world.state.encode()).unwrap();
    assert_eq!(again.hash(), world.state.hash());
    assert_eq!(again.alarms().count(), 1);
    again.check().unwrap();
}

#[test]
#[cfg(feature = "planted-bugs")]
fn an_alarm_about_a_directory_that_is_gone_is_noticed() {
    crate::bug::notices(
        crate::bug::Bug::AlarmOfFormer,
        an_alarm_about_a_state_keeps_nobody_from_writing_and_ends_with_the_directory,
    );
}
