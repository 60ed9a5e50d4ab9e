//! Tools for a data directory: what stands in its logs and snapshots, what a start would make of
//! it, its backup and what is made of that, and whether a server of ZooKeeper can be replaced. None
//! of them changes the directory of a server. And two for a subtree: out of a server or its files,
//! and back into a server.

mod backup;
mod client;
mod directory;
mod file_set;
mod fsck;
mod log;
mod migrate;
mod progress;
mod records;
mod restore;
mod snapshot;
mod subtree;

use std::io::{self, BufWriter, Write};

use clap::Subcommand;

use crate::exit::Exit;

/// Transaction logs.
#[derive(Subcommand, Debug)]
pub enum LogCommand {
    /// Print the transactions of a log file or of all log files of a directory, one to a line
    Dump(log::Dump),
    /// Check every record, and say how each file ends
    Verify(log::Verify),
    /// Print transactions as they are written, until interrupted
    Follow(log::Follow),
}

/// Snapshots.
#[derive(Subcommand, Debug)]
pub enum SnapshotCommand {
    /// Print sessions and znodes of a snapshot, one to a line
    Dump(snapshot::Dump),
    /// Check header, every entry, checksums and digest
    Verify(snapshot::Verify),
    /// Count what is in a snapshot, and name its largest znodes
    Stat(snapshot::Stat),
    /// Print a subtree as one JSON document
    Export(snapshot::Export),
}

pub use backup::Backup;
pub use fsck::Fsck;
pub use migrate::{MigrateCommand, run as run_migrate};
pub use restore::Restore;
pub use subtree::{Export, Import};

/// Why a tool ended early.
#[derive(Debug)]
pub(crate) enum ToolError {
    /// The reader of the output has left: nobody's mistake.
    OutputClosed,
    /// What went wrong, for the operator.
    Failed(String),
}

impl From<io::Error> for ToolError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("can not write the output: {error}"))
        }
    }
}

impl From<vivarium_storage::StorageError> for ToolError {
    fn from(error: vivarium_storage::StorageError) -> Self {
        Self::Failed(error.to_string())
    }
}

pub fn run_log(command: &LogCommand) -> Exit {
    with_output(|out| match command {
        LogCommand::Dump(dump) => dump.run(out),
        LogCommand::Verify(verify) => verify.run(out),
        LogCommand::Follow(follow) => follow.run(out),
    })
}

pub fn run_snapshot(command: &SnapshotCommand) -> Exit {
    with_output(|out| match command {
        SnapshotCommand::Dump(dump) => dump.run(out),
        SnapshotCommand::Verify(verify) => verify.run(out),
        SnapshotCommand::Stat(stat) => stat.run(out),
        SnapshotCommand::Export(export) => export.run(out),
    })
}

pub fn run_fsck(fsck: &Fsck) -> Exit {
    with_output(|out| fsck.run(out))
}

pub fn run_backup(backup: &Backup) -> Exit {
    with_output(|out| backup.run(out))
}

pub fn run_export(export: &Export) -> Exit {
    with_output(|out| export.run(out))
}

pub fn run_import(import: &Import) -> Exit {
    with_output(|out| import.run(out))
}

pub fn run_restore(restore: &Restore) -> Exit {
    with_output(|out| restore.run(out))
}

fn with_output(act: impl FnOnce(&mut dyn Write) -> Result<(), ToolError>) -> Exit {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = act(&mut out).and_then(|()| out.flush().map_err(ToolError::from));
    match done {
        Ok(()) | Err(ToolError::OutputClosed) => Exit::Success,
        Err(ToolError::Failed(problem)) => {
            // Nothing is left to be told if stdout or stderr is closed.
            let _ = out.flush();
            let _ = writeln!(io::stderr(), "vivarium: {problem}");
            Exit::Failure
        }
    }
}
