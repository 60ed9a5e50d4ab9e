//! Access lists, the superuser, quotas, reconfig.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use vivarium_tests::ask::{self, OPEN, Request, create_as, op};
use vivarium_tests::ensemble::{Kind, Plan};
use vivarium_tests::probe::Probe;

use crate::{Bench, Case, run};

#[test]
fn access() {
    run(&Bench::start(Plan::new("corner-access", 1)), CASES);
}

const CASES: &[Case] = &[
    ("98 addresses", addresses),
    ("99 what needs no permission", no_permission),
    ("100a a quota is only counted", quota_is_counted),
    ("102 the node with the counts", counts),
    ("103a reconfig is off", reconfig_is_off),
];

/// Every switch that the cases need, in one server.
#[test]
fn switches() {
    let plan = Plan::new("corner-switches", 1)
        .line("reconfigEnabled=true")
        .property("zookeeper.enforceQuota", "true")
        .property(
            "zookeeper.DigestAuthenticationProvider.superDigest",
            "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        );
    run(&Bench::start(plan), SWITCHES);
}

const SWITCHES: &[Case] = &[
    ("97 the superuser", superuser),
    ("100b a quota of nodes", quota_of_nodes),
    ("101 a quota of bytes", quota_of_bytes),
    ("103b reconfig without an ensemble", reconfig_standalone),
];

fn addresses(bench: &Bench) {
    let (mut probe, top) = bench.below("addresses");
    for (number, (id, error)) in [
        ("127.0.0.0/8", 0),
        ("127.0.0.1", 0),
        ("127.0.0.1/32", 0),
        ("0.0.0.0/0", 0),
        ("10.0.0.0/8", -102),
        ("::1", -102),
        ("::/0", -102),
    ]
    .into_iter()
    .enumerate()
    {
        let node = format!("{top}/{number}");
        probe.ok(&ask::create_acl(&node, &[(31, "ip", id)]));
        assert_eq!(
            probe.call(&ask::get_data(&node, false)).error,
            error,
            "{id}"
        );
    }
}

/// A client that comes over IPv6.
#[test]
fn address_of_the_other_family() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        vivarium_tests::peers::skip("98 an address of the other family", "no IPv6 here");
        return;
    }
    let bench = Bench::start(Plan::new("corner-family", 1).line("clientPortAddress=::"));
    let (mut probe, top) = bench.below("family");
    let (four, six) = (format!("{top}/4"), format!("{top}/6"));
    probe.ok(&ask::create_acl(&four, &[(31, "ip", "127.0.0.0/8")]));
    probe.ok(&ask::create_acl(&six, &[(31, "ip", "::1")]));
    probe.ok(&ask::get_data(&four, false));
    probe.refused(&ask::get_data(&six, false), -102);
    let over6 = SocketAddr::from((Ipv6Addr::LOCALHOST, bench.address().port()));
    let mut probe = Probe::connect(over6);
    probe.refused(&ask::get_data(&four, false), -102);
    probe.ok(&ask::get_data(&six, false));
}

fn no_permission(bench: &Bench) {
    let (mut probe, top) = bench.below("nobody");
    probe.ok(&ask::create_acl(
        &format!("{top}/a"),
        &[(0, "world", "anyone")],
    ));
    let node = format!("{top}/a");
    probe.ok(&ask::sync(&node));
    probe.ok(&ask::add_watch(&node, 0));
    probe.ok(&ask::get_ephemerals(Some(&node)));
    probe.ok(&ask::check_watches(&node, 4));
    probe.refused(&ask::get_data(&node, false), -102);
    let parts = probe.ok(&ask::multi(&[ask::check(&node, -1)])).results();
    assert_eq!(parts[0].brief(), (-1, -102));
}

/// Creates the nodes for the quota of a path.
fn limit(probe: &mut Probe, path: &str, text: &str) -> String {
    let node = format!("/zookeeper/quota{path}");
    probe.ok(&create_as(op::CREATE, &node, Some(b""), OPEN, 0));
    for (name, data) in [
        ("zookeeper_limits", text),
        ("zookeeper_stats", "count=0,bytes=0"),
    ] {
        let made = create_as(
            op::CREATE,
            &format!("{node}/{name}"),
            Some(data.as_bytes()),
            OPEN,
            0,
        );
        probe.ok(&made);
    }
    format!("{node}/zookeeper_stats")
}

fn sized(path: &str, data: &[u8]) -> Request {
    create_as(op::CREATE, path, Some(data), OPEN, 0)
}

fn quota_is_counted(bench: &Bench) {
    let (mut probe, top) = bench.below("counted");
    limit(
        &mut probe,
        &top,
        "count=1,bytes=1=;byteHardLimit=1;countHardLimit=1",
    );
    probe.make(&format!("{top}/a"));
    probe.ok(&ask::set_data(&format!("{top}/a"), b"longer", -1));
}

