//! Stories of changes of the membership, as one node lives them.

use super::*;
use crate::{
    limits::INHERITED_INDEXES,
    raft::{change::has_most, membership::Change},
};

fn nodes(ids: &[u64]) -> impl Iterator<Item = NodeId> {
    ids.iter().map(|&id| NodeId(id))
}

/// A node that was elected and has committed its first entry, of three voters.
fn leader() -> Bench {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    assert_eq!(bench.raft.commit(), Index(1));
    bench.sent.clear();
    bench
}

impl Bench {
    /// An entry that changes the membership, committed with the help of these, and carried out.
    fn change(&mut self, membership: Membership, helpers: &[u64]) -> Vec<(NodeId, Message)> {
        let index = self.raft.propose_change(Bytes::from_static(b"change")).unwrap();
        self.settle();
        self.sync();
        let term = self.raft.term().0;
        for &helper in helpers {
            // It is carried out in the step in which it is committed, before that settles.
            self.raft.begin_step(self.now);
            self.raft.receive(id(helper), Term(term), Message::Appended { index });
        }
        assert_eq!(self.raft.commit(), index);
        self.raft.follow(index, membership, true);
        self.settle();
        std::mem::take(&mut self.sent)
    }

    fn acknowledge(&mut self, from: u64, index: Index) {
        self.hear(from, self.raft.term().0, Message::Appended { index });
    }
}

#[test]
fn a_change_waits_for_an_entry_of_the_own_term_and_for_the_change_before() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    let change = |bench: &mut Bench| bench.raft.propose_change(Bytes::from_static(b"change"));
    assert_eq!(change(&mut bench), Err(ProposeError::NotLeader));
    bench.elect();
    bench.sync();
    assert_eq!(change(&mut bench), Err(ProposeError::ChangePending));
    bench.acknowledge(2, Index(2));
    assert_eq!(change(&mut bench), Ok(Index(3)));
    assert_eq!(change(&mut bench), Err(ProposeError::ChangePending));
    bench.settle();
    bench.sync();
    bench.acknowledge(2, Index(3));
    assert_eq!(change(&mut bench), Ok(Index(4)), "the one before is carried out, whatever it did");
}

#[test]
fn a_new_voter_gets_the_log_and_counts_from_the_entry_on_that_made_it_one() {
    let mut bench = leader();
    let sent = bench.change(Membership::of(nodes(&[1, 2, 3, 4])), &[2]);
    assert!(sent.iter().any(|(to, message)| *to == id(4) && matches!(message, Message::Append { .. })));
    let index = bench.propose("x");
    bench.sync();
    bench.acknowledge(2, index);
    assert_eq!(bench.raft.commit(), Index(2), "two of four are no majority");
    bench.acknowledge(4, index);
    assert_eq!(bench.raft.commit(), index);
}

#[test]
fn a_learner_gets_the_log_and_does_not_count() {
    let mut bench = leader();
    let with = bench.raft.membership().simple(&[Change::AddLearner(id(4))]).unwrap();
    bench.change(with, &[2]);
    let index = bench.propose("x");
    bench.sync();
    bench.acknowledge(4, index);
    assert_eq!(bench.raft.commit(), Index(2));
    assert_eq!(bench.raft.matched(id(4)), Some(index));
    bench.acknowledge(3, index);
    assert_eq!(bench.raft.commit(), index);
}

#[test]
fn while_it_is_joint_both_majorities_are_needed() {
    let mut bench = leader();
    let changes = [Change::AddVoter(id(4)), Change::AddVoter(id(5)), Change::Remove(id(3))];
    let joint = bench.raft.membership().enter_joint(true, &changes).unwrap();
    assert_eq!(joint.to_string(), "voters=(1 2 4 5)&&(1 2 3) autoleave");
    bench.change(joint.clone(), &[2]);
    let index = bench.propose("x");
    bench.sync();
    for helper in [4, 5] {
        bench.acknowledge(helper, index);
        assert_eq!(bench.raft.commit(), Index(2), "only one of the old voters has it");
    }
    bench.acknowledge(3, index);
    assert_eq!(bench.raft.commit(), index);
    bench.change(joint.leave_joint().unwrap(), &[2, 4]);
    assert_eq!(bench.raft.matched(id(3)), None, "who takes no part is sent nothing");
}

