//! The one heap of things that will happen, ordered by time and then by when they were planned.
//! Knows nothing of what they are.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::observe::SimTime;

/// What happens next, and what time it is.
#[derive(Debug)]
pub struct Timeline<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    now: SimTime,
    /// Number of the next plan: equal times happen in the order of planning.
    next: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at: SimTime,
    number: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> Default for Timeline<E> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::with_capacity(1_024),
            now: SimTime::ZERO,
            next: 0,
        }
    }
}

impl<E> Timeline<E> {
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Plans an event. A time that has passed means now.
    pub fn plan(&mut self, at: SimTime, event: E) {
        let at = at.max(self.now);
        self.heap.push(Reverse(Planned {
            at,
            number: self.next,
            event,
        }));
        self.next += 1;
    }

    /// When the next event happens.
    pub fn next_at(&self) -> Option<SimTime> {
        self.heap.peek().map(|Reverse(p)| p.at)
    }

    /// Takes the next event; time is then its time.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(planned) = self.heap.pop()?;
        assert!(planned.at >= self.now, "time runs backwards");
        self.now = planned.at;
        Some(planned.event)
    }

    /// Lets time pass to a moment before the next event.
    pub fn advance(&mut self, to: SimTime) {
        assert!(
            self.next_at().is_none_or(|at| at >= to),
            "an event would be skipped"
        );
        self.now = self.now.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_keep_their_order() {
        let mut t = Timeline::default();
        t.plan(SimTime(5), 'b');
        t.plan(SimTime(3), 'a');
        t.plan(SimTime(5), 'c');
        assert_eq!(t.pop(), Some('a'));
        t.plan(SimTime(1), 'x');
        assert_eq!((t.pop(), t.now()), (Some('x'), SimTime(3)));
        assert_eq!((t.pop(), t.pop(), t.pop()), (Some('b'), Some('c'), None));
        assert_eq!(t.now(), SimTime(5));
    }
}
