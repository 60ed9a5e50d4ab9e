//! Carries out one program on one server or ensemble.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::{BARRIER_XID, Connection, End};
use super::draw;
use super::view::View;
use super::{Body, Field, Hello, Password, Program, Request, SLOTS, Seen, Step, Twist};
use crate::ask::op;
use crate::wire::{self, Fields};

/// What one step showed, line by line: first the connection that it was about, then the others.
pub type Shown = Vec<String>;

/// A server, or the servers of an ensemble, and the programs that ran on it.
pub struct Target {
    /// In an order that means the same for everybody: the leader first.
    servers: Vec<SocketAddr>,
    /// The tests' own sessions, one with each server.
    controls: Vec<Connection>,
    touched: Instant,
    programs: u32,
}

/// Longest time for which the tests' own sessions say nothing.
const TOUCH_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Session {
    id: i64,
    password: Vec<u8>,
}

/// One run of one program.
struct Run<'a> {
    servers: &'a [SocketAddr],
    node: String,
    view: View,
    connections: [Option<Connection>; SLOTS],
    sessions: [Option<Session>; SLOTS],
    /// All that were ever opened, so that none is left to expire in another program.
    opened: Vec<Session>,
}

/// How many nodes there are below `path`; less than 0 if it is not there.
fn count_below(control: &mut Connection, path: &str) -> i32 {
    let body = wire::Body::new().int(1).int(op::GET_ALL_CHILDREN_NUMBER);
    control.send(&body.string(path).frame());
    let frame = control.frame().expect("the control session lives");
    let mut fields = Fields::new(&frame);
    let (_, _, error) = (fields.int(), fields.long(), fields.int());
    if error == 0 { fields.int() } else { error }
}

/// Nodes of the tests themselves: made once, refused as existing later.
fn make(control: &mut Connection, path: &str) -> i64 {
    let body = wire::Body::new().int(1).int(op::CREATE).string(path);
    let body = body.buffer(b"").open_acl().int(0);
    control.send(&body.frame());
    let frame = control.frame().expect("the control session lives");
    let mut fields = Fields::new(&frame);
    assert_eq!(fields.int(), 1, "xid of the only request");
    fields.long()
}

fn connect(server: SocketAddr, hello: &wire::Body) -> (Connection, Result<Vec<u8>, End>) {
    let mut connection = Connection::open(server);
    connection.send(&hello.clone().frame());
    let answer = connection.frame();
    (connection, answer)
}

impl Target {
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        let hello = wire::Body::new().int(0).long(0).int(600_000).long(0);
        let hello = hello.buffer(&[0; 16]).byte(0);
        let control = |server: &SocketAddr| {
            let (connection, answer) = connect(*server, &hello);
            answer.expect("a session for the tests themselves");
            connection
        };
        let mut controls: Vec<_> = servers.iter().map(control).collect();
        make(&mut controls[0], "/d");
        make(&mut controls[0], "/zookeeper/quota/d");
        Self {
            servers,
            controls,
            touched: Instant::now(),
            programs: 0,
        }
    }

    /// Keeps the tests' own sessions alive behind servers that are slow or silent.
    fn touch(&mut self) {
        if self.touched.elapsed() > TOUCH_INTERVAL {
            for control in &mut self.controls {
                let ping = wire::Body::new().int(-2).int(op::PING);
                control.send(&ping.frame());
                control.frame().expect("the control session lives");
            }
            self.touched = Instant::now();
        }
    }

    /// A server that the step connects to shall have what the program has seen elsewhere: one that
    /// lags would refuse it, rightly.
    fn catch_up(&mut self, step: &Step) {
        if let Step::Open { server, .. } | Step::Resume { server, .. } = step {
            let server = server % self.controls.len();
            let control = &mut self.controls[server];
            control.send_barrier();
            control.frame().expect("the control session lives");
        }
    }

    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Runs the program below a node that no program had. One entry for each step.
    pub fn run(&mut self, program: &Program) -> Vec<Shown> {
        self.touch();
        self.programs += 1;
        let node = format!("/d/{:06}", self.programs);
        if program.has_quota() {
            make(&mut self.controls[0], &format!("/zookeeper/quota{node}"));
        }
        let base = make(&mut self.controls[0], &node);
        let mut run = Run {
            servers: &self.servers.clone(),
            view: View::new(&node, base),
            node: node.clone(),
            connections: [const { None }; SLOTS],
            sessions: [const { None }; SLOTS],
            opened: Vec::new(),
        };
        let one = |step| {
            self.touch();
            self.catch_up(step);
            run.step(step)
        };
        let mut shown: Vec<Shown> = program.steps.iter().map(one).collect();
        run.end();
        // What nobody looked at, and what the ends of sessions should have taken away.
        if let Some(last) = shown.last_mut() {
            let left = count_below(&mut self.controls[0], &node);
            last.push(format!("left behind: {left} nodes"));
        }
        shown
    }
}

