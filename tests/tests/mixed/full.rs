//! Vivarium servers without room on their disks beside ZooKeepers: what they tell each other of it
//! says nothing to ZooKeeper, and harms nobody.

use std::net::SocketAddr;
use std::time::Duration;

use vivarium_tests::ask;
use vivarium_tests::client::{Failure, code, flag};
use vivarium_tests::disks::Disks;
use vivarium_tests::ensemble::{Ensemble, Kind, Plan, SERVING};
use vivarium_tests::probe::Probe;
use vivarium_tests::wait;
use vivarium_tests::writers::{Writers, assert_nothing_lost};

use crate::behaviours::{same_tree, tree};
use crate::matrix::monitored;
use crate::{is_whole, releases};

const SOON: Duration = Duration::from_secs(30);

/// Of ZooKeeper's and of our `dataDir`: small files, and little held back.
fn plan(name: &str, kinds: &[Kind]) -> Plan {
    Plan::new(name, kinds.len() as i64)
        .mix(kinds)
        .line("vivarium.diskReserve=256")
        .line("snapCount=10000")
}

/// Starts the last server first, which makes it the leader.
fn start(ensemble: &mut Ensemble, last: i64) -> Writers {
    ensemble.spawn(last);
    wait::until("the election port is open", SERVING, || {
        std::net::TcpStream::connect(ensemble.election_address(last)).ok()
    });
    ensemble.start_all();
    while ensemble.wait_leader() != last {
        let leader = ensemble.wait_leader();
        ensemble.kill(leader);
        ensemble.wait_leader();
        ensemble.start(leader);
    }
    let ids = ensemble.ids().into_iter();
    let addresses: Vec<SocketAddr> = ids.map(|id| ensemble.client_address(id)).collect();
    Writers::start(&addresses, 3, 0)
}

fn go_on(writers: &Writers) {
    let before = writers.count();
    wait::until("writes go on", SERVING, || {
        (writers.count() > before + 50).then_some(())
    });
}

fn wait_monitored(ensemble: &Ensemble, id: i64, key: &str, value: &str) {
    wait::until(&format!("{key} of server {id} is {value}"), SOON, || {
        (monitored(ensemble, id, key).as_deref() == Some(value)).then_some(())
    });
}

fn check(ensemble: &Ensemble, writers: Writers) {
    let acknowledged = writers.stop();
    let mut expected = None;
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), 0, &acknowledged);
        let found = tree(&mut Probe::connect(ensemble.client_address(id)));
        same_tree(&found, expected.get_or_insert_with(|| found.clone()));
    }
}

/// A leader of ours that takes no writes says so in its PINGs. ZooKeeper's follower passes it over,
/// keeps its place, reads, and learns of each write that is refused.
#[test]
fn a_follower_of_zookeeper_stays_while_our_leader_takes_no_writes() {
    let Some([old, new]) = releases("full disks beside ZooKeeper") else {
        return;
    };
    for java in [new, old].into_iter().take(if is_whole() { 2 } else { 1 }) {
        let us = Kind::Vivarium;
        let mut ensemble = plan("mixed-full-leader", &[java, us, us]).prepare();
        let Some(mut disks) = Disks::mount(&ensemble) else {
            return;
        };
        let writers = start(&mut ensemble, 3);
        go_on(&writers);
        disks.fill(2);
        wait_monitored(&ensemble, 2, "disk_full", "1");
        // The leader knows it by the next ping, and does not make way for it.
        std::thread::sleep(Duration::from_secs(1));
        disks.fill(3);
        wait_monitored(&ensemble, 2, "writes_refused", "1");
        wait_monitored(&ensemble, 3, "writes_refused", "1");
        let mut client = ensemble.client(1);
        // Longer than ZooKeeper's follower waits for a leader that it does not understand.
        let end = std::time::Instant::now() + Duration::from_secs(6);
        while std::time::Instant::now() < end {
            let refused = client.create("/no", b"", flag::PERSISTENT);
            let expected = matches!(refused, Err(Failure::Refused(code::NOT_READ_ONLY)));
            assert!(expected, "{refused:?}");
            assert!(client.exists("/writers", false).expect("a read").is_some());
            std::thread::sleep(Duration::from_millis(250));
        }
        assert_eq!(ensemble.mode(1).as_deref(), Some("follower"));
        assert_eq!(ensemble.leader(), Some(3));
        disks.free(2);
        disks.free(3);
        wait_monitored(&ensemble, 3, "writes_refused", "0");
        go_on(&writers);
        check(&ensemble, writers);
        ensemble.kill_all();
    }
}

/// A follower of ours without room says so in its answers to PING, as a session that nobody has.
#[test]
fn a_leader_of_zookeeper_passes_over_that_our_disk_is_full() {
    let Some([old, new]) = releases("full disks behind ZooKeeper") else {
        return;
    };
    for java in [new, old].into_iter().take(if is_whole() { 2 } else { 1 }) {
        let us = Kind::Vivarium;
        let mut ensemble = plan("mixed-full-follower", &[us, us, java]).prepare();
        let Some(mut disks) = Disks::mount(&ensemble) else {
            return;
        };
        let writers = start(&mut ensemble, 3);
        go_on(&writers);
        let mut lease = Probe::connect(ensemble.client_address(1));
        lease.ok(&ask::create("/lease", ask::flag::EPHEMERAL));
        disks.fill(1);
        wait_monitored(&ensemble, 1, "disk_full", "1");
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(250));
            // The session that it tells of beside the others lives on.
            lease.events();
            assert!(lease.has("/lease"));
        }
        go_on(&writers);
        assert_eq!(ensemble.leader(), Some(3), "nothing made it give up");
        // Without a quorum that has room ZooKeeper can only stop, and go on when there is one.
        disks.fill(2);
        wait_monitored(&ensemble, 2, "disk_full", "1");
        std::thread::sleep(Duration::from_secs(3));
        disks.free(2);
        disks.free(1);
        wait_monitored(&ensemble, 1, "disk_full", "0");
        go_on(&writers);
        drop(lease);
        let mut probe = Probe::connect(ensemble.client_address(2));
        wait::until("the lease ends", SERVING, || {
            probe.ok(&ask::sync("/"));
            (!probe.has("/lease")).then_some(())
        });
        check(&ensemble, writers);
        let log = ensemble.log(3);
        assert!(
            !log.contains("Unexpected exception causing shutdown"),
            "{log}"
        );
        ensemble.kill_all();
    }
}
