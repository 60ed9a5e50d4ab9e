//! Disks of a few MB that are filled and freed under load: writes are refused, reads go on, nothing
//! that was acknowledged is lost, and all goes on by itself when there is room.
//!
//! Needs to mount a tmpfs; where that is not allowed the tests say so and do nothing.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use vivarium_tests::client::{Client, Failure, code, flag, four_letters};
use vivarium_tests::directory;
use vivarium_tests::disks::Disks;
use vivarium_tests::ensemble::{Ensemble, Kind, Plan, SERVING};
use vivarium_tests::wait;
use vivarium_tests::writers::{ROOT, Writers, assert_nothing_lost};

/// How long it may take until what is under way is written or refused.
const SOON: Duration = Duration::from_secs(30);

/// Writers at once.
const WRITERS: usize = 3;

fn plan(name: &str, voters: i64) -> Plan {
    Plan::new(name, voters)
        .kind(Kind::Vivarium)
        .line("vivarium.diskReserve=256")
        .line("snapCount=10000")
}

fn addresses(ensemble: &Ensemble) -> Vec<SocketAddr> {
    let ids = ensemble.ids();
    ids.iter().map(|id| ensemble.client_address(*id)).collect()
}

fn gauge(ensemble: &Ensemble, id: i64, key: &str) -> Option<i64> {
    let text = four_letters(ensemble.client_address(id), "mntr").ok()?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(&format!("zk_{key}\t")))?;
    line.parse().ok()
}

fn wait_gauge(ensemble: &Ensemble, id: i64, key: &str, value: i64) {
    wait::until(&format!("{key} of server {id} is {value}"), SOON, || {
        (gauge(ensemble, id, key) == Some(value)).then_some(())
    });
}

fn go_on(writers: &Writers) {
    let before = writers.count();
    wait::until("writes go on", SERVING, || {
        (writers.count() > before + 50).then_some(())
    });
}

/// While writes are refused: nothing is acknowledged, reads and sessions are served.
fn assert_read_only(ensemble: &Ensemble, ids: &[i64], writers: &Writers) {
    for id in ids {
        wait_gauge(ensemble, *id, "writes_refused", 1);
    }
    sleep(Duration::from_millis(500));
    let (count, refused) = (writers.count(), writers.refused());
    wait::until("writes are refused", SOON, || {
        (writers.refused() > refused + 20).then_some(())
    });
    assert_eq!(writers.count(), count, "acknowledged by a full disk");
    for &id in ids {
        let mut client: Client = ensemble.client(id);
        assert!(
            client
                .exists(ROOT, false)
                .expect("a read is answered")
                .is_some()
        );
        let refused = client.create("/no", b"", flag::PERSISTENT);
        assert!(
            matches!(refused, Err(Failure::Refused(code::NOT_READ_ONLY))),
            "{refused:?}"
        );
        let srvr = four_letters(ensemble.client_address(id), "srvr").expect("answered");
        assert!(srvr.contains("writes are refused"), "{srvr}");
        client.close().expect("sessions end");
    }
}

fn check(mut ensemble: Ensemble, disks: Disks, writers: Writers) {
    let acknowledged = writers.stop();
    let count: usize = acknowledged.iter().map(|one| one.created.len()).sum();
    println!("{count} creates were acknowledged");
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), 0, &acknowledged);
    }
    ensemble.kill_all();
    ensemble.start_all();
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), 0, &acknowledged);
    }
    ensemble.kill_all();
    drop(disks);
}

#[test]
#[ignore = "half a minute; .ci/run runs it"]
fn a_lone_server_survives_a_full_disk() {
    let mut ensemble = plan("full-alone", 1).prepare();
    let Some(mut disks) = Disks::mount(&ensemble) else {
        return;
    };
    ensemble.start_all();
    let writers = Writers::start(&addresses(&ensemble), WRITERS, 0);
    for round in 0..3 {
        go_on(&writers);
        disks.fill(1);
        wait_gauge(&ensemble, 1, "disk_full", 1);
        assert_read_only(&ensemble, &[1], &writers);
        ensemble.assert_alive(&[1]);
        if round == 1 {
            // What is on a full disk is whole at any moment.
            ensemble.kill(1);
            disks.free(1);
            ensemble.start(1);
        } else {
            disks.free(1);
        }
        wait_gauge(&ensemble, 1, "disk_full", 0);
        go_on(&writers);
        println!("round {round}: {} writes", writers.count());
    }
    let log = ensemble.log(1);
    assert!(log.contains("THE DISK IS FULL"), "the operator is told");
    check(ensemble, disks, writers);
}

