//! `vivarium fsck`: what a start would make of a data directory. Changes nothing.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use vivarium_core::ids::Epoch;
use vivarium_storage::LOCK_NAME;
use vivarium_storage::inspect::{Checkup, check_up, check_up_trusting_logs};

use super::ToolError;
use super::backup::read_bytes;
use super::directory::at;
use super::file_set::FileSet;
use super::records::{Fields, object};

#[derive(Args, Debug)]
pub struct Fsck {
    /// dataDir
    data_dir: PathBuf,
    /// dataLogDir, if it is another directory
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// As with snapshot.trust.empty=true: without any snapshot, believe that the logs hold all
    #[arg(long)]
    trust_empty: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
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
        let mut notes = Vec::new();
        if let Some(owner) = crate::owner::of_lock(&self.data_dir.join(LOCK_NAME)) {
            notes.push(format!(
                "a server (process {}, {}) is at work here; what it is just writing may look torn",
                owner.pid, owner.name
            ));
        }
        let set = FileSet::of(&at(&self.data_dir, log_dir))?;
        let total = read_bytes(&set);
        let set = set.watched("read", total);
        let found = if self.trust_empty {
            check_up_trusting_logs(&set, None)
        } else {
            check_up(&set, None)
        };
        let found = match found {
            Ok(found) => found,
            Err(refused) => {
                if self.json {
                    let problem = refused.to_string();
                    writeln!(out, "{}", json!({"starts": false, "problem": problem}))?;
                }
                return Err(refused.into());
            }
        };
        notes.extend(found.notes.iter().cloned());
        let fields = self.fields(&found);
        if self.json {
            let mut all = object(fields);
            all["notes"] = json!(notes);
            all["starts"] = json!(true);
            writeln!(out, "{all}")?;
            return Ok(());
        }
        for (name, value) in &fields {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let text = match (*name, value) {
                ("snapshot", Value::Null) if found.replayed > 0 => "none: the logs alone".into(),
                ("snapshot", Value::Null) => "none: an empty directory".to_owned(),
                (_, Value::Null) => "no file".to_owned(),
                ("replayed", _) => format!("{text} transactions"),
                _ => text,
            };
            writeln!(out, "{name:<13} {text}")?;
        }
        for note in &notes {
            writeln!(out, "note: {note}")?;
        }
        writeln!(out, "a server would start with this directory")?;
        Ok(())
    }

    fn fields(&self, found: &Checkup) -> Fields {
        let epoch = |e: Option<Epoch>| e.map_or(Value::Null, |e| json!(e.0));
        let mut fields: Fields = vec![("data", json!(self.data_dir.display().to_string()))];
        if let Some(dir) = &self.log_dir {
            fields.push(("logs", json!(dir.display().to_string())));
        }
        let database = &found.database;
        fields.extend([
            ("snapshot", json!(found.snapshot)),
            ("replayed", json!(found.replayed)),
            ("zxid", json!(database.applied().to_string())),
            ("digest", json!(format!("0x{:x}", database.digest()))),
            ("znodes", json!(database.tree().node_count())),
            ("sessions", json!(database.sessions().len())),
            ("acceptedEpoch", epoch(found.accepted)),
            ("currentEpoch", epoch(found.current)),
        ]);
        fields
    }
}
