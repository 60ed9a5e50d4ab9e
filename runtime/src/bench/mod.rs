//! `vivarium bench`: measures parts of the server by themselves. Figures go to stdout, progress to
//! stderr.

mod report;
mod server;
mod watches;

use clap::Subcommand;

use crate::exit::Exit;

#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// Watches: what registering, keeping, firing and forgetting them costs. One standalone server
    /// in this process, without sockets and disk
    Watches(watches::Arguments),
}

/// Runs the measurement and gives the text of its figures.
pub(crate) fn run(what: &Bench) -> Result<String, (Exit, String)> {
    match what {
        Bench::Watches(arguments) => watches::run(arguments),
    }
}
