//! Votes and their order (ZooKeeper's `Vote` and `FastLeaderElection.totalOrderPredicate`).

use crate::ids::{Epoch, ServerId, Zxid};
use crate::wire::election::PeerState;

/// A proposal for leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vote {
    pub(crate) leader: ServerId,
    /// Last transaction of the proposed leader.
    pub(crate) zxid: Zxid,
    /// The voter's logical clock when it cast this vote (`electionEpoch`).
    pub(crate) round: i64,
    /// Epoch of the proposed leader.
    pub(crate) peer_epoch: Epoch,
}

impl Vote {
    /// The vote of a server that has none: beaten by every other.
    pub(crate) const fn none() -> Self {
        Self {
            leader: ServerId(i64::MIN),
            zxid: Zxid(i64::MIN),
            round: 0,
            peer_epoch: Epoch(i64::MIN),
        }
    }

    /// Is this candidate better? Newer epoch, then longer history, then larger id.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        (self.peer_epoch, self.zxid, self.leader) > (other.peer_epoch, other.zxid, other.leader)
    }

    /// Do two votes count together? Among servers that have settled, zxid and round may differ
    /// (ZOOKEEPER-1732, 1805): each joined the leader in a round of its own.
    pub(super) fn agrees(&self, mine: PeerState, other: &Self, theirs: PeerState) -> bool {
        let settled = mine != PeerState::Looking && theirs != PeerState::Looking;
        let candidate = self.leader == other.leader && self.peer_epoch == other.peer_epoch;
        candidate && (settled || (self.zxid == other.zxid && self.round == other.round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(leader: i64, zxid: i64, round: i64, epoch: i64) -> Vote {
        Vote {
            leader: ServerId(leader),
            zxid: Zxid(zxid),
            round,
            peer_epoch: Epoch(epoch),
        }
    }

    #[test]
    fn epoch_then_zxid_then_id() {
        assert!(vote(1, 1, 0, 2).beats(&vote(3, 9, 0, 1)));
        assert!(vote(1, 9, 0, 1).beats(&vote(3, 8, 0, 1)));
        assert!(vote(3, 9, 0, 1).beats(&vote(1, 9, 0, 1)));
        assert!(!vote(1, 9, 5, 1).beats(&vote(1, 9, 0, 1)));
        assert!(vote(1, 0, 0, 0).beats(&Vote::none()));
    }

    #[test]
    fn settled_votes_agree_across_rounds() {
        use PeerState::{Following, Leading, Looking};
        let (a, b) = (vote(3, 5, 1, 2), vote(3, 7, 4, 2));
        assert!(a.agrees(Leading, &b, Following));
        assert!(!a.agrees(Looking, &b, Following));
        assert!(!a.agrees(Leading, &vote(3, 5, 1, 1), Following));
    }
}
