//! Snapshot files: header, the serialized database, trailers. What is in the database is the
//! core's.
//!
//! Header: magic `ZKSN`, int version 2, long -1. Then the database, which ends with the string
//! `/`. Each trailer ends with a seal: long Adler-32 of all bytes before it, and the string `/`.
//! Trailer 1 is the seal alone. Trailer 2 (ZooKeeper 3.6): long zxid, int digest version, digest.
//! Trailer 3 (3.9): long last zxid. Older servers stop reading behind the trailer that they know;
//! with digests switched off trailer 2 is missing.

use std::io::{self, Read};

use vivarium_core::database::{Database, Walked};
use vivarium_core::ids::Zxid;
use vivarium_core::mutants::Mutants;
use vivarium_core::snapshot::SnapshotLoader;
use vivarium_core::wire::txn::DIGEST_VERSION;

use crate::ahead::{BLOCK_BYTES, Block, Blocks};
use crate::checksum::Running;
use crate::error::{About, StorageError};
use crate::files::{Dir, Files};
use crate::names;
use crate::packing::{Packer, Packing, is_content, unpack};

const HEADER_BYTES: usize = 16;
const MAGIC: &[u8; 4] = b"ZKSN";
const VERSION: i32 = 2;

/// Long checksum, int length of the string, `/`.
const SEAL_BYTES: u64 = 13;
/// The string `/`: a length of one and the byte.
const SLASH: &[u8; 5] = b"\0\0\0\x01/";
/// zxid, version, digest as a number.
const DIGEST_TRAILER_BYTES: u64 = 20 + SEAL_BYTES;
const LAST_ZXID_TRAILER_BYTES: u64 = 8 + SEAL_BYTES;
/// More than all trailers; ZooKeeper 3.6.0 wrote its digest as text.
const TRAILERS_BYTES_MAX: usize = 256;

/// The first bytes of a snapshot file.
pub(crate) fn header() -> [u8; HEADER_BYTES] {
    let mut out = [0xff; HEADER_BYTES];
    out[..4].copy_from_slice(MAGIC);
    out[4..8].copy_from_slice(&VERSION.to_be_bytes());
    out
}

/// A snapshot on its way to disk, under a name that recovery removes.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    tmp: &'static str,
    zxid: Zxid,
    packing: Packing,
    packer: Packer,
    /// Bytes of the file.
    written: u64,
    /// Of what was packed.
    sum: Running,
    /// Packed and not in the file. More than that of one call only while the disk is full.
    pending: Vec<u8>,
    /// The trailers are packed, too.
    is_sealed: bool,
}

impl SnapshotWriter {
    pub(crate) fn begin<F: Files>(
        files: &mut F,
        tmp: &'static str,
        zxid: Zxid,
        packing: Packing,
    ) -> Result<Self, StorageError> {
        discard(files, tmp)?;
        let mut writer = Self {
            tmp,
            zxid,
            packing,
            packer: Packer::new(packing),
            written: 0,
            sum: Running::new(),
            pending: Vec::new(),
            is_sealed: false,
        };
        match writer.write(files, &header()) {
            Err(e) if e.is_full() => discard(files, tmp).and(Err(e)),
            other => other.map(|()| writer),
        }
    }

    pub(crate) fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The next bytes of the database. When the disk is full the same call may be repeated until
    /// there is room.
    pub(crate) fn write<F: Files>(
        &mut self,
        files: &mut F,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        if self.pending.is_empty() {
            self.pack(bytes);
        }
        self.flush(files)
    }

    fn pack(&mut self, bytes: &[u8]) {
        self.sum.add(bytes);
        self.pending.extend_from_slice(&self.packer.pack(bytes));
    }

