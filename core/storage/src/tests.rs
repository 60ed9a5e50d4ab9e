//! Tests of the whole crate: one suite on both kinds of files, crash stories, rot.

mod crash;
mod foreign;
mod known;
mod room;
mod rot;
mod suite;

use std::fmt::Debug;

use bytes::Bytes;
use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::database::{Database, Walked};
use vivarium_core::ids::{Epoch, SessionId, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::recovery::Recovery;
use vivarium_core::time::WallMs;
use vivarium_core::wire::txn::{CreateMode, Txn, TxnHeader, TxnRecord};

use crate::mem::MemFiles;
use crate::{Dir, Files, Options, Packing, Performed, RealFiles, Store};
use suite::Scratch;

pub(crate) const SEED: u64 = 7;

/// A kind of files on which a behaviour of storage is tested.
pub(crate) trait Medium: Files + Debug + Sized {
    /// Of many equal cases, each how manieth is tried.
    const STRIDE: usize;
    /// Two empty directories.
    fn fresh() -> Self;

    /// Others with the same files.
    fn copy(&self) -> Self {
        let mut copy = Self::fresh();
        for dir in [Dir::Snapshots, Dir::Logs] {
            for name in self.list(dir).expect("listed") {
                let mut bytes = vec![0; self.len(dir, &name).expect("exists") as usize];
                self.read_at(dir, &name, 0, &mut bytes).expect("read");
                copy.write_at(dir, &name, 0, &bytes).expect("written");
            }
        }
        copy
    }
}

impl Medium for MemFiles {
    const STRIDE: usize = 1;

    fn fresh() -> Self {
        Self::new()
    }
}

/// Real directories that go away.
#[derive(Debug)]
pub(crate) struct OnDisk {
    files: RealFiles,
    _data: Scratch,
    _logs: Scratch,
}

impl Medium for OnDisk {
    const STRIDE: usize = 61;

    fn fresh() -> Self {
        let (data, logs) = (Scratch::new(), Scratch::new());
        Self {
            files: RealFiles::open(&data.0, &logs.0).expect("opened"),
            _data: data,
            _logs: logs,
        }
    }
}

impl Files for OnDisk {
    fn list(&self, dir: Dir) -> std::io::Result<Vec<String>> {
        self.files.list(dir)
    }
    fn len(&self, dir: Dir, name: &str) -> std::io::Result<u64> {
        self.files.len(dir, name)
    }
    fn read_at(&self, dir: Dir, name: &str, at: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.files.read_at(dir, name, at, buf)
    }
    fn write_at(&mut self, dir: Dir, name: &str, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.files.write_at(dir, name, at, bytes)
    }
    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> std::io::Result<()> {
        self.files.set_len(dir, name, len)
    }
    fn sync(&mut self, dir: Dir, name: &str) -> std::io::Result<()> {
        self.files.sync(dir, name)
    }
    fn sync_dir(&mut self, dir: Dir) -> std::io::Result<()> {
        self.files.sync_dir(dir)
    }
    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> std::io::Result<()> {
        self.files.rename(dir, from, to)
    }
    fn remove(&mut self, dir: Dir, name: &str) -> std::io::Result<()> {
        self.files.remove(dir, name)
    }
}

/// Runs tests, which are in the module `on`, in memory and on real directories.
macro_rules! on_both_media {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                on::$name::<crate::mem::MemFiles>();
                on::$name::<crate::tests::OnDisk>();
            }
        )*
    };
}
pub(crate) use on_both_media;

/// Small files, so that a few transactions need several.
pub(crate) const OPTIONS: Options = Options {
    prealloc_bytes: 8192,
    snap_retain: 3,
    purge_with_snapshot: true,
    reserve_bytes: 0,
    packing: Packing::Plain,
    trust_empty: false,
    seed: SEED,
    mutants: Mutants::NONE,
};

