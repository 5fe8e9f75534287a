//! Who takes part, and how that changes (Ongaro, "Consensus: bridging theory and practice", 2014, chapter 4).
//!
//! A change of one voter is made in one step: any majority of the old voters meets any majority of the new ones. A change
//! of several goes through a joint configuration, in which whatever is decided needs a majority of both. All functions are
//! pure: from one membership to the next, or a reason why not.

use super::quorum::{self, Decision};
use crate::{
    bug::{self, Bug},
    types::NodeId,
};
use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

/// One step of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It votes: a new member, or a learner that is promoted.
    AddVoter(NodeId),
    /// It gets the log and has no vote: a new member, or a voter that is demoted.
    AddLearner(NodeId),
    /// It takes no part any more. Nothing, if it did not.
    Remove(NodeId),
    /// Something else about it changes, like its address.
    Update(NodeId),
}

/// A change that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Nobody could decide anything.
    #[error("removed all voters")]
    NoVoter,
    /// Two majorities might not meet.
    #[error("more than one voter changed without entering joint config")]
    SeveralVoters,
    /// One joint configuration at a time.
    #[error("config is already joint")]
    AlreadyJoint,
    /// A single step out of a joint configuration.
    #[error("can't apply simple config change in joint config")]
    SimpleInJoint,
    /// There is nothing to leave.
    #[error("can't leave a non-joint config")]
    NotJoint,
    /// A joint configuration needs somebody on both sides.
    #[error("can't make a zero-voter config joint")]
    JointOfNobody,
    /// Nobody has two parts.
    #[error("a node has two parts")]
    TwoParts,
    /// More voters than there may be.
    #[error("{0} voters: there must be at most {max}", max = crate::limits::VOTERS)]
    TooManyVoters(usize),
    /// More learners than there may be.
    #[error("{0} learners: there must be at most {max}", max = crate::limits::LEARNERS)]
    TooManyLearners(usize),
}

/// The part of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Votes, in the old configuration, the new one, or both.
    Voter,
    /// Gets the log.
    Learner,
    /// None.
    None,
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Who votes; in a joint configuration, in the new one.
    voters: BTreeSet<NodeId>,
    /// Who votes in the old configuration. Empty unless it is joint.
    outgoing: BTreeSet<NodeId>,
    /// Who only gets the log. Never a voter at the same time.
    learners: BTreeSet<NodeId>,
    /// Who votes in the old configuration, and is a learner when it is left.
    learners_next: BTreeSet<NodeId>,
    /// Whether the leader leaves the joint configuration by itself as soon as it is applied.
    auto_leave: bool,
}

impl Membership {
    /// These voters, and nobody else.
    #[must_use]
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// The membership of these parts, as they were kept.
    ///
    /// # Errors
    /// What cannot have come about by changes.
    pub fn from_parts(
        [voters, outgoing, learners, learners_next]: [BTreeSet<NodeId>; 4],
        auto_leave: bool,
    ) -> Result<Self, MembershipError> {
        let made = Self { voters, outgoing, learners, learners_next, auto_leave };
        if !made.learners.is_disjoint(&made.voters) || !made.learners_next.is_subset(&made.outgoing) {
            return Err(MembershipError::TwoParts);
        }
        if made.auto_leave && !made.is_joint() {
            return Err(MembershipError::NotJoint);
        }
        made.checked()
    }

