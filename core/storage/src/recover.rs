//! From files to a database: which snapshot, which logs, and when the directory must be refused.
//!
//! Refused is every directory from which acknowledged history may be missing: no snapshot although
//! there are logs (ZOOKEEPER-2325), a hole between two transactions; and every one with rot in what
//! is read, because a disk that changes one byte is not to be trusted with others: the operator
//! decides. Accepted is what crashes leave: a torn end of the last log file, a half-made file, a
//! snapshot that ZooKeeper did not finish, where an older one and the logs hold the same.

use bytes::Bytes;
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::recovery::Recovery;

use crate::epochs;
use crate::error::{About, CURE_RESYNC, CURE_TRUST, StorageError};
use crate::files::{Dir, Files};
use crate::log_format::put_record;
use crate::log_reader::{Ending, LogFile, Record, Scan, scan, scan_on};
use crate::log_writer::end_file;
use crate::names;
use crate::snapshot;

/// May `next` be the transaction after `last`? Within an epoch the counter rises by one; the first
/// of a new epoch has counter 1 (0 is the epoch's NEWLEADER, never logged). The first rule on the
/// whole number covers standalone servers, whose counter runs over into the epoch.
pub(crate) fn follows(last: Zxid, next: Zxid) -> bool {
    next.0 == last.0.wrapping_add(1) || (next.epoch() > last.epoch() && next.counter() == 1)
}

/// What a directory holds, by name.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Newest first.
    pub(crate) snapshots: Vec<(Zxid, String)>,
    /// Oldest first.
    pub(crate) logs: Vec<LogFile>,
}

pub(crate) fn inventory<F: Files>(files: &F) -> Result<Inventory, StorageError> {
    let mut found = Inventory::default();
    for name in files
        .list(Dir::Snapshots)
        .about("list", Dir::Snapshots, "all files")?
    {
        if let Some(zxid) = names::parse_snapshot(&name) {
            found.snapshots.push((zxid, name));
        }
    }
    for name in files
        .list(Dir::Logs)
        .about("list", Dir::Logs, "all files")?
    {
        if let Some(first) = names::parse_log(&name) {
            let len = files
                .len(Dir::Logs, &name)
                .about("look up", Dir::Logs, &name)?;
            found.logs.push(LogFile {
                name,
                first,
                len,
                is_last: false,
            });
        }
    }
    found.snapshots.sort_unstable_by(|a, b| b.cmp(a));
    found.logs.sort_unstable_by_key(|file| file.first);
    if let Some(last) = found.logs.last_mut() {
        last.is_last = true;
    }
    Ok(found)
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) recovery: Recovery,
    /// The snapshot that it began with; `None` if the directory was empty.
    pub(crate) snapshot: Option<(Zxid, String)>,
    /// Log files that were read, oldest first, and how each ended.
    pub(crate) scans: Vec<(LogFile, Scan)>,
    /// Where the first transaction after the limit stands, if the reading came that far: the
    /// file's place in `scans`, and the record's offset and end.
    pub(crate) beyond: Option<(usize, u64, u64)>,
    /// What the operator should know.
    pub(crate) notes: Vec<String>,
}

impl Loaded {
    fn fresh(seed: u64, mutants: Mutants) -> Self {
        Self {
            recovery: Recovery::fresh(seed, mutants),
            snapshot: None,
            scans: Vec::new(),
            beyond: None,
            notes: Vec::new(),
        }
    }

    fn note_mismatches(&mut self) {
        let mismatches = self.recovery.digest_mismatches();
        if mismatches > 0 {
            self.notes.push(format!(
                "after {mismatches} of the replayed transactions the tree was not what their \
                 leader's digest says"
            ));
        }
    }
}

