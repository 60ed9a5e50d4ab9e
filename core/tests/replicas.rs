//! A leader prepares, lags, takes snapshots and loses reigns; whoever applies the same records, or
//! loads its snapshot and replays the rest, holds the same tree, and the digest in each record is
//! the digest of the tree after it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;
use vivarium_core::config::Rules;
use vivarium_core::database::{Database, WalkId, Walked};
use vivarium_core::ids::{Epoch, SessionId, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::prepare::{Ask, Outstanding, Refusal};
use vivarium_core::recovery::Recovery;
use vivarium_core::snapshot::SnapshotLoader;
use vivarium_core::time::WallMs;
use vivarium_core::tree::StoredStat;
use vivarium_core::wire::client::{CreateOp, Request};
use vivarium_core::wire::records::{Acl, ErrorCode, Stat, op, perms};
use vivarium_core::wire::txn::TxnRecord;

#[derive(Clone, Debug)]
enum Step {
    Propose {
        session: i64,
        request: Request<'static>,
        refused: bool,
    },
    /// The sweeper's delete.
    Sweep { path: String },
    /// The oldest so many proposals commit.
    Apply(usize),
    /// Starts a snapshot, or goes on with it by so many bytes.
    Snapshot(usize),
    /// What is not applied yet is forgotten, and the next epoch begins.
    NewReign,
}

fn rules() -> Rules {
    Rules {
        extended_types: true,
        enforce_quota: true,
        ..Rules::default()
    }
}

/// The server that decides.
struct Leader {
    database: Database,
    outstanding: Outstanding,
    zxid: Zxid,
    proposed: VecDeque<Bytes>,
    /// Everything applied.
    log: Vec<Bytes>,
    snapshot: Option<(WalkId, Vec<u8>)>,
}

impl Leader {
    fn new() -> Self {
        Self {
            database: Database::new(1, Mutants::NONE),
            outstanding: Outstanding::new(&rules(), Mutants::NONE),
            zxid: Epoch(1).zxid(),
            proposed: VecDeque::new(),
            log: Vec::new(),
            snapshot: None,
        }
    }

    fn propose(&mut self, session: i64, op: i32, body: &[u8], refuse: Option<ErrorCode>) {
        self.zxid = self.zxid.next();
        let ask = Ask {
            session: SessionId(session),
            cxid: 1,
            op,
            body,
            identities: &[],
            zxid: self.zxid,
            time: WallMs(1_000 + i64::from(self.zxid.counter())),
            refuse: refuse.map(Refusal::Everything),
        };
        let mut record = Vec::new();
        self.outstanding.prepare(&self.database, &ask, &mut record);
        self.proposed.push_back(record.into());
    }

    fn quota(&mut self, path: &str) {
        for name in ["", "/zookeeper_limits", "/zookeeper_stats"] {
            let mut body = Vec::new();
            let request = Request::Create {
                kind: CreateOp::Create,
                path: format!("/zookeeper/quota{path}{name}").into(),
                data: Some(b"count=1,bytes=9=;countHardLimit=4"),
                acl: Some([Acl::world(perms::ALL)].into()),
                flags: 0,
            };
            request.encode(&mut body);
            self.propose(1, op::CREATE, &body, None);
        }
    }

    fn apply(&mut self, count: usize) {
        for _ in 0..count {
            let Some(bytes) = self.proposed.pop_front() else {
                return;
            };
            let record = TxnRecord::decode(&bytes).unwrap();
            self.database.apply(&record, &mut Vec::new());
            assert_eq!(
                record.digest,
                Some(self.database.digest()),
                "after {record:?}"
            );
            self.outstanding.retire(record.header.zxid);
            self.log.push(bytes);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Propose {
                session,
                request,
                refused,
            } => {
                let mut body = Vec::new();
                request.encode(&mut body);
                let refuse = refused.then_some(ErrorCode::SessionMoved);
                self.propose(*session, request.op(), &body, refuse);
            }
            Step::Sweep { path } => self.propose(0, op::DELETE_CONTAINER, path.as_bytes(), None),
            Step::Apply(count) => self.apply(*count),
            Step::Snapshot(budget) => {
                let database = &mut self.database;
                let begin = || (database.begin_walk(), Vec::new());
                let (id, bytes) = self.snapshot.get_or_insert_with(begin);
                self.database.walk(*id, *budget, bytes);
            }
            Step::NewReign => {
                self.proposed.clear();
                self.outstanding.clear();
                self.zxid = self.zxid.epoch().next().zxid();
                self.database.set_applied(self.zxid);
            }
        }
    }
}

#[derive(PartialEq, Debug)]
struct Shown {
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    stored: StoredStat,
    visible: Stat,
}

/// All that replicas must agree on.
#[derive(PartialEq, Debug)]
struct State {
    nodes: BTreeMap<String, Shown>,
    ephemerals: Vec<(SessionId, Vec<String>)>,
    sessions: BTreeMap<SessionId, i32>,
    digest: u64,
    node_count: usize,
    data_bytes: usize,
}

fn state(database: &Database) -> State {
    let tree = database.tree();
    let mut nodes = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let node = tree.get(&path).unwrap();
        open.extend(node.children().map(|name| format!("{path}/{name}")));
        let shown = Shown {
            data: node.data().map(Vec::from),
            acl: node.acl().to_vec(),
            stored: *node.stored(),
            visible: node.stat(),
        };
        nodes.insert(path, shown);
    }
    let owners = tree.ephemeral_owners();
    State {
        nodes,
        ephemerals: owners
            .map(|owner| (owner, tree.ephemerals(owner).collect()))
            .collect(),
        sessions: database.sessions().clone(),
        digest: database.digest(),
        node_count: tree.node_count(),
        data_bytes: tree.data_bytes(),
    }
}

