//! The disk thread: takes everything that is queued, performs it, syncs once, reports. While one
//! sync runs the next batch gathers, so the load itself sizes the batches.
//!
//! A background snapshot goes through the same directory, but its bytes are synced by a second
//! thread before the step that would have to sync them: the log does not wait for them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::WriteSeq;
use vivarium_core::recovery::Recovered;

use crate::meter::{Meter, Times};

/// Bytes of a background snapshot that may be unsynced before the next step waits.
const SNAPSHOT_UNSYNCED_BYTES: usize = 8 << 20;

/// Time between two attempts to find room on a full disk.
const RETRY: Duration = Duration::from_millis(500);

/// Why a write did not succeed, in words for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// No room: the same may be tried again.
    Full(String),
    /// Nothing more is to be believed of this disk.
    Broken(String),
}

/// The data directory, as the disk thread sees it.
pub(super) trait Disk: Send + 'static {
    /// Performs one write; stable only after the next `sync`. A truncation answers with the state
    /// that was read again, and is stable itself.
    fn write(&mut self, op: &WriteOp) -> Result<Option<Box<Recovered>>, Trouble>;
    fn sync(&mut self) -> Result<(), Trouble>;
    /// Is room left for no more than what is under way?
    fn is_low(&self) -> bool {
        false
    }
    /// Takes the room that is to be kept for that, as far as there is any.
    fn make_reserve(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
    /// Performs one step of the background snapshot; it is stable when `End` returns.
    fn snapshot(&mut self, step: &SnapshotStep) -> Result<(), String>;
    /// Removes files that nobody needs any more.
    fn purge(&mut self) {}
    /// Where the times of syncs are written down.
    fn meter(&self) -> Arc<Meter> {
        Arc::default()
    }
}

/// Syncs what was written of the background snapshot, from another thread than the writer's.
pub(super) trait Presync: Send + 'static {
    fn presync(&mut self) -> Result<(), String>;
}

/// What a turn gives to the disk.
#[derive(Debug)]
pub(super) enum Job {
    Write { seq: WriteSeq, op: WriteOp },
    Snapshot(SnapshotStep),
}

/// What the disk answers.
#[derive(Debug)]
pub(super) enum Report {
    Persisted {
        upto: WriteSeq,
    },
    Reloaded {
        seq: WriteSeq,
        state: Box<Recovered>,
    },
    SnapshotStored {
        ok: bool,
    },
    Failed {
        upto: WriteSeq,
    },
    /// A level; before the first there is room.
    Room {
        low: bool,
    },
}

/// Jobs on their way to a thread.
#[derive(Debug)]
struct Mailbox<T> {
    state: Mutex<(Vec<T>, bool)>,
    news: Condvar,
}

impl<T> Mailbox<T> {
    fn new() -> Self {
        Self {
            state: Mutex::new((Vec::new(), false)),
            news: Condvar::new(),
        }
    }

    /// A thread that panicked ends the process anyway; its lock is no reason to panic again.
    fn lock(&self) -> MutexGuard<'_, (Vec<T>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, job: T) {
        self.lock().0.push(job);
        self.news.notify_one();
    }

    /// Appends all of `jobs`.
    fn put_all(&self, jobs: &mut Vec<T>) {
        self.lock().0.append(jobs);
        self.news.notify_one();
    }

    fn close(&self) {
        self.lock().1 = true;
        self.news.notify_one();
    }

    /// Waits for jobs and takes all of them into `jobs`; `false` when closed and empty.
    fn take(&self, jobs: &mut Vec<T>) -> bool {
        self.take_until(None, jobs)
    }

    /// The same, but not for longer than until then: the jobs may be none.
    fn take_until(&self, due: Option<Instant>, jobs: &mut Vec<T>) -> bool {
        let waiting = |state: &mut (Vec<T>, bool)| state.0.is_empty() && !state.1;
        let mut state = match due {
            None => self
                .news
                .wait_while(self.lock(), waiting)
                .unwrap_or_else(PoisonError::into_inner),
            Some(due) => {
                let patience = due.saturating_duration_since(Instant::now());
                let waited = self
                    .news
                    .wait_timeout_while(self.lock(), patience, waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                waited.0
            }
        };
        jobs.append(&mut state.0);
        !jobs.is_empty() || !state.1
    }
}