fn counts(bench: &Bench) {
    let (mut probe, top) = bench.below("counts");
    probe.ok(&ask::set_data(&top, b"12345", -1));
    probe.ok(&sized(&format!("{top}/a"), b"123"));
    let stats = limit(&mut probe, &top, "count=5,bytes=-1");
    let shown = |probe: &mut Probe| {
        let (data, stat) = probe.ok(&ask::get_data(&stats, true)).data();
        assert_eq!((stat.version, stat.czxid), (0, stat.mzxid));
        let text = String::from_utf8(data.expect("data")).expect("text");
        let part = |key: &str| {
            let found = text.split([',', ';', '=']).collect::<Vec<_>>();
            let at = found.iter().position(|word| *word == key);
            let at = at.unwrap_or_else(|| panic!("no {key} in {text}"));
            found[at + 1].parse::<i64>().expect("a number")
        };
        assert_eq!(stat.data_length as usize, text.len());
        (part("count"), part("bytes"))
    };
    assert_eq!(shown(&mut probe), (2, 8));
    probe.ok(&sized(&format!("{top}/a/b"), b"1"));
    assert_eq!(shown(&mut probe), (3, 9));
    probe.ok(&ask::set_data(&format!("{top}/a"), b"", -1));
    assert_eq!(shown(&mut probe), (3, 6));
    probe.ok(&ask::delete(&format!("{top}/a/b"), -1));
    assert_eq!(shown(&mut probe), (2, 5));
    assert_eq!(probe.fired(), [], "counting fires no watch");
}

fn quota_of_nodes(bench: &Bench) {
    let (mut probe, top) = bench.below("nodes");
    limit(&mut probe, &top, "count=1,bytes=-1=;countHardLimit=3");
    probe.make(&format!("{top}/a"));
    probe.make(&format!("{top}/b"));
    probe.refused(&ask::create(&format!("{top}/c"), 0), -125);
    let all = [ask::delete(&format!("{top}/a"), -1)];
    assert_eq!(probe.ok(&ask::multi(&all)).results()[0].brief(), (2, 0));
    probe.make(&format!("{top}/c"));
    let (mut probe, top) = bench.below("soft");
    limit(&mut probe, &top, "count=1,bytes=1");
    probe.make(&format!("{top}/a"));
}

fn quota_of_bytes(bench: &Bench) {
    let (mut probe, top) = bench.below("bytes");
    let node = format!("{top}/a");
    probe.ok(&ask::set_data(&top, b"", -1));
    probe.ok(&sized(&node, b"12345"));
    limit(&mut probe, &top, "count=-1,bytes=-1=;byteHardLimit=5");
    probe.ok(&ask::set_data(&node, b"54321", -1));
    probe.refused(&ask::set_data(&node, b"123456", -1), -125);
    probe.refused(&sized(&format!("{top}/b"), b"1"), -125);
    probe.ok(&sized(&format!("{top}/b"), b""));
    let (mut probe, top) = bench.below("above");
    probe.ok(&ask::set_data(&top, b"1234567890", -1));
    limit(&mut probe, &top, "count=-1,bytes=-1=;byteHardLimit=5");
    probe.refused(&ask::set_data(&top, b"123456", -1), -125);
    probe.ok(&ask::set_data(&top, b"12345", -1));
}

fn reconfig_is_off(bench: &Bench) {
    let mut probe = bench.probe();
    probe.refused(&ask::reconfig([None, Some("2"), None], -1), -123);
    probe.ok(&ask::exists("/", false));
}

fn reconfig_standalone(bench: &Bench) {
    // Vivarium's members are those of the file.
    let error = if matches!(Kind::under_test(), Kind::Vivarium) {
        -123
    } else {
        -6
    };
    let mut probe = bench.probe();
    probe.refused(&ask::reconfig([None, Some("2"), None], -1), error);
}

fn superuser(bench: &Bench) {
    let (mut probe, top) = bench.below("super");
    let node = format!("{top}/a");
    probe.ok(&ask::create_acl(&node, &[(0, "world", "anyone")]));
    probe.refused(&ask::set_data(&node, b"x", -1), -102);
    probe.ok(&ask::auth("digest", Some(b"super:test")));
    probe.ok(&ask::set_data(&node, b"x", -1));
    probe.ok(&ask::get_data(&node, false));
    probe.ok(&ask::get_acl(&node));
    probe.refused(&ask::delete("/zookeeper", -1), -8);
    probe.ok(&ask::set_data("/zookeeper/config", b"", -1));
    let frame = probe.ok(&ask::bare(op::WHO_AM_I));
    let mut fields = frame.fields();
    let count = fields.int();
    let one = |_| (fields.string(), fields.string());
    let mut all: Vec<_> = (0..count).map(one).collect();
    all.sort();
    let schemes: Vec<_> = all.iter().map(|(scheme, _)| &**scheme).collect();
    assert_eq!(schemes, ["digest", "ip", "super"]);
}
