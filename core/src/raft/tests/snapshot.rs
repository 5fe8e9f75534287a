//! Stories of snapshots: who gets them, and what they do to the log.

use super::*;

#[test]
fn a_follower_that_needs_what_is_gone_gets_the_snapshot_and_then_the_rest() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    for _ in 0..4 {
        bench.propose("x");
    }
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(5) });
    bench.raft.snapshot_saved(place(2, 4));
    bench.raft.compact(Index(4));
    bench.hear(3, 2, Message::HeartbeatReply { position: 0, verified: Index(0), state: None, lease: None });
    let asked = Effect::ReadSnapshotChunk { peer: id(3), at: place(2, 4), number: 0 };
    assert!(bench.effects.contains(&asked), "{:?}", bench.effects);
    bench.raft.chunk_read(id(3), place(2, 4), 0, Some((Bytes::from_static(b"s"), true)));
    bench.settle();
    bench.sent.clear();
    let reply = Message::SnapshotReply { index: Index(4), next: 0, installed: true };
    let sent = bench.hear(3, 2, reply);
    assert!(sent.iter().any(|(to, message)| *to == id(3)
        && matches!(message, Message::Append { previous, entries, .. }
            if *previous == place(2, 4) && entries.len() == 1)));
}

#[test]
fn a_follower_that_does_not_answer_gets_no_snapshot_until_it_does() {
    let mut bench = leader_of_a_silent_follower();
    bench.raft.snapshot_saved(place(2, 4));
    bench.raft.compact(Index(4));
    let asked = Effect::ReadSnapshotChunk { peer: id(3), at: place(2, 4), number: 0 };
    for _ in 0..3 {
        bench.deadline();
        bench.hear(
            2,
            2,
            Message::HeartbeatReply { position: 0, verified: Index(5), state: None, lease: None },
        );
    }
    assert!(!bench.effects.contains(&asked));
    bench.hear(3, 2, Message::HeartbeatReply { position: 0, verified: Index(0), state: None, lease: None });
    assert!(bench.effects.contains(&asked), "{:?}", bench.effects);
}

#[test]
fn a_snapshot_that_somebody_else_sent_counts_too() {
    let mut bench = leader_of_a_silent_follower();
    bench.hear(3, 2, Message::SnapshotReply { index: Index(4), next: 0, installed: true });
    assert_eq!(bench.raft.matched(id(3)), Some(Index(4)));
    bench.hear(3, 2, Message::SnapshotReply { index: Index(9), next: 0, installed: true });
    assert_eq!(bench.raft.matched(id(3)), Some(Index(4)), "a follower cannot hold what the leader does not");
}

#[test]
fn a_snapshot_that_cannot_be_read_is_written_anew_and_not_read_without_a_pause() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    bench.elect();
    for _ in 0..4 {
        bench.propose("x");
    }
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(5) });
    bench.raft.snapshot_saved(place(2, 4));
    bench.raft.compact(Index(4));
    bench.hear(3, 2, Message::AppendRefused { previous: Index(0), hint: place(0, 0) });
    bench.effects.clear();
    bench.hear(3, 2, Message::AppendRefused { previous: Index(1), hint: place(0, 0) });
    for _ in 0..3 {
        bench.deadline();
        bench.hear(3, 2, Message::AppendRefused { previous: Index(5), hint: place(0, 0) });
        bench.hear(
            2,
            2,
            Message::HeartbeatReply { position: 0, verified: Index(5), state: None, lease: None },
        );
    }
    let reads = |bench: &Bench, at| {
        let asked = Effect::ReadSnapshotChunk { peer: id(3), at, number: 0 };
        bench.effects.iter().filter(|effect| **effect == asked).count()
    };
    assert!(reads(&bench, place(2, 4)) > 0, "{:?}", bench.effects);
    bench.effects.clear();
    assert!(bench.raft.chunk_read(id(3), place(2, 4), 0, None), "the newest cannot be read");
    bench.settle();
    assert_eq!(reads(&bench, place(2, 4)), 0, "it is read again only after a while");
    // Another takes its place: what is gone now is no longer the newest.
    bench.raft.snapshot_saved(place(2, 5));
    assert!(!bench.raft.chunk_read(id(3), place(2, 4), 0, None));
}

