//! Records that clients, servers and files share: Stat, Id, ACL, and the numbers of operations and
//! errors.

use alloc::string::String;
use alloc::vec::Vec;

use super::jute::{Decoded, Reader, Write};

/// Operation numbers, as in requests, transaction headers and multi.
pub mod op {
    pub const NOTIFICATION: i32 = 0;
    pub const CREATE: i32 = 1;
    pub const DELETE: i32 = 2;
    pub const EXISTS: i32 = 3;
    pub const GET_DATA: i32 = 4;
    pub const SET_DATA: i32 = 5;
    pub const GET_ACL: i32 = 6;
    pub const SET_ACL: i32 = 7;
    pub const GET_CHILDREN: i32 = 8;
    pub const SYNC: i32 = 9;
    pub const PING: i32 = 11;
    pub const GET_CHILDREN2: i32 = 12;
    pub const CHECK: i32 = 13;
    pub const MULTI: i32 = 14;
    pub const CREATE2: i32 = 15;
    pub const RECONFIG: i32 = 16;
    pub const CHECK_WATCHES: i32 = 17;
    pub const REMOVE_WATCHES: i32 = 18;
    pub const CREATE_CONTAINER: i32 = 19;
    pub const DELETE_CONTAINER: i32 = 20;
    pub const CREATE_TTL: i32 = 21;
    pub const MULTI_READ: i32 = 22;
    pub const AUTH: i32 = 100;
    pub const SET_WATCHES: i32 = 101;
    pub const SASL: i32 = 102;
    pub const GET_EPHEMERALS: i32 = 103;
    pub const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub const SET_WATCHES2: i32 = 105;
    pub const ADD_WATCH: i32 = 106;
    pub const WHO_AM_I: i32 = 107;
    pub const CREATE_SESSION: i32 = -10;
    pub const CLOSE_SESSION: i32 = -11;
    pub const ERROR: i32 = -1;
}

/// Error codes that travel to clients. Java fails on numbers that are not in its table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i32)]
pub enum ErrorCode {
    Ok = 0,
    /// In multi: an operation after the one that failed.
    RuntimeInconsistency = -2,
    MarshallingError = -5,
    Unimplemented = -6,
    BadArguments = -8,
    NoNode = -101,
    NoAuth = -102,
    BadVersion = -103,
    NoChildrenForEphemerals = -108,
    NodeExists = -110,
    NotEmpty = -111,
    SessionExpired = -112,
    InvalidAcl = -114,
    AuthFailed = -115,
    /// Between servers only: the client's connection is closed instead.
    SessionMoved = -118,
    NotReadOnly = -119,
    EphemeralOnLocalSession = -120,
    NoWatcher = -121,
    ReconfigDisabled = -123,
    /// Of any required scheme, whatever its name says.
    SessionClosedRequireSaslAuth = -124,
    QuotaExceeded = -125,
    /// Not carried out, because the server is at a limit of its own.
    ThrottledOp = -127,
}

impl ErrorCode {
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// Permission bits of an ACL entry.
pub mod perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// Who somebody is: `world:anyone`, `digest:user:hash`, `ip:address`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    pub scheme: String,
    pub id: String,
}

/// One entry of an access control list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Acl {
    pub perms: i32,
    pub id: Id,
}

impl Id {
    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            scheme: r.string_or_empty()?.into(),
            id: r.string_or_empty()?.into(),
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_string(&self.scheme);
        out.put_string(&self.id);
    }
}

impl Acl {
    /// `world:anyone` with these permissions.
    pub fn world(perms: i32) -> Self {
        Self {
            perms,
            id: Id {
                scheme: "world".into(),
                id: "anyone".into(),
            },
        }
    }

    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            perms: r.i32()?,
            id: Id::read(r)?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.perms);
        self.id.write(out);
    }

    /// A list; null is read as empty.
    pub fn read_list(r: &mut Reader<'_>) -> Decoded<Vec<Self>> {
        r.vector(Self::read)
    }

    pub fn write_list(list: &[Self], out: &mut Vec<u8>) {
        out.put_count(list.len());
        for acl in list {
            acl.write(out);
        }
    }
}

/// What clients see of a znode besides its data; 68 bytes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stat {
    pub czxid: i64,
    pub mzxid: i64,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// Visible cversion: `2 * creates - children`.
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: i64,
}

impl Stat {
    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            czxid: r.i64()?,
            mzxid: r.i64()?,
            ctime: r.i64()?,
            mtime: r.i64()?,
            version: r.i32()?,
            cversion: r.i32()?,
            aversion: r.i32()?,
            ephemeral_owner: r.i64()?,
            data_length: r.i32()?,
            num_children: r.i32()?,
            pzxid: r.i64()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.czxid);
        out.put_i64(self.mzxid);
        out.put_i64(self.ctime);
        out.put_i64(self.mtime);
        out.put_i32(self.version);
        out.put_i32(self.cversion);
        out.put_i32(self.aversion);
        out.put_i64(self.ephemeral_owner);
        out.put_i32(self.data_length);
        out.put_i32(self.num_children);
        out.put_i64(self.pzxid);
    }
}
