//! One file's content: what is on the platter, what waits for a sync, and what only the page cache
//! holds. Knows nothing of names.

use super::Choice;
use crate::files::Dir;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub(super) stable: Vec<u8>,
    /// Done to `stable` in this order at the next sync; readers see them at once.
    pub(super) pending: Vec<ByteOp>,
    pub(super) visible_len: u64,
    /// What readers see once a sync has failed: it holds bytes that are neither stable nor pending,
    /// because the kernel takes a page whose write-back failed for clean.
    pub(super) cache: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) enum ByteOp {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl ByteOp {
    /// In the currency of [`Choice::Bytes`].
    pub(super) fn weight(&self) -> u64 {
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
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.visible_len = self.visible_len.max(offset + bytes.len() as u64);
        if let Some(cache) = &mut self.cache {
            put(cache, offset, bytes);
        }
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

    pub(super) fn set_len(&mut self, len: u64) {
        if self.visible_len == len {
            return;
        }
        self.visible_len = len;
        self.pending.push(ByteOp::SetLen(len));
        if let Some(cache) = &mut self.cache {
            cache.resize(len as usize, 0);
        }
    }

    /// A crash would change nothing.
    pub(super) fn is_stable(&self) -> bool {
        self.pending.is_empty() && self.cache.is_none()
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let n = self
            .visible_len
            .saturating_sub(offset)
            .min(out.len() as u64) as usize;
        let out = &mut out[..n];
        out.fill(0);
        if let Some(cache) = &self.cache {
            overlay(out, offset, 0, cache);
            return n;
        }
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

    pub(super) fn sync(&mut self) {
        for op in self.pending.drain(..) {
            match op {
                ByteOp::Write { offset, bytes } => put(&mut self.stable, offset, &bytes),
                ByteOp::SetLen(len) => self.stable.resize(len as usize, 0),
            }
        }
        if self.cache.as_ref().is_none_or(|c| *c == self.stable) {
            self.cache = None;
            assert_eq!(
                self.stable.len() as u64,
                self.visible_len,
                "length seen and length kept differ"
            );
        }
    }

    /// A sync that fails: `keep` says of each sector whether it got through. What did not is seen
    /// until the cache is lost, and no later sync writes it: only writing it again would. Lengths
    /// are the file system's own data, which it does not forget.
    pub(super) fn fail_sync(&mut self, sector: u64, keep: &mut dyn FnMut() -> bool) {
        let mut seen = vec![0; self.visible_len as usize];
        self.read(0, &mut seen);
        let pending = core::mem::take(&mut self.pending);
        self.keep_sectors(&pending, sector, &mut |op| {
            matches!(op, ByteOp::SetLen(_)) || keep()
        });
        self.stable.resize(seen.len(), 0);
        self.cache = Some(seen);
    }

    /// The page cache is lost.
    pub(super) fn crash(
        &mut self,
        dir: Dir,
        name: &str,
        sector: u64,
        pick: &mut dyn FnMut(Choice<'_>, u64) -> u64,
    ) {
        self.cache = None;
        let pending = core::mem::take(&mut self.pending);
        let manner = if pending.is_empty() {
            0
        } else {
            pick(Choice::Manner(dir, name), 4)
        };
        match manner {
            0 => self.keep_sectors(&pending, sector, &mut |_| {
                pick(Choice::Sector(dir, name), 2) == 1
            }),
            manner => {
                let total: u64 = pending.iter().map(ByteOp::weight).sum();
                let kept = pick(Choice::Bytes(dir, name), total + 1);
                let before = self.stable.clone();
                let last = self.keep_prefix(&pending, sector, kept);
                if let Some((start, end)) = last
                    && manner < 3
                {
                    let seed = match manner {
                        1 => None,
                        _ => Some(pick(Choice::Garbage(dir, name), 256)),
                    };
                    let good = self.stable[start..end].to_vec();
                    spoil(&mut self.stable[start..end], seed);
                    let old = before.get(start..).unwrap_or_default();
                    for (at, (old, good)) in old.iter().zip(good).enumerate() {
                        if *old == good {
                            self.stable[start + at] = good;
                        }
                    }
                }
            }
        }
        self.visible_len = self.stable.len() as u64;
    }

    /// Keeps the first `kept` bytes of what is pending. Returns where the last sector's share of
    /// the last write that survived lies, unless it was cut off again.
    fn keep_prefix(
        &mut self,
        pending: &[ByteOp],
        sector: u64,
        mut kept: u64,
    ) -> Option<(usize, usize)> {
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
                    let begin = (end.max(1) - 1) / sector * sector;
                    last = Some((begin.max(*offset) as usize, end as usize));
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

    fn keep_sectors(
        &mut self,
        pending: &[ByteOp],
        sector: u64,
        keep: &mut dyn FnMut(&ByteOp) -> bool,
    ) {
        for op in pending {
            match op {
                ByteOp::Write { offset, bytes } => {
                    let end = offset + bytes.len() as u64;
                    let mut at = *offset;
                    while at < end {
                        let next = ((at / sector + 1) * sector).min(end);
                        if keep(op) {
                            let piece = (at - offset) as usize..(next - offset) as usize;
                            put(&mut self.stable, at, &bytes[piece]);
                        }
                        at = next;
                    }
                }
                ByteOp::SetLen(len) => {
                    if keep(op) {
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
