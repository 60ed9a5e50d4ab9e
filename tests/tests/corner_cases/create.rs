//! Creating: names, kinds of nodes, sequence numbers, access lists.

use std::thread::sleep;
use std::time::Duration;

use vivarium_tests::ask::{self, Entry, OPEN, Request, create_as, flag, op, perm};
use vivarium_tests::ensemble::Plan;
use vivarium_tests::probe::Probe;
use vivarium_tests::wait;

use crate::{Bench, Case, run};

#[test]
fn create() {
    run(&Bench::start(Plan::new("corner-create", 1)), CASES);
}

const CASES: &[Case] = &[
    ("17 the parent must be there", missing_parent),
    ("18 the node must not be there", node_exists),
    (
        "19 ephemerals have no children; containers do",
        children_of_kinds,
    ),
    ("20 names that are no paths", bad_paths),
    ("21 characters of names", characters),
    ("22 the root can not be created", root),
    ("23 the sequence counts every child", suffix_counts_children),
    ("24 the sequence does not go back", suffix_does_not_go_back),
    (
        "25 the sequence starts anew with the parent",
        suffix_of_a_new_parent,
    ),
    (
        "26 the sequence does not count refusals",
        suffix_ignores_refusals,
    ),
    ("27 a name may be the number alone", number_alone),
    ("28 flags that are no flags", bad_flags),
    ("29 containers", container),
    ("30a TTL nodes need their switch", ttl_is_off),
    ("33 access lists that are refused", bad_acls),
    ("34 access lists that are taken", odd_acls),
    ("35 which refusal comes first", order_of_refusals),
    ("36 no data and empty data differ", null_data),
    ("37 a taken number is not skipped", taken_number),
];

/// TTL nodes, and a sweeper that looks often.
#[test]
fn sweeper() {
    let mut plan = Plan::new("corner-sweeper", 1);
    for (key, value) in [
        ("zookeeper.extendedTypesEnabled", "true"),
        ("znode.container.checkIntervalMs", "500"),
    ] {
        plan = plan.property(key, value);
    }
    run(&Bench::start(plan), SWEEPER);
}

const SWEEPER: &[Case] = &[
    ("30b TTL nodes", ttl_range),
    ("31 when a TTL node goes", ttl_expiry),
    ("32 when a container goes", container_goes),
];

fn path(created: &vivarium_tests::probe::Frame) -> String {
    assert_eq!(created.error, 0);
    created.path()
}

fn missing_parent(bench: &Bench) {
    bench.probe().refused(&ask::create("/missing/b", 0), -101);
}

fn node_exists(bench: &Bench) {
    let (mut probe, top) = bench.below("exists");
    probe.make(&format!("{top}/a"));
    probe.refused(&ask::create(&format!("{top}/a"), 0), -110);
    let closed = [(perm::READ | perm::ADMIN, "world", "anyone")];
    probe.ok(&ask::set_acl(&top, &closed, -1));
    probe.refused(&ask::create(&format!("{top}/a"), 0), -102);
}

fn children_of_kinds(bench: &Bench) {
    let (mut probe, top) = bench.below("kinds");
    probe.ok(&ask::create(&format!("{top}/e"), flag::EPHEMERAL));
    for flags in [flag::PERSISTENT, flag::EPHEMERAL, flag::SEQUENTIAL] {
        probe.refused(&ask::create(&format!("{top}/e/c"), flags), -108);
    }
    probe.ok(&ask::create_container(&format!("{top}/c")));
    probe.ok(&ask::create(&format!("{top}/c/p"), 0));
    probe.ok(&ask::create(&format!("{top}/c/e"), flag::EPHEMERAL));
}

fn bad_paths(bench: &Bench) {
    let (mut probe, top) = bench.below("paths");
    for path in ["a", "", "//a", "/..", "//"] {
        probe.refused(&ask::create(path, 0), -8);
    }
    probe.refused(&ask::create(&format!("{top}/"), 0), -8);
    probe.refused(&ask::create(&format!("{top}/."), 0), -8);
    probe.refused(&ask::create(&format!("{top}/a\0b"), 0), -8);
    probe.refused(&ask::create(&format!("{top}/missing/"), 0), -101);
    probe.refused(&ask::create(&format!("{top}/../b"), 0), -101);
}

fn characters(bench: &Bench) {
    let (mut probe, top) = bench.below("characters");
    for bad in ["\u{1}", "\u{7f}", "\u{fffd}", "\u{e000}", "\u{fff0}", "😀"] {
        probe.refused(&ask::create(&format!("{top}/a{bad}"), 0), -8);
    }
    for good in ["a b", "ü", "...", ".a", "a:%", "\u{f900}", "\u{ffef}"] {
        let node = format!("{top}/{good}");
        assert_eq!(path(&probe.call(&ask::create(&node, 0))), node);
        assert!(probe.has(&node));
    }
}

fn root(bench: &Bench) {
    bench.probe().refused(&ask::create("/", 0), -110);
}

