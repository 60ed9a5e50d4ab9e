//! A disk that fails: [`MemFiles`] behind a handle, with errors that strike at a chosen operation,
//! room that runs out at a chosen byte, syncs that lie, bytes that land or are read elsewhere, and
//! bits that rot. For tests, and for the simulator's disk.
//!
//! Two kinds of fault are told apart. An error is reported; what it concerns was not promised to
//! anybody. Damage is silent: [`FaultyFiles::is_damaged`]. As long as there is damage, a twin of
//! the files goes through the same operations without it, so that a driver can compare the two, and
//! can decide that the damage did not happen.

use std::cell::{Ref, RefCell};
use std::io;
use std::rc::Rc;

use crate::files::{Dir, Files};
use crate::mem::{Choice, MemFiles};

use room::Room;

mod room;

/// A change of the files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileOp {
    Write {
        dir: Dir,
        name: String,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        dir: Dir,
        name: String,
        len: u64,
    },
    Sync {
        dir: Dir,
        name: String,
    },
    SyncDir {
        dir: Dir,
    },
    Rename {
        dir: Dir,
        from: String,
        to: String,
    },
    Remove {
        dir: Dir,
        name: String,
    },
}

impl FileOp {
    /// Does it.
    pub fn apply<F: Files>(&self, files: &mut F) -> io::Result<()> {
        match self {
            Self::Write {
                dir,
                name,
                offset,
                bytes,
            } => files.write_at(*dir, name, *offset, bytes),
            Self::SetLen { dir, name, len } => files.set_len(*dir, name, *len),
            Self::Sync { dir, name } => files.sync(*dir, name),
            Self::SyncDir { dir } => files.sync_dir(*dir),
            Self::Rename { dir, from, to } => files.rename(*dir, from, to),
            Self::Remove { dir, name } => files.remove(*dir, name),
        }
    }
}

/// Which operations an error strikes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A read gives EIO.
    Read,
    /// A write gives EIO after some of its bytes.
    Write,
    /// A sync of a file gives EIO; see [`MemFiles::fail_sync`].
    Sync,
    /// A sync of a file says that there was no room, and has lost as much.
    SyncFull,
    /// A write lands at another place, in this file or another.
    StrayWrite,
    /// A read brings the bytes of another place.
    StrayRead,
}

/// A fault that waits for its operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strike {
    pub kind: Kind,
    /// Operations of that kind that still go well.
    pub after: u64,
    /// Decides what the kind leaves open.
    pub word: u64,
}

/// What a byte of an unhealthy disk may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rot {
    /// One bit of one byte.
    Bit,
    /// Everything in a sector reads as zeros.
    Sector,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    files: MemFiles,
    /// Without the damage.
    honest: Option<MemFiles>,
    changes_left: Option<u64>,
    room: Room,
    /// Room can be taken before it is written to.
    can_allocate: bool,
    lying: bool,
    strikes: Vec<Strike>,
    errors: u64,
    journal: Option<Vec<FileOp>>,
}

/// Files that outlive the process that uses them; clones are the same files.
#[derive(Clone, Debug, Default)]
pub struct FaultyFiles {
    inner: Rc<RefCell<Inner>>,
}

