//! `vivarium fsck`: what a start would make of a data directory. Changes nothing.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use vivarium_storage::LOCK_NAME;
use vivarium_storage::inspect::check_up;

use super::ToolError;
use super::directory::at;

#[derive(Args, Debug)]
pub struct Fsck {
    /// dataDir
    data_dir: PathBuf,
    /// dataLogDir, if it is another directory
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
}

impl Fsck {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let log_dir = self.log_dir.as_ref().unwrap_or(&self.data_dir);
        for dir in [&self.data_dir, log_dir] {
            if !dir.is_dir() {
                let problem = format!("{} is no directory", dir.display());
                return Err(ToolError::Failed(problem));
            }
        }
        if let Some(owner) = crate::owner::of_lock(&self.data_dir.join(LOCK_NAME)) {
            writeln!(
                out,
                "note: a server (process {}, {}) is at work here; what it is just writing may look \
                 torn",
                owner.pid, owner.name
            )?;
        }
        let found = check_up(&at(&self.data_dir, log_dir), None)?;
        let epoch = |e: Option<vivarium_core::ids::Epoch>| {
            e.map_or_else(|| "no file".to_owned(), |e| e.to_string())
        };
        writeln!(out, "data          {}", self.data_dir.display())?;
        if self.log_dir.is_some() {
            writeln!(out, "logs          {}", log_dir.display())?;
        }
        let snapshot = found
            .snapshot
            .as_deref()
            .unwrap_or("none: an empty directory");
        writeln!(out, "snapshot      {snapshot}")?;
        writeln!(out, "replayed      {} transactions", found.replayed)?;
        writeln!(out, "zxid          {}", found.database.applied())?;
        writeln!(out, "digest        0x{:x}", found.database.digest())?;
        writeln!(out, "znodes        {}", found.database.tree().node_count())?;
        writeln!(out, "sessions      {}", found.database.sessions().len())?;
        writeln!(out, "acceptedEpoch {}", epoch(found.accepted))?;
        writeln!(out, "currentEpoch  {}", epoch(found.current))?;
        for note in &found.notes {
            writeln!(out, "note: {note}")?;
        }
        writeln!(out, "a server would start with this directory")?;
        Ok(())
    }
}
