//! The client side of one server: connections, handshakes, the order of each session's requests,
//! replies and watch events.
//!
//! Knows what a client may send and what it is promised. Refuses to know who leads, how writes
//! become transactions and when they are committed: writes, syncs, new and returning sessions
//! leave as [`Upstream`] items, and come back through [`Clients::on_applied`],
//! [`Clients::on_synced`] and [`Clients::on_revalidated`].
//!
//! The promises, per connection:
//! - Replies leave in the order of the requests. Writes go upstream at once; whatever comes after
//!   one waits for it, so a session reads its own writes.
//! - The event of a watch leaves before any reply that shows the change, because events are sent
//!   when a transaction is applied, before anything else may look at the tree.

mod alarms;
mod authentication;
mod connection;
mod desk;
mod door;
mod eager;
mod handshake;
mod local;
mod reply;
mod scope;
mod service;
mod throttle;
mod torn;
mod unread;
mod watching;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use alarms::Alarms;
use connection::{Connection, Phase};
use desk::Desk;
use door::Door;
use reply::Notifier;
use service::Service;
pub use throttle::Throttled;

use crate::boundary::{Action, CloseReason, Event, Outbox, Whom};
use crate::config::Config;
use crate::database::{Change, Database, Outcome};
use crate::ids::{ConnId, SessionId, Zxid};
use crate::limits::{
    CLIENT_HELD_BYTES_MAX, CLIENT_OUTSTANDING_BYTES_MAX, PROPOSALS_OUTSTANDING_MAX,
    SESSIONLESS_CONNECTION_TIMEOUT,
};
use crate::mutants::Mutant;
use crate::session::Scope;
use crate::session::id::SessionIds;
use crate::time::{Instant, Now};
use crate::watch::Watches;
use crate::wire::records::{Id, op};
use crate::wire::txn::TxnHeader;

/// What must go to the leader, or to the preparer if this server leads or stands alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// A write, a sync, `CREATE_SESSION` (body: the timeout as i32) or `CLOSE_SESSION`.
    Request {
        session: SessionId,
        scope: Scope,
        /// Comes back in the transaction's header, unchanged.
        cxid: i32,
        /// See [`op`].
        op: i32,
        body: Vec<u8>,
        identities: Arc<[Id]>,
    },
    /// A client came with a session that it had before.
    Revalidate { session: SessionId, timeout_ms: i32 },
}

/// What the pipeline may look at and write to while it handles something.
#[derive(Debug)]
pub struct Serving<'a> {
    pub now: Now,
    pub db: &'a Database,
    pub out: &'a mut Outbox,
}

/// All client connections of one server.
#[derive(Debug)]
pub struct Clients {
    timeout_min_ms: i32,
    timeout_max_ms: i32,
    session_ids: SessionIds,
    connections: BTreeMap<ConnId, Connection>,
    /// The connection that speaks for a session here, from its handshake on.
    by_session: BTreeMap<SessionId, ConnId>,
    /// Who has asked the leader for which session, oldest first; the connection may be gone.
    revalidations: VecDeque<(SessionId, ConnId)>,
    alarms: Alarms,
    /// Connections with replies that did not fit into the turn.
    backlog: VecDeque<ConnId>,
    backlog_due: Instant,
    /// Bytes of connections that are not read for now.
    held_bytes: usize,
    /// Bytes that clients have not read, by the driver's word.
    unread_bytes: usize,
    door: Door,
    desk: Desk,
}

