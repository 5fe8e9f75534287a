//! Sessions and answered requests.

use super::*;
use crate::limits::{SESSION_ID_BITS, SESSION_REPLIES, SESSIONS};

fn numbered(world: &World, sequence: u64, lowest_open: u64) -> Option<RequestId> {
    Some(RequestId { session: world.session, sequence, lowest_open })
}

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut world = World::new();
    let request = numbered(&world, 1, 1);
    let first = world.apply(request, put("a", "1")).reply;
    world.apply(numbered(&world, 2, 1), put("a", "2"));
    let again = world.apply(request, put("a", "1")).reply;
    assert_eq!(first, again);
    let get = pb::GetRequest { key: Bytes::from("a"), stale: false };
    let reply = world.state.query(&pb::ClientRequest { body: Some(pb::client_request::Body::Get(get)) });
    assert!(
        matches!(reply.body, Some(Body::Get(pb::GetReply { item: Some(item), .. })) if item.value == "2")
    );
}

#[test]
fn a_refusal_is_an_answer_too() {
    let mut world = World::new();
    let request = numbered(&world, 50, 1);
    let cancel = Command::CancelJob { id: id("x"), timeout_ms: 1 };
    let first = world.apply(request, cancel.clone());
    assert_eq!(code(&first), Some(RefusalCode::NotFound));
    world.submit("x", |_| {});
    assert_eq!(world.apply(request, cancel).reply, first.reply);
    assert_eq!(world.job_state("x"), JobState::Created);
}

#[test]
fn unknown_sessions_and_forgotten_requests_are_refused_and_not_applied() {
    let mut world = World::new();
    let unknown = RequestId { session: SessionId(99), sequence: 1, lowest_open: 1 };
    assert_eq!(code(&world.apply(Some(unknown), put("a", "1"))), Some(RefusalCode::SessionExpired));
    world.apply(numbered(&world, 5, 5), put("a", "1"));
    // A delayed request from before: its client has gone on.
    let late = world.apply(numbered(&world, 4, 1), put("a", "late"));
    assert_eq!(code(&late), Some(RefusalCode::SessionExpired));
    assert_eq!(world.state.sizes().2, 1);
    assert_eq!(code(&world.internal(put("b", "1"))), Some(RefusalCode::Invalid));
    assert_eq!(world.state.sizes().2, 1);
}

#[test]
fn requests_of_one_session_may_come_in_any_order() {
    let mut world = World::new();
    world.apply(numbered(&world, 2, 1), put("b", "1"));
    let one = world.apply(numbered(&world, 1, 1), put("a", "1"));
    assert_eq!(code(&one), None);
}

#[test]
fn answers_are_bounded_and_what_is_dropped_is_never_applied_again() {
    let mut world = World::new();
    let count = SESSION_REPLIES as u64 + 3;
    for sequence in 1..=count {
        world.apply(numbered(&world, sequence, 1), put("a", "1"));
    }
    assert_eq!(code(&world.apply(numbered(&world, 3, 1), put("a", "x"))), Some(RefusalCode::SessionExpired));
    assert_eq!(code(&world.apply(numbered(&world, 4, 1), put("a", "x"))), None);
}

#[test]
fn answers_are_bounded_in_bytes() {
    let mut world = World::new();
    let value = Bytes::from(vec![7; crate::limits::VALUE_BYTES]);
    let key = Bytes::from("a");
    world.client(Command::Put { key: key.clone(), value: value.clone() });
    let failing = Command::CompareAndSet { key, expected: crate::command::Expected::Absent, value };
    for sequence in 2..=8 {
        world.apply(numbered(&world, sequence, 1), failing.clone());
    }
    let session = world.state.requests.iter().next().unwrap().1;
    let kept: usize = session.replies().map(|(_, reply)| reply.len()).sum();
    assert!(kept <= crate::limits::SESSION_REPLY_BYTES);
    assert!(session.replies().count() >= 3);
}

#[test]
fn sessions_are_bounded_and_go_with_their_lease() {
    let mut world = World::new();
    for _ in 1..SESSIONS {
        assert_eq!(code(&world.internal(Command::OpenSession { ttl_ms: 1_000 })), None);
    }
    let over = world.internal(Command::OpenSession { ttl_ms: 1_000 });
    assert_eq!(code(&over), Some(RefusalCode::Exhausted));
    let lease = world.state.session_lease(world.session).unwrap();
    world.internal(Command::ExpireLeases { leases: vec![lease] });
    assert_eq!(world.state.session_lease(world.session), None);
    assert!(world.state.lease(lease).is_none());
    assert_eq!(code(&world.client(put("a", "1"))), Some(RefusalCode::SessionExpired));
    assert_eq!(code(&world.internal(Command::OpenSession { ttl_ms: 1_000 })), None);
}

#[test]
fn closing_a_session_twice_is_no_error() {
    let mut world = World::new();
    world.client(put("a", "1"));
    let session = world.session;
    for _ in 0..2 {
        let reply = world.internal(Command::CloseSession { session }).reply;
        assert!(matches!(reply.body, Some(Body::CloseSession(_))));
    }
    assert_eq!(world.state.leases().count(), 0);
}

#[test]
fn clusters_with_the_same_beginning_give_other_sessions() {
    let opened = |index: u64, wall_ms: u64| {
        let command = Command::OpenSession { ttl_ms: 60_000 };
        let proposal = Proposal { time: ClusterTime(1), wall_ms, request: None, command };
        let reply = State::default().apply(&ApplyContext { index: Index(index) }, proposal).reply.body;
        let Some(Body::OpenSession(reply)) = reply else { panic!("{reply:?}") };
        reply.session
    };
    // A restore of the same file a day later, at the same addresses.
    let day = 24 * 3600 * 1000;
    assert_ne!(opened(4, 1_700_000_000_000), opened(4, 1_700_000_000_000 + day));
    assert_ne!(opened(4, 1_700_000_000_000), opened(5, 1_700_000_000_000), "two of one batch");
    assert!((1..1 << SESSION_ID_BITS).contains(&opened(4, 0)));
}
