//! The rules of `DataTree` once more, as slowly and plainly as possible, and random histories that
//! hold the real thing to them.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::database::{Change, ChangeKind, Database, Outcome};
use crate::ids::{SessionId, Zxid};
use crate::mutants::Mutants;
use crate::time::WallMs;
use crate::tree::{StoredStat, digest, stat};
use crate::wire::records::{Acl, ErrorCode, Stat, op, perms};
use crate::wire::txn::{CreateMode, SubTxn, Txn, TxnHeader, TxnRecord};

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    pub(super) data: Option<Vec<u8>>,
    pub(super) acl: Vec<Acl>,
    pub(super) stat: StoredStat,
}

/// Paths to nodes; the root is `""`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Model {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) sessions: BTreeMap<SessionId, i32>,
}

fn split(path: &str) -> Option<(String, String)> {
    let (parent, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then(|| (parent.to_string(), name.to_string()))
}

fn failed(code: ErrorCode) -> Outcome {
    Outcome::Error(code.code())
}

impl Model {
    pub(super) fn fresh() -> Self {
        let node = |acl_perms, aversion| Node {
            data: Some(Vec::new()),
            acl: [Acl::world(acl_perms)].into(),
            stat: StoredStat {
                aversion,
                ..StoredStat::primordial()
            },
        };
        let all = node(perms::ALL, 0);
        let nodes = [
            ("", all.clone()),
            ("/zookeeper", all.clone()),
            ("/zookeeper/quota", all),
            ("/zookeeper/config", node(perms::READ, -1)),
        ];
        let nodes = nodes
            .into_iter()
            .map(|(path, node)| (path.to_string(), node))
            .collect();
        Self {
            nodes,
            sessions: BTreeMap::new(),
        }
    }

    /// What a database holds.
    pub(super) fn of(database: &Database) -> Self {
        let mut nodes = BTreeMap::new();
        let mut open = Vec::from([String::new()]);
        while let Some(path) = open.pop() {
            let node = database.tree().get(&path).expect("listed by its parent");
            open.extend(node.children().map(|name| alloc::format!("{path}/{name}")));
            let data = node.data().map(Vec::from);
            assert_eq!(node.shared_data().as_deref(), node.data());
            let shown = Node {
                data,
                acl: node.acl().into(),
                stat: *node.stored(),
            };
            nodes.insert(path, shown);
        }
        Self {
            nodes,
            sessions: database.sessions().clone(),
        }
    }

    pub(super) fn children(&self, path: &str) -> Vec<String> {
        let children = self.nodes.keys().filter_map(|key| split(key));
        let mut names: Vec<_> = children
            .filter(|(parent, _)| parent == path)
            .map(|(_, name)| name)
            .collect();
        names.sort();
        names
    }

    pub(super) fn digest(&self) -> u64 {
        let each = self
            .nodes
            .iter()
            .map(|(path, n)| digest::of(path, n.data.as_deref(), &n.stat));
        each.fold(0, u64::wrapping_add)
    }

    pub(super) fn stat(&self, path: &str) -> Stat {
        let node = &self.nodes[path];
        let (length, children) = (node.data.as_ref().map_or(0, Vec::len), self.children(path));
        let stat = &node.stat;
        let is_session = stat.owner > 0;
        Stat {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat
                .cversion
                .wrapping_mul(2)
                .wrapping_sub(children.len() as i32),
            aversion: stat.aversion,
            ephemeral_owner: if is_session { stat.owner } else { 0 },
            data_length: length as i32,
            num_children: children.len() as i32,
            pzxid: stat.pzxid,
        }
    }

    pub(super) fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let owned = self
            .nodes
            .iter()
            .filter(|(_, node)| node.stat.owner == session.0);
        owned.map(|(path, _)| path.clone()).collect()
    }

    /// What `/zookeeper/quota` shows after one change; `fresh` is the node that it created.
    fn write_stats(&mut self, fresh: Option<&str>) {
        let quota = "/zookeeper/quota";
        let target = |path: &str, name: &str| {
            let target = path.strip_prefix(quota)?.strip_suffix(name)?;
            (target.is_empty() || target.starts_with('/')).then(|| target.to_string())
        };
        let limits = self.nodes.keys();
        let mut targets: Vec<String> = limits
            .filter_map(|path| target(path, "/zookeeper_limits"))
            .filter(|at| !at.is_empty() && at != "/zookeeper" && !at.starts_with("/zookeeper/"))
            .collect();
        targets.extend(fresh.and_then(|path| target(path, "/zookeeper_stats")));
        for target in targets {
            let below = alloc::format!("{target}/");
            let inside = |path: &str| path == target || path.starts_with(&below);
            let held = self.nodes.iter().filter(|(path, _)| inside(path));
            let lengths: Vec<usize> = held
                .map(|(_, node)| node.data.as_ref().map_or(0, Vec::len))
                .collect();
            let (count, bytes) = (lengths.len(), lengths.iter().sum::<usize>());
            let stats = alloc::format!("{quota}{target}/zookeeper_stats");
            if let Some(node) = self.nodes.get_mut(&stats) {
                node.data = Some(alloc::format!("count={count},bytes={bytes}").into_bytes());
            }
        }
    }

    fn change(&self, kind: ChangeKind, path: &str) -> Change {
        let shown = if path.is_empty() { "/" } else { path };
        Change {
            kind,
            path: shown.into(),
            acl: self.nodes[path].acl.as_slice().into(),
        }
    }

    pub(super) fn apply(&mut self, record: &TxnRecord<'_>) -> (Outcome, Vec<Change>) {
        let mut changes = Vec::new();
        let header = &record.header;
        let Txn::Multi(subs) = &record.txn else {
            let outcome = self.single(header, header.kind, &record.txn, &mut changes);
            return (outcome, changes);
        };
        let mut outcomes = Vec::new();
        let fails = subs.iter().any(|sub| matches!(sub.txn, Txn::Error { .. }));
        let mut seen = false;
        for sub in subs {
            seen |= matches!(sub.txn, Txn::Error { .. });
            outcomes.push(match sub.txn {
                Txn::Error { code } => (-1, Outcome::Error(code)),
                _ if fails => (-1, Outcome::Error(if seen { -2 } else { 0 })),
                _ => (
                    sub.kind,
                    self.single(header, sub.kind, &sub.txn, &mut changes),
                ),
            });
        }
        (Outcome::Multi(outcomes), changes)
    }

    fn single(
        &mut self,
        header: &TxnHeader,
        kind: i32,
        txn: &Txn<'_>,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        match txn {
            Txn::Create { .. } => self.create(header, kind, txn, changes),
            Txn::Delete { path } => self.delete(header, path, changes),
            Txn::SetData {
                path,
                data,
                version,
            } => {
                let path = if path == "/" { "" } else { path };
                let Some(node) = self.nodes.get_mut(path) else {
                    return failed(ErrorCode::NoNode);
                };
                node.data = data.map(Vec::from);
                node.stat.version = *version;
                node.stat.mzxid = header.zxid.0;
                node.stat.mtime = header.time.0;
                changes.push(self.change(ChangeKind::DataChanged, path));
                let stat = self.stat(path);
                self.write_stats(None);
                Outcome::DataSet { stat }
            }
            Txn::SetAcl { path, acl, version } => {
                let path = if path == "/" { "" } else { path };
                let Some(node) = self.nodes.get_mut(path) else {
                    return failed(ErrorCode::NoNode);
                };
                node.acl.clone_from(acl);
                node.stat.aversion = *version;
                Outcome::AclSet {
                    stat: self.stat(path),
                }
            }
            Txn::Check { .. } => Outcome::Checked,
            Txn::Error { code } => Outcome::Error(*code),
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session, *timeout_ms);
                Outcome::SessionCreated
            }
            Txn::CloseSession { paths } => {
                self.sessions.remove(&header.session);
                for path in paths.iter().flatten() {
                    self.delete(header, path, changes);
                }
                for path in self.ephemerals(header.session) {
                    self.delete(header, &path, changes);
                }
                Outcome::SessionClosed
            }
            Txn::Multi(_) => failed(ErrorCode::MarshallingError),
        }
    }

    fn create(
        &mut self,
        header: &TxnHeader,
        kind: i32,
        txn: &Txn<'_>,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let Txn::Create {
            path,
            data,
            acl,
            mode,
            parent_cversion,
        } = txn
        else {
            unreachable!()
        };
        let Some((parent_path, _)) = split(path) else {
            return failed(ErrorCode::BadArguments);
        };
        let Some(parent) = self.nodes.get(&parent_path) else {
            return failed(ErrorCode::NoNode);
        };
        let mut parent_stat = parent.stat;
        let cversion = if *parent_cversion == -1 {
            parent_stat.cversion + 1
        } else {
            *parent_cversion
        };
        if cversion > parent_stat.cversion {
            parent_stat.cversion = cversion;
            parent_stat.pzxid = header.zxid.0;
        }
        if let Some(node) = self.nodes.get_mut(&**path) {
            node.acl.clone_from(acl);
            if kind == op::CREATE {
                self.nodes.get_mut(&parent_path).unwrap().stat = parent_stat;
            }
            return failed(ErrorCode::NodeExists);
        }
        self.nodes.get_mut(&parent_path).unwrap().stat = parent_stat;
        let owner = match mode {
            CreateMode::Persistent => 0,
            CreateMode::Ephemeral => header.session.0,
            CreateMode::Container => stat::OWNER_CONTAINER,
            CreateMode::Ttl(ms) => stat::OWNER_TTL | ms,
        };
        let stat = StoredStat::created(header.zxid, header.time, owner);
        let node = Node {
            data: data.map(Vec::from),
            acl: acl.clone(),
            stat,
        };
        self.nodes.insert(path.to_string(), node);
        changes.push(self.change(ChangeKind::Created, path));
        changes.push(self.change(ChangeKind::ChildrenChanged, &parent_path));
        let stat = self.stat(path);
        self.write_stats(Some(path));
        Outcome::Created {
            path: path.to_string(),
            stat,
        }
    }

    fn delete(&mut self, header: &TxnHeader, path: &str, changes: &mut Vec<Change>) -> Outcome {
        let Some((parent_path, _)) = split(path) else {
            return failed(ErrorCode::BadArguments);
        };
        let Some(parent) = self.nodes.get_mut(&parent_path) else {
            return failed(ErrorCode::NoNode);
        };
        parent.stat.pzxid = header.zxid.0;
        if !self.nodes.contains_key(path) {
            return failed(ErrorCode::NoNode);
        }
        changes.push(self.change(ChangeKind::Deleted, path));
        let below = alloc::format!("{path}/");
        self.nodes
            .retain(|key, _| key != path && !key.starts_with(&below));
        changes.push(self.change(ChangeKind::ChildrenChanged, &parent_path));
        self.write_stats(None);
        Outcome::Deleted
    }
}

