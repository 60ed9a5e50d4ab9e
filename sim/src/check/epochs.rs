//! Rule `epoch-order`: currentEpoch <= acceptedEpoch, both never go back, nothing is logged from an
//! epoch that was not accepted, and in broadcast nothing from one that is not current (ZAB: a
//! follower's promise; ZooKeeper's `acceptedEpoch` and `currentEpoch` files, ZOOKEEPER-335).
//!
//! In memory both only rise while a server runs. Over a crash a value may be lost that was not on
//! disk yet, so only what the server acted on is held against it: whoever is in broadcast has
//! acknowledged (or gathered acknowledgements of) NEWLEADER, and must have stored that epoch
//! before. While it synchronizes, a follower logs the old epochs' transactions before it makes the
//! new epoch current, so the logged epoch is compared with the accepted one then. A standalone
//! server has no use for epochs of its own and is only held to the order.

use std::collections::BTreeMap;

use vivarium_core::ids::{Epoch, ServerId};
use vivarium_core::node::RoleName;

use super::view::View;

pub const RULE: &str = "epoch-order";

#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    accepted: Epoch,
    current: Epoch,
    /// Newest epoch in broadcast.
    promised: Epoch,
}

#[derive(Clone, Default, Debug)]
pub struct Epochs {
    seen: BTreeMap<ServerId, Seen>,
}

impl Epochs {
    pub fn after_turn(&mut self, id: ServerId, view: &View) -> Result<(), String> {
        let seen = self.seen.entry(id).or_default();
        let (accepted, current) = (view.accepted, view.current);
        if current > accepted {
            return Err(format!(
                "server {id}: current epoch {current} over accepted {accepted}"
            ));
        }
        if accepted < seen.accepted || current < seen.current {
            return Err(format!(
                "server {id} goes back: accepted {} to {accepted}, current {} to {current}",
                seen.accepted, seen.current
            ));
        }
        seen.accepted = accepted;
        seen.current = current;
        if view.role == RoleName::Standalone {
            return Ok(());
        }
        let logged = view.logged.epoch();
        if logged > accepted {
            return Err(format!(
                "server {id} logged {}, accepted only {accepted}",
                view.logged
            ));
        }
        if view.is_broadcasting() {
            if logged > current {
                return Err(format!(
                    "server {id} logged {}, current is {current}",
                    view.logged
                ));
            }
            seen.promised = seen.promised.max(current);
        }
        Ok(())
    }

    /// Its disk has lost what it had promised, and nothing depends on it.
    pub fn forgot(&mut self, id: ServerId) {
        self.seen.remove(&id);
    }

    /// With what its disk gave back.
    pub fn restarted(&mut self, id: ServerId, view: &View) -> Result<(), String> {
        let seen = self.seen.entry(id).or_default();
        let promised = seen.promised;
        *seen = Seen {
            accepted: view.accepted,
            current: view.current,
            promised,
        };
        if view.accepted < promised || view.current < promised {
            return Err(format!(
                "server {id} was in broadcast of epoch {promised} and comes back with accepted {} \
                 and current {}",
                view.accepted, view.current
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::view;
    use vivarium_core::ids::Zxid;

    const ID: ServerId = ServerId(1);

    fn at(accepted: i64, current: i64, logged: i64) -> View {
        View {
            role: RoleName::Following,
            serving: accepted == current,
            accepted: Epoch(accepted),
            current: Epoch(current),
            logged: Zxid::new(Epoch(logged), 1),
            ..view()
        }
    }

    #[test]
    fn rising_epochs_pass_and_unacted_ones_may_be_lost() {
        let mut e = Epochs::default();
        e.after_turn(ID, &at(1, 1, 1)).unwrap();
        e.after_turn(ID, &at(2, 1, 1)).unwrap();
        e.restarted(ID, &at(1, 1, 1)).unwrap();
        e.after_turn(ID, &at(4, 1, 3)).unwrap();
        e.after_turn(ID, &at(4, 4, 3)).unwrap();
        e.restarted(ID, &at(4, 4, 3)).unwrap();
    }

    #[test]
    fn disorder_fires() {
        let fires = |views: &[View]| {
            let mut e = Epochs::default();
            views.iter().any(|v| e.after_turn(ID, v).is_err())
        };
        assert!(fires(&[at(1, 2, 1)]));
        assert!(fires(&[at(2, 2, 1), at(1, 1, 1)]));
        assert!(fires(&[at(2, 1, 3)]));
        assert!(fires(&[View {
            serving: true,
            ..at(3, 1, 2)
        }]));
    }

    #[test]
    fn a_promise_lost_on_restart_fires() {
        let mut e = Epochs::default();
        e.after_turn(ID, &at(3, 3, 2)).unwrap();
        assert!(e.restarted(ID, &at(3, 2, 2)).is_err());
    }
}
