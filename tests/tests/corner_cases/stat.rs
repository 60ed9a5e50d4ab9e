//! What a node's Stat shows, and what a fresh server holds.

use vivarium_tests::ask::{self, flag};
use vivarium_tests::ensemble::Plan;

use crate::{Bench, Case, run};

#[test]
fn stat() {
    run(&Bench::start(Plan::new("corner-stat", 1)), CASES);
}

/// In this order: the first case finds the server untouched.
const CASES: &[Case] = &[
    ("50, 59, 60 a fresh server", fresh),
    ("55 the node with the configuration", config),
    ("22 a sequence below the root, 43 setData on the root", root),
    ("51 what children do to their parent", children),
    ("52, 53 nothing else reaches a node", others),
    ("54 a new node", created),
];

fn fresh(bench: &Bench) {
    let mut probe = bench.probe();
    let root = probe.stat("/");
    assert_eq!(
        (root.cversion, root.num_children, root.data_length),
        (-1, 1, 0)
    );
    assert_eq!((root.czxid, root.mzxid, root.pzxid), (0, 0, 0));
    assert_eq!((root.ctime, root.mtime), (0, 0));
    assert_eq!(
        (root.version, root.aversion, root.ephemeral_owner),
        (0, 0, 0)
    );
    assert_eq!(probe.stat("/zookeeper").cversion, -2);
    assert_eq!(
        probe.ok(&ask::get_children("/", false)).names(),
        ["zookeeper"]
    );
    let below = ["config", "quota"];
    assert_eq!(
        probe.ok(&ask::get_children("/zookeeper", false)).names(),
        below
    );
    for (path, count) in [("/", 3), ("/zookeeper", 2), ("/zookeeper/quota", 0)] {
        let all = ask::named(ask::op::GET_ALL_CHILDREN_NUMBER, path);
        assert_eq!(probe.ok(&all).fields().int(), count, "{path}");
    }
    let made = probe.make("/fresh").zxid;
    let root = probe.stat("/");
    assert_eq!((root.cversion, root.num_children, root.pzxid), (0, 2, made));
    probe.ok(&ask::delete("/fresh", -1));
}

fn config(bench: &Bench) {
    let mut probe = bench.probe();
    let (data, stat) = probe.ok(&ask::get_data("/zookeeper/config", false)).data();
    assert_eq!((data.as_deref(), stat.aversion), (Some(&b""[..]), -1));
}

fn root(bench: &Bench) {
    let mut probe = bench.probe();
    let node = probe.ok(&ask::create("/", flag::SEQUENTIAL)).path();
    // One child was made before.
    assert_eq!(node, "/0000000001");
    probe.ok(&ask::delete(&node, -1));
    assert_eq!(probe.ok(&ask::set_data("/", b"r", 0)).stat().version, 1);
    let (data, stat) = probe.ok(&ask::get_data("", false)).data();
    assert_eq!((data.as_deref(), stat.version), (Some(&b"r"[..]), 1));
}

fn children(bench: &Bench) {
    let (mut probe, top) = bench.below("children");
    let before = probe.stat(&top);
    probe.make(&format!("{top}/a"));
    let deleted = probe.ok(&ask::delete(&format!("{top}/a"), -1)).zxid;
    let mut expected = before;
    expected.cversion += 2;
    expected.pzxid = deleted;
    assert_eq!(probe.stat(&top), expected);
}

fn others(bench: &Bench) {
    let (mut probe, top) = bench.below("others");
    probe.make(&format!("{top}/a"));
    let before = probe.stat(&top);
    probe.make(&format!("{top}/a/b"));
    probe.ok(&ask::set_data(&format!("{top}/a"), b"other", -1));
    assert_eq!(probe.stat(&top), before);
}

fn created(bench: &Bench) {
    let (mut probe, top) = bench.below("created");
    let node = format!("{top}/a");
    let frame = probe.ok(&ask::create2(&node, 0));
    let (path, stat) = frame.created();
    assert_eq!(path, node);
    assert_eq!([stat.czxid, stat.mzxid, stat.pzxid], [frame.zxid; 3]);
    assert_eq!((stat.version, stat.cversion, stat.aversion), (0, 0, 0));
    assert!(stat.ctime == stat.mtime && stat.ctime > 1_500_000_000_000);
    assert_eq!(
        (stat.data_length as usize, stat.num_children),
        (node.len(), 0)
    );
    assert_eq!(probe.stat(&node), stat);
    let (_, stat) = probe
        .ok(&ask::create2(&format!("{top}/e"), flag::EPHEMERAL))
        .created();
    assert_eq!(stat.ephemeral_owner, probe.session.id);
}
