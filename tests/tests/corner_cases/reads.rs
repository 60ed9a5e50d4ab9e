//! Requests that change nothing.

use vivarium_tests::ask::{self, flag, op, perm};
use vivarium_tests::ensemble::Plan;

use crate::{Bench, Case, run};

#[test]
fn reads() {
    run(&Bench::start(Plan::new("corner-reads", 1)), CASES);
}

const CASES: &[Case] = &[
    (
        "56 exists watches what is not there, getData does not",
        watch_on_missing,
    ),
    ("57 exists needs READ", exists_needs_read),
    ("58 getACL hides hashes", hashes_are_hidden),
    ("59 children", children),
    ("60 getAllChildrenNumber", all_children),
    ("61 getEphemerals", ephemerals),
    ("62 sync does not look at its path", sync),
    ("63 the empty path is the root", empty_path),
];

fn watch_on_missing(bench: &Bench) {
    let (mut probe, top) = bench.below("missing");
    let (seen, unseen) = (format!("{top}/seen"), format!("{top}/unseen"));
    probe.refused(&ask::exists(&seen, true), -101);
    probe.refused(&ask::get_data(&unseen, true), -101);
    probe.refused(&ask::get_children(&unseen, true), -101);
    probe.make(&seen);
    probe.make(&unseen);
    probe.make(&format!("{unseen}/child"));
    assert_eq!(probe.fired(), [(1, seen)]);
}

fn exists_needs_read(bench: &Bench) {
    let (mut probe, top) = bench.below("read");
    let node = format!("{top}/a");
    let blind = perm::ALL & !perm::READ;
    probe.ok(&ask::create_acl(&node, &[(blind, "world", "anyone")]));
    probe.refused(&ask::exists(&node, true), -102);
    probe.refused(&ask::get_data(&node, true), -102);
    probe.refused(&ask::get_children(&node, true), -102);
    probe.refused(&ask::get_children2(&node, true), -102);
    probe.refused(&ask::named(op::GET_ALL_CHILDREN_NUMBER, &node), -102);
    // Had a watch been set, this would fire it.
    probe.ok(&ask::set_acl(&node, ask::OPEN, -1));
    probe.ok(&ask::set_data(&node, b"new", -1));
    assert_eq!(probe.fired(), []);
}

fn hashes_are_hidden(bench: &Bench) {
    let (mut probe, top) = bench.below("hashes");
    let node = format!("{top}/a");
    let id = "user1:+owfoSBn/am19roBPzR1/MfCblE=";
    let list = [(perm::ALL, "digest", id), (perm::READ, "world", "anyone")];
    probe.ok(&ask::create_acl(&node, &list));
    let shown = |probe: &mut vivarium_tests::probe::Probe| {
        let acl = probe.ok(&ask::get_acl(&node)).acl();
        acl.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>()
    };
    assert_eq!(shown(&mut probe), ["user1:x", "anyone"]);
    probe.ok(&ask::auth("digest", Some(b"user1:12345")));
    assert_eq!(shown(&mut probe), [id, "anyone"]);
    let hidden = format!("{top}/b");
    probe.ok(&ask::create_acl(
        &hidden,
        &[(perm::WRITE, "world", "anyone")],
    ));
    probe.refused(&ask::get_acl(&hidden), -102);
}

fn children(bench: &Bench) {
    let (mut probe, top) = bench.below("children");
    for name in ["b", "a", "c"] {
        probe.make(&format!("{top}/{name}"));
    }
    let names = ["a", "b", "c"];
    assert_eq!(probe.ok(&ask::get_children(&top, false)).names(), names);
    let frame = probe.ok(&ask::get_children2(&top, false));
    assert_eq!(frame.names(), names);
    let mut fields = frame.fields();
    fields.strings();
    let stat = vivarium_tests::client::stat(&mut fields);
    assert_eq!(stat, probe.stat(&top));
    probe.refused(&ask::get_children(&format!("{top}/d"), false), -101);
}

fn all_children(bench: &Bench) {
    let (mut probe, top) = bench.below("number");
    for path in ["a", "a/b", "a/b/c", "d"] {
        probe.make(&format!("{top}/{path}"));
    }
    for (path, count) in [("", 4), ("/a", 2), ("/a/b/c", 0)] {
        let all = ask::named(op::GET_ALL_CHILDREN_NUMBER, &format!("{top}{path}"));
        assert_eq!(probe.ok(&all).fields().int(), count, "{path}");
    }
    let missing = format!("{top}/missing");
    probe.refused(&ask::named(op::GET_ALL_CHILDREN_NUMBER, &missing), -101);
}

fn ephemerals(bench: &Bench) {
    let (mut probe, top) = bench.below("ephemerals");
    let name = |name: &str| format!("{top}/{name}");
    for parent in ["ab", "d"] {
        probe.make(&name(parent));
    }
    for node in ["a", "ab/c", "d/a"] {
        probe.ok(&ask::create(&name(node), flag::EPHEMERAL));
    }
    let mut other = bench.probe();
    other.ok(&ask::create(&name("another"), flag::EPHEMERAL));
    let mut found = |prefix: Option<&str>| probe.ok(&ask::get_ephemerals(prefix)).names();
    let some = [name("a"), name("ab/c")];
    assert_eq!(found(Some(&name("a"))), some);
    let all = [name("a"), name("ab/c"), name("d/a")];
    for prefix in [None, Some(""), Some("/"), Some(&*top)] {
        assert_eq!(found(prefix), all, "{prefix:?}");
    }
    assert_eq!(found(Some("/missing")), [""; 0]);
}

fn sync(bench: &Bench) {
    let mut probe = bench.probe();
    for path in ["/missing", "odd", "", "/a/", "/a//b"] {
        assert_eq!(probe.ok(&ask::sync(path)).path(), path);
    }
}

fn empty_path(bench: &Bench) {
    let mut probe = bench.probe();
    let root = probe.ok(&ask::get_data("/", false)).data();
    assert_eq!(probe.ok(&ask::get_data("", false)).data(), root);
    assert_eq!(probe.stat(""), root.1);
    let names = probe.ok(&ask::get_children("/", false)).names();
    assert_eq!(probe.ok(&ask::get_children("", false)).names(), names);
}
