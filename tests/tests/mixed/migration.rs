//! A loaded ensemble of ZooKeeper becomes one of Vivarium, server by server, and goes back again:
//! the same directories, the same configuration. Clients keep their sessions and miss nothing that
//! they were told of.

use std::net::SocketAddr;
use std::process::Command;

use vivarium_tests::ensemble::{Ensemble, Kind, Plan, SERVING};
use vivarium_tests::probe::Probe;
use vivarium_tests::python::Python;
use vivarium_tests::writers::{Writers, assert_nothing_lost};
use vivarium_tests::{ask, peers, program, wait};

use crate::behaviours::{same_tree, tree};
use crate::faults::with_fuzzy_snapshots;
use crate::matrix::monitored;

/// `vivarium migrate check` with these arguments: exit code and output.
fn check(ensemble: &Ensemble, id: i64, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(program::vivarium())
        .args(["migrate", "check"])
        .arg(ensemble.config_path(id))
        .args(arguments)
        .output()
        .expect("the program starts");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code().expect("no signal"), said)
}

/// The servers in the order in which they are replaced: the leader last, so that there is one
/// election and not three.
fn order(ensemble: &Ensemble) -> Vec<i64> {
    let leader = ensemble.wait_leader();
    let mut ids = ensemble.ids();
    ids.retain(|id| *id != leader);
    ids.push(leader);
    ids
}

/// Every server in turn runs `kind` from now on.
fn roll(ensemble: &mut Ensemble, kind: Kind, client: &mut Option<Python>, writers: &Writers) {
    for id in order(ensemble) {
        ensemble.terminate(id);
        if kind.is_vivarium() {
            let (code, said) = check(ensemble, id, &[]);
            assert_eq!(code, 0, "{said}");
            assert!(said.contains("can take this server's place"), "{said}");
        }
        ensemble.set_kind(id, kind);
        ensemble.start(id);
        let before = writers.count();
        wait::until("writes go on", SERVING, || {
            (writers.count() > before + 50).then_some(())
        });
        if let Some(client) = client {
            client.wait_progress();
        }
    }
}

fn there_and_back(java: Kind) {
    let name = format!("migration-{}", java.label());
    let mut ensemble = Plan::new(&name, 3).kind(java).line("snapCount=500").start();
    let mut owner = Probe::connect(ensemble.client_address(1));
    let (code, said) = check(&ensemble, 1, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &report["ready"]), (0, &true.into()), "{said}");
    for server in report["servers"].as_array().expect("a list") {
        // Each has a client port of its own here, which no other's configuration tells.
        let known = server["version"].as_str();
        let expected = server["me"].as_bool().expect("a truth value");
        assert_eq!(
            known.is_some_and(|v| v.starts_with(java.label())),
            expected,
            "{said}"
        );
    }
    owner.make("/before");
    let addresses: Vec<SocketAddr> = ensemble
        .ids()
        .into_iter()
        .map(|id| ensemble.client_address(id))
        .collect();
    let mut client = peers::kazoo("kazoo through a migration").map(|python| {
        let python = Python::start(python, "keeps_working.py", &ensemble.connect_string());
        assert_eq!(python.hear(), "ready");
        python
    });
    let writers = Writers::start(&addresses, 3, 0);
    roll(&mut ensemble, Kind::Vivarium, &mut client, &writers);
    println!("{name}: all are Vivarium after {} writes", writers.count());
    roll(&mut ensemble, java, &mut client, &writers);
    let acknowledged = writers.stop();
    if let Some(client) = &mut client {
        client.say("stop");
        println!("{name}: {}", client.finish());
    }
    let creates: usize = acknowledged.iter().map(|one| one.created.len()).sum();
    println!("{name}: {creates} creates were acknowledged");
    let (mut expected, fuzzy) = (None, with_fuzzy_snapshots(&ensemble));
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), 0, &acknowledged);
        let mut probe = Probe::connect(ensemble.client_address(id));
        probe.ok(&ask::sync("/"));
        let found = tree(&mut probe);
        same_tree(&found, expected.get_or_insert_with(|| found.clone()));
        let count = monitored(&ensemble, id, "digest_mismatches_count");
        if !fuzzy.contains(&id) {
            assert_eq!(count.as_deref(), Some("0"), "server {id}");
        }
    }
}

#[test]
fn a_loaded_ensemble_becomes_vivarium_and_goes_back() {
    let test = "migration of a loaded ensemble";
    if let Some(java) = peers::newest_zookeeper(test) {
        there_and_back(Kind::ZooKeeper(java));
    }
}

#[test]
#[ignore = "half a minute; .ci/run runs it"]
fn an_older_loaded_ensemble_becomes_vivarium_and_goes_back() {
    let test = "migration of an older loaded ensemble";
    if let Some(java) = peers::zookeepers().first() {
        there_and_back(Kind::ZooKeeper(java));
    } else {
        peers::skip(test, "there is no ZooKeeper here");
    }
}

#[test]
fn what_stands_in_the_way_of_a_migration_is_told() {
    let mut ensemble = Plan::new("migration-check", 3)
        .kind(Kind::Vivarium)
        .prepare();
    let append = |ensemble: &Ensemble, text: &str| {
        let path = ensemble.config_path(1);
        let before = std::fs::read_to_string(&path).expect("readable");
        std::fs::write(&path, format!("{before}{text}")).expect("writable");
    };
    append(&ensemble, "forceSync=no\nsnapCoutn=9\n");
    let (code, said) = check(&ensemble, 1, &["--offline"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("forceSync=no: changed: has no effect"),
        "{said}"
    );
    assert!(said.contains("did you mean snapCount?"), "{said}");
    assert!(said.contains("autopurge.purgeInterval"), "{said}");
    assert!(said.contains("the directory is empty"), "{said}");

    ensemble.start_all();
    let mut probe = Probe::connect(ensemble.client_address(1));
    probe.make("/a");
    ensemble.kill_all();
    let logs = vivarium_tests::directory::logs(&ensemble.version_dir(1));
    let log = logs.last().expect("a log");
    vivarium_tests::directory::flip(log, 40);
    let (code, said) = check(&ensemble, 1, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("would not start with this data"), "{said}");
    assert!(said.contains("not reached"), "nobody runs: {said}");

    append(&ensemble, "sslQuorum=true\n");
    let (code, said) = check(&ensemble, 1, &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &report["ready"]), (2, &false.into()), "{said}");
    assert!(said.contains("TLS is not supported"), "{said}");

    std::fs::remove_dir_all(ensemble.data_dir(2)).expect("removed");
    let (code, said) = check(&ensemble, 2, &["--offline"]);
    assert_eq!(code, 2, "myid is gone: {said}");
    let path = ensemble.config_path(3);
    let text = std::fs::read_to_string(&path).expect("readable");
    let no_logs = format!("{text}dataLogDir={}\n", ensemble.dir().join("no").display());
    std::fs::write(&path, no_logs).expect("writable");
    let (code, said) = check(&ensemble, 3, &["--offline"]);
    assert_eq!(code, 3, "{said}");
}
