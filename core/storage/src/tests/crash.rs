//! Random lives of a server with power losses between and inside all steps: the directory is
//! always loadable, holds all that was synced and nothing that was never written.

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::recovery::Recovered;

use super::{History, OPTIONS, assert_state, database_of, record, snapshot_steps, z};
use crate::crashes::{Tried, every_crash};
use crate::faulty::{FaultyFiles, Kind, Strike};
use crate::mem::{Choice, MemFiles};
use crate::{Options, Performed, StorageError, Store};

/// Same numbers for the same seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

/// A state that the directory may hold after a crash: some beginning of `history`, at least `sure`
/// transactions of it, with one of the epochs.
#[derive(Clone, Debug)]
struct May {
    history: History,
    sure: usize,
    accepted: (Epoch, Epoch),
    current: (Epoch, Epoch),
}

impl May {
    fn allows(&self, state: &Recovered) -> bool {
        let last = state.database.applied();
        let n = self.history.partition_point(|(zxid, _)| *zxid <= last);
        let epochs = [self.current.0, self.current.1, last.epoch()];
        n >= self.sure
            && n.checked_sub(1).map_or(Zxid::ZERO, |at| self.history[at].0) == last
            && database_of(&self.history[..n]).digest() == state.database.digest()
            && (state.accepted == self.accepted.0 || state.accepted == self.accepted.1)
            && epochs.contains(&state.current)
            && state.current >= self.current.0.min(self.current.1)
    }

    /// What is possible inside a step between two states, which installs `target` if that is given.
    fn between(mut before: Self, mut after: Self, target: Option<History>) -> Vec<Self> {
        // Epochs may be the old or the new; what is sure is sure in both.
        before.accepted.1 = after.accepted.1;
        before.current.1 = after.current.1;
        after.accepted.0 = before.accepted.0;
        after.current.0 = before.current.0;
        after.sure = after.sure.min(before.sure);
        // A truncation may have come half way.
        if after.history.len() < before.history.len() {
            before.sure = before.sure.min(after.history.len());
        }
        let mut allowed = vec![after, before.clone()];
        // An install drops the end that the leader never had before it takes over.
        if let Some(target) = target {
            let last = target.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
            let kept = before.history.partition_point(|(zxid, _)| *zxid <= last);
            for may in &mut allowed {
                may.sure = may.sure.min(kept);
            }
            allowed.push(Self {
                sure: target.len(),
                history: target,
                ..before
            });
        }
        allowed
    }
}

