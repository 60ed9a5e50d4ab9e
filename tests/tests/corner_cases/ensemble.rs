//! What only several servers show.

use std::thread::sleep;
use std::time::Duration;

use vivarium_tests::ask::{self, flag};
use vivarium_tests::client::{connect_request, four_letters};
use vivarium_tests::ensemble::{Ensemble, Plan};
use vivarium_tests::probe::{Probe, TIMEOUT_MS, Welcome, fresh};
use vivarium_tests::wait;
use vivarium_tests::wire::Body;

use crate::{Bench, Case, run};

#[test]
fn ensemble() {
    let mut bench = Bench::start(Plan::new("corner-ensemble", 3));
    run(&bench, CASES);
    no_quorum(&mut bench.ensemble);
}

const CASES: &[Case] = &[
    ("106 a moved session is served in one place", moved_session),
    ("107 sync, then read elsewhere", sync_then_read),
    ("108 a follower's client sees its own writes", own_writes),
];

/// Sessions in memory, and servers that answer reads without the others.
#[test]
fn read_only_and_local() {
    let plan = Plan::new("corner-local", 3)
        .line("localSessionsEnabled=true")
        .property("zookeeper.extendedTypesEnabled", "true")
        .property("readonlymode.enabled", "true");
    let mut bench = Bench::start(plan);
    run(&bench, &[("110 local sessions", local_sessions)]);
    read_only(&mut bench.ensemble);
}

fn followers(ensemble: &Ensemble) -> Vec<i64> {
    let leader = ensemble.wait_leader();
    let mut ids = ensemble.ids();
    ids.retain(|id| *id != leader);
    ids
}

fn moved_session(bench: &Bench) {
    let ids = followers(&bench.ensemble);
    let address = |at: usize| bench.ensemble.client_address(ids[at]);
    let mut old = Probe::connect(address(0));
    old.ok(&ask::sync("/"));
    let mut new = Probe::resume(address(1), &old.session, 0).expect("the session moves");
    new.make("/moved");
    old.send(&ask::create("/moved/late", 0));
    old.closed();
    new.ok(&ask::sync("/"));
    assert!(!new.has("/moved/late"));
}

fn sync_then_read(bench: &Bench) {
    let ids = followers(&bench.ensemble);
    let mut writer = Probe::connect(bench.ensemble.client_address(ids[0]));
    let mut reader = Probe::connect(bench.ensemble.client_address(ids[1]));
    writer.make("/sync");
    for version in 1..=30 {
        let written = writer.ok(&ask::set_data("/sync", b"x", -1)).stat();
        assert_eq!(written.version, version);
        let sync = reader.send(&ask::sync("/"));
        let read = reader.send(&ask::exists("/sync", false));
        assert_eq!(reader.reply(sync).error, 0);
        assert_eq!(reader.reply(read).stat(), written);
    }
}

fn own_writes(bench: &Bench) {
    let ids = followers(&bench.ensemble);
    let mut probe = Probe::connect(bench.ensemble.client_address(ids[0]));
    probe.make("/own");
    for version in 1..=30 {
        let write = probe.send(&ask::set_data("/own", b"x", version - 1));
        let read = probe.send(&ask::exists("/own", false));
        let written = probe.reply(write).stat();
        assert_eq!(
            (written.version, written),
            (version, probe.reply(read).stat())
        );
    }
}

/// 111: a server without the others closes on the first frame.
fn no_quorum(ensemble: &mut Ensemble) {
    let ids = followers(ensemble);
    let leader = ensemble.wait_leader();
    ensemble.kill(leader);
    ensemble.kill(ids[0]);
    let left = ensemble.client_address(ids[1]);
    wait::until("the last server notices", Duration::from_secs(30), || {
        ensemble.mode(ids[1]).is_none().then_some(())
    });
    let mut probe = Probe::bare(left);
    probe.raw(&connect_request(&fresh(TIMEOUT_MS), 0).frame());
    probe.closed();
}

fn local_sessions(bench: &Bench) {
    for id in bench.ensemble.ids() {
        let mut probe = Probe::connect(bench.ensemble.client_address(id));
        let node = |name: &str| format!("/{id}-{name}");
        for flags in [flag::EPHEMERAL, flag::EPHEMERAL_SEQUENTIAL] {
            probe.refused(&ask::create(&node("e"), flags), -120);
        }
        probe.make(&node("p"));
        probe.ok(&ask::create_container(&node("c")));
        probe.ok(&ask::create_ttl(&node("t"), flag::TTL, 60_000));
        probe.ok(&ask::set_data(&node("p"), b"x", 0));
        let other = bench.ensemble.client_address(id % 3 + 1);
        let refusal = Probe::resume(other, &probe.session, 0).expect_err("a local session");
        assert!(refusal.is_refusal());
        probe.ok(&ask::exists("/", false));
        probe.close();
    }
}

/// 109: a minority answers reads of clients that asked for it.
fn read_only(ensemble: &mut Ensemble) {
    let last = ensemble.ids()[2];
    let made = {
        let mut probe = Probe::connect(ensemble.client_address(last));
        probe.make("/read-only").zxid
    };
    for id in ensemble.ids() {
        if id != last {
            ensemble.kill(id);
        }
    }
    let address = ensemble.client_address(last);
    wait::until(
        "the last server is read-only",
        Duration::from_secs(60),
        || {
            let word = four_letters(address, "isro").ok()?;
            (word == "ro").then_some(())
        },
    );
    let mut refused = Probe::bare(address);
    refused.raw(&connect_request(&fresh(TIMEOUT_MS), 0).frame());
    refused.closed();
    let mut probe = Probe::bare(address);
    let session = fresh(TIMEOUT_MS);
    let head = Body::new().int(0).long(made).int(TIMEOUT_MS).long(0);
    probe.raw(&head.buffer(&session.password).byte(1).frame());
    let welcome = Welcome::read(&probe.bytes());
    assert_eq!(welcome.read_only, Some(1));
    assert!(!welcome.is_refusal());
    probe.ok(&ask::get_data("/read-only", true));
    probe.ok(&ask::multi_read(&[ask::get_data("/read-only", false)]));
    for request in [
        ask::create("/refused", 0),
        ask::set_data("/read-only", b"x", -1),
        ask::delete("/read-only", -1),
        ask::multi(&[ask::check("/read-only", -1)]),
        ask::sync("/"),
    ] {
        probe.refused(&request, -119);
    }
    sleep(Duration::from_millis(100));
    probe.ok(&ask::exists("/read-only", false));
    assert!(ensemble.running() == [last]);
}
