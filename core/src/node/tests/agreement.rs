//! Replicas that differ: who is told so, who stops, and who goes on.

use super::*;
use crate::{
    limits::{AGREEMENT_ROUNDS, CHECKPOINT_ENTRIES},
    node::Doubt,
    raft::{membership::Change, transfer::TransferError},
    state::StateHash,
};

const AT: Index = Index(CHECKPOINT_ENTRIES);

/// Masters that have all carried out the entry at which they are compared, before anybody asks. Each of `wrong` has another
/// state there than everybody else. The session goes on with the next sequence.
fn compared(masters: u64, wrong: impl FnOnce(&Cluster) -> Vec<NodeId>) -> (Cluster, NodeId, u64) {
    let mut cluster = Cluster::new(masters);
    cluster.run(Duration::from_secs(1));
    let leader = cluster.leader();
    let session = cluster.session(leader);
    for sequence in 1..=CHECKPOINT_ENTRIES + 20 {
        cluster.put(leader, session, sequence, "a");
    }
    for node in wrong(&cluster) {
        let state = StateHash(u128::from(node.0));
        cluster.nodes.get_mut(&node).unwrap().raft.set_checkpoint(AT, state);
    }
    (cluster, leader, session)
}

fn rounds(cluster: &mut Cluster, count: u32) {
    cluster.run(Timing::default().heartbeat * count);
}

fn stopped(cluster: &Cluster) -> Vec<NodeId> {
    let stops = |node: &Node| node.status().role() == pb::Role::NoVote;
    cluster.nodes.iter().filter(|(_, node)| stops(node)).map(|(id, _)| *id).collect()
}

#[test]
fn replicas_that_agree_raise_no_alarm() {
    let (mut cluster, ..) = compared(3, |_| Vec::new());
    rounds(&mut cluster, AGREEMENT_ROUNDS * 3);
    assert_eq!(stopped(&cluster), []);
    assert!(cluster.nodes.values().all(|node| node.alarms().is_empty()));
}

#[test]
fn a_follower_that_differs_from_the_majority_serves_nothing_and_both_sides_say_so() {
    let (mut cluster, leader, session) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    assert!(value(cluster.get(wrong, true)).is_some());
    rounds(&mut cluster, 4);
    assert_eq!(stopped(&cluster), [wrong]);
    let said = cluster.nodes[&wrong].alarms();
    let named =
        format!("the state of node {wrong} at index {AT}: it differs from the majority's, as node {leader}");
    assert!(said[0].starts_with(&named), "{said:?}");
    let named = format!("the state of node {wrong} at index {AT} differs");
    let said = cluster.nodes[&leader].status().alarms;
    assert!(said[0].starts_with(&named), "{said:?}");
    assert_eq!(cluster.nodes[&wrong].doubt(), Some(Doubt { index: AT, decided: true }));
    assert_eq!(cluster.nodes[&leader].doubt(), None);
    assert_eq!(code(cluster.get(wrong, true)), pb::RefusalCode::Unavailable);
    let next = CHECKPOINT_ENTRIES + 21;
    assert!(matches!(cluster.put(leader, session, next, "b"), Some(Reply::Put(_))), "the others carry on");
}

#[test]
fn who_differs_is_handed_no_leadership() {
    let (mut cluster, leader, _) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    rounds(&mut cluster, 4);
    let other = *cluster.nodes.keys().find(|id| **id != leader && **id != wrong).unwrap();
    let raft = &mut cluster.nodes.get_mut(&leader).unwrap().raft;
    assert_eq!(raft.transfer(Some(wrong)), Err(TransferError::Differs(wrong)));
    raft.set_priorities([(wrong, 5)].into());
    cluster.run(Timing::default().election_max * (crate::limits::PREFERRED_AFTER + 2));
    let raft = &mut cluster.nodes.get_mut(&leader).unwrap().raft;
    assert_eq!(raft.transferring(), None, "it cannot lead, however much it is preferred");
    assert_eq!(raft.transfer(None), Ok(other));
}

