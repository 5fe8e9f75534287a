//! Linearizability of one register, by search: Wing and Gong's algorithm with Lowe's memory of states already tried
//! ("Testing for linearizability", Concurrency and Computation 29(4), 2017). The second opinion behind the log as witness.

use std::collections::HashSet;

/// What an operation does to the register, and what it said. Values are numbers; `None` = no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set it.
    Write(u64),
    /// It was this.
    Read(Option<u64>),
    /// Make it absent. `was` says whether there was something; `None` = the answer is not known.
    Delete {
        /// As answered.
        was: Option<bool>,
    },
    /// Set it if it is as expected. `done`: as answered; `None` = not known.
    CompareAndSet {
        /// What must be there.
        expected: Option<u64>,
        /// What to set.
        new: u64,
        /// As answered.
        done: Option<bool>,
    },
}

/// One operation with the times of its call and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was asked.
    pub call: u64,
    /// When it was answered; `u64::MAX` = never: it may take effect at any time after its call.
    pub answer: u64,
    /// What it did.
    pub action: Action,
}

/// What the search says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none. The number of operations that the best attempt explained.
    Violation(usize),
    /// The budget was used up.
    Unknown,
}

impl Action {
    /// The register after it; `None` if the answer contradicts the register.
    #[must_use]
    pub fn step(self, register: Option<u64>) -> Option<Option<u64>> {
        match self {
            Self::Write(value) => Some(Some(value)),
            Self::Read(seen) => (seen == register).then_some(register),
            Self::Delete { was } => was.is_none_or(|was| was == register.is_some()).then_some(None),
            Self::CompareAndSet { expected, new, done } => {
                let matches = expected == register;
                done.is_none_or(|done| done == matches).then_some(if matches { Some(new) } else { register })
            }
        }
    }
}

/// The events of a history as a doubly linked list: calls and answers in order of time.
struct List {
    next: Vec<usize>,
    back: Vec<usize>,
    /// (operation, whether this is its answer)
    event: Vec<(usize, bool)>,
    answer_of: Vec<usize>,
}

const HEAD: usize = 0;

impl List {
    fn new(operations: &[Operation]) -> Self {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(operations.len() * 2);
        for (number, operation) in operations.iter().enumerate() {
            events.push((operation.call, false, number));
            events.push((operation.answer, true, number));
        }
        // A call at the time of an answer overlaps it: calls first.
        events.sort_unstable();
        let count = events.len();
        let mut answer_of = vec![0; operations.len()];
        let mut event = vec![(usize::MAX, false)];
        for (place, &(_, answer, number)) in events.iter().enumerate() {
            event.push((number, answer));
            if answer {
                answer_of[number] = place + 1;
            }
        }
        let next = (0..=count).map(|place| if place == count { usize::MAX } else { place + 1 }).collect();
        let back = (0..=count).map(|place| place.wrapping_sub(1)).collect();
        Self { next, back, event, answer_of }
    }

    fn unlink(&mut self, place: usize) {
        let (back, next) = (self.back[place], self.next[place]);
        self.next[back] = next;
        if next != usize::MAX {
            self.back[next] = back;
        }
    }

    fn relink(&mut self, place: usize) {
        let (back, next) = (self.back[place], self.next[place]);
        self.next[back] = place;
        if next != usize::MAX {
            self.back[next] = place;
        }
    }
}

/// Searches for an order of the operations on one register, absent at first, within a budget of steps.
#[must_use]
pub fn check(operations: &[Operation], budget: u64) -> Verdict {
    let mut list = List::new(operations);
    let mut done = vec![0_u64; operations.len().div_ceil(64)];
    let mut seen: HashSet<(Box<[u64]>, Option<u64>)> = HashSet::new();
    let mut stack: Vec<(usize, Option<u64>)> = Vec::new();
    let mut register = None;
    let mut at = list.next[HEAD];
    let mut best = 0;
    // Operations that were never answered need not be in the order.
    let mut answered = operations.iter().filter(|operation| operation.answer != u64::MAX).count();
    for _ in 0..budget {
        if answered == 0 {
            return Verdict::Linearizable;
        }
        let (number, is_answer) = list.event[at];
        if !is_answer {
            if let Some(after) = operations[number].action.step(register) {
                done[number / 64] |= 1 << (number % 64);
                if seen.insert((done.clone().into_boxed_slice(), after)) {
                    stack.push((at, register));
                    best = best.max(stack.len());
                    answered -= usize::from(operations[number].answer != u64::MAX);
                    register = after;
                    list.unlink(at);
                    list.unlink(list.answer_of[number]);
                    at = list.next[HEAD];
                    continue;
                }
                done[number / 64] &= !(1 << (number % 64));
            }
            at = list.next[at];
            continue;
        }
        // An answer with no explanation so far: take the last choice back.
        let Some((place, before)) = stack.pop() else { return Verdict::Violation(best) };
        let (number, _) = list.event[place];
        register = before;
        done[number / 64] &= !(1 << (number % 64));
        answered += usize::from(operations[number].answer != u64::MAX);
        list.relink(list.answer_of[number]);
        list.relink(place);
        at = list.next[place];
    }
    Verdict::Unknown
}

