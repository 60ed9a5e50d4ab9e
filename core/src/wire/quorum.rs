//! The protocol between leader and learners: packets and the payloads inside them.
//!
//! Packets have no outer length. A stream's prefix either is a packet, may become one
//! ([`DecodeError::Truncated`]), or can not: then it is refused at once, so that a stranger on the
//! port (HTTP, TLS) is recognised by the first bytes and is never waited for.

use alloc::vec::Vec;

use super::jute::{DecodeError, Decoded, Reader, Write};
use super::records::Id;
use crate::ids::{Epoch, ServerId, SessionId, Zxid};
use crate::limits::{AUTHINFO_BYTES_MAX, AUTHINFO_COUNT_MAX, RECORD_FIELD_BYTES_MAX};

/// Types of packets.
pub mod packet {
    pub const REQUEST: i32 = 1;
    pub const PROPOSAL: i32 = 2;
    pub const ACK: i32 = 3;
    pub const COMMIT: i32 = 4;
    pub const PING: i32 = 5;
    pub const REVALIDATE: i32 = 6;
    pub const SYNC: i32 = 7;
    pub const INFORM: i32 = 8;
    pub const COMMITANDACTIVATE: i32 = 9;
    pub const NEWLEADER: i32 = 10;
    pub const FOLLOWERINFO: i32 = 11;
    pub const UPTODATE: i32 = 12;
    pub const DIFF: i32 = 13;
    pub const TRUNC: i32 = 14;
    pub const SNAP: i32 = 15;
    pub const OBSERVERINFO: i32 = 16;
    pub const LEADERINFO: i32 = 17;
    pub const ACKEPOCH: i32 = 18;
    pub const INFORMANDACTIVATE: i32 = 19;
}

/// Version of the protocol since ZooKeeper 3.4, in LEADERINFO and LearnerInfo.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// The zxid of packets that are about none.
pub const NO_ZXID: Zxid = Zxid(-1);

/// Data of a leader's PING while it takes no writes, for lack of room on the disks. Not a word of
/// ZooKeeper's, whose learners do not look at the data of a PING.
pub const PING_NO_WRITES: &[u8] = &[1];

/// One packet, borrowed from the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumPacket<'a> {
    /// One of [`packet`].
    pub kind: i32,
    pub zxid: Zxid,
    pub data: Option<&'a [u8]>,
    /// Identities of the client that a REQUEST comes from; null in all other packets and in
    /// requests that a server makes itself.
    pub authinfo: Option<Vec<Id>>,
}

impl<'a> QuorumPacket<'a> {
    /// A packet without data, which most are.
    pub const fn bare(kind: i32, zxid: Zxid) -> Self {
        Self {
            kind,
            zxid,
            data: None,
            authinfo: None,
        }
    }

    /// A packet with data.
    pub const fn with_data(kind: i32, zxid: Zxid, data: &'a [u8]) -> Self {
        Self {
            kind,
            zxid,
            data: Some(data),
            authinfo: None,
        }
    }

    /// Reads one packet from the front; bytes after it are not looked at.
    pub fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let length = measure_packet(bytes)?;
        let r = &mut Reader::new(bytes.get(..length).ok_or(DecodeError::Truncated)?);
        let (kind, zxid, data) = (r.i32()?, Zxid(r.i64()?), r.buffer()?);
        let Some(count) = r.count()? else {
            return Ok(Self {
                kind,
                zxid,
                data,
                authinfo: None,
            });
        };
        let ids = (0..count)
            .map(|_| Id::read(r))
            .collect::<Decoded<Vec<_>>>()?;
        Ok(Self {
            kind,
            zxid,
            data,
            authinfo: Some(ids),
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.kind);
        out.put_i64(self.zxid.0);
        out.put_buffer(self.data);
        match &self.authinfo {
            None => out.put_i32(-1),
            Some(ids) => {
                out.put_count(ids.len());
                ids.iter().for_each(|id| id.write(out));
            }
        }
    }
}

/// How many bytes the packet at the front needs, as far as its bytes tell; see
/// [`Splitter::next`](super::splitter::Splitter::next). Refuses what can not become a packet.
pub fn measure_packet(bytes: &[u8]) -> Decoded<usize> {
    const FIXED: usize = 4 + 8 + 4;
    let r = &mut Reader::new(bytes);
    let Ok(kind) = r.i32() else { return Ok(4) };
    if !(packet::REQUEST..=packet::INFORMANDACTIVATE).contains(&kind) {
        return Err(DecodeError::Value("packet type"));
    }
    if r.i64().is_err() {
        return Ok(FIXED);
    }
    let Ok(data_length) = r.i32() else {
        return Ok(FIXED);
    };
    let data_bytes = field_bytes(data_length, RECORD_FIELD_BYTES_MAX)?;
    let authinfo_at = FIXED + data_bytes;
    if bytes.len() < authinfo_at + 4 {
        return Ok(authinfo_at + 4);
    }
    measure_authinfo(bytes, authinfo_at)
}

