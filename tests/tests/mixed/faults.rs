//! Mixed ensembles under load whose servers are killed, paused and restarted at random moments:
//! afterwards nothing acknowledged is missing, and all servers hold the same tree.
//!
//! `VIVARIUM_MIXED_ROUNDS=200` strikes that often.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread::sleep;

use vivarium_tests::ask;
use vivarium_tests::ensemble::{Ensemble, Kind, Plan, SERVING};
use vivarium_tests::probe::Probe;
use vivarium_tests::random::Random;
use vivarium_tests::wait;
use vivarium_tests::writers::{Acknowledged, Writers, assert_nothing_lost};

use crate::behaviours::{same_tree, tree};
use crate::matrix::monitored;
use crate::releases;

const WRITERS: usize = 4;

/// What happens to servers.
#[derive(Clone, Copy, Debug)]
enum Strike {
    KillAny,
    KillLeader,
    KillAll,
    PauseAny,
    PauseLeader,
    StopAny,
    /// A follower loses a disk's worth of history: it is away until the others have forgotten.
    LongAway,
}

const STRIKES: [Strike; 9] = [
    Strike::KillLeader,
    Strike::PauseAny,
    Strike::KillAny,
    Strike::PauseLeader,
    Strike::KillAll,
    Strike::LongAway,
    Strike::KillLeader,
    Strike::StopAny,
    Strike::KillAny,
];

fn any(ensemble: &Ensemble, random: &mut Random) -> i64 {
    let ids = ensemble.ids();
    ids[random.below(ids.len() as u64) as usize]
}

fn go_on(writers: &Writers) {
    let before = writers.count();
    wait::until("writes go on", SERVING, || {
        (writers.count() > before + 20).then_some(())
    });
}

fn strike(ensemble: &mut Ensemble, strike: Strike, random: &mut Random, writers: &Writers) {
    sleep(random.millis(50, 700));
    match strike {
        Strike::KillAny => {
            let victim = any(ensemble, random);
            ensemble.kill(victim);
        }
        Strike::KillLeader => {
            let leader = ensemble.wait_leader();
            ensemble.kill(leader);
        }
        Strike::KillAll => ensemble.kill_all(),
        Strike::StopAny => {
            let victim = any(ensemble, random);
            ensemble.terminate(victim);
        }
        Strike::PauseAny | Strike::PauseLeader => {
            let victim = match strike {
                Strike::PauseLeader => ensemble.wait_leader(),
                _ => any(ensemble, random),
            };
            ensemble.pause(victim);
            // Now and then longer than `syncLimit`, so that the others go on without it.
            sleep(random.millis(100, 7_000));
            ensemble.resume(victim);
        }
        Strike::LongAway => {
            let victim = any(ensemble, random);
            ensemble.kill(victim);
            let before = writers.count();
            wait::until("the others go on alone", SERVING, || {
                (writers.count() > before + 700).then_some(())
            });
        }
    }
    sleep(random.millis(0, 700));
    ensemble.start_all();
    go_on(writers);
}

fn rounds() -> Option<usize> {
    let text = std::env::var("VIVARIUM_MIXED_ROUNDS").ok()?;
    Some(text.parse().expect("VIVARIUM_MIXED_ROUNDS is a number"))
}

/// All servers show every acknowledged write, and the same tree.
fn check(ensemble: &Ensemble, acknowledged: &[Acknowledged], fuzzy: &BTreeSet<i64>) {
    let connect = |id: i64| {
        drop(ensemble.client(id));
        Probe::connect(ensemble.client_address(id))
    };
    for id in ensemble.ids() {
        assert_nothing_lost(&mut ensemble.client(id), 0, acknowledged);
    }
    let expected = tree(&mut connect(1));
    for id in ensemble.ids() {
        same_tree(&tree(&mut connect(id)), &expected);
        let count = monitored(ensemble, id, "digest_mismatches_count");
        if !fuzzy.contains(&id) {
            assert_eq!(count.as_deref(), Some("0"), "server {id}");
        }
    }
}

