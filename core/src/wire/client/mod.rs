//! The protocol between clients and servers: frames, handshake, headers, watch events. Both
//! directions, because the simulated clients speak it too.

mod connect;
mod reply;
mod request;

use alloc::borrow::Cow;
use alloc::vec::Vec;

pub use connect::{ConnectRequest, ConnectResponse, PASSWORD_BYTES, Password};
pub use reply::{MultiResult, Reply};
pub use request::{CreateOp, Request};

use super::jute::{DecodeError, Decoded, Reader, Write};
use crate::ids::Zxid;

/// Values of xid with a meaning of their own. Servers dispatch by operation, never by xid.
pub mod xid {
    /// Server to client: a watch event.
    pub const NOTIFICATION: i32 = -1;
    /// A reply to ping always carries it, whatever the request carried.
    pub const PING: i32 = -2;
    /// Used by most clients for auth.
    pub const AUTH: i32 = -4;
    /// Used by the Java and C clients for setWatches.
    pub const SET_WATCHES: i32 = -8;
}

/// Types of watch events that a server sends.
pub mod event {
    pub const NODE_CREATED: i32 = 1;
    pub const NODE_DELETED: i32 = 2;
    pub const NODE_DATA_CHANGED: i32 = 3;
    pub const NODE_CHILDREN_CHANGED: i32 = 4;
}

/// Modes of addWatch.
pub mod watch_mode {
    pub const PERSISTENT: i32 = 0;
    pub const PERSISTENT_RECURSIVE: i32 = 1;
}

/// Which watches checkWatches and removeWatches mean.
pub mod watcher_type {
    pub const CHILDREN: i32 = 1;
    pub const DATA: i32 = 2;
    pub const ANY: i32 = 3;
    pub const PERSISTENT: i32 = 4;
    pub const PERSISTENT_RECURSIVE: i32 = 5;
}

/// The only state that servers put into watch events.
pub const STATE_SYNC_CONNECTED: i32 = 3;

/// How many bytes the client frame at the front needs, its length word included; see
/// [`Splitter::next`](super::splitter::Splitter::next). Fails on a length that is negative or
/// over the limit (`jute.maxbuffer`), as soon as the length is there.
pub fn measure_frame(bytes: &[u8], max: usize) -> Result<usize, DecodeError> {
    let Ok(length) = Reader::new(bytes).i32() else {
        return Ok(4);
    };
    match usize::try_from(length) {
        Ok(n) if n <= max => Ok(4 + n),
        _ => Err(DecodeError::Length(length)),
    }
}

/// Appends one frame: the length of what `fill` appends, then that.
pub fn put_frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.put_i32(0);
    fill(out);
    let length = i32::try_from(out.len() - at - 4).expect("no frame reaches 2 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// In front of every request after the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    pub xid: i32,
    /// See [`op`](super::records::op).
    pub op: i32,
}

impl RequestHeader {
    pub const BYTES: usize = 8;

    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            xid: r.i32()?,
            op: r.i32()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.xid);
        out.put_i32(self.op);
    }
}

/// In front of every reply and event after the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    pub xid: i32,
    pub zxid: Zxid,
    /// 0 or an [`ErrorCode`](super::records::ErrorCode); a reply with an error has no body.
    pub error: i32,
}

impl ReplyHeader {
    pub const BYTES: usize = 16;

    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            xid: r.i32()?,
            zxid: Zxid(r.i64()?),
            error: r.i32()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.xid);
        out.put_i64(self.zxid.0);
        out.put_i32(self.error);
    }
}

/// What a watch tells its client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatcherEvent<'a> {
    /// See [`event`].
    pub kind: i32,
    pub state: i32,
    pub path: Cow<'a, str>,
}

impl<'a> WatcherEvent<'a> {
    pub fn read(r: &mut Reader<'a>) -> Decoded<Self> {
        Ok(Self {
            kind: r.i32()?,
            state: r.i32()?,
            path: r.string_or_empty()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.kind);
        out.put_i32(self.state);
        out.put_string(&self.path);
    }
}

/// In front of each operation and each result of a multi, and at the end of both lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MultiHeader {
    pub op: i32,
    pub done: bool,
    pub error: i32,
}

impl MultiHeader {
    pub const END: Self = Self {
        op: -1,
        done: true,
        error: -1,
    };

    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            op: r.i32()?,
            done: r.bool()?,
            error: r.i32()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.op);
        out.put_bool(self.done);
        out.put_i32(self.error);
    }
}

#[cfg(test)]
mod tests;
