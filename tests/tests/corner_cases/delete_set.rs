//! Deleting, setting data and access lists, and versions.

use vivarium_tests::ask::{self, OPEN, flag, op, perm};
use vivarium_tests::ensemble::Plan;

use crate::{Bench, Case, run};

#[test]
fn delete_and_set() {
    run(&Bench::start(Plan::new("corner-delete", 1)), CASES);
}

const CASES: &[Case] = &[
    ("38 what can not be deleted", not_deletable),
    (
        "39 the version is looked at before the children",
        version_before_children,
    ),
    (
        "40 deleting needs a permission of the parent only",
        permission_of_the_parent,
    ),
    ("41 version -2 is a version", version_minus_two),
    ("42 the same bytes are a change", same_bytes),
    ("44 versions wrap around", version_wraps),
    ("45 setACL has a version of its own", version_of_the_acl),
    (
        "46 a bad list is found before a missing node",
        bad_acl_first,
    ),
    (
        "47 everybody may delete another's ephemeral",
        foreign_ephemeral,
    ),
    (
        "48 of two with one version the first wins",
        two_with_one_version,
    ),
    ("49 delete and create in one breath", delete_then_create),
];

fn not_deletable(bench: &Bench) {
    let (mut probe, top) = bench.below("keep");
    let reserved = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
    for path in reserved.into_iter().chain(["", "a"]) {
        probe.refused(&ask::delete(path, -1), -8);
    }
    probe.make(&format!("{top}/a"));
    probe.refused(&ask::delete(&format!("{top}/a/"), -1), -101);
}

fn version_before_children(bench: &Bench) {
    let (mut probe, top) = bench.below("children");
    probe.make(&format!("{top}/a"));
    probe.refused(&ask::delete(&top, 1), -103);
    probe.refused(&ask::delete(&top, 0), -111);
    probe.refused(&ask::delete(&top, -1), -111);
}

fn permission_of_the_parent(bench: &Bench) {
    let (mut probe, top) = bench.below("permission");
    let node = format!("{top}/a");
    probe.ok(&ask::create_acl(&node, &[(0, "world", "anyone")]));
    let keep = perm::ALL & !perm::DELETE;
    probe.ok(&ask::set_acl(&top, &[(keep, "world", "anyone")], -1));
    probe.refused(&ask::delete(&node, -1), -102);
    probe.refused(&ask::delete(&format!("{top}/missing"), -1), -102);
    let only = perm::DELETE | perm::ADMIN;
    probe.ok(&ask::set_acl(&top, &[(only, "world", "anyone")], -1));
    probe.refused(&ask::delete(&format!("{top}/missing"), -1), -101);
    probe.ok(&ask::delete(&node, -1));
}

fn version_minus_two(bench: &Bench) {
    let (mut probe, top) = bench.below("two");
    probe.refused(&ask::delete(&top, -2), -103);
    probe.refused(&ask::set_data(&top, b"x", -2), -103);
}

fn same_bytes(bench: &Bench) {
    let (mut probe, top) = bench.below("same");
    let (data, _) = probe.ok(&ask::get_data(&top, true)).data();
    let same = ask::set_data(&top, &data.expect("data"), 0);
    assert_eq!(probe.ok(&same).stat().version, 1);
    assert_eq!(probe.fired(), [(3, top)]);
}

/// A version can only be counted up, 2^31 times: too long for a test. What can be seen is that a
/// version is compared with all its bits.
fn version_wraps(bench: &Bench) {
    let (mut probe, top) = bench.below("wrap");
    for version in [i32::MAX, i32::MIN, 1] {
        probe.refused(&ask::set_data(&top, b"x", version), -103);
    }
    assert_eq!(probe.ok(&ask::set_data(&top, b"x", 0)).stat().version, 1);
}

fn version_of_the_acl(bench: &Bench) {
    let (mut probe, top) = bench.below("acl");
    probe.ok(&ask::set_data(&top, b"x", -1));
    let before = probe.ok(&ask::get_data(&top, true)).data().1;
    probe.refused(&ask::set_acl(&top, OPEN, 1), -103);
    let after = probe.ok(&ask::set_acl(&top, OPEN, 0)).stat();
    let mut expected = before;
    expected.aversion = 1;
    assert_eq!(after, expected);
    assert_eq!(probe.stat(&top), expected);
    assert_eq!(probe.fired(), []);
}

fn bad_acl_first(bench: &Bench) {
    let mut probe = bench.probe();
    probe.refused(&ask::set_acl("/missing", &[], -1), -114);
    probe.refused(&ask::set_acl("/missing", OPEN, -1), -101);
    probe.refused(&ask::set_acl("missing", &[], -1), -8);
}

fn foreign_ephemeral(bench: &Bench) {
    let (mut owner, top) = bench.below("foreign");
    let node = format!("{top}/e");
    let made = ask::create_as(op::CREATE, &node, None, &[(1, "world", "anyone")], 1);
    owner.ok(&made);
    bench.probe().ok(&ask::delete(&node, -1));
    assert!(!owner.has(&node));
    owner.ok(&ask::create(&node, flag::EPHEMERAL));
}

fn two_with_one_version(bench: &Bench) {
    let (mut probe, top) = bench.below("race");
    let first = probe.send(&ask::set_data(&top, b"1", 0));
    let second = probe.send(&ask::set_data(&top, b"2", 0));
    assert_eq!(probe.reply(first).stat().version, 1);
    assert_eq!(probe.reply(second).error, -103);
}

fn delete_then_create(bench: &Bench) {
    let (mut probe, top) = bench.below("breath");
    probe.ok(&ask::set_data(&top, b"1", 0));
    let old = probe.stat(&top);
    let first = probe.send(&ask::delete(&top, 1));
    let second = probe.send(&ask::create2(&top, 0));
    assert_eq!(probe.reply(first).error, 0);
    let (_, new) = probe.reply(second).created();
    assert!(new.czxid > old.mzxid && new.version == 0);
}