/// Everything that can be asked of the tree, against the model.
pub(super) fn assert_same(database: &Database, model: &Model) {
    assert_eq!(Model::of(database), *model);
    assert_eq!(database.digest(), model.digest());
    let tree = database.tree();
    for path in model.nodes.keys() {
        let node = tree.get(path).unwrap();
        assert_eq!(node.stat(), model.stat(path), "{path:?}");
        assert!(node.children().eq(model.children(path)));
        let below = alloc::format!("{path}/");
        let descendants = model
            .nodes
            .keys()
            .filter(|key| key.starts_with(&below))
            .count();
        assert_eq!(tree.descendants(path), Some(descendants));
        assert_eq!(node.digest(), digest::of(path, node.data(), node.stored()));
    }
    let owners: Vec<_> = (1..4)
        .map(SessionId)
        .filter(|s| tree.has_ephemerals(*s))
        .collect();
    assert!(tree.ephemeral_owners().eq(owners));
    let mut ephemerals = 0;
    for session in (1..4).map(SessionId) {
        assert!(tree.ephemerals(session).eq(model.ephemerals(session)));
        ephemerals += model.ephemerals(session).len();
    }
    assert_eq!(tree.ephemeral_count(), ephemerals);
    // The sessions here are small numbers.
    let swept = |node: &Node| node.stat.owner < 0;
    let mut sweepable: Vec<String> = tree.sweepable(None).map(|(_, n)| n.path()).collect();
    sweepable.sort();
    let expected = model.nodes.iter().filter(|(_, node)| swept(node));
    assert!(sweepable.iter().eq(expected.map(|(path, _)| path)));
    assert_eq!(tree.node_count(), model.nodes.len() + 1);
    let bytes = model
        .nodes
        .iter()
        .map(|(path, n)| path.len() + n.data.as_ref().map_or(0, Vec::len));
    let root = model.nodes[""].data.as_ref().map_or(0, Vec::len);
    assert_eq!(tree.data_bytes(), bytes.sum::<usize>() + 1 + root);
}

