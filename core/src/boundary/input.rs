//! What a driver tells the machine.

use alloc::boxed::Box;
use core::net::IpAddr;

use crate::ids::{ConnId, LinkId, ServerId, WriteSeq};
use crate::recovery::Recovered;

/// The two ports on which servers talk to each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Channel {
    Election,
    Quorum,
}

/// Something that happened. Bytes are borrowed from the driver's read buffer; a stream may be cut
/// anywhere, the machine reassembles.
#[derive(Debug)]
pub enum Input<'a> {
    /// The deadline has passed, or the driver just wants timers looked at. Always harmless.
    Wake,
    ClientOpened {
        conn: ConnId,
        address: IpAddr,
    },
    ClientBytes {
        conn: ConnId,
        bytes: &'a [u8],
    },
    ClientClosed {
        conn: ConnId,
    },
    /// The socket did not take everything that was sent: so many bytes are left, 0 when it has
    /// taken them all. Told with the next turn whenever it has changed, and before anything else.
    ClientUnread {
        conn: ConnId,
        bytes: usize,
    },
    /// A connection between servers is up. `peer` is set where this server dialled.
    LinkOpened {
        link: LinkId,
        peer: Option<ServerId>,
        channel: Channel,
    },
    LinkBytes {
        link: LinkId,
        bytes: &'a [u8],
    },
    /// The socket took this many more of the bytes sent on the link.
    LinkDrained {
        link: LinkId,
        bytes: usize,
    },
    LinkClosed {
        link: LinkId,
    },
    /// An `Action::Dial` did not lead to a connection.
    DialFailed {
        peer: ServerId,
        channel: Channel,
    },
    /// Every write up to and including this one is on stable storage.
    Persisted {
        upto: WriteSeq,
    },
    /// Answer to `WriteOp::Truncate`, when all writes up to it are stable: the data directory,
    /// read again after the cut. Implies `Persisted { upto: seq }`.
    Reloaded {
        seq: WriteSeq,
        state: Box<Recovered>,
    },
    /// The background snapshot took its last step; the next one may come.
    SnapshotStored {
        ok: bool,
    },
    /// The disk has become full but for a reserve, or has room again. Writes that are under way may
    /// still become stable, from the reserve; what comes after it waits in the disk queue until
    /// there is room. A level: before the first there is room.
    DiskRoom {
        low: bool,
    },
    /// The disk refused a write or a sync. Nothing after `upto` will ever be stable.
    DiskFailed {
        upto: WriteSeq,
    },
    /// Stop orderly: leave the ensemble, close everything.
    Stop,
}

/// What the driver may read before the next flush; a level, not an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appetite {
    /// Client sockets. Elections and disk completions are always read, or the node would wait for
    /// itself.
    pub clients: bool,
    /// Links on the quorum port. Not while a leader's snapshot comes in faster than the disk takes
    /// it: the leader sends no more than the link holds.
    pub quorum: bool,
}