/// Servers that ever got a snapshot from a ZooKeeper: its tree changes while it is sent, so the
/// first transactions behind it find more than their leader had.
pub(crate) fn with_fuzzy_snapshots(ensemble: &Ensemble) -> BTreeSet<i64> {
    let mut found = BTreeSet::new();
    for log in ensemble.ids().into_iter().map(|id| ensemble.log(id)) {
        let mut learners = BTreeMap::new();
        for line in log.lines() {
            let thread = line
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'));
            let Some((thread, said)) = thread else {
                continue;
            };
            if let Some((_, rest)) = said.split_once("Synchronizing with Learner sid: ") {
                let id = rest.split(' ').next().and_then(|id| id.parse().ok());
                learners.insert(thread, id.expect("the number of a server"));
            } else if said.contains("Sending snapshot last zxid of peer") {
                found.extend(learners.get(thread));
            }
        }
    }
    found
}

fn faults(name: &str, kinds: &[Kind], rounds: usize) {
    let mut random = Random::announced();
    let mut ensemble = Plan::new(name, kinds.len() as i64)
        .mix(kinds)
        .line("snapCount=300")
        .start();
    let addresses: Vec<SocketAddr> = ensemble
        .ids()
        .into_iter()
        .map(|id| ensemble.client_address(id))
        .collect();
    let writers = Writers::start(&addresses, WRITERS, 0);
    go_on(&writers);
    let mut led = BTreeSet::new();
    for round in 0..rounds {
        let kind = STRIKES[round % STRIKES.len()];
        led.insert(ensemble.kind(ensemble.wait_leader()).label());
        println!("{name}, {round}: {kind:?}, {} writes", writers.count());
        strike(&mut ensemble, kind, &mut random, &writers);
    }
    let acknowledged = writers.stop();
    let creates: usize = acknowledged.iter().map(|one| one.created.len()).sum();
    println!("{name}: {rounds} strikes, {creates} creates were acknowledged; {led:?} led");
    check(&ensemble, &acknowledged, &with_fuzzy_snapshots(&ensemble));
    // And from what the disks hold, with nobody writing.
    ensemble.kill_all();
    ensemble.start_all();
    check(&ensemble, &acknowledged, &BTreeSet::new());
}

#[test]
fn nothing_is_lost_where_kinds_are_mixed() {
    if let Some([_, new]) = releases("faults of mixed ensembles") {
        let us = Kind::Vivarium;
        faults("mixed-faults", &[us, new, us], rounds().unwrap_or(5));
    }
}

#[test]
#[ignore = "a minute long; .ci/run runs it"]
fn nothing_is_lost_where_kinds_are_mixed_for_long() {
    if let Some([old, new]) = releases("many faults of mixed ensembles") {
        let us = Kind::Vivarium;
        faults("mixed-faults-three", &[new, us, old], rounds().unwrap_or(9));
        if rounds().is_some() || crate::is_whole() {
            let rounds = rounds().unwrap_or(18);
            faults("mixed-faults-five", &[us, new, us, new, us], rounds);
            faults("mixed-faults-two", &[new, us, new], rounds);
        }
    }
}

/// A session that goes on over restarts of every server in turn.
#[test]
fn a_session_outlives_every_server_in_turn() {
    let Some([_, new]) = releases("sessions of mixed ensembles") else {
        return;
    };
    let us = Kind::Vivarium;
    let mut ensemble = Plan::new("mixed-session", 3).mix(&[us, new, us]).start();
    let mut owner = Probe::connect(ensemble.client_address(1));
    owner.ok(&ask::create("/lease", ask::flag::EPHEMERAL));
    let (session, mut seen) = (owner.session.clone(), owner.seen);
    for id in ensemble.ids() {
        ensemble.kill(id);
        ensemble.start(id);
        let at = ensemble.client_address(id);
        let mut again = wait::until("the session goes on", SERVING, || {
            let attempt = || Probe::resume(at, &session, seen);
            let resumed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt));
            resumed.ok().map(|r| r.expect("the session is known"))
        });
        assert_eq!(again.stat("/lease").ephemeral_owner, session.id);
        again.make(&format!("/from-{id}"));
        seen = again.seen;
    }
}