/// The driver's side of both threads.
#[derive(Debug)]
pub(super) struct DiskThreads {
    jobs: Arc<Mailbox<Job>>,
    steps: Arc<Mailbox<SnapshotStep>>,
    writer: JoinHandle<()>,
    presyncer: JoinHandle<()>,
    meter: Arc<Meter>,
}

impl DiskThreads {
    /// Starts both threads; answers go to `reports`. Old files are removed at once, and again each
    /// time that `purge_interval` has passed; never without one.
    ///
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(
        disk: impl Disk,
        presync: impl Presync,
        purge_interval: Option<Duration>,
        reports: UnboundedSender<Report>,
    ) -> std::io::Result<Self> {
        let meter = disk.meter();
        let purges = Purges {
            interval: purge_interval,
            next: purge_interval.map(|_| Instant::now()),
        };
        let jobs = Arc::new(Mailbox::new());
        let steps = Arc::new(Mailbox::new());
        let (mailbox, to) = (jobs.clone(), reports.clone());
        let writer = std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || run_writer(disk, purges, &mailbox, &to))?;
        let (mailbox, onward) = (steps.clone(), jobs.clone());
        let presyncer = std::thread::Builder::new()
            .name("presync".into())
            .spawn(move || run_presyncer(presync, &mailbox, &onward, &reports))?;
        Ok(Self {
            jobs,
            steps,
            writer,
            presyncer,
            meter,
        })
    }

    /// Queues writes in order; `jobs` is empty afterwards.
    pub(super) fn write(&self, jobs: &mut Vec<Job>) {
        if !jobs.is_empty() {
            self.jobs.put_all(jobs);
        }
    }

    pub(super) fn snapshot(&self, step: SnapshotStep) {
        self.steps.put(step);
    }

    /// How long the syncs of the log took.
    pub(super) fn sync_times(&self) -> Times {
        self.meter.times()
    }

    /// Waits until everything queued is performed and synced.
    pub(super) fn finish(self) {
        self.steps.close();
        join(self.presyncer);
        self.jobs.close();
        join(self.writer);
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a disk thread panicked");
    }
}

/// Sends a report. Nobody listens any more when the driver has ended: then nothing depends on it.
fn tell(reports: &UnboundedSender<Report>, report: Report) {
    drop(reports.send(report));
}

/// A disk thread that panics must not leave the machine waiting: it counts as a failed disk.
struct Panicking<'a>(&'a UnboundedSender<Report>, fn() -> Report);

impl Drop for Panicking<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(self.0, (self.1)());
        }
    }
}

/// When old files are to be removed.
#[derive(Debug)]
struct Purges {
    interval: Option<Duration>,
    next: Option<Instant>,
}

impl Purges {
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.next.is_some_and(|at| at <= now);
        if due {
            self.next = self.interval.and_then(|interval| now.checked_add(interval));
        }
        due
    }
}

/// The thread that writes.
struct Writer<'a, D> {
    disk: D,
    /// Not performed yet.
    jobs: VecDeque<Job>,
    written: WriteSeq,
    stable: WriteSeq,
    /// The disk is full, and the first of the jobs waits for room.
    is_waiting: bool,
    /// What the machine was told.
    is_low: bool,
    /// When to look for room again.
    retry: Option<Instant>,
    reports: &'a UnboundedSender<Report>,
}

