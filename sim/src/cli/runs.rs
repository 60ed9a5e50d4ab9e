//! `run`: one seed with everything shown, or many with only failures shown.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vivarium_sim::run::{Run, Verdict};
use vivarium_sim::world::Trace;

use super::stopwatch::Stopwatch;
use super::{Program, RunArgs, print, usage};

/// More failures than this say nothing new.
const FAILURES_SHOWN_MAX: usize = 20;

pub(crate) fn run(args: &RunArgs) -> u8 {
    let program = match Program::load(&args.what) {
        Ok(program) => program,
        Err(refusal) => return usage(&refusal),
    };
    match &args.seeds {
        Some(range) => many(&program, args, range.clone()),
        None => one(&program, args, args.seed.unwrap_or(1)),
    }
}

fn one(program: &Program, args: &RunArgs, seed: u64) -> u8 {
    if !args.json {
        println!("seed={seed} commit={}", super::COMMIT);
        print!("{}", program.describe(seed));
    }
    let mut trace = Trace::default();
    if args.trace {
        trace.lives = Some(Box::new(|line| println!("{line}")));
    }
    if let Some(range) = &args.events {
        trace.events = Some((range.clone(), Box::new(|line| println!("{line}"))));
    }
    let watch = Stopwatch::start();
    let run = program.run(seed, trace);
    if args.json {
        println!("{}", json(&run, args.checkpoints));
        if run.verdict.is_failure() {
            keep(program, args, &run);
        }
    } else if !run.verdict.is_failure() {
        print::pass(&run, watch.seconds());
    } else {
        print::failure(program, &run);
        keep(program, args, &run);
    }
    run.verdict.exit_code()
}

/// Saves a failing run, if that was asked for.
fn keep(program: &Program, args: &RunArgs, run: &Run) {
    let Some(dir) = &args.save else { return };
    match program.save(run.seed, dir) {
        Ok(path) => eprintln!("  kept as {}", path.display()),
        Err(problem) => eprintln!("vivarium-sim: {problem}"),
    }
}

fn json(run: &Run, checkpoints: bool) -> String {
    let mut value = serde_json::to_value(run).expect("a run is plain data");
    let map = value.as_object_mut().expect("a run is an object");
    map.insert("commit".to_owned(), super::COMMIT.into());
    if checkpoints {
        let all: Vec<String> = run
            .checkpoints
            .iter()
            .map(|h| format!("{h:016x}"))
            .collect();
        map.insert("checkpoints".to_owned(), all.into());
    }
    value.to_string()
}

/// What is counted over many runs.
#[derive(Default)]
struct Tally {
    runs: u64,
    events: u64,
    writes: u64,
    halted: u64,
    failures: Vec<Run>,
}

fn many(program: &Program, args: &RunArgs, range: Range<u64>) -> u8 {
    let watch = Stopwatch::start();
    let total = range.end - range.start;
    let tally = Mutex::new(Tally::default());
    each_seed(args.jobs, range, |seed| {
        let run = program.run(seed, Trace::default());
        let mut tally = tally.lock().expect("no worker panics while it counts");
        if args.json {
            println!("{}", json(&run, args.checkpoints));
        }
        tally.runs += 1;
        tally.events += run.events;
        tally.writes += run.writes;
        tally.halted += u64::from(matches!(run.verdict, Verdict::Halted { .. }));
        if run.verdict.is_failure() {
            tally.failures.push(run);
        }
        if tally.runs.is_multiple_of(16) {
            print::progress(&line(&tally, total, watch));
        }
        tally.failures.len() < FAILURES_SHOWN_MAX
    });
    let mut tally = tally
        .into_inner()
        .expect("no worker panics while it counts");
    print::progress("");
    tally.failures.sort_by_key(|run| run.seed);
    if args.json {
        tally
            .failures
            .iter()
            .for_each(|run| keep(program, args, run));
    } else {
        for run in &tally.failures {
            print::failure(program, run);
            keep(program, args, run);
        }
        let verdict = if tally.failures.is_empty() {
            "PASS"
        } else {
            "FAIL"
        };
        println!(
            "{verdict} {} commit={}",
            line(&tally, total, watch),
            super::COMMIT
        );
    }
    tally
        .failures
        .first()
        .map_or(0, |run| run.verdict.exit_code())
}

fn line(tally: &Tally, total: u64, watch: Stopwatch) -> String {
    let seconds = watch.seconds();
    format!(
        "{}/{total} seeds, {} failed, {} halted as expected, {} events, {} writes, {:.0} events/s, \
         {seconds:.1}s",
        tally.runs,
        tally.failures.len(),
        tally.halted,
        tally.events,
        tally.writes,
        tally.events as f64 / seconds
    )
}

/// Calls `work` with each seed, on several threads, until it says no. A simulation belongs to one
/// thread from start to end and shares nothing, so threads can not change what it does.
pub(crate) fn each_seed(jobs: u16, range: Range<u64>, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(range.start);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= range.end {
                        break;
                    }
                    if !work(seed) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
