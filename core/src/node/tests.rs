//! Small clusters with a perfect network and instant disks: who answers what.

mod agreement;
mod batch;
#[cfg(feature = "next-format")]
mod level;
mod members;
mod peers;
mod room;
mod snapshots;

use super::*;
use crate::{
    command::{Command, Proposal},
    contract::{Flow, LeaseTimes, MemberAddress, Timing, Write},
    state::ApplyContext,
    types::{ClusterId, ClusterTime, NodeId, RequestKey, StorageId, Term},
};
use core::time::Duration;
use pb::{client_reply::Body as Reply, client_request::Body as Request};
use prost::Message as _;
use std::collections::BTreeMap;

/// Nodes that hear each other at once, and whose writes are done at once.
struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    cut: Vec<NodeId>,
    /// Those whose writes are not done, and what was to be written.
    hung: BTreeMap<NodeId, Vec<Write>>,
    /// Leases that a leader wanted to end.
    missed: Vec<crate::types::LeaseId>,
    writes: BTreeMap<NodeId, Vec<Write>>,
    replies: BTreeMap<RequestKey, pb::ClientReply>,
    calls: Vec<(NodeId, CallKey, pb::ExecutorCall)>,
    forwards: usize,
    now: Now,
    next_key: u64,
}

fn config(node: u64, members: u64) -> Config {
    let address = |id: u64| MemberAddress { peer: format!("p{id}:1"), client: format!("c{id}:1") };
    Config {
        cluster: ClusterId(77),
        node: NodeId(node),
        storage: StorageId(node * 11),
        members: (1..=members).map(|id| (NodeId(id), address(id))).collect(),
        joins: false,
        timing: Timing::default(),
        executor_lease: LeaseTimes::default(),
        snapshot_entries: 50,
        trailing_entries: 10,
        log_bytes: crate::contract::LogBytes::default(),
        snapshot_rate: 0,
        flow: Flow::default(),
        level: crate::level::FEATURE_LEVEL,
    }
}

impl Cluster {
    fn new(members: u64) -> Self {
        let now = Now { time: Time(1), wall_ms: 1_000 };
        let node = |id| Node::new(config(id, members), Recovered::default(), id, now);
        let mut cluster = Self {
            nodes: (1..=members).map(|id| (NodeId(id), node(id))).collect(),
            cut: Vec::new(),
            hung: BTreeMap::new(),
            missed: Vec::new(),
            writes: BTreeMap::new(),
            replies: BTreeMap::new(),
            calls: Vec::new(),
            forwards: 0,
            now,
            next_key: 0,
        };
        cluster.settle();
        cluster
    }

    /// Carries out all outputs, and theirs, until there are none.
    fn settle(&mut self) {
        let mut inputs: VecDeque<(NodeId, Input)> = VecDeque::new();
        loop {
            for (&id, node) in &mut self.nodes {
                while let Some(output) = node.poll_output() {
                    match output {
                        Output::Send { to, envelope, .. } => {
                            if matches!(envelope.body, Some(pb::envelope::Body::Forward(_))) {
                                self.forwards += 1;
                            }
                            let bytes = envelope.encode_to_vec();
                            let envelope = pb::Envelope::decode(&bytes[..]).unwrap();
                            if !self.cut.contains(&id) && !self.cut.contains(&to) {
                                inputs.push_back((to, Input::Peer(Box::new(envelope))));
                            }
                        }
                        Output::Write(write) if self.hung.contains_key(&id) => {
                            self.hung.entry(id).or_default().push(write);
                        }
                        Output::Write(write) => {
                            inputs.push_back((id, Input::WriteDone { io: write.io }));
                            self.writes.entry(id).or_default().push(write);
                        }
                        Output::SaveSnapshot(snapshot) => {
                            inputs.push_back((id, Input::SnapshotSaved { at: snapshot.at }));
                        }
                        Output::Reply { key, reply } => _ = self.replies.insert(key, *reply),
                        Output::Call { key, call, .. } => self.calls.push((id, key, *call)),
                        Output::Stop(reason) => panic!("{reason}"),
                        Output::Trace(TraceEvent::LeaseMissed { lease }) => self.missed.push(lease),
                        Output::StoreSnapshotChunk { .. }
                        | Output::ReadSnapshotChunk { .. }
                        | Output::LoadSnapshot { .. }
                        | Output::DropState(_)
                        | Output::Changed { .. }
                        | Output::Members(_)
                        | Output::Trace(_) => {}
                    }
                }
            }
            let Some((id, input)) = inputs.pop_front() else { return };
            if let Some(node) = self.nodes.get_mut(&id) {
                node.step(self.now, input);
            }
        }
    }

