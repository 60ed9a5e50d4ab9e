//! A disk that has no room: what is refused may be repeated, what was synced stays, and the reserve
//! takes what is under way. On files that take room by the sector and hand out half a write.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{Epoch, Zxid};

use super::{OPTIONS, append, assert_state, records, set_epochs, snapshot_steps, take_snapshot};
use crate::log_format::{MARK_BYTES, mark_offset};
use crate::mem::{MemFiles, SECTOR_BYTES};
use crate::{Dir, Files, Options, Performed, Store};

/// Files on a disk of so many sectors.
#[derive(Clone, Debug)]
struct Narrow {
    files: MemFiles,
    taken: BTreeMap<(Dir, String), BTreeSet<u64>>,
    sectors: usize,
    /// Can room be taken before it is written to?
    allocates: bool,
}

impl Narrow {
    fn new(sectors: usize, allocates: bool) -> Self {
        Self {
            files: MemFiles::new(),
            taken: BTreeMap::new(),
            sectors,
            allocates,
        }
    }

    fn used(&self) -> usize {
        self.taken.values().map(BTreeSet::len).sum()
    }

    /// Takes the room for these bytes; how many of them have some.
    fn take(&mut self, dir: Dir, name: &str, offset: u64, len: u64) -> u64 {
        let mut left = self.sectors.saturating_sub(self.used());
        let taken = self.taken.entry((dir, name.to_owned())).or_default();
        let mut at = offset;
        while at < offset + len {
            let sector = at / SECTOR_BYTES;
            if !taken.contains(&sector) {
                if left == 0 {
                    return at - offset;
                }
                left -= 1;
                taken.insert(sector);
            }
            at = (sector + 1) * SECTOR_BYTES;
        }
        len
    }

    /// The power fails; what was not synced is gone, the room is that of what is left.
    fn crash(mut self) -> Self {
        self.files.crash(|_, _| 0);
        let mut taken = core::mem::take(&mut self.taken);
        taken.retain(|(dir, name), _| self.files.len(*dir, name).is_ok());
        self.taken = taken;
        self
    }
}

impl Files for Narrow {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        self.files.len(dir, name)
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.files.read_at(dir, name, offset, buf)
    }

    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fits = self.take(dir, name, offset, bytes.len() as u64);
        self.files
            .write_at(dir, name, offset, &bytes[..fits as usize])?;
        if fits < bytes.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()> {
        let taken = self.taken.entry((dir, name.to_owned())).or_default();
        taken.retain(|sector| sector * SECTOR_BYTES < len);
        self.files.set_len(dir, name, len)
    }

    fn allocate(&mut self, dir: Dir, name: &str, offset: u64, len: u64) -> io::Result<()> {
        if self.allocates && self.take(dir, name, offset, len) < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.files.sync(dir, name)
    }

    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        self.files.sync_dir(dir)
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        let taken = self.taken.remove(&(dir, from.to_owned()));
        self.taken
            .insert((dir, to.to_owned()), taken.unwrap_or_default());
        self.files.rename(dir, from, to)
    }

    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.taken.remove(&(dir, name.to_owned()));
        self.files.remove(dir, name)
    }
}

const RESERVING: Options = Options {
    reserve_bytes: 8192,
    ..OPTIONS
};

fn op(history: &[(Zxid, bytes::Bytes)], at: usize) -> WriteOp {
    let (zxid, record) = &history[at];
    WriteOp::Append {
        zxid: *zxid,
        record: record.clone(),
    }
}

/// Appends and syncs until there is no room; how many were synced.
fn fill(store: &mut Store<Narrow>, history: &[(Zxid, bytes::Bytes)], from: usize) -> usize {
    for at in from..history.len() {
        let done = store.perform(&op(history, at)).and_then(|done| {
            assert_eq!(done, Performed::Done);
            store.sync()
        });
        match done {
            Ok(()) => {}
            Err(e) if e.is_full() => return at,
            Err(e) => panic!("{e}"),
        }
    }
    panic!("there was room for everything");
}

/// A write is refused at every sector of a file in turn; then there is room again.
#[test]
fn what_found_no_room_is_written_to_the_same_place_later() {
    let history = records(0, 1, 400);
    for allocates in [true, false] {
        for options in [OPTIONS, RESERVING] {
            // The reserve takes 8 KiB for the log and 64 KiB for the epochs.
            let has_reserve = allocates && options.reserve_bytes > 0;
            let reserve = if has_reserve { 144 } else { 0 };
            for sectors in reserve + 50..reserve + 85 {
                let files = Narrow::new(sectors, allocates);
                let (mut store, _) = Store::open(files, options).expect("opened");
                let full = fill(&mut store, &history, 0);
                assert!(full > 50, "{full} of {sectors}");
                // Still not, however often it is asked.
                // What was refused at the sync was taken, and must not be given again.
                let is_taken = store.last() == history[full].0;
                for _ in 0..3 {
                    let again = if is_taken {
                        store.sync()
                    } else {
                        store.perform(&op(&history, full)).map(|_| ())
                    };
                    assert!(again.is_err_and(|e| e.is_full()));
                }
                let crashed = store.files().clone().crash();
                let (_, state) = Store::open(crashed, options).expect("opened after a crash");
                assert!(state.database.applied() >= Zxid(full as i64));
                store.files_mut().sectors = 1_000;
                if !is_taken {
                    append(&mut store, &history[full..=full]);
                }
                append(&mut store, &history[full + 1..]);
                store.sync().expect("there is room");
                let crashed = store.into_files().crash();
                let (_, state) = Store::open(crashed, options).expect("opened again");
                assert_state(&state.database, &history);
            }
        }
    }
}