/// Few names, so that histories meet the same nodes again, and some that no client may use.
pub(super) fn any_path() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "(/[abc]){1,3}",
        2 => "/(a|a-|a0|ab)(/[ab])?",
        1 => "/zookeeper/(quota|config|x)(/[ab])?",
        3 => "/zookeeper/quota(/[ab]){0,2}/zookeeper_(limits|stats)",
        1 => prop_oneof![
            Just(""), Just("/"), Just("//"), Just("a"), Just("//a"), Just("/a/"), Just("/a//b"),
        ]
        .prop_map(String::from),
    ]
}

fn any_data() -> impl Strategy<Value = Option<&'static [u8]>> {
    prop_oneof![
        Just(None),
        Just(Some(&b""[..])),
        Just(Some(&b"x"[..])),
        Just(Some(&b"hello"[..]))
    ]
}

fn any_acl() -> impl Strategy<Value = Vec<Acl>> {
    prop_oneof![
        3 => Just([Acl::world(perms::ALL)].into()),
        1 => Just([Acl::world(perms::READ)].into()),
        1 => Just([Acl::world(perms::READ), Acl::world(perms::WRITE)].into()),
        1 => Just(Vec::new()),
    ]
}

fn any_sub() -> impl Strategy<Value = (i32, Txn<'static>)> {
    let mode = prop_oneof![
        4 => Just((op::CREATE, CreateMode::Persistent)),
        1 => Just((op::CREATE2, CreateMode::Persistent)),
        3 => Just((op::CREATE, CreateMode::Ephemeral)),
        1 => Just((op::CREATE_CONTAINER, CreateMode::Container)),
        1 => (1..=stat::TTL_MS_MAX).prop_map(|ms| (op::CREATE_TTL, CreateMode::Ttl(ms))),
    ];
    let cversion = prop_oneof![Just(-1), 0..9];
    let create = (any_path(), any_data(), any_acl(), mode, cversion).prop_map(
        |(path, data, acl, (kind, mode), parent_cversion)| {
            (
                kind,
                Txn::Create {
                    path: Cow::Owned(path),
                    data,
                    acl,
                    mode,
                    parent_cversion,
                },
            )
        },
    );
    prop_oneof![
        6 => create,
        3 => any_path().prop_map(|path| (op::DELETE, Txn::Delete { path: Cow::Owned(path) })),
        3 => (any_path(), any_data(), 0..9).prop_map(|(path, data, version)| {
            (op::SET_DATA, Txn::SetData { path: Cow::Owned(path), data, version })
        }),
        1 => (any_path(), 0..9).prop_map(|(path, version)| {
            (op::CHECK, Txn::Check { path: Cow::Owned(path), version })
        }),
    ]
}

