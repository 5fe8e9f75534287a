//! What happens next: events by time, and those of one time in the order in which they were put in.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The cause of what nobody recorded.
pub const UNCAUSED: u32 = u32::MAX;

/// Orders the events: by time, then as they were put in. Small, because a heap moves its items about.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    time: u64,
    tie: u64,
    slot: u32,
    cause: u32,
}

/// Events to come.
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Key>>,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
    tie: u64,
    cause: u32,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), tie: 0, cause: UNCAUSED }
    }
}

impl<E> Queue<E> {
    /// Puts an event in, at a time in nanoseconds.
    pub fn push(&mut self, time: u64, event: E) {
        self.tie += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 events wait")
        });
        self.slots[slot as usize] = Some(event);
        self.heap.push(Reverse(Key { time, tie: self.tie, slot, cause: self.cause }));
    }

    /// The next event with its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.take().map(|(key, event)| (key.time, event))
    }

    /// What is put in from here on carries this cause: for recorders, it changes no order.
    pub fn set_cause(&mut self, cause: u32) {
        self.cause = cause;
    }

    /// The next event with its time and its cause. What is put in from here on carries the same cause.
    pub fn pop_caused(&mut self) -> Option<(u64, u32, E)> {
        let (key, event) = self.take()?;
        self.cause = key.cause;
        Some((key.time, key.cause, event))
    }

    fn take(&mut self) -> Option<(Key, E)> {
        let Reverse(key) = self.heap.pop()?;
        let event = self.slots[key.slot as usize].take()?;
        self.free.push(key.slot);
        Some((key, event))
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
