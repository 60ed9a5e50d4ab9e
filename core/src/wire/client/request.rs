//! Requests by operation. A body that decodes is well-formed, not yet legal: paths, flags, access
//! lists and versions are for those who carry the request out.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::MultiHeader;
use crate::ids::Zxid;
use crate::wire::jute::{DecodeError, Decoded, Reader, Write};
use crate::wire::records::{Acl, Id, op};

/// The four operations that create a znode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateOp {
    /// Answers with the path only.
    Create,
    /// Answers with path and Stat, as the others below.
    Create2,
    Container,
    /// Milliseconds, as sent.
    Ttl(i64),
}

/// A request's body. Bytes after it are ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    Create {
        kind: CreateOp,
        path: Cow<'a, str>,
        data: Option<&'a [u8]>,
        /// `None`: the list is null, which is refused differently from an empty one.
        acl: Option<Vec<Acl>>,
        /// 0 persistent, 1 ephemeral, 2 and 3 the same with sequence, 4 container, 5 and 6 TTL.
        flags: i32,
    },
    Delete {
        path: Cow<'a, str>,
        version: i32,
    },
    Exists {
        path: Cow<'a, str>,
        watch: bool,
    },
    GetData {
        path: Cow<'a, str>,
        watch: bool,
    },
    SetData {
        path: Cow<'a, str>,
        data: Option<&'a [u8]>,
        version: i32,
    },
    GetAcl {
        path: Cow<'a, str>,
    },
    SetAcl {
        path: Cow<'a, str>,
        acl: Option<Vec<Acl>>,
        version: i32,
    },
    GetChildren {
        path: Cow<'a, str>,
        watch: bool,
    },
    GetChildren2 {
        path: Cow<'a, str>,
        watch: bool,
    },
    /// Only inside multi.
    Check {
        path: Cow<'a, str>,
        version: i32,
    },
    Multi(Vec<Self>),
    /// getData and getChildren, with their watches off.
    MultiRead(Vec<Self>),
    Sync {
        path: Cow<'a, str>,
    },
    Reconfig {
        joining: Option<Cow<'a, str>>,
        leaving: Option<Cow<'a, str>>,
        members: Option<Cow<'a, str>>,
        /// -1: whatever the configuration is.
        version: i64,
    },
    Ping,
    Auth {
        scheme: Cow<'a, str>,
        auth: Option<&'a [u8]>,
    },
    Sasl {
        token: Option<&'a [u8]>,
    },
    WhoAmI,
    SetWatches {
        /// Zxid of the last ordinary reply that the client saw.
        relative: Zxid,
        data: Vec<Cow<'a, str>>,
        exist: Vec<Cow<'a, str>>,
        child: Vec<Cow<'a, str>>,
    },
    /// The same with the lists that addWatch has filled since.
    SetWatches2 {
        relative: Zxid,
        data: Vec<Cow<'a, str>>,
        exist: Vec<Cow<'a, str>>,
        child: Vec<Cow<'a, str>>,
        persistent: Vec<Cow<'a, str>>,
        recursive: Vec<Cow<'a, str>>,
    },
    AddWatch {
        path: Cow<'a, str>,
        /// 0 persistent, 1 persistent recursive.
        mode: i32,
    },
    CheckWatches {
        path: Cow<'a, str>,
        /// See [`watcher_type`](super::watcher_type).
        kind: i32,
    },
    RemoveWatches {
        path: Cow<'a, str>,
        /// See [`watcher_type`](super::watcher_type).
        kind: i32,
    },
    /// Between servers only.
    CreateSession {
        timeout_ms: i32,
    },
    CloseSession,
}

