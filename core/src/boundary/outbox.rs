//! The ordered list of effects and the arena that their bytes live in.

use alloc::vec::Vec;

use super::action::Action;
use crate::ids::ConnId;

/// Bytes in an [`Outbox`]'s arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// What one turn leaves for the driver. Owned by the driver, swapped with the machine's filled one
/// at each flush, so a turn allocates nothing once both have grown.
#[derive(Default, Debug)]
pub struct Outbox {
    actions: Vec<Action>,
    arena: Vec<u8>,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The effects, in order.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    pub fn bytes(&self, span: Span) -> &[u8] {
        &self.arena[span.start as usize..span.end as usize]
    }

    /// The driver has carried everything out.
    pub fn clear(&mut self) {
        self.actions.clear();
        self.arena.clear();
    }

    /// For the machine, and for what stands in for it in a driver's tests.
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Bytes in the arena: what was written in this turn.
    pub(crate) fn len(&self) -> usize {
        self.arena.len()
    }

    /// Writes bytes for a client. Those that follow each other are one action.
    pub(crate) fn reply(&mut self, conn: ConnId, fill: impl FnOnce(&mut Vec<u8>)) {
        let span = self.write(fill);
        match self.actions.last_mut() {
            Some(Action::Reply { conn: last, bytes })
                if *last == conn && bytes.end == span.start =>
            {
                bytes.end = span.end;
            }
            _ => self.actions.push(Action::Reply { conn, bytes: span }),
        }
    }

    /// Writes bytes into the arena and tells where they are. For whoever may `push`.
    pub fn write(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.arena.len();
        fill(&mut self.arena);
        assert!(
            self.arena.len() <= u32::MAX as usize,
            "arena of one turn over 4 GiB"
        );
        Span {
            start: start as u32,
            end: self.arena.len() as u32,
        }
    }
}
