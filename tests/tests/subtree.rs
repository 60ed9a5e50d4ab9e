//! Export and import: what comes out of a server goes into another and is the same there; an
//! export under load is the state of one transaction; nothing is written that was not asked for.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use vivarium_tests::ask::{self, flag, op, perm};
use vivarium_tests::client::{Client, flag as plain};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::probe::{self, Probe};
use vivarium_tests::tool::{complaint, printed, text};
use vivarium_tests::{peers, wait};

/// `user:password` as the scheme `digest` stores it.
const OWNER: &str = "user:tpUq/4Pn5A64fVZyQ0gOJ8ZWqkY=";
const OWNER_AUTH: &str = "digest:user:password";

fn address(ensemble: &Ensemble) -> String {
    ensemble.client_address(1).to_string()
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn exported(source: &str, path: &str, more: &[&str]) -> Value {
    let mut arguments = vec!["export", source, "--path", path];
    arguments.extend(more);
    document(&printed(&arguments))
}

/// The last line of an import, as JSON.
fn imported(file: &Path, target: &str, more: &[&str]) -> Value {
    let mut arguments = vec!["import", text(file), target, "--json"];
    arguments.extend(more);
    let printed = printed(&arguments);
    document(printed.lines().last().expect("a summary"))
}

fn counts(summary: &Value) -> [u64; 4] {
    ["created", "changed", "unchanged", "skipped"].map(|name| summary[name].as_u64().expect(name))
}

fn alone(name: &str, kind: Kind) -> Ensemble {
    let plan = Plan::new(name, 1)
        .kind(kind)
        .line("maxSessionTimeout=120000");
    plan.property("zookeeper.extendedTypesEnabled", "true")
        .start()
}

/// A session that lasts as long as a slow machine needs for a test.
fn lasting(ensemble: &Ensemble) -> Probe {
    let session = probe::fresh(120_000);
    Probe::resume(ensemble.client_address(1), &session, 0).expect("a session")
}

/// Text, bytes, no data, an access list, sequence names, an ephemeral, many children.
fn populate(ensemble: &Ensemble) -> Probe {
    let mut probe = lasting(ensemble);
    let open = ask::OPEN;
    probe.ok(&ask::create("/app", 0));
    let null = ask::create_as(op::CREATE, "/app/null", None, open, flag::PERSISTENT);
    probe.ok(&null);
    let bytes = ask::create_as(op::CREATE, "/app/bytes", Some(b"\xff\x00\x80"), open, 0);
    probe.ok(&bytes);
    let words = "quote \" line\n and \u{e9}";
    probe.ok(&ask::create_as(
        op::CREATE,
        "/app/text",
        Some(words.as_bytes()),
        open,
        0,
    ));
    let list = [
        (perm::ALL, "digest", OWNER),
        (perm::READ, "world", "anyone"),
    ];
    probe.ok(&ask::create_acl("/app/owned", &list));
    probe.ok(&ask::create("/app/lease", flag::EPHEMERAL));
    probe.ok(&ask::create("/app/many", 0));
    for number in 0..300 {
        probe.ok(&ask::create(&format!("/app/many/n{number:03}"), 0));
    }
    probe.ok(&ask::create("/app/many/s-", flag::SEQUENTIAL));
    probe
}

fn round_trip(from: Kind, to: Kind) {
    let source = alone("export-from", from);
    let probe = populate(&source);
    let target = alone("export-to", to);
    let file = source.dir().join("app.json");
    let (here, there) = (address(&source), address(&target));
    let said = complaint(&["export", &here, "--path", "/app"]);
    assert!(
        said.contains("/app/owned") && said.contains("--auth"),
        "{said}"
    );
    let auth = ["--auth", OWNER_AUTH];
    let mut arguments = vec!["export", &here, "--path", "/app", "-o", text(&file)];
    arguments.extend(auth);
    let line = printed(&arguments);
    assert!(
        line.contains(" znodes=307 ephemerals_left_out=1 "),
        "{line}"
    );
    assert!(line.contains(" consistent=true"), "{line}");
    let dry = imported(&file, &there, &["--dry-run"]);
    assert_eq!(
        (counts(&dry), &dry["dry_run"]),
        ([307, 0, 0, 0], &Value::Bool(true))
    );
    let said = complaint(&["export", &there, "--path", "/app"]);
    assert!(
        said.contains("can not read /app"),
        "nothing was written: {said}"
    );
    assert_eq!(counts(&imported(&file, &there, &auth)), [307, 0, 0, 0]);
    assert_eq!(counts(&imported(&file, &there, &auth)), [0, 0, 307, 0]);
    let znodes = |server: &str| exported(server, "/app", &auth)["znodes"].clone();
    assert_eq!(znodes(&there), znodes(&here));
    // At another place, in small transactions.
    Client::connect(target.client_address(1), 10_000)
        .and_then(|mut client| client.create("/copy", b"", plain::PERSISTENT))
        .expect("answered");
    let more = ["--path", "/copy/app", "--max-bytes", "2000"];
    assert_eq!(counts(&imported(&file, &there, &more)), [307, 0, 0, 0]);
    let moved = exported(&there, "/copy/app", &auth)["znodes"].to_string();
    assert_eq!(
        moved.replace("/copy/app", "/app"),
        znodes(&here).to_string()
    );
    drop(probe);
}

#[test]
fn a_subtree_goes_from_server_to_server() {
    round_trip(Kind::Vivarium, Kind::Vivarium);
}

#[test]
fn a_subtree_goes_from_zookeeper_to_vivarium_and_back() {
    let Some(java) = peers::newest_zookeeper("a_subtree_goes_from_zookeeper") else {
        return;
    };
    round_trip(Kind::ZooKeeper(java), Kind::Vivarium);
    round_trip(Kind::Vivarium, Kind::ZooKeeper(java));
}

#[test]
fn containers_and_times_to_live_are_kept_from_files() {
    let source = alone("export-kinds", Kind::Vivarium);
    let mut probe = lasting(&source);
    probe.ok(&ask::create("/app", 0));
    probe.ok(&ask::create_container("/app/container"));
    probe.ok(&ask::create_ttl("/app/ttl", flag::TTL, 86_400_000));
    probe.ok(&ask::create("/app/lease", flag::EPHEMERAL));
    // From the directory of a server at work.
    let dir = source.data_dir(1);
    let found = exported(text(&dir), "/app", &["--ephemerals"]);
    assert_eq!(
        (&found["kinds_known"], &found["consistent"]),
        (&true.into(), &true.into())
    );
    let kinds: Vec<_> = found["znodes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|znode| {
            (
                znode["path"].clone(),
                znode["kind"].clone(),
                znode["ttl_ms"].clone(),
            )
        })
        .collect();
    let expected: [(Value, Value, Value); 4] = [
        ("/app".into(), Value::Null, Value::Null),
        ("/app/container".into(), "container".into(), Value::Null),
        ("/app/lease".into(), "ephemeral".into(), Value::Null),
        ("/app/ttl".into(), "ttl".into(), 86_400_000.into()),
    ];
    assert_eq!(kinds, expected);
    let file = source.dir().join("app.json");
    printed(&[
        "export",
        text(&dir),
        "--path",
        "/app",
        "--ephemerals",
        "-o",
        text(&file),
    ]);
    let target = alone("import-kinds", Kind::Vivarium);
    assert_eq!(
        counts(&imported(&file, &address(&target), &[])),
        [3, 0, 0, 1]
    );
    let back = exported(text(&target.data_dir(1)), "/app", &[]);
    let without = exported(text(&dir), "/app", &[]);
    assert_eq!(without["ephemerals_left_out"], 1);
    assert_eq!(back["znodes"], without["znodes"]);
    // A server without TTL nodes says so, and nothing is half done.
    let old = Plan::new("import-old", 1).kind(Kind::Vivarium).start();
    let said = complaint(&["import", text(&file), &address(&old)]);
    assert!(
        said.contains("/app/ttl") && said.contains("extendedTypesEnabled"),
        "{said}"
    );
    assert_eq!(
        counts(&imported(&file, &address(&target), &["--ephemerals"])),
        [1, 0, 3, 0]
    );
}

