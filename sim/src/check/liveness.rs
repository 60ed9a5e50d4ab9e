//! Rule `service-restored`: within the run's bound after the last fault has healed, every server
//! serves, holds all that was committed by then, and a write that was asked after the healing is
//! acknowledged (ZAB: with a connected majority and no faults a leader gets through). No waiver.
//!
//! The rule asks only when the bound has really passed, and for the write only where some client
//! asked for one early enough. It does not ask for speed before the bound.

use vivarium_core::ids::{ServerId, Zxid};

use super::prefix::Prefix;
use super::view::View;
use crate::observe::{Setup, SimTime};

pub const RULE: &str = "service-restored";

#[derive(Clone, Copy, Debug)]
struct Healed {
    at: SimTime,
    committed: Zxid,
    asked: bool,
    acknowledged: bool,
}

#[derive(Clone, Default, Debug)]
pub struct Liveness {
    healed: Option<Healed>,
}

impl Liveness {
    /// The last fault has healed. Asked again after another fault, it starts over.
    pub fn healed(&mut self, t: SimTime, committed: Zxid) {
        self.healed = Some(Healed {
            at: t,
            committed,
            asked: false,
            acknowledged: false,
        });
    }

    /// A client sends a write.
    pub fn asked(&mut self, setup: &Setup, t: SimTime) {
        if let Some(healed) = &mut self.healed {
            let early = t.since(healed.at) < setup.liveness_bound / 2;
            healed.asked |= t >= healed.at && early;
        }
    }

    /// A client gets the reply to a write that it sent at `sent`.
    pub fn acknowledged(&mut self, sent: SimTime) {
        if let Some(healed) = &mut self.healed {
            healed.acknowledged |= sent >= healed.at;
        }
    }

    /// At the end of the run, for each server; `None` is one that is down.
    pub fn judge_server(
        &self,
        setup: &Setup,
        t: SimTime,
        id: ServerId,
        view: Option<&View>,
        prefix: &Prefix,
    ) -> Result<(), String> {
        let Some(healed) = self.due(setup, t) else {
            return Ok(());
        };
        let since = t.since(healed.at);
        let Some(view) = view else {
            return Err(format!(
                "server {id} is down {since:?} after the last fault healed"
            ));
        };
        if !view.is_broadcasting() || !view.serving {
            let role = view.role;
            return Err(format!(
                "server {id} is {role:?}, not serving, {since:?} after healing"
            ));
        }
        if prefix.held_by(id) < prefix.position_of(healed.committed) {
            return Err(format!(
                "server {id} has applied {} and still lacks some of {}, committed before healing, \
                 {since:?} after it",
                view.applied, healed.committed
            ));
        }
        Ok(())
    }

    /// At the end of the run.
    pub fn judge_writes(&self, setup: &Setup, t: SimTime) -> Result<(), String> {
        match self.due(setup, t) {
            Some(healed) if healed.asked && !healed.acknowledged => {
                let since = t.since(healed.at);
                Err(format!(
                    "no write was acknowledged in {since:?} after the last fault healed"
                ))
            }
            _ => Ok(()),
        }
    }

    fn due(&self, setup: &Setup, t: SimTime) -> Option<Healed> {
        self.healed
            .filter(|healed| t.since(healed.at) >= setup.liveness_bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{setup, view};
    use vivarium_core::node::RoleName;

    fn ms(ms: u64) -> SimTime {
        SimTime::from_millis(ms)
    }

    #[test]
    fn a_write_in_time_passes_and_none_fires() {
        let setup = setup(3);
        let mut l = Liveness::default();
        let end = ms(1_000).after(setup.liveness_bound);
        assert!(l.judge_writes(&setup, end).is_ok());
        l.healed(ms(1_000), Zxid(1));
        l.asked(&setup, ms(1_100));
        assert!(l.judge_writes(&setup, ms(1_500)).is_ok());
        assert!(l.judge_writes(&setup, end).is_err());
        l.acknowledged(ms(900));
        assert!(l.judge_writes(&setup, end).is_err());
        l.acknowledged(ms(1_100));
        assert!(l.judge_writes(&setup, end).is_ok());
    }

    #[test]
    fn a_server_that_does_not_serve_fires() {
        let setup = setup(3);
        let mut l = Liveness::default();
        l.healed(ms(0), Zxid::ZERO);
        let end = ms(0).after(setup.liveness_bound);
        let prefix = Prefix::default();
        let judge = |view: Option<&View>| l.judge_server(&setup, end, ServerId(1), view, &prefix);
        let good = View {
            role: RoleName::Following,
            serving: true,
            ..view()
        };
        assert!(judge(Some(&good)).is_ok());
        assert!(
            judge(Some(&View {
                serving: false,
                ..good
            }))
            .is_err()
        );
        assert!(
            judge(Some(&View {
                role: RoleName::Looking,
                ..good
            }))
            .is_err()
        );
        assert!(judge(None).is_err());
    }
}