fn suffix_counts_children(bench: &Bench) {
    let (mut probe, top) = bench.below("counts");
    probe.make(&format!("{top}/x"));
    let next = probe.ok(&ask::create(&format!("{top}/n-"), flag::SEQUENTIAL));
    assert_eq!(path(&next), format!("{top}/n-0000000001"));
}

fn suffix_does_not_go_back(bench: &Bench) {
    let (mut probe, top) = bench.below("back");
    for number in 0..3 {
        let node = probe.ok(&ask::create(&format!("{top}/n"), flag::SEQUENTIAL));
        assert_eq!(node.path(), format!("{top}/n{number:010}"));
        probe.ok(&ask::delete(&node.path(), -1));
    }
    let node = probe.ok(&ask::create(&format!("{top}/n"), flag::SEQUENTIAL));
    assert_eq!(node.path(), format!("{top}/n0000000003"));
}

fn suffix_of_a_new_parent(bench: &Bench) {
    let (mut probe, top) = bench.below("anew");
    let child = format!("{top}/p/n");
    for _ in 0..2 {
        probe.make(&format!("{top}/p"));
        let node = probe.ok(&ask::create(&child, flag::SEQUENTIAL)).path();
        assert_eq!(node, format!("{child}0000000000"));
        probe.ok(&ask::delete(&node, -1));
        probe.ok(&ask::delete(&format!("{top}/p"), -1));
    }
}

fn suffix_ignores_refusals(bench: &Bench) {
    let (mut probe, top) = bench.below("refusals");
    probe.make(&format!("{top}/a"));
    probe.refused(&ask::create(&format!("{top}/a"), 0), -110);
    probe.refused(&ask::create_acl(&format!("{top}/b"), &[]), -114);
    let closed = [(perm::READ | perm::ADMIN, "world", "anyone")];
    probe.ok(&ask::set_acl(&top, &closed, -1));
    probe.refused(&ask::create(&format!("{top}/n"), flag::SEQUENTIAL), -102);
    probe.ok(&ask::set_acl(&top, OPEN, -1));
    let node = probe.ok(&ask::create(&format!("{top}/n"), flag::SEQUENTIAL));
    assert_eq!(node.path(), format!("{top}/n0000000001"));
}

fn number_alone(bench: &Bench) {
    let (mut probe, top) = bench.below("alone");
    let node = probe.ok(&ask::create(&format!("{top}/"), flag::SEQUENTIAL));
    assert_eq!(node.path(), format!("{top}/0000000000"));
}

fn bad_flags(bench: &Bench) {
    let (mut probe, top) = bench.below("flags");
    for flags in [7, -1, 99] {
        probe.refused(&ask::create(&format!("{top}/a"), flags), -8);
    }
    let (_, stat) = probe
        .ok(&ask::create2(&format!("{top}/c"), flag::CONTAINER))
        .created();
    assert_eq!(stat.ephemeral_owner, 0);
}

fn container(bench: &Bench) {
    let (mut probe, top) = bench.below("container");
    let node = format!("{top}/c");
    let (path, stat) = probe.ok(&ask::create_container(&node)).created();
    assert_eq!((path, stat.ephemeral_owner), (node.clone(), 0));
    probe.make(&format!("{node}/child"));
}

fn ttl_is_off(bench: &Bench) {
    let mut probe = bench.probe();
    probe.refused(&ask::create_ttl("/ttl", flag::TTL, 1000), -6);
    probe.ok(&ask::exists("/", false));
}

fn ttl_range(bench: &Bench) {
    let (mut probe, top) = bench.below("range");
    for ttl in [0, -1, 1 << 40, i64::MAX] {
        probe.refused(&ask::create_ttl(&format!("{top}/t"), flag::TTL, ttl), -8);
    }
    let longest = ask::create_ttl(&format!("{top}/t"), flag::TTL, (1 << 40) - 1);
    assert_eq!(probe.ok(&longest).created().1.ephemeral_owner, 0);
    assert_eq!(probe.stat(&format!("{top}/t")).ephemeral_owner, 0);
    let many = ask::create_ttl(&format!("{top}/s"), flag::TTL + 1, 60_000);
    assert_eq!(probe.ok(&many).path(), format!("{top}/s0000000001"));
}

/// Waits until a node is gone.
fn gone(probe: &mut Probe, path: &str, limit: Duration) {
    wait::until(&format!("{path} goes"), limit, || {
        (!probe.has(path)).then_some(())
    });
}

fn ttl_expiry(bench: &Bench) {
    let (mut probe, top) = bench.below("expiry");
    let parent = format!("{top}/parent");
    probe.ok(&ask::create_ttl(&parent, flag::TTL, 1));
    probe.make(&format!("{parent}/child"));
    let (set, acl) = (format!("{top}/set"), format!("{top}/acl"));
    for node in [&set, &acl] {
        probe.ok(&ask::create_ttl(node, flag::TTL, 2_500));
    }
    for _ in 0..4 {
        sleep(Duration::from_secs(1));
        if probe.has(&acl) {
            probe.ok(&ask::set_acl(&acl, OPEN, -1));
        }
        probe.ok(&ask::set_data(&set, b"again", -1));
    }
    assert!(!probe.has(&acl), "a change of the access list is no use");
    assert!(probe.has(&parent), "a parent stays");
    probe.ok(&ask::delete(&format!("{parent}/child"), -1));
    gone(&mut probe, &parent, Duration::from_secs(3));
    gone(&mut probe, &set, Duration::from_secs(6));
}

