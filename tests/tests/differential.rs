//! Random programs of clients show the same on Apache ZooKeeper and on Vivarium, field by field;
//! `programs::view` says what is left out. Where ZooKeeper is not to be had, what it showed once
//! is in scenarios/transcripts.
//!
//! `DIFFERENTIAL_SEED=7` runs one program, `DIFFERENTIAL_PROGRAMS=5000` that many; to search, give
//! both, the first a number that nobody had.
//! `DIFFERENTIAL_RECORD=1` writes the transcripts anew.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use vivarium_tests::ensemble::Kind;
use vivarium_tests::peers;
use vivarium_tests::program::repository;
use vivarium_tests::programs::draw;
use vivarium_tests::programs::pair::{Difference, Form, Pair, Side};
use vivarium_tests::programs::transcript::{self, Recorded};

/// Differences after which a test does not look for more.
const DIFFERENCES_MAX: usize = 5;

/// Programs whose answers are kept.
const RECORDED: u64 = 60;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// `seeds`, unless the environment asks for others.
fn seeds(from: u64, count: u64) -> std::ops::Range<u64> {
    match number("DIFFERENTIAL_SEED") {
        Some(seed) => seed..seed + number("DIFFERENTIAL_PROGRAMS").unwrap_or(1),
        None => from..from + number("DIFFERENTIAL_PROGRAMS").unwrap_or(count),
    }
}

fn report(test: &str, seed: u64, difference: &Difference) {
    println!("=== program {seed} differs; made as small as possible:\n{difference}");
    println!(
        "=== again: DIFFERENTIAL_SEED={seed} cargo test -p vivarium-tests --test differential \
         {test} -- --include-ignored --nocapture\n"
    );
}

/// Runs programs on both makes.
fn against_zookeeper(test: &str, form: Form, from: u64, count: u64) {
    // The newest, for it has the fewest faults of its own.
    let Some(java) = peers::zookeepers().last() else {
        return peers::skip(
            test,
            "no ZooKeeper here; its transcripts are compared instead",
        );
    };
    let start = || Pair::start(test, form, Kind::ZooKeeper(java), Kind::under_test());
    let (mut pair, begun) = (start(), Instant::now());
    let (mut programs, mut requests) = (0, 0);
    let (mut differences, mut passing) = (0, 0);
    for seed in seeds(from, count) {
        let program = draw::program(seed, form.servers());
        programs += 1;
        requests += program.requests();
        let Some(difference) = pair.compare(&program) else {
            continue;
        };
        println!("=== program {seed} differs");
        let Some(small) = pair.shrink(&difference) else {
            passing += 1;
            println!("=== program {seed} differed once and never again:\n{difference}");
            continue;
        };
        report(test, seed, &small);
        differences += 1;
        if differences == DIFFERENCES_MAX {
            break;
        }
        // What went apart stays apart.
        pair = start();
    }
    let seconds = begun.elapsed().as_secs();
    let line = format!(
        "{test}: {programs} programs, {requests} requests in {seconds} s: {differences} \
         differences, {passing} that did not show again"
    );
    println!("{line}");
    assert!(differences == 0 && passing <= programs / 200, "{line}");
}

#[test]
fn random_programs_show_the_same() {
    against_zookeeper("random_programs_show_the_same", Form::Standalone, 0, 150);
}

#[test]
#[ignore = "half a minute long; .ci/run runs it"]
fn random_programs_show_the_same_in_an_ensemble() {
    let test = "random_programs_show_the_same_in_an_ensemble";
    against_zookeeper(test, Form::Ensemble, 0, 60);
}

#[test]
#[ignore = "minutes long; .ci/run runs it"]
fn many_random_programs_show_the_same() {
    let test = "many_random_programs_show_the_same";
    against_zookeeper(test, Form::Standalone, 10_000, 2_000);
}

#[test]
#[ignore = "minutes long; .ci/run runs it"]
fn many_random_programs_show_the_same_in_an_ensemble() {
    let test = "many_random_programs_show_the_same_in_an_ensemble";
    against_zookeeper(test, Form::Ensemble, 10_000, 600);
}

fn transcript_path() -> PathBuf {
    repository().join("scenarios/transcripts/standalone.txt")
}

/// Runs the programs that have transcripts on one server.
fn run_recorded(kind: Kind) -> Vec<Recorded> {
    let mut side = Side::start("differential-transcripts", Form::Standalone, kind);
    let one = |seed| {
        let program = draw::program(seed, 1);
        let shown = side.target.run(&program);
        Recorded {
            seed,
            sum: transcript::sum(&program),
            shown,
        }
    };
    (0..RECORDED).map(one).collect()
}

#[test]
fn recorded_programs_show_what_they_showed_on_zookeeper() {
    if number("DIFFERENTIAL_RECORD").is_some() {
        let java = peers::zookeepers().last().expect("a ZooKeeper to record");
        let text = transcript::write(&run_recorded(Kind::ZooKeeper(java)));
        fs::write(transcript_path(), text).expect("the repository is writable");
    }
    let text = fs::read_to_string(transcript_path()).expect("the repository is whole");
    let recorded = transcript::read(&text);
    assert_eq!(recorded.len() as u64, RECORDED, "programs with transcripts");
    let mut differences = 0;
    for (left, right) in recorded.into_iter().zip(run_recorded(Kind::under_test())) {
        assert_eq!(
            (left.seed, left.sum),
            (right.seed, right.sum),
            "programs are drawn differently now: record them with DIFFERENTIAL_RECORD=1"
        );
        if left.shown != right.shown {
            differences += 1;
            let (program, seed) = (draw::program(left.seed, 1), left.seed);
            let (left, right) = (left.shown, right.shown);
            println!(
                "=== program {seed} differs:\n{}",
                Difference {
                    program,
                    left,
                    right
                }
            );
        }
    }
    assert_eq!(differences, 0, "programs show something else");
}
