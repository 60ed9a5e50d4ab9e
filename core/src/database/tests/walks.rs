//! Walks while the tree changes, and what a loader makes of their bytes.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::model::{Model, any_history, any_record, assert_same};
use crate::database::{Database, WalkId, Walked};
use crate::ids::{SessionId, Zxid};
use crate::limits::{CLIENT_FRAME_BYTES_SETTING, SNAPSHOT_ENTRY_BYTES_MAX};
use crate::mutants::Mutants;
use crate::snapshot::{LoadFault, SnapshotLoader};
use crate::tree::StoredStat;
use crate::wire::jute::Write;
use crate::wire::records::{Acl, perms};
use crate::wire::txn::TxnRecord;

fn walk_to_end(database: &mut Database, id: WalkId, budget: usize, out: &mut Vec<u8>) {
    while database.walk(id, budget, out) == Walked::More {}
}

fn snapshot(database: &mut Database) -> Vec<u8> {
    let mut out = Vec::new();
    let id = database.begin_walk();
    walk_to_end(database, id, usize::MAX, &mut out);
    database.end_walk(id);
    out
}

fn load(bytes: &[u8]) -> Result<Database, LoadFault> {
    let mut loader = SnapshotLoader::new(3, Mutants::NONE);
    loader.feed(bytes).map_err(|error| error.fault)?;
    loader.finish(Zxid(9)).map_err(|error| error.fault)
}

