//! The first bytes of a connection: a four-letter word, or the handshake that gives it a session.

use core::mem;

use super::connection::{Connection, Phase, Session};
use super::door::Wish;
use super::{Clients, Service, Serving, Upstream};
use crate::boundary::{Action, CloseReason, FourLetterWord};
use crate::database::Outcome;
use crate::ids::{ConnId, SessionId, Zxid};
use crate::mutants::Mutant;
use crate::session::Scope;
use crate::session::id::{is_password, password};
use crate::wire::client::{ConnectRequest, ConnectResponse, measure_frame, put_frame};
use crate::wire::jute::{DecodeError, Decoded};
use crate::wire::records::op;

/// What a connection begins with.
enum First {
    Word(FourLetterWord),
    Hello(Hello),
    Refused(CloseReason),
}

impl First {
    /// Reads a whole first message.
    fn read(message: &[u8], is_serving: bool) -> Self {
        match word(message) {
            Some(word) => Self::Word(word),
            None if !is_serving => Self::Refused(CloseReason::NotServing),
            None => match Hello::decode(&message[4..]) {
                Ok(hello) => Self::Hello(hello),
                Err(_) => Self::Refused(CloseReason::FrameMalformed),
            },
        }
    }
}

/// A ConnectRequest, judged as far as it can be without knowing anything else.
struct Hello {
    last_zxid_seen: Zxid,
    timeout_ms: i32,
    session: SessionId,
    is_owner: bool,
    read_only: Option<bool>,
}

impl Hello {
    fn decode(frame: &[u8]) -> Decoded<Self> {
        let request = ConnectRequest::decode(frame)?;
        Ok(Self {
            last_zxid_seen: request.last_zxid_seen,
            timeout_ms: request.timeout_ms,
            session: request.session,
            is_owner: is_password(request.session, request.password),
            read_only: request.read_only,
        })
    }
}

/// The words that are answered on the client port. All of them are impossible frame lengths.
fn word(bytes: &[u8]) -> Option<FourLetterWord> {
    Some(match bytes {
        b"ruok" => FourLetterWord::Ruok,
        b"srvr" => FourLetterWord::Srvr,
        b"stat" => FourLetterWord::Stat,
        b"mntr" => FourLetterWord::Mntr,
        b"conf" => FourLetterWord::Conf,
        b"envi" => FourLetterWord::Envi,
        b"isro" => FourLetterWord::Isro,
        _ => return None,
    })
}

/// Bytes of what is in front: four tell everything if they are a word, or if nothing but a word
/// would be answered.
fn measure_first(bytes: &[u8], is_serving: bool, max: usize) -> Result<usize, DecodeError> {
    match bytes.get(..4) {
        None => Ok(4),
        Some(first) if !is_serving || word(first).is_some() => Ok(4),
        Some(_) => measure_frame(bytes, max),
    }
}

impl Clients {
    /// Reads the first message of a connection, if it is there.
    pub(super) fn greet(&mut self, conn: ConnId, chunk: &mut &[u8], ctx: &mut Serving<'_>) {
        let is_serving = self.desk.service != Service::Closed;
        let max = self.desk.frame_bytes_max();
        let c = self.connection(conn);
        let mut splitter = mem::take(&mut c.splitter);
        let first = match splitter.next(chunk, |bytes| measure_first(bytes, is_serving, max)) {
            Ok(None) => None,
            Ok(Some(message)) => {
                self.connection(conn).arrivals.take(message.len());
                Some(First::read(message, is_serving))
            }
            Err(DecodeError::Length(n)) => Some(First::Refused(CloseReason::FrameLength(n))),
            Err(_) => Some(First::Refused(CloseReason::FrameMalformed)),
        };
        self.connection(conn).splitter = splitter;
        match first {
            None => {}
            Some(First::Hello(hello)) => self.on_hello(conn, &hello, ctx),
            Some(First::Refused(why)) => self.close(conn, why, ctx.out),
            Some(First::Word(word)) => {
                // The driver answers and closes; nothing more is read.
                self.forget(conn);
                ctx.out.push(Action::Command { conn, word });
            }
        }
    }

