//! A standalone server whose commits happen when a test says so, and clients that speak bytes.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use crate::boundary::{Action, CloseReason, Event, FourLetterWord, Outbox, Whom};
use crate::config::{Config, LearnerType, Member, Rules};
use crate::database::Database;
use crate::ids::{ConnId, Epoch, ServerId, SessionId, Zxid};
use crate::limits::{CLIENT_FRAME_BYTES_MAX, Limit};
use crate::mutants::Mutants;
use crate::pipeline::{Clients, Serving, Upstream};
use crate::prepare::{Ask, Outstanding, Refusal};
use crate::session::Scope;
use crate::time::{Instant, Now, WallMs};
use crate::wire::client::{
    ConnectRequest, ConnectResponse, CreateOp, Reply, ReplyHeader, Request, RequestHeader,
    WatcherEvent, measure_frame, put_frame, xid,
};
use crate::wire::jute::Reader;
use crate::wire::records::{Acl, ErrorCode, op};
use crate::wire::splitter::Splitter;
use crate::wire::txn::TxnRecord;

pub(super) const A: ConnId = ConnId(1);
pub(super) const B: ConnId = ConnId(2);

pub(super) struct Lab {
    pub(super) clients: Clients,
    pub(super) db: Database,
    pub(super) now: Now,
    pub(super) upstream: VecDeque<Upstream>,
    pub(super) closed: BTreeMap<ConnId, CloseReason>,
    pub(super) expired: Vec<SessionId>,
    pub(super) reached: Vec<Limit>,
    pub(super) words: Vec<(ConnId, FourLetterWord)>,
    /// Bytes for each client that it has not read.
    streams: BTreeMap<ConnId, Vec<u8>>,
    outstanding: Outstanding,
    next_zxid: Zxid,
}

/// A reply or event, read as a client does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    pub(super) xid: i32,
    pub(super) zxid: i64,
    pub(super) error: i32,
    pub(super) body: Vec<u8>,
}

impl Frame {
    pub(super) fn reply(&self, op: i32) -> Reply<'_> {
        assert_eq!(self.error, 0, "{self:?}");
        Reply::decode(op, &self.body).unwrap()
    }

    /// Type and path, if this is a watch's event.
    pub(super) fn event(&self) -> Option<(i32, String)> {
        if self.xid != xid::NOTIFICATION {
            return None;
        }
        let event = WatcherEvent::read(&mut Reader::new(&self.body)).unwrap();
        assert_eq!(event.state, 3);
        Some((event.kind, event.path.into()))
    }
}

pub(super) fn config(mutants: Mutants) -> Config {
    Config {
        me: ServerId(3),
        members: BTreeMap::new(),
        tick: Duration::from_secs(2),
        init_limit: 10,
        sync_limit: 5,
        session_timeout_min: Duration::from_secs(4),
        session_timeout_max: Duration::from_secs(40),
        snap_count: 1000,
        seed: 1,
        rules: Rules::default(),
        mutants,
    }
}

pub(super) fn hello(session: SessionId, password: &[u8], seen: i64) -> Vec<u8> {
    let request = ConnectRequest {
        protocol: 0,
        last_zxid_seen: Zxid(seen),
        timeout_ms: 6000,
        session,
        password: Some(password),
        read_only: Some(false),
    };
    let mut out = Vec::new();
    put_frame(&mut out, |out| request.encode(out));
    out
}

pub(super) fn frame(xid: i32, request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(&mut out, |out| {
        RequestHeader {
            xid,
            op: request.op(),
        }
        .write(out);
        request.encode(out);
    });
    out
}

pub(super) fn create(path: &str) -> Request<'_> {
    Request::Create {
        kind: CreateOp::Create,
        path: path.into(),
        data: Some(b"x"),
        acl: Some([Acl::world(31)].to_vec()),
        flags: 0,
    }
}

pub(super) fn set_data<'a>(path: &'a str, data: &'a [u8]) -> Request<'a> {
    Request::SetData {
        path: path.into(),
        data: Some(data),
        version: -1,
    }
}

