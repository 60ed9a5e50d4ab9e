//! A client of a running server, as far as the tools need one: requests in flight, answers in
//! order, the paths of watch events on the side. It never reconnects.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::client::{
    ConnectRequest, ConnectResponse, Reply, ReplyHeader, Request, RequestHeader, WatcherEvent,
    put_frame, xid,
};
use vivarium_core::wire::jute::Reader;
use vivarium_core::wire::records::ErrorCode;

use super::ToolError;

/// Longest silence of a server.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asked of the server; it may give less.
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// Longest answer that is read.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// `SCHEME:CREDENTIALS`, as a client proves who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Auth {
    scheme: String,
    credentials: String,
}

pub(super) fn parse_auth(text: &str) -> Result<Auth, String> {
    match text.split_once(':') {
        Some((scheme, credentials)) if !scheme.is_empty() => Ok(Auth {
            scheme: scheme.to_owned(),
            credentials: credentials.to_owned(),
        }),
        _ => Err("it is written SCHEME:CREDENTIALS, for example digest:user:password".to_owned()),
    }
}

/// One connection with a session of its own.
pub(super) struct Client {
    server: String,
    stream: io::BufReader<TcpStream>,
    /// Written, not sent.
    out: Vec<u8>,
    next_xid: i32,
    /// Requests without an answer yet, oldest first.
    waiting: VecDeque<(i32, i32)>,
    /// Kinds and paths of watch events that came, oldest first.
    pub(super) events: Vec<(i32, String)>,
}

/// What came back for a request.
pub(super) struct Answer {
    op: i32,
    pub(super) zxid: Zxid,
    /// 0, or why there is no reply.
    pub(super) error: i32,
    body: Vec<u8>,
}

impl Answer {
    pub(super) fn is(&self, code: ErrorCode) -> bool {
        self.error == code.code()
    }

    /// What is in it. Also of a multi that failed, whose parts tell why.
    pub(super) fn reply(&self) -> Result<Reply<'_>, ToolError> {
        Reply::decode(self.op, &self.body)
            .map_err(|e| ToolError::Failed(format!("an answer of the server can not be read: {e}")))
    }

    pub(super) fn has_body(&self) -> bool {
        !self.body.is_empty()
    }
}

impl Client {
    /// Opens a session and proves every identity.
    pub(super) fn connect(server: &str, identities: &[Auth]) -> Result<Self, ToolError> {
        let failed = |e: io::Error| ToolError::Failed(format!("can not connect to {server}: {e}"));
        let mut client = Self::open(server).map_err(failed)?;
        for auth in identities {
            let request = Request::Auth {
                scheme: auth.scheme.as_str().into(),
                auth: Some(auth.credentials.as_bytes()),
            };
            client.ask_as(xid::AUTH, &request);
            let refused = || {
                let scheme = &auth.scheme;
                ToolError::Failed(format!("{server} does not accept the {scheme} credentials"))
            };
            match client.answer() {
                Ok(answer) if answer.error == 0 => {}
                _ => return Err(refused()),
            }
        }
        Ok(client)
    }

