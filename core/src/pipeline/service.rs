//! What clients can have of a server, and which requests it therefore refuses at its door.

use crate::wire::records::op;

/// What clients can have of this server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Service {
    /// Nothing: it has no role.
    Closed,
    /// Its last state, without a quorum behind it; only those who ask for that. Nothing leaves
    /// upstream.
    ReadOnly,
    Full,
}

impl Service {
    /// Is a request of this kind refused with NOTREADONLY? Without a quorum what can not be
    /// answered from this server's state alone (the end of a global session neither, but then
    /// there are none); with one, while the disks have no room, what would change a znode.
    pub(super) fn refuses(self, op: i32, takes_writes: bool) -> bool {
        match self {
            Self::ReadOnly => changes_nodes(op) || matches!(op, op::SYNC | op::RECONFIG),
            Self::Full => !takes_writes && changes_nodes(op),
            Self::Closed => false,
        }
    }
}

/// Is it a write of znodes, rather than of sessions?
pub(super) const fn changes_nodes(op: i32) -> bool {
    matches!(
        op,
        op::CREATE
            | op::CREATE2
            | op::CREATE_CONTAINER
            | op::CREATE_TTL
            | op::DELETE
            | op::SET_DATA
            | op::SET_ACL
            | op::MULTI
    )
}
