//! Who votes, and how many are enough: strictly more than half (ZooKeeper's `QuorumMaj`).

use alloc::collections::BTreeSet;

use crate::config::{Config, LearnerType};
use crate::ids::ServerId;
use crate::mutants::{Mutant, Mutants};

/// The voting members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Voters {
    ids: BTreeSet<ServerId>,
    mutants: Mutants,
}

impl Voters {
    pub(crate) fn of(config: &Config) -> Self {
        let participants = config
            .members
            .iter()
            .filter(|(_, m)| m.kind == LearnerType::Participant);
        Self {
            ids: participants.map(|(id, _)| *id).collect(),
            mutants: config.mutants,
        }
    }

    /// A server that stands alone is its own quorum.
    pub(crate) fn alone(me: ServerId) -> Self {
        Self {
            ids: BTreeSet::from([me]),
            mutants: Mutants::NONE,
        }
    }

    pub(crate) fn contains(&self, id: ServerId) -> bool {
        self.ids.contains(&id) || self.mutants.has(Mutant::ObserverCounts)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.ids.iter().copied()
    }

    /// Are these servers a majority? Servers without a vote do not count.
    pub(crate) fn is_quorum(&self, of: &BTreeSet<ServerId>) -> bool {
        let votes = of.iter().filter(|id| self.contains(**id)).count();
        if self.mutants.has(Mutant::QuorumOfHalf) {
            return 2 * votes >= self.ids.len();
        }
        2 * votes > self.ids.len()
    }

    /// Does every voter agree?
    pub(crate) fn is_everyone(&self, of: &BTreeSet<ServerId>) -> bool {
        self.ids.is_subset(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(n: i64) -> Voters {
        Voters {
            ids: (1..=n).map(ServerId).collect(),
            mutants: Mutants::NONE,
        }
    }

    fn set(ids: &[i64]) -> BTreeSet<ServerId> {
        ids.iter().copied().map(ServerId).collect()
    }

    #[test]
    fn a_quorum_is_more_than_half() {
        assert!(!voters(3).is_quorum(&set(&[1])));
        assert!(voters(3).is_quorum(&set(&[1, 3])));
        assert!(!voters(4).is_quorum(&set(&[1, 2])));
        assert!(voters(5).is_quorum(&set(&[1, 2, 5])));
    }

    #[test]
    fn strangers_and_observers_do_not_count() {
        assert!(!voters(3).is_quorum(&set(&[1, 7, 8])));
    }
}