#[test]
fn who_differs_is_no_voter_to_count_on_when_members_change() {
    let (mut cluster, leader, _) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    rounds(&mut cluster, 4);
    let all: Vec<NodeId> = cluster.nodes.keys().copied().collect();
    let others = |without: NodeId| all.iter().copied().filter(move |node| *node != without);
    let right = others(wrong).find(|node| *node != leader).unwrap();
    let check = |cluster: &Cluster, next: &Membership, named: &[NodeId]| {
        cluster.nodes[&leader].raft.check_change(next, named)
    };
    let said = check(&cluster, &Membership::of(others(right)), &[]).unwrap_err();
    assert!(said.contains(&format!("the states of [{wrong}] differ")), "{said}");
    assert_eq!(check(&cluster, &Membership::of(others(wrong)), &[]), Ok(()));
    let learns = Membership::of(others(wrong)).simple(&[Change::AddLearner(wrong)]).unwrap();
    assert_eq!(check(&cluster, &learns, &[]), Ok(()));
    // Who leads next has compared nothing, and reads the alarm.
    let other = &cluster.nodes[&right];
    assert_eq!((other.raft.differing().count(), other.named_differing()), (0, vec![wrong]));
    cluster.nodes.get_mut(&leader).unwrap().raft.forget_differing(wrong);
    assert_eq!(check(&cluster, &Membership::of(others(right)), &[]), Ok(()), "nothing is known of it");
    let said = check(&cluster, &Membership::of(others(right)), &[wrong]).unwrap_err();
    assert!(said.contains(&format!("the states of [{wrong}] differ")), "{said}");
    // A node that is asked for a change goes by the alarm as well.
    let remove = pb::MemberChange { change: Some(pb::member_change::Change::Remove(right.0)) };
    let said = cluster.nodes[&leader].objection(&[remove]).unwrap();
    assert!(said.contains(&format!("the states of [{wrong}] differ")), "{said}");
    // As a learner it is no better.
    let node = cluster.nodes.get_mut(&leader).unwrap();
    let index = node.state.index();
    node.raft.follow(index, learns, true);
    let said = check(&cluster, &Membership::of(all.iter().copied()), &[wrong]).unwrap_err();
    assert!(said.contains(&format!("the state of node {wrong} differs")), "{said}");
}

#[test]
fn that_a_member_differs_is_in_the_log_until_somebody_takes_it_back() {
    let (mut cluster, leader, session) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    rounds(&mut cluster, AGREEMENT_ROUNDS);
    let raised = |cluster: &Cluster, at: NodeId| -> Vec<(u64, i32, u64)> {
        let alarms = cluster.nodes[&at].state.alarms();
        alarms.map(|alarm| (alarm.node, alarm.kind, alarm.index)).collect()
    };
    let named = vec![(wrong.0, pb::AlarmKind::Differs.into(), AT.0)];
    let other = *cluster.nodes.keys().find(|id| **id != leader && **id != wrong).unwrap();
    assert_eq!((raised(&cluster, leader), raised(&cluster, other)), (named.clone(), named.clone()));
    // The next leader has compared nothing, and says so all the same.
    cluster.lead(other);
    let said = cluster.nodes[&other].status().alarms;
    assert!(said[0].starts_with(&format!("the state of node {wrong} at index {AT} differs")), "{said:?}");
    let next = CHECKPOINT_ENTRIES + 21;
    assert!(matches!(cluster.put(other, session, next, "b"), Some(Reply::Put(_))), "there is room");
    let request_id = Some(pb::RequestId { session, sequence: next + 1, lowest_open: next + 1 });
    let disarm = pb::DisarmAlarmRequest { request_id, node: wrong.0 };
    let Some(Reply::DisarmAlarm(told)) = cluster.ask(other, Request::DisarmAlarm(disarm)) else {
        panic!("it is taken back")
    };
    assert_eq!(told.alarms.len(), 1);
    rounds(&mut cluster, AGREEMENT_ROUNDS);
    assert_eq!(raised(&cluster, other), named, "it differs still");
    // Whoever starts again has forgotten what it had there.
    cluster.nodes.get_mut(&wrong).unwrap().raft.forget_checkpoints();
    let request_id = Some(pb::RequestId { session, sequence: next + 2, lowest_open: next + 2 });
    let disarm = pb::DisarmAlarmRequest { request_id, node: 0 };
    assert!(matches!(cluster.ask(other, Request::DisarmAlarm(disarm)), Some(Reply::DisarmAlarm(_))));
    rounds(&mut cluster, AGREEMENT_ROUNDS);
    assert_eq!(raised(&cluster, other), []);
}

#[test]
fn a_leader_that_differs_from_the_majority_makes_way_at_once_and_the_others_go_on() {
    let (mut cluster, wrong, session) = compared(3, |cluster| vec![cluster.leader()]);
    rounds(&mut cluster, 4);
    assert_eq!(stopped(&cluster), [wrong]);
    let said = cluster.nodes[&wrong].alarms();
    let right: Vec<String> =
        cluster.nodes.keys().filter(|id| **id != wrong).map(ToString::to_string).collect();
    let named = format!("at index {AT}: it differs from the majority's (nodes {})", right.join(", "));
    assert!(said[0].contains(&named), "{said:?}");
    let leader = cluster.leader();
    assert_ne!(leader, wrong, "within less than an election timeout: it was told to lead");
    let next = CHECKPOINT_ENTRIES + 21;
    assert!(matches!(cluster.put(leader, session, next, "b"), Some(Reply::Put(_))));
    // The new leader asks, too.
    rounds(&mut cluster, 4);
    assert!(cluster.nodes[&leader].alarms()[0].starts_with(&format!("the state of node {wrong} ")));
    cluster.run(Duration::from_secs(5));
    assert_eq!((stopped(&cluster), cluster.leader()), (vec![wrong], leader), "it does not come back");
}

