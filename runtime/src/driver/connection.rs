//! One TCP connection, to a client or to another server: its queue of bytes to send, its reader,
//! and its end. Knows nothing of the protocol.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{AbortHandle, spawn_local};
use vivarium_core::boundary::{Channel, Whom};
use vivarium_core::ids::{ConnId, LinkId, ServerId};
use vivarium_core::limits::{CLIENT_UNREAD_BYTES, LINGERING_BYTES_MAX};
use vivarium_core::time;

use super::hub::{Arrival, Hub, Reading};
use super::queue::OutQueue;
use crate::words::ClientLine;

/// How long a connection may take to accept its last bytes after it was closed here.
const LINGER: Duration = Duration::from_secs(5);

/// Bytes that left on a link before the machine is told at once. It waits for a window of 1 MiB
/// while it sends a snapshot; smaller sums are told with whatever comes next.
const DRAINED_URGENT_BYTES: usize = 64 << 10;

/// A connection. Shared between the table, the turn and its own tasks.
pub(super) struct Connection {
    pub(super) whom: Whom,
    pub(super) address: SocketAddr,
    /// Set for a link.
    pub(super) channel: Option<Channel>,
    stream: OwnedWriteHalf,
    queue: RefCell<OutQueue>,
    /// In the list of those that this turn wrote to.
    dirty: Cell<bool>,
    /// The machine was told, or will be with the next turn, that the other side is gone.
    ended: Cell<bool>,
    reader: RefCell<Option<AbortHandle>>,
    /// A task that waits until the socket takes more.
    writer: RefCell<Option<AbortHandle>>,
    /// The reader waits until the queue is shorter; or a closer until it is empty.
    stalled: RefCell<Vec<Waker>>,
    /// Bytes taken by the socket that the machine was not told of.
    drained: Cell<usize>,
    /// Unread bytes that the machine was told of last.
    told_unread: Cell<usize>,
    /// In the list of those whose unread bytes will be told.
    telling: Cell<bool>,
    /// When the oldest bytes came in that no answer followed.
    pub(super) waiting_since: Cell<Option<time::Instant>>,
    /// Pieces of the stream that were shown to the machine.
    received: Cell<u64>,
    /// Answers that the machine gave.
    sent: Cell<u64>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.whom, self.address)
    }
}

