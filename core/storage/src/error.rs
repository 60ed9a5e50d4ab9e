//! Why a data directory can not be used, in words for the one who has to repair it.

use std::fmt;
use std::io;

use vivarium_core::ids::Zxid;

use crate::files::Dir;

/// What an operator can do about a damaged file. Shown at the end of the message.
///
/// That the others have a quorum is not enough: what this server has acknowledged may lie on too
/// few of them, and an empty server that votes with those who lack it would lose it.
pub(crate) const CURE_RESYNC: &str = "if more than half of all voters serve without this one and \
    have caught up (srvr shows the same Zxid), move version-2 away and start again, one server at \
    a time: it is filled from the leader; otherwise restore the file from a backup";

/// The same where no snapshot is there, which an old release may never have written.
pub(crate) const CURE_TRUST: &str = "if more than half of all voters serve without this one and \
    have caught up (srvr shows the same Zxid), move version-2 away and start again, one server at \
    a time: it is filled from the leader; if a release of ZooKeeper before 3.5.3 wrote this \
    directory and never a snapshot, start once with snapshot.trust.empty=true; \
    otherwise restore the snapshot from a backup";

/// Why storage refused. The directory is as it was, unless a write failed half way.
#[derive(Debug)]
pub enum StorageError {
    /// The file system refused.
    Io {
        verb: &'static str,
        dir: Dir,
        name: String,
        source: io::Error,
    },
    /// A file does not hold what was once written: where, what is wrong, what to do.
    Damaged {
        dir: Dir,
        name: String,
        offset: u64,
        problem: String,
        cure: String,
    },
    /// The files are whole, but do not fit together: a state that no sequence of crashes leaves.
    Inconsistent { problem: String, cure: String },
    /// The history can not be cut there: why.
    TruncateImpossible { after: Zxid, reason: String },
    /// An earlier write or sync failed, so nothing is known about what is on disk.
    FailedBefore,
}

/// What is being done when a disk may turn out to be full without anything being lost: the same
/// bytes can be written once more. A sync is among them only where who asks for it still has all
/// that it was to make stable, and writes it again: what it reported as refused may be gone from
/// memory, and the next sync would not know of it.
const REPEATABLE: [&str; 5] = ["create", "extend", "take room for", "write", MAKE_STABLE];

/// The word for such a sync.
pub(crate) const MAKE_STABLE: &str = "make stable";

impl StorageError {
    /// There was no room. Nothing has changed that doing the same again would not set right.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { verb, source, .. } if lacks_room(source)
            && REPEATABLE.contains(verb))
    }

    pub(crate) fn inconsistent(problem: String) -> Self {
        Self::Inconsistent {
            problem,
            cure: CURE_RESYNC.to_owned(),
        }
    }
}

pub(crate) fn lacks_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                verb,
                dir,
                name,
                source,
            } => {
                write!(f, "can not {verb} {name} in the {dir} directory: {source}")?;
                if lacks_room(source) {
                    f.write_str("; make room on its disk: nothing is lost")?;
                }
                Ok(())
            }
            Self::Damaged {
                dir,
                name,
                offset,
                problem,
                cure,
            } => {
                write!(
                    f,
                    "{name} in the {dir} directory is damaged at offset {offset}: {problem}; {cure}"
                )
            }
            Self::Inconsistent { problem, cure } => write!(f, "{problem}; {cure}"),
            Self::TruncateImpossible { after, reason } => {
                write!(f, "the history can not be cut after {after}: {reason}")
            }
            Self::FailedBefore => f.write_str("an earlier write failed: restart the server"),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Damaged { .. }
            | Self::Inconsistent { .. }
            | Self::TruncateImpossible { .. }
            | Self::FailedBefore => None,
        }
    }
}

/// Says which file an `io::Error` is about.
pub(crate) trait About<T> {
    fn about(self, verb: &'static str, dir: Dir, name: &str) -> Result<T, StorageError>;
}

impl<T> About<T> for io::Result<T> {
    fn about(self, verb: &'static str, dir: Dir, name: &str) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io {
            verb,
            dir,
            name: name.to_owned(),
            source,
        })
    }
}
