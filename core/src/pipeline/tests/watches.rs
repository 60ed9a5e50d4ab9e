//! What a client of ZooKeeper 3.9 may rely on when it watches.

use super::*;
use crate::acl::digest_identity;
use crate::limits::Limit;
use crate::wire::client::{CreateOp, watch_mode, watcher_type};
use crate::wire::records::Acl;

const CREATED: i32 = event::NODE_CREATED;
const DELETED: i32 = event::NODE_DELETED;
const DATA: i32 = event::NODE_DATA_CHANGED;
const CHILDREN: i32 = event::NODE_CHILDREN_CHANGED;

fn delete(path: &str) -> Request<'_> {
    Request::Delete {
        path: path.into(),
        version: -1,
    }
}

fn get_children(path: &str) -> Request<'_> {
    Request::GetChildren {
        path: path.into(),
        watch: true,
    }
}

fn add_watch(path: &str, mode: i32) -> Request<'_> {
    Request::AddWatch {
        path: path.into(),
        mode,
    }
}

fn check(path: &str, kind: i32) -> Request<'_> {
    Request::CheckWatches {
        path: path.into(),
        kind,
    }
}

fn remove(path: &str, kind: i32) -> Request<'_> {
    Request::RemoveWatches {
        path: path.into(),
        kind,
    }
}

/// A server with these nodes, and A connected.
fn lab(paths: &[&str]) -> Lab {
    let mut lab = Lab::new();
    lab.join(A);
    for path in paths {
        ok(&mut lab, A, &create(path));
    }
    lab
}

/// Asks and commits; gives back the frames that came.
fn ask(lab: &mut Lab, conn: ConnId, request: &Request<'_>) -> Vec<lab::Frame> {
    lab.ask(conn, 7, request);
    lab.commit_all();
    lab.frames(conn)
}

/// The same, for a request that succeeds without an event.
#[track_caller]
fn ok(lab: &mut Lab, conn: ConnId, request: &Request<'_>) {
    let frames = ask(lab, conn, request);
    let seen: Vec<_> = frames.iter().map(|f| (f.xid, f.error)).collect();
    assert_eq!(seen, [(7, 0)], "{request:?}");
}

#[track_caller]
fn code(lab: &mut Lab, request: &Request<'_>) -> i32 {
    let frames = ask(lab, A, request);
    assert_eq!(frames.len(), 1);
    assert!(frames[0].error == 0 || frames[0].body.is_empty());
    frames[0].error
}

/// The events that one request of A causes for A, each before the reply and with its zxid.
#[track_caller]
fn events(lab: &mut Lab, request: &Request<'_>) -> Vec<(i32, String)> {
    let mut frames = ask(lab, A, request);
    let reply = frames.pop().expect("a reply comes last");
    assert_eq!((reply.xid, reply.error), (7, 0), "{request:?}");
    assert!(frames.iter().all(|f| f.zxid == reply.zxid));
    let events = frames
        .iter()
        .map(|f| f.event().expect("only events before"));
    events.collect()
}

fn told<const N: usize>(events: [(i32, &str); N]) -> Vec<(i32, String)> {
    events.map(|(kind, path)| (kind, path.into())).to_vec()
}

#[test]
fn two_reads_leave_one_watch() {
    let mut lab = lab(&["/a"]);
    ok(&mut lab, A, &get_data("/a", true));
    ok(&mut lab, A, &get_data("/a", true));
    assert_eq!(events(&mut lab, &set_data("/a", b"")), told([(DATA, "/a")]));
    assert_eq!(events(&mut lab, &set_data("/a", b"")), []);
}

#[test]
fn a_deletion_is_told_once_however_it_was_watched() {
    let mut lab = lab(&["/a"]);
    ok(&mut lab, A, &get_data("/a", true));
    ok(&mut lab, A, &exists("/a", true));
    ok(&mut lab, A, &get_children("/a"));
    assert_eq!(events(&mut lab, &delete("/a")), told([(DELETED, "/a")]));
    assert_eq!(lab.clients.watch_count(), 0);
}

#[test]
fn a_child_watch_sees_direct_children_only() {
    let mut lab = lab(&["/a"]);
    ok(&mut lab, A, &get_children("/a"));
    assert_eq!(events(&mut lab, &set_data("/a", b"")), []);
    assert_eq!(events(&mut lab, &create("/a/b")), told([(CHILDREN, "/a")]));
    ok(&mut lab, A, &get_children("/a"));
    assert_eq!(events(&mut lab, &create("/a/b/c")), []);
}