#[test]
fn a_leader_that_is_removed_leads_until_the_others_know_and_tells_that_it_is_committed() {
    let mut bench = leader();
    let without = bench.raft.membership().simple(&[Change::Remove(id(1))]).unwrap();
    bench.change(without, &[2, 3]);
    bench.raft.confirm_membership();
    bench.settle();
    bench.sync();
    bench.acknowledge(2, Index(3));
    assert!(bench.raft.is_confirming(), "one of two does not do");
    assert_eq!(bench.raft.role(), Role::Leader);
    let sent = bench.hear(3, 2, Message::Appended { index: Index(3) });
    let commits = sent.iter().filter_map(|(to, message)| match message {
        Message::Heartbeat { commit, .. } => Some((*to, *commit)),
        _ => None,
    });
    assert_eq!(commits.collect::<Vec<_>>(), [(id(2), Index(3)), (id(3), Index(3))]);
    assert_eq!(bench.raft.role(), Role::Follower);
    assert!(bench.deadline().is_empty(), "it asks nobody for votes");
    assert_eq!(bench.raft.next_deadline(), Time::FAR);
}

#[test]
fn a_change_is_over_when_the_new_members_hold_an_entry_behind_it() {
    let mut bench = leader();
    bench.change(Membership::of(nodes(&[1, 2])), &[3]);
    bench.raft.confirm_membership();
    bench.settle();
    let brought = std::mem::take(&mut bench.sent);
    let knows = |message: &Message| {
        matches!(message, Message::Append { entries, commit, .. }
        if *commit == Index(2) && entries.iter().any(|entry| entry.index == Index(3)))
    };
    assert!(brought.iter().all(|(to, message)| *to != id(2) || knows(message)), "{brought:?}");
    bench.sync();
    assert_eq!(
        bench.raft.propose_change(Bytes::from_static(b"next")),
        Err(ProposeError::ChangePending),
        "node 2 may not know that it decides"
    );
    assert!(bench.raft.is_confirming());
    bench.acknowledge(2, Index(3));
    assert!(!bench.raft.is_confirming());
    bench.raft.applied(Index(3));
    assert!(bench.raft.propose_change(Bytes::from_static(b"next")).is_ok());
}

#[test]
fn a_leader_that_becomes_a_learner_steps_down() {
    let mut bench = leader();
    let demoted = bench.raft.membership().simple(&[Change::AddLearner(id(1))]).unwrap();
    bench.change(demoted, &[2, 3]);
    bench.raft.resign_if_removed();
    bench.settle();
    bench.sent.clear();
    assert_eq!(bench.raft.role(), Role::Follower);
    assert!(bench.deadline().is_empty(), "it asks nobody for votes");
}

#[test]
fn a_learner_names_no_leader_that_it_hears_no_more() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    let learner = Membership::of(nodes(&[1, 2, 3])).simple(&[Change::AddLearner(id(1))]).unwrap();
    bench.raft.follow(Index(1), learner, true);
    bench.hear(
        2,
        1,
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
    );
    assert_eq!(bench.raft.leader(), Some(id(2)));
    assert!(bench.deadline().is_empty());
    assert_eq!(bench.raft.leader(), None);
    bench.hear(
        2,
        1,
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
    );
    assert_eq!(bench.raft.leader(), Some(id(2)));
}

#[test]
fn a_voter_whose_disk_hangs_names_no_leader_that_it_hears_no_more() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    let append = Message::Append { previous: place(1, 1), entries: entries(&[(1, 2)]), commit: Index(0) };
    bench.hear(2, 1, append);
    assert_eq!(bench.raft.leader(), Some(id(2)));
    let (heartbeat, stall) = (bench.raft.timing.heartbeat, bench.raft.timing.disk_stall);
    while !bench.raft.is_stalled() {
        assert!(bench.now.since(Time(0)) <= stall * 2);
        bench.now = bench.now + heartbeat / 2;
        bench.hear(
            2,
            1,
            Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
        );
    }
    assert!(bench.deadline().is_empty(), "it could not keep its vote");
    assert_eq!(bench.raft.leader(), None);
    assert_ne!(bench.raft.next_deadline(), Time::FAR);
}

#[test]
fn what_is_left_after_a_removal_commits_what_waited() {
    let mut bench = leader();
    let index = bench.raft.propose_change(Bytes::from_static(b"change")).unwrap();
    let behind = bench.propose("x");
    bench.sync();
    bench.acknowledge(2, index);
    assert_eq!(bench.raft.commit(), index);
    bench.raft.follow(index, Membership::of(nodes(&[1])), true);
    assert_eq!(bench.raft.commit(), behind, "the one that is left holds it");
}

#[test]
fn only_a_voter_stands_for_election() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    let learner = Membership::of(nodes(&[1, 2, 3])).simple(&[Change::AddLearner(id(1))]).unwrap();
    bench.raft.follow(Index(1), learner.clone(), true);
    assert!(bench.deadline().is_empty());
    assert_eq!((bench.raft.role(), bench.raft.next_deadline()), (Role::Follower, Time::FAR));
    // It votes if it is asked: the candidate may know of a newer membership.
    bench.hear(2, 2, Message::Vote { last: place(1, 1), handed: false });
    assert!(granted(&bench.sync()));
    let promoted = learner.simple(&[Change::AddVoter(id(1))]).unwrap();
    bench.raft.follow(Index(2), promoted, true);
    assert_ne!(bench.raft.next_deadline(), Time::FAR);
}

