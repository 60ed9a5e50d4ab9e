//! Who a connection is: its auth and sasl requests, and servers that answer nobody whom they do
//! not know.
//!
//! Knows: which schemes can be proven here, and what is refused how. Refuses to know: what an
//! identity may do; that is for access lists, where a request is carried out.

use super::Serving;
use super::connection::Connection;
use super::desk::Desk;
use super::reply::{put_answer, put_header};
use crate::acl;
use crate::boundary::CloseReason;
use crate::ids::Zxid;
use crate::limits::{IDENTITIES_BYTES_MAX, IDENTITIES_MAX};
use crate::wire::client::{Request, RequestHeader};
use crate::wire::jute::{Reader, Write};
use crate::wire::records::{ErrorCode, Id, op};

impl Desk {
    /// Refuses whatever comes from a connection that has proven none of the schemes that this
    /// server asks for, and closes it. Only what may prove one is let through.
    pub(super) fn demand_authentication(
        &mut self,
        c: &mut Connection,
        header: RequestHeader,
        ctx: &mut Serving<'_>,
    ) -> Option<Result<(), CloseReason>> {
        let schemes = &self.rules.enforced_schemes;
        let is_proof = matches!(header.op, op::AUTH | op::SASL);
        let is_known = |who: &Id| schemes.contains(&who.scheme);
        if schemes.is_empty() || is_proof || c.identities.iter().any(is_known) {
            return None;
        }
        let error = ErrorCode::SessionClosedRequireSaslAuth;
        let why = CloseReason::AuthenticationRequired;
        // Not even a ping's xid is changed.
        Some(self.send_last(c, why, ctx, |out| {
            put_header(header.xid, Zxid::ZERO, error, out);
        }))
    }

    /// Adds an identity to the connection, for the requests that come after.
    ///
    /// Answered in its turn: ZooKeeper answers at once, but some clients (kazoo) then take the
    /// answer for that of an older request.
    pub(super) fn authenticate(
        &mut self,
        c: &mut Connection,
        xid: i32,
        body: &[u8],
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        let Ok(Request::Auth { scheme, auth }) = Request::decode(op::AUTH, body) else {
            return Err(CloseReason::FrameMalformed);
        };
        if acl::prove(&self.rules, &scheme, auth).is_some_and(|proven| add_identities(c, proven)) {
            self.send_in_turn(c, ctx, |out| {
                put_header(xid, Zxid::ZERO, ErrorCode::Ok, out);
            });
            return Ok(());
        }
        let error = ErrorCode::AuthFailed;
        self.send_last(c, CloseReason::AuthFailed, ctx, |out| {
            put_header(xid, Zxid::ZERO, error, out);
        })
    }

    /// Answers a SASL token as a ZooKeeper does that has no login configured: with null, which is
    /// no error and proves nothing. Clients that were told to use SASL give up by themselves.
    pub(super) fn answer_sasl(
        &mut self,
        c: &mut Connection,
        xid: i32,
        body: &[u8],
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        // ZooKeeper drops a null token's connection too.
        let token = Reader::new(body).buffer().ok().flatten();
        token.ok_or(CloseReason::FrameMalformed)?;
        self.send_in_turn(c, ctx, |out| {
            put_answer(xid, Zxid::ZERO, out, |out| {
                out.put_buffer(None);
                Ok(())
            });
        });
        Ok(())
    }
}

/// Says whether the connection may have all of them, besides those that it has.
fn add_identities(c: &mut Connection, proven: impl IntoIterator<Item = Id>) -> bool {
    let mut all = c.identities.to_vec();
    for identity in proven {
        if !all.contains(&identity) {
            all.push(identity);
        }
    }
    if all.len() == c.identities.len() {
        return true;
    }
    let bytes: usize = all.iter().map(|id| id.scheme.len() + id.id.len()).sum();
    if all.len() > IDENTITIES_MAX || bytes > IDENTITIES_BYTES_MAX {
        return false;
    }
    c.identities = all.into();
    true
}
