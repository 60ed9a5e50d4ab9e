//! One file from a directory in use into the backup: read with care, written under a temporary
//! name, stable before it gets its own, read again.
#![allow(
    clippy::disallowed_methods,
    reason = "a tool that waits for a file that others write"
)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use sha1::{Digest, Sha1};
use vivarium_core::wire::txn::TxnRecord;
use vivarium_storage::inspect::{
    LogEnd, ReadOnlyFiles, is_finished, look, read_log, read_snapshot,
};
use vivarium_storage::{Dir, Files, StorageError};

use super::super::ToolError;
use super::super::file_set::{Entry, FileSet};
use super::super::progress::Progress;
use super::manifest::Stored;

/// Between two looks at a log whose end is being written.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// Nothing new for so many looks: nobody writes there.
const LOOKS_MAX: u32 = 40;

/// Read and written at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Temporary names begin with this, which no server looks at.
pub(super) const TMP: &str = "tmp.backup";

/// Why a file was not copied.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was removed or cut meanwhile: look at the directory again.
    Vanished(String),
    Failed(ToolError),
}

impl From<ToolError> for Trouble {
    fn from(error: ToolError) -> Self {
        Self::Failed(error)
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io {
                ref name,
                ref source,
                ..
            } if source.kind() == io::ErrorKind::NotFound => Self::Vanished(name.clone()),
            other => Self::Failed(other.into()),
        }
    }
}

/// An error of the file system about `path`.
pub(in super::super) fn about(verb: &str, path: &Path, error: &io::Error) -> ToolError {
    ToolError::Failed(format!("can not {verb} {}: {error}", path.display()))
}

/// A name in a directory is stable afterwards.
pub(in super::super) fn sync_dir(path: &Path) -> Result<(), ToolError> {
    // The directory of a name alone is the one that we are in.
    let here = Path::new(".");
    let path = if path == Path::new("") { here } else { path };
    let synced = File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|e| about("sync", path, &e))
}

/// Writes a small file whole or not at all.
pub(in super::super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ToolError> {
    let dir = path.parent().expect("a file in a directory");
    let tmp = dir.join(TMP);
    let written = File::create(&tmp).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&tmp, path)
    });
    written.map_err(|e| about("write", path, &e))?;
    sync_dir(dir)
}

/// SHA-1 of the first `bytes` bytes of a file, in hexadecimal.
pub(in super::super) fn sha1(path: &Path, bytes: u64) -> Result<String, ToolError> {
    let mut file = File::open(path).map_err(|e| about("open", path, &e))?;
    let mut progress = Progress::bytes(format!("sum {}", path.display()), bytes);
    let (sum, read) = stream(&mut file, bytes, &mut progress, &mut |_| Ok(()))
        .map_err(|e| about("read", path, &e))?;
    if read < bytes {
        let path = path.display();
        let problem = format!("{path} ends after {read} bytes, it should have {bytes}");
        return Err(ToolError::Failed(problem));
    }
    Ok(sum)
}

