//! Stories of single nodes: what leaves, and what must wait.

mod change;
mod lease;
mod peers;
mod reads;
mod sending;
mod snapshot;
mod transfer;

use super::*;
use crate::{contract::Write, types::WriteId};

const fn id(node: u64) -> NodeId {
    NodeId(node)
}

const fn place(term: u64, index: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

fn entries(places: &[(u64, u64)]) -> Vec<Entry> {
    let entry = |&(term, index): &(u64, u64)| Entry {
        term: Term(term),
        index: Index(index),
        data: Bytes::from(format!("{term}.{index}")),
    };
    places.iter().map(entry).collect()
}

/// A node with its clock and its disk, driven by hand.
struct Bench {
    raft: Raft,
    now: Time,
    written: WriteId,
    writes: Vec<Write>,
    sent: Vec<(NodeId, Message)>,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(voters: u64, term: u64, log: &[(u64, u64)]) -> Self {
        Self::with(voters, term, log, Flow::default())
    }

    fn with(voters: u64, term: u64, log: &[(u64, u64)], flow: Flow) -> Self {
        Self::sending(voters, term, log, flow, 0)
    }

    fn sending(voters: u64, term: u64, log: &[(u64, u64)], flow: Flow, snapshot_rate: u64) -> Self {
        let start = RaftStart {
            no_vote_until: Time(0),
            id: id(1),
            membership: Membership::of((1..=voters).map(NodeId)),
            timing: Timing::default(),
            flow,
            snapshot_rate,
            seed: 7,
            hard_state: HardState { term: Term(term), vote: None, commit: Index(0) },
            start: LogPosition::default(),
            entries: entries(log),
            snapshot: None,
        };
        let mut raft = Raft::new(start, Time(0));
        raft.grant_vote_right();
        let (writes, sent, effects) = (Vec::new(), Vec::new(), Vec::new());
        Self { raft, now: Time(0), written: WriteId(0), writes, sent, effects }
    }

    fn settle(&mut self) {
        self.raft.applied(self.raft.commit());
        self.raft.start_read_round();
        self.raft.replicate();
        self.writes.extend(self.raft.take_write());
        while let Some(effect) = self.raft.poll_effect() {
            match effect {
                Effect::Send(to, message) => self.sent.push((to, message)),
                other => self.effects.push(other),
            }
        }
    }

    fn hear(&mut self, from: u64, term: u64, message: Message) -> Vec<(NodeId, Message)> {
        self.raft.begin_step(self.now);
        self.raft.receive(id(from), Term(term), message);
        self.settle();
        std::mem::take(&mut self.sent)
    }

    /// The disk finishes everything that was handed out.
    fn sync(&mut self) -> Vec<(NodeId, Message)> {
        if let Some(write) = self.writes.last() {
            self.written = write.io;
        }
        self.raft.begin_step(self.now);
        self.raft.write_done(self.written);
        self.settle();
        std::mem::take(&mut self.sent)
    }

    fn deadline(&mut self) -> Vec<(NodeId, Message)> {
        self.now = self.now.max(self.raft.next_deadline());
        self.raft.begin_step(self.now);
        self.raft.deadline();
        self.settle();
        std::mem::take(&mut self.sent)
    }

    fn propose(&mut self, data: &'static str) -> Index {
        let index = self.raft.propose(Bytes::from_static(data.as_bytes())).unwrap();
        self.settle();
        index
    }

    /// Through pre-vote, vote and the sync of the own vote.
    fn elect(&mut self) {
        self.deadline();
        let next_term = self.raft.term().next();
        self.hear(2, self.raft.term().0, pre_vote_reply(next_term, true));
        self.hear(2, next_term.0, vote_reply(true));
        self.sync();
        assert_eq!(self.raft.role(), Role::Leader);
    }
}

fn granted(sent: &[(NodeId, Message)]) -> bool {
    sent.iter().any(|(_, message)| matches!(message, Message::VoteReply { granted: true, .. }))
}

fn pre_vote_reply(next_term: Term, granted: bool) -> Message {
    Message::PreVoteReply { next_term, granted, commit: LogPosition::default() }
}

fn vote_reply(granted: bool) -> Message {
    Message::VoteReply { granted, commit: LogPosition::default() }
}

#[test]
fn a_vote_leaves_only_after_it_is_durable() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    let sent = bench.hear(2, 2, Message::Vote { last: place(1, 1), handed: false });
    assert!(!granted(&sent));
    assert_eq!(
        bench.writes[0].hard_state.map(|state| (state.term, state.vote)),
        Some((Term(2), Some(id(2))))
    );
    assert!(granted(&bench.sync()));
}