#[test]
fn an_old_answer_does_not_keep_a_leader_and_its_follower_at_different_chunks() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    bench.elect();
    bench.propose("x");
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(3) });
    let at = place(2, 3);
    bench.raft.snapshot_saved(at);
    bench.raft.compact(at.index);
    bench.hear(3, 2, Message::AppendRefused { previous: Index(0), hint: place(0, 0) });
    bench.hear(3, 2, Message::AppendRefused { previous: Index(1), hint: place(0, 0) });
    bench.deadline();
    bench.hear(3, 2, Message::AppendRefused { previous: Index(3), hint: place(0, 0) });
    // It has two chunks; an answer from before comes late; then what it wants; at last it has lost all but the first.
    for next in [1, 2, 0, 2, 1] {
        bench.effects.clear();
        bench.hear(3, 2, Message::SnapshotReply { index: at.index, next, installed: false });
        let asked = Effect::ReadSnapshotChunk { peer: id(3), at, number: next };
        assert!(bench.effects.contains(&asked), "{next}: {:?}", bench.effects);
    }
}

fn ahead_of_the_log() -> RaftStart {
    RaftStart {
        no_vote_until: Time(0),
        id: id(1),
        membership: Membership::of([1, 2, 3].map(NodeId)),
        timing: Timing::default(),
        flow: Flow::default(),
        snapshot_rate: 0,
        seed: 7,
        hard_state: HardState { term: Term(5), vote: None, commit: Index(1) },
        start: LogPosition::default(),
        entries: entries(&[(5, 1), (5, 2)]),
        snapshot: Some(place(5, 9)),
    }
}

#[test]
fn a_snapshot_that_is_ahead_of_the_log_is_what_the_node_holds() {
    let mut raft = Raft::new(ahead_of_the_log(), Time(0));
    assert_eq!((raft.held_index(), raft.commit(), raft.last_index()), (Index(9), Index(9), Index(9)));
    let write = raft.take_write().unwrap();
    assert_eq!((write.start, write.entries.len()), (Some(place(5, 9)), 0));
}

#[test]
fn a_snapshot_of_a_later_term_than_is_known_begins_that_term() {
    let start = RaftStart {
        hard_state: HardState { term: Term(5), vote: Some(NodeId(2)), commit: Index(1) },
        snapshot: Some(place(6, 2)),
        ..ahead_of_the_log()
    };
    let mut raft = Raft::new(start, Time(0));
    // What peers have seen of this directory is of term 5 at most, and all of that is overtaken.
    assert_eq!((raft.term(), raft.held_index(), raft.hard_state().vote), (Term(6), Index(2), None));
    assert!(!raft.is_term_durable());
    let write = raft.take_write().unwrap();
    assert_eq!(write.hard_state.map(|it| (it.term, it.vote)), Some((Term(6), None)));
    raft.write_done(write.io);
    assert!(raft.is_term_durable());
}

#[test]
fn a_snapshot_against_what_was_verified_leaves_nothing_of_it_to_commit() {
    let mut bench = Bench::new(3, 1, &[]);
    let append = Message::Append {
        previous: place(0, 0),
        entries: entries(&[(1, 1), (1, 2), (1, 3)]),
        commit: Index(0),
    };
    bench.hear(2, 2, append);
    bench.sync();
    // No honest leader sends this in one term; it must not bring the node down.
    bench.hear(2, 2, Message::SnapshotChunk { at: place(2, 2), number: 0, data: Bytes::new(), last: true });
    bench.raft.chunk_stored(place(2, 2), 0, true);
    assert!(bench.raft.snapshot_loaded(place(2, 2), true));
    bench.settle();
    bench.hear(
        2,
        2,
        Message::Heartbeat { commit: Index(3), position: 0, checkpoint: None, judged: None, lease: None },
    );
    assert_eq!((bench.raft.commit(), bench.raft.last_index()), (Index(2), Index(2)));
}

