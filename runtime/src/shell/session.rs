//! The shell's session: kept alive while nobody types, taken to another server when one is lost,
//! with the identities and the watches that it had.
#![allow(
    clippy::disallowed_methods,
    reason = "a client with threads of its own: one listens, one keeps the session alive"
)]

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::client::{
    ConnectRequest, ConnectResponse, MultiResult, Reply, ReplyHeader, Request, RequestHeader,
    WatcherEvent, put_frame, xid,
};
use vivarium_core::wire::jute::Reader;
use vivarium_core::wire::records::{ErrorCode, op};

use super::Trouble;

/// Longest frame of a server.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// Between two rounds through all servers while none answers.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What the shell wants of its servers.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As it was given: HOST:PORT,…[/chroot].
    pub(super) text: String,
    pub(super) timeout: Duration,
    pub(super) read_only: bool,
}

impl Target {
    fn servers(&self) -> impl Iterator<Item = String> + '_ {
        let hosts = self.text.split('/').next().unwrap_or_default();
        hosts.split(',').map(|host| match host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            _ => format!("{host}:2181"),
        })
    }

    /// In front of every path; empty if there is none.
    fn chroot(&self) -> &str {
        let at = self.text.find('/').unwrap_or(self.text.len());
        self.text[at..].trim_end_matches('/')
    }
}

/// Who is told of events and of the session's state.
pub(super) type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// A session that several threads share: the one that asks, and the one that keeps it alive.
#[derive(Clone)]
pub(super) struct Session(Arc<Mutex<Inner>>);

struct Inner {
    target: Target,
    listener: Listener,
    id: SessionId,
    password: Vec<u8>,
    /// What the server grants.
    timeout: Duration,
    seen: Zxid,
    identities: Vec<(String, Vec<u8>)>,
    watches: Watches,
    link: Option<Link>,
    next_xid: i32,
    is_closed: bool,
}

/// A connection, and what comes over it.
struct Link {
    stream: TcpStream,
    frames: Receiver<Vec<u8>>,
}

/// What a new server has to be told, with the chroot in front: shared with the thread that hears
/// of events.
type Watches = Arc<Mutex<BTreeSet<(Watch, String)>>>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Watch {
    Data,
    Exist,
    Child,
    Persistent,
    Recursive,
}

/// The answer to a request.
pub(super) struct Answer {
    op: i32,
    body: Vec<u8>,
    chroot: String,
}

impl Answer {
    pub(super) fn reply(&self) -> Result<Reply<'_>, Trouble> {
        Reply::decode(self.op, &self.body)
            .map_err(|why| Trouble::Text(format!("the server's answer can not be read: {why}")))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// A path of the server's as the user knows it.
    pub(super) fn local<'p>(&self, path: &'p str) -> &'p str {
        strip(&self.chroot, path)
    }
}