#[test]
fn a_node_votes_once_a_term_and_again_only_for_the_same_candidate() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.hear(2, 2, Message::Vote { last: place(0, 0), handed: false });
    assert!(granted(&bench.sync()));
    assert!(!granted(&bench.hear(3, 2, Message::Vote { last: place(0, 0), handed: false })));
    assert!(
        granted(&bench.hear(2, 2, Message::Vote { last: place(0, 0), handed: false })),
        "a lost answer is repeated (R10)"
    );
}

#[test]
fn a_candidate_with_a_shorter_log_gets_no_vote_but_its_term_is_adopted() {
    let mut bench = Bench::new(3, 2, &[(1, 1), (2, 2)]);
    let before = bench.raft.next_deadline();
    for last in [place(1, 9), place(2, 1)] {
        bench.hear(2, 5, Message::Vote { last, handed: false });
        assert!(!granted(&bench.sync()));
    }
    assert_eq!(bench.raft.term(), Term(5), "R9");
    assert_eq!(bench.raft.next_deadline(), before, "a denied vote does not put the own election off (R9)");
}

#[test]
fn the_own_vote_counts_only_after_its_sync() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.deadline();
    bench.hear(2, 1, pre_vote_reply(Term(2), true));
    assert_eq!(bench.raft.role(), Role::Candidate);
    bench.hear(2, 2, vote_reply(true));
    assert_eq!(bench.raft.role(), Role::Candidate, "one vote of three");
    bench.sync();
    assert_eq!(bench.raft.role(), Role::Leader);
}

#[test]
fn requests_for_votes_leave_after_the_term_is_durable() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.deadline();
    let sent = bench.hear(2, 1, pre_vote_reply(Term(2), true));
    assert!(sent.is_empty());
    assert_eq!(bench.sync().len(), 2);
}

#[test]
fn whoever_hears_a_leader_answers_no_pre_vote_and_keeps_its_term() {
    let mut bench = Bench::new(3, 3, &[]);
    let heartbeat =
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None };
    bench.hear(2, 3, heartbeat);
    let asked = Message::PreVote { next_term: Term(4), last: place(9, 9) };
    assert_eq!(bench.hear(3, 3, asked.clone()), [], "who has a leader has no say");
    bench.raft.peer_lost(id(2));
    let sent = bench.hear(3, 3, asked);
    assert_eq!(sent, [(id(3), pre_vote_reply(Term(4), true))]);
    assert_eq!(bench.raft.term(), Term(3));
}

#[test]
fn who_is_led_gives_no_vote_that_comes_without_having_asked() {
    let mut bench = Bench::new(3, 3, &[]);
    bench.hear(
        2,
        3,
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease: None },
    );
    let vote = Message::Vote { last: place(9, 9), handed: false };
    assert_eq!(bench.hear(3, 4, vote.clone()), []);
    assert_eq!((bench.raft.term(), bench.raft.leader()), (Term(3), Some(id(2))));
    bench.now = bench.now + Timing::default().election_min;
    bench.hear(3, 4, vote);
    assert!(granted(&bench.sync()), "nobody led for an election timeout");
}

#[test]
fn a_leader_gives_no_vote_while_a_majority_answers_it() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    let vote = Message::Vote { last: place(9, 9), handed: false };
    let pre_vote = Message::PreVote { next_term: Term(3), last: place(9, 9) };
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    assert_eq!(bench.hear(3, 2, pre_vote.clone()), []);
    assert_eq!(bench.hear(3, 3, vote.clone()), []);
    // Longer than the least election timeout, and not so long that it steps down.
    for _ in 0..6 {
        bench.deadline();
    }
    assert_eq!(bench.raft.role(), Role::Leader);
    let answer = Message::PreVoteReply { next_term: Term(3), granted: true, commit: place(2, 1) };
    assert_eq!(bench.hear(3, 2, pre_vote), [(id(3), answer)]);
    bench.hear(3, 3, vote);
    assert!(granted(&bench.sync()));
}

#[test]
fn an_append_is_acknowledged_only_after_its_sync() {
    let mut bench = Bench::new(3, 1, &[]);
    let append =
        Message::Append { previous: place(0, 0), entries: entries(&[(1, 1), (1, 2)]), commit: Index(2) };
    assert_eq!(bench.hear(2, 1, append), []);
    assert_eq!(bench.sync(), [(id(2), Message::Appended { index: Index(2) })]);
    assert_eq!(bench.raft.commit(), Index(2));
}

