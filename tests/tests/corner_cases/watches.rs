//! Watches of all kinds. The events of another connection's change have reached a probe when its
//! next ping is answered, for the change was answered before.

use vivarium_tests::ask::{self, flag, op, perm};
use vivarium_tests::ensemble::Plan;
use vivarium_tests::probe::Probe;

use crate::{Bench, Case, run};

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const CHANGED: i32 = 3;
const CHILDREN: i32 = 4;

const PERSISTENT: i32 = 0;
const RECURSIVE: i32 = 1;

#[test]
fn watches() {
    run(&Bench::start(Plan::new("corner-watches", 1)), CASES);
}

const CASES: &[Case] = &[
    ("75 a watch fires once", once),
    ("76 one deletion is told once", one_deletion),
    ("77 child watches", child_watch),
    ("78 data watches do not see children", data_watch),
    ("79 persistent watches", persistent),
    ("80 recursive watches", recursive),
    ("81 a recursive watch on the root", recursive_root),
    ("82 one change is one frame", one_frame),
    (
        "83 an event comes before the reply of its cause",
        event_first,
    ),
    ("84 who may not read is not told", no_read),
    ("85 the end of a session is one transaction", end_of_session),
    ("86 removing watches", removing),
    ("87 setWatches tells what was missed", set_watches_data),
    ("88 setWatches with lists of all kinds", set_watches_lists),
    ("89 setWatches2", set_watches2),
    ("90 events carry the change's zxid", zxid_of_an_event),
];

fn once(bench: &Bench) {
    let (mut probe, top) = bench.below("once");
    let mut other = bench.probe();
    for _ in 0..2 {
        probe.ok(&ask::get_data(&top, true));
    }
    other.ok(&ask::set_data(&top, b"1", -1));
    assert_eq!(probe.fired(), [(CHANGED, top.clone())]);
    other.ok(&ask::set_data(&top, b"2", -1));
    assert_eq!(probe.fired(), []);
}

fn one_deletion(bench: &Bench) {
    let (mut probe, top) = bench.below("deletion");
    probe.ok(&ask::get_data(&top, true));
    probe.ok(&ask::exists(&top, true));
    probe.ok(&ask::get_children(&top, true));
    bench.probe().ok(&ask::delete(&top, -1));
    assert_eq!(probe.fired(), [(DELETED, top.clone())]);
    bench.probe().make(&top);
    assert_eq!(probe.fired(), []);
}

fn child_watch(bench: &Bench) {
    let (mut probe, top) = bench.below("child");
    probe.ok(&ask::get_children2(&top, true));
    probe.ok(&ask::set_data(&top, b"1", -1));
    assert_eq!(probe.fired(), []);
    probe.make(&format!("{top}/b"));
    assert_eq!(probe.fired(), [(CHILDREN, top.clone())]);
    probe.ok(&ask::get_children(&top, true));
    probe.make(&format!("{top}/b/c"));
    assert_eq!(probe.fired(), []);
}

fn data_watch(bench: &Bench) {
    let (mut probe, top) = bench.below("data");
    probe.ok(&ask::get_data(&top, true));
    probe.make(&format!("{top}/b"));
    assert_eq!(probe.fired(), []);
}

fn persistent(bench: &Bench) {
    let (mut probe, top) = bench.below("persistent");
    let (a, b) = (format!("{top}/a"), format!("{top}/a/b"));
    let frame = probe.ok(&ask::add_watch(&a, PERSISTENT));
    assert_eq!(frame.body, [0; 4], "an error code of 0");
    let mut told = |request| {
        probe.ok(&request);
        probe.fired()
    };
    assert_eq!(told(ask::create(&a, 0)), [(CREATED, a.clone())]);
    assert_eq!(told(ask::set_data(&a, b"1", -1)), [(CHANGED, a.clone())]);
    assert_eq!(told(ask::create(&b, 0)), [(CHILDREN, a.clone())]);
    assert_eq!(told(ask::set_data(&b, b"1", -1)), []);
    assert_eq!(told(ask::delete(&b, -1)), [(CHILDREN, a.clone())]);
    assert_eq!(told(ask::delete(&a, -1)), [(DELETED, a.clone())]);
    assert_eq!(told(ask::create(&a, 0)), [(CREATED, a.clone())]);
}

fn recursive(bench: &Bench) {
    let (mut probe, top) = bench.below("recursive");
    let name = |name: &str| format!("{top}/{name}");
    for node in ["a", "a/b", "ab"] {
        probe.make(&name(node));
    }
    probe.ok(&ask::add_watch(&name("a"), RECURSIVE));
    let mut told = |request| {
        probe.ok(&request);
        probe.fired()
    };
    let deep = name("a/b/c");
    assert_eq!(told(ask::create(&deep, 0)), [(CREATED, deep.clone())]);
    assert_eq!(
        told(ask::set_data(&deep, b"1", -1)),
        [(CHANGED, deep.clone())]
    );
    assert_eq!(told(ask::delete(&deep, -1)), [(DELETED, deep)]);
    assert_eq!(
        told(ask::set_data(&name("a"), b"1", -1)),
        [(CHANGED, name("a"))]
    );
    for request in [
        ask::set_data(&name("ab"), b"1", -1),
        ask::create(&name("ab/x"), 0),
        ask::set_data(&top, b"1", -1),
    ] {
        assert_eq!(told(request), []);
    }
}