    /// Lets time pass, deadline by deadline.
    fn run(&mut self, duration: Duration) {
        let end = self.now.time + duration;
        while let Some((at, id)) =
            self.nodes.iter().filter_map(|(id, node)| Some((node.next_deadline()?.0, *id))).min()
            && at <= end
        {
            self.now.time = self.now.time.max(at);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.step(self.now, Input::Deadline);
            }
            self.settle();
        }
        self.now.time = end;
    }

    fn leader(&self) -> NodeId {
        let leads = |(id, node): (&NodeId, &Node)| (node.raft.role() == Role::Leader).then_some(*id);
        self.nodes.iter().filter(|(id, _)| !self.cut.contains(id)).find_map(leads).expect("somebody leads")
    }

    fn follower(&self) -> NodeId {
        let leader = self.leader();
        *self.nodes.keys().find(|id| **id != leader && !self.cut.contains(id)).unwrap()
    }

    fn ask(&mut self, node: NodeId, request: Request) -> Option<Reply> {
        self.next_key += 1;
        let key = RequestKey(self.next_key);
        let request = Box::new(pb::ClientRequest { body: Some(request) });
        self.nodes.get_mut(&node).unwrap().step(self.now, Input::Request { key, request });
        self.settle();
        self.replies.remove(&key)?.body
    }

    fn session(&mut self, node: NodeId) -> u64 {
        match self.ask(node, Request::OpenSession(pb::OpenSessionRequest { ttl_ms: 0 })) {
            Some(Reply::OpenSession(reply)) => reply.session,
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, node: NodeId, session: u64, sequence: u64, value: &'static str) -> Option<Reply> {
        let request_id = Some(pb::RequestId { session, sequence, lowest_open: sequence });
        self.ask(
            node,
            Request::Put(pb::PutRequest { request_id, key: "k".into(), value: value.as_bytes().into() }),
        )
    }

    fn get(&mut self, node: NodeId, stale: bool) -> Option<Reply> {
        self.ask(node, Request::Get(pb::GetRequest { key: "k".into(), stale }))
    }
}

fn code(reply: Option<Reply>) -> pb::RefusalCode {
    match reply {
        Some(Reply::Refusal(refusal)) => refusal.code(),
        other => panic!("not refused: {other:?}"),
    }
}

fn value(reply: Option<Reply>) -> Option<String> {
    match reply {
        Some(Reply::Get(reply)) => reply.item.map(|item| String::from_utf8_lossy(&item.value).into_owned()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_directories_begin_a_cluster_that_answers_at_every_node() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let session = cluster.session(follower);
    assert!(matches!(cluster.put(follower, session, 1, "a"), Some(Reply::Put(_))));
    assert!(matches!(cluster.put(leader, session, 2, "b"), Some(Reply::Put(_))));
    for node in [leader, follower] {
        assert_eq!(value(cluster.get(node, false)).as_deref(), Some("b"));
    }
    cluster.run(Duration::from_millis(100));
    assert_eq!(value(cluster.get(follower, true)).as_deref(), Some("b"));
}

#[test]
fn one_node_alone_is_a_cluster() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(1));
    let session = cluster.session(NodeId(1));
    assert!(matches!(cluster.put(NodeId(1), session, 1, "a"), Some(Reply::Put(_))));
    assert_eq!(value(cluster.get(NodeId(1), false)).as_deref(), Some("a"));
}

