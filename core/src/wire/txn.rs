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
    Delete {
        path: Cow<'a, str>,
    },
    /// Kinds 5 and 16; `version` is the new one.
    SetData {
        path: Cow<'a, str>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    /// `version` is the new aversion.
    SetAcl {
        path: Cow<'a, str>,
        acl: Vec<Acl>,
        version: i32,
    },
    /// Only inside multi.
    Check {
        path: Cow<'a, str>,
        version: i32,
    },
    Multi(Vec<SubTxn<'a>>),
    Error {
        code: i32,
    },
    CreateSession {
        timeout_ms: i32,
    },
    /// `paths` are the ephemerals to delete; `None` in logs older than 3.6.
    CloseSession {
        paths: Option<Vec<Cow<'a, str>>>,
    },
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

impl TxnHeader {
    /// Bytes of a header.
    pub const BYTES: usize = 32;

    /// Reads only the header of a record. The kind is not judged.
    pub fn peek(bytes: &[u8]) -> Decoded<Self> {
        Self::read(&mut Reader::new(bytes))
    }

    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            session: SessionId(r.i64()?),
            cxid: r.i32()?,
            zxid: Zxid(r.i64()?),
            time: WallMs(r.i64()?),
            kind: r.i32()?,
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.session.0);
        out.put_i32(self.cxid);
        out.put_i64(self.zxid.0);
        out.put_i64(self.time.0);
        out.put_i32(self.kind);
    }
}

impl<'a> TxnRecord<'a> {
    /// Reads a whole record. A missing digest, one of another version, and bytes after it are
    /// tolerated, as are the bodies of older servers: create without the parent's cversion,
    /// closeSession without its list.
    pub fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let mut r = Reader::new(bytes);
        let header = TxnHeader::read(&mut r)?;
        let txn = match header.kind {
            op::MULTI => Txn::Multi(r.vector(SubTxn::read)?),
            op::CREATE_SESSION => Txn::CreateSession {
                timeout_ms: r.i32()?,
            },
            op::CLOSE_SESSION => Txn::CloseSession {
                paths: read_close_paths(&mut r)?,
            },
            op::SET_ACL => Txn::SetAcl {
                path: r.string_or_empty()?,
                acl: Acl::read_list(&mut r)?,
                version: r.i32()?,
            },
            kind => read_body(kind, &mut r)?,
        };
        Ok(Self {
            header,
            txn,
            digest: read_digest(&mut r),
        })
    }

    /// Appends the record. The body's layout follows the header's kind, which must fit `txn`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.header.write(out);
        self.txn.encode_body(self.header.kind, out);
        if let Some(digest) = self.digest {
            write_digest(digest, out);
        }
    }
}

/// Appends what a leader adds to each record: the tree's digest after the transaction.
pub fn write_digest(digest: u64, out: &mut Vec<u8>) {
    out.put_i32(DIGEST_VERSION);
    out.put_i64(digest as i64);
}

/// The digest at the end of a record, if there is one that this server understands.
fn read_digest(r: &mut Reader<'_>) -> Option<u64> {
    let version = r.i32().ok()?;
    let digest = r.i64().ok()?;
    (version == DIGEST_VERSION).then_some(digest as u64)
}

/// The ephemerals of a closeSession. Servers that do not write the list may still write a digest;
/// twelve bytes that begin with the digest's version are one, because as a list they would name
/// two empty paths.
fn read_close_paths<'a>(r: &mut Reader<'a>) -> Decoded<Option<Vec<Cow<'a, str>>>> {
    const DIGEST_BYTES: usize = 12;
    let is_digest = r.rest().len() == DIGEST_BYTES && r.clone().i32() == Ok(DIGEST_VERSION);
    if r.is_at_end() || is_digest {
        return Ok(None);
    }
    let mut paths = r.vector(Reader::string_or_empty)?;
    paths.retain(|path| !path.is_empty());
    Ok(Some(paths))
}

