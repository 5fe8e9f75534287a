//! When the state is written aside, and what stays of the log.

use super::*;
use crate::{contract::LogBytes, raft::message::Message, types::Index};

/// Three nodes that keep little of their logs, with a leader.
fn cluster(log_bytes: LogBytes, snapshot_entries: u64) -> (Cluster, NodeId, u64) {
    let mut cluster = Cluster::new(3);
    for node in cluster.nodes.values_mut() {
        (node.config.log_bytes, node.config.snapshot_entries) = (log_bytes, snapshot_entries);
    }
    cluster.run(Duration::from_secs(1));
    let leader = cluster.leader();
    let session = cluster.session(leader);
    (cluster, leader, session)
}

fn fill(cluster: &mut Cluster, leader: NodeId, session: u64, sequences: core::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        assert!(matches!(cluster.put(leader, session, sequence, "value"), Some(Reply::Put(_))));
    }
}

/// What its log lacks in front.
fn released(cluster: &Cluster, node: NodeId) -> Index {
    Index(cluster.nodes[&node].raft.first_index().0 - 1)
}

#[test]
fn few_large_entries_are_written_aside_and_released_by_their_bytes() {
    let bytes = LogBytes { snapshot: 4_000, trailing: 1_000, held: 0 };
    let (mut cluster, leader, session) = cluster(bytes, 1_000_000);
    fill(&mut cluster, leader, session, 1..=200);
    for node in cluster.nodes.values() {
        assert!(node.saved > Index(150), "{}", node.saved);
        assert!(node.raft.log_bytes() <= 4_000 + 1_000 + 200, "{}", node.raft.log_bytes());
    }
}

#[test]
fn a_leader_keeps_what_a_follower_that_answers_lacks_until_it_has_it() {
    let (mut cluster, leader, session) = cluster(LogBytes::default(), 50);
    let slow = cluster.follower();
    fill(&mut cluster, leader, session, 1..=20);
    // It hears and answers; its disk takes nothing for a while.
    let before = cluster.nodes[&leader].raft.matched(slow).unwrap();
    cluster.hung.insert(slow, Vec::new());
    fill(&mut cluster, leader, session, 21..=200);
    assert!(cluster.nodes[&leader].saved > Index(150));
    assert!(released(&cluster, leader) <= before, "{} is lacked", before.next());
    for write in cluster.hung.remove(&slow).unwrap() {
        let now = cluster.now;
        cluster.nodes.get_mut(&slow).unwrap().step(now, Input::WriteDone { io: write.io });
    }
    cluster.settle();
    assert!(released(&cluster, leader) > Index(140), "it has everything");
}

#[test]
fn a_log_that_is_behind_its_snapshot_is_cut_when_it_is_durable() {
    let (mut cluster, leader, session) = cluster(LogBytes { trailing: 0, ..LogBytes::default() }, 50);
    let slow = cluster.follower();
    let durable = cluster.nodes[&slow].raft.durable_index();
    cluster.hung.insert(slow, Vec::new());
    fill(&mut cluster, leader, session, 1..=200);
    assert!(cluster.nodes[&slow].saved > Index(150));
    assert!(released(&cluster, slow) <= durable, "a crash could lose the rest");
    let last = cluster.hung.remove(&slow).unwrap().into_iter().next_back().unwrap();
    let now = cluster.now;
    cluster.nodes.get_mut(&slow).unwrap().step(now, Input::WriteDone { io: last.io });
    assert_eq!(released(&cluster, slow), cluster.nodes[&slow].saved);
}

#[test]
fn over_its_bound_a_log_is_cut_whoever_lacks_it() {
    let bytes = LogBytes { held: 6_000, ..LogBytes::default() };
    let (mut cluster, leader, session) = cluster(bytes, 50);
    let slow = cluster.follower();
    cluster.hung.insert(slow, Vec::new());
    fill(&mut cluster, leader, session, 1..=300);
    assert!(released(&cluster, leader) > Index(200));
}

#[test]
fn who_is_silent_is_not_waited_for() {
    let (mut cluster, leader, session) = cluster(LogBytes::default(), 50);
    let gone = cluster.follower();
    cluster.cut.push(gone);
    cluster.run(Timing::default().election_max * 2);
    fill(&mut cluster, leader, session, 1..=200);
    assert!(released(&cluster, leader) > Index(140));
}

#[test]
fn a_snapshot_that_is_being_sent_is_not_overtaken_by_a_second_one() {
    let (mut cluster, leader, session) = cluster(LogBytes::default(), 50);
    let gone = cluster.follower();
    cluster.cut.push(gone);
    cluster.run(Timing::default().election_max * 2);
    fill(&mut cluster, leader, session, 1..=120);
    // It comes back, has the first chunk of a snapshot, and gets no other: nobody reads them here.
    cluster.cut.clear();
    cluster.run(Timing::default().heartbeat * 4);
    let raft = &mut cluster.nodes.get_mut(&leader).unwrap().raft;
    let sent = raft.snapshot().unwrap();
    raft.receive(gone, raft.term(), Message::SnapshotReply { index: sent.index, next: 1, installed: false });
    let heartbeat = Timing::default().heartbeat;
    for sequence in 121..=400 {
        fill(&mut cluster, leader, session, sequence..=sequence);
        if sequence % 10 == 0 {
            cluster.run(heartbeat);
        }
    }
    let node = &cluster.nodes[&leader];
    assert!(
        node.saved.0 > sent.index.0 && node.saved.0 < sent.index.0 + 120,
        "one more, and no other: {}",
        node.saved
    );
    assert!(released(&cluster, leader) <= sent.index, "it needs what comes behind its snapshot");
    // Silent again, it is in nobody's way.
    cluster.cut.push(gone);
    cluster.run(Timing::default().election_max * 2);
    fill(&mut cluster, leader, session, 401..=402);
    assert!(cluster.nodes[&leader].saved > Index(400));
    assert!(released(&cluster, leader) > Index(350));
}

#[test]
fn a_state_that_is_of_no_use_any_more_is_handed_out_to_be_dropped() {
    let (mut cluster, leader, session) = cluster(LogBytes { held: 0, ..LogBytes::default() }, 50);
    let behind = cluster.follower();
    cluster.cut.push(behind);
    fill(&mut cluster, leader, session, 1..=200);
    let now = cluster.now;
    let (old, newer) = (cluster.nodes[&behind].state.index(), cluster.nodes[&leader].snapshot().unwrap());
    let node = cluster.nodes.get_mut(&behind).unwrap();
    let (at, term) = (newer.at, node.raft.term());
    let chunk = Message::SnapshotChunk { at, number: 0, data: bytes::Bytes::new(), last: true };
    node.raft.receive(leader, term, chunk);
    node.step(now, Input::SnapshotChunkStored { at, number: 0, last: true });
    for expected in [old, at.index] {
        let state = Some(Box::new(newer.state.clone()));
        node.step(now, Input::SnapshotLoaded { at, state });
        let outputs = core::iter::from_fn(|| node.poll_output());
        let dropped = outputs.filter_map(|output| match output {
            Output::DropState(state) => Some(state.index()),
            _ => None,
        });
        assert_eq!(dropped.collect::<Vec<_>>(), [expected]);
    }
}
