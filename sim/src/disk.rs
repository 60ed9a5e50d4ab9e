//! One server's disk: the real storage code over files that forget what was not synced, and that
//! may die between any two file operations.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{WriteSeq, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::recovery::Recovered;
use vivarium_storage::mem::{Choice, MemFiles};
use vivarium_storage::{Dir, Files, Options, Performed, StorageError, Store};

use crate::config::DiskConfig;
use crate::rng::Stream;

/// No operation of a slow disk takes longer: one that does is stalled, which is a fault of its own
/// that ends when it heals.
const OPERATION_MAX_NS: u64 = 2_000_000_000;

/// Small, so that runs see many log files.
const PREALLOC_BYTES: u64 = 16 << 10;

/// Files that outlive the process that uses them, with a fuse that blows after a number of
/// operations: from then on nothing changes any more.
#[derive(Clone, Debug, Default)]
pub struct Platter {
    inner: Rc<RefCell<Fused>>,
}

#[derive(Debug, Default)]
struct Fused {
    files: MemFiles,
    /// Changes that still go through.
    fuse: Option<u64>,
}

impl Platter {
    fn change(&self, f: impl FnOnce(&mut MemFiles) -> io::Result<()>) -> io::Result<()> {
        let mut fused = self.inner.borrow_mut();
        match &mut fused.fuse {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        f(&mut fused.files)
    }

    fn set_fuse(&self, fuse: Option<u64>) {
        self.inner.borrow_mut().fuse = fuse;
    }

    /// Power is lost: of what was not synced only a drawn part survives.
    fn lose_power(&self, s: &mut Stream) {
        // The larger the answer, the more survives; sometimes nothing or everything does.
        let mood = s.below(4);
        let mut pick = |choice: Choice<'_>, n: u64| match (choice, mood) {
            (Choice::Garbage(..) | Choice::Manner(..), _) => s.below(n),
            (_, 0) => 0,
            (_, 1) => n - 1,
            _ => s.below(n),
        };
        self.inner.borrow_mut().files.crash(&mut pick);
    }
}

impl Files for Platter {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        self.inner.borrow().files.list(dir)
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        self.inner.borrow().files.len(dir, name)
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.borrow().files.read_at(dir, name, offset, buf)
    }

    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(|files| files.write_at(dir, name, offset, bytes))
    }

    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()> {
        self.change(|files| files.set_len(dir, name, len))
    }

    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.change(|files| files.sync(dir, name))
    }

    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        self.change(|files| files.sync_dir(dir))
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        self.change(|files| files.rename(dir, from, to))
    }

    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.change(|files| files.remove(dir, name))
    }
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
    Failed {
        upto: WriteSeq,
    },
}

/// A server's disk.
#[derive(Debug)]
pub struct Disk {
    platter: Platter,
    /// Open while the process runs.
    store: Option<Store<Platter>>,
    queue: VecDeque<(WriteSeq, WriteOp)>,
    /// Writes at the head of the queue that share the sync under way.
    group: usize,
    /// The last write that is stable.
    stable: WriteSeq,
    snapshot: VecDeque<SnapshotStep>,
    /// Syncs take this many times as long.
    pub slow: u64,
    /// Nothing ends.
    pub stalled: bool,
    /// A group has ended but the disk is stalled.
    pub held: bool,
    /// The next sync fails.
    pub fail_next: bool,
    stream: Stream,
}

impl Disk {
    pub fn new(stream: Stream) -> Self {
        Self {
            platter: Platter::default(),
            store: None,
            queue: VecDeque::new(),
            group: 0,
            stable: WriteSeq(0),
            snapshot: VecDeque::new(),
            slow: 1,
            stalled: false,
            held: false,
            fail_next: false,
            stream,
        }
    }

    /// Opens the directory as a starting process does.
    pub fn open(&mut self, seed: u64, mutants: Mutants) -> Result<Recovered, StorageError> {
        assert!(
            self.store.is_none(),
            "one process at a time uses a data directory"
        );
        let options = Options {
            prealloc_bytes: PREALLOC_BYTES,
            seed,
            mutants,
            ..Options::default()
        };
        let (store, found) = Store::open(self.platter.clone(), options)?;
        self.store = Some(store);
        self.stable = WriteSeq(0);
        Ok(found)
    }

    pub fn push(&mut self, seq: WriteSeq, op: WriteOp) {
        let last = self.queue.back().map_or(self.stable, |(seq, _)| *seq);
        assert!(seq.0 == last.0 + 1, "write {} follows {}", seq.0, last.0);
        self.queue.push_back((seq, op));
    }