/// Reads the directory, changing nothing; with a limit as if nothing after it had happened.
pub(crate) fn load<F: Files>(
    files: &F,
    seed: u64,
    mutants: Mutants,
    limit: Option<Zxid>,
) -> Result<Loaded, StorageError> {
    let mut found = inventory(files)?;
    if let Some(limit) = limit {
        found.snapshots.retain(|(zxid, _)| *zxid <= limit);
    }
    if found.snapshots.is_empty() {
        return load_empty(files, &found, seed, mutants);
    }
    let mut passed = Passed::default();
    let (loaded_from, recovery) = newest_snapshot(files, &found, seed, mutants, &mut passed)?;
    let start = loaded_from.0;
    let mut loaded = Loaded {
        recovery,
        snapshot: Some(loaded_from),
        scans: Vec::new(),
        beyond: None,
        notes: Vec::new(),
    };
    // The file that holds start + 1 is the newest that begins at or before it.
    let from = found
        .logs
        .partition_point(|file| file.first.0 <= start.0.wrapping_add(1));
    for file in &found.logs[from.saturating_sub(1)..] {
        if !replay(files, file, start, limit, &mut passed, &mut loaded)? {
            break;
        }
    }
    passed.settle(&mut loaded, limit)?;
    loaded.note_mismatches();
    Ok(loaded)
}

fn load_empty<F: Files>(
    files: &F,
    found: &Inventory,
    seed: u64,
    mutants: Mutants,
) -> Result<Loaded, StorageError> {
    let mut loaded = Loaded::fresh(seed, mutants);
    for file in &found.logs {
        let scanned = scan(files, file, &mut |_| Ok(false))?;
        if scanned.records > 0 {
            return Err(StorageError::Inconsistent {
                problem: format!(
                    "{} holds transactions, but there is no snapshot that they follow: what was \
                     before them is missing",
                    file.name
                ),
                cure: CURE_TRUST.to_owned(),
            });
        }
        loaded.scans.push((file.clone(), scanned));
    }
    Ok(loaded)
}

/// Like [`load`], but where there is no snapshot at all the logs are believed to hold everything:
/// old releases of ZooKeeper wrote the first snapshot late (ZOOKEEPER-3056). They are not believed
/// blindly: the first transaction must be the first of its epoch.
pub(crate) fn load_trusting_logs<F: Files>(
    files: &F,
    seed: u64,
    mutants: Mutants,
    limit: Option<Zxid>,
) -> Result<Loaded, StorageError> {
    let found = inventory(files)?;
    if !found.snapshots.is_empty() {
        return load(files, seed, mutants, limit);
    }
    let mut loaded = Loaded::fresh(seed, mutants);
    let mut passed = Passed::default();
    for file in &found.logs {
        if !replay(files, file, Zxid::ZERO, limit, &mut passed, &mut loaded)? {
            break;
        }
    }
    if loaded.recovery.replayed() > 0 {
        loaded.notes.push(
            "there was no snapshot, and the logs were believed to hold everything, as \
             snapshot.trust.empty asks"
                .to_owned(),
        );
    }
    loaded.note_mismatches();
    Ok(loaded)
}

/// Epochs without any snapshot are what remains when history was lost: every server has a
/// snapshot before it has an epoch.
pub(crate) fn refuse_epochs_alone<F: Files>(files: &F) -> Result<(), StorageError> {
    for name in [names::ACCEPTED_EPOCH, names::CURRENT_EPOCH] {
        if let Some(epoch) = epochs::read(files, name)?
            && epoch > Epoch(0)
        {
            return Err(StorageError::inconsistent(format!(
                "{name} says {epoch}, but there is neither a snapshot nor a log: this server's \
                 history is missing"
            )));
        }
    }
    Ok(())
}

/// A snapshot that could not be used.
#[derive(Debug)]
struct Damage {
    zxid: Zxid,
    name: String,
    offset: u64,
    problem: String,
    /// It was written to its end, so no crash made it unusable.
    is_rot: bool,
    /// Replaying from an older snapshot came across exactly its zxid.
    covered: bool,
}

