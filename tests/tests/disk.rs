//! The data directory seen from outside: damage is found and named, and Apache ZooKeeper's own
//! server and Vivarium start on each other's directories and show the same tree.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vivarium_tests::client::{Client, Failure, Stat, flag};
use vivarium_tests::directory::{entries, flip, logs, snapshots};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::peers;
use vivarium_tests::wire::Body;

/// How long a server may take to find damage.
const REFUSAL: Duration = Duration::from_secs(20);

type Tree = BTreeMap<String, (Vec<u8>, Stat)>;

/// Every znode with its data and Stat, as this server shows it. Without the configuration, which a
/// server writes anew at each start, and the server's own time into it.
fn tree(client: &mut Client) -> Tree {
    let mut found = Tree::new();
    let mut open = vec![String::from("/")];
    while let Some(path) = open.pop() {
        let (names, _) = match client.children(&path) {
            // The lease of an earlier stage ended since its parent was read.
            Err(Failure::Refused(-101)) if path.ends_with("/lease") => continue,
            answer => answer.expect("a read is answered"),
        };
        let parent = path.trim_end_matches('/');
        open.extend(names.iter().map(|name| format!("{parent}/{name}")));
        let (data, stat) = match client.get(&path, false) {
            Err(Failure::Refused(-101)) if path.ends_with("/lease") => continue,
            answer => answer.expect("a read is answered"),
        };
        if path != "/zookeeper/config" {
            found.insert(path, (data, stat));
        }
    }
    found
}

/// A tree with something of everything: sequence names, ephemerals, deletions, versions, multi,
/// ACLs, failed requests that consumed a zxid, an empty and a large value.
fn populate(client: &mut Client, root: &str) -> Result<(), Failure> {
    client.create(root, b"", flag::PERSISTENT)?;
    for number in 0..300 {
        let path = format!("{root}/n-{number:04}");
        client.create(
            &path,
            format!("value {number}").as_bytes(),
            flag::PERSISTENT,
        )?;
        if number % 3 == 0 {
            client.set(&path, b"changed", 0)?;
        }
        if number % 5 == 0 {
            client.delete(&path, -1)?;
        }
        if number % 7 == 0 {
            let refused = client.delete(&format!("{root}/missing"), -1);
            assert!(matches!(refused, Err(Failure::Refused(_))), "{refused:?}");
        }
        client.create(&format!("{root}/s-"), b"", flag::SEQUENCE)?;
    }
    client.create(
        &format!("{root}/large"),
        &vec![7; 300_000],
        flag::PERSISTENT,
    )?;
    client.create(&format!("{root}/lease"), b"held", flag::EPHEMERAL)?;
    multi(client, root)?;
    set_acl(client, &format!("{root}/n-0001"))?;
    kinds(client, root)?;
    quota(client, root)
}

/// Containers and TTL nodes, each with a child that has gone. The sweeper comes after a minute.
fn kinds(client: &mut Client, root: &str) -> Result<(), Failure> {
    const YEAR_MS: i64 = 365 * 24 * 3_600 * 1_000;
    for (op, name, flags) in [(19, "container", 4), (21, "ttl", 5), (21, "ttl-", 6)] {
        let path = format!("{root}/{name}");
        let body = Body::new().string(&path).buffer(b"kind").open_acl();
        let body = body.int(flags);
        let body = if op == 21 { body.long(YEAR_MS) } else { body };
        client.request(op, &body.bytes())?;
    }
    for name in ["container", "ttl"] {
        let child = format!("{root}/{name}/child");
        client.create(&child, b"", flag::PERSISTENT)?;
        client.delete(&child, -1)?;
        client.create(&child, b"", flag::PERSISTENT)?;
        client.set(&format!("{root}/{name}"), b"changed", 0)?;
    }
    Ok(())
}

