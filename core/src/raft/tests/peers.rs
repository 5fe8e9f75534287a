//! What broke in other systems, told as stories of one node. docs/regressions.md names them all.

use super::*;

/// The reads that were confirmed since the last call, with the index that each waits for.
fn confirmed(bench: &mut Bench) -> Vec<(u64, Index)> {
    let effects = std::mem::take(&mut bench.effects);
    let read = |effect| match effect {
        Effect::ReadConfirmed { token, index } => Some((token, index)),
        _ => None,
    };
    effects.into_iter().filter_map(read).collect()
}

fn answer(position: u64) -> Message {
    Message::HeartbeatReply { position, verified: Index(0), state: None, lease: None }
}

/// The newest position that the leader asks to be confirmed.
fn asked(sent: &[(NodeId, Message)]) -> Option<u64> {
    let position = |(_, message): &(NodeId, Message)| match message {
        Message::Heartbeat { position, .. } => Some(*position),
        _ => None,
    };
    sent.iter().filter_map(position).max()
}

#[test]
fn a_read_is_not_confirmed_by_answers_to_an_earlier_round_after_a_new_leader() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    // A round that is answered, but the answers are still on their way when another node leads.
    for token in 0..3 {
        bench.raft.read(token).unwrap();
        bench.settle();
        let position = asked(&std::mem::take(&mut bench.sent)).unwrap();
        if token < 2 {
            bench.hear(2, 2, answer(position));
        }
    }
    assert_eq!(confirmed(&mut bench).len(), 2);
    bench.hear(3, 3, Message::Append { previous: place(2, 1), entries: Vec::new(), commit: Index(1) });
    assert!(bench.effects.contains(&Effect::Deposed), "what waits is asked again by its client");
    bench.sync();
    // It is elected again, and the same client asks once more. Positions begin anew with the term.
    bench.elect();
    bench.sync();
    let term = bench.raft.term().0;
    assert_eq!(term, 4);
    bench.hear(2, term, Message::Appended { index: bench.raft.last_index() });
    bench.effects.clear();
    bench.raft.read(2).unwrap();
    bench.settle();
    let position = asked(&std::mem::take(&mut bench.sent)).unwrap();
    for late in [position, position + 1, 3] {
        bench.hear(2, 2, answer(late));
        bench.hear(3, 3, answer(late));
        assert_eq!(confirmed(&mut bench), [], "an answer to position {late} of an earlier term");
    }
    bench.hear(2, term, answer(position));
    assert_eq!(confirmed(&mut bench), [(2, bench.raft.last_index())]);
}

#[test]
fn a_question_that_is_asked_again_has_a_position_of_its_own() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    // The first round is confirmed; its answer is repeated by the network after the same question came again.
    bench.raft.read(7).unwrap();
    bench.settle();
    let first = asked(&std::mem::take(&mut bench.sent)).unwrap();
    bench.hear(2, 2, answer(first));
    assert_eq!(confirmed(&mut bench).len(), 1);
    bench.raft.read(7).unwrap();
    bench.settle();
    let second = asked(&std::mem::take(&mut bench.sent)).unwrap();
    assert!(second > first);
    for _ in 0..3 {
        bench.hear(2, 2, answer(first));
        bench.hear(3, 2, answer(first));
    }
    assert_eq!(confirmed(&mut bench), []);
    bench.hear(3, 2, answer(second));
    assert_eq!(confirmed(&mut bench).len(), 1);
}

#[test]
fn a_read_before_the_first_commit_of_a_term_waits_for_it() {
    // Its log holds what the leader before it committed and answered; how far that went, nobody has told this node.
    let mut bench = Bench::new(3, 1, &[(1, 1), (1, 2)]);
    bench.elect();
    assert_eq!(bench.raft.commit(), Index(0));
    let first = bench.raft.first_of_term().unwrap();
    assert_eq!(first, Index(3));
    bench.raft.read(1).unwrap();
    bench.settle();
    let position = asked(&std::mem::take(&mut bench.sent)).unwrap();
    bench.hear(2, 2, answer(position));
    let confirmed = confirmed(&mut bench);
    assert_eq!(confirmed, [(1, first)], "a state without it may lack what was answered before");
}

#[test]
fn a_vote_that_waits_for_the_disk_does_not_leave_once_the_node_takes_no_part() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    bench.hear(2, 2, Message::Vote { last: place(1, 1), handed: false });
    bench.raft.withdraw_vote_right();
    assert!(!granted(&bench.sync()));
    // Nor one of the same step.
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    bench.raft.receive(id(2), Term(2), Message::Vote { last: place(1, 1), handed: false });
    bench.raft.withdraw_vote_right();
    bench.settle();
    assert!(!granted(&bench.sync()));
}
