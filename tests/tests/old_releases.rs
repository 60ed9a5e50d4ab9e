//! Data directories of releases of ZooKeeper that are older than those whose servers the other
//! tests run: written by the real 3.4 and 3.5, started here.
//!
//! 3.4 knows one checksum behind a snapshot, no `/zookeeper/config`, no containers and no digest;
//! a server that was not stopped cleanly may never have written a snapshot. 3.5 brought containers
//! and, in 3.5.3, TTL nodes.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::Duration;

use vivarium_tests::client::{Client, Failure, Stat, flag};
use vivarium_tests::directory::{logs, snapshots};
use vivarium_tests::ensemble::{Kind, Plan};
use vivarium_tests::peers::{self, Java};
use vivarium_tests::wire::Body;

type Tree = BTreeMap<String, (Vec<u8>, Stat)>;

/// Every znode below this one with its data and Stat. Leases are left out: they end with their
/// session, at some moment of a stage.
fn below(client: &mut Client, top: &str) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![top.to_owned()];
    while let Some(path) = open.pop() {
        if path.ends_with("/lease") {
            continue;
        }
        let (names, _) = client.children(&path).expect("a read is answered");
        open.extend(names.iter().map(|name| format!("{path}/{name}")));
        let value = client.get(&path, false).expect("a read is answered");
        found.insert(path, value);
    }
    found
}

/// Something of everything that 3.4 knows, 400 transactions and more.
fn populate(client: &mut Client) -> Result<(), Failure> {
    client.create("/tree", b"", flag::PERSISTENT)?;
    client.create("/leases", b"", flag::PERSISTENT)?;
    client.create("/leases/lease", b"held", flag::EPHEMERAL)?;
    for number in 0..120 {
        let path = format!("/tree/n-{number:04}");
        client.create(&path, b"value", flag::PERSISTENT)?;
        client.set(&path, format!("changed {number}").as_bytes(), 0)?;
        if number % 5 == 0 {
            client.delete(&path, -1)?;
        }
        if number % 7 == 0 {
            let refused = client.delete("/tree/missing", -1);
            assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
        }
        client.create("/tree/s-", b"", flag::SEQUENCE)?;
    }
    client.create("/tree/large", &vec![7; 300_000], flag::PERSISTENT)?;
    let acl = Body::new().string("/tree/n-0001").int(1).int(17);
    let acl = acl.string("world").string("anyone").int(0);
    client.request(7, &acl.bytes())?;
    let create = Body::new().int(1).byte(0).int(-1);
    let create = create.string("/tree/multi").buffer(b"m").open_acl().int(0);
    let body = create.int(2).byte(0).int(-1).string("/tree/n-0002").int(-1);
    let body = body.int(-1).byte(1).int(-1);
    client.request(14, &body.bytes()).map(drop)
}

/// What 3.5 added: a container and a TTL node, each with a child.
fn populate_kinds(client: &mut Client) -> Result<(), Failure> {
    const YEAR_MS: i64 = 365 * 24 * 3_600 * 1_000;
    for (op, path, flags) in [(19, "/tree/container", 4), (21, "/tree/ttl", 5)] {
        let body = Body::new().string(path).buffer(b"kind").open_acl();
        let body = body.int(flags);
        let body = if op == 21 { body.long(YEAR_MS) } else { body };
        client.request(op, &body.bytes())?;
        client.create(&format!("{path}/child"), b"", flag::PERSISTENT)?;
    }
    Ok(())
}

/// An old server writes, is killed, and Vivarium goes on with what it left.
fn taken_over(java: &'static Java, voters: i64) {
    let name = format!("old-{}-{voters}", java.version);
    let mut ensemble = Plan::new(&name, voters)
        .line("snapCount=120")
        .property("zookeeper.extendedTypesEnabled", "true")
        .kind(Kind::ZooKeeper(java))
        .start();
    let mut client = ensemble.client(1);
    populate(&mut client).expect("writes are answered");
    if !java.version.starts_with("3.4") {
        populate_kinds(&mut client).expect("writes are answered");
    }
    let expected = below(&mut client, "/tree");
    ensemble.kill_all();
    for id in ensemble.ids() {
        ensemble.set_kind(id, Kind::Vivarium);
    }
    ensemble.start_all();
    for id in ensemble.ids() {
        let mut client = ensemble.client(id);
        client.sync("/").expect("sync is answered");
        let found = below(&mut client, "/tree");
        for (path, value) in &expected {
            assert_eq!(found.get(path), Some(value), "{name}, server {id}: {path}");
        }
        assert_eq!(found.len(), expected.len(), "{name}, server {id}");
    }
    let made = ensemble.client(1).create("/tree/s-", b"", flag::SEQUENCE);
    made.expect("it goes on");
    for id in ensemble.ids() {
        let log = ensemble.log(id);
        let complaint = "the tree differs";
        assert!(!log.contains(complaint), "server {id} sees another tree");
    }
}

#[test]
fn directories_of_older_releases_are_taken_over() {
    for version in peers::OLD_ZOOKEEPERS {
        let test = "directories of older releases";
        let Some(java) = peers::old_zookeeper(test, version) else {
            continue;
        };
        for voters in [1, 3] {
            taken_over(java, voters);
        }
    }
}

/// ZOOKEEPER-3056: a directory in which no snapshot was ever written.
#[test]
fn an_old_directory_without_a_snapshot_is_taken_over_when_told_so() {
    let test = "an old directory without a snapshot";
    let Some(java) = peers::old_zookeeper(test, peers::OLD_ZOOKEEPERS[0]) else {
        return;
    };
    let plan = Plan::new("old-trust-empty", 1).kind(Kind::ZooKeeper(java));
    let mut ensemble = plan.start();
    let mut client = ensemble.client(1);
    populate(&mut client).expect("writes are answered");
    let expected = below(&mut client, "/tree");
    ensemble.kill(1);
    let dir = ensemble.version_dir(1);
    for path in snapshots(&dir) {
        fs::remove_file(path).expect("removed");
    }
    assert!(!logs(&dir).is_empty());
    ensemble.set_kind(1, Kind::Vivarium);
    ensemble.spawn(1);
    let status = ensemble.wait_exit(1, Duration::from_secs(20));
    assert!(!status.success(), "{status}");
    let said = ensemble.log(1);
    assert!(said.contains("snapshot.trust.empty=true"), "{said}");
    let config = ensemble.config_path(1);
    let before = fs::read(&config).expect("readable");
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(&config)
        .expect("writable");
    writeln!(file, "\nsnapshot.trust.empty=true").expect("written");
    ensemble.start(1);
    assert_eq!(below(&mut ensemble.client(1), "/tree"), expected);
    ensemble.kill(1);
    // Once is enough.
    fs::write(&config, before).expect("written");
    ensemble.start(1);
    assert_eq!(below(&mut ensemble.client(1), "/tree"), expected);
}