#[test]
fn a_data_watch_does_not_see_children() {
    let mut lab = lab(&["/a"]);
    ok(&mut lab, A, &get_data("/a", true));
    assert_eq!(events(&mut lab, &create("/a/b")), []);
    assert_eq!(events(&mut lab, &set_data("/a", b"")), told([(DATA, "/a")]));
}

#[test]
fn a_persistent_watch_outlives_its_events_and_its_node() {
    let mut lab = lab(&["/a"]);
    ok(&mut lab, A, &add_watch("/a", watch_mode::PERSISTENT));
    for (request, expected) in [
        (create("/a/b"), told([(CHILDREN, "/a")])),
        (set_data("/a/b", b""), told([])),
        (delete("/a/b"), told([(CHILDREN, "/a")])),
        (delete("/a"), told([(DELETED, "/a")])),
        (create("/a"), told([(CREATED, "/a")])),
        (set_data("/a", b""), told([(DATA, "/a")])),
    ] {
        assert_eq!(events(&mut lab, &request), expected, "{request:?}");
    }
}

#[test]
fn a_recursive_watch_sees_all_below_but_no_lists_of_children() {
    let mut lab = lab(&["/a", "/a/b", "/ab"]);
    ok(
        &mut lab,
        A,
        &add_watch("/a", watch_mode::PERSISTENT_RECURSIVE),
    );
    for (request, expected) in [
        (create("/a/b/c"), told([(CREATED, "/a/b/c")])),
        (set_data("/a/b/c", b""), told([(DATA, "/a/b/c")])),
        (delete("/a/b/c"), told([(DELETED, "/a/b/c")])),
        (set_data("/a", b""), told([(DATA, "/a")])),
        (set_data("/ab", b""), told([])),
        (create("/ab/c"), told([])),
    ] {
        assert_eq!(events(&mut lab, &request), expected, "{request:?}");
    }
}

#[test]
fn a_recursive_watch_on_the_root_sees_everything() {
    let mut lab = lab(&[]);
    ok(
        &mut lab,
        A,
        &add_watch("/", watch_mode::PERSISTENT_RECURSIVE),
    );
    for path in ["/zookeeper/quota/x", "/a"] {
        assert_eq!(events(&mut lab, &create(path)), told([(CREATED, path)]));
    }
    assert_eq!(events(&mut lab, &set_data("/", b"")), told([(DATA, "/")]));
}

#[test]
fn two_modes_that_match_are_one_event() {
    let mut lab = lab(&["/a", "/a/b"]);
    ok(
        &mut lab,
        A,
        &add_watch("/a", watch_mode::PERSISTENT_RECURSIVE),
    );
    ok(&mut lab, A, &get_data("/a/b", true));
    for _ in 0..2 {
        let seen = events(&mut lab, &set_data("/a/b", b""));
        assert_eq!(seen, told([(DATA, "/a/b")]));
        assert_eq!(code(&mut lab, &check("/a/b", watcher_type::DATA)), -121);
    }
}

#[test]
fn a_child_watch_below_a_recursive_one_fires_for_itself() {
    let mut lab = lab(&["/a"]);
    ok(
        &mut lab,
        A,
        &add_watch("/", watch_mode::PERSISTENT_RECURSIVE),
    );
    ok(&mut lab, A, &get_children("/a"));
    let expected = told([(CREATED, "/a/b"), (CHILDREN, "/a")]);
    assert_eq!(events(&mut lab, &create("/a/b")), expected);
}

