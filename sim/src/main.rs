//! `vivarium-sim`: runs seeds and scenarios, proves that runs repeat, proves that the checkers
//! bite, measures.
//!
//! Exit codes: 0 pass, 10 safety, 11 liveness, 12 panic, 13 nondeterminism, 2 usage.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
