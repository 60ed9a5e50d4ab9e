//! Requests of every type, as type and record. They may be as wrong as a test likes: nothing is
//! checked here.

use crate::wire::Body;

/// Types of requests.
pub mod op {
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
    pub const CLOSE_SESSION: i32 = -11;
}

/// Flags of the create family.
pub mod flag {
    pub const PERSISTENT: i32 = 0;
    pub const EPHEMERAL: i32 = 1;
    pub const SEQUENTIAL: i32 = 2;
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
    pub const CONTAINER: i32 = 4;
    pub const TTL: i32 = 5;
}

/// Permissions.
pub mod perm {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// One entry of an access list: permissions, scheme, id.
pub type Entry<'a> = (i32, &'a str, &'a str);

/// Everybody may do everything.
pub const OPEN: &[Entry<'static>] = &[(perm::ALL, "world", "anyone")];

/// A request without its xid.
#[derive(Clone)]
pub struct Request {
    pub op: i32,
    pub body: Body,
}

fn request(op: i32, body: Body) -> Request {
    Request { op, body }
}

/// A length or -1, and the bytes.
fn nullable(body: Body, bytes: Option<&[u8]>) -> Body {
    match bytes {
        Some(bytes) => body.buffer(bytes),
        None => body.int(-1),
    }
}

fn count(length: usize) -> i32 {
    i32::try_from(length).expect("a short list")
}

/// A list of strings.
fn strings(body: Body, list: &[&str]) -> Body {
    let body = body.int(count(list.len()));
    list.iter().fold(body, |body, text| body.string(text))
}

fn entries(body: Body, acl: &[Entry<'_>]) -> Body {
    let body = body.int(count(acl.len()));
    acl.iter().fold(body, |body, (perms, scheme, id)| {
        body.int(*perms).string(scheme).string(id)
    })
}

/// A request that is a path and nothing more.
pub fn named(op: i32, path: &str) -> Request {
    request(op, Body::new().string(path))
}

/// A request without a record.
pub fn bare(op: i32) -> Request {
    request(op, Body::new())
}

fn with_flag(op: i32, path: &str, watch: bool) -> Request {
    request(op, Body::new().string(path).byte(watch.into()))
}

fn with_number(op: i32, path: &str, number: i32) -> Request {
    request(op, Body::new().string(path).int(number))
}

/// Any of the create family with the record of `create`.
pub fn create_as(
    op: i32,
    path: &str,
    data: Option<&[u8]>,
    acl: &[Entry<'_>],
    flags: i32,
) -> Request {
    let body = nullable(Body::new().string(path), data);
    request(op, entries(body, acl).int(flags))
}

/// Open to everybody, with the node's path as data.
pub fn create(path: &str, flags: i32) -> Request {
    create_as(op::CREATE, path, Some(path.as_bytes()), OPEN, flags)
}

pub fn create2(path: &str, flags: i32) -> Request {
    create_as(op::CREATE2, path, Some(path.as_bytes()), OPEN, flags)
}

pub fn create_acl(path: &str, acl: &[Entry<'_>]) -> Request {
    create_as(op::CREATE, path, Some(b"x"), acl, flag::PERSISTENT)
}

pub fn create_container(path: &str) -> Request {
    create_as(
        op::CREATE_CONTAINER,
        path,
        Some(b"x"),
        OPEN,
        flag::CONTAINER,
    )
}

pub fn create_ttl(path: &str, flags: i32, ttl: i64) -> Request {
    let made = create_as(op::CREATE_TTL, path, Some(b"x"), OPEN, flags);
    request(made.op, made.body.long(ttl))
}

pub fn delete(path: &str, version: i32) -> Request {
    with_number(op::DELETE, path, version)
}

pub fn exists(path: &str, watch: bool) -> Request {
    with_flag(op::EXISTS, path, watch)
}

pub fn get_data(path: &str, watch: bool) -> Request {
    with_flag(op::GET_DATA, path, watch)
}

pub fn set_data(path: &str, data: &[u8], version: i32) -> Request {
    let body = Body::new().string(path).buffer(data).int(version);
    request(op::SET_DATA, body)
}

pub fn get_acl(path: &str) -> Request {
    named(op::GET_ACL, path)
}

pub fn set_acl(path: &str, acl: &[Entry<'_>], version: i32) -> Request {
    let body = entries(Body::new().string(path), acl).int(version);
    request(op::SET_ACL, body)
}

pub fn get_children(path: &str, watch: bool) -> Request {
    with_flag(op::GET_CHILDREN, path, watch)
}

pub fn get_children2(path: &str, watch: bool) -> Request {
    with_flag(op::GET_CHILDREN2, path, watch)
}

pub fn sync(path: &str) -> Request {
    named(op::SYNC, path)
}

/// The record of `check` under any type.
pub fn check_as(op: i32, path: &str, version: i32) -> Request {
    with_number(op, path, version)
}

pub fn check(path: &str, version: i32) -> Request {
    with_number(op::CHECK, path, version)
}

/// `multi` or `multiRead` of these requests.
pub fn several(op: i32, parts: &[Request]) -> Request {
    let mut body = Body::new();
    for part in parts {
        body = body.int(part.op).byte(0).int(-1);
        body = body.raw(&part.body.clone().bytes());
    }
    request(op, body.int(-1).byte(1).int(-1))
}

pub fn multi(parts: &[Request]) -> Request {
    several(op::MULTI, parts)
}

pub fn multi_read(parts: &[Request]) -> Request {
    several(op::MULTI_READ, parts)
}

/// Mode 0 is persistent, mode 1 recursive.
pub fn add_watch(path: &str, mode: i32) -> Request {
    with_number(op::ADD_WATCH, path, mode)
}

pub fn check_watches(path: &str, kind: i32) -> Request {
    with_number(op::CHECK_WATCHES, path, kind)
}

pub fn remove_watches(path: &str, kind: i32) -> Request {
    with_number(op::REMOVE_WATCHES, path, kind)
}

/// Lists of paths: data, exists, child; and with `setWatches2` persistent, recursive.
pub fn set_watches(op: i32, since: i64, lists: &[&[&str]]) -> Request {
    let body = Body::new().long(since);
    request(
        op,
        lists.iter().fold(body, |body, list| strings(body, list)),
    )
}

pub fn auth(scheme: &str, proof: Option<&[u8]>) -> Request {
    request(op::AUTH, nullable(Body::new().int(0).string(scheme), proof))
}

/// The text parts may be null.
pub fn reconfig(parts: [Option<&str>; 3], version: i64) -> Request {
    let body = parts.iter().fold(Body::new(), |body, part| {
        nullable(body, part.map(str::as_bytes))
    });
    request(op::RECONFIG, body.long(version))
}

pub fn sasl(token: &[u8]) -> Request {
    request(op::SASL, Body::new().buffer(token))
}

/// The prefix may be null.
pub fn get_ephemerals(prefix: Option<&str>) -> Request {
    let body = nullable(Body::new(), prefix.map(str::as_bytes));
    request(op::GET_EPHEMERALS, body)
}
