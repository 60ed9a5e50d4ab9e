//! Appends transactions to log files. Knows zxids and bytes; what is in a file is the reader's.
//!
//! Appends are gathered in memory and written at a sync, so that a batch is one write. A file takes
//! no more than its preallocated space; the next file begins before it would grow. Before a file
//! gets its first record its header, its size and its name are stable, and before the next file is
//! begun the one before it is stable as a whole and cut to its length. So of all files only the
//! last can be torn, and only behind its last sync.
//!
//! Room on the disk is taken in steps before it is written to. When there is none, a spare file
//! that was made while there was takes the next records: so what is under way when a disk becomes
//! full still finds its place. All that is not stable is kept: where a write is refused
//! nevertheless it goes to the same place again, so nothing is ever appended behind half a record;
//! and where only the sync reports that there was no room, all that it was to make stable is
//! written again before the next one is believed.

use vivarium_core::ids::Zxid;
use vivarium_core::mutants::{Mutant, Mutants};

use crate::error::{About, MAKE_STABLE, StorageError, lacks_room};
use crate::files::{Dir, Files};
use crate::log_format::{
    FRAME_BYTES, HEADER_BYTES, RESERVED_BYTES, header, mark, mark_offset, put_record,
};
use crate::names;
use crate::reserve;

/// Gathered bytes that are written even though no sync was asked for.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// And so many that are synced, so that memory is bounded.
const UNSYNCED_BYTES_MAX: usize = 16 << 20;

/// Room that is taken at once.
const STEP_BYTES: u64 = 256 << 10;

/// Sizes of log files are multiples of it, so that the marks have sectors for themselves.
const SIZE_UNIT_BYTES: u64 = 4096;

/// The end of the history.
#[derive(Debug)]
pub(crate) struct LogWriter {
    prealloc_bytes: u64,
    /// Of the spare file; 0: there is none.
    spare_bytes: u64,
    has_spare: bool,
    mutants: Mutants,
    current: Option<Current>,
}

/// The file that is appended to.
#[derive(Debug)]
struct Current {
    name: String,
    first: Zxid,
    /// With padding and marks.
    size: u64,
    /// Room is taken up to here.
    allocated: u64,
    synced: u64,
    /// All behind that.
    unsynced: Vec<u8>,
    /// So much of it was written.
    written: usize,
    marks_made: u64,
}

impl Current {
    fn end(&self) -> u64 {
        self.synced + self.unsynced.len() as u64
    }

    /// Takes the room for so many more bytes.
    fn make_room<F: Files>(&mut self, files: &mut F, bytes: u64) -> Result<(), StorageError> {
        let needed = self.end() + bytes;
        if needed <= self.allocated {
            return Ok(());
        }
        let upto = needed.max(self.allocated + STEP_BYTES).min(self.size);
        files
            .allocate(Dir::Logs, &self.name, self.allocated, upto - self.allocated)
            .about("take room for", Dir::Logs, &self.name)?;
        self.allocated = upto;
        Ok(())
    }

    fn flush<F: Files>(&mut self, files: &mut F, mutants: Mutants) -> Result<(), StorageError> {
        let rest = &self.unsynced[self.written..];
        if !rest.is_empty() {
            let at = self.synced + self.written as u64;
            let written = files.write_at(Dir::Logs, &self.name, at, rest);
            let believed =
                written.as_ref().is_err_and(lacks_room) && mutants.has(Mutant::PartialWriteCounted);
            if !believed {
                written.about("write", Dir::Logs, &self.name)?;
            }
            self.written = self.unsynced.len();
        }
        Ok(())
    }

