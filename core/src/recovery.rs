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