impl Clients {
    pub fn new(config: &Config, now: Now) -> Self {
        let ms = |d: Duration| i32::try_from(d.as_millis()).unwrap_or(i32::MAX);
        let (timeout_min_ms, timeout_max_ms) = (
            ms(config.session_timeout_min),
            ms(config.session_timeout_max),
        );
        assert!(
            0 < timeout_min_ms && timeout_min_ms <= timeout_max_ms,
            "session timeout bounds"
        );
        Self {
            timeout_min_ms,
            timeout_max_ms,
            session_ids: SessionIds::start(config.me, now.wall),
            connections: BTreeMap::new(),
            by_session: BTreeMap::new(),
            revalidations: VecDeque::new(),
            alarms: Alarms::default(),
            backlog: VecDeque::new(),
            backlog_due: Instant::default(),
            held_bytes: 0,
            unread_bytes: 0,
            door: Door::new(&config.rules, now.mono),
            desk: Desk::new(config, now),
        }
    }

    pub fn is_serving(&self) -> bool {
        self.desk.service == Service::Full
    }

    pub fn is_read_only(&self) -> bool {
        self.desk.service == Service::ReadOnly
    }

    /// The server has found its role, in the epoch that began at `start`, and may answer from its
    /// tree.
    pub fn start_serving(&mut self, start: Zxid) {
        assert!(self.desk.service == Service::Closed, "serving already");
        self.desk.service = Service::Full;
        self.desk.takes_writes = true;
        self.desk.start = start;
    }

    /// The server has been without a quorum for a while: it shows its last state to those who can
    /// live with that. What it was told of the last epoch's start stays true.
    pub fn start_read_only(&mut self) {
        assert!(self.desk.service == Service::Closed, "serving already");
        self.desk.service = Service::ReadOnly;
    }

    /// Are writes taken? Otherwise they are refused: the disks have no room for them. Sessions
    /// come and go all the same.
    pub fn takes_writes(&self) -> bool {
        self.desk.takes_writes
    }

    pub fn set_takes_writes(&mut self, takes: bool) {
        self.desk.takes_writes = takes;
    }

    /// What clients see as this server's zxid.
    pub fn visible(&self, db: &Database) -> Zxid {
        self.desk.visible(db)
    }

    /// The role ended: closes every connection and forgets what was under way. What went upstream
    /// may still be committed; nobody waits for it here any more.
    pub fn stop_serving(&mut self, out: &mut Outbox, why: CloseReason) {
        self.desk.service = Service::Closed;
        let all: Vec<ConnId> = self.connections.keys().copied().collect();
        for conn in all {
            self.close(conn, why.clone(), out);
        }
        self.backlog.clear();
        self.revalidations.clear();
        self.desk.throttle.clear();
        self.desk.locals.clear();
        self.desk.forget_upstream();
        assert!(self.by_session.is_empty() && self.alarms.is_empty());
        assert!(self.held_bytes == 0 && self.unread_bytes == 0);
        assert!(self.desk.outstanding() == 0);
        assert!(self.desk.watches.count() == 0);
    }

    /// A client has connected. It is turned away at once if there are too many.
    pub fn handle_opened(&mut self, conn: ConnId, address: IpAddr, now: Now, out: &mut Outbox) {
        if let Err(why) = self.door.enter(address) {
            return out.push(Action::Close {
                whom: Whom::Client(conn),
                why,
            });
        }
        let due = now.mono + SESSIONLESS_CONNECTION_TIMEOUT;
        let new = Connection::new(conn, address, now.mono, due);
        let old = self.connections.insert(conn, new);
        assert!(old.is_none(), "connection {conn:?} opened twice");
        self.alarms.set(due, conn);
    }

