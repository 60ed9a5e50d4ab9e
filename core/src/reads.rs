//! Answers to reads, from this server's own tree.
//!
//! Knows: the order of checks, who may see what, the layout of each answer, and which watch a read
//! leaves behind. Refuses to know: when a read may run (behind its session's writes), headers, and
//! where watches are kept.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::acl;
use crate::config::Rules;
use crate::database::Database;
use crate::ids::{SessionId, Zxid};
use crate::path;
use crate::tree::NodeRef;
use crate::watch::WatchKind;
use crate::wire::client::{MultiHeader, MultiResult, Request, event};
use crate::wire::jute::{Reader, Write};
use crate::wire::records::{Acl, ErrorCode, Id, op, perms};

/// Who reads what.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    pub rules: &'a Rules,
    pub session: SessionId,
    pub identities: &'a [Id],
    /// One that [`is_read`] accepts.
    pub op: i32,
    pub body: &'a [u8],
}

/// What to tell the reader, and what to remember for it.
#[derive(Debug)]
pub struct Answer<'a> {
    /// `Ok`: the body has been appended. Otherwise nothing has.
    pub result: Result<(), ErrorCode>,
    /// To be registered for the connection, also if the result is an error: exists waits for
    /// missing nodes.
    pub watch: Option<(WatchKind, Cow<'a, str>)>,
}

/// Is this an operation that [`answer`] knows?
pub const fn is_read(op: i32) -> bool {
    matches!(
        op,
        op::EXISTS
            | op::GET_DATA
            | op::GET_ACL
            | op::GET_CHILDREN
            | op::GET_CHILDREN2
            | op::GET_EPHEMERALS
            | op::GET_ALL_CHILDREN_NUMBER
            | op::MULTI_READ
            | op::WHO_AM_I
    )
}

/// Answers a read from `db`. Appends the body of the reply to `out` if the result is `Ok`.
///
/// # Errors
/// In the answer: `MarshallingError` for a body that can not be read, `Unimplemented` for an
/// operation that is no read, `NoNode`, `NoAuth`, and `BadArguments` for exists with U+0000.
pub fn answer<'a>(db: &Database, read: Read<'a>, out: &mut Vec<u8>) -> Answer<'a> {
    match read.op {
        op::GET_EPHEMERALS => return Answer::unwatched(get_ephemerals(db, read, out)),
        op::GET_ALL_CHILDREN_NUMBER => {
            return Answer::unwatched(get_all_children_number(db, read, out));
        }
        _ => {}
    }
    let Ok(request) = Request::decode(read.op, read.body) else {
        return Answer::unwatched(Err(ErrorCode::MarshallingError));
    };
    match request {
        Request::Exists { path, watch } => exists(db, read, path, watch, out),
        Request::GetData { path, watch } => {
            let result = readable(db, read, &path, perms::READ).map(|node| {
                out.put_buffer(node.data());
                node.stat().write(out);
            });
            Answer::watched(result, watch, WatchKind::Data, path)
        }
        Request::GetChildren { path, watch } => {
            let result = readable(db, read, &path, perms::READ).map(|node| put_children(node, out));
            Answer::watched(result, watch, WatchKind::Child, path)
        }
        Request::GetChildren2 { path, watch } => {
            let result = readable(db, read, &path, perms::READ).map(|node| {
                put_children(node, out);
                node.stat().write(out);
            });
            Answer::watched(result, watch, WatchKind::Child, path)
        }
        Request::GetAcl { path } => {
            let mask = perms::READ | perms::ADMIN;
            let result = readable(db, read, &path, mask).map(|node| {
                Acl::write_list(&acl::visible(read.rules, node.acl(), read.identities), out);
                node.stat().write(out);
            });
            Answer::unwatched(result)
        }
        Request::MultiRead(reads) => {
            for one in reads {
                read_one(db, read, &one).write(out);
            }
            MultiHeader::END.write(out);
            Answer::unwatched(Ok(()))
        }
        Request::WhoAmI => {
            put_identities(read.identities, out);
            Answer::unwatched(Ok(()))
        }
        _ => Answer::unwatched(Err(ErrorCode::Unimplemented)),
    }
}

impl<'a> Answer<'a> {
    const fn unwatched(result: Result<(), ErrorCode>) -> Self {
        Self {
            result,
            watch: None,
        }
    }

    /// Only a read that succeeds leaves its watch.
    fn watched(
        result: Result<(), ErrorCode>,
        wanted: bool,
        kind: WatchKind,
        path: Cow<'a, str>,
    ) -> Self {
        let watch = (wanted && result.is_ok()).then_some((kind, path));
        Self { result, watch }
    }
}

/// The node, if it exists and the reader may do anything of `mask`.
fn readable<'a>(
    db: &'a Database,
    read: Read<'_>,
    path: &str,
    mask: i32,
) -> Result<NodeRef<'a>, ErrorCode> {
    let node = db.tree().get(path).ok_or(ErrorCode::NoNode)?;
    if acl::allows(read.rules, node.acl(), mask, read.identities) {
        Ok(node)
    } else {
        Err(ErrorCode::NoAuth)
    }
}