/// One walk of a history, and what it must come to.
struct Expected {
    id: WalkId,
    bytes: Vec<u8>,
    state: Model,
    zxid: Zxid,
    digest: u64,
    done: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Apply(TxnRecord<'static>),
    Begin,
    Walk { which: usize, budget: usize },
    End { which: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_record().prop_map(Step::Apply),
        1 => Just(Step::Begin),
        4 => (0..4usize, 0..400usize).prop_map(|(which, budget)| Step::Walk { which, budget }),
        1 => (0..4usize).prop_map(|which| Step::End { which }),
    ]
}

fn check(database: &mut Database, walk: Expected) {
    let mut walk = walk;
    if !walk.done {
        walk_to_end(database, walk.id, 50, &mut walk.bytes);
    }
    assert_eq!(database.walk(walk.id, 50, &mut walk.bytes), Walked::Done);
    assert_eq!(database.walk_zxid(walk.id), walk.zxid);
    assert_eq!(database.walk_digest(walk.id), walk.digest);
    let mut loader = SnapshotLoader::new(3, Mutants::NONE);
    assert_eq!(loader.feed(&walk.bytes), Ok(walk.bytes.len()));
    let loaded = loader.finish(walk.zxid).unwrap();
    assert_same(&loaded, &walk.state);
    assert_eq!(
        (loaded.applied(), loaded.digest()),
        (walk.zxid, walk.digest)
    );
}

proptest! {
    #[test]
    fn a_walk_shows_the_state_at_its_start(
        history in any_history(40),
        steps in prop::collection::vec(any_step(), 0..80),
    ) {
        let mut database = Database::new(7, Mutants::NONE);
        let mut changes = Vec::new();
        for record in &history {
            database.apply(record, &mut changes);
        }
        let mut walks: Vec<Expected> = Vec::new();
        for step in steps {
            match step {
                Step::Apply(mut record) => {
                    record.header.zxid = Zxid(database.applied().0 + 1);
                    database.apply(&record, &mut changes);
                }
                Step::Begin => {
                    walks.push(Expected {
                        id: database.begin_walk(),
                        bytes: Vec::new(),
                        state: Model::of(&database),
                        zxid: database.applied(),
                        digest: database.digest(),
                        done: false,
                    });
                }
                Step::Walk { which, budget } => {
                    if let Some(walk) = walks.get_mut(which) {
                        let before = walk.bytes.len();
                        let walked = database.walk(walk.id, budget, &mut walk.bytes);
                        prop_assert!(walk.bytes.len() - before < budget.max(1) + 200);
                        walk.done = walked == Walked::Done;
                    }
                }
                Step::End { which } => {
                    if which < walks.len() {
                        let walk = walks.remove(which);
                        let id = walk.id;
                        check(&mut database, walk);
                        database.end_walk(id);
                    }
                }
            }
        }
        for walk in walks {
            check(&mut database, walk);
        }
    }

    #[test]
    fn a_loaded_snapshot_is_the_same_however_it_is_cut(
        history in any_history(40),
        pieces in prop::collection::vec(1..90usize, 1..8),
    ) {
        let mut database = Database::new(7, Mutants::NONE);
        for record in &history {
            database.apply_unwatched(record);
        }
        let bytes = snapshot(&mut database);
        let mut stream = bytes.clone();
        stream.extend_from_slice(b"trailer");
        let mut loader = SnapshotLoader::new(3, Mutants::NONE);
        let mut fed = 0;
        for piece in pieces.iter().cycle() {
            if loader.is_complete() {
                break;
            }
            let end = stream.len().min(fed + piece);
            fed += loader.feed(&stream[fed..end]).unwrap();
        }
        prop_assert_eq!(fed, bytes.len());
        prop_assert_eq!(loader.feed(b"trailer"), Ok(0));
        let mut loaded = loader.finish(database.applied()).unwrap();
        assert_same(&loaded, &Model::of(&database));
        prop_assert_eq!(snapshot(&mut loaded).len(), bytes.len());
    }

    #[test]
    fn damaged_snapshots_never_panic(
        history in any_history(20),
        damage in prop::collection::vec((0..4_000usize, any::<u8>()), 0..4),
        end in 0..4_000usize,
    ) {
        let mut database = Database::new(7, Mutants::NONE);
        for record in &history {
            database.apply_unwatched(record);
        }
        let mut bytes = snapshot(&mut database);
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(end);
        if let Ok(mut loaded) = load(&bytes) {
            snapshot(&mut loaded);
        }
    }
}

fn head(sessions: &[(i64, i32)], acls: &[(i64, &[Acl])]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_count(sessions.len());
    for &(session, timeout_ms) in sessions {
        out.put_i64(session);
        out.put_i32(timeout_ms);
    }
    out.put_count(acls.len());
    for (id, list) in acls {
        out.put_i64(*id);
        Acl::write_list(list, &mut out);
    }
    out
}

fn nodes(mut out: Vec<u8>, nodes: &[(&str, i64)]) -> Vec<u8> {
    for (path, acl) in nodes {
        out.put_string(path);
        out.put_buffer(Some(b"data"));
        out.put_i64(*acl);
        StoredStat::primordial().write(&mut out);
    }
    out.put_string("/");
    out
}

#[test]
fn a_snapshot_is_written_as_zookeeper_writes_it() {
    let mut database = Database::new(7, Mutants::NONE);
    let bytes = snapshot(&mut database);
    let mut expected = head(&[], &[(1, &[Acl::world(perms::READ)])]);
    for (path, acl, aversion) in [
        ("", -1, 0),
        ("/zookeeper", -1, 0),
        ("/zookeeper/config", 1, -1),
        ("/zookeeper/quota", -1, 0),
    ] {
        expected.put_string(path);
        expected.put_buffer(Some(b""));
        expected.put_i64(acl);
        StoredStat {
            aversion,
            ..StoredStat::primordial()
        }
        .write(&mut expected);
    }
    expected.put_string("/");
    assert_eq!(bytes, expected);
}

#[test]
fn what_makes_no_tree_is_refused_by_name() {
    let plain = || head(&[(5, 1_000)], &[]);
    let faults: [(Vec<u8>, LoadFault); 9] = [
        (nodes(plain(), &[]), LoadFault::RootMissing("/".into())),
        (
            nodes(plain(), &[("/a", -1)]),
            LoadFault::RootMissing("/a".into()),
        ),
        (
            nodes(plain(), &[("", -1), ("", -1)]),
            LoadFault::NodeTwice("".into()),
        ),
        (
            nodes(plain(), &[("", -1), ("/a/b", -1)]),
            LoadFault::ParentMissing("/a/b".into()),
        ),
        (
            nodes(plain(), &[("", -1), ("/a", -1), ("/a", -1)]),
            LoadFault::NodeTwice("/a".into()),
        ),
        (
            nodes(plain(), &[("", -1), ("a", -1)]),
            LoadFault::Path("a".into()),
        ),
        (
            nodes(plain(), &[("", -1), ("/a/", -1)]),
            LoadFault::Path("/a/".into()),
        ),
        (
            nodes(head(&[(5, 1), (5, 1)], &[]), &[]),
            LoadFault::SessionTwice(SessionId(5)),
        ),
        (
            nodes(head(&[], &[(2, &[]), (2, &[])]), &[]),
            LoadFault::AclTwice(2),
        ),
    ];
    for (bytes, fault) in faults {
        assert_eq!(load(&bytes).unwrap_err(), fault);
    }
    let negative = (-1i32).to_be_bytes();
    assert_eq!(
        load(&negative).unwrap_err(),
        LoadFault::Count("sessions", -1)
    );
    let negative = [&[0; 4][..], &negative].concat();
    assert_eq!(load(&negative).unwrap_err(), LoadFault::Count("ACLs", -1));
}

#[test]
fn a_fault_says_where_it_stands() {
    let head = head(&[(5, 1_000)], &[]);
    let at = head.len() as u64;
    let mut loader = SnapshotLoader::new(3, Mutants::NONE);
    let error = loader.feed(&nodes(head, &[("/a", -1)])).unwrap_err();
    assert_eq!(error.offset, at);
    let text = alloc::string::ToString::to_string(&error);
    assert_eq!(
        text,
        "the first node is \"/a\", not the root (entry at byte 20 after the file header)"
    );
}

#[test]
fn every_cut_snapshot_is_unfinished() {
    let bytes = snapshot(&mut Database::new(7, Mutants::NONE));
    for end in 0..bytes.len() {
        assert_eq!(load(&bytes[..end]).unwrap_err(), LoadFault::Unfinished);
    }
    assert!(load(&bytes).is_ok());
}

#[test]
fn an_entry_without_end_is_not_kept() {
    // One ACL list that claims two thousand million members: its count is enough.
    let mut bytes = [0, 0, 0, 0, 0, 0, 0, 1].to_vec();
    bytes.put_i64(1);
    bytes.put_i32(i32::MAX);
    let error = SnapshotLoader::new(3, Mutants::NONE)
        .feed(&bytes)
        .unwrap_err();
    assert_eq!(error.fault, LoadFault::EntryTooLong);
    // A path and data that are possible each, but not together.
    let half = SNAPSHOT_ENTRY_BYTES_MAX / 4 * 3;
    let mut bytes = head(&[], &[]);
    bytes.put_buffer(Some(&vec![b'a'; half]));
    bytes.put_buffer(Some(&vec![0; half]));
    let mut loader = SnapshotLoader::new(3, Mutants::NONE);
    let mut fed = 0;
    let error = bytes.chunks(1 << 20).find_map(|chunk| {
        fed += chunk.len();
        loader.feed(chunk).err()
    });
    assert_eq!(
        error.expect("before all of it").fault,
        LoadFault::EntryTooLong
    );
    assert!(fed <= SNAPSHOT_ENTRY_BYTES_MAX + (2 << 20));
}

#[test]
fn the_longest_entry_is_read() {
    let mut bytes = nodes(head(&[], &[]), &[("", -1)]);
    bytes.truncate(bytes.len() - 5);
    bytes.put_buffer(Some(b"/a"));
    bytes.put_buffer(Some(&vec![7; *CLIENT_FRAME_BYTES_SETTING.end()]));
    bytes.put_i64(-1);
    bytes.extend([0; 60]);
    bytes.put_buffer(Some(b"/"));
    let mut loader = SnapshotLoader::new(3, Mutants::NONE);
    for chunk in bytes.chunks(4 << 20) {
        loader.feed(chunk).unwrap();
    }
    assert!(loader.is_complete());
}

#[test]
fn a_number_that_the_acl_table_lacks_lets_nobody_in() {
    let list = [Acl::world(perms::READ)];
    let bytes = nodes(head(&[], &[(4, &list)]), &[("", -1), ("/a", 4), ("/b", 5)]);
    let mut database = load(&bytes).unwrap();
    assert_eq!(
        database.tree().get("/").unwrap().acl(),
        [Acl::world(perms::ALL)]
    );
    assert_eq!(database.tree().get("/a").unwrap().acl(), list);
    assert_eq!(database.tree().get("/b").unwrap().acl(), [Acl::world(0)]);
    let again = load(&snapshot(&mut database)).unwrap();
    assert_eq!(Model::of(&again), Model::of(&database));
}

#[test]
fn lists_that_no_node_uses_are_not_kept() {
    let list = [Acl::world(perms::READ)];
    let mut database = load(&nodes(head(&[], &[(4, &list)]), &[("", -1)])).unwrap();
    assert_eq!(snapshot(&mut database), nodes(head(&[], &[]), &[("", -1)]));
}

#[test]
fn newer_nodes_use_up_a_turn_too() {
    use alloc::borrow::Cow;

    use crate::time::WallMs;
    use crate::wire::records::op;
    use crate::wire::txn::{CreateMode, Txn, TxnHeader};

    let mut database = Database::new(7, Mutants::NONE);
    let id = database.begin_walk();
    for at in 1..=1_000 {
        let header = TxnHeader {
            session: SessionId(1),
            cxid: 0,
            zxid: Zxid(at),
            time: WallMs(0),
            kind: op::CREATE,
        };
        let path = Cow::Owned(alloc::format!("/n{at:04}"));
        let acl = [Acl::world(perms::ALL)].into();
        let mode = CreateMode::Persistent;
        let txn = Txn::Create {
            path,
            data: None,
            acl,
            mode,
            parent_cversion: -1,
        };
        database.apply_unwatched(&TxnRecord {
            header,
            txn,
            digest: None,
        });
    }
    let (mut out, mut turns) = (Vec::new(), 1);
    while database.walk(id, 320, &mut out) == Walked::More {
        turns += 1;
    }
    assert!(turns > 90, "{turns} turns");
    assert_eq!(out, snapshot(&mut Database::new(8, Mutants::NONE)));
}
