//! `Node`: the machine behind the boundary.

use crate::boundary::{Appetite, Input, Outbox};
use crate::config::Config;
use crate::ids::{Epoch, ServerId, Zxid};
use crate::recovery::Recovered;
use crate::time::{Instant, Now};

/// A ZooKeeper server.
#[derive(Debug)]
pub struct Node {}

/// What the node is, for operators, traces and checkers; never for decisions of the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub role: RoleName,
    /// The leader that is led by or followed, once known.
    pub leader: Option<ServerId>,
    /// Serving clients.
    pub serving: bool,
    /// In broadcast as leader: the established epoch.
    pub established: Option<Epoch>,
    pub accepted_epoch: Epoch,
    pub current_epoch: Epoch,
    /// Applied to the tree.
    pub applied: Zxid,
    /// Last transaction given to the disk.
    pub logged: Zxid,
    /// Tree digest at `applied`.
    pub digest: u64,
    pub node_count: usize,
    pub watch_count: usize,
    pub watched_connections: usize,
    pub ephemeral_count: usize,
    pub data_bytes: usize,
    pub sessions: usize,
    pub connections: usize,
    pub outstanding: usize,
    /// Leader: learners connected, followers in sync, observers in sync, syncs waiting.
    pub learners: usize,
    pub synced_followers: usize,
    pub synced_observers: usize,
    pub pending_syncs: usize,
    pub packets_received: u64,
    pub packets_sent: u64,
    /// Bytes of the last, the smallest and the largest proposal; -1 before the first.
    pub proposal_sizes: (i64, i64, i64),
    pub digest_mismatches: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleName {
    Standalone,
    Looking,
    Following,
    Leading,
    Observing,
}

impl Node {
    /// A node with what its disk gave back. The driver then calls `flush` for the first effects.
    pub fn boot(config: Config, found: Recovered, now: Now) -> Self {
        let _ = (config, found, now);
        todo!()
    }

    /// Takes one input. Never fails: bad bytes close a link, a lying driver trips an assertion.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        let _ = (now, input);
        todo!()
    }

    /// Ends the turn: appends the turn's effects to `out`, which must be empty.
    pub fn flush(&mut self, now: Now, out: &mut Outbox) {
        let _ = (now, out);
        todo!()
    }

    /// When the driver must call `handle(Wake)` at the latest. After a flush it lies in the future.
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }

    /// What may be read before the next flush.
    pub fn appetite(&self) -> Appetite {
        todo!()
    }

    pub fn status(&self) -> Status {
        todo!()
    }

    /// The replicated state, for checkers and dumps.
    pub fn database(&self) -> &crate::database::Database {
        todo!()
    }
}
