//! Several requests as one.

use vivarium_tests::ask::{self, Request, flag, op, perm};
use vivarium_tests::ensemble::Plan;
use vivarium_tests::probe::{Part, Probe};

use crate::{Bench, Case, run};

#[test]
fn multi() {
    run(&Bench::start(Plan::new("corner-multi", 1)), CASES);
}

const CASES: &[Case] = &[
    ("64 each part sees the parts before it", parts_see_parts),
    ("65 all or nothing", all_or_nothing),
    ("66 the first failure ends it", first_failure),
    ("67 check", check),
    ("68 delete and create", delete_and_create),
    ("69 sequential parts", sequential),
    ("70 no parts", no_parts),
    ("71 what can not be a part", no_part),
    ("72 containers as parts", containers),
    ("73 multiRead", multi_read),
    ("74 a failed multi fires nothing", failure_fires_nothing),
];

fn parts(probe: &mut Probe, requests: &[Request]) -> Vec<Part> {
    probe.ok(&ask::multi(requests)).results()
}

fn brief(parts: &[Part]) -> Vec<(i32, i32)> {
    parts.iter().map(Part::brief).collect()
}

fn parts_see_parts(bench: &Bench) {
    let (mut probe, top) = bench.below("see");
    let (a, b) = (format!("{top}/a"), format!("{top}/a/b"));
    let all = ask::multi(&[
        ask::create(&a, 0),
        ask::create2(&b, 0),
        ask::set_data(&b, b"set", 0),
    ]);
    let frame = probe.ok(&all);
    let found = frame.results();
    assert_eq!(brief(&found), [(1, 0), (15, 0), (5, 0)]);
    assert_eq!(found[0].path.as_ref(), Some(&a));
    let stat = found[2].stat.expect("a Stat");
    assert_eq!(
        (stat.czxid, stat.mzxid, stat.version),
        (frame.zxid, frame.zxid, 1)
    );
    assert_eq!(stat.ctime, stat.mtime);
    assert_eq!(probe.stat(&b), stat);
    let above = probe.stat(&a);
    assert_eq!(
        (above.czxid, above.pzxid, above.cversion),
        (frame.zxid, frame.zxid, 1)
    );
}

fn all_or_nothing(bench: &Bench) {
    let (mut probe, top) = bench.below("nothing");
    let a = format!("{top}/a");
    let found = parts(&mut probe, &[ask::create(&a, 0), ask::create(&a, 0)]);
    assert_eq!(brief(&found), [(-1, 0), (-1, -110)]);
    assert!(!probe.has(&a));
    assert_eq!(probe.stat(&top).cversion, 0);
}

fn first_failure(bench: &Bench) {
    let (mut probe, top) = bench.below("first");
    let all = [
        ask::check(&format!("{top}/missing"), -1),
        ask::create(&format!("{top}/a"), 0),
        ask::delete(&format!("{top}/b"), -1),
    ];
    let before = probe.seen;
    let frame = probe.ok(&ask::multi(&all));
    assert_eq!(brief(&frame.results()), [(-1, -101), (-1, -2), (-1, -2)]);
    assert!(frame.zxid > before, "a refusal has a zxid too");
}

fn check(bench: &Bench) {
    let (mut probe, top) = bench.below("check");
    let mut one = |version| brief(&parts(&mut probe, &[ask::check(&top, version)]));
    assert_eq!(one(1), [(-1, -103)]);
    assert_eq!(one(0), [(13, 0)]);
    assert_eq!(one(-1), [(13, 0)]);
    let blind = perm::ALL & !perm::READ;
    probe.ok(&ask::set_acl(&top, &[(blind, "world", "anyone")], -1));
    let found = parts(&mut probe, &[ask::check(&top, 0)]);
    assert_eq!(brief(&found), [(-1, -102)]);
}

fn delete_and_create(bench: &Bench) {
    let (mut probe, top) = bench.below("again");
    probe.ok(&ask::set_data(&top, b"old", -1));
    let found = parts(&mut probe, &[ask::delete(&top, 1), ask::create(&top, 0)]);
    assert_eq!(brief(&found), [(2, 0), (1, 0)]);
    assert_eq!(probe.stat(&top).version, 0);
}