/// A quota with writes before and after it, and what the server counts.
fn quota(client: &mut Client, root: &str) -> Result<(), Failure> {
    let kept = format!("{root}/kept");
    client.create(&kept, b"12345", flag::PERSISTENT)?;
    client.create(&format!("{kept}/before"), b"123", flag::PERSISTENT)?;
    let place = format!("/zookeeper/quota{kept}");
    for path in [format!("/zookeeper/quota{root}"), place.clone()] {
        client.create(&path, b"", flag::PERSISTENT)?;
    }
    let limits = b"count=10,bytes=-1=;byteHardLimit=1000";
    client.create(
        &format!("{place}/zookeeper_limits"),
        limits,
        flag::PERSISTENT,
    )?;
    let stats = format!("{place}/zookeeper_stats");
    client.create(&stats, b"count=0,bytes=0", flag::PERSISTENT)?;
    for number in 0..5 {
        let path = format!("{kept}/n-{number}");
        client.create(&path, b"1234567", flag::PERSISTENT)?;
        client.set(&path, b"12", -1)?;
    }
    client.delete(&format!("{kept}/n-3"), -1)?;
    let (data, stat) = client.get(&stats, false)?;
    assert_eq!(String::from_utf8_lossy(&data), "count=6,bytes=16");
    assert_eq!(stat.version, 0);
    Ok(())
}

/// One transaction: creates two znodes and deletes one.
fn multi(client: &mut Client, root: &str) -> Result<(), Failure> {
    let create = |path: &str| {
        let header = Body::new().int(1).byte(0).int(-1);
        header
            .string(path)
            .buffer(b"multi")
            .open_acl()
            .int(0)
            .bytes()
    };
    let body = Body::new()
        .raw(&create(&format!("{root}/m")))
        .raw(&create(&format!("{root}/m/child")))
        .raw(&Body::new().int(2).byte(0).int(-1).bytes())
        .string(&format!("{root}/n-0002"))
        .int(-1)
        .raw(&Body::new().int(-1).byte(1).int(-1).bytes());
    client.request(14, &body.bytes()).map(drop)
}

/// Everybody may read, and change the ACL.
fn set_acl(client: &mut Client, path: &str) -> Result<(), Failure> {
    let acl = Body::new()
        .string(path)
        .int(1)
        .int(17)
        .string("world")
        .string("anyone")
        .int(0);
    client.request(7, &acl.bytes()).map(drop)
}

fn sole_file(found: Vec<PathBuf>) -> PathBuf {
    found.into_iter().next_back().expect("the server left one")
}

/// Stops server 1, damages what `damage` says, starts it again: exit and log.
fn refused_after(ensemble: &mut Ensemble, damage: impl FnOnce(&Path)) -> String {
    ensemble.kill(1);
    let before = ensemble.log(1).len();
    damage(&ensemble.version_dir(1));
    ensemble.spawn(1);
    let status = ensemble.wait_exit(1, REFUSAL);
    assert!(!status.success(), "a refused start ends with {status}");
    ensemble.log(1)[before..].to_owned()
}

#[track_caller]
fn assert_names(said: &str, file: &Path, offsets: std::ops::Range<usize>) {
    if !Kind::under_test().is_vivarium() {
        return;
    }
    let name = file.file_name().expect("a file").to_string_lossy();
    let line = said.lines().find(|line| line.contains(&*name));
    let line = line.unwrap_or_else(|| panic!("{name} is not named in: {said}"));
    assert!(line.contains("offset"), "no offset in: {line}");
    let numbers = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok());
    assert!(
        numbers.into_iter().any(|n: usize| offsets.contains(&n)),
        "not {offsets:?}: {line}"
    );
    // And a cure: both kinds of damage are healed by taking the data from the other servers.
    assert!(
        said.contains("other servers") || said.contains("backup"),
        "no cure in: {said}"
    );
}

fn populated(name: &str) -> Ensemble {
    let ensemble = Plan::new(name, 1).line("extendedTypesEnabled=true").start();
    populate(&mut ensemble.client(1), "/tree").expect("writes are answered");
    ensemble
}

