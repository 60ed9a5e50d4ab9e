//! Where the tasks of the sockets meet the turn: what has arrived, and who may read on.
//!
//! Everything here lives on one thread. Readers put bytes straight from their sockets into one
//! arena that the turn then shows to the machine, so a request is copied once, by the kernel, and
//! no connection owns a read buffer while it is silent.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use vivarium_core::boundary::{Appetite, Channel, Whom};
use vivarium_core::ids::{ConnId, LinkId, ServerId};
use vivarium_core::limits::CLIENT_UNREAD_BYTES;

use super::connection::Connection;
use super::queue::Spare;
use super::table::Table;

/// Bytes taken in one turn, from all sockets together.
const ARENA_BYTES: usize = 1 << 20;

/// Bytes taken from one socket at once: large enough for a batch, small enough to be fair.
const CHUNK_BYTES: usize = 64 << 10;

/// With less room than this in the arena a reader waits for the next turn.
const CHUNK_BYTES_MIN: usize = 4 << 10;

/// Something for the next turn, in the order in which it happened.
#[derive(Debug)]
pub(super) enum Arrival {
    Opened(Rc<Connection>),
    LinkOpened {
        link: Rc<Connection>,
        peer: Option<ServerId>,
        channel: Channel,
    },
    Bytes {
        whom: Whom,
        start: usize,
        end: usize,
    },
    Closed(Whom),
    DialFailed {
        peer: ServerId,
        channel: Channel,
    },
    Stop,
}

/// What has arrived since the last turn.
#[derive(Debug)]
pub(super) struct Inbox {
    arena: Box<[u8]>,
    used: usize,
    arrivals: Vec<Arrival>,
    /// Links whose socket took bytes; told with the next turn.
    pub(super) drained: Vec<LinkId>,
    /// Clients whose socket did not take everything, or has since; told with the next turn.
    pub(super) unread: Vec<ConnId>,
    /// Either is worth a turn of its own.
    urgent: bool,
    /// Counts turns, so that a reader knows whether its last bytes were seen.
    turn: u64,
    appetite: Appetite,
    /// Readers that wait for the next turn.
    waiting: Vec<Waker>,
    /// Readers of clients that wait for the machine's appetite.
    paused: Vec<Waker>,
    /// Those of links on the quorum port.
    paused_links: Vec<Waker>,
    turn_waker: Option<Waker>,
}

impl Inbox {
    pub(super) fn push(&mut self, arrival: Arrival) {
        self.arrivals.push(arrival);
        self.wake_turn();
    }

    fn wake_turn(&mut self) {
        if let Some(waker) = self.turn_waker.take() {
            waker.wake();
        }
    }

    /// Bytes of an `Arrival::Bytes` of this turn.
    pub(super) fn bytes(&self, start: usize, end: usize) -> &[u8] {
        &self.arena[start..end]
    }

    pub(super) fn take_arrivals(&mut self, into: &mut Vec<Arrival>) {
        debug_assert!(into.is_empty());
        std::mem::swap(&mut self.arrivals, into);
    }

    /// Everything taken was shown to the machine: the arena is free again.
    pub(super) fn end_turn(&mut self, appetite: Appetite) {
        self.used = 0;
        self.turn += 1;
        self.urgent = false;
        self.appetite = appetite;
        self.waiting.drain(..).for_each(Waker::wake);
        // Who still may not read waits again.
        if appetite.clients {
            self.paused.drain(..).for_each(Waker::wake);
        }
        if appetite.quorum {
            self.paused_links.drain(..).for_each(Waker::wake);
        }
    }
}

/// Shared by all tasks of the driver's thread.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) inbox: RefCell<Inbox>,
    pub(super) clients: RefCell<Table<Rc<Connection>>>,
    pub(super) links: RefCell<Table<Rc<Connection>>>,
    pub(super) spare: RefCell<Spare>,
    /// Closed connections whose last bytes are still leaving.
    pub(super) lingering: Cell<usize>,
    /// And how many bytes they had when they were closed.
    pub(super) lingering_bytes: Cell<usize>,
}

