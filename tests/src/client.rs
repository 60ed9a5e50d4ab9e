//! A small blocking ZooKeeper client over one connection to one server. It never reconnects by
//! itself: what happens between two connections is what the tests look at.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::wire::{Body, Fields};

/// Longest silence of a server before a call gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a call has no result.
#[derive(Debug)]
pub enum Failure {
    /// The server answered with this error code.
    Refused(i32),
    /// The connection broke or was silent too long: whether a write took effect is unknown.
    Lost(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "refused with {code}"),
            Self::Lost(error) => write!(f, "connection lost: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// Error codes that the tests name.
pub mod code {
    pub const NO_NODE: i32 = -101;
    pub const BAD_VERSION: i32 = -103;
    pub const NODE_EXISTS: i32 = -110;
    pub const NOT_READ_ONLY: i32 = -119;
}

/// Flags of `create`.
pub mod flag {
    pub const PERSISTENT: i32 = 0;
    pub const EPHEMERAL: i32 = 1;
    pub const SEQUENCE: i32 = 2;
}

/// What a session is known by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    pub id: i64,
    pub password: Vec<u8>,
    pub timeout_ms: i32,
}

/// A znode's Stat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

/// A watch event: type and path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    pub kind: i32,
    pub path: String,
    pub zxid: i64,
}

/// A reply as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub zxid: i64,
    /// 0, or why there is no result.
    pub error: i32,
    pub body: Vec<u8>,
}

/// One connection with a session.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    session: Session,
    xid: i32,
    last_zxid: i64,
    events: VecDeque<Event>,
}

impl Client {
    /// Opens a new session.
    pub fn connect(server: SocketAddr, timeout_ms: i32) -> Result<Self, Failure> {
        Self::resume(
            server,
            &Session {
                id: 0,
                password: vec![0; 16],
                timeout_ms,
            },
            0,
        )
    }