#[test]
fn who_may_not_read_hears_nothing_and_its_watch_is_used_up() {
    let mut lab = lab(&[]);
    lab.join(B);
    let secret = Request::Create {
        kind: CreateOp::Create,
        path: "/secret".into(),
        data: None,
        acl: Some(vec![Acl {
            perms: 31,
            id: digest_identity(b"user:secret"),
        }]),
        flags: 0,
    };
    lab.ask(B, 1, &exists("/secret", true));
    lab.ask(B, 2, &add_watch("/secret", watch_mode::PERSISTENT));
    assert_eq!(lab.xids(B), [(1, -101), (2, 0)]);
    ok(&mut lab, A, &secret);
    assert_eq!(lab.unread(B), 0);
    let kinds = [watcher_type::DATA, watcher_type::PERSISTENT];
    for (xid, kind) in (3..).zip(kinds) {
        lab.ask(B, xid, &check("/secret", kind));
    }
    assert_eq!(lab.xids(B), [(3, -121), (4, 0)]);
    // What counts is who the connection is when the event is sent.
    let auth = Request::Auth {
        scheme: "digest".into(),
        auth: Some(b"user:secret"),
    };
    for conn in [A, B] {
        lab.ask(conn, -4, &auth);
        assert_eq!(lab.xids(conn), [(-4, 0)]);
    }
    ok(&mut lab, A, &set_data("/secret", b""));
    assert_eq!(lab.frames(B)[0].event(), Some((DATA, "/secret".into())));
}

#[test]
fn a_closed_session_fires_for_its_ephemerals_with_one_zxid() {
    let mut lab = lab(&["/p"]);
    lab.join(B);
    let ephemeral = Request::Create {
        kind: CreateOp::Create,
        path: "/p/e".into(),
        data: None,
        acl: Some(vec![Acl::world(31)]),
        flags: 1,
    };
    ok(&mut lab, B, &ephemeral);
    ok(&mut lab, A, &get_data("/p/e", true));
    ok(&mut lab, A, &get_children("/p"));
    lab.ask(B, 9, &Request::CloseSession);
    lab.commit_all();
    let frames = lab.frames(A);
    let seen: Vec<_> = frames.iter().filter_map(lab::Frame::event).collect();
    assert_eq!(seen, told([(DELETED, "/p/e"), (CHILDREN, "/p")]));
    let zxid = lab.db.applied().0;
    assert!(frames.iter().all(|f| f.zxid == zxid));
}

#[test]
fn removal_names_a_kind() {
    let mut lab = lab(&["/a"]);
    ok(&mut lab, A, &get_children("/a"));
    let (any, data, children) = (
        watcher_type::ANY,
        watcher_type::DATA,
        watcher_type::CHILDREN,
    );
    for (request, expected) in [
        (check("/a", data), -121),
        (remove("/a", data), -121),
        (check("/a", children), 0),
        (check("/a", any), 0),
        (remove("/a", any), 0),
        (remove("/a", any), -121),
        (remove("/a", 9), -5),
        (check("/a", 0), -5),
        (add_watch("/a", 2), -5),
        (add_watch("/a", -1), -5),
    ] {
        assert_eq!(code(&mut lab, &request), expected, "{request:?}");
    }
    ok(&mut lab, A, &add_watch("/a", watch_mode::PERSISTENT));
    ok(&mut lab, A, &get_children("/a"));
    ok(&mut lab, A, &remove("/a", children));
    assert_eq!(events(&mut lab, &create("/a/b")), told([(CHILDREN, "/a")]));
    ok(&mut lab, A, &check("/a", watcher_type::PERSISTENT));
    assert_eq!(
        code(&mut lab, &check("/a", watcher_type::PERSISTENT_RECURSIVE)),
        -121
    );
    ok(&mut lab, A, &remove("/a", watcher_type::PERSISTENT));
    assert_eq!(events(&mut lab, &delete("/a/b")), []);
    assert_eq!(lab.clients.watch_count(), 0);
}

#[test]
fn adding_a_watch_answers_with_an_empty_error_and_keeps_its_place() {
    let mut lab = lab(&[]);
    lab.ask(A, 1, &create("/a"));
    lab.ask(A, 2, &add_watch("/none/yet", watch_mode::PERSISTENT));
    lab.ask(A, 3, &add_watch("/none/yet", watch_mode::PERSISTENT));
    lab.ask(A, 4, &check("/none/yet", watcher_type::PERSISTENT));
    lab.ask(A, 5, &remove("/none/yet", watcher_type::ANY));
    assert_eq!(lab.unread(A), 0, "all wait behind the write");
    lab.commit_all();
    let frames = lab.frames(A);
    let seen: Vec<_> = frames
        .iter()
        .map(|f| (f.xid, f.error, f.body.len()))
        .collect();
    assert_eq!(seen[1..], [(2, 0, 4), (3, 0, 4), (4, 0, 0), (5, 0, 0)]);
    assert_eq!(frames[1].reply(op::ADD_WATCH), Reply::Error(0));
}

