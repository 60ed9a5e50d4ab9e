//! Drawn requests over a small set of paths, so that clients get in each other's way. Knows what
//! makes bugs show: creates after deletes below one parent, multis that fail late, conditional
//! writes, reads with watches, writes followed at once by a read elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use vivarium_core::wire::records::{Acl, perms};

use super::ops::{Body, Flags, Op, Path, Reply};
use super::people::Person;
use super::plan::Mix;
use super::secrets;
use crate::observe::ClientId;
use crate::rng::Stream;

/// Kinds of requests; the weights of a [`Mix`] are in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Create,
    CreateSequential,
    CreateEphemeral,
    CreateEphemeralSequential,
    SetData,
    SetDataConditional,
    Delete,
    DeleteSequential,
    MultiGood,
    MultiBad,
    GetData,
    Exists,
    GetChildren,
    GetAcl,
    SetAcl,
    Sync,
    WriteAndRead,
    /// A container, its children, and their end.
    Container,
    /// The same of TTL nodes.
    Ttl,
    AddWatch,
    FindWatch,
    /// Nobody may read a znode any more, until somebody gives it back.
    TakeRead,
    CountBelow,
    Ephemerals,
    /// Quotas are set, their stats are overwritten and looked at.
    Quota,
    MultiRead,
    WhoAmI,
    /// The client proves to be somebody.
    Auth,
    /// A znode that only some may use.
    Guard,
}

impl Kind {
    pub const ALL: &'static [Self] = &[
        Self::Create,
        Self::CreateSequential,
        Self::CreateEphemeral,
        Self::CreateEphemeralSequential,
        Self::SetData,
        Self::SetDataConditional,
        Self::Delete,
        Self::DeleteSequential,
        Self::MultiGood,
        Self::MultiBad,
        Self::GetData,
        Self::Exists,
        Self::GetChildren,
        Self::GetAcl,
        Self::SetAcl,
        Self::Sync,
        Self::WriteAndRead,
        Self::Container,
        Self::Ttl,
        Self::AddWatch,
        Self::FindWatch,
        Self::TakeRead,
        Self::CountBelow,
        Self::Ephemerals,
        Self::Quota,
        Self::MultiRead,
        Self::WhoAmI,
        Self::Auth,
        Self::Guard,
    ];

    /// So many of them are drawn before the rest of a client's character.
    pub const FIRST: usize = 17;

    /// Does it change nothing?
    pub const fn only_looks(self) -> bool {
        matches!(
            self,
            Self::GetData
                | Self::Exists
                | Self::GetChildren
                | Self::GetAcl
                | Self::Sync
                | Self::AddWatch
                | Self::FindWatch
                | Self::CountBelow
                | Self::Ephemerals
                | Self::MultiRead
                | Self::WhoAmI
        )
    }
}

/// What a client does after a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    Stay,
    /// Drop the connection and go to another server at once.
    Elsewhere,
    /// Drop the connection and come back.
    SameServer,
    /// Say nothing more on this connection.
    Mute,
    /// Ask for much and read nothing for a while.
    Deaf,
    /// Drop the connection and come back when the session is dead.
    Vanish,
    Close,
}

const ROOTS: [&str; 3] = ["/a", "/b", "/c"];
const NAMES: [&str; 3] = ["x", "y", "z"];

/// Sequence nodes that a client leaves before it deletes the oldest.
const SEQUENTIAL_MAX: usize = 6;

/// A client that does drawn things.
#[derive(Clone, Debug)]
pub struct Mixed {
    me: ClientId,
    mix: Mix,
    written: u64,
    versions: BTreeMap<Path, i32>,
    sequential: VecDeque<Path>,
    /// Whom this client has proven to be.
    known: Vec<&'static Person>,
}

fn open() -> Rc<[Acl]> {
    Rc::new([Acl::world(perms::ALL)])
}

/// Limits that are reached now and then, each there or not.
fn limit_text(rng: &mut Stream) -> Bytes {
    let mut parts = Vec::new();
    let keys = ["count", "bytes", "countHardLimit", "byteHardLimit"];
    for (key, max) in keys.into_iter().zip([20, 2_000, 40, 4_000]) {
        if rng.chance(1, 2) {
            parts.push(format!("{key}={}", rng.range(2, max)));
        }
    }
    Bytes::from(parts.join(","))
}