impl Connection {
    fn new(whom: Whom, address: SocketAddr, channel: Option<Channel>, s: OwnedWriteHalf) -> Self {
        Self {
            whom,
            address,
            channel,
            stream: s,
            queue: RefCell::default(),
            dirty: Cell::new(false),
            ended: Cell::new(false),
            reader: RefCell::default(),
            writer: RefCell::default(),
            stalled: RefCell::default(),
            drained: Cell::new(0),
            told_unread: Cell::new(0),
            telling: Cell::new(false),
            waiting_since: Cell::new(None),
            received: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    /// Bytes of a client are shown to the machine.
    pub(super) fn heard(&self, now: time::Instant) {
        self.received.set(self.received.get() + 1);
        if self.waiting_since.get().is_none() {
            self.waiting_since.set(Some(now));
        }
    }

    /// For the list of `stat`.
    pub(super) fn line(&self) -> ClientLine {
        ClientLine {
            address: self.address,
            queued: u64::from(self.waiting_since.get().is_some()),
            received: self.received.get(),
            sent: self.sent.get(),
        }
    }

    /// Bytes that the socket has not taken.
    pub(super) fn unread(&self) -> usize {
        self.queue.borrow().waiting()
    }

    pub(super) fn wake_when_read(&self, waker: &Waker) {
        self.stalled.borrow_mut().push(waker.clone());
    }

    /// Queues bytes; whether this is the first of the turn.
    pub(super) fn send(&self, hub: &Hub, bytes: &[u8]) -> bool {
        self.sent.set(self.sent.get() + 1);
        self.queue
            .borrow_mut()
            .push(bytes, &mut hub.spare.borrow_mut());
        !self.dirty.replace(true)
    }

    /// The same for a large payload, by reference.
    pub(super) fn send_shared(&self, hub: &Hub, bytes: Bytes) -> bool {
        self.queue
            .borrow_mut()
            .push_shared(bytes, &mut hub.spare.borrow_mut());
        !self.dirty.replace(true)
    }

    /// Gives the socket what it takes; the rest follows by itself.
    pub(super) fn flush(self: &Rc<Self>, hub: &Rc<Hub>) {
        self.dirty.set(false);
        if self.writer.borrow().is_some() {
            self.note_unread(hub);
            return;
        }
        if self.write(hub) && self.unread() > 0 {
            let (me, hub) = (self.clone(), hub.clone());
            let task = spawn_local(async move { me.write_on(&hub).await });
            *self.writer.borrow_mut() = Some(task.abort_handle());
        }
    }

    /// Writes once; `false` when the connection broke.
    fn write(&self, hub: &Hub) -> bool {
        let taken = self
            .queue
            .borrow_mut()
            .drain(&mut hub.spare.borrow_mut(), |slices| {
                self.stream.try_write_vectored(slices)
            });
        match taken {
            Ok(0) => {
                self.note_unread(hub);
                true
            }
            Ok(taken) => {
                if let Whom::Link(link) = self.whom {
                    let sum = self.drained.get() + taken;
                    let first = self.drained.replace(sum) == 0;
                    hub.drained(link, first, sum >= DRAINED_URGENT_BYTES);
                }
                self.note_unread(hub);
                self.stalled.borrow_mut().drain(..).for_each(Waker::wake);
                true
            }
            Err(error) => {
                self.broken(hub, &error);
                false
            }
        }
    }

    async fn write_on(&self, hub: &Hub) {
        while self.unread() > 0 {
            if let Err(error) = self.stream.writable().await {
                self.broken(hub, &error);
                return;
            }
            if !self.write(hub) {
                return;
            }
        }
        *self.writer.borrow_mut() = None;
    }

    /// Has the machine told, if a client has read, or not read everything.
    fn note_unread(&self, hub: &Hub) {
        let Whom::Client(conn) = self.whom else {
            return;
        };
        let (unread, told) = (self.unread(), self.told_unread.get());
        if unread == told || self.ended.get() {
            return;
        }
        // The machine waits for this; anything else it may hear with whatever comes next.
        let is_urgent = unread < CLIENT_UNREAD_BYTES && told >= CLIENT_UNREAD_BYTES;
        if !self.telling.replace(true) || is_urgent {
            hub.unread(conn, is_urgent);
        }
    }

    /// Bytes that the socket has not taken, for the machine.
    pub(super) fn tell_unread(&self) -> usize {
        self.telling.set(false);
        let unread = self.unread();
        self.told_unread.set(unread);
        unread
    }

    /// Bytes that the socket took since the last call.
    pub(super) fn take_drained(&self) -> usize {
        self.drained.replace(0)
    }

    fn broken(&self, hub: &Hub, error: &io::Error) {
        tracing::debug!(connection = ?self, %error, "connection broke");
        self.abandon();
        self.end(hub);
    }

    /// Tells the machine, once, that the other side is gone.
    fn end(&self, hub: &Hub) {
        if !self.ended.replace(true) {
            hub.push(Arrival::Closed(self.whom));
        }
    }

    /// Drops what is queued and stops all tasks.
    pub(super) fn abandon(&self) {
        *self.queue.borrow_mut() = OutQueue::default();
        for task in [&self.reader, &self.writer] {
            if let Some(task) = task.borrow_mut().take() {
                task.abort();
            }
        }
        self.stalled.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Closes the connection when everything queued has left, or after [`LINGER`]. It must be out
    /// of the table. What does not read, or comes when too much waits so, is dropped at once.
    pub(super) fn finish(self: Rc<Self>, hub: &Rc<Hub>) {
        self.ended.set(true);
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.abort();
        }
        let unread = self.unread();
        if unread == 0 {
            return;
        }
        let lingering = hub.lingering_bytes.get() + unread;
        if lingering > LINGERING_BYTES_MAX {
            return self.abandon();
        }
        hub.lingering.set(hub.lingering.get() + 1);
        hub.lingering_bytes.set(lingering);
        let hub = hub.clone();
        spawn_local(async move {
            if tokio::time::timeout(LINGER, self.emptied()).await.is_err() {
                tracing::debug!(connection = ?self, "the last bytes were not read: dropped");
            }
            self.abandon();
            hub.lingering.set(hub.lingering.get() - 1);
            hub.lingering_bytes.set(hub.lingering_bytes.get() - unread);
        });
    }

    /// Waits until everything queued has left.
    async fn emptied(&self) {
        poll_fn(|cx| {
            if self.unread() == 0 {
                return std::task::Poll::Ready(());
            }
            self.wake_when_read(cx.waker());
            std::task::Poll::Pending
        })
        .await;
    }

    async fn read_on(self: Rc<Self>, hub: Rc<Hub>, mut half: OwnedReadHalf) {
        let mut reading = Reading::default();
        loop {
            let read = poll_fn(|cx| hub.poll_read(cx, &self, &mut half, &mut reading)).await;
            match read {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(connection = ?self, %error, "connection broke");
                    break;
                }
            }
        }
        self.end(&hub);
    }

    fn start_reading(self: &Rc<Self>, hub: &Rc<Hub>, half: OwnedReadHalf) {
        let task = spawn_local(self.clone().read_on(hub.clone(), half));
        *self.reader.borrow_mut() = Some(task.abort_handle());
    }
}

/// Takes over a client's socket.
pub(super) fn open_client(hub: &Rc<Hub>, stream: TcpStream, address: SocketAddr) {
    let (read, write) = prepare(stream);
    let id = hub.clients.borrow_mut().insert(|id| {
        Rc::new(Connection::new(
            Whom::Client(ConnId(id)),
            address,
            None,
            write,
        ))
    });
    let Some(id) = id else {
        tracing::warn!(client = %address, "refused: a million connections are open");
        return;
    };
    let connection = hub
        .clients
        .borrow()
        .get(id)
        .cloned()
        .expect("just inserted");
    hub.push(Arrival::Opened(connection.clone()));
    connection.start_reading(hub, read);
}

/// Takes over a socket to another server; `peer` where this server dialled.
pub(super) fn open_link(
    hub: &Rc<Hub>,
    stream: TcpStream,
    address: SocketAddr,
    peer: Option<ServerId>,
    channel: Channel,
) {
    let (read, write) = prepare(stream);
    let id = hub.links.borrow_mut().insert(|id| {
        Rc::new(Connection::new(
            Whom::Link(LinkId(id)),
            address,
            Some(channel),
            write,
        ))
    });
    let link = id.and_then(|id| hub.links.borrow().get(id).cloned());
    let link = link.expect("far fewer servers than slots");
    hub.push(Arrival::LinkOpened {
        link: link.clone(),
        peer,
        channel,
    });
    link.start_reading(hub, read);
}

fn prepare(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    // Answers are written whole: waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY refused");
    }
    stream.into_split()
}