/// A reader's memory between two reads.
#[derive(Default, Debug)]
pub(super) struct Reading {
    /// The turn of the last bytes.
    turn: Option<u64>,
    /// The last read filled its chunk: others come first.
    full: bool,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            inbox: RefCell::new(Inbox {
                arena: vec![0; ARENA_BYTES].into_boxed_slice(),
                used: 0,
                arrivals: Vec::new(),
                drained: Vec::new(),
                unread: Vec::new(),
                urgent: false,
                turn: 0,
                appetite: Appetite {
                    clients: true,
                    quorum: true,
                },
                waiting: Vec::new(),
                paused: Vec::new(),
                paused_links: Vec::new(),
                turn_waker: None,
            }),
            clients: RefCell::new(Table::new()),
            links: RefCell::new(Table::new()),
            spare: RefCell::default(),
            lingering: Cell::new(0),
            lingering_bytes: Cell::new(0),
        }
    }

    pub(super) fn push(&self, arrival: Arrival) {
        self.inbox.borrow_mut().push(arrival);
    }

    /// The connection, as long as neither side has ended it.
    pub(super) fn connection(&self, whom: Whom) -> Option<Rc<Connection>> {
        match whom {
            Whom::Client(conn) => self.clients.borrow().get(conn.0).cloned(),
            Whom::Link(link) => self.links.borrow().get(link.0).cloned(),
        }
    }

    /// Forgets the connection; what it still has to send leaves in the background.
    pub(super) fn remove(&self, whom: Whom) -> Option<Rc<Connection>> {
        match whom {
            Whom::Client(conn) => self.clients.borrow_mut().remove(conn.0),
            Whom::Link(link) => self.links.borrow_mut().remove(link.0),
        }
    }

    /// Closes every connection that is left.
    pub(super) fn finish_all(self: &Rc<Self>) {
        let clients: Vec<_> = self.clients.borrow().values().cloned().collect();
        let links: Vec<_> = self.links.borrow().values().cloned().collect();
        for connection in clients.into_iter().chain(links) {
            self.remove(connection.whom);
            connection.finish(self);
        }
    }

    /// What the socket of a client has not taken is to be told to the machine. `urgent` if it
    /// waits for that.
    pub(super) fn unread(&self, conn: ConnId, urgent: bool) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.unread.push(conn);
        if urgent {
            inbox.urgent = true;
            inbox.wake_turn();
        }
    }

    /// The socket of `link` took bytes. `urgent` if so many that the machine may wait for it.
    pub(super) fn drained(&self, link: LinkId, first: bool, urgent: bool) {
        let mut inbox = self.inbox.borrow_mut();
        if first {
            inbox.drained.push(link);
        }
        if urgent {
            inbox.urgent = true;
            inbox.wake_turn();
        }
    }

    /// Is there anything for a turn?
    pub(super) fn poll_arrivals(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inbox = self.inbox.borrow_mut();
        if !inbox.arrivals.is_empty() || inbox.urgent {
            return Poll::Ready(());
        }
        if !inbox
            .turn_waker
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()))
        {
            inbox.turn_waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Reads the next bytes of a connection into the arena, when it is their time. `false`: the
    /// other side has ended the stream, and everything before that was shown to the machine.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        connection: &Connection,
        half: &mut OwnedReadHalf,
        reading: &mut Reading,
    ) -> Poll<io::Result<bool>> {
        let mut inbox = self.inbox.borrow_mut();
        let inbox = &mut *inbox;
        if matches!(connection.whom, Whom::Client(_)) {
            if !inbox.appetite.clients {
                inbox.paused.push(cx.waker().clone());
                return Poll::Pending;
            }
            // TCP tells it to slow down.
            if connection.unread() >= CLIENT_UNREAD_BYTES {
                connection.wake_when_read(cx.waker());
                return Poll::Pending;
            }
        }
        if connection.channel == Some(Channel::Quorum) && !inbox.appetite.quorum {
            inbox.paused_links.push(cx.waker().clone());
            return Poll::Pending;
        }
        let end = ARENA_BYTES.min(inbox.used + CHUNK_BYTES);
        let just_now = reading.turn == Some(inbox.turn);
        if end - inbox.used < CHUNK_BYTES_MIN || (just_now && reading.full) {
            inbox.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let start = inbox.used;
        let mut buffer = ReadBuf::new(&mut inbox.arena[start..end]);
        match Pin::new(half).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) => {}
        }
        let read = buffer.filled().len();
        if read == 0 && just_now {
            // The answer to the last bytes may still be sent: a half closed stream is no error.
            inbox.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        if read == 0 {
            return Poll::Ready(Ok(false));
        }
        *reading = Reading {
            turn: Some(inbox.turn),
            full: start + read == end,
        };
        inbox.used += read;
        inbox.push(Arrival::Bytes {
            whom: connection.whom,
            start,
            end: start + read,
        });
        Poll::Ready(Ok(true))
    }
}
