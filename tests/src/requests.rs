//! Random requests, sensible and silly, and replies made comparable between two servers: times,
//! session ids and the order of children, which ZooKeeper leaves open, are taken out.

use std::fmt::Write as _;

use crate::client::{Reply, stat};
use crate::random::Random;
use crate::wire::{Body, Fields};

/// Operations by their numbers.
mod op {
    pub(super) const CREATE: i32 = 1;
    pub(super) const DELETE: i32 = 2;
    pub(super) const EXISTS: i32 = 3;
    pub(super) const GET_DATA: i32 = 4;
    pub(super) const SET_DATA: i32 = 5;
    pub(super) const GET_ACL: i32 = 6;
    pub(super) const SET_ACL: i32 = 7;
    pub(super) const GET_CHILDREN: i32 = 8;
    pub(super) const SYNC: i32 = 9;
    pub(super) const PING: i32 = 11;
    pub(super) const GET_CHILDREN2: i32 = 12;
    pub(super) const CHECK: i32 = 13;
    pub(super) const MULTI: i32 = 14;
    pub(super) const CREATE2: i32 = 15;
    pub(super) const CREATE_CONTAINER: i32 = 19;
    pub(super) const CREATE_TTL: i32 = 21;
    pub(super) const AUTH: i32 = 100;
    pub(super) const SET_WATCHES: i32 = 101;
}

/// One request.
pub struct Request {
    pub xid: i32,
    pub op: i32,
    pub body: Vec<u8>,
    /// For the reader of a failure.
    pub text: String,
}

/// Draws requests over a small set of paths, so that they meet.
pub struct Requests {
    random: Random,
    xid: i32,
}

/// Parents and names: few, so that most paths exist now and then.
const NAMES: &[&str] = &["a", "b", "c", "dd", "e-"];

/// Paths that are no paths, or strange ones.
const ODD_PATHS: &[&str] = &[
    "",
    "/",
    "a",
    "//",
    "/a/",
    "/a//b",
    "/./a",
    "/a/..",
    "/a/.",
    "/..",
    "/...",
    "/\u{fc}",
    "/a b",
    "/a\u{1}",
    "/a\u{7f}",
    "/a\u{fffd}",
    "/a\u{f8ff}",
    "/none/at/all",
    "/zookeeper",
    "/zookeeper/config",
];

