//! Stories of clusters whose masters run different programs, and of one that goes back.

use super::{members::added, *};
use crate::{
    codec,
    level::{FEATURE_LEVEL, FIRST_LEVEL},
};
use pb::member_change::Change;

const NEXT: u32 = FEATURE_LEVEL;

impl Cluster {
    /// Whoever is not named runs the next program.
    fn mixed(old: &[u64]) -> Self {
        let mut cluster = Self::new(3);
        old.iter().for_each(|id| cluster.program(NodeId(*id), FIRST_LEVEL));
        cluster.run(Duration::from_secs(1));
        cluster
    }

    /// As after a restart with another program: the others hear of it with the next message.
    fn program(&mut self, id: NodeId, level: u32) {
        self.nodes.get_mut(&id).unwrap().config.level = level;
        self.nodes.values_mut().for_each(|node| _ = node.spoken.remove(&id));
    }

    fn levels(&self) -> Vec<u32> {
        self.nodes.values().map(|node| node.state.feature_level()).collect()
    }

    fn data_levels(&self) -> Vec<u32> {
        self.nodes.values().map(Node::data_level).collect()
    }

    fn hold(&mut self, session: u64, sequence: u64, most: u32) -> Option<Reply> {
        let request_id = Some(pb::RequestId { session, sequence, lowest_open: sequence });
        let leader = self.leader();
        self.ask(leader, Request::HoldLevel(pb::HoldLevelRequest { request_id, most }))
    }

    /// The versions of the entries that this node holds.
    fn versions(&self, id: NodeId) -> Vec<u8> {
        let raft = &self.nodes[&id].raft;
        let entries = (raft.first_index().0..=raft.last_index().0).filter_map(|at| raft.entry(Index(at)));
        entries.filter_map(|entry| entry.data.first().copied()).collect()
    }
}

#[test]
fn the_level_waits_for_the_last_program_and_nothing_is_written_before_that_the_old_one_cannot_read() {
    let mut cluster = Cluster::mixed(&[2]);
    let (leader, old) = (cluster.leader(), NodeId(2));
    let session = cluster.session(leader);
    cluster.put(leader, session, 1, "a");
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.levels(), [FIRST_LEVEL; 3]);
    assert!(cluster.versions(leader).iter().all(|version| *version == 1));
    let hashes: Vec<_> = cluster.nodes.values().map(|node| node.state.hash()).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    cluster.program(old, NEXT);
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.levels(), [NEXT; 3]);
    let leader = cluster.leader();
    cluster.put(leader, session, 2, "b");
    let index = cluster.nodes[&leader].raft.last_index();
    let entry = cluster.nodes[&leader].raft.entry(index).unwrap().data.clone();
    assert_eq!(entry[0], 2);
    assert!(codec::decode_known(&entry, FIRST_LEVEL).unwrap_err().0.contains("up to version 1"));
    codec::decode_known(&entry, NEXT).unwrap();
    assert_eq!(cluster.data_levels(), [NEXT; 3]);
}

#[test]
fn what_the_program_of_a_member_that_was_removed_knew_says_nothing_of_the_next_under_its_id() {
    let mut cluster = Cluster::mixed(&[2]);
    let (leader, gone) = (NodeId(1), NodeId(3));
    cluster.lead(leader);
    let session = cluster.session(leader);
    cluster.accepted(session, [Change::Remove(gone.0)]);
    // It runs on for a while, and its connection is never seen to be lost.
    cluster.run(Duration::from_millis(200));
    cluster.nodes.remove(&gone);
    cluster.accepted(session, [Change::Add(added(3))]);
    cluster.program(NodeId(2), NEXT);
    cluster.run(Duration::from_millis(500));
    let levels: Vec<_> = [1, 2].map(|id| cluster.nodes[&NodeId(id)].state.feature_level()).into();
    assert_eq!(levels, [FIRST_LEVEL; 2], "nobody knows what the program of node 3 is");
}

