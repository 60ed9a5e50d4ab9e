//! What clients ask and what they are told, and the bytes of both as a client writes and reads
//! them. Written from the protocol's description on purpose, not with the server's own codec: a
//! mistake that both sides share would be invisible. Knows nothing of sessions or of checking.

use std::rc::Rc;

use bytes::Bytes;
use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::jute::{DecodeError, Decoded, Reader, Write};
use vivarium_core::wire::records::{Acl, Id, Stat, op};

/// An absolute path, shared by everybody who speaks of it.
pub type Path = Rc<str>;

/// How a znode is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags {
    pub ephemeral: bool,
    pub sequential: bool,
    /// Goes when its last child has gone. Asked for by createContainer.
    pub container: bool,
    /// Goes when it has had no child and no change for so many milliseconds: createTTL.
    pub ttl: Option<i64>,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// `with_stat` asks for create2; containers and TTL nodes always give their stat.
    Create {
        path: Path,
        data: Option<Bytes>,
        acl: Rc<[Acl]>,
        flags: Flags,
        with_stat: bool,
    },
    Delete {
        path: Path,
        version: i32,
    },
    SetData {
        path: Path,
        data: Option<Bytes>,
        version: i32,
    },
    SetAcl {
        path: Path,
        acl: Rc<[Acl]>,
        version: i32,
    },
    /// Only inside a multi.
    Check {
        path: Path,
        version: i32,
    },
    Multi(Vec<Self>),
    Exists {
        path: Path,
        watch: bool,
    },
    GetData {
        path: Path,
        watch: bool,
    },
    /// `with_stat` asks for getChildren2.
    GetChildren {
        path: Path,
        watch: bool,
        with_stat: bool,
    },
    GetAcl {
        path: Path,
    },
    Sync {
        path: Path,
    },
    /// Several getData and getChildren at one moment.
    MultiRead(Vec<Self>),
    WhoAmI,
    /// From now on the connection is also who this proves.
    Auth {
        scheme: &'static str,
        auth: &'static str,
    },
    Ping,
    SetWatches {
        relative: Zxid,
        data: Vec<Path>,
        exist: Vec<Path>,
        child: Vec<Path>,
        persistent: Vec<Path>,
        recursive: Vec<Path>,
    },
    /// A watch that stays.
    AddWatch {
        path: Path,
        recursive: bool,
    },
    /// Is there a watch of this kind (see [`watcher`])? With `remove`, no more.
    FindWatch {
        path: Path,
        kind: i32,
        remove: bool,
    },
    /// All znodes below.
    CountBelow {
        path: Path,
    },
    /// The session's own ephemerals below.
    Ephemerals {
        path: Path,
    },
    CloseSession,
}

/// A good answer's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Header only: delete, check, ping, setWatches, closeSession.
    Empty,
    Created {
        path: String,
        stat: Option<Stat>,
    },
    Stat(Stat),
    Data {
        data: Option<Bytes>,
        stat: Stat,
    },
    Children {
        names: Vec<String>,
        stat: Option<Stat>,
    },
    Acl {
        acl: Vec<Acl>,
        stat: Stat,
    },
    Synced {
        path: String,
    },
    Count(i32),
    Paths(Vec<String>),
    Who(Vec<Id>),
    Multi(Vec<SubReply>),
}

/// One result of a multi: an error code (0 for what was undone), or a body.
pub type SubReply = Result<Body, i32>;

/// A reply after its header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub zxid: Zxid,
    pub result: Result<Body, i32>,
}

/// A watch event. `zxid` is that of the transaction, or -1 when setWatches made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    pub zxid: Zxid,
    pub kind: i32,
    pub path: String,
}

/// The server's answer to a ConnectRequest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Milliseconds; 0 means that the session is refused.
    pub timeout_ms: i32,
    pub session: SessionId,
    pub password: [u8; 16],
    /// The server has no quorum.
    pub read_only: bool,
}

/// Event types as they travel.
pub mod event {
    pub const CREATED: i32 = 1;
    pub const DELETED: i32 = 2;
    pub const DATA_CHANGED: i32 = 3;
    pub const CHILDREN_CHANGED: i32 = 4;
}