impl<'a> Request<'a> {
    /// Reads the body of operation `op`. Operations that are not offered are
    /// `DecodeError::Value("operation")`.
    pub fn decode(op: i32, body: &'a [u8]) -> Decoded<Self> {
        let r = &mut Reader::new(body);
        Ok(match op {
            op::EXISTS => Self::Exists {
                path: path(r)?,
                watch: r.bool()?,
            },
            op::GET_DATA => Self::GetData {
                path: path(r)?,
                watch: r.bool()?,
            },
            op::GET_ACL => Self::GetAcl { path: path(r)? },
            op::SET_ACL => Self::SetAcl {
                path: judged_path(r)?,
                acl: acl_list(r)?,
                version: r.i32()?,
            },
            op::GET_CHILDREN => Self::GetChildren {
                path: path(r)?,
                watch: r.bool()?,
            },
            op::GET_CHILDREN2 => Self::GetChildren2 {
                path: path(r)?,
                watch: r.bool()?,
            },
            op::MULTI => Self::Multi(read_multi(r)?),
            op::MULTI_READ => Self::MultiRead(read_multi_read(r)?),
            op::SYNC => Self::Sync {
                path: r.string_or_empty()?,
            },
            op::RECONFIG => Self::Reconfig {
                joining: r.string()?,
                leaving: r.string()?,
                members: r.string()?,
                version: r.i64()?,
            },
            op::PING => Self::Ping,
            op::AUTH => {
                // The type: ignored, clients send 0.
                r.i32()?;
                Self::Auth {
                    scheme: r.string_or_empty()?,
                    auth: r.buffer()?,
                }
            }
            op::SASL => Self::Sasl { token: r.buffer()? },
            op::WHO_AM_I => Self::WhoAmI,
            op::CREATE_SESSION => Self::CreateSession {
                timeout_ms: r.i32()?,
            },
            op::CLOSE_SESSION => Self::CloseSession,
            op::SET_WATCHES
            | op::SET_WATCHES2
            | op::ADD_WATCH
            | op::CHECK_WATCHES
            | op::REMOVE_WATCHES => Self::read_watching(op, r)?,
            _ => Self::read_multi_op(op, r)?.ok_or(DecodeError::Value("operation"))?,
        })
    }

    /// Reads one of the operations that are only about watches.
    fn read_watching(op: i32, r: &mut Reader<'a>) -> Decoded<Self> {
        Ok(match op {
            op::SET_WATCHES => Self::SetWatches {
                relative: Zxid(r.i64()?),
                data: r.vector(path)?,
                exist: r.vector(path)?,
                child: r.vector(path)?,
            },
            op::SET_WATCHES2 => Self::SetWatches2 {
                relative: Zxid(r.i64()?),
                data: r.vector(path)?,
                exist: r.vector(path)?,
                child: r.vector(path)?,
                persistent: r.vector(path)?,
                recursive: r.vector(path)?,
            },
            op::ADD_WATCH => Self::AddWatch {
                path: watched_path(r)?,
                mode: r.i32()?,
            },
            op::CHECK_WATCHES => Self::CheckWatches {
                path: watched_path(r)?,
                kind: r.i32()?,
            },
            op::REMOVE_WATCHES => Self::RemoveWatches {
                path: watched_path(r)?,
                kind: r.i32()?,
            },
            _ => unreachable!("not about watches"),
        })
    }

