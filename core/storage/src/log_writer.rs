//! Appends transactions to log files. Knows zxids and bytes; what is in a file is the reader's.
//!
//! Appends are gathered in memory and written at a sync, so that a batch is one write. A file takes
//! no more than its preallocated space; the next file begins before it would grow. Before a file
//! gets its first record its header, its size and its name are stable, and before the next file is
//! begun the one before it is stable as a whole and cut to its length. So of all files only the
//! last can be torn, and only behind its last sync.

use vivarium_core::ids::Zxid;

use crate::error::{About, StorageError};
use crate::files::{Dir, Files};
use crate::log_format::{
    FRAME_BYTES, HEADER_BYTES, RESERVED_BYTES, header, mark, mark_offset, put_record,
};
use crate::names;

/// Gathered bytes that are written even though no sync was asked for, so that memory is bounded.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Sizes of log files are multiples of it, so that the marks have sectors for themselves.
const SIZE_UNIT_BYTES: u64 = 4096;

/// The end of the history.
#[derive(Debug)]
pub(crate) struct LogWriter {
    prealloc_bytes: u64,
    current: Option<Current>,
}

/// The file that is appended to.
#[derive(Debug)]
struct Current {
    name: String,
    first: Zxid,
    /// With padding and marks.
    size: u64,
    /// Where `buffer` will be written.
    written: u64,
    synced: u64,
    buffer: Vec<u8>,
    marks_made: u64,
}

impl Current {
    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn flush<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            files
                .write_at(Dir::Logs, &self.name, self.written, &self.buffer)
                .about("write", Dir::Logs, &self.name)?;
            self.written = self.end();
            self.buffer.clear();
        }
        Ok(())
    }

    fn write_mark<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        let at = mark_offset(self.size, self.marks_made);
        self.marks_made += 1;
        files
            .write_at(Dir::Logs, &self.name, at, &mark(self.first, self.synced))
            .about("write", Dir::Logs, &self.name)
    }
}

impl LogWriter {
    pub(crate) fn new(prealloc_bytes: u64) -> Self {
        Self {
            prealloc_bytes,
            current: None,
        }
    }

    /// Takes one record. It is in the file, and stable, after the next [`Self::sync`].
    pub(crate) fn append<F: Files>(
        &mut self,
        files: &mut F,
        zxid: Zxid,
        record: &[u8],
    ) -> Result<(), StorageError> {
        let framed = (record.len() + FRAME_BYTES) as u64;
        if let Some(current) = &self.current
            && current.end() + framed + RESERVED_BYTES > current.size
        {
            self.roll(files)?;
        }
        if self.current.is_none() {
            self.current = Some(self.begin(files, zxid, framed)?);
        }
        let current = self.current.as_mut().expect("begun above");
        put_record(record, &mut current.buffer);
        assert!(
            current.end() + RESERVED_BYTES <= current.size,
            "records run into the marks"
        );
        if current.buffer.len() > BUFFER_BYTES_MAX {
            current.flush(files)?;
        }
        Ok(())
    }

    /// Makes a file with room for `framed` bytes; all of it is stable afterwards.
    fn begin<F: Files>(
        &self,
        files: &mut F,
        first: Zxid,
        framed: u64,
    ) -> Result<Current, StorageError> {
        let name = names::log(first);
        let needed = HEADER_BYTES + framed + RESERVED_BYTES;
        let size = needed
            .max(self.prealloc_bytes)
            .next_multiple_of(SIZE_UNIT_BYTES);
        let mut current = Current {
            name,
            first,
            size,
            written: HEADER_BYTES,
            synced: HEADER_BYTES,
            buffer: Vec::new(),
            marks_made: 0,
        };
        let name = &current.name;
        // Recovery has removed empty files, and every other one begins with an older zxid.
        let present = files.list(Dir::Logs).about("list", Dir::Logs, name)?;
        assert!(!present.contains(name), "{name} exists and holds records");
        files
            .write_at(Dir::Logs, name, 0, &header())
            .about("create", Dir::Logs, name)?;
        files
            .set_len(Dir::Logs, name, size)
            .about("extend", Dir::Logs, name)?;
        current.write_mark(files)?;
        let name = &current.name;
        files.sync(Dir::Logs, name).about("sync", Dir::Logs, name)?;
        files
            .sync_dir(Dir::Logs)
            .about("sync the directory of", Dir::Logs, name)?;
        Ok(current)
    }

    /// All that was appended is stable afterwards.
    pub(crate) fn sync<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if current.end() == current.synced {
            return Ok(());
        }
        current.flush(files)?;
        files
            .sync(Dir::Logs, &current.name)
            .about("sync", Dir::Logs, &current.name)?;
        current.synced = current.written;
        current.write_mark(files)
    }

    /// Makes the current file stable and ends it; the next append begins another.
    ///
    /// The cut comes after the sync: were both under way at once, a crash could leave a torn end
    /// without marks.
    pub(crate) fn roll<F: Files>(&mut self, files: &mut F) -> Result<(), StorageError> {
        self.sync(files)?;
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let name = &current.name;
        files
            .set_len(Dir::Logs, name, current.synced)
            .about("cut", Dir::Logs, name)?;
        files.sync(Dir::Logs, name).about("sync", Dir::Logs, name)
    }

    /// True when something appended is not stable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.end() != current.synced)
    }
}
