//! Looking at the world from outside: who leads, who serves, and the trace. Nothing here changes
//! anything or is seen by the machines.

use std::fmt;

use vivarium_core::ids::{Epoch, ServerId, Zxid};
use vivarium_core::node::RoleName;

use super::{Seen, World};
use crate::observe::Violation;

/// One server at one moment.
#[derive(Clone, Debug)]
pub struct Glance {
    pub id: ServerId,
    /// A process runs.
    pub up: bool,
    pub role: RoleName,
    pub epoch: Epoch,
    pub serving: bool,
    pub applied: Zxid,
    pub logged: Zxid,
    /// How it was brought up to date last since it started: DIFF, TRUNC or SNAP.
    pub sync: Option<&'static str>,
}

impl World {
    /// The server as it is now.
    pub fn glance(&self, id: ServerId) -> Glance {
        let host = &self.hosts[self.index(id)];
        let status = host.node.as_ref().map(|n| n.status());
        let zxid =
            |of: fn(&vivarium_core::node::Status) -> Zxid| status.as_ref().map_or(Zxid::ZERO, of);
        Glance {
            id,
            up: host.is_up(),
            role: status.as_ref().map_or(RoleName::Looking, |s| s.role),
            epoch: status.as_ref().map_or(Epoch(0), |s| s.current_epoch),
            serving: status.as_ref().is_some_and(|s| s.serving),
            applied: zxid(|s| s.applied),
            logged: zxid(|s| s.logged),
            sync: host.view.sync,
        }
    }

    /// Every server.
    pub fn glances(&self) -> impl Iterator<Item = Glance> {
        self.server_ids().map(|id| self.glance(id))
    }

    /// The server that leads an established epoch, the newest if there are several.
    pub fn leader(&self) -> Option<ServerId> {
        let leads = |g: &Glance| g.up && g.role == RoleName::Leading && g.serving;
        self.glances()
            .filter(leads)
            .max_by_key(|g| g.epoch)
            .map(|g| g.id)
    }

    /// Servers that serve clients now.
    pub fn serving(&self) -> usize {
        self.glances().filter(|g| g.up && g.serving).count()
    }

    /// Every server has applied the same history.
    pub fn level(&self) -> bool {
        let mut applied = self.glances().map(|g| (g.up, g.applied));
        let first = applied.next();
        applied.all(|other| Some(other) == first)
    }

    /// A container or TTL node that should have been swept by now.
    pub fn unswept(&self) -> Option<Violation> {
        let leader = &self.hosts[self.index(self.leader()?)];
        let wall = leader.clock.read(self.time.now()).wall;
        self.checks.overdue_sweep(wall.0)
    }

    /// What is said of a world in which liveness failed.
    pub fn standing(&self) -> String {
        let mut text = String::new();
        for g in self.glances() {
            let up = if g.up { "" } else { " (down)" };
            let role = g.role;
            let serving = if g.serving { "serving" } else { "not serving" };
            text.push_str(&format!(
                "server {}{up}: {role:?}, {serving}, epoch {}, logged {}, applied {}; ",
                g.id, g.epoch, g.logged, g.applied
            ));
        }
        text
    }

    /// The last look of the checkers, when everything is quiet.
    pub fn finish(&mut self) -> Option<Violation> {
        let t = self.time.now();
        self.checks
            .at_end(t, self.hosts.iter().map(|h| (h.id, h.node.as_ref())));
        self.violation()
    }

    /// One line of the trace: time, server, what happened, role, epoch, logged and applied zxid.
    pub(super) fn tell(&mut self, h: usize, what: fmt::Arguments<'_>) {
        if self.trace.lives.is_none() && self.trace.view.is_none() {
            return;
        }
        let g = self.glance(self.hosts[h].id);
        self.show(|| Seen::State { glance: g.clone() });
        self.show(|| Seen::Said {
            server: Some(h as u16),
            text: what.to_string(),
        });
        let now = self.time.now();
        let role = if g.up {
            format!("{:?}", g.role)
        } else {
            "down".to_owned()
        };
        let Some(narrate) = &mut self.trace.lives else {
            return;
        };
        narrate(format_args!(
            "{:>13}  n{}  {role:<10} epoch {:<3} logged {:<12} applied {:<12} {what}",
            now.to_string(),
            g.id,
            g.epoch.0,
            g.logged.to_string(),
            g.applied.to_string(),
        ));
    }

    /// A line of the trace that is about no single server.
    pub(super) fn tell_all(&mut self, what: fmt::Arguments<'_>) {
        let now = self.time.now();
        self.show(|| Seen::Said {
            server: None,
            text: what.to_string(),
        });
        if let Some(narrate) = &mut self.trace.lives {
            narrate(format_args!("{:>13}  --  {what}", now.to_string()));
        }
    }
}