    /// Writes what was not written yet, and makes all of it stable.
    fn sync<F: Files>(&mut self, files: &mut F, mutants: Mutants) -> Result<(), StorageError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        self.flush(files, mutants)?;
        let mut synced = files.sync(Dir::Logs, &self.name);
        if synced.is_err() && mutants.has(Mutant::SyncRetried) {
            synced = files.sync(Dir::Logs, &self.name);
        }
        if synced.is_err() {
            self.written = 0;
        }
        synced.about(MAKE_STABLE, Dir::Logs, &self.name)?;
        self.synced = self.end();
        self.unsynced.clear();
        self.written = 0;
        // A mark less is a mark that claims less.
        self.write_mark(files).or_else(pass_full)
    }

    /// Header, size, room for so many bytes, a mark, all of it stable under the file's name.
    fn create<F: Files>(&mut self, files: &mut F, framed: u64) -> Result<(), StorageError> {
        files.write_at(Dir::Logs, &self.name, 0, &header()).about(
            "create",
            Dir::Logs,
            &self.name,
        )?;
        files
            .set_len(Dir::Logs, &self.name, self.size)
            .about("extend", Dir::Logs, &self.name)?;
        self.make_room(files, framed)?;
        self.write_mark(files)?;
        let name = &self.name;
        files
            .sync(Dir::Logs, name)
            .about(MAKE_STABLE, Dir::Logs, name)?;
        files
            .sync_dir(Dir::Logs)
            .about("sync the directory of", Dir::Logs, name)
    }

    /// The same from the spare file, which has header and room already: the mark is stable before
    /// the file gets its name.
    fn take_over_spare<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        let spare = names::SPARE_LOG.to_owned();
        let name = core::mem::replace(&mut self.name, spare);
        self.write_mark(files)?;
        files
            .sync(Dir::Logs, &self.name)
            .about("sync", Dir::Logs, &self.name)?;
        files
            .rename(Dir::Logs, &self.name, &name)
            .about("rename", Dir::Logs, &self.name)?;
        self.name = name;
        files
            .sync_dir(Dir::Logs)
            .about("sync the directory of", Dir::Logs, &self.name)
    }

    fn write_mark<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        let at = mark_offset(self.size, self.marks_made);
        files
            .write_at(Dir::Logs, &self.name, at, &mark(self.first, self.synced))
            .about("write", Dir::Logs, &self.name)?;
        // One that was refused leaves the other place alone, where the last good one stands.
        self.marks_made += 1;
        Ok(())
    }
}

impl LogWriter {
    pub(crate) fn new(prealloc_bytes: u64, spare_bytes: u64, mutants: Mutants) -> Self {
        Self {
            prealloc_bytes,
            spare_bytes: spare_bytes.next_multiple_of(SIZE_UNIT_BYTES),
            has_spare: false,
            mutants,
            current: None,
        }
    }

    /// The directory was read again: the next append begins a file.
    pub(crate) fn restart(&mut self) {
        self.current = None;
    }

    /// Takes one record. It is in the file, and stable, after the next [`Self::sync`].
    ///
    /// # Errors
    /// With `StorageError::is_full` the record was not taken: the same may be tried again. The
    /// spare file is used with `is_last_resort` only.
    pub(crate) fn append<F: Files>(
        &mut self,
        files: &mut F,
        zxid: Zxid,
        record: &[u8],
        is_last_resort: bool,
    ) -> Result<(), StorageError> {
        let framed = (record.len() + FRAME_BYTES) as u64;
        if let Some(current) = &mut self.current {
            let fits = current.end() + framed + RESERVED_BYTES <= current.size;
            let room = if fits {
                current.make_room(files, framed)
            } else {
                Ok(())
            };
            match room {
                Ok(()) if fits => {}
                Err(e) if !(e.is_full() && is_last_resort && self.has_spare) => return Err(e),
                Ok(()) | Err(_) => self.roll(files)?,
            }
        }
        if self.current.is_none() {
            self.current = Some(self.begin(files, zxid, framed, is_last_resort)?);
        }
        let current = self.current.as_mut().expect("begun above");
        put_record(record, &mut current.unsynced);
        assert!(
            current.end() + RESERVED_BYTES <= current.size,
            "records run into the marks"
        );
        // The record is taken: a disk that is full is for the next sync to tell.
        if current.unsynced.len() > UNSYNCED_BYTES_MAX {
            current.sync(files, self.mutants).or_else(pass_full)
        } else if current.unsynced.len() - current.written > BUFFER_BYTES_MAX {
            current.flush(files, self.mutants).or_else(pass_full)
        } else {
            Ok(())
        }
    }