fn run_writer(
    disk: impl Disk,
    mut purges: Purges,
    mailbox: &Mailbox<Job>,
    reports: &UnboundedSender<Report>,
) {
    let _guard = Panicking(reports, || Report::Failed { upto: WriteSeq(0) });
    let mut writer = Writer {
        disk,
        jobs: VecDeque::new(),
        written: WriteSeq(0),
        stable: WriteSeq(0),
        is_waiting: false,
        is_low: false,
        retry: None,
        reports,
    };
    let mut news = Vec::new();
    writer.tell_room("there is no room for the reserve");
    while mailbox.take_until(earliest(purges.next, writer.retry), &mut news) {
        writer.jobs.extend(news.drain(..));
        if let Err(why) = writer.turn() {
            tracing::error!("disk: {why}");
            let upto = writer.stable;
            return tell(reports, Report::Failed { upto });
        }
        if purges.is_due() {
            writer.disk.purge();
        }
    }
    if !writer.jobs.is_empty() {
        tracing::warn!("stopped with a full disk: nothing that was acknowledged is missing");
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

impl<D: Disk> Writer<'_, D> {
    /// Performs what there is to do, unless it is too early to look for room again.
    fn turn(&mut self) -> Result<(), String> {
        let is_due = self.retry.is_some_and(|at| at <= Instant::now());
        if self.is_waiting && !is_due {
            return Ok(());
        }
        let mut why = "the reserve is in use".to_owned();
        let mut done = self.perform();
        if done.is_ok() && is_due {
            done = self.disk.make_reserve();
        }
        self.is_waiting = match done {
            Ok(()) => false,
            Err(Trouble::Full(what)) => {
                why = what;
                true
            }
            Err(Trouble::Broken(what)) => return Err(what),
        };
        self.tell_room(&why);
        let now = Instant::now();
        self.retry = match self.retry {
            _ if !self.is_low => None,
            Some(at) if at > now => Some(at),
            _ => Some(now + RETRY),
        };
        Ok(())
    }

    /// The machine hears whether there is room whenever that has changed.
    fn tell_room(&mut self, why: &str) {
        let low = self.is_waiting || self.disk.is_low();
        if low == self.is_low {
            return;
        }
        self.is_low = low;
        self.retry = low.then(|| Instant::now() + RETRY);
        if low {
            tracing::error!(
                "THE DISK IS FULL: {why}. Nothing is lost; make room, and this server goes on"
            );
        } else {
            tracing::info!("the disk has room again");
        }
        tell(self.reports, Report::Room { low });
    }

    /// One batch: all writes, one sync. Where there is no room what was written before becomes
    /// stable, and the rest stays.
    fn perform(&mut self) -> Result<(), Trouble> {
        let mut done = Ok(());
        while let Some(job) = self.jobs.front() {
            done = match job {
                Job::Write { seq, op } => {
                    let (seq, last) = (*seq, self.written);
                    assert!(seq.0 == last.0 + 1, "write {} after {}", seq.0, last.0);
                    self.disk.write(op).map(|state| {
                        self.written = seq;
                        if let Some(state) = state {
                            self.stable = seq;
                            tell(self.reports, Report::Reloaded { seq, state });
                        }
                    })
                }
                Job::Snapshot(step) => {
                    let stored = self.disk.snapshot(step);
                    if let Err(why) = &stored {
                        tracing::error!("snapshot: {why}");
                    }
                    let ok = stored.is_ok();
                    tell(self.reports, Report::SnapshotStored { ok });
                    Ok(())
                }
            };
            if done.is_err() {
                break;
            }
            self.jobs.pop_front();
        }
        if matches!(done, Err(Trouble::Broken(_))) {
            return done;
        }
        if self.stable < self.written {
            self.disk.sync()?;
            self.stable = self.written;
            let upto = self.stable;
            tell(self.reports, Report::Persisted { upto });
        }
        done
    }
}

/// Passes the steps of background snapshots on to the writer, each after what it would have to
/// sync. All but the last chunk before an end was written by then: each step waits for the last.
fn run_presyncer(
    mut presync: impl Presync,
    mailbox: &Mailbox<SnapshotStep>,
    writer: &Mailbox<Job>,
    reports: &UnboundedSender<Report>,
) {
    let _guard = Panicking(reports, || Report::SnapshotStored { ok: false });
    let mut steps = Vec::new();
    let mut unsynced = 0;
    while mailbox.take(&mut steps) {
        for step in steps.drain(..) {
            let due = match &step {
                SnapshotStep::Chunk(bytes) => {
                    unsynced += bytes.len();
                    unsynced > SNAPSHOT_UNSYNCED_BYTES
                }
                SnapshotStep::End { .. } => true,
                SnapshotStep::Begin { .. } | SnapshotStep::Abandon => {
                    unsynced = 0;
                    false
                }
            };
            if due {
                unsynced = 0;
                if let Err(why) = presync.presync() {
                    // The writer's own sync will say whether it matters.
                    tracing::debug!("snapshot: {why}");
                }
            }
            writer.put(Job::Snapshot(step));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::mpsc;
    use vivarium_core::ids::{Epoch, Zxid};

    use super::*;

    /// Counts; fails at the write of this epoch.
    #[derive(Default)]
    struct Fake {
        log: Arc<Mutex<Vec<String>>>,
        fails_at: i64,
        gate: Arc<Mutex<()>>,
        purges: Arc<Mutex<u32>>,
        full: Arc<Mutex<bool>>,
    }

    impl Disk for Fake {
        fn write(&mut self, op: &WriteOp) -> Result<Option<Box<Recovered>>, Trouble> {
            let WriteOp::AcceptedEpoch(epoch) = op else {
                panic!("only epochs here: {op:?}")
            };
            if *self.full.lock().expect("room") {
                return Err(Trouble::Full("no space left".into()));
            }
            if epoch.0 == self.fails_at {
                return Err(Trouble::Broken("it smokes".into()));
            }
            self.log.lock().expect("log").push(format!("write {epoch}"));
            Ok(None)
        }

        fn sync(&mut self) -> Result<(), Trouble> {
            let _open = self.gate.lock().expect("gate");
            self.log.lock().expect("log").push("sync".into());
            Ok(())
        }

        fn snapshot(&mut self, step: &SnapshotStep) -> Result<(), String> {
            match step {
                SnapshotStep::Chunk(bytes) if bytes.is_empty() => Err("no space left".into()),
                _ => Ok(()),
            }
        }

        fn purge(&mut self) {
            *self.purges.lock().expect("count") += 1;
        }
    }

    /// Counts.
    #[derive(Clone, Default)]
    struct Syncs(Arc<Mutex<u32>>);

    impl Presync for Syncs {
        fn presync(&mut self) -> Result<(), String> {
            *self.0.lock().expect("count") += 1;
            Ok(())
        }
    }

    fn job(n: u64) -> Job {
        Job::Write {
            seq: WriteSeq(n),
            op: WriteOp::AcceptedEpoch(Epoch(n as i64)),
        }
    }

    #[test]
    fn writes_that_queue_during_a_sync_share_the_next() {
        let (log, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(())));
        let (to, mut reports) = mpsc::unbounded_channel();
        let closed = gate.lock().expect("gate");
        let fake = Fake {
            log: log.clone(),
            gate: gate.clone(),
            ..Fake::default()
        };
        let disk = DiskThreads::start(fake, Syncs::default(), None, to).expect("threads");
        disk.write(&mut vec![job(1)]);
        while log.lock().expect("log").is_empty() {
            std::thread::yield_now();
        }
        for n in 2..=5 {
            disk.write(&mut vec![job(n)]);
        }
        drop(closed);
        disk.finish();
        let all = log.lock().expect("log").join(", ");
        assert_eq!(
            all,
            "write 1, sync, write 2, write 3, write 4, write 5, sync"
        );
        let upto = |r: Option<Report>| match r {
            Some(Report::Persisted { upto }) => upto.0,
            other => panic!("{other:?}"),
        };
        assert_eq!(upto(reports.blocking_recv()), 1);
        assert_eq!(upto(reports.blocking_recv()), 5);
        assert!(reports.blocking_recv().is_none());
    }

    #[test]
    fn after_a_failure_nothing_more_is_stable() {
        let (to, mut reports) = mpsc::unbounded_channel();
        let fake = Fake {
            fails_at: 3,
            ..Fake::default()
        };
        let disk = DiskThreads::start(fake, Syncs::default(), None, to).expect("threads");
        disk.write(&mut vec![job(1)]);
        let first = reports.blocking_recv();
        assert!(
            matches!(first, Some(Report::Persisted { upto: WriteSeq(1) })),
            "{first:?}"
        );
        disk.write(&mut vec![job(2), job(3), job(4)]);
        let second = reports.blocking_recv();
        assert!(
            matches!(second, Some(Report::Failed { upto: WriteSeq(1) })),
            "{second:?}"
        );
        disk.write(&mut vec![job(5)]);
        disk.finish();
        assert!(reports.blocking_recv().is_none());
    }

    #[test]
    fn every_snapshot_step_is_answered() {
        let (to, mut reports) = mpsc::unbounded_channel();
        let fake = Fake::default();
        let syncs = Syncs::default();
        let disk = DiskThreads::start(fake, syncs.clone(), None, to).expect("threads");
        let large = Bytes::from(vec![1; SNAPSHOT_UNSYNCED_BYTES / 2 + 1]);
        for (step, stored, synced) in [
            (SnapshotStep::Begin { zxid: Zxid(1) }, true, 0),
            (SnapshotStep::Chunk(large.clone()), true, 0),
            (SnapshotStep::Chunk(large), true, 1),
            (SnapshotStep::Chunk(Bytes::new()), false, 1),
            (
                SnapshotStep::End {
                    zxid: Zxid(1),
                    digest: 0,
                },
                true,
                2,
            ),
        ] {
            disk.snapshot(step);
            let report = reports.blocking_recv();
            assert!(
                matches!(report, Some(Report::SnapshotStored { ok }) if ok == stored),
                "{report:?}"
            );
            assert_eq!(*syncs.0.lock().expect("count"), synced);
        }
        disk.finish();
    }

    #[test]
    fn old_files_are_removed_at_the_start_and_again_with_or_without_work() {
        let count = |interval: Option<Duration>, work: bool| {
            let purges = Arc::new(Mutex::new(0));
            let (to, _reports) = mpsc::unbounded_channel();
            let fake = Fake {
                purges: purges.clone(),
                ..Fake::default()
            };
            let disk = DiskThreads::start(fake, Syncs::default(), interval, to).expect("threads");
            let begun = Instant::now();
            let mut n = 0;
            while begun.elapsed() < Duration::from_millis(300) {
                if work {
                    n += 1;
                    disk.write(&mut vec![job(n)]);
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
            disk.finish();
            *purges.lock().expect("count")
        };
        assert_eq!(count(None, false), 0);
        assert_eq!(count(Some(Duration::from_secs(3_600)), true), 1);
        for work in [false, true] {
            let often = count(Some(Duration::from_millis(50)), work);
            assert!(
                (3..=7).contains(&often),
                "{often} purges in 300 ms, work: {work}"
            );
        }
    }

    #[test]
    fn a_write_without_room_waits_and_none_behind_it_goes_first() {
        let (log, full) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(Mutex::new(false)),
        );
        let (to, mut reports) = mpsc::unbounded_channel();
        let fake = Fake {
            log: log.clone(),
            full: full.clone(),
            ..Fake::default()
        };
        let disk = DiskThreads::start(fake, Syncs::default(), None, to).expect("threads");
        disk.write(&mut vec![job(1)]);
        let first = reports.blocking_recv();
        assert!(
            matches!(first, Some(Report::Persisted { upto: WriteSeq(1) })),
            "{first:?}"
        );
        *full.lock().expect("room") = true;
        disk.write(&mut vec![job(2), job(3)]);
        let told = reports.blocking_recv();
        assert!(matches!(told, Some(Report::Room { low: true })), "{told:?}");
        disk.write(&mut vec![job(4)]);
        *full.lock().expect("room") = false;
        let second = reports.blocking_recv();
        assert!(
            matches!(second, Some(Report::Persisted { upto: WriteSeq(4) })),
            "{second:?}"
        );
        let told = reports.blocking_recv();
        assert!(
            matches!(told, Some(Report::Room { low: false })),
            "{told:?}"
        );
        disk.finish();
        let all = log.lock().expect("log").join(", ");
        assert_eq!(all, "write 1, sync, write 2, write 3, write 4, sync");
    }

    #[test]
    fn a_full_disk_does_not_keep_a_server_from_stopping() {
        let (to, mut reports) = mpsc::unbounded_channel();
        let fake = Fake {
            full: Arc::new(Mutex::new(true)),
            ..Fake::default()
        };
        let disk = DiskThreads::start(fake, Syncs::default(), None, to).expect("threads");
        disk.write(&mut vec![job(1)]);
        disk.finish();
        let told = reports.blocking_recv();
        assert!(matches!(told, Some(Report::Room { low: true })), "{told:?}");
        assert!(reports.blocking_recv().is_none());
    }
}