fn strip<'p>(chroot: &str, path: &'p str) -> &'p str {
    match path.strip_prefix(chroot) {
        Some("") => "/",
        Some(rest) => rest,
        None => path,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever failed while it held the lock has left nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// No server answers within the timeout.
    pub(super) fn open(target: Target, listener: Listener) -> Result<Self, Trouble> {
        let mut inner = Inner {
            timeout: target.timeout,
            target,
            listener,
            id: SessionId(0),
            password: vec![0; 16],
            seen: Zxid::ZERO,
            identities: Vec::new(),
            watches: Watches::default(),
            link: None,
            next_xid: 0,
            is_closed: false,
        };
        inner.connect()?;
        let session = Self(Arc::new(Mutex::new(inner)));
        let weak = Arc::downgrade(&session.0);
        thread::spawn(move || keep_alive(&weak));
        Ok(session)
    }

    /// Is there a server?
    pub(super) fn is_connected(&self) -> bool {
        lock(&self.0).link.is_some()
    }

    /// Asks and waits. Paths of the request are the user's; `path` is for the error.
    ///
    /// # Errors
    /// [`Trouble::Refused`] with the server's code; [`Trouble::Text`] where the server was lost, so
    /// that nobody knows whether a write was done.
    pub(super) fn ask(&self, path: &str, request: Request<'_>) -> Result<Answer, Trouble> {
        let mut inner = lock(&self.0);
        let request = inner.absolute(request)?;
        let mut body = Vec::new();
        request.encode(&mut body);
        let answer = inner.ask(path, request.op(), &body);
        inner.note_watch(&request, &answer);
        answer
    }

    /// Deletes all of them in one transaction; where one of them is gone or has got a child
    /// meanwhile, one after the other, so that those that can be deleted are.
    pub(super) fn delete_together(&self, path: &str, paths: &[String]) -> Result<(), Trouble> {
        let deletes = || {
            paths.iter().map(|path| Request::Delete {
                path: path.as_str().into(),
                version: -1,
            })
        };
        let refused = {
            let mut inner = lock(&self.0);
            let absolute: Result<Vec<_>, _> = deletes().map(|one| inner.absolute(one)).collect();
            let mut body = Vec::new();
            Request::Multi(absolute?).encode(&mut body);
            let answer = inner.ask(path, op::MULTI, &body)?;
            let Reply::Multi(results) = answer.reply()? else {
                return Err(Trouble::Text("no results of a transaction".into()));
            };
            results
                .iter()
                .any(|one| matches!(one, MultiResult::Error(_)))
        };
        if !refused {
            return Ok(());
        }
        for (path, delete) in paths.iter().zip(deletes()) {
            match self.ask(path, delete) {
                Err(trouble) if !trouble.is(ErrorCode::NoNode) => return Err(trouble),
                _ => {}
            }
        }
        Ok(())
    }

    /// The same for operations whose requests are a path alone.
    pub(super) fn ask_path(&self, path: &str, op: i32) -> Result<Answer, Trouble> {
        let mut inner = lock(&self.0);
        let request = inner.absolute(Request::Sync { path: path.into() })?;
        let mut body = Vec::new();
        request.encode(&mut body);
        inner.ask(path, op, &body)
    }

    pub(super) fn authenticate(&self, scheme: &str, auth: &[u8]) -> Result<(), Trouble> {
        let mut inner = lock(&self.0);
        inner.identities.push((scheme.into(), auth.into()));
        let newest = inner.identities.len() - 1;
        let proven = inner.prove(newest);
        if proven.is_err() {
            inner.identities.pop();
        }
        proven
    }

    /// A watch that the server has been told to forget.
    pub(super) fn forget(&self, path: &str, which: &[Watch]) {
        let inner = lock(&self.0);
        let absolute = format!("{}{path}", inner.target.chroot());
        let mut watches = lock(&inner.watches);
        watches.retain(|(watch, path)| *path != absolute || !which.contains(watch));
    }

    pub(super) fn close(&self) {
        let mut inner = lock(&self.0);
        if inner.link.is_some() {
            // A server that does not answer ends the session by itself.
            drop(inner.ask("", op::CLOSE_SESSION, &[]));
        }
        inner.is_closed = true;
        inner.link = None;
    }
}

/// Pings while the session lives, and looks for another server when there is none.
fn keep_alive(session: &Weak<Mutex<Inner>>) {
    let mut pause = Duration::from_millis(500);
    loop {
        thread::sleep(pause);
        let Some(session) = session.upgrade() else {
            return;
        };
        let mut inner = lock(&session);
        if inner.is_closed {
            return;
        }
        if inner.link.is_some() {
            drop(inner.ask("", op::PING, &[]));
        } else if inner.connect().is_err() {
            continue;
        }
        pause = (inner.timeout / 3).max(RETRY_PAUSE);
    }
}