#[test]
#[ignore = "half a minute; .ci/run runs it"]
fn three_servers_survive_full_disks() {
    let mut ensemble = plan("full-three", 3).prepare();
    let Some(mut disks) = Disks::mount(&ensemble) else {
        return;
    };
    ensemble.start_all();
    let writers = Writers::start(&addresses(&ensemble), WRITERS, 0);
    go_on(&writers);

    // A follower: nobody notices but the operator.
    let leader = ensemble.wait_leader();
    let follower = ensemble
        .ids()
        .into_iter()
        .find(|id| *id != leader)
        .expect("three");
    disks.fill(follower);
    wait_gauge(&ensemble, follower, "disk_full", 1);
    go_on(&writers);
    assert_eq!(gauge(&ensemble, follower, "writes_refused"), Some(0));
    assert_eq!(ensemble.wait_leader(), leader);
    disks.free(follower);
    wait_gauge(&ensemble, follower, "disk_full", 0);

    // The leader: another one leads.
    let leader = ensemble.wait_leader();
    disks.fill(leader);
    wait::until("another server leads", SOON, || {
        ensemble.leader().filter(|new| *new != leader)
    });
    go_on(&writers);

    // All of them: reads only, until two have room again. The first one may have missed so much
    // that only a snapshot helps, for which it has no room.
    let rest = |id: &i64| *id != leader;
    let others: Vec<i64> = ensemble.ids().into_iter().filter(rest).collect();
    for id in &others {
        disks.fill(*id);
    }
    assert_read_only(&ensemble, &others, &writers);
    ensemble.assert_alive(&[1, 2, 3]);
    for id in &others {
        disks.free(*id);
    }
    go_on(&writers);
    disks.free(leader);
    for id in ensemble.ids() {
        wait_gauge(&ensemble, id, "disk_full", 0);
        wait_gauge(&ensemble, id, "writes_refused", 0);
    }
    go_on(&writers);
    check(ensemble, disks, writers);
}

#[test]
fn a_snapshot_that_does_not_fit_is_taken_later() {
    let mut ensemble = plan("full-snapshot", 1).line("snapCount=100").prepare();
    let Some(disks) = Disks::mount(&ensemble) else {
        return;
    };
    ensemble.start_all();
    let mut client = ensemble.client(1);
    let data = vec![1; 100_000];
    for n in 0..18 {
        client
            .create(&format!("/large{n}"), &data, flag::PERSISTENT)
            .expect("created");
    }
    // 1.8 MB of znodes, as much log, and no room for as much snapshot.
    let snapshots = |e: &Ensemble| directory::snapshots(&e.version_dir(1)).len();
    let before = snapshots(&ensemble);
    let filler = disks.dir(1).join("filler");
    fs::write(&filler, vec![7; 13_200_000]).expect("there is room for it");
    for n in 0..150 {
        let made = client.create(&format!("/small{n}"), b"", flag::PERSISTENT);
        assert!(made.is_ok(), "{made:?}: the log has room");
    }
    wait::until("a snapshot fails", SOON, || {
        (gauge(&ensemble, 1, "snapshot_error_count") > Some(0)).then_some(())
    });
    assert_eq!(snapshots(&ensemble), before);
    let names = fs::read_dir(ensemble.version_dir(1)).expect("readable");
    let left = names.flatten().any(|e| e.file_name() == "tmp.background");
    assert!(!left, "half a snapshot takes room for nothing");
    fs::remove_file(filler).expect("it is there");
    for n in 150..400 {
        let made = client.create(&format!("/small{n}"), b"", flag::PERSISTENT);
        assert!(made.is_ok(), "{made:?}");
    }
    wait::until("a snapshot is taken", SOON, || {
        (snapshots(&ensemble) > before).then_some(())
    });
    ensemble.kill_all();
    ensemble.start_all();
    let found = ensemble
        .client(1)
        .exists("/small399", false)
        .expect("answered");
    assert!(found.is_some());
    ensemble.kill_all();
}
