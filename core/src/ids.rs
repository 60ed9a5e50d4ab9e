//! Newtypes for every identifier; no other module handles raw integers across its boundary.
//!
//! Zxid layout: ZooKeeper's, high 32 bits epoch, low 32 bits counter, compared as signed 64 bit.

use core::fmt;

/// A server's id, the N of `server.N`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerId(pub i64);

/// The reign of one leader. Epochs start at 1; 0 is the state before the first election.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub i64);

/// Transaction id: `epoch << 32 | counter`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub i64);

/// A client session. 0 is never a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

/// A client's connection to this server. The driver never reuses a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// A connection to another server, on either channel. The driver never reuses a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// Position of a write in the node's one disk queue; never reused, starts at 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WriteSeq(pub u64);

impl SessionId {
    /// Who acts in a server's own name.
    pub const NOBODY: Self = Self(0);

    /// The low byte of the server that made it.
    pub const fn server_byte(self) -> u8 {
        (self.0 >> 56) as u8
    }
}

impl Epoch {
    /// The zxid that stands for the start of this epoch: counter 0, never a transaction.
    pub const fn zxid(self) -> Zxid {
        Zxid(self.0 << 32)
    }

    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Zxid {
    pub const ZERO: Self = Self(0);

    pub const fn new(epoch: Epoch, counter: u32) -> Self {
        Self((epoch.0 << 32) | counter as i64)
    }

    pub const fn epoch(self) -> Epoch {
        Epoch(self.0 >> 32)
    }

    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next transaction of the same epoch. The caller has checked that the counter is not full.
    pub const fn next(self) -> Self {
        assert!(
            self.counter() < u32::MAX,
            "zxid counter rolls over into the epoch"
        );
        Self(self.0 + 1)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
