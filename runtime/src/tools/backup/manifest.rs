//! `backup.json`: what a backup directory holds. A file that is not named here is no part of the
//! backup, and of one that is named only the bytes that are told: so the manifest, replaced at the
//! end of each run, is what makes a run count.
//!
//! A *line* is one unbroken history. A run whose source does not continue the last line (its logs
//! were purged in between, its history was replaced) begins another in a folder of its own.

use std::path::Path;

use serde_json::{Map, Value, json};
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_storage::Dir;
use vivarium_storage::inspect::{log_zxid, snapshot_zxid};

use super::super::ToolError;
use super::super::file_set::{Entry, FileSet};

pub(in super::super) const NAME: &str = "backup.json";

/// What the field `format` says.
const FORMAT: &str = "vivarium backup 1";

/// All that was backed up into one directory.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in super::super) struct Manifest {
    /// Oldest first.
    pub(in super::super) lines: Vec<Line>,
    /// Oldest first.
    pub(in super::super) runs: Vec<Run>,
}

/// One unbroken history.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in super::super) struct Line {
    /// Below the backup directory, where `version-2` lies; empty for the first line.
    pub(in super::super) folder: String,
    pub(in super::super) files: Vec<Stored>,
}

/// A file of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Stored {
    pub(in super::super) name: String,
    pub(in super::super) bytes: u64,
    /// Of these bytes, hexadecimal.
    pub(in super::super) sha1: String,
    /// Size and time of the file that it was made from: the same ones mean the same content.
    pub(in super::super) source_bytes: u64,
    pub(in super::super) source_modified_ns: u64,
}

/// One call of `vivarium backup`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Run {
    /// RFC 3339.
    pub(in super::super) time: String,
    /// The last transaction in it.
    pub(in super::super) zxid: Zxid,
    pub(in super::super) accepted: Epoch,
    pub(in super::super) current: Epoch,
    /// Of the tree at `zxid`.
    pub(in super::super) digest: u64,
    pub(in super::super) znodes: u64,
    pub(in super::super) sessions: u64,
    /// `HOST:PORT`, if it was told.
    pub(in super::super) server: Option<String>,
    pub(in super::super) data_dir: String,
    pub(in super::super) log_dir: String,
    /// Which line it went to, from 0.
    pub(in super::super) line: u64,
}

impl Line {
    /// The folder with the files.
    pub(in super::super) fn path(&self, backup: &Path) -> std::path::PathBuf {
        backup.join(&self.folder).join("version-2")
    }

    pub(in super::super) fn find(&self, name: &str) -> Option<&Stored> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Adds a file, or replaces the one of the same name.
    pub(super) fn put(&mut self, stored: Stored) {
        self.files.retain(|file| file.name != stored.name);
        self.files.push(stored);
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Logs and snapshots, as a data directory.
    pub(in super::super) fn set(&self, backup: &Path) -> FileSet {
        let dir = self.path(backup);
        let entries = self.files.iter().filter_map(|file| {
            let kind = dir_of(&file.name)?;
            Some(Entry {
                dir: kind,
                name: file.name.clone(),
                path: dir.join(&file.name),
                len: file.bytes,
            })
        });
        FileSet::new(entries.collect())
    }
}

/// Whether a file of this name is a log or a snapshot.
pub(in super::super) fn dir_of(name: &str) -> Option<Dir> {
    match (log_zxid(name), snapshot_zxid(name)) {
        (Some(_), _) => Some(Dir::Logs),
        (_, Some(_)) => Some(Dir::Snapshots),
        (None, None) => None,
    }
}

impl Run {
    pub(super) fn fields(&self) -> Map<String, Value> {
        let value = json!({
            "time": self.time,
            "zxid": self.zxid.to_string(),
            "epoch": self.zxid.epoch().0,
            "accepted_epoch": self.accepted.0,
            "current_epoch": self.current.0,
            "digest": format!("0x{:x}", self.digest),
            "znodes": self.znodes,
            "sessions": self.sessions,
            "server": self.server,
            "data_dir": self.data_dir,
            "log_dir": self.log_dir,
            "line": self.line,
        });
        match value {
            Value::Object(fields) => fields,
            _ => unreachable!("made as an object"),
        }
    }

