//! `acceptedEpoch` and `currentEpoch`: decimal numbers, replaced atomically.

use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::mutants::{Mutant, Mutants};

use crate::error::{About, CURE_RESYNC, MAKE_STABLE, StorageError};
use crate::files::{Dir, Files};
use crate::names::{ACCEPTED_EPOCH, CURRENT_EPOCH, TMP_SUFFIX};
use crate::reserve;

/// Longest content: an i64 and a line end.
const CONTENT_BYTES_MAX: usize = 24;

/// Both promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Epochs {
    pub(crate) accepted: Epoch,
    pub(crate) current: Epoch,
}

/// Replaces an epoch file; stable when this returns.
fn write<F: Files>(
    files: &mut F,
    name: &str,
    epoch: Epoch,
    mutants: Mutants,
) -> Result<(), StorageError> {
    let tmp = format!("{name}{TMP_SUFFIX}");
    let text = epoch.0.to_string();
    let dir = Dir::Snapshots;
    let written = files
        .write_at(dir, &tmp, 0, text.as_bytes())
        .about("write", dir, &tmp)
        .and_then(|()| {
            files
                .set_len(dir, &tmp, text.len() as u64)
                .about("cut", dir, &tmp)
        })
        .and_then(|()| files.sync(dir, &tmp).about(MAKE_STABLE, dir, &tmp));
    if let Err(e) = written {
        if e.is_full() {
            reserve::release(files, dir, &tmp)?;
        }
        return Err(e);
    }
    files.rename(dir, &tmp, name).about("rename", dir, &tmp)?;
    if mutants.has(Mutant::RenameNotSynced) {
        return Ok(());
    }
    files
        .sync_dir(dir)
        .about("sync the directory of", dir, name)
}

pub(crate) fn write_accepted<F: Files>(
    files: &mut F,
    epoch: Epoch,
    mutants: Mutants,
) -> Result<(), StorageError> {
    write(files, ACCEPTED_EPOCH, epoch, mutants)
}

pub(crate) fn write_current<F: Files>(
    files: &mut F,
    epoch: Epoch,
    mutants: Mutants,
) -> Result<(), StorageError> {
    write(files, CURRENT_EPOCH, epoch, mutants)
}

/// An epoch file's content; `None` if there is no such file.
pub(crate) fn read<F: Files>(files: &F, name: &str) -> Result<Option<Epoch>, StorageError> {
    let dir = Dir::Snapshots;
    let names = files.list(dir).about("list", dir, name)?;
    if !names.iter().any(|n| n == name) {
        return Ok(None);
    }
    let mut bytes = [0; CONTENT_BYTES_MAX];
    let n = files
        .read_at(dir, name, 0, &mut bytes)
        .about("read", dir, name)?;
    let text = core::str::from_utf8(&bytes[..n]).unwrap_or_default().trim();
    match text.parse::<i64>() {
        Ok(epoch) if (0..=i64::from(i32::MAX)).contains(&epoch) => Ok(Some(Epoch(epoch))),
        _ => Err(StorageError::Damaged {
            dir,
            name: name.to_owned(),
            offset: 0,
            problem: format!(
                "it should hold one epoch number and holds {:?}",
                &bytes[..n].escape_ascii().to_string()
            ),
            cure: CURE_RESYNC.to_owned(),
        }),
    }
}

/// Reads both files of a directory whose history ends at `last`; creates and mends them where a
/// crash or an older server explains what is missing.
///
/// - A file is missing: servers before 3.4.6 and standalone ones have none. The epoch of the last
///   transaction is what they stood for.
/// - `currentEpoch` is older than the last transaction: the crash came between the history of a new
///   leader and the epoch (ZOOKEEPER-1653, 2354). A transaction of epoch e is received after all
///   that e's leader began with, so the history is that of e, and `acceptedEpoch` tells that this
///   server had promised itself to e. Then `currentEpoch` is raised. Without that promise the
///   temporary file may tell (ZOOKEEPER-4269); otherwise the files come from different servers.
pub(crate) fn load<F: Files>(
    files: &mut F,
    last: Zxid,
    mutants: Mutants,
) -> Result<Epochs, StorageError> {
    let stored_accepted = read(files, ACCEPTED_EPOCH)?;
    let stored_current = read(files, CURRENT_EPOCH)?;
    let reached = last.epoch();
    let mut current = stored_current.unwrap_or(reached);
    let accepted = stored_accepted.unwrap_or(reached);
    if reached > current {
        current = if stored_accepted.is_some_and(|accepted| accepted >= reached) {
            reached
        } else {
            let tmp = read(files, &format!("{CURRENT_EPOCH}{TMP_SUFFIX}"))?;
            tmp.filter(|tmp| *tmp >= reached).ok_or_else(|| {
                StorageError::inconsistent(format!(
                    "the last transaction is {last} of epoch {reached}, but {CURRENT_EPOCH} says \
                     {current}: the files of version-2 do not belong together"
                ))
            })?
        };
    }
    if accepted < current {
        return Err(StorageError::inconsistent(format!(
            "{ACCEPTED_EPOCH} says {accepted}, which is less than {CURRENT_EPOCH} with {current}: \
             the files of version-2 do not belong together"
        )));
    }
    // In the order in which they are promised.
    if stored_accepted != Some(accepted) {
        write_accepted(files, accepted, mutants)?;
    }
    if stored_current != Some(current) {
        write_current(files, current, mutants)?;
    }
    Ok(Epochs { accepted, current })
}
