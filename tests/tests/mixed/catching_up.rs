//! Servers that come back with less than, nothing of, or something else than their leader's
//! history: DIFF, SNAP and TRUNC, from each kind to each kind.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use vivarium_tests::ask;
use vivarium_tests::directory;
use vivarium_tests::ensemble::Kind;
use vivarium_tests::wait;

use crate::behaviours::{same_tree, tree};
use crate::matrix::{Matrix, Mix, outcome};

/// How often a leader without followers is asked to log what nobody will ever commit.
const ATTEMPTS: usize = 12;

/// How a learner is brought up to date.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Diff,
    Snap,
    Trunc,
}

impl Mode {
    /// What a learner of this kind says when it is told so.
    fn said_by(self, kind: Kind) -> &'static str {
        match (kind, self) {
            (Kind::Vivarium, Self::Diff) => "mode=\"DIFF\"",
            (Kind::Vivarium, Self::Snap) => "mode=\"SNAP\"",
            (Kind::Vivarium, Self::Trunc) => "mode=\"TRUNC\"",
            (Kind::ZooKeeper(_), Self::Diff) => "Getting a diff from the leader",
            (Kind::ZooKeeper(_), Self::Snap) => "Getting a snapshot from leader",
            (Kind::ZooKeeper(_), Self::Trunc) => "Truncating log to get in sync",
        }
    }
}

pub(crate) fn run(mix: &mut Mix, matrix: &mut Matrix) {
    let learners = mix.ids().into_iter().filter(|id| *id != mix.leader);
    for at in learners.collect::<Vec<_>>() {
        let pair = mix.pair(at);
        let found = outcome(|| behind(mix, at));
        matrix.note(pair.clone(), "DIFF", found);
        let found = outcome(|| empty(mix, at));
        matrix.note(pair, "SNAP", found);
    }
    let old = mix.leader;
    let mut pair = mix.pair(old);
    let found = outcome(|| deposed(mix, old, &mut pair));
    matrix.note(pair, "TRUNC", found);
}

/// Starts a server and waits until it says so, serves, and shows what the others show.
fn comes_back(mix: &mut Mix, at: i64, mode: Mode) {
    let before = mix.ensemble.log(at).len();
    mix.ensemble.start(at);
    let words = mode.said_by(mix.ensemble.kind(at));
    mix.ensemble.wait_logged(at, before, words);
    let expected = tree(&mut mix.probe(mix.leader));
    same_tree(&tree(&mut mix.probe(at)), &expected);
}

fn write_some(mix: &Mix, name: &str, at: i64) {
    let mut probe = mix.probe(mix.leader);
    let made = probe.call(&ask::create(&format!("/{name}-{at}"), 0));
    assert!(matches!(made.error, 0 | -110), "{}", made.error);
    for _ in 0..10 {
        probe.ok(&ask::create(
            &format!("/{name}-{at}/n-"),
            ask::flag::SEQUENTIAL,
        ));
        probe.ok(&ask::set_data(&format!("/{name}-{at}"), b"more", -1));
        probe.refused(&ask::delete("/no", -1), -101);
    }
}

fn behind(mix: &mut Mix, at: i64) {
    mix.ensemble.kill(at);
    write_some(mix, "diff", at);
    comes_back(mix, at, Mode::Diff);
}

fn empty(mix: &mut Mix, at: i64) {
    mix.everyone_is_up_to_date();
    mix.ensemble.kill(at);
    fs::remove_dir_all(mix.ensemble.version_dir(at)).expect("removed");
    write_some(mix, "snap", at);
    comes_back(mix, at, Mode::Snap);
}

/// The leader loses its followers and logs a write that nobody else ever sees; the others elect
/// one of them, and the write is gone when the old leader is back.
fn deposed(mix: &mut Mix, old: i64, pair: &mut (String, String)) {
    mix.everyone_is_up_to_date();
    let path = wait_for_a_lonely_write(mix, old);
    mix.ensemble.kill(old);
    let others: Vec<_> = mix.ids().into_iter().filter(|id| *id != old).collect();
    for id in &others {
        mix.ensemble.spawn(*id);
    }
    mix.ensemble.wait_serving(&others);
    mix.leader = mix.ensemble.wait_leader();
    *pair = mix.pair(old);
    // Nothing may be written yet: once the new epoch has a transaction, ZooKeeper sends its state.
    comes_back(mix, old, Mode::Trunc);
    for id in mix.ids() {
        let mut probe = mix.probe(id);
        probe.ok(&ask::sync("/"));
        assert!(!probe.has(&path), "server {id} shows what nobody committed");
    }
}

/// Kills all others and writes before the leader looks for its quorum; again if it was too late.
fn wait_for_a_lonely_write(mix: &mut Mix, leader: i64) -> String {
    let others: Vec<_> = mix.ids().into_iter().filter(|id| *id != leader).collect();
    for attempt in 0..ATTEMPTS {
        let path = format!("/lonely-{leader}-{attempt}");
        let mut probe = mix.probe(leader);
        mix.ensemble.kill_these(&others);
        probe.send(&ask::create(&path, 0));
        let dir = mix.ensemble.version_dir(leader);
        let logged = wait::poll(Duration::from_secs(2), || {
            let logs = directory::logs(&dir).into_iter().rev().take(2);
            let found = |log: Vec<u8>| log.windows(path.len()).any(|w| w == path.as_bytes());
            logs.into_iter()
                .any(|log| found(fs::read(log).unwrap_or_default()))
                .then_some(())
        });
        if logged.is_some() {
            // On the disk, too: a kill takes nothing from the kernel.
            sleep(Duration::from_millis(200));
            return path;
        }
        mix.ensemble.start_all();
        mix.force(leader);
    }
    panic!("server {leader} logs nothing without followers");
}