    fn open(server: &str) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return Self::shake_hands(server, stream),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn shake_hands(server: &str, stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            server: server.to_owned(),
            stream: io::BufReader::with_capacity(256 << 10, stream),
            out: Vec::new(),
            next_xid: 1,
            waiting: VecDeque::new(),
            events: Vec::new(),
        };
        let request = ConnectRequest {
            protocol: 0,
            last_zxid_seen: Zxid::ZERO,
            timeout_ms: SESSION_TIMEOUT_MS,
            session: SessionId(0),
            password: Some(&[0; 16]),
            read_only: Some(false),
        };
        put_frame(&mut client.out, |out| request.encode(out));
        client.flush()?;
        let frame = client.frame()?;
        let response = ConnectResponse::decode(&frame)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
        if response.timeout_ms <= 0 {
            return Err(io::Error::other("the server refuses a new session"));
        }
        Ok(client)
    }

    /// Adds a request to those that go out with the next call that waits.
    pub(super) fn ask(&mut self, request: &Request<'_>) {
        let xid = self.next_xid;
        self.next_xid = xid.checked_add(1).unwrap_or(1);
        self.ask_as(xid, request);
    }

    fn ask_as(&mut self, xid: i32, request: &Request<'_>) {
        let op = request.op();
        put_frame(&mut self.out, |out| {
            RequestHeader { xid, op }.write(out);
            request.encode(out);
        });
        self.waiting.push_back((xid, op));
    }

    /// The answer to the oldest request; events that come before it are noted.
    pub(super) fn answer(&mut self) -> Result<Answer, ToolError> {
        let answer = self.flush().and_then(|()| self.next_answer());
        answer.map_err(|e| {
            let why = match e.kind() {
                io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    format!("it was silent for {} s", PATIENCE.as_secs())
                }
                _ => e.to_string(),
            };
            ToolError::Failed(format!("lost {}: {why}", self.server))
        })
    }

    pub(super) fn call(&mut self, request: &Request<'_>) -> Result<Answer, ToolError> {
        assert!(self.waiting.is_empty(), "older answers were not taken");
        self.ask(request);
        self.answer()
    }

    fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        self.stream.get_mut().write_all(&out)
    }

    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other("the server sends what is no frame"));
        }
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    fn next_answer(&mut self) -> io::Result<Answer> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        loop {
            let mut frame = self.frame()?;
            let mut r = Reader::new(&frame);
            let header = ReplyHeader::read(&mut r).map_err(|e| wrong(e.to_string()))?;
            if header.xid == xid::NOTIFICATION {
                let event = WatcherEvent::read(&mut r).map_err(|e| wrong(e.to_string()))?;
                self.events.push((event.kind, event.path.into_owned()));
                continue;
            }
            let body = r.position();
            let (xid, op) = self.waiting.pop_front().expect("an answer is waited for");
            if header.xid != xid {
                return Err(wrong(format!("answer {} instead of {xid}", header.xid)));
            }
            frame.drain(..body);
            return Ok(Answer {
                op,
                zxid: header.zxid,
                error: header.error,
                body: frame,
            });
        }
    }
}

impl Drop for Client {
    /// Ends the session, so that the server need not wait for its timeout.
    fn drop(&mut self) {
        self.ask(&Request::CloseSession);
        // The session ends by itself if this does not arrive.
        let _ = self.flush();
    }
}

/// What went wrong with a path, and what to do about it.
pub(super) fn refusal(path: &str, doing: &str, code: i32) -> ToolError {
    let known = [
        (
            ErrorCode::NoAuth,
            "it is not permitted; name who may with --auth digest:user:password, or the \
          super user",
        ),
        (
            ErrorCode::NoNode,
            "it, or its parent, does not exist; create the parent first",
        ),
        (
            ErrorCode::NodeExists,
            "somebody has created it meanwhile; run this again",
        ),
        (
            ErrorCode::BadVersion,
            "somebody has changed it meanwhile; run this again",
        ),
        (
            ErrorCode::NoChildrenForEphemerals,
            "its parent is ephemeral there; delete that first",
        ),
        (
            ErrorCode::InvalidAcl,
            "the server does not accept its access list",
        ),
        (
            ErrorCode::Unimplemented,
            "the server does not know how; TTL nodes need \
          extendedTypesEnabled=true in its zoo.cfg",
        ),
        (
            ErrorCode::QuotaExceeded,
            "a quota or the memory limit of the server does not allow it",
        ),
        (
            ErrorCode::MarshallingError,
            "it is larger than the server's jute.maxbuffer",
        ),
        (
            ErrorCode::BadArguments,
            "the server does not accept this path",
        ),
        (
            ErrorCode::NotReadOnly,
            "the server is in read-only mode: it has no quorum",
        ),
        (
            ErrorCode::ThrottledOp,
            "the server is overloaded; run this again later",
        ),
    ];
    let cure = known.iter().find(|(known, _)| known.code() == code);
    let cure = cure.map_or_else(|| format!("error {code}"), |(_, cure)| (*cure).to_owned());
    ToolError::Failed(format!("can not {doing} {path}: {cure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_keep_their_colons() {
        let auth = parse_auth("digest:user:pass:word").expect("sound");
        assert_eq!(
            (&*auth.scheme, &*auth.credentials),
            ("digest", "user:pass:word")
        );
        assert!(parse_auth("digest").is_err() && parse_auth(":x").is_err());
    }
}
