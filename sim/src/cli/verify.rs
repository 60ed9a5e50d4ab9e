//! `verify`: the same seed in two processes must be the same run, event by event.

use std::process::Command;

use serde::Deserialize;
use vivarium_sim::hash::CHECKPOINT_EVENTS;

use super::{EXIT_NONDETERMINISM, Program, VerifyArgs, usage};

/// What a child process says about its run.
#[derive(Deserialize)]
struct Said {
    hash: String,
    events: u64,
    verdict: String,
    checkpoints: Vec<String>,
}

pub(crate) fn verify(args: &VerifyArgs) -> u8 {
    let program = match Program::load(&args.what) {
        Ok(program) => program,
        Err(refusal) => return usage(&refusal),
    };
    let both = || -> Result<(Said, Said), String> {
        Ok((child(&program, args.seed)?, child(&program, args.seed)?))
    };
    let (first, second) = match both() {
        Ok(both) => both,
        Err(problem) => return usage(&problem),
    };
    let seed = args.seed;
    let same = first.hash == second.hash
        && first.events == second.events
        && first.checkpoints == second.checkpoints;
    if same {
        println!(
            "SAME seed={seed} verdict={} events={} checkpoints={} hash={} in two processes",
            first.verdict,
            first.events,
            first.checkpoints.len(),
            first.hash
        );
        return 0;
    }
    println!("FAIL nondeterminism seed={seed} commit={}", super::COMMIT);
    println!("  first:  {} events, hash {}", first.events, first.hash);
    println!("  second: {} events, hash {}", second.events, second.hash);
    let equal = first
        .checkpoints
        .iter()
        .zip(&second.checkpoints)
        .take_while(|(a, b)| a == b);
    let from = equal.count() as u64 * CHECKPOINT_EVENTS;
    match first_difference(&program, seed, from) {
        Ok(Some((a, b))) => println!("  first event that differs:\n    {a}\n    {b}"),
        Ok(None) => println!(
            "  two more runs did not differ between events {from} and {}",
            from + CHECKPOINT_EVENTS
        ),
        Err(problem) => println!("  can not look closer: {problem}"),
    }
    EXIT_NONDETERMINISM
}

fn output(program: &Program, seed: u64, more: &[&str]) -> Result<String, String> {
    let exe = std::env::current_exe().map_err(|e| format!("can not find this program: {e}"))?;
    let output = Command::new(exe)
        .arg("run")
        .args(program.arguments())
        .args(["--seed", &seed.to_string()])
        .args(more)
        .output()
        .map_err(|e| format!("can not start this program again: {e}"))?;
    String::from_utf8(output.stdout).map_err(|e| format!("a run said something strange: {e}"))
}

fn child(program: &Program, seed: u64) -> Result<Said, String> {
    let text = output(program, seed, &["--json", "--checkpoints"])?;
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|e| format!("a run said something strange: {e}: {last}"))
}

/// The first event from number `from` on that two runs tell differently.
fn first_difference(
    program: &Program,
    seed: u64,
    from: u64,
) -> Result<Option<(String, String)>, String> {
    let range = format!("{from}..{}", from + CHECKPOINT_EVENTS + 1);
    let more = ["--json", "--events", &range];
    let (a, b) = (output(program, seed, &more)?, output(program, seed, &more)?);
    let differs = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    Ok(differs.map(|(a, b)| (a.to_owned(), b.to_owned())))
}