    fn connection(&mut self, conn: ConnId) -> &mut Connection {
        self.connections
            .get_mut(&conn)
            .expect("its bytes are being handled")
    }

    /// Decides a ConnectRequest as far as this server can, in ZooKeeper's order.
    fn on_hello(&mut self, conn: ConnId, hello: &Hello, ctx: &mut Serving<'_>) {
        self.desk.received += 1;
        let wish = match hello.session.0 {
            0 if self.desk.locals.enabled => Wish::Local,
            0 => Wish::Global,
            _ => Wish::Renewal,
        };
        if let Err(why) = self.door.shake_hands(wish, ctx.now.mono) {
            return self.close(conn, why, ctx.out);
        }
        if self.is_read_only() && hello.read_only != Some(true) {
            return self.close(conn, CloseReason::ReadOnly, ctx.out);
        }
        let (seen, applied) = (hello.last_zxid_seen, self.desk.visible(ctx.db));
        if seen > applied && !self.desk.mutants.has(Mutant::LastZxidSeenIgnored) {
            return self.close(conn, CloseReason::ClientAhead { seen, applied }, ctx.out);
        }
        let is_renewed = hello.session.0 != 0;
        if is_renewed && !hello.is_owner {
            return self.refuse_session(conn, hello.session, hello.read_only, ctx);
        }
        let timeout_ms = hello
            .timeout_ms
            .clamp(self.timeout_min_ms, self.timeout_max_ms);
        let (id, scope) = if is_renewed {
            (hello.session, self.scope_of(hello.session))
        } else {
            self.new_session(timeout_ms, ctx)
        };
        if scope == Scope::Global && self.is_read_only() {
            // Only a leader could say whether it is alive.
            return self.close(conn, CloseReason::ReadOnly, ctx.out);
        }
        if let Some(&older) = self.by_session.get(&id) {
            self.close(older, CloseReason::SessionTakenOver(id), ctx.out);
        }
        let session = Session {
            id,
            timeout_ms,
            scope,
            is_renewed,
            read_only: hello.read_only,
        };
        let c = self.connection(conn);
        assert!(
            matches!(c.phase, Phase::Fresh),
            "one handshake for each connection"
        );
        c.phase = Phase::Connecting(session);
        self.by_session.insert(id, conn);
        self.desk.begin_handshake();
        if scope == Scope::Local {
            if self.desk.mutants.has(Mutant::LocalSessionLeaks) && !is_renewed {
                self.ask_for_session(conn, session);
            }
            self.open(conn, session, ctx);
        } else {
            self.ask_for_session(conn, session);
        }
    }

    /// Has a global session created, or asks whether it is alive.
    fn ask_for_session(&mut self, conn: ConnId, session: Session) {
        let identities = self.connection(conn).identities.clone();
        let Session { id, timeout_ms, .. } = session;
        self.desk.upstream.push(if session.is_renewed {
            self.revalidations.push_back((id, conn));
            Upstream::Revalidate {
                session: id,
                timeout_ms,
            }
        } else {
            Upstream::Request {
                session: id,
                scope: session.scope,
                cxid: 0,
                op: op::CREATE_SESSION,
                body: timeout_ms.to_be_bytes().to_vec(),
                identities,
            }
        });
    }

    fn scope_of(&self, session: SessionId) -> Scope {
        if self.desk.locals.contains(session) {
            Scope::Local
        } else {
            Scope::Global
        }
    }

    /// An id that no session has (a clock that was set back could make one again), and what the
    /// session will be. A local one exists at once.
    fn new_session(&mut self, timeout_ms: i32, ctx: &Serving<'_>) -> (SessionId, Scope) {
        let id = loop {
            let id = self.session_ids.allocate();
            let is_known = ctx.db.sessions().contains_key(&id)
                || self.by_session.contains_key(&id)
                || self.desk.locals.contains(id);
            if !is_known {
                break id;
            }
        };
        if !self.desk.locals.enabled && !self.is_read_only() {
            return (id, Scope::Global);
        }
        self.desk.locals.open(id, timeout_ms, ctx.now.mono);
        (id, Scope::Local)
    }

