//! From the bytes of a data directory to the state that a node boots with.
//!
//! The storage reads files and checks sums; here the transactions that it found are replayed over
//! the newest snapshot, oldest first.

use core::fmt;

use bytes::Bytes;

use crate::database::Database;
use crate::ids::{Epoch, Zxid};
use crate::log::{CommittedLog, LogEntry};
use crate::mutants::Mutants;
use crate::wire::jute::DecodeError;
use crate::wire::txn::{TxnHeader, TxnRecord};

/// All that survived on disk.
#[derive(Debug)]
pub struct Recovered {
    pub database: Database,
    /// The newest transactions that were replayed, for DIFF.
    pub recent: CommittedLog,
    pub accepted: Epoch,
    pub current: Epoch,
}

/// A replay under way.
#[derive(Debug)]
pub struct Recovery {
    database: Database,
    recent: CommittedLog,
    replayed: u64,
    digest_mismatches: u64,
}

/// A transaction of the log that can not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayError {
    /// The last transaction before it.
    pub after: Zxid,
    /// Its own zxid, if at least the header can be read.
    pub zxid: Option<Zxid>,
    /// Its type, likewise.
    pub kind: Option<i32>,
    /// Length of the record in bytes.
    pub length: usize,
    pub why: DecodeError,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.zxid, self.kind) {
            (Some(zxid), Some(kind)) => write!(f, "transaction {zxid} of type {kind}")?,
            _ => write!(f, "the transaction after {}", self.after)?,
        }
        write!(f, " ({} bytes) can not be read: {}", self.length, self.why)
    }
}

impl core::error::Error for ReplayError {}

impl Recovery {
    /// Begins with nothing.
    pub fn fresh(seed: u64, mutants: Mutants) -> Self {
        Self::from_snapshot(Database::new(seed, mutants))
    }

    pub fn from_snapshot(database: Database) -> Self {
        Self {
            database,
            recent: CommittedLog::default(),
            replayed: 0,
            digest_mismatches: 0,
        }
    }

    /// How far the state is.
    pub fn zxid(&self) -> Zxid {
        self.database.applied()
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Applies one record of the log: header, body, digest. One that the state already holds is
    /// passed over. After an error the state is as before.
    pub fn replay(&mut self, record: Bytes) -> Result<(), ReplayError> {
        let undecodable = |after, header: Option<TxnHeader>, why| ReplayError {
            after,
            zxid: header.map(|header| header.zxid),
            kind: header.map(|header| header.kind),
            length: record.len(),
            why,
        };
        let header = TxnHeader::peek(&record).map_err(|why| undecodable(self.zxid(), None, why))?;
        if header.zxid <= self.zxid() {
            return Ok(());
        }
        let txn = TxnRecord::decode(&record)
            .map_err(|why| undecodable(self.zxid(), Some(header), why))?;
        self.database.apply_unwatched(&txn);
        self.replayed += 1;
        if txn
            .digest
            .is_some_and(|digest| digest != self.database.digest())
        {
            self.digest_mismatches += 1;
        }
        self.recent.push(LogEntry {
            zxid: header.zxid,
            record,
        });
        Ok(())
    }

    /// Transactions replayed so far.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Transactions after which the tree was not what their leader said. Such servers exist:
    /// ZooKeeper counts them and goes on.
    pub fn digest_mismatches(&self) -> u64 {
        self.digest_mismatches
    }

    pub fn finish(self, accepted: Epoch, current: Epoch) -> Recovered {
        Recovered {
            database: self.database,
            recent: self.recent,
            accepted,
            current,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;
    use crate::ids::SessionId;
    use crate::time::WallMs;
    use crate::wire::records::op;
    use crate::wire::txn::Txn;

    fn record(zxid: i64, digest: Option<u64>) -> Bytes {
        let header = TxnHeader {
            session: SessionId(zxid),
            cxid: 0,
            zxid: Zxid(zxid),
            time: WallMs(0),
            kind: op::CREATE_SESSION,
        };
        let txn = Txn::CreateSession { timeout_ms: 9_000 };
        let mut out = Vec::new();
        TxnRecord {
            header,
            txn,
            digest,
        }
        .encode(&mut out);
        out.into()
    }

    #[test]
    fn a_log_is_replayed_over_a_snapshot() {
        let mut snapshot = Database::new(1, Mutants::NONE);
        snapshot.set_applied(Zxid(2));
        let mut recovery = Recovery::from_snapshot(snapshot);
        for zxid in [1, 2, 3, 4, 4] {
            recovery.replay(record(zxid, Some(0x51c6_d660))).unwrap();
        }
        assert_eq!((recovery.zxid(), recovery.replayed()), (Zxid(4), 2));
        assert_eq!(recovery.digest_mismatches(), 0);
        let found = recovery.finish(Epoch(2), Epoch(1));
        assert_eq!((found.accepted, found.current), (Epoch(2), Epoch(1)));
        assert!(
            found
                .database
                .sessions()
                .keys()
                .eq([&SessionId(3), &SessionId(4)])
        );
        let recent: Vec<_> = found.recent.iter().map(|entry| entry.zxid).collect();
        assert_eq!(recent, [Zxid(3), Zxid(4)]);
    }

    #[test]
    fn a_wrong_digest_is_counted() {
        let mut recovery = Recovery::fresh(1, Mutants::NONE);
        recovery.replay(record(1, None)).unwrap();
        recovery.replay(record(2, Some(1))).unwrap();
        assert_eq!(recovery.digest_mismatches(), 1);
    }

    #[test]
    fn an_unreadable_record_is_named() {
        let mut recovery = Recovery::fresh(1, Mutants::NONE);
        recovery.replay(record(5, None)).unwrap();
        let whole = record(6, None);
        let error = recovery.replay(whole.slice(..34)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "transaction 0x6 of type -10 (34 bytes) can not be read: ends inside a field"
        );
        let error = recovery.replay(whole.slice(..9)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the transaction after 0x5 (9 bytes) can not be read: ends inside a field"
        );
        assert_eq!(recovery.zxid(), Zxid(5));
        recovery.replay(whole).unwrap();
    }
}
