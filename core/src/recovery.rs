//! From the bytes of a data directory to the state that a node boots with.

use crate::database::Database;
use crate::ids::Epoch;
use crate::log::CommittedLog;

/// All that survived on disk.
#[derive(Debug)]
pub struct Recovered {
    pub database: Database,
    /// The newest transactions that were replayed, for DIFF.
    pub recent: CommittedLog,
    pub accepted: Epoch,
    pub current: Epoch,
}
