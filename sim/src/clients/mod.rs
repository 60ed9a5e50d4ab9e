//! Simulated client programs. A client keeps one session with one connection at a time: handshake,
//! pings, watches set again after a reconnect, servers changed on failure or at will, sessions
//! lost and begun anew. What it asks is its program's: a drawn mix or a recipe. It tells the
//! checkers everything that it asks and hears, and judges nothing but the shape of replies.
//!
//! Everything is drawn from the client's own stream.

pub mod ops;
pub mod people;
pub mod plan;
pub mod recipes;
mod secrets;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use vivarium_core::ids::{ServerId, SessionId, Zxid};
use vivarium_core::wire::jute::Reader;
use vivarium_core::wire::records::ErrorCode;

use self::ops::{
    Frames, Op, Path, Reply, ReplyHeader, XID_AUTH, XID_EVENT, XID_PING, XID_SET_WATCHES, event,
    watcher,
};
pub use self::plan::{ClientPlan, Errand};
pub use self::recipes::Standing;
use self::recipes::{Election, Lock};
use self::workload::{Mixed, Move};
use crate::check::connections::Welcomed;
use crate::check::model::Table;
use crate::check::{Checks, Ticket};
use crate::decisions::Lane;
use crate::observe::{ClientAction, ClientId, SimTime};
use crate::rng::{Purpose, Stream, Streams};

/// Requests in flight before a client waits for replies.
const PENDING_MAX: usize = 64;

/// Shortest pause before a connection is tried again after a failure.
const RETRY_MIN: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    /// Not connected; the next attempt is due at this time.
    Down(SimTime),
    Dialing {
        server: ServerId,
        since: SimTime,
    },
    /// The ConnectRequest is out.
    Greeting {
        server: ServerId,
        since: SimTime,
    },
    Up {
        server: ServerId,
    },
    /// Never again, until somebody starts the client anew.
    Off,
}

#[derive(Clone, Debug)]
struct Held {
    id: SessionId,
    password: [u8; 16],
    timeout: Duration,
    /// Of a server without a quorum: nobody else knows it.
    read_only: bool,
}

#[derive(Clone, Debug)]
struct Pending {
    xid: i32,
    op: Rc<Op>,
    ticket: Ticket,
}

#[derive(Clone, Debug)]
enum Program {
    Mixed(Mixed),
    Lock(Lock),
    Election(Election),
}

/// One client program and its session.
#[derive(Clone, Debug)]
pub struct Client {
    id: ClientId,
    plan: ClientPlan,
    rng: Stream,
    program: Program,
    link: Link,
    session: Option<Held>,
    seen: Zxid,
    next_xid: i32,
    pending: VecDeque<Pending>,
    frames: Frames,
    /// Set and not told yet; true if it was set on a missing znode.
    watched: BTreeMap<(Table, Path), bool>,
    /// Set until they are removed; true for recursive ones.
    lasting: BTreeSet<(Path, bool)>,
    /// What it proves again on each connection.
    proofs: Vec<&'static str>,
    last_sent: SimTime,
    last_heard: SimTime,
    next_act: SimTime,
    /// Nothing is read before this time.
    deaf_until: Option<SimTime>,
    /// No pings and no requests: the session is left to expire.
    mute: bool,
    /// Where to go next, when the client chooses by itself.
    target: Option<ServerId>,
}

impl Client {
    pub fn new(id: ClientId, plan: ClientPlan, rng: Streams) -> Self {
        assert!(!plan.servers.is_empty(), "{id} knows no server");
        let program = match &plan.errand {
            Errand::Mixed(mix) => Program::Mixed(Mixed::new(id, mix.clone())),
            Errand::Lock { base, hold } => Program::Lock(Lock::new(base.clone(), *hold)),
            Errand::Election { path } => Program::Election(Election::new(id, path.clone())),
        };
        let start = plan.start;
        Self {
            id,
            rng: rng.stream(Purpose::Client, u64::from(id.0)),
            proofs: plan.people.iter().map(|person| person.auth).collect(),
            plan,
            program,
            link: Link::Down(start),
            session: None,
            seen: Zxid::ZERO,
            next_xid: 1,
            pending: VecDeque::new(),
            frames: Frames::default(),
            watched: BTreeMap::new(),
            lasting: BTreeSet::new(),
            last_sent: start,
            last_heard: start,
            next_act: start,
            deaf_until: None,
            mute: false,
            target: None,
        }
    }

    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The session, while there is one.
    pub fn session(&self) -> Option<SessionId> {
        self.session.as_ref().map(|held| held.id)
    }

