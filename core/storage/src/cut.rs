//! Takes back history: TRUNC, and the log below a snapshot from the leader.

use vivarium_core::ids::Zxid;
use vivarium_core::mutants::{Mutant, Mutants};

use crate::error::{About, StorageError};
use crate::files::{Dir, Files};
use crate::log_format::HEADER_BYTES;
use crate::log_reader::{LogFile, scan};
use crate::log_writer::end_file;
use crate::names;
use crate::recover::{self, inventory};

/// Drops every transaction after `after` and every snapshot that holds one (ZOOKEEPER-4837). The
/// log has been synced and ended. Nothing is changed unless the rest can be loaded.
///
/// The steps go from the newest to the oldest, each stable before the next: whole log files, the
/// cut, then newer snapshots. A crash leaves a history that ends somewhere between `after` and the
/// old end, and that the newest snapshot still there begins. (Snapshots first would be wrong: where
/// a snapshot was of committed transactions that this server's own log lost, the log has a hole
/// that only the snapshot bridges.)
pub(crate) fn truncate<F: Files>(
    files: &mut F,
    after: Zxid,
    seed: u64,
    mutants: Mutants,
) -> Result<(), StorageError> {
    let found = inventory(files)?;
    let impossible = |reason: String| StorageError::TruncateImpossible { after, reason };
    let oldest = found.snapshots.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
    if after < oldest {
        return Err(impossible(format!("the oldest snapshot is of {oldest}")));
    }
    let rest = match recover::load(files, seed, mutants, Some(after)) {
        Ok(rest) => rest,
        Err(StorageError::Io {
            verb,
            dir,
            name,
            source,
        }) => {
            return Err(StorageError::Io {
                verb,
                dir,
                name,
                source,
            });
        }
        Err(e) => return Err(impossible(e.to_string())),
    };
    let newer = found.snapshots.iter().filter(|(zxid, _)| *zxid > after);
    let newer: Vec<&String> = newer.map(|(_, name)| name).collect();
    let reached = rest.recovery.zxid();
    if !newer.is_empty() && reached < after {
        return Err(impossible(format!(
            "without the newer snapshots the history ends at {reached}, before that"
        )));
    }
    if let Some((place, offset, end)) = rest.beyond {
        let offset = if mutants.has(Mutant::TruncOffByOne) {
            end
        } else {
            offset
        };
        let file = &rest.scans[place].0;
        let later: Vec<&LogFile> = found
            .logs
            .iter()
            .filter(|log| log.first > file.first)
            .collect();
        remove_all(files, Dir::Logs, later.iter().rev().map(|log| &log.name))?;
        cut_file(files, &file.name, offset)?;
    }
    remove_all(files, Dir::Snapshots, newer.into_iter())
}

/// Drops every transaction after `zxid` from the logs, whatever the older ones are worth: damage on
/// the way is cut off, too. For a snapshot of `zxid` that is about to replace everything.
pub(crate) fn drop_after<F: Files>(files: &mut F, zxid: Zxid) -> Result<(), StorageError> {
    let logs = inventory(files)?.logs;
    let keep = logs.partition_point(|log| log.first <= zxid);
    remove_all(
        files,
        Dir::Logs,
        logs[keep..].iter().rev().map(|log| &log.name),
    )?;
    let Some(file) = keep.checked_sub(1).map(|at| &logs[at]) else {
        return Ok(());
    };
    let mut offset = HEADER_BYTES;
    let mut found = false;
    let scanned = scan(files, file, &mut |record| {
        found = record.zxid > zxid;
        if !found {
            offset = record.end();
        }
        Ok(!found)
    });
    match scanned {
        Ok(_) if found => cut_file(files, &file.name, offset),
        Ok(_) => Ok(()),
        Err(StorageError::Damaged { .. }) => cut_file(files, &file.name, offset),
        Err(e) => Err(e),
    }
}

/// Cuts a log file, or removes it if no record is left.
fn cut_file<F: Files>(files: &mut F, name: &str, offset: u64) -> Result<(), StorageError> {
    if offset <= HEADER_BYTES {
        return remove_all(files, Dir::Logs, core::iter::once(&name.to_owned()));
    }
    let first = names::parse_log(name).expect("found as a log file");
    end_file(files, name, first, offset)
}

/// Removes files one after the other, each removal stable before the next.
pub(crate) fn remove_all<'n, F: Files>(
    files: &mut F,
    dir: Dir,
    names: impl Iterator<Item = &'n String>,
) -> Result<(), StorageError> {
    for name in names {
        files.remove(dir, name).about("remove", dir, name)?;
        files
            .sync_dir(dir)
            .about("sync the directory of", dir, name)?;
    }
    Ok(())
}
