//! Requests of open sessions: what is answered here, what goes upstream, what waits; and what all
//! connections share for that.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;

use alloc::sync::Arc;

use super::connection::{Connection, Pending, Phase};
use super::local::{Locals, makes_ephemerals};
use super::reply::{NO_ZXID, put_answer, put_header, put_outcome};
use super::service::changes_nodes;
use super::throttle::{Throttle, Verdict};
use super::watching::is_watching;
use super::{Service, Serving, Upstream};
use crate::boundary::{Action, CloseReason, Event};
use crate::config::{Config, Rules};
use crate::database::{Database, Outcome};
use crate::ids::{ConnId, SessionId, Zxid};
use crate::limits::{Limit, REFUSAL_REPORT_INTERVAL, REPLY_BYTES_AT_ONCE, REPLY_BYTES_PER_TURN};
use crate::mutants::{Mutant, Mutants};
use crate::reads::{self, Read};
use crate::session::Scope;
use crate::time::{Instant, Now, Seldom};
use crate::watch::Watches;
use crate::wire::client::{Request, RequestHeader, measure_frame, xid};
use crate::wire::jute::{DecodeError, Reader, Write};
use crate::wire::records::{ErrorCode, Id, op};
use crate::wire::splitter::Splitter;

/// What the connections share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) rules: Rules,
    /// Are writes held against this server's own access lists first? A server that stands alone
    /// has no other.
    pub(super) is_eager: bool,
    pub(super) mutants: Mutants,
    pub(super) service: Service,
    /// False while the disks have no room for them.
    pub(super) takes_writes: bool,
    pub(super) locals: Locals,
    pub(super) watches: Watches,
    /// Where the epoch began in which this server serves; see [`Self::visible`].
    pub(super) start: Zxid,
    pub(super) upstream: Vec<Upstream>,
    /// Whose syncs are upstream, oldest first; the connection may be gone.
    pub(super) syncs: VecDeque<ConnId>,
    touched: Vec<(SessionId, i32)>,
    /// Counts the calls of `take_touched`, so that a connection lists its session once in each.
    touch_round: u64,
    /// High byte of the numbers that this server gives to requests.
    server_byte: i32,
    next_number: i32,
    outstanding: usize,
    outstanding_bytes: usize,
    /// How many there may be, before a connection that has some is not read any more.
    outstanding_max: usize,
    /// Longest frame of a client.
    frame_bytes_max: usize,
    pub(super) throttle: Throttle,
    told_watches: Seldom,
    pub(super) received: u64,
    pub(super) sent: u64,
    /// Only with [`Mutant::WatchAfterRead`].
    late_events: Vec<(ConnId, Vec<u8>)>,
    /// Only with [`Mutant::MultiReadTorn`]: answers to first reads, by connection and xid.
    pub(super) torn: BTreeMap<(ConnId, i32), Vec<u8>>,
}

/// Who asks, where the connection itself is borrowed already.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) conn: ConnId,
    session: SessionId,
    identities: &'a [Id],
}

impl<'a> Who<'a> {
    pub(super) fn reads(self, rules: &'a Rules, op: i32, body: &'a [u8]) -> Read<'a> {
        Read {
            rules,
            session: self.session,
            identities: self.identities,
            op,
            body,
        }
    }
}

impl Desk {
    pub(super) fn new(config: &Config, now: Now) -> Self {
        Self {
            rules: config.rules.clone(),
            is_eager: config.rules.eager_acl_check && !config.is_standalone(),
            mutants: config.mutants,
            service: Service::Closed,
            takes_writes: true,
            locals: Locals::new(config),
            watches: Watches::new(config.seed, config.mutants),
            start: Zxid::ZERO,
            upstream: Vec::new(),
            syncs: VecDeque::new(),
            touched: Vec::new(),
            touch_round: 1,
            server_byte: (config.me.0 as i32) << 24,
            // An earlier life of this server gave other numbers.
            next_number: now.wall.0 as i32,
            outstanding: 0,
            outstanding_bytes: 0,
            outstanding_max: config.outstanding_max(),
            frame_bytes_max: config.rules.frame_bytes_max,
            throttle: Throttle::new(&config.rules.throttle),
            told_watches: Seldom::default(),
            received: 0,
            sent: 0,
            late_events: Vec::new(),
            torn: BTreeMap::new(),
        }
    }