impl Requests {
    pub fn new(random: Random) -> Self {
        Self { random, xid: 0 }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn path(&mut self) -> String {
        if self.chance(4) {
            return self.pick(ODD_PATHS).into();
        }
        let depth = 1 + self.random.below(3);
        let mut path = String::new();
        for _ in 0..depth {
            let name = self.pick(NAMES);
            let _ = write!(path, "/{name}");
        }
        if self.chance(10) {
            let _ = write!(path, "{:010}", self.random.below(6));
        }
        path
    }

    fn version(&mut self) -> i32 {
        if self.chance(60) {
            -1
        } else {
            self.random.below(5) as i32 - 2
        }
    }

    fn data(&mut self, body: Body) -> Body {
        match self.random.below(8) {
            0 => body.int(-1),
            1 => body.buffer(b""),
            2 => body.buffer(&[7; 3_000]),
            _ => body.buffer(&self.random.next_u64().to_be_bytes()),
        }
    }

    /// `forms` leaves out the first ones: null is form 0.
    fn acl(&mut self, body: Body, forms: std::ops::Range<u64>) -> Body {
        let digest = "user:smGaoVKd/cQkjm7b88GyorAUz20=";
        match forms.start + self.random.below(forms.end - forms.start) {
            0 => body.int(-1),
            1 => body.int(0),
            2 => body.int(1).int(31).string("auth").string(""),
            3 => body.int(1).int(31).string("digest").string(digest),
            4 => body.int(1).int(31).string("digest").string("no-colon"),
            5 => body.int(1).int(31).string("ip").string("127.0.0.0/8"),
            6 => body.int(1).int(31).string("ip").string("300.1.1.1"),
            7 => body.int(1).int(1).string("world").string("anyone"),
            8 => body.int(1).int(31).string("world").string("somebody"),
            9 => body.int(1).int(31).string("nonsense").string("x"),
            10 => body
                .int(2)
                .int(31)
                .string("world")
                .string("anyone")
                .int(31)
                .string("world")
                .string("anyone"),
            11 => body
                .int(2)
                .int(17)
                .string("world")
                .string("anyone")
                .int(14)
                .string("ip")
                .string("127.0.0.1"),
            12 => body.int(1).int(19).string("world").string("anyone"),
            _ => body.open_acl(),
        }
    }

    fn flags(&mut self) -> i32 {
        if self.chance(3) {
            self.pick(&[-1, 7, 9, 4])
        } else {
            self.pick(&[0, 0, 0, 1, 2, 3])
        }
    }

    fn create(&mut self, path: &str, forms: std::ops::Range<u64>) -> Body {
        let body = Body::new().string(path);
        let body = self.data(body);
        let body = self.acl(body, forms);
        let flags = self.flags();
        body.int(flags)
    }

    /// One request of any kind.
    pub fn draw(&mut self) -> Request {
        self.xid += 1;
        let path = self.path();
        let named = || Body::new().string(&path);
        // ZooKeeper reads the root by an empty path too, but a watch on that never fires.
        let watch = if path.is_empty() {
            0
        } else {
            self.random.below(3) / 2
        };
        let read = named().byte(watch as u8);
        let version = self.version();
        let (op, body) = match self.random.below(40) {
            0..=7 => (op::CREATE, self.create(&path, 0..20)),
            8..=9 => (op::CREATE2, self.create(&path, 0..20)),
            10 => {
                let body = self.data(named());
                (op::CREATE_CONTAINER, self.acl(body, 0..20).int(4))
            }
            11 => {
                let body = self.data(named());
                (op::CREATE_TTL, self.acl(body, 0..20).int(5).long(1_000))
            }
            12..=15 => (op::DELETE, named().int(version)),
            16..=20 => {
                let body = self.data(named());
                (op::SET_DATA, body.int(version))
            }
            21..=22 => {
                let body = self.acl(named(), 0..20);
                (op::SET_ACL, body.int(version))
            }
            23..=25 => (op::EXISTS, read),
            26..=28 => (op::GET_DATA, read),
            29 => (op::GET_CHILDREN, read),
            30..=31 => (op::GET_CHILDREN2, read),
            32..=33 => (op::GET_ACL, named()),
            34 => (op::SYNC, named()),
            35 => (op::PING, Body::new()),
            36 => (op::SET_WATCHES, self.set_watches()),
            37 => return self.authentication(),
            _ => (op::MULTI, self.multi()),
        };
        let xid = if op == op::PING { -2 } else { self.xid };
        // Cut short only where nothing is written: an undecodable write has a zxid here, for it
        // goes through the log like every refused one, and none in ZooKeeper.
        let reads = [
            op::EXISTS,
            op::GET_DATA,
            op::GET_CHILDREN2,
            op::GET_ACL,
            op::SYNC,
        ];
        let body = if reads.contains(&op) && self.chance(4) {
            self.cut(body)
        } else {
            body.bytes()
        };
        let text = format!("op {op} {path:?}, body {body:02x?}");
        Request {
            xid,
            op,
            body,
            text,
        }
    }

    /// The record without its end.
    fn cut(&mut self, body: Body) -> Vec<u8> {
        let mut bytes = body.bytes();
        let keep = self.random.below(bytes.len() as u64 + 1);
        bytes.truncate(keep as usize);
        bytes
    }

    fn authentication(&mut self) -> Request {
        let auth = self.pick(&["user:secret", "other:secret", "user"]);
        let body = Body::new().int(0).string("digest").string(auth).bytes();
        Request {
            xid: -4,
            op: op::AUTH,
            body,
            text: format!("auth digest {auth}"),
        }
    }

    fn set_watches(&mut self) -> Body {
        // Relative to a zxid of the first minutes of a server's life.
        let mut body = Body::new().long(self.random.below(300) as i64);
        for _ in 0..3 {
            let count = self.random.below(3) as i32;
            body = body.int(count);
            for _ in 0..count {
                let path = self.path();
                body = body.string(if path.is_empty() { "/" } else { &path });
            }
        }
        body
    }

    /// Without null ACLs, which make it undecodable for ZooKeeper.
    fn multi(&mut self) -> Body {
        let mut body = Body::new();
        for _ in 0..self.random.below(5) {
            let path = self.path();
            let version = self.version();
            let named = Body::new().string(&path);
            let (op, sub) = match self.random.below(12) {
                0..=4 => (op::CREATE, self.create(&path, 1..20)),
                5..=6 => (op::DELETE, named.int(version)),
                7..=8 => (op::CHECK, named.int(version)),
                9 => (op::CREATE2, self.create(&path, 1..20)),
                _ => (op::SET_DATA, self.data(named).int(version)),
            };
            body = body.int(op).byte(0).int(-1).raw(&sub.bytes());
        }
        body.int(-1).byte(1).int(-1)
    }
}

/// A reply as text that two servers with the same history agree on. `sessions` are the ids of the
/// test's sessions on that server, in the same order for both.
pub fn normalised(request: &Request, reply: &Reply, sessions: &[i64]) -> String {
    let mut text = format!("zxid {:#x} error {}", reply.zxid, reply.error);
    if reply.error == 0 {
        let mut fields = Fields::new(&reply.body);
        match request.op {
            op::MULTI => multi_results(&mut text, &mut fields, sessions),
            op => result(&mut text, op, &mut fields, sessions),
        }
        let _ = write!(text, " rest {:?}", fields.rest());
    } else {
        let _ = write!(text, " body {:?}", reply.body);
    }
    text
}

fn result(text: &mut String, op: i32, fields: &mut Fields<'_>, sessions: &[i64]) {
    match op {
        op::CREATE | op::SYNC => drop(write!(text, " path {:?}", fields.string())),
        op::CREATE2 | op::CREATE_CONTAINER => {
            let _ = write!(text, " path {:?}", fields.string());
            put_stat(text, fields, sessions);
        }
        op::EXISTS | op::SET_DATA | op::SET_ACL => put_stat(text, fields, sessions),
        op::GET_DATA => {
            let _ = write!(text, " data {:?}", fields.buffer());
            put_stat(text, fields, sessions);
        }
        op::GET_ACL => {
            // Several identities of one `auth` entry come in no defined order.
            let one = |fields: &mut Fields<'_>| (fields.int(), fields.string(), fields.string());
            let mut entries: Vec<_> = (0..fields.int()).map(|_| one(fields)).collect();
            entries.sort();
            let _ = write!(text, " acl {entries:?}");
            put_stat(text, fields, sessions);
        }
        op::GET_CHILDREN | op::GET_CHILDREN2 => {
            let mut names = fields.strings();
            names.sort();
            let _ = write!(text, " children {names:?}");
            if op == op::GET_CHILDREN2 {
                put_stat(text, fields, sessions);
            }
        }
        _ => {}
    }
}

fn put_stat(text: &mut String, fields: &mut Fields<'_>, sessions: &[i64]) {
    let mut stat = stat(fields);
    assert!(stat.mtime >= stat.ctime, "{stat:?}");
    (stat.ctime, stat.mtime) = (0, 0);
    if let Some(index) = sessions.iter().position(|id| *id == stat.ephemeral_owner) {
        stat.ephemeral_owner = index as i64 + 1;
    }
    let _ = write!(text, " {stat:?}");
}

fn multi_results(text: &mut String, fields: &mut Fields<'_>, sessions: &[i64]) {
    loop {
        let (op, done, error) = (fields.int(), fields.byte(), fields.int());
        let _ = write!(text, " [{op} {done} {error}");
        if done == 1 {
            text.push(']');
            return;
        }
        if op == -1 {
            let _ = write!(text, " {}", fields.int());
        } else {
            result(text, op, fields, sessions);
        }
        text.push(']');
    }
}