#[test]
fn what_is_there_and_different_is_the_operators_decision() {
    let source = alone("conflict-from", Kind::Vivarium);
    let target = alone("conflict-to", Kind::Vivarium);
    for (server, owner) in [(&source, false), (&target, true)] {
        let mut probe = Probe::connect(server.client_address(1));
        probe.ok(&ask::create("/app", 0));
        for name in ["same", "data", "list"] {
            probe.ok(&ask::create(&format!("/app/{name}"), 0));
        }
        if owner {
            probe.ok(&ask::set_data("/app/data", b"theirs", -1));
            let list = [
                (perm::ALL, "world", "anyone"),
                (perm::READ, "ip", "127.0.0.1"),
            ];
            probe.ok(&ask::set_acl("/app/list", &list, -1));
        } else {
            probe.ok(&ask::create("/app/new", 0));
        }
    }
    let file = source.dir().join("app.json");
    let there = address(&target);
    printed(&[
        "export",
        &address(&source),
        "--path",
        "/app",
        "-o",
        text(&file),
    ]);
    let before = exported(&there, "/app", &[]);
    let said = complaint(&["import", text(&file), &there]);
    assert!(
        said.contains("/app/data, /app/list: there with other data"),
        "{said}"
    );
    assert!(said.contains("nothing was written"), "{said}");
    assert_eq!(exported(&there, "/app", &[])["znodes"], before["znodes"]);
    let skipped = imported(&file, &there, &["--on-conflict", "skip"]);
    assert_eq!(counts(&skipped), [1, 0, 2, 2]);
    let lines = printed(&["import", text(&file), &there, "--on-conflict", "overwrite"]);
    assert!(
        lines.contains("what=changed path=\"/app/data\"\n"),
        "{lines}"
    );
    let last = "what=summary created=0 changed=2 unchanged=3 skipped=0 dry_run=false\n";
    assert!(lines.ends_with(last), "{lines}");
    let ours = exported(&address(&source), "/app", &[]);
    assert_eq!(exported(&there, "/app", &[])["znodes"], ours["znodes"]);
    let said = complaint(&["import", text(&file), &there, "--path", "/none/app"]);
    assert!(said.contains("its parent /none does not exist"), "{said}");
    fs::write(&file, "{}").expect("written");
    assert!(complaint(&["import", text(&file), &there]).contains("its format is"));
}

