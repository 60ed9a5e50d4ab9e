//! Bodies of successful replies. A reply with an error has none.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::MultiHeader;
use crate::wire::jute::{DecodeError, Decoded, Reader, Write};
use crate::wire::records::{Acl, Stat, op};

/// What a request is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// delete, ping, auth, checkWatches, removeWatches, setWatches, setWatches2, closeSession.
    Empty,
    /// addWatch: an error code, always 0.
    Error(i32),
    /// create, and sync, which gives back the path that it got.
    Path(Cow<'a, str>),
    /// create2, createContainer, createTTL.
    Created {
        path: Cow<'a, str>,
        stat: Stat,
    },
    /// exists, setData, setACL.
    Stat(Stat),
    Data {
        data: Option<&'a [u8]>,
        stat: Stat,
    },
    Acl {
        acl: Vec<Acl>,
        stat: Stat,
    },
    Children(Vec<Cow<'a, str>>),
    Children2 {
        children: Vec<Cow<'a, str>>,
        stat: Stat,
    },
    /// multi and multiRead.
    Multi(Vec<MultiResult<'a>>),
    /// sasl.
    Token(Option<&'a [u8]>),
    /// whoAmI: scheme and user of each identity.
    Identities(Vec<(Cow<'a, str>, Cow<'a, str>)>),
}

/// The result of one operation of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiResult<'a> {
    Path(Cow<'a, str>),
    /// create2, createContainer and createTTL all answer as create2.
    Created {
        path: Cow<'a, str>,
        stat: Stat,
    },
    Deleted,
    DataSet(Stat),
    Checked,
    Data {
        data: Option<&'a [u8]>,
        stat: Stat,
    },
    Children(Vec<Cow<'a, str>>),
    /// In multi: it failed; 0 before the operation that failed, its code, then -2. In multiRead:
    /// this read failed.
    Error(i32),
}

impl<'a> Reply<'a> {
    /// Reads the body that answers operation `op` without an error.
    pub fn decode(op: i32, body: &'a [u8]) -> Decoded<Self> {
        let r = &mut Reader::new(body);
        Ok(match op {
            op::DELETE
            | op::PING
            | op::AUTH
            | op::CHECK_WATCHES
            | op::REMOVE_WATCHES
            | op::SET_WATCHES
            | op::SET_WATCHES2
            | op::CLOSE_SESSION => Self::Empty,
            op::ADD_WATCH => Self::Error(r.i32()?),
            op::CREATE | op::SYNC => Self::Path(r.string_or_empty()?),
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => Self::Created {
                path: r.string_or_empty()?,
                stat: Stat::read(r)?,
            },
            op::EXISTS | op::SET_DATA | op::SET_ACL => Self::Stat(Stat::read(r)?),
            op::GET_DATA => Self::Data {
                data: r.buffer()?,
                stat: Stat::read(r)?,
            },
            op::GET_ACL => Self::Acl {
                acl: Acl::read_list(r)?,
                stat: Stat::read(r)?,
            },
            op::GET_CHILDREN => Self::Children(r.vector(Reader::string_or_empty)?),
            op::GET_CHILDREN2 => Self::Children2 {
                children: r.vector(Reader::string_or_empty)?,
                stat: Stat::read(r)?,
            },
            op::MULTI | op::MULTI_READ => Self::Multi(read_results(r)?),
            op::SASL => Self::Token(r.buffer()?),
            op::WHO_AM_I => {
                Self::Identities(r.vector(|r| Ok((r.string_or_empty()?, r.string_or_empty()?)))?)
            }
            _ => return Err(DecodeError::Value("operation")),
        })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Error(code) => out.put_i32(*code),
            Self::Path(path) => out.put_string(path),
            Self::Created { path, stat } => {
                out.put_string(path);
                stat.write(out);
            }
            Self::Stat(stat) => stat.write(out),
            Self::Data { data, stat } => {
                out.put_buffer(*data);
                stat.write(out);
            }
            Self::Acl { acl, stat } => {
                Acl::write_list(acl, out);
                stat.write(out);
            }
            Self::Children(children) => put_names(children, out),
            Self::Children2 { children, stat } => {
                put_names(children, out);
                stat.write(out);
            }
            Self::Token(token) => out.put_buffer(*token),
            Self::Identities(identities) => {
                out.put_count(identities.len());
                for (scheme, user) in identities {
                    out.put_string(scheme);
                    out.put_string(user);
                }
            }
            Self::Multi(results) => {
                results.iter().for_each(|result| result.write(out));
                MultiHeader::END.write(out);
            }
        }
    }
}

fn put_names(names: &[Cow<'_, str>], out: &mut Vec<u8>) {
    out.put_count(names.len());
    names.iter().for_each(|name| out.put_string(name));
}

fn read_results<'a>(r: &mut Reader<'a>) -> Decoded<Vec<MultiResult<'a>>> {
    let mut results = Vec::new();
    loop {
        let header = MultiHeader::read(r)?;
        if header.done {
            return Ok(results);
        }
        results.push(match header.op {
            op::CREATE => MultiResult::Path(r.string_or_empty()?),
            op::CREATE2 => MultiResult::Created {
                path: r.string_or_empty()?,
                stat: Stat::read(r)?,
            },
            op::DELETE => MultiResult::Deleted,
            op::SET_DATA => MultiResult::DataSet(Stat::read(r)?),
            op::CHECK => MultiResult::Checked,
            op::GET_DATA => MultiResult::Data {
                data: r.buffer()?,
                stat: Stat::read(r)?,
            },
            op::GET_CHILDREN => MultiResult::Children(r.vector(Reader::string_or_empty)?),
            op::ERROR => MultiResult::Error(r.i32()?),
            _ => return Err(DecodeError::Value("result inside multi")),
        });
    }
}

impl MultiResult<'_> {
    /// Appends header and body; [`MultiHeader::END`] must follow the last.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (op, error) = match self {
            Self::Path(_) => (op::CREATE, 0),
            Self::Created { .. } => (op::CREATE2, 0),
            Self::Deleted => (op::DELETE, 0),
            Self::DataSet(_) => (op::SET_DATA, 0),
            Self::Checked => (op::CHECK, 0),
            Self::Data { .. } => (op::GET_DATA, 0),
            Self::Children(_) => (op::GET_CHILDREN, 0),
            Self::Error(code) => (op::ERROR, *code),
        };
        MultiHeader {
            op,
            done: false,
            error,
        }
        .write(out);
        match self {
            Self::Path(path) => out.put_string(path),
            Self::Created { path, stat } => {
                out.put_string(path);
                stat.write(out);
            }
            Self::DataSet(stat) => stat.write(out),
            Self::Data { data, stat } => {
                out.put_buffer(*data);
                stat.write(out);
            }
            Self::Children(children) => put_names(children, out),
            Self::Error(code) => out.put_i32(*code),
            Self::Deleted | Self::Checked => {}
        }
    }
}