    /// Goes on with a session. `Refused(-112)` when the server does not know it or the password is
    /// wrong.
    pub fn resume(server: SocketAddr, session: &Session, seen: i64) -> Result<Self, Failure> {
        let mut stream = open(server)?;
        stream.write_all(&connect_request(session, seen).frame())?;
        let answer = read_frame(&mut stream)?;
        let mut fields = Fields::new(&answer);
        assert_eq!(fields.int(), 0, "protocol version");
        let timeout_ms = fields.int();
        let id = fields.long();
        let password = fields.buffer().unwrap_or_default().to_vec();
        assert_eq!(password.len(), 16, "length of the password");
        if timeout_ms <= 0 {
            assert_eq!(
                (id, password),
                (0, vec![0; 16]),
                "a refusal shows no session"
            );
            return Err(Failure::Refused(-112));
        }
        let session = Session {
            id,
            password,
            timeout_ms,
        };
        Ok(Self {
            stream,
            session,
            xid: 0,
            last_zxid: seen,
            events: VecDeque::new(),
        })
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Zxid of the newest reply.
    pub fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame as it is; an error of kind `UnexpectedEof` when the server has closed.
    pub fn read_raw(&mut self) -> io::Result<Vec<u8>> {
        read_frame(&mut self.stream)
    }

    fn call(&mut self, op: i32, body: &[u8]) -> Result<Reply, Failure> {
        self.xid += 1;
        let xid = if op == 11 { -2 } else { self.xid };
        let reply = self.exchange(xid, op, body)?;
        if reply.error == 0 {
            Ok(reply)
        } else {
            Err(Failure::Refused(reply.error))
        }
    }

    /// Sends a request of any type and waits for its reply.
    pub fn exchange(&mut self, xid: i32, op: i32, body: &[u8]) -> io::Result<Reply> {
        self.stream
            .write_all(&Body::new().int(xid).int(op).raw(body).frame())?;
        loop {
            let frame = read_frame(&mut self.stream)?;
            let mut fields = Fields::new(&frame);
            let (found, zxid, error) = (fields.int(), fields.long(), fields.int());
            if found == -1 {
                self.note_event(zxid, &mut fields);
                continue;
            }
            assert_eq!(found, xid, "reply out of order");
            // Replies that do not come from the database carry no zxid.
            if zxid > 0 {
                let seen = self.last_zxid;
                assert!(zxid >= seen, "zxid went from {seen:#x} back to {zxid:#x}");
                self.last_zxid = zxid;
            }
            return Ok(Reply {
                zxid,
                error,
                body: fields.rest().to_vec(),
            });
        }
    }

    fn note_event(&mut self, zxid: i64, fields: &mut Fields<'_>) {
        let kind = fields.int();
        assert_eq!(fields.int(), 3, "state of a watch event: connected");
        self.events.push_back(Event {
            kind,
            path: fields.string(),
            zxid,
        });
    }

    /// Watch events that came with the replies so far, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Creates with an open ACL. The path with its sequence number, and the zxid.
    pub fn create(
        &mut self,
        path: &str,
        data: &[u8],
        flags: i32,
    ) -> Result<(String, i64), Failure> {
        let body = Body::new().string(path).buffer(data).open_acl().int(flags);
        let reply = self.call(1, &body.bytes())?;
        Ok((Fields::new(&reply.body).string(), reply.zxid))
    }

    pub fn delete(&mut self, path: &str, version: i32) -> Result<i64, Failure> {
        Ok(self
            .call(2, &Body::new().string(path).int(version).bytes())?
            .zxid)
    }

    /// `None`: no such node. A watch is set in either case.
    pub fn exists(&mut self, path: &str, watch: bool) -> Result<Option<Stat>, Failure> {
        match self.call(3, &Body::new().string(path).byte(watch.into()).bytes()) {
            Ok(reply) => Ok(Some(stat(&mut Fields::new(&reply.body)))),
            Err(Failure::Refused(code::NO_NODE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn get(&mut self, path: &str, watch: bool) -> Result<(Vec<u8>, Stat), Failure> {
        let reply = self.call(4, &Body::new().string(path).byte(watch.into()).bytes())?;
        let mut fields = Fields::new(&reply.body);
        let data = fields.buffer().unwrap_or_default().to_vec();
        Ok((data, stat(&mut fields)))
    }

    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, Failure> {
        let reply = self.call(
            5,
            &Body::new().string(path).buffer(data).int(version).bytes(),
        )?;
        Ok(stat(&mut Fields::new(&reply.body)))
    }

    /// Names of the children, in the server's order, and the Stat.
    pub fn children(&mut self, path: &str) -> Result<(Vec<String>, Stat), Failure> {
        let reply = self.call(12, &Body::new().string(path).byte(0).bytes())?;
        let mut fields = Fields::new(&reply.body);
        let names = fields.strings();
        Ok((names, stat(&mut fields)))
    }

    /// Waits until this server has applied everything that was committed before the call.
    pub fn sync(&mut self, path: &str) -> Result<(), Failure> {
        self.call(9, &Body::new().string(path).bytes()).map(drop)
    }

    pub fn ping(&mut self) -> Result<(), Failure> {
        self.call(11, &[]).map(drop)
    }

    /// Ends the session; its ephemeral nodes are gone when this returns.
    pub fn close(mut self) -> Result<(), Failure> {
        self.call(-11, &[]).map(drop)
    }

    /// Sends a request of any type: the bytes of the reply's body.
    pub fn request(&mut self, op: i32, body: &[u8]) -> Result<Vec<u8>, Failure> {
        Ok(self.call(op, body)?.body)
    }
}

/// The first frame of a connection.
pub fn connect_request(session: &Session, seen: i64) -> Body {
    let head = Body::new()
        .int(0)
        .long(seen)
        .int(session.timeout_ms)
        .long(session.id);
    head.buffer(&session.password).byte(0)
}

/// A connection with the tests' patience set.
pub fn open(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One frame's bytes without its length.
pub fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = i32::from_be_bytes(length);
    assert!((0..64 << 20).contains(&length), "frame of length {length}");
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Sends a four-letter word: the whole answer, or what kept it from coming.
pub fn four_letters(server: SocketAddr, word: &str) -> io::Result<String> {
    let mut stream = open(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Reads a Stat.
pub fn stat(fields: &mut Fields<'_>) -> Stat {
    Stat {
        czxid: fields.long(),
        mzxid: fields.long(),
        ctime: fields.long(),
        mtime: fields.long(),
        version: fields.int(),
        cversion: fields.int(),
        aversion: fields.int(),
        ephemeral_owner: fields.long(),
        data_length: fields.int(),
        num_children: fields.int(),
        pzxid: fields.long(),
    }
}
