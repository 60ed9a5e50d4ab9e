//! The atlas: which loss an ensemble has to stand. It is no rule of its own; it says to the other
//! rules what a disk may have lost, and to the world whether a loss that nobody can see may happen.
//!
//! A voter's disk holds what was committed with its help and what it has promised. The ensemble has
//! to stand that the disk loses all of it as soon as nothing depends on it any more: when a
//! majority without it is established in one epoch e, so that it holds all that was committed
//! before e; when all that the disk reported as stable in e lies on a majority without it; and when
//! it has promised nothing beyond e, or nobody is left to whom it could have: a promise counts for
//! the process that asked for it, and all other voters are established in e. Then every later
//! quorum meets somebody who knows. With n voters at most n - (n / 2 + 1) can be in that state at
//! once. An observer's disk is nothing that anybody depends on.
//!
//! What is beyond that: damage that the storage code sees keeps the server from starting, however
//! many there are, and the ensemble stops rather than serve without them. Damage that no check of
//! the files can see (a sync that lied, a changed digit in an epoch file, rot in the last batch
//! together with a loss of power) can not be told from health by anybody; no ensemble stands it,
//! and the world lets it happen only within the bounds above.

use vivarium_core::ids::{Epoch, ServerId, Zxid};

use super::durability::Durability;
use crate::observe::Setup;

/// Another server at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Other {
    pub id: ServerId,
    /// In which it serves, if it does.
    pub epoch: Option<Epoch>,
}

/// Whether server `me`, which has reported transactions up to `last` and the promise of `accepted`,
/// may come back without them.
pub fn may_forget(
    setup: &Setup,
    platters: &Durability,
    me: ServerId,
    last: Zxid,
    accepted: Epoch,
    others: &[Other],
) -> bool {
    if !setup.voters.contains(&me) {
        return true;
    }
    let voters = || {
        others
            .iter()
            .filter(|other| setup.voters.contains(&other.id))
    };
    let Some(epoch) = voters().filter_map(|other| other.epoch).max() else {
        return false;
    };
    let established = voters().filter(|other| other.epoch == Some(epoch)).count();
    let holders = voters().filter(|other| platters.holds(other.id, last));
    established >= setup.majority()
        && (accepted <= epoch || established + 1 == setup.voters.len())
        && (last.epoch() < epoch || holders.count() >= setup.majority())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::setup;

    const ME: ServerId = ServerId(1);

    fn z(epoch: i64, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn serving(epochs: &[(i64, i64)]) -> Vec<Other> {
        let other = |(id, epoch): &(i64, i64)| Other {
            id: ServerId(*id),
            epoch: (*epoch > 0).then_some(Epoch(*epoch)),
        };
        epochs.iter().map(other).collect()
    }

    #[test]
    fn a_majority_without_it_must_be_established_and_hold_all() {
        let mut platters = Durability::default();
        let others = serving(&[(2, 3), (3, 3)]);
        let ask = |platters: &Durability, last, accepted, others: &[Other]| {
            may_forget(&setup(3), platters, ME, last, Epoch(accepted), others)
        };
        assert!(ask(&platters, z(2, 9), 3, &others));
        let three = serving(&[(2, 3), (3, 3), (4, 3), (5, 0)]);
        let of_five = |accepted| {
            let setup = setup(5);
            may_forget(&setup, &platters, ME, z(2, 9), Epoch(accepted), &three)
        };
        assert!(of_five(3));
        assert!(!of_five(4), "it has promised more, perhaps to the fifth");
        assert!(ask(&platters, z(2, 9), 4, &others), "to whom?");
        assert!(!ask(&platters, z(3, 1), 3, &others), "nobody else has it");
        platters.durable(ServerId(2), z(3, 1));
        platters.durable(ServerId(9), z(3, 1));
        assert!(!ask(&platters, z(3, 1), 3, &others), "one other has it");
        platters.durable(ServerId(3), z(3, 1));
        assert!(ask(&platters, z(3, 1), 3, &others));
        for others in [&[(2, 3), (3, 0)], &[(2, 3), (3, 2)], &[(2, 3), (9, 3)]] {
            assert!(!ask(&platters, z(3, 1), 3, &serving(others)));
        }
        assert!(!may_forget(
            &setup(1),
            &platters,
            ME,
            Zxid(0),
            Epoch(0),
            &[]
        ));
    }

    #[test]
    fn nothing_depends_on_an_observer() {
        let platters = Durability::default();
        let id = ServerId(9);
        assert!(may_forget(&setup(3), &platters, id, z(3, 1), Epoch(3), &[]));
    }
}
