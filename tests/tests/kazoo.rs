//! kazoo, the Python client, against real servers.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use vivarium_tests::ensemble::{Ensemble, Plan};
use vivarium_tests::peers;
use vivarium_tests::python::Python;

fn matrix(ensemble: &Ensemble, test: &str) {
    let Some(python) = peers::kazoo(test) else {
        return;
    };
    let mut program = Python::start(python, "matrix.py", &ensemble.connect_string());
    let said = program.finish();
    let count = said
        .lines()
        .filter(|line| line.ends_with("as expected"))
        .count();
    assert_eq!(count, ensemble.ids().len(), "{said}");
}

#[test]
fn every_operation_on_a_standalone_server() {
    matrix(
        &Plan::new("kazoo-standalone", 1).start(),
        "kazoo on a standalone server",
    );
}

#[test]
fn every_operation_on_each_of_three_servers() {
    matrix(
        &Plan::new("kazoo-three", 3).start(),
        "kazoo on three servers",
    );
}

#[test]
fn every_operation_through_an_observer() {
    let plan = Plan::new("kazoo-observer", 3).observers(1);
    matrix(&plan.start(), "kazoo through an observer");
}

#[test]
fn lock_watch_and_ephemeral_survive_the_leader() {
    let test = "lock, watch and ephemeral while the leader is killed";
    let Some(python) = peers::kazoo(test) else {
        return;
    };
    let mut ensemble = Plan::new("kazoo-leader", 3).start();
    let mut program = Python::start(python, "keeps_working.py", &ensemble.connect_string());
    assert_eq!(program.hear(), "ready");
    for _ in 0..3 {
        let leader = ensemble.wait_leader();
        ensemble.kill(leader);
        // The other two go on while it is away, ...
        ensemble.wait_leader();
        program.wait_progress();
        // ... and when it has come back.
        ensemble.start(leader);
        program.wait_progress();
    }
    program.say("stop");
    println!("{}", program.finish());
}
