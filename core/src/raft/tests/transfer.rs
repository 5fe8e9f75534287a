//! Stories of leaders that hand over, and of those that they hand to.

use super::*;
use crate::raft::{membership::Change, transfer::TransferError};
use core::time::Duration;

/// A leader of three voters that has committed its first entry with the help of node 2, and hears node 3.
fn leader() -> Bench {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    for peer in [2, 3] {
        bench.hear(peer, 2, Message::Appended { index: Index(1) });
    }
    bench
}

fn told(sent: &[(NodeId, Message)]) -> Vec<NodeId> {
    sent.iter().filter(|(_, message)| matches!(message, Message::TimeoutNow)).map(|(to, _)| *to).collect()
}

#[test]
fn who_holds_everything_is_told_to_lead_and_nothing_is_taken_meanwhile() {
    let mut bench = leader();
    let index = bench.propose("x");
    bench.sync();
    bench.sent.clear();
    assert_eq!(bench.raft.transfer(Some(id(2))), Ok(id(2)));
    bench.settle();
    assert!(told(&bench.sent).is_empty(), "it lacks an entry");
    assert_eq!(bench.raft.propose(Bytes::from_static(b"y")), Err(ProposeError::HandingOver(id(2))));
    assert_eq!(told(&bench.hear(2, 2, Message::Appended { index })), [id(2)]);
    assert_eq!(bench.raft.transfer(None), Ok(id(2)), "asked again, it is the same one");
    assert_eq!(bench.raft.transfer(Some(id(3))), Err(TransferError::UnderWay(id(2))));
    // The successor stands, and gets the leader's own vote.
    let vote = Message::Vote { last: place(2, 2), handed: true };
    bench.hear(2, 3, vote);
    assert!(granted(&bench.sync()));
    assert_eq!(bench.raft.role(), Role::Follower);
}

#[test]
fn a_transfer_that_takes_too_long_is_given_up_and_what_was_lost_is_said_again() {
    let mut bench = leader();
    assert_eq!(bench.raft.transfer(None), Ok(id(2)), "of two that hold the same, the first");
    let begun = bench.now;
    let mut times = 0;
    while bench.raft.transferring().is_some() {
        let sent = bench.deadline();
        times += told(&sent).len();
        for peer in [2, 3] {
            bench.hear(
                peer,
                2,
                Message::HeartbeatReply { position: 0, verified: Index(1), state: None, lease: None },
            );
        }
        assert!(bench.now.since(begun) <= Timing::default().election_max + Timing::default().heartbeat);
    }
    assert!(times > 2, "{times}");
    assert_eq!(bench.raft.role(), Role::Leader);
    assert!(bench.raft.propose(Bytes::from_static(b"y")).is_ok());
}

#[test]
fn only_a_voter_that_answers_is_handed_to() {
    let mut bench = Bench::new(3, 1, &[]);
    assert_eq!(bench.raft.transfer(None), Err(TransferError::NotLeader));
    let mut bench = leader();
    assert_eq!(bench.raft.transfer(Some(id(1))), Ok(id(1)));
    assert_eq!(bench.raft.transfer(Some(id(9))), Err(TransferError::NoVote(id(9))));
    let learner = bench.raft.membership().simple(&[Change::AddLearner(id(3))]).unwrap();
    bench.raft.follow(Index(1), learner, true);
    assert_eq!(bench.raft.transfer(Some(id(3))), Err(TransferError::NoVote(id(3))));
    let alone = Membership::of([id(1)]);
    bench.raft.follow(Index(1), alone, true);
    assert_eq!(bench.raft.transfer(None), Err(TransferError::Alone));
}

#[test]
fn of_two_that_lack_something_the_one_that_was_sent_it_is_chosen_and_after_it_the_other_one() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.raft.set_priorities([(id(3), 5)].into());
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    let alive = || Message::HeartbeatReply { position: 0, verified: Index(0), state: None, lease: None };
    bench.hear(3, 2, alive());
    bench.propose("x");
    bench.sync();
    assert_eq!(bench.raft.transfer(None), Ok(id(2)), "node 3 is preferred, and nobody knows what it holds");
    while bench.raft.transferring().is_some() {
        bench.deadline();
        bench.hear(2, 2, alive());
        bench.hear(3, 2, alive());
    }
    // Both hold everything by now.
    let last = bench.raft.last_index();
    bench.raft.set_priorities([(id(2), 5)].into());
    bench.hear(2, 2, Message::Appended { index: last });
    bench.hear(3, 2, Message::Appended { index: last });
    assert_eq!(bench.raft.transfer(None), Ok(id(3)), "node 2 did not lead in time");
}

#[test]
fn who_has_not_answered_in_this_term_is_no_successor() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    assert_eq!(bench.raft.transfer(None), Err(TransferError::Nobody));
    bench.hear(3, 2, Message::Appended { index: Index(1) });
    assert_eq!(bench.raft.transfer(None), Ok(id(3)));
}

#[test]
fn who_is_told_by_its_leader_stands_at_once() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    assert!(bench.hear(2, 1, Message::TimeoutNow).is_empty(), "it follows nobody");
    bench.hear(
        2,
        1,
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
    );
    assert!(bench.hear(3, 1, Message::TimeoutNow).is_empty(), "another one leads");
    bench.hear(2, 1, Message::TimeoutNow);
    assert_eq!((bench.raft.role(), bench.raft.term()), (Role::Candidate, Term(2)));
    let votes = bench.sync();
    assert!(
        votes.iter().all(|(_, message)| matches!(message, Message::Vote { handed: true, .. })),
        "{votes:?}"
    );
    assert_eq!(votes.len(), 2);
}

