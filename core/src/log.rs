//! The recent committed transactions, kept in memory so that a learner that was away for a moment
//! is brought up to date by DIFF. Knows zxids and bytes, not what they mean.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::ids::Zxid;
use crate::limits::{COMMITTED_LOG_BYTES_MAX, COMMITTED_LOG_COUNT_MAX};

/// One transaction as it stands in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    pub zxid: Zxid,
    pub record: Bytes,
}

/// A window over the end of the committed history, without holes.
#[derive(Clone, Default, Debug)]
pub struct CommittedLog {
    /// Zxids rise strictly.
    entries: VecDeque<LogEntry>,
    bytes: usize,
}

impl CommittedLog {
    pub fn push(&mut self, entry: LogEntry) {
        assert!(
            self.entries
                .back()
                .is_none_or(|last| last.zxid < entry.zxid)
        );
        self.bytes += entry.record.len();
        self.entries.push_back(entry);
        while self.entries.len() > COMMITTED_LOG_COUNT_MAX
            || (self.bytes > COMMITTED_LOG_BYTES_MAX && self.entries.len() > 1)
        {
            let dropped = self.entries.pop_front().expect("more than one entry");
            self.bytes -= dropped.record.len();
        }
    }

    /// Oldest zxid in the window.
    pub fn min(&self) -> Option<Zxid> {
        self.entries.front().map(|e| e.zxid)
    }

    /// Newest zxid in the window.
    pub fn max(&self) -> Option<Zxid> {
        self.entries.back().map(|e| e.zxid)
    }

    pub fn iter(&self) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter()
    }

    /// Entries after `zxid`, oldest first.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &LogEntry> {
        let start = self.entries.partition_point(|e| e.zxid <= zxid);
        self.entries.range(start..)
    }

    /// The newest entry that is not after `zxid`.
    pub fn last_not_after(&self, zxid: Zxid) -> Option<Zxid> {
        let end = self.entries.partition_point(|e| e.zxid <= zxid);
        end.checked_sub(1).map(|i| self.entries[i].zxid)
    }

    /// After a snapshot nothing before it can be told any more.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}
