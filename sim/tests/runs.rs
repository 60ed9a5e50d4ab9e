//! Whole runs: every scenario keeps its promises, swarm seeds pass, and a seed is one run.

use std::path::PathBuf;

use vivarium_core::mutants::Mutants;
use vivarium_sim::config::RunConfig;
use vivarium_sim::crash_points::crash_points;
use vivarium_sim::faults::{Fault, Options, Target, draw};
use vivarium_sim::observe::SimTime;
use vivarium_sim::run::{Verdict, run_swarm, run_with, settle};
use vivarium_sim::scenario::{Scenario, play};
use vivarium_sim::world::Trace;

fn scenarios() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = std::fs::read_dir(&folder).expect("scenarios/ is part of the repository");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

#[test]
fn every_scenario_passes() {
    let files = scenarios();
    assert!(
        files.len() >= 15,
        "the issue names fifteen, found {}",
        files.len()
    );
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let scenario = Scenario::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for seed in 1..=3 {
            let run = play(&scenario, seed, Mutants::NONE, Trace::default());
            assert_eq!(run.verdict, Verdict::Pass, "{} seed {seed}", file.display());
        }
    }
}

/// What the deposed leader's scenario is for: no other rule sees an answer that is only too old.
#[cfg(feature = "mutants")]
#[test]
fn a_sync_without_a_quorum_is_found_by_its_own_rule() {
    use vivarium_core::mutants::Mutant;

    let text = include_str!("../../scenarios/sync-deposed-leader.toml");
    let scenario = Scenario::parse(text).expect("understood");
    let mutants = Mutants::with(Mutant::SyncWithoutQuorum);
    for seed in 1..=10 {
        let run = play(&scenario, seed, mutants, Trace::default());
        assert!(
            matches!(&run.verdict, Verdict::Safety { rule, .. } if rule == "sync-fresh"),
            "seed {seed}: {:?}",
            run.verdict
        );
    }
}

#[test]
fn swarm_seeds_pass() {
    for seed in 0..40 {
        let run = run_swarm(draw(seed, Options::default()), Trace::default());
        assert!(!run.verdict.is_failure(), "seed {seed}: {:?}", run.verdict);
        assert!(
            run.events > 1_000,
            "seed {seed}: {} events are no run",
            run.events
        );
    }
}

#[test]
fn a_seed_is_one_run_whether_it_is_told_or_not() {
    for seed in [3, 7, 11] {
        let quiet = run_swarm(draw(seed, Options::default()), Trace::default());
        let told = Trace {
            lives: Some(Box::new(|line| assert!(!line.to_string().is_empty()))),
            events: Some((0..u64::MAX, Box::new(|_| ()))),
            story: Some(Box::new(|_, _, line| assert!(!line.to_string().is_empty()))),
            until: Some((9, Box::new(|_| ()))),
            view: Some(Box::new(|_, _| ())),
        };
        let told = run_swarm(draw(seed, Options::default()), told);
        assert_eq!(quiet, told);
        assert!(!quiet.checkpoints.is_empty());
    }
}

/// A server stands still, its clock changes rate meanwhile: its timers must run again afterwards.
#[test]
fn a_clock_that_changes_during_a_pause_keeps_the_timers() {
    let config = RunConfig {
        heal_at: SimTime::from_millis(60_000),
        ..RunConfig::calm(1, 3, 0)
    };
    let run = run_with(config, Trace::default(), |world| {
        world.begin_swarm();
        let mut violation = world.run_until(SimTime::from_millis(3_000));
        let who = Target::Server(world.leader().expect("a calm ensemble has a leader"));
        world.strike(&Fault::Pause { who, lasts: None });
        world.strike(&Fault::Drift { who, ppm: -40 });
        violation = violation.or_else(|| world.run_until(SimTime::from_millis(20_000)));
        violation.or_else(|| settle(world))
    });
    assert_eq!(run.verdict, Verdict::Pass);
}

/// What `vivarium-sim crash-points` does, with crashes and cuts among the faults.
#[test]
fn every_crash_point_of_a_run_leaves_what_was_reported() {
    let config = RunConfig {
        heal_at: SimTime::from_millis(2_000),
        ..draw(5, Options::default())
    };
    let outcome = crash_points(config, 4);
    assert_eq!(outcome.run.verdict, Verdict::Pass);
    assert!(outcome.servers.len() >= 3);
    for (id, tried) in outcome.servers {
        let tried = tried.unwrap_or_else(|wrong| panic!("server {id}: {wrong}"));
        assert!(tried.points > 100, "server {id}: {tried:?} say little");
    }
}

#[test]
fn another_seed_is_another_run() {
    let run = |seed| run_swarm(draw(seed, Options::default()), Trace::default());
    assert_ne!(run(1).hash, run(2).hash);
}
