//! Roles and the only ways between them. A role owns what only it needs; leaving one consumes it.
//!
//! ```text
//!            boot ──► Standalone
//!              │
//!              ▼                    ┌──► Leading ────┐
//!    ┌──► Looking ── a decision ────┤                ├── Leave ──► Looking, or for observers
//!    │                              └──► Learning ───┘             Resting first, or Reloading
//!    └───────────────────────────────────────────────────────────  first if the disk is being read
//! ```

use alloc::boxed::Box;

use super::Node;
use crate::boundary::{Channel, CloseReason, Event};
use crate::election::Vote;
use crate::ids::{ServerId, WriteSeq};
use crate::limits::{OBSERVER_REST_MAX, READ_ONLY_GRACE_MIN};
use crate::recovery::Recovered;
use crate::time::Instant;
use crate::zab::Leave;
use crate::zab::broadcast::Broadcast;
use crate::zab::leader::Leading;
use crate::zab::learner::Learner;

/// What a node does.
#[derive(Debug)]
pub(super) enum Role {
    /// No ensemble: orders its own clients' writes.
    Standalone(Box<Broadcast>),
    /// In an election. If it lasts until then, clients that asked for it are served read-only.
    Looking {
        read_only_from: Option<Instant>,
    },
    /// An observer that has lost its leader gives the voters a moment; and a server keeps out of
    /// elections while its disk is stuck, or so that others can do better.
    Resting {
        until: Instant,
    },
    /// The data directory is being read again; nothing may be claimed until it is.
    Reloading {
        seq: WriteSeq,
    },
    Leading(Leading),
    /// Follower or observer.
    Learning(Learner),
}

impl Role {
    /// Between two roles.
    pub(super) const IDLE: Self = Self::Looking {
        read_only_from: None,
    };
}

impl Node {
    pub(super) fn enter_standalone(&mut self) {
        let sh = &mut self.sh;
        let epoch = sh.db.applied().epoch();
        let order = Broadcast::start(epoch, sh.voters.clone(), sh);
        sh.clients.start_serving(sh.db.applied());
        sh.report(Event::Serving {
            epoch,
            zxid: sh.db.applied(),
        });
        self.role = Role::Standalone(Box::new(order));
    }

    /// A standalone server whose counter is full goes on in the next epoch, between two writes.
    pub(super) fn renew_standalone(&mut self) {
        if let Role::Standalone(order) = &mut self.role
            && order.is_exhausted()
            && order.proposals_len() == 0
        {
            let epoch = order.last_proposed().epoch().next();
            **order = Broadcast::start(epoch, self.sh.voters.clone(), &self.sh);
        }
    }

    pub(super) fn enter_looking(&mut self) {
        assert!(
            self.sh.tail.is_empty(),
            "a vote stands for everything that is logged"
        );
        let allowed = self.sh.config.rules.read_only_mode;
        let grace = READ_ONLY_GRACE_MIN.max(self.sh.config.tick);
        let read_only_from = allowed.then(|| self.sh.now.mono + grace);
        self.role = Role::Looking { read_only_from };
        let own = Vote {
            leader: self.sh.config.me,
            zxid: self.sh.last_logged(),
            round: 0,
            peer_epoch: self.sh.current,
        };
        self.election.enter_looking(own, self.sh.now.mono);
        self.sh.report(Event::Looking {
            round: self.election.round_number(),
        });
    }

    /// Tells the votes, and takes the role that an election gives.
    pub(super) fn follow_election(&mut self) {
        loop {
            for telling in self.election.take_tellings() {
                self.exchange.say(telling, &mut self.sh);
            }
            if self.is_elected_in_vain() {
                self.leave("the votes went to another");
                continue;
            }
            if !matches!(self.role, Role::Looking { .. }) {
                return;
            }
            let Some(leader) = self.election.take_decision() else {
                return;
            };
            self.enter_elected(leader);
        }
    }

    /// Does nothing come of the decision, by what the voters say now?
    fn is_elected_in_vain(&self) -> bool {
        let is_open = match &self.role {
            Role::Leading(leading) => leading.is_gathering(),
            Role::Learning(learner) => learner.is_connecting(),
            _ => false,
        };
        is_open && self.election.is_abandoned()
    }

    /// No leader has come for a while.
    pub(super) fn start_read_only(&mut self) {
        self.role = Role::Looking {
            read_only_from: None,
        };
        self.sh.clients.start_read_only();
        let text = alloc::format!("serving read-only clients at {}", self.sh.db.applied());
        self.sh.report(Event::Note { text });
    }