pub(super) fn get_data(path: &str, watch: bool) -> Request<'_> {
    Request::GetData {
        path: path.into(),
        watch,
    }
}

pub(super) fn exists(path: &str, watch: bool) -> Request<'_> {
    Request::Exists {
        path: path.into(),
        watch,
    }
}

impl Lab {
    pub(super) fn new() -> Self {
        Self::with(Mutants::NONE)
    }

    pub(super) fn with(mutants: Mutants) -> Self {
        Self::start(config(mutants))
    }

    pub(super) fn under(rules: Rules) -> Self {
        Self::start(Config {
            rules,
            ..config(Mutants::NONE)
        })
    }

    /// A member of an ensemble.
    pub(super) fn member(rules: Rules) -> Self {
        let member = Member {
            kind: LearnerType::Participant,
            host: String::from("localhost"),
            quorum_port: 2888,
            election_port: 3888,
            client_address: None,
        };
        Self::start(Config {
            rules,
            members: BTreeMap::from([(ServerId(3), member)]),
            ..config(Mutants::NONE)
        })
    }

    pub(super) fn start(config: Config) -> Self {
        let mutants = config.mutants;
        let now = Now {
            mono: Instant(1),
            wall: WallMs(1_700_000_000_000),
        };
        let mut lab = Self {
            clients: Clients::new(&config, now),
            db: Database::new(1, mutants),
            now,
            upstream: VecDeque::new(),
            closed: BTreeMap::new(),
            expired: Vec::new(),
            reached: Vec::new(),
            words: Vec::new(),
            streams: BTreeMap::new(),
            outstanding: Outstanding::new(&config.rules, mutants),
            next_zxid: Epoch(1).zxid(),
        };
        lab.clients.start_serving(crate::ids::Zxid::ZERO);
        lab
    }

    /// One turn: whatever `act` does, then its effects.
    pub(super) fn turn(&mut self, act: impl FnOnce(&mut Clients, &mut Serving<'_>)) {
        let mut out = Outbox::default();
        let mut ctx = Serving {
            now: self.now,
            db: &self.db,
            out: &mut out,
        };
        act(&mut self.clients, &mut ctx);
        self.upstream.extend(self.clients.take_upstream());
        self.carry_out(&out);
    }

    fn carry_out(&mut self, out: &Outbox) {
        for action in out.actions() {
            match action {
                Action::Reply { conn, bytes } => {
                    assert!(
                        !self.closed.contains_key(conn),
                        "bytes after the end of {conn:?}"
                    );
                    let stream = self.streams.entry(*conn).or_default();
                    stream.extend_from_slice(out.bytes(*bytes));
                }
                Action::Close {
                    whom: Whom::Client(conn),
                    why,
                } => {
                    assert!(
                        self.closed.insert(*conn, why.clone()).is_none(),
                        "closed twice"
                    );
                }
                Action::Report(Event::SessionExpired { session }) => self.expired.push(*session),
                Action::Report(Event::LimitReached(limit)) => self.reached.push(*limit),
                Action::Command { conn, word } => self.words.push((*conn, *word)),
                other => panic!("not for the client side: {other:?}"),
            }
        }
    }

    pub(super) fn open(&mut self, conn: ConnId) {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.turn(|clients, ctx| clients.handle_opened(conn, address, ctx.now, ctx.out));
    }

    /// As the node does after each input.
    pub(super) fn resume(&mut self) {
        self.turn(|clients, ctx| clients.resume_throttled(ctx));
    }

    /// What the driver would say of a socket that does not take everything.
    pub(super) fn tell_unread(&mut self, conn: ConnId, bytes: usize) {
        self.turn(|clients, ctx| clients.handle_unread(conn, bytes, ctx));
    }

    pub(super) fn shed(&mut self) {
        self.turn(|clients, ctx| clients.shed_unread(ctx));
    }

    pub(super) fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.turn(|clients, ctx| clients.handle_bytes(conn, bytes, ctx));
    }

    pub(super) fn ask(&mut self, conn: ConnId, xid: i32, request: &Request<'_>) {
        self.send(conn, &frame(xid, request));
    }