fn recursive_root(bench: &Bench) {
    let mut probe = bench.probe();
    probe.ok(&ask::add_watch("/", RECURSIVE));
    let quota = "/zookeeper/quota".to_owned();
    bench.probe().ok(&ask::set_data(&quota, b"", -1));
    assert_eq!(probe.fired(), [(CHANGED, quota)]);
}

fn one_frame(bench: &Bench) {
    let (mut probe, top) = bench.below("frame");
    let b = format!("{top}/b");
    probe.make(&b);
    probe.ok(&ask::add_watch(&top, RECURSIVE));
    probe.ok(&ask::get_data(&b, true));
    for _ in 0..2 {
        probe.ok(&ask::set_data(&b, b"1", -1));
        assert_eq!(probe.fired(), [(CHANGED, b.clone())]);
    }
    probe.refused(&ask::check_watches(&b, 2), -121);
    probe.ok(&ask::check_watches(&top, 5));
}

fn event_first(bench: &Bench) {
    let (mut probe, top) = bench.below("before");
    probe.ok(&ask::get_data(&top, true));
    let xid = probe.send(&ask::set_data(&top, b"1", -1));
    let frame = probe.next_frame();
    assert!(frame.is_event(), "{frame:?}");
    assert_eq!(frame.event().path, top);
    assert_eq!(probe.next_frame().xid, xid);
    // The watch's own read comes before its event.
    let read = probe.send(&ask::get_data(&top, true));
    let write = probe.send(&ask::set_data(&top, b"2", -1));
    assert_eq!(probe.next_frame().xid, read);
    assert!(probe.next_frame().is_event());
    assert_eq!(probe.next_frame().xid, write);
}

fn no_read(bench: &Bench) {
    let (mut probe, top) = bench.below("no-read");
    let mut other = bench.probe();
    probe.ok(&ask::get_data(&top, true));
    let blind = perm::ALL & !perm::READ;
    other.ok(&ask::set_acl(&top, &[(blind, "world", "anyone")], -1));
    other.ok(&ask::set_data(&top, b"1", -1));
    assert_eq!(probe.fired(), []);
    other.ok(&ask::set_acl(&top, ask::OPEN, -1));
    other.ok(&ask::set_data(&top, b"2", -1));
    assert_eq!(probe.fired(), [], "the watch is spent all the same");
    let hidden = format!("{top}/hidden");
    probe.ok(&ask::add_watch(&hidden, PERSISTENT));
    other.ok(&ask::create_acl(&hidden, &[(blind, "world", "anyone")]));
    assert_eq!(probe.fired(), []);
    // The parent's list decides about its children.
    probe.ok(&ask::get_children(&top, true));
    other.ok(&ask::delete(&hidden, -1));
    assert_eq!(probe.fired(), [(CHILDREN, top)]);
}

fn end_of_session(bench: &Bench) {
    let (mut probe, top) = bench.below("end");
    let mut owner = bench.probe();
    let node = format!("{top}/e");
    owner.ok(&ask::create(&node, flag::EPHEMERAL));
    probe.ok(&ask::exists(&node, true));
    probe.ok(&ask::get_children(&top, true));
    owner.close();
    let events = probe.events();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [DELETED, CHILDREN]);
    assert_eq!(events[0].zxid, events[1].zxid);
    assert_eq!(probe.stat(&top).pzxid, events[0].zxid);
}

fn removing(bench: &Bench) {
    let (mut probe, top) = bench.below("removing");
    probe.ok(&ask::get_children(&top, true));
    probe.refused(&ask::remove_watches(&top, 2), -121);
    probe.ok(&ask::remove_watches(&top, 3));
    probe.refused(&ask::remove_watches(&top, 3), -121);
    probe.ok(&ask::get_children(&top, true));
    probe.ok(&ask::add_watch(&top, PERSISTENT));
    for (kind, error) in [(1, 0), (2, -121), (3, 0), (4, 0), (5, -121)] {
        let found = probe.call(&ask::check_watches(&top, kind)).error;
        assert_eq!(found, error, "checkWatches {kind}");
    }
    probe.ok(&ask::remove_watches(&top, 1));
    probe.refused(&ask::check_watches(&top, 1), -121);
    probe.make(&format!("{top}/a"));
    assert_eq!(probe.fired(), [(CHILDREN, top.clone())]);
    probe.ok(&ask::remove_watches(&top, 4));
    probe.refused(&ask::remove_watches(&top, 4), -121);
    probe.ok(&ask::set_data(&top, b"1", -1));
    assert_eq!(probe.fired(), []);
    probe.refused(&ask::remove_watches(&top, 9), -5);
    probe.refused(&ask::check_watches(&top, 0), -5);
    probe.refused(&ask::add_watch(&top, 2), -5);
    probe.refused(&ask::add_watch(&top, -1), -5);
}

