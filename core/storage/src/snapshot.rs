//! Snapshot files: header, the serialized database, trailers. What is in the database is the
//! core's.
//!
//! Header: magic `ZKSN`, int version 2, long -1. Then the database, which ends with the string
//! `/`. Each trailer ends with a seal: long Adler-32 of all bytes before it, and the string `/`.
//! Trailer 1 is the seal alone. Trailer 2 (ZooKeeper 3.6): long zxid, int digest version, digest.
//! Trailer 3 (3.9): long last zxid. Older servers stop reading behind the trailer that they know;
//! with digests switched off trailer 2 is missing.

use vivarium_core::database::{Database, Walked};
use vivarium_core::ids::Zxid;
use vivarium_core::mutants::Mutants;
use vivarium_core::snapshot::SnapshotLoader;
use vivarium_core::wire::txn::DIGEST_VERSION;

use crate::checksum::Running;
use crate::error::{About, StorageError};
use crate::files::{Dir, Files};

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

/// Read, and when written by this crate itself walked, at once.
const BLOCK_BYTES: usize = 256 << 10;

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
    written: u64,
    sum: Running,
}

impl SnapshotWriter {
    pub(crate) fn begin<F: Files>(
        files: &mut F,
        tmp: &'static str,
        zxid: Zxid,
    ) -> Result<Self, StorageError> {
        discard(files, tmp)?;
        let mut writer = Self {
            tmp,
            zxid,
            written: 0,
            sum: Running::new(),
        };
        writer.write(files, &header())?;
        Ok(writer)
    }