#[test]
fn a_retry_at_another_node_is_applied_once() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let session = cluster.session(leader);
    let first = cluster.put(leader, session, 1, "a");
    assert_eq!(first, cluster.put(follower, session, 1, "a"));
    assert_eq!(code(cluster.put(leader, session + 1_000, 1, "a")), pb::RefusalCode::SessionExpired);
}

#[test]
fn a_request_is_forwarded_at_most_once() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let follower = cluster.follower();
    let other = *cluster.nodes.keys().find(|id| **id != follower && **id != cluster.leader()).unwrap();
    let get = Request::Get(pb::GetRequest { key: "k".into(), stale: false });
    let forward = pb::ForwardRequest { id: 5, request: Some(pb::ClientRequest { body: Some(get) }) };
    let before = cluster.forwards;
    cluster.nodes.get_mut(&follower).unwrap().forward_asked(other, forward);
    cluster.settle();
    assert_eq!(cluster.forwards, before, "G8, R22");
}

#[test]
fn a_node_without_a_leader_says_so_and_that_a_retry_is_right() {
    let mut cluster = Cluster::new(3);
    let refused = cluster.get(NodeId(1), false);
    assert_eq!(code(refused), pb::RefusalCode::Unavailable);
}

#[test]
fn what_a_deposed_leader_could_not_commit_is_answered_unavailable_and_it_confirms_no_read() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let old = cluster.leader();
    let session = cluster.session(old);
    assert!(matches!(cluster.put(old, session, 1, "a"), Some(Reply::Put(_))));
    cluster.cut.push(old);
    assert_eq!(cluster.put(old, session, 2, "lost"), None, "nobody may answer yet");
    assert_eq!(cluster.get(old, false), None);
    cluster.run(Duration::from_secs(2));
    let answered: Vec<_> = cluster.replies.values().cloned().collect();
    assert_eq!(answered.len(), 2);
    for reply in answered {
        assert_eq!(code(reply.body), pb::RefusalCode::Unavailable);
    }
    let new = cluster.leader();
    assert!(new != old);
    assert_eq!(value(cluster.get(new, false)).as_deref(), Some("a"));
    cluster.cut.clear();
    cluster.run(Duration::from_secs(1));
    assert_eq!(value(cluster.get(old, false)).as_deref(), Some("a"));
}

#[test]
fn what_was_forwarded_to_a_leader_that_is_gone_is_answered_once_there_is_another() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (old, follower) = (cluster.leader(), cluster.follower());
    cluster.cut.push(old);
    assert_eq!(cluster.get(follower, false), None, "it is on its way to the old leader");
    cluster.run(Duration::from_secs(2));
    assert!(cluster.leader() != old);
    let answered = cluster.replies.values().next().cloned().expect("long before the request's own deadline");
    assert_eq!(code(answered.body), pb::RefusalCode::Unavailable);
}