/// A body that may stand alone or inside a multi.
fn read_body<'a>(kind: i32, r: &mut Reader<'a>) -> Decoded<Txn<'a>> {
    Ok(match kind {
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => read_create(kind, r)?,
        op::DELETE | op::DELETE_CONTAINER => Txn::Delete {
            path: r.string_or_empty()?,
        },
        op::SET_DATA | op::RECONFIG => Txn::SetData {
            path: r.string_or_empty()?,
            data: r.buffer()?,
            version: r.i32()?,
        },
        op::CHECK => Txn::Check {
            path: r.string_or_empty()?,
            version: r.i32()?,
        },
        op::ERROR => Txn::Error { code: r.i32()? },
        _ => return Err(DecodeError::Value("transaction type")),
    })
}

fn read_create<'a>(kind: i32, r: &mut Reader<'a>) -> Decoded<Txn<'a>> {
    let path = r.string_or_empty()?;
    let data = r.buffer()?;
    let acl = Acl::read_list(r)?;
    let (mode, parent_cversion) = match kind {
        op::CREATE_CONTAINER => (CreateMode::Container, r.i32()?),
        op::CREATE_TTL => {
            let parent_cversion = r.i32()?;
            (CreateMode::Ttl(r.i64()?), parent_cversion)
        }
        _ => {
            let mode = if r.bool()? {
                CreateMode::Ephemeral
            } else {
                CreateMode::Persistent
            };
            // Very old servers wrote no parent cversion (CreateTxnV0).
            (mode, if r.is_at_end() { -1 } else { r.i32()? })
        }
    };
    Ok(Txn::Create {
        path,
        data,
        acl,
        mode,
        parent_cversion,
    })
}

impl<'a> SubTxn<'a> {
    fn read(r: &mut Reader<'a>) -> Decoded<Self> {
        let kind = r.i32()?;
        let body = r.buffer()?.unwrap_or_default();
        Ok(Self {
            kind,
            txn: read_body(kind, &mut Reader::new(body))?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.put_i32(self.kind);
        let length_at = out.len();
        out.put_i32(0);
        self.txn.encode_body(self.kind, out);
        let length = i32::try_from(out.len() - length_at - 4).expect("no body reaches 2 GiB");
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

impl Txn<'_> {
    /// Appends the body as `kind` lays it out.
    fn encode_body(&self, kind: i32, out: &mut Vec<u8>) {
        match self {
            Self::Create {
                path,
                data,
                acl,
                mode,
                parent_cversion,
            } => {
                assert!(
                    mode.fits(kind),
                    "create mode {mode:?} in a transaction of type {kind}"
                );
                out.put_string(path);
                out.put_buffer(*data);
                Acl::write_list(acl, out);
                if matches!(mode, CreateMode::Persistent | CreateMode::Ephemeral) {
                    out.put_bool(*mode == CreateMode::Ephemeral);
                }
                out.put_i32(*parent_cversion);
                if let CreateMode::Ttl(ms) = mode {
                    out.put_i64(*ms);
                }
            }
            Self::Delete { path } => out.put_string(path),
            Self::SetData {
                path,
                data,
                version,
            } => {
                out.put_string(path);
                out.put_buffer(*data);
                out.put_i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.put_string(path);
                Acl::write_list(acl, out);
                out.put_i32(*version);
            }
            Self::Check { path, version } => {
                out.put_string(path);
                out.put_i32(*version);
            }
            Self::Multi(subs) => {
                out.put_count(subs.len());
                for sub in subs {
                    sub.write(out);
                }
            }
            Self::Error { code } => out.put_i32(*code),
            Self::CreateSession { timeout_ms } => out.put_i32(*timeout_ms),
            Self::CloseSession { paths } => {
                let Some(paths) = paths else { return };
                out.put_count(paths.len());
                for path in paths {
                    out.put_string(path);
                }
            }
        }
    }
}

impl CreateMode {
    /// Is this mode written with the body of that transaction type?
    const fn fits(self, kind: i32) -> bool {
        match kind {
            op::CREATE | op::CREATE2 => matches!(self, Self::Persistent | Self::Ephemeral),
            op::CREATE_CONTAINER => matches!(self, Self::Container),
            op::CREATE_TTL => matches!(self, Self::Ttl(_)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
