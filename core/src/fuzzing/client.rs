//! One client of a fuzzed conversation, who holds the server to its promises: every request is
//! answered once and in order, with a body of its kind, and no reply comes unasked.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::ids::{ConnId, SessionId, Zxid};
use crate::limits::CLIENT_FRAME_BYTES_MAX;
use crate::wire::client::{
    ConnectResponse, Password, Reply, ReplyHeader, RequestHeader, WatcherEvent, measure_frame, xid,
};
use crate::wire::jute::{DecodeError, Reader};
use crate::wire::records::op;

/// What the server owes in answer to the first frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handshake {
    NotSent,
    /// Whatever the first bytes were, they were enough for an answer, or for the end.
    Due,
    Done,
    /// The session was refused: nothing but the end may come.
    Refused,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) conn: ConnId,
    /// Sent and not yet read by the server.
    pub(super) inbound: VecDeque<Vec<u8>>,
    /// Sent, and not a whole frame.
    unparsed: Vec<u8>,
    handshake: Handshake,
    /// Xid and operation of what is not answered.
    asked: VecDeque<(i32, i32)>,
    /// Bytes came that are no frame or no request: nothing behind them is a request.
    is_broken: bool,
    received: Vec<u8>,
    newest: Zxid,
    next_xid: i32,
    pub(super) is_closed: bool,
}

impl Client {
    pub(super) fn new(conn: ConnId) -> Self {
        Self {
            conn,
            inbound: VecDeque::new(),
            unparsed: Vec::new(),
            handshake: Handshake::NotSent,
            asked: VecDeque::new(),
            is_broken: false,
            received: Vec::new(),
            newest: Zxid::ZERO,
            next_xid: 1,
            is_closed: false,
        }
    }

    pub(super) fn next_xid(&mut self) -> i32 {
        self.next_xid += 1;
        self.next_xid
    }

    /// Bytes on their way to the server, which gets them in two pieces.
    pub(super) fn send(&mut self, bytes: &[u8], cut: usize) {
        let (front, back) = bytes.split_at(bytes.len().min(cut));
        for piece in [front, back] {
            if !piece.is_empty() {
                self.inbound.push_back(piece.to_vec());
            }
        }
    }

    /// The server gets these bytes: what will it owe?
    pub(super) fn note_sent(&mut self, bytes: &[u8], frame_max: usize) {
        self.unparsed.extend_from_slice(bytes);
        while !self.is_broken {
            let length = match measure_frame(&self.unparsed, CLIENT_FRAME_BYTES_MAX) {
                Ok(length) if length > self.unparsed.len() => return,
                Ok(length) if length - 4 <= frame_max => length,
                Ok(_) | Err(_) => {
                    self.is_broken = true;
                    if self.handshake == Handshake::NotSent {
                        self.handshake = Handshake::Due;
                    }
                    return;
                }
            };
            let frame: Vec<u8> = self.unparsed.drain(..length).collect();
            if self.handshake == Handshake::NotSent {
                self.handshake = Handshake::Due;
                continue;
            }
            match RequestHeader::read(&mut Reader::new(&frame[4..])) {
                Ok(header) => self.asked.push_back((header.xid, header.op)),
                Err(_) => self.is_broken = true,
            }
        }
    }

    /// The server sent these bytes. Gives the session of a handshake, if one ended well.
    pub(super) fn receive(&mut self, bytes: &[u8], stable: Zxid) -> Option<(SessionId, Password)> {
        assert!(!self.is_closed, "bytes after the end of {:?}", self.conn);
        self.received.extend_from_slice(bytes);
        let mut session = None;
        loop {
            let length = i32::from_be_bytes(match self.received.first_chunk() {
                Some(length) => *length,
                None => break,
            });
            let length = 4 + usize::try_from(length).expect("lengths are positive");
            if self.received.len() < length {
                break;
            }
            let frame: Vec<u8> = self.received.drain(..length).collect();
            if self.handshake == Handshake::Due {
                session = self.greeted(&frame[4..]);
            } else {
                self.answered(&frame[4..], stable);
            }
        }
        assert!(self.received.is_empty(), "part of a frame was sent");
        session
    }

    fn greeted(&mut self, frame: &[u8]) -> Option<(SessionId, Password)> {
        let answer = ConnectResponse::decode(frame).expect("a ConnectResponse");
        if answer.timeout_ms == 0 {
            assert_eq!(answer, ConnectResponse::refusal(answer.read_only));
            self.handshake = Handshake::Refused;
            return None;
        }
        assert!(answer.timeout_ms > 0 && answer.session.0 != 0, "{answer:?}");
        self.handshake = Handshake::Done;
        Some((answer.session, answer.password))
    }

    fn answered(&mut self, frame: &[u8], stable: Zxid) {
        assert_eq!(self.handshake, Handshake::Done, "a reply, and no session");
        let mut r = Reader::new(frame);
        let header = ReplyHeader::read(&mut r).expect("a reply's header");
        assert!(
            header.zxid <= stable,
            "shows what is not stable: {header:?}"
        );
        let front = self.asked.front().copied();
        if header.xid == xid::NOTIFICATION {
            if let Ok(event) = WatcherEvent::read(&mut r)
                && r.is_at_end()
                && (1..=4).contains(&event.kind)
                && event.state == 3
            {
                return;
            }
            assert_eq!(front.map(|(xid, _)| xid), Some(-1), "no event, no reply");
        }
        let Some((xid, op)) = front else {
            panic!("nobody asked for {header:?} with {:02x?}", r.rest());
        };
        self.asked.pop_front();
        // A ping that is refused is a request like any other.
        let is_ping = op == op::PING && header.error == 0;
        assert_eq!(
            header.xid,
            if is_ping { xid::PING } else { xid },
            "out of order: operation {op}"
        );
        if header.zxid > Zxid::ZERO {
            assert!(
                header.zxid >= self.newest,
                "{header:?} after {}",
                self.newest
            );
            self.newest = header.zxid;
        }
        self.check_body(op, &header, &frame[ReplyHeader::BYTES..]);
    }

    fn check_body(&self, op: i32, header: &ReplyHeader, body: &[u8]) {
        if header.error != 0 {
            assert!(body.is_empty() || op == op::SASL, "{header:?} with a body");
            return;
        }
        match Reply::decode(op, body) {
            Ok(reply) => {
                let mut again = Vec::new();
                reply.encode(&mut again);
                assert_eq!(again, body, "operation {op}: {reply:?}");
            }
            // Operations whose replies nobody but their clients reads.
            Err(DecodeError::Value(_)) => {}
            Err(why) => panic!("operation {op} answered with {body:02x?}: {why:?}"),
        }
    }

    /// Nothing is under way any more: what was asked must be answered, or the connection closed.
    pub(super) fn check_settled(&self) {
        if self.is_closed {
            return;
        }
        assert!(self.inbound.is_empty(), "{self:?} was not read");
        assert!(
            matches!(self.handshake, Handshake::NotSent | Handshake::Done),
            "no answer and no end: {self:?}"
        );
        assert!(!self.is_broken, "no end after bad bytes: {self:?}");
        assert!(self.asked.is_empty(), "not answered: {self:?}");
    }

    /// The newest zxid that a reply showed.
    pub(super) fn newest(&self) -> Zxid {
        self.newest
    }
}
