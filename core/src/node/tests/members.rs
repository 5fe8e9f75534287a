//! Members come and go, while the cluster works.

use super::*;
use pb::member_change::Change;

fn joining(node: u64, storage: u64) -> Config {
    Config { joins: true, storage: StorageId(storage), ..config(node, 3) }
}

pub(super) fn added(id: u64) -> pb::AddMember {
    pb::AddMember { id, peer_address: format!("p{id}:1"), client_address: format!("c{id}:1") }
}

impl Cluster {
    fn began(members: u64) -> (Self, u64) {
        let mut cluster = Self::new(members);
        cluster.run(Duration::from_secs(1));
        let leader = cluster.leader();
        let session = cluster.session(leader);
        (cluster, session)
    }

    fn change(&mut self, session: u64, changes: impl IntoIterator<Item = Change>) -> Option<Reply> {
        self.next_key += 1_000;
        let sequence = self.next_key;
        self.change_as(session, sequence, changes)
    }

    /// The request of this number, the first time or again.
    fn change_as(
        &mut self,
        session: u64,
        sequence: u64,
        changes: impl IntoIterator<Item = Change>,
    ) -> Option<Reply> {
        let request_id = Some(pb::RequestId { session, sequence, lowest_open: sequence });
        let changes = changes.into_iter().map(|change| pb::MemberChange { change: Some(change) }).collect();
        let leader = self.leader();
        self.ask(leader, Request::ChangeMembers(pb::ChangeMembersRequest { request_id, changes }))
    }

    /// A put at the leader, with a number of its own.
    fn writes(&mut self, session: u64, value: &'static str) -> Option<Reply> {
        self.next_key += 1_000;
        let (leader, sequence) = (self.leader(), self.next_key);
        self.put(leader, session, sequence, value)
    }

    /// Hands over to this node, unless it leads already.
    pub(super) fn lead(&mut self, to: NodeId) {
        let from = self.leader();
        let ask = pb::TransferLeaderRequest { to: to.0, from: 0 };
        let told = self.ask(from, Request::TransferLeader(ask));
        assert!(matches!(told, Some(Reply::TransferLeader(_))), "{told:?}");
    }

    pub(super) fn accepted(&mut self, session: u64, changes: impl IntoIterator<Item = Change>) {
        let reply = self.change(session, changes);
        assert!(matches!(reply, Some(Reply::ChangeMembers(_))), "{reply:?}");
    }

    fn shown(&self, node: u64) -> String {
        self.nodes[&NodeId(node)].raft.membership().to_string()
    }

    fn start(&mut self, node: u64, config: Config) {
        self.nodes.insert(NodeId(node), Node::new(config, Recovered::default(), node, self.now));
        self.settle();
    }

    /// A new member, up to its vote.
    fn joined(&mut self, session: u64, node: u64) {
        self.accepted(session, [Change::Add(added(node))]);
        self.start(node, joining(node, node * 11));
        self.run(Duration::from_secs(1));
        self.accepted(session, [Change::Promote(node)]);
        self.run(Duration::from_millis(200));
    }
}

