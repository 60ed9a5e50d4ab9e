//! One server's disk: the real storage code over files that forget what was not synced, that may
//! die between any two file operations, and that fail or lie.
//!
//! It keeps account of what it has reported as stable. What comes back after a crash is at least
//! that and at most what was ever written, or a fault must explain it: an error that was reported,
//! or damage (see `FaultyFiles`). Damage shows when the directory is opened. Where the storage code
//! sees it, the server does not start; where no check of the format can, it is the caller who says
//! whether the ensemble has to stand it. A write that finds no room stays in front of the queue
//! until the world says when to try again; what was done before it becomes stable.

use std::collections::VecDeque;

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{WriteSeq, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::recovery::Recovered;
use vivarium_storage::crashes::Extent;
use vivarium_storage::faulty::FaultyFiles;
use vivarium_storage::mem::{Choice, MemFiles};
use vivarium_storage::{Options, Performed, StorageError, Store};

use crate::config::DiskConfig;
use crate::crash_points::Recording;
use crate::decisions::Lane;
use crate::rng::Stream;

/// No operation of a slow disk takes longer: one that does is stalled, which is a fault of its own
/// that ends when it heals.
const OPERATION_MAX_NS: u64 = 2_000_000_000;

/// How a start ended.
#[derive(Debug)]
pub enum Opened {
    /// `forgot`: something that had been reported as stable is gone.
    Ready { found: Box<Recovered>, forgot: bool },
    /// The server does not start. If `lost`, the directory is to be filled anew from the others;
    /// otherwise it may do another time.
    Refused { why: StorageError, lost: bool },
}

/// What became stable, for the checkers.
#[derive(Clone, Debug)]
pub enum Durable {
    Record { zxid: Zxid },
    Truncated { after: Zxid },
    Installed { zxid: Zxid, digest: u64 },
}

/// How a group of writes ended.
#[derive(Debug)]
pub enum Finished {
    Persisted {
        upto: WriteSeq,
    },
    Reloaded {
        seq: WriteSeq,
        state: Box<Recovered>,
    },
    /// Nothing new is stable: there was no room for it.
    Waits,
    Failed {
        upto: WriteSeq,
    },
}

/// What was performed since the last sync, or what a sync has not made stable yet.
#[derive(Debug, Default)]
struct Unsynced {
    /// How far all of it reaches, with what was stable before.
    reach: Extent,
    done: Vec<Durable>,
    reloaded: Option<Recovered>,
}

/// A server's disk.
#[derive(Debug)]
pub struct Disk {
    files: FaultyFiles,
    /// Open while the process runs.
    store: Option<Store<FaultyFiles>>,
    queue: VecDeque<(WriteSeq, WriteOp)>,
    /// Writes at the head of the queue that share the sync under way.
    group: usize,
    /// The last write that was performed, and the last one that is stable.
    written: WriteSeq,
    stable: WriteSeq,
    unsynced: Unsynced,
    /// There was no room for the first of the queue, or to sync what was performed.
    waits: bool,
    /// What the process was told, and whether somebody will look for room again.
    pub told_low: bool,
    pub retry_planned: bool,
    snapshot: VecDeque<SnapshotStep>,
    /// Reported as stable; and the most that was ever written.
    told: Extent,
    given: Extent,
    /// The process was told that its disk failed.
    failed: bool,
    /// The storage code was given an error.
    struck: bool,
    /// The power has failed since the last start.
    dark: bool,
    recording: Option<Recording>,
    sector_bytes: u64,
    prealloc_bytes: u64,
    reserve_bytes: u64,
    /// Syncs take this many times as long.
    pub slow: u64,
    /// Nothing ends.
    pub stalled: bool,
    /// A group has ended but the disk is stalled.
    pub held: bool,
    stream: Stream,
}

impl Disk {
    /// An empty disk.
    pub fn new(stream: Stream, config: &DiskConfig) -> Self {
        let sector_bytes = config.sector_bytes;
        let files = FaultyFiles::new(MemFiles::with_sectors(sector_bytes));
        files.set_can_allocate(config.can_allocate);
        Self {
            files,
            store: None,
            queue: VecDeque::new(),
            group: 0,
            written: WriteSeq(0),
            stable: WriteSeq(0),
            unsynced: Unsynced::default(),
            waits: false,
            told_low: false,
            retry_planned: false,
            snapshot: VecDeque::new(),
            told: Extent::default(),
            given: Extent::default(),
            failed: false,
            struck: false,
            dark: false,
            recording: None,
            sector_bytes,
            prealloc_bytes: config.prealloc_bytes,
            reserve_bytes: config.reserve_bytes,
            slow: 1,
            stalled: false,
            held: false,
            stream,
        }
    }

    /// Writes down from now on what happens to the files. No process runs yet.
    pub fn record(&mut self) {
        assert!(self.store.is_none(), "a recording begins with a start");
        self.recording = Some(Recording::new(&self.files));
    }

    /// What was written down, if anything was.
    pub fn recording(&self) -> Option<&Recording> {
        self.recording.as_ref()
    }

    /// Adds to the recording, if there is one.
    fn note(&mut self, add: impl FnOnce(&mut Recording)) {
        if let Some(recording) = &mut self.recording {
            add(recording);
            recording.note(&self.files, self.told, self.given);
        }
    }

    /// The files and their faults.
    pub fn files(&self) -> &FaultyFiles {
        &self.files
    }

    /// What it has reported as stable.
    pub fn told(&self) -> Extent {
        self.told
    }

    /// The process was told that its disk failed, and has to end.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Another, empty disk takes its place.
    pub fn replace(&mut self) {
        assert!(self.recording.is_none(), "a recorded disk is a healthy one");
        self.files
            .replace(MemFiles::with_sectors(self.sector_bytes));
        (self.told, self.given) = (Extent::default(), Extent::default());
    }

    /// Opens the directory as a starting process does. Where damage can not be seen and would take
    /// what had been reported as stable, `may_forget` decides whether it did happen.
    ///
    /// # Errors
    /// What no fault explains.
    pub fn open(
        &mut self,
        seed: u64,
        mutants: Mutants,
        may_forget: bool,
    ) -> Result<Opened, String> {
        assert!(
            self.store.is_none(),
            "one process at a time uses a data directory"
        );
        let options = Options {
            prealloc_bytes: self.prealloc_bytes,
            reserve_bytes: self.reserve_bytes,
            seed,
            mutants,
            ..Options::default()
        };
        (self.written, self.stable) = (WriteSeq(0), WriteSeq(0));
        (self.failed, self.struck) = (false, false);
        if let Some(recording) = &mut self.recording {
            recording.begin(&self.files, self.told, self.given);
        }
        let trial = if self.files.is_suspect() {
            self.files.fork()
        } else {
            self.files.clone()
        };
        let opened = Store::open(trial.clone(), options);
        let failed = trial.take_errors() > 0;
        let (lost, damaged) = (self.files.is_damaged(), trial.is_damaged());
        let (store, found) = match opened {
            Err(why) if failed || damaged => {
                return Ok(self.refused(trial, why, lost, failed));
            }
            Err(why) => return Err(format!("can not read what it wrote: {why}")),
            Ok(opened) => opened,
        };
        let now = Extent::of(&found);
        let kept = self.told.is_within(&now) && now.is_within(&self.given);
        if damaged && !kept && !(may_forget && now.is_within(&self.given)) {
            self.files.undo_damage();
            self.files.disarm();
            return self.open(seed, mutants, false);
        }
        if !damaged && !kept {
            let (told, given) = (self.told, self.given);
            return Err(format!(
                "reported {told:?} as stable, was given {given:?} and comes back with {now:?}"
            ));
        }
        // Behind a page cache that has survived, or a wrong read that happened to fit, it does not
        // show yet.
        let was_struck = trial.armed() != self.files.armed();
        let latent = lost && kept && (!self.dark || was_struck);
        if !latent {
            trial.keep_damage();
        }
        self.files = trial;
        self.dark &= was_struck;
        self.store = Some(store);
        self.told = now;
        self.unsynced.reach = now;
        let (zxid, digest) = (now.applied, found.database.digest());
        self.note(|recording| recording.knows(zxid, digest));
        Ok(Opened::Ready {
            found: Box::new(found),
            forgot: !kept,
        })
    }

    /// The storage code has seen the damage, or an error.
    fn refused(
        &mut self,
        trial: FaultyFiles,
        why: StorageError,
        lost: bool,
        failed: bool,
    ) -> Opened {
        self.files = trial;
        self.files.disarm();
        match (lost, failed) {
            (true, false) => self.files.keep_damage(),
            // Only an error was seen: what is wrong besides has still to show.
            (true, true) => {}
            // It was only read wrongly.
            (false, _) => self.files.undo_damage(),
        }
        Opened::Refused {
            why,
            lost: lost && !failed,
        }
    }

    /// A write for the queue. A disk that has failed takes none.
    pub fn push(&mut self, seq: WriteSeq, op: WriteOp) {
        if self.failed {
            return;
        }
        let last = self.queue.back().map_or(self.written, |(seq, _)| *seq);
        assert!(seq.0 == last.0 + 1, "write {} follows {}", seq.0, last.0);
        let mut given = self.told;
        given.end(&op);
        self.given.raise(&given);
        self.note(|recording| recording.given(&op));
        self.queue.push_back((seq, op));
    }

    /// Starts the next group, if none is under way; returns how long it takes.
    pub fn start_group(&mut self, config: &DiskConfig) -> Option<u64> {
        if self.group > 0 || self.waits || self.queue.is_empty() {
            return None;
        }
        let most = self.queue.len().min(config.group_max);
        let cut = |(_, op): &(WriteSeq, WriteOp)| matches!(op, WriteOp::Truncate { .. });
        // A truncation ends its group: what comes after waits for what was read again.
        self.group = self
            .queue
            .iter()
            .take(most)
            .position(cut)
            .map_or(most, |i| i + 1);
        let s = &mut self.stream;
        let mut takes = config.sync_min + s.on(Lane::Sync).exponential(config.sync_mean);
        if config.hiccup > 0 && s.on(Lane::Hiccup).chance(config.hiccup_per_mille, 1_000) {
            takes += config.hiccup;
        }
        Some((takes * self.slow).min(OPERATION_MAX_NS))
    }

    /// The group's time is over: everything in it is written and synced, or there is no room, or
    /// the disk has failed.
    ///
    /// # Errors
    /// What no fault explains.
    pub fn finish_group(&mut self, done: &mut Vec<Durable>) -> Result<Finished, StorageError> {
        assert!(self.group > 0, "no group is under way");
        self.work(done, Self::perform_group)
    }

    /// Looks for room again: for what waits, then for the reserve.
    ///
    /// # Errors
    /// What no fault explains.
    pub fn retry(&mut self, done: &mut Vec<Durable>) -> Result<Finished, StorageError> {
        self.work(done, |disk, done| {
            let mut finished = Finished::Waits;
            if disk.waits {
                disk.group = usize::from(!disk.queue.is_empty());
                finished = disk.perform_group(done)?;
            }
            if !disk.waits {
                disk.store().make_reserve()?;
            }
            Ok(finished)
        })
    }

    /// Is room left for no more than what is under way, if at all?
    pub fn is_low(&self) -> bool {
        self.waits || self.store.as_ref().is_some_and(Store::is_low)
    }

    /// A write has found no room and is to be repeated.
    pub fn waits(&self) -> bool {
        self.waits
    }

    fn store(&mut self) -> &mut Store<FaultyFiles> {
        self.store.as_mut().expect("a process runs")
    }

    /// Does it, and tells an error that a fault explains from one that nothing does.
    fn work(
        &mut self,
        done: &mut Vec<Durable>,
        act: impl FnOnce(&mut Self, &mut Vec<Durable>) -> Result<Finished, StorageError>,
    ) -> Result<Finished, StorageError> {
        let upto = self.stable;
        if self.failed {
            return Ok(Finished::Failed { upto });
        }
        self.note_errors();
        let worked = act(self, done);
        let struck = std::mem::replace(&mut self.struck, false);
        self.note_errors();
        match worked {
            Err(e) if self.struck || (struck && matches!(e, StorageError::FailedBefore)) => {
                done.clear();
                self.stable = upto;
                self.failed = true;
                Ok(Finished::Failed { upto })
            }
            finished => finished,
        }
    }

    /// Remembers that an error was reported to the storage code.
    fn note_errors(&mut self) {
        self.struck |= self.files.take_errors() > 0;
    }

    fn perform_group(&mut self, done: &mut Vec<Durable>) -> Result<Finished, StorageError> {
        self.waits = false;
        while self.group > 0 && !self.waits {
            match self.perform_first() {
                Err(e) if e.is_full() => self.waits = true,
                performed => performed?,
            }
        }
        self.group = 0;
        match self.store().sync() {
            Err(e) if e.is_full() => {
                self.waits = true;
                return Ok(Finished::Waits);
            }
            synced => synced?,
        }
        let is_news = self.stable < self.written;
        self.stable = self.written;
        self.told = self.unsynced.reach;
        done.append(&mut self.unsynced.done);
        self.note(|_| ());
        let upto = self.stable;
        Ok(match self.unsynced.reloaded.take() {
            Some(state) => Finished::Reloaded {
                seq: upto,
                state: Box::new(state),
            },
            None if is_news => Finished::Persisted { upto },
            None => Finished::Waits,
        })
    }

    /// Performs the first of the queue, which goes when it is done.
    fn perform_first(&mut self) -> Result<(), StorageError> {
        let store = self.store.as_mut().expect("a process runs");
        let (seq, op) = self.queue.front().expect("a group is a part of the queue");
        let unsynced = &mut self.unsynced;
        if matches!(op, WriteOp::Truncate { .. } | WriteOp::Install(_)) {
            // What it reads for that is right: damage shows at a start only.
            self.files.calm_damage();
        }
        self.told.begin(op);
        unsynced.reach.begin(op);
        if let Some(recording) = &mut self.recording {
            recording.note(&self.files, self.told, self.given);
        }
        if store.perform(op)? == Performed::Reload {
            let state = store.reload()?;
            unsynced.reach.applied = state.database.applied();
            // A cut below the oldest snapshot changes nothing.
            let at = unsynced.reach.applied;
            let is_cut = !matches!(op, WriteOp::Truncate { after } if at > *after);
            unsynced.done.extend(Durable::of(op).filter(|_| is_cut));
            unsynced.reloaded = Some(state);
        } else {
            unsynced.reach.end(op);
            unsynced.done.extend(Durable::of(op));
        }
        self.written = *seq;
        self.queue.pop_front();
        self.group -= 1;
        Ok(())
    }

    /// A step of the background snapshot. They are carried out one after the other; returns how
    /// long this one takes if none is under way.
    pub fn push_snapshot(&mut self, step: SnapshotStep, config: &DiskConfig) -> Option<u64> {
        if let SnapshotStep::Begin { zxid } = step {
            let snapshot = Extent {
                applied: zxid,
                ..Extent::default()
            };
            self.given.raise(&snapshot);
            self.note(|_| ());
        }
        if let SnapshotStep::End { zxid, digest } = step {
            self.note(|recording| recording.knows(zxid, digest));
        }
        self.snapshot.push_back(step);
        (self.snapshot.len() == 1).then(|| self.snapshot_takes(config))
    }

    fn snapshot_takes(&mut self, config: &DiskConfig) -> u64 {
        let s = self.stream.on(Lane::Snapshot);
        let takes = (config.sync_min + s.exponential(config.sync_mean)) * self.slow;
        takes.min(OPERATION_MAX_NS)
    }

    /// The step under way is done: whether it went well, and how long the next one takes, if there
    /// is one.
    ///
    /// # Errors
    /// What no fault explains.
    pub fn finish_snapshot(
        &mut self,
        config: &DiskConfig,
    ) -> Result<(bool, Option<u64>), StorageError> {
        let step = self.snapshot.pop_front().expect("a step is under way");
        let store = self.store.as_mut().expect("a process runs");
        let ok = if self.failed {
            false
        } else {
            let stepped = store.snapshot_step(&step);
            self.note_errors();
            match stepped {
                Ok(()) => true,
                Err(_) if self.struck => false,
                Err(e) => return Err(e),
            }
        };
        let next = (!self.snapshot.is_empty()).then(|| self.snapshot_takes(config));
        Ok((ok, next))
    }

    /// The process ends, wherever it was in what it was writing. With `power` what was not synced
    /// is lost too; without, the page cache survives.
    pub fn crash(&mut self, power: bool) {
        if let Some(mut store) = self.store.take() {
            // The writer had got somewhere: some file operations into its queue.
            let writes = self.group.max(self.queue.len().min(4)) as u64;
            self.stream.on(Lane::Writer);
            let changes = if writes == 0 {
                0
            } else {
                self.stream.below(6 * writes)
            };
            self.files.set_changes_left(Some(changes));
            if self.failed {
                // The writer has ended, and its queue with it.
                self.queue.clear();
                self.snapshot.clear();
            }
            let snapshot_first = self.stream.chance(1, 2);
            if let (true, Some(step)) = (snapshot_first, self.snapshot.pop_front()) {
                // The power is about to go: failing is what happens.
                let _ = store.snapshot_step(&step);
            }
            for (_, op) in self.queue.drain(..) {
                self.told.begin(&op);
                if let Some(recording) = &mut self.recording {
                    recording.note(&self.files, self.told, self.given);
                }
                match store.perform(&op) {
                    Ok(Performed::Done) => {}
                    Ok(Performed::Reload) | Err(_) => break,
                }
            }
            drop(store);
            self.files.set_changes_left(None);
        }
        self.note(|_| ());
        if power {
            self.lose_power();
            self.dark = true;
        }
        self.files.disarm();
        self.files.take_errors();
        self.queue.clear();
        self.snapshot.clear();
        self.group = 0;
        self.unsynced = Unsynced::default();
        (self.waits, self.told_low, self.retry_planned) = (false, false, false);
        self.held = false;
    }

    /// Of what was not synced only a drawn part survives.
    fn lose_power(&mut self) {
        let s = self.stream.on(Lane::Power);
        // The larger the answer, the more survives; sometimes nothing or everything does.
        let mood = s.below(4);
        self.files.crash(|choice, n| match (choice, mood) {
            (Choice::Garbage(..) | Choice::Manner(..), _) => s.below(n),
            (_, 0) => 0,
            (_, 1) => n - 1,
            _ => s.below(n),
        });
    }
}

impl Durable {
    fn of(op: &WriteOp) -> Option<Self> {
        match op {
            WriteOp::Append { zxid, record: _ } => Some(Self::Record { zxid: *zxid }),
            WriteOp::Truncate { after } => Some(Self::Truncated { after: *after }),
            WriteOp::Install(SnapshotStep::End { zxid, digest }) => Some(Self::Installed {
                zxid: *zxid,
                digest: *digest,
            }),
            WriteOp::Install(
                SnapshotStep::Begin { .. } | SnapshotStep::Chunk(_) | SnapshotStep::Abandon,
            )
            | WriteOp::AcceptedEpoch(_)
            | WriteOp::CurrentEpoch(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Streams};
    use vivarium_core::ids::{Epoch, SessionId};
    use vivarium_core::time::WallMs;
    use vivarium_core::wire::records::op;
    use vivarium_core::wire::txn::{Txn, TxnHeader, TxnRecord};
    use vivarium_storage::faulty::{Kind, Strike};

    fn record(zxid: Zxid) -> WriteOp {
        let session = SessionId(zxid.0);
        let kind = op::CREATE_SESSION;
        let header = TxnHeader {
            session,
            cxid: 0,
            zxid,
            time: WallMs(0),
            kind,
        };
        let txn = Txn::CreateSession { timeout_ms: 1_000 };
        let mut bytes = Vec::new();
        TxnRecord {
            header,
            txn,
            digest: None,
        }
        .encode(&mut bytes);
        WriteOp::Append {
            zxid,
            record: bytes.into(),
        }
    }

    fn open(disk: &mut Disk) -> Box<Recovered> {
        match disk.open(7, Mutants::NONE, false) {
            Ok(Opened::Ready { found, .. }) => found,
            other => panic!("what was synced can be read: {other:?}"),
        }
    }

    /// A process that writes until it is crashed; what it was told is stable must be there after.
    fn live_and_die(s: &mut Stream, disk: &mut Disk, config: &DiskConfig) {
        let found = open(disk);
        let epoch = found.accepted.next();
        let mut zxid = epoch.zxid();
        let mut seq = 0;
        let mut stable = (found.current, found.database.applied());
        let mut written = vec![stable];
        let mut push = |disk: &mut Disk, op: WriteOp, after: (Epoch, Zxid)| {
            seq += 1;
            disk.push(WriteSeq(seq), op);
            written.push(after);
        };
        push(disk, WriteOp::AcceptedEpoch(epoch), stable);
        push(disk, WriteOp::CurrentEpoch(epoch), (epoch, stable.1));
        for _ in 0..s.range(0, 20) {
            zxid = zxid.next();
            push(disk, record(zxid), (epoch, zxid));
        }
        for _ in 0..s.range(0, 5) {
            if disk.start_group(config).is_none() {
                break;
            }
            match disk.finish_group(&mut Vec::new()).expect("a healthy disk") {
                Finished::Persisted { upto } => stable = written[upto.0 as usize],
                other => panic!("{other:?}"),
            }
        }
        disk.start_group(config);
        disk.crash(s.chance(1, 2));
        let again = open(disk);
        assert!(again.database.applied() >= stable.1 && again.current >= stable.0);
        disk.crash(true);
    }

    #[test]
    fn what_was_told_stable_survives_every_crash() {
        let config = DiskConfig {
            group_max: 4,
            ..DiskConfig::calm()
        };
        for seed in 0..300 {
            let streams = Streams::new(seed);
            let mut s = streams.stream(Purpose::Scenario, 0);
            let config = DiskConfig {
                sector_bytes: [512, 4096][seed as usize % 2],
                ..config.clone()
            };
            let mut disk = Disk::new(streams.stream(Purpose::Disk, 0), &config);
            for _ in 0..5 {
                live_and_die(&mut s, &mut disk, &config);
            }
        }
    }

    #[test]
    fn a_failed_sync_is_told_and_nothing_after_it_is_stable() {
        let config = DiskConfig::calm();
        let mut disk = Disk::new(Streams::new(1).stream(Purpose::Disk, 0), &config);
        open(&mut disk);
        disk.push(WriteSeq(1), record(Zxid::new(Epoch(1), 1)));
        disk.files().arm(Strike {
            kind: Kind::Sync,
            after: 1,
            word: 0,
        });
        assert!(disk.start_group(&config).is_some());
        let failed = disk.finish_group(&mut Vec::new()).expect("told as a value");
        assert!(matches!(failed, Finished::Failed { upto: WriteSeq(0) }));
        assert!(disk.has_failed());
    }
}