/// Transactions from the first on, whatever way they took to a server.
pub(crate) type History = Vec<(Zxid, Bytes)>;

pub(crate) fn z(epoch: i64, counter: u32) -> Zxid {
    Zxid::new(Epoch(epoch), counter)
}

/// A transaction that creates a node with `len` bytes of data. `mark` tells histories apart.
pub(crate) fn record(zxid: Zxid, len: usize, mark: u8) -> Bytes {
    let data = vec![mark; len];
    let txn = TxnRecord {
        header: TxnHeader {
            session: SessionId(0x0100_0000_0000_0001),
            cxid: 1,
            zxid,
            time: WallMs(1_700_000_000_000),
            kind: 1,
        },
        txn: Txn::Create {
            path: format!("/n{:x}-{mark}", zxid.0).into(),
            data: Some(&data),
            acl: Vec::new(),
            mode: CreateMode::Persistent,
            parent_cversion: zxid.counter() as i32,
        },
        digest: None,
    };
    let mut out = Vec::new();
    txn.encode(&mut out);
    out.into()
}

/// Transactions `from..=to` of one epoch.
pub(crate) fn records(epoch: i64, from: u32, to: u32) -> History {
    (from..=to)
        .map(|n| (z(epoch, n), record(z(epoch, n), 40 + n as usize % 7, 1)))
        .collect()
}

pub(crate) fn database_of(history: &[(Zxid, Bytes)]) -> Database {
    let mut recovery = Recovery::fresh(SEED, Mutants::NONE);
    for (_, record) in history {
        recovery.replay(record.clone()).expect("readable");
    }
    recovery.finish(Epoch(0), Epoch(0)).database
}

/// Steps that write a snapshot of the history.
pub(crate) fn snapshot_steps(history: &[(Zxid, Bytes)], piece: usize) -> Vec<SnapshotStep> {
    let mut database = database_of(history);
    let walk = database.begin_walk();
    let zxid = database.walk_zxid(walk);
    let digest = database.walk_digest(walk);
    let mut steps = vec![SnapshotStep::Begin { zxid }];
    loop {
        let mut out = Vec::new();
        let walked = database.walk(walk, piece, &mut out);
        steps.push(SnapshotStep::Chunk(out.into()));
        match walked {
            Walked::More => {}
            Walked::Done => break,
        }
    }
    database.end_walk(walk);
    steps.push(SnapshotStep::End { zxid, digest });
    steps
}

pub(crate) fn append<F: Files>(store: &mut Store<F>, history: &[(Zxid, Bytes)]) {
    for (zxid, record) in history {
        let op = WriteOp::Append {
            zxid: *zxid,
            record: record.clone(),
        };
        assert_eq!(store.perform(&op).expect("performed"), Performed::Done);
    }
}

pub(crate) fn perform<F: Files>(store: &mut Store<F>, op: WriteOp) {
    assert_eq!(store.perform(&op).expect("performed"), Performed::Done);
}

pub(crate) fn set_epochs<F: Files>(store: &mut Store<F>, epoch: i64) {
    perform(store, WriteOp::AcceptedEpoch(Epoch(epoch)));
    perform(store, WriteOp::CurrentEpoch(Epoch(epoch)));
}

pub(crate) fn take_snapshot<F: Files>(store: &mut Store<F>, history: &[(Zxid, Bytes)]) {
    for step in snapshot_steps(history, 100) {
        store.snapshot_step(&step).expect("stored");
    }
}

pub(crate) fn install<F: Files>(store: &mut Store<F>, history: &[(Zxid, Bytes)]) {
    for step in snapshot_steps(history, 100) {
        perform(store, WriteOp::Install(step));
    }
}

/// The state is that of the history.
#[track_caller]
pub(crate) fn assert_state(database: &Database, history: &[(Zxid, Bytes)]) {
    let last = history.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
    assert_eq!(database.applied(), last);
    assert_eq!(database.digest(), database_of(history).digest());
}