#[test]
fn an_executor_registers_gets_a_call_and_is_lost_after_its_lease() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let leader = cluster.leader();
    let session = cluster.session(leader);
    let request_id = |sequence| Some(pb::RequestId { session, sequence, lowest_open: sequence });
    let register = pb::RegisterExecutorRequest {
        request_id: request_id(1),
        name: "e".into(),
        address: "e:1".into(),
        slots: 4,
        incarnation: 9,
        ..Default::default()
    };
    let Some(Reply::RegisterExecutor(registered)) = cluster.ask(leader, Request::RegisterExecutor(register))
    else {
        panic!("not registered")
    };
    let specification = pb::JobSpecification {
        r#type: pb::JobType::Batch.into(),
        argv: vec!["true".into()],
        ..Default::default()
    };
    let submit = pb::SubmitJobRequest {
        request_id: request_id(2),
        id: "j".into(),
        specification: Some(specification),
    };
    assert!(matches!(cluster.ask(leader, Request::SubmitJob(submit)), Some(Reply::Job(_))));
    assert_eq!(cluster.calls.len(), 1);
    let heartbeat = |sequence| {
        let (executor, incarnation) = (registered.executor, 9);
        Request::Heartbeat(pb::HeartbeatRequest { executor, incarnation, sequence, reports: Vec::new() })
    };
    for sequence in 1..=12 {
        match cluster.ask(leader, heartbeat(sequence)) {
            Some(Reply::Heartbeat(reply)) => assert_eq!(reply.desired.len(), 1),
            other => panic!("{other:?}"),
        }
        cluster.run(Duration::from_secs(1));
    }
    cluster.run(Duration::from_millis(5_900));
    assert!(
        matches!(cluster.ask(leader, heartbeat(13)), Some(Reply::Heartbeat(_))),
        "ttl + grace have not passed"
    );
    cluster.run(Duration::from_millis(7_100));
    assert_eq!(code(cluster.ask(leader, heartbeat(14))), pb::RefusalCode::NotFound);
    let Some(Reply::Job(job)) =
        cluster.ask(leader, Request::GetJob(pb::GetJobRequest { id: "j".into(), ..Default::default() }))
    else {
        panic!("no job")
    };
    assert_eq!(job.counts.map(|counts| counts.pending), Some(1));
}

#[test]
fn a_node_comes_up_from_what_was_written_and_waits_to_be_greeted() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let leader = cluster.leader();
    let session = cluster.session(leader);
    assert!(matches!(cluster.put(leader, session, 1, "a"), Some(Reply::Put(_))));
    let mut recovered = Recovered::default();
    for write in &cluster.writes[&leader] {
        recovered.hard_state = write.hard_state.unwrap_or(recovered.hard_state);
        recovered.voters = write.voters.clone().unwrap_or(recovered.voters);
        for entry in &write.entries {
            recovered.entries.retain(|kept| kept.index < entry.index);
            recovered.entries.push(entry.clone());
        }
    }
    let node = Node::new(config(leader.0, 3), recovered, 5, cluster.now);
    assert!(!node.raft.has_vote());
    cluster.nodes.insert(leader, node);
    cluster.run(Duration::from_secs(2));
    assert!(cluster.nodes[&leader].raft.has_vote());
    assert_eq!(value(cluster.get(leader, false)).as_deref(), Some("a"));
}

#[test]
fn a_wiped_node_takes_no_part_and_says_why() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let wiped = cluster.follower();
    let mut anew = config(wiped.0, 3);
    anew.storage = StorageId(999);
    cluster.nodes.insert(wiped, Node::new(anew, Recovered::default(), 5, cluster.now));
    cluster.run(Duration::from_secs(2));
    let status = cluster.nodes[&wiped].status();
    assert_eq!(status.role(), pb::Role::NoVote);
    assert!(status.alarms[0].contains("00000000000003e7"), "{:?}", status.alarms);
    let leader = cluster.leader();
    let session = cluster.session(leader);
    assert!(matches!(cluster.put(leader, session, 1, "a"), Some(Reply::Put(_))));
}

#[test]
fn logs_are_shortened_and_all_states_stay_equal() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let leader = cluster.leader();
    let session = cluster.session(leader);
    for sequence in 1..=600 {
        assert!(matches!(cluster.put(leader, session, sequence, "a"), Some(Reply::Put(_))));
    }
    cluster.run(Duration::from_secs(1));
    let hashes: Vec<_> = cluster.nodes.values().map(|node| (node.state.index(), node.state.hash())).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    for node in cluster.nodes.values() {
        assert!(node.raft.first_index() > Index(500), "{:?}", node.raft.first_index());
        assert_eq!(node.state.check(), Ok(()));
        assert_eq!(node.alarms(), [] as [String; 0]);
    }
}