fn create(path: Path, data: Option<Bytes>, ephemeral: bool, sequential: bool, stat: bool) -> Op {
    let flags = Flags {
        ephemeral,
        sequential,
        ..Flags::PLAIN
    };
    Op::Create {
        path,
        data,
        acl: open(),
        flags,
        with_stat: stat,
    }
}

impl Mixed {
    pub fn new(me: ClientId, mix: Mix) -> Self {
        assert_eq!(
            mix.weights.len(),
            Kind::ALL.len(),
            "one weight per kind of request"
        );
        assert!(
            (1..=ROOTS.len()).contains(&mix.roots),
            "{} top-level znodes",
            mix.roots
        );
        Self {
            me,
            mix,
            written: 0,
            versions: BTreeMap::new(),
            sequential: VecDeque::new(),
            known: Vec::new(),
        }
    }

    pub fn chase_percent(&self) -> u64 {
        self.mix.chase_percent
    }

    /// Until the next burst.
    pub fn pause(&self, rng: &mut Stream) -> Duration {
        Duration::from_nanos(rng.exponential(self.mix.pause.as_nanos() as u64).max(1_000))
    }

    /// Draws a burst, and what comes after it.
    pub fn act(&mut self, rng: &mut Stream, asked: &mut Vec<Op>) -> Move {
        for _ in 0..rng.range(1, self.mix.burst_max) {
            let kind = Kind::ALL[rng.weighted(&self.mix.weights)];
            self.draw(rng, kind, asked);
        }
        let m = &self.mix;
        let parts = [
            m.move_ppm,
            m.reconnect_ppm,
            m.mute_ppm,
            m.vanish_ppm,
            m.close_ppm,
            m.deaf_ppm,
        ];
        let stay = 1_000_000_u64.saturating_sub(parts.iter().sum());
        let moves = [
            Move::Elsewhere,
            Move::SameServer,
            Move::Mute,
            Move::Vanish,
            Move::Close,
            Move::Deaf,
            Move::Stay,
        ];
        let mut weights = parts.to_vec();
        weights.push(stay);
        let then = moves[rng.weighted_or(&weights, parts.len())];
        if then == Move::Deaf {
            self.flood(rng, asked);
        }
        then
    }