    /// The zxid that clients are told. Every server that serves in an epoch holds all that was
    /// before it, so none of them is behind the epoch's start: a client may go from one that has
    /// seen nothing newer to another.
    pub(super) fn visible(&self, db: &Database) -> Zxid {
        db.applied().max(self.start)
    }

    /// Longest frame of a client.
    pub(super) fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    pub(super) fn outstanding_bytes(&self) -> usize {
        self.outstanding_bytes
    }

    pub(super) fn take_late_events(&mut self) -> Vec<(ConnId, Vec<u8>)> {
        mem::take(&mut self.late_events)
    }

    pub(super) fn keep_late_events(&mut self, late: Vec<(ConnId, Vec<u8>)>) {
        self.late_events = late;
    }

    /// What was upstream comes back no more.
    pub(super) fn forget_upstream(&mut self) {
        self.upstream.clear();
        self.syncs.clear();
        self.touched.clear();
        self.late_events.clear();
    }

    // ----- counts -----

    /// One more handshake waits for upstream.
    pub(super) fn begin_handshake(&mut self) {
        self.outstanding += 1;
    }

    pub(super) fn end_handshake(&mut self) {
        self.outstanding -= 1;
    }

    pub(super) fn push(&mut self, c: &mut Connection, pending: Pending, bytes: usize) {
        c.push(pending, bytes);
        self.throttle.begin(bytes);
        self.outstanding += 1;
        self.outstanding_bytes += bytes;
    }

    fn settle(&mut self, bytes: usize) {
        self.throttle.end(bytes);
        self.outstanding -= 1;
        self.outstanding_bytes -= bytes;
    }

    /// A connection is gone with all that it waited for.
    pub(super) fn dismiss(&mut self, c: &Connection) {
        self.outstanding -= c.queue_len() + usize::from(c.is_connecting());
        self.outstanding_bytes -= c.queue_bytes();
        c.counted().for_each(|bytes| self.throttle.end(bytes));
        self.watches.remove_conn(c.id);
    }

    /// The session of this connection was heard from.
    pub(super) fn touch(&mut self, c: &mut Connection, now: Instant) {
        let Phase::Open(session) = c.phase else {
            return;
        };
        if session.scope == Scope::Local {
            self.locals.touch(session.id, session.timeout_ms, now);
        } else if c.touched_in != self.touch_round {
            c.touched_in = self.touch_round;
            self.touched.push((session.id, session.timeout_ms));
        }
    }

    pub(super) fn take_touched(&mut self) -> Vec<(SessionId, i32)> {
        self.touch_round += 1;
        mem::take(&mut self.touched)
    }

    /// Only with [`Mutant::FollowerExpires`].
    pub(super) fn expire(&mut self, session: SessionId) {
        self.upstream.push(Upstream::Request {
            session,
            scope: Scope::Global,
            cxid: 0,
            op: op::CLOSE_SESSION,
            body: Vec::new(),
            identities: Arc::new([]),
        });
    }

    // ----- work -----

    /// Sends what is ready, then reads frames from what was kept and `chunk` until the connection
    /// must wait. `Err`: close it.
    pub(super) fn work(
        &mut self,
        c: &mut Connection,
        mut chunk: &[u8],
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        match c.phase {
            Phase::Fresh => return Ok(()),
            Phase::Connecting(_) => {
                c.splitter.keep(chunk);
                return Ok(());
            }
            Phase::Open(_) | Phase::Draining(_) => {}
        }
        let started = ctx.out.len();
        self.send_ready(c, started, ctx)?;
        let mut splitter = mem::take(&mut c.splitter);
        let result = loop {
            if matches!(c.phase, Phase::Draining(_)) {
                splitter = Splitter::default();
                break Ok(());
            }
            if splitter.held() == 0 && chunk.is_empty() {
                break Ok(());
            }
            if is_enough(started, ctx) || !self.may_take(c) {
                splitter.keep(chunk);
                break Ok(());
            }
            match splitter.next(&mut chunk, |bytes| self.measure(bytes)) {
                Ok(Some(frame)) => {
                    if let Err(why) = self.take_frame(c, frame, ctx) {
                        break Err(why);
                    }
                }
                Ok(None) => break Ok(()),
                Err(why) => break Err(why),
            }
        };
        c.splitter = splitter;
        if let Err(CloseReason::LargeRequest(_)) = result {
            self.throttle.counters.large_requests_rejected += 1;
        }
        result
    }

