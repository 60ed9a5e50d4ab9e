//! The data directory behind the disk threads: `vivarium-storage` on real files, its errors turned
//! into text, its notes into log lines.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::mutants::Mutants;
use vivarium_core::recovery::Recovered;
use vivarium_storage::{
    BACKGROUND_TMP, Dir, LOCK_NAME, Options, Performed, RealFiles, StorageError, Store,
};

use super::disk::{Disk, Presync, Trouble};
use super::timed::TimedFiles;
use crate::config::Settings;
use crate::meter::Meter;
use crate::owner::{self, Owner};

/// A directory that is recovered and ready to be written.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) recovered: Recovered,
    pub(super) disk: Directory,
    pub(super) presync: SnapshotFile,
}

/// Creates and locks the directories.
///
/// # Errors
/// Names the path; another server that holds the lock, by its process id where known.
pub(super) fn lock(settings: &Settings) -> io::Result<RealFiles> {
    RealFiles::open(&settings.data_dir, &settings.log_dir).map_err(|error| {
        let dirs = [&settings.data_dir, &settings.log_dir];
        match dirs
            .iter()
            .find_map(|dir| owner::of_lock(&dir.join(LOCK_NAME)))
        {
            Some(Owner { pid, name }) => {
                io::Error::new(error.kind(), format!("{error} (process {pid}, {name})"))
            }
            None => error,
        }
    })
}

/// Recovers the state.
///
/// # Errors
/// Text for the operator: file, offset, cure.
pub(super) fn open(settings: &Settings, files: RealFiles, seed: u64) -> Result<Opened, String> {
    let path = files.path(Dir::Snapshots).join(BACKGROUND_TMP);
    let options = Options {
        snap_retain: settings.snap_retain,
        purge_with_snapshot: false,
        reserve_bytes: settings.disk_reserve,
        packing: settings.packing,
        trust_empty: settings.trust_empty,
        seed,
        mutants: Mutants::default(),
        ..Options::default()
    };
    let meter = Arc::new(Meter::new(settings.fsync_warning));
    let files = TimedFiles {
        files,
        meter: meter.clone(),
    };
    let (mut store, recovered) = Store::open(files, options).map_err(|e| e.to_string())?;
    tell_notes(&mut store);
    tracing::info!(
        zxid = %recovered.database.applied(),
        epoch = %recovered.current,
        znodes = recovered.database.tree().node_count(),
        "data read"
    );
    Ok(Opened {
        recovered,
        disk: Directory { store, meter },
        presync: SnapshotFile(path),
    })
}

fn trouble(error: StorageError) -> Trouble {
    if error.is_full() {
        Trouble::Full(error.to_string())
    } else {
        Trouble::Broken(error.to_string())
    }
}

fn tell_notes(store: &mut Store<TimedFiles>) {
    for note in store.take_notes() {
        tracing::warn!("data: {note}");
    }
}

/// What the disk thread owns.
#[derive(Debug)]
pub(super) struct Directory {
    store: Store<TimedFiles>,
    meter: Arc<Meter>,
}

impl Disk for Directory {
    fn write(&mut self, op: &WriteOp) -> Result<Option<Box<Recovered>>, Trouble> {
        match self.store.perform(op).map_err(trouble)? {
            Performed::Done => {
                if !matches!(op, WriteOp::Append { .. }) {
                    tell_notes(&mut self.store);
                }
                Ok(None)
            }
            Performed::Reload => {
                let state = self.store.reload().map_err(trouble)?;
                tell_notes(&mut self.store);
                Ok(Some(Box::new(state)))
            }
        }
    }

    fn sync(&mut self) -> Result<(), Trouble> {
        self.store.sync().map_err(trouble)
    }

    fn is_low(&self) -> bool {
        self.store.is_low()
    }

    fn make_reserve(&mut self) -> Result<(), Trouble> {
        tell_notes(&mut self.store);
        self.store.make_reserve().map_err(trouble)
    }

    fn snapshot(&mut self, step: &SnapshotStep) -> Result<(), String> {
        let done = self.store.snapshot_step(step).map_err(|e| e.to_string());
        tell_notes(&mut self.store);
        done
    }

    fn purge(&mut self) {
        let removed = self.store.purge();
        if removed > 0 {
            tracing::info!("{removed} old snapshots and logs were removed");
        }
        tell_notes(&mut self.store);
    }

    fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }
}

/// The file of the background snapshot under way, through a handle of its own.
#[derive(Debug)]
pub(super) struct SnapshotFile(PathBuf);

impl Presync for SnapshotFile {
    fn presync(&mut self) -> Result<(), String> {
        let synced = File::open(&self.0).and_then(|file| file.sync_data());
        synced.map_err(|e| format!("{}: {e}", self.0.display()))
    }
}