    fn root(&self, rng: &mut Stream) -> &'static str {
        ROOTS[rng.below(self.mix.roots as u64) as usize]
    }

    /// A top-level znode, one below it, or one below that.
    fn path(&self, rng: &mut Stream) -> Path {
        let root = self.root(rng);
        let name = rng.pick(&NAMES);
        match rng.below(8) {
            0..2 => root.into(),
            2..7 => format!("{root}/{name}").into(),
            _ => format!("{root}/{name}/t").into(),
        }
    }

    /// Every value is written once, so that a read tells whose it is.
    fn data(&mut self, rng: &mut Stream) -> Option<Bytes> {
        self.written += 1;
        let mut data = format!("{}.{}", self.me, self.written).into_bytes();
        match rng.below(32) {
            0 => return None,
            1 => data.clear(),
            2 => data.resize(rng.range(100, 5_000) as usize, b'.'),
            _ => {}
        }
        Some(Bytes::from(data))
    }

    fn watch(&self, rng: &mut Stream) -> bool {
        rng.chance(self.mix.watch_percent, 100)
    }

    fn version(&self, rng: &mut Stream, path: &Path) -> i32 {
        let known = self.versions.get(path).copied().unwrap_or(0);
        *rng.pick(&[known, known, known, known + 1, -1])
    }

    fn draw(&mut self, rng: &mut Stream, kind: Kind, asked: &mut Vec<Op>) {
        let op = match kind {
            Kind::Create => {
                let (path, data) = (self.path(rng), self.data(rng));
                create(path, data, false, false, rng.chance(1, 2))
            }
            Kind::CreateEphemeral => {
                let (path, data) = (self.path_below(rng, "e"), self.data(rng));
                create(path, data, true, false, rng.chance(1, 2))
            }
            Kind::CreateSequential | Kind::CreateEphemeralSequential => {
                let ephemeral = kind == Kind::CreateEphemeralSequential;
                let path = self.path_below(rng, "s-");
                let data = self.data(rng);
                if self.sequential.len() >= SEQUENTIAL_MAX {
                    self.delete_sequential(rng, asked);
                }
                create(path, data, ephemeral, true, rng.chance(1, 2))
            }
            Kind::SetData | Kind::SetDataConditional => {
                let (path, data) = (self.path(rng), self.data(rng));
                let version = match kind {
                    Kind::SetData => -1,
                    _ => self.version(rng, &path),
                };
                Op::SetData {
                    path,
                    data,
                    version,
                }
            }
            Kind::Delete => {
                let path = self.path(rng);
                let known = self.version(rng, &path);
                let version = *rng.pick(&[-1, -1, known]);
                Op::Delete { path, version }
            }
            Kind::DeleteSequential => return self.delete_sequential(rng, asked),
            Kind::Quota => return self.quota(rng, asked),
            Kind::MultiGood => self.multi(rng, false),
            Kind::MultiBad => self.multi(rng, true),
            Kind::GetData
            | Kind::Exists
            | Kind::GetChildren
            | Kind::GetAcl
            | Kind::Sync
            | Kind::AddWatch
            | Kind::FindWatch
            | Kind::CountBelow
            | Kind::MultiRead
            | Kind::WhoAmI
            | Kind::Ephemerals => self.read(rng, kind),
            Kind::Auth => secrets::auth(rng),
            Kind::Guard => self.guard(rng),
            Kind::Container | Kind::Ttl => self.passing(rng, kind),
            Kind::TakeRead => self.take_read(rng),
            Kind::SetAcl => self.set_acl(rng),
            Kind::WriteAndRead => return self.write_and_read(rng, asked),
        };
        asked.push(op);
    }

    /// Asks for more than a server keeps for anybody.
    fn flood(&mut self, rng: &mut Stream, asked: &mut Vec<Op>) {
        let path: Path = format!("{}/big", self.root(rng)).into();
        self.written += 1;
        let mut data = format!("{}.{}", self.me, self.written).into_bytes();
        data.resize(rng.range(20_000, 60_000) as usize, b'.');
        let data = Some(Bytes::from(data));
        asked.push(create(path.clone(), None, false, false, false));
        asked.push(Op::SetData {
            path: path.clone(),
            data,
            version: -1,
        });
        let watch = false;
        let one = || Op::GetData {
            path: path.clone(),
            watch,
        };
        asked.extend((0..rng.range(20, 100)).map(|_| one()));
    }

    fn write_and_read(&mut self, rng: &mut Stream, asked: &mut Vec<Op>) {
        let (path, data) = (self.path(rng), self.data(rng));
        asked.push(Op::SetData {
            path: path.clone(),
            data,
            version: -1,
        });
        asked.push(Op::GetData {
            path,
            watch: self.watch(rng),
        });
    }

    fn read(&self, rng: &mut Stream, kind: Kind) -> Op {
        match kind {
            Kind::GetData => Op::GetData {
                path: self.path(rng),
                watch: self.watch(rng),
            },
            Kind::Exists => Op::Exists {
                path: self.path(rng),
                watch: self.watch(rng),
            },
            Kind::GetChildren => {
                let (path, watch) = (self.root(rng).into(), self.watch(rng));
                Op::GetChildren {
                    path,
                    watch,
                    with_stat: rng.chance(1, 2),
                }
            }
            Kind::GetAcl => Op::GetAcl {
                path: self.path(rng),
            },
            Kind::Sync => Op::Sync {
                path: self.path(rng),
            },
            Kind::AddWatch => Op::AddWatch {
                path: self.path_or_root(rng),
                recursive: rng.chance(1, 2),
            },
            Kind::FindWatch => Op::FindWatch {
                path: self.path_or_root(rng),
                kind: rng.range(1, 5) as i32,
                remove: rng.chance(2, 3),
            },
            Kind::CountBelow => Op::CountBelow {
                path: self.root(rng).into(),
            },
            Kind::Ephemerals => Op::Ephemerals {
                path: self.root(rng).into(),
            },
            Kind::MultiRead => self.multi_read(rng),
            Kind::WhoAmI => Op::WhoAmI,
            _ => unreachable!("{kind:?} is no read"),
        }
    }

    /// Mostly of what clients change together.
    fn multi_read(&self, rng: &mut Stream) -> Op {
        let watch = false;
        let one = |rng: &mut Stream| match rng.below(3) {
            0 => Op::GetChildren {
                path: self.root(rng).into(),
                watch,
                with_stat: false,
            },
            1 => Op::GetData {
                path: self.root(rng).into(),
                watch,
            },
            _ => Op::GetData {
                path: self.path(rng),
                watch,
            },
        };
        Op::MultiRead((0..rng.range(1, 5)).map(|_| one(rng)).collect())
    }

    fn guard(&mut self, rng: &mut Stream) -> Op {
        let acl = secrets::guard(rng, &self.known);
        let path = match rng.below(4) {
            0 => self.path(rng),
            _ => format!("{}/{}", self.root(rng), rng.pick(&NAMES)).into(),
        };
        if rng.chance(1, 2) {
            return Op::SetAcl {
                path,
                acl,
                version: -1,
            };
        }
        let flags = Flags {
            ephemeral: rng.chance(1, 4),
            ..Flags::PLAIN
        };
        Op::Create {
            path,
            data: self.data(rng),
            acl,
            flags,
            with_stat: rng.chance(1, 2),
        }
    }

    fn take_read(&self, rng: &mut Stream) -> Op {
        let left = *rng.pick(&[perms::ALL, perms::ALL & !perms::READ]);
        Op::SetAcl {
            path: self.path(rng),
            acl: Rc::new([Acl::world(left)]),
            version: -1,
        }
    }

    fn path_or_root(&self, rng: &mut Stream) -> Path {
        let path = self.path(rng);
        if rng.chance(1, 6) { "/".into() } else { path }
    }

    /// A znode that is there to go by itself, or something that keeps it.
    fn passing(&mut self, rng: &mut Stream, kind: Kind) -> Op {
        let (root, data) = (self.root(rng), self.data(rng));
        let container = kind == Kind::Container;
        let name = if container { "k" } else { "l" };
        let path: Path = format!("{root}/{name}{}", rng.below(2)).into();
        let ttl = rng.range(20, 1_500) as i64;
        let child = format!("{path}/{}", rng.pick(&NAMES[..2])).into();
        match rng.below(8) {
            0..3 => Op::Create {
                path,
                data,
                acl: open(),
                flags: Flags {
                    sequential: rng.chance(1, 8) && !container,
                    container,
                    ttl: (!container).then_some(ttl),
                    ..Flags::PLAIN
                },
                with_stat: true,
            },
            3..5 => create(child, data, rng.chance(1, 3), false, rng.chance(1, 2)),
            5..7 => Op::Delete {
                path: child,
                version: -1,
            },
            _ => Op::SetData {
                path,
                data,
                version: -1,
            },
        }
    }

    /// One subtree's quota is set up, or one thing of it done.
    fn quota(&self, rng: &mut Stream, asked: &mut Vec<Op>) {
        let root = self.root(rng);
        let top = format!("/zookeeper/quota{root}");
        let inner = rng.chance(1, 6);
        let base = if inner {
            format!("{top}/{}", NAMES[0])
        } else {
            top.clone()
        };
        let limits: Path = format!("{base}/zookeeper_limits").into();
        let stats: Path = format!("{base}/zookeeper_stats").into();
        let data = Some(limit_text(rng));
        let lie = Some(Bytes::from_static(b"count=77,bytes=-7"));
        match rng.below(8) {
            0..2 => {
                asked.push(create(top.into(), None, false, false, false));
                if inner {
                    asked.push(create(base.into(), None, false, false, false));
                }
                asked.push(create(limits, data, false, false, false));
                asked.push(create(stats, lie, false, false, true));
            }
            2..4 => asked.push(Op::SetData {
                path: limits,
                data,
                version: -1,
            }),
            4 => asked.push(Op::SetData {
                path: stats,
                data: lie,
                version: -1,
            }),
            _ => asked.push(Op::GetData {
                path: stats,
                watch: false,
            }),
        }
    }

    fn path_below(&self, rng: &mut Stream, name: &str) -> Path {
        let root = self.root(rng);
        match rng.below(4) {
            0 => format!("{root}/{}/{name}", rng.pick(&NAMES)).into(),
            _ => format!("{root}/{name}").into(),
        }
    }

    /// An old one mostly: a counter that follows the number of children repeats itself then.
    fn delete_sequential(&mut self, rng: &mut Stream, asked: &mut Vec<Op>) {
        let path = if rng.chance(3, 4) {
            self.sequential.pop_front()
        } else {
            self.sequential.pop_back()
        };
        if let Some(path) = path {
            asked.push(Op::Delete { path, version: -1 });
        }
    }

    /// Takes WRITE, CREATE or DELETE away at times; READ and ADMIN stay, or nobody could look or
    /// give the rest back.
    fn set_acl(&mut self, rng: &mut Stream) -> Op {
        let taken = *rng.pick(&[0, 0, 0, perms::WRITE, perms::CREATE, perms::DELETE]);
        let acl: Rc<[Acl]> = match rng.below(16) {
            0 => Rc::new([]),
            _ => Rc::new([Acl::world(perms::ALL & !taken)]),
        };
        let version = *rng.pick(&[-1, -1, -1, 0, 1]);
        Op::SetAcl {
            path: self.path(rng),
            acl,
            version,
        }
    }

    fn multi(&mut self, rng: &mut Stream, fails: bool) -> Op {
        let mut ops = Vec::new();
        for _ in 0..rng.range(1, 4) {
            let root: Path = self.root(rng).into();
            let data = self.data(rng);
            ops.push(match rng.below(6) {
                0 => create(self.path(rng), data, false, false, rng.chance(1, 2)),
                1 => create(format!("{root}/s-").into(), data, false, true, true),
                2 => create(format!("{root}/s-").into(), data, true, true, false),
                3 => Op::Check {
                    path: root,
                    version: -1,
                },
                4 => Op::Delete {
                    path: self.path(rng),
                    version: -1,
                },
                _ => Op::SetData {
                    path: root,
                    data,
                    version: -1,
                },
            });
        }
        if fails {
            let bad = match rng.below(3) {
                0 => Op::Check {
                    path: "/missing".into(),
                    version: -1,
                },
                1 => Op::Delete {
                    path: "/missing/too".into(),
                    version: -1,
                },
                _ => Op::SetData {
                    path: self.root(rng).into(),
                    data: None,
                    version: 1 << 30,
                },
            };
            let at = rng.below(ops.len() as u64 + 1) as usize;
            // A write that works before the one that fails, or half of it would be nothing.
            let path = self.root(rng).into();
            let data = self.data(rng);
            ops.insert(at, bad);
            ops.insert(
                0,
                Op::SetData {
                    path,
                    data,
                    version: -1,
                },
            );
        }
        Op::Multi(ops)
    }

    /// Remembers versions and what can be deleted.
    pub fn heard(&mut self, op: &Op, reply: &Reply) {
        match (op, &reply.result) {
            (Op::Create { path, flags, .. }, Ok(Body::Created { path: made, .. })) => {
                if flags.sequential {
                    self.sequential.push_back(made.as_str().into());
                } else {
                    self.versions.insert(path.clone(), 0);
                }
            }
            (Op::SetData { path, .. } | Op::Exists { path, .. }, Ok(Body::Stat(stat)))
            | (Op::GetData { path, .. }, Ok(Body::Data { stat, .. })) => {
                self.versions.insert(path.clone(), stat.version);
            }
            (Op::GetChildren { path, .. }, Ok(Body::Children { names, .. })) => {
                self.adopt(path, names);
            }
            (Op::Auth { scheme, auth }, Ok(_)) if *scheme == "digest" => {
                self.known.extend(Person::by_auth(auth));
            }
            (Op::Multi(ops), Ok(Body::Multi(results))) => {
                for (op, result) in ops.iter().zip(results) {
                    let sub = Reply {
                        zxid: reply.zxid,
                        result: result.clone(),
                    };
                    self.heard(op, &sub);
                }
            }
            _ => {}
        }
    }

    /// Takes care of sequence nodes that somebody lost track of, or they would grow without end.
    fn adopt(&mut self, path: &Path, names: &[String]) {
        if names.len() <= 4 * SEQUENTIAL_MAX {
            return;
        }
        let oldest = names.iter().filter(|name| name.starts_with("s-")).min();
        if let Some(name) = oldest {
            self.sequential.push_front(format!("{path}/{name}").into());
        }
    }
}