impl Inner {
    /// Takes the session, or a new one where it is over, to any server that has it.
    fn connect(&mut self) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.target.timeout;
        let mut last = "no server is named".to_owned();
        loop {
            let servers: Vec<String> = self.target.servers().collect();
            for server in servers {
                match self.shake_hands(&server) {
                    Ok(()) => return self.restore(),
                    Err(why) => last = format!("{server}: {why}"),
                }
            }
            if Instant::now() >= deadline {
                return Err(Trouble::Text(format!("can not connect to {last}")));
            }
            thread::sleep(RETRY_PAUSE);
        }
    }

    fn shake_hands(&mut self, server: &str) -> io::Result<()> {
        let mut found = server.to_socket_addrs()?;
        let address = found.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let patience = self.target.timeout.max(RETRY_PAUSE);
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_read_timeout(Some(patience))?;
        let mut hello = Vec::new();
        put_frame(&mut hello, |out| {
            let request = ConnectRequest {
                protocol: 0,
                last_zxid_seen: self.seen,
                timeout_ms: i32::try_from(self.target.timeout.as_millis()).unwrap_or(i32::MAX),
                session: self.id,
                password: Some(&self.password),
                read_only: Some(self.target.read_only),
            };
            request.encode(out);
        });
        stream.write_all(&hello)?;
        let frame = read_frame(&mut stream)?;
        let welcome = ConnectResponse::decode(&frame)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why.to_string()))?;
        if welcome.timeout_ms <= 0 {
            let was_over = self.id != SessionId(0);
            self.id = SessionId(0);
            self.password = vec![0; 16];
            if was_over {
                (self.listener)("WatchedEvent state:Expired type:None path:null");
                return self.shake_hands(server);
            }
            return Err(io::Error::other("it refuses a new session"));
        }
        self.id = welcome.session;
        self.password = welcome.password.to_vec();
        self.timeout = Duration::from_millis(welcome.timeout_ms as u64);
        stream.set_read_timeout(None)?;
        let reading = stream.try_clone()?;
        let (sender, frames) = channel();
        let ears = Ears {
            listener: self.listener.clone(),
            watches: self.watches.clone(),
            chroot: self.target.chroot().to_owned(),
        };
        thread::spawn(move || ears.listen(reading, &sender));
        self.link = Some(Link { stream, frames });
        Ok(())
    }

    /// Tells a new server who we are and what we watch.
    fn restore(&mut self) -> Result<(), Trouble> {
        (self.listener)("WatchedEvent state:SyncConnected type:None path:null");
        for at in 0..self.identities.len() {
            self.prove(at)?;
        }
        let watches = lock(&self.watches).clone();
        if watches.is_empty() {
            return Ok(());
        }
        let paths = |wanted: Watch| {
            let of_kind = watches.iter().filter(|(watch, _)| *watch == wanted);
            of_kind.map(|(_, path)| path.as_str().into()).collect()
        };
        let request = Request::SetWatches2 {
            relative: self.seen,
            data: paths(Watch::Data),
            exist: paths(Watch::Exist),
            child: paths(Watch::Child),
            persistent: paths(Watch::Persistent),
            recursive: paths(Watch::Recursive),
        };
        let mut body = Vec::new();
        request.encode(&mut body);
        self.exchange("", xid::SET_WATCHES, op::SET_WATCHES2, &body)?;
        Ok(())
    }

    fn prove(&mut self, at: usize) -> Result<(), Trouble> {
        let (scheme, auth) = self.identities[at].clone();
        let request = Request::Auth {
            scheme: scheme.as_str().into(),
            auth: Some(&auth),
        };
        let mut body = Vec::new();
        request.encode(&mut body);
        if self.link.is_none() {
            self.connect()?;
        }
        let proven = self.exchange("", xid::AUTH, op::AUTH, &body);
        proven.map(drop).map_err(|_| {
            Trouble::Text(format!(
                "the server does not accept these {scheme} credentials"
            ))
        })
    }

    fn ask(&mut self, path: &str, op: i32, body: &[u8]) -> Result<Answer, Trouble> {
        if self.is_closed {
            return Err(Trouble::Text("Not connected".into()));
        }
        if self.link.is_none() {
            self.connect()?;
        }
        let xid = if op == op::PING {
            xid::PING
        } else {
            self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
            self.next_xid
        };
        self.exchange(path, xid, op, body)
    }

    /// One request and its answer, over the connection that there is.
    fn exchange(&mut self, path: &str, xid: i32, op: i32, body: &[u8]) -> Result<Answer, Trouble> {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, |out| {
            RequestHeader { xid, op }.write(out);
            out.extend_from_slice(body);
        });
        let link = self.link.as_mut().expect("the caller has connected");
        let sent = link.stream.write_all(&bytes);
        let got = match sent {
            Ok(()) => link.frames.recv_timeout(self.timeout),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        let Ok(frame) = got else {
            self.lose();
            return Err(Trouble::Text(format!(
                "KeeperErrorCode = ConnectionLoss for {path}: whether it was done is not known"
            )));
        };
        let mut reader = Reader::new(&frame);
        let header = ReplyHeader::read(&mut reader);
        let header = header.ok().filter(|header| header.xid == xid);
        let Some(header) = header else {
            self.lose();
            return Err(Trouble::Text("the server answers out of turn".into()));
        };
        if header.zxid > self.seen {
            self.seen = header.zxid;
        }
        if header.error != ErrorCode::Ok.code() {
            return Err(Trouble::Refused(header.error, path.to_owned()));
        }
        Ok(Answer {
            op,
            body: reader.rest().to_vec(),
            chroot: self.target.chroot().to_owned(),
        })
    }

    fn lose(&mut self) {
        if let Some(link) = self.link.take() {
            // Its thread hears of it and ends.
            drop(link.stream.shutdown(Shutdown::Both));
            (self.listener)("WatchedEvent state:Disconnected type:None path:null");
        }
    }

    fn absolute<'r>(&self, mut request: Request<'r>) -> Result<Request<'r>, Trouble> {
        let chroot = self.target.chroot();
        let prefix = |path: &mut std::borrow::Cow<'r, str>| {
            if !path.starts_with('/') {
                let text = format!("Path must start with / character: {path}");
                return Err(Trouble::Text(text));
            }
            if !chroot.is_empty() {
                let rest = if &**path == "/" { "" } else { &**path };
                let absolute = format!("{chroot}{rest}");
                *path = absolute.into();
            }
            Ok(())
        };
        match &mut request {
            Request::Create { path, .. }
            | Request::Delete { path, .. }
            | Request::Exists { path, .. }
            | Request::GetData { path, .. }
            | Request::SetData { path, .. }
            | Request::GetAcl { path }
            | Request::SetAcl { path, .. }
            | Request::GetChildren { path, .. }
            | Request::GetChildren2 { path, .. }
            | Request::Sync { path }
            | Request::AddWatch { path, .. }
            | Request::CheckWatches { path, .. }
            | Request::RemoveWatches { path, .. } => prefix(path)?,
            _ => {}
        }
        Ok(request)
    }

    /// Remembers the watch that a request has set. On a node that is not there only exists does.
    fn note_watch(&self, request: &Request<'_>, answer: &Result<Answer, Trouble>) {
        let is_gone = match answer {
            Ok(_) => false,
            Err(trouble) if trouble.is(ErrorCode::NoNode) => true,
            Err(_) => return,
        };
        let (watch, path) = match request {
            Request::Exists { path, watch: true } if is_gone => (Watch::Exist, path),
            _ if is_gone => return,
            Request::GetData { path, watch: true } | Request::Exists { path, watch: true } => {
                (Watch::Data, path)
            }
            Request::GetChildren { path, watch: true }
            | Request::GetChildren2 { path, watch: true } => (Watch::Child, path),
            Request::AddWatch { path, mode: 0 } => (Watch::Persistent, path),
            Request::AddWatch { path, .. } => (Watch::Recursive, path),
            _ => return,
        };
        lock(&self.watches).insert((watch, path.to_string()));
    }
}