#[test]
fn an_append_behind_another_entry_is_refused_with_where_the_logs_may_agree() {
    let mut bench = Bench::new(3, 4, &[(1, 1), (2, 2), (2, 3)]);
    let append = |previous| Message::Append { previous, entries: Vec::new(), commit: Index(3) };
    let refused = |previous, hint| vec![(id(2), Message::AppendRefused { previous: Index(previous), hint })];
    assert_eq!(bench.hear(2, 4, append(place(3, 3))), refused(3, place(2, 3)), "R1");
    assert_eq!(bench.hear(2, 4, append(place(1, 3))), refused(3, place(1, 1)));
    assert_eq!(bench.hear(2, 4, append(place(3, 9))), refused(9, place(2, 3)));
    assert_eq!(bench.raft.commit(), Index(0), "what is not verified is not committed (R4)");
}

#[test]
fn a_conflict_is_cut_and_what_was_on_its_way_does_not_count_as_durable() {
    let mut bench = Bench::new(3, 1, &[]);
    let append = |places: &[(u64, u64)], previous| Message::Append {
        previous,
        entries: entries(places),
        commit: Index(0),
    };
    bench.hear(2, 1, append(&[(1, 1), (1, 2), (1, 3)], place(0, 0)));
    let first = bench.writes[0].io;
    bench.hear(3, 2, append(&[(2, 2)], place(1, 1)));
    bench.raft.write_done(first);
    bench.settle();
    assert_eq!(std::mem::take(&mut bench.sent), [], "the old term's acknowledgement concerns nobody");
    assert_eq!((bench.raft.durable_index(), bench.raft.last_index()), (Index(1), Index(2)));
    assert_eq!(bench.writes[1].entries, entries(&[(2, 2)]));
    assert_eq!(bench.sync(), [(id(3), Message::Appended { index: Index(2) })]);
}

#[test]
fn an_older_append_that_comes_late_cuts_nothing() {
    let mut bench = Bench::new(3, 1, &[]);
    let append = |places: &[(u64, u64)]| Message::Append {
        previous: place(0, 0),
        entries: entries(places),
        commit: Index(0),
    };
    bench.hear(2, 1, append(&[(1, 1), (1, 2), (1, 3)]));
    bench.hear(2, 1, append(&[(1, 1)]));
    assert_eq!(bench.raft.last_index(), Index(3));
}

#[test]
fn a_leader_counts_its_own_copy_only_after_its_sync() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    assert_eq!(bench.raft.commit(), Index(1));
    let index = bench.propose("x");
    bench.hear(2, 2, Message::Appended { index });
    assert_eq!(bench.raft.commit(), Index(1), "one of three has it durably");
    bench.sync();
    assert_eq!(bench.raft.commit(), index);
}

#[test]
fn entries_of_an_older_term_are_committed_only_with_one_of_the_own() {
    let mut bench = Bench::new(5, 3, &[(1, 1), (2, 2)]);
    bench.deadline();
    for node in [2, 3] {
        bench.hear(node, 3, pre_vote_reply(Term(4), true));
    }
    for node in [2, 3] {
        bench.hear(node, 4, vote_reply(true));
    }
    bench.sync();
    bench.sync();
    for node in [2, 3] {
        bench.hear(node, 4, Message::Appended { index: Index(2) });
    }
    assert_eq!(bench.raft.commit(), Index(0), "Raft, figure 8");
    for node in [2, 3] {
        bench.hear(node, 4, Message::Appended { index: Index(3) });
    }
    assert_eq!(bench.raft.commit(), Index(3));
}

#[test]
fn a_read_is_confirmed_only_by_answers_to_what_was_sent_after_it() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    bench.raft.read(10).unwrap();
    bench.settle();
    bench.raft.read(11).unwrap();
    bench.settle();
    let confirmed = |bench: &mut Bench| {
        let tokens = bench.effects.iter().filter_map(|effect| match effect {
            Effect::ReadConfirmed { token, .. } => Some(*token),
            _ => None,
        });
        let tokens: Vec<u64> = tokens.collect();
        bench.effects.clear();
        tokens
    };
    let answer =
        |position| Message::HeartbeatReply { position, verified: Index(1), state: None, lease: None };
    bench.hear(2, 2, answer(0));
    assert_eq!(confirmed(&mut bench), [] as [u64; 0]);
    bench.hear(2, 2, answer(1));
    assert_eq!(confirmed(&mut bench), [10]);
    bench.hear(3, 2, answer(1));
    bench.hear(2, 2, answer(1));
    assert_eq!(confirmed(&mut bench), [] as [u64; 0], "a repeated answer confirms nothing newer");
    bench.hear(3, 2, answer(2));
    assert_eq!(confirmed(&mut bench), [11]);
}