fn container_goes(bench: &Bench) {
    let (mut probe, top) = bench.below("container");
    let (used, unused) = (format!("{top}/used"), format!("{top}/unused"));
    probe.ok(&ask::create_container(&used));
    probe.ok(&ask::create_container(&unused));
    probe.make(&format!("{used}/child"));
    // By the record of `create` it is no container, whatever the flag says.
    probe.ok(&ask::create(&format!("{top}/plain"), flag::CONTAINER));
    probe.make(&format!("{top}/plain/child"));
    probe.ok(&ask::delete(&format!("{top}/plain/child"), -1));
    sleep(Duration::from_millis(1_200));
    assert!(probe.has(&used), "a container with a child stays");
    probe.ok(&ask::exists(&used, true));
    probe.ok(&ask::delete(&format!("{used}/child"), -1));
    gone(&mut probe, &used, Duration::from_secs(3));
    assert_eq!(probe.fired(), [(2, used)]);
    assert!(
        probe.has(&unused),
        "one that was never used stays by default"
    );
    assert!(probe.has(&format!("{top}/plain")));
}

fn bad_acls(bench: &Bench) {
    let (mut probe, top) = bench.below("bad-acls");
    let node = format!("{top}/a");
    let bad: &[&[Entry<'_>]] = &[
        &[],
        &[(31, "auth", "")],
        &[(31, "world", "foo")],
        &[(31, "ip", "300.1.1.1")],
        &[(31, "ip", "10.0.0.0/33")],
        &[(31, "digest", "u")],
        &[(31, "digest", "u:")],
        &[(31, "digest", "a:b:c")],
        &[(31, "super", "x:y")],
        &[(31, "foo", "bar")],
    ];
    for acl in bad {
        let error = probe.call(&ask::create_acl(&node, acl)).error;
        assert_eq!(error, -114, "{acl:?}");
    }
    let Request { op, body } = ask::create_acl(&node, &[]);
    let mut bytes = body.bytes();
    let at = bytes.len() - 8;
    bytes[at..at + 4].copy_from_slice(&(-1_i32).to_be_bytes());
    let body = vivarium_tests::wire::Body::new().raw(&bytes);
    probe.refused(&Request { op, body }, -114);
}

fn odd_acls(bench: &Bench) {
    let (mut probe, top) = bench.below("odd-acls");
    let same: Entry<'_> = (1, "world", "anyone");
    probe.ok(&ask::create_acl(&format!("{top}/same"), &[same, same]));
    let acl = probe.ok(&ask::get_acl(&format!("{top}/same"))).acl();
    assert_eq!(acl, [(1, "world".into(), "anyone".into())]);
    probe.ok(&ask::create_acl(
        &format!("{top}/none"),
        &[(0, "world", "anyone")],
    ));
    probe.refused(&ask::get_data(&format!("{top}/none"), false), -102);
    for proof in ["one:1", "two:2"] {
        probe.ok(&ask::auth("digest", Some(proof.as_bytes())));
    }
    probe.ok(&ask::create_acl(
        &format!("{top}/mine"),
        &[(31, "auth", "")],
    ));
    let mut acl = probe.ok(&ask::get_acl(&format!("{top}/mine"))).acl();
    acl.sort();
    let users: Vec<_> = acl.iter().map(|(_, _, id)| &id[..4]).collect();
    assert_eq!(users, ["one:", "two:"]);
    assert!(
        acl.iter()
            .all(|(perms, scheme, _)| (*perms, &**scheme) == (31, "digest"))
    );
}

fn order_of_refusals(bench: &Bench) {
    let mut probe = bench.probe();
    probe.refused(&ask::create_acl("/nowhere/a", &[]), -114);
    probe.refused(&ask::create("/nowhere/a\u{1}", 0), -101);
    probe.refused(&ask::create("/nowhere/a", 7), -8);
    probe.refused(&ask::create_acl("nowhere", &[]), -8);
}

fn null_data(bench: &Bench) {
    let (mut probe, top) = bench.below("data");
    for (name, data) in [("null", None), ("empty", Some(&b""[..]))] {
        let node = format!("{top}/{name}");
        probe.ok(&create_as(op::CREATE, &node, data, OPEN, 0));
        let (found, stat) = probe.ok(&ask::get_data(&node, false)).data();
        assert_eq!((found.as_deref(), stat.data_length), (data, 0));
    }
}

fn taken_number(bench: &Bench) {
    let (mut probe, top) = bench.below("taken");
    let next = ask::create(&format!("{top}/n"), flag::SEQUENTIAL);
    probe.make(&format!("{top}/n0000000001"));
    for _ in 0..2 {
        probe.refused(&next, -110);
    }
    probe.make(&format!("{top}/other"));
    assert_eq!(probe.ok(&next).path(), format!("{top}/n0000000002"));
}
