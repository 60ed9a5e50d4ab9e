//! Crashes of a recorded life: every place between two file operations, and at each of them what
//! may have reached the platter. And the account that a directory is held against afterwards.

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::recovery::Recovered;

use crate::faulty::FileOp;
use crate::mem::{Choice, MemFiles};

/// How far a directory's content reaches: what was reported as stable, or what was ever written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    pub applied: Zxid,
    pub accepted: Epoch,
    pub current: Epoch,
}

impl Extent {
    /// Of what a start has found.
    pub fn of(found: &Recovered) -> Self {
        Self {
            applied: found.database.applied(),
            accepted: found.accepted,
            current: found.current,
        }
    }

    /// Nothing here reaches further.
    pub fn is_within(&self, other: &Self) -> bool {
        self.applied <= other.applied
            && self.accepted <= other.accepted
            && self.current <= other.current
    }

    /// A write is about to be carried out. What it cuts may be gone from now on.
    pub fn begin(&mut self, op: &WriteOp) {
        match op {
            WriteOp::Truncate { after: zxid }
            | WriteOp::Install(SnapshotStep::End { zxid, .. }) => {
                self.applied = self.applied.min(*zxid);
            }
            _ => {}
        }
    }

    /// A write was carried out.
    pub fn end(&mut self, op: &WriteOp) {
        match op {
            WriteOp::Append { zxid, .. } | WriteOp::Install(SnapshotStep::End { zxid, .. }) => {
                self.applied = *zxid;
            }
            WriteOp::AcceptedEpoch(epoch) => self.accepted = *epoch,
            WriteOp::CurrentEpoch(epoch) => self.current = *epoch,
            WriteOp::Truncate { .. } | WriteOp::Install(_) => {}
        }
    }

    /// Reaches at least as far as the other, too. A start raises the current epoch to that of the
    /// history.
    pub fn raise(&mut self, other: &Self) {
        self.applied = self.applied.max(other.applied);
        self.accepted = self.accepted.max(other.accepted);
        let reached = self.applied.epoch();
        self.current = self.current.max(other.current).max(reached);
    }
}

/// What was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tried {
    /// Places between two file operations, the ends included.
    pub points: u64,
    /// Directories that a power loss there may leave.
    pub states: u64,
}

/// Lets the power fail after each number of `ops` from `base` on, and hands every directory that is
/// tried to `judge`, with the number of operations done. At most `most` (3 or more) for each place:
/// all of them where there are so few; otherwise nothing survives, everything does, and then each
/// sector or name in doubt survives alone or is lost alone, and prefixes are torn.
///
/// # Panics
/// If an operation fails, which no recorded one does.
pub fn every_crash(
    base: &MemFiles,
    ops: &[FileOp],
    most: u64,
    judge: &mut dyn FnMut(usize, MemFiles),
) -> Tried {
    let mut tried = Tried::default();
    let mut files = base.clone();
    for done in 0..=ops.len() {
        tried.points += 1;
        let doubts = doubts(&files);
        let patterns = match 1_u64.checked_shl(doubts as u32).filter(|_| doubts < 32) {
            Some(all) if all <= most => all,
            _ => most,
        };
        for pattern in 0..patterns {
            tried.states += 1;
            let mut left = files.clone();
            lose_power(&mut left, doubts, patterns, pattern);
            judge(done, left);
        }
        if let Some(op) = ops.get(done) {
            op.apply(&mut files)
                .expect("it went well when it was recorded");
        }
    }
    tried
}

/// How many sectors, lengths and names a crash asks about one by one.
fn doubts(files: &MemFiles) -> u64 {
    let mut doubts = 0;
    files.clone().crash(|choice, _| {
        doubts += u64::from(matches!(choice, Choice::Name(_) | Choice::Sector(..)));
        u64::from(matches!(choice, Choice::Name(_)))
    });
    doubts
}

fn lose_power(files: &mut MemFiles, doubts: u64, patterns: u64, pattern: u64) {
    let exhaustive = doubts < 32 && 1 << doubts == patterns;
    let mut asked = 0;
    files.crash(|choice, below| {
        let is_doubt = matches!(choice, Choice::Name(_) | Choice::Sector(..));
        let n = asked;
        asked += u64::from(is_doubt);
        match (choice, pattern) {
            (Choice::Name(_) | Choice::Sector(..), _) if exhaustive => pattern >> n & 1,
            (Choice::Name(_) | Choice::Sector(..), 0) => 0,
            (Choice::Name(_) | Choice::Sector(..), 1) => 1,
            // The places in doubt are spread over the patterns that there are.
            (Choice::Name(_) | Choice::Sector(..), _) => {
                let chosen = (pattern - 2) / 2 * doubts / (patterns / 2);
                u64::from((n == chosen) == pattern.is_multiple_of(2))
            }
            (Choice::Manner(..), _) if exhaustive || !pattern.is_multiple_of(3) => 0,
            (Choice::Manner(..), _) => pattern % below,
            (Choice::Bytes(..), _) => below * pattern / patterns,
            (Choice::Garbage(..), _) => pattern % below,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Dir, Files};

    #[test]
    fn a_few_doubts_are_tried_in_every_combination_and_many_within_the_bound() {
        let write = |offset, len| FileOp::Write {
            dir: Dir::Logs,
            name: "a".into(),
            offset,
            bytes: vec![7; len],
        };
        let sync = FileOp::Sync {
            dir: Dir::Logs,
            name: "a".into(),
        };
        let ops = [
            write(0, 600),
            sync,
            FileOp::SyncDir { dir: Dir::Logs },
            write(0, 9000),
        ];
        let mut seen = std::collections::BTreeSet::new();
        let tried = every_crash(&MemFiles::new(), &ops, 16, &mut |done, files| {
            assert!(files.is_stable());
            let len = files.len(Dir::Logs, "a").unwrap_or(0);
            assert!(done < 3 || len >= 600, "what was synced is there");
            seen.insert((done, len));
        });
        // Nothing; a name and two sectors; a name; nothing; eighteen sectors.
        let states = 1 + 8 + 2 + 1 + 16;
        assert_eq!(tried, Tried { points: 5, states });
        assert!(
            seen.contains(&(1, 0)) && seen.contains(&(2, 600)),
            "{seen:?}"
        );
        assert!(
            seen.iter().filter(|(done, _)| *done == 4).count() > 3,
            "{seen:?}"
        );
    }
}
