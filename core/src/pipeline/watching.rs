//! The operations that are only about watches: addWatch, checkWatches, removeWatches, and
//! setWatches, by which a client that comes back sets its watches again.

use alloc::vec;
use alloc::vec::Vec;

use super::desk::{Desk, Who};
use super::reply::{NO_ZXID, put_answer, put_event, put_header};
use crate::boundary::CloseReason;
use crate::database::Database;
use crate::ids::{ConnId, Zxid};
use crate::reads::{self, Rewatch, Rewatched};
use crate::watch::{Full, WatchKind};
use crate::wire::client::{Request, watch_mode, watcher_type};
use crate::wire::jute::Write;
use crate::wire::records::{ErrorCode, op};

/// Is this an operation that [`Desk::answer_watching`] knows?
pub(super) const fn is_watching(op: i32) -> bool {
    matches!(
        op,
        op::ADD_WATCH | op::CHECK_WATCHES | op::REMOVE_WATCHES | op::SET_WATCHES | op::SET_WATCHES2
    )
}

impl From<Full> for ErrorCode {
    fn from(_: Full) -> Self {
        Self::ThrottledOp
    }
}

impl Desk {
    /// Appends the frames that answer a request about watches. `Err`: then close the connection.
    pub(super) fn answer_watching(
        &mut self,
        who: Who<'_>,
        xid: i32,
        op: i32,
        body: &[u8],
        db: &Database,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        let zxid = self.visible(db);
        let Ok(request) = Request::decode(op, body) else {
            put_header(xid, zxid, ErrorCode::MarshallingError, out);
            return Ok(());
        };
        if let Request::SetWatches { relative, .. } | Request::SetWatches2 { relative, .. } =
            request
        {
            let set = self.set_watches(who.conn, relative, request, db, out);
            set.map_err(|Full| CloseReason::WatchesFull)?;
            put_header(xid, zxid, ErrorCode::Ok, out);
            return Ok(());
        }
        put_answer(xid, zxid, out, |out| match request {
            Request::AddWatch { path, mode } => {
                let kind = match mode {
                    watch_mode::PERSISTENT => WatchKind::Persistent,
                    watch_mode::PERSISTENT_RECURSIVE => WatchKind::Recursive,
                    _ => return Err(ErrorCode::MarshallingError),
                };
                self.watches.add(kind, &path, who.conn)?;
                // An ErrorResponse without an error.
                out.put_i32(ErrorCode::Ok.code());
                Ok(())
            }
            Request::CheckWatches { path, kind } => {
                found(self.watches.contains(watcher_kind(kind)?, &path, who.conn))
            }
            Request::RemoveWatches { path, kind } => {
                found(self.watches.remove(watcher_kind(kind)?, &path, who.conn))
            }
            _ => unreachable!("not about watches"),
        });
        Ok(())
    }

    /// Sets watches again. Those whose event was missed fire now.
    fn set_watches(
        &mut self,
        conn: ConnId,
        relative: Zxid,
        request: Request<'_>,
        db: &Database,
        out: &mut Vec<u8>,
    ) -> Result<(), Full> {
        let (data, exist, child, persistent, recursive) = match request {
            Request::SetWatches {
                data, exist, child, ..
            } => (data, exist, child, vec![], vec![]),
            Request::SetWatches2 {
                data,
                exist,
                child,
                persistent,
                recursive,
                ..
            } => (data, exist, child, persistent, recursive),
            _ => unreachable!("no setWatches"),
        };
        let lists = [
            (Rewatch::Data, data),
            (Rewatch::Exist, exist),
            (Rewatch::Child, child),
            (Rewatch::Persistent, persistent),
            (Rewatch::Recursive, recursive),
        ];
        for (watch, paths) in lists {
            for path in paths {
                match reads::rewatch(db, watch, &path, relative) {
                    Rewatched::Missed(event) => {
                        self.sent += 1;
                        put_event(NO_ZXID, event, &path, out);
                    }
                    Rewatched::Register(kind) => self.watches.add(kind, &path, conn)?,
                }
            }
        }
        Ok(())
    }
}

/// `None`: any kind.
fn watcher_kind(number: i32) -> Result<Option<WatchKind>, ErrorCode> {
    Ok(Some(match number {
        watcher_type::CHILDREN => WatchKind::Child,
        watcher_type::DATA => WatchKind::Data,
        watcher_type::ANY => return Ok(None),
        watcher_type::PERSISTENT => WatchKind::Persistent,
        watcher_type::PERSISTENT_RECURSIVE => WatchKind::Recursive,
        _ => return Err(ErrorCode::MarshallingError),
    }))
}

fn found(is_there: bool) -> Result<(), ErrorCode> {
    if is_there {
        Ok(())
    } else {
        Err(ErrorCode::NoWatcher)
    }
}