#[test]
fn a_cluster_that_goes_back_leaves_nothing_that_an_old_program_cannot_read() {
    let mut cluster = Cluster::mixed(&[]);
    assert_eq!(cluster.levels(), [NEXT; 3]);
    let leader = cluster.leader();
    let session = cluster.session(leader);
    cluster.put(leader, session, 1, "a");
    assert!(cluster.versions(leader).contains(&2));
    let held = cluster.hold(session, 2, FIRST_LEVEL);
    assert!(matches!(held, Some(Reply::HoldLevel(pb::HoldLevelReply { level: NEXT, most: FIRST_LEVEL }))));
    cluster.put(leader, session, 3, "b");
    cluster.run(Duration::from_millis(300));
    assert_eq!((cluster.levels(), cluster.data_levels()), (vec![FIRST_LEVEL; 3], vec![FIRST_LEVEL; 3]));
    for id in [1, 2, 3].map(NodeId) {
        assert!(cluster.versions(id).iter().all(|version| *version == 1), "node {id}");
        // What it writes aside is what an old program reads.
        let snapshot = cluster.nodes[&id].snapshot().unwrap();
        assert_eq!(snapshot.state.encode().next().unwrap()[0], 1);
    }
    // An old program takes part; and the level stays until it may rise.
    let old = cluster.follower();
    cluster.program(old, FIRST_LEVEL);
    cluster.put(leader, session, 4, "c");
    cluster.program(old, NEXT);
    cluster.run(Duration::from_millis(300));
    assert_eq!(cluster.levels(), [FIRST_LEVEL; 3]);
    cluster.hold(session, 5, 0);
    cluster.run(Duration::from_millis(300));
    assert_eq!(cluster.levels(), [NEXT; 3]);
    assert_eq!(value(cluster.get(leader, false)).as_deref(), Some("c"));
}

#[test]
fn the_level_does_not_rise_behind_a_change_that_brings_a_member_of_whom_nobody_has_heard() {
    let mut cluster = Cluster::mixed(&[1, 2, 3]);
    let leader = cluster.leader();
    let session = cluster.session(leader);
    for id in [1, 2, 3].map(NodeId) {
        cluster.hung.insert(id, Vec::new());
    }
    let request_id = Some(pb::RequestId { session, sequence: 1, lowest_open: 1 });
    let member = pb::AddMember { id: 4, peer_address: "p4:1".into(), client_address: "c4:1".into() };
    let changes = vec![pb::MemberChange { change: Some(Change::Add(member)) }];
    let add = Request::ChangeMembers(pb::ChangeMembersRequest { request_id, changes });
    assert_eq!(cluster.ask(leader, add), None, "it waits for the disks");
    // Meanwhile the last of those who are members gets the next program.
    for id in [1, 2, 3].map(NodeId) {
        cluster.program(id, NEXT);
    }
    cluster.run(Duration::from_millis(200));
    for (id, writes) in core::mem::take(&mut cluster.hung) {
        for write in writes {
            cluster.nodes.get_mut(&id).unwrap().step(cluster.now, Input::WriteDone { io: write.io });
        }
    }
    cluster.settle();
    cluster.run(Duration::from_millis(200));
    let members = cluster.nodes[&leader].raft.membership().to_string();
    assert_eq!((members.as_str(), cluster.levels()), ("voters=(1 2 3) learners=(4)", vec![FIRST_LEVEL; 3]));
}

#[test]
fn a_level_that_no_program_knows_is_no_bound() {
    let mut cluster = Cluster::mixed(&[]);
    let leader = cluster.leader();
    let session = cluster.session(leader);
    match cluster.hold(session, 1, NEXT + 1) {
        Some(Reply::Refusal(refusal)) => assert!(refusal.message.contains("levels 1 to 2"), "{refusal:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_is_too_old_stops_and_says_so() {
    let cluster = Cluster::mixed(&[]);
    let leader = cluster.leader();
    let state = cluster.nodes[&leader].state.clone();
    let at = LogPosition { term: Term(1), index: state.index() };
    let snapshot = Some(crate::contract::Snapshot { at, state });
    let config = Config { level: FIRST_LEVEL, ..config(2, 3) };
    let mut node =
        Node::new(config, Recovered { start: at, snapshot, ..Recovered::default() }, 1, cluster.now);
    let reason = StopReason::TooOld { level: NEXT, known: FIRST_LEVEL };
    assert!(
        std::iter::from_fn(|| node.poll_output())
            .any(|output| matches!(output, Output::Stop(why) if why == reason))
    );
    // The same if it hears of it; but not of what comes to nothing.
    let mut old = Cluster::mixed(&[1, 2, 3]);
    let leader = old.leader();
    let session = old.session(leader);
    old.hold(session, 1, FIRST_LEVEL);
    let raise = Command::SetLevel { level: NEXT };
    assert!(!old.nodes.get_mut(&leader).unwrap().is_too_old(&raise), "the cluster is held");
    old.hold(session, 2, 0);
    assert!(old.nodes.get_mut(&leader).unwrap().is_too_old(&raise));
}
