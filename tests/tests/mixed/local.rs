//! Local sessions through and behind servers of the other kind: no transaction opens one, its
//! writes are taken, and its first ephemeral makes it a session that everybody knows.

use vivarium_tests::ask::{self, flag};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan, SERVING};
use vivarium_tests::probe::Probe;
use vivarium_tests::wait;

use crate::releases;

fn zxid(probe: &mut Probe) -> i64 {
    probe.call(&ask::exists("/no", false)).zxid
}

/// One local session through this server, and what the others see of it.
fn through(ensemble: &Ensemble, at: i64) {
    let address = |id: i64| ensemble.client_address(id);
    let mut watcher = Probe::connect(address(at));
    let before = watcher.make(&format!("/first-{at}")).zxid;
    let mut local = Probe::connect(address(at));
    assert_eq!(
        zxid(&mut watcher),
        before,
        "server {at}: a session of its own"
    );
    let root = format!("/local-{at}");
    assert_eq!(local.make(&root).zxid, before + 1, "server {at}");
    let other = address(at % 3 + 1);
    let moved = Probe::resume(other, &local.session, 0);
    assert!(moved.is_err(), "nobody else knows it");
    let lease = format!("{root}/lease");
    let made = local.ok(&ask::create(&lease, flag::EPHEMERAL));
    assert_eq!(
        made.zxid,
        before + 3,
        "server {at}: the session, and the node"
    );
    let session = local.session.clone();
    let mut elsewhere = Probe::connect(other);
    elsewhere.ok(&ask::sync("/"));
    assert_eq!(elsewhere.stat(&lease).ephemeral_owner, session.id);
    let mut moved = Probe::resume(other, &session, 0).expect("everybody knows it now");
    moved.ok(&ask::create(&format!("{root}/second"), flag::EPHEMERAL));
    moved.close();
    watcher.ok(&ask::sync("/"));
    assert!(!watcher.has(&lease) && watcher.has(&root), "server {at}");
}

#[test]
fn local_sessions_are_upgraded_behind_each_kind_of_leader() {
    let Some([_, new]) = releases("local sessions of mixed ensembles") else {
        return;
    };
    for kinds in [
        [new, new, Kind::Vivarium],
        [Kind::Vivarium, Kind::Vivarium, new],
    ] {
        let mut ensemble = Plan::new("mixed-local", 3)
            .mix(&kinds)
            .line("localSessionsEnabled=true")
            .line("localSessionsUpgradingEnabled=true")
            .prepare();
        ensemble.spawn(3);
        wait::until("the election port is open", SERVING, || {
            std::net::TcpStream::connect(ensemble.election_address(3)).ok()
        });
        ensemble.start_all();
        println!("server {} leads {kinds:?}", ensemble.wait_leader());
        for at in ensemble.ids() {
            through(&ensemble, at);
        }
    }
}
