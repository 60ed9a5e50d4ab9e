//! Durability as a type.
//!
//! Everything that claims "this is on stable storage" towards another server, or towards a
//! leader's own count, is built from a [`Persisted`], and only [`Ledger::settle`] makes one. So an
//! acknowledgement before its sync is not a bug that review has to find: it does not compile.
//!
//! All writes of a node are one FIFO with numbers that are never reused. A settled epoch therefore
//! implies every log record written before it: the order that ZooKeeper had to repair in
//! ZOOKEEPER-3911, 4643, 4646 and 4785. Completions name a [`WriteSeq`], never a zxid, so a late
//! completion of a truncated record proves nothing.

use alloc::collections::VecDeque;

use crate::ids::{Epoch, WriteSeq, Zxid};
use crate::time::Instant;

/// Evidence that `T` is on stable storage.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Persisted<T>(T);

impl<T: Copy> Persisted<T> {
    pub(crate) fn get(self) -> T {
        self.0
    }

    /// The bug that this module exists to prevent, for the simulator's mutants only.
    #[cfg(feature = "mutants")]
    pub(crate) fn forged(claim: T) -> Self {
        Self(claim)
    }

    /// Without the feature nobody can forge.
    #[cfg(not(feature = "mutants"))]
    pub(crate) fn forged(_claim: T) -> Self {
        unreachable!("no mutant is on in this build")
    }
}

/// A transaction is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Logged(pub(crate) Zxid);

/// The promise not to follow an older epoch is in `acceptedEpoch`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Accepted(pub(crate) Epoch);

/// The epoch whose initial history this server holds is in `currentEpoch`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Current(pub(crate) Epoch);

/// What a write will prove once it is stable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Logged(Logged),
    Accepted(Accepted),
    Current(Current),
    /// Proves nothing by itself (pieces of a snapshot, a truncation).
    Nothing,
}

/// What a stable write proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    Logged(Persisted<Logged>),
    Accepted(Persisted<Accepted>),
    Current(Persisted<Current>),
    Nothing,
}

/// The node's account of its disk queue.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Last write handed to the driver.
    issued: WriteSeq,
    /// Last write known to be stable; never after `issued`.
    settled: WriteSeq,
    /// One for each write after `settled`, in order.
    marks: VecDeque<Unsettled>,
    /// Sum over `marks`.
    bytes: usize,
}

/// A write on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct Unsettled {
    mark: Mark,
    since: Instant,
    bytes: usize,
}

impl Ledger {
    /// Numbers a write of so many bytes at the moment it enters the outbox.
    pub(crate) fn issue(&mut self, mark: Mark, since: Instant, bytes: usize) -> WriteSeq {
        self.issued = WriteSeq(self.issued.0 + 1);
        self.bytes += bytes;
        self.marks.push_back(Unsettled { mark, since, bytes });
        assert_eq!(self.marks.len() as u64, self.issued.0 - self.settled.0);
        self.issued
    }

    pub(crate) fn issued(&self) -> WriteSeq {
        self.issued
    }

    /// When the oldest write that is not stable was issued.
    pub(crate) fn waiting_since(&self) -> Option<Instant> {
        self.marks.front().map(|oldest| oldest.since)
    }

    /// Bytes of all that is not stable.
    pub(crate) fn unsettled_bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest write that is not known to be stable has become so, if it is not after `upto`.
    pub(crate) fn settle(&mut self, upto: WriteSeq) -> Option<(WriteSeq, Settled)> {
        assert!(
            upto <= self.issued,
            "the driver reports a write that was never issued"
        );
        if self.settled >= upto {
            return None;
        }
        self.settled = WriteSeq(self.settled.0 + 1);
        let Unsettled { mark, bytes, .. } = self
            .marks
            .pop_front()
            .expect("one mark for each unsettled write");
        self.bytes -= bytes;
        let settled = match mark {
            Mark::Logged(claim) => Settled::Logged(Persisted(claim)),
            Mark::Accepted(claim) => Settled::Accepted(Persisted(claim)),
            Mark::Current(claim) => Settled::Current(Persisted(claim)),
            Mark::Nothing => Settled::Nothing,
        };
        Some((self.settled, settled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_in_order_and_only_what_was_issued() {
        let mut ledger = Ledger::default();
        let a = ledger.issue(Mark::Logged(Logged(Zxid(1))), Instant(5), 7);
        let b = ledger.issue(Mark::Current(Current(Epoch(1))), Instant(6), 3);
        assert_eq!(ledger.settle(WriteSeq(0)), None);
        assert_eq!(ledger.waiting_since(), Some(Instant(5)));
        assert_eq!(ledger.unsettled_bytes(), 10);
        assert_eq!(
            ledger.settle(b),
            Some((a, Settled::Logged(Persisted(Logged(Zxid(1))))))
        );
        assert_eq!(
            ledger.settle(b),
            Some((b, Settled::Current(Persisted(Current(Epoch(1))))))
        );
        assert_eq!(ledger.settle(b), None);
        assert_eq!(
            (ledger.waiting_since(), ledger.unsettled_bytes()),
            (None, 0)
        );
    }

    #[test]
    #[should_panic(expected = "never issued")]
    fn a_lying_driver_is_caught() {
        let mut ledger = Ledger::default();
        let _ = ledger.settle(WriteSeq(1));
    }
}