/// What checkWatches and removeWatches look for.
pub mod watcher {
    pub const CHILD: i32 = 1;
    pub const DATA: i32 = 2;
    pub const ANY: i32 = 3;
    pub const PERSISTENT: i32 = 4;
    pub const RECURSIVE: i32 = 5;
}

/// xid of events.
pub const XID_EVENT: i32 = -1;
/// xid of pings.
pub const XID_PING: i32 = -2;
/// xid of auth requests.
pub const XID_AUTH: i32 = -4;
/// xid of setWatches.
pub const XID_SET_WATCHES: i32 = -8;

impl Flags {
    /// An ordinary znode.
    pub const PLAIN: Self = Self {
        ephemeral: false,
        sequential: false,
        container: false,
        ttl: None,
    };

    /// As it travels.
    fn number(self) -> i32 {
        match (self.container, self.ttl, self.sequential) {
            (true, ..) => 4,
            (_, Some(_), sequential) => 5 + i32::from(sequential),
            (_, None, sequential) => i32::from(self.ephemeral) | i32::from(sequential) << 1,
        }
    }
}

impl Op {
    /// The number in the request header.
    pub fn number(&self) -> i32 {
        match self {
            Self::Create { flags, .. } if flags.container => op::CREATE_CONTAINER,
            Self::Create { flags, .. } if flags.ttl.is_some() => op::CREATE_TTL,
            Self::Create {
                with_stat: false, ..
            } => op::CREATE,
            Self::Create {
                with_stat: true, ..
            } => op::CREATE2,
            Self::Delete { .. } => op::DELETE,
            Self::SetData { .. } => op::SET_DATA,
            Self::SetAcl { .. } => op::SET_ACL,
            Self::Check { .. } => op::CHECK,
            Self::Multi(_) => op::MULTI,
            Self::Exists { .. } => op::EXISTS,
            Self::GetData { .. } => op::GET_DATA,
            Self::GetChildren {
                with_stat: false, ..
            } => op::GET_CHILDREN,
            Self::GetChildren {
                with_stat: true, ..
            } => op::GET_CHILDREN2,
            Self::GetAcl { .. } => op::GET_ACL,
            Self::Sync { .. } => op::SYNC,
            Self::MultiRead(_) => op::MULTI_READ,
            Self::WhoAmI => op::WHO_AM_I,
            Self::Auth { .. } => op::AUTH,
            Self::Ping => op::PING,
            Self::SetWatches {
                persistent,
                recursive,
                ..
            } if persistent.is_empty() && recursive.is_empty() => op::SET_WATCHES,
            Self::SetWatches { .. } => op::SET_WATCHES2,
            Self::AddWatch { .. } => op::ADD_WATCH,
            Self::FindWatch { remove: false, .. } => op::CHECK_WATCHES,
            Self::FindWatch { remove: true, .. } => op::REMOVE_WATCHES,
            Self::CountBelow { .. } => op::GET_ALL_CHILDREN_NUMBER,
            Self::Ephemerals { .. } => op::GET_EPHEMERALS,
            Self::CloseSession => op::CLOSE_SESSION,
        }
    }