fn any_txn() -> impl Strategy<Value = (i32, Txn<'static>)> {
    let error = (-120..0).prop_map(|code| (op::ERROR, Txn::Error { code }));
    let part = prop_oneof![9 => any_sub(), 1 => error.clone()];
    let multi = prop::collection::vec(part, 0..6).prop_map(|subs| {
        let subs = subs.into_iter().map(|(kind, txn)| SubTxn { kind, txn });
        (op::MULTI, Txn::Multi(subs.collect()))
    });
    let paths = prop::collection::vec(any_path().prop_map(Cow::Owned), 0..4);
    prop_oneof![
        12 => any_sub(),
        4 => multi,
        1 => error,
        1 => (any_path(), any_acl(), 0..9).prop_map(|(path, acl, version)| {
            (op::SET_ACL, Txn::SetAcl { path: Cow::Owned(path), acl, version })
        }),
        2 => (1..99).prop_map(|ms| (op::CREATE_SESSION, Txn::CreateSession { timeout_ms: ms })),
        1 => prop::option::of(paths)
            .prop_map(|paths| (op::CLOSE_SESSION, Txn::CloseSession { paths })),
    ]
}

/// A transaction with header; its zxid is set by [`number`].
pub(super) fn any_record() -> impl Strategy<Value = TxnRecord<'static>> {
    (1..4i64, 0..1_000i64, any_txn()).prop_map(|(session, time, (kind, txn))| {
        let session = SessionId(session);
        let header = TxnHeader {
            session,
            cxid: 1,
            zxid: Zxid(0),
            time: WallMs(time),
            kind,
        };
        TxnRecord {
            header,
            txn,
            digest: None,
        }
    })
}

