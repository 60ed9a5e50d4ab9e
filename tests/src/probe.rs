//! One connection whose every frame a test sees: replies and watch events in the order in which
//! they came, requests sent ahead of their replies, and the end of the connection.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::ask::{self, Request, op};
use crate::client::{self, Event, Session, Stat, connect_request};
use crate::wire::{Body, Fields};

/// Session timeout that probes ask for unless told otherwise.
pub const TIMEOUT_MS: i32 = 10_000;

/// A frame after the handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub xid: i32,
    pub zxid: i64,
    /// 0, or why there is no body.
    pub error: i32,
    pub body: Vec<u8>,
}

impl Frame {
    fn read(bytes: &[u8]) -> Self {
        let mut fields = Fields::new(bytes);
        let (xid, zxid, error) = (fields.int(), fields.long(), fields.int());
        let body = fields.rest().to_vec();
        Self {
            xid,
            zxid,
            error,
            body,
        }
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.body)
    }

    /// The only Stat of a body.
    pub fn stat(&self) -> Stat {
        client::stat(&mut self.fields())
    }

    /// The path, or whatever string stands first.
    pub fn path(&self) -> String {
        self.fields().string()
    }

    /// The strings of a list that stands first, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.fields().strings();
        names.sort();
        names
    }

    /// Data and Stat of `getData`.
    pub fn data(&self) -> (Option<Vec<u8>>, Stat) {
        let mut fields = self.fields();
        let data = fields.buffer().map(<[u8]>::to_vec);
        (data, client::stat(&mut fields))
    }

    /// Path and Stat of `create2` and its like.
    pub fn created(&self) -> (String, Stat) {
        let mut fields = self.fields();
        (fields.string(), client::stat(&mut fields))
    }

    /// The access list of `getACL`: permissions, scheme, id.
    pub fn acl(&self) -> Vec<(i32, String, String)> {
        let mut fields = self.fields();
        let count = fields.int();
        let entry = |_| (fields.int(), fields.string(), fields.string());
        (0..count).map(entry).collect()
    }

    /// Type and error of each part of a multi. Fails unless the frame is one with nothing left.
    pub fn results(&self) -> Vec<Part> {
        let mut fields = self.fields();
        let mut found = Vec::new();
        loop {
            let (kind, done, error) = (fields.int(), fields.byte(), fields.int());
            if done != 0 {
                assert_eq!((kind, error), (-1, -1), "end of a multi");
                assert!(fields.rest().is_empty(), "bytes after the end of a multi");
                return found;
            }
            let mut part = Part {
                kind,
                error,
                path: None,
                stat: None,
            };
            part.read_body(&mut fields);
            found.push(part);
        }
    }

    pub fn is_event(&self) -> bool {
        self.xid == -1
    }

    /// A watch event's type, path and zxid.
    pub fn event(&self) -> Event {
        assert!(self.is_event() && self.error == 0, "no event: {self:?}");
        let mut fields = self.fields();
        let kind = fields.int();
        assert_eq!(fields.int(), 3, "state of a watch event: connected");
        let path = fields.string();
        assert!(fields.rest().is_empty(), "bytes after an event");
        Event {
            kind,
            path,
            zxid: self.zxid,
        }
    }
}

/// One result inside a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub kind: i32,
    pub error: i32,
    pub path: Option<String>,
    pub stat: Option<Stat>,
}

impl Part {
    fn read_body(&mut self, fields: &mut Fields<'_>) {
        match self.kind {
            -1 => assert_eq!(fields.int(), self.error, "an error stands there twice"),
            op::CREATE => self.path = Some(fields.string()),
            op::CREATE2 => {
                self.path = Some(fields.string());
                self.stat = Some(client::stat(fields));
            }
            op::SET_DATA => self.stat = Some(client::stat(fields)),
            op::GET_DATA => {
                self.path = fields
                    .buffer()
                    .map(|data| String::from_utf8_lossy(data).into_owned());
                self.stat = Some(client::stat(fields));
            }
            op::GET_CHILDREN => self.path = Some(fields.strings().join(",")),
            op::DELETE | op::CHECK => {}
            other => panic!("result of type {other} in a multi"),
        }
    }

    /// Type and error.
    pub fn brief(&self) -> (i32, i32) {
        (self.kind, self.error)
    }
}

/// What a handshake is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    pub session: Session,
    /// `None` where the answer has no such byte.
    pub read_only: Option<u8>,
}

impl Welcome {
    pub fn read(bytes: &[u8]) -> Self {
        let mut fields = Fields::new(bytes);
        assert_eq!(fields.int(), 0, "protocol version");
        let timeout_ms = fields.int();
        let id = fields.long();
        let password = fields.buffer().expect("a password").to_vec();
        Self {
            session: Session {
                id,
                password,
                timeout_ms,
            },
            read_only: fields.rest().first().copied(),
        }
    }

    /// Is it the answer to an unknown session?
    pub fn is_refusal(&self) -> bool {
        let shown = (self.session.id, &*self.session.password);
        self.session.timeout_ms == 0 && shown == (0, &[0; 16][..])
    }
}

/// A session's data for a new session.
pub fn fresh(timeout_ms: i32) -> Session {
    Session {
        id: 0,
        password: vec![0; 16],
        timeout_ms,
    }
}

/// One connection.
#[derive(Debug)]
pub struct Probe {
    stream: TcpStream,
    pub session: Session,
    xid: i32,
    /// Zxid of the newest reply.
    pub seen: i64,
    events: VecDeque<Event>,
}

impl Probe {
    /// A new session with `TIMEOUT_MS`.
    pub fn connect(server: SocketAddr) -> Self {
        Self::resume(server, &fresh(TIMEOUT_MS), 0).expect("the server takes a new session")
    }