/// A probe that has seen everything so far.
fn late(bench: &Bench) -> (Probe, i64) {
    let mut probe = bench.probe();
    probe.ok(&ask::exists("/", false));
    let seen = probe.seen;
    (probe, seen)
}

fn set_watches_data(bench: &Bench) {
    let (mut writer, top) = bench.below("missed");
    let (old, new) = (format!("{top}/old"), format!("{top}/new"));
    writer.make(&old);
    writer.make(&new);
    let (mut probe, seen) = late(bench);
    writer.ok(&ask::set_data(&new, b"1", -1));
    let lists: [&[&str]; 3] = [&[&old, &new], &[], &[]];
    let xid = probe.send(&ask::set_watches(op::SET_WATCHES, seen, &lists));
    let event = probe.next_frame().event();
    assert_eq!(
        (event.kind, event.path, event.zxid),
        (CHANGED, new.clone(), -1)
    );
    let reply = probe.next_frame();
    assert_eq!((reply.xid, reply.error, reply.body.len()), (xid, 0, 0));
    writer.ok(&ask::set_data(&new, b"2", -1));
    assert_eq!(probe.fired(), []);
    writer.ok(&ask::set_data(&old, b"2", -1));
    assert_eq!(probe.fired(), [(CHANGED, old)]);
}

fn set_watches_lists(bench: &Bench) {
    let (mut writer, top) = bench.below("lists");
    let name = |name: &str| format!("{top}/{name}");
    for node in ["gone", "there", "parent", "quiet"] {
        writer.make(&name(node));
    }
    let (mut probe, seen) = late(bench);
    writer.ok(&ask::delete(&name("gone"), -1));
    writer.make(&name("parent/child"));
    let [gone, there, parent, quiet] = ["gone", "there", "parent", "quiet"].map(name);
    let later = name("later");
    let lists: [&[&str]; 3] = [&[&gone], &[&there, &later], &[&gone, &parent, &quiet]];
    probe.ok(&ask::set_watches(op::SET_WATCHES, seen, &lists));
    let told = [
        (DELETED, gone.clone()),
        (CREATED, there),
        (DELETED, gone),
        (CHILDREN, parent),
    ];
    let events = probe.events();
    assert!(events.iter().all(|event| event.zxid == -1));
    let kinds: Vec<_> = events
        .into_iter()
        .map(|event| (event.kind, event.path))
        .collect();
    assert_eq!(kinds, told);
    writer.make(&later);
    writer.make(&format!("{quiet}/child"));
    assert_eq!(probe.fired(), [(CREATED, later), (CHILDREN, quiet)]);
}

fn set_watches2(bench: &Bench) {
    let (mut writer, top) = bench.below("lists2");
    let (a, b) = (format!("{top}/a"), format!("{top}/b"));
    writer.make(&a);
    writer.make(&b);
    let (mut probe, seen) = late(bench);
    writer.ok(&ask::set_data(&a, b"1", -1));
    writer.ok(&ask::set_data(&b, b"1", -1));
    let lists: [&[&str]; 5] = [&[], &[], &[], &[&b], &[&a]];
    probe.ok(&ask::set_watches(op::SET_WATCHES2, seen, &lists));
    assert_eq!(probe.fired(), []);
    for _ in 0..2 {
        writer.ok(&ask::set_data(&b, b"2", -1));
        writer.make(&format!("{b}/child"));
        writer.make(&format!("{a}/child"));
        let told = [
            (CHANGED, b.clone()),
            (CHILDREN, b.clone()),
            (CREATED, format!("{a}/child")),
        ];
        assert_eq!(probe.fired(), told);
        for parent in [&a, &b] {
            writer.ok(&ask::delete(&format!("{parent}/child"), -1));
        }
        assert_eq!(probe.fired().len(), 2);
    }
}

fn zxid_of_an_event(bench: &Bench) {
    let (mut probe, top) = bench.below("zxid");
    let node = format!("{top}/a");
    probe.ok(&ask::add_watch(&node, PERSISTENT));
    let mut other = bench.probe();
    let made = other.make(&node).zxid;
    let set = other.ok(&ask::set_data(&node, b"1", -1)).stat().mzxid;
    let gone = other.ok(&ask::delete(&node, -1)).zxid;
    let zxids: Vec<_> = probe.events().iter().map(|event| event.zxid).collect();
    assert_eq!(zxids, [made, set, gone]);
}