fn replayed(mut recovery: Recovery, log: &[Bytes]) -> State {
    for record in log {
        recovery.replay(record.clone()).unwrap();
    }
    assert_eq!(recovery.digest_mismatches(), 0);
    state(&recovery.finish(Epoch(1), Epoch(1)).database)
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![9 => "(/[abc]){1,3}", 1 => "/zookeeper/quota(/[ab]){0,2}",
        2 => "/zookeeper/quota(/[ab]){1,2}/zookeeper_(limits|stats)", 1 => Just("/".into())]
}

fn create() -> impl Strategy<Value = Request<'static>> {
    let kind = prop_oneof![
        4 => Just(CreateOp::Create),
        2 => Just(CreateOp::Create2),
        1 => Just(CreateOp::Container),
        1 => Just(CreateOp::Ttl(5)),
    ];
    let acl = prop_oneof![6 => Just(perms::ALL), 1 => Just(perms::ALL - perms::DELETE)];
    let limits = Just(Some(&b"count=1,bytes=9=;countHardLimit=4"[..]));
    let data = prop_oneof![2 => Just(None), 2 => Just(Some(&b"data"[..])), 1 => limits];
    (kind, path(), data, acl, 0..7).prop_map(|(kind, path, data, acl, flags)| Request::Create {
        kind,
        path: path.into(),
        data,
        acl: Some([Acl::world(acl)].into()),
        flags,
    })
}

fn part() -> impl Strategy<Value = Request<'static>> {
    let version = || prop_oneof![4 => Just(-1), 1 => 0..3_i32];
    prop_oneof![
        5 => create(),
        2 => (path(), version())
            .prop_map(|(path, version)| Request::Delete { path: path.into(), version }),
        2 => (path(), version()).prop_map(|(path, version)| Request::SetData {
            path: path.into(),
            data: Some(b"other"),
            version,
        }),
        1 => (path(), version())
            .prop_map(|(path, version)| Request::Check { path: path.into(), version }),
    ]
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let mask = prop_oneof![3 => Just(perms::ALL), 1 => Just(perms::READ + perms::ADMIN)];
    prop_oneof![
        8 => part(),
        3 => prop::collection::vec(part(), 0..5).prop_map(Request::Multi),
        1 => (path(), mask).prop_map(|(path, mask)| Request::SetAcl {
            path: path.into(),
            acl: Some([Acl::world(mask)].into()),
            version: -1,
        }),
        1 => (1..9).prop_map(|timeout_ms| Request::CreateSession { timeout_ms }),
        1 => Just(Request::CloseSession),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let propose = (1..4_i64, request(), prop::bool::weighted(0.05));
    prop_oneof![
        12 => propose
            .prop_map(|(session, request, refused)| Step::Propose { session, request, refused }),
        1 => path().prop_map(|path| Step::Sweep { path }),
        6 => (1..4_usize).prop_map(Step::Apply),
        1 => (0..300_usize).prop_map(Step::Snapshot),
        1 => Just(Step::NewReign),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    #[test]
    fn replicas_agree(steps in prop::collection::vec(step(), 1..120)) {
        let mut leader = Leader::new();
        // Two quotas, of which one is inside the other.
        for path in ["/a", "/a/b"] {
            leader.quota(path);
        }
        for step in &steps {
            leader.step(step);
        }
        leader.apply(usize::MAX);
        prop_assert!(leader.outstanding.is_empty());
        let expected = state(&leader.database);
        prop_assert_eq!(&replayed(Recovery::fresh(2, Mutants::NONE), &leader.log), &expected);
        let Some((id, mut bytes)) = leader.snapshot.take() else { return Ok(()) };
        while leader.database.walk(id, 100, &mut bytes) == Walked::More {}
        let mut loader = SnapshotLoader::new(3, Mutants::NONE);
        prop_assert_eq!(loader.feed(&bytes), Ok(bytes.len()));
        let loaded = loader.finish(leader.database.walk_zxid(id)).unwrap();
        prop_assert_eq!(loaded.digest(), leader.database.walk_digest(id));
        prop_assert_eq!(replayed(Recovery::from_snapshot(loaded), &leader.log), expected);
    }
}