#[test]
fn a_candidate_that_learns_of_more_that_is_committed_carries_it_out_first() {
    let mut bench = Bench::new(3, 1, &[(1, 1), (1, 2)]);
    bench.deadline();
    let reply = |commit| Message::PreVoteReply { next_term: Term(2), granted: true, commit };
    bench.raft.receive(id(2), Term(1), reply(place(1, 2)));
    assert_eq!(bench.raft.commit(), Index(2), "its log holds that entry");
    assert_eq!(bench.raft.role(), Role::PreCandidate);
    // Another entry at that place is not the one that is committed.
    let mut other = Bench::new(3, 1, &[(1, 1)]);
    other.deadline();
    other.raft.receive(id(2), Term(1), reply(place(2, 1)));
    assert_eq!((other.raft.commit(), other.raft.role()), (Index(0), Role::Candidate));
}

#[test]
fn votes_that_came_before_what_is_committed_was_carried_out_count_then() {
    let log = [(1, 1), (1, 2)];
    let mut bench = Bench::new(3, 1, &log);
    bench.hear(
        2,
        1,
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
    );
    bench.hear(2, 1, Message::TimeoutNow);
    bench.sync();
    bench.raft.receive(id(2), Term(2), Message::VoteReply { granted: true, commit: place(1, 2) });
    assert_eq!(bench.raft.role(), Role::Candidate, "it has not carried out entry 2");
    bench.raft.applied(Index(1));
    assert_eq!(bench.raft.role(), Role::Candidate);
    bench.raft.applied(Index(2));
    assert_eq!(bench.raft.role(), Role::Leader);
    // Who votes is what the last of them says.
    let mut bench = Bench::new(3, 1, &log);
    bench.deadline();
    let reply = Message::PreVoteReply { next_term: Term(2), granted: true, commit: place(1, 2) };
    bench.raft.receive(id(2), Term(1), reply);
    let larger = Membership::of(nodes(&[1, 2, 3, 4, 5]));
    bench.raft.follow(Index(2), larger, true);
    assert_eq!(bench.raft.role(), Role::PreCandidate, "two of five");
}

#[test]
fn who_has_not_carried_out_what_is_committed_does_not_stand_for_election() {
    let mut bench = Bench::new(3, 1, &[]);
    let append = Message::Append { previous: place(0, 0), entries: entries(&[(1, 1)]), commit: Index(1) };
    bench.raft.receive(id(2), Term(1), append);
    bench.now = bench.raft.next_deadline();
    bench.raft.begin_step(bench.now);
    bench.raft.deadline();
    assert_eq!(bench.raft.role(), Role::Follower);
    bench.raft.applied(Index(1));
    bench.deadline();
    assert_eq!(bench.raft.role(), Role::PreCandidate);
}

#[test]
fn appends_that_are_refused_out_of_order_are_not_all_sent_again_for_each() {
    let flow = Flow { append_entries: 1, inflight_messages: 64, ..Flow::default() };
    let mut bench = Bench::with(3, 1, &[], flow);
    bench.elect();
    bench.sync();
    bench.acknowledge(2, Index(1));
    for _ in 0..40 {
        bench.propose("x");
    }
    bench.settle();
    assert_eq!(bench.raft.progress(id(2)).map(Progress::inflight), Some(40));
    bench.sent.clear();
    // Node 2 gets them in the wrong order: it lacks what is before each, and takes the second at last.
    let refused = Message::AppendRefused { previous: Index(9), hint: place(2, 1) };
    let mut sent = bench.hear(2, 2, refused);
    sent.extend(bench.hear(2, 2, Message::Appended { index: Index(2) }));
    let appends = sent.iter().filter(|(to, it)| *to == id(2) && matches!(it, Message::Append { .. })).count();
    assert!((2..=22).contains(&appends), "{appends} in place of 40");
}

#[test]
fn a_learner_has_most_of_what_the_cluster_wrote_itself() {
    for begin in [0, INHERITED_INDEXES] {
        let has = |matched: u64, last: u64| has_most(Index(begin + matched), Index(begin + last));
        assert!(has(90, 100) && !has(89, 100) && !has(0, 1_000_000) && has(1, 1));
    }
    assert!(!has_most(Index(INHERITED_INDEXES - 1), Index(INHERITED_INDEXES + 10)));
}

#[test]
#[cfg(feature = "planted-bugs")]
fn a_voter_that_tells_nothing_is_noticed() {
    bug::notices(
        Bug::VoteTellsNothing,
        a_candidate_that_learns_of_more_that_is_committed_carries_it_out_first,
    );
}