#[test]
fn a_leader_without_a_majority_steps_down_and_says_so() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    while bench.now < Time(400_000_000) {
        assert_eq!(bench.raft.role(), Role::Leader);
        bench.deadline();
    }
    while bench.now < Time(900_000_000) {
        bench.deadline();
    }
    assert_ne!(bench.raft.role(), Role::Leader);
    assert!(bench.effects.contains(&Effect::Deposed));
}

#[test]
fn a_leader_whose_disk_stalls_steps_down_and_does_not_campaign() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    for _ in 0..12 {
        bench.deadline();
        bench.hear(
            2,
            2,
            Message::HeartbeatReply { position: 0, verified: Index(0), state: None, lease: None },
        );
    }
    assert_eq!(bench.raft.role(), Role::Follower);
    for _ in 0..5 {
        assert_eq!(bench.deadline(), []);
    }
    bench.sync();
    assert!(!bench.deadline().is_empty(), "a disk that works again may lead again");
}

#[test]
fn a_node_without_a_vote_neither_votes_nor_campaigns() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.raft.withdraw_vote_right();
    bench.hear(2, 2, Message::Vote { last: place(9, 9), handed: false });
    assert!(!granted(&bench.sync()));
    assert_eq!(bench.raft.next_deadline(), Time::FAR);
}

/// A leader of three whose follower 3 has answered nothing, with entries up to 5, of which 2 has all.
fn leader_of_a_silent_follower() -> Bench {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    for _ in 0..4 {
        bench.propose("x");
    }
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(5) });
    bench
}

#[test]
fn a_probe_is_sent_again_to_who_answers_a_later_heartbeat() {
    let mut bench = leader_of_a_silent_follower();
    let append = |sent: &[(NodeId, Message)]| {
        sent.iter().any(|(to, message)| *to == id(3) && matches!(message, Message::Append { .. }))
    };
    let reply = Message::HeartbeatReply { position: 0, verified: Index(0), state: None, lease: None };
    let deadline = |bench: &mut Bench| {
        let sent = append(&bench.deadline());
        bench.hear(
            2,
            2,
            Message::HeartbeatReply { position: 0, verified: Index(5), state: None, lease: None },
        );
        sent
    };
    assert!(!deadline(&mut bench));
    assert!(deadline(&mut bench), "it may hear, though nobody hears it");
    assert!(!append(&bench.hear(3, 2, reply.clone())), "the answer to the probe may be on its way");
    assert!(!deadline(&mut bench));
    assert!(!append(&bench.hear(3, 2, reply.clone())));
    assert!(!deadline(&mut bench), "who answers is probed by its answer");
    assert!(append(&bench.hear(3, 2, reply)));
}

#[test]
fn appends_that_were_lost_are_found_out_by_an_empty_one_behind_them() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    bench.propose("x");
    bench.sent.clear();
    let reply = Message::HeartbeatReply { position: 0, verified: Index(1), state: None, lease: None };
    assert_eq!(bench.hear(2, 2, reply.clone()), [], "it may just be on its way");
    bench.deadline();
    bench.hear(2, 2, reply.clone());
    bench.deadline();
    let asks = Message::Append { previous: place(2, 2), entries: Vec::new(), commit: Index(1) };
    assert_eq!(bench.hear(2, 2, reply), [(id(2), asks)]);
    let sent = bench.hear(2, 2, Message::AppendRefused { previous: Index(2), hint: place(2, 1) });
    assert!(matches!(&sent[..], [(_, Message::Append { entries, .. })] if entries.len() == 1));
}

#[test]
fn a_connection_that_was_reset_is_probed_with_the_next_entry_or_after_the_next_heartbeat() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    bench.sent.clear();
    bench.raft.peer_lost(id(2));
    bench.settle();
    assert_eq!(bench.sent, []);
    bench.propose("x");
    assert!(matches!(&bench.sent[..], [(_, Message::Append { entries, .. })] if entries.len() == 1));
    bench.propose("y");
    assert_eq!(bench.sent.len(), 1, "one probe at a time");
    assert!(matches!(bench.raft.progress(id(2)).unwrap().mode, progress::Mode::Probe { .. }));
}

