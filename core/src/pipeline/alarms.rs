//! When to look whether a connection is idle. One entry per connection, moved only when it is due:
//! traffic does not touch it.

use alloc::collections::BTreeSet;

use crate::ids::ConnId;
use crate::time::Instant;

#[derive(Default, Debug)]
pub(super) struct Alarms {
    entries: BTreeSet<(Instant, ConnId)>,
}

impl Alarms {
    pub(super) fn set(&mut self, due: Instant, conn: ConnId) {
        self.entries.insert((due, conn));
    }

    pub(super) fn cancel(&mut self, due: Instant, conn: ConnId) {
        assert!(
            self.entries.remove(&(due, conn)),
            "{conn:?} has no alarm at {due:?}"
        );
    }

    /// Removes and returns the first entry that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        let &(due, conn) = self.entries.first()?;
        if due > now {
            return None;
        }
        self.entries.pop_first();
        Some(conn)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|&(due, _)| due)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
