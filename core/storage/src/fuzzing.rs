//! Bodies of the fuzz targets for files. Ordinary functions, as those of `vivarium_core::fuzzing`:
//! they run on chosen inputs with the tests, and the crate `fuzz` only calls them.
//!
//! Each puts any bytes into a data directory and starts. A start never panics and never reads more
//! at once than a file holds and a block. It refuses in words that name a file, or gives a state
//! that a second start gives too, also after a power loss; and then no transaction is missing that
//! stands whole, with a right checksum, before the first that does not.

use std::io;

use vivarium_core::ids::{Epoch, SessionId, Zxid};
use vivarium_core::recovery::Recovered;
use vivarium_core::time::WallMs;
use vivarium_core::wire::records::op;
use vivarium_core::wire::txn::{Txn, TxnHeader, TxnRecord};

use crate::checksum::adler32;
use crate::crashes::Extent;
use crate::error::StorageError;
use crate::files::{Dir, Files};
use crate::log_format::{HEADER_BYTES, header, put_record};
use crate::log_reader::BLOCK_BYTES;
use crate::mem::MemFiles;
use crate::names;
use crate::packing::Packing;
use crate::store::{Options, Store};

fn options() -> Options {
    Options {
        prealloc_bytes: 8192,
        seed: 7,
        ..Options::default()
    }
}

/// Files that nobody reads with a buffer out of all proportion.
struct Measured(MemFiles);

impl Files for Measured {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        self.0.len(dir, name)
    }
    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.0.len(dir, name)?;
        assert!(
            buf.len() as u64 <= len + BLOCK_BYTES,
            "{} bytes are asked of {name}, which has {len}",
            buf.len()
        );
        self.0.read_at(dir, name, offset, buf)
    }
    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(dir, name, offset, bytes)
    }
    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()> {
        self.0.set_len(dir, name, len)
    }
    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.0.sync(dir, name)
    }
    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(dir, from, to)
    }
    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.0.remove(dir, name)
    }
}

/// A directory as a server leaves it that has never done anything.
fn fresh() -> MemFiles {
    let (store, _) = Store::open(MemFiles::new(), options()).expect("an empty directory is fine");
    store.into_files()
}

/// Replaces a file, stable.
fn put(files: &mut MemFiles, dir: Dir, name: &str, bytes: &[u8]) {
    const FINE: &str = "memory takes everything";
    files.write_at(dir, name, 0, bytes).expect(FINE);
    files.set_len(dir, name, bytes.len() as u64).expect(FINE);
    files.sync(dir, name).expect(FINE);
    files.sync_dir(dir).expect(FINE);
}

/// Starts; and again, in two ways, if that succeeds.
fn start(files: MemFiles) -> Option<Recovered> {
    let (store, found) = match Store::open(Measured(files), options()) {
        Ok(opened) => opened,
        Err(why) => {
            refused_in_words(&why);
            return None;
        }
    };
    let now = (Extent::of(&found), found.database.digest());
    let Measured(files) = store.into_files();
    let platter = files.platter();
    for files in [files, platter] {
        let again = Store::open(Measured(files), options());
        let (_, again) = again.expect("what a start has made can be started from");
        assert_eq!((Extent::of(&again), again.database.digest()), now);
    }
    Some(found)
}

fn refused_in_words(why: &StorageError) {
    match why {
        StorageError::Damaged { name, cure, .. } => assert!(!name.is_empty() && !cure.is_empty()),
        StorageError::Inconsistent { problem, cure } => {
            assert!(!problem.is_empty() && !cure.is_empty());
        }
        other => panic!("no file system refused anything: {other}"),
    }
}

/// Zxids of the whole records that follow each other from the header on.
fn whole_records(log: &[u8]) -> Vec<Zxid> {
    let mut zxids = Vec::new();
    let mut rest = match log.split_at_checked(HEADER_BYTES as usize) {
        Some((head, rest)) if head[..8] == header()[..8] => rest,
        _ => return zxids,
    };
    while let Some((head, behind)) = rest.split_at_checked(12) {
        let sum = u64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
        let len = i32::from_be_bytes(head[8..].try_into().expect("four bytes"));
        let Some((txn, behind)) = usize::try_from(len)
            .ok()
            .filter(|len| *len > 0)
            .and_then(|len| behind.split_at_checked(len))
        else {
            break;
        };
        let Ok(header) = TxnHeader::peek(txn) else {
            break;
        };
        if behind.first() != Some(&b'B') || u64::from(adler32(txn)) != sum {
            break;
        }
        zxids.push(header.zxid);
        rest = &behind[1..];
    }
    zxids
}

/// The only log file of a server.
pub fn log_file(bytes: &[u8]) {
    let mut files = fresh();
    put(&mut files, Dir::Logs, "log.1", bytes);
    if let Some(found) = start(files) {
        let last = whole_records(bytes).last().copied().unwrap_or_default();
        // What a snapshot of zxid 0 holds is no news.
        let last = last.max(Zxid::ZERO);
        assert_eq!(
            found.database.applied(),
            last,
            "no whole record is dropped or made up"
        );
    }
}

