//! Fault points: places where a node may take a rare branch that is permitted, and does so on purpose when it is told to.
//!
//! A message that is lost, a disk that is slow, a process that dies: that comes from outside. What a node itself may do at
//! any time, and seldom does (send one entry where it could send many, refuse a vote, begin a snapshot anew), is brought
//! about here. Each point is allowed by the protocol, so that no rule may break however often it fires. One is not
//! ([`Point::is_permitted`]): it makes something wrong that others are to notice, and only a fault of its own switches it on.
//!
//! They are there only with the feature `fault-points`, which no shipped build has: without it, [`Points::fires`] is `false`
//! at compile time, and the branches behind it are gone. Whether a point fires is a hash of the node's seed, of the point and
//! of how often it was asked; it is switched by an input (`Input::FaultPoint`), so that a tape replays it.

use crate::fingerprint::Fingerprint;
#[cfg(feature = "fault-points")]
use crate::{
    mark::{self, Mark},
    random::mix,
};

/// Declares the points: a name, the mark of its firing, the name it is selected by, and in words what happens.
macro_rules! points {
    ($($name:ident $mark:ident = $key:literal, $text:literal;)*) => {
        /// A place where a node may do something rare on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the text that is printed says it")]
        pub enum Point { $($name,)* }

        /// What a program with fault points says of itself: every name. A test looks for it in shipped programs.
        #[cfg(feature = "fault-points")]
        pub static BUILT_IN: &str = concat!("fault points are built in:", $(" ", $key),*);

        #[cfg(feature = "fault-points")]
        impl Point {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name it is selected by.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// What happens.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The point of this name.
            #[must_use]
            pub fn named(key: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|point| point.key() == key)
            }

            /// Whether no rule may break however often it fires. Who draws points at random leaves the others out.
            #[must_use]
            pub const fn is_permitted(self) -> bool {
                !matches!(self, Self::HashWrong)
            }

            const fn mark(self) -> Mark {
                match self { $(Self::$name => Mark::$mark,)* }
            }
        }
    };
}

points! {
    AppendOne PointAppendOne = "append-one", "an append carries one entry";
    AppendNoCommit PointAppendNoCommit = "append-no-commit", "an append does not tell what is committed";
    AppendPassedOver PointAppendPassedOver = "append-passed-over", "a follower passes over an append that it could take";
    RefusalFromStart PointRefusalFromStart = "refusal-from-start", "a follower that refuses an append asks for all of the log";
    HeartbeatSkipped PointHeartbeatSkipped = "heartbeat-skipped", "a leader leaves a round of heartbeats out";
    HeartbeatVouchesNothing PointHeartbeatVouchesNothing = "heartbeat-vouches-nothing", "the answer to a heartbeat vouches for nothing";
    ProgressForgotten PointProgressForgotten = "progress-forgotten", "a leader forgets what it has sent, and probes again";
    LeaderStepsDown PointLeaderStepsDown = "leader-steps-down", "a leader steps down for no reason";
    VoteRefused PointVoteRefused = "vote-refused", "a vote is refused that could be given";
    PreVoteRefused PointPreVoteRefused = "pre-vote-refused", "a pre-vote is refused that could be given";
    ElectionEarly PointElectionEarly = "election-early", "an election timer is as short as may be";
    ReadAlone PointReadAlone = "read-alone", "a read does not share the round of another";
    SnapshotAnew PointSnapshotAnew = "snapshot-anew", "a follower wants a snapshot from its begin again";
    SnapshotAtOnce PointSnapshotAtOnce = "snapshot-at-once", "the state is written aside though that is not due";
    ApplyOne PointApplyOne = "apply-one", "a step applies one entry of several";
    ProposalRefused PointProposalRefused = "proposal-refused", "a leader takes a proposal for too much";
    RequestRefused PointRequestRefused = "request-refused", "a request is answered with unavailable at once";
    CallUnmade PointCallUnmade = "call-unmade", "a call is left to heartbeats";
    HashWrong PointHashWrong = "hash-wrong", "a node takes another hash of its state than it has, at an agreed index";
}

