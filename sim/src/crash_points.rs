//! Every crash of a recorded run: what happens to each server's files is written down, and then the
//! power fails once between any two file operations. Each time the directory must be readable, hold
//! all that had been reported as stable, and nothing that was never written.

use std::collections::BTreeMap;

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{ServerId, Zxid};
use vivarium_core::wire::txn::TxnRecord;
use vivarium_storage::crashes::{Extent, Tried, every_crash};
use vivarium_storage::faulty::{FaultyFiles, FileOp};
use vivarium_storage::mem::MemFiles;
use vivarium_storage::{Options, Store};

use crate::config::{DiskConfig, RunConfig};
use crate::faults::{Family, Fault};
use crate::run::{Run, Verdict, run_with, settle};
use crate::world::Trace;

/// From the start of a process to its end.
#[derive(Clone, Debug)]
struct Chapter {
    base: MemFiles,
    ops: Vec<FileOp>,
    /// After so many operations: reported as stable, ever written.
    accounts: Vec<(usize, Extent, Extent)>,
}

/// What happened to one server's files.
#[derive(Clone, Debug)]
pub struct Recording {
    chapters: Vec<Chapter>,
    /// The tree's digest by zxid, of everything that the disk was given.
    digests: BTreeMap<Zxid, u64>,
}

impl Recording {
    /// Of these files, from now on.
    pub(crate) fn new(files: &FaultyFiles) -> Self {
        files.record();
        Self {
            chapters: Vec::new(),
            digests: BTreeMap::new(),
        }
    }

    /// A process starts.
    pub(crate) fn begin(&mut self, files: &FaultyFiles, told: Extent, given: Extent) {
        files.take_journal();
        self.chapters.push(Chapter {
            base: files.files().clone(),
            ops: Vec::new(),
            accounts: vec![(0, told, given)],
        });
    }

    /// All that was done so far is done; from here on this is the account.
    pub(crate) fn note(&mut self, files: &FaultyFiles, told: Extent, given: Extent) {
        let Some(chapter) = self.chapters.last_mut() else {
            return;
        };
        chapter.ops.append(&mut files.take_journal());
        chapter.accounts.push((chapter.ops.len(), told, given));
    }

    /// A tree that the disk may hold.
    pub(crate) fn knows(&mut self, zxid: Zxid, digest: u64) {
        self.digests.insert(zxid, digest);
    }

    /// A write that the disk was given.
    pub(crate) fn given(&mut self, op: &WriteOp) {
        match op {
            WriteOp::Append { zxid, record } => {
                let record = TxnRecord::decode(record).expect("servers log what can be read");
                if let Some(digest) = record.digest {
                    self.knows(*zxid, digest);
                }
            }
            WriteOp::Install(SnapshotStep::End { zxid, digest }) => self.knows(*zxid, *digest),
            _ => {}
        }
    }

    /// Tries every crash, at most `most` ways for each place; the first directory that is not as it
    /// must be is told.
    ///
    /// # Errors
    /// What is wrong, and after which operation.
    pub fn try_all(&self, most: u64) -> Result<Tried, String> {
        let mut all = Tried::default();
        for (number, chapter) in self.chapters.iter().enumerate() {
            let mut wrong = None;
            let tried = every_crash(&chapter.base, &chapter.ops, most, &mut |done, files| {
                if wrong.is_none()
                    && let Err(what) = self.judge(chapter, done, files)
                {
                    let last = done.checked_sub(1).map(|at| &chapter.ops[at]);
                    wrong = Some(format!(
                        "process {}, after {done} file operations (the last: {last:?}): {what}",
                        number + 1
                    ));
                }
            });
            if let Some(wrong) = wrong {
                return Err(wrong);
            }
            all.points += tried.points;
            all.states += tried.states;
        }
        Ok(all)
    }

    fn judge(&self, chapter: &Chapter, done: usize, files: MemFiles) -> Result<(), String> {
        let options = Options {
            prealloc_bytes: DiskConfig::calm().prealloc_bytes,
            ..Options::default()
        };
        // What was in memory when the last operation was done may have been told or not.
        let noted = chapter.accounts.partition_point(|(at, ..)| *at <= done);
        let (_, told, given) = chapter.accounts[noted - 1];
        let at_least = chapter.accounts[..noted]
            .iter()
            .rev()
            .take_while(|(at, ..)| *at == done)
            .fold(told, |least, (_, told, _)| Extent {
                applied: least.applied.min(told.applied),
                ..least
            });
        let (store, found) = Store::open(files, options).map_err(|e| e.to_string())?;
        let now = Extent::of(&found);
        if !at_least.is_within(&now) || !now.is_within(&given) {
            return Err(format!(
                "{at_least:?} was reported as stable, {given:?} was written, {now:?} is there"
            ));
        }
        match self.digests.get(&now.applied) {
            Some(digest) if *digest == found.database.digest() => {}
            other => {
                let digest = found.database.digest();
                return Err(format!(
                    "the tree at {} is {digest:#x}, not {other:x?}",
                    now.applied
                ));
            }
        }
        let again = Store::open(store.into_files(), options).map_err(|e| e.to_string())?;
        let again = (Extent::of(&again.1), again.1.database.digest());
        if again == (now, found.database.digest()) {
            Ok(())
        } else {
            Err(format!("{now:?} is there, and then {again:?}"))
        }
    }
}

/// What a recorded run showed.
#[derive(Debug)]
pub struct Outcome {
    pub run: Run,
    /// For each server: its tries, or what was wrong.
    pub servers: Vec<(ServerId, Result<Tried, String>)>,
}

/// Runs `config` without faults that change what disks hold, and tries every crash of every server.
/// Disks may be full.
pub fn crash_points(mut config: RunConfig, most: u64) -> Outcome {
    let is_healthy = |family: &Family| {
        let mut others = Family::DISKS
            .iter()
            .filter(|(disk, _)| *disk != Family::FullDisk);
        *family != Family::FailDisk && others.all(|(disk, _)| disk != family)
    };
    config.families.retain(is_healthy);
    config.faults.retain(|planned| {
        let is_full = matches!(planned.fault, Fault::FullDisk { .. });
        is_full || !planned.fault.is_of_a_disk()
    });
    let mut servers = Vec::new();
    let run = run_with(config, Trace::default(), |world| {
        world.record_disks();
        world.begin_swarm();
        let violation = world
            .run_until(world.config().heal_at)
            .or_else(|| settle(world));
        for (id, recording) in world.recordings() {
            servers.push((id, recording.try_all(most)));
        }
        violation
    });
    Outcome { run, servers }
}

impl Outcome {
    /// The command line's exit code.
    pub fn exit_code(&self) -> u8 {
        let wrong = self.servers.iter().any(|(_, tried)| tried.is_err());
        match self.run.verdict {
            Verdict::Pass | Verdict::Halted { .. } if wrong => 10,
            ref verdict => verdict.exit_code(),
        }
    }
}