/// Writes to a subtree until told to stop: new znodes, new data, deletions.
fn disturb(server: std::net::SocketAddr, number: u32, stop: &AtomicBool) {
    let mut client = Client::connect(server, 10_000).expect("a session");
    for turn in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let path = format!("/busy/w{number}-{}", turn % 400);
        let done = match client.exists(&path, false).expect("answered") {
            None => client
                .create(&path, &turn.to_be_bytes(), plain::PERSISTENT)
                .map(drop),
            Some(_) if turn % 3 == 0 => client.delete(&path, -1).map(drop),
            Some(_) => client.set(&path, &turn.to_be_bytes(), -1).map(drop),
        };
        done.expect("answered");
    }
}

fn consistent_under_load(kind: Kind) {
    let source = Plan::new("export-load", 1).kind(kind).start();
    let mut client = source.client(1);
    client
        .create("/busy", b"", plain::PERSISTENT)
        .expect("answered");
    let stop = Arc::new(AtomicBool::new(false));
    let server = source.client_address(1);
    let threads: Vec<_> = (0..3)
        .map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || disturb(server, number, &stop))
        })
        .collect();
    // By now they change and delete more than they create.
    wait::until("much is written", Duration::from_secs(60), || {
        source.zxid(1).filter(|zxid| *zxid > 3_000)
    });
    let exports: Vec<Value> = (0..12)
        .map(|_| exported(&address(&source), "/busy", &[]))
        .collect();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("it writes");
    }
    let moved = exports
        .iter()
        .filter(|found| found["zxid_from"] != found["zxid_to"])
        .count();
    assert!(moved > 0, "nobody wrote while it was read");
    let to = source.dir().join("archive");
    printed(&["backup", text(&source.data_dir(1)), "-o", text(&to)]);
    for (number, found) in exports.iter().enumerate() {
        assert_eq!(found["consistent"], true);
        let at = found["zxid_to"].as_str().expect("a zxid");
        let back = source.dir().join(format!("back-{number}"));
        printed(&["restore", text(&to), text(&back), "--at", at]);
        let expected = exported(text(&back), "/busy", &[]);
        assert_eq!(expected["zxid_to"], found["zxid_to"]);
        assert_eq!(expected["znodes"], found["znodes"], "{at}");
    }
}

#[test]
fn an_export_under_load_is_the_state_of_one_transaction() {
    consistent_under_load(Kind::Vivarium);
}

#[test]
fn an_export_of_zookeeper_under_load_is_the_state_of_one_transaction() {
    let Some(java) = peers::newest_zookeeper("an_export_of_zookeeper_under_load") else {
        return;
    };
    consistent_under_load(Kind::ZooKeeper(java));
}

#[test]
fn large_znodes_go_in_transactions_that_the_server_takes() {
    let source = alone("import-large", Kind::Vivarium);
    let mut client = source.client(1);
    client
        .create("/large", b"", plain::PERSISTENT)
        .expect("answered");
    for number in 0..8 {
        let size = if number == 5 { 1_048_000 } else { 300_000 };
        let data = vec![b'a' + number; size];
        let path = format!("/large/n{number}");
        client
            .create(&path, &data, plain::PERSISTENT)
            .expect("answered");
    }
    let file = source.dir().join("large.json");
    printed(&[
        "export",
        &address(&source),
        "--path",
        "/large",
        "-o",
        text(&file),
    ]);
    let more = ["--path", "/again"];
    assert_eq!(
        counts(&imported(&file, &address(&source), &more)),
        [9, 0, 0, 0]
    );
    // A server that takes less closes the connection.
    let plan = Plan::new("import-small", 1).kind(Kind::Vivarium);
    let target = plan.property("jute.maxbuffer", "400000").start();
    let there = address(&target);
    let said = complaint(&["import", text(&file), &there]);
    assert!(
        said.contains("jute.maxbuffer") && said.contains("run this again"),
        "{said}"
    );
    let said = complaint(&["import", text(&file), &there, "--max-bytes", "350000"]);
    assert!(
        said.contains("/large/n5") && said.contains("6 znodes were created"),
        "{said}"
    );
}