/// Which points of a node are on.
#[cfg(feature = "fault-points")]
#[derive(Clone, Debug)]
pub struct Points {
    seed: u64,
    /// One in how many times each fires; 0 = it is off.
    one_in: [u32; Point::ALL.len()],
    /// How often each was asked while it was on.
    asked: [u64; Point::ALL.len()],
}

#[cfg(feature = "fault-points")]
impl Points {
    /// For their draws.
    const PURPOSE: u64 = 0x70_6f_69_6e_74_73;

    pub(crate) fn new(seed: u64) -> Self {
        core::hint::black_box(BUILT_IN);
        Self {
            seed: mix(seed ^ mix(Self::PURPOSE)),
            one_in: [0; Point::ALL.len()],
            asked: [0; Point::ALL.len()],
        }
    }

    /// From now on it fires one in so many times; 0 = never.
    pub(crate) const fn switch(&mut self, point: Point, one_in: u32) {
        self.one_in[point as usize] = one_in;
    }

    /// Whether it fires this time. Ask only where it would change something.
    pub(crate) fn fires(&mut self, point: Point) -> bool {
        let place = point as usize;
        let one_in = u64::from(self.one_in[place]);
        if one_in == 0 {
            return false;
        }
        self.asked[place] += 1;
        let draw = mix(self.seed ^ mix((place as u64) << 48 ^ self.asked[place]));
        let fires = draw.is_multiple_of(one_in);
        mark::hit_if(fires, point.mark());
        fires
    }

    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        if self.one_in.iter().any(|one_in| *one_in > 0) {
            print.add((self.one_in, self.asked));
        }
    }
}

/// No point is ever on, without the feature `fault-points`.
#[cfg(not(feature = "fault-points"))]
#[derive(Clone, Debug)]
pub struct Points;

#[cfg(not(feature = "fault-points"))]
#[allow(
    clippy::unused_self,
    clippy::needless_pass_by_ref_mut,
    reason = "the same with and without the feature"
)]
impl Points {
    pub(crate) const fn new(_: u64) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) const fn fires(&mut self, _: Point) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) const fn fingerprint(&self, _: &mut Fingerprint) {}
}

#[cfg(all(test, feature = "fault-points"))]
mod tests {
    use super::*;

    fn firings(seed: u64, point: Point, one_in: u32) -> Vec<bool> {
        let mut points = Points::new(seed);
        points.switch(point, one_in);
        (0..2_000).map(|_| points.fires(point)).collect()
    }

    #[test]
    fn a_point_fires_by_seed_and_count_about_as_often_as_it_is_told() {
        let some = firings(7, Point::AppendOne, 10);
        assert_eq!(some, firings(7, Point::AppendOne, 10));
        assert_ne!(some, firings(8, Point::AppendOne, 10));
        assert_ne!(some, firings(7, Point::ApplyOne, 10));
        let count = some.iter().filter(|fires| **fires).count();
        assert!((140..260).contains(&count), "{count}");
        assert!(firings(7, Point::AppendOne, 1).iter().all(|fires| *fires));
        assert!(!firings(7, Point::AppendOne, 0).iter().any(|fires| *fires));
    }

    #[test]
    fn one_point_leaves_the_draws_of_another_as_they_are() {
        let mut points = Points::new(7);
        points.switch(Point::AppendOne, 10);
        points.switch(Point::ApplyOne, 3);
        let both: Vec<bool> = (0..2_000)
            .map(|_| {
                points.fires(Point::ApplyOne);
                points.fires(Point::AppendOne)
            })
            .collect();
        assert_eq!(both, firings(7, Point::AppendOne, 10));
    }

    #[test]
    fn names_are_found_again() {
        for &point in Point::ALL {
            assert_eq!(Point::named(point.key()), Some(point));
            assert!(!point.text().is_empty());
        }
        assert_eq!(Point::named("no-such-point"), None);
        let not: Vec<_> = Point::ALL.iter().filter(|point| !point.is_permitted()).collect();
        assert_eq!(not, [&Point::HashWrong]);
    }
}
