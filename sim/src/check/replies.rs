//! Replies on their way to the checkers that each of them concerns.

use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::records::ErrorCode;

use super::access::Asker;
use super::{Checks, Ticket, access, durability, linear, multi, quota, read_only, room, session};
use crate::clients::ops::{Body, Op, Reply};
use crate::observe::{ClientId, SimTime};

const THROTTLED: i32 = ErrorCode::ThrottledOp.code();
const NO_AUTH: i32 = ErrorCode::NoAuth.code();
const INVALID_ACL: i32 = ErrorCode::InvalidAcl.code();

impl Checks {
    /// Is the client's server without a quorum?
    pub(super) fn is_read_only(&self, client: ClientId) -> bool {
        self.connections.get(client).is_some_and(|c| c.read_only)
    }

    /// An auth request leaves a client: whoever it proves sends what comes after it.
    pub(super) fn claimed(&mut self, client: ClientId, op: &Op) {
        let Op::Auth { scheme, auth } = op else {
            return;
        };
        let Some(connection) = self.connections.get_mut(client) else {
            return;
        };
        let access = &self.model.access;
        if let Some(who) = access.proven(&connection.who, scheme, auth) {
            connection.who = who.clone();
            self.watches.claims(client, &who);
        }
    }

    fn auth_replied(&mut self, client: ClientId, op: &Op, ticket: &Ticket, reply: &Reply) {
        let Op::Auth { scheme, auth } = op else {
            unreachable!("the caller has looked");
        };
        let proven = self.model.access.proven(&ticket.who, scheme, auth);
        if proven.is_some() {
            self.watches.is_known(client);
        }
        let judged = access::judge_auth(proven.is_some(), op, reply);
        self.note(access::RULE, judged);
    }

    /// A reply reaches its client.
    #[allow(clippy::too_many_arguments)] // each is a different fact of one reply
    pub fn replied(
        &mut self,
        t: SimTime,
        client: ClientId,
        session: SessionId,
        xid: i32,
        op: &Op,
        ticket: &Ticket,
        reply: &Reply,
    ) {
        if !self.goes_on() {
            return;
        }
        if matches!(op, Op::Auth { .. }) {
            return self.auth_replied(client, op, ticket, reply);
        }
        let is_eager = self.setup.rules.eager_acl_check && reply.zxid == Zxid::ZERO;
        let judged = if is_eager && op.is_write() {
            Ok(())
        } else {
            self.sessions.replied(session, reply)
        };
        let judged = judged.map_err(|e| format!("{e}: {client}'s {op:?}, sent {}", ticket.sent));
        self.note(session::RULE, judged);
        let is_read_only = self.is_read_only(client);
        if is_read_only {
            let judged = read_only::judge_refusal(op, reply);
            self.note(read_only::RULE, judged);
            if !self.prefix.is_committed(reply.zxid) {
                self.watches.is_blind(client);
            }
        }
        let judged = self.watches.replied(client, reply.zxid);
        self.noted(judged);
        self.ephemerals
            .answered(&self.setup, t, session, ticket.sent);
        match (op.is_write(), is_read_only) {
            (true, true) => {}
            (true, false) => self.write_replied(session, xid, op, ticket, reply),
            (false, _) => self.read_replied(client, session, op, ticket, reply),
        }
        let expired = reply.result == Err(ErrorCode::SessionExpired.code());
        if expired && self.model.is_alive(session) {
            self.expired(t, session, None);
        }
    }

    fn write_replied(
        &mut self,
        session: SessionId,
        xid: i32,
        op: &Op,
        ticket: &Ticket,
        reply: &Reply,
    ) {
        // The end of a local session is nobody else's business.
        if *op == Op::CloseSession && reply.result.is_ok() && self.model.is_local(session) {
            return self.linear.passed_over(session, xid);
        }
        if reply.result == Err(room::REFUSED) {
            let is_calm = |from| self.are_calm(from);
            let judged = self.room.judge_refusal(&self.setup, ticket.sent, is_calm);
            self.note(room::RULE, judged);
        }
        if let Some(judged) = self.refused_here(session, op, ticket, reply) {
            self.note(linear::RULE, judged);
            return self.linear.passed_over(session, xid);
        }
        let has_room = reply.result != Err(room::REFUSED);
        if let Ok(Body::Multi(results)) = &reply.result {
            self.note(multi::RULE, multi::judge_reply(reply.zxid, results));
        }
        self.acknowledged += u64::from(reply.result.is_ok());
        let judged = self.linear.replied(session, xid, reply);
        self.note(linear::RULE, judged);
        let refused = reply.result == Err(ErrorCode::SessionExpired.code());
        if !refused {
            let judged = self
                .durability
                .judge(&self.setup, reply.zxid, "acknowledged");
            self.note(durability::RULE, judged);
            if has_room {
                self.liveness.acknowledged(ticket.sent);
            }
        }
    }

    /// A write that the client's own server refused before it asked the leader: because it waited
    /// for too long, by the access lists of a tree that the server had at that moment, or because
    /// the leader had said that the disks have no room.
    fn refused_here(
        &self,
        session: SessionId,
        op: &Op,
        ticket: &Ticket,
        reply: &Reply,
    ) -> Option<Result<(), String>> {
        let rules = &self.setup.rules;
        match reply.result {
            Err(room::REFUSED) if !self.linear.is_refusal(session, op, reply.zxid) => Some(Ok(())),
            Err(THROTTLED) if !rules.throttle.wait_max.is_zero() => Some(Ok(())),
            Err(code @ (NO_AUTH | INVALID_ACL))
                if reply.zxid == Zxid::ZERO && rules.eager_acl_check =>
            {
                let who = &ticket.who;
                let from = self.sessions.seen(session);
                let is_right = self.model.refuses_between((who, op), code, from);
                Some(if is_right {
                    Ok(())
                } else {
                    Err(format!(
                        "{op:?} of {who:?} is refused with {code} since {from}"
                    ))
                })
            }
            _ => None,
        }
    }

    fn read_replied(
        &mut self,
        client: ClientId,
        session: SessionId,
        op: &Op,
        ticket: &Ticket,
        reply: &Reply,
    ) {
        let by = Asker {
            session,
            who: &ticket.who,
        };
        let judged = if self.is_read_only(client) {
            let is_committed = self.prefix.is_committed(reply.zxid);
            let read = &mut self.read_only;
            match op {
                Op::Sync { .. } => Ok(()),
                op => read.read(&self.model, by, op, reply, is_committed),
            }
        } else {
            session::judge_read(&self.model, by, op, reply)
        };
        let rule = match op {
            _ if self.is_read_only(client) => read_only::RULE,
            Op::WhoAmI => access::RULE,
            op if quota::is_look(op) => quota::RULE,
            _ => session::RULE_READ,
        };
        self.note(rule, judged);
        match op {
            Op::Sync { .. } => {
                self.note(linear::RULE_SYNC, linear::judge_sync(ticket.floor, reply));
            }
            Op::SetWatches { .. } => {
                let judged = self.watches.set_watches(&self.model, client, op, reply);
                self.noted(judged);
            }
            Op::FindWatch { .. } => {
                let judged = self.watches.find(client, op, reply);
                self.noted(judged);
            }
            _ => {
                let judged = self.watches.read(client, op, reply);
                self.noted(judged);
            }
        }
    }
}