/// Passes up to `bytes` bytes on; their SHA-1 and how many there were.
fn stream(
    from: &mut File,
    bytes: u64,
    progress: &mut Progress,
    to: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(String, u64)> {
    let mut sum = Sha1::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut done = 0;
    while done < bytes {
        let wanted = usize::try_from(bytes - done).map_or(BLOCK_BYTES, |n| n.min(BLOCK_BYTES));
        let n = match from.read(&mut block[..wanted]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        sum.update(&block[..n]);
        to(&block[..n])?;
        done += n as u64;
        progress.at(done);
    }
    let sum = sum.finalize();
    Ok((sum.iter().map(|byte| format!("{byte:02x}")).collect(), done))
}

/// Size and time of change, by which an unchanged file is known.
pub(super) fn trace(files: &ReadOnlyFiles, dir: Dir, name: &str) -> Result<(u64, u64), Trouble> {
    let path = path_of(files, dir, name);
    let found = fs::metadata(&path).map_err(|e| trouble(&path, name, &e))?;
    let modified = found.modified().map_err(|e| trouble(&path, name, &e))?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((found.len(), u64::try_from(since.as_nanos()).unwrap_or(0)))
}

fn path_of(files: &ReadOnlyFiles, dir: Dir, name: &str) -> std::path::PathBuf {
    match dir {
        Dir::Snapshots => files.snapshots.join(name),
        Dir::Logs => files.logs.join(name),
    }
}

fn trouble(path: &Path, name: &str, error: &io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::NotFound {
        Trouble::Vanished(name.to_owned())
    } else {
        about("read", path, error).into()
    }
}

/// How much of a log file is whole. `is_last`: a server may be writing it. `None` if there is no
/// transaction in it.
///
/// All that was acknowledged before the call is within: it was in the file by then, and reading
/// stops only where no whole transaction stands.
pub(super) fn log_extent(
    files: &ReadOnlyFiles,
    name: &str,
    is_last: bool,
) -> Result<Option<u64>, Trouble> {
    if is_last {
        let first = look(files, name, 0, &mut |_, _, _| {})?;
        let mut seen = first;
        for _ in 0..LOOKS_MAX {
            // Transactions behind the first look's end show that it was no damage that stopped it.
            if seen.settled || seen.end > first.end {
                return Ok(Some(first.end).filter(|_| first.end > 16));
            }
            std::thread::sleep(LOOK_INTERVAL);
            seen = look(files, name, first.end, &mut |_, _, _| {})?;
        }
    }
    let report = read_log(files, name, &mut |_, _, _| true)?;
    Ok(match report.end {
        LogEnd::Unborn => None,
        _ if report.transactions == 0 => None,
        _ => Some(report.used),
    })
}

/// Copies the first `bytes` bytes of a file and checks what was written. `None`: it is a snapshot
/// that its server has not finished.
pub(super) fn copy(
    files: &ReadOnlyFiles,
    dir: Dir,
    name: &str,
    bytes: u64,
    to: &Path,
) -> Result<Option<Stored>, Trouble> {
    if dir == Dir::Snapshots && !is_finished(files, name)? {
        return Ok(None);
    }
    let (source_bytes, source_modified_ns) = trace(files, dir, name)?;
    let from = path_of(files, dir, name);
    let tmp = to.join(TMP);
    let mut source = File::open(&from).map_err(|e| trouble(&from, name, &e))?;
    let mut target = File::create(&tmp).map_err(|e| about("create", &tmp, &e))?;
    let mut progress = Progress::bytes(name, bytes);
    let (sha1, read) = stream(&mut source, bytes, &mut progress, &mut |block| {
        target.write_all(block)
    })
    .map_err(|e| about("copy", &from, &e))?;
    if read < bytes {
        return Err(Trouble::Vanished(name.to_owned()));
    }
    target.sync_all().map_err(|e| about("sync", &tmp, &e))?;
    drop(progress);
    check(dir, name, &tmp, bytes)?;
    let path = to.join(name);
    fs::rename(&tmp, &path).map_err(|e| about("rename", &tmp, &e))?;
    Ok(Some(Stored {
        name: name.to_owned(),
        bytes,
        sha1,
        source_bytes,
        source_modified_ns,
    }))
}

/// Reads back a copy under its temporary name: every checksum, and of a log every transaction.
fn check(dir: Dir, name: &str, path: &Path, bytes: u64) -> Result<(), Trouble> {
    let entry = Entry {
        dir,
        name: name.to_owned(),
        path: path.to_owned(),
        len: bytes,
    };
    let set = FileSet::new(vec![entry]).watched(&format!("check {name}"), bytes);
    match dir {
        Dir::Snapshots => drop(read_snapshot(&set, name)?),
        Dir::Logs => {
            let mut unreadable = None;
            read_log(&set, name, &mut |offset, zxid, record| {
                if let Err(e) = TxnRecord::decode(record) {
                    unreadable = Some(format!("{name}: {zxid} at offset {offset}: {e}"));
                }
                unreadable.is_none()
            })?;
            if let Some(problem) = unreadable {
                return Err(ToolError::Failed(problem).into());
            }
        }
    }
    assert_eq!(set.len(dir, name).ok(), Some(bytes));
    Ok(())
}