    /// Does it take a zxid?
    pub fn is_write(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Delete { .. }
            | Self::SetData { .. }
            | Self::SetAcl { .. }
            | Self::Check { .. }
            | Self::Multi(_)
            | Self::CloseSession => true,
            Self::Exists { .. }
            | Self::GetData { .. }
            | Self::GetChildren { .. }
            | Self::GetAcl { .. }
            | Self::Sync { .. }
            | Self::MultiRead(_)
            | Self::WhoAmI
            | Self::Auth { .. }
            | Self::Ping
            | Self::AddWatch { .. }
            | Self::FindWatch { .. }
            | Self::CountBelow { .. }
            | Self::Ephemerals { .. }
            | Self::SetWatches { .. } => false,
        }
    }

    /// What it is about, if that is one znode.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Create { path, .. }
            | Self::Delete { path, .. }
            | Self::SetData { path, .. }
            | Self::SetAcl { path, .. }
            | Self::Check { path, .. }
            | Self::Exists { path, .. }
            | Self::GetData { path, .. }
            | Self::GetChildren { path, .. }
            | Self::GetAcl { path }
            | Self::Sync { path }
            | Self::AddWatch { path, .. }
            | Self::FindWatch { path, .. }
            | Self::CountBelow { path }
            | Self::Ephemerals { path } => Some(path),
            Self::Multi(_)
            | Self::MultiRead(_)
            | Self::WhoAmI
            | Self::Auth { .. }
            | Self::Ping
            | Self::SetWatches { .. }
            | Self::CloseSession => None,
        }
    }

    /// The whole frame, length prefix included.
    pub fn frame(&self, xid: i32) -> Bytes {
        let mut out = vec![0; 4];
        out.put_i32(xid);
        out.put_i32(self.number());
        self.write_body(&mut out);
        finish(out)
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Create {
                path,
                data,
                acl,
                flags,
                ..
            } => {
                out.put_string(path);
                out.put_buffer(data.as_deref());
                Acl::write_list(acl, out);
                out.put_i32(flags.number());
                if let Some(ttl) = flags.ttl {
                    out.put_i64(ttl);
                }
            }
            Self::Delete { path, version } | Self::Check { path, version } => {
                out.put_string(path);
                out.put_i32(*version);
            }
            Self::SetData {
                path,
                data,
                version,
            } => {
                out.put_string(path);
                out.put_buffer(data.as_deref());
                out.put_i32(*version);
            }
            Self::SetAcl { path, acl, version } => {
                out.put_string(path);
                Acl::write_list(acl, out);
                out.put_i32(*version);
            }
            Self::Multi(ops) | Self::MultiRead(ops) => {
                for sub in ops {
                    write_multi_header(out, sub.number(), false);
                    sub.write_body(out);
                }
                write_multi_header(out, -1, true);
            }
            Self::Exists { path, watch }
            | Self::GetData { path, watch }
            | Self::GetChildren { path, watch, .. } => {
                out.put_string(path);
                out.put_bool(*watch);
            }
            Self::GetAcl { path }
            | Self::Sync { path }
            | Self::CountBelow { path }
            | Self::Ephemerals { path } => out.put_string(path),
            Self::AddWatch { path, recursive } => {
                out.put_string(path);
                out.put_i32(i32::from(*recursive));
            }
            Self::FindWatch { path, kind, .. } => {
                out.put_string(path);
                out.put_i32(*kind);
            }
            Self::Auth { scheme, auth } => {
                out.put_i32(0);
                out.put_string(scheme);
                out.put_buffer(Some(auth.as_bytes()));
            }
            Self::WhoAmI | Self::Ping | Self::CloseSession => {}
            Self::SetWatches { .. } => self.write_watches(out),
        }
    }

    fn write_watches(&self, out: &mut Vec<u8>) {
        let Self::SetWatches {
            relative,
            data,
            exist,
            child,
            persistent,
            recursive,
        } = self
        else {
            unreachable!("the caller has looked");
        };
        out.put_i64(relative.0);
        let lists = [data, exist, child, persistent, recursive];
        let count = if self.number() == op::SET_WATCHES {
            3
        } else {
            5
        };
        for list in &lists[..count] {
            out.put_count(list.len());
            list.iter().for_each(|path| out.put_string(path));
        }
    }

    /// Reads the reply to this request: what follows xid, zxid and a zero error.
    fn read_reply(&self, r: &mut Reader<'_>) -> Decoded<Body> {
        Ok(match self {
            Self::Create { .. } => {
                let path = r.string_or_empty()?.into_owned();
                let stat = if self.number() != op::CREATE {
                    Some(Stat::read(r)?)
                } else {
                    None
                };
                Body::Created { path, stat }
            }
            Self::AddWatch { .. } => match r.i32()? {
                0 => Body::Empty,
                _ => return Err(DecodeError::Value("error of a watch that is set")),
            },
            Self::CountBelow { .. } => Body::Count(r.i32()?),
            Self::Ephemerals { .. } => {
                Body::Paths(r.vector(|r| Ok(r.string_or_empty()?.into_owned()))?)
            }
            Self::WhoAmI => Body::Who(r.vector(|r| {
                Ok(Id {
                    scheme: r.string_or_empty()?.into_owned(),
                    id: r.string_or_empty()?.into_owned(),
                })
            })?),
            Self::Delete { .. }
            | Self::Check { .. }
            | Self::FindWatch { .. }
            | Self::Auth { .. }
            | Self::Ping
            | Self::SetWatches { .. }
            | Self::CloseSession => Body::Empty,
            Self::SetData { .. } | Self::SetAcl { .. } | Self::Exists { .. } => {
                Body::Stat(Stat::read(r)?)
            }
            Self::GetData { .. } => {
                let data = r.buffer()?.map(Bytes::copy_from_slice);
                Body::Data {
                    data,
                    stat: Stat::read(r)?,
                }
            }
            Self::GetChildren { with_stat, .. } => {
                let names = r.vector(|r| Ok(r.string_or_empty()?.into_owned()))?;
                let stat = if *with_stat {
                    Some(Stat::read(r)?)
                } else {
                    None
                };
                Body::Children { names, stat }
            }
            Self::GetAcl { .. } => Body::Acl {
                acl: Acl::read_list(r)?,
                stat: Stat::read(r)?,
            },
            Self::Sync { .. } => Body::Synced {
                path: r.string_or_empty()?.into_owned(),
            },
            Self::Multi(ops) | Self::MultiRead(ops) => Body::Multi(read_multi(ops, r)?),
        })
    }
}