impl Run<'_> {
    fn step(&mut self, step: &Step) -> Shown {
        let slot = step.slot();
        let mut shown = Vec::new();
        match step {
            Step::Open { server, hello, .. } => {
                self.connections[slot] = None;
                let session = Session {
                    id: 0,
                    password: Vec::new(),
                };
                let password = hello.password.as_deref();
                self.connect(slot, *server, hello, &session, password, &mut shown);
            }
            Step::Resume { .. } => self.resume(step, &mut shown),
            Step::Drop { .. } => self.connections[slot] = None,
            Step::Ask { requests, .. } => self.ask(slot, requests, &mut shown),
            Step::Raw { bytes, replies, .. } => {
                if let Some(connection) = &mut self.connections[slot] {
                    connection.send(bytes);
                    let mut due = vec![(0, 0); *replies];
                    self.answers(slot, &mut due, &mut shown);
                }
            }
        }
        self.barriers(slot, &mut shown);
        if matches!(step, Step::Ask { requests, .. }
            if requests.iter().any(|r| r.op == op::CLOSE_SESSION))
        {
            sort_events(&mut shown);
        }
        shown
    }

    fn resume(&mut self, step: &Step, shown: &mut Shown) {
        let Step::Resume {
            slot,
            of,
            server,
            hello,
            password,
        } = step
        else {
            unreachable!("told apart by the caller");
        };
        let Some(session) = self.sessions[*of].clone() else {
            return shown.push("no session".into());
        };
        if self.servers.len() > 1 || *password != Password::Right {
            // What an old server tells its client about a move is a race. And ZooKeeper ends the
            // old connection before it looks at the password, Vivarium behind.
            self.drop_connections_of(&session);
        }
        self.connections[*slot] = None;
        let mut wrong = session.password.clone();
        wrong[0] ^= 1;
        let password = match password {
            Password::Right => Some(&session.password[..]),
            Password::Wrong => Some(&wrong[..]),
            Password::Short => Some(&session.password[..15]),
            Password::Null => None,
        };
        self.connect(*slot, *server, hello, &session, password, shown);
    }

    fn drop_connections_of(&mut self, session: &Session) {
        for (owned, connection) in self.sessions.iter().zip(&mut self.connections) {
            if owned.as_ref().is_some_and(|owned| owned.id == session.id) {
                *connection = None;
            }
        }
    }

    fn connect(
        &mut self,
        slot: usize,
        server: usize,
        hello: &Hello,
        session: &Session,
        password: Option<&[u8]>,
        shown: &mut Shown,
    ) {
        let head = wire::Body::new().int(0).long(self.seen(hello.seen));
        let head = head.int(hello.timeout_ms).long(session.id);
        let body = match password {
            None => head.int(-1),
            Some(password) => head.buffer(password),
        };
        let body = match hello.read_only {
            None => body,
            Some(byte) => body.byte(byte),
        };
        let server = self.servers[server % self.servers.len()];
        let (connection, answer) = connect(server, &body);
        let frame = match answer {
            Ok(frame) => frame,
            Err(end) => return shown.push(format!("handshake: {end:?}")),
        };
        let mut fields = Fields::new(&frame);
        let (protocol, timeout, id) = (fields.int(), fields.int(), fields.long());
        let password = fields.buffer().map(<[u8]>::to_vec);
        let length = password.as_ref().map(Vec::len);
        let rest = fields.rest();
        if timeout > 0 {
            self.view.note_session(id);
            let session = Session {
                id,
                password: password.unwrap_or_default(),
            };
            self.opened.push(session.clone());
            self.sessions[slot] = Some(session);
            self.connections[slot] = Some(connection);
        }
        let who = self.view.session(id);
        shown.push(format!(
            "handshake: protocol {protocol} timeout {timeout} {who} password of {length:?} \
             rest {rest:?}"
        ));
    }

    fn seen(&self, seen: Seen) -> i64 {
        match seen {
            Seen::Nothing => 0,
            Seen::Newest => self.view.newest(),
            Seen::Base => self.view.base(),
            Seen::Ahead => self.view.newest() + 1_000_000,
        }
    }

    fn ask(&mut self, slot: usize, requests: &[Request], shown: &mut Shown) {
        let mut bytes = Vec::new();
        let mut due = Vec::new();
        for request in requests {
            let head = wire::Body::new().int(request.xid).int(request.op);
            let body = self.record(request);
            bytes.extend_from_slice(&head.raw(&body).frame());
            due.push((request.xid, request.op));
        }
        if requests.iter().any(|r| draw::UNKNOWN.contains(&r.op)) {
            // Nothing answers this.
            due.push(END);
        }
        if let Some(connection) = &mut self.connections[slot] {
            connection.send(&bytes);
            self.answers(slot, &mut due, shown);
        } else {
            shown.push("no connection".into());
        }
    }

    /// Frames until everything that is due has come, or the end.
    fn answers(&mut self, slot: usize, due: &mut Vec<(i32, i32)>, shown: &mut Shown) {
        while !due.is_empty() {
            if !self.one(slot, due, shown) {
                return;
            }
        }
    }

    /// One frame. Says whether the connection goes on.
    fn one(&mut self, slot: usize, due: &mut Vec<(i32, i32)>, shown: &mut Shown) -> bool {
        let Some(connection) = &mut self.connections[slot] else {
            return false;
        };
        match connection.frame() {
            Ok(frame) => {
                let xid = frame.first_chunk().map_or(-1, |x| i32::from_be_bytes(*x));
                // An answer to ping has an xid of its own.
                let fits =
                    |(asked, op): &(i32, i32)| *asked == xid || (*op == op::PING && xid == -2);
                let asked = due.iter().position(fits).map(|index| due.remove(index).1);
                if is_last(&frame, asked) && !due.contains(&END) {
                    due.push(END);
                }
                shown.push(format!("{slot}: {}", self.view.frame(&frame, asked)));
                true
            }
            Err(end) => {
                shown.push(format!("{slot}: {end:?}"));
                self.connections[slot] = None;
                false
            }
        }
    }

    /// Waits on every connection until all that the step led to has come.
    fn barriers(&mut self, first: usize, shown: &mut Shown) {
        let others = (0..SLOTS).filter(|slot| *slot != first);
        for slot in [first].into_iter().chain(others) {
            let Some(connection) = &mut self.connections[slot] else {
                continue;
            };
            let xid = connection.send_barrier();
            let mut due = vec![(xid, op::SYNC)];
            let before = shown.len();
            self.answers(slot, &mut due, shown);
            // The barrier itself is not part of the program.
            if due.is_empty() {
                let text = shown.pop().expect("the barrier's reply");
                let is_plain = text.contains(": 0 at ");
                assert!(xid > BARRIER_XID && shown.len() >= before);
                if !is_plain {
                    shown.push(text);
                }
            }
        }
    }

    fn record(&self, request: &Request) -> Vec<u8> {
        let mut body = wire::Body::new();
        match &request.body {
            Body::Fields(fields) => body = self.fields(body, fields),
            Body::Parts(parts) => {
                for (op, fields) in parts {
                    body = body.int(*op).byte(0).int(-1);
                    body = self.fields(body, fields);
                }
                body = body.int(-1).byte(1).int(-1);
            }
        }
        let mut bytes = body.bytes();
        let at = |per_mille: u16, length: usize| length * usize::from(per_mille) / 1_000;
        match request.twist {
            None => {}
            Some(Twist::Cut(per_mille)) => bytes.truncate(at(per_mille, bytes.len())),
            Some(Twist::Trailing(count)) => bytes.extend(vec![1; count.into()]),
            Some(Twist::Patch(per_mille, number)) => {
                let start = at(per_mille, bytes.len().saturating_sub(4));
                if let Some(four) = bytes.get_mut(start..start + 4) {
                    four.copy_from_slice(&number.to_be_bytes());
                }
            }
        }
        bytes
    }

    fn fields(&self, mut body: wire::Body, fields: &[Field]) -> wire::Body {
        for field in fields {
            body = match field {
                Field::Byte(n) => body.byte(*n),
                Field::Int(n) => body.int(*n),
                Field::Long(n) => body.long(*n),
                Field::Buffer(None) => body.int(-1),
                Field::Buffer(Some(data)) => body.buffer(data),
                Field::Below(path) => body.string(&format!("{}{path}", self.node)),
                Field::Quota(path) => body.string(&format!("/zookeeper/quota{}{path}", self.node)),
                Field::Plain(path) => body.string(path),
                Field::Seen(seen) => body.long(self.seen(*seen)),
            };
        }
        body
    }

    /// Closes every session that is left.
    fn end(mut self) {
        self.connections = [const { None }; SLOTS];
        for session in &self.opened {
            let hello = wire::Body::new().int(0).long(0).int(10_000);
            let hello = hello.long(session.id).buffer(&session.password).byte(0);
            let (mut connection, answer) = connect(self.servers[0], &hello);
            let lives = answer.is_ok_and(|frame| frame[4..8] != [0; 4]);
            if lives {
                connection.send(&wire::Body::new().int(1).int(op::CLOSE_SESSION).frame());
                while connection.frame().is_ok() {}
            }
        }
    }
}

/// Stands among what is due for the end of the connection, however long a server takes for it and
/// whatever answers come before it.
const END: (i32, i32) = (BARRIER_XID, op::SYNC);

/// Does a server hang up behind this answer? To closeSession, an unknown operation, a failed auth.
fn is_last(frame: &[u8], asked: Option<i32>) -> bool {
    let error = frame
        .get(12..16)
        .map(|bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
    match error.map(i32::from_be_bytes) {
        Some(0) => asked == Some(op::CLOSE_SESSION),
        Some(-6 | -115) => true,
        _ => false,
    }
}

/// The end of a session deletes its nodes in no order, so its events come in none. Those about one
/// path keep theirs.
fn sort_events(shown: &mut Shown) {
    let key = |line: &String| {
        let (slot, rest) = line.split_once(": event ")?;
        let path = rest.split(' ').nth(3)?;
        Some((slot.to_owned(), path.to_owned()))
    };
    let mut start = 0;
    while start < shown.len() {
        let events = shown[start..]
            .iter()
            .take_while(|l| key(l).is_some())
            .count();
        shown[start..start + events].sort_by_key(key);
        start += events.max(1);
    }
}