    fn enter_elected(&mut self, leader: ServerId) {
        if self.sh.clients.is_read_only() {
            self.sh.stop_serving(CloseReason::RoleLeft);
        }
        if leader == self.sh.config.me {
            self.enter_leading();
            return;
        }
        let waiting: alloc::vec::Vec<_> = self.parked().map(|(link, _)| link).collect();
        for link in waiting {
            self.sh.close_link(link, CloseReason::NotServing);
        }
        self.sh.report(if self.sh.config.is_observer() {
            Event::Observing { leader }
        } else {
            Event::Following { leader }
        });
        self.role = Role::Learning(Learner::enter(leader, &mut self.sh));
    }

    fn enter_leading(&mut self) {
        let mut leading = Leading::enter(&mut self.sh);
        let waiting: alloc::vec::Vec<_> = self.parked().map(|(link, _)| link).collect();
        self.sh.report(Event::Leading);
        let mut left = Ok(());
        for link in waiting {
            leading.handle_opened(link, &self.sh);
            if left.is_ok() {
                left = leading.handle_bytes(link, &[], &mut self.sh);
            }
        }
        self.role = Role::Leading(leading);
        if let Err(Leave(why)) = left {
            self.leave(why);
        }
    }

    /// Late comers must hear the same vote from everybody: one of the established epoch.
    pub(super) fn tell_established(&mut self) {
        let epoch = match &self.role {
            Role::Leading(leading) => leading.established(),
            Role::Learning(learner) => learner.established(),
            _ => None,
        };
        if let Some(epoch) = epoch {
            self.election.set_established(epoch);
        }
    }

    /// The role is over. Clients lose their connections and keep their sessions.
    pub(super) fn leave(&mut self, why: &'static str) {
        self.sh.report(Event::Left { why });
        let reload = self.end_role(CloseReason::NotServing);
        if self.sh.halted {
            return;
        }
        if let Some(seq) = reload {
            self.role = Role::Reloading { seq };
        } else if let Some(until) = self.sh.take_rest() {
            self.election.pause();
            self.role = Role::Resting { until };
        } else if self.sh.config.is_observer() {
            self.rest();
        } else {
            self.enter_looking();
        }
    }

    /// Observers spread over a moment, so that the voters are not asked by all of them at once.
    fn rest(&mut self) {
        let spread = (self.sh.config.me.0 as u64).wrapping_mul(7919) % 1000;
        let until = self.sh.now.mono + OBSERVER_REST_MAX * (spread as u32) / 1000;
        self.role = Role::Resting { until };
    }

    /// The rest is over, unless the disk needs a longer one.
    pub(super) fn end_rest(&mut self) {
        match self.sh.take_rest() {
            Some(until) => self.role = Role::Resting { until },
            None => self.enter_looking(),
        }
    }

    /// Ends whatever role is on; afterwards the state is all that was logged. Returns the write
    /// after which the data directory has been read again, if it is being.
    pub(super) fn end_role(&mut self, clients: CloseReason) -> Option<WriteSeq> {
        self.sh.abandon_snapshot();
        self.sh.stop_serving(clients);
        let reload = match core::mem::replace(&mut self.role, Role::IDLE) {
            Role::Leading(leading) => {
                leading.end(&mut self.sh);
                None
            }
            Role::Learning(learner) => learner.end(&mut self.sh),
            Role::Reloading { seq } => Some(seq),
            Role::Standalone(_) | Role::Looking { .. } | Role::Resting { .. } => None,
        };
        self.sh.fast_forward();
        let open: alloc::vec::Vec<_> = self
            .sh
            .links
            .iter()
            .map(|(id, l)| (id, l.channel))
            .collect();
        for (link, _) in open.into_iter().filter(|(_, c)| *c == Channel::Quorum) {
            self.sh.close_link(link, CloseReason::RoleLeft);
        }
        reload
    }

    pub(super) fn on_reloaded(
        &mut self,
        seq: WriteSeq,
        state: Box<Recovered>,
    ) -> Result<(), Leave> {
        match &mut self.role {
            Role::Learning(learner) => learner.on_reloaded(seq, state, &mut self.sh),
            Role::Reloading { seq: awaited } => {
                assert_eq!(seq, *awaited, "one truncation at a time");
                self.sh.reload(state);
                self.enter_looking();
                Ok(())
            }
            _ => unreachable!("a truncation is waited for"),
        }
    }
}
