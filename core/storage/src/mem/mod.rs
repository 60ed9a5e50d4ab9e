//! Files in memory that know what a power loss would take: for tests, and for the simulator's
//! disk.
//!
//! The model is as hostile as a disk with a page cache may be. Between two syncs of a file any part
//! of its writes may reach the platter: a prefix, a prefix whose last sector came out as zeros or
//! as garbage, or any subset of sectors, of 512 or 4096 bytes. Files are independent of each other.
//! Of the creations, renames and removals of one directory since its last sync any subset survives;
//! each of them is done whole or not at all. Never touched is what was synced: a sector that holds
//! old and new bytes is written whole or not at all, and its old bytes are equal in both; the same
//! holds for bytes that are written again as they were.
//!
//! A sync can fail too. What it should have written is then seen until the cache is lost, and a
//! later sync that succeeds does not write it.

mod inode;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use crate::files::{Dir, Files};
use inode::{ByteOp, Inode};

/// What reaches the platter at once, unless told otherwise.
pub const SECTOR_BYTES: u64 = 512;

/// A decision of [`MemFiles::crash`]. The larger the answer, the more survives: answering always 0
/// loses all that is not stable, answering always the maximum keeps everything as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice<'a> {
    /// Whether the directory's next pending operation on names survives (1) or not (0).
    Name(Dir),
    /// How a file loses: 0 each sector for itself, 1 a prefix whose last sector reads as zeros,
    /// 2 a prefix whose last sector reads as garbage, 3 a clean prefix.
    Manner(Dir, &'a str),
    /// How many of the file's pending bytes survive; a change of length counts as one byte.
    Bytes(Dir, &'a str),
    /// Manner 0, and a sync that fails: whether this sector, or change of length, survives (1) or
    /// not (0).
    Sector(Dir, &'a str),
    /// Manner 2: the byte that the garbage starts from.
    Garbage(Dir, &'a str),
}

/// Two directories of files, with the writes that are not stable yet.
#[derive(Clone, Debug)]
pub struct MemFiles {
    sector_bytes: u64,
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
    Create {
        name: String,
        inode: u64,
    },
    Rename {
        from: String,
        to: String,
        inode: u64,
    },
    Remove {
        name: String,
        inode: u64,
    },
}

impl Default for MemFiles {
    fn default() -> Self {
        Self::with_sectors(SECTOR_BYTES)
    }
}

impl NameOp {
    /// Entries are changed one by one, so what came before may be missing.
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                names.retain(|name, i| name != from || i != inode);
                names.insert(to.clone(), *inode);
            }
            Self::Remove { name, inode } => names.retain(|n, i| n != name || i != inode),
        }
    }

    fn inode(&self) -> u64 {
        match self {
            Self::Create { inode, .. }
            | Self::Rename { inode, .. }
            | Self::Remove { inode, .. } => *inode,
        }
    }
}

impl MemFiles {
    /// Two empty directories.
    pub fn new() -> Self {
        Self::default()
    }

    /// Two empty directories on a disk that writes so many bytes at once.
    pub fn with_sectors(bytes: u64) -> Self {
        Self {
            sector_bytes: bytes,
            directories: Default::default(),
            inodes: BTreeMap::new(),
            inodes_made: 0,
        }
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
            for op in &pending {
                if pick(Choice::Name(dir), 2) == 1 {
                    op.apply(&mut directory.stable);
                }
            }
            directory.visible = directory.stable.clone();
        }
        self.forget_unnamed();
        for dir in [Dir::Snapshots, Dir::Logs] {
            for (name, inode) in &self.directories[dir as usize].stable {
                let inode = self.inodes.get_mut(inode).expect("a name has an inode");
                inode.crash(dir, name, self.sector_bytes, &mut pick);
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
            && self.inodes.values().all(Inode::is_stable)
    }

    /// A sync of this file fails: `pick` says as in a crash which sectors got through. The rest is
    /// seen until the next crash and written by no later sync. False if there is no such file.
    pub fn fail_sync(
        &mut self,
        dir: Dir,
        name: &str,
        mut pick: impl FnMut(Choice<'_>, u64) -> u64,
    ) -> bool {
        let sector = self.sector_bytes;
        let Ok(inode) = self.inode_mut(dir, name) else {
            return false;
        };
        inode.fail_sync(sector, &mut || pick(Choice::Sector(dir, name), 2) == 1);
        true
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

    /// Bit rot: one stable byte reads as zero.
    pub fn blank(&mut self, dir: Dir, name: &str, offset: u64) {
        let mut byte = [0];
        if self.read_at(dir, name, offset, &mut byte).is_ok() {
            self.rot(dir, name, offset, byte[0]);
        }
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
        self.stable.values().any(|i| *i == inode)
            || self.visible.values().any(|i| *i == inode)
            || self.pending.iter().any(|op| op.inode() == inode)
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
        self.inode_mut(dir, name)?.set_len(len);
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
        let inode = self.inode(dir, from)?;
        self.name_op(
            dir,
            NameOp::Rename {
                from: from.to_owned(),
                to: to.to_owned(),
                inode,
            },
        );
        Ok(())
    }

    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        let inode = self.inode(dir, name)?;
        self.name_op(
            dir,
            NameOp::Remove {
                name: name.to_owned(),
                inode,
            },
        );
        Ok(())
    }
}
