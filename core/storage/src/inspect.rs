//! Looks into a data directory and changes nothing: what the operator's tools see.
//!
//! Uses the readers of the recovery, so that a tool and a starting server never disagree.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use vivarium_core::database::Database;
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::mutants::Mutants;

use crate::epochs;
use crate::error::{About, CURE_RESYNC, StorageError};
use crate::files::{Dir, Files};
use crate::log_reader::{Ending, LogFile, is_quiet, scan, scan_on, synced_by_marks};
use crate::names;
use crate::real::next_data;
use crate::recover::{self, inventory};
use crate::snapshot;

/// Two directories on a real file system that are only read; no lock is taken, so a server may be
/// at work in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadOnlyFiles {
    /// Where snapshots and epoch files lie.
    pub snapshots: PathBuf,
    /// Where log files lie.
    pub logs: PathBuf,
}

impl ReadOnlyFiles {
    fn path(&self, dir: Dir, name: &str) -> PathBuf {
        match dir {
            Dir::Snapshots => self.snapshots.join(name),
            Dir::Logs => self.logs.join(name),
        }
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only")
}

impl Files for ReadOnlyFiles {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(dir, ""))? {
            // Names that are no text belong to nobody we know.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path(dir, name))?.len())
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::open(self.path(dir, name))?;
        let mut done = 0;
        while done < buf.len() {
            match file.read_at(&mut buf[done..], offset + done as u64)? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }

    fn reader(&self, dir: Dir, name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let file = std::fs::File::open(self.path(dir, name))?;
        Ok(Some(Box::new(file)))
    }

    fn next_data(&self, dir: Dir, name: &str, offset: u64) -> io::Result<u64> {
        next_data(&std::fs::File::open(self.path(dir, name))?, offset)
    }

    fn write_at(&mut self, _: Dir, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        Err(refused())
    }

    fn set_len(&mut self, _: Dir, _: &str, _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync(&mut self, _: Dir, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn sync_dir(&mut self, _: Dir) -> io::Result<()> {
        Err(refused())
    }

    fn rename(&mut self, _: Dir, _: &str, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&mut self, _: Dir, _: &str) -> io::Result<()> {
        Err(refused())
    }
}

/// The directory that holds the files: `dir/version-2`, or `dir` where that does not exist.
pub fn version_dir(dir: &Path) -> PathBuf {
    let inner = dir.join(crate::real::VERSION_DIR);
    if inner.is_dir() {
        inner
    } else {
        dir.to_owned()
    }
}

/// The log files of a directory, oldest first.
pub fn log_names<F: Files>(files: &F) -> Result<Vec<String>, StorageError> {
    Ok(inventory(files)?.logs.into_iter().map(|f| f.name).collect())
}

/// The snapshots of a directory and the zxids in their names, newest first.
pub fn snapshot_names<F: Files>(files: &F) -> Result<Vec<(Zxid, String)>, StorageError> {
    Ok(inventory(files)?.snapshots)
}

/// How a log file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogEnd {
    /// Behind the last transaction there is nothing but padding.
    Clean,
    /// Behind it is what a crash left of later ones, which were never acknowledged.
    Torn,
    /// The file was never begun.
    Unborn,
    /// The visitor stopped before the end.
    NotReached,
}

/// What was read of a log file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogReport {
    /// Bytes of the file, padding included.
    pub bytes: u64,
    /// Bytes up to the end of the last transaction.
    pub used: u64,
    pub transactions: u64,
    pub last: Option<Zxid>,
    pub end: LogEnd,
}

/// Reads a log file; `visit` gets offset, zxid and record of each transaction and says whether to
/// go on.
///
/// # Errors
/// What recovery would refuse too: rot, naming the offset; and the file system's.
pub fn read_log<F: Files>(
    files: &F,
    name: &str,
    visit: &mut dyn FnMut(u64, Zxid, &Bytes) -> bool,
) -> Result<LogReport, StorageError> {
    let file = log_file(files, name)?;
    let mut stopped = false;
    let scanned = scan(files, &file, &mut |record| {
        stopped = !visit(record.offset, record.zxid, &record.txn);
        Ok(!stopped)
    })?;
    let end = match scanned.ending {
        _ if stopped => LogEnd::NotReached,
        Ending::Clean => LogEnd::Clean,
        Ending::Torn => LogEnd::Torn,
        Ending::Unborn => LogEnd::Unborn,
    };
    Ok(LogReport {
        bytes: file.len,
        used: scanned.end,
        transactions: scanned.records,
        last: scanned.last,
        end,
    })
}

/// Reads what was added to a log file behind byte `from` (0: all of it), as far as it is whole, and
/// says where to go on.
pub fn read_on<F: Files>(
    files: &F,
    name: &str,
    from: u64,
    visit: &mut dyn FnMut(u64, Zxid, &Bytes),
) -> Result<u64, StorageError> {
    let file = log_file(files, name)?;
    scan_on(files, &file, from, &mut |record| {
        visit(record.offset, record.zxid, &record.txn);
    })
}

/// One look at a log file that a server may be writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Behind the last whole transaction.
    pub end: u64,
    /// Nothing was begun behind it, and nothing is missing that was synced before the look. Where
    /// this stays false, nobody writes: [`read_log`] tells a torn end from rot.
    pub settled: bool,
}

