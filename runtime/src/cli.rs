//! The command line. Data goes to stdout, talk to stderr.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::bench::{self, Bench};
use crate::config::{self, Settings};
use crate::driver::{self, Record};
use crate::exit::Exit;
use crate::shell::{self, Shell};
use crate::tools::{
    self, Backup, Export, Fsck, Import, LogCommand, MigrateCommand, Restore, SnapshotCommand,
};
use crate::version;

/// The variable that filters the log, in the syntax of `tracing-subscriber`.
const LOG_VARIABLE: &str = "VIVARIUM_LOG";

/// A coordination service that speaks ZooKeeper's protocols.
#[derive(Parser, Debug)]
#[command(name = "vivarium", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a server in the foreground until SIGTERM or SIGINT
    Serve {
        /// ZooKeeper's configuration file. Without it: one server on 127.0.0.1:2181 that keeps its
        /// data in ./vivarium-data
        #[arg(value_name = "ZOO_CFG")]
        config: Option<PathBuf>,
        /// Write down everything that the server is told, so that `vivarium-sim replay DIR` comes
        /// to the same state: one file for each start, the newest four are kept. They hold
        /// all data and the passwords of sessions, and are readable for their owner only (0600)
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        /// Most MiB of one recording. It ends there, and the server goes on
        #[arg(long, value_name = "MIB", requires = "record", default_value_t = 1024)]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
        record_max: u64,
    },
    /// Look into transaction logs
    #[command(subcommand)]
    Log(LogCommand),
    /// Look into snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Say what a start would make of a data directory, changing nothing
    Fsck(Fsck),
    /// Come from ZooKeeper, server by server
    #[command(subcommand)]
    Migrate(MigrateCommand),
    Backup(Backup),
    Restore(Restore),
    Export(Export),
    Import(Import),
    Shell(Shell),
    /// Measure servers, and parts of the server
    #[command(subcommand)]
    Bench(Bench),
    /// Print the version
    Version,
}

/// Runs the command of this process's arguments.
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout and is a success; a closed pipe is nobody's mistake.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
        }
    };
    match arguments.command {
        Command::Serve {
            config,
            record,
            record_max,
        } => {
            let bytes_max = record_max << 20;
            let record = record.map(|dir| Record { dir, bytes_max });
            serve(config.as_deref(), record.as_ref())
        }
        Command::Log(command) => tools::run_log(&command),
        Command::Snapshot(command) => tools::run_snapshot(&command),
        Command::Fsck(fsck) => tools::run_fsck(&fsck),
        Command::Migrate(command) => tools::run_migrate(&command),
        Command::Backup(backup) => tools::run_backup(&backup),
        Command::Restore(restore) => tools::run_restore(&restore),
        Command::Export(export) => tools::run_export(&export),
        Command::Import(import) => tools::run_import(&import),
        Command::Shell(words) => match shell::run(&words) {
            Ok(exit) => exit,
            Err((exit, error)) => fail(exit, &error),
        },
        Command::Bench(what) => match bench::run(&what) {
            Ok(figures) => print(&figures),
            Err((exit, error)) => fail(exit, &error),
        },
        Command::Version => print(version::SHORT),
    }
}

/// Prints one line of data. A reader that has left wanted no more.
fn print(line: &str) -> Exit {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => Exit::Success,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(e) => fail(Exit::Failure, &e),
    }
}

/// Says on stderr what went wrong.
fn fail(exit: Exit, error: &dyn std::fmt::Display) -> Exit {
    // Nothing is left to be told if stderr is closed.
    let _ = writeln!(io::stderr(), "vivarium: {error}");
    exit
}

fn serve(path: Option<&Path>, record: Option<&Record>) -> Exit {
    let loaded = match path.map_or_else(config::without_file, config::load) {
        Ok(loaded) => loaded,
        Err(error) => return fail(Exit::Usage, &error),
    };
    let _ = writeln!(io::stderr(), "vivarium: {}", summary(&loaded.settings));
    log_to_stderr();
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let deviations = loaded.settings.deviations();
    if !deviations.is_empty() {
        tracing::info!("configuration: {}", deviations.join(", "));
    }
    match driver::run(loaded.settings, record) {
        Ok(exit) => exit,
        Err(error) => fail(error.exit(), &error),
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_env_var(LOG_VARIABLE)
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A closed stderr must not stop the server, which telling about it there would.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

/// What runs, in one sentence for a human.
fn summary(settings: &Settings) -> String {
    let role = match settings.my_member() {
        None => "standalone".to_owned(),
        Some(member) => {
            let kind = match member.kind {
                vivarium_core::config::LearnerType::Participant => "",
                vivarium_core::config::LearnerType::Observer => ", an observer",
            };
            format!("server {} of {}{kind}", settings.me, settings.members.len())
        }
    };
    let mut text = format!(
        "{role}, clients on {}, data in {}",
        settings.client,
        settings.data_dir.display()
    );
    if settings.log_dir != settings.data_dir {
        text.push_str(&format!(", logs in {}", settings.log_dir.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_first_line_of_a_server_without_a_file() {
        assert_eq!(
            summary(&Settings::standalone()),
            "standalone, clients on 127.0.0.1:2181, data in ./vivarium-data"
        );
    }
}
