//! Rule `one-leader`: at most one server is ever the established leader of an epoch (ZAB: a quorum
//! promises each epoch to one primary; TLA+: `Leadership1`, `Leadership2`).
//!
//! Established means that a quorum has acknowledged NEWLEADER. Two prospective leaders may run for
//! the same epoch at the same time, so nothing less is judged. A restarted server can not be
//! established in an epoch again either: it would have to hold a new election with a new epoch.

use std::collections::BTreeMap;

use vivarium_core::ids::{Epoch, ServerId};

use super::view::View;
use crate::observe::SimTime;

pub const RULE: &str = "one-leader";

/// Who was established where, and since when.
#[derive(Clone, Default, Debug)]
pub struct Leadership {
    leaders: BTreeMap<Epoch, (ServerId, SimTime)>,
    /// The epoch that each server leads now.
    leading: BTreeMap<ServerId, Epoch>,
}

impl Leadership {
    /// After a turn. True if the server became an established leader with it.
    pub fn after_turn(&mut self, t: SimTime, id: ServerId, view: &View) -> Result<bool, String> {
        let Some(epoch) = view.established else {
            if !self.leading.is_empty() {
                self.leading.remove(&id);
            }
            return Ok(false);
        };
        if self.leading.get(&id) == Some(&epoch) {
            return Ok(false);
        }
        if let Some((other, since)) = self.leaders.get(&epoch) {
            return Err(format!(
                "server {id} leads epoch {epoch}, as {other} has since {since}"
            ));
        }
        self.leaders.insert(epoch, (id, t));
        self.leading.insert(id, epoch);
        Ok(true)
    }

    pub fn crashed(&mut self, id: ServerId) {
        self.leading.remove(&id);
    }

    /// The leader of the newest epoch, if it still leads, and since when.
    pub fn newest(&self) -> Option<(ServerId, SimTime)> {
        let (epoch, leader) = self.leaders.last_key_value()?;
        (self.leading.get(&leader.0) == Some(epoch)).then_some(*leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::view;

    fn leading(epoch: i64) -> View {
        View {
            established: Some(Epoch(epoch)),
            ..view()
        }
    }

    #[test]
    fn one_after_the_other_passes() {
        let mut l = Leadership::default();
        let t = SimTime(1);
        assert_eq!(l.after_turn(t, ServerId(1), &leading(1)), Ok(true));
        assert_eq!(l.after_turn(t, ServerId(1), &leading(1)), Ok(false));
        assert_eq!(l.after_turn(t, ServerId(2), &leading(2)), Ok(true));
        assert_eq!(l.newest(), Some((ServerId(2), t)));
        assert_eq!(l.after_turn(t, ServerId(2), &view()), Ok(false));
        assert_eq!(l.newest(), None);
    }

    #[test]
    fn two_in_one_epoch_fire() {
        let mut l = Leadership::default();
        l.after_turn(SimTime(1), ServerId(1), &leading(1)).unwrap();
        assert!(l.after_turn(SimTime(2), ServerId(2), &leading(1)).is_err());
        l.crashed(ServerId(1));
        assert!(l.after_turn(SimTime(3), ServerId(1), &leading(1)).is_err());
    }
}
