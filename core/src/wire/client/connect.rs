//! The handshake: the first frame in each direction, without headers.

use alloc::vec::Vec;

use crate::ids::{SessionId, Zxid};
use crate::wire::jute::{DecodeError, Decoded, Reader, Write};

pub const PASSWORD_BYTES: usize = 16;

/// What proves that a client owns a session.
pub type Password = [u8; PASSWORD_BYTES];

/// The first frame of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectRequest<'a> {
    /// 0; servers do not look at it.
    pub protocol: i32,
    /// Zxid of the last ordinary reply that the client saw, 0 if none.
    pub last_zxid_seen: Zxid,
    /// Wanted session timeout in milliseconds.
    pub timeout_ms: i32,
    /// 0 asks for a new session.
    pub session: SessionId,
    /// Any length, or null, is legal here; sessions' passwords have 16 bytes.
    pub password: Option<&'a [u8]>,
    /// `None`: the client is of a time or make that does not send this byte.
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    pub fn decode(frame: &'a [u8]) -> Decoded<Self> {
        let r = &mut Reader::new(frame);
        Ok(Self {
            protocol: r.i32()?,
            last_zxid_seen: Zxid(r.i64()?),
            timeout_ms: r.i32()?,
            session: SessionId(r.i64()?),
            password: r.buffer()?,
            read_only: if r.is_at_end() { None } else { Some(r.bool()?) },
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.protocol);
        out.put_i64(self.last_zxid_seen.0);
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session.0);
        out.put_buffer(self.password);
        if let Some(read_only) = self.read_only {
            out.put_bool(read_only);
        }
    }
}

/// The first frame of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    pub protocol: i32,
    /// Milliseconds; 0 refuses the session.
    pub timeout_ms: i32,
    pub session: SessionId,
    pub password: Password,
    /// Present exactly if the request had this byte: old clients read a fixed length.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// "Your session is gone", in the form that every client library understands: timeout 0, id 0,
    /// a password of 16 zero bytes.
    pub fn refusal(read_only: Option<bool>) -> Self {
        Self {
            protocol: 0,
            timeout_ms: 0,
            session: SessionId(0),
            password: [0; PASSWORD_BYTES],
            read_only: read_only.map(|_| false),
        }
    }

    pub fn decode(frame: &[u8]) -> Decoded<Self> {
        let r = &mut Reader::new(frame);
        Ok(Self {
            protocol: r.i32()?,
            timeout_ms: r.i32()?,
            session: SessionId(r.i64()?),
            password: r
                .buffer()?
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(DecodeError::Value("password"))?,
            read_only: if r.is_at_end() { None } else { Some(r.bool()?) },
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.protocol);
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session.0);
        out.put_buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.put_bool(read_only);
        }
    }
}
