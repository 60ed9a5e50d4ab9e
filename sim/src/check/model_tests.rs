//! The model against cases taken from the description of ZooKeeper's behaviour.

use super::*;

const S: SessionId = SessionId(1);

struct World {
    model: Model,
    next: i64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            model: Model::new(),
            next: 1,
        };
        let draft = world.model.draft_open(S, 1_000, Zxid(1));
        world.model.commit(draft);
        world
    }

    fn run(&mut self, op: &Op) -> Outcome {
        self.next += 1;
        let (outcome, draft) = self.model.draft(S, op, Zxid(self.next), 77);
        self.model.commit(draft);
        outcome
    }

    fn error(&mut self, op: &Op, code: ErrorCode) {
        assert_eq!(self.run(op), Outcome::Error(code.code()), "{op:?}");
    }

    fn path(&mut self, op: &Op) -> String {
        match self.run(op) {
            Outcome::Created { path, .. } => path.to_string(),
            other => panic!("{op:?}: {other:?}"),
        }
    }
}

fn create(path: &str, ephemeral: bool, sequential: bool) -> Op {
    Op::Create {
        path: path.into(),
        data: None,
        acl: open_acl(perms::ALL),
        flags: Flags {
            ephemeral,
            sequential,
            ..Flags::PLAIN
        },
        with_stat: true,
    }
}

fn delete(path: &str, version: i32) -> Op {
    Op::Delete {
        path: path.into(),
        version,
    }
}

fn set(path: &str, version: i32) -> Op {
    Op::SetData {
        path: path.into(),
        data: Some(Bytes::from_static(b"x")),
        version,
    }
}

#[test]
fn errors_come_in_the_order_of_checks() {
    let mut w = World::new();
    w.error(&create("/a/b", false, false), ErrorCode::NoNode);
    assert_eq!(w.path(&create("/a", false, false)), "/a");
    w.error(&create("/a", false, false), ErrorCode::NodeExists);
    w.error(&set("/a", 1), ErrorCode::BadVersion);
    assert_eq!(w.path(&create("/a/b", false, false)), "/a/b");
    w.error(&delete("/a", 7), ErrorCode::BadVersion);
    w.error(&delete("/a", 0), ErrorCode::NotEmpty);
    w.error(&delete("/x/y", -1), ErrorCode::NoNode);
    w.path(&create("/e", true, false));
    w.error(
        &create("/e/x", false, true),
        ErrorCode::NoChildrenForEphemerals,
    );
}

#[test]
fn sequence_counts_every_create_and_no_delete() {
    let mut w = World::new();
    w.path(&create("/p", false, false));
    w.path(&create("/p/x", false, false));
    assert_eq!(w.path(&create("/p/n-", false, true)), "/p/n-0000000001");
    w.run(&delete("/p/n-0000000001", -1));
    w.run(&delete("/p/x", -1));
    assert_eq!(w.path(&create("/p/n-", false, true)), "/p/n-0000000002");
    let parent = w.model.now("/p").unwrap().stat();
    assert_eq!((parent.cversion, parent.num_children), (2 * 3 - 1, 1));
}

#[test]
fn fresh_root_is_as_zookeeper_shows_it() {
    let model = Model::new();
    let root = model.now("/").unwrap().stat();
    assert_eq!(
        (root.cversion, root.num_children, root.data_length),
        (-1, 1, 0)
    );
    assert_eq!(model.now("/zookeeper").unwrap().stat().cversion, -2);
    assert_eq!(model.now("/zookeeper/config").unwrap().aversion, -1);
}

#[test]
fn a_failed_multi_leaves_nothing() {
    let mut w = World::new();
    let before = w.model.digest();
    let multi = Op::Multi(vec![
        create("/a", false, false),
        delete("/missing", -1),
        create("/b", false, false),
    ]);
    let outcome = w.run(&multi);
    assert_eq!(outcome, failed_multi(3, 1, ErrorCode::NoNode.code()));
    assert_eq!(w.model.digest(), before);
    assert!(w.model.now("/a").is_none());
    let good = Op::Multi(vec![
        create("/a", false, false),
        create("/a/s", false, true),
    ]);
    assert!(matches!(w.run(&good), Outcome::Multi(r) if r.len() == 2));
    assert!(w.model.now("/a/s0000000000").is_some());
}

#[test]
fn closing_takes_the_ephemerals_and_ends_the_session() {
    let mut w = World::new();
    w.path(&create("/e", true, false));
    assert_eq!(w.model.session(S).unwrap().ephemerals.len(), 1);
    assert_eq!(w.run(&Op::CloseSession), Outcome::Done);
    assert!(w.model.now("/e").is_none());
    assert!(!w.model.is_alive(S));
    w.error(&set("/", -1), ErrorCode::SessionExpired);
}

#[test]
fn every_version_stays_readable() {
    let mut w = World::new();
    w.path(&create("/a", false, false)); // 2
    w.run(&set("/a", -1)); // 3
    w.path(&create("/a/b", false, false)); // 4
    w.run(&delete("/a/b", -1)); // 5
    assert!(w.model.at("/a", Zxid(1)).is_none());
    assert_eq!(w.model.at("/a", Zxid(2)).unwrap().version, 0);
    assert_eq!(w.model.at("/a", Zxid(3)).unwrap().version, 1);
    assert_eq!(w.model.children_at("/a", Zxid(4)).len(), 1);
    assert!(w.model.children_at("/a", Zxid(3)).is_empty());
    assert!(w.model.children_at("/a", Zxid(5)).is_empty());
    let below = |zxid| w.model.below("/a", Zxid(zxid)).count();
    assert_eq!((below(3), below(4), below(5)), (0, 1, 0));
}
