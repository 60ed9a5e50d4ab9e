//! A data directory in use: writes in, and after a restart the state that they made.
//!
//! Writes become stable in the order in which they were performed: an epoch, a truncation and an
//! installed snapshot first make all earlier appends stable. So a crash leaves the effect of some
//! prefix of the writes, which reaches at least to the last sync.
//!
//! A full disk is no failure: the write that found no room may be repeated until there is some, and
//! a reserve that was taken while there was lets what is under way end well.

use std::collections::BTreeSet;

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::mutants::{Mutant, Mutants};
use vivarium_core::recovery::{Recovered, Recovery};
use vivarium_core::wire::txn::TxnHeader;

use crate::cut;
use crate::epochs::{self, Epochs};
use crate::error::{About, StorageError};
use crate::files::{Dir, Files};
use crate::log_writer::LogWriter;
use crate::names;
use crate::packing::Packing;
use crate::purge::purge;
use crate::recover::{self, follows};
use crate::reserve;
use crate::snapshot::{self, SnapshotWriter};

/// How a directory is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Size of a log file: ZooKeeper's `preAllocSize`. A file is never larger, unless one
    /// transaction is; the next one begins instead. At least a few KiB make sense.
    pub prealloc_bytes: u64,
    /// Snapshots kept by a purge: `autopurge.snapRetainCount`. At least 1.
    pub snap_retain: usize,
    /// Purge after each new snapshot, besides when [`Store::purge`] is called.
    pub purge_with_snapshot: bool,
    /// Room that is kept for when there is none: a log file of so many bytes, and a little for the
    /// epochs. 0: none is kept.
    pub reserve_bytes: u64,
    /// How new snapshots are packed: `snapshot.compression.method`. Any are read.
    pub packing: Packing,
    /// Where there is no snapshot at all, believe that the logs hold everything:
    /// `snapshot.trust.empty`.
    pub trust_empty: bool,
    /// For the database's hash tables.
    pub seed: u64,
    pub mutants: Mutants,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prealloc_bytes: 64 << 20,
            snap_retain: 3,
            purge_with_snapshot: true,
            reserve_bytes: 0,
            packing: Packing::Plain,
            trust_empty: false,
            seed: 0,
            mutants: Mutants::NONE,
        }
    }
}

/// Room for an epoch file that replaces another, in blocks of any file system.
const BALLAST_BYTES: u64 = 64 << 10;

/// What the caller has to do after a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Performed {
    Done,
    /// The history was cut: call [`Store::reload`] before any other write.
    Reload,
}

/// One data directory.
#[derive(Debug)]
pub struct Store<F> {
    files: F,
    options: Options,
    log: LogWriter,
    /// The last transaction: of the log, or of the snapshot if that is newer.
    last: Zxid,
    /// The background snapshot. `None` also while the steps of one that was overtaken by a
    /// truncation or an install still come in: they have no effect.
    background: Option<SnapshotWriter>,
    install: Option<SnapshotWriter>,
    /// Snapshots that are known to have been written to their end.
    whole: BTreeSet<String>,
    has_ballast: bool,
    notes: Vec<String>,
    reload_due: bool,
    /// A write or sync failed. What is on disk is unknown, and a later sync that succeeds would
    /// prove nothing: the kernel reports a failed write-back once.
    failed: bool,
}

impl<F: Files> Store<F> {
    /// Opens a directory and recovers its state; an empty one becomes a directory with zxid 0.
    ///
    /// Afterwards all that the state rests on is stable, and a torn end of the log is cut.
    ///
    /// # Errors
    /// The file system's, and every directory from which acknowledged history may be missing (see
    /// the modules `recover` and `log_reader`); the message names file, offset and cure.
    pub fn open(files: F, options: Options) -> Result<(Self, Recovered), StorageError> {
        assert!(
            options.snap_retain > 0,
            "at least one snapshot must be kept"
        );
        let mut store = Self {
            files,
            options,
            log: LogWriter::new(
                options.prealloc_bytes,
                options.reserve_bytes,
                options.mutants,
            ),
            last: Zxid::ZERO,
            background: None,
            install: None,
            whole: BTreeSet::new(),
            has_ballast: false,
            notes: Vec::new(),
            reload_due: false,
            failed: false,
        };
        // An earlier process may have died while it made them.
        reserve::release(&mut store.files, Dir::Logs, names::SPARE_LOG)?;
        reserve::release(&mut store.files, Dir::Snapshots, names::BALLAST)?;
        let recovered = match store.recover() {
            // All was read, and what it has to write finds no room: old files make some.
            Err(e) if e.is_full() && store.purge() > 0 => store.recover()?,
            recovered => recovered?,
        };
        store.make_reserve()?;
        Ok((store, recovered))
    }

