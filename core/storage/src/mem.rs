//! Files in memory that know what a power loss would take: for tests, and for the simulator's
//! disk.
//!
//! The model is as hostile as a disk with a page cache may be. Between two syncs of a file any part
//! of its writes may reach the platter: a prefix, a prefix whose last sector came out as zeros or
//! as garbage, or any subset of sectors. Files are independent of each other. Names are journaled:
//! of the creations, renames and removals of one directory since its last sync a prefix survives.
//! Never touched is what was synced: a sector that holds old and new bytes is written whole or not
//! at all, and its old bytes are equal in both.

use std::collections::BTreeMap;
use std::io;

use crate::files::{Dir, Files};

/// What reaches the platter at once.
pub const SECTOR_BYTES: u64 = 512;

/// A decision of [`MemFiles::crash`]. The larger the answer, the more survives: answering always 0
/// loses all that is not stable, answering always the maximum keeps everything as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice<'a> {
    /// How many of the directory's pending operations on names survive.
    Names(Dir),
    /// How a file loses: 0 each sector for itself, 1 a prefix whose last sector reads as zeros,
    /// 2 a prefix whose last sector reads as garbage, 3 a clean prefix.
    Manner(Dir, &'a str),
    /// How many of the file's pending bytes survive; a change of length counts as one byte.
    Bytes(Dir, &'a str),
    /// Manner 0: whether this sector, or change of length, survives (1) or not (0).
    Sector(Dir, &'a str),
    /// Manner 2: the byte that the garbage starts from.
    Garbage(Dir, &'a str),
}

/// Two directories of files, with the writes that are not stable yet.
#[derive(Clone, Debug, Default)]
pub struct MemFiles {
    directories: [Directory; 2],
    inodes: BTreeMap<u64, Inode>,
    inodes_made: u64,
}

#[derive(Clone, Debug, Default)]
struct Directory {
    stable: BTreeMap<String, u64>,
    /// What programs see: `stable` with all of `pending` done.
    visible: BTreeMap<String, u64>,
    pending: Vec<NameOp>,
}

#[derive(Clone, Debug)]
enum NameOp {
    Create { name: String, inode: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
}

#[derive(Clone, Debug, Default)]
struct Inode {
    stable: Vec<u8>,
    /// Done to `stable` in this order at the next sync; readers see them at once.
    pending: Vec<ByteOp>,
    visible_len: u64,
}

#[derive(Clone, Debug)]
enum ByteOp {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl NameOp {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to } => {
                let inode = names
                    .remove(from)
                    .expect("operations on names survive as a prefix");
                names.insert(to.clone(), inode);
            }
            Self::Remove { name } => {
                names
                    .remove(name)
                    .expect("operations on names survive as a prefix");
            }
        }
    }
}

impl ByteOp {
    /// In the currency of [`Choice::Bytes`].
    fn weight(&self) -> u64 {
        match self {
            Self::Write { bytes, .. } => bytes.len() as u64,
            Self::SetLen(_) => 1,
        }
    }
}

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

impl Inode {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.visible_len = self.visible_len.max(offset + bytes.len() as u64);
        // Sequential writes between two syncs are one operation: fewer to look through on a read.
        if let Some(ByteOp::Write {
            offset: at,
            bytes: before,
        }) = self.pending.last_mut()
            && *at + before.len() as u64 == offset
        {
            before.extend_from_slice(bytes);
            return;
        }
        self.pending.push(ByteOp::Write {
            offset,
            bytes: bytes.to_vec(),
        });
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let n = self
            .visible_len
            .saturating_sub(offset)
            .min(out.len() as u64) as usize;
        let out = &mut out[..n];
        out.fill(0);
        overlay(out, offset, 0, &self.stable);
        for op in &self.pending {
            match op {
                ByteOp::Write { offset: at, bytes } => overlay(out, offset, *at, bytes),
                ByteOp::SetLen(len) => {
                    let kept = len.saturating_sub(offset).min(n as u64) as usize;
                    out[kept..].fill(0);
                }
            }
        }
        n
    }

    fn sync(&mut self) {
        for op in self.pending.drain(..) {
            match op {
                ByteOp::Write { offset, bytes } => put(&mut self.stable, offset, &bytes),
                ByteOp::SetLen(len) => self.stable.resize(len as usize, 0),
            }
        }
        assert_eq!(
            self.stable.len() as u64,
            self.visible_len,
            "length seen and length kept differ"
        );
    }

    fn crash(&mut self, dir: Dir, name: &str, pick: &mut dyn FnMut(Choice<'_>, u64) -> u64) {
        let pending = core::mem::take(&mut self.pending);
        match pick(Choice::Manner(dir, name), 4) {
            0 => self.keep_sectors(&pending, &mut || pick(Choice::Sector(dir, name), 2) == 1),
            manner => {
                let total: u64 = pending.iter().map(ByteOp::weight).sum();
                let kept = pick(Choice::Bytes(dir, name), total + 1);
                let last = self.keep_prefix(&pending, kept);
                if let Some((start, end)) = last
                    && manner < 3
                {
                    let seed = match manner {
                        1 => None,
                        _ => Some(pick(Choice::Garbage(dir, name), 256)),
                    };
                    spoil(&mut self.stable[start..end], seed);
                }
            }
        }
        self.visible_len = self.stable.len() as u64;
    }

    /// Keeps the first `kept` bytes of what is pending. Returns where the last sector's share of
    /// the last write that survived lies, unless it was cut off again.
    fn keep_prefix(&mut self, pending: &[ByteOp], mut kept: u64) -> Option<(usize, usize)> {
        let mut last = None;
        for op in pending {
            if kept == 0 {
                break;
            }
            match op {
                ByteOp::Write { offset, bytes } => {
                    let n = kept.min(bytes.len() as u64);
                    put(&mut self.stable, *offset, &bytes[..n as usize]);
                    let end = offset + n;
                    let sector = (end.max(1) - 1) / SECTOR_BYTES * SECTOR_BYTES;
                    last = Some((sector.max(*offset) as usize, end as usize));
                    kept -= n;
                }
                ByteOp::SetLen(len) => {
                    self.stable.resize(*len as usize, 0);
                    kept -= 1;
                }
            }
        }
        last.filter(|(start, end)| start < end && *end <= self.stable.len())
    }

    fn keep_sectors(&mut self, pending: &[ByteOp], keep: &mut dyn FnMut() -> bool) {
        for op in pending {
            match op {
                ByteOp::Write { offset, bytes } => {
                    let end = offset + bytes.len() as u64;
                    let mut at = *offset;
                    while at < end {
                        let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                        if keep() {
                            let piece = (at - offset) as usize..(next - offset) as usize;
                            put(&mut self.stable, at, &bytes[piece]);
                        }
                        at = next;
                    }
                }
                ByteOp::SetLen(len) => {
                    if keep() {
                        self.stable.resize(*len as usize, 0);
                    }
                }
            }
        }
    }
}

/// Copies the part of `bytes`, which stand at `at`, that lies in the window `out` from `offset`.
fn overlay(out: &mut [u8], offset: u64, at: u64, bytes: &[u8]) {
    let start = at.max(offset);
    let end = (at + bytes.len() as u64).min(offset + out.len() as u64);
    if start < end {
        out[(start - offset) as usize..(end - offset) as usize]
            .copy_from_slice(&bytes[(start - at) as usize..(end - at) as usize]);
    }
}

/// Zeros, or bytes that look like nothing.
fn spoil(bytes: &mut [u8], seed: Option<u64>) {
    let mut state = seed.map(|seed| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for byte in bytes {
        *byte = state.map_or(0, |s| (s >> 24) as u8);
        state = state.map(|s| {
            let s = s ^ (s << 13);
            let s = s ^ (s >> 7);
            s ^ (s << 17)
        });
    }
}

impl MemFiles {
    /// Two empty directories.
    pub fn new() -> Self {
        Self::default()
    }

    /// The power fails. `pick(choice, n)` answers each question with a number below `n`; files and
    /// directories without pending changes are not asked about. Afterwards all is stable.
    pub fn crash(&mut self, mut pick: impl FnMut(Choice<'_>, u64) -> u64) {
        let mut pick = |choice: Choice<'_>, below: u64| {
            let picked = pick(choice, below);
            assert!(
                picked < below,
                "{choice:?} was answered with {picked}, not below {below}"
            );
            picked
        };
        for dir in [Dir::Snapshots, Dir::Logs] {
            let directory = &mut self.directories[dir as usize];
            let pending = core::mem::take(&mut directory.pending);
            if pending.is_empty() {
                continue;
            }
            let kept = pick(Choice::Names(dir), pending.len() as u64 + 1) as usize;
            for op in &pending[..kept] {
                op.apply(&mut directory.stable);
            }
            directory.visible = directory.stable.clone();
        }
        self.forget_unnamed();
        for dir in [Dir::Snapshots, Dir::Logs] {
            for (name, inode) in &self.directories[dir as usize].stable {
                let inode = self.inodes.get_mut(inode).expect("a name has an inode");
                if !inode.pending.is_empty() {
                    inode.crash(dir, name, &mut pick);
                }
            }
        }
        assert!(self.is_stable());
    }

    /// A copy that holds only what is certain to survive: everything pending is lost.
    pub fn platter(&self) -> Self {
        let mut copy = self.clone();
        copy.crash(|_, _| 0);
        copy
    }

    /// True when a crash would change nothing.
    pub fn is_stable(&self) -> bool {
        self.directories.iter().all(|d| d.pending.is_empty())
            && self.inodes.values().all(|i| i.pending.is_empty())
    }

    /// Bytes written and not synced, a change of length counting as one.
    pub fn pending_bytes(&self) -> u64 {
        self.inodes
            .values()
            .flat_map(|i| &i.pending)
            .map(ByteOp::weight)
            .sum()
    }

    /// Bit rot: inverts bits of one stable byte. False if there is no such file or byte.
    pub fn rot(&mut self, dir: Dir, name: &str, offset: u64, mask: u8) -> bool {
        let Some(inode) = self.directories[dir as usize].visible.get(name) else {
            return false;
        };
        let inode = self.inodes.get_mut(inode).expect("a name has an inode");
        let Some(byte) = inode.stable.get_mut(offset as usize) else {
            return false;
        };
        *byte ^= mask;
        true
    }

    fn inode(&self, dir: Dir, name: &str) -> io::Result<u64> {
        let found = self.directories[dir as usize].visible.get(name);
        found
            .copied()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn inode_mut(&mut self, dir: Dir, name: &str) -> io::Result<&mut Inode> {
        let inode = self.inode(dir, name)?;
        Ok(self.inodes.get_mut(&inode).expect("a name has an inode"))
    }

    fn name_op(&mut self, dir: Dir, op: NameOp) {
        let directory = &mut self.directories[dir as usize];
        op.apply(&mut directory.visible);
        directory.pending.push(op);
    }

    /// Drops contents that no name leads to: stable, visible, or in between.
    fn forget_unnamed(&mut self) {
        let directories = &self.directories;
        self.inodes
            .retain(|inode, _| directories.iter().any(|d| d.leads_to(*inode)));
    }
}

impl Directory {
    /// May a name lead there, whatever a crash keeps?
    fn leads_to(&self, inode: u64) -> bool {
        let made = |op: &NameOp| matches!(op, NameOp::Create { inode: i, .. } if *i == inode);
        self.stable.values().any(|i| *i == inode)
            || self.visible.values().any(|i| *i == inode)
            || self.pending.iter().any(made)
    }
}

impl Files for MemFiles {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        Ok(self.directories[dir as usize]
            .visible
            .keys()
            .cloned()
            .collect())
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        Ok(self.inodes[&self.inode(dir, name)?].visible_len)
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.inodes[&self.inode(dir, name)?].read(offset, buf))
    }

    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.directories[dir as usize].visible.contains_key(name) {
            self.inodes_made += 1;
            let inode = self.inodes_made;
            self.inodes.insert(inode, Inode::default());
            self.name_op(
                dir,
                NameOp::Create {
                    name: name.to_owned(),
                    inode,
                },
            );
        }
        if !bytes.is_empty() {
            self.inode_mut(dir, name)?.write(offset, bytes);
        }
        Ok(())
    }

    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()> {
        let inode = self.inode_mut(dir, name)?;
        if inode.visible_len != len {
            inode.visible_len = len;
            inode.pending.push(ByteOp::SetLen(len));
        }
        Ok(())
    }

    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.inode_mut(dir, name)?.sync();
        Ok(())
    }

    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        let directory = &mut self.directories[dir as usize];
        if directory.pending.is_empty() {
            return Ok(());
        }
        for op in core::mem::take(&mut directory.pending) {
            op.apply(&mut directory.stable);
        }
        self.forget_unnamed();
        Ok(())
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        self.inode(dir, from)?;
        self.name_op(
            dir,
            NameOp::Rename {
                from: from.to_owned(),
                to: to.to_owned(),
            },
        );
        Ok(())
    }

    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.inode(dir, name)?;
        self.name_op(
            dir,
            NameOp::Remove {
                name: name.to_owned(),
            },
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: Dir = Dir::Logs;

    fn content(files: &MemFiles, name: &str) -> Vec<u8> {
        let mut out = vec![0; files.len(D, name).expect("exists") as usize];
        let n = files.read_at(D, name, 0, &mut out).expect("exists");
        assert_eq!(n, out.len());
        out
    }

    /// A file "a" that holds four stable sectors of ones.
    fn stable() -> MemFiles {
        let mut files = MemFiles::new();
        files.write_at(D, "a", 0, &[1; 2048]).expect("written");
        files.sync(D, "a").expect("synced");
        files.sync_dir(D).expect("synced");
        assert!(files.is_stable());
        files
    }

    #[test]
    fn readers_see_pending_writes_and_a_crash_may_lose_them() {
        let mut files = stable();
        files.write_at(D, "a", 2000, &[2; 100]).expect("written");
        files.set_len(D, "a", 2050).expect("cut");
        files.write_at(D, "a", 2060, &[3]).expect("written");
        let seen = content(&files, "a");
        assert_eq!(seen.len(), 2061);
        assert_eq!(
            (seen[1999], seen[2000], seen[2049], seen[2050], seen[2060]),
            (1, 2, 2, 0, 3)
        );
        assert_eq!(content(&files.platter(), "a"), [1; 2048]);
        let mut kept = files.clone();
        kept.crash(|_, below| below - 1);
        assert_eq!(content(&kept, "a"), seen);
        files.sync(D, "a").expect("synced");
        assert_eq!(content(&files.platter(), "a"), seen);
    }

    #[test]
    fn a_name_is_lost_until_its_directory_is_synced() {
        let mut files = stable();
        files.write_at(D, "b.tmp", 0, b"x").expect("written");
        files.sync(D, "b.tmp").expect("synced");
        files.rename(D, "b.tmp", "a").expect("renamed");
        assert_eq!(content(&files, "a"), b"x");
        assert_eq!(content(&files.platter(), "a").len(), 2048);
        files.sync_dir(D).expect("synced");
        assert_eq!(content(&files.platter(), "a"), b"x");
        files.remove(D, "a").expect("removed");
        assert_eq!(
            files.len(D, "a").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(content(&files.platter(), "a"), b"x");
    }

    #[test]
    fn sectors_survive_each_for_itself_and_synced_bytes_always() {
        let mut files = stable();
        files.write_at(D, "a", 500, &[2; 1000]).expect("written");
        let mut turn = 0;
        files.crash(|choice, _| match choice {
            Choice::Sector(..) => {
                turn += 1;
                turn % 2
            }
            _ => 0,
        });
        let seen = content(&files, "a");
        assert_eq!((seen[499], seen[500], seen[511]), (1, 2, 2));
        assert_eq!(
            (seen[512], seen[1023], seen[1024], seen[1499], seen[1500]),
            (1, 1, 2, 2, 1)
        );
    }

    #[test]
    fn the_last_sector_of_a_prefix_may_be_spoilt_but_nothing_before_it() {
        for manner in [1, 2] {
            let mut files = stable();
            files.write_at(D, "a", 500, &[2; 1000]).expect("written");
            files.crash(|choice, below| match choice {
                Choice::Manner(..) => manner,
                Choice::Bytes(..) => 600,
                _ => below - 1,
            });
            let seen = content(&files, "a");
            assert_eq!(seen[..500], [1; 500]);
            assert_eq!(seen[500..1024], [2; 524]);
            assert_ne!(seen[1024..1100], [2; 76]);
            assert_eq!(seen[1100..], [1; 948]);
        }
    }

    #[test]
    fn rot_changes_one_stable_byte() {
        let mut files = stable();
        assert!(files.rot(D, "a", 7, 0x10));
        assert!(!files.rot(D, "a", 2048, 1));
        assert!(!files.rot(D, "b", 0, 1));
        assert_eq!(content(&files, "a")[7], 0x11);
    }
}