    /// Bytes that the frame in front needs, its length word included. Its length is judged as soon
    /// as it is there: what is refused must not fill memory first.
    fn measure(&self, bytes: &[u8]) -> Result<usize, CloseReason> {
        let need = measure_frame(bytes, self.frame_bytes_max).map_err(|error| match error {
            DecodeError::Length(n) => CloseReason::FrameLength(n),
            _ => CloseReason::FrameMalformed,
        })?;
        let length = need - 4;
        if self.throttle.admits(length) {
            Ok(need)
        } else {
            Err(CloseReason::LargeRequest(length))
        }
    }

    /// Does its client not read, so that it is not answered?
    fn is_clogged(&self, c: &Connection) -> bool {
        c.unread.is_clogged() && !self.mutants.has(Mutant::UnreadAnswered)
    }

    /// May the connection's next request be taken up? Not while its client does not read, too much
    /// of its own is in process, or, where that is limited, too much of all clients.
    fn may_take(&mut self, c: &mut Connection) -> bool {
        if self.is_clogged(c) || !c.has_room(self.outstanding_max, self.outstanding) {
            return false;
        }
        let is_full = self.throttle.is_full(self.outstanding);
        if is_full && !c.is_throttled {
            c.is_throttled = true;
            self.throttle.enqueue(c.id);
        }
        !is_full
    }

    /// One frame of an open session, with its length word: taken up, or turned away because it
    /// waited too long.
    fn take_frame(
        &mut self,
        c: &mut Connection,
        frame: &[u8],
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        let request = &frame[4..];
        let (timeout, now) = (c.session_timeout(), ctx.now.mono);
        match self.throttle.judge(&mut c.arrivals, frame, timeout, now) {
            Verdict::Serve => self.take_request(c, request, ctx),
            Verdict::Stale => Err(CloseReason::RequestStale),
            Verdict::TooLate => {
                if let Some(limit) = self.throttle.tell(now) {
                    ctx.out.push(Action::Report(Event::LimitReached(limit)));
                }
                self.received += 1;
                let header = RequestHeader::read(&mut Reader::new(request))
                    .map_err(|_| CloseReason::FrameMalformed)?;
                self.touch(c, now);
                self.refuse_in_turn(c, header.xid, ErrorCode::ThrottledOp, ctx);
                Ok(())
            }
        }
    }

    /// Sends from the front of the queue what waits for nothing any more.
    /// `started` is how much was written when this connection's turn began.
    fn send_ready(
        &mut self,
        c: &mut Connection,
        started: usize,
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        while !is_enough(started, ctx) && !self.is_clogged(c) {
            let Some((pending, bytes)) = c.pop_ready() else {
                return Ok(());
            };
            self.settle(bytes);
            self.send_pending(c, pending, ctx)?;
        }
        Ok(())
    }

    /// Before the oldest write or sync of this connection is done: what was asked before it and
    /// waits for nothing but its share of a turn is answered now, or it would show that write, and
    /// its zxid would be newer than that of the answer behind it. How much that is is bounded by
    /// how many requests a connection may have outstanding.
    ///
    /// # Errors
    /// The client does not read: answers that it takes no time for would have to be kept.
    pub(super) fn send_overdue(
        &mut self,
        c: &mut Connection,
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        if self.mutants.has(Mutant::OverdueAnswers) {
            return Ok(());
        }
        while c.waits_upstream() && c.is_ready() {
            if self.is_clogged(c) {
                let unread = c.unread.bytes;
                return Err(CloseReason::NotReading { unread });
            }
            let (pending, bytes) = c.pop_ready().expect("seen above");
            self.settle(bytes);
            self.send_pending(c, pending, ctx)?;
        }
        Ok(())
    }