/// A server's life as it should be.
struct Life {
    rng: Rng,
    store: Option<Store<FaultyFiles>>,
    history: History,
    synced: usize,
    accepted: Epoch,
    current: Epoch,
    /// Of the newest snapshot, which promises its history even where the log was not synced.
    background: Vec<SnapshotStep>,
    /// What the install in the last step made of the history, or will make of it.
    target: Option<History>,
    mark: u8,
    crashes: u32,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let sector = if rng.below(2) == 0 { 512 } else { 4096 };
        let files = FaultyFiles::new(MemFiles::with_sectors(sector));
        let (store, _) = Store::open(files, OPTIONS).expect("opened");
        Self {
            rng,
            store: Some(store),
            history: Vec::new(),
            synced: 0,
            accepted: Epoch(0),
            current: Epoch(0),
            background: Vec::new(),
            target: None,
            mark: 0,
            crashes: 0,
        }
    }

    fn store(&mut self) -> &mut Store<FaultyFiles> {
        self.store.as_mut().expect("open")
    }

    fn last(&self) -> Zxid {
        self.history.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    fn now(&self) -> May {
        May {
            history: self.history.clone(),
            sure: self.synced,
            accepted: (self.accepted, self.accepted),
            current: (self.current, self.current),
        }
    }

    fn next_record(&mut self) -> (Zxid, bytes::Bytes) {
        let last = self.last();
        let zxid = if self.current > last.epoch() {
            z(self.current.0, 1)
        } else {
            last.next()
        };
        let len = if self.rng.below(8) == 0 {
            3000
        } else {
            20 + self.rng.below(300)
        };
        self.mark = self.mark.wrapping_add(1);
        (zxid, record(zxid, len as usize, self.mark))
    }

    /// One operation; in a crash it may burn out half way. Gives the states that are possible then.
    fn step(&mut self) -> (Result<(), StorageError>, May, May) {
        let before = self.now();
        self.target = None;
        let choice = self.rng.below(20);
        let result = match choice {
            0..=7 => self.append(),
            8..=11 => self.sync(),
            12 => self.promise(),
            13 => self.enter(),
            14 => self.truncate(),
            15 => self.install(),
            _ => self.snapshot(),
        };
        (result, before, self.now())
    }

    fn append(&mut self) -> Result<(), StorageError> {
        for _ in 0..=self.rng.below(5) {
            let (zxid, record) = self.next_record();
            let op = WriteOp::Append {
                zxid,
                record: record.clone(),
            };
            self.history.push((zxid, record));
            assert_eq!(self.store().perform(&op)?, Performed::Done);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.store().sync()?;
        self.synced = self.history.len();
        Ok(())
    }

    fn promise(&mut self) -> Result<(), StorageError> {
        self.accepted = Epoch(self.accepted.0 + 1 + self.rng.below(2) as i64);
        let op = WriteOp::AcceptedEpoch(self.accepted);
        assert_eq!(self.store().perform(&op)?, Performed::Done);
        self.synced = self.history.len();
        Ok(())
    }

    fn enter(&mut self) -> Result<(), StorageError> {
        self.current = self.accepted;
        let op = WriteOp::CurrentEpoch(self.current);
        assert_eq!(self.store().perform(&op)?, Performed::Done);
        self.synced = self.history.len();
        Ok(())
    }

    fn truncate(&mut self) -> Result<(), StorageError> {
        let keep = self.rng.below(self.history.len() as u64 + 1) as usize;
        let after = keep
            .checked_sub(1)
            .map_or(Zxid::ZERO, |at| self.history[at].0);
        self.background.clear();
        let op = WriteOp::Truncate { after };
        match self.store().perform(&op) {
            Ok(Performed::Reload) => {}
            Ok(Performed::Done) => panic!("a truncation asks for a reload"),
            Err(e) => {
                self.history.truncate(keep);
                self.synced = self.synced.min(keep);
                return Err(e);
            }
        }
        let notes = self.store().take_notes().concat();
        if !notes.contains("can not be cut") {
            self.history.truncate(keep);
        }
        // Where it can not be cut nothing changes but that all is synced.
        self.synced = self.history.len();
        let state = self.store().reload()?;
        assert_state(&state.database, &self.history);
        assert_eq!(state.accepted, self.accepted);
        // Reading the directory raises the epoch to that of the history.
        assert_eq!(state.current, self.current.max(self.last().epoch()));
        self.current = state.current;
        Ok(())
    }

    /// A leader of a later epoch sends its state: some of this history, and its own.
    fn install(&mut self) -> Result<(), StorageError> {
        if self.accepted <= self.current.max(self.last().epoch()) {
            self.promise()?;
        }
        let mut history = self.history.clone();
        history.truncate(self.rng.below(history.len() as u64 + 1) as usize);
        for n in 1..=self.rng.below(4) as u32 {
            self.mark = self.mark.wrapping_add(1);
            history.push((
                z(self.accepted.0, n),
                record(z(self.accepted.0, n), 30, self.mark),
            ));
        }
        self.background.clear();
        let mut steps = snapshot_steps(&history, 200);
        if self.rng.below(4) == 0 {
            steps.pop();
            steps.push(SnapshotStep::Abandon);
            history = self.history.clone();
        }
        self.target = Some(history.clone());
        for step in steps {
            let performed = self.store().perform(&WriteOp::Install(step))?;
            assert_eq!(performed, Performed::Done);
            self.synced = self.history.len();
        }
        self.history = history;
        self.synced = self.history.len();
        Ok(())
    }

    /// Begins a background snapshot, or does some of its steps.
    fn snapshot(&mut self) -> Result<(), StorageError> {
        if self.background.is_empty() {
            let mut steps = snapshot_steps(&self.history, 300);
            steps.reverse();
            self.background = steps;
        }
        for _ in 0..=self.rng.below(4) {
            if let Some(step) = self.background.pop() {
                self.store().snapshot_step(&step)?;
            }
        }
        Ok(())
    }

    /// The process dies, the machine lives: the page cache is there for the next process.
    fn kill(&mut self, allowed: &[May]) {
        let files = self.store.take().expect("open").into_files();
        self.start(files, allowed);
    }

    /// Power fails.
    fn crash(&mut self, allowed: &[May]) {
        self.crashes += 1;
        let files = self.store.take().expect("open").into_files();
        let style = self.rng.below(4);
        let rng = &mut self.rng;
        files.crash(|choice, below| match (style, choice) {
            (0, _) => 0,
            (1, _) => below - 1,
            (2, Choice::Manner(..)) => 0,
            _ => rng.below(below),
        });
        self.start(files, allowed);
    }

    /// The next process comes; power may fail on its way.
    fn start(&mut self, files: FaultyFiles, allowed: &[May]) {
        if self.rng.below(3) == 0 {
            self.half_open(&files);
        }
        files.set_changes_left(None);
        self.come_back(files, allowed)
            .expect("the directory is loadable");
    }

    /// A start that loses power on its way.
    fn half_open(&mut self, files: &FaultyFiles) {
        files.set_changes_left(Some(self.rng.below(12)));
        let _ = Store::open(files.clone(), OPTIONS);
        files.crash(|_, below| self.rng.below(below));
    }

    fn come_back(&mut self, files: FaultyFiles, allowed: &[May]) -> Result<(), StorageError> {
        let (store, state) = Store::open(files, OPTIONS)?;
        let last = state.database.applied();
        let Some(may) = allowed.iter().find(|may| may.allows(&state)) else {
            panic!(
                "{last} with epochs {} and {} is none of {:?}",
                state.accepted,
                state.current,
                allowed
                    .iter()
                    .map(|m| (m.sure, m.history.iter().map(|h| h.0).collect::<Vec<_>>()))
                    .collect::<Vec<_>>()
            );
        };
        let n = may.history.partition_point(|(zxid, _)| *zxid <= last);
        self.history = may.history[..n].to_vec();
        self.synced = n;
        self.accepted = state.accepted;
        self.current = state.current;
        self.background.clear();
        self.store = Some(store);
        Ok(())
    }
}

fn live(seed: u64, steps: u32) -> u32 {
    let mut life = Life::new(seed);
    for _ in 0..steps {
        match life.rng.below(12) {
            0 => die_inside(&mut life),
            1 => life.crash(&[life.now()]),
            2 => life.kill(&[life.now()]),
            _ => life.step().0.expect("nothing fails"),
        }
    }
    life.crash(&[life.now()]);
    life.crashes
}

fn die_inside(life: &mut Life) {
    let left = life.rng.below(30);
    life.store().files().set_changes_left(Some(left));
    let (result, before, after) = life.step();
    if result.is_ok() {
        return life.crash(&[life.now()]);
    }
    let allowed = May::between(before, after, life.target.take());
    if life.rng.below(2) == 0 {
        life.kill(&allowed);
    } else {
        life.crash(&allowed);
    }
}

#[test]
fn any_crash_leaves_what_was_synced_and_nothing_else() {
    let mut crashes = 0;
    for seed in 0..800 {
        let outcome = std::panic::catch_unwind(|| live(seed, 60));
        match outcome {
            Ok(n) => crashes += n,
            Err(_) => panic!("life {seed} ended badly"),
        }
    }
    assert!(crashes > 2_000, "{crashes} crashes say little");
}

/// Every place between two file operations of some lives, not only drawn ones.
#[test]
fn every_crash_point_leaves_what_was_synced_and_nothing_else() {
    let mut all = Tried::default();
    for seed in 0..6 {
        let mut life = Life::new(seed);
        let files = life.store().files().clone();
        let base = files.files().clone();
        files.record();
        let mut ops = Vec::new();
        // By the number of operations that are done.
        let mut allowed = vec![vec![life.now()]];
        for _ in 0..25 {
            let (result, before, after) = life.step();
            result.expect("nothing fails");
            ops.extend(files.take_journal());
            allowed.truncate(ops.len());
            let between = May::between(before, after, life.target.take());
            allowed.resize(ops.len(), between);
            allowed.push(vec![life.now()]);
        }
        let tried = every_crash(&base, &ops, 12, &mut |done, files| {
            let (store, state) = Store::open(files, OPTIONS).expect("the directory is loadable");
            let fits = allowed[done].iter().any(|may| may.allows(&state));
            assert!(
                fits,
                "life {seed} after {done} operations: {}",
                state.database.applied()
            );
            let (_, again) = Store::open(store.into_files(), OPTIONS).expect("loadable again");
            assert_eq!(again.database.digest(), state.database.digest());
            assert_eq!(again.accepted, state.accepted);
        });
        all.points += tried.points;
        all.states += tried.states;
    }
    assert!(all.points > 500 && all.states > 3_000, "{all:?} say little");
}

#[test]
fn an_install_cut_off_anywhere_never_mixes_two_histories() {
    // The leader has 1:10, which this server never saw; this server has an end of epoch 2 that the
    // leader never saw.
    let mut old = super::records(1, 1, 9);
    old.extend(super::records(2, 1, 5));
    let new = super::records(1, 1, 10);
    let mut outcomes = [0; 2];
    for changes in 0..40 {
        let files = FaultyFiles::default();
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        super::set_epochs(&mut store, 2);
        super::append(&mut store, &old);
        store.sync().expect("synced");
        store.files().set_changes_left(Some(changes));
        for step in snapshot_steps(&new, 500) {
            if store.perform(&WriteOp::Install(step)).is_err() {
                break;
            }
        }
        let files = store.into_files();
        files.set_changes_left(None);
        files.crash(|_, below| below - 1);
        let (_, state) = Store::open(files, OPTIONS).expect("loadable");
        let last = state.database.applied();
        let came = usize::from(last == z(1, 10));
        outcomes[came] += 1;
        let history = if came == 1 { &new } else { &old };
        let n = history.partition_point(|(zxid, _)| *zxid <= last);
        assert!(n >= 9, "only {last} is left");
        assert_state(&state.database, &history[..n]);
    }
    assert!(outcomes[0] > 5 && outcomes[1] > 5, "{outcomes:?}");
}

#[test]
fn a_truncation_cut_off_anywhere_needs_no_log_that_was_never_there() {
    // The second snapshot is of transactions that the log never held.
    let history = super::records(0, 1, 30);
    for changes in 0..20 {
        let files = FaultyFiles::default();
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        super::append(&mut store, &history[..15]);
        super::take_snapshot(&mut store, &history[..20]);
        let (mut store, _) = Store::open(store.into_files(), OPTIONS).expect("opened");
        super::append(&mut store, &history[20..]);
        store.sync().expect("synced");
        store.files().set_changes_left(Some(changes));
        let done = store
            .perform(&WriteOp::Truncate { after: Zxid(12) })
            .is_ok();
        let files = store.into_files();
        files.set_changes_left(None);
        files.crash(|_, _| 0);
        let (_, state) = Store::open(files, OPTIONS).expect("loadable");
        let n = state.database.applied().0 as usize;
        assert!(n == 12 || !done, "{n} are left");
        assert_state(&state.database, &history[..n]);
    }
}

#[test]
fn a_failed_sync_is_never_forgotten() {
    let (mut store, _) = Store::open(FaultyFiles::default(), OPTIONS).expect("opened");
    super::append(&mut store, &super::records(0, 1, 2));
    strike(&store, Kind::Sync, 0, 0);
    assert!(matches!(store.sync(), Err(StorageError::Io { .. })));
    assert_eq!(store.files().take_errors(), 1);
    assert!(matches!(store.sync(), Err(StorageError::FailedBefore)));
    let step = SnapshotStep::Begin { zxid: Zxid::ZERO };
    assert!(matches!(
        store.snapshot_step(&step),
        Err(StorageError::FailedBefore)
    ));
}

fn strike(store: &Store<FaultyFiles>, kind: Kind, after: u64, word: u64) {
    store.files().arm(Strike { kind, after, word });
}

/// The system shows what the failed sync did not write, and takes it for clean.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_stable_after_the_next_start() {
    let history = super::records(0, 1, 20);
    for word in 0..50 {
        let (mut store, _) = Store::open(FaultyFiles::default(), OPTIONS).expect("opened");
        super::append(&mut store, &history[..10]);
        store.sync().expect("synced");
        super::append(&mut store, &history[10..]);
        strike(&store, Kind::Sync, 0, word);
        assert!(store.sync().is_err());
        let (store, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
        let n = state.database.applied().0 as usize;
        assert_eq!(n, 20, "the process died, the machine did not");
        store.files().crash(|_, _| 0);
        let (_, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
        assert_state(&state.database, &history);
    }
}

/// A sync that reports a full disk has lost what it was to write, and the next one does not know.
#[test]
fn what_a_sync_found_no_room_for_is_written_again() {
    let history = super::records(0, 1, 30);
    for word in 0..50 {
        let (mut store, _) = Store::open(FaultyFiles::default(), OPTIONS).expect("opened");
        super::append(&mut store, &history[..10]);
        store.sync().expect("synced");
        super::append(&mut store, &history[10..20]);
        for again in 0..3 {
            strike(&store, Kind::SyncFull, 0, word + again);
            let refused = store.sync().unwrap_err();
            assert!(refused.is_full(), "{refused}");
            assert!(refused.to_string().contains("make room"), "{refused}");
        }
        super::append(&mut store, &history[20..]);
        store.sync().expect("there is room");
        store.files().crash(|_, _| 0);
        let (mut store, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
        assert_state(&state.database, &history);
        // So is an epoch.
        strike(&store, Kind::SyncFull, 0, word);
        let op = WriteOp::AcceptedEpoch(Epoch(5));
        assert!(store.perform(&op).is_err_and(|e| e.is_full()));
        super::perform(&mut store, op);
        store.files().crash(|_, _| 0);
        let (_, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
        assert_eq!(state.accepted, Epoch(5));
    }
}

/// Whatever byte the disk is full at.
#[test]
fn a_full_disk_takes_nothing_that_was_synced() {
    let history = super::records(0, 1, 300);
    let options = Options {
        prealloc_bytes: 64 << 10,
        ..OPTIONS
    };
    for room in (0..9000).step_by(23) {
        let (mut store, _) = Store::open(FaultyFiles::default(), options).expect("opened");
        let mut synced = 0;
        store.files().set_room(Some(room));
        for batch in history.chunks(5) {
            let wrote = batch.iter().try_for_each(|(zxid, record)| {
                let (zxid, record) = (*zxid, record.clone());
                store.perform(&WriteOp::Append { zxid, record }).map(drop)
            });
            if wrote.and_then(|()| store.sync()).is_err() {
                break;
            }
            synced += batch.len();
        }
        assert!(store.files().take_errors() > 0);
        let files = store.into_files();
        files.set_room(None);
        if room % 2 == 0 {
            files.crash(|_, _| 0);
        }
        let (_, state) = Store::open(files, options).expect("there is room again");
        let n = state.database.applied().0 as usize;
        assert!(
            n >= synced,
            "{synced} were synced with room for {room}, {n} are left"
        );
        assert_state(&state.database, &history[..n]);
    }
}

#[cfg(feature = "mutants")]
#[test]
fn known_bugs_of_the_disk_lose_what_was_synced() {
    use vivarium_core::mutants::{Mutant, Mutants};

    let open = |files, mutant| {
        let mutants = Mutants::with(mutant);
        Store::open(files, Options { mutants, ..OPTIONS })
    };
    let history = super::records(0, 1, 20);

    let (mut store, _) = open(FaultyFiles::default(), Mutant::SyncRetried).expect("opened");
    super::append(&mut store, &history);
    strike(&store, Kind::Sync, 0, 0);
    store.sync().expect("believed");
    store.files().crash(|_, _| 0);
    let (_, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
    assert!(state.database.applied() < Zxid(20));

    let (mut store, _) = open(FaultyFiles::default(), Mutant::RenameNotSynced).expect("opened");
    super::perform(&mut store, WriteOp::AcceptedEpoch(Epoch(5)));
    store.files().crash(|_, _| 0);
    let (_, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
    assert_eq!(state.accepted, Epoch(0));
}