fn message(reply: Option<Reply>) -> String {
    match reply {
        Some(Reply::Refusal(refusal)) => refusal.message,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_new_member_learns_the_log_and_then_votes() {
    let (mut cluster, session) = Cluster::began(3);
    let leader = cluster.leader();
    assert_eq!(cluster.shown(leader.0), "voters=(1 2 3)");
    cluster.start(4, joining(4, 44));
    cluster.run(Duration::from_secs(1));
    assert_eq!(*cluster.nodes[&NodeId(4)].identity.standing(), Standing::Fresh, "nobody has added it");
    cluster.accepted(session, [Change::Add(added(4))]);
    cluster.run(Duration::from_secs(1));
    assert_eq!(*cluster.nodes[&NodeId(4)].identity.standing(), Standing::Member);
    cluster.writes(session, "a");
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.shown(4), "voters=(1 2 3) learners=(4)");
    assert_eq!(value(cluster.get(NodeId(4), true)).as_deref(), Some("a"));
    cluster.accepted(session, [Change::Promote(4)]);
    // Two of four are down: the other two are no majority.
    let others: Vec<_> = cluster.nodes.keys().copied().filter(|id| *id != leader && id.0 != 4).collect();
    cluster.cut.clone_from(&others);
    assert_eq!(cluster.writes(session, "b"), None);
    cluster.cut.pop();
    cluster.run(Duration::from_secs(2));
    let leader = cluster.leader();
    assert_eq!(value(cluster.get(leader, false)).as_deref(), Some("b"));
}

#[test]
fn a_leader_that_is_removed_makes_way_and_is_told() {
    let (mut cluster, session) = Cluster::began(3);
    let leader = cluster.leader();
    cluster.accepted(session, [Change::Remove(leader.0)]);
    assert_eq!(cluster.nodes[&leader].raft.role(), Role::Follower);
    cluster.run(Duration::from_secs(2));
    let new = cluster.leader();
    assert!(new != leader);
    assert!(matches!(cluster.writes(session, "a"), Some(Reply::Put(_))));
    assert!(!cluster.nodes[&new].raft.membership().is_voter(leader));
}

#[test]
fn two_voters_are_exchanged_at_once_and_the_joint_configuration_is_left() {
    let (mut cluster, session) = Cluster::began(3);
    for node in [4, 5] {
        cluster.accepted(session, [Change::Add(added(node))]);
        cluster.start(node, joining(node, node * 11));
    }
    cluster.run(Duration::from_secs(1));
    let leader = cluster.leader();
    let leave: Vec<_> = [1, 2, 3].into_iter().filter(|id| *id != leader.0).collect();
    let promoted = [Change::Promote(4), Change::Promote(5)];
    cluster.accepted(session, promoted.into_iter().chain(leave.iter().map(|id| Change::Remove(*id))));
    cluster.run(Duration::from_secs(1));
    let shown = cluster.shown(leader.0);
    assert_eq!(shown, format!("voters=({} 4 5)", leader.0));
    for left in leave {
        cluster.nodes.remove(&NodeId(left));
    }
    assert!(matches!(cluster.writes(session, "a"), Some(Reply::Put(_))));
}

#[test]
fn a_member_whose_directory_was_lost_is_replaced_under_its_id() {
    let (mut cluster, session) = Cluster::began(3);
    let lost = cluster.follower();
    let again = Config { joins: true, storage: StorageId(999), ..config(lost.0, 3) };
    cluster.start(lost.0, again);
    cluster.run(Duration::from_secs(1));
    let alarms = cluster.nodes[&lost].alarms();
    assert!(alarms[0].contains("until the member is replaced"), "{alarms:?}");
    cluster.accepted(session, [Change::Replace(lost.0)]);
    cluster.run(Duration::from_secs(1));
    assert_eq!(*cluster.nodes[&lost].identity.standing(), Standing::Member);
    cluster.accepted(session, [Change::Promote(lost.0)]);
    let leader = cluster.leader();
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.shown(lost.0), "voters=(1 2 3)");
    let third = *cluster.nodes.keys().find(|id| **id != leader && **id != lost).unwrap();
    cluster.cut.push(third);
    assert!(matches!(cluster.writes(session, "a"), Some(Reply::Put(_))), "it votes and counts");
}