    /// Is the connection's session new, and not there yet?
    pub(super) fn is_creating(&self, conn: ConnId) -> bool {
        let phase = self.connections.get(&conn).map(|c| c.phase);
        matches!(phase, Some(Phase::Connecting(s)) if !s.is_renewed)
    }

    /// A session that may have been asked for here exists now.
    pub(super) fn on_session_created(
        &mut self,
        conn: ConnId,
        outcome: &Outcome,
        ctx: &mut Serving<'_>,
    ) {
        match self.connection(conn).phase {
            Phase::Connecting(s) if !s.is_renewed => {
                if *outcome == Outcome::SessionCreated {
                    self.open(conn, s, ctx);
                } else {
                    self.refuse(conn, ctx);
                }
            }
            // A client that came back faster than this server learns of its session.
            _ => {}
        }
    }

    /// The leader's word on a session that a client came back with. Answers come in the order of
    /// the questions: it is about the connection that asked, not about one that has taken over from
    /// it, whose client has a right to its whole timeout from its own question on.
    pub fn on_revalidated(&mut self, session: SessionId, valid: bool, ctx: &mut Serving<'_>) {
        let is_about = |(asked, _): &(SessionId, ConnId)| *asked == session;
        let Some(oldest) = self.revalidations.iter().position(is_about) else {
            return;
        };
        let (_, conn) = self.revalidations.remove(oldest).expect("it was found");
        let Some(Phase::Connecting(s)) = self.connections.get(&conn).map(|c| c.phase) else {
            return;
        };
        assert!(s.id == session && s.is_renewed, "it has asked");
        if valid {
            self.open(conn, s, ctx);
        } else {
            self.refuse(conn, ctx);
        }
    }

    /// The handshake succeeded: tells the client and reads what it sent meanwhile.
    fn open(&mut self, conn: ConnId, session: Session, ctx: &mut Serving<'_>) {
        let is_read_only = self.is_read_only();
        let c = self.connections.get_mut(&conn).expect("it is connecting");
        assert!(c.is_connecting() && session.timeout_ms > 0);
        c.phase = Phase::Open(session);
        c.heard = ctx.now.mono;
        self.alarms.cancel(c.alarm, conn);
        c.alarm = c.idle_at();
        self.alarms.set(c.alarm, conn);
        self.desk.end_handshake();
        self.desk.touch(c, ctx.now.mono);
        let response = ConnectResponse {
            protocol: 0,
            timeout_ms: session.timeout_ms,
            session: session.id,
            password: password(session.id),
            read_only: session.read_only.map(|_| is_read_only),
        };
        self.respond(conn, &response, ctx);
        self.advance(conn, &[], ctx);
    }

    /// Tells a client in its handshake that its session is gone, and closes.
    pub(super) fn refuse(&mut self, conn: ConnId, ctx: &mut Serving<'_>) {
        let Phase::Connecting(session) = self.connection(conn).phase else {
            unreachable!("only handshakes are refused");
        };
        self.refuse_session(conn, session.id, session.read_only, ctx);
    }

    fn refuse_session(
        &mut self,
        conn: ConnId,
        session: SessionId,
        read_only: Option<bool>,
        ctx: &mut Serving<'_>,
    ) {
        self.respond(conn, &ConnectResponse::refusal(read_only), ctx);
        self.close(conn, CloseReason::SessionRefused(session), ctx.out);
    }

    fn respond(&mut self, conn: ConnId, response: &ConnectResponse, ctx: &mut Serving<'_>) {
        self.desk.sent += 1;
        ctx.out
            .reply(conn, |out| put_frame(out, |out| response.encode(out)));
    }
}
