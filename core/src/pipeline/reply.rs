//! Frames to clients: replies, results of transactions, watch events.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::connection::Connection;
use crate::acl;
use crate::boundary::Outbox;
use crate::config::Rules;
use crate::database::Outcome;
use crate::ids::{ConnId, Zxid};
use crate::watch::Listeners;
use crate::wire::client::{
    MultiHeader, MultiResult, ReplyHeader, STATE_SYNC_CONNECTED, WatcherEvent, put_frame, xid,
};
use crate::wire::jute::Write;
use crate::wire::records::{Acl, ErrorCode, op, perms};

/// An event of setWatches belongs to no transaction.
pub(super) const NO_ZXID: Zxid = Zxid(-1);

/// A frame with a header and no body.
pub(super) fn put_header(xid: i32, zxid: Zxid, error: ErrorCode, out: &mut Vec<u8>) {
    put_frame(out, |out| {
        ReplyHeader {
            xid,
            zxid,
            error: error.code(),
        }
        .write(out)
    });
}

/// A frame whose body may turn out to be an error: then `fill` has appended nothing that stays.
pub(super) fn put_answer(
    xid: i32,
    zxid: Zxid,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), ErrorCode>,
) {
    put_frame(out, |out| {
        let at = out.len();
        ReplyHeader {
            xid,
            zxid,
            error: 0,
        }
        .write(out);
        if let Err(error) = fill(out) {
            out.truncate(at);
            ReplyHeader {
                xid,
                zxid,
                error: error.code(),
            }
            .write(out);
        }
    });
}

/// A watch's event.
pub(super) fn put_event(zxid: Zxid, kind: i32, path: &str, out: &mut Vec<u8>) {
    put_frame(out, |out| {
        ReplyHeader {
            xid: xid::NOTIFICATION,
            zxid,
            error: 0,
        }
        .write(out);
        WatcherEvent {
            kind,
            state: STATE_SYNC_CONNECTED,
            path: path.into(),
        }
        .write(out);
    });
}

/// Can this be what came of operation `op`? `kind` is the transaction's type.
pub(super) fn fits(op: i32, kind: i32, outcome: &Outcome) -> bool {
    let creates = |n: i32| {
        matches!(
            n,
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL
        )
    };
    let is_create = creates(op);
    if kind != op::ERROR && kind != op && !(is_create && creates(kind)) {
        return false;
    }
    match outcome {
        Outcome::Error(_) => true,
        Outcome::Created { .. } => is_create,
        Outcome::Deleted => op == op::DELETE,
        Outcome::DataSet { .. } => op == op::SET_DATA,
        Outcome::AclSet { .. } => op == op::SET_ACL,
        Outcome::Multi(_) => op == op::MULTI,
        Outcome::SessionClosed => op == op::CLOSE_SESSION,
        Outcome::Checked | Outcome::SessionCreated => false,
    }
}

/// Did the leader refuse it because the session lives on another server by now?
pub(super) fn is_session_moved(outcome: &Outcome) -> bool {
    let is_moved = |o: &Outcome| *o == Outcome::Error(ErrorCode::SessionMoved.code());
    match outcome {
        Outcome::Multi(subs) => subs.iter().any(|(_, sub)| is_moved(sub)),
        one => is_moved(one),
    }
}

/// The reply to a write, from what became of it. `zxid` is the transaction's own.
pub(super) fn put_outcome(xid: i32, op: i32, zxid: Zxid, outcome: &Outcome, out: &mut Vec<u8>) {
    put_frame(out, |out| {
        let error = if let Outcome::Error(code) = outcome {
            *code
        } else {
            0
        };
        ReplyHeader { xid, zxid, error }.write(out);
        match outcome {
            Outcome::Created { path, stat } => {
                out.put_string(path);
                if op != op::CREATE {
                    stat.write(out);
                }
            }
            Outcome::DataSet { stat } | Outcome::AclSet { stat } => stat.write(out),
            Outcome::Multi(subs) => {
                for (kind, sub) in subs {
                    result_of(*kind, sub).write(out);
                }
                MultiHeader::END.write(out);
            }
            Outcome::Error(_)
            | Outcome::Deleted
            | Outcome::Checked
            | Outcome::SessionCreated
            | Outcome::SessionClosed => {}
        }
    });
}

/// One operation's part in the reply to a multi.
fn result_of(kind: i32, outcome: &Outcome) -> MultiResult<'_> {
    match outcome {
        Outcome::Created { path, .. } if kind == op::CREATE => MultiResult::Path(path.into()),
        Outcome::Created { path, stat } => MultiResult::Created {
            path: path.into(),
            stat: *stat,
        },
        Outcome::Deleted => MultiResult::Deleted,
        Outcome::DataSet { stat } => MultiResult::DataSet(*stat),
        Outcome::Checked => MultiResult::Checked,
        Outcome::Error(code) => MultiResult::Error(*code),
        // None of these can stand in a multi; no transaction of that kind decodes.
        Outcome::AclSet { .. }
        | Outcome::Multi(_)
        | Outcome::SessionCreated
        | Outcome::SessionClosed => MultiResult::Error(ErrorCode::RuntimeInconsistency.code()),
    }
}

/// Sends the events of one transaction.
pub(super) struct Notifier<'a> {
    pub(super) rules: &'a Rules,
    pub(super) connections: &'a BTreeMap<ConnId, Connection>,
    pub(super) zxid: Zxid,
    pub(super) sent: &'a mut u64,
    pub(super) out: &'a mut Outbox,
    /// Only with [`Mutant::WatchAfterRead`](crate::mutants::Mutant::WatchAfterRead): where events
    /// go instead.
    pub(super) late: Option<&'a mut Vec<(ConnId, Vec<u8>)>>,
}

impl Listeners for Notifier<'_> {
    fn may_read(&self, conn: ConnId, list: &[Acl]) -> bool {
        let c = self.connections.get(&conn);
        let c = c.expect("watches end with their connection");
        acl::allows(self.rules, list, perms::READ, &c.identities)
    }

    fn notify(&mut self, conn: ConnId, event: i32, path: &str) {
        *self.sent += 1;
        if let Some(late) = &mut self.late {
            let mut frame = Vec::new();
            put_event(self.zxid, event, path, &mut frame);
            late.push((conn, frame));
            return;
        }
        self.out
            .reply(conn, |out| put_event(self.zxid, event, path, out));
    }
}
