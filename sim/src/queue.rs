//! What happens next: events by time, and those of one time in the order in which they were put in.

use std::{cmp::Ordering, collections::BinaryHeap};

struct Item<E> {
    time: u64,
    tie: u64,
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

/// Events to come.
pub struct Queue<E> {
    heap: BinaryHeap<Item<E>>,
    tie: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), tie: 0 }
    }
}

impl<E> Queue<E> {
    /// Puts an event in, at a time in nanoseconds.
    pub fn push(&mut self, time: u64, event: E) {
        self.tie += 1;
        self.heap.push(Item { time, tie: self.tie, event });
    }

    /// The next event with its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|item| (item.time, item.event))
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
}