#[test]
fn the_reserve_takes_what_is_under_way_and_comes_back() {
    let history = records(0, 1, 1_100);
    let (mut store, _) = Store::open(Narrow::new(330, true), RESERVING).expect("opened");
    assert!(!store.is_low());
    let mut at = 0;
    while !store.is_low() {
        append(&mut store, &history[at..=at]);
        store.sync().expect("there is room");
        at += 1;
    }
    // As many as a file of that size holds, the one that began it among them.
    let full = fill(&mut store, &history, at);
    let size = history[at].1.len() + 13;
    assert!(
        (full - at + 2) * size > 8192 - 2048,
        "only {} more",
        full - at
    );
    store.make_reserve().expect("that is no failure");
    assert!(store.is_low());
    let files = store.into_files().crash();
    let (mut store, state) = Store::open(files, RESERVING).expect("opened");
    assert_state(&state.database, &history[..full]);
    assert!(store.is_low(), "no room for a reserve at the start, either");
    store.files_mut().sectors = 700;
    store.make_reserve().expect("there is room");
    assert!(!store.is_low());
    append(&mut store, &history[full..full + 50]);
    store.sync().expect("there is room");
    let (_, state) = Store::open(store.into_files().crash(), RESERVING).expect("opened");
    assert_state(&state.database, &history[..full + 50]);
}

/// The two marks are written in turn: one that was refused must not turn the next one against the
/// only good one.
#[test]
fn a_mark_that_found_no_room_leaves_the_last_one_alone() {
    let history = records(0, 1, 10);
    let (mut store, _) = Store::open(Narrow::new(1_000, false), OPTIONS).expect("opened");
    append(&mut store, &history[..1]);
    store.sync().expect("synced");
    let name = store.files().list(Dir::Logs).expect("listed").remove(0);
    let size = store.files().len(Dir::Logs, &name).expect("there");
    let marks = |store: &Store<Narrow>| {
        [0, 1].map(|turn| {
            let mut mark = [0; MARK_BYTES];
            let at = mark_offset(size, turn);
            let read = store.files().read_at(Dir::Logs, &name, at, &mut mark);
            assert_eq!(read.expect("read"), MARK_BYTES);
            mark
        })
    };
    // The one that is next has lost its room.
    let before = marks(&store);
    let files = store.files_mut();
    files.sectors = files.used() - 1;
    let next = mark_offset(size, 0) / SECTOR_BYTES;
    let taken = files.taken.get_mut(&(Dir::Logs, name.clone()));
    assert!(taken.expect("written").remove(&next));
    for at in 1..3 {
        append(&mut store, &history[at..=at]);
        store.sync().expect("the record has its place");
        assert_eq!(marks(&store)[1], before[1], "the good one");
    }
    store.files_mut().sectors = 1_000;
    append(&mut store, &history[3..4]);
    store.sync().expect("synced");
    let after = marks(&store);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
}

/// What a start has to write finds the room of the reserve.
#[test]
fn a_full_disk_does_not_keep_a_server_from_starting() {
    let history = records(0, 1, 1_100);
    let (mut store, _) = Store::open(Narrow::new(330, true), RESERVING).expect("opened");
    let full = fill(&mut store, &history, 0);
    store.files_mut().sectors = store.files().used();
    let mut files = store.into_files();
    // As an older server leaves it: the epochs have to be written.
    let names = files.list(Dir::Snapshots).expect("listed");
    for name in names.iter().filter(|name| name.ends_with("Epoch")) {
        files.remove(Dir::Snapshots, name).expect("removed");
    }
    files.sectors = files.used();
    let (store, state) = Store::open(files, RESERVING).expect("opened");
    assert!(store.is_low());
    assert_state(&state.database, &history[..full]);
    // Without a reserve it says what to do.
    let mut files = store.into_files();
    for name in [crate::names::SPARE_LOG, crate::names::BALLAST] {
        drop(files.remove(Dir::Snapshots, name));
        drop(files.remove(Dir::Logs, name));
    }
    for name in names.iter().filter(|name| name.ends_with("Epoch")) {
        files.remove(Dir::Snapshots, name).expect("removed");
    }
    files.sectors = files.used() - 2;
    let refused = Store::open(files, OPTIONS).unwrap_err().to_string();
    assert!(refused.contains("make room on its disk"), "{refused}");
}

