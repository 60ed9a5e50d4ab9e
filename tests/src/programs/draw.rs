//! Draws programs. Few names and small numbers, so that steps meet; every operation of 3.9, legal
//! and illegal; now and then a record that is none.
//!
//! Not drawn are the few things in which Vivarium is listed to differ: deleteContainer and
//! createSession, which ZooKeeper carries out for anybody; a quota inside another one, or with
//! limits that can not be read; writes to `zookeeper_stats`; a null path or id together with
//! anything else that is wrong; and createTTL with a negative time to live and without the flag,
//! of which ZooKeeper dies. Nor are writes that follow a setACL in one burst: ZooKeeper may judge
//! them by the list that is being replaced.

use super::{Body, Field, Hello, Password, Program, Request, SLOTS, Seen, Step, Twist};
use crate::ask::op;
use crate::random::Random;

/// Names at each depth.
const NAMES: &[&str] = &["a", "b", "c-"];

/// Paths that are no paths, or strange ones, below the program's node.
const ODD_BELOW: &[&str] = &[
    "/",
    "//",
    "/a/",
    "/a//b",
    "/./a",
    "/a/..",
    "/...",
    "/\u{fc}",
    "/a b",
    "/a\u{1}",
    "/a\u{0}",
    "/a\u{7f}",
    "/a\u{fffd}",
    "/a\u{f8ff}",
    "/a\u{f900}",
    "/none/at/all",
];

const ODD_PLAIN: &[&str] = &[
    "",
    "/",
    "a",
    "//",
    "/..",
    "/none",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
];

const READS: &[i32] = &[
    op::EXISTS,
    op::GET_DATA,
    op::GET_CHILDREN,
    op::GET_CHILDREN2,
];

/// Per cent of the programs that are about quotas.
const QUOTAS: u64 = 12;

/// Per cent of the creates with a null that ZooKeeper fails on.
const NULLS: u64 = 1;

/// Operations that no client may ask for, or that there are not: they end the connection.
pub const UNKNOWN: &[i32] = &[0, 10, op::CHECK, 23, 99, 108, -1, -2, 1_000_000, i32::MIN];

const DIGEST: &str = "user:smGaoVKd/cQkjm7b88GyorAUz20=";

/// Draws from one number.
pub struct Draw {
    random: Random,
    xids: [i32; SLOTS],
    /// Servers to connect to.
    servers: usize,
    /// What has a quota, below the program's node, in a program that is about quotas.
    quota: Option<&'static str>,
}

/// The program of this number, for so many servers.
pub fn program(seed: u64, servers: usize) -> Program {
    let mut draw = Draw {
        random: Random::new(seed),
        xids: [0; SLOTS],
        servers,
        quota: None,
    };
    if draw.chance(QUOTAS) {
        draw.quota = Some(draw.pick(&["/a", "/a", "/a/b", ""]));
    }
    let mut steps = Vec::new();
    for slot in 0..2 {
        steps.push(draw.open(slot));
    }
    if draw.quota.is_some() {
        steps.push(draw.quota(0));
    }
    for _ in 0..8 + draw.below(20) {
        steps.push(draw.step());
    }
    Program { seed, steps }
}

/// Is there a null that ZooKeeper fails on when its turn comes, Vivarium before anything else?
fn has_null(op: i32, fields: &[Field]) -> bool {
    let null = Field::Buffer(None);
    fields.first() == Some(&null) || (is_create(op) && fields[2..].contains(&null))
}

/// Is it a container or a TTL node by its operation, and ephemeral by its flags? ZooKeeper refuses
/// it children until its transaction is applied, which makes it no ephemeral node.
fn is_two_things(op: i32, fields: &[Field]) -> bool {
    let flags = match op {
        op::CREATE_CONTAINER => fields.len() - 1,
        op::CREATE_TTL => fields.len() - 2,
        _ => return false,
    };
    matches!(fields[flags], Field::Int(1 | 3))
}

