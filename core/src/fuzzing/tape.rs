//! The fuzzer's bytes read as decisions, and requests that are well-formed unless they are meant
//! not to be: without this help a fuzzer would spend its life on length words.

use alloc::vec::Vec;

use crate::wire::jute::Write;
use crate::wire::records::op;

/// Bytes to decide by. At the end everything is 0.
pub(super) struct Tape<'a>(&'a [u8]);

const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/b",
    "/c-",
    "/zookeeper/config",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "",
    "a//",
    "/a/",
    "/\u{0}",
    "/none",
    "/a/b0000000001",
];

const OPS: &[i32] = &[
    op::CREATE,
    op::CREATE2,
    op::CREATE_CONTAINER,
    op::CREATE_TTL,
    op::DELETE,
    op::EXISTS,
    op::GET_DATA,
    op::SET_DATA,
    op::GET_ACL,
    op::SET_ACL,
    op::GET_CHILDREN,
    op::GET_CHILDREN2,
    op::SYNC,
    op::PING,
    op::MULTI,
    op::MULTI_READ,
    op::CHECK,
    op::RECONFIG,
    op::CHECK_WATCHES,
    op::REMOVE_WATCHES,
    op::ADD_WATCH,
    op::SET_WATCHES,
    op::SET_WATCHES2,
    op::GET_EPHEMERALS,
    op::GET_ALL_CHILDREN_NUMBER,
    op::WHO_AM_I,
    op::AUTH,
    op::SASL,
    op::CLOSE_SESSION,
    op::CREATE_SESSION,
];

const ACLS: &[(i32, &str, &str)] = &[
    (31, "world", "anyone"),
    (1, "world", "anyone"),
    (31, "auth", ""),
    (31, "digest", "u:bqPjTxKbSFKVgqX9JnJzbYyQ3KI="),
    (14, "ip", "127.0.0.0/8"),
    (31, "ip", "nowhere"),
    (31, "x", "y"),
];

const AUTHS: &[(&str, &str)] = &[
    ("digest", "u:p"),
    ("digest", "super:test"),
    ("digest", "nobody"),
    ("ip", ""),
    ("x", "y"),
];

const TEXTS: &[&[u8]] = &[
    b"",
    b"x",
    b"count=1,bytes=-1",
    b"count=2,bytes=9=;byteHardLimit=9;countHardLimit=2",
    b"count=,bytes",
    &[0xff; 40],
];

impl<'a> Tape<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(self.0.len().min(count));
        self.0 = rest;
        front
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// A small number of either sign.
    fn number(&mut self) -> i32 {
        i32::from(self.byte() as i8)
    }

    /// A number of any size: small, or near an end of what fits, or eight bytes as they come.
    pub(super) fn large(&mut self) -> i64 {
        match self.byte() {
            0xff => i64::MAX - i64::from(self.byte()),
            0xfe => i64::MIN + i64::from(self.byte()),
            0xfd => {
                let bytes = self.take(8).first_chunk().copied().unwrap_or_default();
                i64::from_be_bytes(bytes)
            }
            n @ 0x80.. => i64::from(n & 0xf) << 32 | i64::from(self.byte()),
            n => i64::from(n),
        }
    }

    fn path(&mut self, out: &mut Vec<u8>) {
        out.put_string(self.pick(PATHS));
    }

    fn paths(&mut self, out: &mut Vec<u8>) {
        let count = usize::from(self.byte() % 3);
        out.put_count(count);
        (0..count).for_each(|_| self.path(out));
    }

    fn data(&mut self, out: &mut Vec<u8>) {
        match self.byte() {
            0xff => out.put_buffer(None),
            n => out.put_buffer(Some(TEXTS[usize::from(n) % TEXTS.len()])),
        }
    }

    fn acl(&mut self, out: &mut Vec<u8>) {
        let count = match self.byte() {
            0xff => return out.put_i32(-1),
            n => usize::from(n % 4),
        };
        // Most lists are the open one, or nothing could be done with the nodes.
        out.put_count(count.max(1));
        for _ in 0..count.max(1) {
            let (perms, scheme, id) = if count == 0 { ACLS[0] } else { self.pick(ACLS) };
            out.put_i32(perms);
            out.put_string(scheme);
            out.put_string(id);
        }
    }

    fn parts(&mut self, ops: &[i32], out: &mut Vec<u8>) {
        for _ in 0..self.byte() % 4 {
            let op = self.pick(ops);
            out.put_i32(op);
            out.put_bool(false);
            out.put_i32(-1);
            self.body(op, out);
        }
        out.put_i32(-1);
        out.put_bool(true);
        out.put_i32(-1);
    }

    fn body(&mut self, op: i32, out: &mut Vec<u8>) {
        match op {
            op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                self.path(out);
                self.data(out);
                self.acl(out);
                out.put_i32(self.number());
                if op == op::CREATE_TTL {
                    out.put_i64(i64::from(self.number()) * 100);
                }
            }
            op::DELETE | op::CHECK | op::CHECK_WATCHES | op::REMOVE_WATCHES | op::ADD_WATCH => {
                self.path(out);
                out.put_i32(self.number());
            }
            op::EXISTS | op::GET_DATA | op::GET_CHILDREN | op::GET_CHILDREN2 => {
                self.path(out);
                out.put_bool(self.byte() % 2 == 1);
            }
            op::SET_DATA => {
                self.path(out);
                self.data(out);
                out.put_i32(self.number());
            }
            op::SET_ACL => {
                self.path(out);
                self.acl(out);
                out.put_i32(self.number());
            }
            op::GET_ACL | op::SYNC | op::GET_EPHEMERALS | op::GET_ALL_CHILDREN_NUMBER => {
                self.path(out);
            }
            op::MULTI => self.parts(&OPS[..18], out),
            op::MULTI_READ => self.parts(&OPS[5..12], out),
            op::SET_WATCHES | op::SET_WATCHES2 => {
                out.put_i64(i64::from(self.byte()));
                let lists = if op == op::SET_WATCHES { 3 } else { 5 };
                (0..lists).for_each(|_| self.paths(out));
            }
            op::AUTH => {
                let (scheme, auth) = self.pick(AUTHS);
                out.put_i32(0);
                out.put_string(scheme);
                out.put_string(auth);
            }
            op::RECONFIG => {
                (0..3).for_each(|_| self.data(out));
                out.put_i64(i64::from(self.number()));
            }
            op::SASL => self.data(out),
            op::CREATE_SESSION => out.put_i32(self.number()),
            _ => {}
        }
    }

    /// Operation and body, now and then with a byte changed, cut off or too many.
    pub(super) fn request(&mut self) -> (i32, Vec<u8>) {
        let n = self.byte();
        let op = match OPS.get(usize::from(n)) {
            Some(op) => *op,
            None => i32::from(n as i8),
        };
        let mut body = Vec::new();
        self.body(op, &mut body);
        match self.byte() {
            0xf0..=0xf7 => body.truncate(usize::from(self.byte())),
            0xf8..=0xfb => body.extend_from_slice(&[0xff; 5]),
            0xfc..=0xff => {
                let (at, value) = (usize::from(self.byte()), self.byte());
                if let Some(byte) = body.get_mut(at) {
                    *byte = value;
                }
            }
            _ => {}
        }
        (op, body)
    }
}
