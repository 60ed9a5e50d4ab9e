//! Nothing acknowledged is lost: real servers are killed with `kill -9` at random moments under
//! load, one, the leader or all of them at once, and afterwards every server must show every
//! write that any client was told of, made by the very transaction that the client was told of.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use vivarium_tests::client::{Client, code, flag};
use vivarium_tests::ensemble::{Ensemble, Plan, SERVING};
use vivarium_tests::random::Random;
use vivarium_tests::wait;
use vivarium_tests::writers::{Writers, assert_nothing_lost};

/// Writers at once.
const WRITERS: usize = 6;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    AnyOne,
    Leader,
    All,
}

/// Kills, restarts, and looks whether the writers get on afterwards.
fn strike(ensemble: &mut Ensemble, victim: Victim, random: &mut Random, writers: &Writers) {
    sleep(random.millis(50, 700));
    match victim {
        Victim::AnyOne => {
            let ids = ensemble.ids();
            ensemble.kill(ids[random.below(ids.len() as u64) as usize]);
        }
        Victim::Leader => {
            let leader = ensemble.wait_leader();
            ensemble.kill(leader);
        }
        Victim::All => ensemble.kill_all(),
    }
    sleep(random.millis(0, 700));
    ensemble.start_all();
    let before = writers.count();
    wait::until("writes go on", SERVING, || {
        (writers.count() > before + 20).then_some(())
    });
}

fn check_all(ensemble: &Ensemble, writers: Writers, generation: usize) {
    let acknowledged = writers.stop();
    let count: usize = acknowledged.iter().map(|one| one.created.len()).sum();
    println!("{count} creates were acknowledged");
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), generation, &acknowledged);
    }
}

fn addresses(ensemble: &Ensemble) -> Vec<std::net::SocketAddr> {
    ensemble
        .ids()
        .iter()
        .map(|id| ensemble.client_address(*id))
        .collect()
}

fn rounds(name: &str, voters: i64, victims: &[Victim], rounds: usize) {
    let mut random = Random::announced();
    // Snapshots are frequent, so that recovery often starts from one and replays a log.
    let mut ensemble = Plan::new(name, voters).line("snapCount=200").start();
    let writers = Writers::start(&addresses(&ensemble), WRITERS, 0);
    for round in 0..rounds {
        let victim = victims[round % victims.len()];
        println!(
            "round {round}: {victim:?}, {} writes so far",
            writers.count()
        );
        strike(&mut ensemble, victim, &mut random, &writers);
    }
    check_all(&ensemble, writers, 0);
    // And again after a restart of everything, from what the disks hold.
    ensemble.kill_all();
    ensemble.start_all();
}

#[test]
fn three_servers_killed_at_random_moments() {
    rounds(
        "kill-three",
        3,
        &[Victim::AnyOne, Victim::Leader, Victim::All],
        6,
    );
}

#[test]
#[ignore = "minutes long; .ci/run runs it"]
fn three_servers_killed_at_many_random_moments() {
    rounds(
        "kill-three-long",
        3,
        &[Victim::AnyOne, Victim::Leader, Victim::All],
        60,
    );
}

#[test]
#[ignore = "minutes long; .ci/run runs it"]
fn five_servers_killed_at_many_random_moments() {
    rounds(
        "kill-five-long",
        5,
        &[Victim::AnyOne, Victim::Leader, Victim::All],
        20,
    );
}

#[test]
fn a_standalone_server_killed_at_random_moments() {
    rounds("kill-standalone", 1, &[Victim::All], 5);
}

#[test]
fn everything_is_there_after_a_clean_restart() {
    let mut ensemble = Plan::new("clean-restart", 3).line("snapCount=200").start();
    let writers = Writers::start(&addresses(&ensemble), WRITERS, 0);
    wait::until("some writes", SERVING, || {
        (writers.count() > 600).then_some(())
    });
    let acknowledged = writers.stop();
    for id in ensemble.ids() {
        ensemble.terminate(id);
    }
    ensemble.start_all();
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), 0, &acknowledged);
    }
}