/// Reads the whole transactions of a log file behind byte `from` (0: all of it) without judging
/// what a server at work may be about to complete.
///
/// # Errors
/// The file system's.
pub fn look<F: Files>(
    files: &F,
    name: &str,
    from: u64,
    visit: &mut dyn FnMut(u64, Zxid, &Bytes),
) -> Result<Look, StorageError> {
    let file = log_file(files, name)?;
    // In this order: the marks may only lag behind what is read after them.
    let synced = synced_by_marks(files, &file)?.unwrap_or(0);
    let end = scan_on(files, &file, from, &mut |record| {
        visit(record.offset, record.zxid, &record.txn);
    })?;
    let settled = end >= synced && is_quiet(files, &file, end)?;
    Ok(Look { end, settled })
}

/// `acceptedEpoch` and `currentEpoch`, as far as the files exist.
///
/// # Errors
/// A file that holds something else than an epoch, and the file system's.
pub fn read_epochs<F: Files>(files: &F) -> Result<[Option<Epoch>; 2], StorageError> {
    let accepted = epochs::read(files, names::ACCEPTED_EPOCH)?;
    let current = epochs::read(files, names::CURRENT_EPOCH)?;
    Ok([accepted, current])
}

/// The first transaction of a log file by its name; `None` if this is not the name of one.
pub fn log_zxid(name: &str) -> Option<Zxid> {
    names::parse_log(name)
}

/// The zxid in the name of a snapshot; `None` if this is not the name of one.
pub fn snapshot_zxid(name: &str) -> Option<Zxid> {
    names::parse_snapshot(name)
}

/// Was this snapshot written to its end, as far as its last bytes tell?
///
/// # Errors
/// The file system's.
pub fn is_finished<F: Files>(files: &F, name: &str) -> Result<bool, StorageError> {
    snapshot::looks_finished(files, name)
}

fn log_file<F: Files>(files: &F, name: &str) -> Result<LogFile, StorageError> {
    let mut logs = inventory(files)?.logs.into_iter();
    match logs.find(|file| file.name == name) {
        Some(file) => Ok(file),
        None => Err(io::Error::from(io::ErrorKind::NotFound)).about("read", Dir::Logs, name),
    }
}

/// Reads a snapshot and checks all of it.
///
/// # Errors
/// `Damaged`, naming the offset in the unpacked bytes; and the file system's.
pub fn read_snapshot<F: Files>(files: &F, name: &str) -> Result<Database, StorageError> {
    let Some(zxid) = names::parse_snapshot(name) else {
        return Err(io::Error::from(io::ErrorKind::NotFound)).about("read", Dir::Snapshots, name);
    };
    snapshot::load(files, name, zxid, 0, Mutants::NONE)?.map_err(|unusable| StorageError::Damaged {
        dir: Dir::Snapshots,
        name: name.to_owned(),
        offset: unusable.offset,
        problem: unusable.problem,
        cure: CURE_RESYNC.to_owned(),
    })
}

/// What a start would find.
#[derive(Debug)]
pub struct Checkup {
    /// The snapshot that it would begin with; `None` if the directory is empty, or if the logs
    /// alone are believed.
    pub snapshot: Option<String>,
    /// Transactions that it would replay over it.
    pub replayed: u64,
    pub database: Database,
    /// The epoch files, as far as they exist.
    pub accepted: Option<Epoch>,
    pub current: Option<Epoch>,
    /// What it would change in the directory, and what it would tell the operator.
    pub notes: Vec<String>,
}

/// Reads a directory as a starting server does, up to `limit` if there is one.
///
/// # Errors
/// Exactly those with which a server would refuse to start, and the file system's.
pub fn check_up<F: Files>(files: &F, limit: Option<Zxid>) -> Result<Checkup, StorageError> {
    checked(files, recover::load(files, 0, Mutants::NONE, limit)?)
}

/// The same with `snapshot.trust.empty`: where there is no snapshot at all, the logs are believed
/// to hold everything.
///
/// # Errors
/// As [`check_up`].
pub fn check_up_trusting_logs<F: Files>(
    files: &F,
    limit: Option<Zxid>,
) -> Result<Checkup, StorageError> {
    let loaded = recover::load_trusting_logs(files, 0, Mutants::NONE, limit)?;
    checked(files, loaded)
}

fn checked<F: Files>(files: &F, mut loaded: recover::Loaded) -> Result<Checkup, StorageError> {
    let [accepted, current] = read_epochs(files)?;
    if loaded.snapshot.is_none() && loaded.recovery.replayed() == 0 {
        recover::refuse_epochs_alone(files)?;
    }
    let mut notes = core::mem::take(&mut loaded.notes);
    for (file, scanned) in &loaded.scans {
        let name = &file.name;
        if scanned.records == 0 {
            notes.push(format!(
                "{name} holds no transaction: a start would remove it"
            ));
        } else if file.is_last && scanned.ending == Ending::Torn {
            notes.push(format!(
                "{name} has a torn end, never acknowledged: a start would cut it at offset {}",
                scanned.end
            ));
        }
    }
    Ok(Checkup {
        snapshot: loaded.snapshot.map(|(_, name)| name),
        replayed: loaded.recovery.replayed(),
        database: loaded.recovery.finish(Epoch(0), Epoch(0)).database,
        accepted,
        current,
        notes,
    })
}
