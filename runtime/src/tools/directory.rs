//! What a tool is pointed at: a file, or a directory as `dataDir` names it.

use std::path::{Path, PathBuf};

use vivarium_core::ids::Zxid;
use vivarium_storage::inspect::{self, ReadOnlyFiles};

use super::ToolError;

/// A file in its directory, or a whole directory.
pub(super) struct Target {
    pub(super) files: ReadOnlyFiles,
    /// The one file that was named.
    name: Option<String>,
}

impl Target {
    /// `path` as given on the command line.
    ///
    /// # Errors
    /// If it does not exist or can not be looked at.
    pub(super) fn open(path: &Path) -> Result<Self, ToolError> {
        let failed = |why: &dyn std::fmt::Display| {
            ToolError::Failed(format!("can not open {}: {why}", path.display()))
        };
        let found = std::fs::metadata(path).map_err(|e| failed(&e))?;
        if found.is_dir() {
            return Ok(Self {
                files: at(path, path),
                name: None,
            });
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| failed(&"the name is no text"))?;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self {
            files: ReadOnlyFiles {
                snapshots: parent.clone(),
                logs: parent,
            },
            name: Some(name.to_owned()),
        })
    }

    /// The log files that are meant, oldest first.
    pub(super) fn logs(&self) -> Result<Vec<String>, ToolError> {
        let all = inspect::log_names(&self.files)?;
        self.meant(all, "log", "log.HEX")
    }

    /// The snapshots that are meant, newest first.
    pub(super) fn snapshots(&self) -> Result<Vec<String>, ToolError> {
        let all = inspect::snapshot_names(&self.files)?;
        let names = all.into_iter().map(|(_, name)| name).collect();
        self.meant(names, "snapshot", "snapshot.HEX, .gz or .snappy behind it")
    }

    fn meant(&self, all: Vec<String>, what: &str, form: &str) -> Result<Vec<String>, ToolError> {
        match &self.name {
            Some(name) if all.contains(name) => Ok(vec![name.clone()]),
            Some(name) => Err(ToolError::Failed(format!(
                "{name} is not the name of a {what}: {form}"
            ))),
            None if all.is_empty() => Err(ToolError::Failed(format!(
                "there is no {what} in {}",
                self.files.logs.display()
            ))),
            None => Ok(all),
        }
    }
}

/// The files of a server with these two directories.
pub(super) fn at(data_dir: &Path, log_dir: &Path) -> ReadOnlyFiles {
    ReadOnlyFiles {
        snapshots: inspect::version_dir(data_dir),
        logs: inspect::version_dir(log_dir),
    }
}

/// Reads a zxid: decimal, or hexadecimal behind `0x`, as this server prints it.
pub(super) fn parse_zxid(text: &str) -> Result<Zxid, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed
        .map(Zxid)
        .map_err(|e| format!("{e}; a zxid is a number, or hexadecimal behind 0x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxids_are_read_as_they_are_printed() {
        assert_eq!(parse_zxid("0x10000000a"), Ok(Zxid(0x1_0000_000a)));
        assert_eq!(parse_zxid("17"), Ok(Zxid(17)));
        for bad in ["", "0x", "10000000a", "x"] {
            assert!(parse_zxid(bad).is_err(), "{bad}");
        }
    }
}