    fn flush<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        files
            .write_at(Dir::Snapshots, self.tmp, self.written, &self.pending)
            .about("write", Dir::Snapshots, self.tmp)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Adds the trailers and makes the content stable; the name is still the temporary one. May be
    /// repeated as [`Self::write`] may.
    pub(crate) fn seal<F: Files>(
        &mut self,
        files: &mut F,
        digest: u64,
    ) -> Result<(), StorageError> {
        if !self.is_sealed {
            self.pack_seal();
            let mut trailer = Vec::with_capacity(20);
            trailer.extend_from_slice(&self.zxid.0.to_be_bytes());
            trailer.extend_from_slice(&DIGEST_VERSION.to_be_bytes());
            trailer.extend_from_slice(&digest.to_be_bytes());
            self.pack(&trailer);
            self.pack_seal();
            self.pack(&self.zxid.0.to_be_bytes());
            self.pack_seal();
            let packer = core::mem::replace(&mut self.packer, Packer::Plain);
            self.pending.extend_from_slice(&packer.finish());
            self.is_sealed = true;
        }
        self.flush(files)?;
        files
            .sync(Dir::Snapshots, self.tmp)
            .about("sync", Dir::Snapshots, self.tmp)
    }

    fn pack_seal(&mut self) {
        let mut seal = Vec::with_capacity(SEAL_BYTES as usize);
        seal.extend_from_slice(&self.sum.value().to_be_bytes());
        seal.extend_from_slice(SLASH);
        self.pack(&seal);
    }

    /// Gives the sealed file its name, which is returned.
    pub(crate) fn publish<F: Files>(self, files: &mut F) -> Result<String, StorageError> {
        let name = names::snapshot(self.zxid, self.packing);
        files
            .rename(Dir::Snapshots, self.tmp, &name)
            .about("rename", Dir::Snapshots, self.tmp)?;
        files
            .sync_dir(Dir::Snapshots)
            .about("sync the directory of", Dir::Snapshots, &name)?;
        Ok(name)
    }
}

/// Removes a file that was not finished, if there is one.
pub(crate) fn discard<F: Files>(files: &mut F, tmp: &str) -> Result<(), StorageError> {
    let names = files
        .list(Dir::Snapshots)
        .about("list", Dir::Snapshots, tmp)?;
    if names.iter().any(|name| name == tmp) {
        files
            .remove(Dir::Snapshots, tmp)
            .about("remove", Dir::Snapshots, tmp)?;
    }
    Ok(())
}

/// Writes the whole database under its name, stable.
pub(crate) fn write_database<F: Files>(
    files: &mut F,
    tmp: &'static str,
    packing: Packing,
    database: &mut Database,
) -> Result<(), StorageError> {
    let walk = database.begin_walk();
    let mut writer = SnapshotWriter::begin(files, tmp, database.walk_zxid(walk), packing)?;
    let digest = database.walk_digest(walk);
    let mut block = Vec::new();
    loop {
        block.clear();
        let walked = database.walk(walk, BLOCK_BYTES, &mut block);
        writer.write(files, &block)?;
        match walked {
            Walked::More => {}
            Walked::Done => break,
        }
    }
    database.end_walk(walk);
    writer.seal(files, digest)?;
    writer.publish(files)?;
    Ok(())
}

/// Why a snapshot can not be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unusable {
    pub(crate) offset: u64,
    pub(crate) problem: String,
}

impl Unusable {
    fn at(offset: u64, problem: impl Into<String>) -> Self {
        Self {
            offset,
            problem: problem.into(),
        }
    }
}

/// Reads the snapshot `name` of the state at `zxid`, checks every seal and the digest. The inner
/// error is about the content, the outer about the file system. Offsets are those of the unpacked
/// bytes.
pub(crate) fn load<F: Files>(
    files: &F,
    name: &str,
    zxid: Zxid,
    seed: u64,
    mutants: Mutants,
) -> Result<Result<Database, Unusable>, StorageError> {
    let blocks = Blocks::open(files, name).about("read", Dir::Snapshots, name)?;
    let mut reader = Reader {
        blocks,
        block: Block {
            bytes: Vec::new(),
            sum: Running::new(),
        },
        at: 0,
        start: 0,
    };
    match reader.load(zxid, seed, mutants) {
        Ok(database) => Ok(Ok(database)),
        Err(Trouble::Content(unusable)) => Ok(Err(unusable)),
        Err(Trouble::Disk(source)) => Err(source).about("read", Dir::Snapshots, name),
    }
}

