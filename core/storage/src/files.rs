//! The few file operations that storage needs, so that the same code runs on a real disk and on
//! the simulator's, which forgets what was not synced.

use std::fmt;
use std::io::{self, Read};

/// ZooKeeper's two directories; they may be the same one on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dir {
    /// `dataDir/version-2`: snapshots and epoch files.
    Snapshots,
    /// `dataLogDir/version-2`: transaction logs.
    Logs,
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Snapshots => "snapshot",
            Self::Logs => "log",
        })
    }
}

/// A flat view of the two directories.
///
/// Durability: after a crash a file's content is what [`Files::sync`] last covered, possibly with
/// any part of later writes; a created, renamed or removed name is certain only after
/// [`Files::sync_dir`].
///
/// A file that must exist and does not is `ErrorKind::NotFound`.
pub trait Files {
    /// Names in the directory, sorted. A directory that does not exist is empty. Names that other
    /// programs left may be among them.
    fn list(&self, dir: Dir) -> io::Result<Vec<String>>;
    fn len(&self, dir: Dir, name: &str) -> io::Result<u64>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// The file through a handle of its own, for a thread that reads ahead. `None` where nobody but
    /// the owner of the files can read them.
    fn reader(&self, _dir: Dir, _name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        Ok(None)
    }
    /// The first offset from this one on where something else than zeros may be; at most the length
    /// of the file. Saves reading what was never written.
    fn next_data(&self, _dir: Dir, _name: &str, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }
    /// Writes all bytes; creates the file, fills a gap with zeros.
    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file, or extends it with zeros.
    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()>;
    /// Takes the room for these bytes of a file, so that writing them can not meet a full disk.
    /// They lie within its length and read as before. Where a file system can not promise that,
    /// nothing happens, and a write may be refused.
    fn allocate(&mut self, dir: Dir, name: &str, offset: u64, len: u64) -> io::Result<()> {
        let _ = (dir, name, offset, len);
        Ok(())
    }
    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()>;
    fn sync_dir(&mut self, dir: Dir) -> io::Result<()>;
    /// Replaces `to` if it exists.
    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()>;
    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()>;
}