fn write_multi_header(out: &mut Vec<u8>, kind: i32, done: bool) {
    out.put_i32(kind);
    out.put_bool(done);
    out.put_i32(-1);
}

fn read_multi(ops: &[Op], r: &mut Reader<'_>) -> Decoded<Vec<SubReply>> {
    let mut out = Vec::with_capacity(ops.len());
    loop {
        let (kind, done, err) = (r.i32()?, r.bool()?, r.i32()?);
        if done {
            break;
        }
        if kind == -1 {
            let code = r.i32()?;
            if code != err {
                return Err(DecodeError::Value("error of a multi result"));
            }
            out.push(Err(code));
            continue;
        }
        let sub = ops
            .get(out.len())
            .ok_or(DecodeError::Value("count of multi results"))?;
        if kind != sub.number() {
            return Err(DecodeError::Value("type of a multi result"));
        }
        out.push(Ok(sub.read_reply(r)?));
    }
    if out.len() == ops.len() {
        Ok(out)
    } else {
        Err(DecodeError::Value("count of multi results"))
    }
}

fn finish(mut out: Vec<u8>) -> Bytes {
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Bytes::from(out)
}

/// The first frame on a connection.
pub fn connect_frame(
    seen: Zxid,
    timeout_ms: i32,
    session: SessionId,
    password: &[u8],
    read_only: bool,
) -> Bytes {
    let mut out = vec![0; 4];
    out.put_i32(0);
    out.put_i64(seen.0);
    out.put_i32(timeout_ms);
    out.put_i64(session.0);
    out.put_buffer(Some(password));
    out.put_bool(read_only);
    finish(out)
}

/// The answer to [`connect_frame`], without its length prefix.
pub fn read_welcome(frame: &[u8]) -> Decoded<Welcome> {
    let mut r = Reader::new(frame);
    r.i32()?;
    let timeout_ms = r.i32()?;
    let session = SessionId(r.i64()?);
    let password = r.buffer()?.and_then(|p| p.try_into().ok());
    let password = password.ok_or(DecodeError::Value("password"))?;
    let read_only = r.bool()?;
    if !r.is_at_end() {
        return Err(DecodeError::Value("length of the connect response"));
    }
    Ok(Welcome {
        timeout_ms,
        session,
        password,
        read_only,
    })
}

/// xid, zxid and error of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    pub xid: i32,
    pub zxid: Zxid,
    pub err: i32,
}

