//! What broke in other systems, told as stories of small clusters. docs/regressions.md names them all.

use super::*;
use crate::types::LeaseId;
use crate::{contract::Snapshot, state::Heir};

/// One executor that is registered at the leader. Its lease lasts `ttl_ms` and its grace.
fn register(cluster: &mut Cluster) -> u64 {
    let leader = cluster.leader();
    let session = cluster.session(leader);
    let register = pb::RegisterExecutorRequest {
        request_id: Some(pb::RequestId { session, sequence: 1, lowest_open: 1 }),
        name: "e".into(),
        address: "e:1".into(),
        slots: 4,
        incarnation: 9,
        ..Default::default()
    };
    match cluster.ask(leader, Request::RegisterExecutor(register)) {
        Some(Reply::RegisterExecutor(reply)) => reply.executor,
        other => panic!("{other:?}"),
    }
}

fn beats(cluster: &mut Cluster, executor: u64, sequence: u64) -> bool {
    let beat = pb::HeartbeatRequest { executor, incarnation: 9, sequence, reports: Vec::new() };
    let leader = cluster.leader();
    matches!(cluster.ask(leader, Request::Heartbeat(beat)), Some(Reply::Heartbeat(_)))
}

/// How long an executor's lease lasts with its grace: less than its session's.
fn span() -> Duration {
    let times = LeaseTimes::default();
    times.ttl + times.grace
}

#[test]
fn a_cluster_of_one_answers_nothing_before_its_write_is_synced() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(1));
    let session = cluster.session(NodeId(1));
    cluster.put(NodeId(1), session, 1, "kept");
    cluster.hung.insert(NodeId(1), Vec::new());
    assert_eq!(cluster.put(NodeId(1), session, 2, "precious"), None, "it would be lost with the power");
    assert_eq!(value(cluster.get(NodeId(1), true)).as_deref(), Some("kept"), "nor does anybody see it");
    let writes = cluster.hung.remove(&NodeId(1)).unwrap();
    assert!(writes.iter().any(|write| !write.entries.is_empty()));
    for write in writes {
        cluster.nodes.get_mut(&NodeId(1)).unwrap().step(cluster.now, Input::WriteDone { io: write.io });
    }
    cluster.settle();
    let answered: Vec<_> = cluster.replies.values().map(|reply| &reply.body).collect();
    assert!(matches!(answered[..], [Some(Reply::Put(_))]), "{answered:?}");
    assert_eq!(value(cluster.get(NodeId(1), true)).as_deref(), Some("precious"));
}

#[test]
fn a_leader_that_stood_still_revokes_no_lease_when_it_goes_on() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let executor = register(&mut cluster);
    let span = span();
    // Stuck in a call of its system: it neither hears nor does anything, and the others go on without it.
    let old = cluster.leader();
    let stuck = cluster.nodes.remove(&old).unwrap();
    cluster.run(Duration::from_secs(2));
    let beats_until = cluster.now.time + span * 3;
    let mut sequence = 0;
    while cluster.now.time < beats_until {
        sequence += 1;
        assert!(beats(&mut cluster, executor, sequence));
        cluster.run(Duration::from_secs(1));
    }
    // By its own account it leads, and has heard of nobody for three times as long as a lease lasts.
    assert_eq!(stuck.raft.role(), Role::Leader);
    cluster.nodes.insert(old, stuck);
    cluster.nodes.get_mut(&old).unwrap().step(cluster.now, Input::Deadline);
    cluster.settle();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.missed, [] as [LeaseId; 0]);
    assert_eq!(cluster.nodes[&old].raft.role(), Role::Follower);
    assert!(beats(&mut cluster, executor, sequence + 1));
}