    /// Starts the next group, if none is under way; returns how long it takes.
    pub fn start_group(&mut self, config: &DiskConfig) -> Option<u64> {
        if self.group > 0 || self.queue.is_empty() {
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
        let mut takes = config.sync_min + self.stream.exponential(config.sync_mean);
        if config.hiccup > 0 && self.stream.chance(config.hiccup_per_mille, 1_000) {
            takes += config.hiccup;
        }
        Some((takes * self.slow).min(OPERATION_MAX_NS))
    }

    /// The group's time is over: everything in it is written and synced.
    pub fn finish_group(&mut self, done: &mut Vec<Durable>) -> Result<Finished, StorageError> {
        assert!(self.group > 0, "no group is under way");
        if self.fail_next {
            return Ok(Finished::Failed { upto: self.stable });
        }
        let store = self.store.as_mut().expect("a process runs");
        let mut reloaded = None;
        for (seq, op) in self.queue.drain(..std::mem::take(&mut self.group)) {
            if store.perform(&op)? == Performed::Reload {
                let state = store.reload()?;
                let reached = state.database.applied();
                // A cut below the oldest snapshot changes nothing.
                let is_cut = !matches!(&op, WriteOp::Truncate { after } if reached > *after);
                done.extend(Durable::of(&op).filter(|_| is_cut));
                reloaded = Some(state);
            } else {
                done.extend(Durable::of(&op));
            }
            self.stable = seq;
        }
        store.sync()?;
        Ok(match reloaded {
            None => Finished::Persisted { upto: self.stable },
            Some(state) => Finished::Reloaded {
                seq: self.stable,
                state: Box::new(state),
            },
        })
    }

    /// A step of the background snapshot. They are carried out one after the other; returns how
    /// long this one takes if none is under way.
    pub fn push_snapshot(&mut self, step: SnapshotStep, config: &DiskConfig) -> Option<u64> {
        self.snapshot.push_back(step);
        (self.snapshot.len() == 1).then(|| self.snapshot_takes(config))
    }

    fn snapshot_takes(&mut self, config: &DiskConfig) -> u64 {
        let takes = (config.sync_min + self.stream.exponential(config.sync_mean)) * self.slow;
        takes.min(OPERATION_MAX_NS)
    }

    /// The step under way is done; returns how long the next one takes, if there is one.
    pub fn finish_snapshot(&mut self, config: &DiskConfig) -> Result<Option<u64>, StorageError> {
        let step = self.snapshot.pop_front().expect("a step is under way");
        self.store
            .as_mut()
            .expect("a process runs")
            .snapshot_step(&step)?;
        Ok((!self.snapshot.is_empty()).then(|| self.snapshot_takes(config)))
    }

    /// The process ends, wherever it was in what it was writing. With `power` what was not synced
    /// is lost too; without, the page cache survives.
    pub fn crash(&mut self, power: bool) {
        if let Some(mut store) = self.store.take() {
            // The writer had got somewhere: some file operations into its queue.
            let writes = self.group.max(self.queue.len().min(4)) as u64;
            let fuse = if writes == 0 {
                0
            } else {
                self.stream.below(6 * writes)
            };
            self.platter.set_fuse(Some(fuse));
            let snapshot_first = self.stream.chance(1, 2);
            if let (true, Some(step)) = (snapshot_first, self.snapshot.pop_front()) {
                // The power is about to go: failing is what happens.
                let _ = store.snapshot_step(&step);
            }
            for (_, op) in self.queue.drain(..) {
                match store.perform(&op) {
                    Ok(Performed::Done) => {}
                    Ok(Performed::Reload) | Err(_) => break,
                }
            }
            drop(store);
            self.platter.set_fuse(None);
        }
        if power {
            self.platter.lose_power(&mut self.stream);
        }
        self.queue.clear();
        self.snapshot.clear();
        self.group = 0;
        self.held = false;
        self.fail_next = false;
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

    /// A process that writes until it is crashed; what it was told is stable must be there after.
    fn live_and_die(s: &mut Stream, disk: &mut Disk, config: &DiskConfig) {
        let found = disk
            .open(7, Mutants::NONE)
            .expect("what was synced can be read");
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
        let again = disk
            .open(7, Mutants::NONE)
            .expect("what was synced can be read");
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
            let mut disk = Disk::new(streams.stream(Purpose::Disk, 0));
            for _ in 0..5 {
                live_and_die(&mut s, &mut disk, &config);
            }
        }
    }

    #[test]
    fn a_failed_sync_is_told_and_nothing_after_it_is_stable() {
        let config = DiskConfig::calm();
        let mut disk = Disk::new(Streams::new(1).stream(Purpose::Disk, 0));
        disk.open(7, Mutants::NONE).expect("an empty directory");
        disk.push(WriteSeq(1), record(Zxid::new(Epoch(1), 1)));
        disk.fail_next = true;
        assert!(disk.start_group(&config).is_some());
        let failed = disk.finish_group(&mut Vec::new()).expect("told as a value");
        assert!(matches!(failed, Finished::Failed { upto: WriteSeq(0) }));
    }
}