    /// The server that the client has a session on right now.
    pub fn server(&self) -> Option<ServerId> {
        match self.link {
            Link::Up { server } => Some(server),
            _ => None,
        }
    }

    /// What a recipe has reached, as far as the client can know.
    pub fn standing(&self) -> Standing {
        match &self.program {
            _ if self.session.is_none() || self.server().is_none() => Standing::Away,
            Program::Mixed(_) => Standing::Waits,
            Program::Lock(lock) => lock.standing(),
            Program::Election(election) => election.standing(),
        }
    }

    /// From now on the client only keeps its session alive.
    pub fn be_quiet(&mut self, from: SimTime) {
        self.plan.quiet_from = self.plan.quiet_from.min(from);
    }

    /// The program dies without a word: the connection drops, the session is left to expire.
    pub fn stop(&mut self, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        self.hang_up(SimTime::NEVER, out, checks);
        self.link = Link::Off;
        self.forget_session();
    }

    /// A stopped program is started again, with a new session.
    pub fn start(&mut self, now: SimTime) {
        assert_eq!(self.link, Link::Off, "{} is started twice", self.id);
        self.link = Link::Down(now);
    }

    fn timeout(&self) -> Duration {
        let asked = Duration::from_millis(u64::from(self.plan.timeout_ms.unsigned_abs()));
        self.session.as_ref().map_or(asked, |held| held.timeout)
    }

    fn is_quiet(&self, now: SimTime) -> bool {
        now >= self.plan.quiet_from
    }

    /// A mute client waits for the server to close the connection. A server that lost its power
    /// never does, and nothing is sent that would show it.
    fn end_of_silence(&self) -> SimTime {
        self.last_heard.after(self.timeout() * 3)
    }

    /// Does it take what arrives? If not, that waits.
    pub fn reads(&self) -> bool {
        self.deaf_until.is_none()
    }

    /// When `on_wake` is due.
    pub fn deadline(&self) -> Option<SimTime> {
        match self.link {
            Link::Off => None,
            Link::Down(until) => Some(until),
            Link::Dialing { since, .. } | Link::Greeting { since, .. } => {
                Some(since.after(self.timeout() / 2))
            }
            Link::Up { .. } if self.mute => Some(self.end_of_silence()),
            Link::Up { .. } => {
                let ping = self.last_sent.after(self.timeout() / 3);
                // Who does not listen notices no silence.
                let silence = self.last_heard.after(self.timeout() * 2 / 3);
                let silence = self.deaf_until.unwrap_or(silence);
                let act = if self.is_quiet(self.next_act) {
                    SimTime::NEVER
                } else {
                    self.next_act
                };
                Some(ping.min(silence).min(act))
            }
        }
    }

    pub fn on_wake(&mut self, now: SimTime, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        match self.link {
            Link::Down(until) if now >= until => self.dial(now, out),
            Link::Dialing { since, .. } | Link::Greeting { since, .. }
                if now >= since.after(self.timeout() / 2) =>
            {
                self.hang_up(now.after(RETRY_MIN), out, checks);
            }
            Link::Up { .. } if !self.mute => self.wake_up(now, out, checks),
            Link::Up { .. } if now >= self.end_of_silence() => self.hang_up(now, out, checks),
            _ => {}
        }
    }

    fn wake_up(&mut self, now: SimTime, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        if self.deaf_until.is_some_and(|until| now >= until) {
            self.deaf_until = None;
            self.last_heard = now;
        }
        if self.reads() && now >= self.last_heard.after(self.timeout() * 2 / 3) {
            let pause = Duration::from_micros(self.rng.on(Lane::Retry).below(200_000));
            self.hang_up(now.after(pause), out, checks);
            return;
        }
        if now >= self.next_act {
            if self.is_quiet(now) {
                self.next_act = SimTime::NEVER;
            } else {
                self.act(now, out, checks);
            }
        }
        let is_up = matches!(self.link, Link::Up { .. });
        if is_up && !self.mute && now >= self.last_sent.after(self.timeout() / 3) {
            self.send(now, Op::Ping, out, checks);
        }
    }

