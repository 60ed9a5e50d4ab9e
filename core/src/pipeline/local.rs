//! Sessions that live in this server's memory only (`localSessionsEnabled`): no transaction creates
//! or closes them, nobody else has heard of them, this server expires them by its own clock, and
//! they end with its role. They can do everything but own ephemeral nodes; for that they become
//! global, where `localSessionsUpgradingEnabled` says so. In read-only mode every session is local.
//!
//! Knows who they are and until when. Refuses to know connections.

use core::time::Duration;

use crate::config::Config;
use crate::ids::SessionId;
use crate::session::tracker::Tracker;
use crate::time::Instant;
use crate::wire::client::{CreateOp, Request};
use crate::wire::records::op;

#[derive(Debug)]
pub(super) struct Locals {
    /// New sessions begin as local ones.
    pub(super) enabled: bool,
    /// They may become global.
    pub(super) upgrading: bool,
    tick: Duration,
    tracker: Tracker,
}

impl Locals {
    /// A standalone server has global sessions only, whatever its configuration says, as
    /// ZooKeeper's.
    pub(super) fn new(config: &Config) -> Self {
        let enabled = config.rules.local_sessions && !config.is_standalone();
        Self {
            enabled,
            upgrading: enabled && config.rules.local_sessions_upgrading,
            tick: config.tick,
            tracker: Tracker::new(config.tick),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tracker.len()
    }

    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.tracker.contains(session)
    }

    pub(super) fn open(&mut self, session: SessionId, timeout_ms: i32, now: Instant) {
        assert!(!self.contains(session), "ids are given once");
        self.tracker.adopt(session, timeout_ms, now);
    }

    /// False if it is not one of ours.
    pub(super) fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Instant) -> bool {
        self.tracker.touch(session, timeout_ms, now)
    }

    /// It has ended, or is global from now on.
    pub(super) fn remove(&mut self, session: SessionId, now: Instant) {
        self.tracker.forget(session, now);
    }

    /// All end with the role in which they were served.
    pub(super) fn clear(&mut self) {
        self.tracker = Tracker::new(self.tick);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tracker.deadline()
    }

    /// One whose time is over. The caller removes it, or lets it live.
    pub(super) fn first_due(&self, now: Instant) -> Option<SessionId> {
        self.tracker.first_due(now)
    }
}

/// Does it make an ephemeral node, alone or in a multi?
pub(super) fn makes_ephemerals(op: i32, body: &[u8]) -> bool {
    if !matches!(op, op::CREATE | op::CREATE2 | op::MULTI) {
        return false;
    }
    let is_ephemeral = |request: &Request<'_>| {
        matches!(
            request,
            Request::Create {
                kind: CreateOp::Create | CreateOp::Create2,
                flags: 1 | 3,
                ..
            }
        )
    };
    match Request::decode(op, body) {
        Ok(Request::Multi(ops)) => ops.iter().any(is_ephemeral),
        Ok(single) => is_ephemeral(&single),
        Err(_) => false,
    }
}