#[test]
fn a_leader_that_is_removed_tells_who_holds_everything_to_lead() {
    let mut bench = leader();
    let index = bench.raft.propose_change(Bytes::from_static(b"change")).unwrap();
    bench.settle();
    bench.sync();
    let without = bench.raft.membership().simple(&[Change::Remove(id(1))]).unwrap();
    bench.raft.begin_step(bench.now);
    bench.raft.receive(id(3), Term(2), Message::Appended { index });
    bench.raft.follow(index, without, true);
    bench.raft.confirm_membership();
    bench.settle();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index });
    bench.hear(2, 2, Message::Appended { index: index.next() });
    assert_eq!(bench.raft.role(), Role::Leader);
    let sent = bench.hear(3, 2, Message::Appended { index: index.next() });
    assert_eq!(told(&sent).len(), 1, "the one that holds everything");
    assert_eq!(bench.raft.role(), Role::Follower);
}

/// Lets time pass in which all others answer each heartbeat. Who was told to lead.
fn answered_for(bench: &mut Bench, duration: Duration) -> Vec<NodeId> {
    let (end, mut all) = (bench.now + duration, Vec::new());
    while bench.now < end {
        all.extend(told(&bench.deadline()));
        for peer in [2, 3] {
            let (last, term) = (bench.raft.last_index(), bench.raft.term().0);
            all.extend(told(&bench.hear(peer, term, Message::Appended { index: last })));
        }
    }
    all.dedup();
    all
}

#[test]
fn a_leader_hands_over_to_a_voter_of_higher_priority_that_stays_and_not_again_at_once() {
    let mut bench = leader();
    let most = bench.raft.timing.election_max;
    let settle = most * crate::limits::PREFERRED_AFTER;
    bench.raft.set_priorities([(id(3), 5)].into());
    assert!(answered_for(&mut bench, settle - Duration::from_millis(100)).is_empty(), "it may go again");
    assert_eq!(answered_for(&mut bench, Duration::from_millis(300)), [id(3)]);
    // It does not stand: the transfer is given up, and not tried again before twice as much has passed.
    answered_for(&mut bench, most * 2);
    assert_eq!(bench.raft.transferring(), None);
    let began = bench.now;
    while bench.raft.transferring().is_none() {
        answered_for(&mut bench, Duration::from_millis(50));
    }
    let first = bench.now.since(began);
    answered_for(&mut bench, most * 2);
    let began = bench.now;
    while bench.raft.transferring().is_none() {
        answered_for(&mut bench, Duration::from_millis(50));
    }
    assert!(bench.now.since(began) > first + settle / 2, "{first:?}");
}

#[test]
fn after_a_hand_over_that_came_to_nothing_a_leader_leads_for_a_while() {
    let mut bench = leader();
    let most = bench.raft.timing.election_max;
    let settle = most * crate::limits::PREFERRED_AFTER;
    bench.raft.set_priorities([(id(3), 5)].into());
    // An operator wants what the leader is about to do by itself.
    answered_for(&mut bench, settle - most / 2);
    assert_eq!(bench.raft.transfer(Some(id(3))), Ok(id(3)));
    while bench.raft.transferring().is_some() {
        answered_for(&mut bench, Duration::from_millis(1));
    }
    let given_up = bench.now;
    while bench.raft.transferring().is_none() {
        answered_for(&mut bench, Duration::from_millis(1));
    }
    assert!(bench.now.since(given_up) >= settle, "{:?}", bench.now.since(given_up));
}

#[test]
fn who_is_not_to_lead_is_no_successor_and_stands_as_the_last_resort() {
    let mut bench = leader();
    bench.raft.set_priorities([(id(2), -1)].into());
    assert_eq!(bench.raft.transfer(Some(id(2))), Err(TransferError::NotEligible(id(2))));
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    assert_eq!(bench.raft.transfer(None), Ok(id(3)));
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    bench.raft.set_priorities([(id(1), -1)].into());
    for _ in 0..crate::limits::LAST_RESORT {
        assert!(bench.deadline().is_empty());
    }
    assert!(!bench.deadline().is_empty(), "nobody else does");
}

#[test]
fn who_was_elected_several_times_lately_waits_longer() {
    let mut bench = Bench::new(3, 1, &[]);
    let most = bench.raft.timing.election_max;
    for _ in 0..crate::limits::FLAPPING_REIGNS {
        bench.elect();
        let term = bench.raft.term().0 + 1;
        bench.hear(
            2,
            term,
            Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
        );
        assert_eq!(bench.raft.role(), Role::Follower);
    }
    assert!(bench.raft.next_deadline().since(bench.now) > most, "others are first");
    bench.now = bench.now + most * crate::limits::FLAPPING_WITHIN;
    let term = bench.raft.term().0;
    bench.hear(
        2,
        term,
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
    );
    assert!(bench.raft.next_deadline().since(bench.now) <= most);
}

#[test]
#[cfg(feature = "planted-bugs")]
fn a_successor_that_lacks_much_is_noticed() {
    bug::notices(
        Bug::SuccessorLags,
        of_two_that_lack_something_the_one_that_was_sent_it_is_chosen_and_after_it_the_other_one,
    );
}