fn is_create(op: i32) -> bool {
    matches!(
        op,
        op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL
    )
}

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn slot(&mut self) -> usize {
        self.pick(&[0, 0, 0, 1, 1, 2])
    }

    fn server(&mut self) -> usize {
        self.below(self.servers as u64) as usize
    }

    // ----- steps -----

    fn step(&mut self) -> Step {
        let slot = self.slot();
        match self.below(100) {
            0..=2 => self.open(slot),
            3..=6 => self.resume(slot),
            7 => Step::Drop { slot },
            8 => self.raw(slot),
            // ZooKeeper judges a write by what its quota held before those that are under way.
            9..=16 if self.quota.is_none() => self.burst(slot),
            9..=10 if self.quota.is_some() => self.quota(slot),
            17..=20 => self.authenticate(slot),
            21 => self.last(slot),
            _ => {
                let request = self.request(slot);
                Step::Ask {
                    slot,
                    requests: vec![request],
                }
            }
        }
    }

    fn hello(&mut self) -> Hello {
        let timeout_ms = if self.chance(70) {
            10_000
        } else {
            self.pick(&[0, -1, 9_000, 1_000_000, i32::MAX, i32::MIN])
        };
        let read_only = self.pick(&[None, Some(0), Some(0), Some(1)]);
        let seen = if self.chance(80) {
            Seen::Nothing
        } else {
            self.pick(&[Seen::Newest, Seen::Base, Seen::Ahead])
        };
        let password = if self.chance(80) {
            Some(vec![0; 16])
        } else {
            self.pick(&[None, Some(0), Some(3), Some(40)])
                .map(|n| vec![7; n])
        };
        Hello {
            timeout_ms,
            read_only,
            seen,
            password,
        }
    }

    fn open(&mut self, slot: usize) -> Step {
        let (server, hello) = (self.server(), self.hello());
        self.xids[slot] = 0;
        Step::Open {
            slot,
            server,
            hello,
        }
    }

    fn resume(&mut self, slot: usize) -> Step {
        let of = if self.chance(70) { slot } else { self.slot() };
        let password = if self.chance(80) {
            Password::Right
        } else {
            self.pick(&[Password::Wrong, Password::Short, Password::Null])
        };
        let (server, hello) = (self.server(), self.hello());
        self.xids[slot] = 0;
        Step::Resume {
            slot,
            of,
            server,
            hello,
            password,
        }
    }

    /// Frames that are none: all of them end the connection.
    fn raw(&mut self, slot: usize) -> Step {
        let frame = |length: i32, bytes: &[u8]| [&length.to_be_bytes(), bytes].concat();
        let (bytes, replies) = match self.below(6) {
            0 => (frame(-1, &[]), 0),
            1 => (frame(i32::MIN, &[]), 0),
            2 => (frame(0x10_0000, &[]), 0),
            3 => (frame(0, &[]), 0),
            4 => (frame(7, &[0; 7]), 0),
            // A second ConnectRequest: read as an operation 0.
            _ => (frame(45, &[0; 45]), 1),
        };
        Step::Raw {
            slot,
            bytes,
            replies,
        }
    }

    /// Several requests sent ahead of their replies. None that ZooKeeper answers out of order.
    fn burst(&mut self, slot: usize) -> Step {
        let count = 2 + self.below(4);
        let mut requests: Vec<_> = (0..count).map(|_| self.request(slot)).collect();
        requests.retain(|request| {
            let is_two = matches!(&request.body,
                Body::Fields(fields) if is_two_things(request.op, fields));
            !is_two && !matches!(request.op, op::SASL | op::RECONFIG)
        });
        // ZooKeeper judges what follows by the old list until the new one has been applied.
        if let Some(set) = requests.iter().position(|r| r.op == op::SET_ACL) {
            requests.truncate(set + 1);
        }
        if self.chance(5) {
            requests.push(self.fields(slot, op::CLOSE_SESSION, Vec::new()));
        }
        Step::Ask { slot, requests }
    }

    fn quota(&mut self, slot: usize) -> Step {
        let base = self.quota.expect("a program about quotas");
        let limits = self.pick(&[
            "count=2,bytes=-1",
            "count=3,bytes=20",
            "count=1,bytes=10=;byteHardLimit=20;countHardLimit=2",
            "count=1,bytes=10=;byteHardLimit=12",
            "countHardLimit=3",
            "byteHardLimit=8;countHardLimit=4",
        ]);
        let mut requests = Vec::new();
        let mut create = |draw: &mut Self, path: String, data: &str| {
            let fields = vec![
                Field::Quota(path),
                Field::Buffer(Some(data.into())),
                Field::Int(1),
                Field::Int(31),
                Field::Plain("world".into()),
                Field::Plain("anyone".into()),
                Field::Int(0),
            ];
            requests.push(draw.fields(slot, op::CREATE, fields));
        };
        let mut path = String::new();
        for name in base.split('/').skip(1) {
            path.push('/');
            path.push_str(name);
            create(self, path.clone(), "");
        }
        let mut leaves = vec!["zookeeper_stats", "zookeeper_limits"];
        if self.chance(30) {
            leaves.reverse();
        }
        for leaf in leaves {
            create(self, format!("{base}/{leaf}"), limits);
        }
        Step::Ask { slot, requests }
    }

    fn authenticate(&mut self, slot: usize) -> Step {
        let text = |text: &str| Field::Buffer(Some(text.into()));
        let (scheme, auth) = match self.below(20) {
            0..=6 => (text("digest"), text("user:secret")),
            7..=10 => (text("digest"), text("other:pass:word")),
            11..=12 => (text("digest"), text("nobody")),
            13..=15 => (text("digest"), text("super:test")),
            16 => (text("ip"), text("1.2.3.4")),
            17 => (text("digest"), Field::Buffer(None)),
            18 => (text("digest"), text("")),
            _ => {
                let schemes = ["world", "auth", "super", "x", "", "x509"];
                (text(self.pick(&schemes)), text("anyone"))
            }
        };
        let mut request = self.fields(slot, op::AUTH, vec![Field::Int(0), scheme, auth]);
        request.xid = self.pick(&[-4, -4, 7]);
        Step::Ask {
            slot,
            requests: vec![request],
        }
    }

    /// What ends the connection.
    fn last(&mut self, slot: usize) -> Step {
        let op = if self.chance(60) {
            op::CLOSE_SESSION
        } else {
            self.pick(UNKNOWN)
        };
        let request = self.fields(slot, op, vec![Field::Below("/a".into()), Field::Int(-1)]);
        Step::Ask {
            slot,
            requests: vec![request],
        }
    }

    // ----- requests -----

    fn xid(&mut self, slot: usize) -> i32 {
        if self.chance(4) {
            return self.pick(&[0, -2, -4, -8, 1, i32::MAX, i32::MIN]);
        }
        self.xids[slot] += 1;
        self.xids[slot]
    }

    fn fields(&mut self, slot: usize, op: i32, fields: Vec<Field>) -> Request {
        Request {
            xid: self.xid(slot),
            op,
            body: Body::Fields(fields),
            twist: None,
        }
    }

    fn request(&mut self, slot: usize) -> Request {
        let (op, body) = match self.below(100) {
            0..=40 => self.write(),
            41..=62 => self.read(),
            63..=72 => (op::MULTI, Body::Parts(self.parts())),
            73..=75 => (op::MULTI_READ, Body::Parts(self.read_parts())),
            76..=90 => self.watch(),
            _ => self.other(),
        };
        let is_null = matches!(&body, Body::Fields(fields) if has_null(op, fields));
        let twist = (self.may_twist(op) && !is_null && self.chance(4)).then(|| self.twist(op));
        Request {
            xid: self.xid(slot),
            op,
            body,
            twist,
        }
    }

    fn write(&mut self) -> (i32, Body) {
        let (op, fields) = match self.below(41) {
            0..=19 => {
                let op = self.pick(&[op::CREATE, op::CREATE, op::CREATE, op::CREATE2]);
                (op, self.create(op))
            }
            20..=21 => (op::CREATE_CONTAINER, self.create(op::CREATE_CONTAINER)),
            22..=24 => (op::CREATE_TTL, self.create(op::CREATE_TTL)),
            25..=31 => (op::DELETE, self.versioned()),
            32..=38 => (op::SET_DATA, self.set_data()),
            _ => (op::SET_ACL, self.set_acl()),
        };
        (op, Body::Fields(fields))
    }

    fn read(&mut self) -> (i32, Body) {
        let (op, fields) = match self.below(22) {
            0..=14 => {
                let watch = Field::Byte(self.pick(&[0, 1, 1, 2]));
                (self.pick(READS), vec![self.known(), watch])
            }
            15..=17 => (op::GET_ACL, vec![self.known()]),
            18..=19 => (op::GET_EPHEMERALS, vec![self.prefix()]),
            _ => (op::GET_ALL_CHILDREN_NUMBER, vec![self.known()]),
        };
        (op, Body::Fields(fields))
    }

    fn watch(&mut self) -> (i32, Body) {
        let (op, fields) = match self.below(15) {
            0..=5 => {
                let mode = self.pick(&[0, 0, 0, 1, 1, 1, 2, -1]);
                (op::ADD_WATCH, vec![self.known(), Field::Int(mode)])
            }
            6..=9 => {
                let kind = self.pick(&[1, 2, 3, 3, 4, 5, 0, 6]);
                let op = self.pick(&[op::CHECK_WATCHES, op::REMOVE_WATCHES]);
                (op, vec![self.known(), Field::Int(kind)])
            }
            _ => {
                let op = self.pick(&[op::SET_WATCHES, op::SET_WATCHES2]);
                (op, self.set_watches(op))
            }
        };
        (op, Body::Fields(fields))
    }

    fn other(&mut self) -> (i32, Body) {
        let (op, fields) = match self.below(9) {
            0..=1 => (op::SYNC, vec![self.path()]),
            2 => (op::PING, Vec::new()),
            3..=5 => (op::WHO_AM_I, Vec::new()),
            6..=7 => {
                let token = self.pick(&[None, Some(0), Some(5)]).map(|n| vec![9; n]);
                (op::SASL, vec![Field::Buffer(token)])
            }
            _ => (op::RECONFIG, self.reconfig()),
        };
        (op, Body::Fields(fields))
    }

    /// A twisted time to live could kill ZooKeeper. And its follower waits for ever for a write
    /// that its leader can not decode, and with it all writes behind.
    fn may_twist(&self, op: i32) -> bool {
        let is_write = matches!(
            op,
            op::CREATE
                | op::CREATE2
                | op::CREATE_CONTAINER
                | op::DELETE
                | op::SET_DATA
                | op::SET_ACL
                | op::RECONFIG
        );
        op != op::CREATE_TTL && (self.servers == 1 || !is_write)
    }

    fn twist(&mut self, op: i32) -> Twist {
        let at = self.below(1_001) as u16;
        match self.below(3) {
            0 => Twist::Cut(at),
            1 => Twist::Trailing(self.pick(&[1, 4, 60])),
            _ => {
                let least = if has_lists(op) { -2 } else { -1 };
                Twist::Patch(at, self.pick(&[least, -2, i32::MIN, i32::MAX, 0]))
            }
        }
    }

    fn name(&mut self) -> String {
        let depth = self.pick(&[1, 1, 1, 2, 2, 3]);
        let mut path = String::new();
        for _ in 0..depth {
            path.push('/');
            path.push_str(self.pick(NAMES));
        }
        if self.chance(10) {
            path.push_str(&format!("{:010}", self.below(6)));
        }
        path
    }

    fn path(&mut self) -> Field {
        if let Some(base) = self.quota
            && self.chance(50)
        {
            let name = self.pick(&["", "", "/a", "/b", "/c-", "/d"]);
            return Field::Below(format!("{base}{name}"));
        }
        match self.below(100) {
            0..=2 => Field::Below(self.pick(ODD_BELOW).into()),
            3..=4 => Field::Plain(self.pick(ODD_PLAIN).into()),
            5 => Field::Below(String::new()),
            11 if self.chance(20) => Field::Buffer(None),
            _ => Field::Below(self.name()),
        }
    }

    /// A path for what does not write: a quota's own nodes, too.
    fn known(&mut self) -> Field {
        let quotas_own = self.chance(15);
        match self.quota {
            Some(base) if quotas_own => {
                let leaf = self.pick(&["/zookeeper_stats", "/zookeeper_limits", ""]);
                Field::Quota(format!("{base}{leaf}"))
            }
            _ => self.path(),
        }
    }

    /// A path to set a watch on again. ZooKeeper keeps some of those on null.
    fn watched(&mut self) -> Field {
        match self.known() {
            Field::Buffer(None) => Field::Below(String::new()),
            path => path,
        }
    }

    /// What paths of ephemeral nodes may begin with.
    fn prefix(&mut self) -> Field {
        match self.below(6) {
            0 => Field::Buffer(None),
            1 => Field::Plain(self.pick(&["", "/", " "]).into()),
            2 => Field::Below(String::new()),
            _ => self.path(),
        }
    }

    fn version(&mut self) -> Field {
        Field::Int(if self.chance(60) {
            -1
        } else {
            self.pick(&[0, 0, 1, 1, 2, 3, -2, i32::MIN])
        })
    }

    fn data(&mut self) -> Field {
        Field::Buffer(match self.below(12) {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(vec![7; 3_000]),
            n => Some(vec![b'x'; n as usize]),
        })
    }

    fn entry(&mut self, perms: &[i32], out: &mut Vec<Field>) {
        let (scheme, id) = match self.below(20) {
            0..=5 => ("world", "anyone"),
            6..=8 => ("auth", ""),
            9..=10 => ("digest", DIGEST),
            11 => ("digest", self.pick(&["no-colon", "a:b:c", ":h", "u:"])),
            12 => ("ip", "127.0.0.0/8"),
            13 => (
                "ip",
                self.pick(&["300.1.1.1", "127.0.0.1", "::1", "1:2::/64", "127.0.0.1/33"]),
            ),
            14 => ("world", "somebody"),
            15 => ("nonsense", "x"),
            16 => (self.pick(&["super", "x509", "sasl", ""]), "x"),
            _ => ("world", "anyone"),
        };
        out.push(Field::Int(self.pick(perms)));
        out.push(Field::Plain(scheme.into()));
        out.push(Field::Plain(id.into()));
    }

    fn acl(&mut self, out: &mut Vec<Field>) {
        let count = match self.below(40) {
            0 => return out.push(Field::Int(-1)),
            1 => 0,
            2..=24 => {
                out.push(Field::Int(1));
                out.push(Field::Int(31));
                out.push(Field::Plain("world".into()));
                return out.push(Field::Plain("anyone".into()));
            }
            25..=34 => 1,
            _ => 2 + self.below(2),
        };
        out.push(Field::Int(count as i32));
        let perms = [31, 31, 31, 1, 2, 4, 8, 16, 17, 14, 0, 255, -1];
        for _ in 0..count {
            self.entry(&perms, out);
        }
    }

    fn create(&mut self, op: i32) -> Vec<Field> {
        if self.chance(NULLS) {
            return self.create_with_null(op);
        }
        let mut fields = vec![self.path(), self.data()];
        self.acl(&mut fields);
        if fields[0] == Field::Buffer(None) {
            fields[0] = Field::Below(self.name());
        }
        let flags = match op {
            op::CREATE_TTL => self.pick(&[5, 5, 5, 6, 6, 0, 1, 4, 9]),
            op::CREATE_CONTAINER => self.pick(&[4, 4, 4, 0, 1, 2, 3, 5]),
            _ => self.pick(&[0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 7, -1]),
        };
        fields.push(Field::Int(flags));
        if op == op::CREATE_TTL {
            // None so short that it could end within the program.
            let mut ttl = self.pick(&[1_000_000, 1_000_000, 0, -5, (1 << 40) - 1, 1 << 40]);
            if !matches!(flags, 5 | 6) {
                ttl = ttl.max(0);
            }
            fields.push(Field::Long(ttl));
        }
        fields
    }

    /// Nothing else is wrong with it.
    fn create_with_null(&mut self, op: i32) -> Vec<Field> {
        let (path, id) = if self.chance(50) {
            (Field::Buffer(None), Field::Plain("anyone".into()))
        } else {
            (Field::Below(self.name()), Field::Buffer(None))
        };
        let mut fields = vec![path, self.data(), Field::Int(1), Field::Int(31)];
        fields.extend([Field::Plain("world".into()), id]);
        match op {
            op::CREATE_TTL => fields.extend([Field::Int(5), Field::Long(1_000_000)]),
            op::CREATE_CONTAINER => fields.push(Field::Int(4)),
            _ => fields.push(Field::Int(self.pick(&[0, 1, 2, 3]))),
        }
        fields
    }

    fn versioned(&mut self) -> Vec<Field> {
        vec![self.known(), self.version()]
    }

    fn set_data(&mut self) -> Vec<Field> {
        vec![self.path(), self.data(), self.version()]
    }

    fn set_acl(&mut self) -> Vec<Field> {
        let mut fields = vec![self.path()];
        self.acl(&mut fields);
        fields.push(self.version());
        fields
    }

    fn reconfig(&mut self) -> Vec<Field> {
        let text = |s: Option<&str>| Field::Buffer(s.map(Into::into));
        vec![
            text(self.pick(&[None, Some("server.4=h:1:2;3")])),
            text(self.pick(&[None, Some("1")])),
            text(None),
            Field::Long(self.pick(&[-1, 0])),
        ]
    }

    fn set_watches(&mut self, op: i32) -> Vec<Field> {
        let seen = self.pick(&[Seen::Nothing, Seen::Newest, Seen::Base, Seen::Ahead]);
        let mut fields = vec![Field::Seen(seen)];
        for _ in 0..if op == op::SET_WATCHES { 3 } else { 5 } {
            let count = self.pick(&[0, 0, 1, 2]);
            fields.push(Field::Int(count));
            for _ in 0..count {
                let path = self.watched();
                fields.push(path);
            }
        }
        fields
    }

    fn parts(&mut self) -> Vec<(i32, Vec<Field>)> {
        let count = self.pick(&[0, 1, 2, 2, 3, 3, 4, 5]);
        let mut parts = Vec::new();
        for _ in 0..count {
            let op = match self.below(40) {
                0..=13 => op::CREATE,
                14..=16 => op::CREATE2,
                17..=18 => op::CREATE_CONTAINER,
                19..=20 => op::CREATE_TTL,
                21..=25 => op::DELETE,
                26..=31 => op::SET_DATA,
                32..=38 => op::CHECK,
                _ => self.pick(&[op::SET_ACL, op::GET_DATA, op::RECONFIG, 99]),
            };
            let fields = match op {
                op::CREATE | op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => self.create(op),
                op::SET_DATA => self.set_data(),
                op::SET_ACL => self.set_acl(),
                _ => self.versioned(),
            };
            // Of a multi with a null access list ZooKeeper's leader makes no transaction, and its
            // follower waits for it for ever.
            let hangs = self.servers > 1 && is_create(op) && fields[2] == Field::Int(-1);
            if !hangs && !has_null(op, &fields) && !is_two_things(op, &fields) {
                parts.push((op, fields));
            }
        }
        parts
    }

    fn read_parts(&mut self) -> Vec<(i32, Vec<Field>)> {
        let count = self.pick(&[0, 1, 2, 3, 4]);
        let mut parts = Vec::new();
        for _ in 0..count {
            let op = if self.chance(3) {
                self.pick(&[op::EXISTS, op::CHECK, op::GET_CHILDREN2])
            } else {
                self.pick(&[op::GET_DATA, op::GET_CHILDREN])
            };
            parts.push((op, vec![self.known(), Field::Byte(self.pick(&[0, 1]))]));
        }
        parts
    }
}

/// Has it lists in which a null is a matter of taste: paths of setWatches, entries of access lists?
fn has_lists(op: i32) -> bool {
    matches!(
        op,
        op::SET_WATCHES
            | op::SET_WATCHES2
            | op::CREATE
            | op::CREATE2
            | op::CREATE_CONTAINER
            | op::CREATE_TTL
            | op::SET_ACL
            | op::MULTI
    )
}