/// Snapshots newer than the one that was used.
///
/// Going on from an older one is right only if the logs lead from it to the newer one's zxid. That
/// no hole is seen on the way is not enough: between the last record of one epoch and the first of
/// a later one, epochs may be missing that this server only ever received inside the newer
/// snapshot. So a record with exactly that zxid must be met.
#[derive(Debug, Default)]
struct Passed {
    damage: Vec<Damage>,
}

impl Passed {
    fn refuse(damage: &Damage, why: &str, cure: &str) -> StorageError {
        StorageError::Damaged {
            dir: Dir::Snapshots,
            name: damage.name.clone(),
            offset: damage.offset,
            problem: format!("{}; {why}", damage.problem),
            cure: cure.to_owned(),
        }
    }

    fn see(&mut self, zxid: Zxid) {
        for damage in self.damage.iter_mut().filter(|damage| damage.zxid == zxid) {
            damage.covered = true;
        }
    }

    fn settle(&self, loaded: &mut Loaded, limit: Option<Zxid>) -> Result<(), StorageError> {
        for damage in &self.damage {
            assert!(
                limit.is_none_or(|limit| damage.zxid <= limit),
                "taken within the limit"
            );
            let used = loaded.snapshot.as_ref().map_or("none", |(_, name)| name);
            if !damage.covered {
                let why = format!("{used} is older and whole, but the logs do not lead on to it");
                return Err(Self::refuse(damage, &why, CURE_RESYNC));
            }
            if damage.is_rot {
                let cure = format!(
                    "move {} out of version-2 and start again, {used} and the logs are whole and \
                     hold all of it; or restore it from a backup",
                    damage.name
                );
                return Err(Self::refuse(damage, "it was written to its end", &cure));
            }
            loaded.notes.push(format!(
                "{} is not usable (offset {}: {}); {used} and the logs hold all of it",
                damage.name, damage.offset, damage.problem
            ));
        }
        Ok(())
    }
}

/// The newest snapshot that is whole; newer ones go to `passed`.
fn newest_snapshot<F: Files>(
    files: &F,
    found: &Inventory,
    seed: u64,
    mutants: Mutants,
    passed: &mut Passed,
) -> Result<((Zxid, String), Recovery), StorageError> {
    let mut chosen = None;
    for (zxid, name) in &found.snapshots {
        match snapshot::load(files, name, *zxid, seed, mutants)? {
            Ok(database) => {
                chosen = Some(((*zxid, name.clone()), Recovery::from_snapshot(database)));
                break;
            }
            Err(unusable) => passed.damage.push(Damage {
                zxid: *zxid,
                name: name.clone(),
                offset: unusable.offset,
                problem: unusable.problem,
                is_rot: snapshot::looks_finished(files, name)?,
                covered: false,
            }),
        }
    }
    chosen.ok_or_else(|| {
        let newest = passed
            .damage
            .first()
            .expect("no snapshot was chosen, so some were passed");
        Passed::refuse(newest, "no other snapshot is usable", CURE_RESYNC)
    })
}

/// Replays one log file. False when the limit was reached.
fn replay<F: Files>(
    files: &F,
    file: &LogFile,
    start: Zxid,
    limit: Option<Zxid>,
    passed: &mut Passed,
    loaded: &mut Loaded,
) -> Result<bool, StorageError> {
    let place = loaded.scans.len();
    let mut previous: Option<Bytes> = None;
    let recovery = &mut loaded.recovery;
    let beyond = &mut loaded.beyond;
    let scanned = scan(files, file, &mut |record| {
        if limit.is_some_and(|limit| record.zxid > limit) {
            *beyond = Some((place, record.offset, record.end()));
            return Ok(false);
        }
        passed.see(record.zxid);
        if record.zxid <= start && recovery.zxid() == start {
            return Ok(true);
        }
        // ZooKeeper may log a proposal twice around a synchronization: the same bytes again.
        if record.zxid == recovery.zxid() && previous.as_ref() == Some(&record.txn) {
            return Ok(true);
        }
        if !follows(recovery.zxid(), record.zxid) {
            return Err(hole(file, record, recovery.zxid()));
        }
        recovery
            .replay(record.txn.clone())
            .map_err(|e| damaged(file, record.offset, e.to_string()))?;
        assert_eq!(
            recovery.zxid(),
            record.zxid,
            "a replayed transaction is applied"
        );
        previous = Some(record.txn.clone());
        Ok(true)
    })?;
    loaded.scans.push((file.clone(), scanned));
    Ok(loaded.beyond.is_none())
}

