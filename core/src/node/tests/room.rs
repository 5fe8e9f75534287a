//! While a member has no more room: what a leader does not even propose, and what goes on.

use super::*;
use crate::types::Index;

impl Cluster {
    fn raise(&mut self, node: NodeId, short: NodeId) {
        let alarm = pb::Alarm {
            node: short.0,
            kind: pb::AlarmKind::Space.into(),
            message: "disk.quota is 1".to_owned(),
            ..Default::default()
        };
        let reply = self.ask(node, Request::RaiseAlarm(pb::RaiseAlarmRequest { alarm: Some(alarm) }));
        assert!(matches!(reply, Some(Reply::RaiseAlarm(_))), "{reply:?}");
        self.run(Duration::from_millis(200));
    }

    fn disarm(&mut self, node: NodeId, session: u64, sequence: u64) {
        let request_id = Some(pb::RequestId { session, sequence, lowest_open: 1 });
        let reply = self.ask(node, Request::DisarmAlarm(pb::DisarmAlarmRequest { request_id, node: 0 }));
        assert!(matches!(reply, Some(Reply::DisarmAlarm(_))), "{reply:?}");
    }

    fn last(&self, node: NodeId) -> Index {
        self.nodes[&node].raft.last_index()
    }
}

/// A leader, a follower that has no more room, and a session.
fn short(cluster: &mut Cluster) -> (NodeId, NodeId, u64) {
    cluster.run(Duration::from_secs(1));
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let session = cluster.session(leader);
    assert!(matches!(cluster.put(leader, session, 1, "a"), Some(Reply::Put(_))));
    cluster.raise(leader, follower);
    (leader, follower, session)
}

#[test]
fn what_takes_room_is_refused_before_it_is_proposed_and_the_same_request_is_taken_once_there_is_room() {
    let mut cluster = Cluster::new(3);
    let (leader, follower, session) = short(&mut cluster);
    let request_id = Some(pb::RequestId { session, sequence: 3, lowest_open: 2 });
    let swap = Request::CompareAndSet(pb::CompareAndSetRequest {
        request_id,
        key: "k".into(),
        new_value: "c".into(),
        expected: Some(pb::compare_and_set_request::Expected::Absent(true)),
    });
    let before = cluster.last(leader);
    for node in [leader, follower] {
        let put = cluster.put(node, session, 2, "b");
        for reply in [put, cluster.ask(node, swap.clone())] {
            let Some(Reply::Refusal(refusal)) = reply else { panic!("{reply:?}") };
            assert_eq!(Some(&refusal), cluster.nodes[&leader].state.no_room().as_ref());
            assert_eq!(refusal.code(), pb::RefusalCode::Exhausted);
        }
    }
    let answered = cluster.put(follower, session, 1, "a");
    assert!(matches!(answered, Some(Reply::Put(_))), "who was answered is answered again: {answered:?}");
    assert_eq!(cluster.last(leader), before, "the log holds nothing of it");
    cluster.disarm(follower, session, 4);
    assert!(matches!(cluster.put(follower, session, 2, "b"), Some(Reply::Put(_))));
    assert_eq!(value(cluster.get(leader, false)).as_deref(), Some("b"));
}

#[test]
fn what_gives_room_or_takes_none_is_proposed_all_the_same() {
    let mut cluster = Cluster::new(3);
    let (leader, follower, session) = short(&mut cluster);
    let id = |sequence| Some(pb::RequestId { session, sequence, lowest_open: 2 });
    let delete = Request::Delete(pb::DeleteRequest { request_id: id(2), key: "k".into() });
    assert!(matches!(cluster.ask(leader, delete), Some(Reply::Delete(_))));
    let other = cluster.session(leader);
    let close = Request::CloseSession(pb::CloseSessionRequest { session: other });
    assert!(matches!(cluster.ask(leader, close), Some(Reply::CloseSession(_))));
    assert_eq!(value(cluster.get(leader, false)), None);
    let change = pb::MemberChange { change: Some(pb::member_change::Change::Remove(follower.0)) };
    let change =
        Request::ChangeMembers(pb::ChangeMembersRequest { request_id: id(3), changes: vec![change] });
    assert!(matches!(cluster.ask(leader, change), Some(Reply::ChangeMembers(_))));
    assert!(matches!(cluster.put(leader, session, 4, "b"), Some(Reply::Put(_))), "it is no member any more");
}

#[test]
fn who_does_not_know_that_it_leads_does_not_say_that_there_is_no_room() {
    let mut cluster = Cluster::new(3);
    let (old, _, session) = short(&mut cluster);
    cluster.cut.push(old);
    assert_eq!(cluster.put(old, session, 2, "b"), None, "nobody may answer yet");
    cluster.run(Duration::from_secs(3));
    let answered = core::mem::take(&mut cluster.replies);
    let codes: Vec<_> = answered.into_values().map(|reply| code(reply.body)).collect();
    assert_eq!(codes, [pb::RefusalCode::Unavailable], "there may be room again by now");
    let node = &cluster.nodes[&old];
    assert_eq!(node.answer_on_room(None).unwrap_err().code(), pb::RefusalCode::Exhausted);
    let node = Cluster::new(1).nodes.remove(&NodeId(1)).unwrap();
    let again = node.answer_on_room(None).unwrap_err().code();
    assert_eq!(again, pb::RefusalCode::Unavailable, "and then it is asked again");
}
