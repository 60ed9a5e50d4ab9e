//! The room of a disk that may run out, in blocks. Knows which blocks of which file have some, and
//! not what is in them: a block that holds anything has room, and so has one that was taken before
//! it is written to.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{Dir, Files};
use crate::mem::MemFiles;

/// What a file system hands out at once.
const BLOCK_BYTES: u64 = 4096;

/// What is left, and what was taken ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    /// Bytes; `None`: more than anybody asks for.
    left: Option<u64>,
    ahead: BTreeMap<(Dir, String), BTreeSet<u64>>,
}

fn blocks(offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / BLOCK_BYTES..(offset + len).div_ceil(BLOCK_BYTES)
}

impl Room {
    pub(super) fn set_left(&mut self, left: Option<u64>) {
        self.left = left;
    }

    fn has(&self, files: &MemFiles, dir: Dir, name: &str, block: u64) -> bool {
        let of_file = self.ahead.get(&(dir, name.to_owned()));
        if of_file.is_some_and(|blocks| blocks.contains(&block)) {
            return true;
        }
        let mut content = [0; BLOCK_BYTES as usize];
        let read = files.read_at(dir, name, block * BLOCK_BYTES, &mut content);
        read.is_ok() && content.iter().any(|b| *b != 0)
    }

    /// How many of the bytes find room. A block that has some costs nothing; another costs its
    /// whole size, and the last one what is left.
    pub(super) fn write(
        &mut self,
        files: &MemFiles,
        dir: Dir,
        name: &str,
        offset: u64,
        len: u64,
    ) -> u64 {
        let Some(mut left) = self.left else {
            return len;
        };
        let mut at = 0;
        while at < len {
            let block = (offset + at) / BLOCK_BYTES;
            let piece = ((block + 1) * BLOCK_BYTES - offset).min(len) - at;
            if !self.has(files, dir, name, block) {
                at += piece.min(left);
                if piece > left {
                    left = 0;
                    break;
                }
                left = left.saturating_sub(BLOCK_BYTES);
            } else {
                at += piece;
            }
        }
        self.left = Some(left);
        at
    }

    /// Takes all blocks of these bytes, or none.
    pub(super) fn take(
        &mut self,
        files: &MemFiles,
        dir: Dir,
        name: &str,
        offset: u64,
        len: u64,
    ) -> bool {
        if let Some(left) = self.left {
            let lacks = |block: &u64| !self.has(files, dir, name, *block);
            let needed = BLOCK_BYTES * blocks(offset, len).filter(lacks).count() as u64;
            let Some(left) = left.checked_sub(needed) else {
                return false;
            };
            self.left = Some(left);
        }
        let of_file = self.ahead.entry((dir, name.to_owned())).or_default();
        of_file.extend(blocks(offset, len));
        true
    }

    /// The file is about to have this length: what is behind it comes back.
    pub(super) fn cut(&mut self, files: &MemFiles, dir: Dir, name: &str, len: u64) {
        if let (Some(left), Ok(before)) = (self.left, files.len(dir, name)) {
            let first = len.div_ceil(BLOCK_BYTES);
            let held = |block: &u64| self.has(files, dir, name, *block);
            let back = (first..before.div_ceil(BLOCK_BYTES)).filter(held).count();
            self.left = Some(left + BLOCK_BYTES * back as u64);
        }
        if let Some(blocks) = self.ahead.get_mut(&(dir, name.to_owned())) {
            blocks.retain(|block| block * BLOCK_BYTES < len);
        }
    }

    /// The file is about to take another's place.
    pub(super) fn rename(&mut self, files: &MemFiles, dir: Dir, from: &str, to: &str) {
        self.cut(files, dir, to, 0);
        let blocks = self.ahead.remove(&(dir, from.to_owned()));
        self.ahead
            .insert((dir, to.to_owned()), blocks.unwrap_or_default());
    }

    /// After a power loss: files that are not there have no room.
    pub(super) fn crash(&mut self, files: &MemFiles) {
        self.ahead
            .retain(|(dir, name), _| files.len(*dir, name).is_ok());
    }
}