#[test]
fn epochs_find_room_where_the_log_does_not() {
    let history = records(0, 1, 900);
    let (mut store, _) = Store::open(Narrow::new(330, true), RESERVING).expect("opened");
    let full = fill(&mut store, &history, 0);
    store.files_mut().sectors = store.files().used();
    set_epochs(&mut store, 1);
    // The second one gave back the room of the file that it replaced.
    let (_, state) = Store::open(store.files().clone().crash(), RESERVING).expect("opened");
    assert_eq!((state.accepted, state.current), (Epoch(1), Epoch(1)));
    assert_state(&state.database, &history[..full]);
}

#[test]
fn a_snapshot_without_room_goes_away_and_old_files_go_first() {
    let history = records(0, 1, 900);
    let keep = Options {
        purge_with_snapshot: false,
        ..OPTIONS
    };
    let (mut store, _) = Store::open(Narrow::new(100_000, true), keep).expect("opened");
    for end in [100, 200, 300, 400] {
        append(&mut store, &history[end - 100..end]);
        take_snapshot(&mut store, &history[..end]);
    }
    let snapshots = |store: &Store<Narrow>| {
        let names = store.files().list(Dir::Snapshots).expect("listed");
        names.iter().filter(|n| n.starts_with("snapshot.")).count()
    };
    assert_eq!(snapshots(&store), 5);
    append(&mut store, &history[400..450]);
    store.sync().expect("synced");
    // Room for the snapshot only if the two oldest go.
    store.files_mut().sectors = store.files().used() + 60;
    take_snapshot(&mut store, &history[..450]);
    assert_eq!(snapshots(&store), 4);
    // Now there is nothing left that could go.
    store.purge();
    store.files_mut().sectors = store.files().used() + 10;
    let mut failed = false;
    for step in snapshot_steps(&history[..450], 100) {
        if let Err(e) = store.snapshot_step(&step) {
            assert!(e.is_full(), "{e}");
            failed = true;
            break;
        }
    }
    assert!(failed);
    let names = store.files().list(Dir::Snapshots).expect("listed");
    assert!(!names.iter().any(|n| n.starts_with("tmp.")), "{names:?}");
    store
        .snapshot_step(&SnapshotStep::Abandon)
        .expect("nothing to forget");
    store.files_mut().sectors = 100_000;
    append(&mut store, &history[450..]);
    store.sync().expect("the log does not mind");
    take_snapshot(&mut store, &history);
    let (_, state) = Store::open(store.into_files().crash(), keep).expect("opened");
    assert_state(&state.database, &history);
}

#[test]
fn the_log_needs_the_room_of_a_snapshot_under_way_more() {
    let history = records(0, 1, 900);
    let (mut store, _) = Store::open(Narrow::new(330, true), RESERVING).expect("opened");
    append(&mut store, &history[..300]);
    let steps = snapshot_steps(&history[..300], usize::MAX);
    for step in &steps[..2] {
        store.snapshot_step(step).expect("there is room for it");
    }
    let mut at = 300;
    let is_there = |store: &Store<Narrow>| {
        let names = store.files().list(Dir::Snapshots).expect("listed");
        names.iter().any(|n| n == "tmp.background")
    };
    while is_there(&store) {
        assert!(
            !store.is_low(),
            "the reserve is for when nothing else helps"
        );
        append(&mut store, &history[at..=at]);
        store.sync().expect("there is room");
        at += 1;
    }
    assert!(!store.is_low());
    store.snapshot_step(&steps[2]).expect("overtaken, no error");
    let (_, state) = Store::open(store.into_files().crash(), RESERVING).expect("opened");
    assert_state(&state.database, &history[..at]);
}

/// Whatever step of it finds no room, the same step goes on where it was.
#[test]
fn an_install_waits_for_room() {
    let history = records(0, 1, 200);
    let steps = snapshot_steps(&history, 700);
    for packing in [crate::Packing::Plain, crate::Packing::Gzip] {
        let options = Options { packing, ..OPTIONS };
        for sectors in 4..40 {
            let (mut store, _) = Store::open(Narrow::new(1_000, true), options).expect("opened");
            store.files_mut().sectors = store.files().used() + sectors;
            let mut waited = 0;
            for step in &steps {
                let op = WriteOp::Install(step.clone());
                while let Err(e) = store.perform(&op) {
                    assert!(e.is_full(), "{e}");
                    waited += 1;
                    assert!(waited < 1_000, "what is written grows while it waits");
                    store.files_mut().sectors += 1;
                }
            }
            assert!(waited > 0 || sectors > 4);
            let (_, state) = Store::open(store.into_files().crash(), options).expect("opened");
            assert_state(&state.database, &history);
        }
    }
}
