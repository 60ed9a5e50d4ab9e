mod model;
mod walks;

use alloc::borrow::Cow;

use super::*;
use crate::time::WallMs;
use crate::wire::records::{ErrorCode, op};
use crate::wire::txn::{CreateMode, Txn, TxnHeader};

const SESSION: SessionId = SessionId(0x1000_0000_0001);

/// The next transaction of the database.
fn next<'a>(database: &Database, kind: i32, txn: Txn<'a>) -> TxnRecord<'a> {
    let zxid = Zxid(database.applied().0.max(0x1_0000_0001) + 1);
    let time = WallMs(1_700_000_000_000);
    let header = TxnHeader {
        session: SESSION,
        cxid: 3,
        zxid,
        time,
        kind,
    };
    TxnRecord {
        header,
        txn,
        digest: None,
    }
}

fn create(path: &str, mode: CreateMode) -> Txn<'_> {
    let acl = [Acl::world(perms::ALL)].into();
    Txn::Create {
        path: Cow::Borrowed(path),
        data: Some(b"hello"),
        acl,
        mode,
        parent_cversion: -1,
    }
}

fn apply(database: &mut Database, kind: i32, txn: Txn<'_>) -> Outcome {
    let record = next(database, kind, txn);
    database.apply(&record, &mut Vec::new())
}

fn stat(database: &Database, path: &str) -> Stat {
    database.tree().get(path).unwrap().stat()
}

#[test]
fn a_fresh_database_is_zookeepers() {
    let database = Database::new(1, Mutants::NONE);
    assert_eq!(database.digest(), 0x51c6_d660);
    assert_eq!(database.tree().node_count(), 5);
    assert_eq!(database.tree().data_bytes(), 44);
    let root = database.tree().get("/").unwrap();
    assert_eq!(root.data(), Some(&b""[..]));
    assert_eq!(
        root.stat(),
        Stat {
            cversion: -1,
            num_children: 1,
            ..Stat::default()
        }
    );
    let zookeeper = database.tree().get("/zookeeper").unwrap();
    assert_eq!(
        zookeeper.stat(),
        Stat {
            cversion: -2,
            num_children: 2,
            ..Stat::default()
        }
    );
    assert!(zookeeper.children().eq(["config", "quota"]));
    assert_eq!(
        database.tree().get("/zookeeper/quota").unwrap().stat(),
        Stat::default()
    );
    let config = database.tree().get("/zookeeper/config").unwrap();
    assert_eq!(
        config.stat(),
        Stat {
            aversion: -1,
            ..Stat::default()
        }
    );
    assert_eq!(config.acl(), [Acl::world(perms::READ)]);
}

#[test]
fn the_digest_after_a_create_is_zookeepers() {
    let mut database = Database::new(1, Mutants::NONE);
    apply(
        &mut database,
        op::CREATE,
        create("/a", CreateMode::Persistent),
    );
    // Summed by hand over root, /zookeeper and /a.
    assert_eq!(database.digest(), 0x2_13ac_2648);
}

#[test]
fn stats_move_as_clients_expect() {
    let mut database = Database::new(1, Mutants::NONE);
    let created = next(&database, op::CREATE, create("/a", CreateMode::Persistent));
    let zxid = created.header.zxid.0;
    let outcome = database.apply(&created, &mut Vec::new());
    let expected = Stat {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: 1_700_000_000_000,
        mtime: 1_700_000_000_000,
        data_length: 5,
        ..Stat::default()
    };
    assert_eq!(
        outcome,
        Outcome::Created {
            path: "/a".into(),
            stat: expected
        }
    );
    let root = stat(&database, "/");
    assert_eq!((root.cversion, root.num_children, root.pzxid), (0, 2, zxid));

    apply(
        &mut database,
        op::CREATE,
        create("/a/b", CreateMode::Persistent),
    );
    assert_eq!(stat(&database, "/"), root, "a grandchild changes nothing");
    let with_child = stat(&database, "/a");
    assert_eq!((with_child.cversion, with_child.version), (1, 0));

    let set = Txn::SetData {
        path: "/a/b".into(),
        data: None,
        version: 1,
    };
    apply(&mut database, op::SET_DATA, set);
    assert_eq!(
        stat(&database, "/a"),
        with_child,
        "a child's data changes nothing"
    );

    apply(
        &mut database,
        op::DELETE,
        Txn::Delete {
            path: "/a/b".into(),
        },
    );
    let childless = stat(&database, "/a");
    assert_eq!((childless.cversion, childless.num_children), (2, 0));
    assert_eq!(childless.pzxid, database.applied().0);
    assert_eq!(childless.mzxid, zxid);
}

#[test]
fn a_delete_of_a_missing_node_still_moves_the_parent() {
    let mut database = Database::new(1, Mutants::NONE);
    let outcome = apply(&mut database, op::DELETE, Txn::Delete { path: "/a".into() });
    assert_eq!(outcome, Outcome::Error(ErrorCode::NoNode.code()));
    assert_eq!(stat(&database, "/").pzxid, database.applied().0);
}

#[test]
fn a_ttl_that_can_not_be_stored_is_an_error() {
    let mut database = Database::new(1, Mutants::NONE);
    let outcome = apply(
        &mut database,
        op::CREATE_TTL,
        create("/a", CreateMode::Ttl(0)),
    );
    assert_eq!(outcome, Outcome::Error(ErrorCode::BadArguments.code()));
    assert_eq!(database.digest(), 0x51c6_d660);
}

