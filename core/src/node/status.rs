//! What a node is, for operators, traces and checkers; never for decisions of the driver.

use super::{Node, Role};
use crate::ids::{ConnId, Epoch, ServerId, SessionId, Zxid};
use crate::pipeline::Throttled;
use crate::watch::{Summary, Watches};
use crate::zab::broadcast::ProposalSizes;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RoleName {
    Standalone,
    Looking,
    Following,
    Leading,
    Observing,
}

/// A snapshot of counters and positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    pub role: RoleName,
    /// The leader that is led by or followed, once known.
    pub leader: Option<ServerId>,
    /// Serving clients, with a quorum behind it.
    pub serving: bool,
    /// Serving its last state to clients that asked for it.
    pub read_only: bool,
    /// In broadcast as leader: the established epoch.
    pub established: Option<Epoch>,
    /// On disk.
    pub accepted_epoch: Epoch,
    /// On disk.
    pub current_epoch: Epoch,
    /// Applied to the tree.
    pub applied: Zxid,
    /// What clients see as this server's zxid: `applied`, or the start of the epoch it serves in.
    pub visible: Zxid,
    /// Last transaction given to the disk.
    pub logged: Zxid,
    /// Tree digest at `applied`.
    pub digest: u64,
    pub node_count: usize,
    /// In both of ZooKeeper's tables.
    pub watch_count: usize,
    /// The table of data watches alone: what the word `wchs` shows.
    pub data_watches: Summary,
    pub ephemeral_count: usize,
    pub data_bytes: usize,
    /// Global ones.
    pub sessions: usize,
    pub local_sessions: usize,
    pub connections: usize,
    /// Connections and handshakes turned away since the start.
    pub connections_rejected: u64,
    pub throttled: Throttled,
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
    /// The disk is full but for a reserve.
    pub disk_full: bool,
    /// The oldest write has been on its way to the disk for too long.
    pub disk_stuck: bool,
    /// Clients' writes are refused because too few voters have room on their disks.
    pub writes_refused: bool,
    /// Snapshots that were given up because the disk did not take them.
    pub snapshot_errors: u64,
}

impl Node {
    pub fn status(&self) -> Status {
        let sh = &self.sh;
        let tree = sh.db.tree();
        let order = self.order();
        let none = ProposalSizes {
            last: -1,
            min: -1,
            max: -1,
        };
        let sizes = order.map_or(none, |o| o.sizes());
        let (synced_followers, synced_observers) = match &self.role {
            Role::Leading(leading) => leading.synchronized(),
            _ => (0, 0),
        };
        Status {
            role: self.role_name(),
            leader: self.leader(),
            serving: sh.clients.is_serving(),
            read_only: sh.clients.is_read_only(),
            established: match &self.role {
                Role::Leading(leading) => leading.established(),
                _ => None,
            },
            accepted_epoch: sh.accepted,
            current_epoch: sh.current,
            applied: sh.db.applied(),
            visible: sh.clients.visible(&sh.db),
            logged: sh.last_logged(),
            digest: sh.db.digest(),
            node_count: tree.node_count(),
            watch_count: sh.clients.watch_count(),
            data_watches: sh.clients.watches().summary(),
            ephemeral_count: tree.ephemeral_count(),
            data_bytes: tree.data_bytes(),
            sessions: sh.db.sessions().len(),
            local_sessions: sh.clients.local_sessions(),
            connections: sh.clients.connections(),
            connections_rejected: sh.clients.connections_rejected(),
            throttled: sh.clients.throttled(),
            outstanding: sh.clients.outstanding(),
            learners: match &self.role {
                Role::Leading(leading) => leading.learners(),
                _ => 0,
            },
            synced_followers,
            synced_observers,
            pending_syncs: order.map_or(0, |o| o.syncs_len()),
            packets_received: sh.clients.packets_received(),
            packets_sent: sh.clients.packets_sent(),
            proposal_sizes: (sizes.last, sizes.min, sizes.max),
            digest_mismatches: sh.digest_mismatches,
            disk_full: sh.disk.is_low,
            disk_stuck: sh.is_disk_stuck(),
            writes_refused: sh.clients.is_serving() && !sh.clients.takes_writes(),
            snapshot_errors: sh.snapshots.failures,
        }
    }

    /// Bytes that clients have not read, by the driver's word.
    pub fn unread_bytes(&self) -> usize {
        self.sh.clients.unread_bytes()
    }

    /// Who watches what, for listings that name both.
    pub fn watches(&self) -> &Watches {
        self.sh.clients.watches()
    }

    /// The session that a connection speaks for, once it has one.
    pub fn session_of(&self, conn: ConnId) -> Option<SessionId> {
        self.sh.clients.session_of(conn)
    }

    fn role_name(&self) -> RoleName {
        match &self.role {
            Role::Standalone(_) => RoleName::Standalone,
            Role::Looking { .. } | Role::Resting { .. } | Role::Reloading { .. } => {
                RoleName::Looking
            }
            Role::Leading(_) => RoleName::Leading,
            Role::Learning(_) if self.sh.config.is_observer() => RoleName::Observing,
            Role::Learning(_) => RoleName::Following,
        }
    }

    fn leader(&self) -> Option<ServerId> {
        match &self.role {
            Role::Leading(_) => Some(self.sh.config.me),
            Role::Learning(learner) => Some(learner.leader()),
            _ => None,
        }
    }
}
