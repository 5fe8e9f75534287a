//! Majorities.

use crate::limits::VOTERS;

/// How many of `voters` make a majority.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The highest value that a majority has reached. The same function decides commits (over log indexes) and reads
/// (over positions): both are "a majority says at least so much".
#[must_use]
pub fn reached_by_majority(values: impl Iterator<Item = u64>) -> u64 {
    reached_by(values, majority)
}

/// What one less than a majority has reached: for planted bugs.
#[must_use]
pub fn reached_by_one_less(values: impl Iterator<Item = u64>) -> u64 {
    reached_by(values, |voters| (majority(voters) - 1).max(1))
}

/// What the answers to a question decide so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decision {
    /// A majority can no longer agree.
    Lost,
    /// It depends on who has not answered.
    Pending,
    /// A majority agrees.
    Won,
}

impl Decision {
    /// Both must agree.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }
}

/// What these answers decide: one for each voter, `None` where there is none yet. Nobody is asked: it is won.
pub fn decide(answers: impl Iterator<Item = Option<bool>>) -> Decision {
    let (mut voters, mut agree, mut open) = (0, 0, 0);
    for answer in answers {
        voters += 1;
        agree += usize::from(answer == Some(true));
        open += usize::from(answer.is_none());
    }
    let needed = if voters == 0 { 0 } else { majority(voters) };
    match (agree >= needed, agree + open >= needed) {
        (true, _) => Decision::Won,
        (false, true) => Decision::Pending,
        (false, false) => Decision::Lost,
    }
}

/// The highest value that as many have reached as are needed. Decided with every answer, so without an allocation.
fn reached_by(values: impl Iterator<Item = u64>, needed: impl Fn(usize) -> usize) -> u64 {
    let mut all = [0; VOTERS];
    let mut count = 0;
    for (place, value) in all.iter_mut().zip(values) {
        *place = value;
        count += 1;
    }
    let all = &mut all[..count];
    all.sort_unstable_by(|left, right| right.cmp(left));
    if count == 0 { 0 } else { all[needed(count) - 1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
    }

    #[test]
    fn a_question_is_decided_as_soon_as_those_who_are_silent_cannot_change_it() {
        let decided = |answers: &[Option<bool>]| decide(answers.iter().copied());
        let (yes, no, silent) = (Some(true), Some(false), None);
        assert_eq!(decided(&[]), Decision::Won);
        assert_eq!(decided(&[yes]), Decision::Won);
        assert_eq!(decided(&[no]), Decision::Lost);
        assert_eq!(decided(&[yes, silent]), Decision::Pending);
        assert_eq!(decided(&[yes, no]), Decision::Lost);
        assert_eq!(decided(&[yes, yes, silent]), Decision::Won);
        assert_eq!(decided(&[no, yes, silent]), Decision::Pending);
        assert_eq!(decided(&[no, no, silent]), Decision::Lost);
        assert_eq!(decided(&[no, no, silent, silent]), Decision::Lost);
        assert_eq!(decided(&[yes, no, no, silent, silent]), Decision::Pending);
        assert_eq!(Decision::Won.and(Decision::Pending), Decision::Pending);
        assert_eq!(Decision::Lost.and(Decision::Pending), Decision::Lost);
    }

    #[test]
    fn the_value_is_the_one_that_a_majority_has_reached() {
        assert_eq!(reached_by_majority([].into_iter()), 0);
        assert_eq!(reached_by_majority([7].into_iter()), 7);
        assert_eq!(reached_by_majority([9, 3].into_iter()), 3);
        assert_eq!(reached_by_majority([9, 3, 5].into_iter()), 5);
        assert_eq!(reached_by_majority([9, 3, 5, 1].into_iter()), 3);
        assert_eq!(reached_by_majority([9, 3, 5, 1, 7].into_iter()), 5);
    }
}