#[test]
fn a_full_cversion_stops() {
    let mut database = Database::new(1, Mutants::NONE);
    let mut last = create("/a", CreateMode::Persistent);
    if let Txn::Create {
        parent_cversion, ..
    } = &mut last
    {
        *parent_cversion = i32::MAX;
    }
    apply(&mut database, op::CREATE, last);
    let pzxid = stat(&database, "/").pzxid;
    apply(
        &mut database,
        op::CREATE,
        create("/b", CreateMode::Persistent),
    );
    let root = database.tree().get("/").unwrap();
    assert_eq!(
        (root.stored().cversion, root.stored().pzxid),
        (i32::MAX, pzxid)
    );
}

#[test]
fn a_session_takes_its_nodes_along() {
    let mut database = Database::new(1, Mutants::NONE);
    apply(
        &mut database,
        op::CREATE_SESSION,
        Txn::CreateSession { timeout_ms: 4_000 },
    );
    assert_eq!(database.sessions().get(&SESSION), Some(&4_000));
    apply(
        &mut database,
        op::CREATE,
        create("/b", CreateMode::Ephemeral),
    );
    apply(
        &mut database,
        op::CREATE,
        create("/a", CreateMode::Ephemeral),
    );
    assert!(database.tree().ephemerals(SESSION).eq(["/a", "/b"]));
    let close = Txn::CloseSession {
        paths: Some([Cow::Borrowed("/b")].into()),
    };
    let close = next(&database, op::CLOSE_SESSION, close);
    let mut changes = Vec::new();
    assert_eq!(database.apply(&close, &mut changes), Outcome::SessionClosed);
    let fired: Vec<_> = changes
        .iter()
        .map(|change| (change.kind, &*change.path))
        .collect();
    let gone = ChangeKind::Deleted;
    let parent = (ChangeKind::ChildrenChanged, "/");
    assert_eq!(fired, [(gone, "/b"), parent, (gone, "/a"), parent]);
    assert!(database.sessions().is_empty());
    assert_eq!(database.tree().ephemeral_count(), 0);
    assert_eq!(stat(&database, "/").pzxid, database.applied().0);
}

#[test]
fn the_configuration_is_shown_but_not_counted() {
    let mut database = Database::new(1, Mutants::NONE);
    let text = "server.1=a:2888:3888:participant\nversion=100000000";
    database.set_config_node(text);
    let node = database.tree().get(CONFIG_NODE).unwrap();
    assert_eq!(node.data(), Some(text.as_bytes()));
    let stat = node.stat();
    assert_eq!(
        (stat.version, stat.aversion, stat.mzxid),
        (-1, -1, 0x1_0000_0000)
    );
    assert_eq!(database.digest(), 0x51c6_d660);
    // Databases of ZooKeeper 3.4 lack the node.
    apply(
        &mut database,
        op::DELETE,
        Txn::Delete {
            path: CONFIG_NODE.into(),
        },
    );
    database.set_config_node(text);
    let node = database.tree().get(CONFIG_NODE).unwrap();
    assert_eq!(
        (node.stat().version, node.acl()),
        (-1, &[Acl::world(perms::READ)][..])
    );
}

#[test]
#[should_panic(expected = "comes after")]
fn nothing_is_applied_twice() {
    let mut database = Database::new(1, Mutants::NONE);
    let record = next(&database, op::CREATE, create("/a", CreateMode::Persistent));
    database.apply(&record, &mut Vec::new());
    database.apply(&record, &mut Vec::new());
}

#[test]
#[should_panic(expected = "would fall")]
fn applied_never_falls() {
    let mut database = Database::new(1, Mutants::NONE);
    database.set_applied(Zxid(2));
    database.set_applied(Zxid(1));
}

#[cfg(feature = "mutants")]
mod mutants {
    use super::*;
    use crate::snapshot::SnapshotLoader;
    use crate::wire::txn::SubTxn;

    #[test]
    fn ephemeral_survives_session() {
        let mut database = Database::new(1, Mutants::with(Mutant::EphemeralSurvivesSession));
        apply(
            &mut database,
            op::CREATE,
            create("/a", CreateMode::Ephemeral),
        );
        apply(
            &mut database,
            op::CLOSE_SESSION,
            Txn::CloseSession { paths: None },
        );
        assert!(database.tree().get("/a").is_some());
    }

    #[test]
    fn multi_half_applied() {
        let mut database = Database::new(1, Mutants::with(Mutant::MultiHalfApplied));
        let good = SubTxn {
            kind: op::CREATE,
            txn: create("/a", CreateMode::Persistent),
        };
        let bad = SubTxn {
            kind: op::ERROR,
            txn: Txn::Error { code: -101 },
        };
        let outcome = apply(&mut database, op::MULTI, Txn::Multi([good, bad].into()));
        let errors = [
            (op::ERROR, Outcome::Error(0)),
            (op::ERROR, Outcome::Error(-101)),
        ];
        assert_eq!(outcome, Outcome::Multi(errors.into()));
        assert!(database.tree().get("/a").is_some());
    }

    #[test]
    fn snapshot_without_last_txn() {
        let mut database = Database::new(1, Mutants::with(Mutant::SnapshotWithoutLastTxn));
        apply(
            &mut database,
            op::CREATE,
            create("/a", CreateMode::Persistent),
        );
        apply(
            &mut database,
            op::CREATE,
            create("/b", CreateMode::Persistent),
        );
        for _ in 0..2 {
            let id = database.begin_walk();
            let mut bytes = Vec::new();
            while database.walk(id, 100, &mut bytes) == Walked::More {}
            assert_eq!(database.walk_zxid(id), database.applied());
            let mut loader = SnapshotLoader::new(1, Mutants::NONE);
            loader.feed(&bytes).unwrap();
            let loaded = loader.finish(database.walk_zxid(id)).unwrap();
            assert_eq!(loaded.digest(), database.walk_digest(id));
            assert!(loaded.tree().get("/a").is_some() && loaded.tree().get("/b").is_none());
            database.end_walk(id);
        }
    }
}