    /// Sends what stood in front of the queue and waited for nothing any more.
    fn send_pending(
        &mut self,
        c: &mut Connection,
        pending: Pending,
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        match pending {
            Pending::Parked {
                xid,
                op,
                body,
                identities,
            } => {
                let session = c.session().expect("who asks has a session");
                let who = Who {
                    conn: c.id,
                    session,
                    identities: &identities,
                };
                self.reply(who, xid, op, &body, ctx)?;
            }
            Pending::Refused { xid, error } => self.tell(c, xid, error, ctx),
            Pending::Farewell { xid, why } => {
                self.tell(c, xid, ErrorCode::Ok, ctx);
                return Err(why);
            }
            Pending::Done { frame } => {
                self.sent += 1;
                ctx.out.reply(c.id, |out| out.extend_from_slice(&frame));
            }
            Pending::Last { frame, why } => {
                self.sent += 1;
                ctx.out.reply(c.id, |out| out.extend_from_slice(&frame));
                return Err(why);
            }
            Pending::Write { .. } | Pending::Sync { .. } => unreachable!("not ready"),
        }
        Ok(())
    }

    /// One frame of an open session.
    fn take_request(
        &mut self,
        c: &mut Connection,
        frame: &[u8],
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        self.received += 1;
        let mut r = Reader::new(frame);
        let header = RequestHeader::read(&mut r).map_err(|_| CloseReason::FrameMalformed)?;
        let body = r.rest();
        if let Some(refused) = self.demand_authentication(c, header, ctx) {
            return refused;
        }
        // Proving who one is does not keep a session alive.
        if !matches!(header.op, op::AUTH | op::SASL) {
            self.touch(c, ctx.now.mono);
        }
        if self.service.refuses(header.op, self.takes_writes) {
            let accepts = header.op == op::DELETE && self.mutants.has(Mutant::ReadOnlyAccepts);
            let error = if accepts {
                ErrorCode::Ok
            } else {
                ErrorCode::NotReadOnly
            };
            self.refuse_in_turn(c, header.xid, error, ctx);
            return Ok(());
        }
        match header.op {
            op::AUTH => self.authenticate(c, header.xid, body, ctx),
            op::SASL => self.answer_sasl(c, header.xid, body, ctx),
            op::SYNC => {
                self.submit_sync(c, header.xid, body, ctx);
                Ok(())
            }
            op if changes_nodes(op) => {
                self.take_write(c, header, body, ctx);
                Ok(())
            }
            op::CLOSE_SESSION => self.close_session(c, header, ctx),
            op::PING => self.answer_in_turn(c, header, body, ctx),
            op if reads::is_read(op) || is_watching(op) => {
                self.answer_in_turn(c, header, body, ctx)
            }
            op::RECONFIG => {
                let error = match Request::decode(op::RECONFIG, body) {
                    Ok(_) => ErrorCode::ReconfigDisabled,
                    Err(_) => ErrorCode::MarshallingError,
                };
                self.refuse_in_turn(c, header.xid, error, ctx);
                Ok(())
            }
            unknown => {
                let why = CloseReason::OperationUnknown(unknown);
                let error = ErrorCode::Unimplemented;
                self.send_last(c, why, ctx, |out| {
                    put_header(header.xid, NO_ZXID, error, out)
                })
            }
        }
    }

    // ----- upstream -----

    /// A write goes upstream, unless the own tree refuses it where that is asked for. A local
    /// session that wants an ephemeral node becomes a global one first.
    fn take_write(
        &mut self,
        c: &mut Connection,
        header: RequestHeader,
        body: &[u8],
        ctx: &mut Serving<'_>,
    ) {
        if let Some(error) = self.refuse_eagerly(c, header, body, ctx.db) {
            let zxid = Zxid::ZERO;
            return self.send_in_turn(c, ctx, |out| put_header(header.xid, zxid, error, out));
        }
        if let Phase::Open(session) = c.phase
            && session.scope == Scope::Local
            && self.locals.upgrading
            && makes_ephemerals(header.op, body)
        {
            self.upgrade(c, session, ctx.now.mono);
        }
        self.submit_write(c, header, body);
    }

    pub(super) fn submit_write(&mut self, c: &mut Connection, header: RequestHeader, body: &[u8]) {
        let Phase::Open(session) = c.phase else {
            unreachable!("only open sessions write")
        };
        let cxid = if session.is_renewed {
            self.number()
        } else {
            header.xid
        };
        let body = body.to_vec();
        let bytes = body.len();
        self.upstream.push(Upstream::Request {
            session: session.id,
            scope: session.scope,
            cxid,
            op: header.op,
            body,
            identities: c.identities.clone(),
        });
        self.push(
            c,
            Pending::Write {
                xid: header.xid,
                cxid,
                op: header.op,
            },
            bytes,
        );
    }