/// The newest snapshot. The first byte says how it is packed, and whether an older one and the logs
/// hold the same; the second is its zxid.
pub fn snapshot_file(bytes: &[u8]) {
    let [how, zxid, content @ ..] = bytes else {
        return;
    };
    let covered = how & 4 != 0;
    let packing = [Packing::Plain, Packing::Gzip, Packing::Snappy][usize::from(how & 3) % 3];
    let zxid = Zxid(i64::from(*zxid));
    let mut files = fresh();
    if covered {
        put(&mut files, Dir::Logs, "log.1", &log(1, 9));
    } else {
        let plain = names::snapshot(Zxid::ZERO, Packing::Plain);
        files.remove(Dir::Snapshots, &plain).expect("it was there");
    }
    put(
        &mut files,
        Dir::Snapshots,
        &names::snapshot(zxid, packing),
        content,
    );
    if let Some(found) = start(files) {
        let reached = found.database.applied();
        assert!(reached >= zxid, "{zxid} was reached once");
        assert!(!covered || reached >= Zxid(9), "the logs reach further");
    }
}

/// One of the epoch files; the first byte says which.
pub fn epoch_file(bytes: &[u8]) {
    let Some((which, content)) = bytes.split_first() else {
        return;
    };
    let tmp = format!("{}{}", names::CURRENT_EPOCH, names::TMP_SUFFIX);
    let all = [names::ACCEPTED_EPOCH, names::CURRENT_EPOCH, &tmp];
    let mut files = fresh();
    let mut log = header().to_vec();
    (1..=2).for_each(|n| put_record(&record(Zxid::new(Epoch(3), n)), &mut log));
    put(&mut files, Dir::Logs, "log.300000001", &log);
    for name in &all[..2] {
        put(&mut files, Dir::Snapshots, name, b"3");
    }
    put(
        &mut files,
        Dir::Snapshots,
        all[usize::from(*which) % 3],
        content,
    );
    if let Some(found) = start(files) {
        assert_eq!(found.database.applied(), Zxid::new(Epoch(3), 2));
        assert!(found.accepted >= found.current && found.current >= Epoch(3));
    }
}

/// A directory of several files: for each a byte that says which one (its lower half) and what to
/// do with it, two with the length of its content, and that.
pub fn directory(bytes: &[u8]) {
    const ALL: &[(Dir, &str)] = &[
        (Dir::Logs, "log.1"),
        (Dir::Logs, "log.4"),
        (Dir::Logs, "log.7"),
        (Dir::Logs, "log.100000001"),
        (Dir::Logs, "log."),
        (Dir::Snapshots, "snapshot.0"),
        (Dir::Snapshots, "snapshot.3"),
        (Dir::Snapshots, "snapshot.6.gz"),
        (Dir::Snapshots, "snapshot.9.snappy"),
        (Dir::Snapshots, "acceptedEpoch"),
        (Dir::Snapshots, "currentEpoch"),
        (Dir::Snapshots, "currentEpoch.tmp"),
        (Dir::Snapshots, "tmp.background"),
        (Dir::Snapshots, "tmp.install"),
    ];
    let mut files = fresh();
    let mut rest = bytes;
    while let [which, long, short, behind @ ..] = rest {
        let len = usize::from(*long) << 8 | usize::from(*short);
        let (content, behind) = behind.split_at(behind.len().min(len));
        let (dir, name) = ALL[usize::from(which & 15) % ALL.len()];
        match (which / 16, content) {
            // Whole records first, or a fuzzer would never get to a second file.
            (1..=8, _) if dir == Dir::Logs => {
                let first = names::parse_log(name).unwrap_or(Zxid(1));
                let mut log = header().to_vec();
                let zxids = (0..i64::from(which / 16)).map(|n| Zxid(first.0 + n));
                zxids.for_each(|zxid| put_record(&record(zxid), &mut log));
                log.extend_from_slice(content);
                put(&mut files, dir, name, &log);
            }
            (15, _) if files.len(dir, name).is_ok() => {
                files.remove(dir, name).expect("it was there");
            }
            _ => put(&mut files, dir, name, content),
        }
        rest = behind;
    }
    start(files);
}

fn log(from: i64, to: i64) -> Vec<u8> {
    let mut out = header().to_vec();
    (from..=to).for_each(|zxid| put_record(&record(Zxid(zxid)), &mut out));
    out
}

fn record(zxid: Zxid) -> Vec<u8> {
    let record = TxnRecord {
        header: TxnHeader {
            session: SessionId(zxid.0),
            cxid: 0,
            zxid,
            time: WallMs(0),
            kind: op::CREATE_SESSION,
        },
        txn: Txn::CreateSession { timeout_ms: 1_000 },
        digest: None,
    };
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}
