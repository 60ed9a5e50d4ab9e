//! A chosen set of files, wherever they lie, seen as a data directory that is only read. A file
//! may be seen shorter than it is.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use vivarium_storage::inspect::ReadOnlyFiles;
use vivarium_storage::{Dir, Files};

use super::ToolError;
use super::progress::Progress;

/// One file of a set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) dir: Dir,
    pub(super) name: String,
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Bytes that are seen of it.
    pub(super) len: u64,
}

/// Some files.
pub(super) struct FileSet {
    entries: Vec<Entry>,
    /// The file that was read last, so that it is not opened for each block.
    open: RefCell<Option<(usize, File)>>,
    progress: RefCell<Option<Progress>>,
}

impl FileSet {
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by(|a, b| (a.dir, &a.name).cmp(&(b.dir, &b.name)));
        Self {
            entries,
            open: RefCell::new(None),
            progress: RefCell::new(None),
        }
    }

    /// All files of two directories, as long as they are now.
    pub(super) fn of(files: &ReadOnlyFiles) -> Result<Self, ToolError> {
        let mut entries = Vec::new();
        for (dir, place) in [(Dir::Snapshots, &files.snapshots), (Dir::Logs, &files.logs)] {
            let failed =
                |e: io::Error| ToolError::Failed(format!("can not list {}: {e}", place.display()));
            for name in files.list(dir).map_err(failed)? {
                let path = place.join(&name);
                match path.metadata() {
                    Ok(found) if found.is_file() => {
                        let len = found.len();
                        entries.push(Entry {
                            dir,
                            name,
                            path,
                            len,
                        });
                    }
                    Ok(_) => {}
                    // The purge of a server was faster.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(failed(e)),
                }
            }
        }
        Ok(Self::new(entries))
    }

    /// Snapshots before logs, each by name.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same files, but for some.
    pub(super) fn retain(&self, keep: impl Fn(&Entry) -> bool) -> Self {
        Self::new(self.entries.iter().filter(|e| keep(e)).cloned().collect())
    }

    /// Shows on a terminal how much of `total` bytes has been read from now on.
    pub(super) fn watched(self, what: &str, total: u64) -> Self {
        self.progress.replace(Some(Progress::bytes(what, total)));
        self
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.len).sum()
    }

    fn find(&self, dir: Dir, name: &str) -> io::Result<usize> {
        self.entries
            .iter()
            .position(|entry| entry.dir == dir && entry.name == name)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only")
}

impl Files for FileSet {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        let of_dir = self.entries.iter().filter(|entry| entry.dir == dir);
        Ok(of_dir.map(|entry| entry.name.clone()).collect())
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        Ok(self.entries[self.find(dir, name)?].len)
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let at = self.find(dir, name)?;
        let entry = &self.entries[at];
        let mut open = self.open.borrow_mut();
        let file = match &mut *open {
            Some((of, file)) if *of == at => file,
            other => &mut other.insert((at, File::open(&entry.path)?)).1,
        };
        let wanted = usize::try_from(entry.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(buf.len());
        let mut done = 0;
        while done < wanted {
            match file.read_at(&mut buf[done..wanted], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if let Some(progress) = &mut *self.progress.borrow_mut() {
            progress.more(done as u64);
        }
        Ok(done)
    }

    fn write_at(&mut self, _: Dir, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        Err(refused())
    }

    fn set_len(&mut self, _: Dir, _: &str, _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync(&mut self, _: Dir, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn sync_dir(&mut self, _: Dir) -> io::Result<()> {
        Err(refused())
    }

    fn rename(&mut self, _: Dir, _: &str, _: &str) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&mut self, _: Dir, _: &str) -> io::Result<()> {
        Err(refused())
    }
}
