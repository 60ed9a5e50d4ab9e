//! One client of a load: a session, a window of requests without answers, and when each was due.
//!
//! With a rate, latency counts from when a request was due, not from when it could be sent: a
//! server that stops for a second is charged with every request of that second (no coordinated
//! omission). Without one, a client sends when an answer frees a place in its window.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::client::{
    ConnectRequest, ConnectResponse, ReplyHeader, Request, put_frame, xid,
};
use vivarium_core::wire::jute::Reader;

use super::tally::Tally;
use super::workload::{Kind, Workload, put};

/// Asked for; a load that is under way keeps its session alive by itself.
const SESSION_TIMEOUT_MS: i32 = 30_000;

/// A client that waits for longer than this asks for nothing but its session's life.
const PING_AFTER: Duration = Duration::from_secs(8);

/// A server that owes answers and is silent for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const READ_BYTES: usize = 64 << 10;

/// When a load is under way, and how hard it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) begin: Instant,
    /// Answers to what was due before this do not count.
    pub(super) measured: Instant,
    /// Nothing is due from here on.
    pub(super) end: Instant,
    /// Requests without an answer, at most.
    pub(super) window: usize,
    /// Between two requests of this client; `None`: as fast as answers come.
    pub(super) interval: Option<Duration>,
}

/// A session on one server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    server: SocketAddr,
    /// Room for what comes; of it, so many bytes are used.
    received: Vec<u8>,
    filled: usize,
    xid: i32,
}