/// The same from the list of identities on, whose count is there.
fn measure_authinfo(bytes: &[u8], start: usize) -> Decoded<usize> {
    let int_at = |at: usize| Reader::new(bytes.get(at..).unwrap_or_default()).i32();
    let count = int_at(start)?;
    if count < -1 || count > AUTHINFO_COUNT_MAX as i32 {
        return Err(DecodeError::Length(count));
    }
    let mut at = start + 4;
    // Each identity is two strings.
    for _ in 0..2 * count.max(0) {
        let Ok(length) = int_at(at) else {
            return Ok(at + 4);
        };
        let left = AUTHINFO_BYTES_MAX.saturating_sub(at - start);
        at += 4 + field_bytes(length, left)?;
    }
    Ok(at)
}

/// Bytes after the length word of a string or buffer.
fn field_bytes(length: i32, max: usize) -> Decoded<usize> {
    match usize::try_from(length) {
        Ok(n) if n <= max => Ok(n),
        Err(_) if length == -1 => Ok(0),
        _ => Err(DecodeError::Length(length)),
    }
}

/// Who a learner is: data of FOLLOWERINFO and OBSERVERINFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    pub server: ServerId,
    pub protocol: i32,
    /// Version of the learner's configuration; servers before 3.5 do not send it.
    pub config_version: Option<i64>,
}

impl LearnerInfo {
    pub fn decode(data: &[u8]) -> Decoded<Self> {
        let r = &mut Reader::new(data);
        Ok(Self {
            server: ServerId(r.i64()?),
            // Eight bytes alone are the sid of a server that is older than the version.
            protocol: if r.is_at_end() { 1 } else { r.i32()? },
            config_version: if r.rest().len() < 8 {
                None
            } else {
                Some(r.i64()?)
            },
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.server.0);
        out.put_i32(self.protocol);
        if let Some(version) = self.config_version {
            out.put_i64(version);
        }
    }
}

/// Data of REQUEST: what a learner's client wants done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forwarded<'a> {
    pub session: SessionId,
    pub cxid: i32,
    pub op: i32,
    pub body: &'a [u8],
}

impl<'a> Forwarded<'a> {
    pub fn decode(data: &'a [u8]) -> Decoded<Self> {
        let mut r = Reader::new(data);
        let (session, cxid, op) = (SessionId(r.i64()?), r.i32()?, r.i32()?);
        Ok(Self {
            session,
            cxid,
            op,
            body: r.rest(),
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session.0);
        out.put_i32(self.cxid);
        out.put_i32(self.op);
        out.extend_from_slice(self.body);
    }
}

/// One session in a learner's answer to PING: it was heard from. Also the data of a learner's
/// REVALIDATE: a client wants to go on with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionTouch {
    pub session: SessionId,
    pub timeout_ms: i32,
}

impl SessionTouch {
    /// Among the sessions of a learner's answer: its disk has no room. No session has the id 0, so
    /// a leader that does not know the word passes it over, as ZooKeeper's do.
    pub const NO_ROOM: Self = Self {
        session: SessionId(0),
        timeout_ms: 1,
    };

    /// Reads one; bytes after it are ignored.
    pub fn decode(data: &[u8]) -> Decoded<Self> {
        Self::read(&mut Reader::new(data))
    }

    /// Reads a learner's answer to PING. Null data means none.
    pub fn decode_all(data: Option<&[u8]>) -> Decoded<Vec<Self>> {
        let r = &mut Reader::new(data.unwrap_or_default());
        let mut all = Vec::with_capacity(r.rest().len() / 12);
        while !r.is_at_end() {
            all.push(Self::read(r)?);
        }
        Ok(all)
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            session: SessionId(r.i64()?),
            timeout_ms: r.i32()?,
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session.0);
        out.put_i32(self.timeout_ms);
    }
}

/// Data of the leader's REVALIDATE: may the client go on with the session?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revalidated {
    pub session: SessionId,
    pub valid: bool,
}

impl Revalidated {
    pub fn decode(data: &[u8]) -> Decoded<Self> {
        let r = &mut Reader::new(data);
        Ok(Self {
            session: SessionId(r.i64()?),
            valid: r.bool()?,
        })
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session.0);
        out.put_bool(self.valid);
    }
}

/// Data of LEADERINFO.
pub fn leader_info() -> [u8; 4] {
    PROTOCOL_VERSION.to_be_bytes()
}

/// The protocol version in LEADERINFO. Servers before 3.4 do not send the packet.
pub fn decode_leader_info(data: &[u8]) -> Decoded<i32> {
    Reader::new(data).i32()
}

/// Data of ACKEPOCH: the learner's current epoch, `None` if it had accepted this epoch before (its
/// history then does not count again).
pub fn ack_epoch(current: Option<Epoch>) -> [u8; 4] {
    let epoch = current.map_or(-1, |e| i32::try_from(e.0).expect("epochs have 32 bits"));
    epoch.to_be_bytes()
}

pub fn decode_ack_epoch(data: &[u8]) -> Decoded<Option<Epoch>> {
    match Reader::new(data).i32()? {
        -1 => Ok(None),
        n if n < 0 => Err(DecodeError::Value("current epoch")),
        n => Ok(Some(Epoch(i64::from(n)))),
    }
}

#[cfg(test)]
mod tests;
