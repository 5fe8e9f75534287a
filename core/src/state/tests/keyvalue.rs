//! The users' keys.

use super::*;
use crate::command::Expected;

fn current(applied: Applied) -> (bool, u64, Option<pb::KeyValue>) {
    match applied.reply.body {
        Some(Body::CompareAndSet(reply)) => (reply.succeeded, reply.revision, reply.current),
        other => panic!("{other:?}"),
    }
}

fn cas(expected: Expected, value: &str) -> Command {
    Command::CompareAndSet {
        key: Bytes::from("a"),
        expected,
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

#[test]
fn the_revision_grows_by_one_with_each_change_and_only_then() {
    let mut world = World::new();
    let put_reply = world.client(put("a", "1")).reply.body;
    assert_eq!(put_reply, Some(Body::Put(pb::PutReply { revision: 1 })));
    world.submit("job", |_| {});
    let nothing = world.client(Command::Delete { key: Bytes::from("b") }).reply.body;
    assert_eq!(nothing, Some(Body::Delete(pb::DeleteReply { revision: 1, deleted: false })));
    let deleted = world.client(Command::Delete { key: Bytes::from("a") }).reply.body;
    assert_eq!(deleted, Some(Body::Delete(pb::DeleteReply { revision: 2, deleted: true })));
}

#[test]
fn compare_and_set_changes_only_what_is_as_expected() {
    let mut world = World::new();
    let (done, revision, item) = current(world.client(cas(Expected::Absent, "1")));
    assert_eq!((done, revision, item.unwrap().version), (true, 1, 1));
    let (done, revision, item) = current(world.client(cas(Expected::Absent, "2")));
    assert_eq!((done, revision, item.unwrap().value), (false, 1, Bytes::from("1")));
    let (done, ..) = current(world.client(cas(Expected::Value(Bytes::from("9")), "2")));
    assert!(!done);
    let (done, revision, _) = current(world.client(cas(Expected::Value(Bytes::from("1")), "2")));
    assert_eq!((done, revision), (true, 2));
    let (done, ..) = current(world.client(cas(Expected::ModRevision(1), "3")));
    assert!(!done);
    let (done, _, item) = current(world.client(cas(Expected::ModRevision(2), "3")));
    let item = item.unwrap();
    assert_eq!((done, item.create_revision, item.mod_revision, item.version), (true, 1, 3, 3));
}
