//! One client's connection: how far its handshake is, and its requests that wait for a reply.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use super::reply;
use super::throttle::Arrivals;
use super::unread::Unread;
use crate::acl;
use crate::boundary::CloseReason;
use crate::database::Outcome;
use crate::ids::{ConnId, SessionId};
use crate::limits::{
    CONNECTION_OUTSTANDING_BYTES_MAX, CONNECTION_OUTSTANDING_PART, SESSIONLESS_CONNECTION_TIMEOUT,
};
use crate::session::Scope;
use crate::time::Instant;
use crate::wire::records::{ErrorCode, Id, op};
use crate::wire::splitter::Splitter;

/// How far a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Not enough bytes came to tell what it wants.
    Fresh,
    /// Its session is being created or asked for upstream. Nothing more is read meanwhile.
    Connecting(Session),
    Open(Session),
    /// The last request was read; what comes after it is dropped.
    Draining(Session),
}

/// The session that a connection speaks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) timeout_ms: i32,
    pub(super) scope: Scope,
    /// It existed before this connection. Then transactions of its earlier connections may still
    /// come, here or through other servers, with numbers that the client uses again.
    pub(super) is_renewed: bool,
    /// The last byte of the client's ConnectRequest, if it sent one.
    pub(super) read_only: Option<bool>,
}

/// A request whose reply has not left. Replies leave from the front only.
#[derive(Debug)]
pub(super) enum Pending {
    /// Went upstream; its transaction will carry `cxid`.
    Write { xid: i32, cxid: i32, op: i32 },
    /// Went upstream. The body is the reply's.
    Sync { xid: i32, path: Vec<u8> },
    /// Not carried out before those in front of it.
    Parked {
        xid: i32,
        op: i32,
        body: Vec<u8>,
        identities: Arc<[Id]>,
    },
    /// Nothing to carry out: an error, with the zxid that is shown by then.
    Refused { xid: i32, error: ErrorCode },
    /// The end of a local session: success, with the zxid that is shown by then, after which the
    /// connection is closed.
    Farewell { xid: i32, why: CloseReason },
    /// The whole frame, waiting for its turn.
    Done { frame: Vec<u8> },
    /// The same, after which the connection is closed.
    Last { frame: Vec<u8>, why: CloseReason },
}

impl Pending {
    fn is_upstream(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Sync { .. })
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) address: IpAddr,
    pub(super) phase: Phase,
    pub(super) identities: Arc<[Id]>,
    pub(super) splitter: Splitter,
    /// Oldest first; with the bytes that each was counted with.
    queue: VecDeque<(Pending, usize)>,
    queue_bytes: usize,
    /// Last bytes of an open session; before that the time of opening.
    pub(super) heard: Instant,
    /// Its entry in the alarms.
    pub(super) alarm: Instant,
    /// What it contributes to the server's held bytes.
    pub(super) held_counted: usize,
    pub(super) in_backlog: bool,
    pub(super) unread: Unread,
    /// Its next request waits until fewer are in process.
    pub(super) is_throttled: bool,
    pub(super) arrivals: Arrivals,
    /// The round of touches in which it was listed, see `Desk`.
    pub(super) touched_in: u64,
}

impl Connection {
    pub(super) fn new(id: ConnId, address: IpAddr, now: Instant, alarm: Instant) -> Self {
        Self {
            id,
            address,
            phase: Phase::Fresh,
            identities: Arc::new([acl::ip_identity(address)]),
            splitter: Splitter::default(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            heard: now,
            alarm,
            held_counted: 0,
            in_backlog: false,
            unread: Unread::default(),
            is_throttled: false,
            arrivals: Arrivals::default(),
            touched_in: 0,
        }
    }

    pub(super) fn session(&self) -> Option<SessionId> {
        match self.phase {
            Phase::Fresh => None,
            Phase::Connecting(s) | Phase::Open(s) | Phase::Draining(s) => Some(s.id),
        }
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting(_))
    }

    /// When it will have been silent for too long.
    pub(super) fn idle_at(&self) -> Instant {
        match self.phase {
            Phase::Fresh | Phase::Connecting(_) => self.heard + SESSIONLESS_CONNECTION_TIMEOUT,
            Phase::Open(_) | Phase::Draining(_) => self.heard + self.session_timeout(),
        }
    }

    /// Of its session; zero without one.
    pub(super) fn session_timeout(&self) -> Duration {
        match self.phase {
            Phase::Fresh => Duration::ZERO,
            Phase::Connecting(s) | Phase::Open(s) | Phase::Draining(s) => {
                Duration::from_millis(u64::try_from(s.timeout_ms).expect("timeouts are clamped"))
            }
        }
    }