/// Whether the operations, in this order, explain every answer and keep to real time: the check with a witness.
///
/// # Errors
/// The place of the first operation that does not fit.
pub fn witness(operations: &[Operation]) -> Result<(), usize> {
    let mut register = None;
    let mut latest_call = 0;
    for (place, operation) in operations.iter().enumerate() {
        // It comes after one that was asked only when it had been answered already.
        if operation.answer < latest_call {
            return Err(place);
        }
        latest_call = latest_call.max(operation.call);
        register = operation.action.step(register).ok_or(place)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUDGET: u64 = 1_000_000;

    fn op(call: u64, answer: u64, action: Action) -> Operation {
        Operation { call, answer, action }
    }

    #[test]
    fn valid_histories_pass() {
        use Action::{CompareAndSet, Delete, Read, Write};
        let histories: [&[Operation]; 5] = [
            &[],
            &[op(0, 1, Read(None)), op(2, 3, Write(1)), op(4, 5, Read(Some(1)))],
            // A read beside a write may see either; two reads must agree on the order.
            &[op(0, 10, Write(1)), op(1, 2, Read(None)), op(3, 4, Read(Some(1)))],
            &[
                op(0, 1, Write(1)),
                op(2, 3, CompareAndSet { expected: Some(1), new: 2, done: Some(true) }),
                op(4, 5, CompareAndSet { expected: Some(1), new: 3, done: Some(false) }),
                op(6, 7, Delete { was: Some(true) }),
                op(8, 9, Delete { was: Some(false) }),
            ],
            // Never answered, and yet it explains what was read.
            &[op(0, u64::MAX, Write(7)), op(5, 6, Read(Some(7)))],
        ];
        for history in histories {
            assert_eq!(check(history, BUDGET), Verdict::Linearizable, "{history:?}");
        }
    }

    #[test]
    fn violating_histories_are_found() {
        use Action::{CompareAndSet, Delete, Read, Write};
        let histories: [&[Operation]; 6] = [
            // A stale read.
            &[op(0, 1, Write(1)), op(2, 3, Write(2)), op(4, 5, Read(Some(1)))],
            // A value from nowhere.
            &[op(0, 1, Read(Some(9)))],
            // New, then old again.
            &[op(0, 10, Write(1)), op(1, 2, Read(Some(1))), op(3, 4, Read(None))],
            // Both win.
            &[
                op(0, 5, CompareAndSet { expected: None, new: 1, done: Some(true) }),
                op(1, 6, CompareAndSet { expected: None, new: 2, done: Some(true) }),
            ],
            // Answered, and lost.
            &[op(0, 1, Write(1)), op(2, 3, Read(None))],
            &[op(0, 1, Write(1)), op(2, 3, Delete { was: Some(false) })],
        ];
        for history in histories {
            assert!(matches!(check(history, BUDGET), Verdict::Violation(_)), "{history:?}");
        }
    }

    #[test]
    fn a_used_up_budget_is_said() {
        let history: Vec<_> = (0..20).map(|n| op(0, 100, Action::Write(n))).collect();
        assert_eq!(check(&history, 3), Verdict::Unknown);
    }

    fn action() -> impl Strategy<Value = Action> {
        let value = || prop_oneof![Just(None), (1_u64..4).prop_map(Some)];
        prop_oneof![
            (1_u64..4).prop_map(Action::Write),
            value().prop_map(Action::Read),
            any::<bool>().prop_map(|was| Action::Delete { was: Some(was) }),
            (value(), 1_u64..4, any::<bool>()).prop_map(|(expected, new, done)| Action::CompareAndSet {
                expected,
                new,
                done: Some(done)
            }),
        ]
    }

    fn history(most: usize) -> impl Strategy<Value = Vec<Operation>> {
        proptest::collection::vec(
            (0_u64..12, 0_u64..8, action())
                .prop_map(|(call, length, action)| op(call, call + length, action)),
            0..most,
        )
    }

    /// Every order is tried: the definition, word for word.
    fn some_order_fits(rest: &[Operation], chosen: &mut Vec<Operation>) -> bool {
        if rest.is_empty() {
            return witness(chosen).is_ok();
        }
        (0..rest.len()).any(|pick| {
            let mut left = rest.to_vec();
            chosen.push(left.remove(pick));
            let fits = witness(chosen).is_ok() && some_order_fits(&left, chosen);
            chosen.pop();
            fits
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn the_search_agrees_with_trying_every_witness(history in history(7)) {
            let fits = some_order_fits(&history, &mut Vec::new());
            prop_assert_eq!(check(&history, BUDGET) == Verdict::Linearizable, fits);
        }

        #[test]
        fn a_history_made_from_an_order_passes_both(actions in proptest::collection::vec((action(), 0_u64..30, 0_u64..30), 0..60)) {
            // Each takes effect at its own instant; its answer is made to fit.
            let mut register = None;
            let mut made = Vec::new();
            for (place, (action, before, after)) in actions.into_iter().enumerate() {
                let action = match action {
                    Action::Read(_) => Action::Read(register),
                    Action::Delete { .. } => Action::Delete { was: Some(register.is_some()) },
                    Action::CompareAndSet { expected, new, .. } =>
                        Action::CompareAndSet { expected, new, done: Some(expected == register) },
                    Action::Write(value) => Action::Write(value),
                };
                let instant = place as u64 * 10 + 100;
                register = action.step(register).expect("made to fit");
                made.push(op(instant - before, instant + after, action));
            }
            prop_assert_eq!(witness(&made), Ok(()));
            prop_assert_eq!(check(&made, BUDGET), Verdict::Linearizable);
        }
    }
}