    fn dial(&mut self, now: SimTime, out: &mut Vec<ClientAction>) {
        let server = match self.target.take() {
            Some(server) => server,
            None => *self.rng.on(Lane::Dial).pick(&self.plan.servers),
        };
        self.link = Link::Dialing { server, since: now };
        out.push(ClientAction::Connect { server });
    }

    /// Drops the connection, if any, and tries again at `until`.
    fn hang_up(&mut self, until: SimTime, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        if !matches!(self.link, Link::Down(_) | Link::Off) {
            out.push(ClientAction::Disconnect);
        }
        self.drop_link(until, checks);
    }

    fn drop_link(&mut self, until: SimTime, checks: &mut Checks) {
        if let Some(held) = &self.session {
            for lost in self.pending.drain(..) {
                checks.lost(held.id, lost.xid, &lost.op);
            }
        }
        // A client that has only met servers without a quorum asks the next one for a new session,
        // and keeps its watches. Now and then one insists.
        let of_one = self.session.as_ref().is_some_and(|held| held.read_only);
        if of_one && self.rng.on(Lane::Renounce).chance(3, 4) {
            self.session = None;
        }
        self.pending.clear();
        self.frames.clear();
        self.mute = false;
        self.deaf_until = None;
        checks.disconnected(self.id);
        match &mut self.program {
            Program::Mixed(_) => {}
            Program::Lock(lock) => lock.interrupted(),
            Program::Election(election) => election.interrupted(),
        }
        self.link = Link::Down(until);
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.seen = Zxid::ZERO;
        self.watched.clear();
        self.lasting.clear();
        match &mut self.program {
            Program::Mixed(_) => {}
            Program::Lock(lock) => lock.lost_session(),
            Program::Election(election) => election.lost_session(),
        }
    }

    /// The connection asked for is up.
    pub fn on_connected(&mut self, now: SimTime, out: &mut Vec<ClientAction>, _: &mut Checks) {
        let Link::Dialing { server, .. } = self.link else {
            return;
        };
        self.link = Link::Greeting { server, since: now };
        let (id, password) = match &self.session {
            Some(held) => (held.id, held.password),
            None => (SessionId::default(), [0; 16]),
        };
        let frame = ops::connect_frame(
            self.seen,
            self.plan.timeout_ms,
            id,
            &password,
            self.plan.read_only,
        );
        out.push(ClientAction::Send(frame));
    }

    /// The connection is gone, or could not be made.
    pub fn on_closed(&mut self, now: SimTime, _: &mut Vec<ClientAction>, checks: &mut Checks) {
        if matches!(self.link, Link::Down(_) | Link::Off) {
            return;
        }
        let mut pause = RETRY_MIN + Duration::from_micros(self.rng.on(Lane::Retry).below(300_000));
        if let Link::Greeting { server, .. } = self.link
            && self.chases()
        {
            self.target = Some(server);
            pause = RETRY_MIN;
        }
        self.drop_link(now.after(pause), checks);
    }