    /// Room for one more request, of `max` that this server may have in process and `all` that it
    /// has? One that has none there always gets through, as in ZooKeeper. None behind a sync that
    /// is under way: it waits for a quorum, and a later write of the same session must not be
    /// committed, and seen, before it is answered.
    pub(super) fn has_room(&self, max: usize, all: usize) -> bool {
        let is_syncing = matches!(self.queue.back(), Some((Pending::Sync { .. }, _)));
        !is_syncing
            && (self.queue.is_empty()
                || all < max && self.queue.len() < max.div_ceil(CONNECTION_OUTSTANDING_PART))
            && self.queue_bytes < CONNECTION_OUTSTANDING_BYTES_MAX
    }

    /// Nothing but this server's own time keeps it from going on.
    pub(super) fn can_go_on(&self) -> bool {
        match self.queue.front() {
            Some((Pending::Write { .. } | Pending::Sync { .. }, _)) => false,
            Some(_) => true,
            None => matches!(self.phase, Phase::Open(_)) && self.splitter.held() > 0,
        }
    }

    /// Bytes that are kept because the connection is not read for now. Part of a frame whose rest
    /// has not come does not count: only the client can end that wait.
    pub(super) fn held_while_waiting(&self) -> usize {
        let is_waiting = self.is_connecting()
            || !self.queue.is_empty()
            || self.in_backlog
            || self.is_throttled
            || self.unread.is_clogged();
        if is_waiting { self.splitter.held() } else { 0 }
    }

    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// The bytes that each request was counted with.
    pub(super) fn counted(&self) -> impl Iterator<Item = usize> {
        self.queue.iter().map(|(_, bytes)| *bytes)
    }

    pub(super) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn push(&mut self, pending: Pending, bytes: usize) {
        self.queue.push_back((pending, bytes));
        self.queue_bytes += bytes;
    }

    /// The request in front, if it needs nothing from upstream, and the bytes counted for it.
    pub(super) fn pop_ready(&mut self) -> Option<(Pending, usize)> {
        if self.queue.front()?.0.is_upstream() {
            return None;
        }
        let (pending, bytes) = self.queue.pop_front()?;
        self.queue_bytes -= bytes;
        Some((pending, bytes))
    }

    /// Does the request in front need nothing from upstream?
    pub(super) fn is_ready(&self) -> bool {
        let front = self.queue.front();
        front.is_some_and(|(pending, _)| !pending.is_upstream())
    }

    /// Is any request upstream?
    pub(super) fn waits_upstream(&self) -> bool {
        self.queue.iter().any(|(pending, _)| pending.is_upstream())
    }

    /// Is this the transaction of the oldest write that waits? Transactions of a session that
    /// came another way (an earlier connection, another server, expiry) are told by `cxid` and by
    /// a result that does not fit.
    pub(super) fn has_write(&self, cxid: i32, kind: i32, outcome: &Outcome) -> bool {
        let oldest = self.queue.iter().find_map(|(pending, _)| match pending {
            Pending::Write { cxid, op, .. } => Some((*cxid, *op)),
            _ => None,
        });
        oldest.is_some_and(|(own, op)| own == cxid && reply::fits(op, kind, outcome))
    }

    /// Puts a whole reply, made from xid and operation, in the place of the oldest write.
    pub(super) fn finish_write(&mut self, encode: impl FnOnce(i32, i32) -> Vec<u8>) {
        let session = self.session().expect("who writes has a session");
        let found = self
            .queue
            .iter_mut()
            .find_map(|(pending, _)| match pending {
                Pending::Write { xid, op, .. } => {
                    let (xid, op) = (*xid, *op);
                    Some((pending, xid, op))
                }
                _ => None,
            });
        let (pending, xid, op) = found.expect("a write waits");
        let frame = encode(xid, op);
        *pending = if op == op::CLOSE_SESSION {
            Pending::Last {
                frame,
                why: CloseReason::SessionClosed(session),
            }
        } else {
            Pending::Done { frame }
        };
    }

    /// The same for the oldest sync, from xid and body.
    pub(super) fn finish_sync(&mut self, encode: impl FnOnce(i32, &[u8]) -> Vec<u8>) {
        let is_sync = |p: &&mut (Pending, usize)| matches!(p.0, Pending::Sync { .. });
        let (pending, _) = self.queue.iter_mut().find(is_sync).expect("a sync waits");
        if let Pending::Sync { xid, path } = pending {
            *pending = Pending::Done {
                frame: encode(*xid, path),
            };
        }
    }

    /// Takes the write in front, whose reply may leave at once: its xid, operation and bytes.
    /// Not a closeSession, whose reply is followed by the end.
    pub(super) fn pop_write_in_front(&mut self) -> Option<(i32, i32, usize)> {
        let &(Pending::Write { xid, op, .. }, bytes) = self.queue.front()? else {
            return None;
        };
        if op == op::CLOSE_SESSION {
            return None;
        }
        self.queue.pop_front();
        self.queue_bytes -= bytes;
        Some((xid, op, bytes))
    }
}
