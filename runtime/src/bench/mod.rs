//! `vivarium bench`: measures servers, and parts of the server by themselves. Figures go to stdout,
//! progress to stderr.

mod compare;
mod failover;
mod history;
mod load;
mod makes;
mod process;
mod report;
mod restart;
mod server;
mod snapshot;
mod watches;

use clap::Subcommand;

use crate::exit::Exit;

#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    /// Watches: what registering, keeping, firing and forgetting them costs. One standalone server
    /// in this process, without sockets and disk
    Watches(watches::Arguments),
    /// A load on servers that run: how much they answer, and how soon
    Load(load::Arguments),
    /// The same loads on Apache ZooKeeper and on Vivarium, which are started for it in turns
    Compare(compare::Arguments),
    /// The leader is killed: how long no write is acknowledged; with --zookeeper the same of Apache
    /// ZooKeeper
    Failover(failover::Arguments),
    /// A restart: how soon a server answers from a directory with many znodes, and the memory it
    /// needs; with --zookeeper the same of Apache ZooKeeper on a copy of the same files
    Restart(restart::Arguments),
    /// Snapshots: how long the longest turn of the machine is while one is taken under writes. One
    /// standalone server in this process, without sockets and disk
    Snapshot(snapshot::Arguments),
}

/// Runs the measurement and gives the text of its figures.
pub(crate) fn run(what: &Bench) -> Result<String, (Exit, String)> {
    match what {
        Bench::Watches(arguments) => watches::run(arguments),
        Bench::Load(arguments) => load::run(arguments),
        Bench::Compare(arguments) => compare::run(arguments),
        Bench::Failover(arguments) => failover::run(arguments),
        Bench::Restart(arguments) => restart::run(arguments),
        Bench::Snapshot(arguments) => snapshot::run(arguments),
    }
}