pub fn read_header(r: &mut Reader<'_>) -> Decoded<ReplyHeader> {
    Ok(ReplyHeader {
        xid: r.i32()?,
        zxid: Zxid(r.i64()?),
        err: r.i32()?,
    })
}

/// The rest of a reply to `op`. All bytes must be used up.
pub fn read_reply(op: &Op, header: ReplyHeader, r: &mut Reader<'_>) -> Decoded<Reply> {
    let result = if header.err == 0 {
        Ok(op.read_reply(r)?)
    } else {
        Err(header.err)
    };
    if !r.is_at_end() {
        return Err(DecodeError::Value("length of the reply"));
    }
    Ok(Reply {
        zxid: header.zxid,
        result,
    })
}

/// The rest of a watch event.
pub fn read_event(header: ReplyHeader, r: &mut Reader<'_>) -> Decoded<WatchEvent> {
    let kind = r.i32()?;
    let state = r.i32()?;
    let path = r.string_or_empty()?.into_owned();
    if state != 3 {
        return Err(DecodeError::Value("state of a watch event"));
    }
    Ok(WatchEvent {
        zxid: header.zxid,
        kind,
        path,
    })
}

/// Cuts a byte stream into frames.
#[derive(Clone, Default, Debug)]
pub struct Frames {
    buffer: Vec<u8>,
    at: usize,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at == self.buffer.len() {
            self.clear();
        }
        self.buffer.extend_from_slice(bytes);
    }

    pub fn clear(&mut self) {
        self.buffer.clear();
        self.at = 0;
    }

    /// The next whole frame without its length; `Err` is an impossible length.
    pub fn cut(&mut self) -> Result<Option<Vec<u8>>, i32> {
        let rest = &self.buffer[self.at..];
        let Some(prefix) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*prefix);
        if !(0..64 << 20).contains(&length) {
            return Err(length);
        }
        let Some(frame) = rest.get(4..4 + length as usize) else {
            return Ok(None);
        };
        let frame = frame.to_vec();
        self.at += 4 + frame.len();
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_anywhere() {
        let whole = [Op::Ping.frame(XID_PING), Op::CloseSession.frame(7)].concat();
        assert_eq!(whole.len(), 24);
        for cut in 0..=whole.len() {
            let mut frames = Frames::default();
            let mut got = Vec::new();
            for part in [&whole[..cut], &whole[cut..]] {
                frames.push(part);
                while let Some(frame) = frames.cut().unwrap() {
                    got.push(frame);
                }
            }
            assert_eq!(got, [whole[4..12].to_vec(), whole[16..24].to_vec()]);
        }
        let mut frames = Frames::default();
        frames.push(&[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(frames.cut(), Err(-1));
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        // length 12: header 8, path "/" as 4 + 1 bytes, watch 1 byte
        let frame = Op::GetData {
            path: "/".into(),
            watch: true,
        }
        .frame(1);
        assert_eq!(
            frame.as_ref(),
            [0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, b'/', 1]
        );
        assert_eq!(
            connect_frame(Zxid(0), 1, SessionId(0), &[0; 16], true).len(),
            4 + 45
        );
    }

    #[test]
    fn a_multi_reply_is_all_or_nothing_on_the_wire() {
        let ops = vec![
            Op::Check {
                path: "/a".into(),
                version: -1,
            },
            Op::Delete {
                path: "/b".into(),
                version: -1,
            },
        ];
        let mut bytes = Vec::new();
        for code in [0, -101] {
            bytes.put_i32(-1);
            bytes.put_bool(false);
            bytes.put_i32(code);
            bytes.put_i32(code);
        }
        write_multi_header(&mut bytes, -1, true);
        let header = ReplyHeader {
            xid: 1,
            zxid: Zxid(9),
            err: 0,
        };
        let reply = read_reply(&Op::Multi(ops), header, &mut Reader::new(&bytes)).unwrap();
        assert_eq!(reply.result, Ok(Body::Multi(vec![Err(0), Err(-101)])));
    }
}