#[test]
fn a_damaged_transaction_is_refused() {
    let mut ensemble = populated("damaged-log");
    let log = sole_file(logs(&ensemble.version_dir(1)));
    let all = entries(&fs::read(&log).expect("readable"));
    assert!(all.len() > 100, "{} entries", all.len());
    let middle = all[all.len() / 2].clone();
    let said = refused_after(&mut ensemble, |_| {
        flip(&log, middle.start + middle.len() / 2)
    });
    assert_names(&said, &log, middle.start - 12..middle.end + 1);
    // The bit turned back, everything is there again: the refusal changed nothing.
    flip(&log, middle.start + middle.len() / 2);
    ensemble.start(1);
    let tree = tree(&mut ensemble.client(1));
    assert!(tree.contains_key("/tree/m/child"), "{} znodes", tree.len());
}

#[test]
fn a_damaged_last_transaction_is_refused() {
    let mut ensemble = populated("damaged-end");
    let log = sole_file(logs(&ensemble.version_dir(1)));
    let all = entries(&fs::read(&log).expect("readable"));
    let last = all.last().expect("not empty").clone();
    let said = refused_after(&mut ensemble, |_| flip(&log, last.start + 1));
    assert_names(&said, &log, last.start - 12..last.end + 1);
}

#[test]
fn a_torn_last_transaction_is_no_damage() {
    let mut ensemble = populated("torn-end");
    let before = tree(&mut ensemble.client(1));
    ensemble.kill(1);
    let log = sole_file(logs(&ensemble.version_dir(1)));
    let mut bytes = fs::read(&log).expect("readable");
    let last = entries(&bytes).last().expect("not empty").clone();
    // As a crash in the middle of an append leaves it: half of the next entry is there.
    let half = bytes[last.start - 12..last.start + last.len() / 2].to_vec();
    let end = last.end + 1;
    bytes.resize(bytes.len().max(end + half.len()), 0);
    bytes[end..end + half.len()].copy_from_slice(&half);
    fs::write(&log, bytes).expect("writable");
    ensemble.start(1);
    let mut client = ensemble.client(1);
    assert_same(&tree(&mut client), &before);
    client
        .create("/on", b"", flag::PERSISTENT)
        .expect("a write is answered");
    ensemble.kill(1);
    ensemble.start(1);
    assert!(tree(&mut ensemble.client(1)).contains_key("/on"));
}

#[test]
fn a_damaged_snapshot_is_refused() {
    if !Kind::under_test().is_vivarium() {
        return peers::skip("damaged snapshot", "ZooKeeper goes back to an older one");
    }
    let mut ensemble = Plan::new("damaged-snapshot", 1)
        .line("snapCount=100")
        .line("extendedTypesEnabled=true")
        .start();
    populate(&mut ensemble.client(1), "/tree").expect("writes are answered");
    ensemble.terminate(1);
    ensemble.start(1);
    let dir = ensemble.version_dir(1);
    let found = snapshots(&dir);
    let path = sole_file(found.into_iter().filter(|p| is_large(p)).collect());
    let length = fs::metadata(&path).expect("readable").len() as usize;
    let said = refused_after(&mut ensemble, |_| flip(&path, length / 2));
    assert_names(&said, &path, 0..length + 1);
    flip(&path, length / 2);
    ensemble.start(1);
    assert!(tree(&mut ensemble.client(1)).contains_key("/tree/m/child"));
}

/// Does this snapshot hold more than the znodes of a fresh server?
fn is_large(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() > 2_000)
}

/// Runs `stages` one after the other over the same directories. Each writes something, and shows
/// what all before it wrote.
fn relay(name: &str, voters: i64, stages: &[Kind]) {
    relay_with(Plan::new(name, voters), stages);
}

