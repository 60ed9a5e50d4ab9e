//! Removes snapshots and logs that recovery does not need any more.

use std::collections::BTreeSet;

use crate::cut::remove_all;
use crate::error::StorageError;
use crate::files::{Dir, Files};
use crate::recover::inventory;
use crate::snapshot::looks_finished;

/// Keeps the newest `retain` snapshots that were written to their end (ZOOKEEPER-3231), and every
/// log file that may hold a transaction after the oldest of them: also the one that begins at or
/// before its zxid (ZOOKEEPER-2574). Snapshots go before the logs that they would need.
/// `known` remembers the finished ones from call to call: a packed one has to be unpacked to be
/// sure. Returns how many files went.
pub(crate) fn purge<F: Files>(
    files: &mut F,
    retain: usize,
    known: &mut BTreeSet<String>,
) -> Result<usize, StorageError> {
    assert!(retain > 0, "no snapshot would be left");
    let found = inventory(files)?;
    let mut whole = Vec::new();
    for (zxid, name) in &found.snapshots {
        if known.contains(name) || looks_finished(files, name)? {
            known.insert(name.clone());
            whole.push(*zxid);
        }
        if whole.len() == retain {
            break;
        }
    }
    let Some(oldest) = whole.last().copied().filter(|_| whole.len() == retain) else {
        return Ok(0);
    };
    let old: Vec<&String> = found
        .snapshots
        .iter()
        .filter(|(zxid, _)| *zxid < oldest)
        .map(|(_, name)| name)
        .collect();
    known.retain(|name| !old.contains(&name));
    let snapshots_gone = old.len();
    remove_all(files, Dir::Snapshots, old.into_iter().rev())?;
    let keep = found
        .logs
        .partition_point(|log| log.first <= oldest)
        .saturating_sub(1);
    let logs = found.logs[..keep].iter().map(|log| &log.name);
    remove_all(files, Dir::Logs, logs)?;
    Ok(snapshots_gone + keep)
}
