//! The two directories on a real file system, and the lock that keeps a second server out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use crate::files::{Dir, Files};

/// Held in `dataDir` and `dataLogDir` themselves, where ZooKeeper looks at `myid` only.
pub const LOCK_NAME: &str = "vivarium.lock";

/// ZooKeeper's name for the directory of its current format.
pub(crate) const VERSION_DIR: &str = "version-2";

/// Open files kept, so that a log is not opened for each write.
const HANDLES_MAX: usize = 8;

/// Files below `dataDir/version-2` and `dataLogDir/version-2`, locked as long as this lives.
#[derive(Debug)]
pub struct RealFiles {
    snapshots: PathBuf,
    logs: PathBuf,
    handles: RefCell<Handles>,
    /// Released when dropped, or when the process dies in whatever way.
    _locks: Vec<File>,
}

#[derive(Debug, Default)]
struct Handles {
    open: BTreeMap<(Dir, String), Handle>,
    uses: u64,
}

#[derive(Debug)]
struct Handle {
    file: File,
    /// Written and not synced. Such a handle is not closed: an error of the write-back is reported
    /// to those who hold the file open.
    dirty: bool,
    used: u64,
}

impl RealFiles {
    /// Creates the directories where missing and locks them. `log_dir` may be `data_dir`.
    ///
    /// Errors name the path: held by another server, unreadable, or snapshots and logs in each
    /// other's place (which ZooKeeper refuses, too).
    pub fn open(data_dir: &Path, log_dir: &Path) -> io::Result<Self> {
        let snapshots = create(data_dir)?;
        let logs = create(log_dir)?;
        let mut locks = vec![lock(data_dir)?];
        let same = fs::canonicalize(&snapshots)? == fs::canonicalize(&logs)?;
        if !same {
            locks.push(lock(log_dir)?);
            refuse_strangers(&snapshots, "log.", "dataLogDir")?;
            refuse_strangers(&logs, "snapshot.", "dataDir")?;
        }
        Ok(Self {
            snapshots,
            logs,
            handles: RefCell::default(),
            _locks: locks,
        })
    }

    /// Where the directory lies.
    pub fn path(&self, dir: Dir) -> &Path {
        match dir {
            Dir::Snapshots => &self.snapshots,
            Dir::Logs => &self.logs,
        }
    }

    fn with<T>(
        &self,
        dir: Dir,
        name: &str,
        create: bool,
        act: impl FnOnce(&mut Handle) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut handles = self.handles.borrow_mut();
        let handles = &mut *handles;
        handles.uses += 1;
        let key = (dir, name.to_owned());
        if !handles.open.contains_key(&key) {
            handles.make_room();
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(create)
                .truncate(false)
                .open(self.path(dir).join(name))?;
            handles.open.insert(
                key.clone(),
                Handle {
                    file,
                    dirty: false,
                    used: 0,
                },
            );
        }
        let handle = handles.open.get_mut(&key).expect("opened above");
        handle.used = handles.uses;
        act(handle)
    }
}

impl Handles {
    /// Closes the clean handle that was not used for the longest time.
    fn make_room(&mut self) {
        if self.open.len() < HANDLES_MAX {
            return;
        }
        let clean = self.open.iter().filter(|(_, handle)| !handle.dirty);
        let oldest = clean
            .min_by_key(|(_, handle)| handle.used)
            .map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.open.remove(&key);
        }
    }
}

/// Asks the file system where the next bytes are that were ever written.
pub(crate) fn next_data(file: &File, offset: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(at) => Ok(at),
        // Nothing but a hole up to the end.
        Err(Errno::NXIO) => Ok(offset.max(file.metadata()?.len())),
        // A file system that does not know.
        Err(_) => Ok(offset),
    }
}

/// Says which path an error is about.
fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes `parent/version-2`, its name synced.
fn create(parent: &Path) -> io::Result<PathBuf> {
    let path = parent.join(VERSION_DIR);
    fs::create_dir_all(&path).map_err(|e| naming(&path, &e))?;
    let opened = File::open(parent).map_err(|e| naming(parent, &e))?;
    opened.sync_all().map_err(|e| naming(parent, &e))?;
    Ok(path)
}

fn lock(parent: &Path) -> io::Result<File> {
    let path = parent.join(LOCK_NAME);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| naming(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            format!(
                "{} is locked: another server uses {}; stop it, or give this one its own dataDir",
                path.display(),
                parent.display()
            ),
        )),
        Err(TryLockError::Error(e)) => Err(naming(&path, &e)),
    }
}

fn refuse_strangers(path: &Path, prefix: &str, home: &str) -> io::Result<()> {
    for entry in fs::read_dir(path).map_err(|e| naming(path, &e))? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with(prefix) {
            let at = path.join(&name);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} belongs into {home}/{VERSION_DIR}: dataDir and dataLogDir differ, and \
                     history in the wrong one would be overlooked; move it there",
                    at.display()
                ),
            ));
        }
    }
    Ok(())
}

impl Files for RealFiles {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            let entry = entry?;
            // Names that are not UTF-8 are nobody's that storage knows.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(dir).join(name))?.len())
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(dir, name, false, |handle| {
            let mut n = 0;
            while n < buf.len() {
                match handle.file.read_at(&mut buf[n..], offset + n as u64) {
                    Ok(0) => break,
                    Ok(more) => n += more,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(n)
        })
    }

    fn reader(&self, dir: Dir, name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        let file = File::open(self.path(dir).join(name))?;
        Ok(Some(Box::new(file)))
    }

    fn next_data(&self, dir: Dir, name: &str, offset: u64) -> io::Result<u64> {
        self.with(dir, name, false, |handle| next_data(&handle.file, offset))
    }

    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(dir, name, true, |handle| {
            handle.dirty = true;
            handle.file.write_all_at(bytes, offset)
        })
    }

    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()> {
        self.with(dir, name, false, |handle| {
            handle.dirty = true;
            handle.file.set_len(len)
        })
    }

    fn allocate(&mut self, dir: Dir, name: &str, offset: u64, len: u64) -> io::Result<()> {
        self.with(dir, name, false, |handle| {
            handle.dirty = true;
            loop {
                match fallocate(&handle.file, FallocateFlags::empty(), offset, len) {
                    Err(Errno::INTR) => {}
                    // Some file systems keep no such promise: a write will tell.
                    Err(Errno::OPNOTSUPP) => return Ok(()),
                    other => return Ok(other?),
                }
            }
        })
    }

    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.with(dir, name, false, |handle| {
            handle.file.sync_data()?;
            handle.dirty = false;
            Ok(())
        })
    }

    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        let path = self.path(dir);
        fs::rename(path.join(from), path.join(to))?;
        let open = &mut self.handles.get_mut().open;
        open.remove(&(dir, to.to_owned()));
        if let Some(handle) = open.remove(&(dir, from.to_owned())) {
            open.insert((dir, to.to_owned()), handle);
        }
        Ok(())
    }

    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.handles.get_mut().open.remove(&(dir, name.to_owned()));
        fs::remove_file(self.path(dir).join(name))
    }
}
