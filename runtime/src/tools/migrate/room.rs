//! How much lies in the directories of a server, and how much room their disks have.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use serde_json::{Value, json};
use vivarium_storage::inspect::version_dir;

use crate::config::Settings;

/// Unit of the blocks that a file's metadata count.
const BLOCK: u64 = 512;

/// Files of one sort.
#[derive(Clone, Copy, Default)]
struct Heap {
    files: u64,
    /// What they take of the disk: logs are longer than what is written in them.
    bytes: u64,
}

/// One directory.
pub(super) struct Room {
    dir: PathBuf,
    snapshots: Heap,
    logs: Heap,
    /// Bytes that the disk has left for the user who asks; none if it does not tell.
    free: Option<u64>,
}

/// `dataDir`, and `dataLogDir` if it is another one.
pub(super) fn of(settings: &Settings) -> Vec<Room> {
    let mut rooms = vec![look(&settings.data_dir)];
    if settings.log_dir != settings.data_dir {
        rooms.push(look(&settings.log_dir));
    }
    rooms
}

fn look(dir: &Path) -> Room {
    let free = statvfs(dir)
        .ok()
        .map(|found| found.f_bavail * found.f_frsize);
    let mut room = Room {
        dir: dir.to_owned(),
        snapshots: Heap::default(),
        logs: Heap::default(),
        free,
    };
    // That it can not be listed is told where its files are judged.
    let Ok(entries) = std::fs::read_dir(version_dir(dir)) else {
        return room;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let heap = if name.starts_with("snapshot.") {
            &mut room.snapshots
        } else if name.starts_with("log.") {
            &mut room.logs
        } else {
            continue;
        };
        heap.files += 1;
        heap.bytes += entry.metadata().map_or(0, |found| found.blocks() * BLOCK);
    }
    room
}

impl Room {
    pub(super) fn json(&self) -> Value {
        let heap = |heap: &Heap| json!({"files": heap.files, "bytes": heap.bytes});
        json!({
            "directory": self.dir.display().to_string(),
            "snapshots": heap(&self.snapshots),
            "logs": heap(&self.logs),
            "free": self.free,
        })
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (snapshots, logs) = (&self.snapshots, &self.logs);
        writeln!(f, "data {}", self.dir.display())?;
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let (of_snapshots, of_logs) = (mib(snapshots.bytes), mib(logs.bytes));
        writeln!(f, "  snapshots {} files, {of_snapshots}", snapshots.files)?;
        write!(f, "  logs      {} files, {of_logs}", logs.files)?;
        match self.free {
            Some(free) => write!(f, "\n  free      {}", mib(free)),
            None => Ok(()),
        }
    }
}