#[test]
fn a_damaged_disk_is_mended_by_a_new_snapshot_that_covers_the_whole_log() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(2));
    let leader = cluster.leader();
    let node = &cluster.nodes[&leader];
    let (first, last) = (node.raft().first_index(), node.raft().last_index());
    assert!(first <= last, "there is a log");
    let now = cluster.now;
    cluster.nodes.get_mut(&leader).unwrap().step(now, Input::DiskDamaged);
    cluster.settle();
    let node = &cluster.nodes[&leader];
    assert_eq!((node.raft().first_index(), node.saved), (last.next(), last));
    let start = cluster.writes[&leader].iter().filter_map(|write| write.start).next_back();
    assert_eq!(start.map(|at| at.index), Some(last));
    assert_eq!(node.mending, None);
    // And only once.
    let count = cluster.writes[&leader].len();
    cluster.run(Duration::from_secs(1));
    assert!(cluster.writes[&leader][count..].iter().all(|write| write.start.is_none()));
}

#[test]
fn a_damaged_disk_is_mended_though_the_end_of_its_log_is_cut_off() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let alone = cluster.leader();
    let session = cluster.session(alone);
    cluster.cut.push(alone);
    for sequence in 1..=9 {
        cluster.put(alone, session, sequence, "lost");
    }
    let now = cluster.now;
    cluster.nodes.get_mut(&alone).unwrap().step(now, Input::DiskDamaged);
    cluster.run(Duration::from_secs(1));
    assert!(cluster.nodes[&alone].mending.is_some(), "what it holds may be committed");
    cluster.cut.clear();
    cluster.run(Duration::from_secs(1));
    let node = &cluster.nodes[&alone];
    assert_eq!((node.mending, node.saved), (None, node.raft.last_index()));
}

#[test]
fn a_request_over_its_limit_is_refused_by_name() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(1));
    let value = vec![0; crate::limits::REQUEST_BYTES].into();
    let put = pb::PutRequest { request_id: None, key: "k".into(), value };
    assert_eq!(code(cluster.ask(NodeId(1), Request::Put(put))), pb::RefusalCode::Exhausted);
}

#[test]
fn a_pause_is_given_back_to_leases_once_however_much_waited_in_it() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(1));
    cluster.session(NodeId(1));
    let node = cluster.nodes.get_mut(&NodeId(1)).unwrap();
    let lease_end = |node: &Node| node.lead.as_ref().unwrap().next_deadline(&node.state);
    let before = lease_end(node);
    cluster.now.time = cluster.now.time + Duration::from_secs(4);
    for _ in 0..10 {
        node.step(cluster.now, Input::PeerConnected(NodeId(1)));
    }
    let gained = lease_end(node).since(before);
    assert!(gained <= Duration::from_secs(4), "{gained:?}");
    assert!(gained > Duration::from_millis(3_900), "{gained:?}");
}

#[test]
fn a_lease_that_ends_while_nothing_more_is_taken_is_tried_again_a_heartbeat_later() {
    let mut cluster = Cluster::new(1);
    cluster.run(Duration::from_secs(1));
    let writer = cluster.session(NodeId(1));
    assert!(cluster.ask(NodeId(1), Request::OpenSession(pb::OpenSessionRequest { ttl_ms: 1_000 })).is_some());
    let lease_end = cluster.now.time + Duration::from_millis(1_000);
    cluster.run(Duration::from_millis(950));
    // The disk takes its time: nothing of this is committed. The last requests are smaller than the end of a lease.
    let node = cluster.nodes.get_mut(&NodeId(1)).unwrap();
    let mut taken = |request: Request| {
        cluster.next_key += 1;
        let (key, body) = (RequestKey(cluster.next_key), Some(request));
        node.step(cluster.now, Input::Request { key, request: Box::new(pb::ClientRequest { body }) });
        std::iter::from_fn(|| node.poll_output()).all(|output| !matches!(output, Output::Reply { .. }))
    };
    for size in [crate::limits::VALUE_BYTES, 10_000, 100] {
        let value = bytes::Bytes::from(vec![0; size]);
        let request_id = Some(pb::RequestId { session: writer, sequence: 1, lowest_open: 1 });
        let put = pb::PutRequest { request_id, key: "k".into(), value };
        while taken(Request::Put(put.clone())) {}
    }
    while taken(Request::CloseSession(pb::CloseSessionRequest { session: 0 })) {}
    let node = cluster.nodes.get_mut(&NodeId(1)).unwrap();
    node.step(Now { time: lease_end, ..cluster.now }, Input::Deadline);
    assert_eq!(node.raft.role(), Role::Leader);
    let (next, why) = node.next_deadline().unwrap();
    assert!(next > lease_end, "{why:?} would come again and again");
}

