//! What a leader does at once, so that nobody waits: entries leave while it writes them, reads share rounds.

use super::*;

fn leader() -> Bench {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    bench.sent.clear();
    bench.effects.clear();
    bench
}

#[test]
fn an_entry_leaves_while_the_leader_itself_still_writes_it() {
    let mut bench = leader();
    let index = bench.propose("x");
    assert!(bench.raft.durable_index() < index);
    let has =
        |message: &Message| matches!(message, Message::Append { entries, .. } if entries[0].index == index);
    assert!(bench.sent.iter().any(|(to, message)| *to == id(2) && has(message)), "{:?}", bench.sent);
}

#[test]
fn reads_of_one_step_and_those_that_wait_share_a_round() {
    let mut bench = leader();
    let rounds = |sent: Vec<(NodeId, Message)>| {
        let to_2 =
            sent.iter().filter(|(to, message)| *to == id(2) && matches!(message, Message::Heartbeat { .. }));
        to_2.count()
    };
    let answer =
        |position| Message::HeartbeatReply { position, verified: Index(1), state: None, lease: None };
    let confirmed = |bench: &mut Bench| {
        let reads =
            bench.effects.iter().filter(|effect| matches!(effect, Effect::ReadConfirmed { .. })).count();
        bench.effects.clear();
        reads
    };
    for token in 0..100 {
        bench.raft.read(token).unwrap();
    }
    bench.settle();
    assert_eq!(rounds(std::mem::take(&mut bench.sent)), 1);
    // What comes while a round is on its way waits for the next one, together.
    for token in 100..200 {
        bench.raft.read(token).unwrap();
        bench.settle();
    }
    assert_eq!(rounds(std::mem::take(&mut bench.sent)), 0);
    let sent = bench.hear(2, 2, answer(1));
    assert_eq!((rounds(sent), confirmed(&mut bench)), (1, 100));
    let sent = bench.hear(2, 2, answer(2));
    assert_eq!((rounds(sent), confirmed(&mut bench)), (0, 100));
}

#[test]
#[cfg(feature = "planted-bugs")]
fn what_is_not_done_at_once_is_noticed() {
    bug::notices(Bug::AppendAfterSync, an_entry_leaves_while_the_leader_itself_still_writes_it);
    bug::notices(Bug::ReadNotShared, reads_of_one_step_and_those_that_wait_share_a_round);
}