    /// Reads the directory again, after [`Performed::Reload`].
    pub fn reload(&mut self) -> Result<Recovered, StorageError> {
        self.guarded(|store| {
            store.log.roll(&mut store.files)?;
            let recovered = store.recover()?;
            store.reload_due = false;
            Ok(recovered)
        })
    }

    /// Carries out one write. Appends are stable after the next [`Self::sync`], everything else
    /// when this returns.
    ///
    /// # Errors
    /// With [`StorageError::is_full`] the same write may be repeated, and no other may come before
    /// it has succeeded, but a sync. After any other error nothing is tried again.
    ///
    /// # Panics
    /// If an append does not continue the history: its zxid must be the next.
    pub fn perform(&mut self, op: &WriteOp) -> Result<Performed, StorageError> {
        self.guarded(|store| store.perform_unguarded(op))
    }

    /// Everything performed so far is stable afterwards, new names included. May be repeated as
    /// [`Self::perform`] may.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        self.guarded(|store| store.log.sync(&mut store.files))
    }

    /// One step of the background snapshot. `Begin` also ends the current log file, as in
    /// ZooKeeper; `End` makes the snapshot stable, then removes what recovery does not need any
    /// more. A truncation or an install forgets a snapshot that is under way; its further steps
    /// are ignored.
    ///
    /// # Errors
    /// The snapshot is given up; the directory is as usable as before, unless [`Self::sync`] says
    /// otherwise.
    pub fn snapshot_step(&mut self, step: &SnapshotStep) -> Result<(), StorageError> {
        if matches!(step, SnapshotStep::Begin { .. }) {
            self.guarded(|store| store.log.roll(&mut store.files))?;
        }
        if self.failed {
            return Err(StorageError::FailedBefore);
        }
        let mut result = self.snapshot_step_unguarded(step);
        if result.as_ref().is_err_and(StorageError::is_full) && self.purge() > 0 {
            result = self.snapshot_step_unguarded(step);
        }
        if result.is_err() {
            self.drop_background();
        }
        result
    }

    /// Gives the room of a background snapshot back.
    fn drop_background(&mut self) {
        self.background = None;
        if let Err(e) = snapshot::discard(&mut self.files, names::BACKGROUND_TMP) {
            self.notes.push(e.to_string());
        }
    }

    /// Is a part of the reserve used up, or was there never room for it?
    pub fn is_low(&self) -> bool {
        self.options.reserve_bytes > 0 && (self.log.lacks_spare() || !self.has_ballast)
    }

    /// Takes the room of the reserve again, as far as there is any: see [`Self::is_low`].
    ///
    /// # Errors
    /// Others than that the disk is full.
    pub fn make_reserve(&mut self) -> Result<(), StorageError> {
        if self.options.reserve_bytes == 0 {
            return Ok(());
        }
        self.guarded(|store| {
            if !store.has_ballast {
                let (dir, name) = (Dir::Snapshots, names::BALLAST);
                store.has_ballast =
                    reserve::take(&mut store.files, dir, name, &[0], BALLAST_BYTES)?;
            }
            store.log.make_spare(&mut store.files)
        })
    }

    /// Removes what neither recovery nor anybody who reads the directory needs: see the module
    /// `purge`. What could not be removed is noted and tried again the next time. Learners are
    /// synchronized from memory, so none of them reads a file that could go. Returns how many
    /// files went.
    pub fn purge(&mut self) -> usize {
        if self.failed {
            return 0;
        }
        let retain = self.options.snap_retain;
        purge(&mut self.files, retain, &mut self.whole).unwrap_or_else(|e| {
            self.notes
                .push(format!("old files were not all removed: {e}"));
            0
        })
    }

    /// The directory's files.
    pub fn files(&self) -> &F {
        &self.files
    }

    /// For a simulator that makes its disk fail. Changing the content breaks what this type knows.
    pub fn files_mut(&mut self) -> &mut F {
        &mut self.files
    }

    /// Ends the use; what was not synced is lost.
    pub fn into_files(self) -> F {
        self.files
    }

    /// The last transaction that was appended, or that the newest snapshot holds.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Bytes of all log files, or of all snapshots, as `conf` and `mntr` tell them.
    pub fn bytes(&self, dir: Dir) -> Result<u64, StorageError> {
        let mut sum = 0;
        for name in self.files.list(dir).about("list", dir, "all files")? {
            let counts = match dir {
                Dir::Logs => names::parse_log(&name).is_some(),
                Dir::Snapshots => names::parse_snapshot(&name).is_some(),
            };
            if counts {
                sum += self.files.len(dir, &name).about("look up", dir, &name)?;
            }
        }
        Ok(sum)
    }

    /// What recovery and purge have to tell the operator, each line once.
    pub fn take_notes(&mut self) -> Vec<String> {
        core::mem::take(&mut self.notes)
    }

    /// After a failure nothing is tried again, unless the disk is only full.
    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        if self.failed {
            return Err(StorageError::FailedBefore);
        }
        let result = act(self);
        self.failed = result.as_ref().is_err_and(|e| !e.is_full());
        result
    }

    fn recover(&mut self) -> Result<Recovered, StorageError> {
        let Options { seed, mutants, .. } = self.options;
        let mut loaded = if self.options.trust_empty {
            recover::load_trusting_logs(&self.files, seed, mutants, None)?
        } else {
            recover::load(&self.files, seed, mutants, None)?
        };
        if loaded.snapshot.is_none() && loaded.recovery.replayed() == 0 {
            recover::refuse_epochs_alone(&self.files)?;
        }
        recover::settle(&mut self.files, &mut loaded)?;
        self.last = loaded.recovery.zxid();
        self.notes.append(&mut loaded.notes);
        let is_fresh = loaded.snapshot.is_none();
        let recovered = self.with_epochs(loaded.recovery, is_fresh)?;
        assert!(
            recovered.accepted >= recovered.current,
            "a promise was forgotten"
        );
        assert_eq!(recovered.database.applied(), self.last);
        self.log.restart();
        Ok(recovered)
    }

    fn with_epochs(
        &mut self,
        recovery: Recovery,
        is_fresh: bool,
    ) -> Result<Recovered, StorageError> {
        let last = recovery.zxid();
        let mut recovered = recovery.finish(Epoch(0), Epoch(0));
        if is_fresh {
            assert_eq!(recovered.database.applied(), last);
            snapshot::write_database(
                &mut self.files,
                names::BACKGROUND_TMP,
                self.options.packing,
                &mut recovered.database,
            )?;
        }
        let Epochs { accepted, current } = if self.options.mutants.has(Mutant::EpochNotPersisted) {
            Epochs {
                accepted: last.epoch(),
                current: last.epoch(),
            }
        } else {
            epochs::load(&mut self.files, last, self.options.mutants)?
        };
        recovered.accepted = accepted;
        recovered.current = current;
        Ok(recovered)
    }

    fn perform_unguarded(&mut self, op: &WriteOp) -> Result<Performed, StorageError> {
        if self.reload_due {
            assert!(
                matches!(op, WriteOp::Truncate { .. }),
                "{op:?} before the directory was read again"
            );
            return Ok(Performed::Reload);
        }
        match op {
            WriteOp::Append { zxid, record } => {
                assert!(self.install.is_none(), "{zxid} appended inside an install");
                assert!(
                    follows(self.last, *zxid),
                    "{zxid} is appended, which does not follow {}",
                    self.last
                );
                let header = TxnHeader::peek(record).map(|header| header.zxid);
                assert_eq!(
                    header,
                    Ok(*zxid),
                    "a record is appended under another's zxid"
                );
                self.append(*zxid, record)?;
            }
            WriteOp::AcceptedEpoch(epoch) => {
                self.log.sync(&mut self.files)?;
                if !self.options.mutants.has(Mutant::EpochNotPersisted) {
                    self.write_epoch(epochs::write_accepted, *epoch)?;
                }
            }
            WriteOp::CurrentEpoch(epoch) => {
                // Never a new epoch over a history that is not there yet (ZOOKEEPER-4643).
                self.log.sync(&mut self.files)?;
                assert!(!self.log.is_dirty());
                if !self.options.mutants.has(Mutant::EpochNotPersisted) {
                    self.write_epoch(epochs::write_current, *epoch)?;
                }
            }
            WriteOp::Truncate { after } => {
                self.log.roll(&mut self.files)?;
                self.background = None;
                let Options { seed, mutants, .. } = self.options;
                match cut::truncate(&mut self.files, *after, seed, mutants) {
                    // Nothing was changed: the machine sees that from what is read again.
                    Err(e @ StorageError::TruncateImpossible { .. }) => {
                        self.notes.push(e.to_string());
                    }
                    other => other?,
                }
                self.reload_due = true;
                return Ok(Performed::Reload);
            }
            WriteOp::Install(step) => self.install_step(step)?,
        }
        Ok(Performed::Done)
    }

    /// Where there is no room, a snapshot under way and old files make some, then the spare file
    /// takes the record.
    fn append(&mut self, zxid: Zxid, record: &[u8]) -> Result<(), StorageError> {
        match self.log.append(&mut self.files, zxid, record, false) {
            Err(e) if e.is_full() => {
                if self.background.is_some() {
                    self.drop_background();
                }
                self.purge();
                let again = self.log.append(&mut self.files, zxid, record, true);
                let is_full = again.as_ref().is_err_and(StorageError::is_full);
                if !(is_full && self.options.mutants.has(Mutant::RefusedWriteCounted)) {
                    again?;
                }
            }
            other => other?,
        }
        self.last = zxid;
        Ok(())
    }

    fn write_epoch(
        &mut self,
        write: fn(&mut F, Epoch, Mutants) -> Result<(), StorageError>,
        epoch: Epoch,
    ) -> Result<(), StorageError> {
        let mutants = self.options.mutants;
        match write(&mut self.files, epoch, mutants) {
            Err(e) if e.is_full() && self.has_ballast => {
                self.has_ballast = false;
                reserve::release(&mut self.files, Dir::Snapshots, names::BALLAST)?;
                write(&mut self.files, epoch, mutants)
            }
            other => other,
        }
    }

    fn install_step(&mut self, step: &SnapshotStep) -> Result<(), StorageError> {
        match step {
            SnapshotStep::Begin { zxid } => {
                assert!(self.install.is_none(), "two installs at once");
                self.log.sync(&mut self.files)?;
                let writer = SnapshotWriter::begin(
                    &mut self.files,
                    names::INSTALL_TMP,
                    *zxid,
                    self.options.packing,
                )?;
                self.install = Some(writer);
            }
            SnapshotStep::Chunk(bytes) => {
                let writer = self.install.as_mut().expect("an install was begun");
                writer.write(&mut self.files, bytes)?;
            }
            SnapshotStep::End { zxid, digest } => {
                let writer = self.install.as_mut().expect("an install was begun");
                assert_eq!(writer.zxid(), *zxid, "an install ends as it was begun");
                writer.seal(&mut self.files, *digest)?;
                self.log.roll(&mut self.files)?;
                let writer = self.install.take().expect("seen above");
                self.finish_install(writer)?;
            }
            SnapshotStep::Abandon => {
                self.install = None;
                snapshot::discard(&mut self.files, names::INSTALL_TMP)?;
            }
        }
        Ok(())
    }

    /// Replaces all that this server had.
    ///
    /// 1. The content is stable under a name that recovery ignores. A crash: the old state.
    /// 2. The logs lose what comes after the snapshot's zxid, which the leader never had. A crash:
    ///    the old state without the end that no quorum has, or up to its own newest snapshot. It
    ///    must come before 3, or that end would be replayed over the new snapshot (ZOOKEEPER-2832).
    /// 3. The snapshot gets its name. From here on a crash leaves the new state, or, while an own
    ///    snapshot with a larger zxid is still there, the old one of that.
    /// 4. Older history goes: it does not lead to the new snapshot, so nobody may begin with it or
    ///    send it to others (ZOOKEEPER-2846).
    fn finish_install(&mut self, writer: SnapshotWriter) -> Result<(), StorageError> {
        let zxid = writer.zxid();
        self.background = None;
        cut::drop_after(&mut self.files, zxid)?;
        let name = writer.publish(&mut self.files)?;
        let found = recover::inventory(&self.files)?;
        let snapshots = found.snapshots.iter().map(|(_, name)| name);
        let others = snapshots.filter(|other| **other != name);
        cut::remove_all(&mut self.files, Dir::Snapshots, others)?;
        cut::remove_all(
            &mut self.files,
            Dir::Logs,
            found.logs.iter().map(|log| &log.name),
        )?;
        self.last = zxid;
        Ok(())
    }

    fn snapshot_step_unguarded(&mut self, step: &SnapshotStep) -> Result<(), StorageError> {
        match step {
            SnapshotStep::Begin { zxid } => {
                let writer = SnapshotWriter::begin(
                    &mut self.files,
                    names::BACKGROUND_TMP,
                    *zxid,
                    self.options.packing,
                )?;
                self.background = Some(writer);
            }
            SnapshotStep::Chunk(bytes) => {
                if let Some(writer) = &mut self.background {
                    writer.write(&mut self.files, bytes)?;
                }
            }
            SnapshotStep::End { zxid, digest } => {
                let Some(writer) = &mut self.background else {
                    return Ok(());
                };
                assert_eq!(writer.zxid(), *zxid, "a snapshot ends as it was begun");
                writer.seal(&mut self.files, *digest)?;
                let writer = self.background.take().expect("seen above");
                self.whole.insert(writer.publish(&mut self.files)?);
                if self.options.purge_with_snapshot {
                    self.purge();
                }
            }
            SnapshotStep::Abandon => {
                self.background = None;
                snapshot::discard(&mut self.files, names::BACKGROUND_TMP)?;
            }
        }
        Ok(())
    }
}
