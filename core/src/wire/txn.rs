//! Transactions as they stand in the log, in PROPOSAL and in INFORM: header, body by type,
//! optional digest of the tree after them.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::jute::{DecodeError, Decoded, Reader, Write};
use super::records::{Acl, op};
use crate::ids::{SessionId, Zxid};
use crate::time::WallMs;

/// Version of the digest algorithm that this server writes and checks (ZooKeeper 3.6 and later).
pub const DIGEST_VERSION: i32 = 2;

/// Who asked for a transaction, when, and what kind it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnHeader {
    pub session: SessionId,
    pub cxid: i32,
    pub zxid: Zxid,
    pub time: WallMs,
    /// One of [`op`].
    pub kind: i32,
}

/// What a transaction does. Bodies borrow from the record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txn<'a> {
    /// Kinds 1 and 15, 19 (container) and 21 (TTL), told apart by `mode`.
    Create {
        path: Cow<'a, str>,
        data: Option<&'a [u8]>,
        acl: Vec<Acl>,
        mode: CreateMode,
        /// The parent's internal cversion after this create; -1 in very old logs.
        parent_cversion: i32,
    },
    /// Kinds 2 and 20.
    Delete { path: Cow<'a, str> },
    /// Kinds 5 and 16; `version` is the new one.
    SetData { path: Cow<'a, str>, data: Option<&'a [u8]>, version: i32 },
    /// `version` is the new aversion.
    SetAcl { path: Cow<'a, str>, acl: Vec<Acl>, version: i32 },
    /// Only inside multi.
    Check { path: Cow<'a, str>, version: i32 },
    Multi(Vec<SubTxn<'a>>),
    Error { code: i32 },
    CreateSession { timeout_ms: i32 },
    /// `paths` are the ephemerals to delete; `None` in logs older than 3.6.
    CloseSession { paths: Option<Vec<Cow<'a, str>>> },
}

/// The kinds of znode that a create transaction makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateMode {
    Persistent,
    Ephemeral,
    Container,
    /// Milliseconds.
    Ttl(i64),
}

/// One operation of a multi: its own kind (see [`op`]) and body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubTxn<'a> {
    pub kind: i32,
    pub txn: Txn<'a>,
}

/// A whole record: what PROPOSAL carries and the log stores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TxnRecord<'a> {
    pub header: TxnHeader,
    pub txn: Txn<'a>,
    /// The tree digest after this transaction, where the leader computed one.
    pub digest: Option<u64>,
}