/// What listens to one connection.
struct Ears {
    listener: Listener,
    watches: Watches,
    chroot: String,
}

impl Ears {
    fn listen(&self, mut stream: TcpStream, answers: &Sender<Vec<u8>>) {
        while let Ok(frame) = read_frame(&mut stream) {
            let mut reader = Reader::new(&frame);
            let header = ReplyHeader::read(&mut reader);
            if !header.is_ok_and(|header| header.xid == xid::NOTIFICATION) {
                if answers.send(frame).is_err() {
                    return;
                }
                continue;
            }
            let header_zxid = header.map_or(Zxid(-1), |header| header.zxid);
            if let Ok(event) = WatcherEvent::read(&mut reader) {
                self.hear(&event, header_zxid);
            }
        }
    }

    fn hear(&self, event: &WatcherEvent<'_>, zxid: Zxid) {
        let mut watches = lock(&self.watches);
        for watch in [Watch::Data, Watch::Exist, Watch::Child] {
            watches.remove(&(watch, event.path.to_string()));
        }
        drop(watches);
        let path = strip(&self.chroot, &event.path);
        let kind = super::print::event_name(event.kind);
        (self.listener)(&format!(
            "WatchedEvent state:SyncConnected type:{kind} path:{path} zxid: {}",
            zxid.0
        ));
    }
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("the server sends what is no frame"));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_chroot_are_told_apart() {
        let target = |text: &str| Target {
            text: text.into(),
            timeout: Duration::from_secs(1),
            read_only: false,
        };
        let all = target("a:1,b,[::1]:2/x/y/");
        let servers: Vec<String> = all.servers().collect();
        assert_eq!(servers, ["a:1", "b:2181", "[::1]:2"]);
        assert_eq!(all.chroot(), "/x/y");
        assert_eq!(target("a").chroot(), "");
        assert_eq!(target("a/").chroot(), "");
        assert_eq!(strip("/x/y", "/x/y"), "/");
        assert_eq!(strip("/x/y", "/x/y/z"), "/z");
        assert_eq!(strip("", "/z"), "/z");
    }
}