    /// Who votes; in a joint configuration, in the new one.
    #[must_use]
    pub const fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// Who votes in the old configuration; empty unless it is joint.
    #[must_use]
    pub const fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.outgoing
    }

    /// Who only gets the log.
    #[must_use]
    pub const fn learners(&self) -> &BTreeSet<NodeId> {
        &self.learners
    }

    /// Who becomes a learner when the joint configuration is left.
    #[must_use]
    pub const fn learners_next(&self) -> &BTreeSet<NodeId> {
        &self.learners_next
    }

    /// Whether two configurations hold at once.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether it is joint and is left by itself.
    #[must_use]
    pub const fn leaves_itself(&self) -> bool {
        self.auto_leave
    }

    /// The part of a node.
    #[must_use]
    pub fn part(&self, node: NodeId) -> Part {
        if self.is_voter(node) {
            Part::Voter
        } else if self.learners.contains(&node) {
            Part::Learner
        } else {
            Part::None
        }
    }

    /// Whether it votes, in either configuration.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Everybody who takes part, in order.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let all: BTreeSet<NodeId> = self.all_voters().chain(self.learners.iter().copied()).collect();
        all.into_iter()
    }

    /// Everybody who votes in either configuration, in order.
    pub fn all_voters(&self) -> impl Iterator<Item = NodeId> {
        self.voters.union(&self.outgoing).copied()
    }

    /// The highest value that a majority has reached, of both configurations while it is joint.
    pub fn reached(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let of =
            |voters: &BTreeSet<NodeId>| quorum::reached_by_majority(voters.iter().map(|&node| value(node)));
        if self.both_decide() { of(&self.voters).min(of(&self.outgoing)) } else { of(&self.voters) }
    }

    /// What these answers decide. A node without an answer may still say either.
    #[must_use]
    pub fn decide(&self, answers: &BTreeMap<NodeId, bool>) -> Decision {
        let of =
            |voters: &BTreeSet<NodeId>| quorum::decide(voters.iter().map(|node| answers.get(node).copied()));
        if self.both_decide() { of(&self.voters).and(of(&self.outgoing)) } else { of(&self.voters) }
    }

    fn both_decide(&self) -> bool {
        self.is_joint() && !bug::planted(Bug::JointOneSide)
    }

    /// One step, which changes at most one voter.
    ///
    /// # Errors
    /// While it is joint, or if two majorities might not meet, or nobody would vote.
    pub fn simple(&self, changes: &[Change]) -> Result<Self, MembershipError> {
        if self.is_joint() {
            return Err(MembershipError::SimpleInJoint);
        }
        let mut next = self.clone();
        changes.iter().for_each(|&change| next.apply(change));
        let next = next.checked()?;
        if self.voters.symmetric_difference(&next.voters).count() > 1 {
            return Err(MembershipError::SeveralVoters);
        }
        Ok(next)
    }

    /// Into a joint configuration: until it is left, whatever is decided needs a majority of the old and of the new voters.
    ///
    /// # Errors
    /// While it is joint already, or if nobody votes, before or after.
    pub fn enter_joint(&self, auto_leave: bool, changes: &[Change]) -> Result<Self, MembershipError> {
        if self.is_joint() {
            return Err(MembershipError::AlreadyJoint);
        }
        if self.voters.is_empty() {
            return Err(MembershipError::JointOfNobody);
        }
        let mut next = Self { outgoing: self.voters.clone(), auto_leave, ..self.clone() };
        changes.iter().for_each(|&change| next.apply(change));
        next.checked()
    }

    /// Out of a joint configuration: only the new one holds.
    ///
    /// # Errors
    /// If it is not joint.
    pub fn leave_joint(&self) -> Result<Self, MembershipError> {
        if !self.is_joint() {
            return Err(MembershipError::NotJoint);
        }
        let learners = self.learners.union(&self.learners_next).copied().collect();
        Ok(Self { voters: self.voters.clone(), learners, ..Self::default() })
    }

    /// The next membership of a change of any size: in one step if that is safe and `joint` does not ask for more.
    ///
    /// # Errors
    /// As [`simple`](Self::simple) and [`enter_joint`](Self::enter_joint).
    pub fn changed(&self, changes: &[Change], joint: bool) -> Result<Self, MembershipError> {
        match self.simple(changes) {
            Ok(next) if !joint => Ok(next),
            Err(MembershipError::SeveralVoters) | Ok(_) => self.enter_joint(true, changes),
            Err(error) => Err(error),
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::AddVoter(node) => {
                self.forget(node);
                self.voters.insert(node);
            }
            Change::AddLearner(node) => {
                self.forget(node);
                // It votes in the old configuration until that is left.
                let until_left = self.outgoing.contains(&node);
                if until_left { &mut self.learners_next } else { &mut self.learners }.insert(node);
            }
            Change::Remove(node) => self.forget(node),
            Change::Update(_) => {}
        }
    }

    /// Takes a node out of the new configuration.
    fn forget(&mut self, node: NodeId) {
        self.voters.remove(&node);
        self.learners.remove(&node);
        self.learners_next.remove(&node);
    }

    fn checked(self) -> Result<Self, MembershipError> {
        let (voters, learners) = (self.all_voters().count(), self.learners.len() + self.learners_next.len());
        if self.voters.is_empty() {
            return Err(MembershipError::NoVoter);
        }
        if self.voters.len() > crate::limits::VOTERS {
            return Err(MembershipError::TooManyVoters(voters));
        }
        if learners > crate::limits::LEARNERS {
            return Err(MembershipError::TooManyLearners(learners));
        }
        Ok(self)
    }
}