#[test]
fn what_overtook_a_snapshot_is_acknowledged_when_it_is_durable() {
    for whole in [true, false] {
        let mut bench = Bench::new(3, 2, &[]);
        let at = place(2, 2);
        bench.hear(2, 2, Message::SnapshotChunk { at, number: 0, data: Bytes::new(), last: true });
        bench.raft.chunk_stored(at, 0, true);
        let append =
            Message::Append { previous: place(0, 0), entries: entries(&[(2, 1), (2, 2)]), commit: Index(2) };
        bench.hear(2, 2, append);
        assert!(!bench.raft.snapshot_loaded(at, whole));
        bench.settle();
        assert_eq!((bench.raft.commit(), &bench.sent), (Index(2), &Vec::new()));
        let installed = Message::SnapshotReply { index: Index(2), next: 0, installed: true };
        assert!(bench.sync().contains(&(id(2), installed)));
    }
}

#[test]
fn a_log_is_cut_as_far_as_it_is_durable() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.hear(2, 2, append_of(2, 3, 3));
    assert_eq!(bench.raft.commit(), Index(3));
    assert_eq!(
        bench.raft.compact(Index(2)),
        None,
        "a crash could lose what a snapshot is not known to cover"
    );
    assert_eq!(bench.raft.first_index(), Index(1));
    bench.sync();
    bench.hear(2, 2, append_of(2, 5, 5));
    assert_eq!(bench.raft.compact(Index(4)), Some(Index(3)));
    assert_eq!(bench.raft.first_index(), Index(4));
    assert_eq!(bench.raft.compact(Index(4)), None);
    bench.sync();
    assert_eq!(bench.raft.compact(Index(4)), Some(Index(4)));
    bench.settle();
    assert_eq!(bench.writes.last().unwrap().start, Some(place(2, 4)));
    assert_eq!(bench.raft.compact(Index(2)), None, "it is gone");
}

#[test]
fn a_log_whose_end_is_never_durable_is_cut_all_the_same() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.hear(2, 2, append_of(2, 2, 2));
    let mut late = bench.writes.last().unwrap().io;
    for last in 3..9 {
        bench.hear(2, 2, append_of(2, last, last));
        let io = bench.writes.last().unwrap().io;
        // It says of a write that it is done only when the next one is on its way.
        bench.raft.write_done(late);
        late = io;
        assert_eq!(bench.raft.durable_index(), Index(last - 1));
        assert_eq!(bench.raft.compact(Index(last)), Some(Index(last - 1)));
    }
}

#[test]
fn a_snapshot_for_which_there_was_no_room_begins_anew_when_it_is_sent_again() {
    let mut bench = Bench::new(3, 2, &[]);
    let at = place(2, 9);
    let chunk = |number| Message::SnapshotChunk { at, number, data: Bytes::new(), last: false };
    bench.hear(2, 2, chunk(0));
    bench.raft.chunk_stored(at, 0, false);
    bench.hear(2, 2, chunk(1));
    bench.raft.chunk_refused(at, 0);
    assert_eq!(bench.hear(2, 2, chunk(1)), [], "that was of another chunk: this one is being stored");
    bench.raft.chunk_refused(at, 1);
    let anew = Message::SnapshotReply { index: at.index, next: 0, installed: false };
    assert_eq!(bench.hear(2, 2, chunk(1)), [(id(2), anew)]);
    bench.effects.clear();
    bench.hear(2, 2, chunk(0));
    let stores = Effect::StoreSnapshotChunk { at, number: 0, data: Bytes::new(), last: false };
    assert!(bench.effects.contains(&stores), "{:?}", bench.effects);
    // Another leader sent the same: the first is stored, and of the second there is no more.
    bench.raft.chunk_stored(at, 0, false);
    bench.raft.chunk_refused(at, 0);
    let anew = Message::SnapshotReply { index: at.index, next: 0, installed: false };
    assert_eq!(bench.hear(2, 2, chunk(1)).last(), Some(&(id(2), anew)));
}