/// True if the file ends as a finished snapshot does: what ZooKeeper asks before it counts one
/// among those to keep. A packed one shows it only to those who unpack it.
pub(crate) fn looks_finished<F: Files>(files: &F, name: &str) -> Result<bool, StorageError> {
    if names::packing(name) != Packing::Plain {
        return unpacks(files, name);
    }
    let len = files
        .len(Dir::Snapshots, name)
        .about("look up", Dir::Snapshots, name)?;
    if len < HEADER_BYTES as u64 + SEAL_BYTES {
        return Ok(false);
    }
    let mut end = [0; SLASH.len()];
    let at = len - SLASH.len() as u64;
    let n =
        files
            .read_at(Dir::Snapshots, name, at, &mut end)
            .about("read", Dir::Snapshots, name)?;
    Ok(n == end.len() && end == *SLASH)
}

/// Reads a packed file to its end, keeping nothing but that.
fn unpacks<F: Files>(files: &F, name: &str) -> Result<bool, StorageError> {
    let mut source = unpack(files, name, names::packing(name));
    let mut end = Vec::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match source.read(&mut block) {
            Ok(0) => return Ok(end.ends_with(SLASH)),
            Ok(n) => {
                end.extend_from_slice(&block[..n]);
                end.drain(..end.len().saturating_sub(SLASH.len()));
            }
            Err(e) if is_content(&e) => return Ok(false),
            Err(e) => return Err(e).about("read", Dir::Snapshots, name),
        }
    }
}

/// Why reading stopped.
enum Trouble {
    Content(Unusable),
    Disk(io::Error),
}

impl From<Unusable> for Trouble {
    fn from(unusable: Unusable) -> Self {
        Self::Content(unusable)
    }
}

struct Reader<'f> {
    blocks: Blocks<'f>,
    block: Block,
    /// Of the block, so much is consumed.
    at: usize,
    /// Where the block stands in the unpacked file.
    start: u64,
}

