//! Hand-made histories of watches and what connections are told.

use super::*;
use crate::check::tests::create_op;
use crate::clients::ops::Body;
use vivarium_core::ids::SessionId;
use vivarium_core::wire::records::{Acl, perms};

const C: ClientId = ClientId(1);
const S: SessionId = SessionId(7);

struct World {
    model: Model,
    watches: Watches,
    next: i64,
}

impl World {
    fn new() -> Self {
        let mut model = Model::new();
        let draft = model.draft_open(S, 100, Zxid(1));
        model.commit(draft);
        Self {
            model,
            watches: Watches::default(),
            next: 1,
        }
    }

    fn run(&mut self, op: &Op) {
        self.next += 1;
        let (_, draft) = self.model.draft(S, op, Zxid(self.next), 0);
        let closes = *op == Op::CloseSession;
        self.watches
            .committed(Zxid(self.next), closes, &draft.changes);
        self.model.commit(draft);
    }

    fn read(&mut self, op: &Op, zxid: i64, found: bool) {
        let result = if found { Ok(Body::Empty) } else { Err(-101) };
        let zxid = Zxid(zxid);
        self.watches.read(C, op, &Reply { zxid, result }).unwrap();
    }

    fn event(&mut self, zxid: i64, kind: i32, path: &str) -> Result<(), Broken> {
        self.watches.event(
            C,
            &WatchEvent {
                zxid: Zxid(zxid),
                kind,
                path: path.into(),
            },
        )
    }
}

fn exists(path: &str) -> Op {
    Op::Exists {
        path: path.into(),
        watch: true,
    }
}

fn children(path: &str) -> Op {
    Op::GetChildren {
        path: path.into(),
        watch: true,
        with_stat: false,
    }
}

fn delete(path: &str) -> Op {
    Op::Delete {
        path: path.into(),
        version: -1,
    }
}

#[test]
fn event_then_reply_passes_once() {
    let mut w = World::new();
    w.read(&exists("/a"), 1, false);
    w.run(&create_op("/a", false, false));
    assert!(w.watches.replied(C, Zxid(1)).is_ok());
    w.event(2, event::CREATED, "/a").unwrap();
    assert!(w.watches.replied(C, Zxid(2)).is_ok());
    assert_eq!(w.event(2, event::CREATED, "/a").unwrap_err().0, RULE);
}

#[test]
fn a_reply_that_overtakes_the_event_fires() {
    let mut w = World::new();
    w.read(&exists("/a"), 1, false);
    w.run(&create_op("/a", false, false));
    assert_eq!(w.watches.replied(C, Zxid(2)).unwrap_err().0, RULE_ORDER);
}

#[test]
fn a_watch_set_in_the_past_is_due_at_once() {
    let mut w = World::new();
    w.run(&create_op("/a", false, false));
    w.run(&create_op("/a/b", false, false));
    w.read(&children("/a"), 2, true);
    assert!(w.watches.replied(C, Zxid(2)).is_ok());
    assert!(w.watches.replied(C, Zxid(3)).is_err());
    w.event(3, event::CHILDREN_CHANGED, "/a").unwrap();
}

#[test]
fn one_deletion_answers_both_tables() {
    let mut w = World::new();
    w.run(&create_op("/a", false, false));
    w.read(&exists("/a"), 2, true);
    w.read(&children("/a"), 2, true);
    w.run(&delete("/a"));
    w.event(3, event::DELETED, "/a").unwrap();
    assert!(w.watches.replied(C, Zxid(3)).is_ok());
    assert_eq!(w.event(3, event::DELETED, "/a").unwrap_err().0, RULE);
}

#[test]
fn wrong_events_fire() {
    let mut w = World::new();
    w.run(&create_op("/a", false, false));
    w.read(&exists("/a"), 2, true);
    w.read(&children("/"), 2, true);
    w.run(&create_op("/b", false, false));
    w.run(&delete("/a"));
    assert_eq!(w.event(4, event::DELETED, "/a").unwrap_err().0, RULE_ORDER);
    let mut w = World::new();
    w.read(&exists("/a"), 1, false);
    w.run(&create_op("/a", false, false));
    assert_eq!(w.event(2, event::DATA_CHANGED, "/a").unwrap_err().0, RULE);
    let mut w = World::new();
    w.read(&exists("/a"), 1, false);
    w.watches.disconnected(C);
    w.run(&create_op("/a", false, false));
    assert_eq!(w.event(2, event::CREATED, "/a").unwrap_err().0, RULE);
}

