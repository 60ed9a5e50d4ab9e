//! What checkers see of a server's turn, taken out of the machine's own types so that a history
//! can be written by hand in tests. Judges nothing.

use bytes::Bytes;
use vivarium_core::boundary::{Action, Outbox, SnapshotStep, WriteOp};
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::node::{RoleName, Status};
use vivarium_core::wire::jute::Reader;

/// A server after a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    pub role: RoleName,
    pub serving: bool,
    pub established: Option<Epoch>,
    pub accepted: Epoch,
    pub current: Epoch,
    pub applied: Zxid,
    pub logged: Zxid,
    pub digest: u64,
}

impl View {
    pub fn of(status: &Status) -> Self {
        Self {
            role: status.role,
            serving: status.serving,
            established: status.established,
            accepted: status.accepted_epoch,
            current: status.current_epoch,
            applied: status.applied,
            logged: status.logged,
            digest: status.digest,
        }
    }

    /// Is all that this server has applied committed? A leader's from the moment that a quorum has
    /// acknowledged NEWLEADER, a learner's from UPTODATE on, a standalone server's always. Before
    /// that, a tree may hold what was logged and never committed.
    pub fn is_broadcasting(&self) -> bool {
        match self.role {
            RoleName::Leading => self.established.is_some(),
            RoleName::Following | RoleName::Observing | RoleName::Standalone => self.serving,
            RoleName::Looking => false,
        }
    }
}

/// What a turn does to the log, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogMove {
    Append {
        zxid: Zxid,
        record: Bytes,
    },
    Truncate {
        after: Zxid,
    },
    /// A snapshot that will replace everything: the log loses all after its zxid.
    InstallBegun {
        zxid: Zxid,
    },
    /// The snapshot is complete.
    Installed {
        zxid: Zxid,
    },
}

/// Takes the log moves out of a turn's effects.
pub fn log_moves(out: &Outbox, moves: &mut Vec<LogMove>) {
    moves.clear();
    for action in out.actions() {
        let Action::Write { op, .. } = action else {
            continue;
        };
        match op {
            WriteOp::Append { zxid, record } => {
                moves.push(LogMove::Append {
                    zxid: *zxid,
                    record: record.clone(),
                });
            }
            WriteOp::Truncate { after } => moves.push(LogMove::Truncate { after: *after }),
            WriteOp::Install(SnapshotStep::Begin { zxid }) => {
                moves.push(LogMove::InstallBegun { zxid: *zxid });
            }
            WriteOp::Install(SnapshotStep::End { zxid, .. }) => {
                moves.push(LogMove::Installed { zxid: *zxid });
            }
            WriteOp::Install(_) | WriteOp::AcceptedEpoch(_) | WriteOp::CurrentEpoch(_) => {}
        }
    }
}

/// The newest zxid that this turn shows to clients in a reply; zero if there is none. Connect
/// responses and replies with xid 0 (no simulated client uses it) are passed over.
pub fn newest_shown(out: &Outbox) -> Zxid {
    let mut newest = Zxid::ZERO;
    for action in out.actions() {
        let Action::Reply { bytes, .. } = action else {
            continue;
        };
        let mut rest = out.bytes(*bytes);
        while let Some((length, frame)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let mut r = Reader::new(frame);
            if let (Ok(xid), Ok(zxid)) = (r.i32(), r.i64())
                && xid != 0
            {
                newest = newest.max(Zxid(zxid));
            }
            rest = frame.get(length..).unwrap_or_default();
        }
    }
    newest
}