    /// Bytes from a client. Those of a connection that was closed here are ignored.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], ctx: &mut Serving<'_>) {
        if let Some(c) = self.connections.get_mut(&conn) {
            if matches!(c.phase, Phase::Open(_)) {
                c.heard = ctx.now.mono;
            }
            self.desk
                .throttle
                .note(&mut c.arrivals, bytes.len(), ctx.now.mono);
            self.advance(conn, bytes, ctx);
        }
        self.deliver_late_events(ctx);
    }

    /// The client hung up. Its session stays, its writes under way too.
    pub fn handle_closed(&mut self, conn: ConnId) {
        self.forget(conn);
    }

    /// A committed transaction is about to be applied to the tree: what its session has asked for
    /// before is answered from the tree as it is.
    pub fn before_applied(&mut self, session: SessionId, ctx: &mut Serving<'_>) {
        if self.is_serving()
            && let Some(&conn) = self.by_session.get(&session)
        {
            self.answer_overdue(conn, ctx);
        }
    }

    /// Says whether the connection is still there.
    fn answer_overdue(&mut self, conn: ConnId, ctx: &mut Serving<'_>) -> bool {
        let Some(c) = self.connections.get_mut(&conn) else {
            return false;
        };
        match self.desk.send_overdue(c, ctx) {
            Ok(()) => true,
            Err(why) => {
                self.close(conn, why, ctx.out);
                false
            }
        }
    }

    /// A committed transaction was applied to the tree: tells watchers, answers the request if it
    /// came from here, then what waited behind it.
    pub fn on_applied(
        &mut self,
        header: &TxnHeader,
        outcome: &Outcome,
        changes: &[Change],
        ctx: &mut Serving<'_>,
    ) {
        if !self.is_serving() {
            return;
        }
        let mut late = self.desk.take_late_events();
        for change in changes {
            let delay = self.desk.mutants.has(Mutant::WatchAfterRead);
            let mut notifier = Notifier {
                rules: &self.desk.rules,
                connections: &self.connections,
                zxid: header.zxid,
                sent: &mut self.desk.sent,
                out: ctx.out,
                late: delay.then_some(&mut late),
            };
            self.desk.watches.fire(change, &mut notifier);
        }
        if let Some(&conn) = self.by_session.get(&header.session) {
            match header.kind {
                op::CREATE_SESSION => self.on_session_created(conn, outcome, ctx),
                op::CLOSE_SESSION => self.on_session_closed(conn, header, outcome, ctx),
                // The id had a session before, because the clock was set back. The client, which
                // knows of none, comes again and gets another.
                op::ERROR if self.is_creating(conn) => {
                    self.close(conn, CloseReason::SessionRefused(header.session), ctx.out);
                }
                _ => self.on_write_applied(conn, header, outcome, ctx),
            }
        }
        self.desk.keep_late_events(late);
    }

    fn on_write_applied(
        &mut self,
        conn: ConnId,
        header: &TxnHeader,
        outcome: &Outcome,
        ctx: &mut Serving<'_>,
    ) {
        let c = self
            .connections
            .get_mut(&conn)
            .expect("a session's connection is known");
        if !c.has_write(header.cxid, header.kind, outcome) {
            return;
        }
        if reply::is_session_moved(outcome) {
            let session = header.session;
            return self.close(conn, CloseReason::SessionMoved(session), ctx.out);
        }
        self.desk.finish_write(c, header.zxid, outcome, ctx);
        self.advance(conn, &[], ctx);
    }

    /// Somebody ended a session that is connected here: its client, another server's, or time.
    fn on_session_closed(
        &mut self,
        conn: ConnId,
        header: &TxnHeader,
        outcome: &Outcome,
        ctx: &mut Serving<'_>,
    ) {
        let c = self
            .connections
            .get_mut(&conn)
            .expect("a session's connection is known");
        match c.phase {
            Phase::Connecting(_) => self.refuse(conn, ctx),
            Phase::Open(_) | Phase::Draining(_) => {
                if c.has_write(header.cxid, header.kind, outcome) {
                    self.desk.finish_write(c, header.zxid, outcome, ctx);
                    self.advance(conn, &[], ctx);
                }
                self.close(conn, CloseReason::SessionClosed(header.session), ctx.out);
            }
            Phase::Fresh => unreachable!("a session's connection has shaken hands"),
        }
    }

    /// The oldest sync that went upstream is done: what was committed before it is applied here.
    pub fn on_synced(&mut self, ctx: &mut Serving<'_>) {
        let Some(conn) = self.desk.syncs.pop_front() else {
            return;
        };
        if !self.answer_overdue(conn, ctx) {
            return;
        }
        let c = self.connections.get_mut(&conn).expect("seen above");
        self.desk.finish_sync(c, ctx);
        self.advance(conn, &[], ctx);
    }

    /// What must go upstream since the last call, in order.
    pub fn take_upstream(&mut self) -> Vec<Upstream> {
        core::mem::take(&mut self.desk.upstream)
    }

    /// Puts back what can not be taken yet, in front of what has come since.
    pub fn hold_upstream(&mut self, mut items: Vec<Upstream>) {
        items.append(&mut self.desk.upstream);
        self.desk.upstream = items;
    }

    /// Sessions heard from since the last call, with their timeouts in milliseconds.
    pub fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        self.desk.take_touched()
    }

    /// Goes on with replies that did not fit into the last turn, and closes idle connections.
    pub fn on_wake(&mut self, ctx: &mut Serving<'_>) {
        for _ in 0..self.backlog.len() {
            let conn = self.backlog.pop_front().expect("counted");
            let Some(c) = self.connections.get_mut(&conn) else {
                continue;
            };
            c.in_backlog = false;
            self.advance(conn, &[], ctx);
        }
        while let Some(conn) = self.alarms.pop_due(ctx.now.mono) {
            self.on_alarm(conn, ctx);
        }
        self.expire_locals(ctx);
        self.deliver_late_events(ctx);
    }

    /// Local sessions of which nothing was heard for too long. One whose connection may still
    /// speak is not over: it could not be listened to.
    fn expire_locals(&mut self, ctx: &mut Serving<'_>) {
        let now = ctx.now.mono;
        while let Some(session) = self.desk.locals.first_due(now) {
            let conn = self.by_session.get(&session).copied();
            let c = conn.and_then(|conn| self.connections.get(&conn));
            if let Some(Phase::Open(s) | Phase::Draining(s)) = c.map(|c| c.phase)
                && c.is_some_and(|c| c.idle_at() > now)
            {
                self.desk.locals.touch(session, s.timeout_ms, now);
                continue;
            }
            self.desk.locals.remove(session, now);
            ctx.out
                .push(Action::Report(Event::SessionExpired { session }));
            if let Some(conn) = conn {
                self.close(conn, CloseReason::SessionClosed(session), ctx.out);
            }
        }
    }

    /// A connection's time may be up, unless it was heard from meanwhile.
    fn on_alarm(&mut self, conn: ConnId, ctx: &mut Serving<'_>) {
        let is_reading = self.wants_input();
        let c = self
            .connections
            .get_mut(&conn)
            .expect("alarms belong to connections");
        let mut due = c.idle_at();
        if due <= ctx.now.mono && !is_reading && c.session().is_some() {
            // It may have spoken; this server did not listen.
            c.heard = ctx.now.mono;
            due = c.idle_at();
        }
        // The entry is gone from the alarms; `forget` must not miss it.
        c.alarm = due.max(ctx.now.mono);
        self.alarms.set(c.alarm, conn);
        if due > ctx.now.mono {
            return;
        }
        if let Some(session) = c.session()
            && self.desk.mutants.has(Mutant::FollowerExpires)
        {
            self.desk.expire(session);
        }
        let unread = c.unread;
        let why = if unread.is_clogged() {
            CloseReason::NotReading {
                unread: unread.bytes,
            }
        } else {
            CloseReason::Idle
        };
        self.close(conn, why, ctx.out);
    }

    /// Goes on with requests that waited because too many were in process.
    pub fn resume_throttled(&mut self, ctx: &mut Serving<'_>) {
        while let Some(conn) = self.desk.throttle.dequeue(self.desk.outstanding()) {
            if let Some(c) = self.connections.get_mut(&conn) {
                c.is_throttled = false;
                self.advance(conn, &[], ctx);
            }
        }
    }

    /// When [`Self::on_wake`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let backlog = (!self.backlog.is_empty()).then_some(self.backlog_due);
        let locals = self.desk.locals.deadline();
        let others = self.alarms.next().into_iter().chain(locals);
        backlog.into_iter().chain(others).min()
    }

    /// May clients be read? Not while so much is under way or waiting that more would only pile
    /// up. All of it waits for the ensemble or for the next turn, never for more input.
    pub fn wants_input(&self) -> bool {
        self.desk.outstanding_bytes() < CLIENT_OUTSTANDING_BYTES_MAX
            && self.held_bytes < CLIENT_HELD_BYTES_MAX
            && self.desk.syncs.len() < PROPOSALS_OUTSTANDING_MAX
    }

    /// Connections and handshakes that were turned away since the start.
    pub fn connections_rejected(&self) -> u64 {
        self.door.rejected()
    }

    /// What became of requests that were too many or too large, since the start.
    pub fn throttled(&self) -> Throttled {
        self.desk.throttle.counters
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Sessions in this server's memory only.
    pub fn local_sessions(&self) -> usize {
        self.desk.locals.len()
    }

    /// Requests that are not answered yet, handshakes included.
    pub fn outstanding(&self) -> usize {
        self.desk.outstanding()
    }

    pub fn watch_count(&self) -> usize {
        self.desk.watches.count()
    }

    /// The watches of all connections.
    pub fn watches(&self) -> &Watches {
        &self.desk.watches
    }

    /// The session that a connection speaks for, once it has one.
    pub fn session_of(&self, conn: ConnId) -> Option<SessionId> {
        self.connections.get(&conn)?.session()
    }

    pub fn packets_received(&self) -> u64 {
        self.desk.received
    }

    pub fn packets_sent(&self) -> u64 {
        self.desk.sent
    }

    /// Answers what is ready and reads on, until something must be waited for.
    fn advance(&mut self, conn: ConnId, mut chunk: &[u8], ctx: &mut Serving<'_>) {
        if self
            .connections
            .get(&conn)
            .is_some_and(|c| matches!(c.phase, Phase::Fresh))
        {
            self.greet(conn, &mut chunk, ctx);
        }
        let Some(c) = self.connections.get_mut(&conn) else {
            return;
        };
        let started = ctx.out.len();
        if let Err(why) = self.desk.work(c, chunk, ctx) {
            return self.close(conn, why, ctx.out);
        }
        if c.can_go_on() && desk::is_enough(started, ctx) && !c.in_backlog {
            c.in_backlog = true;
            self.backlog.push_back(conn);
            self.backlog_due = ctx.now.mono + Duration::from_nanos(1);
        }
        let held = c.held_while_waiting();
        self.held_bytes = self.held_bytes + held - c.held_counted;
        c.held_counted = held;
    }

    /// Closes from this side.
    fn close(&mut self, conn: ConnId, why: CloseReason, out: &mut Outbox) {
        if self.forget(conn) {
            out.push(Action::Close {
                whom: Whom::Client(conn),
                why,
            });
        }
    }

    /// Drops everything that belongs to a connection. Says whether there was one.
    fn forget(&mut self, conn: ConnId) -> bool {
        let Some(c) = self.connections.remove(&conn) else {
            return false;
        };
        self.alarms.cancel(c.alarm, conn);
        self.held_bytes -= c.held_counted;
        self.unread_bytes -= c.unread.bytes;
        self.door.leave(c.address);
        self.desk.dismiss(&c);
        if let Some(session) = c.session()
            && self.by_session.get(&session) == Some(&conn)
        {
            self.by_session.remove(&session);
        }
        true
    }

    /// Only with [`Mutant::WatchAfterRead`].
    fn deliver_late_events(&mut self, ctx: &mut Serving<'_>) {
        for (conn, frame) in self.desk.take_late_events() {
            if self.connections.contains_key(&conn) {
                ctx.out.reply(conn, |out| out.extend_from_slice(&frame));
            }
        }
    }
}

#[cfg(test)]
mod tests;