/// Creates of a quota on `/a` and one on `/a/b`.
fn quota_nodes() -> Vec<TxnRecord<'static>> {
    let paths = [
        "/zookeeper/quota/a",
        "/zookeeper/quota/a/zookeeper_limits",
        "/zookeeper/quota/a/zookeeper_stats",
        "/zookeeper/quota/a/b",
        "/zookeeper/quota/a/b/zookeeper_limits",
        "/zookeeper/quota/a/b/zookeeper_stats",
    ];
    let create = |path: &'static str| TxnRecord {
        header: TxnHeader {
            session: SessionId(1),
            cxid: 1,
            zxid: Zxid(0),
            time: WallMs(1),
            kind: op::CREATE,
        },
        txn: Txn::Create {
            path: path.into(),
            data: None,
            acl: [Acl::world(perms::ALL)].into(),
            mode: CreateMode::Persistent,
            parent_cversion: -1,
        },
        digest: None,
    };
    paths.into_iter().map(create).collect()
}

pub(super) fn any_history(length: usize) -> impl Strategy<Value = Vec<TxnRecord<'static>>> {
    let quotas = prop_oneof![Just(Vec::new()), Just(quota_nodes())];
    let rest = prop::collection::vec(any_record(), 0..length);
    (quotas, rest).prop_map(|(mut records, rest)| {
        records.extend(rest);
        for (at, record) in records.iter_mut().enumerate() {
            record.header.zxid = Zxid((1 << 32) + 1 + at as i64);
        }
        records
    })
}

proptest! {
    #[test]
    fn histories_end_as_the_rules_say(history in any_history(60)) {
        let mut database = Database::new(7, Mutants::NONE);
        let mut model = Model::fresh();
        let mut changes = Vec::new();
        for record in &history {
            let outcome = database.apply(record, &mut changes);
            let (expected, expected_changes) = model.apply(record);
            prop_assert_eq!(outcome, expected, "{:?}", record);
            prop_assert_eq!(&changes, &expected_changes, "{:?}", record);
            prop_assert_eq!(database.applied(), record.header.zxid);
            prop_assert_eq!(database.digest(), model.digest(), "{:?}", record);
        }
        assert_same(&database, &model);
    }

    #[test]
    fn damaged_histories_never_panic(
        history in any_history(12),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = Vec::new();
        for record in &history {
            let at = bytes.len();
            bytes.push(0);
            record.encode(&mut bytes);
            bytes[at] = u8::try_from(bytes.len() - at - 1).unwrap_or(u8::MAX);
        }
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        crate::fuzzing::history(&bytes);
    }
}