    /// Goes on with a session; the refusal, if the server does not know it.
    pub fn resume(server: SocketAddr, session: &Session, seen: i64) -> Result<Self, Welcome> {
        let mut probe = Self::bare(server);
        probe.raw(&connect_request(session, seen).frame());
        let welcome = Welcome::read(&probe.bytes());
        if welcome.session.timeout_ms <= 0 {
            return Err(welcome);
        }
        probe.session = welcome.session;
        probe.seen = seen;
        Ok(probe)
    }

    /// A connection without a handshake.
    pub fn bare(server: SocketAddr) -> Self {
        Self {
            stream: client::open(server).expect("the server accepts"),
            session: fresh(0),
            xid: 0,
            seen: 0,
            events: VecDeque::new(),
        }
    }

    /// Sends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next frame's bytes.
    pub fn bytes(&mut self) -> Vec<u8> {
        client::read_frame(&mut self.stream).expect("a frame")
    }

    /// Sends without waiting: the xid.
    pub fn send(&mut self, request: &Request) -> i32 {
        self.xid += 1;
        self.send_as(self.xid, request);
        self.xid
    }

    pub fn send_as(&mut self, xid: i32, request: &Request) {
        let body = Body::new().int(xid).int(request.op);
        let bytes = body.raw(&request.body.clone().bytes()).frame();
        self.raw(&bytes);
    }

    /// The next frame, reply or event.
    pub fn next_frame(&mut self) -> Frame {
        let frame = Frame::read(&self.bytes());
        if frame.xid != -1 && frame.zxid > 0 {
            assert!(frame.zxid >= self.seen, "zxids of replies never fall");
            self.seen = frame.zxid;
        }
        frame
    }

    /// The next reply, which must have this xid; events before it are kept.
    pub fn reply(&mut self, xid: i32) -> Frame {
        loop {
            let frame = self.next_frame();
            if frame.is_event() {
                self.events.push_back(frame.event());
                continue;
            }
            assert_eq!(frame.xid, xid, "reply out of order: {frame:?}");
            return frame;
        }
    }

    pub fn call(&mut self, request: &Request) -> Frame {
        let xid = self.send(request);
        self.reply(xid)
    }

    /// A call over a connection that the server may have closed: none if it has.
    pub fn attempt(&mut self, request: &Request) -> Option<Frame> {
        self.xid += 1;
        let body = Body::new().int(self.xid).int(request.op);
        let bytes = body.raw(&request.body.clone().bytes()).frame();
        self.stream.write_all(&bytes).ok()?;
        let frame = Frame::read(&client::read_frame(&mut self.stream).ok()?);
        assert_eq!(frame.xid, self.xid, "reply out of order: {frame:?}");
        Some(frame)
    }

    /// A call that must succeed.
    #[track_caller]
    pub fn ok(&mut self, request: &Request) -> Frame {
        let frame = self.call(request);
        assert_eq!(frame.error, 0, "refused: type {}", request.op);
        frame
    }

    /// A call that must fail with this code, without a body.
    #[track_caller]
    pub fn refused(&mut self, request: &Request, code: i32) {
        let frame = self.call(request);
        assert_eq!(frame.error, code, "code of a refusal, type {}", request.op);
        assert!(frame.body.is_empty(), "a refusal is a header only");
    }

    /// Creates an open persistent node.
    #[track_caller]
    pub fn make(&mut self, path: &str) -> Frame {
        self.ok(&ask::create(path, 0))
    }

    /// Stat of a node that is there.
    #[track_caller]
    pub fn stat(&mut self, path: &str) -> Stat {
        self.ok(&ask::exists(path, false)).stat()
    }

    /// Is there such a node?
    #[track_caller]
    pub fn has(&mut self, path: &str) -> bool {
        let error = self.call(&ask::exists(path, false)).error;
        assert!(matches!(error, 0 | -101), "exists fails with {error}");
        error == 0
    }

    /// All events that have reached this connection: what comes before the answer to a ping.
    pub fn events(&mut self) -> Vec<Event> {
        self.send_as(-2, &ask::bare(op::PING));
        assert_eq!(self.reply(-2).error, 0, "ping");
        self.events.drain(..).collect()
    }

    /// The same as type and path.
    pub fn fired(&mut self) -> Vec<(i32, String)> {
        let all = self.events();
        all.into_iter()
            .map(|event| (event.kind, event.path))
            .collect()
    }

    /// Waits until the server has closed: the bytes that came before, which may be none.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest,
            // A server that closes with unread bytes resets the connection.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("the connection is not closed: {error}, after {rest:?}"),
        }
    }

    /// Fails unless the server closes without another byte.
    #[track_caller]
    pub fn closed(&mut self) {
        assert_eq!(self.rest(), [0; 0], "bytes before the end");
    }

    /// Fails if the server closes, or says anything, within this time.
    #[track_caller]
    pub fn silent(&mut self, time: Duration) {
        let limit = self.stream.read_timeout().expect("a live socket");
        self.stream
            .set_read_timeout(Some(time))
            .expect("a live socket");
        let mut byte = [0];
        let found: io::Result<usize> = self.stream.read(&mut byte);
        let kind = found.as_ref().map_err(io::Error::kind);
        let quiet = matches!(kind, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(quiet, "the server said something: {found:?}");
        self.stream.set_read_timeout(limit).expect("a live socket");
    }

    /// Ends the session.
    pub fn close(mut self) {
        let xid = self.send(&ask::bare(op::CLOSE_SESSION));
        assert_eq!(self.reply(xid).error, 0, "closeSession");
    }
}
