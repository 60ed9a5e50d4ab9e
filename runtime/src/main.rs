//! The program `vivarium`.

use std::process::ExitCode;

fn main() -> ExitCode {
    vivarium::cli::main().into()
}