#[test]
fn a_leader_whose_disk_hangs_revokes_no_lease_and_the_next_one_waits_a_whole_lease() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    register(&mut cluster);
    let span = span();
    cluster.run(span - Duration::from_millis(100));
    assert_eq!(cluster.missed, [] as [LeaseId; 0]);
    // The lease would be over in a moment; whoever has to sync the end of it cannot.
    let old = cluster.leader();
    cluster.hung.insert(old, Vec::new());
    let session = Request::OpenSession(pb::OpenSessionRequest { ttl_ms: 0 });
    cluster.ask(old, session);
    cluster.cut.push(old);
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.nodes[&old].raft.role(), Role::Follower, "it has stepped down");
    assert_ne!(cluster.leader(), old);
    cluster.missed.clear();
    for (id, node) in &cluster.nodes {
        assert_eq!(node.state().sizes().0, 1, "node {id} has the executor");
    }
    // Keep-alives may be what the old one has not written: the new leader counts from its own beginning.
    cluster.run(span - Duration::from_millis(2_100));
    assert_eq!(cluster.missed, [] as [LeaseId; 0]);
    cluster.run(Duration::from_secs(3));
    assert!(!cluster.missed.is_empty(), "nobody has kept it alive");
}

#[test]
fn a_late_answer_of_an_earlier_leader_to_a_read_is_not_given() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (old, follower) = (cluster.leader(), cluster.follower());
    let before = cluster.nodes[&follower].clone();
    cluster.cut.push(old);
    assert_eq!(cluster.get(follower, false), None, "it is on its way to the old leader");
    let key = RequestKey(cluster.next_key);
    let get = Request::Get(pb::GetRequest { key: "k".into(), stale: false });
    // The question as it left, to know its number.
    let mut asker = before;
    let request = Box::new(pb::ClientRequest { body: Some(get) });
    asker.step(cluster.now, Input::Request { key, request });
    let id = std::iter::from_fn(|| asker.poll_output()).find_map(|output| match output {
        Output::Send { envelope, .. } => match envelope.body {
            Some(pb::envelope::Body::Forward(forward)) => Some(forward.id),
            _ => None,
        },
        _ => None,
    });
    cluster.run(Duration::from_secs(2));
    assert_ne!(cluster.leader(), old);
    assert_eq!(code(cluster.replies.remove(&key).unwrap().body), pb::RefusalCode::Unavailable);
    let stale = pb::GetReply { item: None, ..Default::default() };
    let reply = pb::ForwardReply {
        id: id.unwrap(),
        reply: Some(pb::ClientReply { index: 1, body: Some(Reply::Get(stale)) }),
    };
    cluster.nodes.get_mut(&follower).unwrap().forward_answered(old, reply);
    cluster.settle();
    assert!(
        cluster.replies.is_empty(),
        "what an earlier leader read may be older than what was answered since"
    );
}

#[test]
fn a_snapshot_that_is_installed_while_the_own_state_is_saved_stays() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let session = cluster.session(leader);
    let mut node = cluster.nodes.remove(&follower).unwrap();
    // Its own state is being written aside, and that takes long.
    node.save();
    let saving = node.saving.unwrap();
    for sequence in 1..=200 {
        cluster.put(leader, session, sequence, "a");
    }
    let newest = &cluster.nodes[&leader];
    let at = LogPosition { term: newest.raft.term(), index: newest.state().index() };
    let chunk = pb::SnapshotChunk {
        index: at.index.0,
        entry_term: at.term.0,
        number: 0,
        data: bytes::Bytes::new(),
        last: true,
    };
    let envelope = pb::Envelope {
        level: 1,
        cluster: 77,
        from: leader.0,
        to: follower.0,
        storage: leader.0 * 11,
        term: at.term.0,
        body: Some(pb::envelope::Body::SnapshotChunk(chunk)),
    };
    let state = Box::new(newest.state().clone());
    for input in [
        Input::Peer(Box::new(envelope)),
        Input::SnapshotChunkStored { at, number: 0, last: true },
        Input::SnapshotLoaded { at, state: Some(state) },
        Input::SnapshotSaved { at: saving },
    ] {
        node.step(cluster.now, input);
    }
    assert_eq!(node.state().hash(), newest.state().hash());
    assert_eq!((node.state().index(), node.raft.first_index()), (at.index, at.index.next()));
    let starts = std::iter::from_fn(|| node.poll_output()).filter_map(|output| match output {
        Output::Write(write) => write.start,
        _ => None,
    });
    assert_eq!(starts.collect::<Vec<_>>(), [at], "the log on the disk begins behind it, and never earlier");
}