    pub(super) fn read(value: &Value) -> Result<Self, String> {
        Ok(Self {
            time: text(value, "time")?,
            zxid: Zxid(hex(value, "zxid")? as i64),
            accepted: Epoch(number(value, "accepted_epoch")? as i64),
            current: Epoch(number(value, "current_epoch")? as i64),
            digest: hex(value, "digest")?,
            znodes: number(value, "znodes")?,
            sessions: number(value, "sessions")?,
            server: value["server"].as_str().map(str::to_owned),
            data_dir: text(value, "data_dir")?,
            log_dir: text(value, "log_dir")?,
            line: number(value, "line")?,
        })
    }
}

impl Manifest {
    /// The newest run first, then the files, then the older runs.
    pub(super) fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("format".to_owned(), json!(FORMAT));
        let (newest, older) = match self.runs.split_last() {
            Some((newest, older)) => (newest.fields(), older),
            None => (Map::new(), &[][..]),
        };
        all.extend(newest);
        let lines = self.lines.iter().map(|line| {
            let files = line.files.iter().map(|file| {
                json!({
                    "name": file.name,
                    "bytes": file.bytes,
                    "sha1": file.sha1,
                    "source_bytes": file.source_bytes,
                    "source_modified_ns": file.source_modified_ns,
                })
            });
            json!({"folder": line.folder, "files": files.collect::<Vec<_>>()})
        });
        all.insert("lines".to_owned(), lines.collect());
        let older = older.iter().rev().map(|run| Value::Object(run.fields()));
        all.insert("older_runs".to_owned(), older.collect());
        Value::Object(all)
    }

    /// Reads the manifest of a backup directory; `None` if there is none.
    pub(in super::super) fn read(backup: &Path) -> Result<Option<Self>, ToolError> {
        let path = backup.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => {
                let problem = format!("can not read {}: {e}", path.display());
                return Err(ToolError::Failed(problem));
            }
        };
        let parsed = serde_json::from_slice(&bytes)
            .map_err(|e| e.to_string())
            .and_then(|value| Self::parse(&value));
        parsed.map(Some).map_err(|why| {
            let path = path.display();
            ToolError::Failed(format!("{path} is not the list of a backup: {why}"))
        })
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let format = text(value, "format")?;
        if format != FORMAT {
            return Err(format!("its format is {format:?}, known is {FORMAT:?}"));
        }
        let mut manifest = Self::default();
        for line in list(value, "lines")? {
            let mut read = Line {
                folder: text(line, "folder")?,
                files: Vec::new(),
            };
            for file in list(line, "files")? {
                read.files.push(Stored {
                    name: text(file, "name")?,
                    bytes: number(file, "bytes")?,
                    sha1: text(file, "sha1")?,
                    source_bytes: number(file, "source_bytes")?,
                    source_modified_ns: number(file, "source_modified_ns")?,
                });
            }
            manifest.lines.push(read);
        }
        for run in list(value, "older_runs")?.iter().rev() {
            manifest.runs.push(Run::read(run)?);
        }
        if value.get("zxid").is_some() {
            manifest.runs.push(Run::read(value)?);
        }
        Ok(manifest)
    }
}

/// There is no such file, or no such directory.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    let found = value[name].as_str().map(str::to_owned);
    found.ok_or_else(|| format!("{name} is missing"))
}

fn number(value: &Value, name: &str) -> Result<u64, String> {
    value[name]
        .as_u64()
        .ok_or_else(|| format!("{name} is no number"))
}

fn hex(value: &Value, name: &str) -> Result<u64, String> {
    let text = text(value, name)?;
    let digits = text.strip_prefix("0x").unwrap_or_default();
    u64::from_str_radix(digits, 16).map_err(|e| format!("{name}: {e}"))
}

fn list<'v>(value: &'v Value, name: &str) -> Result<&'v Vec<Value>, String> {
    value[name]
        .as_array()
        .ok_or_else(|| format!("{name} is no list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_as_it_was_written() {
        let run = |zxid: i64| Run {
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            zxid: Zxid(zxid),
            accepted: Epoch(3),
            current: Epoch(2),
            digest: 0xdead_beef,
            znodes: 7,
            sessions: 1,
            server: Some("127.0.0.1:2181".to_owned()),
            data_dir: "/a".to_owned(),
            log_dir: "/b".to_owned(),
            line: 0,
        };
        let mut line = Line::default();
        line.put(Stored {
            name: "log.1".to_owned(),
            bytes: 16,
            sha1: "ab".to_owned(),
            source_bytes: 4096,
            source_modified_ns: 1,
        });
        let manifest = Manifest {
            lines: vec![line],
            runs: vec![run(5), run(0x2_0000_0009)],
        };
        let value = manifest.json();
        assert_eq!(value["zxid"], "0x200000009");
        assert_eq!(Manifest::parse(&value), Ok(manifest));
        assert!(Manifest::parse(&json!({"format": "vivarium backup 2"})).is_err());
    }
}
