//! What local sessions do by themselves: how they end, and how they become global.
//!
//! Knows: that nobody else has heard of them. Refuses to know: which of them there are.

use super::connection::{Connection, Pending, Phase, Session};
use super::desk::Desk;
use super::{Serving, Upstream};
use crate::boundary::CloseReason;
use crate::session::Scope;
use crate::time::Instant;
use crate::wire::client::RequestHeader;
use crate::wire::records::{ErrorCode, op};

impl Desk {
    /// A global session ends by a transaction, a local one at once.
    pub(super) fn close_session(
        &mut self,
        c: &mut Connection,
        header: RequestHeader,
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        let Phase::Open(session) = c.phase else {
            unreachable!("only open sessions are closed")
        };
        if session.scope == Scope::Global {
            self.submit_write(c, header, &[]);
            c.phase = Phase::Draining(session);
            return Ok(());
        }
        self.locals.remove(session.id, ctx.now.mono);
        let (xid, why) = (header.xid, CloseReason::SessionClosed(session.id));
        if c.is_idle() {
            self.tell(c, xid, ErrorCode::Ok, ctx);
            return Err(why);
        }
        c.phase = Phase::Draining(session);
        self.push(c, Pending::Farewell { xid, why }, size_of::<Pending>());
        Ok(())
    }

    /// A local session wants to own a node: it is created for everybody first, with the same id.
    pub(super) fn upgrade(&mut self, c: &mut Connection, session: Session, now: Instant) {
        self.locals.remove(session.id, now);
        let scope = Scope::Global;
        c.phase = Phase::Open(Session { scope, ..session });
        self.upstream.push(Upstream::Request {
            session: session.id,
            scope: Scope::Global,
            cxid: 0,
            op: op::CREATE_SESSION,
            body: session.timeout_ms.to_be_bytes().to_vec(),
            identities: c.identities.clone(),
        });
    }
}