fn sequential(bench: &Bench) {
    let (mut probe, top) = bench.below("sequence");
    let next = ask::create(&format!("{top}/n"), flag::SEQUENTIAL);
    let three = [next.clone(), next.clone(), next.clone()];
    let paths =
        |found: Vec<Part>| -> Vec<_> { found.into_iter().filter_map(|part| part.path).collect() };
    let names = |numbers: [i32; 3]| numbers.map(|number| format!("{top}/n{number:010}"));
    assert_eq!(paths(parts(&mut probe, &three)), names([0, 1, 2]));
    let failing = [next.clone(), ask::check(&top, 99)];
    assert_eq!(brief(&parts(&mut probe, &failing)), [(-1, 0), (-1, -103)]);
    assert_eq!(paths(parts(&mut probe, &three)), names([3, 4, 5]));
}

fn no_parts(bench: &Bench) {
    let mut probe = bench.probe();
    assert_eq!(parts(&mut probe, &[]), []);
    assert_eq!(probe.ok(&ask::multi_read(&[])).results(), []);
}

fn no_part(bench: &Bench) {
    let (mut probe, top) = bench.below("no-part");
    let node = format!("{top}/a");
    for part in [
        ask::set_acl(&top, ask::OPEN, -1),
        ask::get_data(&top, false),
        ask::create(&node, 9),
        ask::create(&node, flag::TTL),
        ask::sync(&top),
    ] {
        let op = part.op;
        let frame = probe.call(&ask::multi(&[ask::create(&format!("{top}/b"), 0), part]));
        assert_eq!((frame.error, frame.body.len()), (-5, 0), "type {op}");
    }
    assert_eq!(probe.stat(&top).cversion, 0);
    // ZooKeeper sends the end of a multi behind this code, which no client reads.
    let wrong = ask::multi_read(&[ask::create(&node, 0)]);
    assert_eq!(probe.call(&wrong).error, -5);
}

fn containers(bench: &Bench) {
    let (mut probe, top) = bench.below("containers");
    let all = [
        ask::create_container(&format!("{top}/a")),
        ask::create(&format!("{top}/b"), flag::CONTAINER),
    ];
    let found = parts(&mut probe, &all);
    assert_eq!(brief(&found), [(15, 0), (15, 0)]);
    assert!(found.iter().all(|part| part.stat.is_some()));
}

fn multi_read(bench: &Bench) {
    let (mut probe, top) = bench.below("read");
    probe.make(&format!("{top}/child"));
    let all = [
        ask::get_data(&top, true),
        ask::get_children(&format!("{top}/missing"), true),
        ask::get_children(&top, true),
    ];
    let found = probe.ok(&ask::multi_read(&all)).results();
    assert_eq!(brief(&found), [(4, 0), (-1, -101), (8, 0)]);
    assert_eq!(found[0].stat, Some(probe.stat(&top)));
    assert_eq!(found[2].path.as_deref(), Some("child"));
    probe.ok(&ask::set_data(&top, b"new", -1));
    probe.make(&format!("{top}/other"));
    assert_eq!(probe.fired(), [], "a multiRead sets no watch");
    let op = op::MULTI_READ;
    let mixed = ask::several(op, &[ask::get_data(&top, false), ask::delete(&top, -1)]);
    probe.refused(&mixed, -5);
}

fn failure_fires_nothing(bench: &Bench) {
    let (mut probe, top) = bench.below("fires");
    probe.ok(&ask::get_data(&top, true));
    let failing = [ask::set_data(&top, b"x", -1), ask::check(&top, 99)];
    assert_eq!(brief(&parts(&mut probe, &failing)), [(-1, 0), (-1, -103)]);
    assert_eq!(probe.fired(), []);
    parts(&mut probe, &failing[..1]);
    assert_eq!(probe.fired(), [(3, top)]);
}