#[test]
fn who_leads_and_is_asked_to_does_not_end_another_hand_over() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (leader, to) = (cluster.leader(), cluster.follower());
    // The successor hears nothing yet.
    cluster.cut.push(to);
    let ask = |to: NodeId| Request::TransferLeader(pb::TransferLeaderRequest { to: to.0, from: 0 });
    assert_eq!(cluster.ask(leader, ask(to)), None, "it is under way");
    assert!(matches!(cluster.ask(leader, ask(leader)), Some(Reply::TransferLeader(_))));
    assert_eq!(cluster.nodes[&leader].waiting.transfers.len(), 1, "the other one still waits");
}

#[test]
fn what_a_heartbeats_answer_vouches_for_is_remembered_against_its_directory() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let session = cluster.session(leader);
    // What it acknowledges is lost on its way.
    cluster.cut.push(follower);
    cluster.put(leader, session, 1, "a");
    let (config, now) = (config(follower.0, 3), cluster.now);
    let node = cluster.nodes.get_mut(&leader).unwrap();
    let (term, index) = (node.raft.term(), node.raft.last_index());
    let answer = pb::HeartbeatAnswer { verified_index: index.0, ..pb::HeartbeatAnswer::default() };
    let hello = pb::Hello { ask: true, ..pb::Hello::default() };
    let mut told = None;
    for body in [pb::envelope::Body::HeartbeatAnswer(answer), pb::envelope::Body::Hello(hello)] {
        let envelope = pb::Envelope {
            from: follower.0,
            to: leader.0,
            cluster: config.cluster.0,
            storage: config.storage.0,
            term: term.0,
            body: Some(body),
            ..pb::Envelope::default()
        };
        node.step(now, Input::Peer(Box::new(envelope)));
        while let Some(output) = node.poll_output() {
            if let Output::Send { envelope, .. } = output
                && let Some(pb::envelope::Body::Hello(hello)) = envelope.body
            {
                told = Some((hello.seen_term, hello.seen_index));
            }
        }
    }
    assert_eq!(told, Some((term.0, index.0)));
}

#[test]
fn a_founder_of_a_restored_cluster_that_missed_the_beginning_takes_part() {
    let mut cluster = Cluster::new(2);
    let now = cluster.now;
    for id in [1, 2] {
        let heir = Heir::of_snapshot((ClusterId(1), ClusterId(77)), Term(3), State::default(), 0).unwrap();
        let recovered = Recovered {
            hard_state: heir.hard_state(),
            start: heir.at,
            snapshot: Some(Snapshot { at: heir.at, state: heir.state }),
            ..Recovered::default()
        };
        let config = Config { cluster: heir.cluster, ..config(id, 2) };
        cluster.nodes.insert(NodeId(id), Node::new(config, recovered, id, now));
    }
    let hellos = |node: &mut Node| {
        let outputs = core::iter::from_fn(|| node.poll_output());
        outputs
            .filter_map(|it| if let Output::Send { envelope, .. } = it { Some(envelope) } else { None })
            .collect()
    };
    let second = cluster.nodes.get_mut(&NodeId(2)).unwrap();
    second.step(now, Input::Deadline);
    let asks: Vec<Box<pb::Envelope>> = hellos(second);
    let first = cluster.nodes.get_mut(&NodeId(1)).unwrap();
    asks.into_iter().for_each(|ask| first.step(now, Input::Peer(ask)));
    // The first one knows all founders then, and what it answers is lost.
    let lost: Vec<Box<pb::Envelope>> = hellos(first);
    assert!(!lost.is_empty(), "it answers");
    assert_eq!(*first.identity.standing(), Standing::Member);
    cluster.run(Duration::from_secs(3));
    let leader = cluster.leader();
    let session = cluster.session(leader);
    assert!(matches!(cluster.put(leader, session, 1, "a"), Some(Reply::Put(_))));
}