fn relay_with(plan: Plan, stages: &[Kind]) {
    // Snapshots are frequent, so that each stage starts from one and replays a log.
    let plan = plan
        .line("snapCount=150")
        .line("extendedTypesEnabled=true")
        .line("enforceQuota=true");
    let mut ensemble = plan.kind(stages[0]).prepare();
    let mut expected = Tree::new();
    for (stage, kind) in stages.iter().enumerate() {
        println!("stage {stage}: {kind:?}");
        for id in ensemble.ids() {
            ensemble.set_kind(id, *kind);
        }
        ensemble.start_all();
        let mut client = ensemble.client(1);
        client.sync("/").expect("sync is answered");
        let mut found = tree(&mut client);
        // The lease of the stage before goes with its session, now or later.
        let lease = |tree: &mut Tree| tree.retain(|path, _| !path.ends_with("/lease"));
        lease(&mut found);
        lease(&mut expected);
        assert_same(
            &without_parents_of_leases(&found),
            &without_parents_of_leases(&expected),
        );
        populate(&mut client, &format!("/stage-{stage}")).expect("writes are answered");
        client.sync("/").expect("sync is answered");
        expected = tree(&mut client);
        drop(client);
        for id in ensemble.ids() {
            let mut client = ensemble.client(id);
            client.sync("/").expect("sync is answered");
            let mut found = tree(&mut client);
            lease(&mut found);
            lease(&mut expected);
            assert_eq!(found.len(), expected.len(), "server {id}");
        }
        for id in ensemble.ids() {
            ensemble.kill(id);
            let log = ensemble.log(id);
            for complaint in ["Digests are not matching", "the tree differs"] {
                assert!(!log.contains(complaint), "server {id} sees another tree");
            }
            let replayed = log.lines().filter_map(mismatches).max();
            assert!(replayed < Some(30), "server {id} replays to another tree");
        }
    }
}

/// Transactions after which a starting server had another tree than their leader. ZooKeeper writes
/// a snapshot while its tree changes: over that, the first few of a replay come too late.
fn mismatches(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("data: after ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.contains("the tree was not")
        .then(|| number.parse().expect("a number"))
}

/// Leaves out what the end of a lease changes in its parent.
fn without_parents_of_leases(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for (path, (_, stat)) in &mut tree {
        if path.starts_with("/stage-") && path.matches('/').count() == 1 {
            (stat.cversion, stat.num_children, stat.pzxid) = (0, 0, 0);
        }
    }
    tree
}

#[track_caller]
fn assert_same(found: &Tree, expected: &Tree) {
    if expected.is_empty() {
        return;
    }
    for (path, value) in expected {
        let other = found.get(path);
        assert_eq!(
            other.map(|(data, _)| data),
            Some(&value.0),
            "data of {path}"
        );
        assert_eq!(
            other.map(|(_, stat)| stat),
            Some(&value.1),
            "stat of {path}"
        );
    }
    assert_eq!(found.len(), expected.len(), "more znodes than before");
}

fn java_kinds(test: &str) -> Vec<Kind> {
    if peers::zookeeper(test).is_none() {
        return Vec::new();
    }
    peers::zookeepers().iter().map(Kind::ZooKeeper).collect()
}

#[test]
fn a_standalone_directory_goes_to_zookeeper_and_back() {
    for java in java_kinds("standalone directory, there and back") {
        let us = Kind::under_test();
        relay("relay-standalone", 1, &[us, java, us, java]);
    }
}

#[test]
fn a_directory_with_packed_snapshots_goes_to_zookeeper_and_back() {
    for java in java_kinds("packed snapshots, there and back") {
        // ZooKeeper has packed them since 3.6.
        for method in ["gz", "snappy"] {
            let us = Kind::under_test();
            let line = format!("snapshot.compression.method={method}");
            let plan = Plan::new(&format!("relay-{method}"), 1).line(&line);
            relay_with(plan, &[us, java, us, java, us]);
        }
    }
}

#[test]
fn the_directories_of_three_servers_go_to_zookeeper_and_back() {
    for java in java_kinds("directories of three servers, there and back") {
        let us = Kind::under_test();
        relay("relay-three", 3, &[java, us, java, us]);
    }
}