fn hole(file: &LogFile, record: &Record, last: Zxid) -> StorageError {
    let problem = if record.zxid > last {
        format!(
            "transaction {} follows {last}: those between are missing, a log file or the end of \
             one was lost",
            record.zxid
        )
    } else {
        format!(
            "transaction {} follows {last}: the history goes backwards",
            record.zxid
        )
    };
    damaged(file, record.offset, problem)
}

fn damaged(file: &LogFile, offset: u64, problem: String) -> StorageError {
    StorageError::Damaged {
        dir: Dir::Logs,
        name: file.name.clone(),
        offset,
        problem,
        cure: CURE_RESYNC.to_owned(),
    }
}

/// Writes the records from an offset on to where they are. The process before this one may have
/// ended because a sync failed. Then the system shows bytes that are not on disk and takes them for
/// clean: a sync would succeed and write nothing. Nothing is written but what has its checksum.
fn write_again<F: Files>(
    files: &mut F,
    file: &LogFile,
    from: u64,
    to: u64,
) -> Result<(), StorageError> {
    if from >= to {
        return Ok(());
    }
    let mut records = Vec::new();
    let end = scan_on(files, file, from, &mut |record| {
        put_record(&record.txn, &mut records);
    })?;
    if end != to {
        let problem = format!("it was read twice, and ended at {to} and at {end}");
        return Err(damaged(file, from, problem));
    }
    files
        .write_at(Dir::Logs, &file.name, from, &records)
        .about("write", Dir::Logs, &file.name)
}

/// Makes what was read stable, and the end of the log clean: after a kill the last writes may be
/// visible and yet not on disk, and nothing may be built on them before they are; a torn end is cut
/// before anything follows it. Files without a record go away, so that the next first append finds
/// its name free.
pub(crate) fn settle<F: Files>(files: &mut F, loaded: &mut Loaded) -> Result<(), StorageError> {
    if let Some((_, name)) = &loaded.snapshot {
        files
            .sync(Dir::Snapshots, name)
            .about("sync", Dir::Snapshots, name)?;
    }
    for tmp in [names::BACKGROUND_TMP, names::INSTALL_TMP] {
        snapshot::discard(files, tmp)?;
    }
    for (file, scanned) in &loaded.scans {
        let name = &file.name;
        if scanned.records == 0 {
            files
                .remove(Dir::Logs, name)
                .about("remove", Dir::Logs, name)?;
            loaded
                .notes
                .push(format!("{name} held no transaction and was removed"));
            continue;
        }
        if let Some(synced) = scanned.synced.filter(|_| file.is_last) {
            write_again(files, file, synced, scanned.end)?;
        }
        files.sync(Dir::Logs, name).about("sync", Dir::Logs, name)?;
        let is_torn = scanned.ending == Ending::Torn;
        if !file.is_last || !(is_torn || scanned.synced.is_some()) {
            continue;
        }
        end_file(files, name, file.first, scanned.end)?;
        if is_torn {
            let last = scanned
                .last
                .map_or_else(String::new, |zxid| format!(" ({zxid})"));
            loaded.notes.push(format!(
                "{name} had a torn end, never acknowledged: cut at offset {} behind the last whole \
                 transaction{last}",
                scanned.end
            ));
        }
    }
    files
        .sync_dir(Dir::Logs)
        .about("sync", Dir::Logs, "the directory")?;
    files
        .sync_dir(Dir::Snapshots)
        .about("sync", Dir::Snapshots, "the directory")
}
