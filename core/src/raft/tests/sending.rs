//! Stories of a leader whose followers need snapshots.

use super::*;
use core::time::Duration;

const AT: (u64, u64) = (2, 4);
/// Between two chunks.
const GAP: Duration = Duration::from_millis(4);

/// A leader of three voters whose log begins behind its snapshot; both followers lack what is gone, and answer.
fn leader_of_followers_that_need_a_snapshot(rate: u64) -> Bench {
    let flow = Flow { snapshot_chunk_bytes: 1_000, ..Flow::default() };
    let mut bench = Bench::sending(3, 1, &[], flow, rate);
    bench.elect();
    for _ in 0..4 {
        bench.propose("x");
    }
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(5) });
    bench.raft.snapshot_saved(place(AT.0, AT.1));
    bench.raft.compact(Index(AT.1));
    bench
}

fn needs(bench: &mut Bench, follower: u64) {
    bench.hear(
        follower,
        2,
        Message::HeartbeatReply { position: 0, verified: Index(0), state: None, lease: None },
    );
}

/// The chunks that it reads, in their order: for whom, and which.
fn reads(bench: &mut Bench) -> Vec<(u64, u64)> {
    let effects = std::mem::take(&mut bench.effects);
    let read = |effect| match effect {
        Effect::ReadSnapshotChunk { peer, number, .. } => Some((peer.0, number)),
        _ => None,
    };
    effects.into_iter().filter_map(read).collect()
}

fn wants(bench: &mut Bench, follower: u64, next: u64) {
    bench.hear(follower, 2, Message::SnapshotReply { index: Index(AT.1), next, installed: false });
}

#[test]
fn chunks_leave_no_faster_than_they_may_and_in_turn() {
    let mut bench = leader_of_followers_that_need_a_snapshot(250_000);
    bench.raft.leading.as_mut().unwrap().progress.get_mut(&id(2)).unwrap().matched = Index(0);
    bench.raft.leading.as_mut().unwrap().progress.get_mut(&id(2)).unwrap().probe(Index(1));
    needs(&mut bench, 2);
    needs(&mut bench, 3);
    assert_eq!(reads(&mut bench), [(2, 0)]);
    wants(&mut bench, 2, 1);
    let begun = bench.now;
    let mut read = Vec::new();
    while read.len() < 6 {
        assert_eq!(bench.raft.next_deadline(), bench.now + GAP, "after {read:?}");
        bench.deadline();
        for (follower, number) in reads(&mut bench) {
            read.push((follower, number));
            wants(&mut bench, follower, number + 1);
        }
    }
    assert_eq!(read, [(3, 0), (2, 1), (3, 1), (2, 2), (3, 2), (2, 3)]);
    assert_eq!(bench.now.since(begun), GAP * 6);
}

#[test]
fn without_a_rate_each_answer_is_followed_by_the_next_chunk() {
    let mut bench = leader_of_followers_that_need_a_snapshot(0);
    needs(&mut bench, 3);
    wants(&mut bench, 3, 1);
    wants(&mut bench, 3, 2);
    assert_eq!(reads(&mut bench), [(3, 0), (3, 1), (3, 2)]);
}

#[test]
fn who_answers_and_lacks_something_is_known_and_who_is_silent_does_not_count() {
    let mut bench = leader_of_followers_that_need_a_snapshot(0);
    assert_eq!(bench.raft.held_by_all(), Some(Index(0)), "node 3 may be there, and hold nothing");
    needs(&mut bench, 3);
    assert_eq!(bench.raft.held_by_all(), Some(Index(AT.1)), "what it lacks before that, it is sent");
    assert!(!bench.raft.sends_older_snapshot());
    bench.raft.snapshot_saved(place(2, 5));
    assert!(bench.raft.sends_older_snapshot());
    let until = bench.now + Timing::default().election_max;
    while bench.now <= until {
        bench.deadline();
        bench.sync();
        bench.hear(2, 2, Message::Appended { index: Index(5) });
    }
    assert_eq!(bench.raft.held_by_all(), Some(Index(5)), "node 3 is silent");
    assert!(!bench.raft.sends_older_snapshot());
}

#[test]
fn who_waits_for_its_turn_gets_the_newest_snapshot_and_what_is_gone_costs_no_time() {
    let mut bench = leader_of_followers_that_need_a_snapshot(250_000);
    needs(&mut bench, 3);
    assert_eq!(reads(&mut bench), [(3, 0)]);
    // It is gone: the newer one is read at once.
    bench.raft.snapshot_saved(place(2, 5));
    assert!(!bench.raft.chunk_read(id(3), place(AT.0, AT.1), 0, None));
    bench.settle();
    let asked = Effect::ReadSnapshotChunk { peer: id(3), at: place(2, 5), number: 0 };
    needs(&mut bench, 3);
    assert_eq!(std::mem::take(&mut bench.effects), [asked]);
    // Its first chunk is wanted again, and has to wait: a newer one is there by then.
    bench.hear(3, 2, Message::SnapshotReply { index: Index(5), next: 0, installed: false });
    assert!(bench.effects.is_empty());
    bench.raft.snapshot_saved(place(2, 6));
    bench.deadline();
    let asked = Effect::ReadSnapshotChunk { peer: id(3), at: place(2, 6), number: 0 };
    assert_eq!(std::mem::take(&mut bench.effects), [asked]);
}

#[test]
fn a_chunk_that_nobody_answers_is_sent_again_of_the_same_snapshot() {
    let mut bench = leader_of_followers_that_need_a_snapshot(0);
    needs(&mut bench, 3);
    assert_eq!(reads(&mut bench), [(3, 0)]);
    bench.raft.chunk_read(id(3), place(AT.0, AT.1), 0, Some((Bytes::from_static(b"s"), true)));
    // It is long about it, and a newer one is there meanwhile: with that it would begin anew, and again.
    bench.raft.snapshot_saved(place(2, 5));
    let same = Effect::ReadSnapshotChunk { peer: id(3), at: place(AT.0, AT.1), number: 0 };
    for _ in 0..14 {
        bench.deadline();
        bench.sync();
        bench.hear(2, 2, Message::Appended { index: Index(5) });
        needs(&mut bench, 3);
    }
    assert_eq!(std::mem::take(&mut bench.effects), [same]);
    // It wants all of it anew: then the newest.
    wants(&mut bench, 3, 0);
    let newest = Effect::ReadSnapshotChunk { peer: id(3), at: place(2, 5), number: 0 };
    assert_eq!(std::mem::take(&mut bench.effects), [newest]);
}