#[test]
fn watches_set_again_fire_before_the_reply_or_are_armed() {
    let mut lab = lab(&["/a", "/b"]);
    let relative = lab.db.applied();
    ok(&mut lab, A, &set_data("/a", b""));
    let again = Request::SetWatches {
        relative,
        data: vec!["/a".into(), "/b".into()],
        exist: vec![],
        child: vec![],
    };
    let frames = ask(&mut lab, A, &again);
    let seen: Vec<_> = frames.iter().map(|f| (f.xid, f.zxid)).collect();
    assert_eq!(seen, [(-1, -1), (7, lab.db.applied().0)]);
    assert_eq!(frames[0].event(), Some((DATA, "/a".into())));
    assert_eq!(events(&mut lab, &set_data("/a", b"")), []);
    assert_eq!(events(&mut lab, &set_data("/b", b"")), told([(DATA, "/b")]));
}

#[test]
fn watches_set_again_are_not_weighed_against_each_other() {
    let mut lab = lab(&["/old"]);
    let again = Request::SetWatches {
        relative: lab.db.applied(),
        data: vec!["/gone".into()],
        exist: vec!["/old".into()],
        child: vec!["/gone".into()],
    };
    let frames = ask(&mut lab, A, &again);
    let seen: Vec<_> = frames.iter().filter_map(lab::Frame::event).collect();
    let expected = [(DELETED, "/gone"), (CREATED, "/old"), (DELETED, "/gone")];
    assert_eq!(seen, told(expected));
    assert_eq!(frames.len(), 4);
}

#[test]
fn lasting_watches_set_again_miss_nothing_but_what_is_past() {
    let mut lab = lab(&["/a", "/p"]);
    let relative = lab.db.applied();
    ok(&mut lab, A, &set_data("/a", b""));
    ok(&mut lab, A, &create("/p/c"));
    let again = Request::SetWatches2 {
        relative,
        data: vec![],
        exist: vec![],
        child: vec![],
        persistent: vec!["/p".into(), "/gone".into()],
        recursive: vec!["/a".into()],
    };
    ok(&mut lab, A, &again);
    assert_eq!(events(&mut lab, &create("/a/b")), told([(CREATED, "/a/b")]));
    assert_eq!(events(&mut lab, &delete("/p/c")), told([(CHILDREN, "/p")]));
    assert_eq!(
        events(&mut lab, &create("/gone")),
        told([(CREATED, "/gone")])
    );
}

#[test]
fn an_event_carries_the_zxid_of_its_change() {
    let mut lab = lab(&[]);
    lab.ask(A, 1, &exists("/a", true));
    assert_eq!(lab.xids(A), [(1, -101)]);
    lab.ask(A, 2, &create("/a"));
    lab.commit_all();
    lab.ask(A, 3, &exists("/a", false));
    let frames = lab.frames(A);
    let Reply::Stat(stat) = frames[2].reply(op::EXISTS) else {
        panic!()
    };
    assert_eq!((frames[0].xid, frames[0].zxid), (-1, stat.czxid));
}

#[test]
fn a_watch_that_finds_no_room_is_refused_aloud() {
    let mut lab = lab(&["/a"]);
    lab.join(B);
    ok(&mut lab, B, &get_data("/a", true));
    lab.clients.desk.watches.bound(0);
    for request in [
        get_data("/a", true),
        exists("/b", true),
        add_watch("/a", watch_mode::PERSISTENT),
    ] {
        assert_eq!(code(&mut lab, &request), -127, "{request:?}");
    }
    assert_eq!(
        lab.reached,
        [Limit::Watches { watches: 1 }],
        "told once, not each time"
    );
    ok(&mut lab, A, &get_data("/a", false));
    ok(&mut lab, B, &get_children("/a"));
    let again = Request::SetWatches {
        relative: lab.db.applied(),
        data: vec!["/a".into()],
        exist: vec![],
        child: vec!["/gone".into()],
    };
    lab.ask(A, 8, &again);
    assert_eq!(lab.unread(A), 0, "no reply says that all is well");
    assert_eq!(lab.closed[&A], CloseReason::WatchesFull);
    assert_eq!(lab.clients.watch_count(), 2);
}