/// Numbers from a word.
fn next(word: &mut u64) -> u64 {
    *word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (*word ^ (*word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn eio() -> io::Error {
    io::Error::other("Input/output error")
}

impl Inner {
    /// The strike that is due at an operation of this kind.
    fn due(&mut self, kind: Kind) -> Option<u64> {
        let at = self.strikes.iter().position(|s| s.kind == kind)?;
        if self.strikes[at].after > 0 {
            self.strikes[at].after -= 1;
            return None;
        }
        Some(self.strikes.remove(at).word)
    }

    fn damage(&mut self) {
        if self.honest.is_none() {
            self.honest = Some(self.files.clone());
        }
    }

    /// Does it to both, and writes it down.
    fn apply(&mut self, op: FileOp) -> io::Result<()> {
        if let Some(honest) = &mut self.honest {
            op.apply(honest)?;
        }
        op.apply(&mut self.files)?;
        if let Some(journal) = &mut self.journal {
            journal.push(op);
        }
        Ok(())
    }

    fn change(&mut self, op: FileOp) -> io::Result<()> {
        match &mut self.changes_left {
            Some(0) => return Err(io::Error::other("the process is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        match op {
            FileOp::Write {
                dir,
                name,
                offset,
                bytes,
            } => self.write(dir, name, offset, bytes),
            FileOp::Sync { dir, name } => self.sync(dir, name),
            FileOp::SyncDir { dir } => self.sync_dir(dir),
            other => {
                match &other {
                    FileOp::SetLen { dir, name, len } => {
                        self.room.cut(&self.files, *dir, name, *len);
                    }
                    FileOp::Rename { dir, from, to } => {
                        self.room.rename(&self.files, *dir, from, to);
                    }
                    FileOp::Remove { dir, name } => self.room.cut(&self.files, *dir, name, 0),
                    _ => {}
                }
                self.apply(other)
            }
        }
    }

    fn write(&mut self, dir: Dir, name: String, offset: u64, mut bytes: Vec<u8>) -> io::Result<()> {
        let mut refusal = None;
        if let Some(mut word) = self.due(Kind::Write) {
            bytes.truncate((next(&mut word) % (bytes.len() as u64 + 1)) as usize);
            refusal = Some(eio());
        }
        let len = bytes.len() as u64;
        let fits = self.room.write(&self.files, dir, &name, offset, len);
        if fits < bytes.len() as u64 {
            bytes.truncate(fits as usize);
            refusal = Some(io::Error::from(io::ErrorKind::StorageFull));
        }
        if let Some(word) = self.due(Kind::StrayWrite).filter(|_| !bytes.is_empty()) {
            return self.stray(dir, name, offset, bytes, word);
        }
        let op = FileOp::Write {
            dir,
            name,
            offset,
            bytes,
        };
        self.apply(op)?;
        match refusal {
            None => Ok(()),
            Some(refusal) => {
                self.errors += 1;
                Err(refusal)
            }
        }
    }

    fn allocate(&mut self, dir: Dir, name: &str, offset: u64, len: u64) -> io::Result<()> {
        let is_taken = self.room.take(&self.files, dir, name, offset, len);
        if is_taken {
            return Ok(());
        }
        self.errors += 1;
        Err(io::ErrorKind::StorageFull.into())
    }

    /// The bytes go where they do not belong; their own place stays as it was.
    fn stray(
        &mut self,
        dir: Dir,
        name: String,
        offset: u64,
        bytes: Vec<u8>,
        mut word: u64,
    ) -> io::Result<()> {
        self.damage();
        let here = || (dir, name.clone(), 0);
        let (to_dir, to_name, to) = self.elsewhere(&mut word).unwrap_or_else(here);
        let room = self.files.len(to_dir, &to_name).unwrap_or(0);
        let kept = bytes.len().min(room.saturating_sub(to) as usize);
        // The file is there and has its length, which the file system knows.
        let end = offset + bytes.len() as u64;
        self.files.write_at(dir, &name, offset, &[])?;
        if self.files.len(dir, &name)? < end {
            self.files.set_len(dir, &name, end)?;
        }
        if kept > 0 {
            self.files.write_at(to_dir, &to_name, to, &bytes[..kept])?;
        }
        let honest = self.honest.as_mut().expect("just made");
        honest.write_at(dir, &name, offset, &bytes)
    }

    /// Some place in some file.
    fn elsewhere(&self, word: &mut u64) -> Option<(Dir, String, u64)> {
        let dir = [Dir::Snapshots, Dir::Logs][(next(word) % 2) as usize];
        let mut all = Vec::new();
        for name in self.files.list(dir).ok()? {
            let len = self.files.len(dir, &name).ok()?;
            if len > 0 {
                all.push((name, len));
            }
        }
        let (name, len) = all.get((next(word) % all.len().max(1) as u64) as usize)?;
        Some((dir, name.clone(), next(word) % len))
    }

    fn sync(&mut self, dir: Dir, name: String) -> io::Result<()> {
        let full = self.due(Kind::SyncFull).map(|word| (word, true));
        let failed = full.or_else(|| self.due(Kind::Sync).map(|word| (word, false)));
        if let Some((mut word, is_full)) = failed {
            for files in [Some(&mut self.files), self.honest.as_mut()] {
                let pick = |_: Choice<'_>, below| next(&mut word) % below;
                if let Some(files) = files {
                    files.fail_sync(dir, &name, pick);
                }
            }
            self.errors += 1;
            return Err(if is_full {
                io::ErrorKind::StorageFull.into()
            } else {
                eio()
            });
        }
        if self.lying
            && let Some(honest) = &mut self.honest
        {
            return honest.sync(dir, &name);
        }
        self.apply(FileOp::Sync { dir, name })
    }

    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        if self.lying
            && let Some(honest) = &mut self.honest
        {
            return honest.sync_dir(dir);
        }
        self.apply(FileOp::SyncDir { dir })
    }

    fn read(&mut self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.due(Kind::Read).is_some() {
            self.errors += 1;
            return Err(eio());
        }
        let n = self.files.read_at(dir, name, offset, buf)?;
        if n > 0
            && let Some(mut word) = self.due(Kind::StrayRead)
            && let Some((from_dir, from, at)) = self.elsewhere(&mut word)
        {
            self.damage();
            buf[..n].fill(0);
            self.files.read_at(from_dir, &from, at, &mut buf[..n])?;
        }
        Ok(n)
    }
}

impl FaultyFiles {
    /// A healthy disk with these files.
    pub fn new(files: MemFiles) -> Self {
        let inner = Inner {
            files,
            ..Inner::default()
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
        }
    }

    /// The files as they are now, with whatever damage.
    pub fn files(&self) -> Ref<'_, MemFiles> {
        Ref::map(self.inner.borrow(), |inner| &inner.files)
    }

    /// Something may be read that was not written, or not be read at all.
    pub fn is_suspect(&self) -> bool {
        let inner = self.inner.borrow();
        inner.honest.is_some() || !inner.strikes.is_empty()
    }

    /// Other files that are equal now, with the same strikes before them; without a journal.
    pub fn fork(&self) -> Self {
        let inner = Inner {
            journal: None,
            ..self.inner.borrow().clone()
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
        }
    }

    /// So many changes still go through, then nothing changes any more: the process dies between
    /// two of them.
    pub fn set_changes_left(&self, left: Option<u64>) {
        self.inner.borrow_mut().changes_left = left;
    }

    /// So many bytes can still be written before the disk is full.
    pub fn set_room(&self, room: Option<u64>) {
        self.inner.borrow_mut().room.set_left(room);
    }

    /// Can room be taken before it is written to? Not every file system can, and this one only if
    /// it is told so.
    pub fn set_can_allocate(&self, can: bool) {
        self.inner.borrow_mut().can_allocate = can;
    }

    /// From now on syncs report success and do nothing, or no longer.
    pub fn set_lying(&self, lying: bool) {
        let mut inner = self.inner.borrow_mut();
        inner.lying = lying;
        if lying {
            inner.damage();
        }
    }

    pub fn is_lying(&self) -> bool {
        self.inner.borrow().lying
    }

    pub fn arm(&self, strike: Strike) {
        self.inner.borrow_mut().strikes.push(strike);
    }

    /// How many faults wait for their operation.
    pub fn armed(&self) -> usize {
        self.inner.borrow().strikes.len()
    }

    /// Nothing strikes any more; damage stays.
    pub fn disarm(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.strikes.clear();
        inner.lying = false;
    }

    /// Errors reported since the last call.
    pub fn take_errors(&self) -> u64 {
        std::mem::take(&mut self.inner.borrow_mut().errors)
    }

    /// Rots somewhere, where there is something else than zeros.
    pub fn rot(&self, kind: Rot, mut word: u64) {
        let mut inner = self.inner.borrow_mut();
        for _ in 0..16 {
            let Some((dir, name, at)) = inner.elsewhere(&mut word) else {
                continue;
            };
            let mut byte = [0];
            let read = inner.files.read_at(dir, &name, at, &mut byte);
            if read.ok() == Some(0) || byte == [0] {
                continue;
            }
            inner.damage();
            match kind {
                Rot::Bit => {
                    let mask = 1 << (next(&mut word) % 8);
                    inner.files.rot(dir, &name, at, mask);
                }
                Rot::Sector => {
                    let start = at / 512 * 512;
                    for at in start..start + 512 {
                        inner.files.blank(dir, &name, at);
                    }
                }
            }
            return;
        }
    }

    /// Something is not as it should be, and nobody was told.
    pub fn is_damaged(&self) -> bool {
        self.inner.borrow().honest.is_some()
    }

    /// There is no damage, and none will come of what was planned so far.
    pub fn calm_damage(&self) {
        self.undo_damage();
        let mut inner = self.inner.borrow_mut();
        inner.lying = false;
        let strays = [Kind::StrayRead, Kind::StrayWrite];
        inner.strikes.retain(|s| !strays.contains(&s.kind));
    }

    /// The damage did not happen.
    pub fn undo_damage(&self) {
        let mut inner = self.inner.borrow_mut();
        if let Some(honest) = inner.honest.take() {
            inner.files = honest;
        }
    }

    /// The damage did happen; from now on it is what there is.
    pub fn keep_damage(&self) {
        self.inner.borrow_mut().honest = None;
    }

    /// All files are gone, and so are their faults.
    pub fn replace(&self, files: MemFiles) {
        let mut inner = self.inner.borrow_mut();
        let journal = inner.journal.take();
        let can_allocate = inner.can_allocate;
        *inner = Inner {
            files,
            journal,
            can_allocate,
            ..Inner::default()
        };
    }

    /// The power fails; see [`MemFiles::crash`].
    pub fn crash(&self, mut pick: impl FnMut(Choice<'_>, u64) -> u64) {
        let mut inner = self.inner.borrow_mut();
        inner.files.crash(&mut pick);
        if let Some(honest) = &mut inner.honest {
            honest.crash(&mut pick);
        }
        let Inner { room, files, .. } = &mut *inner;
        room.crash(files);
    }

    /// Writes down every change from now on.
    pub fn record(&self) {
        self.inner.borrow_mut().journal = Some(Vec::new());
    }

    /// What was written down since the last call.
    pub fn take_journal(&self) -> Vec<FileOp> {
        let mut inner = self.inner.borrow_mut();
        inner
            .journal
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

impl Files for FaultyFiles {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        self.inner.borrow().files.list(dir)
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        self.inner.borrow().files.len(dir, name)
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.borrow_mut().read(dir, name, offset, buf)
    }

    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let name = name.to_owned();
        let bytes = bytes.to_vec();
        self.inner.borrow_mut().change(FileOp::Write {
            dir,
            name,
            offset,
            bytes,
        })
    }

    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()> {
        let name = name.to_owned();
        let op = FileOp::SetLen { dir, name, len };
        self.inner.borrow_mut().change(op)
    }

    fn allocate(&mut self, dir: Dir, name: &str, offset: u64, len: u64) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        if inner.can_allocate {
            inner.allocate(dir, name, offset, len)
        } else {
            Ok(())
        }
    }

    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.inner.borrow_mut().change(FileOp::Sync { dir, name })
    }

    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        self.inner.borrow_mut().change(FileOp::SyncDir { dir })
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.inner
            .borrow_mut()
            .change(FileOp::Rename { dir, from, to })
    }

    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.inner.borrow_mut().change(FileOp::Remove { dir, name })
    }
}
