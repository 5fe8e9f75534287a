//! What happens next: events by time, and those of one time in the order in which they were put in.

use std::{cmp::Ordering, collections::BinaryHeap};

struct Item<E> {
    time: u64,
    tie: u64,
    cause: u32,
    event: E,
}

impl<E> PartialEq for Item<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<E> Eq for Item<E> {}
impl<E> PartialOrd for Item<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Item<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives out its greatest first.
        (other.time, other.tie).cmp(&(self.time, self.tie))
    }
}

/// The cause of what nobody recorded.
pub const UNCAUSED: u32 = u32::MAX;

/// Events to come.
pub struct Queue<E> {
    heap: BinaryHeap<Item<E>>,
    tie: u64,
    cause: u32,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), tie: 0, cause: UNCAUSED }
    }
}

impl<E> Queue<E> {
    /// Puts an event in, at a time in nanoseconds.
    pub fn push(&mut self, time: u64, event: E) {
        self.tie += 1;
        self.heap.push(Item { time, tie: self.tie, cause: self.cause, event });
    }

    /// The next event with its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|item| (item.time, item.event))
    }

    /// What is put in from here on carries this cause: for recorders, it changes no order.
    pub fn set_cause(&mut self, cause: u32) {
        self.cause = cause;
    }

    /// The next event with its time and its cause. What is put in from here on carries the same cause.
    pub fn pop_caused(&mut self) -> Option<(u64, u32, E)> {
        let item = self.heap.pop()?;
        self.cause = item.cause;
        Some((item.time, item.cause, item.event))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_put_in() {
        let mut queue = Queue::default();
        for (time, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b'), (5, 'e')] {
            queue.push(time, event);
        }
        let order: String = core::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, "abcde");
    }

    #[test]
    fn a_cause_is_handed_on_until_another_is_set() {
        let mut queue = Queue::default();
        queue.push(1, 'a');
        queue.set_cause(7);
        queue.push(2, 'b');
        assert_eq!(queue.pop_caused(), Some((1, UNCAUSED, 'a')));
        queue.push(3, 'c');
        assert_eq!(queue.pop_caused(), Some((2, 7, 'b')));
        queue.push(4, 'd');
        let causes: Vec<u32> = core::iter::from_fn(|| queue.pop_caused()).map(|item| item.1).collect();
        assert_eq!(causes, [UNCAUSED, 7]);
    }
}
