//! Whole runs: every scenario keeps its promises, swarm seeds pass, and a seed is one run.

use std::path::PathBuf;

use vivarium_core::mutants::Mutants;
use vivarium_sim::faults::{Options, draw};
use vivarium_sim::run::{Verdict, run_swarm};
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

#[test]
fn swarm_seeds_pass() {
    for seed in 0..40 {
        let run = run_swarm(draw(seed, Options::default()), Trace::default());
        assert_eq!(run.verdict, Verdict::Pass, "seed {seed}");
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
        };
        let told = run_swarm(draw(seed, Options::default()), told);
        assert_eq!(quiet, told);
        assert!(!quiet.checkpoints.is_empty());
    }
}

#[test]
fn another_seed_is_another_run() {
    let run = |seed| run_swarm(draw(seed, Options::default()), Trace::default());
    assert_ne!(run(1).hash, run(2).hash);
}
