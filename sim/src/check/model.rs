//! The specification as a program: what each request does to the tree when transactions happen one
//! after the other. Shares no code with the machine's own tree or validation; keeps every version
//! of every znode, so that a read can be judged at the zxid that it claims.
//!
//! Source: the ZooKeeper programmer's guide (znodes, Stat, sequence nodes, watches) and the order
//! of checks of `PrepRequestProcessor`. Knows nothing of servers, clients or replies.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use vivarium_core::config::Rules;
use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::records::{Acl, ErrorCode, Stat, perms};

use super::access::{Access, Asker};
use super::digest::Crc;
use super::quota::{self, Demand, Ledger, State, Usage};
use crate::clients::ops::{Flags, Op, Path, event};

/// One version of a znode, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Znode {
    pub data: Option<Bytes>,
    pub acl: Rc<[Acl]>,
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub pzxid: Zxid,
    /// Milliseconds, by the leader's wall clock.
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    /// Children ever created.
    pub cversion: i32,
    pub aversion: i32,
    /// The session of an ephemeral; what tells containers and TTL nodes; else 0.
    pub owner: i64,
    pub num_children: i32,
}

/// The two kinds of watches on the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Table {
    /// getData and exists.
    Data,
    /// getChildren.
    Child,
}

/// What a watch in `table` on `path` is told, as an event type.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub path: Path,
    pub table: Table,
    pub kind: i32,
    /// Whoever may read a znode with this list hears of it.
    pub acl: Rc<[Acl]>,
}

/// What a request must have led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Error(i32),
    Created { path: Path, stat: Stat },
    Done,
    Stat(Stat),
    Multi(Vec<Self>),
}

/// The effect of one transaction, not yet part of the model.
#[derive(Clone, Debug)]
pub struct Draft {
    zxid: Zxid,
    time: i64,
    nodes: Vec<(Path, Option<Znode>)>,
    /// Parent, name, added or removed.
    kids: Vec<(Path, Path, bool)>,
    pub changes: Vec<Change>,
    /// What quotas are asked about, in order, up to the first failure.
    pub demands: Vec<Demand>,
    session: Option<(SessionId, Option<i32>)>,
}

#[derive(Clone, Default, Debug)]
struct Slot {
    /// Rising zxids; `None` is a deletion.
    versions: Vec<(Zxid, Option<Rc<Znode>>)>,
    children: BTreeSet<Path>,
    kids: Vec<(Zxid, Path, bool)>,
}

/// A session in the committed order.
#[derive(Clone, Debug)]
pub struct Session {
    pub timeout_ms: i32,
    pub closed: Option<Zxid>,
    pub ephemerals: BTreeSet<Path>,
}

/// The replicated state after every committed transaction so far, and before each.
#[derive(Clone, Debug)]
pub struct Model {
    slots: BTreeMap<Path, Slot>,
    sessions: BTreeMap<SessionId, Session>,
    digest: u64,
    last: Zxid,
    pub quotas: Ledger,
    /// Who may do what.
    pub access: Access,
    /// Sessions that began in one server's memory.
    pub locals: BTreeSet<SessionId>,
    /// Servers may say that they have no time.
    pub throttles: bool,
    /// Servers may refuse what makes the tree larger.
    pub is_memory_limited: bool,
    /// A container that never had a child goes after so many milliseconds, if it goes.
    pub never_used_ms: Option<i64>,
}

impl Znode {
    /// As clients see it.
    pub fn stat(&self) -> Stat {
        Stat {
            czxid: self.czxid.0,
            mzxid: self.mzxid.0,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self
                .cversion
                .wrapping_mul(2)
                .wrapping_sub(self.num_children),
            aversion: self.aversion,
            ephemeral_owner: if self.is_ephemeral() { self.owner } else { 0 },
            data_length: self.data.as_ref().map_or(0, |d| d.len() as i32),
            num_children: self.num_children,
            pzxid: self.pzxid.0,
        }
    }

    pub fn is_container(&self) -> bool {
        self.owner == i64::MIN
    }

    /// Milliseconds that a TTL node may stay childless and unchanged: the low 40 bits of an owner
    /// with a high byte of 0xff and two bytes of zeros.
    pub fn ttl(&self) -> Option<i64> {
        (self.owner >> 40 == -1 << 16).then_some(self.owner & ((1 << 40) - 1))
    }