/// Unlike the others, leaves its watch on a missing node too: it fires at creation.
fn exists<'a>(
    db: &Database,
    read: Read<'_>,
    path: Cow<'a, str>,
    watch: bool,
    out: &mut Vec<u8>,
) -> Answer<'a> {
    if path::has_nul(&path) {
        return Answer::unwatched(Err(ErrorCode::BadArguments));
    }
    let result = readable(db, read, &path, perms::READ).map(|node| node.stat().write(out));
    if result == Err(ErrorCode::NoAuth) {
        return Answer::unwatched(result);
    }
    Answer {
        result,
        watch: watch.then_some((WatchKind::Data, path)),
    }
}

/// One of the reads in a multiRead. All see the same tree; one that fails does not stop the others.
fn read_one<'a>(db: &'a Database, read: Read<'_>, one: &Request<'_>) -> MultiResult<'a> {
    let result = match one {
        Request::GetData { path, .. } => {
            readable(db, read, path, perms::READ).map(|node| MultiResult::Data {
                data: node.data(),
                stat: node.stat(),
            })
        }
        Request::GetChildren { path, .. } => readable(db, read, path, perms::READ)
            .map(|node| MultiResult::Children(node.children().map(Cow::Borrowed).collect())),
        _ => Err(ErrorCode::MarshallingError),
    };
    result.unwrap_or_else(|error| MultiResult::Error(error.code()))
}

fn put_identities(identities: &[Id], out: &mut Vec<u8>) {
    out.put_count(identities.len());
    for who in identities {
        out.put_string(&who.scheme);
        out.put_string(acl::user_name(who));
    }
}

fn put_children(node: NodeRef<'_>, out: &mut Vec<u8>) {
    out.put_count(node.child_count());
    for name in node.children() {
        out.put_string(name);
    }
}

/// The session's own ephemerals that begin with a text. Needs no permission.
fn get_ephemerals(db: &Database, read: Read<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    let prefix = Reader::new(read.body)
        .string_or_empty()
        .map_err(|_| ErrorCode::MarshallingError)?;
    let prefix = if prefix.trim().is_empty() {
        path::ROOT
    } else {
        &*prefix
    };
    let count_at = out.len();
    out.put_count(0);
    let mut count = 0_i32;
    for path in db.tree().ephemerals(read.session) {
        if path.starts_with(prefix) {
            out.put_string(&path);
            count += 1;
        }
    }
    out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

/// Descendants of any depth.
fn get_all_children_number(
    db: &Database,
    read: Read<'_>,
    out: &mut Vec<u8>,
) -> Result<(), ErrorCode> {
    let path = Reader::new(read.body).string().ok().flatten();
    let path = path.ok_or(ErrorCode::MarshallingError)?;
    readable(db, read, &path, perms::READ)?;
    let descendants = db.tree().descendants(&path).ok_or(ErrorCode::NoNode)?;
    // To ZooKeeper `/` is below the empty path, which is the root's other name.
    let below = descendants + usize::from(path.is_empty());
    out.put_i32(i32::try_from(below).unwrap_or(i32::MAX));
    Ok(())
}

/// What a client that comes back watched while it was away (setWatches).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewatch {
    /// A data watch on a node that existed.
    Data,
    /// A data watch on a node that did not exist.
    Exist,
    /// A child watch.
    Child,
    Persistent,
    Recursive,
}

/// What comes of a watch that is set again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewatched {
    /// It missed its event (a number of [`event`]), which is sent now and not filtered.
    Missed(i32),
    Register(WatchKind),
}

/// Compares a watched node with what the client last saw, the zxid `seen`.
pub fn rewatch(db: &Database, watch: Rewatch, path: &str, seen: Zxid) -> Rewatched {
    let node = db.tree().get(path);
    let node = node.map(NodeRef::stored);
    match (watch, node) {
        (Rewatch::Data | Rewatch::Child, None) => Rewatched::Missed(event::NODE_DELETED),
        (Rewatch::Data, Some(stat)) if stat.mzxid > seen.0 => {
            Rewatched::Missed(event::NODE_DATA_CHANGED)
        }
        (Rewatch::Child, Some(stat)) if stat.pzxid > seen.0 => {
            Rewatched::Missed(event::NODE_CHILDREN_CHANGED)
        }
        (Rewatch::Exist, Some(_)) => Rewatched::Missed(event::NODE_CREATED),
        (Rewatch::Data, Some(_)) | (Rewatch::Exist, None) => Rewatched::Register(WatchKind::Data),
        (Rewatch::Child, Some(_)) => Rewatched::Register(WatchKind::Child),
        // They live on, so a client expects no event for the time that it was away.
        (Rewatch::Persistent, _) => Rewatched::Register(WatchKind::Persistent),
        (Rewatch::Recursive, _) => Rewatched::Register(WatchKind::Recursive),
    }
}

#[cfg(test)]
mod tests;