#[test]
fn an_answer_to_a_request_of_an_earlier_run_finds_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let ids: Vec<u64> = (0..2)
        .map(|seed| {
            let mut node = cluster.nodes[&follower].clone();
            node.waiting = Waiting::new(seed);
            let get = pb::GetRequest { key: "k".into(), stale: false };
            let request = Box::new(pb::ClientRequest { body: Some(Request::Get(get)) });
            node.step(cluster.now, Input::Request { key: RequestKey(1), request });
            std::iter::from_fn(|| node.poll_output())
                .find_map(|output| match output {
                    Output::Send { to, envelope, .. } if to == leader => match envelope.body {
                        Some(pb::envelope::Body::Forward(forward)) => Some(forward.id),
                        _ => None,
                    },
                    _ => None,
                })
                .unwrap()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_peer_that_refuses_this_node_is_an_alarm_until_it_connects() {
    let mut cluster = Cluster::new(3);
    let node = cluster.nodes.get_mut(&NodeId(1)).unwrap();
    let waits = ["waits until all who found the cluster are there; not heard of: nodes 2, 3"];
    assert_eq!(node.alarms(), waits);
    cluster.run(Duration::from_secs(1));
    let node = cluster.nodes.get_mut(&NodeId(1)).unwrap();
    node.step(cluster.now, Input::PeerRefused { peer: NodeId(2), message: "another cluster".into() });
    assert_eq!(node.status().alarms, ["node 2 refuses this node: another cluster"]);
    node.step(cluster.now, Input::PeerConnected(NodeId(2)));
    assert_eq!(node.alarms(), [] as [String; 0]);
}

#[test]
fn nodes_that_would_behave_alike_have_one_fingerprint_whatever_their_clocks_say() {
    let print = |start: u64, wait: u64| {
        let mut now = Now { time: Time(start), wall_ms: start };
        let mut node = Node::new(config(1, 3), Recovered::default(), 9, now);
        while node.poll_output().is_some() {}
        now.time = now.time + Duration::from_millis(wait);
        node.fingerprint(now)
    };
    assert_eq!(print(1_000, 5), print(77_000_000, 5));
    assert_ne!(print(1_000, 5), print(1_000, 6), "a deadline is nearer");
}

#[test]
fn an_errand_that_was_not_taken_is_due_again_when_something_is_applied() {
    let mut state = State::default();
    let command = Command::OpenSession { ttl_ms: 1_000 };
    let opened = Proposal { time: ClusterTime(0), wall_ms: 0, request: None, command };
    state.apply(&ApplyContext { index: Index(1) }, opened);
    let mut lead = Lead::new(&config(1, 3), Term(2), Time(0), state.time(), CallKey(1));
    lead.activate(Time(0), &state);
    let late = Time(0) + Duration::from_secs(3_600);
    assert_eq!(lead.due(late, &state).len(), 1, "the session's lease is over");
    lead.not_taken(late);
    assert!(lead.due(late, &state).is_empty());
    lead.applied(late, &state, &[]);
    assert_eq!(lead.due(late, &state).len(), 1, "before any client takes the room");
}
