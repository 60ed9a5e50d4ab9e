//! One connection: two ends and the two directions between them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Machine, Port, Side};
use crate::observe::SimTime;

/// What an end is to its own machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EndState {
    /// Dialled, no answer yet; or, at the accepting end, not heard of yet.
    Opening,
    Open,
    Closed,
}

#[derive(Debug)]
pub(super) enum Unit {
    Bytes(Bytes),
    /// The sender's end was closed.
    End,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) due: SimTime,
    unit: Unit,
}

/// What flies one way.
#[derive(Debug, Default)]
pub(super) struct Dir {
    queue: VecDeque<Segment>,
    /// No segment may be due before this.
    last_due: SimTime,
    /// A flow event is planned for the head.
    pub(super) planned: bool,
    /// The head was due but packets do not get through.
    pub(super) waiting: bool,
    /// Since when the sender waits for an acknowledgement.
    pub(super) unanswered: Option<SimTime>,
    /// The connection was reset: nothing more goes in.
    pub(super) broken: bool,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) port: Port,
    machines: [Machine; 2],
    states: [EndState; 2],
    /// By the side that sends.
    dirs: [Dir; 2],
}

const fn index(side: Side) -> usize {
    match side {
        Side::Dialer => 0,
        Side::Acceptor => 1,
    }
}

impl Pipe {
    pub(super) fn new(port: Port, from: Machine, to: Machine) -> Self {
        Self {
            port,
            machines: [from, to],
            states: [EndState::Opening; 2],
            dirs: [Dir::default(), Dir::default()],
        }
    }

    pub(super) fn machine(&self, side: Side) -> Machine {
        self.machines[index(side)]
    }

    pub(super) fn side_of(&self, who: Machine) -> Option<Side> {
        Side::BOTH
            .into_iter()
            .find(|side| self.machine(*side) == who)
    }

    pub(super) fn state(&self, side: Side) -> EndState {
        self.states[index(side)]
    }

    pub(super) fn set_state(&mut self, side: Side, state: EndState) {
        assert!(
            self.state(side) != EndState::Closed,
            "a closed end stays closed"
        );
        assert!(state != EndState::Opening, "no end opens twice");
        self.states[index(side)] = state;
    }

    pub(super) fn dir(&self, side: Side) -> &Dir {
        &self.dirs[index(side)]
    }

    pub(super) fn dir_mut(&mut self, side: Side) -> &mut Dir {
        &mut self.dirs[index(side)]
    }

    /// Nobody holds an end any more. What still flies towards a closed end tells nobody anything.
    pub(super) fn is_over(&self) -> bool {
        let gone = |side| match self.state(side) {
            EndState::Closed => true,
            // Never accepted, and nobody waits for the answer.
            EndState::Opening => side == Side::Acceptor,
            EndState::Open => false,
        };
        gone(Side::Dialer) && gone(Side::Acceptor)
    }
}

impl Dir {
    /// Adds a segment behind the others; returns when it is due.
    pub(super) fn push(&mut self, due: SimTime, unit: Unit) -> SimTime {
        self.not_before(due);
        self.queue.push_back(Segment {
            due: self.last_due,
            unit,
        });
        self.last_due
    }

    /// Nothing pushed from now on is due earlier.
    pub(super) fn not_before(&mut self, due: SimTime) {
        self.last_due = self.last_due.max(due);
    }

    pub(super) fn head(&self) -> Option<&Segment> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) -> Unit {
        self.queue.pop_front().expect("the head was looked at").unit
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    pub(super) fn bytes(&self) -> usize {
        let len = |s: &Segment| match &s.unit {
            Unit::Bytes(b) => b.len(),
            Unit::End => 0,
        };
        self.queue.iter().map(len).sum()
    }

    /// Drops everything after the first `keep` bytes.
    pub(super) fn cut_to(&mut self, mut keep: usize) {
        let mut whole = 0;
        for segment in &mut self.queue {
            let Unit::Bytes(bytes) = &mut segment.unit else {
                break;
            };
            if bytes.len() > keep {
                bytes.truncate(keep);
                whole += usize::from(keep > 0);
                break;
            }
            keep -= bytes.len();
            whole += 1;
        }
        self.queue.truncate(whole);
    }
}