impl Connection {
    pub(super) async fn open(server: SocketAddr) -> Result<Self, String> {
        let connected = async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let mut connection = Self {
                stream,
                server,
                received: Vec::new(),
                filled: 0,
                xid: 0,
            };
            let mut hello = Vec::new();
            put_frame(&mut hello, |out| {
                let request = ConnectRequest {
                    protocol: 0,
                    last_zxid_seen: Zxid::ZERO,
                    timeout_ms: SESSION_TIMEOUT_MS,
                    session: SessionId(0),
                    password: None,
                    read_only: Some(false),
                };
                request.encode(out);
            });
            connection.stream.write_all(&hello).await?;
            let answer = connection.frame().await?;
            match ConnectResponse::decode(&answer) {
                Ok(welcome) if welcome.timeout_ms > 0 => Ok(connection),
                _ => Err(io::Error::other("the server gives no session")),
            }
        };
        let failed = |why: io::Error| format!("{server}: {why}");
        match timeout(PATIENCE, connected).await {
            Ok(connection) => connection.map_err(failed),
            Err(_) => Err(format!("{server}: no answer to a new session")),
        }
    }

    /// The next frame, without its length.
    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        let length = self.stream.read_u32().await?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame)
    }

    /// Sends all of them at once and waits for their answers: the error code of each.
    pub(super) async fn ask_all(&mut self, requests: &[Request<'_>]) -> Result<Vec<i32>, String> {
        let mut bytes = Vec::new();
        for request in requests {
            self.xid += 1;
            put(self.xid, request, &mut bytes);
        }
        let exchange = async {
            self.stream.write_all(&bytes).await?;
            let mut codes = Vec::with_capacity(requests.len());
            while codes.len() < requests.len() {
                let frame = self.frame().await?;
                let header = read_header(&frame)?;
                if header.xid > 0 {
                    codes.push(header.error);
                }
            }
            Ok::<_, io::Error>(codes)
        };
        match timeout(PATIENCE, exchange).await {
            Ok(codes) => codes.map_err(|why| format!("{}: {why}", self.server)),
            Err(_) => Err(format!("{}: no answer in time", self.server)),
        }
    }

    /// Carries the load. Gives what came of it, and the workload as it is then.
    pub(super) async fn drive(
        mut self,
        mut workload: Workload,
        plan: Plan,
    ) -> Result<(Tally, Workload), String> {
        let server = self.server;
        let failed = |why: io::Error| format!("{server}: {why}");
        let mut load = Load::new(plan);
        loop {
            load.fill(&mut self.xid, &mut workload);
            if load.is_over() {
                break;
            }
            load.write(&self.stream).map_err(failed)?;
            let interest = if load.unsent.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let wait = load.wait();
            match timeout(wait, self.stream.ready(interest)).await {
                Ok(ready) => drop(ready.map_err(failed)?),
                Err(_) => load.waited(wait).map_err(failed)?,
            }
            self.read(&mut load).map_err(failed)?;
        }
        Ok((load.tally, workload))
    }

    /// Takes what has come.
    fn read(&mut self, load: &mut Load) -> io::Result<()> {
        loop {
            if self.filled == self.received.len() {
                let longer = (2 * self.filled).max(READ_BYTES);
                self.received.resize(longer, 0);
            }
            let room = &mut self.received[self.filled..];
            let (got, wanted) = match self.stream.try_read(room) {
                Ok(0) => return Err(io::Error::other("the server has closed the connection")),
                Ok(got) => (got, room.len()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.filled += got;
            let mut rest = &self.received[..self.filled];
            while let Some((frame, behind)) = split(rest) {
                load.take(&read_header(frame)?)?;
                rest = behind;
            }
            let left = rest.len();
            self.received
                .copy_within(self.filled - left..self.filled, 0);
            self.filled = left;
            if got < wanted {
                return Ok(());
            }
        }
    }
}

/// A whole frame from the front, if there is one.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn read_header(frame: &[u8]) -> io::Result<ReplyHeader> {
    let mut reader = Reader::new(frame);
    ReplyHeader::read(&mut reader).map_err(|_| io::Error::other("an answer without a header"))
}

/// Requests under way.
struct Load {
    plan: Plan,
    /// Oldest first: the answers come in this order.
    waiting: VecDeque<(i32, Kind, Instant)>,
    /// When the next request is due, with a rate.
    due: Instant,
    unsent: Vec<u8>,
    heard: Instant,
    tally: Tally,
}

impl Load {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            waiting: VecDeque::new(),
            due: plan.begin,
            unsent: Vec::new(),
            heard: Instant::now(),
            tally: Tally::new(),
        }
    }

    /// Adds the requests whose time has come. Those that were due before the end are sent after it
    /// if there was no sending them in time: to leave them out would hide what was slow.
    fn fill(&mut self, xid: &mut i32, workload: &mut Workload) {
        let now = Instant::now();
        while self.is_due(now) && self.waiting.len() < self.plan.window {
            let due = match self.plan.interval {
                None => now,
                Some(interval) => {
                    let due = self.due;
                    self.due += interval;
                    due
                }
            };
            // Xids stay positive: the others mean something.
            *xid = xid.wrapping_add(1).max(1);
            let kind = workload.put(*xid, &mut self.unsent);
            self.waiting.push_back((*xid, kind, due));
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        match self.plan.interval {
            None => now < self.plan.end,
            Some(_) => self.due < self.plan.end && self.due <= now,
        }
    }

    fn is_over(&self) -> bool {
        let now = Instant::now();
        self.waiting.is_empty() && now >= self.plan.end && !self.is_due(now)
    }

    fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.unsent.len() {
            match stream.try_write(&self.unsent[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..sent);
        Ok(())
    }

    /// How long there is nothing to do but to listen.
    fn wait(&self) -> Duration {
        let now = Instant::now();
        let is_full = self.waiting.len() >= self.plan.window;
        match self.plan.interval {
            Some(_) if !is_full && now < self.plan.end => self.due.min(self.plan.end) - now,
            _ if self.waiting.is_empty() => (self.plan.end - now).min(PING_AFTER),
            _ => PATIENCE,
        }
        .min(PING_AFTER)
    }

    /// Nothing came for so long.
    fn waited(&mut self, wait: Duration) -> io::Result<()> {
        if !self.waiting.is_empty() && self.heard.elapsed() > PATIENCE {
            return Err(io::Error::other("it owes answers and is silent"));
        }
        if wait >= PING_AFTER {
            put(xid::PING, &Request::Ping, &mut self.unsent);
        }
        Ok(())
    }

    fn take(&mut self, header: &ReplyHeader) -> io::Result<()> {
        let now = Instant::now();
        self.heard = now;
        match header.xid {
            xid::NOTIFICATION => self.tally.events += u64::from(now >= self.plan.measured),
            xid::PING => {}
            answered => {
                let oldest = self.waiting.pop_front();
                let Some((_, kind, due)) = oldest.filter(|(asked, ..)| *asked == answered) else {
                    let text = format!("it answers request {answered} out of turn");
                    return Err(io::Error::other(text));
                };
                if due >= self.plan.measured && due < self.plan.end {
                    self.tally.answered(kind, now - due, header.error);
                }
            }
        }
        Ok(())
    }
}