    pub(super) fn wake(&mut self, after: Duration) {
        self.now.mono = self.now.mono + after;
        self.turn(|clients, ctx| clients.on_wake(ctx));
    }

    /// Carries out the oldest thing that went upstream. Says whether there was one.
    pub(super) fn commit(&mut self) -> bool {
        let Some(item) = self.upstream.pop_front() else {
            return false;
        };
        match item {
            Upstream::Revalidate { session, .. } => {
                let valid = self.db.sessions().contains_key(&session);
                self.turn(|clients, ctx| clients.on_revalidated(session, valid, ctx));
            }
            Upstream::Request { op: op::SYNC, .. } => {
                self.turn(|clients, ctx| clients.on_synced(ctx));
            }
            Upstream::Request {
                session,
                scope,
                cxid,
                op,
                body,
                identities,
            } => {
                self.next_zxid = self.next_zxid.next();
                let ask = Ask {
                    session,
                    cxid,
                    op,
                    body: &body,
                    identities: &identities,
                    zxid: self.next_zxid,
                    time: self.now.wall,
                    refuse: (scope == Scope::Local)
                        .then_some(Refusal::Ephemerals(ErrorCode::EphemeralOnLocalSession)),
                };
                let mut record = Vec::new();
                self.outstanding.prepare(&self.db, &ask, &mut record);
                self.apply(&record);
                self.outstanding.retire(ask.zxid);
            }
        }
        true
    }

    /// Applies a record, as if it had been committed.
    pub(super) fn apply(&mut self, record: &[u8]) {
        let record = TxnRecord::decode(record).unwrap();
        self.next_zxid = self.next_zxid.max(record.header.zxid);
        let mut changes = Vec::new();
        let header = record.header;
        self.turn(|clients, ctx| clients.before_applied(header.session, ctx));
        let outcome = self.db.apply(&record, &mut changes);
        self.turn(|clients, ctx| clients.on_applied(&header, &outcome, &changes, ctx));
    }

    /// The zxid that comes next.
    pub(super) fn next_zxid(&self) -> Zxid {
        self.next_zxid.next()
    }

    pub(super) fn commit_all(&mut self) {
        while self.commit() {}
    }

    /// Opens a connection with a new session.
    pub(super) fn join(&mut self, conn: ConnId) -> ConnectResponse {
        self.open(conn);
        self.send(conn, &hello(SessionId(0), &[0; 16], 0));
        self.commit_all();
        self.handshake(conn)
    }

    /// What the server answered to the handshake.
    pub(super) fn handshake(&mut self, conn: ConnId) -> ConnectResponse {
        let stream = self.streams.remove(&conn).unwrap();
        let length = measure_frame(&stream, CLIENT_FRAME_BYTES_MAX).unwrap();
        let response = ConnectResponse::decode(&stream[4..length]).unwrap();
        self.streams.insert(conn, stream[length..].to_vec());
        response
    }

    pub(super) fn unread(&self, conn: ConnId) -> usize {
        self.streams.get(&conn).map_or(0, Vec::len)
    }

    /// Everything that the client has not read.
    pub(super) fn frames(&mut self, conn: ConnId) -> Vec<Frame> {
        let stream = self.streams.remove(&conn).unwrap_or_default();
        let (mut splitter, mut chunk, mut frames) = (Splitter::default(), &stream[..], Vec::new());
        while let Some(bytes) = splitter
            .next(&mut chunk, |b| measure_frame(b, CLIENT_FRAME_BYTES_MAX))
            .unwrap()
        {
            let mut r = Reader::new(&bytes[4..]);
            let ReplyHeader { xid, zxid, error } = ReplyHeader::read(&mut r).unwrap();
            frames.push(Frame {
                xid,
                zxid: zxid.0,
                error,
                body: r.rest().to_vec(),
            });
        }
        assert_eq!(splitter.held(), 0, "a frame was cut");
        frames
    }

    /// Xids and errors of everything that the client has not read.
    pub(super) fn xids(&mut self, conn: ConnId) -> Vec<(i32, i32)> {
        self.frames(conn).iter().map(|f| (f.xid, f.error)).collect()
    }
}