#[test]
fn an_election_that_is_lost_makes_a_follower() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.raft.campaign(false);
    bench.settle();
    bench.sync();
    for from in [2, 3] {
        assert_eq!(bench.raft.role(), Role::Candidate);
        bench.hear(from, 2, vote_reply(false));
    }
    assert_eq!((bench.raft.role(), bench.raft.term(), bench.raft.leader()), (Role::Follower, Term(2), None));
}

#[test]
fn a_heartbeat_is_answered_without_what_rests_on_a_term_in_memory() {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    let append = Message::Append { previous: place(1, 1), entries: Vec::new(), commit: Index(0) };
    bench.hear(2, 2, append);
    let heartbeat =
        Message::Heartbeat { commit: Index(0), position: 3, checkpoint: None, judged: None, lease: None };
    let answer = |verified| {
        [(
            id(2),
            Message::HeartbeatReply { position: 3, verified: Index(verified), state: None, lease: None },
        )]
    };
    assert_eq!(bench.hear(2, 2, heartbeat.clone()), answer(0));
    bench.sync();
    assert_eq!(bench.hear(2, 2, heartbeat), answer(1));
}

#[test]
fn a_follower_that_restarted_learns_again_that_its_log_is_equal() {
    let mut bench = Bench::new(3, 1, &[]);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    let sent = bench.hear(
        2,
        2,
        Message::HeartbeatReply { position: 0, verified: Index(0), state: None, lease: None },
    );
    let commit = Index(1);
    assert_eq!(sent, [(id(2), Message::Append { previous: place(2, 1), entries: Vec::new(), commit })]);
}

#[test]
fn a_leader_takes_no_more_than_its_bound_and_a_single_larger_proposal_alone() {
    let flow = Flow { uncommitted_bytes: 3, ..Flow::default() };
    let mut bench = Bench::with(3, 1, &[], flow);
    bench.elect();
    bench.propose("larger than the bound");
    assert_eq!(bench.raft.propose(Bytes::from_static(b"x")), Err(ProposeError::Full));
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(2) });
    assert_eq!(bench.raft.commit(), Index(2));
    bench.propose("ab");
    bench.propose("c");
    assert_eq!(bench.raft.propose(Bytes::from_static(b"d")), Err(ProposeError::Full));
}

#[test]
fn what_a_leader_inherits_uncommitted_counts_until_it_is_committed() {
    let flow = Flow { uncommitted_bytes: 7, ..Flow::default() };
    // Two entries of three bytes each, of the term before.
    let mut bench = Bench::with(3, 1, &[(1, 1), (1, 2)], flow);
    bench.elect();
    bench.propose("x");
    assert_eq!(bench.raft.propose(Bytes::from_static(b"y")), Err(ProposeError::Full));
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(3) });
    assert_eq!(bench.raft.commit(), Index(3));
    // Only the own one is left.
    bench.propose("123456");
    assert_eq!(bench.raft.propose(Bytes::from_static(b"y")), Err(ProposeError::Full));
}

#[test]
fn appends_are_as_small_and_as_few_as_the_node_is_told() {
    let flow = Flow { append_entries: 1, inflight_messages: 2, ..Flow::default() };
    let mut bench = Bench::with(3, 1, &[], flow);
    bench.elect();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    for data in ["a", "b", "c"] {
        bench.propose(data);
    }
    let appends = |sent: &[(NodeId, Message)]| -> Vec<Vec<Index>> {
        let to_two = sent.iter().filter(|(to, _)| *to == id(2));
        let entries = to_two.filter_map(|(_, message)| match message {
            Message::Append { entries, .. } => Some(entries.iter().map(|entry| entry.index).collect()),
            _ => None,
        });
        entries.collect()
    };
    let sent = std::mem::take(&mut bench.sent);
    assert_eq!(appends(&sent), [[Index(2)], [Index(3)]]);
    let sent = bench.hear(2, 2, Message::Appended { index: Index(2) });
    assert_eq!(appends(&sent), [[Index(4)]]);
}

/// All entries of a term up to the last, and the commit index.
fn append_of(term: u64, last: u64, commit: u64) -> Message {
    let places: Vec<(u64, u64)> = (1..=last).map(|index| (term, index)).collect();
    Message::Append { previous: LogPosition::default(), entries: entries(&places), commit: Index(commit) }
}