/// `voters=(1 2)&&(1) learners=(3) learners_next=(4) autoleave`: what is empty is left out.
impl fmt::Display for Membership {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "voters={}", List(&self.voters))?;
        if self.is_joint() {
            write!(formatter, "&&{}", List(&self.outgoing))?;
        }
        for (name, nodes) in [("learners", &self.learners), ("learners_next", &self.learners_next)] {
            if !nodes.is_empty() {
                write!(formatter, " {name}={}", List(nodes))?;
            }
        }
        if self.auto_leave { formatter.write_str(" autoleave") } else { Ok(()) }
    }
}

/// Nodes in brackets.
struct List<'nodes>(&'nodes BTreeSet<NodeId>);

impl fmt::Display for List<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(formatter, "({})", nodes.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Change::{AddLearner, AddVoter, Remove};

    fn nodes(ids: &[u64]) -> impl Iterator<Item = NodeId> {
        ids.iter().map(|&id| NodeId(id))
    }

    fn changes(text: &str) -> Vec<Change> {
        let one = |word: &str| {
            let (kind, id) = word.split_at(1);
            let node = NodeId(id.parse().unwrap());
            match kind {
                "v" => AddVoter(node),
                "l" => AddLearner(node),
                "r" => Remove(node),
                _ => Change::Update(node),
            }
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn one_step_changes_one_voter_and_any_learners() {
        let three = Membership::of(nodes(&[1, 2, 3]));
        let shown = |text: &str| three.simple(&changes(text)).map(|next| next.to_string());
        assert_eq!(shown("v4"), Ok("voters=(1 2 3 4)".to_owned()));
        assert_eq!(shown("r3 l4 l5"), Ok("voters=(1 2) learners=(4 5)".to_owned()));
        assert_eq!(shown("l3"), Ok("voters=(1 2) learners=(3)".to_owned()));
        assert_eq!(shown("r9 u1"), Ok("voters=(1 2 3)".to_owned()));
        assert_eq!(shown("r1 v4"), Err(MembershipError::SeveralVoters));
        assert_eq!(shown("r1 r2 r3"), Err(MembershipError::NoVoter));
        let all: String = (4..14).map(|id| format!("v{id} ")).collect();
        assert_eq!(shown(&all), Err(MembershipError::TooManyVoters(13)));
    }

    #[test]
    fn a_voter_that_is_demoted_votes_until_the_joint_configuration_is_left() {
        let three = Membership::of(nodes(&[1, 2, 3]));
        let joint = three.enter_joint(true, &changes("l1 r2 v4 l5")).unwrap();
        assert_eq!(joint.to_string(), "voters=(3 4)&&(1 2 3) learners=(5) learners_next=(1) autoleave");
        assert_eq!(
            [1, 2, 5, 6].map(|id| joint.part(NodeId(id))),
            [Part::Voter, Part::Voter, Part::Learner, Part::None]
        );
        assert_eq!(joint.enter_joint(true, &[]), Err(MembershipError::AlreadyJoint));
        assert_eq!(joint.simple(&[]), Err(MembershipError::SimpleInJoint));
        let left = joint.leave_joint().unwrap();
        assert_eq!(left.to_string(), "voters=(3 4) learners=(1 5)");
        assert_eq!(left.leave_joint(), Err(MembershipError::NotJoint));
        assert_eq!(Membership::default().enter_joint(true, &[]), Err(MembershipError::JointOfNobody));
    }

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let joint = Membership::of(nodes(&[1, 2, 3])).enter_joint(false, &changes("r1 r2 v4 v5")).unwrap();
        let value = |node: NodeId| [0, 9, 9, 1, 1, 7][node.0 as usize];
        // New: 3, 4, 5 with 1, 1, 7; old: 1, 2, 3 with 9, 9, 1.
        assert_eq!(joint.reached(value), 1);
        let votes = |ids: &[u64], granted| nodes(ids).map(move |node| (node, granted)).collect::<Vec<_>>();
        let decide = |votes: Vec<(NodeId, bool)>| joint.decide(&votes.into_iter().collect());
        assert_eq!(decide(votes(&[1, 2], true)), Decision::Pending);
        assert_eq!(decide(votes(&[1, 2, 4, 5], true)), Decision::Won);
        assert_eq!(decide([votes(&[1, 2], true), votes(&[4, 5], false)].concat()), Decision::Lost);
    }

    #[test]
    fn a_change_takes_one_step_where_it_is_safe() {
        let three = Membership::of(nodes(&[1, 2, 3]));
        assert!(!three.changed(&changes("v4"), false).unwrap().is_joint());
        assert!(three.changed(&changes("v4"), true).unwrap().is_joint());
        assert!(three.changed(&changes("v4 r1"), false).unwrap().is_joint());
        assert_eq!(three.changed(&changes("r1 r2 r3"), false), Err(MembershipError::NoVoter));
    }

    proptest::proptest! {
        /// Whatever is changed, a majority of one membership meets a majority of the next, and nobody votes and learns at once.
        #[test]
        fn majorities_of_neighbours_meet(
            steps in proptest::collection::vec((0..4_u8, 1..7_u64), 1..60), joint in proptest::bool::ANY,
        ) {
            let mut membership = Membership::of(nodes(&[1, 2, 3]));
            for pair in steps.chunks(2) {
                let changes: Vec<Change> = pair.iter().map(|&(kind, id)| match kind {
                    0 => AddVoter(NodeId(id)),
                    1 => AddLearner(NodeId(id)),
                    2 => Remove(NodeId(id)),
                    _ => Change::Update(NodeId(id)),
                }).collect();
                let next = if membership.is_joint() { membership.leave_joint() } else { membership.changed(&changes, joint) };
                let Ok(next) = next else { continue };
                proptest::prop_assert!(next.all_voters().all(|node| !next.learners().contains(&node)));
                proptest::prop_assert!(next.learners_next().iter().all(|node| next.outgoing().contains(node)));
                proptest::prop_assert!(meet(&membership, &next), "{membership} and {next}");
                membership = next;
            }
        }
    }

    /// Whether no set of nodes decides in one while all others decide in the other.
    fn meet(one: &Membership, other: &Membership) -> bool {
        (0..1_u32 << 7).all(|set| {
            let says = |inside: bool| (0..7).map(|id| (NodeId(id), (set >> id & 1 == 1) == inside)).collect();
            one.decide(&says(true)) != Decision::Won || other.decide(&says(false)) != Decision::Won
        })
    }
}
