//! How a learner is brought to the leader's history: DIFF, TRUNC or SNAP (`LearnerHandler`'s
//! `syncFollower`). Pure: zxids in, a plan out.
//!
//! The on-disk log of the leader is not read back for this: what the window in memory does not
//! cover goes by snapshot.

use crate::ids::Zxid;
use crate::log::CommittedLog;

/// What the leader sends first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// The learner has a prefix of our history: send what comes after `from`.
    Diff { from: Zxid },
    /// The learner has more than, or something else than, our history: it drops all after `to`,
    /// then gets what comes after `to`.
    Trunc { to: Zxid },
    /// Send the whole state.
    Snap,
}

impl Plan {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Diff { .. } => "DIFF",
            Self::Trunc { .. } => "TRUNC",
            Self::Snap => "SNAP",
        }
    }
}

/// Chooses for a learner whose last transaction is `peer`; `applied` is our last committed one and
/// the end of `recent`, if that is not empty.
pub(super) fn choose(peer: Zxid, applied: Zxid, recent: &CommittedLog) -> Plan {
    let (min, max) = match (recent.min(), recent.max()) {
        (Some(min), Some(max)) => (min, max),
        _ => (applied, applied),
    };
    assert_eq!(max, applied, "the window ends where the state is");
    // A former leader of Java may report the start of its epoch, which is no transaction.
    let is_new_epoch = peer.counter() == 0 && peer != Zxid::ZERO;
    if peer == applied {
        return Plan::Diff { from: peer };
    }
    if peer > max {
        return if is_new_epoch {
            Plan::Snap
        } else {
            Plan::Trunc { to: max }
        };
    }
    if peer < min {
        return Plan::Snap;
    }
    let Some(before) = recent.last_not_after(peer) else {
        return Plan::Snap;
    };
    if before == peer {
        return Plan::Diff { from: peer };
    }
    if is_new_epoch {
        // Nothing of that epoch was ever logged there, so it holds all up to `before`.
        return Plan::Diff { from: before };
    }
    if before.epoch() != peer.epoch() {
        // Its last transaction is of an epoch that left no trace in our window: where it departed
        // from our history can not be told from here.
        return Plan::Snap;
    }
    Plan::Trunc { to: before }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::Epoch;
    use crate::log::LogEntry;

    fn z(epoch: i64, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn window(zxids: &[Zxid]) -> CommittedLog {
        let mut log = CommittedLog::default();
        for &zxid in zxids {
            log.push(LogEntry {
                zxid,
                record: Bytes::new(),
            });
        }
        log
    }

    #[test]
    fn a_prefix_of_our_history_is_extended() {
        let log = window(&[z(1, 5), z(1, 6), z(2, 1), z(2, 2)]);
        assert_eq!(choose(z(2, 2), z(2, 2), &log), Plan::Diff { from: z(2, 2) });
        assert_eq!(choose(z(1, 6), z(2, 2), &log), Plan::Diff { from: z(1, 6) });
        assert_eq!(choose(z(1, 5), z(2, 2), &log), Plan::Diff { from: z(1, 5) });
    }

    #[test]
    fn what_we_never_committed_is_cut() {
        let log = window(&[z(1, 5), z(1, 6), z(2, 1), z(2, 2)]);
        assert_eq!(choose(z(2, 3), z(2, 2), &log), Plan::Trunc { to: z(2, 2) });
        assert_eq!(choose(z(1, 9), z(2, 2), &log), Plan::Trunc { to: z(1, 6) });
    }

    #[test]
    fn what_the_window_does_not_cover_goes_by_snapshot() {
        let log = window(&[z(1, 5), z(3, 1)]);
        assert_eq!(choose(z(1, 4), z(3, 1), &log), Plan::Snap);
        assert_eq!(choose(z(2, 4), z(3, 1), &log), Plan::Snap);
        assert_eq!(choose(Zxid::ZERO, z(3, 1), &log), Plan::Snap);
        assert_eq!(
            choose(z(1, 4), z(1, 9), &CommittedLog::default()),
            Plan::Snap
        );
    }

    #[test]
    fn the_start_of_an_epoch_is_no_transaction() {
        let log = window(&[z(1, 5), z(3, 1)]);
        assert_eq!(choose(z(2, 0), z(3, 1), &log), Plan::Diff { from: z(1, 5) });
        assert_eq!(choose(z(4, 0), z(3, 1), &log), Plan::Snap);
    }

    #[test]
    fn an_empty_ensemble_has_nothing_to_send() {
        let log = CommittedLog::default();
        assert_eq!(
            choose(Zxid::ZERO, Zxid::ZERO, &log),
            Plan::Diff { from: Zxid::ZERO }
        );
        assert_eq!(
            choose(z(1, 1), Zxid::ZERO, &log),
            Plan::Trunc { to: Zxid::ZERO }
        );
    }
}