    pub(crate) fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The next bytes of the database.
    pub(crate) fn write<F: Files>(
        &mut self,
        files: &mut F,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        files
            .write_at(Dir::Snapshots, self.tmp, self.written, bytes)
            .about("write", Dir::Snapshots, self.tmp)?;
        self.sum.add(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Adds the trailers and makes the content stable; the name is still the temporary one.
    pub(crate) fn seal<F: Files>(
        &mut self,
        files: &mut F,
        digest: u64,
    ) -> Result<(), StorageError> {
        self.write_seal(files)?;
        let mut trailer = Vec::with_capacity(20);
        trailer.extend_from_slice(&self.zxid.0.to_be_bytes());
        trailer.extend_from_slice(&DIGEST_VERSION.to_be_bytes());
        trailer.extend_from_slice(&digest.to_be_bytes());
        self.write(files, &trailer)?;
        self.write_seal(files)?;
        self.write(files, &self.zxid.0.to_be_bytes())?;
        self.write_seal(files)?;
        files
            .sync(Dir::Snapshots, self.tmp)
            .about("sync", Dir::Snapshots, self.tmp)
    }

    fn write_seal<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        let mut seal = Vec::with_capacity(SEAL_BYTES as usize);
        seal.extend_from_slice(&self.sum.value().to_be_bytes());
        seal.extend_from_slice(SLASH);
        self.write(files, &seal)
    }

    /// Gives the sealed file its name.
    pub(crate) fn publish<F: Files>(self, files: &mut F, name: &str) -> Result<(), StorageError> {
        files
            .rename(Dir::Snapshots, self.tmp, name)
            .about("rename", Dir::Snapshots, self.tmp)?;
        files
            .sync_dir(Dir::Snapshots)
            .about("sync the directory of", Dir::Snapshots, name)
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
    name: &str,
    database: &mut Database,
) -> Result<(), StorageError> {
    let walk = database.begin_walk();
    let mut writer = SnapshotWriter::begin(files, tmp, database.walk_zxid(walk))?;
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
    writer.publish(files, name)
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
/// error is about the content, the outer about the file system.
pub(crate) fn load<F: Files>(
    files: &F,
    name: &str,
    zxid: Zxid,
    seed: u64,
    mutants: Mutants,
) -> Result<Result<Database, Unusable>, StorageError> {
    let len = files
        .len(Dir::Snapshots, name)
        .about("look up", Dir::Snapshots, name)?;
    let mut reader = Reader {
        files,
        name,
        len,
        offset: 0,
        sum: Running::new(),
    };
    let database = match reader.database(zxid, seed, mutants)? {
        Ok(database) => database,
        Err(unusable) => return Ok(Err(unusable)),
    };
    Ok(reader.trailers(zxid, &database)?.map(|()| database))
}

/// True if the file ends as a finished snapshot does: what ZooKeeper asks before it counts one
/// among those to keep.
pub(crate) fn looks_finished<F: Files>(files: &F, name: &str) -> Result<bool, StorageError> {
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

struct Reader<'f, F> {
    files: &'f F,
    name: &'f str,
    len: u64,
    /// Everything before is in `sum`.
    offset: u64,
    sum: Running,
}

impl<F: Files> Reader<'_, F> {
    /// Bytes from the offset, which stays.
    fn peek(&self, buf: &mut [u8]) -> Result<usize, StorageError> {
        self.files
            .read_at(Dir::Snapshots, self.name, self.offset, buf)
            .about("read", Dir::Snapshots, self.name)
    }

    fn consume(&mut self, bytes: &[u8]) {
        self.sum.add(bytes);
        self.offset += bytes.len() as u64;
    }

    /// The next bytes, all of them there.
    fn take<const N: usize>(&mut self) -> Result<Result<[u8; N], Unusable>, StorageError> {
        let mut bytes = [0; N];
        if self.peek(&mut bytes)? < N {
            return Ok(Err(Unusable::at(self.offset, "the file ends too early")));
        }
        self.consume(&bytes);
        Ok(Ok(bytes))
    }

    fn database(
        &mut self,
        zxid: Zxid,
        seed: u64,
        mutants: Mutants,
    ) -> Result<Result<Database, Unusable>, StorageError> {
        match self.take::<HEADER_BYTES>()? {
            Ok(head) if head[..4] == *MAGIC && head[4..8] == VERSION.to_be_bytes() => {}
            Ok(_) => return Ok(Err(Unusable::at(0, "the header is not that of a snapshot"))),
            Err(unusable) => return Ok(Err(unusable)),
        }
        let body = self.offset;
        let mut loader = SnapshotLoader::new(seed, mutants);
        let mut block = vec![0; BLOCK_BYTES.min(self.len as usize)];
        while !loader.is_complete() {
            let n = self.peek(&mut block)?;
            if n == 0 {
                return Ok(Err(Unusable::at(
                    self.offset,
                    "the file ends inside the database",
                )));
            }
            match loader.feed(&block[..n]) {
                Ok(used) => {
                    self.sum.add(&block[..used]);
                    self.offset += used as u64;
                }
                Err(e) => return Ok(Err(Unusable::at(body + e.offset, e.fault.to_string()))),
            }
        }
        let finished = loader.finish(zxid);
        Ok(finished.map_err(|e| Unusable::at(body + e.offset, e.fault.to_string())))
    }

    fn trailers(
        &mut self,
        zxid: Zxid,
        database: &Database,
    ) -> Result<Result<(), Unusable>, StorageError> {
        if let Err(unusable) = self.seal()? {
            return Ok(Err(unusable));
        }
        // A writer without digests leaves out trailer 2, even where it writes trailer 3.
        let rest = self.len - self.offset;
        if rest == 0 {
            return Ok(Ok(()));
        }
        if rest != LAST_ZXID_TRAILER_BYTES
            && let Err(unusable) = self.digest_trailer(zxid, database)?
        {
            return Ok(Err(unusable));
        }
        if self.offset == self.len {
            return Ok(Ok(()));
        }
        // Its zxid counts for backups over HTTP only; on disk the name does.
        if let Err(unusable) = self.take::<8>()? {
            return Ok(Err(unusable));
        }
        if let Err(unusable) = self.seal()? {
            return Ok(Err(unusable));
        }
        let at_end = self.offset == self.len;
        Ok(at_end
            .then_some(())
            .ok_or_else(|| Unusable::at(self.offset, "bytes after the end")))
    }

    fn seal(&mut self) -> Result<Result<(), Unusable>, StorageError> {
        let at = self.offset;
        let expected = self.sum.value();
        let seal = match self.take::<{ SEAL_BYTES as usize }>()? {
            Ok(seal) => seal,
            Err(unusable) => return Ok(Err(unusable)),
        };
        let stored = i64::from_be_bytes(seal[..8].try_into().expect("eight bytes"));
        if stored == expected && seal[8..] == *SLASH {
            return Ok(Ok(()));
        }
        let problem = format!(
            "checksum {stored:#x} is stored, the bytes before have {expected:#x}: some byte \
             before this offset has changed"
        );
        Ok(Err(Unusable::at(at, problem)))
    }

    /// ZooKeeper writes the digest of the tree at the end of writing, which may be later than the
    /// snapshot's zxid; only where the two are equal it says something about this database.
    fn digest_trailer(
        &mut self,
        zxid: Zxid,
        database: &Database,
    ) -> Result<Result<(), Unusable>, StorageError> {
        let at = self.offset;
        if self.len - at < DIGEST_TRAILER_BYTES {
            return Ok(Err(Unusable::at(at, "the file ends inside the digest")));
        }
        let head = match self.take::<12>()? {
            Ok(head) => head,
            Err(unusable) => return Ok(Err(unusable)),
        };
        let digest_zxid = i64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
        let version = i32::from_be_bytes(head[8..].try_into().expect("four bytes"));
        let digest = if version >= DIGEST_VERSION {
            match self.take::<8>()? {
                Ok(bytes) => Some(u64::from_be_bytes(bytes)),
                Err(unusable) => return Ok(Err(unusable)),
            }
        } else {
            // ZooKeeper 3.6.0: the digest as text, made by another algorithm.
            match self.skip_string()? {
                Ok(()) => None,
                Err(unusable) => return Ok(Err(unusable)),
            }
        };
        if let Err(unusable) = self.seal()? {
            return Ok(Err(unusable));
        }
        // Zxid 0 stands for "none was computed".
        let comparable = version == DIGEST_VERSION && digest_zxid == zxid.0 && zxid != Zxid::ZERO;
        match digest {
            Some(digest) if comparable && digest != database.digest() => {
                let problem = format!(
                    "the digest {digest:#x} is stored, but the database in it has {:#x}",
                    database.digest()
                );
                Ok(Err(Unusable::at(at, problem)))
            }
            _ => Ok(Ok(())),
        }
    }

    fn skip_string(&mut self) -> Result<Result<(), Unusable>, StorageError> {
        let len = match self.take::<4>()? {
            Ok(len) => i32::from_be_bytes(len),
            Err(unusable) => return Ok(Err(unusable)),
        };
        for _ in 0..len.clamp(0, 64) {
            if let Err(unusable) = self.take::<1>()? {
                return Ok(Err(unusable));
            }
        }
        Ok(Ok(()))
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