    /// Reads an operation that may stand in a multi; `None` if this one may not.
    fn read_multi_op(op: i32, r: &mut Reader<'a>) -> Decoded<Option<Self>> {
        Ok(Some(match op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                let path = path(r)?;
                let data = r.buffer()?;
                let acl = acl_list(r)?;
                let flags = r.i32()?;
                let kind = match op {
                    op::CREATE => CreateOp::Create,
                    op::CREATE2 => CreateOp::Create2,
                    op::CREATE_CONTAINER => CreateOp::Container,
                    _ => CreateOp::Ttl(r.i64()?),
                };
                Self::Create {
                    kind,
                    path,
                    data,
                    acl,
                    flags,
                }
            }
            op::DELETE => Self::Delete {
                path: path(r)?,
                version: r.i32()?,
            },
            op::SET_DATA => Self::SetData {
                path: judged_path(r)?,
                data: r.buffer()?,
                version: r.i32()?,
            },
            op::CHECK => Self::Check {
                path: judged_path(r)?,
                version: r.i32()?,
            },
            _ => return Ok(None),
        }))
    }

    /// The operation's number.
    pub fn op(&self) -> i32 {
        match self {
            Self::Create { kind, .. } => match kind {
                CreateOp::Create => op::CREATE,
                CreateOp::Create2 => op::CREATE2,
                CreateOp::Container => op::CREATE_CONTAINER,
                CreateOp::Ttl(_) => op::CREATE_TTL,
            },
            Self::Delete { .. } => op::DELETE,
            Self::Exists { .. } => op::EXISTS,
            Self::GetData { .. } => op::GET_DATA,
            Self::SetData { .. } => op::SET_DATA,
            Self::GetAcl { .. } => op::GET_ACL,
            Self::SetAcl { .. } => op::SET_ACL,
            Self::GetChildren { .. } => op::GET_CHILDREN,
            Self::GetChildren2 { .. } => op::GET_CHILDREN2,
            Self::Check { .. } => op::CHECK,
            Self::Multi(_) => op::MULTI,
            Self::MultiRead(_) => op::MULTI_READ,
            Self::Reconfig { .. } => op::RECONFIG,
            Self::Sasl { .. } => op::SASL,
            Self::WhoAmI => op::WHO_AM_I,
            Self::Sync { .. } => op::SYNC,
            Self::Ping => op::PING,
            Self::Auth { .. } => op::AUTH,
            Self::SetWatches { .. } => op::SET_WATCHES,
            Self::SetWatches2 { .. } => op::SET_WATCHES2,
            Self::AddWatch { .. } => op::ADD_WATCH,
            Self::CheckWatches { .. } => op::CHECK_WATCHES,
            Self::RemoveWatches { .. } => op::REMOVE_WATCHES,
            Self::CreateSession { .. } => op::CREATE_SESSION,
            Self::CloseSession => op::CLOSE_SESSION,
        }
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create {
                kind,
                path,
                data,
                acl,
                flags,
            } => {
                out.put_string(path);
                out.put_buffer(*data);
                put_acl_list(acl.as_deref(), out);
                out.put_i32(*flags);
                if let CreateOp::Ttl(ms) = kind {
                    out.put_i64(*ms);
                }
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                out.put_string(path);
                out.put_i32(*version);
            }
            Self::Exists { path, watch }
            | Self::GetData { path, watch }
            | Self::GetChildren { path, watch }
            | Self::GetChildren2 { path, watch } => {
                out.put_string(path);
                out.put_bool(*watch);
            }
            Self::SetData {
                path,
                data,
                version,
            } => {
                out.put_string(path);
                out.put_buffer(*data);
                out.put_i32(*version);
            }
            Self::GetAcl { path } | Self::Sync { path } => out.put_string(path),
            Self::Reconfig {
                joining,
                leaving,
                members,
                version,
            } => {
                for text in [joining, leaving, members] {
                    put_optional(text.as_deref(), out);
                }
                out.put_i64(*version);
            }
            Self::Sasl { token } => out.put_buffer(*token),
            Self::SetAcl { path, acl, version } => {
                out.put_string(path);
                put_acl_list(acl.as_deref(), out);
                out.put_i32(*version);
            }
            Self::Multi(ops) | Self::MultiRead(ops) => write_multi(ops, out),
            Self::Auth { scheme, auth } => {
                out.put_i32(0);
                out.put_string(scheme);
                out.put_buffer(*auth);
            }
            Self::SetWatches { .. }
            | Self::SetWatches2 { .. }
            | Self::AddWatch { .. }
            | Self::CheckWatches { .. }
            | Self::RemoveWatches { .. } => self.encode_watching(out),
            Self::CreateSession { timeout_ms } => out.put_i32(*timeout_ms),
            Self::Ping | Self::WhoAmI | Self::CloseSession => {}
        }
    }

    fn encode_watching(&self, out: &mut Vec<u8>) {
        match self {
            Self::SetWatches {
                relative,
                data,
                exist,
                child,
            } => {
                out.put_i64(relative.0);
                put_path_lists(&[data, exist, child], out);
            }
            Self::SetWatches2 {
                relative,
                data,
                exist,
                child,
                persistent,
                recursive,
            } => {
                out.put_i64(relative.0);
                put_path_lists(&[data, exist, child, persistent, recursive], out);
            }
            Self::AddWatch { path, mode: number }
            | Self::CheckWatches { path, kind: number }
            | Self::RemoveWatches { path, kind: number } => {
                out.put_string(path);
                out.put_i32(*number);
            }
            _ => unreachable!("not about watches"),
        }
    }
}

