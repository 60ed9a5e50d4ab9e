//! How runs and failures are shown.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};

use vivarium_sim::run::{Run, Verdict};

use super::{COMMIT, Program};

thread_local! {
    /// What the last panic on this thread said, and where it was.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a run are verdicts: they are kept for the report instead of being printed at once.
pub(crate) fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        LAST_PANIC.with(|last| *last.borrow_mut() = Some(info.to_string()));
        if std::thread::current().name() == Some("main")
            && std::env::var_os("RUST_BACKTRACE").is_some()
        {
            eprintln!("{info}\n{}", std::backtrace::Backtrace::force_capture());
        }
    }));
}

/// What the last panic on this thread said, once.
pub(crate) fn last_panic() -> Option<String> {
    LAST_PANIC.with(|last| last.borrow_mut().take())
}

/// Puts what the panic said into the verdict.
pub(crate) fn with_panic(mut run: Run) -> Run {
    let said = LAST_PANIC.with(|last| last.borrow_mut().take());
    if let (Verdict::Panic { message }, Some(said)) = (&mut run.verdict, said) {
        *message = said;
    }
    run
}

/// A failure: the rule, the evidence, the seed, the commit, and how to see it again.
pub(crate) fn failure(program: &Program, run: &Run) {
    broken(run);
    println!("  repeat: {}", program.repeat(run.seed));
}

/// A failure without a way to repeat it.
pub(crate) fn broken(run: &Run) {
    let (kind, rule, evidence) = match &run.verdict {
        Verdict::Pass | Verdict::Halted { .. } => return,
        Verdict::Safety { rule, evidence } => ("safety", rule.as_str(), evidence.as_str()),
        Verdict::Liveness { rule, evidence } => ("liveness", rule.as_str(), evidence.as_str()),
        Verdict::Panic { message } => ("panic", "assertion", message.as_str()),
    };
    println!("FAIL {kind} rule={rule}");
    println!("  {evidence}");
    println!(
        "  seed={} commit={COMMIT} events={} hash={}",
        run.seed, run.events, run.hash
    );
}

/// A run that passed, in one line.
pub(crate) fn pass(run: &Run, seconds: f64) {
    let verdict = match &run.verdict {
        Verdict::Halted { evidence } => {
            println!("  {evidence}");
            "HALTED AS EXPECTED"
        }
        _ => "PASS",
    };
    println!(
        "{verdict} seed={} commit={COMMIT} events={} hash={} simulated={:.3}s writes={} \
         {seconds:.2}s",
        run.seed,
        run.events,
        run.hash,
        run.simulated_ns as f64 / 1e9,
        run.writes
    );
}

/// One line that is written over, on a terminal only.
pub(crate) fn progress(line: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        // Nobody waits for this line; a terminal that is gone is no reason to stop.
        let _ = write!(err, "\r\x1b[2K{line}");
        let _ = err.flush();
    }
}