#[test]
fn a_change_that_would_leave_too_few_who_answer_is_refused() {
    let (mut cluster, session) = Cluster::began(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let other = *cluster.nodes.keys().find(|id| **id != leader && **id != follower).unwrap();
    cluster.cut.push(other);
    cluster.run(Duration::from_secs(1));
    let refused = message(cluster.change(session, [Change::Remove(follower.0)]));
    assert!(refused.contains("do not answer"), "{refused}");
    // Who does not answer may go.
    cluster.accepted(session, [Change::Remove(other.0)]);
}

#[test]
fn a_change_that_is_asked_for_again_has_one_answer() {
    let (mut cluster, session) = Cluster::began(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let another = cluster.session(leader);
    cluster.cut.extend(cluster.nodes.keys().copied().filter(|id| *id != leader));
    let ask = |cluster: &mut Cluster| cluster.change_as(session, 7, [Change::Remove(follower.0)]);
    // It is in the log, and the one who asked has heard nothing: a refusal would be a lie.
    assert_eq!(ask(&mut cluster), None);
    assert_eq!(ask(&mut cluster), None);
    assert_eq!(cluster.change_as(another, 7, [Change::Remove(follower.0)]), None);
    cluster.cut.clear();
    cluster.run(Duration::from_millis(200));
    let made = |reply: &pb::ClientReply| matches!(reply.body, Some(Reply::ChangeMembers(_)));
    assert_eq!(cluster.replies.values().filter(|reply| made(reply)).count(), 2, "{:?}", cluster.replies);
    let other = cluster.replies.values().find(|reply| !made(reply)).expect("the other request is answered");
    assert!(message(other.body.clone()).contains("under way"), "{other:?}");
    assert!(other.index > 0, "the log says so");
    assert!(matches!(ask(&mut cluster), Some(Reply::ChangeMembers(_))), "for ever");
    assert!(!cluster.shown(leader.0).contains(&follower.to_string()));
}

#[test]
fn a_change_that_was_refused_stays_refused() {
    let (mut cluster, session) = Cluster::began(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let other = *cluster.nodes.keys().find(|id| **id != leader && **id != follower).unwrap();
    cluster.cut.push(other);
    cluster.run(Duration::from_secs(1));
    let ask = |cluster: &mut Cluster| message(cluster.change_as(session, 7, [Change::Remove(follower.0)]));
    let refused = ask(&mut cluster);
    cluster.cut.clear();
    cluster.run(Duration::from_secs(1));
    assert_eq!(ask(&mut cluster), refused, "though it could be made now");
    assert_eq!(cluster.shown(leader.0), "voters=(1 2 3)");
    cluster.accepted(session, [Change::Remove(follower.0)]);
}

#[test]
fn who_has_not_answered_a_leader_yet_is_not_counted_on_for_a_change() {
    let (mut cluster, session) = Cluster::began(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let other = *cluster.nodes.keys().find(|id| **id != leader && **id != follower).unwrap();
    cluster.cut.push(other);
    cluster.lead(follower);
    assert_eq!(cluster.leader(), follower, "no time has passed");
    let refused = message(cluster.change(session, [Change::Remove(leader.0)]));
    assert!(refused.contains("do not answer"), "{refused}");
    cluster.cut.clear();
    cluster.run(Duration::from_millis(200));
    cluster.accepted(session, [Change::Remove(leader.0)]);
}

#[test]
fn a_learner_without_the_log_does_not_vote() {
    let (mut cluster, session) = Cluster::began(3);
    for _ in 0..20 {
        cluster.writes(session, "a");
    }
    cluster.accepted(session, [Change::Add(added(4))]);
    cluster.start(4, joining(4, 44));
    cluster.run(Duration::from_secs(1));
    cluster.accepted(session, [Change::Demote(cluster.follower().0)]);
    let silent = cluster.nodes.remove(&NodeId(4)).unwrap();
    for _ in 0..10 {
        cluster.writes(session, "a");
    }
    let refused = message(cluster.change(session, [Change::Promote(4)]));
    assert!(refused.contains("must have 90 %"), "{refused}");
    cluster.nodes.insert(NodeId(4), silent);
    cluster.run(Duration::from_secs(2));
    cluster.accepted(session, [Change::Promote(4)]);
}

impl Cluster {
    /// What the directory of a node holds.
    fn recovered(&self, node: u64) -> Recovered {
        let mut recovered = Recovered::default();
        for write in &self.writes[&NodeId(node)] {
            recovered.hard_state = write.hard_state.unwrap_or(recovered.hard_state);
            recovered.voters = write.voters.clone().unwrap_or(recovered.voters);
            for entry in &write.entries {
                recovered.entries.retain(|kept| kept.index < entry.index);
                recovered.entries.push(entry.clone());
            }
        }
        recovered
    }
}

#[test]
fn who_was_away_while_others_came_is_told_where_they_are() {
    let (mut cluster, session) = Cluster::began(1);
    cluster.joined(session, 2);
    cluster.accepted(session, [Change::Demote(2)]);
    cluster.run(Duration::from_millis(200));
    cluster.nodes.remove(&NodeId(2));
    let recovered = cluster.recovered(2);
    cluster.joined(session, 3);
    // A majority of the voters has to greet it, and it knows nobody but the first one.
    let mut again = Node::new(joining(2, 22), recovered, 5, cluster.now);
    let mut told = Vec::new();
    let mut outputs = |node: &mut Node| {
        let mut sent = Vec::new();
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { to, envelope, .. } => sent.push((to, envelope)),
                Output::Members(members) => told.push(members),
                _ => {}
            }
        }
        sent
    };
    again.step(cluster.now, Input::Deadline);
    let asked = outputs(&mut again);
    let (_, hello) = asked.into_iter().find(|(to, _)| *to == NodeId(1)).unwrap();
    let first = cluster.nodes.get_mut(&NodeId(1)).unwrap();
    first.step(cluster.now, Input::Peer(hello));
    let answers = outputs(first);
    for (_, answer) in answers.into_iter().filter(|(to, _)| *to == NodeId(2)) {
        again.step(cluster.now, Input::Peer(answer));
    }
    outputs(&mut again);
    let newest: Vec<u64> = told.last().unwrap().keys().map(|node| node.0).collect();
    assert_eq!(newest, [1, 2, 3]);
}

#[test]
fn a_member_that_joined_comes_up_again_and_knows_who_votes() {
    let (mut cluster, session) = Cluster::began(3);
    cluster.joined(session, 4);
    let recovered = cluster.recovered(4);
    cluster.nodes.insert(NodeId(4), Node::new(joining(4, 44), recovered, 5, cluster.now));
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.shown(4), "voters=(1 2 3 4)");
    assert_eq!(*cluster.nodes[&NodeId(4)].identity.standing(), Standing::Member);
}