impl Reader<'_> {
    fn load(&mut self, zxid: Zxid, seed: u64, mutants: Mutants) -> Result<Database, Trouble> {
        let database = self.database(zxid, seed, mutants)?;
        self.trailers(zxid, &database)?;
        Ok(database)
    }

    /// Where the next byte stands.
    fn offset(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Read and not consumed.
    fn rest(&self) -> &[u8] {
        &self.block.bytes[self.at..]
    }

    /// The checksum of all that is consumed.
    fn sum(&self) -> Running {
        let mut sum = self.block.sum.clone();
        sum.add(&self.block.bytes[..self.at]);
        sum
    }

    /// Reads on until so many bytes are there, or the end is.
    fn fill(&mut self, wanted: usize) -> Result<(), Trouble> {
        while self.rest().len() < wanted {
            match self.blocks.next() {
                Ok(None) => return Ok(()),
                Ok(Some(block)) => self.append(block),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.unusable("the file ends too early").into());
                }
                Err(e) if is_content(&e) => {
                    let problem = format!("can not be unpacked: {e}");
                    return Err(self.unusable(problem).into());
                }
                Err(e) => return Err(Trouble::Disk(e)),
            }
        }
        Ok(())
    }

    /// The next block, behind what is not consumed yet.
    fn append(&mut self, next: Block) {
        let offset = self.offset();
        let next = if self.rest().is_empty() {
            next
        } else {
            let bytes = [self.rest(), &next.bytes].concat();
            let sum = self.sum();
            Block { bytes, sum }
        };
        let before = core::mem::replace(&mut self.block, next);
        (self.at, self.start) = (0, offset);
        self.blocks.reuse(before.bytes);
    }

    fn unusable(&self, problem: impl Into<String>) -> Unusable {
        Unusable::at(self.offset(), problem)
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
        assert!(self.at <= self.block.bytes.len(), "only what is there");
    }

    /// The next bytes, all of them there.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Trouble> {
        self.fill(N)?;
        let Some(bytes) = self.rest().first_chunk().copied() else {
            return Err(self.unusable("the file ends too early").into());
        };
        self.consume(N);
        Ok(bytes)
    }

    fn database(&mut self, zxid: Zxid, seed: u64, mutants: Mutants) -> Result<Database, Trouble> {
        let head = self.take::<HEADER_BYTES>()?;
        if head[..4] != *MAGIC || head[4..8] != VERSION.to_be_bytes() {
            return Err(Unusable::at(0, "the header is not that of a snapshot").into());
        }
        let body = self.offset();
        let mut loader = SnapshotLoader::new(seed, mutants);
        while !loader.is_complete() {
            self.fill(1)?;
            if self.rest().is_empty() {
                return Err(self.unusable("the file ends inside the database").into());
            }
            let used = loader
                .feed(self.rest())
                .map_err(|e| Unusable::at(body + e.offset, e.fault.to_string()))?;
            self.consume(used);
        }
        let finished = loader.finish(zxid);
        Ok(finished.map_err(|e| Unusable::at(body + e.offset, e.fault.to_string()))?)
    }

    fn trailers(&mut self, zxid: Zxid, database: &Database) -> Result<(), Trouble> {
        self.seal()?;
        self.fill(TRAILERS_BYTES_MAX)?;
        // A writer without digests leaves out trailer 2, even where it writes trailer 3.
        if !self.rest().is_empty() && self.rest().len() as u64 != LAST_ZXID_TRAILER_BYTES {
            self.digest_trailer(zxid, database)?;
        }
        if self.rest().is_empty() {
            return Ok(());
        }
        // Its zxid counts for backups over HTTP only; on disk the name does.
        self.take::<8>()?;
        self.seal()?;
        if self.rest().is_empty() {
            Ok(())
        } else {
            Err(self.unusable("bytes after the end").into())
        }
    }

    fn seal(&mut self) -> Result<(), Trouble> {
        let at = self.offset();
        let expected = self.sum().value();
        let seal = self.take::<{ SEAL_BYTES as usize }>()?;
        let stored = i64::from_be_bytes(seal[..8].try_into().expect("eight bytes"));
        if stored == expected && seal[8..] == *SLASH {
            return Ok(());
        }
        let problem = format!(
            "checksum {stored:#x} is stored, the bytes before have {expected:#x}: some byte \
             before this offset has changed"
        );
        Err(Unusable::at(at, problem).into())
    }

    /// ZooKeeper writes the digest of the tree at the end of writing, which may be later than the
    /// snapshot's zxid; only where the two are equal it says something about this database.
    fn digest_trailer(&mut self, zxid: Zxid, database: &Database) -> Result<(), Trouble> {
        let at = self.offset();
        if (self.rest().len() as u64) < DIGEST_TRAILER_BYTES {
            return Err(self.unusable("the file ends inside the digest").into());
        }
        let head = self.take::<12>()?;
        let digest_zxid = i64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
        let version = i32::from_be_bytes(head[8..].try_into().expect("four bytes"));
        let digest = if version >= DIGEST_VERSION {
            Some(u64::from_be_bytes(self.take::<8>()?))
        } else {
            // ZooKeeper 3.6.0: the digest as text, made by another algorithm.
            self.skip_string()?;
            None
        };
        self.seal()?;
        // Zxid 0 stands for "none was computed".
        let comparable = version == DIGEST_VERSION && digest_zxid == zxid.0 && zxid != Zxid::ZERO;
        match digest {
            Some(digest) if comparable && digest != database.digest() => {
                let problem = format!(
                    "the digest {digest:#x} is stored, but the database in it has {:#x}",
                    database.digest()
                );
                Err(Unusable::at(at, problem).into())
            }
            _ => Ok(()),
        }
    }

    fn skip_string(&mut self) -> Result<(), Trouble> {
        let len = i32::from_be_bytes(self.take::<4>()?);
        for _ in 0..len.clamp(0, 64) {
            self.take::<1>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_that_of_zookeeper() {
        assert_eq!(header(), *b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff");
    }
}