    pub fn is_ephemeral(&self) -> bool {
        self.owner != 0 && !self.is_container() && self.ttl().is_none()
    }

    /// ZooKeeper's digest of one node (`DigestCalculator`): nothing below `/zookeeper` counts.
    pub fn digest(&self, path: &str) -> u64 {
        if path.starts_with("/zookeeper/") {
            return 0;
        }
        let mut crc = Crc::new();
        crc.add(if path == "/" { b"" } else { path.as_bytes() });
        if let Some(data) = &self.data {
            crc.add(data);
        }
        for long in [
            self.czxid.0,
            self.mzxid.0,
            self.pzxid.0,
            self.ctime,
            self.mtime,
        ] {
            crc.add(&long.to_be_bytes());
        }
        for int in [self.version, self.cversion, self.aversion] {
            crc.add(&int.to_be_bytes());
        }
        crc.add(&self.owner.to_be_bytes());
        u64::from(crc.value())
    }
}

/// The path of the znode above; the root has none.
pub fn parent_of(path: &str) -> Option<&str> {
    let at = path.rfind('/')?;
    match (at, path.len()) {
        (0, 1) => None,
        (0, _) => Some("/"),
        _ => Some(&path[..at]),
    }
}

fn name_of(path: &str) -> &str {
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

fn owner(flags: Flags, session: SessionId) -> i64 {
    match flags.ttl {
        _ if flags.container => i64::MIN,
        Some(ms) => -1 << 56 | ms,
        None if flags.ephemeral => session.0,
        None => 0,
    }
}

fn open_acl(permissions: i32) -> Rc<[Acl]> {
    Rc::new([Acl::world(permissions)])
}

type Checked<T> = Result<T, ErrorCode>;

impl Draft {
    fn new(zxid: Zxid, time: i64) -> Self {
        Self {
            zxid,
            time,
            nodes: Vec::new(),
            kids: Vec::new(),
            changes: Vec::new(),
            demands: Vec::new(),
            session: None,
        }
    }

    fn get<'a>(&'a self, model: &'a Model, path: &str) -> Option<&'a Znode> {
        match self.nodes.iter().find(|(p, _)| **p == *path) {
            Some((_, node)) => node.as_ref(),
            None => model.now(path),
        }
    }

    fn put(&mut self, path: &str, node: Option<Znode>) {
        match self.nodes.iter_mut().find(|(p, _)| **p == *path) {
            Some((_, old)) => *old = node,
            None => self.nodes.push((path.into(), node)),
        }
    }

    /// `node`: whose access list decides who hears of it.
    fn told(&mut self, path: &str, table: Table, kind: i32, node: &Znode) {
        self.changes.push(Change {
            path: path.into(),
            table,
            kind,
            acl: node.acl.clone(),
        });
    }

    fn run(&mut self, model: &Model, by: Asker<'_>, op: &Op) -> Checked<Outcome> {
        if !model.is_alive(by.session) && !model.is_local(by.session) {
            return Err(ErrorCode::SessionExpired);
        }
        match op {
            Op::Create {
                path,
                data,
                acl,
                flags,
                ..
            } => self.create(model, by, path, data.as_ref(), acl, *flags),
            Op::Delete { path, version } => self.delete(model, by, path, *version),
            Op::SetData {
                path,
                data,
                version,
            } => self.set_data(model, by, path, data.as_ref(), *version),
            Op::SetAcl { path, acl, version } => self.set_acl(model, by, path, acl, *version),
            Op::Check { path, version } => {
                let node = self.get(model, path).ok_or(ErrorCode::NoNode)?;
                model.require_access(by, node, perms::READ)?;
                require_version(node.version, *version)?;
                Ok(Outcome::Done)
            }
            Op::CloseSession => {
                self.close(model, by.session);
                Ok(Outcome::Done)
            }
            Op::Multi(ops) => Ok(self.multi(model, by, ops)),
            other => unreachable!("{other:?} is no write"),
        }
    }

    fn create(
        &mut self,
        model: &Model,
        by: Asker<'_>,
        path: &Path,
        data: Option<&Bytes>,
        acl: &Rc<[Acl]>,
        flags: Flags,
    ) -> Checked<Outcome> {
        if flags.ephemeral && model.is_local(by.session) {
            return Err(ErrorCode::EphemeralOnLocalSession);
        }
        let acl = model.access.resolve(acl, by.who)?;
        let above = parent_of(path).unwrap_or("/");
        let mut parent = self.get(model, above).ok_or(ErrorCode::NoNode)?.clone();
        model.require_access(by, &parent, perms::CREATE)?;
        let path: Path = if flags.sequential {
            format!("{path}{:010}", parent.cversion).into()
        } else {
            path.clone()
        };
        require(self.get(model, &path).is_none(), ErrorCode::NodeExists)?;
        require(!parent.is_ephemeral(), ErrorCode::NoChildrenForEphemerals)?;
        let bytes = data.map_or(0, Bytes::len) as i64;
        self.demands.push((path.clone(), Usage { count: 1, bytes }));
        parent.cversion += 1;
        parent.num_children += 1;
        parent.pzxid = self.zxid;
        let node = Znode {
            data: data.cloned(),
            acl: acl.into(),
            czxid: self.zxid,
            mzxid: self.zxid,
            pzxid: self.zxid,
            ctime: self.time,
            mtime: self.time,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: owner(flags, by.session),
            num_children: 0,
        };
        let stat = node.stat();
        self.kids.push((above.into(), name_of(&path).into(), true));
        self.told(&path, Table::Data, event::CREATED, &node);
        self.told(above, Table::Child, event::CHILDREN_CHANGED, &parent);
        self.put(&path, Some(node));
        self.put(above, Some(parent));
        Ok(Outcome::Created { path, stat })
    }

    fn delete(
        &mut self,
        model: &Model,
        by: Asker<'_>,
        path: &str,
        version: i32,
    ) -> Checked<Outcome> {
        let above = parent_of(path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.get(model, above).ok_or(ErrorCode::NoNode)?;
        model.require_access(by, parent, perms::DELETE)?;
        let node = self.get(model, path).ok_or(ErrorCode::NoNode)?;
        require_version(node.version, version)?;
        require(node.num_children == 0, ErrorCode::NotEmpty)?;
        self.remove(model, path);
        Ok(Outcome::Done)
    }

    /// Without any question.
    fn remove(&mut self, model: &Model, path: &str) {
        let above = parent_of(path).unwrap_or("/");
        if let Some(node) = self.get(model, path).cloned() {
            self.told(path, Table::Data, event::DELETED, &node);
            self.told(path, Table::Child, event::DELETED, &node);
        }
        if let Some(mut parent) = self.get(model, above).cloned() {
            parent.num_children -= 1;
            parent.pzxid = self.zxid;
            self.told(above, Table::Child, event::CHILDREN_CHANGED, &parent);
            self.put(above, Some(parent));
        }
        self.put(path, None);
        self.kids.push((above.into(), name_of(path).into(), false));
    }

    fn set_data(
        &mut self,
        model: &Model,
        by: Asker<'_>,
        path: &str,
        data: Option<&Bytes>,
        version: i32,
    ) -> Checked<Outcome> {
        let mut node = self.get(model, path).ok_or(ErrorCode::NoNode)?.clone();
        model.require_access(by, &node, perms::WRITE)?;
        let length = |data: Option<&Bytes>| data.map_or(0, Bytes::len) as i64;
        let bytes = length(data) - length(node.data.as_ref());
        self.demands.push((path.into(), Usage { count: 0, bytes }));
        require_version(node.version, version)?;
        node.data = data.cloned();
        node.version += 1;
        node.mzxid = self.zxid;
        node.mtime = self.time;
        let stat = node.stat();
        self.told(path, Table::Data, event::DATA_CHANGED, &node);
        self.put(path, Some(node));
        Ok(Outcome::Stat(stat))
    }

    fn set_acl(
        &mut self,
        model: &Model,
        by: Asker<'_>,
        path: &str,
        acl: &Rc<[Acl]>,
        version: i32,
    ) -> Checked<Outcome> {
        let acl = model.access.resolve(acl, by.who)?;
        let mut node = self.get(model, path).ok_or(ErrorCode::NoNode)?.clone();
        model.require_access(by, &node, perms::ADMIN)?;
        require_version(node.aversion, version)?;
        node.acl = acl.into();
        node.aversion += 1;
        let stat = node.stat();
        self.put(path, Some(node));
        Ok(Outcome::Stat(stat))
    }

    fn multi(&mut self, model: &Model, by: Asker<'_>, ops: &[Op]) -> Outcome {
        let mut results = Vec::with_capacity(ops.len());
        for (i, op) in ops.iter().enumerate() {
            match self.run(model, by, op) {
                Ok(outcome) => results.push(outcome),
                Err(code) => {
                    self.nodes.clear();
                    self.kids.clear();
                    self.changes.clear();
                    return failed_multi(ops.len(), i, code.code());
                }
            }
        }
        Outcome::Multi(results)
    }

    fn close(&mut self, model: &Model, session: SessionId) {
        let owned = model.sessions.get(&session).map(|s| s.ephemerals.clone());
        for path in owned.unwrap_or_default() {
            self.remove(model, &path);
        }
        self.session = Some((session, None));
    }
}

/// All results of a multi that failed at `at`: undone before, refused there, not tried after.
pub fn failed_multi(len: usize, at: usize, code: i32) -> Outcome {
    let result = |i: usize| match i.cmp(&at) {
        std::cmp::Ordering::Less => Outcome::Error(0),
        std::cmp::Ordering::Equal => Outcome::Error(code),
        std::cmp::Ordering::Greater => Outcome::Error(ErrorCode::RuntimeInconsistency.code()),
    };
    Outcome::Multi((0..len).map(result).collect())
}

fn require(holds: bool, otherwise: ErrorCode) -> Checked<()> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn require_version(is: i32, wanted: i32) -> Checked<()> {
    require(wanted == -1 || wanted == is, ErrorCode::BadVersion)
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// A database that nobody has written to.
    pub fn new() -> Self {
        let zero = Znode {
            data: Some(Bytes::new()),
            acl: open_acl(perms::ALL),
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            pzxid: Zxid::ZERO,
            ctime: 0,
            mtime: 0,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner: 0,
            num_children: 0,
        };
        let node = |children, aversion| Znode {
            num_children: children,
            aversion,
            ..zero.clone()
        };
        let reserved = [
            ("/", node(1, 0)),
            ("/zookeeper", node(2, 0)),
            ("/zookeeper/quota", node(0, 0)),
            (
                "/zookeeper/config",
                Znode {
                    acl: open_acl(perms::READ),
                    ..node(0, -1)
                },
            ),
        ];
        let mut model = Self {
            slots: BTreeMap::new(),
            sessions: BTreeMap::new(),
            digest: 0,
            last: Zxid::ZERO,
            quotas: Ledger::default(),
            access: Access::default(),
            locals: BTreeSet::new(),
            throttles: false,
            is_memory_limited: false,
            never_used_ms: None,
        };
        for (path, node) in reserved {
            model.digest = model.digest.wrapping_add(node.digest(path));
            let slot = model.slots.entry(path.into()).or_default();
            slot.versions.push((Zxid::ZERO, Some(Rc::new(node))));
            if let Some(slot) = parent_of(path).and_then(|p| model.slots.get_mut(p)) {
                slot.children.insert(name_of(path).into());
            }
        }
        model
    }

    /// The same under these rules.
    pub fn under(rules: &Rules) -> Self {
        let never_used = rules.container_never_used;
        let mut model = Self::new();
        model.quotas.enforced = rules.enforce_quota;
        model.access = Access::new(rules);
        model.throttles = !rules.throttle.wait_max.is_zero();
        model.is_memory_limited = rules.memory_max > 0;
        model.never_used_ms = (!never_used.is_zero()).then_some(never_used.as_millis() as i64);
        model
    }

    /// zxid of the last transaction.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// ZooKeeper's digest of the whole tree after the last transaction.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Has the session been created and not been closed, as of the last transaction?
    pub fn is_alive(&self, session: SessionId) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|s| s.closed.is_none())
    }

    /// Is the session known to one server only?
    pub fn is_local(&self, session: SessionId) -> bool {
        self.locals.contains(&session) && !self.sessions.contains_key(&session)
    }

    pub fn session(&self, session: SessionId) -> Option<&Session> {
        self.sessions.get(&session)
    }

    /// Sessions that live after the last transaction.
    pub fn alive(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions
            .iter()
            .filter(|(_, s)| s.closed.is_none())
            .map(|(id, s)| (*id, s))
    }

    /// Every path that ever had a znode, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.slots.keys().map(|path| &**path)
    }

    /// The znode after the last transaction.
    pub fn now(&self, path: &str) -> Option<&Znode> {
        self.slots.get(path)?.versions.last()?.1.as_deref()
    }

    /// The znode as it was right after `zxid`.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<&Znode> {
        let versions = &self.slots.get(path)?.versions;
        let end = versions.partition_point(|(z, _)| *z <= zxid);
        versions[..end].last()?.1.as_deref()
    }

    /// The znode as it was right after `zxid`, and each time that it changed later.
    pub fn versions_since(&self, path: &str, zxid: Zxid) -> impl Iterator<Item = &Znode> {
        let versions = self.slots.get(path).map_or(&[][..], |slot| &slot.versions);
        let start = versions.partition_point(|(z, _)| *z <= zxid);
        let rest = &versions[start.saturating_sub(1)..];
        rest.iter().filter_map(|(_, node)| node.as_deref())
    }

    /// Names of the children right after `zxid`, in order.
    pub fn children_at(&self, path: &str, zxid: Zxid) -> BTreeSet<Path> {
        let Some(slot) = self.slots.get(path) else {
            return BTreeSet::new();
        };
        let mut names = slot.children.clone();
        for (z, name, added) in slot.kids.iter().rev() {
            if *z <= zxid {
                break;
            }
            if *added {
                names.remove(name)
            } else {
                names.insert(name.clone())
            };
        }
        names
    }

    /// Are these, in any order and each once, the children right after `zxid`?
    pub fn has_children(&self, path: &str, zxid: Zxid, names: &[String]) -> bool {
        let Some(slot) = self.slots.get(path) else {
            return names.is_empty();
        };
        let mut sorted: Vec<&str> = names.iter().map(|n| &**n).collect();
        sorted.sort_unstable();
        let is_newest = slot.kids.last().is_none_or(|(z, ..)| *z <= zxid);
        if is_newest {
            return slot.children.iter().map(|n| &**n).eq(sorted);
        }
        self.children_at(path, zxid).iter().map(|n| &**n).eq(sorted)
    }

    /// Paths of the znodes below `path` right after `zxid`, with their znodes.
    pub fn below(&self, path: &str, zxid: Zxid) -> impl Iterator<Item = (&str, &Znode)> {
        let prefix = if path == "/" {
            String::from("/")
        } else {
            format!("{path}/")
        };
        let paths = self.slots.keys().map(|p| &**p);
        let below = paths.filter(move |p| p.starts_with(&*prefix) && p.len() > prefix.len());
        below.filter_map(move |p| Some((p, self.at(p, zxid)?)))
    }

    /// May somebody do anything of `mask` to this znode?
    pub fn require_access(&self, by: Asker<'_>, node: &Znode, mask: i32) -> Checked<()> {
        require(
            self.access.allows(&node.acl, mask, by.who),
            ErrorCode::NoAuth,
        )
    }

    /// What a client's write does as the transaction `zxid`, which comes next.
    pub fn draft<'a>(
        &self,
        by: impl Into<Asker<'a>>,
        op: &Op,
        zxid: Zxid,
        time: i64,
    ) -> (Outcome, Draft) {
        let mut draft = Draft::new(zxid, time);
        let outcome = match draft.run(self, by.into(), op) {
            Ok(outcome) => outcome,
            // The session is judged for each operation of a multi.
            Err(code) => match op {
                Op::Multi(ops) if !ops.is_empty() => failed_multi(ops.len(), 0, code.code()),
                _ => Outcome::Error(code.code()),
            },
        };
        (outcome, draft)
    }

    /// A transaction without any effect.
    pub fn draft_nothing(&self, zxid: Zxid) -> Draft {
        Draft::new(zxid, 0)
    }

    /// A session is created.
    pub fn draft_open(&self, session: SessionId, timeout_ms: i32, zxid: Zxid) -> Draft {
        let mut draft = Draft::new(zxid, 0);
        draft.session = Some((session, Some(timeout_ms)));
        draft
    }

    /// A session is closed, whoever wants it.
    pub fn draft_close(&self, session: SessionId, zxid: Zxid) -> Draft {
        let mut draft = Draft::new(zxid, 0);
        draft.close(self, session);
        draft
    }

    /// A container or TTL node is swept. The caller has judged whether it may be.
    pub fn draft_sweep(&self, path: &str, zxid: Zxid) -> Draft {
        let mut draft = Draft::new(zxid, 0);
        draft.remove(self, path);
        draft
    }

    /// Makes a transaction part of the model.
    pub fn commit(&mut self, draft: Draft) {
        let zxid = draft.zxid;
        assert!(zxid > self.last, "{zxid} comes after {}", self.last);
        self.last = zxid;
        let changed: Vec<Path> = draft.nodes.iter().map(|(p, _)| p.clone()).collect();
        for (path, node) in draft.nodes {
            self.commit_node(zxid, path, node);
        }
        for (above, name, added) in draft.kids {
            let slot = self.slots.entry(above).or_default();
            if added {
                slot.children.insert(name.clone())
            } else {
                slot.children.remove(&name)
            };
            slot.kids.push((zxid, name, added));
        }
        match draft.session {
            Some((id, Some(timeout_ms))) => {
                let new = Session {
                    timeout_ms,
                    closed: None,
                    ephemerals: BTreeSet::new(),
                };
                self.sessions.insert(id, new);
            }
            Some((id, None)) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.closed = session.closed.or(Some(zxid));
                }
            }
            None => {}
        }
        for target in self.quotas.touched(&changed) {
            self.count(zxid, target);
        }
    }

    /// Writes down what a subtree holds now, and what its stats say from now on: the truth, if it
    /// is marked; else what was true when they were created.
    fn count(&mut self, zxid: Zxid, target: Path) {
        let stats = quota::stats_of(&target);
        let limits = self.now(&quota::limits_of(&target)).cloned();
        let used = self.weigh(&target);
        let shown = self.now(&stats).map(|node| node.czxid);
        if shown.is_some_and(|made| limits.is_some() || made == zxid) {
            self.show(zxid, &stats, used);
        }
        let state = limits.map(|node| {
            let data = node.data.unwrap_or_default();
            State::new(used, shown.map(|_| &*data))
        });
        self.quotas.note(zxid, target, state);
    }

    fn weigh(&self, target: &str) -> Usage {
        let mut used = Usage::default();
        let top = self.now(target);
        let below = self.below(target, self.last).map(|(_, node)| node);
        for node in top.into_iter().chain(below) {
            used.count += 1;
            used.bytes += node.data.as_ref().map_or(0, Bytes::len) as i64;
        }
        used
    }

    fn show(&mut self, zxid: Zxid, stats: &str, used: Usage) {
        let Some(slot) = self.slots.get_mut(stats) else {
            return;
        };
        let Some((at, Some(node))) = slot.versions.last().cloned() else {
            return;
        };
        if at == zxid {
            slot.versions.pop();
        }
        let data = Some(Bytes::from(used.text()));
        let node = Znode {
            data,
            ..Znode::clone(&node)
        };
        slot.versions.push((zxid, Some(Rc::new(node))));
    }

    fn commit_node(&mut self, zxid: Zxid, path: Path, node: Option<Znode>) {
        let slot = self.slots.entry(path.clone()).or_default();
        let old = slot.versions.last().and_then(|(_, n)| n.clone());
        if let Some(old) = old {
            self.digest = self.digest.wrapping_sub(old.digest(&path));
            if let Some(session) = self.sessions.get_mut(&SessionId(old.owner)) {
                session.ephemerals.remove(&path);
            }
        }
        if let Some(node) = &node {
            self.digest = self.digest.wrapping_add(node.digest(&path));
            if let Some(session) = self.sessions.get_mut(&SessionId(node.owner)) {
                session.ephemerals.insert(path);
            }
        }
        slot.versions.push((zxid, node.map(Rc::new)));
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
