//! Stories of reads by lease, as one node lives them.

use super::*;
use core::time::Duration;

const DRIFT_PPM: u32 = 100_000;

/// A leader of three that has committed its first entry and reads by lease.
fn leader() -> Bench {
    let mut bench = Bench::new(3, 1, &[]);
    bench.raft.timing.read_lease_drift_ppm = Some(DRIFT_PPM);
    bench.elect();
    bench.sync();
    bench.hear(2, 2, Message::Appended { index: Index(1) });
    bench.effects.clear();
    bench
}

impl Bench {
    /// Another node answers a heartbeat of this moment.
    fn promised_by(&mut self, from: u64) {
        let reply = Message::HeartbeatReply {
            position: 0,
            verified: Index(0),
            state: None,
            lease: Some(self.raft.now),
        };
        self.hear(from, self.raft.term().0, reply);
    }

    /// Whether a read is answered at once.
    fn reads(&mut self) -> bool {
        self.raft.begin_step(self.now);
        self.raft.read(7).unwrap();
        self.settle();
        let confirmed = self.effects.iter().any(|it| matches!(it, Effect::ReadConfirmed { token: 7, .. }));
        self.effects.clear();
        confirmed
    }
}

#[test]
fn a_leader_reads_by_its_lease_for_less_than_others_wait() {
    let mut bench = leader();
    assert!(!bench.reads(), "nobody has promised anything");
    bench.promised_by(3);
    assert!(bench.reads());
    let wait = bench.raft.timing.election_min;
    let almost = wait / 10 * 9 - Duration::from_millis(1);
    bench.now = bench.now + almost;
    assert!(bench.reads());
    bench.now = bench.now + Duration::from_millis(1);
    assert!(!bench.reads(), "the clock of node 3 may be faster by a tenth");
    bench.promised_by(2);
    assert!(bench.reads());
}

#[test]
fn without_a_stated_drift_every_read_is_confirmed() {
    let mut bench = leader();
    bench.raft.timing.read_lease_drift_ppm = None;
    bench.promised_by(3);
    assert!(!bench.reads());
}

#[test]
fn a_leader_that_told_another_to_lead_reads_by_no_lease() {
    let mut bench = leader();
    bench.promised_by(3);
    bench.hear(3, 2, Message::Appended { index: Index(1) });
    bench.raft.transfer(Some(id(3))).unwrap();
    bench.settle();
    assert!(!bench.reads());
    bench.raft.leading.as_mut().unwrap().transfer = None;
    bench.promised_by(2);
    assert!(!bench.reads(), "the word may arrive late");
}

/// A follower of node 2 that has promised it to vote for nobody.
fn promised() -> Bench {
    let mut bench = Bench::new(3, 1, &[(1, 1)]);
    let lease = Some(Time(99));
    let heartbeat =
        Message::Heartbeat { commit: Index(0), position: 0, checkpoint: None, judged: None, lease };
    let replies = bench.hear(2, 1, heartbeat);
    assert!(
        matches!(replies[..], [(_, Message::HeartbeatReply { state: None, lease: Some(Time(99)), .. })]),
        "{replies:?}"
    );
    bench
}

#[test]
fn a_promise_outlives_a_higher_term_and_a_connection() {
    let mut bench = promised();
    bench.raft.peer_lost(id(2));
    let free = bench.now + bench.raft.timing.election_min;
    assert!(bench.raft.next_deadline() >= free, "nor does it stand");
    bench.hear(3, 4, Message::PreVoteReply { next_term: Term(9), granted: false, commit: place(0, 0) });
    assert_eq!(bench.raft.term(), Term(4));
    let vote = |handed| Message::Vote { last: place(9, 9), handed };
    bench.hear(3, 4, vote(false));
    assert!(!granted(&bench.sync()), "it has promised");
    bench.now = free;
    bench.hear(3, 4, vote(false));
    assert!(granted(&bench.sync()));
}

#[test]
fn whom_the_leader_wants_to_lead_gets_the_vote() {
    let mut bench = promised();
    bench.hear(3, 2, Message::Vote { last: place(9, 9), handed: true });
    assert!(granted(&bench.sync()));
    let mut bench = promised();
    bench.hear(2, 1, Message::TimeoutNow);
    assert_eq!(bench.raft.role(), Role::Candidate);
}

#[test]
fn nothing_is_promised_in_a_term_that_a_restart_would_not_know() {
    let mut bench = Bench::new(3, 0, &[]);
    bench.raft.timing.read_lease_drift_ppm = Some(DRIFT_PPM);
    let asks = || Message::Heartbeat {
        commit: Index(0),
        position: 0,
        checkpoint: None,
        judged: None,
        lease: Some(Time(5)),
    };
    let promised = |sent: &[(NodeId, Message)]| {
        sent.iter().any(|(_, message)| matches!(message, Message::HeartbeatReply { lease: Some(_), .. }))
    };
    assert!(!promised(&bench.hear(2, 1, asks())));
    bench.sync();
    assert!(promised(&bench.hear(2, 1, asks())));
}

#[test]
#[cfg(feature = "planted-bugs")]
fn a_lease_that_outlives_a_hand_over_is_noticed() {
    bug::notices(Bug::LeaseOutlivesTransfer, a_leader_that_told_another_to_lead_reads_by_no_lease);
}