#[test]
fn a_session_outlives_the_death_of_all_servers() {
    let mut ensemble = Plan::new("session-outlives", 3).start();
    let mut client = ensemble.client(1);
    client
        .create("/lease", b"mine", flag::EPHEMERAL)
        .expect("a write is answered");
    let (session, seen) = (client.session().clone(), client.last_zxid());
    ensemble.kill_all();
    drop(client);
    ensemble.start_all();
    let mut client = Client::resume(ensemble.client_address(2), &session, seen)
        .expect("the session goes on at another server");
    let stat = client.exists("/lease", false).expect("a read is answered");
    assert_eq!(
        stat.expect("the ephemeral is there").ephemeral_owner,
        session.id
    );
    client.close().expect("closing is answered");
    let mut other = ensemble.client(3);
    other.sync("/").expect("sync is answered");
    assert_eq!(
        other.exists("/lease", false).expect("a read is answered"),
        None
    );
}

#[test]
fn an_ephemeral_goes_when_its_client_is_silent() {
    let mut ensemble = Plan::new("expiry", 3).start();
    let mut owner = Client::connect(ensemble.client_address(1), 2_000).expect("a session");
    assert_eq!(owner.session().timeout_ms, 2_000);
    owner
        .create("/lease", b"", flag::EPHEMERAL)
        .expect("a write is answered");
    let silent_since = Instant::now();
    let mut other = ensemble.client(2);
    // Expiry is the leader's business, and the new one gives every session its full time again.
    let leader = ensemble.wait_leader();
    if leader != 2 {
        ensemble.kill(leader);
        ensemble.wait_leader();
        other = ensemble.client(2);
    }
    wait::until("the ephemeral is gone", Duration::from_secs(30), || {
        other.sync("/").expect("sync is answered");
        let gone = other
            .exists("/lease", false)
            .expect("a read is answered")
            .is_none();
        gone.then_some(())
    });
    assert!(
        silent_since.elapsed() >= Duration::from_secs(2),
        "expired too early"
    );
    drop(owner);
}

#[test]
fn a_paused_leader_is_replaced_and_loses_nothing() {
    let mut ensemble = Plan::new("paused-leader", 3).start();
    let writers = Writers::start(&addresses(&ensemble), WRITERS, 0);
    wait::until("some writes", SERVING, || {
        (writers.count() > 200).then_some(())
    });
    let leader = ensemble.wait_leader();
    ensemble.pause(leader);
    let others: Vec<_> = ensemble
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .collect();
    let new = wait::until("another server leads", SERVING, || {
        others
            .iter()
            .copied()
            .find(|id| ensemble.mode(*id).as_deref() == Some("leader"))
    });
    let before = writers.count();
    wait::until("writes go on", SERVING, || {
        (writers.count() > before + 20).then_some(())
    });
    ensemble.resume(leader);
    wait::until("the old leader follows", SERVING, || {
        (ensemble.mode(leader).as_deref() == Some("follower")).then_some(())
    });
    assert_eq!(
        ensemble.leader(),
        Some(new),
        "the return of the old leader changes nothing"
    );
    ensemble.assert_alive(&[1, 2, 3]);
    check_all(&ensemble, writers, 0);
}

#[test]
fn a_minority_does_not_answer_writes() {
    let mut ensemble = Plan::new("minority", 3).start();
    let mut client = ensemble.client(1);
    client
        .create("/before", b"", flag::PERSISTENT)
        .expect("a write is answered");
    ensemble.kill(2);
    ensemble.kill(3);
    let answer = client.create("/after", b"", flag::PERSISTENT);
    assert!(
        answer.is_err(),
        "one of three servers acknowledged {answer:?}"
    );
    assert!(
        Client::connect(ensemble.client_address(1), 5_000).is_err(),
        "and took a client"
    );
    ensemble.start_all();
    let mut client = ensemble.client(1);
    // The unanswered write may have taken effect; once it is decided, it is so on every server.
    let outcome = client.create("/after", b"", flag::PERSISTENT);
    match outcome {
        Ok(_) | Err(vivarium_tests::client::Failure::Refused(code::NODE_EXISTS)) => {}
        Err(error) => panic!("{error}"),
    }
    for id in ensemble.ids() {
        let mut client = ensemble.client(id);
        client.sync("/").expect("sync is answered");
        assert!(
            client
                .exists("/after", false)
                .expect("a read is answered")
                .is_some()
        );
    }
}