    /// Makes a file with room for `framed` bytes; all of it is stable afterwards.
    fn begin<F: Files>(
        &mut self,
        files: &mut F,
        first: Zxid,
        framed: u64,
        is_last_resort: bool,
    ) -> Result<Current, StorageError> {
        let needed = HEADER_BYTES + framed + RESERVED_BYTES;
        let name = names::log(first);
        // Recovery has removed empty files, and every other one begins with an older zxid.
        let present = files.list(Dir::Logs).about("list", Dir::Logs, &name)?;
        assert!(!present.contains(&name), "{name} exists and holds records");
        let size = needed
            .max(self.prealloc_bytes)
            .next_multiple_of(SIZE_UNIT_BYTES);
        let mut current = Current {
            name,
            first,
            size,
            allocated: 0,
            synced: HEADER_BYTES,
            unsynced: Vec::new(),
            written: 0,
            marks_made: 0,
        };
        match current.create(files, framed) {
            Ok(()) => return Ok(current),
            Err(e) if !e.is_full() => return Err(e),
            Err(e) => {
                reserve::release(files, Dir::Logs, &current.name)?;
                let helps = self.has_spare && needed <= self.spare_bytes;
                if !(is_last_resort && helps) {
                    return Err(e);
                }
            }
        }
        self.has_spare = false;
        current.size = self.spare_bytes;
        current.allocated = self.spare_bytes;
        current.marks_made = 0;
        current.take_over_spare(files)?;
        Ok(current)
    }

    /// Is there no spare file although there should be one?
    pub(crate) fn lacks_spare(&self) -> bool {
        self.spare_bytes > 0 && !self.has_spare
    }

    /// Makes the spare file, if there is room for it.
    pub(crate) fn make_spare<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        if self.lacks_spare() {
            let (name, len) = (names::SPARE_LOG, self.spare_bytes);
            self.has_spare = reserve::take(files, Dir::Logs, name, &header(), len)?;
        }
        Ok(())
    }

    /// All that was appended is stable afterwards.
    pub(crate) fn sync<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        match &mut self.current {
            Some(current) => current.sync(files, self.mutants),
            None => Ok(()),
        }
    }

    /// Makes the current file stable and ends it; the next append begins another.
    pub(crate) fn roll<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        self.sync(files)?;
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        end_file(files, &current.name, current.first, current.synced)
    }

    /// True when something appended is not stable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| !current.unsynced.is_empty())
    }
}

/// Ends a log file whose records, up to `end`, are stable: nothing stands behind them any more but
/// marks that say so. Without them rot at the end of the file could pass for a torn end, wherever
/// the next file begins with another epoch.
///
/// The cut comes after the sync of the records, and the marks come after that of the cut: a crash
/// leaves the old marks, or a whole file without any.
pub(crate) fn end_file<F: Files>(
    files: &mut F,
    name: &str,
    first: Zxid,
    end: u64,
) -> Result<(), StorageError> {
    files
        .set_len(Dir::Logs, name, end)
        .about("cut", Dir::Logs, name)?;
    files.sync(Dir::Logs, name).about("sync", Dir::Logs, name)?;
    let size = (end + RESERVED_BYTES).next_multiple_of(SIZE_UNIT_BYTES);
    let marked = files
        .set_len(Dir::Logs, name, size)
        .about("extend", Dir::Logs, name)
        .and_then(|()| {
            [0, 1].into_iter().try_for_each(|turn| {
                let at = mark_offset(size, turn);
                files
                    .write_at(Dir::Logs, name, at, &mark(first, end))
                    .about("write", Dir::Logs, name)
            })
        });
    // Where the disk is full, the file is whole without them.
    marked.or_else(pass_full)?;
    files.sync(Dir::Logs, name).about("sync", Dir::Logs, name)
}

/// That the disk is full is nothing yet.
fn pass_full(error: StorageError) -> Result<(), StorageError> {
    if error.is_full() { Ok(()) } else { Err(error) }
}