#[test]
#[cfg(feature = "fault-points")]
fn what_a_fault_makes_of_a_hash_is_noticed_and_the_state_stays_as_it_is() {
    let mut cluster = Cluster::new(3);
    cluster.run(Duration::from_secs(1));
    let (leader, wrong) = (cluster.leader(), cluster.follower());
    let node = cluster.nodes.get_mut(&wrong).unwrap();
    node.step(cluster.now, Input::FaultPoint { point: Point::HashWrong, one_in: 1 });
    let session = cluster.session(leader);
    for sequence in 1..=CHECKPOINT_ENTRIES + 20 {
        cluster.put(leader, session, sequence, "a");
    }
    rounds(&mut cluster, 4);
    assert_eq!(stopped(&cluster), [wrong]);
    let hash = |node: NodeId| cluster.nodes[&node].state().hash();
    assert_eq!(hash(wrong), hash(leader));
    let own = |node: NodeId| cluster.nodes[&node].raft().checkpoint_at(AT);
    assert_ne!(own(wrong), own(leader));
    assert_eq!(cluster.nodes[&leader].raft().judged().map(|judged| judged.index), Some(AT));
}

#[test]
fn masters_of_which_no_majority_agrees_all_stop() {
    let all = |cluster: &Cluster| cluster.nodes.keys().copied().collect();
    let (mut cluster, ..) = compared(3, all);
    rounds(&mut cluster, 4);
    assert_eq!(stopped(&cluster).len(), 3);
    for node in cluster.nodes.values() {
        assert!(node.alarms()[0].contains("no majority agrees"), "{:?}", node.alarms());
        assert_eq!(node.doubt(), Some(Doubt { index: AT, decided: false }));
    }
}

#[test]
fn two_that_differ_wait_a_while_for_the_third_and_then_stop() {
    let (mut cluster, leader, _) = compared(3, |cluster| vec![cluster.follower()]);
    let silent = *cluster.nodes.keys().rev().find(|id| **id != leader && **id != cluster.follower()).unwrap();
    let third = cluster.nodes.remove(&silent).unwrap();
    rounds(&mut cluster, AGREEMENT_ROUNDS / 2);
    assert_eq!(stopped(&cluster), [], "it may only be slow");
    let mut late = cluster;
    late.run(Timing::default().heartbeat * (AGREEMENT_ROUNDS + 2));
    assert_eq!(stopped(&late).len(), 2);
    // In time, it decides.
    let (mut cluster, ..) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    let slow = cluster.nodes.remove(&silent).unwrap();
    rounds(&mut cluster, AGREEMENT_ROUNDS / 2);
    cluster.nodes.insert(silent, slow);
    rounds(&mut cluster, AGREEMENT_ROUNDS);
    assert_eq!(stopped(&cluster), [wrong]);
    drop(third);
}

#[test]
fn what_a_majority_had_stays_right_when_others_vote_who_cannot_know_it() {
    let (mut cluster, leader, _) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    rounds(&mut cluster, 4);
    assert_eq!(stopped(&cluster), [wrong]);
    let larger = Membership::of([1, 2, 3, 4].map(NodeId));
    let node = cluster.nodes.get_mut(&leader).unwrap();
    let index = node.state.index();
    node.raft.follow(index, larger, true);
    rounds(&mut cluster, AGREEMENT_ROUNDS * 2);
    assert_eq!(stopped(&cluster), [wrong]);
}

#[test]
fn a_voter_that_answers_and_has_no_state_there_any_more_is_waited_for() {
    let (mut cluster, leader, _) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    let third = *cluster.nodes.keys().find(|id| **id != leader && **id != wrong).unwrap();
    cluster.nodes.get_mut(&third).unwrap().raft.forget_checkpoints();
    rounds(&mut cluster, AGREEMENT_ROUNDS * 2);
    assert_eq!(stopped(&cluster), [], "at the next index it has one");
    // What a learner says decides nothing.
    let (mut cluster, leader, _) = compared(3, |cluster| vec![cluster.follower()]);
    let wrong = cluster.follower();
    let voters = cluster.nodes.keys().copied().filter(|id| *id != wrong);
    let voters = Membership::of(voters).simple(&[Change::AddLearner(wrong)]).unwrap();
    cluster.nodes.get_mut(&third).unwrap().raft.forget_checkpoints();
    let node = cluster.nodes.get_mut(&leader).unwrap();
    let index = node.state.index();
    node.raft.follow(index, voters, true);
    rounds(&mut cluster, AGREEMENT_ROUNDS * 2);
    assert_eq!(stopped(&cluster), []);
}