/// A path that must not be null: ZooKeeper fails on it before any check of the path's text.
fn path<'a>(r: &mut Reader<'a>) -> Decoded<Cow<'a, str>> {
    r.string()?.ok_or(DecodeError::Value("path"))
}

/// A path whose text is checked first: null is found to be no path, as empty is.
fn judged_path<'a>(r: &mut Reader<'a>) -> Decoded<Cow<'a, str>> {
    r.string_or_empty()
}

/// A path that nobody looks up. Null is one, and as with empty nothing ever happens there.
fn watched_path<'a>(r: &mut Reader<'a>) -> Decoded<Cow<'a, str>> {
    r.string_or_empty()
}

fn put_optional(text: Option<&str>, out: &mut Vec<u8>) {
    out.put_buffer(text.map(str::as_bytes));
}

fn put_path_lists(lists: &[&Vec<Cow<'_, str>>], out: &mut Vec<u8>) {
    for list in lists {
        out.put_count(list.len());
        list.iter().for_each(|path| out.put_string(path));
    }
}

fn acl_list(r: &mut Reader<'_>) -> Decoded<Option<Vec<Acl>>> {
    let Some(count) = r.count()? else {
        return Ok(None);
    };
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(acl(r)?);
    }
    Ok(Some(list))
}

/// An entry of a list that a client wants to be stored. ZooKeeper fails on a null id where the
/// scheme makes it look at the id; elsewhere null is as good as empty.
fn acl(r: &mut Reader<'_>) -> Decoded<Acl> {
    let perms = r.i32()?;
    let scheme = r.string_or_empty()?;
    let id = match r.string()? {
        None if matches!(&*scheme, "world" | "ip" | "digest") => {
            return Err(DecodeError::Value("id in an access list"));
        }
        id => id.unwrap_or_default(),
    };
    Ok(Acl {
        perms,
        id: Id {
            scheme: scheme.into(),
            id: id.into(),
        },
    })
}

fn put_acl_list(list: Option<&[Acl]>, out: &mut Vec<u8>) {
    match list {
        None => out.put_i32(-1),
        Some(list) => Acl::write_list(list, out),
    }
}

fn read_multi<'a>(r: &mut Reader<'a>) -> Decoded<Vec<Request<'a>>> {
    let mut ops = Vec::new();
    loop {
        let header = MultiHeader::read(r)?;
        if header.done {
            return Ok(ops);
        }
        // All of them begin with their path.
        path(&mut r.clone())?;
        let request = Request::read_multi_op(header.op, r)?
            .ok_or(DecodeError::Value("operation inside multi"))?;
        if let Request::Create { kind, acl, .. } = &request
            && acl.is_none()
            && !matches!(kind, CreateOp::Ttl(_))
        {
            return Err(DecodeError::Value("access list inside multi"));
        }
        ops.push(request);
    }
}

fn read_multi_read<'a>(r: &mut Reader<'a>) -> Decoded<Vec<Request<'a>>> {
    let mut ops = Vec::new();
    loop {
        let header = MultiHeader::read(r)?;
        if header.done {
            return Ok(ops);
        }
        let path = path(r)?;
        // ZooKeeper sets no watches here, whatever is asked for.
        r.bool()?;
        let watch = false;
        ops.push(match header.op {
            op::GET_DATA => Request::GetData { path, watch },
            op::GET_CHILDREN => Request::GetChildren { path, watch },
            _ => return Err(DecodeError::Value("operation inside multiRead")),
        });
    }
}

fn write_multi(ops: &[Request<'_>], out: &mut Vec<u8>) {
    for request in ops {
        let header = MultiHeader {
            op: request.op(),
            done: false,
            error: -1,
        };
        header.write(out);
        request.encode(out);
    }
    MultiHeader::END.write(out);
}