    /// A number for a request that no other request of the session carries, whichever way it went:
    /// the server's id in the high byte.
    ///
    /// Clients start counting anew with each connection, and ZooKeeper tells a transaction's
    /// origin by session and client's number alone: a write that the session sent through its
    /// last server could be taken for one sent here.
    fn number(&mut self) -> i32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.server_byte | (self.next_number & 0xff_ffff)
    }

    fn submit_sync(&mut self, c: &mut Connection, xid: i32, body: &[u8], ctx: &mut Serving<'_>) {
        let Phase::Open(session) = c.phase else {
            unreachable!("only open sessions sync")
        };
        // Null comes back as null.
        let Ok(path) = Reader::new(body).string() else {
            return self.refuse_in_turn(c, xid, ErrorCode::MarshallingError, ctx);
        };
        let mut reply = Vec::new();
        reply.put_buffer(path.as_ref().map(|path| path.as_bytes()));
        self.upstream.push(Upstream::Request {
            session: session.id,
            scope: session.scope,
            cxid: xid,
            op: op::SYNC,
            body: body.to_vec(),
            identities: c.identities.clone(),
        });
        self.syncs.push_back(c.id);
        let bytes = reply.len();
        self.push(c, Pending::Sync { xid, path: reply }, bytes);
    }

    /// The oldest write of this connection was applied.
    pub(super) fn finish_write(
        &mut self,
        c: &mut Connection,
        zxid: Zxid,
        outcome: &Outcome,
        ctx: &mut Serving<'_>,
    ) {
        let is_local = matches!(
            c.phase,
            Phase::Open(s) | Phase::Draining(s) if s.scope == Scope::Local
        );
        let put = |xid, op, out: &mut Vec<u8>| {
            // A leader that is not this server knows of no local session, only of an unknown one.
            let refused = Outcome::Error(ErrorCode::EphemeralOnLocalSession.code());
            let is_unknown = *outcome == Outcome::Error(ErrorCode::SessionExpired.code());
            let is_create = matches!(op, op::CREATE | op::CREATE2);
            let is_ours = is_local && is_unknown && is_create;
            put_outcome(xid, op, zxid, if is_ours { &refused } else { outcome }, out);
        };
        if !self.is_clogged(c)
            && let Some((xid, op, bytes)) = c.pop_write_in_front()
        {
            self.settle(bytes);
            self.sent += 1;
            ctx.out.reply(c.id, |out| put(xid, op, out));
            return;
        }
        c.finish_write(|xid, op| {
            let mut frame = Vec::new();
            put(xid, op, &mut frame);
            frame
        });
    }

    /// The oldest sync of this connection is done.
    pub(super) fn finish_sync(&mut self, c: &mut Connection, ctx: &Serving<'_>) {
        let zxid = self.visible(ctx.db);
        c.finish_sync(|xid, path| {
            let mut frame = Vec::new();
            put_answer(xid, zxid, &mut frame, |out| {
                out.extend_from_slice(path);
                Ok(())
            });
            frame
        });
    }

    // ----- here -----

    /// Carries out what needs no transaction: now, or when what came before is done.
    fn answer_in_turn(
        &mut self,
        c: &mut Connection,
        header: RequestHeader,
        body: &[u8],
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        let RequestHeader { xid, op } = header;
        let session = c.session().expect("who asks has a session");
        let who = Who {
            conn: c.id,
            session,
            identities: &c.identities,
        };
        if c.is_idle() {
            self.reply(who, xid, op, body, ctx)?;
        } else if self.mutants.has(Mutant::OwnWriteNotSeen) {
            let mut frame = Vec::new();
            self.answer(who, xid, op, body, ctx.db, &mut frame)?;
            self.push(c, Pending::Done { frame }, 0);
        } else {
            let identities = c.identities.clone();
            let bytes = body.len();
            let body = if op == op::MULTI_READ && self.mutants.has(Mutant::MultiReadTorn) {
                self.tear(who, (xid, op), body, ctx.db)
            } else {
                body.to_vec()
            };
            self.push(
                c,
                Pending::Parked {
                    xid,
                    op,
                    body,
                    identities,
                },
                bytes,
            );
        }
        Ok(())
    }

    fn reply(
        &mut self,
        who: Who<'_>,
        xid: i32,
        op: i32,
        body: &[u8],
        ctx: &mut Serving<'_>,
    ) -> Result<(), CloseReason> {
        let mut result = Ok(());
        ctx.out.reply(who.conn, |out| {
            result = self.answer(who, xid, op, body, ctx.db, out);
        });
        if self.watches.take_refusal()
            && self
                .told_watches
                .admit(ctx.now.mono, REFUSAL_REPORT_INTERVAL)
        {
            let watches = self.watches.count();
            let limit = Limit::Watches { watches };
            ctx.out.push(Action::Report(Event::LimitReached(limit)));
        }
        result
    }

    /// Appends the frames that answer a request from this server's tree. `Err`: then close the
    /// connection.
    fn answer(
        &mut self,
        who: Who<'_>,
        xid: i32,
        op: i32,
        body: &[u8],
        db: &Database,
        out: &mut Vec<u8>,
    ) -> Result<(), CloseReason> {
        self.sent += 1;
        let zxid = self.visible(db);
        match op {
            op::PING => put_header(xid::PING, zxid, ErrorCode::Ok, out),
            op if is_watching(op) => {
                return self.answer_watching(who, xid, op, body, db, out);
            }
            _ => put_answer(xid, zxid, out, |out| {
                if let Some(torn) = self.torn.remove(&(who.conn, xid)) {
                    out.extend_from_slice(&torn);
                }
                let read = who.reads(&self.rules, op, body);
                let answer = reads::answer(db, read, out);
                if let Some((kind, path)) = answer.watch {
                    self.watches.add(kind, &path, who.conn)?;
                }
                answer.result
            }),
        }
        Ok(())
    }

    /// Sends a whole reply when those before it have left.
    pub(super) fn send_in_turn(
        &mut self,
        c: &mut Connection,
        ctx: &mut Serving<'_>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) {
        if c.is_idle() {
            self.sent += 1;
            return ctx.out.reply(c.id, fill);
        }
        let mut frame = Vec::new();
        fill(&mut frame);
        let bytes = frame.len();
        self.push(c, Pending::Done { frame }, bytes);
    }

    /// Answers with an error and what this server shows by then: a refusal behind a write carries
    /// that write's zxid or a newer one, as every other reply does.
    fn refuse_in_turn(
        &mut self,
        c: &mut Connection,
        xid: i32,
        error: ErrorCode,
        ctx: &mut Serving<'_>,
    ) {
        if c.is_idle() {
            return self.tell(c, xid, error, ctx);
        }
        self.push(c, Pending::Refused { xid, error }, size_of::<Pending>());
    }

    /// A header alone, with what this server shows now.
    pub(super) fn tell(
        &mut self,
        c: &Connection,
        xid: i32,
        error: ErrorCode,
        ctx: &mut Serving<'_>,
    ) {
        self.sent += 1;
        let zxid = self.visible(ctx.db);
        ctx.out.reply(c.id, |out| put_header(xid, zxid, error, out));
    }

    /// Sends a whole reply, then closes the connection. Nothing more is read from it.
    pub(super) fn send_last(
        &mut self,
        c: &mut Connection,
        why: CloseReason,
        ctx: &mut Serving<'_>,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), CloseReason> {
        if c.is_idle() {
            self.sent += 1;
            ctx.out.reply(c.id, fill);
            return Err(why);
        }
        let Phase::Open(session) = c.phase else {
            unreachable!("only open sessions are read")
        };
        c.phase = Phase::Draining(session);
        let mut frame = Vec::new();
        fill(&mut frame);
        let bytes = frame.len();
        self.push(c, Pending::Last { frame, why }, bytes);
        Ok(())
    }
}

/// Others come first now: this connection has had its share since `started`, or the turn is full.
pub(super) fn is_enough(started: usize, ctx: &Serving<'_>) -> bool {
    let now = ctx.out.len();
    now >= REPLY_BYTES_PER_TURN || now - started >= REPLY_BYTES_AT_ONCE
}
