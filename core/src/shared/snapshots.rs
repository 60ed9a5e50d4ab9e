//! When a background snapshot is due, and its progress: one at a time, a bounded piece a turn, the
//! next piece only when the storage has taken the last.

use alloc::vec::Vec;

use bytes::Bytes;

use super::Shared;
use crate::boundary::{Action, Event, SnapshotStep};
use crate::config::Config;
use crate::database::{WalkId, Walked};
use crate::ids::Zxid;
use crate::limits::SNAPSHOT_TURN_BYTES;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Idle,
    /// Pieces of this walk are on their way to the storage.
    Walking(WalkId),
    /// The last piece is on its way; the end marker is next.
    Closing {
        zxid: Zxid,
        digest: u64,
    },
    /// Given up while a step was on its way; the storage hears of it next.
    GivenUp,
    /// The end marker, or the word that it was given up, is on its way.
    Ending,
}

/// The schedule of background snapshots.
#[derive(Debug)]
pub(crate) struct Snapshots {
    snap_count: u32,
    random: u64,
    txns: u32,
    threshold: u32,
    progress: Progress,
    /// The storage has not answered the last step yet.
    waiting: bool,
    /// The last one did not find its place on the disk.
    has_failed: bool,
    pub(crate) failures: u64,
}

impl Snapshots {
    pub(crate) fn new(config: &Config) -> Self {
        // Below 2 ZooKeeper would never find a moment between two snapshots.
        let snap_count = config.snap_count.max(2);
        let mut snapshots = Self {
            snap_count,
            random: config.seed ^ config.me.0 as u64,
            txns: 0,
            threshold: 0,
            progress: Progress::Idle,
            waiting: false,
            has_failed: false,
            failures: 0,
        };
        snapshots.rearm();
        snapshots
    }

    /// Spread between half of `snapCount` and all of it, so that the members of an ensemble do
    /// not all write a snapshot at the same moment.
    fn rearm(&mut self) {
        // SplitMix64 (Steele, Lea and Flood, 2014): enough to be spread, and ours to replay.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let half = u64::from(self.snap_count / 2).max(1);
        self.threshold = (half + z % half) as u32;
        self.txns = 0;
    }

    pub(crate) fn count_txn(&mut self) {
        self.txns = self.txns.saturating_add(1);
    }

    /// There is room again: what had none before is due at once.
    pub(crate) fn retry(&mut self) {
        if core::mem::take(&mut self.has_failed) {
            self.txns = self.txns.max(self.threshold);
        }
    }
}

impl Shared {
    /// Called at the end of each turn in which this server serves: every applied transaction is
    /// committed then, so no snapshot holds one that could be taken back (ZOOKEEPER-1549).
    pub(crate) fn step_snapshot(&mut self) {
        if let Progress::Walking(walk) = self.snapshots.progress
            && self.db.walk_held(walk) > self.config.rules.snapshot_held_max
        {
            // The disk is too slow for these writes; the log holds all of them.
            let zxid = self.db.walk_zxid(walk);
            self.snapshots.failures += 1;
            self.report(Event::SnapshotGivenUp { zxid });
            self.abandon_snapshot();
        }
        if self.snapshots.waiting {
            return;
        }
        match self.snapshots.progress {
            // On a disk that is full it would take the room that the log needs.
            Progress::Idle
                if self.snapshots.txns >= self.snapshots.threshold && !self.disk.is_low =>
            {
                let walk = self.db.begin_walk();
                let zxid = self.db.walk_zxid(walk);
                self.snapshots.rearm();
                self.snapshots.progress = Progress::Walking(walk);
                self.emit_step(SnapshotStep::Begin { zxid });
            }
            Progress::Walking(walk) => {
                let mut chunk = Vec::new();
                if self.db.walk(walk, SNAPSHOT_TURN_BYTES, &mut chunk) == Walked::Done {
                    let (zxid, digest) = (self.db.walk_zxid(walk), self.db.walk_digest(walk));
                    self.db.end_walk(walk);
                    self.snapshots.progress = Progress::Closing { zxid, digest };
                }
                self.emit_step(SnapshotStep::Chunk(Bytes::from(chunk)));
            }
            Progress::Closing { zxid, digest } => {
                self.snapshots.progress = Progress::Ending;
                self.emit_step(SnapshotStep::End { zxid, digest });
                self.report(Event::SnapshotTaken { zxid });
            }
            Progress::Idle | Progress::GivenUp | Progress::Ending => {}
        }
    }

    fn emit_step(&mut self, step: SnapshotStep) {
        self.snapshots.waiting = true;
        self.out.push(Action::Snapshot(step));
    }

    /// The storage has taken the last step. A failed snapshot is given up; the log holds all.
    pub(crate) fn on_snapshot_stored(&mut self, ok: bool) {
        assert!(self.snapshots.waiting, "the storage answers steps only");
        self.snapshots.waiting = false;
        if !ok && self.snapshots.progress != Progress::GivenUp {
            self.snapshots.has_failed = true;
            self.snapshots.failures += 1;
        }
        match self.snapshots.progress {
            Progress::Ending => self.snapshots.progress = Progress::Idle,
            Progress::GivenUp => self.tell_given_up(),
            Progress::Walking(_) | Progress::Closing { .. } if !ok => self.abandon_snapshot(),
            Progress::Walking(_) | Progress::Closing { .. } | Progress::Idle => {}
        }
    }

    /// The state is about to change in ways that no transaction describes, or the role ends.
    pub(crate) fn abandon_snapshot(&mut self) {
        match self.snapshots.progress {
            Progress::Walking(walk) => self.db.end_walk(walk),
            Progress::Closing { .. } => {}
            Progress::Idle | Progress::GivenUp | Progress::Ending => return,
        }
        self.snapshots.progress = Progress::GivenUp;
        if !self.snapshots.waiting {
            self.tell_given_up();
        }
    }

    fn tell_given_up(&mut self) {
        self.snapshots.progress = Progress::Ending;
        self.emit_step(SnapshotStep::Abandon);
    }
}
