//! The transactions that make a tree of equal znodes, the tree itself, and a data directory of it.
//! What the measurements begin with; knows nothing of what they measure.

use std::path::Path;

use bytes::Bytes;
use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::database::Walked;
use vivarium_core::ids::{Epoch, SessionId, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::recovery::{Recovered, Recovery};
use vivarium_core::time::WallMs;
use vivarium_core::wire::records::{Acl, op};
use vivarium_core::wire::txn::{CreateMode, Txn, TxnHeader, TxnRecord};
use vivarium_storage::{Options, Packing, Performed, RealFiles, Store};

use super::report::Progress;

/// Children of one parent.
const FAMILY: usize = 1_000;

/// Znodes beside the equal ones: the top.
const TOP: usize = 1;

/// Above all znodes that are made.
pub(super) const ROOT: &str = "/load";

/// Bytes of a snapshot in one step.
const STEP_BYTES: usize = 256 << 10;

/// Equal znodes: how many, and bytes of data of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) znodes: usize,
    pub(super) bytes: usize,
}

impl Shape {
    /// The znode of this number.
    pub(super) fn path(number: usize) -> String {
        format!("{ROOT}/g{:05}/n{number:08}", number / FAMILY)
    }

    /// Bytes of the name that each znode has for itself.
    pub(super) fn name_bytes() -> usize {
        "n00000000".len()
    }

    /// The paths in the order of their making, parents first.
    fn paths(self) -> impl Iterator<Item = (String, bool)> {
        let nodes = (0..self.znodes).flat_map(|number| {
            let group = format!("{ROOT}/g{:05}", number / FAMILY);
            let first = number.is_multiple_of(FAMILY).then_some((group, false));
            first.into_iter().chain([(Self::path(number), true)])
        });
        [(ROOT.to_owned(), false)].into_iter().chain(nodes)
    }

    /// Transactions that make them, of epoch 0.
    pub(super) fn transactions(self) -> impl Iterator<Item = (Zxid, Bytes)> {
        let data = vec![b'x'; self.bytes];
        (1..).zip(self.paths()).map(move |(zxid, (path, is_leaf))| {
            let data = if is_leaf { &data[..] } else { b"" };
            (Zxid(zxid), create(Zxid(zxid), &path, data))
        })
    }

    /// How many transactions there are.
    pub(super) fn count(self) -> usize {
        TOP + self.znodes + self.znodes.div_ceil(FAMILY)
    }

    /// The state after all of them.
    pub(super) fn recovered(self, seed: u64) -> Recovered {
        let mut recovery = Recovery::fresh(seed, Mutants::NONE);
        let mut progress = Progress::new("creating znodes", self.count());
        for (done, (_, record)) in self.transactions().enumerate() {
            progress.at(done);
            recovery.replay(record).expect("just encoded");
        }
        recovery.finish(Epoch(0), Epoch(0))
    }

    /// Makes a data directory: a snapshot, and the last `logged` transactions in a log behind it.
    pub(super) fn write(self, dir: &Path, logged: usize, packing: Packing) -> Result<(), String> {
        let files = RealFiles::open(dir, dir).map_err(|e| e.to_string())?;
        let options = Options {
            packing,
            ..Options::default()
        };
        let (mut store, _) = Store::open(files, options).map_err(|e| e.to_string())?;
        let mut recovery = Recovery::fresh(options.seed, options.mutants);
        let in_snapshot = self.count() - logged.min(self.count() - 1);
        let mut progress = Progress::new("writing transactions", self.count());
        let mut perform = |op: WriteOp| match store.perform(&op) {
            Ok(Performed::Done) => Ok(()),
            Ok(Performed::Reload) => unreachable!("nothing is cut"),
            Err(e) => Err(e.to_string()),
        };
        let mut transactions = (0..).zip(self.transactions());
        for (done, (_, record)) in transactions.by_ref().take(in_snapshot) {
            progress.at(done);
            recovery.replay(record).expect("just encoded");
        }
        install(recovery, &mut perform)?;
        for (done, (zxid, record)) in transactions {
            progress.at(done);
            perform(WriteOp::Append { zxid, record })?;
        }
        store.sync().map_err(|e| e.to_string())
    }
}

/// Makes this state that of the directory.
fn install(
    recovery: Recovery,
    perform: &mut impl FnMut(WriteOp) -> Result<(), String>,
) -> Result<(), String> {
    let mut database = recovery.finish(Epoch(0), Epoch(0)).database;
    let walk = database.begin_walk();
    let (zxid, digest) = (database.walk_zxid(walk), database.walk_digest(walk));
    perform(WriteOp::Install(SnapshotStep::Begin { zxid }))?;
    loop {
        let mut chunk = Vec::new();
        let walked = database.walk(walk, STEP_BYTES, &mut chunk);
        perform(WriteOp::Install(SnapshotStep::Chunk(chunk.into())))?;
        if walked == Walked::Done {
            return perform(WriteOp::Install(SnapshotStep::End { zxid, digest }));
        }
    }
}

/// A transaction as a leader of ZooKeeper 3.5 writes it: without a digest.
fn create(zxid: Zxid, path: &str, data: &[u8]) -> Bytes {
    let record = TxnRecord {
        header: TxnHeader {
            session: SessionId(0),
            cxid: 0,
            zxid,
            time: WallMs(1_700_000_000_000),
            kind: op::CREATE,
        },
        txn: Txn::Create {
            path: path.into(),
            data: Some(data),
            acl: vec![Acl::world(31)],
            mode: CreateMode::Persistent,
            parent_cversion: i32::try_from(zxid.0).expect("far fewer"),
        },
        digest: None,
    };
    let mut out = Vec::new();
    record.encode(&mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_the_shape_that_was_asked_for() {
        let shape = Shape {
            znodes: 2_001,
            bytes: 5,
        };
        assert_eq!(shape.transactions().count(), shape.count());
        let found = shape.recovered(1);
        let tree = found.database.tree();
        assert_eq!(tree.descendants(ROOT), Some(2_001 + 3));
        let last = tree.get(&Shape::path(2_000)).expect("made");
        assert_eq!(last.data(), Some(&b"xxxxx"[..]));
    }
}