    pub fn on_bytes(
        &mut self,
        now: SimTime,
        bytes: &[u8],
        out: &mut Vec<ClientAction>,
        checks: &mut Checks,
    ) {
        self.frames.push(bytes);
        loop {
            let frame = match self.frames.cut() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(length) => {
                    checks.malformed(now, self.id, &format!("frame of {length} bytes"));
                    self.hang_up(now.after(RETRY_MIN), out, checks);
                    return;
                }
            };
            match self.link {
                Link::Greeting { server, since } => {
                    self.welcome(now, (server, since), &frame, out, checks);
                }
                Link::Up { .. } => self.frame(now, &frame, out, checks),
                Link::Down(_) | Link::Off | Link::Dialing { .. } => return,
            }
        }
    }

    fn welcome(
        &mut self,
        now: SimTime,
        (server, asked): (ServerId, SimTime),
        frame: &[u8],
        out: &mut Vec<ClientAction>,
        checks: &mut Checks,
    ) {
        let welcome = match ops::read_welcome(frame) {
            Ok(welcome) => welcome,
            Err(why) => {
                checks.malformed(now, self.id, &format!("connect response: {why}"));
                return;
            }
        };
        if welcome.timeout_ms <= 0 {
            match self.session() {
                Some(id) => checks.session_refused(now, id),
                None => checks.malformed(now, self.id, "a new session is refused"),
            }
            self.hang_up(now.after(RETRY_MIN), out, checks);
            self.forget_session();
            return;
        }
        let known = self.session.as_ref();
        let is_new = known.is_none();
        if known.is_some_and(|h| h.id != welcome.session || h.password != welcome.password) {
            checks.malformed(now, self.id, "another session than the one asked for");
        }
        let timeout = Duration::from_millis(u64::from(welcome.timeout_ms.unsigned_abs()));
        let id = welcome.session;
        self.session = Some(Held {
            id,
            password: welcome.password,
            timeout,
            read_only: welcome.read_only,
        });
        if welcome.read_only && !self.plan.read_only {
            checks.malformed(
                now,
                self.id,
                "a server without a quorum, which it did not ask for",
            );
        }
        self.link = Link::Up { server };
        self.last_heard = now;
        self.last_sent = now;
        let welcomed = Welcomed {
            asked,
            server,
            session: id,
            timeout_ms: welcome.timeout_ms,
            seen: self.seen,
            is_new,
            read_only: welcome.read_only,
        };
        checks.session_opened(now, self.id, &welcomed);
        for auth in self.proofs.clone() {
            let scheme = "digest";
            self.send(now, Op::Auth { scheme, auth }, out, checks);
        }
        self.watch_again(now, out, checks);
        if !self.is_quiet(now) {
            self.act(now, out, checks);
        }
    }

    fn watch_again(&mut self, now: SimTime, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        if self.watched.is_empty() && self.lasting.is_empty() {
            return;
        }
        let (mut data, mut exist, mut child) = (Vec::new(), Vec::new(), Vec::new());
        for ((table, path), missing) in &self.watched {
            match (table, missing) {
                (Table::Data, false) => data.push(path.clone()),
                (Table::Data, true) => exist.push(path.clone()),
                (Table::Child, _) => child.push(path.clone()),
            }
        }
        self.send(
            now,
            Op::SetWatches {
                relative: self.seen,
                data,
                exist,
                child,
                persistent: self.lasting_paths(false),
                recursive: self.lasting_paths(true),
            },
            out,
            checks,
        );
    }

    fn lasting_paths(&self, recursive: bool) -> Vec<Path> {
        let wanted = self.lasting.iter().filter(|(_, r)| *r == recursive);
        wanted.map(|(path, _)| path.clone()).collect()
    }

    fn send(&mut self, now: SimTime, op: Op, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        let Some(held) = &self.session else { return };
        let xid = match op {
            Op::Ping => XID_PING,
            Op::SetWatches { .. } => XID_SET_WATCHES,
            Op::Auth { .. } => XID_AUTH,
            _ => {
                self.next_xid += 1;
                self.next_xid - 1
            }
        };
        let op = Rc::new(op);
        let ticket = checks.invoked(now, self.id, held.id, xid, &op);
        out.push(ClientAction::Send(op.frame(xid)));
        // Proving who one is keeps no session alive.
        if xid != XID_AUTH {
            self.last_sent = now;
        }
        self.pending.push_back(Pending { xid, op, ticket });
    }

    /// The program's turn.
    fn act(&mut self, now: SimTime, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        match &mut self.program {
            Program::Mixed(mixed) => {
                self.next_act = now.after(mixed.pause(self.rng.on(Lane::Pause)));
                if self.pending.len() >= PENDING_MAX {
                    return;
                }
                if !self.rng.on(Lane::Act).happens() {
                    return;
                }
                let mut asked = Vec::new();
                let then = mixed.act(&mut self.rng, &mut asked);
                for op in asked {
                    self.send(now, op, out, checks);
                }
                self.moves(now, then, out, checks);
            }
            Program::Lock(_) | Program::Election(_) => self.follow_recipe(now, out, checks),
        }
    }

    fn follow_recipe(&mut self, now: SimTime, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        let Some(session) = self.session() else {
            return;
        };
        let (op, next) = match &mut self.program {
            Program::Lock(lock) => (lock.step(now, session), lock.wake_at()),
            Program::Election(election) => (election.step(), None),
            Program::Mixed(_) => return,
        };
        self.next_act = next.unwrap_or(SimTime::NEVER);
        if let Some(op) = op {
            self.send(now, op, out, checks);
        }
    }

    fn moves(
        &mut self,
        now: SimTime,
        then: Move,
        out: &mut Vec<ClientAction>,
        checks: &mut Checks,
    ) {
        match then {
            Move::Stay => {}
            Move::Elsewhere => {
                let server = self.server();
                let others: Vec<ServerId> = self
                    .plan
                    .servers
                    .iter()
                    .copied()
                    .filter(|s| Some(*s) != server)
                    .collect();
                self.target = match others.is_empty() {
                    true => server,
                    false => Some(*self.rng.pick(&others)),
                };
                self.hang_up(now, out, checks);
            }
            Move::SameServer => {
                self.target = self.server();
                self.hang_up(now, out, checks);
            }
            Move::Mute => self.mute = true,
            Move::Deaf => {
                let most = 3 * self.timeout().as_nanos() as u64;
                let lasts = Duration::from_nanos(self.rng.range(1_000_000, most));
                self.deaf_until = Some(now.after(lasts));
            }
            Move::Vanish => {
                let away = self.timeout() * 2;
                self.hang_up(now.after(away), out, checks);
            }
            Move::Close => self.send(now, Op::CloseSession, out, checks),
        }
    }

    fn frame(
        &mut self,
        now: SimTime,
        frame: &[u8],
        out: &mut Vec<ClientAction>,
        checks: &mut Checks,
    ) {
        self.last_heard = now;
        let mut r = Reader::new(frame);
        let header = match ops::read_header(&mut r) {
            Ok(header) => header,
            Err(why) => {
                checks.malformed(now, self.id, &format!("reply header: {why}"));
                return;
            }
        };
        if header.xid == XID_EVENT {
            match ops::read_event(header, &mut r) {
                Ok(event) => self.event(now, &event, out, checks),
                Err(why) => checks.malformed(now, self.id, &format!("event: {why}")),
            }
            return;
        }
        let Some(pending) = self.answered(header) else {
            let due = self.pending.front().map(|p| p.xid);
            let what = format!("reply to {} where {due:?} is due", header.xid);
            checks.malformed(now, self.id, &what);
            return;
        };
        match ops::read_reply(&pending.op, header, &mut r) {
            Ok(reply) => self.reply(now, &pending, &reply, out, checks),
            Err(why) => {
                let what = format!("reply to {:?}: {why}", pending.op);
                checks.malformed(now, self.id, &what);
            }
        }
    }

    /// The request that this header answers: the oldest one, or, for a ping, the oldest ping.
    fn answered(&mut self, header: ReplyHeader) -> Option<Pending> {
        if self.pending.front()?.xid == header.xid {
            return self.pending.pop_front();
        }
        if header.xid != XID_PING {
            return None;
        }
        let at = self.pending.iter().position(|p| p.xid == XID_PING)?;
        self.pending.remove(at)
    }

    fn reply(
        &mut self,
        now: SimTime,
        pending: &Pending,
        reply: &Reply,
        out: &mut Vec<ClientAction>,
        checks: &mut Checks,
    ) {
        let Some(session) = self.session() else {
            return;
        };
        let op = &*pending.op;
        checks.replied(
            now,
            self.id,
            session,
            pending.xid,
            op,
            &pending.ticket,
            reply,
        );
        if reply.zxid > Zxid::ZERO {
            self.seen = reply.zxid;
        }
        if reply.result == Err(ErrorCode::SessionExpired.code()) {
            self.hang_up(now.after(RETRY_MIN), out, checks);
            return;
        }
        self.set_watch(op, reply);
        if let Op::Auth { auth, .. } = op {
            self.proofs.retain(|known| known != auth);
            // One that is refused would be refused for ever.
            self.proofs.extend(reply.result.is_ok().then_some(*auth));
        }
        if *op == Op::CloseSession && reply.result.is_ok() {
            self.hang_up(now.after(RETRY_MIN), out, checks);
            self.forget_session();
            return;
        }
        if op.is_write() && reply.result.is_ok() && !self.is_quiet(now) && self.chases() {
            self.target = self.next_server();
            self.hang_up(now, out, checks);
            return;
        }
        match &mut self.program {
            Program::Mixed(mixed) => mixed.heard(op, reply),
            // A recipe asks for no proof of its own.
            Program::Lock(_) | Program::Election(_) if pending.xid == XID_AUTH => {}
            Program::Lock(lock) => lock.heard(now, session, op, reply),
            Program::Election(election) => election.heard(session, op, reply),
        }
        self.go_on(now, out, checks);
    }

    /// Is this client one that goes round its servers, and does it now?
    fn chases(&mut self) -> bool {
        match &self.program {
            Program::Mixed(mixed) if mixed.chase_percent() > 0 => {
                self.rng.on(Lane::Chase).chance(mixed.chase_percent(), 100)
            }
            _ => false,
        }
    }

    /// The one after the current server, in the order of the plan.
    fn next_server(&self) -> Option<ServerId> {
        let servers = &self.plan.servers;
        let here = servers.iter().position(|s| Some(*s) == self.server())?;
        Some(servers[(here + 1) % servers.len()])
    }

    /// A recipe takes its next step as soon as the last one is answered.
    fn go_on(&mut self, now: SimTime, out: &mut Vec<ClientAction>, checks: &mut Checks) {
        if !matches!(self.program, Program::Mixed(_)) && !self.is_quiet(now) {
            self.follow_recipe(now, out, checks);
        }
    }

    fn set_watch(&mut self, op: &Op, reply: &Reply) {
        let missing = reply.result == Err(ErrorCode::NoNode.code());
        match op {
            Op::AddWatch { path, recursive } if reply.result.is_ok() => {
                self.lasting.insert((path.clone(), *recursive));
            }
            Op::FindWatch {
                path,
                kind,
                remove: true,
            } if reply.result.is_ok() => self.unset_watch(path, *kind),
            _ => {}
        }
        let (table, path) = match op {
            Op::Exists { path, watch: true } if missing || reply.result.is_ok() => {
                (Table::Data, path)
            }
            Op::GetData { path, watch: true } if reply.result.is_ok() => (Table::Data, path),
            Op::GetChildren {
                path, watch: true, ..
            } if reply.result.is_ok() => (Table::Child, path),
            _ => return,
        };
        self.watched.insert((table, path.clone()), missing);
    }

    fn unset_watch(&mut self, path: &Path, kind: i32) {
        let of = |wanted| kind == wanted || kind == watcher::ANY;
        if of(watcher::DATA) {
            self.watched.remove(&(Table::Data, path.clone()));
        }
        if of(watcher::CHILD) {
            self.watched.remove(&(Table::Child, path.clone()));
        }
        if of(watcher::PERSISTENT) {
            self.lasting.remove(&(path.clone(), false));
        }
        if of(watcher::RECURSIVE) {
            self.lasting.remove(&(path.clone(), true));
        }
    }

    fn event(
        &mut self,
        now: SimTime,
        told: &ops::WatchEvent,
        out: &mut Vec<ClientAction>,
        checks: &mut Checks,
    ) {
        checks.event(now, self.id, told);
        let path: Path = told.path.as_str().into();
        if told.kind != event::CHILDREN_CHANGED {
            self.watched.remove(&(Table::Data, path.clone()));
        }
        if told.kind == event::CHILDREN_CHANGED || told.kind == event::DELETED {
            self.watched.remove(&(Table::Child, path));
        }
        match &mut self.program {
            Program::Mixed(_) => {}
            Program::Lock(lock) => lock.told(told),
            Program::Election(election) => election.told(told),
        }
        self.go_on(now, out, checks);
    }
}

#[cfg(test)]
mod tests;