#[test]
fn catching_up_tells_what_was_missed_and_sets_the_rest() {
    let mut w = World::new();
    for path in ["/a", "/b"] {
        w.run(&create_op(path, false, false)); // 2 and 3
    }
    let set = Op::SetWatches {
        relative: Zxid(2),
        data: vec!["/a".into(), "/b".into()],
        exist: vec!["/c".into()],
        child: vec!["/gone".into()],
        persistent: vec!["/b".into()],
        recursive: Vec::new(),
    };
    let reply = Reply {
        zxid: Zxid(3),
        result: Ok(Body::Empty),
    };
    w.event(-1, event::DELETED, "/gone").unwrap();
    w.event(-1, event::DATA_CHANGED, "/b").unwrap();
    w.watches.set_watches(&w.model, C, &set, &reply).unwrap();
    w.run(&create_op("/c", false, false));
    w.event(4, event::CREATED, "/c").unwrap();
    let broken = w
        .watches
        .set_watches(&w.model, C, &set, &reply)
        .unwrap_err();
    assert_eq!(broken.0, RULE_CATCH_UP);
}

fn add(path: &str, recursive: bool) -> Op {
    Op::AddWatch {
        path: path.into(),
        recursive,
    }
}

#[test]
fn a_recursive_watch_hears_of_all_below_and_stays() {
    let mut w = World::new();
    w.read(&add("/a", true), 1, true);
    for path in ["/ab", "/a", "/a/b", "/a/b/c"] {
        w.run(&create_op(path, false, false)); // 2 to 5
    }
    w.run(&delete("/a/b/c"));
    assert_eq!(
        w.event(5, event::CREATED, "/a/b/c").unwrap_err().0,
        RULE_ORDER
    );
    w.event(3, event::CREATED, "/a").unwrap();
    w.event(4, event::CREATED, "/a/b").unwrap();
    assert_eq!(w.watches.replied(C, Zxid(5)).unwrap_err().0, RULE_ORDER);
    w.event(5, event::CREATED, "/a/b/c").unwrap();
    w.event(6, event::DELETED, "/a/b/c").unwrap();
    assert!(w.watches.replied(C, Zxid(6)).is_ok());
}

#[test]
fn a_persistent_watch_hears_of_the_node_and_its_children() {
    let mut w = World::new();
    w.read(&add("/a", false), 1, true);
    w.read(&exists("/a"), 1, false);
    for path in ["/a", "/a/b", "/a/b/c"] {
        w.run(&create_op(path, false, false)); // 2 to 4
    }
    w.event(2, event::CREATED, "/a").unwrap();
    w.event(3, event::CHILDREN_CHANGED, "/a").unwrap();
    assert!(w.watches.replied(C, Zxid(4)).is_ok());
    assert_eq!(w.event(4, event::CREATED, "/a/b/c").unwrap_err().0, RULE);
}

#[test]
fn what_nobody_may_read_is_not_told_and_ends_a_watch() {
    let mut w = World::new();
    w.run(&create_op("/a", false, false));
    w.run(&Op::SetAcl {
        path: "/a".into(),
        acl: std::rc::Rc::new([Acl::world(perms::ALL & !perms::READ)]),
        version: -1,
    });
    w.read(&exists("/a"), 3, true);
    w.run(&delete("/a"));
    assert!(w.watches.replied(C, Zxid(4)).is_ok());
    assert_eq!(w.event(4, event::DELETED, "/a").unwrap_err().0, RULE);
}

#[test]
fn watches_are_found_where_they_are_and_once() {
    let mut w = World::new();
    w.read(&add("/a", false), 1, true);
    w.read(&add("/a", true), 1, true);
    let mut find = |kind, result| {
        let op = Op::FindWatch {
            path: "/a".into(),
            kind,
            remove: true,
        };
        let zxid = Zxid(1);
        w.watches.find(C, &op, &Reply { zxid, result })
    };
    let (found, none) = (Ok(Body::Empty), Err(-121));
    assert_eq!(
        find(watcher::DATA, found.clone()).unwrap_err().0,
        RULE_FOUND
    );
    find(watcher::DATA, none.clone()).unwrap();
    assert_eq!(
        find(watcher::RECURSIVE, none.clone()).unwrap_err().0,
        RULE_FOUND
    );
    find(watcher::RECURSIVE, found.clone()).unwrap();
    find(watcher::RECURSIVE, none.clone()).unwrap();
    find(watcher::ANY, found).unwrap();
    find(watcher::PERSISTENT, none).unwrap();
}
