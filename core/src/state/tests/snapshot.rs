//! Snapshots, and what is no snapshot.

use super::*;
use crate::limits::{SNAPSHOT_CHUNK_BYTES, VALUE_BYTES};

fn filled() -> World {
    let mut world = World::new();
    world.executor(3);
    world.submit("job", |it| it.tasks = 5);
    world.submit("other", |it| it.tasks = 2);
    world.online("job", 0);
    world.cancel("other", 9_000);
    world.client(put("a", "1"));
    world.client(put("a", "2"));
    world.client(put("b", "1"));
    world
}

#[test]
fn a_decoded_state_is_the_same_and_goes_on_in_the_same_way() {
    let mut world = filled();
    let mut copy = world.clone();
    copy.state = State::decode(world.state.encode()).unwrap();
    assert_eq!(copy.state.hash(), world.state.hash());
    copy.state.check().unwrap();
    for world in [&mut world, &mut copy] {
        world.exits("job", 0, 1);
        world.expire(ExecutorId(1));
        world.executor(9);
    }
    assert_eq!(copy.state.hash(), world.state.hash());
}

#[test]
fn chunks_are_bounded_and_parts_go_over_their_borders() {
    let mut world = filled();
    for key in ["x", "y", "z"] {
        let value = Bytes::from(vec![key.as_bytes()[0]; VALUE_BYTES]);
        world.client(Command::Put { key: Bytes::from(key), value });
    }
    let chunks: Vec<_> = world.state.encode().collect();
    assert!(chunks.len() >= 6);
    assert!(chunks.iter().all(|chunk| chunk.len() <= SNAPSHOT_CHUNK_BYTES && !chunk.is_empty()));
    assert_eq!(chunks[0][0], 1);
    assert_eq!(State::decode(chunks.into_iter()).unwrap().hash(), world.state.hash());
}

#[test]
fn chunks_are_as_small_as_asked_and_hold_the_same() {
    let world = filled();
    let state = &world.state;
    let whole: Vec<u8> = state.encode().flatten().collect();
    for most in [256, 1_000] {
        let chunks: Vec<_> = state.encode_in(most).collect();
        assert!(chunks.len() > whole.len() / most);
        assert!(chunks.iter().all(|chunk| chunk.len() <= most && !chunk.is_empty()));
        assert_eq!(chunks.iter().flatten().copied().collect::<Vec<u8>>(), whole);
        assert_eq!(State::decode(chunks.into_iter()).unwrap().hash(), state.hash());
    }
}

#[test]
fn an_empty_state_has_a_snapshot() {
    let state = State::default();
    let decoded = State::decode(state.encode()).unwrap();
    assert_eq!(decoded.hash(), state.hash());
}

#[test]
fn what_is_cut_or_changed_is_refused() {
    let bytes: Bytes = filled().state.encode().flatten().collect::<Vec<u8>>().into();
    for size in 0..bytes.len() {
        State::decode(core::iter::once(bytes.slice(..size))).unwrap_err();
    }
    for place in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[place] ^= 1 << (place % 8);
        // Nothing that is not in the hash may change either, but a record's revisions are a replica's own.
        if let Ok(state) = State::decode(core::iter::once(Bytes::from(changed))) {
            state.check().unwrap();
        }
    }
    let longer = [bytes, Bytes::from("x")];
    State::decode(longer.into_iter()).unwrap_err();
    let huge = Bytes::from(vec![1; SNAPSHOT_CHUNK_BYTES + 1]);
    State::decode(core::iter::once(huge)).unwrap_err();
}
